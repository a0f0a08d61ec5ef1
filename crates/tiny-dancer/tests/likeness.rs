//! What a request is like: its p-value, the guarantee it withdraws, and the martingale over a stream.

mod support;

use proptest::prelude::*;
use support::{Draft, Plan, Random, guarantee};
use tiny_dancer::{
    DriftSpec, ErrorKind, Martingale, Options, Request, Router, Scratch, Shift, Side, Uncovered, Usual,
    Wager, measures,
};

const TEXT: &str = "How many apples are left if 3 of 12 are eaten?";

/// A certified artifact with a test, and the p-values its decision may have.
fn certified(seed: u64) -> Draft {
    let mut random = Random(seed);
    let mut draft = Draft::new(&mut random, &Plan::all_backends(2, None));
    draft.tensors.retain(|tensor| !tensor.name.starts_with("likeness."));
    draft.add_likeness(&mut random);
    draft.header.guarantee = Some(guarantee());
    draft
}

fn set(draft: &mut Draft, name: &str, values: &[f32]) {
    let tensor = draft.tensor(name);
    tensor.shape = vec![values.len()];
    tensor.bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
}

fn decided(draft: &Draft, text: &str) -> tiny_dancer::Decision {
    let router = Router::from_bytes(&draft.bytes(), None).expect("sound");
    router.decide(&Request::text(text), None, &Options::default(), &mut Scratch::default()).expect("feasible")
}

#[test]
fn p_values_are_ranks_among_the_calibration_scores() {
    let mut draft = certified(1);
    draft.header.likeness.as_mut().expect("set").rows = 3;
    set(&mut draft, "likeness.p_values", &[1.0, 0.75, 0.5, 0.25]);
    // Only the first cue counts: its logarithm of characters, centred at 0 and not scaled.
    for name in ["likeness.mean", "likeness.linear", "likeness.square"] {
        set(&mut draft, name, &vec![0.0; tiny_dancer::features::CUES]);
    }
    set(&mut draft, "likeness.embedding", &vec![0.0; tiny_dancer::features::DIM]);
    let mut first = vec![0.0; tiny_dancer::features::CUES];
    first[0] = 1.0;
    set(&mut draft, "likeness.linear", &first);
    set(&mut draft, "likeness.scale", &first);
    let score = (4.0_f32).ln_1p();
    for (scores, expected) in [
        ([score + 0.1, score + 0.2, score + 0.3], 1.0),
        ([score - 0.1, score + 0.2, score + 0.3], 0.75),
        ([score - 0.2, score - 0.1, score + 0.3], 0.5),
        ([score - 0.3, score - 0.2, score - 0.1], 0.25),
    ] {
        set(&mut draft, "likeness.scores", &scores);
        assert_eq!(decided(&draft, "four").likeness, Some(expected), "{scores:?}");
    }
    // Beyond five spreads nothing counts any more.
    set(&mut draft, "likeness.scores", &[4.0, 4.999, 5.001]);
    let pairs = ('b'..='u').flat_map(|first| ('b'..='u').map(move |second| format!("{first}a{second}a ")));
    assert_eq!(decided(&draft, &pairs.collect::<String>()).likeness, Some(0.5));
}

#[test]
fn an_unlike_request_loses_the_guarantee_and_nothing_else() {
    let mut draft = certified(2);
    // Beyond all calibration scores.
    set(&mut draft, "likeness.scores", &[-1000.0, -999.0, -998.0]);
    set(&mut draft, "likeness.p_values", &[1.0, 0.75, 0.5, 0.25]);
    let plain = decided(&draft, TEXT);
    let p = plain.likeness.expect("the artifact can say");
    draft.header.likeness.as_mut().expect("set").level = f64::from(p) * 0.999;
    let like = decided(&draft, TEXT);
    draft.header.likeness.as_mut().expect("set").level = f64::from(p);
    let unlike = decided(&draft, TEXT);
    assert_eq!((like.choice.uncovered, unlike.choice.uncovered), (None, Some(Uncovered::Unlike)));
    assert_eq!((like.choice.model, like.confidence), (unlike.choice.model, unlike.confidence));
    draft.header.guarantee = None;
    assert_eq!(decided(&draft, TEXT).choice.uncovered, Some(Uncovered::Uncertified));
    draft.header.likeness = None;
    assert_eq!(decided(&draft, TEXT).likeness, None);
}

