//! Rows of embeddings, contiguous and aligned: cosines with a query, and the exact nearest rows.
//!
//! Finding the nearest among many rows is bound by memory, so beside the f32 rows an int8 copy can be kept, a
//! quarter their size. It is only a filter: each row carries the length of what rounding took from it, so every
//! approximate cosine comes with a bound on its error (Cauchy-Schwarz), and rows that could still be among the k
//! nearest are measured again in f32. What comes out is exact.

mod between;
mod nearest;
mod rows;
#[cfg(test)]
mod tests;

pub use rows::SharedRows;

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{dot_f32, dot_rows_and_squares_f32, dot_rows_f32, dot_rows_i8};
use rows::{LINE, Line, Lines, Rows};

/// Largest number of values in an embedding.
pub const MOST_DIMENSIONS: usize = 16_384;
/// Most rows a matrix holds.
pub const MOST_ROWS: usize = 1 << 24;
/// int8 rows are padded to whole blocks of the kernel.
const BLOCK: usize = 32;

/// The int8 copy: row ≈ values · scale.
#[derive(Default)]
struct Coarse {
    values: Vec<i8>,
    scales: Vec<f32>,
    /// ‖row − values · scale‖.
    errors: Vec<f32>,
    /// No row's error is larger, as a share of its length.
    largest_error: f32,
}

/// Embeddings of n candidates, one row each. A row that holds a NaN or an infinity is kept out of every answer.
pub struct Matrix {
    dimensions: usize,
    length: usize,
    rows: Rows,
    coarse: Option<Coarse>,
    /// 1/‖row‖; 0 for the zero row, NaN for a row that is not finite.
    inverse_norms: Vec<f32>,
    /// Rows that are not finite.
    unsound: usize,
}

/// What cosines with a query were computed of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cosines {
    /// 1/‖query‖.
    inverse: f32,
    /// ‖e‖/‖query‖ for the rounding error e of the query, where the int8 copy stands in for f32 rows.
    query_error: Option<f32>,
}

impl Cosines {
    /// Whether they are as exact as the rows that are kept.
    pub(crate) fn is_exact(self) -> bool {
        self.query_error.is_none()
    }
}

impl fmt::Debug for Matrix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Matrix")
            .field("rows", &self.length)
            .field("dimensions", &self.dimensions)
            .field("coarse", &self.coarse.is_some())
            .finish_non_exhaustive()
    }
}

/// How a [`Matrix`] keeps its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// f32 rows.
    Full,
    /// int8 rows with one scale each: a quarter of the memory, cosines within about .01.
    Quantised,
    /// f32 rows and the int8 filter: for finding the nearest of many.
    Indexed,
}

/// Buffers a search works in.
#[derive(Debug, Default)]
pub struct MatrixScratch {
    query: Vec<i8>,
    products: Vec<i32>,
    cosines: Vec<f32>,
    order: Vec<u32>,
    best: Vec<f32>,
}

#[cold]
#[inline(never)]
fn refused(field: &str, value: impl fmt::Display, remedy: &str) -> Error {
    Error::new(ErrorKind::CandidateInvalid, field, value, remedy)
}

/// 1/‖v‖; 0 for the zero vector, NaN where a value is not finite or the sum of squares is.
fn inverse_norm(vector: &[f32]) -> f32 {
    inverse_root(dot_f32(vector, vector))
}

fn inverse_root(square: f32) -> f32 {
    if !square.is_finite() {
        return f32::NAN;
    }
    if square >= f32::MIN_POSITIVE { 1.0 / square.sqrt() } else { 0.0 }
}

/// Rounds `vector` to int8 times one scale, which is given back.
fn quantise(vector: &[f32], out: &mut [i8]) -> f32 {
    let largest = vector.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    if largest == 0.0 || !largest.is_finite() {
        out.fill(0);
        return 0.0;
    }
    let inverse = 127.0 / largest;
    for (code, value) in out.iter_mut().zip(vector) {
        *code = (value * inverse).round_ties_even() as i8;
    }
    largest / 127.0
}

/// A cosine that rounding took out of [-1, 1] put back; and no negative zero, which would sort below zero.
fn bounded(cosine: f32) -> f32 {
    cosine.clamp(-1.0, 1.0) + 0.0
}

