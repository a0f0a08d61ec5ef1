//! Request → features: hashed n-grams, cues, pooled static embedding, token count.

use crate::compose::Composer;
use crate::cues::{Context, CueScratch, Similarity};
use crate::encoder::{Encoder, WordCache, quantise};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{dot_i8, inverse_norm};
use crate::text::{LONGEST, NGRAM_BITS, Seen, Token, bounded, ngrams, normalise, tokenise};

pub use crate::cues::{CUES, NAMES as CUE_NAMES};
pub use crate::encoder::DIM;

/// Version of everything between a request and its features. It changes when any feature of any request does.
pub const SPEC: &str = "1";
/// n-gram indices from here on are character n-grams; below, word n-grams.
pub const CHAR_BASE: u32 = 1 << NGRAM_BITS;
/// No request has a larger cue (the largest counts turns): with the bound on weights, every score is finite.
const LARGEST_CUE: f32 = 1e10;
/// Bytes of a tools document that are searched for functions and parameters.
const LONGEST_TOOLS: usize = 64 << 10;

/// Who speaks in a chat message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Standing instructions (`system`, `developer`).
    System,
    /// The user, whose words are what is routed.
    User,
    /// Anything said or returned before (`assistant`, `tool`, `function`).
    Assistant,
}

/// One chat message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: &'a str,
}

/// What has to be routed: a text, or chat messages; optionally the tools offered (as JSON).
///
/// Of messages, the user's, joined in order, are the text (all of them where none is the user's); the others
/// count through their number and length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// The text, where there are no messages.
    pub text: &'a str,
    /// The conversation, oldest first.
    pub messages: &'a [Message<'a>],
    /// JSON of the functions offered, or empty.
    pub tools: &'a str,
}

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
    joined: String,
    composer: Composer,
    characters: Vec<char>,
    tokens: Vec<Token>,
    segment: String,
    seen: Seen,
    cues: CueScratch,
    cache: WordCache,
    /// Pooled embeddings of the stem and of each option.
    parts: Vec<[i32; DIM]>,
}

/// Computes the features of `request` into `out`.
///
/// # Errors
/// `RequestInvalid` where nothing but white space is to be routed, or both text and messages are given.
pub fn featurise(
    request: &Request,
    encoder: Option<&Encoder>,
    scratch: &mut FeatureScratch,
    out: &mut Features,
) -> Result<()> {
    let FeatureScratch { joined, composer, characters, tokens, segment, seen, cues, cache, parts } = scratch;
    let (text, text_bytes, context) = routed_text(request, joined)?;
    let (head, tail) = bounded(text);
    characters.clear();
    normalise(head, composer, characters);
    normalise(tail, composer, characters);
    if characters.is_empty() {
        return Err(Error::new(
            ErrorKind::RequestInvalid,
            "text",
            "empty or white space",
            "give the text or messages of a request",
        ));
    }
    tokenise(characters, tokens);
    out.words = ngrams(characters, tokens, seen, &mut out.ngrams);

    cues.find_options(characters, tokens);
    let mut similarity = Similarity::default();
    let mut read = 0;
    if let Some(encoder) = encoder {
        parts.clear();
        for range in cues.parts() {
            segment.clear();
            segment.extend(&characters[range]);
            let mut sums = [0i32; DIM];
            read += encoder.encode(segment, cache, &mut sums).tokens;
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
        read = tokens.len() as u32;
    }
    out.finish_embedding();
    cues.fill(characters, tokens, similarity, context, &mut out.cues);

    // What was not read counts at the rate of what was; surroundings at four bytes a token.
    let bytes_read = (head.len() + tail.len()).max(1) as f64;
    let text_tokens = f64::from(read) * (text_bytes as f64 / bytes_read).max(1.0);
    let around = (context.system_bytes + context.assistant_bytes + request.tools.len()) as f64 / 4.0;
    out.tokens = (text_tokens + around).min(f64::from(u32::MAX)) as u32;
    Ok(())
}

/// The text to route, its whole length in bytes, and what surrounds it.
fn routed_text<'a>(request: &Request<'a>, joined: &'a mut String) -> Result<(&'a str, usize, Context)> {
    let mut context = Context { turns: 1, tool_bytes: request.tools.len(), ..Context::default() };
    let tools = &request.tools[..request.tools.floor_char_boundary(LONGEST_TOOLS)];
    context.tools = tools.matches("\"parameters\"").count() as u32;
    context.tool_parameters = (tools.matches("\"type\"").count() as u32).saturating_sub(context.tools);
    if request.messages.is_empty() {
        return Ok((request.text, request.text.len(), context));
    }
    if !request.text.is_empty() {
        return Err(Error::new(
            ErrorKind::RequestInvalid,
            "text",
            "given beside messages",
            "give either text or messages",
        ));
    }
    let any_user = request.messages.iter().any(|message| message.role == Role::User);
    let mut text_bytes = 0;
    context.turns = 0;
    joined.clear();
    for message in request.messages {
        let routed = !any_user || message.role == Role::User;
        context.turns += u32::from(message.role == Role::User);
        if routed {
            text_bytes += message.content.len();
            append_bounded(message.content, joined);
        } else if message.role == Role::System {
            context.system_bytes += message.content.len();
        } else {
            context.assistant_bytes += message.content.len();
        }
    }
    Ok((joined, text_bytes, context))
}

/// Appends a message's bounded text on a line of its own, dropping the middle of what grew too long.
fn append_bounded(content: &str, joined: &mut String) {
    let (head, tail) = bounded(content);
    for part in [head, tail] {
        if !joined.is_empty() {
            joined.push('\n');
        }
        joined.push_str(part);
    }
    if joined.len() > 4 * LONGEST {
        let cut = joined.floor_char_boundary(LONGEST);
        let keep = joined.ceil_char_boundary(joined.len() - LONGEST);
        joined.drain(cut..keep);
    }
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
