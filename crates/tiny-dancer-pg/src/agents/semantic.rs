//! Routes of the table `semantic_route`: whose vector a request's is most like.

use std::cell::RefCell;

use pgrx::pg_sys::{self, Datum};
use tiny_dancer::{Error, ErrorKind};

use super::seen::{Kept, Rows as Visible, Table};
use crate::arrays::written;
use crate::call::{Call, text};
use crate::failure::{Failure, Result};
use crate::rows::{Rows, floats, number};

crate::functions! { semantic_route direction }

/// Scores per unit of cosine, and the cosine of the likest below which likeness tells nothing: fitted and judged by
/// `recipes/zero_shot.py`, for the sentence encoder that ships.
const SCALE: f64 = 16.2;
const LEAST_LIKENESS: f64 = 0.15;
/// Routes that are given where nobody says how many.
const USUAL: i32 = 3;

struct Route {
    name: String,
    target: String,
    priority: i32,
    /// Of length 1.
    direction: Vec<f64>,
}

type Routes = Vec<Route>;

thread_local! {
    static TABLE: Table = const {
        Table::new(
            c"semantic_route",
            c"SELECT ctid, xmin FROM tiny_dancer.semantic_route",
            c"SELECT ctid, xmin, name, target_agent, priority, embedding FROM tiny_dancer.semantic_route",
        )
    };
    static KEPT: RefCell<Option<Kept<Routes>>> = const { RefCell::new(None) };
}

fn refused(field: &str, value: impl std::fmt::Display, remedy: &str) -> Failure {
    Error::new(ErrorKind::OptionInvalid, field, value, remedy).into()
}

/// Numbers of an array of `real`; a null is none.
///
/// # Safety
/// The value is such an array.
unsafe fn values(datum: Datum) -> Vec<f32> {
    // SAFETY: as above; both arrays have as many places as are counted.
    unsafe {
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast();
        let align = pg_sys::TYPALIGN_INT as std::ffi::c_char;
        pg_sys::deconstruct_array(
            array,
            pg_sys::FLOAT4OID,
            4,
            true,
            align,
            &raw mut values,
            &raw mut nulls,
            &raw mut count,
        );
        let value = |at: usize| {
            if *nulls.add(at) { f32::NAN } else { f32::from_bits((*values.add(at)).value() as u32) }
        };
        (0..count as usize).map(value).collect()
    }
}

/// The direction in which a vector points; `field` says whose it is.
fn unit(numbers: &[f32], field: &str) -> Result<Vec<f64>> {
    if let Some(place) = numbers.iter().position(|value| !value.is_finite()) {
        return Err(refused(field, format!("[{}] is no finite number", place + 1), "give finite numbers"));
    }
    let numbers: Vec<f64> = numbers.iter().map(|&value| f64::from(value)).collect();
    let length = numbers.iter().map(|value| value * value).sum::<f64>().sqrt();
    if length <= 0.0 {
        let found = if numbers.is_empty() { "empty" } else { "all 0" };
        return Err(refused(
            field,
            found,
            "give a vector of another length than 0, such as tiny_dancer.embed gives",
        ));
    }
    Ok(numbers.into_iter().map(|value| value / length).collect())
}

fn made(rows: &Visible, _before: Option<Routes>) -> Result<Routes> {
    let route = |row: usize| {
        let name = rows.text(row, 2)?.into_owned();
        let embedding = rows.datum(row, 5).unwrap_or(Datum::from(0));
        Ok(Route {
            target: rows.text(row, 3)?.into_owned(),
            priority: rows.datum(row, 4).map_or(0, |datum| datum.value() as i32),
            // SAFETY: the column is such an array, and not null.
            direction: unit(&unsafe { values(embedding) }, &format!("embedding of route '{name}'"))?,
            name,
        })
    };
    (0..rows.len()).map(route).collect()
}

/// `direction(embedding text, field text) → real[]`: the numbers of a vector that is written as a list, of those that have
/// a direction. STRICT.
fn direction(call: &Call) -> Result<Option<Datum>> {
    let (Some(embedding), Some(field)) = (call.text(0)?, call.text(1)?) else { return Ok(None) };
    let numbers = written(&embedding, &field)?;
    unit(&numbers, &field)?;
    Ok(Some(floats(&numbers)))
}

/// `semantic_route(embedding real[], top_k integer) → SETOF`: the routes whose vectors are most like this one.
///
/// The confidence is a softmax of all cosines, those below 0 as 0.
fn semantic_route(call: &Call) -> Result<Option<Datum>> {
    let mut rows = Rows::of(call);
    let Some(embedding) = call.datum(0) else { return Ok(None) };
    let most = call.datum(1).map_or(USUAL, |most| most.value() as i32);
    let most = usize::try_from(most)
        .ok()
        .filter(|&most| most > 0)
        .ok_or_else(|| refused("top_k", most, "ask for one route or more"))?;
    // SAFETY: the SQL declaration has real[] here.
    let wanted = unit(&unsafe { values(embedding) }, "embedding")?;
    // Taken out, as policies may call a function that asks in turn.
    let mut kept = KEPT.take();
    TABLE.with(|table| table.refresh(&mut kept, made))?;
    let answer = kept.as_ref().map_or(Ok(()), |kept| add(&kept.made, &wanted, most, &mut rows));
    KEPT.set(kept);
    answer.map(|()| None)
}

fn add(routes: &Routes, wanted: &[f64], most: usize, rows: &mut Rows) -> Result<()> {
    let mut likeness = Vec::with_capacity(routes.len());
    for route in routes {
        if route.direction.len() != wanted.len() {
            let value = format!("{} numbers, the request has {}", route.direction.len(), wanted.len());
            let remedy = "compare vectors of one encoder: create the route anew, or give the request's vector yourself";
            return Err(refused(&format!("embedding of route '{}'", route.name), value, remedy));
        }
        likeness.push(route.direction.iter().zip(wanted).map(|(one, other)| one * other).sum::<f64>());
    }
    let best = likeness.iter().fold(0.0, |best: f64, &cosine| best.max(cosine));
    let scale = SCALE * (best / LEAST_LIKENESS).min(1.0);
    let weight = |cosine: f64| (scale * (cosine.max(0.0) - best)).exp();
    let whole: f64 = likeness.iter().map(|&cosine| weight(cosine)).sum();
    let mut order: Vec<usize> = (0..routes.len()).collect();
    order.sort_by(|&one, &other| {
        let (first, second) = (&routes[one], &routes[other]);
        likeness[other]
            .total_cmp(&likeness[one])
            .then(second.priority.cmp(&first.priority))
            .then_with(|| first.name.cmp(&second.name))
    });
    for place in order.into_iter().take(most) {
        rows.add(|| {
            Ok([
                Some(text(&routes[place].name)),
                number(likeness[place].clamp(-1.0, 1.0)),
                Some(text(&routes[place].target)),
                number(weight(likeness[place]) / whole),
                Some(Datum::from(routes[place].priority)),
            ])
        })?;
    }
    Ok(())
}
