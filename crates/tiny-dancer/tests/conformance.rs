//! The shared vectors of the cell and of candidates (`conformance/vectors`); those of decisions are run from Python.

mod support;

use std::path::Path;

use serde_json::Value;
use support::Random;
use support::cell::ClassifierDraft;
use tiny_dancer::artifact::{TensorData, Tensors};
use tiny_dancer::candidates::{CandidateDoor, CandidateScorer, FEATURE_NAMES, Precision};
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

/// JSON out of a vector: a value, or its text where the text matters.
fn json_text(given: &Value) -> String {
    given.as_str().map_or_else(|| given.to_string(), str::to_owned)
}

/// The same query about all candidates, by score alone.
fn about_all(query: &Value) -> String {
    let mut query = match query {
        // Numbers beyond u64 are in filters only, which are left out here.
        Value::String(text) => serde_json::from_str(text).expect("JSON"),
        query => query.clone(),
    };
    let fields = query.as_object_mut().expect("an object");
    fields.retain(|name, _| !["where", "diversity"].contains(&name.as_str()));
    fields.insert("k".to_owned(), 1000.into());
    query.to_string()
}

#[test]
fn candidates_have_the_features_scores_and_answers_of_the_vectors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/vectors/candidates.json");
    let text = std::fs::read_to_string(path).expect("written by conformance/generate.py");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["format"], 2);
    let tolerance = document["tolerance"]["features, scores"]["absolute"].as_f64().expect("a number");
    let vectors = document["vectors"].as_array().expect("a list");
    assert!(vectors.len() >= 100);
    let scorer = CandidateScorer::default();
    for vector in vectors {
        let (explain, expect) = (&vector["explain"], &vector["expect"]);
        let mut door = CandidateDoor::new(Precision::Full, None);
        let query = json_text(&vector["query"]);
        let answer = door.add(&json_text(&vector["candidates"])).and_then(|()| door.rank(&scorer, &query));
        if let Some(kind) = expect["error"].as_str() {
            let error = answer.expect_err("must be refused");
            assert_eq!(format!("{:?}", error.kind), kind, "{explain}: {error}");
            continue;
        }
        let read = |answer: &str| serde_json::from_str::<Value>(answer).expect("JSON");
        let answer = read(&answer.unwrap_or_else(|error| panic!("{explain}: {error}")));
        let close = |found: &Value, expected: &Value, what: &str| {
            let (found, expected) = (found.as_f64().expect("a number"), expected.as_f64().unwrap_or(0.0));
            assert!((found - expected).abs() <= tolerance, "{explain}: {what} is {found}, not {expected}");
        };
        let decisions = |answer: &Value| answer["decisions"].as_array().expect("a list").clone();
        let (found, expected) = (decisions(&answer), decisions(expect));
        assert_eq!(found.len(), expected.len(), "{explain}");
        for (found, expected) in found.iter().zip(&expected) {
            for name in ["candidate_id", "use_lightweight", "in_prediction_set"] {
                assert_eq!(found[name], expected[name], "{explain}: {name}");
            }
            for name in ["score", "confidence", "uncertainty"] {
                close(&found[name], &expected[name], name);
            }
        }
        for name in ["errors", "prediction_set_size", "calibrated"] {
            assert_eq!(answer[name], expect[name], "{explain}: {name}");
        }
        let all = decisions(&read(&door.rank(&scorer, &about_all(&vector["query"])).expect("as before")));
        let ids: Vec<&Value> = all.iter().map(|each| &each["candidate_id"]).collect();
        assert_eq!(serde_json::json!(ids), expect["ids"], "{explain}");
        for each in all {
            let id = each["candidate_id"].as_str().expect("an id");
            let row = door.set().and_then(|set| set.row(id)).expect("a candidate");
            close(&each["score"], &expect["scores"][row], "a score");
            for name in FEATURE_NAMES {
                close(&each["features"][name], &expect["features"][row][name], name);
            }
        }
    }
}
