//! Scorers of candidates that are damaged or contradict themselves: typed errors that name what is wrong.

mod support;

use proptest::prelude::*;
use serde_json::{Value, json};
use support::cell::{Form, Numbers};
use support::scorers::ScorerDraft;
use support::{Random, spoil, spoil_header};
use tiny_dancer::ErrorKind::{self, ArtifactChecksum, ArtifactInvalid, ArtifactSelfCheck, ArtifactVersion};
use tiny_dancer::candidates::{CandidateScorer, FEATURES};
use tiny_dancer::kinds;

#[track_caller]
fn assert_refused(name: &str, bytes: &[u8], kind: ErrorKind, field: &str) {
    let error = CandidateScorer::from_bytes(bytes).map(|_| "a scorer").expect_err(name);
    assert_eq!(error.kind, kind, "{name}: {error}");
    assert!(error.field.contains(field), "{name}: field {:?}", error.field);
    assert!(!error.remedy.is_empty(), "{name}: {error:?}");
}

/// A calibrated scorer, linear or a cell, whose numbers are all in the file.
fn draft(cell: bool) -> ScorerDraft {
    let mut random = Random(6);
    let form = cell.then(|| Form { ranks: [Some(2), None], ..Form::plain(Numbers::F32) });
    ScorerDraft::new(&mut random, form).calibrated(&mut random, [0.0, 1.0], 3)
}

#[test]
fn headers_that_contradict_themselves() {
    let bytes = draft(false).bytes();
    let set = |key: &str, value: Value| spoil_header(&bytes, |json| drop(json.insert(key.to_owned(), value)));
    let rows = |relevant: Value| {
        set("relevance", json!({"relevant": relevant, "irrelevant": {"rows": 60, "step": 1}}))
    };
    let check = |features: usize, score: f64| json!([{"features": vec![0.0; features], "score": score}]);
    let cases = [
        ("next MAJOR", set("format", json!("2.0.0")), ArtifactVersion, "format"),
        ("other kind", set("kind", json!("classifier")), ArtifactInvalid, "kind"),
        ("other features", set("features", json!("2")), ArtifactInvalid, "features"),
        ("unknown scorer", set("scorer", json!("oracle")), ArtifactInvalid, "tiny_dancer"),
        ("no scorer", set("scorer", Value::Null), ArtifactInvalid, "tiny_dancer"),
        ("weights of another", set("scorer", json!("fastgrnn")), ArtifactInvalid, "cell."),
        (
            "alpha 0",
            set("prediction", json!({"alpha": 0.0, "size": 3, "rows": 9})),
            ArtifactInvalid,
            "prediction",
        ),
        (
            "alpha 1",
            set("prediction", json!({"alpha": 1.0, "size": 3, "rows": 9})),
            ArtifactInvalid,
            "prediction",
        ),
        (
            "size 0",
            set("prediction", json!({"alpha": 0.1, "size": 0, "rows": 9})),
            ArtifactInvalid,
            "prediction",
        ),
        (
            "size -1",
            set("prediction", json!({"alpha": 0.1, "size": -1, "rows": 9})),
            ArtifactInvalid,
            "tiny_dancer",
        ),
        ("no row", rows(json!({"rows": 0, "step": 1})), ArtifactInvalid, "relevance.relevant: rows"),
        ("no step", rows(json!({"rows": 40, "step": 0})), ArtifactInvalid, "relevance.relevant: step"),
        (
            "steps beyond rows",
            rows(json!({"rows": 4, "step": 9})),
            ArtifactInvalid,
            "relevance.relevant: step",
        ),
        ("short self-check", set("self_check", check(3, 0.0)), ArtifactInvalid, "self_check"),
        ("no number", set("self_check", check(FEATURES, 1e300)), ArtifactInvalid, "tiny_dancer"),
        (
            "features beyond f32",
            set("self_check", json!([{"features": vec![1e300; FEATURES], "score": 0.0}])),
            ArtifactInvalid,
            "tiny_dancer",
        ),
        (
            "too many self-checks",
            set("self_check", json!(vec![check(FEATURES, 0.0)[0].clone(); 300])),
            ArtifactInvalid,
            "self_check",
        ),
    ];
    for (name, bytes, kind, field) in cases {
        assert_refused(name, &bytes, kind, field);
    }
    let changed = spoil(&bytes, |header, _| header["__metadata__"]["tiny_dancer"] = json!("{"));
    assert_refused("header not JSON", &changed, ArtifactInvalid, "tiny_dancer");
}

