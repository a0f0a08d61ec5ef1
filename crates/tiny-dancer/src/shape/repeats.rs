//! What is said again and again, counted once.

use super::preamble::LEAST_REST;
use super::words::{COUNTS, POINTS};
use super::{Cut, Put, View};
use crate::text::{Token, TokenKind};

/// Longest block of tokens that is found to repeat itself.
const LONGEST_BLOCK: usize = 48;
/// How often a block of one or two tokens, and a longer one, is said at least where it counts once: fewer may be what
/// is asked about.
const LEAST_WORDS: usize = 8;
const LEAST_BLOCKS: usize = 4;
/// The same of equations that hold.
const LEAST_EQUATIONS: usize = 8;
/// Words of a sentence, of two letters or more, from which on saying it again adds nothing.
const LEAST_SENTENCE: usize = 8;
/// Slots of the tables: more than the tokens or sentences of the longest text would need is not needed.
const SLOTS: usize = 1024;

/// Where a token or a sentence was seen last.
#[derive(Debug)]
pub(super) struct Repeats {
    last: Box<[(u32, u32); SLOTS]>,
    sentences: Box<[(u32, u64); SLOTS]>,
    turn: u32,
}

impl Default for Repeats {
    fn default() -> Self {
        Self { last: Box::new([(0, 0); SLOTS]), sentences: Box::new([(0, 0); SLOTS]), turn: 0 }
    }
}

/// Same characters.
fn same(view: View, a: Token, b: Token) -> bool {
    a.hash == b.hash
        && (a.kind != TokenKind::Number
            || view.characters[a.start as usize..a.end as usize]
                == view.characters[b.start as usize..b.end as usize])
}

/// A whole number below 10⁹.
fn whole(view: View, token: usize) -> Option<u64> {
    let found =
        view.tokens.get(token).filter(|found| found.kind == TokenKind::Number && found.length() < 10)?;
    view.characters[found.start as usize..found.end as usize]
        .iter()
        .try_fold(0, |value, digit| Some(value * 10 + u64::from(digit.to_digit(10)?)))
}

/// Whether five tokens are an equation that holds: whole numbers, `+`, `-` or `*`.
fn holds(view: View, token: usize) -> bool {
    let (Some(first), Some(second), Some(result)) =
        (whole(view, token), whole(view, token + 2), whole(view, token + 4))
    else {
        return false;
    };
    view.is_symbol(token + 3, '=')
        && match view.first(token + 1) {
            '+' => first + second == result,
            '-' | '−' => first == second + result,
            '*' | '×' => first * second == result,
            _ => false,
        }
}

/// How many tokens equations that hold take from here on, commas and semicolons between them included; 0 where there
/// are fewer than [`LEAST_EQUATIONS`].
fn equations(view: View, at: usize) -> usize {
    let (mut place, mut count) = (at, 0);
    while holds(view, place) {
        count += 1;
        place += 5;
        let between = view.is_symbol(place, ',') || view.is_symbol(place, ';');
        place += usize::from(between && holds(view, place + 1));
    }
    if count >= LEAST_EQUATIONS { place - at } else { 0 }
}

