//! Sorting and selecting: the standard library's; in WebAssembly algorithms whose code is a tenth as long.
//!
//! The engine sorts in some fifty places, and a module carries each algorithm once a place. Results are the same: what is
//! sorted here holds no equal values that could be told apart, or is sorted stably.

#[cfg(not(target_arch = "wasm32"))]
use std::cmp::Ordering;

#[cfg(any(test, target_arch = "wasm32"))]
mod short;
#[cfg(target_arch = "wasm32")]
pub(crate) use short::{select_by, stable_by, unstable_by};

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

/// Puts at `place` what sorting would put there, no greater ones before it and no lesser ones after it; gives the three.
#[cfg(not(target_arch = "wasm32"))]
#[inline]
pub(crate) fn select_by<T>(
    items: &mut [T],
    place: usize,
    compare: impl FnMut(&T, &T) -> Ordering,
) -> (&mut [T], &mut T, &mut [T]) {
    items.select_nth_unstable_by(place, compare)
}

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

/// Sorts by keys; those of equal ones stay in their order.
#[inline]
pub(crate) fn stable_by_key<T, K: Ord>(items: &mut [T], mut key: impl FnMut(&T) -> K) {
    stable_by(items, |one, two| key(one).cmp(&key(two)));
}
