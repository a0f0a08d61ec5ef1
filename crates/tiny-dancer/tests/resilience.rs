//! A breaker, reload and the levels below the learned policy: the shared vectors, and what happens when things break.

mod support;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use support::shared_encoder;
use tiny_dancer::candidates::{CandidateDoor, CandidateScorer, Precision};
use tiny_dancer::resilience::{Breaker, BreakerOptions, Category, Guarded, Level, State, Token};
use tiny_dancer::{Error, ErrorKind, Handle, Result};

fn conformance() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance")
}

fn vectors(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(conformance().join("vectors").join(name)).expect("a file");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    document["vectors"].as_array().expect("a list").clone()
}

fn handle(artifact: &str, changes: &str) -> Result<Handle> {
    let bytes =
        std::fs::read(conformance().join(format!("artifacts/{artifact}.safetensors"))).expect("a file");
    Handle::new(&bytes, Some(shared_encoder().clone()), changes)
}

fn category(name: &Value) -> Category {
    let all = [Category::BadInput, Category::Engine, Category::Artifact];
    *all.iter().find(|known| Some(known.as_str()) == name.as_str()).expect("a category")
}

#[test]
fn a_breaker_stands_as_the_vectors_say_after_every_step() {
    let vectors = vectors("breaker.json");
    assert!(vectors.len() >= 30);
    for vector in vectors {
        let explain = &vector["explain"];
        let options = BreakerOptions::from_json(&vector["options"].to_string()).expect("sound options");
        let breaker = Breaker::new(options, 0.0).expect("sound options");
        let mut calls: Vec<Option<Token>> = Vec::new();
        let mut status = Value::Null;
        for (number, step) in vector["steps"].as_array().expect("a list").iter().enumerate() {
            let now = step["at"].as_f64().expect("a time");
            let call = step["call"].as_u64().expect("a number") as usize;
            match step["do"].as_str().expect("a word") {
                "admit" => {
                    assert_eq!(call, calls.len());
                    calls.push(breaker.admit(now));
                    let admitted = calls[call].is_some();
                    assert_eq!(Some(admitted), step["admitted"].as_bool(), "{explain}, step {number}");
                }
                "succeed" => breaker.succeed(calls[call].expect("admitted"), now),
                "cancel" => breaker.cancel(calls[call].expect("admitted")),
                _ => breaker.fail(calls[call].expect("admitted"), category(&step["category"]), now),
            }
            if !step["status"].is_null() {
                status = step["status"].clone();
            }
            let found = json!(breaker.status(now));
            // Between steps only what is left of a wait changes, and the vectors say it where it does.
            assert_eq!(found, status, "{explain}, step {number}: {step}");
        }
    }
}

