//! What a request and a candidate have to do with each other, as numbers.
//!
//! Column by column over the whole set, so that every loop runs over contiguous memory; columns that a scorer does not
//! weigh are left out, and of the candidates it gives they are computed one by one. A feature whose source is absent is
//! 0. Sums over terms are shares of what a candidate that holds every term of the query once, at the weight of its idf,
//! would get: they mean the same in every set.

use super::columns::{Columns, known};
use super::links::{AFTER, BEFORE, LONG_BEFORE};
use super::matrix::{Cosines, Matrix, MatrixScratch, cosines_of_rows};
use super::set::CandidateSet;
use super::terms::{Reader, Terms};
use super::time::Named;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{dispatch, exp_nonpositive};
use crate::sort;

/// Version of this list: scorers are trained for one.
pub const SPEC: &str = "1";

/// Name of every feature, in column order.
pub const FEATURE_NAMES: [&str; FEATURES] = [
    "cosine",
    "cosine_context",
    "cosine_before",
    "words",
    "words_context",
    "words_before",
    "pairs_context",
    "grams_context",
    "group_best",
    "tag_named",
    "time_named",
    "time_asked",
    "question",
    "answers_question",
    "recency",
    "frequency",
    "success",
    "confidence",
    "metadata",
];

/// Number of features.
pub const FEATURES: usize = 19;

/// Place of each feature among the columns, for those that name them.
pub(crate) mod column {
    pub const COSINE: usize = 0;
    pub const COSINE_CONTEXT: usize = 1;
    pub const COSINE_BEFORE: usize = 2;
    pub const WORDS: usize = 3;
    pub const WORDS_CONTEXT: usize = 4;
    pub const WORDS_BEFORE: usize = 5;
    pub const PAIRS_CONTEXT: usize = 6;
    pub const GRAMS_CONTEXT: usize = 7;
    pub const GROUP_BEST: usize = 8;
    pub const TAG_NAMED: usize = 9;
    pub const TIME_NAMED: usize = 10;
    pub const TIME_ASKED: usize = 11;
    pub const QUESTION: usize = 12;
    pub const ANSWERS_QUESTION: usize = 13;
    pub const RECENCY: usize = 14;
    pub const FREQUENCY: usize = 15;
    pub const SUCCESS: usize = 16;
    pub const CONFIDENCE: usize = 17;
    pub const METADATA: usize = 18;
}

/// Days after which recency has fallen to 1/e: λ = 1/30.
pub const RECENCY_DAYS: f32 = 30.0;
/// Days that accesses are counted over.
pub const FREQUENCY_DAYS: f32 = 30.0;
/// A success rate counts as if this many trials had come before, half of them successes.
pub const PRIOR_TRIALS: f32 = 4.0;
const PRIOR_RATE: f32 = 0.5;

/// What is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'a> {
    /// The request's embedding, as wide as the candidates'.
    pub embedding: Option<&'a [f32]>,
    /// The request's text.
    pub text: Option<&'a str>,
    /// Properties the request has, compared with the candidates' own.
    pub metadata: &'a [(&'a str, &'a str)],
    /// Seconds since 1970; without it recency is 0, and accesses count as those of the last 30 days.
    pub now: Option<f64>,
}

/// Some of the features, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FeatureSet(u32);

impl FeatureSet {
    pub(crate) const ALL: Self = Self((1 << FEATURES) - 1);

    pub(crate) fn of(features: impl IntoIterator<Item = usize>) -> Self {
        Self(features.into_iter().fold(0, |bits, feature| bits | 1 << feature))
    }

    pub(crate) fn has(self, feature: usize) -> bool {
        self.0 >> feature & 1 == 1
    }

    fn with(self, feature: usize) -> Self {
        Self(self.0 | 1 << feature)
    }
}

