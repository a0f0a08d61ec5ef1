//! Agents: the shared vectors, the total order, members, several agents and cards.

mod support;

use std::sync::Arc;

use serde_json::{Value, json};
use support::sentence_encoder;
use tiny_dancer::ErrorKind;
use tiny_dancer::agents::{
    AgentSet, Cards, Choices, Combined, Named, Query, Removal, SearchScratch, state_after_json,
};

fn document() -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/vectors/agents.json");
    let text = std::fs::read_to_string(path).expect("written by conformance/generate.py");
    serde_json::from_str(&text).expect("JSON")
}

/// Whether found is expected, numbers within the tolerance.
fn agree(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Number(found), Value::Number(expected)) => {
            let (found, expected) = (found.as_f64().expect("a number"), expected.as_f64().expect("a number"));
            (found - expected).abs() <= 1e-8 * expected.abs().max(1e-2)
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(one, other)| agree(one, other))
        }
        (Value::Object(found), Value::Object(expected)) => {
            found.len() == expected.len()
                && expected
                    .iter()
                    .all(|(name, value)| found.get(name).is_some_and(|other| agree(other, value)))
        }
        _ => found == expected,
    }
}

fn kind(error: &tiny_dancer::Error) -> Value {
    json!({ "error": format!("{:?}", error.kind) })
}

#[test]
fn agents_are_chosen_as_the_vectors_say() {
    let document = document();
    let mut seen = (0, 0);
    for vector in document["vectors"].as_array().expect("a list") {
        let half_life = vector["half_life"].as_f64();
        if let Some(outcomes) = vector["outcomes"].as_array() {
            seen.1 += 1;
            let counted = outcomes.iter().try_fold(String::new(), |state, outcome| {
                state_after_json(&state, &outcome.to_string(), half_life)
            });
            let found = match counted {
                Ok(state) => serde_json::from_str(&state).expect("JSON"),
                Err(error) => kind(&error),
            };
            assert!(agree(&found, &vector["state"]), "{}: {found}", vector["explain"]);
            continue;
        }
        seen.0 += 1;
        let mut set = AgentSet::new(half_life).expect("a half-life");
        set.put_json(&vector["agents"].to_string()).expect("agents");
        let mut choices = Choices::default();
        let found = match set.choose_json(&vector["query"].to_string(), &mut choices) {
            Ok(answer) => {
                let mut answer: Value = serde_json::from_str(&answer).expect("JSON");
                let reason = answer.as_object_mut().expect("an object").remove("reason");
                assert!(
                    reason.is_some_and(|reason| reason.as_str().is_some_and(|text| text.contains("removed")))
                );
                answer
            }
            Err(error) => kind(&error),
        };
        assert!(agree(&found, &vector["expect"]), "{}: {found} for {}", vector["explain"], vector["expect"]);
    }
    assert!(seen.0 >= 40 && seen.1 >= 10, "{seen:?}");
}

fn set(agents: &Value) -> AgentSet {
    let mut set = AgentSet::new(None).expect("none");
    set.put_json(&agents.to_string()).expect("agents");
    set
}

#[test]
fn what_is_no_agent_or_query_is_refused_by_name() {
    let mut empty = AgentSet::new(None).expect("none");
    assert!(AgentSet::new(Some(0.0)).is_err());
    for (agent, field) in [
        (json!({"name": " "}), "name"),
        (json!({"name": "a", "quality": 1.5}), "quality of agent 'a'"),
        (json!({"name": "a", "latency": 0.0}), "latency of agent 'a'"),
        (json!({"name": "a", "prices": {"price_request": -1.0}}), "prices of agent 'a'"),
        (json!({"name": "a", "prior_weight": 0.0}), "prior_weight of agent 'a'"),
        (json!({"name": "a", "type": "ensemble"}), "members of agent 'a'"),
        (json!({"name": "a", "unknown": 1}), "agents"),
        (
            json!({"name": "a", "state": {"quality": {"weight": -1.0, "sum": 0.0, "squares": 0.0}}}),
            "state.quality",
        ),
    ] {
        let error = empty.put_json(&agent.to_string()).expect_err(field);
        assert_eq!((error.kind, error.field.as_str()), (ErrorKind::CandidateInvalid, field));
    }
    assert!(empty.is_empty());
    let set = set(&json!([{"name": "a", "capabilities": ["code"]}]));
    let mut choices = Choices::default();
    for query in ["{", r#"{"unknown": 1}"#, r#"{"optimize_for": "cheap"}"#, r#"{"qualities": {"b": 1}}"#] {
        let error = set.choose_json(query, &mut choices).expect_err(query);
        assert_eq!(error.kind, ErrorKind::OptionInvalid, "{query}");
    }
}

#[test]
fn a_removed_agent_leaves_its_row_to_the_last() {
    let mut set = set(&json!([{"name": "a"}, {"name": "b", "quality": 0.4}, {"name": "c", "quality": 0.9}]));
    set.remove("a").expect("it is there");
    assert!(set.remove("a").is_err());
    assert_eq!((set.len(), set.row("c"), set.row("b"), set.row("a")), (2, Some(0), Some(1), None));
    let mut choices = Choices::default();
    let query = Query { policy: Named::Quality, ..Query::default() };
    let choice = set.choose(&query, &mut choices).expect("a choice");
    assert_eq!(set.name(choice.agent), "c");
    let excluded = Query { excluded: &["c"], ..query };
    let choice = set.choose(&excluded, &mut choices).expect("a choice");
    assert_eq!((set.name(choice.agent), choice.confidence.to_bits()), ("b", 1.0_f64.to_bits()));
    assert_eq!(choices.removed, [Some(Removal::Excluded), None]);
}

