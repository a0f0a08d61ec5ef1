//! The cache of words already cut, and the memory encoding works in.

use std::fmt;

use super::characters::Fold;
use super::vocabulary::HASH_FACTOR;
use super::{BATCH, Encoder, MAX_PIECE, MAX_WORD_BYTES, MAX_WORD_CHARS, UNKNOWN};

/// Longer words bypass the cache.
pub(super) const KEY_BYTES: usize = 24;
/// Words of more pieces bypass the cache.
pub(super) const SLOT_PIECES: usize = 8;

/// The bytes of a normalised word, padded with NUL, which no word contains.
pub(super) type Key = [u64; KEY_BYTES / 8];

/// Remembers how recent words were cut, and holds all memory [`Encoder::encode`] works in.
///
/// It never changes a result: a word is found by its bytes, not by their hash. Keep one per thread.
#[derive(Clone)]
pub struct WordCache {
    pub(super) words: Words,
    pub(super) scratch: Box<Scratch>,
    pub(super) pending: Box<[u32; BATCH]>,
    pub(super) identity: [u8; 32],
}

/// Two slots per set; the older of the two gives way.
#[derive(Clone)]
pub(super) struct Words {
    pub(super) slots: Box<[[Slot; 2]]>,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Slot {
    pub(super) key: Key,
    pub(super) pieces: [u32; SLOT_PIECES],
    pub(super) length: u32,
}

impl Slot {
    /// Matches no word: none is empty.
    pub(super) const EMPTY: Self =
        Self { key: [0; KEY_BYTES / 8], pieces: [UNKNOWN; SLOT_PIECES], length: 0 };
}

impl Words {
    #[inline]
    pub(super) fn set(&self, key: Key) -> usize {
        let mixed = (key[0] ^ key[1].rotate_left(21) ^ key[2].rotate_left(42)).wrapping_mul(HASH_FACTOR);
        // The number of sets is a power of two.
        ((mixed ^ (mixed >> 32)).wrapping_mul(HASH_FACTOR) >> 40) as usize & (self.slots.len() - 1)
    }
}

impl WordCache {
    /// A cache of about `words` words, 64 bytes each: a power of two between 2 and 131,072.
    #[must_use]
    pub fn new(words: usize) -> Self {
        let sets = words.clamp(2, 1 << 17).next_power_of_two() / 2;
        Self {
            words: Words { slots: vec![[Slot::EMPTY; 2]; sets].into_boxed_slice() },
            scratch: Box::default(),
            pending: Box::new([0; BATCH]),
            identity: [0; 32],
        }
    }

    /// Forgets everything unless it was learnt from the same vocabulary.
    pub(super) fn belong_to(&mut self, encoder: &Encoder) {
        if self.identity != encoder.identity {
            self.words.slots.fill([Slot::EMPTY; 2]);
            self.identity = encoder.identity;
        }
    }
}

impl Default for WordCache {
    /// 8,192 words in 512 KiB.
    fn default() -> Self {
        Self::new(8192)
    }
}

impl fmt::Debug for WordCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WordCache")
            .field("words", &(2 * self.words.slots.len()))
            .finish_non_exhaustive()
    }
}

/// The word being read, and work space.
#[derive(Clone)]
pub(super) struct Scratch {
    pub(super) word: [u8; MAX_WORD_BYTES],
    pub(super) length: usize,
    /// Characters of the word; counts on where a word is too long to be kept.
    pub(super) chars: usize,
    pub(super) pieces: [u32; MAX_WORD_CHARS],
    pub(super) hashes: [u64; MAX_PIECE + 1],
    /// How recent characters fold, direct-mapped.
    pub(super) folds: [(char, Fold); 256],
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            word: [0; MAX_WORD_BYTES],
            length: 0,
            chars: 0,
            pieces: [UNKNOWN; MAX_WORD_CHARS],
            hashes: [0; MAX_PIECE + 1],
            folds: [('\0', Fold::of('\0')); 256],
        }
    }
}

impl Scratch {
    #[inline]
    pub(super) fn clear(&mut self) {
        self.length = 0;
        self.chars = 0;
    }

    #[inline]
    pub(super) fn push(&mut self, char: char) {
        self.chars += 1;
        if self.chars <= MAX_WORD_CHARS {
            self.length += char.encode_utf8(&mut self.word[self.length..]).len();
        }
    }

    #[inline]
    pub(super) fn fold(&mut self, char: char) -> Fold {
        let slot = &mut self.folds[char as usize % 256];
        if slot.0 != char {
            *slot = (char, Fold::of(char));
        }
        slot.1
    }
}
