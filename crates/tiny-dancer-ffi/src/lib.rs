//! The engine for C: a page of conversion over the doors of the core crate. The header, `include/tiny_dancer.h`, is
//! written from these files; what a function does is said there.
//!
//! `border` is what crosses: texts, codes, errors, panics; `objects` what decides, by JSON; `vectors` candidates by numbers
//! alone.

// Types are named as C programmers name them, and what is said of functions goes into the header.
#![allow(non_camel_case_types, clippy::doc_markdown)]

mod border;
mod objects;
mod vectors;

pub use border::*;
pub use objects::*;
pub use vectors::*;
