//! Filters: which candidates may be given at all. A filter is a boundary between users, so what it says is exact, and
//! what it does not say plainly is refused.
//!
//! A filter is an object. Each of its members is a condition, and all have to hold; without any, everything passes.
//!
//! * `key: value`: the candidate has the value. Values are compared by their text ([`super::Metadata`]): `1` is `1.0`
//!   and `"1"`. Of a candidate with several values any will do. `key: [values]`: it has any of them. Null, or an empty
//!   list, is nobody's.
//! * `key: {operator: …}`, every operator on its own: `$eq`, `$ne` a value; `$in`, `$nin` a list of them; `$gt`, `$gte`,
//!   `$lt`, `$lte` a number, compared with numbers, or a text, compared with texts by code point; `$exists` true or
//!   false. `$ne` and `$nin` are what `$eq` and `$in` leave, so candidates without the key pass.
//! * `$and`, `$or`, `$nor`: a list of filters, not empty. `$not`: a filter. `$nor` and `$not` are exact complements too.
//!
//! A key is a property's; what lies in an object has both names with a point between, and a property exists where
//! anything below it does. The candidate's own are `$id`, `$group`, `$namespace` (a list of texts: how it begins; with
//! `$eq` and `$ne` the whole), and the numbers `$created_at`, `$expires_at` (as a candidate's times are written),
//! `$success_rate`, `$trials`, `$confidence`. Rates and counts are kept, and compared, in single precision. A candidate
//! without the value passes no comparison.

mod compile;
mod expression;

use std::cmp::Ordering;
use std::fmt;

use super::columns::Columns;
use super::properties::{Key, Number, Own, each_of};
use super::set::CandidateSet;
use crate::error::Result;
use crate::sort;
use compile::Compiler;
pub use expression::Expression;

/// What a condition is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Subject {
    Property(Box<str>),
    Own(Own),
    Id,
    Number(OwnNumber),
}

/// Numbers that a candidate has besides its properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum OwnNumber {
    CreatedAt,
    ExpiresAt,
    SuccessRate,
    Trials,
    Confidence,
}

/// What is compared with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Edge {
    Number(Number),
    Text(Box<str>),
}

/// A condition. Those of a list are sorted, so that filters that say the same in another order are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    AnyOf { subject: Subject, texts: Vec<Box<str>> },
    Numbers { subject: OwnNumber, numbers: Vec<Number> },
    Beyond { subject: Subject, side: Ordering, equal: bool, edge: Edge },
    Exists { subject: Subject },
}

impl Condition {
    fn list(mut conditions: Vec<Self>, of: impl FnOnce(Vec<Self>) -> Self) -> Self {
        sort::unstable(&mut conditions);
        conditions.dedup();
        match <[Self; 1]>::try_from(conditions) {
            Ok([one]) => one,
            Err(conditions) => of(conditions),
        }
    }

    fn all(conditions: Vec<Self>) -> Self {
        Self::list(conditions, Self::All)
    }

    fn any(conditions: Vec<Self>) -> Self {
        Self::list(conditions, Self::Any)
    }

    fn not(self) -> Self {
        Self::Not(Box::new(self))
    }
}

/// A filter, ready to be asked by many threads. Equal to one that says the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    condition: Condition,
}

/// Buffers of one thread: one bit a row, bit `row % 64` of word `row / 64`.
#[derive(Debug, Default)]
pub(crate) struct FilterScratch {
    /// The rows that pass.
    pub passing: Vec<u64>,
    spare: Vec<Vec<u64>>,
}

impl FilterScratch {
    fn with<T>(&mut self, work: impl FnOnce(&mut Self, &mut Vec<u64>) -> T) -> T {
        let mut bits = self.spare.pop().unwrap_or_default();
        let result = work(self, &mut bits);
        self.spare.push(bits);
        result
    }
}

impl Filter {
    /// Checks and compiles an expression; `field` is what errors call it.
    ///
    /// # Errors
    /// `CandidateInvalid`, naming the place: what is no filter.
    pub fn new(expression: Expression, field: &str) -> Result<Self> {
        Ok(Self { condition: Compiler::default().object(expression, field, 0)? })
    }

    /// What passes both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self { condition: Condition::all(vec![self.condition.clone(), other.condition.clone()]) }
    }

    /// Leaves in `scratch` which rows of `set` pass.
    pub(crate) fn evaluate(&self, set: &CandidateSet, scratch: &mut FilterScratch) {
        let mut passing = std::mem::take(&mut scratch.passing);
        evaluate(&self.condition, set, scratch, &mut passing);
        scratch.passing = passing;
    }
}

