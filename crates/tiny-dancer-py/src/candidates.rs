//! Candidate sets and scorers as Python sees them.

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::sync::RwLockExt;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use tiny_dancer::candidates::{
    Candidate, CandidateScorer as Scorer, CandidateSet as Set, DEFAULT_WEIGHTS, FEATURE_NAMES, FEATURES,
    Matrix, MatrixScratch, Precision, Query, RankOptions, RankScratch, SPEC, SharedRows,
};
use tiny_dancer::encoder::{DIM, WordCache, pool};
use tiny_dancer::{Error, ErrorKind};

use crate::Encoder;
use crate::convert::{text, to_exception};

/// From how many candidates on a call lets other threads run meanwhile: below, handing over costs more.
const WORTH_DETACHING: usize = 512;

fn refused(py: Python<'_>, field: &str, value: impl std::fmt::Display, remedy: &str) -> PyErr {
    to_exception(py, Error::new(ErrorKind::CandidateInvalid, field, value, remedy))
}

/// Floats of someone else's, kept alive and read in place. The Python side hands over only arrays that cannot be
/// written to.
struct Held {
    buffer: PyBuffer<f32>,
}

impl SharedRows for Held {
    fn values(&self) -> &[f32] {
        if self.buffer.item_count() == 0 {
            return &[];
        }
        // SAFETY: the buffer is C-contiguous f32 (checked by `floats`), stays valid while it is held, is aligned as the
        // exporter promised for its format, and nobody writes to it.
        unsafe { std::slice::from_raw_parts(self.buffer.buf_ptr().cast(), self.buffer.item_count()) }
    }
}

fn held(value: &Bound<'_, PyAny>, field: &str) -> PyResult<Held> {
    let py = value.py();
    let unfit = |_| refused(py, field, "no float32 array", "give a C-contiguous float32 array");
    let buffer = PyBuffer::<f32>::get(value).map_err(unfit)?;
    if !buffer.is_c_contiguous() {
        return Err(refused(py, field, "not contiguous", "give a C-contiguous float32 array"));
    }
    Ok(Held { buffer })
}

fn precision(py: Python<'_>, name: &str) -> PyResult<Precision> {
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

/// Candidates in columns: ids, texts, `created_at` (s), `access_count`, `success_rate`, `trials`, confidence, metadata
/// pairs, groups.
#[derive(FromPyObject)]
struct Columns<'py>(
    Vec<Bound<'py, PyAny>>,
    Vec<Option<Bound<'py, PyAny>>>,
    Vec<Option<f64>>,
    Vec<Option<f64>>,
    Vec<Option<f64>>,
    Vec<Option<f64>>,
    Vec<Option<f64>>,
    Vec<Vec<(PyBackedStr, PyBackedStr)>>,
    Vec<Option<PyBackedStr>>,
);

/// Makes the engine's candidates of the columns and hands them to `work`.
fn with_candidates<T>(
    py: Python<'_>,
    columns: &Columns<'_>,
    work: impl FnOnce(&[Candidate]) -> tiny_dancer::Result<T>,
) -> PyResult<T> {
    let Columns(ids, texts, created_at, access_count, success_rate, trials, confidence, metadata, groups) =
        columns;
    let ids = ids
        .iter()
        .enumerate()
        .map(|(place, id)| text(id, &format!("candidates[{place}].id")))
        .collect::<PyResult<Vec<_>>>()?;
    let texts = texts
        .iter()
        .enumerate()
        .map(|(place, value)| {
            value.as_ref().map(|value| text(value, &format!("candidates[{place}].text"))).transpose()
        })
        .collect::<PyResult<Vec<_>>>()?;
    let metadata: Vec<Vec<(&str, &str)>> =
        metadata.iter().map(|pairs| pairs.iter().map(|(key, value)| (&**key, &**value)).collect()).collect();
    let candidates: Vec<Candidate> = (0..ids.len())
        .map(|row| Candidate {
            id: &ids[row],
            text: texts[row].as_deref(),
            created_at: created_at[row],
            access_count: access_count[row],
            success_rate: success_rate[row],
            trials: trials[row],
            confidence: confidence[row],
            metadata: &metadata[row],
            group: groups[row].as_deref(),
        })
        .collect();
    work(&candidates).map_err(|error| to_exception(py, error))
}

