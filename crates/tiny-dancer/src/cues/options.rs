//! The option block of a multiple-choice question, found in running text.

use super::lexicon::{Lexicon, flag};
use super::{count, indicator, share};
use crate::sort;
use crate::text::{Token, TokenKind};

/// Markers run from a to j.
const MOST_OPTIONS: usize = 10;
/// Markers remembered; of more, the last ones count.
const MOST_MARKERS: usize = 128;
/// Tokens of one option that take part in comparisons.
const MOST_COMPARED: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Marker {
    letter: u8,
    /// Character where the marker starts (its parenthesis included) and where its option starts.
    start: usize,
    option: usize,
}

/// Options "a. …", "b) …", "(c) …" that follow a stem; the longest chain a, b, c, … counts, the last of equals.
#[derive(Debug, Default)]
pub(super) struct Options {
    markers: Vec<Marker>,
    chain: Vec<Marker>,
    longest: Vec<Marker>,
    /// Tokens of each option, as ranges.
    ranges: Vec<(usize, usize)>,
    /// Sorted distinct token hashes of the options, and where each option's end.
    sets: Vec<u64>,
    set_ends: Vec<usize>,
    stem_set: Vec<u64>,
    /// One past the last character of the stem.
    pub(super) stem_end: usize,
    /// One past the last character of the text.
    text_end: usize,
}

impl Options {
    #[inline(never)]
    pub(super) fn find(&mut self, characters: &[char], tokens: &[Token]) {
        // All room a text can need, so that no later one allocates.
        self.markers.clear();
        self.markers.reserve(MOST_MARKERS);
        for options in [&mut self.chain, &mut self.longest] {
            options.clear();
            options.reserve(MOST_OPTIONS);
        }
        self.ranges.clear();
        self.ranges.reserve(MOST_OPTIONS);
        self.set_ends.clear();
        self.set_ends.reserve(MOST_OPTIONS);
        self.sets.clear();
        self.sets.reserve(MOST_OPTIONS * MOST_COMPARED);
        for pair in tokens.windows(2) {
            let (letter, mark) = (pair[0], pair[1]);
            let start = letter.start as usize;
            let character = characters[start];
            if letter.length() != 1 || !('a'..='j').contains(&character) || mark.start != letter.end {
                continue;
            }
            let before = start.checked_sub(1).map(|at| characters[at]);
            if !matches!(before, None | Some(' ' | '('))
                || !matches!(characters[mark.start as usize], '.' | ')' | ':')
            {
                continue;
            }
            if self.markers.len() == MOST_MARKERS {
                self.markers.remove(0);
            }
            self.markers.push(Marker {
                letter: character as u8,
                start: if before == Some('(') { start - 1 } else { start },
                option: mark.end as usize,
            });
        }
        for first in 0..self.markers.len() {
            if self.markers[first].letter != b'a' {
                continue;
            }
            self.chain.clear();
            self.chain.push(self.markers[first]);
            for marker in &self.markers[first + 1..] {
                if marker.letter == b'a' + self.chain.len() as u8 {
                    self.chain.push(*marker);
                } else if marker.letter == b'a' && self.chain.len() == 1 {
                    break;
                }
            }
            if self.chain.len() >= 2 && self.chain.len() >= self.longest.len() {
                std::mem::swap(&mut self.chain, &mut self.longest);
            }
        }
        self.text_end = characters.len();
        self.stem_end = self.longest.first().map_or(characters.len(), |marker| marker.start);
    }

    /// Stem, then each option without its marker, as ranges of characters.
    pub(super) fn parts(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let options = self.longest.iter().enumerate().map(|(index, marker)| {
            let end = self.longest.get(index + 1).map_or(self.text_end, |next| next.start);
            marker.option..end.max(marker.option)
        });
        std::iter::once(0..self.stem_end).chain(options)
    }

    /// Characters of the shortest option.
    pub(super) fn shortest(&self) -> usize {
        self.ranges.iter().map(|&(start, end)| end - start).min().unwrap_or(0)
    }

