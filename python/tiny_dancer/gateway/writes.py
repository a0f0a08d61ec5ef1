"""Writes to sockets, gathered over one pass of the event loop.

A write to a socket whose reader sleeps wakes it, which costs the writer several times what the write itself does.
Under load the requests of one pass are handled one after the other, and each would wake the same sleeper, gone to
sleep again meanwhile. Written together at the end of the pass, the first wakes it for all. Where a pass has but
one request, nothing is held back.
"""

from __future__ import annotations

import asyncio
from typing import Final

# Held back at most: the first must not wait long for the last.
_TOGETHER: Final = 32


class Writes:
    """What is to be written at the end of this pass. Used in one event loop."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self) -> None:
        """Nothing waits."""
        self._waiting: list[tuple[asyncio.WriteTransport, bytes]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def write(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        """Writes soon, in the order of the calls."""
        waiting = self._waiting
        waiting.append((transport, data))
        if len(waiting) == 1:
            if self._loop is None:
                # Once: Python asks the system each time whether the process is still the same.
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self.flush)
        elif len(waiting) >= _TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Writes now: before a transport is closed that something waits for."""
        waiting, self._waiting = self._waiting, []
        for transport, data in waiting:
            if not transport.is_closing():  # its reader has left meanwhile
                transport.write(data)
