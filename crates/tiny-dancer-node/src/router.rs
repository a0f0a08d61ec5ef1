//! Requests to models.

use std::sync::Arc;

use napi::bindgen_prelude::{AsyncTask, Uint8ArraySlice};
use napi_derive::napi;
use tiny_dancer::resilience::Guarded;
use tiny_dancer::{Error, ErrorKind, Handle, Result, encoder};

use crate::border::{Batch, behind_breaker, guard, now};

/// An encoder, loaded once and shared by all that are made with it.
#[napi]
pub struct Encoder(pub(crate) Arc<encoder::Encoder>);

#[napi]
impl Encoder {
    /// Reads an encoder's file.
    ///
    /// # Errors
    /// As the engine's.
    #[napi(constructor)]
    pub fn new(bytes: Uint8ArraySlice) -> napi::Result<Self> {
        guard(|| encoder::Encoder::from_bytes(&bytes).map(Arc::new).map(Self))
    }
}

/// The engine's encoder of ours.
pub(crate) fn shared(encoder: Option<&Encoder>) -> Option<Arc<encoder::Encoder>> {
    encoder.map(|encoder| Arc::clone(&encoder.0))
}

/// Bytes of JSON as text.
pub(crate) fn text<'a>(bytes: &'a [u8], field: &str) -> Result<&'a str> {
    std::str::from_utf8(bytes)
        .map_err(|error| Error::new(ErrorKind::RequestInvalid, field, error, "give UTF-8"))
}

/// An artifact of models, behind a breaker; where it fails, rules and constraints decide.
#[napi]
pub struct Router(Arc<Guarded<Handle>>);

#[napi]
impl Router {
    /// Loads an artifact; `changes` of its models as JSON, or empty; `breaker`: failures that open one.
    ///
    /// # Errors
    /// As [`Handle::new`].
    #[napi(constructor)]
    pub fn new(
        artifact: Uint8ArraySlice,
        encoder: Option<&Encoder>,
        changes: String,
        breaker: Option<u32>,
    ) -> napi::Result<Self> {
        guard(|| {
            let handle = Handle::new(&artifact, shared(encoder), &changes)?;
            Ok(Self(Arc::new(behind_breaker(handle, breaker)?)))
        })
    }

    /// Serves another artifact; where it does not load, what served goes on serving.
    ///
    /// # Errors
    /// As [`Handle::new`].
    #[napi]
    pub fn reload(
        &self,
        artifact: Uint8ArraySlice,
        encoder: Option<&Encoder>,
        changes: String,
    ) -> napi::Result<()> {
        guard(|| self.0.reload(Handle::new(&artifact, shared(encoder), &changes)))
    }

    /// How it stands, as [`Guarded::status_json`] has it.
    ///
    /// # Errors
    /// Where the engine stopped.
    #[napi]
    pub fn status(&self) -> napi::Result<String> {
        guard(|| Ok(self.0.status_json(now())))
    }

    /// Decides a request with options, both as JSON.
    ///
    /// # Errors
    /// As [`Handle::decide_json`].
    #[napi]
    pub fn decide(&self, request: String, options: String) -> napi::Result<String> {
        guard(|| self.0.decide_json(&request, &options, now()))
    }

    /// The same of a request in UTF-8, read where it lies.
    ///
    /// # Errors
    /// As [`Handle::decide_json`].
    #[napi]
    pub fn decide_bytes(&self, request: Uint8ArraySlice, options: String) -> napi::Result<String> {
        guard(|| self.0.decide_json(text(&request, "request")?, &options, now()))
    }

    /// Decides many requests with the same options on other threads.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn decide_batch(&self, requests: Vec<String>, options: String) -> AsyncTask<Batch> {
        let guarded = Arc::clone(&self.0);
        Batch::of(requests, move |request| guarded.decide_json(request, &options, now()))
    }

    /// Decides a request while what was learned panics, so that a test sees what is answered then.
    ///
    /// # Errors
    /// As [`Handle::decide_json`].
    #[napi]
    pub fn decide_with_panic(&self, request: String, message: String) -> napi::Result<String> {
        guard(|| self.0.decide_json_by(&request, "", now(), |_| panic!("{message}")))
    }
}
