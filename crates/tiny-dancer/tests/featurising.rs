//! Any text, messages and tools become finite features in bounded work, whatever their case and white space.

mod support;

use proptest::prelude::*;
use support::{messages_json, shipped_encoder};
use tiny_dancer::encoder::Encoder;
use tiny_dancer::features::{CHAR_BASE, CUE_NAMES, CUES, DIM, FeatureScratch, Features, featurise};
use tiny_dancer::{Error, ErrorKind, HEAD, LONGEST, Request, Spec, TAIL, Words};

fn features_of(request: &Request, encoder: Option<&Encoder>) -> Result<Features, Error> {
    let mut out = Features::default();
    featurise(request, Spec::NEWEST, encoder, &mut FeatureScratch::default(), &mut out)?;
    Ok(out)
}

fn text(text: &str) -> Request<'_> {
    Request::text(text)
}

fn chat(messages: &str) -> Request<'_> {
    Request { words: Words::Json(messages), ..Request::default() }
}

/// All that two requests with the same features agree in.
fn essence(features: &Features) -> (Vec<u32>, Vec<u32>, Vec<u32>, [i8; DIM], u32) {
    (
        features.word_ngrams().to_vec(),
        features.character_ngrams().to_vec(),
        features.cues.iter().map(|cue| cue.to_bits()).collect(),
        features.embedding,
        features.tokens,
    )
}

fn cue(features: &Features, name: &str) -> f32 {
    features.cues[CUE_NAMES.iter().position(|found| *found == name).expect("a cue")]
}

/// What every feature vector is, whatever it was made from. `characters` bounds the characters read.
fn assert_sound(features: &Features, characters: usize) {
    for (cue, name) in features.cues.iter().zip(CUE_NAMES) {
        assert!(cue.is_finite(), "{name} is {cue}");
    }
    assert!(features.embedding.iter().all(|&value| value != i8::MIN));
    assert!(features.unit_embedding.iter().all(|value| value.is_finite() && value.abs() <= 1.0));
    assert!(features.inverse_norm.is_finite());
    let (words, pieces) = (features.word_ngrams(), features.character_ngrams());
    assert!(words.iter().all(|&index| index < CHAR_BASE));
    assert!(pieces.iter().all(|&index| (CHAR_BASE..2 * CHAR_BASE).contains(&index)));
    assert!(words.len() <= 2 * characters && pieces.len() <= 2 * characters, "{characters} characters");
}

fn any_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        3 => "[a-zA-Z]{1,12}",
        2 => "[ -~]{0,20}",
        1 => "[0-9.,$%/+-]{1,12}",
        1 => "[\\s\\x00-\\x1f]{1,4}",
        1 => Just(" a. one b. two (c) three d) four answer:".to_owned()),
        1 => prop::collection::vec(any::<char>(), 0..8).prop_map(String::from_iter),
        1 => prop::collection::vec(proptest::char::range('\u{300}', '\u{36f}'), 0..8).prop_map(String::from_iter),
        1 => "[你好世界。？ฯกขค]{0,8}",
    ];
    prop::collection::vec(part, 0..25).prop_map(|parts| parts.join(" "))
}

