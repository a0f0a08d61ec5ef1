"""Calls to upstreams: connection pools, timeouts phase by phase, failures by kind.

pyreqwest (Rust's reqwest) does the work in a thread of its own; what is dropped here is cancelled there, and the
connection closed. Answers are not decompressed and redirects not followed: what arrives is what the upstream said.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Self

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    ConnectError,
    ConnectTimeoutError,
    PyreqwestError,
    RequestTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyreqwest.request import StreamRequest
    from pyreqwest.response import Response

    from tiny_dancer.gateway import config

LARGEST_ANSWER = 256 * 1024 * 1024
"""Bytes of an answer read whole; embeddings of large batches and images have tens of megabytes."""

_LARGEST_ERROR = 1024 * 1024
# Bytes the transport reads before it hands an answer over. With none, a stream is handed over with its headers, and
# an upstream that is ahead of a slow client waits.
_READ_AHEAD = 0


class Phase(Enum):
    """Where a call failed."""

    CONNECT = "connect"
    """Nothing was sent: trying again cannot do anything twice."""
    TIMEOUT = "timeout"
    BROKEN = "broken"
    """The connection broke, or what came was no HTTP."""


class CallError(Exception):
    """No answer, or not all of it.

    Attributes:
        phase: where it failed.
        message: what the transport says, without address or headers.
    """

    def __init__(self, phase: Phase, message: str) -> None:
        super().__init__(phase, message)
        self.phase = phase
        self.message = message


class Reply:
    """An upstream's answer: status and headers have arrived. Close it, or read it to its end.

    Attributes:
        status: of HTTP.
        headers: pairs in the order sent, names in lower case.
    """

    __slots__ = ("_idle", "_request", "_response", "headers", "status")

    def __init__(self, request: StreamRequest, response: Response, idle: float) -> None:
        self._request = request
        self._response = response
        self._idle = idle
        self.status = response.status
        self.headers = list(response.headers.items())

    async def chunk(self) -> bytes | None:
        """What arrived next, or None at the end.

        Raises:
            CallError: nothing came in time, or the connection broke.
        """
        try:
            async with asyncio.timeout(self._idle):
                found = await self._response.body_reader.read_chunk()
        except (TimeoutError, PyreqwestError) as error:
            raise _call_error(error) from error
        return None if found is None else bytes(found)

    async def error_body(self) -> bytes:
        """The body of an error, as far as it is worth reading; empty where it breaks off."""
        parts: list[bytes] = []
        size = 0
        try:
            while size < _LARGEST_ERROR and (part := await self.chunk()) is not None:
                parts.append(part)
                size += len(part)
        except CallError:
            pass
        return b"".join(parts)

    async def close(self) -> None:
        """Lets go of the connection; one with an unread answer is closed."""
        await self._request.__aexit__(None, None, None)


class UpstreamClient:
    """The connections to one upstream. Made in the event loop that uses it."""

    def __init__(self, upstream: config.Upstream) -> None:
        """Opens nothing yet."""
        times = upstream.timeouts
        self._first_byte = times.first_byte
        self._idle = times.idle
        self._client: Client = _builder(upstream).build()

    async def whole(
        self, url: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Sends, and gives status, headers and the whole body.

        Raises:
            CallError: no answer.
        """
        try:
            # The transport has no timeout that tells waiting for an answer from waiting for a connection.
            async with asyncio.timeout(self._first_byte):
                response = await self._client.post(url).headers(headers).body_bytes(body).build().send()
            found = await response.bytes()
        except (TimeoutError, PyreqwestError) as error:
            raise _call_error(error) from error
        return response.status, list(response.headers.items()), bytes(found)

    async def stream(self, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> Reply:
        """Sends, and gives the answer as soon as its headers are there.

        Raises:
            CallError: no answer.
        """
        builder = self._client.post(url).headers(headers).body_bytes(body)
        request = builder.streamed_read_buffer_limit(_READ_AHEAD).build_streamed()
        try:
            async with asyncio.timeout(self._first_byte):
                response = await request.__aenter__()
        except (TimeoutError, PyreqwestError) as error:
            raise _call_error(error) from error
        return Reply(request, response, self._idle)

    async def close(self) -> None:
        """Closes every connection."""
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _builder(upstream: config.Upstream) -> ClientBuilder:
    times = upstream.timeouts
    return (
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
    )


def _call_error(error: Exception) -> CallError:
    """The failure's kind. Texts of the transport name the address, so they are not passed on."""
    if isinstance(error, ConnectTimeoutError | ConnectError):
        return CallError(Phase.CONNECT, "no connection to the model's server")
    if isinstance(error, RequestTimeoutError | TimeoutError):
        return CallError(Phase.TIMEOUT, "the model's server did not answer in time")
    return CallError(Phase.BROKEN, "the connection to the model's server broke")
