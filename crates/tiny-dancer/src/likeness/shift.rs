//! Whether a number that comes with each request has another distribution than before: a conformal test martingale
//! that bets on higher, on lower and on more alike (Vovk, Nouretdinov and Gammerman 2003; Vovk 2021).

use super::accounts::Accounts;
use crate::artifact::{Tensors, invalid};
use crate::error::Result;
use crate::sort;

/// Bets on each side are the densities max(u, 1/64)^(ε − 1) / z: places tell no more apart, and what ties are broken by
/// must not win a lottery.
const EXPONENTS: [f64; 3] = [0.7, 0.4, 0.15];
/// z = 64^(−ε) + (1 − 64^(−ε)) / ε of each, so that a density integrates to 1.
const WEIGHTS: [f64; 3] = [1.405_253_109_911_711_2, 2.215_803_143_779_3, 3.629_975_189_480_503];
const ACCOUNTS: usize = 3 * EXPONENTS.len();
/// No number is taken for rarer than this.
const LEAST: f64 = 1.0 / 64.0;
/// Most numbers that tell places apart.
pub const MOST_KNOTS: usize = 32;
/// Numbers from which places are learned where nothing else says what is usual.
pub const LEARNED: usize = 128;

/// What is usual: how many rows had a number up to the first knot, up to the second, …, beyond the last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usual {
    /// Rising, at most [`MOST_KNOTS`].
    pub knots: Vec<f32>,
    /// [knots + 1]; rows other than those the knots were chosen by.
    pub counts: Vec<f64>,
}

impl Usual {
    /// The tensors `drift.<name>.knots` and `drift.<name>.counts`.
    pub(super) fn read(tensors: &Tensors, name: &str) -> Result<Self> {
        let knots = tensors.f32_vector(&format!("drift.{name}.knots"))?;
        let counts = tensors.f32(&format!("drift.{name}.counts"), &[knots.len() + 1])?;
        if knots.len() > MOST_KNOTS || knots.windows(2).any(|pair| pair[0] >= pair[1]) {
            let remedy = format!("at most {MOST_KNOTS} numbers, each above the one before; calibrate again");
            return Err(invalid(format!("drift.{name}.knots"), format!("{knots:?}"), &remedy));
        }
        if counts.iter().any(|&count| count < 0.0 || count.fract() != 0.0) {
            let field = format!("drift.{name}.counts");
            return Err(invalid(field, format!("{counts:?}"), "they count rows; calibrate again"));
        }
        Ok(Self { knots, counts: counts.into_iter().map(f64::from).collect() })
    }
}

/// On which side numbers have become unusual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Nothing is known.
    Neither,
    /// They are higher.
    Higher,
    /// They are lower.
    Lower,
    /// They lie more in the middle.
    Alike,
}

/// How much a gambler who starts with 1 would have won by betting that the numbers have changed.
///
/// Each number is ranked among rows and all numbers before it, ties broken by numbers that do not depend on them: as
/// long as all are exchangeable, the ranks are independent and uniform, so that any density of them is a fair bet.
/// Places between knots stand for numbers; knots come from other rows than those counted, which keeps this exact.
#[derive(Clone, Debug, PartialEq)]
pub struct Shift {
    usual: Usual,
    /// Room for the numbers that places are learned from; empty once they are known.
    learning: Vec<f32>,
    known: bool,
    accounts: Accounts<ACCOUNTS>,
    seed: u64,
    steps: u64,
}

impl Shift {
    /// Before the first number. Where nothing says what is usual, places are learned from the first [`LEARNED`]
    /// numbers, on which nothing is bet: then a change is told from there on only.
    #[must_use]
    pub fn new(usual: Option<Usual>, seed: u64) -> Self {
        let known = usual.is_some();
        let mut usual = usual.unwrap_or_default();
        if !known {
            usual.knots.reserve(MOST_KNOTS);
            usual.counts.reserve(MOST_KNOTS + 1);
        }
        let learning = Vec::with_capacity(if known { 0 } else { LEARNED });
        Self { usual, learning, known, accounts: Accounts::new(), seed, steps: 0 }
    }

    /// One more number; what is not finite is passed over.
    pub fn observe(&mut self, value: f32) {
        if !value.is_finite() {
            return;
        }
        self.steps += 1;
        if !self.known {
            self.learning.push(value);
            if self.learning.len() == LEARNED {
                self.learn();
            }
            return;
        }
        let place = self.usual.knots.partition_point(|&knot| knot < value);
        let counts = &mut self.usual.counts;
        counts[place] += 1.0;
        let all: f64 = counts.iter().sum();
        let beyond: f64 = counts[place + 1..].iter().sum();
        let high = (beyond + counts[place] * drawn(self.seed, self.steps)) / all;
        // Each is uniform, and small where its side is right.
        let small = [high, 1.0 - high, (2.0 * high - 1.0).abs()];
        let logs = small.map(|each| libm::log(each.clamp(LEAST, 1.0)));
        self.accounts.bet(|at| {
            let bet = at % EXPONENTS.len();
            libm::exp((EXPONENTS[bet] - 1.0) * logs[at / EXPONENTS.len()]) / WEIGHTS[bet]
        });
    }

    /// Places of equal shares of the numbers waiting, which are counted no further.
    fn learn(&mut self) {
        sort::unstable_by(&mut self.learning, f32::total_cmp);
        for knot in 1..=MOST_KNOTS {
            let value = self.learning[knot * LEARNED / (MOST_KNOTS + 1)];
            if self.usual.knots.last().is_none_or(|&last| last < value) {
                self.usual.knots.push(value);
            }
        }
        self.usual.counts.resize(self.usual.knots.len() + 1, 0.0);
        self.learning.clear();
        self.known = true;
    }

    /// Whether it knows what is usual by now.
    #[must_use]
    pub fn known(&self) -> bool {
        self.known
    }

    /// What the gambler has now.
    #[must_use]
    pub fn capital(&self) -> f64 {
        self.accounts.capital()
    }

    /// The most the gambler ever had: c with probability at most 1 / c, where nothing has changed.
    #[must_use]
    pub fn highest(&self) -> f64 {
        self.accounts.highest()
    }

    /// Numbers seen, those learned from included.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// On which side the gambler has won most.
    #[must_use]
    pub fn side(&self) -> Side {
        match self.accounts.richest().map(|bet| bet / EXPONENTS.len()) {
            None => Side::Neither,
            Some(0) => Side::Higher,
            Some(1) => Side::Lower,
            Some(_) => Side::Alike,
        }
    }
}

/// A number in (0, 1] that depends on the seed and the step alone (Steele, Lea and Flood 2014: `SplitMix64`).
pub(crate) fn drawn(seed: u64, step: u64) -> f64 {
    let mut bits = seed.wrapping_add(step.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^= bits >> 31;
    ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64
}
