//! Labels: worked examples, transcripts, "Question:" and "Answer:".

use super::preamble::after_option;
use super::words::{
    ANSWERS, ASKS, CORE, IS, KIND, LEANS, MANNER, PROSE, REQUESTS, SPEAKS, STANDS, TALK, follows,
};
use super::{Cut, Put, View};
use crate::text::TokenKind;

/// Labels that are looked at; of more, the last ones.
pub(super) const MOST_LABELS: usize = 256;
/// Answers that are an option's letter alone, and how many make worked examples of a text without labelled questions.
const LETTERS: usize = 2;
/// Words, of two letters or more, of a question that stands by itself.
const LEAST_ASKING: usize = 3;
/// Tokens of a short answer.
const SHORT_ANSWER: usize = 6;
/// Words of an answer from which on one of them is a common one, if it is in the language of the question.
const LEAST_LANGUAGE: usize = 3;
/// Words of a question that brings all that it asks about.
const LEAST_WHOLE: usize = 20;
/// Words of a turn that may stand by itself.
const LEAST_TURN: usize = 6;
/// Letters of a word that names something.
const LEAST_NAME: usize = 4;
/// Tokens at the end of a worked sum, of which one is its number.
const RESULT: usize = 4;
/// Bits of what is kept of the words said earlier.
const BITS: usize = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Asks,
    Answers,
    /// Any other word before a colon.
    Any,
}

/// A word with a colon.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    role: Role,
    hash: u64,
    /// Lists its word is on.
    flags: u32,
    /// First token, and the first of the content.
    first: usize,
    content: usize,
    /// It stands where a text or a sentence starts.
    starts: bool,
}

/// Finds what comes before the last question, and the labels in front of what is asked.
#[inline(never)]
pub(super) fn find(view: View, labels: &mut Vec<Label>, cuts: &mut Vec<Cut>) {
    read_labels(view, labels);
    if labels.is_empty() {
        return;
    }
    let content = |index: usize| {
        let end = labels.get(index + 1).map_or(view.tokens.len(), |next: &Label| next.first);
        labels[index].content..end.max(labels[index].content)
    };
    // Text that ends with an empty label which was filled before is a task with worked examples, whatever its labels.
    let last = labels.len() - 1;
    let named = view.tokens[labels[last].content - 1].start as usize;
    let named = named.checked_sub(2).is_some_and(|at| view.characters[at] != ' ');
    let closing = Some(labels[last].hash).filter(|_| named && view.spoken(content(last)) == 0);
    let answers = |label: &Label| label.role == Role::Answers || Some(label.hash) == closing;
    let asks = |label: &Label| label.role == Role::Asks && Some(label.hash) != closing;
    let filled = |index: usize| view.spoken(content(index)) > 0 && !reasons(view, content(index));
    let generic = closing.is_some() && labels.iter().filter(|label| Some(label.hash) == closing).count() > 1;
    let asking = |label: &Label| asks(label) || (generic && !answers(label));

    let shared = shared_labels(labels);
    let from = labels.iter().rposition(asking).and_then(|question| {
        let answered = (0..question).rev().find(|&index| answers(&labels[index]) && filled(index))?;
        // What is answered after the last question is an example, which the text goes on from.
        let open = (question + 1..labels.len()).all(|index| !(answers(&labels[index]) && filled(index)));
        let first = (answered + 1..=question).find(|&index| asking(&labels[index]))?;
        (open && evident(view, labels, shared, &asking, &answers, first)).then_some((answered, first))
    });
    let kept = if let Some((answered, first)) = from {
        let mut start = first;
        // "go on" stands for what it follows.
        if follows(view, content(first)) {
            start = (shared..answered).rev().find(|&index| asking(&labels[index])).unwrap_or(first);
        }
        // Before the first label stands what all examples are about, or the first of them.
        let about = labels[shared].first;
        let task =
            about > 0 && (shared > 0 || !(labels[0].role == Role::Answers && asks_itself(view, 0..about)));
        if shared > 0 && labels[0].first == 0 {
            cuts.push(Cut::new(0, view.tokens[labels[0].content - 1].end as usize, Put::Space));
        }
        let from = if task { view.tokens[about].start as usize } else { 0 };
        cuts.push(Cut::new(from, view.tokens[labels[start].content - 1].end as usize, Put::Space));
        start + 1
    } else if let Some(token) = after_letters(view, labels) {
        cuts.push(Cut::new(0, view.tokens[token].start as usize, Put::Space));
        labels.iter().position(|label| label.first >= token).unwrap_or(labels.len())
    } else {
        0
    };
    // Labels of what is left, where they stand as labels.
    for (index, label) in labels.iter().enumerate().skip(kept) {
        if index == last && from.is_some() && closing.is_some() {
            let start = view.tokens[label.first].start as usize;
            cuts.push(Cut::new(start, view.characters.len(), Put::Space));
        } else if label.role == Role::Asks
            && label.starts
            && (label.first == 0 || from.is_some() || label.flags & STANDS != 0)
        {
            let start = view.tokens[label.first].start as usize;
            cuts.push(Cut::new(start, view.tokens[label.content - 1].end as usize, Put::Space));
        }
    }
}

