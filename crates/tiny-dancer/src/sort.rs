//! Sorting and selecting, by two algorithms each: one whose code is short, for what is few or seldom sorted; and in [`many`]
//! the standard library's, which is ten times as long and faster from some hundreds of values on.
//!
//! The engine sorts in some fifty places, and a library carries an algorithm once for each type and comparison. Results
//! are the same: what is sorted here holds no equal values that could be told apart, or is sorted stably.

use std::cmp::Ordering;

mod short;

pub(crate) use short::{select_by, stable_by, unstable_by};

/// Sorts by the values' own order; equal values may change places.
#[inline]
pub(crate) fn unstable<T: Ord>(items: &mut [T]) {
    unstable_by(items, Ord::cmp);
}

/// Sorts by keys; equal ones may change places.
#[inline]
pub(crate) fn unstable_by_key<T, K: Ord>(items: &mut [T], mut key: impl FnMut(&T) -> K) {
    unstable_by(items, |one, two| key(one).cmp(&key(two)));
}

/// For long lists, and where requests wait: the standard library's. In WebAssembly the short ones all the same, as there
/// every byte is fetched.
pub(crate) mod many {
    use super::Ordering;

    #[cfg(target_arch = "wasm32")]
    pub(crate) use super::{select_by, stable_by, unstable, unstable_by};

    /// Sorts by the values' own order; equal values may change places.
    #[cfg(not(target_arch = "wasm32"))]
    #[inline]
    pub(crate) fn unstable<T: Ord>(items: &mut [T]) {
        items.sort_unstable();
    }

    /// Sorts; equal values may change places.
    #[cfg(not(target_arch = "wasm32"))]
    #[inline]
    pub(crate) fn unstable_by<T>(items: &mut [T], compare: impl FnMut(&T, &T) -> Ordering) {
        items.sort_unstable_by(compare);
    }

    /// Sorts; equal values stay in their order.
    #[cfg(not(target_arch = "wasm32"))]
    #[inline]
    pub(crate) fn stable_by<T>(items: &mut [T], compare: impl FnMut(&T, &T) -> Ordering) {
        items.sort_by(compare);
    }

    /// Puts at `place` what sorting would put there, no greater ones before it and no lesser ones after it; gives the
    /// three.
    #[cfg(not(target_arch = "wasm32"))]
    #[inline]
    pub(crate) fn select_by<T>(
        items: &mut [T],
        place: usize,
        compare: impl FnMut(&T, &T) -> Ordering,
    ) -> (&mut [T], &mut T, &mut [T]) {
        items.select_nth_unstable_by(place, compare)
    }

    /// Sorts rows by a comparison that looks at what is in them; equal ones may change places. Such a comparison takes
    /// longer than the call of it, so that this one algorithm serves all of them.
    #[inline(never)]
    pub(crate) fn rows_by(rows: &mut [u32], mut compare: &mut dyn FnMut(&u32, &u32) -> Ordering) {
        unstable_by(rows, &mut compare);
    }

    /// [`rows_by`], as far as selecting goes.
    #[inline(never)]
    pub(crate) fn select_rows_by(
        rows: &mut [u32],
        place: usize,
        mut compare: &mut dyn FnMut(&u32, &u32) -> Ordering,
    ) {
        select_by(rows, place, &mut compare);
    }
}