impl Repeats {
    /// Finds blocks that repeat themselves at once, and sentences that were said before.
    ///
    /// The first stays, unless it is filler ([`filler`]). Numbers are data: blocks without a word of two letters stay as they are, but for equations that hold
    /// ("1+1=2 2+2=4"), and so do sentences with numbers. Of marks alone two stay.
    #[inline(never)]
    pub(super) fn find(&mut self, view: View, cuts: &mut Vec<Cut>) {
        self.turn = self.turn.wrapping_add(1);
        if self.turn == 0 {
            self.last.fill((0, 0));
            self.sentences.fill((0, 0));
            self.turn = 1;
        }
        let tokens = view.tokens;
        let mut filled = false;
        let counts = (0..tokens.len()).any(|token| {
            view.flags(token) & COUNTS != 0 || (view.says(token, "many") && view.says(token + 1, "times"))
        });
        let (mut at, mut sentence, mut hash, mut spoken, mut numbers) = (0, 0, 0u64, 0, false);
        // Options may share sentences.
        let mut in_options = false;
        let mut stretch = Stretch::default();
        while at < tokens.len() {
            let token = tokens[at];
            let slot = &mut self.last[(token.hash >> 54) as usize % SLOTS];
            let seen = (slot.0 == self.turn).then_some(slot.1 as usize);
            *slot = (self.turn, at as u32);
            let number = token.kind == TokenKind::Number;
            let mut found = seen
                .and_then(|before| Some((before, at, run(view, before, at, &mut stretch)?)))
                // Of a sentence to parse or words to count, each one counts.
                .filter(|&(before, at, _)| !counts || at - before > 2 || !view.is_word(before));
            let mut often = found.is_some_and(|(block, first, end)| {
                (block..first).any(|token| view.is_word(token))
                    && (end - first) / (first - block) + 1 >= LEAST_WORDS
            });
            let mut found_equations = false;
            if found.is_none() && number {
                let length = equations(view, at);
                (often, found_equations) = (length > 0, length > 0);
                found = often.then_some((at, at + 5, at + length));
            }
            if let Some((block, first, end)) = found {
                let period = if found_equations { 0 } else { first - block };
                // One, so that something is left.
                let whole = if often && !filled { filler(view, (block, first, end), period) } else { None };
                filled |= whole.is_some();
                let (first, end) = whole.unwrap_or((first, end));
                let start = if first == 0 { 0 } else { tokens[first - 1].end as usize };
                push(start, tokens[end - 1].end as usize, cuts);
                // The sentence goes on behind it.
                at = end;
                continue;
            }
            hash =
                (hash.rotate_left(7) ^ token.hash ^ exact(view, token)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            in_options |= view.first(at) == 'a' && view.marks_option(at);
            spoken += usize::from(token.kind != TokenKind::Symbol && token.length() > 1);
            numbers |= number;
            let ends = view.ends_sentence(at) && token.kind == TokenKind::Symbol && view.first(at) != ':';
            at += 1;
            if !ends {
                continue;
            }
            if spoken >= LEAST_SENTENCE && !numbers && !in_options {
                let slot = &mut self.sentences[(hash >> 54) as usize % SLOTS];
                if *slot == (self.turn, hash) {
                    let start = if sentence == 0 { 0 } else { tokens[sentence - 1].end as usize };
                    push(start, tokens[at - 1].end as usize, cuts);
                } else {
                    *slot = (self.turn, hash);
                }
            }
            (sentence, hash, spoken, numbers) = (at, 0, 0, false);
        }
    }
}

/// Adds a cut, which takes in those that start within it.
fn push(start: usize, end: usize, cuts: &mut Vec<Cut>) {
    while cuts.last().is_some_and(|cut| cut.start >= start) {
        cuts.pop();
    }
    let start = cuts.last().map_or(start, |cut| start.max(cut.end));
    cuts.push(Cut::new(start, end, Put::Join));
}

/// Of numbers, what the hash folds.
fn exact(view: View, token: Token) -> u64 {
    if token.kind != TokenKind::Number {
        return 0;
    }
    view.characters[token.start as usize..token.end as usize]
        .iter()
        .fold(1, |hash: u64, character| hash.wrapping_mul(31).wrapping_add(u64::from(u32::from(*character))))
}

/// All of what is said so often, from `block` on and again from `first` to `end`, where it says nothing: it stands at
/// the start or the end of the text, and the rest holds none of its words and does not point at it. It may have begun
/// within the block, and stop within it.
fn filler(view: View, (block, first, end): (usize, usize, usize), period: usize) -> Option<(usize, usize)> {
    let tokens = view.tokens;
    let ahead = (1..=period.min(block))
        .take_while(|&back| same(view, tokens[block - back], tokens[first - back]))
        .count();
    let behind = (end..tokens.len().min(end + period))
        .take_while(|&at| same(view, tokens[at], tokens[at - period]))
        .count();
    let (start, stop) = (block - ahead, end + behind);
    let rest = match () {
        () if start == 0 => stop..tokens.len(),
        () if stop == tokens.len() => 0..start,
        () => return None,
    };
    if view.spoken(rest.clone()) < LEAST_REST {
        return None;
    }
    let said =
        |token: usize| (block..first).any(|at| view.is_word(at) && tokens[at].hash == tokens[token].hash);
    let points = |token: usize| view.flags(token) & POINTS != 0 || (view.is_word(token) && said(token));
    (!rest.into_iter().any(points)).then_some((start, stop))
}

/// How far tokens were found to repeat those a block before them, so that the next token need not look again.
#[derive(Default)]
struct Stretch {
    block: usize,
    end: usize,
}

/// Where what repeats the block that starts at `before` from `at` on ends. `stretch` is what was found of an earlier token.
#[inline(never)]
fn run(view: View, before: usize, at: usize, stretch: &mut Stretch) -> Option<usize> {
    let tokens = view.tokens;
    let block = at - before;
    if block > LONGEST_BLOCK {
        return None;
    }
    if stretch.block != block || stretch.end < at {
        let repeats = |place: &usize| same(view, tokens[*place], tokens[*place - block]);
        *stretch = Stretch { block, end: at + (at..tokens.len()).take_while(repeats).count() };
    }
    let found = stretch.end - at;
    // Whole blocks only: what is left over may be the start of something else.
    let again = found / block;
    if tokens[before..at].iter().all(|token| token.kind == TokenKind::Symbol) {
        // Marks that blanks and ellipses are drawn with; two of them stay.
        let drawn = |token: usize| matches!(view.first(token), '_' | '.' | '…' | '–' | '—');
        return (again > 1 && (before..at).all(drawn)).then(|| at + again * block - usize::from(block == 1));
    }
    let least = if block <= 2 { LEAST_WORDS } else { LEAST_BLOCKS };
    let word = |token: usize| view.is_word(token) && tokens[token].length() > 1;
    (again + 1 >= least && (before..at).any(word)).then_some(at + again * block)
}
