//! Adaptive conformal inference: coverage in the long run, whatever the rows do.

use serde::{Deserialize, Serialize};

use super::{check_alpha, option};
use crate::error::Result;

/// The state of adaptive conformal inference (Gibbs and Candès 2021): the level to ask thresholds for.
///
/// After each row `α_{t+1} = α_t + γ (α − err_t)`, `err_t` being 1 where the set missed. Over T rows, in whatever order
/// and however drifting, the share of misses differs from α by at most (max(α₁, 1 − α₁) + γ) / (T γ)
/// (proposition 4.1).
///
/// The state itself is not clamped: the bound rests on that. It stays within [−γ, 1 + γ] as long as its use is
/// honest: at a level ≤ 0 the threshold is infinite and the set everything, which cannot miss; at a level ≥ 1 it is
/// minus infinity and the set is empty, which always misses ([`super::quantile`] does both).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adaptive {
    /// α: share of misses aimed at.
    pub alpha: f64,
    /// γ: step. Larger follows drift sooner and varies more; the paper uses .005.
    pub gamma: f64,
    /// The level for the next row.
    pub level: f64,
}

impl Adaptive {
    /// The state before the first row: α₁ = α.
    ///
    /// # Errors
    /// `OptionInvalid` for α outside (0, 1) or γ outside (0, 1].
    pub fn new(alpha: f64, gamma: f64) -> Result<Self> {
        check_alpha(alpha)?;
        if !(gamma > 0.0 && gamma <= 1.0) {
            return Err(option("gamma", gamma, "give a step above 0 and at most 1, such as 0.005"));
        }
        Ok(Self { alpha, gamma, level: alpha })
    }

    /// The state after a row whose set did or did not hold the truth.
    #[must_use]
    pub fn after(self, covered: bool) -> Self {
        let error = f64::from(u8::from(!covered));
        Self { level: self.level + self.gamma * (self.alpha - error), ..self }
    }
}
