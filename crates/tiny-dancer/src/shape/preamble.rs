//! Sentences at either end of a text that say how to answer, who to be, or disclaim.

use super::words::{BOILER, CORE, DENIES, MANNER, NOTICE, PERSONA, REFERS, TAILS, TELLS, YOURS};
use super::{Cut, Put, View};
use crate::text::TokenKind;

/// Words that have to stay for a sentence to be preamble to them.
pub(super) const LEAST_REST: usize = 5;
/// Sentences taken off each end.
const MOST_SENTENCES: usize = 24;
/// Tokens of a sentence that is looked at.
const LONGEST_SENTENCE: usize = 96;
/// Tokens of one behind options.
const LONGEST_TAIL: usize = 40;
/// Tokens of one that says who to be.
const LONGEST_PERSONA: usize = 14;
/// Words of boilerplate that make a sentence one.
const LEAST_BOILER: usize = 2;
/// Words of such a sentence for each that is on no list.
const KNOWN_PER_OTHER: usize = 10;

/// How sentences begin that say who to be.
const PERSONAS: [&[&str]; 3] = [&["you", "are"], &["act", "as"], &["you're"]];
/// How examples and questions are introduced, whatever they are about.
const MULTIPLE_CHOICE: [&[&str]; 4] = [
    &["the", "following", "are", "multiple", "choice", "questions"],
    &["the", "following", "is", "a", "multiple", "choice", "question"],
    &["the", "following", "are", "multiple", "-", "choice", "questions"],
    &["the", "following", "is", "a", "multiple", "-", "choice", "question"],
];

/// Finds preamble sentences at both ends; none where the rest speaks of texts, of which such a sentence may be one.
#[inline(never)]
pub(super) fn find(view: View, cuts: &mut Vec<Cut>) {
    let total = view.tokens.len();
    let mut start = 0;
    for _ in 0..MOST_SENTENCES {
        let Some(end) = sentence_end(view, start) else { break };
        if view.spoken(end..total) < LEAST_REST || !is_preamble(view, start, end) {
            break;
        }
        start = end;
    }
    let mut end = total;
    for _ in 0..MOST_SENTENCES {
        let Some(first) = last_sentence(view, start, end) else { break };
        if view.spoken(start..first) < LEAST_REST {
            break;
        }
        end = first;
    }
    if (start == 0 && end == total) || (start..end).any(|token| view.flags(token) & REFERS != 0) {
        return;
    }
    if start > 0 {
        cuts.push(Cut::new(0, view.tokens[start].start as usize, Put::Space));
    }
    if end < total {
        cuts.push(Cut::new(view.tokens[end - 1].end as usize, view.characters.len(), Put::Space));
    }
}

/// Whether a sentence says how to answer, who to be, or disclaims, and evidently nothing else.
///
/// Of how to answer all words are on the list of manner, one at least on that of its core, and it is told to
/// who answers. Boilerplate may hold one
/// word in ten that is on no list, and has two of its own. A disclaimer says that it is one. A persona is a noun of
/// helpers, and at most a field. A question, and a sentence with a number, is none of these.
fn is_preamble(view: View, mut start: usize, end: usize) -> bool {
    while start < end && ['(', '[', '*', '-', '—'].iter().any(|mark| view.is_symbol(start, *mark)) {
        start += 1;
    }
    let label =
        view.flags(start) & NOTICE != 0 && (view.is_symbol(start + 1, ':') || view.is_symbol(start + 1, '!'));
    if label && view.says(start, "disclaimer") {
        return true;
    }
    let first = if label { start + 2 } else { start };
    if MULTIPLE_CHOICE.iter().any(|opening| starts_with(view, first, opening)) {
        return !(first..end).any(|token| view.says(token, "except") || view.says(token, "not"));
    }
    if is_persona(view, first, end) {
        return true;
    }
    let (mut words, mut core, mut boiler, mut other) = (0, 0, 0, 0);
    let mut told = view.flags(first) & (CORE | TAILS) != 0;
    // So many words at most may be on no list.
    let most = end.saturating_sub(first) / KNOWN_PER_OTHER;
    for token in first..end {
        match view.tokens[token].kind {
            TokenKind::Number => return false,
            TokenKind::Symbol => {
                if says_something(view.first(token)) {
                    return false;
                }
                continue;
            }
            TokenKind::Word => words += 1,
        }
        let found = view.flags(token);
        told |= found & TELLS != 0;
        let before = token.checked_sub(1).map_or(0, |before| view.flags(before));
        let yours = found & YOURS != 0 && (view.says(token + 1, "your") || before & DENIES != 0);
        if yours || found & CORE != 0 {
            core += 1;
        } else if found & MANNER != 0 {
        } else if found & BOILER != 0 {
            boiler += 1;
        } else {
            other += 1;
            if other > most {
                return false;
            }
        }
    }
    (core > 0 && told && other == 0 && boiler == 0)
        || (boiler >= LEAST_BOILER && (other == 0 || other * KNOWN_PER_OTHER <= words))
}

