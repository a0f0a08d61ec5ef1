//! The candidate set: one column a property, one row a candidate.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use super::candidate::{Candidate, Use, refused};
use super::columns::Columns;
use super::filter::{Filter, FilterScratch};
use super::index::Index;
use super::matrix::{MOST_ROWS, Matrix, MatrixScratch, Precision};
use super::properties::holds;
use super::terms::Reader;
use crate::error::{Error, ErrorKind, Result};
use crate::sort;

/// Sets made so far in this process.
static SETS: AtomicU64 = AtomicU64::new(0);

/// Candidates with their embeddings, ready to be scored by many threads.
#[derive(Debug)]
pub struct CandidateSet {
    columns: Columns,
    matrix: Option<Matrix>,
    rows: HashMap<Box<str>, u32>,
    added: u64,
    index: Index,
    reader: Reader,
    number: u64,
    changes: u64,
}

fn check_all(candidates: &[Candidate]) -> Result<()> {
    let mut seen = HashSet::with_capacity(candidates.len());
    for (place, candidate) in candidates.iter().enumerate() {
        candidate.check(place)?;
        if !seen.insert(candidate.id) {
            return Err(refused(place, "id", candidate.id, "ids are unique: give it once"));
        }
    }
    Ok(())
}

impl CandidateSet {
    /// An empty set whose embeddings have `dimensions` values; `None` for candidates without embeddings.
    ///
    /// # Errors
    /// As [`Matrix::new`].
    pub fn new(dimensions: Option<usize>, precision: Precision) -> Result<Self> {
        let matrix = dimensions.map(|dimensions| Matrix::new(dimensions, precision)).transpose()?;
        Ok(Self::with(matrix))
    }

    fn with(matrix: Option<Matrix>) -> Self {
        Self {
            columns: Columns::default(),
            matrix,
            rows: HashMap::new(),
            added: 0,
            index: Index::default(),
            reader: Reader::default(),
            number: SETS.fetch_add(1, Ordering::Relaxed),
            changes: 0,
        }
    }

    /// A set over embeddings that are already in place, one row a candidate.
    ///
    /// # Errors
    /// `CandidateInvalid` where the numbers of rows differ, and as [`Self::append`].
    pub fn over(matrix: Matrix, candidates: &[Candidate]) -> Result<Self> {
        if matrix.len() != candidates.len() {
            return Err(Error::new(
                ErrorKind::CandidateInvalid,
                "embeddings",
                format!("{} rows for {} candidates", matrix.len(), candidates.len()),
                "give one row a candidate",
            ));
        }
        let mut set = Self::with(Some(matrix));
        set.check_new(candidates)?;
        for candidate in candidates {
            set.push(candidate);
        }
        Ok(set)
    }

