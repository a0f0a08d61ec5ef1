//! Expectations + options → choice: what the constraints remove, what the policy wants of the rest, and whether a
//! conversation stays where it is.

use serde::{Deserialize, Serialize};

use crate::artifact::Header;
use crate::error::{Error, ErrorKind, Result};
use crate::options::{Options, index};
use crate::policy::{CostUnit, Outlook, Policy, Reason, Stuck};
use crate::price::Tokens;

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutedBy {
    /// The trained policy.
    Learned,
    /// A constant policy: nothing was learned that pays.
    Default,
    /// The caller: a pinned model, another threshold, cost weight or policy.
    Override,
    /// A constraint that removed the policy's choice.
    Constraint,
    /// The conversation, which stays with the model that has it in its prompt cache.
    Session,
}

impl RoutedBy {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Learned, Self::Default, Self::Override, Self::Constraint, Self::Session];

    /// The word decisions print.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Learned => "learned",
            Self::Default => "default",
            Self::Override => "override",
            Self::Constraint => "constraint",
            Self::Session => "session",
        }
    }
}

/// What removed a model: the option, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Another is pinned.
    Pin,
    /// It is excluded.
    Exclude,
    /// It is not among the allowed.
    Allowed,
    /// Prompt and expected output exceed its context window.
    ContextWindow,
    /// It is expected to cost more.
    MaxCost,
    /// It is expected to take longer.
    MaxLatency,
    /// Less quality is expected of it.
    MinQuality,
}

impl Removal {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Pin,
        Self::Exclude,
        Self::Allowed,
        Self::ContextWindow,
        Self::MaxCost,
        Self::MaxLatency,
        Self::MinQuality,
    ];

    /// The word decisions print.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pin => "pin",
            Self::Exclude => "exclude",
            Self::Allowed => "allowed",
            Self::ContextWindow => "context_window",
            Self::MaxCost => "max_cost",
            Self::MaxLatency => "max_latency",
            Self::MinQuality => "min_quality",
        }
    }
}

/// Why a decision stands under no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Uncovered {
    /// The artifact has none.
    Uncertified,
    /// It was earned, but with other models.
    OtherModels,
    /// The caller decided.
    Overridden,
    /// A constraint removed the policy's choice.
    Constrained,
    /// The conversation stayed where it was.
    Stayed,
    /// The caller expects other output lengths, so costs are others and a policy that weighs them may decide otherwise.
    OtherCosts,
    /// It was earned with other prices or output lengths, and the policy weighs cost.
    OtherPrices,
    /// A model was added without outcomes.
    Declared,
    /// The request is unlike the rows it was earned on.
    Unlike,
}

impl Uncovered {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Uncertified,
        Self::OtherModels,
        Self::Overridden,
        Self::Constrained,
        Self::Stayed,
        Self::OtherCosts,
        Self::OtherPrices,
        Self::Declared,
        Self::Unlike,
    ];

    /// The sentence decisions print.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uncertified => "the artifact carries no certificate; see calibrate",
            Self::OtherModels => "the certificate was earned with other models",
            Self::Overridden => "overridden by the caller",
            Self::Constrained => "a constraint changed the choice",
            Self::Stayed => "the conversation stayed with the model that has it in its cache",
            Self::OtherCosts => "other output lengths are expected than those it was earned with",
            Self::OtherPrices => {
                "the certificate was earned with other prices or output lengths, which its policy weighs"
            }
            Self::Declared => {
                "a model was added without outcomes: what is expected of it is declared, not measured"
            }
            Self::Unlike => "the request is unlike those the certificate was earned on (see likeness)",
        }
    }
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
    /// Why the choice is not the one the policy was certified for; `None` where it is.
    pub uncovered: Option<Uncovered>,
}

struct Request<'a> {
    header: &'a Header,
    expect: &'a Expectations,
}

impl Outlook for Request<'_> {
    fn models(&self) -> usize {
        self.header.models.len()
    }
    fn quality(&self, model: usize) -> f64 {
        f64::from(self.expect.quality[model])
    }
    fn cost(&self, model: usize) -> f64 {
        self.expect.cost[model]
    }
    fn cleared(&self, model: usize) -> bool {
        self.header.models[model].cleared
    }
    fn best_constant(&self) -> usize {
        self.header.best_constant
    }
    fn guard_margin(&self) -> f64 {
        self.header.guard_margin
    }
}

