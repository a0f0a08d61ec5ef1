"""Copies of the file: made while it is in use, verified before they replace anything."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from tiny_dancer.errors import StorageError
from tiny_dancer.storage.sqlite.candidates import dimension
from tiny_dancer.storage.sqlite.connection import (
    APPLICATION_ID,
    checked_path,
    connect,
    refuse_foreign,
    retrying,
    snapshot,
    translated,
)
from tiny_dancer.storage.sqlite.migrate import migrate
from tiny_dancer.storage.storage import RowCounts

if TYPE_CHECKING:
    from collections.abc import Iterator

# Where SQLite's header holds PRAGMA application_id (https://sqlite.org/fileformat2.html#the_database_header).
_APPLICATION_ID_AT = slice(68, 72)


def row_counts(connection: apsw.Connection) -> RowCounts:
    """Rows of each kind."""
    counts = connection.execute(
        "SELECT (SELECT count(*) FROM candidate), (SELECT count(*) FROM routing), "
        "(SELECT count(*) FROM outcome), (SELECT count(*) FROM feedback), "
        "(SELECT count(*) FROM request), (SELECT count(*) FROM api_key)"
    ).get
    assert isinstance(counts, tuple)
    return RowCounts(*counts)


def verify(connection: apsw.Connection, path: Path) -> RowCounts:
    """Reads everything; returns how many rows there are.

    Raises:
        StorageError: the file is damaged, or candidates and embeddings do not belong together.
    """
    remedy = "restore a backup: tiny-dancer db restore"
    with snapshot(connection):
        found = [line for (line,) in connection.execute("PRAGMA integrity_check(5)")]
        if found != ["ok"]:
            raise StorageError(str(path), f"damaged: {'; '.join(map(str, found))}", remedy)
        width = dimension(connection)
        embedded = "SELECT number FROM candidate WHERE embedding_change IS NOT NULL"
        if width is None:
            odd = connection.execute(f"SELECT count(*) FROM ({embedded})").get
        else:
            odd = connection.execute(
                "SELECT (SELECT count(*) FROM candidate_vectors WHERE length(embedding) IS NOT ?) "
                f"+ (SELECT count(*) FROM ({embedded} EXCEPT SELECT rowid FROM candidate_vectors)) "
                f"+ (SELECT count(*) FROM (SELECT rowid FROM candidate_vectors EXCEPT {embedded}))",
                (4 * width,),
            ).get
        if odd:
            raise StorageError(str(path), f"damaged: {odd} candidates and embeddings do not match", remedy)
        return row_counts(connection)


def back_up(connection: apsw.Connection, source: Path, target: str | Path) -> RowCounts:
    """Writes a verified copy of what ``connection`` sees to ``target``, all or nothing.

    An earlier backup there is replaced; another file is not.

    Raises:
        StorageError: it cannot be written, or is not good.
    """
    final = Path(os.fspath(target)).absolute()
    _refuse_target(final, source)
    with _beside(final) as part, translated(final):
        with snapshot(connection):
            before = row_counts(connection)
            _copy(connection, part)
        counts = _settle(part)
        if counts != before:
            raise StorageError(str(final), f"{counts} copied of {before}", "back up again")
        _put(part, final)
    return counts


def _refuse_target(final: Path, source: Path) -> None:
    if not final.parent.is_dir():
        raise StorageError(str(final), "no such folder", "make it first")
    if not final.exists():
        return
    if final.is_dir() or final.samefile(source):
        raise StorageError(str(final), "a folder, or the database itself", "give the path of another file")
    with final.open("rb") as file:
        header = file.read(_APPLICATION_ID_AT.stop)
    if header[_APPLICATION_ID_AT] != APPLICATION_ID.to_bytes(4, "big"):
        raise StorageError(str(final), "not a backup of Tiny Dancer's", "give a new name")


@contextmanager
def prepared(backup: str | Path, beside: Path) -> Iterator[Path]:
    """A verified copy of a backup in the folder of ``beside``, brought to the present tables; removed in the end.

    Raises:
        StorageError: there is no good backup.
    """
    source = checked_path(backup, create=False)
    with _beside(beside) as part:
        with translated(source):
            # Read-only and without any pragma: nothing changes beside it.
            original = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)
            try:
                if not original.execute("SELECT count(*) FROM sqlite_schema").get:
                    raise StorageError(str(source), "empty", "give a backup made by tiny-dancer db backup")
                refuse_foreign(original, source)
                _copy(original, part)
            finally:
                original.close()
            connection = connect(part)
            try:
                migrate(connection, source)
                # Mirrors compare it: all of them have to be filled again.
                connection.execute("UPDATE state SET epoch = ?", (secrets.token_hex(8),))
                verify(connection, source)
                connection.pragma("journal_mode", "delete")
            finally:
                connection.close()
        yield part


def replace_content(connection: apsw.Connection, source: Path) -> None:
    """Makes everything in the database that of the file ``source``, in one transaction.

    Page by page through the journal (https://sqlite.org/backup.html) rather than by renaming a file: other
    processes have this one open, and a journal beside it.
    """
    original = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        with connection.backup("main", original, "main") as copying:
            while not copying.done:
                retrying(lambda: copying.step(-1))
    finally:
        original.close()


def put_in_place(part: Path, final: Path) -> None:
    """Gives a database that is not open anywhere its place; what was there is kept beside it as ``.damaged``."""
    token = secrets.token_hex(4)
    for suffix in ("", "-wal", "-shm"):
        old = final.with_name(final.name + suffix)
        if old.exists():
            old.replace(final.with_name(f"{final.name}.{token}.damaged{suffix}"))
    _put(part, final)


def _copy(source: apsw.Connection, target: Path) -> None:
    copy = apsw.Connection(str(target))
    try:
        with copy.backup("main", source, "main") as copying:
            while not copying.done:
                copying.step(-1)
    finally:
        copy.close()


def _settle(part: Path) -> RowCounts:
    """Verifies a copy and makes one file of it."""
    connection = connect(part)
    try:
        counts = verify(connection, part)
        connection.pragma("journal_mode", "delete")
    finally:
        connection.close()
    return counts


def _put(part: Path, final: Path) -> None:
    for place in (part, final.parent):
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        if place is part:
            part.replace(final)


@contextmanager
def _beside(final: Path) -> Iterator[Path]:
    """An empty file of our own in the same folder, gone in the end with what SQLite put beside it."""
    part = final.with_name(f".{final.name}.{secrets.token_hex(4)}.part")
    try:
        checked_path(part, create=True)
        yield part
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            part.with_name(part.name + suffix).unlink(missing_ok=True)
