//! Bytes ↔ model: one safetensors file whose sizes, version, checksum and numbers are checked before use.
//!
//! `__metadata__` holds three strings: `tiny_dancer` (the header, JSON), `sha256` (hex, over the tensor bytes) and
//! `header_sha256` (hex, over the JSON). Files of format 1.0 may lack the last one: they load, but a certificate in a
//! header that nothing covers counts for nothing. What a header holds depends on the [`Kind`] of artifact. Loading
//! reads; it never executes anything.

mod file;
mod request_router;

use std::collections::{BTreeMap, HashMap};

use safetensors::serialize;
use safetensors::tensor::{Dtype, TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::sort;

pub(crate) use file::{File, Tensor};
pub use request_router::{BackendSpec, FeatureSpec, Guarantee, Header, ModelSpec, SelfCheck};

/// Artifacts of another MAJOR are refused. From 1.1 on every artifact has a checksum of its header.
pub const FORMAT: &str = "1.1.0";
/// Largest artifact, in bytes: far above any real one (512 KiB), far below what hurts.
pub const LARGEST_FILE: usize = 64 << 20;
/// Largest safetensors header, in bytes.
pub const LARGEST_HEADER: usize = 4 << 20;
/// Most components a backend may give: the rank of the quality head.
pub const MOST_COMPONENTS: usize = 16;
/// Most backends one artifact may stack.
pub const MOST_BACKENDS: usize = 16;
/// Most requests an artifact checks itself with: loading stays quick whatever comes in.
pub const MOST_SELF_CHECKS: usize = 256;
/// Weights and prices beyond this are refused: none is near it, and below it no score or cost overflows.
pub(crate) const LARGEST_NUMBER: f64 = 1e9;
/// Most models one artifact may route among.
pub const MOST_MODELS: usize = 512;

/// What the header of one kind of artifact holds.
pub trait Kind: Serialize + DeserializeOwned {
    /// The word in the header's `kind`.
    const KIND: &'static str;

    /// Whether the header means something the engine can run.
    ///
    /// # Errors
    /// `ArtifactInvalid`, naming the field.
    fn check(&self) -> Result<()>;
}

/// One tensor to write.
#[derive(Clone, Debug)]
pub struct TensorData {
    /// Its name.
    pub name: String,
    /// `f32`, `i8`, `u8` or `u16`.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Little-endian bytes.
    pub bytes: Vec<u8>,
}

#[cold]
#[inline(never)]
pub(crate) fn invalid(field: impl Into<String>, value: impl std::fmt::Display, remedy: &str) -> Error {
    Error::new(ErrorKind::ArtifactInvalid, field, value, remedy)
}

/// Serialises an artifact; `json` is its header, checked.
pub(crate) fn assemble(json: String, mut tensors: Vec<TensorData>) -> Result<Vec<u8>> {
    // safetensors orders by dtype, then name; the checksum covers the bytes in the file's own order.
    sort::stable_by(&mut tensors, |a, b| a.name.cmp(&b.name));
    if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(invalid(&pair[0].name, "given twice", "give every tensor its own name"));
    }
    let mut views = Vec::with_capacity(tensors.len());
    for tensor in &tensors {
        let dtype = match tensor.dtype.as_str() {
            "f32" => Dtype::F32,
            "i8" => Dtype::I8,
            "u8" => Dtype::U8,
            "u16" => Dtype::U16,
            other => return Err(invalid(&tensor.name, other, "use f32, i8, u8 or u16")),
        };
        let view = TensorView::new(dtype, tensor.shape.clone(), &tensor.bytes)
            .map_err(|error| invalid(&tensor.name, error, "shape and bytes disagree"))?;
        views.push((tensor.name.clone(), view));
    }
    let blank =
        serialize(views.clone(), None).map_err(|error| invalid("tensors", error, "cannot be written"))?;
    let checksum = hex(&Sha256::digest(&blank[data_start(&blank)?..]));
    let metadata = HashMap::from([
        ("header_sha256".to_owned(), hex(&Sha256::digest(&json))),
        ("tiny_dancer".to_owned(), json),
        ("sha256".to_owned(), checksum),
    ]);
    let bytes =
        serialize(views, Some(metadata)).map_err(|error| invalid("tensors", error, "cannot be written"))?;
    canonical(&bytes)
}

/// The file with its header's keys sorted: the library writes metadata in hash order, and equal artifacts must be
/// equal bytes.
fn canonical(bytes: &[u8]) -> Result<Vec<u8>> {
    let start = data_start(bytes)?;
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&bytes[8..start])
        .map_err(|error| invalid("header", error, "cannot be written"))?;
    let mut json =
        serde_json::to_vec(&header).map_err(|error| invalid("header", error, "cannot be written"))?;
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut out = Vec::with_capacity(8 + json.len() + bytes.len() - start);
    out.extend_from_slice(&(json.len() as u64).to_le_bytes());
    out.extend_from_slice(&json);
    out.extend_from_slice(&bytes[start..]);
    Ok(out)
}

