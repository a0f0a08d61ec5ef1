//! Answers of several columns, and of several rows.

use pgrx::pg_sys::{self, Datum};

use crate::call::{Call, text};
use crate::failure::Result;

/// The row a function answers with, as the server wants it; kept as long as the query.
fn row_type(call: &Call) -> pg_sys::TupleDesc {
    // SAFETY: the call's own memory, which the server frees when the query is over.
    unsafe {
        let function = &mut *(*call.0).flinfo;
        if function.fn_extra.is_null() {
            let before = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = function.fn_mcxt;
            let mut row = std::ptr::null_mut();
            pg_sys::get_call_result_type(call.0, std::ptr::null_mut(), &raw mut row);
            assert!(!row.is_null(), "the SQL declares no row");
            function.fn_extra = pg_sys::BlessTupleDesc(row).cast();
            pg_sys::CurrentMemoryContext = before;
        }
        function.fn_extra.cast()
    }
}

/// One row as a value.
///
/// # Panics
/// Where the SQL declares another row.
#[must_use]
pub fn row<const COLUMNS: usize>(call: &Call, columns: [Option<Datum>; COLUMNS]) -> Datum {
    let kind = row_type(call);
    let (mut values, mut nulls) = split(columns);
    // SAFETY: as many values as the row has columns: a test calls every function.
    unsafe {
        assert!((*kind).natts as usize == COLUMNS, "the SQL declares {} columns", (*kind).natts);
        let tuple = pg_sys::heap_form_tuple(kind, values.as_mut_ptr(), nulls.as_mut_ptr());
        pg_sys::HeapTupleHeaderGetDatum((*tuple).t_data)
    }
}

fn split<const COLUMNS: usize>(columns: [Option<Datum>; COLUMNS]) -> ([Datum; COLUMNS], [bool; COLUMNS]) {
    (columns.map(|column| column.unwrap_or(Datum::from(0))), columns.map(|column| column.is_none()))
}

/// A function's answer of many rows. A cancelled query stops between two of them.
#[derive(Debug)]
pub struct Rows {
    answer: *mut pg_sys::ReturnSetInfo,
    /// What one row is made in.
    memory: pg_sys::MemoryContext,
}

impl Rows {
    /// No rows yet.
    #[must_use]
    pub fn of(call: &Call) -> Self {
        // SAFETY: the function is declared as one that gives a set; a test calls every function.
        unsafe {
            pg_sys::InitMaterializedSRF(call.0, 0);
            let memory = pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"tiny_dancer row".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            );
            Self { answer: (*call.0).resultinfo.cast(), memory }
        }
    }

    /// Adds the row that `make` makes.
    ///
    /// # Errors
    /// As `make`.
    ///
    /// # Panics
    /// Where the SQL declares another row.
    pub fn add<const COLUMNS: usize>(
        &mut self,
        make: impl FnOnce() -> Result<[Option<Datum>; COLUMNS]>,
    ) -> Result<()> {
        pgrx::check_for_interrupts!();
        // SAFETY: what `make` leaves in the memory of a row is copied before it is emptied.
        unsafe {
            let before = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = self.memory;
            let columns = make();
            pg_sys::CurrentMemoryContext = before;
            let (mut values, mut nulls) = split(columns?);
            let answer = &*self.answer;
            assert!((*answer.setDesc).natts as usize == COLUMNS, "the SQL declares another row");
            pg_sys::tuplestore_putvalues(
                answer.setResult,
                answer.setDesc,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            pg_sys::MemoryContextReset(self.memory);
        }
        Ok(())
    }
}

/// Texts as an array.
#[must_use]
pub fn texts<'a>(given: impl Iterator<Item = &'a str>) -> Datum {
    let mut values: Vec<Datum> = given.map(text).collect();
    // SAFETY: texts, as said.
    unsafe {
        let array = pg_sys::construct_array(
            values.as_mut_ptr(),
            values.len() as i32,
            pg_sys::TEXTOID,
            -1,
            false,
            pg_sys::TYPALIGN_INT as std::ffi::c_char,
        );
        Datum::from(array)
    }
}

/// Numbers as an array of `real`.
#[must_use]
pub fn floats(given: &[f32]) -> Datum {
    let mut values: Vec<Datum> = given.iter().map(|value| Datum::from(value.to_bits())).collect();
    // SAFETY: so many single floats, as said.
    unsafe {
        let array = pg_sys::construct_array(
            values.as_mut_ptr(),
            values.len() as i32,
            pg_sys::FLOAT4OID,
            4,
            true,
            pg_sys::TYPALIGN_INT as std::ffi::c_char,
        );
        Datum::from(array)
    }
}

/// A number; null where it is not known.
#[must_use]
pub fn number(value: f64) -> Option<Datum> {
    value.is_finite().then(|| Datum::from(value.to_bits()))
}
