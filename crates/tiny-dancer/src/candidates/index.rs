//! What is computed over the whole set once, so that a query touches only what it shares with a candidate: inverted
//! lists of terms with their BM25 weights, and who follows whom.
//!
//! BM25 (Robertson and Zaragoza 2009): a term t that a candidate i holds `tf` times weighs
//! `idf(t) · tf·(k1+1) / (tf + k1·(1 − b + b·L_i/L̄))`, `idf(t) = ln(1 + (N − df + .5)/(df + .5))`, L the number of
//! terms. A candidate that is part of a conversation is understood from what was said around it: the same weight is
//! computed once more from the term counts of its context, `tf_i + .5·tf_{i−1} + .2·tf_{i−2} + .2·tf_{i+1}` within
//! its group.

use super::columns::Columns;
use super::matrix::Matrix;
use super::terms::Terms;

const K1: f32 = 0.9;
const B: f32 = 0.4;
/// Weights of the turn before, the one before that, and the turn after.
pub(crate) const BEFORE: f32 = 0.5;
pub(crate) const LONG_BEFORE: f32 = 0.2;
pub(crate) const AFTER: f32 = 0.2;
/// No neighbour.
pub(crate) const NONE: u32 = u32::MAX;

/// One candidate in the list of a term.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Posting {
    pub row: u32,
    /// Weight of the term in the candidate itself; 0 where only its context has it.
    pub own: f32,
    /// Weight of the term in the candidate with its context.
    pub context: f32,
}

/// Inverted lists of one kind of term.
#[derive(Debug, Default)]
pub(crate) struct Family {
    /// Open addressing: slot of a term, `NONE` where empty. A power of two, at most half full.
    table: Vec<(u32, u32)>,
    /// Of each slot's postings the first; one more at the end.
    starts: Vec<u32>,
    idf: Vec<f32>,
    postings: Vec<Posting>,
    /// idf of a term no candidate holds.
    unseen: f32,
}

/// Who stands around each row within its group.
#[derive(Debug, Default)]
pub(crate) struct Links {
    pub before: Vec<u32>,
    pub after: Vec<u32>,
}

/// Words of the candidates' properties: few for all of them together, so that a query is compared with each but once.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    /// Each word once, sorted.
    pub terms: Vec<u32>,
    /// Of each row's words the first; one more at the end.
    starts: Vec<u32>,
    /// Places in `terms`.
    places: Vec<u32>,
}

/// Everything computed over the set.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub words: Family,
    pub pairs: Family,
    pub grams: Family,
    pub tags: Tags,
    /// 1 where the candidate is a question, and where the one before it is.
    pub questions: Vec<f32>,
    pub after_questions: Vec<f32>,
    pub links: Links,
    /// Of each row the one before, the one before that and the one after; the number of rows where there is none.
    pub around: Vec<[u32; 3]>,
    /// 1/‖context embedding‖, of unit rows; empty without embeddings.
    pub context_norms: Vec<f32>,
    /// Whether any candidate has a neighbour.
    pub linked: bool,
    /// Group of each row, numbered from 0; rows without a group are their own.
    pub groups: Vec<u32>,
    pub group_count: usize,
}

impl Tags {
    fn build(rows: &[Box<[u32]>]) -> Self {
        let mut tags = Self { terms: rows.concat(), ..Self::default() };
        tags.terms.sort_unstable();
        tags.terms.dedup();
        for row in rows {
            tags.starts.push(tags.places.len() as u32);
            tags.places
                .extend(row.iter().map(|term| tags.terms.partition_point(|other| other < term) as u32));
        }
        tags.starts.push(tags.places.len() as u32);
        tags
    }

    /// The places in `terms` of a row's words.
    pub(crate) fn of(&self, row: usize) -> &[u32] {
        &self.places[self.starts[row] as usize..self.starts[row + 1] as usize]
    }
}

impl Links {
    fn build(columns: &Columns) -> (Self, Vec<u32>, usize) {
        let rows = columns.ids.len();
        let mut sorted: Vec<u32> = (0..rows as u32).collect();
        sorted.sort_unstable_by_key(|&row| (columns.group[row as usize], columns.order[row as usize]));
        let mut links = Self { before: vec![NONE; rows], after: vec![NONE; rows] };
        let mut groups = vec![0; rows];
        let mut count = 0u32;
        for (place, &row) in sorted.iter().enumerate() {
            let group = columns.group[row as usize];
            let previous = place.checked_sub(1).map(|place| sorted[place]);
            match previous.filter(|&previous| group != 0 && columns.group[previous as usize] == group) {
                Some(previous) => {
                    links.before[row as usize] = previous;
                    links.after[previous as usize] = row;
                }
                None => count += 1,
            }
            groups[row as usize] = count - 1;
        }
        (links, groups, count as usize)
    }

