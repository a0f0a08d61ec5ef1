//! Dates in questions and in candidates. The words are English ones.

use super::terms::Reader;
use crate::text::TokenKind;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Words that say when something was: a candidate that holds one may answer "when".
const TIME_WORDS: &[&str] = &[
    "ago",
    "april",
    "august",
    "day",
    "days",
    "december",
    "february",
    "fri",
    "friday",
    "january",
    "july",
    "june",
    "last",
    "march",
    "may",
    "mon",
    "monday",
    "month",
    "next",
    "november",
    "october",
    "sat",
    "saturday",
    "september",
    "sun",
    "sunday",
    "thu",
    "thursday",
    "today",
    "tomorrow",
    "tonight",
    "tue",
    "tuesday",
    "wed",
    "wednesday",
    "week",
    "weekend",
    "year",
    "yesterday",
];

/// A calendar date, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date {
    pub year: i32,
    pub month: u8,
    pub day: u8,
}

/// The date at `seconds` since 1970, by the proleptic Gregorian calendar (Hinnant 2013, `civil_from_days`).
pub(crate) fn date(seconds: f64) -> Option<Date> {
    if !seconds.is_finite() || seconds.abs() > 1e12 {
        return None;
    }
    let days = (seconds / 86_400.0).floor() as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    Some(Date {
        year: (year_of_era + era * 400 + i64::from(month <= 2)) as i32,
        month: month as u8,
        day: (of_year - (153 * shifted + 2) / 5 + 1) as u8,
    })
}

/// What a question says of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    /// Bit m for month m.
    months: u16,
    /// Bit d for day d.
    days: u32,
    years: [i32; 2],
    year_count: usize,
    /// The question asks when.
    pub asks_when: bool,
}

fn is(word: &[char], text: &str) -> bool {
    word.iter().copied().eq(text.chars())
}

fn number(word: &[char]) -> Option<u32> {
    let digits = (1..=4).contains(&word.len()) && word.iter().all(char::is_ascii_digit);
    digits.then(|| word.iter().fold(0, |sum, digit| sum * 10 + digit.to_digit(10).unwrap_or(0)))
}

impl Named {
    /// Reads the months (but for "may", which is mostly a verb), years (1900-2099, at most two), days of the month and
    /// "when" of the text `reader` read last.
    pub(crate) fn of(reader: &Reader) -> Self {
        let mut named = Self::default();
        for (word, kind) in reader.tokens() {
            if kind == TokenKind::Word {
                // Most words are too short or begin as no month does: eleven comparisons are saved.
                let may_be =
                    word.len() >= 4 && matches!(word[0], 'j' | 'f' | 'm' | 'a' | 's' | 'o' | 'n' | 'd');
                let month = if may_be { MONTHS.iter().position(|month| is(word, month)) } else { None };
                named.months |= month.map_or(0, |month| 1 << (month + 1));
                named.asks_when |= word.len() == 4 && is(word, "when");
            } else if let Some(number) = number(word).filter(|_| kind == TokenKind::Number) {
                match (word.len(), number) {
                    (4, 1900..=2099) if named.year_count < 2 => {
                        named.years[named.year_count] = number as i32;
                        named.year_count += 1;
                    }
                    (1 | 2, 1..=31) => named.days |= 1 << number,
                    _ => {}
                }
            }
        }
        // A number is a day only beside a month.
        if named.months == 0 {
            named.days = 0;
        }
        named
    }

    /// Whether any date was named.
    pub(crate) fn any(&self) -> bool {
        self.months != 0 || self.year_count != 0
    }

    /// Which share of the kinds of thing named (month, year, day) `date` agrees with; 0 without a date.
    pub(crate) fn share(&self, date: Option<Date>) -> f32 {
        let Some(date) = date else { return 0.0 };
        let kinds = [self.months != 0, self.year_count != 0, self.days != 0];
        let agree = [
            self.months >> date.month & 1 == 1,
            self.years[..self.year_count].contains(&date.year),
            self.days >> date.day & 1 == 1,
        ];
        let count = |flags: [bool; 3]| flags.into_iter().filter(|&flag| flag).count() as f32;
        let kinds = count(kinds);
        if kinds == 0.0 { 0.0 } else { count(agree) / kinds }
    }
}

/// Whether the text `reader` read last holds a word of time.
pub(crate) fn speaks_of_time(reader: &Reader) -> bool {
    let is_time_word =
        |word: &[char]| TIME_WORDS.binary_search_by(|time| time.chars().cmp(word.iter().copied())).is_ok();
    reader.tokens().any(|(word, kind)| kind == TokenKind::Word && is_time_word(word))
}

#[cfg(test)]
mod tests {
    use super::super::terms::Terms;
    use super::*;
    use proptest::prelude::*;

    fn named(text: &str) -> Named {
        let mut reader = Reader::default();
        reader.read(text, &mut Terms::default());
        Named::of(&reader)
    }

    fn at(year: i32, month: u8, day: u8) -> Date {
        Date { year, month, day }
    }

    #[test]
    fn dates_are_the_calendars() {
        for (seconds, expected) in [
            (0.0, Some(at(1970, 1, 1))),
            (86_399.0, Some(at(1970, 1, 1))),
            (-1.0, Some(at(1969, 12, 31))),
            (951_782_400.0, Some(at(2000, 2, 29))),
            (1_683_554_160.0, Some(at(2023, 5, 8))),
            (1_735_689_599.0, Some(at(2024, 12, 31))),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(date(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn what_a_question_names_is_compared_with_the_date() {
        let asked = named("What happened on March 8, 2023?");
        let close =
            |found: f32, expected: f32| assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        close(asked.share(Some(at(2023, 3, 8))), 1.0);
        close(asked.share(Some(at(2023, 3, 9))), 2.0 / 3.0);
        close(asked.share(Some(at(2021, 4, 9))), 0.0);
        close(asked.share(None), 0.0);
        close(named("in 2022 or 2023?").share(Some(at(2023, 1, 1))), 1.0);
        assert!(!named("may I have 8 apples").any() && named("When?").asks_when);
    }

    #[test]
    fn time_words_are_found() {
        assert!(TIME_WORDS.is_sorted());
        let mut reader = Reader::default();
        for (text, expected) in [("I went Yesterday.", true), ("last week!", true), ("the lastly", false)] {
            reader.read(text, &mut Terms::default());
            assert_eq!(speaks_of_time(&reader), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn days_follow_each_other(day in -800_000i64..800_000) {
            let (a, b) = (date(day as f64 * 86_400.0).expect("a date"), date((day + 1) as f64 * 86_400.0).expect("a date"));
            let next = (b.year, b.month, b.day);
            let follows = next == (a.year, a.month, a.day + 1)
                || b.day == 1 && a.day >= 28 && (next == (a.year, a.month + 1, 1) || next == (a.year + 1, 1, 1) && a.month == 12);
            prop_assert!(follows, "{a:?} {b:?}");
        }
    }
}
