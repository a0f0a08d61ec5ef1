//! Shape of a text → its plain form: what asks the same has the same features, however it is wrapped.
//!
//! A question may come as JSON, between tags, in Markdown, after worked examples, as the last turn of a transcript,
//! with options under any kind of marker, after sentences about how to answer it. All of this is folded on the
//! normalised characters, before n-grams, cues and embedding are taken, so white space and case still change nothing:
//!
//! * **Wrappers** ([`wrapped`]): of JSON the strings and numbers, without keys; tags around the text are dropped.
//! * **Decoration** ([`decoration`]): headers, emphasis, fences, quotes and rules of Markdown.
//! * **Dialogue** ([`dialogue`]): of worked examples and of transcripts the last question; labels ("Question:") are
//!   dropped, and so is a closing "Answer:".
//! * **Preamble** ([`preamble`]): sentences at either end that say how to answer, who to be, or disclaim.
//! * **Choices** ([`choices`]): options under letters, numbers, Roman numerals or bullets become `a. … b. …`.
//! * **Repeats** ([`repeats`]): what is said again and again counts once.
//!
//! The passes run again until nothing changes (wrappers may be nested), [`MOST_ROUNDS`] times at most; every one
//! takes time linear in the text. A pass that would leave nothing changes nothing. A text without any of these shapes
//! stays as it is.

mod choices;
mod decoration;
mod dialogue;
mod preamble;
mod repeats;
mod words;
mod wrapped;

use crate::text::{LONGEST, Token, TokenKind, tokenise};
use choices::Choices;
use dialogue::Label;
use repeats::Repeats;

pub(crate) use words::is_follow_up;

/// Wrappers that are taken off, one in the other.
const MOST_ROUNDS: usize = 6;
/// Cuts there is room for from the start.
const MOST_CUTS: usize = 2048;

/// What stands in the place of what is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Put {
    /// Nothing: what was on both sides joins.
    Join,
    /// A space.
    Space,
    /// A bullet.
    Bullet,
    /// The marker of the option with this rank.
    Option(u8),
}

/// Characters that are replaced.
#[derive(Clone, Copy, Debug)]
struct Cut {
    start: usize,
    end: usize,
    put: Put,
}

impl Cut {
    fn new(start: usize, end: usize, put: Put) -> Self {
        Self { start, end, put }
    }
}

/// What the passes look at.
#[derive(Clone, Copy)]
struct View<'a> {
    characters: &'a [char],
    tokens: &'a [Token],
}

impl View<'_> {
    /// First character of a token.
    fn first(&self, token: usize) -> char {
        self.characters[self.tokens[token].start as usize]
    }

    fn is_symbol(&self, token: usize, wanted: char) -> bool {
        self.tokens.get(token).is_some_and(|found| found.kind == TokenKind::Symbol)
            && self.first(token) == wanted
    }

    fn is_word(&self, token: usize) -> bool {
        self.tokens[token].kind == TokenKind::Word
    }

    /// Lists that a token's word is on.
    fn flags(&self, token: usize) -> u32 {
        match self.tokens.get(token) {
            Some(found) if found.kind == TokenKind::Word => words::flags(found.hash),
            _ => 0,
        }
    }

    /// The character before a place, or a space.
    fn before(&self, at: usize) -> char {
        at.checked_sub(1).map_or(' ', |at| self.characters[at])
    }

    /// The character at a place, or a space.
    fn at(&self, at: usize) -> char {
        self.characters.get(at).copied().unwrap_or(' ')
    }

    /// Whether a token ends a sentence: one of `.?!:` before a space or the end, and not behind an option's letter.
    fn ends_sentence(&self, token: usize) -> bool {
        self.tokens[token].kind == TokenKind::Symbol
            && matches!(self.first(token), '.' | '?' | '!' | ':' | '。' | '？' | '！')
            && (self.at(self.tokens[token].end as usize) == ' ' || !self.first(token).is_ascii())
            && !(token > 0 && self.marks_option(token - 1))
    }

    /// The same of a mark before a bracket.
    fn ends_sentence_within(&self, token: usize) -> bool {
        self.tokens[token].kind == TokenKind::Symbol && matches!(self.first(token), '.' | '!')
    }

    /// Whether a token is the letter of an option, and the next one its mark.
    fn marks_option(&self, token: usize) -> bool {
        let found = self.tokens[token];
        found.length() == 1
            && matches!(self.first(token), 'a'..='j')
            && matches!(self.before(found.start as usize), ' ' | '(')
            && ['.', ')', ':'].iter().any(|mark| self.is_symbol(token + 1, *mark))
            && self.tokens[token + 1].start == found.end
    }

    /// Tokens of a range that are words or numbers.
    fn spoken(&self, range: std::ops::Range<usize>) -> usize {
        self.tokens[range].iter().filter(|token| token.kind != TokenKind::Symbol).count()
    }
}

