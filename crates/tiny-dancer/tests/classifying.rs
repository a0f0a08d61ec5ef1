//! Classifiers: what they answer, what they refuse, what they cannot be loaded from.

mod support;

use proptest::prelude::*;
use serde_json::{Value, json};
use support::cell::{ClassifierDraft, Form, Numbers};
use support::{Draft, Random, f32_tensor, shipped_encoder, spoil, spoil_header};
use tiny_dancer::artifact::Tensors;
use tiny_dancer::classifier::{Classifier, Header, MOST_STEPS, Scratch};
use tiny_dancer::encoder::{DIM, WordCache, pool};
use tiny_dancer::fastgrnn::{Cell, CellScratch};
use tiny_dancer::kinds::{header, rewrite};
use tiny_dancer::{ErrorKind, Router};

const TEXTS: [&str; 6] = [
    "what is my balance today",
    "x",
    "move the meeting with the unaffordable déjà vu committee to friday, please; thank you very much indeed, goodbye",
    "\u{1f600}",
    "two\nlines",
    "你好，世界",
];

fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let scaled: Vec<f64> = logits.iter().map(|&logit| f64::from(logit) / temperature).collect();
    let highest = scaled.iter().copied().fold(f64::MIN, f64::max);
    let powers: Vec<f64> = scaled.iter().map(|logit| (logit - highest).exp()).collect();
    powers.iter().map(|power| power / powers.iter().sum::<f64>()).collect()
}

fn f32s(draft: &mut ClassifierDraft, name: &str) -> Vec<f32> {
    draft.tensor(name).bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// The head over `state`, in f64.
fn logits(draft: &mut ClassifierDraft, state: &[f32]) -> Vec<f64> {
    let weight = f32s(draft, "head.weight");
    let bias = f32s(draft, "head.bias");
    let rows = weight.chunks(state.len()).zip(bias);
    let dot = |row: &[f32]| row.iter().zip(state).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    rows.map(|(row, bias)| dot(row) + f64::from(bias)).collect()
}

/// Label, logits and probabilities follow from the state by the formula.
fn assert_answer(draft: &mut ClassifierDraft, state: &[f32], label: usize, scratch: &Scratch) {
    let expected = logits(draft, state);
    assert_eq!(scratch.logits.len(), expected.len());
    assert!(scratch.logits.iter().zip(&expected).all(|(&found, e)| (f64::from(found) - e).abs() < 1e-4));
    let probabilities = softmax(&scratch.logits, draft.header["temperature"].as_f64().expect("a number"));
    let close = |(&found, expected): (&f32, f64)| (f64::from(found) - expected).abs() < 2e-6;
    assert!(scratch.probabilities.iter().zip(probabilities).all(close));
    let first_of_highest = scratch.logits.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1));
    assert_eq!(Some(label), first_of_highest.map(|(at, _)| at));
}

