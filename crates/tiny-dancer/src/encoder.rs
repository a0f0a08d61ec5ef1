//! Static token embeddings: BERT's uncased word pieces, one int8 row each, summed.
//!
//! A text is cut exactly as Hugging Face `tokenizers` cuts it for BERT uncased (clean text, space around CJK,
//! NFD without non-spacing marks, lower case, split at punctuation, greedy longest match), unknown words
//! are left out, and the rows of the remaining pieces are added up in integers. Integer sums have no order,
//! so they are the same on every platform. `model2vec` gives the same vectors, except that it first truncates
//! to 3,072 characters and 512 pieces; how much text is read is here the caller's decision.
//!
//! What makes it fast: plain ASCII is read eight bytes at a time, words are looked up in a [`WordCache`] by
//! their bytes, rows are prefetched while the text is still being read (worth a fifth where the table is
//! cold), and up to 256 rows at a time are added in `i16` lanes.

mod characters;
mod embedding;
mod pool;
mod vocabulary;
mod words;

use std::fmt;

use safetensors::Dtype;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::artifact::File;
use crate::error::{Error, ErrorKind, Result};
use crate::unicode::{decompose_canonical, is_mark_nonspacing};
use characters::{CLASSES, Class, Fold, is_punctuation, leading_letters, load, lower};
use pool::{Pool, Sink, Visitor};
use vocabulary::{Place, Vocabulary};
use words::{KEY_BYTES, Key, SLOT_PIECES, Scratch, Slot, Words};

pub use embedding::{DIM, Encoding, pool, quantise};
pub use words::WordCache;

const MAX_FILE: usize = 64 << 20;
const MAX_HEADER: usize = 1 << 20;
const MAX_PIECES: usize = 1 << 17;
const MAX_PIECE: usize = 128;
/// Slots looked at before a vocabulary is refused: bounds loading, however its pieces hash.
const MAX_PROBES: usize = 256;

/// BERT's `max_input_chars_per_word`: longer words are unknown.
const MAX_WORD_CHARS: usize = 100;
const MAX_WORD_BYTES: usize = MAX_WORD_CHARS * 4;
/// Rows added in `i16` lanes before they are widened: 256 × -128 is just `i16::MIN`.
const BATCH: usize = 256;
/// The id of a piece the vocabulary lacks.
const UNKNOWN: u32 = u32::MAX;

/// One embedding, aligned so that it takes four cache lines and no fifth.
#[derive(Clone)]
#[repr(C, align(64))]
struct Row([i8; DIM]);

/// The static token encoder. Immutable: share it between threads, with one [`WordCache`] each.
pub struct Encoder {
    rows: Box<[Row]>,
    vocabulary: Vocabulary,
    /// Piece of every one-byte punctuation mark.
    marks: [u32; 128],
    /// BERT's control pieces, recognised in the raw text as `tokenizers` does.
    specials: Vec<(&'static [u8], u32)>,
    checksum: String,
    /// Digest of the vocabulary: what a cache's contents depend on.
    identity: [u8; 32],
}

impl fmt::Debug for Encoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Encoder")
            .field("pieces", &self.rows.len())
            .field("checksum", &self.checksum)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Manifest {
    format: String,
    kind: String,
}

#[cold]
#[inline(never)]
fn invalid(field: &str, value: impl fmt::Display, remedy: &str) -> Error {
    Error::new(ErrorKind::ArtifactInvalid, field, value, remedy)
}

impl Encoder {
    /// Reads an `encoder.safetensors`: tensors `embeddings` (I8, pieces × 256) and `vocabulary` (U8, the
    /// pieces in id order, joined by line feeds), metadata `tiny_dancer` (JSON) and `sha256`.
    ///
    /// Sizes are bounded before anything is parsed; nothing in the file is trusted.
    ///
    /// # Errors
    /// `ArtifactVersion` for a MAJOR version other than 1, `ArtifactChecksum` where tensor bytes and checksum
    /// differ, `ArtifactInvalid` for everything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_FILE {
            return Err(invalid("encoder", format!("{} bytes", bytes.len()), "at most 64 MiB are read"));
        }
        let header = bytes.first_chunk::<8>().map_or(u64::MAX, |prefix| u64::from_le_bytes(*prefix));
        if header > MAX_HEADER as u64 {
            return Err(invalid("encoder.header", header, "give a safetensors file, header up to 1 MiB"));
        }
        let File { metadata, data } = File::read(bytes)
            .map_err(|why| invalid("encoder.header", why, "give an encoder.safetensors file"))?;

