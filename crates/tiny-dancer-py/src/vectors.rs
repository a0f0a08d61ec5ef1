//! Float arrays as Python hands them over.

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use tiny_dancer::candidates::{Precision, SharedRows};
use tiny_dancer::{Error, ErrorKind};

use crate::convert::to_exception;

fn refused(py: Python<'_>, field: &str, value: impl std::fmt::Display, remedy: &str) -> PyErr {
    to_exception(py, Error::new(ErrorKind::CandidateInvalid, field, value, remedy))
}

/// Floats of someone else's, kept alive and read in place: while the interpreter is held, or where the Python side has
/// made sure that nobody can write to them (`CandidateSet.from_arrays`).
pub(crate) struct Held {
    buffer: PyBuffer<f32>,
}

impl SharedRows for Held {
    fn values(&self) -> &[f32] {
        if self.buffer.item_count() == 0 {
            return &[];
        }
        // SAFETY: the buffer is C-contiguous f32 (checked by `floats`), stays valid while it is held, is aligned as the
        // exporter promised for its format, and is not written to meanwhile (see the type).
        unsafe { std::slice::from_raw_parts(self.buffer.buf_ptr().cast(), self.buffer.item_count()) }
    }
}

pub(crate) fn held(value: &Bound<'_, PyAny>, field: &str) -> PyResult<Held> {
    let py = value.py();
    let unfit = |_| refused(py, field, "no float32 array", "give a C-contiguous float32 array");
    let buffer = PyBuffer::<f32>::get(value).map_err(unfit)?;
    if !buffer.is_c_contiguous() {
        return Err(refused(py, field, "not contiguous", "give a C-contiguous float32 array"));
    }
    Ok(Held { buffer })
}

pub(crate) fn precision(py: Python<'_>, name: &str) -> PyResult<Precision> {
    match name {
        "full" => Ok(Precision::Full),
        "quantised" => Ok(Precision::Quantised),
        "indexed" => Ok(Precision::Indexed),
        other => Err(to_exception(
            py,
            Error::new(ErrorKind::OptionInvalid, "precision", other, "full, quantised or indexed"),
        )),
    }
}
