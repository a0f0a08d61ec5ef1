//! What is believed of an agent: Beta distributions of shares, log-normal ones of amounts, from sums that fade.
//!
//! **Fading.** An outcome of age t counts 2^(−t / half-life). Sums are kept as of one moment, and brought to another by
//! one factor, so that outcomes may come in any order and from many processes: they give the same sums. Choices count
//! the age of the last outcome in whole thousandths of the half-life.
//!
//! **Shares** (quality, success). A declared share q worth w outcomes is the prior Beta(w q, w (1 − q)), neither parameter
//! below [`LEAST`]; undeclared it is Jeffreys' Beta(½, ½). An outcome of quality s in [0, 1] adds s to the first and
//! 1 − s to the second parameter, as s successes and 1 − s failures: for outcomes between 0 and 1 the interval is wider
//! than it needs to be, as no share varies more than a coin of its mean.
//!
//! **Amounts** (USD, seconds). The mean is that of the declared amount, counted w times, and of what was observed; the
//! interval is log-normal with that mean and the variance of the same rows (method of moments).

use serde::{Deserialize, Serialize};

/// Least parameter of a declared prior: with one of 0, nothing that is observed could widen its interval.
pub const LEAST: f64 = 0.05;
/// Coefficient of variation of amounts of which nobody said more than their mean.
pub const USUAL_VARIATION: f64 = 0.5;

/// Sums over outcomes, each counted by its weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// Of the weights.
    pub weight: f64,
    /// Of the values.
    pub sum: f64,
    /// Of their squares.
    pub squares: f64,
}

impl Tally {
    /// Counts a value.
    pub fn add(&mut self, value: f64, weight: f64) {
        self.weight += weight;
        self.sum += weight * value;
        self.squares += weight * value * value;
    }

    /// The sums with every weight multiplied.
    #[must_use]
    pub fn faded(&self, factor: f64) -> Self {
        Self { weight: self.weight * factor, sum: self.sum * factor, squares: self.squares * factor }
    }

    /// Without what another has counted too.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self {
            weight: (self.weight - other.weight).max(0.0),
            sum: (self.sum - other.sum).max(0.0),
            squares: (self.squares - other.squares).max(0.0),
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        [self.weight, self.sum, self.squares].iter().all(|each| each.is_finite() && *each >= 0.0)
    }
}

/// What outcomes of the age `seconds` count; everything counts in full without a half-life.
#[must_use]
pub fn fading(seconds: f64, half_life: Option<f64>) -> f64 {
    half_life.map_or(1.0, |half_life| libm::exp2(-seconds.max(0.0) / half_life))
}

/// [`fading`] with the age counted in whole thousandths of the half-life: what is believed then stays the same for a while,
/// and what was worked out of it may be kept.
#[must_use]
pub fn fading_by_steps(seconds: f64, half_life: Option<f64>) -> f64 {
    const STEPS: f64 = 1000.0;
    half_life.map_or(1.0, |half_life| {
        let steps = libm::floor(STEPS * seconds.max(0.0) / half_life);
        if steps > 0.0 { libm::exp2(-steps / STEPS) } else { 1.0 }
    })
}

/// A Beta distribution; with one parameter 0 it is certain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beta {
    /// Successes.
    pub a: f64,
    /// Failures.
    pub b: f64,
}

impl Beta {
    /// Jeffreys' prior.
    pub const JEFFREYS: Self = Self { a: 0.5, b: 0.5 };

    /// A declared share worth `weight` outcomes.
    #[must_use]
    pub fn declared(share: f64, weight: f64) -> Self {
        Self { a: (weight * share).max(LEAST), b: (weight * (1.0 - share)).max(LEAST) }
    }

    /// After outcomes.
    #[must_use]
    pub fn after(&self, outcomes: &Tally) -> Self {
        Self { a: self.a + outcomes.sum, b: self.b + (outcomes.weight - outcomes.sum).max(0.0) }
    }

