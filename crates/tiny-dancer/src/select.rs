//! Scores + costs + constraints → choice.

use crate::artifact::{CostUnit, Header, Policy};
use crate::error::{Error, ErrorKind, Result};

/// Far above any answer's length; with the bound on prices it keeps every cost finite.
const MOST_OUTPUT_TOKENS: f64 = 1e9;

/// What a caller asks of a decision beyond the request. The default asks nothing.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Most USD the answer may cost.
    pub max_cost: Option<f64>,
    /// Least quality to expect, in [0, 1].
    pub min_quality: Option<f64>,
    /// Most seconds the answer may take.
    pub max_latency: Option<f64>,
    /// Only these models, by index; empty means all.
    pub allowed: Vec<usize>,
    /// Not these.
    pub excluded: Vec<usize>,
    /// This one, whatever the policy says.
    pub pinned: Option<usize>,
    /// Another threshold on the gain than the artifact's.
    pub threshold: Option<f64>,
    /// Another quality per unit of cost than the artifact's.
    pub cost_weight: Option<f64>,
    /// Output tokens to expect of any model, where the caller knows.
    pub expected_output_tokens: Option<f64>,
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
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::GainWorthCost,
        Self::GainTooSmall,
        Self::BestValue,
        Self::BestConstant,
        Self::Pinned,
        Self::NextFeasible,
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
        }
    }
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutedBy {
    /// The trained policy.
    Learned,
    /// A constant policy: nothing was learned that pays.
    Default,
    /// The caller: a pinned model, another threshold or cost weight.
    Override,
    /// A constraint that removed the policy's choice.
    Constraint,
}

impl RoutedBy {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Learned, Self::Default, Self::Override, Self::Constraint];

    /// The word decisions print.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Learned => "learned",
            Self::Default => "default",
            Self::Override => "override",
            Self::Constraint => "constraint",
        }
    }
}

/// What removed a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Not among the allowed, or excluded, or another is pinned.
    Name,
    /// `max_cost`.
    Cost,
    /// `min_quality`.
    Quality,
    /// `max_latency`.
    Latency,
    /// Prompt and expected output exceed the context window.
    ContextWindow,
}

/// Expected quality, cost and latency of every model on one request.
#[derive(Clone, Debug, Default)]
pub struct Expectations {
    /// In [0, 1].
    pub quality: Vec<f32>,
    /// USD; NaN where unknown.
    pub cost: Vec<f64>,
    /// Seconds; NaN where unknown.
    pub latency: Vec<f64>,
    /// Expected output tokens; NaN where unknown.
    pub output_tokens: Vec<f64>,
    /// What removed each model.
    pub removed: Vec<Option<Removal>>,
    /// The models that may be the best one, at the artifact's coverage.
    pub prediction_set: Vec<bool>,
}

/// The model chosen, and under what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Index of the model.
    pub model: usize,
    /// Why.
    pub reason: Reason,
    /// Who decided.
    pub routed_by: RoutedBy,
    /// The policy as shipped chose it: no override, no constraint that removed its choice, no other costs.
    pub as_certified: bool,
}

/// Removes what the constraints forbid and applies the policy to the rest.
///
/// # Errors
/// `OptionInvalid` for an option outside its range or one that needs costs or latencies nobody gave;
/// `NoFeasibleModel`, listing what removed which model, where nothing is left.
pub fn select(header: &Header, options: &Options, tokens: u32, expect: &mut Expectations) -> Result<Choice> {
    check_options(header, options)?;
    let overridden = overridden_policy(header, options)?;
    remove(header, options, tokens, expect)?;
    if expect.removed.iter().all(Option::is_some) {
        return Err(no_feasible(header, options, tokens, expect));
    }
    if let Some(pinned) = options.pinned {
        return Ok(Choice {
            model: pinned,
            reason: Reason::Pinned,
            routed_by: RoutedBy::Override,
            as_certified: false,
        });
    }
    let policy = overridden.as_ref().unwrap_or(&header.policy);
    let wanted = apply(header, policy, expect, |_| true)?;
    if expect.removed[wanted.0].is_none() {
        let routed_by = match (&overridden, &header.policy) {
            (Some(_), _) => RoutedBy::Override,
            (None, Policy::Constant { .. }) => RoutedBy::Default,
            (None, _) => RoutedBy::Learned,
        };
        // Other output lengths are other costs, so a policy that weighs cost may decide otherwise.
        let other_costs =
            options.expected_output_tokens.is_some() && matches!(policy, Policy::CostWeight { .. });
        let as_certified = overridden.is_none() && !other_costs;
        return Ok(Choice { model: wanted.0, reason: wanted.1, routed_by, as_certified });
    }
    let removed = std::mem::take(&mut expect.removed);
    let next = next_feasible(header, policy, expect, |model| removed[model].is_none());
    expect.removed = removed;
    Ok(Choice {
        model: next?,
        reason: Reason::NextFeasible,
        routed_by: RoutedBy::Constraint,
        as_certified: false,
    })
}

