//! Queries to candidates.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use napi::bindgen_prelude::{AsyncTask, Float32ArraySlice, Float64ArraySlice, Uint8ArraySlice};
use napi_derive::napi;
use tiny_dancer::candidates::{
    CandidateDoor, CandidateScorer, Precision, Query, RankOptions, RankScratch, Rows, RowsScratch,
    as_written, seconds_of_number,
};
use tiny_dancer::resilience::Guarded;
use tiny_dancer::{Error, ErrorKind, Pool};

use crate::border::{Batch, behind_breaker, guard, held, now};
use crate::router::{Encoder, shared};

/// What scores candidates, behind a breaker; where it fails, the combination without training ranks.
#[napi]
pub struct Scorer(Arc<Guarded<CandidateScorer>>, Pool<RowsScratch>);

fn scorer(artifact: Option<Uint8ArraySlice>) -> tiny_dancer::Result<CandidateScorer> {
    artifact.map_or_else(|| Ok(CandidateScorer::default()), |bytes| CandidateScorer::from_bytes(&bytes))
}

fn precision(quantised: bool) -> Precision {
    if quantised { Precision::Quantised } else { Precision::Full }
}

#[napi]
impl Scorer {
    /// Reads an artifact; none is the combination without training. `breaker`: failures that open one.
    ///
    /// # Errors
    /// As [`CandidateScorer::from_bytes`].
    #[napi(constructor)]
    pub fn new(artifact: Option<Uint8ArraySlice>, breaker: Option<u32>) -> napi::Result<Self> {
        guard(|| Ok(Self(Arc::new(behind_breaker(scorer(artifact)?, breaker)?), Pool::default())))
    }

    /// Serves another artifact; where it does not load, what served goes on serving.
    ///
    /// # Errors
    /// As [`CandidateScorer::from_bytes`].
    #[napi]
    pub fn reload(&self, artifact: Option<Uint8ArraySlice>) -> napi::Result<()> {
        guard(|| self.0.reload(scorer(artifact)))
    }

    /// How it stands, as [`Guarded::status_json`] has it.
    ///
    /// # Errors
    /// Where the engine stopped.
    #[napi]
    pub fn status(&self) -> napi::Result<String> {
        guard(|| Ok(self.0.status_json(now())))
    }

    /// Ranks candidates that are given for this query alone.
    ///
    /// # Errors
    /// As [`Candidates::add`] and [`Candidates::rank`].
    #[napi]
    pub fn rank(
        &self,
        quantised: bool,
        candidates: String,
        embeddings: Option<Float32ArraySlice>,
        query: String,
        embedding: Option<Float32ArraySlice>,
    ) -> napi::Result<String> {
        guard(|| {
            let mut door = CandidateDoor::new(precision(quantised), None);
            door.add_with(&candidates, embeddings.as_deref())?;
            door.rank_guarded(&self.0, &query, embedding.as_deref(), false, now())
        })
    }

    /// The same of candidates of which no more is known than numbers: embeddings row after row, and what else is known,
    /// property after property, NaN where it is not. Writes the answer to `out`, four numbers a candidate.
    ///
    /// Gives 1 where it is calibrated, 0 where not, and −1 where [`Self::rank`] has to be asked, which has more to say.
    #[napi]
    #[allow(clippy::too_many_arguments)] // numbers that cross the border one by one need no object
    pub fn rank_rows(
        &self,
        embeddings: Float32ArraySlice,
        numbers: Float64ArraySlice,
        query: Float32ArraySlice,
        now: f64,
        confidence_threshold: f64,
        max_uncertainty: f64,
        mut out: Float64ArraySlice,
    ) -> i32 {
        let now = seconds_of_number(now).unwrap_or(now);
        let thresholds = [confidence_threshold as f32, max_uncertainty as f32];
        // SAFETY: it is none of the arrays that are read, and Node does nothing else before this returns.
        let out = unsafe { out.as_mut() };
        self.ranked((&embeddings, &numbers, &query), now, thresholds, out).map_or(BY_JSON, i32::from)
    }
}

/// What [`Scorer::rank_rows`] answers where there is more to say than numbers.
const BY_JSON: i32 = -1;
/// Numbers of a candidate as given, after each other: when it was made, uses, the share that helped.
const GIVEN: usize = 3;
/// And as answered: row, confidence, uncertainty, whether a light model will do (1) and the score is the last one's (2).
const ANSWERED: usize = 4;

impl Scorer {
    /// None where the JSON of the same has more to say.
    fn ranked(
        &self,
        (embeddings, numbers, query): (&[f32], &[f64], &[f32]),
        now: f64,
        thresholds: [f32; 2],
        out: &mut [f64],
    ) -> Option<bool> {
        let (created_at, rest) = numbers.split_at(numbers.len() / GIVEN);
        let (access_count, success_rate) = rest.split_at(rest.len() / 2);
        let rows = Rows { embeddings, created_at, access_count, success_rate };
        self.1.with(|scratch| {
            let learned = |scorer: &CandidateScorer| {
                // What fails here fails again by JSON, and is counted and said there.
                let work = AssertUnwindSafe(|| scorer.rank_rows(&rows, query, now, thresholds, scratch));
                let ranked = catch_unwind(work).unwrap_or(false);
                if ranked && scratch.ranked.len() * ANSWERED == out.len() {
                    Ok(Some(()))
                } else {
                    Err(by_json())
                }
            };
            self.0.ask(crate::border::now(), learned, |_, _| Err(by_json())).ok()??;
            for (ranked, out) in scratch.ranked.iter().zip(out.chunks_exact_mut(ANSWERED)) {
                let flags = u8::from(ranked.use_lightweight) | u8::from(ranked.as_before) << 1;
                out.copy_from_slice(&[
                    ranked.row.into(),
                    ranked.confidence,
                    ranked.uncertainty,
                    flags.into(),
                ]);
            }
            Some(scratch.calibrated)
        })
    }
}

