//! JSON → candidates and queries, each mistake named by its place.

use crate::candidates::candidate::Candidate;
use crate::candidates::filter::{Expression, Filter};
use crate::candidates::matrix::MOST_DIMENSIONS;
use crate::candidates::metadata::{DEEPEST_METADATA, Metadata, Scalar, Value};
use crate::candidates::moment::{seconds_of_number, seconds_of_text};
use crate::error::{Error, ErrorKind, Result};
use crate::json::{Fault, Kind, Reader};
use crate::sort;

/// Longest JSON that is read, in bytes.
pub const MOST_BYTES: usize = 1 << 28;
/// Most candidates one answer gives.
const MOST_K: f64 = 100_000.0;

const FIELDS: &[&str] = &[
    "id",
    "embedding",
    "text",
    "created_at",
    "access_count",
    "success_rate",
    "trials",
    "confidence",
    "metadata",
    "group",
    "position",
    "expires_at",
    "namespace",
];
const ASKED: &[&str] = &[
    "embedding",
    "text",
    "metadata",
    "now",
    "k",
    "diversity",
    "confidence_threshold",
    "max_uncertainty",
    "where",
];

/// One candidate as it was given.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) id: String,
    pub(super) embedding: Option<Vec<f32>>,
    pub(super) text: Option<String>,
    pub(super) created_at: Option<f64>,
    pub(super) access_count: Option<f64>,
    pub(super) success_rate: Option<f64>,
    pub(super) trials: Option<f64>,
    pub(super) confidence: Option<f64>,
    pub(super) metadata: Metadata,
    pub(super) group: Option<String>,
    pub(super) position: Option<f64>,
    pub(super) expires_at: Option<f64>,
    pub(super) namespace: Vec<String>,
}

impl Given {
    pub(super) fn list(reader: &mut Reader) -> Read<Vec<Self>> {
        expect(reader, Kind::Array, "candidates", "give a list of candidates")?;
        let mut given = Vec::new();
        reader.array(|place, reader| {
            given.push(Self::read(reader, &format!("candidates[{place}]"))?);
            Ok::<_, Stop>(())
        })?;
        Ok(given)
    }

    fn read(reader: &mut Reader, place: &str) -> Read<Self> {
        let mut given = Self::default();
        members(reader, place, FIELDS, |name, field, reader| {
            match name {
                "id" => given.id = text(reader, field)?,
                "embedding" => given.embedding = Some(embedding(reader, field)?),
                "text" => given.text = Some(text(reader, field)?),
                "created_at" => given.created_at = Some(moment(reader, field)?),
                "access_count" => given.access_count = Some(number(reader, field)?),
                "success_rate" => given.success_rate = Some(number(reader, field)?),
                "trials" => given.trials = Some(number(reader, field)?),
                "confidence" => given.confidence = Some(number(reader, field)?),
                "metadata" => given.metadata = metadata(reader, field)?,
                "group" => given.group = Some(text(reader, field)?),
                "position" => given.position = Some(number(reader, field)?),
                "expires_at" => given.expires_at = Some(moment(reader, field)?),
                _ => given.namespace = texts(reader, field)?,
            }
            Ok(())
        })?;
        Ok(given)
    }

    pub(super) fn candidate<'a>(
        &'a self,
        metadata: &'a [(&'a str, Scalar<'a>)],
        namespace: &'a [&'a str],
    ) -> Candidate<'a> {
        Candidate {
            id: &self.id,
            text: self.text.as_deref(),
            created_at: self.created_at,
            access_count: self.access_count,
            success_rate: self.success_rate,
            trials: self.trials,
            confidence: self.confidence,
            metadata,
            group: self.group.as_deref(),
            position: self.position,
            expires_at: self.expires_at,
            namespace,
        }
    }
}

/// What is asked, as it was given.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) embedding: Option<Vec<f32>>,
    pub(super) text: Option<String>,
    pub(super) metadata: Metadata,
    pub(super) now: Option<f64>,
    pub(super) k: Option<usize>,
    pub(super) diversity: Option<f32>,
    pub(super) confidence_threshold: Option<f32>,
    pub(super) max_uncertainty: Option<f32>,
    pub(super) filter: Option<Filter>,
}

