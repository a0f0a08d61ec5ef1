"""What was made of lists of tools, kept for the next request that has the same list.

Reading a tool costs some 40 µs and 10 to 20 times the bytes of its JSON; a client sends the same list with every
request, byte for byte.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    import msgspec

T = TypeVar("T")

MOST_BYTES: Final = 4 * 1024 * 1024
"""Of the lists whose makings are kept: up to some 80 MB of memory."""
AT_ONCE: Final = 8 * 1024
"""Bytes of a list that is read where it is asked for; of a longer one the event loop does not wait for."""
_THREADS: Final = 2


class Kept:
    """Values made of lists of tools, those used last. Belongs to the event loop's thread.

    A list that many requests have at the same time is read once.

    Attributes:
        bytes: of the lists whose values are kept.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """``most_bytes``: of lists; what is made of a longer one is not kept."""
        self.bytes = 0
        self._most = most_bytes
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._making: dict[Hashable, asyncio.Future[Any]] = {}
        self._threads: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        """Number of values kept."""
        return len(self._values)

    async def get(self, purpose: Hashable, tools: msgspec.Raw | bytes, make: Callable[[bytes], T]) -> T:
        """What ``make`` makes of a list of tools.

        Args:
            purpose: what it is made for, and all that the value depends on beside the tools.
            tools: their JSON, as the client sent it.
            make: called in a thread where the list is long. What it raises is raised here, and not kept.
        """
        key = (purpose, sha256(tools).digest())
        if (found := self._values.get(key)) is not None:
            self._values.move_to_end(key)
            value: T = found[0]
            return value
        making = self._making.get(key)
        if making is None:
            if len(tools) <= AT_ONCE:
                value = make(bytes(tools))
                self._keep(key, value, len(tools))
                return value
            if self._threads is None:
                self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="tools")
            making = asyncio.get_running_loop().run_in_executor(self._threads, make, bytes(tools))
            self._making[key] = making
            making.add_done_callback(partial(self._made, key, len(tools)))
        # Others may wait for it, when this request's client is gone.
        return await asyncio.shield(making)

    def close(self) -> None:
        """Ends the threads, once they have made what they are at."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _made(self, key: Hashable, size: int, making: asyncio.Future[Any]) -> None:
        del self._making[key]
        # Asked for its exception even where nobody waits any more: else it would be logged as never looked at.
        if not making.cancelled() and making.exception() is None:
            self._keep(key, making.result(), size)

    def _keep(self, key: Hashable, value: object, size: int) -> None:
        if size > self._most:
            return
        self._values[key] = (value, size)
        self.bytes += size
        while self.bytes > self._most:
            _, (_, gone) = self._values.popitem(last=False)
            self.bytes -= gone
