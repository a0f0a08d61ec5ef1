//! Markdown around words: headers, emphasis, fences, inline code, quotes, rules.

use super::words::{ANSWERS, ASKS, CHOICES};
use super::{Cut, Put, View};
use crate::text::TokenKind;

/// Finds what is decoration.
///
/// Without line breaks, a mark is known by its sides: `#` and `>` have spaces on both (a quote only where the text
/// starts with one), emphasis has a letter on one side and is closed by the same run later. Operators between spaces
/// or between letters stay.
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
                let language = if language <= 12 && view.at(end + language) == ' ' { language } else { 0 };
                cuts.push(Cut::new(start, end + language, Put::Space));
                while token < tokens.len() && (tokens[token].start as usize) < end + language {
                    token += 1;
                }
            }
            '#' if length <= 6 && free => {
                // A header that is a label: "## Question 7".
                let named = view.flags(token) & (ASKS | ANSWERS | CHOICES) != 0 && tokens[token].length() > 1;
                let last = token + usize::from(named && is_number(view, token + 1));
                let colon = view.is_symbol(last + 1, ':');
                let end = if named && !colon { tokens[last].end as usize } else { end };
                cuts.push(Cut::new(start, end, Put::Space));
            }
            '>' if quoted && length == 1 && free => cuts.push(Cut::new(start, end, Put::Space)),
            '-' | '*' | '•' if start == 0 && bulleted => cuts.push(Cut::new(start, end, Put::Space)),
            '-' | '=' | '*' | '~' | '#' if length >= 3 && free => cuts.push(Cut::new(start, end, Put::Space)),
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

/// Opens or closes a pair of marks around words.
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
        Some((_, opened, _)) if closes && opened == length => {
            cuts.push(Cut::new(start, start + length, Put::Join));
            *open = None;
        }
        None if opens => {
            *open = Some((mark, length, cuts.len()));
            cuts.push(Cut::new(start, start + length, Put::Join));
        }
        _ => {}
    }
}