/// How many labels at the start name what all questions are about: "Passage:", "Context:", once and before any question.
fn shared_labels(labels: &[Label]) -> usize {
    let once = |label: &Label| labels.iter().filter(|other| other.hash == label.hash).count() == 1;
    let held = |label: &&Label| {
        label.role == Role::Asks && label.flags & (STANDS | SPEAKS) == 0 && label.starts && once(label)
    };
    let shared = labels.iter().take_while(held).count();
    if shared < labels.len() { shared } else { 0 }
}

/// Whether these tokens ask something by themselves: a question mark, options, or a sentence that begins with a word of
/// questions and requests.
fn asks_itself(view: View, range: std::ops::Range<usize>) -> bool {
    let says = |token: &usize| view.is_word(*token) && view.tokens[*token].length() > 1;
    if range.clone().filter(says).count() < LEAST_ASKING {
        return false;
    }
    let (mut begins, mut options) = (true, 0);
    for token in range {
        options += usize::from(view.marks_option(token));
        if view.is_symbol(token, '?')
            || view.is_symbol(token, '？')
            || (begins && view.flags(token) & REQUESTS != 0)
        {
            return true;
        }
        begins = view.ends_sentence(token);
    }
    options >= 2
}

/// Whether worked examples or earlier turns say nothing that the question at `first` needs.
///
/// They begin as it does, with the same label; it asks by itself, and leans on none of them; its label is one of questions or turns, or it has
/// options; and nothing around speaks of what comes before.
fn evident(
    view: View,
    labels: &[Label],
    shared: usize,
    asking: &impl Fn(&Label) -> bool,
    answers: &impl Fn(&Label) -> bool,
    first: usize,
) -> bool {
    let label = labels[first];
    // A heading is a label that another one follows at once.
    let heading =
        |index: usize| labels.get(index + 1).is_some_and(|next| labels[index].content == next.first);
    let begun = (shared..=first).find(|&index| asking(&labels[index]) && !heading(index));
    let Some(begun) = begun.filter(|&begun| labels[begun].hash == label.hash) else { return false };
    let all = label.content..view.tokens.len();
    let options = all.clone().filter(|&token| view.marks_option(token)).count();
    if label.flags & (STANDS | SPEAKS) == 0 && options < 2 {
        return false;
    }
    if (0..labels[0].first).chain(all.clone()).any(|token| view.flags(token) & TALK != 0) {
        return false;
    }
    let end = labels.get(first + 1).map_or(view.tokens.len(), |next| next.first);
    let asked = label.content..end.max(label.content);
    follows(view, asked) || (asks_itself(view, all) && !leans(view, labels, begun, asking, answers, first))
}

