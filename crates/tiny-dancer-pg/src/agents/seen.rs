//! What a backend keeps of a table, for as long as the rows are the same that the present snapshot, role and policies show.
//!
//! Nothing tells a backend to forget. It compares the places and transactions (`ctid`, `xmin`) of the rows it sees with
//! those it read: they are others as soon as a row is, whoever wrote it, and the old ones again after a rollback. So what
//! is kept is right in every isolation level, within a transaction and after one, on a standby, and for every role. Rows are
//! looked at once a statement: not again under a snapshot that cannot show others. Where row-level security applies they
//! are looked at in every call, as policies may depend on anything.

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum};

use crate::call::text_of;
use crate::failure::Result;

const SCHEMA: &CStr = c"tiny_dancer";

/// A table of the schema, the query that looks which rows there are (`ctid`, `xmin`), and the one that reads them: the same,
/// and what is made of each row.
#[derive(Debug)]
pub struct Table {
    name: &'static CStr,
    look: Query,
    read: Query,
}

/// A query without arguments, and its plan, made when it is first run.
#[derive(Debug)]
struct Query {
    text: &'static CStr,
    plan: Cell<pg_sys::SPIPlanPtr>,
}

/// Tells a row as it is from all it was and will be.
pub type Version = (u64, u32);

/// The rows that are visible. Places count from 0; the first two are the version's.
#[derive(Debug)]
pub struct Rows(*mut pg_sys::SPITupleTable);

/// What was made of a table's rows.
#[derive(Debug)]
pub struct Kept<T> {
    view: Option<View>,
    /// In order.
    versions: Vec<Version>,
    /// It.
    pub made: T,
}

/// What decides which rows are visible. Two equal ones show the same rows.
///
/// Of snapshots with the same `xmax`, a transaction below it can only have ended in between, so those with as many under
/// way have the same ones. What the transaction itself wrote is told by its commands; what it took back, by the
/// subtransaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct View {
    user: pg_sys::Oid,
    transaction: u32,
    subtransaction: u32,
    command: u32,
    bounds: (u32, u32),
    under_way: (u32, i32, bool),
}

impl View {
    /// That of the present statement; `None` where there is no snapshot, or one of another kind.
    fn present() -> Option<Self> {
        // SAFETY: asks the server about its own state, in a transaction.
        unsafe {
            if !pg_sys::ActiveSnapshotSet() {
                return None;
            }
            let snapshot = &*pg_sys::GetActiveSnapshot();
            (snapshot.snapshot_type == pg_sys::SnapshotType::SNAPSHOT_MVCC).then(|| Self {
                user: pg_sys::GetUserId(),
                transaction: (*pg_sys::MyProc).lxid,
                subtransaction: pg_sys::GetCurrentSubTransactionId(),
                command: snapshot.curcid,
                bounds: (snapshot.xmin.into_inner(), snapshot.xmax.into_inner()),
                under_way: (snapshot.xcnt, snapshot.subxcnt, snapshot.suboverflowed),
            })
        }
    }
}

impl Table {
    /// A table and its queries.
    #[must_use]
    pub const fn new(name: &'static CStr, look: &'static CStr, read: &'static CStr) -> Self {
        Self { name, look: Query::new(look), read: Query::new(read) }
    }

    /// Whether the rows that this role sees depend on policies.
    fn has_policies(&self) -> bool {
        // SAFETY: asks the server's catalogue, in a transaction.
        unsafe {
            let schema = pg_sys::get_namespace_oid(SCHEMA.as_ptr(), true);
            let relation = pg_sys::get_relname_relid(self.name.as_ptr(), schema);
            // Where it is not there, reading it says so.
            let applies = pg_sys::CheckEnableRlsResult::RLS_NONE as i32;
            relation != pg_sys::InvalidOid
                && pg_sys::check_enable_rls(relation, pg_sys::InvalidOid, true) != applies
        }
    }

