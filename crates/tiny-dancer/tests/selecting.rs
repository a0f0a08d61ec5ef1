//! Scores + costs + constraints → choice, over artifacts without backends: their qualities are what the test says.

mod support;

use proptest::prelude::*;
use support::{Draft, Plan, Random, f32_tensor, guarantee};
use tiny_dancer::policy::{CostUnit, Policy};
use tiny_dancer::price::Prices;
use tiny_dancer::{
    Decision, Error, ErrorKind, Options, Reason, Removal, Request, RoutedBy, Router, Scratch, Uncovered,
};

/// A draft whose models have these qualities (calibrated by the identity) and, where given, costs in USD.
fn draft(random: &mut Random, quality: &[f32], cost: &[Option<f64>]) -> Draft {
    let models = quality.len();
    let plan = Plan { models, components: 0, backends: vec![], encoder: None };
    let mut draft = Draft::new(random, &plan);
    *draft.tensor("mean") = f32_tensor("mean", &[models], quality);
    for name in ["calibration_knots", "calibration_values"] {
        *draft.tensor(name) = f32_tensor(name, &[models, 2], &[0.0, 1.0].repeat(models));
    }
    for (model, &cost) in draft.header.models.iter_mut().zip(cost) {
        model.prices = Prices::default();
        model.cost = cost.map(|cost| [cost, 0.0, 0.0]);
    }
    draft.header.guarantee = Some(guarantee());
    draft
}

/// Up to twelve models, with ties in quality and cost.
fn any_draft(random: &mut Random) -> Draft {
    let models = 1 + random.below(12);
    let quality: Vec<f32> = (0..models).map(|_| random.below(11) as f32 / 10.0).collect();
    let priced = random.chance(0.8);
    let cost: Vec<Option<f64>> =
        (0..models).map(|_| (priced || random.chance(0.5)).then(|| random.below(5) as f64 / 100.0)).collect();
    let mut draft = draft(random, &quality, &cost);
    for model in &mut draft.header.models {
        model.context_window = random.chance(0.3).then(|| random.below(400) as u32);
    }
    if let Policy::CostWeight { cost_weight, unit } = &mut draft.header.policy {
        *cost_weight = random.below(8) as f64;
        *unit = if priced && random.chance(0.7) { CostUnit::Usd } else { CostUnit::Calls };
    }
    draft
}

fn any_options(random: &mut Random, models: usize) -> Options {
    let some = |random: &mut Random, chance: f64, high: f64| {
        random.chance(chance).then(|| random.between(0.0, high))
    };
    Options {
        max_cost: some(random, 0.3, 0.06),
        min_quality: some(random, 0.3, 1.0),
        max_latency: some(random, 0.1, 2.0),
        allowed: (0..models).filter(|_| random.chance(0.2)).map(name).collect(),
        exclude: (0..models).filter(|_| random.chance(0.15)).map(name).collect(),
        pin: random.chance(0.2).then(|| name(random.below(models))),
        threshold: random.chance(0.1).then(|| random.between(-0.5, 0.5)),
        cost_weight: random.chance(0.1).then(|| random.between(0.0, 10.0)),
        expected_output_tokens: some(random, 0.2, 500.0),
        ..Options::default()
    }
}

fn name(model: usize) -> String {
    format!("model-{model}")
}

fn decide(router: &Router, options: &Options, scratch: &mut Scratch) -> Result<Decision, Error> {
    router.decide(&Request::text("What is it?"), None, options, scratch)
}

fn load(draft: &Draft) -> Router {
    Router::from_bytes(&draft.bytes(), None).expect("sound")
}

fn chosen(draft: &Draft, options: &Options) -> Decision {
    decide(&load(draft), options, &mut Scratch::default()).expect("feasible")
}

/// What the constraints leave, one readable condition after the other.
fn satisfies(router: &Router, options: &Options, scratch: &Scratch, model: usize) -> bool {
    let (expect, spec) = (&scratch.expect, &router.header().models[model]);
    let output = options.expected_output_tokens.or(spec.expected_output_tokens).unwrap_or(0.0);
    let needed = f64::from(scratch.features.tokens) + output;
    (options.allowed.is_empty() || options.allowed.contains(&spec.name))
        && !options.exclude.contains(&spec.name)
        && options.pin.as_ref().is_none_or(|pinned| *pinned == spec.name)
        && options.max_cost.is_none_or(|most| expect.cost[model] <= most)
        && options.max_latency.is_none_or(|most| expect.latency[model] <= most)
        && options.min_quality.is_none_or(|least| f64::from(expect.quality[model]) >= least)
        && spec.context_window.is_none_or(|window| needed <= f64::from(window))
}

