//! Constraints, expectations and the choice.

use std::fmt::Write;

use super::agent::Kind;
use super::belief::{Amount, Beta, USUAL_VARIATION, fading_by_steps, normal, normal_quantile};
use super::policy::{Named, Policy};
use super::set::{AgentSet, Bits, Row, unknown};
use crate::error::{Error, ErrorKind, Result};
use crate::price::Tokens;
use crate::sort;

/// What is asked of a choice.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// What is wanted.
    pub policy: Named,
    /// Of quality, a USD and a second, for policies that weigh them.
    pub weights: [f64; 3],
    /// Tokens of the prompt.
    pub input_tokens: f64,
    /// Of them, in the cache of whoever has a price for cached ones.
    pub cached_tokens: f64,
    /// Tokens of the answer; NaN where each agent's usual number is expected. Time of language models grows with them.
    pub output_tokens: f64,
    /// Capabilities the agent must have.
    pub required: &'a [&'a str],
    /// Capability or task whose quality counts; else that of the required ones an agent is worst at.
    pub task: Option<&'a str>,
    /// Only agents of these kinds; empty for all.
    pub kinds: &'a [Kind],
    /// Agents that must not be chosen.
    pub excluded: &'a [&'a str],
    /// Tags the agent must have.
    pub tags: &'a [&'a str],
    /// Where it must serve.
    pub region: Option<&'a str>,
    /// USD that may be expected; infinity for no bound.
    pub max_cost: f64,
    /// USD that are left: the upper end of what is expected must be within them.
    pub budget: f64,
    /// Seconds that may be expected.
    pub max_latency: f64,
    /// What the lower end of the quality must reach.
    pub min_quality: Option<f64>,
    /// Share of probability between both ends of each interval.
    pub level: f64,
    /// Choose by this quantile of quality instead of by its mean, so that what is little known is tried.
    pub explore: Option<f64>,
    /// UTC seconds.
    pub now: f64,
    /// Quality of each row for this very request, NaN where it is not known; empty for all unknown.
    pub qualities: &'a [f64],
}

impl Default for Query<'_> {
    fn default() -> Self {
        Self {
            policy: Named::Balanced,
            weights: [1.0, 10.0, 0.01],
            input_tokens: 0.0,
            cached_tokens: 0.0,
            output_tokens: f64::NAN,
            required: &[],
            task: None,
            kinds: &[],
            excluded: &[],
            tags: &[],
            region: None,
            max_cost: f64::INFINITY,
            budget: f64::INFINITY,
            max_latency: f64::INFINITY,
            min_quality: None,
            level: 0.9,
            explore: None,
            now: 0.0,
            qualities: &[],
        }
    }
}

/// The constraint that removed an agent: the first in this order that did. What only the policy needs to know comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is not active.
    Inactive,
    /// The caller excluded it.
    Excluded,
    /// It is of another kind.
    Kind,
    /// It lacks a capability.
    Capabilities,
    /// It lacks a tag.
    Tags,
    /// It serves elsewhere.
    Region,
    /// The request is too long for it.
    Context,
    /// Nobody knows what it costs, and a bound or the policy needs it.
    CostUnknown,
    /// It costs too much.
    MaxCost,
    /// It may cost more than is left.
    Budget,
    /// Nobody knows how long it takes, and a bound or the policy needs it.
    LatencyUnknown,
    /// It takes too long.
    MaxLatency,
    /// It may be worse than asked for.
    MinQuality,
}

impl Removal {
    /// All of them, in order.
    pub const ALL: [Self; 13] = [
        Self::Inactive,
        Self::Excluded,
        Self::Kind,
        Self::Capabilities,
        Self::Tags,
        Self::Region,
        Self::Context,
        Self::CostUnknown,
        Self::MaxCost,
        Self::Budget,
        Self::LatencyUnknown,
        Self::MaxLatency,
        Self::MinQuality,
    ];

    /// The word answers have.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Excluded => "excluded",
            Self::Kind => "type",
            Self::Capabilities => "required_capabilities",
            Self::Tags => "tags",
            Self::Region => "region",
            Self::Context => "context",
            Self::CostUnknown => "cost_unknown",
            Self::MaxCost => "max_cost",
            Self::Budget => "budget_remaining",
            Self::LatencyUnknown => "latency_unknown",
            Self::MaxLatency => "max_latency",
            Self::MinQuality => "min_quality",
        }
    }
}

