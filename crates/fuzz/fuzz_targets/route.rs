//! Any text, messages, tools and options against artifacts with every kind of backend and the shipped encoder.
#![no_main]

#[path = "../../tiny-dancer/tests/support/mod.rs"]
mod support;

use std::cell::RefCell;
use std::sync::LazyLock;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use support::{Draft, Plan, Random, shipped_encoder};
use tiny_dancer::policy::{CostUnit, Policy};
use tiny_dancer::price::Prices;
use tiny_dancer::{Decision, ErrorKind, Options, Request, Router, Scale, Scratch, Words};

const MODELS: usize = 5;

/// One router a policy.
static ROUTERS: LazyLock<[Router; 4]> = LazyLock::new(|| {
    let policies = [
        Policy::Constant { model: 2 },
        Policy::Threshold { weak: 1, strong: 3, threshold: 0.01 },
        Policy::CostWeight { cost_weight: 3.0, unit: CostUnit::Usd },
        Policy::CostWeight { cost_weight: 0.05, unit: CostUnit::Calls },
    ];
    policies.map(|policy| {
        let plan = Plan::all_backends(MODELS, Some(shipped_encoder().checksum().to_owned()));
        let mut draft = Draft::new(&mut Random(9), &plan);
        draft.header.policy = policy;
        for (index, model) in draft.header.models.iter_mut().enumerate() {
            model.prices = Prices::default();
            model.cost = Some([1e-4 * index as f64, 1e-7, 1e-5]);
            model.latency = (index != 4).then_some([0.2, 1e-4]);
            model.context_window = (index % 2 == 0).then_some(200 * (index as u32 + 1));
        }
        Router::from_bytes(&draft.bytes(), Some(shipped_encoder())).unwrap()
    })
});

thread_local! {
    /// One that every input uses, and one that is new every 64 inputs: what earlier requests left behind must not
    /// matter. (A new one for each input would spend most of the time on clearing its memory.)
    static SCRATCHES: RefCell<(Scratch, Scratch, u32)> = RefCell::default();
}

fuzz_target!(|input: &[u8]| {
    let _ = route(&mut Unstructured::new(input));
});

fn some<T>(
    input: &mut Unstructured,
    value: impl FnOnce(&mut Unstructured) -> Result<T>,
) -> Result<Option<T>> {
    if input.ratio(1, 4)? { value(input).map(Some) } else { Ok(None) }
}

fn options(input: &mut Unstructured) -> Result<Options> {
    let name = |input: &mut Unstructured| Ok(format!("model-{}", input.int_in_range(0..=MODELS)?));
    let names = |input: &mut Unstructured| {
        let count = if input.ratio(1, 4)? { input.int_in_range(0..=4)? } else { 0 };
        (0..count).map(|_| name(input)).collect::<Result<Vec<String>>>()
    };
    let number = |input: &mut Unstructured| {
        if input.ratio(1, 8)? {
            input.arbitrary::<f64>()
        } else {
            Ok(f64::from(input.arbitrary::<i16>()?) / 3e4)
        }
    };
    Ok(Options {
        max_cost: some(input, number)?,
        min_quality: some(input, number)?,
        max_latency: some(input, number)?,
        allowed: names(input)?,
        exclude: names(input)?,
        pin: some(input, name)?,
        threshold: some(input, number)?,
        cost_weight: some(input, number)?,
        expected_output_tokens: some(input, |input| Ok(number(input)? * 1000.0))?,
        policy: some(input, |input| Ok(*input.choose(&Scale::ALL)?))?,
        current: some(input, name)?,
        cached_tokens: some(input, |input| Ok([(name(input)?, number(input)? * 1000.0)].into()))?
            .unwrap_or_default(),
    })
}

fn text(input: &mut Unstructured) -> Result<String> {
    let part: &str = input.arbitrary()?;
    // Long texts by repetition: head, tail and cut are reached with small inputs.
    let times = if input.ratio(1, 16)? { 20_000 / part.len().max(1) } else { 1 };
    Ok(part.repeat(times.max(1)))
}

