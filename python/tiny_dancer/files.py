"""Reading and writing files that somebody names, which may be no files: a pipe, a device or a socket is not waited
for when it is read, and stays what it is when it is written to."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path
from typing import IO

_KINDS = (
    (stat.S_ISFIFO, "a named pipe, not a file"),
    (stat.S_ISSOCK, "a socket, not a file"),
    (stat.S_ISCHR, "a device, not a file"),
    (stat.S_ISBLK, "a device, not a file"),
)
# Opening what became a pipe meanwhile does not wait either. Windows has neither these flags nor such files.
_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


def opened(path: str | os.PathLike[str]) -> IO[bytes]:
    """A file, open for reading.

    Raises:
        OSError: there is none, it cannot be read, or what is there is no regular file; ``strerror`` says which.
    """
    check(path)
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | _AT_ONCE))  # noqa: SIM115
    try:
        _refuse_others(os.fstat(file.fileno()).st_mode, path)
    except OSError:
        file.close()
        raise
    return file


def read(path: str | os.PathLike[str], *, most: int | None = None) -> bytes:
    """The bytes of a file.

    Args:
        path: of the file.
        most: bytes it may have; None: any number.

    Raises:
        OSError: as :func:`opened`, or it is larger.
    """
    with opened(path) as file:
        data = file.read() if most is None else file.read(most + 1)
    if most is not None and len(data) > most:
        raise OSError(errno.EFBIG, f"larger than {most >> 20:,} MiB", os.fspath(path))
    return data


def write(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a whole file or nothing: beside the target first, then in its place. Two that write at once each have
    their own file beside the target, and the later one's stays. What a link names is written, not the link.

    Raises:
        OSError: it cannot be written.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():  # such as /dev/stdout: nothing is to take its place
        target.write_bytes(data)
        return
    beside = target.with_name(f".{target.name[:32]}.{secrets.token_hex(4)}.part")
    try:
        beside.write_bytes(data)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def check(path: str | os.PathLike[str]) -> None:
    """Passes a regular file, for those that have others open it.

    Raises:
        OSError: there is none, it cannot be seen, or what is there is no regular file.
    """
    try:
        mode = Path(path).stat().st_mode
    except ValueError:  # a NUL, or what no file system's encoding has
        raise OSError(errno.EINVAL, "not a name that a file can have", os.fspath(path)) from None
    _refuse_others(mode, path)


def _refuse_others(mode: int, path: str | os.PathLike[str]) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    for is_that, what in _KINDS:
        if is_that(mode):
            raise OSError(errno.EINVAL, what, os.fspath(path))