/// What is expected of an agent on a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// Of the answer: 0 where the call fails.
    pub quality: f64,
    /// What that stands on; `None` where the caller said it for this request.
    pub belief: Option<Beta>,
    /// USD.
    pub cost: Amount,
    /// Seconds.
    pub latency: Amount,
    /// What the policy maximises.
    pub utility: f64,
}

impl Expected {
    /// Both ends of quality; `None` where the caller said it for this request.
    #[must_use]
    pub fn quality_interval(&self, level: f64) -> Option<[f64; 2]> {
        let tail = (1.0 - level) / 2.0;
        self.belief.map(|belief| [belief.quantile(tail), belief.quantile(1.0 - tail)])
    }

    /// Both ends of an amount; `None` where it is not known.
    #[must_use]
    pub fn interval(amount: &Amount, level: f64) -> Option<[f64; 2]> {
        let z = normal_quantile(f64::midpoint(1.0, level));
        (!amount.mean.is_nan()).then(|| [amount.at(-z), amount.at(z)])
    }

    fn variances(&self) -> [f64; 3] {
        let of_quality = self.belief.map_or(0.0, |belief| belief.variance());
        [of_quality, self.cost.doubt(), self.latency.doubt()]
    }
}

/// The agent that was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Its row.
    pub agent: usize,
    /// What is expected of it.
    pub expected: Expected,
    /// The next in the order, with what is expected of it.
    pub runner_up: Option<(usize, Expected)>,
    /// Probability that the chosen one's true utility is no less than the runner-up's, both normal about what is
    /// expected; 1 where nothing else was left, ½ where nobody knows more than that both are equal.
    pub confidence: f64,
    /// Agents that no constraint removed.
    pub suitable: usize,
}

/// Buffers of one thread; they hold the last choice.
#[derive(Debug, Default)]
pub struct Choices {
    /// What removed each row.
    pub removed: Vec<Option<Removal>>,
    /// What is expected of each row that was not removed for what it is.
    pub expected: Vec<Expected>,
    required: Bits,
    tags: Bits,
    tasks: Vec<u32>,
    excluded: Vec<bool>,
    /// Lower ends that were worked out lately, by place: beliefs change rarely.
    bounds: Vec<(Beta, f64, f64)>,
}

impl Choices {
    /// Removes those that are left of whom nobody knows what the policy weighs. `balanced` leaves it out of account where
    /// nobody knows it of anyone that is left: it does not tell them apart.
    fn remove_unknown(&mut self, policy: Named, amount: impl Fn(&Expected) -> f64, removal: Removal) {
        let Self { removed, expected, .. } = self;
        let left = || removed.iter().zip(expected.iter()).filter(|(by, _)| by.is_none());
        if policy == Named::Balanced && left().all(|(_, expected)| amount(expected).is_nan()) {
            return;
        }
        for (by, expected) in removed.iter_mut().zip(expected.iter()) {
            if by.is_none() && amount(expected).is_nan() {
                *by = Some(removal);
            }
        }
    }
}

/// Share of a language model's usual time that does not grow with its answer: the network, and reading the prompt.
pub const WAITING: f64 = 0.2;

/// Places of [`Choices::bounds`] for each row: one agent may be asked about several tasks in turn.
const REMEMBERED: usize = 4;

