"""Connections to the file: opened as they all must be, pooled for readers, their errors translated."""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import apsw
import sqlite_vec

from tiny_dancer.errors import StorageError
from tiny_dancer.storage.sqlite.conditions import add_functions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# "TDan": tells our files from those of other programs (PRAGMA application_id).
APPLICATION_ID = 0x5444616E
# A writer holds the lock for milliseconds. Who waits this long waits for a program that has stopped.
BUSY_SECONDS = 60.0

T = TypeVar("T")

_REMEDIES: tuple[tuple[type[apsw.Error], str, str], ...] = (
    (apsw.NotADBError, "not a SQLite database, or damaged", "check the path, or restore a backup"),
    (apsw.CorruptError, "damaged", "restore a backup: tiny-dancer db restore"),
    (apsw.FullError, "no space left", "free space on the disk; nothing of this write was kept"),
    (apsw.ReadOnlyError, "read-only", "make the file and its folder writable"),
    (apsw.CantOpenError, "cannot be opened", "make the file and its folder readable and writable"),
    (apsw.PermissionsError, "permission denied", "make the file and its folder readable and writable"),
    (apsw.IOError, "cannot be read or written", "check the disk; restore a backup if it stays so"),
    (apsw.BusyError, f"locked for {BUSY_SECONDS:g} s", "end the program that holds a write transaction on it"),
    (apsw.LockedError, f"locked for {BUSY_SECONDS:g} s", "end the program that holds a write transaction on it"),
    (apsw.TooBigError, "row beyond SQLite's limit", "store texts below 1 GB"),
    (apsw.SQLError, "tables missing or changed", "restore a backup: tiny-dancer db restore"),
    (apsw.NoMemError, "out of memory", "free memory"),
)
_TRANSIENT = (apsw.BusyError, apsw.LockedError, apsw.ProtocolError, apsw.SchemaChangeError)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into StorageError, which names the file, what is wrong and the remedy."""
    try:
        yield
    except apsw.Error as error:
        raise storage_error(path, error) from error


def storage_error(path: Path, error: apsw.Error) -> StorageError:
    """What ``error`` means to a user."""
    for kind, meaning, remedy in _REMEDIES:
        if isinstance(error, kind):
            return StorageError(str(path), f"{meaning} ({error})", remedy)
    return StorageError(str(path), str(error), "check the file: tiny-dancer db stats")


def retrying(action: Callable[[], T]) -> T:
    """What ``action`` returns, repeated while another connection is in the way.

    SQLite waits by itself for most locks, but not while it switches the journal mode, recovers, or closes.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    pause = 0.001
    while True:
        try:
            return action()
        except _TRANSIENT:
            if time.monotonic() > deadline:
                raise
            time.sleep(pause)
            pause = min(2 * pause, 0.05)


def checked_path(path: str | Path, *, create: bool) -> Path:
    """The absolute path of a database file that exists; made empty, for its owner alone, where it did not.

    Raises:
        StorageError: no file can be there, or there is none and ``create`` is false.
    """
    text = os.fspath(path)
    if not text or "\0" in text or text == ":memory:":
        raise StorageError("path", repr(text), "give the path of a file; MemoryStorage keeps nothing on disk")
    full = Path(text).absolute()
    try:
        if create and not full.exists():
            # SQLite gives its -wal and -shm files the permissions of this one.
            os.close(os.open(full, os.O_CREAT | os.O_RDWR, 0o600))
        mode = full.stat().st_mode
    except FileNotFoundError:
        what, remedy = "no such file", "check the path" if full.parent.is_dir() else "make its folder first"
        raise StorageError(str(full), what, remedy) from None
    except OSError as error:
        raise StorageError(str(full), error.strerror, "give a file in a folder that is writable") from error
    if not stat.S_ISREG(mode):
        raise StorageError(str(full), "not a regular file", "give the path of a file")
    return full


def refuse_foreign(connection: apsw.Connection, path: Path) -> None:
    """Passes our files and empty ones.

    Raises:
        StorageError: another program made the tables in it.
    """
    # In this order: another process may make our tables, and say whose they are in the same transaction.
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if tables and connection.pragma("application_id") != APPLICATION_ID:
        raise StorageError(str(path), "another program's database", "give a file of Tiny Dancer's, or a new name")


def connect(path: Path) -> apsw.Connection:
    """A connection with sqlite-vec loaded, that waits for locks and writes through to the disk.

    Raises:
        StorageError: another program's database.
    """
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(int(BUSY_SECONDS * 1000))
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    connection.enable_load_extension(False)
    add_functions(connection)
    # Before anything is written to it.
    retrying(lambda: refuse_foreign(connection, path))
    retrying(lambda: connection.pragma("journal_mode", "wal"))
    # FULL: a commit that has returned survives a loss of power (https://sqlite.org/pragma.html#pragma_synchronous).
    connection.pragma("synchronous", "FULL")
    connection.pragma("foreign_keys", True)
    return connection


class Pool:
    """Connections for reading; as many as there are threads reading at one time."""

    # More than this many idle ones are closed: each holds a page cache of 2 MB.
    IDLE = 8

    def __init__(self, path: Path) -> None:
        self._path = path
        # Appending and popping are atomic.
        self._idle: deque[apsw.Connection] = deque()
        self._closed = False

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """A connection that only this caller uses. SQLite's errors come out as StorageError."""
        with translated(self._path):
            connection = self.take()
            try:
                yield connection
            finally:
                self.give_back(connection)

    def take(self) -> apsw.Connection:
        """A connection to be given back."""
        try:
            return self._idle.pop()
        except IndexError:
            connection = retrying(lambda: connect(self._path))
            connection.pragma("query_only", True)
            return connection

    def give_back(self, connection: apsw.Connection) -> None:
        """Ends the use of a connection that :meth:`take` gave."""
        self._idle.append(connection)
        if self._closed or len(self._idle) > self.IDLE:
            self._drain(0 if self._closed else self.IDLE)

    def close(self) -> None:
        """Closes the idle connections now, those in use when they are given back."""
        self._closed = True
        self._drain(0)

    def _drain(self, keep: int) -> None:
        while len(self._idle) > keep:
            try:
                self._idle.popleft().close()
            except IndexError:
                return


@contextmanager
def snapshot(connection: apsw.Connection) -> Iterator[None]:
    """All reads within see one state of the database."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        # Nothing was written, so this cannot lose anything.
        connection.execute("ROLLBACK")
