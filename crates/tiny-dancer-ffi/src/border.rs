//! What crosses the border: texts and lengths in, codes and texts out; errors kept for their thread, panics caught.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use serde_json::json;
use tiny_dancer::resilience::panic_text;
use tiny_dancer::{Error, ErrorKind};

/// Grows whenever a function changes so that a program built against an older header would misunderstand it.
pub const TD_ABI_VERSION: u32 = 0;

/// Whether a call did what it should, and else what kind of thing went wrong.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum td_code {
    /// It did what it should.
    Ok = 0,
    /// Bytes that are no artifact, or one that contradicts itself.
    ArtifactInvalid = 1,
    /// A sound artifact of a format version this library does not read.
    ArtifactVersion = 2,
    /// Bytes that differ from their checksum.
    ArtifactChecksum = 3,
    /// The artifact does not decide as it did when it was made.
    ArtifactSelfCheck = 4,
    /// The artifact needs the encoder and none, or another, was given.
    EncoderMissing = 5,
    /// A request that cannot be routed as it stands.
    RequestInvalid = 6,
    /// A constraint or option outside its range, or naming an unknown model.
    OptionInvalid = 7,
    /// No model satisfies the constraints.
    NoFeasibleModel = 8,
    /// A candidate or candidate set that cannot be used.
    CandidateInvalid = 9,
    /// An argument of the call itself: a pointer that is NULL, misaligned or of another kind, a size beyond memory.
    ArgumentInvalid = 100,
    /// The engine panicked; the object goes on as before. Please report it.
    EngineStopped = 101,
}

impl td_code {
    fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::ArtifactInvalid => Self::ArtifactInvalid,
            ErrorKind::ArtifactVersion => Self::ArtifactVersion,
            ErrorKind::ArtifactChecksum => Self::ArtifactChecksum,
            ErrorKind::ArtifactSelfCheck => Self::ArtifactSelfCheck,
            ErrorKind::EncoderMissing => Self::EncoderMissing,
            ErrorKind::RequestInvalid => Self::RequestInvalid,
            ErrorKind::OptionInvalid => Self::OptionInvalid,
            ErrorKind::NoFeasibleModel => Self::NoFeasibleModel,
            ErrorKind::CandidateInvalid => Self::CandidateInvalid,
        }
    }
}

/// A text the library made: UTF-8 of `length` bytes, and a zero after them. Free it with td_text_free.
///
/// Whatever a text held before is not looked at, so that it need not be set to anything before a call, and must be
/// freed before it is used for the next answer. After a call that failed it is empty, and may be freed or not.
#[repr(C)]
#[derive(Debug)]
pub struct td_text {
    /// The text; NULL where it is empty.
    pub data: *mut c_char,
    /// Its bytes.
    pub length: usize,
    /// Of the library.
    pub capacity: usize,
}

impl td_text {
    const EMPTY: Self = Self { data: ptr::null_mut(), length: 0, capacity: 0 };

    fn of(text: String) -> Self {
        if text.is_empty() {
            return Self::EMPTY;
        }
        let length = text.len();
        let mut bytes = text.into_bytes();
        bytes.push(0);
        let mut bytes = std::mem::ManuallyDrop::new(bytes);
        Self { data: bytes.as_mut_ptr().cast(), length, capacity: bytes.capacity() }
    }
}

/// Frees a text and makes it empty; twice does no harm, nor does NULL.
///
/// # Safety
/// `text` is NULL, or what a call of this library has filled in.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_text_free(text: *mut td_text) {
    // SAFETY: what the caller promises.
    let Some(text) = (unsafe { text.as_mut() }) else { return };
    let td_text { data, length, capacity } = std::mem::replace(text, td_text::EMPTY);
    if !data.is_null() {
        // SAFETY: made so by td_text::of.
        drop(unsafe { Vec::from_raw_parts(data.cast::<u8>(), length + 1, capacity) });
    }
}

/// What functions mean: of this library; it must be the TD_ABI_VERSION of the header.
#[unsafe(no_mangle)]
pub extern "C" fn td_abi_version() -> u32 {
    TD_ABI_VERSION
}

