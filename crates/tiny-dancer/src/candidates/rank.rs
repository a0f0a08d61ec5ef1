//! Scores → the candidates worth passing on, each with what can be said of it.

use super::features::{CandidateScratch, FEATURES, Query, compute};
use super::filter::{Filter, FilterScratch};
use super::matrix::MatrixScratch;
use super::properties::each_of;
use super::scorer::{CandidateScorer, ScorerScratch};
use super::set::CandidateSet;
use super::top::first_k;
use crate::error::{Error, ErrorKind, Result};

/// What a caller asks beyond the query.
#[derive(Clone, Copy, Debug)]
pub struct RankOptions<'a> {
    /// Most candidates to give.
    pub k: usize,
    /// Maximal marginal relevance (Carbonell and Goldstein 1998): 0 ranks by score alone, 1 by being different from
    /// what was already taken. A cosine below 0 counts as 0: opposite is no better than unrelated.
    pub diversity: f32,
    /// Least confidence for a light model.
    pub confidence_threshold: f32,
    /// Largest uncertainty for a light model.
    pub max_uncertainty: f32,
    /// Which candidates may be given; all where it is `None`. The others take no part: they are in no answer, no
    /// prediction set, no list of what is unsound, and not in the list that a confidence is a share of.
    pub filter: Option<&'a Filter>,
}

impl Default for RankOptions<'_> {
    fn default() -> Self {
        Self { k: 5, diversity: 0.0, confidence_threshold: 0.85, max_uncertainty: 0.15, filter: None }
    }
}

/// One candidate of the answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Its row in the set.
    pub row: u32,
    /// What it was ranked by.
    pub score: f32,
    /// Calibrated probability that it is relevant; the score where nothing was calibrated.
    pub confidence: f32,
    /// Smallest α at which its prediction set is a single answer; 1 where nothing was calibrated.
    pub uncertainty: f32,
    /// Confident and certain enough for a light model. Never where nothing was calibrated.
    pub use_lightweight: bool,
    /// Whether it belongs to the prediction set of the whole answer.
    pub in_prediction_set: bool,
    /// Its features, in the order of `FEATURE_NAMES`.
    pub features: [f32; FEATURES],
}

/// What maximal marginal relevance works in, one value a row.
#[derive(Debug, Default)]
struct DiversityScratch {
    matrix: MatrixScratch,
    taken: Vec<u32>,
    relevance: Vec<f32>,
    /// Largest cosine with what was taken, not below 0.
    nearest: Vec<f32>,
    cosines: Vec<f32>,
}

/// Buffers of one thread, and the answer.
#[derive(Debug, Default)]
pub struct RankScratch {
    features: CandidateScratch,
    scorer: ScorerScratch,
    scores: Vec<f32>,
    filter: FilterScratch,
    /// Scores of those that take part, where a filter says which.
    listed: Vec<f32>,
    order: Vec<u32>,
    diversity: DiversityScratch,
    /// The answer, best first.
    pub ranked: Vec<Ranked>,
    /// Rows kept out because their embedding is not finite.
    pub unsound: Vec<u32>,
    /// Candidates in the prediction set, where it was calibrated for such candidates.
    pub prediction_set: Option<usize>,
    /// Whether the candidates are like those the scorer was made with; if not, the measured combination without
    /// training ranked them, and nothing about them is calibrated.
    pub alike: bool,
}

impl RankScratch {
    /// Scores of all candidates of the last call, by row.
    #[must_use]
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// Features of the last call.
    #[must_use]
    pub fn features(&self) -> &CandidateScratch {
        &self.features
    }
}

fn option(field: &str, value: impl std::fmt::Display, remedy: &str) -> Error {
    Error::new(ErrorKind::OptionInvalid, field, value, remedy)
}

impl RankOptions<'_> {
    fn check(&self, set: &CandidateSet) -> Result<()> {
        if self.k == 0 {
            return Err(option("k", 0, "ask for at least one candidate"));
        }
        for (field, value) in [
            ("diversity", self.diversity),
            ("confidence_threshold", self.confidence_threshold),
            ("max_uncertainty", self.max_uncertainty),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(option(field, value, "give a number from 0 to 1"));
            }
        }
        if self.diversity > 0.0 && set.matrix().is_none() {
            let remedy = "these candidates have no embeddings to differ in: leave it 0";
            return Err(option("diversity", self.diversity, remedy));
        }
        Ok(())
    }
}

