//! Ranking of whatever bytes say: no panic, no NaN, order and number as asked.

mod support;

use support::Random;
use support::ranking::Harness;

fn run(inputs: u64) -> Harness {
    let mut harness = Harness::default();
    let mut random = Random(2026);
    let mut bytes = Vec::new();
    for _ in 0..inputs {
        bytes.clear();
        let words = 1 + random.below(16);
        bytes.extend((0..words).flat_map(|_| random.bits().to_le_bytes()));
        harness.run(&bytes);
    }
    harness
}

#[test]
fn random_inputs_are_ranked_or_refused() {
    let harness = run(20_000);
    assert!(harness.answers > 15_000, "{} answers", harness.answers);
}

/// Ten million: `cargo test --release --test candidates_random -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes"]
fn ten_million_random_inputs_are_ranked_or_refused() {
    let harness = run(10_000_000);
    println!("{} inputs, {} answers checked", harness.inputs, harness.answers);
    assert!(harness.answers > 7_500_000, "{} answers", harness.answers);
}
