//! In place of the encoder in a build without the feature `encoder`: there is none, and can be none.
//!
//! An artifact that names an encoder is refused, as where the caller gives none. What would be done with one is left out
//! of the build, as the compiler sees that it cannot be reached.

#[path = "embedding.rs"]
mod embedding;

use crate::error::{Error, ErrorKind, Result};

pub use embedding::{DIM, Encoding, pool, quantise};

/// No encoder exists.
#[derive(Debug)]
pub enum Encoder {}

/// What an encoder would remember of words.
#[derive(Clone, Debug, Default)]
pub struct WordCache;

impl WordCache {
    /// Nothing: no encoder reads words.
    #[must_use]
    pub fn new(_: usize) -> Self {
        Self
    }
}

impl Encoder {
    pub(crate) fn wanted<'a>(encoder: Option<&'a Self>, wanted: &str, whose: &str) -> Result<&'a Self> {
        encoder.ok_or_else(|| {
            let remedy =
                format!("{whose} with encoder {wanted}, and this build reads none: take one that does");
            Error::new(ErrorKind::EncoderMissing, "encoder", "none", remedy)
        })
    }

    /// SHA-256 over the tensor bytes, in lower-case hexadecimal.
    #[must_use]
    pub fn checksum(&self) -> &str {
        match *self {}
    }

    /// Pieces in the vocabulary.
    #[must_use]
    pub fn pieces(&self) -> usize {
        match *self {}
    }

    /// Cuts `text` into pieces and puts the sum of their rows into `sums`.
    pub fn encode(&self, _: &str, _: &mut WordCache, _: &mut [i32; DIM]) -> Encoding {
        match *self {}
    }

    /// Pieces that are words.
    pub fn whole_words(&self) -> std::iter::Empty<&str> {
        match *self {}
    }

    /// The embedding of a piece.
    #[must_use]
    pub fn row(&self, _: u32) -> &[i8; DIM] {
        match *self {}
    }

    /// Ids of the known pieces of a text's head and tail.
    pub fn first_and_last(&self, _: &str, _: usize, _: &mut WordCache, _: &mut Vec<u32>) {
        match *self {}
    }
}
