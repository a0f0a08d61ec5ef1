//! An agent as it is declared, what was observed of it, and the checks of both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::belief::{Tally, fading};
use crate::error::{Error, ErrorKind, Result};
use crate::price::Prices;

/// Larger amounts are refused: sums of them stay exact enough, and nobody means them.
pub const LARGEST: f64 = 1e12;
/// A declared value is worth so many outcomes where nobody says otherwise.
const USUAL_WEIGHT: f64 = 5.0;

/// What an agent is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A language model.
    #[default]
    Llm,
    /// A function that is called.
    Tool,
    /// A service behind an address.
    Api,
    /// A person.
    Human,
    /// Others asked together.
    Ensemble,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Llm, Self::Tool, Self::Api, Self::Human, Self::Ensemble];

    /// The word callers write.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Llm => "llm",
            Self::Tool => "tool",
            Self::Api => "api",
            Self::Human => "human",
            Self::Ensemble => "ensemble",
        }
    }
}

/// Somebody or something that can answer requests.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// What it goes by.
    pub name: String,
    /// What it is.
    #[serde(rename = "type", default)]
    pub kind: Kind,
    /// What it can do.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// What else requests may ask for.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Where it serves.
    #[serde(default)]
    pub region: Option<String>,
    /// Whether it may be chosen.
    #[serde(default = "yes")]
    pub active: bool,
    /// USD a token and a request.
    #[serde(default)]
    pub prices: Prices,
    /// USD a second it takes.
    #[serde(default)]
    pub price_second: Option<f64>,
    /// Tokens of a usual answer.
    #[serde(default)]
    pub output_tokens: Option<f64>,
    /// Seconds an answer takes: mean.
    #[serde(default)]
    pub latency: Option<f64>,
    /// Their 99th percentile.
    #[serde(default)]
    pub latency_p99: Option<f64>,
    /// Declared quality in [0, 1] of the answers it gives.
    #[serde(default)]
    pub quality: Option<f64>,
    /// The same by capability or task.
    #[serde(default)]
    pub task_quality: BTreeMap<String, f64>,
    /// Declared share of calls that are answered at all.
    #[serde(default)]
    pub success: Option<f64>,
    /// How many outcomes a declared value is worth.
    #[serde(default = "usual_weight")]
    pub prior_weight: f64,
    /// Most tokens of prompt and answer.
    #[serde(default)]
    pub context: Option<f64>,
    /// Agents it asks, if it is an ensemble.
    #[serde(default)]
    pub members: Vec<String>,
    /// What was observed.
    #[serde(default)]
    pub state: State,
}

fn yes() -> bool {
    true
}

#[expect(clippy::unnecessary_wraps, reason = "the default of a field that may be null")]
fn answered() -> Option<bool> {
    Some(true)
}

fn usual_weight() -> f64 {
    USUAL_WEIGHT
}

/// What was observed of an agent, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// UTC seconds that the sums are of.
    #[serde(default)]
    pub at: f64,
    /// Outcomes in all; they do not fade.
    #[serde(default)]
    pub outcomes: u64,
    /// Quality of answers.
    #[serde(default)]
    pub quality: Tally,
    /// Whether calls were answered: 1 or 0.
    #[serde(default)]
    pub success: Tally,
    /// USD, as multiples of what was expected.
    #[serde(default)]
    pub cost_ratio: Tally,
    /// USD of calls of which nothing was expected.
    #[serde(default)]
    pub cost: Tally,
    /// Seconds.
    #[serde(default)]
    pub latency: Tally,
    /// Tokens of answers.
    #[serde(default)]
    pub output_tokens: Tally,
    /// Quality by task.
    #[serde(default)]
    pub tasks: BTreeMap<String, Tally>,
}

/// What came of one call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// UTC seconds.
    pub at: f64,
    /// In [0, 1]; of calls that were answered.
    #[serde(default)]
    pub quality: Option<f64>,
    /// Whether it was answered; none: of a call that was counted before, of whose answer more is known now.
    #[serde(default = "answered")]
    pub success: Option<bool>,
    /// Capability or task it was about.
    #[serde(default)]
    pub task: Option<String>,
    /// USD it cost.
    #[serde(default)]
    pub cost: Option<f64>,
    /// USD that was expected, by the choice.
    #[serde(default)]
    pub expected_cost: Option<f64>,
    /// Seconds it took.
    #[serde(default)]
    pub latency: Option<f64>,
    /// Tokens of the answer.
    #[serde(default)]
    pub output_tokens: Option<f64>,
}

#[cold]
#[inline(never)]
pub(super) fn refused(field: impl Into<String>, value: impl std::fmt::Display, remedy: &str) -> Error {
    Error::new(ErrorKind::CandidateInvalid, field, value, remedy)
}

fn within(field: &str, value: Option<f64>, low: f64, high: f64, remedy: &str) -> Result<()> {
    match value {
        Some(value) if !(low..=high).contains(&value) => Err(refused(field, value, remedy)),
        _ => Ok(()),
    }
}

impl Outcome {
    /// Refuses what cannot have come of a call.
    ///
    /// # Errors
    /// `CandidateInvalid`.
    pub fn check(&self) -> Result<()> {
        if !self.at.is_finite() {
            return Err(refused("at", self.at, "give UTC seconds"));
        }
        within("quality", self.quality, 0.0, 1.0, "give a number from 0 to 1")?;
        if self.quality.is_some() && self.success == Some(false) {
            return Err(refused("quality", "of a call that failed", "leave it out, or set success"));
        }
        for (field, value) in [
            ("cost", self.cost),
            ("expected_cost", self.expected_cost),
            ("output_tokens", self.output_tokens),
        ] {
            within(field, value, 0.0, LARGEST, "give a finite number, 0 or more")?;
        }
        if self.latency.is_some_and(|seconds| !(seconds > 0.0 && seconds <= LARGEST)) {
            return Err(refused("latency", self.latency.unwrap_or_default(), "give seconds above 0"));
        }
        Ok(())
    }
}

