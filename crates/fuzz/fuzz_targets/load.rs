//! Bytes → `Router::from_bytes`, `Classifier::from_bytes` and `CandidateScorer::from_bytes`; what loads decides a few
//! requests, labels a few inputs or ranks a few candidates, without NaN.
//!
//! The first byte says how the rest is read. Even: as a file. Odd: as edits of a valid artifact whose checksums are
//! made right again, so that the fuzzer gets past them.
#![no_main]

#[path = "../../tiny-dancer/tests/support/mod.rs"]
mod support;

use std::cell::RefCell;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use support::cell::{ClassifierDraft, Form};
use support::scorers::ScorerDraft;
use support::{Draft, Plan, Random, join, seal, shipped_encoder, split};
use tiny_dancer::candidates::{
    Candidate, CandidateScorer, CandidateSet, FEATURES, Precision, Query, RankOptions, RankScratch,
};
use tiny_dancer::classifier::{self, Classifier, Input};
use tiny_dancer::policy::{CostUnit, Policy};
use tiny_dancer::{Options, Request, Router, Scratch};

/// Routers, then as many classifiers, then as many scorers of candidates.
const DRAFTS: usize = 16;
const TEXTS: [&str; 3] = ["What is 12 * 11? a. 1 b. 132 c. 7", "déjà vu, 你好", "x"];
const FLOATS: [f32; 12] =
    [f32::NAN, f32::INFINITY, f32::MAX, 1e9, -1e9, 1.1e9, 1e-45, -0.0, 0.0, 1.0, 0.5, -1.0];
const PIECES: [&str; 17] = [
    "1e308",
    "-1",
    "null",
    "0",
    "\"\"",
    "[]",
    "{}",
    "1e-320",
    "512",
    "true",
    "\"memory\"",
    "\"trees\"",
    "\"fastgrnn\"",
    "\"bag\"",
    "\"classifier\"",
    ",",
    "1e9",
];

/// Valid artifacts to edit; every fourth needs the encoder, every other one checks itself.
static ARTIFACTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let artifact = |seed: usize| {
        let mut random = Random(seed as u64);
        let mut plan = Plan::any(&mut random);
        plan.encoder = (seed % 4 == 3).then(|| shipped_encoder().checksum().to_owned());
        let mut draft = Draft::new(&mut random, &plan);
        let needs_prices = matches!(
            draft.header.policy,
            Policy::CostWeight { cost_weight, unit: CostUnit::Usd } if cost_weight > 0.0
        );
        if seed % 2 == 1 && !needs_prices {
            draft.record(&TEXTS[..1], Some(shipped_encoder()));
        }
        draft.bytes()
    };
    let others = (0..DRAFTS).map(classifier_artifact).chain((0..DRAFTS).map(scorer_artifact));
    (0..DRAFTS).map(artifact).chain(others).collect()
});

/// Every fourth is a bag, every third labels texts; all others cells of any form.
fn classifier_artifact(seed: usize) -> Vec<u8> {
    let mut random = Random(seed as u64);
    let form = (seed % 4 != 0).then(|| Form::any(&mut random));
    let labels = 1 + random.below(5);
    if seed % 3 == 0 {
        ClassifierDraft::of_texts(&mut random, shipped_encoder().checksum(), labels, form).bytes()
    } else {
        let inputs = 1 + random.below(90);
        ClassifierDraft::of_vectors(&mut random, inputs, labels, form).bytes()
    }
}

/// Every fourth is linear, all others cells of any form; every other one is calibrated, every third checks itself.
fn scorer_artifact(seed: usize) -> Vec<u8> {
    let mut random = Random(seed as u64);
    let form = (seed % 4 != 0).then(|| Form::any(&mut random));
    let mut draft = ScorerDraft::new(&mut random, form);
    if seed % 2 == 1 {
        draft = draft.calibrated(&mut random, [0.0, 1.0], 2);
    }
    if seed % 3 == 0 {
        let mut ranking = RankScratch::default();
        draft.scorer().rank(&CANDIDATES, &Query::default(), &RankOptions::default(), &mut ranking).unwrap();
        let features: Vec<f32> = (0..FEATURES).map(|feature| ranking.features().column(feature)[0]).collect();
        draft = draft.checking(&features, ranking.scores()[0]);
    }
    draft.bytes()
}

