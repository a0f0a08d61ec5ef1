//! Conformal prediction as Python sees it: arrays come and go as little-endian bytes.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tiny_dancer::conformal::{
    Adaptive, Calibration, LabelScratch, Relevance, ScoreKind, Scores, absolute_residual,
    check_probabilities, interval, quantile, rank_score, rows_needed,
};
use tiny_dancer::{Error, ErrorKind};

use crate::convert::to_exception;

fn f64s(bytes: &[u8]) -> Vec<f64> {
    bytes.as_chunks::<8>().0.iter().map(|&chunk| f64::from_le_bytes(chunk)).collect()
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect()
}

fn i64s(bytes: &[u8]) -> Vec<i64> {
    bytes.as_chunks::<8>().0.iter().map(|&chunk| i64::from_le_bytes(chunk)).collect()
}

fn f64_bytes(py: Python<'_>, values: impl IntoIterator<Item = f64>) -> Bound<'_, PyBytes> {
    let bytes: Vec<u8> = values.into_iter().flat_map(f64::to_le_bytes).collect();
    PyBytes::new(py, &bytes)
}

/// Thresholds as an artifact keeps them.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
struct ConformalCalibration {
    inner: Calibration,
}

#[pymethods]
impl ConformalCalibration {
    /// From the JSON an artifact's header holds under `conformal`.
    #[new]
    fn new(py: Python<'_>, json: &str) -> PyResult<Self> {
        let parse = || {
            let inner: Calibration = serde_json::from_str(json).map_err(|error| {
                Error::new(ErrorKind::ArtifactInvalid, "conformal", error, "calibrate the artifact again")
            })?;
            inner.check()?;
            Ok(Self { inner })
        };
        parse().map_err(|error| to_exception(py, error))
    }

    /// From one score (f64) a calibration row, and its group.
    #[staticmethod]
    #[pyo3(signature = (score, scores, groups, alpha))]
    fn fit(
        py: Python<'_>,
        score: &str,
        scores: &[u8],
        groups: Option<Vec<String>>,
        alpha: f64,
    ) -> PyResult<Self> {
        let names: Option<Vec<&str>> =
            groups.as_ref().map(|groups| groups.iter().map(String::as_str).collect());
        let fitted = ScoreKind::named(score)
            .and_then(|kind| Calibration::fit(kind, &f64s(scores), names.as_deref(), alpha));
        fitted.map(|inner| Self { inner }).map_err(|error| to_exception(py, error))
    }

    /// JSON for an artifact's header.
    fn json(&self) -> String {
        serde_json::to_string(&self.inner).expect("numbers and strings")
    }

    #[getter]
    fn score(&self) -> &'static str {
        self.inner.score.name()
    }

    #[getter]
    fn alpha(&self) -> f64 {
        self.inner.alpha
    }

    #[getter]
    fn rows(&self) -> u64 {
        self.inner.rows
    }

    #[getter]
    fn threshold(&self) -> f64 {
        self.inner.threshold
    }

    /// Thresholds, f64, one a group given.
    fn thresholds<'py>(&self, py: Python<'py>, groups: Vec<Option<String>>) -> Bound<'py, PyBytes> {
        f64_bytes(py, groups.iter().map(|group| self.inner.threshold(group.as_deref())))
    }
}

/// Scores (f64 [n, labels]) of all labels by `score` (`lac` or `aps`), from probabilities (f32 [n, labels]).
#[pyfunction]
#[pyo3(signature = (score, probabilities, labels, uniform=None))]
fn conformal_label_scores<'py>(
    py: Python<'py>,
    score: &str,
    probabilities: &[u8],
    labels: usize,
    uniform: Option<&[u8]>,
) -> PyResult<Bound<'py, PyBytes>> {
    let kind = ScoreKind::named(score).map_err(|error| to_exception(py, error))?;
    let (probabilities, uniform) = (f32s(probabilities), uniform.map(f64s));
    let mut scratch = LabelScratch::default();
    let mut scores = Vec::with_capacity(probabilities.len());
    for (row, probabilities) in probabilities.chunks_exact(labels.max(1)).enumerate() {
        let uniform = uniform.as_ref().and_then(|uniform| uniform.get(row).copied()).unwrap_or(0.0);
        check_probabilities(probabilities, &format!("probabilities[{row}]"))
            .and_then(|()| kind.label_scores(probabilities, uniform, &mut scratch))
            .map_err(|error| to_exception(py, error))?;
        scores.extend_from_slice(scratch.scores());
    }
    Ok(f64_bytes(py, scores))
}

/// Distances (f64 [n]) of values from predictions (f64 [n] each).
#[pyfunction]
fn conformal_residuals<'py>(py: Python<'py>, predicted: &[u8], actual: &[u8]) -> Bound<'py, PyBytes> {
    let rows = f64s(predicted).into_iter().zip(f64s(actual));
    f64_bytes(py, rows.map(|(predicted, actual)| absolute_residual(predicted, actual)))
}

