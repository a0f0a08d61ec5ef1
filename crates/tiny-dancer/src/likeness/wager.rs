//! Whether numbers are above 0 on average, asked after every one of them: a test by betting (Waudby-Smith and Ramdas
//! 2023; Arnold, Henzi and Ziegel 2023 for forecasts).

use super::accounts::Accounts;

/// Shares of an account that are bet.
const SHARES: [f64; 4] = [0.05, 0.1, 0.2, 0.45];
/// Numbers below this count as this: no bet then loses all.
const LEAST: f64 = -2.1;
/// Numbers above this count as this.
const MOST: f64 = 1.0;

/// How much a gambler who starts with 1 would have won by betting that numbers in [−2.1, 1] are above 0 on average.
/// While each of them, given all before, is at most 0 on average, this ever reaches c with probability at most 1 / c.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wager {
    accounts: Accounts<{ SHARES.len() }>,
    steps: u64,
}

impl Default for Wager {
    fn default() -> Self {
        Self { accounts: Accounts::new(), steps: 0 }
    }
}

impl Wager {
    /// One more number; NaN is passed over.
    pub fn observe(&mut self, excess: f64) {
        if excess.is_nan() {
            return;
        }
        let excess = excess.clamp(LEAST, MOST);
        self.accounts.bet(|at| 1.0 + SHARES[at] * excess);
        self.steps += 1;
    }

    /// What the gambler has now.
    #[must_use]
    pub fn capital(&self) -> f64 {
        self.accounts.capital()
    }

    /// The most the gambler ever had.
    #[must_use]
    pub fn highest(&self) -> f64 {
        self.accounts.highest()
    }

    /// Numbers seen.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }
}
