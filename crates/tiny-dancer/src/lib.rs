//! Tiny Dancer's decision engine: an artifact's bytes and a request in, a decision out, in microseconds.
//!
//! No I/O, no clock, no randomness; after the first requests no allocation. The same artifact gives the same
//! decision on every platform.

// The helper of the integration tests serves unit tests too, and names the crate as they do.
#[cfg(test)]
extern crate self as tiny_dancer;

pub mod agents;
pub mod artifact;
mod backends;
pub mod candidates;
pub mod classifier;
mod compose;
pub mod conformal;
mod cues;
mod decision;
#[cfg(feature = "encoder")]
pub mod encoder;
#[cfg(not(feature = "encoder"))]
#[path = "encoder/absent.rs"]
pub mod encoder;
mod error;
pub mod fastgrnn;
pub mod features;
mod handle;
pub mod heads;
mod json;
mod kernels;
pub mod kinds;
mod likeness;
pub mod number;
mod options;
pub mod policy;
pub mod price;
mod request;
pub mod resilience;
mod router;
pub mod routes;
mod select;
mod shape;
mod sort;
pub mod spelling;
pub mod tasks;
mod text;
pub mod tools;
mod unicode;

pub use decision::{Answer, Decision};
pub use error::{Error, ErrorKind, Result};
pub use handle::{Handle, Pool, in_chunks, in_row};
pub use likeness::{
    ALARMS, Alarm, DRIFTED, Drift, DriftSpec, LEARNED, LikenessSpec, MOST_KNOTS, Martingale, Shift, Side,
    TOLERANCE, Usual, WATCHED, WITHDRAWN, Wager, measures,
};
pub use options::Options;
pub use policy::{Policies, Reason, Scale};
pub use request::{Outline, Request, Spec, Words, outline};
pub use router::{Outlook, Router, Scratch};
pub use select::{Choice, Expectations, Removal, RoutedBy, Uncovered};
pub use text::{HEAD, LONGEST, TAIL};
