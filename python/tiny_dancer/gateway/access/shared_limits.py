"""Token buckets that several processes take from: a table in a file, mapped into each of them.

The supervisor makes the file (:func:`create`), every worker opens it. A bucket is one number there, changed under
an ``fcntl`` lock on its own bytes: two system calls, no waiting but for a worker in the same few microseconds, and
a worker that is killed lets go. Times are of the monotonic clock, which all processes of a machine share until it
restarts: that is why a supervisor makes the file anew.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import math
import mmap
import os
import time
from typing import TYPE_CHECKING

from tiny_dancer.errors import StorageError
from tiny_dancer.gateway.access.limits import EARLY, rates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# A slot: 16 bytes of the name's hash, zero where free; the moment of emptiness, float64; 8 bytes unused.
_SLOT = 32
_SLOTS = 65_536
_FREE = bytes(16)
_LONG_AGO = -1e300


def create(path: Path) -> None:
    """Makes an empty table, readable and writable for this user only.

    Processes that still use an earlier one of this path keep it, until they open this one.

    Raises:
        StorageError: the file cannot be written.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            # All of it: writing to a map where the disk has no room would end the process.
            if os.pwrite(descriptor, bytes(_SLOT * _SLOTS), 0) < _SLOT * _SLOTS:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
        part.replace(path)
    except OSError as error:
        raise StorageError(str(path), error.strerror, "put the limits where files can be written") from None


class SharedLimits:
    """The table, opened by one worker. Belongs to one thread."""

    def __init__(self, path: Path) -> None:
        """Opens the table of :func:`create`.

        Raises:
            StorageError: there is none, or it is another kind of file.
        """
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError(str(path), error.strerror, "the supervisor makes it: see create") from None
        if os.fstat(self._descriptor).st_size != _SLOT * _SLOTS:
            os.close(self._descriptor)
            raise StorageError(str(path), "no table of limits", "give the path that create was given")
        self._map = mmap.mmap(self._descriptor, _SLOT * _SLOTS)
        self._numbers = memoryview(self._map).cast("d")

    def bucket(
        self,
        name: str,
        per_minute: float,
        *,
        capacity: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> SharedBucket:
        """The bucket of this name; full where no process has asked for it before.

        Args:
            name: the same in every process.
            per_minute: tokens gained a minute, the same in every process.
            capacity: most tokens held; a minute's worth by default.
            clock: seconds that never go back, the same in every process.

        Raises:
            OptionError: a number that is not finite and above 0.
            StorageError: the table is full.
        """
        seconds, most = rates(per_minute, capacity)
        place = self._slot(hashlib.blake2b(name.encode(), digest_size=16).digest())
        return SharedBucket(self._descriptor, self._numbers, place, seconds, most, clock)

    def close(self) -> None:
        """Lets go of the file; buckets of it can no longer be used."""
        self._numbers.release()
        self._map.close()
        os.close(self._descriptor)

    def _slot(self, digest: bytes) -> int:
        # One lock for the whole table, on a byte behind it: slots are claimed once per name.
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, _SLOT * _SLOTS)
        try:
            first = int.from_bytes(digest[:8], "little")
            for step in range(_SLOTS):
                place = (first + step) % _SLOTS
                start = place * _SLOT
                found = self._map[start : start + 16]
                if found == digest:
                    return place
                if found == _FREE:
                    self._numbers[place * 4 + 2] = _LONG_AGO
                    self._map[start : start + 16] = digest
                    return place
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, _SLOT * _SLOTS)
        raise StorageError("limits", f"{_SLOTS:,} buckets", "restart the gateway: keys long gone hold places")


class SharedBucket:
    """A bucket that several processes take from; as :class:`.limits.TokenBucket` otherwise."""

    __slots__ = ("_clock", "_descriptor", "_numbers", "_place", "_seconds", "_span", "_start", "capacity")

    def __init__(
        self,
        descriptor: int,
        numbers: memoryview[float],
        place: int,
        seconds: float,
        capacity: float,
        clock: Callable[[], float],
    ) -> None:
        self._descriptor = descriptor
        self._numbers = numbers
        self._place = place * (_SLOT // 8) + 2
        self._start = self._place * 8
        self._seconds = seconds
        self.capacity = capacity
        self._span = seconds * capacity
        self._clock = clock

    def take(self, amount: float = 1.0) -> float:
        """As :meth:`tiny_dancer.gateway.access.limits.Bucket.take`."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 8, self._start)
        try:
            # Read under the lock: a moment read before waiting for it could lie before another worker's.
            now = self._clock()
            empty_at = self._after(now, amount)
            if empty_at <= now + EARLY:
                self._numbers[self._place] = empty_at
                return 0.0
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 8, self._start)
        return math.inf if amount > self.capacity else empty_at - now

    def wait(self, amount: float = 1.0) -> float:
        """As :meth:`tiny_dancer.gateway.access.limits.Bucket.wait`."""
        now = self._clock()
        empty_at = self._after(now, amount)
        if empty_at <= now + EARLY:
            return 0.0
        return math.inf if amount > self.capacity else empty_at - now

    def charge(self, amount: float) -> None:
        """As :meth:`tiny_dancer.gateway.access.limits.Bucket.charge`."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 8, self._start)
        try:
            self._numbers[self._place] = self._after(self._clock(), amount)
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 8, self._start)

    def level(self) -> float:
        """As :meth:`tiny_dancer.gateway.access.limits.Bucket.level`."""
        return min((self._clock() - self._numbers[self._place]) / self._seconds, self.capacity)

    def full_in(self) -> float:
        """As :meth:`tiny_dancer.gateway.access.limits.Bucket.full_in`."""
        return max(self._numbers[self._place] + self._span - self._clock(), 0.0)

    def _after(self, now: float, amount: float) -> float:
        return max(self._numbers[self._place], now - self._span) + amount * self._seconds
