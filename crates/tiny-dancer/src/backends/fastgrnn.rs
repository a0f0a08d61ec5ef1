//! One step of a FastGRNN over the cues and the static embedding.

use super::{Backend, BackendScratch};
use crate::artifact::Tensors;
use crate::encoder::DIM;
use crate::error::Result;
use crate::fastgrnn::{Cell, Matrix};
use crate::features::{CUES, Features};

/// `score = head.bias + head.weight · h`, h the state after one step from 0 over x = [(cues − `cue_mean`) ·
/// `cue_scale`, embedding at length 1].
#[derive(Debug)]
pub(super) struct FastGrnn {
    cell: Cell,
    cue_mean: Vec<f32>,
    cue_scale: Vec<f32>,
    /// \[components, H\]
    head: Matrix,
    bias: Vec<f32>,
}

impl FastGrnn {
    pub(super) fn load(name: &str, tensors: &Tensors, components: usize) -> Result<Self> {
        let cell = Cell::load(name, tensors, CUES + DIM)?;
        Ok(Self {
            cue_mean: tensors.f32(&format!("{name}.cue_mean"), &[CUES])?,
            cue_scale: tensors.f32(&format!("{name}.cue_scale"), &[CUES])?,
            head: Matrix::load(
                &format!("{name}.head.weight"),
                tensors,
                components,
                cell.hidden_dimensions(),
            )?,
            bias: tensors.f32(&format!("{name}.head.bias"), &[components])?,
            cell,
        })
    }
}

impl Backend for FastGrnn {
    fn add_scores(&self, features: &Features, weight: &[f32], scratch: &mut BackendScratch, out: &mut [f32]) {
        let BackendScratch { floats, more_floats, cell, matrix, .. } = scratch;
        let mut inputs = [0f32; CUES + DIM];
        for (index, input) in inputs[..CUES].iter_mut().enumerate() {
            *input = (features.cues[index] - self.cue_mean[index]) * self.cue_scale[index];
        }
        inputs[CUES..].copy_from_slice(&features.unit_embedding);
        floats.clear();
        floats.resize(self.cell.hidden_dimensions(), 0.0);
        self.cell.step(&inputs, floats, cell);
        self.head.products(floats, floats.len(), more_floats, matrix);
        for (component, out) in out.iter_mut().enumerate() {
            *out += weight[component] * (self.bias[component] + more_floats[component]);
        }
    }
}
