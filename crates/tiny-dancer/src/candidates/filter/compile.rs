//! An expression, checked → conditions.

use std::cmp::Ordering;

use super::expression::Expression;
use super::{Condition, Edge, OwnNumber, Subject};
use crate::candidates::moment::{seconds_of_number, seconds_of_text};
use crate::candidates::properties::{Number, Own, path_text};
use crate::error::{Error, ErrorKind, Result};
use crate::number::of_double;
use crate::sort;

/// Deepest nesting of `$and`, `$or`, `$nor` and `$not`.
const DEEPEST: usize = 32;
/// Most conditions of one filter.
const MOST_CONDITIONS: usize = 1_000;
/// Most values of one filter: all its lists together.
const MOST_VALUES: usize = 100_000;

const OPERATORS: &str = "$eq, $ne, $in, $nin, $gt, $gte, $lt, $lte, $exists";
const WORDS: &str = "$and, $or, $nor, $not, $id, $group, $namespace, $created_at, $expires_at, $success_rate, $trials, \
                     $confidence";
const ONE_VALUE: &str = "give text, a number, true or false";

#[cold]
#[inline(never)]
fn refused(field: &str, value: impl std::fmt::Display, remedy: impl Into<String>) -> Error {
    Error::new(ErrorKind::CandidateInvalid, field, value, remedy)
}

/// How much there is of one filter so far.
#[derive(Default)]
pub(super) struct Compiler {
    conditions: usize,
    values: usize,
}

/// Kinds of subjects differ in what their values are.
#[derive(Clone, Copy)]
enum Takes {
    Values,
    Numbers,
    Moments,
}

impl Compiler {
    /// The condition that an object says: all of its members.
    pub(super) fn object(&mut self, given: Expression, field: &str, depth: usize) -> Result<Condition> {
        let Expression::Object(members) = given else {
            return Err(refused(field, given.what(), "give an object of conditions by key"));
        };
        if depth > DEEPEST {
            return Err(refused(
                field,
                "nested too deeply",
                format!("nest conditions at most {DEEPEST} deep"),
            ));
        }
        twice(&members, field)?;
        let mut all = Vec::with_capacity(members.len());
        for (name, value) in members {
            let field = format!("{field}.{name}");
            let one = match &*name {
                "$and" => Condition::all(self.list(value, &field, depth)?),
                "$or" => Condition::any(self.list(value, &field, depth)?),
                "$nor" => Condition::any(self.list(value, &field, depth)?).not(),
                "$not" => self.object(value, &field, depth + 1)?.not(),
                "$namespace" => self.namespace(value, &field)?,
                _ => {
                    let (subject, takes) = subject(name, &field)?;
                    self.key(&subject, takes, value, &field)?
                }
            };
            all.push(one);
        }
        Ok(Condition::all(all))
    }

    fn list(&mut self, given: Expression, field: &str, depth: usize) -> Result<Vec<Condition>> {
        match given {
            Expression::List(items) if !items.is_empty() => {
                let one = |(at, item)| {
                    let field = format!("{field}[{at}]");
                    self.count(&field)?;
                    self.object(item, &field, depth + 1)
                };
                items.into_iter().enumerate().map(one).collect()
            }
            Expression::List(_) => Err(refused(field, "an empty list", "give at least one condition")),
            other => Err(refused(field, other.what(), "give a list of conditions")),
        }
    }

    fn count(&mut self, field: &str) -> Result<()> {
        self.conditions += 1;
        if self.conditions > MOST_CONDITIONS {
            let remedy = "give fewer; $in takes any number of values";
            return Err(refused(field, format!("more than {MOST_CONDITIONS} conditions"), remedy));
        }
        Ok(())
    }

