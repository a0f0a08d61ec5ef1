//! Which candidates come out, and in which order.

#![allow(clippy::float_cmp, reason = "what is the same is the same bits")]

mod support;

use proptest::prelude::*;
use support::scorers::ScorerDraft;
use support::textbook::{Asked, Sample, any_samples, cosine, set_of};
use support::{Random, filter_of};
use tiny_dancer::ErrorKind;
use tiny_dancer::candidates::{
    Candidate, CandidateScorer, CandidateSet, Precision, Query, RankOptions, RankScratch,
};

fn rank(scorer: &CandidateScorer, set: &CandidateSet, asked: &Asked, options: &RankOptions) -> RankScratch {
    let mut scratch = RankScratch::default();
    asked.lend(|query| scorer.rank(set, query, options, &mut scratch)).expect("a query that fits");
    scratch
}

fn ids<'a>(set: &'a CandidateSet, answer: &RankScratch) -> Vec<&'a str> {
    answer.ranked.iter().map(|ranked| &*set.ids()[ranked.row as usize]).collect()
}

/// Few different words and embeddings, so that many candidates score the same.
fn alike(random: &mut Random, count: usize) -> Vec<Sample> {
    let mut samples = any_samples(random, count, 2);
    for sample in &mut samples {
        let bare = Sample { id: sample.id.clone(), ..Sample::default() };
        *sample = Sample { words: Some(vec![random.below(3)]), ..bare };
        sample.embedding = vec![1.0, random.below(3) as f32];
    }
    samples
}

fn asked() -> Asked {
    Asked { words: Some(vec![0, 1]), embedding: Some(vec![1.0, 0.5]), ..Asked::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_answer_is_the_head_of_all_sorted(
        seed in any::<u64>(), count in 0usize..80, k in 1usize..100, learned in any::<bool>(), masked in any::<bool>()
    ) {
        let mut random = Random(seed);
        let samples =
            if random.chance(0.5) { alike(&mut random, count) } else { any_samples(&mut random, count, 2) };
        let set = set_of(&samples, 2, Precision::Full);
        let scorer = if learned { ScorerDraft::new(&mut random, None).scorer() } else { CandidateScorer::default() };
        let allowed: Vec<bool> = (0..count).map(|_| random.chance(0.6)).collect();
        let only = filter_of((0..count).filter(|&row| allowed[row]).map(|row| &*samples[row].id));
        let options = RankOptions { k, filter: masked.then_some(&only), ..RankOptions::default() };
        let answer = rank(&scorer, &set, &asked(), &options);
        let mut rows: Vec<usize> = (0..count).filter(|&row| !masked || allowed[row]).collect();
        let scores = answer.scores();
        rows.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).expect("numbers").then(set.ids()[a].cmp(&set.ids()[b])));
        rows.truncate(k);
        prop_assert_eq!(answer.ranked.iter().map(|ranked| ranked.row as usize).collect::<Vec<_>>(), rows);
        prop_assert!(answer.prediction_set.is_none() && answer.ranked.iter().all(|ranked| !ranked.in_prediction_set));
    }

    #[test]
    fn ties_fall_by_id_whatever_the_order_of_adding(seed in any::<u64>(), count in 1usize..40, k in 1usize..45) {
        let mut random = Random(seed);
        let mut samples = alike(&mut random, count);
        let set = set_of(&samples, 2, Precision::Full);
        let options = RankOptions { k, ..RankOptions::default() };
        let first = rank(&CandidateScorer::default(), &set, &asked(), &options);
        for place in 0..count {
            samples.swap(place, random.below(count));
        }
        let shuffled = set_of(&samples, 2, Precision::Full);
        let second = rank(&CandidateScorer::default(), &shuffled, &asked(), &options);
        prop_assert_eq!(ids(&set, &first), ids(&shuffled, &second));
    }

    #[test]
    fn diversity_takes_what_the_textbook_takes(
        seed in any::<u64>(), count in 0usize..25, k in 1usize..30, diversity in 0.01f32..=1.0, calibrated in any::<bool>()
    ) {
        let mut random = Random(seed);
        let samples = any_samples(&mut random, count, 3);
        let set = set_of(&samples, 3, Precision::Full);
        let mut asked = Asked::any(&mut random, 3);
        asked.embedding = Some(random.floats(3, 1.0));
        let scorer = if calibrated {
            ScorerDraft::new(&mut random, None).calibrated(&mut random, [0.0, 1.0], 4).scorer()
        } else {
            CandidateScorer::default()
        };
        let answer = rank(&scorer, &set, &asked, &RankOptions { k, diversity, ..RankOptions::default() });
        let mut left: Vec<usize> = (0..count).collect();
        let mut taken: Vec<usize> = Vec::new();
        for ranked in &answer.ranked {
            let value = |row: usize| {
                let similar = |&other: &usize| cosine(&samples[row].embedding, &samples[other].embedding);
                let nearest = taken.iter().map(similar).fold(0.0, f64::max);
                let relevance = f64::from(scorer.confidence(answer.scores()[row]));
                (1.0 - f64::from(diversity)) * relevance - f64::from(diversity) * nearest
            };
            // Of values a rounding apart either may be taken.
            let best = left.iter().map(|&row| value(row)).fold(f64::NEG_INFINITY, f64::max);
            let row = ranked.row as usize;
            prop_assert!(value(row) > best - 1e-5, "{} taken before {}", value(row), best);
            let place = left.iter().position(|&other| other == row);
            prop_assert!(place.is_some(), "taken twice");
            left.remove(place.unwrap_or(0));
            taken.push(row);
        }
        prop_assert_eq!(taken.len(), k.min(count));
        if let (Some(size), false) = (answer.prediction_set, taken.is_empty()) {
            for ranked in &answer.ranked {
                let ahead = answer.scores().iter().filter(|&&score| score > ranked.score).count();
                prop_assert_eq!(ranked.in_prediction_set, ahead < size);
            }
        }
    }

    #[test]
    fn the_prediction_set_is_the_first_of_the_ranking(
        seed in any::<u64>(), count in 0usize..20, size in 1u64..25, k in 1usize..25
    ) {
        let mut random = Random(seed);
        let samples = any_samples(&mut random, count, 2);
        let set = set_of(&samples, 2, Precision::Full);
        let scorer = ScorerDraft::new(&mut random, None).calibrated(&mut random, [0.0, 1.0], size).scorer();
        let answer = rank(&scorer, &set, &asked(), &RankOptions { k, ..RankOptions::default() });
        prop_assert_eq!(answer.prediction_set, Some(count.min(size as usize)));
        for (place, ranked) in answer.ranked.iter().enumerate() {
            let tied = place > 0 && answer.ranked[place - 1].score == ranked.score;
            prop_assert!(tied || ranked.in_prediction_set == (place < size as usize), "place {place}");
        }
    }

    #[test]
    fn candidates_that_are_no_numbers_never_rank(seed in any::<u64>(), with_embedding in any::<bool>()) {
        let mut random = Random(seed);
        let mut samples = any_samples(&mut random, 12, 3);
        let mut broken = Vec::new();
        for (row, sample) in samples.iter_mut().enumerate() {
            if random.chance(0.3) {
                let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX];
                sample.embedding[random.below(3)] = bad[random.below(4)];
                broken.push(row as u32);
            }
        }
        let mut asked = asked();
        asked.embedding = with_embedding.then(|| vec![0.2, 0.3, -0.1]);
        for precision in [Precision::Full, Precision::Quantised, Precision::Indexed] {
            let set = set_of(&samples, 3, precision);
            for scorer in [CandidateScorer::default(), ScorerDraft::new(&mut random, None).scorer()] {
                for diversity in [0.0, 0.4] {
                    let answer = rank(&scorer, &set, &asked, &RankOptions { k: 99, diversity, ..RankOptions::default() });
                    prop_assert_eq!(&answer.unsound, &broken);
                    prop_assert_eq!(answer.ranked.len(), 12 - broken.len());
                    for ranked in &answer.ranked {
                        prop_assert!(!broken.contains(&ranked.row) && ranked.score.is_finite());
                        prop_assert!(ranked.features.iter().all(|value| value.is_finite()));
                    }
                }
            }
        }
    }
}

