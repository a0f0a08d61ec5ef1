//! The router as Python sees it.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};
use tiny_dancer::features::{CUES, DIM, Request};
use tiny_dancer::{Decision, Error, ErrorKind, Options, Router as Engine, Scratch};

use crate::Encoder;
use crate::convert::{RawMessages, Requests, engine_messages, in_chunks, in_row, text, to_exception};

/// A loaded artifact with its encoder. Threads share it; each call takes a scratch from the pool.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
pub(crate) struct Router {
    engine: Engine,
    encoder: Option<Arc<tiny_dancer::encoder::Encoder>>,
    names: Vec<Py<PyString>>,
    pool: Mutex<Vec<Scratch>>,
}

/// What a caller asks beyond the request: `(max_cost, min_quality, max_latency, allowed, excluded, pinned, threshold,
/// cost_weight, expected_output_tokens)`, models by index.
type RawOptions = (
    Option<f64>,
    Option<f64>,
    Option<f64>,
    Vec<usize>,
    Vec<usize>,
    Option<usize>,
    Option<f64>,
    Option<f64>,
    Option<f64>,
);

fn options(raw: Option<RawOptions>) -> Options {
    let Some((max_cost, min_quality, max_latency, allowed, excluded, pinned, threshold, cost_weight, output)) =
        raw
    else {
        return Options::default();
    };
    Options {
        max_cost,
        min_quality,
        max_latency,
        allowed,
        excluded,
        pinned,
        threshold,
        cost_weight,
        expected_output_tokens: output,
    }
}

/// Model index, scores, costs, confidence, prediction set, reason, `routed_by`, as certified.
type DecisionTuple<'py> = (
    usize,
    Bound<'py, PyDict>,
    Option<Bound<'py, PyDict>>,
    f32,
    Bound<'py, PyTuple>,
    &'static str,
    &'static str,
    bool,
);

impl Router {
    fn with_scratch<T>(&self, work: impl FnOnce(&mut Scratch) -> T) -> T {
        let taken = self.pool.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut scratch = taken.unwrap_or_default();
        let result = work(&mut scratch);
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        result
    }

    fn convert<'py>(
        &self,
        py: Python<'py>,
        decision: Decision,
        scratch: &Scratch,
    ) -> PyResult<DecisionTuple<'py>> {
        let expect = &scratch.expect;
        let scores = PyDict::new(py);
        for (name, &quality) in self.names.iter().zip(&expect.quality) {
            scores.set_item(name, quality)?;
        }
        let costs = if expect.cost.iter().all(|cost| cost.is_nan()) {
            None
        } else {
            let costs = PyDict::new(py);
            for (name, &cost) in self.names.iter().zip(&expect.cost) {
                costs.set_item(name, (!cost.is_nan()).then_some(cost))?;
            }
            Some(costs)
        };
        let members = self.names.iter().zip(&expect.prediction_set).filter(|(_, member)| **member);
        let set = PyTuple::new(py, members.map(|(name, _)| name).collect::<Vec<_>>())?;
        let choice = decision.choice;
        Ok((
            choice.model,
            scores,
            costs,
            decision.confidence,
            set,
            choice.reason.as_str(),
            choice.routed_by.as_str(),
            choice.as_certified,
        ))
    }
}

#[pymethods]
impl Router {
    /// `changes` is JSON: per model, in order, `{name, price_input, price_output, price_request, context_window,
    /// expected_output_tokens}`, absent keys unchanged; or null.
    #[new]
    #[pyo3(signature = (bytes, encoder=None, changes=None))]
    fn new(py: Python<'_>, bytes: &[u8], encoder: Option<&Encoder>, changes: Option<&str>) -> PyResult<Self> {
        let encoder = encoder.map(|encoder| Arc::clone(&encoder.inner));
        let mut engine =
            Engine::from_bytes(bytes, encoder.as_deref()).map_err(|error| to_exception(py, error))?;
        if let Some(changes) = changes {
            engine.change_models(changes).map_err(|error| to_exception(py, error))?;
        }
        let names =
            engine.header().models.iter().map(|model| PyString::new(py, &model.name).unbind()).collect();
        Ok(Self { engine, encoder, names, pool: Mutex::default() })
    }

    /// The header as JSON.
    fn header(&self) -> String {
        serde_json::to_string(self.engine.header()).unwrap_or_default()
    }

