//! Text or vector sequences to labels: FastGRNN or a bag of embeddings under one door.
//!
//! ```text
//! text ─▶ token rows ─▶ FastGRNN, step by step ─▶ last state ─┐
//!      └▶ their sum at length 1 (a bag) ──────────────────────┼▶ head ─▶ logits ÷ temperature ─▶ softmax
//! vectors ─▶ FastGRNN, or their mean ─────────────────────────┘
//! ```
//!
//! Of a text, head and tail are read as everywhere in the engine ([`crate::LONGEST`]). Unknown words are left out;
//! a text without a known token is a sequence without a step: what the head says to zeros, its bias.

mod header;

use crate::artifact::Tensors;
use crate::encoder::{DIM, Encoder, WordCache, pool};
use crate::error::{Error, ErrorKind, Result};
use crate::fastgrnn::{Cell, CellScratch, Matrix, MatrixScratch};
use crate::kernels::exp_nonpositive;
use crate::text::{bounded, head_and_tail};

pub use header::{Example, Header, Input, MOST_LABELS, MOST_STEPS, Model, SelfCheck};

/// Largest difference between a self-check's recorded probability and the one computed on loading.
const SELF_CHECK_TOLERANCE: f32 = 1e-4;
/// Vectors beyond this are refused: with the bound on weights, every logit is finite.
const LARGEST_VALUE: f32 = 1e9;

/// A loaded classifier. Immutable: share it between threads, with one [`Scratch`] each.
#[derive(Debug)]
pub struct Classifier {
    header: Header,
    /// None for a bag.
    cell: Option<Cell>,
    /// \[labels, what the model gives\]
    head: Matrix,
    bias: Vec<f32>,
}

/// Buffers of one thread; after the first inputs, predicting allocates nothing. It holds the last prediction.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Of the last input: one a label.
    pub logits: Vec<f32>,
    /// Of the last input: one a label, in sum 1.
    pub probabilities: Vec<f32>,
    cache: WordCache,
    tokens: Vec<u32>,
    steps: Vec<f32>,
    state: Vec<f32>,
    products: Vec<f32>,
    cell: CellScratch,
    matrix: MatrixScratch,
}

impl Classifier {
    /// Reads a classifier, checks it, and runs its self-checks.
    ///
    /// # Errors
    /// `ArtifactInvalid`, `ArtifactVersion`, `ArtifactChecksum`, `ArtifactSelfCheck`, or `EncoderMissing` where it
    /// labels texts and `encoder` is none or another than it was trained with.
    pub fn from_bytes(bytes: &[u8], encoder: Option<&Encoder>) -> Result<Self> {
        let (header, tensors) = Tensors::open::<Header>(bytes)?;
        let dimensions = match header.input {
            Input::Tokens { .. } => DIM,
            Input::Vectors { dimensions, .. } => dimensions,
        };
        let cell = match header.model {
            Model::Fastgrnn => Some(Cell::load("cell", &tensors, dimensions)?),
            Model::Bag => None,
        };
        let width = cell.as_ref().map_or(dimensions, Cell::hidden_dimensions);
        let labels = header.labels.len();
        let classifier = Self {
            head: Matrix::load("head.weight", &tensors, labels, width)?,
            bias: tensors.f32("head.bias", &[labels])?,
            cell,
            header,
        };
        if let Input::Tokens { .. } = classifier.header.input {
            classifier.encoder(encoder)?;
        }
        classifier.self_check(encoder)?;
        Ok(classifier)
    }

    /// Everything about the artifact that is not a weight.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The index of the most probable label of a text; logits and probabilities are in `scratch`.
    ///
    /// # Errors
    /// `RequestInvalid` for white space alone, or where the classifier labels vectors; `EncoderMissing` where
    /// `encoder` is not the one it was trained with.
    pub fn predict_text(
        &self,
        text: &str,
        encoder: Option<&Encoder>,
        scratch: &mut Scratch,
    ) -> Result<usize> {
        let Input::Tokens { scale, most_steps, .. } = self.header.input else {
            return Err(refused("text", "a text", "this classifier labels sequences of vectors"));
        };
        let encoder = self.encoder(encoder)?;
        if text.trim().is_empty() {
            return Err(refused("text", "empty or white space", "give a text to label"));
        }
        if let Some(cell) = &self.cell {
            encoder.first_and_last(text, most_steps, &mut scratch.cache, &mut scratch.tokens);
            let scale = scale.unwrap_or(1.0);
            scratch.steps.clear();
            for &token in &scratch.tokens {
                scratch.steps.extend(encoder.row(token).iter().map(|&value| f32::from(value) * scale));
            }
            run(cell, scratch);
        } else {
            let (head, tail) = bounded(text);
            let (mut sums, mut more) = ([0; DIM], [0; DIM]);
            let known = encoder.encode(head, &mut scratch.cache, &mut sums).known
                + encoder.encode(tail, &mut scratch.cache, &mut more).known;
            for (sum, more) in sums.iter_mut().zip(more) {
                *sum += more;
            }
            scratch.state.clear();
            scratch.state.extend(pool(&sums, known));
        }
        Ok(self.finish(scratch))
    }

