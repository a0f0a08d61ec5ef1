"""Notices that a file has changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable
    from pathlib import Path

_INTERVAL_SECONDS = 1.0


async def changes(path: Path, loaded: Hashable | None) -> AsyncIterator[None]:
    """Yields when the file has changed and then stayed as it is for a second: nobody is writing it any more.

    Args:
        path: of the file.
        loaded: its :func:`stamp` when it was read.
    """
    seen = loaded
    while True:
        await asyncio.sleep(_INTERVAL_SECONDS)
        now = stamp(path)
        if now == seen and now != loaded:
            loaded = now
            if now is not None:
                yield
        seen = now


def stamp(path: Path) -> Hashable | None:
    """Differs where the file may; None where there is none. A link is followed: it may be turned elsewhere."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