    /// What is said of one key: a value, a list of values, or operators.
    fn key(&mut self, subject: &Subject, takes: Takes, given: Expression, field: &str) -> Result<Condition> {
        let Expression::Object(operators) = given else {
            self.count(field)?;
            return match given {
                Expression::List(items) => self.any_of(subject, takes, items, field),
                one => self.any_of(subject, takes, vec![one], field),
            };
        };
        let mut all = Vec::new();
        for (operator, value) in self.operators(operators, field)? {
            let field = format!("{field}.{operator}");
            let side = if operator.starts_with("$g") { Ordering::Greater } else { Ordering::Less };
            all.push(match (&*operator, value) {
                ("$eq" | "$ne", Expression::List(_)) => {
                    return Err(refused(&field, "a list", "give one value; $in and $nin take a list"));
                }
                ("$eq", value) => self.any_of(subject, takes, vec![value], &field)?,
                ("$ne", value) => self.any_of(subject, takes, vec![value], &field)?.not(),
                ("$in", Expression::List(items)) => self.any_of(subject, takes, items, &field)?,
                ("$nin", Expression::List(items)) => self.any_of(subject, takes, items, &field)?.not(),
                ("$in" | "$nin", other) => {
                    return Err(refused(&field, other.what(), "give a list of values"));
                }
                ("$gt" | "$gte" | "$lt" | "$lte", value) => {
                    let equal = operator.ends_with('e');
                    match edge(takes, value, &field)? {
                        Some(edge) => Condition::Beyond { subject: subject.clone(), side, equal, edge },
                        None => Condition::any(Vec::new()),
                    }
                }
                ("$exists", value) => exists(subject.clone(), &value, &field)?,
                _ => return Err(unknown(&field)),
            });
        }
        Ok(Condition::all(all))
    }

    /// Members that are operators, each once.
    fn operators(
        &mut self,
        members: Vec<(String, Expression)>,
        field: &str,
    ) -> Result<Vec<(String, Expression)>> {
        twice(&members, field)?;
        if members.is_empty() {
            return Err(refused(field, "an object without operators", format!("operators are {OPERATORS}")));
        }
        for (name, _) in &members {
            self.count(field)?;
            if !name.starts_with('$') {
                let remedy = format!("a property of an object is the key \"a.b\"; operators are {OPERATORS}");
                return Err(refused(field, format!("the key {name} beside operators"), remedy));
            }
        }
        Ok(members)
    }

    fn any_of(
        &mut self,
        subject: &Subject,
        takes: Takes,
        items: Vec<Expression>,
        field: &str,
    ) -> Result<Condition> {
        self.values += items.len();
        if self.values > MOST_VALUES {
            let found = format!("more than {MOST_VALUES} values");
            return Err(refused(field, found, "give fewer"));
        }
        let mut texts: Vec<Box<str>> = Vec::with_capacity(items.len());
        for item in items {
            let text = match (takes, item) {
                (_, Expression::Null) => continue,
                (Takes::Values, Expression::Boolean(value)) => value.to_string(),
                (Takes::Values, Expression::Number(text) | Expression::Text(text)) => text,
                (Takes::Values, other) => return Err(refused(field, other.what(), ONE_VALUE)),
                (takes, other) => number(takes, &other, field)?,
            };
            texts.push(text.into());
        }
        sort::unstable(&mut texts);
        texts.dedup();
        Ok(match subject {
            Subject::Number(own) => {
                let numbers = texts.iter().map(|text| Number::new(&**text)).collect();
                Condition::Numbers { subject: *own, numbers }
            }
            subject => Condition::AnyOf { subject: subject.clone(), texts },
        })
    }

    /// A list of texts: the beginning of the namespace, or with `$eq` and `$ne` all of it.
    fn namespace(&mut self, given: Expression, field: &str) -> Result<Condition> {
        let Expression::Object(operators) = given else {
            self.count(field)?;
            return self.path(Own::Within, given, field);
        };
        let mut all = Vec::new();
        for (operator, value) in self.operators(operators, field)? {
            let field = format!("{field}.{operator}");
            all.push(match &*operator {
                "$eq" => self.path(Own::Namespace, value, &field)?,
                "$ne" => self.path(Own::Namespace, value, &field)?.not(),
                "$exists" => exists(Subject::Own(Own::Namespace), &value, &field)?,
                _ => {
                    let remedy = "give a list of texts, the beginning of the namespace; operators are $eq, $ne, $exists";
                    return Err(refused(&field, "no operator of $namespace", remedy));
                }
            });
        }
        Ok(Condition::all(all))
    }

