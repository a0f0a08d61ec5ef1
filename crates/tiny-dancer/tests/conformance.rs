//! The shared vectors (`conformance/vectors`): of the cell, of candidates, of features, decisions and damages.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::cell::ClassifierDraft;
use support::{Random, shared_encoder};
use tiny_dancer::artifact::{TensorData, Tensors};
use tiny_dancer::candidates::{
    Candidate, CandidateScorer, CandidateSet, FEATURE_NAMES, Precision, Query, RankOptions, RankScratch,
};
use tiny_dancer::classifier::Header;
use tiny_dancer::fastgrnn::{Cell, CellScratch};
use tiny_dancer::features::{CUE_NAMES, FeatureScratch, Features, featurise};
use tiny_dancer::kinds::write;
use tiny_dancer::{Error, Handle, Request, Spec};

fn numbers(values: &Value) -> impl Iterator<Item = f64> {
    values.as_array().expect("a list").iter().map(|value| value.as_f64().expect("a number"))
}

fn singles(values: &Value) -> Vec<f32> {
    numbers(values).map(|value| value as f32).collect()
}

fn tensor(name: &str, described: &Value) -> TensorData {
    let dtype = described["dtype"].as_str().expect("a name").to_lowercase();
    let shape = numbers(&described["shape"]).map(|size| size as usize).collect();
    let bytes = numbers(&described["values"]).flat_map(|value| match dtype.as_str() {
        "f32" => (value as f32).to_le_bytes().to_vec(),
        "u16" => (value as u16).to_le_bytes().to_vec(),
        "i8" => vec![(value as i8).cast_unsigned()],
        _ => vec![value as u8],
    });
    TensorData { name: name.to_owned(), bytes: bytes.collect(), shape, dtype }
}

#[test]
fn every_form_of_the_cell_gives_the_states_of_the_vectors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/vectors/fastgrnn.json");
    let text = std::fs::read_to_string(path).expect("written by conformance/generate.py");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let tolerance = document["tolerance"]["hidden"]["absolute"].as_f64().expect("a number");
    let vectors = document["vectors"].as_array().expect("a list");
    assert!(vectors.len() >= 15);
    for vector in vectors {
        let tensors = vector["tensors"].as_object().expect("an object").iter();
        let tensors = tensors.map(|(name, described)| tensor(name, described)).collect();
        let header = ClassifierDraft::of_vectors(&mut Random(0), 1, 2, None).header.to_string();
        let bytes = write(&header, tensors).expect("a file");
        let (_, tensors) = Tensors::open::<Header>(&bytes).expect("a sound file");
        let inputs: Vec<Vec<f32>> =
            vector["inputs"].as_array().expect("a list").iter().map(singles).collect();
        let cell = Cell::load("cell", &tensors, inputs[0].len()).expect("a sound cell");
        let (mut state, mut scratch) = (vec![0.0; cell.hidden_dimensions()], CellScratch::default());
        for (input, expected) in inputs.iter().zip(vector["hidden"].as_array().expect("a list")) {
            cell.step(input, &mut state, &mut scratch);
            for (&found, expected) in state.iter().zip(numbers(expected)) {
                let apart = (f64::from(found) - expected).abs();
                assert!(apart <= tolerance, "{}: {found} for {expected}", vector["explain"]);
            }
        }
    }
}

fn strings(values: &Value) -> Vec<(&str, &str)> {
    let pairs = values.as_array().map(Vec::as_slice).unwrap_or_default().iter();
    pairs.map(|pair| (pair[0].as_str().expect("a key"), pair[1].as_str().expect("a value"))).collect()
}