/// Cosines as [`Matrix::cosines`] has them, of rows as wide as the query that lie one after the other. False where a row
/// or the query is not finite. `norms` is a buffer.
pub(crate) fn cosines_of_rows(rows: &[f32], query: &[f32], norms: &mut Vec<f32>, out: &mut Vec<f32>) -> bool {
    let inverse = inverse_norm(query);
    for column in [&mut *norms, out] {
        column.clear();
        column.resize(rows.len() / query.len(), 0.0);
    }
    dot_rows_and_squares_f32(rows, query, out, norms);
    let mut sound = !inverse.is_nan();
    for (cosine, &square) in out.iter_mut().zip(&*norms) {
        let norm = inverse_root(square);
        sound &= !norm.is_nan();
        *cosine = bounded(*cosine * (norm * inverse));
    }
    sound
}

/// f32 sums of up to 16,384 products in eight lanes stay within this of the exact sum of unit vectors.
const ROUNDING: f32 = 1e-5;

/// How far a cosine of rounded vectors may be off, where `row` and `query` are ‖rounding error‖/‖vector‖ of each:
/// |row·query − approximation| ≤ ‖row‖‖query error‖ + ‖row error‖‖rounded query‖, over ‖row‖‖query‖.
fn off_by(row: f32, query: f32) -> f32 {
    query + row * (1.0 + query) + ROUNDING
}

impl Matrix {
    /// No rows yet, each to have `dimensions` values.
    ///
    /// # Errors
    /// `CandidateInvalid` for 0 or more than [`MOST_DIMENSIONS`] dimensions.
    pub fn new(dimensions: usize, precision: Precision) -> Result<Self> {
        if dimensions == 0 || dimensions > MOST_DIMENSIONS {
            return Err(refused("dimensions", dimensions, "give embeddings of 1 to 16,384 values"));
        }
        Ok(Self {
            dimensions,
            length: 0,
            rows: if precision == Precision::Quantised { Rows::None } else { Rows::Owned(Lines::default()) },
            coarse: (precision != Precision::Full).then(Coarse::default),
            inverse_norms: Vec::new(),
            unsound: 0,
        })
    }

