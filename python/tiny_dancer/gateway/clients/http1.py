"""Upstreams by HTTP/1.1: asyncio connections in the gateway's own loop, parsed by llhttp (httptools).

A client in another thread hands every request and answer across threads, which costs more than the request itself
(``benchmarks/results/gateway_load.json``). Proxies are not used; :mod:`.http2` does.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tiny_dancer.gateway.clients.base import CallError, Headers, Late, Phase, Target
from tiny_dancer.gateway.clients.http1_connection import Connection
from tiny_dancer.gateway.writes import Writes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiny_dancer.gateway import config

# Seconds a connection is kept for the next request. Many servers close sooner, which is noticed.
_KEPT: Final = 60.0
_MOST_KEPT: Final = 1024


class _Address(Target):
    __slots__ = ("head",)

    def __init__(self, head: bytes) -> None:
        self.head = head


class Http1Reply:
    """As :class:`~tiny_dancer.gateway.clients.base.Reply`."""

    __slots__ = ("_client", "_connection", "_end", "_idle", "_loop", "headers", "status")

    def __init__(
        self,
        client: Http1Client,
        connection: Connection,
        idle: float,
        end: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._client = client
        self._connection: Connection | None = connection
        self._idle = idle
        self._end = end
        self._loop = loop
        self.status = connection.status
        self.headers = connection.headers

    async def chunk(self) -> bytes | None:
        """What arrived next, or None at the end."""
        if self._connection is None:
            return None
        now = self._loop.time()
        if now >= self._end:
            raise CallError(Phase.TIMEOUT, Late.TOTAL.value)
        idle_end = now + self._idle
        if idle_end < self._end:
            return await self._connection.piece(idle_end, Late.IDLE)
        return await self._connection.piece(self._end, Late.TOTAL)

    async def close(self) -> None:
        """Keeps the connection where the answer was read to its end, else ends it."""
        # Once: by the second time the connection may serve another request.
        connection, self._connection = self._connection, None
        if connection is not None:
            self._client.give_back(connection)


class Http1Client:
    """As :class:`~tiny_dancer.gateway.clients.base.Client`."""

    def __init__(self, upstream: config.Upstream) -> None:
        """Opens nothing yet."""
        self._times = upstream.timeouts
        parts = urlsplit(upstream.base_url)
        self._host = parts.hostname or ""
        secure = parts.scheme.lower() == "https"
        self._port = parts.port or (443 if secure else 80)
        self._tls: ssl.SSLContext | None = None
        if secure:
            # Trusts whom the system does, or SSL_CERT_FILE and SSL_CERT_DIR say.
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        self._kept: deque[Connection] = deque()  # the one used last at the right
        self._closed = False
        self._writes = Writes()

    def target(self, url: str, headers: Headers) -> Target:
        """Prepares the lines every request to this URL begins with."""
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"POST {path} HTTP/1.1", f"host: {parts.netloc}", "user-agent: tiny-dancer", "accept: */*"]
        lines += [f"{name}: {value}" for name, value in headers]
        return _Address("\r\n".join(lines).encode("latin-1") + b"\r\n")

    async def whole(
        self, target: Target, extra: Sequence[tuple[str, str]], body: bytes
    ) -> tuple[int, Headers, bytes]:
        """Posts, and gives status, headers and the whole body."""
        loop = asyncio.get_running_loop()
        connection = await self._ask(target, extra, body, loop, loop.time() + self._times.total, piecewise=False)
        found = connection.status, connection.headers, connection.body()
        self.give_back(connection)
        return found

    async def stream(self, target: Target, extra: Sequence[tuple[str, str]], body: bytes) -> Http1Reply:
        """Posts, and gives the answer as soon as its headers are there."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._times.total
        connection = await self._ask(target, extra, body, loop, end, piecewise=True)
        return Http1Reply(self, connection, self._times.idle, end, loop)

    async def close(self) -> None:
        """Closes the connections that are kept; others end with their answers."""
        self._closed = True
        while self._kept:
            self._kept.pop().abort()

    def give_back(self, connection: Connection) -> None:
        """Keeps a connection for another request if it can serve one, else ends it."""
        kept = self._kept
        if self._closed or len(kept) >= _MOST_KEPT or not connection.reusable():
            connection.abort()
            return
        now = connection.kept_since = monotonic()
        kept.append(connection)
        if now - kept[0].kept_since > _KEPT:
            kept.popleft().abort()

    def _lost(self, connection: Connection) -> None:
        """A connection has ended."""
        if connection in self._kept:
            self._kept.remove(connection)

    async def _ask(
        self,
        target: Target,
        extra: Sequence[tuple[str, str]],
        body: bytes,
        loop: asyncio.AbstractEventLoop,
        end: float,
        *,
        piecewise: bool,
    ) -> Connection:
        """A connection on which the answer has come (its headers, where it is taken piece by piece)."""
        assert type(target) is _Address
        more = "".join([f"{name}: {value}\r\n" for name, value in extra]).encode("latin-1") if extra else b""
        message = b"%b%bcontent-length: %d\r\n\r\n%b" % (target.head, more, len(body), body)
        first_byte = self._times.first_byte
        connection = self._last_used()
        if connection is not None:
            try:
                await connection.ask(message, min(loop.time() + first_byte, end), piecewise=piecewise)
                return connection
            except CallError as error:
                # A server may close a connection it has kept just when the next request leaves. Once, and not on
                # another kept one: those may be closed as well, or the request may be what breaks them.
                if error.phase is not Phase.BROKEN or connection.answered:
                    raise
        connection = await self._connect(loop)
        await connection.ask(message, min(loop.time() + first_byte, end), piecewise=piecewise)
        return connection

    def _last_used(self) -> Connection | None:
        """The connection used last, which is the likeliest to be still open on the other side."""
        while self._kept:
            found = self._kept.pop()
            if found.open and monotonic() - found.kept_since < _KEPT:
                return found
            found.abort()
        return None

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> Connection:
        try:
            async with asyncio.timeout(self._times.connect):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self._writes, self._lost), self._host, self._port, ssl=self._tls
                )
        except TimeoutError as error:
            raise CallError(Phase.CONNECT, Late.CONNECT.value) from error
        except (OSError, UnicodeError) as error:  # UnicodeError: no name a resolver takes
            raise CallError(Phase.CONNECT) from error
        return connection
