//! The header of an artifact that routes requests among models.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Kind, LARGEST_NUMBER, MOST_BACKENDS, MOST_COMPONENTS, MOST_MODELS, MOST_SELF_CHECKS, invalid};
use crate::error::Result;
use crate::likeness::{DriftSpec, LikenessSpec};
use crate::policy::{Policies, Policy, Scale};
use crate::price::{CostSeen, MOST_TIERS, Prices, same};
use crate::select::Uncovered;

/// A model the artifact chooses among.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct ModelSpec {
    /// Its name, or a role (`weak`, `strong`) that the user maps to a model.
    pub name: String,
    /// USD it asks.
    #[serde(flatten)]
    pub prices: Prices,
    /// Output tokens to expect, on average.
    #[serde(default)]
    pub expected_output_tokens: Option<f64>,
    /// Cost in USD as measured: [constant, per prompt token, per unit of the verbosity score]. Used when prices
    /// are absent.
    #[serde(default)]
    pub cost: Option<[f64; 3]>,
    /// Where `cost` was measured; older artifacts do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_seen: Option<CostSeen>,
    /// Latency in seconds as measured: [constant, per prompt token].
    #[serde(default)]
    pub latency: Option<[f64; 2]>,
    /// Prompt plus output tokens the model accepts.
    #[serde(default)]
    pub context_window: Option<u32>,
    /// Held-out paired evidence allows leaving the best constant for this model.
    #[serde(default = "yes")]
    pub cleared: bool,
}

impl ModelSpec {
    /// Whether anything says what it costs.
    pub(crate) fn is_priced(&self) -> bool {
        self.cost.is_some() || self.prices.is_any()
    }

    /// Whether all that a cost depends on is as at `other`, what is read from a cache included.
    pub(crate) fn charges_the_same(&self, other: &Self) -> bool {
        self.prices == other.prices
            && self.expected_output_tokens == other.expected_output_tokens
            && self.cost == other.cost
            && self.cost_seen == other.cost_seen
    }

    /// Whether every request is expected to cost what it does at `other`.
    pub(crate) fn costs_the_same(&self, other: &Self) -> bool {
        let lengths = same(self.expected_output_tokens, other.expected_output_tokens);
        self.prices.expect_as(&other.prices)
            && (lengths || !self.prices.has_output())
            && (self.prices.is_any() || (self.cost == other.cost && self.cost_seen == other.cost_seen))
    }
}

fn yes() -> bool {
    true
}

/// A learned scorer's kind and the prefix of its tensors.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct BackendSpec {
    /// `linear`, `trees`, `memory` or `fastgrnn`.
    pub kind: String,
    /// Prefix of its tensors' names.
    pub name: String,
}

/// What the features must be for the weights to mean anything.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct FeatureSpec {
    /// Version of the featuriser, [`crate::request::Spec`].
    pub spec: String,
    /// Checksum of the static encoder; absent when no backend reads the embedding or the token counts.
    #[serde(default)]
    pub encoder: Option<String>,
}

/// A certified bound on the quality given up (Learn-then-Test).
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Guarantee {
    /// ε: largest risk allowed.
    pub epsilon: f64,
    /// δ: probability, over calibration rows, that the bound fails.
    pub delta: f64,
    /// `mean` or `harm` (quality lost), `routed` (share of requests not sent to the reference on which quality is
    /// lost) or `cost` (share of requests that cost more than the budget).
    pub risk: String,
    /// The model against which quality is lost.
    pub reference: String,
    /// Independent calibration rows (or groups).
    pub rows: u64,
    /// p-value of "the risk exceeds ε".
    pub p_value: f64,
    /// Digest of the calibration rows.
    pub data_digest: String,
    /// Date, as the caller gave it.
    pub date: String,
    /// The risk seen on the calibration rows.
    pub observed_risk: f64,
    /// USD that a request, or the mean of a batch of them, may cost; for the risk `cost` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<f64>,
    /// Requests in a batch, for the risk `cost` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,
}

/// A request with the decision it must lead to.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct SelfCheck {
    /// The request's text.
    pub text: String,
    /// Index of the model chosen.
    pub choice: usize,
    /// Quality expected of each model.
    pub quality: Vec<f32>,
}

