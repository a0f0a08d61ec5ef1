"""What budgets have spent and reserved: a table of whole numbers that processes share.

Two make use of it. A gateway's supervisor makes the file (:func:`create`), every worker maps it, and what its keys
have spent is learnt from the log of requests; a gateway of one worker has it in its own memory. Budgets of any
scope (:mod:`tiny_dancer.budgets.keeping`) have it beside their database (:func:`shared`), and draw from the ledger
there.

A row belongs to one budget. It holds two periods (the present one and the last, or the next to come after a clock
was set back), each with what was spent and drawn and, by process, what is reserved; or the parts of a rolling
window. A row is changed under an ``fcntl`` lock on its bytes, which a process that is killed lets go of; each
number is written in one piece.

A process has a *seat*, a number it holds by a lock for as long as it lives. What a process that was killed had
reserved may have been spent: :meth:`MoneyTable.end_seat` counts it as spent, and so does
:meth:`MoneyTable.end_lost` for one that lives and has stopped. So a budget is never exceeded by what nobody lived
to count.

Money is in units of 10⁻¹² USD here, so that sums are exact and what was reserved comes back to nothing.
"""

from __future__ import annotations

import glob
import hashlib
import mmap
import os
import secrets
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tiny_dancer.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

if sys.platform != "win32":
    import fcntl

UNITS: Final = 1_000_000_000_000
SEATS: Final = 64
"""Processes at a time."""

_ROWS: Final = 65_536
MOST: Final = 2**63 - 1
"""9 million USD, which is what a number holds: what is spent beyond is taken for it, and no more is reserved."""
_UNKNOWN: Final = -1
# A period nobody has begun.
NONE: Final = -1
# Within a period: when it began, what was spent, what was drawn from the ledger, and reserved by seat.
SPENT, DRAWN, RESERVED = 1, 2, 3
# Within a row: its name, the milliseconds of a part where it is of a rolling window, and its periods.
_LENGTH, PERIODS = 2, 3
# A rolling one has instead the present part, what was drawn in it, and what others have drawn in the window; then
# what is reserved by seat, and starts and sums of so many parts.
PRESENT, PRESENT_DRAWN, OTHERS, ROLLING_RESERVED = 3, 4, 5, 6
RING: Final = 32
# Before the rows: how many there are; what tells the table from others; seats in use at most; and by seat, whether
# it # is taken, when it was last heard of, and how often it was taken from one that had stopped.
_COUNT, _KIND, _BOOT, _CONTENT, _HOLDER, _HIGH, _TAKEN = range(7)
# Locked while seats of processes that have stopped are taken from them.
_ENDING: Final = _KIND
_OURS: Final = 0x7464_6D6F_6E65_7902
# Another process holds a lock for microseconds. Who waits so long waits for one that has stopped.
_PATIENCE_S: Final = 10.0
# Making a table takes milliseconds.
_ABANDONED_S: Final = 600.0


def units(usd: float) -> int:
    """USD as whole units, the nearest."""
    return round(usd * UNITS) if usd < MOST / UNITS else MOST


def create(path: Path) -> None:
    """Makes an empty table, readable and writable for this user only.

    Raises:
        StorageError: the file cannot be written.
    """
    try:
        part = _empty(path, (0, 0), set())
        part.replace(path)
    except OSError as error:
        raise _unusable(path, error) from None


def shared(path: Path, content: str) -> MoneyTable:
    """The table at ``path``, made where there is none of this content, and of this start of the machine: what a
    map held when the power went is not to be trusted, and the ledger knows what was drawn.

    Raises:
        StorageError: the file cannot be written.
    """
    told = (_number(_boot()), _number(content))
    made: set[int] = set()
    try:
        while True:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                _place(_empty(path, told, made), path)
                continue
            if _matches(descriptor, told, made):
                _clear(path)
                return MoneyTable(path, descriptor)
            _replace_other(descriptor, path, told, made)
    except OSError as error:
        raise _unusable(path, error) from None


def _clear(path: Path) -> None:
    """Removes what was to be a table, and whose maker was killed."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.new"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > _ABANDONED_S:
                part.unlink()


def _matches(descriptor: int, told: tuple[int, int], made: set[int]) -> bool:
    if os.fstat(descriptor).st_size != _size(SEATS):
        return False
    head = memoryview(os.pread(descriptor, 8 * _TAKEN, 0)).cast("q")
    if head[_KIND] != _OURS or (head[_BOOT], head[_CONTENT]) != told:
        return False
    # Where the system does not tell one start from the next, somebody who lives since vouches for it.
    return told[0] != _number("") or head[_HOLDER] in made or _is_used(descriptor)


def _is_used(descriptor: int) -> bool:
    for seat in range(SEATS):
        if not _try_seat(descriptor, seat):
            return True
        _leave_seat(descriptor, seat)
    return False


def _replace_other(descriptor: int, path: Path, told: tuple[int, int], made: set[int]) -> None:
    """Puts an empty table in the place of one that is another's, once, whoever does."""
    try:
        _wait(descriptor, 8 * _COUNT)
        with suppress(FileNotFoundError):
            found, own = path.stat(), os.fstat(descriptor)
            if (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino):
                _empty(path, told, made).replace(path)
    finally:
        os.close(descriptor)


