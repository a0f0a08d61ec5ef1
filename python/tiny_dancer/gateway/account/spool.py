"""What a process has yet to write to storage, in files that outlive it: a request that was answered is not lost
where its process is killed.

Records are appended before they are queued, to files that are mapped into memory: the system keeps what was
written there when the process is gone, nothing waits for the disk, and no record costs a call of the system. When
storage has them, their file is removed. Files belong to a *seat*, a number that a process holds by a lock on
``<seat>.lock`` for as long as it lives: files whose seat nobody holds are of a process that was killed; whoever
finds them writes their records to storage (:func:`recover`). Storage takes each record once, whoever writes it.

A request whose most was reserved has a record beforehand, of what it comes to where nobody sees its end.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import mmap
import os
import re
import struct
import threading
import time
import zlib
from typing import TYPE_CHECKING, Final

import msgspec

from tiny_dancer import files
from tiny_dancer.errors import StorageError
from tiny_dancer.storage.ledger import fitting
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tiny_dancer.storage import RequestStorage

log = logging.getLogger("tiny_dancer.gateway")
# Bytes of a file: what is in it is read again where the process is killed.
_LENGTH: Final = 1 << 20
# Seconds until a disk without room for another is asked again.
_PAUSE: Final = 1.0
# Length of what follows, its CRC-32, and what it is; 0 behind the last record.
_FRAME: Final = struct.Struct("<IIB")
_ENDED, _BEGUN = 1, 2
_AT_ONCE: Final = 1000
_LOCK: Final = re.compile(r"(\d+)\.lock")
_RECORDS: Final = re.compile(r"(\d+)-(\d+)\.records")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(RequestRecord).decode


class Seat:
    """A number that no other living process has.

    Attributes:
        folder: of its files.
        number: from 0 on.
    """

    def __init__(self, folder: Path, number: int, descriptor: int) -> None:
        self.folder = folder
        self.number = number
        self._descriptor = descriptor

    def files(self) -> list[Path]:
        """Those of the seat, in the order they were begun."""
        found = [(match, each) for each in self.folder.iterdir() if (match := _RECORDS.fullmatch(each.name))]
        return [path for _, path in sorted((int(m[2]), each) for m, each in found if int(m[1]) == self.number)]

    def leave(self) -> None:
        """Lets others have the number."""
        os.close(self._descriptor)


def take_seat(
    folder: Path, seats: int, storage: RequestStorage, counted: Callable[[int], bool] = lambda _: False
) -> Seat:
    """The first free seat, its files recovered.

    Args:
        folder: of the seats.
        seats: how many there are.
        storage: gets what processes have left that are gone.
        counted: whether budgets know already what the last process of a seat has spent. What it has left may then
            be written later: while storage cannot be written, another seat is taken.

    Raises:
        StorageError: the folder cannot be used, all seats are taken, or what was left cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for number in range(seats):
            if (seat := _try(folder, number)) is not None:
                try:
                    recover(seat, storage)
                except StorageError as error:
                    seat.leave()
                    if not counted(number):
                        raise
                    log.error("what a process that was killed has left cannot be recovered yet: %s", error)
                    continue
                except BaseException:
                    seat.leave()
                    raise
                return seat
    except OSError as error:
        raise StorageError(str(folder), error.strerror, "put storage where files can be written") from None
    raise StorageError(str(folder), f"{seats} processes write here", "end those that are not needed")


def free_seats(folder: Path, own: Seat) -> Iterator[Seat]:
    """Seats whose process is gone, each held until the next is asked for."""
    for entry in sorted(folder.iterdir()):
        match = _LOCK.fullmatch(entry.name)
        if match is not None and int(match[1]) != own.number and (seat := _try(folder, int(match[1]))) is not None:
            try:
                yield seat
            finally:
                seat.leave()


def recover(seat: Seat, storage: RequestStorage) -> int:
    """Writes to storage what a process of this seat has left, and removes it.

    Returns:
        How many records it had left; storage may have had some of them.

    Raises:
        StorageError: storage cannot be written; everything stays for the next time.
        OSError: a file cannot be read.
    """
    left = seat.files()
    if not left:
        return 0
    ended: dict[tuple[float, str], RequestRecord] = {}
    begun: dict[str, RequestRecord] = {}
    for path in left:
        for kind, record in _records(files.read(path)):
            if kind == _BEGUN:
                begun[record.id] = record
            else:
                ended[record.time, record.id] = record
                begun.pop(record.id, None)
    records = [*ended.values(), *begun.values()]
    for start in range(0, len(records), _AT_ONCE):
        storage.record_requests(records[start : start + _AT_ONCE])
    for path in left:
        path.unlink(missing_ok=True)
    if records:
        log.warning(
            "%d requests that a process left behind when it was killed are on record, %d of them cut by its end",
            len(records),
            len(begun),
        )
    return len(records)