#[test]
fn a_test_that_cannot_be_one_is_refused() {
    let refused = |change: &dyn Fn(&mut Draft)| {
        let mut draft = certified(3);
        change(&mut draft);
        let error = tiny_dancer::kinds::write(&draft.json(), draft.tensors.clone())
            .and_then(|bytes| Router::from_bytes(&bytes, None).map(drop))
            .expect_err("no test");
        assert_eq!(error.kind, ErrorKind::ArtifactInvalid, "{error:?}");
        error.field
    };
    let scores: &[(&[f32], &[f32])] = &[
        (&[0.0, 0.0], &[1.0, 0.6, 0.3]),
        (&[1.0, 0.0], &[1.0, 0.6, 0.3]),
        (&[0.0, 1.0], &[0.9, 0.6, 0.3]),
        (&[0.0, 1.0], &[1.0, 0.6, 0.0]),
        (&[0.0, 1.0], &[1.0, 0.6, 0.7]),
        (&[0.0, 1.0], &[1.0, 0.6]),
    ];
    for (scores, p_values) in scores {
        let field = refused(&|draft| {
            set(draft, "likeness.scores", scores);
            set(draft, "likeness.p_values", p_values);
        });
        assert!(field.starts_with("likeness."), "{field}");
    }
    let many: Vec<f32> = (0..65).map(|at| at as f32).collect();
    let falling: Vec<f32> = (0..66).map(|at| 1.0 - at as f32 / 66.0).collect();
    refused(&|draft| {
        set(draft, "likeness.scores", &many);
        set(draft, "likeness.p_values", &falling);
    });
    for level in [0.0, 1.0, -0.1] {
        assert_eq!(refused(&|draft| draft.header.likeness.as_mut().expect("set").level = level), "likeness");
    }
    refused(&|draft| draft.tensors.retain(|tensor| tensor.name != "likeness.square"));
}

/// A watch over an artifact with `rows` distinct calibration scores.
fn watch(rows: usize) -> (Martingale, Vec<f32>) {
    let mut draft = certified(4);
    let scores: Vec<f32> = (0..rows).map(|row| row as f32).collect();
    let p_values: Vec<f32> = (0..=rows).map(|row| (rows + 1 - row) as f32 / (rows + 1) as f32).collect();
    set(&mut draft, "likeness.scores", &scores);
    set(&mut draft, "likeness.p_values", &p_values);
    draft.header.likeness.as_mut().expect("set").rows = rows as u64;
    let router = Router::from_bytes(&draft.bytes(), None).expect("sound");
    (router.martingale().expect("the artifact can say"), p_values)
}

#[test]
fn a_stream_like_the_calibration_rows_rings_no_oftener_than_ville_allows() {
    // Known truth: scores of rows and of requests come from one distribution; 400 streams of 400 requests.
    let mut random = Random(5);
    let (mut rang, streams, threshold) = (0, 400, 20.0);
    for _ in 0..streams {
        let mut rows: Vec<f64> = (0..40).map(|_| random.between(0.0, 1.0)).collect();
        rows.sort_by(f64::total_cmp);
        let (mut state, p_values) = watch_of(&rows);
        for _ in 0..400 {
            let score = random.between(0.0, 1.0);
            state = state.step(p_values[rows.partition_point(|&row| row < score)]);
        }
        rang += usize::from(state.highest() >= threshold);
        assert_eq!(state.steps(), 400);
    }
    // At most 1 / 20 in expectation; four standard errors above it.
    assert!(
        rang as f64 <= 0.05 * f64::from(streams) + 4.0 * (0.05 * 0.95 * f64::from(streams)).sqrt(),
        "{rang}"
    );
}

/// The watch of an artifact whose rows had these scores.
fn watch_of(rows: &[f64]) -> (Martingale, Vec<f32>) {
    watch(rows.len())
}

