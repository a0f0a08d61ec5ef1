//! When a route may be given at all: times, users, languages, use. The clock, the user and what was used come in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::candidates::seconds_of_text;
use crate::error::{Error, ErrorKind, Result};

/// Conditions nested deeper are refused.
const DEEPEST: usize = 16;
const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;
/// Days of a week, Monday first; 1970 began on a Thursday.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const THURSDAY: i64 = 3;
/// Times are within some hundred thousand years of 1970: no sum overflows.
const LARGEST_TIME: f64 = 1e13;

/// A condition, as JSON `{"name": value}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// All of them hold.
    All(Vec<Condition>),
    /// At least one of them holds.
    Any(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// The hour is in a range.
    Time(Hours),
    /// The moment is in a period.
    Period(Period),
    /// The user is of one of these tiers.
    Tier(Vec<String>),
    /// The user has one of these tags.
    Tags(Vec<String>),
    /// The request is in one of these languages, as the caller says.
    Language(Vec<String>),
    /// Fewer requests than this went to the route in the window.
    Rate(Rate),
    /// One of these is in the text, as a whole word or phrase; letters' case is not told apart.
    Keywords(Vec<String>),
    /// The request has a number of tokens in this range.
    Tokens(Tokens),
}

/// From `from` to before `to`, by the clock of `zone`; over midnight where `to` is earlier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// `HH:MM`.
    pub from: String,
    /// `HH:MM`, `24:00` for the end of the day.
    pub to: String,
    /// `UTC`, an offset such as `+02:00`, or a name whose offset the caller gives.
    #[serde(default = "utc")]
    pub zone: String,
    /// Of `mon` to `sun` those on which the range begins; empty means every day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<String>,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// From `after` to before `before`, ISO 8601; either may be absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// The first moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The first moment that is too late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// At most `requests` in any `seconds`. The caller counts; see [`Context::used`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many.
    pub requests: u64,
    /// In how long.
    pub seconds: f64,
}

/// A range of tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// The least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u32>,
    /// The most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u32>,
}

/// What surrounds a request. The engine has no clock and no memory: whoever asks says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Context {
    /// Seconds since 1970, UTC.
    pub now: Option<f64>,
    /// Seconds east of UTC, now, of the zones that conditions name.
    pub offsets: BTreeMap<String, f64>,
    /// The user's tier.
    pub tier: Option<String>,
    /// The user's tags.
    pub tags: Vec<String>,
    /// The request's language.
    pub language: Option<String>,
    /// Requests of the window that went to a route before, by its name; absent ones are 0.
    pub used: BTreeMap<String, u64>,
}

/// What a condition is asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) route: &'a str,
    pub(super) text: &'a str,
    pub(super) tokens: u32,
    pub(super) context: &'a Context,
}

#[cold]
#[inline(never)]
fn invalid(field: String, value: impl std::fmt::Display, remedy: &str) -> Error {
    Error::new(ErrorKind::ArtifactInvalid, field, value, remedy)
}

#[cold]
#[inline(never)]
fn unknown(field: impl Into<String>, value: impl std::fmt::Display, remedy: &str) -> Error {
    Error::new(ErrorKind::RequestInvalid, field, value, remedy)
}

/// Seconds since midnight of `HH:MM`.
fn clock(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |part: &str| -> Option<i64> {
        (part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit())).then(|| part.parse().ok())?
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let seconds = hours * 60 * MINUTE + minutes * MINUTE;
    (minutes < 60 && seconds <= DAY).then_some(seconds)
}

/// Seconds east of UTC where the name itself says it.
fn fixed(zone: &str) -> Option<f64> {
    if matches!(zone, "UTC" | "Z" | "Etc/UTC" | "GMT") {
        return Some(0.0);
    }
    let (sign, rest) = match zone.as_bytes().first()? {
        b'+' => (1, &zone[1..]),
        b'-' => (-1, &zone[1..]),
        _ => return None,
    };
    clock(rest).map(|seconds| (sign * seconds) as f64)
}

impl Hours {
    fn holds(&self, context: &Context) -> Result<bool> {
        let now = now(context)?;
        let offset = match fixed(&self.zone).or_else(|| context.offsets.get(&self.zone).copied()) {
            Some(offset) if offset.abs() <= DAY as f64 => offset,
            Some(offset) => return Err(unknown("offsets", offset, "an offset is at most a day, in seconds")),
            None => {
                let remedy = "give this zone's seconds east of UTC in offsets";
                return Err(unknown("offsets", &self.zone, remedy));
            }
        };
        let local = (now + offset).floor() as i64;
        let (day, second) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let (from, to) = (clock(&self.from).unwrap_or(0), clock(&self.to).unwrap_or(DAY));
        // Over midnight, the small hours belong to the day before.
        let (within, began) = if from < to {
            ((from..to).contains(&second), day)
        } else {
            (second >= from || second < to, if second < to { day - 1 } else { day })
        };
        let weekday = DAYS[(began + THURSDAY).rem_euclid(7) as usize];
        Ok(within && (self.days.is_empty() || self.days.iter().any(|day| day == weekday)))
    }
}

