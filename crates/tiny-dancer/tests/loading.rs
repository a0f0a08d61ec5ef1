//! Artifacts that are damaged, hostile or wrong: each a typed error that names field, value and remedy.

mod support;

use proptest::prelude::*;
use serde_json::{Value, json};
use support::{Draft, Plan, Random, join, seal, shipped_encoder, split, spoil, spoil_header};
use tiny_dancer::artifact::{self, LARGEST_FILE, LARGEST_HEADER, Tensors};
use tiny_dancer::features::{CUES, DIM};
use tiny_dancer::kinds;
use tiny_dancer::{Error, ErrorKind, Options, Request, Router, Scratch};

use ErrorKind::{
    ArtifactChecksum, ArtifactInvalid, ArtifactSelfCheck, ArtifactVersion, EncoderMissing, OptionInvalid,
};

const TEXTS: [&str; 4] = [
    "What is 12 times 11?",
    "Which of these is a prime? a. 4 b. 7 c. 9 d. 21",
    "write a haiku about déjà vu",
    "fn main() { println!(\"{}\", 1.5 / 2.0); }",
];

fn refusal(bytes: &[u8]) -> Error {
    Router::from_bytes(bytes, None).map(|_| "a router").expect_err("refused")
}

#[track_caller]
fn assert_refused(name: &str, bytes: &[u8], kind: ErrorKind, field: &str) {
    let error = refusal(bytes);
    assert_eq!(error.kind, kind, "{name}: {error}");
    assert!(error.field.contains(field), "{name}: field {:?}", error.field);
    assert!(!error.remedy.is_empty(), "{name}: {error:?}");
}

/// Two models, every kind of backend, at least one tree and one landmark.
fn draft() -> Draft {
    let plan = Plan::all_backends(2, None);
    (0..100)
        .map(|seed| Draft::new(&mut Random(seed), &plan))
        .find(|draft| {
            let tensor = |name: &str| draft.tensors.iter().find(|tensor| tensor.name == name);
            let landmarks = tensor("memory2.embeddings").is_some_and(|tensor| tensor.shape[0] > 1);
            landmarks
                && tensor("trees1.feature").is_some_and(|t| t.bytes.len() > 4 && t.bytes[..2] != [255, 255])
        })
        .expect("one of them")
}

/// Choice, quality and cost of a router on some requests, bit for bit.
fn behaviour(router: &Router) -> Vec<String> {
    let mut scratch = Scratch::default();
    let mut found = vec![format!("{:?}", router.header())];
    for text in TEXTS {
        let request = Request::text(text);
        let decision = router.decide(&request, None, &Options::default(), &mut scratch);
        found.push(format!("{decision:?} {:?}", scratch.expect));
    }
    found
}

#[test]
fn files_that_are_no_artifact() {
    let bytes = draft().bytes();
    let (header, data) = split(&bytes);
    let with_length = |length: u64| [&length.to_le_bytes()[..], &bytes[8..]].concat();
    let without = |key: &str| {
        let mut header = header.clone();
        header["__metadata__"].as_object_mut().expect("metadata").remove(key);
        join(&header, &data)
    };
    let mut no_metadata = header.clone();
    no_metadata.as_object_mut().expect("an object").remove("__metadata__");
    let cases = [
        ("empty", Vec::new(), "file"),
        ("seven bytes", bytes[..7].to_vec(), "file"),
        ("only a length", bytes[..8].to_vec(), "header length"),
        ("text", b"this is not a safetensors file at all".to_vec(), "header length"),
        ("wrong magic", [&20u64.to_le_bytes()[..], &[b'x'; 40]].concat(), "file"),
        ("length of the largest u64", with_length(u64::MAX), "header length"),
        ("length over the bound", with_length(LARGEST_HEADER as u64 + 1), "header length"),
        ("length 0", with_length(0), "file"),
        ("length one short", with_length(bytes.len() as u64 - 9 - data.len() as u64), "file"),
        ("length past the end", with_length(bytes.len() as u64 - 7), "header length"),
        ("header not JSON", [&64u64.to_le_bytes()[..], &[b'{'; 64]].concat(), "file"),
        (
            "header nested deeply",
            [&50_000u64.to_le_bytes()[..], b"{\"a\":", &vec![b'['; 50_000]].concat(),
            "file",
        ),
        ("one byte too many", [&bytes[..], &[0]].concat(), "file"),
        ("over 64 MiB", vec![0; LARGEST_FILE + 1], "file"),
        ("no metadata", join(&no_metadata, &data), "__metadata__"),
        ("no manifest", without("tiny_dancer"), "__metadata__.tiny_dancer"),
        ("no checksum", without("sha256"), "__metadata__.sha256"),
    ];
    for (name, bytes, field) in cases {
        assert_refused(name, &bytes, ArtifactInvalid, field);
    }
    // The bound on the file is 64 MiB to the byte, and comes before anything in it is read.
    let refused = |length: usize| Router::from_bytes(&vec![0; length], None).expect_err("zeros");
    assert_eq!(refused(LARGEST_FILE).value, "no safetensors header");
    assert_eq!(refused(LARGEST_FILE + 1).remedy, "an artifact is at most 64 MiB");
    // So is the header's: a file of one byte more, all of which its length says is header.
    let with_header = |length: usize| {
        let bytes = [&(length as u64).to_le_bytes()[..], b"{", &vec![b' '; length - 1]].concat();
        Router::from_bytes(&bytes, None).expect_err("no JSON").field
    };
    assert_eq!(with_header(LARGEST_HEADER), "file");
    assert_eq!(with_header(LARGEST_HEADER + 1), "header length");
}

