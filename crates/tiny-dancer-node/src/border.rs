//! What passes between Node and the engine: errors, panics, and batches on other threads.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard};

use napi::bindgen_prelude::AsyncTask;
use napi::{Env, Task};
use serde_json::json;
use tiny_dancer::{Error, Result, in_chunks, in_row};

const REMEDY: &str = "make the object anew, and report what it was given";

/// An error with the JSON of what the package's `TinyDancerError` has as its message.
fn thrown(code: &str, field: &str, value: &str, remedy: &str) -> napi::Error {
    napi::Error::from_reason(
        json!({ "code": code, "field": field, "value": value, "remedy": remedy }).to_string(),
    )
}

fn refused(error: &Error) -> napi::Error {
    thrown(&format!("{:?}", error.kind), &error.field, &error.value, &error.remedy)
}

fn stopped(panic: &(dyn Any + Send)) -> napi::Error {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
    thrown("EngineStopped", "engine", said.unwrap_or("a panic without words"), REMEDY)
}

/// Does the engine's part of a call. What panics is an error of the code `EngineStopped`.
pub fn guard<T>(work: impl FnOnce() -> Result<T>) -> napi::Result<T> {
    // What a panic leaves half done is behind a lock, which is then poisoned, or was the call's own.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| refused(&error)),
        Err(panic) => Err(stopped(&*panic)),
    }
}

/// What is changed by calls, as long as none of them panicked.
pub fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a call before this one stopped in its middle, and what it changed is half done")
}

/// A batch on libuv's threads, and from there on all processors.
pub struct Batch(Option<Box<dyn FnOnce() -> Result<String> + Send>>);

impl Batch {
    /// Answers each request by `answer`; together they are one JSON list.
    pub fn of(
        requests: Vec<String>,
        answer: impl Fn(&str) -> Result<String> + Send + Sync + 'static,
    ) -> AsyncTask<Self> {
        let work = move || {
            let parts = in_chunks(requests.len(), |rows| {
                let answers = rows.map(|row| answer(&requests[row]).map_err(|error| in_row(error, row)));
                answers.collect::<Result<Vec<String>>>()
            })?;
            Ok(format!("[{}]", parts.concat().join(",")))
        };
        AsyncTask::new(Self(Some(Box::new(work))))
    }
}

impl Task for Batch {
    type Output = String;
    type JsValue = String;

    fn compute(&mut self) -> napi::Result<String> {
        // There is one call of it.
        let work = self.0.take();
        guard(|| work.map_or_else(|| Ok(String::new()), |work| work()))
    }

    fn resolve(&mut self, _: Env, answers: String) -> napi::Result<String> {
        Ok(answers)
    }
}
