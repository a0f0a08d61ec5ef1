//! What a request and a candidate have to do with each other, as numbers.
//!
//! Column by column over the whole set, so that every loop runs over contiguous memory. A feature whose source is
//! absent is 0. Sums over terms are shares of what a candidate that holds every term of the query once, at the weight
//! of its idf, would get: they mean the same in every set.

use super::links::{AFTER, BEFORE, LONG_BEFORE};
use super::matrix::MatrixScratch;
use super::postings::{Family, Found};
use super::set::CandidateSet;
use super::terms::{Reader, Terms};
use super::time::Named;
use crate::error::{Error, ErrorKind, Result};

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

/// Buffers features are computed in, and the features.
#[allow(clippy::struct_excessive_bools)] // one a source
#[derive(Debug, Default)]
pub struct CandidateScratch {
    matrix: MatrixScratch,
    reader: Reader,
    terms: Terms,
    cosines: Vec<f32>,
    near: Vec<f32>,
    /// Days since each candidate was made, NaN where unknown.
    pub(crate) ages: Vec<f32>,
    groups: Vec<f32>,
    /// [`FEATURES`] columns of as many rows as the set has.
    pub(crate) columns: Vec<f32>,
    rows: usize,
    /// What the query gave to compare candidates with.
    pub(crate) has_cosine: bool,
    pub(crate) has_words: bool,
    pub(crate) has_time: bool,
    /// Whether the query has properties to compare.
    pub(crate) has_metadata: bool,
    /// Whether the query's text names a month or a year, and any candidate has words.
    pub(crate) names_date: bool,
}

impl CandidateScratch {
    /// Column `feature` of the features computed last.
    #[must_use]
    pub fn column(&self, feature: usize) -> &[f32] {
        &self.columns[feature * self.rows..][..self.rows]
    }
}

/// Computes all features of all candidates.
///
/// # Errors
/// `CandidateInvalid` where the set is stale, the query's embedding does not fit or is not finite, or `now` is not.
pub fn compute(set: &CandidateSet, query: &Query, scratch: &mut CandidateScratch) -> Result<()> {
    if set.is_stale() {
        return Err(Error::new(ErrorKind::CandidateInvalid, "candidates", "stale", "refresh the set first"));
    }
    if let Some(now) = query.now.filter(|now| !now.is_finite()) {
        return Err(Error::new(ErrorKind::CandidateInvalid, "now", now, "give seconds since 1970"));
    }
    let (rows, columns) = (set.len(), set.columns());
    scratch.rows = rows;
    scratch.columns.clear();
    scratch.columns.resize(rows * FEATURES, 0.0);
    scratch.has_cosine = set.matrix().is_some() && query.embedding.is_some();
    scratch.has_words = query.text.is_some() && columns.any_text();
    scratch.has_time = query.now.is_some() && columns.any_time();
    scratch.has_metadata = !query.metadata.is_empty();
    scratch.names_date = false;
    cosines(set, query, scratch)?;
    if let Some(text) = query.text {
        lexical(set, text, scratch);
    }
    scratch.columns[column::QUESTION * rows..][..rows].copy_from_slice(&columns.question);
    scratch.columns[column::ANSWERS_QUESTION * rows..][..rows].copy_from_slice(&set.index().after_questions);
    usage(set, query, scratch);
    if scratch.has_metadata {
        let share = 1.0 / query.metadata.len() as f32;
        let held = &mut scratch.columns[column::METADATA * rows..][..rows];
        for (key, value) in query.metadata {
            columns.properties.each_equal(key, value, |row| held[row] += 1.0);
        }
        for count in held {
            *count *= share;
        }
    }
    Ok(())
}

fn fill(columns: &mut [f32], rows: usize, feature: usize, value: impl Fn(usize) -> f32) {
    for (row, cell) in columns[feature * rows..][..rows].iter_mut().enumerate() {
        *cell = value(row);
    }
}

fn cosines(set: &CandidateSet, query: &Query, scratch: &mut CandidateScratch) -> Result<()> {
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
    let rows = set.len();
    matrix.cosines(embedding, &mut scratch.matrix, &mut scratch.cosines)?;
    let cosines = &scratch.cosines;
    scratch.columns[column::COSINE * rows..][..rows].copy_from_slice(cosines);
    let index = set.index();
    if !index.links.any() {
        scratch.columns[column::COSINE_CONTEXT * rows..][..rows].copy_from_slice(cosines);
        return Ok(());
    }
    // A candidate without a neighbour reads the 0 in front; one that is not finite takes no part in its neighbours.
    let near = &mut scratch.near;
    near.clear();
    near.push(0.0);
    near.extend(cosines.iter().map(|&cosine| if cosine.is_nan() { 0.0 } else { cosine }));
    // The two columns lie next to each other.
    const { assert!(column::COSINE_BEFORE == column::COSINE_CONTEXT + 1) };
    let (context, before) = scratch.columns[column::COSINE_CONTEXT * rows..][..2 * rows].split_at_mut(rows);
    let rows = cosines.iter().zip(&index.links.around).zip(&index.context_norms);
    for (((&cosine, around), norm), (context, before)) in rows.zip(context.iter_mut().zip(before)) {
        let [previous, earlier, next] = around.map(|row| near[row as usize]);
        *context = (cosine + BEFORE * previous + LONG_BEFORE * earlier + AFTER * next) * norm;
        *before = previous;
    }
    Ok(())
}

