//! How long a decision takes, with the artifact and the encoder that the package ships.
#![allow(missing_docs, reason = "criterion's macros write functions")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use tiny_dancer::encoder::Encoder;
use tiny_dancer::features::{FeatureScratch, Features, featurise};
use tiny_dancer::{Handle, Options, Request, Router, Scratch, Spec};

const SENTENCE: &str = "A train leaves the station at 9:40 and another, 12 % faster, half an hour later. ";

fn shipped(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tiny_dancer/data").join(name);
    std::fs::read(path).expect("the package ships it")
}

/// A question of about so many tokens: the engine counts four characters as one.
fn question(tokens: usize) -> String {
    let asked = "When do they meet?";
    let told: String = SENTENCE.chars().cycle().take(4 * tokens - asked.len() - 1).collect();
    format!("{told}\n{asked}")
}

/// Ten messages of a conversation that calls tools.
fn conversation() -> Value {
    let tool = |name: &str| {
        let properties = json!({
            "place": {"type": "string", "description": "Where."},
            "hours": {"type": "integer", "minimum": 1, "maximum": 48},
            "unit": {"enum": ["celsius", "fahrenheit"]},
        });
        let parameters = json!({"type": "object", "properties": properties, "required": ["place"]});
        let description = "What is known of a place, by the hour.";
        json!({"type": "function", "function": {"name": name, "description": description, "parameters": parameters}})
    };
    let mut messages =
        vec![json!({"role": "system", "content": "You answer shortly and name what you looked up."})];
    for turn in 0..2 {
        let arguments = json!({"place": "Lisbon", "hours": 6 + turn}).to_string();
        let call = json!({"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": arguments}});
        messages.extend([
            json!({"role": "user", "content": question(30)}),
            json!({"role": "assistant", "content": null, "tool_calls": [call]}),
            json!({"role": "tool", "tool_call_id": "call_1", "content": "{\"temperature\": 21.5, \"wind\": 14}"}),
            json!({"role": "assistant", "content": "It stays at 21.5 °C, with some wind."}),
        ]);
    }
    messages.push(json!({"role": "user", "content": question(30)}));
    json!({"messages": messages, "tools": [tool("weather"), tool("tides"), tool("trains")]})
}

fn deciding(criterion: &mut Criterion) {
    let artifact = shipped("default.safetensors");
    let encoder = Arc::new(Encoder::from_bytes(&shipped("encoder.safetensors")).expect("sound"));
    let router = Router::from_bytes(&artifact, Some(&encoder)).expect("sound");
    let options = Options::default();

    let mut group = criterion.benchmark_group("decide");
    for tokens in [30, 220] {
        let text = question(tokens);
        let mut scratch = Scratch::default();
        group.bench_function(format!("text of {tokens} tokens"), |bencher| {
            bencher.iter(|| {
                let request = Request::text(black_box(&text));
                router.decide(&request, Some(&encoder), &options, &mut scratch).expect("feasible")
            });
        });
    }
    let handle = Handle::new(&artifact, Some(Arc::clone(&encoder)), "").expect("sound");
    let one = json!({"messages": [{"role": "user", "content": question(30)}]});
    for (name, request) in [("one message", one), ("ten messages with tools", conversation())] {
        let request = request.to_string();
        group.bench_function(format!("JSON of {name}"), |bencher| {
            bencher.iter(|| handle.decide_json(black_box(&request), "").expect("feasible"));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("featurise");
    for tokens in [30, 220] {
        let text = question(tokens);
        let (mut scratch, mut out) = (FeatureScratch::default(), Features::default());
        group.bench_function(format!("text of {tokens} tokens"), |bencher| {
            bencher.iter(|| {
                let request = Request::text(black_box(&text));
                featurise(&request, Spec::NEWEST, Some(&encoder), &mut scratch, &mut out).expect("sound");
            });
        });
    }
    group.finish();

    criterion.bench_function("load the artifact", |bencher| {
        bencher.iter(|| Router::from_bytes(black_box(&artifact), Some(&encoder)).expect("sound"));
    });
}

criterion_group!(benches, deciding);
criterion_main!(benches);
