"""Copies of the file: made while it is in use, verified before they replace anything.

A database that is there is never replaced by renaming another one over it: other processes may have it open, and
what they, or one that was killed, left in the journal beside it would be played into the new one. Its content is
replaced by SQLite, page by page in one transaction under the database's own locks
(https://sqlite.org/backup.html). Whoever has it open sees all of the old or all of the new content, and so does
whoever opens it after a kill at any moment.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from tiny_dancer.errors import StorageError
from tiny_dancer.storage.sqlite.connection import (
    APPLICATION_ID,
    checked_path,
    connect,
    has_our_tables,
    opened,
    refuse_foreign,
    retrying,
    snapshot,
    storage_error,
    translated,
    write_through,
)
from tiny_dancer.storage.sqlite.marks import is_backup, mark, unmark
from tiny_dancer.storage.sqlite.migrate import migrate, migrations, pending
from tiny_dancer.storage.sqlite.parts import JOURNALS, beside, synced
from tiny_dancer.storage.sqlite.read_only import open_reading
from tiny_dancer.storage.sqlite.verify import check, row_counts, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tiny_dancer.storage.storage import RowCounts

_NEW_NAME = "give a new name, or move away what is there"
# What SQLite says of a file that is not what it was.
_DAMAGE = (apsw.NotADBError, apsw.CorruptError, apsw.FormatError, apsw.SQLError)
# Bytes copied at a time from a file that SQLite cannot read as a database.
_BLOCK = 2**20


def back_up(connection: apsw.Connection, source: Path, target: str | Path) -> RowCounts:
    """Writes a verified copy of what ``connection`` sees to ``target``, all or nothing.

    An earlier backup there is replaced, also while others read it; another file is not, nor a database that
    somebody writes to.

    Raises:
        StorageError: it cannot be written, or is not good.
    """
    final = Path(os.path.realpath(Path(os.fspath(target)).absolute()))
    with translated(final):
        refuse_target(final, source)
        with beside(final) as part:
            return finish(part, final, source, _copy_whole(connection, source, part))


def finish(part: Path, final: Path, source: Path, before: RowCounts) -> RowCounts:
    """Verifies a copy in the making, marks it as a backup, and gives it its name.

    Args:
        part: the copy, beside ``final``.
        final: where it shall be.
        source: the database that it is of.
        before: rows that were copied.

    Raises:
        StorageError: it cannot be written, or is not good.
    """
    counts = _settle(part, source)
    if counts != before:
        raise StorageError(str(final), f"{counts} copied of {before}", "back up again")
    if not _placed(part, final):
        refuse_target(final, source)
        _replace_backup(final, part)
    return counts


def refuse_target(final: Path, source: Path) -> None:
    """Passes a path where a backup of the database ``source`` may be written.

    Raises:
        StorageError: something else is there.
    """
    if not final.parent.is_dir():
        raise StorageError(str(final), "no such folder", "make it first")
    if final.name.endswith(JOURNALS):
        raise StorageError(str(final), "named as SQLite names its journals", "give another name")
    if not final.exists():
        for suffix in JOURNALS:
            left = final.with_name(final.name + suffix)
            if left.exists():
                raise StorageError(
                    str(final), f"the journal of another database, {left.name}, is there", _NEW_NAME
                )
        return
    if not final.is_file() or (source.exists() and final.samefile(source)):
        raise StorageError(
            str(final), "a folder, no regular file, or the database itself", "give the path of another file"
        )
    if not final.stat().st_size:
        raise StorageError(str(final), "not a backup of Tiny Dancer's: empty", _NEW_NAME)
    try:
        # Through SQLite alone: closing a plain handle would end the locks that this process has on the file.
        with open_reading(final) as connection, translated(final):
            found, ours = retrying(lambda: (is_backup(connection), connection.pragma("application_id")))
    except StorageError as error:
        if not isinstance(error.__cause__, _DAMAGE):
            raise
        what = f"not a backup of Tiny Dancer's, or damaged ({error.__cause__})"
        raise StorageError(str(final), what, _NEW_NAME) from error
    if ours != APPLICATION_ID:
        raise StorageError(str(final), "not a backup of Tiny Dancer's", _NEW_NAME)
    if not found:
        raise StorageError(
            str(final), "a database in use, or a backup made by an earlier version or written to since", _NEW_NAME
        )


def _copy_whole(connection: apsw.Connection, source: Path, part: Path) -> RowCounts:
    with _damage_in(source), snapshot(connection):
        before = row_counts(connection)
        _copy(connection, part)
    return before


def _settle(part: Path, source: Path) -> RowCounts:
    """Marks and verifies a copy, and makes one file of it, on the disk."""
    with closing(connect(part)) as connection:
        with connection:
            mark(connection)
            # Mirrors of who has the backup open compare it: all of them have to be filled again.
            connection.execute("UPDATE state SET epoch = ?", (secrets.token_hex(8),))
        counts = verify(connection, source)
        connection.pragma("journal_mode", "delete")
    synced(part)
    return counts


def _replace_backup(final: Path, part: Path) -> None:
    """Makes the content of ``part`` that of the backup ``final``."""
    with closing(connect(final)) as connection, closing(opened(final)) as other:

        def refuse_changed() -> None:
            if not is_backup(other):
                raise StorageError(str(final), "written to just now: a database in use", _NEW_NAME)

        # Reading opens the write-ahead log, past which the other connection can look while this one writes.
        is_backup(connection)
        _overwrite(connection, part, refuse_changed)
        other.close()
        verify(connection, final)
        # One file again, unless others have it open: then the last of them does it.
        connection.set_busy_timeout(0)
        with suppress(apsw.BusyError, apsw.LockedError):
            connection.pragma("journal_mode", "delete")


@contextmanager
def prepared(backup: str | Path, target: Path) -> Iterator[Path]:
    """A verified copy of a backup beside ``target``, brought to the present tables; removed in the end.

    Raises:
        StorageError: there is no good backup.
    """
    source = checked_path(backup, create=False)
    with translated(target), beside(target) as part:
        with _damage_in(source):
            with open_reading(source) as original:
                if not original.execute("SELECT count(*) FROM sqlite_schema").get:
                    raise StorageError(str(source), "empty", "give a backup made by tiny-dancer db backup")
                refuse_foreign(original, source)
                _copy(original, part)
            with closing(connect(part)) as connection:
                migrate(connection, source)
                with connection:
                    unmark(connection)
                    # Mirrors compare it: all of them have to be filled again.
                    connection.execute("UPDATE state SET epoch = ?", (secrets.token_hex(8),))
                verify(connection, source)
                connection.pragma("journal_mode", "delete")
        synced(part)
        yield part


def restore_over(connection: apsw.Connection, path: Path, part: Path) -> None:
    """Makes everything in the database ``path`` that of the file ``part``, in one transaction.

    What was there is kept beside it as ``.damaged`` where it is damaged.
    """
    damaged = _is_damaged(connection, path)
    _overwrite(connection, part, lambda: _keep(path, part.parent) if damaged else None)
    write_through(connection)


def restore_file(path: Path, source: str | Path) -> None:
    """Restores a database that may be missing or damaged, whatever is damaged.

    Raises:
        StorageError: the backup is no good (nothing changes then), or ``path`` is another program's database.
    """
    with prepared(source, path) as part, translated(path):
        if not path.exists():
            for suffix in JOURNALS:
                left = path.with_name(path.name + suffix)
                if left.exists():
                    left.replace(path.with_name(f"{path.name}.{secrets.token_hex(4)}.damaged{suffix}"))
            if _placed(part, path):
                return
        checked_path(path, create=False)
        if not os.access(path, os.W_OK):
            raise StorageError(str(path), "read-only", "make the file and its folder writable")
        if not path.stat().st_size and _journal(path):
            # SQLite removes the journal of an empty file when it opens it.
            _keep(path, part.parent)
        with closing(opened(path)) as connection:
            _refuse_another_programs(connection, path)
            restore_over(connection, path, part)


def _refuse_another_programs(connection: apsw.Connection, path: Path) -> None:
    try:
        tables = retrying(lambda: connection.execute("SELECT count(*) FROM sqlite_schema").get)
        if not tables or connection.pragma("application_id") == APPLICATION_ID or has_our_tables(connection):
            return
    except _DAMAGE:
        return
    raise StorageError(str(path), "another program's database", "give a new name, or move it away")


def _is_damaged(connection: apsw.Connection, path: Path) -> bool:
    """Whether there is something to keep that cannot be used as it is."""
    try:
        if not connection.execute("SELECT count(*) FROM sqlite_schema").get:
            return path.stat().st_size > 0
        refuse_foreign(connection, path)
        pending(connection, path, migrations())
        write_through(connection)
        with snapshot(connection):
            check(connection, path)
    except (apsw.BusyError, apsw.LockedError):
        raise
    except (StorageError, apsw.Error):
        return True
    return False


def _overwrite(connection: apsw.Connection, source: Path, locked: Callable[[], None]) -> None:
    """Makes everything in the database that of the file ``source``, in one transaction.

    Args:
        connection: to the database; no transaction is open.
        source: a database that nobody writes to.
        locked: called when nobody else can write any more and nothing is written yet; what it raises ends it all.
    """
    with closing(apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)) as original:
        if not _overwritten(connection, original, locked):
            # Then SQLite does not look at what is there (SQLITE_DBCONFIG_RESET_DATABASE of
            # https://sqlite.org/c3ref/c_dbconfig_defensive.html).
            connection.config(apsw.SQLITE_DBCONFIG_RESET_DATABASE, 1)
            try:
                if not _overwritten(connection, original, locked):
                    raise apsw.ReadOnlyError("it can neither be read nor replaced")
            finally:
                connection.config(apsw.SQLITE_DBCONFIG_RESET_DATABASE, 0)
            # It counts the versions of the tables from 1 each time. Connections that know another version 1 would
            # take the present tables to be where those were.
            retrying(lambda: connection.pragma("schema_version", 2**30 + secrets.randbits(29)))


def _overwritten(connection: apsw.Connection, original: apsw.Connection, locked: Callable[[], None]) -> bool:
    """Copies everything in one transaction; false where SQLite cannot read what is to be overwritten."""
    begun = False
    try:
        with connection.backup("main", original, "main") as copying:
            # The first page takes the lock.
            retrying(lambda: copying.step(1))
            begun = True
            locked()
            while not copying.done:
                retrying(lambda: copying.step(-1))
    except (*_DAMAGE, apsw.ReadOnlyError):
        if begun:
            raise
        return False
    return True


@contextmanager
def _damage_in(source: Path) -> Iterator[None]:
    """Says of damage found within that it is the source's, whatever file SQLite found it in."""
    try:
        yield
    except _DAMAGE as error:
        raise storage_error(source, error) from error


