//! Text → what kind of task it is, what that takes, and how well a weak model will do.
//!
//! ```text
//! text ─▶ features of the whole, of its beginning, of its end ─▶ three heads + cues ─▶ softmax ─▶ category, or none
//!      └▶ category, cues, declared words ─▶ sigmoids ─▶ capabilities, complexity, structured output   (heuristic)
//!      └▶ script, declared words ─▶ language                                                          (heuristic)
//!      └▶ embedding, cues ─▶ calibrated quality of a weak model ─▶ 1 to 5
//! ```
//!
//! What is asked stands at the beginning or the end of a prompt and what it is asked of between, so both ends are read
//! once more by themselves. What the artifact's header declares instead of learning is marked in every answer.

mod answer;
mod handle;
mod header;
mod language;

use crate::artifact::{Tensors, invalid};
use crate::encoder::{DIM, Encoder};
use crate::error::{Error, ErrorKind, Result};
use crate::features::{CUE_NAMES, CUES, FeatureScratch, Features, featurise};
use crate::heads::{Head, HeadScratch, Input};
use crate::kernels::{exp_nonpositive, interpolate};
use crate::request::{Request, Spec};
use crate::sort;

pub use answer::Answer;
pub use handle::Tasking;
pub use header::{Group, Header, Heuristic, SelfCheck, UNKNOWN, Weak};

/// Bytes of a beginning and of an end.
pub const EDGE: usize = 120;
/// Largest difference between a self-check's recorded number and the one computed on loading.
const SELF_CHECK_TOLERANCE: f32 = 1e-4;

/// A loaded classifier of tasks. Immutable: share it between threads, with one [`Scratch`] each.
#[derive(Debug)]
pub struct Tasks {
    header: Header,
    spec: Spec,
    /// Of the whole text, its beginning and its end.
    heads: [Head; 3],
    /// \[categories, cues\]
    cues: Vec<f32>,
    cue_least: Vec<f32>,
    cue_most: Vec<f32>,
    weak_embedding: Vec<f32>,
    weak_cues: Vec<f32>,
    declared: Vec<Declared>,
    /// (n-gram, heuristic, weight), sorted.
    words: Vec<(u32, u32, f32)>,
    /// (n-gram, language), sorted.
    stop_words: Vec<(u32, u32)>,
    /// By position: whether outcomes of this category's kind were there to learn the weak model's quality from.
    measured: Vec<bool>,
}

/// A heuristic, by positions.
#[derive(Debug)]
struct Declared {
    bias: f32,
    categories: Vec<(usize, f32)>,
    cues: Vec<(usize, f32)>,
}

/// What a text is; positions are those of the header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// None where no category is probable enough, or the text's words are not known.
    pub category: Option<usize>,
    /// The most probable category.
    pub best: usize,
    /// Its probability.
    pub confidence: f32,
    /// Where it can be told, its code in ISO 639-1.
    pub language: Option<Language>,
    /// Expected quality of a weak model's answer, 0 to 1.
    pub weak_expected: f32,
}

/// A language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Written in a script that tells it.
    Script(&'static str),
    /// The position of one whose words are declared.
    Words(usize),
}

/// Buffers of one thread; after the first texts, classifying allocates nothing. It holds the last answer.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Of every category, before the temperature.
    pub scores: Vec<f32>,
    /// Of every category, in sum 1.
    pub probabilities: Vec<f32>,
    /// Of every heuristic, 0 to 1.
    pub heuristics: Vec<f32>,
    whole: Features,
    edge: Features,
    featuriser: FeatureScratch,
    head: HeadScratch,
    part: Vec<f32>,
    counts: Vec<u32>,
}

