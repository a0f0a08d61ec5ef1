//! Kernel memory: a Gaussian kernel between the request and stored training rows (landmarks), after Nyström.

use super::Backend;
use crate::artifact::Tensors;
use crate::encoder::DIM;
use crate::error::{Error, ErrorKind, Result};
use crate::features::{CUES, Features};
use crate::kernels::{dot_i8, exp_nonpositive, inverse_norm, squared_distance_i8};

/// score_r = intercept_r + Σ_l coefficient[l, r] · exp(−γ_e·(2 − 2·cos(e, e_l)) − γ_c·‖c − c_l‖²).
///
/// Landmark embeddings are training rows' own int8 embeddings; cues are standardised, clipped and stored as int8.
#[derive(Debug)]
pub(super) struct Memory {
    components: usize,
    embeddings: Vec<i8>,
    inverse_norms: Vec<f32>,
    cues: Vec<i8>,
    /// One row per landmark.
    coefficients: Vec<f32>,
    intercept: Vec<f32>,
    cue_mean: Vec<f32>,
    cue_scale: Vec<f32>,
    gamma_embedding: f32,
    gamma_cues: f32,
}

impl Memory {
    pub(super) fn load(name: &str, tensors: &Tensors, components: usize) -> Result<Self> {
        let (embeddings, landmarks) = tensors.i8_rows(&format!("{name}.embeddings"), DIM)?;
        let (cues, cue_rows) = tensors.i8_rows(&format!("{name}.cues"), CUES)?;
        let gamma = tensors.f32(&format!("{name}.gamma"), &[2])?;
        if landmarks != cue_rows {
            return Err(Error::new(
                ErrorKind::ArtifactInvalid,
                format!("{name}.cues"),
                format!("{cue_rows} rows for {landmarks} landmarks"),
                "train again",
            ));
        }
        if gamma.iter().any(|&value| value < 0.0) {
            return Err(Error::new(
                ErrorKind::ArtifactInvalid,
                format!("{name}.gamma"),
                format!("{gamma:?}"),
                "both must be non-negative; train again",
            ));
        }
        let inverse_norms = embeddings.chunks_exact(DIM).map(inverse_norm).collect();
        Ok(Self {
            components,
            inverse_norms,
            embeddings,
            cues,
            coefficients: tensors.f32(&format!("{name}.coefficients"), &[landmarks, components])?,
            intercept: tensors.f32(&format!("{name}.intercept"), &[components])?,
            cue_mean: tensors.f32(&format!("{name}.cue_mean"), &[CUES])?,
            cue_scale: tensors.f32(&format!("{name}.cue_scale"), &[CUES])?,
            gamma_embedding: gamma[0],
            gamma_cues: gamma[1],
        })
    }
}

impl Backend for Memory {
    fn add_scores(&self, features: &Features, weight: &[f32], scratch: &mut Vec<f32>, out: &mut [f32]) {
        let mut cues = [0i8; CUES];
        for (index, cue) in cues.iter_mut().enumerate() {
            let standard = (features.cues[index] - self.cue_mean[index]) * self.cue_scale[index];
            *cue = standard.clamp(-127.0, 127.0).round() as i8;
        }
        scratch.clear();
        scratch.extend(
            self.embeddings
                .chunks_exact(DIM)
                .zip(self.cues.chunks_exact(CUES))
                .zip(&self.inverse_norms)
                .map(|((embedding, landmark_cues), &inverse)| {
                    let cosine =
                        dot_i8(embedding, &features.embedding) as f32 * inverse * features.inverse_norm;
                    let distance = squared_distance_i8(landmark_cues, &cues) as f32;
                    (-self.gamma_embedding * (2.0 - 2.0 * cosine) - self.gamma_cues * distance).min(0.0)
                }),
        );
        for exponent in scratch.iter_mut() {
            *exponent = exp_nonpositive(*exponent);
        }
        for component in 0..self.components {
            let mut score = self.intercept[component];
            for (similarity, row) in scratch.iter().zip(self.coefficients.chunks_exact(self.components)) {
                score += similarity * row[component];
            }
            out[component] += weight[component] * score;
        }
    }
}
