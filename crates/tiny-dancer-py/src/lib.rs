//! Python binding: converts arguments, forwards to the engine, converts results. No logic of its own.
#![allow(clippy::needless_pass_by_value, clippy::too_many_arguments)] // PyO3 passes arguments by value, one each

mod agents;
mod candidate_decision;
mod candidate_filter;
mod candidates;
mod classifier;
mod conformal;
mod convert;
mod json;
mod metadata;
mod options;
mod price;
mod router;
mod routes;
mod spelling;
mod tasks;
mod tools;
mod vectors;

use std::sync::Arc;

use pyo3::exceptions::PyUnicodeDecodeError;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBytes};
use tiny_dancer::encoder::{DIM, WordCache, pool};
use tiny_dancer::features::{CUE_NAMES, CUES, FeatureScratch, Features, featurise_corrected};

use tiny_dancer::{Outline, Spec, in_chunks, in_row, outline};

use convert::to_exception;

/// The static token encoder, shared between routers.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
struct Encoder {
    inner: Arc<tiny_dancer::encoder::Encoder>,
}

#[pymethods]
impl Encoder {
    #[new]
    fn new(py: Python<'_>, bytes: &[u8]) -> PyResult<Self> {
        let inner =
            tiny_dancer::encoder::Encoder::from_bytes(bytes).map_err(|error| to_exception(py, error))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    #[getter]
    fn checksum(&self) -> &str {
        self.inner.checksum()
    }

    /// Unit vectors of texts: float32 [n, 256] as bytes.
    fn encode<'py>(&self, py: Python<'py>, texts: Vec<String>) -> Bound<'py, PyBytes> {
        let encoded = py.detach(|| {
            let mut cache = WordCache::default();
            let mut out = Vec::with_capacity(texts.len() * DIM * 4);
            for text in &texts {
                let mut sums = [0; DIM];
                let encoding = self.inner.encode(text, &mut cache, &mut sums);
                out.extend(pool(&sums, encoding.known).iter().flat_map(|value| value.to_le_bytes()));
            }
            out
        });
        PyBytes::new(py, &encoded)
    }

    /// Embeddings of the pieces in id order: int8 [pieces, 256] as bytes.
    fn rows<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let pieces = self.inner.pieces() as u32;
        let rows: Vec<u8> = (0..pieces)
            .flat_map(|piece| self.inner.row(piece).iter().map(|value| value.cast_unsigned()))
            .collect();
        PyBytes::new(py, &rows)
    }
}

/// Features of n requests as little-endian bytes: (offsets i64 [n + 1], ngrams u32, cues f32 [n, CUES],
/// embedding i8 [n, 256], tokens i32 [n]).
type FeatureBytes<'py> =
    (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>);

/// Features of n requests: texts as `str`, messages as JSON in `bytes`; `tools` one JSON a request, or None; `spec` the
/// specification they are made to. Unknown words are read as `speller` does, where one is given.
#[pyfunction]
#[pyo3(signature = (encoder, given, tools=None, spec=tiny_dancer::features::SPEC, speller=None))]
fn featurise_batch<'py>(
    py: Python<'py>,
    encoder: &Encoder,
    given: Vec<Bound<'py, PyAny>>,
    tools: Option<Vec<Option<Bound<'py, PyAny>>>>,
    spec: &str,
    speller: Option<&spelling::Speller>,
) -> PyResult<FeatureBytes<'py>> {
    let Some(spec) = Spec::of(spec) else {
        return Err(pyo3::exceptions::PyValueError::new_err("spec"));
    };
    let requests = convert::requests(&given, tools.as_deref())?;
    let (encoder, speller) = (&encoder.inner, speller.map(|speller| &speller.inner));
    let rows = py
        .detach(|| {
            in_chunks(requests.len(), |range| {
                let mut scratch = FeatureScratch::default();
                range
                    .map(|row| {
                        let mut features = Features::default();
                        let request = requests[row].request();
                        featurise_corrected(
                            &request,
                            spec,
                            Some(encoder),
                            speller,
                            &mut scratch,
                            &mut features,
                        )
                        .map_err(|error| in_row(error, row))?;
                        let mut ngrams = [features.word_ngrams(), features.character_ngrams()].concat();
                        ngrams.sort_unstable();
                        Ok((features, ngrams))
                    })
                    .collect::<tiny_dancer::Result<Vec<_>>>()
            })
        })
        .map_err(|error| to_exception(py, error))?;
    let (mut offsets, mut total) = (vec![0i64], 0i64);
    let (mut ngrams, mut cues, mut embedding, mut tokens) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (features, indices) in rows.iter().flatten() {
        total += indices.len() as i64;
        offsets.push(total);
        ngrams.extend(indices.iter().flat_map(|index| index.to_le_bytes()));
        cues.extend(features.cues.iter().flat_map(|cue| cue.to_le_bytes()));
        embedding.extend(features.embedding.iter().map(|value| value.cast_unsigned()));
        tokens.extend(i32::try_from(features.tokens).unwrap_or(i32::MAX).to_le_bytes());
    }
    let offsets: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
    let bytes = |values: &[u8]| PyBytes::new(py, values);
    Ok((bytes(&offsets), bytes(&ngrams), bytes(&cues), bytes(&embedding), bytes(&tokens)))
}

