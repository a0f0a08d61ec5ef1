//! Packs what Unicode says about characters: the libraries' own tables are 100 kB of each binding.
//!
//! The libraries themselves are asked, character by character, so that both say the same; `src/unicode.rs` reads
//! it, and its tests compare all characters.

use std::path::Path;
use std::{env, fs};

use unicode_categories::UnicodeCategories;
use unicode_normalization::char::{
    canonical_combining_class, compose, decompose_canonical, decompose_compatible,
};

/// Whole numbers, small ones in few bytes: seven bits each, the high bit where more follow.
#[derive(Default)]
struct Numbers(Vec<u8>);

impl Numbers {
    fn put(&mut self, mut number: u32) {
        while number > 0x7F {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// The distance from `before`, forwards or backwards.
    fn put_from(&mut self, before: u32, value: u32) {
        let distance = value.wrapping_sub(before).cast_signed();
        self.put((distance << 1 ^ distance >> 31).cast_unsigned());
    }
}

/// The ranges of equal values, but for those of 0: how many, then of each the gap before it, its length, its value.
fn ranges(of: impl Fn(char) -> u8) -> Vec<u8> {
    let mut found: Vec<(u32, u32, u8)> = Vec::new();
    for character in '\0'..=char::MAX {
        let (code, value) = (u32::from(character), of(character));
        match found.last_mut() {
            Some((_, end, last)) if *end == code && *last == value => *end = code + 1,
            _ if value != 0 => found.push((code, code + 1, value)),
            _ => {}
        }
    }
    let mut out = Numbers::default();
    out.put(found.len() as u32);
    let mut before = 0;
    for (start, end, value) in found {
        out.put(start - before);
        out.put(end - start);
        out.put(value.into());
        before = end;
    }
    out.0
}

/// Of each character that falls apart: the gap before it; whether the canonical form and whether another compatible form
/// follows, and whether the canonical form composes to it again; of each form its length and its characters, as distances.
fn decompositions() -> Vec<u8> {
    let mut entries = Numbers::default();
    let (mut count, mut before, mut last) = (0, 0, 0);
    for character in '\u{80}'..=char::MAX {
        if ('\u{AC00}'..='\u{D7A3}').contains(&character) {
            continue; // Hangul syllables follow a rule.
        }
        let (mut canonical, mut compatible) = (Vec::new(), Vec::new());
        decompose_canonical(character, |part| canonical.push(part));
        decompose_compatible(character, |part| compatible.push(part));
        let (plain, other) = (canonical == [character], compatible != canonical);
        if plain && !other {
            continue;
        }
        let whole = canonical.iter().skip(1).try_fold(canonical[0], |one, two| compose(one, *two));
        let composes = !plain && canonical.len() > 1 && whole == Some(character);
        let code = u32::from(character);
        entries
            .put((code - before) << 3 | u32::from(!plain) << 2 | u32::from(other) << 1 | u32::from(composes));
        before = code;
        for form in [(!plain).then_some(canonical), other.then_some(compatible)].into_iter().flatten() {
            entries.put(form.len() as u32);
            for part in form {
                entries.put_from(last, part.into());
                last = part.into();
            }
        }
        count += 1;
    }
    let mut out = Numbers::default();
    out.put(count);
    out.0.extend(entries.0);
    out.0
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let kind = |character: char| match character {
        _ if character.is_mark_nonspacing() => 1,
        _ if character.is_punctuation() => 2,
        _ if character.is_other() => 3,
        _ => 0,
    };
    let folder = env::var("OUT_DIR").expect("cargo names a folder");
    let tables = [
        ("decompositions", decompositions()),
        ("classes", ranges(canonical_combining_class)),
        ("kinds", ranges(kind)),
    ];
    for (name, table) in tables {
        fs::write(Path::new(&folder).join(name), table).expect("the folder can be written");
    }
}
