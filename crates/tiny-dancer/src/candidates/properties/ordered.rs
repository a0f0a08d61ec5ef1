//! Rows in the order of a value that each has: pieces of a sorted list, so that adding and removing move little and a
//! range lies in one stretch.

/// A value's place, and a row that has it; or [`ALL`] where its rows are so many that they are kept as bits.
pub(super) type Entry = (u32, u32);

/// Every row of the value.
pub(super) const ALL: u32 = u32::MAX;

/// Most entries of a piece.
const MOST: usize = 512;

/// The entries of one kind of values of one key. Their order is the caller's, who says which entries lie before a point.
#[derive(Debug, Default)]
pub(super) struct Ordered {
    /// None of them empty.
    pieces: Vec<Vec<Entry>>,
}

/// A piece, and a place in it.
type Point = (usize, usize);

impl Ordered {
    /// Where the entries that lie before end.
    pub(super) fn point(&self, before: impl Fn(Entry) -> bool) -> Point {
        let piece = self.pieces.partition_point(|piece| piece.last().is_some_and(|&last| before(last)));
        let at = self.pieces.get(piece).map_or(0, |piece| piece.partition_point(|&entry| before(entry)));
        (piece, at)
    }

    pub(super) fn end(&self) -> Point {
        (self.pieces.len(), 0)
    }

    pub(super) fn insert(&mut self, entry: Entry, before: impl Fn(Entry) -> bool) {
        let (mut piece, mut at) = self.point(before);
        if piece == self.pieces.len() {
            match self.pieces.last() {
                Some(last) => (piece, at) = (piece - 1, last.len()),
                None => self.pieces.push(Vec::new()),
            }
        }
        let entries = &mut self.pieces[piece];
        entries.insert(at, entry);
        if entries.len() > MOST {
            let rest = entries.split_off(MOST / 2);
            self.pieces.insert(piece + 1, rest);
        }
    }

    pub(super) fn remove(&mut self, entry: Entry, before: impl Fn(Entry) -> bool) {
        let (piece, at) = self.point(before);
        let Some(entries) = self.pieces.get_mut(piece) else { return };
        if entries.get(at) == Some(&entry) {
            entries.remove(at);
            if entries.is_empty() {
                self.pieces.remove(piece);
            } else if entries.capacity() > 4 * entries.len() {
                entries.shrink_to(2 * entries.len());
            }
        }
    }

    /// Visits the entries from one point up to another.
    pub(super) fn each(&self, from: Point, to: Point, mut visit: impl FnMut(Entry)) {
        for (piece, entries) in self.pieces.iter().enumerate().take(to.0 + 1).skip(from.0) {
            let first = if piece == from.0 { from.1 } else { 0 };
            let end = if piece == to.0 { to.1 } else { entries.len() };
            if first < end {
                entries[first..end].iter().copied().for_each(&mut visit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_sorted_set(steps in proptest::collection::vec((any::<bool>(), 0u32..2000), 0..3000), from in 0u32..2000, to in 0u32..2000, rising in any::<bool>()) {
            let (mut ordered, mut model) = (Ordered::default(), BTreeSet::new());
            for value in (0..if rising { 1500 } else { 0 }).map(|value| (value, 1)) {
                ordered.insert(value, |other| other < value);
                model.insert(value);
            }
            for (add, value) in steps {
                let entry = (value, 1);
                if add && model.insert(entry) {
                    ordered.insert(entry, |other| other < entry);
                } else if !add {
                    model.remove(&entry);
                    ordered.remove(entry, |other| other < entry);
                }
            }
            prop_assert!(ordered.pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= MOST));
            let listed = |from, to| {
                let mut found = Vec::new();
                ordered.each(from, to, |entry| found.push(entry));
                found
            };
            prop_assert_eq!(listed((0, 0), ordered.end()), model.iter().copied().collect::<Vec<_>>());
            let (start, stop) = (ordered.point(|entry| entry < (from, 0)), ordered.point(|entry| entry < (to, 0)));
            let within: Vec<Entry> = model.iter().copied().filter(|entry| from <= entry.0 && entry.0 < to).collect();
            prop_assert_eq!(listed(start, stop), within);
        }
    }
}
