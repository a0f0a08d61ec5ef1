//! Conformal prediction: thresholds with finite-sample coverage, and the sets they give.
//!
//! Everything rests on one fact (Vovk, Gammerman and Shafer 2005): among n calibration scores and the score of one
//! more row, all exchangeable, the last is at most the ⌈(n + 1)(1 − α)⌉-th smallest of the n with probability at
//! least 1 − α. A score says how badly a label, a value or a rank fits (higher: worse); the prediction set is what
//! scores no worse than that threshold. Rows used for training are not exchangeable with rows to come: calibrate on
//! others.
//!
//! Here are pure functions and what an artifact keeps of a calibration. No clock, no random numbers: APS's
//! randomisation and the state of adaptive inference come in as arguments. Nothing allocates once its scratch has
//! grown to the number of labels.

mod adaptive;
mod calibration;
mod labels;
mod scores;

pub use adaptive::Adaptive;
pub use calibration::{Calibration, GroupThreshold, LARGEST_SCORE, MOST_GROUPS, ScoreKind};
pub use labels::{LabelScratch, check_probabilities};
pub use scores::{MOST_KNOTS, PValues, Relevance, Scores};

use crate::error::{Error, ErrorKind, Result};
use crate::sort;

/// An error rate counts as this much larger than the number given: 0.1 is meant as one tenth, which no double is,
/// and ten times it has to be one.
const ROUNDING: f64 = 1e-12;

/// The position of the threshold among the sorted scores of `rows` rows, from 1: ⌈(rows + 1)(1 − α)⌉, every score
/// standing for `step` rows. Beyond the last score the threshold is infinite, at 0 or less it is below them all.
fn position(rows: f64, step: f64, alpha: f64) -> f64 {
    ((rows + 1.0) * (1.0 - (alpha + ROUNDING)) / step).ceil()
}

/// The smallest of `sorted` that covers, or an infinity; see [`quantile`].
fn at_position(sorted: impl Fn(usize) -> f64, count: usize, position: f64) -> f64 {
    if position.is_nan() || position > count as f64 {
        f64::INFINITY
    } else if position < 1.0 {
        f64::NEG_INFINITY
    } else {
        sorted(position as usize - 1)
    }
}

/// The finite-sample quantile: the ⌈(n + 1)(1 − α)⌉-th smallest of n scores, the ⌈(n + 1)(1 − α)⌉ / n quantile.
///
/// Infinite where n is below [`rows_needed`]: the prediction set is then everything. For α ≤ 0 infinite, for α ≥ 1
/// minus infinity (nothing is in the set), as adaptive inference asks for. Reorders `scores`; NaN counts as
/// infinite.
#[must_use]
pub fn quantile(scores: &mut [f64], alpha: f64) -> f64 {
    let position = position(scores.len() as f64, 1.0, alpha);
    for score in scores.iter_mut().filter(|score| score.is_nan()) {
        *score = f64::INFINITY;
    }
    let count = scores.len();
    if position >= 1.0 && position <= count as f64 {
        return *sort::many::select_by(scores, position as usize - 1, f64::total_cmp).1;
    }
    at_position(|_| f64::INFINITY, count, position)
}

/// The least number of calibration rows with a finite threshold: ⌈1 / α⌉ − 1. For an α of 0 or less none suffices:
/// infinity.
#[must_use]
pub fn rows_needed(alpha: f64) -> f64 {
    if alpha <= 0.0 { f64::INFINITY } else { ((1.0 / (alpha + ROUNDING)).ceil() - 1.0).max(0.0) }
}

/// The nonconformity of a value: its distance from the prediction. NaN where either is.
#[must_use]
pub fn absolute_residual(predicted: f64, actual: f64) -> f64 {
    (actual - predicted).abs()
}

/// The interval of all values whose [`absolute_residual`] is at most `threshold`, its ends rounded outwards.
///
/// Empty (`low > high`) for a threshold below 0.
#[must_use]
pub fn interval(predicted: f64, threshold: f64) -> (f64, f64) {
    if threshold < 0.0 {
        return (f64::INFINITY, f64::NEG_INFINITY);
    }
    // A residual may have been rounded down by half a unit in the last place, an end as well.
    let width = threshold.next_up();
    ((predicted - width).next_down(), (predicted + width).next_up())
}

/// The nonconformity of a ranking: how many candidates have to be kept for the best-ranked relevant one to be among
/// them. None where none is relevant.
///
/// The number of candidates scored at least as high as the highest relevant one, so that it holds whichever way
/// equal scores are ordered. The prediction set is the first ⌊threshold⌋ candidates of a ranking: with probability
/// at least 1 − α a relevant one is among them, where there is one. (Thresholds on scores instead of ranks gave
/// larger sets of memories at 90 and 95 %: `benchmarks/quality/bench_conformal_candidates.py`.)
#[must_use]
pub fn rank_score(scores: &[f32], relevant: &[bool]) -> Option<f64> {
    let wanted = scores.iter().zip(relevant).filter(|(_, relevant)| **relevant).map(|(score, _)| *score);
    let best = wanted.reduce(f32::max)?;
    // Not `>=`: what cannot be compared counts as ranked before.
    #[allow(clippy::neg_cmp_op_on_partial_ord)]
    let before = scores.iter().filter(|score| !(**score < best)).count();
    Some(before as f64)
}

#[cold]
#[inline(never)]
fn option(field: impl Into<String>, value: impl std::fmt::Display, remedy: impl Into<String>) -> Error {
    Error::new(ErrorKind::OptionInvalid, field, value, remedy)
}

/// Refuses an error rate outside (0, 1).
fn check_alpha(alpha: f64) -> Result<()> {
    if alpha > 0.0 && alpha < 1.0 {
        return Ok(());
    }
    Err(option("alpha", alpha, "give the share of misses allowed, between 0 and 1, such as 0.1"))
}
