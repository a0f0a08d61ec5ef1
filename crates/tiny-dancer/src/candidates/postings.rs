//! Inverted lists of one kind of term, which grow and shrink, and the BM25 weights that come of them.
//!
//! Counts are whole numbers: a context weighs its rows by 1, .5, .2 and .2, which are 10, 5, 2 and 2 tenths. So a list
//! that was changed in any order holds what one made at once holds, and every weight has the same bits. Weights are
//! computed when they are asked for, as those of all terms change with every candidate.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::kernels::dispatch;

/// BM25's k1 and b: how soon a repeated term counts no more, and how far length is held against a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saturation {
    pub k1: f32,
    pub b: f32,
}

impl Default for Saturation {
    fn default() -> Self {
        Self { k1: 0.9, b: 0.4 }
    }
}

/// How often a term occurs in one candidate with its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub term: u32,
    /// Occurrences in tenths, times two; the last bit says whether the candidate itself holds the term.
    pub count: u32,
}

impl Count {
    /// The order of lists.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as sorting asks")]
    pub(crate) fn by_term(&self, other: &Self) -> Ordering {
        self.term.cmp(&other.term)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Posting {
    row: u32,
    /// As [`Count::count`].
    count: u32,
}

/// The candidates that hold a term or stand beside one that does, by row. Most terms have one; long lists lie in blocks,
/// so that a change moves no more than a block.
#[derive(Debug)]
enum List {
    One(Posting),
    Few(Vec<Posting>),
    Many(Vec<Block>),
}

/// A part of a list, never empty.
#[derive(Debug)]
struct Block {
    /// No row of it is below, and none of the block before is this or above.
    first: u32,
    postings: Vec<Posting>,
}

#[derive(Debug)]
struct Term {
    /// Candidates that hold it themselves.
    holders: u32,
    list: List,
}

/// Terms are hashes already: one multiplication spreads them over all bits.
#[derive(Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(self.0 as u32 ^ u32::from(byte));
        }
    }

    fn write_u32(&mut self, term: u32) {
        self.write_u64(u64::from(term));
    }

    fn write_u64(&mut self, term: u64) {
        self.0 = term.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Inverted lists of one kind of term.
#[derive(Debug, Default)]
pub(crate) struct Family {
    terms: HashMap<u32, Term, BuildHasherDefault<Spread>>,
    /// Number of terms in each row with its context, in tenths; and their sum.
    lengths: Vec<u32>,
    total: u64,
    saturation: Saturation,
}

/// Most postings in a block.
const FULL: usize = if cfg!(test) { 8 } else { 1024 };

/// Puts a posting into its place.
fn put(postings: &mut Vec<Posting>, posting: Posting) {
    // New candidates are the last row: mostly the place is the end.
    if postings.last().is_none_or(|last| last.row < posting.row) {
        postings.push(posting);
    } else {
        let place = postings.partition_point(|other| other.row < posting.row);
        postings.insert(place, posting);
    }
}

fn take(postings: &mut Vec<Posting>, row: u32) {
    if let Ok(place) = find(postings, row) {
        postings.remove(place);
    }
    // What was once long gives back what it holds on to.
    if postings.capacity() > 8 && postings.len() * 4 < postings.capacity() {
        postings.shrink_to(postings.len() * 2);
    }
}

fn find(postings: &[Posting], row: u32) -> Result<usize, usize> {
    postings.binary_search_by_key(&row, |posting| posting.row)
}

/// The block a row belongs to.
fn block_of(blocks: &[Block], row: u32) -> usize {
    blocks.partition_point(|block| block.first <= row).saturating_sub(1)
}

impl List {
    /// All of it, part after part.
    fn parts(&self) -> impl Iterator<Item = &[Posting]> {
        let (head, blocks): (&[Posting], &[Block]) = match self {
            Self::One(posting) => (std::slice::from_ref(posting), &[]),
            Self::Few(postings) => (postings, &[]),
            Self::Many(blocks) => (&[], blocks),
        };
        std::iter::once(head).chain(blocks.iter().map(|block| &block.postings[..]))
    }

    /// Has the processor fetch the first of it, without waiting for that.
    #[inline]
    fn fetch(&self) {
        #[cfg(target_arch = "x86_64")]
        if let Self::Few(postings) = self {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            for line in postings.chunks(64 / size_of::<Posting>()).take(FETCHED) {
                // SAFETY: fetching reads nothing into the program, whatever the address.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
            }
        }
    }

    fn get(&self, row: u32) -> Option<Posting> {
        let part = match self {
            Self::One(posting) => std::slice::from_ref(posting),
            Self::Few(postings) => postings,
            Self::Many(blocks) => &blocks[block_of(blocks, row)].postings,
        };
        find(part, row).ok().map(|place| part[place])
    }

    /// Replaces the count of a row that is there.
    fn set(&mut self, posting: Posting) {
        let part = match self {
            Self::One(one) => std::slice::from_mut(one),
            Self::Few(postings) => postings,
            Self::Many(blocks) => {
                let at = block_of(blocks, posting.row);
                &mut blocks[at].postings
            }
        };
        if let Ok(place) = find(part, posting.row) {
            part[place] = posting;
        }
    }

    fn insert(&mut self, posting: Posting) {
        match self {
            Self::One(one) => {
                let mut postings = vec![*one];
                put(&mut postings, posting);
                *self = Self::Few(postings);
            }
            Self::Few(postings) if postings.len() < FULL => put(postings, posting),
            Self::Few(postings) => {
                let postings = std::mem::take(postings);
                *self = Self::Many(vec![Block { first: 0, postings }]);
                self.insert(posting);
            }
            Self::Many(blocks) => {
                let at = block_of(blocks, posting.row);
                let last = at + 1 == blocks.len();
                let block = &mut blocks[at];
                block.first = block.first.min(posting.row);
                if block.postings.len() < FULL {
                    put(&mut block.postings, posting);
                } else if last && block.postings.last().is_some_and(|last| last.row < posting.row) {
                    blocks.push(Block { first: posting.row, postings: vec![posting] });
                } else {
                    let upper = block.postings.split_off(FULL / 2);
                    block.postings.shrink_to(FULL / 2 + 1);
                    let first = upper[0].row;
                    blocks.insert(at + 1, Block { first, postings: upper });
                    self.insert(posting);
                }
            }
        }
    }

    /// Removes a row; whether none is left.
    fn remove(&mut self, row: u32) -> bool {
        match self {
            Self::One(posting) => posting.row == row,
            Self::Few(postings) => {
                take(postings, row);
                postings.is_empty()
            }
            Self::Many(blocks) => {
                let at = block_of(blocks, row);
                take(&mut blocks[at].postings, row);
                let left = blocks[at].postings.len();
                if left == 0 {
                    blocks.remove(at);
                } else if blocks.get(at + 1).is_some_and(|next| left + next.postings.len() <= FULL / 2) {
                    let mut next = blocks.remove(at + 1);
                    blocks[at].postings.append(&mut next.postings);
                }
                if let [block] = &mut blocks[..] {
                    *self = Self::Few(std::mem::take(&mut block.postings));
                }
                false
            }
        }
    }
}

impl Family {
    /// No terms yet, weighed with other constants than the usual ones.
    pub(crate) fn with(saturation: Saturation) -> Self {
        Self { saturation, ..Self::default() }
    }

    /// Makes room for so many rows, or forgets those beyond, which hold nothing by then.
    pub(crate) fn resize(&mut self, rows: usize) {
        self.lengths.resize(rows, 0);
    }

    /// Replaces what a row holds: `old` is what it was given last, both sorted by term; `length` in tenths.
    pub(crate) fn replace(&mut self, row: u32, old: &[Count], new: &[Count], length: u32) {
        let known = std::mem::replace(&mut self.lengths[row as usize], length);
        self.total = self.total - u64::from(known) + u64::from(length);
        let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(old), Some(new)) => old.term.cmp(&new.term),
            };
            let gone = if order.is_le() { old.next() } else { None };
            let come = if order.is_ge() { new.next() } else { None };
            if gone != come {
                self.exchange(row, gone, come);
            }
        }
    }

    /// Replaces the posting of one term in a row.
    fn exchange(&mut self, row: u32, old: Option<&Count>, new: Option<&Count>) {
        use std::collections::hash_map::Entry;
        let Some(term) = old.or(new).map(|count| count.term) else { return };
        let held = |count: Option<&Count>| count.map_or(0, |count| count.count & 1);
        match self.terms.entry(term) {
            Entry::Vacant(entry) => {
                if let Some(&Count { count, .. }) = new {
                    entry.insert(Term { holders: held(new), list: List::One(Posting { row, count }) });
                }
            }
            Entry::Occupied(mut entry) => {
                let found = entry.get_mut();
                found.holders = found.holders + held(new) - held(old);
                match (old, new) {
                    (Some(_), Some(new)) => {
                        found.list.set(Posting { row, count: new.count });
                    }
                    (None, Some(new)) => found.list.insert(Posting { row, count: new.count }),
                    (_, None) => {
                        if found.list.remove(row) {
                            entry.remove();
                        }
                    }
                }
            }
        }
    }

    /// idf of a term that so many candidates hold.
    fn idf(&self, holders: u32) -> f32 {
        let (rows, holders) = (self.lengths.len() as f32, holders as f32);
        // Not the platform's logarithm: their last bits differ.
        libm::logf(1.0 + (rows - holders + 0.5) / (holders + 0.5))
    }

    /// Who holds a term, and its idf.
    fn find(&self, term: u32) -> (Option<&List>, f32) {
        let found = self.terms.get(&term);
        (found.map(|found| &found.list), self.idf(found.map_or(0, |found| found.holders)))
    }

    fn norm(&self) -> Norm {
        let mean = (self.total as f64 / self.lengths.len().max(1) as f64) as f32;
        let Saturation { k1, b } = self.saturation;
        // In tenths, as the counts are.
        Norm { always: 10.0 * k1 * (1.0 - b), by_length: 10.0 * k1 * b / mean.max(1e-9), most: k1 + 1.0 }
    }

    /// Writes into `sums`, one number a row, what the terms weigh there together, as the share of Σ idf.
    pub(crate) fn sum(&self, terms: &[u32], sums: &mut [f32]) {
        self.sum_rarer(terms, u32::MAX, sums);
    }

    /// As [`Self::sum`], but that terms which more rows hold than `most` weigh nothing: they take the most time and tell
    /// the least.
    pub(crate) fn sum_rarer(&self, terms: &[u32], most: u32, sums: &mut [f32]) {
        sums.fill(0.0);
        let norm = self.norm();
        let mut ideal = 0.0;
        for terms in terms.chunks(LOOKED_UP) {
            // All are looked up before the first is weighed, so that one need not wait for another's memory.
            let mut found = [None; LOOKED_UP];
            for (found, term) in found.iter_mut().zip(terms) {
                *found = self.terms.get(term);
            }
            for found in found.iter().flatten().filter(|found| found.holders <= most) {
                found.list.fetch();
            }
            for found in &found[..terms.len()] {
                let holders = found.map_or(0, |found| found.holders);
                let idf = self.idf(holders);
                ideal += idf;
                let list = found.filter(|_| holders <= most).map(|found| &found.list);
                for postings in list.into_iter().flat_map(List::parts) {
                    add_weights(postings, &self.lengths, norm, idf, sums);
                }
            }
        }
        scale(sums, share_of(ideal));
    }

    /// What [`Self::sum`] writes for one row.
    pub(crate) fn share(&self, terms: &[u32], row: usize) -> f32 {
        let norm = self.norm();
        let (mut ideal, mut sum) = (0.0, 0.0);
        for &term in terms {
            let (list, idf) = self.find(term);
            ideal += idf;
            if let Some(posting) = list.and_then(|list| list.get(row as u32)) {
                sum += weight(posting, self.lengths[row], norm, idf);
            }
        }
        sum * share_of(ideal)
    }

    /// Whether any row holds the term.
    pub(crate) fn holds(&self, term: u32) -> bool {
        self.terms.contains_key(&term)
    }

    /// The rows that hold a term, or stand beside one that does.
    pub(crate) fn rows(&self, term: u32) -> impl Iterator<Item = usize> {
        let parts = self.find(term).0.into_iter().flat_map(List::parts);
        parts.flatten().map(|posting| posting.row as usize)
    }

    /// Whether `row` is one of them.
    pub(crate) fn has(&self, term: u32, row: usize) -> bool {
        self.find(term).0.is_some_and(|list| list.get(row as u32).is_some())
    }
}

