//! The first k of many, without sorting all.

use std::cmp::Ordering;

/// Up to this many, most items are refused by one comparison with the last one kept.
const FEW: usize = 32;

/// Leaves in `items` the `k` that come first by `compare`, in order. Time is linear in the number of items; only what
/// is kept is sorted.
pub fn first_k<T>(items: &mut Vec<T>, k: usize, mut compare: impl FnMut(&T, &T) -> Ordering) {
    if k == 0 {
        items.clear();
        return;
    }
    if k >= items.len() {
        items.sort_unstable_by(compare);
        return;
    }
    if k > FEW {
        items.select_nth_unstable_by(k - 1, &mut compare);
        items.truncate(k);
        items.sort_unstable_by(compare);
        return;
    }
    items[..k].sort_unstable_by(&mut compare);
    for next in k..items.len() {
        if compare(&items[next], &items[k - 1]).is_lt() {
            items.swap(next, k - 1);
            let mut place = k - 1;
            while place > 0 && compare(&items[place], &items[place - 1]).is_lt() {
                items.swap(place, place - 1);
                place -= 1;
            }
        }
    }
    items.truncate(k);
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
