"""Processes that claim from one queue, and one that dies while it puts requests there."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from typing import TYPE_CHECKING

from tiny_dancer.errors import QueueError
from tiny_dancer.storage import QueuedRequest, SqliteStorage

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier
    from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


def put(storage: SqliteStorage, place: int) -> str:
    now = time.time()
    request = QueuedRequest(id=f"r{place:03}", time=now, expires_at=now + 600, context="{}")
    storage.enqueue(request)
    return request.id


def claim_all(path: Path, name: str, ready: Barrier, won: Queue[list[str]]) -> None:
    """Claims whatever it can, once all are ready."""
    found = []
    with SqliteStorage(path, create=False, mirror=False) as storage:
        ready.wait(60)
        while left := storage.queued_requests(states=("waiting",), limit=5):
            for request in left:
                try:
                    storage.claim_request(request.id, name, seconds=600)
                    found.append(request.id)
                except QueueError:
                    continue
    won.put(found)


def put_until_killed(path: Path, said: Queue[str]) -> None:
    """Puts request after request, saying which are there, and dies of SIGKILL in the midst of it."""
    storage = SqliteStorage(path, mirror=False)
    for place in range(20):
        said.put(put(storage, place))
    while said._buffer:  # type: ignore[attr-defined]  # what is said is written by a thread
        time.sleep(0.01)
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)