fn fill(bits: &mut Vec<u64>, rows: usize, all: bool) {
    bits.clear();
    bits.resize(rows.div_ceil(64), if all { u64::MAX } else { 0 });
    if let (Some(last), true) = (bits.last_mut(), !rows.is_multiple_of(64)) {
        *last &= (1 << (rows % 64)) - 1;
    }
}

fn evaluate(condition: &Condition, set: &CandidateSet, scratch: &mut FilterScratch, bits: &mut Vec<u64>) {
    let rows = set.len();
    match condition {
        Condition::All(conditions) => {
            fill(bits, rows, true);
            for condition in conditions {
                scratch.with(|scratch, other| {
                    evaluate(condition, set, scratch, other);
                    bits.iter_mut().zip(&*other).for_each(|(word, other)| *word &= other);
                });
            }
        }
        Condition::Any(conditions) => {
            fill(bits, rows, false);
            for condition in conditions {
                scratch.with(|scratch, other| {
                    evaluate(condition, set, scratch, other);
                    bits.iter_mut().zip(&*other).for_each(|(word, other)| *word |= other);
                });
            }
        }
        Condition::Not(condition) => scratch.with(|scratch, other| {
            evaluate(condition, set, scratch, other);
            fill(bits, rows, true);
            bits.iter_mut().zip(&*other).for_each(|(word, other)| *word &= !other);
        }),
        leaf => {
            fill(bits, rows, false);
            add(leaf, set, bits);
        }
    }
}

/// Adds to `bits` the rows that one condition lets pass.
fn add(leaf: &Condition, set: &CandidateSet, bits: &mut [u64]) {
    let columns = set.columns();
    match leaf {
        Condition::AnyOf { subject: Subject::Id, texts } => {
            for row in texts.iter().filter_map(|text| set.row(text)) {
                bits[row / 64] |= 1 << (row % 64);
            }
        }
        Condition::AnyOf { subject, texts } => {
            if let Some(key) = key(subject) {
                columns.properties.any_of(key, texts.iter().map(|text| &**text), bits);
            }
        }
        Condition::Numbers { subject, numbers } => {
            for number in numbers {
                own_number(columns, *subject, number.value, Ordering::is_eq, bits);
            }
        }
        Condition::Beyond { subject, side, equal, edge } => {
            let passes = |order: Ordering| order == *side || (*equal && order.is_eq());
            match (subject, edge) {
                (Subject::Number(own), Edge::Number(number)) => {
                    own_number(columns, *own, number.value, passes, bits);
                }
                (Subject::Id, Edge::Text(text)) => {
                    each_where(set.ids(), |id| passes((**id).cmp(&**text)), bits);
                }
                (subject, edge) => {
                    if let Some(key) = key(subject) {
                        match edge {
                            Edge::Number(number) => {
                                columns.properties.numbers(key, *side, number, *equal, bits);
                            }
                            Edge::Text(text) => columns.properties.texts(key, *side, text, *equal, bits),
                        }
                    }
                }
            }
        }
        Condition::Exists { subject: Subject::Id } => each_where(set.ids(), |_| true, bits),
        Condition::Exists { subject: Subject::Number(own) } => own_number(columns, *own, 0.0, |_| true, bits),
        Condition::Exists { subject } => {
            if let Some(key) = key(subject) {
                columns.properties.exists(key, bits);
            }
        }
        Condition::All(_) | Condition::Any(_) | Condition::Not(_) => {}
    }
}

fn key(subject: &Subject) -> Option<Key<'_>> {
    match subject {
        Subject::Property(name) => Some(Key::Property(name)),
        Subject::Own(own) => Some(Key::Own(*own)),
        Subject::Id | Subject::Number(_) => None,
    }
}

fn each_where<T>(column: &[T], passes: impl Fn(&T) -> bool, bits: &mut [u64]) {
    for (word, values) in bits.iter_mut().zip(column.chunks(64)) {
        for (bit, value) in values.iter().enumerate() {
            *word |= u64::from(passes(value)) << bit;
        }
    }
}