static CANDIDATES: LazyLock<CandidateSet> = LazyLock::new(|| {
    let mut set = CandidateSet::new(Some(2), Precision::Full).unwrap();
    let candidate =
        |id, text| Candidate { id, text: Some(text), created_at: Some(1.7e9), ..Candidate::default() };
    let candidates = [
        candidate("a", "a bowl of tea"),
        candidate("b", "painting in March?"),
        Candidate { id: "c", success_rate: Some(0.5), trials: Some(9.0), ..Candidate::default() },
        candidate("d", "not a number"),
    ];
    set.append(&candidates, &[1.0, 0.0, -0.3, 0.4, 0.0, 0.0, f32::NAN, 1.0]).unwrap();
    set.refresh();
    set
});

thread_local! {
    static RANKING: RefCell<RankScratch> = RefCell::default();
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    static LABELLING: RefCell<classifier::Scratch> = RefCell::default();
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    if mode % 2 == 0 {
        check(rest);
    } else {
        check(&edited(&ARTIFACTS[usize::from(mode / 2) % ARTIFACTS.len()], rest));
    }
});

/// Applies edits of four bytes each: what, where (two bytes), which value.
fn edited(artifact: &[u8], edits: &[u8]) -> Vec<u8> {
    let (mut header, mut data) = split(artifact);
    let mut json = header["__metadata__"]["tiny_dancer"].as_str().unwrap().as_bytes().to_vec();
    let mut outer = Vec::new();
    for edit in edits.chunks_exact(4) {
        let (at, value) = (usize::from(u16::from_le_bytes([edit[1], edit[2]])), edit[3]);
        match edit[0] % 6 {
            0 if !json.is_empty() => {
                let at = at % json.len();
                json[at] = value;
            }
            1 if !data.is_empty() => {
                let at = at % data.len();
                data[at] = value;
            }
            2 => outer.push((at, value)),
            3 if data.len() >= 4 => {
                let at = at * 4 % (data.len() - 3);
                data[at..at + 4].copy_from_slice(&FLOATS[usize::from(value) % FLOATS.len()].to_le_bytes());
            }
            4 => {
                // Replaces what stands between here and the next comma, brace or bracket.
                let at = at % (json.len() + 1);
                let length = json[at..].iter().position(|byte| b",}]".contains(byte)).unwrap_or(0);
                json.splice(at..at + length, PIECES[usize::from(value) % PIECES.len()].bytes());
            }
            5 if !json.is_empty() => {
                let at = at % json.len();
                json.drain(at..(at + usize::from(value)).min(json.len()));
            }
            _ => {}
        }
    }
    header["__metadata__"]["tiny_dancer"] = String::from_utf8_lossy(&json).into();
    seal(&mut header, &data);
    let mut bytes = join(&header, &data);
    let length = bytes.len() - data.len();
    for (at, value) in outer {
        bytes[at % length] = value;
    }
    bytes
}

fn check(bytes: &[u8]) {
    let encoder = Some(shipped_encoder());
    match Classifier::from_bytes(bytes, encoder) {
        Ok(classifier) => LABELLING.with_borrow_mut(|scratch| label(&classifier, scratch)),
        Err(error) => assert!(!error.field.is_empty() && !error.remedy.is_empty(), "{error:?}"),
    }
    match CandidateScorer::from_bytes(bytes) {
        Ok(scorer) => RANKING.with_borrow_mut(|scratch| rank(&scorer, scratch)),
        Err(error) => assert!(!error.field.is_empty() && !error.remedy.is_empty(), "{error:?}"),
    }
    let router = match Router::from_bytes(bytes, encoder) {
        Ok(router) => router,
        Err(error) => {
            assert!(!error.field.is_empty() && !error.remedy.is_empty(), "{error:?}");
            return;
        }
    };
    SCRATCH.with_borrow_mut(|scratch| decide(&router, scratch));
}

