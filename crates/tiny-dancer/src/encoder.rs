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
//! cold), and up to 256 rows at a time are added in `i16` lanes. This file is long because file format,
//! tokenizer, cache and sums share one private vocabulary of types, and for its tests.

use std::fmt;

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use unicode_categories::UnicodeCategories;
use unicode_normalization::char::decompose_canonical;

use crate::error::{Error, ErrorKind, Result};

/// Values per embedding.
pub const DIM: usize = 256;

const MAX_FILE: usize = 64 << 20;
const MAX_HEADER: usize = 1 << 20;
const MAX_PIECES: usize = 1 << 17;
const MAX_PIECE: usize = 128;
/// Slots looked at before a vocabulary is refused: bounds loading, however its pieces hash.
const MAX_PROBES: usize = 256;

/// BERT's `max_input_chars_per_word`: longer words are unknown.
const MAX_WORD_CHARS: usize = 100;
const MAX_WORD_BYTES: usize = MAX_WORD_CHARS * 4;
/// Longer words bypass the cache.
const KEY_BYTES: usize = 24;
/// Words of more pieces bypass the cache.
const SLOT_PIECES: usize = 8;
/// Rows added in `i16` lanes before they are widened: 256 × -128 is just `i16::MIN`.
const BATCH: usize = 256;
/// The id of a piece the vocabulary lacks.
const UNKNOWN: u32 = u32::MAX;

