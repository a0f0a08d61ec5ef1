//! The shared vectors (`conformance/vectors`): of the cell, of candidates, of routes, of tools, of tasks, of features,
//! decisions and damages.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::cell::ClassifierDraft;
use support::{Random, sentence_encoder, shared_encoder};
use tiny_dancer::artifact::{TensorData, Tensors};
use tiny_dancer::candidates::{CandidateDoor, CandidateScorer, FEATURE_NAMES, Precision};
use tiny_dancer::classifier::Header;
use tiny_dancer::encoder::Encoder;
use tiny_dancer::fastgrnn::{Cell, CellScratch};
use tiny_dancer::features::{CUE_NAMES, FeatureScratch, Features, featurise};
use tiny_dancer::kinds::write;
use tiny_dancer::routes::Routing;
use tiny_dancer::spelling::{HASH_BYTES, word_hash};
use tiny_dancer::tasks::Tasking;
use tiny_dancer::tools::{SelectOptions, ToolScratch, ToolSet, Turn};
use tiny_dancer::{Drift, Error, Handle, Request, Shift, Side, Spec, Usual};

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

#[test]
fn tools_are_ranked_as_in_the_vectors() {
    let text = std::fs::read_to_string(conformance("vectors/tools.json")).expect("written by generate.py");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let services = conformance("../benchmarks/data/everyday_tools.json");
    let services: Value =
        serde_json::from_str(&std::fs::read_to_string(services).expect("part of the repository"))
            .expect("JSON");
    let tolerance = |name: &str| document["tolerance"][name]["absolute"].as_f64().expect("a number");
    let vectors = document["vectors"].as_array().expect("a list");
    assert!(vectors.len() >= 50);
    let mut scratch = ToolScratch::default();
    for vector in vectors {
        let with_encoder = vector["encoder"] == true;
        let mut set = ToolSet::new(with_encoder.then(|| Arc::clone(sentence_encoder())));
        match &vector["tools"] {
            Value::String(_) => drop(set.add_json(&services["tools"].to_string()).expect("tools")),
            Value::Object(servers) => {
                for (name, tools) in servers {
                    let server = json!({"name": name, "tools": tools});
                    set.add_json(&server.to_string()).expect("tools");
                }
            }
            tools => drop(set.add_json(&tools.to_string()).expect("tools")),
        }
        let options = SelectOptions { k: set.len(), ..SelectOptions::default() };
        let asked = vector["text"].as_str().expect("a text");
        let found = set.select(&[Turn::whole(asked)], &options, &mut scratch).expect("a selection");
        let expected = vector["expect"].as_array().expect("a list");
        assert_eq!(found.len(), expected.len());
        let close = tolerance(if with_encoder { "scores" } else { "scores without encoder" });
        let of = |id: &str| expected.iter().find(|one| one[0] == id).expect("one of the tools");
        for (place, one) in found.iter().enumerate() {
            let known = of(set.id(one.row));
            let off = (f64::from(one.score) - known[1].as_f64().expect("a number")).abs();
            assert!(off <= close, "{}: {} of {known}", vector["explain"], one.score);
            let off = (f64::from(one.relevance) - known[2].as_f64().expect("a number")).abs();
            assert!(off <= 0.02, "{}: relevance {} of {known}", vector["explain"], one.relevance);
            // The order is that of the scores: what stands here must be as good as what the vector has here.
            let (here, there) = (expected[place][1].as_f64(), known[1].as_f64());
            assert!((here.expect("a number") - there.expect("a number")).abs() <= 2.0 * close);
        }
        if !with_encoder && close < 1e-2 {
            assert_eq!(set.id(found[0].row), expected[0][0], "{}", vector["explain"]);
        }
    }
}

#[test]
fn tasks_are_told_apart_as_in_the_vectors() {
    let text = std::fs::read_to_string(conformance("vectors/tasks.json")).expect("written by generate.py");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let tolerance = document["tolerance"]["numbers"]["absolute"].as_f64().expect("a number");
    let artifact = conformance("../python/tiny_dancer/data/tasks.safetensors");
    let artifact = std::fs::read(artifact).expect("part of the repository");
    let tasking = Tasking::new(&artifact, Some(Arc::clone(shared_encoder()))).expect("sound");
    assert_eq!(document["encoder"], shared_encoder().checksum());
    let vectors = document["vectors"].as_array().expect("a list");
    assert!(vectors.len() >= 25);
    for vector in vectors {
        match tasking.classify_json(&json!({ "text": vector["text"] }).to_string()) {
            Ok(answer) => {
                let answer: Value = serde_json::from_str(&answer).expect("JSON");
                assert!(near(&answer, &vector["expect"], tolerance), "{}: {answer}", vector["explain"]);
            }
            Err(error) => assert_eq!(refused(&error)["error"], vector["error"], "{}", vector["explain"]),
        }
    }
}

