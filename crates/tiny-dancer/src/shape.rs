//! Shape of a text → its plain form: what asks the same has the same features, however it is wrapped.
//!
//! A question may come as JSON, between tags, in Markdown, after worked examples, as the last turn of a transcript,
//! with options under any kind of marker, after sentences about how to answer it. All of this is folded on the
//! normalised characters, before n-grams, cues and embedding are taken, so white space and case still change nothing:
//!
//! * **Wrappers** ([`wrapped`]): of a question in JSON its strings and numbers; tags that name parts of a question; what
//!   a harness put at the start or end.
//! * **Decoration** ([`decoration`]): headers, emphasis, fences, quotes and rules of Markdown.
//! * **Dialogue** ([`dialogue`]): of worked examples and of transcripts the last question, where it stands by itself;
//!   labels ("Question:") are dropped, and so is a closing "Answer:".
//! * **Preamble** ([`preamble`]): sentences at either end that say how to answer, who to be, or disclaim.
//! * **Choices** ([`choices`]): options under letters, numbers, Roman numerals or bullets become `a. … b. …`.
//! * **Repeats** ([`repeats`]): what is said again and again counts once.
//!
//! Only what is evidently a wrapper goes; what may carry the task stays: JSON and tags that are asked about, examples
//! and conversations that are what is asked about, notes that say something of the matter.
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

pub(crate) use words::{HARNESS, is_follow_up};

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

    /// Whether a token is the letter of an option, and the next one its mark.
    fn marks_option(&self, token: usize) -> bool {
        let found = self.tokens[token];
        found.length() == 1
            && matches!(self.first(token), 'a'..='j')
            && matches!(self.before(found.start as usize), ' ' | '(')
            && ['.', ')', ':'].iter().any(|mark| self.is_symbol(token + 1, *mark))
            && self.tokens[token + 1].start == found.end
    }

    /// Whether there is such a token, and it is this word or mark.
    fn says(&self, token: usize, word: &str) -> bool {
        self.tokens.get(token).is_some_and(|found| {
            word.chars().eq(self.characters[found.start as usize..found.end as usize].iter().copied())
        })
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
                        signs.marks |= matches!(view.characters[token.start as usize], '*' | '>');
                    }
                    ':' => (signs.labels, signs.marks) = (true, true),
                    '-' => (signs.decoration, signs.marks) = (true, true),
                    '.' | '?' | '!' | ',' | '\'' | '"' | '$' | '%' => {
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
    tags: Vec<wrapped::Tag>,
    choices: Choices,
    repeats: Repeats,
}

