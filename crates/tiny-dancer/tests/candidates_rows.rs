//! Candidates of which only numbers are known: their ranking is the one a set of them gives.

mod support;

use support::Random;
use support::cell::{Form, Numbers};
use support::scorers::ScorerDraft;
use tiny_dancer::candidates::{
    Candidate, CandidateScorer, CandidateSet, Precision, Query, RankOptions, RankScratch, Rows, RowsScratch,
};

const NOW: f64 = 1.7e9;
const THRESHOLDS: [f32; 2] = [0.02, 0.95];

fn scorer(random: &mut Random, kind: usize) -> CandidateScorer {
    let form = kind.is_multiple_of(2).then(|| Form::plain(Numbers::F32));
    let draft = ScorerDraft::new(random, form);
    match kind {
        0 => CandidateScorer::default(),
        1 | 2 => draft.scorer(),
        3 | 4 => draft.calibrated(random, [0.0, 1.0], 2).scorer(),
        _ => {
            let mut draft = draft.calibrated(random, [0.0, 1.0], 2);
            draft.header["calibrated_on"] = "share".into();
            draft.scorer()
        }
    }
}

/// A number, or nothing now and then.
fn maybe(random: &mut Random, low: f64, high: f64) -> f64 {
    if random.chance(0.3) { f64::NAN } else { random.between(low, high) }
}

#[test]
fn rows_are_ranked_as_a_set_of_them_is() {
    let mut random = Random(11);
    let (mut scratch, mut set_scratch) = (RowsScratch::default(), RankScratch::default());
    let (mut calibrated, mut light, mut ties) = (0, 0, 0);
    for round in 0..600 {
        let scorer = scorer(&mut random, round % 7);
        let (count, width) = (1 + random.below(40), 1 + random.below(40));
        let mut embeddings = random.floats(count * width, 1.0);
        for row in 1..count {
            if random.chance(0.2) {
                embeddings.copy_within(..width, row * width);
            }
        }
        let query = random.floats(width, 1.0);
        let bare = random.chance(0.3);
        let mut column = |low, high| -> Vec<f64> {
            (0..count).map(|_| if bare { f64::NAN } else { maybe(&mut random, low, high) }).collect()
        };
        let (created_at, access_count, success_rate) =
            (column(NOW - 1e7, NOW + 1e6), column(0.0, 99.0), column(0.0, 1.0));
        let rows = Rows {
            embeddings: &embeddings,
            created_at: &created_at,
            access_count: &access_count,
            success_rate: &success_rate,
        };
        assert!(scorer.rank_rows(&rows, &query, NOW, THRESHOLDS, &mut scratch));

        let ids: Vec<String> = (0..count).map(|row| format!("{row:04}")).collect();
        let known = |number: f64| (!number.is_nan()).then_some(number);
        let candidates: Vec<Candidate> = (0..count)
            .map(|row| Candidate {
                id: &ids[row],
                created_at: known(created_at[row]),
                access_count: known(access_count[row]),
                success_rate: known(success_rate[row]),
                ..Candidate::default()
            })
            .collect();
        let mut set = CandidateSet::new(Some(width), Precision::Full).unwrap();
        set.append(&candidates, &embeddings).unwrap();
        set.refresh();
        let [confidence_threshold, max_uncertainty] = THRESHOLDS;
        let options =
            RankOptions { k: count, confidence_threshold, max_uncertainty, ..RankOptions::default() };
        let asked = Query { embedding: Some(&query), now: Some(NOW), ..Query::default() };
        scorer.rank(&set, &asked, &options, &mut set_scratch).unwrap();

        let written = |value: f32| serde_json::to_string(&value).unwrap().parse::<f64>().unwrap();
        let expected: Vec<_> = set_scratch.ranked.iter().collect();
        assert_eq!(scratch.ranked.len(), expected.len());
        assert_eq!(scratch.calibrated, scorer.is_calibrated() && set_scratch.alike);
        for (place, (found, wanted)) in scratch.ranked.iter().zip(&expected).enumerate() {
            assert_eq!(found.row, wanted.row, "round {round}, place {place}");
            assert_eq!(found.confidence.to_bits(), written(wanted.confidence).to_bits());
            assert_eq!(found.uncertainty.to_bits(), written(wanted.uncertainty).to_bits());
            assert_eq!(found.use_lightweight, wanted.use_lightweight);
            let as_before = place > 0 && expected[place - 1].score.total_cmp(&wanted.score).is_eq();
            assert_eq!(found.as_before, as_before);
            ties += u32::from(as_before);
            light += u32::from(found.use_lightweight);
        }
        calibrated += u32::from(scratch.calibrated);
    }
    assert!(calibrated > 100 && light > 10 && ties > 100, "{calibrated} {light} {ties}");
}

#[test]
fn what_a_set_would_refuse_or_leave_out_has_no_answer() {
    let mut scratch = RowsScratch::default();
    let mut ranked = |embeddings: &[f32], numbers: [f64; 3], query: &[f32], now: f64| {
        let [created_at, access_count, success_rate] = numbers.map(|number| [number]);
        let rows = Rows {
            embeddings,
            created_at: &created_at,
            access_count: &access_count,
            success_rate: &success_rate,
        };
        CandidateScorer::default().rank_rows(&rows, query, now, THRESHOLDS, &mut scratch)
    };
    let unknown = [f64::NAN; 3];
    assert!(ranked(&[1.0, 0.0], [1.0, 2.0, 0.5], &[1.0, 0.0], NOW));
    assert!(ranked(&[1.0, 0.0], unknown, &[1.0, 0.0], NOW));
    for embeddings in [&[1.0][..], &[1.0, f32::NAN], &[f32::INFINITY, 0.0], &[1.0, 0.0, 1.0], &[]] {
        assert!(!ranked(embeddings, unknown, &[1.0, 0.0], NOW));
    }
    for query in [&[][..], &[f32::NAN, 0.0], &[1.0]] {
        assert!(!ranked(&[1.0, 0.0], unknown, query, NOW));
    }
    for numbers in [[1e30, 1.0, 0.5], [1.0, -1.0, 0.5], [1.0, 2e9, 0.5], [1.0, 1.0, 1.5]] {
        assert!(!ranked(&[1.0, 0.0], numbers, &[1.0, 0.0], NOW));
    }
    assert!(!ranked(&[1.0, 0.0], unknown, &[1.0, 0.0], f64::NAN));
}