#[test]
fn candidates_have_the_features_scores_and_order_of_the_vectors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/vectors/candidates.json");
    let text = std::fs::read_to_string(path).expect("written by conformance/generate.py");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let tolerance = document["tolerance"]["features, scores"]["absolute"].as_f64().expect("a number");
    let vectors = document["vectors"].as_array().expect("a list");
    assert!(vectors.len() >= 20);
    for vector in vectors {
        let described = vector["candidates"].as_array().expect("a list");
        let metadata: Vec<_> = described.iter().map(|each| strings(&each["metadata"])).collect();
        let candidates = described.iter().zip(&metadata).map(|(each, metadata)| Candidate {
            id: each["id"].as_str().expect("an id"),
            text: each["text"].as_str(),
            created_at: each["created_at"].as_f64(),
            access_count: each["access_count"].as_f64(),
            success_rate: each["success_rate"].as_f64(),
            trials: each["trials"].as_f64(),
            confidence: each["confidence"].as_f64(),
            metadata,
            group: each["group"].as_str(),
        });
        let rows = described.iter().filter(|each| !each["embedding"].is_null());
        let embeddings: Vec<f32> = rows.flat_map(|each| singles(&each["embedding"])).collect();
        let dimensions = (!embeddings.is_empty()).then(|| embeddings.len() / described.len());
        let mut set = CandidateSet::new(dimensions, Precision::Full).expect("dimensions");
        set.append(&candidates.collect::<Vec<_>>(), &embeddings).expect("sound candidates");
        set.refresh();
        let asked = &vector["query"];
        let embedding = (!asked["embedding"].is_null()).then(|| singles(&asked["embedding"]));
        let query = Query {
            embedding: embedding.as_deref(),
            text: asked["text"].as_str(),
            metadata: &strings(&asked["metadata"]),
            now: asked["now"].as_f64(),
        };
        let mut scratch = RankScratch::default();
        let options = RankOptions { k: 100, ..RankOptions::default() };
        CandidateScorer::default().rank(&set, &query, &options, &mut scratch).expect("a query that fits");
        let expect = &vector["expect"];
        let ids: Vec<&str> = scratch.ranked.iter().map(|ranked| &*set.ids()[ranked.row as usize]).collect();
        assert_eq!(serde_json::json!(ids), expect["ids"], "{}", vector["explain"]);
        let close = |found: f32, expected: f64, what: &str| {
            let apart = (f64::from(found) - expected).abs();
            assert!(apart <= tolerance, "{}: {what} is {found}, not {expected}", vector["explain"]);
        };
        for (row, score) in numbers(&expect["scores"]).enumerate() {
            close(scratch.scores()[row], score, "a score");
            for (feature, name) in FEATURE_NAMES.iter().enumerate() {
                let expected = expect["features"][row][name].as_f64().unwrap_or(0.0);
                close(scratch.features().column(feature)[row], expected, name);
            }
        }
    }
}

fn conformance(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance").join(path)
}

/// Vectors of format 2.
fn requests(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(conformance(name)).expect("written by conformance/generate.py");
    let mut document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["format"], 2);
    assert_eq!(document["encoder"], shared_encoder().checksum());
    serde_json::from_value(document["vectors"].take()).expect("a list")
}

/// The value with each `{"$text": parts}` as the string it stands for.
fn expanded(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(expanded).collect(),
        Value::Object(members) => match members.get("$text").and_then(Value::as_array) {
            Some(parts) => parts.iter().map(part).collect::<String>().into(),
            None => members.iter().map(|(key, inner)| (key.clone(), expanded(inner))).collect(),
        },
        other => other.clone(),
    }
}

fn part(value: &Value) -> String {
    let times = value[1].as_u64().unwrap_or(1) as usize;
    value.as_str().or(value[0].as_str()).expect("a string").repeat(times)
}

/// The request or the options of a vector, as JSON text.
fn written(vector: &Value, name: &str) -> String {
    match expanded(&vector[format!("{name}_text")]) {
        Value::String(text) => text,
        _ => expanded(&vector[name]).to_string(),
    }
}

fn artifact(vector: &Value) -> Vec<u8> {
    let name = vector["artifact"].as_str().expect("a name");
    std::fs::read(conformance(&format!("artifacts/{name}.safetensors"))).expect("an artifact")
}

fn refused(error: &Error) -> Value {
    json!({ "error": format!("{:?}", error.kind) })
}

/// Numbers of f32 and of doubles agree within 1e-6, absolute (where `absolute`) or relative; all else is the same.
fn agree(found: &Value, expected: &Value, absolute: bool) -> bool {
    match (found, expected) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && b.iter()
                    .all(|(name, expected)| a.get(name).is_some_and(|found| agree(found, expected, absolute)))
        }
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().expect("a double"), b.as_f64().expect("a double"));
            (a - b).abs() <= 1e-6 * if absolute { b.abs().max(1.0) } else { b.abs() }
        }
        _ => found == expected,
    }
}

