//! Queries to candidates.

use std::sync::{Arc, Mutex};

use napi::bindgen_prelude::{AsyncTask, Float32ArraySlice, Uint8ArraySlice};
use napi_derive::napi;
use tiny_dancer::candidates::{CandidateDoor, CandidateScorer, Precision};
use tiny_dancer::resilience::Guarded;

use crate::border::{Batch, behind_breaker, guard, held, now};
use crate::router::{Encoder, shared};

/// What scores candidates, behind a breaker; where it fails, the combination without training ranks.
#[napi]
pub struct Scorer(Arc<Guarded<CandidateScorer>>);

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
        guard(|| Ok(Self(Arc::new(behind_breaker(scorer(artifact)?, breaker)?))))
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
}

/// Candidates that stay, and what ranks them.
#[napi]
pub struct Candidates {
    scorer: Arc<Guarded<CandidateScorer>>,
    door: Arc<Mutex<CandidateDoor>>,
}

#[napi]
impl Candidates {
    /// No candidates yet.
    #[napi(constructor)]
    #[must_use]
    pub fn new(scorer: &Scorer, encoder: Option<&Encoder>, quantised: bool) -> Self {
        let door = CandidateDoor::new(precision(quantised), shared(encoder));
        Self { scorer: Arc::clone(&scorer.0), door: Arc::new(Mutex::new(door)) }
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
