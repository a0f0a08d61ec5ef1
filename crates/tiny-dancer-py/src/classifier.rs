//! Classifiers as Python sees them.

use std::ops::Range;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tiny_dancer::classifier::{Classifier as Engine, Scratch};
use tiny_dancer::encoder::WordCache;
use tiny_dancer::{Error, ErrorKind, Pool, Result, in_chunks, in_row};

use crate::Encoder;
use crate::convert::{text, to_exception};

/// Adds this room's names to the compiled module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Classifier>()?;
    module.add_function(wrap_pyfunction!(token_steps, module)?)
}

/// A loaded classifier with its encoder. Threads share it; each call takes a scratch from the pool.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
pub(crate) struct Classifier {
    engine: Engine,
    encoder: Option<Arc<tiny_dancer::encoder::Encoder>>,
    pool: Pool<Scratch>,
}

/// Label i32 [n], probabilities and logits f32 [n, labels], as little-endian bytes.
type LabelBytes<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>);

/// Predictions of a range of rows, column by column.
#[derive(Default)]
struct Columns {
    label: Vec<u8>,
    probabilities: Vec<u8>,
    logits: Vec<u8>,
}

impl Classifier {
    /// Predicts `rows` inputs on all processors; `predict` gives the label of one.
    fn predict<'py>(
        &self,
        py: Python<'py>,
        rows: usize,
        predict: impl Fn(usize, &mut Scratch) -> Result<usize> + Sync,
    ) -> PyResult<LabelBytes<'py>> {
        let chunk = |range: Range<usize>| {
            self.pool.with(|scratch| {
                let mut columns = Columns::default();
                for row in range {
                    let label = predict(row, scratch).map_err(|error| in_row(error, row))?;
                    columns.label.extend((label as i32).to_le_bytes());
                    columns
                        .probabilities
                        .extend(scratch.probabilities.iter().flat_map(|value| value.to_le_bytes()));
                    columns.logits.extend(scratch.logits.iter().flat_map(|value| value.to_le_bytes()));
                }
                Ok(columns)
            })
        };
        let parts = py.detach(|| in_chunks(rows, chunk)).map_err(|error| to_exception(py, error))?;
        let joined = |column: fn(&Columns) -> &Vec<u8>| {
            let parts: Vec<&[u8]> = parts.iter().map(|part| column(part).as_slice()).collect();
            PyBytes::new(py, &parts.concat())
        };
        Ok((joined(|part| &part.label), joined(|part| &part.probabilities), joined(|part| &part.logits)))
    }
}

#[pymethods]
impl Classifier {
    #[new]
    #[pyo3(signature = (bytes, encoder=None))]
    fn new(py: Python<'_>, bytes: &[u8], encoder: Option<&Encoder>) -> PyResult<Self> {
        let encoder = encoder.map(|encoder| Arc::clone(&encoder.inner));
        let engine =
            Engine::from_bytes(bytes, encoder.as_deref()).map_err(|error| to_exception(py, error))?;
        Ok(Self { engine, encoder, pool: Pool::default() })
    }

    /// The header as JSON.
    fn header(&self) -> String {
        serde_json::to_string(self.engine.header()).unwrap_or_default()
    }

    /// Labels n texts.
    fn predict_texts<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<Bound<'py, PyAny>>,
    ) -> PyResult<LabelBytes<'py>> {
        let texts = texts
            .iter()
            .enumerate()
            .map(|(row, value)| text(value, &format!("requests[{row}].text")))
            .collect::<PyResult<Vec<_>>>()?;
        self.predict(py, texts.len(), |row, scratch| {
            self.engine.predict_text(&texts[row], self.encoder.as_deref(), scratch)
        })
    }

    /// Labels n sequences: all values one after the other, f32, and where each sequence starts and the last ends,
    /// i64 [n + 1], counted in values.
    fn predict_vectors<'py>(
        &self,
        py: Python<'py>,
        vectors: &[u8],
        offsets: &[u8],
    ) -> PyResult<LabelBytes<'py>> {
        let vectors: Vec<f32> =
            vectors.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        let offsets: Vec<i64> =
            offsets.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect();
        let sound = offsets.windows(2).all(|pair| 0 <= pair[0] && pair[0] <= pair[1])
            && offsets.last().is_some_and(|&end| end as usize <= vectors.len());
        if !sound {
            let remedy = "offsets ascend within the values";
            let error = Error::new(ErrorKind::RequestInvalid, "vectors", "offsets beyond the values", remedy);
            return Err(to_exception(py, error));
        }
        self.predict(py, offsets.len() - 1, |row, scratch| {
            self.engine.predict_vectors(&vectors[offsets[row] as usize..offsets[row + 1] as usize], scratch)
        })
    }
}

/// Offsets i64 [n + 1] and ids u32 of the tokens a classifier of texts steps through, as little-endian bytes.
#[pyfunction]
fn token_steps<'py>(
    py: Python<'py>,
    encoder: &Encoder,
    texts: Vec<Bound<'py, PyAny>>,
    most_steps: usize,
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let (mut cache, mut steps) = (WordCache::default(), Vec::new());
    let (mut offsets, mut ids) = (0i64.to_le_bytes().to_vec(), Vec::new());
    for (row, value) in texts.iter().enumerate() {
        let text = text(value, &format!("requests[{row}].text"))?;
        encoder.inner.first_and_last(&text, most_steps, &mut cache, &mut steps);
        ids.extend(steps.iter().flat_map(|id| id.to_le_bytes()));
        offsets.extend((ids.len() as i64 / 4).to_le_bytes());
    }
    Ok((PyBytes::new(py, &offsets), PyBytes::new(py, &ids)))
}
