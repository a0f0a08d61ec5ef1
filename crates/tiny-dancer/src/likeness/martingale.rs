//! A conformal test martingale over a stream of p-values (Vovk, Nouretdinov and Gammerman 2003; Vovk 2021).

use super::accounts::Accounts;

/// Bets are the densities εp^(ε − 1). All fall in p, so that p-values which are too large, as those of tied scores, only
/// lose money.
const EXPONENTS: [f64; 3] = [0.7, 0.4, 0.15];

/// How much a gambler who starts with 1 would have won by betting that requests have become less like the calibration
/// rows. A pure value: a step makes the next one.
///
/// Each request is ranked among the calibration rows and all requests before it, which makes its p-values independent
/// of each other and uniform (or larger) as long as all are exchangeable. The capital then is a non-negative
/// supermartingale from 1, and by Ville's inequality (1939) exceeds c at any time of an endless stream with
/// probability at most 1 / c.
#[derive(Clone, Debug, PartialEq)]
pub struct Martingale {
    /// The p-values that decisions have, falling.
    p_values: Vec<f32>,
    /// Calibration rows and requests by p-value.
    counts: Vec<f64>,
    accounts: Accounts<{ EXPONENTS.len() }>,
    steps: u64,
}

impl Martingale {
    /// Before the first request. `p_values` fall from 1 to 1 / (`rows` + 1).
    pub(super) fn new(p_values: &[f32], rows: u64) -> Self {
        let after = |place: usize| f64::from(p_values.get(place).copied().unwrap_or_default());
        let count = |place: usize| (after(place) - after(place + 1)) * (rows as f64 + 1.0);
        // The last place, beyond every calibration row, is the request's own.
        let last = p_values.len() - 1;
        let counts = (0..=last).map(|place| if place == last { 0.0 } else { count(place).round() }).collect();
        Self { p_values: p_values.to_vec(), counts, accounts: Accounts::new(), steps: 0 }
    }

    /// After one more request, whose decision had this p-value.
    #[must_use]
    pub fn step(mut self, p_value: f32) -> Self {
        self.observe(p_value);
        self
    }

    /// [`Self::step`] in place.
    pub(super) fn observe(&mut self, p_value: f32) {
        let last = self.p_values.len() - 1;
        let place = self.p_values.partition_point(|&each| each > p_value).min(last);
        self.counts[place] += 1.0;
        // The request counts as one of them: those at least as unlike have their places from its own on.
        let all: f64 = self.counts.iter().sum();
        let unlike: f64 = self.counts[place..].iter().sum();
        let p = (unlike / all).min(1.0);
        self.accounts.bet(|at| EXPONENTS[at] * libm::pow(p, EXPONENTS[at] - 1.0));
        self.steps += 1;
    }

    /// The p-values that decisions have, falling, and how many calibration rows and requests had them.
    pub(crate) fn counted(self) -> (Vec<f32>, Vec<f64>) {
        (self.p_values, self.counts)
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

    /// Requests seen.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }
}
