//! Wrappers around the whole text: JSON, and tags.

use super::words::{self, CHOICES, MUTE, OPTION, TAG};
use super::{Cut, Put, View, append};
use crate::text::hash_characters;

/// Objects and lists inside each other; deeper ones are read as the one around them.
const DEEPEST: usize = 32;
/// Characters of a tag, angle brackets included.
const LONGEST_TAG: usize = 80;
/// Spaces from which on a string says something, whatever its key: `"type": "translate this into Latin"`.
const LEAST_MUTE: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    Object,
    /// A list, and whether numbers in it are options.
    List(bool),
}

/// Of a text that is JSON (or Python's way to write the same), its strings and numbers, without keys. A string in a
/// list is an option, and so is what stands under a letter or a number. Of cut JSON, what is there. What follows it
/// is kept. Whether it was JSON.
pub(super) fn read_json(characters: &[char], out: &mut Vec<char>) -> bool {
    let mut holders = [Holder::Object; DEEPEST];
    let (mut depth, mut at, mut values) = (0usize, 0, 0);
    // Of the key last read: whether its value is dropped, and whether it holds options.
    let (mut mute, mut choices) = (false, false);
    while at < characters.len() {
        let inside = if depth == 0 { Holder::List(false) } else { holders[(depth - 1).min(DEEPEST - 1)] };
        match characters[at] {
            ' ' | ',' | ':' => at += 1,
            open @ ('{' | '[') => {
                if depth < DEEPEST {
                    holders[depth] = if open == '{' { Holder::Object } else { Holder::List(choices) };
                }
                depth += 1;
                at += 1;
                mute = false;
            }
            '}' | ']' => {
                if depth == 0 {
                    return false;
                }
                depth -= 1;
                at += 1;
                if depth == 0 {
                    append(&[' '], out);
                    append(&characters[at..], out);
                    return values > 0;
                }
            }
            quote @ ('"' | '\'') => {
                let end = string_end(characters, at + 1, quote);
                let content = &characters[at + 1..end];
                at = (end + 1).min(characters.len());
                let next = characters[at..].iter().find(|found| **found != ' ');
                if next == Some(&':') && inside == Holder::Object {
                    (mute, choices) = read_key(content, out);
                    continue;
                }
                if std::mem::take(&mut mute)
                    && content.iter().filter(|found| **found == ' ').count() < LEAST_MUTE
                {
                    continue;
                }
                values += 1;
                append(if matches!(inside, Holder::List(_)) { &[' ', '•', ' '] } else { &[' '] }, out);
                unescape(content, out);
            }
            '0'..='9' | '-' => {
                let start = at;
                while at < characters.len() && matches!(characters[at], '0'..='9' | '-' | '+' | '.' | 'e') {
                    at += 1;
                }
                if std::mem::take(&mut mute) {
                    continue;
                }
                append(if inside == Holder::List(true) { &[' ', '•', ' '] } else { &[' '] }, out);
                append(&characters[start..at], out);
            }
            _ => {
                let rest = &characters[at..];
                let literals: [&[char]; 4] = [
                    &['t', 'r', 'u', 'e'],
                    &['f', 'a', 'l', 's', 'e'],
                    &['n', 'u', 'l', 'l'],
                    &['n', 'o', 'n', 'e'],
                ];
                let Some(literal) = literals.into_iter().find(|word| rest.starts_with(word)) else {
                    return false;
                };
                mute = false;
                at += literal.len();
            }
        }
    }
    values > 0
}

/// Where a string ends: the next quote that is not escaped and stands before what may follow a string.
fn string_end(characters: &[char], start: usize, quote: char) -> usize {
    let mut at = start;
    while at < characters.len() {
        match characters[at] {
            '\\' => at += 1,
            found if found == quote => {
                let next = if characters.get(at + 1) == Some(&' ') { at + 2 } else { at + 1 };
                if matches!(characters.get(next), None | Some(',' | ':' | '}' | ']')) {
                    return at;
                }
            }
            _ => {}
        }
        at += 1;
    }
    characters.len()
}