    /// The rows `row` is context of, with the weight it has there, itself first.
    fn contexts(&self, row: u32) -> [(u32, f32); 4] {
        weighed(&self.after, &self.before, row)
    }

    /// The rows that make up the context of `row`, with their weights, itself first.
    pub(crate) fn context_of(&self, row: u32) -> [(u32, f32); 4] {
        weighed(&self.before, &self.after, row)
    }
}

/// A row, the two that lie along `links` from it and the one that lies `back`, with their weights.
fn weighed(links: &[u32], back: &[u32], row: u32) -> [(u32, f32); 4] {
    let step = |links: &[u32], row: u32| if row == NONE { NONE } else { links[row as usize] };
    let next = step(links, row);
    [(row, 1.0), (next, BEFORE), (step(links, next), LONG_BEFORE), (step(back, row), AFTER)]
}

impl Family {
    fn build(rows: &[Terms], terms: impl Fn(&Terms) -> &[u32], links: &Links) -> Self {
        let total: usize = rows.iter().map(|row| terms(row).len()).sum();
        let mut family = Self {
            table: vec![(0, NONE); (2 * total.max(1)).next_power_of_two()],
            unseen: (1.0 + (rows.len() as f32 + 0.5) / 0.5).ln(),
            ..Self::default()
        };
        // Occurrences by term: how many rows first, then which and how often.
        let mut counts: Vec<u32> = Vec::new();
        let mut entries: Vec<(u32, u32, f32)> = Vec::with_capacity(total);
        let mut sorted = Vec::new();
        for (row, row_terms) in rows.iter().enumerate() {
            sorted.clear();
            sorted.extend_from_slice(terms(row_terms));
            sorted.sort_unstable();
            for same in sorted.chunk_by(|a, b| a == b) {
                let slot = family.slot_or_new(same[0], counts.len() as u32);
                if slot as usize == counts.len() {
                    counts.push(0);
                }
                counts[slot as usize] += 1;
                entries.push((slot, row as u32, same.len() as f32));
            }
        }
        let mut places: Vec<u32> = Vec::with_capacity(counts.len() + 1);
        let mut sum = 0;
        for &count in &counts {
            places.push(sum);
            sum += count;
        }
        let starts = places.clone();
        let mut by_term = vec![(0u32, 0f32); entries.len()];
        for &(slot, row, tf) in &entries {
            by_term[places[slot as usize] as usize] = (row, tf);
            places[slot as usize] += 1;
        }
        let lengths: Vec<f32> = rows.iter().map(|row| terms(row).len() as f32).collect();
        let contexts: Vec<f32> = (0..rows.len() as u32)
            .map(|row| {
                let around = links.context_of(row).into_iter().filter(|(other, _)| *other != NONE);
                around.map(|(other, weight)| weight * lengths[other as usize]).sum()
            })
            .collect();
        let mean = |lengths: &[f32]| {
            let sum: f64 = lengths.iter().map(|&length| f64::from(length)).sum();
            ((sum / lengths.len().max(1) as f64) as f32).max(1e-9)
        };
        let (mean_length, mean_context) = (mean(&lengths), mean(&contexts));
        let weight =
            |tf: f32, length: f32, mean: f32| tf * (K1 + 1.0) / (tf + K1 * (1.0 - B + B * length / mean));
        let (mut tf_context, mut tf_own) = (vec![0f32; rows.len()], vec![0f32; rows.len()]);
        let mut touched: Vec<u32> = Vec::new();
        for (slot, &count) in counts.iter().enumerate() {
            let held = &by_term[starts[slot] as usize..][..count as usize];
            let document_frequency = count as f32;
            let idf =
                (1.0 + (rows.len() as f32 - document_frequency + 0.5) / (document_frequency + 0.5)).ln();
            for &(row, tf) in held {
                tf_own[row as usize] = tf;
                for (reader, share) in links.contexts(row) {
                    if reader != NONE {
                        if tf_context[reader as usize] == 0.0 {
                            touched.push(reader);
                        }
                        tf_context[reader as usize] += share * tf;
                    }
                }
            }
            touched.sort_unstable();
            family.starts.push(family.postings.len() as u32);
            family.idf.push(idf);
            for row in touched.drain(..) {
                let at = row as usize;
                let (own, context) = (std::mem::take(&mut tf_own[at]), std::mem::take(&mut tf_context[at]));
                family.postings.push(Posting {
                    row,
                    own: idf * weight(own, lengths[at], mean_length),
                    context: idf * weight(context, contexts[at], mean_context),
                });
            }
        }
        family.starts.push(family.postings.len() as u32);
        family.compact(counts.len());
        family
    }

