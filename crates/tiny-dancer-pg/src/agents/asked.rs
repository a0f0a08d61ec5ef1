//! What SQL asks of a choice among agents: the arguments that all functions share, as the engine takes them.

use std::collections::BTreeMap;

use serde::Deserialize;
use tiny_dancer::agents::{AgentSet, Kind, Named, Query, Weights};
use tiny_dancer::{Error, ErrorKind};

use super::declared::object;
use super::registry::now;
use crate::call::Call;
use crate::decide::jsonb;
use crate::failure::{ARGUMENT, Failure, Result};

/// Of a request whose tokens nobody counted.
const BYTES_PER_TOKEN: usize = 4;

/// What the argument `options` may say besides.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    task: Option<String>,
    types: Vec<Kind>,
    excluded: Vec<String>,
    tags: Vec<String>,
    region: Option<String>,
    input_tokens: Option<f64>,
    cached_tokens: f64,
    output_tokens: Option<f64>,
    weights: Weights,
    level: Option<f64>,
    explore: Option<f64>,
    qualities: BTreeMap<String, f64>,
    now: Option<f64>,
}

/// What is asked, of any request.
#[derive(Debug)]
pub struct Asked {
    /// What is wanted.
    pub policy: Named,
    /// Capabilities an agent must have.
    pub required: Vec<String>,
    max_cost: f64,
    max_latency: f64,
    min_quality: Option<f64>,
    /// USD that are left.
    pub budget: f64,
    options: Options,
}

fn refused(field: &str, value: impl std::fmt::Display, remedy: &str) -> Failure {
    Error::new(ErrorKind::OptionInvalid, field, value, remedy).into()
}

/// Texts of an argument that is an array of them; null is none at all.
///
/// # Errors
/// A null among them.
pub fn texts(call: &Call, place: usize, field: &str) -> Result<Vec<String>> {
    let each = call.texts(place, field)?.into_iter().enumerate().map(|(at, text)| {
        text.map(std::borrow::Cow::into_owned).ok_or_else(|| {
            let field = format!("{field}[{}]", at + 1);
            Failure::new(ARGUMENT, field, "null", "give texts without a null among them")
        })
    });
    each.collect()
}

/// Tokens of a request that nobody counted.
fn guessed(request: &str) -> f64 {
    request.len().div_ceil(BYTES_PER_TOKEN) as f64
}

impl Asked {
    /// Reads the arguments from the second to the eighth: `optimize_for`, `required_capabilities`, `max_cost`,
    /// `max_latency_ms`, `min_quality`, `budget_remaining`, `options`. Null says nothing.
    ///
    /// # Errors
    /// What is no policy, bound or option.
    pub fn read(call: &Call) -> Result<Self> {
        let policy = match call.text(1)? {
            None => Named::Balanced,
            Some(word) => policy(&word)?,
        };
        Self::of(call, policy)
    }

    /// The same with a policy that was read already.
    ///
    /// # Errors
    /// As [`Asked::read`].
    pub fn of(call: &Call, policy: Named) -> Result<Self> {
        let options = match call.datum(7) {
            None => Options::default(),
            Some(given) => object(&jsonb(given)?)
                .map_err(|error| refused("options", error, "give an object of options"))?,
        };
        let milliseconds = call.float(4);
        if let Some(bound) = milliseconds
            && (bound.is_nan() || bound <= 0.0)
        {
            return Err(refused("max_latency_ms", bound, "give a time above 0: nothing takes none"));
        }
        Ok(Self {
            policy,
            required: texts(call, 2, "required_capabilities")?,
            max_cost: call.float(3).unwrap_or(f64::INFINITY),
            max_latency: milliseconds.map_or(f64::INFINITY, |bound| bound / 1000.0),
            min_quality: call.float(5),
            budget: call.float(6).unwrap_or(f64::INFINITY),
            options,
        })
    }

    /// The query of a request.
    ///
    /// # Errors
    /// As `ask`, or an agent named that is not there.
    pub fn with<T>(&self, set: &AgentSet, request: &str, ask: impl FnOnce(&Query) -> Result<T>) -> Result<T> {
        let options = &self.options;
        let mut qualities = vec![f64::NAN; if options.qualities.is_empty() { 0 } else { set.len() }];
        for (name, quality) in &options.qualities {
            qualities[set.named("qualities", name)?] = *quality;
        }
        let [required, excluded, tags] = [&self.required, &options.excluded, &options.tags]
            .map(|names| names.iter().map(String::as_str).collect::<Vec<_>>());
        let Weights { quality, cost, latency } = options.weights;
        ask(&Query {
            policy: self.policy,
            weights: [quality, cost, latency],
            input_tokens: options.input_tokens.unwrap_or_else(|| guessed(request)),
            cached_tokens: options.cached_tokens,
            output_tokens: options.output_tokens.unwrap_or(f64::NAN),
            required: &required,
            task: options.task.as_deref(),
            kinds: &options.types,
            excluded: &excluded,
            tags: &tags,
            region: options.region.as_deref(),
            max_cost: self.max_cost,
            budget: self.budget,
            max_latency: self.max_latency,
            min_quality: self.min_quality,
            level: options.level.unwrap_or(Query::default().level),
            explore: options.explore,
            now: options.now.unwrap_or_else(now),
            qualities: &qualities,
        })
    }
}

/// The policy of a word.
///
/// # Errors
/// None of this name; it names those there are.
pub fn policy(word: &str) -> Result<Named> {
    Named::of_word(word).ok_or_else(|| {
        let known: Vec<&str> = Named::ALL.iter().map(|policy| policy.as_str()).collect();
        refused("optimize_for", word, &format!("use one of {}", known.join(", ")))
    })
}

/// What an error of the engine's is called where agents are chosen.
#[must_use]
pub fn no_agent(error: Error) -> Failure {
    if error.kind == ErrorKind::NoFeasibleModel {
        let Error { field, value, remedy, .. } = error;
        return Failure::new((b"TD008", "no suitable agent"), field, value, remedy);
    }
    error.into()
}
