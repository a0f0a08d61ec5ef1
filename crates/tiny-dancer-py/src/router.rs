//! The router as Python sees it.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};
use tiny_dancer::features::{CUES, DIM};
use tiny_dancer::{Answer, Error, ErrorKind, Handle, Removal, Request, Scratch, Side, Uncovered};

use crate::Encoder;
use crate::convert::{HeldRequest, requests, to_exception};
use crate::options::{Options, asked};

/// A loaded artifact with its encoder, shared between threads.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
pub(crate) struct Router {
    handle: Handle,
    names: Vec<Py<PyString>>,
}

/// Model, scores, costs, latencies, output tokens, removed, tokens, (confidence, likeness), prediction set, reason,
/// `routed_by`, why there is no guarantee (None: there is one).
type DecisionTuple<'py> = (
    Bound<'py, PyString>,
    Bound<'py, PyDict>,
    Option<Bound<'py, PyDict>>,
    Option<Bound<'py, PyDict>>,
    Option<Bound<'py, PyDict>>,
    Option<Bound<'py, PyDict>>,
    u32,
    (f32, Option<f32>),
    Bound<'py, PyTuple>,
    &'static str,
    &'static str,
    Option<&'static str>,
);

/// Models left, USD by model, what removed the others.
type OutlookTuple<'py> = (Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>, Option<Bound<'py, PyDict>>);

impl Router {
    /// Numbers by model, unknown ones None; None where all are unknown.
    fn named<'py>(&self, py: Python<'py>, values: &[f64]) -> PyResult<Option<Bound<'py, PyDict>>> {
        if values.iter().all(|value| value.is_nan()) {
            return Ok(None);
        }
        let named = PyDict::new(py);
        for (name, &value) in self.names.iter().zip(values) {
            named.set_item(name, (!value.is_nan()).then_some(value))?;
        }
        Ok(Some(named))
    }

    /// What removed a model, by its name; None where nothing did.
    fn removed<'py>(&self, py: Python<'py>, by: &[Option<Removal>]) -> PyResult<Option<Bound<'py, PyDict>>> {
        if by.iter().all(Option::is_none) {
            return Ok(None);
        }
        let removed = PyDict::new(py);
        for (name, by) in self.names.iter().zip(by) {
            if let Some(by) = by {
                removed.set_item(name, by.as_str())?;
            }
        }
        Ok(Some(removed))
    }

    fn convert<'py>(&self, py: Python<'py>, answer: &Answer) -> PyResult<DecisionTuple<'py>> {
        let (decision, expect) = (answer.decision, answer.expect);
        let scores = PyDict::new(py);
        for (name, &quality) in self.names.iter().zip(&expect.quality) {
            scores.set_item(name, quality)?;
        }
        let removed = self.removed(py, &expect.removed)?;
        let members = self.names.iter().zip(&expect.prediction_set).filter(|(_, member)| **member);
        let choice = decision.choice;
        Ok((
            self.names[choice.model].bind(py).clone(),
            scores,
            self.named(py, &expect.cost)?,
            self.named(py, &expect.latency)?,
            self.named(py, &expect.output_tokens)?,
            removed,
            decision.tokens,
            (decision.confidence, decision.likeness),
            PyTuple::new(py, members.map(|(name, _)| name).collect::<Vec<_>>())?,
            choice.reason.as_str(),
            choice.routed_by.as_str(),
            choice.uncovered.map(Uncovered::as_str),
        ))
    }
}

#[pymethods]
impl Router {
    /// `changes` is JSON: per model, in order, the fields of the engine's `ModelSpec`, absent keys unchanged; or None.
    #[new]
    #[pyo3(signature = (bytes, encoder=None, changes=None))]
    fn new(py: Python<'_>, bytes: &[u8], encoder: Option<&Encoder>, changes: Option<&str>) -> PyResult<Self> {
        let encoder = encoder.map(|encoder| Arc::clone(&encoder.inner));
        let handle = Handle::new(bytes, encoder, changes.unwrap_or_default())
            .map_err(|error| to_exception(py, error))?;
        let models = &handle.router().header().models;
        let names = models.iter().map(|model| PyString::new(py, &model.name).unbind()).collect();
        Ok(Self { handle, names })
    }

    /// The header as JSON.
    fn header(&self) -> String {
        serde_json::to_string(self.handle.router().header()).unwrap_or_default()
    }