/// The lower end of a row's belief, out of memory where it is there.
fn lower(bounds: &mut [(Beta, f64, f64)], row: usize, belief: &Beta, tail: f64) -> f64 {
    let mixed = (belief.a.to_bits() ^ belief.b.to_bits().rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let held = &mut bounds[row * REMEMBERED + (mixed >> 62) as usize];
    if held.0 != *belief || held.1.to_bits() != tail.to_bits() {
        *held = (*belief, tail, belief.quantile(tail));
    }
    held.2
}

const NOTHING: Expected = Expected {
    quality: f64::NAN,
    belief: None,
    cost: Amount::UNKNOWN,
    latency: Amount::UNKNOWN,
    utility: f64::NEG_INFINITY,
};

#[cold]
#[inline(never)]
fn invalid(field: &str, value: impl std::fmt::Display, remedy: &str) -> Error {
    Error::new(ErrorKind::OptionInvalid, field, value, remedy)
}

impl Query<'_> {
    fn check(&self, rows: usize) -> Result<()> {
        let amounts = [
            ("input_tokens", self.input_tokens),
            ("cached_tokens", self.cached_tokens),
            ("max_cost", self.max_cost),
            ("budget_remaining", self.budget),
            ("max_latency", self.max_latency),
        ];
        for (field, value) in amounts {
            if value.is_nan() || value < 0.0 {
                return Err(invalid(field, value, "give a number, 0 or more"));
            }
        }
        if !self.input_tokens.is_finite() {
            return Err(invalid("input_tokens", self.input_tokens, "give a finite number"));
        }
        if self.max_latency <= 0.0 {
            return Err(invalid("max_latency", self.max_latency, "give a time above 0: nothing takes none"));
        }
        if self.cached_tokens > self.input_tokens {
            return Err(invalid("cached_tokens", self.cached_tokens, "give no more than input_tokens"));
        }
        if self.output_tokens < 0.0 || self.output_tokens.is_infinite() {
            return Err(invalid("output_tokens", self.output_tokens, "give a finite number, 0 or more"));
        }
        if let Some(share) = self.min_quality.filter(|share| !(0.0..=1.0).contains(share)) {
            return Err(invalid("min_quality", share, "give a number from 0 to 1"));
        }
        if !(self.level > 0.3 && self.level < 1.0) {
            return Err(invalid("level", self.level, "give a share of probability above 0.3 and below 1"));
        }
        if let Some(share) = self.explore.filter(|share| !(*share > 0.0 && *share < 1.0)) {
            return Err(invalid("explore", share, "give a quantile between 0 and 1, such as 0.9"));
        }
        for (field, weight) in ["quality", "cost", "latency"].into_iter().zip(self.weights) {
            if !(0.0..=1e12).contains(&weight) {
                return Err(invalid(&format!("weights.{field}"), weight, "give a finite number, 0 or more"));
            }
        }
        if self.policy == Named::Weights && self.weights.iter().all(|&weight| weight <= 0.0) {
            return Err(invalid("weights", "all 0", "give one that is above 0"));
        }
        if !self.now.is_finite() {
            return Err(invalid("now", self.now, "give UTC seconds"));
        }
        if !(self.qualities.is_empty() || self.qualities.len() == rows) {
            return Err(invalid("qualities", self.qualities.len(), "give one an agent"));
        }
        if let Some(&share) = self.qualities.iter().find(|share| **share < 0.0 || **share > 1.0) {
            return Err(invalid("qualities", share, "give numbers from 0 to 1"));
        }
        Ok(())
    }
}

impl Row {
    /// What is believed of its quality at the worst of these tasks, calls that fail included.
    fn belief(&self, tasks: &[u32], factor: f64) -> Beta {
        let prior = |declared: Option<f64>| {
            declared.map_or(Beta::JEFFREYS, |share| Beta::declared(share, self.weight))
        };
        let mut worst: Option<Beta> = None;
        for task in tasks {
            let Ok(place) = self.tasks.binary_search_by_key(task, |each| each.task) else { continue };
            let at = &self.tasks[place];
            let own = if at.declared.is_some() {
                prior(at.declared)
            } else {
                // What it does elsewhere, worth as much as a declared value.
                let elsewhere = self.state.quality.without(&at.seen).faded(factor);
                Beta::declared(prior(self.quality).after(&elsewhere).mean(), self.weight)
            };
            let own = own.after(&at.seen.faded(factor));
            if worst.is_none_or(|other| own.mean() < other.mean()) {
                worst = Some(own);
            }
        }
        let answered = worst.unwrap_or_else(|| prior(self.quality).after(&self.state.quality.faded(factor)));
        let calls = self.state.success.faded(factor);
        match self.success {
            None if calls.weight - calls.sum <= 0.0 => answered,
            None => answered.times(&Beta { a: self.weight, b: 0.0 }.after(&calls)),
            Some(share) => {
                let prior = Beta { a: self.weight * share, b: self.weight * (1.0 - share) };
                answered.times(&prior.after(&calls))
            }
        }
    }

