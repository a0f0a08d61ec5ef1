//! Features and scores of candidates equal the textbook's.

#![allow(clippy::float_cmp, reason = "what is the same is the same bits")]

mod support;

use proptest::prelude::*;
use support::cell::{Form, Numbers};
use support::scorers::ScorerDraft;
use support::textbook::{Asked, Sample, any_samples, features, set_of, shared_rows, untrained_scores};
use support::{Random, f32_tensor};
use tiny_dancer::candidates::{
    CandidateScorer, CandidateSet, Combination, FEATURE_NAMES, FEATURES, Precision, RankOptions, RankScratch,
};

fn ranked(scorer: &CandidateScorer, set: &CandidateSet, asked: &Asked, options: &RankOptions) -> RankScratch {
    let mut scratch = RankScratch::default();
    asked.lend(|query| scorer.rank(set, query, options, &mut scratch)).expect("a query that fits");
    scratch
}

fn all(set: &CandidateSet) -> RankOptions<'static> {
    RankOptions { k: set.len() + 1, ..RankOptions::default() }
}

fn apart(found: f32, expected: f64) -> bool {
    f64::from(found).is_nan() != expected.is_nan() || (f64::from(found) - expected).abs() > 1e-5
}

fn close(found: f32, expected: f64) -> bool {
    (f64::from(found) - expected).abs() <= 1e-4 * expected.abs().max(1.0)
}

