//! Known words as Python sees them.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tiny_dancer::spelling::{HASH_BYTES, Spelling, count};

use crate::Encoder;
use crate::convert::{text, to_exception};

/// Adds this room's names to the compiled module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Speller>()?;
    module.add_function(wrap_pyfunction!(count_words, module)?)
}

/// Words that unknown ones are read as.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
pub(crate) struct Speller {
    pub(crate) inner: tiny_dancer::spelling::Speller,
}

#[pymethods]
impl Speller {
    /// `words` u8 [n, 5] and `levels` u8 [n] as an artifact holds them; `pairs` a bit for every word n-gram that a head has
    /// weights for, low bits first, or nothing.
    #[new]
    fn new(
        py: Python<'_>,
        letters: String,
        words: &[u8],
        levels: &[u8],
        encoder: &Encoder,
        pairs: &[u8],
    ) -> PyResult<Self> {
        let pairs: Vec<u64> = pairs.as_chunks().0.iter().map(|&bytes| u64::from_le_bytes(bytes)).collect();
        let header = Spelling { letters };
        tiny_dancer::spelling::Speller::new(&header, words, levels, Some(&encoder.inner), &pairs)
            .map(|inner| Self { inner })
            .map_err(|error| to_exception(py, error))
    }
}

/// Hashes, in how many texts each word is, how often each letter is written.
type WordCounts<'py> = (Bound<'py, PyBytes>, Vec<u32>, Vec<(char, u32)>);

/// Words in texts: their hashes, rising, u8 [n, 5] as bytes, in how many texts each is, and how often each letter is
/// written.
#[pyfunction]
fn count_words<'py>(py: Python<'py>, texts: Vec<Bound<'py, PyAny>>) -> PyResult<WordCounts<'py>> {
    let texts = texts
        .iter()
        .enumerate()
        .map(|(at, value)| text(value, &format!("texts[{at}]")))
        .collect::<PyResult<Vec<_>>>()?;
    let (words, letters) = py.detach(|| count(texts.iter().map(AsRef::as_ref)));
    let hashes: Vec<u8> =
        words.keys().flat_map(|hash| hash.to_le_bytes().into_iter().take(HASH_BYTES)).collect();
    Ok((PyBytes::new(py, &hashes), words.into_values().collect(), letters.into_iter().collect()))
}
