//! Sets of tools as Python sees them.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::sync::RwLockExt;
use pyo3::types::PyBytes;
use tiny_dancer::tools::{
    Definition, Learned, LearnedScratch, SelectOptions, ToolScratch, ToolSet as Engine, Turn,
    read_definitions,
};
use tiny_dancer::{Error, ErrorKind, Pool, Result, in_chunks, in_row};

use crate::Encoder;
use crate::convert::{text, to_exception};

/// Adds this room's names to the compiled module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ToolSet>()?;
    module.add_function(wrap_pyfunction!(tool_expectations, module)?)
}

/// The engine's set of tools, shared between threads; each call takes a scratch from the pool.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
struct ToolSet {
    set: RwLock<Engine>,
    pool: Pool<ToolScratch>,
}

/// Id, namespace, name and JSON of the tools one given value stands for.
type Parts = Vec<(String, String, String, String)>;

impl ToolSet {
    // Whoever waits for the set lets the interpreter go meanwhile: its holder may be waiting for that.
    fn read(&self, py: Python<'_>) -> RwLockReadGuard<'_, Engine> {
        self.set.read_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads one given value; `id` is what the tool in it goes by, if it is one.
fn definitions(place: usize, json: &str, id: Option<&str>) -> Result<Vec<(String, Definition)>> {
    let field = format!("tools[{place}]");
    let found = read_definitions(json, &field, id)?;
    match (id, found.len()) {
        (None, _) => Ok(found.into_iter().map(|tool| (tool.id(), tool)).collect()),
        (Some(id), 1) => Ok(found.into_iter().map(|tool| (id.to_owned(), tool)).collect()),
        (Some(_), several) => {
            let found = format!("{several} tools of one id");
            Err(Error::new(ErrorKind::CandidateInvalid, field, found, "give one tool for each id"))
        }
    }
}

#[pymethods]
impl ToolSet {
    #[new]
    #[pyo3(signature = (encoder=None, artifact=None))]
    fn new(py: Python<'_>, encoder: Option<&Encoder>, artifact: Option<&[u8]>) -> PyResult<Self> {
        let encoder = encoder.map(|encoder| Arc::clone(&encoder.inner));
        let set = match artifact {
            None => Engine::new(encoder),
            Some(bytes) => Engine::with_learned(encoder, bytes).map_err(|error| to_exception(py, error))?,
        };
        Ok(Self { set: RwLock::new(set), pool: Pool::default() })
    }

    /// The header of what was learned of use as JSON, or None.
    fn header(&self, py: Python<'_>) -> Option<String> {
        let set = self.read(py);
        set.learned().map(|learned| serde_json::to_string(learned.header()).unwrap_or_default())
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.read(py).len()
    }

    fn contains(&self, py: Python<'_>, id: &str) -> bool {
        self.read(py).contains(id)
    }

    /// Adds what n JSON texts define, all or none; `ids` has one id a text, or None. Gives for each text id,
    /// namespace, name and JSON of the tools it stood for.
    fn add(
        &self,
        py: Python<'_>,
        given: Vec<PyBackedStr>,
        ids: Vec<Option<PyBackedStr>>,
    ) -> PyResult<Vec<Parts>> {
        let added = || {
            let rows = given.iter().zip(&ids).enumerate();
            let read = rows
                .map(|(place, (json, id))| definitions(place, json, id.as_deref()))
                .collect::<Result<Vec<_>>>()?;
            let parts = read
                .iter()
                .map(|tools| {
                    let part = |(id, tool): &(String, Definition)| {
                        (id.clone(), tool.namespace.clone(), tool.name.clone(), tool.source.clone())
                    };
                    tools.iter().map(part).collect()
                })
                .collect();
            let tools: Vec<_> = read.into_iter().flatten().collect();
            self.set.write().unwrap_or_else(PoisonError::into_inner).add(&tools)?;
            Ok(parts)
        };
        py.detach(added).map_err(|error| to_exception(py, error))
    }

    fn remove(&self, py: Python<'_>, ids: Vec<PyBackedStr>) -> PyResult<()> {
        let ids: Vec<&str> = ids.iter().map(|id| &**id).collect();
        py.detach(|| self.set.write().unwrap_or_else(PoisonError::into_inner).remove(&ids))
            .map_err(|error| to_exception(py, error))
    }

    /// Answers a query, JSON to JSON.
    fn select(&self, py: Python<'_>, query: &str) -> PyResult<String> {
        let set = self.read(py);
        self.pool.with(|scratch| set.select_json(query, scratch)).map_err(|error| to_exception(py, error))
    }

    /// Ids and scores of the k tools of each of n texts, best first.
    fn select_texts(
        &self,
        py: Python<'_>,
        texts: Vec<Bound<'_, PyAny>>,
        k: usize,
    ) -> PyResult<Vec<(Vec<String>, Vec<f32>)>> {
        let texts = texts
            .iter()
            .enumerate()
            .map(|(row, value)| text(value, &format!("requests[{row}].text")))
            .collect::<PyResult<Vec<_>>>()?;
        let options = SelectOptions { k, ..SelectOptions::default() };
        let chunks = || {
            let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
            in_chunks(texts.len(), |range| {
                self.pool.with(|scratch| {
                    range
                        .map(|row| {
                            let found = set
                                .select(&[Turn::whole(&texts[row])], &options, scratch)
                                .map_err(|error| in_row(error, row))?;
                            let ids = found.iter().map(|one| set.id(one.row).to_owned()).collect();
                            Ok((ids, found.iter().map(|one| one.score).collect()))
                        })
                        .collect::<Result<Vec<_>>>()
                })
            })
        };
        let parts = py.detach(chunks).map_err(|error| to_exception(py, error))?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Scores of all tools, by row, for each of n texts: f32 [n, tools] as little-endian bytes.
    fn score_texts<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let texts = texts
            .iter()
            .enumerate()
            .map(|(row, value)| text(value, &format!("requests[{row}].text")))
            .collect::<PyResult<Vec<_>>>()?;
        let chunks = || {
            let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
            in_chunks(texts.len(), |range| {
                self.pool.with(|scratch| {
                    let mut bytes = Vec::with_capacity(range.len() * set.len() * 4);
                    for row in range {
                        let scores = set
                            .score(&[Turn::whole(&texts[row])], scratch)
                            .map_err(|error| in_row(error, row))?;
                        bytes.extend(scores.iter().flat_map(|score| score.to_le_bytes()));
                    }
                    Ok(bytes)
                })
            })
        };
        let parts = py.detach(chunks).map_err(|error| to_exception(py, error))?;
        Ok(PyBytes::new(py, &parts.concat()))
    }

    /// Ids of the first `limit` tools whose words a regular expression matches.
    fn search_pattern(&self, py: Python<'_>, pattern: &str, limit: usize) -> PyResult<Vec<String>> {
        // A pattern may take a second over ten thousand tools, in which other threads go on.
        py.detach(|| {
            let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
            let found = set.search_pattern(pattern, limit)?;
            Ok(found.into_iter().map(str::to_owned).collect())
        })
        .map_err(|error| to_exception(py, error))
    }
}

/// What an artifact of learned use expects of each of its tools for each of n texts: f32 as little-endian bytes.
#[pyfunction]
fn tool_expectations<'py>(
    py: Python<'py>,
    artifact: &[u8],
    encoder: &Encoder,
    texts: Vec<PyBackedStr>,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let expectations = || {
        let learned = Learned::from_bytes(artifact, Some(&encoder.inner))?;
        let mut scratch = LearnedScratch::default();
        texts
            .iter()
            .map(|text| {
                learned.expect(text, &encoder.inner, &mut scratch)?;
                Ok(scratch.expected.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
            })
            .collect::<Result<Vec<_>>>()
    };
    let found = expectations().map_err(|error| to_exception(py, error))?;
    Ok(found.iter().map(|bytes| PyBytes::new(py, bytes)).collect())
}