/// Buffers features are computed in, and the features.
#[allow(clippy::struct_excessive_bools)] // one a source
#[derive(Debug, Default)]
pub struct CandidateScratch {
    matrix: MatrixScratch,
    reader: Reader,
    /// Of the query, each kind sorted and without repeats.
    terms: Terms,
    named: Named,
    now: f64,
    query_cosines: Option<Cosines>,
    cosines: Vec<f32>,
    /// Cosines by row + 1; in front the 0 of those who are not there.
    near: Vec<f32>,
    /// Days since each candidate was made, NaN where unknown.
    pub(crate) ages: Vec<f32>,
    groups: Vec<f32>,
    /// [`FEATURES`] columns of as many rows as the set has. What is not in `filled` is of an earlier query.
    columns: Vec<f32>,
    rows: usize,
    wanted: FeatureSet,
    /// The columns that were computed; the others of those wanted are 0.
    filled: FeatureSet,
    zeros: Vec<f32>,
    /// Bits of what is known of each row, see [`known`].
    pub(crate) known: Vec<u8>,
    /// What the query gave to compare candidates with.
    pub(crate) has_cosine: bool,
    pub(crate) has_words: bool,
    pub(crate) has_time: bool,
    pub(crate) has_use: bool,
    /// Whether the query has properties to compare.
    pub(crate) has_metadata: bool,
    /// Whether the query's text names a month or a year, and any candidate has words.
    pub(crate) names_date: bool,
}

impl CandidateScratch {
    /// Column `feature` of the features computed last; empty where the scorer did not weigh it.
    #[must_use]
    pub fn column(&self, feature: usize) -> &[f32] {
        match self.known_column(feature) {
            Some(column) => column,
            None if self.wanted.has(feature) => &self.zeros,
            None => &[],
        }
    }

    /// The column, or `None` where all of it is 0.
    pub(crate) fn known_column(&self, feature: usize) -> Option<&[f32]> {
        self.filled.has(feature).then(|| &self.columns[feature * self.rows..][..self.rows])
    }

    /// All columns; what was not wanted is 0.
    pub(crate) fn all_columns(&self) -> [&[f32]; FEATURES] {
        std::array::from_fn(|feature| self.known_column(feature).unwrap_or(&self.zeros))
    }

    /// Rows there are features of.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// A column to be written to in whole, where it is wanted.
    fn fill(&mut self, feature: usize) -> Option<&mut [f32]> {
        if !self.wanted.has(feature) {
            return None;
        }
        self.filled = self.filled.with(feature);
        Some(&mut self.columns[feature * self.rows..][..self.rows])
    }

    fn fill_if(&mut self, known: bool, feature: usize) -> Option<&mut [f32]> {
        if known { self.fill(feature) } else { None }
    }

    fn fill_with(&mut self, feature: usize, value: impl Fn(usize) -> f32) {
        if let Some(column) = self.fill(feature) {
            for (row, cell) in column.iter_mut().enumerate() {
                *cell = value(row);
            }
        }
    }

    fn begin(&mut self, rows: usize, mut wanted: FeatureSet) {
        // What others are computed of.
        for (feature, source) in
            [(column::GROUP_BEST, column::WORDS_CONTEXT), (column::WORDS_BEFORE, column::WORDS)]
        {
            if wanted.has(feature) {
                wanted = wanted.with(source);
            }
        }
        // Takes time only where the query has properties, by the candidates that have them.
        wanted = wanted.with(column::METADATA);
        self.rows = rows;
        (self.wanted, self.filled) = (wanted, FeatureSet::default());
        self.columns.resize(rows * FEATURES, 0.0);
        self.zeros.resize(rows, 0.0);
    }