/// The engine's candidate set, shared between threads.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
struct CandidateSet {
    set: RwLock<Set>,
}

impl CandidateSet {
    // Whoever waits for the set lets the interpreter go meanwhile: its holder may be waiting for that.
    fn write<T>(&self, py: Python<'_>, work: impl FnOnce(&mut Set) -> T) -> T {
        work(&mut self.set.write_py_attached(py).unwrap_or_else(PoisonError::into_inner))
    }

    fn read(&self, py: Python<'_>) -> RwLockReadGuard<'_, Set> {
        self.set.read_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    /// The set, brought up to date.
    fn fresh(&self, py: Python<'_>) -> RwLockReadGuard<'_, Set> {
        loop {
            let set = self.read(py);
            if !set.is_stale() {
                return set;
            }
            drop(set);
            self.write(py, Set::refresh);
        }
    }
}

#[pymethods]
impl CandidateSet {
    /// `dimensions` is None for candidates without embeddings.
    #[new]
    fn new(py: Python<'_>, dimensions: Option<usize>, kept: &str) -> PyResult<Self> {
        let set = Set::new(dimensions, precision(py, kept)?).map_err(|error| to_exception(py, error))?;
        Ok(Self { set: RwLock::new(set) })
    }

    /// A set over an array that nobody writes to, without a copy.
    #[staticmethod]
    fn over(
        py: Python<'_>,
        dimensions: usize,
        embeddings: &Bound<'_, PyAny>,
        columns: Columns<'_>,
    ) -> PyResult<Self> {
        let matrix = Matrix::shared(dimensions, Arc::new(held(embeddings, "embeddings")?))
            .map_err(|error| to_exception(py, error))?;
        let set = with_candidates(py, &columns, |candidates| Set::over(matrix, candidates))?;
        Ok(Self { set: RwLock::new(set) })
    }

    fn append(
        &self,
        py: Python<'_>,
        columns: Columns<'_>,
        embeddings: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let held = embeddings.map(|embeddings| held(embeddings, "embeddings")).transpose()?;
        let values = held.as_ref().map_or(&[][..], Held::values);
        with_candidates(py, &columns, |candidates| self.write(py, |set| set.append(candidates, values)))
    }

    fn update(
        &self,
        py: Python<'_>,
        columns: Columns<'_>,
        embeddings: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let held = embeddings.map(|embeddings| held(embeddings, "embedding")).transpose()?;
        let values = held.as_ref().map(Held::values);
        with_candidates(py, &columns, |candidates| self.write(py, |set| set.update(&candidates[0], values)))
    }

    #[pyo3(signature = (id, helped=None))]
    fn record_use(&self, py: Python<'_>, id: &str, helped: Option<bool>) -> PyResult<()> {
        self.write(py, |set| set.record_use(id, helped)).map_err(|error| to_exception(py, error))
    }

    fn remove(&self, py: Python<'_>, ids: Vec<PyBackedStr>) -> PyResult<()> {
        let ids: Vec<&str> = ids.iter().map(|id| &**id).collect();
        self.write(py, |set| set.remove(&ids)).map_err(|error| to_exception(py, error))
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.read(py).len()
    }

    fn ids<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let set = self.read(py);
        PyList::new(py, set.ids().iter().map(|id| PyString::new(py, id)))
    }

    fn __contains__(&self, py: Python<'_>, id: &str) -> bool {
        self.read(py).row(id).is_some()
    }

    /// One byte a row: 1 where it has all of these properties.
    fn matching<'py>(
        &self,
        py: Python<'py>,
        metadata: Vec<(PyBackedStr, PyBackedStr)>,
    ) -> Bound<'py, PyBytes> {
        let pairs: Vec<(&str, &str)> = metadata.iter().map(|(key, value)| (&**key, &**value)).collect();
        let set = self.read(py);
        PyBytes::new(py, &set.matching(&pairs).iter().map(|&flag| u8::from(flag)).collect::<Vec<_>>())
    }