/// Version of the library, such as "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn td_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// What failed, and why.
pub(crate) enum Failure {
    Engine(Error),
    Argument { field: String, value: String, remedy: String },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

pub(crate) type Outcome<T> = Result<T, Failure>;

/// An argument that cannot be: named by the function's own word for it.
pub(crate) fn refused(field: &str, value: &str, remedy: &str) -> Failure {
    Failure::Argument { field: field.to_owned(), value: value.to_owned(), remedy: remedy.to_owned() }
}

#[derive(Default)]
struct Detail {
    kind: CString,
    message: CString,
    field: CString,
    value: CString,
    remedy: CString,
}

thread_local! {
    static DETAIL: RefCell<Detail> = RefCell::default();
}

fn zero_ended(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

fn noted(code: td_code, field: &str, value: &str, remedy: &str) -> td_code {
    let detail = Detail {
        kind: zero_ended(&format!("{code:?}")),
        message: zero_ended(&format!("{field}: {value}; {remedy}")),
        field: zero_ended(field),
        value: zero_ended(value),
        remedy: zero_ended(remedy),
    };
    // A thread that ends has none any more.
    let _ = DETAIL.try_with(|held| held.replace(detail));
    code
}

/// Does it; an error, or what a panic said, is kept for this thread.
pub(crate) fn guarded(work: impl FnOnce() -> Outcome<()>) -> td_code {
    let work = || {
        forced(Place::Border);
        work()
    };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => td_code::Ok,
        Ok(Err(Failure::Engine(error))) => {
            noted(td_code::of(error.kind), &error.field, &error.value, &error.remedy)
        }
        Ok(Err(Failure::Argument { field, value, remedy })) => {
            noted(td_code::ArgumentInvalid, &field, &value, &remedy)
        }
        Err(panic) => {
            let said = panic_text(panic.as_ref());
            let code = noted(td_code::EngineStopped, "engine", said, "report it, with what was asked");
            // What was thrown might panic when it is dropped.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(panic)));
            code
        }
    }
}

/// Does it, and puts the text it gives into `answer`, which is empty where it failed.
///
/// # Safety
/// `answer` is NULL or points to room for a text.
pub(crate) unsafe fn answered(answer: *mut td_text, work: impl FnOnce() -> Outcome<String>) -> td_code {
    if answer.is_null() || !answer.is_aligned() {
        return guarded(|| Err(refused("answer", "NULL or misaligned", "give a place for the answer")));
    }
    // SAFETY: there is room.
    unsafe { answer.write(td_text::EMPTY) };
    guarded(|| {
        let text = td_text::of(work()?);
        // SAFETY: there is room.
        unsafe { answer.write(text) };
        Ok(())
    })
}

fn kept(read: impl FnOnce(&Detail) -> *const c_char) -> *const c_char {
    DETAIL.try_with(|held| read(&held.borrow())).unwrap_or(c"".as_ptr())
}

/// What the last call of this thread that failed has to say, in one sentence: field, value and remedy; empty where none
/// failed. This and its like stay until the next call of this thread that fails.
#[unsafe(no_mangle)]
pub extern "C" fn td_error_message() -> *const c_char {
    kept(|detail| detail.message.as_ptr())
}

/// The name of its code, such as "OptionInvalid".
#[unsafe(no_mangle)]
pub extern "C" fn td_error_kind() -> *const c_char {
    kept(|detail| detail.kind.as_ptr())
}

/// What was at fault: a field, an option, a tensor, an argument.
#[unsafe(no_mangle)]
pub extern "C" fn td_error_field() -> *const c_char {
    kept(|detail| detail.field.as_ptr())
}

/// What was found there, shortened.
#[unsafe(no_mangle)]
pub extern "C" fn td_error_value() -> *const c_char {
    kept(|detail| detail.value.as_ptr())
}

/// What to do about it.
#[unsafe(no_mangle)]
pub extern "C" fn td_error_remedy() -> *const c_char {
    kept(|detail| detail.remedy.as_ptr())
}

/// The same as JSON: an object of `code`, `field`, `value` and `remedy`.
///
/// # Safety
/// `answer` points to room for a text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_error_json(answer: *mut td_text) -> td_code {
    let text = DETAIL.try_with(|held| {
        let held = held.borrow();
        let text = |part: &CString| part.to_string_lossy().into_owned();
        let (code, field) = (text(&held.kind), text(&held.field));
        json!({ "code": code, "field": field, "value": text(&held.value), "remedy": text(&held.remedy) })
            .to_string()
    });
    // SAFETY: what the caller promises.
    unsafe { answered(answer, || Ok(text.unwrap_or_default())) }
}

/// `length` values at `data`.
///
/// # Safety
/// They can be read, and stay while `'a` lasts.
pub(crate) unsafe fn slice<'a, T>(data: *const T, length: usize, field: &str) -> Outcome<&'a [T]> {
    if length == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(refused(field, "NULL", "give a pointer, or the length 0"));
    }
    if !data.is_aligned() {
        return Err(refused(field, "misaligned", "give a pointer aligned as its type is"));
    }
    if length > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(refused(field, &length.to_string(), "give the length of what is there"));
    }
    // SAFETY: what the caller promises.
    Ok(unsafe { std::slice::from_raw_parts(data, length) })
}

/// A text of `length` bytes.
///
/// # Safety
/// As [`slice`].
pub(crate) unsafe fn text<'a>(data: *const c_char, length: usize, field: &str) -> Outcome<&'a str> {
    // SAFETY: what the caller promises.
    let bytes = unsafe { slice(data.cast::<u8>(), length, field) }?;
    std::str::from_utf8(bytes)
        .map_err(|error| Error::new(ErrorKind::RequestInvalid, field, error, "give UTF-8").into())
}

/// What a handle points to: a mark of its kind, and the thing.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Held<T> {
    mark: u64,
    pub(crate) value: T,
}

