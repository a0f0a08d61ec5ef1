//! The inner loops. Integer sums are exact in any order; f32 sums always run over eight lanes in the same
//! order, without fused multiply-add, so every platform gives the same bits.

/// Runs `$scalar` compiled for AVX-512 or AVX2 where the processor has it; NEON is part of every 64-bit ARM. The
/// arithmetic is the same code, so the result is the same; only the registers are wider.
macro_rules! dispatch {
    ($(#[$attribute:meta])* $name:ident, $scalar:ident, ($($arg:ident: $ty:ty),*) -> $ret:ty) => {
        $(#[$attribute])*
        #[inline]
        pub fn $name($($arg: $ty),*) -> $ret {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn widest($($arg: $ty),*) -> $ret {
                    $scalar($($arg),*)
                }
                #[target_feature(enable = "avx2")]
                fn wide($($arg: $ty),*) -> $ret {
                    $scalar($($arg),*)
                }
                if $crate::kernels::has_avx512() {
                    // SAFETY: the processor has these parts of AVX-512, as was just asked.
                    return unsafe { widest($($arg),*) };
                }
                if $crate::kernels::has_avx2() {
                    // SAFETY: the processor has AVX2, as was just asked.
                    return unsafe { wide($($arg),*) };
                }
            }
            $scalar($($arg),*)
        }
    };
}
pub(crate) use dispatch;

/// Whether the processor has the parts of AVX-512 that every server with any of it has had since 2017.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn has_avx512() -> bool {
    use std::arch::is_x86_feature_detected;
    #[cfg(test)]
    if !paths::allow(paths::Path::Avx512) {
        return false;
    }
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

/// Whether the processor has that and multiplies bytes and adds them up in one instruction.
#[cfg(target_arch = "x86_64")]
#[inline]
fn has_avx512_vnni() -> bool {
    has_avx512() && std::arch::is_x86_feature_detected!("avx512vnni")
}

/// Whether the processor has AVX2.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn has_avx2() -> bool {
    #[cfg(test)]
    if !paths::allow(paths::Path::Avx2) {
        return false;
    }
    std::arch::is_x86_feature_detected!("avx2")
}

#[cfg(test)]
pub(crate) mod paths;

dispatch!(
    /// Sum of products of two int8 vectors of equal length.
    #[must_use]
    dot_i8, dot_i8_scalar, (a: &[i8], b: &[i8]) -> i32
);
/// Sum of products of two f32 vectors of equal length, over eight lanes.
#[must_use]
#[inline]
pub fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the processor has AVX2, as was just asked.
        return unsafe { dot_f32_avx2(a, b) };
    }
    dot_f32_scalar(a, b)
}

dispatch!(
    /// `out[i] = e^((scores[i] − highest) · slope)`, and their sum over eight lanes; `highest` is the highest of them.
    exponentials, exponentials_scalar,
    (scores: &[f32], highest: f32, slope: f32, out: &mut Vec<f32>) -> f32
);

#[inline(always)]
#[allow(clippy::inline_always)]
fn exponentials_scalar(scores: &[f32], highest: f32, slope: f32, out: &mut Vec<f32>) -> f32 {
    out.clear();
    out.extend(scores.iter().map(|score| exp_nonpositive((score - highest) * slope)));
    let mut lanes = [0f32; 8];
    let (blocks, rest) = out.as_chunks::<8>();
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane += value;
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += value;
    }
    sum_lanes(lanes)
}

