//! One call from SQL: its arguments as the engine takes them, and its answer as SQL takes it.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int};

use pgrx::pg_sys::{self, Datum};

use crate::failure::{ARGUMENT, Failure, NOT_IN_ENCODING, Raised, Result};

/// Makes functions known to SQL by the names `NAME_wrapper`, each from a Rust function
/// `fn(&Call) -> Result<Option<Datum>>`; `None` is null.
///
/// A panic and every error of the server's are caught at the border and raised when nothing of Rust's is left.
#[macro_export]
macro_rules! functions {
    ($($name:ident)*) => {$(
        const _: () = {
            #[unsafe(export_name = concat!("pg_finfo_", stringify!($name), "_wrapper"))]
            extern "C" fn information() -> &'static pgrx::pg_sys::Pg_finfo_record {
                static INFORMATION: pgrx::pg_sys::Pg_finfo_record =
                    pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
                &INFORMATION
            }

            #[unsafe(export_name = concat!(stringify!($name), "_wrapper"))]
            unsafe extern "C-unwind" fn wrapper(info: pgrx::pg_sys::FunctionCallInfo) -> pgrx::pg_sys::Datum {
                // SAFETY: the server calls it, as its manual says.
                unsafe { $crate::call::answer(info, $name) }
            }
        };
    )*};
}

/// Most bytes of a value of variable length: 1 GB less a byte, and its header.
const MOST_BYTES: usize = 0x3fff_ffff - 4;

/// What a call leaves at the border.
#[derive(Clone, Copy)]
enum Outcome {
    Value(Datum),
    Null,
    Raised(Raised),
}

/// Runs a function for the server.
///
/// # Safety
/// `info` is the server's for this call.
pub unsafe fn answer(info: pg_sys::FunctionCallInfo, function: fn(&Call) -> Result<Option<Datum>>) -> Datum {
    // SAFETY: as above; what the closure leaves behind needs no dropping.
    unsafe {
        let outcome = pg_sys::panic::pgrx_extern_c_guard(|| match function(&Call(info)) {
            Ok(Some(value)) => Outcome::Value(value),
            Ok(None) => Outcome::Null,
            Err(failure) => Outcome::Raised(failure.into()),
        });
        match outcome {
            Outcome::Value(value) => value,
            Outcome::Null => {
                (*info).isnull = true;
                Datum::from(0)
            }
            Outcome::Raised(raised) => raised.raise(),
        }
    }
}

/// The arguments of one call. What is read of them lives as long as the call.
#[derive(Debug)]
pub struct Call(pub pg_sys::FunctionCallInfo);

impl Call {
    /// An argument; `None` is null.
    #[must_use]
    pub fn datum(&self, place: usize) -> Option<Datum> {
        // SAFETY: the SQL declaration has this argument; a test holds the two together.
        unsafe {
            let arguments = (*self.0).args.as_slice((*self.0).nargs as usize);
            let argument = arguments[place];
            (!argument.isnull).then_some(argument.value)
        }
    }

    /// A text, JSON, or name as UTF-8; `None` is null.
    ///
    /// # Errors
    /// Bytes that are no text in the database's encoding.
    pub fn text(&self, place: usize) -> Result<Option<Cow<'_, str>>> {
        // SAFETY: the argument is a text, and what it was unpacked into lives in the call's memory context.
        self.datum(place).map(|datum| unsafe { text_of(datum) }).transpose()
    }

    /// Bytes; `None` is null.
    #[must_use]
    pub fn bytes(&self, place: usize) -> Option<&[u8]> {
        // SAFETY: the argument is of variable length, and what it was unpacked into lives in the call's memory context.
        self.datum(place).map(|datum| unsafe { bytes_of(datum) })
    }

    /// A number; `None` is null.
    #[must_use]
    pub fn float(&self, place: usize) -> Option<f64> {
        self.datum(place).map(|datum| f64::from_bits(datum.value() as u64))
    }
}

/// The bytes of a value of variable length.
///
/// # Safety
/// `datum` is such a value; the bytes live in the current memory context.
#[must_use]
pub unsafe fn bytes_of<'a>(datum: Datum) -> &'a [u8] {
    // SAFETY: as above.
    unsafe {
        let value = datum.cast_mut_ptr::<pg_sys::varlena>();
        let given = *value.cast::<u8>();
        // Neither compressed nor elsewhere: as it lies.
        let plain = given.trailing_zeros() >= 2 || (given & 0x01 == 1 && given != 0x01);
        let value = if plain { value } else { pg_sys::pg_detoast_datum_packed(value) };
        let length = pgrx::varsize_any_exhdr(value);
        std::slice::from_raw_parts(pgrx::vardata_any(value).cast(), length)
    }
}