impl<T> Held<T> {
    pub(crate) fn new(mark: u64, value: T) -> Self {
        Self { mark, value }
    }
}

/// A kind of object that C holds by pointer.
pub(crate) trait Opaque: Sized + 'static {
    type Value;
    /// Eight letters no other kind begins with.
    const MARK: u64;
    fn held(&self) -> &Held<Self::Value>;
    fn held_mut(&mut self) -> &mut Held<Self::Value>;
    fn wrap(held: Held<Self::Value>) -> Self;
}

macro_rules! opaque {
    ($type:ident, $value:ty, $mark:literal) => {
        impl $crate::border::Opaque for $type {
            type Value = $value;
            const MARK: u64 = u64::from_le_bytes(*$mark);
            fn held(&self) -> &$crate::border::Held<$value> {
                &self.0
            }
            fn held_mut(&mut self) -> &mut $crate::border::Held<$value> {
                &mut self.0
            }
            fn wrap(held: $crate::border::Held<$value>) -> Self {
                Self(held)
            }
        }
    };
}
pub(crate) use opaque;

/// The thing an object holds.
///
/// # Safety
/// `object` is NULL, or was made by this library and not freed.
pub(crate) unsafe fn object<'a, T: Opaque>(object: *const T, field: &str) -> Outcome<&'a T::Value> {
    if object.is_null() || !object.is_aligned() {
        return Err(refused(field, "NULL or misaligned", "give what a load or new function has made"));
    }
    // SAFETY: what the caller promises; every kind of object begins with its mark.
    if unsafe { object.cast::<u64>().read() } != T::MARK {
        return Err(refused(
            field,
            "another kind of object, or freed",
            "give what its own function has made",
        ));
    }
    // SAFETY: it is one of this kind.
    Ok(&unsafe { &*object }.held().value)
}

/// As [`object`], where NULL is none.
///
/// # Safety
/// As [`object`].
pub(crate) unsafe fn object_or_none<'a, T: Opaque>(
    given: *const T,
    field: &str,
) -> Outcome<Option<&'a T::Value>> {
    // SAFETY: what the caller promises.
    if given.is_null() { Ok(None) } else { unsafe { object(given, field) }.map(Some) }
}

/// Makes an object and puts it at `place`, which is NULL where that failed.
///
/// # Safety
/// `place` is NULL or points to room for a pointer.
pub(crate) unsafe fn made<T: Opaque>(
    place: *mut *mut T,
    make: impl FnOnce() -> Outcome<T::Value>,
) -> td_code {
    if place.is_null() || !place.is_aligned() {
        return guarded(|| Err(refused("object", "NULL or misaligned", "give a place for the object")));
    }
    // SAFETY: there is room.
    unsafe { place.write(ptr::null_mut()) };
    guarded(|| {
        let object = Box::new(T::wrap(Held::new(T::MARK, make()?)));
        // SAFETY: there is room.
        unsafe { place.write(Box::into_raw(object)) };
        Ok(())
    })
}

/// Frees the object at `place` and makes that NULL; NULL on either level does no harm.
///
/// # Safety
/// What is there was made by this library, is not freed, and in use by no call.
pub(crate) unsafe fn freed<T: Opaque>(place: *mut *mut T) {
    guarded(|| {
        // SAFETY: what the caller promises.
        let Some(place) = (unsafe { place.as_mut() }) else { return Ok(()) };
        let found = std::mem::replace(place, ptr::null_mut());
        if found.is_null() {
            return Ok(());
        }
        // SAFETY: what the caller promises.
        unsafe { object(found, "object") }?;
        // SAFETY: `made` made it, of this kind, as its mark says.
        let mut owned = unsafe { Box::from_raw(found) };
        // Volatile, so that who frees it twice by another pointer is likely told so.
        // SAFETY: a field of a value that is there.
        unsafe { ptr::write_volatile(&raw mut owned.held_mut().mark, 0) };
        drop(owned);
        Ok(())
    });
}

/// Where a test wants a panic.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the border of the next call.
    Border = 1,
    /// Where the next call asks what was learned.
    Learned = 2,
}

#[cfg(feature = "forced-panic")]
mod panics {
    use std::cell::Cell;

    thread_local! {
        static WANTED: Cell<u32> = const { Cell::new(0) };
    }

    /// Makes the next call of this thread panic: 1 at the border, 2 where it asks what was learned.
    #[unsafe(no_mangle)]
    pub extern "C" fn td_force_panic(place: u32) {
        WANTED.set(place);
    }

    pub(crate) fn forced(place: super::Place) {
        if WANTED.get() == place as u32 {
            WANTED.set(0);
            panic!("forced by a test");
        }
    }
}
#[cfg(feature = "forced-panic")]
pub(crate) use panics::forced;
#[cfg(feature = "forced-panic")]
pub use panics::td_force_panic;

#[cfg(not(feature = "forced-panic"))]
#[inline]
pub(crate) fn forced(_: Place) {}
