//! One weight matrix in whatever form the artifact holds it, and its products with vectors.
//!
//! A matrix M of R × C is one of
//! - f32: `M` f32 \[R, C\]
//! - int8: `M` i8 \[R, C\] (never −128), `M.scale` f32 \[R\]
//! - int4: `M` u8 \[R, ⌈C/2⌉\], two numbers from −7 to 7 a byte, the lower four bits first; `M.scale` f32 \[R\]
//! - sparse: `M.values` f32 or i8 \[nnz\] (`M.scale` f32 \[R\] where i8), `M.columns` u16 \[nnz\], ascending within a
//!   row, `M.counts` u16 \[R\]
//!
//! With `M.input_scale` f32 \[1\] the integer forms compute in integers: x is rounded to
//! `clamp(x ÷ input_scale, ±127)`, half to even, and the product of a row is `scale[row] · input_scale · Σ`. Without
//! it they are f32 weights `scale[row] · q`.
//!
//! int4 and sparse are forms of the file; in memory they are int8 or f32 with the zeros written out. Eight rows at a
//! time, a vector processor multiplies in sequences and batches as fast as it would walk along a tenth of the
//! weights, and every form has one order of summation. (A single step of 768 → 16 with nine zeros in ten would take
//! about half as long row by row: 0.4 µs for 0.7.)

use safetensors::Dtype;

use super::activation::LANES;
use crate::artifact::{Tensors, invalid};
use crate::error::Result;
use crate::kernels::{dispatch, dot_rows_i8};

/// Most numbers of one matrix, zeros included: what a small sparse file may take in memory.
const MOST_WEIGHTS: usize = 1 << 22;
/// Rows of int8 are padded with zeros to a whole number of these.
const BYTE_BLOCK: usize = 32;
/// Integer matrices of no more columns are multiplied in f32, where such sums are exact (127² · 64 < 2²⁴), because
/// the lanes of the integer kernel run along a row: on short rows adding them up takes longest.
pub(super) const SHORT: usize = 64;
const REMEDY: &str = "the artifact is damaged or badly exported; train again";

/// Buffers for inputs as integers and their sums.
#[derive(Debug, Default)]
pub(crate) struct MatrixScratch {
    floats: Vec<f32>,
    bytes: Vec<i8>,
    sums: Vec<i32>,
}

/// A weight matrix, ready to multiply.
#[derive(Debug)]
pub(crate) struct Matrix {
    rows: usize,
    columns: usize,
    weights: Weights,
}

#[derive(Debug)]
enum Weights {
    /// Column by column of the first eight rows, then of the next; rows padded with zeros.
    Floats(Vec<[f32; LANES]>),
    /// The same, of integers.
    Integers(Vec<[f32; LANES]>, Rounding),
    /// Row by row, padded to `width` with zeros.
    Bytes { rows: Vec<i8>, width: usize, rounding: Rounding },
}

#[derive(Debug)]
struct Rounding {
    input_scale: f32,
    /// scale · `input_scale` of each row, padded with zeros.
    factors: Vec<f32>,
}

/// The numbers of a matrix as the file has them, row by row, zeros written out.
enum Numbers {
    Float(Vec<f32>),
    Integer(Vec<i8>),
}

impl Matrix {
    /// Reads `name` in any of its forms.
    ///
    /// # Errors
    /// `ArtifactInvalid`, naming the tensor.
    pub(crate) fn load(name: &str, tensors: &Tensors, rows: usize, columns: usize) -> Result<Self> {
        if rows == 0 || columns == 0 || rows > MOST_WEIGHTS / columns {
            return Err(invalid(name, format!("{rows} × {columns}"), "at most 4,194,304 weights are read"));
        }
        let numbers = if tensors.has(&format!("{name}.values")) {
            sparse(name, tensors, rows, columns)?
        } else {
            match tensors.dtype(name) {
                Some(Dtype::I8) => Numbers::Integer(in_range(name, tensors.i8(name, &[rows, columns])?)?),
                Some(Dtype::U8) => Numbers::Integer(unpacked(name, tensors, rows, columns)?),
                _ => Numbers::Float(tensors.f32(name, &[rows, columns])?),
            }
        };
        let weights = match numbers {
            Numbers::Float(values) => Weights::Floats(in_blocks(&values, columns)),
            Numbers::Integer(values) => integer(name, tensors, &values, rows, columns)?,
        };
        Ok(Self { rows, columns, weights })
    }

