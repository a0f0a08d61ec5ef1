//! Tiny Dancer's decision engine: an artifact's bytes and a request in, a decision out, in microseconds.
//!
//! No I/O, no clock, no randomness; after the first requests no allocation. The same artifact gives the same
//! decision on every platform.

// The helper of the integration tests serves unit tests too, and names the crate as they do.
#[cfg(test)]
extern crate self as tiny_dancer;

pub mod artifact;
mod backends;
pub mod candidates;
pub mod classifier;
mod compose;
pub mod conformal;
mod cues;
pub mod encoder;
mod error;
pub mod fastgrnn;
pub mod features;
mod json;
mod kernels;
mod number;
mod router;
mod select;
mod text;

pub use error::{Error, ErrorKind, Result};
pub use router::{Decision, Router, Scratch};
pub use select::{Choice, Expectations, Options, Reason, Removal, RoutedBy};
pub use text::{HEAD, LONGEST, TAIL};
