//! Calibration scores kept for p-values at any level, in little room.

use super::{at_position, option, position};
use crate::error::Result;
use crate::sort;

/// Knots kept where nothing else is asked: 4 KB as f32, and a p-value at most .001 too high.
pub const MOST_KNOTS: usize = 1000;

/// The sorted scores of calibration rows, or as many knots of them as there is room for.
///
/// A knot is a score rounded up to f32, and stands for `step` rows: with one score a row and room for all of them,
/// for one. Whatever is rounded or left out makes p-values larger and thresholds higher, never smaller.
///
/// Scores may come in groups (the candidates of one question): then groups are the rows, a score has the weight
/// 1 / size of its group, and what is promised holds for a candidate drawn at random from a new group (Lee, Barber
/// and Willett 2023, hierarchical conformal prediction). Scores of one group may depend on each other as they like.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    rows: f64,
    step: f64,
    knots: Vec<f32>,
}

impl Scores {
    /// Keeps at most `most_knots` knots of these scores.
    ///
    /// # Errors
    /// `OptionInvalid` for no score, NaN, one beyond the range of f32, groups of another number than scores, or no
    /// room for knots.
    pub fn fit(scores: &[f64], groups: Option<&[i64]>, most_knots: usize) -> Result<Self> {
        if most_knots == 0 {
            return Err(option("most_knots", most_knots, "give room for at least one"));
        }
        if scores.is_empty() {
            return Err(option("scores", "none", "give the scores of rows that were not trained on"));
        }
        if let Some(row) = scores.iter().position(|&score| !rounded_up(score).is_finite()) {
            return Err(option(
                format!("scores[{row}]"),
                scores[row],
                "scores are finite, in the range of f32",
            ));
        }
        let (rows, weights) = match groups {
            None => (scores.len() as f64, vec![1.0; scores.len()]),
            Some(groups) if groups.len() == scores.len() => weights_of(groups),
            Some(groups) => {
                let found = format!("{} groups for {} scores", groups.len(), scores.len());
                return Err(option("groups", found, "give one group a score"));
            }
        };
        let room = most_knots as f64;
        let step = if groups.is_none() { (rows / room).ceil() } else { rows / room };
        let mut sorted: Vec<(f32, f64)> = scores.iter().copied().map(rounded_up).zip(weights).collect();
        sort::many::unstable_by(&mut sorted, |a, b| a.0.total_cmp(&b.0));
        let (mut knots, mut weight) = (Vec::with_capacity(most_knots), 0.0);
        for (score, own) in sorted {
            weight += own;
            // Below knot k lie no fewer than k · step rows; a sum rounded down moves a knot up, the safe way.
            while knots.len() < most_knots && weight >= (knots.len() + 1) as f64 * step {
                knots.push(score);
            }
        }
        Ok(Self { rows, step, knots })
    }

    /// From what an artifact holds.
    ///
    /// # Errors
    /// `OptionInvalid` for knots that are not finite, not sorted, or stand for more rows than there are.
    pub fn from_parts(rows: f64, step: f64, knots: Vec<f32>) -> Result<Self> {
        if !(rows >= 1.0 && rows.is_finite()) {
            return Err(option("rows", rows, "at least one row is needed"));
        }
        if !(step > 0.0 && step * knots.len() as f64 <= rows * (1.0 + 1e-9)) {
            return Err(option("step", step, "the knots stand for more rows than there are"));
        }
        if knots.iter().any(|knot| !knot.is_finite()) || !knots.is_sorted() {
            return Err(option("knots", "not finite, or not sorted", "fit again"));
        }
        Ok(Self { rows, step, knots })
    }

    /// Calibration rows: scores, or groups of them.
    #[must_use]
    pub fn rows(&self) -> f64 {
        self.rows
    }

    /// Rows a knot stands for.
    #[must_use]
    pub fn step(&self) -> f64 {
        self.step
    }

    /// The knots, rising.
    #[must_use]
    pub fn knots(&self) -> &[f32] {
        &self.knots
    }

    /// The conformal p-value of a row: (1 + calibration rows at least as nonconforming) / (rows + 1).
    ///
    /// For a row exchangeable with the calibration rows, P(p ≤ α) ≤ α for every α. By binary search: O(log knots).
    /// NaN has the p-value 1: nothing speaks against it.
    #[must_use]
    pub fn p_value(&self, score: f64) -> f64 {
        let below = self.knots.partition_point(|&knot| f64::from(knot) < score);
        let at_least = (self.rows - below as f64 * self.step).max(0.0);
        (1.0 + at_least) / (self.rows + 1.0)
    }

