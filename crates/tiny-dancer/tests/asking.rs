//! A request means the same in every dialect, spacing and order of keys, and the answer says everything.

mod support;

use std::fmt::Write;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use support::{Draft, Plan, Random, guarantee, shared_encoder};
use tiny_dancer::features::{CUE_NAMES, FeatureScratch, Features, featurise};
use tiny_dancer::policy::{CostUnit, Policies, Policy, Scale};
use tiny_dancer::price::{Prices, Tier};
use tiny_dancer::{Error, ErrorKind, Handle, Options, Request, Spec};

fn featured(json: &str, spec: Spec) -> Result<Features, Error> {
    let mut out = Features::default();
    featurise(&Request::from_json(json)?, spec, None, &mut FeatureScratch::default(), &mut out)?;
    Ok(out)
}

fn features(request: &Value) -> Features {
    featured(&request.to_string(), Spec::NEWEST).expect("a sound request")
}

fn essence(features: &Features) -> (Vec<u32>, Vec<u32>, Vec<u32>, u32) {
    let cues = features.cues.iter().map(|cue| cue.to_bits()).collect();
    (features.word_ngrams().to_vec(), features.character_ngrams().to_vec(), cues, features.tokens)
}

/// A count that stands in the cues as log1p.
fn counted(features: &Features, name: &str) -> u32 {
    let cue = CUE_NAMES.iter().position(|found| *found == name).expect("a cue");
    features.cues[cue].exp_m1().round() as u32
}

/// JSON with any white space, any order of keys and any escapes that mean the same.
fn respelt(value: &Value, random: &mut Random, out: &mut String) {
    let space = |random: &mut Random, out: &mut String| {
        for _ in 0..random.below(3) {
            out.push([' ', '\n', '\t', '\r'][random.below(4)]);
        }
    };
    space(random, out);
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            for at in (1..members.len()).rev() {
                members.swap(at, random.below(at + 1));
            }
            out.push('{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                space(random, out);
                text(key, random, out);
                space(random, out);
                out.push(':');
                respelt(value, random, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                respelt(item, random, out);
            }
            out.push(']');
        }
        Value::String(string) => text(string, random, out),
        Value::Number(number) if number.is_i64() && random.chance(0.5) => {
            out.push_str(&number.to_string());
            out.push_str(".0");
        }
        other => out.push_str(&other.to_string()),
    }
    space(random, out);
}

fn text(string: &str, random: &mut Random, out: &mut String) {
    out.push('"');
    for character in string.chars() {
        if random.chance(0.2) || character < ' ' || matches!(character, '"' | '\\') {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(character);
        }
    }
    out.push('"');
}

fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "string"})),
        (0i64..1000).prop_map(|least| json!({"type": "integer", "minimum": least, "default": 1.5})),
        "[a-zé \"\\\\\n]{0,12}".prop_map(|said| json!({"enum": [said, null, true, -2], "description": "x"})),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(("[a-z]{1,6}|properties|type", inner.clone()), 0..4).prop_map(|members| {
                let properties: serde_json::Map<_, _> = members.into_iter().collect();
                json!({"type": "object", "properties": properties, "required": []})
            }),
            inner.prop_map(|items| json!({"type": "array", "items": items})),
        ]
    })
}

fn tools() -> impl Strategy<Value = Vec<(String, String, Value)>> {
    prop::collection::vec(("[a-z_]{1,9}", "[ -~é\n]{0,20}", schema()), 1..5)
}

