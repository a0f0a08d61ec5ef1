//! Filters as Python sees them.

use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::prelude::*;
use tiny_dancer::candidates::Filter;

use crate::convert::to_exception;
use crate::metadata::expression;

/// Characters of a filter that its `repr` shows.
const SHOWN: usize = 1_000;

/// A filter, compiled once; equal to one that says the same.
#[pyclass(frozen, eq, module = "tiny_dancer._core._native")]
#[derive(PartialEq)]
pub(crate) struct CandidateFilter {
    pub(crate) filter: Filter,
}

#[pymethods]
impl CandidateFilter {
    /// `field` is what errors call it.
    #[new]
    #[pyo3(signature = (expression, field="where"))]
    fn new(expression: &Bound<'_, PyAny>, field: &str) -> PyResult<Self> {
        let given = self::expression(expression, field, 0)?;
        let filter = Filter::new(given, field).map_err(|error| to_exception(expression.py(), error))?;
        Ok(Self { filter })
    }

    /// What passes both.
    fn __and__(&self, other: &Self) -> Self {
        Self { filter: self.filter.and(&other.filter) }
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.filter.hash(&mut hasher);
        hasher.finish()
    }

    fn __str__(&self) -> String {
        self.filter.to_string()
    }

    fn __repr__(&self) -> String {
        let mut said = self.filter.to_string();
        if let Some((end, _)) = said.char_indices().nth(SHOWN) {
            said.truncate(end);
            said.push('…');
        }
        format!("CandidateFilter({said})")
    }
}
