//! Candidates scored against a request: a structure-of-arrays set, its features, a scorer, a ranked answer.

mod candidate;
mod columns;
mod door;
mod features;
mod index;
mod links;
mod matrix;
mod metadata;
mod moment;
mod postings;
mod rank;
mod scorer;
mod set;
mod terms;
mod time;
mod top;

pub use candidate::{Candidate, Use};
pub use door::{CandidateDoor, MOST_BYTES};
pub use features::{CandidateScratch, FEATURE_NAMES, FEATURES, Query, SPEC};
pub use matrix::{MOST_DIMENSIONS, MOST_ROWS, Matrix, MatrixScratch, Precision, SharedRows};
pub use metadata::{Metadata, Value};
pub use moment::{seconds_of_number, seconds_of_text};
pub use rank::{RankOptions, RankScratch, Ranked};
pub use scorer::{
    CalibratedOn, CandidateScorer, DEFAULT_WEIGHTS, KnotRows, RankSet, RelevanceSpec, ScoreCheck,
    ScorerHeader, ScorerKind, ScorerScratch,
};
pub use set::CandidateSet;
