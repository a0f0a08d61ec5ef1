//! Classifiers of tasks as Python sees them.

use std::sync::Arc;

use pyo3::prelude::*;
use tiny_dancer::tasks::{Answer, Tasking};

use crate::Encoder;
use crate::convert::{text, to_exception};

/// Adds this room's names to the compiled module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Tasks>()?;
    module.add("TASK_EDGE", tiny_dancer::tasks::EDGE)
}

/// A classifier of tasks with its encoder.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
pub(crate) struct Tasks {
    inner: Tasking,
}

#[pymethods]
impl Tasks {
    #[new]
    #[pyo3(signature = (bytes, encoder=None))]
    fn new(py: Python<'_>, bytes: &[u8], encoder: Option<&Encoder>) -> PyResult<Self> {
        let encoder = encoder.map(|encoder| Arc::clone(&encoder.inner));
        let inner = py.detach(|| Tasking::new(bytes, encoder)).map_err(|error| to_exception(py, error))?;
        Ok(Self { inner })
    }

    /// The header as JSON.
    fn header(&self) -> String {
        serde_json::to_string(self.inner.tasks().header()).unwrap_or_default()
    }

    /// Classifies a request given as JSON; see the engine's `Tasking::classify_json`.
    fn classify_json(&self, py: Python<'_>, request: &str) -> PyResult<String> {
        self.inner.classify_json(request).map_err(|error| to_exception(py, error))
    }

    /// Classifies n texts; one JSON a text.
    fn classify_batch(&self, py: Python<'_>, texts: Vec<Bound<'_, PyAny>>) -> PyResult<Vec<String>> {
        let texts = texts
            .iter()
            .enumerate()
            .map(|(row, value)| text(value, &format!("requests[{row}].text")))
            .collect::<PyResult<Vec<_>>>()?;
        let parts = py
            .detach(|| self.inner.classify_rows(&texts, |answer: &Answer<'_>| answer.to_json()))
            .map_err(|error| to_exception(py, error))?;
        Ok(parts.into_iter().flatten().collect())
    }
}