/// quality − weight · cost, as the documentation states it.
fn value(router: &Router, scratch: &Scratch, policy: &Policy, model: usize) -> f64 {
    let quality = f64::from(scratch.expect.quality[model]);
    match *policy {
        Policy::CostWeight { cost_weight: 0.0, .. } => quality,
        Policy::CostWeight { cost_weight, unit: CostUnit::Usd } => {
            quality - cost_weight * scratch.expect.cost[model]
        }
        Policy::CostWeight { cost_weight, unit: CostUnit::Calls } => {
            quality - cost_weight * f64::from(u8::from(model == router.header().best_constant))
        }
        _ => quality,
    }
}

/// The best of `models`: highest value, then cheaper, then lower index; uncleared ones only where no other is left.
fn best(router: &Router, scratch: &Scratch, policy: &Policy, models: &[usize]) -> usize {
    let header = router.header();
    let cleared = |model: &usize| header.models[*model].cleared || *model == header.best_constant;
    let mut pool: Vec<usize> = models.iter().copied().filter(cleared).collect();
    if pool.is_empty() {
        pool = models.to_vec();
    }
    let mut best = pool[0];
    for &model in &pool[1..] {
        let (a, b) = (value(router, scratch, policy, model), value(router, scratch, policy, best));
        let cheaper = scratch.expect.cost[model] < scratch.expect.cost[best];
        if a > b || ((a - b).abs() == 0.0 && cheaper) {
            best = model;
        }
    }
    best
}

/// The policy's choice among `models`, with the guard.
fn reference(router: &Router, scratch: &Scratch, models: &[usize]) -> usize {
    let header = router.header();
    match &header.policy {
        Policy::Constant { model } => *model,
        Policy::Threshold { weak, strong, threshold } => {
            let quality = |model: usize| f64::from(scratch.expect.quality[model]);
            if quality(*strong) - quality(*weak) >= *threshold { *strong } else { *weak }
        }
        policy @ Policy::CostWeight { .. } => {
            let (best, constant) = (best(router, scratch, policy, models), header.best_constant);
            let advantage = value(router, scratch, policy, best) - value(router, scratch, policy, constant);
            if models.contains(&constant) && best != constant && advantage < header.guard_margin {
                constant
            } else {
                best
            }
        }
    }
}

