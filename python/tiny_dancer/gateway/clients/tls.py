"""Upstreams behind TLS, by pyreqwest (Rust's reqwest): HTTP/2 where they offer it, proxies as the environment
says.

It works in a thread of its own; what is dropped here is cancelled there, and the connection or HTTP/2 stream
closed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import ConnectError, ConnectTimeoutError, PyreqwestError, RequestTimeoutError
from pyreqwest.http import Url

from tiny_dancer.gateway.clients.base import CallError, Headers, Phase, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyreqwest.request import RequestBuilder, StreamRequest
    from pyreqwest.response import Response

    from tiny_dancer.gateway import config

# Bytes the transport reads before it hands an answer over. With none, a stream is handed over with its headers,
# and an upstream that is ahead of a slow client waits.
_READ_AHEAD: Final = 0


class _Address(Target):
    __slots__ = ("headers", "url")

    def __init__(self, url: str, headers: Headers) -> None:
        self.url = Url(url)
        self.headers = headers


class TlsReply:
    """As :class:`~tiny_dancer.gateway.clients.base.Reply`."""

    __slots__ = ("_idle", "_request", "_response", "headers", "status")

    def __init__(self, request: StreamRequest, response: Response, idle: float) -> None:
        self._request = request
        self._response = response
        self._idle = idle
        self.status = response.status
        self.headers: Headers = list(response.headers.items())

    async def chunk(self) -> bytes | None:
        """What arrived next, or None at the end."""
        try:
            async with asyncio.timeout(self._idle):
                found = await self._response.body_reader.read_chunk()
        except (TimeoutError, PyreqwestError) as error:
            raise _call_error(error) from error
        return None if found is None else bytes(found)

    async def close(self) -> None:
        """Lets go of the connection."""
        await self._request.__aexit__(None, None, None)


class TlsClient:
    """As :class:`~tiny_dancer.gateway.clients.base.Client`."""

    def __init__(self, upstream: config.Upstream) -> None:
        """Opens nothing yet."""
        times = upstream.timeouts
        self._first_byte = times.first_byte
        self._idle = times.idle
        self._client = (
            ClientBuilder()
            .connect_timeout(timedelta(seconds=times.connect))
            .timeout(timedelta(seconds=times.total))
            .http2(upstream.http2)
            .follow_redirects(False)
            .gzip(False)
            .brotli(False)
            .deflate(False)
            .zstd(False)
            .user_agent("tiny-dancer")
            .build()
        )

    def target(self, url: str, headers: Headers) -> Target:
        """Prepares requests to a URL."""
        return _Address(url, headers)

    async def whole(
        self, target: Target, extra: Sequence[tuple[str, str]], body: bytes
    ) -> tuple[int, Headers, bytes]:
        """Posts, and gives status, headers and the whole body."""
        try:
            # The transport has no timeout that tells waiting for an answer from waiting for a connection.
            async with asyncio.timeout(self._first_byte):
                response = await self._request(target, extra, body).build().send()
            found = await response.bytes()
        except (TimeoutError, PyreqwestError) as error:
            raise _call_error(error) from error
        return response.status, list(response.headers.items()), bytes(found)

    async def stream(self, target: Target, extra: Sequence[tuple[str, str]], body: bytes) -> TlsReply:
        """Posts, and gives the answer as soon as its headers are there."""
        request = self._request(target, extra, body).streamed_read_buffer_limit(_READ_AHEAD).build_streamed()
        try:
            async with asyncio.timeout(self._first_byte):
                response = await request.__aenter__()
        except (TimeoutError, PyreqwestError) as error:
            raise _call_error(error) from error
        return TlsReply(request, response, self._idle)

    async def close(self) -> None:
        """Closes every connection."""
        await self._client.close()

    def _request(self, target: Target, extra: Sequence[tuple[str, str]], body: bytes) -> RequestBuilder:
        assert type(target) is _Address
        headers = [*target.headers, *extra] if extra else target.headers
        return self._client.post(target.url).headers(headers).body_bytes(body)


def _call_error(error: Exception) -> CallError:
    """The failure's kind. Texts of the transport name the address, so they are not passed on."""
    if isinstance(error, ConnectTimeoutError | ConnectError):
        return CallError(Phase.CONNECT)
    if isinstance(error, RequestTimeoutError | TimeoutError):
        return CallError(Phase.TIMEOUT)
    return CallError(Phase.BROKEN)
