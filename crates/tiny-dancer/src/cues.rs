//! Structural cues: cheap numbers about a request's form. All are computed on the normalised text, so case, white
//! space and line breaks leave them unchanged; `NAMES` fixes their order and is part of the feature contract.

mod lexicon;
mod options;

use crate::request::Around;
use crate::sort;
use crate::text::{Token, TokenKind};
pub(crate) use lexicon::Lexicon;
use lexicon::flag;
use options::Options;

/// Number of cues.
pub const CUES: usize = NAMES.len();

/// Names of the cues, in order.
pub const NAMES: [&str; 81] = [
    "log_characters",
    "log_words",
    "mean_word_length",
    "long_word_share",
    "type_token_ratio",
    "stop_word_share",
    "sentences",
    "words_per_sentence",
    "last_sentence_words",
    "commas_per_word",
    "parentheses",
    "numbers",
    "distinct_numbers",
    "number_share",
    "largest_number",
    "mean_number",
    "sum_of_numbers",
    "decimals",
    "round_numbers",
    "money",
    "percent",
    "fractions",
    "number_words",
    "operators",
    "symbol_share",
    "latex",
    "code_punctuation",
    "letter_variables",
    "carets",
    "non_ascii_share",
    "options",
    "option_mean_words",
    "option_longest",
    "option_length_variation",
    "option_overlap",
    "option_stem_overlap",
    "option_numeric_share",
    "option_all_or_none",
    "option_same_first_word",
    "stem_words",
    "option_share",
    "option_shortest",
    "option_cosine_mean",
    "option_cosine_highest",
    "stem_option_cosine",
    "of_the_following",
    "what",
    "how_many",
    "how_much",
    "why_how",
    "ends_question",
    "ends_colon",
    "incomplete_stem",
    "blank",
    "negations",
    "exception",
    "statements",
    "true_false",
    "time_words",
    "comparisons",
    "rates",
    "scales",
    "totals",
    "remainders",
    "conditions",
    "pronouns",
    "mathematics_words",
    "units",
    "quotes",
    "unit_kinds",
    "digit_share",
    "quantities",
    "distinct_quantities",
    "more_than",
    "repeated_content",
    "turns",
    "log_system_characters",
    "log_assistant_characters",
    "tools",
    "tool_parameters",
    "log_tool_characters",
];

/// Cosines between the static embeddings of a question's parts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Similarity {
    pub options_mean: f32,
    pub options_highest: f32,
    pub stem_option: f32,
}

/// Buffers and word lists the cues are computed with.
#[derive(Debug, Default)]
pub(crate) struct CueScratch {
    lexicon: Lexicon,
    options: Options,
    flags: Vec<u32>,
    numbers: Vec<f64>,
    hashes: Vec<u64>,
}

/// What symbols are counted as, one bit a kind.
mod mark {
    pub const COMMA: u32 = 1;
    pub const PARENTHESIS: u32 = 1 << 1;
    pub const MONEY: u32 = 1 << 2;
    pub const DOLLAR: u32 = 1 << 3;
    pub const PERCENT: u32 = 1 << 4;
    pub const OPERATOR: u32 = 1 << 5;
    pub const CARET: u32 = 1 << 6;
    pub const BACKSLASH: u32 = 1 << 7;
    pub const CODE: u32 = 1 << 8;
    pub const QUOTE: u32 = 1 << 9;

    /// The kinds a symbol is of.
    pub fn of(symbol: char) -> u32 {
        match symbol {
            ',' => COMMA,
            '(' => PARENTHESIS,
            '$' => MONEY | DOLLAR,
            '€' | '£' | '¥' => MONEY,
            '%' => PERCENT,
            '^' => OPERATOR | CARET,
            '+' | '-' | '*' | '/' | '=' | '<' | '>' | '×' | '÷' | '−' => OPERATOR,
            '\\' => BACKSLASH,
            '{' | '}' | '[' | ']' | ';' | '_' | '`' | '#' | '&' | '|' => CODE,
            '"' | '“' | '”' | '‘' | '«' | '»' => QUOTE,
            _ => 0,
        }
    }
}

/// How often each bit was set.
#[derive(Default)]
struct Tally([usize; 32]);

impl Tally {
    #[inline]
    fn add(&mut self, bits: u32) {
        let mut rest = bits;
        while rest != 0 {
            self.0[rest.trailing_zeros() as usize] += 1;
            rest &= rest - 1;
        }
    }

