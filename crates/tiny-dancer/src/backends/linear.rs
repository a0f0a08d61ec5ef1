//! Linear scores over hashed n-grams (int8 weights), cues and the static embedding.

use super::{Backend, BackendScratch};
use crate::artifact::Tensors;
use crate::encoder::DIM;
use crate::error::{Error, ErrorKind, Result};
use crate::features::{CHAR_BASE, CUES, Features};
use crate::kernels::{dot_f32, higher, lower};

/// `score = intercept + s_w/√n_w · Σ word weights + s_c/√n_c · Σ character weights + cues·C + embedding·E`
///
/// The n-gram index space of the features (2^17 words, 2^17 characters) is folded to the tables' own sizes, each
/// a power of two. A cue below the least or above the most that training saw counts as that: beyond them nothing is
/// known, and a slope that went on would say anything at all.
#[derive(Debug)]
pub(super) struct Linear {
    components: usize,
    word: Vec<i8>,
    character: Vec<i8>,
    word_scale: Vec<f32>,
    character_scale: Vec<f32>,
    /// One row per component.
    cues: Vec<f32>,
    /// Least and most of each cue in training; `None` in artifacts that do not say.
    seen: Option<(Vec<f32>, Vec<f32>)>,
    embedding: Vec<f32>,
    intercept: Vec<f32>,
}

impl Linear {
    pub(super) fn load(name: &str, tensors: &Tensors, components: usize) -> Result<Self> {
        Ok(Self {
            components,
            word: tensors.i8_power_of_two(&format!("{name}.word"), components)?,
            character: tensors.i8_power_of_two(&format!("{name}.character"), components)?,
            word_scale: tensors.f32(&format!("{name}.word_scale"), &[components])?,
            character_scale: tensors.f32(&format!("{name}.character_scale"), &[components])?,
            cues: tensors.f32(&format!("{name}.cues"), &[components, CUES])?,
            seen: seen(name, tensors)?,
            embedding: tensors.f32(&format!("{name}.embedding"), &[components, DIM])?,
            intercept: tensors.f32(&format!("{name}.intercept"), &[components])?,
        })
    }
}

/// Least and most of each cue in training.
fn seen(name: &str, tensors: &Tensors) -> Result<Option<(Vec<f32>, Vec<f32>)>> {
    let [least, most] = ["cue_least", "cue_most"].map(|part| format!("{name}.{part}"));
    if !tensors.has(&least) && !tensors.has(&most) {
        return Ok(None);
    }
    let bounds = (tensors.f32(&least, &[CUES])?, tensors.f32(&most, &[CUES])?);
    match bounds.0.iter().zip(&bounds.1).position(|(least, most)| least > most) {
        None => Ok(Some(bounds)),
        Some(cue) => Err(Error::new(
            ErrorKind::ArtifactInvalid,
            format!("{least}[{cue}]"),
            bounds.0[cue],
            format!("it lies above {most}; train again"),
        )),
    }
}

/// Sums the table rows of `indices` for component `component`.
#[inline]
fn gather(table: &[i8], components: usize, component: usize, indices: &[u32]) -> i32 {
    let mask = (table.len() / components - 1) as u32;
    if mask == 0 {
        // The table of an artifact that does without.
        return indices.len() as i32 * i32::from(table[component]);
    }
    indices.iter().map(|&index| i32::from(table[(index & mask) as usize * components + component])).sum()
}

impl Backend for Linear {
    fn add_scores(
        &self,
        features: &Features,
        weight: &[f32],
        _scratch: &mut BackendScratch,
        out: &mut [f32],
    ) {
        // Words come first: features keep the two kinds apart.
        let (words, characters) = (features.word_ngrams(), features.character_ngrams());
        let word_norm = 1.0 / (words.len().max(1) as f32).sqrt();
        let character_norm = 1.0 / (characters.len().max(1) as f32).sqrt();
        debug_assert!(characters.iter().all(|&index| index >= CHAR_BASE));
        let mut cues = features.cues;
        if let Some((least, most)) = &self.seen {
            for ((cue, &least), &most) in cues.iter_mut().zip(least).zip(most) {
                *cue = lower(higher(*cue, least), most);
            }
        }
        for component in 0..self.components {
            if weight[component] == 0.0 {
                continue;
            }
            let word = gather(&self.word, self.components, component, words) as f32;
            let character = gather(&self.character, self.components, component, characters) as f32;
            let mut score = self.intercept[component];
            score += word * word_norm * self.word_scale[component];
            score += character * character_norm * self.character_scale[component];
            score += dot_f32(&self.cues[component * CUES..][..CUES], &cues);
            score += features.embedded(&self.embedding[component * DIM..][..DIM]);
            out[component] += weight[component] * score;
        }
    }
}