/// The same tools as OpenAI's chat completions, its Responses, Anthropic and MCP write them.
fn dialects(tools: &[(String, String, Value)]) -> [Value; 5] {
    let each = |form: &dyn Fn(&str, &str, &Value) -> Value| -> Value {
        tools.iter().map(|(name, description, schema)| form(name, description, schema)).collect()
    };
    let mcp =
        each(&|n, d, s| json!({"name": n, "description": d, "inputSchema": s, "annotations": {"x": 1}}));
    [
        each(
            &|n, d, s| json!({"type": "function", "function": {"name": n, "description": d, "parameters": s, "strict": true}}),
        ),
        each(
            &|n, d, s| json!({"type": "function", "name": n, "description": d, "parameters": s, "strict": null}),
        ),
        each(
            &|n, d, s| json!({"name": n, "description": d, "input_schema": s, "cache_control": {"type": "ephemeral"}}),
        ),
        json!({"tools": mcp}),
        mcp,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn neither_dialect_nor_spelling_of_tools_changes_a_request(tools in tools(), seed in any::<u64>()) {
        let asked = |tools: &Value| json!({"messages": [{"role": "user", "content": "Call one"}], "tools": tools});
        let forms = dialects(&tools);
        let expected = features(&asked(&forms[0]));
        prop_assert_eq!(counted(&expected, "tools"), tools.len() as u32);
        let mut random = Random(seed);
        for form in &forms {
            let mut written = String::new();
            respelt(&asked(form), &mut random, &mut written);
            let found = featured(&written, Spec::NEWEST).expect("sound");
            prop_assert_eq!(essence(&found), essence(&expected), "{}", written);
        }
    }

    #[test]
    fn a_conversation_is_the_same_in_openais_and_in_anthropics_form(
        said in "[a-zA-Z0-9 .?\n\"é]{1,40}[a-z]", system in "[a-z ]{0,20}", answer in "[a-z ]{0,20}",
        argument in "[ -~]{0,12}", result in "[ -~\n]{0,20}", more in prop::option::of("[a-z]{1,9}"),
        seed in any::<u64>(),
    ) {
        let arguments = json!({"query": argument, "n": 3});
        let mut chat = vec![
            json!({"role": "system", "content": system}),
            json!({"role": "user", "content": [{"type": "text", "text": said}, {"type": "image_url", "image_url": {}}]}),
            json!({"role": "assistant", "content": answer, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": arguments.to_string()}}
            ]}),
            json!({"role": "tool", "tool_call_id": "call_1", "content": result}),
        ];
        let mut results = vec![json!({"type": "tool_result", "tool_use_id": "call_1", "content": [
            {"type": "text", "text": result}
        ]})];
        if let Some(more) = &more {
            chat.push(json!({"role": "user", "content": more}));
            results.push(json!({"type": "text", "text": more}));
        }
        let anthropic = json!({
            "system": [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": said}, {"type": "image", "source": {}}]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "x"},
                    {"type": "text", "text": answer},
                    {"type": "tool_use", "id": "call_1", "name": "find", "input": arguments},
                ]},
                {"role": "user", "content": results},
            ],
        });
        let mut responses = vec![
            json!({"role": "user", "content": [{"type": "input_text", "text": said}]}),
            json!({"role": "assistant", "type": "message", "content": [{"type": "output_text", "text": answer}]}),
            json!({"type": "function_call", "name": "find", "call_id": "c", "arguments": arguments.to_string()}),
            json!({"type": "function_call_output", "call_id": "c", "output": result}),
        ];
        responses.extend(more.iter().map(|more| json!({"type": "message", "role": "user", "content": more})));
        let expected = features(&json!({"messages": chat}));
        let mut random = Random(seed);
        for request in [anthropic, json!({"instructions": system, "input": responses})] {
            let mut written = String::new();
            respelt(&request, &mut random, &mut written);
            let found = featured(&written, Spec::NEWEST).expect("sound");
            prop_assert_eq!(essence(&found), essence(&expected), "{}", written);
        }
    }

    #[test]
    fn any_json_is_read_or_refused_by_name(text in "[\\[\\]{}\",:a-z0-9 .\\\\-]{0,60}") {
        for spec in [Spec::One, Spec::Two] {
            for request in [text.clone(), format!("{{\"messages\": {text}}}"), format!("{{\"input\": \"x\", \"tools\": {text}}}")] {
                if let Err(error) = featured(&request, spec) {
                    prop_assert_eq!(error.kind, ErrorKind::RequestInvalid);
                    prop_assert!(!error.field.is_empty() && !error.remedy.is_empty());
                }
            }
        }
    }
}