/// The policy with the caller's threshold or cost weight in place of its own.
fn overridden_policy(header: &Header, options: &Options) -> Result<Option<Policy>> {
    let finite = |field: &str, value: f64| {
        if value.is_finite() {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::OptionInvalid, field, value, "give a finite number"))
        }
    };
    match (options.threshold, options.cost_weight) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Error::new(
            ErrorKind::OptionInvalid,
            "threshold",
            "given beside cost_weight",
            "give one of the two",
        )),
        (Some(threshold), None) => {
            finite("threshold", threshold)?;
            let (weak, strong) = match header.policy {
                Policy::Threshold { weak, strong, .. } => (weak, strong),
                _ if header.models.len() == 2 => (1 - header.best_constant, header.best_constant),
                _ => {
                    return Err(Error::new(
                        ErrorKind::OptionInvalid,
                        "threshold",
                        threshold,
                        "a threshold chooses between two models; with more, give cost_weight",
                    ));
                }
            };
            Ok(Some(Policy::Threshold { weak, strong, threshold }))
        }
        (None, Some(cost_weight)) => {
            finite("cost_weight", cost_weight)?;
            if cost_weight < 0.0 {
                return Err(Error::new(
                    ErrorKind::OptionInvalid,
                    "cost_weight",
                    cost_weight,
                    "give a number ≥ 0: quality worth one unit of cost",
                ));
            }
            let unit = match header.policy {
                Policy::CostWeight { unit, .. } => unit,
                _ if header.models.iter().all(crate::artifact::ModelSpec::is_priced) => CostUnit::Usd,
                _ => CostUnit::Calls,
            };
            Ok(Some(Policy::CostWeight { cost_weight, unit }))
        }
    }
}

/// The policy's choice among the models for which `feasible` holds, and why. Ties go to the cheaper model, then to
/// the lower index.
fn apply(
    header: &Header,
    policy: &Policy,
    expect: &Expectations,
    feasible: impl Fn(usize) -> bool,
) -> Result<(usize, Reason)> {
    match *policy {
        Policy::Constant { model } => Ok((model, Reason::BestConstant)),
        Policy::Threshold { weak, strong, threshold } => {
            let gain = f64::from(expect.quality[strong]) - f64::from(expect.quality[weak]);
            if gain >= threshold {
                Ok((strong, Reason::GainWorthCost))
            } else {
                Ok((weak, Reason::GainTooSmall))
            }
        }
        Policy::CostWeight { cost_weight, unit } => {
            let best = best_value(header, cost_weight, unit, expect, &feasible)?;
            let constant = header.best_constant;
            if best == constant || !feasible(constant) {
                return Ok((best, if best == constant { Reason::BestConstant } else { Reason::BestValue }));
            }
            let advantage = value(header, cost_weight, unit, expect, best)?
                - value(header, cost_weight, unit, expect, constant)?;
            if advantage >= header.guard_margin {
                Ok((best, Reason::BestValue))
            } else {
                Ok((constant, Reason::BestConstant))
            }
        }
    }
}

fn value(header: &Header, weight: f64, unit: CostUnit, expect: &Expectations, model: usize) -> Result<f64> {
    let quality = f64::from(expect.quality[model]);
    if weight == 0.0 {
        return Ok(quality);
    }
    let cost = match unit {
        CostUnit::Calls => f64::from(u8::from(model == header.best_constant)),
        CostUnit::Usd => {
            known(expect.cost[model], "price", &header.models[model].name, "the policy weighs cost")?
        }
    };
    Ok(quality - weight * cost)
}

fn known(number: f64, field: &str, model: &str, why: &str) -> Result<f64> {
    if number.is_nan() {
        return Err(Error::new(
            ErrorKind::OptionInvalid,
            format!("{field} of {model}"),
            "unknown",
            format!(
                "{why}; give it when loading (models={{name: ModelInfo(…)}}) or train on a table that has it"
            ),
        ));
    }
    Ok(number)
}

/// argmax of value over feasible models that may be routed to: cleared ones and the best constant; uncleared ones
/// only where nothing else is left.
fn best_value(
    header: &Header,
    weight: f64,
    unit: CostUnit,
    expect: &Expectations,
    feasible: &impl Fn(usize) -> bool,
) -> Result<usize> {
    for need_clearance in [true, false] {
        let mut best: Option<(usize, f64)> = None;
        for model in 0..header.models.len() {
            let cleared = header.models[model].cleared || model == header.best_constant;
            if !feasible(model) || (need_clearance && !cleared) {
                continue;
            }
            let worth = value(header, weight, unit, expect, model)?;
            let better = best.is_none_or(|(other, most)| {
                worth > most || (worth >= most && expect.cost[model] < expect.cost[other])
            });
            if better {
                best = Some((model, worth));
            }
        }
        if let Some((model, _)) = best {
            return Ok(model);
        }
    }
    Err(Error::new(ErrorKind::NoFeasibleModel, "models", "none", "relax the constraints"))
}

