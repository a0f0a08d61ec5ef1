//! Candidates, queries and answers as JSON, so that a binding forwards bytes and nothing else.
//!
//! Candidates are a list of objects with the fields of [`Candidate`] and `embedding`; `created_at` is a number or ISO
//! 8601 ([`super::seconds_of_number`], [`super::seconds_of_text`]), `metadata` any object, `namespace` a list of texts. A
//! query is an object: `text`, `embedding`, `metadata`, `now`, and the options `k`, `diversity`, `confidence_threshold`,
//! `max_uncertainty`, `where` ([`super::Filter`]). A field that is null is absent; one that is unknown, or there twice,
//! is refused.

mod given;
mod numbers;
mod read;

use std::borrow::Cow;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::candidate::Candidate;
use super::features::{FEATURE_NAMES, FEATURES, Query};
use super::matrix::Precision;
use super::metadata::Scalar;
use super::rank::{RankOptions, RankScratch};
use super::scorer::CandidateScorer;
use super::set::CandidateSet;
use crate::encoder::{DIM, Encoder, WordCache, pool};
use crate::error::{Error, Result};
use read::{Asked, Given, invalid, whole};

pub use read::MOST_BYTES;

/// Candidates given as JSON, and what it takes to encode their texts.
#[derive(Debug)]
pub struct CandidateDoor {
    /// None until the first candidates say how wide embeddings are.
    set: Option<CandidateSet>,
    precision: Precision,
    encoder: Option<Arc<Encoder>>,
    /// Whether the embeddings are the encoder's.
    encoded: bool,
    words: WordCache,
    scratch: RankScratch,
}

impl CandidateDoor {
    /// No candidates yet. With an encoder, the texts of candidates without embeddings are encoded, and the query's then
    /// is, too; without one, such candidates are compared by their words alone.
    #[must_use]
    pub fn new(precision: Precision, encoder: Option<Arc<Encoder>>) -> Self {
        Self {
            set: None,
            precision,
            encoder,
            encoded: false,
            words: WordCache::default(),
            scratch: RankScratch::default(),
        }
    }

    /// The candidates so far; `None` before the first.
    #[must_use]
    pub fn set(&self) -> Option<&CandidateSet> {
        self.set.as_ref()
    }

    /// Adds a list of candidates, all or none.
    ///
    /// Where some have embeddings, those without count as unlike everything. The first that are added say whether there
    /// are embeddings, how wide, and whether they are the encoder's.
    ///
    /// # Errors
    /// `CandidateInvalid`, naming candidate and field: what is no JSON, an unknown field, a value of another kind than
    /// the field's, and as [`CandidateSet::append`].
    pub fn add(&mut self, json: &str) -> Result<()> {
        self.add_with(json, None)
    }

    /// The same, where embeddings may come beside the JSON, as numbers: one row a candidate, one after the other.
    ///
    /// # Errors
    /// As [`Self::add`]; embeddings that are not as many rows as there are candidates, or beside others in the JSON.
    pub fn add_with(&mut self, json: &str, embeddings: Option<&[f32]>) -> Result<()> {
        let given = whole(json, "candidates", Given::list)?;
        if given.is_empty() {
            return match embeddings {
                Some(rows) if !rows.is_empty() => Err(rows_for(rows, 0)),
                _ => Ok(()),
            };
        }
        let (embeddings, dimensions, encoded) = if let Some(rows) = embeddings {
            (Cow::Borrowed(rows), Some(self.width(&given, rows)?), false)
        } else {
            let (rows, dimensions, encoded) = self.embeddings(&given)?;
            (Cow::Owned(rows), dimensions, encoded)
        };
        let metadata: Vec<Vec<(&str, Scalar)>> = given.iter().map(|each| each.metadata.pairs()).collect();
        let namespaces: Vec<Vec<&str>> =
            given.iter().map(|each| each.namespace.iter().map(String::as_str).collect()).collect();
        let candidates: Vec<Candidate> = given
            .iter()
            .zip(metadata.iter().zip(&namespaces))
            .map(|(each, (metadata, namespace))| each.candidate(metadata, namespace))
            .collect();
        if let Some(set) = &mut self.set {
            set.append(&candidates, &embeddings)?;
        } else {
            let mut set = CandidateSet::new(dimensions, self.precision)?;
            set.append(&candidates, &embeddings)?;
            (self.set, self.encoded) = (Some(set), encoded);
        }
        Ok(())
    }

