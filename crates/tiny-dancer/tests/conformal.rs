//! Conformal prediction against textbook definitions, written for reading, and its promises by counting.
#![allow(clippy::float_cmp)] // thresholds are scores, bit for bit

use std::collections::BTreeMap;

use proptest::prelude::*;
use tiny_dancer::ErrorKind;
use tiny_dancer::conformal::{
    Adaptive, Calibration, LabelScratch, Relevance, ScoreKind, Scores, absolute_residual,
    check_probabilities, interval, quantile, rank_score, rows_needed,
};

/// Error rates as percentages, so that exact arithmetic is possible.
fn percent() -> impl Strategy<Value = u32> {
    1u32..100
}

/// Scores with many ties, or hardly any.
fn scores(most: usize) -> impl Strategy<Value = Vec<f64>> {
    prop_oneof![
        prop::collection::vec((-6i8..6).prop_map(|value| f64::from(value) / 4.0), 0..most),
        prop::collection::vec(-5.0..5.0f64, 0..most),
    ]
}

/// The smallest score with at least (n + 1)(1 − α) scores at or below it, in whole numbers.
fn textbook_quantile(scores: &[f64], percent: u32) -> f64 {
    let needed = (scores.len() as u64 + 1) * u64::from(100 - percent);
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    let enough = |candidate: &f64| {
        let below = scores.iter().filter(|score| *score <= candidate).count() as u64;
        below * 100 >= needed
    };
    sorted.into_iter().find(enough).unwrap_or(f64::INFINITY)
}

fn textbook_p_value(scores: &[f64], score: f64) -> f64 {
    let at_least = scores.iter().filter(|calibration| **calibration >= score).count();
    (1 + at_least) as f64 / (scores.len() + 1) as f64
}

/// LAC and APS as their papers put them: APS by counting, without a sort.
fn textbook_scores(kind: ScoreKind, probabilities: &[f32], uniform: f64) -> Vec<f64> {
    let score = |label: usize| {
        let own = f64::from(probabilities[label]);
        let ranked_before = |other: usize| {
            probabilities[other] > probabilities[label]
                || (probabilities[other] == probabilities[label] && other < label)
        };
        let before = (0..probabilities.len()).filter(|&other| ranked_before(other));
        let before: f64 = before.map(|other| f64::from(probabilities[other])).sum();
        if kind == ScoreKind::Lac { 1.0 - own } else { before + uniform * own }
    };
    (0..probabilities.len()).map(score).collect()
}

fn distribution() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(0u8..9, 1..12).prop_map(|weights| {
        let sum: u32 = weights.iter().copied().map(u32::from).sum();
        let share = |weight: &u8| if sum == 0 { 0.0 } else { f32::from(*weight) / sum as f32 };
        let mut shares: Vec<f32> = weights.iter().map(share).collect();
        shares[0] += f32::from(u8::from(sum == 0));
        shares
    })
}

