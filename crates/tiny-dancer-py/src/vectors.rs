//! Float arrays as Python hands them over, and rows of vectors alone.

use std::sync::{Mutex, PoisonError, RwLock};

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::sync::RwLockExt;
use tiny_dancer::candidates::{Matrix, MatrixScratch, Precision, SharedRows};
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

/// Rows of vectors alone, for finding the nearest; rows are named by their number, the last takes a removed one's.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
struct Vectors {
    matrix: RwLock<Matrix>,
    scratch: Mutex<Vec<MatrixScratch>>,
}

#[pymethods]
impl Vectors {
    #[new]
    fn new(py: Python<'_>, dimensions: usize, kept: &str) -> PyResult<Self> {
        let matrix =
            Matrix::new(dimensions, precision(py, kept)?).map_err(|error| to_exception(py, error))?;
        Ok(Self { matrix: RwLock::new(matrix), scratch: Mutex::default() })
    }

    fn append(&self, py: Python<'_>, rows: &Bound<'_, PyAny>) -> PyResult<()> {
        let rows = held(rows, "rows")?;
        let mut matrix = self.matrix.write_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        matrix.append(rows.values()).map_err(|error| to_exception(py, error))
    }

    fn replace(&self, py: Python<'_>, row: usize, values: &Bound<'_, PyAny>) -> PyResult<()> {
        let values = held(values, "row")?;
        let mut matrix = self.matrix.write_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        known_row(py, row, &matrix)?;
        matrix.replace(row, values.values()).map_err(|error| to_exception(py, error))
    }

    fn swap_remove(&self, py: Python<'_>, row: usize) -> PyResult<()> {
        let mut matrix = self.matrix.write_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        known_row(py, row, &matrix)?;
        matrix.swap_remove(row);
        Ok(())
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.matrix.read_py_attached(py).unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The `k` nearest rows among those whose byte in `allowed` is not 0, as (row, cosine), nearest first.
    #[pyo3(signature = (query, k, allowed=None))]
    fn nearest(
        &self,
        py: Python<'_>,
        query: &Bound<'_, PyAny>,
        k: usize,
        allowed: Option<&[u8]>,
    ) -> PyResult<Vec<(u32, f32)>> {
        // A copy: others may write to the array while it is searched for.
        let query = held(query, "query_embedding")?.values().to_vec();
        let allowed: Option<Vec<bool>> = allowed.map(|flags| flags.iter().map(|&flag| flag != 0).collect());
        let mut scratch =
            self.scratch.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let found = py.detach(|| {
            let matrix = self.matrix.read().unwrap_or_else(PoisonError::into_inner);
            matrix.nearest(&query, k, allowed.as_deref(), &mut scratch)
        });
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        found.map_err(|error| to_exception(py, error))
    }
}

fn known_row(py: Python<'_>, row: usize, matrix: &Matrix) -> PyResult<()> {
    if row < matrix.len() { Ok(()) } else { Err(refused(py, "row", row, "no such row")) }
}

/// Adds this room's names to the compiled module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Vectors>()
}
