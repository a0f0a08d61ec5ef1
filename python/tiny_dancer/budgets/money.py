"""What keys have spent and reserved: a table of whole numbers that all workers of a gateway share.

The supervisor makes the file (:func:`create`), every worker maps it; a gateway of one worker has it in its own
memory. A row belongs to one budget of one key. It holds two periods (the present one and the last, or the next to
come after a clock was set back), each with what was spent and, by process, what is reserved. A row is changed
under an ``fcntl`` lock on its bytes, which a worker that is killed lets go of; each number is written in one
piece.

A process has a *seat*, a number it holds by a lock for as long as it lives
(:mod:`tiny_dancer.gateway.account.spool`). What a process that was
killed had reserved may have been spent: :meth:`MoneyTable.end_seat` counts it as spent. So a budget is never
exceeded by what nobody lived to count.

Money is in units of 10⁻¹² USD here, so that sums are exact and what was reserved comes back to nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from tiny_dancer.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

UNITS: Final = 1_000_000_000_000
SEATS: Final = 64
"""Processes at a time."""

_ROWS: Final = 65_536
# USD of 9 million; budgets and sums beyond are taken for it.
_MOST: Final = 2**63 - 1
_UNKNOWN: Final = -1
# A period nobody has begun.
_NONE: Final = -1
# Within a period, and within a row, in numbers of 8 bytes.
_SPENT, _RESERVED = 1, 2
_HASH, _PERIODS = 0, 2
# Before the rows: how many there are, and which seats are taken.
_COUNT, _TAKEN = 0, 1


def units(usd: float) -> int:
    """USD as whole units, the nearest."""
    return min(round(usd * UNITS), _MOST)


def create(path: Path) -> None:
    """Makes an empty table, readable and writable for this user only.

    Raises:
        StorageError: the file cannot be written.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _take_room(descriptor, 8 * (_TAKEN + SEATS), 0)
            os.truncate(descriptor, _size(SEATS))
        finally:
            os.close(descriptor)
        part.replace(path)
    except OSError as error:
        raise StorageError(str(path), error.strerror, "put the budgets where files can be written") from None


def _take_room(descriptor: int, size: int, at: int) -> None:
    """Has the disk hold this part of the file: writing to a map of what it has no room for would end the process.

    Raises:
        StorageError: the disk is full.
    """
    try:
        whole = os.pwrite(descriptor, bytes(size), at) == size
    except OSError as error:
        raise StorageError("budgets", error.strerror, "free space on the disk") from None
    if not whole:
        raise StorageError("budgets", "the disk is full", "free space on the disk")


def _size(seats: int) -> int:
    return 8 * (_TAKEN + seats + _ROWS * (_PERIODS + 2 * (_RESERVED + seats)))


class State(NamedTuple):
    """How a budget stands in a period.

    Attributes:
        spent: units; None where nobody has read yet what was spent before.
        reserved: units, by all processes.
    """

    spent: int | None
    reserved: int


