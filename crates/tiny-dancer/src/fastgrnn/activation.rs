//! Gate, candidate state and new state from the products: what is not a matrix.

use crate::kernels::dispatch;

/// Rows are padded to a whole number of these, so that every loop is over full vectors.
pub(super) const LANES: usize = 8;

/// tanh(x) within 4e-7 everywhere: x·P(x²) ÷ Q(x²) on |x| ≤ 9, beyond which it is ±1 in f32. P and Q minimise the
/// largest error on that range (weights of a linear least-squares fit raised where it errs most, as Lawson 1961).
/// Without branches, so that loops over it vectorise; a NaN gives 1.
#[inline(always)]
#[allow(clippy::inline_always)]
pub(super) fn tanh(x: f32) -> f32 {
    // Written as comparisons: each is one instruction, and none lets a NaN through.
    let x = if x < 9.0 { x } else { 9.0 };
    let x = if x > -9.0 { x } else { -9.0 };
    let u = x * x;
    let above =
        0.999_999_9 + u * (0.133_731_98 + u * (3.486_582_3e-3 + u * (2.047_183_7e-5 + u * 1.318_423_3e-8)));
    let below = 1.0 + u * (0.467_064_95 + u * (0.025_841_981 + u * (3.271_386e-4 + u * 7.702_667_3e-7)));
    let y = x * above / below;
    let y = if y < 1.0 { y } else { 1.0 };
    if y > -1.0 { y } else { -1.0 }
}

/// 1 / (1 + e^−x) within 3e-7, as (1 + tanh(x / 2)) / 2.
#[inline(always)]
#[allow(clippy::inline_always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    0.5 + 0.5 * tanh(0.5 * x)
}

/// The paper's stand-ins for integer processors: (x + 1) / 2 and x, both cut off at the ends of the range.
#[inline(always)]
#[allow(clippy::inline_always)]
fn piecewise_tanh(x: f32) -> f32 {
    let x = if x < 1.0 { x } else { 1.0 };
    if x > -1.0 { x } else { -1.0 }
}

#[inline(always)]
#[allow(clippy::inline_always)]
fn piecewise_sigmoid(x: f32) -> f32 {
    0.5 + 0.5 * piecewise_tanh(x)
}

/// Biases and scalars of a cell.
#[derive(Debug)]
pub(super) struct Gates {
    /// Padded with zeros.
    gate_bias: Vec<[f32; LANES]>,
    update_bias: Vec<[f32; LANES]>,
    /// s(ζ) and s(ν).
    zeta: f32,
    nu: f32,
    piecewise: bool,
}

impl Gates {
    /// `scalars` are ζ and ν before the sigmoid.
    pub(super) fn new(scalars: [f32; 2], gate_bias: &[f32], update_bias: &[f32], piecewise: bool) -> Self {
        let padded = |values: &[f32]| {
            let blocks = values.chunks(LANES).map(|chunk| {
                let mut block = [0.0; LANES];
                block[..chunk.len()].copy_from_slice(chunk);
                block
            });
            blocks.collect()
        };
        let [zeta, nu] = scalars.map(|scalar| (1.0 / (1.0 + libm::exp(-f64::from(scalar)))) as f32);
        Self { gate_bias: padded(gate_bias), update_bias: padded(update_bias), zeta, nu, piecewise }
    }

    /// Replaces each row of `hidden` (rows of `width`) by its new state; the products' rows are padded.
    pub(super) fn advance(&self, products: &[f32], recurrent: &[f32], hidden: &mut [f32], width: usize) {
        advance(self, products, recurrent, hidden, width);
    }
}

dispatch!(
    advance,
    advance_scalar,
    (gates: &Gates, products: &[f32], recurrent: &[f32], hidden: &mut [f32], width: usize) -> ()
);

#[inline(always)]
#[allow(clippy::inline_always)]
pub(super) fn advance_scalar(
    gates: &Gates,
    products: &[f32],
    recurrent: &[f32],
    hidden: &mut [f32],
    width: usize,
) {
    if gates.piecewise {
        rows(gates, products, recurrent, hidden, width, piecewise_sigmoid, piecewise_tanh);
    } else {
        rows(gates, products, recurrent, hidden, width, sigmoid, tanh);
    }
}

#[inline(always)]
#[allow(clippy::inline_always)]
fn rows(
    gates: &Gates,
    products: &[f32],
    recurrent: &[f32],
    hidden: &mut [f32],
    width: usize,
    sigma: impl Fn(f32) -> f32 + Copy,
    tau: impl Fn(f32) -> f32 + Copy,
) {
    let blocks = gates.gate_bias.len();
    let (products, recurrent) = (products.as_chunks::<LANES>().0, recurrent.as_chunks::<LANES>().0);
    let rows = products.chunks_exact(blocks).zip(recurrent.chunks_exact(blocks));
    for ((products, recurrent), hidden) in rows.zip(hidden.chunks_exact_mut(width)) {
        let (whole, rest) = hidden.as_chunks_mut::<LANES>();
        for (at, state) in whole.iter_mut().enumerate() {
            block(gates, at, &products[at], &recurrent[at], state, sigma, tau);
        }
        if !rest.is_empty() {
            let at = blocks - 1;
            let mut state = [0.0; LANES];
            state[..rest.len()].copy_from_slice(rest);
            block(gates, at, &products[at], &recurrent[at], &mut state, sigma, tau);
            rest.copy_from_slice(&state[..rest.len()]);
        }
    }
}

#[inline(always)]
#[allow(clippy::inline_always)]
fn block(
    gates: &Gates,
    at: usize,
    products: &[f32; LANES],
    recurrent: &[f32; LANES],
    state: &mut [f32; LANES],
    sigma: impl Fn(f32) -> f32,
    tau: impl Fn(f32) -> f32,
) {
    let (gate_bias, update_bias) = (&gates.gate_bias[at], &gates.update_bias[at]);
    for lane in 0..LANES {
        let shared = products[lane] + recurrent[lane];
        let gate = sigma(shared + gate_bias[lane]);
        let candidate = tau(shared + update_bias[lane]);
        state[lane] = (gates.zeta * (1.0 - gate) + gates.nu) * candidate + gate * state[lane];
    }
}