fn share_of(ideal: f32) -> f32 {
    if ideal > 0.0 { 1.0 / ideal } else { 0.0 }
}

/// k1·(1 − b), k1·b over the mean length, and k1 + 1.
#[derive(Clone, Copy)]
pub(crate) struct Norm {
    always: f32,
    by_length: f32,
    most: f32,
}

/// idf · tf·(k1+1) / (tf + k1·(1 − b + b·L/L̄)), with tf and the rest below the line in tenths.
#[inline(always)]
#[allow(clippy::inline_always)]
fn weight(posting: Posting, length: u32, norm: Norm, idf: f32) -> f32 {
    let tenths = (posting.count >> 1) as f32;
    idf * (tenths * norm.most / (tenths + (norm.always + norm.by_length * length as f32)))
}

dispatch!(add_weights, add_weights_scalar, (
    postings: &[Posting], lengths: &[u32], norm: Norm, idf: f32, sums: &mut [f32]
) -> ());

/// Cache lines of a list that are fetched before it is read: what follows the processor foresees.
#[cfg(target_arch = "x86_64")]
const FETCHED: usize = 4;

/// Terms looked up together.
const LOOKED_UP: usize = 32;

dispatch!(scale, scale_scalar, (sums: &mut [f32], factor: f32) -> ());

