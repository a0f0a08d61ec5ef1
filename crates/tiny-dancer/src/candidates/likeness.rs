//! Whether a question's candidates are like those a scorer was made with.

use super::features::{CandidateScratch, FEATURES};
use super::scorer::Likeness;
use crate::artifact::{Tensors, invalid};
use crate::error::Result;

/// Values a question is compared by: of each feature the mean over its candidates, then the highest.
pub(super) const SUMMARY: usize = 2 * FEATURES;
/// Columns are added up in this many sums side by side.
const LANES: usize = 8;

/// The test an artifact holds.
#[derive(Debug)]
pub(super) struct LikenessTest {
    mean: Vec<f32>,
    weight: Vec<f32>,
    threshold: f32,
}

impl LikenessTest {
    pub(super) fn read(tensors: &Tensors, spec: &Likeness) -> Result<Self> {
        let mean = tensors.f32("likeness.mean", &[SUMMARY])?;
        let weight = tensors.f32("likeness.weight", &[SUMMARY])?;
        if let Some(&negative) = weight.iter().find(|&&weight| weight < 0.0) {
            return Err(invalid("likeness.weight", negative, "weights are at least 0; train again"));
        }
        Ok(Self { mean, weight, threshold: spec.threshold })
    }

    /// Whether they are; candidates whose embedding is not finite take no part.
    pub(super) fn is_like(&self, scratch: &CandidateScratch) -> bool {
        let mut distance = 0.0;
        for feature in 0..FEATURES {
            // Most features of most artifacts take part; one that does not costs nothing.
            if self.weight[feature] == 0.0 && self.weight[FEATURES + feature] == 0.0 {
                continue;
            }
            let summary = summary(scratch.column(feature));
            for (at, value) in [feature, FEATURES + feature].into_iter().zip(summary) {
                let apart = (value - self.mean[at]) * self.weight[at];
                distance += apart * apart;
            }
        }
        distance <= self.threshold
    }
}

/// Mean and highest value of a column; of an empty one 0.
fn summary(column: &[f32]) -> [f32; 2] {
    let (mut sums, mut highest, mut count) = ([0.0_f32; LANES], [f32::NEG_INFINITY; LANES], [0.0_f32; LANES]);
    let (blocks, rest) = column.as_chunks::<LANES>();
    let mut add = |lane: usize, value: f32| {
        let known = !value.is_nan();
        sums[lane] += if known { value } else { 0.0 };
        count[lane] += if known { 1.0 } else { 0.0 };
        highest[lane] = if value > highest[lane] { value } else { highest[lane] };
    };
    for block in blocks {
        for (lane, &value) in block.iter().enumerate() {
            add(lane, value);
        }
    }
    for (lane, &value) in rest.iter().enumerate() {
        add(lane, value);
    }
    let count: f32 = count.iter().sum();
    if count == 0.0 {
        return [0.0; 2];
    }
    [sums.iter().sum::<f32>() / count, highest.iter().copied().fold(f32::NEG_INFINITY, f32::max)]
}