def _place(part: Path, path: Path) -> None:
    """Names a table so, where no other has the name yet."""
    try:
        os.link(part, path)
    except FileExistsError:
        pass
    except OSError:
        # No second names on this disk. Two tables of one name count as two holders, and exceed nothing.
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _empty(path: Path, told: tuple[int, int], made: set[int]) -> Path:
    """A table that nobody has, to be named; ``made`` gets its holder."""
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.new")
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _take_room(descriptor, 8 * _first_row(SEATS), 0)
        head = [0] * _TAKEN
        head[_KIND], head[_BOOT], head[_CONTENT] = _OURS, *told
        head[_HOLDER] = secrets.randbits(62) + 1
        made.add(head[_HOLDER])
        os.pwrite(descriptor, b"".join(each.to_bytes(8, sys.byteorder, signed=True) for each in head), 0)
        os.truncate(descriptor, _size(SEATS))
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return part


def _unusable(path: Path, error: OSError) -> StorageError:
    return StorageError(str(path), error.strerror, "put the budgets where files can be written")


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def _boot() -> str:
    """What tells this start of the machine from the last one; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


def _try_seat(descriptor: int, seat: int) -> bool:
    """Takes the lock of a seat, unless another process has it."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 8, 8 * (_TAKEN + seat))
    except (BlockingIOError, PermissionError):
        return False
    return True


def _leave_seat(descriptor: int, seat: int) -> None:
    fcntl.lockf(descriptor, fcntl.LOCK_UN, 8, 8 * (_TAKEN + seat))


def _wait(descriptor: int, at: int) -> None:
    """Locks eight bytes.

    Raises:
        StorageError: another process has kept them locked: it has stopped.
    """
    pause, deadline = 0.0, 0.0
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 8, at)
        except (BlockingIOError, PermissionError):
            now = time.monotonic()
            if not deadline:
                deadline = now + _PATIENCE_S
            elif now > deadline:
                raise StorageError(
                    "budgets", f"locked for {_PATIENCE_S:g} s", "end the process that has stopped while it wrote"
                ) from None
            time.sleep(pause)
            pause = min(pause + 0.000_02, 0.002)
        else:
            return


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


def _first_row(seats: int) -> int:
    return _TAKEN + 3 * seats


def _row_length(seats: int) -> int:
    return max(PERIODS + 2 * (RESERVED + seats), ROLLING_RESERVED + seats + 2 * RING)


def _size(seats: int) -> int:
    return 8 * (_first_row(seats) + _ROWS * _row_length(seats))


class State(NamedTuple):
    """How a budget stands in a period.

    Attributes:
        spent: units; None where nobody has read yet what was spent before.
        reserved: units, by all processes.
    """

    spent: int | None
    reserved: int