    /// Seconds; of a language model for an answer of so many tokens, where the caller says how many and its usual number
    /// is known.
    fn latency(&self, tokens: f64, factor: f64) -> Amount {
        let usual =
            Amount::of(self.latency, self.weight, self.latency_variation, &self.state.latency.faded(factor));
        if tokens.is_nan() || self.kind != Kind::Llm {
            return usual;
        }
        let ratio = tokens / self.answer_tokens(factor);
        if ratio.is_finite() { usual.scaled(WAITING + (1.0 - WAITING) * ratio) } else { usual }
    }

    /// Tokens of the answer where the caller has not said; NaN where nobody knows.
    fn answer_tokens(&self, factor: f64) -> f64 {
        let seen = self.state.output_tokens.faded(factor);
        Amount::of(self.output_tokens, self.weight, 0.0, &seen).mean
    }

    fn cost(&self, query: &Query, output: f64, seconds: f64, factor: f64) -> Amount {
        if !self.prices.is_any() && self.price_second <= 0.0 {
            return Amount::of(f64::NAN, self.weight, USUAL_VARIATION, &self.state.cost.faded(factor));
        }
        let tokens = Tokens { input: query.input_tokens, cached: query.cached_tokens, written: 0.0, output };
        let listed = if self.prices.is_any() { self.prices.cost(&tokens) } else { 0.0 };
        let timed = if self.price_second > 0.0 { self.price_second * seconds } else { 0.0 };
        // What the caller counted is exact; a usual answer's length and time are not.
        let exact = self.price_second <= 0.0 && !(self.prices.has_output() && query.output_tokens.is_nan());
        let variation = if exact { 0.0 } else { USUAL_VARIATION };
        let ratio = Amount::of(1.0, self.weight, variation, &self.state.cost_ratio.faded(factor));
        ratio.scaled(listed + timed)
    }
}

impl AgentSet {
    /// Chooses an agent.
    ///
    /// # Errors
    /// `OptionInvalid`: a bound, name or weight that cannot be. `NoFeasibleModel`: no agent is left; it lists which
    /// constraint removed whom.
    pub fn choose(&self, query: &Query, choices: &mut Choices) -> Result<Choice> {
        self.expect(query, choices)?;
        let policy = query.policy.policy(query.weights);
        let (mut best, mut next, mut suitable) = (None::<usize>, None::<usize>, 0);
        for row in 0..self.rows.len() {
            if choices.removed[row].is_some() {
                continue;
            }
            suitable += 1;
            let before =
                |other: Option<usize>| other.is_none_or(|other| self.precedes(row, other, &choices.expected));
            if before(best) {
                next = best;
                best = Some(row);
            } else if before(next) {
                next = Some(row);
            }
        }
        let Some(agent) = best else { return Err(self.nobody(&choices.removed)) };
        let expected = choices.expected[agent];
        let runner_up = next.map(|row| (row, choices.expected[row]));
        let confidence = runner_up.map_or(1.0, |(_, other)| confidence(&policy, &expected, &other));
        Ok(Choice { agent, expected, runner_up, confidence, suitable })
    }