/// Calls `visit` with the place and value of each value above a bound, in order; the bound is what `visit` gave last.
/// Runs of values that are all below it cost a comparison each and no branch.
#[inline]
pub fn visit_above(values: &[f32], mut bound: f32, mut visit: impl FnMut(usize, f32) -> f32) {
    const RUN: usize = 32;
    for (run, part) in values.chunks(RUN).enumerate() {
        #[expect(clippy::needless_bitwise_bool, reason = "a branch a value is what this does without")]
        let above = part.iter().fold(false, |above, &value| above | (value > bound));
        if !above {
            continue;
        }
        for (place, &value) in part.iter().enumerate() {
            if value > bound {
                bound = visit(run * RUN + place, value);
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::inline_always)]
fn dot_i8_scalar(a: &[i8], b: &[i8]) -> i32 {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    let (whole, a, b) = dot_i8_blocks(a, b);
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    let whole = 0;
    let rest: i32 = a.iter().zip(b).map(|(&x, &y)| i32::from(i16::from(x) * i16::from(y))).sum();
    whole + rest
}

#[inline(always)]
#[allow(clippy::inline_always)]
fn dot_f32_scalar(a: &[f32], b: &[f32]) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<8>();
    let (b_blocks, b_rest) = b.as_chunks::<8>();
    let mut lanes = sum_products(a_blocks, b_blocks);
    for (lane, (x, y)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[lane] += x * y;
    }
    sum_lanes(lanes)
}

/// Sums of products, lane by lane.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[inline(always)]
#[allow(clippy::inline_always)]
fn sum_products(a: &[[f32; 8]], b: &[[f32; 8]]) -> [f32; 8] {
    let mut lanes = [0f32; 8];
    for (x, y) in a.iter().zip(b) {
        for lane in 0..8 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    lanes
}

/// Sums of products, lane by lane: where it compiles for size, the compiler makes no vectors of loops.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline]
fn sum_products(a: &[[f32; 8]], b: &[[f32; 8]]) -> [f32; 8] {
    use std::arch::wasm32::{f32x4_add, f32x4_mul, f32x4_splat, v128_load, v128_store};
    let mut sums = [f32x4_splat(0.0); 2];
    for (x, y) in a.iter().zip(b) {
        for (half, sum) in sums.iter_mut().enumerate() {
            // SAFETY: four floats are readable at either place; the loads need no alignment.
            let (x, y) = unsafe {
                (v128_load(x.as_ptr().add(4 * half).cast()), v128_load(y.as_ptr().add(4 * half).cast()))
            };
            *sum = f32x4_add(*sum, f32x4_mul(x, y));
        }
    }
    let mut lanes = [0f32; 8];
    // SAFETY: eight floats are writeable there; the stores need no alignment.
    unsafe {
        v128_store(lanes.as_mut_ptr().cast(), sums[0]);
        v128_store(lanes.as_mut_ptr().add(4).cast(), sums[1]);
    }
    lanes
}

/// The sum of products of blocks of eight, and what is left of both.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline]
fn dot_i8_blocks<'a>(a: &'a [i8], b: &'a [i8]) -> (i32, &'a [i8], &'a [i8]) {
    use std::arch::wasm32::{
        i16x8_load_extend_i8x8, i32x4_add, i32x4_dot_i16x8, i32x4_extract_lane, i32x4_splat,
    };
    let (a_blocks, a_rest) = a.as_chunks::<8>();
    let (b_blocks, b_rest) = b.as_chunks::<8>();
    let mut sums = i32x4_splat(0);
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        // SAFETY: eight bytes are readable at either place; the loads need no alignment.
        let (x, y) = unsafe { (i16x8_load_extend_i8x8(x.as_ptr()), i16x8_load_extend_i8x8(y.as_ptr())) };
        sums = i32x4_add(sums, i32x4_dot_i16x8(x, y));
    }
    let sum = i32x4_extract_lane::<0>(sums)
        + i32x4_extract_lane::<1>(sums)
        + i32x4_extract_lane::<2>(sums)
        + i32x4_extract_lane::<3>(sums);
    (sum, a_rest, b_rest)
}

/// [`dot_f32_scalar`] with its lanes in one register, also where a library is made for size.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn dot_f32_avx2(a: &[f32], b: &[f32]) -> f32 {
    use std::arch::x86_64::{
        _mm256_add_ps, _mm256_loadu_ps, _mm256_mul_ps, _mm256_setzero_ps, _mm256_storeu_ps,
    };
    let (a_blocks, a_rest) = a.as_chunks::<8>();
    let (b_blocks, b_rest) = b.as_chunks::<8>();
    let mut sums = _mm256_setzero_ps();
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        // SAFETY: every block is eight readable floats; the loads need no alignment.
        let (x, y) = unsafe { (_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(y.as_ptr())) };
        sums = _mm256_add_ps(sums, _mm256_mul_ps(x, y));
    }
    let mut lanes = [0f32; 8];
    // SAFETY: eight floats are writeable there; the store needs no alignment.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), sums) };
    for (lane, (x, y)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[lane] += x * y;
    }
    sum_lanes(lanes)
}