    /// Decides one request.
    #[pyo3(signature = (request, messages=None, tools=None, raw_options=None))]
    fn decide<'py>(
        &self,
        py: Python<'py>,
        request: &Bound<'py, PyAny>,
        messages: Option<RawMessages>,
        tools: Option<&Bound<'py, PyAny>>,
        raw_options: Option<RawOptions>,
    ) -> PyResult<DecisionTuple<'py>> {
        let routed = text(request, "text")?;
        let tools = tools.map(|tools| text(tools, "tools")).transpose()?;
        let tools = tools.as_deref().unwrap_or_default();
        let options = options(raw_options);
        self.with_scratch(|scratch| {
            let decided = if let Some(raw) = &messages {
                let messages = engine_messages(raw);
                let request = Request { text: "", messages: &messages, tools };
                self.engine.decide(&request, self.encoder.as_deref(), &options, scratch)
            } else {
                let request = Request { text: &routed, messages: &[], tools };
                self.engine.decide(&request, self.encoder.as_deref(), &options, scratch)
            };
            let decision = decided.map_err(|error| to_exception(py, error))?;
            self.convert(py, decision, scratch)
        })
    }

    /// Decides n requests on all processors. Arrays as little-endian bytes: model i32 [n], quality f32 [n, m], cost
    /// f64 [n, m] (NaN unknown), confidence f32 [n], flags u8 [n, 3] (reason, `routed_by`, as certified), prediction
    /// set u8 [n, m].
    #[pyo3(signature = (texts, messages=None, tools=None, raw_options=None))]
    fn decide_batch<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<Bound<'py, PyAny>>,
        messages: Option<Vec<Option<RawMessages>>>,
        tools: Option<Vec<Option<Bound<'py, PyAny>>>>,
        raw_options: Option<RawOptions>,
    ) -> PyResult<BatchBytes<'py>> {
        let requests = Requests::extract(texts, messages, tools)?;
        let options = options(raw_options);
        let columns = py
            .detach(|| {
                in_chunks(requests.len(), |range| {
                    self.with_scratch(|scratch| {
                        let mut columns = Columns::default();
                        for row in range {
                            let messages = requests.messages(row);
                            let request = requests.request(row, &messages);
                            let decision = self
                                .engine
                                .decide(&request, self.encoder.as_deref(), &options, scratch)
                                .map_err(|error| in_row(error, row))?;
                            columns.push(decision, scratch);
                        }
                        Ok(columns)
                    })
                })
            })
            .map_err(|error| to_exception(py, error))?;
        Ok(Columns::join(py, &columns))
    }

    /// Decides n requests given as features, laid out as `featurise_batch` gives them.
    #[pyo3(signature = (offsets, ngrams, cues, embedding, tokens, raw_options=None))]
    fn decide_features<'py>(
        &self,
        py: Python<'py>,
        offsets: &[u8],
        ngrams: &[u8],
        cues: &[u8],
        embedding: &[u8],
        tokens: &[u8],
        raw_options: Option<RawOptions>,
    ) -> PyResult<BatchBytes<'py>> {
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
        let options = options(raw_options);
        let columns = py
            .detach(|| {
                in_chunks(rows, |range| {
                    self.with_scratch(|scratch| {
                        let mut columns = Columns::default();
                        for row in range {
                            let indices = &ngrams[offsets[row] as usize..offsets[row + 1] as usize];
                            let (row_cues, _) =
                                cues[row * CUES..].split_first_chunk().expect("checked above");
                            let (row_embedding, _) =
                                embedding[row * DIM..].split_first_chunk().expect("checked above");
                            let decided = scratch
                                .features
                                .set(indices, row_cues, row_embedding, tokens[row].max(0) as u32)
                                .and_then(|()| self.engine.decide_features(&options, scratch));
                            columns.push(decided.map_err(|error| in_row(error, row))?, scratch);
                        }
                        Ok(columns)
                    })
                })
            })
            .map_err(|error| to_exception(py, error))?;
        Ok(Columns::join(py, &columns))
    }
}

type BatchBytes<'py> = (
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
);

/// Decisions of a range of rows, column by column.
#[derive(Default)]
struct Columns {
    model: Vec<u8>,
    quality: Vec<u8>,
    cost: Vec<u8>,
    confidence: Vec<u8>,
    flags: Vec<u8>,
    prediction_set: Vec<u8>,
}

impl Columns {
    fn push(&mut self, decision: Decision, scratch: &Scratch) {
        let choice = decision.choice;
        self.model.extend((choice.model as i32).to_le_bytes());
        self.quality.extend(scratch.expect.quality.iter().flat_map(|value| value.to_le_bytes()));
        self.cost.extend(scratch.expect.cost.iter().flat_map(|value| value.to_le_bytes()));
        self.confidence.extend(decision.confidence.to_le_bytes());
        self.flags.extend([choice.reason as u8, choice.routed_by as u8, u8::from(choice.as_certified)]);
        self.prediction_set.extend(scratch.expect.prediction_set.iter().map(|&member| u8::from(member)));
    }

    fn join<'py>(py: Python<'py>, parts: &[Self]) -> BatchBytes<'py> {
        let joined = |column: fn(&Self) -> &Vec<u8>| {
            let parts: Vec<&[u8]> = parts.iter().map(|part| column(part).as_slice()).collect();
            PyBytes::new(py, &parts.concat())
        };
        (
            joined(|part| &part.model),
            joined(|part| &part.quality),
            joined(|part| &part.cost),
            joined(|part| &part.confidence),
            joined(|part| &part.flags),
            joined(|part| &part.prediction_set),
        )
    }
}
