//! What is said again and again, counted once.

use super::{Cut, Put, View};
use crate::text::{Token, TokenKind};

/// Longest block of tokens that is found to repeat itself.
const LONGEST_BLOCK: usize = 48;
/// A block that is said so often says nothing at all.
const EMPTY_FROM: usize = 6;
/// The same of an equation, whatever its numbers; fewer are what is asked about.
const EMPTY_EQUATIONS: usize = 8;
/// Tokens of a sentence from which on saying it again adds nothing.
const LEAST_SENTENCE: usize = 4;
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

/// Operators that count as one in "1 + 1 = 2 3 - 1 = 2".
fn is_operator(character: char) -> bool {
    matches!(character, '+' | '-' | '*' | '/' | '×' | '÷' | '−')
}

/// Same characters.
fn same(view: View, a: Token, b: Token) -> bool {
    a.hash == b.hash
        && (a.kind != TokenKind::Number
            || view.characters[a.start as usize..a.end as usize]
                == view.characters[b.start as usize..b.end as usize])
}

/// Same kind of part of an equation.
fn alike(view: View, a: Token, b: Token) -> bool {
    same(view, a, b)
        || (a.kind == TokenKind::Number && b.kind == TokenKind::Number)
        || (a.kind == TokenKind::Symbol
            && b.kind == TokenKind::Symbol
            && is_operator(view.characters[a.start as usize])
            && is_operator(view.characters[b.start as usize]))
}

impl Repeats {
    /// Finds blocks that repeat themselves at once, and sentences that were said before.
    ///
    /// Blocks of 1 token three times, of 2 three times, of more twice; equations ("1+1=2 2+2=4") count as the same
    /// whatever their numbers, all other numbers only where they are equal. Of marks alone two stay.
    pub(super) fn find(&mut self, view: View, cuts: &mut Vec<Cut>) {
        self.turn = self.turn.wrapping_add(1);
        if self.turn == 0 {
            self.last.fill((0, 0));
            self.sentences.fill((0, 0));
            self.turn = 1;
        }
        let tokens = view.tokens;
        let (mut at, mut sentence, mut hash, mut spoken) = (0, 0, 0u64, 0);
        // Options may share sentences.
        let mut in_options = false;
        let mut kept = 0;
        while at < tokens.len() {
            let token = tokens[at];
            let slot = &mut self.last[(token.hash >> 54) as usize % SLOTS];
            let seen = (slot.0 == self.turn).then_some(slot.1 as usize);
            *slot = (self.turn, at as u32);
            if let Some(Run { first, end }) = seen.and_then(|before| run(view, before, at)) {
                let start = if first == 0 { 0 } else { tokens[first - 1].end as usize };
                push(start, tokens[end - 1].end as usize, cuts);
                (kept, at) = ((kept + first).saturating_sub(at), end);
                // The sentence goes on behind it.
                continue;
            }
            hash =
                (hash.rotate_left(7) ^ token.hash ^ exact(view, token)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            in_options |= view.first(at) == 'a' && view.marks_option(at);
            spoken += usize::from(token.kind != TokenKind::Symbol);
            kept += 1;
            let ends = view.ends_sentence(at) && token.kind == TokenKind::Symbol && view.first(at) != ':';
            at += 1;
            if !ends {
                continue;
            }
            if spoken >= LEAST_SENTENCE && !in_options {
                let slot = &mut self.sentences[(hash >> 54) as usize % SLOTS];
                if *slot == (self.turn, hash) {
                    let start = if sentence == 0 { 0 } else { tokens[sentence - 1].end as usize };
                    push(start, tokens[at - 1].end as usize, cuts);
                } else {
                    *slot = (self.turn, hash);
                }
            }
            (sentence, hash, spoken) = (at, 0, 0);
        }
        // Where nothing is left of all that was said, one word stays.
        if let Some(cut) = cuts.first_mut().filter(|_| kept == 0) {
            cut.start = tokens[0].end as usize;
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

/// Tokens that say again what was said, or nothing.
struct Run {
    first: usize,
    end: usize,
}

/// The run which repeats the block that starts at `before` from `at` on. The block stays, unless it is said so often,
/// amid other things, that it says nothing.
fn run(view: View, before: usize, at: usize) -> Option<Run> {
    let tokens = view.tokens;
    let block = at - before;
    if block > LONGEST_BLOCK {
        return None;
    }
    let length = |equal: fn(View, Token, Token) -> bool| {
        (at..tokens.len()).take_while(|&place| equal(view, tokens[place], tokens[place - block])).count()
    };
    let first_of = |token: &Token| view.characters[token.start as usize];
    let is_mark = |token: &Token| token.kind == TokenKind::Symbol;
    let drops = |first: usize, end: usize, often: bool| {
        let alone = first == 0 && end == tokens.len();
        let first = match often {
            true if alone => block,
            true => first,
            false => at,
        };
        Some(Run { first, end })
    };
    let found = length(same);
    if found < block && tokens[before..at].iter().any(|token| is_mark(token) && first_of(token) == '=') {
        let found = length(alike);
        if found < block {
            return None;
        }
        // Equations may start anywhere in the block.
        let part = |token: &Token| match token.kind {
            TokenKind::Number => true,
            TokenKind::Symbol => is_operator(first_of(token)) || matches!(first_of(token), '=' | ',' | ';'),
            TokenKind::Word => false,
        };
        let ahead = tokens[..before].iter().rev().take(LONGEST_BLOCK).take_while(|token| part(token)).count();
        let bare = tokens[before..at].iter().all(part);
        let often = bare && found / block + 1 >= EMPTY_EQUATIONS;
        return if often { drops(before - ahead, at + found, true) } else { None };
    }
    let least = if block <= 2 { 2 * block } else { block };
    if found < least {
        return None;
    }
    // Whole blocks only: what is left over may be the start of something else.
    let whole = found / block * block;
    if tokens[before..at].iter().all(is_mark) {
        // Blanks and ellipses are two marks at least.
        let kept = usize::from(block == 1);
        return (whole > kept).then_some(Run { first: at, end: at + whole - kept });
    }
    if found / block + 1 < EMPTY_FROM {
        return drops(before, at + whole, false);
    }
    // It may have started within the block.
    let ahead = (1..=block.min(before))
        .take_while(|&back| same(view, tokens[before - back], tokens[at - back]))
        .count();
    drops(before - ahead, at + found, true)
}
