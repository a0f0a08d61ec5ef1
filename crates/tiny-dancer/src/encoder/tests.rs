//! The encoder against slow, readable references.

mod loading;

use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use unicode_normalization::UnicodeNormalization;

use unicode_categories::UnicodeCategories;

use super::characters::{is_ideograph, is_punctuation};
use super::pool::add_rows;
use super::*;
use crate::kernels::paths::on_every_path;

const LONG_PIECE: &str = "interdisciplinarytelecommunications";

/// A vocabulary with something of every kind, and gaps.
fn pieces() -> Vec<String> {
    let mut pieces: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "##ing", "the", "##ll", LONG_PIECE, "##tele"]
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
    Encoder::from_bytes(&std::fs::read(path).expect("written by recipes/convert_encoder.py")).expect("sound")
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
    assert_eq!(encoding, Encoding { tokens, known, words, split_words, split_pieces, rank_sum, rank_max });
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
fn rows_add_up_alike_on_every_path() {
    let encoder = encoder();
    for count in [0, 1, BATCH / 2, BATCH] {
        let ids: Vec<u32> = (0..count as u32).map(|at| at * 7 % encoder.pieces() as u32).collect();
        let mut expected = [3; DIM];
        for id in &ids {
            for (sum, value) in expected.iter_mut().zip(&encoder.rows[*id as usize].0) {
                *sum += i32::from(*value);
            }
        }
        on_every_path(|path| {
            let mut found = [3; DIM];
            add_rows(&encoder.rows, &ids, &mut found);
            assert_eq!(found, expected, "{path:?}, {count} rows");
        });
    }
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