    /// C: values of an input.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// R, padded to whole vectors: values of a product.
    pub(crate) fn height(&self) -> usize {
        self.rows.next_multiple_of(LANES)
    }

    /// The products with each input, the first C of every `stride` values of `inputs`, into rows of
    /// [`Self::height`] values of `out`; what is beyond R is 0.
    pub(crate) fn products(
        &self,
        inputs: &[f32],
        stride: usize,
        out: &mut Vec<f32>,
        scratch: &mut MatrixScratch,
    ) {
        let (height, columns) = (self.height(), self.columns);
        let count = inputs.len() / stride;
        out.resize(count * height, 0.0);
        let MatrixScratch { floats, bytes, sums } = scratch;
        match &self.weights {
            Weights::Floats(weights) => products(weights, columns, inputs, stride, out),
            Weights::Integers(weights, Rounding { input_scale, factors }) => {
                floats.resize(count * columns, 0.0);
                for (input, rounded) in inputs.chunks_exact(stride).zip(floats.chunks_exact_mut(columns)) {
                    round_to_floats(&input[..columns], *input_scale, rounded);
                }
                products(weights, columns, floats, columns, out);
                for row in out.chunks_exact_mut(height) {
                    for (product, factor) in row.iter_mut().zip(factors) {
                        *product *= factor;
                    }
                }
            }
            Weights::Bytes { rows, width, rounding: Rounding { input_scale, factors } } => {
                bytes.clear();
                bytes.resize(*width, 0);
                for (input, out) in inputs.chunks_exact(stride).zip(out.chunks_exact_mut(height)) {
                    round_to_bytes(&input[..columns], *input_scale, &mut bytes[..columns]);
                    dot_rows_i8(rows, bytes, sums);
                    for ((out, &sum), factor) in out.iter_mut().zip(sums.iter()).zip(factors) {
                        *out = sum as f32 * factor;
                    }
                    out[self.rows..].fill(0.0);
                }
            }
        }
    }
}

/// Integers of a file stay within ±127.
fn in_range(name: &str, values: Vec<i8>) -> Result<Vec<i8>> {
    match values.iter().position(|&value| value == i8::MIN) {
        Some(at) => Err(invalid(format!("{name}[{at}]"), "-128", "int8 weights lie in ±127; train again")),
        None => Ok(values),
    }
}

/// Two numbers a byte → one.
fn unpacked(name: &str, tensors: &Tensors, rows: usize, columns: usize) -> Result<Vec<i8>> {
    let width = columns.div_ceil(2);
    let bytes = tensors.u8(name, &[rows, width])?;
    let mut values = Vec::with_capacity(rows * columns);
    for row in bytes.chunks_exact(width) {
        // The shifts carry the sign of four bits to eight.
        let numbers = row.iter().flat_map(|&byte| {
            let byte = byte.cast_signed();
            [(byte << 4) >> 4, byte >> 4]
        });
        values.extend(numbers.take(columns));
        if !columns.is_multiple_of(2) && row[width - 1] >> 4 != 0 {
            return Err(invalid(name, "a row of odd length that ends in no 0", REMEDY));
        }
    }
    match values.iter().position(|&value| value == -8) {
        Some(at) => Err(invalid(format!("{name}[{at}]"), "-8", "int4 weights lie in ±7; train again")),
        None => Ok(values),
    }
}