/// Sums of products of `query` with rows that lie `stride` apart: `out[i] = rows[i] · query`, each with the very bits
/// [`dot_f32`] gives.
#[inline]
pub fn dot_rows_f32(rows: &[f32], stride: usize, query: &[f32], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the processor has AVX2, as was just asked.
        unsafe { dot_rows_f32_avx2::<false>(rows, stride, query, out, &mut []) };
        return;
    }
    for (row, sum) in out.iter_mut().enumerate() {
        *sum = dot_f32_scalar(&rows[row * stride..][..query.len()], query);
    }
}

/// The same of rows that lie one after the other, and their sums of squares, in one pass.
#[inline]
pub fn dot_rows_and_squares_f32(rows: &[f32], query: &[f32], out: &mut [f32], squares: &mut [f32]) {
    let width = query.len();
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the processor has AVX2, as was just asked.
        unsafe { dot_rows_f32_avx2::<true>(rows, width, query, out, squares) };
        return;
    }
    for (row, (sum, square)) in out.iter_mut().zip(squares).enumerate() {
        let row = &rows[row * width..][..width];
        (*sum, *square) = (dot_f32_scalar(row, query), dot_f32_scalar(row, row));
    }
}

/// Four rows at a time, so that their sums need not wait for each other; each keeps its eight lanes. With `SQUARES` their
/// sums of squares, too; without, `squares` is left alone.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn dot_rows_f32_avx2<const SQUARES: bool>(
    rows: &[f32],
    stride: usize,
    query: &[f32],
    out: &mut [f32],
    squares: &mut [f32],
) {
    use std::arch::x86_64::{
        __m256, _mm256_add_ps, _mm256_loadu_ps, _mm256_mul_ps, _mm256_setzero_ps, _mm256_storeu_ps,
    };
    let width = query.len();
    let (query_blocks, query_rest) = query.as_chunks::<8>();
    let finish = |sums: __m256, rest: &[f32], other_rest: &[f32]| {
        let mut lanes = [0f32; 8];
        // SAFETY: eight floats are writeable there; the store needs no alignment.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), sums) };
        for (lane, (x, y)) in rest.iter().zip(other_rest).enumerate() {
            lanes[lane] += x * y;
        }
        sum_lanes(lanes)
    };
    let (fours, rest) = out.as_chunks_mut::<4>();
    for (block, four) in fours.iter_mut().enumerate() {
        let row = |lane: usize| rows[(4 * block + lane) * stride..][..width].as_chunks::<8>();
        let blocks = [row(0), row(1), row(2), row(3)];
        let mut sums = [_mm256_setzero_ps(); 4];
        let mut own = [_mm256_setzero_ps(); 4];
        let each = blocks[0].0.iter().zip(blocks[1].0).zip(blocks[2].0).zip(blocks[3].0).zip(query_blocks);
        for ((((a, b), c), d), q) in each {
            // SAFETY: every block is eight readable floats; the loads need no alignment.
            unsafe {
                let q = _mm256_loadu_ps(q.as_ptr());
                for (lane, block) in [a, b, c, d].into_iter().enumerate() {
                    let row = _mm256_loadu_ps(block.as_ptr());
                    sums[lane] = _mm256_add_ps(sums[lane], _mm256_mul_ps(row, q));
                    if SQUARES {
                        own[lane] = _mm256_add_ps(own[lane], _mm256_mul_ps(row, row));
                    }
                }
            }
        }
        for lane in 0..4 {
            let rest = blocks[lane].1;
            four[lane] = finish(sums[lane], rest, query_rest);
            if SQUARES {
                squares[4 * block + lane] = finish(own[lane], rest, rest);
            }
        }
    }
    let done = 4 * fours.len();
    for (place, sum) in rest.iter_mut().enumerate() {
        let row = &rows[(done + place) * stride..][..width];
        *sum = dot_f32_scalar(row, query);
        if SQUARES {
            squares[done + place] = dot_f32_scalar(row, row);
        }
    }
}

#[inline(always)]
#[allow(clippy::inline_always)]
fn sum_lanes(lanes: [f32; 8]) -> f32 {
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
}

