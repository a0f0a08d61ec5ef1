//! Agents and choices as JSON, so that a binding forwards bytes and nothing else.
//!
//! A query is an object: `optimize_for`, `weights` (`quality`, `cost`, `latency`), `input_tokens`, `cached_tokens`,
//! `output_tokens`, `required_capabilities`, `task`, `types`, `excluded`, `tags`, `region`, `max_cost`,
//! `budget_remaining`, `max_latency` (seconds), `min_quality`, `level`, `explore`, `now`, `qualities` (an object by
//! agent) and `front`. A field that is unknown is refused. The answer is an object; null is unknown.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::agent::{Agent, Kind, Outcome, State};
use super::choose::{Choice, Choices, Expected, Query};
use super::policy::{Named, Policy};
use super::set::AgentSet;
use crate::error::{Error, ErrorKind, Result};
use crate::json::{Reader, typed};

/// Weights of a policy.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Weights {
    /// Of quality.
    pub quality: f64,
    /// Of a USD.
    pub cost: f64,
    /// Of a second.
    pub latency: f64,
}

impl Default for Weights {
    fn default() -> Self {
        let [quality, cost, latency] = Query::default().weights;
        Self { quality, cost, latency }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    optimize_for: Named,
    weights: Weights,
    input_tokens: f64,
    cached_tokens: f64,
    output_tokens: Option<f64>,
    required_capabilities: Vec<String>,
    task: Option<String>,
    types: Vec<Kind>,
    excluded: Vec<String>,
    tags: Vec<String>,
    region: Option<String>,
    max_cost: Option<f64>,
    budget_remaining: Option<f64>,
    max_latency: Option<f64>,
    min_quality: Option<f64>,
    level: f64,
    explore: Option<f64>,
    now: f64,
    qualities: BTreeMap<String, f64>,
    front: bool,
}

impl Default for Asked {
    fn default() -> Self {
        let usual = Query::default();
        Self {
            optimize_for: usual.policy,
            weights: Weights::default(),
            input_tokens: 0.0,
            cached_tokens: 0.0,
            output_tokens: None,
            required_capabilities: Vec::new(),
            task: None,
            types: Vec::new(),
            excluded: Vec::new(),
            tags: Vec::new(),
            region: None,
            max_cost: None,
            budget_remaining: None,
            max_latency: None,
            min_quality: None,
            level: usual.level,
            explore: None,
            now: 0.0,
            qualities: BTreeMap::new(),
            front: false,
        }
    }
}

#[derive(Serialize)]
struct Found<'a> {
    agent: &'a str,
    quality: f64,
    quality_interval: Option<[f64; 2]>,
    cost: Option<f64>,
    cost_interval: Option<[f64; 2]>,
    latency: Option<f64>,
    latency_interval: Option<[f64; 2]>,
    utility: Option<f64>,
    confidence: f64,
    runner_up: Option<&'a str>,
    suitable: usize,
    removed: BTreeMap<&'a str, &'static str>,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    front: Option<Vec<&'a str>>,
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

#[cold]
#[inline(never)]
fn no_json(error: impl std::fmt::Display, field: &str, remedy: &str) -> Error {
    Error::new(ErrorKind::OptionInvalid, field, error, remedy)
}

impl AgentSet {
    /// Reads agents, a JSON object or a list of them, and puts them in, all or none.
    ///
    /// # Errors
    /// `CandidateInvalid`: no such JSON, and as [`AgentSet::put`].
    pub fn put_json(&mut self, json: &str) -> Result<()> {
        let several = Reader::new(json).peek().is_ok_and(|kind| kind == crate::json::Kind::Array);
        let agents = if several { typed(json) } else { typed(json).map(|one| vec![one]) };
        let agents: Vec<Agent> = agents.map_err(|error| {
            let remedy = "give an agent's fields by their names, or a list of such objects";
            Error::new(ErrorKind::CandidateInvalid, "agents", error, remedy)
        })?;
        agents.iter().try_for_each(Agent::check)?;
        agents.iter().try_for_each(|agent| self.put(agent))
    }