def _copy(source: apsw.Connection, target: Path) -> None:
    with closing(apsw.Connection(str(target))) as copy, copy.backup("main", source, "main") as copying:
        while not copying.done:
            retrying(lambda: copying.step(-1))


def _placed(part: Path, final: Path) -> bool:
    """Gives a finished file its name; false where something has that name."""
    try:
        os.link(part, final)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        if final.exists():
            return False
        part.replace(final)
    synced(final.parent)
    return True


def _journal(path: Path) -> Path | None:
    """The write-ahead log beside a database, where something is in it."""
    journal = path.with_name(path.name + "-wal")
    with suppress(FileNotFoundError):
        if journal.stat().st_size:
            return journal
    return None


def _keep(path: Path, scratch: Path) -> None:
    """Keeps a damaged database and its write-ahead log, byte by byte, beside itself as ``.damaged``.

    The name says what is in it, so that another attempt to restore makes no second copy.
    """
    suffixes = ["", "-wal"] if _journal(path) else [""]
    digest = hashlib.sha256()
    for suffix in suffixes:
        _copy_bytes(path.with_name(path.name + suffix), scratch / f"damaged{suffix}", digest.update)
    for suffix in reversed(suffixes):
        kept = path.with_name(f"{path.name}.{digest.hexdigest()[:8]}.damaged{suffix}")
        (scratch / f"damaged{suffix}").replace(kept)
    synced(path.parent)


def _copy_bytes(source: Path, target: Path, seen: Callable[[bytes], None]) -> None:
    # SQLite's own file object: closing a plain one would end the locks that this process has on the database.
    file = apsw.VFSFile("", str(source), [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0])
    try:
        with os.fdopen(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as copy:
            size = file.xFileSize()
            for start in range(0, size, _BLOCK):
                content = file.xRead(min(_BLOCK, size - start), start)
                seen(content)
                copy.write(content)
            copy.flush()
            os.fsync(copy.fileno())
    finally:
        file.xClose()
