"""Connections to the file: opened as they all must be, pooled for readers, their errors translated."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections import deque
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import apsw
import sqlite_vec

from tiny_dancer.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# "TDan": tells our files from those of other programs (PRAGMA application_id).
APPLICATION_ID = 0x5444616E
# What to do where a file is damaged.
RESTORE = "restore a backup: tiny-dancer db restore"
# The write-ahead log is cut down to this many bytes when it starts anew.
_JOURNAL_BYTES = 4 * 2**20
# A writer holds the lock for milliseconds. Who waits this long waits for a program that has stopped.
BUSY_SECONDS = 60.0

T = TypeVar("T")

_REMEDIES: tuple[tuple[type[apsw.Error], str, str], ...] = (
    (apsw.NotADBError, "not a SQLite database, or damaged", f"check the path, or {RESTORE}"),
    (apsw.CorruptError, "damaged", RESTORE),
    (apsw.FullError, "no space left", "free space on the disk; nothing of this write was kept"),
    (apsw.ReadOnlyError, "read-only", f"make the file and its folder writable; where they are, {RESTORE}"),
    (apsw.CantOpenError, "cannot be opened", "make the file and its folder readable and writable"),
    (apsw.PermissionsError, "permission denied", "make the file and its folder readable and writable"),
    (
        apsw.IOError,
        "cannot be read or written",
        f"check the disk and the process's limits; if it stays so, {RESTORE}",
    ),
    (apsw.BusyError, f"locked for {BUSY_SECONDS:g} s", "end the program that holds a write transaction on it"),
    (apsw.LockedError, f"locked for {BUSY_SECONDS:g} s", "end the program that holds a write transaction on it"),
    (apsw.TooBigError, "row beyond SQLite's limit", "store texts below 1 GB"),
    (apsw.SQLError, "tables missing or changed", RESTORE),
    (apsw.NoMemError, "out of memory", "free memory"),
)
_SYSTEM_REMEDIES = {
    errno.EMFILE: "close files, or let the process have more (ulimit -n)",
    errno.ENFILE: "close files on this machine",
    errno.ENOSPC: "free space on the disk; nothing of this write was kept",
    errno.EDQUOT: "free space on the disk; nothing of this write was kept",
    errno.EFBIG: "let the process write larger files (ulimit -f); nothing of this write was kept",
    errno.EACCES: "make the file and its folder readable and writable",
    errno.EPERM: "make the file and its folder readable and writable",
    errno.EROFS: "give a file on a disk that is writable",
}
# What a database, its disk and its machine may raise at any call.
TROUBLE = (apsw.Error, OSError, MemoryError)
_TRANSIENT = (apsw.BusyError, apsw.LockedError, apsw.ProtocolError, apsw.SchemaChangeError)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns SQLite's and the system's errors into StorageError: the file, what is wrong, and the remedy."""
    try:
        yield
    except TROUBLE as error:
        raise storage_error(path, error) from error


def storage_error(path: Path, error: apsw.Error | OSError | MemoryError) -> StorageError:
    """What ``error`` means to a user."""
    if isinstance(error, MemoryError):
        return StorageError(str(path), "out of memory", "free memory")
    if isinstance(error, OSError):
        remedy = _SYSTEM_REMEDIES.get(
            error.errno or 0, "check the disk, and who may read and write the file and its folder"
        )
        return StorageError(str(path), error.strerror or str(error), remedy)
    if isinstance(error, apsw.CantOpenError | apsw.IOError | apsw.ExtensionLoadingError) and _no_handles_left():
        return StorageError(str(path), f"{os.strerror(errno.EMFILE)} ({error})", _SYSTEM_REMEDIES[errno.EMFILE])
    if isinstance(error, apsw.CantOpenError) and _is_gone(path):
        return StorageError(str(path), "removed, or its folder is", "put it back, or restart what uses it")
    for kind, meaning, remedy in _REMEDIES:
        if isinstance(error, kind):
            detail = str(error)
            if "not an error" in detail:  # SQLite's own words where a copy failed
                detail = str(apsw.mapping_extended_result_codes.get(getattr(error, "extendedresult", 0), detail))
            return StorageError(str(path), f"{meaning} ({detail})", remedy)
    return StorageError(str(path), str(error), "check the file: tiny-dancer db stats")


def _is_gone(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENOTDIR)
    return False


def _no_handles_left() -> bool:
    """Whether the process has no file handle left, which SQLite does not tell from other reasons."""
    try:
        os.close(os.dup(2))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False


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


