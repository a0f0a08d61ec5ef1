"""One thread that writes, many writes at once.

A commit waits for the disk, so the writer takes everything that is queued, writes it in one transaction and then
tells each caller (group commit). Other processes do the same; SQLite lets one in at a time and the writer waits
its turn.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from tiny_dancer.errors import StorageError, TinyDancerError
from tiny_dancer.storage.history import RoutingRecord
from tiny_dancer.storage.sqlite import candidates, history
from tiny_dancer.storage.sqlite.connection import retrying, storage_error, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from tiny_dancer.storage.touches import Touch

T = TypeVar("T")

# Accesses wait this long for others, for each batch of them costs other processes a look at the rows it touched.
TOUCH_SECONDS = 1.0
# In one transaction: enough to share the wait for the disk, few enough to let other processes in.
AT_ONCE = 4096


# What one write of the batch may be too large for, and its neighbours not: they are tried apart.
_TOO_LARGE = (apsw.FullError, apsw.NoMemError, apsw.TooBigError, MemoryError)


@dataclass(frozen=True, slots=True)
class _Write:
    """A write whose caller waits. ``alone``: outside a transaction, as VACUUM and restore need."""

    action: Callable[[apsw.Connection], Any]
    done: Future[Any]
    alone: bool


@dataclass(frozen=True, slots=True)
class _Told:
    """What the caller of a write is told when the transaction has ended."""

    write: _Write
    result: Any
    error: BaseException | None


@dataclass(slots=True)
class _Lost:
    """What could not be written and nobody waited for."""

    records: int = 0
    accesses: int = 0
    first: BaseException | None = None

    def add(self, error: BaseException, *, records: int = 0, accesses: int = 0) -> None:
        self.records += records
        self.accesses += accesses
        self.first = self.first or error


class _UndoneError(Exception):
    """One write has undone the transaction it shared with others."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(cause)
        self.cause = cause


