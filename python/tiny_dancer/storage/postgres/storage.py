"""The PostgreSQL backend: puts connections, queue, mirror and statements together."""

from __future__ import annotations

import os
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

from tiny_dancer.errors import OptionError, StorageError
from tiny_dancer.storage import values
from tiny_dancer.storage.database import DatabaseStorage
from tiny_dancer.storage.ledger import fits, fitting
from tiny_dancer.storage.postgres import (
    agents,
    backup,
    budgets,
    calibration,
    candidate_history,
    candidates,
    history,
    keys,
    ledger,
    queue_rows,
    summaries,
)
from tiny_dancer.storage.postgres.catch_up import TableMirror
from tiny_dancer.storage.postgres.connection import UNREADABLE, Database
from tiny_dancer.storage.postgres.later import Later
from tiny_dancer.storage.postgres.migrate import migrate, migrations, missing_scripts
from tiny_dancer.storage.postgres.verify import TABLES, explain, row_counts, verify
from tiny_dancer.storage.statements import Statements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tiny_dancer import _core
    from tiny_dancer.storage.candidate_checks import Search
    from tiny_dancer.storage.candidates import CandidateRecord, LiveCandidates, Neighbour
    from tiny_dancer.storage.history import RoutingRecord
    from tiny_dancer.storage.storage import RowCounts
    from tiny_dancer.storage.touches import Touch
    from tiny_dancer.types import RequestRecord

T = TypeVar("T")