def checked_path(path: str | os.PathLike[str], *, create: bool) -> Path:
    """The absolute path of a database file that exists; made empty, for its owner alone, where it did not.

    Raises:
        StorageError: no file can be there, or there is none and ``create`` is false.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(text := os.fspath(path), str):
        raise StorageError("path", type(path).__name__, "give the path of a file, as text")
    if not text or "\0" in text or text == ":memory:":
        raise StorageError("path", repr(text), "give the path of a file; MemoryStorage keeps nothing on disk")
    full = Path(text).absolute()
    try:
        if create:
            # SQLite gives its -wal and -shm files the permissions of this one. Never a handle of a file that is
            # there: closing it would end the locks that this process holds on it through SQLite.
            with suppress(FileExistsError):
                os.close(os.open(os.path.realpath(full), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        mode = full.stat().st_mode
    except FileNotFoundError:
        what, remedy = "no such file", "check the path" if full.parent.is_dir() else "make its folder first"
        raise StorageError(str(full), what, remedy) from None
    except OSError as error:
        remedy = _SYSTEM_REMEDIES.get(error.errno or 0, "give a file in a folder that is writable")
        raise StorageError(str(full), error.strerror, remedy) from error
    if not stat.S_ISREG(mode):
        raise StorageError(str(full), "not a regular file", "give the path of a file")
    return full


def refuse_foreign(connection: apsw.Connection, path: Path) -> None:
    """Passes our files and empty ones.

    Raises:
        StorageError: another program made the tables in it, or the header is damaged.
    """
    # In this order: another process may make our tables, and say whose they are in the same transaction.
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if tables and connection.pragma("application_id") != APPLICATION_ID:
        if has_our_tables(connection):
            raise StorageError(str(path), "damaged: the header does not say whose file it is", RESTORE)
        raise StorageError(str(path), "another program's database", "give a file of Tiny Dancer's, or a new name")


def has_our_tables(connection: apsw.Connection) -> bool:
    """Whether tables that every database of ours has are there, whatever the header says."""
    ours = "('migration', 'state', 'candidate', 'routing')"
    return bool(connection.execute(f"SELECT count(*) = 4 FROM sqlite_schema WHERE name IN {ours}").get)


def ordinary_tables(connection: apsw.Connection) -> list[str]:
    """Names of the tables that are neither SQLite's nor an extension's own."""
    found = connection.execute(
        "SELECT name FROM pragma_table_list AS listed WHERE schema = 'main' AND type = 'table' "
        "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND NOT EXISTS (SELECT 1 FROM pragma_table_list AS module "
        "WHERE module.type = 'virtual' AND instr(listed.name, module.name || '_') = 1) ORDER BY name"
    )
    return [name for (name,) in found]


def opened(path: Path, flags: int = apsw.SQLITE_OPEN_READWRITE, *, name: str | None = None) -> apsw.Connection:
    """A connection with sqlite-vec loaded that waits for locks; nothing is read or written yet.

    Args:
        path: of the database.
        flags: of SQLite, how to open it.
        name: what SQLite is told to open, a URI; the path by default.
    """
    connection = apsw.Connection(str(path) if name is None else name, flags=flags)
    try:
        connection.set_busy_timeout(int(BUSY_SECONDS * 1000))
        connection.enable_load_extension(True)
        connection.load_extension(sqlite_vec.loadable_path())
        connection.enable_load_extension(False)
    except BaseException:
        connection.close()
        raise
    return connection


def connect(path: Path) -> apsw.Connection:
    """A connection that reads and writes through to the disk.

    Raises:
        StorageError: another program's database.
    """
    connection = opened(path)
    try:
        # Before anything is written to it.
        retrying(lambda: refuse_foreign(connection, path))
        write_through(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reading(path: Path) -> apsw.Connection:
    """A connection to read by, of a database that others of this process write to."""
    connection = connect(path)
    connection.pragma("query_only", True)
    return connection


def write_through(connection: apsw.Connection) -> None:
    """Sets a connection to write as all of them must."""
    retrying(lambda: connection.pragma("journal_mode", "wal"))
    connection.pragma("journal_size_limit", _JOURNAL_BYTES)
    # FULL: a commit that has returned survives a loss of power (https://sqlite.org/pragma.html#pragma_synchronous).
    connection.pragma("synchronous", "FULL")
    connection.pragma("foreign_keys", True)


class Pool:
    """Connections for reading; as many as there are threads reading at one time."""

    # More than this many idle ones are closed: each holds a page cache of 2 MB.
    IDLE = 8

    def __init__(
        self, path: Path, open: Callable[[], apsw.Connection], closed: Callable[[], None] = lambda: None
    ) -> None:
        self._path = path
        self._open = open
        self._on_close = closed
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
            except BaseException:
                self.discard(connection)
                raise
            self.give_back(connection)

    def take(self) -> apsw.Connection:
        """A connection to be given back."""
        try:
            return self._idle.pop()
        except IndexError:
            return retrying(self._open)

    def give_back(self, connection: apsw.Connection) -> None:
        """Ends the use of a connection that :meth:`take` gave."""
        self._idle.append(connection)
        if self._closed or len(self._idle) > self.IDLE:
            self._drain(0 if self._closed else self.IDLE)

    def discard(self, connection: apsw.Connection) -> None:
        """Ends a connection that :meth:`take` gave, after an error. A statement that did not come to its end goes
        on while somebody keeps the error, and the connection would see nothing newer than it."""
        connection.close(True)

    def close(self) -> None:
        """Closes the idle connections now, those in use when they are given back."""
        self._closed = True
        self._drain(0)
        self._on_close()

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
        # Nothing was written, so this cannot lose anything. SQLite has ended it already where the disk failed.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