    /// Rows read where they lie, without a copy; the first change to the matrix copies them.
    ///
    /// # Errors
    /// As [`Self::new`]; also where the values are not whole rows.
    pub fn shared(dimensions: usize, values: Arc<dyn SharedRows>) -> Result<Self> {
        let mut matrix = Self::new(dimensions, Precision::Full)?;
        let count = values.values().len();
        if !count.is_multiple_of(dimensions) || count / dimensions > MOST_ROWS {
            return Err(refused("embeddings", format!("{count} values"), "give whole rows, at most 2^24"));
        }
        matrix.length = count / dimensions;
        matrix.inverse_norms = values.values().chunks_exact(dimensions).map(inverse_norm).collect();
        matrix.unsound = matrix.inverse_norms.iter().filter(|norm| norm.is_nan()).count();
        matrix.rows = Rows::Shared(values);
        Ok(matrix)
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Values in a row.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Whether every value of the row is finite.
    #[must_use]
    pub fn is_sound(&self, row: usize) -> bool {
        !self.inverse_norms[row].is_nan()
    }

    /// Hears of every row that is not finite.
    pub(crate) fn for_unsound(&self, mut hear: impl FnMut(usize)) {
        if self.unsound > 0 {
            (0..self.length).filter(|&row| !self.is_sound(row)).for_each(&mut hear);
        }
    }

    fn stride(&self) -> usize {
        match self.rows {
            Rows::Shared(_) => self.dimensions,
            _ => self.dimensions.next_multiple_of(LINE),
        }
    }

    fn coarse_stride(&self) -> usize {
        self.dimensions.next_multiple_of(BLOCK)
    }

    fn floats(&self) -> Option<&[f32]> {
        match &self.rows {
            Rows::Owned(lines) => Some(lines.values()),
            Rows::Shared(shared) => Some(shared.values()),
            Rows::None => None,
        }
    }

    /// Copies shared rows, so that they can be changed.
    fn own(&mut self) {
        if let Rows::Shared(shared) = &self.rows {
            let stride = self.dimensions.next_multiple_of(LINE);
            let mut lines = Lines(vec![Line([0.0; LINE]); self.length * stride / LINE]);
            let rows = shared.values().chunks_exact(self.dimensions);
            for (from, to) in rows.zip(lines.values_mut().chunks_exact_mut(stride)) {
                to[..self.dimensions].copy_from_slice(from);
            }
            self.rows = Rows::Owned(lines);
        }
    }

    /// Appends rows that lie one after the other.
    ///
    /// # Errors
    /// `CandidateInvalid` where they are not whole rows, or too many.
    pub fn append(&mut self, values: &[f32]) -> Result<()> {
        if !values.len().is_multiple_of(self.dimensions) {
            let found = format!("{} values", values.len());
            return Err(refused("embeddings", found, &format!("give rows of {}", self.dimensions)));
        }
        let added = values.len() / self.dimensions;
        if self.length + added > MOST_ROWS {
            return Err(refused("embeddings", self.length + added, "at most 2^24 rows fit one set"));
        }
        self.own();
        let (stride, coarse_stride) = (self.stride(), self.coarse_stride());
        if let Rows::Owned(lines) = &mut self.rows {
            lines.0.resize((self.length + added) * stride / LINE, Line([0.0; LINE]));
        }
        if let Some(coarse) = &mut self.coarse {
            coarse.values.resize((self.length + added) * coarse_stride, 0);
            coarse.scales.resize(self.length + added, 0.0);
            coarse.errors.resize(self.length + added, 0.0);
        }
        self.inverse_norms.resize(self.length + added, 0.0);
        for values in values.chunks_exact(self.dimensions) {
            self.length += 1;
            self.write(self.length - 1, values);
        }
        Ok(())
    }

    /// Whether values are one row.
    ///
    /// # Errors
    /// `CandidateInvalid` where they are not.
    pub(super) fn check_row(&self, values: &[f32]) -> Result<()> {
        if values.len() != self.dimensions {
            let found = format!("{} values", values.len());
            return Err(refused("embedding", found, &format!("give {} values", self.dimensions)));
        }
        Ok(())
    }

    /// Replaces a row.
    ///
    /// # Errors
    /// `CandidateInvalid` where it has another width.
    ///
    /// # Panics
    /// Where there is no such row.
    pub fn replace(&mut self, row: usize, values: &[f32]) -> Result<()> {
        assert!(row < self.length, "no row {row}");
        self.check_row(values)?;
        self.own();
        self.write(row, values);
        Ok(())
    }

    fn write(&mut self, row: usize, values: &[f32]) {
        let (stride, coarse_stride) = (self.stride(), self.coarse_stride());
        let inverse = inverse_norm(values);
        self.unsound -= usize::from(self.inverse_norms[row].is_nan());
        self.unsound += usize::from(inverse.is_nan());
        self.inverse_norms[row] = inverse;
        if let Rows::Owned(lines) = &mut self.rows {
            lines.values_mut()[row * stride..][..values.len()].copy_from_slice(values);
        }
        if let Some(coarse) = &mut self.coarse {
            let codes = &mut coarse.values[row * coarse_stride..][..values.len()];
            let scale = if inverse.is_nan() { 0.0 } else { quantise(values, codes) };
            let square: f32 = values
                .iter()
                .zip(&*codes)
                .map(|(value, &code)| (value - f32::from(code) * scale).powi(2))
                .sum();
            coarse.scales[row] = scale;
            coarse.errors[row] = square.sqrt();
            // A row that is not finite has no error that counts.
            coarse.largest_error = coarse.largest_error.max(coarse.errors[row] * inverse);
        }
    }

    /// Removes a row; the last takes its place.
    ///
    /// # Panics
    /// Where there is no such row.
    pub fn swap_remove(&mut self, row: usize) {
        assert!(row < self.length, "no row {row}");
        self.own();
        let last = self.length - 1;
        let (stride, coarse_stride) = (self.stride(), self.coarse_stride());
        if let Rows::Owned(lines) = &mut self.rows {
            lines.0.copy_within(last * stride / LINE..(last + 1) * stride / LINE, row * stride / LINE);
            lines.0.truncate(last * stride / LINE);
        }
        if let Some(coarse) = &mut self.coarse {
            coarse.values.copy_within(last * coarse_stride..(last + 1) * coarse_stride, row * coarse_stride);
            coarse.values.truncate(last * coarse_stride);
            coarse.scales.swap_remove(row);
            coarse.errors.swap_remove(row);
        }
        self.unsound -= usize::from(self.inverse_norms.swap_remove(row).is_nan());
        self.length = last;
    }

    /// A row's values, as kept.
    ///
    /// # Panics
    /// Where there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> Vec<f32> {
        assert!(row < self.length, "no row {row}");
        match (self.floats(), &self.coarse) {
            (Some(values), _) => values[row * self.stride()..][..self.dimensions].to_vec(),
            (None, Some(coarse)) => {
                let codes = &coarse.values[row * self.coarse_stride()..][..self.dimensions];
                codes.iter().map(|&code| f32::from(code) * coarse.scales[row]).collect()
            }
            (None, None) => Vec::new(),
        }
    }