impl Tasks {
    /// Reads a classifier of tasks, checks it, and runs its self-checks.
    ///
    /// # Errors
    /// `ArtifactInvalid`, `ArtifactVersion`, `ArtifactChecksum`, `ArtifactSelfCheck`, or `EncoderMissing` where
    /// `encoder` is none or another than it was trained with.
    pub fn from_bytes(bytes: &[u8], encoder: Option<&Encoder>) -> Result<Self> {
        let (header, tensors) = Tensors::open::<Header>(bytes)?;
        let categories = header.categories.len();
        let spec = Spec::of(&header.spec).unwrap_or(Spec::NEWEST);
        let head = |name: &str| Head::load(name, &tensors, categories, DIM);
        let mut declared = Vec::with_capacity(header.heuristics.len());
        let (mut words, mut stop_words) = (Vec::new(), Vec::new());
        let mut scratch = FeatureScratch::default();
        for (at, each) in header.heuristics.iter().enumerate() {
            let field = format!("heuristics[{}]", each.name);
            let mut own = Declared { bias: each.bias, categories: Vec::new(), cues: Vec::new() };
            for (name, &weight) in &each.categories {
                let at = header.categories.iter().position(|each| each == name);
                own.categories.push((known(at, &field, name)?, weight));
            }
            for (name, &weight) in &each.cues {
                let at = CUE_NAMES.iter().position(|each| each == name);
                own.cues.push((known(at, &field, name)?, weight));
            }
            for (word, &weight) in &each.words {
                words.push((ngram_of(word, &field, spec, &mut scratch)?, at as u32, weight));
            }
            declared.push(own);
        }
        for (at, (code, listed)) in header.languages.iter().enumerate() {
            for word in listed {
                stop_words
                    .push((ngram_of(word, &format!("languages[{code}]"), spec, &mut scratch)?, at as u32));
            }
        }
        sort::unstable_by_key(&mut words, |&(ngram, heuristic, _)| (ngram, heuristic));
        sort::unstable(&mut stop_words);
        let measured = header.categories.iter().map(|name| header.weak.measured.contains(name)).collect();
        let tasks = Self {
            heads: [head("whole")?, head("beginning")?, head("end")?],
            cues: tensors.f32("cues", &[categories, CUES])?,
            cue_least: tensors.f32("cue_least", &[CUES])?,
            cue_most: tensors.f32("cue_most", &[CUES])?,
            weak_embedding: tensors.f32("weak.embedding", &[DIM])?,
            weak_cues: tensors.f32("weak.cues", &[CUES])?,
            declared,
            words,
            stop_words,
            measured,
            spec,
            header,
        };
        tasks.encoder(encoder)?;
        tasks.self_check(encoder)?;
        Ok(tasks)
    }

    /// Everything about the artifact that is not a weight.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What a text is; what it was made from is in `scratch`.
    ///
    /// # Errors
    /// `RequestInvalid` for white space alone; `EncoderMissing`.
    pub fn classify(&self, text: &str, encoder: Option<&Encoder>, scratch: &mut Scratch) -> Result<Task> {
        let encoder = self.encoder(encoder)?;
        let text = text.trim();
        let Scratch { scores, whole, edge, featuriser, head, part, .. } = scratch;
        featurise(&Request::text(text), self.spec, Some(encoder), featuriser, whole)?;
        let [known, _] = self.heads[0].scores(&input(whole), head, scores);
        let edges = [
            &text[..text.floor_char_boundary(EDGE)],
            &text[text.ceil_char_boundary(text.len().saturating_sub(EDGE))..],
        ];
        for (layer, piece) in self.heads[1..].iter().zip(edges) {
            // An end may be white space alone to the featuriser, as a run of marks is: then it says nothing.
            let read = if piece.len() == text.len() {
                &*whole
            } else if featurise(&Request::text(piece), self.spec, Some(encoder), featuriser, edge).is_ok() {
                &*edge
            } else {
                continue;
            };
            layer.scores(&input(read), head, part);
            for (score, more) in scores.iter_mut().zip(part.iter()) {
                *score += more;
            }
        }
        let mut cues = whole.cues;
        for (cue, (least, most)) in cues.iter_mut().zip(self.cue_least.iter().zip(&self.cue_most)) {
            *cue = cue.max(*least).min(*most);
        }
        for (score, weights) in scores.iter_mut().zip(self.cues.chunks_exact(CUES)) {
            *score += sum_of_products(weights, &cues);
        }
        Ok(self.finish(text, known, &cues, scratch))
    }