    /// The `k` nearest by cosine alone, as (id, cosine).
    #[pyo3(signature = (query, k, allowed=None))]
    fn nearest(
        &self,
        py: Python<'_>,
        query: &Bound<'_, PyAny>,
        k: usize,
        allowed: Option<Vec<bool>>,
    ) -> PyResult<Vec<(String, f32)>> {
        let query = held(query, "query_embedding")?;
        let set = self.read(py);
        let Some(matrix) = set.matrix() else {
            return Err(refused(py, "candidates", "no embeddings", "give candidates embeddings"));
        };
        let found = matrix
            .nearest(query.values(), k, allowed.as_deref(), &mut MatrixScratch::default())
            .map_err(|error| to_exception(py, error))?;
        Ok(found.into_iter().map(|(row, cosine)| (set.ids()[row as usize].to_string(), cosine)).collect())
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
        let query = held(query, "query_embedding")?;
        let allowed: Option<Vec<bool>> = allowed.map(|flags| flags.iter().map(|&flag| flag != 0).collect());
        let mut scratch =
            self.scratch.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let values = query.values();
        let found = py.detach(|| {
            let matrix = self.matrix.read().unwrap_or_else(PoisonError::into_inner);
            matrix.nearest(values, k, allowed.as_deref(), &mut scratch)
        });
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        found.map_err(|error| to_exception(py, error))
    }
}

fn known_row(py: Python<'_>, row: usize, matrix: &Matrix) -> PyResult<()> {
    if row < matrix.len() { Ok(()) } else { Err(refused(py, "row", row, "no such row")) }
}

/// One candidate of an answer.
#[pyclass(frozen, module = "tiny_dancer.routing")]
struct CandidateDecision {
    #[pyo3(get)]
    candidate_id: Py<PyString>,
    #[pyo3(get)]
    score: f32,
    #[pyo3(get)]
    confidence: f32,
    #[pyo3(get)]
    uncertainty: f32,
    #[pyo3(get)]
    use_lightweight: bool,
    #[pyo3(get)]
    in_prediction_set: bool,
    values: [f32; FEATURES],
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

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[derive(Default)]
struct Working {
    rank: RankScratch,
    words: WordCache,
    embedding: Vec<f32>,
}

/// A scorer of candidates; without bytes, the combination that needs no training.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
struct CandidateScorer {
    scorer: Scorer,
    /// Boxed: taking one moves a pointer, not kilobytes.
    pool: Mutex<Vec<Box<Working>>>,
}

/// Decisions, ids kept out because their embedding is not finite, size of the prediction set.
type RankedTuple<'py> = (Bound<'py, PyList>, Vec<String>, Option<usize>);

impl CandidateScorer {
    fn with<T>(&self, work: impl FnOnce(&mut Working) -> T) -> T {
        let taken = self.pool.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut working = taken.unwrap_or_default();
        let result = work(&mut working);
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).push(working);
        result
    }

    fn ranked<T>(
        &self,
        py: Python<'_>,
        set: &CandidateSet,
        asked: &Asked<'_>,
        options: &RankOptions,
        convert: impl FnOnce(&Set, &RankScratch) -> PyResult<T>,
    ) -> PyResult<T> {
        let Asked { embedding, text: words, metadata, now, encoder } = asked;
        let held = embedding.map(|embedding| held(embedding, "query_embedding")).transpose()?;
        let words = words.map(|words| text(words, "text")).transpose()?;
        let metadata: Vec<(&str, &str)> = metadata.iter().map(|(key, value)| (&**key, &**value)).collect();
        self.with(|working| {
            let Working { rank, words: cache, embedding: encoded } = working;
            let mut embedding = held.as_ref().map(Held::values);
            if let (None, Some(encoder), Some(words)) = (embedding, encoder, &words) {
                let mut sums = [0; DIM];
                let found = encoder.inner.encode(words, cache, &mut sums);
                encoded.clear();
                encoded.extend_from_slice(&pool(&sums, found.known));
                embedding = Some(encoded);
            }
            let query = Query { embedding, text: words.as_deref(), metadata: &metadata, now: *now };
            let set = set.fresh(py);
            let done = if set.len() >= WORTH_DETACHING {
                let set = &*set;
                py.detach(|| self.scorer.rank(set, &query, options, rank))
            } else {
                self.scorer.rank(&set, &query, options, rank)
            };
            done.map_err(|error| to_exception(py, error))?;
            convert(&set, rank)
        })
    }
}