/// All room that texts need but for the strangest, so that no later one allocates.
impl Default for Shape {
    fn default() -> Self {
        words::prepare();
        Self {
            cuts: Vec::with_capacity(MOST_CUTS),
            out: Vec::with_capacity(LONGEST + 1),
            labels: Vec::with_capacity(dialogue::MOST_LABELS),
            tags: Vec::with_capacity(wrapped::MOST_TAGS),
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

    #[inline(never)]
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
            wrapped::find_tags(View { characters, tokens }, &mut self.tags, &mut self.cuts);
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
    #[inline(never)]
    fn apply(&mut self, characters: &mut Vec<char>, tokens: &mut Vec<Token>) -> bool {
        if self.cuts.is_empty() {
            return false;
        }
        let Self { cuts, out, .. } = self;
        if let [cut] = cuts[..]
            && cut.end == characters.len()
            && matches!(cut.put, Put::Join | Put::Space)
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
    use crate::text::{normalise, normalise_marked};
    use proptest::prelude::*;

    fn plain(text: &str) -> String {
        let (mut characters, mut tokens) = (Vec::new(), Vec::new());
        normalise_marked(text, &mut Composer::default(), &mut characters);
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
            listed("\n", |rank| format!("{}> ", letter(rank))),
            listed("\n", |rank| format!("{}/ ", letter(rank))),
            listed("\n", |rank| format!("{} - ", letter(rank))),
            listed("\n", |rank| format!("{} – ", letter(rank))),
            listed("\n", |rank| format!("{} | ", letter(rank))),
            listed("\n", |rank| format!("{{{}}} ", letter(rank))),
            listed("\n", |rank| format!("【{}】", letter(rank))),
            listed("\n", |rank| format!("{}、", letter(rank))),
            listed("\n", |rank| format!("{} - ", rank + 1)),
            listed("\n", |rank| format!("{}\u{FE0F}\u{20E3} ", rank + 1)),
            listed("\n", |rank| format!("{} ", ['①', '②', '③', '④'][rank])),
            listed("\n", |rank| ['❶', '❷', '❸', '❹'][rank].to_string()),
            listed("\n", |rank| format!("{} ", ['Ⓐ', 'Ⓑ', 'Ⓒ', 'Ⓓ'][rank])),
            listed("\n", |rank| format!("{}．", ['Ａ', 'Ｂ', 'Ｃ', 'Ｄ'][rank])),
            listed("\n", |rank| format!("（{}）", ['Ａ', 'Ｂ', 'Ｃ', 'Ｄ'][rank])),
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
        assert_eq!(
            plain(r#"{"question": "What is their \"sum\"?", "expected": true, "of": 2.5}"#),
            "what is their \"sum\"? expected: true of: 2.5"
        );
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
            format!("Input: What swims?\nOutput: cod\n\nInput: {last}\nOutput:"),
            format!("User: What swims?\nAssistant: A cod does.\nUser: {last}\nAssistant:"),
            format!(
                "### Question: What swims?\n### Answer: cod\n### Question: {last}\n### Answer: Let's think step by step."
            ),
            format!("Text: What swims? Label: cod. Text: {last} Label:"),
            format!("Q: It is 5 and x = 2. Which of these is x? A. 2 B. 3\nA: A\n\nQ: {last}\nA:"),
        ] {
            assert_eq!(plain(&text), ask, "{text}");
        }
        let sum = "Ann has 3 nets. She buys 4 more. How many nets does she have?";
        let worked = format!(
            "Q: Bo had 2 nets and he lost 1. How many nets has he?\nA: He had 2 - 1 = 1. The answer is 1.\n\nQ: {sum}\nA:"
        );
        assert_eq!(plain(&worked), sum.to_lowercase());
        assert_eq!(
            plain("Q: What is the capital of Chad?\nA: N'Djamena\n\nQ: What is the capital of Mali?\nA:"),
            "what is the capital of mali?"
        );
        // Examples that a task goes on from are part of it.
        let task = "sum all numbers. input: nums = [1, 2] output: 3 constraints: at most ten numbers";
        assert_eq!(plain(task), task);
        assert_eq!(
            plain("User: Plan a bridge of steel. Assistant: First the pylons. User: go on"),
            "plan a bridge of steel. assistant: first the pylons. go on"
        );
    }

    #[test]
    fn repeats_count_once() {
        let sums: Vec<String> = (1..20).map(|k| format!("{k}+{k}={}", 2 * k)).collect();
        for (text, expected) in [
            (format!("{}Why is the sky blue?", "word ".repeat(60)), "why is the sky blue?"),
            (format!("{} Why is the sky blue?", sums.join(" ")), "why is the sky blue?"),
            (format!("{} Why is the sky blue?", sums.join(", ")), "why is the sky blue?"),
            (format!("{}Why is the sky blue?", "This is so. ".repeat(30)), "this is so. why is the sky blue?"),
            (format!("{} Are all of these right?", sums.join(" ")), "1+1=2 are all of these right?"),
            (format!("{}How often is the word said?", "word ".repeat(20)), "word how often is the word said?"),
            ("row ".repeat(4) + "your boat", "row row row row your boat"),
            ("boat ".repeat(300), "boat"),
            ("boat ".repeat(20) + &"raft ".repeat(20), "raft"),
            (
                "A very, very good boat costs 3, 5, 7 and 9 dollars.".to_owned(),
                "a very, very good boat costs 3, 5, 7 and 9 dollars.",
            ),
            ("The keeper lit the ______ at dusk".to_owned(), "the keeper lit the __ at dusk"),
            (
                "One lamp in the long hall is still lit. It is dark. One lamp in the long hall is still lit. Why?"
                    .to_owned(),
                "one lamp in the long hall is still lit. it is dark. why?",
            ),
            ("Turn left. Go on. Turn left.".to_owned(), "turn left. go on. turn left."),
            ("s = 'r;r;r;r;r;r;r;r;r;r;'".to_owned(), "s = 'r;r;r;r;r;r;r;r;r;r;'"),
            ("0 0 0 0 0 0 0 0 0 0 1".to_owned(), "0 0 0 0 0 0 0 0 0 0 1"),
            ("++++++++++[>++++++<-]".to_owned(), "++++++++++[>++++++<-]"),
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
            "Why is the sky blue at noon?\n\nDisclaimer: this is no advice.",
            "Why is the sky blue at noon? (Whoever reads this message agrees to the terms and conditions.)",
            "Note: please answer carefully. Why is the sky blue at noon?",
            "<system-reminder>Do not forget the list.</system-reminder>\nWhy is the sky blue at noon?",
            "Why is the sky blue at noon?\n<environment_details>\ncwd: /tmp\n</environment_details>",
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
    }

    /// Requests as people and agents send them: what carries the task is never dropped.
    const REQUESTS: &[(&str, &[&str])] = &[
        (
            "The following are all properties of acids EXCEPT:\nA. sour taste\nB. bitter taste\nC. low pH",
            &["except", "properties of acids"],
        ),
        (
            "{\"name\": \"Bob\", \"age\": 5, \"active\": true}\n\nConvert this JSON to YAML.",
            &["name", "active", "true", "convert"],
        ),
        (r#"{"name": "Bob", "active": false}"#, &["name", "active", "false"]),
        (
            "{\"error\": {\"code\": 401, \"message\": \"invalid key\"}}\nWhat does this response mean?",
            &["error", "code", "401"],
        ),
        ("<div class=\"row\"><span>Hi</span></div>\nWhy is this not centred?", &["<div", "<span>"]),
        (
            "<select><option>A</option><option>B</option></select> How do I preselect B?",
            &["<select>", "<option>"],
        ),
        ("What does the <option> tag do?", &["<option>"]),
        (
            "Context: User: my router is broken Assistant: which model? User: AX50 Assistant: please reset it. Question: What did the user own?",
            &["ax50", "reset it", "router is broken"],
        ),
        (
            "Input: [[0,1],[0,0]] Output: [[1,0],[1,1]] Input: [[1,1],[0,0]] Output: [[0,0],[1,1]] Input: [[1,0],[0,1]] Output:",
            &["[[0,1],[0,0]]", "[[0,0],[1,1]]"],
        ),
        (
            "Interviewer: hi. Q: Why did you leave? A: Money. Q: What next? A: Sailing. Task: write a headline for this interview.",
            &["money", "sailing", "headline"],
        ),
        (
            "A solid has six equal square faces. What is its surface at edge 2 cm? (It is a cube.)",
            &["it is a cube"],
        ),
        ("Solve for x: x^2 = 4. Note: x is positive.", &["x is positive"]),
        ("Note: the reactor runs at 300 K. How fast is the reaction?", &["reactor runs"]),
        (
            "Summarise this conversation:\nUser: hi there, my card was stolen\nAssistant: I blocked it.\nUser: thanks, when do I get a new one?",
            &["stolen", "blocked it"],
        ),
        (
            "User: my card was stolen\nAssistant: I blocked it.\nUser: when do I get a new one?\n\nSummarise the conversation above in one sentence.",
            &["stolen", "blocked"],
        ),
        (
            "Text: I loved it. Label: positive. Text: I hated it. Label: negative. Text: It was fine, was it? Label:",
            &["loved", "positive", "hated"],
        ),
        ("English: sea otter\nFrench: loutre de mer\nEnglish: cheese\nFrench:", &["sea otter", "loutre"]),
        (
            "Dear Mr Smith, thank you for your email. I agree to the terms. Regards, Ann. Rewrite this letter in a formal tone.",
            &["dear mr smith", "thank you"],
        ),
        ("Translate into German: Please answer the following question.", &["please answer the following"]),
        ("Please answer the question below. Translate that into Spanish.", &["please answer the question"]),
        (
            "Improve this prompt: You are a helpful assistant. Answer briefly.",
            &["helpful assistant", "answer briefly"],
        ),
        ("What does __init__ do in Python?", &["__init__"]),
        ("What is the difference between == and === in JavaScript?", &["===", "=="]),
        ("Fix this code:\n```rust\nfn main() { println!(\"hi\") }\n```", &["rust", "println"]),
        ("# compute the mean\nx = sum(a) / len(a)  # of all\nprint(x)", &["compute the mean", "of all"]),
        ("What does this program print? ++++++++[>++++++++<-]>+.", &["++++++++[>++++++++<-]>+."]),
        ("How many times does cat appear: cat dog cat cat cat dog cat?", &["cat dog cat cat cat dog cat"]),
        (
            "Take 3 steps forward now please. Turn left. Take 3 steps forward now please. Turn left. Do you return to the start?",
            &["turn left. take 3 steps forward now please. turn left"],
        ),
        ("0 0 0 0 1 0 0 0\n0 0 0 0 0 0 0 0\nDescribe the grid.", &["0 0 0 0 1 0 0 0 0 0 0 0 0 0 0 0"]),
        ("if x = 2 and y = 3, what is the answer", &["what is the answer"]),
        ("You are a farmer with 17 goats. All but 9 die. How many are left?", &["17 goats"]),
        ("You are a man of sixty with chest pain. What should you do first?", &["chest pain"]),
        ("You are a pirate. Tell me about the sea and its storms tonight.", &["pirate"]),
        (
            "I want you to act as a linux terminal. I will type commands. My first command is pwd",
            &["linux terminal"],
        ),
        ("Answer in French. What is the capital of Spain?", &["french"]),
        (
            "Use only the letters A, C and T. Which words of three letters can be made?",
            &["letters a, c and t"],
        ),
        ("Explain the following sentence: What is love?", &["explain"]),
        ("Grade the following answer: The answer is 42 because of the question.", &["grade"]),
        (
            "Is 2+3=10, 7+2=63, 6+5=66, 8+4=96, 9+7=144, 1+1=2, 3+4=21, 5+5=50, 2+2=8 then 7+3=?",
            &["2+3=10", "5+5=50"],
        ),
        (
            "Question: Is this right? Answer: B. Question: And this one? Answer: C. Which of these answers is wrong?",
            &["answer: b", "answer: c"],
        ),
        ("- 5 + 3 = ?", &["- 5"]),
        (
            "System: Ubuntu 22.04. User: root. Why does ls fail with permission denied here?",
            &["ubuntu", "root"],
        ),
        (
            r#"{"task": "translate", "language": "French", "text": "the cat sat down"}"#,
            &["french", "translate", "cat"],
        ),
        (r#"{"type": "poem", "prompt": "about the sea at night"}"#, &["poem"]),
        (r#"[{"role": "pirate", "content": "tell me about ships please"}]"#, &["pirate"]),
        (r#"{"question": "Is it valid to divide by x?", "expected": true}"#, &["true"]),
        (
            "{\"model\": \"gpt-4\", \"messages\": [{\"role\": \"user\", \"content\": \"hi there my friend\"}]}\nWhy do I get 400?",
            &["gpt-4", "400", "messages"],
        ),
        (
            "By using this document, the recipient agrees to keep all information confidential. Is this clause enforceable?",
            &["recipient agrees"],
        ),
        ("What does <|endoftext|> mean for a tokenizer?", &["<|endoftext|>"]),
        ("Alice: hi Bob. Bob: hi, the meeting is at 5. Alice: ok. When do they meet?", &["meeting is at 5"]),
        ("Q: 1 -> 1 A: ok Q: blarg 3? A: 9. Q: blarg 4? A: 16. What is the rule?", &["blarg 3"]),
        ("Compare: A - x B - y", &["a - x b - y"]),
        ("when a > 3 and b > 4 and c > 5 then what is d?", &["a > 3 and b > 4"]),
        (r#"echo "a" > file.txt; cat < file.txt. What is printed?"#, &["> file.txt", "< file"]),
        ("What does > /dev/null 2>&1 mean?", &["> /dev/null 2>&1"]),
        (
            "Statement 1: all cats fly. Statement 2: no dogs fly. Answer: both are false? Explain.",
            &["statement 1", "both are false"],
        ),
        (
            "Classify the sentiment. Review: great film. Sentiment: positive. Review: dull. Sentiment:",
            &["great film", "classify"],
        ),
        ("SELECT a, b FROM t WHERE a > 1 -- only big ones", &["-- only big ones"]),
        (
            "Example: nums = [1,2,3] Output: 6. Example: nums = [2] Output: 2. Write the function.",
            &["[1,2,3]", "write the function"],
        ),
        (r#"The user said: "Please be concise." Is that rude?"#, &["please be concise"]),
        ("What is wrong with this commit message? Fix: all errors in model.", &["fix: all errors"]),
        (
            "Reply to this email: Hello, thank you for your message. I have received the document.",
            &["hello", "received the document"],
        ),
        ("Correct the grammar: He do not use the tool.", &["he do not use the tool"]),
        (
            "Once upon a time a king asked a question. Continue the story in five lines.",
            &["king", "continue"],
        ),
        (
            "Premise: A man sleeps. Hypothesis: He is awake. Label: contradiction. Premise: A dog runs. Hypothesis: It moves. Label:",
            &["man sleeps", "contradiction"],
        ),
        (
            "Here is my config:\n{\"prompt\": \"hello there my friend\", \"temperature\": 0.7, \"stop\": [\"a\"]}\nIs it valid?",
            &["temperature", "stop"],
        ),
        (
            "{\"question\": \"what is the capital of peru\", \"answer\": \"lima\"}\nAdd three more records like this.",
            &["answer", "three more records"],
        ),
        (
            r#"{"messages": [{"role":"user","content":"what is up with my bill"},{"role":"assistant","content":"it was late"}]}"#,
            &["assistant", "it was late", "my bill"],
        ),
        (
            r#"{"instruction": "Extract all names from the input", "input": "Ann met Bob", "output_schema": {"names": ["string"]}}"#,
            &["output_schema", "names", "ann met bob"],
        ),
        ("<html><body><p>The quick fox</p></body></html>\nRemove all tags.", &["<p>", "</body>"]),
        ("<question>Why is <b>x</b> bold?</question>", &["<b>x</b>"]),
        (
            r#"Write XSLT for <question id="1"><text>hi</text></question> to render <li>."#,
            &["<text>", "<li>"],
        ),
        ("<document>The cat sat.</document>\nWhat sat?", &["<document>"]),
        ("You are an agent in a maze with 3 doors. Which door do you open?", &["maze", "3 doors"]),
        (
            "You are an assistant professor who has to fail a student. How do you tell him?",
            &["assistant professor who has to fail"],
        ),
        (
            "Below is a conversation between a user and an assistant.\nUser: can you help me?\nAssistant: no.\nUser: why not?\nRate the assistant's reply from 1 to 5.",
            &["assistant: no", "rate"],
        ),
        ("Human: hello\nAI: hi, how are you?\nHuman: write a haiku about it", &["haiku"]),
        (
            "Translate these to SQL.\nQ: all users older than 30\nA: SELECT * FROM users WHERE age > 30\nQ: users called bob\nA:",
            &["select * from users", "translate"],
        ),
        ("Word: up Opposite: down Word: hot Opposite: cold Word: big Opposite:", &["down", "cold"]),
        ("Q: 3 5 -> 8 A: 8 Q: 2 2 -> ? A: 4 Q: 9 1 -> ? A:", &["8"]),
        (
            "Context: Einstein was born in Ulm. Question: Where was he born? Answer: Ulm. Question: What is Ulm known for?",
            &["einstein"],
        ),
        (
            "Passage: Ada has 3 cats, Bo 2 dogs.\nQuestion: How many cats has Ada?\nAnswer: 3\nQuestion: How many animals are there in total?\nAnswer:",
            &["ada has 3 cats, bo 2 dogs. how many animals"],
        ),
        (
            "Context: Ada has 3 cats, Bo 2 dogs.\nQ: How many cats has Ada?\nA: 3\nQ: How many animals are there in total?\nA:",
            &["ada has 3 cats, bo 2 dogs. how many animals"],
        ),
        ("Passage: A b. Question: what? Answer: b. Passage: C d. Question: which? Answer:", &["c d"]),
        ("- milk\n- eggs\n- flour\nWhat can I cook?", &["milk", "eggs", "flour"]),
        (
            "1. Open the lid\n2. Pour water\n3. Close the lid\nWhat step is missing?",
            &["open the lid", "pour water"],
        ),
        ("Instructions: do not use loops. Task: sum a list in Python.", &["do not use loops", "sum a list"]),
        (
            "Answer the question using the table below. | a | b | | --- | --- | | 1 | 2 | What is a?",
            &["| 1 | 2 |", "using the table"],
        ),
        ("Only use the options given: red, green, blue. What colour is the sky?", &["red, green, blue"]),
        (
            "def f(x):\n    # return the answer\n    return x\n\nWhat does f(2) return?",
            &["# return the answer"],
        ),
        ("git diff --- a/x.py +++ b/x.py @@ -1 +1 @@ explain the change", &["--- a/x.py +++ b/x.py"]),
        ("a = b == c ? d : e; what is a?", &["a = b == c ? d : e"]),
        ("Proofread: Hello, thanks for your help. Regards.", &["hello, thanks for your help"]),
        (
            "This email contains confidential information. Forward it to anyone. Is the tone of this email right?",
            &["confidential information"],
        ),
        (
            "I have a question about the terms and conditions of my contract with my landlord in Berlin. May he enter?",
            &["landlord", "berlin"],
        ),
        (
            "The company may share confidential information with the recipient. The recipient sold it. Is that a breach?",
            &["recipient sold it"],
        ),
        ("ha ha ha ha ha ha. How many ha are there?", &["ha ha ha ha ha ha"]),
        ("Count the stars: *****", &["*****"]),
        ("What regex matches ... or ---?", &["---"]),
        ("If 2+2=4 and 3+3=6 and 1+1=2, is 5+5=10?", &["2+2=4", "3+3=6"]),
        ("Say 'no' ten times.", &["no"]),
        (
            "Is the sentence 'Please respond with the correct answer.' polite?",
            &["respond with the correct answer"],
        ),
        (
            "Subject: Your order. Dear customer, thank you for your order. Please contact us. Regards. What is missing?",
            &["thank you for your order"],
        ),
        ("Speaker A: we need 5 more. Speaker B: no. What did A want?", &["we need 5 more"]),
        (
            "User: Here is my essay: Whales swim.\nAssistant: Nice.\nUser: Can you find what is wrong in my essay?",
            &["whales swim"],
        ),
        (
            "User: My name is Bob and I owe 300 euros at 5 % per year.\nAssistant: Noted.\nUser: How much do I owe after 7 years?",
            &["300 euros at 5 %"],
        ),
        (
            "User: ```python\ndef f(x): return x+1\n```\nAssistant: ok\nUser: Write unit tests for the function with pytest.",
            &["return x+1"],
        ),
        (
            "User: How do I open the gate?\nAssistant: With the silver key.\nUser: How do I find it?\nAssistant:",
            &["open the gate", "silver key"],
        ),
        (
            "Human: You are in a dark room. What do you do?\nAI: I light a match.\nHuman: What do you see?\nAI:",
            &["dark room", "light a match"],
        ),
        (
            "Q: Ada has 3 cats and Bo 2 dogs. How many cats has Ada?\nA: 3\nQ: How many animals do they have in total?\nA:",
            &["ada has 3 cats and bo 2 dogs"],
        ),
        (
            "Question 1: Let G be a group of order 12. How many Sylow 3-subgroups can it have?\nAnswer: 1 or 4\nQuestion 2: Which subgroups are normal in G?\nAnswer:",
            &["group of order 12", "1 or 4"],
        ),
        (
            "Question: when do we ship?\nAnswer: monday\nQuestion: to whom do we ship?\nThanks, Bob. Draft a reply.",
            &["when do we ship", "monday"],
        ),
        (
            "Q: Where is the station?\nA: Wo ist der Bahnhof?\nQ: What is the price of two tickets?\nA:",
            &["where is the station", "wo ist der bahnhof"],
        ),
        (
            "Q: Where is the cat?\nA: Die Katze schläft dort.\nQ: What is the price of two tickets?\nA:",
            &["die katze schläft dort"],
        ),
        (
            "<ide_selection>fn main() { let x: i32 = \"a\"; }</ide_selection> Why does this not compile?",
            &["let x: i32"],
        ),
        ("<bash-stdout>error[E0382]: moved value</bash-stdout> Fix the error above", &["moved value"]),
        (
            "Parse: buffalo buffalo buffalo buffalo buffalo buffalo buffalo buffalo",
            &["buffalo buffalo buffalo buffalo buffalo buffalo buffalo buffalo"],
        ),
        ("How many times: ha ha ha ha ha ha ha ha ha?", &["ha ha ha ha ha ha ha ha ha"]),
        ("You are an agent of the KGB. What do you do next in the story?", &["agent of the kgb"]),
    ];

    #[test]
    fn what_carries_the_task_stays() {
        for (text, kept) in REQUESTS {
            let form = plain(text);
            for part in *kept {
                assert!(form.contains(part), "{text}: {part} is lost: {form}");
            }
        }
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
        fn nothing_is_said_that_was_not_written(text in any_shape()) {
            // All words of the plain form stand in the text, in their order; markers of options are no words.
            let words = |characters: &[char]| {
                let mut tokens = Vec::new();
                tokenise(characters, &mut tokens);
                let said = |token: &&Token| token.kind == TokenKind::Word && token.length() > 1;
                tokens.iter().filter(said).map(|token| token.hash).collect::<Vec<_>>()
            };
            let mut normal = Vec::new();
            normalise_marked(&text, &mut Composer::default(), &mut normal);
            prop_assume!(!normal.contains(&'\\') && !normal.iter().any(|found| matches!(found, '*' | '_' | '`')));
            let form: Vec<char> = plain(&text).chars().collect();
            let all = words(&normal);
            let mut rest = all.iter();
            for word in words(&form) {
                prop_assert!(rest.any(|found| *found == word), "{form:?}");
            }
        }

        #[test]
        fn prose_without_wrappers_stays(sentences in prop::collection::vec("(the|one|some) [b-z]{3,7} [b-z]{4,8} [b-z]{3,7}", 1..6)) {
            let text = sentences.join(". ");
            prop_assert_eq!(plain(&text), text);
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