/// The same but for numbers, which may differ by so much.
fn near(found: &Value, expected: &Value, tolerance: f64) -> bool {
    match (found, expected) {
        (Value::Object(a), Value::Object(b)) => {
            let same = |(name, value)| a.get(name).is_some_and(|found| near(found, value, tolerance));
            a.len() == b.len() && b.iter().all(same)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(a, b, tolerance))
        }
        (Value::Number(a), Value::Number(b)) => {
            (a.as_f64().expect("a double") - b.as_f64().expect("a double")).abs() <= tolerance
        }
        _ => found == expected,
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
    decided_as_stated(&vectors, |vector| (artifact(vector), Some(Arc::clone(shared_encoder()))));
}

#[test]
fn the_shipped_artifact_that_names_no_encoder_decides_without_one() {
    let mut document: Value =
        serde_json::from_slice(&std::fs::read(conformance("vectors/edge.json")).expect("a file"))
            .expect("JSON");
    assert_eq!((&document["format"], &document["encoder"]), (&json!(2), &Value::Null));
    let vectors: Vec<Value> = serde_json::from_value(document["vectors"].take()).expect("a list");
    assert!(vectors.len() >= 50);
    let shipped = conformance("../python/tiny_dancer/data/edge.safetensors");
    let bytes = std::fs::read(shipped).expect("an artifact");
    decided_as_stated(&vectors, |_| (bytes.clone(), None));
}