#[test]
fn zero_embeddings_have_the_cosine_0_and_rank() {
    let row = |embedding: [f32; 2]| Sample { embedding: embedding.to_vec(), ..Sample::default() };
    let mut samples = vec![row([0.0, 0.0]), row([1.0, 0.0]), row([-1.0, 0.0])];
    for (sample, id) in samples.iter_mut().zip(["zero", "near", "far"]) {
        id.clone_into(&mut sample.id);
    }
    let set = set_of(&samples, 2, Precision::Full);
    let asked = Asked { embedding: Some(vec![2.0, 0.0]), ..Asked::default() };
    let answer = rank(&CandidateScorer::default(), &set, &asked, &RankOptions::default());
    assert_eq!(ids(&set, &answer), ["near", "far", "zero"], "below 0 is no worse than unrelated");
    assert_eq!(answer.features().column(0), [0.0, 1.0, -1.0]);
    assert!(answer.unsound.is_empty());
    let nothing = Asked { embedding: Some(vec![0.0, 0.0]), ..Asked::default() };
    let answer = rank(&CandidateScorer::default(), &set, &nothing, &RankOptions::default());
    assert_eq!(ids(&set, &answer), ["far", "near", "zero"]);
    assert_eq!(answer.scores(), [0.0; 3]);
}

