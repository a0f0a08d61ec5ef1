//! Requests → models: the whole answer as columns, the model's name alone, or the engine's JSON.

use std::cell::RefCell;
use std::ffi::CStr;
use std::rc::Rc;

use pgrx::pg_sys::{self, Datum};
use tiny_dancer::{Answer, Handle, Options, Request, Uncovered};

use crate::artifacts::{Object, Wanted, find, named};
use crate::call::{Call, bytes_of, json, text, utf8};
use crate::failure::Result;
use crate::rows::{Rows, number, row, texts};

crate::functions! { decide decide_body decide_many decide_model decide_by decide_json }

/// Columns of `tiny_dancer.decision`.
const COLUMNS: usize = 17;

/// Options as they were given last, and as they were read.
type Remembered = Option<(Vec<u8>, Rc<Options>)>;

thread_local! {
    static OPTIONS: RefCell<Remembered> = const { RefCell::new(None) };
}

/// The router that an argument names.
fn router(call: &Call, place: usize) -> Result<Rc<Object>> {
    named(call.text(place)?.as_deref())
}

fn handle<'a>(object: &'a Object, call: &Call, place: usize) -> Result<&'a Handle> {
    match object {
        Object::Router(handle) => Ok(handle),
        other => {
            let name = call.text(place)?.map_or_else(|| utf8(crate::settings::artifact()), Ok)?;
            Err(other.is_not("request-router", &name))
        }
    }
}

/// JSON in the server's own form as text.
pub(crate) fn jsonb(datum: Datum) -> Result<String> {
    // SAFETY: the argument is such JSON; the text ends, in the call's memory context.
    unsafe {
        let value = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
        let root = &raw mut (*value.cast::<std::ffi::c_void>().cast::<pg_sys::Jsonb>()).root;
        let text = pg_sys::JsonbToCString(std::ptr::null_mut(), root, pgrx::varsize_4b(value) as i32);
        utf8(CStr::from_ptr(text).to_bytes()).map(std::borrow::Cow::into_owned)
    }
}

/// Options, which are the same for most rows of a query.
fn options(call: &Call, place: usize) -> Result<Rc<Options>> {
    // SAFETY: the argument is JSON in the server's own form.
    let given = call.datum(place).map(|datum| unsafe { (datum, bytes_of(datum)) });
    let bytes = given.map_or(&b""[..], |(_, bytes)| bytes);
    let known = OPTIONS.with_borrow(|last| {
        let (before, options) = last.as_ref()?;
        (before == bytes).then(|| Rc::clone(options))
    });
    if let Some(options) = known {
        return Ok(options);
    }
    let text = given.map_or(Ok(String::new()), |(datum, _)| jsonb(datum))?;
    let options = Rc::new(Options::from_json(&text)?);
    OPTIONS.set(Some((bytes.to_vec(), Rc::clone(&options))));
    Ok(options)
}

/// The model of a request, with everything that is to be said of it.
fn decide(call: &Call) -> Result<Option<Datum>> {
    let Some(request) = call.text(0)? else { return Ok(None) };
    whole(call, &Request::text(&request))
}

/// As [`decide`], of what a client sends.
fn decide_body(call: &Call) -> Result<Option<Datum>> {
    let Some(request) = call.datum(0) else { return Ok(None) };
    let request = jsonb(request)?;
    whole(call, &Request::from_json(&request)?)
}

fn whole(call: &Call, request: &Request) -> Result<Option<Datum>> {
    let (options, object) = (options(call, 1)?, router(call, 2)?);
    let columns = handle(&object, call, 2)?.decide(request, &options, columns)??;
    Ok(Some(row(call, columns)))
}

/// As [`decide`], of many texts, in their order; a null has a row of nulls.
fn decide_many(call: &Call) -> Result<Option<Datum>> {
    let (options, object) = (options(call, 1)?, router(call, 2)?);
    let handle = handle(&object, call, 2)?;
    let mut rows = Rows::of(call);
    for request in call.texts(0, "requests")? {
        rows.add(|| match request {
            Some(request) => Ok(handle.decide(&Request::text(&request), &options, columns)??),
            None => Ok([None; COLUMNS]),
        })?;
    }
    Ok(None)
}

/// The model's name alone.
fn decide_model(call: &Call) -> Result<Option<Datum>> {
    let Some(request) = call.text(0)? else { return Ok(None) };
    let (options, object) = (options(call, 1)?, router(call, 2)?);
    let model = |answer: &Answer<'_>| text(answer.model());
    Ok(Some(handle(&object, call, 2)?.decide(&Request::text(&request), &options, model)?))
}

/// The model's name, by the artifact of a checksum, which is the same for ever.
fn decide_by(call: &Call) -> Result<Option<Datum>> {
    let (Some(checksum), Some(request)) = (call.text(0)?, call.text(1)?) else { return Ok(None) };
    let options = options(call, 2)?;
    let object = find(&Wanted::Checksum(checksum.into_owned()))?;
    let model = |answer: &Answer<'_>| text(answer.model());
    Ok(Some(handle(&object, call, 0)?.decide(&Request::text(&request), &options, model)?))
}

/// The engine's answer, byte for byte: request and options are JSON as text.
fn decide_json(call: &Call) -> Result<Option<Datum>> {
    let Some(request) = call.text(0)? else { return Ok(None) };
    let options = call.text(1)?.unwrap_or_default();
    let object = router(call, 2)?;
    json(&handle(&object, call, 2)?.decide_json(&request, &options)?).map(Some)
}

fn columns(answer: &Answer<'_>) -> Result<[Option<Datum>; COLUMNS]> {
    let Answer { decision, expect, header } = answer;
    let choice = decision.choice;
    let by_model = |values: &[f64]| {
        let known = header.models.iter().zip(values);
        let known = known.map(|(model, value)| (&model.name, value.is_finite().then_some(value)));
        json(&in_order(known))
    };
    let quality: Vec<f64> = expect.quality.iter().map(|&quality| f64::from(quality)).collect();
    let guarantee = answer.guarantee().map(|guarantee| json(&written(guarantee))).transpose()?;
    Ok([
        Some(text(answer.model())),
        number(quality[choice.model]),
        number(expect.cost[choice.model]),
        number(f64::from(decision.confidence)),
        decision.likeness.and_then(|likeness| number(f64::from(likeness))),
        Some(text(choice.reason.as_str())),
        Some(text(choice.routed_by.as_str())),
        guarantee,
        Some(text(choice.uncovered.map_or("", Uncovered::as_str))),
        Some(texts(answer.prediction_set())),
        Some(json(&in_order(answer.removed()))?),
        Some(by_model(&quality)?),
        Some(by_model(&expect.cost)?),
        Some(by_model(&expect.latency)?),
        Some(Datum::from(i64::from(decision.tokens))),
        Some(by_model(&expect.output_tokens)?),
        Some(text(&header.version)),
    ])
}

fn written(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// An object with members in the order they come in.
fn in_order<K: serde::Serialize, V: serde::Serialize>(members: impl Iterator<Item = (K, V)>) -> String {
    struct Members<I>(std::cell::Cell<Option<I>>);
    impl<K: serde::Serialize, V: serde::Serialize, I: Iterator<Item = (K, V)>> serde::Serialize for Members<I> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.take().into_iter().flatten())
        }
    }
    written(&Members(std::cell::Cell::new(Some(members))))
}