    /// The tokens without a closing "answer" or "answer:", which asks nothing.
    pub(super) fn without_answer<'a>(characters: &[char], tokens: &'a [Token]) -> &'a [Token] {
        let ends_with_colon = tokens.last().is_some_and(|token| characters[token.start as usize] == ':');
        let rest = if ends_with_colon { &tokens[..tokens.len() - 1] } else { tokens };
        match rest.last() {
            Some(token)
                if characters[token.start as usize..token.end as usize]
                    .iter()
                    .copied()
                    .eq("answer".chars()) =>
            {
                &rest[..rest.len() - 1]
            }
            _ => tokens,
        }
    }

    /// Characters in all options, markers apart.
    pub(super) fn characters(&self) -> usize {
        self.ranges.iter().map(|&(start, end)| end - start).sum()
    }

    /// Puts the nine option cues, in the order of `NAMES`.
    #[inline(never)]
    pub(super) fn measure(
        &mut self,
        characters: &[char],
        tokens: &[Token],
        lexicon: &Lexicon,
        put: &mut impl FnMut(f32),
    ) {
        self.ranges.clear();
        self.sets.clear();
        self.set_ends.clear();
        let options = self.longest.len();
        if options == 0 {
            (0..9).for_each(|_| put(0.0));
            return;
        }
        let text_end = tokens.last().map_or(0, |token| token.end as usize);
        let (mut words, mut numeric, mut all_or_none) = (0, 0, false);
        let mut first_hashes = [0u64; MOST_OPTIONS];
        for (index, marker) in self.longest.iter().enumerate() {
            let end = self.longest.get(index + 1).map_or(text_end, |next| next.start).max(marker.option);
            let from = tokens.partition_point(|token| (token.start as usize) < marker.option);
            let to = tokens.partition_point(|token| (token.start as usize) < end).max(from);
            let option = &tokens[from..to];
            let trimmed = option.first().map_or(marker.option, |token| token.start as usize);
            self.ranges.push((trimmed, option.last().map_or(trimmed, |token| token.end as usize)));
            words += option.len();
            let numbers = option.iter().filter(|token| token.kind == TokenKind::Number).count();
            let spoken = option.iter().filter(|token| token.kind != TokenKind::Symbol).count();
            numeric += usize::from(!option.is_empty() && numbers * 2 >= spoken);
            if let Some(first) = option.first() {
                first_hashes[index] = first.hash;
                let roman = characters[first.start as usize..first.end as usize] == ['i']
                    && option
                        .get(1)
                        .is_some_and(|second| matches!(characters[second.start as usize], 'a' | ','));
                all_or_none |= lexicon.flags(first.hash) & flag::ALL_OR_NONE != 0 || roman;
            }
            let set_start = self.sets.len();
            self.sets.extend(option.iter().take(MOST_COMPARED).map(|token| token.hash));
            sort::many::unstable(&mut self.sets[set_start..]);
            dedup_from(&mut self.sets, set_start);
            self.set_ends.push(self.sets.len());
        }
        self.stem_set.clear();
        let stem = tokens.iter().take_while(|token| (token.start as usize) < self.stem_end);
        let telling = stem.filter(|t| t.kind == TokenKind::Word && lexicon.flags(t.hash) & flag::STOP == 0);
        self.stem_set.extend(telling.map(|token| token.hash));
        sort::many::unstable(&mut self.stem_set);
        self.stem_set.dedup();

        let lengths = || self.ranges.iter().map(|&(start, end)| (end - start) as f32);
        let mean = lengths().sum::<f32>() / options as f32;
        let variance =
            lengths().map(|length| (length - mean) * (length - mean)).sum::<f32>() / options as f32;
        let set = |index: usize| {
            let start = if index == 0 { 0 } else { self.set_ends[index - 1] };
            &self.sets[start..self.set_ends[index]]
        };
        let (mut overlap, mut stem_overlap) = (0f32, 0f32);
        for first in 0..options {
            for second in first + 1..options {
                let shared = common(set(first), set(second));
                overlap += share(shared, set(first).len() + set(second).len() - shared);
            }
            stem_overlap += share(common(set(first), &self.stem_set), set(first).len());
        }
        let firsts = &mut first_hashes[..options];
        sort::many::unstable(firsts);
        let distinct = 1 + firsts.windows(2).filter(|pair| pair[0] != pair[1]).count();

        put(options as f32);
        put(crate::cues::log1p(words as f32 / options as f32));
        put(count(self.ranges.iter().map(|&(start, end)| end - start).max().unwrap_or(0)));
        put(variance.sqrt() / (mean + 1.0));
        put(overlap / (options * (options - 1) / 2) as f32);
        put(stem_overlap / options as f32);
        put(share(numeric, options));
        put(indicator(all_or_none));
        put(1.0 - share(distinct, options));
    }
}

fn dedup_from(values: &mut Vec<u64>, start: usize) {
    let mut kept = start;
    for at in start..values.len() {
        if at == start || values[at] != values[kept - 1] {
            values[kept] = values[at];
            kept += 1;
        }
    }
    values.truncate(kept);
}

/// Values in both sorted, distinct lists.
fn common(a: &[u64], b: &[u64]) -> usize {
    let (mut i, mut j, mut found) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                found += 1;
                i += 1;
                j += 1;
            }
        }
    }
    found
}