#[inline(always)]
#[allow(clippy::inline_always)]
fn scale_scalar(sums: &mut [f32], factor: f32) {
    for sum in sums {
        *sum *= factor;
    }
}

/// Postings taken together.
const LANES: usize = 32;

#[inline(always)]
#[allow(clippy::inline_always)]
fn add_weights_scalar(postings: &[Posting], lengths: &[u32], norm: Norm, idf: f32, sums: &mut [f32]) {
    let (mut held, mut weights) = ([0; LANES], [0f32; LANES]);
    let (blocks, rest) = postings.as_chunks::<LANES>();
    for block in blocks {
        // Three loops, of which the second is arithmetic alone and runs over wide registers.
        for (held, posting) in held.iter_mut().zip(block) {
            *held = lengths[posting.row as usize];
        }
        for lane in 0..LANES {
            weights[lane] = weight(block[lane], held[lane], norm, idf);
        }
        for (posting, weight) in block.iter().zip(&weights) {
            sums[posting.row as usize] += weight;
        }
    }
    for &posting in rest {
        let row = posting.row as usize;
        sums[row] += weight(posting, lengths[row], norm, idf);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_list_holds_what_was_put_into_it(
            start in 0u32..120, steps in prop::collection::vec((0u8..4, 0u32..120, any::<u32>()), 1..300)
        ) {
            // Blocks of eight, so that lists part and join.
            let mut list = List::One(Posting { row: start, count: 1 });
            let mut model = BTreeMap::from([(start, 1)]);
            for (step, row, count) in steps {
                let known = model.contains_key(&row);
                match step {
                    0 | 1 if !known => {
                        list.insert(Posting { row, count });
                        model.insert(row, count);
                    }
                    2 if known => {
                        list.set(Posting { row, count });
                        model.insert(row, count);
                    }
                    3 if known => {
                        model.remove(&row);
                        prop_assert_eq!(list.remove(row), model.is_empty());
                        if model.is_empty() {
                            break;
                        }
                    }
                    _ => {}
                }
                let held: Vec<(u32, u32)> =
                    list.parts().flatten().map(|posting| (posting.row, posting.count)).collect();
                prop_assert_eq!(&held, &model.iter().map(|(&row, &count)| (row, count)).collect::<Vec<_>>());
                prop_assert_eq!(list.get(row).map(|posting| posting.count), model.get(&row).copied());
            }
        }
    }
}
