//! After the first requests, deciding allocates nothing.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use support::cell::{ClassifierDraft, Form, Numbers};
use support::intents::RoutesDraft;
use support::scorers::ScorerDraft;
use support::textbook::{Asked, Sample, any_samples, any_words, set_of};
use support::{Draft, Plan, Random, filter_of, messages_json, shipped_encoder};
use tiny_dancer::agents::{AgentSet, Card, Cards, Choices, Named, Query, SearchScratch};
use tiny_dancer::candidates::{CandidateScorer, FEATURES, Precision, RankOptions, RankScratch};
use tiny_dancer::classifier::{self, Classifier};
use tiny_dancer::conformal::{Calibration, LabelScratch, Relevance, ScoreKind};
use tiny_dancer::policy::Policy;
use tiny_dancer::routes::{self, Routes};
use tiny_dancer::tasks::Tasks;
use tiny_dancer::tools::{Definition, SelectOptions, ToolScratch, ToolSet, Turn};
use tiny_dancer::{Options, Request, Router, Scratch, Words};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// Counts what this thread asks of the system's allocator.
struct Counting;

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn counted<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATIONS.with(Cell::get);
    let result = work();
    (result, ALLOCATIONS.with(Cell::get) - before)
}

/// Texts that fill every buffer as far as any text can: the first requests of a long-lived process, in short.
fn extremes(random: &mut Random) -> Vec<String> {
    let fill = |part: &str| part.repeat(8192 / part.len());
    let pair = |at: u32| [char::from(b'k' + (at % 16) as u8), char::from(b'a' + (at / 16 % 26) as u8), ' '];
    let letters: String = (0..2731).flat_map(pair).collect();
    vec![
        fill("!"),
        fill("a "),
        fill("1 "),
        fill("thousand "),
        fill("\u{fdfa}"),
        format!("a{}", &fill("\u{316}")[2..]),
        // The most different n-grams.
        characters(random, 8192, 0x21, 0x7F),
        characters(random, 8192, 0xA1, 0x2AF),
        fill("\u{3310}"),
        // What repeats is folded: the longest that does not.
        characters(random, 8192, 0xFB50, 0xFDFB),
        characters(random, 8192, 0x3300, 0x33FF),
        fill("a. b. "),
        format!("{} a. x b. y c. z", &fill("x ")[..8000]),
        // What is said again and again counts once: words that differ, as a stem and as options.
        format!("{} a. x b. y c. z", &letters[..8000]),
        format!("z a. {0} b. {0} c. {0}", &letters[..2700]),
        format!("{{\"question\": \"{}\"}}", &letters[..8000]),
        fill("question: x answer: y z "),
        fill("(a) x b) y c. z d: w e) f. g. h. i. j. "),
    ]
}

fn word(random: &mut Random) -> String {
    (0..=random.below(9)).map(|_| char::from(b'a' + random.below(26) as u8)).collect()
}

fn words(random: &mut Random, count: usize) -> String {
    let mut text = String::new();
    for _ in 0..count {
        match random.below(8) {
            0 => text.push_str(&random.below(10_000).to_string()),
            1 => text.push_str("What, then?"),
            _ => text.push_str(&word(random)),
        }
        text.push(' ');
    }
    text
}

fn characters(random: &mut Random, bytes: usize, low: u32, high: u32) -> String {
    let mut text = String::new();
    while text.len() + 4 <= bytes {
        text.extend(char::from_u32(low + random.below((high - low) as usize) as u32));
        if random.chance(0.2) {
            text.push(' ');
        }
    }
    text + "."
}

