//! The engine as functions of PostgreSQL: a page of conversion over the doors of the core crate.
//!
//! [`call`] is the border: arguments, answers, and nothing that unwinds or jumps across. [`failure`] is what goes wrong,
//! as PostgreSQL says it. [`artifacts`] finds and keeps what decides; [`decide`], [`doors`] and the rest forward to it.
//! `sql/` declares the functions and the tables.

pub mod agents;
pub mod arrays;
pub mod artifacts;
pub mod call;
pub mod candidates;
pub mod decide;
pub mod doors;
pub mod failure;
pub mod rows;
pub mod settings;

use pgrx::pg_sys;

pgrx::pg_module_magic!();

/// What the server calls when it has loaded the library.
///
/// # Safety
/// The server calls it, once in a process.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _PG_init() {
    // SAFETY: errors of the server are caught here; what the closure leaves behind needs no dropping. A process that loads
    // a library has one thread.
    unsafe {
        pg_sys::panic::pgrx_extern_c_guard(|| {
            // pgrx would write a trace of this library's frames into the DETAIL of the server's own errors.
            std::env::set_var("RUST_LIB_BACKTRACE", "0");
            settings::define();
            artifacts::watch_transactions();
            if pg_sys::process_shared_preload_libraries_in_progress {
                artifacts::preload();
            }
        });
    }
}