    /// Cosine of every row with `query`, 0 for a zero row or query, NaN for a row that is not finite.
    ///
    /// # Errors
    /// `CandidateInvalid` for a query of another width or one that is not finite.
    pub fn cosines(&self, query: &[f32], scratch: &mut MatrixScratch, out: &mut Vec<f32>) -> Result<()> {
        self.any_cosines(query, false, scratch, out).map(|_| ())
    }

    /// As [`Self::cosines`]; where `coarse` is set, by the int8 copy if there is one, each off by at most
    /// [`Self::error`].
    ///
    /// # Errors
    /// As [`Self::cosines`].
    pub(crate) fn any_cosines(
        &self,
        query: &[f32],
        coarse: bool,
        scratch: &mut MatrixScratch,
        out: &mut Vec<f32>,
    ) -> Result<Cosines> {
        let inverse = self.check_query(query)?;
        out.clear();
        out.resize(self.length, 0.0);
        let mut query_error = None;
        match self.floats() {
            Some(values) if !coarse || self.coarse.is_none() => {
                dot_rows_f32(values, self.stride(), query, out);
                for (cosine, norm) in out.iter_mut().zip(&self.inverse_norms) {
                    *cosine *= norm * inverse;
                }
            }
            floats => {
                let error = self.coarse_cosines(query, inverse, scratch, out);
                query_error = floats.map(|_| error);
            }
        }
        for (cosine, norm) in out.iter_mut().zip(&self.inverse_norms) {
            // Inf · 0 in a row that is not finite may have given any number.
            *cosine = if norm.is_nan() { f32::NAN } else { bounded(*cosine) };
        }
        Ok(Cosines { inverse, query_error })
    }

    /// The cosine of one row with the query of `cosines`, by its f32 values.
    pub(crate) fn exact_cosine(&self, row: usize, query: &[f32], cosines: Cosines) -> f32 {
        let norm = self.inverse_norms[row];
        let Some(values) = self.floats().filter(|_| !norm.is_nan()) else { return f32::NAN };
        let dot = dot_f32(&values[row * self.stride()..][..self.dimensions], query);
        bounded(dot * (norm * cosines.inverse))
    }

    /// How far the coarse cosine of a row may be off.
    pub(crate) fn error(&self, row: usize, cosines: Cosines) -> f32 {
        let relative =
            self.coarse.as_ref().map_or(0.0, |coarse| coarse.errors[row] * self.inverse_norms[row]);
        let relative = relative.max(0.0); // NaN, of a row that is not finite, counts as 0
        cosines.query_error.map_or(0.0, |error| off_by(relative, error))
    }

    /// How far any may be off.
    pub(crate) fn largest_error(&self, cosines: Cosines) -> f32 {
        let relative = self.coarse.as_ref().map_or(0.0, |coarse| coarse.largest_error);
        cosines.query_error.map_or(0.0, |error| off_by(relative, error))
    }

    fn check_query(&self, query: &[f32]) -> Result<f32> {
        if query.len() != self.dimensions {
            return Err(refused(
                "query_embedding",
                format!("{} values", query.len()),
                &format!("the candidates have {}", self.dimensions),
            ));
        }
        let inverse = inverse_norm(query);
        if inverse.is_nan() {
            return Err(refused("query_embedding", "NaN or infinity", "give finite values"));
        }
        Ok(inverse)
    }

    /// Cosines by the int8 copy. Gives ‖e‖/‖q‖ for the rounding error e of the query.
    fn coarse_cosines(
        &self,
        query: &[f32],
        inverse: f32,
        scratch: &mut MatrixScratch,
        out: &mut [f32],
    ) -> f32 {
        let Some(coarse) = &self.coarse else { return 0.0 };
        scratch.query.clear();
        scratch.query.resize(self.coarse_stride(), 0);
        let scale = quantise(query, &mut scratch.query[..query.len()]);
        let square: f32 = query
            .iter()
            .zip(&scratch.query)
            .map(|(value, &code)| (value - f32::from(code) * scale).powi(2))
            .sum();
        dot_rows_i8(&coarse.values, &scratch.query, &mut scratch.products);
        let norms = self.inverse_norms.iter().zip(&coarse.scales);
        for ((out, &product), (norm, row_scale)) in out.iter_mut().zip(&scratch.products).zip(norms) {
            *out = product as f32 * (row_scale * scale) * (norm * inverse);
        }
        square.sqrt() * inverse
    }
}