fn any_role() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["system", "developer", "user", "assistant", "tool"])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_request_has_sound_features_or_is_empty(
        messages in prop::collection::vec((any_role(), any_text()), 0..5),
        alone in any_text(),
        tools in prop::collection::vec("\\{\"parameters\": \\{\"type\": [0-9]{1,3}\\}\\}", 0..9),
        with_encoder in any::<bool>(),
    ) {
        let said: Vec<_> = messages.iter().map(|(role, content)| (*role, content.as_str())).collect();
        let (json, tools) = (messages_json(&said), format!("[{}]", tools.join(", ")));
        let words = if messages.is_empty() { Words::Text(&alone) } else { Words::Json(&json) };
        let request = Request { words, tools: &tools, ..Request::default() };
        let encoder = with_encoder.then(shipped_encoder);
        match features_of(&request, encoder) {
            Ok(features) => {
                // A follow-up stands for what it goes on from, too.
                let alone = if messages.is_empty() { alone.len() } else { 0 };
                let bytes: usize = alone + messages.iter().map(|(_, content)| content.len() + 1).sum::<usize>();
                assert_sound(&features, 18 * (bytes + 1));
                // A used scratch and output give the same as fresh ones.
                let (mut scratch, mut out) = (FeatureScratch::default(), Features::default());
                featurise(&text("Something else: a. 1 b. 2"), Spec::NEWEST, encoder, &mut scratch, &mut out).expect("text");
                featurise(&request, Spec::NEWEST, encoder, &mut scratch, &mut out).expect("as before");
                prop_assert_eq!(essence(&out), essence(&features));
                // What a featurised table holds gives the same features again.
                let mut ngrams = [features.word_ngrams(), features.character_ngrams()].concat();
                ngrams.sort_unstable();
                let mut read = Features::default();
                read.set(&ngrams, &features.cues, &features.embedding, features.tokens).expect("sound");
                prop_assert_eq!(read.word_ngrams().len(), features.word_ngrams().len());
                prop_assert_eq!(read.unit_embedding.map(f32::to_bits), features.unit_embedding.map(f32::to_bits));
            }
            Err(error) => {
                prop_assert_eq!((error.kind, &*error.field), (ErrorKind::RequestInvalid, "text"));
                let user = messages.iter().any(|(role, _)| *role == "user");
                let mut routed = messages.iter().filter(|(role, _)| !user || *role == "user");
                let blank = |text: &str| text.chars().all(|c| c.is_whitespace() || c.is_control());
                prop_assert!(routed.all(|(_, content)| blank(content)));
                prop_assert!(!messages.is_empty() || blank(&alone));
            }
        }
    }

    #[test]
    fn case_and_white_space_change_nothing(
        words in prop::collection::vec(prop_oneof![
            4 => "[a-zA-Z]{1,9}", 2 => "[ -~]{1,9}", 1 => "[0-9]{1,5}", 1 => "[你好éüпривет…—]{1,5}"
        ], 1..30),
        spaces in prop::collection::vec(
            prop::sample::select(vec![" ", "\n", "\t", "  ", "\r\n", "\u{a0}", "\u{2003} ", "\0"]), 30
        ),
    ) {
        let plain = words.join(" ");
        let mut other = String::from("\n ");
        for (word, space) in words.iter().zip(&spaces) {
            other.push_str(&word.to_ascii_uppercase());
            other.push_str(space);
        }
        for encoder in [None, Some(shipped_encoder())] {
            match (features_of(&text(&plain), encoder), features_of(&text(&other), encoder)) {
                (Ok(plain), Ok(other)) => prop_assert_eq!(essence(&plain), essence(&other)),
                (plain, other) => prop_assert!(plain.is_err() && other.is_err()),
            }
        }
    }
}

