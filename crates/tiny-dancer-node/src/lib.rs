//! The engine for Node: a page of conversion over the doors of the core crate.
//!
//! Classes take and give JSON as text, and numbers as typed arrays that are read where they lie. `npm/lib` makes of
//! them what a user meets; `npm/lib/wasm.js` has the same classes over the WebAssembly module. An error is thrown with
//! the JSON of its code, field, value and remedy as message; a panic is one, too, and never leaves this crate.

// Node's strings are copied to be read; what is copied is the call's.
#![allow(clippy::needless_pass_by_value)]

mod border;
mod candidates;
mod router;
mod sets;
mod texts;

use napi_derive::napi;

use crate::border::guard;

/// The version that the package compares with its own before it uses this.
#[napi]
#[must_use]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Panics within, so that a test sees what becomes of a panic.
///
/// # Errors
/// Always, that the engine stopped.
///
/// # Panics
/// Not beyond this function: that is what it shows.
#[napi]
pub fn panic_with(message: String) -> napi::Result<()> {
    guard(|| panic!("{message}"))
}
