//! The header of an artifact that scores candidates.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::artifact::{Kind, MOST_SELF_CHECKS, invalid};
use crate::candidates::features::{FEATURES, SPEC};
use crate::error::Result;

/// Which learned scorer an artifact holds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ScorerKind {
    /// A weight a feature.
    Linear,
    /// One step of a FastGRNN cell over the features, and a linear head.
    Fastgrnn,
}

/// What confidence and p-values are about.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum CalibratedOn {
    /// The score itself: comparable between questions only where the scorer was trained to make it so.
    #[default]
    Score,
    /// The logarithm of the candidate's share, `score − ln Σ exp(scores of all candidates)`: what a scorer trained on
    /// whole lists says of how much better a candidate is than the others it was given with.
    Share,
}

/// How many calibration rows a list of knots stands for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
pub struct KnotRows {
    /// Calibration rows.
    pub rows: f64,
    /// Rows a knot stands for.
    pub step: f64,
}

/// Calibrated p-values for "is this candidate relevant?"; the knots are the tensors `relevance.relevant` and
/// `relevance.irrelevant`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
pub struct RelevanceSpec {
    /// Of the relevant candidates.
    pub relevant: KnotRows,
    /// Of the others.
    pub irrelevant: KnotRows,
}

/// Which candidates to keep (split conformal over questions): with probability at least 1 − α a relevant one is among
/// them, where there is one and the question is exchangeable with those it was calibrated on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
pub struct KeptSet {
    /// Share of the questions that may be missed.
    pub alpha: f64,
    /// The first j for which `(score₁ − scoreⱼ) / σ + ln j` is at most this, σ the standard deviation of all candidates'
    /// scores: few where the first stands out, many where scores are close.
    #[serde(default)]
    pub margin: Option<f32>,
    /// Else, in older artifacts, this many of the highest score.
    #[serde(default)]
    pub size: Option<u64>,
    /// Questions it was calibrated on.
    pub rows: u64,
}

/// When the candidates of a question are unlike those the scorer was made with: the squared distance of what their
/// features are on average and at most, `Σ ((value − likeness.mean) · likeness.weight)²`, is above a threshold.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
pub struct Likeness {
    /// Share of the questions like those calibrated on that are called unlike all the same, at most.
    pub alpha: f64,
    /// The conformal quantile of the distances of questions it was not fitted on.
    pub threshold: f32,
    /// Questions it was calibrated on.
    pub rows: u64,
}

/// Features with the score they must get.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct ScoreCheck {
    /// One value a feature.
    pub features: Vec<f32>,
    /// The score, within 1e-4.
    pub score: f32,
}

/// Everything about a candidate scorer that is not a weight.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct ScorerHeader {
    /// Format version.
    pub format: String,
    /// `candidates`.
    pub kind: String,
    /// Version of this artifact (semver).
    pub version: String,
    /// Date of making, as the caller gave it.
    #[serde(default)]
    pub created: String,
    /// Version of the list of features it was trained for.
    pub features: String,
    /// What the weights are.
    pub scorer: ScorerKind,
    /// What the calibration below is about.
    #[serde(default)]
    pub calibrated_on: CalibratedOn,
    /// p-values, where it was calibrated.
    #[serde(default)]
    pub relevance: Option<RelevanceSpec>,
    /// Prediction set, where it was calibrated.
    #[serde(default)]
    pub prediction: Option<KeptSet>,
    /// What data it is for, where that is known.
    #[serde(default)]
    pub likeness: Option<Likeness>,
    /// Features with their scores.
    #[serde(default)]
    pub self_check: Vec<ScoreCheck>,
    /// What the engine does not read.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

impl Kind for ScorerHeader {
    const KIND: &'static str = "candidates";

    fn check(&self) -> Result<()> {
        let bad = |field: &str, value: String| Err(invalid(field, value, "train the artifact again"));
        if self.features != SPEC {
            return bad("features", format!("{} (this engine computes {SPEC})", self.features));
        }
        if self.self_check.len() > MOST_SELF_CHECKS {
            return bad("self_check", format!("{} rows", self.self_check.len()));
        }
        for check in &self.self_check {
            let numbers = check.features.iter().chain([&check.score]);
            if check.features.len() != FEATURES || !numbers.copied().all(f32::is_finite) {
                return bad("self_check", "a row of another length, or no number".to_owned());
            }
        }
        if let Some(set) = &self.prediction
            && !(set.alpha > 0.0
                && set.alpha < 1.0
                && set.margin.is_some() != set.size.is_some()
                && set.margin.is_none_or(|margin| margin >= 0.0 && margin.is_finite())
                && set.size.is_none_or(|size| size >= 1))
        {
            return bad("prediction", format!("{set:?}"));
        }
        if let Some(likeness) = &self.likeness
            && !(likeness.alpha > 0.0 && likeness.alpha < 1.0 && likeness.threshold >= 0.0)
        {
            return bad("likeness", format!("{likeness:?}"));
        }
        Ok(())
    }
}
