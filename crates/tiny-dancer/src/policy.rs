//! Expectations → the model a policy wants: with its weight of cost scaled, and within a conversation.

use serde::{Deserialize, Serialize};

/// How scores become a choice.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Policy {
    /// Always the same model.
    Constant {
        /// Its index.
        model: usize,
    },
    /// `strong` where its expected gain over `weak` is at least the threshold, else `weak`.
    Threshold {
        /// Index of the cheaper model.
        weak: usize,
        /// Index of the dearer model.
        strong: usize,
        /// Least gain worth the dearer model.
        threshold: f64,
    },
    /// argmax of quality − `cost_weight` · cost.
    CostWeight {
        /// λ, quality per unit of cost.
        cost_weight: f64,
        /// Unit of cost.
        unit: CostUnit,
    },
}

/// What a policy counts as cost.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum CostUnit {
    /// US dollars.
    Usd,
    /// Calls of the best constant model: for tables without costs.
    Calls,
}

/// Which of an artifact's policies decides: the words callers write.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Little quality may be given up for cost. `cost` is its former name.
    #[serde(alias = "cost")]
    Cheapest,
    /// No quality may be given up.
    Balanced,
    /// The most quality, whatever it costs.
    Quality,
}

impl Scale {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cheapest, Self::Balanced, Self::Quality];

    /// The word callers write.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cheapest => "cheapest",
            Self::Balanced => "balanced",
            Self::Quality => "quality",
        }
    }

    /// What a word means, former names included.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|scale| scale.as_str() == word);
        found.or((word == "cost").then_some(Self::Cheapest))
    }

    /// What the weight of cost is multiplied by where no policy of this name was fixed: a caller's own threshold or
    /// weight, and artifacts that hold a single policy.
    #[must_use]
    pub fn factor(self) -> f64 {
        match self {
            Self::Cheapest => 2.0,
            Self::Balanced => 1.0,
            Self::Quality => 0.0,
        }
    }
}

/// The policies that training fixed, by name.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Policies {
    /// Whose name the policy in force bears; a certificate may have replaced that policy by another.
    pub in_force: Scale,
    /// See [`Scale::Quality`].
    pub quality: Policy,
    /// See [`Scale::Balanced`].
    pub balanced: Policy,
    /// See [`Scale::Cheapest`].
    pub cheapest: Policy,
}

impl Policies {
    /// The policy of this name.
    #[must_use]
    pub fn get(&self, name: Scale) -> &Policy {
        match name {
            Scale::Cheapest => &self.cheapest,
            Scale::Balanced => &self.balanced,
            Scale::Quality => &self.quality,
        }
    }
}

/// Why this model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its gain over the cheaper model reaches the threshold.
    GainWorthCost,
    /// The dearer model's gain stays below the threshold.
    GainTooSmall,
    /// Highest quality − cost weight · cost.
    BestValue,
    /// Nothing beat the best constant model by enough.
    BestConstant,
    /// The caller pinned it.
    Pinned,
    /// The policy's choice was removed by a constraint; this is the best of the rest.
    NextFeasible,
    /// The conversation is in its prompt cache, and leaving it does not pay.
    PromptCached,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::GainWorthCost,
        Self::GainTooSmall,
        Self::BestValue,
        Self::BestConstant,
        Self::Pinned,
        Self::NextFeasible,
        Self::PromptCached,
    ];

    /// The reason as decisions print it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GainWorthCost => "gain_worth_cost",
            Self::GainTooSmall => "gain_too_small",
            Self::BestValue => "best_value",
            Self::BestConstant => "best_constant",
            Self::Pinned => "pinned",
            Self::NextFeasible => "next_feasible",
            Self::PromptCached => "prompt_cached",
        }
    }
}

