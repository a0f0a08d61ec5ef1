//! Text → normalised characters → tokens → hashed n-grams.
//!
//! * **Bound.** Of a text longer than [`LONGEST`] bytes the first [`HEAD`] and last [`TAIL`] are read, cut at
//!   character boundaries and joined by a space; the work is bounded whatever comes in.
//! * **Normalisation.** Unicode NFKC, lower case, control characters and white space to single spaces, ends
//!   trimmed; the typographic apostrophe becomes the plain one. Code keeps its punctuation and loses case and indentation; maths keeps its symbols, and NFKC turns
//!   `x²` into `x2` and `½` into `1⁄2`; full-width forms become ASCII. Other scripts are kept.
//! * **Tokens.** A word is a run of letters (with inner apostrophes); letters of scripts written without spaces
//!   (Chinese, Japanese kana, Thai, Lao, Khmer, Myanmar) are words of one letter. A number is a run of digits with
//!   inner commas and one decimal point. Anything else but a space is a symbol of its own.
//! * **n-grams.** Words: hashes of 1 and 2 adjacent tokens. Characters: hashes of 3 and 4 adjacent characters,
//!   spaces included. Every digit counts as `0` in both: size and count of numbers are the cues' business.

use crate::compose::Composer;

/// Longest text read whole, in bytes.
pub const LONGEST: usize = 8192;
/// Bytes read from the front of a longer text.
pub const HEAD: usize = 6144;
/// Bytes read from its end.
pub const TAIL: usize = 2048;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Letters.
    Word,
    /// Digits.
    Number,
    /// One other character.
    Symbol,
}

/// A token of the normalised text.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// First character.
    pub start: u32,
    /// One past the last character.
    pub end: u32,
    /// What it is.
    pub kind: TokenKind,
    /// Hash of its characters, digits as `0`.
    pub hash: u64,
}

impl Token {
    /// Characters in the token.
    #[must_use]
    pub fn length(&self) -> usize {
        (self.end - self.start) as usize
    }
}

/// The parts of `text` that are read: all of it, or head and tail.
#[must_use]
pub fn bounded(text: &str) -> (&str, &str) {
    if text.len() <= LONGEST {
        return (text, "");
    }
    let head = text.floor_char_boundary(HEAD);
    let tail = text.ceil_char_boundary(text.len() - TAIL);
    (&text[..head], &text[tail..])
}

/// How many steps are kept from the front and how many from the back of `steps`, where at most `most` are read:
/// three quarters and one, as of texts.
pub(crate) fn head_and_tail(steps: usize, most: usize) -> (usize, usize) {
    if steps <= most { (steps, 0) } else { (most - most / 4, most / 4) }
}

/// Appends the normal form of `text` to `out`, as characters; a space precedes it unless `out` is empty.
#[inline(never)]
pub fn normalise(text: &str, composer: &mut Composer, out: &mut Vec<char>) {
    if text.is_ascii() {
        return normalise_ascii(text, out);
    }
    let mut space = !out.is_empty();
    let mut push = |character: char, out: &mut Vec<char>| {
        if character.is_whitespace() || character.is_control() {
            space = !out.is_empty();
            return;
        }
        if space {
            out.push(' ');
            space = false;
        }
        if character.is_ascii() {
            out.push(character.to_ascii_lowercase());
        } else if character == '’' {
            out.push('\'');
        } else {
            out.extend(character.to_lowercase());
        }
    };
    composer.compose(text, |character| push(character, out));
}

/// As [`normalise`], of ASCII: what is not to be seen of it is white space or a control character.
fn normalise_ascii(text: &str, out: &mut Vec<char>) {
    let mut space = !out.is_empty();
    out.reserve(text.len() + 1);
    for byte in text.bytes() {
        if byte.is_ascii_graphic() {
            if space {
                out.push(' ');
                space = false;
            }
            out.push(char::from(byte.to_ascii_lowercase()));
        } else {
            space = !out.is_empty();
        }
    }
}

