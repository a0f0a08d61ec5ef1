//! The accounts of a gambler who bets on several things at once, and keeps something for later.

/// Capital beyond this is not told apart, so that it stays finite.
const MOST_CAPITAL: f64 = 1e100;

/// Capital of 1. Of a reserve, 1 / (1 + ln(1 + n)) is left after n bets; what is taken out before each is dealt out
/// evenly among the accounts. So a change is told however late it comes: what it takes to ring then grows with the
/// logarithm of the bets before it (a mixture of gamblers of whom one begins at every time, as in the e-detectors of
/// Shin, Ramdas and Rinaldo 2023).
///
/// Where no factor is above 1 on average, given all before, the sum is a non-negative supermartingale from 1: by
/// Ville's inequality (1939) it ever exceeds c with probability at most 1 / c.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Accounts<const N: usize> {
    each: [f64; N],
    reserve: f64,
    bets: u64,
    highest: f64,
}

impl<const N: usize> Accounts<N> {
    pub(super) fn new() -> Self {
        Self { each: [0.0; N], reserve: 1.0, bets: 0, highest: 1.0 }
    }

    /// One bet: account `at` is multiplied by `factor(at)`.
    pub(super) fn bet(&mut self, factor: impl Fn(usize) -> f64) {
        self.bets += 1;
        let left = 1.0 / (1.0 + libm::log1p(self.bets as f64));
        let dealt = (self.reserve - left) / N as f64;
        self.reserve = left;
        for (at, capital) in self.each.iter_mut().enumerate() {
            *capital = ((*capital + dealt) * factor(at)).min(MOST_CAPITAL);
        }
        self.highest = self.highest.max(self.capital());
    }

    pub(super) fn capital(&self) -> f64 {
        self.each.iter().sum::<f64>() + self.reserve
    }

    pub(super) fn highest(&self) -> f64 {
        self.highest
    }

    /// The account with the most, the first of several; `None` while all together have less than the reserve.
    pub(super) fn richest(&self) -> Option<usize> {
        if self.each.iter().sum::<f64>() < self.reserve {
            return None;
        }
        let most = self.each.iter().copied().fold(0.0, f64::max);
        self.each.iter().position(|&capital| capital >= most)
    }
}
