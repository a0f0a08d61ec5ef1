//! Candidates in arrays → rows, best first.

use std::borrow::Cow;

use pgrx::pg_sys::Datum;
use serde::{Deserialize, Serialize};
use tiny_dancer::candidates::{CandidateDoor, CandidateScorer, Precision};
use tiny_dancer::{Error, ErrorKind};

use crate::arrays::{Matrix, numbers};
use crate::call::{Call, text};
use crate::decide::jsonb;
use crate::doors::{artifact, scorer};
use crate::failure::{ARGUMENT, Failure, Result};
use crate::rows::Rows;

crate::functions! { rank }

/// Candidates that are added at once. Between two parts a query can be cancelled.
const PART: usize = 4096;

#[derive(Serialize)]
struct Given<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

#[derive(Deserialize)]
struct Answer {
    decisions: Vec<Decision>,
    errors: Vec<Problem>,
}

#[derive(Deserialize)]
struct Decision {
    candidate_id: String,
    score: f32,
    confidence: f32,
    uncertainty: f32,
    use_lightweight: bool,
    in_prediction_set: bool,
}

#[derive(Deserialize)]
struct Problem {
    candidate_id: String,
    reason: String,
}

/// Ranks candidates; those that could not take part come last, with the reason.
fn rank(call: &Call) -> Result<Option<Datum>> {
    const QUERY: usize = 0;
    const IDS: usize = 1;
    const TEXTS: usize = 2;
    const EMBEDDINGS: usize = 3;
    const EMBEDDING: usize = 4;
    const OPTIONS: usize = 5;
    const ARTIFACT: usize = 6;

    let mut rows = Rows::of(call);
    if call.datum(IDS).is_none() {
        return Ok(None);
    }
    let (ids, texts) =
        (call.texts(IDS, "ids")?, call.datum(TEXTS).map(|_| call.texts(TEXTS, "texts")).transpose()?);
    let candidates = candidates(&ids, texts.as_deref())?;
    let embeddings = Matrix::given(call, EMBEDDINGS)?;
    if let Some(matrix) = &embeddings
        && matrix.rows != candidates.len()
    {
        let value = format!("{} for {} ids", matrix.rows, candidates.len());
        return Err(Failure::new(
            ARGUMENT,
            "embeddings",
            value,
            "give one embedding an id, in the same order",
        ));
    }
    let embedding = numbers(call, EMBEDDING, "embedding")?;
    let asked = call.text(QUERY)?;
    if asked.is_none() && embedding.is_none() {
        return Ok(None);
    }
    let query = query(asked.as_deref(), call.datum(OPTIONS))?;
    let found = artifact(call, ARTIFACT)?;
    let untrained = CandidateScorer::default();
    let scorer = scorer(found.as_ref(), &untrained)?;
    let mut door = CandidateDoor::new(Precision::Full, None);
    for (part, given) in candidates.chunks(PART).enumerate() {
        pgrx::check_for_interrupts!();
        let first = part * PART;
        let embeddings = embeddings.as_ref().map(|matrix| matrix.part(first, given.len()));
        let json = serde_json::to_string(given).unwrap_or_default();
        door.add_with(&json, embeddings).map_err(|error| moved(error, first))?;
    }
    pgrx::check_for_interrupts!();
    let answer = door.rank_with(scorer, &query, embedding.as_deref(), false)?;
    let answer: Answer = serde_json::from_str(&answer)
        .map_err(|error| Error::new(ErrorKind::CandidateInvalid, "answer", error, "report it"))?;
    let real = |value: f32| Some(Datum::from(value.to_bits()));
    for one in &answer.decisions {
        rows.add(|| {
            Ok([
                Some(text(&one.candidate_id)),
                real(one.score),
                real(one.confidence),
                real(one.uncertainty),
                Some(Datum::from(one.use_lightweight)),
                Some(Datum::from(one.in_prediction_set)),
                None,
            ])
        })?;
    }
    for one in &answer.errors {
        let about =
            || Ok([Some(text(&one.candidate_id)), None, None, None, None, None, Some(text(&one.reason))]);
        rows.add(about)?;
    }
    Ok(None)
}

/// An error about a candidate of a part, as it is counted from the first one of all.
fn moved(mut error: Error, first: usize) -> Error {
    if let Some((place, rest)) =
        error.field.strip_prefix("candidates[").and_then(|field| field.split_once(']'))
        && let Ok(place) = place.parse::<usize>()
    {
        error.field = format!("candidates[{}]{rest}", first + place);
    }
    error
}

/// Candidates as the engine reads them.
fn candidates<'a>(
    ids: &'a [Option<Cow<str>>],
    texts: Option<&'a [Option<Cow<str>>]>,
) -> Result<Vec<Given<'a>>> {
    if let Some(texts) = texts
        && texts.len() != ids.len()
    {
        let value = format!("{} for {} ids", texts.len(), ids.len());
        return Err(Failure::new(
            ARGUMENT,
            "texts",
            value,
            "give one text an id, or null, in the same order",
        ));
    }
    let given = ids.iter().enumerate().map(|(place, id)| {
        let text = texts.and_then(|texts| texts[place].as_deref());
        match id {
            Some(id) => Ok(Given { id, text }),
            None => Err(Failure::new(
                ARGUMENT,
                format!("ids[{}]", place + 1),
                "null",
                "give every candidate an id",
            )),
        }
    });
    given.collect()
}

/// The query as the engine reads it: options, with the text put in.
fn query(text: Option<&str>, options: Option<Datum>) -> Result<String> {
    let options = options.map_or_else(|| Ok("{}".to_owned()), jsonb)?;
    let Some(members) = options.strip_prefix('{') else {
        let remedy = "give an object of options by their names";
        return Err(Error::new(ErrorKind::OptionInvalid, "options", options, remedy).into());
    };
    let Some(text) = text else { return Ok(options) };
    let comma = if members == "}" { "" } else { "," };
    Ok(format!("{{\"text\":{}{comma}{members}", serde_json::to_string(text).unwrap_or_default()))
}
