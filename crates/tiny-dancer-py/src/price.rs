//! Prices and policies as Python sees them: what the gateway accounts with and training judges by.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tiny_dancer::policy::{Policy, Table};
use tiny_dancer::price::{CostSeen, Prices as Engine, Tokens, measured_cost};
use tiny_dancer::{Error, ErrorKind};

use crate::convert::to_exception;

/// Adds this room's names to the compiled module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Prices>()?;
    module.add_function(wrap_pyfunction!(measured_costs, module)?)?;
    module.add_function(wrap_pyfunction!(policy_choices, module)?)
}

fn refused(py: Python<'_>, field: &str, value: impl std::fmt::Display, remedy: &str) -> PyErr {
    to_exception(py, Error::new(ErrorKind::OptionInvalid, field, value, remedy))
}

/// What a model asks.
#[pyclass(frozen, eq, module = "tiny_dancer._core._native")]
#[derive(PartialEq)]
pub(crate) struct Prices {
    prices: Engine,
}

#[pymethods]
impl Prices {
    /// `prices` is JSON, as in an artifact's models.
    #[new]
    fn new(py: Python<'_>, prices: &str) -> PyResult<Self> {
        let prices = serde_json::from_str(prices)
            .map_err(|error| refused(py, "prices", error, "give prices by their names"))?;
        Ok(Self { prices })
    }

    /// USD of a request; None without prices, or where output has one and its tokens are unknown.
    #[pyo3(signature = (input, output=None, cached=0.0, written=0.0))]
    fn cost(&self, input: f64, output: Option<f64>, cached: f64, written: f64) -> Option<f64> {
        let tokens = Tokens { input, cached, written, output: output.unwrap_or(f64::NAN) };
        Some(self.prices.cost(&tokens)).filter(|cost| !cost.is_nan())
    }

    /// (What is priced, what is not) where a kind of token would silently be free; else None.
    fn incomplete(&self) -> Option<(&'static str, &'static str)> {
        self.prices.incomplete()
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.prices)
    }
}

fn doubles(bytes: &[u8]) -> Vec<f64> {
    bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect()
}

/// Costs as measured, f64 [n, m] as bytes, NaN where a model has none: of `models`, JSON, (constant, per token, per
/// verbosity) a model and what was seen, as in an artifact's header, and of tokens and verbosity, f64 [n] as bytes.
#[pyfunction]
fn measured_costs<'py>(
    py: Python<'py>,
    models: &str,
    tokens: &[u8],
    verbosity: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let models: Vec<(Option<[f64; 3]>, Option<CostSeen>)> = serde_json::from_str(models)
        .map_err(|error| refused(py, "models", error, "give costs as in an artifact's header"))?;
    let rows = doubles(tokens).into_iter().zip(doubles(verbosity));
    let costs = rows.flat_map(|(tokens, verbosity)| {
        let cost = move |(line, seen): &(Option<[f64; 3]>, Option<CostSeen>)| {
            measured_cost(*line, seen.as_ref(), tokens, verbosity)
        };
        models.iter().map(cost).collect::<Vec<_>>()
    });
    Ok(PyBytes::new(py, &costs.flat_map(f64::to_le_bytes).collect::<Vec<_>>()))
}

/// The model a policy (JSON, as in an artifact's header) chooses on each row, i64 [n] as bytes: of expected quality,
/// f64 [n, m] as bytes, and cost, the same or empty.
#[pyfunction]
fn policy_choices<'py>(
    py: Python<'py>,
    policy: &str,
    best_constant: usize,
    cleared: Vec<bool>,
    guard_margin: f64,
    quality: &[u8],
    cost: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let policy: Policy = serde_json::from_str(policy)
        .map_err(|error| refused(py, "policy", error, "give a policy as in an artifact's header"))?;
    let (quality, cost) = (doubles(quality), doubles(cost));
    let table = Table { quality: &quality, cost: &cost, cleared: &cleared, best_constant, guard_margin };
    let choices = table.choices(&policy).ok_or_else(|| {
        let remedy = "give one column a model, and costs where the policy weighs them";
        refused(py, "policy", format!("{policy:?}"), remedy)
    })?;
    let bytes: Vec<u8> = choices.into_iter().flat_map(|model| (model as i64).to_le_bytes()).collect();
    Ok(PyBytes::new(py, &bytes))
}
