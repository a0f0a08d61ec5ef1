//! Tools whose words match a regular expression: the vendors' search by pattern.
//!
//! A pattern comes from a model, so its work is bounded: it is matched in time linear in the text (finite automata,
//! no backtracking), its length and its compiled size are bounded, and of each tool 8 KiB are looked through. What
//! needs backtracking - look-around and references back - is refused.

use regex_lite::{Regex, RegexBuilder};

use super::set::ToolSet;
use crate::error::{Error, ErrorKind, Result};

/// Longest pattern, in characters.
pub const LONGEST_PATTERN: usize = 200;
/// Largest compiled pattern, in bytes.
const LARGEST: usize = 1 << 18;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// `RequestInvalid` where it is empty, too long, no regular expression or needs too much.
    pub fn new(pattern: &str) -> Result<Self> {
        let refused = |found: String, remedy: &str| {
            Err(Error::new(ErrorKind::RequestInvalid, "pattern", found, remedy))
        };
        let length = pattern.chars().count();
        if length == 0 || length > LONGEST_PATTERN {
            return refused(format!("{length} characters"), "give 1 to 200");
        }
        match RegexBuilder::new(pattern).size_limit(LARGEST).nest_limit(32).build() {
            Ok(regex) => Ok(Self(regex)),
            Err(error) => refused(
                error.to_string(),
                "give a regular expression without look-around or references back, and with small repetitions",
            ),
        }
    }
}

impl ToolSet {
    /// Rows of the first `limit` tools whose name, description, arguments or what is said of them the pattern matches:
    /// those whose name matches first, each in order of id.
    #[must_use]
    pub fn matching_pattern(&self, pattern: &Pattern, limit: usize) -> Vec<u32> {
        let mut rows = self.matching(|name, words| {
            if pattern.0.is_match(name) {
                return Some(0);
            }
            pattern.0.is_match(words).then_some(1)
        });
        rows.truncate(limit);
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::read_definitions;

    fn set() -> ToolSet {
        let json = r#"[{"name":"get_weather","description":"Forecast for a city"},
            {"name":"alerts","description":"Storms","parameters":{"properties":{"county":{"description":"weather zone"}}}},
            {"name":"send_mail"}]"#;
        let tools: Vec<_> = read_definitions(json, "tools", None)
            .unwrap()
            .into_iter()
            .map(|tool| (tool.id(), tool))
            .collect();
        let mut set = ToolSet::new(None);
        set.add(&tools).unwrap();
        set
    }

    #[test]
    fn names_come_first_and_every_part_is_looked_through() {
        let set = set();
        let found = |pattern: &str, limit| -> Vec<String> {
            let rows = set.matching_pattern(&Pattern::new(pattern).unwrap(), limit);
            rows.into_iter().map(|row| set.id(row).to_owned()).collect()
        };
        assert_eq!(found("weather", 5), ["get_weather", "alerts"]);
        assert_eq!(found("weather", 1), ["get_weather"]);
        assert_eq!(found("(?i)STORM|^send_", 5), ["send_mail", "alerts"]);
        assert!(found("nothing", 5).is_empty());
    }

    #[test]
    fn what_would_cost_too_much_is_refused() {
        for pattern in ["", "(", "(?=a)", r"(a)\1", "(a{100}){100}{100}", &"a".repeat(201)] {
            assert_eq!(Pattern::new(pattern).unwrap_err().kind, ErrorKind::RequestInvalid, "{pattern}");
        }
        // What makes backtracking take for ever is linear here.
        let set = set();
        assert!(set.matching_pattern(&Pattern::new("(a+)+$").unwrap(), 5).is_empty());
    }
}
