//! The candidate set: one column a property, one row a candidate.

use std::collections::HashMap;

use super::candidate::{Candidate, refused};
use super::index::Index;
use super::matrix::{MOST_ROWS, Matrix, Precision};
use super::terms::{Reader, Terms, hash_pair};
use super::time::{self, Date};
use crate::error::{Error, ErrorKind, Result};

/// Rows of the columns that need no computing.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub ids: Vec<Box<str>>,
    /// NaN where unknown, here and below.
    pub created_at: Vec<f64>,
    pub access_count: Vec<f32>,
    pub success_rate: Vec<f32>,
    pub trials: Vec<f32>,
    pub confidence: Vec<f32>,
    pub metadata: Vec<Box<[u64]>>,
    pub terms: Vec<Terms>,
    /// Words of the metadata's values, sorted.
    pub tags: Vec<Box<[u32]>>,
    pub date: Vec<Option<Date>>,
    pub speaks_of_time: Vec<bool>,
    pub question: Vec<bool>,
    /// Hash of the group; 0 for none.
    pub group: Vec<u64>,
    /// Place in the order of adding.
    pub order: Vec<u64>,
    /// Whether any candidate has words, says when it was made, says how it was used.
    pub any_text: bool,
    pub any_time: bool,
    pub any_use: bool,
}

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
}

impl Columns {
    fn push(&mut self, candidate: &Candidate, order: u64, reader: &mut Reader) {
        self.ids.push(candidate.id.into());
        self.created_at.push(f64::NAN);
        self.access_count.push(f32::NAN);
        self.success_rate.push(f32::NAN);
        self.trials.push(f32::NAN);
        self.confidence.push(f32::NAN);
        self.metadata.push(Box::default());
        self.terms.push(Terms::default());
        self.tags.push(Box::default());
        self.date.push(None);
        self.speaks_of_time.push(false);
        self.question.push(false);
        self.group.push(0);
        self.order.push(order);
        self.write(self.ids.len() - 1, candidate, reader);
    }

    fn write(&mut self, row: usize, candidate: &Candidate, reader: &mut Reader) {
        let number = |value: Option<f64>| value.map_or(f32::NAN, |value| value as f32);
        self.created_at[row] = candidate.created_at.unwrap_or(f64::NAN);
        self.access_count[row] = number(candidate.access_count);
        self.success_rate[row] = number(candidate.success_rate);
        self.trials[row] = number(candidate.trials.or(candidate.access_count));
        self.confidence[row] = number(candidate.confidence);
        let mut pairs: Vec<u64> =
            candidate.metadata.iter().map(|(key, value)| hash_pair(key, value)).collect();
        pairs.sort_unstable();
        self.metadata[row] = pairs.into();
        let mut terms = Terms::default();
        for (_, value) in candidate.metadata {
            reader.add(value, &mut terms);
        }
        let mut tags = terms.words.clone();
        tags.sort_unstable();
        tags.dedup();
        self.tags[row] = tags.into();
        // Pairs of words are looked for in what was said, not in its labels.
        terms.pairs.clear();
        reader.add(candidate.text.unwrap_or_default(), &mut terms);
        self.date[row] = candidate.created_at.and_then(time::date);
        self.speaks_of_time[row] = candidate.text.is_some() && time::speaks_of_time(reader);
        self.question[row] = candidate.text.is_some() && reader.ends_as_question();
        self.terms[row] = terms;
        self.group[row] = candidate.group.map_or(0, |group| hash_pair("group", group).max(1));
    }

    /// Looks again at what any candidate has: the last that had it may be gone.
    fn look_over(&mut self) {
        let known = |values: &[f32]| values.iter().any(|value| !value.is_nan());
        self.any_text = self.terms.iter().any(|terms| !terms.words.is_empty());
        self.any_time = self.created_at.iter().any(|time| !time.is_nan());
        self.any_use = known(&self.access_count) || known(&self.success_rate) || known(&self.confidence);
    }

    fn swap_remove(&mut self, row: usize) {
        self.ids.swap_remove(row);
        self.created_at.swap_remove(row);
        self.access_count.swap_remove(row);
        self.success_rate.swap_remove(row);
        self.trials.swap_remove(row);
        self.confidence.swap_remove(row);
        self.metadata.swap_remove(row);
        self.terms.swap_remove(row);
        self.tags.swap_remove(row);
        self.date.swap_remove(row);
        self.speaks_of_time.swap_remove(row);
        self.question.swap_remove(row);
        self.group.swap_remove(row);
        self.order.swap_remove(row);
    }
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
        self.stale = true;
        Ok(())
    }

    fn known(&self, id: &str) -> Result<usize> {
        self.row(id).ok_or_else(|| {
            Error::new(ErrorKind::CandidateInvalid, "id", id, "no candidate of the set has this id")
        })
    }

    /// Which rows have all of these properties; a repeated key means any of its values.
    #[must_use]
    pub fn matching(&self, metadata: &[(&str, &str)]) -> Vec<bool> {
        let mut keys: Vec<&str> = metadata.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys.dedup();
        let wanted: Vec<Vec<u64>> = keys
            .iter()
            .map(|key| {
                let pairs = metadata.iter().filter(|(other, _)| other == key);
                pairs.map(|(key, value)| hash_pair(key, value)).collect()
            })
            .collect();
        let has = |row: &[u64], any: &Vec<u64>| any.iter().any(|pair| row.binary_search(pair).is_ok());
        self.columns.metadata.iter().map(|row| wanted.iter().all(|any| has(row, any))).collect()
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