/// Candidates, some of whose embeddings are no numbers.
fn weird_samples(random: &mut Random, dimensions: usize) -> Vec<Sample> {
    let count = random.below(14);
    let mut samples = any_samples(random, count, dimensions);
    for sample in samples.iter_mut().filter(|sample| !sample.embedding.is_empty()) {
        if random.chance(0.1) {
            let at = random.below(sample.embedding.len());
            sample.embedding[at] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][random.below(3)];
        }
    }
    samples
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn features_and_the_combinations_without_training_are_the_textbooks(seed in any::<u64>(), as_documented in any::<bool>()) {
        let mut random = Random(seed);
        let combination = if as_documented { Combination::Documented } else { Combination::Measured };
        let dimensions = random.below(4) * random.below(7);
        let samples = weird_samples(&mut random, dimensions);
        let asked = Asked::any(&mut random, dimensions);
        let (features, scores) = (features(&samples, &asked), untrained_scores(&samples, &asked, combination));
        for precision in [Precision::Full, Precision::Indexed] {
            let set = set_of(&samples, dimensions, precision);
            let answer = ranked(&CandidateScorer::untrained(combination), &set, &asked, &all(&set));
            for (row, (features, &score)) in features.iter().zip(&scores).enumerate() {
                for (feature, name) in FEATURE_NAMES.iter().enumerate() {
                    let (found, expected) = (answer.features().column(feature)[row], features[feature]);
                    prop_assert!(!apart(found, expected), "row {row}: {name} is {found}, not {expected}");
                }
                let found = answer.scores()[row];
                prop_assert!(!apart(found, score), "row {row} scores {found}, not {score}");
            }
        }
    }

    #[test]
    fn rows_of_someone_else_score_the_same(seed in any::<u64>()) {
        let mut random = Random(seed);
        let samples = weird_samples(&mut random, 5);
        let asked = Asked::any(&mut random, 5);
        let own = set_of(&samples, 5, Precision::Full);
        let mut shared = CandidateSet::over(shared_rows(&[], 5), &[]).expect("an empty set");
        if !samples.is_empty() {
            let made: Vec<String> = samples.iter().map(|sample| sample.id.clone()).collect();
            let bare: Vec<_> =
                made.iter().map(|id| tiny_dancer::candidates::Candidate { id, ..Default::default() }).collect();
            shared = CandidateSet::over(shared_rows(&samples, 5), &bare).expect("a row each");
            for sample in &samples {
                sample.lend(|candidate| shared.update(candidate, None)).expect("known");
            }
        }
        shared.refresh();
        let scorer = CandidateScorer::default();
        let (one, other) = (ranked(&scorer, &own, &asked, &all(&own)), ranked(&scorer, &shared, &asked, &all(&own)));
        prop_assert_eq!(&one.ranked, &other.ranked);
        prop_assert_eq!(&one.unsound, &other.unsound);
    }

    #[test]
    fn int8_rows_give_cosines_within_two_hundredths(seed in any::<u64>()) {
        let mut random = Random(seed);
        let samples = any_samples(&mut random, 8, 24);
        let asked = Asked { embedding: Some(random.floats(24, 1.0)), ..Asked::default() };
        let set = set_of(&samples, 24, Precision::Quantised);
        let answer = ranked(&CandidateScorer::default(), &set, &asked, &all(&set));
        for (row, expected) in features(&samples, &asked).iter().enumerate() {
            for (feature, &expected) in expected.iter().enumerate().take(3) {
                let found = answer.features().column(feature)[row];
                prop_assert!((f64::from(found) - expected).abs() < 0.02, "{found} {expected}");
            }
        }
    }

    #[test]
    fn learned_scores_are_the_textbooks(seed in any::<u64>(), cell in any::<bool>()) {
        let mut random = Random(seed);
        let samples = weird_samples(&mut random, 3);
        let asked = Asked::any(&mut random, 3);
        let set = set_of(&samples, 3, Precision::Full);
        let draft = ScorerDraft::new(&mut random, cell.then(|| Form::plain(Numbers::F32)));
        let answer = ranked(&draft.scorer(), &set, &asked, &all(&set));
        for (row, sample) in samples.iter().enumerate() {
            let own: Vec<f64> =
                (0..FEATURES).map(|feature| f64::from(answer.features().column(feature)[row])).collect();
            let found = answer.scores()[row];
            if sample.embedding.iter().all(|value| value.is_finite()) {
                let expected = learned(&draft, cell, &own);
                prop_assert!(close(found, expected), "row {row} scores {found}, not {expected}");
            } else {
                prop_assert!(found.is_nan(), "row {row} scores {found}");
            }
        }
    }

    #[test]
    fn confidence_and_uncertainty_are_what_was_calibrated(seed in any::<u64>()) {
        let mut random = Random(seed);
        let draft = ScorerDraft::new(&mut random, None).calibrated(&mut random, [0.0, 1.0], 2);
        let scorer = draft.scorer();
        let floats = |name| draft.floats(name).into_iter().map(f64::from).collect::<Vec<_>>();
        let (scores, probabilities) = (floats("calibration.scores"), floats("calibration.probabilities"));
        let (relevant, irrelevant) = (floats("relevance.relevant"), floats("relevance.irrelevant"));
        for _ in 0..50 {
            let score = random.between(-6.0, 6.0) as f32;
            let x = f64::from(score);
            // Between the knots a line, beyond them their ends.
            let inner = scores.windows(2).zip(probabilities.windows(2));
            let between = inner.clone().find(|(x_range, _)| x_range[0] <= x && x < x_range[1]);
            let expected = match between {
                Some((s, p)) => p[0] + (x - s[0]) / (s[1] - s[0]) * (p[1] - p[0]),
                None if x < scores[0] => probabilities[0],
                None => probabilities[probabilities.len() - 1],
            };
            let found = scorer.confidence(score);
            prop_assert!(!apart(found, expected), "{score}: {found} {expected}");
            let p_value = |scores: &[f64], score: f64| {
                let at_least = scores.iter().filter(|&&other| other >= score).count() as f64;
                (1.0 + at_least) / (scores.len() as f64 + 1.0)
            };
            let expected = p_value(&relevant, -x).min(p_value(&irrelevant, x));
            prop_assert!(!apart(scorer.uncertainty(score), expected));
        }
    }

    #[test]
    fn of_unlike_candidates_nothing_is_calibrated(seed in any::<u64>(), mean in 0f32..1.0, threshold in 0f32..40.0) {
        let mut random = Random(seed);
        let samples = any_samples(&mut random, 12, 3);
        let asked = Asked::any(&mut random, 3);
        let set = set_of(&samples, 3, Precision::Full);
        let margin = random.between(0.0, 2.0) as f32;
        let draft = ScorerDraft::new(&mut random, None).calibrated(&mut random, [0.0, 1.0], 2);
        let scorer = draft.clone().for_likes(margin, mean, threshold).scorer();
        let answer = ranked(&scorer, &set, &asked, &all(&set));
        let rows = features(&samples, &asked);
        let distance: f64 = (0..FEATURES)
            .map(|feature| {
                let column = || rows.iter().map(|row| row[feature]);
                let (average, most) = (column().sum::<f64>() / 12.0, column().fold(f64::NEG_INFINITY, f64::max));
                (average - f64::from(mean)).powi(2) + (most - f64::from(mean)).powi(2)
            })
            .sum();
        prop_assume!((distance - f64::from(threshold)).abs() > 1e-3);
        prop_assert_eq!(answer.alike, distance <= f64::from(threshold));
        let usual = if answer.alike { draft.scorer() } else { CandidateScorer::default() };
        let expected = ranked(&usual, &set, &asked, &all(&set));
        prop_assert_eq!(answer.scores(), expected.scores());
        if !answer.alike {
            prop_assert!(answer.prediction_set.is_none());
            prop_assert!(answer.ranked.iter().all(|each| each.uncertainty == 1.0
                && each.confidence == each.score
                && !each.use_lightweight
                && !each.in_prediction_set));
            return Ok(());
        }
        let scores: Vec<f64> = answer.scores().iter().map(|&score| f64::from(score)).collect();
        let average = scores.iter().sum::<f64>() / 12.0;
        let deviation = (scores.iter().map(|score| (score - average).powi(2)).sum::<f64>() / 12.0).sqrt();
        let mut falling = scores.clone();
        falling.sort_by(|a, b| b.total_cmp(a));
        prop_assume!(deviation > 1e-4);
        let strange: Vec<f64> = (0..12)
            .map(|place| (falling[0] - falling[place]) / deviation + ((place + 1) as f64).ln())
            .collect();
        prop_assume!(strange.iter().all(|value| (value - f64::from(margin)).abs() > 1e-3));
        let size = strange.iter().filter(|&&value| value <= f64::from(margin)).count();
        prop_assert_eq!(answer.prediction_set, Some(size.max(1)));
    }

    #[test]
    fn a_light_model_needs_confidence_and_certainty_and_a_calibration(
        seed in any::<u64>(), threshold in 0f32..1.0, most in 0f32..1.0
    ) {
        let mut random = Random(seed);
        let samples = any_samples(&mut random, 12, 3);
        let asked = Asked::any(&mut random, 3);
        let set = set_of(&samples, 3, Precision::Full);
        let options = RankOptions { confidence_threshold: threshold, max_uncertainty: most, ..all(&set) };
        let bare = ScorerDraft::new(&mut random, None);
        let whole = bare.clone().calibrated(&mut random, [0.0, 1.0], 2);
        let mut without_p_values = whole.clone();
        without_p_values.header["relevance"] = serde_json::Value::Null;
        let mut without_probabilities = whole.clone();
        for name in ["calibration.scores", "calibration.probabilities"] {
            *without_probabilities.tensor(name) = f32_tensor(name, &[0], &[]);
        }
        for ranked in ranked(&whole.scorer(), &set, &asked, &options).ranked {
            let sure = ranked.confidence >= threshold && ranked.uncertainty <= most;
            prop_assert_eq!(ranked.use_lightweight, sure, "{:?}", ranked);
        }
        // At the ends of both ranges whatever is calibrated goes.
        let lax = RankOptions { confidence_threshold: 0.0, max_uncertainty: 1.0, ..all(&set) };
        prop_assert!(ranked(&whole.scorer(), &set, &asked, &lax).ranked.iter().all(|one| one.use_lightweight));
        for draft in [bare, without_p_values, without_probabilities] {
            let answer = ranked(&draft.scorer(), &set, &asked, &lax);
            prop_assert!(answer.ranked.iter().all(|one| !one.use_lightweight));
        }
    }

    #[test]
    fn what_was_made_in_the_future_was_made_now(seed in any::<u64>(), days in 0f64..4000.0) {
        let mut random = Random(seed);
        let samples = any_samples(&mut random, 6, 0);
        let made = samples.iter().filter_map(|sample| sample.made).map(|made| support::textbook::DATES[made].0);
        let first = made.fold(f64::INFINITY, f64::min).min(1e9);
        let asked = Asked { now: Some(first - 86_400.0 * days), ..Asked::default() };
        let set = set_of(&samples, 0, Precision::Full);
        let answer = ranked(&CandidateScorer::default(), &set, &asked, &all(&set));
        for (sample, &recency) in samples.iter().zip(answer.features().column(14)) {
            prop_assert_eq!(recency, if sample.made.is_some() { 1.0 } else { 0.0 });
        }
    }
}

/// The linear score, or one step of the cell from the state 0 and its head.
fn learned(draft: &ScorerDraft, cell: bool, features: &[f64]) -> f64 {
    let floats = |name: &str| draft.floats(name).into_iter().map(f64::from).collect::<Vec<_>>();
    let (mean, scale) = (floats("feature.mean"), floats("feature.scale"));
    let inputs: Vec<f64> =
        features.iter().zip(mean.iter().zip(&scale)).map(|(x, (m, s))| (x - m) / s).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    if !cell {
        return dot(&floats("linear.weight"), &inputs);
    }
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let (zeta, nu) = (sigmoid(floats("cell.zeta")[0]), sigmoid(floats("cell.nu")[0]));
    let weights = floats("cell.input_weight");
    let biases = floats("cell.gate_bias").into_iter().zip(floats("cell.update_bias"));
    let state: Vec<f64> = weights
        .chunks(FEATURES)
        .zip(biases)
        .map(|(row, (gate_bias, update_bias))| {
            let product = dot(row, &inputs);
            (zeta * (1.0 - sigmoid(product + gate_bias)) + nu) * (product + update_bias).tanh()
        })
        .collect();
    dot(&state, &floats("head.weight")) + floats("head.bias")[0]
}