/// What is asked, as Python gave it.
struct Asked<'a> {
    embedding: Option<&'a Bound<'a, PyAny>>,
    text: Option<&'a Bound<'a, PyAny>>,
    metadata: &'a [(PyBackedStr, PyBackedStr)],
    now: Option<f64>,
    encoder: Option<&'a Encoder>,
}

#[pymethods]
impl CandidateScorer {
    #[new]
    #[pyo3(signature = (bytes=None))]
    fn new(py: Python<'_>, bytes: Option<&[u8]>) -> PyResult<Self> {
        let scorer = match bytes {
            Some(bytes) => Scorer::from_bytes(bytes).map_err(|error| to_exception(py, error))?,
            None => Scorer::default(),
        };
        Ok(Self { scorer, pool: Mutex::default() })
    }

    /// The header as JSON; None for the combination without training.
    fn header(&self) -> Option<String> {
        self.scorer.header().map(|header| serde_json::to_string(header).unwrap_or_default())
    }

    #[pyo3(signature = (set, embedding=None, text=None, metadata=Vec::new(), now=None, encoder=None, k=5, diversity=0.0,
                        confidence_threshold=0.85, max_uncertainty=0.15, allowed=None))]
    fn rank<'py>(
        &self,
        py: Python<'py>,
        set: &CandidateSet,
        embedding: Option<&Bound<'py, PyAny>>,
        text: Option<&Bound<'py, PyAny>>,
        metadata: Vec<(PyBackedStr, PyBackedStr)>,
        now: Option<f64>,
        encoder: Option<&Encoder>,
        k: usize,
        diversity: f32,
        confidence_threshold: f32,
        max_uncertainty: f32,
        allowed: Option<&[u8]>,
    ) -> PyResult<RankedTuple<'py>> {
        let allowed: Option<Vec<bool>> = allowed.map(|flags| flags.iter().map(|&flag| flag != 0).collect());
        let allowed = allowed.as_deref();
        let options = RankOptions { k, diversity, confidence_threshold, max_uncertainty, allowed };
        let asked = Asked { embedding, text, metadata: &metadata, now, encoder };
        self.ranked(py, set, &asked, &options, |set, rank| {
            let decisions = PyList::empty(py);
            for ranked in &rank.ranked {
                decisions.append(Bound::new(
                    py,
                    CandidateDecision {
                        candidate_id: PyString::new(py, &set.ids()[ranked.row as usize]).unbind(),
                        score: ranked.score,
                        confidence: ranked.confidence,
                        uncertainty: ranked.uncertainty,
                        use_lightweight: ranked.use_lightweight,
                        in_prediction_set: ranked.in_prediction_set,
                        values: ranked.features,
                    },
                )?)?;
            }
            let unsound = rank.unsound.iter().map(|&row| set.ids()[row as usize].to_string()).collect();
            Ok((decisions, unsound, rank.prediction_set))
        })
    }

    /// Features of all candidates and their scores, as little-endian float32: (\[FEATURES, n\], \[n\]).
    #[pyo3(signature = (set, embedding=None, text=None, metadata=Vec::new(), now=None, encoder=None))]
    fn score_all<'py>(
        &self,
        py: Python<'py>,
        set: &CandidateSet,
        embedding: Option<&Bound<'py, PyAny>>,
        text: Option<&Bound<'py, PyAny>>,
        metadata: Vec<(PyBackedStr, PyBackedStr)>,
        now: Option<f64>,
        encoder: Option<&Encoder>,
    ) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let asked = Asked { embedding, text, metadata: &metadata, now, encoder };
        self.ranked(py, set, &asked, &RankOptions::default(), |_, rank| {
            let features: Vec<u8> =
                (0..FEATURES).flat_map(|feature| bytes_of(rank.features().column(feature))).collect();
            Ok((PyBytes::new(py, &features), PyBytes::new(py, &bytes_of(rank.scores()))))
        })
    }
}

/// Adds this room's names to the compiled module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<CandidateSet>()?;
    module.add_class::<CandidateScorer>()?;
    module.add_class::<CandidateDecision>()?;
    module.add_class::<Vectors>()?;
    module.add("CANDIDATE_FEATURES", FEATURE_NAMES.to_vec())?;
    module.add("CANDIDATE_FEATURE_SPEC", SPEC)?;
    module.add("DEFAULT_CANDIDATE_WEIGHTS", DEFAULT_WEIGHTS.to_vec())?;
    Ok(())
}
