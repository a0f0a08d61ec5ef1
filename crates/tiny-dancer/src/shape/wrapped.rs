//! Wrappers around the whole text: JSON, and tags.

use super::words::{self, ASKS, CHOICES, INNER, KEY, KIND, MUTE, NOISE, OPTION, PLAIN, TAG};
use super::{Cut, Put, View, append};
use crate::text::hash_characters;

/// Objects and lists inside each other; deeper ones are read as the one around them.
const DEEPEST: usize = 32;
/// Characters of a tag, angle brackets included.
const LONGEST_TAG: usize = 80;
/// Tags that are looked at.
pub(super) const MOST_TAGS: usize = 256;
/// Spaces from which on a string asks something.
const LEAST_ASKED: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    Object,
    /// A list, and whether numbers in it are options.
    List(bool),
}

/// Of a text that is a question wrapped in JSON (or Python's way to write the same), what it says. A string in a list
/// is an option, and so is what stands under a letter or a number. Of cut JSON, what is there. Whether it was that.
///
/// A wrapper asks something under a key that says so, holds nothing but values under such keys, lists of options and
/// messages, and nothing follows it; all other JSON is data, and stays as it is. A key that is none of a wrapper's
/// stays, with its value.
#[inline(never)]
pub(super) fn read_json(characters: &[char], out: &mut Vec<char>) -> bool {
    if characters.iter().find(|found| !matches!(found, '[' | ' ')) != Some(&'{') {
        return false;
    }
    let mut holders = [Holder::Object; DEEPEST];
    let (mut depth, mut at, mut asked) = (0usize, 0, false);
    // The key last read.
    let mut key = Key::default();
    while at < characters.len() {
        let inside = if depth == 0 { Holder::List(false) } else { holders[(depth - 1).min(DEEPEST - 1)] };
        match characters[at] {
            ' ' | ',' | ':' => at += 1,
            open @ ('{' | '[') => {
                if depth > 0 && !key.known && inside == Holder::Object {
                    return false;
                }
                if depth < DEEPEST {
                    holders[depth] = if open == '{' { Holder::Object } else { Holder::List(key.options) };
                }
                depth += 1;
                at += 1;
            }
            '}' | ']' => {
                if depth == 0 {
                    return false;
                }
                depth -= 1;
                at += 1;
                key = Key::default();
                if depth == 0 && characters[at..].iter().any(|found| *found != ' ') {
                    return false;
                }
            }
            quote @ ('"' | '\'') => {
                let end = string_end(characters, at + 1, quote);
                let content = &characters[at + 1..end];
                at = (end + 1).min(characters.len());
                let next = characters[at..].iter().find(|found| **found != ' ');
                if next == Some(&':') && inside == Holder::Object {
                    key = read_key(content, out);
                    continue;
                }
                if inside == Holder::Object {
                    let spaces = content.iter().filter(|found| **found == ' ').count();
                    asked |= key.asks && spaces >= LEAST_ASKED;
                    let common = key.value == Value::UnlessCommon && flags(content) & PLAIN != 0;
                    if key.value == Value::Nothing || common {
                        continue;
                    }
                    append(&[' '], out);
                } else {
                    append(&[' ', '•', ' '], out);
                }
                unescape(content, out);
            }
            '0'..='9' | '-' => {
                let start = at;
                while at < characters.len() && matches!(characters[at], '0'..='9' | '-' | '+' | '.' | 'e') {
                    at += 1;
                }
                if key.value == Value::Nothing && inside == Holder::Object {
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
                append(&[' '], out);
                append(literal, out);
                at += literal.len();
            }
        }
    }
    asked
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

/// What a key says of its value.
#[derive(Clone, Copy)]
struct Key {
    /// It is one of a wrapper's.
    known: bool,
    /// Its string asks something.
    asks: bool,
    /// Its list is one of options.
    options: bool,
    value: Value,
}

/// What a value says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    Something,
    /// Nothing, where it is a common one: whose the text is, what it is.
    UnlessCommon,
    Nothing,
}

impl Default for Key {
    fn default() -> Self {
        Self { known: true, asks: false, options: false, value: Value::Something }
    }
}

/// Reads a key. The key of an option is its marker; one that is none of a wrapper's is written.
fn read_key(key: &[char], out: &mut Vec<char>) -> Key {
    let is = |found: &[char], word: &str| word.chars().eq(found.iter().copied());
    let parts = || key.split(|character| matches!(character, '_' | ' ' | '-'));
    let last = parts().next_back().unwrap_or_default();
    let named = parts().count() == 1 || parts().next().is_some_and(|word| flags(word) & OPTION != 0);
    let letter = last.len() == 1 && matches!(last[0], 'a'..='j' | '1'..='9');
    let marker = (letter || last == ['1', '0']) && named;
    let known = marker
        || (parts().all(|part| flags(part) & (KEY | CHOICES | KIND) != 0)
            && parts().any(|part| flags(part) & (KEY | CHOICES) != 0));
    if marker {
        append(&[' '], out);
        append(last, out);
        append(&['.', ' '], out);
    } else if !known {
        append(&[' '], out);
        append(key, out);
        append(&[':', ' '], out);
    }
    Key {
        known,
        asks: parts().any(|part| flags(part) & ASKS != 0 || is(part, "content")),
        options: parts().any(|part| flags(part) & CHOICES != 0),
        value: match () {
            () if flags(key) & MUTE != 0 => Value::Nothing,
            () if is(key, "role") || is(key, "type") => Value::UnlessCommon,
            () => Value::Something,
        },
    }
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

/// Finds tags with names of wrappers that are closed later, and those of their parts: a text may be about tags. One of
/// an option becomes its marker; a harness's block goes with what is in it.
#[inline(never)]
pub(super) fn find_tags(view: View, found: &mut Vec<Tag>, cuts: &mut Vec<Cut>) {
    let characters = view.characters;
    if let Some(block) = harness_block(characters) {
        cuts.push(Cut::new(block.start, block.end, Put::Space));
        return;
    }
    found.clear();
    let template = characters.starts_with(&['<', '|']);
    let (mut strong, mut options, mut after) = (false, false, 0);
    for token in 0..view.tokens.len() {
        let start = view.tokens[token].start as usize;
        if start < after || !view.is_symbol(token, '<') {
            continue;
        }
        let Some(mut tag) = tag(characters, start) else { continue };
        if !is_bare(view, &tag) {
            continue;
        }
        if found.len() == MOST_TAGS {
            break;
        }
        let name = &characters[tag.name.clone()];
        let parts = || name.split(|character| matches!(character, '_' | '-'));
        let named = parts().all(|part| flags(part) & (TAG | INNER) != 0)
            && parts().any(|part| flags(part) & TAG != 0);
        // A closing tag closes one that was found, an opening one is closed later.
        tag.wraps = named
            && if tag.closes {
                found
                    .iter()
                    .any(|before| before.wraps && !before.closes && characters[before.name.clone()] == *name)
            } else {
                closes_later(&characters[tag.end..], name)
            };
        strong |= tag.wraps;
        options |= tag.wraps && flags(name) & CHOICES != 0;
        after = tag.end;
        found.push(tag);
    }
    for tag in found.iter() {
        let name = &characters[tag.name.clone()];
        let listed = flags(name);
        let lettered = options && matches!(name, ['l', 'i'] | ['a'..='j']);
        let part = strong && listed & INNER != 0;
        // Chat templates: "<|user|>".
        if !(tag.wraps || (template && name[0] == '|') || part || lettered) {
            continue;
        }
        let put = match name {
            _ if tag.closes => Put::Space,
            [letter @ 'a'..='j'] => Put::Option(*letter as u8 - b'a'),
            ['l', 'i'] => Put::Bullet,
            _ if listed & OPTION != 0 => Put::Bullet,
            _ => Put::Space,
        };
        cuts.push(Cut::new(tag.start, tag.end, put));
    }
}

/// Whether `</name` stands in here.
fn closes_later(characters: &[char], name: &[char]) -> bool {
    characters.windows(name.len() + 2).any(|found| found[0] == '<' && found[1] == '/' && found[2..] == *name)
}

/// What a harness put at the start or the end of the text and says nothing of what is asked, where anything else is left.
fn harness_block(characters: &[char]) -> Option<std::ops::Range<usize>> {
    let (first, last) = (characters.first()?, characters.last()?);
    if *first != '<' && *last != '>' {
        return None;
    }
    let spoken = |range: &[char]| range.iter().any(|found| *found != ' ');
    let is = |found: &[char], opening: &str, name: &str| {
        found.len() == opening.len() + name.len() + 1
            && opening.chars().chain(name.chars()).chain(['>']).eq(found.iter().copied())
    };
    NOISE.iter().find_map(|name| {
        let (opened, closed) = (name.len() + 2, name.len() + 3);
        let opens = |at: usize| characters.get(at..at + opened).is_some_and(|found| is(found, "<", name));
        let shuts = |at: usize| characters.get(at..at + closed).is_some_and(|found| is(found, "</", name));
        if opens(0)
            && let Some(end) = (0..characters.len()).find(|&at| shuts(at)).map(|at| at + closed)
            && spoken(&characters[end..])
        {
            return Some(0..end);
        }
        let start = characters.len().checked_sub(closed).filter(|&at| shuts(at))?;
        let start = (0..start).rev().find(|&at| opens(at))?;
        spoken(&characters[..start]).then_some(start..characters.len())
    })
}

/// Whether a tag has no attributes and follows no word, unless the text starts with it: not `<input type="file">`, not
/// `List<Item>`.
fn is_bare(view: View, tag: &Tag) -> bool {
    tag.start == 0
        || (tag.end - tag.name.end == 1 && (tag.closes || !view.before(tag.start).is_alphanumeric()))
}

/// `<name …>` or `</name>`.
#[derive(Clone, Debug)]
pub(super) struct Tag {
    name: std::ops::Range<usize>,
    closes: bool,
    /// It is a wrapper's.
    wraps: bool,
    start: usize,
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
    (characters[end] == '>').then_some(Tag { name: from..to, closes, wraps: false, start, end: end + 1 })
}
