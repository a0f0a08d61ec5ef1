//! A filter as it is given, in no language's form.

use crate::candidates::metadata::Value;
use crate::error::Result;

/// What JSON can say, numbers in the form in which they are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// No value.
    Null,
    /// A truth value.
    Boolean(bool),
    /// A number.
    Number(String),
    /// A text.
    Text(String),
    /// Several.
    List(Vec<Expression>),
    /// Members with their names, in the order given.
    Object(Vec<(String, Expression)>),
}

impl Expression {
    /// One value.
    ///
    /// # Errors
    /// `CandidateInvalid` about `field`: a number that is not finite.
    pub fn value(value: Value, field: &str) -> Result<Self> {
        Ok(match value {
            Value::Text(text) => Self::Text(text.to_owned()),
            Value::Boolean(value) => Self::Boolean(value),
            Value::Number(_) | Value::Written(_) => Self::Number(value.read(field, str::to_owned)?),
        })
    }

    /// What it is, for errors.
    pub(super) fn what(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "true or false",
            Self::Number(number) => number,
            Self::Text(text) => text,
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}
