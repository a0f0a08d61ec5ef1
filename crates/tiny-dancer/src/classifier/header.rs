//! The header of an artifact that labels texts or sequences of vectors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::artifact::{Kind, LARGEST_NUMBER, MOST_SELF_CHECKS, invalid};
use crate::conformal::{Calibration, ScoreKind};
use crate::error::Result;
use crate::fastgrnn::LARGEST_INPUT;
use crate::sort;

/// Most labels one artifact may tell apart.
pub const MOST_LABELS: usize = 4096;
/// Most steps of one sequence.
pub const MOST_STEPS: usize = 4096;

/// What is labelled.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Input {
    /// Texts, through the static token embeddings.
    Tokens {
        /// Checksum of the encoder.
        encoder: String,
        /// Known tokens a FastGRNN reads; of longer texts the first three quarters and the last quarter of these.
        most_steps: usize,
        /// A step's input is the token's int8 row times this. A bag has unit vectors and needs none.
        #[serde(default)]
        scale: Option<f32>,
    },
    /// Sequences of vectors.
    Vectors {
        /// Values of a vector.
        dimensions: usize,
        /// Vectors read; of longer sequences the first three quarters and the last quarter of these. Absent:
        /// [`MOST_STEPS`].
        #[serde(default)]
        most_steps: Option<usize>,
    },
}

/// What turns the input into the vector that the head reads.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Model {
    /// The last hidden state of the cell `cell`.
    Fastgrnn,
    /// The unit embedding of a text; the mean of the vectors.
    Bag,
}

/// What an artifact checks itself with.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum Example {
    /// A text.
    Text(String),
    /// A sequence of vectors.
    Vectors(Vec<Vec<f32>>),
}

/// An input with the answer it must lead to.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct SelfCheck {
    /// The input.
    pub input: Example,
    /// The most probable label.
    pub label: String,
    /// Probability of every label.
    pub probabilities: Vec<f32>,
}

/// Everything about a classifier that is not a weight.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
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
    /// Labels, in order of the head's rows.
    pub labels: Vec<String>,
    /// What is labelled.
    pub input: Input,
    /// What reads it.
    pub model: Model,
    /// Probabilities are softmax(logits ÷ temperature).
    #[serde(default = "one")]
    pub temperature: f32,
    /// Calibration of prediction sets, where there is one.
    #[serde(default)]
    pub conformal: Option<Calibration>,
    /// Inputs with their answers.
    #[serde(default)]
    pub self_check: Vec<SelfCheck>,
    /// What the engine does not read: training data digest, metrics, settings.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

fn one() -> f32 {
    1.0
}

impl Header {
    /// Most steps that are read.
    #[must_use]
    pub fn most_steps(&self) -> usize {
        match self.input {
            Input::Tokens { most_steps, .. } => most_steps,
            Input::Vectors { most_steps, .. } => most_steps.unwrap_or(MOST_STEPS),
        }
    }
}

impl Kind for Header {
    const KIND: &'static str = "classifier";

    fn check(&self) -> Result<()> {
        let bad = |field: &str, value: String| Err(invalid(field, value, "train the artifact again"));
        if self.labels.is_empty() || self.labels.len() > MOST_LABELS {
            return bad("labels", format!("{} labels", self.labels.len()));
        }
        let mut sorted: Vec<&String> = self.labels.iter().collect();
        sort::many::unstable(&mut sorted);
        if sorted[0].is_empty() || sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return bad("labels", "a label is empty or given twice".to_owned());
        }
        let usable = |number: f32| number > 0.0 && f64::from(number) <= LARGEST_NUMBER && number.is_normal();
        match &self.input {
            Input::Tokens { scale: Some(scale), .. } if !usable(*scale) => {
                return bad("input.scale", scale.to_string());
            }
            Input::Tokens { scale: None, .. } if self.model == Model::Fastgrnn => {
                return bad("input.scale", "absent".to_owned());
            }
            Input::Vectors { dimensions, .. } if !(1..=LARGEST_INPUT).contains(dimensions) => {
                return bad("input.dimensions", dimensions.to_string());
            }
            _ => {}
        }
        if !(1..=MOST_STEPS).contains(&self.most_steps()) {
            return bad("input.most_steps", self.most_steps().to_string());
        }
        if !usable(self.temperature) {
            return bad("temperature", self.temperature.to_string());
        }
        if let Some(calibration) = &self.conformal {
            calibration.check()?;
            if !matches!(calibration.score, ScoreKind::Lac | ScoreKind::Aps) {
                return bad("conformal.score", calibration.score.name().to_owned());
            }
        }
        if self.self_check.len() > MOST_SELF_CHECKS {
            return bad("self_check", format!("{} inputs", self.self_check.len()));
        }
        Ok(())
    }
}
