//! Learned scorers behind one trait. A backend turns features into `components` numbers; the heads turn the
//! weighted sum of all backends' components into a quality per model. To add one: write its file, add its line
//! to [`load`].

mod fastgrnn;
mod linear;
mod memory;
mod trees;

use crate::artifact::{BackendSpec, Tensors};
use crate::error::{Error, ErrorKind, Result};
use crate::fastgrnn::{CellScratch, MatrixScratch};
use crate::features::Features;

/// Buffers backends work in.
#[derive(Debug, Default)]
pub struct BackendScratch {
    floats: Vec<f32>,
    more_floats: Vec<f32>,
    products: Vec<i32>,
    more_products: Vec<i32>,
    cell: CellScratch,
    matrix: MatrixScratch,
}

/// A learned scorer.
pub trait Backend: Send + Sync + std::fmt::Debug {
    /// Adds this backend's components, each times its `weight`, to `out` (as long as `weight`). Neither
    /// allocates nor fails: shapes were checked when it was loaded. `scratch` is the caller's to reuse.
    fn add_scores(&self, features: &Features, weight: &[f32], scratch: &mut BackendScratch, out: &mut [f32]);
}

/// Builds the backend `spec` names from its tensors; `components` is the number of scores it must give.
///
/// # Errors
/// `ArtifactInvalid` for an unknown kind, a missing tensor or shapes that disagree.
pub fn load(spec: &BackendSpec, tensors: &Tensors, components: usize) -> Result<Box<dyn Backend>> {
    match spec.kind.as_str() {
        "linear" => Ok(Box::new(linear::Linear::load(&spec.name, tensors, components)?)),
        "trees" => Ok(Box::new(trees::Trees::load(&spec.name, tensors, components)?)),
        "memory" => Ok(Box::new(memory::Memory::load(&spec.name, tensors, components)?)),
        "fastgrnn" => Ok(Box::new(fastgrnn::FastGrnn::load(&spec.name, tensors, components)?)),
        unknown => Err(Error::new(
            ErrorKind::ArtifactInvalid,
            format!("backends[{}].kind", spec.name),
            unknown,
            "this engine knows linear, trees, memory and fastgrnn; update tiny-dancer or train again",
        )),
    }
}