#[test]
fn truncated_anywhere() {
    let bytes = draft().bytes();
    let start = bytes.len() - split(&bytes).1.len();
    for length in (0..bytes.len()).filter(|at| at % 97 == 0 || *at < 32 || at.abs_diff(start) < 16) {
        assert_refused(&format!("{length} bytes"), &bytes[..length], ArtifactInvalid, "");
    }
    assert_refused("all but one", &bytes[..bytes.len() - 1], ArtifactInvalid, "file");
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn headers_that_contradict_themselves() {
    let bytes = draft().bytes();
    let model = |change: Value| {
        spoil_header(&bytes, |json| {
            let changes = change.as_object().expect("an object").clone();
            json["models"][1].as_object_mut().expect("a model").extend(changes);
        })
    };
    let set = |key: &str, value: Value| spoil_header(&bytes, |json| drop(json.insert(key.to_owned(), value)));
    let cases = [
        ("next MAJOR", set("format", json!("2.0.0")), ArtifactVersion, "format"),
        ("past MAJOR", set("format", json!("0.9.0")), ArtifactVersion, "format"),
        ("no version", set("format", json!("")), ArtifactVersion, "format"),
        ("other kind", set("kind", json!("candidate-router")), ArtifactInvalid, "kind"),
        ("encoder", set("kind", json!("encoder")), ArtifactInvalid, "kind"),
        ("unknown feature spec", set("features", json!({"spec": "99"})), ArtifactVersion, "features.spec"),
        ("not an object", set("models", json!("two")), ArtifactInvalid, "tiny_dancer"),
        ("no models", set("models", json!([])), ArtifactInvalid, "models"),
        ("unnamed model", model(json!({"name": ""})), ArtifactInvalid, "models"),
        ("name twice", model(json!({"name": "model-0"})), ArtifactInvalid, "models"),
        ("negative price", model(json!({"price_input": -1.0})), ArtifactInvalid, "models"),
        ("absurd price", model(json!({"price_input": 1e300})), ArtifactInvalid, "models"),
        ("absurd cost", model(json!({"cost": [1e300, 0.0, -1e300]})), ArtifactInvalid, "models"),
        ("absurd latency", model(json!({"latency": [1e300, 0.0]})), ArtifactInvalid, "models"),
        ("negative window", model(json!({"context_window": -1})), ArtifactInvalid, "tiny_dancer"),
        ("best constant outside", set("best_constant", json!(2)), ArtifactInvalid, "best_constant"),
        ("no components", set("components", json!(0)), ArtifactInvalid, "components"),
        ("too many components", set("components", json!(17)), ArtifactInvalid, "components"),
        ("other components", set("components", json!(3)), ArtifactInvalid, "linear0"),
        (
            "constant outside",
            set("policy", json!({"kind": "constant", "model": 2})),
            ArtifactInvalid,
            "policy",
        ),
        (
            "threshold of one model",
            set("policy", json!({"kind": "threshold", "weak": 1, "strong": 1, "threshold": 0.1})),
            ArtifactInvalid,
            "policy",
        ),
        (
            "negative cost weight",
            set("policy", json!({"kind": "cost_weight", "cost_weight": -1.0, "unit": "usd"})),
            ArtifactInvalid,
            "policy",
        ),
        ("unknown policy", set("policy", json!({"kind": "oracle"})), ArtifactInvalid, "tiny_dancer"),
        ("negative width", set("set_width", json!(-0.1)), ArtifactInvalid, "set_width"),
        ("coverage over 1", set("set_coverage", json!(1.1)), ArtifactInvalid, "set_coverage"),
        ("negative margin", set("guard_margin", json!(-0.1)), ArtifactInvalid, "guard_margin"),
        (
            "unknown backend",
            spoil_header(&bytes, |json| json["backends"][0]["kind"] = json!("transformer")),
            ArtifactInvalid,
            "backends[linear0].kind",
        ),
        (
            "backend of another kind",
            spoil_header(&bytes, |json| json["backends"][0]["kind"] = json!("trees")),
            ArtifactInvalid,
            "linear0.threshold",
        ),
        (
            "one backend twice",
            spoil_header(&bytes, |json| json["backends"][1] = json["backends"][0].clone()),
            ArtifactInvalid,
            "backends",
        ),
        (
            "a backend too few for the stack",
            spoil_header(&bytes, |json| drop(json["backends"].as_array_mut().map(Vec::pop))),
            ArtifactInvalid,
            "stack",
        ),
        (
            "too many self-checks",
            set("self_check", json!(vec![json!({"text": "x", "choice": 0, "quality": [0.5, 0.5]}); 300])),
            ArtifactInvalid,
            "self_check",
        ),
    ];
    for (name, bytes, kind, field) in cases {
        assert_refused(name, &bytes, kind, field);
    }
    let changed = spoil(&bytes, |header, _| header["__metadata__"]["tiny_dancer"] = json!("{"));
    assert_refused("manifest not JSON", &changed, ArtifactInvalid, "tiny_dancer");
}

/// What is done to a draft.
type Change = Box<dyn Fn(&mut Draft)>;

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn tensors_that_contradict_each_other() {
    let f32s = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let set_weight = |name: &'static str, at: usize, value: f32| {
        move |draft: &mut Draft| {
            draft.tensor(name).bytes[4 * at..][..4].copy_from_slice(&value.to_le_bytes());
        }
    };
    let set_index = |name: &'static str, at: usize, value: u16| {
        move |draft: &mut Draft| {
            draft.tensor(name).bytes[2 * at..][..2].copy_from_slice(&value.to_le_bytes());
        }
    };
    let cut = |name: &'static str| -> Change {
        Box::new(move |draft| {
            let tensor = draft.tensor(name);
            let row = tensor.bytes.len() / tensor.shape[0];
            tensor.shape[0] -= 1;
            tensor.bytes.truncate(row * tensor.shape[0]);
        })
    };
    let mut cases: Vec<(&str, Change, &str)> = vec![
        ("NaN", Box::new(set_weight("mean", 0, f32::NAN)), "mean[0]"),
        ("infinity", Box::new(set_weight("linear0.cues", 5, f32::INFINITY)), "linear0.cues[5]"),
        ("overflow to come", Box::new(set_weight("basis", 1, 1e30)), "basis[1]"),
        ("NaN threshold", Box::new(set_weight("trees1.threshold", 0, f32::NAN)), "trees1.threshold[0]"),
        ("negative gamma", Box::new(set_weight("memory2.gamma", 1, -1.0)), "memory2.gamma"),
        ("knots that fall", Box::new(set_weight("calibration_knots", 0, 1e6)), "calibration_knots"),
        ("value over 1", Box::new(set_weight("calibration_values", 1, 1.5)), "calibration_values"),
        ("value below 0", Box::new(set_weight("calibration_values", 0, -0.5)), "calibration_values"),
        ("values that fall", Box::new(set_weight("confidence_values", 0, 1.0)), "confidence_values"),
        ("right child behind", Box::new(set_index("trees1.right", 0, 0)), "trees1.right"),
        ("right child itself", Box::new(set_index("trees1.right", 0, 1)), "trees1.right"),
        ("right child outside", Box::new(set_index("trees1.right", 0, 60_000)), "trees1.right"),
        ("feature outside", Box::new(set_index("trees1.feature", 0, (CUES + DIM) as u16)), "trees1.right"),
        ("empty tree", Box::new(set_index("trees1.size", 0, 0)), "trees1.size"),
        ("tree beyond its nodes", Box::new(set_index("trees1.size", 0, 60_000)), "trees1.size"),
        (
            "leaf outside",
            Box::new(|draft| {
                let features = draft.tensor("trees1.feature").bytes.clone();
                let leaf = features.chunks(2).position(|bytes| bytes == [255, 255]).expect("a leaf");
                draft.tensor("trees1.right").bytes[2 * leaf..][..2].copy_from_slice(&[255, 255]);
            }),
            "trees1.right",
        ),
        (
            "quantised past ±127",
            Box::new(|draft| draft.tensor("memory2.embeddings").bytes[3] = 128),
            "memory2.embeddings",
        ),
        ("landmarks without cues", cut("memory2.cues"), "memory2.cues"),
        ("coefficients for others", cut("memory2.embeddings"), "memory2.cues"),
        (
            "a table no mask folds into",
            Box::new(|draft| {
                let columns = draft.header.components;
                let tensor = draft.tensor("linear0.word");
                (tensor.shape, tensor.bytes) = (vec![3, columns], vec![1; 3 * columns]);
            }),
            "linear0.word",
        ),
        (
            "an empty table",
            Box::new(|draft| {
                let columns = draft.header.components;
                let tensor = draft.tensor("linear0.character");
                (tensor.shape, tensor.bytes) = (vec![0, columns], Vec::new());
            }),
            "linear0.character",
        ),
        (
            "no knots",
            Box::new(move |draft| {
                for name in ["confidence_knots", "confidence_values"] {
                    let tensor = draft.tensor(name);
                    (tensor.shape, tensor.bytes) = (vec![0], f32s(&[]));
                }
            }),
            "confidence_knots",
        ),
        ("a matrix for a vector", Box::new(|draft| draft.tensor("mean").shape = vec![1, 2]), "mean"),
    ];
    for name in ["mean", "stack", "basis", "verbosity", "calibration_values", "linear0.cues", "trees1.leaf"] {
        cases.push((name, cut(name), ""));
    }
    for (name, change, field) in &cases {
        let mut spoilt = draft();
        change(&mut spoilt);
        assert_refused(name, &spoilt.bytes(), ArtifactInvalid, field);
    }
    let names: Vec<String> = draft().tensors.iter().map(|tensor| tensor.name.clone()).collect();
    for name in &names {
        let mut lacking = draft();
        lacking.tensors.retain(|tensor| tensor.name != *name);
        assert_refused("absent", &lacking.bytes(), ArtifactInvalid, name);
        let mut other = draft();
        let tensor = other.tensor(name);
        // As many bytes an element would need, but of another type.
        let elements: usize = tensor.shape.iter().product();
        let (dtype, width) = if tensor.dtype == "u16" { ("i8", 1) } else { ("u16", 2) };
        (tensor.dtype, tensor.bytes) = (dtype.to_owned(), vec![0; elements * width]);
        assert_refused("other type", &other.bytes(), ArtifactInvalid, name);
    }
}