#[test]
fn tensors_that_contradict_each_other() {
    let set = |cell: bool, name: &str, at: usize, value: f32| {
        let mut draft = draft(cell);
        draft.tensor(name).bytes[4 * at..][..4].copy_from_slice(&value.to_le_bytes());
        draft.bytes()
    };
    let first = |name: &str| draft(false).floats(name)[0];
    let cases = [
        ("NaN", set(false, "feature.mean", 2, f32::NAN), "feature.mean[2]"),
        ("infinity", set(false, "linear.weight", 1, f32::INFINITY), "linear.weight[1]"),
        ("overflow to come", set(true, "head.weight", 0, 1e30), "head.weight[0]"),
        ("scale 0", set(false, "feature.scale", 3, 0.0), "feature.scale[3]"),
        ("negative scale", set(false, "feature.scale", 0, -1.0), "feature.scale[0]"),
        ("scale too small", set(false, "feature.scale", 18, 1e-7), "feature.scale[18]"),
        ("scores that fall", set(false, "calibration.scores", 0, 9.0), "calibration.scores"),
        (
            "scores that stay",
            set(false, "calibration.scores", 1, first("calibration.scores")),
            "calibration.scores",
        ),
        ("probabilities that fall", set(false, "calibration.probabilities", 0, 1.0), "calibration"),
        ("probability over 1", set(false, "calibration.probabilities", 8, 1.5), "calibration.probabilities"),
        (
            "probability below 0",
            set(false, "calibration.probabilities", 0, -0.5),
            "calibration.probabilities",
        ),
        ("knots that fall", set(false, "relevance.relevant", 0, 9.0), "relevance.relevant"),
        ("knots that fall", set(true, "relevance.irrelevant", 0, 9.0), "relevance.irrelevant"),
        ("absurd bias", set(true, "cell.gate_bias", 0, f32::NEG_INFINITY), "cell.gate_bias[0]"),
    ];
    for (name, bytes, field) in cases {
        assert_refused(name, &bytes, ArtifactInvalid, field);
    }
    let mut draft = draft(false);
    let knots: Vec<f32> = (0..5000).map(|knot| knot as f32).collect();
    for name in ["calibration.scores", "calibration.probabilities"] {
        let values: Vec<f32> =
            knots.iter().map(|knot| if name.ends_with("scores") { *knot } else { 0.5 }).collect();
        *draft.tensor(name) = support::f32_tensor(name, &[values.len()], &values);
    }
    assert_refused("more knots than anyone needs", &draft.bytes(), ArtifactInvalid, "calibration.scores");
}

#[test]
fn tensors_that_are_absent_or_of_another_kind() {
    for cell in [false, true] {
        let names: Vec<String> = draft(cell).tensors.iter().map(|tensor| tensor.name.clone()).collect();
        for name in &names {
            let mut lacking = draft(cell);
            lacking.tensors.retain(|tensor| tensor.name != *name);
            // Without its rank a matrix is a plain one, which is absent as well.
            let field = name.strip_suffix(".rank").unwrap_or(name);
            assert_refused(&format!("{name} absent"), &lacking.bytes(), ArtifactInvalid, field);
            let mut other = draft(cell);
            let tensor = other.tensor(name);
            let elements: usize = tensor.shape.iter().product();
            let (dtype, width) = if tensor.dtype == "u16" { ("f32", 4) } else { ("u16", 2) };
            (tensor.dtype, tensor.bytes) = (dtype.to_owned(), vec![0; elements * width]);
            assert_refused(&format!("{name} of another type"), &other.bytes(), ArtifactInvalid, name);
            let mut short = draft(cell);
            let tensor = short.tensor(name);
            // Knots may be fewer: they are checked with the rows they stand for.
            if tensor.shape == [1] || name.starts_with("relevance") {
                continue;
            }
            let row = tensor.bytes.len() / tensor.shape[0];
            tensor.shape[0] -= 1;
            tensor.bytes.truncate(row * tensor.shape[0]);
            assert!(CandidateScorer::from_bytes(&short.bytes()).is_err(), "{name} a row short");
        }
    }
}

#[test]
fn a_scorer_that_scores_otherwise_than_when_made_is_refused() {
    for cell in [false, true] {
        let draft = draft(cell);
        let features = Random(9).floats(FEATURES, 1.0);
        let low = |score: f32| CandidateScorer::from_bytes(&draft.clone().checking(&features, score).bytes());
        let error = low(1e6).map(|_| "a scorer").expect_err("another score");
        assert_eq!((error.kind, &*error.field), (ArtifactSelfCheck, "self_check[0]"));
        let found: f32 =
            error.value.trim_start_matches("score Some(").trim_end_matches(')').parse().expect("a number");
        assert!(low(found).is_ok());
        let off = 1e-3 * found.abs().max(1.0);
        for other in [found + off, found - off] {
            assert_eq!(low(other).map(|_| "a scorer").expect_err("too far").kind, ArtifactSelfCheck);
        }
    }
}

#[test]
fn a_changed_byte_is_found() {
    for cell in [false, true] {
        let bytes = draft(cell).bytes();
        let sound = CandidateScorer::from_bytes(&bytes);
        assert!(sound.is_ok());
        for at in (8..bytes.len()).step_by(11) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            // The name of the header's checksum may be what changed: older files have none.
            let found = CandidateScorer::from_bytes(&changed);
            assert!(found.is_err() || format!("{found:?}") == format!("{sound:?}"), "byte {at}");
        }
        let mut changed = bytes.clone();
        *changed.last_mut().expect("a file") ^= 1;
        assert_refused("the last", &changed, ArtifactChecksum, "sha256");
        for length in (0..bytes.len()).step_by(23) {
            assert!(CandidateScorer::from_bytes(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}

proptest! {
    #[test]
    fn every_form_of_the_cell_loads_and_its_header_stays(seed in any::<u64>()) {
        let mut random = Random(seed);
        let form = Form::any(&mut random);
        let draft = ScorerDraft::new(&mut random, Some(form)).calibrated(&mut random, [0.1, 0.9], 2);
        let bytes = draft.bytes();
        let scorer = CandidateScorer::from_bytes(&bytes).expect("sound");
        prop_assert!(scorer.is_calibrated());
        let header = serde_json::to_string(scorer.header().expect("a header")).expect("JSON");
        prop_assert_eq!(kinds::header(&bytes).expect("sound"), header);
    }
}
