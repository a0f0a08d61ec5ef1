//! Options under any kind of marker, which become `a.`, `b.`, …

use super::words::{CHOICES, IS, KIND, OPTION, PROSE};
use super::{Cut, Put, View};
use crate::text::TokenKind;

/// Options from a to j.
const MOST_OPTIONS: usize = 10;
/// Markers remembered; of more, the last ones count.
const MOST_MARKERS: usize = 128;
/// What makes a digit a key of its own: 1️⃣.
const KEYCAP: (char, char) = ('\u{FE0F}', '\u{20E3}');
/// Options of a list with loose marks, and characters from one of its markers to the next.
const LEAST_LOOSE: usize = 3;
/// Options of one before which no sentence or label ends.
const LEAST_AMID: usize = 4;
const LEAST_OPTION: usize = 3;
/// How markers are looked at: letters first.
const ROMAN: [&str; MOST_OPTIONS] = ["i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Letter,
    Number,
    Roman,
    Bullet(char),
    /// A letter or a number, and a mark that means something else in other places.
    LooseLetter(char),
    LooseNumber(char),
}

impl Kind {
    fn is_loose(self) -> bool {
        matches!(self, Self::LooseLetter(_) | Self::LooseNumber(_))
    }
}

#[derive(Clone, Copy, Debug)]
struct Marker {
    kind: Kind,
    /// Place in its chain; of a bullet, 0 where it may start one.
    rank: u8,
    /// Characters of the marker, brackets and a word before it included.
    start: usize,
    end: usize,
    /// Its first token.
    token: usize,
}

/// Buffers.
#[derive(Debug)]
pub(super) struct Choices {
    markers: Vec<Marker>,
    chain: Vec<Marker>,
    longest: Vec<Marker>,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            markers: Vec::with_capacity(MOST_MARKERS),
            chain: Vec::with_capacity(MOST_OPTIONS + 1),
            longest: Vec::with_capacity(MOST_OPTIONS + 1),
        }
    }
}

impl Choices {
    /// Finds the markers of the longest list (of equally long ones the last), the label in front of it, what separates
    /// its options, and bullets in front of other markers.
    #[inline(never)]
    pub(super) fn find(&mut self, view: View, cuts: &mut Vec<Cut>) {
        self.markers.clear();
        self.chain.clear();
        self.longest.clear();
        for token in 0..view.tokens.len() {
            for marker in
                [lettered(view, token), roman(view, token), bullet(view, token)].into_iter().flatten()
            {
                if self.markers.len() == MOST_MARKERS {
                    self.markers.remove(0);
                }
                self.markers.push(marker);
            }
        }
        if self.markers.len() < 2 {
            return;
        }
        self.find_longest(view);
        self.cut(view, cuts);
    }

    fn find_longest(&mut self, view: View) {
        let Self { markers, chain, longest } = self;
        for first in 0..markers.len() {
            let Marker { kind, rank: 0, .. } = markers[first] else { continue };
            chain.clear();
            chain.push(markers[first]);
            for marker in &markers[first + 1..] {
                if marker.kind != kind {
                    continue;
                }
                let bullet = matches!(kind, Kind::Bullet(_));
                if bullet || usize::from(marker.rank) == chain.len() {
                    if chain.len() > MOST_OPTIONS {
                        break;
                    }
                    let before = chain[chain.len() - 1];
                    if kind.is_loose() && marker.start < before.end + LEAST_OPTION {
                        break;
                    }
                    if kind == Kind::Number && chain.len() == 1 && is_named(view, &before, marker) {
                        break;
                    }
                    chain.push(*marker);
                } else if marker.rank == 0 && chain.len() == 1 {
                    break;
                }
            }
            // A longer list than there are letters is none of options.
            let starts = |first: usize| first > 0 && view.ends_sentence(first - 1);
            let least = match kind.is_loose() {
                false => 2,
                true if starts(markers[first].token) => LEAST_LOOSE,
                true => LEAST_AMID,
            };
            if (least..=MOST_OPTIONS).contains(&chain.len()) && chain.len() >= longest.len() {
                std::mem::swap(chain, longest);
            }
        }
    }

    fn cut(&self, view: View, cuts: &mut Vec<Cut>) {
        let mut rank = 0;
        for (index, marker) in self.markers.iter().enumerate() {
            let option = self
                .longest
                .get(rank)
                .filter(|found| found.start == marker.start && found.kind == marker.kind);
            let Some(option) = option else {
                // A bullet before a marker says nothing.
                let next = self.markers.get(index + 1);
                let decorates = matches!(marker.kind, Kind::Bullet(_))
                    && next.is_some_and(|next| {
                        next.start == marker.end + 1
                            && !matches!(next.kind, Kind::Bullet(_))
                            && !next.kind.is_loose()
                    });
                if decorates && cuts.last().is_none_or(|cut| cut.end <= marker.start) {
                    cuts.push(Cut::new(marker.start, marker.end, Put::Space));
                }
                continue;
            };
            let mut first = option.token;
            if rank == 0 {
                first = before_label(view, first);
            } else if first > 0 && [',', ';', '|', '/'].iter().any(|mark| view.is_symbol(first - 1, *mark)) {
                first -= 1;
            }
            let start = if first == option.token { option.start } else { view.tokens[first].start as usize };
            let start = cuts.last().map_or(start, |cut| cut.end.max(start));
            let letter = (b'a' + rank as u8) as char;
            let plain = view.characters[start..option.end] == [letter, '.']
                && view.before(start) == ' '
                && view.at(option.end) == ' ';
            if !plain {
                cuts.push(Cut::new(start, option.end, Put::Option(rank as u8)));
            }
            rank += 1;
        }
    }
}

