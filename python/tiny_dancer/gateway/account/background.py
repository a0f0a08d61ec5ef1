"""The account of requests: taken on the hot path in a moment, written in batches by threads of its own.

``put`` appends to a queue and wakes nobody. One thread looks into the queue every 50 ms, gives what is there to
the sinks (metrics, log) and hands it to another, which writes it to storage when a batch has come together, or
after a quarter of a second. So a database that is locked for a minute holds up neither requests nor metrics; what
waits is bounded, and what does not fit is dropped and counted.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from tiny_dancer.errors import OptionError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from tiny_dancer.gateway.account.spool import Spool
    from tiny_dancer.storage import RequestStorage
    from tiny_dancer.types import RequestRecord

    Sink = Callable[[Sequence[RequestRecord]], None]

# A transaction costs as much as some fifty records do: it waits for so many, but no longer than so many seconds.
ENOUGH, PATIENCE = 250, 0.25
# In one transaction, at most: other processes get their turn, and a failed one is soon tried again.
AT_ONCE = 2000
# Seconds until a write that failed is tried again: the first wait, and the longest.
RETRY, LONGEST_RETRY = 0.25, 5.0


class Accounting:
    """Takes one record per request and sees that storage and the sinks get it.

    Args:
        storage: where records are kept.
        spool: keeps each record until storage has it, even where this process is killed; None: nothing does.
        sinks: each is called with every record once, in batches, on a thread of this object. It may raise OSError
            (a full disk under a log), which :attr:`last_error` then says; nothing else.
        capacity: records that may wait; beyond, new ones are dropped.
        interval: seconds between two looks into the queue.

    Raises:
        OptionError: ``capacity`` below 1, or an ``interval`` that is not above 0.
    """

    def __init__(
        self,
        storage: RequestStorage,
        sinks: Iterable[Sink] = (),
        *,
        spool: Spool | None = None,
        capacity: int = 100_000,
        interval: float = 0.05,
    ) -> None:
        if capacity < 1:
            raise OptionError("capacity", capacity, "give 1 or more")
        if not interval > 0:
            raise OptionError("interval", interval, "give seconds, above 0")
        self._storage = storage
        self._sinks = tuple(sinks)
        self._spool = spool
        self._capacity = capacity
        self._interval = interval
        # Appending and popping are atomic: `put` needs no lock.
        self._arrived: deque[RequestRecord] = deque()
        # How many may be in `_arrived`, with regard to those that wait behind it.
        self._room = capacity
        # Guards all below. `put` takes it only to count what it drops.
        self._state = threading.Condition()
        self._unwritten: deque[RequestRecord] = deque()
        self._unwritten_since = 0.0
        self._write = False  # what is unwritten, now
        self._flushing = 0  # callers that wait
        self._taken = 0  # out of `_arrived` so far
        self._done = 0  # of those: written, or given up
        self._dropped = 0
        self._storage_error: StorageError | None = None
        self._sink_error: OSError | None = None
        self._closing = False
        self._sinks_ended = False
        self._abandoned = False
        self._hurry = threading.Event()
        self._threads = tuple(
            threading.Thread(target=run, name=f"tiny-dancer accounting, {name}", daemon=True)
            for name, run in (("sinks", self._run_sinks), ("storage", self._run_storage))
        )
        for thread in self._threads:
            thread.start()
        # Also when the program ends without closing.
        atexit.register(self.close)

    def put(self, record: RequestRecord) -> None:
        """Takes a record. Never waits; drops it where too many wait already, or after :meth:`close`."""
        if len(self._arrived) < self._room:
            if self._spool is not None:
                self._spool.end(record)
            self._arrived.append(record)
        else:
            with self._state:
                self._dropped += 1

    def begin(self, record: RequestRecord) -> None:
        """What a request comes to where its process is killed before it is put; its id and time stay the same."""
        if self._spool is not None and self._room:
            self._spool.begin(record)

    @property
    def dropped(self) -> int:
        """Records that storage does not get: too many waited; without a spool, those it failed on to the end."""
        return self._dropped

    @property
    def queued(self) -> int:
        """Records not written yet."""
        with self._state:
            return self._taken - self._done + len(self._arrived)

    @property
    def last_error(self) -> StorageError | OSError | None:
        """Why the last write to storage failed, else to a sink; None where the last ones succeeded."""
        return self._storage_error or self._sink_error

    def flush(self, timeout: float | None = None) -> bool:
        """Waits until all that was put so far is written; false where ``timeout`` seconds were too few."""
        with self._state:
            target = self._taken + len(self._arrived)
            self._flushing += 1
            self._hurry.set()
            try:
                return self._state.wait_for(lambda: self._done >= target, timeout)
            finally:
                self._flushing -= 1

    def close(self, timeout: float = 5.0) -> bool:
        """Writes what waits and ends; what is not written after ``timeout`` seconds is dropped and counted.

        Returns:
            Whether everything was written. Closing again does nothing.
        """
        atexit.unregister(self.close)
        deadline = time.monotonic() + timeout
        with self._state:
            self._closing = True
            self._room = 0
            self._hurry.set()
            self._state.notify_all()
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        with self._state:
            left = self._taken - self._done + len(self._arrived)
            if self._spool is None:
                self._dropped += left
            self._done = self._taken
            self._arrived.clear()
            self._unwritten.clear()
            self._abandoned = True
            self._state.notify_all()
        if self._spool is not None:
            self._spool.close(keep=bool(left))
        return not left

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _run_sinks(self) -> None:
        ended = False
        while not ended:
            # Looked at first: what was put before `close` is then in the queue.
            ended = self._closing
            if self._arrived:
                self._feed_sinks()
            if self._unwritten:
                self._start_writing()
            if not ended:
                self._hurry.wait(self._interval)
                self._hurry.clear()
        with self._state:
            self._sinks_ended = True
            self._state.notify_all()

    def _feed_sinks(self) -> None:
        with self._state:
            # Counted before they leave the queue: `put` never finds more room than there is.
            count = len(self._arrived)
            self._taken += count
            self._set_room()
            batch = [self._arrived.popleft() for _ in range(count)]
        failure = None
        try:
            for sink in self._sinks:
                try:
                    sink(batch)
                except OSError as error:
                    failure = error
        finally:
            with self._state:
                self._sink_error = failure
                if not self._abandoned:
                    if not self._unwritten:
                        self._unwritten_since = time.monotonic()
                    self._unwritten.extend(batch)

    def _start_writing(self) -> None:
        """Wakes the other thread where there is enough to write, it has waited long enough, or somebody waits."""
        with self._state:
            waited = time.monotonic() - self._unwritten_since
            many = len(self._unwritten) >= ENOUGH
            if many or waited >= PATIENCE or self._flushing or self._closing:
                self._write = True
                self._state.notify_all()

    def _run_storage(self) -> None:
        pause = RETRY
        while batch := self._next_batch():
            try:
                self._storage.record_requests(batch)
            except StorageError as error:
                with self._state:
                    self._storage_error = error
                    if not self._abandoned:
                        self._unwritten.extendleft(reversed(batch))
                        self._write = True
                self._wait_to_retry(pause)
                pause = RETRY if self._closing else min(2 * pause, LONGEST_RETRY)
            else:
                pause = RETRY
                with self._state:
                    self._storage_error = None
                    if not self._abandoned:
                        self._done += len(batch)
                        self._set_room()
                    self._state.notify_all()
                if self._spool is not None:
                    self._spool.forget(self._done)

    def _wait_to_retry(self, seconds: float) -> None:
        with self._state:
            closing = self._closing
            # A long pause ends when closing begins.
            self._state.wait_for(lambda: self._abandoned or self._closing is not closing, seconds)

    def _next_batch(self) -> list[RequestRecord]:
        """Waits for something to write; empty when there is nothing and never will be."""
        with self._state:
            self._state.wait_for(lambda: (self._write and self._unwritten) or self._sinks_ended or self._abandoned)
            batch = [self._unwritten.popleft() for _ in range(min(len(self._unwritten), AT_ONCE))]
            self._write = bool(self._unwritten)
            return batch

    def _set_room(self) -> None:
        self._room = 0 if self._closing else self._capacity - (self._taken - self._done)
