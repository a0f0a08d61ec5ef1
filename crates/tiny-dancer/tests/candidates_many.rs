//! Of many candidates only what matters is computed, and cosines come from int8 rows first: the answer has the bits that
//! computing everything from f32 rows gives.

#![allow(clippy::float_cmp, reason = "what is the same is the same bits")]

mod support;

use proptest::prelude::*;
use support::cell::{Form, Numbers};
use support::scorers::ScorerDraft;
use support::textbook::{Asked, Sample, any_samples, set_of};
use support::{Random, filter_of};
use tiny_dancer::candidates::{
    CandidateScorer, CandidateSet, Combination, FEATURES, Filter, MatrixScratch, Precision, RankOptions,
    RankScratch,
};

/// More than for which everything is computed.
const MANY: usize = 1100;

/// Candidates whose embeddings lie in a few heaps, so that some queries are near many and some near few.
fn many(random: &mut Random, dimensions: usize) -> Vec<Sample> {
    let count = MANY + random.below(900);
    let mut samples = any_samples(random, count, dimensions);
    let heaps: Vec<Vec<f32>> = (0..3).map(|_| random.floats(dimensions, 1.0)).collect();
    let (spread, grouped, bad) = (random.between(0.0, 1.0), random.chance(0.5), random.chance(0.3));
    for (row, sample) in samples.iter_mut().enumerate() {
        sample.id = format!("c{}", (row * 7) % 2003);
        sample.expires_at = random.chance(0.1).then_some(1.65e9);
        if !grouped {
            sample.group = None;
        }
        for (value, heap) in sample.embedding.iter_mut().zip(&heaps[row % 3]) {
            *value = heap + *value * spread as f32;
        }
        if bad && random.chance(0.01) {
            sample.embedding[random.below(dimensions)] = f32::NAN;
        }
    }
    samples
}

fn any_scorer(random: &mut Random) -> CandidateScorer {
    match random.below(4) {
        0 => CandidateScorer::untrained(Combination::Measured),
        1 => CandidateScorer::untrained(Combination::Documented),
        2 => {
            let mut draft = ScorerDraft::new(random, None);
            if random.chance(0.5) {
                let size = 1 + random.below(12) as u64;
                draft = draft.calibrated(random, [0.0, 1.0], size);
            }
            if random.chance(0.3) {
                draft.header["calibrated_on"] = "share".into();
            }
            for bytes in draft.tensor("linear.weight").bytes.as_chunks_mut::<4>().0 {
                if random.chance(0.5) {
                    *bytes = 0f32.to_le_bytes();
                }
            }
            draft.scorer()
        }
        _ => ScorerDraft::new(random, Some(Form::plain(Numbers::F32))).scorer(),
    }
}

/// Lets some of the candidates pass: all, none or a share of them; with a flag for each.
fn any_filter(random: &mut Random, samples: &[Sample]) -> (Option<Filter>, Vec<bool>) {
    let share = match random.below(5) {
        0 => return (None, vec![true; samples.len()]),
        1 => 0.0,
        2 => 0.003,
        _ => random.between(0.0, 1.0),
    };
    let flags: Vec<bool> = samples.iter().map(|_| random.chance(share)).collect();
    let filter =
        filter_of(samples.iter().zip(&flags).filter(|(_, passes)| **passes).map(|(each, _)| &*each.id));
    (Some(filter), flags)
}

