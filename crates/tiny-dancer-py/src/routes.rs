//! Semantic routes as Python sees them.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tiny_dancer::routes::{Options, Reason, Routing, Vector};
use tiny_dancer::{Error, ErrorKind};

use crate::Encoder;
use crate::convert::{text, to_exception};

/// Adds this room's names to the compiled module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Routes>()?;
    module.add_class::<RouteOptions>()?;
    module.add("ROUTE_REASONS", Reason::ALL.map(Reason::as_str).to_vec())?;
    module.add("ROUTE_MEASURES", tiny_dancer::routes::MEASURES.to_vec())
}

/// What is asked of a decision beyond the request, from JSON.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
pub(crate) struct RouteOptions {
    inner: Options,
}

#[pymethods]
impl RouteOptions {
    #[new]
    fn new(py: Python<'_>, json: &str) -> PyResult<Self> {
        let inner = Routing::options(json).map_err(|error| to_exception(py, error))?;
        Ok(Self { inner })
    }
}

/// Routes loaded with their encoder.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
pub(crate) struct Routes {
    inner: Routing,
}

/// (route or None, best, confidence, in-scope score or None, reason, the most probable with probabilities, prediction
/// set, the text as it was read where that is otherwise than written), routes by their positions.
type ChoiceTuple =
    (Option<usize>, usize, f32, Option<f32>, &'static str, Vec<(u32, f32)>, Vec<u32>, Option<String>);
/// route i32 (−1: none), best i32, confidence f32, in-scope score f32 (NaN: none), reason u8 (position in
/// `ROUTE_REASONS`); one a row each, little-endian.
type ChoiceBytes<'py> =
    (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>);

#[derive(Default)]
struct Columns {
    route: Vec<u8>,
    best: Vec<u8>,
    confidence: Vec<u8>,
    in_scope: Vec<u8>,
    reason: Vec<u8>,
}

#[derive(Default)]
struct Scores {
    scores: Vec<u8>,
    measures: Vec<u8>,
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// One row's request out of texts and vectors that lie one after the other.
fn row<'a>(
    texts: &'a [impl AsRef<str>],
    vectors: Option<(&'a [f32], &'a str)>,
    at: usize,
) -> (&'a str, Option<Vector<'a>>) {
    let vector = vectors.map(|(values, encoder)| {
        let width = values.len() / texts.len().max(1);
        Vector { values: &values[at * width..(at + 1) * width], encoder }
    });
    (texts[at].as_ref(), vector)
}

fn strings(texts: &[Bound<'_, PyAny>]) -> PyResult<Vec<pyo3::pybacked::PyBackedStr>> {
    texts.iter().enumerate().map(|(at, value)| text(value, &format!("requests[{at}].text"))).collect()
}

#[pymethods]
impl Routes {
    #[new]
    #[pyo3(signature = (bytes, encoder=None))]
    fn new(py: Python<'_>, bytes: &[u8], encoder: Option<&Encoder>) -> PyResult<Self> {
        let encoder = encoder.map(|encoder| Arc::clone(&encoder.inner));
        let inner = py.detach(|| Routing::new(bytes, encoder)).map_err(|error| to_exception(py, error))?;
        Ok(Self { inner })
    }

    /// The header as JSON.
    fn header(&self) -> String {
        serde_json::to_string(self.inner.routes().header()).unwrap_or_default()
    }

    /// Decides one request; `vector` is float32 as bytes.
    #[pyo3(signature = (request, vector=None, encoder="", options=None))]
    fn decide(
        &self,
        py: Python<'_>,
        request: &Bound<'_, PyAny>,
        vector: Option<&[u8]>,
        encoder: &str,
        options: Option<&RouteOptions>,
    ) -> PyResult<ChoiceTuple> {
        let words = text(request, "text")?;
        let values = vector.map(floats);
        let vector = values.as_deref().map(|values| Vector { values, encoder });
        let default = Options::default();
        let options = options.map_or(&default, |options| &options.inner);
        let read = |answer: &tiny_dancer::routes::Answer<'_>| {
            let (decision, scratch) = (answer.decision, answer.scratch);
            let top = scratch.top.iter().map(|&at| (at, scratch.probabilities[at as usize])).collect();
            (
                decision.route,
                decision.best,
                decision.confidence,
                decision.in_scope,
                decision.reason.as_str(),
                top,
                scratch.set.clone(),
                scratch.read_as(),
            )
        };
        self.inner.decide(&words, vector, options, read).map_err(|error| to_exception(py, error))
    }

    /// Decides a request given as JSON; see the engine's `Routing::decide_json`.
    #[pyo3(signature = (request, options=""))]
    fn decide_json(&self, py: Python<'_>, request: &str, options: &str) -> PyResult<String> {
        self.inner.decide_json(request, options).map_err(|error| to_exception(py, error))
    }

    /// Decides n requests; `vectors` is float32 [n, dimension] as bytes.
    #[pyo3(signature = (texts, vectors=None, encoder="", options=None))]
    fn decide_batch<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<Bound<'py, PyAny>>,
        vectors: Option<&[u8]>,
        encoder: &str,
        options: Option<&RouteOptions>,
    ) -> PyResult<ChoiceBytes<'py>> {
        let texts = strings(&texts)?;
        let vectors = vectors.map(floats);
        check_rows(py, vectors.as_deref(), texts.len())?;
        let default = Options::default();
        let options = options.map_or(&default, |options| &options.inner);
        let request = |at: usize| row(&texts, vectors.as_deref().map(|values| (values, encoder)), at);
        let push = |columns: &mut Columns,
                    decision: tiny_dancer::routes::Decision,
                    _: &tiny_dancer::routes::Scratch| {
            let route = decision.route.map_or(-1, |route| route as i32);
            columns.route.extend(route.to_le_bytes());
            columns.best.extend((decision.best as i32).to_le_bytes());
            columns.confidence.extend(decision.confidence.to_le_bytes());
            columns.in_scope.extend(decision.in_scope.unwrap_or(f32::NAN).to_le_bytes());
            let reason = Reason::ALL.iter().position(|reason| *reason == decision.reason);
            columns.reason.push(reason.unwrap_or_default() as u8);
        };
        let parts = py
            .detach(|| self.inner.decide_rows(texts.len(), options, request, push))
            .map_err(|error| to_exception(py, error))?;
        let joined = |column: fn(&Columns) -> &Vec<u8>| {
            let parts: Vec<&[u8]> = parts.iter().map(|part| column(part).as_slice()).collect();
            PyBytes::new(py, &parts.concat())
        };
        Ok((
            joined(|part| &part.route),
            joined(|part| &part.best),
            joined(|part| &part.confidence),
            joined(|part| &part.in_scope),
            joined(|part| &part.reason),
        ))
    }

    /// Scores before the temperature, f32 [n, routes], and measures, f32 [n, 7], of n requests.
    #[pyo3(signature = (texts, vectors=None, encoder=""))]
    fn scores<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<Bound<'py, PyAny>>,
        vectors: Option<&[u8]>,
        encoder: &str,
    ) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let texts = strings(&texts)?;
        let vectors = vectors.map(floats);
        check_rows(py, vectors.as_deref(), texts.len())?;
        let request = |at: usize| row(&texts, vectors.as_deref().map(|values| (values, encoder)), at);
        let push =
            |part: &mut Scores, _: tiny_dancer::routes::Decision, scratch: &tiny_dancer::routes::Scratch| {
                part.scores.extend(scratch.scores.iter().flat_map(|value| value.to_le_bytes()));
                part.measures.extend(scratch.measures.iter().flat_map(|value| value.to_le_bytes()));
            };
        // Conditions would ask for a clock: none is asked where no route is allowed but one without any.
        let options = Options { limit: 0, ..Options::default() };
        let parts = py
            .detach(|| self.inner.decide_rows(texts.len(), &options, request, push))
            .map_err(|error| to_exception(py, error))?;
        let joined = |column: fn(&Scores) -> &Vec<u8>| {
            let parts: Vec<&[u8]> = parts.iter().map(|part| column(part).as_slice()).collect();
            PyBytes::new(py, &parts.concat())
        };
        Ok((joined(|part| &part.scores), joined(|part| &part.measures)))
    }
}

fn check_rows(py: Python<'_>, vectors: Option<&[f32]>, rows: usize) -> PyResult<()> {
    match vectors {
        Some(values) if !values.len().is_multiple_of(rows.max(1)) => {
            let found = format!("{} values for {rows} texts", values.len());
            let remedy = "give one vector a text";
            Err(to_exception(py, Error::new(ErrorKind::RequestInvalid, "vectors", found, remedy)))
        }
        _ => Ok(()),
    }
}