#[test]
fn decisions_are_those_of_the_vectors() {
    let vectors = requests("vectors/decisions.json");
    assert!(vectors.len() >= 400);
    for vector in &vectors {
        let changes = if vector["changes"].is_null() { String::new() } else { vector["changes"].to_string() };
        let handle = Handle::new(&artifact(vector), Some(Arc::clone(shared_encoder())), &changes);
        let answer = handle
            .and_then(|handle| handle.decide_json(&written(vector, "request"), &written(vector, "options")));
        let found = match answer {
            Ok(answer) => serde_json::from_str(&answer).expect("JSON"),
            Err(error) => refused(&error),
        };
        let (found, expect) = (found.as_object().expect("one"), vector["expect"].as_object().expect("one"));
        assert_eq!(found.len(), expect.len(), "{}: {found:?}", vector["explain"]);
        for (field, expected) in expect {
            let same = match field.as_str() {
                "scores" | "quality" | "confidence" => agree(&found[field], expected, true),
                "costs" | "latencies" | "cost" | "output_tokens" => agree(&found[field], expected, false),
                _ => found[field] == *expected,
            };
            assert!(same, "{}: {field} is {}, not {expected}", vector["explain"], found[field]);
        }
    }
}

#[test]
fn features_are_those_of_the_vectors() {
    let mut scratch = FeatureScratch::default();
    for vector in &requests("vectors/features.json") {
        let (explain, text) = (&vector["explain"], written(vector, "request"));
        let spec = vector["spec"].as_str().and_then(Spec::of).expect("a specification");
        let mut found = Features::default();
        let read = Request::from_json(&text)
            .and_then(|request| featurise(&request, spec, Some(shared_encoder()), &mut scratch, &mut found));
        if let Err(error) = read {
            assert_eq!(refused(&error)["error"], vector["error"], "{explain}");
            continue;
        }
        assert_eq!(
            (json!(found.tokens), &vector["error"]),
            (vector["tokens"].clone(), &Value::Null),
            "{explain}"
        );
        let mut ngrams = [found.word_ngrams(), found.character_ngrams()].concat();
        ngrams.sort_unstable();
        let bytes: Vec<u8> = ngrams.iter().flat_map(|index| index.to_le_bytes()).collect();
        assert_eq!(vector["ngrams"]["words"], json!(found.word_ngrams().len()), "{explain}");
        assert_eq!(vector["ngrams"]["characters"], json!(found.character_ngrams().len()), "{explain}");
        assert_eq!(vector["ngrams"]["sha256"], json!(sha256(&bytes)), "{explain}");
        for (name, &cue) in CUE_NAMES.iter().zip(&found.cues) {
            let expected = vector["cues"].get(name).cloned().unwrap_or_else(|| json!(0.0));
            assert!(
                agree(&json!(f64::from(cue)), &expected, true),
                "{explain}: {name} is {cue}, not {expected}"
            );
        }
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn damaged(mut bytes: Vec<u8>, damage: &Value) -> Vec<u8> {
    if let Some(length) = damage["truncate"].as_u64() {
        bytes.truncate(length as usize);
    }
    if let Some(from_end) = damage["flip_from_end"].as_u64() {
        let at = bytes.len() - from_end as usize;
        bytes[at] ^= 1;
    }
    if let Some([old, new]) = damage["replace"].as_array().map(Vec::as_slice) {
        let (old, new) = (old.as_str().expect("text").as_bytes(), new.as_str().expect("text").as_bytes());
        let at = bytes.windows(old.len()).position(|window| window == old).expect("it is there");
        bytes[at..at + old.len()].copy_from_slice(new);
    }
    bytes
}

#[test]
fn damaged_artifacts_are_refused_as_the_vectors_say() {
    for vector in &requests("vectors/damages.json") {
        let encoder = vector["damage"]["no_encoder"].is_null().then(|| Arc::clone(shared_encoder()));
        let error = Handle::new(&damaged(artifact(vector), &vector["damage"]), encoder, "")
            .expect_err(vector["explain"].as_str().expect("text"));
        assert_eq!(refused(&error)["error"], vector["error"], "{}", vector["explain"]);
    }
}
