"""A server that does what a script says, byte by byte, and clients of the gateway that call it."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tiny_dancer.gateway.configuration.settings import Timeouts, Upstream
from tiny_dancer.gateway.upstream.clients.http1 import Http1Client

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tiny_dancer.gateway.upstream.clients.base import Client, Headers, Target

    Script = Callable[["Wire"], Awaitable[None]]

PATIENCE = 30.0
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Wire:
    """One connection, on the server's side. ``number`` counts them from 1."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self.head = b""

    async def request(self) -> bytes:
        """The body of the next request; its head stays in ``head``."""
        await self.request_head()
        lines = self.head.lower().split(b"\r\n")
        (length,) = (int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
        return await self.reader.readexactly(length)

    async def request_head(self) -> None:
        self.head = await self.reader.readuntil(b"\r\n\r\n")

    async def send(self, *parts: bytes) -> None:
        """Each part goes out on its own."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            if len(parts) > 1:
                await asyncio.sleep(0)

    async def gone(self) -> None:
        """Waits until the client has closed the connection, or reset it."""
        try:
            while await self.reader.read(65536):
                pass
        except OSError:
            pass

    def reset(self) -> None:
        """Ends the connection the hard way."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


class RawServer:
    """Attributes: ``port``; ``wires`` in the order of arrival; ``bodies`` of requests read by :func:`each`."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.port = 0
        self.wires: list[Wire] = []
        self.bodies: list[bytes] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        wire = Wire(len(self.wires) + 1, reader, writer)
        self.wires.append(wire)
        try:
            await self.script(wire)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        for found in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(found, BaseException):
                raise found


@asynccontextmanager
async def serving(
    script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[RawServer]:
    server = RawServer(script)
    listening = await asyncio.start_server(server.serve, host, 0, ssl=tls, limit=1 << 20)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        async with asyncio.timeout(PATIENCE):
            yield server
    finally:
        listening.close()
        await server.end()


class Caller:
    """A client of the gateway's and one address."""

    def __init__(self, upstream: Upstream, headers: Headers, path: str = "") -> None:
        self.client: Client = Http1Client(upstream)
        self.address: Target = self.client.target(upstream.base_url + path, headers)

    async def whole(self, body: bytes = b"{}", *extra: tuple[str, str]) -> tuple[int, Headers, bytes]:
        return await self.client.whole(self.address, extra, body)

    async def stream(self, body: bytes = b"{}", *extra: tuple[str, str]) -> Any:
        return await self.client.stream(self.address, extra, body)

    async def streamed(self, body: bytes = b"{}") -> tuple[int, Headers, bytes]:
        """The same answer, taken piece by piece."""
        reply = await self.stream(body)
        parts = []
        try:
            while (part := await reply.chunk()) is not None:
                parts.append(part)
        finally:
            await reply.close()
        return reply.status, reply.headers, b"".join(parts)


@asynccontextmanager
async def calling(
    server: RawServer, *, scheme: str = "http", host: str = "127.0.0.1", path: str = "/v1", **times: float
) -> AsyncIterator[Caller]:
    upstream = Upstream(base_url=f"{scheme}://{host}:{server.port}{path}", timeouts=Timeouts(**times))
    caller = Caller(upstream, [("content-type", "application/json")])
    try:
        yield caller
    finally:
        await caller.client.close()
