//! A safetensors file: what its header says of its tensors, and their bytes.
//!
//! What a header may say is checked by the library. Its text is read by [`crate::json`], as all JSON is: the library's own way
//! would bring another parser into a WebAssembly module.

use std::collections::HashMap;
use std::fmt::Display;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;

use crate::json::{Reader, Unfit};
use crate::sort;

/// A file whose header was read and checked.
#[derive(Debug)]
pub(crate) struct File<'a> {
    pub(crate) metadata: Metadata,
    /// What follows the header: the bytes of all tensors.
    pub(crate) data: &'a [u8],
}

/// One tensor of a file.
pub(crate) struct Tensor<'f, 'a> {
    pub(crate) dtype: Dtype,
    pub(crate) shape: &'f [usize],
    pub(crate) data: &'a [u8],
}

impl<'a> File<'a> {
    /// Reads the header. Tensors lie one after the other and fill the file.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        fn said(error: impl Display) -> String {
            error.to_string()
        }
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| said("too short"))?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(said)?;
        let (header, data) = rest.split_at_checked(length).ok_or_else(|| said("the header is cut off"))?;
        let (metadata, mut tensors) = listed(std::str::from_utf8(header).map_err(said)?).map_err(said)?;
        sort::stable_by(&mut tensors, |(_, one), (_, two)| one.data_offsets.cmp(&two.data_offsets));
        let end = tensors.last().map_or(0, |(_, tensor)| tensor.data_offsets.1);
        let count = tensors.len();
        let metadata = Metadata::new(metadata, tensors).map_err(said)?;
        if metadata.tensors().len() != count {
            return Err(said("a tensor is there twice"));
        }
        if end != data.len() {
            return Err(format!("tensors of {end} bytes, and {} follow the header", data.len()));
        }
        Ok(Self { metadata, data })
    }

    /// The tensor of a name, if there is one.
    pub(crate) fn tensor(&self, name: &str) -> Option<Tensor<'_, 'a>> {
        let TensorInfo { dtype, shape, data_offsets: (start, end) } = self.metadata.info(name)?;
        Some(Tensor { dtype: *dtype, shape, data: &self.data[*start..*end] })
    }
}

type Listed = (Option<HashMap<String, String>>, Vec<(String, TensorInfo)>);

fn listed(header: &str) -> Result<Listed, Unfit> {
    let mut reader = Reader::new(header);
    let (mut metadata, mut tensors) = (None, Vec::new());
    reader.object(|key, reader| {
        let mut name = String::new();
        key.append_to(&mut name);
        if name == "__metadata__" {
            metadata = Deserialize::deserialize(reader)?;
        } else {
            tensors.push((name, TensorInfo::deserialize(reader)?));
        }
        Ok::<_, Unfit>(())
    })?;
    reader.end()?;
    Ok((metadata, tensors))
}
