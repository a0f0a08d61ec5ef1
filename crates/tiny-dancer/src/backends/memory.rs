//! Kernel memory: a Gaussian kernel between the request and stored training rows (landmarks), after Nyström.

use super::{Backend, BackendScratch};
use crate::artifact::Tensors;
use crate::encoder::DIM;
use crate::error::{Error, ErrorKind, Result};
use crate::features::{CUES, Features};
use crate::kernels::{dot_f32, dot_i8, dot_rows_i8, exp_nonpositive, inverse_norm, lower, rounded};

/// Cues are padded with zeros to this many, a whole number of the kernel's blocks.
const PADDED_CUES: usize = CUES.next_multiple_of(32);

/// `score_r = intercept_r + Σ_l coefficient[r, l] · exp(−γ_e·(2 − 2·cos(e, e_l)) − γ_c·‖c − c_l‖²)`
///
/// Landmark embeddings are training rows' own int8 embeddings; cues are standardised, clipped and stored as int8.
#[derive(Debug)]
pub(super) struct Memory {
    components: usize,
    embeddings: Vec<i8>,
    inverse_norms: Vec<f32>,
    /// One padded row per landmark, and its squared length.
    cues: Vec<i8>,
    cue_squares: Vec<i32>,
    /// One row per component.
    coefficients: Vec<f32>,
    intercept: Vec<f32>,
    cue_mean: Vec<f32>,
    cue_scale: Vec<f32>,
    gamma_embedding: f32,
    gamma_cues: f32,
}

impl Memory {
    pub(super) fn load(name: &str, tensors: &Tensors, components: usize) -> Result<Self> {
        let invalid = |field: &str, value: String, remedy: &str| {
            Error::new(ErrorKind::ArtifactInvalid, format!("{name}.{field}"), value, remedy)
        };
        let (embeddings, landmarks) = tensors.i8_rows(&format!("{name}.embeddings"), DIM)?;
        let (cues, cue_rows) = tensors.i8_rows(&format!("{name}.cues"), CUES)?;
        let gamma = tensors.f32(&format!("{name}.gamma"), &[2])?;
        if landmarks != cue_rows {
            return Err(invalid("cues", format!("{cue_rows} rows for {landmarks} landmarks"), "train again"));
        }
        if gamma.iter().any(|&value| value < 0.0) {
            return Err(invalid("gamma", format!("{gamma:?}"), "both must be non-negative; train again"));
        }
        if embeddings.iter().chain(&cues).any(|&value| value == i8::MIN) {
            return Err(invalid("embeddings, cues", "-128".to_owned(), "values lie in ±127; train again"));
        }
        let mut padded = vec![0; landmarks * PADDED_CUES];
        for (row, values) in padded.chunks_exact_mut(PADDED_CUES).zip(cues.chunks_exact(CUES)) {
            row[..CUES].copy_from_slice(values);
        }
        Ok(Self {
            components,
            inverse_norms: embeddings.chunks_exact(DIM).map(inverse_norm).collect(),
            embeddings,
            cue_squares: padded.chunks_exact(PADDED_CUES).map(|row| dot_i8(row, row)).collect(),
            cues: padded,
            coefficients: tensors.f32(&format!("{name}.coefficients"), &[components, landmarks])?,
            intercept: tensors.f32(&format!("{name}.intercept"), &[components])?,
            cue_mean: tensors.f32(&format!("{name}.cue_mean"), &[CUES])?,
            cue_scale: tensors.f32(&format!("{name}.cue_scale"), &[CUES])?,
            gamma_embedding: gamma[0],
            gamma_cues: gamma[1],
        })
    }
}

impl Backend for Memory {
    fn add_scores(&self, features: &Features, weight: &[f32], scratch: &mut BackendScratch, out: &mut [f32]) {
        let mut cues = [0i8; PADDED_CUES];
        for (index, cue) in cues[..CUES].iter_mut().enumerate() {
            let standard = (features.cues[index] - self.cue_mean[index]) * self.cue_scale[index];
            *cue = rounded(standard.clamp(-127.0, 127.0)) as i8;
        }
        let BackendScratch { floats, products, more_products, .. } = scratch;
        dot_rows_i8(&self.embeddings, &features.embedding, products);
        dot_rows_i8(&self.cues, &cues, more_products);
        let square = dot_i8(&cues, &cues);
        floats.clear();
        let both = products.iter().zip(more_products.iter());
        floats.extend(both.zip(&self.inverse_norms).zip(&self.cue_squares).map(
            |(((&embedding, &product), &inverse), &landmark_square)| {
                let cosine = embedding as f32 * inverse * features.inverse_norm;
                let distance = (square + landmark_square - 2 * product) as f32;
                lower(-self.gamma_embedding * (2.0 - 2.0 * cosine) - self.gamma_cues * distance, 0.0)
            },
        ));
        for exponent in floats.iter_mut() {
            *exponent = exp_nonpositive(*exponent);
        }
        let landmarks = self.inverse_norms.len();
        for component in 0..self.components {
            let similar = dot_f32(&self.coefficients[component * landmarks..][..landmarks], floats);
            out[component] += weight[component] * (self.intercept[component] + similar);
        }
    }
}
