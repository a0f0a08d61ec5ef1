//! The engine on this machine, asked what `tests/integration/doors.py` asks every binding.
//!
//!     replay CASES ANSWERS
//!
//! `CASES` is a JSON list of `{"encoder": path or null, "steps": [[operation, first, second], …]}`, where an argument is
//! text, `{"file": path}`, or null for the answer before; `ANSWERS` becomes a list of the texts answered, a list a case; its
//! last may be an error, after which no step is done.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tiny_dancer_wasm::{Instance, Operation};

fn bytes(given: &Value) -> Vec<u8> {
    match given["file"].as_str() {
        Some(path) => std::fs::read(path).expect("a file"),
        None => given.as_str().expect("text").as_bytes().to_vec(),
    }
}

fn perform(instance: &mut Instance, name: &str, first: &[u8], second: &[u8]) -> (bool, String) {
    let (operation, _) = Operation::ALL.iter().find(|(_, known)| *known == name).expect("an operation");
    let room = instance.input(first.len() + second.len());
    room[..first.len()].copy_from_slice(first);
    room[first.len()..first.len() + second.len()].copy_from_slice(second);
    let done = instance.call(*operation, first.len(), second.len());
    (done, instance.answer().to_owned())
}

fn main() {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let cases: Value = serde_json::from_slice(&bytes(&json!({ "file": paths[0] }))).expect("JSON");
    let mut instances: BTreeMap<String, Instance> = BTreeMap::new();
    let mut answers = Vec::new();
    for case in cases.as_array().expect("a list") {
        let encoder = &case["encoder"];
        let instance = instances.entry(encoder.to_string()).or_insert_with(|| {
            let mut instance = Instance::default();
            if !encoder.is_null() {
                let bytes = bytes(&json!({ "file": encoder }));
                assert!(perform(&mut instance, "encoder", &bytes, b"").0, "no encoder: {encoder}");
            }
            instance
        });
        let mut answered = vec![String::new()];
        for step in case["steps"].as_array().expect("a list") {
            let first = match &step[1] {
                Value::Null => answered[answered.len() - 1].clone().into_bytes(),
                given => bytes(given),
            };
            let name = step[0].as_str().expect("a name");
            let (done, answer) = perform(instance, name, &first, &bytes(&step[2]));
            answered.push(answer);
            if !done {
                break;
            }
        }
        answered.remove(0);
        answers.push(answered);
    }
    std::fs::write(&paths[1], json!(answers).to_string()).expect("a file can be written");
}
