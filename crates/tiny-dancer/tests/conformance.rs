//! The shared vectors of the cell (`conformance/vectors/fastgrnn.json`); those of decisions are run from Python.

mod support;

use std::path::Path;

use serde_json::Value;
use support::Random;
use support::cell::ClassifierDraft;
use tiny_dancer::artifact::{TensorData, Tensors, write};
use tiny_dancer::classifier::Header;
use tiny_dancer::fastgrnn::{Cell, CellScratch};

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
