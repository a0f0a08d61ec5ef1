//! What an answer costs: the one place where prices meet tokens.

use serde::{Deserialize, Serialize};

/// Most tiers one model may have.
pub(crate) const MOST_TIERS: usize = 16;

/// USD a model asks. Artifacts and options write the fields with `price_` in front; LiteLLM's price map calls them
/// `input_cost_per_token`, `output_cost_per_token`, `input_cost_per_request`, `cache_read_input_token_cost` and
/// `cache_creation_input_token_cost`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prices {
    /// Per prompt token.
    #[serde(rename = "price_input", default)]
    pub input: Option<f64>,
    /// Per output token.
    #[serde(rename = "price_output", default)]
    pub output: Option<f64>,
    /// Per request.
    #[serde(rename = "price_request", default)]
    pub request: Option<f64>,
    /// Per prompt token that is read from the model's cache; `input` where absent.
    #[serde(rename = "price_cached_input", default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
    /// Per prompt token that is written into it; `input` where absent.
    #[serde(rename = "price_cache_write", default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
    /// Other prices for long prompts.
    #[serde(rename = "price_tiers", default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
}

/// Prices of every token of a request whose prompt is longer than `above` tokens (LiteLLM's
/// `…_above_200k_tokens`). What is absent is as without the tier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Prompt tokens from which on, exclusively.
    pub above: f64,
    /// Per prompt token.
    #[serde(default)]
    pub input: Option<f64>,
    /// Per output token.
    #[serde(default)]
    pub output: Option<f64>,
    /// Per prompt token read from the cache.
    #[serde(default)]
    pub cached_input: Option<f64>,
    /// Per prompt token written into it.
    #[serde(default)]
    pub cache_write: Option<f64>,
}

/// Tokens of one request. Fractions are allowed: they may be expectations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tokens {
    /// The whole prompt.
    pub input: f64,
    /// Of the prompt, read from the cache.
    pub cached: f64,
    /// Of the prompt, written into it.
    pub written: f64,
    /// The answer; NaN where unknown.
    pub output: f64,
}

impl Prices {
    /// Whether there is any.
    #[must_use]
    pub fn is_any(&self) -> bool {
        [self.input, self.output, self.request].iter().any(Option::is_some)
    }

    /// Whether a request without cached tokens costs the same at both.
    pub(crate) fn expect_as(&self, other: &Self) -> bool {
        let tiers = || self.tiers.iter().zip(&other.tiers);
        same(self.input, other.input)
            && same(self.output, other.output)
            && same(self.request, other.request)
            && self.tiers.len() == other.tiers.len()
            && tiers().all(|(a, b)| {
                same(Some(a.above), Some(b.above)) && same(a.input, b.input) && same(a.output, b.output)
            })
    }

    /// Whether what a request costs depends on the length of its answer.
    pub(crate) fn has_output(&self) -> bool {
        let tiers = self.tiers.iter().map(|tier| tier.output);
        tiers.chain([self.output]).flatten().any(|price| price > 0.0)
    }

    /// All of them, to be judged.
    pub(crate) fn all(&self) -> impl Iterator<Item = f64> + '_ {
        let own = [self.input, self.output, self.request, self.cached_input, self.cache_write];
        let tiers = self.tiers.iter();
        let tiers = tiers.flat_map(|tier| {
            [Some(tier.above), tier.input, tier.output, tier.cached_input, tier.cache_write]
        });
        own.into_iter().chain(tiers).flatten()
    }

    /// USD of a request; NaN without prices, and where output has a price and its tokens are unknown. A kind of token
    /// without a price costs nothing; a cached token without one costs what a prompt token does.
    #[must_use]
    pub fn cost(&self, tokens: &Tokens) -> f64 {
        if !self.is_any() {
            return f64::NAN;
        }
        let tier = self.tier(tokens.input);
        let rate = |of: fn(&Tier) -> Option<f64>, own: Option<f64>| tier.and_then(of).or(own);
        let input = rate(|tier| tier.input, self.input).unwrap_or(0.0);
        let cached = tokens.cached.clamp(0.0, tokens.input.max(0.0));
        let written = tokens.written.clamp(0.0, (tokens.input - cached).max(0.0));
        let mut cost = self.request.unwrap_or(0.0) + input * (tokens.input - cached - written);
        if cached > 0.0 {
            cost += rate(|tier| tier.cached_input, self.cached_input).unwrap_or(input) * cached;
        }
        if written > 0.0 {
            cost += rate(|tier| tier.cache_write, self.cache_write).unwrap_or(input) * written;
        }
        match rate(|tier| tier.output, self.output) {
            None | Some(0.0) => cost,
            Some(price) => cost + price * tokens.output,
        }
    }

    /// The tier of a prompt of so many tokens: of those it exceeds the highest, of equally high ones the last.
    fn tier(&self, input: f64) -> Option<&Tier> {
        let passed = self.tiers.iter().filter(|tier| input > tier.above);
        passed.max_by(|a, b| a.above.total_cmp(&b.above))
    }
}