/// Whether the question at `first` may need what was asked or answered from `begun` on.
///
/// Exam questions stand by themselves: options or two sentences, and answers before them that are letters or worked
/// sums. Any other leans on what was said if a turn before it asks nothing, and so is what it is asked about; if an
/// answer has another form than its question, so that the examples are the task; if it is a turn of a few words; if it
/// points at something, or shares a letter of a formula; if it names what was named before, unless all answers are short and it is no transcript.
fn leans(
    view: View,
    labels: &[Label],
    begun: usize,
    asking: &impl Fn(&Label) -> bool,
    answers: &impl Fn(&Label) -> bool,
    first: usize,
) -> bool {
    // A closing label is none of its words.
    let last = labels.len() - 1;
    let empty = last > first && view.spoken(labels[last].content..view.tokens.len()) == 0;
    let end = if empty { labels[last].first } else { view.tokens.len() };
    let question = labels[first].content..end.max(labels[first].content);
    // What stands before the first label may be the first question, whose label is off.
    let opening = 0..labels[0].first;
    let opens = labels[0].role == Role::Answers && !opening.is_empty();
    let before = 0..labels[first].first;
    let begun = if opens { 0 } else { begun };
    let content = |index: usize| labels[index].content..labels[index + 1].first.max(labels[index].content);
    let answered = || {
        (begun..first).filter(|&index| answers(&labels[index])).map(content).filter(|range| !range.is_empty())
    };
    let options = question.clone().filter(|&token| view.marks_option(token)).count();
    let numbers = question.clone().any(|token| view.tokens[token].kind == TokenKind::Number);
    let ends =
        question.clone().filter(|&token| view.ends_sentence(token) && !view.is_symbol(token, ':')).count();
    let whole = options >= 2 || ends >= 2 || view.spoken(question.clone()) >= LEAST_WHOLE;
    let stands = labels[first].flags & STANDS != 0;
    let numbered = labels[first].content - labels[first].first > 2;
    let exam = stands
        && whole
        && (answered().all(|range| view.spoken(range.clone()) == 1 && is_letter(view, range))
            || (numbers && ends >= 2 && answered().all(|range| results(view, range))));
    if exam && !numbered {
        return false;
    }
    let mut said = [0u64; BITS / 64];
    for token in before.clone().filter(|&token| view.is_word(token)) {
        let bit = (view.tokens[token].hash >> 48) as usize;
        said[bit / 64] |= 1 << (bit % 64);
    }
    let told = |token: usize| {
        let bit = (view.tokens[token].hash >> 48) as usize;
        view.is_word(token) && said[bit / 64] & 1 << (bit % 64) != 0
    };
    let formula = question.clone().any(|token| {
        view.tokens[token].length() == 1
            && !matches!(view.first(token), 'a' | 'i')
            && !view.marks_option(token)
            && told(token)
    });
    if exam || formula {
        return formula;
    }
    let asks = |range: std::ops::Range<usize>| {
        range.clone().any(|token| view.is_symbol(token, '?') || view.is_symbol(token, '？'))
            || asks_itself(view, range)
    };
    let brings = |index: usize| asking(&labels[index]) && !asks(content(index));
    let foreign = |range: std::ops::Range<usize>| {
        range.into_iter().any(|token| view.is_word(token) && !view.first(token).is_ascii())
    };
    let other = |range: std::ops::Range<usize>| {
        other_form(view, range.clone()) || (foreign(range) && !foreign(question.clone()))
    };
    if (begun..first).any(brings)
        || (opens && !asks(opening))
        || (!stands && view.spoken(question.clone()) < LEAST_TURN)
        || answered().any(other)
        || question.clone().any(|token| view.flags(token) & LEANS != 0)
    {
        return true;
    }
    let short = stands && answered().all(|range| range.len() <= SHORT_ANSWER);
    question.clone().any(|token| {
        let named = told(token)
            && view.tokens[token].length() >= LEAST_NAME
            && view.flags(token) & (REQUESTS | PROSE | MANNER | CORE) == 0;
        named && (!short || (token > 0 && view.says(token - 1, "the") && !view.says(token + 1, "of")))
    })
}