/// Sums of products of `query` with each row of an int8 matrix as wide as it: `out[i] = rows[i] · query`. No value
/// is −128 (quantisation stops at ±127).
#[inline]
pub fn dot_rows_i8(rows: &[i8], query: &[i8], out: &mut Vec<i32>) {
    out.clear();
    #[cfg(target_arch = "x86_64")]
    if query.len().is_multiple_of(64) && has_avx512_vnni() {
        // SAFETY: the processor has these parts of AVX-512, and rows and query are whole blocks of 64.
        unsafe { dot_rows_vnni(rows, query, out) };
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if query.len().is_multiple_of(32) && has_avx2() {
        // SAFETY: the processor has AVX2, and rows and query are whole blocks of 32.
        unsafe { dot_rows_avx2(rows, query, out) };
        return;
    }
    out.extend(rows.chunks_exact(query.len()).map(|row| dot_i8_scalar(row, query)));
}

/// One instruction multiplies unsigned by signed bytes and adds four products to a lane. A row is made unsigned by
/// adding 128 to every value, which adds 128 times the sum of the query to every result: it starts that much lower.
/// Four rows at a time share their last additions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn dot_rows_vnni(rows: &[i8], query: &[i8], out: &mut Vec<i32>) {
    use std::arch::x86_64::{
        __m512i, _mm_add_epi32, _mm_storeu_si128, _mm256_add_epi32, _mm256_castsi256_si128,
        _mm256_extracti128_si256, _mm256_hadd_epi32, _mm512_castsi512_si256, _mm512_dpbusd_epi32,
        _mm512_extracti64x4_epi64, _mm512_loadu_si512, _mm512_set1_epi8, _mm512_setzero_si512,
        _mm512_xor_si512,
    };
    let width = query.len();
    let excess = 128 * query.iter().map(|&value| i32::from(value)).sum::<i32>();
    let sign = _mm512_set1_epi8(i8::MIN);
    let query = query.as_chunks::<64>().0;
    // SAFETY: the block is 64 readable bytes; the load needs no alignment.
    let load = |block: &[i8; 64]| unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
    // The sixteen lanes of four sums → four numbers.
    let finish = |sums: [__m512i; 4]| {
        let [a, b, c, d] = sums;
        let a = _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64::<1>(a));
        let b = _mm256_add_epi32(_mm512_castsi512_si256(b), _mm512_extracti64x4_epi64::<1>(b));
        let c = _mm256_add_epi32(_mm512_castsi512_si256(c), _mm512_extracti64x4_epi64::<1>(c));
        let d = _mm256_add_epi32(_mm512_castsi512_si256(d), _mm512_extracti64x4_epi64::<1>(d));
        let pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
        let four = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
        let mut found = [0i32; 4];
        // SAFETY: 16 bytes are writeable there; the store needs no alignment.
        unsafe { _mm_storeu_si128(found.as_mut_ptr().cast(), four) };
        [found[0] - excess, found[1] - excess, found[2] - excess, found[3] - excess]
    };
    let zero = _mm512_setzero_si512();
    let (fours, rest) = rows.split_at(rows.len() / (4 * width) * 4 * width);
    out.reserve(rows.len() / width);
    for block in fours.chunks_exact(4 * width) {
        let (first, others) = block.split_at(width);
        let (second, others) = others.split_at(width);
        let (third, fourth) = others.split_at(width);
        let each = first.as_chunks::<64>().0.iter().zip(second.as_chunks::<64>().0);
        let each = each.zip(third.as_chunks::<64>().0).zip(fourth.as_chunks::<64>().0).zip(query);
        let (mut a, mut b, mut c, mut d) = (zero, zero, zero, zero);
        for ((((first, second), third), fourth), part) in each {
            let part = load(part);
            a = _mm512_dpbusd_epi32(a, _mm512_xor_si512(load(first), sign), part);
            b = _mm512_dpbusd_epi32(b, _mm512_xor_si512(load(second), sign), part);
            c = _mm512_dpbusd_epi32(c, _mm512_xor_si512(load(third), sign), part);
            d = _mm512_dpbusd_epi32(d, _mm512_xor_si512(load(fourth), sign), part);
        }
        out.extend_from_slice(&finish([a, b, c, d]));
    }
    let mut sums = [zero; 4];
    for (sum, row) in sums.iter_mut().zip(rest.chunks_exact(width)) {
        for (block, part) in row.as_chunks::<64>().0.iter().zip(query) {
            *sum = _mm512_dpbusd_epi32(*sum, _mm512_xor_si512(load(block), sign), load(part));
        }
    }
    out.extend_from_slice(&finish(sums)[..rest.len() / width]);
}

