"""Upstreams by HTTP/1.1: asyncio connections in the gateway's own loop, parsed by llhttp (httptools).

A client in another thread hands every request and answer across threads, which costs more than the request itself
(``benchmarks/results/gateway_load.json``).

A request is sent again where a connection that was kept breaks before anything of an answer has come: its server
has most likely closed it meanwhile. It may also have read the request, so what must not be done twice goes over a
connection that was in use a moment ago, or a new one, and is never sent again (RFC 9110, 9.2.2).

Framing is llhttp's at its strictest, but for what servers are seen to send and other clients read: spaces behind
the size of a chunk, and a length beside chunks, which counts for nothing (RFC 9112, 6.3) and after which the
connection serves nobody. What is left to decide here is whose answer bytes are (RFC 9112, 6.3 and
9.2), how many may come, how long it may take, and which connection serves another request.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httptools

from tiny_dancer.gateway.upstream.clients.base import (
    LARGEST_ANSWER,
    CallError,
    Headers,
    Late,
    Phase,
    Target,
)
from tiny_dancer.gateway.upstream.clients.decoding import decoded, encoding_of, read_plainly, without_encoding
from tiny_dancer.gateway.upstream.clients.proxies import Proxy, proxy_for
from tiny_dancer.gateway.writes import Writes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tiny_dancer.gateway.configuration import settings as config
    from tiny_dancer.gateway.upstream.clients.base import Reply

# Seconds a connection is kept for the next request. Many servers close sooner, which is noticed.
_KEPT: Final = 60.0
# Seconds for which no server closes a connection that has just served: one to send on what must not be sent twice.
_SURE: Final = 1.0
_MOST_KEPT: Final = 1024
# Seconds a stream has to end after its last word.
_TAIL: Final = 1.0
# Bytes of a stream that may wait for a slow client; beyond, the upstream has to wait.
_READ_AHEAD: Final = 64 * 1024
# Bytes that may arrive without any of the body among them: headers, interim answers, trailers.
_MOST_BESIDE_BODY: Final = 256 * 1024
_BODILESS: Final = ("GET", "DELETE")


class Connection(asyncio.Protocol):
    """One connection: one request at a time, and its answer. Belongs to the event loop's thread.

    Attributes:
        open: whether a request can be sent.
        kept_since: when its last answer was complete, by :func:`time.monotonic`.
        answered: whether anything of the current answer has come.
        status: of the current answer, once its headers are there.
        headers: likewise.
    """

    __slots__ = (
        "_beside_body",
        "_body",
        "_complete",
        "_deadline",
        "_error",
        "_framed_twice",
        "_headers_done",
        "_keep",
        "_late",
        "_loop",
        "_lost",
        "_parser",
        "_paused",
        "_piecewise",
        "_timer",
        "_timer_at",
        "_transport",
        "_waiter",
        "_writes",
        "answered",
        "headers",
        "kept_since",
        "open",
        "status",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, writes: Writes, lost: Callable[[Connection], None]
    ) -> None:
        """``lost`` is told when the connection has ended; ``writes`` is shared by those to one upstream."""
        self._writes = writes
        self.open = False
        self.kept_since = 0.0
        self._lost = lost
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(
            lenient_chunked_length=True,
            lenient_spaces_after_chunk_size=True,
        )
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._deadline = 0.0
        self._late = Late.FIRST_BYTE
        self._begin(piecewise=False)
        self._complete = True

    def _begin(self, *, piecewise: bool) -> None:
        self._piecewise = piecewise
        self.answered = self._headers_done = self._complete = self._keep = self._paused = False
        self._framed_twice = False
        self.status = 0
        self.headers: Headers = []
        self._body: bytes | bytearray = b""
        self._beside_body = 0
        self._error: CallError | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = transport  # type: ignore[assignment]
        self.open = True

    def data_received(self, data: bytes) -> None:
        """Part of an answer, or what nobody asked for."""
        if self._complete:  # nobody asked: whatever it is, it must not become the next answer
            self.abort()
            return
        self.answered = True
        self._beside_body += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._give_up("what the model's server sent cannot be understood")
        if self._beside_body > _MOST_BESIDE_BODY:
            self._give_up("the headers of the model's server are too large")

    def eof_received(self) -> bool:
        """The upstream has said everything."""
        # At once, and not when the last of the request has been written to someone who has left.
        self._ended(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._stop_timer()
        self._lost(self)
        self._ended(exc)

    def _ended(self, exc: Exception | None) -> None:
        self.open = False
        if self._complete or self._error is not None:
            return
        if exc is None and self._headers_done and _until_close(self.headers):
            self._complete = True
            self._wake()
        else:
            self._fail(CallError(Phase.BROKEN))

    # httptools

    def on_message_begin(self) -> None:
        """The first byte of an answer."""
        if self._complete:  # a second answer behind the first; nothing of it is read
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        if not self._headers_done:  # else it is a trailer
            self.headers.append((name.lower().decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The blank line."""
        if self._headers_done:
            return
        status = self._parser.get_status_code()
        if 200 <= status <= 599:
            self.status = status
            self._headers_done = True
            names = [name for name, _ in self.headers]
            if "transfer-encoding" in names and "content-length" in names:
                self._framed_twice = True
                if _until_close([pair for pair in self.headers if pair[0] != "content-length"]):
                    self._give_up("what the model's server sent cannot be understood")
                    return
            if self._piecewise:
                self._wake()
        elif not 100 <= status <= 199:
            self._give_up("what the model's server sent cannot be understood")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._complete:
            return
        self._beside_body = 0
        if not self._body:
            self._body = body
        else:
            if type(self._body) is bytes:
                self._body = bytearray(self._body)
            self._body += body
        if self._piecewise:
            if len(self._body) > _READ_AHEAD and not self._paused and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()
            self._wake()
        elif len(self._body) > LARGEST_ANSWER:
            self._give_up("the answer of the model's server is too large")

    def on_message_complete(self) -> None:
        """The last byte of an answer."""
        if not self._headers_done:  # 100 Continue and the like: the answer is still to come
            self.headers.clear()
        elif not self._complete:
            self._complete = True
            self._keep = self._parser.should_keep_alive() and not self._framed_twice
            self._wake()

    # For the client

    async def ask(self, message: bytes, end: float, *, piecewise: bool) -> None:
        """Sends a request, and waits for the answer's headers where its body is taken piece by piece, else for all
        of it. Ends the connection where that fails.

        Args:
            message: head and body.
            end: by the loop's clock.
            piecewise: how the body is taken.
        """
        if not self.open or self._transport is None:
            raise CallError(Phase.CONNECT)
        self._begin(piecewise=piecewise)
        try:
            self._writes.write(self._transport, message)
            while not (self._headers_done if piecewise else self._complete):
                await self._wait(end, Late.FIRST_BYTE)
        except BaseException as error:
            self.abort()
            if type(error) is CallError and self._headers_done:
                error.came = (self.status, self.headers, self.body())
            raise

    async def piece(self, end: float, late: Late) -> bytes | None:
        """The next bytes of the body; None at its end."""
        while not self._body:
            if self._complete:
                return None
            await self._wait(end, late)
        found = self.body()
        self._body = b""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return found

    @property
    def complete(self) -> bool:
        """Whether the last byte of the current answer has come."""
        return self._complete

    def body(self) -> bytes:
        """What has arrived and was not taken."""
        return bytes(self._body)

    def reusable(self) -> bool:
        """Whether nothing of the last request or answer is left that could get into the next."""
        return (
            self._keep
            and self.open
            and not self._paused
            and self._transport is not None
            and self._transport.get_write_buffer_size() == 0
        )

    def abort(self) -> None:
        """Ends the connection at once; the upstream sees that nobody reads any more."""
        self._stop_timer()
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self, end: float, late: Late) -> None:
        if self._error is not None:
            raise self._error
        self._deadline, self._late = end, late
        # One timer serves many waits: it looks at the deadline when it is due, and goes on if that has moved.
        if self._timer is None or self._timer_at > end:
            self._stop_timer()
            self._timer = self._loop.call_at(end, self._timed_out)
            self._timer_at = end
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None
        if self._error is not None:
            raise self._error

    def _timed_out(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._deadline - self._loop.time() > 0.001:
            self._timer = self._loop.call_at(self._deadline, self._timed_out)
            self._timer_at = self._deadline
        else:
            self._fail(CallError(Phase.TIMEOUT, self._late.value))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self, message: str) -> None:
        """What comes is not worth reading on; an answer that is complete stays one."""
        if not self._complete:
            self._fail(CallError(Phase.BROKEN, message))
        self.abort()

    def _fail(self, error: CallError) -> None:
        if self._error is None:
            self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Address(Target):
    __slots__ = ("bodiless", "head", "repeatable")

    def __init__(self, head: bytes, bodiless: bool, repeatable: bool) -> None:
        self.head = head
        self.bodiless = bodiless
        self.repeatable = repeatable