#[test]
fn tools_are_counted_by_their_structure() {
    let request = |tools: Value| features(&json!({"text": "Call one", "tools": tools}));
    let bare = features(&json!({"text": "Call one"}));
    // A parameter may be called `properties`; those inside it and inside lists are parameters too.
    let nested = json!([{"name": "fly", "description": "Go.", "parameters": {"type": "object", "properties": {
        "properties": {"type": "object", "properties": {"a": {"type": "string"}}},
        "list": {"type": "array", "items": {"properties": {"b": {}, "c": {}}}},
    }}}]);
    let found = request(nested.clone());
    assert_eq!((counted(&found, "tools"), counted(&found, "tool_parameters")), (1, 5));
    let schema = nested[0]["parameters"].to_string();
    assert_eq!(counted(&found, "log_tool_characters"), (3 + 3 + schema.len()) as u32);
    assert_eq!(found.tokens, bare.tokens + (6 + schema.len() as u32) / 4);
    // What has neither name, description nor schema counts whole, whatever it is.
    let odd = request(json!([{"a": [1.0, 1e2]}, "find", 7]));
    assert_eq!((counted(&odd, "tools"), counted(&odd, "log_tool_characters")), (3, 13 + 6 + 1));
    // A format counts by its schema, wherever a dialect puts it.
    let schema = json!({"type": "object", "properties": {"answer": {"type": "string", "maxLength": 30}}});
    let bytes = schema.to_string().len() as u32;
    for form in [
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}),
        json!({"text": {"format": {"type": "json_schema", "name": "x", "schema": schema}}}),
        json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}),
    ] {
        let mut asked = json!({"input": "Call one"});
        asked.as_object_mut().expect("an object").extend(form.as_object().expect("an object").clone());
        assert_eq!(features(&asked).tokens, bare.tokens + bytes / 4, "{asked}");
    }
}

#[test]
fn the_first_specification_reads_as_it_did() {
    let one = |request: &str| featured(request, Spec::One).expect("sound");
    let tools = r#"[ {"parameters": {"type": "object", "x": {"type": "string"}}} ]"#;
    let found = one(&format!(r#"{{"input": "Call one", "tools": {tools}}}"#));
    assert_eq!(counted(&found, "log_tool_characters"), tools.len() as u32);
    assert_eq!((counted(&found, "tools"), counted(&found, "tool_parameters")), (1, 1));
    // Calls and results were not counted, and a message of results alone was a turn.
    let request = r#"[{"role": "user", "content": "Find it"},
        {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
        {"role": "user", "content": [{"type": "tool_result", "content": "found"}]}]"#;
    let turns = CUE_NAMES.iter().position(|name| *name == "turns").expect("a cue");
    let (old, new) = (one(request), featured(request, Spec::Two).expect("sound"));
    assert_eq!((old.cues[turns], new.cues[turns]), (2.0, 1.0));
    assert_eq!(counted(&old, "log_assistant_characters"), 0);
    assert_eq!(counted(&new, "log_assistant_characters"), 1 + 2 + 5);
    assert_eq!(new.tokens, old.tokens + 2);
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    for (request, field, value) in [
        ("", "request", "the text ends where a value is due at byte 0"),
        ("{\"messages\": [}", "request", "no JSON value at byte 14"),
        ("{}", "request", "no messages"),
        ("{\"messages\": []}", "messages", "no message"),
        ("{\"messages\": {}}", "messages", "an object"),
        ("{\"messages\": [null]}", "messages[0]", "null"),
        ("{\"messages\": [{\"content\": \"x\"}]}", "messages[0].role", "null"),
        ("{\"messages\": [{\"role\": 5, \"content\": \"x\"}]}", "messages[0].role", "5"),
        (
            "[{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"wizard\"}]",
            "messages[1].role",
            "\"wizard\"",
        ),
        ("[{\"role\": \"user\", \"content\": 5}]", "messages[0].content", "a number"),
        ("[{\"role\": \"user\", \"content\": [5]}]", "messages[0].content", "a number"),
        (
            "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": 5}]}]",
            "messages[0].content.text",
            "a number",
        ),
        ("{\"text\": \"x\", \"messages\": []}", "text", "given beside messages"),
        ("{\"text\": \" \\n\"}", "text", "empty or white space"),
        ("[{\"role\": \"user\", \"content\": \"\\ud800\"}]", "request", "a lone surrogate at byte 30"),
        ("{\"prompt\": [[1, 2]]}", "text", "empty or white space"),
        ("{\"prompt\": [null]}", "prompt[0]", "null"),
        ("[\"text\"]", "messages[0]", "a string"),
    ] {
        let error = featured(request, Spec::NEWEST).expect_err(request);
        assert_eq!(
            (error.kind, &*error.field, &*error.value),
            (ErrorKind::RequestInvalid, field, value),
            "{request}"
        );
    }
    // A list of texts is one turn; tokens among them cannot be read.
    let turns = CUE_NAMES.iter().position(|name| *name == "turns").expect("a cue");
    let listed = features(&json!({"prompt": ["one", "two", 7]}));
    assert_eq!(listed.cues[turns].to_bits(), 1f32.to_bits());
    assert_eq!(essence(&listed), essence(&features(&json!({"prompt": "one\ntwo"}))));
}