/// Where the tensor bytes begin; bounds the header before anything parses it.
pub(crate) fn data_start(bytes: &[u8]) -> Result<usize> {
    if bytes.len() > LARGEST_FILE {
        return Err(invalid("file", format!("{} bytes", bytes.len()), "an artifact is at most 64 MiB"));
    }
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(invalid(
            "file",
            format!("{} bytes", bytes.len()),
            "this is no artifact: it is too short",
        ));
    };
    let length = u64::from_le_bytes(*length);
    if length > LARGEST_HEADER as u64 || length > rest.len() as u64 {
        return Err(invalid(
            "header length",
            length,
            "this is no artifact, or it is truncated; fetch or train it again",
        ));
    }
    if rest.first() != Some(&b'{') {
        return Err(invalid(
            "file",
            "no safetensors header",
            "this is no artifact; give a .safetensors file",
        ));
    }
    Ok(8 + length as usize)
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Checks bounds, version, checksum and, where one is asked for, kind of a tensor file; gives its JSON header with
/// its tensors.
pub(crate) fn open<'a>(bytes: &'a [u8], kind: Option<&str>) -> Result<(String, File<'a>)> {
    let start = data_start(bytes)?;
    let file = File::read(bytes)
        .map_err(|why| invalid("file", why, "the file is damaged or no artifact; fetch or train it again"))?;
    let missing = |field: &str| invalid(field, "absent", "this safetensors file is no Tiny Dancer artifact");
    let strings = file.metadata.metadata().as_ref().ok_or_else(|| missing("__metadata__"))?;
    let json = strings.get("tiny_dancer").ok_or_else(|| missing("__metadata__.tiny_dancer"))?.clone();
    let checksum = strings.get("sha256").ok_or_else(|| missing("__metadata__.sha256"))?;
    let seal = strings.get("header_sha256");
    if check_format(&json, kind)? && seal.is_none() {
        return Err(Error::new(
            ErrorKind::ArtifactChecksum,
            "header_sha256",
            "absent",
            "every artifact of this format has one: the file was changed; fetch or train it again",
        ));
    }
    let stated = [("sha256", Some(checksum), &bytes[start..]), ("header_sha256", seal, json.as_bytes())];
    for (field, stated, covered) in stated {
        let actual = hex(&Sha256::digest(covered));
        if stated.is_some_and(|stated| *stated != actual) {
            return Err(Error::new(
                ErrorKind::ArtifactChecksum,
                field,
                actual,
                "the file says otherwise: it was changed or damaged; fetch or train it again",
            ));
        }
    }
    let json = if seal.is_some() { json } else { without_certificate(json)? };
    Ok((json, file))
}

/// A header that no checksum covers, without the certificate it claims: whoever edits the file could claim any.
fn without_certificate(json: String) -> Result<String> {
    let mut header: serde_json::Map<String, serde_json::Value> = crate::json::typed(&json)
        .map_err(|error| invalid("tiny_dancer", error, "train the artifact again"))?;
    match header.get_mut("guarantee") {
        Some(claimed) if !claimed.is_null() => {
            *claimed = serde_json::Value::Null;
            serde_json::to_string(&header)
                .map_err(|error| invalid("tiny_dancer", error, "train the artifact again"))
        }
        _ => Ok(json),
    }
}

/// Whether an artifact of its format has a checksum of its header: all do but those of 1.0.
fn check_format(json: &str, kind: Option<&str>) -> Result<bool> {
    #[derive(Deserialize)]
    struct Prefix {
        format: String,
        kind: String,
    }
    let prefix: Prefix = crate::json::typed(json)
        .map_err(|error| invalid("tiny_dancer", error, "train the artifact again"))?;
    let mut parts = prefix.format.split('.');
    if parts.next() != FORMAT.split('.').next() {
        return Err(Error::new(
            ErrorKind::ArtifactVersion,
            "format",
            &prefix.format,
            format!("this engine reads format {FORMAT}; install a matching tiny-dancer or train again"),
        ));
    }
    if let Some(kind) = kind.filter(|kind| *kind != prefix.kind) {
        return Err(invalid("kind", &prefix.kind, &format!("expected {kind}")));
    }
    Ok(parts.next() != Some("0"))
}

pub(crate) fn parse_header<K: Kind>(json: &str) -> Result<K> {
    let header: K = crate::json::typed(json)
        .map_err(|error| invalid("tiny_dancer", error, "train the artifact again"))?;
    header.check()?;
    Ok(header)
}

/// An artifact's tensors, each checked when it is asked for.
#[derive(Debug)]
pub struct Tensors<'a> {
    file: File<'a>,
}

