//! Sets of rows: a sorted list where they are few, one bit a row where they are many.
//!
//! Either takes at most about twice the bytes of the smaller of the two, and adding or removing a row never moves more
//! than a 32nd of the set's rows.

/// Rows that have something in common.
#[derive(Clone, Debug)]
pub(crate) enum Rows {
    /// Sorted.
    Few(Vec<u32>),
    /// Bit `row % 64` of word `row / 64`; the last word is not 0.
    Many { words: Vec<u64>, count: usize },
}

/// Up to so many stay a list.
const FEW: usize = 16;

impl Default for Rows {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Rows {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Few(rows) => rows.is_empty(),
            Self::Many { count, .. } => *count == 0,
        }
    }

    /// Adds a row that is not in it.
    pub(crate) fn insert(&mut self, row: u32) {
        match self {
            Self::Few(rows) => {
                let at = rows.partition_point(|&other| other < row);
                rows.insert(at, row);
                // From here on bits are the smaller.
                if rows.len() > FEW && rows.len() * 32 > rows[rows.len() - 1] as usize {
                    let mut words = vec![0; rows[rows.len() - 1] as usize / 64 + 1];
                    set_all(rows, &mut words);
                    *self = Self::Many { words, count: rows.len() };
                }
            }
            Self::Many { words, count } => {
                let word = row as usize / 64;
                if word >= words.len() {
                    words.resize(word + 1, 0);
                }
                words[word] |= 1 << (row % 64);
                *count += 1;
                self.shrink();
            }
        }
    }

    /// Removes a row that is in it.
    pub(crate) fn remove(&mut self, row: u32) {
        match self {
            Self::Few(rows) => {
                if let Ok(at) = rows.binary_search(&row) {
                    rows.remove(at);
                }
                if rows.capacity() > 4 * rows.len() + 4 {
                    rows.shrink_to(2 * rows.len());
                }
            }
            Self::Many { words, count } => {
                words[row as usize / 64] &= !(1 << (row % 64));
                *count -= 1;
                while words.last() == Some(&0) {
                    words.pop();
                }
                self.shrink();
            }
        }
    }

    /// Becomes a list where that is less than half as large.
    fn shrink(&mut self) {
        if let Self::Many { words, count } = self
            && (*count <= FEW / 2 || *count < words.len())
        {
            let mut rows = Vec::with_capacity(*count);
            each_of(words, |row| rows.push(row));
            *self = Self::Few(rows);
        }
    }

    /// Adds its rows to `bits`, which has room for them.
    pub(crate) fn add_to(&self, bits: &mut [u64]) {
        match self {
            Self::Few(rows) => set_all(rows, bits),
            Self::Many { words, .. } => {
                for (bits, word) in bits.iter_mut().zip(words) {
                    *bits |= word;
                }
            }
        }
    }

    pub(crate) fn is_many(&self) -> bool {
        matches!(self, Self::Many { .. })
    }

    pub(crate) fn has(&self, row: u32) -> bool {
        match self {
            Self::Few(rows) => rows.binary_search(&row).is_ok(),
            Self::Many { words, .. } => words.len() > row as usize / 64 && holds(words, row as usize),
        }
    }

    pub(crate) fn each(&self, mut visit: impl FnMut(u32)) {
        match self {
            Self::Few(rows) => rows.iter().copied().for_each(visit),
            Self::Many { words, .. } => each_of(words, &mut visit),
        }
    }
}

fn set_all(rows: &[u32], words: &mut [u64]) {
    for &row in rows {
        words[row as usize / 64] |= 1 << (row % 64);
    }
}

/// Each row whose bit is set, in order.
pub(crate) fn each_of(words: &[u64], mut visit: impl FnMut(u32)) {
    for (place, &word) in words.iter().enumerate() {
        if word == u64::MAX {
            (place as u32 * 64..place as u32 * 64 + 64).for_each(&mut visit);
            continue;
        }
        let mut left = word;
        while left != 0 {
            visit(place as u32 * 64 + left.trailing_zeros());
            left &= left - 1;
        }
    }
}

/// Whether the bit of `row` is set.
pub(crate) fn holds(words: &[u64], row: usize) -> bool {
    words[row / 64] >> (row % 64) & 1 == 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_set_and_no_larger_than_it_has_to_be(steps in proptest::collection::vec((any::<bool>(), 0u32..3000), 0..600), dense in 0u32..1500) {
            let (mut rows, mut model) = (Rows::default(), BTreeSet::new());
            for row in 0..dense {
                rows.insert(row);
                model.insert(row);
            }
            for (add, row) in steps {
                if add && model.insert(row) {
                    rows.insert(row);
                } else if !add && model.remove(&row) {
                    rows.remove(row);
                }
                prop_assert_eq!(rows.is_empty(), model.is_empty());
                let bytes = match &rows {
                    Rows::Few(rows) => rows.len() * 4,
                    Rows::Many { words, .. } => words.len() * 8,
                };
                let smaller = (4 * model.len()).min(8 * (3000 / 64 + 1));
                prop_assert!(bytes <= 2 * smaller + 4 * FEW, "{bytes} for {}", model.len());
            }
            let mut listed = Vec::new();
            rows.each(|row| listed.push(row));
            prop_assert_eq!(&listed, &model.iter().copied().collect::<Vec<_>>());
            let mut bits = vec![0; 3000 / 64 + 1];
            rows.add_to(&mut bits);
            for row in 0..3000 {
                prop_assert_eq!(holds(&bits, row), model.contains(&(row as u32)));
            }
        }
    }
}