#[test]
fn a_stream_that_changes_rings_soon_and_late_changes_ring_too() {
    let mut random = Random(6);
    for before in [0, 300] {
        let (mut state, p_values) = watch(60);
        for _ in 0..before {
            state = state.step(p_values[random.below(p_values.len())]);
        }
        let capital = state.highest();
        assert!(capital < 100.0, "{before}: {capital}");
        let mut steps = 0;
        while state.highest() < 100.0 {
            state = state.step(p_values[p_values.len() - 1]);
            steps += 1;
            assert!(steps < 25, "{before}: still {}", state.capital());
        }
    }
}

#[test]
fn a_change_is_told_however_many_requests_came_before_it() {
    let mut random = Random(7);
    let (mut state, p_values) = watch(60);
    for _ in 0..200_000 {
        state = state.step(p_values[random.below(p_values.len())]);
    }
    assert!(state.highest() < 100.0 && state.capital() > 0.0);
    let mut steps = 0;
    while state.highest() < 100.0 {
        state = state.step(p_values[p_values.len() - 1]);
        steps += 1;
        assert!(steps < 60, "still {}", state.capital());
    }
}

/// What is usual of numbers between 0 and 1.
fn usual(random: &mut Random, rows: usize) -> Usual {
    let knots: Vec<f32> = (1..20).map(|knot| knot as f32 / 20.0).collect();
    let mut counts = vec![0.0; 20];
    for _ in 0..rows {
        counts[random.below(20)] += 1.0;
    }
    Usual { knots, counts }
}

#[test]
fn numbers_as_usual_ring_no_oftener_than_ville_allows_and_others_ring_on_their_side() {
    let mut random = Random(8);
    let (mut rang, streams) = (0, 400);
    for seed in 0..streams {
        let known = seed % 2 == 0;
        let mut state = Shift::new(known.then(|| usual(&mut random, 80)), seed);
        for _ in 0..500 {
            state.observe(random.between(0.0, 1.0) as f32);
        }
        assert!(state.known());
        rang += usize::from(state.highest() >= 20.0);
    }
    let expected = 0.05 * streams as f64;
    assert!(rang as f64 <= expected + 4.0 * (0.95 * expected).sqrt(), "{rang}");
    for (low, high, side) in [(0.6, 1.0, Side::Higher), (0.0, 0.4, Side::Lower), (0.45, 0.55, Side::Alike)] {
        let mut state = Shift::new(Some(usual(&mut random, 200)), 3);
        for _ in 0..200 {
            state.observe(random.between(0.0, 1.0) as f32);
        }
        assert!(state.highest() < 100.0);
        let mut steps = 0;
        while state.highest() < 100.0 {
            state.observe(random.between(low, high) as f32);
            steps += 1;
            assert!(steps < 80, "{side:?}");
        }
        assert_eq!(state.side(), side);
    }
}

#[test]
fn a_constant_and_what_is_no_number_ring_nothing() {
    let mut state = Shift::new(None, 1);
    for _ in 0..5000 {
        state.observe(0.5);
        state.observe(f32::NAN);
        state.observe(f32::INFINITY);
    }
    assert_eq!((state.steps(), state.known()), (5000, true));
    assert!(state.highest() < 100.0);
    let mut wager = Wager::default();
    for _ in 0..5000 {
        wager.observe(0.0);
        wager.observe(f64::NAN);
    }
    assert_eq!(wager.steps(), 5000);
    assert!((wager.capital() - 1.0).abs() < 1e-9);
}

#[test]
fn outcomes_as_expected_ring_no_oftener_than_ville_allows_and_worse_ones_ring() {
    let mut random = Random(9);
    let (mut rang, streams) = (0, 400);
    for _ in 0..streams {
        let mut wager = Wager::default();
        for _ in 0..500 {
            let expected = random.between(0.3, 0.9);
            wager.observe(expected - f64::from(u8::from(random.chance(expected))));
        }
        rang += usize::from(wager.highest() >= 20.0);
    }
    assert!(rang as f64 <= 20.0 + 4.0 * 19.0_f64.sqrt(), "{rang}");
    let mut wager = Wager::default();
    let mut steps = 0;
    while wager.highest() < 600.0 {
        wager.observe(0.75 - f64::from(u8::from(random.chance(0.5))));
        steps += 1;
        assert!(steps < 400);
    }
}