/// Writes the zeros of a sparse matrix out.
fn sparse(name: &str, tensors: &Tensors, rows: usize, columns: usize) -> Result<Numbers> {
    let counts = tensors.u16_vector(&format!("{name}.counts"))?;
    let places = tensors.u16_vector(&format!("{name}.columns"))?;
    let total: usize = counts.iter().map(|&count| usize::from(count)).sum();
    if counts.len() != rows || total != places.len() {
        let found = format!("{} rows of {total} values, {} columns", counts.len(), places.len());
        return Err(invalid(format!("{name}.counts"), found, REMEDY));
    }
    let mut targets = Vec::with_capacity(total);
    let mut start = 0;
    for (row, &count) in counts.iter().enumerate() {
        let row_places = &places[start..][..usize::from(count)];
        let ascends = row_places.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascends || row_places.last().is_some_and(|&last| usize::from(last) >= columns) {
            let found = format!("row {row}: {row_places:?}");
            return Err(invalid(format!("{name}.columns"), found, "columns ascend and exist; train again"));
        }
        targets.extend(row_places.iter().map(|&place| row * columns + usize::from(place)));
        start += usize::from(count);
    }
    let values = format!("{name}.values");
    if tensors.dtype(&values) == Some(Dtype::I8) {
        let mut dense = vec![0; rows * columns];
        for (&target, value) in targets.iter().zip(in_range(&values, tensors.i8(&values, &[total])?)?) {
            dense[target] = value;
        }
        return Ok(Numbers::Integer(dense));
    }
    let mut dense = vec![0.0; rows * columns];
    for (&target, value) in targets.iter().zip(tensors.f32(&values, &[total])?) {
        dense[target] = value;
    }
    Ok(Numbers::Float(dense))
}

fn integer(name: &str, tensors: &Tensors, values: &[i8], rows: usize, columns: usize) -> Result<Weights> {
    let scale_name = format!("{name}.scale");
    let scale = tensors.f32(&scale_name, &[rows])?;
    if let Some(&found) = scale.iter().find(|&&scale| scale < 0.0) {
        return Err(invalid(scale_name, found, "scales are not negative; train again"));
    }
    let input_name = format!("{name}.input_scale");
    if !tensors.has(&input_name) {
        let weights = values.chunks_exact(columns).zip(&scale);
        let weights: Vec<f32> =
            weights.flat_map(|(row, scale)| row.iter().map(move |&value| scale * f32::from(value))).collect();
        return Ok(Weights::Floats(in_blocks(&weights, columns)));
    }
    let input_scale = tensors.f32(&input_name, &[1])?[0];
    if input_scale <= 0.0 || !input_scale.is_normal() {
        return Err(invalid(input_name, input_scale, "the scale of inputs is positive; train again"));
    }
    let mut factors: Vec<f32> = scale.iter().map(|scale| scale * input_scale).collect();
    factors.resize(rows.next_multiple_of(LANES), 0.0);
    let rounding = Rounding { input_scale, factors };
    if columns <= SHORT {
        let values: Vec<f32> = values.iter().map(|&value| f32::from(value)).collect();
        return Ok(Weights::Integers(in_blocks(&values, columns), rounding));
    }
    let width = columns.next_multiple_of(BYTE_BLOCK);
    let mut padded = vec![0; rows * width];
    for (padded, row) in padded.chunks_exact_mut(width).zip(values.chunks_exact(columns)) {
        padded[..columns].copy_from_slice(row);
    }
    Ok(Weights::Bytes { rows: padded, width, rounding })
}

/// Row by row → column by column of eight rows at a time.
fn in_blocks(values: &[f32], columns: usize) -> Vec<[f32; LANES]> {
    let mut blocks = Vec::with_capacity(values.len().div_ceil(LANES * columns) * columns);
    for rows in values.chunks(LANES * columns) {
        for column in 0..columns {
            let mut block = [0.0; LANES];
            for (lane, row) in block.iter_mut().zip(rows.chunks_exact(columns)) {
                *lane = row[column];
            }
            blocks.push(block);
        }
    }
    blocks
}

dispatch!(
    /// `clamp(input ÷ scale, ±127)`, rounded half to even; a NaN gives −127.
    round_to_bytes, round_to_bytes_scalar, (input: &[f32], scale: f32, out: &mut [i8]) -> ()
);
dispatch!(
    /// The same integers as f32.
    round_to_floats, round_to_floats_scalar, (input: &[f32], scale: f32, out: &mut [f32]) -> ()
);