class MoneyTable:
    """The table, opened by one process. Belongs to one thread."""

    def __init__(self, path: Path | None = None) -> None:
        """Opens the table of :func:`create`. Before anything is changed there a seat is taken (:meth:`sit`).

        Args:
            path: of the file; None: a table of this process alone, which needs no seat.

        Raises:
            StorageError: there is none, or it is another kind of file.
        """
        seats = 1 if path is None else SEATS
        self._descriptor: int | None = None
        if path is not None:
            try:
                self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except OSError as error:
                raise StorageError(str(path), error.strerror, "the supervisor makes it: see create") from None
            if os.fstat(self._descriptor).st_size != _size(seats):
                os.close(self._descriptor)
                raise StorageError(str(path), "no table of budgets", "give the path that create was given")
        self._seat = 0
        self._seats = seats
        self._map = mmap.mmap(-1 if self._descriptor is None else self._descriptor, _size(seats))
        self._numbers = memoryview(self._map).cast("q")
        self._first = _TAKEN + seats
        self._period = _RESERVED + seats
        self._row = _PERIODS + 2 * self._period
        self._rows: dict[tuple[int, int], int] = {}

    def has(self, seat: int) -> bool:
        """Whether a process has taken this seat of the table, and was killed since or has it still."""
        return bool(self._numbers[_TAKEN + seat]) if seat < self._seats else False

    def sit(self, seat: int) -> None:
        """Takes a seat of the table, whose number no other process has now."""
        if self._descriptor is not None:
            # Of one who had it before and was killed.
            self.end_seat(seat)
            self._seat = seat
            self._numbers[_TAKEN + seat] = 1

    def row(self, name: str) -> int:
        """Where the budget of this name is kept; made where no process has asked for it before.

        Raises:
            StorageError: the table is full, or the disk.
        """
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        low, high = (int.from_bytes(half, "little", signed=True) for half in (digest[:8], digest[8:]))
        if (found := self._rows.get((low, high))) is not None:
            return found
        numbers = self._numbers
        self._lock(8 * _COUNT)
        try:
            count = numbers[_COUNT]
            for each in range(len(self._rows), count):
                at = self._first + each * self._row
                self._rows[numbers[at], numbers[at + 1]] = at
            if (found := self._rows.get((low, high))) is not None:
                return found
            if count >= _ROWS:
                raise StorageError(
                    "budgets", f"{_ROWS:,} of them", "restart the gateway: keys long gone hold places"
                )
            at = self._first + count * self._row
            if self._descriptor is not None:
                _take_room(self._descriptor, 8 * self._row, 8 * at)
            numbers[at], numbers[at + 1] = low, high
            for begun in (at + _PERIODS, at + _PERIODS + self._period):
                numbers[begun] = _NONE
            # Last: a process that is killed before leaves no half of a row.
            numbers[_COUNT] = count + 1
            self._rows[low, high] = at
            return at
        finally:
            self._unlock(8 * _COUNT)

    def state(self, row: int, start: float) -> State:
        """How a budget stands in the period that begins at ``start``; nothing changes."""
        at = self._find(row, start)
        if at is None:
            return State(self._before(row, start), 0)
        spent = self._numbers[at + _SPENT]
        return State(None if spent < 0 else spent, self._reserved(at))

    def reserve(self, row: int, start: float, amount: int, limit: int | None) -> State | None:
        """Reserves an amount for this process, unless that with what is spent and reserved exceeds ``limit``.

        Args:
            row: of the budget.
            start: of the period.
            amount: units.
            limit: units; None: whatever it comes to.

        Returns:
            None where it is reserved; else how the budget stands.
        """
        self._lock(8 * row)
        try:
            at = self._begin(row, start)
            spent = self._numbers[at + _SPENT]
            if limit is not None:
                reserved = self._reserved(at)
                if spent < 0:
                    return State(None, reserved)
                if spent + reserved + amount > limit:
                    return State(spent, reserved)
            self._numbers[at + _RESERVED + self._seat] += amount
            return None
        finally:
            self._unlock(8 * row)

    def settle(self, row: int, start: float, reserved: int, spent: int) -> None:
        """Counts what was spent, and lets go of what this process had reserved for it, in the same period.

        A period that is over and forgotten changes nothing any more: the ledger has it.
        """
        self._lock(8 * row)
        try:
            at = self._begin(row, start) if spent and not reserved else self._find(row, start)
            if at is None:
                return
            numbers = self._numbers
            # Spent first: a process that is killed in between has counted too much, for a moment.
            if spent and numbers[at + _SPENT] >= 0:
                numbers[at + _SPENT] = min(numbers[at + _SPENT] + spent, _MOST)
            if reserved:
                numbers[at + _RESERVED + self._seat] -= reserved
        finally:
            self._unlock(8 * row)

    def learn(self, row: int, start: float, spent: int) -> None:
        """What the ledger says was spent in a period: no less is counted from now on."""
        at = self._find(row, start)
        if at is not None and self._numbers[at + _SPENT] >= spent:
            return
        self._lock(8 * row)
        try:
            at = self._begin(row, start)
            self._numbers[at + _SPENT] = max(self._numbers[at + _SPENT], spent)
        finally:
            self._unlock(8 * row)

    def end_seat(self, seat: int) -> None:
        """Counts as spent what a process had reserved that is no more; its seat is free then."""
        if self._descriptor is None or not self._numbers[_TAKEN + seat]:
            return
        numbers = self._numbers
        for each in range(numbers[_COUNT]):
            row = self._first + each * self._row
            for at in (row + _PERIODS, row + _PERIODS + self._period):
                if numbers[at + _RESERVED + seat]:
                    self._lock(8 * row)
                    try:
                        if numbers[at + _SPENT] >= 0:
                            numbers[at + _SPENT] = min(
                                numbers[at + _SPENT] + max(numbers[at + _RESERVED + seat], 0), _MOST
                            )
                        numbers[at + _RESERVED + seat] = 0
                    finally:
                        self._unlock(8 * row)
        numbers[_TAKEN + seat] = 0

    def close(self) -> None:
        """Gives up the seat and lets go of the file; nothing of this process may be reserved any more."""
        self._numbers[_TAKEN + self._seat] = 0
        self._numbers.release()
        self._map.close()
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _reserved(self, at: int) -> int:
        first = at + _RESERVED
        return sum(self._numbers[first : first + self._seats])

    def _find(self, row: int, start: float) -> int | None:
        key, first = _key(start), row + _PERIODS
        if self._numbers[first] == key:
            return first
        second = first + self._period
        return second if self._numbers[second] == key else None

    def _before(self, row: int, start: float) -> int | None:
        """What was spent in a period that has no place yet: nothing where it follows those that have."""
        first = row + _PERIODS
        latest = max(self._numbers[first], self._numbers[first + self._period])
        return 0 if _NONE < latest < _key(start) else None

    def _begin(self, row: int, start: float) -> int:
        """The place of a period, in that of the older of the two where it has none."""
        if (at := self._find(row, start)) is not None:
            return at
        numbers, first = self._numbers, row + _PERIODS
        second = first + self._period
        at = first if numbers[first] <= numbers[second] else second
        spent = self._before(row, start)
        # The start last, so that nobody takes the numbers of another period for this one's.
        numbers[at] = _NONE
        for each in range(at + _RESERVED, at + self._period):
            numbers[each] = 0
        numbers[at + _SPENT] = _UNKNOWN if spent is None else spent
        numbers[at] = _key(start)
        return at

    def _lock(self, at: int) -> None:
        if self._descriptor is not None:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 8, at)

    def _unlock(self, at: int) -> None:
        if self._descriptor is not None:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 8, at)


def _key(start: float) -> int:
    """A period's start as a whole number; in milliseconds, as none is shorter than a second."""
    return round(start * 1000)
