//! The candidate set: one column a property, one row a candidate.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::candidate::{Candidate, refused};
use super::columns::Columns;
use super::index::Index;
use super::matrix::{MOST_ROWS, Matrix, Precision};
use super::terms::Reader;
use crate::error::{Error, ErrorKind, Result};

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
    stale: bool,
    reader: Reader,
    number: u64,
    changes: u64,
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
            stale: false,
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
        set.push(candidates);
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
        if self.len() + candidates.len() > MOST_ROWS {
            let found = self.len() + candidates.len();
            return Err(refused(0, "id", found, "at most 2^24 candidates fit one set"));
        }
        let mut seen = HashMap::with_capacity(candidates.len());
        for (place, candidate) in candidates.iter().enumerate() {
            candidate.check(place)?;
            if self.rows.contains_key(candidate.id) || seen.insert(candidate.id, place).is_some() {
                return Err(refused(place, "id", candidate.id, "ids are unique: update it, or give another"));
            }
        }
        Ok(())
    }

    fn push(&mut self, candidates: &[Candidate]) {
        for candidate in candidates {
            self.rows.insert(candidate.id.into(), self.len() as u32);
            self.columns.push(candidate, self.added, &mut self.reader);
            self.added += 1;
        }
        self.changes += 1;
        self.stale = true;
    }

    /// Adds candidates with their embeddings (row after row; none for a set without embeddings). All or none are added.
    ///
    /// # Errors
    /// `CandidateInvalid`, naming candidate and field: a repeated or empty id, a negative count, a rate outside [0, 1],
    /// a time that is no number, embeddings that are not one row a candidate.
    pub fn append(&mut self, candidates: &[Candidate], embeddings: &[f32]) -> Result<()> {
        self.check_new(candidates)?;
        let expected = self.matrix.as_ref().map_or(0, Matrix::dimensions) * candidates.len();
        if embeddings.len() != expected {
            return Err(Error::new(
                ErrorKind::CandidateInvalid,
                "embeddings",
                format!("{} values for {} candidates", embeddings.len(), candidates.len()),
                format!("give {expected}"),
            ));
        }
        if let Some(matrix) = &mut self.matrix {
            matrix.append(embeddings)?;
        }
        self.push(candidates);
        Ok(())
    }

    /// Replaces everything known of a candidate, except its embedding where none is given.
    ///
    /// # Errors
    /// `CandidateInvalid` for an unknown id, and as [`Self::append`].
    pub fn update(&mut self, candidate: &Candidate, embedding: Option<&[f32]>) -> Result<()> {
        candidate.check(0)?;
        let row = self.known(candidate.id)?;
        if let Some(embedding) = embedding {
            match &mut self.matrix {
                Some(matrix) => matrix.replace(row, embedding)?,
                None => return Err(refused(0, "embedding", "given", "this set has no embeddings")),
            }
        }
        self.columns.write(row, candidate, &mut self.reader);
        self.changes += 1;
        self.stale = true;
        Ok(())
    }

    /// Counts one more use of a candidate and whether it helped. Neither terms nor embeddings have to be read again.
    ///
    /// # Errors
    /// `CandidateInvalid` for an unknown id.
    pub fn record_use(&mut self, id: &str, helped: Option<bool>) -> Result<()> {
        let (row, columns) = (self.known(id)?, &mut self.columns);
        columns.access_count[row] = columns.access_count[row].max(0.0) + 1.0; // NaN counts as 0
        columns.any_use = true;
        self.changes += 1;
        if let Some(helped) = helped {
            // Uses of which nobody said whether they helped are no trials.
            let rate = columns.success_rate[row];
            let trials = if rate.is_nan() { 0.0 } else { columns.trials[row].max(0.0) };
            columns.trials[row] = trials + 1.0;
            columns.success_rate[row] =
                ((rate.max(0.0) * trials + f32::from(u8::from(helped))) / (trials + 1.0)).min(1.0);
        }
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
        for id in ids {
            // An id given twice is gone the second time.
            let Some(row) = self.rows.remove(*id) else { continue };
            self.columns.swap_remove(row as usize);
            if let Some(matrix) = &mut self.matrix {
                matrix.swap_remove(row as usize);
            }
            if let Some(moved) = self.columns.ids.get(row as usize) {
                self.rows.insert(moved.clone(), row);
            }
        }
        self.changes += 1;
        self.stale = true;
        Ok(())
    }

    fn known(&self, id: &str) -> Result<usize> {
        self.row(id).ok_or_else(|| {
            Error::new(ErrorKind::CandidateInvalid, "id", id, "no candidate of the set has this id")
        })
    }

    /// Whether [`Self::refresh`] has to run before the set can be scored.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// Brings what is computed over the whole set up to date with its candidates.
    pub fn refresh(&mut self) {
        if self.stale {
            self.columns.look_over();
            self.index = Index::build(&self.columns, self.matrix.as_ref());
            self.stale = false;
        }
    }
}