/// Intervals (f64 [n, 2]) around predictions (f64 [n]) at thresholds (f64 [n]).
#[pyfunction]
fn conformal_intervals<'py>(py: Python<'py>, predicted: &[u8], thresholds: &[u8]) -> Bound<'py, PyBytes> {
    let rows = f64s(predicted).into_iter().zip(f64s(thresholds));
    f64_bytes(py, rows.flat_map(|(predicted, threshold)| <[f64; 2]>::from(interval(predicted, threshold))))
}

/// How many candidates a ranking must keep for a relevant one; None where none is relevant.
#[pyfunction]
fn conformal_rank_score(scores: &[u8], relevant: &[u8]) -> Option<f64> {
    let relevant: Vec<bool> = relevant.iter().map(|&flag| flag != 0).collect();
    rank_score(&f32s(scores), &relevant)
}

/// The finite-sample quantile of scores (f64 [n]).
#[pyfunction]
fn conformal_quantile(scores: &[u8], alpha: f64) -> f64 {
    quantile(&mut f64s(scores), alpha)
}

/// The least number of calibration rows with a finite threshold.
#[pyfunction]
fn conformal_rows_needed(alpha: f64) -> f64 {
    rows_needed(alpha)
}

/// The next level of adaptive inference after a hit or a miss.
#[pyfunction]

fn conformal_next_level(py: Python<'_>, alpha: f64, gamma: f64, level: f64, covered: bool) -> PyResult<f64> {
    let start = Adaptive::new(alpha, gamma).map_err(|error| to_exception(py, error))?;
    Ok(Adaptive { level, ..start }.after(covered).level)
}

/// Rows, rows a knot stands for, knots as f32.
type Knots<'py> = (f64, f64, Bound<'py, PyBytes>);

/// Sorted calibration scores of relevant and irrelevant candidates.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
struct ConformalRelevance {
    inner: Relevance,
}

#[pymethods]
impl ConformalRelevance {
    /// From scores (f64), flags (u8), questions (i64 or None), and room for knots of each class.
    #[staticmethod]
    fn fit(
        py: Python<'_>,
        scores: &[u8],
        relevant: &[u8],
        questions: Option<&[u8]>,
        most_knots: usize,
    ) -> PyResult<Self> {
        let relevant: Vec<bool> = relevant.iter().map(|&flag| flag != 0).collect();
        let questions = questions.map(i64s);
        Relevance::fit(&f64s(scores), &relevant, questions.as_deref(), most_knots)
            .map(|inner| Self { inner })
            .map_err(|error| to_exception(py, error))
    }

    /// From (rows, step, knots f32) of the relevant, then of the irrelevant.
    #[staticmethod]
    fn from_parts(
        py: Python<'_>,
        relevant: (f64, f64, Vec<u8>),
        irrelevant: (f64, f64, Vec<u8>),
    ) -> PyResult<Self> {
        let scores = |(rows, step, knots): (f64, f64, Vec<u8>)| Scores::from_parts(rows, step, f32s(&knots));
        scores(relevant)
            .and_then(|relevant| Ok(Relevance::from_parts(relevant, scores(irrelevant)?)))
            .map(|inner| Self { inner })
            .map_err(|error| to_exception(py, error))
    }

    /// (rows, step, knots f32) of the relevant, then of the irrelevant.
    fn parts<'py>(&self, py: Python<'py>) -> (Knots<'py>, Knots<'py>) {
        let parts = |scores: &Scores| {
            let knots: Vec<u8> = scores.knots().iter().flat_map(|knot| knot.to_le_bytes()).collect();
            (scores.rows(), scores.step(), PyBytes::new(py, &knots))
        };
        (parts(self.inner.relevant()), parts(self.inner.irrelevant()))
    }

    /// p-values (f64 [n, 2]) of scores (f64 [n]): relevant, irrelevant.
    fn p_values<'py>(&self, py: Python<'py>, scores: &[u8]) -> Bound<'py, PyBytes> {
        let found = f64s(scores).into_iter().map(|score| self.inner.p_values(score));
        f64_bytes(py, found.flat_map(|found| [found.relevant, found.irrelevant]))
    }
}

/// Adds this room's names to the compiled module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ConformalCalibration>()?;
    module.add_class::<ConformalRelevance>()?;
    module.add_function(wrap_pyfunction!(conformal_label_scores, module)?)?;
    module.add_function(wrap_pyfunction!(conformal_residuals, module)?)?;
    module.add_function(wrap_pyfunction!(conformal_intervals, module)?)?;
    module.add_function(wrap_pyfunction!(conformal_rank_score, module)?)?;
    module.add_function(wrap_pyfunction!(conformal_quantile, module)?)?;
    module.add_function(wrap_pyfunction!(conformal_rows_needed, module)?)?;
    module.add_function(wrap_pyfunction!(conformal_next_level, module)?)?;
    module.add("CONFORMAL_MOST_KNOTS", tiny_dancer::conformal::MOST_KNOTS)?;
    Ok(())
}
