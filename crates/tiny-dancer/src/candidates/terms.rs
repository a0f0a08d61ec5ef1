//! Text → hashed terms: what candidates are searched by.
//!
//! Words are the engine's tokens (see [`crate::text`]) without symbols and without the words of [`STOP`]. A clitic
//! (`'s`, `'t`, `'d`, `'ll`, `'m`, `'re`, `'ve`) is cut off; what is left is stemmed where it is plain Latin. Character
//! grams are taken from unstemmed words with their ends marked.

use crate::compose::Composer;
use crate::text::{Token, TokenKind, bounded, normalise, tokenise};

/// Characters in a character gram.
const GRAM: usize = 4;
/// Most words read of one text: bounds the work of one candidate or query.
pub const MOST_WORDS: usize = 2048;

/// Words too common to tell candidates apart.
const STOP: &[&str] = &[
    "a", "about", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "been", "being", "both",
    "but", "by", "can", "could", "did", "do", "does", "doing", "done", "down", "each", "for", "from", "had",
    "has", "have", "having", "he", "her", "here", "hers", "him", "his", "how", "i", "if", "in", "into", "is",
    "it", "its", "just", "may", "me", "might", "mine", "more", "most", "must", "my", "no", "nor", "not",
    "of", "off", "on", "onto", "or", "other", "our", "ours", "out", "over", "own", "same", "shall", "she",
    "should", "so", "some", "such", "than", "that", "the", "their", "theirs", "them", "then", "there",
    "these", "they", "this", "those", "to", "too", "under", "up", "us", "very", "was", "we", "were", "what",
    "when", "where", "which", "who", "whom", "whose", "why", "will", "with", "would", "you", "your", "yours",
];

const CLITICS: [&str; 7] = ["s", "t", "d", "ll", "m", "re", "ve"];

/// Suffixes in the order they are tried, each with what replaces it.
const SUFFIXES: [(&str, &str); 9] = [
    ("ies", "y"),
    ("sses", "ss"),
    ("ied", "y"),
    ("ing", ""),
    ("edly", ""),
    ("ed", ""),
    ("ly", ""),
    ("es", ""),
    ("s", ""),
];

/// The hashed terms of one text, each kind in the order of the text, repeats kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Stemmed words.
    pub words: Vec<u32>,
    /// Pairs of adjacent stemmed words, in whichever order.
    pub pairs: Vec<u32>,
    /// Grams of four characters within a word.
    pub grams: Vec<u32>,
}

impl Terms {
    fn clear(&mut self) {
        self.words.clear();
        self.pairs.clear();
        self.grams.clear();
    }
}

/// What reads terms, with the buffers it works in.
#[derive(Debug, Default)]
pub struct Reader {
    composer: Composer,
    characters: Vec<char>,
    tokens: Vec<Token>,
    word: Vec<char>,
    stem: Vec<char>,
}

const fn mix(hash: u64, value: u64) -> u64 {
    (hash ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}

fn fold(hash: u64) -> u32 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    (hash >> 32) as u32
}

fn hash_characters(characters: &[char]) -> u64 {
    characters.iter().fold(SEED, |hash, &character| mix(hash, character as u64))
}

const SEED: u64 = 0x51_7C_C1_B7;

/// Hashes of [`STOP`], sorted: a word is looked up by the hash it needs anyway.
const STOP_HASHES: [u64; STOP.len()] = {
    let mut hashes = [0; STOP.len()];
    let mut place = 0;
    while place < STOP.len() {
        let (word, mut hash, mut at) = (STOP[place].as_bytes(), SEED, 0);
        while at < word.len() {
            hash = mix(hash, word[at] as u64);
            at += 1;
        }
        let mut free = place;
        while free > 0 && hashes[free - 1] > hash {
            hashes[free] = hashes[free - 1];
            free -= 1;
        }
        hashes[free] = hash;
        place += 1;
    }
    hashes
};

fn is(characters: &[char], word: &str) -> bool {
    characters.iter().copied().eq(word.chars())
}

/// Words longer than any of [`STOP`] need not be looked up.
const LONGEST_STOP: usize = 6;

fn is_stop_word(word: &[char]) -> bool {
    word.len() <= LONGEST_STOP && STOP_HASHES.binary_search(&hash_characters(word)).is_ok()
}

/// `caroline's` → `caroline`, `don't` → `don`.
fn without_clitic(word: &[char]) -> &[char] {
    match word.iter().rposition(|&character| character == '\'') {
        Some(at) if CLITICS.iter().any(|clitic| is(&word[at + 1..], clitic)) => &word[..at],
        _ => word,
    }
}

fn ends_with(word: &[char], suffix: &str) -> bool {
    let count = suffix.len();
    word.len() >= count && is(&word[word.len() - count..], suffix)
}

/// Cuts the first suffix that matches, if three characters stay; then one of a doubled consonant and a final `e` go,
/// and a final `y` becomes `i`, where more than three characters are left. Words of three characters, and those with
/// other letters than a-z, stay as they are.
fn stem(word: &[char], out: &mut Vec<char>) {
    out.clear();
    out.extend_from_slice(word);
    if word.len() <= 3 || !word.iter().all(char::is_ascii_lowercase) {
        return;
    }
    // Every suffix ends in one of four letters.
    let may_end = matches!(word.last(), Some('s' | 'd' | 'g' | 'y'));
    let found = if may_end { SUFFIXES.iter().find(|(suffix, _)| ends_with(word, suffix)) } else { None };
    if let Some((suffix, new)) = found {
        let no_plural = *suffix == "s" && ["ss", "us", "is"].iter().any(|end| ends_with(word, end));
        if !no_plural && word.len() - suffix.len() + new.len() >= 3 {
            out.truncate(word.len() - suffix.len());
            out.extend(new.chars());
        }
    }
    if out.len() > 3 && out[out.len() - 1] == out[out.len() - 2] && !"aeiouls".contains(out[out.len() - 1]) {
        out.pop();
    }
    if out.len() > 3 && out.last() == Some(&'e') {
        out.pop();
    }
    if out.len() > 3 && out.last() == Some(&'y') {
        let last = out.len() - 1;
        out[last] = 'i';
    }
}

