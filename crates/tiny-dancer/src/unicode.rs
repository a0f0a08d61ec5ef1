//! What Unicode says about characters: decompositions, combining classes, general categories.
//!
//! From tables of 20 kB that `build.rs` has packed from the libraries', whose own are 100 kB of each binding; unpacked when
//! the first character that is not ASCII is asked about, and then looked up in two steps.

use crate::sort;
use std::sync::LazyLock;

/// Hangul syllables are composed by a rule: their first, and the first and number of each part.
const SYLLABLES: u32 = 0xAC00;
const LEADS: (u32, u32) = (0x1100, 19);
const VOWELS: (u32, u32) = (0x1161, 21);
/// The number counts "none", which stands at the first place.
const TAILS: (u32, u32) = (0x11A7, 28);
const SYLLABLE_COUNT: u32 = LEADS.1 * VOWELS.1 * TAILS.1;

static DECOMPOSITIONS: LazyLock<Decompositions> =
    LazyLock::new(|| Decompositions::unpack(include_bytes!(concat!(env!("OUT_DIR"), "/decompositions"))));
static CLASSES: LazyLock<Pages> =
    LazyLock::new(|| Pages::unpack(include_bytes!(concat!(env!("OUT_DIR"), "/classes"))));
#[cfg(feature = "encoder")]
static KINDS: LazyLock<Pages> =
    LazyLock::new(|| Pages::unpack(include_bytes!(concat!(env!("OUT_DIR"), "/kinds"))));