    /// The largest score whose p-value exceeds α; infinite where there are too few rows for any to fall to it, and
    /// as [`super::quantile`] for α outside (0, 1).
    #[must_use]
    pub fn threshold(&self, alpha: f64) -> f64 {
        let position = position(self.rows, self.step, alpha);
        at_position(|at| f64::from(self.knots[at]), self.knots.len(), position)
    }
}

/// The smallest f32 that is not below the score.
fn rounded_up(score: f64) -> f32 {
    let nearest = score as f32;
    if f64::from(nearest) < score { nearest.next_up() } else { nearest }
}

/// The number of groups, and per score 1 / size of its group.
fn weights_of(groups: &[i64]) -> (f64, Vec<f64>) {
    let mut sizes = std::collections::BTreeMap::<i64, u32>::new();
    for &group in groups {
        *sizes.entry(group).or_default() += 1;
    }
    (sizes.len() as f64, groups.iter().map(|group| 1.0 / f64::from(sizes[group])).collect())
}

/// How well a candidate agrees with the relevant ones, and with the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PValues {
    /// p-value of "this candidate is relevant".
    pub relevant: f64,
    /// p-value of "this candidate is irrelevant".
    pub irrelevant: f64,
}

impl PValues {
    /// The smaller of the two: the smallest α at which the prediction set of [`Relevance`] is a single answer
    /// (Vovk, Gammerman and Shafer 2005; one less this is their confidence). At an α no smaller than it, the answer
    /// is certain enough.
    #[must_use]
    pub fn uncertainty(self) -> f64 {
        self.relevant.min(self.irrelevant)
    }

    /// The larger of the two. Near 0 the candidate is unlike both: neither answer is to be trusted.
    #[must_use]
    pub fn credibility(self) -> f64 {
        self.relevant.max(self.irrelevant)
    }
}

/// Label-conditional p-values for "is this candidate relevant?", from a score that is higher for relevant ones.
///
/// The set {answers with p > α} misses relevant candidates with probability at most α, and irrelevant ones as well,
/// each class by itself, however rare relevant ones are. It holds for a candidate drawn from all those calibrated on,
/// not for one picked because it scores high: where the first k of a ranking are decided on, calibrate on the first k
/// of each question.
#[derive(Clone, Debug, PartialEq)]
pub struct Relevance {
    relevant: Scores,
    irrelevant: Scores,
}

impl Relevance {
    /// From the scores of candidates, which of them were relevant, and the question each was scored for.
    ///
    /// # Errors
    /// As [`Scores::fit`], of either class; also for as many flags as not scores.
    pub fn fit(
        scores: &[f64],
        relevant: &[bool],
        questions: Option<&[i64]>,
        most_knots: usize,
    ) -> Result<Self> {
        if relevant.len() != scores.len() {
            let found = format!("{} flags for {} scores", relevant.len(), scores.len());
            return Err(option("relevant", found, "give one flag a score"));
        }
        if questions.is_some_and(|questions| questions.len() != scores.len()) {
            return Err(option("questions", "another number than scores", "give one question a score"));
        }
        let class = |wanted: bool, sign: f64| {
            let rows: Vec<usize> = (0..scores.len()).filter(|&row| relevant[row] == wanted).collect();
            let scores: Vec<f64> = rows.iter().map(|&row| sign * scores[row]).collect();
            let questions =
                questions.map(|questions| rows.iter().map(|&row| questions[row]).collect::<Vec<_>>());
            Scores::fit(&scores, questions.as_deref(), most_knots)
        };
        // A low score does not conform to being relevant, a high one not to being irrelevant.
        Ok(Self { relevant: class(true, -1.0)?, irrelevant: class(false, 1.0)? })
    }

    /// From the nonconformity scores of both classes: the relevant ones' are negated scores.
    #[must_use]
    pub fn from_parts(relevant: Scores, irrelevant: Scores) -> Self {
        Self { relevant, irrelevant }
    }

    /// Nonconformity scores of the relevant candidates (their scores, negated).
    #[must_use]
    pub fn relevant(&self) -> &Scores {
        &self.relevant
    }

    /// Nonconformity scores of the irrelevant candidates.
    #[must_use]
    pub fn irrelevant(&self) -> &Scores {
        &self.irrelevant
    }

    /// The p-values of a candidate with this score.
    #[must_use]
    pub fn p_values(&self, score: f64) -> PValues {
        PValues { relevant: self.relevant.p_value(-score), irrelevant: self.irrelevant.p_value(score) }
    }
}
