//! The combination that needs no training: relevance, times how much its use speaks for a candidate.

use super::features::{CandidateScratch, RECENCY_DAYS, column};
use super::links::NONE;
use super::set::CandidateSet;

/// What the use of a candidate weighs beside its relevance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Combination {
    /// Use breaks ties: it moves a score by at most 3 % a part. So chosen on conversations, tools and utterances with
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
            Self::Measured => [0.91, 0.03, 0.03, 0.03],
            Self::Documented => [0.40, 0.25, 0.20, 0.15],
        }
    }

    /// How fresh a candidate of this age in days is, from 1 to 0.
    fn freshness(self, age: f32, recency: f32) -> f32 {
        match self {
            // An exponential is 0 for everything that is years old: of two old facts the newer would not win.
            Self::Measured => RECENCY_DAYS / (RECENCY_DAYS + age),
            Self::Documented => recency,
        }
    }

    /// Scores of all candidates from their features.
    ///
    /// A candidate that has nothing to do with the query scores 0 however recent it is. Parts that are unknown of a
    /// candidate drop out and the other weights grow to fill up.
    pub(super) fn score(self, set: &CandidateSet, scratch: &CandidateScratch, out: &mut Vec<f32>) {
        out.clear();
        if scratch.has_cosine || scratch.has_words {
            relevance(set, scratch, out);
        } else {
            out.resize(set.len(), 1.0);
        }
        let columns = set.columns();
        let [whole, recency, confidence, context] = self.weights();
        let of = |feature: usize| scratch.column(feature);
        let (recent, sure, tried) = (of(column::RECENCY), of(column::CONFIDENCE), of(column::SUCCESS));
        let (used, agreeing) = (of(column::FREQUENCY), of(column::METADATA));
        let agreement = if scratch.has_metadata { 1.0 } else { 0.0 };
        if !(scratch.has_time || columns.any_use() || scratch.has_metadata) {
            return;
        }
        for (row, score) in out.iter_mut().enumerate() {
            let known = |value: f32| if value.is_nan() { 0.0 } else { 1.0 };
            let age = scratch.ages[row];
            let dated = if scratch.has_time { known(age) } else { 0.0 };
            let fresh = if dated > 0.0 { self.freshness(age, recent[row]) } else { 0.0 };
            let (has_confidence, has_success) =
                (known(columns.confidence[row]), known(columns.success_rate[row]));
            let has_use = known(columns.access_count[row]);
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

/// The relevance of every candidate, in [0, 1].
fn relevance(set: &CandidateSet, scratch: &CandidateScratch, out: &mut Vec<f32>) {
    let of = |feature: usize| scratch.column(feature);
    let cosine = if scratch.has_cosine { COSINE } else { 0.0 };
    let words: f32 = if scratch.has_words { LEXICAL.iter().map(|(_, weight)| weight).sum() } else { 0.0 };
    let scale = 1.0 / (cosine + words);
    let cosines = of(column::COSINE_CONTEXT);
    // max(0) would swallow the NaN of a candidate that is not to be ranked.
    out.extend(cosines.iter().map(|&value| if value < 0.0 { 0.0 } else { value * (cosine * scale) }));
    if scratch.has_words {
        let lexical = LEXICAL.map(|(feature, weight)| (feature, weight * scale));
        for (feature, weight) in lexical.into_iter().chain(NAMED) {
            for (score, value) in out.iter_mut().zip(of(feature)) {
                *score += weight * value;
            }
        }
    }
    for score in out.iter_mut() {
        *score = score.clamp(0.0, 1.0);
    }
    if scratch.names_date {
        let groups = &set.index().links.group;
        for ((score, &agrees), &group) in out.iter_mut().zip(of(column::TIME_NAMED)).zip(groups) {
            let then = if agrees < 1.0 { 0.0 } else { 1.0 };
            let more = if group == NONE { FILED_THEN } else { SAID_THEN };
            *score = (*score * (1.0 + more * then) + THEN * then) / (1.0 + SAID_THEN + THEN);
        }
    }
}