/// Marks of questions, code, formulas and quotations.
fn says_something(mark: char) -> bool {
    matches!(
        mark,
        '?' | '？'
            | '='
            | '<'
            | '>'
            | '{'
            | '}'
            | '['
            | ']'
            | '|'
            | '`'
            | '"'
            | '“'
            | '”'
            | '«'
            | '»'
            | '$'
            | '+'
            | '/'
            | '@'
            | '\\'
    )
}

fn starts_with(view: View, token: usize, words: &[&str]) -> bool {
    words.iter().enumerate().all(|(index, word)| view.says(token + index, word))
}

/// "You are an expert in law.": a noun of helpers, behind it at most a field.
fn is_persona(view: View, start: usize, end: usize) -> bool {
    if end.saturating_sub(start) > LONGEST_PERSONA
        || !PERSONAS.iter().any(|opening| starts_with(view, start, opening))
        || (start..end).any(|token| view.tokens[token].kind == TokenKind::Number)
    {
        return false;
    }
    let Some(noun) = (start..end).rev().find(|&token| view.flags(token) & PERSONA != 0) else { return false };
    let after = noun + 1;
    // "an agent of the king" is somebody.
    let field = !view.says(noun, "agent");
    after >= view.tokens.len()
        || view.tokens[after].kind == TokenKind::Symbol
        || (field && ["in", "of", "on", "for"].iter().any(|word| view.says(after, word)))
}

/// One past the sentence that starts here, where it ends with `.`, `!` or `:` (a question is none of it).
fn sentence_end(view: View, start: usize) -> Option<usize> {
    let most = view.tokens.len().min(start + LONGEST_SENTENCE);
    let notice = (start..most.min(start + 3)).find(|&token| view.flags(token) & NOTICE != 0);
    let skip = notice.map_or(start, |token| token + 2);
    let end = (skip.min(most)..most).find(|&token| view.ends_sentence(token))?;
    if matches!(view.first(end), '?' | '？') {
        return None;
    }
    let mut end = end + 1;
    while end < view.tokens.len() && (view.is_symbol(end, ')') || view.is_symbol(end, ']')) {
        end += 1;
    }
    (end < view.tokens.len()).then_some(end)
}

/// The first token of the last sentence before `end`, where it is preamble.
fn last_sentence(view: View, start: usize, end: usize) -> Option<usize> {
    let from = start.max(end.saturating_sub(LONGEST_SENTENCE));
    let last = end.checked_sub(1)?;
    if matches!(view.first(last), '?' | '？') {
        return None;
    }
    let first = (from..last)
        .rev()
        .find(|&token| view.ends_sentence(token) && !is_notice_colon(view, token))
        .map_or(from, |token| token + 1);
    if first > start && is_preamble(view, first, end) {
        return Some(first);
    }
    // Behind options no mark ends the last one.
    (first.max(end.saturating_sub(LONGEST_TAIL))..last).find(|&token| {
        view.flags(token) & TAILS != 0 && after_option(view, token) && is_preamble(view, token, end)
    })
}

/// Whether an option with words of its own stands before this token.
pub(super) fn after_option(view: View, token: usize) -> bool {
    (token.saturating_sub(LONGEST_SENTENCE)..token.saturating_sub(2)).any(|at| view.marks_option(at))
}

fn is_notice_colon(view: View, token: usize) -> bool {
    token > 0 && view.is_symbol(token, ':') && view.flags(token - 1) & NOTICE != 0
}
