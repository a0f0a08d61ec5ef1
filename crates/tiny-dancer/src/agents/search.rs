//! Which agents a request is about: cards of what they say of themselves, compared with it without a call to anybody.
//!
//! A card has a name, a description, capabilities and example requests. Each example, and what the card says of itself,
//! is an entry that is compared with the request: the highest cosine counts half, because one request is like one example.
//! The other half is the cosine with the mean of all entries (the prototype), because what entries have in common is what
//! the agent is about: a card with an example of everything is about nothing. To them is added what names and words have
//! in common, the score of tools ([`crate::tools`]) of the whole card times [`WORDS`].

use std::sync::Arc;

use serde::Deserialize;

use super::agent::refused;
use crate::encoder::{DIM, Encoder, WordCache, quantise};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{dot_rows_i8, inverse_norm};
use crate::sort;
use crate::text::bounded;
use crate::tools::{Definition, ToolScratch, ToolSet, Turn, cut_name};

/// What a unit of the score of words counts, in cosines: chosen, as the halves above are, on cards with examples and on
/// catalogues of tools and of intents without any, for recall among the first three of all; anything from .004 to .009
/// does as well.
pub const WORDS: f32 = 0.006;

/// Length of a vector as whole numbers: 2^16 of them stay within an i32.
const UNIT: f32 = 32_000.0;

/// What an agent says of itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// What the agent goes by.
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub description: String,
    /// What it can do.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Requests it answers.
    #[serde(default)]
    pub examples: Vec<String>,
}

/// Cards to search.
#[derive(Debug)]
pub struct Cards {
    encoder: Arc<Encoder>,
    words: ToolSet,
    names: Vec<Box<str>>,
    /// \[entries, 256\], and 1 / length of each.
    entries: Vec<i8>,
    inverse_norms: Vec<f32>,
    /// Where the entries of each card end. The last of each is its prototype.
    ends: Vec<u32>,
}

/// A card that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Its place among the cards.
    pub card: u32,
    /// What it is ordered by.
    pub score: f32,
    /// Cosine of request and nearest example or description, in [0, 1].
    pub relevance: f32,
}

/// Buffers of one thread; they hold the last search.
#[derive(Debug, Default)]
pub struct SearchScratch {
    tools: ToolScratch,
    products: Vec<i32>,
    cache: WordCache,
    found: Vec<Found>,
}

impl Cards {
    /// Reads cards.
    ///
    /// # Errors
    /// `CandidateInvalid`: two of one name, or too many.
    pub fn new(encoder: Arc<Encoder>, cards: &[Card]) -> Result<Self> {
        let mut words = ToolSet::new(Some(Arc::clone(&encoder)));
        let definitions: Vec<(String, Definition)> = cards
            .iter()
            .map(|card| {
                let mut said = vec![card.description.as_str()];
                said.extend(card.examples.iter().map(String::as_str));
                let definition = Definition {
                    name: card.name.clone(),
                    namespace: String::new(),
                    namespace_description: String::new(),
                    description: said.join("\n"),
                    arguments: card.capabilities.clone(),
                    argument_texts: Vec::new(),
                    source: String::new(),
                };
                (card.name.clone(), definition)
            })
            .collect();
        words.add(&definitions)?;
        let mut cards_read = Self {
            encoder,
            words,
            names: cards.iter().map(|card| card.name.as_str().into()).collect(),
            entries: Vec::new(),
            inverse_norms: Vec::new(),
            ends: Vec::new(),
        };
        let mut cache = WordCache::default();
        for card in cards {
            let about =
                format!("{}. {} {}", cut_name(&card.name).0, card.description, card.capabilities.join(", "));
            let mut prototype = [0; DIM];
            for text in std::iter::once(&about).chain(&card.examples) {
                let mut sums = [0; DIM];
                cards_read.encoder.encode(bounded(text).0, &mut cache, &mut sums);
                let (direction, norm) = cards_read.push(&sums);
                for (sum, value) in prototype.iter_mut().zip(direction) {
                    // Each counts the same, however long it is.
                    *sum += (f32::from(value) * norm * UNIT) as i32;
                }
            }
            cards_read.push(&prototype);
            cards_read.ends.push(cards_read.inverse_norms.len() as u32);
        }
        Ok(cards_read)
    }

    /// Adds an entry; gives its direction and 1 / length of it.
    fn push(&mut self, sums: &[i32; DIM]) -> ([i8; DIM], f32) {
        let mut direction = [0; DIM];
        quantise(sums, &mut direction);
        let norm = inverse_norm(&direction);
        self.inverse_norms.push(norm);
        self.entries.extend(direction);
        (direction, norm)
    }

    /// Reads a JSON list of cards.
    ///
    /// # Errors
    /// `CandidateInvalid`: no such list, and as [`Cards::new`].
    pub fn from_json(encoder: Arc<Encoder>, json: &str) -> Result<Self> {
        let cards: Vec<Card> = crate::json::typed(json)
            .map_err(|error| refused("cards", error, "give a list of objects with a name"))?;
        Self::new(encoder, &cards)
    }

    /// Number of cards.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Name of a card.
    #[must_use]
    pub fn name(&self, card: u32) -> &str {
        &self.names[card as usize]
    }

    /// The `k` cards a text is about, best first; equal ones by name.
    ///
    /// # Errors
    /// `RequestInvalid` where nothing is said; `OptionInvalid` for a `k` of 0.
    pub fn search<'a>(&self, text: &str, k: usize, scratch: &'a mut SearchScratch) -> Result<&'a [Found]> {
        if k == 0 {
            return Err(Error::new(ErrorKind::OptionInvalid, "k", 0, "ask for one agent or more"));
        }
        let SearchScratch { tools, products, cache, found } = scratch;
        let scores = self.words.score(&[Turn::whole(text)], tools)?;
        let mut sums = [0; DIM];
        self.encoder.encode(bounded(text).0, cache, &mut sums);
        let mut direction = [0; DIM];
        quantise(&sums, &mut direction);
        let norm = inverse_norm(&direction);
        dot_rows_i8(&self.entries, &direction, products);
        found.clear();
        let mut from = 0;
        for (card, (&end, &score)) in self.ends.iter().zip(scores).enumerate() {
            let cosine = |at: usize| products[at] as f32 * (norm * self.inverse_norms[at]);
            let prototype = end as usize - 1;
            let relevance = (from..prototype).map(cosine).fold(0.0, f32::max).min(1.0);
            let meaning = f32::midpoint(relevance, cosine(prototype));
            found.push(Found { card: card as u32, score: meaning + WORDS * score, relevance });
            from = end as usize;
        }
        let order = |one: &Found, two: &Found| {
            two.score.total_cmp(&one.score).then_with(|| self.name(one.card).cmp(self.name(two.card)))
        };
        if k < found.len() {
            sort::select_by(found, k, order);
            found.truncate(k);
        }
        sort::unstable_by(found, order);
        Ok(found)
    }
}
