//! Properties and times as Python writes them → as the engine takes them.

use pyo3::exceptions::{PyUnicodeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PyMapping, PySet, PyString, PyTuple, PyType,
};
use tiny_dancer::candidates::{
    DEEPEST_METADATA, Expression, Metadata, Value, seconds_of_number, seconds_of_text,
};
use tiny_dancer::{Error, ErrorKind};

use crate::convert::to_exception;

const LISTED: &str = "give text, numbers, true or false, or lists or mappings of them";

pub(crate) fn refused(py: Python<'_>, field: &str, value: impl std::fmt::Display, remedy: &str) -> PyErr {
    to_exception(py, Error::new(ErrorKind::CandidateInvalid, field, value, remedy))
}

/// Properties out of a mapping from strings; `place` names it in errors.
pub(crate) fn properties(mapping: &Bound<'_, PyAny>, place: impl Fn() -> String) -> PyResult<Metadata> {
    let mut metadata = Metadata::default();
    let found = members(mapping, &place, |name, value| {
        metadata.key(name);
        property(&mut metadata, name, value, &|| format!("{}.{name}", place()), 0)
    })?;
    match found {
        Some(()) => Ok(metadata),
        None => {
            Err(refused(mapping.py(), &place(), mapping.get_type().name()?, "give a mapping from strings"))
        }
    }
}

/// Hands each member of a mapping to `read`; `None` for what is no mapping.
fn members(
    mapping: &Bound<'_, PyAny>,
    place: &dyn Fn() -> String,
    mut read: impl FnMut(&str, &Bound<'_, PyAny>) -> PyResult<()>,
) -> PyResult<Option<()>> {
    let mut member = |key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>| {
        let Ok(name) = key.cast::<PyString>() else {
            return Err(refused(key.py(), &place(), key.repr()?, "give a mapping from strings"));
        };
        read(&unicode(name, &place)?, value)
    };
    if let Ok(mapping) = mapping.cast::<PyDict>() {
        for (key, value) in mapping {
            member(&key, &value)?;
        }
    } else if let Ok(mapping) = mapping.cast::<PyMapping>() {
        for item in mapping.items()? {
            let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            member(&key, &value)?;
        }
    } else {
        return Ok(None);
    }
    Ok(Some(()))
}

/// Whether a value is several.
fn is_list(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyList>()
        || value.is_instance_of::<PyTuple>()
        || value.is_instance_of::<PySet>()
        || value.is_instance_of::<PyFrozenSet>()
}

/// Adds what a value holds to the property `name`, begun last, and to those below it.
fn property(
    metadata: &mut Metadata,
    name: &str,
    value: &Bound<'_, PyAny>,
    field: &dyn Fn() -> String,
    depth: usize,
) -> PyResult<()> {
    let py = value.py();
    if value.is_none() {
        return Ok(());
    }
    if depth > DEEPEST_METADATA {
        return Err(refused(
            py,
            &field(),
            "nested too deeply",
            "give fewer lists and mappings within each other",
        ));
    }
    if is_list(value) {
        for one in value.try_iter()? {
            property(metadata, name, &one?, field, depth + 1)?;
        }
        return Ok(());
    }
    if !is_scalar(value) {
        let found = members(value, field, |inner, value| {
            let name = format!("{name}.{inner}");
            metadata.key(&name);
            property(metadata, &name, value, &|| format!("{}.{inner}", field()), depth + 1)
        })?;
        if found.is_some() {
            metadata.key(name);
            return Ok(());
        }
    }
    let added = with_value(value, &field, LISTED, |value| metadata.value(value))?;
    added.map_err(|error| to_exception(py, Error { field: field(), ..error }))
}

/// The usual values, told apart from mappings in one look.
fn is_scalar(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyString>() || value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>()
}

/// A filter out of what Python has for JSON; `field` names it in errors.
pub(crate) fn expression(value: &Bound<'_, PyAny>, field: &str, depth: usize) -> PyResult<Expression> {
    let py = value.py();
    if depth > DEEPEST_METADATA {
        return Err(refused(py, field, "nested too deeply", "give fewer conditions within each other"));
    }
    if value.is_none() {
        return Ok(Expression::Null);
    }
    if is_list(value) {
        let items = value.try_iter()?.map(|one| expression(&one?, field, depth + 1));
        return Ok(Expression::List(items.collect::<PyResult<_>>()?));
    }
    if !is_scalar(value) {
        let mut found = Vec::new();
        let named = || field.to_owned();
        let read = members(value, &named, |name, value| {
            found.push((name.to_owned(), expression(value, &format!("{field}.{name}"), depth + 1)?));
            Ok(())
        })?;
        if read.is_some() {
            return Ok(Expression::Object(found));
        }
        // A date or a time, which JSON writes as text: as ISO 8601, like a candidate's own.
        if value.hasattr("isoformat")? {
            return expression(&value.call_method0("isoformat")?, field, depth + 1);
        }
    }
    with_value(value, &|| field.to_owned(), LISTED, |value| Expression::value(value, field))?
        .map_err(|error| to_exception(py, error))
}

pub(crate) fn unicode(text: &Bound<'_, PyString>, field: &dyn Fn() -> String) -> PyResult<PyBackedStr> {
    text.extract::<PyBackedStr>().map_err(|failure| {
        if failure.is_instance_of::<PyUnicodeError>(text.py()) {
            refused(text.py(), &field(), "a lone surrogate", "give a string that is valid Unicode")
        } else {
            failure
        }
    })
}

/// What numpy's scalars are.
static GENERIC: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// Hands one value, as the engine takes it, to `work`; numpy's scalars are the numbers they hold.
fn with_value<T>(
    value: &Bound<'_, PyAny>,
    field: &dyn Fn() -> String,
    remedy: &str,
    work: impl FnOnce(Value) -> T,
) -> PyResult<T> {
    let py = value.py();
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(work(Value::Text(&unicode(text, field)?)));
    }
    if let Ok(flag) = value.cast::<PyBool>() {
        return Ok(work(Value::Boolean(flag.is_true())));
    }
    if value.is_instance_of::<PyInt>() {
        return whole(value, field, work);
    }
    if let Ok(number) = value.cast::<PyFloat>() {
        return Ok(work(Value::Number(number.value())));
    }
    if value.is_instance(GENERIC.import(py, "numpy", "generic")?)? {
        let kind: String = value.getattr("dtype")?.getattr("kind")?.extract()?;
        match kind.as_str() {
            "b" => return Ok(work(Value::Boolean(value.is_truthy()?))),
            "i" | "u" => return whole(&value.call_method0("item")?, field, work),
            "f" => return Ok(work(Value::Number(value.extract()?))),
            _ => {}
        }
    }
    Err(refused(py, &field(), value.get_type().name()?, remedy))
}

