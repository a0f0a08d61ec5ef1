"""Records what happened without making the answer wait for it, or fail with it."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from threading import Condition, Thread
from typing import TYPE_CHECKING, Generic, TypeVar

from tiny_dancer.errors import OptionError
from tiny_dancer.resilience.fallback import FAILURES

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RecordingStatus:
    """How recording stands.

    Attributes:
        recorded: records the recorder took.
        failed: records it refused; they are lost.
        dropped: records that found the queue full; they are lost.
        waiting: records in the queue.
        last_error: what the recorder raised last, or None.
    """

    recorded: int
    failed: int
    dropped: int
    waiting: int
    last_error: BaseException | None


class Recording(Generic[T]):
    """Hands records to a slow or failing recorder, one after the other, from a thread of its own.

    :meth:`put` neither waits nor raises: a full queue drops the record and counts it. The thread starts with the
    first record and again after a fork; what is waiting when the process is killed is lost, so a recorder that
    must lose nothing belongs in front of the answer, not here.
    """

    def __init__(self, recorder: Callable[[T], object], *, capacity: int = 10_000) -> None:
        """Records are kept in order; at most ``capacity`` wait.

        Raises:
            OptionError: a capacity below 1.
        """
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
            raise OptionError("capacity", repr(capacity), "give a whole number ≥ 1")
        self._recorder, self._capacity = recorder, capacity
        self._queue: deque[T] = deque()
        self._changed = Condition()
        self._thread: Thread | None = None
        self._closing = self._busy = self._idle = False
        self._recorded = self._failed = self._dropped = 0
        self._last_error: BaseException | None = None

    def put(self, record: T) -> None:
        """Queues a record."""
        with self._changed:
            if self._closing or len(self._queue) >= self._capacity:
                self._dropped += 1
                return
            self._queue.append(record)
            if self._thread is None or not self._thread.is_alive():
                self._busy = False
                thread = Thread(target=self._run, name="tiny-dancer-recording", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # no more threads: the record waits for the next attempt
                    self._last_error = error
                else:
                    self._thread = thread
            elif self._idle:
                self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Waits until nothing is waiting; False where ``timeout`` seconds were not enough."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._queue or self._busy:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def close(self, timeout: float) -> bool:
        """Flushes, and drops what comes later."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        return self.flush(timeout)

    def status(self) -> RecordingStatus:
        """How recording stands now."""
        with self._changed:
            waiting = len(self._queue) + self._busy
            return RecordingStatus(self._recorded, self._failed, self._dropped, waiting, self._last_error)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    if self._closing:
                        return
                    self._idle = True
                    self._changed.wait()
                self._idle = False
                record = self._queue.popleft()
                self._busy = True
            error: BaseException | None = None
            try:
                self._recorder(record)
            except FAILURES as raised:
                error = raised
            with self._changed:
                self._busy = False
                if error is None:
                    self._recorded += 1
                else:
                    self._failed += 1
                    self._last_error = error
                if not self._queue:
                    self._changed.notify_all()
