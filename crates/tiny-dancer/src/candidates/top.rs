//! The first k of many, without sorting all.

use std::cmp::Ordering;

use super::properties::holds;
use crate::sort;

/// Up to this many, most items are refused by one comparison with the last one kept.
const FEW: usize = 32;

/// Leaves in `rows` the `k` that come first by `compare`, in order. Time is linear in the number of rows; only what
/// is kept is sorted.
pub fn first_k(rows: &mut Vec<u32>, k: usize, mut compare: impl FnMut(&u32, &u32) -> Ordering) {
    if k > FEW {
        if k < rows.len() {
            sort::many::select_rows_by(rows, k - 1, &mut compare);
            rows.truncate(k);
        }
        sort::many::rows_by(rows, &mut compare);
        return;
    }
    let first = k.min(rows.len());
    sort::unstable_by(&mut rows[..first], &mut compare);
    for next in first..rows.len() {
        if k > 0 && compare(&rows[next], &rows[k - 1]).is_lt() {
            rows.swap(next, k - 1);
            let mut place = k - 1;
            while place > 0 && compare(&rows[place], &rows[place - 1]).is_lt() {
                rows.swap(place, place - 1);
                place -= 1;
            }
        }
    }
    rows.truncate(k);
}

/// Appends to `order` the rows that may be among the `most` first by values that may each be `off` by so much, none
/// more than `worst`: those that are not below the `most`-th largest that is certain. NaN is below all. `passing` says
/// which rows take part, one bit a row, and `passes` whether one of them does; both are asked only where it matters.
pub fn contenders(
    values: &[f32],
    (off, worst): (impl Fn(usize) -> f32, f32),
    (passing, passes): (Option<&[u64]>, impl Fn(usize) -> bool),
    most: usize,
    best: &mut Vec<f32>,
    order: &mut Vec<u32>,
) {
    let passes = |row: usize| passing.is_none_or(|bits| holds(bits, row)) && passes(row);
    best.clear();
    let mut floor = f32::NEG_INFINITY;
    for_each_from(values, passing, &mut floor, |row, floor| {
        if !passes(row) {
            return;
        }
        let low = values[row] - off(row);
        if low > *floor || best.len() < most {
            let at = best.partition_point(|&other| other >= low);
            best.insert(at, low);
            best.truncate(most);
            if best.len() == most {
                *floor = best[most - 1];
            }
        }
    });
    let mut limit = floor - worst;
    for_each_from(values, passing, &mut limit, |row, _| {
        if values[row] + off(row) >= floor && passes(row) {
            order.push(row as u32);
        }
    });
}

/// Rows that are looked at together; a whole number of blocks has its bits in one word.
const BLOCK: usize = 16;

/// Calls `work` for every row whose value is not below the limit, which `work` may raise; not for those of blocks in
/// which none passes.
fn for_each_from(
    values: &[f32],
    passing: Option<&[u64]>,
    limit: &mut f32,
    mut work: impl FnMut(usize, &mut f32),
) {
    for (place, block) in values.chunks(BLOCK).enumerate() {
        let first = BLOCK * place;
        // Comparing a block at once, before looking at each of its rows, is what makes this fast.
        let above = block.iter().filter(|&&value| value >= *limit).count();
        let some_pass = |bits: &[u64]| bits[first / 64] >> (first % 64) & ((1 << BLOCK) - 1) != 0;
        if above > 0 && passing.is_none_or(some_pass) {
            for (lane, &value) in block.iter().enumerate() {
                if value >= *limit {
                    work(first + lane, limit);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_head_of_the_sorted_whole(mut items in proptest::collection::vec(0..5000u32, 0..200), k in 0usize..220) {
            let mut sorted = items.clone();
            sorted.sort_unstable();
            sorted.truncate(k);
            first_k(&mut items, k, Ord::cmp);
            prop_assert_eq!(items, sorted);
        }
    }
}
