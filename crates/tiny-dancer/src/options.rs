//! What a caller asks of a decision beyond the request, by name. A new option is a field here, a word in
//! [`Options::from_json`]'s error, and its conversion in a binding.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::artifact::Header;
use crate::error::{Error, ErrorKind, Result};
use crate::json::{Unfit, typed};
use crate::policy::Scale;

/// Far above any answer's length; with the bound on prices it keeps every cost finite.
const MOST_TOKENS: f64 = 1e9;

/// What a caller asks. The default asks nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Most USD the answer may cost.
    pub max_cost: Option<f64>,
    /// Least quality to expect, in [0, 1].
    pub min_quality: Option<f64>,
    /// Most seconds the answer may take.
    pub max_latency: Option<f64>,
    /// Only these models; empty means all.
    #[serde(deserialize_with = "or_nothing")]
    pub allowed: Vec<String>,
    /// Not these.
    #[serde(deserialize_with = "or_nothing")]
    pub exclude: Vec<String>,
    /// This one, whatever the policy says.
    pub pin: Option<String>,
    /// Another threshold on the gain than the artifact's.
    pub threshold: Option<f64>,
    /// Another quality per unit of cost than the artifact's.
    pub cost_weight: Option<f64>,
    /// One of the artifact's policies, by name.
    pub policy: Option<Scale>,
    /// Output tokens to expect of any model, where the caller knows.
    pub expected_output_tokens: Option<f64>,
    /// The model the conversation is with: it stays where leaving its prompt cache does not pay.
    pub current: Option<String>,
    /// Tokens of the conversation in the models' prompt caches, by model.
    #[serde(deserialize_with = "or_nothing")]
    pub cached_tokens: BTreeMap<String, f64>,
}

/// A null asks nothing, as an absent key does.
fn or_nothing<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    value: D,
) -> std::result::Result<T, D::Error> {
    Option::<T>::deserialize(value).map(Option::unwrap_or_default)
}

#[cold]
#[inline(never)]
fn invalid(field: &str, value: impl std::fmt::Display, remedy: impl Into<String>) -> Error {
    Error::new(ErrorKind::OptionInvalid, field, value, remedy)
}

impl Options {
    /// Options as a JSON object; empty text asks nothing.
    ///
    /// # Errors
    /// `OptionInvalid`: no object, an unknown name, or a value of another type.
    pub fn from_json(json: &str) -> Result<Self> {
        let given = json.trim();
        if given.is_empty() || given == "null" {
            return Ok(Self::default());
        }
        if !given.starts_with('{') {
            return Err(invalid("options", given, "give an object of options by their names"));
        }
        typed(given).map_err(|error| at_fault(given, &error))
    }

    /// Whether every value is in its range and every name one of the artifact's.
    pub(crate) fn check(&self, header: &Header) -> Result<()> {
        let positive = [
            ("max_cost", self.max_cost, f64::MAX, "give a finite number ≥ 0"),
            ("max_latency", self.max_latency, f64::MAX, "give a finite number ≥ 0"),
            ("cost_weight", self.cost_weight, f64::MAX, "give a number ≥ 0: quality worth one unit of cost"),
            ("expected_output_tokens", self.expected_output_tokens, MOST_TOKENS, "give at most 1e9 tokens"),
            ("min_quality", self.min_quality, 1.0, "give a quality in [0, 1]"),
        ];
        for (field, value, most, remedy) in positive {
            if let Some(value) = value
                && !(0.0..=most).contains(&value)
            {
                let finite = value.is_finite() && value >= 0.0 || field == "min_quality";
                return Err(invalid(field, value, if finite { remedy } else { "give a finite number ≥ 0" }));
            }
        }
        if let Some(threshold) = self.threshold
            && !threshold.is_finite()
        {
            return Err(invalid("threshold", threshold, "give a finite number"));
        }
        if let (Some(threshold), Some(_)) = (self.threshold, self.cost_weight) {
            return Err(invalid(
                "threshold",
                format!("{threshold} beside cost_weight"),
                "give one of the two",
            ));
        }
        let named = [("allowed", &self.allowed), ("exclude", &self.exclude)];
        for (field, names) in named {
            for name in names {
                index(header, field, name)?;
            }
        }
        for (field, name) in [("pin", &self.pin), ("current", &self.current)] {
            if let Some(name) = name {
                index(header, field, name)?;
            }
        }
        for (model, tokens) in &self.cached_tokens {
            index(header, "cached_tokens", model)?;
            if !(0.0..=MOST_TOKENS).contains(tokens) {
                return Err(invalid("cached_tokens", tokens, "give a number of tokens ≥ 0"));
            }
        }
        Ok(())
    }

    /// Tokens that a model has in its cache.
    pub(crate) fn cached(&self, model: &str) -> f64 {
        self.cached_tokens.get(model).copied().unwrap_or(0.0)
    }
}

/// The error of an object of options that could not be read: of the first option that cannot be read alone.
#[cold]
#[inline(never)]
fn at_fault(given: &str, error: &Unfit) -> Error {
    let fields: serde_json::Map<String, serde_json::Value> = typed(given).unwrap_or_default();
    let alone = |(name, value): (&String, &serde_json::Value)| {
        let alone = serde_json::Map::from_iter([(name.clone(), value.clone())]);
        let error = typed::<Options>(&serde_json::Value::Object(alone).to_string()).err()?;
        let remedy = match name.as_str() {
            "max_cost"
            | "min_quality"
            | "max_latency"
            | "threshold"
            | "cost_weight"
            | "expected_output_tokens" => "give a number",
            "allowed" | "exclude" => "give a list of names of models",
            "pin" | "current" => "give the name of a model",
            "policy" => "use one of quality, balanced, cheapest",
            "cached_tokens" => "give {model: tokens in its prompt cache}",
            _ => return Some(invalid("options", error, "give an object of options by their names")),
        };
        Some(invalid(name, value, remedy))
    };
    let found = fields.iter().find_map(alone);
    found.unwrap_or_else(|| invalid("options", error, "give an object of options by their names"))
}

/// The place of a model among the artifact's.
pub(crate) fn index(header: &Header, field: &str, name: &str) -> Result<usize> {
    header.models.iter().position(|model| model.name == name).ok_or_else(|| {
        let names: Vec<&str> = header.models.iter().map(|model| model.name.as_str()).collect();
        invalid(field, format!("'{name}'"), format!("the models are {}", names.join(", ")))
    })
}