    /// Expectation.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.a / (self.a + self.b)
    }

    /// Variance of the share itself, not of one outcome.
    #[must_use]
    pub fn variance(&self) -> f64 {
        let mean = self.mean();
        mean * (1.0 - mean) / (self.a + self.b + 1.0)
    }

    /// The Beta distribution with mean and variance of the product of two independent shares.
    #[must_use]
    pub fn times(&self, other: &Self) -> Self {
        if other.b <= 0.0 {
            return *self;
        }
        let mean = self.mean() * other.mean();
        let second = |beta: &Self| beta.variance() + beta.mean() * beta.mean();
        let variance = second(self) * second(other) - mean * mean;
        if variance <= 0.0 {
            return Self { a: mean, b: 1.0 - mean };
        }
        let size = mean * (1.0 - mean) / variance - 1.0;
        Self { a: mean * size, b: (1.0 - mean) * size }
    }

    /// Probability that the share is at most `x`: the regularised incomplete beta function by its continued fraction
    /// (DLMF 8.17.22), with Lentz's method.
    #[must_use]
    pub fn below(&self, x: f64) -> f64 {
        if x >= 1.0 {
            return 1.0;
        }
        if x < 0.0 || self.b <= 0.0 {
            return 0.0;
        }
        if self.a <= 0.0 {
            return 1.0;
        }
        if x <= 0.0 {
            return 0.0;
        }
        self.below_by(x, self.constant())
    }

    /// −log of the beta function.
    fn constant(&self) -> f64 {
        libm::lgamma(self.a + self.b) - libm::lgamma(self.a) - libm::lgamma(self.b)
    }

    /// [`Self::below`] between 0 and 1, given [`Self::constant`].
    fn below_by(&self, x: f64, constant: f64) -> f64 {
        let front = libm::exp(self.a * libm::log(x) + self.b * libm::log1p(-x) + constant);
        if x < (self.a + 1.0) / (self.a + self.b + 2.0) {
            front * fraction(self.a, self.b, x) / self.a
        } else {
            1.0 - front * fraction(self.b, self.a, 1.0 - x) / self.b
        }
    }

    /// Whether its quantile at a probability below 1 / e is at least `x`, where that is plain without working it out;
    /// `far` is −log of the probability.
    ///
    /// By two inequalities: a Beta distribution is sub-Gaussian with variance 1 / 4(a + b + 1) (Marchal and Arbel 2017),
    /// and one whose density is log-concave (a, b ≥ 1) lies below its mean with a probability of at least 1 / e
    /// (Grünbaum 1960).
    #[must_use]
    pub fn surely(&self, x: f64, far: f64) -> Option<bool> {
        let mean = self.mean();
        let short = mean - x;
        if short <= 0.0 {
            return (self.a >= 1.0 && self.b >= 1.0 && short < 0.0).then_some(false);
        }
        (2.0 * (self.a + self.b + 1.0) * short * short >= far).then_some(true)
    }

    /// The share that is not exceeded with probability `p`: bisection, quickened by Newton's steps.
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        if self.b <= 0.0 {
            return 1.0;
        }
        if self.a <= 0.0 {
            return 0.0;
        }
        let (mut low, mut high) = (0.0, 1.0);
        let constant = self.constant();
        let mut x = self.mean();
        for _ in 0..100 {
            let excess = self.below_by(x, constant) - p;
            if excess > 0.0 {
                high = x;
            } else {
                low = x;
            }
            let density =
                libm::exp(constant + (self.a - 1.0) * libm::log(x) + (self.b - 1.0) * libm::log1p(-x));
            let step = x - excess / density;
            let next = if step > low && step < high { step } else { f64::midpoint(low, high) };
            let moved = (next - x).abs();
            x = next;
            if moved <= 1e-13 || high - low <= 1e-13 {
                break;
            }
        }
        x
    }
}

/// The continued fraction of the incomplete beta function.
#[allow(clippy::many_single_char_names)] // as the formula has them
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut found = d;
    for step in 1..2000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        found *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        let by = d * c;
        found *= by;
        if (by - 1.0).abs() < 1e-15 {
            break;
        }
    }
    found
}

/// What is believed of an amount.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Amount {
    /// Expectation; NaN where nobody knows.
    pub mean: f64,
    /// Variance of one amount.
    pub variance: f64,
    /// Rows that the expectation stands on.
    pub rows: f64,
}

impl Amount {
    /// Of which nothing is known.
    pub const UNKNOWN: Self = Self { mean: f64::NAN, variance: 0.0, rows: 1.0 };

    /// A declared mean (NaN for none) worth `weight` outcomes with its coefficient of variation, after outcomes.
    #[must_use]
    pub fn of(declared: f64, weight: f64, variation: f64, outcomes: &Tally) -> Self {
        let observed = if outcomes.weight > 0.0 { outcomes.sum / outcomes.weight } else { f64::NAN };
        let (prior, mean) = if declared.is_nan() {
            (observed, observed)
        } else {
            (declared, (weight * declared + outcomes.sum) / (weight + outcomes.weight))
        };
        if mean.is_nan() {
            return Self::UNKNOWN;
        }
        let rows = weight + outcomes.weight;
        let second = (weight * prior * prior * (1.0 + variation * variation) + outcomes.squares) / rows;
        Self { mean, variance: (second - mean * mean).max(0.0), rows }
    }

    /// The same in another unit.
    #[must_use]
    pub fn scaled(&self, by: f64) -> Self {
        Self { mean: self.mean * by, variance: self.variance * by * by, rows: self.rows }
    }