/// New texts of every class; none was seen before.
fn texts(random: &mut Random) -> Vec<(&'static str, String)> {
    let mut long = words(random, 2000);
    long.truncate(8192);
    let zalgo: String =
        (0..300).map(|_| word(random) + &characters(random, 20, 0x300, 0x36F)).collect::<Vec<_>>().join(" ");
    let question = format!(
        "{} a. {} b. {} c. {} d. {} answer:",
        words(random, 30),
        words(random, 4),
        words(random, 4),
        words(random, 4),
        words(random, 4)
    );
    vec![
        ("30 tokens", words(random, 22)),
        ("200 tokens", words(random, 150)),
        ("multiple choice", question),
        ("8 KiB", long),
        ("accents", characters(random, 4000, 0xC0, 0x17F)),
        ("Greek and Cyrillic", characters(random, 8000, 0x370, 0x4FF)),
        ("Chinese", characters(random, 8000, 0x4E00, 0x9FFF)),
        ("Hangul", characters(random, 8000, 0xAC00, 0xD7A3)),
        ("Arabic forms", characters(random, 8000, 0xFB50, 0xFDFB)),
        ("emoji", characters(random, 8000, 0x1F300, 0x1FAFF)),
        ("marks upon marks", zalgo),
        ("any character", characters(random, 8000, 0x20, 0x3_0000)),
        ("a megabyte of words", words(random, 180_000)),
        ("a megabyte of one word", word(random).repeat(1 << 18)),
    ]
}