    /// Computes features of all candidates: the columns `wanted`; the others are left to [`Self::value`].
    ///
    /// Where `coarse` is set, cosines are those of the int8 copy, where the set has one; [`Self::refine`] makes them
    /// exact.
    ///
    /// # Errors
    /// `CandidateInvalid` where the set is stale, the query's embedding does not fit or is not finite, or `now` is not.
    pub(crate) fn compute(
        &mut self,
        set: &CandidateSet,
        query: &Query,
        wanted: FeatureSet,
        coarse: bool,
    ) -> Result<()> {
        if set.is_stale() {
            return Err(Error::new(
                ErrorKind::CandidateInvalid,
                "candidates",
                "stale",
                "refresh the set first",
            ));
        }
        if let Some(now) = query.now.filter(|now| !now.is_finite()) {
            return Err(Error::new(ErrorKind::CandidateInvalid, "now", now, "give seconds since 1970"));
        }
        let columns = set.columns();
        self.begin(set.len(), wanted);
        self.has_cosine = set.matrix().is_some() && query.embedding.is_some();
        self.has_words = query.text.is_some() && columns.any_text();
        self.has_time = query.now.is_some() && columns.any_time();
        self.has_use = columns.any_use();
        self.now = query.now.unwrap_or(f64::NAN);
        self.has_metadata = !query.metadata.is_empty();
        self.known.clear();
        self.known.extend_from_slice(&columns.known);
        if let Some(matrix) = set.matrix() {
            matrix.for_unsound(|row| self.known[row] |= known::UNSOUND);
        }
        self.compute_cosines(set, query, coarse)?;
        self.reader.read(query.text.unwrap_or_default(), &mut self.terms);
        self.named = Named::of(&self.reader);
        self.names_date = self.has_words && self.named.any();
        let Terms { words, pairs, grams } = &mut self.terms;
        for kind in [words, pairs, grams] {
            sort::many::unstable(kind);
            kind.dedup();
        }
        if query.text.is_some() {
            self.lexical(set);
        }
        let questions = &columns.question;
        if let Some(column) = self.fill(column::QUESTION) {
            column.copy_from_slice(questions);
        }
        if let Some(column) = self.fill(column::ANSWERS_QUESTION) {
            column.copy_from_slice(&set.index().after_questions);
        }
        self.usage(columns);
        if let Some(held) = self.fill_if(!query.metadata.is_empty(), column::METADATA) {
            held.fill(0.0);
            for (key, value) in query.metadata {
                columns.properties.each_equal(key, value, |row| held[row] += 1.0);
            }
            let share = 1.0 / query.metadata.len() as f32;
            for count in held {
                *count *= share;
            }
        }
        Ok(())
    }

    /// Computes the cosines anew, and what else is wanted of them.
    ///
    /// # Errors
    /// As [`Self::compute`].
    pub(crate) fn compute_cosines(&mut self, set: &CandidateSet, query: &Query, coarse: bool) -> Result<()> {
        self.query_cosines = None;
        let (matrix, embedding) = match (set.matrix(), query.embedding) {
            (Some(matrix), Some(embedding)) => (matrix, embedding),
            (None, Some(embedding)) => {
                return Err(Error::new(
                    ErrorKind::CandidateInvalid,
                    "query_embedding",
                    format!("{} values", embedding.len()),
                    "the candidates have no embeddings: give text instead",
                ));
            }
            _ => return Ok(()),
        };
        let rows = self.rows;
        let found = matrix.any_cosines(embedding, coarse, &mut self.matrix, &mut self.cosines)?;
        self.query_cosines = Some(found);
        let cosines = std::mem::take(&mut self.cosines);
        if let Some(column) = self.fill(column::COSINE) {
            column.copy_from_slice(&cosines);
        }
        let index = set.index();
        if index.links.any() {
            // A candidate without a neighbour reads the 0 in front; one that is not finite takes no part in its
            // neighbours.
            self.near.clear();
            self.near.push(0.0);
            self.near.extend(cosines.iter().map(|&cosine| finite(cosine)));
            let near = std::mem::take(&mut self.near);
            let around = &index.links.around[..rows];
            if let Some(column) = self.fill(column::COSINE_CONTEXT) {
                let rows = cosines.iter().zip(around).zip(&index.context_norms);
                for (((&cosine, around), &norm), context) in rows.zip(column) {
                    *context = in_context(cosine, around, norm, &near);
                }
            }
            if let Some(column) = self.fill(column::COSINE_BEFORE) {
                for (around, before) in around.iter().zip(column) {
                    *before = near[around[0] as usize];
                }
            }
            self.near = near;
        } else if let Some(column) = self.fill(column::COSINE_CONTEXT) {
            column.copy_from_slice(&cosines);
        }
        self.cosines = cosines;
        Ok(())
    }

    /// Features of candidates that are in no set and of which `columns` has the use alone: see [`super::rows`]. False
    /// where a row or the query is not finite.
    pub(crate) fn compute_rows(
        &mut self,
        embeddings: &[f32],
        query: &[f32],
        columns: &Columns,
        now: f64,
    ) -> bool {
        self.begin(columns.known.len(), FeatureSet::ALL);
        (self.has_cosine, self.has_words) = (true, false);
        (self.has_time, self.has_use) = (columns.any_time(), columns.any_use());
        (self.has_metadata, self.names_date) = (false, false);
        self.now = now;
        self.known.clone_from(&columns.known);
        let mut cosines = std::mem::take(&mut self.cosines);
        let sound = cosines_of_rows(embeddings, query, &mut self.near, &mut cosines);
        // Without neighbours a candidate is its context.
        for feature in [column::COSINE, column::COSINE_CONTEXT] {
            if let Some(column) = self.fill_if(sound, feature) {
                column.copy_from_slice(&cosines);
            }
        }
        self.cosines = cosines;
        self.usage(columns);
        sound
    }

