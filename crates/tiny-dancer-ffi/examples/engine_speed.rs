//! What the engine takes when it is called from Rust: what `benchmarks/micro/bench_doors.py` holds every binding against.
//!
//!     engine_speed ARTIFACT ENCODER REQUESTS VECTORS ROUNDS
//!
//! `ENCODER` is empty where the artifact names none. `REQUESTS` is a JSON list of texts; `VECTORS` is f32 in the machine's
//! order: how many numbers a row, the query, and the rows. Prints microseconds of the best round as JSON: a decision
//! (JSON in and out), a ranking (numbers in and out).

use std::sync::Arc;
use std::time::Instant;

use tiny_dancer::Handle;
use tiny_dancer::candidates::{
    Candidate, CandidateScorer, CandidateSet, Precision, Query, RankOptions, RankScratch,
};
use tiny_dancer::encoder::Encoder;

/// Passes over the requests in a round.
const PASSES: usize = 1;
const RANKINGS: usize = 100;
const K: usize = 10;

fn best(rounds: usize, calls: usize, mut round: impl FnMut()) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..rounds {
        let begun = Instant::now();
        round();
        least = least.min(begun.elapsed().as_secs_f64() / calls as f64 * 1e6);
    }
    least
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let read = |place: usize| std::fs::read(&arguments[place]).expect("a file");
    let rounds: usize = arguments[4].parse().expect("a number");
    let encoder =
        (!arguments[1].is_empty()).then(|| Arc::new(Encoder::from_bytes(&read(1)).expect("an encoder")));
    let handle = Handle::new(&read(0), encoder, "").expect("an artifact");
    let texts: Vec<String> = serde_json::from_slice(&read(2)).expect("a list of texts");
    let requests: Vec<String> = texts.iter().map(|text| serde_json::json!(text).to_string()).collect();
    let mut bytes = 0;
    let decide = best(rounds, PASSES * requests.len(), || {
        for request in requests.iter().cycle().take(PASSES * requests.len()) {
            bytes += handle.decide_json(request, "").expect("an answer").len();
        }
    });

    let numbers: Vec<f32> =
        read(3).chunks_exact(4).map(|four| f32::from_ne_bytes(four.try_into().expect("four"))).collect();
    let dimensions = numbers[0] as usize;
    let (query, rows) = numbers[1..].split_at(dimensions);
    let ids: Vec<String> = (0..rows.len() / dimensions).map(|row| format!("{row:010}")).collect();
    let given: Vec<Candidate> = ids.iter().map(|id| Candidate { id, ..Candidate::default() }).collect();
    let mut set = CandidateSet::new(Some(dimensions), Precision::Full).expect("a set");
    set.append(&given, rows).expect("sound candidates");
    set.refresh();
    let (scorer, mut scratch) = (CandidateScorer::default(), RankScratch::default());
    let query = Query { embedding: Some(query), ..Query::default() };
    let options = RankOptions { k: K, ..RankOptions::default() };
    let rank = best(rounds, RANKINGS, || {
        for _ in 0..RANKINGS {
            scorer.rank(&set, &query, &options, &mut scratch).expect("an answer");
            bytes += scratch.ranked.len();
        }
    });
    println!("{}", serde_json::json!({ "decide_us": decide, "rank_us": rank, "bytes": bytes }));
}
