//! What is known of use: which tools requests like this one used.
//!
//! `expected = intercept + s_w/√n_w · Σ word weights + s_c/√n_c · Σ character weights + s_l · Σ_j e^(−2γ(1 − cos_j)) L_j`
//!
//! one number a tool, near 1 where the request used it and near 0 where not: a ridge regression, many labels at once, on
//! hashed n-grams (the features of the request router, see [`crate::features`]) and on how near the request's embedding
//! is to each of the landmarks: the mean vectors of the tools' requests, and some of the requests (Gaussian kernel by
//! Nyström's method, Williams and Seeger 2001). Weights are int8 with one scale a tool. Beside it stands how near the
//! request's embedding is to the mean vector of each tool's requests (Rocchio 1971). Both, standardised over the tools
//! and times the header's `weight` and `mean_weight`, are added to what the schemas say; a tool the artifact does not
//! know stands at the mean, so it is judged by its schema.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::set::MOST_TOOLS;
use super::standard::cosines;
use crate::artifact::{Kind, LARGEST_NUMBER, MOST_SELF_CHECKS, Tensors, invalid};
use crate::encoder::{DIM, Encoder};
use crate::error::{Error, ErrorKind, Result};
use crate::features::{FeatureScratch, Features, featurise};
use crate::kernels::{dispatch, dot_rows_i8, exp_nonpositive, inverse_norm};
use crate::request::{Request, Spec};
use crate::sort;

/// Largest difference between a self-check's recorded number and the one computed on loading.
const SELF_CHECK_TOLERANCE: f32 = 1e-3;

/// A request with what must be expected of it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct SelfCheck {
    /// The request.
    pub text: String,
    /// What is expected of every tool.
    pub expected: Vec<f32>,
}

/// Everything about an artifact of learned use that is not a weight.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Header {
    /// Format version, see [`crate::artifact::FORMAT`].
    pub format: String,
    /// See [`Kind::KIND`].
    pub kind: String,
    /// Version of this artifact (semver).
    pub version: String,
    /// Date of making, as the caller gave it.
    #[serde(default)]
    pub created: String,
    /// Ids of the tools, in order of the tables' columns.
    pub tools: Vec<String>,
    /// Specification of the features.
    pub features: String,
    /// Checksum of the encoder.
    pub encoder: String,
    /// γ: how soon a landmark further away counts no more.
    pub width: f32,
    /// How much what is expected counts beside what the schemas say.
    pub weight: f32,
    /// How much nearness to the mean vector of a tool's requests counts beside that; 0 in artifacts without `means`.
    #[serde(default)]
    pub mean_weight: f32,
    /// Requests with what must be expected of them.
    #[serde(default)]
    pub self_check: Vec<SelfCheck>,
    /// What the engine does not read: training data digest, metrics, settings.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

impl Kind for Header {
    const KIND: &'static str = "tools";

    fn check(&self) -> Result<()> {
        let bad = |field: &str, value: String| Err(invalid(field, value, "train the artifact again"));
        if self.tools.is_empty() || self.tools.len() > MOST_TOOLS {
            return bad("tools", format!("{} tools", self.tools.len()));
        }
        let mut sorted: Vec<&String> = self.tools.iter().collect();
        sort::many::unstable(&mut sorted);
        if sorted[0].is_empty() || sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return bad("tools", "an id is empty or given twice".to_owned());
        }
        for (name, weight) in [("weight", self.weight), ("mean_weight", self.mean_weight)] {
            if !(0.0..=1e6).contains(&weight) {
                return bad(name, weight.to_string());
            }
        }
        if !(0.0..=1e3).contains(&self.width) {
            return bad("width", self.width.to_string());
        }
        if Spec::of(&self.features).is_none() {
            return bad("features", self.features.clone());
        }
        if self.self_check.len() > MOST_SELF_CHECKS {
            return bad("self_check", format!("{} requests", self.self_check.len()));
        }
        for (number, check) in self.self_check.iter().enumerate() {
            let sound = |value: &f32| f64::from(value.abs()) <= LARGEST_NUMBER;
            if check.expected.len() != self.tools.len() || !check.expected.iter().all(sound) {
                return bad(&format!("self_check[{number}]"), format!("{} numbers", check.expected.len()));
            }
        }
        Ok(())
    }
}