/// Numbers and letters in circles and squares, which NFKC takes out of them or leaves as they are: the first of each
/// run, how many, and what the first stands for.
const ENCLOSED: [(u32, u32, char); 9] = [
    (0x2460, 20, '1'),
    (0x24B6, 26, 'a'),
    (0x24D0, 26, 'a'),
    (0x2776, 10, '1'),
    (0x2780, 10, '1'),
    (0x278A, 10, '1'),
    (0x1_F130, 26, 'a'),
    (0x1_F150, 26, 'a'),
    (0x1_F170, 26, 'a'),
];

/// What a character in a circle or square says: the first of its characters, and a second one.
fn enclosed(character: char) -> Option<(char, Option<char>)> {
    if character < '\u{2460}' {
        return None;
    }
    ENCLOSED.iter().find_map(|&(first, count, start)| {
        let rank = u32::from(character).checked_sub(first).filter(|rank| *rank < count)?;
        if start == 'a' {
            return char::from_u32(u32::from('a') + rank).map(|letter| (letter, None));
        }
        let digit = |value: u32| char::from_digit(value, 10);
        match rank + 1 {
            number @ 1..=9 => digit(number).map(|digit| (digit, None)),
            number => digit(number / 10).map(|tens| (tens, digit(number % 10))),
        }
    })
}

/// As [`normalise`], but of what is in circles or squares the meaning stays: `①` is `(1)`.
pub(crate) fn normalise_marked(text: &str, composer: &mut Composer, out: &mut Vec<char>) {
    if text.is_ascii() {
        normalise(text, composer, out);
        return;
    }
    let mut start = 0;
    for (at, character) in text.char_indices() {
        let Some((first, second)) = enclosed(character) else { continue };
        normalise(&text[start..at], composer, out);
        if !out.is_empty() {
            out.push(' ');
        }
        out.push('(');
        out.push(first);
        out.extend(second);
        out.push(')');
        start = at + character.len_utf8();
    }
    normalise(&text[start..], composer, out);
}

/// Scripts written without spaces between words.
fn stands_alone(character: char) -> bool {
    matches!(u32::from(character),
        0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x3040..=0x30FF | 0x3400..=0x4DBF
        | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x323AF)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Lone,
    Digit,
    Space,
    Other,
}

#[inline]
fn class(character: char) -> Class {
    match character {
        'a'..='z' => Class::Letter,
        '0'..='9' => Class::Digit,
        ' ' => Class::Space,
        _ if character.is_ascii() => Class::Other,
        _ if stands_alone(character) => Class::Lone,
        _ if character.is_alphabetic() => Class::Letter,
        _ => Class::Other,
    }
}

const PRIME: u64 = 0x9E37_79B9_7F4A_7C15;

#[inline]
fn mix(hash: u64, value: u64) -> u64 {
    (hash.rotate_left(5) ^ value).wrapping_mul(PRIME)
}

#[inline]
fn digit_folded(character: char) -> u64 {
    if character.is_ascii_digit() { u64::from('0') } else { u64::from(u32::from(character)) }
}

/// Hash of a run of characters, digits as `0`.
pub(crate) fn hash_characters(characters: impl IntoIterator<Item = char>) -> u64 {
    characters.into_iter().fold(PRIME, |hash, character| mix(hash, digit_folded(character)))
}

/// Splits normalised characters into tokens, replacing what `tokens` held.
#[inline(never)]
pub fn tokenise(characters: &[char], tokens: &mut Vec<Token>) {
    tokens.clear();
    let mut at = 0;
    while at < characters.len() {
        let start = at;
        let kind = match class(characters[at]) {
            Class::Space => {
                at += 1;
                continue;
            }
            Class::Letter => {
                at += 1;
                while at < characters.len() {
                    let inner_apostrophe = characters[at] == '\''
                        && characters.get(at + 1).is_some_and(|&next| class(next) == Class::Letter);
                    if class(characters[at]) != Class::Letter && !inner_apostrophe {
                        break;
                    }
                    at += 1;
                }
                TokenKind::Word
            }
            Class::Lone => {
                at += 1;
                TokenKind::Word
            }
            Class::Digit => {
                let mut decimal = false;
                at += 1;
                while at < characters.len() {
                    let before_digit = characters.get(at + 1).is_some_and(char::is_ascii_digit);
                    match characters[at] {
                        '0'..='9' => {}
                        ',' if !decimal && before_digit => {}
                        '.' if !decimal && before_digit => decimal = true,
                        _ => break,
                    }
                    at += 1;
                }
                TokenKind::Number
            }
            Class::Other => {
                at += 1;
                TokenKind::Symbol
            }
        };
        let hash = hash_characters(characters[start..at].iter().copied());
        tokens.push(Token { start: start as u32, end: at as u32, kind, hash });
    }
}

