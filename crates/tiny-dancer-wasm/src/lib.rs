//! The engine as a WebAssembly module without imports: a page of conversion over the doors of the core crate.
//!
//! An [`Instance`] holds one thing that decides (a router, routes, tools, agents, candidates or tasks) and the encoder it
//! names. The module exports one instance; `js/` makes objects of it. On other targets this is a plain library, and the
//! tests hold its answers against the module's.

#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
mod exports;
mod instance;
#[cfg_attr(not(feature = "whole"), path = "no_others.rs")]
mod others;

pub use instance::{Instance, Operation};