fn f32_form() -> Form {
    Form::plain(Numbers::F32)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn texts_are_read_token_by_token(seed in any::<u64>(), parts in proptest::collection::vec(0..TEXTS.len(), 1..6)) {
        let encoder = shipped_encoder();
        let mut draft =
            ClassifierDraft::of_texts(&mut Random(seed), encoder.checksum(), 4, Some(f32_form()));
        let classifier = Classifier::from_bytes(&draft.bytes(), Some(encoder)).expect("sound");
        let text = parts.iter().map(|&part| TEXTS[part]).collect::<Vec<_>>().join(" ");
        let mut ids = Vec::new();
        encoder.visit(&text, &mut WordCache::default(), |id| ids.extend(id));
        if ids.len() > 16 {
            ids.drain(12..ids.len() - 4);
        }
        let steps: Vec<f32> =
            ids.iter().flat_map(|&id| encoder.row(id).map(|value| f32::from(value) * 0.007_812_5)).collect();
        let bytes = draft.bytes();
        let (_, tensors) = Tensors::open::<Header>(&bytes).expect("sound");
        let cell = Cell::load("cell", &tensors, DIM).expect("sound");
        let mut state = vec![0.0; cell.hidden_dimensions()];
        cell.sequence(&steps, &mut state, &mut CellScratch::default());
        let mut scratch = Scratch::default();
        let label = classifier.predict_text(&text, Some(encoder), &mut scratch).expect("a label");
        assert_answer(&mut draft, &state, label, &scratch);
    }

    #[test]
    fn a_bag_of_a_text_is_its_embedding(seed in any::<u64>(), parts in proptest::collection::vec(0..TEXTS.len(), 1..6)) {
        let encoder = shipped_encoder();
        let mut draft = ClassifierDraft::of_texts(&mut Random(seed), encoder.checksum(), 3, None);
        let classifier = Classifier::from_bytes(&draft.bytes(), Some(encoder)).expect("sound");
        let text = parts.iter().map(|&part| TEXTS[part]).collect::<Vec<_>>().join(" ");
        let mut sums = [0; DIM];
        let known = encoder.encode(&text, &mut WordCache::default(), &mut sums).known;
        let mut scratch = Scratch::default();
        let label = classifier.predict_text(&text, Some(encoder), &mut scratch).expect("a label");
        assert_answer(&mut draft, &pool(&sums, known), label, &scratch);
    }

    #[test]
    fn a_bag_of_vectors_is_their_mean(seed in any::<u64>(), steps in 1usize..9) {
        let mut random = Random(seed);
        let mut draft = ClassifierDraft::of_vectors(&mut random, 5, 3, None);
        let classifier = Classifier::from_bytes(&draft.bytes(), None).expect("sound");
        let vectors = random.floats(5 * steps, 2.0);
        let mean: Vec<f32> =
            (0..5).map(|at| vectors.iter().skip(at).step_by(5).sum::<f32>() / steps as f32).collect();
        let mut scratch = Scratch::default();
        let label = classifier.predict_vectors(&vectors, &mut scratch).expect("a label");
        assert_answer(&mut draft, &mean, label, &scratch);
    }

    /// Any form and any finite input: probabilities, and nothing left over from the input before.
    #[test]
    fn probabilities_are_probabilities(seed in any::<u64>(), steps in 1usize..40) {
        let mut random = Random(seed);
        let largest = if random.chance(0.5) { 1e9 } else { 0.5 };
        let form = Form { largest, ..Form::any(&mut random) };
        let draft = ClassifierDraft::of_vectors(&mut random, 7, 6, Some(form));
        let classifier = Classifier::from_bytes(&draft.bytes(), None).expect("sound");
        let widest = if random.chance(0.5) { 1e9 } else { 3.0 };
        let vectors = random.floats(7 * steps, widest);
        let (mut used, mut fresh) = (Scratch::default(), Scratch::default());
        classifier.predict_vectors(&random.floats(7 * 9, 1.0), &mut used).expect("a label");
        let label = classifier.predict_vectors(&vectors, &mut used).expect("a label");
        prop_assert_eq!(classifier.predict_vectors(&vectors, &mut fresh).expect("a label"), label);
        prop_assert_eq!(&used.probabilities, &fresh.probabilities);
        prop_assert!(used.logits.iter().all(|logit| logit.is_finite()));
        prop_assert!(used.probabilities.iter().all(|probability| (0.0..=1.0).contains(probability)));
        prop_assert!((used.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
}

#[test]
fn of_long_sequences_head_and_tail_are_read() {
    let mut random = Random(8);
    let mut draft = ClassifierDraft::of_vectors(&mut random, 3, 4, Some(f32_form()));
    draft.header["input"]["most_steps"] = json!(8);
    let classifier = Classifier::from_bytes(&draft.bytes(), None).expect("sound");
    let vectors = random.floats(3 * 20, 2.0);
    let kept = [&vectors[..3 * 6], &vectors[3 * 18..]].concat();
    let (mut long, mut short) = (Scratch::default(), Scratch::default());
    classifier.predict_vectors(&vectors, &mut long).expect("a label");
    classifier.predict_vectors(&kept, &mut short).expect("a label");
    assert_eq!(long.logits, short.logits);
}

#[test]
fn a_text_without_a_known_token_is_no_step() {
    let encoder = shipped_encoder();
    let mut draft = ClassifierDraft::of_texts(&mut Random(3), encoder.checksum(), 4, Some(f32_form()));
    let classifier = Classifier::from_bytes(&draft.bytes(), Some(encoder)).expect("sound");
    let mut scratch = Scratch::default();
    classifier.predict_text("\u{1f600}", Some(encoder), &mut scratch).expect("a label");
    assert_eq!(scratch.logits, f32s(&mut draft, "head.bias"));
}

#[test]
fn of_equal_labels_the_first_is_chosen() {
    let mut draft = ClassifierDraft::of_vectors(&mut Random(3), 2, 3, None);
    *draft.tensor("head.weight") = f32_tensor("head.weight", &[3, 2], &[0.0; 6]);
    *draft.tensor("head.bias") = f32_tensor("head.bias", &[3], &[0.5, 1.0, 1.0]);
    let classifier = Classifier::from_bytes(&draft.bytes(), None).expect("sound");
    assert_eq!(classifier.predict_vectors(&[1.0, 2.0], &mut Scratch::default()), Ok(1));
}

#[test]
fn inputs_that_cannot_be_labelled_are_refused() {
    let encoder = shipped_encoder();
    let mut random = Random(4);
    let mut scratch = Scratch::default();
    let vectors = ClassifierDraft::of_vectors(&mut random, 3, 2, Some(f32_form())).bytes();
    let vectors = Classifier::from_bytes(&vectors, None).expect("sound");
    let texts = ClassifierDraft::of_texts(&mut random, encoder.checksum(), 2, None).bytes();
    let texts = Classifier::from_bytes(&texts, Some(encoder)).expect("sound");
    let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.1e9, f32::MIN];
    let mut errors: Vec<_> = bad
        .iter()
        .map(|&value| vectors.predict_vectors(&[0.0, 0.0, 0.0, 0.0, value, 0.0], &mut scratch))
        .inspect(|result| assert_eq!(result.as_ref().expect_err("refused").field, "vectors[1][1]"))
        .collect();
    errors.push(vectors.predict_vectors(&[], &mut scratch));
    errors.push(vectors.predict_vectors(&[0.0; 4], &mut scratch));
    errors.push(vectors.predict_text("text", Some(encoder), &mut scratch));
    errors.push(texts.predict_vectors(&[0.0; 256], &mut scratch));
    errors.push(texts.predict_text(" \n\t", Some(encoder), &mut scratch));
    errors.push(texts.predict_text("", Some(encoder), &mut scratch));
    for error in errors {
        let error = error.expect_err("refused");
        assert!(error.kind == ErrorKind::RequestInvalid && !error.remedy.is_empty(), "{error}");
    }
    let error = texts.predict_text("text", None, &mut scratch).expect_err("no encoder");
    assert_eq!(error.kind, ErrorKind::EncoderMissing);
}

fn refused(bytes: &[u8], kind: ErrorKind, field: &str) {
    let error = Classifier::from_bytes(bytes, Some(shipped_encoder())).expect_err(field);
    assert_eq!((error.kind, &error.field[..field.len().min(error.field.len())]), (kind, field), "{error}");
    assert!(!error.remedy.is_empty());
}

#[test]
fn headers_that_mean_nothing_are_refused() {
    let encoder = shipped_encoder();
    let texts = ClassifierDraft::of_texts(&mut Random(5), encoder.checksum(), 3, Some(f32_form())).bytes();
    let vectors = ClassifierDraft::of_vectors(&mut Random(5), 4, 3, Some(f32_form())).bytes();
    Classifier::from_bytes(&texts, Some(encoder)).expect("sound");
    let set = |bytes: &[u8], field: &str, value: Value| {
        spoil_header(bytes, |header| {
            let (outer, inner) = field.split_once('.').unwrap_or((field, ""));
            if inner.is_empty() {
                header.insert(outer.to_owned(), value);
            } else {
                header[outer][inner] = value;
            }
        })
    };
    for (field, value) in [
        ("labels", json!([])),
        ("labels", json!(["a", "b", "a"])),
        ("labels", json!(["a", "", "c"])),
        ("temperature", json!(0.0)),
        ("temperature", json!(-1.0)),
        ("temperature", json!(1e10)),
        ("temperature", json!(1e-42)),
        ("input.most_steps", json!(0)),
        ("input.most_steps", json!(MOST_STEPS + 1)),
        ("input.scale", json!(0.0)),
        ("input.scale", json!(-1.0)),
        ("input.scale", Value::Null),
        ("self_check", Value::Array(vec![json!({"input": "x", "label": "a", "probabilities": []}); 257])),
    ] {
        refused(&set(&texts, field, value), ErrorKind::ArtifactInvalid, field);
    }
    for (field, value) in
        [("input.dimensions", json!(0)), ("input.dimensions", json!(16_385)), ("input.most_steps", json!(0))]
    {
        refused(&set(&vectors, field, value), ErrorKind::ArtifactInvalid, field);
    }
    refused(&set(&vectors, "input.dimensions", json!(5)), ErrorKind::ArtifactInvalid, "cell.input_weight");
    refused(&set(&vectors, "model.kind", json!("lstm")), ErrorKind::ArtifactInvalid, "tiny_dancer");
    refused(&set(&vectors, "labels", json!(["a", "b"])), ErrorKind::ArtifactInvalid, "head.weight");
    refused(&set(&vectors, "kind", json!("request-router")), ErrorKind::ArtifactInvalid, "kind");
    refused(&set(&texts, "input.encoder", json!("another")), ErrorKind::EncoderMissing, "encoder");
    let without = Classifier::from_bytes(&texts, None).expect_err("no encoder");
    assert_eq!(without.kind, ErrorKind::EncoderMissing);
    assert_eq!(Router::from_bytes(&vectors, None).expect_err("no router").field, "kind");
    refused(&Draft::any(3).bytes(), ErrorKind::ArtifactInvalid, "kind");
    for cut in (0..vectors.len()).step_by(37) {
        assert!(Classifier::from_bytes(&vectors[..cut], None).is_err(), "cut at {cut}");
    }
    let flipped = spoil(&vectors, |_, data| data[0] ^= 1);
    Classifier::from_bytes(&flipped, None).expect("another weight under a right checksum");
    let mut damaged = vectors.clone();
    *damaged.last_mut().expect("bytes") ^= 1;
    refused(&damaged, ErrorKind::ArtifactChecksum, "sha256");
}

#[test]
fn an_artifact_answers_as_it_recorded() {
    let encoder = shipped_encoder();
    let mut draft = ClassifierDraft::of_texts(&mut Random(6), encoder.checksum(), 3, Some(f32_form()));
    let classifier = Classifier::from_bytes(&draft.bytes(), Some(encoder)).expect("sound");
    let mut scratch = Scratch::default();
    let label = classifier.predict_text(TEXTS[0], Some(encoder), &mut scratch).expect("a label");
    let name = &classifier.header().labels[label];
    let check = |label: &str, probabilities: &[f32]| json!([{"input": TEXTS[0], "label": label, "probabilities": probabilities}]);
    draft.header["self_check"] = check(name, &scratch.probabilities);
    let bytes = draft.bytes();
    Classifier::from_bytes(&bytes, Some(encoder)).expect("answers as recorded");
    let (found, _) = Tensors::open::<Header>(&bytes).expect("sound");
    assert_eq!(header(&bytes).expect("JSON"), serde_json::to_string(&found).expect("JSON"));
    let other = &classifier.header().labels[(label + 1) % 3];
    let mut moved = scratch.probabilities.clone();
    moved[0] += 3e-4;
    let another = json!([{"input": [[0.0, 1.0]], "label": name, "probabilities": scratch.probabilities}]);
    for bad in [
        check(other, &scratch.probabilities),
        check("none", &scratch.probabilities),
        check(name, &moved),
        check(name, &scratch.probabilities[..2]),
        another,
    ] {
        draft.header["self_check"] = bad;
        let wrong = rewrite(&bytes, &draft.header.to_string()).expect("a file");
        refused(&wrong, ErrorKind::ArtifactSelfCheck, "self_check[0]");
    }
}