#[test]
fn what_no_breaker_can_be_made_of_is_refused_by_name() {
    let refused = [
        (r#"{"threshold": 0}"#, "threshold"),
        (r#"{"probes": 0}"#, "probes"),
        (r#"{"minimum_calls": 0}"#, "minimum_calls"),
        (r#"{"window": 0}"#, "window"),
        (r#"{"cooldown": -1}"#, "cooldown"),
        (r#"{"longest_cooldown": 5}"#, "longest_cooldown"),
        (r#"{"probe_timeout": 0}"#, "probe_timeout"),
        (r#"{"failure_rate": 1.5}"#, "failure_rate"),
        (r#"{"jitter": 2}"#, "jitter"),
        (r#"{"treshold": 5}"#, "breaker"),
        (r#"{"threshold": 2.5}"#, "breaker"),
        ("[]", "breaker"),
    ];
    for (options, field) in refused {
        let error = BreakerOptions::from_json(options).expect_err(options);
        assert_eq!((error.kind, &*error.field), (ErrorKind::OptionInvalid, field), "{options}");
    }
    let endless = BreakerOptions { window: f64::NAN, ..BreakerOptions::default() };
    assert_eq!(Breaker::new(endless, 0.0).expect_err("no number").field, "window");
    // A clock that is none stands still, and harms nothing.
    let breaker = Breaker::new(BreakerOptions::default(), f64::NAN).expect("sound options");
    for _ in 0..5 {
        let token = breaker.admit(f64::INFINITY).expect("closed");
        breaker.fail(token, Category::Engine, f64::NAN);
    }
    assert_eq!(breaker.status(f64::NAN).state, State::Open);
    assert!(breaker.admit(f64::INFINITY).is_none(), "infinity is no time at which to try again");
}

/// JSON out of a vector: its text, a value, or nothing.
fn given(vector: &Value, name: &str) -> String {
    let text = &vector[format!("{name}_text")];
    if !text.is_null() {
        return expanded(text).as_str().expect("text").to_owned();
    }
    if vector[name].is_null() { String::from("{}") } else { expanded(&vector[name]).to_string() }
}

/// `$text` stands for a string too long to write out.
fn expanded(value: &Value) -> Value {
    match value {
        Value::Object(fields) if fields.len() == 1 && fields.contains_key("$text") => {
            let parts = fields["$text"].as_array().expect("parts").iter().map(|part| match part {
                Value::Array(part) => {
                    part[0].as_str().expect("text").repeat(part[1].as_u64().expect("how often") as usize)
                }
                part => part.as_str().expect("text").to_owned(),
            });
            Value::String(parts.collect())
        }
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), expanded(value))).collect(),
        Value::Array(values) => values.iter().map(expanded).collect(),
        value => value.clone(),
    }
}

/// Decides below the learned policy, as for real: with a policy that panics in place of it.
fn in_an_outage(guarded: &Guarded<Handle>, request: &str, options: &str) -> Result<String> {
    guarded.decide_json_by(request, options, 0.0, |_| panic!("down"))
}

#[test]
fn during_an_outage_the_answer_is_that_of_the_vectors() {
    let vectors = vectors("outage.json");
    assert!(vectors.len() >= 100);
    let unknown = ["quality", "cost", "confidence", "likeness", "guarantee"];
    for vector in vectors {
        let (explain, expect) = (&vector["explain"], &vector["expect"]);
        let changes = if vector["changes"].is_null() { String::new() } else { vector["changes"].to_string() };
        let (request, options) = (given(&vector, "request"), given(&vector, "options"));
        let answer = handle(vector["artifact"].as_str().expect("a name"), &changes)
            .and_then(|handle| in_an_outage(&Guarded::new(handle, None), &request, &options));
        if let Some(kind) = expect["error"].as_str() {
            let error = answer.expect_err("must be refused");
            assert_eq!(format!("{:?}", error.kind), kind, "{explain}: {error}");
            continue;
        }
        let found: Value = serde_json::from_str(&answer.expect("an answer")).expect("JSON");
        for (name, value) in expect.as_object().expect("an object") {
            assert_eq!(&found[name], value, "{explain}: {name}");
        }
        for name in unknown {
            assert_eq!(found[name], Value::Null, "{explain}: {name}");
        }
        for name in ["scores", "costs", "latencies", "output_tokens"] {
            let values = found[name].as_object().expect("one a model");
            assert!(values.values().all(Value::is_null) && !values.is_empty(), "{explain}: {name}");
        }
        assert_eq!(found["guarantee_note"], "decided by a fallback level");
    }
}

#[test]
fn an_answer_below_has_the_keys_of_a_learned_one_and_two_more() {
    let guarded = Guarded::new(handle("pair", "").expect("sound"), None);
    let learned = guarded.decide_json("\"Why?\"", "", 0.0).expect("an answer");
    assert_eq!(learned, guarded.serving().decide_json("\"Why?\"", "").expect("an answer"), "byte for byte");
    let below = in_an_outage(&guarded, "\"Why?\"", "").expect("an answer");
    let keys = |json: &str| -> Vec<String> {
        let value: Value = serde_json::from_str(json).expect("JSON");
        value.as_object().expect("an object").keys().cloned().collect()
    };
    let mut expected = keys(&learned);
    expected.extend(["level".to_owned(), "level_reason".to_owned()]);
    expected.sort();
    assert_eq!(keys(&below), expected);
}

#[test]
fn the_breaker_opens_asks_again_and_closes_while_every_request_is_answered() {
    let options = BreakerOptions { jitter: 0.0, ..BreakerOptions::default() };
    let guarded =
        Guarded::new(handle("pair", "").expect("sound"), Some(Breaker::new(options, 0.0).expect("sound")));
    let level = |answer: Result<String>| -> Value {
        serde_json::from_str::<Value>(&answer.expect("an answer")).expect("JSON")["level"].clone()
    };
    // The caller's errors are none of the engine's, however many there are.
    for _ in 0..50 {
        let error = guarded.decide_json("{}", "", 0.0).expect_err("nothing to route");
        assert_eq!(error.kind, ErrorKind::RequestInvalid);
    }
    for _ in 0..5 {
        assert_eq!(level(in_an_outage(&guarded, "\"Why?\"", "")), 2);
    }
    let status: Value = serde_json::from_str(&guarded.status_json(0.0)).expect("JSON");
    assert_eq!(status["breaker"]["state"], "open");
    assert_eq!(status["breaker"]["failures"], json!({ "engine": 5 }));
    assert_eq!(status["answered"], json!({ "learned": 0, "heuristic": 5, "default": 0 }));
    // Open: the learned policy is not asked; what the caller asks for holds, and what it does wrong is said.
    let asked = AtomicBool::new(false);
    let answer = guarded.decide_json_by("\"Why?\"", r#"{"exclude": ["weak"]}"#, 9.0, |_| {
        asked.store(true, Ordering::Relaxed);
        Ok(String::new())
    });
    let answer: Value = serde_json::from_str(&answer.expect("an answer")).expect("JSON");
    assert!(!asked.load(Ordering::Relaxed));
    assert_eq!((&answer["model"], &answer["level"]), (&json!("strong"), &json!(3)));
    assert_eq!(answer["level_reason"], "circuit open; the default model");
    assert_eq!(answer["removed"], json!({ "weak": "exclude" }));
    let error = guarded.decide_json("\"Why?\"", r#"{"exclude": ["weak", "strong"]}"#, 9.0);
    assert_eq!(error.expect_err("none is left").kind, ErrorKind::NoFeasibleModel);
    // Half-open: one good probe brings it back, without a call of anybody's.
    assert_eq!(level(guarded.decide_json("\"Why?\"", "", 10.0)), Value::Null);
    assert_eq!(guarded.status(10.0).breaker.expect("one").state, State::Closed);
}

#[test]
fn a_damaged_artifact_leaves_the_old_one_serving_and_a_sound_one_replaces_it() {
    let guarded = Guarded::new(handle("pair", "").expect("sound"), None);
    let under_way = guarded.serving();
    let mut damaged = std::fs::read(conformance().join("artifacts/five.safetensors")).expect("a file");
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let error =
        guarded.reload(Handle::new(&damaged, Some(shared_encoder().clone()), "")).expect_err("damaged");
    assert_eq!(error.kind, ErrorKind::ArtifactChecksum);
    let status: Value = serde_json::from_str(&guarded.status_json(0.0)).expect("JSON");
    assert_eq!(status["reload_error"]["code"], "ArtifactChecksum");
    assert_eq!(status["reload_error"]["remedy"], error.remedy);
    assert!(guarded.decide_json("\"Why?\"", "", 0.0).expect("serves").contains("strong"));

    guarded.reload(handle("five", "")).expect("sound");
    assert!(guarded.status(0.0).reload_error.is_none());
    assert!(guarded.decide_json("\"Why?\"", "", 0.0).expect("serves").contains("anchor"));
    assert!(under_way.decide_json("\"Why?\"", "").expect("a call under way finishes").contains("strong"));
}

#[test]
fn calls_and_reloads_from_many_threads_are_each_of_one_version() {
    let guarded = Guarded::new(
        handle("pair", "").expect("sound"),
        Some(Breaker::new(BreakerOptions::default(), 0.0).expect("sound")),
    );
    let pair = guarded.serving().decide_json("\"Why?\"", "").expect("an answer");
    let five = handle("five", "").expect("sound").decide_json("\"Why?\"", "").expect("an answer");
    let reloads = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let asking = [0; 4].map(|_| {
            scope.spawn(|| {
                let mut seen = 0;
                while reloads.load(Ordering::Relaxed) || seen == 0 {
                    let answer = guarded.decide_json("\"Why?\"", "", 1.0).expect("an answer");
                    assert!(answer == pair || answer == five, "{answer}");
                    seen += 1;
                }
                seen
            })
        });
        for turn in 0..10 {
            guarded.reload(handle(if turn % 2 == 0 { "five" } else { "pair" }, "")).expect("sound");
        }
        reloads.store(false, Ordering::Relaxed);
        let seen: u64 = asking.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        assert_eq!(guarded.status(1.0).answered.learned, seen);
    });
}

#[test]
fn errors_of_the_artifact_count_and_those_of_a_level_below_are_given() {
    let breaker =
        Breaker::new(BreakerOptions { threshold: 1, ..BreakerOptions::default() }, 0.0).expect("sound");
    let guarded = Guarded::new((), Some(breaker));
    let missing = || Error::new(ErrorKind::EncoderMissing, "encoder", "none", "load it");
    let answer = guarded.ask(0.0, |()| Err(missing()), |(), why| Ok((Level::Default, why)));
    assert_eq!(answer.expect("an answer"), "artifact failure (encoder: none; load it)");
    let answer = guarded.ask(0.0, |()| Ok(String::new()), |(), _| Err(missing()));
    assert_eq!(answer.expect_err("nothing below"), missing());
    assert_eq!(guarded.status(0.0).answered.default, 1);
}

const CANDIDATES: &str = r#"[{"id": "tea", "text": "Anna likes tea.", "metadata": {"user": "anna"}},
    {"id": "train", "text": "The train leaves at nine.", "metadata": {"user": "ben"}},
    {"id": "bus", "text": "The bus leaves at ten.", "metadata": {"user": "anna"}, "expires_at": 5}]"#;

#[test]
fn candidates_that_no_scorer_can_rank_come_as_given_and_a_filter_holds() {
    let mut door = CandidateDoor::new(Precision::Full, None);
    door.add(CANDIDATES).expect("sound");
    let guarded = Guarded::new(CandidateScorer::default(), None);
    let query = r#"{"text": "When does it leave?", "now": 4}"#;
    let learned = door.rank_guarded(&guarded, query, None, true, 0.0).expect("an answer");
    assert_eq!(learned, door.rank(&CandidateScorer::default(), query).expect("an answer"), "byte for byte");

    let mut in_an_outage = |query: &str| -> Result<Value> {
        let answer = door.rank_guarded_by(&guarded, query, None, true, 0.0, |_, _| panic!("down"))?;
        Ok(serde_json::from_str(&answer).expect("JSON"))
    };
    let ids = |answer: &Value| -> Vec<String> {
        let decisions = answer["decisions"].as_array().expect("a list").iter();
        decisions.map(|each| each["candidate_id"].as_str().expect("an id").to_owned()).collect()
    };
    let answer = in_an_outage(query).expect("an answer");
    assert_eq!(ids(&answer), ["tea", "train", "bus"]);
    assert_eq!(answer["level"], 3);
    assert_eq!(
        answer["level_reason"],
        "engine failure (it panicked: down); candidates as given, for a strong model"
    );
    assert_eq!((&answer["calibrated"], &answer["prediction_set_size"]), (&json!(false), &Value::Null));
    for decision in answer["decisions"].as_array().expect("a list") {
        assert_eq!(decision["use_lightweight"], false);
        assert_eq!(decision["confidence"], 0.0);
        assert_eq!(decision["uncertainty"], 1.0);
    }
    let answer = in_an_outage(r#"{"text": "x", "where": {"user": "anna"}, "now": 4}"#).expect("an answer");
    assert_eq!(ids(&answer), ["tea", "bus"], "a filter holds on every level");
    let answer = in_an_outage(r#"{"text": "x", "where": {"user": "anna"}, "now": 6}"#).expect("an answer");
    assert_eq!(ids(&answer), ["tea"], "what has expired is not given");
    assert_eq!(ids(&in_an_outage(r#"{"text": "x", "k": 1}"#).expect("an answer")), ["tea"]);
    let error = in_an_outage(r#"{"text": "x", "where": {"$nearly": 1}}"#).expect_err("no filter");
    assert_eq!(error.kind, ErrorKind::CandidateInvalid, "what is no filter lets nothing through");
}
