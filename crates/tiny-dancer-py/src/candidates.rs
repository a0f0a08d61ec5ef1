//! Candidate sets and scorers as Python sees them.

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::sync::RwLockExt;
use pyo3::types::{IntoPyDict, PyBytes, PyList, PyString, PyTuple};
use tiny_dancer::candidates::{
    Candidate, CandidateDoor, CandidateScorer as Scorer, CandidateSet as Set, Combination, FEATURE_NAMES,
    FEATURES, Matrix, MatrixScratch, Metadata, Precision, Query, RankOptions, RankScratch, SPEC, Scalar,
    SharedRows, Use,
};
use tiny_dancer::encoder::{DIM, WordCache, pool};
use tiny_dancer::{Error, ErrorKind};

use crate::Encoder;
use crate::candidate_decision::{CandidateDecision, bytes_of};
use crate::candidate_filter::CandidateFilter;
use crate::convert::{text, to_exception};
use crate::metadata::{properties, refused, unicode};
use crate::vectors::{Held, held, precision};

/// From how many candidates on a call lets other threads run meanwhile: below, handing over costs more.
const WORTH_DETACHING: usize = 512;

/// Candidates in columns: ids, texts, `created_at` (s), `access_count`, `success_rate`, `trials`, confidence, metadata
/// pairs, groups, positions, `expires_at` (s), namespaces.
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
    Vec<Option<f64>>,
    Vec<Option<f64>>,
    Vec<Option<Bound<'py, PyAny>>>,
);

/// The parts of a path: a sequence of strings that is no string itself.
fn namespace(path: &Bound<'_, PyAny>, field: impl Fn() -> String) -> PyResult<Vec<PyBackedStr>> {
    let remedy = "give a list of strings, from the widest part to the narrowest";
    if !(path.is_instance_of::<PyList>() || path.is_instance_of::<PyTuple>()) {
        return Err(refused(path.py(), &field(), path.get_type().name()?, remedy));
    }
    path.try_iter()?
        .map(|part| {
            let part = part?;
            match part.cast::<PyString>() {
                Ok(part) => unicode(part, &field),
                Err(_) => Err(refused(path.py(), &field(), part.get_type().name()?, remedy)),
            }
        })
        .collect()
}

/// Makes the engine's candidates of the columns and hands them to `work`.
fn with_candidates<T>(
    py: Python<'_>,
    columns: &Columns<'_>,
    work: impl FnOnce(&[Candidate]) -> tiny_dancer::Result<T>,
) -> PyResult<T> {
    let Columns(
        ids,
        texts,
        created_at,
        access_count,
        success_rate,
        trials,
        confidence,
        metadata,
        groups,
        positions,
        expires_at,
        namespaces,
    ) = columns;
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
    let metadata: Vec<Vec<(&str, Scalar)>> = metadata.iter().map(Metadata::pairs).collect();
    let namespaces = namespaces
        .iter()
        .enumerate()
        .map(|(place, path)| match path {
            Some(path) => namespace(path, || format!("candidates[{place}].namespace")),
            None => Ok(Vec::new()),
        })
        .collect::<PyResult<Vec<_>>>()?;
    let namespaces: Vec<Vec<&str>> =
        namespaces.iter().map(|path| path.iter().map(|part| &**part).collect()).collect();
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
            position: positions[row],
            expires_at: expires_at[row],
            namespace: &namespaces[row],
        })
        .collect();
    work(&candidates).map_err(|error| to_exception(py, error))
}