/// What a policy looks at on one request, and the ground it was made on.
pub(crate) trait Outlook {
    /// Number of models.
    fn models(&self) -> usize;
    /// Expected quality.
    fn quality(&self, model: usize) -> f64;
    /// Expected USD; NaN where unknown.
    fn cost(&self, model: usize) -> f64;
    /// Whether held-out evidence allows leaving the best constant for it.
    fn cleared(&self, model: usize) -> bool;
    /// Index of the model that is best for all requests.
    fn best_constant(&self) -> usize;
    /// Value by which another model must beat it.
    fn guard_margin(&self) -> f64;
}

/// Why a policy cannot choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// It weighs cost, and nobody said what this model costs.
    Unpriced(usize),
    /// No model is left.
    Nothing,
}

impl Policy {
    /// Whether it chooses among this many models.
    pub(crate) fn fits(&self, models: usize) -> bool {
        match *self {
            Self::Constant { model } => model < models,
            Self::Threshold { weak, strong, threshold } => {
                weak < models && strong < models && weak != strong && threshold.is_finite()
            }
            Self::CostWeight { cost_weight, .. } => cost_weight.is_finite() && cost_weight >= 0.0,
        }
    }

    /// The policy with its weight of cost scaled. A threshold may be below 0: `cheapest` does not lower it then,
    /// nor does `quality` raise it. A constant policy has learned nothing that pays: only `quality` changes it.
    pub(crate) fn scaled(&self, scale: Scale) -> Self {
        let factor = scale.factor();
        match *self {
            Self::Threshold { weak, strong, threshold } => {
                let threshold = threshold + (factor - 1.0) * threshold.abs();
                Self::Threshold { weak, strong, threshold }
            }
            Self::CostWeight { cost_weight, unit } => {
                Self::CostWeight { cost_weight: cost_weight * factor, unit }
            }
            Self::Constant { .. } if scale == Scale::Quality => {
                Self::CostWeight { cost_weight: 0.0, unit: CostUnit::Calls }
            }
            Self::Constant { model } => Self::Constant { model },
        }
    }

    /// The choice among the models for which `feasible` holds, and why. Ties go to the cheaper model, then to the
    /// lower index.
    pub(crate) fn choose(
        &self,
        outlook: &impl Outlook,
        feasible: impl Fn(usize) -> bool,
    ) -> Result<(usize, Reason), Stuck> {
        match *self {
            Self::Constant { model } => Ok((model, Reason::BestConstant)),
            Self::Threshold { weak, strong, threshold } => {
                if outlook.quality(strong) - outlook.quality(weak) >= threshold {
                    Ok((strong, Reason::GainWorthCost))
                } else {
                    Ok((weak, Reason::GainTooSmall))
                }
            }
            Self::CostWeight { cost_weight, unit } => {
                let worth = |model| value(outlook, cost_weight, unit, model);
                let best = best_value(outlook, cost_weight, unit, &feasible)?;
                let constant = outlook.best_constant();
                if best == constant || !feasible(constant) {
                    let reason = if best == constant { Reason::BestConstant } else { Reason::BestValue };
                    return Ok((best, reason));
                }
                if worth(best)? - worth(constant)? >= outlook.guard_margin() {
                    Ok((best, Reason::BestValue))
                } else {
                    Ok((constant, Reason::BestConstant))
                }
            }
        }
    }

    /// The best feasible model where the policy's own choice is removed: by value for a cost weight, else by quality.
    pub(crate) fn next(
        &self,
        outlook: &impl Outlook,
        feasible: impl Fn(usize) -> bool,
    ) -> Result<usize, Stuck> {
        match self {
            Self::CostWeight { .. } => Ok(self.choose(outlook, feasible)?.0),
            _ => best_value(outlook, 0.0, CostUnit::Calls, &feasible),
        }
    }

    /// λ: quality worth one USD; a threshold's is its gain over what the dearer model costs more. `None` where the
    /// policy does not say.
    fn quality_per_dollar(&self, outlook: &impl Outlook) -> Option<f64> {
        match *self {
            Self::CostWeight { cost_weight, unit: CostUnit::Usd } => Some(cost_weight),
            Self::Threshold { weak, strong, threshold } => {
                let dearer = outlook.cost(strong) - outlook.cost(weak);
                (dearer > 0.0).then(|| threshold.max(0.0) / dearer)
            }
            _ => None,
        }
    }

