//! Between Python's objects and the engine's.

use pyo3::exceptions::PyUnicodeError;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::PyBytes;
use tiny_dancer::{Error, ErrorKind, Request, Words};

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

/// Text that a Python object holds: a `str`, or UTF-8 in `bytes`.
pub(crate) enum Held {
    Str(PyBackedStr),
    Bytes(PyBackedBytes),
}

impl Held {
    fn of(value: &Bound<'_, PyAny>, field: &str) -> PyResult<Self> {
        if !value.is_instance_of::<PyBytes>() {
            return text(value, field).map(Self::Str);
        }
        let bytes: PyBackedBytes = value.extract()?;
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Self::Bytes(bytes)),
            Err(error) => {
                let found = format!("no UTF-8 from byte {}", error.valid_up_to());
                let remedy = "give text encoded as UTF-8";
                Err(to_exception(value.py(), Error::new(ErrorKind::RequestInvalid, field, found, remedy)))
            }
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Str(text) => text,
            // It was checked when it was taken.
            Self::Bytes(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
        }
    }
}

/// A request as Python hands it over, usable without the interpreter lock.
pub(crate) struct HeldRequest {
    words: Held,
    is_text: bool,
    system: Option<Held>,
    tools: Option<Held>,
    format: Option<Held>,
}

impl HeldRequest {
    /// `request` is the text as `str`, or JSON of messages as `bytes`; the rest is JSON or None.
    pub(crate) fn new(
        request: &Bound<'_, PyAny>,
        system: Option<&Bound<'_, PyAny>>,
        tools: Option<&Bound<'_, PyAny>>,
        format: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let held =
            |value: Option<&Bound<'_, PyAny>>, field| value.map(|value| Held::of(value, field)).transpose();
        let words = Held::of(request, "text")?;
        Ok(Self {
            is_text: matches!(words, Held::Str(_)),
            words,
            system: held(system, "system")?,
            tools: held(tools, "tools")?,
            format: held(format, "response_format")?,
        })
    }

    pub(crate) fn request(&self) -> Request<'_> {
        let words = self.words.as_str();
        Request {
            words: if self.is_text { Words::Text(words) } else { Words::Json(words) },
            system: self.system.as_ref().map_or("", Held::as_str),
            tools: self.tools.as_ref().map_or("", Held::as_str),
            format: self.format.as_ref().map_or("", Held::as_str),
        }
    }
}

/// The requests of a batch; `tools` has one entry a request, or is None.
pub(crate) fn requests(
    requests: &[Bound<'_, PyAny>],
    tools: Option<&[Option<Bound<'_, PyAny>>]>,
) -> PyResult<Vec<HeldRequest>> {
    let one = |(row, request): (usize, &Bound<'_, PyAny>)| {
        let offered = tools.and_then(|tools| tools.get(row)?.as_ref());
        HeldRequest::new(request, None, offered, None).map_err(|failure| in_row(request.py(), failure, row))
    };
    requests.iter().enumerate().map(one).collect()
}

/// The same exception, naming the row of a batch it is about.
fn in_row(py: Python<'_>, failure: PyErr, row: usize) -> PyErr {
    let value = failure.value(py);
    let part = |name| value.getattr(name).and_then(|part| part.extract::<String>());
    match (part("field"), part("value"), part("remedy")) {
        (Ok(field), Ok(value), Ok(remedy)) => {
            let error = Error::new(ErrorKind::RequestInvalid, field, value, remedy);
            to_exception(py, tiny_dancer::in_row(error, row))
        }
        _ => failure,
    }
}
