//! FastGRNN (Kusupati et al., "FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte Sized Gated Recurrent Neural
//! Network", NeurIPS 2018): a recurrent cell whose gate and candidate state share one W and one U.
//!
//! With σ and τ the cell's activations, ζ and ν scalars stored before the sigmoid:
//!
//! ```text
//! z  = σ(W·x + U·h + gate_bias)                     gate
//! c  = τ(W·x + U·h + update_bias)                   candidate state
//! h' = (s(ζ)·(1 − z) + s(ν)) ⊙ c + z ⊙ h            s is the exact sigmoid
//! ```
//!
//! W and U are plain or of low rank, their numbers f32, int8, int4 or sparse (`matrix.rs`); σ and τ are sigmoid
//! and tanh or the paper's piecewise-linear stand-ins (`activation.rs`). Sums run over the columns in order, one chain a
//! row, so a step, a step of a sequence and a step of a batch give the same bits, on every processor.

mod activation;
mod matrix;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use crate::artifact::{Tensors, invalid};
use crate::error::Result;
use activation::{GateScratch, Gates, LANES};
pub(crate) use matrix::{Matrix, MatrixScratch};

/// Largest hidden state, and largest rank of a factored matrix.
pub const LARGEST_HIDDEN: usize = 512;
/// Largest input vector.
pub const LARGEST_INPUT: usize = 16_384;
/// Steps of a sequence whose W·x are computed together: W is read once for all of them.
const CHUNK: usize = 16;

/// W or U: one matrix, or two of which the second is applied first.
#[derive(Debug)]
struct Transform {
    right: Option<Matrix>,
    left: Matrix,
}

impl Transform {
    /// Reads `name`, or `name.left` and `name.right` where there is a `name.rank`.
    fn load(name: &str, tensors: &Tensors, rows: usize, columns: usize) -> Result<Self> {
        let rank_name = format!("{name}.rank");
        if !tensors.has(&rank_name) {
            return Ok(Self { right: None, left: Matrix::load(name, tensors, rows, columns)? });
        }
        let rank = match tensors.u16_vector(&rank_name)?[..] {
            [rank] if (1..=LARGEST_HIDDEN).contains(&usize::from(rank)) => usize::from(rank),
            ref found => {
                return Err(invalid(rank_name, format!("{found:?}"), "expected one number from 1 to 512"));
            }
        };
        Ok(Self {
            right: Some(Matrix::load(&format!("{name}.right"), tensors, rank, columns)?),
            left: Matrix::load(&format!("{name}.left"), tensors, rows, rank)?,
        })
    }

    /// The products with each of the inputs, rows padded to [`Matrix::height`].
    fn products(&self, inputs: &[f32], out: &mut Vec<f32>, rank: &mut Vec<f32>, scratch: &mut MatrixScratch) {
        let Some(right) = &self.right else {
            self.left.products(inputs, self.left.columns(), out, scratch);
            return;
        };
        right.products(inputs, right.columns(), rank, scratch);
        self.left.products(rank, right.height(), out, scratch);
    }
}

/// Buffers of one thread: sized by the first calls, after which nothing is allocated.
#[derive(Debug, Default)]
pub struct CellScratch {
    input_products: Vec<f32>,
    recurrent_products: Vec<f32>,
    rank: Vec<f32>,
    gates: GateScratch,
    matrix: MatrixScratch,
}

/// A loaded cell. Immutable: share it between threads, with one [`CellScratch`] each.
///
/// For finite inputs and states every new state is finite, and no value is more than 2 further from 0 than before:
/// |h'| ≤ s(ζ) + s(ν) + |h|.
#[derive(Debug)]
pub struct Cell {
    inputs: usize,
    hidden: usize,
    input_weight: Transform,
    recurrent_weight: Transform,
    gates: Gates,
}