    /// The index of the most probable label of a sequence of vectors, T × D; logits and probabilities are in
    /// `scratch`.
    ///
    /// # Errors
    /// `RequestInvalid` for no vector, no whole number of them, a value that is not finite or beyond ±1e9, or where
    /// the classifier labels texts.
    pub fn predict_vectors(&self, vectors: &[f32], scratch: &mut Scratch) -> Result<usize> {
        let Input::Vectors { dimensions, .. } = self.header.input else {
            return Err(refused("vectors", "vectors", "this classifier labels texts"));
        };
        if vectors.is_empty() || !vectors.len().is_multiple_of(dimensions) {
            let remedy = format!("give one or more vectors of {dimensions} values");
            return Err(refused("vectors", format!("{} values", vectors.len()), &remedy));
        }
        let usable = |value: &f32| value.abs() <= LARGEST_VALUE;
        // All values without a way out first: that vectorises.
        if !vectors.iter().fold(true, |sound, value| sound & usable(value)) {
            let at = vectors.iter().position(|value| !usable(value)).unwrap_or(0);
            let place = format!("vectors[{}][{}]", at / dimensions, at % dimensions);
            return Err(refused(&place, vectors[at], "values must be finite and within ±1e9"));
        }
        let (first, last) = head_and_tail(vectors.len() / dimensions, self.header.most_steps());
        let tail = &vectors[vectors.len() - last * dimensions..];
        scratch.steps.clear();
        scratch.steps.extend_from_slice(&vectors[..first * dimensions]);
        scratch.steps.extend_from_slice(tail);
        if let Some(cell) = &self.cell {
            run(cell, scratch);
        } else {
            scratch.state.clear();
            scratch.state.resize(dimensions, 0.0);
            for vector in scratch.steps.chunks_exact(dimensions) {
                for (sum, value) in scratch.state.iter_mut().zip(vector) {
                    *sum += value;
                }
            }
            for sum in &mut scratch.state {
                *sum /= (first + last) as f32;
            }
        }
        Ok(self.finish(scratch))
    }

    /// State → logits, probabilities, label; of equal ones the first.
    fn finish(&self, scratch: &mut Scratch) -> usize {
        let Scratch { logits, probabilities, state, products, matrix, .. } = scratch;
        self.head.products(state, state.len(), products, matrix);
        logits.clear();
        logits.extend(products.iter().zip(&self.bias).map(|(product, bias)| product + bias));
        let mut label = 0;
        for (at, logit) in logits.iter().enumerate() {
            if *logit > logits[label] {
                label = at;
            }
        }
        let (highest, temperature) = (logits[label], self.header.temperature);
        probabilities.clear();
        probabilities.extend(logits.iter().map(|logit| exp_nonpositive((logit - highest) / temperature)));
        let sum: f32 = probabilities.iter().sum();
        for probability in probabilities.iter_mut() {
            *probability /= sum;
        }
        label
    }

    fn encoder<'a>(&self, encoder: Option<&'a Encoder>) -> Result<&'a Encoder> {
        let Input::Tokens { encoder: wanted, .. } = &self.header.input else {
            return Err(refused("text", "a text", "this classifier labels sequences of vectors"));
        };
        Encoder::wanted(encoder, wanted, "the classifier was trained")
    }

    fn self_check(&self, encoder: Option<&Encoder>) -> Result<()> {
        let mut scratch = Scratch::default();
        for (number, check) in self.header.self_check.iter().enumerate() {
            let failed = |value: String, remedy: &str| {
                Error::new(ErrorKind::ArtifactSelfCheck, format!("self_check[{number}]"), value, remedy)
            };
            let found = match &check.input {
                Example::Text(text) => self.predict_text(text, encoder, &mut scratch),
                Example::Vectors(vectors) => self.predict_vectors(&vectors.concat(), &mut scratch),
            };
            let found = found.map_err(|error| {
                failed(error.to_string(), "the artifact cannot label its own input; train again")
            })?;
            let recorded = self.header.labels.iter().position(|label| *label == check.label);
            let probabilities = &scratch.probabilities;
            let close = |a: f32, b: f32| (a - b).abs() <= SELF_CHECK_TOLERANCE;
            let same = probabilities.len() == check.probabilities.len()
                && probabilities.iter().zip(&check.probabilities).all(|(&a, &b)| close(a, b))
                // Of two labels that are level, either may have been recorded.
                && recorded.is_some_and(|label| close(probabilities[label], probabilities[found]));
            if !same {
                let label = &self.header.labels[found];
                return Err(failed(
                    format!("{label} with {probabilities:?}, recorded {check:?}"),
                    "the artifact answers otherwise here than where it was made; train again and report it",
                ));
            }
        }
        Ok(())
    }
}

/// The last state over `scratch.steps`.
fn run(cell: &Cell, scratch: &mut Scratch) {
    scratch.state.clear();
    scratch.state.resize(cell.hidden_dimensions(), 0.0);
    cell.sequence(&scratch.steps, &mut scratch.state, &mut scratch.cell);
}

#[cold]
#[inline(never)]
fn refused(field: &str, value: impl std::fmt::Display, remedy: &str) -> Error {
    Error::new(ErrorKind::RequestInvalid, field, value, remedy)
}
