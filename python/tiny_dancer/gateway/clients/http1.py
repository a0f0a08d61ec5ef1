"""Upstreams on plain HTTP/1.1: asyncio connections in the gateway's own loop, parsed by llhttp (httptools).

A client in another thread hands every request and answer across threads, which costs more than the request itself
(``benchmarks/results/gateway_load.json``); model servers on the same machine or network need nothing of what it
brings: neither TLS, HTTP/2 nor proxies.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httptools

from tiny_dancer.gateway.clients.base import LARGEST_ANSWER, CallError, Headers, Phase, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiny_dancer.gateway import config

# Bytes of a stream that may wait for a slow client; beyond, the upstream has to wait.
_READ_AHEAD: Final = 64 * 1024
# Seconds a connection is kept for the next request. Many servers close sooner, which is noticed.
_KEPT: Final = 60.0
_MOST_KEPT: Final = 1024
_MOST_HEADERS: Final = 256 * 1024


class _Address(Target):
    __slots__ = ("head",)

    def __init__(self, head: bytes) -> None:
        self.head = head


class _Connection(asyncio.Protocol):
    """One connection: one request at a time, and its answer."""

    __slots__ = (
        "_body",
        "_complete",
        "_deadline",
        "_error",
        "_header_bytes",
        "_headers",
        "_headers_done",
        "_idle",
        "_keep",
        "_loop",
        "_parser",
        "_paused",
        "_reading",
        "_size",
        "_timer",
        "_transport",
        "_until_close",
        "_waiter",
        "answered",
        "kept_since",
        "open",
        "pool",
        "status",
    )

    def __init__(self, pool: deque[_Connection], loop: asyncio.AbstractEventLoop) -> None:
        self.pool = pool
        self.open = False
        self.kept_since = 0.0
        self.answered = False  # whether anything of the current answer has come
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._begin()
        self._idle = True

    def _begin(self) -> None:
        self.answered = False
        self.status = 0
        self._idle = self._keep = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_bytes = 0
        self._headers_done = self._complete = self._until_close = False
        self._body: deque[bytes] = deque()
        self._size = 0
        self._reading = False  # whether the body is taken piece by piece
        self._paused = False
        self._error: CallError | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self.open = True

    def data_received(self, data: bytes) -> None:
        if self._idle:  # nobody asked: whatever it is, it must not become the next answer
            self.abort()
            return
        self.answered = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail(CallError(Phase.BROKEN, "what the model's server sent is no HTTP"))
            self.abort()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self in self.pool:
            self.pool.remove(self)
        if self._headers_done and self._until_close and exc is None:
            self._complete = True
            self._wake()
        elif not self._complete:
            self._fail(CallError(Phase.BROKEN))

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > _MOST_HEADERS:
            self._fail(CallError(Phase.BROKEN, "the headers of the model's server are too large"))
            self.abort()
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        self.status = status
        self._headers_done = True
        names = [name for name, _ in self._headers]
        self._until_close = b"content-length" not in names and b"transfer-encoding" not in names
        if self._reading:
            self._wake()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._size += len(body)
        if self._reading:
            if self._size > _READ_AHEAD and not self._paused and self._transport is not None:
                self._transport.pause_reading()
                self._paused = True
            self._wake()
        elif self._size > LARGEST_ANSWER:
            self._fail(CallError(Phase.BROKEN, "the answer of the model's server is too large"))
            self.abort()

    def on_message_complete(self) -> None:
        if not self._headers_done:  # 100 Continue and the like: the answer is still to come
            self._headers.clear()
            return
        self._complete = True
        self._keep = self._parser.should_keep_alive()
        self._wake()

    # For the client

    @property
    def headers(self) -> Headers:
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._headers]

    def send(self, head: bytes, body: bytes, *, piecewise: bool) -> None:
        assert self._transport is not None
        self._begin()
        self._reading = piecewise
        self._transport.write(head + body)

    async def arrived(self, seconds: float) -> None:
        """Waits for the headers where the body is taken piece by piece, else for all of the answer."""
        while not (self._headers_done if self._reading else self._complete):
            await self._wait(seconds)

    async def piece(self, seconds: float) -> bytes | None:
        """The next bytes of the body; None at its end."""
        while not self._body:
            if self._complete:
                return None
            await self._wait(seconds)
        if len(self._body) == 1:
            found = self._body.popleft()
        else:
            found = b"".join(self._body)
            self._body.clear()
        self._size = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return found

    def body(self) -> bytes:
        return self._body[0] if len(self._body) == 1 else b"".join(self._body)

    def release(self) -> None:
        """Keeps the connection for another request if it can serve one, else closes it."""
        self._stop_timer()
        if self._keep and self.open and not self._paused and len(self.pool) < _MOST_KEPT:
            self._idle = True
            self.kept_since = monotonic()
            self.pool.append(self)
        else:
            self.abort()

    def abort(self) -> None:
        """Ends the connection at once; the upstream sees that nobody reads any more."""
        self._stop_timer()
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self, seconds: float) -> None:
        if self._error is not None:
            raise self._error
        self._deadline = self._loop.time() + seconds
        # One timer serves many waits: it looks at the deadline when it is due, and goes on if that has moved.
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._timed_out)
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None
        if self._error is not None:
            raise self._error

    def _timed_out(self) -> None:
        self._timer = None
        left = self._deadline - self._loop.time()
        if left > 0.001:
            self._timer = self._loop.call_later(left, self._timed_out)
        elif self._waiter is not None:
            self._fail(CallError(Phase.TIMEOUT))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fail(self, error: CallError) -> None:
        if self._error is None:
            self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Http1Reply:
    """As :class:`~tiny_dancer.gateway.clients.base.Reply`."""

    __slots__ = ("_connection", "_end", "_idle", "_loop", "headers", "status")

    def __init__(self, connection: _Connection, idle: float, end: float, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._idle = idle
        self._end = end
        self._loop = loop
        self.status = connection.status
        self.headers = connection.headers

    async def chunk(self) -> bytes | None:
        """What arrived next, or None at the end."""
        left = self._end - self._loop.time()
        if left <= 0:
            raise CallError(Phase.TIMEOUT)
        return await self._connection.piece(min(self._idle, left))

    async def close(self) -> None:
        """Keeps the connection where the answer was read to its end, else ends it."""
        self._connection.release()


class Http1Client:
    """As :class:`~tiny_dancer.gateway.clients.base.Client`."""

    def __init__(self, upstream: config.Upstream) -> None:
        """Opens nothing yet."""
        self._times = upstream.timeouts
        parts = urlsplit(upstream.base_url)
        self._host = parts.hostname or ""
        self._port = parts.port or 80
        self._pool: deque[_Connection] = deque()

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
        times = self._times
        connection = await self._send(target, extra, body, min(times.first_byte, times.total), piecewise=False)
        found = connection.status, connection.headers, connection.body()
        connection.release()
        return found

    async def stream(self, target: Target, extra: Sequence[tuple[str, str]], body: bytes) -> Http1Reply:
        """Posts, and gives the answer as soon as its headers are there."""
        times = self._times
        loop = asyncio.get_running_loop()
        end = loop.time() + times.total
        connection = await self._send(target, extra, body, min(times.first_byte, times.total), piecewise=True)
        return Http1Reply(connection, times.idle, end, loop)

    async def close(self) -> None:
        """Closes the connections that are kept; others end with their answers."""
        while self._pool:
            self._pool.pop().abort()

    async def _send(
        self, target: Target, extra: Sequence[tuple[str, str]], body: bytes, seconds: float, *, piecewise: bool
    ) -> _Connection:
        assert type(target) is _Address
        more = "".join([f"{name}: {value}\r\n" for name, value in extra]) if extra else ""
        head = b"%b%bcontent-length: %d\r\n\r\n" % (target.head, more.encode("latin-1"), len(body))
        while True:
            connection = self._kept()
            kept = connection is not None
            if connection is None:
                connection = await self._connect()
            connection.send(head, body, piecewise=piecewise)
            try:
                await connection.arrived(seconds)
            except CallError as error:
                connection.abort()
                # A server may close a connection it has kept just when the next request leaves.
                if kept and error.phase is Phase.BROKEN and not connection.answered:
                    continue
                raise
            except asyncio.CancelledError:
                connection.abort()
                raise
            return connection

    def _kept(self) -> _Connection | None:
        """The connection used last, which is the likeliest to be still open on the other side."""
        while self._pool:
            found = self._pool.pop()
            if found.open and monotonic() - found.kept_since < _KEPT:
                return found
            found.abort()
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._times.connect):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._pool, loop), self._host, self._port
                )
        except (TimeoutError, OSError) as error:
            raise CallError(Phase.CONNECT) from error
        return connection