impl Cell {
    /// Reads the cell whose tensors' names begin with `prefix`, for inputs of `input_dimensions` values:
    /// `zeta`, `nu` f32 \[1\], `gate_bias`, `update_bias` f32 \[H\], `activation` u8 \[1\], and the matrices
    /// `input_weight` \[H, D\] and `recurrent_weight` \[H, H\].
    ///
    /// # Errors
    /// `ArtifactInvalid`, naming the tensor.
    pub fn load(prefix: &str, tensors: &Tensors, input_dimensions: usize) -> Result<Self> {
        let named = |part: &str| format!("{prefix}.{part}");
        if !(1..=LARGEST_INPUT).contains(&input_dimensions) {
            let remedy = "a cell takes 1 to 16,384 values a step";
            return Err(invalid(named("input_weight"), format!("{input_dimensions} columns"), remedy));
        }
        let gate_bias = tensors.f32_vector(&named("gate_bias"))?;
        let hidden = gate_bias.len();
        if !(1..=LARGEST_HIDDEN).contains(&hidden) {
            let remedy = "a cell has 1 to 512 hidden values";
            return Err(invalid(named("gate_bias"), format!("{hidden} values"), remedy));
        }
        let update_bias = tensors.f32(&named("update_bias"), &[hidden])?;
        let scalars = [tensors.f32(&named("zeta"), &[1])?[0], tensors.f32(&named("nu"), &[1])?[0]];
        let piecewise = match tensors.u8(&named("activation"), &[1])?[0] {
            0 => false,
            1 => true,
            other => {
                let remedy = "expected 0 (sigmoid, tanh) or 1 (piecewise linear)";
                return Err(invalid(named("activation"), other, remedy));
            }
        };
        Ok(Self {
            inputs: input_dimensions,
            hidden,
            input_weight: Transform::load(&named("input_weight"), tensors, hidden, input_dimensions)?,
            recurrent_weight: Transform::load(&named("recurrent_weight"), tensors, hidden, hidden)?,
            gates: Gates::new(scalars, &gate_bias, &update_bias, piecewise),
        })
    }

    /// Values of one input, D.
    #[must_use]
    pub fn input_dimensions(&self) -> usize {
        self.inputs
    }

    /// Values of the hidden state, H.
    #[must_use]
    pub fn hidden_dimensions(&self) -> usize {
        self.hidden
    }

    /// One step: `input` of D values, `hidden` of H values, replaced by the new state.
    ///
    /// # Panics
    /// Where a length is another.
    pub fn step(&self, input: &[f32], hidden: &mut [f32], scratch: &mut CellScratch) {
        assert_eq!((input.len(), hidden.len()), (self.inputs, self.hidden), "one input, one state");
        self.batch(input, hidden, scratch);
    }

    /// As many steps as `inputs` (T × D) has rows, in order; `hidden` of H values is replaced by the last state.
    ///
    /// # Panics
    /// Where `inputs` is no whole number of rows or `hidden` is not H values.
    pub fn sequence(&self, inputs: &[f32], hidden: &mut [f32], scratch: &mut CellScratch) {
        assert!(inputs.len().is_multiple_of(self.inputs) && hidden.len() == self.hidden, "whole steps");
        for chunk in inputs.chunks(CHUNK * self.inputs) {
            let CellScratch { input_products, rank, matrix, .. } = scratch;
            self.input_weight.products(chunk, input_products, rank, matrix);
            for step in 0..chunk.len() / self.inputs {
                self.advance(step, hidden, scratch);
            }
        }
    }

    /// One step of N cells with these weights: `inputs` N × D, `hidden` N × H, each row replaced by its new state.
    ///
    /// # Panics
    /// Where `inputs` or `hidden` is no whole number of rows, or they have different numbers of them.
    pub fn batch(&self, inputs: &[f32], hidden: &mut [f32], scratch: &mut CellScratch) {
        let rows = inputs.len() / self.inputs;
        assert!(
            inputs.len() == rows * self.inputs && hidden.len() == rows * self.hidden,
            "one input and one state a row"
        );
        let CellScratch { input_products, rank, matrix, .. } = scratch;
        self.input_weight.products(inputs, input_products, rank, matrix);
        self.advance(0, hidden, scratch);
    }

    /// The new states of the rows of `hidden`, whose W·x are in the scratch from row `first` on.
    fn advance(&self, first: usize, hidden: &mut [f32], scratch: &mut CellScratch) {
        let CellScratch { input_products, recurrent_products, rank, gates, matrix } = scratch;
        // The first step starts at 0, where U·h is exactly 0 in every form. (The bits together, as looking for the
        // first other value would not vectorise.)
        if hidden.iter().fold(0, |bits, value| bits | value.to_bits()) == 0 {
            recurrent_products.clear();
            recurrent_products.resize(hidden.len() / self.hidden * self.hidden.next_multiple_of(LANES), 0.0);
        } else {
            self.recurrent_weight.products(hidden, recurrent_products, rank, matrix);
        }
        let start = first * self.hidden.next_multiple_of(LANES);
        let products = &input_products[start..][..recurrent_products.len()];
        self.gates.advance(products, recurrent_products, hidden, gates);
    }
}
