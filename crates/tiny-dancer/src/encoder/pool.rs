//! Pieces → sum of their rows → direction.

use super::words::SLOT_PIECES;
use super::{BATCH, DIM, Encoding, Row, UNKNOWN};

/// Receives the pieces of a text, in order.
pub(super) trait Sink {
    /// A punctuation mark or control piece: one id, or [`UNKNOWN`].
    fn mark(&mut self, id: u32);
    /// A word: the first `length` of `pieces`; 0 is an unknown word.
    fn word(&mut self, pieces: &[u32; SLOT_PIECES], length: usize);
    /// A word of any number of pieces; none is an unknown word.
    fn long_word(&mut self, pieces: &[u32]);
}

pub(super) struct Visitor<F>(pub(super) F);

impl<F: FnMut(Option<u32>)> Sink for Visitor<F> {
    fn mark(&mut self, id: u32) {
        (self.0)((id != UNKNOWN).then_some(id));
    }

    fn word(&mut self, pieces: &[u32; SLOT_PIECES], length: usize) {
        self.long_word(&pieces[..length]);
    }

    fn long_word(&mut self, pieces: &[u32]) {
        if pieces.is_empty() {
            (self.0)(None);
        }
        for id in pieces {
            (self.0)(Some(*id));
        }
    }
}

/// Collects pieces and adds their rows, a batch at a time.
pub(super) struct Pool<'a> {
    pub(super) rows: &'a [Row],
    pub(super) pending: &'a mut [u32; BATCH],
    pub(super) length: usize,
    pub(super) sums: &'a mut [i32; DIM],
    pub(super) encoding: Encoding,
}

impl Pool<'_> {
    #[inline]
    pub(super) fn reserve(&mut self) {
        if self.length > BATCH - SLOT_PIECES {
            self.flush();
        }
    }

    #[inline]
    pub(super) fn count(&mut self, pieces: usize) {
        let pieces = pieces as u32;
        self.encoding.words += 1;
        self.encoding.tokens += pieces.max(1);
        if pieces > 1 {
            self.encoding.split_words += 1;
            self.encoding.split_pieces += pieces;
        }
    }

    pub(super) fn flush(&mut self) {
        let ids = &self.pending[..self.length];
        add_rows(self.rows, ids, self.sums);
        self.encoding.known += ids.len() as u32;
        self.encoding.rank_sum += ids.iter().map(|id| u64::from(*id)).sum::<u64>();
        self.encoding.rank_max = ids.iter().fold(self.encoding.rank_max, |most, id| most.max(*id));
        self.length = 0;
    }
}

impl Sink for Pool<'_> {
    #[inline]
    fn mark(&mut self, id: u32) {
        self.encoding.tokens += 1;
        if id != UNKNOWN {
            self.reserve();
            prefetch(self.rows, id);
            self.pending[self.length] = id;
            self.length += 1;
        }
    }

    #[inline]
    fn word(&mut self, pieces: &[u32; SLOT_PIECES], length: usize) {
        self.count(length);
        self.reserve();
        // All eight are copied, as that is one move: the next word overwrites what is too much.
        self.pending[self.length..][..SLOT_PIECES].copy_from_slice(pieces);
        for id in &pieces[..length] {
            prefetch(self.rows, *id);
        }
        self.length += length;
    }

    fn long_word(&mut self, pieces: &[u32]) {
        self.count(pieces.len());
        for id in pieces {
            self.reserve();
            self.pending[self.length] = *id;
            self.length += 1;
        }
    }
}