/// What one text amounts to, beside its sums: piece counts and how rare the pieces are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Pieces, an unknown word counting as one.
    pub tokens: u32,
    /// Pieces that were pooled: `tokens` without the unknown ones.
    pub known: u32,
    /// Words, without punctuation marks; a CJK character is a word.
    pub words: u32,
    /// Words that took two pieces or more.
    pub split_words: u32,
    /// Pieces of those words.
    pub split_pieces: u32,
    /// Sum of the ids of the known pieces. Ids roughly follow frequency: the higher, the rarer.
    pub rank_sum: u64,
    /// Highest id of a known piece; 0 without any.
    pub rank_max: u32,
}

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
    /// Natural logarithm of id + 50, a proxy of rarity: BERT's ids are roughly ordered by frequency.
    log_ranks: Box<[f32]>,
    /// Piece continues a word (`##`).
    continuations: Box<[bool]>,
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
        let (header, metadata) = SafeTensors::read_metadata(bytes)
            .map_err(|error| invalid("encoder.header", error, "give an encoder.safetensors file"))?;
        let data = &bytes[8 + header..];

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
        let continuations =
            listing.split(|&byte| byte == b'\n').map(|piece| piece.starts_with(b"##")).collect();
        let log_ranks = (0..pieces).map(|id| libm::logf(id as f32 + 50.0)).collect();
        Ok(Self {
            rows: rows.into_boxed_slice(),
            log_ranks,
            continuations,
            vocabulary,
            marks,
            specials,
            checksum,
            identity: Sha256::digest(listing).into(),
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

    /// Adds the embeddings of known pieces, as [`Self::visit`] gave them, to `sums`.
    pub fn sum_rows(&self, pieces: &[u32], sums: &mut [i32; DIM]) {
        for batch in pieces.chunks(BATCH) {
            add_rows(&self.rows, batch, sums);
        }
    }

    /// ln(id + 50): how rare a known piece is.
    #[must_use]
    #[inline]
    pub fn log_rank(&self, piece: u32) -> f32 {
        self.log_ranks[piece as usize]
    }

    /// Whether a known piece continues a word.
    #[must_use]
    #[inline]
    pub fn is_continuation(&self, piece: u32) -> bool {
        self.continuations[piece as usize]
    }

    /// Calls `visit` with the id of every piece of `text`, in order; `None` is an unknown word.
    pub fn visit(&self, text: &str, cache: &mut WordCache, visit: impl FnMut(Option<u32>)) {
        cache.belong_to(self);
        self.scan(text, &mut cache.words, &mut cache.scratch, &mut Visitor(visit));
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
                    let kept = (!part.is_mark_nonspacing()).then(|| part.to_lowercase());
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
    let manifest: Manifest = serde_json::from_str(text)
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

// ---------------------------------------------------------------------------------------------- sums

/// The direction of `sums` as int8: `v × 127 ÷ max|v|`, rounded half away from zero; all zero stays zero.
pub fn quantise(sums: &[i32; DIM], out: &mut [i8; DIM]) {
    const TO_INTEGER: f64 = 6_755_399_441_055_744.0; // 1.5 × 2⁵²: the sum's lowest bits are the rounded term
    let largest = f64::from(sums.iter().fold(0, |largest, sum| largest.max(sum.unsigned_abs())));
    // 254 v ÷ 2 max is rounded. Half a unit outwards in the numerator moves every tie off the middle, and no
    // quotient onto or past one, and leaves each at least 2⁻³³ away from it. The f64 arithmetic errs by less
    // than 2⁻⁴⁴, so it rounds as exact integers would.
    let factor = if largest == 0.0 { 0.0 } else { 0.5 / largest };
    for (out, sum) in out.iter_mut().zip(sums) {
        let sum = f64::from(*sum);
        let rounded = (254.0 * sum + 0.5_f64.copysign(sum)) * factor + TO_INTEGER;
        *out = rounded.to_bits() as i8;
    }
}

/// The embedding: `sums` divided by its length (the mean and the sum have one direction). All zero where
/// `known`, the number of pieces in `sums`, or every sum is 0.
#[must_use]
pub fn pool(sums: &[i32; DIM], known: u32) -> [f32; DIM] {
    // Products and sums are exact integers in f64 up to 32,000 pieces, so no order is to be fixed.
    let mut squares = [0.0; 8];
    for part in sums.as_chunks::<8>().0 {
        for (square, sum) in squares.iter_mut().zip(part) {
            *square += f64::from(*sum) * f64::from(*sum);
        }
    }
    let square: f64 = squares.iter().sum();
    if known == 0 || square == 0.0 {
        return [0.0; DIM];
    }
    let length = square.sqrt();
    sums.map(|sum| (f64::from(sum) / length) as f32)
}

/// Receives the pieces of a text, in order.
trait Sink {
    /// A punctuation mark or control piece: one id, or [`UNKNOWN`].
    fn mark(&mut self, id: u32);
    /// A word: the first `length` of `pieces`; 0 is an unknown word.
    fn word(&mut self, pieces: &[u32; SLOT_PIECES], length: usize);
    /// A word of any number of pieces; none is an unknown word.
    fn long_word(&mut self, pieces: &[u32]);
}

struct Visitor<F>(F);

impl<F: FnMut(Option<u32>)> Sink for Visitor<F> {
    fn mark(&mut self, id: u32) {
        (self.0)((id != UNKNOWN).then_some(id));
    }

    fn word(&mut self, pieces: &[u32; SLOT_PIECES], length: usize) {
        self.long_word(&pieces[..length]);
    }

    fn long_word(&mut self, pieces: &[u32]) {
        if pieces.is_empty() {
            (self.0)(None);
        }
        for id in pieces {
            (self.0)(Some(*id));
        }
    }
}

/// Collects pieces and adds their rows, a batch at a time.
struct Pool<'a> {
    rows: &'a [Row],
    pending: &'a mut [u32; BATCH],
    length: usize,
    sums: &'a mut [i32; DIM],
    encoding: Encoding,
}

impl Pool<'_> {
    #[inline]
    fn reserve(&mut self) {
        if self.length > BATCH - SLOT_PIECES {
            self.flush();
        }
    }

    #[inline]
    fn count(&mut self, pieces: usize) {
        let pieces = pieces as u32;
        self.encoding.words += 1;
        self.encoding.tokens += pieces.max(1);
        if pieces > 1 {
            self.encoding.split_words += 1;
            self.encoding.split_pieces += pieces;
        }
    }

    fn flush(&mut self) {
        let ids = &self.pending[..self.length];
        add_rows(self.rows, ids, self.sums);
        self.encoding.known += ids.len() as u32;
        self.encoding.rank_sum += ids.iter().map(|id| u64::from(*id)).sum::<u64>();
        self.encoding.rank_max = ids.iter().fold(self.encoding.rank_max, |most, id| most.max(*id));
        self.length = 0;
    }
}

impl Sink for Pool<'_> {
    #[inline]
    fn mark(&mut self, id: u32) {
        self.encoding.tokens += 1;
        if id != UNKNOWN {
            self.reserve();
            prefetch(self.rows, id);
            self.pending[self.length] = id;
            self.length += 1;
        }
    }

    #[inline]
    fn word(&mut self, pieces: &[u32; SLOT_PIECES], length: usize) {
        self.count(length);
        self.reserve();
        // All eight are copied, as that is one move: the next word overwrites what is too much.
        self.pending[self.length..][..SLOT_PIECES].copy_from_slice(pieces);
        for id in &pieces[..length] {
            prefetch(self.rows, *id);
        }
        self.length += length;
    }

    fn long_word(&mut self, pieces: &[u32]) {
        self.count(pieces.len());
        for id in pieces {
            self.reserve();
            self.pending[self.length] = *id;
            self.length += 1;
        }
    }
}

