//! Candidate sets and scorers as Python sees them.

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::sync::RwLockExt;
use pyo3::types::{IntoPyDict, PyBytes, PyList, PyString};
use tiny_dancer::candidates::{
    Candidate, CandidateScorer as Scorer, CandidateSet as Set, Combination, FEATURE_NAMES, FEATURES, Matrix,
    Metadata, Query, RankOptions, RankScratch, SPEC, SharedRows,
};
use tiny_dancer::encoder::{DIM, WordCache, pool};

use crate::Encoder;
use crate::candidate_decision::{CandidateDecision, bytes_of};
use crate::convert::{text, to_exception};
use crate::metadata::properties;
use crate::vectors::{Held, held, precision};

/// From how many candidates on a call lets other threads run meanwhile: below, handing over costs more.
const WORTH_DETACHING: usize = 512;

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
    Vec<Bound<'py, PyAny>>,
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
    let metadata = metadata
        .iter()
        .enumerate()
        .map(|(place, mapping)| properties(mapping, || format!("candidates[{place}].metadata")))
        .collect::<PyResult<Vec<_>>>()?;
    let metadata: Vec<Vec<(&str, &str)>> = metadata.iter().map(Metadata::pairs).collect();
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
    fn matching<'py>(&self, py: Python<'py>, wanted: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let wanted = properties(wanted, || "where".to_owned())?;
        let matching = self.read(py).matching(&wanted);
        Ok(PyBytes::new(py, &matching.into_iter().map(u8::from).collect::<Vec<_>>()))
    }
}

#[derive(Default)]
struct Working {
    rank: RankScratch,
    words: WordCache,
    embedding: Vec<f32>,
}

/// A scorer of candidates; without bytes, the combination that needs no training, by measured or documented weights.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
struct CandidateScorer {
    scorer: Scorer,
    pool: Mutex<Vec<Working>>,
}

/// Decisions, ids kept out because their embedding is not finite, size of the prediction set, whether the candidates
/// are like those the scorer was made with.
type RankedTuple<'py> = (Bound<'py, PyList>, Vec<String>, Option<usize>, bool);

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
        let metadata = metadata.map(|mapping| properties(mapping, || "metadata".to_owned())).transpose()?;
        let metadata = metadata.as_ref().map(Metadata::pairs).unwrap_or_default();
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
    metadata: Option<&'a Bound<'a, PyAny>>,
    now: Option<f64>,
    encoder: Option<&'a Encoder>,
}

#[pymethods]
impl CandidateScorer {
    #[new]
    #[pyo3(signature = (bytes=None, documented=false))]
    fn new(py: Python<'_>, bytes: Option<&[u8]>, documented: bool) -> PyResult<Self> {
        let scorer = match bytes {
            Some(bytes) => Scorer::from_bytes(bytes).map_err(|error| to_exception(py, error))?,
            None => {
                Scorer::untrained(if documented { Combination::Documented } else { Combination::Measured })
            }
        };
        Ok(Self { scorer, pool: Mutex::default() })
    }

    /// The header as JSON; None for the combination without training.
    fn header(&self) -> Option<String> {
        self.scorer.header().map(|header| serde_json::to_string(header).unwrap_or_default())
    }

    #[pyo3(signature = (set, embedding=None, text=None, metadata=None, now=None, encoder=None, k=5, diversity=0.0,
                        confidence_threshold=0.85, max_uncertainty=0.15, allowed=None))]
    fn rank<'py>(
        &self,
        py: Python<'py>,
        set: &CandidateSet,
        embedding: Option<&Bound<'py, PyAny>>,
        text: Option<&Bound<'py, PyAny>>,
        metadata: Option<&Bound<'py, PyAny>>,
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
        let asked = Asked { embedding, text, metadata, now, encoder };
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
            Ok((decisions, unsound, rank.prediction_set, rank.alike))
        })
    }

    /// Features of all candidates and their scores, as little-endian float32: (\[FEATURES, n\], \[n\]).
    #[pyo3(signature = (set, embedding=None, text=None, metadata=None, now=None, encoder=None))]
    fn score_all<'py>(
        &self,
        py: Python<'py>,
        set: &CandidateSet,
        embedding: Option<&Bound<'py, PyAny>>,
        text: Option<&Bound<'py, PyAny>>,
        metadata: Option<&Bound<'py, PyAny>>,
        now: Option<f64>,
        encoder: Option<&Encoder>,
    ) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let asked = Asked { embedding, text, metadata, now, encoder };
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
    crate::metadata::register(module)?;
    module.add("CANDIDATE_FEATURES", FEATURE_NAMES.to_vec())?;
    module.add("CANDIDATE_FEATURE_SPEC", SPEC)?;
    let weights = [("measured", Combination::Measured), ("documented", Combination::Documented)];
    module.add(
        "CANDIDATE_WEIGHTS",
        weights.map(|(name, of)| (name, of.weights().to_vec())).into_py_dict(module.py())?,
    )?;
    Ok(())
}
