"""Files in the making, beside the file they will be: nobody else's, and gone in the end, however that comes."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tiny_dancer.errors import StorageError
from tiny_dancer.storage.sqlite.connection import storage_error

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.platform != "win32":
    from fcntl import LOCK_EX, LOCK_NB, flock

# What SQLite keeps beside a database.
JOURNALS = ("-wal", "-shm", "-journal")
# Earlier versions made parts that nobody holds a lock on: those that nobody wrote to for so long are left over.
_ABANDONED_SECONDS = 3600.0


@contextmanager
def beside(final: Path) -> Iterator[Path]:
    """The path of a file to make, ``database`` in a hidden folder of our own beside ``final``; removed in the end.

    The folder is locked while its maker lives, so that :func:`clear` tells what a killed one has left.

    Raises:
        StorageError: the folder cannot be made.
    """
    clear(final)
    folder, lock = _locked_folder(final)
    try:
        part = folder / "database"
        # SQLite gives its journals the permissions of this one.
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        yield part
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def clear(final: Path) -> None:
    """Removes the parts beside ``final`` whose maker is gone. Those of a living process stay."""
    if sys.platform == "win32":
        return  # No lock says who lives, and no folder can be locked.
    prefix = f".{final.name}."
    with suppress(OSError), os.scandir(final.parent) as entries:
        found = [each for each in entries if each.name.startswith(prefix) and ".part" in each.name]
        for each in found:
            with suppress(OSError):
                if each.is_dir(follow_symlinks=False):
                    _clear_folder(each.path)
                elif time.time() - each.stat(follow_symlinks=False).st_mtime > _ABANDONED_SECONDS:
                    Path(each.path).unlink()


def _locked_folder(final: Path) -> tuple[Path, int]:
    while True:
        folder = final.with_name(f".{final.name}.{secrets.token_hex(4)}.part")
        try:
            folder.mkdir(mode=0o700)
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            if not final.parent.is_dir():
                raise StorageError(str(final), "no such folder", "make it first") from None
            continue  # Another process has cleared it away before we could lock it.
        except OSError as error:
            with suppress(OSError):
                folder.rmdir()
            raise storage_error(final, error) from error
        try:
            flock(lock, LOCK_EX | LOCK_NB)
            if folder.exists():
                return folder, lock
        except BlockingIOError:
            pass
        os.close(lock)


def _clear_folder(path: str) -> None:
    lock = os.open(path, os.O_RDONLY)
    try:
        # A kernel ends the locks of a process with the process.
        flock(lock, LOCK_EX | LOCK_NB)
        shutil.rmtree(path)
    finally:
        os.close(lock)


def synced(*paths: Path) -> None:
    """Returns when files and folders are on the disk."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
