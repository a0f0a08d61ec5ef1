//! A classifier of tasks loaded once and asked by many: with its encoder and a pool of buffers.

use std::sync::Arc;

use serde::Deserialize;

use super::{Answer, Scratch, Tasks};
use crate::encoder::Encoder;
use crate::error::{Error, ErrorKind, Result};
use crate::handle::{Pool, in_chunks, in_row};

/// A classifier of tasks, its encoder and buffers. Share it between threads.
#[derive(Debug)]
pub struct Tasking {
    tasks: Tasks,
    encoder: Option<Arc<Encoder>>,
    pool: Pool<Scratch>,
}

/// A request as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    text: String,
}

impl Tasking {
    /// Loads an artifact and runs its self-checks.
    ///
    /// # Errors
    /// As [`Tasks::from_bytes`].
    pub fn new(artifact: &[u8], encoder: Option<Arc<Encoder>>) -> Result<Self> {
        let tasks = Tasks::from_bytes(artifact, encoder.as_deref())?;
        Ok(Self { tasks, encoder, pool: Pool::default() })
    }

    /// The classifier.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Classifies a text and hands the answer to `read`.
    ///
    /// # Errors
    /// As [`Tasks::classify`].
    pub fn classify<T>(&self, text: &str, read: impl FnOnce(&Answer) -> T) -> Result<T> {
        self.pool.with(|scratch| {
            let task = self.tasks.classify(text, self.encoder.as_deref(), scratch)?;
            Ok(read(&Answer { task, scratch, tasks: &self.tasks }))
        })
    }

    /// Classifies a request given as JSON, `{"text": …}`; the answer as JSON.
    ///
    /// # Errors
    /// As [`Tasks::classify`]; `RequestInvalid` for what is no such JSON.
    pub fn classify_json(&self, request: &str) -> Result<String> {
        let asked: Asked = crate::json::typed(request).map_err(|error| {
            Error::new(ErrorKind::RequestInvalid, "request", error, r#"give {"text": "…"}"#)
        })?;
        let read = |answer: &Answer<'_>| answer.to_json();
        self.classify(&asked.text, read)
    }

    /// Classifies rows on all processors; `read` makes of each answer what is wanted of it, in order of rows.
    ///
    /// # Errors
    /// That of the first row that has one, its field naming the row.
    pub fn classify_rows<T: Send>(
        &self,
        texts: &[impl AsRef<str> + Sync],
        read: impl Fn(&Answer) -> T + Sync,
    ) -> Result<Vec<Vec<T>>> {
        in_chunks(texts.len(), |range| {
            range
                .map(|row| self.classify(texts[row].as_ref(), &read).map_err(|error| in_row(error, row)))
                .collect()
        })
    }
}