fn decided_as_stated(vectors: &[Value], load: impl Fn(&Value) -> (Vec<u8>, Option<Arc<Encoder>>)) {
    for vector in vectors {
        let changes = if vector["changes"].is_null() { String::new() } else { vector["changes"].to_string() };
        let (bytes, encoder) = load(vector);
        let handle = Handle::new(&bytes, encoder, &changes);
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
                "scores" | "quality" | "confidence" | "likeness" => agree(&found[field], expected, true),
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

#[test]
fn watches_ring_as_in_the_vectors() {
    let path = conformance("vectors/drift.json");
    let text = std::fs::read_to_string(path).expect("written by conformance/generate.py");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let tolerance = document["tolerance"]["capital"]["relative"].as_f64().expect("a number");
    let close = |found: f64, expected: &Value, explain: &Value| {
        let expected = expected.as_f64().expect("a number");
        assert!((found - expected).abs() <= tolerance * expected.abs(), "{explain}: {found} for {expected}");
    };
    let mut kinds = [0, 0];
    for vector in document["vectors"].as_array().expect("a list") {
        let (explain, seed) = (&vector["explain"], vector["seed"].as_u64().expect("an integer"));
        if vector["what"] == "shift" {
            kinds[0] += 1;
            let usual = vector["usual"].as_object().map(|found| Usual {
                knots: singles(&found["knots"]),
                counts: numbers(&found["counts"]).collect(),
            });
            let mut state = Shift::new(usual, seed);
            let capital = vector["capital"].as_array().expect("a list");
            for (value, expected) in numbers(&vector["values"]).zip(capital) {
                state.observe(value as f32);
                close(state.capital(), expected, explain);
            }
            let side = match state.side() {
                Side::Neither => "",
                Side::Higher => "higher",
                Side::Lower => "lower",
                Side::Alike => "more alike",
            };
            assert_eq!(vector["side"], side, "{explain}");
            continue;
        }
        kinds[1] += 1;
        let encoder = Some(Arc::clone(shared_encoder()));
        let handle = Handle::new(&artifact(vector), encoder, "").expect("a sound artifact");
        let mut state = handle.router().drift(vector["threshold"].as_f64().expect("a number"), seed);
        for event in vector["events"].as_array().expect("a list") {
            replay(&mut state, event);
        }
        for alarm in state.alarms() {
            let expected = &vector["expect"][alarm.name];
            close(alarm.capital, &expected["capital"], explain);
            assert_eq!(expected["steps"], alarm.steps, "{explain}: {}", alarm.name);
            assert_eq!(expected["since"], json!(alarm.since), "{explain}: {}", alarm.name);
        }
    }
    assert!(kinds[0] >= 8 && kinds[1] >= 8, "{kinds:?}");
}

/// One thing that happens in a stream.
fn replay(state: &mut Drift, event: &Value) {
    let model = || event[1].as_u64().expect("an integer") as usize;
    match event[0].as_str().expect("a name") {
        "decided" => {
            state.decided(event[1].as_f64().map(|value| value as f32), &singles(&event[2]));
        }
        "graded" => state.graded(event[1].as_f64().expect("a number")),
        _ => {
            let quality = event[2].as_f64().expect("a number");
            state.measured(model(), quality, &singles(&event[3]), event[4].as_f64());
        }
    }
}

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
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

/// An artifact of routes as the vectors write it.
fn routes_of(given: &Value) -> Vec<u8> {
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let raw = |name: &str, dtype: &str, shape: &[usize], bytes: Vec<u8>| TensorData {
        name: name.to_owned(),
        dtype: dtype.to_owned(),
        shape: shape.to_vec(),
        bytes,
    };
    let i8s =
        |value: &Value| -> Vec<u8> { numbers(value).map(|value| (value as i8).cast_unsigned()).collect() };
    let f32s = |value: &Value| -> Vec<u8> { singles(value).into_iter().flat_map(f32::to_le_bytes).collect() };
    let (mut owners, mut rows) = (Vec::new(), Vec::new());
    for (route, own) in list(&given["prototypes"]).iter().enumerate() {
        for row in list(own) {
            owners.extend((route as u16).to_le_bytes());
            rows.push(i8s(&row));
        }
    }
    let mut tensors = vec![
        raw("prototypes", "i8", &[rows.len(), rows[0].len()], rows.concat()),
        raw("prototype_routes", "u16", &[rows.len()], owners),
    ];
    if let Some(head) = given.get("head") {
        let outputs = list(&head["bias"]).len();
        let ngrams = head["ngrams"].as_object().expect("an object");
        let mut sorted: Vec<(usize, &Value)> =
            ngrams.iter().map(|(key, each)| (key.parse().expect("an index"), each)).collect();
        sorted.sort_by_key(|(key, _)| *key);
        let (mut present, mut counts, mut of, mut weights) = (vec![0u8; 1 << 15], vec![], vec![], vec![]);
        for (key, each) in sorted {
            let each = each.as_object().expect("an object");
            present[key / 8] |= 1 << (key % 8);
            counts.extend((each.len() as u16).to_le_bytes());
            for (output, weight) in each {
                of.push(output.parse::<u8>().expect("an output"));
                weights.push((weight.as_i64().expect("a weight") as i8).cast_unsigned());
            }
        }
        let embedding: Vec<u8> = list(&head["embedding"]).iter().flat_map(i8s).collect();
        tensors.extend([
            raw("head.bias", "f32", &[outputs], f32s(&head["bias"])),
            raw("head.embedding", "i8", &[outputs, embedding.len() / outputs], embedding),
            raw("head.embedding_scale", "f32", &[outputs], f32s(&head["embedding_scale"])),
            raw("head.ngrams", "u8", &[1 << 15], present),
            raw("head.ngram_counts", "u16", &[counts.len() / 2], counts),
            raw("head.ngram_outputs", "u8", &[of.len()], of),
            raw("head.ngram_weights", "i8", &[weights.len()], weights),
            raw("head.ngram_scale", "f32", &[2], f32s(&head["ngram_scale"])),
        ]);
    }
    if let Some(words) = given.get("words").and_then(Value::as_object) {
        let hashes =
            words.keys().flat_map(|word| word_hash(word.chars()).to_le_bytes().into_iter().take(HASH_BYTES));
        let levels = words.values().map(|level| level.as_u64().expect("a level") as u8);
        tensors.extend([
            raw("spelling.words", "u8", &[words.len(), HASH_BYTES], hashes.collect()),
            raw("spelling.levels", "u8", &[words.len()], levels.collect()),
        ]);
    }
    write(&given["header"].to_string(), tensors).expect("a file")
}

/// Equal, numbers to 1e-5.
fn same(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Number(a), Value::Number(b)) => {
            (a.as_f64().expect("a number") - b.as_f64().expect("a number")).abs() <= 1e-5
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => found == expected,
    }
}

#[test]
fn routes_answer_as_the_vectors_say() {
    let text = std::fs::read_to_string(conformance("vectors/routes.json")).expect("written by generate.py");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let artifacts = document["artifacts"].as_object().expect("an object");
    let engines: Vec<(&String, Routing)> = artifacts
        .iter()
        .map(|(name, given)| {
            let encoder = Some(Arc::clone(sentence_encoder()));
            (name, Routing::new(&routes_of(given), encoder).expect("sound routes"))
        })
        .collect();
    let vectors = document["vectors"].as_array().expect("a list");
    assert!(vectors.len() >= 40);
    for vector in vectors {
        let explain = &vector["explain"];
        let (_, engine) =
            engines.iter().find(|(name, _)| vector["artifact"] == **name).expect("an artifact of this name");
        match engine.decide_json(&vector["request"].to_string(), &vector["options"].to_string()) {
            Ok(answer) => {
                let answer: Value = serde_json::from_str(&answer).expect("JSON");
                let expected = vector["expect"].as_object().unwrap_or_else(|| panic!("{explain}: {answer}"));
                assert_eq!(answer.as_object().expect("an object").len(), expected.len(), "{explain}");
                for (name, value) in expected {
                    assert!(same(&answer[name], value), "{explain}: {name} {} for {value}", answer[name]);
                }
            }
            Err(error) => assert_eq!(format!("{:?}", error.kind), vector["error"], "{explain}: {error}"),
        }
    }
}
