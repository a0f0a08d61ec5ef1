//! Markdown around words: headers, emphasis, fences, inline code, quotes, rules.

use super::words::{self, ANSWERS, ASKS, CHOICES, FORM};
use super::{Cut, Put, View};
use crate::text::{TokenKind, hash_characters};

/// Finds what is decoration.
///
/// Without line breaks, a mark is known by its sides: `#` and `>` have spaces on both (a quote only where the text
/// starts with one), emphasis has a letter on one side and is closed by the same run later. Operators between spaces
/// or between letters stay.
#[inline(never)]
pub(super) fn find(view: View, cuts: &mut Vec<Cut>) {
    let View { characters, tokens } = view;
    let quoted = view.is_symbol(0, '>') && view.at(1) == ' ';
    let bulleted =
        (view.is_symbol(0, '-') || view.is_symbol(0, '*') || view.is_symbol(0, '•')) && view.at(1) == ' ';
    // The run that opened and is not closed yet: its character, its length, where its cut stands.
    let mut open: [Option<(char, usize, usize)>; 3] = [None; 3];
    let mut token = 0;
    while token < tokens.len() {
        let start = tokens[token].start as usize;
        let mark = characters[start];
        if view.is_word(token) || !matches!(mark, '*' | '_' | '`' | '#' | '>' | '~' | '-' | '=' | '•') {
            token += 1;
            continue;
        }
        let length = characters[start..].iter().take_while(|found| **found == mark).count();
        let end = start + length;
        token += length;
        let (before, after) = (view.before(start), view.at(end));
        let free = before == ' ' && after == ' ';
        match mark {
            '`' | '~' if length >= 3 => {
                // A fence, with the language that is named on it.
                let language = characters[end..].iter().take_while(|found| found.is_alphanumeric()).count();
                // That of code says something.
                let word = characters[end..end + language].iter().copied();
                let says_nothing = words::flags(hash_characters(word)) & FORM != 0;
                let language = if says_nothing && view.at(end + language) == ' ' { language } else { 0 };
                cuts.push(Cut::new(start, end + language, Put::Space));
                while token < tokens.len() && (tokens[token].start as usize) < end + language {
                    token += 1;
                }
            }
            '#' if length <= 6 && free && heads(view, token, length) => {
                // A header that is a label: "## Question 7".
                let named = view.flags(token) & (ASKS | ANSWERS | CHOICES) != 0 && tokens[token].length() > 1;
                let last = token + usize::from(named && is_number(view, token + 1));
                let colon = view.is_symbol(last + 1, ':');
                let end = if named && !colon { tokens[last].end as usize } else { end };
                cuts.push(Cut::new(start, end, Put::Space));
            }
            '>' if quoted && length == 1 && free && continues(view, token) => {
                cuts.push(Cut::new(start, end, Put::Space));
            }
            '-' | '*' | '•' if start == 0 && bulleted && !is_number(view, token) => {
                cuts.push(Cut::new(start, end, Put::Space));
            }
            '-' | '=' | '*' | '~' if length >= 3 && free && rules(view, token, length) => {
                cuts.push(Cut::new(start, end, Put::Space));
            }
            '`' => pair(&mut open[0], view, (mark, start, length), cuts),
            '*' if length <= 3 => pair(&mut open[1], view, (mark, start, length), cuts),
            '_' if length <= 2 => pair(&mut open[2], view, (mark, start, length), cuts),
            _ => {}
        }
    }
    // What was opened and never closed is no decoration.
    for (_, _, place) in open.into_iter().flatten() {
        cuts[place].end = cuts[place].start;
    }
    cuts.retain(|cut| cut.end > cut.start);
}

fn is_number(view: View, token: usize) -> bool {
    view.tokens.get(token).is_some_and(|found| found.kind == TokenKind::Number)
}

/// Whether a text or a sentence starts with this token, or a rule or header stands before it.
fn ends_before(view: View, token: usize) -> bool {
    let Some(before) = token.checked_sub(1) else { return true };
    (view.ends_sentence(before) && view.first(before) != ':')
        || (view.tokens[before].kind == TokenKind::Symbol
            && matches!(view.first(before), '-' | '=' | '*' | '~' | '#' | '_'))
}

/// Whether the `#` before this token are a header's, and no comment's of code: a text or a sentence ends before them,
/// or a label follows.
fn heads(view: View, token: usize, length: usize) -> bool {
    let named = view.flags(token) & (ASKS | ANSWERS | CHOICES) != 0 && view.tokens[token].length() > 1;
    named || ends_before(view, token - length)
}

/// Whether the `>` before this token goes on quoting: the text starts with it, a sentence ends, an option starts.
fn continues(view: View, token: usize) -> bool {
    let at = token - 1;
    let label = view.flags(token) & (ASKS | ANSWERS | CHOICES) != 0 && view.is_symbol(token + 1, ':');
    at == 0 || label || view.ends_sentence(at - 1) || (token < view.tokens.len() && view.marks_option(token))
}

/// Whether marks before this token are a rule: a sentence ends before it, or a header follows.
fn rules(view: View, token: usize, length: usize) -> bool {
    ends_before(view, token - length) || view.is_symbol(token, '#')
}

/// Opens or closes a pair of marks around words. What underscores are around is a name unless it has spaces:
/// `__init__`.
fn pair(
    open: &mut Option<(char, usize, usize)>,
    view: View,
    (mark, start, length): (char, usize, usize),
    cuts: &mut Vec<Cut>,
) {
    let (before, after) = (view.before(start), view.at(start + length));
    let opens = !before.is_alphanumeric() && after != ' ' && before != '\\';
    let closes = !after.is_alphanumeric() && before != ' ';
    match *open {
        Some((_, opened, place)) if closes && opened == length => {
            *open = None;
            if mark == '_' && !view.characters[cuts[place].end..start].contains(&' ') {
                cuts[place].end = cuts[place].start;
                return;
            }
            cuts.push(Cut::new(start, start + length, Put::Join));
        }
        None if opens => {
            *open = Some((mark, length, cuts.len()));
            cuts.push(Cut::new(start, start + length, Put::Join));
        }
        _ => {}
    }
}