/// An artifact's bytes from its header (JSON) and tensors (name, dtype, shape, little-endian bytes).
#[pyfunction]
fn write_artifact<'py>(
    py: Python<'py>,
    header: &str,
    tensors: Vec<(String, String, Vec<usize>, Vec<u8>)>,
) -> PyResult<Bound<'py, PyBytes>> {
    let tensors = tensors
        .into_iter()
        .map(|(name, dtype, shape, bytes)| tiny_dancer::artifact::TensorData { name, dtype, shape, bytes })
        .collect();
    let bytes = tiny_dancer::kinds::write(header, tensors).map_err(|error| to_exception(py, error))?;
    Ok(PyBytes::new(py, &bytes))
}

/// The header of an artifact as JSON, self-checks not run.
#[pyfunction]
fn artifact_header(py: Python<'_>, bytes: &[u8]) -> PyResult<String> {
    tiny_dancer::kinds::header(bytes).map_err(|error| to_exception(py, error))
}

/// An artifact's bytes with another header (JSON): tensors stay as they are.
#[pyfunction]
fn rewrite_artifact<'py>(py: Python<'py>, bytes: &[u8], header: &str) -> PyResult<Bound<'py, PyBytes>> {
    let bytes = tiny_dancer::kinds::rewrite(bytes, header).map_err(|error| to_exception(py, error))?;
    Ok(PyBytes::new(py, &bytes))
}

/// What a conversation (messages as JSON) turns on: what the user said last, where that begins and ends in the JSON,
/// and where the first turn of the user's ends.
#[pyfunction]
fn conversation_outline(py: Python<'_>, messages: &[u8]) -> PyResult<(String, usize, usize, usize)> {
    let text = std::str::from_utf8(messages)
        .map_err(|error| PyUnicodeDecodeError::new_err_from_utf8(py, messages, error))?;
    let Outline { said, last, begun } = outline(text).map_err(|error| to_exception(py, error))?;
    Ok((said, last.start, last.end, begun))
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Encoder>()?;
    module.add_class::<router::Router>()?;
    module.add_class::<router::Martingale>()?;
    module.add_class::<router::Drift>()?;
    module.add_class::<options::Options>()?;
    agents::register(module)?;
    price::register(module)?;
    candidates::register(module)?;
    classifier::register(module)?;
    conformal::register(module)?;
    tools::register(module)?;
    routes::register(module)?;
    spelling::register(module)?;
    tasks::register(module)?;
    module.add_function(wrap_pyfunction!(featurise_batch, module)?)?;
    module.add_function(wrap_pyfunction!(conversation_outline, module)?)?;
    module.add_function(wrap_pyfunction!(json::encode_json, module)?)?;
    module.add_function(wrap_pyfunction!(write_artifact, module)?)?;
    module.add_function(wrap_pyfunction!(artifact_header, module)?)?;
    module.add_function(wrap_pyfunction!(rewrite_artifact, module)?)?;
    module.add("CUE_NAMES", CUE_NAMES.to_vec())?;
    module.add("CUES", CUES)?;
    module.add("EMBEDDING_DIMENSIONS", DIM)?;
    module.add("CHAR_BASE", tiny_dancer::features::CHAR_BASE)?;
    module.add("FEATURE_SPEC", tiny_dancer::features::SPEC)?;
    module.add("FORMAT", tiny_dancer::artifact::FORMAT)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("LONGEST_TEXT", tiny_dancer::LONGEST)?;
    module.add("REASONS", tiny_dancer::Reason::ALL.map(tiny_dancer::Reason::as_str).to_vec())?;
    module.add("ROUTED_BY", tiny_dancer::RoutedBy::ALL.map(tiny_dancer::RoutedBy::as_str).to_vec())?;
    module.add("REMOVALS", tiny_dancer::Removal::ALL.map(tiny_dancer::Removal::as_str).to_vec())?;
    let by_alarm =
        |words: [&'static str; 6]| tiny_dancer::ALARMS.into_iter().zip(words).into_py_dict(module.py());
    module.add("WATCHED", by_alarm(tiny_dancer::WATCHED)?)?;
    module.add("WITHDRAWN", by_alarm(tiny_dancer::WITHDRAWN)?)?;
    module.add("LEARNED", tiny_dancer::LEARNED)?;
    module.add("MOST_KNOTS", tiny_dancer::MOST_KNOTS)?;
    module.add("UNCOVERED", tiny_dancer::Uncovered::ALL.map(tiny_dancer::Uncovered::as_str).to_vec())?;
    Ok(())
}