#[test]
fn a_tree_of_any_depth_is_walked_in_bounded_time_or_refused() {
    // A path: every left child is the next node, every right child a leaf at the end.
    for (depth, sound) in [(64usize, true), (65, false), (500, false)] {
        let mut draft = draft();
        let nodes = 2 * depth + 1;
        let feature: Vec<u16> = (0..nodes).map(|at| if at < depth { 0 } else { u16::MAX }).collect();
        let right: Vec<u16> =
            (0..nodes).map(|at| if at < depth { (nodes - 1 - at) as u16 } else { 0 }).collect();
        let components = draft.header.components;
        for tensor in [
            support::f32_tensor("trees1.threshold", &[nodes], &vec![1e6; nodes]),
            support::u16_tensor("trees1.feature", &feature),
            support::u16_tensor("trees1.right", &right),
            support::u16_tensor("trees1.size", &[nodes as u16]),
            support::i8_tensor("trees1.leaf", &[depth + 1, components], &vec![1; (depth + 1) * components]),
        ] {
            let name = tensor.name.clone();
            *draft.tensor(&name) = tensor;
        }
        match Router::from_bytes(&draft.bytes(), None) {
            Ok(router) => assert!(sound && !behaviour(&router).is_empty()),
            Err(error) => assert!(!sound && error.value.contains("deeper"), "{error}"),
        }
    }
}