    /// Number of candidates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.ids.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.ids.is_empty()
    }

    /// Ids in row order.
    #[must_use]
    pub fn ids(&self) -> &[Box<str>] {
        &self.columns.ids
    }

    /// The number of this set, which no other of the process has, and how often it has changed: answers of one version
    /// are of the same candidates.
    #[must_use]
    pub fn version(&self) -> (u64, u64) {
        (self.number, self.changes)
    }

    /// The row of a candidate.
    #[must_use]
    pub fn row(&self, id: &str) -> Option<usize> {
        self.rows.get(id).map(|&row| row as usize)
    }

    /// The embeddings, where there are any.
    #[must_use]
    pub fn matrix(&self) -> Option<&Matrix> {
        self.matrix.as_ref()
    }

    pub(crate) fn columns(&self) -> &Columns {
        &self.columns
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    fn check_new(&self, candidates: &[Candidate]) -> Result<()> {
        check_all(candidates)?;
        match candidates.iter().position(|candidate| self.rows.contains_key(candidate.id)) {
            Some(place) => {
                let remedy = "ids are unique: update it, or give another";
                Err(refused(place, "id", candidates[place].id, remedy))
            }
            None => self.check_room(candidates.len()),
        }
    }

    fn check_room(&self, more: usize) -> Result<()> {
        let found = self.len() + more;
        if found > MOST_ROWS {
            return Err(refused(0, "id", found, "at most 2^24 candidates fit one set"));
        }
        Ok(())
    }

    fn check_embeddings(&self, candidates: usize, embeddings: &[f32]) -> Result<()> {
        let expected = self.matrix.as_ref().map_or(0, Matrix::dimensions) * candidates;
        if embeddings.len() != expected {
            return Err(Error::new(
                ErrorKind::CandidateInvalid,
                "embeddings",
                format!("{} values for {candidates} candidates", embeddings.len()),
                format!("give {expected}"),
            ));
        }
        Ok(())
    }

    /// A new row, whose embedding is in place.
    fn push(&mut self, candidate: &Candidate) {
        let row = self.len() as u32;
        self.rows.insert(candidate.id.into(), row);
        self.columns.push(candidate, self.added, &mut self.reader);
        self.added += 1;
        self.changes += 1;
        self.index.push();
        if let Some(group) = candidate.group {
            self.index.link(&self.columns, row, group);
        }
    }

    /// Replaces a row; what is given has been checked.
    fn replace(&mut self, row: usize, candidate: &Candidate, embedding: Option<&[f32]>) -> Result<()> {
        self.changes += 1;
        self.index.touch(&self.columns, row as u32);
        if let (Some(embedding), Some(matrix)) = (embedding, &mut self.matrix) {
            matrix.replace(row, embedding)?;
        }
        self.index.unlink(&self.columns, row as u32);
        self.columns.write(row, candidate, &mut self.reader);
        if let Some(group) = candidate.group {
            self.index.link(&self.columns, row as u32, group);
        }
        Ok(())
    }

    /// Removes the rows of ids; those that are not there are passed over.
    fn drop_rows(&mut self, ids: &[&str]) {
        for id in ids {
            let Some(row) = self.rows.remove(*id) else { continue };
            self.index.swap_remove(&self.columns, row);
            self.columns.swap_remove(row as usize);
            if let Some(matrix) = &mut self.matrix {
                matrix.swap_remove(row as usize);
            }
            if let Some(moved) = self.columns.ids.get(row as usize)
                && let Some(known) = self.rows.get_mut(moved)
            {
                *known = row;
            }
        }
        self.changes += 1;
    }

    /// Adds candidates with their embeddings (row after row; none for a set without embeddings). All or none are added.
    ///
    /// # Errors
    /// `CandidateInvalid`, naming candidate and field: a repeated or empty id, a negative count, a rate outside [0, 1],
    /// a time that is no number, embeddings that are not one row a candidate.
    pub fn append(&mut self, candidates: &[Candidate], embeddings: &[f32]) -> Result<()> {
        self.check_new(candidates)?;
        self.check_embeddings(candidates.len(), embeddings)?;
        if let Some(matrix) = &mut self.matrix {
            matrix.append(embeddings)?;
        }
        for candidate in candidates {
            self.push(candidate);
        }
        Ok(())
    }

    /// Replaces everything known of a candidate, except its embedding where none is given. It keeps its place in the
    /// order of adding.
    ///
    /// # Errors
    /// `CandidateInvalid` for an unknown id, and as [`Self::append`].
    pub fn update(&mut self, candidate: &Candidate, embedding: Option<&[f32]>) -> Result<()> {
        candidate.check(0)?;
        let row = self.known(candidate.id)?;
        if let Some(embedding) = embedding {
            match &self.matrix {
                Some(matrix) => matrix.check_row(embedding)?,
                None => return Err(refused(0, "embedding", "given", "this set has no embeddings")),
            }
        }
        self.replace(row, candidate, embedding)
    }

    /// Removes candidates, those that are there; then adds the others, or replaces those that are known. All or nothing
    /// is done.
    ///
    /// Embeddings are one row a candidate. Without them a known candidate keeps its own, and a new one in a set with
    /// embeddings is unlike everything (zeros). What is replaced keeps its place in the order of adding.
    ///
    /// # Errors
    /// `CandidateInvalid`, as [`Self::append`]; but that ids are known is no mistake.
    pub fn apply(
        &mut self,
        removed: &[&str],
        candidates: &[Candidate],
        embeddings: Option<&[f32]>,
    ) -> Result<()> {
        check_all(candidates)?;
        self.check_room(candidates.len())?;
        if let Some(embeddings) = embeddings {
            self.check_embeddings(candidates.len(), embeddings)?;
        }
        self.drop_rows(removed);
        let dimensions = self.matrix.as_ref().map_or(0, Matrix::dimensions);
        let zeros = vec![0.0; if embeddings.is_none() { dimensions } else { 0 }];
        for (place, candidate) in candidates.iter().enumerate() {
            let embedding = embeddings.map(|rows| &rows[place * dimensions..][..dimensions]);
            if let Some(row) = self.row(candidate.id) {
                self.replace(row, candidate, embedding)?;
            } else {
                if let Some(matrix) = &mut self.matrix {
                    matrix.append(embedding.unwrap_or(&zeros))?;
                }
                self.push(candidate);
            }
        }
        Ok(())
    }

    /// Replaces how candidates were used, and nothing else of them: neither terms nor embeddings have to be read again.
    /// All or none are replaced.
    ///
    /// # Errors
    /// `CandidateInvalid` for an unknown id, and for counts and shares as [`Self::append`].
    pub fn replace_use(&mut self, used: &[(&str, Use)]) -> Result<()> {
        for (place, (id, used)) in used.iter().enumerate() {
            self.known(id)?;
            used.check(place)?;
        }
        for (id, used) in used {
            let row = self.known(id)?;
            self.columns.replace_use(row, used);
        }
        self.changes += 1;
        Ok(())
    }

    /// Counts one more use of a candidate and whether it helped. Neither terms nor embeddings have to be read again.
    ///
    /// # Errors
    /// `CandidateInvalid` for an unknown id.
    pub fn record_use(&mut self, id: &str, helped: Option<bool>) -> Result<()> {
        let row = self.known(id)?;
        self.changes += 1;
        self.columns.add_use(row, helped);
        Ok(())
    }

    /// Removes candidates. All or none are removed.
    ///
    /// # Errors
    /// `CandidateInvalid` for an unknown id.
    pub fn remove(&mut self, ids: &[&str]) -> Result<()> {
        for id in ids {
            self.known(id)?;
        }
        self.changes += 1;
        self.drop_rows(ids);
        Ok(())
    }

    /// The `k` candidates nearest to `query` by cosine and all that are as near as the last of them, as (row, cosine),
    /// nearest first, equal ones by id. Only those that pass `filter`; where `now` is given, those that expired by then
    /// take no part. Exact where f32 rows are kept. Zero rows, and rows that are not finite, never appear; nothing is
    /// near in a set without embeddings.
    ///
    /// # Errors
    /// `CandidateInvalid` for a query of another width or one that is not finite.
    pub fn nearest(
        &self,
        query: &[f32],
        k: usize,
        filter: Option<&Filter>,
        now: Option<f64>,
        scratch: &mut MatrixScratch,
    ) -> Result<Vec<(u32, f32)>> {
        let Some(matrix) = &self.matrix else { return Ok(Vec::new()) };
        let passing = self.passing_bits(filter, now);
        let mut found = matrix.nearest_and_ties(query, k, passing.as_deref(), scratch)?;
        let ids = self.ids();
        sort::unstable_by(&mut found, |a, b| {
            b.1.total_cmp(&a.1).then_with(|| ids[a.0 as usize].cmp(&ids[b.0 as usize]))
        });
        Ok(found)
    }

    /// One flag a row: whether it passes `filter` and has not expired by `now`; `None` where all do.
    #[must_use]
    pub fn passing(&self, filter: Option<&Filter>, now: Option<f64>) -> Option<Vec<bool>> {
        self.passing_bits(filter, now).map(|bits| (0..self.len()).map(|row| holds(&bits, row)).collect())
    }

    /// The same, one bit a row.
    fn passing_bits(&self, filter: Option<&Filter>, now: Option<f64>) -> Option<Vec<u64>> {
        let now = now.filter(|_| self.columns.any_expire());
        let mut bits = match (filter, now) {
            (None, None) => return None,
            (None, Some(_)) => vec![u64::MAX; self.len().div_ceil(64)],
            (Some(filter), _) => {
                let mut scratch = FilterScratch::default();
                filter.evaluate(self, &mut scratch);
                scratch.passing
            }
        };
        if let Some(now) = now {
            for (word, times) in bits.iter_mut().zip(self.columns.expires_at.chunks(64)) {
                for (bit, &at) in times.iter().enumerate() {
                    *word &= !(u64::from(at <= now) << bit);
                }
            }
        }
        Some(bits)
    }

    fn known(&self, id: &str) -> Result<usize> {
        self.row(id).ok_or_else(|| {
            Error::new(ErrorKind::CandidateInvalid, "id", id, "no candidate of the set has this id")
        })
    }

    /// Whether [`Self::refresh`] has to run before the set can be scored.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.index.is_stale()
    }

    /// Brings what is computed of the candidates up to date, in time proportional to what has changed.
    pub fn refresh(&mut self) {
        self.index.refresh(&self.columns, self.matrix.as_ref());
    }
}
