//! What an encoder gives of a text, and what becomes of it.

/// Values per embedding.
pub const DIM: usize = 256;

/// What one text amounts to, beside its sums: piece counts and how rare the pieces are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Pieces, an unknown word counting as one.
    pub tokens: u32,
    /// Pieces that were pooled: `tokens` without the unknown ones.
    pub known: u32,
    /// Words, without punctuation marks; a CJK character is a word.
    pub words: u32,
    /// Words that took two pieces or more.
    pub split_words: u32,
    /// Pieces of those words.
    pub split_pieces: u32,
    /// Sum of the ids of the known pieces. Ids roughly follow frequency: the higher, the rarer.
    pub rank_sum: u64,
    /// Highest id of a known piece; 0 without any.
    pub rank_max: u32,
}

/// The direction of `sums` as int8: `v × 127 ÷ max|v|`, rounded half away from zero; all zero stays zero.
pub fn quantise(sums: &[i32; DIM], out: &mut [i8; DIM]) {
    const TO_INTEGER: f64 = 6_755_399_441_055_744.0; // 1.5 × 2⁵²: the sum's lowest bits are the rounded term
    let largest = f64::from(sums.iter().fold(0, |largest, sum| largest.max(sum.unsigned_abs())));
    // 254 v ÷ 2 max is rounded. Half a unit outwards in the numerator moves every tie off the middle, and no
    // quotient onto or past one, and leaves each at least 2⁻³³ away from it. The f64 arithmetic errs by less
    // than 2⁻⁴⁴, so it rounds as exact integers would.
    let factor = if largest == 0.0 { 0.0 } else { 0.5 / largest };
    for (out, sum) in out.iter_mut().zip(sums) {
        let sum = f64::from(*sum);
        let rounded = (254.0 * sum + 0.5_f64.copysign(sum)) * factor + TO_INTEGER;
        *out = rounded.to_bits() as i8;
    }
}

/// The embedding: `sums` divided by its length (the mean and the sum have one direction). All zero where
/// `known`, the number of pieces in `sums`, or every sum is 0.
#[must_use]
pub fn pool(sums: &[i32; DIM], known: u32) -> [f32; DIM] {
    // Products and sums are exact integers in f64 up to 32,000 pieces, so no order is to be fixed.
    let mut squares = [0.0; 8];
    for part in sums.as_chunks::<8>().0 {
        for (square, sum) in squares.iter_mut().zip(part) {
            *square += f64::from(*sum) * f64::from(*sum);
        }
    }
    let square: f64 = squares.iter().sum();
    if known == 0 || square == 0.0 {
        return [0.0; DIM];
    }
    let length = square.sqrt();
    sums.map(|sum| (f64::from(sum) / length) as f32)
}
