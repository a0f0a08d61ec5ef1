//! Routes: the choice among them, what is refused, and JSON.

mod support;

use proptest::prelude::*;
use serde_json::{Value, json};
use support::intents::RoutesDraft;
use support::{Random, i8_tensor, shipped_encoder, u16_tensor};
use tiny_dancer::ErrorKind;
use tiny_dancer::routes::{Options, Reason, Routes, Routing, Scratch, Vector};

/// Routes whose prototypes are the axes: a vector is the list of the routes' likenesses.
fn axes(specs: &[Value]) -> RoutesDraft {
    let count = specs.len();
    let mut draft = RoutesDraft::prototypes(&mut Random(1), count, count);
    let rows: Vec<i8> = (0..count * count).map(|at| if at / count == at % count { 127 } else { 0 }).collect();
    let owners: Vec<u16> = (0..count as u16).collect();
    draft.header["routes"] = json!(specs);
    draft.tensors =
        vec![i8_tensor("prototypes", &[count, count], &rows), u16_tensor("prototype_routes", &owners)];
    draft
}

fn load(draft: &RoutesDraft) -> Routes {
    Routes::from_bytes(&draft.bytes(), None).unwrap()
}

proptest! {
    #[test]
    fn the_choice_is_the_textbook_s(
        given in prop::collection::vec((0i64..3, 0f32..1.0, any::<bool>(), 0f32..0.4), 1..12),
        least in 0f32..0.3,
    ) {
        let specs: Vec<Value> = given.iter().enumerate().map(|(at, (priority, _, _, threshold))| {
            json!({"name": format!("r{at}"), "priority": priority, "threshold": threshold})
        }).collect();
        let routes = load(&axes(&specs));
        let values: Vec<f32> = given.iter().map(|(_, value, ..)| *value).collect();
        let exclude: Vec<String> =
            (0..given.len()).filter(|&at| !given[at].2).map(|at| format!("r{at}")).collect();
        let options = Options { exclude, least_confidence: least, limit: 4, ..Options::default() };
        let mut scratch = Scratch::default();
        let vector = Vector { values: &values, encoder: "toy" };
        let found = routes.decide("", Some(vector), None, &options, &mut scratch).unwrap();

        let p = &scratch.probabilities;
        let open: Vec<usize> = (0..given.len()).filter(|&at| given[at].2).collect();
        let reaching: Vec<usize> =
            open.iter().copied().filter(|&at| p[at] >= given[at].3.max(least)).collect();
        let highest = reaching.iter().map(|&at| p[at]).fold(0f32, f32::max);
        let mut order: Vec<usize> = reaching.into_iter().filter(|&at| p[at] >= highest * 0.5).collect();
        order.sort_by(|&a, &b| {
            given[b].0.cmp(&given[a].0).then(p[b].total_cmp(&p[a])).then(a.cmp(&b))
        });
        prop_assert_eq!(found.route, order.first().copied());
        let reason = match (open.is_empty(), order.first()) {
            (true, _) => Reason::NoneAllowed,
            (false, None) => Reason::BelowThreshold,
            (false, Some(&first)) if p[first] < highest => Reason::Priority,
            (false, Some(_)) => found.reason,
        };
        prop_assert_eq!(found.reason, reason);

        let mut listed: Vec<u32> = (0..given.len() as u32).collect();
        listed.sort_by(|&a, &b| p[b as usize].total_cmp(&p[a as usize]).then(a.cmp(&b)));
        listed.truncate(4);
        prop_assert_eq!(&scratch.top, &listed);
        prop_assert_eq!(found.best as u32, listed[0]);
        prop_assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
}

#[test]
fn out_of_scope_is_an_answer() {
    let mut random = Random(5);
    let encoder = shipped_encoder();
    let mut draft = RoutesDraft::head(&mut random, 20, encoder.checksum());
    draft.header["scope"]["thresholds"] = json!([[0.01, 0.0], [0.5, 1.0]]);
    let routes = Routes::from_bytes(&draft.bytes(), Some(encoder)).unwrap();
    let mut scratch = Scratch::default();
    let mut ask = |alarms: f32| {
        let options = Options { false_alarms: Some(alarms), ..Options::default() };
        routes.decide("where is my order", None, Some(encoder), &options, &mut scratch).unwrap()
    };
    assert_eq!(ask(0.5).reason, Reason::OutOfScope);
    assert_eq!(ask(0.5).route, None);
    assert_eq!(ask(0.0).route, Some(ask(0.0).best));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let routes = load(&axes(&[
        json!({"name": "a"}),
        json!({"name": "b", "conditions": {"time": {"from": "09:00", "to": "10:00"}}}),
    ]));
    let mut scratch = Scratch::default();
    let mut ask = |values: &[f32], encoder: &str, options: &Options| {
        routes.decide("", Some(Vector { values, encoder }), None, options, &mut scratch).unwrap_err()
    };
    let now = Options { context: serde_json::from_str(r#"{"now": 0}"#).unwrap(), ..Options::default() };
    assert_eq!(ask(&[1.0, 0.0], "other", &now).field, "encoder");
    assert_eq!(ask(&[1.0], "toy", &now).field, "vector");
    assert_eq!(ask(&[f32::NAN, 0.0], "toy", &now).field, "vector[0]");
    assert_eq!(ask(&[1.0, 0.0], "toy", &Options::default()).field, "now");
    let unknown = Options { allowed: vec!["c".to_owned()], ..now.clone() };
    assert_eq!(ask(&[1.0, 0.0], "toy", &unknown).kind, ErrorKind::OptionInvalid);
    let missing = routes.decide("x", None, None, &now, &mut Scratch::default()).unwrap_err();
    assert_eq!(missing.field, "vector");
}

#[test]
fn headers_and_tensors_that_contradict_each_other_are_refused() {
    let good = axes(&[json!({"name": "a"}), json!({"name": "b"})]);
    load(&good);
    let spoilt = |change: fn(&mut RoutesDraft)| {
        let mut draft = good.clone();
        change(&mut draft);
        let bytes = tiny_dancer::kinds::write(&draft.header.to_string(), draft.tensors.clone());
        bytes.and_then(|bytes| Routes::from_bytes(&bytes, None).map(|_| ())).unwrap_err().field
    };
    assert_eq!(spoilt(|draft| draft.header["routes"][1]["name"] = json!("a")), "routes[].name");
    assert_eq!(spoilt(|draft| draft.header["routes"][1]["threshold"] = json!(2)), "routes[b].threshold");
    assert_eq!(spoilt(|draft| draft.header["temperature"] = json!(0)), "temperature");
    assert_eq!(spoilt(|draft| draft.header["model"]["scale"] = json!(-1)), "model.scale");
    assert_eq!(
        spoilt(|draft| draft.tensors[1] = u16_tensor("prototype_routes", &[1, 0])),
        "prototype_routes"
    );
    assert_eq!(
        spoilt(|draft| draft.tensors[1] = u16_tensor("prototype_routes", &[0, 0])),
        "routes[b].utterances"
    );
    assert_eq!(spoilt(|draft| draft.tensors[0] = i8_tensor("prototypes", &[1, 4], &[1; 4])), "prototypes");
}

#[test]
fn json_says_the_same_as_the_decision() {
    let bytes = axes(&[json!({"name": "a", "target": {"model": "m"}}), json!({"name": "b"})]).bytes();
    let routing = Routing::new(&bytes, None).unwrap();
    let answer = routing.decide_json(r#"{"vector": [1, 0.2], "encoder": "toy"}"#, r#"{"limit": 1}"#).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["route"], "a");
    assert_eq!(answer["target"]["model"], "m");
    assert_eq!(answer["reason"], "most_probable");
    assert_eq!(answer["calibrated"], false);
    assert_eq!(answer["in_scope_score"], Value::Null);
    assert_eq!(answer["top"], json!([["a", answer["confidence"]]]));
    assert!(routing.decide_json("{", "").is_err() && routing.decide_json("{}", r#"{"k": 1}"#).is_err());
}

#[test]
fn a_slip_of_the_fingers_changes_nothing_where_words_are_known() {
    let encoder = shipped_encoder();
    let mut draft = RoutesDraft::head(&mut Random(6), 20, encoder.checksum());
    let load = |draft: &RoutesDraft| Routes::from_bytes(&draft.bytes(), Some(encoder)).unwrap();
    let ask = |routes: &Routes, text: &str| {
        let mut scratch = Scratch::default();
        routes.decide(text, None, Some(encoder), &Options::default(), &mut scratch).unwrap();
        (scratch.scores.clone(), scratch.read_as())
    };
    let plain = load(&draft);
    draft.spell(&[("qwyzzle", 20)]);
    let spelled = load(&draft);
    let (right, slipped) = ("where is my qwyzzle", "wheer is my qwyzle");
    assert_eq!(ask(&spelled, right), ask(&plain, right));
    assert_eq!(ask(&spelled, slipped), (ask(&plain, right).0, Some(right.to_owned())));
    assert_ne!(ask(&plain, slipped).0, ask(&plain, right).0);
    draft.header["encoder"] = json!({"name": "toy", "dimension": 256});
    assert_eq!(
        Routes::from_bytes(
            &tiny_dancer::kinds::write(&draft.header.to_string(), draft.tensors.clone()).unwrap_or_default(),
            None,
        )
        .map(|_| ())
        .unwrap_err()
        .kind,
        ErrorKind::ArtifactInvalid
    );
}