/// Starts to load a row that will be added soon.
#[inline]
fn prefetch(rows: &[Row], id: u32) {
    #[cfg(target_arch = "x86_64")]
    if let Some(row) = rows.get(id as usize) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        for line in row.0.chunks_exact(64) {
            // SAFETY: a prefetch reads nothing and faults never; the pointer is within `rows` besides.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (rows, id);
}

/// Adds the rows of `ids`, [`BATCH`] at most, to `sums`.
fn add_rows(rows: &[Row], ids: &[u32], sums: &mut [i32; DIM]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        unsafe { add_rows_avx2(rows, ids, sums) };
        return;
    }
    add_rows_in_lanes::<64>(rows, ids, sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn add_rows_avx2(rows: &[Row], ids: &[u32], sums: &mut [i32; DIM]) {
    add_rows_in_lanes::<128>(rows, ids, sums);
}

/// `LANES` columns at a time, as many as the vector registers hold in `i16`; the compiler vectorises it.
#[inline(always)]
#[allow(clippy::inline_always, reason = "must be compiled with the features of its caller")]
fn add_rows_in_lanes<const LANES: usize>(rows: &[Row], ids: &[u32], sums: &mut [i32; DIM]) {
    debug_assert!(ids.len() <= BATCH);
    for (block, sums) in sums.chunks_exact_mut(LANES).enumerate() {
        let mut lanes = [0_i16; LANES];
        for id in ids {
            let row = &rows[*id as usize].0[block * LANES..][..LANES];
            for (lane, value) in lanes.iter_mut().zip(row) {
                *lane = lane.wrapping_add(i16::from(*value));
            }
        }
        for (sum, lane) in sums.iter_mut().zip(lanes) {
            *sum = sum.wrapping_add(i32::from(lane));
        }
    }
}

// ---------------------------------------------------------------------------------------------- cache

/// The bytes of a normalised word, padded with NUL, which no word contains.
type Key = [u64; KEY_BYTES / 8];

/// Remembers how recent words were cut, and holds all memory [`Encoder::encode`] works in.
///
/// It never changes a result: a word is found by its bytes, not by their hash. Keep one per thread.
#[derive(Clone)]
pub struct WordCache {
    words: Words,
    scratch: Box<Scratch>,
    pending: Box<[u32; BATCH]>,
    identity: [u8; 32],
}

/// Two slots per set; the older of the two gives way.
#[derive(Clone)]
struct Words {
    slots: Box<[[Slot; 2]]>,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Slot {
    key: Key,
    pieces: [u32; SLOT_PIECES],
    length: u32,
}

impl Slot {
    /// Matches no word: none is empty.
    const EMPTY: Self = Self { key: [0; KEY_BYTES / 8], pieces: [UNKNOWN; SLOT_PIECES], length: 0 };
}

impl Words {
    #[inline]
    fn set(&self, key: Key) -> usize {
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
    fn belong_to(&mut self, encoder: &Encoder) {
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
struct Scratch {
    word: [u8; MAX_WORD_BYTES],
    length: usize,
    /// Characters of the word; counts on where a word is too long to be kept.
    chars: usize,
    pieces: [u32; MAX_WORD_CHARS],
    hashes: [u64; MAX_PIECE + 1],
    /// How recent characters fold, direct-mapped.
    folds: [(char, Fold); 256],
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
    fn clear(&mut self) {
        self.length = 0;
        self.chars = 0;
    }

    #[inline]
    fn push(&mut self, char: char) {
        self.chars += 1;
        if self.chars <= MAX_WORD_CHARS {
            self.length += char.encode_utf8(&mut self.word[self.length..]).len();
        }
    }

    #[inline]
    fn fold(&mut self, char: char) -> Fold {
        let slot = &mut self.folds[char as usize % 256];
        if slot.0 != char {
            *slot = (char, Fold::of(char));
        }
        slot.1
    }
}

const EACH_BYTE: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = EACH_BYTE << 7;

/// Eight bytes from `start`, NUL beyond the end.
#[inline]
fn load(bytes: &[u8], start: usize) -> u64 {
    let rest = &bytes[start..];
    rest.first_chunk::<8>().map_or_else(
        || rest.iter().rev().fold(0, |eight, byte| eight << 8 | u64::from(*byte)),
        |eight| u64::from_le_bytes(*eight),
    )
}

/// The high bit of every byte that is ASCII and between `first` and `last`.
#[inline]
fn between(eight: u64, first: u8, last: u8) -> u64 {
    let ascii = eight & !HIGH_BITS;
    let from_first = ascii + EACH_BYTE * u64::from(0x80 - first);
    let past_last = ascii + EACH_BYTE * u64::from(0x7F - last);
    from_first & !past_last & !eight & HIGH_BITS
}

/// How many of eight bytes, from the first, are ASCII letters or digits: [`Class::Letter`].
#[inline]
fn leading_letters(eight: u64) -> usize {
    let letters = between(eight | (EACH_BYTE * 0x20), b'a', b'z') | between(eight, b'0', b'9');
    (!letters & HIGH_BITS).trailing_zeros() as usize / 8
}

/// Makes ASCII letters lower case; other bytes stay.
#[inline]
fn lower(eight: u64) -> u64 {
    eight | between(eight, b'A', b'Z') >> 2
}

// ---------------------------------------------------------------------------------------------- characters

/// What a byte of the text is to a scan of plain ASCII.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Space,
    Mark,
    /// A control character, or part of a character beyond ASCII.
    Other,
}

static CLASSES: [Class; 256] = {
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
enum Fold {
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
    fn of(char: char) -> Self {
        if char.is_ascii() {
            return match CLASSES[char as usize] {
                Class::Letter => Self::Plain,
                Class::Space => Self::Space,
                Class::Mark => Self::Mark,
                Class::Other => Self::Drop,
            };
        }
        if char == '\u{FFFD}' || char.is_other() {
            return Self::Drop;
        }
        if char.is_whitespace() {
            return Self::Space;
        }
        if is_ideograph(char) {
            return Self::Ideograph;
        }
        let mut same = !char.is_mark_nonspacing() && char.to_lowercase().eq([char]);
        decompose_canonical(char, |part| same &= part == char);
        match (same, is_punctuation(char)) {
            (true, true) => Self::Mark,
            (true, false) => Self::Plain,
            (false, _) => Self::Complex,
        }
    }
}

fn is_punctuation(char: char) -> bool {
    char.is_ascii_punctuation() || char.is_punctuation()
}

fn is_ideograph(char: char) -> bool {
    matches!(char,
        '\u{4E00}'..='\u{9FFF}' | '\u{3400}'..='\u{4DBF}' | '\u{20000}'..='\u{2A6DF}'
        | '\u{2A700}'..='\u{2B73F}' | '\u{2B740}'..='\u{2B81F}' | '\u{2B920}'..='\u{2CEAF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{2F800}'..='\u{2FA1F}')
}

// ---------------------------------------------------------------------------------------------- vocabulary

const HASH_FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// Where in a word a piece may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    Continuation,
}

/// The pieces by their bytes: an open-addressing table, at most half full.
struct Vocabulary {
    listing: Box<[u8]>,
    spans: Box<[Span]>,
    /// High half of the hash, and id; [`UNKNOWN`] where free.
    table: Box<[(u32, u32)]>,
    /// Bytes of the longest piece of each [`Place`].
    longest: [usize; 2],
}

/// A piece's bytes in the listing, without the `##` of a continuation.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    length: u16,
    place: Place,
}

#[inline]
fn hash_start(place: Place) -> u64 {
    if place == Place::Start { 0x243F_6A88_85A3_08D3 } else { 0x1319_8A2E_0370_7344 }
}

#[inline]
fn hash_step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(HASH_FACTOR).rotate_left(23)
}

impl Vocabulary {
    fn new(listing: &[u8], pieces: usize) -> Result<Self> {
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

    /// False for a piece that is already there or, which no vocabulary meets by chance, finds no slot.
    fn insert(&mut self, id: u32) -> bool {
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
    fn slot(&self, hash: u64) -> usize {
        ((hash ^ (hash >> 32)).wrapping_mul(HASH_FACTOR) >> 40) as usize & (self.table.len() - 1)
    }

    #[inline]
    fn is(&self, id: u32, place: Place, bytes: &[u8]) -> bool {
        let span = &self.spans[id as usize];
        span.place == place
            && span.length as usize == bytes.len()
            && self.listing[span.start as usize..][..bytes.len()] == *bytes
    }

    fn find(&self, place: Place, bytes: &[u8]) -> u32 {
        self.look_up(place, bytes, bytes.iter().fold(hash_start(place), |hash, byte| hash_step(hash, *byte)))
    }

    #[inline]
    fn look_up(&self, place: Place, bytes: &[u8], hash: u64) -> u32 {
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
    fn cut<'p>(
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use serde_json::{Value, json};
    use unicode_normalization::UnicodeNormalization;

    use super::*;

    const LONG_PIECE: &str = "interdisciplinarytelecommunications";

    /// A vocabulary with something of every kind, and gaps.
    fn pieces() -> Vec<String> {
        let mut pieces: Vec<String> =
            ["[PAD]", "[UNK]", "[CLS]", "##ing", "the", "##ll", LONG_PIECE, "##tele"]
                .into_iter()
                .map(str::to_owned)
                .collect();
        pieces.extend("!\"#$%&'()*+,-./:;<=>?@[\\]^_{|}~—…’".chars().map(String::from));
        for char in "abcdefghijklmnoprstuvwxyz0123456789ß²€你世ᄀσ".chars() {
            pieces.extend([char.to_string(), format!("##{char}")]);
        }
        pieces.push("##ᅡ".into());
        pieces
    }

    fn rows(count: usize) -> Vec<i8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as i8
        };
        (0..count * DIM).map(|at| if at < DIM { -128 } else { next() }).collect()
    }

    /// An encoder file to spoil.
    struct Draft {
        metadata: Value,
        embeddings: Value,
        vocabulary: Value,
        data: Vec<u8>,
    }

    impl Draft {
        fn new(pieces: &[String]) -> Self {
            let mut data: Vec<u8> = rows(pieces.len()).into_iter().map(i8::cast_unsigned).collect();
            let middle = data.len();
            data.extend(pieces.join("\n").bytes());
            Self {
                metadata: json!({
                    "tiny_dancer": json!({"format": "1.4.2", "kind": "encoder", "name": "test"}).to_string(),
                    "sha256": hexadecimal(&Sha256::digest(&data)),
                }),
                embeddings: json!({"dtype": "I8", "shape": [pieces.len(), DIM], "data_offsets": [0, middle]}),
                vocabulary: json!({
                    "dtype": "U8", "shape": [data.len() - middle], "data_offsets": [middle, data.len()],
                }),
                data,
            }
        }

        fn bytes(&self) -> Vec<u8> {
            let mut header = json!({ "embeddings": self.embeddings, "vocabulary": self.vocabulary });
            if !self.metadata.is_null() {
                header["__metadata__"] = self.metadata.clone();
            }
            self.with_header(&header.to_string())
        }

        fn with_header(&self, header: &str) -> Vec<u8> {
            [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &self.data].concat()
        }
    }

    fn encoder() -> &'static Encoder {
        static ENCODER: LazyLock<Encoder> =
            LazyLock::new(|| Encoder::from_bytes(&Draft::new(&pieces()).bytes()).expect("sound"));
        &ENCODER
    }

    fn shipped() -> Encoder {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tiny_dancer/data/encoder.safetensors");
        Encoder::from_bytes(&std::fs::read(path).expect("written by recipes/convert_encoder.py"))
            .expect("sound")
    }

    /// The tokenizer as `tokenizers` describes it: one step after the other, over whole strings.
    fn reference(pieces: &[String], text: &str) -> Vec<Option<u32>> {
        let ids: HashMap<&str, u32> = pieces.iter().map(String::as_str).zip(0..).collect();
        let mut found = Vec::new();
        let mut rest = text;
        loop {
            let control = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
                .into_iter()
                .filter(|name| ids.contains_key(name))
                .filter_map(|name| rest.find(name).map(|at| (at, name)))
                .min();
            let (segment, next) =
                control.map_or((rest, ""), |(at, name)| (&rest[..at], &rest[at + name.len()..]));
            let cleaned: String = segment
                .chars()
                .filter(|char| !matches!(char, '\0' | '\u{FFFD}'))
                .filter(|char| matches!(char, '\t' | '\n' | '\r') || !char.is_other())
                .map(|char| if char.is_whitespace() { ' ' } else { char })
                .collect();
            let spaced: String = cleaned
                .chars()
                .flat_map(|char| if is_ideograph(char) { vec![' ', char, ' '] } else { vec![char] })
                .collect();
            let folded: String =
                spaced.nfd().filter(|char| !char.is_mark_nonspacing()).flat_map(char::to_lowercase).collect();
            for chunk in folded.split_whitespace() {
                for word in chunk.split_inclusive(is_punctuation) {
                    let end = word.char_indices().next_back().filter(|(_, char)| is_punctuation(*char));
                    let (word, mark) = word.split_at(end.map_or(word.len(), |(at, _)| at));
                    for word in [word, mark].into_iter().filter(|word| !word.is_empty()) {
                        found.extend(reference_word(&ids, word));
                    }
                }
            }
            let Some((_, name)) = control else { return found };
            found.push(Some(ids[name]).filter(|_| name != "[UNK]"));
            rest = next;
        }
    }

    fn reference_word(ids: &HashMap<&str, u32>, word: &str) -> Vec<Option<u32>> {
        if word.chars().count() > 100 {
            return vec![None];
        }
        let mut found = Vec::new();
        let mut start = 0;
        while start < word.len() {
            let prefix = if start == 0 { "" } else { "##" };
            let ends = word.char_indices().map(|(at, char)| at + char.len_utf8()).rev();
            let longest = ends
                .filter(|end| *end > start)
                .find_map(|end| Some((end, *ids.get(format!("{prefix}{}", &word[start..end]).as_str())?)));
            let Some((end, id)) = longest else { return vec![None] };
            found.push(Some(id));
            start = end;
        }
        found
    }

    fn visited(encoder: &Encoder, text: &str, cache: &mut WordCache) -> Vec<Option<u32>> {
        let mut found = Vec::new();
        encoder.visit(text, cache, |id| found.push(id));
        found
    }

    /// Texts of all that matters: words long and short, marks, controls, accents, scripts, any character.
    fn texts() -> impl Strategy<Value = String> {
        let fragments = vec![
            " ",
            " ",
            "\t",
            "\r\n",
            "\0",
            "\u{1}",
            "\u{7F}",
            "\u{B}",
            "\u{85}",
            "\u{A0}",
            "\u{3000}",
            "[PAD]",
            "[UNK]",
            "[CLS]",
            "[SEP]",
            "[pad]",
            "[",
            "##",
            "$5",
            "€5",
            "£",
            "naïve",
            "e\u{301}",
            "\u{301}",
            "Ångström",
            "İ",
            "ΣΑΣ",
            "ß",
            "ẞ",
            "你好",
            "世",
            "\u{F900}",
            "가",
            "\u{1100}\u{1161}",
            "x²",
            "≠",
            "≮",
            "\u{1FEF}",
            "\u{37E}",
            "—",
            "…",
            "don't",
            "I'll",
            "THE",
            "thing",
            "😀",
            "\u{200D}",
            "\u{AD}",
            "\u{FFFD}",
            "\u{FEFF}",
            "\u{E000}",
            "हिन्दी",
            LONG_PIECE,
            "interdisciplinary",
            "QUEUE",
            "a_b-c",
            "\u{10FFFF}",
            "\u{1D165}",
            "\u{302E}",
        ];
        let part = prop_oneof![
            4 => prop::sample::select(fragments).prop_map(str::to_owned),
            3 => "[a-zA-Z0-9]{1,12}",
            1 => "[a-zA-Z]{20,120}",
            1 => "[a-zé]{90,110}",
            1 => any::<char>().prop_map(String::from),
            1 => "[ -~]{0,20}",
        ];
        prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn cuts_as_the_slow_reference_does(text in texts()) {
            let (pieces, encoder) = (pieces(), encoder());
            let mut cache = WordCache::new(64);
            let expected = reference(&pieces, &text);
            prop_assert_eq!(&visited(encoder, &text, &mut cache), &expected);
            prop_assert_eq!(&visited(encoder, &text, &mut cache), &expected, "warm");
        }

        #[test]
        fn sums_and_counts_follow_from_the_pieces(text in texts(), times in 1_usize..20) {
            let encoder = encoder();
            let text = text.repeat(times);
            let mut cache = WordCache::new(256);
            let found = visited(encoder, &text, &mut cache);
            let known: Vec<u32> = found.iter().copied().flatten().collect();
            let rows = rows(encoder.pieces());
            let mut expected = [0_i32; DIM];
            for id in &known {
                for (sum, value) in expected.iter_mut().zip(&rows[*id as usize * DIM..]) {
                    *sum += i32::from(*value);
                }
            }
            let mut sums = [7; DIM];
            let encoding = encoder.encode(&text, &mut cache, &mut sums);
            prop_assert_eq!(sums, expected);
            prop_assert_eq!(encoding.tokens as usize, found.len());
            prop_assert_eq!(encoding.known as usize, known.len());
            prop_assert_eq!(encoding.rank_sum, known.iter().map(|id| u64::from(*id)).sum::<u64>());
            prop_assert_eq!(encoding.rank_max, known.iter().copied().max().unwrap_or(0));
            prop_assert!(encoding.split_words <= encoding.words && encoding.words <= encoding.tokens);
            prop_assert!(2 * encoding.split_words <= encoding.split_pieces);
        }

        #[test]
        fn no_cache_changes_a_result(texts in prop::collection::vec(texts(), 1..5)) {
            let encoder = encoder();
            let (mut tiny, mut warm) = (WordCache::new(0), WordCache::new(1024));
            let run = |text: &String, cache: &mut WordCache| {
                let mut sums = [0; DIM];
                (encoder.encode(text, cache, &mut sums), sums, visited(encoder, text, cache))
            };
            for text in texts.iter().chain(&texts) {
                let fresh = run(text, &mut WordCache::new(256));
                prop_assert_eq!(&run(text, &mut tiny), &fresh);
                prop_assert_eq!(&run(text, &mut warm), &fresh);
            }
        }

        #[test]
        fn eight_bytes_at_once_are_as_one_by_one(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), 40..128_u8], 0..12),
            start in 0_usize..12,
        ) {
            let start = start.min(bytes.len());
            let mut eight = [0; 8];
            for (eight, byte) in eight.iter_mut().zip(&bytes[start..]) {
                *eight = *byte;
            }
            let loaded = load(&bytes, start);
            prop_assert_eq!(loaded.to_le_bytes(), eight);
            prop_assert_eq!(lower(loaded).to_le_bytes(), eight.map(|byte| byte.to_ascii_lowercase()));
            let letters = eight.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            prop_assert_eq!(leading_letters(loaded), letters);
        }

        #[test]
        fn quantises_as_integers_do(
            sums in prop::collection::vec(
                prop_oneof![any::<i32>(), -300..300, Just(i32::MIN), Just(i32::MAX)],
                DIM,
            ),
            shift in 0_u32..31,
        ) {
            let sums: [i32; DIM] = std::array::from_fn(|at| sums[at] >> shift);
            let mut found = [0; DIM];
            quantise(&sums, &mut found);
            prop_assert_eq!(found, quantised(&sums));
        }

        #[test]
        fn any_bytes_are_an_encoder_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Encoder::from_bytes(&bytes).is_err());
        }

        #[test]
        fn a_spoilt_file_is_an_error_or_sound(
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<bool>(),
        ) {
            let draft = Draft::new(&pieces());
            let mut bytes = draft.bytes();
            let (at, data) = (at.index(bytes.len()), bytes.len() - draft.data.len());
            let changed = bytes[at] != byte;
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
            let found = Encoder::from_bytes(&bytes);
            if cut {
                prop_assert_eq!(found.expect_err("cut").kind, ErrorKind::ArtifactInvalid);
            } else if changed && at >= data {
                prop_assert_eq!(found.expect_err("changed").kind, ErrorKind::ArtifactChecksum);
            }
        }
    }

    fn quantised(sums: &[i32; DIM]) -> [i8; DIM] {
        let largest = sums.iter().map(|sum| i64::from(*sum).abs()).max().unwrap_or(0);
        sums.map(|sum| match largest {
            0 => 0,
            _ => ((254 * i64::from(sum).abs() + largest) / (2 * largest) * i64::from(sum.signum())) as i8,
        })
    }

    #[test]
    fn quantises_every_tie_away_from_zero() {
        for largest in (1..3000).chain([i32::MAX - 2, i32::MAX - 1, i32::MAX]) {
            let near = |at: usize| {
                // The sums next to the ties (2k + 1) max ÷ 254.
                let tie = (i64::from(largest) * (2 * (at as i64 / 2) + 1) / 254) as i32;
                if at.is_multiple_of(2) { tie } else { -tie - 1 }
            };
            let mut sums: [i32; DIM] = std::array::from_fn(|at| near(at).clamp(-largest, largest));
            sums[0] = largest;
            let mut found = [0; DIM];
            quantise(&sums, &mut found);
            assert_eq!(found, quantised(&sums), "max {largest}");
        }
    }

    #[test]
    fn visited_pieces_add_up_to_what_is_encoded() {
        let encoder = encoder();
        let (text, mut cache) = ("The thing, don't—x² ".repeat(90), WordCache::new(64));
        let pieces: Vec<u32> = visited(encoder, &text, &mut cache).into_iter().flatten().collect();
        let (mut found, mut expected) = ([0; DIM], [0; DIM]);
        encoder.sum_rows(&pieces, &mut found);
        encoder.encode(&text, &mut cache, &mut expected);
        assert!(pieces.len() > 3 * BATCH);
        assert_eq!(found, expected);
    }

    #[test]
    fn tells_rank_and_place_of_a_piece() {
        let encoder = encoder();
        for (id, piece) in (0..).zip(pieces()) {
            assert_eq!(encoder.is_continuation(id), piece.starts_with("##"), "{piece}");
            assert!((encoder.log_rank(id) - (id as f32 + 50.0).ln()).abs() < 1e-5, "{piece}");
        }
    }

    #[test]
    fn nothing_known_is_all_zero() {
        let encoder = encoder();
        let mut sums = [1; DIM];
        let mut direction = [1; DIM];
        for text in ["", " \n\u{301}\0", "[UNK]", "qqq"] {
            let encoding = encoder.encode(text, &mut WordCache::default(), &mut sums);
            quantise(&sums, &mut direction);
            assert_eq!((encoding.known, sums, direction), (0, [0; DIM], [0; DIM]), "{text}");
            assert!(pool(&sums, 0).iter().all(|value| *value == 0.0));
        }
    }

    #[test]
    fn counts_words_and_pieces() {
        let encoder = encoder();
        let mut sums = [0; DIM];
        let encoding = encoder.encode("The, thing qqq 你!", &mut WordCache::default(), &mut sums);
        // the , t-h-ing [UNK] 你 !
        let (tokens, known, words, split_words, split_pieces) = (8, 7, 4, 1, 3);
        let Encoding { rank_sum, rank_max, .. } = encoding;
        assert_eq!(
            encoding,
            Encoding { tokens, known, words, split_words, split_pieces, rank_sum, rank_max }
        );
    }

    #[test]
    fn a_hundred_characters_are_a_word_and_one_more_is_not() {
        let encoder = encoder();
        let mut cache = WordCache::default();
        for letter in ["a", "e\u{301}", "ß"] {
            assert_eq!(visited(encoder, &letter.repeat(100), &mut cache).len(), 100);
            assert_eq!(visited(encoder, &letter.repeat(101), &mut cache), [None]);
            assert_eq!(visited(encoder, &(letter.repeat(5000) + "\u{1} a"), &mut cache).len(), 2);
        }
    }

    #[test]
    fn lanes_hold_the_extreme_batch() {
        let encoder = encoder();
        let mut sums = [0; DIM];
        let encoding = encoder.encode(&"[PAD]".repeat(1000), &mut WordCache::default(), &mut sums);
        assert_eq!((encoding.known, sums), (1000, [-128_000; DIM]));
        let pooled = pool(&sums, encoding.known);
        assert!(pooled.iter().all(|value| (value + 0.0625).abs() < 1e-9), "unit length");
    }

    #[test]
    fn the_portable_lanes_agree() {
        let encoder = encoder();
        let ids: Vec<u32> = (0..BATCH as u32).map(|at| at * 7 % encoder.pieces() as u32).collect();
        let (mut found, mut expected) = ([3; DIM], [3; DIM]);
        add_rows(&encoder.rows, &ids, &mut found);
        add_rows_in_lanes::<32>(&encoder.rows, &ids, &mut expected);
        assert_eq!(found, expected);
    }

    #[test]
    fn a_cache_moves_between_vocabularies() {
        let reversed: Vec<String> = pieces().into_iter().rev().collect();
        let other = Encoder::from_bytes(&Draft::new(&reversed).bytes()).expect("sound");
        let (encoder, text, mut cache) = (encoder(), "the thing", WordCache::default());
        for _ in 0..2 {
            assert_eq!(visited(encoder, text, &mut cache), reference(&pieces(), text));
            assert_eq!(visited(&other, text, &mut cache), reference(&reversed, text));
        }
    }

    #[test]
    fn refuses_what_is_no_encoder() {
        use ErrorKind::{ArtifactChecksum, ArtifactInvalid, ArtifactVersion};
        let spoil = |change: &dyn Fn(&mut Draft)| {
            let mut draft = Draft::new(&pieces());
            change(&mut draft);
            draft.bytes()
        };
        let manifest = |text: &str| spoil(&|draft| draft.metadata["tiny_dancer"] = text.into());
        let listing = |change: &dyn Fn(&mut Vec<String>)| {
            let mut pieces = pieces();
            change(&mut pieces);
            Draft::new(&pieces).bytes()
        };
        let draft = Draft::new(&pieces());
        let cases = [
            ("empty", vec![], ArtifactInvalid),
            ("short", vec![1; 7], ArtifactInvalid),
            ("header too large", [&(1_u64 << 40).to_le_bytes()[..], &[b' '; 64]].concat(), ArtifactInvalid),
            ("header over the bound", draft.with_header(&" ".repeat(MAX_HEADER + 1)), ArtifactInvalid),
            ("header beyond the end", [&500_u64.to_le_bytes()[..], b"{}"].concat(), ArtifactInvalid),
            ("no JSON", draft.with_header("nonsense"), ArtifactInvalid),
            ("deep JSON", draft.with_header(&"[".repeat(100_000)), ArtifactInvalid),
            ("no tensors", draft.with_header("{}"), ArtifactInvalid),
            ("file over the bound", vec![0; MAX_FILE + 1], ArtifactInvalid),
            ("no metadata", spoil(&|draft| draft.metadata = Value::Null), ArtifactInvalid),
            ("no manifest", spoil(&|draft| draft.metadata = json!({"sha256": ""})), ArtifactInvalid),
            ("manifest no JSON", manifest("{"), ArtifactInvalid),
            ("no version", manifest(r#"{"format": "one", "kind": "encoder"}"#), ArtifactInvalid),
            ("half a version", manifest(r#"{"format": "1.0", "kind": "encoder"}"#), ArtifactInvalid),
            ("next version", manifest(r#"{"format": "2.0.0", "kind": "encoder"}"#), ArtifactVersion),
            ("past version", manifest(r#"{"format": "0.9.0", "kind": "encoder"}"#), ArtifactVersion),
            ("other kind", manifest(r#"{"format": "1.0.0", "kind": "router"}"#), ArtifactInvalid),
            (
                "no checksum",
                spoil(&|draft| {
                    draft.metadata.as_object_mut().map(|map| map.remove("sha256"));
                }),
                ArtifactInvalid,
            ),
            (
                "other checksum",
                spoil(&|draft| draft.metadata["sha256"] = "0".repeat(64).into()),
                ArtifactChecksum,
            ),
            ("changed row", spoil(&|draft| draft.data[5] ^= 1), ArtifactChecksum),
            (
                "cut",
                {
                    let mut bytes = draft.bytes();
                    bytes.pop();
                    bytes
                },
                ArtifactInvalid,
            ),
            ("longer", [draft.bytes(), vec![0]].concat(), ArtifactInvalid),
            ("wrong type", spoil(&|draft| draft.embeddings["dtype"] = "U8".into()), ArtifactInvalid),
            (
                "wrong width",
                spoil(&|draft| draft.embeddings["shape"] = json!([pieces().len() * 2, DIM / 2])),
                ArtifactInvalid,
            ),
            (
                "wrong vocabulary type",
                spoil(&|draft| draft.vocabulary["dtype"] = "I8".into()),
                ArtifactInvalid,
            ),
            ("overlapping", spoil(&|draft| draft.vocabulary["data_offsets"][0] = json!(3)), ArtifactInvalid),
            ("piece twice", listing(&|pieces| pieces[5] = pieces[6].clone()), ArtifactInvalid),
            ("no [UNK]", listing(&|pieces| pieces[1] = "other".into()), ArtifactInvalid),
            ("empty piece", listing(&|pieces| pieces[5] = String::new()), ArtifactInvalid),
            ("long piece", listing(&|pieces| pieces[5] = "a".repeat(MAX_PIECE + 1)), ArtifactInvalid),
            ("piece too many", listing(&|pieces| pieces[5] = "new\nline".into()), ArtifactInvalid),
            (
                "not UTF-8",
                {
                    let mut draft = Draft::new(&pieces());
                    *draft.data.last_mut().expect("full") = 0xFF;
                    draft.metadata["sha256"] = hexadecimal(&Sha256::digest(&draft.data)).into();
                    draft.bytes()
                },
                ArtifactInvalid,
            ),
            (
                "piece too few",
                {
                    let (pieces, mut draft) = (pieces(), Draft::new(&pieces()));
                    let line = draft.data.iter_mut().rev().find(|byte| **byte == b'\n').expect("lines");
                    *line = b'x';
                    assert!(pieces.len() > 1);
                    draft.metadata["sha256"] = hexadecimal(&Sha256::digest(&draft.data)).into();
                    draft.bytes()
                },
                ArtifactInvalid,
            ),
        ];
        for (name, bytes, kind) in cases {
            let error = Encoder::from_bytes(&bytes).expect_err(name);
            assert_eq!(error.kind, kind, "{name}: {error}");
            assert!(error.field.starts_with("encoder") && !error.remedy.is_empty(), "{name}: {error}");
        }
    }

    #[test]
    fn the_shipped_encoder_meets_its_conformance_vectors() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/vectors/encoder.json");
        let text = std::fs::read_to_string(path).expect("written by conformance/generate_encoder.py");
        let fixture: Value = serde_json::from_str(&text).expect("JSON");
        let (encoder, mut cache) = (shipped(), WordCache::default());
        assert_eq!(fixture["checksum"], encoder.checksum());
        let vectors = fixture["vectors"].as_array().expect("vectors");
        assert!(vectors.len() >= 40);
        for vector in vectors {
            let (mut sums, mut direction) = ([0; DIM], [0; DIM]);
            let encoding = encoder.encode(vector["text"].as_str().expect("text"), &mut cache, &mut sums);
            quantise(&sums, &mut direction);
            assert_eq!(vector["tokens"], encoding.tokens, "{vector}");
            assert_eq!(vector["known"], encoding.known, "{vector}");
            assert_eq!(vector["rank_sum"], encoding.rank_sum, "{vector}");
            assert_eq!(vector["int8_first_16"], json!(direction[..16]), "{vector}");
            let bytes = direction.map(i8::cast_unsigned);
            assert_eq!(vector["int8_sha256"], hexadecimal(&Sha256::digest(bytes)), "{vector}");
        }
    }
}
