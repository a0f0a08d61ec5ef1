"""The SQLite backend: puts connections, writer, mirror and statements together."""

from __future__ import annotations

import os
import weakref
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import apsw

from tiny_dancer.errors import OptionError, StorageError
from tiny_dancer.storage import values
from tiny_dancer.storage.database import DatabaseStorage
from tiny_dancer.storage.sqlite import (
    agents,
    backup,
    budgets,
    calibration,
    candidate_history,
    candidates,
    history,
    keys,
    ledger,
    parts,
    queue_rows,
    summaries,
)
from tiny_dancer.storage.sqlite.candidates import UNREADABLE
from tiny_dancer.storage.sqlite.catch_up import TableMirror
from tiny_dancer.storage.sqlite.connection import (
    BUSY_SECONDS,
    TROUBLE,
    Pool,
    checked_path,
    connect,
    connect_reading,
    retrying,
    storage_error,
    translated,
)
from tiny_dancer.storage.sqlite.migrate import migrate
from tiny_dancer.storage.sqlite.read_only import NoWriter, Reading, refuse_unready
from tiny_dancer.storage.sqlite.verify import explain, row_counts, verify
from tiny_dancer.storage.sqlite.writer import Writer
from tiny_dancer.storage.statements import Statements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tiny_dancer import _core
    from tiny_dancer.storage.candidate_checks import Search
    from tiny_dancer.storage.candidates import CandidateRecord, LiveCandidates, Neighbour
    from tiny_dancer.storage.history import RoutingRecord
    from tiny_dancer.storage.storage import RowCounts
    from tiny_dancer.storage.touches import Touch
    from tiny_dancer.types import RequestRecord

T = TypeVar("T")

# For so long retention removes rows in one transaction: others write in between.
_RETENTION_SECONDS = 0.01
# Milliseconds that vacuum waits for who reads from the log, before it leaves the log as long as it is.
_READERS_MS = 500