fn now(context: &Context) -> Result<f64> {
    match context.now {
        Some(now) if now.abs() <= LARGEST_TIME => Ok(now),
        Some(now) => Err(unknown("now", now, "give seconds since 1970")),
        None => Err(unknown("now", "absent", "a route depends on the time: give now, seconds since 1970")),
    }
}

/// Whether `phrase` is in `text` with no letter or digit of `text` touching it. Both are compared in lower case.
fn contains(text: &str, phrase: &str) -> bool {
    let same = |at: usize| -> Option<usize> {
        let mut rest = text[at..].char_indices();
        let mut end = at;
        for wanted in phrase.chars() {
            let (offset, found) = rest.next()?;
            if !found.to_lowercase().eq(wanted.to_lowercase()) {
                return None;
            }
            end = at + offset + found.len_utf8();
        }
        Some(end)
    };
    let touches = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
    text.char_indices().any(|(at, _)| {
        !touches(text[..at].chars().next_back())
            && same(at).is_some_and(|end| !touches(text[end..].chars().next()))
    })
}

impl Condition {
    /// Whether it means something; `field` names it.
    pub(super) fn check(&self, field: &str, depth: usize) -> Result<()> {
        if depth > DEEPEST {
            return Err(invalid(field.to_owned(), "nested too deeply", "nest at most 16 conditions"));
        }
        let empty =
            |name: &str| invalid(format!("{field}.{name}"), "empty", "give at least one, or leave it out");
        match self {
            Self::All(parts) | Self::Any(parts) => {
                if parts.is_empty() {
                    return Err(empty("all|any"));
                }
                parts
                    .iter()
                    .enumerate()
                    .try_for_each(|(at, part)| part.check(&format!("{field}[{at}]"), depth + 1))
            }
            Self::Not(part) => part.check(&format!("{field}.not"), depth + 1),
            Self::Time(hours) => {
                let field = format!("{field}.time");
                for (name, text) in [("from", &hours.from), ("to", &hours.to)] {
                    if clock(text).is_none() {
                        return Err(invalid(format!("{field}.{name}"), text, "give HH:MM, such as 08:30"));
                    }
                }
                if clock(&hours.from) == clock(&hours.to) {
                    return Err(invalid(
                        field,
                        &hours.from,
                        "from and to are the same: no time is in between",
                    ));
                }
                let unknown = hours.days.iter().find(|day| !DAYS.contains(&day.as_str()));
                match unknown {
                    Some(day) => {
                        Err(invalid(format!("{field}.days"), day, "give mon, tue, wed, thu, fri, sat, sun"))
                    }
                    None if hours.zone.is_empty() => {
                        Err(invalid(format!("{field}.zone"), "empty", "give UTC, an offset or a zone's name"))
                    }
                    None => Ok(()),
                }
            }
            Self::Period(period) => {
                let field = format!("{field}.period");
                let mut ends = [f64::NEG_INFINITY, f64::INFINITY];
                let given = [("after", &period.after), ("before", &period.before)];
                for ((name, text), end) in given.into_iter().zip(&mut ends) {
                    if let Some(text) = text {
                        *end = seconds_of_text(text).ok_or_else(|| {
                            invalid(
                                format!("{field}.{name}"),
                                text,
                                "give ISO 8601, such as 2026-01-31T08:00Z",
                            )
                        })?;
                    }
                }
                if ends[0] >= ends[1] {
                    return Err(invalid(field, "reversed", "after has to be earlier than before"));
                }
                Ok(())
            }
            Self::Tier(names) | Self::Tags(names) | Self::Language(names) | Self::Keywords(names) => {
                if names.is_empty() || names.iter().any(String::is_empty) {
                    return Err(empty("tier|tags|language|keywords"));
                }
                Ok(())
            }
            Self::Rate(rate) => {
                if rate.requests == 0 || !(rate.seconds > 0.0 && rate.seconds <= LARGEST_TIME) {
                    let found = format!("{} in {} s", rate.requests, rate.seconds);
                    return Err(invalid(format!("{field}.rate"), found, "give requests ≥ 1 and seconds > 0"));
                }
                Ok(())
            }
            Self::Tokens(tokens) => {
                if tokens.at_least.unwrap_or(0) > tokens.at_most.unwrap_or(u32::MAX) {
                    return Err(invalid(
                        format!("{field}.tokens"),
                        "reversed",
                        "at_least is at most at_most",
                    ));
                }
                Ok(())
            }
        }
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// `RequestInvalid` where it depends on a time that was not given.
    pub(super) fn holds(&self, asked: Asked) -> Result<bool> {
        let context = asked.context;
        Ok(match self {
            Self::All(parts) => {
                for part in parts {
                    if !part.holds(asked)? {
                        return Ok(false);
                    }
                }
                true
            }
            Self::Any(parts) => {
                for part in parts {
                    if part.holds(asked)? {
                        return Ok(true);
                    }
                }
                false
            }
            Self::Not(part) => !part.holds(asked)?,
            Self::Time(hours) => hours.holds(context)?,
            Self::Period(period) => {
                let now = now(context)?;
                let at = |text: &Option<String>| text.as_deref().and_then(seconds_of_text);
                at(&period.after).is_none_or(|after| now >= after)
                    && at(&period.before).is_none_or(|before| now < before)
            }
            Self::Tier(tiers) => context.tier.as_ref().is_some_and(|tier| tiers.contains(tier)),
            Self::Tags(tags) => context.tags.iter().any(|tag| tags.contains(tag)),
            Self::Language(languages) => {
                context.language.as_ref().is_some_and(|language| languages.contains(language))
            }
            Self::Rate(rate) => context.used.get(asked.route).copied().unwrap_or(0) < rate.requests,
            Self::Keywords(keywords) => keywords.iter().any(|keyword| contains(asked.text, keyword)),
            Self::Tokens(tokens) => {
                asked.tokens >= tokens.at_least.unwrap_or(0)
                    && asked.tokens <= tokens.at_most.unwrap_or(u32::MAX)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(json: &str, context: &Context) -> bool {
        let condition: Condition = serde_json::from_str(json).unwrap();
        condition.check("conditions", 0).unwrap();
        let asked = Asked { route: "a", text: "Please REFUND me, café!", tokens: 7, context };
        condition.holds(asked).unwrap()
    }

    fn at(text: &str) -> Context {
        Context { now: seconds_of_text(text), ..Context::default() }
    }

    #[test]
    fn hours_run_over_midnight_and_belong_to_the_day_they_begin() {
        // 2026-01-02 is a Friday.
        let night = r#"{"time": {"from": "22:00", "to": "06:00", "days": ["fri"]}}"#;
        for (moment, expected) in [
            ("2026-01-02T21:59:59", false),
            ("2026-01-02T22:00:00", true),
            ("2026-01-03T05:59:59", true),
            ("2026-01-03T06:00:00", false),
            ("2026-01-03T22:00:00", false),
            ("2026-01-02T05:00:00", false),
        ] {
            assert_eq!(holds(night, &at(moment)), expected, "{moment}");
        }
        let day = r#"{"time": {"from": "09:00", "to": "17:00", "zone": "+02:00"}}"#;
        assert!(holds(day, &at("2026-01-02T07:00:00")) && !holds(day, &at("2026-01-02T15:00:00")));
        let mut berlin = at("2026-01-02T08:00:00");
        berlin.offsets.insert("Europe/Berlin".to_owned(), 3600.0);
        assert!(holds(r#"{"time": {"from": "09:00", "to": "09:01", "zone": "Europe/Berlin"}}"#, &berlin));
    }

    #[test]
    fn users_words_and_use_are_asked() {
        let context = Context {
            tier: Some("pro".to_owned()),
            tags: vec!["beta".to_owned()],
            language: Some("en".to_owned()),
            used: BTreeMap::from([("a".to_owned(), 2)]),
            ..Context::default()
        };
        for (json, expected) in [
            (r#"{"tier": ["free", "pro"]}"#, true),
            (r#"{"tags": ["alpha"]}"#, false),
            (r#"{"all": [{"language": ["en"]}, {"not": {"tags": ["alpha"]}}]}"#, true),
            (r#"{"any": [{"tier": ["free"]}, {"keywords": ["refund"]}]}"#, true),
            (r#"{"keywords": ["fund", "caf"]}"#, false),
            (r#"{"keywords": ["CAFÉ"]}"#, true),
            (r#"{"rate": {"requests": 2, "seconds": 60}}"#, false),
            (r#"{"rate": {"requests": 3, "seconds": 60}}"#, true),
            (r#"{"tokens": {"at_least": 7, "at_most": 7}}"#, true),
        ] {
            assert_eq!(holds(json, &context), expected, "{json}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for json in [
            r#"{"all": []}"#,
            r#"{"time": {"from": "9:00", "to": "17:00"}}"#,
            r#"{"time": {"from": "09:00", "to": "09:00"}}"#,
            r#"{"time": {"from": "09:00", "to": "24:01"}}"#,
            r#"{"time": {"from": "09:00", "to": "10:00", "days": ["someday"]}}"#,
            r#"{"period": {"after": "2026-02-01", "before": "2026-01-01"}}"#,
            r#"{"rate": {"requests": 0, "seconds": 60}}"#,
            r#"{"tokens": {"at_least": 8, "at_most": 7}}"#,
            r#"{"tier": []}"#,
        ] {
            let condition: Condition = serde_json::from_str(json).unwrap();
            let error = condition.check("conditions", 0).unwrap_err();
            assert_eq!(error.kind, ErrorKind::ArtifactInvalid, "{json}");
        }
        let condition: Condition =
            serde_json::from_str(r#"{"time": {"from": "09:00", "to": "10:00"}}"#).unwrap();
        let context = Context::default();
        let asked = Asked { route: "a", text: "", tokens: 0, context: &context };
        assert_eq!(condition.holds(asked).unwrap_err().field, "now");
    }
}
