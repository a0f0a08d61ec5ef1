//! Candidates scored against a request: a structure-of-arrays set, its features, a scorer, a ranked answer.

mod candidate;
mod columns;
mod door;
mod features;
mod filter;
mod index;
mod likeness;
mod links;
mod matrix;
mod metadata;
mod moment;
pub(crate) mod postings;
mod properties;
mod rank;
mod rows;
mod scorer;
mod set;
pub(crate) mod terms;
mod time;
pub(crate) mod top;
mod untrained;

pub use candidate::{Candidate, Use};
pub use door::{CandidateDoor, MOST_BYTES};
pub use features::{CandidateScratch, FEATURE_NAMES, FEATURES, Query, SPEC};
pub use filter::{Expression, Filter};
pub use matrix::{MOST_DIMENSIONS, MOST_ROWS, Matrix, MatrixScratch, Precision, SharedRows};
pub use metadata::{DEEPEST_METADATA, Kind, Metadata, Scalar, Value};
pub use moment::{seconds_of_number, seconds_of_text};
pub use rank::{RankOptions, RankScratch, Ranked};
pub use rows::{RankedRow, Rows, RowsScratch, as_written};
pub use scorer::{
    CalibratedOn, CandidateScorer, KeptSet, KnotRows, Likeness, RelevanceSpec, ScoreCheck, ScorerHeader,
    ScorerKind, ScorerScratch,
};
pub use set::CandidateSet;
pub use untrained::Combination;
