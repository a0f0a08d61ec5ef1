//! What is wanted of an agent, as one number with a unit.

use serde::{Deserialize, Serialize};

/// What is maximised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// `quality` · expected quality − `cost` · expected USD − `latency` · expected seconds. A weight of 0 needs no such
    /// expectation.
    Weighted {
        /// Weight of a wholly good answer.
        quality: f64,
        /// What one USD is worth, in the same unit.
        cost: f64,
        /// What one second is worth.
        latency: f64,
    },
    /// Expected quality / expected USD: wholly good answers a dollar. An agent that costs nothing gives infinitely many.
    PerDollar,
}

/// The policies that have names. Each is a [`Policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Named {
    /// −USD: the cheapest of those whose bound meets the quality asked for.
    Cost,
    /// −seconds: the fastest of them.
    Latency,
    /// Quality, whatever it costs.
    Quality,
    /// Quality − λ · USD − μ · seconds; what is known of nobody that is left is left out.
    Balanced,
    /// Quality / USD.
    QualityPerDollar,
    /// The caller's own weights.
    Weights,
}

impl Named {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Cost, Self::Latency, Self::Quality, Self::Balanced, Self::QualityPerDollar, Self::Weights];

    /// The word callers write.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Latency => "latency",
            Self::Quality => "quality",
            Self::Balanced => "balanced",
            Self::QualityPerDollar => "quality_per_dollar",
            Self::Weights => "weights",
        }
    }

    /// What a word means.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == word)
    }

    /// The policy; `weights` are of quality, a USD and a second, for those that have some.
    #[must_use]
    pub fn policy(self, weights: [f64; 3]) -> Policy {
        let [quality, cost, latency] = weights;
        match self {
            Self::Cost => Policy::Weighted { quality: 0.0, cost: 1.0, latency: 0.0 },
            Self::Latency => Policy::Weighted { quality: 0.0, cost: 0.0, latency: 1.0 },
            Self::Quality => Policy::Weighted { quality: 1.0, cost: 0.0, latency: 0.0 },
            Self::Balanced => Policy::Weighted { quality: 1.0, cost, latency },
            Self::QualityPerDollar => Policy::PerDollar,
            Self::Weights => Policy::Weighted { quality, cost, latency },
        }
    }
}

impl Policy {
    /// Whether it needs to know what an agent costs.
    #[must_use]
    pub fn weighs_cost(&self) -> bool {
        match *self {
            Self::Weighted { cost, .. } => cost > 0.0,
            Self::PerDollar => true,
        }
    }

    /// Whether it needs to know how long an agent takes.
    #[must_use]
    pub fn weighs_latency(&self) -> bool {
        matches!(*self, Self::Weighted { latency, .. } if latency > 0.0)
    }

    /// What is maximised; expectations that have no weight, or that nobody knows of anyone, may be NaN.
    #[must_use]
    pub fn utility(&self, quality: f64, cost: f64, latency: f64) -> f64 {
        let part =
            |weight: f64, value: f64| if weight > 0.0 && !value.is_nan() { weight * value } else { 0.0 };
        match *self {
            Self::Weighted { quality: good, cost: usd, latency: second } => {
                part(good, quality) - part(usd, cost) - part(second, latency)
            }
            Self::PerDollar if quality <= 0.0 => 0.0,
            Self::PerDollar => quality / cost,
        }
    }

    /// Variance of the utility, of those of the expectations; infinite utilities have none.
    #[must_use]
    pub fn variance(&self, quality: f64, cost: f64, variances: [f64; 3]) -> f64 {
        let part = |weight: f64, value: f64| if weight > 0.0 { weight * weight * value } else { 0.0 };
        let [of_quality, of_cost, of_latency] = variances;
        match *self {
            Self::Weighted { quality: good, cost: usd, latency: second } => {
                part(good, of_quality) + part(usd, of_cost) + part(second, of_latency)
            }
            Self::PerDollar if cost > 0.0 => {
                let ratio = quality / cost;
                (of_quality + ratio * ratio * of_cost) / (cost * cost)
            }
            Self::PerDollar => 0.0,
        }
    }
}