proptest! {
    #[test]
    fn the_quantile_is_the_definition(values in scores(200), percent in percent()) {
        let alpha = f64::from(percent) / 100.0;
        prop_assert_eq!(quantile(&mut values.clone(), alpha), textbook_quantile(&values, percent));
        let enough = values.len() as f64 >= rows_needed(alpha);
        prop_assert_eq!(quantile(&mut values.clone(), alpha).is_finite(), enough);
    }

    #[test]
    fn smaller_error_rates_never_lower_the_threshold(values in scores(100), a in -0.1..1.1f64, b in -0.1..1.1f64) {
        let (low, high) = (a.min(b), a.max(b));
        prop_assert!(quantile(&mut values.clone(), low) >= quantile(&mut values.clone(), high));
    }

    #[test]
    fn rows_needed_is_one_less_than_one_over_alpha(percent in percent()) {
        let alpha = f64::from(percent) / 100.0;
        prop_assert_eq!(rows_needed(alpha), f64::from(100u32.div_ceil(percent) - 1));
    }

    #[test]
    fn p_values_are_the_definition_where_every_score_has_its_knot(
        values in scores(100).prop_filter("one score at least", |values| !values.is_empty()),
        score in prop_oneof![-6.0..6.0f64, (-24i8..24).prop_map(|value| f64::from(value) / 16.0)],
    ) {
        // As knots are f32, the calibration scores of the textbook have to be.
        let values: Vec<f64> = values.iter().map(|&value| f64::from(value as f32)).collect();
        let kept = Scores::fit(&values, None, 100).expect("sound");
        prop_assert!((kept.p_value(score) - textbook_p_value(&values, score)).abs() < 1e-12);
    }

    #[test]
    fn less_room_never_lowers_a_p_value_or_a_threshold(
        values in scores(300).prop_filter("one score at least", |values| !values.is_empty()),
        room in 1usize..60, score in -6.0..6.0f64, percent in percent(),
    ) {
        let alpha = f64::from(percent) / 100.0;
        let kept = Scores::fit(&values, None, room).expect("sound");
        prop_assert!(kept.knots().len() <= room);
        let exact = textbook_p_value(&values, score);
        let step = kept.step() / (kept.rows() + 1.0);
        prop_assert!(kept.p_value(score) >= exact - 1e-12);
        // f32 knots lie above their scores by less than one part in 2^23: one step at most, and that rounding.
        prop_assert!(kept.p_value(score) <= textbook_p_value(&values, score - 1e-5) + step + 1e-12);
        prop_assert!(kept.threshold(alpha) >= textbook_quantile(&values, percent));
    }

    #[test]
    fn a_p_value_exceeds_alpha_exactly_up_to_the_threshold(
        values in scores(300).prop_filter("one score at least", |values| !values.is_empty()),
        groups in prop::option::of(prop::collection::vec(0i64..20, 300)),
        room in 1usize..400, score in -6.0..6.0f64, alpha in 0.003..0.9f64,
    ) {
        let groups = groups.map(|groups| groups[..values.len()].to_vec());
        let kept = Scores::fit(&values, groups.as_deref(), room).expect("sound");
        let p_value = kept.p_value(score);
        prop_assume!((p_value - alpha).abs() > 1e-9);
        prop_assert_eq!(p_value > alpha, score <= kept.threshold(alpha));
    }

    #[test]
    fn every_group_weighs_the_same(
        values in scores(200).prop_filter("one score at least", |values| !values.is_empty()),
        groups in prop::collection::vec(0i64..7, 200), score in -6.0..6.0f64,
    ) {
        let groups = &groups[..values.len()];
        let names: std::collections::BTreeSet<i64> = groups.iter().copied().collect();
        let weight: f64 = names
            .iter()
            .map(|name| {
                let own: Vec<f64> =
                    values.iter().zip(groups).filter(|(_, group)| *group == name).map(|(v, _)| *v).collect();
                own.iter().filter(|value| **value >= score).count() as f64 / own.len() as f64
            })
            .sum();
        let exact = (1.0 + weight) / (names.len() as f64 + 1.0);
        let found = Scores::fit(&values, Some(groups), 1000).expect("sound").p_value(score);
        prop_assert!(found >= exact - 1e-9, "{} below {}", found, exact);
        let slack = 1.0 / 1000.0 + 1e-9;
        let looser = Scores::fit(&values, Some(groups), 1000).expect("sound").p_value(score + 1e-5);
        prop_assert!(looser <= exact + slack, "{} above {}", looser, exact);
    }

    #[test]
    fn labels_score_as_the_papers_say(probabilities in distribution(), uniform in 0.0..=1.0f64) {
        let mut scratch = LabelScratch::default();
        for kind in [ScoreKind::Lac, ScoreKind::Aps] {
            kind.label_scores(&probabilities, uniform, &mut scratch).expect("labels");
            for (found, expected) in scratch.scores().iter().zip(textbook_scores(kind, &probabilities, uniform)) {
                prop_assert!((found - expected).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_set_is_the_labels_whose_score_is_within_the_threshold(
        probabilities in distribution(), uniform in 0.0..=1.0f64, threshold in 0.0..1.0f64, aps in any::<bool>(),
    ) {
        let score = if aps { ScoreKind::Aps } else { ScoreKind::Lac };
        let calibration = Calibration { threshold, ..calibration(score) };
        let mut scratch = LabelScratch::default();
        let set = calibration.label_set(&probabilities, None, uniform, &mut scratch).expect("labels").to_vec();
        let inside = |label: &u32| scratch.scores()[*label as usize] <= threshold;
        let mut expected: Vec<u32> = (0..probabilities.len() as u32).filter(inside).collect();
        expected.sort_by(|&a, &b| probabilities[b as usize].total_cmp(&probabilities[a as usize]).then(a.cmp(&b)));
        prop_assert_eq!(set, expected);
    }

    #[test]
    fn deterministic_adaptive_sets_are_never_empty(probabilities in distribution(), threshold in 0.0..1.0f64) {
        let calibration = Calibration { threshold, ..calibration(ScoreKind::Aps) };
        let mut scratch = LabelScratch::default();
        prop_assert!(!calibration.label_set(&probabilities, None, 0.0, &mut scratch).expect("labels").is_empty());
    }

    #[test]
    fn an_interval_holds_what_is_within_the_threshold(
        predicted in -1e3..1e3f64, actual in -1e3..1e3f64, factor in 0.5..1.5f64,
    ) {
        let residual = absolute_residual(predicted, actual);
        let (low, high) = interval(predicted, residual);
        prop_assert!(low <= actual && actual <= high, "rounding must not lose the value itself");
        let threshold = residual * factor;
        let (low, high) = interval(predicted, threshold);
        if (factor - 1.0).abs() > 1e-6 && residual > 1e-6 {
            prop_assert_eq!(low <= actual && actual <= high, residual <= threshold);
        }
    }

    #[test]
    fn keeping_as_many_as_the_rank_score_keeps_a_relevant_one(
        scores in prop::collection::vec((-3i8..3).prop_map(f32::from), 1..30),
        flags in prop::collection::vec(any::<bool>(), 30), seed in any::<u64>(),
    ) {
        let relevant = &flags[..scores.len()];
        let found = rank_score(&scores, relevant);
        prop_assert_eq!(found.is_some(), relevant.contains(&true));
        let Some(keep) = found else { return Ok(()) };
        // Any order of equal scores will do.
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by_key(|&index| (index as u64).wrapping_mul(seed | 1) >> 3);
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        prop_assert!(order[..keep as usize].iter().any(|&index| relevant[index]));
        let above = scores.iter().filter(|score| order.iter().filter(|&&i| relevant[i]).all(|&i| scores[i] < **score));
        prop_assert!(above.count() < keep as usize, "and no fewer would do");
    }

    #[test]
    fn adaptive_inference_keeps_its_bound_against_any_sequence(
        truths in prop::collection::vec(0.0..1.0f64, 1..400), percent in 5u32..50, gamma in 0.005..0.3f64,
        calibration in prop::collection::vec(0.0..1.0f64, 1..50),
    ) {
        let mut state = Adaptive::new(f64::from(percent) / 100.0, gamma).expect("sound");
        let mut misses = 0.0;
        for truth in &truths {
            let covered = *truth <= quantile(&mut calibration.clone(), state.level);
            misses += f64::from(u8::from(!covered));
            state = state.after(covered);
            prop_assert!((-gamma - 1e-9..=1.0 + gamma + 1e-9).contains(&state.level));
        }
        let rows = truths.len() as f64;
        let bound = (state.alpha.max(1.0 - state.alpha) + gamma) / (rows * gamma);
        prop_assert!((misses / rows - state.alpha).abs() <= bound + 1e-9);
    }

    #[test]
    fn uncertainty_is_the_least_alpha_with_a_single_answer(
        values in prop::collection::vec(-3.0..3.0f64, 2..80), flags in prop::collection::vec(any::<bool>(), 80),
        score in -4.0..4.0f64,
    ) {
        let flags = &flags[..values.len()];
        prop_assume!(flags.contains(&true) && flags.contains(&false));
        let found = Relevance::fit(&values, flags, None, 100).expect("both classes").p_values(score);
        let answers = |alpha: f64| usize::from(found.relevant > alpha) + usize::from(found.irrelevant > alpha);
        prop_assert!(answers(found.uncertainty()) <= 1);
        prop_assert_eq!(answers(found.uncertainty() - 1e-9), 2);
        prop_assert_eq!(answers(found.credibility() - 1e-9) > 0, true);
    }
}

fn calibration(score: ScoreKind) -> Calibration {
    Calibration {
        score,
        alpha: 0.1,
        rows: 100,
        threshold: 0.5,
        groups: BTreeMap::new(),
        rest: BTreeMap::new(),
    }
}

#[test]
fn groups_with_enough_rows_have_their_own_threshold_and_others_the_pooled_one() {
    let scores: Vec<f64> = (0..60).map(f64::from).collect();
    let groups: Vec<&str> = (0..60).map(|row| ["many", "few"][usize::from(row >= 52)]).collect();
    let found =
        Calibration::fit(ScoreKind::AbsoluteResidual, &scores, Some(&groups), 0.1).expect("enough rows");
    assert_eq!(found.groups.keys().collect::<Vec<_>>(), ["many"]);
    assert_eq!(found.threshold(Some("many")), textbook_quantile(&scores[..52], 10));
    let pooled = textbook_quantile(&scores, 10);
    for group in [None, Some("few"), Some("unheard of")] {
        assert_eq!(found.threshold(group), pooled);
    }
    found.check().expect("what is fitted is sound");
}

#[test]
fn a_calibration_survives_its_header() {
    let scores: Vec<f64> = (0..200).map(|row| f64::from(row * 37 % 101) / 101.0).collect();
    let groups: Vec<String> = (0..200).map(|row| format!("group {}", row % 3)).collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let found = Calibration::fit(ScoreKind::Lac, &scores, Some(&groups), 0.07).expect("enough rows");
    let json = serde_json::to_string(&found).expect("numbers and strings");
    assert_eq!(serde_json::from_str::<Calibration>(&json).expect("as written"), found);
}

#[test]
fn what_cannot_be_calibrated_is_refused() {
    let fit = |scores: &[f64], groups: Option<&[&str]>, alpha: f64| {
        let error = Calibration::fit(ScoreKind::Lac, scores, groups, alpha).expect_err("refused");
        assert_eq!(error.kind, ErrorKind::OptionInvalid, "{error}");
        error
    };
    for alpha in [0.0, 1.0, -0.1, f64::NAN, f64::INFINITY] {
        assert_eq!(fit(&[0.0; 50], None, alpha).field, "alpha");
    }
    let few = fit(&[0.0; 8], None, 0.1);
    assert!(few.field == "alpha" && few.remedy.contains("at least 9 rows"), "{few}");
    assert!(Calibration::fit(ScoreKind::Lac, &[0.0; 9], None, 0.1).is_ok());
    let mut scores = [0.5; 50];
    scores[7] = f64::NAN;
    assert_eq!(fit(&scores, None, 0.1).field, "scores[7]");
    assert_eq!(fit(&[0.5; 50], Some(&["a"; 49]), 0.1).field, "groups");
    for (probabilities, wrong) in [
        (vec![0.5, f32::NAN], true),
        (vec![0.7, 0.7], true),
        (vec![-0.1, 1.1], true),
        (vec![0.5, 0.5], false),
    ] {
        assert_eq!(check_probabilities(&probabilities, "probabilities").is_err(), wrong, "{probabilities:?}");
    }
    assert!(Scores::fit(&[], None, 10).is_err());
    assert!(Scores::fit(&[1e300], None, 10).is_err(), "beyond f32");
    assert!(Scores::fit(&[1.0], None, 0).is_err());
    assert!(Relevance::fit(&[0.1, 0.2], &[true, true], None, 10).is_err(), "no irrelevant one");
    assert!(Adaptive::new(0.1, 0.0).is_err() && Adaptive::new(0.1, f64::NAN).is_err());
}

#[test]
fn a_header_that_cannot_be_is_refused() {
    let sound = calibration(ScoreKind::Lac);
    sound.check().expect("sound");
    let own = |rows, threshold| {
        let group = tiny_dancer::conformal::GroupThreshold { rows, threshold };
        BTreeMap::from([("one".to_owned(), group)])
    };
    let cases = [
        Calibration { alpha: 0.0, ..sound.clone() },
        Calibration { alpha: f64::NAN, ..sound.clone() },
        Calibration { rows: 8, ..sound.clone() },
        Calibration { threshold: f64::NAN, ..sound.clone() },
        Calibration { threshold: 1.5, ..sound.clone() },
        Calibration { threshold: -0.1, ..sound.clone() },
        Calibration { score: ScoreKind::Rank, threshold: 2.5, ..sound.clone() },
        Calibration { score: ScoreKind::Rank, threshold: 0.0, ..sound.clone() },
        Calibration { score: ScoreKind::AbsoluteResidual, threshold: f64::INFINITY, ..sound.clone() },
        Calibration { groups: own(101, 0.5), ..sound.clone() },
        Calibration { groups: own(5, 0.5), ..sound.clone() },
        Calibration { groups: own(50, 2.0), ..sound.clone() },
    ];
    for case in cases {
        let error = case.check().expect_err("refused");
        assert_eq!(error.kind, ErrorKind::ArtifactInvalid);
        assert!(error.field.starts_with("conformal"), "{error}");
    }
    for (rows, step, knots) in [
        (0.0, 1.0, vec![1.0]),
        (2.0, 1.0, vec![1.0, 2.0, 3.0]),
        (2.0, 1.0, vec![2.0, 1.0]),
        (2.0, 1.0, vec![f32::NAN]),
        (2.0, f64::NAN, vec![1.0]),
        (f64::INFINITY, 1.0, vec![1.0]),
    ] {
        assert!(Scores::from_parts(rows, step, knots.clone()).is_err(), "{rows} {step} {knots:?}");
    }
}

#[test]
fn a_thousand_scores_take_four_kilobytes_and_more_take_no_more() {
    for rows in [1000, 1001, 5000, 100_000] {
        let scores: Vec<f64> = (0..rows).map(|row| f64::from(row).sin()).collect();
        let kept = Scores::fit(&scores, None, tiny_dancer::conformal::MOST_KNOTS).expect("sound");
        assert!(std::mem::size_of_val(kept.knots()) <= 4096, "{rows}");
        assert!(kept.step() / kept.rows() <= 2.0 / 1000.0, "{rows}");
    }
}