/// |q| · sign(r, q) multiplies unsigned by signed bytes: pairs sum to at most 2 · 127², which i16 holds. Four rows at a
/// time share their last additions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn dot_rows_avx2(rows: &[i8], query: &[i8], out: &mut Vec<i32>) {
    use std::arch::x86_64::{
        __m128i, __m256i, _mm_add_epi32, _mm_storeu_si128, _mm256_abs_epi8, _mm256_add_epi32,
        _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_hadd_epi32, _mm256_loadu_si256,
        _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_setzero_si256, _mm256_sign_epi8,
    };
    let ones = _mm256_set1_epi16(1);
    let (query_blocks, _) = query.as_chunks::<32>();
    let products = |row: &[i8; 32], q: __m256i| {
        // SAFETY: the block is 32 readable bytes; the load needs no alignment.
        let r = unsafe { _mm256_loadu_si256(row.as_ptr().cast()) };
        _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(r, q)), ones)
    };
    // SAFETY: as above.
    let load = |block: &[i8; 32]| unsafe { _mm256_loadu_si256(block.as_ptr().cast()) };
    // The eight lanes of four sums → four numbers.
    let finish = |sums: [__m256i; 4]| {
        let pairs =
            _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
        let four = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
        let mut found = [0i32; 4];
        // SAFETY: 16 bytes are writeable there; the store needs no alignment.
        #[expect(clippy::cast_ptr_alignment)]
        unsafe {
            _mm_storeu_si128(found.as_mut_ptr().cast::<__m128i>(), four);
        };
        found
    };
    let width = query.len();
    let mut fours = rows.chunks_exact(4 * width);
    for block in &mut fours {
        let (first, rest) = block.split_at(width);
        let (second, rest) = rest.split_at(width);
        let (third, fourth) = rest.split_at(width);
        let each = first.as_chunks::<32>().0.iter().zip(second.as_chunks::<32>().0);
        let each = each.zip(third.as_chunks::<32>().0).zip(fourth.as_chunks::<32>().0).zip(query_blocks);
        let mut sums = [_mm256_setzero_si256(); 4];
        for ((((first, second), third), fourth), part) in each {
            let part = load(part);
            for (sum, row) in sums.iter_mut().zip([first, second, third, fourth]) {
                *sum = _mm256_add_epi32(*sum, products(row, part));
            }
        }
        out.extend_from_slice(&finish(sums));
    }
    for row in fours.remainder().chunks_exact(width) {
        let mut sum = _mm256_setzero_si256();
        for (block, q) in row.as_chunks::<32>().0.iter().zip(query_blocks) {
            sum = _mm256_add_epi32(sum, products(block, load(q)));
        }
        let zero = _mm256_setzero_si256();
        out.push(finish([sum, zero, zero, zero])[0]);
    }
}

/// 1/‖v‖, or 0 for the zero vector.
#[must_use]
pub fn inverse_norm(vector: &[i8]) -> f32 {
    let square = dot_i8(vector, vector);
    if square == 0 { 0.0 } else { 1.0 / (square as f32).sqrt() }
}

/// The higher of two numbers; the second where either is none. `f32::max` is a call in WebAssembly, and this an instruction.
#[must_use]
#[inline(always)]
#[allow(clippy::inline_always, reason = "must be compiled with the features of its caller")]
pub fn higher(one: f32, other: f32) -> f32 {
    if one > other { one } else { other }
}

/// The lower of two numbers; the second where either is none.
#[must_use]
#[inline(always)]
#[allow(clippy::inline_always, reason = "must be compiled with the features of its caller")]
pub fn lower(one: f32, other: f32) -> f32 {
    if one < other { one } else { other }
}