    /// How wide the rows are that come beside candidates.
    fn width(&self, given: &[Given], rows: &[f32]) -> Result<usize> {
        if let Some(place) = given.iter().position(|each| each.embedding.is_some()) {
            let remedy = "embeddings come beside the candidates: leave it out";
            return Err(invalid(&format!("candidates[{place}].embedding"), "given", remedy));
        }
        let width = rows.len() / given.len();
        if width == 0 || width * given.len() != rows.len() {
            return Err(rows_for(rows, given.len()));
        }
        match &self.set {
            Some(_) if self.encoded => Err(invalid(
                "embeddings",
                "given",
                "this set encodes text itself: leave them out, or make a new set",
            )),
            Some(set) if set.matrix().map(super::Matrix::dimensions) != Some(width) => {
                let remedy = match set.matrix() {
                    Some(matrix) => format!("give {} numbers a candidate", matrix.dimensions()),
                    None => "this set has no embeddings".to_owned(),
                };
                Err(invalid("embeddings", format!("{width} numbers a candidate"), remedy))
            }
            _ => Ok(width),
        }
    }

    /// Embeddings of candidates one after the other, how wide they are, and whether the encoder made them.
    fn embeddings(&mut self, given: &[Given]) -> Result<(Vec<f32>, Option<usize>, bool)> {
        let known = self.set.as_ref().map(|set| set.matrix().map(super::Matrix::dimensions));
        let first = given.iter().position(|each| each.embedding.is_some());
        let encoding = if known.is_some() {
            self.encoded
        } else {
            first.is_none()
                && given.iter().any(|each| each.text.as_ref().is_some_and(|text| !text.is_empty()))
        };
        if let (Some(encoder), true) = (&self.encoder, encoding) {
            if let Some(place) = first {
                let remedy = "this set encodes text itself: leave it out, or make a new set";
                return Err(invalid(&format!("candidates[{place}].embedding"), "given", remedy));
            }
            let mut embeddings = Vec::with_capacity(given.len() * DIM);
            for each in given {
                let text = each.text.as_deref().unwrap_or_default();
                embeddings.extend_from_slice(&encode(encoder, text, &mut self.words));
            }
            return Ok((embeddings, Some(DIM), true));
        }
        let dimensions = match known {
            Some(dimensions) => dimensions,
            None => first.and_then(|place| given[place].embedding.as_ref().map(Vec::len)),
        };
        let mut embeddings = Vec::with_capacity(given.len() * dimensions.unwrap_or(0));
        for (place, each) in given.iter().enumerate() {
            match (&each.embedding, dimensions) {
                (Some(embedding), Some(dimensions)) if embedding.len() == dimensions => {
                    embeddings.extend_from_slice(embedding);
                }
                (Some(embedding), _) => {
                    let found = format!("{} numbers", embedding.len());
                    let remedy = match dimensions {
                        Some(dimensions) => format!("give {dimensions} numbers"),
                        None => "this set has no embeddings".to_owned(),
                    };
                    return Err(invalid(&format!("candidates[{place}].embedding"), found, remedy));
                }
                (None, dimensions) => embeddings.resize(embeddings.len() + dimensions.unwrap_or(0), 0.0),
            }
        }
        Ok((embeddings, dimensions, false))
    }

    /// Ranks the candidates for a query, and says what came of it, as JSON: `decisions`, best first, each with its
    /// `candidate_id`, `score`, `confidence`, `uncertainty`, `use_lightweight`, `in_prediction_set` and `features` by
    /// name; `errors`, candidates that took no part, and why; `prediction_set_size`; `calibrated`.
    ///
    /// # Errors
    /// `CandidateInvalid` as [`Self::add`], of the query's fields, and as [`CandidateScorer::rank`]; `OptionInvalid` for
    /// an option that is none or outside its range.
    pub fn rank(&mut self, scorer: &CandidateScorer, json: &str) -> Result<String> {
        self.rank_with(scorer, json, None, true)
    }