class MoneyTable:
    """The table, opened by one process, of which it may be changed by one thread at a time: each change holds a
    lock.

    Attributes:
        holder: a number that no other table has.
        numbers: all of it; rows are places in it. To be read and changed between :meth:`lock` and :meth:`unlock`.
        seats: most processes at a time.
        seat: of this process.
    """

    def __init__(self, path: Path | None = None, descriptor: int | None = None) -> None:
        """Opens the table of :func:`create`. Before anything is changed there a seat is taken (:meth:`sit`).

        Args:
            path: of the file; None: a table of this process alone, which needs no seat.
            descriptor: of the file, where it is open already; it is closed with the table.

        Raises:
            StorageError: there is none, or it is another kind of file.
        """
        self.seats = seats = 1 if path is None else SEATS
        self.path = path
        self._descriptor = descriptor
        if path is not None and descriptor is None:
            try:
                self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except OSError as error:
                raise StorageError(str(path), error.strerror, "the supervisor makes it: see create") from None
            if os.fstat(self._descriptor).st_size != _size(seats):
                os.close(self._descriptor)
                raise StorageError(str(path), "no table of budgets", "give the path that create was given")
        self.seat = 0
        self._map = mmap.mmap(-1 if self._descriptor is None else self._descriptor, _size(seats))
        self.numbers = memoryview(self._map).cast("q")
        self._first = _first_row(seats)
        self._beats = _TAKEN + seats
        self._ends = self._beats + seats
        self._period = RESERVED + seats
        self._row = _row_length(seats)
        self.ring = ROLLING_RESERVED + seats
        self._rows: dict[tuple[int, int], int] = {}
        self._mutex = threading.Lock()
        self._ending = threading.Lock()
        self._process = os.getpid()
        self._ended = 0
        if path is None:
            self.numbers[_HOLDER] = secrets.randbits(62) + 1
            self.numbers[_HIGH] = 1
        self.holder = self.numbers[_HOLDER]

    def has(self, seat: int) -> bool:
        """Whether a process has taken this seat of the table, and was killed since or has it still."""
        return bool(self.numbers[_TAKEN + seat]) if seat < self.seats else False

    def sit(self, seat: int) -> None:
        """Takes a seat of the table, whose number no other process has now."""
        if self._descriptor is not None:
            # Of one who had it before and was killed.
            self.end_seat(seat)
            self._have(seat)

    def take_seat(self) -> None:
        """Takes the first seat that nobody has, and holds it by a lock.

        Raises:
            StorageError: all are taken.
        """
        if self._descriptor is None:
            return
        for seat in range(self.seats):
            if _try_seat(self._descriptor, seat):
                self.end_seat(seat)
                self._have(seat)
                self.beat()
                return
        raise StorageError(str(self.path), f"{self.seats} processes count there", "end those that are not needed")

    def _have(self, seat: int) -> None:
        self.seat = seat
        self._lock(_COUNT)
        try:
            self.numbers[_HIGH] = max(self.numbers[_HIGH], seat + 1)
            self._ended = self.numbers[self._ends + seat]
            self.numbers[_TAKEN + seat] = 1
        finally:
            self._unlock(_COUNT)

    def beat(self) -> None:
        """Says that this process lives; and takes its seat anew where it was taken for stopped.

        Raises:
            StorageError: another process, which has stopped, is in the way.
        """
        numbers = self.numbers
        numbers[self._beats + self.seat] = _milliseconds()
        if numbers[self._ends + self.seat] != self._ended:
            # Who ends a seat holds this lock while it does: what is reserved from now on is not taken for the old.
            with self._ending_seats():
                numbers[self._beats + self.seat] = _milliseconds()
                self._ended = numbers[self._ends + self.seat]

    @property
    def term(self) -> int:
        """How often this process was taken for stopped, as far as it knows: what it reserved in an earlier term
        was counted as spent."""
        return self._ended

    def stands(self, term: int) -> bool:
        """Whether what was reserved in a term is reserved still; where it is to be held, between lock and
        unlock."""
        return term == self._ended == self.numbers[self._ends + self.seat]

    def end_lost(self, patience_s: float) -> int:
        """Counts as spent what processes have reserved that were killed, or not heard of for so long; how many."""
        if self._descriptor is None:
            return 0
        ended = 0
        for seat in range(self.numbers[_HIGH]):
            if seat == self.seat or not self.numbers[_TAKEN + seat]:
                continue
            if _try_seat(self._descriptor, seat):
                try:
                    self.end_seat(seat)
                    ended += 1
                finally:
                    _leave_seat(self._descriptor, seat)
            elif _milliseconds() - self.numbers[self._beats + seat] > patience_s * 1000 and self._holds(seat):
                with self._ending_seats():
                    self.numbers[self._ends + seat] += 1
                    self._count_reserved(seat)
                    ended += 1
        return ended

    @contextmanager
    def _ending_seats(self) -> Iterator[None]:
        with self._ending:
            if self._descriptor is not None:
                _wait(self._descriptor, 8 * _ENDING)
            try:
                yield
            finally:
                if self._descriptor is not None:
                    fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 8, 8 * _ENDING)

    def rows(self) -> Iterable[int]:
        """Where each budget is kept."""
        return range(self._first, self._first + self.numbers[_COUNT] * self._row, self._row)

    def row(self, name: str, length: int = 0) -> int:
        """Where the budget of this name is kept; made where no process has asked for it before.

        Args:
            name: of the budget.
            length: milliseconds of a part, where it is of a rolling window.

        Raises:
            StorageError: the table is full, or the disk.
        """
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        low, high = (int.from_bytes(half, "little", signed=True) for half in (digest[:8], digest[8:]))
        if (found := self._rows.get((low, high))) is not None:
            return found
        numbers = self.numbers
        self._lock(_COUNT)
        try:
            count = numbers[_COUNT]
            for each in range(len(self._rows), count):
                at = self._first + each * self._row
                self._rows[numbers[at], numbers[at + 1]] = at
            if (found := self._rows.get((low, high))) is not None:
                return found
            if count >= _ROWS:
                remedy = "end all that use the table and delete it: budgets long gone hold places"
                raise StorageError("budgets", f"{_ROWS:,} of them", remedy)
            at = self._first + count * self._row
            if self._descriptor is not None:
                _take_room(self._descriptor, 8 * self._row, 8 * at)
            numbers[at], numbers[at + 1] = low, high
            numbers[at + _LENGTH] = length
            # All of them starts: of either period, or of the present part and those of the ring.
            firsts = (at + PRESENT, *range(at + self.ring, at + self.ring + 2 * RING, 2)) if length else ()
            for begun in firsts or (at + PERIODS, at + PERIODS + self._period):
                numbers[begun] = NONE
            # Last: a process that is killed before leaves no half of a row.
            numbers[_COUNT] = count + 1
            self._rows[low, high] = at
            return at
        finally:
            self._unlock(_COUNT)

    def state(self, row: int, start: float) -> State:
        """How a budget stands in the period that begins at ``start``; nothing changes."""
        at = self.find(row, start)
        if at is None:
            return State(self._before(row, start), 0)
        spent = self.numbers[at + SPENT]
        return State(None if spent < 0 else spent, self._reserved(at))

    def reserve(self, row: int, start: float, amount: int, limit: int | None) -> State | None:
        """Reserves an amount for this process, unless that with what is spent and reserved exceeds ``limit``.

        Args:
            row: of the budget.
            start: of the period.
            amount: units.
            limit: units; None: whatever it comes to, up to :data:`MOST`.

        Returns:
            None where it is reserved; else how the budget stands.
        """
        self.lock((row,))
        try:
            at = self._begin(row, start)
            spent = self.numbers[at + SPENT]
            reserved = self._reserved(at)
            if limit is not None and spent < 0:
                return State(None, reserved)
            if max(spent, 0) + reserved + amount > (MOST if limit is None else limit):
                return State(max(spent, 0), reserved)
            self.numbers[at + RESERVED + self.seat] += amount
            return None
        finally:
            self.unlock()

    def settle(self, row: int, start: float, reserved: int, spent: int) -> None:
        """Counts what was spent, and lets go of what this process had reserved for it, in the same period.

        A period that is over and forgotten changes nothing any more: the ledger has it.
        """
        self.lock((row,))
        try:
            at = self._begin(row, start) if spent and not reserved else self.find(row, start)
            if at is None:
                return
            numbers = self.numbers
            # Spent first: a process that is killed in between has counted too much, for a moment.
            if spent and numbers[at + SPENT] >= 0:
                numbers[at + SPENT] = min(numbers[at + SPENT] + spent, MOST)
            if reserved:
                numbers[at + RESERVED + self.seat] -= reserved
        finally:
            self.unlock()

    def learn(self, row: int, start: float, spent: int) -> None:
        """What the ledger says was spent in a period: no less is counted from now on."""
        at = self.find(row, start)
        if at is not None and self.numbers[at + SPENT] >= spent:
            return
        self.lock((row,))
        try:
            at = self._begin(row, start)
            self.numbers[at + SPENT] = max(self.numbers[at + SPENT], spent)
        finally:
            self.unlock()

    def end_seat(self, seat: int) -> None:
        """Counts as spent what a process had reserved that is no more; its seat is free then."""
        if self._descriptor is None or not self.numbers[_TAKEN + seat]:
            return
        self._count_reserved(seat)
        self.numbers[_TAKEN + seat] = 0

    def _count_reserved(self, seat: int) -> None:
        numbers = self.numbers
        for row in self.rows():
            for at, spent in self._places(row):
                if numbers[at + seat]:
                    self.lock((row,))
                    try:
                        # Again, now that nobody else writes.
                        for at, spent in self._places(row):
                            if numbers[at + seat] and numbers[spent] >= 0:
                                numbers[spent] = min(numbers[spent] + max(numbers[at + seat], 0), MOST)
                            numbers[at + seat] = 0
                    finally:
                        self.unlock()

    def _holds(self, seat: int) -> bool:
        return any(self.numbers[at + seat] for row in self.rows() for at, _ in self._places(row))

    def _places(self, row: int) -> Sequence[tuple[int, int]]:
        """Where a row has what is reserved, and where that goes when it is spent."""
        if length := self.numbers[row + _LENGTH]:
            part = max(self.numbers[row + PRESENT], 0) // length % RING
            return ((row + ROLLING_RESERVED, row + self.ring + 2 * part + 1),)
        first = row + PERIODS
        second = first + self._period
        return ((first + RESERVED, first + SPENT), (second + RESERVED, second + SPENT))

    def close(self) -> None:
        """Gives up the seat and lets go of the file; nothing of this process may be reserved any more."""
        if os.getpid() == self._process:
            self.numbers[_TAKEN + self.seat] = 0
        self.numbers.release()
        self._map.close()
        if self._descriptor is not None:
            os.close(self._descriptor)

    def is_in_place(self) -> bool:
        """Whether who asks for the table by its path finds this one."""
        if self.path is None or self._descriptor is None:
            return True
        try:
            found = self.path.stat()
        except OSError:
            return False
        own = os.fstat(self._descriptor)
        return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)

    def reserved(self, first: int) -> int:
        """By all processes together; ``first`` is the place of that of seat 0."""
        if self.seats == 1:
            return self.numbers[first]
        return sum(self.numbers[first : first + self.numbers[_HIGH]])

    def _reserved(self, at: int) -> int:
        return self.reserved(at + RESERVED)

    def find(self, row: int, start: float) -> int | None:
        """Where a row has the period that began at ``start``."""
        return self.find_key(row, _key(start))

    def find_key(self, row: int, key: int) -> int | None:
        """Where a row has the period that began at these milliseconds."""
        first = row + PERIODS
        if self.numbers[first] == key:
            return first
        second = first + self._period
        return second if self.numbers[second] == key else None

    def _before(self, row: int, start: float) -> int | None:
        """What was spent in a period that has no place yet: nothing where it follows those that have."""
        first = row + PERIODS
        latest = max(self.numbers[first], self.numbers[first + self._period])
        return 0 if NONE < latest < _key(start) else None

    def _begin(self, row: int, start: float) -> int:
        """The place of a period, in that of the older of the two where it has none."""
        if (at := self.find(row, start)) is not None:
            return at
        spent = self._before(row, start)
        return self.begin_key(row, _key(start), _UNKNOWN if spent is None else spent, 0)

    def periods(self, row: int) -> tuple[int, int]:
        """Where the two periods of a row are."""
        return row + PERIODS, row + PERIODS + self._period

    def begin_key(self, row: int, key: int, spent: int, drawn: int) -> int:
        """Gives a period the place of the older of the two there are."""
        numbers, first = self.numbers, row + PERIODS
        second = first + self._period
        at = first if numbers[first] <= numbers[second] else second
        # The start last, so that nobody takes the numbers of another period for this one's.
        numbers[at] = NONE
        for each in range(at + RESERVED, at + self._period):
            numbers[each] = 0
        numbers[at + SPENT], numbers[at + DRAWN] = spent, drawn
        numbers[at] = key
        return at

    def lock(self, rows: Iterable[int]) -> None:
        """Keeps others from changing rows, given in ascending order, until :meth:`unlock`.

        Raises:
            StorageError: another process has stopped while it wrote, or this one is a fork of the one that opened.
        """
        if os.getpid() != self._process:
            raise StorageError(
                str(self.path or "budgets"), "opened before a fork", "open it again in this process"
            )
        self._mutex.acquire()
        if (descriptor := self._descriptor) is not None:
            try:
                for row in rows:
                    _wait(descriptor, 8 * row)
            except BaseException:
                self.unlock()
                raise

    def unlock(self) -> None:
        """Lets go of all rows."""
        if self._descriptor is not None:
            # What is behind the head, up to where the locks on draws begin.
            begin = 8 * self._first
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, _size(self.seats) - begin, begin)
        self._mutex.release()

    def lock_draws(self, row: int) -> None:
        """Keeps other processes from drawing for a row; threads of this one see to that themselves."""
        if self._descriptor is not None:
            _wait(self._descriptor, _size(self.seats) + 8 * row)

    def unlock_draws(self, row: int) -> None:
        """Lets others draw."""
        if self._descriptor is not None:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 8, _size(self.seats) + 8 * row)

    def _lock(self, at: int) -> None:
        """Locks a number of the head, and keeps the other threads from the table."""
        self._mutex.acquire()
        try:
            if self._descriptor is not None:
                _wait(self._descriptor, 8 * at)
        except BaseException:
            self._mutex.release()
            raise

    def _unlock(self, at: int) -> None:
        if self._descriptor is not None:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 8, 8 * at)
        self._mutex.release()


def _milliseconds() -> int:
    return time.monotonic_ns() // 1_000_000


def _key(start: float) -> int:
    """A period's start as a whole number; in milliseconds, as none is shorter than a second."""
    return round(start * 1000)