def _records(data: bytes) -> Iterator[tuple[int, RequestRecord]]:
    """What is whole; the last may have been cut."""
    at = 0
    while at + _FRAME.size <= len(data):
        length, crc, kind = _FRAME.unpack_from(data, at)
        at += _FRAME.size
        part = data[at : at + length]
        at += length
        if not kind or len(part) < length or zlib.crc32(part) != crc:
            return
        try:
            yield kind, _decode(part)
        except msgspec.MsgspecError as error:
            log.error("a record of a request that was left behind cannot be read: %s", error)


class Spool:
    """The files of a process. :meth:`begin` and :meth:`end` belong to one thread, :meth:`forget` to any other."""

    def __init__(self, seat: Seat) -> None:
        """Opens the first file.

        Raises:
            StorageError: it cannot be written.
        """
        self._seat = seat
        self._lock = threading.Lock()
        self._files: list[_File] = []
        self._number = 0  # of records that have ended
        self._open: dict[str, _File] = {}
        self._failing, self._again = False, 0.0
        try:
            self._file = self._first()
        except OSError as error:
            raise StorageError(
                str(seat.folder), error.strerror, "put storage where files can be written"
            ) from None

    def begin(self, record: RequestRecord) -> None:
        """What a request comes to unless :meth:`end` says otherwise; a later one of its id replaces it."""
        self._append(_BEGUN, record)
        if (before := self._open.get(record.id)) is not self._file:
            if before is not None:
                before.open -= 1
            self._open[record.id] = self._file
            self._file.open += 1

    def end(self, record: RequestRecord) -> None:
        """What a request came to."""
        self._number += 1
        self._append(_ENDED, record)
        self._file.last = self._number
        if self._open and (file := self._open.pop(record.id, None)) is not None:
            file.open -= 1

    def forget(self, count: int) -> None:
        """Storage has the first ``count`` records that ended: files that hold no others are removed."""
        with self._lock:
            # The last one is still written to. One with a request that has begun stays until that has ended; where
            # another's end is removed before its beginning, storage has it, and takes nothing twice.
            for file in [each for each in self._files if each is not self._file]:
                if file.last <= count and not file.open:
                    self._files.remove(file)
                    file.remove()

    def close(self, *, keep: bool) -> None:
        """Ends; what storage has not got is kept for the next process."""
        with self._lock:
            for file in self._files:
                if keep:
                    file.close()
                else:
                    file.remove()
            self._files.clear()

    def _append(self, kind: int, record: RequestRecord) -> None:
        try:
            part = _encode(record)
        except UnicodeEncodeError:
            part = _encode(fitting(record))
        data = _FRAME.pack(len(part), zlib.crc32(part), kind) + part
        if self._file.write(data) or (self._failing and time.monotonic() < self._again):
            return
        try:
            self._file = self._next(max(len(data), _LENGTH))
        except OSError as error:
            if not self._failing:
                log.error("%s; requests may be lost where this process is killed", error)
            self._failing, self._again = True, time.monotonic() + _PAUSE
        else:
            self._failing = False
            self._file.write(data)

    def _first(self) -> _File:
        """A file; one without room where the disk has none now, which is no reason not to serve."""
        try:
            return self._next(_LENGTH)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            log.error("%s; requests may be lost where this process is killed", error)
            self._failing = True
            return self._next(0)

    def _next(self, length: int) -> _File:
        """A file with room for so many bytes."""
        with self._lock:
            number = self._files[-1].number + 1 if self._files else 0
            path = self._seat.folder / f"{self._seat.number}-{number}.records"
            file = _File(path, number, self._number, length)
            self._files.append(file)
        return file


class _File:
    """One file of records.

    Attributes:
        path: where.
        number: in the order they are begun.
        size: bytes of its records.
        last: number of the last record that ended in it.
        open: records that have begun in it and not ended.
    """

    __slots__ = ("_map", "last", "number", "open", "path", "size")

    def __init__(self, path: Path, number: int, last: int, length: int) -> None:
        self.path = path
        self.number = number
        self.size = 0
        self.last = last
        self.open = 0
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            # All of it, now: a disk that has no room for what is written to a map ends the process.
            if os.write(descriptor, bytes(length)) < length:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            self._map = mmap.mmap(descriptor, length) if length else None
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    def write(self, data: bytes) -> bool:
        """Whether there was room for that."""
        end = self.size + len(data)
        if self._map is None or end > len(self._map):
            return False
        self._map[self.size : end] = data
        self.size = end
        return True

    def close(self) -> None:
        if self._map is not None:
            self._map.close()

    def remove(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


def _try(folder: Path, number: int) -> Seat | None:
    descriptor = os.open(folder / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return Seat(folder, number, descriptor)