/// 1.5 · 2²³: the lowest bits of a sum with it are the rounded number.
const TO_INTEGER: f32 = 12_582_912.0;

#[inline(always)]
#[allow(clippy::inline_always)]
fn shifted(value: f32, scale: f32) -> f32 {
    let value = value / scale;
    let value = if value > -127.0 { value } else { -127.0 };
    let value = if value < 127.0 { value } else { 127.0 };
    value + TO_INTEGER
}

#[inline(always)]
#[allow(clippy::inline_always)]
fn round_to_bytes_scalar(input: &[f32], scale: f32, out: &mut [i8]) {
    for (out, &value) in out.iter_mut().zip(input) {
        *out = shifted(value, scale).to_bits() as i8;
    }
}

#[inline(always)]
#[allow(clippy::inline_always)]
fn round_to_floats_scalar(input: &[f32], scale: f32, out: &mut [f32]) {
    for (out, &value) in out.iter_mut().zip(input) {
        *out = shifted(value, scale) - TO_INTEGER;
    }
}

dispatch!(
    /// `out[i, row] = Σ over columns of inputs[i, column] · weights[row, column]`, each sum over the columns in order.
    products, products_scalar,
    (weights: &[[f32; LANES]], columns: usize, inputs: &[f32], stride: usize, out: &mut [f32]) -> ()
);

#[inline(always)]
#[allow(clippy::inline_always)]
fn products_scalar(weights: &[[f32; LANES]], columns: usize, inputs: &[f32], stride: usize, out: &mut [f32]) {
    let height = weights.len() / columns * LANES;
    let mut fours = inputs.chunks_exact(4 * stride);
    let mut out_fours = out.chunks_exact_mut(4 * height);
    for (inputs, out) in fours.by_ref().zip(out_fours.by_ref()) {
        let mut at = 0;
        at = tiles::<4, 2>(weights, columns, inputs, stride, out, at);
        tiles::<4, 1>(weights, columns, inputs, stride, out, at);
    }
    let rest = out_fours.into_remainder().chunks_exact_mut(height);
    for (input, out) in fours.remainder().chunks_exact(stride).zip(rest) {
        let mut at = 0;
        at = tiles::<1, 4>(weights, columns, input, stride, out, at);
        at = tiles::<1, 2>(weights, columns, input, stride, out, at);
        tiles::<1, 1>(weights, columns, input, stride, out, at);
    }
}

/// The products of `INPUTS` inputs with `BLOCKS` blocks of rows at a time, from block `at` on as far as whole tiles
/// go; the block after them. As many sums as fit the registers run side by side, each in its own order.
#[inline(always)]
#[allow(clippy::inline_always)]
fn tiles<const INPUTS: usize, const BLOCKS: usize>(
    weights: &[[f32; LANES]],
    columns: usize,
    inputs: &[f32],
    stride: usize,
    out: &mut [f32],
    mut at: usize,
) -> usize {
    let height = weights.len() / columns * LANES;
    while (at + BLOCKS) * LANES <= height {
        let blocks: [&[[f32; LANES]]; BLOCKS] =
            std::array::from_fn(|block| &weights[(at + block) * columns..][..columns]);
        let inputs: [&[f32]; INPUTS] = std::array::from_fn(|input| &inputs[input * stride..][..columns]);
        let mut sums = [[[0f32; LANES]; BLOCKS]; INPUTS];
        for column in 0..columns {
            for input in 0..INPUTS {
                let value = inputs[input][column];
                for block in 0..BLOCKS {
                    for lane in 0..LANES {
                        sums[input][block][lane] += value * blocks[block][column][lane];
                    }
                }
            }
        }
        for (input, sums) in sums.iter().enumerate() {
            out[input * height + at * LANES..][..BLOCKS * LANES].copy_from_slice(sums.as_flattened());
        }
        at += BLOCKS;
    }
    at
}