fn rank(scorer: &CandidateScorer, set: &CandidateSet, asked: &Asked, options: &RankOptions) -> RankScratch {
    let mut scratch = RankScratch::default();
    asked.lend(|query| scorer.rank(set, query, options, &mut scratch)).expect("a query that fits");
    scratch
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn an_answer_is_the_head_of_what_computing_everything_gives(seed in any::<u64>(), k in 1usize..12) {
        let mut random = Random(seed);
        let dimensions = 1 + random.below(40);
        let samples = many(&mut random, dimensions);
        let full = set_of(&samples, dimensions, Precision::Full);
        let indexed = set_of(&samples, dimensions, Precision::Indexed);
        let scorer = any_scorer(&mut random);
        for _ in 0..3 {
            let mut asked = Asked::any(&mut random, dimensions);
            if random.chance(0.5) {
                let near = &samples[random.below(samples.len())].embedding;
                asked.embedding = near.iter().all(|value| value.is_finite()).then(|| near.clone());
            }
            let (filter, flags) = any_filter(&mut random, &samples);
            let options = RankOptions { k, filter: filter.as_ref(), ..RankOptions::default() };
            let mut all = RankScratch::default();
            asked.lend(|query| scorer.score_all(&full, query, &mut all)).expect("fits");
            let scores = all.scores();
            let passes = |&row: &usize| {
                let expired = asked.now.is_some_and(|now| samples[row].expires_at.is_some_and(|at| at <= now));
                !expired && flags[row]
            };
            let (unsound, mut rows): (Vec<_>, Vec<_>) =
                (0..samples.len()).filter(passes).partition(|&row| scores[row].is_nan());
            let shift = scorer.shift(&rows.iter().map(|&row| scores[row]).collect::<Vec<_>>());
            rows.sort_by(|&a, &b| {
                scores[b].total_cmp(&scores[a]).then_with(|| samples[a].id.cmp(&samples[b].id))
            });
            for set in [&full, &indexed] {
                let answer = rank(&scorer, set, &asked, &options);
                let found: Vec<usize> = answer.ranked.iter().map(|ranked| ranked.row as usize).collect();
                prop_assert_eq!(&found, &rows[..k.min(rows.len())]);
                prop_assert_eq!(answer.unsound.iter().map(|&row| row as usize).collect::<Vec<_>>(), &unsound[..]);
                prop_assert_eq!(answer.prediction_set, scorer.prediction().and_then(|set| set.size).map(|size| (size as usize).min(rows.len())));
                for (place, ranked) in answer.ranked.iter().enumerate() {
                    let row = ranked.row as usize;
                    prop_assert_eq!(ranked.score.to_bits(), scores[row].to_bits());
                    prop_assert_eq!(ranked.confidence.to_bits(), scorer.confidence(ranked.score - shift).to_bits());
                    let size = answer.prediction_set.unwrap_or(0);
                    let last = size.checked_sub(1).map(|last| scores[rows[last]]);
                    prop_assert_eq!(ranked.in_prediction_set, last.is_some_and(|last| ranked.score >= last), "{}", place);
                    for feature in 0..FEATURES {
                        let expected = all.features().column(feature)[row];
                        let found = ranked.features[feature];
                        prop_assert_eq!(found.to_bits(), expected.to_bits(), "{}: {} {}", feature, found, expected);
                    }
                }
            }
        }
    }

    #[test]
    fn the_nearest_are_the_textbooks_with_all_that_tie(seed in any::<u64>(), k in 1usize..12) {
        let mut random = Random(seed);
        let dimensions = [1, 3, 5, 40][random.below(4)];
        let mut samples = any_samples(&mut random, 400, dimensions);
        for sample in &mut samples {
            sample.expires_at = random.chance(0.2).then_some(1.65e9);
            // Few directions, all of them often, or many.
            for value in &mut sample.embedding {
                *value = if dimensions < 4 { random.below(3) as f32 - 1.0 } else { *value };
            }
        }
        for (row, sample) in samples.iter_mut().enumerate() {
            sample.id = format!("c{}", (row * 7) % 401);
        }
        let query = random.floats(dimensions, 1.0);
        let (filter, flags) = any_filter(&mut random, &samples);
        let now = random.chance(0.5).then_some(1.7e9);
        for precision in [Precision::Full, Precision::Indexed] {
            let set = set_of(&samples, dimensions, precision);
            let mut all = Vec::new();
            set.matrix().expect("there").cosines(&query, &mut MatrixScratch::default(), &mut all).expect("fits");
            let passes = |&row: &usize| {
                let held = now.is_none() || samples[row].expires_at.is_none();
                held && flags[row] && samples[row].embedding.iter().any(|&value| value != 0.0)
            };
            let mut rows: Vec<usize> = (0..samples.len()).filter(passes).collect();
            rows.sort_by(|&a, &b| all[b].total_cmp(&all[a]).then_with(|| samples[a].id.cmp(&samples[b].id)));
            if let Some(&last) = rows.get(k - 1) {
                rows.retain(|&row| all[row] >= all[last]);
            }
            let found = set.nearest(&query, k, filter.as_ref(), now, &mut MatrixScratch::default()).expect("fits");
            let expected: Vec<(u32, f32)> = rows.iter().map(|&row| (row as u32, all[row])).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