/// Removes what the constraints forbid and applies the policy to the rest. The options were checked.
///
/// # Errors
/// `OptionInvalid` for an option that does not fit the artifact, or needs costs or latencies nobody gave;
/// `NoFeasibleModel`, listing what removed which model, where nothing is left.
#[inline(never)]
pub(crate) fn select(
    header: &Header,
    options: &Options,
    tokens: u32,
    expect: &mut Expectations,
) -> Result<Choice> {
    let overridden = overridden_policy(header, options)?;
    remove(header, options, Prompt::Counted(tokens), expect)?;
    let expect = &*expect;
    if let Some(pinned) = &options.pin {
        return Ok(Choice {
            model: index(header, "pin", pinned)?,
            reason: Reason::Pinned,
            routed_by: RoutedBy::Override,
            uncovered: Some(Uncovered::Overridden),
        });
    }
    let policy = overridden.as_ref().unwrap_or(&header.policy);
    let outlook = Request { header, expect };
    let feasible = |model: usize| expect.removed[model].is_none();
    let stuck = |stuck| match stuck {
        Stuck::Unpriced(model) => unknown("price", &header.models[model].name, "the policy weighs cost"),
        Stuck::Nothing => Error::new(ErrorKind::NoFeasibleModel, "models", "none", "relax the constraints"),
    };
    let (wanted, reason) = policy.choose(&outlook, |_| true).map_err(stuck)?;
    let choice = if feasible(wanted) {
        let routed_by = match (&overridden, &header.policy) {
            (Some(_), _) => RoutedBy::Override,
            (None, Policy::Constant { .. }) => RoutedBy::Default,
            (None, _) => RoutedBy::Learned,
        };
        let other_costs =
            options.expected_output_tokens.is_some() && matches!(policy, Policy::CostWeight { .. });
        let uncovered = match routed_by {
            RoutedBy::Override => Some(Uncovered::Overridden),
            _ => other_costs.then_some(Uncovered::OtherCosts),
        };
        Choice { model: wanted, reason, routed_by, uncovered }
    } else {
        Choice {
            model: policy.next(&outlook, feasible).map_err(stuck)?,
            reason: Reason::NextFeasible,
            routed_by: RoutedBy::Constraint,
            uncovered: Some(Uncovered::Constrained),
        }
    };
    if let Some(current) = &options.current {
        let stay = index(header, "current", current)?;
        let with_cache = |model: usize| (model, cached_cost(header, options, tokens, expect, model));
        if stay != choice.model
            && feasible(stay)
            && policy.stays(&outlook, with_cache(stay), with_cache(choice.model))
        {
            return Ok(Choice {
                model: stay,
                reason: Reason::PromptCached,
                routed_by: RoutedBy::Session,
                uncovered: Some(Uncovered::Stayed),
            });
        }
    }
    Ok(choice)
}

/// USD of the answer with what the model has of the prompt in its cache; a prefix that is no longer the prompt's whole
/// counts as far as the prompt goes.
fn cached_cost(header: &Header, options: &Options, tokens: u32, expect: &Expectations, model: usize) -> f64 {
    let spec = &header.models[model];
    let cached = options.cached(&spec.name);
    if cached == 0.0 {
        return expect.cost[model];
    }
    let output = expect.output_tokens[model];
    let tokens = Tokens { input: f64::from(tokens), cached, output, ..Tokens::default() };
    // A cache that costs more than it saves is not read.
    spec.prices.cost(&tokens).min(expect.cost[model])
}

/// The policy the caller asks for in place of the one in force: by its threshold or cost weight, or by name. `None`
/// where that is the policy in force.
fn overridden_policy(header: &Header, options: &Options) -> Result<Option<Policy>> {
    let given = match (options.threshold, options.cost_weight) {
        (Some(threshold), _) => {
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
            Some(Policy::Threshold { weak, strong, threshold })
        }
        (None, Some(cost_weight)) => {
            let unit = match header.policy {
                Policy::CostWeight { unit, .. } => unit,
                // Of two models without prices the better one is taken as the dearer; of more nobody can say.
                _ if header.models.len() == 2
                    && !header.models.iter().all(crate::artifact::ModelSpec::is_priced) =>
                {
                    CostUnit::Calls
                }
                _ => CostUnit::Usd,
            };
            Some(Policy::CostWeight { cost_weight, unit })
        }
        (None, None) => None,
    };
    let Some(name) = options.policy else {
        return Ok(given);
    };
    if let Some(own) = given {
        return Ok(Some(own.scaled(name)));
    }
    let asked = match &header.policies {
        Some(policies) if name == policies.in_force => return Ok(None),
        Some(policies) => policies.get(name).clone(),
        None => header.policy.scaled(name),
    };
    Ok((asked != header.policy).then_some(asked))
}