    /// Why no decision stands under a certificate, whatever it is; None where the artifact has one.
    fn uncertified(&self) -> Option<&'static str> {
        self.handle.router().uncertified().map(Uncovered::as_str)
    }

    /// The martingale that watches a stream of decisions, before the first; None where the artifact cannot say what
    /// requests are like.
    fn martingale(&self) -> Option<Martingale> {
        self.handle.router().martingale().map(|inner| Martingale { inner })
    }

    /// The watch over a stream of decisions, before the first.
    fn drift(&self, threshold: f64, seed: u64) -> Drift {
        Drift { inner: self.handle.router().drift(threshold, seed) }
    }

    /// Rising knots, and rows up to each and beyond the last, of a measure of decisions; None where none are known.
    fn usual(&self, name: &str) -> Option<(Vec<f32>, Vec<f64>)> {
        self.handle.router().usual(name)
    }

    /// Decides one request: a text as `str`, or messages as JSON in `bytes`.
    #[pyo3(signature = (request, tools=None, options=None, system=None, response_format=None))]
    fn decide<'py>(
        &self,
        py: Python<'py>,
        request: &Bound<'py, PyAny>,
        tools: Option<&Bound<'py, PyAny>>,
        options: Option<&Options>,
        system: Option<&Bound<'py, PyAny>>,
        response_format: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<DecisionTuple<'py>> {
        let held = HeldRequest::new(request, system, tools, response_format)?;
        self.handle
            .decide(&held.request(), asked(options), |answer| self.convert(py, answer))
            .map_err(|error| to_exception(py, error))?
    }

    /// Decides a request given as JSON; the answer as JSON.
    #[pyo3(signature = (request, options=None))]
    fn decide_json(&self, py: Python<'_>, request: &str, options: Option<&str>) -> PyResult<String> {
        self.handle.decide_json(request, options.unwrap_or_default()).map_err(|error| to_exception(py, error))
    }

    /// Decides n requests given as JSON on all processors; one JSON a request.
    #[pyo3(signature = (requests, options=None))]
    fn decide_json_batch(
        &self,
        py: Python<'_>,
        requests: Vec<PyBackedStr>,
        options: Option<&str>,
    ) -> PyResult<Vec<String>> {
        let parts = py
            .detach(|| {
                let options = tiny_dancer::Options::from_json(options.unwrap_or_default())?;
                self.handle.decide_rows(
                    requests.len(),
                    &options,
                    |row, handle, options, scratch| {
                        handle.decide_in(&Request::from_json(&requests[row])?, options, scratch)
                    },
                    |part: &mut Vec<String>, answer| part.push(answer.to_json()),
                )
            })
            .map_err(|error| to_exception(py, error))?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// What the constraints leave while nothing can be expected of quality: (models left, USD of every model or None,
    /// what removed the others or None).
    #[pyo3(signature = (tokens, at_most, options=None))]
    fn outlook<'py>(
        &self,
        py: Python<'py>,
        tokens: Option<u32>,
        at_most: u32,
        options: Option<&Options>,
    ) -> PyResult<OutlookTuple<'py>> {
        let outlook =
            self.handle.outlook(tokens, at_most, asked(options)).map_err(|error| to_exception(py, error))?;
        let left = self.names.iter().zip(&outlook.removed).filter(|(_, removed)| removed.is_none());
        let left = PyTuple::new(py, left.map(|(name, _)| name).collect::<Vec<_>>())?;
        Ok((left, self.named(py, &outlook.cost)?, self.removed(py, &outlook.removed)?))
    }

    /// Decides n requests on all processors. Arrays as little-endian bytes: model i32 [n], quality f32 [n, m], cost,
    /// latency and output tokens f64 [n, m] (NaN unknown), what removed a model u8 [n, m] (255: nothing), tokens u32
    /// [n], confidence f32 [n], likeness f32 [n] (NaN: the artifact cannot say), flags u8 [n, 3] (reason, `routed_by`, why there is no guarantee; 255: there is one),
    /// prediction set u8 [n, m].
    #[pyo3(signature = (given, tools=None, options=None))]
    fn decide_batch<'py>(
        &self,
        py: Python<'py>,
        given: Vec<Bound<'py, PyAny>>,
        tools: Option<Vec<Option<Bound<'py, PyAny>>>>,
        options: Option<&Options>,
    ) -> PyResult<BatchBytes<'py>> {
        let held = requests(&given, tools.as_deref())?;
        let columns = py
            .detach(|| {
                self.handle.decide_rows(
                    held.len(),
                    asked(options),
                    |row, handle, options, scratch| handle.decide_in(&held[row].request(), options, scratch),
                    Columns::push,
                )
            })
            .map_err(|error| to_exception(py, error))?;
        Columns::join(py, &columns)
    }

    /// Decides n requests given as features, laid out as `featurise_batch` gives them.
    #[pyo3(signature = (offsets, ngrams, cues, embedding, tokens, options=None))]
    fn decide_features<'py>(
        &self,
        py: Python<'py>,
        offsets: &[u8],
        ngrams: &[u8],
        cues: &[u8],
        embedding: &[u8],
        tokens: &[u8],
        options: Option<&Options>,
    ) -> PyResult<BatchBytes<'py>> {
        let rows = FeatureRows::new(py, offsets, ngrams, cues, embedding, tokens)?;
        let columns = py
            .detach(|| {
                self.handle.decide_rows(
                    rows.tokens.len(),
                    asked(options),
                    |row, handle, options, scratch| {
                        rows.put(row, scratch)?;
                        handle.router().decide_features(options, scratch)
                    },
                    Columns::push,
                )
            })
            .map_err(|error| to_exception(py, error))?;
        Columns::join(py, &columns)
    }

    /// What the backends make of n requests given as features: f32 [n, components] as bytes.
    fn components<'py>(
        &self,
        py: Python<'py>,
        offsets: &[u8],
        ngrams: &[u8],
        cues: &[u8],
        embedding: &[u8],
        tokens: &[u8],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let rows = FeatureRows::new(py, offsets, ngrams, cues, embedding, tokens)?;
        let mut scratch = Scratch::default();
        let mut bytes = Vec::new();
        for row in 0..rows.tokens.len() {
            rows.put(row, &mut scratch).map_err(|error| to_exception(py, error))?;
            let components = self.handle.router().components(&mut scratch);
            bytes.extend(components.iter().flat_map(|value| value.to_le_bytes()));
        }
        Ok(PyBytes::new(py, &bytes))
    }
}