/// Adds the rows whose own number is in the asked order to `with`; NaN, which is unknown, is in none.
fn own_number(
    columns: &Columns,
    own: OwnNumber,
    with: f64,
    passes: impl Fn(Ordering) -> bool,
    bits: &mut [u64],
) {
    // Rounding keeps the order, so that what was rounded is found by what it was rounded from.
    let single = |column: &[f32], bits: &mut [u64]| {
        let with = with as f32;
        each_where(column, |value| value.partial_cmp(&with).is_some_and(&passes), bits);
    };
    let double = |column: &[f64], bits: &mut [u64]| {
        each_where(column, |value| value.partial_cmp(&with).is_some_and(&passes), bits);
    };
    match own {
        OwnNumber::CreatedAt => double(&columns.created_at, bits),
        OwnNumber::ExpiresAt => double(&columns.expires_at, bits),
        OwnNumber::SuccessRate => single(&columns.success_rate, bits),
        OwnNumber::Trials => single(&columns.trials, bits),
        OwnNumber::Confidence => single(&columns.confidence, bits),
    }
}

impl CandidateSet {
    /// Which rows pass a filter.
    #[must_use]
    pub fn matching(&self, filter: &Filter) -> Vec<bool> {
        let mut scratch = FilterScratch::default();
        filter.evaluate(self, &mut scratch);
        let mut flags = vec![false; self.len()];
        each_of(&scratch.passing, |row| flags[row as usize] = true);
        flags
    }
}

/// The filter as JSON, in one form for all filters that say the same.
impl fmt::Display for Filter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt(out)
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn list<T>(items: &[T], write: impl Fn(&T) -> String) -> String {
    format!("[{}]", items.iter().map(write).collect::<Vec<_>>().join(", "))
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&match self {
            Self::Property(name) => quoted(name),
            Self::Own(Own::Group) => quoted("$group"),
            Self::Own(Own::Namespace | Own::Within) => quoted("$namespace"),
            Self::Id => quoted("$id"),
            Self::Number(own) => quoted(own.name()),
        })
    }
}

impl OwnNumber {
    fn name(self) -> &'static str {
        match self {
            Self::CreatedAt => "$created_at",
            Self::ExpiresAt => "$expires_at",
            Self::SuccessRate => "$success_rate",
            Self::Trials => "$trials",
            Self::Confidence => "$confidence",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(conditions) if conditions.is_empty() => out.write_str("{}"),
            Self::All(conditions) => write!(out, "{{\"$and\": {}}}", list(conditions, Self::to_string)),
            // Nothing passes: `$or` of an empty list is refused.
            Self::Any(conditions) if conditions.is_empty() => out.write_str("{\"$id\": []}"),
            Self::Any(conditions) => write!(out, "{{\"$or\": {}}}", list(conditions, Self::to_string)),
            Self::Not(condition) => write!(out, "{{\"$not\": {condition}}}"),
            Self::AnyOf { subject: Subject::Own(own @ (Own::Namespace | Own::Within)), texts } => {
                let parts: Vec<&str> = texts.iter().flat_map(|text| path_parts(text)).collect();
                let path = list(&parts, |part| quoted(part));
                match own {
                    Own::Within => write!(out, "{{\"$namespace\": {path}}}"),
                    _ => write!(out, "{{\"$namespace\": {{\"$eq\": {path}}}}}"),
                }
            }
            Self::AnyOf { subject, texts } => match &**texts {
                [one] => write!(out, "{{{subject}: {}}}", quoted(one)),
                texts => write!(out, "{{{subject}: {}}}", list(texts, |text| quoted(text))),
            },
            Self::Numbers { subject, numbers } => {
                let numbers = list(numbers, |number| number.text.to_string());
                write!(out, "{{\"{}\": {numbers}}}", subject.name())
            }
            Self::Beyond { subject, side, equal, edge } => {
                let (word, equal) = (if side.is_gt() { "gt" } else { "lt" }, if *equal { "e" } else { "" });
                let edge = match edge {
                    Edge::Number(number) => number.text.to_string(),
                    Edge::Text(text) => quoted(text),
                };
                write!(out, "{{{subject}: {{\"${word}{equal}\": {edge}}}}}")
            }
            Self::Exists { subject } => write!(out, "{{{subject}: {{\"$exists\": true}}}}"),
        }
    }
}

/// The parts of [`super::properties::path_text`].
fn path_parts(mut text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = text.split_once(':') {
        let (part, rest) = rest.split_at(length.parse().unwrap_or(0));
        parts.push(part);
        text = rest;
    }
    parts
}
