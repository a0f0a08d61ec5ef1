//! The kinds of artifact there are, and what holds for each: a header is checked as its kind demands, and written the
//! one way.

use safetensors::tensor::Dtype;
use serde::Deserialize;

use crate::artifact::{Header, Kind, TensorData, assemble, invalid, open, parse_header};
use crate::candidates::ScorerHeader;
use crate::classifier;
use crate::error::Result;
use crate::{routes, tasks, tools};

/// Serialises an artifact; `header` is the JSON of a [`Kind`]'s header.
///
/// # Errors
/// `ArtifactInvalid` where the header or a tensor is malformed.
pub fn write(header: &str, tensors: Vec<TensorData>) -> Result<Vec<u8>> {
    assemble(checked_header(header)?, tensors)
}

/// The artifact in `bytes` with another header: tensors stay as they are.
///
/// # Errors
/// As [`crate::artifact::Tensors::open`] and [`write()`].
pub fn rewrite(bytes: &[u8], header: &str) -> Result<Vec<u8>> {
    let (_, file) = open(bytes, None)?;
    let copies = file.metadata.tensors().into_iter().map(|(name, tensor)| {
        let dtype = match tensor.dtype {
            Dtype::F32 => "f32",
            Dtype::I8 => "i8",
            Dtype::U8 => "u8",
            Dtype::U16 => "u16",
            other => return Err(invalid(&name, format!("{other:?}"), "artifacts hold f32, i8, u8 and u16")),
        };
        let (start, end) = tensor.data_offsets;
        let (shape, bytes) = (tensor.shape.clone(), file.data[start..end].to_vec());
        Ok(TensorData { name, dtype: dtype.to_owned(), shape, bytes })
    });
    write(header, copies.collect::<Result<_>>()?)
}

/// The header of an artifact as JSON, checked as its kind demands; self-checks are not run.
///
/// # Errors
/// As [`crate::artifact::Tensors::open`].
pub fn header(bytes: &[u8]) -> Result<String> {
    checked_header(&open(bytes, None)?.0)
}

/// The header `json`, checked as its kind demands and written the one way.
fn checked_header(json: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Prefix {
        kind: String,
    }
    fn again<K: Kind>(json: &str) -> Result<String> {
        serde_json::to_string(&parse_header::<K>(json)?)
            .map_err(|error| invalid("header", error, "must be JSON"))
    }
    let prefix: Prefix = crate::json::typed(json)
        .map_err(|error| invalid("tiny_dancer", error, "train the artifact again"))?;
    match prefix.kind.as_str() {
        Header::KIND => again::<Header>(json),
        classifier::Header::KIND => again::<classifier::Header>(json),
        ScorerHeader::KIND => again::<ScorerHeader>(json),
        routes::Header::KIND => again::<routes::Header>(json),
        tools::Header::KIND => again::<tools::Header>(json),
        tasks::Header::KIND => again::<tasks::Header>(json),
        unknown => {
            let known = [
                Header::KIND,
                classifier::Header::KIND,
                ScorerHeader::KIND,
                routes::Header::KIND,
                tools::Header::KIND,
                tasks::Header::KIND,
            ]
            .join(", ");
            Err(invalid("kind", unknown, &format!("this engine knows {known}")))
        }
    }
}