impl State {
    /// The sums with one more outcome, as of the later of both moments.
    ///
    /// # Errors
    /// As [`Outcome::check`].
    pub fn after(&self, outcome: &Outcome, half_life: Option<f64>) -> Result<Self> {
        outcome.check()?;
        let first = self.outcomes == 0 && self.quality == Tally::default();
        let at = if first { outcome.at } else { self.at.max(outcome.at) };
        let (kept, counted) = (fading(at - self.at, half_life), fading(at - outcome.at, half_life));
        let mut found = self.clone();
        found.at = at;
        found.outcomes += u64::from(outcome.success.is_some());
        let sums = [
            &mut found.quality,
            &mut found.success,
            &mut found.cost_ratio,
            &mut found.cost,
            &mut found.latency,
            &mut found.output_tokens,
        ];
        for tally in sums.into_iter().chain(found.tasks.values_mut()) {
            *tally = tally.faded(kept);
        }
        if let Some(quality) = outcome.quality {
            found.quality.add(quality, counted);
            if let Some(task) = &outcome.task {
                found.tasks.entry(task.clone()).or_default().add(quality, counted);
            }
        }
        if let Some(success) = outcome.success {
            found.success.add(f64::from(u8::from(success)), counted);
        }
        match (outcome.cost, outcome.expected_cost) {
            (Some(cost), Some(expected)) if expected > 0.0 => found.cost_ratio.add(cost / expected, counted),
            (Some(cost), _) => found.cost.add(cost, counted),
            (None, _) => {}
        }
        if let Some(seconds) = outcome.latency {
            found.latency.add(seconds, counted);
        }
        if let Some(tokens) = outcome.output_tokens {
            found.output_tokens.add(tokens, counted);
        }
        Ok(found)
    }

    fn check(&self) -> Result<()> {
        let sums = [
            ("quality", &self.quality),
            ("success", &self.success),
            ("cost_ratio", &self.cost_ratio),
            ("cost", &self.cost),
            ("latency", &self.latency),
            ("output_tokens", &self.output_tokens),
        ];
        let tasks = self.tasks.iter().map(|(task, tally)| (task.as_str(), tally));
        let unsound = sums.into_iter().chain(tasks).find(|(_, tally)| !tally.is_sound());
        if let Some((field, _)) = unsound {
            return Err(refused(format!("state.{field}"), "no sums", "give what State::after gave"));
        }
        if self.at.is_finite() { Ok(()) } else { Err(refused("state.at", self.at, "give UTC seconds")) }
    }
}

impl Agent {
    /// Refuses what no agent can be.
    ///
    /// # Errors
    /// `CandidateInvalid`, naming field, value and remedy.
    pub fn check(&self) -> Result<()> {
        if self.name.trim().is_empty() {
            return Err(refused("name", "empty", "give the agent a name"));
        }
        let named = |field: &str| format!("{field} of agent '{}'", self.name);
        let empty = |names: &[String]| names.iter().any(|name| name.trim().is_empty());
        if empty(&self.capabilities) {
            return Err(refused(named("capabilities"), "an empty one", "give each a name"));
        }
        if empty(&self.tags) {
            return Err(refused(named("tags"), "an empty one", "give each a name"));
        }
        for price in self.prices.all().chain(self.price_second) {
            if !(0.0..=LARGEST).contains(&price) {
                return Err(refused(named("prices"), price, "give a finite number of USD, 0 or more"));
            }
        }
        if let Some((given, missing)) = self.prices.incomplete() {
            let remedy = format!("give {missing} as well, 0 where it is free");
            return Err(refused(named("prices"), format!("{given} alone"), &remedy));
        }
        let above = |field: &str, value: Option<f64>, remedy: &str| match value {
            Some(value) if !(value > 0.0 && value <= LARGEST) => Err(refused(named(field), value, remedy)),
            _ => Ok(()),
        };
        above("latency", self.latency, "give seconds above 0, or none where nobody knows")?;
        above("latency_p99", self.latency_p99, "give seconds above 0, or none where nobody knows")?;
        above("output_tokens", self.output_tokens, "give tokens above 0")?;
        above("context", self.context, "give tokens above 0, or none for no limit")?;
        match (self.latency, self.latency_p99) {
            (Some(mean), Some(p99)) if p99 < mean => {
                let remedy = "give a 99th percentile that is no less than the mean";
                return Err(refused(named("latency_p99"), format!("{p99} below the mean {mean}"), remedy));
            }
            (None, Some(p99)) => {
                return Err(refused(named("latency_p99"), format!("{p99} alone"), "give latency as well"));
            }
            _ => {}
        }
        let shares =
            self.task_quality.iter().map(|(task, share)| (format!("task_quality['{task}']"), *share));
        let shares = shares
            .chain(self.quality.map(|share| ("quality".to_owned(), share)))
            .chain(self.success.map(|share| ("success".to_owned(), share)));
        for (field, share) in shares {
            within(&named(&field), Some(share), 0.0, 1.0, "give a number from 0 to 1")?;
        }
        if !(self.prior_weight > 0.0 && self.prior_weight <= LARGEST) {
            let remedy = "give the number of outcomes that a declared value is worth, above 0";
            return Err(refused(named("prior_weight"), self.prior_weight, remedy));
        }
        if (self.kind == Kind::Ensemble) == self.members.is_empty() {
            let found = format!("{} of a {}", self.members.len(), self.kind.as_str());
            return Err(refused(named("members"), found, "give members to an ensemble, and to nothing else"));
        }
        self.state.check()
    }
}
