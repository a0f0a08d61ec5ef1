//! The exact nearest rows, by way of the int8 copy where there is one.

use super::{Matrix, MatrixScratch, bounded, off_by, refused};
use crate::candidates::top::first_k;
use crate::error::Result;
use crate::kernels::dot_f32;

/// Rows asked for beyond k, to see whether the k-th ties with others.
const MORE: usize = 4;

impl Matrix {
    /// As [`Self::nearest`], with all rows that are as near as the last of them.
    pub(crate) fn nearest_and_ties(
        &self,
        query: &[f32],
        k: usize,
        allowed: Option<&[bool]>,
        scratch: &mut MatrixScratch,
    ) -> Result<Vec<(u32, f32)>> {
        let mut asked = k.min(self.len()) + MORE;
        loop {
            let mut found = self.nearest(query, asked, allowed, scratch)?;
            let last = found.get(k.saturating_sub(1)).map_or(f32::NEG_INFINITY, |&(_, cosine)| cosine);
            if found.len() < asked || found.last().is_some_and(|&(_, cosine)| cosine < last) {
                found.truncate(found.partition_point(|&(_, cosine)| cosine >= last).min(found.len()));
                return Ok(found);
            }
            asked *= 2;
        }
    }

    /// The `k` rows nearest to `query` by cosine, nearest first, as (row, cosine); equal cosines by row. `allowed` says
    /// which rows may be given (all where it is `None`); zero rows, which have no direction, and rows that are not
    /// finite never appear. Exact where f32 rows are kept.
    ///
    /// # Errors
    /// As [`Self::cosines`]; also where `allowed` has another length.
    pub fn nearest(
        &self,
        query: &[f32],
        k: usize,
        allowed: Option<&[bool]>,
        scratch: &mut MatrixScratch,
    ) -> Result<Vec<(u32, f32)>> {
        if let Some(allowed) = allowed.filter(|allowed| allowed.len() != self.length) {
            return Err(refused("allowed", format!("{} flags", allowed.len()), "give one a row"));
        }
        let inverse = self.check_query(query)?;
        let mut cosines = std::mem::take(&mut scratch.cosines);
        let mut order = std::mem::take(&mut scratch.order);
        order.clear();
        let passes = |row: usize| allowed.is_none_or(|allowed| allowed[row]) && self.inverse_norms[row] > 0.0;
        if let (Some(values), Some(coarse)) = (self.floats(), &self.coarse) {
            cosines.clear();
            cosines.resize(self.length, 0.0);
            let query_error = self.coarse_cosines(query, inverse, scratch, &mut cosines);
            let bound = |row: usize| off_by(coarse.errors[row] * self.inverse_norms[row], query_error);
            let best = &mut scratch.best;
            best.clear();
            let mut floor = f32::NEG_INFINITY;
            for (row, &cosine) in cosines.iter().enumerate() {
                let low = cosine - bound(row);
                if low > floor && passes(row) {
                    let at = best.partition_point(|&other| other >= low);
                    best.insert(at, low);
                    best.truncate(k);
                    if best.len() == k {
                        floor = best.last().copied().unwrap_or(f32::INFINITY);
                    }
                }
            }
            for row in 0..self.length {
                if cosines[row] + bound(row) >= floor && passes(row) {
                    let exact = dot_f32(&values[row * self.stride()..][..self.dimensions], query);
                    cosines[row] = bounded(exact * (self.inverse_norms[row] * inverse));
                    order.push(row as u32);
                }
            }
        } else {
            self.cosines(query, scratch, &mut cosines)?;
            order.extend((0..self.length as u32).filter(|&row| passes(row as usize)));
        }
        first_k(&mut order, k, |&a, &b| cosines[b as usize].total_cmp(&cosines[a as usize]).then(a.cmp(&b)));
        let nearest = order.iter().map(|&row| (row, cosines[row as usize])).collect();
        scratch.cosines = cosines;
        scratch.order = order;
        Ok(nearest)
    }
}
