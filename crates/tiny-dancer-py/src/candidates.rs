//! Candidate sets and scorers as Python sees them.

use pyo3::prelude::*;

/// Adds this room's names to the compiled module.
#[allow(clippy::unnecessary_wraps)]
pub(crate) fn register(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
