//! Routes loaded once and asked by many: with their encoder and a pool of buffers, so that a binding converts and
//! forwards.

use std::sync::Arc;

use serde::Deserialize;

use super::{Answer, Decision, Options, Routes, Scratch, Vector};
use crate::encoder::Encoder;
use crate::error::{Error, ErrorKind, Result};
use crate::handle::{Pool, in_chunks, in_row};

/// Routes, their encoder and buffers. Share it between threads.
#[derive(Debug)]
pub struct Routing {
    routes: Routes,
    encoder: Option<Arc<Encoder>>,
    pool: Pool<Scratch>,
}

/// A request as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    text: String,
    #[serde(default)]
    vector: Option<Vec<f32>>,
    #[serde(default)]
    encoder: String,
}

impl Routing {
    /// Loads an artifact and runs its self-checks.
    ///
    /// # Errors
    /// As [`Routes::from_bytes`].
    pub fn new(artifact: &[u8], encoder: Option<Arc<Encoder>>) -> Result<Self> {
        let routes = Routes::from_bytes(artifact, encoder.as_deref())?;
        Ok(Self { routes, encoder, pool: Pool::default() })
    }

    /// The routes.
    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Decides a request and hands the answer to `read`.
    ///
    /// # Errors
    /// As [`Routes::decide`].
    pub fn decide<T>(
        &self,
        text: &str,
        vector: Option<Vector>,
        options: &Options,
        read: impl FnOnce(&Answer) -> T,
    ) -> Result<T> {
        self.pool.with(|scratch| {
            let decision = self.routes.decide(text, vector, self.encoder.as_deref(), options, scratch)?;
            Ok(read(&Answer { decision, scratch, header: self.routes.header() }))
        })
    }

    /// Decides a request given as JSON, `{"text": …}` or with `"vector": […], "encoder": name`, with [`Options`] as
    /// JSON or empty; the answer as JSON.
    ///
    /// # Errors
    /// As [`Routes::decide`]; `RequestInvalid` and `OptionInvalid` for what is no such JSON.
    pub fn decide_json(&self, request: &str, options: &str) -> Result<String> {
        let asked: Asked = crate::json::typed(request).map_err(|error| {
            Error::new(ErrorKind::RequestInvalid, "request", error, r#"give {"text": "…"}"#)
        })?;
        let options = Self::options(options)?;
        let vector = asked.vector.as_deref().map(|values| Vector { values, encoder: &asked.encoder });
        let read = |answer: &Answer<'_>| answer.to_json();
        self.decide(&asked.text, vector, &options, read)
    }

    /// Options as a JSON object; empty text asks nothing.
    ///
    /// # Errors
    /// `OptionInvalid`: no object, an unknown name, or a value of another type.
    pub fn options(json: &str) -> Result<Options> {
        if json.trim().is_empty() {
            return Ok(Options::default());
        }
        crate::json::typed(json).map_err(|error| {
            Error::new(ErrorKind::OptionInvalid, "options", error, "give an object of options by their names")
        })
    }

    /// Decides rows `0..rows` on all processors; `request` gives a row's text and vector, and `push` adds the answer to
    /// its part of the result. Parts come in order of their rows.
    ///
    /// # Errors
    /// That of the first row that has one, its field naming the row.
    pub fn decide_rows<'a, T: Default + Send>(
        &self,
        rows: usize,
        options: &Options,
        request: impl Fn(usize) -> (&'a str, Option<Vector<'a>>) + Sync,
        push: impl Fn(&mut T, Decision, &Scratch) + Sync,
    ) -> Result<Vec<T>> {
        in_chunks(rows, |range| {
            self.pool.with(|scratch| {
                let mut part = T::default();
                for row in range {
                    let (text, vector) = request(row);
                    let encoder = self.encoder.as_deref();
                    let decision = self.routes.decide(text, vector, encoder, options, scratch);
                    push(&mut part, decision.map_err(|error| in_row(error, row))?, scratch);
                }
                Ok(part)
            })
        })
    }
}
