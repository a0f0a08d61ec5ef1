"""Waiting for answers of people: one look at the queue for all that wait, whoever writes the answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tiny_dancer.errors import StorageError

if TYPE_CHECKING:
    from tiny_dancer.storage import QueuedRequest, QueueStorage

LOOK_S: Final = 0.25
"""Seconds between two looks."""


class Awaiting:
    """Those that wait within one event loop. Answers may come from other processes, so storage is looked at."""

    def __init__(self, queue: QueueStorage) -> None:
        """``queue``: where they are."""
        self._queue = queue
        self._waiting: dict[str, asyncio.Future[QueuedRequest]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def wait(self, id: str, seconds: float) -> QueuedRequest | None:
        """The request once it has ended, answered or cancelled; None where it has not after so many seconds."""
        future: asyncio.Future[QueuedRequest] = asyncio.get_running_loop().create_future()
        self._waiting[id] = future
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            return None
        finally:
            del self._waiting[id]
            if not self._waiting and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                found = await asyncio.to_thread(self._ended, tuple(self._waiting))
            except StorageError:
                continue  # it may come back before their time is over
            for request in found:
                future = self._waiting.get(request.id)
                if future is not None and not future.done():
                    future.set_result(request)

    def _ended(self, ids: tuple[str, ...]) -> tuple[QueuedRequest, ...]:
        return self._queue.queued_requests(states=("answered", "cancelled"), ids=ids, limit=None)
