//! Queries to candidates.

use std::sync::{Arc, Mutex};

use napi::bindgen_prelude::{AsyncTask, Float32ArraySlice, Uint8ArraySlice};
use napi_derive::napi;
use tiny_dancer::candidates::{CandidateDoor, CandidateScorer, Precision};

use crate::border::{Batch, guard, held};
use crate::router::{Encoder, shared};

/// What scores candidates.
#[napi]
pub struct Scorer(Arc<CandidateScorer>);

fn precision(quantised: bool) -> Precision {
    if quantised { Precision::Quantised } else { Precision::Full }
}

#[napi]
impl Scorer {
    /// Reads an artifact; none is the combination without training.
    ///
    /// # Errors
    /// As [`CandidateScorer::from_bytes`].
    #[napi(constructor)]
    pub fn new(artifact: Option<Uint8ArraySlice>) -> napi::Result<Self> {
        guard(|| {
            let scorer = match artifact {
                Some(bytes) => CandidateScorer::from_bytes(&bytes)?,
                None => CandidateScorer::default(),
            };
            Ok(Self(Arc::new(scorer)))
        })
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
            door.rank_with(&self.0, &query, embedding.as_deref(), false)
        })
    }
}

/// Candidates that stay, and what ranks them.
#[napi]
pub struct Candidates {
    scorer: Arc<CandidateScorer>,
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
        guard(|| held(&self.door).rank_with(&self.scorer, &query, embedding.as_deref(), features))
    }

    /// Ranks for many queries, embeddings within their JSON, on another thread.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn rank_batch(&self, queries: Vec<String>, features: bool) -> AsyncTask<Batch> {
        let (door, scorer) = (Arc::clone(&self.door), Arc::clone(&self.scorer));
        Batch::of(queries, move |query| held(&door).rank_with(&scorer, query, None, features))
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