/// Which shapes a text may have, by the symbols in it: most have none.
#[derive(Clone, Copy, Debug, Default)]
struct Signs {
    decoration: bool,
    labels: bool,
    marks: bool,
}

impl Signs {
    fn of(view: View) -> Self {
        let mut signs = Self::default();
        for token in view.tokens {
            if token.kind == TokenKind::Symbol {
                match view.characters[token.start as usize] {
                    '*' | '_' | '`' | '#' | '>' | '~' | '=' => {
                        signs.decoration = true;
                        signs.marks |= view.characters[token.start as usize] == '*';
                    }
                    ':' => (signs.labels, signs.marks) = (true, true),
                    '-' => (signs.decoration, signs.marks) = (true, true),
                    '.' | '?' | '!' | ',' | '\'' | '"' | '$' | '%' | '/' => {
                        signs.marks = signs.marks || {
                            // "a." and "1." may be markers; a word before the mark is none.
                            let before = view.before(token.start as usize);
                            view.characters[token.start as usize] == '.'
                                && (before.is_ascii_digit()
                                    || view.before((token.start as usize).saturating_sub(1)) == ' ')
                        }
                    }
                    _ => signs.marks = true,
                }
            }
        }
        signs
    }
}

/// Buffers of the passes, and what they know.
#[derive(Debug)]
pub(crate) struct Shape {
    cuts: Vec<Cut>,
    out: Vec<char>,
    labels: Vec<Label>,
    choices: Choices,
    repeats: Repeats,
}

/// All room that texts need but for the strangest, so that no later one allocates.
impl Default for Shape {
    fn default() -> Self {
        words::prepare();
        preamble::prepare();
        Self {
            cuts: Vec::with_capacity(MOST_CUTS),
            out: Vec::with_capacity(LONGEST + 1),
            labels: Vec::with_capacity(dialogue::MOST_LABELS),
            choices: Choices::default(),
            repeats: Repeats::default(),
        }
    }
}

impl Shape {
    /// Takes `characters`, in normal form, and their `tokens` to their plain form.
    pub(crate) fn make_plain(&mut self, characters: &mut Vec<char>, tokens: &mut Vec<Token>) {
        // They change places with `out`: either has all the room there is, from the first request on.
        characters.reserve((LONGEST + 1).saturating_sub(characters.len()));
        for _ in 0..MOST_ROUNDS {
            if !self.round(characters, tokens) {
                return;
            }
        }
    }

    fn round(&mut self, characters: &mut Vec<char>, tokens: &mut Vec<Token>) -> bool {
        let mut changed = false;
        let first = characters.first().copied().unwrap_or(' ');
        if matches!(first, '{' | '[') {
            self.out.clear();
            if wrapped::read_json(characters, &mut self.out) {
                changed |= self.take_out(characters, tokens);
            }
        }
        let signs = Signs::of(View { characters, tokens });
        if signs.decoration {
            wrapped::find_tags(View { characters, tokens }, &mut self.cuts);
            changed |= self.apply(characters, tokens);
            decoration::find(View { characters, tokens }, &mut self.cuts);
            changed |= self.apply(characters, tokens);
        }
        self.repeats.find(View { characters, tokens }, &mut self.cuts);
        changed |= self.apply(characters, tokens);
        if signs.labels {
            dialogue::find(View { characters, tokens }, &mut self.labels, &mut self.cuts);
            changed |= self.apply(characters, tokens);
        }
        dialogue::find_closing(View { characters, tokens }, &mut self.cuts);
        changed |= self.apply(characters, tokens);
        preamble::find(View { characters, tokens }, &mut self.cuts);
        changed |= self.apply(characters, tokens);
        if signs.marks {
            self.choices.find(View { characters, tokens }, &mut self.cuts);
            changed |= self.apply(characters, tokens);
        }
        changed
    }