/// Features of n requests, laid out as `featurise_batch` gives them.
struct FeatureRows {
    offsets: Vec<i64>,
    ngrams: Vec<u32>,
    cues: Vec<f32>,
    embedding: Vec<i8>,
    tokens: Vec<i32>,
}

impl FeatureRows {
    fn new(
        py: Python<'_>,
        offsets: &[u8],
        ngrams: &[u8],
        cues: &[u8],
        embedding: &[u8],
        tokens: &[u8],
    ) -> PyResult<Self> {
        let offsets: Vec<i64> =
            offsets.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect();
        let ngrams: Vec<u32> = ngrams.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect();
        let cues: Vec<f32> = cues.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        let embedding: Vec<i8> = embedding.iter().map(|byte| byte.cast_signed()).collect();
        let tokens: Vec<i32> = tokens.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect();
        let rows = tokens.len();
        let sound = offsets.len() == rows + 1
            && cues.len() == rows * CUES
            && embedding.len() == rows * DIM
            && offsets.windows(2).all(|pair| 0 <= pair[0] && pair[0] <= pair[1])
            && offsets.last().is_some_and(|&end| end as usize <= ngrams.len());
        if !sound {
            let remedy = "featurise the table again with this version";
            let error =
                Error::new(ErrorKind::RequestInvalid, "features", "columns disagree in length", remedy);
            return Err(to_exception(py, error));
        }
        Ok(Self { offsets, ngrams, cues, embedding, tokens })
    }

    /// Puts the features of one request where the engine reads them.
    fn put(&self, row: usize, scratch: &mut Scratch) -> Result<(), Error> {
        let indices = &self.ngrams[self.offsets[row] as usize..self.offsets[row + 1] as usize];
        let (cues, _) = self.cues[row * CUES..].split_first_chunk().expect("checked above");
        let (embedding, _) = self.embedding[row * DIM..].split_first_chunk().expect("checked above");
        scratch.features.set(indices, cues, embedding, self.tokens[row].max(0) as u32)
    }
}

/// A conformal test martingale: immutable, a step gives the next one.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
pub(crate) struct Martingale {
    inner: tiny_dancer::Martingale,
}

#[pymethods]
impl Martingale {
    /// After one more request, whose decision had this p-value.
    fn step(&self, p_value: f32) -> Self {
        Self { inner: self.inner.clone().step(p_value) }
    }

    #[getter]
    fn capital(&self) -> f64 {
        self.inner.capital()
    }

    #[getter]
    fn highest(&self) -> f64 {
        self.inner.highest()
    }

    #[getter]
    fn steps(&self) -> u64 {
        self.inner.steps()
    }
}

/// The state of a watch; changed in place, as one is stepped per decision.
#[pyclass(module = "tiny_dancer._core._native")]
pub(crate) struct Drift {
    inner: tiny_dancer::Drift,
}