/// The best feasible model where the policy's own choice is removed: by value for a cost weight, else by quality.
fn next_feasible(
    header: &Header,
    policy: &Policy,
    expect: &Expectations,
    feasible: impl Fn(usize) -> bool,
) -> Result<usize> {
    match *policy {
        Policy::CostWeight { .. } => Ok(apply(header, policy, expect, feasible)?.0),
        _ => best_value(header, 0.0, CostUnit::Calls, expect, &feasible),
    }
}

fn remove(header: &Header, options: &Options, tokens: u32, expect: &mut Expectations) -> Result<()> {
    expect.removed.clear();
    for (index, model) in header.models.iter().enumerate() {
        let listed = options.allowed.is_empty() || options.allowed.contains(&index);
        let mut removed = (!listed || options.excluded.contains(&index)).then_some(Removal::Name);
        if options.pinned.is_some_and(|pinned| pinned != index) {
            removed = Some(Removal::Name);
        }
        if removed.is_none() {
            removed = constraint(model, options, tokens, expect, index)?;
        }
        expect.removed.push(removed);
    }
    Ok(())
}

fn constraint(
    model: &crate::artifact::ModelSpec,
    options: &Options,
    tokens: u32,
    expect: &Expectations,
    index: usize,
) -> Result<Option<Removal>> {
    let output = expect.output_tokens[index];
    let needed = f64::from(tokens) + if output.is_nan() { 0.0 } else { output };
    if model.context_window.is_some_and(|window| needed > f64::from(window)) {
        return Ok(Some(Removal::ContextWindow));
    }
    if let Some(most) = options.max_cost
        && known(expect.cost[index], "price", &model.name, "max_cost needs it")? > most
    {
        return Ok(Some(Removal::Cost));
    }
    if let Some(most) = options.max_latency
        && known(expect.latency[index], "latency", &model.name, "max_latency needs it")? > most
    {
        return Ok(Some(Removal::Latency));
    }
    Ok(options
        .min_quality
        .filter(|&least| f64::from(expect.quality[index]) < least)
        .map(|_| Removal::Quality))
}

fn check_options(header: &Header, options: &Options) -> Result<()> {
    let invalid = |field: &str, value: f64, remedy: &str| {
        Err(Error::new(ErrorKind::OptionInvalid, field, value, remedy))
    };
    let positive = [
        ("max_cost", options.max_cost),
        ("max_latency", options.max_latency),
        ("expected_output_tokens", options.expected_output_tokens),
    ];
    for (field, value) in positive {
        if let Some(value) = value
            && (!value.is_finite() || value < 0.0)
        {
            return invalid(field, value, "give a finite number ≥ 0");
        }
    }
    if let Some(output) = options.expected_output_tokens
        && output > MOST_OUTPUT_TOKENS
    {
        return invalid("expected_output_tokens", output, "give at most 1e9 tokens");
    }
    if let Some(quality) = options.min_quality
        && !(0.0..=1.0).contains(&quality)
    {
        return invalid("min_quality", quality, "give a quality in [0, 1]");
    }
    let mut named = options.allowed.iter().chain(&options.excluded).chain(&options.pinned);
    if let Some(&index) = named.find(|&&index| index >= header.models.len()) {
        return invalid("model", index as f64, "no model has this index");
    }
    Ok(())
}

fn no_feasible(header: &Header, options: &Options, tokens: u32, expect: &Expectations) -> Error {
    use std::fmt::Write;
    let mut list = String::new();
    for (index, (model, removed)) in header.models.iter().zip(&expect.removed).enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        let name = &model.name;
        let _ = match removed {
            Some(Removal::Cost) => write!(
                list,
                "{separator}max_cost={} removed {name} (expected cost {:.6})",
                options.max_cost.unwrap_or_default(),
                expect.cost[index]
            ),
            Some(Removal::Quality) => write!(
                list,
                "{separator}min_quality={} removed {name} (expected quality {:.3})",
                options.min_quality.unwrap_or_default(),
                expect.quality[index]
            ),
            Some(Removal::Latency) => write!(
                list,
                "{separator}max_latency={} removed {name} (expected {:.3} s)",
                options.max_latency.unwrap_or_default(),
                expect.latency[index]
            ),
            Some(Removal::ContextWindow) => write!(
                list,
                "{separator}context window {} removed {name} ({tokens} prompt tokens)",
                model.context_window.unwrap_or_default()
            ),
            Some(Removal::Name) | None => {
                let by = match options.pinned {
                    Some(pinned) if pinned != index => "pin",
                    _ if options.excluded.contains(&index) => "exclude",
                    _ => "allowed",
                };
                write!(list, "{separator}{by} removed {name}")
            }
        };
    }
    let mut error =
        Error::new(ErrorKind::NoFeasibleModel, "constraints", "", "relax one of them or allow more models");
    // The list is the point of this error: it is not shortened.
    error.value = list;
    error
}