#[test]
fn a_megabyte_of_anything_is_bounded_work() {
    let fill = |part: &str| part.repeat((1 << 20) / part.len() + 1);
    let shapes = [
        ("one word", fill("a"), 1),
        ("white space, then a word", fill(" ") + "word", 1),
        ("option markers", fill("a. b. "), 1),
        ("every option marker", fill("(a) x (b) y c. z d: w e) f. g. h. i. j. "), 1),
        ("digits", fill("1234567890"), 1),
        ("numbers", fill("1,2.3 "), 1),
        ("symbols", fill("{}[];$%"), 1),
        ("emoji", fill("😀👩‍👩‍👧"), 1),
        ("Chinese", fill("你好，世界。"), 1),
        ("marks", fill("e\u{301}\u{327}\u{315}\u{35c}\u{316}\u{302}"), 1),
        ("only marks", fill("\u{316}\u{302}"), 1),
        ("characters that fall into eighteen", fill("\u{fdfa}"), 18),
        ("NUL, then a word", fill("\0") + "word", 1),
    ];
    for (name, megabyte, growth) in &shapes {
        for encoder in [None, Some(shipped_encoder())] {
            let features = features_of(&text(megabyte), encoder).expect(name);
            assert_sound(&features, growth * (LONGEST + 1));
            // What is read is head and tail: the features of the two, joined, but for the estimate of tokens.
            let read = format!("{} {}", &megabyte[..megabyte.floor_char_boundary(HEAD)], {
                &megabyte[megabyte.ceil_char_boundary(megabyte.len() - TAIL)..]
            });
            let mut features = features_of(&text(megabyte), encoder).expect(name);
            let short = features_of(&text(&read[..read.floor_char_boundary(LONGEST)]), encoder).expect(name);
            assert!(features.tokens >= short.tokens, "{name}");
            features.tokens = short.tokens;
            if read.len() <= LONGEST {
                assert_eq!(essence(&features), essence(&short), "{name}");
            }
        }
    }
    let tools = format!("[{}", "{\"parameters\": {\"type\": [".repeat(40_000));
    let request = Request { tools: &tools, ..text("Call one") };
    let mut features = features_of(&request, None).expect("what is no JSON counts by its bytes");
    assert_sound(&features, 10);
    assert!(cue(&features, "tools").to_bits() == 0 && cue(&features, "log_tool_characters") > 10.0);
    featurise(&request, Spec::One, None, &mut FeatureScratch::default(), &mut features).expect("any text");
    assert_sound(&features, 10);
    assert!(cue(&features, "tools") < (1f32 + 64.0 * 1024.0 / 26.0).ln() + 0.1, "of 64 KiB");
    let messages = messages_json(&[("user", shapes[2].1.as_str()); 20]);
    assert_sound(&features_of(&chat(&messages), Some(shipped_encoder())).expect("messages"), LONGEST + 1);
}

#[test]
fn empty_requests_are_refused() {
    for empty in ["", " ", "\n\t\r ", "\0", "\0 \0", "\u{a0}\u{2003}\u{3000}", "\u{7f}\u{85}"] {
        let error = features_of(&text(empty), None).expect_err(empty);
        assert_eq!((error.kind, &*error.field), (ErrorKind::RequestInvalid, "text"), "{empty:?}");
        let messages = messages_json(&[("user", empty)]);
        assert_eq!(features_of(&chat(&messages), None).expect_err(empty).kind, ErrorKind::RequestInvalid);
    }
    // A NUL among words is white space.
    let nul = essence(&features_of(&text("one\0two"), None).expect("words"));
    assert_eq!(nul, essence(&features_of(&text("one two"), None).expect("words")));
}

