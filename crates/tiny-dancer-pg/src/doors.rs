//! The engine's other doors: JSON as text in, the engine's JSON out.

use std::rc::Rc;
use std::sync::Arc;

use blake2::Blake2b;
use blake2::digest::Digest;
use blake2::digest::consts::U16;
use pgrx::pg_sys::Datum;
use tiny_dancer::candidates::{CandidateDoor, CandidateScorer, Precision};
use tiny_dancer::encoder::{DIM, Encoder, WordCache, pool};
use tiny_dancer::tools::{ToolScratch, ToolSet};

use crate::artifacts::{Object, Summary, Wanted, encoder_named, find, hexadecimal, load};
use crate::call::{Call, json, text};
use crate::failure::Result;
use crate::rows::{floats, row, texts};

crate::functions! {
    examine_artifact route_json classify_json select_tools_json tool_ids rank_json embed query_hash
}

/// The artifact that tells tasks apart, and the encoder of whole texts, where none is named.
pub(crate) const TASKS: &str = "tasks";
pub(crate) const SENTENCES: &str = "sentences";

/// The artifact that an argument names.
pub(crate) fn artifact(call: &Call, place: usize) -> Result<Option<(String, Rc<Object>)>> {
    let Some(name) = call.text(place)? else { return Ok(None) };
    let name = name.into_owned();
    let object = find(&Wanted::Name(name.clone()))?;
    Ok(Some((name, object)))
}

/// The scorer that an artifact is; without one, the combination without training.
pub(crate) fn scorer<'a>(
    found: Option<&'a (String, Rc<Object>)>,
    untrained: &'a CandidateScorer,
) -> Result<&'a CandidateScorer> {
    let Some((name, object)) = found else { return Ok(untrained) };
    match &**object {
        Object::Scorer(scorer) => Ok(scorer),
        other => Err(other.is_not("candidates", name)),
    }
}

/// The encoder that an argument names; null is none.
fn encoder(call: &Call, place: usize) -> Result<Option<Arc<Encoder>>> {
    call.text(place)?.map(|name| encoder_named(&name)).transpose()
}

/// Loads an artifact and says what it is: kind, and checksum of its encoder.
fn examine_artifact(call: &Call) -> Result<Option<Datum>> {
    let models = call.text(1)?.unwrap_or_default();
    let (_, Summary { kind, encoder }) = load(call.bytes(0).unwrap_or_default(), &models)?;
    Ok(Some(row(call, [Some(text(&kind)), encoder.as_deref().map(text)])))
}

/// The route of a request, or none.
fn route_json(call: &Call) -> Result<Option<Datum>> {
    let Some(request) = call.text(0)? else { return Ok(None) };
    let options = call.text(1)?.unwrap_or_default();
    match artifact(call, 2)? {
        Some((name, object)) => match &*object {
            Object::Routes(routing) => json(&routing.decide_json(&request, &options)?).map(Some),
            other => Err(other.is_not("routes", &name)),
        },
        None => Ok(None),
    }
}

/// The kind of task a request is.
fn classify_json(call: &Call) -> Result<Option<Datum>> {
    let Some(request) = call.text(0)? else { return Ok(None) };
    let name = call.text(1)?.unwrap_or(TASKS.into()).into_owned();
    match &*find(&Wanted::Name(name.clone()))? {
        Object::Tasks(tasking) => json(&tasking.classify_json(&request)?).map(Some),
        other => Err(other.is_not("tasks", &name)),
    }
}

/// The tools a request needs, of those given.
fn select_tools_json(call: &Call) -> Result<Option<Datum>> {
    let Some(query) = call.text(1)? else { return Ok(None) };
    let mut set = match artifact(call, 2)? {
        Some((name, object)) => match &*object {
            Object::Tools(learned, encoder) => ToolSet::with_learned(encoder.clone(), learned)?,
            other => return Err(other.is_not("tools", &name)),
        },
        None => ToolSet::new(encoder(call, 3)?),
    };
    for tools in call.texts(0, "tools")?.into_iter().flatten() {
        set.add_json(&tools)?;
        pgrx::check_for_interrupts!();
    }
    json(&set.select_json(&query, &mut ToolScratch::default())?).map(Some)
}

/// The ids that tools are answered by.
fn tool_ids(call: &Call) -> Result<Option<Datum>> {
    let mut set = ToolSet::new(None);
    let mut ids = Vec::new();
    for tools in call.texts(0, "tools")?.into_iter().flatten() {
        ids.extend(set.add_json(&tools)?);
        pgrx::check_for_interrupts!();
    }
    Ok(Some(texts(ids.iter().map(String::as_str))))
}

/// Candidates in the order of their use for a query.
fn rank_json(call: &Call) -> Result<Option<Datum>> {
    let (Some(candidates), Some(query)) = (call.text(0)?, call.text(1)?) else { return Ok(None) };
    let found = artifact(call, 2)?;
    let untrained = CandidateScorer::default();
    let scorer = scorer(found.as_ref(), &untrained)?;
    let mut door = CandidateDoor::new(Precision::Full, encoder(call, 3)?);
    door.add(&candidates)?;
    pgrx::check_for_interrupts!();
    json(&door.rank(scorer, &query)?).map(Some)
}

/// A text as a vector.
fn embed(call: &Call) -> Result<Option<Datum>> {
    let Some(given) = call.text(0)? else { return Ok(None) };
    let encoder = encoder_named(&call.text(1)?.unwrap_or(SENTENCES.into()))?;
    thread_local! {
        static WORDS: std::cell::RefCell<WordCache> = std::cell::RefCell::default();
    }
    let mut sums = [0; DIM];
    let found = WORDS.with_borrow_mut(|words| encoder.encode(&given, words, &mut sums));
    Ok(Some(floats(&pool(&sums, found.known))))
}

/// What tells a text apart from others without keeping it: as Python's `hash_query`.
fn query_hash(call: &Call) -> Result<Option<Datum>> {
    let Some(given) = call.text(0)? else { return Ok(None) };
    let hash = Blake2b::<U16>::digest(given.as_bytes());
    Ok(Some(text(&hexadecimal(&hash))))
}