/// The nearest whole number, halves away from zero, as `f32::round`, which is a call where there is no instruction. For
/// numbers below 2^23.
#[must_use]
#[inline(always)]
#[allow(clippy::inline_always, reason = "must be compiled with the features of its caller")]
pub fn rounded(x: f32) -> i32 {
    // The last number below a half: with a half itself, the number before a half would be rounded up.
    (x + (0.5 - f32::EPSILON / 4.0).copysign(x)) as i32
}

/// e^x for x ≤ 0, within 1e-6 relative: 2^k · e^t with a degree-6 Taylor polynomial on |t| ≤ ln 2 / 2. ln 2 comes in
/// two parts, of which the first times k is exact, so that t keeps its digits however far down x is (Cody and Waite
/// 1980). Pure arithmetic: it is the same everywhere, and loops over it vectorise.
#[must_use]
#[inline(always)]
#[allow(clippy::inline_always, reason = "must be compiled with the features of its caller")]
pub fn exp_nonpositive(x: f32) -> f32 {
    #[allow(clippy::excessive_precision)] // all its digits: the number is exact
    const LN_2_FIRST: f32 = 0.693_359_375;
    const LN_2_REST: f32 = -2.121_944_4e-4;
    let x = higher(x, -87.0);
    // Truncation toward zero after the shift rounds to nearest for the non-positive range.
    let whole = (x * std::f32::consts::LOG2_E - 0.5) as i32;
    let t = (x - whole as f32 * LN_2_FIRST) - whole as f32 * LN_2_REST;
    let series = 1.0
        + t * (1.0 + t * (0.5 + t * (1.0 / 6.0 + t * (1.0 / 24.0 + t * (1.0 / 120.0 + t * (1.0 / 720.0))))));
    series * f32::from_bits(((whole + 127) as u32) << 23)
}

/// The value at `x` of the piecewise-linear map through `(knots[i], values[i])`, constant beyond its ends.
/// `knots` is sorted and as long as `values`, and neither is empty.
#[must_use]
#[inline]
pub fn interpolate(knots: &[f32], values: &[f32], x: f32) -> f32 {
    let above = knots.partition_point(|&knot| knot <= x);
    if above == 0 {
        return values[0];
    }
    if above == knots.len() {
        return values[above - 1];
    }
    let width = knots[above] - knots[above - 1];
    let fraction = (x - knots[above - 1]) / width;
    values[above - 1] + fraction * (values[above] - values[above - 1])
}

#[cfg(test)]
mod tests {
    use super::paths::{any_length, any_number, bits, on_every_path};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sums_of_integers_equal_the_textbook_sum_on_every_path(
            pairs in any_length().prop_flat_map(|length| prop::collection::vec(any::<(i8, i8)>(), length))
        ) {
            let (a, b): (Vec<i8>, Vec<i8>) = pairs.iter().copied().unzip();
            let expected: i32 = pairs.iter().map(|&(x, y)| i32::from(x) * i32::from(y)).sum();
            let extreme = vec![i8::MIN; a.len()];
            let ran = on_every_path(|path| {
                assert_eq!(dot_i8(&a, &b), expected, "{path:?}");
                assert_eq!(dot_i8(&extreme, &extreme), a.len() as i32 * 128 * 128, "{path:?}");
            });
            prop_assert!(!ran.is_empty());
        }

        #[test]
        fn rows_times_query_equal_the_textbook_sum_on_every_path(
            width in prop_oneof![Just(32usize), Just(96), Just(256), 1usize..70],
            values in prop::collection::vec(prop_oneof![-127i8..=127, Just(127), Just(-127)], 1024)
        ) {
            let (query, rows) = values.split_at(width);
            let rows = &rows[..rows.len() / width * width];
            let expected: Vec<i32> = rows.chunks(width).map(|row| {
                row.iter().zip(query).map(|(&x, &y)| i32::from(x) * i32::from(y)).sum()
            }).collect();
            on_every_path(|path| {
                let mut out = vec![1; 3];
                dot_rows_i8(rows, query, &mut out);
                assert_eq!(out, expected, "{path:?}");
            });
        }

