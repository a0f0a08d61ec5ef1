"""What changes while a gateway runs: its file, which of its keys may, and which may not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tiny_dancer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable
    from pathlib import Path

    from tiny_dancer.gateway.config import GatewayConfig

# Sockets, processes and the database belong to a gateway for as long as it lives.
FIXED = ("listen", "health", "workers", "storage")
_INTERVAL_SECONDS = 1.0


def check_reload(old: GatewayConfig, new: GatewayConfig) -> None:
    """Refuses what cannot be taken over without a restart: a file is taken over whole or not at all.

    Raises:
        ConfigError: a key of :data:`FIXED` is another; names it.
    """
    for key in FIXED:
        before, after = getattr(old, key), getattr(new, key)
        if before != after:
            raise ConfigError(key, f"{before} became {after}", "restart the gateway to change this")


async def changes(path: Path) -> AsyncIterator[None]:
    """Yields when the file has changed and then stayed as it is for a second: nobody is writing it any more."""
    loaded = seen = _stamp(path)
    while True:
        await asyncio.sleep(_INTERVAL_SECONDS)
        now = _stamp(path)
        if now == seen and now != loaded:
            loaded = now
            if now is not None:
                yield
        seen = now


def _stamp(path: Path) -> Hashable | None:
    """Differs where the file may; a link is followed, so that one that is turned elsewhere counts."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
