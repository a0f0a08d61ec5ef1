//! Nonconformity of labels, from a row's probabilities.

use super::option;
use crate::error::Result;
use crate::sort;

/// Sums of probabilities may differ from 1 by this much.
const SUM_TOLERANCE: f64 = 1e-3;

/// A row's labels ranked and scored; grows to their number once.
#[derive(Clone, Debug, Default)]
pub struct LabelScratch {
    pub(super) order: Vec<u32>,
    pub(super) scores: Vec<f64>,
}

impl LabelScratch {
    /// How badly each label fits, in the labels' order.
    ///
    /// By LAC (Sadinle, Lei and Wasserman 2019) 1 − p. Smallest sets on average; empty where no label is probable
    /// enough, which says that nothing like the row was seen.
    ///
    /// By APS (Romano, Sesia and Candès 2020) the probability of the labels ranked before, and `uniform` times its
    /// own. `uniform` is the paper's U in [0, 1], drawn anew for every row in calibration and in use alike: coverage
    /// is then exact. Fixed at 0, the default here, the set is the paper's without randomisation: never empty, as
    /// the first label scores 0, and conservative where the first label is right more often than 1 − α.
    #[must_use]
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// Orders the labels by falling probability, equal ones by index.
    pub(super) fn rank(&mut self, probabilities: &[f32]) {
        self.order.clear();
        self.order.extend(0..probabilities.len() as u32);
        let probability = |label: u32| probabilities[label as usize];
        sort::many::rows_by(&mut self.order, &mut |&a, &b| {
            probability(b).total_cmp(&probability(a)).then(a.cmp(&b))
        });
    }

    pub(super) fn score_least_ambiguous(&mut self, probabilities: &[f32]) {
        self.scores.clear();
        self.scores.extend(probabilities.iter().map(|&probability| 1.0 - f64::from(probability)));
    }

    pub(super) fn score_adaptive(&mut self, probabilities: &[f32], uniform: f64) {
        self.scores.clear();
        self.scores.resize(probabilities.len(), 0.0);
        let mut before = 0.0;
        for &label in &self.order {
            let own = f64::from(probabilities[label as usize]);
            self.scores[label as usize] = before + uniform * own;
            before += own;
        }
    }
}

/// Refuses what is no distribution over labels; `field` names it.
///
/// # Errors
/// `OptionInvalid` for a number outside [0, 1], NaN, or a sum that is not 1 within .001.
pub fn check_probabilities(probabilities: &[f32], field: &str) -> Result<()> {
    if let Some(wrong) = probabilities.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        return Err(option(field, wrong, "probabilities lie between 0 and 1"));
    }
    let sum: f64 = probabilities.iter().copied().map(f64::from).sum();
    if (sum - 1.0).abs() > SUM_TOLERANCE {
        return Err(option(field, format!("sum {sum}"), "a row's probabilities sum to 1"));
    }
    Ok(())
}