    /// Notes for each row what removes it, and what is expected of the others.
    ///
    /// # Errors
    /// `OptionInvalid`: a bound, name or weight that cannot be.
    pub fn expect(&self, query: &Query, choices: &mut Choices) -> Result<()> {
        query.check(self.rows.len())?;
        self.read_names(query, choices)?;
        let region = match query.region {
            Some(name) => {
                let near = || unknown("region", name, self.regions.nearest(name), "regions");
                Some(self.regions.get(name).ok_or_else(near)?)
            }
            None => None,
        };
        let policy = query.policy.policy(query.weights);
        let costs = query.max_cost.is_finite() || query.budget.is_finite();
        let times = query.max_latency.is_finite();
        let tail = (1.0 - query.level) / 2.0;
        let far = -libm::log(tail);
        let z = if query.budget.is_finite() { normal_quantile(1.0 - tail) } else { 0.0 };
        choices.removed.clear();
        choices.expected.clear();
        choices.bounds.resize(self.rows.len() * REMEMBERED, (Beta { a: 0.0, b: 0.0 }, 0.0, 0.0));
        for (place, row) in self.rows.iter().enumerate() {
            let (removed, expected) = if let Some(removal) = refusal(query, row, region, choices, place) {
                (Some(removal), NOTHING)
            } else {
                let factor = fading_by_steps(query.now - row.state.at, self.half_life);
                let output = if query.output_tokens.is_nan() {
                    row.answer_tokens(factor)
                } else {
                    query.output_tokens
                };
                let expected = expected(query, row, place, &policy, &choices.tasks, output, factor);
                let answer = if output.is_nan() { 0.0 } else { output };
                let removal = if query.input_tokens + answer > row.context {
                    Some(Removal::Context)
                } else {
                    beyond(query, &expected, costs, times, z).or_else(|| {
                        let least = query.min_quality.filter(|&least| least > 0.0)?;
                        let met = match &expected.belief {
                            Some(belief) => belief
                                .surely(least, far)
                                .unwrap_or_else(|| lower(&mut choices.bounds, place, belief, tail) >= least),
                            None => expected.quality >= least,
                        };
                        (!met).then_some(Removal::MinQuality)
                    })
                };
                (removal, expected)
            };
            choices.removed.push(removed);
            choices.expected.push(expected);
        }
        if policy.weighs_cost() {
            choices.remove_unknown(query.policy, |expected| expected.cost.mean, Removal::CostUnknown);
        }
        if policy.weighs_latency() {
            choices.remove_unknown(query.policy, |expected| expected.latency.mean, Removal::LatencyUnknown);
        }
        Ok(())
    }

    /// Puts the names that a query has into bits and places.
    fn read_names(&self, query: &Query, choices: &mut Choices) -> Result<()> {
        choices.required.clear();
        choices.tags.clear();
        choices.tasks.clear();
        choices.excluded.clear();
        choices.excluded.resize(self.rows.len(), false);
        let capability = |field: &str, name: &str| {
            let near = || unknown(field, name, self.capabilities.nearest(name), "capabilities");
            self.capabilities.get(name).ok_or_else(near)
        };
        for name in query.required {
            let place = capability("required_capabilities", name)?;
            choices.required.insert(place);
            if query.task.is_none() {
                choices.tasks.push(place);
            }
        }
        if let Some(name) = query.task {
            choices.tasks.push(capability("task", name)?);
        }
        for name in query.tags {
            let near = || unknown("tags", name, self.tags.nearest(name), "tags");
            choices.tags.insert(self.tags.get(name).ok_or_else(near)?);
        }
        for name in query.excluded {
            choices.excluded[self.named("excluded", name)?] = true;
        }
        Ok(())
    }

    /// Whether a row comes before another: by utility, cost, quality, time, name.
    pub(super) fn precedes(&self, row: usize, other: usize, expected: &[Expected]) -> bool {
        let (one, two) = (&expected[row], &expected[other]);
        // NaN is the greatest of all: what is not known comes last.
        let order = (two.utility.total_cmp(&one.utility))
            .then(known(one.cost.mean).total_cmp(&known(two.cost.mean)))
            .then(two.quality.total_cmp(&one.quality))
            .then(known(one.latency.mean).total_cmp(&known(two.latency.mean)))
            .then(self.rows[row].name.cmp(&self.rows[other].name));
        order.is_lt()
    }

    /// Rows of the last choice that no other beats: none is as good, as cheap and as fast, and better in one of them. In
    /// order of cost.
    #[must_use]
    pub fn front(&self, choices: &Choices) -> Vec<usize> {
        let left: Vec<usize> = (0..self.rows.len()).filter(|&row| choices.removed[row].is_none()).collect();
        let beats = |one: &Expected, two: &Expected| {
            let (cost, other_cost) = (known(one.cost.mean), known(two.cost.mean));
            let (time, other_time) = (known(one.latency.mean), known(two.latency.mean));
            let no_worse = one.quality >= two.quality && cost <= other_cost && time <= other_time;
            no_worse && (one.quality > two.quality || cost < other_cost || time < other_time)
        };
        let all = &choices.expected;
        let mut front: Vec<usize> = left
            .iter()
            .copied()
            .filter(|&row| !left.iter().any(|&other| beats(&all[other], &all[row])))
            .collect();
        sort::stable_by(&mut front, |&one, &two| {
            known(all[one].cost.mean)
                .total_cmp(&known(all[two].cost.mean))
                .then(self.rows[one].name.cmp(&self.rows[two].name))
        });
        front
    }