/// Whether two prices are one: the last digits depend on how somebody has divided by a million.
pub(crate) fn same(one: Option<f64>, other: Option<f64>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() <= 1e-9 * one.abs().max(other.abs()),
        (one, other) => one == other,
    }
}

/// USD by prices where any is known, else as measured, else NaN.
pub(crate) fn expected_cost(
    prices: &Prices,
    measured: Option<[f64; 3]>,
    tokens: &Tokens,
    verbosity: f64,
) -> f64 {
    if prices.is_any() { prices.cost(tokens) } else { measured_cost(measured, tokens.input, verbosity) }
}

/// USD as measured, of [constant, per prompt token, per unit of the verbosity score]; NaN where nobody measured.
#[must_use]
pub fn measured_cost(measured: Option<[f64; 3]>, tokens: f64, verbosity: f64) -> f64 {
    measured.map_or(f64::NAN, |[constant, per_token, per_verbosity]| {
        (constant + per_token * tokens + per_verbosity * verbosity).max(0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prices() -> Prices {
        Prices {
            input: Some(3e-6),
            output: Some(15e-6),
            cached_input: Some(0.3e-6),
            cache_write: Some(3.75e-6),
            tiers: vec![
                Tier { above: 200_000.0, input: Some(6e-6), output: Some(22.5e-6), ..Tier::default() },
                Tier { above: 400_000.0, cached_input: Some(1e-6), ..Tier::default() },
            ],
            ..Prices::default()
        }
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-12, "{found} for {expected}");
    }

    #[test]
    fn every_kind_of_token_has_its_price() {
        let tokens = Tokens { input: 1000.0, cached: 600.0, written: 300.0, output: 50.0 };
        close(prices().cost(&tokens), 100.0 * 3e-6 + 600.0 * 0.3e-6 + 300.0 * 3.75e-6 + 50.0 * 15e-6);
    }

    #[test]
    fn a_long_prompt_is_priced_whole_by_the_highest_tier_it_exceeds() {
        let at = |input| Tokens { input, cached: 1000.0, output: 10.0, ..Tokens::default() };
        close(prices().cost(&at(200_000.0)), 199_000.0 * 3e-6 + 1000.0 * 0.3e-6 + 10.0 * 15e-6);
        close(prices().cost(&at(200_001.0)), 199_001.0 * 6e-6 + 1000.0 * 0.3e-6 + 10.0 * 22.5e-6);
        // The highest tier names one price; the others are as without any tier.
        close(prices().cost(&at(500_000.0)), 499_000.0 * 3e-6 + 1000.0 * 1e-6 + 10.0 * 15e-6);
    }

    #[test]
    fn what_is_unknown_is_not_free() {
        let unknown = Tokens { input: 10.0, output: f64::NAN, ..Tokens::default() };
        assert!(Prices::default().cost(&unknown).is_nan());
        assert!(prices().cost(&unknown).is_nan());
        close(Prices { input: Some(1e-6), ..Prices::default() }.cost(&unknown), 1e-5);
        close(Prices { request: Some(0.25), output: Some(0.0), ..Prices::default() }.cost(&unknown), 0.25);
    }

    proptest! {
        #[test]
        fn without_cached_prices_a_cache_changes_nothing(
            input in 0.0..1e6f64, cached in 0.0..2e6f64, written in 0.0..2e6f64, output in 0.0..1e5f64,
        ) {
            let plain = Prices { cached_input: None, cache_write: None, tiers: Vec::new(), ..prices() };
            let all = plain.cost(&Tokens { input, cached, written, output });
            let none = plain.cost(&Tokens { input, output, ..Tokens::default() });
            prop_assert!((all - none).abs() <= 1e-9 * none.max(1e-9), "{all} {none}");
        }
    }
}