#[test]
fn deciding_allocates_nothing_after_the_first_requests() {
    let encoder = shipped_encoder();
    let policies = [
        Policy::Constant { model: 1 },
        Policy::Threshold { weak: 0, strong: 2, threshold: 0.01 },
        Policy::CostWeight { cost_weight: 2.0, unit: tiny_dancer::policy::CostUnit::Usd },
    ];
    let tools = format!("[{}1e3]", r#"{"name": "f\n", "parameters": {"type": "object"}}, "#.repeat(400));
    let mut random = Random(77);
    for policy in policies {
        let plan = Plan::all_backends(5, Some(encoder.checksum().to_owned()));
        let mut draft = Draft::new(&mut random, &plan);
        draft.header.policy = policy;
        for model in &mut draft.header.models {
            model.prices = tiny_dancer::price::Prices::default();
            (model.cost, model.latency) = (Some([1e-4, 1e-7, 1e-5]), Some([0.2, 1e-4]));
        }
        let router = Router::from_bytes(&draft.bytes(), Some(encoder)).expect("sound");
        let mut scratch = Scratch::default();
        let options = [
            Options::default(),
            Options { max_cost: Some(1e6), exclude: vec!["model-0".to_owned()], ..Options::default() },
            Options { min_quality: Some(0.0), pin: Some("model-3".to_owned()), ..Options::default() },
        ];
        for text in extremes(&mut random) {
            let messages = messages_json(&[("user", text.as_str()); 6]);
            for request in
                [Request::text(&text), Request { words: Words::Json(&messages), ..Request::default() }]
            {
                router.decide(&request, Some(encoder), &options[0], &mut scratch).expect("feasible");
            }
        }
        for _ in 0..2 {
            for (name, text) in texts(&mut random) {
                let earlier = words(&mut random, 40);
                let messages = messages_json(&[
                    ("system", &earlier),
                    ("user", &earlier),
                    ("assistant", &text),
                    ("user", &text),
                ]);
                let requests = [
                    Request::text(&text),
                    Request { tools: &tools, ..Request::text(&text) },
                    Request { words: Words::Json(&messages), tools: &tools, ..Request::default() },
                ];
                for request in &requests {
                    for options in &options {
                        let (decision, allocations) =
                            counted(|| router.decide(request, Some(encoder), options, &mut scratch));
                        assert!(decision.is_ok(), "{name}: {decision:?}");
                        assert_eq!(allocations, 0, "{name}");
                    }
                }
            }
        }
    }
}

#[test]
fn classifying_allocates_nothing_after_the_first_inputs() {
    let encoder = shipped_encoder();
    let mut random = Random(78);
    for form in [None, Some(Numbers::F32), Some(Numbers::Int8)] {
        let form = form.map(|numbers| Form { ranks: [Some(3), None], ..Form::plain(numbers) });
        let draft = ClassifierDraft::of_texts(&mut random, encoder.checksum(), 5, form);
        let of_texts = Classifier::from_bytes(&draft.bytes(), Some(encoder)).expect("sound");
        let draft = ClassifierDraft::of_vectors(&mut random, 9, 5, form);
        let of_vectors = Classifier::from_bytes(&draft.bytes(), None).expect("sound");
        let mut scratch = classifier::Scratch::default();
        for text in extremes(&mut random) {
            of_texts.predict_text(&text, Some(encoder), &mut scratch).expect("a label");
        }
        of_vectors.predict_vectors(&random.floats(9 * 40, 1.0), &mut scratch).expect("a label");
        for (name, text) in texts(&mut random) {
            let (label, count) = counted(|| of_texts.predict_text(&text, Some(encoder), &mut scratch));
            assert!(label.is_ok(), "{name}: {label:?}");
            assert_eq!(count, 0, "{name}");
        }
        for steps in 1..40 {
            let vectors = random.floats(9 * steps, 1.0);
            let (label, count) = counted(|| of_vectors.predict_vectors(&vectors, &mut scratch));
            assert!(label.is_ok() && count == 0, "{steps} steps: {label:?}, {count} allocations");
        }
    }
}

#[test]
fn telling_tasks_apart_allocates_nothing_after_the_first_texts() {
    let encoder = shipped_encoder();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../python/tiny_dancer/data/tasks.safetensors");
    let bytes = std::fs::read(path).expect("the shipped artifact");
    let tasks = Tasks::from_bytes(&bytes, Some(encoder)).expect("sound");
    let mut random = Random(79);
    let mut scratch = tiny_dancer::tasks::Scratch::default();
    for text in extremes(&mut random) {
        tasks.classify(&text, Some(encoder), &mut scratch).expect("a task");
    }
    for (name, text) in texts(&mut random) {
        let (task, count) = counted(|| tasks.classify(&text, Some(encoder), &mut scratch));
        assert!(task.is_ok(), "{name}: {task:?}");
        assert_eq!(count, 0, "{name}");
    }
}

#[test]
fn conformal_sets_and_p_values_allocate_nothing_after_the_first() {
    let scores: Vec<f64> = (0..2000).map(|row| f64::from(row % 777) / 777.0).collect();
    let calibration = Calibration::fit(ScoreKind::Aps, &scores, None, 0.1).expect("enough rows");
    let relevant: Vec<bool> = (0..2000).map(|row| row % 9 == 0).collect();
    let relevance = Relevance::fit(&scores, &relevant, None, 1000).expect("both classes");
    let mut probabilities = vec![1.0 / 151.0; 151];
    let mut scratch = LabelScratch::default();
    calibration.label_set(&probabilities, None, 0.0, &mut scratch).expect("labels");
    for label in 0..151 {
        probabilities[label] += 1e-6;
        let (uncertainty, allocations) = counted(|| {
            calibration.label_set(&probabilities, Some("unknown"), 0.3, &mut scratch).expect("labels");
            relevance.p_values(label as f64 / 151.0).uncertainty()
        });
        assert!(uncertainty > 0.0);
        assert_eq!(allocations, 0);
    }
}

#[test]
fn ranking_allocates_nothing_after_the_first_calls() {
    let mut random = Random(79);
    let cell = Form { ranks: [Some(4), None], ..Form::plain(Numbers::Int8) };
    let scorers = [
        CandidateScorer::default(),
        ScorerDraft::new(&mut random, None).scorer(),
        ScorerDraft::new(&mut random, Some(cell)).calibrated(&mut random, [0.0, 1.0], 7).scorer(),
    ];
    for (count, dimensions) in [(100, 384), (1000, 48)] {
        let mut samples = any_samples(&mut random, count, dimensions);
        for (place, sample) in samples.iter_mut().enumerate() {
            *sample =
                Sample { id: format!("m{place}"), words: Some(any_words(&mut random, 20)), ..sample.clone() };
        }
        samples[3].embedding[1] = f32::NAN;
        let some =
            filter_of(samples.iter().enumerate().filter(|(row, _)| row % 3 > 0).map(|(_, each)| &*each.id));
        for precision in [Precision::Full, Precision::Quantised, Precision::Indexed] {
            let set = set_of(&samples, dimensions, precision);
            for scorer in &scorers {
                let mut scratch = RankScratch::default();
                let mut options = Vec::new();
                for diversity in [0.0, 0.3] {
                    for filter in [None, Some(&some)] {
                        let usual = RankOptions { diversity, filter, ..RankOptions::default() };
                        options.extend([5, 40].map(|k| RankOptions { k, ..usual }));
                    }
                }
                let mut rank = |asked: &Asked, options: &RankOptions| {
                    asked.lend(|query| counted(|| scorer.rank(&set, query, options, &mut scratch)))
                };
                // What a process is asked first: a text of the longest kind, everything else given.
                let first = Asked {
                    words: Some((0..1000).map(|_| random.below(24)).collect()),
                    embedding: Some(random.floats(dimensions, 1.0)),
                    metadata: vec![("tag", 1), ("kind", 2)],
                    now: Some(1.7e9),
                };
                for options in options.iter().chain(&options) {
                    rank(&first, options).0.expect("fits");
                }
                for _ in 0..6 {
                    let asked = Asked::any(&mut random, dimensions);
                    for options in &options {
                        let (done, allocations) = rank(&asked, options);
                        assert!(
                            done.is_ok() && allocations == 0,
                            "{count} candidates: {allocations} {options:?}"
                        );
                    }
                }
                let asked = Asked { now: Some(1.7e9), ..Asked::default() };
                rank(&asked, &options[0]).0.expect("fits");
                assert_eq!(scratch.unsound, [3]);
                assert_eq!(scratch.ranked[0].features.len(), FEATURES);
            }
        }
    }
}

#[test]
fn selecting_tools_allocates_nothing_after_the_first_requests() {
    let mut random = Random(79);
    let mut set = ToolSet::new(Some(std::sync::Arc::clone(support::shared_encoder())));
    let tools: Vec<(String, Definition)> = (0..300)
        .map(|number| {
            let (name, description) = (format!("tool_{number}"), words(&mut random, 12));
            (name.clone(), Definition { name, description, ..Definition::default() })
        })
        .collect();
    set.add(&tools).expect("distinct ids");
    let mut scratch = ToolScratch::default();
    let keep = ["tool_3"];
    let options = SelectOptions { k: 5, keep: &keep, ..SelectOptions::default() };
    // The longest word that is read, beside the longest texts of short ones.
    let longest = ["k".repeat(8192)];
    for text in extremes(&mut random).iter().chain(&longest) {
        set.select(&[Turn::whole(text)], &options, &mut scratch).expect("a selection");
    }
    for (class, text) in texts(&mut random) {
        let turns = [Turn::whole(&text)];
        let (found, allocations) = counted(|| set.select(&turns, &options, &mut scratch).map(<[_]>::len));
        assert_eq!((found, allocations), (Ok(5), 0), "{class}");
    }
}

#[test]
fn agents_are_chosen_and_found_without_allocating() {
    let mut random = Random(83);
    let mut set = AgentSet::new(Some(1e6)).expect("a half-life");
    for number in 0..500 {
        let tally = |mean: f64| format!(r#"{{"weight":20,"sum":{},"squares":{}}}"#, 20.0 * mean, 20.0 * mean);
        let (quality, code) = (tally(random.below(100) as f64 / 100.0), tally(0.5));
        let agent = format!(
            r#"{{"name":"agent {number}","capabilities":["code","chat {}"],"tags":["t"],"region":"eu","quality":0.8,
            "prices":{{"price_input":1e-6,"price_output":{}}},"latency":{},"output_tokens":100,
            "state":{{"at":1000,"outcomes":20,"quality":{quality},"tasks":{{"code":{code}}}}}}}"#,
            number % 90,
            1e-6 * (1 + random.below(100)) as f64,
            0.1 + number as f64 / 100.0
        );
        set.put_json(&agent).expect("an agent");
    }
    let mut choices = Choices::default();
    for policy in Named::ALL {
        let query = Query {
            policy,
            required: &["code"],
            tags: &["t"],
            region: Some("eu"),
            excluded: &["agent 3"],
            max_cost: 5e-3,
            budget: 1e-2,
            max_latency: 4.0,
            min_quality: Some(0.3),
            ..Query::default()
        };
        set.choose(&query, &mut choices).expect("an agent");
        for now in [0.0, 5e5, 3e6] {
            let query = Query { now, input_tokens: now / 1e4, ..query };
            let (found, allocations) =
                counted(|| set.choose(&query, &mut choices).map(|choice| choice.suitable));
            assert!(found.expect("an agent") > 0);
            assert_eq!(allocations, 0, "{policy:?} at {now}");
        }
    }
    let cards: Vec<Card> = (0..300)
        .map(|number| Card {
            name: format!("agent {number}"),
            description: words(&mut random, 12),
            capabilities: vec![word(&mut random)],
            examples: vec![words(&mut random, 5); number % 3],
        })
        .collect();
    let cards = Cards::new(std::sync::Arc::clone(support::shared_encoder()), &cards).expect("cards");
    let mut scratch = SearchScratch::default();
    for text in extremes(&mut random).iter().chain(&["k".repeat(8192)]) {
        cards.search(text, 3, &mut scratch).expect("cards");
    }
    for (class, text) in texts(&mut random) {
        let (found, allocations) = counted(|| cards.search(&text, 3, &mut scratch).map(<[_]>::len));
        assert_eq!((found, allocations), (Ok(3), 0), "{class}");
    }
}

