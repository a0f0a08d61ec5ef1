//! Request → features: hashed n-grams, cues, pooled static embedding, token count.
//!
//! What is done for each request stands in functions of its own, which are put inline nowhere: an engine of WebAssembly
//! keeps nothing of a very large function in registers.

use crate::compose::Composer;
use crate::cues::{CueScratch, Similarity};
use crate::encoder::{Encoder, WordCache, quantise};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{dot_f32, dot_i8, inverse_norm};
use crate::request::{self, Around, ReadScratch, Reading, Request, Spec};
use crate::shape::Shape;
use crate::spelling::{Speller, SpellingScratch};
use crate::text::{NGRAM_BITS, Seen, Token, bounded, ngrams, normalise, normalise_marked, tokenise};

pub use crate::cues::{CUES, NAMES as CUE_NAMES};
pub use crate::encoder::DIM;

/// Version of everything between a request and its features, as artifacts name it: [`Spec::NEWEST`].
pub const SPEC: &str = "3";
/// n-gram indices from here on are character n-grams; below, word n-grams.
pub const CHAR_BASE: u32 = 1 << NGRAM_BITS;
/// No request has a larger cue (the largest counts turns): with the bound on weights, every score is finite.
const LARGEST_CUE: f32 = 1e10;

/// Features of one request.
#[derive(Clone, Debug)]
pub struct Features {
    /// Distinct n-gram indices, words' before characters'.
    ngrams: Vec<u32>,
    words: usize,
    /// See [`CUE_NAMES`].
    pub cues: [f32; CUES],
    /// Direction of the pooled embedding.
    pub embedding: [i8; DIM],
    /// The same at length 1; all zero where no token is known.
    pub unit_embedding: [f32; DIM],
    /// 1 / length of `embedding`, or 0.
    pub inverse_norm: f32,
    /// Prompt tokens: word pieces of what was read, the rest estimated.
    pub tokens: u32,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            ngrams: Vec::new(),
            words: 0,
            cues: [0.0; CUES],
            embedding: [0; DIM],
            unit_embedding: [0.0; DIM],
            inverse_norm: 0.0,
            tokens: 0,
        }
    }
}

impl Features {
    /// Word n-gram indices, below [`CHAR_BASE`].
    #[must_use]
    pub fn word_ngrams(&self) -> &[u32] {
        &self.ngrams[..self.words]
    }

    /// Character n-gram indices, from [`CHAR_BASE`] on.
    #[must_use]
    pub fn character_ngrams(&self) -> &[u32] {
        &self.ngrams[self.words..]
    }

    /// The product of the unit embedding and weights, [DIM]; nothing is multiplied where no token is known.
    pub(crate) fn embedded(&self, weights: &[f32]) -> f32 {
        if self.inverse_norm == 0.0 { 0.0 } else { dot_f32(weights, &self.unit_embedding) }
    }

    /// Features as a featurised table holds them; `ngrams` sorted, so words come first.
    ///
    /// # Errors
    /// `RequestInvalid` for an index outside its space, unsorted indices or a cue that is not finite.
    pub fn set(
        &mut self,
        ngrams: &[u32],
        cues: &[f32; CUES],
        embedding: &[i8; DIM],
        tokens: u32,
    ) -> Result<()> {
        if ngrams.windows(2).any(|pair| pair[0] >= pair[1])
            || ngrams.last().is_some_and(|&i| i >= 2 * CHAR_BASE)
        {
            return Err(Error::new(
                ErrorKind::RequestInvalid,
                "features|ngrams",
                "unsorted, repeated or out of range",
                "featurise the table again with this version",
            ));
        }
        if let Some(at) = cues.iter().position(|cue| cue.abs() > LARGEST_CUE || cue.is_nan()) {
            return Err(Error::new(
                ErrorKind::RequestInvalid,
                format!("features|cues[{at}]"),
                cues[at],
                "cues are finite and at most 1e10; featurise the table again",
            ));
        }
        self.ngrams.clear();
        self.ngrams.extend_from_slice(ngrams);
        self.words = ngrams.partition_point(|&index| index < CHAR_BASE);
        self.cues = *cues;
        self.embedding = *embedding;
        self.tokens = tokens;
        self.finish_embedding();
        Ok(())
    }

    fn finish_embedding(&mut self) {
        self.inverse_norm = inverse_norm(&self.embedding);
        for (unit, &value) in self.unit_embedding.iter_mut().zip(&self.embedding) {
            *unit = f32::from(value) * self.inverse_norm;
        }
    }
}

/// Buffers a featuriser reuses: after the first requests it allocates nothing.
#[derive(Debug, Default)]
pub struct FeatureScratch {
    read: ReadScratch,
    composer: Composer,
    shape: Shape,
    characters: Vec<char>,
    tokens: Vec<Token>,
    segment: String,
    seen: Seen,
    spelling: SpellingScratch,
    /// Whether words of the last request were read as others.
    corrected: bool,
    cues: CueScratch,
    cache: WordCache,
    /// Pooled embeddings of the stem and of each option.
    parts: Vec<[i32; DIM]>,
}

