//! Unicode's NFKC form without allocation.

use crate::sort;
use crate::unicode::{canonical_combining_class, compose, decompose_compatible};

/// NFKC in buffers that are kept: the library's own iterator allocates where more than four marks follow a letter
/// or one character falls into more than four.
#[derive(Debug, Default)]
pub struct Composer {
    /// Marks since the last starter: combining class, order of arrival and character in one number that sorts.
    marks: Vec<u64>,
    /// Marks that did not merge with their starter.
    kept: Vec<char>,
}

impl Composer {
    /// Calls `emit` with each character of the NFKC form of `text`.
    pub(crate) fn compose(&mut self, text: &str, mut emit: impl FnMut(char)) {
        self.marks.clear();
        let mut starter = None;
        for character in text.chars() {
            decompose_compatible(character, |part| {
                // Nothing below U+0300 is a mark or merges with what is before it.
                let class = if part < '\u{300}' { 0 } else { canonical_combining_class(part) };
                if class != 0 {
                    let order = self.marks.len() as u64;
                    self.marks.push(u64::from(class) << 56 | order << 24 | u64::from(u32::from(part)));
                    return;
                }
                starter = self.merge_marks(starter, &mut emit);
                let merged = match starter {
                    Some(before) if part >= '\u{300}' && self.kept.is_empty() => compose(before, part),
                    _ => None,
                };
                if merged.is_none() {
                    starter.into_iter().chain(self.kept.drain(..)).for_each(&mut emit);
                }
                starter = merged.or(Some(part));
            });
        }
        let starter = self.merge_marks(starter, &mut emit);
        starter.into_iter().chain(self.kept.drain(..)).for_each(emit);
    }

    /// Merges the waiting marks, in canonical order, with `starter` where they can; the others are kept.
    fn merge_marks(&mut self, mut starter: Option<char>, emit: &mut impl FnMut(char)) -> Option<char> {
        sort::many::unstable(&mut self.marks);
        let mut blocked_from = 0;
        for packed in self.marks.drain(..) {
            let class = packed >> 56;
            let Some(mark) = char::from_u32((packed & 0xFF_FFFF) as u32) else { continue };
            let Some(before) = starter else {
                emit(mark);
                continue;
            };
            let merged = if class > blocked_from { compose(before, mark) } else { None };
            if merged.is_some() {
                starter = merged;
            } else {
                blocked_from = class;
                self.kept.push(mark);
            }
        }
        starter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use unicode_normalization::UnicodeNormalization;

    fn composed(text: &str) -> String {
        let (mut out, mut composer) = (String::new(), Composer::default());
        composer.compose(text, |character| out.push(character));
        assert!(composer.marks.is_empty() && composer.kept.is_empty());
        out
    }

    #[test]
    fn every_character_composes_as_the_library_says() {
        for character in '\0'..=char::MAX {
            for text in
                [format!("{character}"), format!("a{character}\u{301}"), format!("e\u{327}{character}b")]
            {
                let expected: String = text.nfkc().collect();
                assert_eq!(composed(&text), expected, "{text:?}");
            }
        }
    }

    /// Starters and marks that merge, block each other or fall apart into many.
    fn composing() -> impl Strategy<Value = String> {
        let range = |from: char, to: char| proptest::char::range(from, to);
        let part = prop_oneof![
            4 => range('a', 'z'),
            4 => range('\u{300}', '\u{36F}'),
            1 => range('\u{591}', '\u{5BD}'),
            1 => range('\u{93C}', '\u{9D7}'),
            1 => range('\u{1100}', '\u{11FF}'),
            1 => range('\u{AC00}', '\u{D7A3}'),
            1 => range('\u{1E00}', '\u{1FFF}'),
            1 => range('\u{FB50}', '\u{FDFF}'),
            2 => any::<char>(),
        ];
        proptest::collection::vec(part, 0..60).prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn text_composes_as_the_library_says(text in composing()) {
            prop_assert_eq!(composed(&text), text.nfkc().collect::<String>());
        }
    }
}
