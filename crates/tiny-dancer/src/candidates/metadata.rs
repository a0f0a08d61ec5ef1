//! Properties of candidates and requests, in the one form in which they are compared, whatever language wrote them.
//!
//! A property is a key with texts. A text stays as it is; a number has the form of `number.rs`, so `1.0` and `1` are
//! both `1`; a boolean is `true` or `false`; null is no value; a list is the values of its items. So `1`, `1.0` and
//! `"1"` are the same, and `true` and `"true"`; `true` and `1` are not. What lies in an object that is a value, or an
//! item of a list, has the keys of both with a point between: `{"a": {"b": 1}}` is `a.b`. What a value was written as is
//! kept beside its text: only numbers are in the order of numbers.

use crate::error::{Error, ErrorKind, Result};
use crate::number;

/// One value, as a caller's language has it. (Null is none; a list is several.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text.
    Text(&'a str),
    /// A truth value.
    Boolean(bool),
    /// A double.
    Number(f64),
    /// A number as JSON writes it, of any size: a language's whole numbers are written so.
    Written(&'a str),
}

impl Value<'_> {
    fn kind(self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Boolean(_) => Kind::Boolean,
            Self::Number(_) | Self::Written(_) => Kind::Number,
        }
    }

    /// Hands the form in which the value is compared to `read`.
    ///
    /// # Errors
    /// `CandidateInvalid` about `field`: a number that is not finite.
    pub fn read<T>(self, field: &str, read: impl FnOnce(&str) -> T) -> Result<T> {
        let endless = |value: &dyn std::fmt::Display| {
            Error::new(ErrorKind::CandidateInvalid, field, value, "give a finite number, or leave it out")
        };
        match self {
            Self::Text(text) => Ok(read(text)),
            Self::Boolean(value) => Ok(read(if value { "true" } else { "false" })),
            Self::Number(value) => number::of_double(value, read).ok_or_else(|| endless(&value)),
            Self::Written(written) => number::canonical(written, read).ok_or_else(|| endless(&written)),
        }
    }
}

/// Deepest nesting of lists and objects in metadata.
pub const DEEPEST_METADATA: usize = 64;

/// What a value was written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A text.
    Text,
    /// A truth value.
    Boolean,
    /// A number.
    Number,
}

/// One value in the form in which it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scalar<'a> {
    /// What it was written as.
    pub kind: Kind,
    /// What it is compared by.
    pub text: &'a str,
}

impl<'a> From<&'a str> for Scalar<'a> {
    fn from(text: &'a str) -> Self {
        Self { kind: Kind::Text, text }
    }
}

/// Properties: keys, each with its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    properties: Vec<(String, Vec<(Kind, String)>)>,
}

impl Metadata {
    /// Begins a property; values that follow are its.
    pub fn key(&mut self, key: &str) {
        self.properties.push((key.to_owned(), Vec::new()));
    }

    /// Adds a value to the property begun last.
    ///
    /// # Errors
    /// `CandidateInvalid`, naming the key: a number that is not finite.
    pub fn value(&mut self, value: Value) -> Result<()> {
        if let Some((key, values)) = self.properties.last_mut() {
            values.push((value.kind(), value.read(key, str::to_owned)?));
        }
        Ok(())
    }

    /// One pair a value: what [`super::Candidate`] takes.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&str, Scalar<'_>)> {
        let mut pairs = Vec::new();
        for (key, values) in &self.properties {
            pairs.extend(values.iter().map(|(kind, text)| (&**key, Scalar { kind: *kind, text })));
        }
        pairs
    }

    /// The same as texts: what [`super::Query`] takes.
    #[must_use]
    pub fn texts(&self) -> Vec<(&str, &str)> {
        self.pairs().into_iter().map(|(key, value)| (key, value.text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(value: Value) -> Result<String> {
        value.read("k", str::to_owned)
    }

    #[test]
    fn every_way_to_write_a_value_has_one_form() {
        for (value, expected) in [
            (Value::Text("1.0"), "1.0"),
            (Value::Text(""), ""),
            (Value::Boolean(true), "true"),
            (Value::Number(1.0), "1"),
            (Value::Number(-0.0), "0"),
            (Value::Number(1e21), "1e+21"),
            (Value::Written("1"), "1"),
            (Value::Written("1e0"), "1"),
            (Value::Written("9223372036854775808"), "9223372036854775808"),
        ] {
            assert_eq!(form(value).as_deref(), Ok(expected), "{value:?}");
        }
        for value in [Value::Number(f64::NAN), Value::Number(f64::NEG_INFINITY), Value::Written("1e999")] {
            assert_eq!(form(value).map_err(|error| (error.kind, error.field)), {
                Err((ErrorKind::CandidateInvalid, "k".to_owned()))
            });
        }
    }

    #[test]
    fn a_key_keeps_all_its_values() {
        let mut metadata = Metadata::default();
        for (key, values) in [("none", &[][..]), ("b", &["y"]), ("a", &["x", "z"])] {
            metadata.key(key);
            for value in values {
                metadata.value(Value::Text(value)).expect("a text");
            }
        }
        assert_eq!(metadata.texts(), [("b", "y"), ("a", "x"), ("a", "z")]);
    }
}