impl<'a> Tensors<'a> {
    /// Reads header and tensors of an artifact's bytes.
    ///
    /// # Errors
    /// `ArtifactInvalid`, `ArtifactVersion` or `ArtifactChecksum`, each naming what is wrong.
    pub fn open<K: Kind>(bytes: &'a [u8]) -> Result<(K, Self)> {
        let (json, file) = open(bytes, Some(K::KIND))?;
        Ok((parse_header(&json)?, Self { file }))
    }

    fn view(&self, name: &str, dtype: Dtype) -> Result<Tensor<'_, 'a>> {
        let view = self
            .file
            .tensor(name)
            .ok_or_else(|| invalid(name, "absent", "the artifact lacks this tensor; train again"))?;
        if view.dtype != dtype {
            return Err(invalid(
                name,
                format!("{:?}", view.dtype),
                &format!("expected {dtype:?}; train again"),
            ));
        }
        Ok(view)
    }

    fn shaped(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<Tensor<'_, 'a>> {
        let view = self.view(name, dtype)?;
        if view.shape != shape {
            let found = format!("shape {:?}", view.shape);
            return Err(invalid(name, found, &format!("expected {shape:?}; train again")));
        }
        Ok(view)
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.dtype(name).is_some()
    }

    /// What the tensor of this name holds, if there is one.
    pub(crate) fn dtype(&self, name: &str) -> Option<Dtype> {
        self.file.tensor(name).map(|tensor| tensor.dtype)
    }

    /// Bytes of exactly this shape.
    pub(crate) fn u8(&self, name: &str, shape: &[usize]) -> Result<Vec<u8>> {
        Ok(self.shaped(name, Dtype::U8, shape)?.data.to_vec())
    }

    /// All bytes, whatever their shape.
    pub(crate) fn u8_vector(&self, name: &str) -> Result<Vec<u8>> {
        Ok(self.view(name, Dtype::U8)?.data.to_vec())
    }

    /// int8 values of exactly this shape.
    pub(crate) fn i8(&self, name: &str, shape: &[usize]) -> Result<Vec<i8>> {
        let view = self.shaped(name, Dtype::I8, shape)?;
        Ok(view.data.iter().map(|&byte| byte.cast_signed()).collect())
    }

    /// Finite f32 values of exactly this shape.
    pub(crate) fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        finite(name, self.shaped(name, Dtype::F32, shape)?.data)
    }

    /// A finite f32 vector of any length.
    pub(crate) fn f32_vector(&self, name: &str) -> Result<Vec<f32>> {
        finite(name, self.view(name, Dtype::F32)?.data)
    }

    /// A finite, non-empty f32 matrix with `rows` rows, and its number of columns.
    pub(crate) fn f32_columns(&self, name: &str, rows: usize) -> Result<(Vec<f32>, usize)> {
        let view = self.view(name, Dtype::F32)?;
        match *view.shape {
            [found, columns] if found == rows && columns > 0 => Ok((finite(name, view.data)?, columns)),
            _ => Err(invalid(
                name,
                format!("shape {:?}", view.shape),
                &format!("expected {rows} rows; train again"),
            )),
        }
    }

    /// A u16 vector of any length.
    pub(crate) fn u16_vector(&self, name: &str) -> Result<Vec<u16>> {
        let view = self.view(name, Dtype::U16)?;
        Ok(view.data.as_chunks::<2>().0.iter().map(|&bytes| u16::from_le_bytes(bytes)).collect())
    }

    /// An int8 matrix with `columns` columns, and its number of rows.
    pub(crate) fn i8_rows(&self, name: &str, columns: usize) -> Result<(Vec<i8>, usize)> {
        let view = self.view(name, Dtype::I8)?;
        match *view.shape {
            [rows, found] if found == columns => {
                Ok((view.data.iter().map(|&byte| byte.cast_signed()).collect(), rows))
            }
            _ => Err(invalid(
                name,
                format!("shape {:?}", view.shape),
                &format!("expected {columns} columns; train again"),
            )),
        }
    }

    /// An int8 matrix whose number of rows is a power of two, so that indices fold into it by a mask.
    pub(crate) fn i8_power_of_two(&self, name: &str, columns: usize) -> Result<Vec<i8>> {
        let (values, rows) = self.i8_rows(name, columns)?;
        if !rows.is_power_of_two() {
            return Err(invalid(name, format!("{rows} rows"), "expected a power of two; train again"));
        }
        Ok(values)
    }
}

fn finite(name: &str, bytes: &[u8]) -> Result<Vec<f32>> {
    let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect();
    match values.iter().position(|value| value.is_nan() || f64::from(value.abs()) > LARGEST_NUMBER) {
        Some(at) => Err(invalid(
            format!("{name}[{at}]"),
            values[at],
            "weights must be finite and within ±1e9; the artifact is damaged or badly trained",
        )),
        None => Ok(values),
    }
}