fn has_nan(decision: &Decision, scratch: &Scratch) -> bool {
    decision.confidence.is_nan() || scratch.expect.quality.iter().any(|quality| quality.is_nan())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_choice_satisfies_the_constraints_or_the_error_names_them(seed in any::<u64>()) {
        let mut random = Random(seed);
        let draft = any_draft(&mut random);
        let router = load(&draft);
        let models = draft.header.models.len();
        let mut scratch = Scratch::default();
        for _ in 0..12 {
            let mut options = any_options(&mut random, models);
            if options.threshold.is_some() {
                options.cost_weight = None;
            }
            match decide(&router, &options, &mut scratch) {
                Ok(decision) => {
                    let choice = decision.choice;
                    for model in 0..models {
                        let kept = scratch.expect.removed[model].is_none();
                        prop_assert_eq!(kept, satisfies(&router, &options, &scratch, model));
                    }
                    prop_assert!(scratch.expect.removed[choice.model].is_none());
                    prop_assert!(!has_nan(&decision, &scratch));
                    prop_assert!((0.0..=1.0).contains(&decision.confidence));
                    prop_assert!(scratch.expect.quality.iter().all(|q| (0.0..=1.0).contains(q)));
                    prop_assert!(scratch.expect.prediction_set.iter().any(|member| *member));
                    let overridden = options.pin.is_some()
                        || options.threshold.is_some()
                        || options.cost_weight.is_some();
                    prop_assert!(!(overridden && choice.uncovered.is_none()));
                    if let Some(pinned) = &options.pin {
                        prop_assert_eq!((&name(choice.model), choice.reason), (pinned, Reason::Pinned));
                        prop_assert_eq!(choice.routed_by, RoutedBy::Override);
                    } else if !overridden {
                        let all: Vec<usize> = (0..models).collect();
                        let feasible: Vec<usize> =
                            all.iter().copied().filter(|m| scratch.expect.removed[*m].is_none()).collect();
                        let wanted = reference(&router, &scratch, &all);
                        if feasible.contains(&wanted) {
                            prop_assert_eq!(choice.model, wanted);
                            prop_assert_ne!(choice.reason, Reason::NextFeasible);
                        } else {
                            let next = match &router.header().policy {
                                Policy::CostWeight { .. } => reference(&router, &scratch, &feasible),
                                policy => best(&router, &scratch, policy, &feasible),
                            };
                            prop_assert_eq!(choice.model, next);
                            prop_assert_eq!(choice.reason, Reason::NextFeasible);
                            prop_assert_eq!(choice.routed_by, RoutedBy::Constraint);
                            prop_assert!(choice.uncovered.is_some());
                        }
                    }
                    let mut again = Scratch::default();
                    prop_assert_eq!(decide(&router, &options, &mut again).expect("again"), decision);
                }
                Err(error) if error.kind == ErrorKind::NoFeasibleModel => {
                    for (index, model) in draft.header.models.iter().enumerate() {
                        prop_assert!(!satisfies(&router, &options, &scratch, index));
                        let by = match scratch.expect.removed[index] {
                            Some(Removal::MaxCost) => "max_cost=",
                            Some(Removal::MinQuality) => "min_quality=",
                            Some(Removal::MaxLatency) => "max_latency=",
                            Some(Removal::ContextWindow) => "context window ",
                            Some(by) => by.as_str(),
                            None => "nothing",
                        };
                        let part = error.value.split(", ").nth(index).unwrap_or_default();
                        prop_assert!(part.starts_with(by), "{}", part);
                        let mut words = part.split(' ');
                        prop_assert!(words.any(|word| word == model.name), "{}", error.value);
                    }
                }
                Err(error) => {
                    // Only what nobody knows: a price, a latency, or a pair to put a threshold between.
                    prop_assert_eq!(error.kind, ErrorKind::OptionInvalid);
                    prop_assert!(error.value == "unknown" || error.field == "threshold", "{}", error);
                    prop_assert!(error.value != "unknown" || error.field.contains("of model-"));
                }
            }
        }
    }

    #[test]
    fn a_higher_threshold_never_turns_weak_into_strong(
        gains in prop::collection::vec(0f32..1.0, 2..=2), low in -1.0..1.0, step in 0.0..1.0
    ) {
        let mut draft = draft(&mut Random(1), &gains, &[Some(0.1), Some(0.2)]);
        draft.header.policy = Policy::Threshold { weak: 0, strong: 1, threshold: 0.0 };
        let router = load(&draft);
        let at = |threshold: f64| {
            let options = Options { threshold: Some(threshold), ..Options::default() };
            decide(&router, &options, &mut Scratch::default()).expect("feasible").choice.model
        };
        prop_assert!(at(low + step) <= at(low));
        // The artifact's own threshold decides as the same one given by the caller.
        let own = decide(&router, &Options::default(), &mut Scratch::default()).expect("feasible");
        prop_assert_eq!(own.choice.model, at(0.0));
    }

    #[test]
    fn more_weight_on_cost_never_costs_more(seed in any::<u64>()) {
        let mut random = Random(seed);
        let models = 1 + random.below(12);
        let quality: Vec<f32> = (0..models).map(|_| random.between(0.0, 1.0) as f32).collect();
        let cost: Vec<Option<f64>> = (0..models).map(|_| Some(random.between(0.0, 0.1))).collect();
        let mut draft = draft(&mut random, &quality, &cost);
        draft.header.guard_margin = 0.0;
        draft.header.policy = Policy::CostWeight { cost_weight: 1.0, unit: CostUnit::Usd };
        draft.header.models.iter_mut().for_each(|model| model.cleared = true);
        let router = load(&draft);
        let mut weights: Vec<f64> = (0..20).map(|_| random.between(0.0, 40.0)).collect();
        weights.sort_by(f64::total_cmp);
        let mut scratch = Scratch::default();
        let mut last = f64::INFINITY;
        for weight in weights {
            let options = Options { cost_weight: Some(weight), ..Options::default() };
            let choice = decide(&router, &options, &mut scratch).expect("feasible").choice.model;
            prop_assert!(scratch.expect.cost[choice] <= last);
            last = scratch.expect.cost[choice];
        }
    }
}

