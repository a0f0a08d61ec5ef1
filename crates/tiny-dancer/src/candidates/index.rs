//! What is computed of the candidates beforehand, so that a query touches only what it shares with one: inverted lists
//! of terms, who follows whom, and the lengths of embeddings with their context.
//!
//! BM25 (Robertson and Zaragoza 2009): a term t that a candidate i holds `tf` times weighs
//! `idf(t) · tf·(k1+1) / (tf + k1·(1 − b + b·L_i/L̄))`, `idf(t) = ln(1 + (N − df + .5)/(df + .5))`, L the number of
//! terms. A candidate that is part of a conversation is understood from what was said around it: the same weight is
//! computed once more from the term counts of its context, `tf_i + .5·tf_{i−1} + .2·tf_{i−2} + .2·tf_{i+1}` within
//! its group.
//!
//! A change costs what it changes. Before a row is changed, what the lists hold of it and of each row it is context of
//! is remembered by the row's number; [`Index::refresh`] compares that with what they should hold now.

use std::collections::HashMap;

use super::columns::{Columns, Held};
use super::links::Links;
use super::matrix::Matrix;
use super::postings::{Count, Family};
use crate::sort;

/// Kinds of inverted lists.
const KINDS: usize = 5;

/// Everything computed over the set.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Words of the candidates alone; and words, pairs of them and grams of the candidates with their context.
    pub own: Family,
    pub words: Family,
    pub pairs: Family,
    pub grams: Family,
    /// Words of the candidates' properties.
    pub tags: Family,
    pub links: Links,
    /// 1 where the candidate before is a question.
    pub after_questions: Vec<f32>,
    /// 1/‖context embedding‖, of unit rows; empty without embeddings.
    pub context_norms: Vec<f32>,
    /// No norm is larger.
    pub largest_norm: f32,
    /// What the lists hold of rows that have changed since.
    pending: HashMap<u32, Counts>,
}

type TermsOf = fn(&Held) -> &[u32];

/// What the lists hold of one row.
#[derive(Debug, Default)]
struct Counts {
    of: [Box<[Count]>; KINDS],
    /// In tenths.
    lengths: [u32; KINDS],
}

impl Counts {
    fn of(columns: &Columns, links: &Links, row: u32) -> Self {
        let context = links.context_of(row).map(|(other, weight)| (other, (10.0 * weight) as u32));
        let kinds: [(TermsOf, bool); KINDS] = [
            (Held::words, false),
            (Held::words, true),
            (Held::pairs, true),
            (Held::grams, true),
            (Held::tags, false),
        ];
        let mut counts = Self::default();
        for (kind, (terms, in_context)) in kinds.into_iter().enumerate() {
            let mut found: Vec<Count> = Vec::new();
            for (other, tenths) in context.clone().take(if in_context { usize::MAX } else { 1 }) {
                let terms = terms(&columns.terms[other as usize]);
                counts.lengths[kind] += tenths * terms.len() as u32;
                found.extend(terms.chunk_by(|a, b| a == b).map(|same| Count {
                    term: same[0],
                    count: tenths * same.len() as u32 * 2 + u32::from(other == row),
                }));
            }
            // Runs that are sorted each.
            sort::many::stable_by(&mut found, Count::by_term);
            found.dedup_by(|next, sum| {
                let same = next.term == sum.term;
                if same {
                    sum.count += next.count;
                }
                same
            });
            counts.of[kind] = found.into();
        }
        counts
    }
}

impl Index {
    /// Whether [`Self::refresh`] has to run before it is read.
    pub(crate) fn is_stale(&self) -> bool {
        !self.pending.is_empty()
    }

    fn remember(&mut self, columns: &Columns, row: u32) {
        remember(&mut self.pending, columns, &self.links, row);
    }

    /// To be called before a row's terms, its embedding or its group change.
    pub(crate) fn touch(&mut self, columns: &Columns, row: u32) {
        let Self { pending, links, .. } = self;
        for reader in links.readers(row) {
            remember(pending, columns, links, reader);
        }
    }

    /// A new last row, which `columns` know already, in no group yet.
    pub(crate) fn push(&mut self) {
        self.pending.entry(self.links.group.len() as u32).or_default();
        self.links.push();
    }

    /// Puts a row into a group.
    pub(crate) fn link(&mut self, columns: &Columns, row: u32, group: &str) {
        let Self { pending, links, .. } = self;
        links.link(columns, row, group, |links, other| remember(pending, columns, links, other));
    }

    /// Takes a row out of its group, after [`Self::touch`].
    pub(crate) fn unlink(&mut self, columns: &Columns, row: u32) {
        self.links.unlink(columns, row);
    }

    /// Removes a row; the last takes its place. To be called before the columns do so.
    pub(crate) fn swap_remove(&mut self, columns: &Columns, row: u32) {
        self.touch(columns, row);
        self.links.unlink(columns, row);
        self.remember(columns, columns.ids.len() as u32 - 1);
        self.links.swap_remove(columns, row);
    }

    /// Brings everything up to date with rows that have changed.
    pub(crate) fn refresh(&mut self, columns: &Columns, matrix: Option<&Matrix>) {
        let rows = columns.ids.len();
        let mut pending: Vec<(u32, Counts)> = self.pending.drain().collect();
        // In the order of rows, so that new ones are put at the ends of lists.
        sort::many::unstable_by(&mut pending, |one, two| one.0.cmp(&two.0));
        let Some(most) = pending.last().map(|(row, _)| rows.max(*row as usize + 1)) else { return };
        self.after_questions.resize(rows, 0.0);
        self.context_norms.resize(if matrix.is_some() { rows } else { 0 }, 0.0);
        let families = [&mut self.own, &mut self.words, &mut self.pairs, &mut self.grams, &mut self.tags];
        let mut families = families.map(|family| {
            family.resize(most);
            family
        });
        for (row, old) in pending {
            let mut new = Counts::default();
            if (row as usize) < rows {
                new = Counts::of(columns, &self.links, row);
                let before = self.links.before(row as usize);
                self.after_questions[row as usize] = before.map_or(0.0, |before| columns.question[before]);
                if let Some(matrix) = matrix {
                    let norm = context_norm(&self.links, matrix, row);
                    self.context_norms[row as usize] = norm;
                    self.largest_norm = self.largest_norm.max(norm);
                }
            }
            for (kind, family) in families.iter_mut().enumerate() {
                family.replace(row, &old.of[kind], &new.of[kind], new.lengths[kind]);
            }
        }
        for family in families {
            family.resize(rows);
        }
    }
}

fn remember(pending: &mut HashMap<u32, Counts>, columns: &Columns, links: &Links, row: u32) {
    pending.entry(row).or_insert_with(|| Counts::of(columns, links, row));
}

/// 1/‖Σ weight · unit row‖ over a row and its context; rows that are not finite take no part.
fn context_norm(links: &Links, matrix: &Matrix, row: u32) -> f32 {
    let around = links.context_of(row).filter(|&(other, _)| matrix.is_sound(other as usize));
    let mut square = 0f32;
    let mut rest = around.clone();
    for (a, weight) in around {
        rest.next();
        square += weight * weight * matrix.cosine_of_rows(a as usize, a as usize);
        for (b, other) in rest.clone() {
            square += 2.0 * weight * other * matrix.cosine_of_rows(a as usize, b as usize);
        }
    }
    if square > 1e-12 { 1.0 / square.sqrt() } else { 0.0 }
}