    /// The error of a choice that has nothing left.
    #[cold]
    #[inline(never)]
    pub(super) fn nobody(&self, removed: &[Option<Removal>]) -> Error {
        const SHOWN: usize = 3;
        let mut value = String::new();
        for removal in Removal::ALL {
            let by = || (0..removed.len()).filter(|&row| removed[row] == Some(removal));
            let count = by().count();
            if count == 0 {
                continue;
            }
            let names: Vec<&str> = by().take(SHOWN).map(|row| self.name(row)).collect();
            let more = if count > SHOWN { format!(" and {} more", count - SHOWN) } else { String::new() };
            let separator = if value.is_empty() { "" } else { "; " };
            let _ = write!(value, "{separator}{} removed {}{more}", removal.as_str(), names.join(", "));
        }
        let remedy = if value.is_empty() {
            value.push_str("no agents");
            "add agents to the registry".to_owned()
        } else {
            "relax one of these constraints, or add an agent that meets them".to_owned()
        };
        Error { kind: ErrorKind::NoFeasibleModel, field: "agents".to_owned(), value, remedy }
    }
}

fn known(value: f64) -> f64 {
    if value.is_nan() { f64::INFINITY } else { value }
}

/// What removes a row for what it is.
fn refusal(
    query: &Query,
    row: &Row,
    region: Option<u32>,
    choices: &Choices,
    place: usize,
) -> Option<Removal> {
    if !row.active {
        Some(Removal::Inactive)
    } else if choices.excluded[place] {
        Some(Removal::Excluded)
    } else if !query.kinds.is_empty() && !query.kinds.contains(&row.kind) {
        Some(Removal::Kind)
    } else if !row.capabilities.holds(&choices.required) {
        Some(Removal::Capabilities)
    } else if !row.tags.holds(&choices.tags) {
        Some(Removal::Tags)
    } else if region.is_some() && row.region != region {
        Some(Removal::Region)
    } else {
        None
    }
}

fn expected(
    query: &Query,
    row: &Row,
    place: usize,
    policy: &Policy,
    tasks: &[u32],
    output: f64,
    factor: f64,
) -> Expected {
    let said = query.qualities.get(place).copied().filter(|share| !share.is_nan());
    let belief = if said.is_some() { None } else { Some(row.belief(tasks, factor)) };
    let quality = said.unwrap_or_else(|| belief.map_or(f64::NAN, |belief| belief.mean()));
    let latency = row.latency(query.output_tokens, factor);
    let cost = row.cost(query, output, latency.mean, factor);
    let counted = match (query.explore, &belief) {
        (Some(quantile), Some(belief)) => belief.quantile(quantile),
        _ => quality,
    };
    let utility = policy.utility(counted, cost.mean, latency.mean);
    Expected { quality, belief, cost, latency, utility }
}

/// What removes an agent for what is expected of it.
fn beyond(query: &Query, expected: &Expected, costs: bool, times: bool, z: f64) -> Option<Removal> {
    let (cost, latency) = (&expected.cost, &expected.latency);
    if costs && cost.mean.is_nan() {
        Some(Removal::CostUnknown)
    } else if cost.mean > query.max_cost {
        Some(Removal::MaxCost)
    } else if query.budget.is_finite() && cost.at(z) > query.budget {
        Some(Removal::Budget)
    } else if times && latency.mean.is_nan() {
        Some(Removal::LatencyUnknown)
    } else if latency.mean > query.max_latency {
        Some(Removal::MaxLatency)
    } else {
        None
    }
}

fn confidence(policy: &Policy, one: &Expected, two: &Expected) -> f64 {
    let utility =
        |expected: &Expected| policy.utility(expected.quality, expected.cost.mean, expected.latency.mean);
    let variance =
        |expected: &Expected| policy.variance(expected.quality, expected.cost.mean, expected.variances());
    let (first, second) = (utility(one), utility(two));
    if first.is_infinite() && second.is_infinite() {
        return 0.5;
    }
    let ahead = first - second;
    let total = variance(one) + variance(two);
    if total > 0.0 && ahead.is_finite() {
        normal(ahead / libm::sqrt(total))
    } else if ahead > 0.0 {
        1.0
    } else if ahead < 0.0 {
        0.0
    } else {
        0.5
    }
}
