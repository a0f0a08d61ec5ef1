//! A column of scores → how far each stands out, the same bits whatever order the rows are in.

use crate::kernels::dispatch;

/// Scores are counted in whole numbers of this part of one: sums of them and of their squares are exact.
const PARTS: f32 = 65_536.0;
/// Scores beyond this count as this: 65,536 rows of squares stay below 2^53.
const MOST: f32 = 4.0;
/// How many rows of usual spread stand beside those of the column: among a handful of tools, chance differences are no
/// evidence.
const PRIOR_ROWS: f64 = 30.0;

dispatch!(count, count_scalar, (column: &[f32]) -> (f64, f64));

/// Sums of whole numbers below 2^53, which f64 holds exactly in whatever order they are added.
#[inline(always)]
#[allow(clippy::inline_always)]
fn count_scalar(column: &[f32]) -> (f64, f64) {
    let (mut sums, mut squares) = ([0f64; LANES], [0f64; LANES]);
    let (blocks, rest) = column.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            let parts = f64::from(whole(block[lane]));
            sums[lane] += parts;
            squares[lane] += parts * parts;
        }
    }
    for (lane, &score) in rest.iter().enumerate() {
        let parts = f64::from(whole(score));
        sums[lane] += parts;
        squares[lane] += parts * parts;
    }
    (sums.iter().sum(), squares.iter().sum())
}

/// Rows that are counted beside each other.
const LANES: usize = 16;

#[inline(always)]
#[allow(clippy::inline_always)]
fn whole(score: f32) -> f32 {
    // Half away from zero. A conversion to i32 would go one by one, as Rust's saturates.
    let scaled = score.clamp(-MOST, MOST) * PARTS;
    (scaled + 0.5f32.copysign(scaled)).trunc()
}

dispatch!(add_scaled, add_scaled_scalar, (column: &[f32], mean: f32, factor: f32, out: &mut [f32]) -> ());

#[inline(always)]
#[allow(clippy::inline_always)]
fn add_scaled_scalar(column: &[f32], mean: f32, factor: f32, out: &mut [f32]) {
    for (out, &score) in out.iter_mut().zip(column) {
        *out += (score - mean) * factor;
    }
}

dispatch!(
    /// Adds to `out` `weight` times every share of a column, cut to [0, 1].
    add_shares, add_shares_scalar, (column: &[f32], weight: f32, out: &mut [f32]) -> ()
);

#[inline(always)]
#[allow(clippy::inline_always)]
fn add_shares_scalar(column: &[f32], weight: f32, out: &mut [f32]) {
    for (out, share) in out.iter_mut().zip(column) {
        *out += share.clamp(0.0, 1.0) * weight;
    }
}

dispatch!(
    /// Cosines of rows with a query: `out[i] = products[i] · (norms[i] · norm)`.
    cosines, cosines_scalar, (products: &[i32], norms: &[f32], norm: f32, out: &mut [f32]) -> ()
);

#[inline(always)]
#[allow(clippy::inline_always)]
fn cosines_scalar(products: &[i32], norms: &[f32], norm: f32, out: &mut [f32]) {
    for ((out, &product), inverse) in out.iter_mut().zip(products).zip(norms) {
        *out = product as f32 * (inverse * norm);
    }
}

/// Mean and deviation of a column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standard {
    mean: f64,
    deviation: f64,
}

impl Standard {
    /// Of a column with [`PRIOR_ROWS`] more rows of deviation `usual`.
    pub(super) fn of(column: &[f32], usual: f32) -> Self {
        let rows = column.len() as f64;
        let (sum, squares) = count(column);
        let parts = f64::from(PARTS);
        let mean = sum / parts / rows.max(1.0);
        let spread = (squares / (parts * parts) - rows * mean * mean).max(0.0);
        let variance = (spread + PRIOR_ROWS * f64::from(usual) * f64::from(usual)) / (rows + PRIOR_ROWS);
        Self { mean, deviation: variance.sqrt() }
    }

    /// Adds to `out` `weight` · (score − mean) / deviation of every score of a column.
    pub(super) fn add(self, column: &[f32], weight: f32, out: &mut [f32]) {
        add_scaled(column, self.mean as f32, (f64::from(weight) / self.deviation) as f32, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::paths::{bits, on_every_path};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_order_of_rows_changes_nothing(mut column in prop::collection::vec(-1f32..2.0, 1..200), turn in 0usize..200) {
            let standardised = |column: &[f32]| {
                let mut out = vec![0.0; column.len()];
                Standard::of(column, 0.1).add(column, 1.5, &mut out);
                out
            };
            let mut expected = standardised(&column);
            let turn = turn % column.len();
            column.rotate_left(turn);
            expected.rotate_left(turn);
            prop_assert_eq!(bits(&standardised(&column)), bits(&expected));
        }

        #[test]
        fn every_path_gives_the_same_bits(column in prop::collection::vec(-1f32..2.0, 1..200)) {
            let mut results = Vec::new();
            on_every_path(|_| {
                let mut out = vec![0.0; column.len()];
                Standard::of(&column, 0.1).add(&column, 1.5, &mut out);
                results.push(bits(&out));
            });
            prop_assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
        }
    }

    #[test]
    fn many_rows_have_mean_zero_and_deviation_one() {
        let column: Vec<f32> = (0..4000).map(|row| (row % 7) as f32 / 7.0).collect();
        let mut out = vec![0.0; column.len()];
        Standard::of(&column, 0.1).add(&column, 1.0, &mut out);
        let mean: f32 = out.iter().sum::<f32>() / 4000.0;
        let square: f32 = out.iter().map(|z| z * z).sum::<f32>() / 4000.0;
        assert!(mean.abs() < 1e-3 && (square - 1.0).abs() < 0.01, "{mean} {square}");
    }
}
