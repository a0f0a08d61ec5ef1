"""Looking at a database without changing it, or anything beside it."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

import apsw

from tiny_dancer.errors import StorageError
from tiny_dancer.storage.sqlite.connection import opened, refuse_foreign, retrying, translated
from tiny_dancer.storage.sqlite.migrate import migrations, pending

if TYPE_CHECKING:
    from collections.abc import Iterator

# What SQLite says where it cannot make the files that it wants beside a database.
_NO_JOURNAL = (apsw.CantOpenError, apsw.ReadOnlyError)


class Reading:
    """How to open connections to a database that is only read.

    Where this process may not write to the file or its folder, SQLite must not make the files there by which its
    connections agree: their owner could not use them. If there are none, nobody writes to the database just now,
    and it is read as it stands. If a program that was killed left writes in a journal, a private copy of both is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._immutable = False
        self._first().close()

    def connect(self) -> apsw.Connection:
        """A connection that cannot write."""
        if self._copy is not None:
            return _looked_at(Path(self._copy.name, "database"))
        if self._immutable:
            name = f"file:{quote(str(self._path))}?immutable=1"
            flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
            connection = opened(self._path, flags, name=name)
            connection.pragma("query_only", True)
            return connection
        return _looked_at(self._path)

    def close(self) -> None:
        """Removes a private copy. Connections may be closed before or after."""
        if self._copy is not None:
            self._copy.cleanup()

    def _first(self) -> apsw.Connection:
        if os.access(self._path, os.W_OK):
            try:
                return self._tried()
            except _NO_JOURNAL:
                if not self._path.exists() or os.access(self._path.parent, os.W_OK):
                    raise
        journal, index = (self._path.with_name(self._path.name + suffix) for suffix in ("-wal", "-shm"))
        if not journal.exists() or not journal.stat().st_size:
            self._immutable = True
        elif not index.exists():
            self._copy = tempfile.TemporaryDirectory(prefix="tiny-dancer-")
            for file, name in ((self._path, "database"), (journal, "database-wal")):
                shutil.copyfile(file, Path(self._copy.name, name))
                Path(self._copy.name, name).chmod(0o600)
        return self._tried()

    def _tried(self) -> apsw.Connection:
        connection = self.connect()
        try:
            retrying(lambda: connection.execute("SELECT count(*) FROM sqlite_schema").get)
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def open_reading(path: Path) -> Iterator[apsw.Connection]:
    """A connection to look at a database by."""
    with translated(path):
        reading = Reading(path)
        connection = reading.connect()
    try:
        with closing(connection):
            yield connection
    finally:
        reading.close()


def _looked_at(path: Path) -> apsw.Connection:
    journal = path.with_name(path.name + "-wal")
    left = journal.exists() and journal.stat().st_size > 0
    # For writing where that is allowed: only then SQLite removes, in the end, what it has to make beside the file.
    connection = opened(path)
    connection.pragma("query_only", True)
    if left:
        # Who looks last leaves the journal of a program that was killed as it is.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    return connection


def refuse_unready(connection: apsw.Connection, path: Path) -> None:
    """Passes a database of ours with the present tables.

    Raises:
        StorageError: it is another program's, or of another version.
    """
    refuse_foreign(connection, path)
    if pending(connection, path, migrations()):
        remedy = "open it once to write, as tiny-dancer db vacuum does"
        raise StorageError(str(path), "tables of an earlier version", remedy)


class NoWriter:
    """Stands where the writer is, and refuses whatever is to be written.

    Attributes:
        dropped: routing records not kept: none were taken.
    """

    dropped = 0

    def __init__(self, path: Path) -> None:
        self._path = path

    def submit(self, action: object, *, alone: bool = False) -> NoReturn:
        """Refuses a write."""
        del action, alone
        raise StorageError(str(self._path), "opened with read_only=True", "open it without, to write")

    def record(self, record: object) -> NoReturn:
        """Refuses a decision."""
        self.submit(record)

    def touch(self, ids: Any, touch: Any) -> None:
        """Accesses are not counted."""

    def flush(self) -> None:
        """Nothing waits to be written."""

    def close(self) -> None:
        """Nothing has to be let go of."""