/// A text as UTF-8.
///
/// # Errors
/// Bytes that are no text in the database's encoding.
///
/// # Safety
/// As [`bytes_of`].
pub unsafe fn text_of<'a>(datum: Datum) -> Result<Cow<'a, str>> {
    // SAFETY: as above.
    let bytes: &[u8] = unsafe { bytes_of(datum) };
    utf8(bytes)
}

/// Bytes in the database's encoding as UTF-8.
///
/// # Errors
/// Bytes that are no text in it.
pub fn utf8(bytes: &[u8]) -> Result<Cow<'_, str>> {
    let not_text = |error: std::str::Utf8Error| {
        let value = format!("byte {} is not of a character", error.valid_up_to());
        Failure::new(
            NOT_IN_ENCODING,
            "text",
            value,
            "give UTF-8: see client_encoding and the database's encoding",
        )
    };
    if bytes.is_ascii() || !is_converted() {
        // Every encoding of a server has ASCII as it is. SQL_ASCII holds bytes of any encoding: they have to be UTF-8.
        return std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(not_text);
    }
    // SAFETY: gives bytes that end, in the current memory context; its error is caught at the border.
    unsafe {
        let converted = pg_sys::pg_server_to_any(
            bytes.as_ptr().cast_mut().cast(),
            bytes.len() as c_int,
            pg_sys::pg_enc::PG_UTF8 as c_int,
        );
        CStr::from_ptr(converted).to_str().map(Cow::Borrowed).map_err(not_text)
    }
}

/// Whether texts of this database are neither UTF-8 nor bytes of any encoding.
fn is_converted() -> bool {
    // SAFETY: asks for a number.
    let encoding = unsafe { pg_sys::GetDatabaseEncoding() };
    encoding != pg_sys::pg_enc::PG_UTF8 as c_int && encoding != pg_sys::pg_enc::PG_SQL_ASCII as c_int
}

/// A text as a value of SQL.
///
/// # Panics
/// As an error of the server's, for a character that the database's encoding does not have.
#[must_use]
pub fn text(text: &str) -> Datum {
    // SAFETY: bytes with their length; the value is in the current memory context.
    unsafe {
        let mut bytes: *const c_char = text.as_ptr().cast();
        let mut length = text.len();
        if is_converted() && !text.is_ascii() {
            bytes = pg_sys::pg_any_to_server(bytes, length as c_int, pg_sys::pg_enc::PG_UTF8 as c_int);
            length = CStr::from_ptr(bytes).count_bytes();
        }
        Datum::from(pg_sys::cstring_to_text_with_len(bytes, length as c_int))
    }
}

/// JSON as a value of SQL. In a database that is not UTF-8, other characters than ASCII's are written as escapes.
///
/// # Errors
/// JSON of more than 1 GB less a byte.
pub fn json(json: &str) -> Result<Datum> {
    // SAFETY: asks for a number.
    let utf8 = unsafe { pg_sys::GetDatabaseEncoding() } == pg_sys::pg_enc::PG_UTF8 as c_int;
    let escaped = if utf8 || json.is_ascii() { Cow::Borrowed(json) } else { Cow::Owned(escaped(json)) };
    if escaped.len() > MOST_BYTES {
        return Err(Failure::new(
            ARGUMENT,
            "answer",
            format!("{} bytes", escaped.len()),
            "ask for less at once",
        ));
    }
    Ok(text(&escaped))
}

fn escaped(json: &str) -> String {
    use std::fmt::Write;
    let mut escaped = String::with_capacity(json.len() + 16);
    for char in json.chars() {
        if char.is_ascii() {
            escaped.push(char);
        } else {
            for unit in char.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

impl Call {
    /// The texts of an array of one dimension, in their order; none where it is null.
    ///
    /// # Errors
    /// As [`Self::text`], or an array of more dimensions.
    pub fn texts(&self, place: usize, field: &str) -> Result<Vec<Option<Cow<'_, str>>>> {
        let Some(datum) = self.datum(place) else { return Ok(Vec::new()) };
        // SAFETY: the argument is an array of texts; what it is unpacked into lives in the call's memory context.
        unsafe {
            let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr())
                .cast::<std::ffi::c_void>()
                .cast::<pg_sys::ArrayType>();
            if (*array).ndim > 1 {
                let value = format!("an array of {} dimensions", (*array).ndim);
                return Err(Failure::new(ARGUMENT, field, value, "give an array of one dimension"));
            }
            let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
            let align = pg_sys::TYPALIGN_INT as c_char;
            pg_sys::deconstruct_array(
                array,
                pg_sys::TEXTOID,
                -1,
                false,
                align,
                &raw mut values,
                &raw mut nulls,
                &raw mut count,
            );
            (0..count as usize)
                .map(|at| if *nulls.add(at) { Ok(None) } else { text_of(*values.add(at)).map(Some) })
                .collect()
        }
    }
}