/// Whether the only word or number here is one of a letter, or a digit.
fn is_letter(view: View, mut range: std::ops::Range<usize>) -> bool {
    range.all(|token| view.tokens[token].kind == TokenKind::Symbol || view.tokens[token].length() == 1)
}

/// Whether a worked sum ends with its number.
fn results(view: View, range: std::ops::Range<usize>) -> bool {
    let from = range.start.max(range.end.saturating_sub(RESULT));
    (from..range.end).any(|token| view.tokens[token].kind == TokenKind::Number)
}

/// Whether an answer asks, is code, or has no common word of English where so many words have one.
fn other_form(view: View, range: std::ops::Range<usize>) -> bool {
    let (mut words, mut common) = (0, false);
    for token in range {
        if view.is_word(token) {
            words += 1;
            common |= view.flags(token) & (PROSE | MANNER | LEANS) != 0;
        } else if view.tokens[token].kind == TokenKind::Symbol
            && matches!(
                view.first(token),
                '?' | '？' | '=' | '{' | '}' | '<' | '>' | '[' | ']' | '*' | '_' | ';' | '|' | '\\'
            )
        {
            return true;
        }
    }
    words >= LEAST_LANGUAGE && !common
}

fn read_labels(view: View, labels: &mut Vec<Label>) {
    let tokens = view.tokens;
    labels.clear();
    let mut any_question = false;
    // A label has been read up to here.
    let mut after = 0;
    for token in 0..tokens.len() {
        if !view.is_word(token) || token < after {
            continue;
        }
        let found = view.flags(token);
        let numbered = tokens.get(token + 1).is_some_and(|next| {
            next.kind == TokenKind::Number && next.length() <= 3
                || next.kind == TokenKind::Word && next.length() == 1
        }) && found & ASKS != 0;
        let is = found & ANSWERS != 0 && view.flags(token + 1) & IS != 0;
        let colon = token + 1 + usize::from(numbered || is);
        let number_ends = numbered
            && tokens[token + 1].kind == TokenKind::Number
            && (view.is_symbol(colon, '.') || view.is_symbol(colon, ')'));
        if !view.is_symbol(colon, ':') && !number_ends {
            continue;
        }
        // "10:30" and "std::move" are no labels.
        let end = tokens[colon].end as usize;
        if view.at(end) != ' ' && tokens[token].length() > 1 && found & (ASKS | ANSWERS) == 0 {
            continue;
        }
        let mut first = token;
        if found & (ASKS | ANSWERS) != 0 {
            while first > after && view.is_word(first - 1) && view.flags(first - 1) & KIND != 0 {
                first -= 1;
            }
        }
        let prose = first > 0 && view.is_word(first - 1) && view.flags(first - 1) & PROSE != 0;
        let letter = tokens[token].length() == 1;
        // "a:" is an answer only where something was asked and no "b:" follows as of options.
        let is_answer = found & ANSWERS != 0 && (!letter || (any_question && !next_option(view, colon + 1)));
        let role = match () {
            () if prose => Role::Any,
            () if found & ASKS != 0 => Role::Asks,
            () if is_answer => Role::Answers,
            () => Role::Any,
        };
        any_question |= role == Role::Asks;
        let starts = first == 0
            || tokens[first - 1].kind == TokenKind::Symbol
            || labels.last().is_some_and(|label| label.content == first);
        if labels.len() == MOST_LABELS {
            labels.remove(0);
        }
        labels.push(Label {
            role,
            hash: tokens[token].hash,
            flags: found,
            first,
            content: colon + 1,
            starts,
        });
        after = colon + 1;
    }
}

