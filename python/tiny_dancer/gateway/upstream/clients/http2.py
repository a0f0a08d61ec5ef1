"""Upstreams that are asked over HTTP/2, by pyqwest (Rust's reqwest): TLS, by ALPN nothing but HTTP/2, proxies as
the environment says.

It works in threads of its own, and handing over there costs more than a call's work; what it brings is many calls
on one connection. A call that is cancelled here is cancelled there, at once and whatever its phase: its stream is
reset, and no upstream goes on writing for nobody.

Calls share a connection, and another is opened only when the upstream allows it no more streams. An answer that
nobody reads is held back at two megabytes; three such hold back every answer on their connection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from pyqwest import Headers as SentHeaders
from pyqwest import HTTPTransport, HTTPVersion, ReadError, RemoteProtocolError, Request, WriteError

from tiny_dancer.gateway.upstream.clients.base import LARGEST_ANSWER, CallError, Headers, Late, Phase, Target
from tiny_dancer.gateway.upstream.clients.decoding import decoded, encoding_of, read_plainly, without_encoding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyqwest import Response

    from tiny_dancer.gateway.configuration import settings as config
    from tiny_dancer.gateway.upstream.clients.base import Reply

_HANDING_OVER: Final = 0.05  # seconds in which the transport's threads are done with an answer given here
_FAILURES: Final = (TimeoutError, ConnectionError, ReadError, WriteError, RemoteProtocolError)


class _Address(Target):
    __slots__ = ("headers", "method", "url")

    def __init__(self, url: str, headers: Headers, method: str) -> None:
        self.url = url
        self.headers = headers
        self.method = method


class Http2Reply:
    """As :class:`~tiny_dancer.gateway.upstream.clients.base.Reply`."""

    __slots__ = ("_chunks", "_idle", "_response", "headers", "status")

    def __init__(self, response: Response, idle: float) -> None:
        self._response = response
        self._chunks = response.content
        self._idle = idle
        self.status = response.status
        self.headers: Headers = list(response.headers.items())

    async def chunk(self) -> bytes | None:
        """What arrived next, or None at the end."""
        try:
            async with asyncio.timeout(self._idle) as time:
                while not (found := bytes(await anext(self._chunks))):
                    pass  # a frame of nothing, as many servers end a stream
        except StopAsyncIteration:
            return None
        except _FAILURES as error:
            raise _call_error(error, Late.IDLE if time.expired() else Late.TOTAL) from error
        return found

    async def close(self, *, said_all: bool = False) -> None:
        """Lets go of the stream; where its end was not read, it is reset, which costs the connection nothing."""
        del said_all
        await self._response.aclose()


class Http2Client:
    """As :class:`~tiny_dancer.gateway.upstream.clients.base.Client`.

    The time to the first byte begins before the connection is made: from here the two cannot be told apart.
    Nothing is sent twice but what the upstream has refused as unseen (REFUSED_STREAM, a GOAWAY before it).
    """

    def __init__(self, upstream: config.Upstream) -> None:
        """Opens nothing yet. Proxies and ``SSL_CERT_FILE`` are those of the environment now."""
        times = upstream.timeouts
        self._first_byte = times.first_byte
        self._idle = times.idle
        self._transport = HTTPTransport(
            http_version=HTTPVersion.HTTP2,  # else a call cancelled as it connects fails others (hyper-util)
            tls_include_system_certs=True,
            connect_timeout=times.connect,
            timeout=times.total,
            use_system_dns=True,
            follow_redirects=False,
            enable_gzip=False,
            enable_brotli=False,
            enable_zstd=False,
            enable_otel=False,
        )

    def target(self, url: str, headers: Headers, method: str = "POST", *, repeatable: bool = True) -> Target:
        """Prepares requests to a URL."""
        del repeatable  # nothing is repeated here
        given = {name.lower() for name, _ in headers}
        beside = [("user-agent", "tiny-dancer"), ("accept-encoding", "identity")]
        return _Address(url, [*(pair for pair in beside if pair[0] not in given), *headers], method)

    async def whole(
        self, target: Target, extra: Sequence[tuple[str, str]], body: bytes
    ) -> tuple[int, Headers, bytes]:
        """Asks, and gives status, headers and the whole body."""
        request = _request(target, extra, body)
        parts: list[bytes] = []
        size = 0
        try:
            async with (
                asyncio.timeout(self._first_byte) as time,
                await self._transport.execute(request) as response,
            ):
                async for part in response.content:
                    parts.append(bytes(part))
                    size += len(part)
                    if size > LARGEST_ANSWER:
                        raise CallError(Phase.BROKEN, "the answer of the model's server is too large")
        except _FAILURES as error:
            raise _call_error(error, Late.FIRST_BYTE if time.expired() else Late.TOTAL) from error
        headers = list(response.headers.items())
        if encoding := encoding_of(headers):
            return response.status, without_encoding(headers), decoded(encoding, b"".join(parts))
        return response.status, headers, b"".join(parts)

    async def stream(self, target: Target, extra: Sequence[tuple[str, str]], body: bytes) -> Reply:
        """Asks, and gives the answer as soon as its headers are there."""
        request = _request(target, extra, body)
        try:
            async with asyncio.timeout(self._first_byte) as time:
                response = await self._transport.execute(request)
        except _FAILURES as error:
            raise _call_error(error, Late.FIRST_BYTE if time.expired() else Late.TOTAL) from error
        return await read_plainly(Http2Reply(response, self._idle))

    async def close(self) -> None:
        """Closes every connection."""
        await self._transport.aclose()
        # A thread still in the interpreter when that ends aborts the process, and nothing tells when it has left.
        await asyncio.sleep(_HANDING_OVER)


def _request(target: Target, extra: Sequence[tuple[str, str]], body: bytes) -> Request:
    assert type(target) is _Address
    headers = SentHeaders([*target.headers, *extra] if extra else target.headers)
    return Request(target.method, target.url, headers, body)


def _call_error(error: Exception, late: Late) -> CallError:
    """The failure's kind. Texts of the transport name the address, so they are not passed on."""
    if isinstance(error, ConnectionError):
        return CallError(Phase.CONNECT, Late.CONNECT.value if isinstance(error, TimeoutError) else None)
    if isinstance(error, TimeoutError):
        return CallError(Phase.TIMEOUT, late.value)
    return CallError(Phase.BROKEN)
