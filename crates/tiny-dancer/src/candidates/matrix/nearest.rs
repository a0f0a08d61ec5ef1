//! The exact nearest rows, by way of the int8 copy where there is one.

use super::{Cosines, Matrix, MatrixScratch, bounded, quantise};
use crate::candidates::top::{contenders, first_k};
use crate::error::Result;
use crate::kernels::dot_i8;
use crate::sort;

/// Rows asked for beyond k, to see whether the k-th ties with others.
const MORE: usize = 4;
/// With more rows than this for each that is asked for it is faster to look at their int8 copy once more.
const MANY: usize = 8;

impl Matrix {
    /// As [`Self::nearest`], with all rows that are as near as the last of them.
    pub(crate) fn nearest_and_ties(
        &self,
        query: &[f32],
        k: usize,
        passing: Option<&[u64]>,
        scratch: &mut MatrixScratch,
    ) -> Result<Vec<(u32, f32)>> {
        let mut asked = k.min(self.len()) + MORE;
        loop {
            let mut found = self.nearest(query, asked, passing, scratch)?;
            let last = found.get(k.saturating_sub(1)).map_or(f32::NEG_INFINITY, |&(_, cosine)| cosine);
            if found.len() < asked || found.last().is_some_and(|&(_, cosine)| cosine < last) {
                found.truncate(found.partition_point(|&(_, cosine)| cosine >= last).min(found.len()));
                return Ok(found);
            }
            asked *= 2;
        }
    }

    /// The `k` rows nearest to `query` by cosine, nearest first, as (row, cosine); equal cosines by row. `passing` says
    /// which rows may be given, one bit a row (all where it is `None`); zero rows, which have no direction, and rows
    /// that are not finite never appear. Exact where f32 rows are kept.
    ///
    /// # Errors
    /// As [`Self::cosines`].
    pub(super) fn nearest(
        &self,
        query: &[f32],
        k: usize,
        passing: Option<&[u64]>,
        scratch: &mut MatrixScratch,
    ) -> Result<Vec<(u32, f32)>> {
        let mut cosines = std::mem::take(&mut scratch.cosines);
        let (mut order, mut best) = (std::mem::take(&mut scratch.order), std::mem::take(&mut scratch.best));
        order.clear();
        let done = self.any_cosines(query, true, scratch, &mut cosines).map(|found| {
            let off = (|row: usize| self.error(row, found), self.largest_error(found));
            let passes = (passing, |row: usize| self.inverse_norms[row] > 0.0);
            contenders(&cosines, off, passes, k.max(1), &mut best, &mut order);
            if !found.is_exact() {
                if order.len() > MANY * k {
                    self.sharpen(query, found, k, scratch, &mut cosines, &mut order);
                }
                for &row in &order {
                    cosines[row as usize] = self.exact_cosine(row as usize, query, found);
                }
            }
            let nearer =
                |&a: &u32, &b: &u32| cosines[b as usize].total_cmp(&cosines[a as usize]).then(a.cmp(&b));
            first_k(&mut order, k, nearer);
            order.iter().map(|&row| (row, cosines[row as usize])).collect()
        });
        (scratch.cosines, scratch.order, scratch.best) = (cosines, order, best);
        done
    }

    /// Of rows that may be among the `k` nearest by the int8 copy, leaves those that may be by it and the query as it
    /// is: what int8 took from the query is rounded to int8 once more, and its products are added.
    fn sharpen(
        &self,
        query: &[f32],
        found: Cosines,
        k: usize,
        scratch: &mut MatrixScratch,
        cosines: &mut [f32],
        order: &mut Vec<u32>,
    ) {
        let Some(coarse) = &self.coarse else { return };
        let stride = self.coarse_stride();
        let codes = &mut scratch.query[..query.len()];
        let scale = quantise(query, codes);
        let rest: Vec<f32> =
            query.iter().zip(&*codes).map(|(value, &code)| value - f32::from(code) * scale).collect();
        let rest_scale = quantise(&rest, codes);
        let square: f32 = rest
            .iter()
            .zip(&*codes)
            .map(|(value, &code)| (value - f32::from(code) * rest_scale).powi(2))
            .sum();
        let found = Cosines { query_error: Some(square.sqrt() * found.inverse), ..found };
        let mut certain: Vec<f32> = Vec::with_capacity(order.len());
        for &row in &*order {
            let row = row as usize;
            let product = dot_i8(&coarse.values[row * stride..][..stride], &scratch.query) as f32;
            let dot = scratch.products[row] as f32 * scale + product * rest_scale;
            cosines[row] = bounded(dot * coarse.scales[row] * (self.inverse_norms[row] * found.inverse));
            certain.push(cosines[row] - self.error(row, found));
        }
        if let Some(last) = k.checked_sub(1).filter(|&last| last < certain.len()) {
            let (_, &mut floor, _) = sort::select_by(&mut certain, last, |a, b| b.total_cmp(a));
            order.retain(|&row| cosines[row as usize] + self.error(row as usize, found) >= floor);
        }
    }
}