#[test]
fn measures_do_not_depend_on_what_is_chosen() {
    assert_eq!(measures(&[0.25, 0.75], 1), (0.75, -0.5));
    assert_eq!(measures(&[0.25, 0.75, 0.5], 0), (0.75, 0.5));
    let (quality, gain) = measures(&[0.25], 0);
    assert!(quality.to_bits() == 0.25_f32.to_bits() && gain.is_nan());
    assert!(measures(&[], 0).0.is_nan());
}

#[test]
fn what_is_usual_and_cannot_be_is_refused_and_older_artifacts_have_none() {
    let numbers: &[(&[f32], &[f32])] = &[
        (&[0.2, 0.2], &[1.0, 1.0, 1.0]),
        (&[0.4, 0.2], &[1.0, 1.0, 1.0]),
        (&[0.2, 0.4], &[1.0, 1.0]),
        (&[0.2, 0.4], &[1.0, -1.0, 1.0]),
        (&[0.2, 0.4], &[1.0, 0.5, 1.0]),
    ];
    let with = |knots: &[f32], counts: &[f32], mix: Vec<u64>| {
        let mut draft = certified(6);
        draft.header.drift = Some(DriftSpec { rows: 3, mix });
        for name in ["quality", "gain", "confidence"] {
            for (part, values) in [("knots", knots), ("counts", counts)] {
                let mut tensor = draft.tensor("likeness.scores").clone();
                tensor.name = format!("drift.{name}.{part}");
                tensor.shape = vec![values.len()];
                tensor.bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                draft.tensors.push(tensor);
            }
        }
        tiny_dancer::kinds::write(&draft.json(), draft.tensors.clone())
            .and_then(|bytes| Router::from_bytes(&bytes, None))
    };
    for (knots, counts) in numbers {
        let error = with(knots, counts, vec![1, 2]).expect_err("nothing usual");
        assert!(error.field.starts_with("drift."), "{}", error.field);
    }
    for mix in [vec![], vec![1], vec![1, 2, 3]] {
        assert_eq!(with(&[0.2], &[1.0, 2.0], mix).expect_err("other models").field, "drift");
    }
    let router = with(&[0.25, 0.5], &[1.0, 2.0, 3.0], vec![1, 2]).expect("sound");
    assert_eq!(router.usual("gain"), Some((vec![0.25, 0.5], vec![1.0, 2.0, 3.0])));
    assert_eq!(router.usual("colour"), None);
    let bare = Router::from_bytes(&certified(6).bytes(), None).expect("sound");
    assert_eq!(bare.usual("gain"), None);
    assert!(bare.usual("likeness").is_some());
    let mut state = bare.drift(100.0, 1);
    for _ in 0..200 {
        state.decided(Some(0.5), &[0.4, 0.6]);
    }
    assert!(state.alarms().iter().all(|alarm| alarm.since.is_none()) && !state.rings());
}

proptest! {
    #[test]
    fn a_step_is_pure_and_smaller_p_values_never_lower_the_capital(
        steps in prop::collection::vec((0..11usize, 0..11usize), 1..40)
    ) {
        let (start, p_values) = watch(10);
        let (mut low, mut high) = (start.clone(), start.clone());
        for (a, b) in steps {
            // One step from the same state: the smaller p-value wins at least as much.
            let (small, large) = (p_values[a.max(b)], p_values[a.min(b)]);
            let (one, other) = (low.clone().step(small), low.clone().step(large));
            prop_assert!(one.capital() >= other.capital() - 1e-12);
            prop_assert_eq!(&one, &low.clone().step(small));
            prop_assert!(one.capital().is_finite() && one.highest() >= one.capital());
            low = one;
            high = high.step(large);
        }
        prop_assert!(high.steps() == low.steps());
    }
}
