"""Many readers or one writer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


class SharedLock:
    """Held by any number of readers, or by one writer; a waiting writer goes before new readers.

    Not re-entrant: a thread that holds it must not ask for it again.

    Attributes:
        reading: ``with lock.reading:`` holds it with other readers.
        writing: ``with lock.writing:`` holds it alone.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.readers = 0
        self.held_alone = False
        self.waiting = 0
        self.reading = _Reading(self)
        self.writing = _Writing(self)


class _Reading:
    def __init__(self, lock: SharedLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        lock = self._lock
        with lock.changed:
            while lock.held_alone or lock.waiting:
                lock.changed.wait()
            lock.readers += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        lock = self._lock
        with lock.changed:
            lock.readers -= 1
            if not lock.readers:
                lock.changed.notify_all()


class _Writing:
    def __init__(self, lock: SharedLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        lock = self._lock
        with lock.changed:
            lock.waiting += 1
            while lock.held_alone or lock.readers:
                lock.changed.wait()
            lock.waiting -= 1
            lock.held_alone = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        lock = self._lock
        with lock.changed:
            lock.held_alone = False
            lock.changed.notify_all()
