//! Candidates scored against a request: a structure-of-arrays set, its features, a scorer, a ranked answer.

mod candidate;
mod features;
mod index;
mod matrix;
mod rank;
mod scorer;
mod set;
mod terms;
mod time;
mod top;

pub use candidate::Candidate;
pub use features::{CandidateScratch, FEATURE_NAMES, FEATURES, Query, SPEC, compute};
pub use matrix::{MOST_DIMENSIONS, MOST_ROWS, Matrix, MatrixScratch, Precision, SharedRows};
pub use rank::{RankOptions, RankScratch, Ranked};
pub use scorer::{
    CalibratedOn, CandidateScorer, DEFAULT_WEIGHTS, KnotRows, RankSet, RelevanceSpec, ScoreCheck,
    ScorerHeader, ScorerKind, ScorerScratch,
};
pub use set::CandidateSet;
