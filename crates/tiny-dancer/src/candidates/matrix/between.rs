//! Cosines between rows.

use super::{Matrix, MatrixScratch};
use crate::kernels::{dot_f32, dot_i8, dot_rows_f32, dot_rows_i8};

impl Matrix {
    /// Cosine of two rows.
    #[must_use]
    pub fn cosine_of_rows(&self, a: usize, b: usize) -> f32 {
        let dot = match (self.floats(), &self.coarse) {
            (Some(values), _) => {
                let row = |row: usize| &values[row * self.stride()..][..self.dimensions];
                dot_f32(row(a), row(b))
            }
            (None, Some(coarse)) => {
                let row = |row: usize| &coarse.values[row * self.coarse_stride()..][..self.dimensions];
                dot_i8(row(a), row(b)) as f32 * (coarse.scales[a] * coarse.scales[b])
            }
            (None, None) => 0.0,
        };
        dot * (self.inverse_norms[a] * self.inverse_norms[b])
    }

    /// Cosine of every row with row `row`, as [`Self::cosine_of_rows`] gives it.
    pub(crate) fn cosines_with_row(&self, row: usize, scratch: &mut MatrixScratch, out: &mut Vec<f32>) {
        out.clear();
        out.resize(self.length, 0.0);
        let norm = self.inverse_norms[row];
        if let Some(values) = self.floats() {
            dot_rows_f32(values, self.stride(), &values[row * self.stride()..][..self.dimensions], out);
        } else if let Some(coarse) = &self.coarse {
            let codes = &coarse.values[row * self.coarse_stride()..][..self.coarse_stride()];
            dot_rows_i8(&coarse.values, codes, &mut scratch.products);
            let scales = coarse.scales.iter().map(|scale| coarse.scales[row] * scale);
            for ((out, &product), scale) in out.iter_mut().zip(&scratch.products).zip(scales) {
                *out = product as f32 * scale;
            }
        }
        for (cosine, other) in out.iter_mut().zip(&self.inverse_norms) {
            *cosine *= norm * other;
        }
    }
}
