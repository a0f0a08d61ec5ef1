//! The pieces by their bytes, and the greedy longest match.

use std::fmt;

use super::{MAX_PIECE, MAX_PROBES, MAX_WORD_CHARS, UNKNOWN, invalid};
use crate::error::Result;

pub(super) const HASH_FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// Where in a word a piece may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Start,
    Continuation,
}

/// The pieces by their bytes: an open-addressing table, at most half full.
pub(super) struct Vocabulary {
    pub(super) listing: Box<[u8]>,
    pub(super) spans: Box<[Span]>,
    /// High half of the hash, and id; [`UNKNOWN`] where free.
    pub(super) table: Box<[(u32, u32)]>,
    /// Bytes of the longest piece of each [`Place`].
    pub(super) longest: [usize; 2],
}

/// A piece's bytes in the listing, without the `##` of a continuation.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) length: u16,
    pub(super) place: Place,
}

#[inline]
pub(super) fn hash_start(place: Place) -> u64 {
    if place == Place::Start { 0x243F_6A88_85A3_08D3 } else { 0x1319_8A2E_0370_7344 }
}

#[inline]
pub(super) fn hash_step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(HASH_FACTOR).rotate_left(23)
}

impl Vocabulary {
    pub(super) fn new(listing: &[u8], pieces: usize) -> Result<Self> {
        let refuse = |value: &dyn fmt::Display, remedy| Err(invalid("encoder.vocabulary", value, remedy));
        if listing.len() > pieces * (MAX_PIECE + 1) || std::str::from_utf8(listing).is_err() {
            return refuse(&"not UTF-8, or too long", "give pieces of up to 128 bytes in UTF-8");
        }
        let mut vocabulary = Self {
            listing: listing.into(),
            spans: Box::default(),
            table: vec![(0, UNKNOWN); (2 * pieces).next_power_of_two()].into_boxed_slice(),
            longest: [0; 2],
        };
        let mut spans = Vec::with_capacity(pieces);
        let mut start = 0;
        for piece in listing.split(|byte| *byte == b'\n') {
            if piece.is_empty() || piece.len() > MAX_PIECE || spans.len() == pieces {
                let found = format!("piece {} of {} bytes", spans.len(), piece.len());
                return refuse(&found, "give one piece of 1 to 128 bytes per embedding");
            }
            let (place, skip) = if piece.len() > 2 && piece.starts_with(b"##") {
                (Place::Continuation, 2)
            } else {
                (Place::Start, 0)
            };
            let length = piece.len() - skip;
            spans.push(Span { start: (start + skip) as u32, length: length as u16, place });
            vocabulary.longest[place as usize] = vocabulary.longest[place as usize].max(length);
            start += piece.len() + 1;
        }
        if spans.len() != pieces {
            return refuse(
                &format!("{} pieces for {pieces} embeddings", spans.len()),
                "give one piece per embedding",
            );
        }
        vocabulary.spans = spans.into_boxed_slice();
        for id in 0..pieces as u32 {
            if !vocabulary.insert(id) {
                return refuse(&format!("piece {id}"), "give every piece once");
            }
        }
        Ok(vocabulary)
    }

    /// The pieces that may begin a word, in the order of their ids.
    pub(super) fn starts(&self) -> impl Iterator<Item = &str> {
        let starts = self.spans.iter().filter(|span| span.place == Place::Start);
        starts.filter_map(|span| {
            let bytes = &self.listing[span.start as usize..][..span.length as usize];
            std::str::from_utf8(bytes).ok()
        })
    }

    /// False for a piece that is already there or, which no vocabulary meets by chance, finds no slot.
    pub(super) fn insert(&mut self, id: u32) -> bool {
        let Span { start, length, place } = self.spans[id as usize];
        let bytes = &self.listing[start as usize..][..length as usize];
        let hash = bytes.iter().fold(hash_start(place), |hash, byte| hash_step(hash, *byte));
        let mut at = self.slot(hash);
        for _ in 0..MAX_PROBES {
            let (high, other) = self.table[at];
            if other == UNKNOWN {
                self.table[at] = ((hash >> 32) as u32, id);
                return true;
            }
            if high == (hash >> 32) as u32 && self.is(other, place, bytes) {
                return false;
            }
            at = (at + 1) & (self.table.len() - 1);
        }
        false
    }

    #[inline]
    pub(super) fn slot(&self, hash: u64) -> usize {
        ((hash ^ (hash >> 32)).wrapping_mul(HASH_FACTOR) >> 40) as usize & (self.table.len() - 1)
    }

    #[inline]
    pub(super) fn is(&self, id: u32, place: Place, bytes: &[u8]) -> bool {
        let span = &self.spans[id as usize];
        span.place == place
            && span.length as usize == bytes.len()
            && self.listing[span.start as usize..][..bytes.len()] == *bytes
    }

    pub(super) fn find(&self, place: Place, bytes: &[u8]) -> u32 {
        self.look_up(place, bytes, bytes.iter().fold(hash_start(place), |hash, byte| hash_step(hash, *byte)))
    }

    #[inline]
    pub(super) fn look_up(&self, place: Place, bytes: &[u8], hash: u64) -> u32 {
        let mut at = self.slot(hash);
        // Ends: the table is at most half full.
        loop {
            let (high, id) = self.table[at];
            if id == UNKNOWN || (high == (hash >> 32) as u32 && self.is(id, place, bytes)) {
                return id;
            }
            at = (at + 1) & (self.table.len() - 1);
        }
    }

    /// Cuts a word of up to 100 characters, each time taking the longest piece that fits; none if one is
    /// missing.
    pub(super) fn cut<'p>(
        &self,
        word: &[u8],
        pieces: &'p mut [u32; MAX_WORD_CHARS],
        hashes: &mut [u64; MAX_PIECE + 1],
    ) -> &'p [u32] {
        let (mut start, mut count, mut place) = (0, 0, Place::Start);
        while start < word.len() {
            let rest = &word[start..];
            let longest = rest.len().min(self.longest[place as usize]);
            hashes[0] = hash_start(place);
            for at in 0..longest {
                hashes[at + 1] = hash_step(hashes[at], rest[at]);
            }
            let found = (1..=longest).rev().find_map(|length| {
                // A piece ends where a character does.
                if rest.get(length).is_some_and(|byte| byte & 0xC0 == 0x80) {
                    return None;
                }
                let id = self.look_up(place, &rest[..length], hashes[length]);
                (id != UNKNOWN).then_some((length, id))
            });
            let Some((length, id)) = found else { return &[] };
            pieces[count] = id;
            count += 1;
            start += length;
            place = Place::Continuation;
        }
        &pieces[..count]
    }
}