#[test]
fn no_candidate_and_one() {
    for dimensions in [0, 2] {
        let empty = set_of(&[], dimensions, Precision::Full);
        let mut asked = asked();
        asked.embedding = asked.embedding.filter(|_| dimensions > 0);
        let diversity = if dimensions > 0 { 0.5 } else { 0.0 };
        let answer = rank(
            &CandidateScorer::default(),
            &empty,
            &asked,
            &RankOptions { diversity, ..RankOptions::default() },
        );
        assert!(answer.ranked.is_empty() && answer.unsound.is_empty());
        let one = set_of(&any_samples(&mut Random(1), 1, dimensions), dimensions, Precision::Full);
        for scorer in [CandidateScorer::default(), ScorerDraft::new(&mut Random(2), None).scorer()] {
            let answer =
                rank(&scorer, &one, &asked, &RankOptions { k: 1000, diversity, ..RankOptions::default() });
            assert_eq!(ids(&one, &answer), ["c0"]);
        }
        let nobody = filter_of([]);
        let none = RankOptions { filter: Some(&nobody), ..RankOptions::default() };
        assert!(rank(&CandidateScorer::default(), &one, &asked, &none).ranked.is_empty());
    }
}

#[test]
fn options_and_queries_that_fit_not_are_refused_by_name() {
    let set = set_of(&any_samples(&mut Random(3), 4, 2), 2, Precision::Full);
    let bare = set_of(&any_samples(&mut Random(3), 4, 0), 0, Precision::Full);
    let scorer = CandidateScorer::default();
    let mut scratch = RankScratch::default();
    let mut refuse =
        |set: &CandidateSet, query: Query, options: RankOptions, kind: ErrorKind, field: &str| {
            let error = scorer.rank(set, &query, &options, &mut scratch).expect_err(field);
            assert_eq!((error.kind, &*error.field), (kind, field), "{error}");
            assert!(!error.remedy.is_empty());
        };
    let (usual, nothing) = (RankOptions::default(), Query::default());
    for value in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
        for (field, options) in [
            ("diversity", RankOptions { diversity: value, ..usual }),
            ("confidence_threshold", RankOptions { confidence_threshold: value, ..usual }),
            ("max_uncertainty", RankOptions { max_uncertainty: value, ..usual }),
        ] {
            refuse(&set, nothing, options, ErrorKind::OptionInvalid, field);
        }
    }
    refuse(&set, nothing, RankOptions { k: 0, ..usual }, ErrorKind::OptionInvalid, "k");
    refuse(&bare, nothing, RankOptions { diversity: 0.5, ..usual }, ErrorKind::OptionInvalid, "diversity");
    for embedding in
        [&[1.0][..], &[1.0, 2.0, 3.0], &[], &[f32::NAN, 0.0], &[f32::INFINITY, 0.0], &[f32::MAX, 0.0]]
    {
        let query = Query { embedding: Some(embedding), ..nothing };
        refuse(&set, query, usual, ErrorKind::CandidateInvalid, "query_embedding");
        refuse(&bare, query, usual, ErrorKind::CandidateInvalid, "query_embedding");
    }
    for now in [f64::NAN, f64::INFINITY] {
        refuse(&set, Query { now: Some(now), ..nothing }, usual, ErrorKind::CandidateInvalid, "now");
    }
    let mut stale = CandidateSet::new(None, Precision::Full).expect("no embeddings");
    stale.append(&[Candidate { id: "a", ..Candidate::default() }], &[]).expect("a new id");
    refuse(&stale, nothing, usual, ErrorKind::CandidateInvalid, "candidates");
}

#[test]
fn what_does_not_pass_leaves_no_trace_in_what_is_said_of_the_others() {
    let mut random = Random(5);
    let mut draft = ScorerDraft::new(&mut random, None).calibrated(&mut random, [0.0, 1.0], 3);
    draft.header["calibrated_on"] = "share".into();
    let scorer = draft.scorer();
    let bare = |sample: &Sample| Sample { words: None, group: None, ..sample.clone() };
    let mine: Vec<Sample> = any_samples(&mut random, 6, 2).iter().map(bare).collect();
    let theirs = any_samples(&mut random, 30, 2);
    let theirs =
        theirs.iter().enumerate().map(|(at, sample)| Sample { id: format!("t{at}"), ..bare(sample) });
    let mut all: Vec<Sample> = mine.iter().cloned().chain(theirs).collect();
    all[20].embedding[0] = f32::NAN;
    let only = filter_of(mine.iter().map(|sample| &*sample.id));
    let (alone, shared) = (set_of(&mine, 2, Precision::Full), set_of(&all, 2, Precision::Full));
    let asked = Asked { embedding: Some(vec![1.0, 0.5]), ..Asked::default() };
    for diversity in [0.0, 0.4] {
        let options = RankOptions { diversity, ..RankOptions::default() };
        let expected = rank(&scorer, &alone, &asked, &options);
        let found = rank(&scorer, &shared, &asked, &RankOptions { filter: Some(&only), ..options });
        assert_eq!(found.ranked, expected.ranked);
        assert_eq!((found.unsound, found.prediction_set), (expected.unsound, expected.prediction_set));
        let open = rank(&scorer, &shared, &asked, &options);
        assert_eq!(open.unsound, [20]);
    }
}
