"""What nobody waits for: decisions and accesses, written in batches by one thread.

Everything else is written by who writes it, on a connection of the pool; PostgreSQL commits many at once by
itself.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import psycopg

from tiny_dancer.errors import StorageError
from tiny_dancer.storage.postgres import candidates, history

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiny_dancer.storage.history import RoutingRecord
    from tiny_dancer.storage.postgres.connection import Database
    from tiny_dancer.storage.touches import Touch

# Accesses wait this long for others, for each batch of them costs other processes a look at the rows it touched.
TOUCH_SECONDS = 1.0
# Decisions of one transaction.
AT_ONCE = 4096


class Later:
    """Owns the queue and its thread, which ends with :meth:`close`.

    Attributes:
        dropped: decisions not kept: the queue was full, or they could not be written.
    """

    def __init__(self, database: Database, capacity: int) -> None:
        self._database = database
        self._capacity = capacity
        self._queue: deque[RoutingRecord] = deque()
        self._touches: dict[str, Touch] = {}
        self._news = threading.Condition()
        # Held while what was taken off the queue is written: who finds the queue empty and holds it knows that all
        # before is written.
        self._writing = threading.Lock()
        self._closed = False
        self._lost_records = 0
        self._lost_accesses = 0
        self._first: StorageError | None = None
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="tiny-dancer storage writer", daemon=True)
        self._thread.start()

    def record(self, record: RoutingRecord) -> bool:
        """Queues a decision; False where the queue is full."""
        with self._news:
            self._refuse_closed()
            if len(self._queue) >= self._capacity:
                self.dropped += 1
                return False
            self._queue.append(record)
            self._news.notify_all()
        return True

    def touch(self, ids: list[str], touch: Touch) -> None:
        """Counts reads, to be written with what comes next or after a while."""
        with self._news:
            self._refuse_closed()
            if not self._touches:
                # Only the first starts the wait for others; a notice for each would end it.
                self._news.notify_all()
            for each in ids:
                before = self._touches.get(each)
                self._touches[each] = touch if before is None else before.and_then(touch)

    def settle(self) -> None:
        """Returns when all queued so far is written or lost."""
        while True:
            with self._writing:
                with self._news:
                    if not (self._queue or self._touches):
                        return
                    records = [self._queue.popleft() for _ in range(min(len(self._queue), AT_ONCE))]
                    touches, self._touches = self._touches, {}
                self._write(records, touches)

    def flush(self) -> None:
        """Returns when all queued so far is durable.

        Raises:
            StorageError: some since the last flush could not be written; it says how many, and why the first could
                not.
        """
        self.settle()
        with self._news:
            records, accesses, first = self._lost_records, self._lost_accesses, self._first
            self._lost_records, self._lost_accesses, self._first = 0, 0, None
        if first is not None:
            what = f"{records} routing records and accesses of {accesses} candidates lost"
            raise StorageError(
                self._database.where, f"{what}: {first.field}: {first.value}", first.remedy
            ) from first

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
            raise StorageError(self._database.where, "closed", "open it again")

    def _run(self) -> None:
        while True:
            with self._news:
                while not (self._queue or self._touches or self._closed):
                    self._news.wait()
                if not (self._queue or self._closed):
                    self._news.wait(TOUCH_SECONDS)
                closed = self._closed
            self.settle()
            if closed:
                return

    def _write(self, records: Sequence[RoutingRecord], touches: dict[str, Touch]) -> None:
        if touches:
            try:
                self._database.write(lambda connection: candidates.touch_candidates(connection, touches))
            except Exception as error:  # noqa: BLE001 - nobody waits: it is counted, and said by flush
                self._lose(error, accesses=len(touches))
        if records:
            self._write_records(records)

    def _write_records(self, records: Sequence[RoutingRecord]) -> None:
        """Writes decisions; where the values of one are refused, it is lost alone."""
        try:
            self._database.write(lambda connection: history.insert_routing(connection, records), again=True)
        except Exception as error:  # noqa: BLE001 - as above
            if len(records) > 1 and isinstance(error.__cause__, psycopg.DataError | psycopg.IntegrityError):
                half = len(records) // 2
                self._write_records(records[:half])
                self._write_records(records[half:])
            else:
                self._lose(error, records=len(records))

    def _lose(self, error: Exception, *, records: int = 0, accesses: int = 0) -> None:
        where = self._database.where
        if not isinstance(error, StorageError):
            known: Any = StorageError(where, f"{type(error).__name__}: {error}", "report it, it is a defect")
            known.__cause__ = error
        else:
            known = error
        with self._news:
            self._lost_records += records
            self._lost_accesses += accesses
            self._first = self._first or known
            self.dropped += records