#[test]
fn the_users_words_are_routed_and_the_others_counted() {
    let conversation = messages_json(&[
        ("system", "You are a helpful assistant."),
        ("user", "What is 2 + 2?"),
        ("assistant", "It is 4."),
        ("user", "And 3 + 3?"),
    ]);
    let chat_of = chat;
    let chat = features_of(&chat(&conversation), Some(shipped_encoder())).expect("chat");
    let joined = features_of(&text("And 3 + 3?"), Some(shipped_encoder())).expect("text");
    assert_eq!(chat.embedding, joined.embedding);
    assert_eq!(chat.word_ngrams(), joined.word_ngrams());
    let first = CUE_NAMES.iter().position(|name| *name == "turns").expect("a cue");
    assert_eq!(chat.cues[..first], joined.cues[..first]);
    let close = |found: f32, expected: f32| (found - expected).abs() < 1e-6;
    assert!(close(cue(&chat, "turns"), 2.0) && close(cue(&joined, "turns"), 1.0));
    assert!(close(cue(&chat, "log_system_characters"), 28f32.ln_1p()));
    assert!(close(cue(&chat, "log_assistant_characters"), 22f32.ln_1p()), "an earlier turn too");
    assert_eq!(chat.tokens, joined.tokens + 12, "50 bytes around, four a token");

    // A turn that only says to go on stands for what it follows.
    let plan = "Plan a bridge over the strait, with its pylons, cables and a budget.";
    let steps = "First the soil: bore every forty metres down to the rock.";
    for more in ["Yes, go on.", "continue", "ok, do it", "Great! And then?"] {
        let said = messages_json(&[("user", plan), ("assistant", steps), ("user", more)]);
        let said = features_of(&chat_of(&said), Some(shipped_encoder())).expect("chat");
        let asked = features_of(&text(&format!("{plan}\n{steps}")), Some(shipped_encoder())).expect("text");
        assert_eq!((said.embedding, said.word_ngrams()), (asked.embedding, asked.word_ngrams()), "{more}");
        assert_eq!(said.cues[..first], asked.cues[..first], "{more}");
    }

    // What a harness alone says is no turn, and what it puts around the user's words is none of them.
    for said in [
        "<system-reminder>Mind the gap.</system-reminder>",
        "[Request interrupted by user]",
        "<environment_details>\ncwd: /\n</environment_details>\n<bash-stdout>x</bash-stdout>",
    ] {
        let apart = messages_json(&[("user", plan), ("assistant", steps), ("user", said)]);
        let apart = features_of(&chat_of(&apart), Some(shipped_encoder())).expect("chat");
        let asked = features_of(&text(plan), Some(shipped_encoder())).expect("text");
        assert_eq!((apart.embedding, apart.word_ngrams()), (asked.embedding, asked.word_ngrams()), "{said}");
        assert!(close(cue(&apart, "turns"), 1.0), "{said}");
        let more =
            messages_json(&[("user", plan), ("assistant", steps), ("user", &format!("{said}\nyes, go on"))]);
        let more = features_of(&chat_of(&more), Some(shipped_encoder())).expect("chat");
        let asked = features_of(&text(&format!("{plan}\n{steps}")), Some(shipped_encoder())).expect("text");
        assert!(asked.word_ngrams().iter().all(|gram| more.word_ngrams().contains(gram)), "{said}");
        let alone = messages_json(&[("user", said)]);
        assert!(features_of(&chat_of(&alone), None).is_ok(), "{said}");
    }

    // Where no message is the user's, all are the text.
    let spoken = messages_json(&[("system", "Be brief."), ("assistant", "Yes.")]);
    let alone = features_of(&chat_of(&spoken), None).expect("chat");
    assert_eq!(alone.word_ngrams(), features_of(&text("Be brief. Yes."), None).expect("text").word_ngrams());
    assert!(close(cue(&alone, "turns"), 0.0) && close(cue(&alone, "log_system_characters"), 0.0));

    let tools =
        r#"[{"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}}]"#;
    let offered = features_of(&Request { tools, ..text("Call f") }, None).expect("text");
    assert!(
        close(cue(&offered, "tools"), 1f32.ln_1p()) && close(cue(&offered, "tool_parameters"), 1f32.ln_1p())
    );
}

#[test]
fn featurised_rows_are_checked() {
    let (cues, embedding) = ([0.5; CUES], [1i8; DIM]);
    let mut features = Features::default();
    features.set(&[1, 5, CHAR_BASE, 2 * CHAR_BASE - 1], &cues, &embedding, 7).expect("sound");
    assert_eq!((features.word_ngrams(), features.tokens), (&[1, 5][..], 7));
    for wrong in [&[5, 1][..], &[1, 1], &[2 * CHAR_BASE]] {
        let error = features.set(wrong, &cues, &embedding, 7).expect_err("refused");
        assert_eq!((error.kind, &*error.field), (ErrorKind::RequestInvalid, "features|ngrams"));
    }
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
        let mut cues = cues;
        cues[3] = wrong;
        let error = features.set(&[], &cues, &embedding, 7).expect_err("refused");
        assert_eq!((error.kind, &*error.field), (ErrorKind::RequestInvalid, "features|cues[3]"));
    }
}
