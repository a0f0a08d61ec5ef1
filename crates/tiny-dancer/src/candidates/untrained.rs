//! The combination that needs no training: relevance, times how much its use speaks for a candidate.

use super::columns::known;
use super::features::{CandidateScratch, FEATURES, FeatureSet, RECENCY_DAYS, column};
use crate::kernels::dispatch;

/// What the use of a candidate weighs beside its relevance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Combination {
    /// Use breaks ties: it moves a score by at most 2 % a part. So chosen on conversations, tools and utterances with
    /// times and use that say much, little, or the wrong thing (`benchmarks/quality/bench_untrained.py`).
    #[default]
    Measured,
    /// Use decides: .40 relevance, .25 recency, .20 confidence and success, .15 frequency and metadata. A fresh or
    /// popular candidate outranks one up to 2.5 times as relevant.
    Documented,
}

impl Combination {
    /// Weights of relevance itself, of recency, of confidence (the maker's and that from success), of frequency of use
    /// and agreement of metadata.
    #[must_use]
    pub const fn weights(self) -> [f32; 4] {
        match self {
            Self::Measured => [0.94, 0.02, 0.02, 0.02],
            Self::Documented => [0.40, 0.25, 0.20, 0.15],
        }
    }

    /// The features that scores depend on. Freshness, where it is not recency, is of the candidates' ages.
    pub(super) fn weighed(self) -> FeatureSet {
        let of_relevance = [(column::COSINE_CONTEXT, COSINE), (column::TIME_NAMED, SAID_THEN)];
        let of_relevance = of_relevance.into_iter().chain(LEXICAL).chain(NAMED).map(|(feature, _)| feature);
        let of_use = [column::CONFIDENCE, column::SUCCESS, column::FREQUENCY, column::METADATA];
        let recency = (self == Self::Documented).then_some(column::RECENCY);
        FeatureSet::of(of_relevance.chain(of_use).chain(recency))
    }

    /// Scores of all candidates from their features.
    ///
    /// A candidate that has nothing to do with the query scores 0 however recent it is. Parts that are unknown of a
    /// candidate drop out and the other weights grow to fill up.
    pub(super) fn score(self, scratch: &CandidateScratch, out: &mut Vec<f32>) {
        out.clear();
        if scratch.has_cosine || scratch.has_words {
            relevance(scratch, out);
        } else {
            out.resize(scratch.rows(), 1.0);
        }
        if scratch.has_time || scratch.has_use || scratch.has_metadata {
            let columns = scratch.all_columns();
            // An exponential is 0 for everything that is years old: of two old facts the newer would not win.
            let ages = (self == Self::Measured && scratch.has_time).then_some(&scratch.ages[..]);
            let recency = if scratch.has_time { known::CREATED } else { 0 };
            let agreement = if scratch.has_metadata { 1.0 } else { 0.0 };
            weigh_use(self.weights(), &columns, ages, &scratch.known, recency, agreement, out);
        }
    }
}

dispatch!(
    /// Multiplies every score by how much its use speaks for a candidate. Fresh is what is recent, or, where `ages` are
    /// given, what has few days; known of those with the bit `dated`.
    weigh_use, weigh_use_scalar, (
        weights: [f32; 4], columns: &[&[f32]; FEATURES], ages: Option<&[f32]>, known: &[u8], dated: u8,
        agreement: f32, scores: &mut [f32]
    ) -> ()
);

#[inline(always)]
#[allow(clippy::inline_always)]
fn weigh_use_scalar(
    weights: [f32; 4],
    columns: &[&[f32]; FEATURES],
    ages: Option<&[f32]>,
    known: &[u8],
    dated: u8,
    agreement: f32,
    scores: &mut [f32],
) {
    let [whole, recency, confidence, context] = weights;
    let rows = scores.len();
    let known = &known[..rows];
    let of = |feature: usize| &columns[feature][..rows];
    let (sure, tried) = (of(column::CONFIDENCE), of(column::SUCCESS));
    let (used, agreeing) = (of(column::FREQUENCY), of(column::METADATA));
    let recent = ages.map_or_else(|| of(column::RECENCY), |ages| &ages[..rows]);
    let by_age = ages.is_some();
    for (row, score) in scores.iter_mut().enumerate() {
        let has = |bit: u8| if known[row] & bit == 0 { 0.0 } else { 1.0 };
        let dated: f32 = has(dated);
        let fresh = if by_age { RECENCY_DAYS / (RECENCY_DAYS + recent[row]) } else { recent[row] };
        // The age of what has no date is NaN.
        let fresh = if dated > 0.0 { fresh } else { 0.0 };
        let (has_confidence, has_success) = (has(known::CONFIDENCE), has(known::SUCCESS));
        let has_use: f32 = has(known::USE);
        // Two sources of one weight share it.
        let confidence = confidence / f32::max(has_confidence + has_success, 1.0);
        let context = context / f32::max(has_use + agreement, 1.0);
        // An unknown source's value is 0 as well: only its weight has to go.
        let sum = whole
            + recency * fresh
            + confidence * (sure[row] + tried[row])
            + context * (used[row] + agreeing[row]);
        let total = whole
            + recency * dated
            + confidence * (has_confidence + has_success)
            + context * (has_use + agreement);
        *score *= sum / total;
    }
}

