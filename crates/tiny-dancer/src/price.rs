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

/// Where a model's costs were measured, and what bounds them beyond.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostSeen {
    /// Prompt tokens: fewest, most.
    pub tokens: [f64; 2],
    /// Verbosity score: lowest, highest.
    pub verbosity: [f64; 2],
    /// USD of a request: least, most.
    pub cost: [f64; 2],
    /// USD a prompt token: close to the least seen, so that an answer's share of it is small. What a token costs beyond
    /// the shortest and longest prompts seen, and no prompt is expected to cost less per token.
    pub per_token: f64,
}

impl CostSeen {
    /// Finite, not negative but for the verbosity, and in order.
    pub(crate) fn is_sound(&self, largest: f64) -> bool {
        let [shortest, longest] = self.tokens;
        let [least, most] = self.cost;
        let [low, high] = self.verbosity;
        let ordered = shortest <= longest && least <= most && low <= high;
        let sizes = [shortest, longest, least, most, self.per_token];
        ordered
            && sizes.iter().all(|size| (0.0..=largest).contains(size))
            && [low, high].iter().all(|score| score.abs() <= largest)
    }
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

    /// (what is priced, what is not), by LiteLLM's names, where a kind of token has a price and another has none in
    /// front: it would count as free. A tier is as without it in what it leaves out; beside a price of the whole request
    /// it needs none.
    #[must_use]
    pub fn incomplete(&self) -> Option<(&'static str, &'static str)> {
        const INPUT: &str = "input_cost_per_token";
        const OUTPUT: &str = "output_cost_per_token";
        let cached = [self.cached_input, self.cache_write].iter().any(Option::is_some);
        let tiers_have = |of: fn(&Tier) -> Option<f64>| self.tiers.iter().any(|tier| of(tier).is_some());
        let input = tiers_have(|tier| tier.input.or(tier.cached_input).or(tier.cache_write));
        match (self.input, self.output) {
            (Some(_), None) => Some((INPUT, OUTPUT)),
            (None, Some(_)) => Some((OUTPUT, INPUT)),
            (None, None) if cached => Some(("a price of cached tokens", INPUT)),
            (None, None) if self.request.is_none() && (input || tiers_have(|tier| tier.output)) => {
                Some(("a tier's price", INPUT))
            }
            _ => None,
        }
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
    seen: Option<&CostSeen>,
    tokens: &Tokens,
    verbosity: f64,
) -> f64 {
    if prices.is_any() { prices.cost(tokens) } else { measured_cost(measured, seen, tokens.input, verbosity) }
}

/// USD as measured, of [constant, per prompt token, per unit of the verbosity score]; NaN where nobody measured.
///
/// Where it is known what was seen, the line holds between the shortest and the longest prompt, within the costs seen;
/// beyond either a token costs `per_token`. So costs rise with tokens, and are above 0 where all those seen were.
#[must_use]
pub fn measured_cost(
    measured: Option<[f64; 3]>,
    seen: Option<&CostSeen>,
    tokens: f64,
    verbosity: f64,
) -> f64 {
    let Some([constant, per_token, per_verbosity]) = measured else { return f64::NAN };
    let line = |tokens: f64, verbosity: f64| constant + per_token * tokens + per_verbosity * verbosity;
    let Some(seen) = seen else { return line(tokens, verbosity).max(0.0) };
    let [shortest, longest] = seen.tokens;
    let [least, most] = seen.cost;
    let inside = tokens.max(shortest).min(longest);
    let within = line(inside, verbosity.max(seen.verbosity[0]).min(seen.verbosity[1])).max(least).min(most);
    (within.max(seen.per_token * inside) + seen.per_token * (tokens - inside)).max(0.0)
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

    const SEEN: CostSeen =
        CostSeen { tokens: [100.0, 2000.0], verbosity: [-1.0, 3.0], cost: [2e-4, 9e-3], per_token: 1e-6 };

    #[test]
    fn a_measured_cost_goes_on_by_tokens_beyond_what_was_seen() {
        let line = Some([-4e-4, 4e-6, 1e-4]);
        let at = |tokens, verbosity| measured_cost(line, Some(&SEEN), tokens, verbosity);
        close(at(500.0, 1.0), -4e-4 + 500.0 * 4e-6 + 1e-4);
        // The line says less than any request seen has cost, and below 0 for a short prompt.
        close(at(100.0, 0.0), 2e-4);
        close(at(10.0, 0.0), 2e-4 - 90.0 * 1e-6);
        close(measured_cost(line, None, 10.0, 0.0), 0.0);
        // A prompt of 1.6 million tokens: the line says 6.4 USD.
        close(at(1.6e6, 0.0), 7.6e-3 + (1.6e6 - 2000.0) * 1e-6);
        // Requests more verbose than any seen cost what the most verbose did, and none more than any seen.
        close(at(1000.0, 20.0), -4e-4 + 1000.0 * 4e-6 + 3e-4);
        close(measured_cost(Some([1.0, 0.0, 0.0]), Some(&SEEN), 1000.0, 0.0), 9e-3);
        assert!(measured_cost(None, Some(&SEEN), 10.0, 0.0).is_nan());
    }

    proptest! {
        #[test]
        fn a_measured_cost_rises_with_tokens_and_is_bounded(
            constant in -1e-2..1e-2f64, per_token in 0.0..1e-4f64, per_verbosity in 0.0..1e-2f64,
            one in 0.0..1e7f64, other in 0.0..1e7f64, verbosity in -20.0..20.0f64,
        ) {
            let at = |tokens| measured_cost(Some([constant, per_token, per_verbosity]), Some(&SEEN), tokens, verbosity);
            let (fewer, more) = (one.min(other), one.max(other));
            prop_assert!(at(fewer) <= at(more));
            prop_assert!(at(fewer.max(1.0)) > 0.0, "all costs seen were");
            prop_assert!(at(more) >= SEEN.per_token * more * (1.0 - 1e-9));
            prop_assert!(at(more) <= SEEN.cost[1] + SEEN.per_token * more);
        }

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