/// An error that no breaker counts: the question is asked again by JSON.
fn by_json() -> Error {
    Error::new(ErrorKind::CandidateInvalid, "candidates", "more than numbers", "give them as JSON")
}

/// Numbers of a candidate that was found, after each other: row, score, confidence, uncertainty, whether a light model will
/// do (1) and it is in the prediction set (2).
const FOUND: usize = 5;

impl Candidates {
    /// None where the JSON of the same has more to say.
    fn found(&self, query: &Query, options: &RankOptions, out: &mut [f64]) -> Option<usize> {
        let mut door = self.door.lock().ok()?;
        door.refresh();
        let set = door.set()?;
        self.scratch.with(|scratch| {
            let learned = |scorer: &CandidateScorer| {
                // What fails here fails again by JSON, and is counted and said there.
                let work = AssertUnwindSafe(|| scorer.rank(set, query, options, scratch).is_ok());
                if catch_unwind(work).unwrap_or(false) { Ok(Some(())) } else { Err(by_json()) }
            };
            self.scorer.ask(crate::border::now(), learned, |_, _| Err(by_json())).ok()??;
            for (ranked, out) in scratch.ranked.iter().zip(out.chunks_exact_mut(FOUND)) {
                let flags = u8::from(ranked.use_lightweight) | u8::from(ranked.in_prediction_set) << 1;
                let numbers = [ranked.score, ranked.confidence, ranked.uncertainty].map(as_written);
                out.copy_from_slice(&[ranked.row.into(), numbers[0], numbers[1], numbers[2], flags.into()]);
            }
            Some(scratch.ranked.len())
        })
    }
}

/// Candidates that stay, and what ranks them.
#[napi]
pub struct Candidates {
    scorer: Arc<Guarded<CandidateScorer>>,
    door: Arc<Mutex<CandidateDoor>>,
    scratch: Pool<RankScratch>,
}

#[napi]
impl Candidates {
    /// No candidates yet.
    #[napi(constructor)]
    #[must_use]
    pub fn new(scorer: &Scorer, encoder: Option<&Encoder>, quantised: bool) -> Self {
        let door = CandidateDoor::new(precision(quantised), shared(encoder));
        let scorer = Arc::clone(&scorer.0);
        Self { scorer, door: Arc::new(Mutex::new(door)), scratch: Pool::default() }
    }

    /// Adds candidates, all or none: JSON, and their embeddings row after row.
    ///
    /// # Errors
    /// As [`CandidateDoor::add_with`].
    #[napi]
    pub fn add(&self, candidates: String, embeddings: Option<Float32ArraySlice>) -> napi::Result<()> {
        guard(|| held(&self.door).add_with(&candidates, embeddings.as_deref()))
    }

    /// Ranks the candidates for a query: JSON, and its embedding.
    ///
    /// # Errors
    /// As [`CandidateDoor::rank_with`].
    #[napi]
    pub fn rank(
        &self,
        query: String,
        embedding: Option<Float32ArraySlice>,
        features: bool,
    ) -> napi::Result<String> {
        guard(|| held(&self.door).rank_guarded(&self.scorer, &query, embedding.as_deref(), features, now()))
    }

    /// Ranks them for an embedding alone. Writes the answer to `out`, five numbers a candidate, for as many as there is
    /// room.
    ///
    /// Gives how many were written, and −1 where [`Self::rank`] has to be asked, which has more to say.
    #[napi]
    pub fn rank_vector(
        &self,
        embedding: Float32ArraySlice,
        now: f64,
        confidence_threshold: f64,
        max_uncertainty: f64,
        mut out: Float64ArraySlice,
    ) -> i32 {
        let query = Query { embedding: Some(&embedding), now: Some(now), ..Query::default() };
        let options = RankOptions {
            k: out.len() / FOUND,
            confidence_threshold: confidence_threshold as f32,
            max_uncertainty: max_uncertainty as f32,
            ..RankOptions::default()
        };
        // SAFETY: it is not the array that is read, and Node does nothing else before this returns.
        let out = unsafe { out.as_mut() };
        self.found(&query, &options, out).map_or(BY_JSON, |count| count as i32)
    }

    /// Ranks for many queries, embeddings within their JSON, on another thread.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn rank_batch(&self, queries: Vec<String>, features: bool) -> AsyncTask<Batch> {
        let (door, scorer) = (Arc::clone(&self.door), Arc::clone(&self.scorer));
        Batch::of(queries, move |query| held(&door).rank_guarded(&scorer, query, None, features, now()))
    }

    /// Ranks while the scorer panics, so that a test sees what is answered then.
    ///
    /// # Errors
    /// As [`CandidateDoor::rank_guarded`].
    #[napi]
    pub fn rank_with_panic(&self, query: String, message: String) -> napi::Result<String> {
        let fails = |_: &mut CandidateDoor, _: &CandidateScorer| panic!("{message}");
        guard(|| held(&self.door).rank_guarded_by(&self.scorer, &query, None, false, now(), fails))
    }

    /// Panics while the candidates are held, so that a test sees what becomes of them.
    ///
    /// # Errors
    /// Always, that the engine stopped.
    #[napi]
    pub fn panic_with(&self, message: String) -> napi::Result<()> {
        guard(|| {
            let _held = held(&self.door);
            panic!("{message}")
        })
    }
}
