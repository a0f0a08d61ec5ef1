//! Slips of the fingers: a word that nobody knows is read as the known word one edit away that is likeliest.
//!
//! Known are the words of the texts an artifact was fitted on, and the whole words of the encoder. One edit is a swap
//! of two adjacent letters, a letter left out, another letter, or a letter too many (Damerau 1964). All words one edit
//! away are made and looked up (P. Norvig, "How to write a spelling corrector", 2007); of those that are known the most
//! frequent is taken, where a pair of words that the artifact's head has weights for counts as e³ times as frequent.
//! No word is written into an artifact: 40 bits of its hash stand for it.
//!
//! Left as they are: words of fewer than three letters or more than 32, words next to a digit or to a symbol of
//! identifiers, addresses and code, and words beyond the [`MOST_CORRECTIONS`] first unknown ones.
//!
//! A hash is a polynomial over the letters, so that those of all ≈ 54 L + 26 words one edit from a word of L letters
//! follow from those of its beginnings and ends with a product each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::artifact::{Tensors, invalid};
use crate::compose::Composer;
use crate::encoder::Encoder;
use crate::error::Result;
use crate::sort;
use crate::text::{Token, TokenKind, bounded, hash_characters, normalise_marked, pair_index, tokenise};

/// Shortest word that is corrected, or that another is corrected to, in letters.
pub const SHORTEST: usize = 3;
/// Longest word that is corrected, in letters.
pub const LONGEST_WORD: usize = 32;
/// Unknown words of a text that are looked at, those that come first.
pub const MOST_CORRECTIONS: usize = 64;
/// Bytes of a hash in an artifact.
pub const HASH_BYTES: usize = 5;
/// Most words of an artifact.
pub const MOST_WORDS: usize = 1 << 16;
/// Most letters that are tried.
const MOST_LETTERS: usize = 64;
/// A level is −8 ln of the share of texts that have the word; what a known pair of words takes off it.
const PAIR: i32 = 24;
/// A whole word of the encoder at rank r is taken to be in `0.1 / (50 + r)` of the texts.
const GENERAL: (f64, f64) = (0.1, 50.0);
const BASE: u64 = 0x9E37_79B9_7F4A_7C15;

/// What an artifact's header says of its words; the words are tensors `spelling.words` u8 \[n, 5\], the low 40 bits of
/// [`word_hash`], and `spelling.levels` u8 \[n\].
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Spelling {
    /// The letters that are tried, in this order.
    pub letters: String,
}

/// Known words; see the module.
#[derive(Debug)]
pub struct Speller {
    letters: Vec<char>,
    /// One bit for some bits of a hash: most words that are not there are told by it alone.
    filter: Box<[u64]>,
    /// Hash (40 bits) and level (8 bits) and a mark, 0 where free; at most half full.
    table: Box<[u64]>,
    /// Bit i: the head has weights for the pair of words of index i.
    pairs: Vec<u64>,
}

/// Buffers that correcting reuses.
#[derive(Debug, Default)]
pub(crate) struct SpellingScratch {
    /// Corrected words one after the other.
    letters: Vec<char>,
    /// Which token each replaces, and where it ends in `letters`.
    corrected: Vec<(usize, usize)>,
    rebuilt: Vec<char>,
}

/// A change of a word at a place.
#[derive(Clone, Copy)]
enum Edit {
    Swap(usize),
    LeaveOut(usize),
    Replace(usize, char),
    Insert(usize, char),
}