    /// Scores → answer.
    fn finish(&self, text: &str, known: f32, cues: &[f32; CUES], scratch: &mut Scratch) -> Task {
        let Scratch { scores, probabilities, heuristics, whole, counts, .. } = scratch;
        let mut best = 0;
        for (at, score) in scores.iter().enumerate() {
            if *score > scores[best] {
                best = at;
            }
        }
        let (highest, inverse) = (scores[best], 1.0 / self.header.temperature);
        probabilities.clear();
        probabilities.extend(scores.iter().map(|score| exp_nonpositive((score - highest) * inverse)));
        let sum: f32 = probabilities.iter().sum();
        for probability in probabilities.iter_mut() {
            *probability /= sum;
        }

        heuristics.clear();
        heuristics.extend(self.declared.iter().map(|each| {
            let of = |terms: &[(usize, f32)], values: &[f32]| -> f32 {
                terms.iter().map(|&(at, weight)| weight * values[at]).sum()
            };
            each.bias + of(&each.categories, probabilities) + of(&each.cues, cues)
        }));
        counts.clear();
        counts.resize(self.header.languages.len(), 0);
        for &ngram in whole.word_ngrams() {
            let from = self.words.partition_point(|&(each, ..)| each < ngram);
            for &(_, heuristic, weight) in self.words[from..].iter().take_while(|&&(each, ..)| each == ngram)
            {
                heuristics[heuristic as usize] += weight;
            }
            let from = self.stop_words.partition_point(|&(each, _)| each < ngram);
            for &(_, language) in self.stop_words[from..].iter().take_while(|&&(each, _)| each == ngram) {
                counts[language as usize] += 1;
            }
        }
        for value in heuristics.iter_mut() {
            *value = 1.0 / (1.0 + libm::expf(-*value));
        }

        let weak = &self.header.weak;
        let raw = weak.bias
            + sum_of_products(&self.weak_embedding, &whole.unit_embedding)
            + sum_of_products(&self.weak_cues, cues);
        let confidence = probabilities[best];
        Task {
            category: (confidence >= self.header.threshold && known >= self.header.least_known)
                .then_some(best),
            best,
            confidence,
            language: language::of(text, counts),
            weak_expected: interpolate(&weak.knots, &weak.values, raw).clamp(0.0, 1.0),
        }
    }

    fn encoder<'a>(&self, encoder: Option<&'a Encoder>) -> Result<&'a Encoder> {
        let wanted = &self.header.encoder;
        Encoder::wanted(encoder, wanted, "the artifact was trained")
    }

    fn self_check(&self, encoder: Option<&Encoder>) -> Result<()> {
        let mut scratch = Scratch::default();
        for (number, check) in self.header.self_check.iter().enumerate() {
            let failed = |value: String| {
                Error::new(
                    ErrorKind::ArtifactSelfCheck,
                    format!("self_check[{number}]"),
                    value,
                    "the artifact answers otherwise here than where it was made; train again and report it",
                )
            };
            let found = self
                .classify(&check.text, encoder, &mut scratch)
                .map_err(|error| failed(error.to_string()))?;
            let close = |a: f32, b: f32| (a - b).abs() <= SELF_CHECK_TOLERANCE;
            let same = scratch.probabilities.len() == check.probabilities.len()
                && scratch.probabilities.iter().zip(&check.probabilities).all(|(&a, &b)| close(a, b))
                && close(found.weak_expected, check.weak_expected);
            if !same {
                return Err(failed(format!("{found:?}, recorded {check:?}")));
            }
        }
        Ok(())
    }
}

fn input(features: &Features) -> Input<'_> {
    Input {
        words: features.word_ngrams(),
        characters: features.character_ngrams(),
        embedding: &features.embedding,
        inverse_norm: features.inverse_norm,
    }
}

fn sum_of_products(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The n-gram of a declared word.
fn ngram_of(word: &str, field: &str, spec: Spec, scratch: &mut FeatureScratch) -> Result<u32> {
    let mut features = Features::default();
    let read = featurise(&Request::text(word), spec, None, scratch, &mut features);
    match features.word_ngrams() {
        &[ngram] if read.is_ok() => Ok(ngram),
        _ => Err(invalid(format!("{field}.words"), word, "declare single words")),
    }
}

fn known(at: Option<usize>, field: &str, name: &str) -> Result<usize> {
    at.ok_or_else(|| invalid(field, name, "no such category or cue; train the artifact again"))
}
