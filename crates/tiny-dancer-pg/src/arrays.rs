//! Arrays of numbers as the engine takes them, and of what has a cast to them, as pgvector's vectors have.

use std::borrow::Cow;
use std::ffi::c_char;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::failure::{ARGUMENT, Failure, Result};

/// An array, unpacked.
struct Array(*mut pg_sys::ArrayType);

impl Array {
    /// # Safety
    /// `datum` is an array; what it is unpacked into lives in the current memory context.
    unsafe fn of(datum: Datum) -> Self {
        // SAFETY: as above.
        unsafe { Self(pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast()) }
    }

    fn dimensions(&self) -> &[i32] {
        // SAFETY: the lengths stand behind the head of an array.
        unsafe { std::slice::from_raw_parts(self.0.add(1).cast(), (*self.0).ndim as usize) }
    }

    fn elements(&self) -> Oid {
        // SAFETY: an array.
        unsafe { (*self.0).elemtype }
    }

    /// The numbers as they lie, where they are single floats and none is null.
    fn floats(&self) -> Option<&[f32]> {
        // SAFETY: an array.
        let offset = unsafe { (*self.0).dataoffset };
        if self.elements() != pg_sys::FLOAT4OID || offset != 0 {
            return None;
        }
        let dimensions = self.dimensions();
        let count = if dimensions.is_empty() {
            0
        } else {
            dimensions.iter().map(|&length| length as usize).product()
        };
        let head = size_of::<pg_sys::ArrayType>() + 2 * size_of::<i32>() * dimensions.len();
        let aligned = head.next_multiple_of(pg_sys::MAXIMUM_ALIGNOF as usize);
        // SAFETY: where no element may be null, they follow the head, aligned.
        Some(unsafe { std::slice::from_raw_parts(self.0.cast::<u8>().add(aligned).cast(), count) })
    }

    fn values(&self) -> Vec<Option<Datum>> {
        let (mut length, mut by_value, mut align) = (0, false, 0 as c_char);
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        // SAFETY: the server says what its elements are.
        unsafe {
            pg_sys::get_typlenbyvalalign(self.elements(), &raw mut length, &raw mut by_value, &raw mut align);
            pg_sys::deconstruct_array(
                self.0,
                self.elements(),
                i32::from(length),
                by_value,
                align,
                &raw mut values,
                &raw mut nulls,
                &raw mut count,
            );
            (0..count as usize).map(|at| (!*nulls.add(at)).then(|| *values.add(at))).collect()
        }
    }
}

fn refused(field: &str, value: impl Into<String>) -> Failure {
    Failure::new(
        ARGUMENT,
        field,
        value,
        "give real[], double precision[], or what has a cast to real[], without nulls",
    )
}

/// The numbers of an array of single or double floats.
///
/// # Errors
/// An array of something else, or with a null.
pub fn single_floats<'a>(datum: Datum, field: &str) -> Result<Cow<'a, [f32]>> {
    // SAFETY: the argument is an array.
    let array = unsafe { Array::of(datum) };
    floats_of(&array, field)
}

fn floats_of<'a>(array: &Array, field: &str) -> Result<Cow<'a, [f32]>> {
    if let Some(floats) = array.floats() {
        // SAFETY: what the array was unpacked into lives as long as the call.
        return Ok(Cow::Borrowed(unsafe { std::slice::from_raw_parts(floats.as_ptr(), floats.len()) }));
    }
    let convert = match array.elements() {
        pg_sys::FLOAT4OID => |value: Datum| f32::from_bits(value.value() as u32),
        pg_sys::FLOAT8OID => |value: Datum| f64::from_bits(value.value() as u64) as f32,
        other => return Err(refused(field, format!("an array of {}", type_name(other)))),
    };
    let numbers =
        array.values().into_iter().map(|value| value.map(convert).ok_or_else(|| refused(field, "null")));
    numbers.collect::<Result<Vec<f32>>>().map(Cow::Owned)
}

fn type_name(kind: Oid) -> String {
    // SAFETY: gives a text that ends.
    unsafe { std::ffi::CStr::from_ptr(pg_sys::format_type_be(kind)).to_string_lossy().into_owned() }
}

/// Embeddings, one row a candidate.
#[derive(Debug)]
pub struct Matrix<'a> {
    /// How many.
    pub rows: usize,
    /// Row after row.
    pub values: Cow<'a, [f32]>,
}

impl Matrix<'_> {
    /// Of an array of two dimensions of floats, or of an array of what has a cast to `real[]`. A null in the latter is
    /// a candidate without an embedding.
    ///
    /// # Errors
    /// Something else, or rows of several lengths.
    pub fn of(datum: Datum) -> Result<Self> {
        const FIELD: &str = "embeddings";
        // SAFETY: the argument is an array.
        let array = unsafe { Array::of(datum) };
        let dimensions = array.dimensions();
        if dimensions.is_empty() {
            return Ok(Self { rows: 0, values: Cow::Borrowed(&[]) });
        }
        if [pg_sys::FLOAT4OID, pg_sys::FLOAT8OID].contains(&array.elements()) {
            if dimensions.len() != 2 {
                let value = format!("an array of {} dimension(s)", dimensions.len());
                return Err(Failure::new(
                    ARGUMENT,
                    FIELD,
                    value,
                    "give an array of arrays: array_agg(embedding)",
                ));
            }
            return Ok(Self { rows: dimensions[0] as usize, values: floats_of(&array, FIELD)? });
        }
        Self::cast(&array, FIELD)
    }

    fn cast(array: &Array, field: &str) -> Result<Self> {
        let mut function = Oid::INVALID;
        // SAFETY: asks for the cast that the server would use.
        let path = unsafe {
            pg_sys::find_coercion_pathway(
                pg_sys::FLOAT4ARRAYOID,
                array.elements(),
                pg_sys::CoercionContext::COERCION_EXPLICIT,
                &raw mut function,
            )
        };
        if path != pg_sys::CoercionPathType::COERCION_PATH_FUNC {
            return Err(refused(field, format!("an array of {}", type_name(array.elements()))));
        }
        let rows: Vec<Option<Cow<[f32]>>> = array
            .values()
            .into_iter()
            .map(|value| {
                let Some(value) = value else { return Ok(None) };
                pgrx::check_for_interrupts!();
                // SAFETY: a cast takes the value, and, if it wants them, its type's modifier and whether it is explicit.
                let cast = unsafe {
                    pg_sys::OidFunctionCall3Coll(
                        function,
                        Oid::INVALID,
                        value,
                        Datum::from(-1_i32),
                        Datum::from(true),
                    )
                };
                single_floats(cast, field).map(Some)
            })
            .collect::<Result<_>>()?;
        let width = rows.iter().flatten().next().map_or(0, |row| row.len());
        let mut values = Vec::with_capacity(width * rows.len());
        for (place, row) in rows.iter().enumerate() {
            match row {
                Some(row) if row.len() != width => {
                    let value = format!("{} numbers", row.len());
                    let remedy = format!("give {width} numbers, as the first has");
                    return Err(Failure::new(ARGUMENT, format!("{field}[{}]", place + 1), value, remedy));
                }
                Some(row) => values.extend_from_slice(row),
                None => values.resize(values.len() + width, 0.0),
            }
        }
        Ok(Self { rows: rows.len(), values: Cow::Owned(values) })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}