/// Whether the next label of one letter is "b:".
fn next_option(view: View, from: usize) -> bool {
    const FAR: usize = 64;
    let most = view.tokens.len().min(from + FAR);
    let one = (from..most).find(|&token| {
        view.tokens[token].length() == 1 && view.is_word(token) && view.is_symbol(token + 1, ':')
    });
    one.is_some_and(|token| view.first(token) == 'b')
}

/// Whether what stands under an answer's label only starts one: "Let's think step by step."
fn reasons(view: View, content: std::ops::Range<usize>) -> bool {
    const LET: [&str; 2] = ["let", "let's"];
    content.end == view.tokens.len()
        && content.len() <= 10
        && content.clone().next().is_some_and(|token| LET.iter().any(|word| view.says(token, word)))
}

/// Where the text goes on after the last answer that is an option's letter alone, of at least [`LETTERS`] of them, or
/// of one where the text ends with an empty answer.
fn after_letters(view: View, labels: &[Label]) -> Option<usize> {
    const MORE: usize = 4;
    let ends_empty = labels.last().is_some_and(|label| {
        label.role == Role::Answers && view.spoken(label.content..view.tokens.len()) == 0
    });
    let letter_of = |label: &&Label| {
        let mut at = label.content;
        at += usize::from(view.is_symbol(at, '(') || view.is_symbol(at, '['));
        let token = view.tokens.get(at)?;
        let lettered = token.length() == 1
            && matches!(view.first(at), 'a'..='j' | '1'..='9')
            && label.role == Role::Answers;
        at += 1;
        while view.is_symbol(at, '.') || view.is_symbol(at, ')') || view.is_symbol(at, ']') {
            at += 1;
        }
        lettered.then_some(at)
    };
    let mut answered = labels.iter().filter_map(|label| letter_of(&label));
    let count = answered.clone().count();
    let first = answered.clone().next()?;
    let last = answered.next_back()?;
    let rest = view.tokens.len().checked_sub(last)?;
    if rest <= MORE || !(count >= LETTERS || ends_empty) {
        return None;
    }
    // Options before the first answer, and after the last: examples of the same kind.
    let options = |range: std::ops::Range<usize>| range.filter(|&token| view.marks_option(token)).count();
    let end = view.tokens.len();
    let talked = (last..end).any(|token| view.flags(token) & TALK != 0);
    (options(0..first) >= 2 && options(last..end) >= 2 && !talked).then_some(last)
}

/// Finds a closing "Answer:", "The answer is", "A:" that nothing follows.
#[inline(never)]
pub(super) fn find_closing(view: View, cuts: &mut Vec<Cut>) {
    let mut end = view.tokens.len();
    while end > 0 && (view.is_symbol(end - 1, ':') || view.is_symbol(end - 1, '(')) {
        end -= 1;
    }
    let colon = end < view.tokens.len();
    if end > 1 && view.flags(end - 1) & IS != 0 {
        end -= 1;
    }
    if end < 2 || view.flags(end - 1) & ANSWERS == 0 {
        return;
    }
    end -= 1;
    let (answer, letter) = (view.says(end, "answer"), view.tokens[end].length() == 1);
    let mut first = end;
    while answer
        && first > 0
        && ["final", "correct", "your", "the"].iter().any(|word| view.says(first - 1, word))
    {
        first -= 1;
    }
    if first == 0 {
        return;
    }
    // Any other word than that is a label only with a colon, and where no sentence leads up to it; without a colon,
    // that word is one only behind a whole sentence or options.
    let prose = view.is_word(first - 1) && view.flags(first - 1) & PROSE != 0;
    let bare = answer && (view.ends_sentence(first - 1) || after_option(view, first));
    if bare || (colon && (answer || letter || !prose)) {
        while colon
            && answer
            && first > 1
            && ['-', '*', '>', '•'].iter().any(|mark| view.is_symbol(first - 1, *mark))
        {
            first -= 1;
        }
        cuts.push(Cut::new(view.tokens[first].start as usize, view.characters.len(), Put::Space));
    }
}