class _Tunnel(asyncio.Protocol):
    """A connection to a proxy until that has opened the way to an upstream (RFC 9110, 9.3.6).

    Attributes:
        answered: the status of the proxy's answer, once it is there.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.answered: asyncio.Future[int] = loop.create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._size = 0

    def data_received(self, data: bytes) -> None:
        self._size += len(data)
        if self.answered.done():
            return
        with suppress(httptools.HttpParserUpgrade):
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError:
                self._fail()
        if self._size > _MOST_BESIDE_BODY:
            self._fail()

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 and not self.answered.done():
            self.answered.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail()

    def _fail(self) -> None:
        if not self.answered.done():
            self.answered.set_exception(ConnectionResetError())


class Http1Reply:
    """As :class:`~tiny_dancer.gateway.upstream.clients.base.Reply`."""

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

    async def close(self, *, said_all: bool = False) -> None:
        """Keeps the connection where the answer was read to its end, else ends it."""
        # Once: by the second time the connection may serve another request.
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if said_all and not connection.complete:
            self._client.await_end(connection, min(self._loop.time() + _TAIL, self._end))
        else:
            self._client.give_back(connection)


class Http1Client:
    """As :class:`~tiny_dancer.gateway.upstream.clients.base.Client`."""

    def __init__(self, upstream: config.Upstream) -> None:
        """Opens nothing yet. Proxies and ``SSL_CERT_FILE`` are those of the environment now.

        Raises:
            ConfigError: the environment names a proxy that is no HTTP proxy.
        """
        self._times = upstream.timeouts
        parts = urlsplit(upstream.base_url)
        self._host = parts.hostname or ""
        secure = parts.scheme.lower() == "https"
        self._port = parts.port or (443 if secure else 80)
        self._proxy = proxy_for(upstream.base_url)
        self._tls: ssl.SSLContext | None = None
        if secure:
            # Trusts whom the system does, or SSL_CERT_FILE and SSL_CERT_DIR say.
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        self._kept: deque[Connection] = deque()  # the one used last at the right
        self._closed = False
        self._ending: set[asyncio.Task[None]] = set()
        self._writes = Writes()

    def target(self, url: str, headers: Headers, method: str = "POST", *, repeatable: bool = True) -> Target:
        """Prepares the lines every request to this URL begins with."""
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        beside = [("user-agent", "tiny-dancer"), ("accept", "*/*"), ("accept-encoding", "identity")]
        if self._proxy is not None and self._tls is None:
            path = f"{parts.scheme}://{parts.netloc}{path}"
            if self._proxy.authorization is not None:
                beside.append(("proxy-authorization", self._proxy.authorization))
        given = {name.lower() for name, _ in headers}
        lines = [f"{method} {path} HTTP/1.1", f"host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in beside if name not in given]
        lines += [f"{name}: {value}" for name, value in headers]
        return _Address("\r\n".join(lines).encode("latin-1") + b"\r\n", method in _BODILESS, repeatable)

    async def whole(
        self, target: Target, extra: Sequence[tuple[str, str]], body: bytes
    ) -> tuple[int, Headers, bytes]:
        """Asks, and gives status, headers and the whole body."""
        loop = asyncio.get_running_loop()
        connection = await self._ask(target, extra, body, loop, loop.time() + self._times.total, piecewise=False)
        found = connection.status, connection.headers, connection.body()
        self.give_back(connection)
        if encoding := encoding_of(found[1]):
            return found[0], without_encoding(found[1]), decoded(encoding, found[2])
        return found

    async def stream(self, target: Target, extra: Sequence[tuple[str, str]], body: bytes) -> Reply:
        """Asks, and gives the answer as soon as its headers are there."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._times.total
        connection = await self._ask(target, extra, body, loop, end, piecewise=True)
        reply = Http1Reply(self, connection, self._times.idle, end, loop)
        return await read_plainly(reply) if encoding_of(reply.headers) else reply

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

    def await_end(self, connection: Connection, end: float) -> None:
        """Gives a connection back when its answer has ended, or at the latest at ``end`` by the loop's clock."""
        task = asyncio.get_running_loop().create_task(self._to_its_end(connection, end))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _to_its_end(self, connection: Connection, end: float) -> None:
        try:
            while await connection.piece(end, Late.IDLE) is not None:
                pass
        except CallError:
            connection.abort()
        else:
            self.give_back(connection)

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
        if target.bodiless:
            message = b"%b%b\r\n" % (target.head, more)
        else:
            message = b"%b%bcontent-length: %d\r\n\r\n%b" % (target.head, more, len(body), body)
        first_byte = self._times.first_byte
        connection = self._last_used()
        if connection is not None and not target.repeatable and monotonic() - connection.kept_since >= _SURE:
            self._kept.append(connection)
            connection = None
        if connection is not None:
            try:
                await connection.ask(message, min(loop.time() + first_byte, end), piecewise=piecewise)
                return connection
            except CallError as error:
                # A server may close a connection it has kept just when the next request leaves. Once, and not on
                # another kept one: those may be closed as well, or the request may be what breaks them.
                if error.phase is not Phase.BROKEN or connection.answered or not target.repeatable:
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
                if self._proxy is not None:
                    return await self._by_proxy(loop, self._proxy)
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self._writes, self._lost), self._host, self._port, ssl=self._tls
                )
        except TimeoutError as error:
            raise CallError(Phase.CONNECT, Late.CONNECT.value) from error
        except (OSError, UnicodeError) as error:  # UnicodeError: no name a resolver takes
            raise CallError(Phase.CONNECT) from error
        return connection

    async def _by_proxy(self, loop: asyncio.AbstractEventLoop, proxy: Proxy) -> Connection:
        """A connection to the proxy, which reads plain requests itself and is asked for a tunnel otherwise."""
        connection = Connection(loop, self._writes, self._lost)
        if self._tls is None:
            await loop.create_connection(lambda: connection, proxy.host, proxy.port)
            return connection
        transport, tunnel = await loop.create_connection(lambda: _Tunnel(loop), proxy.host, proxy.port)
        try:
            host = f"[{self._host}]" if ":" in self._host else self._host
            lines = [f"CONNECT {host}:{self._port} HTTP/1.1", f"host: {host}:{self._port}"]
            if proxy.authorization is not None:
                lines.append(f"proxy-authorization: {proxy.authorization}")
            transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
            status = await tunnel.answered
            if not 200 <= status <= 299:
                raise CallError(Phase.CONNECT, f"the proxy opens no way to the model's server (status {status})")
            secured = await loop.start_tls(transport, connection, self._tls, server_hostname=self._host)
        except BaseException:
            transport.abort()
            raise
        if secured is None:
            raise ConnectionResetError
        connection.connection_made(secured)
        return connection


def _until_close(headers: Headers) -> bool:
    """Whether the end of the connection is the end of the answer (RFC 9112, 6.3)."""
    return not any(
        name == "content-length" or (name == "transfer-encoding" and "chunked" in value.lower())
        for name, value in headers
    )