    /// Does the cuts that were found, which are in order and apart. Whether anything has changed.
    fn apply(&mut self, characters: &mut Vec<char>, tokens: &mut Vec<Token>) -> bool {
        if self.cuts.is_empty() {
            return false;
        }
        let Self { cuts, out, .. } = self;
        if let [cut] = cuts[..]
            && cut.end == characters.len()
        {
            // An end that is cut off leaves the tokens before it as they are.
            cuts.clear();
            let kept = characters[..cut.start].iter().rposition(|found| *found != ' ').map_or(0, |at| at + 1);
            if kept == 0 {
                return false;
            }
            characters.truncate(kept);
            tokens.truncate(tokens.partition_point(|token| (token.start as usize) < kept));
            return true;
        }
        out.clear();
        let mut at = 0;
        for cut in cuts.iter() {
            append(&characters[at..cut.start], out);
            match cut.put {
                Put::Join => {}
                Put::Space => append(&[' '], out),
                Put::Bullet => append(&[' ', '•', ' '], out),
                Put::Option(rank) => append(&[' ', (b'a' + rank) as char, '.', ' '], out),
            }
            at = cut.end;
        }
        append(&characters[at..], out);
        cuts.clear();
        self.take_out(characters, tokens)
    }

    /// Puts what was written in the place of the text, unless it is the same or nothing.
    fn take_out(&mut self, characters: &mut Vec<char>, tokens: &mut Vec<Token>) -> bool {
        while self.out.last() == Some(&' ') {
            self.out.pop();
        }
        if self.out.is_empty() || self.out == *characters {
            return false;
        }
        std::mem::swap(characters, &mut self.out);
        tokenise(characters, tokens);
        true
    }
}