impl FeatureScratch {
    /// The last request as it was read, in normal form, where words of it were read as others.
    #[must_use]
    pub fn read_as(&self) -> Option<String> {
        self.corrected.then(|| self.characters.iter().collect())
    }
}

/// Computes the features of `request` into `out`.
///
/// # Errors
/// `RequestInvalid` for JSON that is none or no request, and where nothing but white space is to be routed.
pub fn featurise(
    request: &Request,
    spec: Spec,
    encoder: Option<&Encoder>,
    scratch: &mut FeatureScratch,
    out: &mut Features,
) -> Result<()> {
    featurise_corrected(request, spec, encoder, None, scratch, out)
}

/// As [`featurise`], of the request as `speller` reads it.
///
/// # Errors
/// As [`featurise`].
#[inline(never)]
pub fn featurise_corrected(
    request: &Request,
    spec: Spec,
    encoder: Option<&Encoder>,
    speller: Option<&Speller>,
    scratch: &mut FeatureScratch,
    out: &mut Features,
) -> Result<()> {
    let FeatureScratch {
        read,
        composer,
        shape,
        characters,
        tokens,
        segment,
        seen,
        spelling,
        corrected,
        cues,
        cache,
        parts,
    } = scratch;
    let Reading { text, text_bytes, around } = request::read(request, spec, read)?;
    let (head, tail) = bounded(text);
    characters.clear();
    let normal = if spec == Spec::Three { normalise_marked } else { normalise };
    normal(head, composer, characters);
    normal(tail, composer, characters);
    if characters.is_empty() {
        return Err(Error::new(
            ErrorKind::RequestInvalid,
            "text",
            "empty or white space",
            "give the text or messages of a request",
        ));
    }
    tokenise(characters, tokens);
    let written = tokens.len();
    if spec == Spec::Three {
        shape.make_plain(characters, tokens);
    }
    *corrected = speller.is_some_and(|speller| speller.correct(characters, tokens, spelling));
    out.words = ngrams(characters, tokens, seen, &mut out.ngrams);

    cues.find_options(characters, tokens);
    let mut similarity = Similarity::default();
    let mut pieces = 0;
    if let Some(encoder) = encoder {
        parts.clear();
        for range in cues.parts() {
            segment.clear();
            segment.extend(&characters[range]);
            let mut sums = [0i32; DIM];
            pieces += encoder.encode(segment, cache, &mut sums).tokens;
            parts.push(sums);
        }
        similarity = part_similarity(parts);
        let mut sums = [0i32; DIM];
        for part in parts.iter() {
            for (sum, value) in sums.iter_mut().zip(part) {
                *sum += value;
            }
        }
        quantise(&sums, &mut out.embedding);
    } else {
        out.embedding = [0; DIM];
        pieces = tokens.len() as u32;
    }
    out.finish_embedding();
    cues.fill(characters, tokens, similarity, around, &mut out.cues);

    // What was not read, or left out as wrapping, counts at the rate of the rest; surroundings at four bytes a token.
    let bytes_read = (head.len() + tail.len()).max(1) as f64;
    let left_out = (written as f64 / tokens.len().max(1) as f64).max(1.0);
    let text_tokens = f64::from(pieces) * (text_bytes as f64 / bytes_read).max(1.0) * left_out;
    let Around { system_bytes, assistant_bytes, tool_bytes, format_bytes, .. } = around;
    let surrounding = (system_bytes + assistant_bytes + tool_bytes + format_bytes) as f64 / 4.0;
    out.tokens = (text_tokens + surrounding).min(f64::from(u32::MAX)) as u32;
    Ok(())
}

/// Cosines of the options with each other and with the stem, of embeddings rounded to int8.
fn part_similarity(parts: &[[i32; DIM]]) -> Similarity {
    /// Markers run from a to j.
    const MOST_OPTIONS: usize = 10;
    let mut rounded = [[0i8; DIM]; MOST_OPTIONS + 1];
    let mut inverse = [0f32; MOST_OPTIONS + 1];
    let count = parts.len().min(MOST_OPTIONS + 1);
    if count < 3 {
        return Similarity::default();
    }
    for (index, part) in parts[..count].iter().enumerate() {
        quantise(part, &mut rounded[index]);
        inverse[index] = inverse_norm(&rounded[index]);
    }
    let cosine = |a: usize, b: usize| dot_i8(&rounded[a], &rounded[b]) as f32 * inverse[a] * inverse[b];
    let (mut sum, mut highest, mut stem) = (0f32, -1f32, 0f32);
    for first in 1..count {
        for second in first + 1..count {
            sum += cosine(first, second);
            highest = highest.max(cosine(first, second));
        }
        stem += cosine(0, first);
    }
    let options = count - 1;
    Similarity {
        options_mean: sum / (options * (options - 1) / 2) as f32,
        options_highest: highest,
        stem_option: stem / options as f32,
    }
}