    /// Of one bit.
    #[inline]
    fn of(&self, bit: u32) -> usize {
        debug_assert!(bit.is_power_of_two());
        self.0[bit.trailing_zeros() as usize]
    }
}

/// Distinct values. Few are put into a small table; many are sorted, since nobody can make that slow by what they write.
#[inline(never)]
fn distinct(values: &mut Vec<u64>) -> usize {
    const FEW: usize = 256;
    const SLOTS: usize = 2 * FEW;
    if values.len() > FEW {
        sort::many::unstable(values);
        values.dedup();
        return values.len();
    }
    let mut slots = [0; SLOTS];
    // A slot without a value holds 0.
    let mut found = usize::from(values.contains(&0));
    for &value in values.iter().filter(|&&value| value != 0) {
        let mut slot = (value >> 40) as usize % SLOTS;
        while slots[slot] != 0 && slots[slot] != value {
            slot = (slot + 1) % SLOTS;
        }
        found += usize::from(slots[slot] == 0);
        slots[slot] = value;
    }
    found
}

fn log1p(value: f32) -> f32 {
    libm::log1pf(value)
}

fn count(value: usize) -> f32 {
    log1p(value as f32)
}

fn share(part: usize, whole: usize) -> f32 {
    part as f32 / whole.max(1) as f32
}

fn indicator(condition: bool) -> f32 {
    f32::from(u8::from(condition))
}

impl CueScratch {
    /// Finds the option block ("a. … b. …") of a text.
    pub(crate) fn find_options(&mut self, characters: &[char], tokens: &[Token]) {
        self.options.find(characters, tokens);
    }

    /// Stem and options as ranges of characters: one range where there are no options.
    pub(crate) fn parts(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        self.options.parts()
    }

