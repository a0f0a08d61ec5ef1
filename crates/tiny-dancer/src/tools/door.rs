//! Selections asked and answered as JSON, so that a binding forwards bytes and nothing else.
//!
//! A query is an object: `text` or `messages` (in any dialect), `k`, `relevance_threshold`, `preserve_count`,
//! `namespaces`, `keep` and `tool_choice`. A field that is unknown is refused. The answer is an object: `tools`, a list of
//! `id`, `score`, `relevance` and `kept`, best first; and `considered`, how many tools there are.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::conversation::{Conversation, Turn, chosen_tools};
use super::pattern::Pattern;
use super::schema::{Definition, read_definitions};
use super::set::{SelectOptions, ToolScratch, ToolSet};
use crate::error::{Error, ErrorKind, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    text: Option<String>,
    messages: Option<Value>,
    #[serde(default = "ten")]
    k: usize,
    #[serde(default)]
    relevance_threshold: f32,
    #[serde(default)]
    preserve_count: usize,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default)]
    keep: Vec<String>,
    #[serde(default)]
    tool_choice: Value,
}

fn ten() -> usize {
    10
}

#[derive(Serialize)]
struct One<'a> {
    id: &'a str,
    score: f32,
    relevance: f32,
    kept: bool,
}

#[derive(Serialize)]
struct Found<'a> {
    tools: Vec<One<'a>>,
    considered: usize,
}

#[cold]
#[inline(never)]
fn refused(field: &str, value: impl std::fmt::Display, remedy: &str) -> Error {
    Error::new(ErrorKind::RequestInvalid, field, value, remedy)
}

impl ToolSet {
    /// Reads tools (see [`read_definitions`]) and adds them by their own ids; gives the ids.
    ///
    /// # Errors
    /// As [`read_definitions`] and [`ToolSet::add`].
    pub fn add_json(&mut self, json: &str) -> Result<Vec<String>> {
        let tools: Vec<(String, Definition)> =
            read_definitions(json, "tools", None)?.into_iter().map(|tool| (tool.id(), tool)).collect();
        self.add(&tools)?;
        Ok(tools.into_iter().map(|(id, _)| id).collect())
    }

    /// Answers a query.
    ///
    /// # Errors
    /// `RequestInvalid` for what is no query, and as [`ToolSet::select`].
    pub fn select_json(&self, query: &str, scratch: &mut ToolScratch) -> Result<String> {
        let asked: Asked = crate::json::typed(query).map_err(|error| {
            refused("query", error, "give an object of text or messages, k, and the other fields of a query")
        })?;
        let conversation = match (asked.text, &asked.messages) {
            (Some(text), None) => {
                Conversation { turns: vec![Turn { text: text.into(), weight: 1.0 }], called: Vec::new() }
            }
            (None, Some(messages)) => Conversation::read(messages)?,
            (Some(_), Some(_)) => return Err(refused("text", "given beside messages", "give one of them")),
            (None, None) => return Err(refused("query", "neither text nor messages", "give one of them")),
        };
        let chosen = chosen_tools(&asked.tool_choice);
        let keep: Vec<&str> =
            asked.keep.iter().chain(&conversation.called).chain(&chosen).map(String::as_str).collect();
        let namespaces: Vec<&str> = asked.namespaces.iter().map(String::as_str).collect();
        let options = SelectOptions {
            k: asked.k,
            threshold: asked.relevance_threshold,
            preserve: asked.preserve_count,
            namespaces: &namespaces,
            keep: &keep,
        };
        let selected = self.select(&conversation.turns, &options, scratch)?;
        self.answer(selected.iter().map(|one| One {
            id: self.id(one.row),
            score: one.score,
            relevance: one.relevance,
            kept: one.kept,
        }))
    }

    /// Ids of the first `limit` tools whose words a pattern matches, as a JSON list; see [`ToolSet::matching_pattern`].
    ///
    /// # Errors
    /// As [`Pattern::new`].
    pub fn search_pattern(&self, pattern: &str, limit: usize) -> Result<Vec<&str>> {
        let rows = self.matching_pattern(&Pattern::new(pattern)?, limit);
        Ok(rows.into_iter().map(|row| self.id(row)).collect())
    }

    fn answer<'a>(&'a self, tools: impl Iterator<Item = One<'a>>) -> Result<String> {
        let found = Found { tools: tools.collect(), considered: self.len() };
        serde_json::to_string(&found).map_err(|error| refused("answer", error, "report it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_answered_and_bad_ones_refused() {
        let mut set = ToolSet::new(None);
        let ids = set
            .add_json(r#"[{"name":"weather","description":"forecast"},{"name":"mail","description":"send a letter"}]"#)
            .unwrap();
        assert_eq!(ids, ["weather", "mail"]);
        let mut scratch = ToolScratch::default();
        let mut ask = |query: &str| set.select_json(query, &mut scratch);
        let answer: Value = serde_json::from_str(
            &ask(r#"{"messages":[{"role":"user","content":"the forecast"}],"k":1,"tool_choice":{"type":"tool","name":"mail"}}"#)
                .unwrap(),
        )
        .unwrap();
        assert_eq!(answer["considered"], 2);
        assert_eq!(answer["tools"][0]["id"], "mail", "a tool that is named is never left out");
        assert_eq!(answer["tools"][0]["kept"], true);
        for query in [
            "{",
            "{}",
            r#"{"text":"a","messages":[]}"#,
            r#"{"text":" "}"#,
            r#"{"text":"a","k":0}"#,
            r#"{"text":"a","relevance_threshold":2}"#,
            r#"{"text":"a","unknown":1}"#,
            r#"{"messages":[]}"#,
        ] {
            assert!(ask(query).is_err(), "{query}");
        }
    }
}