        let texts = metadata.metadata().as_ref();
        let text = |key: &str| {
            texts.and_then(|texts| texts.get(key)).ok_or_else(|| {
                invalid("encoder.__metadata__", format!("no {key}"), "convert the encoder with the recipe")
            })
        };
        check_manifest(text("tiny_dancer")?)?;
        let stated = text("sha256")?;

        let tensors = metadata.tensors();
        let (Some(embeddings), Some(vocabulary), 2) =
            (tensors.get("embeddings"), tensors.get("vocabulary"), tensors.len())
        else {
            let found = format!("{} tensors", tensors.len());
            return Err(invalid("encoder.tensors", found, "give exactly embeddings and vocabulary"));
        };
        let pieces = match (embeddings.dtype, &embeddings.shape[..]) {
            (Dtype::I8, &[pieces @ 1..=MAX_PIECES, DIM]) => pieces,
            (dtype, shape) => {
                let found = format!("{dtype:?} {shape:?}");
                return Err(invalid("encoder.embeddings", found, "give I8 [pieces up to 131072, 256]"));
            }
        };
        if vocabulary.dtype != Dtype::U8 || vocabulary.shape.len() != 1 {
            let found = format!("{:?} {:?}", vocabulary.dtype, vocabulary.shape);
            return Err(invalid("encoder.vocabulary", found, "give U8 [bytes]"));
        }

        let checksum = hexadecimal(&Sha256::digest(data));
        if *stated != checksum {
            return Err(Error::new(
                ErrorKind::ArtifactChecksum,
                "encoder.sha256",
                &checksum,
                format!("{stated:.64} was expected: fetch or convert the encoder again"),
            ));
        }

        let listing = &data[vocabulary.data_offsets.0..vocabulary.data_offsets.1];
        let vocabulary = Vocabulary::new(listing, pieces)?;
        let mut rows = Vec::with_capacity(pieces);
        let (values, _) = data[embeddings.data_offsets.0..embeddings.data_offsets.1].as_chunks::<DIM>();
        rows.extend(values.iter().map(|row| Row(row.map(u8::cast_signed))));