    /// Fills `out`; `find_options` has been called for the same text.
    #[allow(clippy::too_many_lines, clippy::too_many_arguments)] // one assignment a cue, in the order of NAMES
    #[inline(never)]
    pub(crate) fn fill(
        &mut self,
        characters: &[char],
        tokens: &[Token],
        similarity: Similarity,
        around: Around,
        out: &mut [f32; CUES],
    ) {
        let Self { lexicon, options, flags, numbers, hashes } = self;
        let tokens = Options::without_answer(characters, tokens);
        flags.clear();
        let (mut lists, mut marks) = (Tally::default(), Tally::default());
        flags.extend(tokens.iter().map(|token| {
            match token.kind {
                TokenKind::Word => {
                    let found = lexicon.flags(token.hash);
                    lists.add(found);
                    return found;
                }
                TokenKind::Symbol => marks.add(mark::of(characters[token.start as usize])),
                TokenKind::Number => {}
            }
            0
        }));
        let stem_tokens = tokens.partition_point(|token| (token.start as usize) < options.stem_end);
        let stem = &tokens[..stem_tokens];
        let stem_flags = &flags[..stem_tokens];
        let is_word = |token: &&Token| token.kind == TokenKind::Word;
        let words = tokens.iter().filter(is_word).count();
        let stem_words = stem.iter().filter(is_word).count();
        let with = |wanted: u32| lists.of(wanted);
        let with_either = |wanted: u32| flags.iter().filter(|&&found| found & wanted != 0).count();
        let symbols = |wanted: u32| marks.of(wanted);
        let on_any = |flags: &[u32]| flags.iter().fold(0, |any, &found| any | found);
        let (any, stem_any) = (on_any(flags), on_any(stem_flags));
        let text_end = tokens.last().map_or(0, |token| token.end as usize);
        let text = &characters[..text_end];

        let mut index = 0;
        let mut put = |value: f32| {
            out[index] = value;
            index += 1;
        };

        // Size and vocabulary.
        put(count(text.len()));
        put(count(words));
        put(share(tokens.iter().filter(is_word).map(Token::length).sum(), words));
        put(share(tokens.iter().filter(|token| is_word(token) && token.length() >= 8).count(), words));
        hashes.clear();
        hashes.extend(tokens.iter().filter(is_word).map(|token| token.hash));
        put(share(distinct(hashes), words));
        put(share(with(flag::STOP), words));

        // Sentences of the stem.
        let (sentences, last_words) = sentences(characters, stem);
        put(count(sentences));
        put(log1p(stem_words as f32 / sentences.max(1) as f32));
        put(count(last_words));
        put(share(symbols(mark::COMMA), words).sqrt());
        put(count(symbols(mark::PARENTHESIS)));

        // Numbers.
        numbers.clear();
        let is_number = |token: &&Token| token.kind == TokenKind::Number;
        numbers.extend(tokens.iter().filter(is_number).map(|token| value(characters, *token)));
        let found = numbers.len();
        let decimals = tokens
            .iter()
            .filter(|token| {
                is_number(token) && characters[token.start as usize..token.end as usize].contains(&'.')
            })
            .count();
        let round = numbers.iter().filter(|&&number| number >= 10.0 && number % 10.0 == 0.0).count();
        let (mut largest, mut sum) = (0f32, 0f32);
        for &number in numbers.iter() {
            let magnitude = libm::log10f(1.0 + number as f32);
            largest = largest.max(magnitude);
            sum += magnitude;
        }
        sort::many::unstable_by(numbers, f64::total_cmp);
        numbers.dedup();
        put(count(found));
        put(count(numbers.len()));
        put(share(found, tokens.len()).sqrt());
        put(largest);
        put(sum / found.max(1) as f32);
        put(log1p(sum));
        put(count(decimals));
        put(count(round));
        put(count(symbols(mark::MONEY)));
        put(count(symbols(mark::PERCENT) + with(flag::PERCENT)));
        put(count(fractions(characters, tokens)));
        put(count(with(flag::NUMBER_WORD)));

        // Symbols.
        let all_symbols = tokens.iter().filter(|token| token.kind == TokenKind::Symbol).count();
        let backslashes = symbols(mark::BACKSLASH);
        put(count(symbols(mark::OPERATOR)));
        put(share(all_symbols, tokens.len()).sqrt());
        put(count(if backslashes > 0 { backslashes + symbols(mark::DOLLAR) / 2 } else { 0 }));
        put(count(symbols(mark::CODE)));
        put(count(
            stem.iter()
                .filter(|token| {
                    is_word(token)
                        && token.length() == 1
                        && !matches!(characters[token.start as usize], 'a' | 'i')
                })
                .count(),
        ));
        put(count(symbols(mark::CARET)));
        put(share(text.iter().filter(|character| !character.is_ascii()).count(), text.len()).sqrt());

        // Options of a multiple-choice question.
        options.measure(characters, tokens, lexicon, &mut put);
        put(count(stem_words));
        put(share(options.characters(), text.len()));
        put(count(options.shortest()));
        put(similarity.options_mean);
        put(similarity.options_highest);
        put(similarity.stem_option);

        // Form of the question.
        let stem_has = |wanted: u32| stem_any & wanted != 0;
        let follows = |first: u32, second: u32| {
            stem_has(second)
                && stem_flags.windows(2).any(|pair| pair[0] & first != 0 && pair[1] & second != 0)
        };
        let of_the_following = follows(flag::STOP, flag::FOLLOWING);
        let (how_many, how_much) = (follows(flag::HOW, flag::MANY), follows(flag::HOW, flag::MUCH));
        let last = stem.last().map_or(' ', |token| characters[token.end as usize - 1]);
        put(indicator(of_the_following));
        put(indicator(stem_has(flag::WHAT)));
        put(indicator(how_many));
        put(indicator(how_much));
        put(indicator(stem_has(flag::WHY) || (stem_has(flag::HOW) && !how_many && !how_much)));
        put(indicator(last == '?'));
        put(indicator(last == ':'));
        put(indicator(last.is_alphanumeric() || last == ','));
        let underscores = stem.windows(2).any(|pair| {
            pair[1].start == pair[0].end
                && matches!(
                    (characters[pair[0].start as usize], characters[pair[1].start as usize]),
                    ('_', '_') | ('.', '.')
                )
        });
        put(indicator(underscores || stem_has(flag::BLANK)));
        put(count(stem_flags.iter().filter(|&&found| found & flag::NEGATION != 0).count()));
        let tail = stem_flags.len().saturating_sub(24);
        put(indicator(stem_flags[tail..].iter().any(|found| found & flag::EXCEPTION != 0)));
        put(indicator(with(flag::STATEMENT) > 0));
        put(indicator(with(flag::TRUE_FALSE) > 0));

        // What it is about.
        for wanted in [
            flag::TIME,
            flag::COMPARISON,
            flag::RATE,
            flag::SCALE,
            flag::TOTAL,
            flag::REMAINDER,
            flag::CONDITION,
        ] {
            put(count(with(wanted)));
        }
        put(share(with(flag::PRONOUN), words).sqrt());
        put(count(with(flag::MATHEMATICS)));
        put(count(with(flag::UNIT)));
        put(count(symbols(mark::QUOTE)));
        hashes.clear();
        let measures =
            tokens.iter().zip(flags.iter()).filter(|(_, found)| **found & (flag::UNIT | flag::TIME) != 0);
        hashes.extend(measures.map(|(token, _)| token.hash));
        put(count(distinct(hashes)));

        // Quantities, spelt out or not, and what the text says again.
        put(share(text.iter().filter(|character| character.is_ascii_digit()).count(), text.len()));
        put(count(found + with_either(flag::NUMBER_WORD | flag::SCALE)));
        hashes.clear();
        let quantities = tokens.iter().zip(flags.iter()).filter(|(token, found)| {
            token.kind == TokenKind::Word && **found & (flag::NUMBER_WORD | flag::SCALE) != 0
        });
        hashes.extend(quantities.map(|(token, _)| token.hash));
        put(count(numbers.len() + distinct(hashes)));
        let compared = if any & (flag::AS | flag::TIMES) == 0 {
            0
        } else {
            flags.windows(2).filter(|pair| compares(pair[0], pair[1])).count()
        };
        put(count(with(flag::THAN) + compared));
        hashes.clear();
        let telling = tokens
            .iter()
            .zip(flags.iter())
            .filter(|(token, found)| token.kind == TokenKind::Word && **found & flag::STOP == 0);
        hashes.extend(telling.map(|(token, _)| token.hash));
        let all = hashes.len();
        put(share(all - distinct(hashes), all));

        // What surrounds the text.
        put(around.turns as f32);
        put(count(around.system_bytes));
        put(count(around.assistant_bytes));
        put(count(around.tools as usize));
        put(count(around.tool_parameters as usize));
        put(count(around.tool_bytes));
        debug_assert_eq!(index, CUES);
    }
}