#[test]
fn ties_go_to_the_cheaper_then_to_the_first() {
    let mut random = Random(1);
    for (cost, expected) in
        [([0.3, 0.2, 0.1], 2), ([0.2, 0.2, 0.2], 0), ([0.3, 0.1, 0.1], 1), ([0.1, 0.3, 0.1], 0)]
    {
        let mut draft = draft(&mut random, &[0.5; 3], &cost.map(Some));
        draft.header.policy = Policy::CostWeight { cost_weight: 0.0, unit: CostUnit::Calls };
        draft.header.models.iter_mut().for_each(|model| model.cleared = true);
        (draft.header.best_constant, draft.header.guard_margin) = (expected, 0.0);
        assert_eq!(chosen(&draft, &Options::default()).choice.model, expected, "{cost:?}");
    }
}

#[test]
fn what_just_meets_a_bound_is_within_it() {
    let mut draft = draft(&mut Random(1), &[0.25, 0.75], &[Some(0.125), Some(0.5)]);
    draft.header.policy = Policy::Threshold { weak: 0, strong: 1, threshold: 0.5 };
    for model in &mut draft.header.models {
        model.latency = Some([2.0, 0.0]);
    }
    assert_eq!(chosen(&draft, &Options::default()).choice.reason, Reason::GainWorthCost);
    let next = Options { threshold: Some(0.5f64.next_up()), ..Options::default() };
    assert_eq!(chosen(&draft, &next).choice.reason, Reason::GainTooSmall);

    // Prompt and answer fill the window to the last token.
    let tokens = chosen(&draft, &Options::default()).tokens;
    let removed = |draft: &Draft, options: &Options| {
        let mut scratch = Scratch::default();
        let _ = decide(&load(draft), options, &mut scratch);
        scratch.expect.removed[1]
    };
    for (window, expected) in [(tokens + 100, None), (tokens + 99, Some(Removal::ContextWindow))] {
        draft.header.models[1].context_window = Some(window);
        let options = Options { expected_output_tokens: Some(100.0), ..Options::default() };
        assert_eq!(removed(&draft, &options), expected, "{window}");
    }
    draft.header.models[1].context_window = None;
    for (options, expected) in [
        (Options { max_cost: Some(0.5), ..Options::default() }, None),
        (Options { max_cost: Some(0.5f64.next_down()), ..Options::default() }, Some(Removal::MaxCost)),
        (Options { max_latency: Some(2.0), ..Options::default() }, None),
        (Options { max_latency: Some(2f64.next_down()), ..Options::default() }, Some(Removal::MaxLatency)),
        (Options { min_quality: Some(0.75), ..Options::default() }, None),
        (Options { min_quality: Some(0.75f64.next_up()), ..Options::default() }, Some(Removal::MinQuality)),
    ] {
        assert_eq!(removed(&draft, &options), expected, "{options:?}");
    }

    // The guard's margin reached is enough.
    draft.header.policy = Policy::CostWeight { cost_weight: 0.0, unit: CostUnit::Usd };
    (draft.header.best_constant, draft.header.models[1].cleared) = (0, true);
    for (margin, expected) in [(0.5, Reason::BestValue), (0.5f64.next_up(), Reason::BestConstant)] {
        draft.header.guard_margin = margin;
        assert_eq!(chosen(&draft, &Options::default()).choice.reason, expected, "{margin}");
    }
}

#[test]
fn the_guard_keeps_the_best_constant() {
    let mut draft = draft(&mut Random(1), &[0.5, 0.6, 0.9], &[Some(0.0); 3]);
    draft.header.policy = Policy::CostWeight { cost_weight: 0.0, unit: CostUnit::Usd };
    draft.header.best_constant = 0;
    draft.header.models.iter_mut().for_each(|model| model.cleared = true);
    let decided = |draft: &Draft| {
        let choice = chosen(draft, &Options::default()).choice;
        (choice.model, choice.reason)
    };
    draft.header.guard_margin = 0.3;
    assert_eq!(decided(&draft), (2, Reason::BestValue));
    draft.header.guard_margin = 0.5;
    assert_eq!(decided(&draft), (0, Reason::BestConstant), "0.4 is too little");
    draft.header.guard_margin = 0.05;
    draft.header.models[2].cleared = false;
    assert_eq!(decided(&draft), (1, Reason::BestValue), "the best is not cleared");
    draft.header.models[1].cleared = false;
    assert_eq!(decided(&draft), (0, Reason::BestConstant), "nothing else is");
    let without_constant = Options { exclude: vec![name(0)], ..Options::default() };
    let choice = chosen(&draft, &without_constant).choice;
    assert_eq!((choice.model, choice.reason), (2, Reason::NextFeasible), "only uncleared ones are left");
}