    fn lexical(&mut self, set: &CandidateSet) {
        let (index, columns) = (set.index(), set.columns());
        let (linked, rows) = (index.links.any(), self.rows);
        let terms = std::mem::take(&mut self.terms);
        for (feature, family, terms) in [
            // Without neighbours a candidate is its context.
            (column::WORDS_CONTEXT, &index.words, &terms.words),
            (column::WORDS, &index.own, &terms.words),
            (column::PAIRS_CONTEXT, &index.pairs, &terms.pairs),
            (column::GRAMS_CONTEXT, &index.grams, &terms.grams),
        ] {
            if feature == column::WORDS && !linked && self.filled.has(column::WORDS_CONTEXT) {
                let from = column::WORDS_CONTEXT * rows;
                if self.fill(feature).is_some() {
                    self.columns.copy_within(from..from + rows, feature * rows);
                }
            } else if let Some(sums) = self.fill(feature) {
                family.sum(terms, sums);
            }
        }
        if linked && self.wanted.has(column::GROUP_BEST) && self.filled.has(column::WORDS_CONTEXT) {
            let words = column::WORDS_CONTEXT * rows..(column::WORDS_CONTEXT + 1) * rows;
            let mut groups = std::mem::take(&mut self.groups);
            groups.clear();
            groups.resize(index.links.group_count(), 0.0);
            for (&group, &value) in index.links.group.iter().zip(&self.columns[words.clone()]) {
                if let Some(best) = groups.get_mut(group as usize) {
                    *best = best.max(value);
                }
            }
            for (row, &group) in index.links.group.iter().enumerate() {
                let best = groups.get(group as usize).copied();
                self.columns[column::GROUP_BEST * rows + row] =
                    best.unwrap_or(self.columns[words.start + row]);
            }
            self.filled = self.filled.with(column::GROUP_BEST);
            self.groups = groups;
        }
        if linked && self.wanted.has(column::WORDS_BEFORE) && self.filled.has(column::WORDS) {
            for row in 0..rows {
                let before = index.links.before(row);
                self.columns[column::WORDS_BEFORE * rows + row] =
                    before.map_or(0.0, |before| self.columns[column::WORDS * rows + before]);
            }
            self.filled = self.filled.with(column::WORDS_BEFORE);
        }
        if terms.words.iter().any(|&word| index.tags.holds(word))
            && let Some(column) = self.fill(column::TAG_NAMED)
        {
            column.fill(0.0);
            for &word in &terms.words {
                for row in index.tags.rows(word) {
                    column[row] = 1.0;
                }
            }
        }
        let named = self.named;
        if named.asks_when {
            self.fill_with(column::TIME_ASKED, |row| f32::from(u8::from(columns.speaks_of_time[row])));
        }
        if named.any() {
            self.fill_with(column::TIME_NAMED, |row| named.share(columns.date[row]));
        }
        self.terms = terms;
    }

    fn usage(&mut self, columns: &Columns) {
        let mut ages = std::mem::take(&mut self.ages);
        ages.clear();
        if self.has_time || self.has_use {
            let now = self.now;
            ages.extend(columns.created_at.iter().map(|&created| age(now, created)));
        }
        if let Some(column) = self.fill_if(self.has_time, column::RECENCY) {
            recencies(&ages, column);
        }
        if let Some(column) = self.fill_if(self.has_use, column::FREQUENCY) {
            for (value, (&count, &age)) in column.iter_mut().zip(columns.access_count.iter().zip(&ages)) {
                *value = frequency(count, age);
            }
        }
        if let Some(column) = self.fill_if(self.has_use, column::SUCCESS) {
            let rates = columns.success_rate.iter().zip(&columns.trials);
            for (value, (&rate, &trials)) in column.iter_mut().zip(rates) {
                *value = success(rate, trials);
            }
        }
        if let Some(column) = self.fill_if(self.has_use, column::CONFIDENCE) {
            for (value, &confidence) in column.iter_mut().zip(&columns.confidence) {
                *value = finite(confidence);
            }
        }
        self.ages = ages;
    }