/// The engine's candidate set, shared between threads.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
struct CandidateSet {
    set: RwLock<Set>,
    scratch: Mutex<Vec<MatrixScratch>>,
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
        Ok(Self { set: RwLock::new(set), scratch: Mutex::default() })
    }

    /// A set over an array without a copy. The caller has made sure that nobody can write to it.
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
        Ok(Self { set: RwLock::new(set), scratch: Mutex::default() })
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

    /// Removes those of the ids that are there, then adds the candidates or replaces those that are known: in one step,
    /// of which no ranking sees half. Without embeddings known candidates keep theirs, and new ones get zeros.
    #[pyo3(signature = (removed_ids, columns, embeddings=None))]
    fn apply(
        &self,
        py: Python<'_>,
        removed_ids: Vec<PyBackedStr>,
        columns: Columns<'_>,
        embeddings: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let removed: Vec<&str> = removed_ids.iter().map(|id| &**id).collect();
        let held = embeddings.map(|embeddings| held(embeddings, "embeddings")).transpose()?;
        let values = held.as_ref().map(Held::values);
        with_candidates(py, &columns, |candidates| {
            self.write(py, |set| set.apply(&removed, candidates, values))
        })
    }

    /// Replaces how candidates were used: `access_count`, `success_rate`, `trials`, confidence, `expires_at`; all or none.
    #[pyo3(name = "use")]
    fn replace_use(
        &self,
        py: Python<'_>,
        ids: Vec<PyBackedStr>,
        access_count: Vec<Option<f64>>,
        success_rate: Vec<Option<f64>>,
        trials: Vec<Option<f64>>,
        confidence: Vec<Option<f64>>,
        expires_at: Vec<Option<f64>>,
    ) -> PyResult<()> {
        let lengths =
            [access_count.len(), success_rate.len(), trials.len(), confidence.len(), expires_at.len()];
        if let Some(other) = lengths.into_iter().find(|&length| length != ids.len()) {
            let found = format!("{other} values for {} ids", ids.len());
            let error = Error::new(ErrorKind::CandidateInvalid, "columns", found, "give one for each id");
            return Err(to_exception(py, error));
        }
        let used: Vec<(&str, Use)> = (0..ids.len())
            .map(|row| {
                let used = Use {
                    access_count: access_count[row],
                    success_rate: success_rate[row],
                    trials: trials[row],
                    confidence: confidence[row],
                    expires_at: expires_at[row],
                };
                (&*ids[row], used)
            })
            .collect();
        self.write(py, |set| set.replace_use(&used)).map_err(|error| to_exception(py, error))
    }

    /// The `k` candidates nearest to `query` by cosine and all that are as near as the last of them, as (id, cosine),
    /// nearest first, equal ones by id.
    #[pyo3(signature = (query, k, r#where=None, now=None))]
    fn nearest(
        &self,
        py: Python<'_>,
        query: &Bound<'_, PyAny>,
        k: usize,
        r#where: Option<&CandidateFilter>,
        now: Option<f64>,
    ) -> PyResult<Vec<(String, f32)>> {
        // A copy: others may write to the array while it is searched for.
        let query = held(query, "query_embedding")?.values().to_vec();
        let filter = r#where.map(|asked| &asked.filter);
        let mut scratch =
            self.scratch.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let found = {
            let set = self.read(py);
            let set = &*set;
            py.detach(|| {
                let found = set.nearest(&query, k, filter, now, &mut scratch)?;
                let named =
                    found.into_iter().map(|(row, cosine)| (set.ids()[row as usize].to_string(), cosine));
                Ok(named.collect())
            })
        };
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        found.map_err(|error| to_exception(py, error))
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

    /// Which set of this process it is, and how often it has changed.
    fn version(&self, py: Python<'_>) -> (u64, u64) {
        self.read(py).version()
    }

    /// One byte a row: 1 where it passes.
    fn matching<'py>(&self, py: Python<'py>, filter: &CandidateFilter) -> Bound<'py, PyBytes> {
        let matching = self.read(py).matching(&filter.filter);
        PyBytes::new(py, &matching.into_iter().map(u8::from).collect::<Vec<_>>())
    }

    /// The candidates that pass and have not expired by `now`, in the order in which they stand; the first `k` where it
    /// is given.
    #[pyo3(signature = (r#where=None, now=None, k=None))]
    fn passing<'py>(
        &self,
        py: Python<'py>,
        r#where: Option<&CandidateFilter>,
        now: Option<f64>,
        k: Option<usize>,
    ) -> PyResult<Bound<'py, PyList>> {
        let set = self.read(py);
        let flags = set.passing(r#where.map(|asked| &asked.filter), now);
        let passing = (0..set.len()).filter(|&row| flags.as_ref().is_none_or(|flags| flags[row]));
        let most = k.unwrap_or(usize::MAX);
        let ids: Vec<_> = passing.take(most).map(|row| PyString::new(py, &set.ids()[row])).collect();
        PyList::new(py, ids)
    }

    /// Embeddings as they are kept, little-endian float32, one row an id.
    fn embeddings<'py>(&self, py: Python<'py>, ids: Vec<PyBackedStr>) -> PyResult<Bound<'py, PyBytes>> {
        let set = self.read(py);
        let mut rows = Vec::new();
        for id in &ids {
            let found = set.row(id).zip(set.matrix()).map(|(row, matrix)| matrix.row(row));
            let Some(found) = found else {
                return Err(refused(py, "ids", id, "no candidate of the set has this id and an embedding"));
            };
            rows.extend_from_slice(&bytes_of(&found));
        }
        Ok(PyBytes::new(py, &rows))
    }

    /// Whether all of these candidates are there, pass and have not expired by `now`.
    #[pyo3(signature = (ids, filter=None, now=None))]
    fn all_pass(
        &self,
        py: Python<'_>,
        ids: Vec<PyBackedStr>,
        filter: Option<&CandidateFilter>,
        now: Option<f64>,
    ) -> bool {
        let set = self.read(py);
        let flags = set.passing(filter.map(|filter| &filter.filter), now);
        let passes = |row: usize| flags.as_ref().is_none_or(|flags| flags[row]);
        ids.iter().all(|id| set.row(id).is_some_and(passes))
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
        work: impl FnOnce(&Set, &Query, &mut RankScratch) -> tiny_dancer::Result<()> + Send,
        convert: impl FnOnce(&Set, &RankScratch) -> PyResult<T>,
    ) -> PyResult<T> {
        let Asked { embedding, text: words, metadata, now, encoder } = asked;
        let held = embedding.map(|embedding| held(embedding, "query_embedding")).transpose()?;
        let words = words.map(|words| text(words, "text")).transpose()?;
        let metadata = metadata.map(|mapping| properties(mapping, || "metadata".to_owned())).transpose()?;
        let metadata = metadata.as_ref().map(Metadata::texts).unwrap_or_default();
        self.with(|working| {
            let Working { rank, words: cache, embedding: encoded } = working;
            encoded.clear();
            if let Some(held) = &held {
                // A copy: others may write to the array while candidates are ranked.
                encoded.extend_from_slice(held.values());
            } else if let (Some(encoder), Some(words)) = (encoder, &words) {
                let mut sums = [0; DIM];
                let found = encoder.inner.encode(words, cache, &mut sums);
                encoded.extend_from_slice(&pool(&sums, found.known));
            }
            let given = held.is_some() || encoder.is_some() && words.is_some();
            let embedding = given.then_some(&encoded[..]);
            let query = Query { embedding, text: words.as_deref(), metadata: &metadata, now: *now };
            let set = set.fresh(py);
            let done = if set.len() >= WORTH_DETACHING {
                let set = &*set;
                py.detach(|| work(set, &query, rank))
            } else {
                work(&set, &query, rank)
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

    /// Ranks candidates given as JSON for a query given as JSON; see the engine's `CandidateDoor`.
    #[pyo3(signature = (candidates, query, encoder=None))]
    fn rank_json(
        &self,
        py: Python<'_>,
        candidates: &str,
        query: &str,
        encoder: Option<&Encoder>,
    ) -> PyResult<String> {
        let mut door = CandidateDoor::new(Precision::Full, encoder.map(|encoder| Arc::clone(&encoder.inner)));
        py.detach(|| door.add(candidates).and_then(|()| door.rank(&self.scorer, query)))
            .map_err(|error| to_exception(py, error))
    }

    #[pyo3(signature = (set, embedding=None, text=None, metadata=None, now=None, encoder=None, k=5, diversity=0.0,
                        confidence_threshold=0.85, max_uncertainty=0.15, r#where=None))]
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
        r#where: Option<&CandidateFilter>,
    ) -> PyResult<RankedTuple<'py>> {
        let filter = r#where.map(|asked| &asked.filter);
        let options = RankOptions { k, diversity, confidence_threshold, max_uncertainty, filter };
        let asked = Asked { embedding, text, metadata, now, encoder };
        let work =
            |set: &Set, query: &Query, rank: &mut RankScratch| self.scorer.rank(set, query, &options, rank);
        self.ranked(py, set, &asked, work, |set, rank| {
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
        let work = |set: &Set, query: &Query, rank: &mut RankScratch| self.scorer.score_all(set, query, rank);
        self.ranked(py, set, &asked, work, |_, rank| {
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
    module.add_class::<CandidateFilter>()?;
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
