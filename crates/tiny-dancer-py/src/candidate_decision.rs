//! One candidate of an answer, as Python sees it.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use tiny_dancer::candidates::{FEATURE_NAMES, FEATURES};

/// One candidate of an answer.
#[pyclass(frozen, module = "tiny_dancer.routing")]
pub(crate) struct CandidateDecision {
    #[pyo3(get)]
    pub(crate) candidate_id: Py<PyString>,
    #[pyo3(get)]
    pub(crate) score: f32,
    #[pyo3(get)]
    pub(crate) confidence: f32,
    #[pyo3(get)]
    pub(crate) uncertainty: f32,
    #[pyo3(get)]
    pub(crate) use_lightweight: bool,
    #[pyo3(get)]
    pub(crate) in_prediction_set: bool,
    pub(crate) values: [f32; FEATURES],
}

#[pymethods]
impl CandidateDecision {
    /// A decision that no scorer made: features are 0.
    #[new]
    #[pyo3(signature = (candidate_id, score=0.0, confidence=0.0, uncertainty=1.0, use_lightweight=false,
                        in_prediction_set=false))]
    fn new(
        candidate_id: Py<PyString>,
        score: f32,
        confidence: f32,
        uncertainty: f32,
        use_lightweight: bool,
        in_prediction_set: bool,
    ) -> Self {
        let values = [0.0; FEATURES];
        Self { candidate_id, score, confidence, uncertainty, use_lightweight, in_prediction_set, values }
    }

    /// What the score was computed from, by name.
    #[getter]
    fn features<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let features = PyDict::new(py);
        for (name, value) in FEATURE_NAMES.iter().zip(self.values) {
            features.set_item(name, value)?;
        }
        Ok(features)
    }

    /// The features as little-endian float32, in the order of `CANDIDATE_FEATURES`.
    fn feature_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &bytes_of(&self.values))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "CandidateDecision(candidate_id={}, score={:.4}, confidence={:.4}, uncertainty={:.4}, use_lightweight={})",
            self.candidate_id.bind(py).repr()?,
            self.score,
            self.confidence,
            self.uncertainty,
            if self.use_lightweight { "True" } else { "False" },
        ))
    }
}

pub(crate) fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