#[test]
fn options_out_of_range_are_named() {
    let draft = draft(&mut Random(1), &[0.5, 0.6, 0.7], &[Some(0.1); 3]);
    let router = load(&draft);
    let none = Options::default;
    let mut cases = vec![
        ("pin", Options { pin: Some(name(3)), ..none() }),
        ("allowed", Options { allowed: vec![name(0), name(9)], ..none() }),
        ("exclude", Options { exclude: vec![String::new()], ..none() }),
        ("current", Options { current: Some("Model-0".to_owned()), ..none() }),
        ("cached_tokens", Options { cached_tokens: [(name(3), 1.0)].into(), ..none() }),
        ("cached_tokens", Options { cached_tokens: [(name(0), -1.0)].into(), ..none() }),
        ("cost_weight", Options { cost_weight: Some(-0.1), ..none() }),
        ("threshold", Options { threshold: Some(0.1), cost_weight: Some(1.0), ..none() }),
        ("threshold", Options { threshold: Some(f64::NAN), pin: Some(name(0)), ..none() }),
        ("expected_output_tokens", Options { expected_output_tokens: Some(1e300), ..none() }),
    ];
    for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
        cases.extend([
            ("max_cost", Options { max_cost: Some(wrong), ..none() }),
            ("min_quality", Options { min_quality: Some(wrong), ..none() }),
            ("max_latency", Options { max_latency: Some(wrong), ..none() }),
            ("expected_output_tokens", Options { expected_output_tokens: Some(wrong), ..none() }),
            ("cost_weight", Options { cost_weight: Some(wrong), ..none() }),
        ]);
    }
    cases.push(("min_quality", Options { min_quality: Some(1.01), ..none() }));
    for (field, options) in cases {
        let error = decide(&router, &options, &mut Scratch::default()).expect_err(field);
        assert_eq!((error.kind, &*error.field), (ErrorKind::OptionInvalid, field), "{options:?}");
        assert!(!error.remedy.is_empty());
    }
    let mut three = draft.clone();
    three.header.policy = Policy::CostWeight { cost_weight: 1.0, unit: CostUnit::Usd };
    let options = Options { threshold: Some(0.1), ..none() };
    let error = decide(&load(&three), &options, &mut Scratch::default()).expect_err("three models");
    assert_eq!((error.kind, &*error.field), (ErrorKind::OptionInvalid, "threshold"));
}

#[test]
fn a_pin_needs_no_prices_and_other_output_lengths_are_not_certified() {
    let mut draft = draft(&mut Random(1), &[0.5, 0.9], &[None, Some(0.1)]);
    draft.header.policy = Policy::CostWeight { cost_weight: 1.0, unit: CostUnit::Usd };
    let router = load(&draft);
    let mut scratch = Scratch::default();
    let error = decide(&router, &Options::default(), &mut scratch).expect_err("no price");
    assert_eq!((error.kind, &*error.field), (ErrorKind::OptionInvalid, "price of model-0"));
    let pin = Options { pin: Some(name(1)), ..Options::default() };
    assert_eq!(decide(&router, &pin, &mut scratch).expect("pinned").choice.model, 1);

    draft.header.models[0].cost = Some([0.1, 0.0, 0.0]);
    let longer = Options { expected_output_tokens: Some(900.0), ..Options::default() };
    assert!(chosen(&draft, &Options::default()).choice.uncovered.is_none());
    assert!(chosen(&draft, &longer).choice.uncovered == Some(Uncovered::OtherCosts));
    draft.header.policy = Policy::Constant { model: 0 };
    assert!(chosen(&draft, &longer).choice.uncovered.is_none(), "this policy weighs no cost");
    let unbinding = Options { max_cost: Some(5.0), ..Options::default() };
    assert!(chosen(&draft, &unbinding).choice.uncovered.is_none(), "nothing was removed");
}

#[test]
fn a_price_of_any_kind_is_weighed_in_dollars() {
    let mut draft = draft(&mut Random(1), &[0.5, 0.6], &[None; 2]);
    draft.header.policy = Policy::Constant { model: 1 };
    (draft.header.best_constant, draft.header.guard_margin) = (1, 0.0);
    for (model, price) in draft.header.models.iter_mut().zip([0.001, 0.002]) {
        (model.prices.request, model.cleared) = (Some(price), true);
    }
    // 0.1 of quality for 0.001 USD: the scales tip at a weight of 100. In calls they would at 0.1.
    let chosen_at = |cost_weight: f64| {
        let options = Options { cost_weight: Some(cost_weight), ..Options::default() };
        chosen(&draft, &options).choice.model
    };
    assert_eq!([chosen_at(99.0), chosen_at(101.0)], [1, 0]);
}