/// Two models at known prices, a conversation's worth of quality apart, under a certificate.
fn handle(policy: Policy, changes: &str) -> Handle {
    handle_with(policy, None, changes)
}

fn handle_with(policy: Policy, policies: Option<Policies>, changes: &str) -> Handle {
    let plan = Plan::all_backends(2, Some(shared_encoder().checksum().to_owned()));
    let mut draft = Draft::new(&mut Random(3), &plan);
    draft.header.policy = policy;
    draft.header.policies = policies;
    (draft.header.best_constant, draft.header.guard_margin) = (1, 0.0);
    draft.header.guarantee = Some(guarantee());
    for (model, scale) in draft.header.models.iter_mut().zip([1.0, 10.0]) {
        model.cost = None;
        model.cleared = true;
        model.latency = Some([0.2 * scale, 0.0]);
        model.expected_output_tokens = Some(100.0);
        model.prices = Prices {
            input: Some(1e-6 * scale),
            output: Some(4e-6 * scale),
            cached_input: Some(1e-7 * scale),
            tiers: vec![Tier { above: 1000.0, input: Some(2e-6 * scale), ..Tier::default() }],
            ..Prices::default()
        };
    }
    Handle::new(&draft.bytes(), Some(Arc::clone(shared_encoder())), changes).expect("sound")
}

fn ask(handle: &Handle, request: &Value, options: &Value) -> Value {
    let answer = handle.decide_json(&request.to_string(), &options.to_string()).expect("a decision");
    serde_json::from_str(&answer).expect("JSON")
}