impl Reader {
    /// The terms of `text`, replacing what `out` held.
    pub fn read(&mut self, text: &str, out: &mut Terms) {
        out.clear();
        self.add(text, out);
    }

    /// Adds the terms of `text` to `out`; no pair reaches over from what was there.
    pub fn add(&mut self, text: &str, out: &mut Terms) {
        self.add_corrected(text, out, |_, _| false);
    }

    /// As [`Self::add`], of the text as `correct` reads it: it may change the characters and tokens it is given, and
    /// says whether it did.
    pub(crate) fn add_corrected(
        &mut self,
        text: &str,
        out: &mut Terms,
        correct: impl FnOnce(&mut Vec<char>, &mut [Token]) -> bool,
    ) -> bool {
        self.characters.clear();
        let (head, tail) = bounded(text);
        normalise(head, &mut self.composer, &mut self.characters);
        normalise(tail, &mut self.composer, &mut self.characters);
        tokenise(&self.characters, &mut self.tokens);
        let corrected = correct(&mut self.characters, &mut self.tokens);
        let mut previous: Option<u32> = None;
        for token in self.tokens.iter().filter(|token| token.kind != TokenKind::Symbol).take(MOST_WORDS) {
            let word = without_clitic(&self.characters[token.start as usize..token.end as usize]);
            if word.is_empty() || is_stop_word(word) {
                continue;
            }
            stem(word, &mut self.stem);
            let term = fold(hash_characters(&self.stem));
            out.words.push(term);
            if let Some(previous) = previous {
                let (low, high) = (previous.min(term), previous.max(term));
                out.pairs.push(fold(mix(mix(SEED, u64::from(low)), u64::from(high))));
            }
            previous = Some(term);
            self.word.clear();
            self.word.push('#');
            self.word.extend_from_slice(word);
            self.word.push('#');
            let grams = self.word.windows(GRAM.min(self.word.len()));
            out.grams.extend(grams.map(|gram| fold(mix(hash_characters(gram), 4))));
        }
        corrected
    }

    /// The text read last, in normal form.
    pub(crate) fn characters(&self) -> &[char] {
        &self.characters
    }

    /// The normalised words of the text read last, with whether they are numbers.
    pub fn tokens(&self) -> impl Iterator<Item = (&[char], TokenKind)> {
        self.tokens
            .iter()
            .map(|token| (&self.characters[token.start as usize..token.end as usize], token.kind))
    }

    /// Whether the text read last ends in a question mark.
    #[must_use]
    pub fn ends_as_question(&self) -> bool {
        matches!(self.characters.last(), Some('?' | '？' | '؟'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn terms(text: &str) -> Terms {
        let mut out = Terms::default();
        Reader::default().read(text, &mut out);
        out
    }

    fn stemmed(word: &str) -> String {
        let (word, mut out) = (word.chars().collect::<Vec<_>>(), Vec::new());
        stem(&word, &mut out);
        out.into_iter().collect()
    }

    #[test]
    fn stop_words_are_found_and_no_others() {
        let chars = |word: &str| word.chars().collect::<Vec<_>>();
        assert!(STOP.iter().all(|word| word.len() <= LONGEST_STOP && is_stop_word(&chars(word))));
        assert!(["tea", "painted", "whence", "x", "theta"].iter().all(|word| !is_stop_word(&chars(word))));
    }

    #[test]
    fn stems_are_as_stated() {
        for (word, expected) in [
            ("studies", "studi"),
            ("study", "studi"),
            ("studied", "studi"),
            ("painting", "paint"),
            ("painted", "paint"),
            ("paints", "paint"),
            ("running", "run"),
            ("classes", "class"),
            ("class", "class"),
            ("bus", "bus"),
            ("make", "mak"),
            ("making", "mak"),
            ("quickly", "quick"),
            ("red", "red"),
            ("über", "über"),
        ] {
            assert_eq!(stemmed(word), expected, "{word}");
        }
    }

    #[test]
    fn forms_of_a_word_are_one_term_and_stop_words_none() {
        assert_eq!(terms("the painters are PAINTING").words, terms("Painter painted").words);
        assert_eq!(terms("Caroline's").words, terms("caroline").words);
        assert_eq!(terms("what is it, and who's that?"), Terms::default());
        assert_ne!(terms("in 2022").words, terms("in 2023").words);
    }

    #[test]
    fn pairs_and_grams_are_those_of_the_words_left() {
        let found = terms("support groups");
        assert_eq!((found.words.len(), found.pairs.len()), (2, 1));
        assert_eq!(found.pairs, terms("the support of a group").pairs, "stop words do not part a pair");
        assert_eq!(found.pairs, terms("groups support").pairs, "nor does their order");
        assert_ne!(terms("tea tea").pairs, terms("bus bus").pairs);
        assert_eq!(found.grams.len(), 6 + 5, "#sup supp uppo ppor port ort#; #gro grou roup oups ups#");
        assert_eq!(terms("x").grams.len(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_read_within_bounds(text in "\\PC{0,300}") {
            let found = terms(&text);
            prop_assert!(found.words.len() <= MOST_WORDS);
            prop_assert!(found.pairs.len() <= found.words.len());
            prop_assert_eq!(&found, &terms(&text));
        }
    }
}