#[test]
fn self_checks_guard_the_decisions() {
    let mut draft = draft();
    draft.record(&TEXTS, None);
    let bytes = draft.bytes();
    assert!(Router::from_bytes(&bytes, None).is_ok());
    let other_choice = spoil_header(&bytes, |json| {
        let recorded = json["self_check"][2]["choice"].as_u64().expect("an index");
        json["self_check"][2]["choice"] = json!(1 - recorded);
    });
    assert_refused("other choice", &other_choice, ArtifactSelfCheck, "self_check[2]");
    let other_quality = spoil_header(&bytes, |json| {
        let recorded = json["self_check"][1]["quality"][0].as_f64().expect("a number");
        json["self_check"][1]["quality"][0] = json!(recorded + 1e-3);
    });
    assert_refused("other quality", &other_quality, ArtifactSelfCheck, "self_check[1]");
    let fewer = spoil_header(&bytes, |json| json["self_check"][0]["quality"] = json!([]));
    assert_refused("fewer qualities", &fewer, ArtifactSelfCheck, "self_check[0]");
    let empty = spoil_header(&bytes, |json| json["self_check"][3]["text"] = json!(" \n"));
    assert_refused("nothing to route", &empty, ArtifactSelfCheck, "self_check[3]");
    // Other weights, sealed: only the self-checks can tell.
    let mut spoilt = draft.clone();
    let mean = spoilt.tensor("mean");
    for (at, value) in [0.9f32, 0.1].iter().enumerate() {
        mean.bytes[4 * at..][..4].copy_from_slice(&value.to_le_bytes());
    }
    assert_refused("other weights", &spoilt.bytes(), ArtifactSelfCheck, "self_check[0]");
}