/// Adds up what `terms` weigh in each row, as shares of what they weigh together.
fn sum_postings(family: &Family, terms: &[u32], sums: &mut [f32]) {
    let norm = family.norm();
    let mut ideal = 0.0;
    for &term in terms {
        let found: Found = family.find(term);
        ideal += found.idf;
        family.add(found, norm, sums);
    }
    let scale = if ideal > 0.0 { 1.0 / ideal } else { 0.0 };
    for sum in sums {
        *sum *= scale;
    }
}

fn lexical(set: &CandidateSet, text: &str, scratch: &mut CandidateScratch) {
    let (rows, index, columns) = (set.len(), set.index(), set.columns());
    let CandidateScratch { reader, terms, columns: features, groups, .. } = scratch;
    reader.read(text, terms);
    let named = Named::of(reader);
    scratch.names_date = scratch.has_words && named.any();
    for kind in [&mut terms.words, &mut terms.pairs, &mut terms.grams] {
        kind.sort_unstable();
        kind.dedup();
    }
    for (feature, family, terms) in [
        (column::WORDS, &index.own, &terms.words),
        (column::WORDS_CONTEXT, &index.words, &terms.words),
        (column::PAIRS_CONTEXT, &index.pairs, &terms.pairs),
        (column::GRAMS_CONTEXT, &index.grams, &terms.grams),
    ] {
        sum_postings(family, terms, &mut features[feature * rows..][..rows]);
    }
    if index.links.any() {
        groups.clear();
        groups.resize(index.links.group_count(), 0.0);
        for (row, &group) in index.links.group.iter().enumerate() {
            if let Some(best) = groups.get_mut(group as usize) {
                *best = best.max(features[column::WORDS_CONTEXT * rows + row]);
            }
        }
        for (row, &group) in index.links.group.iter().enumerate() {
            let own = features[column::WORDS_CONTEXT * rows + row];
            features[column::GROUP_BEST * rows + row] = groups.get(group as usize).copied().unwrap_or(own);
            if let Some(before) = index.links.before(row) {
                features[column::WORDS_BEFORE * rows + row] = features[column::WORDS * rows + before];
            }
        }
    }
    for &term in &terms.words {
        for row in index.tags.find(term).rows() {
            features[column::TAG_NAMED * rows + row] = 1.0;
        }
    }
    if named.asks_when {
        fill(features, rows, column::TIME_ASKED, |row| f32::from(u8::from(columns.speaks_of_time[row])));
    }
    if named.any() {
        fill(features, rows, column::TIME_NAMED, |row| named.share(columns.date[row]));
    }
}

fn usage(set: &CandidateSet, query: &Query, scratch: &mut CandidateScratch) {
    let (rows, columns) = (set.len(), set.columns());
    // Unknown values become 0 by one comparison each, which the loops below keep free of branches.
    let known = |value: f32| if value.is_nan() { 0.0 } else { value };
    let has_time = scratch.has_time;
    let ages = &mut scratch.ages;
    ages.clear();
    let now = query.now.unwrap_or(f64::NAN);
    // Made later than now: clocks differ, it is new. Unknown stays NaN.
    ages.extend(columns.created_at.iter().map(|created| {
        let age = ((now - created) / 86_400.0) as f32;
        if age < 0.0 { 0.0 } else { age }
    }));
    let features = &mut scratch.columns;
    if has_time {
        for (value, &age) in features[column::RECENCY * rows..][..rows].iter_mut().zip(&*ages) {
            let recency = crate::kernels::exp_nonpositive(known(age) * (-1.0 / RECENCY_DAYS));
            *value = if age.is_nan() { 0.0 } else { recency };
        }
    }
    if !columns.any_use() {
        return;
    }
    let counts = columns.access_count.iter().zip(&*ages);
    for (value, (&count, &age)) in features[column::FREQUENCY * rows..][..rows].iter_mut().zip(counts) {
        // Accesses a day over the window, or over the candidate's age where that is shorter, as rate / (1 + rate).
        let days = if age < FREQUENCY_DAYS { age.max(1.0) } else { FREQUENCY_DAYS };
        let rate = known(count) / days;
        *value = rate / (1.0 + rate);
    }
    let rates = columns.success_rate.iter().zip(&columns.trials);
    for (value, (&rate, &trials)) in features[column::SUCCESS * rows..][..rows].iter_mut().zip(rates) {
        let trials = known(trials);
        let smooth = (known(rate) * trials + PRIOR_RATE * PRIOR_TRIALS) / (trials + PRIOR_TRIALS);
        *value = if rate.is_nan() { 0.0 } else { smooth };
    }
    let confidences = features[column::CONFIDENCE * rows..][..rows].iter_mut().zip(&columns.confidence);
    for (value, &confidence) in confidences {
        *value = known(confidence);
    }
}
