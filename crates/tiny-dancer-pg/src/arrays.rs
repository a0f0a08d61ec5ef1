//! Arrays of numbers as the engine takes them, and of what has a cast to them, as pgvector's vectors have.

use std::borrow::Cow;
use std::ffi::{CStr, c_char};

use pgrx::pg_sys::{self, Datum, Oid};

use crate::call::{Call, utf8};
use crate::failure::{ARGUMENT, Failure, Result};

const REMEDY: &str = "give real[], double precision[], or what has a cast to real[], without nulls; of a literal, say its type: '…'::real[]";

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
    Failure::new(ARGUMENT, field, value, REMEDY)
}

/// The numbers of an argument whose type the caller chose: of an array of floats, of what has a cast to one, and of
/// whatever else is written as a list of numbers, as texts, arrays of other numbers and JSON are. `None` is null.
///
/// # Errors
/// Something else, or a null among the numbers.
pub fn numbers<'a>(call: &'a Call, place: usize, field: &str) -> Result<Option<Cow<'a, [f32]>>> {
    let Some(datum) = call.datum(place) else { return Ok(None) };
    let kind = type_given(call, place);
    if kind == pg_sys::FLOAT4ARRAYOID || kind == pg_sys::FLOAT8ARRAYOID {
        return single_floats(datum, field).map(Some);
    }
    if let Some(function) = cast_to_floats(kind) {
        return single_floats(cast(function, datum), field).map(Some);
    }
    // SAFETY: the server writes a value of this type, in the call's memory context, as a text that ends.
    let text = unsafe { CStr::from_ptr(pg_sys::OidOutputFunctionCall(written_by(kind), datum)) };
    let numbers = written(&utf8(text.to_bytes())?, field).map(|numbers| Some(Cow::Owned(numbers)));
    numbers.map_err(|failure| if kind == pg_sys::TEXTOID { failure } else { failure.of_a(&type_name(kind)) })
}

/// The type that the caller gave an argument; of a domain, what it is of.
fn type_given(call: &Call, place: usize) -> Oid {
    // SAFETY: asks the server, which made the call.
    unsafe { pg_sys::getBaseType(pg_sys::get_fn_expr_argtype((*call.0).flinfo, place as i32)) }
}

/// The function that writes values of a type.
fn written_by(kind: Oid) -> Oid {
    let (mut function, mut varies) = (Oid::INVALID, false);
    // SAFETY: asks the server's catalogue.
    unsafe { pg_sys::getTypeOutputInfo(kind, &raw mut function, &raw mut varies) };
    function
}

/// Whether a type is of numbers.
fn is_of_numbers(kind: Oid) -> bool {
    let (mut category, mut preferred) = (0, false);
    // SAFETY: asks the server's catalogue.
    unsafe { pg_sys::get_type_category_preferred(kind, &raw mut category, &raw mut preferred) };
    category == pg_sys::TYPCATEGORY_NUMERIC as c_char
}

/// The numbers of a list that is written as an array is, or as JSON.
///
/// # Errors
/// Something else.
pub fn written(text: &str, field: &str) -> Result<Vec<f32>> {
    let text = text.trim();
    let inside = [('{', '}'), ('[', ']')]
        .into_iter()
        .find_map(|(open, close)| text.strip_prefix(open)?.strip_suffix(close))
        .ok_or_else(|| refused(field, shortened(text)))?;
    if inside.trim().is_empty() {
        return Ok(Vec::new());
    }
    inside
        .split(',')
        .map(|each| each.trim().parse().map_err(|_| refused(field, shortened(each.trim()))))
        .collect()
}

/// The beginning of what was given, for an error that says it.
fn shortened(text: &str) -> String {
    const MOST: usize = 40;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None if text.is_empty() => "empty".to_owned(),
        None => text.to_owned(),
    }
}

/// The function by which values of a type become `real[]`, where there is one.
fn cast_to_floats(kind: Oid) -> Option<Oid> {
    let mut function = Oid::INVALID;
    // SAFETY: asks for the cast that the server would use.
    let path = unsafe {
        pg_sys::find_coercion_pathway(
            pg_sys::FLOAT4ARRAYOID,
            kind,
            pg_sys::CoercionContext::COERCION_EXPLICIT,
            &raw mut function,
        )
    };
    (path == pg_sys::CoercionPathType::COERCION_PATH_FUNC).then_some(function)
}

/// A value as `real[]`, by a function of [`cast_to_floats`].
fn cast(function: Oid, value: Datum) -> Datum {
    // SAFETY: a cast takes the value, and, if it wants them, its type's modifier and whether it is explicit.
    unsafe {
        pg_sys::OidFunctionCall3Coll(function, Oid::INVALID, value, Datum::from(-1_i32), Datum::from(true))
    }
}