fn label(classifier: &Classifier, scratch: &mut classifier::Scratch) {
    let check = |found: tiny_dancer::Result<usize>, scratch: &classifier::Scratch| {
        let label = found.expect("an input that can be labelled");
        let probabilities = &scratch.probabilities;
        assert!(probabilities.len() == classifier.header().labels.len() && label < probabilities.len());
        assert!(scratch.logits.iter().all(|logit| logit.is_finite()), "{:?}", scratch.logits);
        assert!(
            probabilities.iter().all(|probability| (0.0..=1.0).contains(probability)),
            "{probabilities:?}"
        );
    };
    match classifier.header().input {
        Input::Tokens { .. } => {
            for text in TEXTS {
                let found = classifier.predict_text(text, Some(shipped_encoder()), scratch);
                check(found, scratch);
            }
        }
        Input::Vectors { dimensions, .. } => {
            for value in [0.0, 1.0, -0.3, 1e9, -1e9, 1e-45] {
                // Not all alike: what cancels shows.
                let vectors: Vec<f32> =
                    (0..3 * dimensions).map(|at| value * (1.0 - 2.0 * (at % 2) as f32)).collect();
                let found = classifier.predict_vectors(&vectors, scratch);
                check(found, scratch);
            }
        }
    }
}

fn rank(scorer: &CandidateScorer, scratch: &mut RankScratch) {
    for (text, embedding) in [(TEXTS[0], None), ("When was tea painted?", Some(&[0.6, 0.8][..]))] {
        let query = Query { embedding, text: Some(text), metadata: &[], now: Some(1.71e9) };
        for diversity in [0.0, 0.5] {
            let options = RankOptions { diversity, ..RankOptions::default() };
            scorer.rank(&CANDIDATES, &query, &options, scratch).expect("sound candidates");
            assert!(scratch.ranked.len() == 3 && scratch.unsound == [3]);
            for ranked in &scratch.ranked {
                assert!(ranked.score.is_finite() && (0.0..=1.0).contains(&ranked.uncertainty), "{ranked:?}");
                let probability = (0.0..=1.0).contains(&ranked.confidence);
                assert!(
                    probability || !scorer.is_calibrated() && ranked.confidence.is_finite(),
                    "{ranked:?}"
                );
            }
        }
    }
}

fn decide(router: &Router, scratch: &mut Scratch) {
    let encoder = Some(shipped_encoder());
    for text in TEXTS {
        let request = Request::text(text);
        let decided = router.decide(&request, encoder, &Options::default(), scratch);
        let expect = &scratch.expect;
        assert!(expect.quality.iter().all(|quality| (0.0..=1.0).contains(quality)), "{:?}", expect.quality);
        for (model, (cost, latency)) in
            router.header().models.iter().zip(expect.cost.iter().zip(&expect.latency))
        {
            // An output price needs a length; where no price is given, the measured cost counts.
            let known = match model.prices.output {
                Some(price) if price > 0.0 => model.expected_output_tokens.is_some(),
                _ => model.prices.is_any() || model.cost.is_some(),
            };
            // A tier may name a price of output where there is none without it.
            let tiered = cost.is_nan() && !model.prices.tiers.is_empty();
            assert!(
                if known { cost.is_finite() && *cost >= 0.0 || tiered } else { cost.is_nan() },
                "{model:?} costs {cost}"
            );
            assert!(
                latency.is_finite() && *latency >= 0.0 || model.latency.is_none(),
                "{model:?} takes {latency}"
            );
        }
        if let Ok(decision) = decided {
            assert!(expect.removed[decision.choice.model].is_none());
            assert!((0.0..=1.0).contains(&decision.confidence), "{}", decision.confidence);
        }
    }
}
