//! Times as callers write them → seconds since 1970.
//!
//! A number's unit is told by its size: below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds, else
//! nanoseconds.
//!
//! A text is ISO 8601:
//!
//! ```text
//! moment   = date [separator time [zone]]
//! date     = YYYY-MM-DD | YYYYMMDD | YYYY-Www[-D] | YYYYWww[D]
//! time     = hh[:mm[:ss[fraction]]] | hh[mm[ss[fraction]]]
//! fraction = ("." | ",") digit...
//! zone     = "Z" | ("+" | "-") time
//! ```
//!
//! The separator is any one character but a digit. The year is one of 1 to 9999, digits are ASCII's, digits of a second
//! beyond the sixth are dropped, a week without a day begins on its Monday, a date without a time is its midnight, and a
//! time without a zone is UTC. A hyphen after a week is followed by its day where one digit follows, else it separates.
//!
//! That is what Python 3.11's `datetime.fromisoformat` reads, but for what only that function makes sense of, which is
//! refused here: a fraction of an hour or a minute (`12:30.5`, which it takes for a fraction of a second) or one without
//! its point (`12:00:00:5`, `1200005`), a time that breaks off before its zone (`12:+05:00`), minutes or seconds of a
//! zone beyond 59, a digit as separator (`20200101123`), a NUL at the end. A zone less than a second off UTC, which it
//! takes for UTC, counts here.

/// Numbers from here on cannot be seconds (that would be the year 5138) and are milliseconds (from March 1973).
const MILLISECONDS: f64 = 1e11;
const MICROSECONDS: f64 = 1e14;
const NANOSECONDS: f64 = 1e17;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// Days from 1970 to the end of the year 9999.
const LAST_DAY: i64 = 2_932_896;

/// Seconds since 1970 of a time as a number; `None` where it is not finite.
#[must_use]
pub fn seconds_of_number(number: f64) -> Option<f64> {
    let divisor = match number.abs() {
        size if !size.is_finite() => return None,
        size if size >= NANOSECONDS => 1e9,
        size if size >= MICROSECONDS => 1e6,
        size if size >= MILLISECONDS => 1e3,
        _ => 1.0,
    };
    Some(number / divisor)
}

/// Seconds since 1970, to the nearest double, of a time in ISO 8601; `None` where it is none.
#[must_use]
pub fn seconds_of_text(text: &str) -> Option<f64> {
    let mut reader = Reader { rest: text };
    let date = reader.date()? * DAY;
    if reader.rest.is_empty() {
        return Some(seconds(date));
    }
    reader.separator()?;
    let time = reader.time()?;
    let offset = reader.zone()?;
    reader.rest.is_empty().then(|| seconds(date + time - offset))
}

/// Microseconds as seconds, rounded once.
fn seconds(microseconds: i64) -> f64 {
    // Below 2^53 both are exact doubles, and a division rounds once.
    if microseconds.unsigned_abs() < 1 << 53 {
        return microseconds as f64 / SECOND as f64;
    }
    let (sign, size) = (if microseconds < 0 { "-" } else { "" }, microseconds.unsigned_abs());
    let decimal = format!("{sign}{}.{:06}", size / SECOND as u64, size % SECOND as u64);
    decimal.parse().unwrap_or(f64::NAN)
}

/// What is left of a text.
struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.rest.bytes().next()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    /// A number of exactly `count` digits, or the first so many of more.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let digits =
            self.rest.get(..count).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        self.rest = &self.rest[count..];
        digits.parse().ok()
    }

    /// Two digits below `end`.
    fn pair(&mut self, end: i64) -> Option<i64> {
        self.digits(2).filter(|&value| value < end)
    }

    /// Days since 1970.
    fn date(&mut self) -> Option<i64> {
        let year = self.digits(4).filter(|&year| year > 0)?;
        let extended = self.eat(b'-');
        if self.eat(b'W') {
            let week = self.digits(2)?;
            return day_of_week_date(year, week, self.day_of_week(extended)?);
        }
        let month = self.digits(2).filter(|month| (1..=12).contains(month))?;
        if extended && !self.eat(b'-') {
            return None;
        }
        let day = self.digits(2)?;
        (1..=days_in(year, month)).contains(&day).then(|| days(year, month, day))
    }

    /// The day after a week, Monday where none follows.
    fn day_of_week(&mut self, extended: bool) -> Option<i64> {
        let digit = |place: usize| self.rest.as_bytes().get(place).is_some_and(u8::is_ascii_digit);
        let follows = if extended { self.peek() == Some(b'-') && digit(1) && !digit(2) } else { digit(0) };
        if !follows {
            return Some(1);
        }
        if extended {
            self.eat(b'-');
        }
        self.digits(1)
    }

    fn separator(&mut self) -> Option<()> {
        let mut characters = self.rest.chars();
        let separator = characters.next()?;
        self.rest = characters.as_str();
        (!separator.is_ascii_digit()).then_some(())
    }

    /// Microseconds.
    fn time(&mut self) -> Option<i64> {
        let mut time = self.pair(24)? * 3600 * SECOND;
        let colons = self.peek() == Some(b':');
        for unit in [60 * SECOND, SECOND] {
            let more =
                if colons { self.eat(b':') } else { self.peek().is_some_and(|byte| byte.is_ascii_digit()) };
            if !more {
                return Some(time);
            }
            time += self.pair(60)? * unit;
        }
        if self.eat(b'.') || self.eat(b',') {
            let count = self.rest.bytes().take_while(u8::is_ascii_digit).count();
            let kept = count.min(6);
            time += self.digits(kept).filter(|_| count > 0)? * 10_i64.pow(6 - kept as u32);
            self.rest = &self.rest[count - kept..];
        }
        Some(time)
    }

    /// Microseconds east of UTC.
    fn zone(&mut self) -> Option<i64> {
        if self.rest.is_empty() || self.eat(b'Z') {
            Some(0)
        } else if self.eat(b'+') {
            self.time()
        } else if self.eat(b'-') {
            self.time().map(|offset| -offset)
        } else {
            None
        }
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970 to a date; years are positive.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400;
    let months: i64 = (1..month).map(|month| days_in(year, month)).sum();
    before * 365 + leap_days + months + day - 719_163
}

