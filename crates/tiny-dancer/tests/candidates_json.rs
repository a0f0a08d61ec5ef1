//! Candidates, queries and answers as JSON: what a binding forwards.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use tiny_dancer::candidates::{
    Candidate, CandidateDoor, CandidateScorer, CandidateSet, FEATURE_NAMES, Metadata, Precision, Query,
    RankOptions, RankScratch, Value as Property,
};
use tiny_dancer::encoder::{DIM, Encoder, WordCache, pool};
use tiny_dancer::{Error, ErrorKind};

fn door(candidates: &Value) -> CandidateDoor {
    let mut door = CandidateDoor::new(Precision::Full, None);
    door.add(&candidates.to_string()).expect("sound candidates");
    door
}

fn ranked(door: &mut CandidateDoor, query: &Value) -> Value {
    let answer = door.rank(&CandidateScorer::default(), &query.to_string()).expect("a sound query");
    serde_json::from_str(&answer).expect("JSON")
}

fn ids(door: &mut CandidateDoor, query: &Value) -> Vec<String> {
    let answer = ranked(door, query);
    let decisions = answer["decisions"].as_array().expect("a list");
    decisions.iter().map(|each| each["candidate_id"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn the_answer_is_that_of_the_same_candidates_given_one_by_one() {
    let described = json!([
        {"id": "a", "text": "green tea", "embedding": [1, 0.5], "created_at": "2023-05-08T13:56:00Z", "group": "g",
         "metadata": {"kind": "drink", "year": 2023.0, "hot": true, "tags": ["x", 1e21], "none": null}},
        {"id": "b", "text": "black coffee?", "embedding": [0.25, -1], "created_at": 1_683_554_160_000_i64,
         "access_count": 3, "success_rate": 0.5, "trials": 2, "confidence": 0.75, "group": "g"},
        {"id": "c", "text": null},
    ]);
    let asked = json!({"text": "tea?", "embedding": [1.0, 0.25], "metadata": {"year": "2023", "tags": [1, "x"]},
                       "now": "2023-05-09", "k": 2, "diversity": 0.25});
    let answer = ranked(&mut door(&described), &asked);

    let mut metadata = Metadata::default();
    for (key, value) in [
        ("kind", Property::Text("drink")),
        ("year", Property::Number(2023.0)),
        ("hot", Property::Boolean(true)),
        ("tags", Property::Text("x")),
        ("tags", Property::Number(1e21)),
    ] {
        metadata.key(key);
        metadata.value(value).expect("a value");
    }
    let pairs = metadata.pairs();
    let made = Some(1_683_554_160.0);
    let candidates = [
        Candidate {
            id: "a",
            text: Some("green tea"),
            created_at: made,
            metadata: &pairs,
            group: Some("g"),
            ..Candidate::default()
        },
        Candidate {
            id: "b",
            text: Some("black coffee?"),
            created_at: made,
            access_count: Some(3.0),
            success_rate: Some(0.5),
            trials: Some(2.0),
            confidence: Some(0.75),
            group: Some("g"),
            ..Candidate::default()
        },
        Candidate { id: "c", ..Candidate::default() },
    ];
    let mut set = CandidateSet::new(Some(2), Precision::Full).expect("dimensions");
    set.append(&candidates, &[1.0, 0.5, 0.25, -1.0, 0.0, 0.0]).expect("sound candidates");
    set.refresh();
    let query = Query {
        text: Some("tea?"),
        embedding: Some(&[1.0, 0.25]),
        metadata: &[("year", "2023"), ("tags", "1"), ("tags", "x")],
        now: Some(1_683_590_400.0),
    };
    let mut scratch = RankScratch::default();
    let options = RankOptions { k: 2, diversity: 0.25, ..RankOptions::default() };
    CandidateScorer::default().rank(&set, &query, &options, &mut scratch).expect("a sound query");
    // A single is written with the digits that tell it from all others.
    let single = |value: &Value| (value.as_f64().expect("a number") as f32).to_bits();
    let found = answer["decisions"].as_array().expect("a list");
    assert_eq!(found.len(), scratch.ranked.len());
    for (found, expected) in found.iter().zip(&scratch.ranked) {
        assert_eq!(found["candidate_id"], *set.ids()[expected.row as usize]);
        assert_eq!(found["use_lightweight"], expected.use_lightweight);
        assert_eq!(found["in_prediction_set"], expected.in_prediction_set);
        for (name, value) in [
            ("score", expected.score),
            ("confidence", expected.confidence),
            ("uncertainty", expected.uncertainty),
        ] {
            assert_eq!(single(&found[name]), value.to_bits(), "{name}: {found}");
        }
        for (name, value) in FEATURE_NAMES.iter().zip(expected.features) {
            assert_eq!(single(&found["features"][name]), value.to_bits(), "{name}: {found}");
        }
    }
    assert_eq!((&answer["errors"], &answer["calibrated"]), (&json!([]), &json!(false)));
    assert_eq!(answer["prediction_set_size"], Value::Null);
}

#[test]
fn values_of_metadata_are_one_whoever_wrote_them() {
    let mut door = door(&json!([
        {"id": "text", "metadata": {"v": "1"}},
        {"id": "whole", "metadata": {"v": 1}},
        {"id": "double", "metadata": {"v": 1.0}},
        {"id": "true", "metadata": {"v": true}},
        {"id": "zero", "metadata": {"v": -0.0}},
        {"id": "list", "metadata": {"v": [null, 7, "1"]}},
        {"id": "null", "metadata": {"v": null}},
        {"id": "bare"},
    ]));
    for (wanted, expected) in [
        (json!({"v": 1}), vec!["double", "list", "text", "whole"]),
        (json!({"v": 1.0}), vec!["double", "list", "text", "whole"]),
        (json!({"v": "1"}), vec!["double", "list", "text", "whole"]),
        (json!({"v": true}), vec!["true"]),
        (json!({"v": "true"}), vec!["true"]),
        (json!({"v": 0}), vec!["zero"]),
        (json!({"v": [true, 7]}), vec!["list", "true"]),
        // Nothing that filters lets everything pass.
        (json!({"v": null}), vec![]),
        (json!({"v": []}), vec![]),
        (json!({"v": [null]}), vec![]),
        (json!({"w": 1}), vec![]),
        (json!({"v": 1, "w": []}), vec![]),
    ] {
        assert_eq!(ids(&mut door, &json!({"where": wanted, "k": 100})), expected, "{wanted}");
    }
    assert_eq!(ids(&mut door, &json!({"where": {}, "k": 100})).len(), 8);
}

#[test]
fn whole_numbers_of_any_size_stay_apart() {
    let mut door = CandidateDoor::new(Precision::Full, None);
    door.add(r#"[{"id": "a", "metadata": {"n": 9007199254740992}}, {"id": "b", "metadata": {"n": 9007199254740993}}]"#)
        .expect("sound candidates");
    let answer =
        door.rank(&CandidateScorer::default(), r#"{"where": {"n": 9007199254740993}}"#).expect("an answer");
    assert!(
        answer.contains(r#""candidate_id":"b""#) && !answer.contains(r#""candidate_id":"a""#),
        "{answer}"
    );
}

#[test]
fn embeddings_beside_the_json_are_those_in_it() {
    let rows = [1.0, 0.5, 0.25, -1.0, 0.0, 0.125];
    let with = json!([
        {"id": "a", "text": "tea", "embedding": rows[..2]},
        {"id": "b", "embedding": rows[2..4]},
        {"id": "c", "embedding": rows[4..]},
    ]);
    let without = r#"[{"id": "a", "text": "tea"}, {"id": "b"}, {"id": "c"}]"#;
    let mut inside = door(&with);
    let mut beside = CandidateDoor::new(Precision::Full, None);
    beside.add_with(without, Some(&rows)).expect("three rows");
    let scorer = CandidateScorer::default();
    let whole = inside.rank(&scorer, r#"{"text": "tea", "embedding": [1, 2]}"#).expect("an answer");
    let query = r#"{"text": "tea"}"#;
    assert_eq!(beside.rank_with(&scorer, query, Some(&[1.0, 2.0]), true), Ok(whole.clone()));

    let short = beside.rank_with(&scorer, query, Some(&[1.0, 2.0]), false).expect("an answer");
    let mut whole: Value = serde_json::from_str(&whole).expect("JSON");
    for each in whole["decisions"].as_array_mut().expect("a list") {
        each.as_object_mut().expect("an object").remove("features").expect("features");
    }
    assert_eq!(serde_json::from_str::<Value>(&short).expect("JSON"), whole);

    let twice = beside.rank_with(&scorer, r#"{"embedding": [1, 2]}"#, Some(&[1.0, 2.0]), true);
    assert_eq!(twice.expect_err("given twice").field, "query.embedding");
    let field = |json: &str, rows: &[f32], door: &mut CandidateDoor| {
        let error = door.add_with(json, Some(rows)).expect_err(json);
        assert_eq!(error.kind, ErrorKind::CandidateInvalid);
        error.field
    };
    assert_eq!(field("[]", &rows, &mut beside), "embeddings");
    assert_eq!(field(r#"[{"id": "d"}]"#, &[], &mut beside), "embeddings");
    assert_eq!(field(r#"[{"id": "d"}]"#, &rows, &mut beside), "embeddings");
    assert_eq!(field(r#"[{"id": "d"}, {"id": "e"}]"#, &rows[..3], &mut beside), "embeddings");
    assert_eq!(
        field(r#"[{"id": "d", "embedding": [1, 2]}]"#, &rows[..2], &mut beside),
        "candidates[0].embedding"
    );
    let mut bare = door(&json!([{"id": "a", "text": "tea"}]));
    assert_eq!(field(r#"[{"id": "d"}]"#, &rows, &mut bare), "embeddings");
    assert_eq!(beside.set().map(CandidateSet::len), Some(3));
}

fn refusal(candidates: &str) -> Error {
    let mut door = CandidateDoor::new(Precision::Full, None);
    door.add(r#"[{"id": "known", "embedding": [1, 2]}]"#).expect("a sound candidate");
    let error = door.add(candidates).expect_err(candidates);
    assert_eq!(door.set().map(CandidateSet::len), Some(1), "{candidates}: something was added");
    error
}

#[test]
fn what_is_no_candidate_is_refused_by_name() {
    for (candidates, field) in [
        ("", "candidates"),
        ("{}", "candidates"),
        ("[{\"id\": \"a\"},]", "candidates"),
        ("[] []", "candidates"),
        ("[1]", "candidates[0]"),
        (r#"[{"id": "a"}, {"id": 5}]"#, "candidates[1].id"),
        (r#"[{"text": "no id"}]"#, "candidates[0].id"),
        (r#"[{"id": "known"}]"#, "candidates[0].id"),
        (r#"[{"id": "a", "id": "b"}]"#, "candidates[0].id"),
        (r#"[{"id": "a", "colour": "red"}]"#, "candidates[0]"),
        (r#"[{"id": "a", "text": ["x"]}]"#, "candidates[0].text"),
        (r#"[{"id": "a", "created_at": "yesterday"}]"#, "candidates[0].created_at"),
        (r#"[{"id": "a", "created_at": true}]"#, "candidates[0].created_at"),
        (r#"[{"id": "a", "created_at": 1e999}]"#, "candidates[0].created_at"),
        (r#"[{"id": "a", "access_count": -1}]"#, "candidates[0].access_count"),
        (r#"[{"id": "a", "success_rate": "1"}]"#, "candidates[0].success_rate"),
        (r#"[{"id": "a", "embedding": []}]"#, "candidates[0].embedding"),
        (r#"[{"id": "a", "embedding": [1]}]"#, "candidates[0].embedding"),
        (r#"[{"id": "a", "embedding": [1, null]}]"#, "candidates[0].embedding"),
        (r#"[{"id": "a", "metadata": []}]"#, "candidates[0].metadata"),
        (r#"[{"id": "a", "metadata": {"k": {"l": 1e999}}}]"#, "candidates[0].metadata.k.l"),
        (r#"[{"id": "a", "metadata": {"k": [{"l": 1, "l": 2}]}}]"#, "candidates[0].metadata.k.l"),
        (r#"[{"id": "a", "namespace": "x"}]"#, "candidates[0].namespace"),
        (r#"[{"id": "a", "namespace": ["x", 1]}]"#, "candidates[0].namespace"),
        (r#"[{"id": "a", "metadata": {"k": 1e999}}]"#, "candidates[0].metadata.k"),
        (r#"[{"id": "a", "metadata": {"k": 1, "l": 2, "k": 3}}]"#, "candidates[0].metadata.k"),
        (r#"[{"id": "a", "group": 1}]"#, "candidates[0].group"),
    ] {
        let error = refusal(candidates);
        assert_eq!(
            (error.kind, &*error.field),
            (ErrorKind::CandidateInvalid, field),
            "{candidates}: {error}"
        );
        assert!(!error.remedy.is_empty());
    }
    let mistyped = refusal(r#"[{"id": "a", "createdAt": 5}]"#);
    assert!(mistyped.remedy.starts_with("did you mean created_at?"), "{mistyped}");
    let wide = format!(r#"[{{"id": "a", "embedding": [{}]}}]"#, vec!["1"; 16_385].join(","));
    assert_eq!(refusal(&wide).field, "candidates[0].embedding");
}

#[test]
fn what_is_no_query_is_refused_by_name() {
    use ErrorKind::{CandidateInvalid, OptionInvalid};
    let mut door = door(&json!([{"id": "a", "text": "tea"}]));
    for (query, kind, field) in [
        ("[]", CandidateInvalid, "query"),
        ("{", CandidateInvalid, "query"),
        (r#"{"texts": "x"}"#, CandidateInvalid, "query"),
        (r#"{"text": 5}"#, CandidateInvalid, "query.text"),
        (r#"{"now": "soon"}"#, CandidateInvalid, "query.now"),
        (r#"{"where": {"k": {}}}"#, CandidateInvalid, "query.where.k"),
        (r#"{"where": "k"}"#, CandidateInvalid, "query.where"),
        (r#"{"metadata": {"k": -1e999}}"#, CandidateInvalid, "query.metadata.k"),
        (r#"{"k": 0}"#, OptionInvalid, "k"),
        (r#"{"k": 1.5}"#, OptionInvalid, "k"),
        (r#"{"k": 100001}"#, OptionInvalid, "k"),
        (r#"{"k": "5"}"#, OptionInvalid, "k"),
        (r#"{"diversity": 2}"#, OptionInvalid, "diversity"),
        (r#"{"diversity": 0.5}"#, OptionInvalid, "diversity"),
        (r#"{"max_uncertainty": -0.1}"#, OptionInvalid, "max_uncertainty"),
        (r#"{"confidence_threshold": true}"#, OptionInvalid, "confidence_threshold"),
    ] {
        let error = door.rank(&CandidateScorer::default(), query).expect_err(query);
        assert_eq!((error.kind, &*error.field), (kind, field), "{query}: {error}");
    }
    let error = door.rank(&CandidateScorer::default(), r#"{"embedding": [1]}"#).expect_err("no embeddings");
    assert_eq!(error.kind, CandidateInvalid);
}

#[test]
fn an_embedding_that_is_not_finite_takes_no_part_and_is_named() {
    // 1e39 is a double, and no single.
    let mut door = door(&json!([{"id": "bad", "embedding": [1e39, 1]}, {"id": "good", "embedding": [1, 1]}]));
    let answer = ranked(&mut door, &json!({"embedding": [1, 1]}));
    assert_eq!(answer["decisions"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer["errors"][0]["candidate_id"], "bad");
}

#[test]
fn no_candidates_no_decisions() {
    let mut empty = CandidateDoor::new(Precision::Full, None);
    assert_eq!(ids(&mut empty, &json!({"text": "anything"})), Vec::<String>::new());
    empty.add("[]").expect("none is sound");
    assert!(empty.set().is_none());
}

#[test]
fn texts_without_embeddings_are_encoded_where_there_is_an_encoder() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../python/tiny_dancer/data/encoder.safetensors");
    let encoder = Arc::new(Encoder::from_bytes(&std::fs::read(path).expect("shipped")).expect("sound"));
    let mut door = CandidateDoor::new(Precision::Full, Some(Arc::clone(&encoder)));
    door.add(
        r#"[{"id": "tea", "text": "green tea"}, {"id": "bus", "text": "the bus to town"}, {"id": "silent"}]"#,
    )
    .expect("sound candidates");
    door.add(r#"[{"id": "cup", "text": "a cup of coffee"}]"#).expect("another");
    let set = door.set().expect("there are some");
    let embed = |text: &str| {
        let mut sums = [0; DIM];
        let found = encoder.encode(text, &mut WordCache::default(), &mut sums);
        pool(&sums, found.known)
    };
    assert_eq!(set.matrix().map(tiny_dancer::candidates::Matrix::dimensions), Some(DIM));
    let answer = ranked(&mut door, &json!({"text": "a hot drink"}));
    let (drink, tea) = (embed("a hot drink"), embed("green tea"));
    let cosine: f32 = drink.iter().zip(&tea).map(|(a, b)| a * b).sum();
    let of_tea =
        answer["decisions"].as_array().expect("a list").iter().find(|each| each["candidate_id"] == "tea");
    let found = of_tea.expect("ranked")["features"]["cosine"].as_f64().expect("a number") as f32;
    assert!(cosine > 0.05 && (found - cosine).abs() < 1e-5, "{found} {cosine}");
    // An embedding of another origin means nothing among the encoder's.
    let vector = vec![0.5; DIM];
    let error =
        door.add(&json!([{"id": "alien", "embedding": vector}]).to_string()).expect_err("another origin");
    assert_eq!(error.field, "candidates[0].embedding");
    // Without text, there is nothing to encode.
    let mut wordless = CandidateDoor::new(Precision::Full, Some(encoder));
    wordless.add(r#"[{"id": "a"}]"#).expect("sound");
    assert!(wordless.set().expect("one").matrix().is_none());
}

proptest! {
    #[test]
    fn no_text_panics(text in "[\\[\\]{}\":,a-z0-9.\\\\-]{0,60}", odd in any::<String>()) {
        for candidates in [&text, &odd, &format!("[{{\"id\":\"a\",{text}}}]")] {
            let mut door = CandidateDoor::new(Precision::Full, None);
            if door.add(candidates).is_err() {
                prop_assert!(door.set().is_none());
            }
            let _ = door.rank(&CandidateScorer::default(), candidates);
        }
    }
}
