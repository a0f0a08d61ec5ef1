//! What passes between Node and the engine: errors, panics, and batches on other threads.

use std::any::Any;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::Instant;

use napi::bindgen_prelude::AsyncTask;
use napi::{Env, Task};
use serde_json::json;
use tiny_dancer::resilience::{Breaker, BreakerOptions, Guarded, panic_text};
use tiny_dancer::{Error, Result, in_chunks, in_row};

fn refused(error: &Error) -> napi::Error {
    napi::Error::from_reason(error.to_value().to_string())
}

fn stopped(panic: &(dyn Any + Send)) -> napi::Error {
    let remedy = "make the object anew, and report what it was given";
    let error =
        json!({ "code": "EngineStopped", "field": "engine", "value": panic_text(panic), "remedy": remedy });
    napi::Error::from_reason(error.to_string())
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
    let half_done = "a call before this one stopped in its middle: what it changed may be half done";
    mutex.lock().unwrap_or_else(|_| panic!("{half_done}"))
}

/// Seconds since this was first asked.
pub fn now() -> f64 {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGUN.elapsed().as_secs_f64()
}

/// What was loaded, behind a breaker that opens after so many failures; none: it goes on being asked.
pub fn behind_breaker<T>(loaded: T, threshold: Option<u32>) -> Result<Guarded<T>> {
    // Each breaker's waits are its own, so that many processes do not come back together.
    let seed = RandomState::new().hash_one(0);
    let options = threshold.map(|threshold| BreakerOptions { threshold, seed, ..BreakerOptions::default() });
    Ok(Guarded::new(loaded, options.map(|options| Breaker::new(options, now())).transpose()?))
}

/// What answers a request of a batch.
type Answering = dyn Fn(&str) -> Result<String> + Send + Sync;

/// A batch on libuv's threads, and from there on all processors.
pub struct Batch {
    requests: Vec<String>,
    answer: Box<Answering>,
}

impl Batch {
    /// Answers each request by `answer`; together they are one JSON list.
    pub fn of(
        requests: Vec<String>,
        answer: impl Fn(&str) -> Result<String> + Send + Sync + 'static,
    ) -> AsyncTask<Self> {
        AsyncTask::new(Self { requests, answer: Box::new(answer) })
    }
}

impl Task for Batch {
    type Output = String;
    type JsValue = String;

    fn compute(&mut self) -> napi::Result<String> {
        let Self { requests, answer } = self;
        guard(|| {
            let parts = in_chunks(requests.len(), |rows| {
                let answers = rows.map(|row| answer(&requests[row]).map_err(|error| in_row(error, row)));
                answers.collect::<Result<Vec<String>>>()
            })?;
            Ok(format!("[{}]", parts.concat().join(",")))
        })
    }

    fn resolve(&mut self, _: Env, answers: String) -> napi::Result<String> {
        Ok(answers)
    }
}