    /// Variance of the expectation.
    #[must_use]
    pub fn doubt(&self) -> f64 {
        self.variance / self.rows
    }

    /// The amount that is not exceeded where a standard normal variable does not exceed `z`.
    #[must_use]
    pub fn at(&self, z: f64) -> f64 {
        if self.variance <= 0.0 || self.mean <= 0.0 {
            return self.mean;
        }
        let square = libm::log1p(self.variance / (self.mean * self.mean));
        self.mean * libm::exp(libm::sqrt(square) * z - square / 2.0)
    }
}

/// Coefficient of variation of a log-normal amount of this mean and 99th percentile.
#[must_use]
pub fn variation_of(mean: f64, p99: f64) -> f64 {
    // p99 / mean = exp(z s − s² / 2); beyond exp(z² / 2) no log-normal reaches, and the widest is taken.
    const Z: f64 = 2.326_347_874_040_841;
    let spread = Z - libm::sqrt((Z * Z - 2.0 * libm::log(p99 / mean)).max(0.0));
    libm::sqrt(libm::expm1(spread * spread))
}

/// Probability that a standard normal variable is at most `z`.
#[must_use]
pub fn normal(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

/// The value a standard normal variable does not exceed with probability `p`.
#[must_use]
pub fn normal_quantile(p: f64) -> f64 {
    if p < 0.5 {
        return -normal_quantile(1.0 - p);
    }
    // Newton's method from 0 climbs without overshooting, as the distribution is concave there.
    let mut z: f64 = 0.0;
    for _ in 0..200 {
        let density = libm::exp(-z * z / 2.0) / libm::sqrt(std::f64::consts::TAU);
        let step = (p - normal(z)) / density;
        z += step;
        if step.abs() <= 1e-14 * z.max(1.0) {
            break;
        }
    }
    z
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-10, "{found} for {expected}");
    }

    #[test]
    fn known_values() {
        // By scipy.stats.beta and norm.
        close(Beta { a: 2.0, b: 3.0 }.below(0.4), 0.5248);
        close(Beta { a: 0.5, b: 0.5 }.below(0.1), 0.204_832_764_699_133_4);
        close(Beta { a: 1.0, b: 1.0 }.quantile(0.05), 0.05);
        close(Beta { a: 4.5, b: 0.5 }.below(0.9), 0.343_436_396_137_913_4);
        close(normal_quantile(0.95), 1.644_853_626_951_472_2);
        close(normal_quantile(0.025), -1.959_963_984_540_054);
        close(libm::log1p(variation_of(1.0, 3.0).powi(2)).sqrt(), 0.533_397_831_870_641_4);
    }

    #[test]
    fn what_is_certain_stays_certain() {
        let certain = Beta { a: 5.0, b: 0.0 };
        close(certain.quantile(0.05), 1.0);
        close(certain.below(0.99), 0.0);
        assert_eq!(Beta { a: 3.0, b: 1.0 }.times(&certain), Beta { a: 3.0, b: 1.0 });
    }

    proptest! {
        #[test]
        fn quantiles_turn_probabilities_round(a in 0.05..400.0f64, b in 0.05..400.0f64, p in 0.001..0.999f64) {
            let beta = Beta { a, b };
            let x = beta.quantile(p);
            prop_assert!((0.0..=1.0).contains(&x));
            // Where nearly all mass is at an end, no double lies at the quantile.
            if x > 1e-9 && x < 1.0 - 1e-9 {
                prop_assert!((beta.below(x) - p).abs() < 1e-8, "{} at {x}", beta.below(x));
            }
        }

        #[test]
        fn short_cuts_decide_as_the_function_does(
            a in 0.05..300.0f64, b in 0.05..300.0f64, x in 0.0..1.0f64, tail in 0.001..0.3f64,
        ) {
            let beta = Beta { a, b };
            let below = beta.below(x);
            prop_assume!((below - tail).abs() > 1e-9);
            if let Some(sure) = beta.surely(x, -libm::log(tail)) {
                prop_assert_eq!(sure, below <= tail);
            }
        }

        #[test]
        fn an_amount_lies_within_its_interval(mean in 1e-6..1e3f64, n in 0.0..100.0f64, value in 1e-6..1e3f64) {
            let mut tally = Tally::default();
            tally.add(value, n);
            let amount = Amount::of(mean, 5.0, 0.5, &tally);
            prop_assert!(amount.mean >= mean.min(value) * (1.0 - 1e-9));
            prop_assert!(amount.mean <= mean.max(value) * (1.0 + 1e-9));
            prop_assert!(amount.at(-1.645) <= amount.mean * (1.0 + 1e-12));
            prop_assert!(amount.at(-1.645) < amount.at(1.645));
        }
    }
}