    /// A feature of one row, whether or not its column was computed, with the bits it would have there.
    pub(crate) fn value(&self, set: &CandidateSet, feature: usize, row: usize) -> f32 {
        if let Some(column) = self.known_column(feature) {
            return column[row];
        }
        if self.wanted.has(feature) {
            return 0.0;
        }
        let (columns, index) = (set.columns(), set.index());
        let links = &index.links;
        let flag = |flag: bool| f32::from(u8::from(flag));
        match feature {
            column::COSINE if self.has_cosine => self.cosines[row],
            column::COSINE_CONTEXT if self.has_cosine => self.context_cosine(set, row),
            column::COSINE_BEFORE if self.has_cosine && links.any() => {
                self.near[links.around[row][0] as usize]
            }
            column::WORDS if !links.any() => self.value(set, column::WORDS_CONTEXT, row),
            column::WORDS => index.own.share(&self.terms.words, row),
            column::WORDS_CONTEXT => index.words.share(&self.terms.words, row),
            column::WORDS_BEFORE => links.before(row).map_or(0.0, |row| self.value(set, column::WORDS, row)),
            column::PAIRS_CONTEXT => index.pairs.share(&self.terms.pairs, row),
            column::GRAMS_CONTEXT => index.grams.share(&self.terms.grams, row),
            column::GROUP_BEST if links.any() => {
                let words = |row: usize| self.value(set, column::WORDS_CONTEXT, row);
                let group = links.members(row).iter().map(|&other| words(other as usize)).reduce(f32::max);
                group.unwrap_or_else(|| words(row))
            }
            column::TAG_NAMED => flag(self.terms.words.iter().any(|&word| index.tags.has(word, row))),
            column::TIME_NAMED => self.named.share(columns.date[row]),
            column::TIME_ASKED => flag(self.named.asks_when && columns.speaks_of_time[row]),
            column::QUESTION => columns.question[row],
            column::ANSWERS_QUESTION => index.after_questions[row],
            column::RECENCY if self.has_time => recency(age(self.now, columns.created_at[row])),
            column::FREQUENCY => frequency(columns.access_count[row], age(self.now, columns.created_at[row])),
            column::SUCCESS => success(columns.success_rate[row], columns.trials[row]),
            column::CONFIDENCE => finite(columns.confidence[row]),
            _ => 0.0,
        }
    }

    fn context_cosine(&self, set: &CandidateSet, row: usize) -> f32 {
        let index = set.index();
        if index.links.any() {
            in_context(self.cosines[row], &index.links.around[row], index.context_norms[row], &self.near)
        } else {
            self.cosines[row]
        }
    }

    /// How far the score of a row may be off while its cosines are those of the int8 copy: `slopes` are how much a
    /// score changes at most with each of the three cosines. `None` where they are exact.
    pub(crate) fn slack<'a>(&'a self, set: &'a CandidateSet, slopes: [f32; 3]) -> Option<Slack<'a>> {
        let cosines = self.query_cosines.filter(|cosines| !cosines.is_exact())?;
        let matrix = set.matrix()?;
        let [own, context, before] = slopes;
        let index = set.index();
        let largest =
            if index.links.any() { (1.0 + BEFORE + LONG_BEFORE + AFTER) * index.largest_norm } else { 1.0 };
        let worst = (own + context * largest + before) * matrix.largest_error(cosines) + ROUNDING;
        Some(Slack { set, matrix, cosines, slopes, worst })
    }

    /// Makes the cosines of some rows exact, and computes them where they are wanted.
    pub(crate) fn refine(&mut self, set: &CandidateSet, query: &Query, rows: &[u32]) {
        let (Some(matrix), Some(embedding)) = (set.matrix(), query.embedding) else { return };
        let Some(found) = self.query_cosines else { return };
        let links = &set.index().links;
        for &row in rows {
            self.cosines[row as usize] = matrix.exact_cosine(row as usize, embedding, found);
            if links.any() {
                self.near[row as usize + 1] = finite(self.cosines[row as usize]);
                for &other in links.around[row as usize].iter().filter(|&&other| other != 0) {
                    self.near[other as usize] =
                        finite(matrix.exact_cosine(other as usize - 1, embedding, found));
                }
            }
        }
        let count = self.rows;
        for &row in rows {
            let row = row as usize;
            let values = [
                (column::COSINE, self.cosines[row]),
                (column::COSINE_CONTEXT, self.context_cosine(set, row)),
                (
                    column::COSINE_BEFORE,
                    if links.any() { self.near[links.around[row][0] as usize] } else { 0.0 },
                ),
            ];
            for (feature, value) in values {
                if self.filled.has(feature) {
                    self.columns[feature * count + row] = value;
                }
            }
        }
    }