    /// Brings what is kept up to date: `make` is asked where rows are others than those it was made of, and given what was
    /// made of them.
    ///
    /// # Errors
    /// As `make`. Nothing is kept then.
    pub fn refresh<T>(
        &self,
        kept: &mut Option<Kept<T>>,
        make: impl FnOnce(&Rows, Option<T>) -> Result<T>,
    ) -> Result<()> {
        let policies = self.has_policies();
        let view = View::present().filter(|_| !policies);
        if let Some(Kept { view: Some(seen), .. }) = kept
            && Some(*seen) == view
        {
            return Ok(());
        }
        // SAFETY: a connection that is ended below, or by the server where an error ends the transaction.
        let answer = unsafe {
            pg_sys::SPI_connect();
            let versions = self.look.rows().versions();
            let answer = match kept.take() {
                Some(same) if same.versions == versions => Ok((same.versions, same.made)),
                before => {
                    let rows = self.read.rows();
                    make(&rows, before.map(|before| before.made)).map(|made| (rows.versions(), made))
                }
            };
            pg_sys::SPI_finish();
            answer
        };
        let (versions, content) = answer?;
        *kept = Some(Kept { view, versions, made: content });
        Ok(())
    }
}

impl Query {
    const fn new(text: &'static CStr) -> Self {
        Self { text, plan: Cell::new(std::ptr::null_mut()) }
    }

    /// The rows under the present snapshot, as the present role sees them.
    ///
    /// # Safety
    /// Within a connection to SPI.
    unsafe fn rows(&self) -> Rows {
        // SAFETY: as above; the query has no arguments. Errors are the server's, and caught at the border.
        unsafe {
            if self.plan.get().is_null() {
                let plan = pg_sys::SPI_prepare(self.text.as_ptr(), 0, std::ptr::null_mut());
                pg_sys::SPI_keepplan(plan);
                self.plan.set(plan);
            }
            let nothing = std::ptr::null_mut();
            pg_sys::SPI_execute_plan(self.plan.get(), nothing, std::ptr::null(), true, 0);
            Rows(pg_sys::SPI_tuptable)
        }
    }
}

impl Rows {
    /// Number of rows.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        // SAFETY: the table is there until the connection ends.
        unsafe { (*self.0).numvals as usize }
    }

    /// A value; `None` is null.
    ///
    /// # Panics
    /// There is no such row.
    #[must_use]
    pub fn datum(&self, row: usize, column: usize) -> Option<Datum> {
        assert!(row < self.len());
        let mut null = false;
        // SAFETY: as above; a column that is not there is null.
        let datum = unsafe {
            let tuple = *(*self.0).vals.add(row);
            pg_sys::SPI_getbinval(tuple, (*self.0).tupdesc, column as i32 + 1, &raw mut null)
        };
        (!null).then_some(datum)
    }

    /// A text; null is an empty one.
    ///
    /// # Errors
    /// Bytes that are no text in the database's encoding.
    pub fn text(&self, row: usize, column: usize) -> Result<Cow<'_, str>> {
        // SAFETY: the column is of variable length; it lives until the connection ends.
        self.datum(row, column).map_or(Ok(Cow::Borrowed("")), |datum| unsafe { text_of(datum) })
    }

    /// Which version of a row this is.
    #[must_use]
    pub fn version(&self, row: usize) -> Version {
        let place = self.datum(row, 0).map_or(0, |datum| {
            // SAFETY: the first column is a tid.
            let at = unsafe { *datum.cast_mut_ptr::<pg_sys::ItemPointerData>() };
            u64::from(at.ip_blkid.bi_hi) << 32 | u64::from(at.ip_blkid.bi_lo) << 16 | u64::from(at.ip_posid)
        });
        (place, self.datum(row, 1).map_or(0, |datum| datum.value() as u32))
    }

    /// Of all rows, in order.
    fn versions(&self) -> Vec<Version> {
        let mut versions: Vec<Version> = (0..self.len()).map(|row| self.version(row)).collect();
        versions.sort_unstable();
        versions
    }
}
