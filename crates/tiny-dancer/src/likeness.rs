//! What a request is like: how far it is from the rows an artifact was calibrated on, as a conformal p-value, and a
//! martingale that rings when a stream of requests has changed; and whatever else is watched over a stream: scores,
//! and what became of the decisions ([`Drift`]).
//!
//! The score is a discriminant between those rows and requests of every kind: linear in the embedding, linear and
//! quadratic in standardised cues. Its p-value is the share of calibration rows, the request counted among them, that
//! are at least as unlike (Vovk, Gammerman and Shafer 2005): for a request exchangeable with them it is at most α with
//! probability at most α, whatever the score.

mod accounts;
mod drift;
mod martingale;
mod shift;
mod wager;

use serde::{Deserialize, Serialize};

use crate::artifact::{Tensors, invalid};
use crate::error::Result;
use crate::features::{CUES, DIM, Features};
use crate::kernels::dot_f32;

pub(crate) use drift::UsualDecisions;
pub use drift::{ALARMS, Alarm, Drift, DriftSpec, TOLERANCE, WATCHED, WITHDRAWN, measures};
pub use martingale::Martingale;
pub(crate) use shift::drawn;
pub use shift::{LEARNED, MOST_KNOTS, Shift, Side, Usual};
pub use wager::Wager;

/// Why a decision stands under no certificate once a watch over a stream has rung; see [`Martingale`].
pub const DRIFTED: &str = "requests have become unlike those the certificate was earned on";
/// Most calibration scores an artifact keeps: what 4 KiB allow beside the weights.
pub const MOST_SCORES: usize = 64;
/// Standardised cues are cut off here, so that one odd number does not outweigh everything else.
const LARGEST_STANDARD: f32 = 5.0;

/// What the header says of the test.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct LikenessSpec {
    /// p-values up to this one count as unlike: no more than this share of requests like the calibration rows.
    pub level: f64,
    /// Calibration rows.
    pub rows: u64,
}

/// The test an artifact holds.
#[derive(Debug)]
pub(crate) struct LikenessTest {
    /// [cues] each: where a cue is centred, and one over its spread.
    mean: Vec<f32>,
    scale: Vec<f32>,
    /// [cues] each: weights of standardised cues and of their squares.
    linear: Vec<f32>,
    square: Vec<f32>,
    /// Weights of the unit embedding: [DIM].
    embedding: Vec<f32>,
    /// Calibration scores, rising.
    scores: Vec<f32>,
    /// p-values of a score up to the first of them, up to the second, …, beyond the last: [scores + 1], falling.
    p_values: Vec<f32>,
    level: f32,
}

impl LikenessTest {
    pub(crate) fn read(tensors: &Tensors, spec: &LikenessSpec) -> Result<Self> {
        let cues = |name: &str| tensors.f32(name, &[CUES]);
        let scores = tensors.f32_vector("likeness.scores")?;
        let test = Self {
            mean: cues("likeness.mean")?,
            scale: cues("likeness.scale")?,
            linear: cues("likeness.linear")?,
            square: cues("likeness.square")?,
            embedding: tensors.f32("likeness.embedding", &[DIM])?,
            p_values: tensors.f32("likeness.p_values", &[scores.len() + 1])?,
            scores,
            level: spec.level as f32,
        };
        if test.scores.len() > MOST_SCORES || test.scores.windows(2).any(|pair| pair[0] >= pair[1]) {
            let remedy = format!("at most {MOST_SCORES} scores, each above the one before; train again");
            return Err(invalid("likeness.scores", format!("{:?}", test.scores), &remedy));
        }
        check_p_values(&test.p_values)?;
        Ok(test)
    }

    /// How likely a request like the calibration rows is to be at least as unlike them: in (0, 1].
    #[inline(never)]
    pub(crate) fn p_value(&self, features: &Features) -> f32 {
        let mut standard = [0.0_f32; CUES];
        let mut squares = [0.0_f32; CUES];
        for at in 0..CUES {
            let value = (features.cues[at] - self.mean[at]) * self.scale[at];
            let value = value.clamp(-LARGEST_STANDARD, LARGEST_STANDARD);
            standard[at] = value;
            squares[at] = value * value;
        }
        let score = dot_f32(&self.linear, &standard)
            + dot_f32(&self.square, &squares)
            + features.embedded(&self.embedding);
        self.p_values[self.scores.partition_point(|&kept| kept < score)]
    }

    /// Whether a request of this p-value counts as unlike.
    pub(crate) fn is_unlike(&self, p_value: f32) -> bool {
        p_value <= self.level
    }

    /// The martingale that watches a stream of these p-values.
    pub(crate) fn martingale(&self, rows: u64) -> Martingale {
        Martingale::new(&self.p_values, rows)
    }
}

/// p-values begin at 1 and fall, and none is 0.
fn check_p_values(p_values: &[f32]) -> Result<()> {
    let falling = p_values.windows(2).all(|pair| pair[0] > pair[1]);
    if falling
        && p_values.first().is_some_and(|&first| first.to_bits() == 1.0_f32.to_bits())
        && p_values.iter().all(|&value| value > 0.0)
    {
        return Ok(());
    }
    Err(invalid(
        "likeness.p_values",
        format!("{p_values:?}"),
        "they fall from 1 and stay above 0; train again",
    ))
}