/// Days from 1970 to a date by its week: the first week of a year is the one with its first Thursday.
fn day_of_week_date(year: i64, week: i64, day: i64) -> Option<i64> {
    // Day 0 of 1970 was a Thursday; counted from Monday, 3.
    let weekday = |days: i64| (days + 3).rem_euclid(7);
    let first_monday = |year: i64| {
        let fourth = days(year, 1, 4);
        fourth - weekday(fourth)
    };
    let found = first_monday(year) + (week - 1) * 7 + day - 1;
    let sound = week >= 1 && (1..=7).contains(&day) && found < first_monday(year + 1) && found <= LAST_DAY;
    sound.then_some(found)
}

#[cfg(test)]
mod tests {
    use super::super::time::date;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_have_the_unit_of_their_size() {
        for (number, expected) in [
            (1.5, 1.5),
            (-1.0, -1.0),
            (1_683_554_160.0, 1_683_554_160.0),
            (1_683_554_160_000.0, 1_683_554_160.0),
            (1_683_554_160_000_000.0, 1_683_554_160.0),
            (1_683_554_160_000_000_000.0, 1_683_554_160.0),
            (-1_683_554_160_000.0, -1_683_554_160.0),
        ] {
            assert_eq!(seconds_of_number(number), Some(expected));
        }
        assert_eq!(seconds_of_number(f64::NAN), None);
        assert_eq!(seconds_of_number(f64::INFINITY), None);
    }

    #[test]
    fn texts_are_iso_8601() {
        for (text, expected) in [
            ("1970-01-01", 0.0),
            ("19700102", 86_400.0),
            ("1970-W01", -259_200.0),
            ("1970-W01-4", 0.0),
            ("1970W014", 0.0),
            ("1970-W01-12", -259_200.0 + 43_200.0),
            ("2015-W53-7", 1_451_779_200.0),
            ("2023-05-08T13:56:00+00:00", 1_683_554_160.0),
            ("20230508T155600.0+0200", 1_683_554_160.0),
            ("2023-05-08 13:56", 1_683_554_160.0),
            ("2023-05-08é13", 1_683_550_800.0),
            ("1970-01-01T00:00:00,25Z", 0.25),
            ("1970-01-01T00:00:00.1234567", 0.123_456),
            ("1970-01-01T00:00:00+00:00:00.5", -0.5),
            ("9999-12-31T23:59:59.999999", 253_402_300_799.999_999),
            ("0001-01-01", -62_135_596_800.0),
        ] {
            assert_eq!(seconds_of_text(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2023",
            "2023-05",
            "2023-13-01",
            "2023-02-29",
            "2023-04-31",
            "0000-01-01",
            "2023-5-8",
            "2023-0508",
            "202305-08",
            "2023-W00",
            "2023-W53",
            "2023-W01-8",
            "2023-W01-0",
            "9999-W52-6",
            "2023-05-08T",
            "2023-05-08 ",
            "2023-05-08T24:00",
            "2023-05-08T12:60",
            "2023-05-08T12:00:60",
            "2023-05-08T1",
            "2023-05-08T12:0",
            "2023-05-08T1230:00",
            "2023-05-08T12:00:00.",
            "2023-05-08T12z",
            "2023-05-08T12Z ",
            "2023-05-08T12+",
            "2023-05-08T12+24",
            "２023-05-08",
            "+023-05-08",
            // What datetime.fromisoformat reads all the same.
            "2023-05-08T12.5",
            "2023-05-08T12:30.5",
            "2023-05-08T12:+05:00",
            "2023-05-08T120+05:00",
            "2023-05-08T12+05:99",
            "2023-05-08T12:00:00:5",
            "2023-05-08T1200005",
            "20230508123",
            "2023W01123",
            "2023-05-08T12\0",
        ] {
            assert_eq!(seconds_of_text(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_date_reads_back(day in -719_162i64..=LAST_DAY) {
            let found = date(day as f64 * 86_400.0).expect("a date");
            let text = format!("{:04}-{:02}-{:02}", found.year, found.month, found.day);
            prop_assert_eq!(seconds_of_text(&text), Some(day as f64 * 86_400.0));
        }

        #[test]
        fn no_text_panics(text in "[0-9TWZ:+., -]{0,30}", odd in any::<String>()) {
            let _ = seconds_of_text(&text);
            let _ = seconds_of_text(&odd);
            let _ = seconds_of_text(&format!("2023-05-08{text}"));
        }
    }
}
