//! Which turns of a conversation say what is wanted now, and which tools it has called already.
//!
//! The user's last turn counts in full; the one before it half, and the one before that a quarter: what was asked for
//! first may still be under way. What the assistant said in between counts a quarter, as a question it asked may name
//! what "yes, do that" does not. Standing instructions, results of calls and the assistant's other words do not count.

use std::borrow::Cow;

use serde_json::Value;

use super::schema::refused;
use crate::error::{Error, ErrorKind, Result};
use crate::sort;

/// Turns of the user's that count.
const TURNS: usize = 3;
/// Each turn counts this much of the one after it.
const DECAY: f32 = 0.5;
/// What the assistant said before the last turn counts this much.
const ANSWER: f32 = 0.25;

/// A part of what is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn<'a> {
    /// What was said.
    pub text: Cow<'a, str>,
    /// How much it counts.
    pub weight: f32,
}

impl<'a> Turn<'a> {
    /// A request that is a text alone.
    #[must_use]
    pub fn whole(text: &'a str) -> Self {
        Self { text: Cow::Borrowed(text), weight: 1.0 }
    }
}

/// What a selection needs to know of a conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation<'a> {
    /// The newest first.
    pub turns: Vec<Turn<'a>>,
    /// Names of tools that were called, in alphabetical order, each once.
    pub called: Vec<String>,
}

fn said(content: &Value, out: &mut String) {
    match content {
        Value::String(text) => {
            if !out.is_empty() && !text.is_empty() {
                out.push('\n');
            }
            out.push_str(text);
        }
        Value::Array(parts) => {
            for part in parts {
                match part.get("type").and_then(Value::as_str) {
                    Some("text" | "input_text" | "output_text") => said(&part["text"], out),
                    None if part.is_string() => said(part, out),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// Names in a call, wherever a dialect puts them.
fn calls(message: &Value, out: &mut Vec<String>) {
    let mut push = |value: Option<&Value>| out.extend(value.and_then(Value::as_str).map(str::to_owned));
    for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        push(call.pointer("/function/name").or(call.pointer("/custom/name")).or(call.get("name")));
    }
    push(message.pointer("/function_call/name"));
    if matches!(
        message.get("type").and_then(Value::as_str),
        Some("function_call" | "custom_tool_call" | "mcp_call")
    ) {
        push(message.get("name"));
    }
    for part in message.get("content").and_then(Value::as_array).into_iter().flatten() {
        if matches!(part.get("type").and_then(Value::as_str), Some("tool_use" | "mcp_tool_use")) {
            push(part.get("name"));
        }
    }
}

/// Names of the tools a list of messages calls.
#[must_use]
pub fn called_tools(messages: &Value) -> Vec<String> {
    let mut called = Vec::new();
    for message in messages.as_array().into_iter().flatten() {
        calls(message, &mut called);
    }
    sort::unstable(&mut called);
    called.dedup();
    called
}

/// Names of the tools that `tool_choice` asks for, in any dialect; a word such as `auto` names none.
#[must_use]
pub fn chosen_tools(choice: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let listed = choice.get("tools").or(choice.pointer("/allowed_tools/tools")).and_then(Value::as_array);
    for one in std::iter::once(choice).chain(listed.into_iter().flatten()) {
        let name = one.pointer("/function/name").or(one.pointer("/custom/name")).or(one.get("name"));
        out.extend(name.and_then(Value::as_str).map(str::to_owned));
    }
    out
}

impl<'a> Conversation<'a> {
    /// Reads a text (a JSON string) or a list of messages in any dialect.
    ///
    /// # Errors
    /// `RequestInvalid` where nothing of the user's is said, or the value is neither.
    pub fn read(messages: &'a Value) -> Result<Self> {
        if let Value::String(text) = messages {
            return Ok(Self { turns: vec![Turn::whole(text)], called: Vec::new() });
        }
        let Some(list) = messages.as_array() else {
            let error =
                refused("messages", "neither text nor list", "give a text or a list of chat messages");
            return Err(Error { kind: ErrorKind::RequestInvalid, ..error });
        };
        let (mut turns, mut answer, mut open) = (Vec::new(), String::new(), String::new());
        let mut weight = 1.0;
        for message in list.iter().rev() {
            let mut text = String::new();
            match message.get("role").and_then(Value::as_str) {
                Some("user") => {
                    said(&message["content"], &mut text);
                    if !text.is_empty() {
                        // Messages no answer stands between are one turn, the earlier first.
                        open = if open.is_empty() { text } else { format!("{text}\n{open}") };
                    }
                }
                Some("assistant" | "model") => {
                    said(&message["content"], &mut text);
                    if !open.is_empty() {
                        turns.push(Turn { text: std::mem::take(&mut open).into(), weight });
                        weight *= DECAY;
                        if turns.len() == TURNS {
                            break;
                        }
                    }
                    if turns.len() == 1 && answer.is_empty() {
                        answer = text;
                    }
                }
                _ => {}
            }
        }
        if !open.is_empty() {
            turns.push(Turn { text: open.into(), weight });
        }
        if turns.is_empty() {
            let remedy = "give at least one message of the user's that has text";
            return Err(Error::new(ErrorKind::RequestInvalid, "messages", "nothing the user said", remedy));
        }
        if !answer.is_empty() {
            turns.push(Turn { text: answer.into(), weight: ANSWER });
        }
        Ok(Self { turns, called: called_tools(messages) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn recent_turns_count_and_calls_are_found() {
        let messages = json!([
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "oldest"},
            {"role": "assistant", "content": "a"},
            {"role": "user", "content": "older"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": [{"type": "text", "text": "old"}, {"type": "image_url"}]},
            {"role": "assistant", "content": "shall I?", "tool_calls": [{"function": {"name": "find"}}]},
            {"role": "tool", "content": "found it"},
            {"role": "user", "content": "yes"},
            {"role": "user", "content": "do"},
        ]);
        let found = Conversation::read(&messages).unwrap();
        let turns: Vec<(&str, f32)> = found.turns.iter().map(|turn| (&*turn.text, turn.weight)).collect();
        assert_eq!(turns, [("yes\ndo", 1.0), ("old", 0.5), ("older", 0.25), ("shall I?", 0.25)]);
        assert_eq!(found.called, ["find"]);
        assert!(Conversation::read(&json!([{"role": "system", "content": "x"}])).is_err());
        assert!(Conversation::read(&json!(3)).is_err());
    }

    #[test]
    fn names_are_found_in_every_dialect() {
        let called = called_tools(&json!([
            {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "a"}}]},
            {"role": "assistant", "function_call": {"name": "b", "arguments": "{}"}},
            {"type": "function_call", "name": "c", "call_id": "1"},
            {"role": "assistant", "content": [{"type": "tool_use", "name": "d", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1"}]},
        ]));
        assert_eq!(called, ["a", "b", "c", "d"]);
        for (choice, expected) in [
            (json!("auto"), vec![]),
            (json!({"type": "function", "function": {"name": "a"}}), vec!["a"]),
            (json!({"type": "tool", "name": "a"}), vec!["a"]),
            (json!({"type": "function", "name": "a"}), vec!["a"]),
            (
                json!({"type": "allowed_tools", "tools": [{"name": "a"}, {"type": "function", "name": "b"}]}),
                vec!["a", "b"],
            ),
            (json!({"type": "auto"}), vec![]),
        ] {
            assert_eq!(chosen_tools(&choice), expected, "{choice}");
        }
    }
}
