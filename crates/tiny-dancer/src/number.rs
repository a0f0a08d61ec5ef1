//! The one form in which a number counts as text, whatever language wrote it.
//!
//! * A whole number that is written without point or exponent keeps all its digits: `9007199254740993` stays itself,
//!   so that identifiers in metadata stay apart. `-0` is `0`.
//! * Any other number is read as a double and written as ECMAScript's `Number::toString` writes it (ECMA-262,
//!   section 6.1.6.1.20; RFC 8785 section 3.2.2.3): the shortest digits that read back as the same double, without
//!   an exponent from 1e-6 up to 1e21. `1.0`, `1e0` and `1` are all `1`.
//! * What is no finite double (`1e999`) has no form.

use std::fmt::Write;

/// Longest form of a double: sign, `0.`, five zeros, 17 digits.
const LONGEST: usize = 32;

/// Text of at most [`LONGEST`] bytes on the stack.
struct Short {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Short {
    fn new() -> Self {
        Self { bytes: [0; LONGEST], length: 0 }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Hands the canonical form of the JSON number `written` to `read`; `None` where it is beyond any double.
pub(crate) fn canonical<T>(written: &str, read: impl FnOnce(&str) -> T) -> Option<T> {
    let whole = written.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if whole {
        return Some(read(if written == "-0" { "0" } else { written }));
    }
    let value: f64 = written.parse().ok()?;
    of_double(value, read)
}

/// Hands the canonical form of a double to `read`; `None` where it is not finite.
pub fn of_double<T>(value: f64, read: impl FnOnce(&str) -> T) -> Option<T> {
    if !value.is_finite() {
        return None;
    }
    let mut out = Short::new();
    ecmascript(value, &mut out).ok()?;
    Some(read(out.as_str()))
}

fn ecmascript(value: f64, out: &mut Short) -> std::fmt::Result {
    if value == 0.0 {
        return out.write_str("0");
    }
    if value < 0.0 {
        out.write_str("-")?;
    }
    // Rust writes the shortest digits that read back as the same double: d.ddde±x.
    let mut shortest = Short::new();
    write!(shortest, "{:e}", value.abs())?;
    let (mantissa, exponent) = shortest.as_str().split_once('e').ok_or(std::fmt::Error)?;
    let exponent: i32 = exponent.parse().map_err(|_| std::fmt::Error)?;
    let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = (first.len() + rest.len()) as i32;
    // The decimal point stands after so many digits.
    let point = exponent + 1;
    let zeros = |count: i32, out: &mut Short| (0..count).try_for_each(|_| out.write_str("0"));
    if digits <= point && point <= 21 {
        write!(out, "{first}{rest}")?;
        zeros(point - digits, out)
    } else if 0 < point && point <= 21 {
        let split = point as usize - 1;
        write!(out, "{first}{}.{}", &rest[..split], &rest[split..])
    } else if -6 < point && point <= 0 {
        out.write_str("0.")?;
        zeros(-point, out)?;
        write!(out, "{first}{rest}")
    } else {
        out.write_str(first)?;
        if !rest.is_empty() {
            write!(out, ".{rest}")?;
        }
        write!(out, "e{}{}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn form(written: &str) -> Option<String> {
        canonical(written, str::to_owned)
    }

    #[test]
    fn numbers_have_the_form_that_ecmascript_gives_them() {
        for (written, expected) in [
            ("1.0", "1"),
            ("1e0", "1"),
            ("100", "100"),
            ("1e2", "100"),
            ("-0.0", "0"),
            ("-0", "0"),
            ("0.1", "0.1"),
            ("123.456", "123.456"),
            ("1.5e3", "1500"),
            ("0.000001", "0.000001"),
            ("1e-7", "1e-7"),
            ("1.25e-7", "1.25e-7"),
            ("1e20", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("1.5e300", "1.5e+300"),
            ("-2.50", "-2.5"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("9007199254740993", "9007199254740993"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
        ] {
            assert_eq!(form(written).as_deref(), Some(expected), "{written}");
        }
        assert_eq!(form("1e999"), None);
        assert_eq!(of_double(f64::NAN, str::len), None);
    }

    proptest! {
        #[test]
        fn the_form_reads_back_as_the_same_number(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            let text = of_double(value, str::to_owned).expect("finite");
            prop_assert_eq!(text.parse::<f64>(), Ok(value));
            prop_assert_eq!(form(&format!("{value:e}")), Some(text));
        }
    }
}
