//! Any candidates, query, options and scorer, ranked. What is read from the bytes and what must hold of the answer is
//! in the harness shared with the engine's own tests.
#![no_main]

#[path = "../../tiny-dancer/tests/support/mod.rs"]
mod support;

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use support::ranking::Harness;

thread_local! {
    static HARNESS: RefCell<Harness> = RefCell::default();
}

fuzz_target!(|input: &[u8]| HARNESS.with_borrow_mut(|harness| harness.run(input)));