fn route(input: &mut Unstructured) -> Result<()> {
    let router = &ROUTERS[input.int_in_range(0..=3)?];
    let options = if input.arbitrary()? { options(input)? } else { Options::default() };
    let mut messages = Vec::new();
    if input.ratio(1, 3)? {
        for _ in 0..input.int_in_range(0..=5)? {
            let role = *input.choose(&["system", "user", "assistant", "tool", "wizard"])?;
            messages.push(serde_json::json!({"role": role, "content": text(input)?}));
        }
    }
    // JSON of any kind, and what is none.
    let mut json = serde_json::Value::from(messages).to_string();
    if input.ratio(1, 4)? {
        json = text(input)?;
    }
    let tools = if input.ratio(1, 4)? { text(input)? } else { String::new() };
    let system = if input.ratio(1, 8)? { text(input)? } else { String::new() };
    let format = if input.ratio(1, 8)? { text(input)? } else { String::new() };
    let alone = text(input)?;
    let words = match input.int_in_range(0..=3)? {
        0 | 1 => Words::Text(&alone),
        2 => Words::Json(&json),
        _ => Words::Prompt(&json),
    };
    let request = Request { words, system: &system, tools: &tools, format: &format };

    let encoder = Some(shipped_encoder());
    SCRATCHES.with_borrow_mut(|(used, fresh, inputs)| {
        *inputs += 1;
        if *inputs % 64 == 0 {
            *fresh = Scratch::default();
        }
        let found = router.decide(&request, encoder, &options, fresh);
        let again = router.decide(&request, encoder, &options, used);
        assert_eq!(found, again, "a used scratch changes the decision");
        match found {
            Ok(decision) => {
                let both = [&fresh.expect, &used.expect].map(|expect| format!("{expect:?}"));
                assert_eq!(both[0], both[1]);
                check(router, &options, decision, fresh);
            }
            Err(error) => {
                let kinds = [ErrorKind::RequestInvalid, ErrorKind::OptionInvalid, ErrorKind::NoFeasibleModel];
                assert!(kinds.contains(&error.kind), "{error:?}");
                assert!(!error.field.is_empty() && !error.remedy.is_empty(), "{error:?}");
            }
        }
    });
    Ok(())
}

fn check(router: &Router, options: &Options, decision: Decision, scratch: &mut Scratch) {
    let model = decision.choice.model;
    let expect = &scratch.expect;
    assert!(expect.removed[model].is_none());
    let name = &router.header().models[model].name;
    assert!(options.pin.as_ref().is_none_or(|pinned| pinned == name));
    assert!(!options.exclude.contains(name));
    assert!(options.allowed.is_empty() || options.allowed.contains(name));
    assert!(options.max_cost.is_none_or(|most| expect.cost[model] <= most));
    assert!(options.min_quality.is_none_or(|least| f64::from(expect.quality[model]) >= least));
    assert!(options.max_latency.is_none_or(|most| expect.latency[model] <= most));
    assert!((0.0..=1.0).contains(&decision.confidence));
    assert!(expect.quality.iter().all(|quality| (0.0..=1.0).contains(quality)));
    assert!(expect.cost.iter().all(|cost| cost.is_finite() && *cost >= 0.0));
    assert!(scratch.features.cues.iter().all(|cue| cue.is_finite()));
    assert!(scratch.features.embedding.iter().all(|value| *value != i8::MIN));

    // What a featurised table holds leads to the same decision.
    let features = scratch.features.clone();
    let mut ngrams = [features.word_ngrams(), features.character_ngrams()].concat();
    ngrams.sort_unstable();
    scratch.features.set(&ngrams, &features.cues, &features.embedding, features.tokens).unwrap();
    assert_eq!(router.decide_features(options, scratch), Ok(decision));
}
