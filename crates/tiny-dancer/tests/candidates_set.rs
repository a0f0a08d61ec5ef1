//! Changes to a set of candidates: any order of them leaves what a fresh set has; what is wrong changes nothing.

#![allow(clippy::float_cmp, reason = "what is the same is the same bits")]

mod support;

use proptest::prelude::*;
use support::Random;
use support::textbook::{Asked, Sample, any_samples, any_words, set_of};
use tiny_dancer::candidates::{
    Candidate, CandidateScorer, CandidateSet, Expression, FEATURES, Filter, Matrix, Precision, RankOptions,
    RankScratch, Use,
};
use tiny_dancer::{Error, ErrorKind};

/// Every candidate's id, score and features, best first.
fn answer(set: &CandidateSet, asked: &Asked) -> Vec<(String, f32, [f32; FEATURES])> {
    let mut scratch = RankScratch::default();
    let options = RankOptions { k: 1000, ..RankOptions::default() };
    asked.lend(|query| CandidateScorer::default().rank(set, query, &options, &mut scratch)).expect("fits");
    let id = |row: u32| set.ids()[row as usize].to_string();
    scratch.ranked.iter().map(|ranked| (id(ranked.row), ranked.score, ranked.features)).collect()
}

/// Several changes in one step.
fn apply(
    random: &mut Random,
    set: &mut CandidateSet,
    model: &mut Vec<Sample>,
    next: usize,
    dimensions: usize,
) {
    let any_id = |random: &mut Random, model: &[Sample]| match model.len() {
        0 => "nobody".to_owned(),
        length => model[random.below(length)].id.clone(),
    };
    let removed: Vec<String> = (0..random.below(3)).map(|_| any_id(random, model)).collect();
    let mut given: Vec<Sample> = Vec::new();
    for place in 0..random.below(4) {
        let fresh = format!("m{}", (next * 11 + place) % 503);
        let id = if random.chance(0.5) { any_id(random, model) } else { fresh };
        if given.iter().all(|sample| sample.id != id) {
            given.push(Sample::any(random, id, dimensions));
        }
    }
    let with_embeddings = random.chance(0.6);
    model.retain(|sample| !removed.contains(&sample.id));
    for new in &mut given {
        let known = model.iter().position(|sample| sample.id == new.id);
        if !with_embeddings {
            new.embedding = known.map_or(vec![0.0; dimensions], |place| model[place].embedding.clone());
        }
        match known {
            Some(place) => model[place] = new.clone(),
            None => model.push(new.clone()),
        }
    }
    let embeddings: Vec<f32> = given.iter().flat_map(|sample| sample.embedding.clone()).collect();
    let removed: Vec<&str> = removed.iter().map(String::as_str).collect();
    lend_all(&given, &mut Vec::new(), &mut |candidates| {
        set.apply(&removed, candidates, with_embeddings.then_some(&embeddings)).expect("sound");
    });
}

/// Hands all engine's candidates to `work` at once.
fn lend_all<'a>(samples: &'a [Sample], lent: &mut Vec<Candidate<'_>>, work: &mut dyn FnMut(&[Candidate])) {
    let Some((first, rest)) = samples.split_first() else { return work(lent) };
    first.lend(|candidate| {
        let mut lent = lent.clone();
        lent.push(candidate.clone());
        lend_all(rest, &mut lent, work);
    });
}