/// Appends characters, with no space at the start and no two in a row.
fn append(characters: &[char], out: &mut Vec<char>) {
    let space = matches!(out.last(), None | Some(' '));
    let skip = usize::from(space && characters.first() == Some(&' '));
    out.extend_from_slice(&characters[skip..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::Composer;
    use crate::text::normalise;
    use proptest::prelude::*;

    fn plain(text: &str) -> String {
        let (mut characters, mut tokens) = (Vec::new(), Vec::new());
        normalise(text, &mut Composer::default(), &mut characters);
        tokenise(&characters, &mut tokens);
        Shape::default().make_plain(&mut characters, &mut tokens);
        characters.into_iter().collect()
    }

    const STEM: &str = "Which of these floats on water?";
    const OPTIONS: [&str; 4] = ["a wet stone", "a dry cork", "an iron nail", "none of them"];
    const PLAIN: &str =
        "which of these floats on water? a. a wet stone b. a dry cork c. an iron nail d. none of them";

    fn listed(separator: &str, marker: impl Fn(usize) -> String) -> String {
        let options = OPTIONS.iter().enumerate().map(|(rank, option)| format!("{}{option}", marker(rank)));
        format!("{STEM}{separator}{}", options.collect::<Vec<_>>().join(separator))
    }

    fn letter(rank: usize) -> char {
        char::from(b'A' + rank as u8)
    }

    #[test]
    fn options_have_one_form() {
        const ROMAN: [&str; 4] = ["i", "ii", "iii", "iv"];
        let forms: Vec<String> = vec![
            listed("\n", |rank| format!("{}. ", letter(rank))),
            listed("\n", |rank| format!("{}) ", letter(rank))),
            listed("\n", |rank| format!("({}) ", letter(rank))),
            listed("\n", |rank| format!("[{}] ", letter(rank))),
            listed("\n", |rank| format!("({}). ", letter(rank).to_ascii_lowercase())),
            listed("\n", |rank| format!("{}: ", letter(rank))),
            listed("\n", |rank| format!("{}) ", rank + 1)),
            listed("\n", |rank| format!("{}. ", rank + 1)),
            listed("\n", |rank| format!("({}) ", rank + 1)),
            listed("\n", |rank| format!("({}) ", ROMAN[rank])),
            listed("\n", |rank| format!("{}. ", ROMAN[rank].to_uppercase())),
            listed("\n", |rank| format!("Option {}: ", letter(rank))),
            listed("\n", |rank| format!("Choice {}) ", rank + 1)),
            listed("\n", |rank| format!("**{}.** ", letter(rank))),
            listed("\n", |rank| format!("**{})** ", letter(rank))),
            listed("\n", |rank| format!("- {}. ", letter(rank))),
            listed("\n", |_| "• ".to_owned()),
            listed("\n", |_| "- ".to_owned()),
            listed("\n", |_| "* ".to_owned()),
            listed(" ; ", |rank| format!("{}) ", letter(rank))).replacen(" ;", "", 1),
        ];
        for form in &forms {
            assert_eq!(plain(form), PLAIN, "{form}");
            for label in ["Options:", "Choices:", "Answer choices:", "The options are:"] {
                let labelled = form.replacen('\n', &format!("\n{label}\n"), 1);
                assert_eq!(plain(&labelled), PLAIN, "{labelled}");
            }
            for closing in ["Answer:", "A:", "The answer is", "Correct answer:", "Your answer:"] {
                let wrapped = format!("Question: {form}\n{closing}");
                assert_eq!(plain(&wrapped), PLAIN, "{wrapped}");
            }
        }
    }

    #[test]
    fn wrappers_are_taken_off() {
        let json = |key: &str, options: &str| {
            format!(r#"{{"{key}": "{STEM}", "{options}": ["{}"]}}"#, OPTIONS.join(r#"", ""#))
        };
        let written = listed("\\n", |rank| format!("{}. ", letter(rank)));
        let lines = listed("\n", |rank| format!("{}. ", letter(rank)));
        let tagged = OPTIONS.map(|option| format!("<option>{option}</option>")).join("\n");
        let yaml = OPTIONS.map(|option| format!("  - {option}")).join("\n");
        let pairs =
            OPTIONS.iter().enumerate().map(|(rank, option)| format!(r#""{}": "{option}""#, letter(rank)));
        for form in [
            json("question", "options"),
            json("query", "choices"),
            json("prompt", "alternatives").replace('"', "'"),
            format!("```json\n{}\n```", json("question", "options")),
            format!(r#"{{"id": "q-17", "question": "{written}"}}"#),
            format!(r#"{{"question": "{STEM}", "options": {{{}}}}}"#, pairs.collect::<Vec<_>>().join(", ")),
            format!(r#"[{{"role": "user", "content": "{written}"}}]"#),
            format!("<question>{STEM}</question>\n<options>\n{tagged}\n</options>"),
            format!("<prompt>\n{lines}\n</prompt>"),
            format!("<user_query lang=\"en\">{lines}</user_query>"),
            format!("question: {STEM}\noptions:\n{yaml}"),
            format!("# Question\n\n{lines}").replace("# Question", "# Question:"),
            format!("## **Question:**\n{lines}\n\n---\n### Answer:"),
            format!("## Question 7\n\n{lines}\n\n## Answer"),
            format!("> {}", lines.replace('\n', "\n> ")),
            format!("```\n{lines}\n```"),
            format!("**{lines}**"),
            format!("- {}", lines.replace('\n', "\n- ")),
        ] {
            assert_eq!(plain(&form), PLAIN, "{form}");
        }
        assert_eq!(plain(r#"{"question": "What is 2 + 2?"}"#), "what is 2 + 2?");
        assert_eq!(plain(r#"{"values": [1, 2.5, -3], "ask": "Their \"sum\"?"}"#), "1 2.5 -3 their \"sum\"?");
    }

    #[test]
    fn of_worked_examples_the_last_question_counts() {
        let last = "Which bird cannot fly? a. gull b. penguin";
        let ask = "which bird cannot fly? a. gull b. penguin";
        for text in [
            format!("Q: What is 1 + 1? A. 2 B. 3\nA: A\n\nQ: {last}\nA:"),
            format!("Question: What swims?\nAnswer: a cod\n\nQuestion: {last}\nAnswer:"),
            format!(
                "Example 1: What swims? Answer: cod. Example 2: What sinks? Answer: lead. Example 3: {last}"
            ),
            format!(
                "The following are multiple choice questions (with answers) about birds.\n\nWhat swims? A. cod B. owl\nAnswer: A\n\nWhat hoots? A. cod B. owl\nAnswer: B\n\n{last}\nAnswer:"
            ),
            format!("Here are some examples.\nInput: What swims?\nOutput: cod\n\nInput: {last}\nOutput:"),
            format!("User: What swims?\nAssistant: A cod does.\nUser: {last}\nAssistant:"),
            format!(
                "### Question: What swims?\n### Answer: cod\n### Question: {last}\n### Answer: Let's think step by step."
            ),
            format!("Text: What swims? Label: cod. Text: {last} Label:"),
        ] {
            assert_eq!(plain(&text), ask, "{text}");
        }
        // Examples that a task goes on from are part of it.
        let task = "sum all numbers. as in nums = [1, 2] output: 3 constraints: at most ten numbers";
        assert_eq!(plain(&task.replace("as in", "input:")), task.replace("as in ", ""));
        assert_eq!(
            plain("User: Plan a bridge of steel. Assistant: First the pylons. User: go on"),
            "plan a bridge of steel. assistant: first the pylons. go on"
        );
    }

    #[test]
    fn repeats_count_once() {
        for (text, expected) in [
            (format!("{}Why is the sky blue?", "word ".repeat(60)), "why is the sky blue?"),
            (format!("{}Why is the sky blue?", "1+1=2 2+2=4 13-1=12 ".repeat(9)), "why is the sky blue?"),
            (format!("{}Why is the sky blue?", "This is so. ".repeat(30)), "why is the sky blue?"),
            ("row ".repeat(4) + "your boat", "row your boat"),
            ("boat ".repeat(300), "boat"),
            ("1+1=2 ".repeat(300), "1+1=2"),
            ("Blah blah, blah blah blah. ".repeat(9) + "Why is the sky blue?", "why is the sky blue?"),
            ("boat ".repeat(20) + &"raft ".repeat(20), "boat"),
            (
                "A very, very good boat costs 3, 5, 7 and 9 dollars.".to_owned(),
                "a very, very good boat costs 3, 5, 7 and 9 dollars.",
            ),
            ("The keeper lit the ______ at dusk".to_owned(), "the keeper lit the __ at dusk"),
            (
                "One lamp is lit now. It is dark. One lamp is lit now. Why?".to_owned(),
                "one lamp is lit now. it is dark. why?",
            ),
        ] {
            assert_eq!(plain(&text), expected, "{text}");
        }
    }

    #[test]
    fn preamble_is_left_out_where_something_is_left() {
        for text in [
            "You are a helpful assistant. Why is the sky blue at noon?",
            "System: You are an expert. Answer the following question:\nWhy is the sky blue at noon?",
            "Why is the sky blue at noon? Think step by step. Thank you!",
            "Why is the sky blue at noon?\n\nDisclaimer: this is no advice. Do not share it.",
            "Why is the sky blue at noon? (Whoever reads this agrees to be kind.)",
            "Note: answers are checked. Why is the sky blue at noon?",
        ] {
            assert_eq!(plain(text), "why is the sky blue at noon?", "{text}");
        }
        assert_eq!(plain(&format!("{PLAIN} Answer with the letter only.")), PLAIN);
        for text in ["answer the question.", "please answer.", "hello there", "you are a pirate. say arr."] {
            assert_eq!(plain(text), text);
        }
    }

    #[test]
    fn what_says_what_is_asked_is_no_preamble() {
        for text in [
            "hi, my cluster drops packets whenever a pod talks to another node. how can i fix this problem?",
            "i want you to write a compiler for a small language in rust. include unit tests and a short readme.",
            "your task is to prove that every group of odd order is solvable. write for undergraduates, please.",
            "you are given a tree with weights on all of its edges. print the answer for each query.",
            "i am a man of sixty with pain in the chest and the left arm. what should i do right now?",
            "2+3=10, 7+2=63, 6+5=66, 8+4=96, what is 9+7?",
            "solve 2x+3y=7, 4x+5y=9, 6x+7y=8, for x and y.",
            "what does <input type=\"file\"> do in a form?",
            "what is list<item> in java?",
        ] {
            assert_eq!(plain(text), text);
        }
        let json =
            |source: &str| plain(&format!(r#"{{"source": {source}, "do": "answer what is asked here"}}"#));
        assert_eq!(
            json(r#""def f(x): return f(x) if x else 1""#),
            "def f(x): return f(x) if x else 1 answer what is asked here"
        );
        assert!(json(r#"["one lamp", "two lamps"]"#).contains("one lamp"));
        assert_eq!(json(r#""exam""#), "answer what is asked here");
    }

    #[test]
    fn what_has_none_of_these_shapes_stays() {
        for text in [
            "why is the sky blue?",
            "is 5 - 3 - 2 = 0, or 2 * 3 * 4 > 5?",
            "def f(*args, **kw): return a_b * 2 ** 3",
            "the answer",
            "answer:",
            "to be or not to be, that is the question: whether it is nobler to suffer",
            "at 10:30 and 11:45 std::move(x) was called",
            "[see the log] and [the other one]",
            "if a < b and b > c then x",
            "e.g. this, i.e. that",
        ] {
            assert_eq!(plain(text), text);
        }
    }

    #[test]
    fn follow_ups_are_known() {
        for text in [
            "yes, go on",
            "Continue",
            "ok do it",
            "Yes please, go ahead!",
            "why?",
            "👍",
            "",
            "继续",
            "and then what?",
        ] {
            assert!(is_follow_up(text), "{text}");
        }
        for text in ["What is 2 + 2?", "Define entropy", "42", "Now translate it into Dutch"] {
            assert!(!is_follow_up(text), "{text}");
        }
    }

    fn any_shape() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            3 => "[a-z]{1,7}",
            2 => prop::sample::select(vec!["Q:", "A:", "Question:", "Answer:", "a.", "b)", "(c)", "1.", "2)", "ii.", "•", "-", "*", "**", "`", "```", "#", ">", "<a>", "</a>", "<option>", "{", "}", "[", "]", "\"", "\\", ":", ",", ".", "?", "=", "1+1=2", "you are a", "please answer", "note:", "Options:", "word", "yes", "User:", "\\u0041", "'", "_", "true", "Example 1:"]).prop_map(str::to_owned),
            1 => "[ -~]{0,8}",
            1 => prop::collection::vec(any::<char>(), 0..4).prop_map(String::from_iter),
        ];
        (prop::collection::vec(part, 0..40), prop::bool::ANY)
            .prop_map(|(parts, spaced)| parts.join(if spaced { " " } else { "" }))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn any_text_has_a_plain_form_that_is_in_normal_form(text in any_shape()) {
            let form = plain(&text);
            prop_assert!(!form.contains("  ") && form.trim() == form, "{form:?}");
            let mut normal = Vec::new();
            normalise(&text, &mut Composer::default(), &mut normal);
            prop_assert_eq!(form.is_empty(), normal.is_empty());
        }

        #[test]
        fn the_plain_form_is_its_own(text in any_shape()) {
            let form = plain(&text);
            prop_assert_eq!(plain(&form), form);
        }

        #[test]
        fn letters_of_options_do_not_matter(words in prop::collection::vec("[b-z]{2,6}( [b-z]{2,6}){0,3}", 3..9)) {
            let with = |marker: &dyn Fn(usize) -> String| {
                let options: Vec<_> = words[1..].iter().enumerate().map(|(rank, word)| marker(rank) + word).collect();
                plain(&format!("{}? {}", words[0], options.join("\n")))
            };
            let letters = with(&|rank| format!("{}. ", letter(rank)));
            prop_assert_eq!(&letters, &with(&|rank| format!("{}) ", rank + 1)));
            prop_assert_eq!(&letters, &with(&|rank| format!("({}) ", letter(rank))));
            prop_assert_eq!(&letters, &with(&|_| "• ".to_owned()));
            prop_assert_eq!(&letters, &with(&|_| "- ".to_owned()));
        }
    }
}