        let mut specials = Vec::new();
        for name in [&b"[PAD]"[..], b"[UNK]", b"[CLS]", b"[SEP]", b"[MASK]"] {
            match vocabulary.find(Place::Start, name) {
                UNKNOWN if name == b"[UNK]" => {
                    return Err(invalid("encoder.vocabulary", "no [UNK]", "give BERT's word pieces"));
                }
                UNKNOWN => {}
                // model2vec drops every unknown piece before it pools, even a spelt-out one.
                _ if name == b"[UNK]" => specials.push((name, UNKNOWN)),
                id => specials.push((name, id)),
            }
        }
        let mut marks = [UNKNOWN; 128];
        for (byte, mark) in (0..).zip(&mut marks) {
            *mark = vocabulary.find(Place::Start, &[byte]);
        }
        Ok(Self {
            rows: rows.into_boxed_slice(),
            vocabulary,
            marks,
            specials,
            checksum,
            identity: Sha256::digest(listing).into(),
        })
    }

    /// The encoder given, where it is the one of checksum `wanted`; `whose` says whose it was: "these routes were
    /// fitted".
    ///
    /// # Errors
    /// `EncoderMissing` where it is none or another.
    pub(crate) fn wanted<'a>(encoder: Option<&'a Self>, wanted: &str, whose: &str) -> Result<&'a Self> {
        encoder.filter(|encoder| encoder.checksum() == wanted).ok_or_else(|| {
            Error::new(
                ErrorKind::EncoderMissing,
                "encoder",
                encoder.map_or("none", Self::checksum),
                format!("{whose} with encoder {wanted}; install the matching tiny-dancer"),
            )
        })
    }

    /// SHA-256 over the tensor bytes, in lower-case hexadecimal.
    #[must_use]
    pub fn checksum(&self) -> &str {
        &self.checksum
    }

    /// Pieces in the vocabulary.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.rows.len()
    }

    /// Cuts `text` into pieces and puts the sum of their rows into `sums`, replacing what was there.
    ///
    /// Sums and counts are exact up to 2²⁴ pieces and do not depend on what `cache` has seen before. Nothing
    /// is allocated.
    pub fn encode(&self, text: &str, cache: &mut WordCache, sums: &mut [i32; DIM]) -> Encoding {
        *sums = [0; DIM];
        cache.belong_to(self);
        let WordCache { words, scratch, pending, .. } = cache;
        let mut pool = Pool { rows: &self.rows, pending, length: 0, sums, encoding: Encoding::default() };
        self.scan(text, words, scratch, &mut pool);
        pool.flush();
        pool.encoding
    }

    /// Calls `visit` with the id of every piece of `text`, in order; `None` is an unknown word.
    pub fn visit(&self, text: &str, cache: &mut WordCache, visit: impl FnMut(Option<u32>)) {
        cache.belong_to(self);
        self.scan(text, &mut cache.words, &mut cache.scratch, &mut Visitor(visit));
    }

    /// Pieces that are words of two letters or more, in the order of their ids, which roughly is that of how frequent
    /// they are.
    pub fn whole_words(&self) -> impl Iterator<Item = &str> {
        self.vocabulary.starts().filter(|word| {
            let mut letters = word.chars();
            letters.next().is_some_and(char::is_alphabetic)
                && letters.next().is_some_and(char::is_alphabetic)
                && letters.all(char::is_alphabetic)
        })
    }

    /// The embedding of a piece, int8 \[256\].
    ///
    /// # Panics
    /// For an id the vocabulary lacks.
    #[must_use]
    pub fn row(&self, id: u32) -> &[i8; DIM] {
        &self.rows[id as usize].0
    }

    /// Ids of the known pieces of `text`'s head and tail ([`crate::LONGEST`]), in order, into `out`. Of more than
    /// `most` the first three quarters and the last quarter of `most` are kept.
    pub fn first_and_last(&self, text: &str, most: usize, cache: &mut WordCache, out: &mut Vec<u32>) {
        out.clear();
        let (head, tail) = crate::text::bounded(text);
        for part in [head, tail] {
            self.visit(part, cache, |id| out.extend(id));
        }
        let (first, last) = crate::text::head_and_tail(out.len(), most);
        out.drain(first..out.len() - last);
    }

    /// The tokenizer: words of plain ASCII are found here, all others by [`Self::scan_word`].
    fn scan<S: Sink>(&self, text: &str, words: &mut Words, scratch: &mut Scratch, sink: &mut S) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            match CLASSES[bytes[at] as usize] {
                Class::Letter => {
                    let mut key = Key::default();
                    for part in &mut key {
                        let eight = load(bytes, at);
                        let letters = leading_letters(eight);
                        at += letters;
                        // A whole part keeps all its bytes; the shift of an empty one would be too wide.
                        *part = lower(eight) & !u64::MAX.checked_shl(8 * letters as u32).unwrap_or(0);
                        if letters < 8 {
                            break;
                        }
                    }
                    let short = at;
                    while at < bytes.len() && CLASSES[bytes[at] as usize] == Class::Letter {
                        at += 1;
                    }
                    if at < bytes.len() && CLASSES[bytes[at] as usize] == Class::Other {
                        at = self.scan_word(text, start, words, scratch, sink);
                    } else if at == short {
                        self.short_word(key, words, scratch, sink);
                    } else {
                        scratch.clear();
                        for byte in &bytes[start..at] {
                            scratch.push(byte.to_ascii_lowercase() as char);
                        }
                        self.word(words, scratch, sink);
                    }
                }
                Class::Space => at += 1,
                Class::Mark => {
                    let special = self
                        .specials
                        .iter()
                        .find(|(name, _)| bytes[at] == b'[' && bytes[at..].starts_with(name));
                    let (length, id) = special
                        .map_or((1, self.marks[bytes[at] as usize & 127]), |(name, id)| (name.len(), *id));
                    sink.mark(id);
                    at += length;
                }
                Class::Other => at = self.scan_word(text, at, words, scratch, sink),
            }
        }
    }

    /// Reads from `start`, the beginning of a word, to a place between two words, which it returns.
    fn scan_word<S: Sink>(
        &self,
        text: &str,
        start: usize,
        words: &mut Words,
        scratch: &mut Scratch,
        sink: &mut S,
    ) -> usize {
        scratch.clear();
        for (offset, char) in text[start..].char_indices() {
            let next = start + offset + char.len_utf8();
            match scratch.fold(char) {
                Fold::Plain => scratch.push(char.to_ascii_lowercase()),
                Fold::Drop => {}
                Fold::Space => {
                    self.word(words, scratch, sink);
                    return next;
                }
                // Left to the caller, who knows the control pieces.
                Fold::Mark if char.is_ascii() => {
                    self.word(words, scratch, sink);
                    return start + offset;
                }
                Fold::Mark => {
                    self.word(words, scratch, sink);
                    self.mark(char, sink);
                }
                Fold::Ideograph => {
                    self.word(words, scratch, sink);
                    decompose_canonical(char, |char| scratch.push(char));
                    self.word(words, scratch, sink);
                }
                Fold::Complex => decompose_canonical(char, |part| {
                    let kept = (!is_mark_nonspacing(part)).then(|| part.to_lowercase());
                    for char in kept.into_iter().flatten() {
                        if is_punctuation(char) {
                            self.word(words, scratch, sink);
                            self.mark(char, sink);
                        } else {
                            scratch.push(char);
                        }
                    }
                }),
            }
            if scratch.chars == 0 {
                return next;
            }
        }
        self.word(words, scratch, sink);
        text.len()
    }

    fn mark<S: Sink>(&self, char: char, sink: &mut S) {
        sink.mark(self.vocabulary.find(Place::Start, char.encode_utf8(&mut [0; 4]).as_bytes()));
    }

    /// Emits the word in `scratch`, if there is one, and clears it.
    fn word<S: Sink>(&self, words: &mut Words, scratch: &mut Scratch, sink: &mut S) {
        if scratch.chars == 0 {
            return;
        }
        if scratch.chars > MAX_WORD_CHARS {
            sink.word(&[UNKNOWN; SLOT_PIECES], 0);
        } else if scratch.length <= KEY_BYTES {
            let mut bytes = [0; KEY_BYTES];
            bytes[..scratch.length].copy_from_slice(&scratch.word[..scratch.length]);
            self.short_word(std::array::from_fn(|part| load(&bytes, 8 * part)), words, scratch, sink);
        } else {
            let Scratch { word, length, pieces, hashes, .. } = scratch;
            sink.long_word(self.vocabulary.cut(&word[..*length], pieces, hashes));
        }
        scratch.clear();
    }

    /// Emits the word whose bytes are `key`: from the cache, else into it.
    #[inline]
    fn short_word<S: Sink>(&self, key: Key, words: &mut Words, scratch: &mut Scratch, sink: &mut S) {
        let set = words.set(key);
        for slot in &words.slots[set] {
            if slot.key == key {
                sink.word(&slot.pieces, slot.length as usize);
                return;
            }
        }
        self.new_word(key, &mut words.slots[set], scratch, sink);
    }

    #[inline(never)]
    fn new_word<S: Sink>(&self, key: Key, set: &mut [Slot; 2], scratch: &mut Scratch, sink: &mut S) {
        let mut bytes = [0; KEY_BYTES];
        for (bytes, part) in bytes.chunks_exact_mut(8).zip(key) {
            bytes.copy_from_slice(&part.to_le_bytes());
        }
        // No word contains NUL, so the padding is not part of any.
        let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(KEY_BYTES);
        let found = self.vocabulary.cut(&bytes[..length], &mut scratch.pieces, &mut scratch.hashes);
        if found.len() > SLOT_PIECES {
            sink.long_word(found);
            return;
        }
        let mut slot = Slot { key, length: found.len() as u32, ..Slot::EMPTY };
        slot.pieces[..found.len()].copy_from_slice(found);
        sink.word(&slot.pieces, found.len());
        set.swap(0, 1);
        set[0] = slot;
    }
}

fn check_manifest(text: &str) -> Result<()> {
    let manifest: Manifest = crate::json::typed(text)
        .map_err(|error| invalid("encoder.tiny_dancer", error, "convert the encoder with the recipe"))?;
    let mut numbers = manifest.format.splitn(3, '.').map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(_)), Some(Ok(_))) = (numbers.next(), numbers.next(), numbers.next()) else {
        return Err(invalid("encoder.format", &manifest.format, "give MAJOR.MINOR.PATCH"));
    };
    if major != 1 {
        return Err(Error::new(
            ErrorKind::ArtifactVersion,
            "encoder.format",
            &manifest.format,
            "this engine reads 1.x: convert the encoder for it",
        ));
    }
    if manifest.kind != "encoder" {
        return Err(invalid("encoder.kind", &manifest.kind, "give an artifact of kind encoder"));
    }
    Ok(())
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[digit as usize] as char).collect()
}

#[cfg(test)]
mod tests;
