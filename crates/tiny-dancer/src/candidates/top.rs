//! The first k of many, without sorting all.

use std::cmp::Ordering;

/// Leaves in `items` the `k` that come first by `compare`, in order. Selection is linear in the number of items, and
/// only what is kept is sorted.
pub fn first_k<T>(items: &mut Vec<T>, k: usize, mut compare: impl FnMut(&T, &T) -> Ordering) {
    if k == 0 {
        items.clear();
        return;
    }
    if k < items.len() {
        items.select_nth_unstable_by(k - 1, &mut compare);
        items.truncate(k);
    }
    items.sort_unstable_by(compare);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_head_of_the_sorted_whole(mut items in proptest::collection::vec(any::<i16>(), 0..200), k in 0usize..220) {
            let mut sorted = items.clone();
            sorted.sort_unstable();
            sorted.truncate(k);
            first_k(&mut items, k, Ord::cmp);
            prop_assert_eq!(items, sorted);
        }
    }
}