    /// Whether a conversation stays with the model that has it in its prompt cache although the policy wants another:
    /// where quality − λ · cost is no less, both costs with what each model has cached (ADR 0011).
    ///
    /// `stay` and `leave` are (model, USD with its cached prefix).
    pub(crate) fn stays(&self, outlook: &impl Outlook, stay: (usize, f64), leave: (usize, f64)) -> bool {
        // A comparison with NaN is false: what cannot be priced does not hold a conversation.
        let saved = outlook.cost(stay.0) - stay.1;
        self.quality_per_dollar(outlook).is_some_and(|weight| {
            let gained = outlook.quality(stay.0) - outlook.quality(leave.0);
            saved > 0.0 && gained >= weight * (stay.1 - leave.1)
        })
    }
}

fn value(outlook: &impl Outlook, weight: f64, unit: CostUnit, model: usize) -> Result<f64, Stuck> {
    let quality = outlook.quality(model);
    if weight == 0.0 {
        return Ok(quality);
    }
    let cost = match unit {
        CostUnit::Calls => f64::from(u8::from(model == outlook.best_constant())),
        CostUnit::Usd => outlook.cost(model),
    };
    if cost.is_nan() { Err(Stuck::Unpriced(model)) } else { Ok(quality - weight * cost) }
}

/// argmax of value over feasible models that may be routed to: cleared ones and the best constant; uncleared ones
/// only where nothing else is left.
fn best_value(
    outlook: &impl Outlook,
    weight: f64,
    unit: CostUnit,
    feasible: &impl Fn(usize) -> bool,
) -> Result<usize, Stuck> {
    for need_clearance in [true, false] {
        let mut best: Option<(usize, f64)> = None;
        for model in 0..outlook.models() {
            let cleared = outlook.cleared(model) || model == outlook.best_constant();
            if !feasible(model) || (need_clearance && !cleared) {
                continue;
            }
            let worth = value(outlook, weight, unit, model)?;
            let better = best.is_none_or(|(other, most)| {
                worth > most || (worth >= most && outlook.cost(model) < outlook.cost(other))
            });
            if better {
                best = Some((model, worth));
            }
        }
        if let Some((model, _)) = best {
            return Ok(model);
        }
    }
    Err(Stuck::Nothing)
}

/// What was expected of the models on many requests, and the ground a policy was made on: what training looks at.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// [rows, models]
    pub quality: &'a [f64],
    /// The same in USD, NaN where unknown; empty where no model has a price.
    pub cost: &'a [f64],
    /// One a model: whether the best constant may be left for it.
    pub cleared: &'a [bool],
    /// Index of the model that is best for all requests.
    pub best_constant: usize,
    /// Value by which another model must beat it.
    pub guard_margin: f64,
}

struct Row<'a> {
    table: &'a Table<'a>,
    start: usize,
}

impl Outlook for Row<'_> {
    fn models(&self) -> usize {
        self.table.cleared.len()
    }
    fn quality(&self, model: usize) -> f64 {
        self.table.quality[self.start + model]
    }
    fn cost(&self, model: usize) -> f64 {
        self.table.cost.get(self.start + model).copied().unwrap_or(f64::NAN)
    }
    fn cleared(&self, model: usize) -> bool {
        self.table.cleared[model]
    }
    fn best_constant(&self) -> usize {
        self.table.best_constant
    }
    fn guard_margin(&self) -> f64 {
        self.table.guard_margin
    }
}