/// Whether the same word stands before two markers: "Statement 1: … Statement 2: …".
fn is_named(view: View, first: &Marker, second: &Marker) -> bool {
    let (Some(first), Some(second)) = (first.token.checked_sub(1), second.token.checked_sub(1)) else {
        return false;
    };
    view.is_word(first) && view.is_word(second) && view.tokens[first].hash == view.tokens[second].hash
}

/// The first token of a label like "Answer choices:" that ends before `token`, or `token`.
fn before_label(view: View, token: usize) -> usize {
    let mut at = token;
    if at > 0 && view.is_symbol(at - 1, ':') {
        at -= 1;
    }
    if at > 0 && view.flags(at - 1) & IS != 0 {
        at -= 1;
    }
    if at == 0 || at == token || view.flags(at - 1) & CHOICES == 0 {
        return token;
    }
    at -= 1;
    while at > 0 && view.is_word(at - 1) && view.flags(at - 1) & (KIND | PROSE) != 0 && token - at < 8 {
        at -= 1;
    }
    at
}

/// The place where a marker may start: a text, a word, or a bracket that opens.
fn opening(view: View, start: usize) -> Option<usize> {
    match view.before(start) {
        ' ' => Some(start),
        '(' | '[' | '{' | '【' | '〔' if !view.before(start - 1).is_alphanumeric() => Some(start - 1),
        _ => None,
    }
}

/// Where a marker's mark ends: `.`, `)`, `:`, `]` and the like, or two of them.
fn closing(view: View, end: usize) -> Option<usize> {
    let mark = |at: usize| matches!(view.at(at), '.' | ')' | ':' | ']' | '、' | '。' | '】' | '〕');
    if !mark(end) {
        return None;
    }
    Some(if mark(end + 1) { end + 2 } else { end + 1 })
}

/// A loose mark, and where it ends: `-`, `>`, `/`, `|`, `}` or a dash before a space, perhaps behind one.
fn loose(view: View, end: usize) -> Option<(char, usize)> {
    let at = end + usize::from(view.at(end) == ' ');
    let mark = view.at(at);
    (matches!(mark, '-' | '>' | '/' | '|' | '–' | '—' | '}') && view.at(at + 1) == ' ')
        .then_some((mark, at + 1))
}

/// A letter a–j or a number 1–10 with a mark.
fn lettered(view: View, token: usize) -> Option<Marker> {
    let found = view.tokens[token];
    let (start, end) = (found.start as usize, found.end as usize);
    let (kind, rank) = match (found.kind, &view.characters[start..end]) {
        (TokenKind::Word, [letter @ 'a'..='j']) => (Kind::Letter, *letter as u8 - b'a'),
        (TokenKind::Number, [digit @ '1'..='9']) => (Kind::Number, *digit as u8 - b'1'),
        (TokenKind::Number, ['1', '0']) => (Kind::Number, 9),
        _ => return None,
    };
    if let Some(end) = closing(view, end) {
        if kind == Kind::Number && view.at(end) != ' ' {
            return None;
        }
        return whole(view, token, Marker { kind, rank, start, end, token });
    }
    if (view.at(end), view.at(end + 1)) == KEYCAP {
        return whole(view, token, Marker { kind, rank, start, end: end + 2, token });
    }
    let (mark, end) = loose(view, end)?;
    let kind = if kind == Kind::Letter { Kind::LooseLetter(mark) } else { Kind::LooseNumber(mark) };
    whole(view, token, Marker { kind, rank, start, end, token })
}

fn roman(view: View, token: usize) -> Option<Marker> {
    let found = view.tokens[token];
    if found.kind != TokenKind::Word || found.length() > 4 || !matches!(view.first(token), 'i' | 'v' | 'x') {
        return None;
    }
    let (start, end) = (found.start as usize, found.end as usize);
    let rank = ROMAN.iter().position(|word| word.chars().eq(view.characters[start..end].iter().copied()))?;
    let end = closing(view, end)?;
    if view.at(end) != ' ' {
        return None;
    }
    whole(view, token, Marker { kind: Kind::Roman, rank: rank as u8, start, end, token })
}

/// With its bracket, and the word before it ("Option A:").
fn whole(view: View, token: usize, marker: Marker) -> Option<Marker> {
    let start = opening(view, marker.start)?;
    let mut found = Marker { start, token: token - usize::from(start < marker.start), ..marker };
    if found.token > 0 && view.flags(found.token - 1) & OPTION != 0 {
        let word = view.tokens[found.token - 1].start as usize;
        if let Some(start) = opening(view, word) {
            found.start = start;
            found.token -= 1 + usize::from(start < word);
        }
    }
    Some(found)
}

/// A bullet between spaces. `-`, `*`, `+` and dashes start a list only where a sentence or a label ends.
fn bullet(view: View, token: usize) -> Option<Marker> {
    let found = view.tokens[token];
    if found.kind != TokenKind::Symbol {
        return None;
    }
    let mark = view.first(token);
    let strong = matches!(mark, '•' | '◦' | '▪' | '‣' | '●' | '○' | '■' | '□' | '▫' | '∙' | '·' | '➢' | '→');
    if !strong && !matches!(mark, '-' | '*' | '+' | '–' | '—') {
        return None;
    }
    let (start, end) = (found.start as usize, found.end as usize);
    if view.before(start) != ' ' || view.at(end) != ' ' {
        return None;
    }
    let starts = strong || (token > 0 && view.ends_sentence(token - 1));
    Some(Marker { kind: Kind::Bullet(mark), rank: u8::from(!starts), start, end, token })
}