/// Everything about an artifact that is not a weight.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Header {
    /// Format version, see [`super::FORMAT`].
    pub format: String,
    /// See [`Kind::KIND`].
    pub kind: String,
    /// Version of this artifact (semver).
    pub version: String,
    /// Date of making, as the caller gave it.
    #[serde(default)]
    pub created: String,
    /// Models, in order of the tensors' columns.
    pub models: Vec<ModelSpec>,
    /// Index of the model that is best for all requests.
    pub best_constant: usize,
    /// Feature contract.
    pub features: FeatureSpec,
    /// Learned scorers, in order of the stack's rows.
    pub backends: Vec<BackendSpec>,
    /// Components each backend gives.
    pub components: usize,
    /// How scores become a choice.
    pub policy: Policy,
    /// The policies callers may name; absent in artifacts that hold a single one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Policies>,
    /// Utility by which another model must beat the best constant.
    #[serde(default)]
    pub guard_margin: f64,
    /// A model whose expected quality is within this of the highest belongs to the prediction set.
    pub set_width: f64,
    /// Coverage the prediction set was calibrated for.
    pub set_coverage: f64,
    /// How requests are told from those the artifact was calibrated on, if it can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likeness: Option<LikenessSpec>,
    /// What rows a stream of decisions is compared with, where a certificate was earned on some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftSpec>,
    /// Certificate, if one was earned.
    #[serde(default)]
    pub guarantee: Option<Guarantee>,
    /// Why the certificate it once had holds no more: models were added, renamed or taken out since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ended: Option<Uncovered>,
    /// Requests with their decisions.
    #[serde(default)]
    pub self_check: Vec<SelfCheck>,
    /// What the engine does not read: training data digest, metrics, settings.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

impl Kind for Header {
    const KIND: &'static str = "request-router";

    fn check(&self) -> Result<()> {
        let models = self.models.len();
        let bad = |field: &str, value: String| Err(invalid(field, value, "train the artifact again"));
        if models == 0 || models > MOST_MODELS {
            return bad("models", format!("{models} models"));
        }
        for (index, model) in self.models.iter().enumerate() {
            if model.name.is_empty() || self.models[..index].iter().any(|other| other.name == model.name) {
                return bad("models", format!("name {:?} is empty or given twice", model.name));
            }
            let mut numbers = model.prices.all().chain(model.expected_output_tokens);
            let measured = model.cost.iter().flatten().chain(model.latency.iter().flatten());
            if numbers.any(|number| !(0.0..=LARGEST_NUMBER).contains(&number))
                || measured.copied().any(|number| number.is_nan() || number.abs() > LARGEST_NUMBER)
                || model.prices.tiers.len() > MOST_TIERS
                || model.cost_seen.is_some_and(|seen| !seen.is_sound(LARGEST_NUMBER))
            {
                return bad("models", format!("a price or coefficient of {:?} is not usable", model.name));
            }
        }
        if self.best_constant >= models {
            return bad("best_constant", self.best_constant.to_string());
        }
        if self.components > MOST_COMPONENTS || (self.components == 0) != self.backends.is_empty() {
            return bad("components", self.components.to_string());
        }
        if self.backends.len() > MOST_BACKENDS {
            return bad("backends", format!("{} backends", self.backends.len()));
        }
        for (index, backend) in self.backends.iter().enumerate() {
            // One set of tensors loaded many times would multiply the memory an artifact takes.
            if self.backends[..index].iter().any(|other| other.name == backend.name) {
                return bad("backends", format!("name {:?} is given twice", backend.name));
            }
        }
        if self.self_check.len() > MOST_SELF_CHECKS {
            return bad("self_check", format!("{} requests", self.self_check.len()));
        }
        let named =
            self.policies.iter().flat_map(|all| Scale::ALL.map(|name| (name.as_str(), all.get(name))));
        for (name, policy) in std::iter::once(("policy", &self.policy)).chain(named) {
            if !policy.fits(models) {
                return bad(name, format!("{policy:?}"));
            }
        }
        if let Some(likeness) = &self.likeness
            && !(likeness.level > 0.0 && likeness.level < 1.0 && likeness.rows > 0)
        {
            return bad("likeness", format!("{likeness:?}"));
        }
        if let Some(drift) = &self.drift
            && (drift.rows == 0 || drift.mix.len() != self.models.len())
        {
            return bad("drift", format!("{drift:?}"));
        }
        let finite = [self.guard_margin, self.set_width, self.set_coverage];
        if finite.iter().any(|number| !number.is_finite() || *number < 0.0) || self.set_coverage > 1.0 {
            return bad("guard_margin, set_width, set_coverage", format!("{finite:?}"));
        }
        Ok(())
    }
}
