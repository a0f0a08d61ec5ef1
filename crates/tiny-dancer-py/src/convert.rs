//! Between Python's objects and the engine's.

use std::ops::Range;
use std::sync::LazyLock;

use pyo3::exceptions::PyUnicodeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use tiny_dancer::features::{Message, Request, Role};
use tiny_dancer::{Error, ErrorKind};

/// Chat messages as (role: 0 system, 1 user, 2 anything else; content).
pub(crate) type RawMessages = Vec<(u8, PyBackedStr)>;

/// Raises the exception of `tiny_dancer.errors` that stands for the error's kind.
pub(crate) fn to_exception(py: Python<'_>, error: Error) -> PyErr {
    let class = match error.kind {
        ErrorKind::ArtifactInvalid => "ArtifactError",
        ErrorKind::ArtifactVersion => "ArtifactVersionError",
        ErrorKind::ArtifactChecksum => "ArtifactChecksumError",
        ErrorKind::ArtifactSelfCheck => "ArtifactSelfCheckError",
        ErrorKind::EncoderMissing => "EncoderMissingError",
        ErrorKind::RequestInvalid => "RequestError",
        ErrorKind::OptionInvalid => "OptionError",
        ErrorKind::NoFeasibleModel => "NoFeasibleModelError",
        ErrorKind::CandidateInvalid => "CandidateError",
    };
    let build = || {
        let class = py.import("tiny_dancer.errors")?.getattr(class)?;
        class.call1((error.field, error.value, error.remedy))
    };
    build().map_or_else(|failure| failure, PyErr::from_value)
}

/// The same error, naming the row of a batch it is about.
pub(crate) fn in_row(mut error: Error, row: usize) -> Error {
    error.field = format!("requests[{row}].{}", error.field);
    error
}

/// Text of a Python string, or a `RequestError` for what cannot be UTF-8.
pub(crate) fn text(value: &Bound<'_, PyAny>, field: &str) -> PyResult<PyBackedStr> {
    value.extract::<PyBackedStr>().map_err(|failure| {
        let py = value.py();
        let found = if failure.is_instance_of::<PyUnicodeError>(py) {
            "a lone surrogate".to_owned()
        } else {
            value.get_type().name().map_or_else(|_| "no string".to_owned(), |name| name.to_string())
        };
        let remedy = "give a string that is valid Unicode";
        to_exception(py, Error::new(ErrorKind::RequestInvalid, field, found, remedy))
    })
}

/// A batch of requests, usable without the interpreter lock.
pub(crate) struct Requests {
    texts: Vec<PyBackedStr>,
    messages: Option<Vec<Option<RawMessages>>>,
    tools: Vec<Option<PyBackedStr>>,
}

impl Requests {
    pub(crate) fn extract(
        texts: Vec<Bound<'_, PyAny>>,
        messages: Option<Vec<Option<RawMessages>>>,
        tools: Option<Vec<Option<Bound<'_, PyAny>>>>,
    ) -> PyResult<Self> {
        let rows = texts.len();
        let texts = texts
            .iter()
            .enumerate()
            .map(|(row, value)| text(value, &format!("requests[{row}].text")))
            .collect::<PyResult<Vec<_>>>()?;
        let tools = match tools {
            None => (0..rows).map(|_| None).collect(),
            Some(tools) => tools
                .iter()
                .enumerate()
                .map(|(row, value)| {
                    value.as_ref().map(|value| text(value, &format!("requests[{row}].tools"))).transpose()
                })
                .collect::<PyResult<Vec<_>>>()?,
        };
        Ok(Self { texts, messages, tools })
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(crate) fn messages(&self, row: usize) -> Vec<Message<'_>> {
        let raw = self.messages.as_ref().and_then(|messages| messages.get(row)?.as_ref());
        raw.map(|raw| engine_messages(raw)).unwrap_or_default()
    }

    pub(crate) fn request<'a>(&'a self, row: usize, messages: &'a [Message<'a>]) -> Request<'a> {
        let text = if messages.is_empty() { &*self.texts[row] } else { "" };
        let tools = self.tools.get(row).and_then(Option::as_deref).unwrap_or_default();
        Request { text, messages, tools }
    }
}

pub(crate) fn engine_messages(raw: &[(u8, PyBackedStr)]) -> Vec<Message<'_>> {
    raw.iter()
        .map(|(role, content)| {
            let role = match role {
                0 => Role::System,
                1 => Role::User,
                _ => Role::Assistant,
            };
            Message { role, content }
        })
        .collect()
}

/// Runs `work` over `0..rows` cut into one range a processor, and gives its results in order; the first error of
/// the earliest range wins.
pub(crate) fn in_chunks<T: Send>(
    rows: usize,
    work: impl Fn(Range<usize>) -> tiny_dancer::Result<T> + Sync,
) -> tiny_dancer::Result<Vec<T>> {
    const SMALLEST: usize = 32;
    /// Asked once: the answer reads files, which takes longer than a small batch.
    static PROCESSORS: LazyLock<usize> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
    let chunk = rows.div_ceil(*PROCESSORS).max(SMALLEST);
    let ranges: Vec<Range<usize>> =
        (0..rows).step_by(chunk).map(|start| start..(start + chunk).min(rows)).collect();
    if ranges.len() <= 1 {
        return ranges.into_iter().map(work).collect();
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = ranges.into_iter().map(|range| scope.spawn(|| work(range))).collect();
        threads.into_iter().map(|thread| thread.join().expect("the engine does not panic")).collect()
    })
}
