//! Texts to routes and to kinds of tasks.

use std::sync::Arc;

use napi::bindgen_prelude::{AsyncTask, Uint8ArraySlice};
use napi_derive::napi;
use tiny_dancer::routes::Routing;
use tiny_dancer::tasks::Tasking;

use crate::border::{Batch, guard};
use crate::router::{Encoder, shared};

/// An artifact of routes.
#[napi]
pub struct Routes(Arc<Routing>);

#[napi]
impl Routes {
    /// Loads an artifact.
    ///
    /// # Errors
    /// As [`Routing::new`].
    #[napi(constructor)]
    pub fn new(artifact: Uint8ArraySlice, encoder: Option<&Encoder>) -> napi::Result<Self> {
        guard(|| Ok(Self(Arc::new(Routing::new(&artifact, shared(encoder))?))))
    }

    /// Routes a request with options, both as JSON.
    ///
    /// # Errors
    /// As [`Routing::decide_json`].
    #[napi]
    pub fn route(&self, request: String, options: String) -> napi::Result<String> {
        guard(|| self.0.decide_json(&request, &options))
    }

    /// Routes many requests with the same options on other threads.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn route_batch(&self, requests: Vec<String>, options: String) -> AsyncTask<Batch> {
        let routing = Arc::clone(&self.0);
        Batch::of(requests, move |request| routing.decide_json(request, &options))
    }
}

/// A classifier of tasks.
#[napi]
pub struct Tasks(Arc<Tasking>);

#[napi]
impl Tasks {
    /// Loads an artifact.
    ///
    /// # Errors
    /// As [`Tasking::new`].
    #[napi(constructor)]
    pub fn new(artifact: Uint8ArraySlice, encoder: Option<&Encoder>) -> napi::Result<Self> {
        guard(|| Ok(Self(Arc::new(Tasking::new(&artifact, shared(encoder))?))))
    }

    /// Classifies a request.
    ///
    /// # Errors
    /// As [`Tasking::classify_json`].
    #[napi]
    pub fn classify(&self, request: String) -> napi::Result<String> {
        guard(|| self.0.classify_json(&request))
    }

    /// Classifies many on other threads.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn classify_batch(&self, requests: Vec<String>) -> AsyncTask<Batch> {
        let tasking = Arc::clone(&self.0);
        Batch::of(requests, move |request| tasking.classify_json(request))
    }
}