impl Table<'_> {
    /// The model a policy chooses in each row; `None` where the shapes disagree, an index is none of a model, or the
    /// policy weighs a cost that is unknown.
    #[must_use]
    pub fn choices(&self, policy: &Policy) -> Option<Vec<usize>> {
        let models = self.cleared.len();
        let named = match *policy {
            Policy::Constant { model } => model,
            Policy::Threshold { weak, strong, .. } => weak.max(strong),
            Policy::CostWeight { .. } => self.best_constant,
        };
        let sound = named.max(self.best_constant) < models
            && self.quality.len().is_multiple_of(models)
            && (self.cost.is_empty() || self.cost.len() == self.quality.len());
        if !sound {
            return None;
        }
        let rows = (0..self.quality.len()).step_by(models).map(|start| Row { table: self, start });
        rows.map(|row| policy.choose(&row, |_| true).ok().map(|(model, _)| model)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Two models; numbers are small multiples of powers of two, so that every sum and product here is exact.
    #[derive(Clone, Copy, Debug)]
    struct Two {
        quality: [f64; 2],
        cost: [f64; 2],
    }

    impl Outlook for Two {
        fn models(&self) -> usize {
            2
        }
        fn quality(&self, model: usize) -> f64 {
            self.quality[model]
        }
        fn cost(&self, model: usize) -> f64 {
            self.cost[model]
        }
        fn cleared(&self, _: usize) -> bool {
            true
        }
        fn best_constant(&self) -> usize {
            1
        }
        fn guard_margin(&self) -> f64 {
            0.0
        }
    }

    fn eighths(range: std::ops::RangeInclusive<i32>) -> impl Strategy<Value = f64> {
        range.prop_map(|count| f64::from(count) / 8.0)
    }

    /// The dearer model costs 1, 2 or 4 more, so that a threshold divides exactly.
    fn two() -> impl Strategy<Value = Two> {
        (eighths(0..=8), eighths(0..=8), eighths(0..=16), prop::sample::select(vec![1.0, 2.0, 4.0]))
            .prop_map(|(weak, strong, cost, more)| Two { quality: [weak, strong], cost: [cost, cost + more] })
    }

    fn weight(cost_weight: f64) -> Policy {
        Policy::CostWeight { cost_weight, unit: CostUnit::Usd }
    }

    fn threshold(threshold: f64) -> Policy {
        Policy::Threshold { weak: 0, strong: 1, threshold }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_conversation_stays_exactly_where_it_is_worth_no_less(
            two in two(), number in eighths(-4..=16), at_strong in any::<bool>(), is_threshold in any::<bool>(),
            cached in [eighths(0..=48), eighths(0..=48)],
        ) {
            let (policy, lambda) = if is_threshold {
                (threshold(number), number.max(0.0) / (two.cost[1] - two.cost[0]))
            } else {
                (weight(number.abs()), number.abs())
            };
            let (stay, leave) = (usize::from(at_strong), usize::from(!at_strong));
            let worth = |model: usize| two.quality[model] - lambda * cached[model];
            let expected = cached[stay] < two.cost[stay] && worth(stay) >= worth(leave);
            prop_assert_eq!(policy.stays(&two, (stay, cached[stay]), (leave, cached[leave])), expected);
        }

        #[test]
        fn a_threshold_s_weight_decides_as_the_threshold_does(two in two(), number in eighths(0..=8)) {
            let lambda = threshold(number).quality_per_dollar(&two).expect("the strong model costs more");
            let by_threshold = threshold(number).choose(&two, |_| true).expect("priced").0 == 1;
            let worth = |model: usize| two.quality[model] - lambda * two.cost[model];
            prop_assert_eq!(worth(1) >= worth(0), by_threshold);
        }

        #[test]
        fn a_longer_prefix_never_makes_leaving_likelier(
            two in two(), number in 0.0..3f64, at_strong in any::<bool>(), is_threshold in any::<bool>(),
            left in 0.0..6f64, shorter in 0.0..1f64, longer in 0.0..1f64,
        ) {
            let policy = if is_threshold { threshold(number) } else { weight(number) };
            let (stay, leave) = (usize::from(at_strong), usize::from(!at_strong));
            let stays = |read: f64| policy.stays(&two, (stay, two.cost[stay] * (1.0 - read)), (leave, left));
            let (shorter, longer) = (shorter.min(longer), shorter.max(longer));
            prop_assert!(stays(longer) || !stays(shorter));
        }

        #[test]
        fn nothing_is_stayed_for_without_a_saving_or_a_price(
            two in two(), number in eighths(0..=16), at_strong in any::<bool>(), is_threshold in any::<bool>(),
            more in eighths(0..=16),
        ) {
            let policy = if is_threshold { threshold(number) } else { weight(number) };
            let (stay, leave) = (usize::from(at_strong), usize::from(!at_strong));
            let better = Two { quality: [if at_strong { 0.0 } else { 1.0 }, if at_strong { 1.0 } else { 0.0 }], ..two };
            prop_assert!(!policy.stays(&better, (stay, two.cost[stay] + more), (leave, 9.0)), "no saving");
            for unknown in [(f64::NAN, 0.0, 9.0), (8.0, f64::NAN, 9.0), (8.0, 0.0, f64::NAN)] {
                let mut priced = better;
                priced.cost[stay] = unknown.0;
                let stays = policy.stays(&priced, (stay, unknown.1), (leave, unknown.2));
                prop_assert!(!stays, "{unknown:?}");
            }
            let calls = Policy::CostWeight { cost_weight: number, unit: CostUnit::Calls };
            for policy in [calls, Policy::Constant { model: leave }] {
                prop_assert!(!policy.stays(&better, (stay, -1.0), (leave, 9.0)), "no weight in dollars");
            }
        }
    }

    #[test]
    fn a_table_is_decided_row_by_row_or_refused_whole() {
        let quality = [0.5, 0.75, 0.75, 0.5, 0.25, 0.875];
        let cost = [1.0, 2.0, 1.0, 2.0, 1.0, 2.0];
        let table = Table {
            quality: &quality,
            cost: &cost,
            cleared: &[true; 2],
            best_constant: 0,
            guard_margin: 0.0,
        };
        assert_eq!(table.choices(&Policy::Constant { model: 1 }), Some(vec![1, 1, 1]));
        assert_eq!(table.choices(&threshold(0.25)), Some(vec![1, 0, 1]));
        assert_eq!(table.choices(&weight(0.0)), Some(vec![1, 0, 1]));
        assert_eq!(table.choices(&weight(0.5)), Some(vec![0, 0, 1]));
        // The guard and clearance are the table's.
        let guarded = Table { guard_margin: 0.5, ..table };
        assert_eq!(guarded.choices(&weight(0.0)), Some(vec![0, 0, 1]));
        let uncleared = Table { cleared: &[true, false], ..table };
        assert_eq!(uncleared.choices(&weight(0.0)), Some(vec![0, 0, 0]));
        // Without costs only what does not weigh them decides.
        let unpriced = Table { cost: &[], ..table };
        assert_eq!(unpriced.choices(&threshold(0.25)), Some(vec![1, 0, 1]));
        assert_eq!(unpriced.choices(&weight(0.0)), Some(vec![1, 0, 1]));
        assert_eq!(unpriced.choices(&weight(0.5)), None);
        let calls = Policy::CostWeight { cost_weight: 0.5, unit: CostUnit::Calls };
        assert_eq!(unpriced.choices(&calls), Some(vec![1, 1, 1]));
        for wrong in [
            Table { quality: &quality[..5], cost: &[], ..table },
            Table { cost: &cost[..4], ..table },
            Table { cleared: &[], quality: &[], cost: &[], ..table },
            Table { best_constant: 2, ..table },
        ] {
            assert_eq!(wrong.choices(&threshold(0.25)), None, "{wrong:?}");
        }
        for wrong in [
            Policy::Constant { model: 2 },
            Policy::Threshold { weak: 2, strong: 1, threshold: 0.0 },
            Policy::Threshold { weak: 0, strong: 2, threshold: 0.0 },
        ] {
            assert_eq!(table.choices(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_threshold_between_models_of_one_price_weighs_nothing_in_dollars() {
        let same = Two { quality: [0.5, 0.5], cost: [1.0, 1.0] };
        assert!(!threshold(0.0).stays(&same, (1, 0.5), (0, 1.0)));
    }
}
