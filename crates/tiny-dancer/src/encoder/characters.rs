//! What bytes and characters are to BERT's normaliser and splitter.

use crate::unicode::{self, decompose_canonical, is_mark_nonspacing, is_other};

pub(super) const EACH_BYTE: u64 = 0x0101_0101_0101_0101;
pub(super) const HIGH_BITS: u64 = EACH_BYTE << 7;

/// Eight bytes from `start`, NUL beyond the end.
#[inline]
pub(super) fn load(bytes: &[u8], start: usize) -> u64 {
    let rest = &bytes[start..];
    rest.first_chunk::<8>().map_or_else(
        || rest.iter().rev().fold(0, |eight, byte| eight << 8 | u64::from(*byte)),
        |eight| u64::from_le_bytes(*eight),
    )
}

/// The high bit of every byte that is ASCII and between `first` and `last`.
#[inline]
pub(super) fn between(eight: u64, first: u8, last: u8) -> u64 {
    let ascii = eight & !HIGH_BITS;
    let from_first = ascii + EACH_BYTE * u64::from(0x80 - first);
    let past_last = ascii + EACH_BYTE * u64::from(0x7F - last);
    from_first & !past_last & !eight & HIGH_BITS
}

/// How many of eight bytes, from the first, are ASCII letters or digits: [`Class::Letter`].
#[inline]
pub(super) fn leading_letters(eight: u64) -> usize {
    let letters = between(eight | (EACH_BYTE * 0x20), b'a', b'z') | between(eight, b'0', b'9');
    (!letters & HIGH_BITS).trailing_zeros() as usize / 8
}

/// Makes ASCII letters lower case; other bytes stay.
#[inline]
pub(super) fn lower(eight: u64) -> u64 {
    eight | between(eight, b'A', b'Z') >> 2
}

/// What a byte of the text is to a scan of plain ASCII.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Letter,
    Space,
    Mark,
    /// A control character, or part of a character beyond ASCII.
    Other,
}

pub(super) static CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 128 {
        classes[byte as usize] = match byte {
            b'\t' | b'\n' | b'\r' | b' ' => Class::Space,
            0..b' ' | 0x7F => Class::Other,
            _ if byte.is_ascii_punctuation() => Class::Mark,
            _ => Class::Letter,
        };
        byte += 1;
    }
    classes
};

/// How BERT's normaliser and splitter treat a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    /// Part of a word, as it is; an ASCII letter becomes lower case.
    Plain,
    /// A control or format character, or the replacement character: as if it were not there.
    Drop,
    Space,
    /// Punctuation: a piece of its own.
    Mark,
    /// A CJK ideograph: a word of its own.
    Ideograph,
    /// To be decomposed, rid of marks and made lower case; what remains is judged anew.
    Complex,
}

impl Fold {
    pub(super) fn of(char: char) -> Self {
        if char.is_ascii() {
            return match CLASSES[char as usize] {
                Class::Letter => Self::Plain,
                Class::Space => Self::Space,
                Class::Mark => Self::Mark,
                Class::Other => Self::Drop,
            };
        }
        if char == '\u{FFFD}' || is_other(char) {
            return Self::Drop;
        }
        if char.is_whitespace() {
            return Self::Space;
        }
        if is_ideograph(char) {
            return Self::Ideograph;
        }
        let mut same = !is_mark_nonspacing(char) && char.to_lowercase().eq([char]);
        decompose_canonical(char, |part| same &= part == char);
        match (same, is_punctuation(char)) {
            (true, true) => Self::Mark,
            (true, false) => Self::Plain,
            (false, _) => Self::Complex,
        }
    }
}

pub(super) fn is_punctuation(char: char) -> bool {
    char.is_ascii_punctuation() || unicode::is_punctuation(char)
}

pub(super) fn is_ideograph(char: char) -> bool {
    matches!(char,
        '\u{4E00}'..='\u{9FFF}' | '\u{3400}'..='\u{4DBF}' | '\u{20000}'..='\u{2A6DF}'
        | '\u{2A700}'..='\u{2B73F}' | '\u{2B740}'..='\u{2B81F}' | '\u{2B920}'..='\u{2CEAF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{2F800}'..='\u{2FA1F}')
}
