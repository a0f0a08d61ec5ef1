//! How long it takes to rank a hundred candidates, as wide as the benchmarks in `benchmarks/`.
#![allow(missing_docs, reason = "criterion's macros write functions")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use support::Random;
use support::scorers::ScorerDraft;
use support::textbook::{Asked, any_samples, set_of};
use tiny_dancer::candidates::{CandidateScorer, Precision, RankOptions, RankScratch};

const CANDIDATES: usize = 100;
const DIMENSIONS: usize = 384;

fn ranking(criterion: &mut Criterion) {
    let mut random = Random(1);
    let samples = any_samples(&mut random, CANDIDATES, DIMENSIONS);
    let set = set_of(&samples, DIMENSIONS, Precision::Full);
    let asked = Asked {
        words: Some(vec![0, 1, 2, 3, 4]),
        embedding: Some(random.floats(DIMENSIONS, 1.0)),
        now: Some(1.7e9),
        ..Asked::default()
    };
    let options = RankOptions { k: 10, ..RankOptions::default() };
    let scorers = [
        ("untrained", CandidateScorer::default()),
        ("learned", ScorerDraft::new(&mut random, None).scorer()),
    ];
    let mut group = criterion.benchmark_group("rank 100 candidates");
    for (name, scorer) in scorers {
        let mut scratch = RankScratch::default();
        group.bench_function(name, |bencher| {
            asked.lend(|query| {
                bencher.iter(|| {
                    scorer.rank(&set, black_box(query), &options, &mut scratch).expect("a query that fits");
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, ranking);
criterion_main!(benches);
