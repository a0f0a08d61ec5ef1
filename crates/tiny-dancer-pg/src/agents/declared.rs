//! An agent as the registry's table holds it: the fields that Python's `Agent` has, in its order.
//!
//! Both write the same JSON and read each other's. What an agent may be is the engine's to say; what the table holds beyond
//! that (how long a text may be empty, whole numbers) is checked here as Python checks it, so that no program finds an
//! agent there that it refuses.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tiny_dancer::agents::{Agent, Kind, State};
use tiny_dancer::price::{Prices, Tier};
use tiny_dancer::{Error, ErrorKind, Result};

/// Other prices of long prompts, per token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredTier {
    above_tokens: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input_cost_per_token: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output_cost_per_token: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_read_input_token_cost: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_creation_input_token_cost: Option<f64>,
}

/// An agent as it was declared.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Declared {
    /// What it goes by.
    #[serde(deserialize_with = "named")]
    pub name: String,
    #[serde(rename = "type")]
    kind: Kind,
    description: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    examples: Vec<String>,
    /// USD per 1,000 tokens of the prompt.
    pub input_cost_per_1k: Option<f64>,
    /// USD per 1,000 tokens of the answer.
    pub output_cost_per_1k: Option<f64>,
    cached_input_cost_per_1k: Option<f64>,
    price_tiers: Vec<DeclaredTier>,
    /// USD per request.
    pub cost_per_call: Option<f64>,
    cost_per_second: Option<f64>,
    output_tokens: Option<f64>,
    latency_s: Option<f64>,
    latency_p99_s: Option<f64>,
    quality: Option<f64>,
    task_quality: BTreeMap<String, f64>,
    success_rate: Option<f64>,
    prior_weight: f64,
    context: Option<u64>,
    max_concurrency: Option<u64>,
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
    tags: Vec<String>,
    region: Option<String>,
    members: Vec<String>,
    metadata: Box<RawValue>,
    /// Whether it may be chosen.
    pub active: bool,
    version: String,
}

/// A name, which has no default.
fn named<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<String, D::Error> {
    String::deserialize(from)
}

impl Default for Declared {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: Kind::default(),
            description: String::new(),
            capabilities: Vec::new(),
            examples: Vec::new(),
            input_cost_per_1k: None,
            output_cost_per_1k: None,
            cached_input_cost_per_1k: None,
            price_tiers: Vec::new(),
            cost_per_call: None,
            cost_per_second: None,
            output_tokens: Some(256.0),
            latency_s: None,
            latency_p99_s: None,
            quality: None,
            task_quality: BTreeMap::new(),
            success_rate: None,
            prior_weight: 5.0,
            context: None,
            max_concurrency: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            tags: Vec::new(),
            region: None,
            members: Vec::new(),
            metadata: RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| unreachable!("an object")),
            active: true,
            version: "1".to_owned(),
        }
    }
}

const FIELDS: &str = "give an object of an agent's fields: name, type, description, capabilities, examples, \
    input_cost_per_1k, output_cost_per_1k, cached_input_cost_per_1k, price_tiers, cost_per_call, cost_per_second, \
    output_tokens, latency_s, latency_p99_s, quality, task_quality, success_rate, prior_weight, context, \
    max_concurrency, requests_per_minute, tokens_per_minute, tags, region, members, metadata, active, version";

fn refused(field: impl Into<String>, value: impl std::fmt::Display, remedy: &str) -> Error {
    Error::new(ErrorKind::CandidateInvalid, field, value, remedy)
}

/// Reads an object; a list of its values in order, which a struct can be read of too, is none.
///
/// # Errors
/// It is something else.
pub fn object<'a, T: Deserialize<'a>>(json: &'a str) -> serde_json::Result<T> {
    if !json.trim_start().starts_with('{') {
        serde_json::from_str::<Map<String, Value>>(json)?;
    }
    serde_json::from_str(json)
}

impl Declared {
    /// Reads a declaration, and refuses what no agent can be.
    ///
    /// # Errors
    /// `CandidateInvalid`: no such JSON, and as [`Agent::check`].
    pub fn read(json: &str) -> Result<Self> {
        let mut found: Self = object(json).map_err(|error| refused("agent", error, FIELDS))?;
        for names in [&mut found.capabilities, &mut found.examples, &mut found.tags, &mut found.members] {
            let mut seen = std::collections::HashSet::new();
            names.retain(|name| seen.insert(name.clone()));
        }
        found.check()?;
        Ok(found)
    }

    fn check(&self) -> Result<()> {
        let texts = [("capabilities", &self.capabilities), ("examples", &self.examples)]
            .into_iter()
            .chain([("tags", &self.tags), ("members", &self.members)]);
        for (field, texts) in texts {
            if texts.iter().any(String::is_empty) {
                return Err(refused(field, "an empty one", "give text"));
            }
        }
        if self.region.as_ref().is_some_and(String::is_empty) {
            return Err(refused("region", "empty", "give text, or null where none is said"));
        }
        if self.version.is_empty() {
            return Err(refused("version", "empty", "give text"));
        }
        if self.task_quality.keys().any(String::is_empty) {
            return Err(refused("task_quality", "an empty task", "give {\"task\": quality}"));
        }
        for (field, most) in [
            ("context", self.context),
            ("max_concurrency", self.max_concurrency),
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
        ] {
            if most.is_some_and(|most| most == 0 || i64::try_from(most).is_err()) {
                let value = most.unwrap_or_default();
                return Err(refused(field, value, "give a whole number, 1 or more, or null for no limit"));
            }
        }
        // Kept as it is written: numbers of any length. Read once all the same, as what is nested too deep is refused there.
        serde_json::from_str::<Map<String, Value>>(self.metadata.get()).map_err(|error| {
            refused("metadata", error, "give an object, not nested deeper than a hundred times")
        })?;
        self.agent(State::default()).check()
    }

    /// As the engine takes it, with what was observed of it.
    #[must_use]
    pub fn agent(&self, state: State) -> Agent {
        let per_token = |per_1k: Option<f64>| per_1k.map(|usd| usd / 1000.0);
        let tiers = self.price_tiers.iter().map(|tier| Tier {
            above: tier.above_tokens as f64,
            input: tier.input_cost_per_token,
            output: tier.output_cost_per_token,
            cached_input: tier.cache_read_input_token_cost,
            cache_write: tier.cache_creation_input_token_cost,
        });
        Agent {
            name: self.name.clone(),
            kind: self.kind,
            capabilities: self.capabilities.clone(),
            tags: self.tags.clone(),
            region: self.region.clone(),
            active: self.active,
            prices: Prices {
                input: per_token(self.input_cost_per_1k),
                output: per_token(self.output_cost_per_1k),
                request: self.cost_per_call,
                cached_input: per_token(self.cached_input_cost_per_1k),
                cache_write: None,
                tiers: tiers.collect(),
            },
            price_second: self.cost_per_second,
            output_tokens: self.output_tokens,
            latency: self.latency_s,
            latency_p99: self.latency_p99_s,
            quality: self.quality,
            task_quality: self.task_quality.clone(),
            success: self.success_rate,
            prior_weight: self.prior_weight,
            context: self.context.map(|tokens| tokens as f64),
            members: self.members.clone(),
            state,
        }
    }

    /// As JSON, all fields.
    ///
    /// # Errors
    /// Never: there are only texts and finite numbers.
    pub fn json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| refused("agent", error, "report it"))
    }
}