    /// The features of some rows alone, as if there were no others.
    pub(crate) fn copy_rows(&mut self, from: &Self, rows: &[u32]) {
        self.begin(rows.len(), from.wanted);
        for feature in 0..FEATURES {
            if let Some(values) = from.known_column(feature) {
                self.fill_with(feature, |place| values[rows[place] as usize]);
            }
        }
        self.known.clear();
        self.known.extend(rows.iter().map(|&row| from.known[row as usize]));
        self.ages.clear();
        if !from.ages.is_empty() {
            self.ages.extend(rows.iter().map(|&row| from.ages[row as usize]));
        }
        (self.has_cosine, self.has_words) = (from.has_cosine, from.has_words);
        (self.has_time, self.has_use) = (from.has_time, from.has_use);
        (self.has_metadata, self.names_date) = (from.has_metadata, from.names_date);
    }
}

/// What rounding takes from a score at most, beside what int8 takes from its cosines.
const ROUNDING: f32 = 1e-5;

/// How far scores may be off while their cosines are those of the int8 copy.
pub(crate) struct Slack<'a> {
    set: &'a CandidateSet,
    matrix: &'a Matrix,
    cosines: Cosines,
    slopes: [f32; 3],
    /// No row's is larger.
    pub worst: f32,
}

impl Slack<'_> {
    pub(crate) fn of(&self, row: usize) -> f32 {
        let [own, context, before] = self.slopes;
        let error = |row: usize| self.matrix.error(row, self.cosines);
        let index = self.set.index();
        if !index.links.any() {
            return (own + context) * error(row) + ROUNDING;
        }
        let around: f32 =
            index.links.context_of(row as u32).map(|(other, weight)| weight * error(other as usize)).sum();
        let previous = index.links.before(row).map_or(0.0, error);
        own * error(row) + context * around * index.context_norms[row] + before * previous + ROUNDING
    }
}

/// NaN, which stands for what is not known or not finite, as 0: by one comparison, which keeps loops free of branches.
fn finite(value: f32) -> f32 {
    if value.is_nan() { 0.0 } else { value }
}

/// Cosine of a row with its context.
fn in_context(cosine: f32, around: &[u32; 3], norm: f32, near: &[f32]) -> f32 {
    let [previous, earlier, next] = around.map(|other| near[other as usize]);
    (cosine + BEFORE * previous + LONG_BEFORE * earlier + AFTER * next) * norm
}

/// Days since `created`. Made later than now: clocks differ, it is new. Unknown stays NaN.
fn age(now: f64, created: f64) -> f32 {
    let age = ((now - created) / 86_400.0) as f32;
    if age < 0.0 { 0.0 } else { age }
}

dispatch!(recencies, recencies_scalar, (ages: &[f32], out: &mut [f32]) -> ());

#[inline(always)]
#[allow(clippy::inline_always)]
fn recencies_scalar(ages: &[f32], out: &mut [f32]) {
    for (value, &age) in out.iter_mut().zip(ages) {
        *value = recency(age);
    }
}

#[inline(always)]
#[allow(clippy::inline_always)]
fn recency(age: f32) -> f32 {
    let recency = exp_nonpositive(finite(age) * (-1.0 / RECENCY_DAYS));
    if age.is_nan() { 0.0 } else { recency }
}

/// Accesses a day over the window, or over the candidate's age where that is shorter, as rate / (1 + rate).
fn frequency(count: f32, age: f32) -> f32 {
    let days = if age < FREQUENCY_DAYS { age.max(1.0) } else { FREQUENCY_DAYS };
    let rate = finite(count) / days;
    rate / (1.0 + rate)
}

fn success(rate: f32, trials: f32) -> f32 {
    let trials = finite(trials);
    let smooth = (finite(rate) * trials + PRIOR_RATE * PRIOR_TRIALS) / (trials + PRIOR_TRIALS);
    if rate.is_nan() { 0.0 } else { smooth }
}
