//! Options as Python callers name them. A new one is a field of the engine's `Options`, and its line here.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyIterator, PyMapping, PyString};
use tiny_dancer::{Error, ErrorKind, Options as Engine, Scale};

use crate::convert::to_exception;

/// What a caller asks of a decision beyond the request.
#[pyclass(frozen, eq, module = "tiny_dancer._core._native")]
#[derive(PartialEq)]
pub(crate) struct Options {
    pub(crate) asked: Engine,
}

/// The options of a call; none asks nothing.
pub(crate) fn asked(options: Option<&Options>) -> &Engine {
    static NOTHING: std::sync::LazyLock<Engine> = std::sync::LazyLock::new(Engine::default);
    options.map_or(&NOTHING, |options| &options.asked)
}

fn refused(field: &str, value: &Bound<'_, PyAny>, remedy: &str) -> PyErr {
    let shown = value.repr().map_or_else(|_| "no value".to_owned(), |repr| repr.to_string());
    to_exception(value.py(), Error::new(ErrorKind::OptionInvalid, field, shown, remedy))
}

/// A number as a float: Python's and numpy's numbers are, texts and truth values are not.
pub(crate) fn number(field: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<f64>> {
    let Some(value) = value else { return Ok(None) };
    let plain = value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>();
    let real = || value.py().import("numbers")?.getattr("Real").and_then(|real| value.is_instance(&real));
    if value.is_instance_of::<PyBool>() || !(plain || real()?) {
        return Err(refused(field, value, "give a number"));
    }
    let remedy = "give a finite number";
    value.extract().map(Some).map_err(|_| {
        let beyond = Error::new(ErrorKind::OptionInvalid, field, "an integer beyond any float", remedy);
        to_exception(value.py(), beyond)
    })
}

fn name(field: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    value.extract().map_err(|_| refused(field, value, "give names of models, as texts"))
}

fn names(field: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<String>> {
    let Some(value) = value else { return Ok(Vec::new()) };
    if value.is_instance_of::<PyString>() {
        return Ok(vec![name(field, value)?]);
    }
    let listed = value.try_iter().map_err(|_| refused(field, value, "give a list of names"))?;
    listed.map(|each| name(field, &each?)).collect()
}

fn scale(value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Scale>> {
    let Some(value) = value else { return Ok(None) };
    let word = value.extract::<String>().unwrap_or_default();
    let found = Scale::named(&word);
    found.map(Some).ok_or_else(|| refused("policy", value, "use one of quality, balanced, cheapest"))
}

fn cached_tokens(value: Option<&Bound<'_, PyAny>>) -> PyResult<BTreeMap<String, f64>> {
    let Some(value) = value else { return Ok(BTreeMap::new()) };
    let remedy = "give {model: tokens in its prompt cache}";
    let given = value.cast::<PyMapping>().map_err(|_| refused("cached_tokens", value, remedy))?;
    let pairs = given.items()?;
    let pair = |item: Bound<'_, PyAny>| {
        let (model, tokens): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        let tokens = number("cached_tokens", Some(&tokens))?.unwrap_or_default();
        Ok((name("cached_tokens", &model)?, tokens))
    };
    pairs.iter().map(pair).collect()
}

#[pymethods]
impl Options {
    #[new]
    #[pyo3(signature = (**given))]
    fn new(given: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let mut asked = Engine::default();
        let Some(given) = given else { return Ok(Self { asked }) };
        for (key, value) in given {
            let field: &str = &key.extract::<pyo3::pybacked::PyBackedStr>()?;
            let value = (!value.is_none()).then_some(&value);
            match field {
                "max_cost" => asked.max_cost = number(field, value)?,
                "min_quality" => asked.min_quality = number(field, value)?,
                "max_latency" => asked.max_latency = number(field, value)?,
                "allowed" => {
                    asked.allowed = names(field, value)?;
                    // One that was read to its end before would lift the restriction.
                    if asked.allowed.is_empty()
                        && let Some(value) = value.filter(|value| value.is_instance_of::<PyIterator>())
                    {
                        return Err(refused(field, value, "give a list: an iterator gives its items once"));
                    }
                }
                "exclude" => asked.exclude = names(field, value)?,
                "pin" => asked.pin = value.map(|value| name(field, value)).transpose()?,
                "threshold" => asked.threshold = number(field, value)?,
                "cost_weight" => asked.cost_weight = number(field, value)?,
                "policy" => asked.policy = scale(value)?,
                "expected_output_tokens" => asked.expected_output_tokens = number(field, value)?,
                "current" => asked.current = value.map(|value| name(field, value)).transpose()?,
                "cached_tokens" => asked.cached_tokens = cached_tokens(value)?,
                unknown => {
                    let message = format!("route() got an unexpected keyword argument '{unknown}'");
                    return Err(pyo3::exceptions::PyTypeError::new_err(message));
                }
            }
        }
        Ok(Self { asked })
    }

    /// From a JSON object.
    #[staticmethod]
    fn from_json(py: Python<'_>, json: &str) -> PyResult<Self> {
        Engine::from_json(json).map(|asked| Self { asked }).map_err(|error| to_exception(py, error))
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.asked)
    }

    #[getter]
    fn max_cost(&self) -> Option<f64> {
        self.asked.max_cost
    }

    #[getter]
    fn min_quality(&self) -> Option<f64> {
        self.asked.min_quality
    }

    #[getter]
    fn max_latency(&self) -> Option<f64> {
        self.asked.max_latency
    }

    #[getter]
    fn allowed(&self) -> Vec<String> {
        self.asked.allowed.clone()
    }

    #[getter]
    fn exclude(&self) -> Vec<String> {
        self.asked.exclude.clone()
    }

    #[getter]
    fn pin(&self) -> Option<String> {
        self.asked.pin.clone()
    }

    #[getter]
    fn threshold(&self) -> Option<f64> {
        self.asked.threshold
    }

    #[getter]
    fn cost_weight(&self) -> Option<f64> {
        self.asked.cost_weight
    }

    #[getter]
    fn policy(&self) -> Option<&'static str> {
        self.asked.policy.map(Scale::as_str)
    }

    #[getter]
    fn expected_output_tokens(&self) -> Option<f64> {
        self.asked.expected_output_tokens
    }

    #[getter]
    fn current(&self) -> Option<String> {
        self.asked.current.clone()
    }

    #[getter]
    fn cached_tokens(&self) -> BTreeMap<String, f64> {
        self.asked.cached_tokens.clone()
    }
}
