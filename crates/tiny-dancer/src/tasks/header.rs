//! The header of an artifact that tells tasks apart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::artifact::{Kind, LARGEST_NUMBER, MOST_SELF_CHECKS, invalid};
use crate::error::Result;
use crate::request::Spec;
use crate::sort;

/// What stands for a category where none is probable enough; none may be called so.
pub const UNKNOWN: &str = "unknown";
/// Most categories, heuristics, languages, and words of one of these.
const MOST: usize = 256;

/// What a heuristic is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// What a model must be able to do.
    Capability,
    /// How demanding the task is, in one respect.
    Complexity,
    /// Whether an answer in a form that programs read is expected.
    StructuredOutput,
}

/// sigmoid(bias + Σ weights · inputs), declared and not learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heuristic {
    /// Its name.
    pub name: String,
    /// What it is one of.
    pub group: Group,
    /// See the struct.
    pub bias: f32,
    /// Category → weight of its probability.
    #[serde(default)]
    pub categories: BTreeMap<String, f32>,
    /// Cue → weight.
    #[serde(default)]
    pub cues: BTreeMap<String, f32>,
    /// Word → weight where the text has it.
    #[serde(default)]
    pub words: BTreeMap<String, f32>,
}

/// Expected quality of a weak model: a linear score of embedding and cues through a piecewise-linear calibration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weak {
    /// Of the score.
    pub bias: f32,
    /// Scores, rising.
    pub knots: Vec<f32>,
    /// Qualities at the knots, 0 to 1.
    pub values: Vec<f32>,
    /// Categories of the kinds of request whose outcomes it was learned from.
    pub measured: Vec<String>,
}

/// A text with the answer it must lead to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfCheck {
    /// The text.
    pub text: String,
    /// Of every category.
    pub probabilities: Vec<f32>,
    /// Expected quality of a weak model.
    pub weak_expected: f32,
}

/// Everything about the artifact that is not a weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Format version, see [`crate::artifact::FORMAT`].
    pub format: String,
    /// See [`Kind::KIND`].
    pub kind: String,
    /// Version of this artifact (semver).
    pub version: String,
    /// Date of making, as the caller gave it.
    #[serde(default)]
    pub created: String,
    /// Categories, in the order of scores.
    pub categories: Vec<String>,
    /// Version of the featuriser, [`Spec`].
    pub spec: String,
    /// Checksum of the encoder.
    pub encoder: String,
    /// Probabilities are softmax(scores ÷ temperature).
    pub temperature: f32,
    /// Least confidence at which a category is given.
    pub threshold: f32,
    /// Least share of a text's word n-grams that the head of the whole has to know for a category to be given.
    #[serde(default)]
    pub least_known: f32,
    /// What is declared.
    pub heuristics: Vec<Heuristic>,
    /// Code of a language → words that tell it.
    pub languages: BTreeMap<String, Vec<String>>,
    /// Quality of a weak model.
    pub weak: Weak,
    /// Texts with their answers.
    #[serde(default)]
    pub self_check: Vec<SelfCheck>,
    /// What the engine does not read: training data, metrics, settings.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

impl Kind for Header {
    const KIND: &'static str = "tasks";

    fn check(&self) -> Result<()> {
        let bad = |field: &str, value: String| Err(invalid(field, value, "train the artifact again"));
        let mut names: Vec<&String> = self.categories.iter().collect();
        sort::many::unstable(&mut names);
        let unusable = |name: &str| name.is_empty() || name == UNKNOWN;
        if names.is_empty()
            || names.len() > MOST
            || names.iter().any(|name| unusable(name))
            || names.windows(2).any(|pair| pair[0] == pair[1])
        {
            return bad("categories", format!("{names:?}"));
        }
        if Spec::of(&self.spec).is_none() {
            return bad("spec", self.spec.clone());
        }
        let bounded = |number: f32| f64::from(number.abs()) <= LARGEST_NUMBER;
        if !(self.temperature > 0.0 && bounded(self.temperature) && self.temperature.is_normal()) {
            return bad("temperature", self.temperature.to_string());
        }
        if !(0.0..=1.0).contains(&self.threshold) {
            return bad("threshold", self.threshold.to_string());
        }
        if !(0.0..=1.0).contains(&self.least_known) {
            return bad("least_known", self.least_known.to_string());
        }
        if self.heuristics.len() > MOST
            || self.languages.len() > MOST
            || self.languages.values().any(|words| words.len() > MOST)
        {
            return bad("heuristics|languages", "too many".to_owned());
        }
        for each in &self.heuristics {
            let weights = each.categories.values().chain(each.cues.values()).chain(each.words.values());
            if each.words.len() > MOST || !weights.chain([&each.bias]).all(|&weight| bounded(weight)) {
                return bad(&format!("heuristics[{}]", each.name), "weights out of range".to_owned());
            }
        }
        let Weak { bias, knots, values, .. } = &self.weak;
        let rising = knots.windows(2).all(|pair| pair[0] < pair[1]);
        if knots.is_empty() || knots.len() != values.len() || !rising {
            return bad("weak.knots", format!("{} for {} values", knots.len(), values.len()));
        }
        if !bounded(*bias)
            || !knots.iter().all(|&knot| bounded(knot))
            || !values.iter().all(|v| (0.0..=1.0).contains(v))
        {
            return bad("weak", "out of range".to_owned());
        }
        if self.self_check.len() > MOST_SELF_CHECKS {
            return bad("self_check", format!("{} texts", self.self_check.len()));
        }
        Ok(())
    }
}
