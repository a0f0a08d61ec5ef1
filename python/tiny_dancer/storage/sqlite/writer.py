"""One thread that writes, many writes at once.

A commit waits for the disk, so the writer takes everything that is queued, writes it in one transaction and then
tells each caller (group commit). Other processes do the same; SQLite lets one in at a time and the writer waits
its turn.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from tiny_dancer.errors import StorageError, TinyDancerError
from tiny_dancer.storage.history import RoutingRecord
from tiny_dancer.storage.sqlite import candidates, history
from tiny_dancer.storage.sqlite.connection import retrying, storage_error, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

T = TypeVar("T")

# Accesses wait this long for others, for each batch of them costs other processes a look at the rows it touched.
TOUCH_SECONDS = 1.0
# In one transaction: enough to share the wait for the disk, few enough to let other processes in.
AT_ONCE = 4096


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
    error: TinyDancerError | None


class Writer:
    """Owns the writing connection. The thread ends with :meth:`close`.

    Attributes:
        dropped: routing records not kept: the queue was full, or the disk.
    """

    def __init__(self, connection: apsw.Connection, path: Path, capacity: int) -> None:
        self._connection = connection
        self._path = path
        self._file = _identity(path)
        self._capacity = capacity
        self._queue: deque[RoutingRecord | _Write] = deque()
        self._touches: dict[str, tuple[int, float]] = {}
        self._news = threading.Condition()
        self._idle = True
        self._closed = False
        self._lost: StorageError | None = None
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="tiny-dancer storage writer", daemon=True)
        self._thread.start()

    def submit(self, action: Callable[[apsw.Connection], T], *, alone: bool = False) -> T:
        """Runs ``action`` on the writing connection and returns its result when that is durable.

        Raises:
            StorageError: it could not be written, or the storage is closed.
            TinyDancerError: what ``action`` raised; nothing of it was kept.
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

    def touch(self, ids: list[str], now: float) -> None:
        """Counts accesses, to be written with what comes next or after a while."""
        with self._news:
            self._refuse_closed()
            first = not self._touches
            for each in ids:
                count, last = self._touches.get(each, (0, 0.0))
                self._touches[each] = (count + 1, max(last, now))
            # Only the first starts the wait for others; a notice for each would end it.
            if self._idle and first:
                self._news.notify_all()

    def flush(self) -> None:
        """Returns when all queued so far is durable.

        Raises:
            StorageError: routing records or accesses since the last flush could not be written.
        """
        try:
            self.submit(_nothing)
        finally:
            with self._news:
                lost, self._lost = self._lost, None
        if lost is not None:
            raise lost

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
        try:
            while self._wait():
                self._write_queued()
        finally:
            # However the thread ends, nobody waits for it in vain.
            with self._news:
                self._closed = True
                self._give_up(self._queue)
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

    def _write_queued(self) -> None:
        batch: list[RoutingRecord | _Write] = []
        while self._queue and len(batch) < AT_ONCE:
            entry = self._queue[0]
            if isinstance(entry, _Write) and entry.alone:
                if not batch:
                    self._queue.popleft()
                    self._alone(entry)
                break
            batch.append(self._queue.popleft())
        with self._news:
            touches, self._touches = self._touches, {}
        if batch or touches:
            self._together(batch, touches)

    def _alone(self, write: _Write) -> None:
        try:
            result = write.action(self._connection)
        except apsw.Error as error:
            write.done.set_exception(storage_error(self._path, error))
        except (TinyDancerError, OSError) as error:
            write.done.set_exception(error)
        else:
            write.done.set_result(result)

    def _together(self, batch: list[RoutingRecord | _Write], touches: dict[str, tuple[int, float]]) -> None:
        """One transaction over the batch; then its callers are told."""
        told: list[_Told] = []
        finished = False
        try:
            self._refuse_moved()
            retrying(lambda: self._connection.execute("BEGIN IMMEDIATE"))
            # In the order they came, for a later record of one decision does not replace the first.
            for is_routing, entries in groupby(batch, lambda entry: isinstance(entry, RoutingRecord)):
                if is_routing:
                    history.insert_routing(self._connection, entries)  # type: ignore[arg-type]
                else:
                    told += [self._one(entry) for entry in entries if isinstance(entry, _Write)]
            if touches:
                candidates.touch_candidates(self._connection, touches)
            self._connection.execute("COMMIT")
            finished = True
        except (apsw.Error, StorageError) as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            failure = error if isinstance(error, StorageError) else storage_error(self._path, error)
            told = [_Told(entry, None, failure) for entry in batch if isinstance(entry, _Write)]
            lost = len(batch) - len(told)
            if lost or touches:
                with self._news:
                    self.dropped += lost
                    self._lost = failure
            finished = True
        finally:
            # Only a defect of an action comes here otherwise; its callers must not wait for ever.
            if not finished:
                self._give_up(batch)
        for each in told:
            if each.error is None:
                each.write.done.set_result(each.result)
            else:
                each.write.done.set_exception(each.error)

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

    def _give_up(self, entries: Iterable[RoutingRecord | _Write]) -> None:
        for entry in entries:
            if isinstance(entry, RoutingRecord):
                self.dropped += 1
            elif not entry.done.done():
                entry.done.set_exception(StorageError(str(self._path), "the writer has ended", "open it again"))

    def _one(self, write: _Write) -> _Told:
        """Runs one write; what it raises undoes it alone."""
        self._connection.execute("SAVEPOINT one")
        try:
            result = write.action(self._connection)
        except TinyDancerError as error:
            self._connection.execute("ROLLBACK TO one")
            return _Told(write, None, error)
        finally:
            if self._connection.in_transaction:
                self._connection.execute("RELEASE one")
        return _Told(write, result, None)


def _identity(path: Path) -> tuple[int, int] | None:
    """Tells one file from another at the same path; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _nothing(connection: apsw.Connection) -> None:
    del connection
