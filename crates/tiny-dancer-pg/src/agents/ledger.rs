//! What of a budget is promised, as of now and not as of the transaction's snapshot.

use std::cell::Cell;

use pgrx::pg_sys::{self, Datum};

use crate::call::{Call, text};
use crate::failure::Result;
use crate::rows::row;

crate::functions! { budget_ledger }

thread_local! {
    static PLAN: Cell<pg_sys::SPIPlanPtr> = const { Cell::new(std::ptr::null_mut()) };
}

/// `budget_ledger(budget text, start bigint, since bigint) → (most double precision, drawn numeric)`: the limit, and what
/// all holders have drawn in the period from `start`, or of a rolling window in its parts from `since` on. STRICT.
///
/// Who asks holds the budget's lock, so what was committed before is all there is. A transaction that is to see one moment
/// throughout does not see what was committed since: this looks at the rows as they are all the same, as foreign keys do.
fn budget_ledger(call: &Call) -> Result<Option<Datum>> {
    let (Some(budget), Some(start), Some(since)) = (call.text(0)?, call.datum(1), call.datum(2)) else {
        return Ok(None);
    };
    // SAFETY: the manual's order of calls; what an error leaves open is closed when the transaction ends.
    unsafe {
        let outer = pg_sys::CurrentMemoryContext;
        pg_sys::SPI_connect();
        if PLAN.get().is_null() {
            let mut types = [pg_sys::TEXTOID, pg_sys::INT8OID, pg_sys::INT8OID];
            let plan = pg_sys::SPI_prepare(QUERY.as_ptr(), 3, types.as_mut_ptr());
            assert!(!plan.is_null(), "a query of the extension's cannot be prepared");
            pg_sys::SPI_keepplan(plan);
            PLAN.set(plan);
        }
        let mut values = [text(&budget), start, since];
        let (latest, none) = (pg_sys::GetLatestSnapshot(), std::ptr::null_mut());
        pg_sys::SPI_execute_snapshot(
            PLAN.get(),
            values.as_mut_ptr(),
            std::ptr::null(),
            latest,
            none,
            false,
            false,
            1,
        );
        let table = &*pg_sys::SPI_tuptable;
        let column = |place: i32| {
            let mut null = false;
            let value = pg_sys::SPI_getbinval(*table.vals, table.tupdesc, place, &raw mut null);
            (!null).then_some(value)
        };
        let most = column(1);
        let drawn = column(2);
        let answer = {
            let before = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = outer;
            let answer = row(call, [most, drawn]);
            pg_sys::CurrentMemoryContext = before;
            answer
        };
        pg_sys::SPI_finish();
        Ok(Some(answer))
    }
}

const QUERY: &std::ffi::CStr = c"SELECT \
    (SELECT most FROM tiny_dancer.budget WHERE id OPERATOR(pg_catalog.=) $1), \
    (SELECT pg_catalog.sum(drawn) FROM tiny_dancer.budget_spending WHERE budget OPERATOR(pg_catalog.=) $1 \
        AND (start OPERATOR(pg_catalog.=) $2 OR ($3 OPERATOR(pg_catalog.<) $2 AND start OPERATOR(pg_catalog.>=) $3)))";
