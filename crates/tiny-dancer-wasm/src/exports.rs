//! What the module exports beside its memory: one instance, its input, its answer, and why it stopped.
//!
//! The caller asks for room with `input`, writes two arguments there, one after the other, and names their lengths to
//! `call`. The answer, UTF-8 at `answer`, is read before the next call. A panic traps; what it said is at `stopped`.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use crate::instance::{Instance, Operation};

/// What the last panic said.
static STOPPED: Mutex<String> = Mutex::new(String::new());

thread_local! {
    static INSTANCE: RefCell<Instance> = RefCell::new(begin());
}

fn begin() -> Instance {
    std::panic::set_hook(Box::new(|panic| {
        *STOPPED.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
    Instance::default()
}

/// Room for arguments of together so many bytes; valid until the next call of any export.
#[unsafe(no_mangle)]
pub extern "C" fn input(length: usize) -> *mut u8 {
    INSTANCE.with_borrow_mut(|instance| instance.input(length).as_mut_ptr())
}

/// Does an operation with the first `first` bytes of the input and the `second` after them. Gives the length of the
/// answer; of an error, -1 less its length.
#[unsafe(no_mangle)]
pub extern "C" fn call(operation: u32, first: usize, second: usize) -> i32 {
    INSTANCE.with_borrow_mut(|instance| {
        let done = instance.call(Operation::of(operation), first, second);
        // A length is below the module's memory, which is below i32::MAX.
        let length = instance.answer().len() as i32;
        if done { length } else { -1 - length }
    })
}

/// Where the last answer is.
#[unsafe(no_mangle)]
pub extern "C" fn answer() -> *const u8 {
    INSTANCE.with_borrow(|instance| instance.answer().as_ptr())
}

/// Where the last panic's message is; it may be asked for after a trap.
#[unsafe(no_mangle)]
pub extern "C" fn stopped() -> *const u8 {
    STOPPED.lock().unwrap_or_else(PoisonError::into_inner).as_ptr()
}

/// How long that message is; 0 where nothing panicked.
#[unsafe(no_mangle)]
pub extern "C" fn stopped_length() -> usize {
    STOPPED.lock().unwrap_or_else(PoisonError::into_inner).len()
}