#[cold]
#[inline(never)]
fn unknown(field: &str, model: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::OptionInvalid,
        format!("{field} of {model}"),
        "unknown",
        format!(
            "{why}; give it when loading (models={{name: ModelInfo(…)}}) or train on a table that has it"
        ),
    )
}

/// How long the prompt is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Prompt {
    /// So many tokens.
    Counted(u32),
    /// Nobody could count; no context window is judged.
    Unknown,
}

/// Notes for every model what removes it.
///
/// # Errors
/// `OptionInvalid` where a constraint needs what nobody gave; `NoFeasibleModel` where nothing is left.
pub(crate) fn remove(
    header: &Header,
    options: &Options,
    prompt: Prompt,
    expect: &mut Expectations,
) -> Result<()> {
    expect.removed.clear();
    for (index, model) in header.models.iter().enumerate() {
        let is = |name: &String| *name == model.name;
        let removed = if options.pin.as_ref().is_some_and(|pinned| !is(pinned)) {
            Some(Removal::Pin)
        } else if options.exclude.iter().any(is) {
            Some(Removal::Exclude)
        } else if !options.allowed.is_empty() && !options.allowed.iter().any(is) {
            Some(Removal::Allowed)
        } else {
            constraint(model, options, prompt, expect, index)?
        };
        expect.removed.push(removed);
    }
    if expect.removed.iter().all(Option::is_some) {
        return Err(no_feasible(header, options, prompt, expect));
    }
    Ok(())
}

fn constraint(
    model: &crate::artifact::ModelSpec,
    options: &Options,
    prompt: Prompt,
    expect: &Expectations,
    index: usize,
) -> Result<Option<Removal>> {
    let known = |number: f64, field: &str, why: &str| {
        if number.is_nan() { Err(unknown(field, &model.name, why)) } else { Ok(number) }
    };
    if let (Prompt::Counted(tokens), Some(window)) = (prompt, model.context_window) {
        let output = expect.output_tokens[index];
        if f64::from(tokens) + if output.is_nan() { 0.0 } else { output } > f64::from(window) {
            return Ok(Some(Removal::ContextWindow));
        }
    }
    if let Some(most) = options.max_cost
        && known(expect.cost[index], "price", "max_cost needs it")? > most
    {
        return Ok(Some(Removal::MaxCost));
    }
    if let Some(most) = options.max_latency
        && known(expect.latency[index], "latency", "max_latency needs it")? > most
    {
        return Ok(Some(Removal::MaxLatency));
    }
    Ok(options
        .min_quality
        .filter(|&least| f64::from(expect.quality[index]) < least)
        .map(|_| Removal::MinQuality))
}

#[cold]
#[inline(never)]
fn no_feasible(header: &Header, options: &Options, prompt: Prompt, expect: &Expectations) -> Error {
    let one = |(index, (model, removed)): (usize, (&crate::artifact::ModelSpec, &Option<Removal>))| {
        let name = &model.name;
        match removed {
            Some(Removal::MaxCost) => format!(
                "max_cost={} removed {name} (expected cost {:.6})",
                options.max_cost.unwrap_or_default(),
                expect.cost[index]
            ),
            Some(Removal::MinQuality) => format!(
                "min_quality={} removed {name} (expected quality {:.3})",
                options.min_quality.unwrap_or_default(),
                expect.quality[index]
            ),
            Some(Removal::MaxLatency) => format!(
                "max_latency={} removed {name} (expected {:.3} s)",
                options.max_latency.unwrap_or_default(),
                expect.latency[index]
            ),
            Some(Removal::ContextWindow) => {
                let window = model.context_window.unwrap_or_default();
                let tokens = match prompt {
                    Prompt::Counted(tokens) => tokens.to_string(),
                    Prompt::Unknown => "unknown".to_owned(),
                };
                format!("context window {window} removed {name} ({tokens} prompt tokens)")
            }
            Some(by) => format!("{} removed {name}", by.as_str()),
            None => format!("nothing removed {name}"),
        }
    };
    let list: Vec<String> = header.models.iter().zip(&expect.removed).enumerate().map(one).collect();
    let mut error =
        Error::new(ErrorKind::NoFeasibleModel, "constraints", "", "relax one of them or allow more models");
    // The list is the point of this error: it is not shortened.
    error.value = list.join(", ");
    error
}
