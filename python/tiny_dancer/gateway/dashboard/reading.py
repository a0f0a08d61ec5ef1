"""Reads of the database beside serving: in a few threads, once for all who ask the same, kept for a moment.

A page that is open asks again and again. What a read costs is bounded three ways: one kind of read runs once at a
time whoever waits for it; what it found is kept ten times as long as it took; and two threads are all there are.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tiny_dancer.errors import StorageError
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from pathlib import Path

    from tiny_dancer.storage.opening import Database

Found = TypeVar("Found")

_THREADS: Final = 2
_MOST_WAITING: Final = 16  # reads that run or wait for a thread
_MOST_KEPT: Final = 64
_LEAST_KEPT_S, _LONGEST_KEPT_S = 1.0, 300.0
# Reading takes at most an eleventh of a thread's time, however long a read takes.
_REST: Final = 10.0
PATIENCE_S: Final = 10.0
"""Seconds a page waits for a read; the read goes on, and is there when the page asks again."""


@dataclass(frozen=True, slots=True)
class _Kept:
    value: Any
    until: float


class Reader:
    """Reads one database for the dashboard; opens it when somebody first asks. Belongs to the event loop's thread.

    Example:
        >>> reader = Reader(Path("gateway.db"))
        >>> await reader.read(("keys",), lambda storage: storage.api_keys())
    """

    def __init__(
        self, path: Path | str, *, patience: float = PATIENCE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Opens nothing yet.

        Args:
            path: of the database, or its address.
            patience: seconds a caller waits.
            clock: seconds that never go back.
        """
        self._path, self._patience, self._clock = path, patience, clock
        self._threads = ThreadPoolExecutor(_THREADS, "dashboard", initializer=_behind_serving)
        self._opening = threading.Lock()
        self._storage: Database | None = None
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._running: dict[Hashable, asyncio.Future[Any]] = {}

    async def read(
        self, name: Hashable, work: Callable[[Database], Found], *, patience: float | None = None
    ) -> Found:
        """What ``work`` finds in the database, or found a moment ago.

        Args:
            name: what is read; two reads of one name find the same.
            work: runs in a thread.
            patience: seconds to wait; as the reader's where None.

        Raises:
            GatewayError: 503, the database does not answer in time, cannot be read, or too much is read already.
        """
        patience = self._patience if patience is None else patience
        kept = self._kept.get(name)
        if kept is not None and self._clock() < kept.until:
            found: Found = kept.value
            return found
        running = self._running.get(name)
        if running is None:
            if len(self._running) >= _MOST_WAITING:
                raise _unavailable("The dashboard is reading as much as it may; it tries again by itself.")
            running = asyncio.ensure_future(self._run(name, work))
            self._running[name] = running
            running.add_done_callback(lambda done: self._ended(name, done))
        try:
            async with asyncio.timeout(patience):
                found = await asyncio.shield(running)
        except TimeoutError:
            message = f"The database has not answered within {patience:g} seconds; the reading goes on."
            raise _unavailable(message) from None
        return found

    async def _run(self, name: Hashable, work: Callable[[Database], Found]) -> Found:
        began = self._clock()
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, self._work, work)
        except StorageError as error:
            raise _unavailable(f"The database cannot be read: {error}") from error
        ended = self._clock()
        self._kept.pop(name, None)
        self._kept[name] = _Kept(found, ended + min(max((ended - began) * _REST, _LEAST_KEPT_S), _LONGEST_KEPT_S))
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return found

    def _ended(self, name: Hashable, done: asyncio.Future[Any]) -> None:
        del self._running[name]
        if not done.cancelled():
            done.exception()  # whoever waited has heard of it; where nobody did any more, that is no fault

    def _work(self, work: Callable[[Database], Found]) -> Found:
        with self._opening:
            if self._storage is None:
                self._storage = open_storage(self._path, read_only=True, mirror=False)
            storage = self._storage
        try:
            return work(storage)
        except StorageError:
            # It may have been put in another one's place: the next read opens it anew.
            with self._opening:
                if self._storage is storage:
                    self._storage = None
            raise

    def close(self) -> None:
        """Lets go of threads and database; what is being read ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._opening:
            if self._storage is not None:
                self._storage.close()
                self._storage = None


def _behind_serving() -> None:
    """Lets whoever serves requests go first."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def _unavailable(message: str) -> GatewayError:
    return GatewayError(
        503, message, type="server_error", code="storage_unavailable", headers=((b"retry-after", b"2"),)
    )