/// A loaded artifact of learned use. Immutable: share it between threads, with one [`LearnedScratch`] each.
#[derive(Debug)]
pub struct Learned {
    header: Header,
    spec: Spec,
    columns: HashMap<Box<str>, u32>,
    /// \[buckets, tools\], the number of buckets a power of two.
    words: Vec<i8>,
    characters: Vec<i8>,
    /// \[landmarks, 256\], and 1 / length of each.
    landmarks: Vec<i8>,
    inverse_norms: Vec<f32>,
    /// \[landmarks, tools\]
    nearness: Vec<i8>,
    /// \[tools, 256\], and 1 / length of each; empty where they do not count.
    means: Vec<i8>,
    mean_norms: Vec<f32>,
    word_scale: Vec<f32>,
    character_scale: Vec<f32>,
    nearness_scale: Vec<f32>,
    intercept: Vec<f32>,
}

/// Buffers of one thread. It holds what is expected for the last request.
#[derive(Debug, Default)]
pub struct LearnedScratch {
    /// One number a tool of the artifact.
    pub expected: Vec<f32>,
    /// Cosine with the mean vector of each tool's requests; empty where the artifact has none.
    pub(super) near_means: Vec<f32>,
    features: Features,
    scratch: FeatureScratch,
    sums: Vec<i32>,
    products: Vec<i32>,
    near: Vec<f32>,
}

impl Learned {
    /// Reads an artifact, checks it, and runs its self-checks.
    ///
    /// # Errors
    /// `ArtifactInvalid`, `ArtifactVersion`, `ArtifactChecksum`, `ArtifactSelfCheck`, or `EncoderMissing` where
    /// `encoder` is none or another than it was trained with.
    pub fn from_bytes(bytes: &[u8], encoder: Option<&Encoder>) -> Result<Self> {
        let (header, tensors) = Tensors::open::<Header>(bytes)?;
        let encoder = Encoder::wanted(encoder, &header.encoder, "it was trained")?;
        let tools = header.tools.len();
        let spec = Spec::of(&header.features).unwrap_or(Spec::NEWEST);
        let columns = header.tools.iter().enumerate().map(|(column, id)| (id.as_str().into(), column as u32));
        let (landmarks, count) = tensors.i8_rows("landmarks", DIM)?;
        let (nearness, found) = tensors.i8_rows("nearness", tools)?;
        if found != count {
            let found = format!("{found} rows");
            return Err(invalid("nearness", found, &format!("expected {count}; train again")));
        }
        let means = if header.mean_weight > 0.0 {
            let (means, count) = tensors.i8_rows("means", DIM)?;
            if count != tools {
                return Err(invalid(
                    "means",
                    format!("{count} rows"),
                    &format!("expected {tools}; train again"),
                ));
            }
            means
        } else {
            Vec::new()
        };
        let learned = Self {
            spec,
            columns: columns.collect(),
            words: tensors.i8_power_of_two("words", tools)?,
            characters: tensors.i8_power_of_two("characters", tools)?,
            inverse_norms: landmarks.chunks_exact(DIM).map(inverse_norm).collect(),
            landmarks,
            nearness,
            mean_norms: means.chunks_exact(DIM).map(inverse_norm).collect(),
            means,
            word_scale: tensors.f32("word_scale", &[tools])?,
            character_scale: tensors.f32("character_scale", &[tools])?,
            nearness_scale: tensors.f32("nearness_scale", &[tools])?,
            intercept: tensors.f32("intercept", &[tools])?,
            header,
        };
        learned.self_check(encoder)?;
        Ok(learned)
    }

    /// Everything about the artifact that is not a weight.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The column of a tool, if the artifact knows it.
    pub(super) fn column(&self, id: &str) -> Option<u32> {
        self.columns.get(id).copied()
    }