impl CandidateScorer {
    /// Ranks the candidates of `set` for `query`; the answer is left in `scratch`.
    ///
    /// Equal scores are ordered by id. An empty set gives an empty answer, and a `k` beyond the number of candidates
    /// gives them all. A candidate whose embedding is not finite takes no part and is listed in `unsound`. One that expired
    /// by the query's `now` takes no part; until it is removed it goes on counting as its neighbours' context.
    ///
    /// # Errors
    /// `CandidateInvalid` for a query that does not fit the set, `OptionInvalid` for an option outside its range.
    pub fn rank(
        &self,
        set: &CandidateSet,
        query: &Query,
        options: &RankOptions,
        scratch: &mut RankScratch,
    ) -> Result<()> {
        options.check(set)?;
        compute(set, query, &mut scratch.features)?;
        scratch.alike = self.score(set, &scratch.features, &mut scratch.scorer, &mut scratch.scores);
        let alike = scratch.alike;
        let RankScratch {
            features,
            scores,
            filter,
            listed,
            order,
            diversity,
            ranked,
            unsound,
            prediction_set,
            ..
        } = scratch;
        order.clear();
        unsound.clear();
        let columns = set.columns();
        let now = query.now.filter(|&now| columns.any_expired(now));
        let mut take = |row: u32| {
            if scores[row as usize].is_nan() {
                unsound.push(row);
            } else if now.is_none_or(|now| !columns.expired(row as usize, now)) {
                order.push(row);
            }
        };
        // What is said of an answer is said of those that take part.
        let taking_part: &[f32] = if let Some(asked) = options.filter {
            asked.evaluate(set, filter);
            each_of(&filter.passing, take);
            listed.clear();
            listed.extend(order.iter().map(|&row| scores[row as usize]));
            listed
        } else {
            (0..scores.len() as u32).for_each(&mut take);
            scores
        };
        let shift = self.shift(taking_part);
        let ids = set.ids();
        let better = |a: &u32, b: &u32| {
            let (left, right) = (*a as usize, *b as usize);
            scores[right].total_cmp(&scores[left]).then_with(|| ids[left].cmp(&ids[right]))
        };
        // From which score on a candidate belongs to the prediction set.
        let mut floor = f32::INFINITY;
        *prediction_set = self.prediction().filter(|_| alike).map(|kept| {
            // No candidate ranked below e^margin can be kept, however close its score.
            let most = kept.margin.map_or(kept.size.unwrap_or(1) as usize, |margin| margin.exp() as usize);
            let most = most.clamp(1, order.len().max(1)).min(order.len());
            if most == 0 {
                return 0;
            }
            order.select_nth_unstable_by(most - 1, better);
            let mut size = most;
            if let Some(margin) = kept.margin {
                order[..most].sort_unstable_by(better);
                let (best, deviation) = (scores[order[0] as usize], deviation(taking_part));
                let strange = |place: usize| {
                    let below = best - scores[order[place] as usize];
                    let below = if below > 0.0 { below / deviation } else { 0.0 };
                    below + ((place + 1) as f32).ln()
                };
                size = (1..most).find(|&place| strange(place) > margin).unwrap_or(most);
            }
            floor = scores[order[size - 1] as usize];
            size
        });
        if options.diversity > 0.0 {
            let worth = |score: f32| if alike { self.confidence(score - shift) } else { score };
            diversify(set, options, worth, scores, order, diversity);
        } else {
            first_k(order, options.k, better);
        }
        ranked.clear();
        for &row in order.iter() {
            let score = scores[row as usize];
            let (confidence, uncertainty) = if alike {
                (self.confidence(score - shift), self.uncertainty(score - shift))
            } else {
                (score, 1.0)
            };
            let sure = confidence >= options.confidence_threshold && uncertainty <= options.max_uncertainty;
            let mut own = [0.0; FEATURES];
            for (feature, value) in own.iter_mut().enumerate() {
                *value = features.column(feature)[row as usize];
            }
            ranked.push(Ranked {
                row,
                score,
                confidence,
                uncertainty,
                use_lightweight: sure && alike && self.is_calibrated(),
                in_prediction_set: score >= floor,
                features: own,
            });
        }
        Ok(())
    }
}

/// Standard deviation of the scores that are numbers; 0 of none.
fn deviation(scores: &[f32]) -> f32 {
    let known = || scores.iter().filter(|score| !score.is_nan()).map(|&score| f64::from(score));
    let count = known().count().max(1) as f64;
    let mean = known().sum::<f64>() / count;
    (known().map(|score| (score - mean) * (score - mean)).sum::<f64>() / count).sqrt() as f32
}

/// Leaves in `order` the candidates maximal marginal relevance takes, in the order they are taken.
fn diversify(
    set: &CandidateSet,
    options: &RankOptions,
    worth: impl Fn(f32) -> f32,
    scores: &[f32],
    order: &mut Vec<u32>,
    scratch: &mut DiversityScratch,
) {
    let Some(matrix) = set.matrix() else { return };
    let ids = set.ids();
    let DiversityScratch { matrix: buffers, taken, relevance, nearest, cosines } = scratch;
    taken.clear();
    nearest.clear();
    nearest.resize(set.len(), 0.0);
    relevance.clear();
    relevance.extend(scores.iter().map(|&score| worth(score)));
    while taken.len() < options.k && !order.is_empty() {
        let value = |row: u32| {
            (1.0 - options.diversity) * relevance[row as usize] - options.diversity * nearest[row as usize]
        };
        let best = (0..order.len()).reduce(|best, place| {
            let (a, b) = (order[best], order[place]);
            let first = value(b)
                .total_cmp(&value(a))
                .then(scores[b as usize].total_cmp(&scores[a as usize]))
                .then_with(|| ids[a as usize].cmp(&ids[b as usize]));
            if first.is_gt() { place } else { best }
        });
        let Some(best) = best else { break };
        let row = order.swap_remove(best);
        taken.push(row);
        matrix.cosines_with_row(row as usize, buffers, cosines);
        for (nearest, &cosine) in nearest.iter_mut().zip(&*cosines) {
            *nearest = nearest.max(cosine);
        }
    }
    std::mem::swap(order, taken);
}