#[test]
fn a_header_without_its_checksum_is_refused_or_claims_nothing() {
    let mut draft = draft();
    draft.header.guarantee = Some(support::guarantee());
    let bytes = draft.bytes();
    assert!(Router::from_bytes(&bytes, None).expect("sound").header().guarantee.is_some());
    // As whoever edits a certificate would: the header's checksum goes, with a format of choice.
    let unsealed = |format: &str| {
        let (mut header, data) = split(&bytes);
        let metadata = header["__metadata__"].as_object_mut().expect("an object");
        metadata.remove("header_sha256").expect("a checksum");
        let text = metadata["tiny_dancer"].as_str().expect("JSON").to_owned();
        let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        json["format"] = json!(format);
        metadata["tiny_dancer"] = json!(json.to_string());
        join(&header, &data)
    };
    for format in ["1.1.0", "1.2.0", "1", "1.x"] {
        assert_refused(format, &unsealed(format), ArtifactChecksum, "header_sha256");
    }
    let older = Router::from_bytes(&unsealed("1.0.0"), None).expect("older artifacts load");
    assert!(older.header().guarantee.is_none(), "nothing covers what it claims");
    let header: serde_json::Value =
        serde_json::from_str(&kinds::header(&unsealed("1.0.0")).expect("a header")).expect("JSON");
    assert!(header["guarantee"].is_null());
}

#[test]
fn the_encoder_must_be_the_one_trained_with() {
    let encoder = shipped_encoder();
    let wanted = |checksum: &str| {
        let plan = Plan::all_backends(3, Some(checksum.to_owned()));
        Draft::new(&mut Random(7), &plan).bytes()
    };
    assert_refused("none given", &wanted(encoder.checksum()), EncoderMissing, "encoder");
    let error = Router::from_bytes(&wanted("0123"), Some(encoder)).expect_err("another");
    assert_eq!((error.kind, &*error.field), (EncoderMissing, "encoder"));

    let router = Router::from_bytes(&wanted(encoder.checksum()), Some(encoder)).expect("sound");
    let (request, mut scratch) = (Request::text(TEXTS[0]), Scratch::default());
    let error = router.decide(&request, None, &Options::default(), &mut scratch).expect_err("none given");
    assert_eq!(error.kind, EncoderMissing);
    router.decide(&request, Some(encoder), &Options::default(), &mut scratch).expect("feasible");
}

#[test]
fn artifacts_with_the_shipped_encoder_pass_their_self_checks() {
    let encoder = shipped_encoder();
    let mut draft = Draft::new(&mut Random(11), &Plan::all_backends(3, Some(encoder.checksum().to_owned())));
    draft.record(&TEXTS, Some(encoder));
    assert!(Router::from_bytes(&draft.bytes(), Some(encoder)).is_ok());
}

#[test]
fn what_cannot_be_written_is_refused() {
    let draft = draft();
    let refused = |header: &str, tensors: Vec<artifact::TensorData>| {
        kinds::write(header, tensors).expect_err("refused")
    };
    assert_eq!(refused("{", draft.tensors.clone()).kind, ArtifactInvalid);
    let mut twice = draft.tensors.clone();
    twice.push(twice[0].clone());
    assert_eq!(refused(&draft.json(), twice).field, draft.tensors[0].name);
    let mut short = draft.tensors.clone();
    short[0].bytes.pop();
    assert_eq!(refused(&draft.json(), short).field, draft.tensors[0].name);
    let mut unknown = draft.tensors.clone();
    unknown[0].dtype = "f64".to_owned();
    assert_eq!(refused(&draft.json(), unknown).value, "f64");
    assert_eq!(kinds::rewrite(b"nonsense", &draft.json()).expect_err("refused").kind, ArtifactInvalid);
}