class PostgresStorage(DatabaseStorage[psycopg.Connection[Any]]):
    """The :class:`~tiny_dancer.storage.Storage` protocol over a PostgreSQL database, in its schema
    ``tiny_dancer``.

    Many threads may share one object, and many processes and machines one database; after ``fork``, open it again.
    A write is committed when it returns, as durable as the server makes commits (``synchronous_commit``). The
    tables are made where they are missing, or are the extension's where ``CREATE EXTENSION tiny_dancer`` made
    them.

    Args:
        conninfo: where the database is: ``postgresql://user:password@host:5432/database``, or ``key=value`` pairs
            of libpq; what is left out comes from libpq's environment (``PGHOST``, ``PGPASSFILE``, ...).
        create: refuse a database without the tables, if false.
        mirror: keep the candidates in memory for searches in microseconds: 5 bytes x dimension and some 1 KB a
            candidate, plus its text. Without, every search reads all of them, with the same answers.
        queue_capacity: routing records that may wait to be written; beyond, they are dropped and counted.
        read_only: look at it only, also on a standby: nothing is made or changed, whatever writes is refused, and
            searches count no accesses.
        pool_size: connections at a time, made when needed; threads beyond wait for one.

    Raises:
        MissingExtraError: psycopg or psycopg_pool is not installed.
        StorageError: the server cannot be reached or refuses; the database is not in UTF8, or its tables are of a
            newer version; they are the extension's and older than this program needs; or there are none and they
            may not be made.
        OptionError: ``queue_capacity`` or ``pool_size`` below 1.

    Attributes:
        conninfo: as it was given, with its password.
        where: the address without one.
    """

    _sql = Statements(
        candidates, candidate_history, history, ledger, summaries, calibration, keys, queue_rows, agents, budgets
    )

    def __init__(
        self,
        conninfo: str,
        *,
        create: bool = True,
        mirror: bool = True,
        queue_capacity: int = 65_536,
        read_only: bool = False,
        pool_size: int = 4,
    ) -> None:
        for name, value in (("queue_capacity", queue_capacity), ("pool_size", pool_size)):
            if values.integer(name, value, error=OptionError) < 1:
                raise OptionError(name, value, "give 1 or more")
        if not isinstance(conninfo, str):
            remedy = "give an address such as postgresql://user@host/database"
            raise StorageError("conninfo", type(conninfo).__name__, remedy)
        self._process = os.getpid()
        self._database = database = Database(conninfo, pool_size=pool_size)
        self.conninfo = conninfo
        self.where = self._where = database.where
        try:
            _make_ready(database, create=create and not read_only, read_only=read_only)
        except BaseException:
            database.close()
            raise
        self._mirror = TableMirror() if mirror else None
        self._later = None if read_only else Later(database, queue_capacity)
        # Also when it is forgotten, or the program ends without closing: what is queued is written. None of them
        # may know this object, or nobody could forget it.
        self._close = weakref.finalize(self, _close, self._later, database, self._process)

    def _write(self, action: Callable[[psycopg.Connection[Any]], T], *, again: bool = False) -> T:
        self._check_open()
        self._check_writable()
        return self._database.write(action, again=again)

    def _write_candidates(self, action: Callable[[psycopg.Connection[Any]], T], *, again: bool = False) -> T:
        """A write to candidates: after the accesses so far, which were to those that are there now."""
        self._check_open()
        self._check_writable().settle()
        return self._database.write(action, again=again)

    def _read(self, action: Callable[[psycopg.Connection[Any]], T]) -> T:
        self._check_open()
        with self._explained():
            return self._database.read(action)

    def _snapshot(self, action: Callable[[psycopg.Connection[Any]], T]) -> T:
        self._check_open()
        with self._explained():
            return self._database.snapshot(action)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Names the row where one cannot be read."""
        try:
            yield
        except UNREADABLE:
            self._database.snapshot(lambda connection: explain(connection, self.where))
            raise

    def live_candidates(self) -> LiveCandidates:
        """All candidates as the engine ranks them; without a mirror they are read anew each time."""
        self._check_open()
        return (TableMirror() if self._mirror is None else self._mirror).live(self._database)

    def flush(self) -> None:
        """Returns when all routing records and accesses so far are durable."""
        self._check_open()
        if self._later is not None:
            self._later.flush()

    def _search(self, search: Search) -> tuple[Neighbour, ...]:
        mirror = TableMirror() if self._mirror is None else self._mirror
        with self._explained():
            return mirror.search(self._database, search)

    def _passing(self, where: _core.CandidateFilter | None, now: float) -> list[CandidateRecord] | None:
        return None if self._mirror is None else self._mirror.passing(self._database, where, now)

    def _count_reads(self, ids: list[str], touch: Touch) -> None:
        if self._later is not None:
            self._later.touch(ids, touch)

    def _record_routing(self, record: RoutingRecord, *, wait: bool) -> bool:
        later = self._check_writable()
        if not wait:
            return later.record(record)
        # Those before it first: of one decision the first stays.
        later.settle()
        self._write(lambda connection: history.insert_routing(connection, [record]), again=True)
        return True

    def _dropped(self) -> int:
        return 0 if self._later is None else self._later.dropped

    def _insert_requests(self, rows: Sequence[RequestRecord]) -> None:
        if not all(map(fits, rows)):
            rows = tuple(map(fitting, rows))
        try:
            self._record_requests(rows)
        except (UnicodeEncodeError, OverflowError):
            self._record_requests(tuple(map(fitting, rows)))
        except StorageError as error:
            # Where a constraint of the tables refuses a value.
            if not isinstance(error.__cause__, psycopg.DataError | psycopg.IntegrityError):
                raise
            self._record_requests(tuple(map(fitting, rows)))

    def _record_requests(self, rows: Sequence[RequestRecord]) -> None:
        listed = ledger.as_json(rows)
        self._write(lambda connection: ledger.insert_requests(connection, listed), again=True)

    def budget_table(self) -> tuple[Path | None, str]:
        """Nowhere: a process draws for itself. What one that was killed had drawn, a hundredth of the limit at
        most beyond what it spent, counts as spent until the period ends."""
        self._check_open()
        self._check_writable()
        return None, self._read(budgets.epoch)

    def _remove_history(self, table: str, oldest: float | None, most: int | None) -> int:
        first = self._read(lambda connection: history.oldest_kept(connection, table, oldest, most))
        if first is None:
            return 0
        removed = step = self._write(lambda connection: history.remove_history(connection, table, first))
        while step == history.REMOVED_AT_ONCE:
            step = self._write(lambda connection: history.remove_history(connection, table, first))
            removed += step
        return removed

    def backup(self, path: str | os.PathLike[str]) -> RowCounts:
        """Writes a verified copy to a file, readable by its owner alone; an earlier backup there is replaced.

        The file is a SQLite database, which :class:`~tiny_dancer.storage.SqliteStorage` restores as well.

        Raises:
            MissingExtraError: the extra ``sqlite`` is not installed.
        """
        self.flush()
        return self._snapshot(lambda connection: backup.back_up(connection, self.where, path))

    def restore(self, path: str | os.PathLike[str]) -> RowCounts:
        """Replaces everything by a backup, also one of SQLite's, in one transaction: others may go on.

        Raises:
            MissingExtraError: the extra ``sqlite`` is not installed.
        """
        self.flush()
        self._check_writable()
        with backup.prepared(path) as source:
            self._write(lambda connection: backup.restore(connection, source), again=True)
        return self._snapshot(row_counts)

    def vacuum(self) -> None:
        """Gives back the space of what was removed, table by table, each of which nobody else uses meanwhile;
        needs as much again as the largest while it runs. What PostgreSQL does by itself (autovacuum) is enough in
        most cases.

        Raises:
            StorageError: the tables are another user's.
        """
        self._check_open()
        self._check_writable()
        self._database.outside(lambda connection: _vacuum(connection, self.where))

    def verify(self) -> RowCounts:
        """Reads everything; raises where it is damaged, else says how many rows there are."""
        return self._snapshot(lambda connection: verify(connection, self.where))

    def _check_writable(self) -> Later:
        if self._later is None:
            raise StorageError(self.where, "opened with read_only=True", "open it without, to write")
        return self._later


def _make_ready(database: Database, *, create: bool, read_only: bool) -> None:
    """Makes the tables, where they are missing and may be made.

    Raises:
        StorageError: they are missing, or not such as this program can use.
    """
    where = database.where
    missing = database.read(lambda connection: missing_scripts(connection, where))
    if not missing:
        return
    if not create and len(missing) == len(migrations()):
        raise StorageError(where, "no tables of tiny-dancer yet", "check the address, or open it once to write")
    if read_only:
        raise StorageError(
            where, "tables of an earlier version", "open it once to write, as tiny-dancer db vacuum does"
        )
    database.write(lambda connection: migrate(connection, where), again=True)


def _vacuum(connection: psycopg.Connection[Any], where: str) -> None:
    refused: list[str] = []

    def note(said: psycopg.errors.Diagnostic) -> None:
        if said.severity_nonlocalized == "WARNING":
            refused.append(str(said.message_primary))

    connection.add_notice_handler(note)
    try:
        for table in TABLES:
            connection.execute(f"VACUUM (FULL, ANALYZE) tiny_dancer.{table}")
    finally:
        connection.remove_notice_handler(note)
    if refused:
        raise StorageError(where, refused[0], "vacuum as the owner of the tables; autovacuum does without")


def _close(later: Later | None, database: Database, process: int) -> None:
    # A fork has no writer thread, and must not touch its parent's connections.
    if os.getpid() == process:
        if later is not None:
            later.close()
        database.close()