#[test]
fn an_answer_says_everything_by_name() {
    let handle = handle(Policy::Threshold { weak: 0, strong: 1, threshold: -1.0 }, "");
    let request = json!({"messages": [{"role": "user", "content": "What is 2 + 2?"}]});
    let answer = ask(&handle, &request, &json!({}));
    assert_eq!(answer["model"], "model-1");
    assert_eq!((&answer["reason"], &answer["routed_by"]), (&json!("gain_worth_cost"), &json!("learned")));
    assert_eq!(answer["guarantee"]["epsilon"], 0.05);
    assert_eq!(answer["guarantee_note"], "");
    let tokens = answer["tokens"].as_f64().expect("a number");
    for (model, scale) in [("model-0", 1.0), ("model-1", 10.0)] {
        let cost = answer["costs"][model].as_f64().expect("a price");
        assert!((cost - scale * (1e-6 * tokens + 4e-6 * 100.0)).abs() < 1e-12);
        assert_eq!(answer["latencies"][model], json!(0.2 * scale));
        assert_eq!(answer["output_tokens"][model], json!(100.0));
        assert!(answer["scores"][model].is_number());
    }
    assert_eq!(answer["cost"], answer["costs"]["model-1"]);
    assert_eq!(answer["quality"], answer["scores"]["model-1"]);
    assert_eq!(answer["removed"], json!({}));
    assert!(answer["confidence"].is_number() && answer["prediction_set"].is_array());

    let answer = ask(&handle, &request, &json!({"max_latency": 1.0}));
    assert_eq!(
        (&answer["model"], &answer["removed"]),
        (&json!("model-0"), &json!({"model-1": "max_latency"}))
    );
    assert_eq!(answer["guarantee"], Value::Null);
    assert_eq!(answer["guarantee_note"], "a constraint changed the choice");
    let answer = ask(&handle, &request, &json!({"pin": "model-0"}));
    assert_eq!(
        (&answer["routed_by"], &answer["guarantee_note"]),
        (&json!("override"), &json!("overridden by the caller"))
    );
    let models = "the certificate was earned with other models";
    let prices = "the certificate was earned with other prices or output lengths, which its policy weighs";
    let (threshold, weight) = (
        Policy::Threshold { weak: 0, strong: 1, threshold: -1.0 },
        Policy::CostWeight { cost_weight: 1.0, unit: CostUnit::Usd },
    );
    for (policy, changes, note) in [
        (&threshold, r#"[{}, {"name": "other"}]"#, models),
        (&weight, r#"[{}, {"name": "other"}]"#, models),
        (&threshold, r#"[{}, {"price_input": 1e-7}]"#, ""),
        (&weight, r#"[{}, {"price_input": 1e-7}]"#, prices),
        (&weight, r#"[{"expected_output_tokens": 7}, {}]"#, prices),
        (&weight, r#"[{"price_tiers": [{"above": 5, "input": 1.0}]}, {}]"#, prices),
        (
            &weight,
            r#"[{"price_input": null, "price_output": null, "price_cached_input": null, "price_request": 0.1}, {}]"#,
            prices,
        ),
        // What decisions do not depend on, or where a constraint says so itself.
        (&weight, r#"[{"price_input": 1.0000000001e-6}, {"context_window": 100000}]"#, ""),
        (&weight, r#"[{"price_cached_input": 1e-8}, {"price_cache_write": 1e-8}]"#, ""),
        (&weight, r#"[{"name": "model-0"}, {}]"#, ""),
    ] {
        let answer = ask(&self::handle(policy.clone(), changes), &request, &json!(null));
        assert_eq!(answer["guarantee_note"], note, "{policy:?} {changes}");
        assert_eq!(answer["guarantee"].is_null(), !note.is_empty());
    }
}

#[test]
fn options_are_read_by_name() {
    let handle = handle(Policy::Constant { model: 1 }, "");
    for (options, field) in [
        (r#"{"max_cst": 1}"#, "options"),
        (r#"{"max_cost": "1"}"#, "max_cost"),
        ("[]", "options"),
        (r#"{"max_cost": -1}"#, "max_cost"),
        (r#"{"pin": "model-7"}"#, "pin"),
        (r#"{"policy": "cheap"}"#, "policy"),
    ] {
        let error = handle.decide_json("\"Hello\"", options).expect_err(options);
        assert_eq!((error.kind, &*error.field), (ErrorKind::OptionInvalid, field), "{options}");
    }
    // Options come before the request: what the caller got wrong in them is said whatever the text is.
    assert_eq!(handle.decide_json("\"\"", r#"{"max_cost": -1}"#).expect_err("both").field, "max_cost");
    assert!(handle.decide_json("\"Hello\"", "").is_ok());
    let nothing =
        r#"{"max_cost": null, "allowed": null, "exclude": null, "pin": null, "cached_tokens": null}"#;
    assert!(handle.decide_json("\"Hello\"", nothing).is_ok());
}

#[test]
fn a_policy_scales_what_cost_weighs() {
    let gain = |options: Value| {
        let handle = handle(Policy::Threshold { weak: 0, strong: 1, threshold: 0.1 }, "");
        let answer = ask(&handle, &json!("What is 2 + 2?"), &options);
        let scores = &answer["scores"];
        let gain =
            scores["model-1"].as_f64().expect("a score") - scores["model-0"].as_f64().expect("a score");
        (gain, answer["model"] == "model-1", answer["routed_by"].clone())
    };
    let (gained, ..) = gain(json!({}));
    for (threshold, policy, scaled) in [
        (0.1, "cheapest", 0.2),
        (0.1, "cost", 0.2), // its former name
        (0.1, "balanced", 0.1),
        (0.1, "quality", 0.0),
        (-0.1, "cheapest", 0.0),
        (-0.1, "quality", -0.2),
        (-0.1, "balanced", -0.1),
    ] {
        let (_, strong, _) = gain(json!({"threshold": threshold, "policy": policy}));
        assert_eq!(strong, gained >= scaled, "{threshold} {policy}: {gained}");
    }
    assert_eq!(gain(json!({"policy": "balanced"})).2, "learned");
    assert_eq!(gain(json!({"policy": "cheapest"})).2, "override");
}

#[test]
fn a_policy_that_training_fixed_is_chosen_by_its_name() {
    let constant = |model| Policy::Constant { model };
    let asked = |in_force, policy: Policy, options: Value| {
        let policies = Policies {
            in_force,
            quality: constant(1),
            balanced: Policy::Threshold { weak: 0, strong: 1, threshold: -1.0 },
            cheapest: Policy::Threshold { weak: 0, strong: 1, threshold: 2.0 },
        };
        let handle = handle_with(policy, Some(policies), "");
        let answer = ask(&handle, &json!("What is 2 + 2?"), &options);
        (answer["model"].clone(), answer["reason"].clone(), answer["guarantee"].is_object())
    };
    let certified = Policy::Threshold { weak: 0, strong: 1, threshold: -0.5 };
    for (options, model, reason, covered) in [
        (json!({}), "model-1", "gain_worth_cost", true),
        (json!({"policy": "quality"}), "model-1", "best_constant", false),
        (json!({"policy": "cheapest"}), "model-0", "gain_too_small", false),
        (json!({"policy": "cost"}), "model-0", "gain_too_small", false),
        // The name the policy in force bears: that policy, under its certificate, though it is none of the three.
        (json!({"policy": "balanced"}), "model-1", "gain_worth_cost", true),
    ] {
        let found = asked(Scale::Balanced, certified.clone(), options.clone());
        assert_eq!(found, (json!(model), json!(reason), covered), "{options}");
    }
    // Trained for the lowest cost: balanced is another than the one in force.
    let cheapest = Policy::Threshold { weak: 0, strong: 1, threshold: 2.0 };
    let balanced = json!({"policy": "balanced"});
    assert_eq!(asked(Scale::Cheapest, cheapest.clone(), json!({})).0, "model-0");
    assert_eq!(
        asked(Scale::Cheapest, cheapest, balanced),
        (json!("model-1"), json!("gain_worth_cost"), false)
    );
}

#[test]
fn a_conversation_stays_where_leaving_its_cache_does_not_pay() {
    // The weak model is wanted, the conversation is with the strong one: it stays where what is in its cache makes
    // up for the price.
    let handle = handle(Policy::CostWeight { cost_weight: 0.0, unit: CostUnit::Usd }, "");
    let words = "alpha beta gamma ".repeat(150);
    let request = json!({"messages": [{"role": "user", "content": words}]});
    let free = ask(&handle, &request, &json!({}));
    let (tokens, wanted) = (free["tokens"].as_f64().expect("tokens"), free["model"].clone());
    let other = if wanted == "model-0" { "model-1" } else { "model-0" };
    let staying = |options: Value| ask(&handle, &request, &options)["reason"] == "prompt_cached";
    let gap = free["scores"][wanted.as_str().expect("a name")].as_f64().expect("a score")
        - free["scores"][other].as_f64().expect("a score");
    assert!(gap > 0.0);
    // Quality alone: less of it is never made up for.
    assert!(!staying(json!({"current": other, "cached_tokens": {other: tokens}})));
    // At a weight where both are about worth the same, the discount decides.
    let cost = |model: &str| free["costs"][model].as_f64().expect("a cost");
    let saved = 0.9 * tokens * if other == "model-1" { 1e-5 } else { 1e-6 };
    let dearer = cost(other) - cost(wanted.as_str().expect("a name"));
    if dearer < saved {
        let weight = gap / (saved - dearer).max(1e-12);
        for (weight, expected) in [(weight * 1.01, true), (weight * 0.99, false)] {
            let base = json!({"cost_weight": weight, "current": other, "cached_tokens": {other: tokens}});
            let plain = ask(&handle, &request, &json!({"cost_weight": weight}));
            if plain["model"] == wanted {
                assert_eq!(staying(base), expected, "{weight}");
            }
        }
    }
    // No cache, an excluded model, or the model that was wanted anyway: nothing to stay for.
    assert!(!staying(json!({"current": other})));
    assert!(!staying(
        json!({"current": wanted, "cached_tokens": {wanted.as_str().expect("a name"): tokens}})
    ));
    assert!(!staying(json!({"current": other, "cached_tokens": {other: tokens}, "exclude": [other]})));
}

#[test]
fn no_more_is_cached_than_the_prompt_has() {
    // Both models ask the same, so that only what is cached tells them apart.
    let same =
        r#"{"price_input": 1e-6, "price_output": 4e-6, "price_cached_input": 1e-7, "price_tiers": []}"#;
    let handle =
        handle(Policy::CostWeight { cost_weight: 0.0, unit: CostUnit::Usd }, &format!("[{same}, {same}]"));
    let request = json!("alpha beta gamma ".repeat(150));
    let free = ask(&handle, &request, &json!({}));
    let tokens = free["tokens"].as_f64().expect("tokens");
    let wanted = free["model"].as_str().expect("a name");
    let other = if wanted == "model-0" { "model-1" } else { "model-0" };
    let score = |model: &str| free["scores"][model].as_f64().expect("a score");
    let gap = score(wanted) - score(other);
    assert!(gap > 0.0 && tokens > 100.0);
    let stays = |cached: f64, cost_weight: f64| {
        let options = json!({"current": other, "cached_tokens": {other: cached}, "cost_weight": cost_weight});
        ask(&handle, &request, &options)["reason"] == "prompt_cached"
    };
    // The weight at which a prompt read from the cache whole makes up for the quality.
    let balance = gap / (tokens * 9e-7);
    for cached in [tokens, tokens + 1.0, 10.0 * tokens, 1e9] {
        assert!(stays(cached, 1.001 * balance), "{cached} of {tokens}");
        assert!(!stays(cached, 0.999 * balance), "{cached} of {tokens}");
    }
    assert!(!stays(tokens / 2.0, 1.9 * balance) && stays(tokens / 2.0, 2.1 * balance));
    // What both have cached cancels out.
    let both = json!({"current": other, "cached_tokens": {other: tokens, wanted: tokens}, "cost_weight": 2.0 * balance});
    assert_eq!(ask(&handle, &request, &both)["model"], wanted);
}

#[test]
fn constraints_are_kept_without_the_learned_policy() {
    let handle = handle(Policy::Constant { model: 1 }, r#"[{"context_window": 500}, {}]"#);
    let options = |json: Value| Options::from_json(&json.to_string()).expect("options");
    let left = |tokens, at_most, json| handle.outlook(tokens, at_most, &options(json));
    let outlook = left(Some(300), 9999, json!({"max_cost": 0.001, "min_quality": 1.0})).expect("feasible");
    assert_eq!(outlook.removed.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
    assert!((outlook.cost[0] - (300.0 * 1e-6 + 100.0 * 4e-6)).abs() < 1e-12);
    // The window is judged where tokens are known, and only there; a limit on cost counts every character.
    assert!(left(Some(401), 9999, json!({"allowed": ["model-0"]})).is_err());
    assert!(left(None, 9999, json!({"allowed": ["model-0"]})).is_ok());
    let error = left(None, 900, json!({"max_cost": 0.001})).expect_err("too dear");
    assert_eq!(error.kind, ErrorKind::NoFeasibleModel);
    assert_eq!(left(None, 9, json!({"pin": "x"})).expect_err("unknown").field, "pin");
}

#[test]
fn an_outline_says_how_a_conversation_began_and_what_was_said_last() {
    let json = r#"[{"role": "system", "content": "S"}, {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"}, {"role": "user", "content": [{"type": "text", "text": "a"}, "b"]},
        {"role": "tool", "content": "found"}]"#;
    let found = tiny_dancer::outline(json).expect("sound");
    assert_eq!(found.said, "a\nb");
    assert_eq!(&json[found.last.clone()], r#"[{"type": "text", "text": "a"}, "b"]"#);
    assert!(json[..found.begun].ends_with("\"one\""));
    let alone = tiny_dancer::outline("\"x\\ty\"").expect("sound");
    assert_eq!((alone.said.as_str(), alone.last, alone.begun), ("x\ty", 0..6, 6));
    let nobody = tiny_dancer::outline(r#"[{"role": "assistant", "content": "x"}]"#).expect("sound");
    assert_eq!((nobody.said.as_str(), nobody.begun), ("x", 39));
    assert_eq!(tiny_dancer::outline("[]").expect_err("nothing").field, "messages");
}