impl Asked {
    pub(super) fn read(reader: &mut Reader) -> Read<Self> {
        let mut asked = Self::default();
        members(reader, "query", ASKED, |name, field, reader| {
            let option = |reader: &mut Reader| number(reader, name).map_err(Stop::about_an_option);
            match name {
                "embedding" => asked.embedding = Some(embedding(reader, field)?),
                "text" => asked.text = Some(text(reader, field)?),
                "metadata" => asked.metadata = metadata(reader, field)?,
                "now" => asked.now = Some(moment(reader, field)?),
                "k" => {
                    let k = option(reader)?;
                    if k.fract() != 0.0 || !(1.0..=MOST_K).contains(&k) {
                        let remedy = "give a whole number from 1 to 100,000";
                        return Err(Stop::about_an_option(invalid("k", k, remedy).into()));
                    }
                    asked.k = Some(k as usize);
                }
                "diversity" => asked.diversity = Some(option(reader)? as f32),
                "confidence_threshold" => asked.confidence_threshold = Some(option(reader)? as f32),
                "max_uncertainty" => asked.max_uncertainty = Some(option(reader)? as f32),
                _ => asked.filter = Some(Filter::new(expression(reader, field)?, field)?),
            }
            Ok(())
        })?;
        Ok(asked)
    }
}

/// Why reading stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The text is no JSON.
    Fault(Fault),
    /// It is JSON, but not what it should say.
    Error(Error),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Stop {
    fn about_an_option(self) -> Self {
        match self {
            Self::Error(error) => Self::Error(Error { kind: ErrorKind::OptionInvalid, ..error }),
            fault @ Self::Fault(_) => fault,
        }
    }
}

pub(super) type Read<T> = std::result::Result<T, Stop>;

#[cold]
#[inline(never)]
pub(super) fn invalid(field: &str, value: impl std::fmt::Display, remedy: impl Into<String>) -> Error {
    Error::new(ErrorKind::CandidateInvalid, field, value, remedy)
}

/// Reads all of a text.
pub(super) fn whole<T>(json: &str, field: &str, read: impl FnOnce(&mut Reader) -> Read<T>) -> Result<T> {
    if json.len() > MOST_BYTES {
        return Err(invalid(
            field,
            format!("{} bytes", json.len()),
            format!("give at most {MOST_BYTES} at a time"),
        ));
    }
    let mut reader = Reader::new(json);
    let found = read(&mut reader).and_then(|found| {
        reader.end()?;
        Ok(found)
    });
    found.map_err(|stop| match stop {
        Stop::Fault(fault) => Error { kind: ErrorKind::CandidateInvalid, ..fault.of(field) },
        Stop::Error(error) => error,
    })
}