    fn path(&mut self, own: Own, given: Expression, field: &str) -> Result<Condition> {
        let items = match given {
            Expression::Null => Vec::new(),
            Expression::List(items) => items,
            other => return Err(refused(field, other.what(), "give a list of texts")),
        };
        self.values += items.len();
        if self.values > MOST_VALUES {
            return Err(refused(field, format!("more than {MOST_VALUES} values"), "give fewer"));
        }
        let part = |item: &Expression| match item {
            Expression::Text(text) => Ok(path_text([&**text])),
            other => Err(refused(field, other.what(), "give a list of texts")),
        };
        let path: String = items.iter().map(part).collect::<Result<_>>()?;
        let texts = if items.is_empty() { Vec::new() } else { vec![path.into()] };
        Ok(Condition::AnyOf { subject: Subject::Own(own), texts })
    }
}

fn twice(members: &[(String, Expression)], field: &str) -> Result<()> {
    let mut names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
    sort::unstable(&mut names);
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            Err(refused(&format!("{field}.{}", pair[0]), "there twice", "give it once; $and takes both"))
        }
        None => Ok(()),
    }
}

fn subject(name: String, field: &str) -> Result<(Subject, Takes)> {
    Ok(match &*name {
        "$id" => (Subject::Id, Takes::Values),
        "$group" => (Subject::Own(Own::Group), Takes::Values),
        "$created_at" => (Subject::Number(OwnNumber::CreatedAt), Takes::Moments),
        "$expires_at" => (Subject::Number(OwnNumber::ExpiresAt), Takes::Moments),
        "$success_rate" => (Subject::Number(OwnNumber::SuccessRate), Takes::Numbers),
        "$trials" => (Subject::Number(OwnNumber::Trials), Takes::Numbers),
        "$confidence" => (Subject::Number(OwnNumber::Confidence), Takes::Numbers),
        _ if name.starts_with('$') => return Err(unknown(field)),
        _ => (Subject::Property(name.into()), Takes::Values),
    })
}

#[cold]
#[inline(never)]
fn unknown(field: &str) -> Error {
    refused(field, "an unknown word", format!("words are {WORDS}; operators of a key are {OPERATORS}"))
}

fn exists(subject: Subject, given: &Expression, field: &str) -> Result<Condition> {
    match given {
        Expression::Boolean(true) => Ok(Condition::Exists { subject }),
        Expression::Boolean(false) => Ok(Condition::Exists { subject }.not()),
        other => Err(refused(field, other.what(), "give true or false")),
    }
}

/// The text of a number of the candidate's own.
fn number(takes: Takes, given: &Expression, field: &str) -> Result<String> {
    match (takes, given) {
        (Takes::Moments, Expression::Text(text)) => {
            let remedy = "give seconds since 1970, or ISO 8601";
            let seconds = seconds_of_text(text).ok_or_else(|| refused(field, text, remedy))?;
            of_double(seconds, str::to_owned).ok_or_else(|| refused(field, text, remedy))
        }
        (Takes::Moments, Expression::Number(text)) => {
            let seconds = text.parse().ok().and_then(seconds_of_number);
            let remedy = "give seconds since 1970, or ISO 8601";
            seconds
                .and_then(|seconds| of_double(seconds, str::to_owned))
                .ok_or_else(|| refused(field, text, remedy))
        }
        (_, Expression::Number(text)) => Ok(text.clone()),
        (_, other) => Err(refused(field, other.what(), "give a number")),
    }
}

/// What is compared with; `None` for null.
fn edge(takes: Takes, given: Expression, field: &str) -> Result<Option<Edge>> {
    Ok(match (takes, given) {
        (_, Expression::Null) => None,
        (Takes::Values, Expression::Number(text)) => Some(Edge::Number(Number::new(text))),
        (Takes::Values, Expression::Text(text)) => Some(Edge::Text(text.into())),
        (Takes::Values, other) => return Err(refused(field, other.what(), "give a number or a text")),
        (takes, other) => Some(Edge::Number(Number::new(number(takes, &other, field)?))),
    })
}