        #[test]
        fn sums_of_floats_have_the_reference_s_bits_on_every_path(
            pairs in any_length().prop_flat_map(|length| {
                prop::collection::vec((any_number(), any_number()), length)
            })
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
            // The order of the module's first paragraph, written out.
            let mut lanes = [0f32; 8];
            for (place, (x, y)) in pairs.iter().enumerate() {
                lanes[place % 8] += x * y;
            }
            let [e, f, g, h] = [0, 1, 2, 3].map(|lane| lanes[lane] + lanes[lane + 4]);
            let expected = (e + g) + (f + h);
            on_every_path(|path| assert_eq!(bits(&[dot_f32(&a, &b)]), bits(&[expected]), "{path:?}"));
        }

        #[test]
        fn a_sum_of_floats_is_near_the_exact_one(
            pairs in prop::collection::vec((-1f32..1.0, -1f32..1.0), 0..300)
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
            let exact: f64 = pairs.iter().map(|&(x, y)| f64::from(x) * f64::from(y)).sum();
            prop_assert!((f64::from(dot_f32(&a, &b)) - exact).abs() < 1e-4);
        }

        #[test]
        fn rows_of_floats_get_the_bits_of_one_row_on_every_path(
            width in 0usize..70, gap in 0usize..3, values in prop::collection::vec(any_number(), 800)
        ) {
            let stride = (width + gap).max(1);
            let (query, rows) = values.split_at(width);
            let count = (rows.len() - width) / stride + 1;
            let row = |row: usize| dot_f32_scalar(&rows[row * stride..][..width], query);
            let expected: Vec<f32> = (0..count).map(row).collect();
            on_every_path(|path| {
                let mut out = vec![f32::NAN; count];
                dot_rows_f32(rows, stride, query, &mut out);
                assert_eq!(bits(&out), bits(&expected), "{path:?}");
            });
        }

        #[test]
        fn the_best_few_are_those_of_a_sorted_list(
            values in prop::collection::vec((0u8..20).prop_map(f32::from), 0..150), most in 1usize..5
        ) {
            let mut found: Vec<(usize, f32)> = Vec::new();
            visit_above(&values, f32::NEG_INFINITY, |place, value| {
                let at = found.partition_point(|&(_, other)| other >= value);
                found.insert(at, (place, value));
                found.truncate(most);
                if found.len() == most { found[most - 1].1 } else { f32::NEG_INFINITY }
            });
            let mut sorted: Vec<(usize, f32)> = values.iter().copied().enumerate().collect();
            sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            sorted.truncate(most);
            prop_assert_eq!(found, sorted);
        }

        #[test]
        #[allow(clippy::float_cmp)]
        fn numbers_are_rounded_and_compared_as_the_library_does(
            x in -8_000_000f32..8_000_000.0, whole in -4_000_000i32..4_000_000, steps in -2i32..3, y in any_number()
        ) {
            // Halves, and the numbers next to them.
            let half = whole as f32 + 0.5;
            let beside = f32::from_bits((half.to_bits() as i32 + steps) as u32);
            for x in [x, beside, 0.5, -0.5, 0.499_999_97, -0.499_999_97, 0.0, 126.5] {
                prop_assert_eq!(rounded(x), x.round() as i32, "{}", x);
                prop_assert_eq!(higher(y, x), y.max(x));
                prop_assert_eq!(lower(y, x), y.min(x));
            }
        }

        #[test]
        fn exponential_matches_libm(x in -86f32..=0.0) {
            let expected = libm::exp(f64::from(x));
            prop_assert!((f64::from(exp_nonpositive(x)) - expected).abs() <= 1e-6 * expected);
        }

        #[test]
        fn interpolation_stays_within_its_values(x in any::<f32>().prop_filter("number", |x| !x.is_nan())) {
            let y = interpolate(&[-1.0, 0.0, 2.0], &[0.1, 0.4, 0.9], x);
            prop_assert!((0.1..=0.9).contains(&y));
        }
    }

    #[test]
    fn interpolation_passes_through_its_knots() {
        for (x, y) in [(-1.0, 0.1), (0.0, 0.4), (2.0, 0.9), (1.0, 0.65), (-9.0, 0.1), (9.0, 0.9)] {
            assert!((interpolate(&[-1.0, 0.0, 2.0], &[0.1, 0.4, 0.9], x) - y).abs() < 1e-6);
        }
    }
}
