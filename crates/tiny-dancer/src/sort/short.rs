//! Insertion where there are few, a heap where there are many.

use std::cmp::Ordering;

/// Up to so many are inserted one by one.
const FEW: usize = 20;

/// Sorts; equal values may change places.
pub(crate) fn unstable_by<T>(items: &mut [T], mut compare: impl FnMut(&T, &T) -> Ordering) {
    if items.len() <= FEW {
        return insert(items, &mut compare);
    }
    for place in (0..items.len() / 2).rev() {
        sink(items, place, &mut compare);
    }
    for end in (1..items.len()).rev() {
        items.swap(0, end);
        sink(&mut items[..end], 0, &mut compare);
    }
}

/// Sorts; equal values stay in their order.
pub(crate) fn stable_by<T>(items: &mut [T], mut compare: impl FnMut(&T, &T) -> Ordering) {
    if items.len() <= FEW {
        return insert(items, &mut compare);
    }
    // Where each is now, in the order wanted; then each goes to its place, along the rings that they form.
    let mut order: Vec<usize> = (0..items.len()).collect();
    unstable_by(&mut order, |&one, &two| compare(&items[one], &items[two]).then(one.cmp(&two)));
    for start in 0..order.len() {
        let mut place = start;
        while order[place] != start {
            let from = std::mem::replace(&mut order[place], place);
            items.swap(place, from);
            place = from;
        }
        order[place] = place;
    }
}

/// Puts at `place` what sorting would put there, no greater ones before it and no lesser ones after it; gives the three.
pub(crate) fn select_by<T>(
    items: &mut [T],
    place: usize,
    mut compare: impl FnMut(&T, &T) -> Ordering,
) -> (&mut [T], &mut T, &mut [T]) {
    // The least so far, the greatest of them first.
    let least = place + 1;
    for parent in (0..least / 2).rev() {
        sink(&mut items[..least], parent, &mut compare);
    }
    for other in least..items.len() {
        if compare(&items[other], &items[0]).is_lt() {
            items.swap(0, other);
            sink(&mut items[..least], 0, &mut compare);
        }
    }
    items.swap(0, place);
    let (before, rest) = items.split_at_mut(place);
    let (found, after) = rest.split_first_mut().expect("a place within");
    (before, found, after)
}

fn insert<T>(items: &mut [T], compare: &mut impl FnMut(&T, &T) -> Ordering) {
    for end in 1..items.len() {
        let mut place = end;
        while place > 0 && compare(&items[place], &items[place - 1]).is_lt() {
            items.swap(place, place - 1);
            place -= 1;
        }
    }
}

/// Lets what is at `place` sink until nothing below it in the heap is greater.
fn sink<T>(items: &mut [T], mut place: usize, compare: &mut impl FnMut(&T, &T) -> Ordering) {
    loop {
        let mut child = 2 * place + 1;
        if child >= items.len() {
            return;
        }
        if child + 1 < items.len() && compare(&items[child], &items[child + 1]).is_lt() {
            child += 1;
        }
        if !compare(&items[place], &items[child]).is_lt() {
            return;
        }
        items.swap(place, child);
        place = child;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_sorts_as_the_standard_library(values in proptest::collection::vec(0..40u32, 0..120)) {
            let mut expected = values.clone();
            expected.sort_unstable();
            let mut sorted = values.clone();
            unstable_by(&mut sorted, Ord::cmp);
            prop_assert_eq!(sorted, expected);
        }

        #[test]
        fn equal_values_stay_in_their_order(values in proptest::collection::vec(0..9u32, 0..120)) {
            let numbered: Vec<_> = values.into_iter().zip(0..).collect::<Vec<(u32, u32)>>();
            let mut expected = numbered.clone();
            expected.sort_by_key(|each| each.0);
            let mut sorted = numbered;
            stable_by(&mut sorted, |one, two| one.0.cmp(&two.0));
            prop_assert_eq!(sorted, expected);
        }

        #[test]
        fn what_is_selected_stands_between_lesser_and_greater(
            values in proptest::collection::vec(0..40u32, 1..120), place in any::<prop::sample::Index>(),
        ) {
            let place = place.index(values.len());
            let (mut expected, mut items) = (values.clone(), values);
            expected.sort_unstable();
            let (before, &mut found, after) = select_by(&mut items, place, Ord::cmp);
            prop_assert_eq!(found, expected[place]);
            prop_assert!(before.iter().all(|each| *each <= found) && after.iter().all(|each| *each >= found));
            items.sort_unstable();
            prop_assert_eq!(items, expected);
        }
    }
}