/// Weights of what a query gives to compare, which are made to add up to 1: cosine, words, character grams, pairs of
/// words.
const COSINE: f32 = 0.30;
const LEXICAL: [(usize, f32); 3] =
    [(column::WORDS_CONTEXT, 0.25), (column::GRAMS_CONTEXT, 0.25), (column::PAIRS_CONTEXT, 0.20)];
/// What a question names moves relevance by this: a tag, a time, an answer's place.
const NAMED: [(usize, f32); 4] = [
    (column::TAG_NAMED, 0.25 / 4.0),
    (column::TIME_ASKED, 0.25 / 4.0),
    (column::ANSWERS_QUESTION, 0.15 / 4.0),
    (column::QUESTION, -0.15 / 4.0),
];

/// A candidate made on the date a question names, in all that it names, is relevant by so much more: a turn of a
/// conversation was said then; a tool or a document was only filed then, and the date is mostly about something else.
const SAID_THEN: f32 = 0.5;
const FILED_THEN: f32 = 0.1;
/// And by so much where nothing else tells candidates apart.
const THEN: f32 = 1e-3;

/// Makes the weights of what the query gives to compare add up to 1.
fn scale(has_cosine: bool, has_words: bool) -> f32 {
    let cosine = if has_cosine { COSINE } else { 0.0 };
    let words: f32 = if has_words { LEXICAL.iter().map(|(_, weight)| weight).sum() } else { 0.0 };
    1.0 / (cosine + words)
}

/// How much a score changes at most with the cosine of a candidate in its context: that much its relevance does, which
/// a date, and how the candidate was used, take from and add nothing to.
pub(super) fn slope(has_words: bool) -> f32 {
    COSINE * scale(true, has_words)
}

/// From here on relevance comes closer to 1 without reaching it: of texts that all say more than was asked for, the one
/// that says it best still stands first.
const KNEE: f32 = 0.95;

/// Into [0, 1), in order; its slope is 1 up to the knee and less beyond. NaN stays.
fn bounded(relevance: f32) -> f32 {
    if relevance > KNEE {
        1.0 - (1.0 - KNEE) * (1.0 - KNEE) / (relevance - KNEE + (1.0 - KNEE))
    } else if relevance < 0.0 {
        0.0
    } else {
        relevance
    }
}

/// The relevance of every candidate, in [0, 1).
fn relevance(scratch: &CandidateScratch, out: &mut Vec<f32>) {
    let scale = scale(scratch.has_cosine, scratch.has_words);
    match scratch.known_column(column::COSINE_CONTEXT) {
        // max(0) would swallow the NaN of a candidate that is not to be ranked.
        Some(cosines) => {
            out.extend(cosines.iter().map(|&value| if value < 0.0 { 0.0 } else { value * (COSINE * scale) }));
        }
        None => out.resize(scratch.rows(), 0.0),
    }
    if scratch.has_words {
        let lexical = LEXICAL.map(|(feature, weight)| (feature, weight * scale));
        for (feature, weight) in lexical.into_iter().chain(NAMED) {
            for (score, value) in out.iter_mut().zip(scratch.known_column(feature).unwrap_or_default()) {
                *score += weight * value;
            }
        }
    }
    for score in out.iter_mut() {
        *score = bounded(*score);
    }
    if let (true, Some(named)) = (scratch.names_date, scratch.known_column(column::TIME_NAMED)) {
        for ((score, &agrees), &known) in out.iter_mut().zip(named).zip(&scratch.known) {
            let then = if agrees < 1.0 { 0.0 } else { 1.0 };
            let more = if known & known::GROUP == 0 { FILED_THEN } else { SAID_THEN };
            *score = (*score * (1.0 + more * then) + THEN * then) / (1.0 + SAID_THEN + THEN);
        }
    }
}
