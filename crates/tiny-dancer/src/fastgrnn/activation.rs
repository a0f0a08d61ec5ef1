//! Gate, candidate state and new state from the products: what is not a matrix.

use crate::kernels::dispatch;

/// Rows are padded to a whole number of these, so that loops are over full vectors.
pub(super) const LANES: usize = 8;
/// Values worked on together: they stay in the nearest cache.
const BLOCK: usize = 512;

/// tanh(x) within 5e-7 everywhere: x·P(x²) ÷ Q(x²) on |x| ≤ 8, beyond which it is ±1. P and Q minimise the largest
/// error on that range (weights of a linear least-squares fit raised where it errs most, as Lawson 1961). Rounding
/// included it never leaves ±1: every f32 was tried. Without branches, so that loops over it vectorise; a NaN gives 1.
#[inline(always)]
#[allow(clippy::inline_always)]
pub(super) fn tanh(x: f32) -> f32 {
    const P: [f32; 4] = [0.999_999_36, 0.129_136_42, 2.938_828_4e-3, 1.131_023e-5];
    const Q: [f32; 5] = [1.0, 0.462_467_4, 0.023_763_83, 2.370_285_6e-4, 2.423_843_5e-7];
    let x = clip(x, 8.0);
    let u = x * x;
    let above = P[0] + u * (P[1] + u * (P[2] + u * P[3]));
    let below = Q[0] + u * (Q[1] + u * (Q[2] + u * (Q[3] + u * Q[4])));
    x * above / below
}

/// x held between −bound and bound. Written as comparisons: each is one instruction, and none lets a NaN through.
#[inline(always)]
#[allow(clippy::inline_always)]
fn clip(x: f32, bound: f32) -> f32 {
    let x = if x < bound { x } else { bound };
    if x > -bound { x } else { -bound }
}

/// Biases and scalars of a cell.
///
/// σ(x) is (1 + τ(x / 2)) / 2 for the exact pair, and (1 + τ(x)) / 2 for the paper's piecewise-linear one, τ(x) =
/// x cut off at ±1. So only τ has to be computed.
#[derive(Debug)]
pub(super) struct Gates {
    /// Padded with zeros to `height` and repeated for as many rows as are worked on together: all loops are long.
    gate_bias: Vec<f32>,
    update_bias: Vec<f32>,
    height: usize,
    hidden: usize,
    gate_scale: f32,
    /// s(ζ) and s(ν).
    zeta: f32,
    nu: f32,
    piecewise: bool,
}

/// Gates, candidate states and, where rows are padded, states of the rows in work.
#[derive(Debug, Default)]
pub(super) struct GateScratch {
    pairs: Vec<f32>,
    states: Vec<f32>,
}

impl Gates {
    /// `scalars` are ζ and ν before the sigmoid.
    pub(super) fn new(scalars: [f32; 2], gate_bias: &[f32], update_bias: &[f32], piecewise: bool) -> Self {
        let hidden = gate_bias.len();
        let height = hidden.next_multiple_of(LANES);
        let repeated = |values: &[f32]| {
            let mut padded = values.to_vec();
            padded.resize(height, 0.0);
            padded.repeat((BLOCK / height).max(1))
        };
        let [zeta, nu] = scalars.map(|scalar| (1.0 / (1.0 + libm::exp(-f64::from(scalar)))) as f32);
        Self {
            gate_bias: repeated(gate_bias),
            update_bias: repeated(update_bias),
            height,
            hidden,
            gate_scale: if piecewise { 1.0 } else { 0.5 },
            zeta,
            nu,
            piecewise,
        }
    }

    /// Replaces each row of `hidden` by its new state; the products' rows are padded.
    pub(super) fn advance(
        &self,
        products: &[f32],
        recurrent: &[f32],
        hidden: &mut [f32],
        scratch: &mut GateScratch,
    ) {
        let block = self.gate_bias.len();
        let blocks = products.chunks(block).zip(recurrent.chunks(block));
        for ((products, recurrent), hidden) in
            blocks.zip(hidden.chunks_mut(block / self.height * self.hidden))
        {
            let GateScratch { pairs, states } = scratch;
            pairs.resize(2 * products.len(), 0.0);
            let (gates, candidates) = pairs.split_at_mut(products.len());
            arguments(products, recurrent, &self.gate_bias, self.gate_scale, gates);
            arguments(products, recurrent, &self.update_bias, 1.0, candidates);
            activate(pairs, self.piecewise);
            let (gates, candidates) = pairs.split_at(products.len());
            if self.hidden == self.height {
                update(gates, candidates, [self.zeta, self.nu], hidden);
                continue;
            }
            states.resize(products.len(), 0.0);
            for (padded, row) in states.chunks_exact_mut(self.height).zip(hidden.chunks_exact(self.hidden)) {
                padded[..self.hidden].copy_from_slice(row);
            }
            update(gates, candidates, [self.zeta, self.nu], states);
            for (padded, row) in states.chunks_exact(self.height).zip(hidden.chunks_exact_mut(self.hidden)) {
                row.copy_from_slice(&padded[..self.hidden]);
            }
        }
    }
}

dispatch!(
    /// What τ is given: scale · (W·x + U·h + bias).
    arguments, arguments_scalar,
    (products: &[f32], recurrent: &[f32], bias: &[f32], scale: f32, out: &mut [f32]) -> ()
);
dispatch!(
    /// τ of every value.
    activate, activate_scalar, (values: &mut [f32], piecewise: bool) -> ()
);
dispatch!(
    /// New states from τ of gates and candidates and `scalars`, s(ζ) and s(ν).
    update, update_scalar, (gates: &[f32], candidates: &[f32], scalars: [f32; 2], states: &mut [f32]) -> ()
);

#[inline(always)]
#[allow(clippy::inline_always)]
fn arguments_scalar(products: &[f32], recurrent: &[f32], bias: &[f32], scale: f32, out: &mut [f32]) {
    for (((product, recurrent), bias), out) in products.iter().zip(recurrent).zip(bias).zip(out) {
        *out = scale * (product + recurrent + bias);
    }
}

#[inline(always)]
#[allow(clippy::inline_always)]
fn activate_scalar(values: &mut [f32], piecewise: bool) {
    if piecewise {
        for value in values {
            *value = clip(*value, 1.0);
        }
    } else {
        for value in values {
            *value = tanh(*value);
        }
    }
}

#[inline(always)]
#[allow(clippy::inline_always)]
fn update_scalar(gates: &[f32], candidates: &[f32], [zeta, nu]: [f32; 2], states: &mut [f32]) {
    for ((gate, candidate), state) in gates.iter().zip(candidates).zip(states) {
        let gate = 0.5 + 0.5 * gate;
        *state = (zeta * (1.0 - gate) + nu) * candidate + gate * *state;
    }
}