/// Reads a key: whether its value says nothing, and whether it holds options. The key of an option is its marker.
fn read_key(key: &[char], out: &mut Vec<char>) -> (bool, bool) {
    let parts = || key.split(|character| matches!(character, '_' | ' ' | '-'));
    let last = parts().next_back().unwrap_or_default();
    let named = parts().count() == 1 || parts().next().is_some_and(|word| flags(word) & OPTION != 0);
    let letter = last.len() == 1 && matches!(last[0], 'a'..='j' | '1'..='9');
    if (letter || last == ['1', '0']) && named {
        append(&[' '], out);
        append(last, out);
        append(&['.', ' '], out);
    }
    (flags(key) & MUTE != 0, parts().any(|word| flags(word) & CHOICES != 0))
}

fn flags(word: &[char]) -> u32 {
    words::flags(hash_characters(word.iter().copied()))
}

/// Appends what a string of JSON says; its characters are lower case already.
fn unescape(content: &[char], out: &mut Vec<char>) {
    let mut at = 0;
    while at < content.len() {
        let found = content[at];
        at += 1;
        if found != '\\' || at == content.len() {
            append(&[found], out);
            continue;
        }
        let escaped = content[at];
        at += 1;
        match escaped {
            'n' | 't' | 'r' | 'b' | 'f' => append(&[' '], out),
            'u' if content.len() >= at + 4 => {
                let code = content[at..at + 4]
                    .iter()
                    .try_fold(0, |code, digit| Some(code * 16 + digit.to_digit(16)?));
                match code.and_then(char::from_u32) {
                    Some(character) if !character.is_control() && !character.is_whitespace() => {
                        at += 4;
                        for lower in character.to_lowercase() {
                            append(&[lower], out);
                        }
                    }
                    Some(_) => {
                        at += 4;
                        append(&[' '], out);
                    }
                    None => append(&['\\', 'u'], out),
                }
            }
            other => append(&[other], out),
        }
    }
}

/// Finds tags: all of them where the text starts with one that is closed later, else those with names of wrappers.
/// A tag of an option becomes its marker.
pub(super) fn find_tags(view: View, cuts: &mut Vec<Cut>) {
    let characters = view.characters;
    let wraps = characters.first() == Some(&'<')
        && tag(characters, 0).is_some_and(|tag| {
            // Its closing tag, somewhere: names of one length, then compared.
            let name = &characters[tag.name.clone()];
            characters
                .windows(name.len() + 2)
                .any(|found| found[0] == '<' && found[1] == '/' && found[2..] == *name)
        });
    let mut after = 0;
    for token in 0..view.tokens.len() {
        let start = view.tokens[token].start as usize;
        if start < after || !view.is_symbol(token, '<') {
            continue;
        }
        let Some(tag) = tag(characters, start) else { continue };
        let name = &characters[tag.name.clone()];
        let found = flags(name);
        // Chat templates: "<|user|>".
        if !wraps && name[0] != '|' && (found & TAG == 0 || !is_bare(view, start, &tag)) {
            continue;
        }
        let put = match name {
            _ if tag.closes => Put::Space,
            [letter @ 'a'..='j'] => Put::Option(*letter as u8 - b'a'),
            ['l', 'i'] => Put::Bullet,
            _ if found & OPTION != 0 => Put::Bullet,
            _ => Put::Space,
        };
        cuts.push(Cut::new(start, tag.end, put));
        after = tag.end;
    }
}

/// Whether a tag has no attributes and follows no word: not `<input type="file">`, not `List<Item>`.
fn is_bare(view: View, start: usize, tag: &Tag) -> bool {
    tag.end - tag.name.end == 1 && (tag.closes || !view.before(start).is_alphanumeric())
}

struct Tag {
    name: std::ops::Range<usize>,
    closes: bool,
    end: usize,
}

/// The tag that starts here: `<`, perhaps `/`, a name of letters, digits, `_` and `-`, perhaps attributes, `>`.
fn tag(characters: &[char], start: usize) -> Option<Tag> {
    let closes = characters.get(start + 1) == Some(&'/');
    let from = start + 1 + usize::from(closes);
    let most = characters.len().min(start + LONGEST_TAG);
    let named = |found: &char| found.is_alphanumeric() || matches!(found, '_' | '-' | '|');
    let to = (from..most).find(|at| !named(&characters[*at]))?;
    if to == from || !(characters[from].is_alphabetic() || characters[from] == '|') {
        return None;
    }
    if !matches!(characters[to], '>' | ' ' | '/') {
        return None;
    }
    let end = (to..most).find(|at| matches!(characters[*at], '>' | '<'))?;
    (characters[end] == '>').then_some(Tag { name: from..to, closes, end: end + 1 })
}