/// Name, steps, capital, since, side, model and whether it knows what is usual.
type AlarmTuple = (&'static str, u64, f64, Option<u64>, &'static str, Option<usize>, bool);

#[pymethods]
impl Drift {
    /// A decision; gives the highest quality expected, and the gain over the best constant.
    fn decided(&mut self, likeness: Option<f32>, scores: Vec<f32>) -> (f32, f32) {
        self.inner.decided(likeness, &scores)
    }

    /// Decisions in a row, each its likeness (NaN: unknown) and row of scores; stops at the one an alarm rings at, and
    /// gives how many were counted.
    fn decided_all(&mut self, likeness: Vec<f32>, scores: Vec<f32>) -> usize {
        let models = scores.len() / likeness.len().max(1);
        for (row, &each) in likeness.iter().enumerate() {
            self.inner.decided((!each.is_nan()).then_some(each), &scores[row * models..][..models]);
            if self.inner.rings() {
                return row + 1;
            }
        }
        likeness.len()
    }

    fn graded(&mut self, residual: f64) {
        self.inner.graded(residual);
    }

    #[pyo3(signature = (model, quality, scores, reference=None))]
    fn measured(&mut self, model: usize, quality: f64, scores: Vec<f32>, reference: Option<f64>) {
        self.inner.measured(model, quality, &scores, reference);
    }

    fn alarms(&self) -> Vec<AlarmTuple> {
        let side = |side| match side {
            Side::Neither => "",
            Side::Higher => "higher",
            Side::Lower => "lower",
            Side::Alike => "more alike",
        };
        let alarms = self.inner.alarms().into_iter();
        alarms
            .map(|each| {
                (each.name, each.steps, each.capital, each.since, side(each.side), each.model, each.known)
            })
            .collect()
    }

    #[getter]
    fn rings(&self) -> bool {
        self.inner.rings()
    }
}

/// Columns by name.
type BatchBytes<'py> = Bound<'py, PyDict>;

/// Bytes of one column.
type Column = fn(&Columns) -> &Vec<u8>;

/// Decisions of a range of rows, column by column.
#[derive(Default)]
struct Columns {
    choice: Vec<u8>,
    scores: Vec<u8>,
    costs: Vec<u8>,
    latencies: Vec<u8>,
    output_tokens: Vec<u8>,
    removed: Vec<u8>,
    tokens: Vec<u8>,
    confidence: Vec<u8>,
    likeness: Vec<u8>,
    flags: Vec<u8>,
    prediction_set: Vec<u8>,
}

impl Columns {
    fn push(&mut self, answer: &Answer) {
        let (choice, expect) = (answer.decision.choice, answer.expect);
        let add = |column: &mut Vec<u8>, values: &[f64]| {
            column.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        };
        self.choice.extend((choice.model as i32).to_le_bytes());
        self.scores.extend(expect.quality.iter().flat_map(|value| value.to_le_bytes()));
        add(&mut self.costs, &expect.cost);
        add(&mut self.latencies, &expect.latency);
        add(&mut self.output_tokens, &expect.output_tokens);
        self.removed.extend(expect.removed.iter().map(|removed| removed.map_or(u8::MAX, |by| by as u8)));
        self.tokens.extend(answer.decision.tokens.to_le_bytes());
        self.confidence.extend(answer.decision.confidence.to_le_bytes());
        self.likeness.extend(answer.decision.likeness.unwrap_or(f32::NAN).to_le_bytes());
        let uncovered = choice.uncovered.map_or(u8::MAX, |why| why as u8);
        self.flags.extend([choice.reason as u8, choice.routed_by as u8, uncovered]);
        self.prediction_set.extend(expect.prediction_set.iter().map(|&member| u8::from(member)));
    }

    fn join<'py>(py: Python<'py>, parts: &[Self]) -> PyResult<BatchBytes<'py>> {
        let columns: [(&str, Column); 11] = [
            ("choice", |part| &part.choice),
            ("scores", |part| &part.scores),
            ("costs", |part| &part.costs),
            ("latencies", |part| &part.latencies),
            ("output_tokens", |part| &part.output_tokens),
            ("removed", |part| &part.removed),
            ("tokens", |part| &part.tokens),
            ("confidence", |part| &part.confidence),
            ("likeness", |part| &part.likeness),
            ("flags", |part| &part.flags),
            ("prediction_set", |part| &part.prediction_set),
        ];
        let joined = PyDict::new(py);
        for (name, column) in columns {
            let parts: Vec<&[u8]> = parts.iter().map(|part| column(part).as_slice()).collect();
            joined.set_item(name, PyBytes::new(py, &parts.concat()))?;
        }
        Ok(joined)
    }
}