/// Reads what `Numbers` of `build.rs` has written.
struct Numbers(std::slice::Iter<'static, u8>);

impl Numbers {
    fn next(&mut self) -> u32 {
        let (mut number, mut shift) = (0, 0);
        for byte in self.0.by_ref() {
            number |= u32::from(byte & 0x7F) << shift;
            if byte < &0x80 {
                break;
            }
            shift += 7;
        }
        number
    }

    fn next_from(&mut self, before: u32) -> u32 {
        let coded = self.next();
        before.wrapping_add(coded >> 1 ^ (coded & 1).wrapping_neg())
    }
}

/// A number for each character, in pages; those that have none have 0.
struct Pages {
    /// Which page, by the upper bits of a character. The first one is empty.
    places: Vec<u16>,
    numbers: Vec<u16>,
}

/// Characters a page.
const PAGE: usize = 256;

impl Pages {
    /// Of ranges in order: start, end (past the last), number.
    fn new(ranges: impl Iterator<Item = (u32, u32, u16)>) -> Self {
        let mut all = Self { places: vec![0; char::MAX as usize / PAGE + 1], numbers: vec![0; PAGE] };
        for (start, end, number) in ranges {
            for code in start as usize..end as usize {
                let place = code / PAGE;
                if all.places[place] == 0 {
                    all.share(place);
                    all.places[place] = (all.numbers.len() / PAGE) as u16;
                    all.numbers.resize(all.numbers.len() + PAGE, 0);
                }
                let page = usize::from(all.places[place]);
                all.numbers[page * PAGE + code % PAGE] = number;
            }
        }
        all
    }

    /// Now that the pages before `place` are whole: the last one, where it is as the one before it, goes.
    fn share(&mut self, place: usize) {
        let pages = self.numbers.len() / PAGE;
        if pages > 2 && self.numbers[(pages - 2) * PAGE..].chunks(PAGE).is_sorted_by(|one, two| one == two) {
            self.numbers.truncate((pages - 1) * PAGE);
            if let Some(last) = self.places[..place].iter_mut().rfind(|page| **page != 0) {
                *last -= 1;
            }
        }
    }

    /// Of what `ranges` of `build.rs` has written.
    fn unpack(packed: &'static [u8]) -> Self {
        let mut numbers = Numbers(packed.iter());
        let mut end = 0;
        Self::new((0..numbers.next()).map(|_| {
            let start = end + numbers.next();
            end = start + numbers.next();
            (start, end, numbers.next() as u16)
        }))
    }

    #[inline]
    fn of(&self, character: char) -> u16 {
        let code = character as usize;
        self.numbers[usize::from(self.places[code / PAGE]) * PAGE + code % PAGE]
    }
}

/// What one character falls into: where in `parts`, canonically and compatibly.
struct Entry {
    start: u32,
    canonical: u8,
    compatible: u8,
}

/// What characters fall into, and what composes them again.
struct Decompositions {
    /// In order of characters.
    entries: Vec<Entry>,
    /// Of each character the place of its entry, plus one.
    places: Pages,
    /// Of each entry its canonical, then its compatible form; where it has but one, that one.
    parts: Vec<char>,
    /// First, second, composed; in order.
    pairs: Vec<(char, char, char)>,
    /// 1 for those that are second in a pair.
    seconds: Pages,
}

impl Decompositions {
    fn unpack(packed: &'static [u8]) -> Self {
        let mut numbers = Numbers(packed.iter());
        let count = numbers.next() as usize;
        let none = || Pages::new(std::iter::empty());
        let mut all = Self {
            entries: Vec::with_capacity(count),
            places: none(),
            parts: Vec::new(),
            pairs: Vec::new(),
            seconds: none(),
        };
        let (mut codes, mut composing) = (Vec::with_capacity(count), Vec::new());
        let (mut code, mut last) = (0, 0);
        for _ in 0..count {
            let head = numbers.next();
            code += head >> 3;
            let start = all.parts.len();
            let mut form = |given: bool| {
                let length = if given { numbers.next() } else { 0 };
                all.parts.extend((0..length).filter_map(|_| {
                    last = numbers.next_from(last);
                    char::from_u32(last)
                }));
                length as u8
            };
            let (canonical, compatible) = (form(head & 4 != 0), form(head & 2 != 0));
            codes.push(code);
            all.entries.push(Entry { start: start as u32, canonical, compatible });
            if head & 1 != 0 {
                composing.extend(char::from_u32(code).map(|whole| (canonical, start, whole)));
            }
        }
        // Short ones first: a longer one is composed of a shorter one and one part more.
        sort::unstable(&mut composing);
        for same in composing.chunk_by(|one, two| one.0 == two.0) {
            let mut found = Vec::new();
            for &(length, start, whole) in same {
                let parts = &all.parts[start..][..usize::from(length)];
                let (first, middle, second) = (parts[0], &parts[1..parts.len() - 1], parts[parts.len() - 1]);
                let first = middle.iter().try_fold(first, |one, two| all.pair(one, *two));
                found.extend(first.map(|first| (first, second, whole)));
            }
            all.pairs.extend(found);
            sort::unstable(&mut all.pairs);
        }
        all.places = Pages::new(codes.into_iter().zip(1..).map(|(code, place)| (code, code + 1, place)));
        let mut seconds: Vec<u32> = all.pairs.iter().map(|pair| pair.1.into()).collect();
        sort::unstable(&mut seconds);
        all.seconds = Pages::new(seconds.into_iter().map(|code| (code, code + 1, 1)));
        all
    }

    fn entry(&self, character: char) -> Option<&Entry> {
        usize::from(self.places.of(character)).checked_sub(1).map(|place| &self.entries[place])
    }

    fn pair(&self, one: char, two: char) -> Option<char> {
        let at = self.pairs.binary_search_by_key(&(one, two), |&(one, two, _)| (one, two)).ok()?;
        Some(self.pairs[at].2)
    }
}

fn syllable(character: char, mut emit: impl FnMut(char)) -> bool {
    let place = u32::from(character).wrapping_sub(SYLLABLES);
    if place >= SYLLABLE_COUNT {
        return false;
    }
    let (tail, rest) = (place % TAILS.1, place / TAILS.1);
    let parts =
        [(LEADS.0 + rest / VOWELS.1, true), (VOWELS.0 + rest % VOWELS.1, true), (TAILS.0 + tail, tail > 0)];
    parts.into_iter().filter(|part| part.1).filter_map(|part| char::from_u32(part.0)).for_each(&mut emit);
    true
}

fn decompose(character: char, compatibly: bool, mut emit: impl FnMut(char)) {
    if character.is_ascii() {
        return emit(character);
    }
    if syllable(character, &mut emit) {
        return;
    }
    let all = &*DECOMPOSITIONS;
    let (start, length) = match all.entry(character) {
        Some(entry) if compatibly && entry.compatible > 0 => {
            (entry.start + u32::from(entry.canonical), entry.compatible)
        }
        Some(entry) if entry.canonical > 0 => (entry.start, entry.canonical),
        _ => return emit(character),
    };
    all.parts[start as usize..][..usize::from(length)].iter().copied().for_each(emit);
}

#[cfg(feature = "encoder")]
/// Calls `emit` with each character of the canonical decomposition.
pub(crate) fn decompose_canonical(character: char, emit: impl FnMut(char)) {
    decompose(character, false, emit);
}

/// Calls `emit` with each character of the compatible decomposition.
pub(crate) fn decompose_compatible(character: char, emit: impl FnMut(char)) {
    decompose(character, true, emit);
}

/// The character that two compose to, if there is one.
pub(crate) fn compose(one: char, two: char) -> Option<char> {
    let (first, second) = (u32::from(one), u32::from(two));
    let (lead, vowel) = (first.wrapping_sub(LEADS.0), second.wrapping_sub(VOWELS.0));
    if lead < LEADS.1 && vowel < VOWELS.1 {
        return char::from_u32(SYLLABLES + (lead * VOWELS.1 + vowel) * TAILS.1);
    }
    let (place, tail) = (first.wrapping_sub(SYLLABLES), second.wrapping_sub(TAILS.0));
    if place < SYLLABLE_COUNT && place.is_multiple_of(TAILS.1) && (1..TAILS.1).contains(&tail) {
        return char::from_u32(first + tail);
    }
    let all = &*DECOMPOSITIONS;
    if all.seconds.of(two) == 0 { None } else { all.pair(one, two) }
}

/// The canonical combining class.
pub(crate) fn canonical_combining_class(character: char) -> u8 {
    CLASSES.of(character) as u8
}

#[cfg(feature = "encoder")]
/// Whether a character is of category Mn.
pub(crate) fn is_mark_nonspacing(character: char) -> bool {
    KINDS.of(character) == 1
}

#[cfg(feature = "encoder")]
/// Whether a character is of a category P*.
pub(crate) fn is_punctuation(character: char) -> bool {
    KINDS.of(character) == 2
}

#[cfg(feature = "encoder")]
/// Whether a character is of a category C*, as the library knows them.
pub(crate) fn is_other(character: char) -> bool {
    KINDS.of(character) == 3
}

#[cfg(test)]
mod tests {
    use unicode_categories::UnicodeCategories;
    use unicode_normalization::char as library;

    use super::*;

    fn parts(of: impl Fn(char, &mut dyn FnMut(char)), character: char) -> Vec<char> {
        let mut parts = Vec::new();
        of(character, &mut |part| parts.push(part));
        parts
    }

    #[test]
    fn every_character_is_as_the_libraries_say() {
        for character in '\0'..=char::MAX {
            let canonical = parts(|character, emit| library::decompose_canonical(character, emit), character);
            assert_eq!(parts(|character, emit| decompose_canonical(character, emit), character), canonical);
            assert_eq!(
                parts(|character, emit| decompose_compatible(character, emit), character),
                parts(|character, emit| library::decompose_compatible(character, emit), character)
            );
            let class = library::canonical_combining_class(character);
            assert_eq!(canonical_combining_class(character), class, "{character:?}");
            assert_eq!(
                is_mark_nonspacing(character),
                UnicodeCategories::is_mark_nonspacing(character),
                "{character:?}"
            );
            assert_eq!(
                is_punctuation(character),
                UnicodeCategories::is_punctuation(character),
                "{character:?}"
            );
            assert_eq!(is_other(character), UnicodeCategories::is_other(character), "{character:?}");
        }
    }

    #[test]
    fn every_pair_composes_as_the_library_says() {
        let (mut firsts, mut seconds) = (vec!['a'], vec!['a']);
        for character in '\0'..=char::MAX {
            let canonical = parts(|character, emit| library::decompose_canonical(character, emit), character);
            if canonical != [character] {
                firsts.extend([canonical[0], character]);
                seconds.push(canonical[canonical.len() - 1]);
            }
        }
        for all in [&mut firsts, &mut seconds] {
            all.sort_unstable();
            all.dedup();
        }
        // Syllables by the thousand differ in nothing.
        firsts.retain(|first| !('\u{AC40}'..'\u{D780}').contains(first));
        assert!(firsts.len() > 2000 && seconds.len() > 90);
        for &first in &firsts {
            for &second in &seconds {
                assert_eq!(compose(first, second), library::compose(first, second), "{first:?} {second:?}");
            }
        }
    }
}