/// Starts to load a row that will be added soon.
#[inline]
pub(super) fn prefetch(rows: &[Row], id: u32) {
    #[cfg(target_arch = "x86_64")]
    if let Some(row) = rows.get(id as usize) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        for line in row.0.chunks_exact(64) {
            // SAFETY: a prefetch reads nothing and faults never; the pointer is within `rows` besides.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (rows, id);
}

/// Adds the rows of `ids`, [`BATCH`] at most, to `sums`.
pub(super) fn add_rows(rows: &[Row], ids: &[u32], sums: &mut [i32; DIM]) {
    #[cfg(target_arch = "x86_64")]
    if crate::kernels::has_avx2() {
        // SAFETY: the processor has AVX2.
        unsafe { add_rows_avx2(rows, ids, sums) };
        return;
    }
    add_rows_in_lanes::<64>(rows, ids, sums);
}

/// [`add_rows_in_lanes`] by hand: where a library is made for size, the compiler leaves the lanes in memory, which takes
/// thirty times as long.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[expect(clippy::cast_ptr_alignment, reason = "what loads and stores there needs no alignment")]
fn add_rows_avx2(rows: &[Row], ids: &[u32], sums: &mut [i32; DIM]) {
    use std::arch::x86_64::{
        __m128i, __m256i, _mm_loadu_si128, _mm256_add_epi16, _mm256_add_epi32, _mm256_castsi256_si128,
        _mm256_cvtepi8_epi16, _mm256_cvtepi16_epi32, _mm256_extracti128_si256, _mm256_loadu_si256,
        _mm256_setzero_si256, _mm256_storeu_si256,
    };
    debug_assert!(ids.len() <= BATCH);
    // SAFETY: the block is 16 readable bytes; the load needs no alignment.
    let wider =
        |block: &[i8; 16]| _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(block.as_ptr().cast::<__m128i>()) });
    let add_to = |sums: &mut [i32; 8], lanes: __m128i| {
        let place = sums.as_mut_ptr().cast::<__m256i>();
        // SAFETY: 32 bytes are readable and writeable there; neither needs alignment.
        unsafe {
            let sum = _mm256_add_epi32(_mm256_loadu_si256(place), _mm256_cvtepi16_epi32(lanes));
            _mm256_storeu_si256(place, sum);
        }
    };
    for (place, sums) in sums.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        let mut lanes = [_mm256_setzero_si256(); 8];
        for id in ids {
            let row = &rows[*id as usize].0.as_chunks::<128>().0[place].as_chunks::<16>().0;
            lanes = [
                _mm256_add_epi16(lanes[0], wider(&row[0])),
                _mm256_add_epi16(lanes[1], wider(&row[1])),
                _mm256_add_epi16(lanes[2], wider(&row[2])),
                _mm256_add_epi16(lanes[3], wider(&row[3])),
                _mm256_add_epi16(lanes[4], wider(&row[4])),
                _mm256_add_epi16(lanes[5], wider(&row[5])),
                _mm256_add_epi16(lanes[6], wider(&row[6])),
                _mm256_add_epi16(lanes[7], wider(&row[7])),
            ];
        }
        for (sixteen, sums) in lanes.into_iter().zip(sums.as_chunks_mut::<8>().0.as_chunks_mut::<2>().0) {
            add_to(&mut sums[0], _mm256_castsi256_si128(sixteen));
            add_to(&mut sums[1], _mm256_extracti128_si256::<1>(sixteen));
        }
    }
}

/// `LANES` columns at a time, as many as the vector registers hold in `i16`; the compiler vectorises it.
#[inline(always)]
#[allow(clippy::inline_always, reason = "must be compiled with the features of its caller")]
fn add_rows_in_lanes<const LANES: usize>(rows: &[Row], ids: &[u32], sums: &mut [i32; DIM]) {
    debug_assert!(ids.len() <= BATCH);
    for (block, sums) in sums.chunks_exact_mut(LANES).enumerate() {
        let mut lanes = [0_i16; LANES];
        for id in ids {
            let row = &rows[*id as usize].0[block * LANES..][..LANES];
            for (lane, value) in lanes.iter_mut().zip(row) {
                *lane = lane.wrapping_add(i16::from(*value));
            }
        }
        for (sum, lane) in sums.iter_mut().zip(lanes) {
            *sum = sum.wrapping_add(i32::from(lane));
        }
    }
}
