//! Where the f32 rows of a matrix lie.

use std::sync::Arc;

/// Floats in a cache line.
pub(super) const LINE: usize = 16;

/// Rows that someone else owns: a numpy array or an Arrow buffer.
pub trait SharedRows: Send + Sync {
    /// All values, row after row.
    fn values(&self) -> &[f32];
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [f32; LINE]);

/// f32 values whose first lies on a cache line.
#[derive(Clone, Default)]
pub(super) struct Lines(pub(super) Vec<Line>);

impl Lines {
    pub(super) fn values(&self) -> &[f32] {
        // SAFETY: a `Line` is 16 floats without padding, and a slice of them is as many floats one after the other.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LINE) }
    }

    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * LINE) }
    }
}

pub(super) enum Rows {
    Owned(Lines),
    Shared(Arc<dyn SharedRows>),
    /// Only the int8 copy is kept.
    None,
}