/// Bits of each half of the n-gram index space.
pub const NGRAM_BITS: u32 = 17;

/// A bit for every n-gram index.
const WORDS: usize = 1 << (NGRAM_BITS + 1 - 6);

/// A set of n-gram indices that is cleared by what it holds.
#[derive(Debug)]
pub struct Seen {
    words: Box<[u64; WORDS]>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { words: vec![0; WORDS].try_into().expect("as many") }
    }
}

impl Seen {
    /// Puts an index in; whether it was not there.
    #[inline]
    fn insert(&mut self, index: u32) -> bool {
        let (word, bit) = (&mut self.words[(index >> 6) as usize % WORDS], 1u64 << (index & 63));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    fn clear(&mut self, indices: &[u32]) {
        for &index in indices {
            self.words[(index >> 6) as usize % WORDS] = 0;
        }
    }
}

/// Index of the n-gram of two adjacent tokens of these hashes.
#[inline]
pub(crate) fn pair_index(first: u64, second: u64) -> u32 {
    (mix(mix(first, second), 2) >> (64 - NGRAM_BITS)) as u32
}

/// Hashed n-grams, each once: words first, then characters (from index 2^17 on). Gives the number of words'.
#[inline(never)]
pub fn ngrams(characters: &[char], tokens: &[Token], seen: &mut Seen, out: &mut Vec<u32>) -> usize {
    const SHIFT: u32 = 64 - NGRAM_BITS;
    // Room for all there can be: each is written, and counts where it is new, without a branch.
    out.clear();
    out.resize(2 * (tokens.len() + characters.len()), 0);
    let mut found = 0;
    let mut add = |index: u32| {
        out[found] = index;
        found += usize::from(seen.insert(index));
        found
    };
    let mut words = 0;
    let mut previous: Option<u64> = None;
    for token in tokens {
        words = add((mix(token.hash, 1) >> SHIFT) as u32);
        if let Some(previous) = previous {
            words = add(pair_index(previous, token.hash));
        }
        previous = Some(token.hash);
    }
    // 21 bits hold any character: three fit one u64, the fourth is mixed in.
    let (mut window, mut fourth) = (0u64, 0u64);
    for (position, &character) in characters.iter().enumerate() {
        let next_fourth = window >> 42;
        window = (window << 21 | digit_folded(character)) & ((1 << 63) - 1);
        if position >= 3 {
            fourth = next_fourth;
        }
        if position >= 2 {
            add((mix(window, 3) >> SHIFT) as u32 | 1 << NGRAM_BITS);
        }
        if position >= 3 {
            add((mix(mix(window, 4), fourth) >> SHIFT) as u32 | 1 << NGRAM_BITS);
        }
    }
    out.truncate(found);
    seen.clear(out);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(text: &str) -> String {
        let mut out = Vec::new();
        normalise(text, &mut Composer::default(), &mut out);
        out.into_iter().collect()
    }

    #[test]
    fn what_is_in_circles_keeps_its_meaning() {
        let marked = |text: &str| {
            let mut out = Vec::new();
            normalise_marked(text, &mut Composer::default(), &mut out);
            out.into_iter().collect::<String>()
        };
        assert_eq!(marked("① one ②two x⑳ Ⓐ ⓩ ❿ 🅑"), "(1) one (2) two x (20) (a) (z) (10) (b)");
        assert_eq!(marked("plain, Größe ½"), normal("plain, Größe ½"));
    }

    fn words(text: &str) -> Vec<String> {
        let (mut characters, mut tokens) = (Vec::new(), Vec::new());
        normalise(text, &mut Composer::default(), &mut characters);
        tokenise(&characters, &mut tokens);
        tokens.iter().map(|t| characters[t.start as usize..t.end as usize].iter().collect()).collect()
    }

    #[test]
    fn normal_form_is_as_stated() {
        for (text, expected) in [
            ("  Hello,\r\n\tWORLD ", "hello, world"),
            ("def F(x):\n    return x+1", "def f(x): return x+1"),
            ("x² + ½", "x2 + 1⁄2"),
            ("ＡＢＣ", "abc"),
            ("ÉCOLE", "école"),
            ("nul\0byte", "nul byte"),
            ("你好 世界", "你好 世界"),
            ("\u{a0}\u{2003}", ""),
        ] {
            assert_eq!(normal(text), expected, "{text:?}");
        }
    }

    #[test]
    fn tokens_are_as_stated() {
        assert_eq!(words("Don't pay $1,234.50, ok?"), ["don't", "pay", "$", "1,234.50", ",", "ok", "?"]);
        assert_eq!(words("a[i] = 3.x"), ["a", "[", "i", "]", "=", "3", ".", "x"]);
        assert_eq!(words("你好ok"), ["你", "好", "ok"]);
        assert_eq!(words("Привет мир"), ["привет", "мир"]);
    }

    #[test]
    fn of_many_steps_three_quarters_are_from_the_front() {
        for (steps, most, expected) in
            [(5, 8, (5, 0)), (8, 8, (8, 0)), (9, 8, (6, 2)), (9, 1, (1, 0)), (9, 3, (3, 0)), (9, 4, (3, 1))]
        {
            assert_eq!(head_and_tail(steps, most), expected);
        }
    }

    #[test]
    fn long_text_is_read_at_head_and_tail() {
        let text = format!("{}{}{}", "h".repeat(HEAD), "é".repeat(500_000), "t".repeat(TAIL));
        let (head, tail) = bounded(&text);
        assert_eq!((head, tail), (&*"h".repeat(HEAD), &*"t".repeat(TAIL)));
        let short = "s".repeat(LONGEST);
        assert_eq!(bounded(&short), (&*short, ""));
    }

    #[test]
    fn character_ngrams_are_the_distinct_windows() {
        let mut characters = Vec::new();
        normalise("abcabc", &mut Composer::default(), &mut characters);
        let mut out = Vec::new();
        let words = ngrams(&characters, &[], &mut Seen::default(), &mut out);
        assert_eq!(words, 0);
        assert_eq!(out.len(), 3 + 3, "abc bca cab; abca bcab cabc");
    }

    proptest! {
        #[test]
        fn any_text_gives_distinct_ngrams_and_tokens_cover_it(text in ".{0,300}") {
            let (mut characters, mut tokens, mut out) = (Vec::new(), Vec::new(), Vec::new());
            normalise(&text, &mut Composer::default(), &mut characters);
            tokenise(&characters, &mut tokens);
            let mut seen = Seen::default();
            let words = ngrams(&characters, &tokens, &mut seen, &mut out);
            prop_assert!(out[..words].iter().all(|&index| index < 1 << NGRAM_BITS));
            prop_assert!(out[words..].iter().all(|&index| index >> NGRAM_BITS == 1));
            prop_assert!(seen.words.iter().all(|&word| word == 0));
            let mut unique = out.clone();
            unique.sort_unstable();
            unique.dedup();
            prop_assert_eq!(unique.len(), out.len());
            let covered: usize = tokens.iter().map(Token::length).sum();
            prop_assert_eq!(covered, characters.iter().filter(|&&c| c != ' ').count());
        }

        #[test]
        fn ascii_and_unicode_paths_agree(text in "[ -~\t\n]{0,200}") {
            let (mut direct, mut composed) = (Vec::new(), Vec::new());
            normalise(&text, &mut Composer::default(), &mut direct);
            normalise(&format!("{text}é"), &mut Composer::default(), &mut composed);
            composed.pop();
            while composed.last() == Some(&' ') {
                composed.pop();
            }
            prop_assert_eq!(direct, composed);
        }
    }
}