impl Edit {
    /// The word so changed, in `out`, which holds one letter more than the word.
    fn letters<'a>(self, word: &[char], out: &'a mut [char; LONGEST_WORD + 1]) -> &'a [char] {
        let length = word.len();
        match self {
            Self::Swap(at) => {
                out[..length].copy_from_slice(word);
                out.swap(at, at + 1);
                &out[..length]
            }
            Self::LeaveOut(at) => {
                out[..at].copy_from_slice(&word[..at]);
                out[at..length - 1].copy_from_slice(&word[at + 1..]);
                &out[..length - 1]
            }
            Self::Replace(at, letter) => {
                out[..length].copy_from_slice(word);
                out[at] = letter;
                &out[..length]
            }
            Self::Insert(at, letter) => {
                out[..at].copy_from_slice(&word[..at]);
                out[at] = letter;
                out[at + 1..=length].copy_from_slice(&word[at..]);
                &out[..=length]
            }
        }
    }
}

/// The powers of [`BASE`].
const POWERS: [u64; LONGEST_WORD + 2] = {
    let mut powers = [1u64; LONGEST_WORD + 2];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1].wrapping_mul(BASE);
        at += 1;
    }
    powers
};

/// 40 bits of the sum of letters times powers.
#[inline]
fn finished(sum: u64) -> u64 {
    let mixed = (sum ^ (sum >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    (mixed ^ (mixed >> 32)) & 0xFF_FFFF_FFFF
}

/// The hash of a word: 40 bits.
#[must_use]
pub fn word_hash(letters: impl IntoIterator<Item = char>) -> u64 {
    let add = |sum: u64, letter: char| sum.wrapping_mul(BASE).wrapping_add(u64::from(u32::from(letter)));
    finished(letters.into_iter().fold(0, add))
}

/// Level of a word that `count` of `all` have.
pub(crate) fn level_of(count: u32, all: usize) -> i32 {
    (-8.0 * libm::log(f64::from(count) / all.max(1) as f64)).round().clamp(0.0, 255.0) as i32
}

/// Level of the encoder's whole word of this rank.
fn general_level(rank: usize) -> u8 {
    let (share, offset) = GENERAL;
    (8.0 * libm::log((offset + rank as f64) / share)).round().clamp(0.0, 255.0) as u8
}

impl Speller {
    /// The whole words of an encoder alone, and the letters of English.
    pub(crate) fn of_encoder(encoder: &Encoder) -> Self {
        let header = Spelling { letters: "abcdefghijklmnopqrstuvwxyz'".to_owned() };
        Self::new(&header, &[], &[], Some(encoder), &[])
            .unwrap_or_else(|_| unreachable!("few letters, no words"))
    }

    /// Reads `spelling.words` and `spelling.levels`. `pairs` are the word pairs that the head has weights for.
    pub(crate) fn load(
        header: &Spelling,
        tensors: &Tensors,
        encoder: Option<&Encoder>,
        pairs: &[u64],
    ) -> Result<Self> {
        let levels = tensors.u8_vector("spelling.levels")?;
        let hashes = tensors.u8("spelling.words", &[levels.len(), HASH_BYTES])?;
        Self::new(header, &hashes, &levels, encoder, pairs)
    }

    /// From the words' hashes, five bytes each, and their levels.
    ///
    /// # Errors
    /// `ArtifactInvalid`: too many words or letters, not as many levels as words, no letters.
    pub fn new(
        header: &Spelling,
        hashes: &[u8],
        levels: &[u8],
        encoder: Option<&Encoder>,
        pairs: &[u64],
    ) -> Result<Self> {
        let letters: Vec<char> = header.letters.chars().collect();
        if letters.len() > MOST_LETTERS {
            let found = format!("{} letters", letters.len());
            return Err(invalid("spelling.letters", found, "at most 64 are tried; train again"));
        }
        let (words, rest) = hashes.as_chunks::<HASH_BYTES>();
        if !rest.is_empty() || words.len() != levels.len() || words.len() > MOST_WORDS {
            let found = format!("{} bytes for {} words", hashes.len(), levels.len());
            return Err(invalid("spelling.words", found, "five bytes a word, at most 65,536; train again"));
        }
        let mut all: Vec<(u64, u8)> = words
            .iter()
            .zip(levels)
            .map(|(&[a, b, c, d, e], &level)| (u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]), level))
            .collect();
        if let Some(encoder) = encoder {
            let ranked = encoder.whole_words().enumerate();
            all.extend(ranked.map(|(rank, word)| (word_hash(word.chars()), general_level(rank))));
        }
        let slots = (2 * all.len().max(1)).next_power_of_two();
        let mut speller = Self {
            letters,
            filter: vec![0; (4 * slots / 64).max(1)].into_boxed_slice(),
            table: vec![0; slots].into_boxed_slice(),
            pairs: pairs.to_vec(),
        };
        for (hash, level) in all {
            speller.insert(hash, level);
        }
        Ok(speller)
    }

    fn insert(&mut self, hash: u64, level: u8) {
        let (word, bit) = self.bit(hash);
        self.filter[word] |= bit;
        let mut at = hash as usize & (self.table.len() - 1);
        // Ends: the table is at most half full.
        loop {
            let entry = self.table[at];
            if entry == 0 || entry >> 16 == hash {
                let level = if entry == 0 { level } else { level.min(entry as u8) };
                self.table[at] = hash << 16 | 1 << 8 | u64::from(level);
                return;
            }
            at = (at + 1) & (self.table.len() - 1);
        }
    }

    #[inline]
    fn bit(&self, hash: u64) -> (usize, u64) {
        (hash as usize >> 6 & (self.filter.len() - 1), 1 << (hash & 63))
    }

    /// The level of a known word.
    #[inline]
    fn level(&self, hash: u64) -> Option<i32> {
        let (word, bit) = self.bit(hash);
        if self.filter[word] & bit == 0 {
            return None;
        }
        let mut at = hash as usize & (self.table.len() - 1);
        loop {
            let entry = self.table[at];
            if entry == 0 {
                return None;
            }
            if entry >> 16 == hash {
                return Some((entry & 0xFF) as i32);
            }
            at = (at + 1) & (self.table.len() - 1);
        }
    }

    fn knows(&self, word: &[char], more: &impl Fn(u64) -> Option<i32>) -> bool {
        let known = |part: &[char]| self.level_beside(word_hash(part.iter().copied()), more).is_some();
        known(word)
            || (word.contains(&'\'')
                && word.split(|&letter| letter == '\'').all(|part| part.len() < SHORTEST || known(part)))
    }

    /// The level of a word that is known here or by `more`; the lower of both.
    #[inline]
    fn level_beside(&self, hash: u64, more: &impl Fn(u64) -> Option<i32>) -> Option<i32> {
        match (self.level(hash), more(hash)) {
            (Some(own), Some(other)) => Some(own.min(other)),
            (own, other) => own.or(other),
        }
    }

    /// Whether a pair of words is one that the head has weights for.
    fn pairs_with(&self, first: u64, second: u64) -> bool {
        let index = pair_index(first, second) as usize;
        self.pairs.get(index / 64).is_some_and(|bits| bits >> (index % 64) & 1 == 1)
    }

    /// Reads unknown words as known ones, in `characters` and `tokens`; says whether there were any.
    pub(crate) fn correct(
        &self,
        characters: &mut Vec<char>,
        tokens: &mut [Token],
        scratch: &mut SpellingScratch,
    ) -> bool {
        self.correct_beside(characters, tokens, scratch, &|_| None)
    }

    /// As [`Self::correct`], with words that `more` knows beside those of this: hash → level.
    pub(crate) fn correct_beside(
        &self,
        characters: &mut Vec<char>,
        tokens: &mut [Token],
        scratch: &mut SpellingScratch,
        more: &impl Fn(u64) -> Option<i32>,
    ) -> bool {
        scratch.letters.clear();
        scratch.corrected.clear();
        let mut unknown = 0;
        for at in 0..tokens.len() {
            let token = tokens[at];
            if token.kind != TokenKind::Word || !(SHORTEST..=LONGEST_WORD).contains(&token.length()) {
                continue;
            }
            let (start, end) = (token.start as usize, token.end as usize);
            let word = &characters[start..end];
            if self.knows(word, more) || !stands_free(characters, start, end) {
                continue;
            }
            unknown += 1;
            if unknown > MOST_CORRECTIONS {
                break;
            }
            let before = at.checked_sub(1).map(|before| tokens[before].hash);
            let after = tokens.get(at + 1).map(|after| after.hash);
            let Some(edit) = self.likeliest(word, before, after, more) else { continue };
            let from = scratch.letters.len();
            let mut letters = ['\0'; LONGEST_WORD + 1];
            scratch.letters.extend_from_slice(edit.letters(word, &mut letters));
            tokens[at].hash = hash_characters(scratch.letters[from..].iter().copied());
            scratch.corrected.push((at, scratch.letters.len()));
        }
        if scratch.corrected.is_empty() {
            return false;
        }
        let SpellingScratch { letters, corrected, rebuilt, .. } = scratch;
        rebuilt.clear();
        let (mut next, mut from, mut read) = (corrected.iter().peekable(), 0, 0);
        for (at, token) in tokens.iter_mut().enumerate() {
            let (start, end) = (token.start as usize, token.end as usize);
            rebuilt.extend_from_slice(&characters[read..start]);
            let placed = rebuilt.len() as u32;
            if let Some(&&(_, until)) = next.peek().filter(|&&&(token, _)| token == at) {
                rebuilt.extend_from_slice(&letters[from..until]);
                from = until;
                next.next();
            } else {
                rebuilt.extend_from_slice(&characters[start..end]);
            }
            (token.start, token.end) = (placed, rebuilt.len() as u32);
            read = end;
        }
        rebuilt.extend_from_slice(&characters[read..]);
        std::mem::swap(characters, rebuilt);
        true
    }

    /// The edit to the likeliest known word: of the lowest level, the first of them where several are level. Swaps come
    /// first, then letters left out, other letters, letters put in, each from the front.
    fn likeliest(
        &self,
        word: &[char],
        before: Option<u64>,
        after: Option<u64>,
        more: &impl Fn(u64) -> Option<i32>,
    ) -> Option<Edit> {
        let length = word.len();
        let (mut starts, mut ends) = ([0u64; LONGEST_WORD + 1], [0u64; LONGEST_WORD + 1]);
        let value = |letter: char| u64::from(u32::from(letter));
        for at in 0..length {
            starts[at + 1] = starts[at].wrapping_mul(BASE).wrapping_add(value(word[at]));
        }
        for at in (0..length).rev() {
            ends[at] = value(word[at]).wrapping_mul(POWERS[length - 1 - at]).wrapping_add(ends[at + 1]);
        }
        let mut best: Option<(i32, Edit)> = None;
        let mut consider = |sum: u64, edit: Edit| {
            let Some(mut level) = self.level_beside(finished(sum), more) else { return };
            if !self.pairs.is_empty() {
                let mut letters = ['\0'; LONGEST_WORD + 1];
                let changed = edit.letters(word, &mut letters);
                let hash = hash_characters(changed.iter().copied());
                level -= PAIR * i32::from(before.is_some_and(|before| self.pairs_with(before, hash)));
                level -= PAIR * i32::from(after.is_some_and(|after| self.pairs_with(hash, after)));
            }
            if best.is_none_or(|(lowest, _)| level < lowest) {
                best = Some((level, edit));
            }
        };
        let join = |start: u64, power: usize, end: u64| start.wrapping_mul(POWERS[power]).wrapping_add(end);
        for at in 0..length - 1 {
            let two = value(word[at + 1]).wrapping_mul(BASE).wrapping_add(value(word[at]));
            let start = starts[at].wrapping_mul(POWERS[2]).wrapping_add(two);
            consider(join(start, length - 2 - at, ends[at + 2]), Edit::Swap(at));
        }
        if length > SHORTEST {
            for at in 0..length {
                consider(join(starts[at], length - 1 - at, ends[at + 1]), Edit::LeaveOut(at));
            }
        }
        for at in 0..length {
            let rest = join(starts[at].wrapping_mul(BASE), length - 1 - at, ends[at + 1]);
            for &letter in &self.letters {
                let sum = rest.wrapping_add(value(letter).wrapping_mul(POWERS[length - 1 - at]));
                consider(sum, Edit::Replace(at, letter));
            }
        }
        for at in 0..=length {
            let rest = join(starts[at].wrapping_mul(BASE), length - at, ends[at]);
            for &letter in &self.letters {
                let sum = rest.wrapping_add(value(letter).wrapping_mul(POWERS[length - at]));
                consider(sum, Edit::Insert(at, letter));
            }
        }
        best.map(|(_, edit)| edit)
    }
}

