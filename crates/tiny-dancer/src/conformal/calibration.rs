//! What an artifact keeps of a calibration: thresholds, and the score they belong to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::labels::LabelScratch;
use super::{check_alpha, option, quantile, rows_needed};
use crate::error::{Error, ErrorKind, Result};

/// Most groups with a threshold of their own.
pub const MOST_GROUPS: usize = 4096;
/// Scores beyond this are refused: no probability, residual or rank is near it.
pub const LARGEST_SCORE: f64 = 1e12;

/// Which nonconformity score the thresholds are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreKind {
    /// Labels: LAC, see [`LabelScratch::scores`].
    Lac,
    /// Labels: APS, see [`LabelScratch::scores`].
    Aps,
    /// Values: [`super::absolute_residual`].
    AbsoluteResidual,
    /// Candidates: [`super::rank_score`].
    Rank,
}

impl ScoreKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Lac, Self::Aps, Self::AbsoluteResidual, Self::Rank];

    /// Its name in headers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lac => "lac",
            Self::Aps => "aps",
            Self::AbsoluteResidual => "absolute_residual",
            Self::Rank => "rank",
        }
    }

    /// The kind of this name.
    ///
    /// # Errors
    /// `OptionInvalid` for an unknown name.
    pub fn named(name: &str) -> Result<Self> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| option("score", name, format!("choose one of {names}")))
    }

    /// How nonconforming every label of a row is: fills `scratch.scores`, and ranks the labels in it.
    ///
    /// # Errors
    /// `OptionInvalid` for a kind of score that is not for labels.
    pub fn label_scores(self, probabilities: &[f32], uniform: f64, scratch: &mut LabelScratch) -> Result<()> {
        scratch.rank(probabilities);
        match self {
            Self::Lac => scratch.score_least_ambiguous(probabilities),
            Self::Aps => scratch.score_adaptive(probabilities, uniform),
            Self::AbsoluteResidual | Self::Rank => {
                return Err(option("score", self.name(), "labels are calibrated by lac or aps"));
            }
        }
        Ok(())
    }
}

/// A group's own threshold (Mondrian conformal prediction, Vovk et al. 2005).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupThreshold {
    /// Calibration rows of the group.
    pub rows: u64,
    /// The largest score still in a set.
    pub threshold: f64,
}

/// A split conformal calibration.
///
/// Coverage of at least 1 − α is promised over rows exchangeable with the calibration rows, on average over draws of
/// those; and within each group that has a threshold of its own. A group with fewer rows than [`rows_needed`], or
/// unknown when calibrated, is served by the pooled threshold, which promises nothing about that group alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The score the thresholds are for.
    pub score: ScoreKind,
    /// α: share of misses allowed.
    pub alpha: f64,
    /// Calibration rows, of all groups.
    pub rows: u64,
    /// The largest score still in a set, from all rows.
    pub threshold: f64,
    /// Thresholds of groups that have their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, GroupThreshold>,
    /// What the engine does not read: the column groups come from, digest of the rows, date.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

impl Calibration {
    /// Thresholds from one score a calibration row, and optionally its group.
    ///
    /// # Errors
    /// `OptionInvalid` for α outside (0, 1), too few rows for a finite threshold (says how many are needed), a score
    /// that is NaN or beyond ±[`LARGEST_SCORE`], groups of another number than scores, or too many of them.
    pub fn fit(score: ScoreKind, scores: &[f64], groups: Option<&[&str]>, alpha: f64) -> Result<Self> {
        check_alpha(alpha)?;
        let least = rows_needed(alpha);
        if (scores.len() as f64) < least {
            return Err(option(
                "alpha",
                format!("{alpha} with {} calibration rows", scores.len()),
                format!("give at least {least} rows, or allow more misses"),
            ));
        }
        if let Some(row) = scores.iter().position(|score| score.is_nan() || score.abs() > LARGEST_SCORE) {
            return Err(option(format!("scores[{row}]"), scores[row], "scores are finite, within ±1e12"));
        }
        let mut by_group: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        if let Some(groups) = groups {
            if groups.len() != scores.len() {
                let found = format!("{} groups for {} scores", groups.len(), scores.len());
                return Err(option("groups", found, "give one group a row"));
            }
            for (&group, &score) in groups.iter().zip(scores) {
                by_group.entry(group).or_default().push(score);
            }
        }
        let own = by_group.into_iter().filter(|(_, scores)| scores.len() as f64 >= least);
        let groups: BTreeMap<_, _> = own
            .map(|(group, mut scores)| {
                let rows = scores.len() as u64;
                (group.to_owned(), GroupThreshold { rows, threshold: quantile(&mut scores, alpha) })
            })
            .collect();
        if groups.len() > MOST_GROUPS {
            return Err(option("groups", format!("{} groups", groups.len()), "group more coarsely"));
        }
        let threshold = quantile(&mut scores.to_vec(), alpha);
        Ok(Self { score, alpha, rows: scores.len() as u64, threshold, groups, rest: BTreeMap::new() })
    }

    /// Whether these numbers can be a calibration.
    ///
    /// # Errors
    /// `ArtifactInvalid`, naming the field.
    pub fn check(&self) -> Result<()> {
        let bad = |field: &str, value: String| {
            Err(Error::new(ErrorKind::ArtifactInvalid, field, value, "calibrate the artifact again"))
        };
        if check_alpha(self.alpha).is_err() {
            return bad("conformal.alpha", self.alpha.to_string());
        }
        if self.groups.len() > MOST_GROUPS {
            return bad("conformal.groups", format!("{} groups", self.groups.len()));
        }
        let pooled = ("conformal".to_owned(), self.rows, self.threshold);
        let own = self.groups.iter();
        let own = own.map(|(name, group)| (format!("conformal.groups[{name}]"), group.rows, group.threshold));
        for (field, rows, threshold) in std::iter::once(pooled).chain(own) {
            if (rows as f64) < rows_needed(self.alpha) || rows > self.rows {
                return bad(&format!("{field}.rows"), rows.to_string());
            }
            let sensible = match self.score {
                ScoreKind::Lac | ScoreKind::Aps => (0.0..=1.001).contains(&threshold),
                ScoreKind::AbsoluteResidual => (0.0..=LARGEST_SCORE).contains(&threshold),
                ScoreKind::Rank => (1.0..=LARGEST_SCORE).contains(&threshold) && threshold.fract() == 0.0,
            };
            if !sensible {
                return bad(&format!("{field}.threshold"), threshold.to_string());
            }
        }
        Ok(())
    }

    /// The threshold for a row of this group: the group's own, or the pooled one where it has none.
    #[must_use]
    pub fn threshold(&self, group: Option<&str>) -> f64 {
        let own = group.and_then(|group| self.groups.get(group));
        own.map_or(self.threshold, |own| own.threshold)
    }

    /// The labels in the prediction set of a row, most probable first: all those whose score is at most the
    /// threshold. May be empty by LAC; see [`LabelScratch::scores`] for `uniform`, 0 unless drawn in calibration too.
    ///
    /// # Errors
    /// `OptionInvalid` where the calibration is not for labels.
    pub fn label_set<'a>(
        &self,
        probabilities: &[f32],
        group: Option<&str>,
        uniform: f64,
        scratch: &'a mut LabelScratch,
    ) -> Result<&'a [u32]> {
        self.score.label_scores(probabilities, uniform, scratch)?;
        let threshold = self.threshold(group);
        // Both scores rise along the ranking, so the set is its beginning.
        let count = scratch.order.partition_point(|&label| scratch.scores[label as usize] <= threshold);
        Ok(&scratch.order[..count])
    }
}