#[test]
fn watching_a_stream_allocates_nothing() {
    let mut random = Random(17);
    let mut draft = Draft::new(&mut random, &Plan::all_backends(3, None));
    draft.tensors.retain(|tensor| !tensor.name.starts_with("likeness."));
    draft.add_likeness(&mut random);
    let router = Router::from_bytes(&draft.bytes(), None).expect("sound");
    let mut state = router.drift(100.0, 1);
    let ((), count) = counted(|| {
        // Over the 128 from which usual scores are learned, too.
        for _ in 0..400 {
            let scores = [0, 1, 2].map(|_| random.between(0.2, 0.9) as f32);
            state.decided(Some(random.between(0.01, 1.0) as f32), &scores);
            state.measured(1, random.between(0.0, 1.0), &scores, None);
            state.graded(random.between(-1.0, 1.0));
            assert!(state.alarms()[0].capital > 0.0);
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn the_count_counts() {
    assert_eq!(counted(|| vec![1u8; 10]).1, 1);
    assert_eq!(counted(|| 1 + 1).1, 0);
}

#[test]
fn routes_decide_without_allocating() {
    let mut random = Random(11);
    let encoder = shipped_encoder();
    let mut draft = RoutesDraft::head(&mut random, 150, encoder.checksum());
    draft.spell(&[("order", 20), ("password", 30)]);
    let routes = Routes::from_bytes(&draft.bytes(), Some(encoder)).unwrap();
    let options = routes::Options { limit: 5, prediction_set: true, ..routes::Options::default() };
    let mut scratch = routes::Scratch::default();
    for text in extremes(&mut random) {
        routes.decide(&text, None, Some(encoder), &options, &mut scratch).unwrap();
    }
    for text in ["where is my odrer", "rseet my pasword please", "Überweise 3,50 € an Anna"] {
        let (found, allocations) =
            counted(|| routes.decide(text, None, Some(encoder), &options, &mut scratch));
        found.unwrap();
        assert_eq!(allocations, 0, "{text}");
    }
}