    fn place(&self, term: u32) -> usize {
        let mask = self.table.len() - 1;
        let mut at = term as usize & mask;
        while self.table[at].1 != NONE && self.table[at].0 != term {
            at = (at + 1) & mask;
        }
        at
    }

    fn slot_or_new(&mut self, term: u32, new: u32) -> u32 {
        let at = self.place(term);
        if self.table[at].1 == NONE {
            self.table[at] = (term, new);
        }
        self.table[at].1
    }

    /// The table as large as its terms need: until here it had room for every occurrence.
    fn compact(&mut self, terms: usize) {
        let larger = std::mem::take(&mut self.table);
        self.table = vec![(0, NONE); (2 * terms.max(1)).next_power_of_two()];
        for (term, slot) in larger.into_iter().filter(|(_, slot)| *slot != NONE) {
            self.slot_or_new(term, slot);
        }
    }

    /// The term's idf, and the candidates that hold it or stand beside one that does.
    pub(crate) fn find(&self, term: u32) -> (f32, &[Posting]) {
        if self.table.is_empty() {
            return (self.unseen, &[]);
        }
        match self.table[self.place(term)].1 {
            NONE => (self.unseen, &[]),
            slot => {
                let slot = slot as usize;
                let range = self.starts[slot] as usize..self.starts[slot + 1] as usize;
                (self.idf[slot], &self.postings[range])
            }
        }
    }
}

impl Index {
    pub(crate) fn build(columns: &Columns, matrix: Option<&Matrix>) -> Self {
        let (links, groups, group_count) = Links::build(columns);
        let linked = links.before.iter().any(|&row| row != NONE);
        let context_norms = matrix.map_or_else(Vec::new, |matrix| {
            (0..matrix.len() as u32).map(|row| context_norm(&links, matrix, row)).collect()
        });
        let rows = columns.ids.len();
        let question = |row: u32| f32::from(u8::from(row != NONE && columns.question[row as usize]));
        let around = (0..rows as u32).map(|row| {
            let [_, others @ ..] = links.context_of(row);
            others.map(|(other, _)| if other == NONE { rows as u32 } else { other })
        });
        Self {
            tags: Tags::build(&columns.tags),
            questions: (0..rows as u32).map(question).collect(),
            after_questions: links.before.iter().map(|&before| question(before)).collect(),
            around: around.collect(),
            words: Family::build(&columns.terms, |terms| &terms.words, &links),
            pairs: Family::build(&columns.terms, |terms| &terms.pairs, &links),
            grams: Family::build(&columns.terms, |terms| &terms.grams, &links),
            context_norms,
            linked,
            links,
            groups,
            group_count,
        }
    }
}

/// 1/‖Σ weight · unit row‖ over a row and its context; rows that are not finite take no part.
fn context_norm(links: &Links, matrix: &Matrix, row: u32) -> f32 {
    let around = links.context_of(row).map(|(other, weight)| {
        let counts = other != NONE && matrix.is_sound(other as usize);
        (other, if counts { weight } else { 0.0 })
    });
    let mut square = 0f32;
    for (place, &(a, weight)) in around.iter().enumerate() {
        if weight == 0.0 {
            continue;
        }
        square += weight * weight * matrix.cosine_of_rows(a as usize, a as usize);
        for &(b, other) in around[place + 1..].iter().filter(|(_, other)| *other != 0.0) {
            square += 2.0 * weight * other * matrix.cosine_of_rows(a as usize, b as usize);
        }
    }
    if square > 1e-12 { 1.0 / square.sqrt() } else { 0.0 }
}