    /// The same, where the query's embedding may come beside the JSON, as numbers. Without `features` the decisions have
    /// none, which is most of the answer's text.
    ///
    /// # Errors
    /// As [`Self::rank`]; an embedding beside another one in the JSON.
    pub fn rank_with(
        &mut self,
        scorer: &CandidateScorer,
        json: &str,
        embedding: Option<&[f32]>,
        features: bool,
    ) -> Result<String> {
        let asked = whole(json, "query", Asked::read)?;
        if embedding.is_some() && asked.embedding.is_some() {
            return Err(invalid("query.embedding", "given twice", "give it beside the query or in it"));
        }
        let embedding = embedding.or(asked.embedding.as_deref());
        let mut empty;
        let set = if let Some(set) = &mut self.set {
            set
        } else {
            empty = CandidateSet::new(None, self.precision)?;
            &mut empty
        };
        set.refresh();
        let encoded = match (&self.encoder, embedding, &asked.text) {
            (Some(encoder), None, Some(text)) if self.encoded => Some(encode(encoder, text, &mut self.words)),
            _ => None,
        };
        let metadata = asked.metadata.texts();
        let query = Query {
            embedding: embedding.or(encoded.as_ref().map(<[f32; DIM]>::as_slice)),
            text: asked.text.as_deref(),
            metadata: &metadata,
            now: asked.now,
        };
        let usual = RankOptions::default();
        let options = RankOptions {
            k: asked.k.unwrap_or(usual.k),
            diversity: asked.diversity.unwrap_or(usual.diversity),
            confidence_threshold: asked.confidence_threshold.unwrap_or(usual.confidence_threshold),
            max_uncertainty: asked.max_uncertainty.unwrap_or(usual.max_uncertainty),
            filter: asked.filter.as_ref(),
        };
        scorer.rank(set, &query, &options, &mut self.scratch)?;
        let answer = Answer::of(set, scorer, &self.scratch, features);
        serde_json::to_string(&answer).map_err(|error| invalid("answer", error, "rank again"))
    }
}

#[cold]
#[inline(never)]
fn rows_for(rows: &[f32], candidates: usize) -> Error {
    let found = format!("{} numbers for {candidates} candidates", rows.len());
    invalid("embeddings", found, "give one row of as many numbers for each candidate")
}

fn encode(encoder: &Encoder, text: &str, words: &mut WordCache) -> [f32; DIM] {
    let mut sums = [0; DIM];
    let found = encoder.encode(text, words, &mut sums);
    pool(&sums, found.known)
}

#[derive(serde::Serialize)]
struct Answer<'a> {
    decisions: Vec<Decision<'a>>,
    errors: Vec<Problem<'a>>,
    prediction_set_size: Option<usize>,
    calibrated: bool,
}

#[derive(serde::Serialize)]
struct Decision<'a> {
    candidate_id: &'a str,
    score: f32,
    confidence: f32,
    uncertainty: f32,
    use_lightweight: bool,
    in_prediction_set: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    features: Option<Features<'a>>,
}

#[derive(serde::Serialize)]
struct Problem<'a> {
    candidate_id: &'a str,
    reason: &'static str,
}

struct Features<'a>(&'a [f32; FEATURES]);

impl Serialize for Features<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(FEATURES))?;
        for (name, value) in FEATURE_NAMES.iter().zip(self.0) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'a> Answer<'a> {
    fn of(set: &'a CandidateSet, scorer: &CandidateScorer, found: &'a RankScratch, features: bool) -> Self {
        let id = |row: u32| &*set.ids()[row as usize];
        let decisions = found.ranked.iter().map(|ranked| Decision {
            candidate_id: id(ranked.row),
            score: ranked.score,
            confidence: ranked.confidence,
            uncertainty: ranked.uncertainty,
            use_lightweight: ranked.use_lightweight,
            in_prediction_set: ranked.in_prediction_set,
            features: features.then_some(Features(&ranked.features)),
        });
        let reason = "its embedding holds NaN or infinity: encode it again";
        Self {
            decisions: decisions.collect(),
            errors: found.unsound.iter().map(|&row| Problem { candidate_id: id(row), reason }).collect(),
            prediction_set_size: found.prediction_set,
            calibrated: scorer.is_calibrated() && found.alike,
        }
    }
}
