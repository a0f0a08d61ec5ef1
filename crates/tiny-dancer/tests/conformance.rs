//! The shared vectors of the cell and of candidates (`conformance/vectors`); those of decisions are run from Python.

mod support;

use std::path::Path;

use serde_json::Value;
use support::Random;
use support::cell::ClassifierDraft;
use tiny_dancer::artifact::{TensorData, Tensors};
use tiny_dancer::candidates::{
    Candidate, CandidateScorer, CandidateSet, FEATURE_NAMES, Precision, Query, RankOptions, RankScratch,
};
use tiny_dancer::classifier::Header;
use tiny_dancer::fastgrnn::{Cell, CellScratch};
use tiny_dancer::kinds::write;

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