/// Hands each member of an object that is not null to `read`: its name, one of `known`, and its place.
fn members(
    reader: &mut Reader,
    place: &str,
    known: &[&'static str],
    mut read: impl FnMut(&'static str, &str, &mut Reader) -> Read<()>,
) -> Read<()> {
    expect(reader, Kind::Object, place, "give an object")?;
    let mut seen = 0u32;
    reader.object(|key, reader| {
        let Some(at) = known.iter().position(|name| key.is(name)) else {
            let mut name = String::new();
            key.append_to(&mut name);
            return Err(unknown(place, &name, known).into());
        };
        let field = format!("{place}.{}", known[at]);
        if seen >> at & 1 == 1 {
            return Err(invalid(&field, "there twice", "give it once").into());
        }
        seen |= 1 << at;
        if reader.peek()? == Kind::Null {
            return Ok(reader.null()?);
        }
        read(known[at], &field, reader)
    })
}

#[cold]
#[inline(never)]
fn unknown(place: &str, name: &str, known: &[&str]) -> Error {
    let nearest = known.iter().min_by_key(|other| edits(name, other)).copied().unwrap_or_default();
    let hint = if edits(name, nearest) * 2 <= nearest.len() {
        format!("did you mean {nearest}? ")
    } else {
        String::new()
    };
    invalid(place, format!("unknown field {name}"), format!("{hint}fields are {}", known.join(", ")))
}

/// Levenshtein's distance in characters, of a name's first 64.
fn edits(name: &str, known: &str) -> usize {
    let mut row: Vec<usize> = (0..=known.chars().count()).collect();
    for (at, a) in name.chars().take(64).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (place, b) in known.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

fn expect(reader: &mut Reader, kind: Kind, field: &str, remedy: &str) -> Read<()> {
    let found = reader.peek()?;
    if found == kind { Ok(()) } else { Err(invalid(field, found.as_str(), remedy).into()) }
}

fn text(reader: &mut Reader, field: &str) -> Read<String> {
    expect(reader, Kind::String, field, "give a string")?;
    let mut out = String::new();
    reader.string()?.append_to(&mut out);
    Ok(out)
}

fn number(reader: &mut Reader, field: &str) -> Read<f64> {
    expect(reader, Kind::Number, field, "give a number")?;
    let written = reader.number()?;
    let value: f64 = written.parse().unwrap_or(f64::NAN);
    if value.is_finite() {
        Ok(value)
    } else {
        Err(invalid(field, written, "give a finite number, or leave it out").into())
    }
}

fn moment(reader: &mut Reader, field: &str) -> Read<f64> {
    if reader.peek()? == Kind::String {
        let written = text(reader, field)?;
        let remedy = "give ISO 8601, or seconds or milliseconds since 1970";
        return seconds_of_text(&written).ok_or_else(|| invalid(field, written, remedy).into());
    }
    let found = number(reader, field)?;
    Ok(seconds_of_number(found).unwrap_or(found))
}

fn embedding(reader: &mut Reader, field: &str) -> Read<Vec<f32>> {
    let remedy = "give a list of numbers";
    expect(reader, Kind::Array, field, remedy)?;
    let mut values = Vec::new();
    reader.array(|place, reader| {
        if place == MOST_DIMENSIONS {
            let found = format!("more than {MOST_DIMENSIONS} numbers");
            return Err(Stop::Error(invalid(field, found, "give fewer")));
        }
        values.push(number(reader, field)? as f32);
        Ok(())
    })?;
    if values.is_empty() {
        return Err(invalid(field, "no number", "give at least one number").into());
    }
    Ok(values)
}

fn texts(reader: &mut Reader, field: &str) -> Read<Vec<String>> {
    expect(reader, Kind::Array, field, "give a list of strings")?;
    let mut found = Vec::new();
    reader.array(|_, reader| {
        found.push(text(reader, field)?);
        Ok::<_, Stop>(())
    })?;
    Ok(found)
}

fn metadata(reader: &mut Reader, field: &str) -> Read<Metadata> {
    expect(reader, Kind::Object, field, "give an object")?;
    let mut metadata = Metadata::default();
    properties(reader, field, "", 0, &mut metadata)?;
    Ok(metadata)
}

/// Reads an object whose members have `before` in front of their names.
fn properties(
    reader: &mut Reader,
    field: &str,
    before: &str,
    depth: usize,
    metadata: &mut Metadata,
) -> Read<()> {
    let mut names: Vec<String> = Vec::new();
    reader.object(|key, reader| {
        let mut name = before.to_owned();
        key.append_to(&mut name);
        let field = format!("{field}.{}", &name[before.len()..]);
        metadata.key(&name);
        property(reader, &field, &name, depth, metadata)?;
        names.push(name);
        Ok::<_, Stop>(())
    })?;
    sort::unstable(&mut names);
    match (1..names.len()).find(|&at| names[at] == names[at - 1]) {
        Some(twice) => {
            let field = format!("{field}.{}", &names[twice][before.len()..]);
            Err(invalid(&field, "there twice", "give a list of its values").into())
        }
        None => Ok(()),
    }
}

/// Reads a value of the key `name`, which is the key begun last.
fn property(reader: &mut Reader, field: &str, name: &str, depth: usize, metadata: &mut Metadata) -> Read<()> {
    if depth > DEEPEST_METADATA {
        return Err(
            invalid(field, "nested too deeply", "give fewer lists and objects within each other").into()
        );
    }
    match reader.peek()? {
        Kind::Array => reader.array(|_, reader| property(reader, field, name, depth + 1, metadata)),
        Kind::Object => {
            properties(reader, field, &format!("{name}."), depth + 1, metadata)?;
            metadata.key(name);
            Ok(())
        }
        Kind::Null => Ok(reader.null()?),
        _ => scalar(reader, |value| {
            metadata.value(value).map_err(|error| Error { field: field.to_owned(), ..error })
        }),
    }
}

/// Reads a value as it is.
fn expression(reader: &mut Reader, field: &str) -> Read<Expression> {
    match reader.peek()? {
        Kind::Array => {
            let mut items = Vec::new();
            reader.array(|_, reader| {
                items.push(expression(reader, field)?);
                Ok::<_, Stop>(())
            })?;
            Ok(Expression::List(items))
        }
        Kind::Object => {
            let mut members = Vec::new();
            reader.object(|key, reader| {
                let mut name = String::new();
                key.append_to(&mut name);
                let value = expression(reader, &format!("{field}.{name}"))?;
                members.push((name, value));
                Ok::<_, Stop>(())
            })?;
            Ok(Expression::Object(members))
        }
        Kind::Null => {
            reader.null()?;
            Ok(Expression::Null)
        }
        _ => scalar(reader, |value| Expression::value(value, field)),
    }
}

/// Hands a text, a number or a truth value to `take`.
fn scalar<T>(reader: &mut Reader, take: impl FnOnce(Value) -> Result<T>) -> Read<T> {
    Ok(match reader.peek()? {
        Kind::Boolean => take(Value::Boolean(reader.boolean()?))?,
        Kind::Number => take(Value::Written(reader.number()?))?,
        _ => {
            let mut held = String::new();
            reader.string()?.append_to(&mut held);
            take(Value::Text(&held))?
        }
    })
}