fn whole<T>(
    value: &Bound<'_, PyAny>,
    field: &dyn Fn() -> String,
    work: impl FnOnce(Value) -> T,
) -> PyResult<T> {
    if let Ok(small) = value.extract::<i64>() {
        return Ok(work(Value::Written(&small.to_string())));
    }
    let py = value.py();
    // Not str(value): an enumeration's numbers print as their names.
    let digits = py.get_type::<PyInt>().call_method1("__repr__", (value,)).map_err(|failure| {
        if failure.is_instance_of::<PyValueError>(py) {
            refused(py, &field(), "a number of thousands of digits", "give a shorter number, or text")
        } else {
            failure
        }
    })?;
    Ok(work(Value::Written(&digits.extract::<PyBackedStr>()?)))
}

/// The text that stands for one value of metadata, wherever it is kept or compared.
#[pyfunction]
fn metadata_text(py: Python<'_>, value: &Bound<'_, PyAny>, field: &str) -> PyResult<String> {
    let named = || field.to_owned();
    with_value(value, &named, "give text, a number, true or false", |value| value.read(field, str::to_owned))?
        .map_err(|error| to_exception(py, error))
}

/// Keys and texts of metadata in one order: equal where two mappings say the same.
#[pyfunction]
fn metadata_pairs<'py>(metadata: &Bound<'py, PyAny>, field: &str) -> PyResult<Bound<'py, PyTuple>> {
    let properties = properties(metadata, || field.to_owned())?;
    let mut pairs = properties.texts();
    pairs.sort_unstable();
    PyTuple::new(metadata.py(), pairs)
}

/// Seconds since 1970 of a time as a number; None where it is not finite.
#[pyfunction]
fn number_to_seconds(number: f64) -> Option<f64> {
    seconds_of_number(number)
}

/// Seconds since 1970 of a time in ISO 8601; None where it is none.
#[pyfunction]
fn text_to_seconds(text: &Bound<'_, PyString>) -> Option<f64> {
    // What is no Unicode is no time.
    text.to_str().ok().and_then(seconds_of_text)
}

/// Adds this room's names to the compiled module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(metadata_pairs, module)?)?;
    module.add_function(wrap_pyfunction!(metadata_text, module)?)?;
    module.add_function(wrap_pyfunction!(number_to_seconds, module)?)?;
    module.add_function(wrap_pyfunction!(text_to_seconds, module)?)
}