class SqliteStorage(DatabaseStorage[apsw.Connection]):
    """The :class:`~tiny_dancer.storage.Storage` protocol over one SQLite file.

    Many threads may share one object, and many processes one file; after ``fork``, open it again. Writes are
    durable when acknowledged (write-ahead log, ``synchronous = FULL``), many in one commit.

    Args:
        path: of the database; made, readable by its owner alone, where there is none.
        create: refuse a path where there is no database yet, or an empty file, if false.
        mirror: keep the candidates in memory for searches in microseconds: 5 bytes x dimension and some 1 KB a
            candidate, plus its text. Without, sqlite-vec searches the file, with the same answers.
        queue_capacity: routing records that may wait to be written; beyond, they are dropped and counted.
        read_only: look at it only, also on a disk or in a folder that is read-only: nothing is made, changed or
            migrated, whatever writes is refused, and searches count no accesses.

    Raises:
        MissingExtraError: apsw or sqlite-vec is not installed.
        StorageError: the file is damaged, another program's, of a newer version, or cannot be read and written;
            with ``read_only``, it is missing, empty or of an earlier version.
        OptionError: ``queue_capacity`` below 1.
    """

    _sql = Statements(
        candidates, candidate_history, history, ledger, summaries, calibration, keys, queue_rows, agents, budgets
    )

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        mirror: bool = True,
        queue_capacity: int = 65_536,
        read_only: bool = False,
    ) -> None:
        queue_capacity = values.integer("queue_capacity", queue_capacity, error=OptionError)
        if queue_capacity < 1:
            raise OptionError("queue_capacity", queue_capacity, "give 1 or more")
        create = create and not read_only
        self.path = checked_path(path, create=create)
        self._where = str(self.path)
        if not create and not self.path.stat().st_size:
            raise StorageError(str(self.path), "empty: no database yet", "check the path, or restore a backup")
        self._process = os.getpid()
        self._mirror = TableMirror() if mirror else None
        self._writer: Writer | NoWriter
        with translated(self.path):
            if read_only:
                reading = Reading(self.path)
                self._pool = Pool(self.path, reading.connect, reading.close)
                try:
                    with self._pool.reading() as connection:
                        refuse_unready(connection, self.path)
                except StorageError:
                    self._pool.close()
                    raise
                self._writer = NoWriter(self.path)
            else:
                parts.clear(self.path)
                self._pool = Pool(self.path, partial(connect_reading, self.path))
                self._writer = Writer(_migrated(self.path), self.path, queue_capacity)
        # Also when it is forgotten, or the program ends without closing: what is queued is written. Neither of the
        # two may know this object, or nobody could forget it.
        self._close = weakref.finalize(self, _close, self._writer, self._pool, self._process)

    def live_candidates(self) -> LiveCandidates:
        """All candidates as the engine ranks them; without a mirror they are read anew each time."""
        mirror = TableMirror() if self._mirror is None else self._mirror
        with self._reading() as connection:
            return mirror.live(connection)

    def flush(self) -> None:
        """Returns when all routing records and accesses so far are durable."""
        self._check_open()
        self._writer.flush()

    def budget_table(self) -> tuple[Path | None, str]:
        """Beside the database, by its name and ``-budgets``; and the database's epoch."""
        self._check_writable()
        with self._reading() as connection:
            epoch = budgets.epoch(connection)
        real = Path(os.path.realpath(self.path))
        return real.with_name(f"{real.name}-budgets"), epoch

    def _read(self, action: Callable[[apsw.Connection], T]) -> T:
        with self._reading() as connection:
            return action(connection)

    def _snapshot(self, action: Callable[[apsw.Connection], T]) -> T:
        # Statements that need one take it themselves.
        return self._read(action)

    def _write(self, action: Callable[[apsw.Connection], T], *, again: bool = False) -> T:
        del again
        self._check_open()
        return self._writer.submit(action)

    def _search(self, search: Search) -> tuple[Neighbour, ...]:
        # What `self._reading` does, spelt out: its generators would take as long as the rest of a small search.
        try:
            connection = self._pool.take()
            try:
                if self._mirror is not None:
                    found = self._mirror.search(connection, search)
                elif search.text is None:
                    found = candidates.nearest(connection, search)
                else:
                    # Words are weighed by how many candidates have them: all have to be read.
                    found = TableMirror().search(connection, search)
            except BaseException:
                self._pool.discard(connection)
                raise
            self._pool.give_back(connection)
        except TROUBLE as error:
            raise storage_error(self.path, error) from error
        except UNREADABLE:
            with self._reading() as other:
                explain(other, self.path)
            raise
        return found

    def _passing(self, where: _core.CandidateFilter | None, now: float) -> list[CandidateRecord] | None:
        if self._mirror is None:
            return None
        with self._reading() as connection:
            return self._mirror.passing(connection, where, now)

    def _count_reads(self, ids: list[str], touch: Touch) -> None:
        self._writer.touch(ids, touch)

    def _record_routing(self, record: RoutingRecord, *, wait: bool) -> bool:
        if wait:
            self._writer.submit(lambda connection: history.insert_routing(connection, [record]))
            return True
        return self._writer.record(record)

    def _dropped(self) -> int:
        return self._writer.dropped

    def _insert_requests(self, rows: Sequence[RequestRecord]) -> None:
        self._writer.submit(lambda connection: ledger.insert_requests(connection, rows))

    def _remove_history(self, table: str, oldest: float | None, most: int | None) -> int:
        first = self._read(lambda connection: history.oldest_kept(connection, table, oldest, most))
        removed, more = 0, first is not None
        while first is not None and more:
            step, more = self._remove_some(table, first)
            removed += step
        if table == "request":
            self._writer.submit(ledger.forget_ids)
        return removed

    def _remove_some(self, table: str, first: tuple[float, int]) -> tuple[int, bool]:
        return self._writer.submit(
            lambda connection: history.remove_history(connection, table, first, _RETENTION_SECONDS)
        )

    def backup(self, path: str | os.PathLike[str]) -> RowCounts:
        """Writes a verified copy to a file, readable by its owner alone; an earlier backup there is replaced."""
        self.flush()
        with self._reading() as connection:
            return backup.back_up(connection, self.path, Path(path))

    def restore(self, path: str | os.PathLike[str]) -> RowCounts:
        """Replaces everything by a backup, in one transaction: other threads and processes may go on.

        What was there is kept beside the database, ending in ``.damaged``, where it is damaged.
        """
        self.flush()
        self._check_writable()
        with backup.prepared(Path(path), self.path) as part:
            self._writer.submit(lambda connection: backup.restore_over(connection, self.path, part), alone=True)
        return self._counts()

    def vacuum(self) -> None:
        """Gives back the space of what was removed; needs as much again while it runs.

        The write-ahead log is emptied too, unless somebody is reading what is in it.
        """
        self._check_open()
        self._writer.submit(_vacuum, alone=True)

    def verify(self) -> RowCounts:
        """Reads everything; raises where it is damaged, else says how many rows there are."""
        with self._reading() as connection:
            return verify(connection, self.path)

    def _counts(self) -> RowCounts:
        with self._reading() as connection:
            return row_counts(connection)

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        self._check_open()
        with self._pool.reading() as connection:
            try:
                yield connection
            except UNREADABLE:
                explain(connection, self.path)
                raise

    def _check_writable(self) -> None:
        if isinstance(self._writer, NoWriter):
            self._writer.submit(None)


def restore_file(path: str | os.PathLike[str], source: str | os.PathLike[str]) -> RowCounts:
    """Restores a database that may be missing or damaged; a damaged one is kept beside it as ``.damaged``.

    Killed at any moment, it leaves the database as it was or restored.

    Raises:
        StorageError: the backup is no good (nothing changes then), or ``path`` is another program's database.
    """
    target = Path(os.path.realpath(Path(path).absolute()))
    backup.restore_file(target, Path(source))
    with SqliteStorage(target, create=False) as storage:
        return storage.verify()


def _migrated(path: Path) -> apsw.Connection:
    """A connection to write by, of a database whose tables are the present ones."""
    connection = retrying(lambda: connect(path))
    try:
        retrying(lambda: migrate(connection, path))
    except BaseException:
        connection.close()
        raise
    return connection


def _vacuum(connection: apsw.Connection) -> None:
    retrying(lambda: connection.execute("VACUUM"))
    # Only then the file itself shrinks, and the log beside it. Who waits for readers holds up writers: one that
    # reads for long, or another connection that does the same, is not waited for.
    connection.set_busy_timeout(_READERS_MS)
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError:
        with suppress(apsw.BusyError):
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    finally:
        connection.set_busy_timeout(int(BUSY_SECONDS * 1000))


def _close(writer: Writer | NoWriter, pool: Pool, process: int) -> None:
    # A fork has no writer thread, and must not touch its parent's connections.
    if os.getpid() == process:
        writer.close()
        pool.close()