#[test]
fn ensembles_that_ask_themselves_are_refused() {
    let circle = set(&json!([
        {"name": "a", "type": "ensemble", "members": ["b"]},
        {"name": "b", "type": "ensemble", "members": ["a"]},
    ]));
    assert_eq!(circle.check_members().expect_err("a circle").value, "a asks b asks a");
    let unknown = set(&json!([{"name": "a", "type": "ensemble", "members": ["x"]}]));
    assert!(unknown.check_members().is_err());
    let sound = set(&json!([{"name": "a", "type": "ensemble", "members": ["b"]}, {"name": "b"}]));
    sound.check_members().expect("no circle");
}

#[test]
fn a_vote_is_right_as_often_as_the_binomial_says_and_judges_find_what_is_right() {
    let set = set(&json!([
        {"name": "a", "quality": 0.7, "prior_weight": 100.0},
        {"name": "b", "quality": 0.7, "prior_weight": 100.0},
        {"name": "c", "quality": 0.7, "prior_weight": 100.0},
    ]));
    let mut choices = Choices::default();
    let query = Query { policy: Named::Quality, ..Query::default() };
    let plan = set.ensemble(&query, 3, Combined::Vote, &[], &mut choices).expect("three");
    assert!((plan.quality - 0.784).abs() < 0.02, "{}", plan.quality);
    let same = [1.0; 9];
    let plan = set.ensemble(&query, 3, Combined::Judge, &[], &mut choices).expect("three");
    assert!((plan.quality - 0.973).abs() < 1e-9, "{}", plan.quality);
    let plan = set.ensemble(&query, 3, Combined::Judge, &same, &mut choices).expect("three");
    assert!((plan.quality - 0.7).abs() < 1e-9, "{}", plan.quality);
}

#[test]
fn cards_are_found_by_their_examples() {
    let cards = json!([
        {"name": "desk", "description": "Invoices", "examples": ["I was billed twice", "I want my money back"]},
        {"name": "sky", "description": "Forecasts of the weather", "capabilities": ["weather"]},
        {"name": "bare"},
    ]);
    let cards = Cards::from_json(Arc::clone(sentence_encoder()), &cards.to_string()).expect("cards");
    let mut scratch = SearchScratch::default();
    let found = cards.search("please give me back what I paid", 2, &mut scratch).expect("found");
    assert_eq!((found.len(), cards.name(found[0].card)), (2, "desk"));
    let found = cards.search("will it rain? the weather please", 9, &mut scratch).expect("found");
    assert_eq!((found.len(), cards.name(found[0].card)), (3, "sky"));
    assert!(cards.search(" ", 1, &mut scratch).is_err());
    assert!(cards.search("x", 0, &mut scratch).is_err());
    assert!(Cards::from_json(Arc::clone(sentence_encoder()), r#"[{"name":"a"},{"name":"a"}]"#).is_err());
}

#[test]
fn a_card_that_claims_everything_comes_first_for_nothing() {
    let about = [
        ("refunds", "Pays back charges", ["I was billed twice", "I want my money back"]),
        ("weather", "Forecasts of the weather", ["Will it rain tomorrow?", "Do I need a coat today?"]),
        ("trains", "Plans trips by train", ["Next train to Hamburg", "Which platform does it leave from?"]),
        ("recipes", "Suggests what to cook", ["What can I cook with rice?", "A recipe for lentil soup"]),
        ("contracts", "Reviews contracts", ["Is this clause risky?", "Check this agreement"]),
        ("music", "Plays songs", ["Put on some jazz", "Skip this song"]),
    ];
    let mut cards: Vec<Value> = about
        .iter()
        .map(|(name, description, examples)| json!({"name": name, "description": description, "examples": examples}))
        .collect();
    let everything: Vec<&str> = about.iter().flat_map(|(_, _, examples)| *examples).collect();
    let words: Vec<&str> = about.iter().map(|(_, description, _)| *description).collect();
    cards.push(json!({"name": "a", "description": words.join(" ").repeat(20), "examples": everything}));
    cards.push(json!({"name": "ほん", "description": "日本語の本を探します"}));
    cards.push(json!({"name": "empty", "description": " ", "examples": [""]}));
    let cards = Cards::from_json(Arc::clone(sentence_encoder()), &json!(cards).to_string()).expect("cards");
    let mut scratch = SearchScratch::default();
    for (name, _, examples) in &about {
        for text in examples {
            let found = cards.search(text, 1, &mut scratch).expect("found");
            assert_eq!(cards.name(found[0].card), *name, "{text}");
        }
    }
    let found = cards.search("日本語の本", 1, &mut scratch).expect("found");
    assert_eq!(cards.name(found[0].card), "ほん");
    let long = "Will it rain? ".repeat(200_000);
    let found = cards.search(&long, 9, &mut scratch).expect("found");
    assert_eq!((found.len(), cards.name(found[0].card)), (9, "weather"));
    assert!(found.iter().all(|each| each.score.is_finite() && (0.0..=1.0).contains(&each.relevance)));
}