#[test]
fn models_change_by_name_price_and_window() {
    let mut draft = draft();
    draft.header.guarantee = Some(artifact::Guarantee {
        epsilon: 0.05,
        delta: 0.1,
        risk: "mean".to_owned(),
        reference: "model-0".to_owned(),
        rows: 100,
        p_value: 0.01,
        data_digest: String::new(),
        date: String::new(),
        observed_risk: 0.0,
        budget: None,
        batch: None,
    });
    let mut router = Router::from_bytes(&draft.bytes(), None).expect("sound");
    router.change_models("[{}, {}]").expect("no change");
    assert!(router.header().guarantee.is_some());
    router
        .change_models(r#"[{"name": "small"}, {"price_input": 2e-6, "price_output": 8e-6}]"#)
        .expect("sound");
    assert_eq!(router.header().models[0].name, "small");
    assert_eq!(router.header().models[1].prices.input, Some(2e-6));
    assert!(router.header().guarantee.is_none(), "a certificate does not cover other models");
    for wrong in [
        "no JSON",
        "[{}]",
        "[{}, {}, {}]",
        r#"[{"name": ""}, {}]"#,
        r#"[{"name": "model-1"}, {}]"#,
        r#"[{"price_input": -1}, {}]"#,
        r#"[{"price_input": 1e40}, {}]"#,
        r#"[{"price_input": "cheap"}, {}]"#,
        r#"[{"context_window": 1.5}, {}]"#,
    ] {
        let error = router.change_models(wrong).expect_err(wrong);
        assert_eq!(error.kind, OptionInvalid, "{wrong}");
        assert_eq!(router.header().models[0].name, "small", "{wrong} changes nothing");
    }
}

#[test]
fn no_single_byte_flipped_gives_another_router() {
    let mut draft = Draft::new(
        &mut Random(3),
        &Plan { models: 2, components: 1, backends: vec!["linear"], encoder: None },
    );
    draft.record(&TEXTS[..1], None);
    let bytes = draft.bytes();
    let expected = behaviour(&Router::from_bytes(&bytes, None).expect("sound"));
    let start = bytes.len() - split(&bytes).1.len();
    let mut random = Random(5);
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << random.below(8);
        match Router::from_bytes(&flipped, None) {
            Ok(router) => {
                assert!(at < start, "a flipped weight at {at} was loaded");
                assert_eq!(behaviour(&router), expected, "byte {at}");
            }
            Err(error) if at >= start => assert_eq!(error.kind, ArtifactChecksum, "byte {at}"),
            Err(error) => assert_ne!(error.kind, ArtifactSelfCheck, "byte {at}: {error}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_byte_changed_is_an_error_or_harmless(
        seed in any::<u64>(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let bytes = Draft::any(seed).bytes();
        let mut changed = bytes.clone();
        let at = at.index(changed.len());
        changed[at] = byte;
        if let Ok(router) = Router::from_bytes(&changed, None) {
            let expected = behaviour(&Router::from_bytes(&bytes, None).expect("sound"));
            prop_assert_eq!(behaviour(&router), expected);
        }
    }

    #[test]
    fn written_read_and_rewritten_is_the_same(seed in any::<u64>()) {
        let draft = Draft::any(seed);
        let bytes = draft.bytes();
        let mut shuffled = draft.clone();
        shuffled.tensors.reverse();
        prop_assert_eq!(&shuffled.bytes(), &bytes, "order of tensors");
        let (header, _) = Tensors::open::<artifact::Header>(&bytes).expect("sound");
        prop_assert_eq!(&header, &draft.header);
        let rewritten = kinds::rewrite(&bytes, &draft.json()).expect("sound");
        prop_assert_eq!(&rewritten, &bytes);
        let (mut json, data) = split(&bytes);
        let sealed = json.clone();
        seal(&mut json, &data);
        prop_assert_eq!(json, sealed);
        let router = Router::from_bytes(&bytes, None).expect("sound");
        prop_assert_eq!(router.header(), &draft.header);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Router::from_bytes(&bytes, None).is_err());
    }
}