/// One change, made to the set and to what it should hold.
fn change(
    random: &mut Random,
    set: &mut CandidateSet,
    model: &mut Vec<Sample>,
    next: usize,
    dimensions: usize,
) {
    let place = if model.is_empty() { 0 } else { random.below(model.len()) };
    match random.below(if model.is_empty() { 2 } else { 8 }) {
        0 => {
            let new = Sample::any(random, format!("n{}", (next * 7) % 1009), dimensions);
            new.lend(|candidate| set.append(std::slice::from_ref(candidate), &new.embedding)).expect("new");
            model.push(new);
        }
        1 | 2 => apply(random, set, model, next, dimensions),
        3 => {
            let mut new = Sample::any(random, model[place].id.clone(), dimensions);
            let embedding = random.chance(0.5).then(|| new.embedding.clone()).filter(|_| dimensions > 0);
            if embedding.is_none() {
                new.embedding.clone_from(&model[place].embedding);
            }
            new.lend(|candidate| set.update(candidate, embedding.as_deref())).expect("known");
            model[place] = new;
        }
        4 => {
            let mut ids = vec![model[place].id.clone(), model[random.below(model.len())].id.clone()];
            ids.truncate(1 + random.below(2));
            set.remove(&ids.iter().map(String::as_str).collect::<Vec<_>>()).expect("known");
            model.retain(|sample| !ids.contains(&sample.id));
        }
        5 => {
            let drawn = Sample::any(random, model[place].id.clone(), 0);
            let sample = &mut model[place];
            let Sample { access_count, success_rate, trials, confidence, .. } = drawn;
            (sample.access_count, sample.success_rate) = (access_count, success_rate);
            (sample.trials, sample.confidence) = (trials, confidence);
            let used = Use { access_count, success_rate, trials, confidence, ..Use::default() };
            set.replace_use(&[(&sample.id, used)]).expect("known");
        }
        _ => {
            let (sample, helped) = (&mut model[place], [None, Some(true), Some(false)][random.below(3)]);
            set.record_use(&sample.id, helped).expect("known");
            let trials = sample.trials.or(sample.access_count).unwrap_or(0.0) as f32;
            sample.access_count = Some(sample.access_count.unwrap_or(0.0) + 1.0);
            sample.trials = Some(f64::from(trials));
            if let Some(helped) = helped {
                // Uses of which nobody said whether they helped are no trials.
                let (rate, trials) = sample.success_rate.map_or((0.0, 0.0), |rate| (rate as f32, trials));
                let successes = rate * trials + f32::from(u8::from(helped));
                sample.success_rate = Some(f64::from((successes / (trials + 1.0)).min(1.0)));
                sample.trials = Some(f64::from(trials + 1.0));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changes_in_any_order_leave_the_bits_a_fresh_set_has(seed in any::<u64>(), steps in 1usize..40) {
        let mut random = Random(seed);
        let dimensions = random.below(3) * 2;
        let precision = [Precision::Full, Precision::Quantised, Precision::Indexed][random.below(3)];
        let start = random.below(6);
        let mut model = any_samples(&mut random, start, dimensions);
        let mut set = set_of(&model, dimensions, precision);
        for step in 0..steps {
            change(&mut random, &mut set, &mut model, step, dimensions);
            if random.chance(0.3) {
                set.refresh();
                let asked = Asked::any(&mut random, dimensions);
                let fresh = set_of(&model, dimensions, precision);
                prop_assert_eq!(answer(&set, &asked), answer(&fresh, &asked));
            }
        }
        prop_assert_eq!(set.len(), model.len());
        prop_assert!(model.iter().all(|sample| set.row(&sample.id).is_some()));
    }

    #[test]
    fn matching_is_all_keys_and_any_of_a_keys_values(seed in any::<u64>()) {
        let mut random = Random(seed);
        let samples = any_samples(&mut random, 12, 0);
        let set = set_of(&samples, 0, Precision::Full);
        let word = |place: usize| support::textbook::WORDS[place].0;
        let wanted: Vec<(&str, usize)> =
            (0..random.below(4)).map(|_| (["kind", "tag"][random.below(2)], random.below(8))).collect();
        let texts = |key: &str| {
            let values = wanted.iter().filter(|pair| pair.0 == key);
            Expression::List(values.map(|pair| Expression::Text(word(pair.1).to_owned())).collect())
        };
        let keys = ["kind", "tag"].into_iter().filter(|key| wanted.iter().any(|pair| pair.0 == *key));
        let mut asked: Vec<(String, Expression)> = keys.map(|key| (key.to_owned(), texts(key))).collect();
        let compiled = |asked: &[(String, Expression)]| {
            Filter::new(Expression::Object(asked.to_vec()), "where").expect("a filter")
        };
        for (sample, found) in samples.iter().zip(set.matching(&compiled(&asked))) {
            let any = |key: &str| wanted.iter().any(|pair| pair.0 == key && sample.metadata.contains(pair));
            prop_assert_eq!(found, wanted.iter().all(|(key, _)| any(key)));
        }
        // A property without a value is no property of any candidate.
        asked.retain(|(key, _)| key != "kind");
        asked.push(("kind".to_owned(), Expression::List(Vec::new())));
        prop_assert!(!set.matching(&compiled(&asked)).contains(&true));
    }
}

/// Refused by name, and nothing is other than it was.
fn refused(set: &mut CandidateSet, field: &str, change: impl FnOnce(&mut CandidateSet) -> Result<(), Error>) {
    let asked = Asked { words: Some(any_words(&mut Random(8), 6)), now: Some(1.7e9), ..Asked::default() };
    let before = (set.ids().to_vec(), answer(set, &asked));
    let error = change(set).expect_err(field);
    assert_eq!((error.kind, &*error.field), (ErrorKind::CandidateInvalid, field), "{error}");
    assert!(!error.remedy.is_empty() && !set.is_stale());
    set.refresh();
    assert_eq!((set.ids().to_vec(), answer(set, &asked)), before, "{field}: changed");
    assert_eq!(set.matrix().map_or(set.len(), Matrix::len), set.len());
}

#[test]
fn candidates_that_cannot_be_are_refused_by_name_and_none_is_added() {
    let mut set = set_of(&any_samples(&mut Random(3), 5, 2), 2, Precision::Full);
    let good = Candidate { id: "good", ..Candidate::default() };
    let bad = || Candidate { id: "bad", ..Candidate::default() };
    let cases = [
        ("id", Candidate { id: "", ..bad() }),
        ("id", Candidate { id: "good", ..bad() }),
        ("id", Candidate { id: "c0", ..bad() }),
        ("access_count", Candidate { access_count: Some(-1.0), ..bad() }),
        ("access_count", Candidate { access_count: Some(f64::NAN), ..bad() }),
        ("access_count", Candidate { access_count: Some(1e10), ..bad() }),
        ("trials", Candidate { trials: Some(-0.5), ..bad() }),
        ("success_rate", Candidate { success_rate: Some(1.01), ..bad() }),
        ("success_rate", Candidate { success_rate: Some(-0.01), ..bad() }),
        ("confidence", Candidate { confidence: Some(f64::NAN), ..bad() }),
        ("confidence", Candidate { confidence: Some(2.0), ..bad() }),
        ("created_at", Candidate { created_at: Some(f64::INFINITY), ..bad() }),
        ("created_at", Candidate { created_at: Some(1.7e15), ..bad() }),
        ("expires_at", Candidate { expires_at: Some(f64::NAN), ..bad() }),
        ("position", Candidate { position: Some(f64::INFINITY), ..bad() }),
    ];
    for (field, bad) in &cases {
        let place = |place: usize| format!("candidates[{place}].{field}");
        refused(&mut set, &place(1), |set| set.append(&[good.clone(), bad.clone()], &[1.0; 4]));
        // To apply what is known is no mistake.
        if bad.id != "c0" {
            for embeddings in [None, Some(&[1.0; 4][..])] {
                let given = [good.clone(), bad.clone()];
                refused(&mut set, &place(1), |set| set.apply(&["c0"], &given, embeddings));
            }
        }
        if *field != "id" {
            let known = Candidate { id: "c7", ..bad.clone() };
            refused(&mut set, &place(0), |set| set.update(&known, Some(&[1.0, 2.0])));
        }
    }
    let unknown = Candidate { id: "nobody", ..Candidate::default() };
    refused(&mut set, "id", |set| set.update(&unknown, None));
    refused(&mut set, "id", |set| set.record_use("nobody", Some(true)));
    let (used, many) = (Use::default(), Use { trials: Some(1e10), ..Use::default() });
    refused(&mut set, "id", |set| set.replace_use(&[("c0", used), ("nobody", used)]));
    refused(&mut set, "candidates[1].trials", |set| set.replace_use(&[("c0", used), ("c7", many)]));
    refused(&mut set, "id", |set| set.remove(&["c0", "nobody"]));
    for values in [&[][..], &[1.0], &[1.0, 2.0, 3.0, 4.0]] {
        refused(&mut set, "embeddings", |set| set.append(std::slice::from_ref(&good), values));
        refused(&mut set, "embeddings", |set| set.apply(&["c0"], std::slice::from_ref(&good), Some(values)));
    }
    let known = Candidate { id: "c7", ..Candidate::default() };
    refused(&mut set, "embedding", |set| set.update(&known, Some(&[1.0])));
    let mut bare = set_of(&any_samples(&mut Random(3), 5, 0), 0, Precision::Full);
    refused(&mut bare, "embeddings", |set| set.append(std::slice::from_ref(&good), &[1.0]));
    refused(&mut bare, "candidates[0].embedding", |set| set.update(&known, Some(&[1.0])));
}

#[test]
fn sets_that_cannot_be_are_refused() {
    for dimensions in [0, 16_385] {
        let error = CandidateSet::new(Some(dimensions), Precision::Full).expect_err("refused");
        assert_eq!((error.kind, &*error.field), (ErrorKind::CandidateInvalid, "dimensions"));
    }
    let rows = |samples: &[Sample]| support::textbook::shared_rows(samples, 2);
    let samples = any_samples(&mut Random(1), 2, 2);
    let (a, b) =
        (Candidate { id: "a", ..Candidate::default() }, Candidate { id: "b", ..Candidate::default() });
    let error =
        CandidateSet::over(rows(&samples), &[a.clone(), b.clone(), b.clone()]).expect_err("three of two");
    assert_eq!((error.kind, &*error.field), (ErrorKind::CandidateInvalid, "embeddings"));
    let error = CandidateSet::over(rows(&samples), &[a.clone(), a.clone()]).expect_err("one twice");
    assert_eq!((error.kind, &*error.field), (ErrorKind::CandidateInvalid, "candidates[1].id"));
    assert!(CandidateSet::over(rows(&samples), &[a, b]).is_ok());
}

#[test]
fn uses_before_anyone_said_whether_they_helped_are_no_failures() {
    let mut set = CandidateSet::new(None, Precision::Full).expect("no embeddings");
    let candidates = [
        Candidate { id: "used", access_count: Some(50.0), ..Candidate::default() },
        Candidate { id: "new", ..Candidate::default() },
    ];
    set.append(&candidates, &[]).expect("new ids");
    for id in ["used", "new"] {
        set.record_use(id, Some(true)).expect("known");
    }
    set.refresh();
    let mut scratch = RankScratch::default();
    CandidateScorer::default()
        .rank(&set, &tiny_dancer::candidates::Query::default(), &RankOptions::default(), &mut scratch)
        .expect("fits");
    let success = scratch.features().column(16);
    assert!((success[0] - 3.0 / 5.0).abs() < 1e-6 && (success[0] - success[1]).abs() < 1e-6, "{success:?}");
}
