//! What is said again and again, counted once.

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
    last: Box<[(u32, u32)]>,
    sentences: Box<[(u32, u64)]>,
    turn: u32,
}

impl Default for Repeats {
    fn default() -> Self {
        Self {
            last: vec![(0, 0); SLOTS].into_boxed_slice(),
            sentences: vec![(0, 0); SLOTS].into_boxed_slice(),
            turn: 0,
        }
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
    /// The first stays. Numbers are data: blocks without a word stay as they are, but for equations that hold
    /// ("1+1=2 2+2=4"), and so do sentences with numbers. Of marks alone two stay.
    pub(super) fn find(&mut self, view: View, cuts: &mut Vec<Cut>) {
        self.turn = self.turn.wrapping_add(1);
        if self.turn == 0 {
            self.last.fill((0, 0));
            self.sentences.fill((0, 0));
            self.turn = 1;
        }
        let tokens = view.tokens;
        let (mut at, mut sentence, mut hash, mut spoken, mut numbers) = (0, 0, 0u64, 0, false);
        // Options may share sentences.
        let mut in_options = false;
        while at < tokens.len() {
            let token = tokens[at];
            let slot = &mut self.last[(token.hash >> 54) as usize % SLOTS];
            let seen = (slot.0 == self.turn).then_some(slot.1 as usize);
            *slot = (self.turn, at as u32);
            let equations = || match equations(view, at) {
                0 => None,
                length => Some((at + 5, at + length)),
            };
            let number = token.kind == TokenKind::Number;
            let found = seen.and_then(|before| Some((at, run(view, before, at)?)));
            if let Some((first, end)) = found.or_else(|| if number { equations() } else { None }) {
                push(tokens[first - 1].end as usize, tokens[end - 1].end as usize, cuts);
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

/// Where what repeats the block that starts at `before` from `at` on ends.
fn run(view: View, before: usize, at: usize) -> Option<usize> {
    let tokens = view.tokens;
    let block = at - before;
    if block > LONGEST_BLOCK {
        return None;
    }
    let found =
        (at..tokens.len()).take_while(|&place| same(view, tokens[place], tokens[place - block])).count();
    // Whole blocks only: what is left over may be the start of something else.
    let again = found / block;
    if tokens[before..at].iter().all(|token| token.kind == TokenKind::Symbol) {
        // Marks that blanks and ellipses are drawn with; two of them stay.
        let drawn = |token: usize| matches!(view.first(token), '_' | '.' | '…' | '–' | '—');
        let length = again * block - usize::from(block == 1);
        return (again > 1 && (before..at).all(drawn) && length > 0).then_some(at + length);
    }
    let least = if block <= 2 { LEAST_WORDS } else { LEAST_BLOCKS };
    (again + 1 >= least && (before..at).any(|token| view.is_word(token))).then_some(at + again * block)
}