    /// What is expected of each tool for a request; it is in `scratch`.
    ///
    /// # Errors
    /// `RequestInvalid` for white space alone.
    pub fn expect(&self, text: &str, encoder: &Encoder, scratch: &mut LearnedScratch) -> Result<()> {
        let LearnedScratch { expected, near_means, features, scratch, sums, products, near } = scratch;
        featurise(&Request::text(text), self.spec, Some(encoder), scratch, features)?;
        expected.clear();
        expected.extend_from_slice(&self.intercept);
        let tables = [
            (&self.words, &self.word_scale, features.word_ngrams()),
            (&self.characters, &self.character_scale, features.character_ngrams()),
        ];
        for (table, scales, ngrams) in tables {
            let mask = table.len() / self.intercept.len() - 1;
            sums.clear();
            sums.resize(self.intercept.len(), 0);
            for &index in ngrams {
                let row = (index as usize & mask) * sums.len();
                add_row(&table[row..row + sums.len()], sums);
            }
            let norm = 1.0 / (ngrams.len().max(1) as f32).sqrt();
            for ((expected, &sum), scale) in expected.iter_mut().zip(&*sums).zip(scales) {
                *expected += sum as f32 * norm * scale;
            }
        }
        dot_rows_i8(&self.landmarks, &features.embedding, products);
        near.clear();
        near.resize(self.intercept.len(), 0.0);
        let rows = self.nearness.chunks_exact(near.len());
        for ((&product, inverse), row) in products.iter().zip(&self.inverse_norms).zip(rows) {
            let cosine = product as f32 * (features.inverse_norm * inverse);
            let nearness = exp_nonpositive(2.0 * self.header.width * (cosine.min(1.0) - 1.0));
            add_times(row, nearness, near);
        }
        for ((expected, sum), scale) in expected.iter_mut().zip(&*near).zip(&self.nearness_scale) {
            *expected += sum * scale;
        }
        dot_rows_i8(&self.means, &features.embedding, products);
        near_means.clear();
        near_means.resize(products.len(), 0.0);
        cosines(products, &self.mean_norms, features.inverse_norm, near_means);
        Ok(())
    }

    fn self_check(&self, encoder: &Encoder) -> Result<()> {
        let mut scratch = LearnedScratch::default();
        for (number, check) in self.header.self_check.iter().enumerate() {
            let failed = |value: String| {
                let remedy =
                    "the artifact expects otherwise here than where it was made; train again and report it";
                Err(Error::new(ErrorKind::ArtifactSelfCheck, format!("self_check[{number}]"), value, remedy))
            };
            if let Err(error) = self.expect(&check.text, encoder, &mut scratch) {
                return failed(error.to_string());
            }
            let differing = scratch.expected.iter().zip(&check.expected).position(|(found, recorded)| {
                (found - recorded).abs() > SELF_CHECK_TOLERANCE * recorded.abs().max(1.0)
            });
            if let Some(at) = differing {
                let (found, recorded) = (scratch.expected[at], check.expected[at]);
                return failed(format!("{found} of {}, recorded {recorded}", self.header.tools[at]));
            }
        }
        Ok(())
    }
}

dispatch!(add_row, add_row_scalar, (row: &[i8], sums: &mut [i32]) -> ());

#[inline(always)]
#[allow(clippy::inline_always)]
fn add_row_scalar(row: &[i8], sums: &mut [i32]) {
    for (sum, &value) in sums.iter_mut().zip(row) {
        *sum += i32::from(value);
    }
}

dispatch!(add_times, add_times_scalar, (row: &[i8], factor: f32, sums: &mut [f32]) -> ());

#[inline(always)]
#[allow(clippy::inline_always)]
fn add_times_scalar(row: &[i8], factor: f32, sums: &mut [f32]) {
    for (sum, &value) in sums.iter_mut().zip(row) {
        *sum += f32::from(value) * factor;
    }
}