class Writer:
    """Owns the writing connection. The thread ends with :meth:`close`, and with nothing else.

    What an action raises is its caller's; a record that cannot be written is lost alone, counted and said by
    :meth:`flush`.

    Attributes:
        dropped: routing records not kept: the queue was full, or the disk, or they could not be written.
    """

    def __init__(self, connection: apsw.Connection, path: Path, capacity: int) -> None:
        self._connection = connection
        self._path = path
        self._file = _identity(path)
        self._capacity = capacity
        self._queue: deque[RoutingRecord | _Write] = deque()
        self._touches: dict[str, Touch] = {}
        self._news = threading.Condition()
        self._idle = True
        self._closed = False
        self._lost = _Lost()
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="tiny-dancer storage writer", daemon=True)
        self._thread.start()

    def submit(self, action: Callable[[apsw.Connection], T], *, alone: bool = False) -> T:
        """Runs ``action`` on the writing connection and returns its result when that is durable.

        Raises:
            StorageError: it could not be written, or the storage is closed.
            BaseException: what ``action`` raised, whatever that is; nothing of it was kept.
        """
        return self._enqueue(action, alone=alone).result()

    def _enqueue(self, action: Callable[[apsw.Connection], T], *, alone: bool) -> Future[T]:
        done: Future[T] = Future()
        with self._news:
            self._refuse_closed()
            self._queue.append(_Write(action, done, alone))
            self._news.notify_all()
        return done

    def record(self, record: RoutingRecord) -> bool:
        """Queues a decision; False where the queue is full."""
        self._refuse_closed()
        if len(self._queue) >= self._capacity:
            with self._news:
                self.dropped += 1
            return False
        self._queue.append(record)
        if self._idle:
            with self._news:
                self._news.notify_all()
        return True

    def touch(self, ids: list[str], touch: Touch) -> None:
        """Counts reads, to be written with what comes next or after a while."""
        with self._news:
            self._refuse_closed()
            first = not self._touches
            for each in ids:
                before = self._touches.get(each)
                self._touches[each] = touch if before is None else before.and_then(touch)
            # Only the first starts the wait for others; a notice for each would end it.
            if self._idle and first:
                self._news.notify_all()

    def flush(self) -> None:
        """Returns when all queued so far is durable.

        Raises:
            StorageError: routing records or accesses since the last flush could not be written; it says how many,
                and why the first could not.
        """
        failure = None
        try:
            self.submit(_nothing)
        except StorageError as error:
            failure = error
        with self._news:
            lost, self._lost = self._lost, _Lost()
        if lost.first is not None:
            cause = self._typed(lost.first)
            what = f"{lost.records} routing records and accesses of {lost.accesses} candidates lost"
            raise StorageError(
                str(self._path), f"{what}: {cause.field}: {cause.value}", cause.remedy
            ) from lost.first
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Writes what is queued and ends the thread."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        # The garbage collector may close a forgotten storage, and runs in any thread, this one too.
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StorageError(str(self._path), "closed", "open it again")

    def _run(self) -> None:
        batch: list[RoutingRecord | _Write] = []
        try:
            going = True
            while going:
                try:
                    going = self._wait()
                    self._write_queued(batch)
                # Whatever it is: a thread that ended would take with it what others have queued and will queue.
                except BaseException as error:  # noqa: BLE001
                    self._give_up(batch, error)
                batch.clear()
        finally:
            # However the thread ends, nobody waits for it in vain.
            with self._news:
                self._closed = True
                ended = StorageError(str(self._path), "the writer has ended", "open it again")
                self._give_up(self._queue, ended)
            self._connection.close()

    def _wait(self) -> bool:
        """Waits for something to write; False when there is nothing and never will be."""
        with self._news:
            self._idle = True
            while not (self._queue or self._touches or self._closed):
                self._news.wait()
            if not (self._queue or self._closed):
                self._news.wait(TOUCH_SECONDS)
            self._idle = False
            return bool(self._queue or self._touches)

    def _write_queued(self, batch: list[RoutingRecord | _Write]) -> None:
        """Writes what is queued, as far as it goes together; ``batch`` is empty before, and then holds it."""
        while self._queue and len(batch) < AT_ONCE:
            entry = self._queue[0]
            if isinstance(entry, _Write) and entry.alone:
                if not batch:
                    batch.append(self._queue.popleft())
                    self._alone(entry)
                    return
                break
            batch.append(self._queue.popleft())
        with self._news:
            touches, self._touches = self._touches, {}
        if batch or touches:
            self._together(batch, touches)

    def _alone(self, write: _Write) -> None:
        try:
            self._roll_back()
            result = write.action(self._connection)
        except BaseException as error:  # noqa: BLE001 - its caller is told, and raises it
            _end_statements(error)
            self._roll_back()
            self._tell([_Told(write, None, error)])
        else:
            self._tell([_Told(write, result, None)])

    def _together(self, batch: Sequence[RoutingRecord | _Write], touches: dict[str, Touch]) -> None:
        """One transaction over the batch; then its callers are told."""
        try:
            told, lost = self._transaction(batch, touches)
        except BaseException as error:  # noqa: BLE001 - those who wait are told, and raise it
            self._roll_back()
            of_one = isinstance(error, _UndoneError)
            if (of_one or isinstance(error, _TOO_LARGE)) and (len(batch) > 1 or (batch and touches)):
                self._apart(batch, touches)
                return
            if isinstance(error, _UndoneError):
                error = error.cause
            lost = _Lost()
            told = [_Told(entry, None, error) for entry in batch if isinstance(entry, _Write)]
            if len(batch) > len(told) or touches:
                lost.add(error, records=len(batch) - len(told), accesses=len(touches))
        self._count(lost)
        self._tell(told)

    def _apart(self, batch: Sequence[RoutingRecord | _Write], touches: dict[str, Touch]) -> None:
        """The accesses, then each half of the batch, in a transaction of its own."""
        if touches:
            self._together((), touches)
        half = (len(batch) + 1) // 2
        for part in (batch[:half], batch[half:]):
            if part:
                self._together(part, {})

    def _transaction(
        self, batch: Sequence[RoutingRecord | _Write], touches: dict[str, Touch]
    ) -> tuple[list[_Told], _Lost]:
        """Writes all of it; what cannot be written is undone alone. Everything returned is durable."""
        told: list[_Told] = []
        lost = _Lost()
        self._refuse_moved()
        self._roll_back()
        retrying(lambda: self._connection.execute("BEGIN IMMEDIATE"))
        # First: what was read was there before any of these writes, and may be another candidate after them.
        if touches:
            _, error = self._undoing(partial(candidates.touch_candidates, touches=touches))
            if error is not None:
                lost.add(error, accesses=len(touches))
        # In the order they came, for a later record of one decision does not replace the first.
        for is_routing, entries in groupby(batch, lambda entry: isinstance(entry, RoutingRecord)):
            if is_routing:
                self._records(list(entries), lost)  # type: ignore[arg-type]
            else:
                told += [self._one(entry) for entry in entries if isinstance(entry, _Write)]
        self._connection.execute("COMMIT")
        return told, lost

    def _records(self, records: Sequence[RoutingRecord], lost: _Lost) -> None:
        """Writes decisions; where that fails one by one, so that one that cannot be written is lost alone."""
        _, error = self._undoing(partial(history.insert_routing, records=records))
        if error is None:
            return
        for record in records:
            _, error = self._undoing(partial(history.insert_routing, records=[record]))
            if error is not None:
                lost.add(error, records=1)

    def _one(self, write: _Write) -> _Told:
        """Runs one write; what it raises undoes it alone."""
        return _Told(write, *self._undoing(write.action))

    def _undoing(self, action: Callable[[apsw.Connection], T]) -> tuple[T | None, BaseException | None]:
        """What ``action`` returns, or what it raised: then nothing of it stays.

        Raises:
            _UndoneError: what it raised has undone, or must undo, the whole transaction.
        """
        self._connection.execute("SAVEPOINT one")
        try:
            result = action(self._connection)
            self._connection.execute("RELEASE one")
        except BaseException as error:
            _end_statements(error)
            # After these SQLite asks for the whole to be rolled back: https://sqlite.org/lang_transaction.html
            if isinstance(error, (*_TOO_LARGE, apsw.IOError)) or not self._connection.in_transaction:
                raise _UndoneError(error) from error
            self._connection.execute("ROLLBACK TO one")
            self._connection.execute("RELEASE one")
            return None, error
        return result, None

    def _roll_back(self) -> None:
        """Ends a transaction that is open. Where that fails, the next attempt is before the next write."""
        if self._connection.in_transaction:
            with suppress(apsw.Error):
                self._connection.execute("ROLLBACK")

    def _count(self, lost: _Lost) -> None:
        if lost.first is not None:
            with self._news:
                self.dropped += lost.records
                self._lost.add(lost.first, records=lost.records, accesses=lost.accesses)

    def _tell(self, told: Iterable[_Told]) -> None:
        for each in told:
            if each.write.done.done():
                continue
            if each.error is None:
                each.write.done.set_result(each.result)
            else:
                error = each.error
                each.write.done.set_exception(self._typed(error) if isinstance(error, apsw.Error) else error)

    def _typed(self, error: BaseException) -> TinyDancerError:
        if isinstance(error, TinyDancerError):
            return error
        if isinstance(error, apsw.Error | OSError | MemoryError):
            found = storage_error(self._path, error)
        else:
            remedy = "report it, it is a defect"
            found = StorageError(str(self._path), f"{type(error).__name__}: {error}", remedy)
        found.__cause__ = error
        return found

    def _refuse_moved(self) -> None:
        """What is written to a file that nobody finds any more is gone with this process."""
        with translated(self._path):
            found = _identity(self._path)
        if found != self._file:
            raise StorageError(
                str(self._path),
                "removed, or another file is in its place",
                "put it back, or restart what uses it",
            )

    def _give_up(self, entries: Iterable[RoutingRecord | _Write], error: BaseException) -> None:
        """Tells who still waits; counts what nobody waits for."""
        entries = list(entries)
        writes = [entry for entry in entries if isinstance(entry, _Write)]
        self._count(_Lost(len(entries) - len(writes), 0, error if len(entries) > len(writes) else None))
        self._tell([_Told(write, None, error) for write in writes])


def _end_statements(error: BaseException) -> None:
    """Ends what the functions that ``error`` came through were still reading.

    It would go on while somebody keeps the error, and SQLite lets nobody write who reads something older.
    """
    # An error that is raised once more can come from one that came from it.
    seen: list[BaseException] = []
    ahead: list[BaseException | None] = [error]
    while ahead:
        each = ahead.pop()
        if each is not None and all(each is not other for other in seen):
            seen.append(each)
            traceback.clear_frames(each.__traceback__)
            ahead += [each.__cause__, each.__context__]


def _identity(path: Path) -> tuple[int, int] | None:
    """Tells one file from another at the same path; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _nothing(connection: apsw.Connection) -> None:
    del connection
