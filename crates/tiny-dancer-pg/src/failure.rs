//! What goes wrong, as PostgreSQL reports it: SQLSTATE, message, DETAIL (field and value), HINT (what to do), COLUMN (the
//! field again, for programs).
//!
//! The class is `TD`, which the standard leaves to implementations; the number is the engine's kind of error.

use std::ffi::{CString, c_char, c_int};
use std::fmt::Write;

use pgrx::pg_sys;
use tiny_dancer::{Error, ErrorKind};

/// What goes wrong in a call.
#[derive(Debug)]
pub struct Failure {
    sqlstate: &'static [u8; 5],
    message: &'static str,
    field: String,
    value: String,
    remedy: String,
}

/// The result of every function.
pub type Result<T> = std::result::Result<T, Failure>;

/// `TD010`: no artifact of the name or checksum asked for.
pub const NO_ARTIFACT: (&[u8; 5], &str) = (b"TD010", "there is no such artifact");
/// Characters that the database's encoding cannot hold.
pub const NOT_IN_ENCODING: (&[u8; 5], &str) = (b"22021", "a text is not valid");
/// An argument that is none.
pub const ARGUMENT: (&[u8; 5], &str) = (b"22023", "an argument is not valid");
/// A file that cannot be read.
pub const FILE: (&[u8; 5], &str) = (b"58030", "a file cannot be read");

impl Failure {
    /// A failure of this SQLSTATE and message about `field`, which held `value`; `remedy` says what to do.
    pub fn new(
        (sqlstate, message): (&'static [u8; 5], &'static str),
        field: impl Into<String>,
        value: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { sqlstate, message, field: field.into(), value: value.into(), remedy: remedy.into() }
    }

    /// The same, with the type that the value was given as.
    #[must_use]
    pub fn of_a(mut self, kind: &str) -> Self {
        let _ = write!(self.value, " ({kind})");
        self
    }
}

/// SQLSTATE and message of a kind of the engine's errors.
fn kind(kind: ErrorKind) -> (&'static [u8; 5], &'static str) {
    match kind {
        ErrorKind::ArtifactInvalid => (b"TD001", "this is no artifact, or it contradicts itself"),
        ErrorKind::ArtifactVersion => {
            (b"TD002", "the artifact is of a version that this engine does not read")
        }
        ErrorKind::ArtifactChecksum => (b"TD003", "the artifact differs from its checksum"),
        ErrorKind::ArtifactSelfCheck => (b"TD004", "the artifact does not decide as it did when it was made"),
        ErrorKind::EncoderMissing => (b"TD005", "the encoder that the artifact needs is not there"),
        ErrorKind::RequestInvalid => (b"TD006", "the request cannot be routed as it stands"),
        ErrorKind::OptionInvalid => (b"TD007", "an option is not valid"),
        ErrorKind::NoFeasibleModel => (b"TD008", "no model satisfies the constraints"),
        ErrorKind::CandidateInvalid => (b"TD009", "a candidate cannot be used"),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let Error { kind: of, field, value, remedy } = error;
        Self::new(kind(of), field, value, remedy)
    }
}

/// The number PostgreSQL has for a SQLSTATE: six bits a character.
fn packed(sqlstate: [u8; 5]) -> c_int {
    sqlstate.iter().rev().fold(0, |code, byte| code << 6 | c_int::from(byte.wrapping_sub(b'0') & 0x3f))
}

/// A text that every encoding holds and C can end.
fn plain(text: &str) -> CString {
    let mut plain = String::with_capacity(text.len());
    // SAFETY: asks for a number.
    let utf8 = unsafe { pg_sys::GetDatabaseEncoding() } == pg_sys::pg_enc::PG_UTF8 as c_int;
    for char in text.chars() {
        match char {
            '\0' => plain.push_str("\\u0000"),
            char if utf8 || char.is_ascii() => plain.push(char),
            char => {
                let _ = write!(plain, "\\u{{{:x}}}", u32::from(char));
            }
        }
    }
    CString::new(plain).unwrap_or_default()
}

/// A failure in memory that is the server's, so that nothing of Rust's is left when it is raised.
#[derive(Clone, Copy)]
pub struct Raised {
    code: c_int,
    message: *const c_char,
    detail: *const c_char,
    hint: *const c_char,
    field: *const c_char,
}

impl From<Failure> for Raised {
    fn from(failure: Failure) -> Self {
        let Failure { sqlstate, message, field, value, remedy } = failure;
        // SAFETY: copies a text that ends into the current memory context.
        let copy = |text: &str| unsafe { pg_sys::pstrdup(plain(text).as_ptr()).cast_const() };
        Self {
            code: packed(*sqlstate),
            message: copy(message),
            detail: copy(&format!("{field}: {value}")),
            hint: copy(&remedy),
            field: copy(&field),
        }
    }
}

unsafe extern "C-unwind" {
    fn errstart(level: c_int, domain: *const c_char) -> bool;
    fn errcode(code: c_int) -> c_int;
    fn errmsg_internal(format: *const c_char, ...) -> c_int;
    fn errdetail_internal(format: *const c_char, ...) -> c_int;
    fn errhint(format: *const c_char, ...) -> c_int;
    fn err_generic_string(field: c_int, text: *const c_char) -> c_int;
    fn errfinish(file: *const c_char, line: c_int, function: *const c_char);
}

impl Raised {
    /// Raises it: control goes to the server and does not come back.
    ///
    /// # Safety
    /// No frame between this one and the server's may hold what has to be dropped.
    pub unsafe fn raise(self) -> ! {
        let file = concat!(file!(), "\0").as_ptr().cast();
        // SAFETY: all texts end, and were copied where the server frees them.
        unsafe {
            errstart(pgrx::PgLogLevel::ERROR as c_int, std::ptr::null());
            errcode(self.code);
            errmsg_internal(c"%s".as_ptr(), self.message);
            errdetail_internal(c"%s".as_ptr(), self.detail);
            errhint(c"%s".as_ptr(), self.hint);
            err_generic_string(pg_sys::PG_DIAG_COLUMN_NAME as c_int, self.field);
            errfinish(file, line!() as c_int, c"tiny_dancer".as_ptr());
        }
        unreachable!("an error does not return")
    }
}