    /// Answers a query.
    ///
    /// # Errors
    /// `OptionInvalid` for what is no query, and as [`AgentSet::choose`].
    pub fn choose_json(&self, query: &str, choices: &mut Choices) -> Result<String> {
        let asked: Asked = typed(query)
            .map_err(|error| no_json(error, "query", "give an object of the fields of a query"))?;
        let names = |names: &[String]| names.to_vec();
        let (required, excluded, tags) =
            (names(&asked.required_capabilities), names(&asked.excluded), names(&asked.tags));
        let required: Vec<&str> = required.iter().map(String::as_str).collect();
        let excluded: Vec<&str> = excluded.iter().map(String::as_str).collect();
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        let mut qualities = vec![f64::NAN; if asked.qualities.is_empty() { 0 } else { self.len() }];
        for (name, quality) in &asked.qualities {
            qualities[self.named("qualities", name)?] = *quality;
        }
        let query = Query {
            policy: asked.optimize_for,
            weights: [asked.weights.quality, asked.weights.cost, asked.weights.latency],
            input_tokens: asked.input_tokens,
            cached_tokens: asked.cached_tokens,
            output_tokens: asked.output_tokens.unwrap_or(f64::NAN),
            required: &required,
            task: asked.task.as_deref(),
            kinds: &asked.types,
            excluded: &excluded,
            tags: &tags,
            region: asked.region.as_deref(),
            max_cost: asked.max_cost.unwrap_or(f64::INFINITY),
            budget: asked.budget_remaining.unwrap_or(f64::INFINITY),
            max_latency: asked.max_latency.unwrap_or(f64::INFINITY),
            min_quality: asked.min_quality,
            level: asked.level,
            explore: asked.explore,
            now: asked.now,
            qualities: &qualities,
        };
        let choice = self.choose(&query, choices)?;
        let front = asked.front.then(|| self.front(choices).into_iter().map(|row| self.name(row)).collect());
        let expected = &choice.expected;
        let removed = choices.removed.iter().enumerate();
        let runner_up = choice.runner_up.map(|(row, _)| self.name(row));
        let found = Found {
            agent: self.name(choice.agent),
            quality: expected.quality,
            quality_interval: expected.quality_interval(query.level),
            cost: finite(expected.cost.mean),
            cost_interval: Expected::interval(&expected.cost, query.level),
            latency: finite(expected.latency.mean),
            latency_interval: Expected::interval(&expected.latency, query.level),
            utility: finite(expected.utility),
            confidence: choice.confidence,
            runner_up,
            suitable: choice.suitable,
            removed: removed.filter_map(|(row, by)| by.map(|by| (self.name(row), by.as_str()))).collect(),
            reason: choice.reason(query.policy, query.weights, runner_up, self.len()),
            front,
        };
        serde_json::to_string(&found).map_err(|error| no_json(error, "answer", "report it"))
    }
}

impl Choice {
    /// Why this agent, in words: of `all` agents, with the name of the runner-up.
    #[must_use]
    pub fn reason(&self, policy: Named, weights: [f64; 3], next: Option<&str>, all: usize) -> String {
        let expected = &self.expected;
        let mut text = match policy.policy(weights) {
            Policy::PerDollar => format!(
                "quality_per_dollar: quality {:.4} / {:.6} USD = {:.2} a USD",
                expected.quality, expected.cost.mean, expected.utility
            ),
            Policy::Weighted { .. } if policy == Named::Cost => {
                format!("cost: the cheapest, at {:.6} USD", expected.cost.mean)
            }
            Policy::Weighted { .. } if policy == Named::Latency => {
                format!("latency: the fastest, at {:.3} s", expected.latency.mean)
            }
            Policy::Weighted { quality, cost, latency } => {
                let mut sum = format!("{}: ", policy.as_str());
                let _ = if (quality - 1.0).abs() <= 0.0 {
                    write!(sum, "quality {:.4}", expected.quality)
                } else {
                    write!(sum, "{quality} * quality {:.4}", expected.quality)
                };
                let (usd, seconds) = (!expected.cost.mean.is_nan(), !expected.latency.mean.is_nan());
                if cost > 0.0 && usd {
                    let _ = write!(sum, " - {cost} * {:.6} USD", expected.cost.mean);
                }
                if latency > 0.0 && seconds {
                    let _ = write!(sum, " - {latency} * {:.3} s", expected.latency.mean);
                }
                if cost > 0.0 && usd || latency > 0.0 && seconds {
                    let _ = write!(sum, " = {:.4}", expected.utility);
                }
                sum
            }
        };
        let removed = all - self.suitable;
        let _ = match next {
            Some(name) => write!(text, "; next is {name}"),
            None => write!(text, "; nothing else was left"),
        };
        let _ = write!(text, "; {removed} of {all} removed");
        text
    }
}

/// The state after an outcome, both as JSON ([`State::after`]); empty text is the state of a new agent.
///
/// # Errors
/// `CandidateInvalid`: no such JSON, and as [`State::after`].
pub fn state_after_json(state: &str, outcome: &str, half_life: Option<f64>) -> Result<String> {
    let bad = |field: &str, error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::CandidateInvalid, field, error, "give its fields by their names")
    };
    let state: State = if state.is_empty() {
        State::default()
    } else {
        typed(state).map_err(|error| bad("state", &error))?
    };
    let outcome: Outcome = typed(outcome).map_err(|error| bad("outcome", &error))?;
    let after = state.after(&outcome, half_life)?;
    serde_json::to_string(&after).map_err(|error| bad("state", &error))
}
