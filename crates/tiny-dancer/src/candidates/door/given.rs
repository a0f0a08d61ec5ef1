//! Candidates while no scorer can rank them: by the combination without training, else as they were given.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;

use super::read::{Asked, whole};
use super::{CandidateDoor, invalid};
use crate::candidates::rank::RankOptions;
use crate::candidates::scorer::CandidateScorer;
use crate::error::Result;
use crate::resilience::{Guarded, Level, attempt};

/// A candidate that nobody scored.
#[derive(serde::Serialize)]
struct Unscored<'a> {
    candidate_id: &'a str,
    score: f32,
    confidence: f32,
    uncertainty: f32,
    use_lightweight: bool,
    in_prediction_set: bool,
}

#[derive(serde::Serialize)]
struct Answer<'a> {
    decisions: Vec<Unscored<'a>>,
    errors: [(); 0],
    prediction_set_size: Option<usize>,
    calibrated: bool,
}

impl CandidateDoor {
    /// Ranks as [`Self::rank_with`] does, and goes on answering where that fails or the breaker is open; `now` is seconds
    /// of a clock that does not go back, and not the query's.
    ///
    /// The scorer's answer is, byte for byte, that of [`Self::rank_with`]. Below it, where it was learned, the
    /// combination without training ranks; below that, candidates come as they were given, for a strong model: the first
    /// `k` that pass the filter and have not expired. Such an answer has two keys more: `level` (2, 3) and `level_reason`.
    ///
    /// # Errors
    /// The caller's, on every level, as [`Self::rank_with`].
    pub fn rank_guarded(
        &mut self,
        scorer: &Guarded<CandidateScorer>,
        query: &str,
        embedding: Option<&[f32]>,
        features: bool,
        now: f64,
    ) -> Result<String> {
        self.rank_guarded_by(scorer, query, embedding, features, now, |door, scorer| {
            door.rank_with(scorer, query, embedding, features)
        })
    }

    /// The same, where the binding itself asks the scorer (and fails with it).
    ///
    /// # Errors
    /// As [`Self::rank_guarded`].
    pub fn rank_guarded_by(
        &mut self,
        scorer: &Guarded<CandidateScorer>,
        query: &str,
        embedding: Option<&[f32]>,
        features: bool,
        now: f64,
        learned: impl FnOnce(&mut Self, &CandidateScorer) -> Result<String>,
    ) -> Result<String> {
        let door = RefCell::new(self);
        let below = |scorer: &CandidateScorer, mut why: String| {
            let door = &mut **door.borrow_mut();
            if scorer.header().is_some() {
                let untrained = CandidateScorer::default();
                let ranked =
                    attempt(AssertUnwindSafe(|| door.rank_with(&untrained, query, embedding, features)));
                match ranked {
                    Ok(answer) => {
                        let why = format!("{why}; the combination without training");
                        return Ok((Level::Heuristic, with_level(answer?, Level::Heuristic, &why)));
                    }
                    Err(said) => why = format!("{why}; heuristic level failed ({said})"),
                }
            }
            let why = format!("{why}; candidates as given, for a strong model");
            Ok((Level::Default, with_level(door.as_given(query)?, Level::Default, &why)))
        };
        scorer.ask(now, |scorer| learned(&mut door.borrow_mut(), scorer), below)
    }

    /// The first candidates that pass, in the order in which they stand.
    fn as_given(&self, query: &str) -> Result<String> {
        let asked = whole(query, "query", Asked::read)?;
        let k = asked.k.unwrap_or(RankOptions::default().k);
        let mut decisions = Vec::new();
        if let Some(set) = &self.set {
            let passing = set.passing(asked.filter.as_ref(), asked.now);
            let passes = |row: &usize| passing.as_ref().is_none_or(|passing| passing[*row]);
            decisions.extend((0..set.len()).filter(passes).take(k).map(|row| Unscored {
                candidate_id: &set.ids()[row],
                score: 0.0,
                confidence: 0.0,
                uncertainty: 1.0,
                use_lightweight: false,
                in_prediction_set: false,
            }));
        }
        let answer = Answer { decisions, errors: [], prediction_set_size: None, calibrated: false };
        serde_json::to_string(&answer).map_err(|error| invalid("answer", error, "rank again"))
    }
}

/// An answer, an object as JSON, that names its level.
fn with_level(mut answer: String, level: Level, why: &str) -> String {
    answer.pop();
    let why = serde_json::Value::from(why);
    answer + &format!(",\"level\":{},\"level_reason\":{why}}}", level as u8)
}