/// The numbers of an array of single or double floats.
///
/// # Errors
/// An array of something else, or with a null.
pub fn single_floats<'a>(datum: Datum, field: &str) -> Result<Cow<'a, [f32]>> {
    // SAFETY: the argument is an array.
    let array = unsafe { Array::of(datum) };
    match array.dimensions() {
        [] | [_] => floats_of(&array, field),
        several => Err(refused(field, format!("an array of {} dimensions", several.len()))),
    }
}

fn floats_of<'a>(array: &Array, field: &str) -> Result<Cow<'a, [f32]>> {
    if let Some(floats) = array.floats() {
        // SAFETY: what the array was unpacked into lives as long as the call.
        return Ok(Cow::Borrowed(unsafe { std::slice::from_raw_parts(floats.as_ptr(), floats.len()) }));
    }
    let convert = match array.elements() {
        pg_sys::FLOAT4OID => |value: Datum| f32::from_bits(value.value() as u32),
        pg_sys::FLOAT8OID => |value: Datum| f64::from_bits(value.value() as u64) as f32,
        other if is_of_numbers(other) => return as_written(array, field),
        other => return Err(refused(field, format!("an array of {}", type_name(other)))),
    };
    let numbers =
        array.values().into_iter().map(|value| value.map(convert).ok_or_else(|| refused(field, "null")));
    numbers.collect::<Result<Vec<f32>>>().map(Cow::Owned)
}

/// The numbers of an array of whole or decimal ones.
fn as_written<'a>(array: &Array, field: &str) -> Result<Cow<'a, [f32]>> {
    let function = written_by(array.elements());
    let number = |value: Option<Datum>| {
        let value = value.ok_or_else(|| refused(field, "null"))?;
        // SAFETY: the server writes an element, in the call's memory context, as a text that ends.
        let text =
            unsafe { CStr::from_ptr(pg_sys::OidOutputFunctionCall(function, value)) }.to_string_lossy();
        text.parse().map_err(|_| refused(field, text))
    };
    array.values().into_iter().map(number).collect::<Result<Vec<f32>>>().map(Cow::Owned)
}

fn type_name(kind: Oid) -> String {
    // SAFETY: gives a text that ends.
    unsafe { CStr::from_ptr(pg_sys::format_type_be(kind)).to_string_lossy().into_owned() }
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
    /// Of an argument whose type the caller chose: of an array of two dimensions of numbers, or of an array of what has
    /// a cast to `real[]`. A null in the latter is a candidate without an embedding. `None` is null, or empty.
    ///
    /// # Errors
    /// Something else, or rows of several lengths.
    pub fn given(call: &Call, place: usize) -> Result<Option<Self>> {
        const FIELD: &str = "embeddings";
        let Some(datum) = call.datum(place) else { return Ok(None) };
        let kind = type_given(call, place);
        // SAFETY: asks the server's catalogue.
        if unsafe { pg_sys::get_element_type(kind) } == Oid::INVALID {
            return Err(refused(FIELD, format!("of the type {}", type_name(kind))));
        }
        // SAFETY: it is an array, as was asked.
        let found = Self::of(&unsafe { Array::of(datum) }, FIELD)?;
        Ok((!found.is_empty()).then_some(found))
    }

    fn of(array: &Array, field: &str) -> Result<Self> {
        let dimensions = array.dimensions();
        if dimensions.is_empty() {
            return Ok(Self { rows: 0, values: Cow::Borrowed(&[]) });
        }
        if is_of_numbers(array.elements()) {
            if dimensions.len() != 2 {
                let value = format!("an array of {} dimension(s)", dimensions.len());
                return Err(Failure::new(
                    ARGUMENT,
                    field,
                    value,
                    "give an array of arrays: array_agg(embedding)",
                ));
            }
            return Ok(Self { rows: dimensions[0] as usize, values: floats_of(array, field)? });
        }
        Self::cast(array, field)
    }

    fn cast(array: &Array, field: &str) -> Result<Self> {
        let function = cast_to_floats(array.elements())
            .ok_or_else(|| refused(field, format!("an array of {}", type_name(array.elements()))))?;
        let rows: Vec<Option<Cow<[f32]>>> = array
            .values()
            .into_iter()
            .map(|value| {
                let Some(value) = value else { return Ok(None) };
                pgrx::check_for_interrupts!();
                single_floats(cast(function, value), field).map(Some)
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

    /// So many rows from a place on.
    #[must_use]
    pub fn part(&self, first: usize, rows: usize) -> &[f32] {
        let width = self.values.len() / self.rows.max(1);
        &self.values[first * width..][..rows * width]
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}
