//! Candidates of which no more is known than their embeddings and how they were used, ranked where their numbers lie.
//!
//! Nothing is kept of them and no set is made: what a binding takes with one question and never sees again is answered in
//! the time that its numbers take. The answer is the one a set of the same candidates gives.

use super::columns::Columns;
use super::matrix::MOST_DIMENSIONS;
use super::rank::RankScratch;
use super::scorer::CandidateScorer;
use crate::sort;

/// Embeddings, one row a candidate, and what else is known, one number a candidate, NaN where it is not.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// As wide as the query's, one after the other.
    pub embeddings: &'a [f32],
    /// As [`super::seconds_of_number`] takes it.
    pub created_at: &'a [f64],
    /// As [`super::Candidate::access_count`].
    pub access_count: &'a [f64],
    /// As [`super::Candidate::success_rate`].
    pub success_rate: &'a [f64],
}

/// One candidate of the answer, its numbers as their JSON reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankedRow {
    /// Which one it is.
    pub row: u32,
    /// As [`super::Ranked::confidence`].
    pub confidence: f64,
    /// As [`super::Ranked::uncertainty`].
    pub uncertainty: f64,
    /// As [`super::Ranked::use_lightweight`].
    pub use_lightweight: bool,
    /// Whether its score is that of the one before it. Equal ones are in the order of rows: who has the ids puts them in
    /// the order of these.
    pub as_before: bool,
}

/// Buffers of one thread, and the answer.
#[derive(Debug, Default)]
pub struct RowsScratch {
    columns: Columns,
    rank: RankScratch,
    /// How far down a score is, and in the lower half its row.
    order: Vec<u64>,
    /// The answer, all rows, best first.
    pub ranked: Vec<RankedRow>,
    /// Whether confidence and uncertainty come from calibration.
    pub calibrated: bool,
}

impl CandidateScorer {
    /// Ranks rows for a query's embedding at a time, in seconds since 1970; the answer is left in `scratch`.
    ///
    /// Gives false, and no answer, where a set has something to say beyond an order: a number that is not finite or out
    /// of its range, rows that are not whole.
    #[must_use]
    pub fn rank_rows(
        &self,
        rows: &Rows,
        query: &[f32],
        now: f64,
        [confidence_threshold, max_uncertainty]: [f32; 2],
        scratch: &mut RowsScratch,
    ) -> bool {
        let RowsScratch { columns, rank, order, ranked, calibrated } = scratch;
        let whole = (1..=MOST_DIMENSIONS).contains(&query.len())
            && rows.embeddings.len() == query.len() * rows.created_at.len();
        let RankScratch { features, scorer, scores, .. } = rank;
        if !whole || !now.is_finite() || !columns.fill_use(rows) {
            return false;
        }
        if !features.compute_rows(rows.embeddings, query, columns, now) {
            return false;
        }
        let alike = self.score(features, scorer, scores);
        let shift = self.shift(scores);
        order.clear();
        order.extend((0..).zip(&*scores).map(|(row, &score)| falling(score) << 32 | row));
        sort::many::unstable(order);
        *calibrated = alike && self.is_calibrated();
        let mut before = None;
        ranked.clear();
        ranked.extend(order.iter().map(|&key| {
            let row = key as u32;
            let score = scores[row as usize];
            let (confidence, uncertainty) = if alike {
                (self.confidence(score - shift), self.uncertainty(score - shift))
            } else {
                (score, 1.0)
            };
            let sure = confidence >= confidence_threshold && uncertainty <= max_uncertainty;
            RankedRow {
                row,
                confidence: as_written(confidence),
                uncertainty: as_written(uncertainty),
                use_lightweight: sure && *calibrated,
                as_before: before.replace(score.to_bits()) == Some(score.to_bits()),
            }
        }));
        true
    }
}

/// A whole number below 2^32 that falls as the score rises: the bits of floats below 0 rise as these fall.
fn falling(score: f32) -> u64 {
    let bits = score.to_bits();
    u64::from(if bits >> 31 == 0 { !bits ^ (1 << 31) } else { bits })
}

/// The double that the shortest decimals of an f32 read as, which is what its JSON is read as.
#[must_use]
pub fn as_written(value: f32) -> f64 {
    let wide = f64::from(value);
    if wide.fract() == 0.0 && wide.abs() <= MOST_WHOLE {
        return wide;
    }
    // Here products with, and quotients by, powers of ten up to 10^12 are the nearest doubles of exact ones.
    if (1e-3..1e3).contains(&value.abs()) {
        let nearest = |places: usize| {
            let read = (wide * POWERS[places]).round_ties_even() / POWERS[places];
            ((read as f32).to_bits() == value.to_bits()).then_some(read)
        };
        let mut places = USUAL_PLACES;
        if nearest(places).is_some() {
            while places > 0 && nearest(places - 1).is_some() {
                places -= 1;
            }
        }
        if let Some(read) = (places..POWERS.len()).find_map(nearest) {
            return read;
        }
    }
    serde_json::to_string(&value).ok().and_then(|written| written.parse().ok()).unwrap_or(wide)
}

/// Up to here each whole number is an f32 of its own.
const MOST_WHOLE: f64 = 16_777_216.0;
/// Decimals that most shares need.
const USUAL_PLACES: usize = 7;
const POWERS: [f64; 13] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12];

#[cfg(test)]
mod tests {
    use super::as_written;
    use crate::likeness::drawn;

    #[test]
    fn numbers_are_those_their_json_reads_as() {
        let read = |value: f32| serde_json::to_string(&value).unwrap().parse::<f64>().unwrap();
        let exact = (0..512).map(|part| part as f32 / 512.0);
        let shares = (0..200_000).map(|place| drawn(1, place) as f32);
        let all = (0..200_000).map(|place| f32::from_bits((drawn(2, place) * f64::from(u32::MAX)) as u32));
        for value in exact.chain(shares).chain(all).filter(|value| value.is_finite()) {
            assert_eq!(as_written(value).to_bits(), read(value).to_bits(), "{value}");
        }
    }
}