/// Whether nothing next to a word says that it is part of an identifier, an address or code.
fn stands_free(characters: &[char], start: usize, end: usize) -> bool {
    let free = |character: char| {
        matches!(character, ' ' | ',' | ';' | ':' | '!' | '?' | '(' | ')' | '"' | '\'' | '-')
            || !character.is_ascii() && !character.is_alphanumeric()
    };
    let before = start.checked_sub(1).is_none_or(|before| free(characters[before]));
    let ends_sentence =
        characters.get(end) == Some(&'.') && characters.get(end + 1).is_none_or(|&next| next == ' ');
    before && (ends_sentence || characters.get(end).is_none_or(|&after| free(after)))
}

/// Words of three letters to 32 in texts, by hash: in how many texts each is; and how often each letter is written.
#[must_use]
pub fn count<'a>(texts: impl IntoIterator<Item = &'a str>) -> (BTreeMap<u64, u32>, BTreeMap<char, u32>) {
    let (mut words, mut letters): (BTreeMap<u64, u32>, BTreeMap<char, u32>) = Default::default();
    let (mut composer, mut characters, mut tokens) = (Composer::default(), Vec::new(), Vec::new());
    let mut own = Vec::new();
    for text in texts {
        characters.clear();
        let (head, tail) = bounded(text);
        normalise_marked(head, &mut composer, &mut characters);
        normalise_marked(tail, &mut composer, &mut characters);
        tokenise(&characters, &mut tokens);
        own.clear();
        for token in tokens.iter().filter(|token| token.kind == TokenKind::Word) {
            let word = &characters[token.start as usize..token.end as usize];
            for &letter in word {
                *letters.entry(letter).or_default() += 1;
            }
            if (SHORTEST..=LONGEST_WORD).contains(&word.len()) {
                own.push(word_hash(word.iter().copied()));
            }
        }
        sort::many::unstable(&mut own);
        own.dedup();
        for &hash in &own {
            *words.entry(hash).or_default() += 1;
        }
    }
    (words, letters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn speller(words: &[(&str, u8)], letters: &str) -> Speller {
        let hashes: Vec<u8> = words
            .iter()
            .flat_map(|(word, _)| word_hash(word.chars()).to_le_bytes().into_iter().take(HASH_BYTES))
            .collect();
        let levels: Vec<u8> = words.iter().map(|&(_, level)| level).collect();
        let header = Spelling { letters: letters.to_owned() };
        Speller::new(&header, &hashes, &levels, None, &[]).expect("sound")
    }

    fn read(speller: &Speller, text: &str) -> Option<String> {
        let (mut characters, mut tokens) = (text.chars().collect::<Vec<char>>(), Vec::new());
        tokenise(&characters, &mut tokens);
        let changed = speller.correct(&mut characters, &mut tokens, &mut SpellingScratch::default());
        let mut again = Vec::new();
        tokenise(&characters, &mut again);
        let places = |tokens: &[Token]| {
            tokens.iter().map(|token| (token.start, token.end, token.hash)).collect::<Vec<_>>()
        };
        assert_eq!(places(&tokens), places(&again), "tokens are those of the text as it was read");
        changed.then(|| characters.into_iter().collect())
    }

    /// Every word one edit away, in order.
    fn edits(word: &[char], letters: &str) -> Vec<Vec<char>> {
        let length = word.len();
        let mut found = Vec::new();
        let mut put = |before: usize, middle: &[char], after: usize| {
            found.push([&word[..before], middle, &word[after..]].concat());
        };
        (0..length - 1).for_each(|at| put(at, &[word[at + 1], word[at]], at + 2));
        if length > SHORTEST {
            (0..length).for_each(|at| put(at, &[], at + 1));
        }
        for at in 0..length {
            letters.chars().for_each(|letter| put(at, &[letter], at + 1));
        }
        for at in 0..=length {
            letters.chars().for_each(|letter| put(at, &[letter], at));
        }
        found
    }

    proptest! {
        #[test]
        fn the_likeliest_word_is_that_of_the_textbook(
            known in prop::collection::vec(("[abc]{3,7}", 0u8..4), 1..40), word in "[abcd]{3,7}"
        ) {
            let mut levels: BTreeMap<String, u8> = BTreeMap::new();
            for (word, level) in &known {
                let lower = levels.entry(word.clone()).or_insert(*level);
                *lower = (*lower).min(*level);
            }
            let words: Vec<(&str, u8)> = known.iter().map(|(word, level)| (word.as_str(), *level)).collect();
            let letters: Vec<char> = word.chars().collect();
            let expected = edits(&letters, "abc")
                .into_iter()
                .map(String::from_iter)
                .filter(|word: &String| levels.contains_key(word))
                .min_by_key(|word| levels[word]);
            let expected = if levels.contains_key(&word) { None } else { expected };
            prop_assert_eq!(read(&speller(&words, "abc"), &word), expected);
        }

        #[test]
        fn any_text_is_read_and_what_is_known_stays(text in "[a-eé' .,_0-9好-]{0,60}") {
            let known = speller(&[("abc", 1), ("abcd", 2), ("café", 3)], "abcdeé'");
            let (mut characters, mut tokens) = (Vec::new(), Vec::new());
            crate::text::normalise(&text, &mut Composer::default(), &mut characters);
            tokenise(&characters, &mut tokens);
            let all_known = tokens.iter().all(|token| {
                let word = &characters[token.start as usize..token.end as usize];
                token.kind != TokenKind::Word || token.length() < SHORTEST || known.knows(word, &|_| None)
            });
            let normal: String = characters.iter().collect();
            let found = read(&known, &normal);
            prop_assert!(!all_known || found.is_none());
            // What was read is read as it is the second time.
            if let Some(found) = found {
                prop_assert_eq!(read(&known, &found), None);
            }
        }
    }

    #[test]
    fn words_are_counted_once_a_text() {
        let (words, letters) = count(["the order, the ORDER", "an order of 12 x²"]);
        let counted = |word: &str| words.get(&word_hash(word.chars())).copied();
        assert_eq!((counted("order"), counted("the"), counted("an")), (Some(2), Some(1), None));
        assert_eq!((letters[&'o'], letters[&'x']), (4, 1));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let field = |letters: &str, hashes: &[u8], levels: &[u8]| {
            let header = Spelling { letters: letters.to_owned() };
            Speller::new(&header, hashes, levels, None, &[]).map(|_| ()).unwrap_err().field
        };
        assert_eq!(field("a", &[0; 9], &[1, 2]), "spelling.words");
        assert_eq!(field("a", &[0; 10], &[1]), "spelling.words");
        assert_eq!(field(&"a".repeat(65), &[0; 5], &[1]), "spelling.letters");
    }

    #[test]
    fn general_words_get_rarer_by_rank() {
        assert_eq!((general_level(0), general_level(950), general_level(23_000)), (50, 74, 99));
    }
}