/// "as many", "as much", "times as", "times more".
fn compares(first: u32, second: u32) -> bool {
    (first & flag::AS != 0 && second & (flag::MANY | flag::MUCH) != 0)
        || (first & flag::TIMES != 0 && second & (flag::AS | flag::COMPARISON) != 0)
}

/// Sentences that end in `.`, `?` or `!` followed by a space or the end, and the words of the last one.
fn sentences(characters: &[char], stem: &[Token]) -> (usize, usize) {
    let (mut sentences, mut words, mut last_words) = (0, 0, 0);
    for token in stem {
        if token.kind == TokenKind::Symbol {
            let ends = matches!(characters[token.start as usize], '.' | '?' | '!' | '。' | '？' | '！')
                && matches!(characters.get(token.end as usize), None | Some(' '));
            if ends && words > 0 {
                sentences += 1;
                last_words = words;
                words = 0;
            }
        } else {
            words += 1;
        }
    }
    if words > 0 { (sentences + 1, words) } else { (sentences, last_words) }
}

/// The number a token spells, commas dropped, at most 1e15.
fn value(characters: &[char], token: Token) -> f64 {
    let (mut number, mut place) = (0f64, 0f64);
    for character in &characters[token.start as usize..token.end as usize] {
        match character.to_digit(10) {
            Some(digit) if place == 0.0 => number = (number * 10.0 + f64::from(digit)).min(1e15),
            Some(digit) => {
                number += f64::from(digit) * place;
                place /= 10.0;
            }
            None if *character == '.' => place = 0.1,
            None => {}
        }
    }
    number
}

/// Digit, slash (or fraction slash), digit.
fn fractions(characters: &[char], tokens: &[Token]) -> usize {
    tokens
        .windows(3)
        .filter(|three| {
            three[0].kind == TokenKind::Number
                && three[2].kind == TokenKind::Number
                && three[1].kind == TokenKind::Symbol
                && matches!(characters[three[1].start as usize], '/' | '⁄')
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn distinct_values_are_those_of_a_set(
            values in prop::collection::vec(prop_oneof![0..60u64, any::<u64>(), Just(u64::MAX)], 0..600)
        ) {
            let expected = values.iter().collect::<std::collections::BTreeSet<_>>().len();
            prop_assert_eq!(distinct(&mut values.clone()), expected);
        }

        #[test]
        fn a_tally_counts_each_bit(all in prop::collection::vec(any::<u32>(), 0..40)) {
            let mut tally = Tally::default();
            for &bits in &all {
                tally.add(bits);
            }
            for bit in (0..32).map(|place| 1u32 << place) {
                prop_assert_eq!(tally.of(bit), all.iter().filter(|&&bits| bits & bit != 0).count());
            }
        }
    }
}
