"""A server on a real socket, and clients that speak to it in raw bytes."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvloop

from tiny_dancer.gateway.configuration.address import Address
from tiny_dancer.gateway.configuration.settings import Limits
from tiny_dancer.gateway.edge.connections import Server
from tiny_dancer.gateway.edge.listening import bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


POST = b"POST /v1/x HTTP/1.1\r\nHost: a\r\n"
PATIENCE = 30.0


class Application:
    """Answers with what it got; ``/slow`` only once ``release`` is set, ``/stream`` in parts, ``/large`` much,
    ``/endless`` without end, ``/early`` before the body, ``/hold`` never. ``start`` is added to the beginning of a
    stream, ``first`` is its first word; ``headers`` are those of the last request."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.release = asyncio.Event()
        self.started = asyncio.Event()
        self.gone = asyncio.Event()
        self.start: dict[str, Any] = {}
        self.first = b"first"
        self.headers: list[tuple[bytes, bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.headers = scope["headers"]
        if scope["path"] == "/early":
            await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.set()
                return
            body += message["body"]
            more = message["more_body"]
        self.requests.append({"method": scope["method"], "path": scope["path"], "body": body.decode("latin-1")})
        path = scope["path"]
        if path == "/large":
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"50000000")]}
            )
            await send({"type": "http.response.body", "body": bytes(50_000_000)})
            return
        if path == "/endless":
            await send({"type": "http.response.start", "status": 200, "headers": [], **self.start})
            leaving = asyncio.ensure_future(receive())
            while not leaving.done():
                await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
                await asyncio.sleep(0)
            self.gone.set()
            return
        if path == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": [], **self.start})
            await send({"type": "http.response.body", "body": self.first, "more_body": True})
            self.started.set()
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                await send({"type": "http.response.body", "body": b"cut", "more_body": False})
                raise
            await send({"type": "http.response.body", "body": b"last", "more_body": False})
            return
        if path == "/hold":
            self.started.set()
            assert (await receive())["type"] == "http.disconnect"
            self.gone.set()
            return
        if path == "/slow":
            self.started.set()
            await self.release.wait()
        answer = json.dumps(self.requests[-1]).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


class Client:
    """A connection, in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one answer with a length."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, body

    async def rest(self) -> bytes:
        """Until the server closes."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    def close(self) -> None:
        self.writer.close()


class Place:
    """A server, its application and its clients."""

    def __init__(self, application: Application, server: Server, port: int) -> None:
        self.application, self.server, self.port = application, server, port
        self.clients: list[Client] = []

    async def connect(self) -> Client:
        self.clients.append(Client(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.clients[-1]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def place(**limits: float) -> AsyncIterator[Place]:
    application = Application()
    server = Server(application, Limits(**limits))  # type: ignore[arg-type]
    bound = bind(Address("127.0.0.1", 0), "listen")
    await server.start(bound.sockets[0])
    found = Place(application, server, bound.address.port)
    try:
        yield found
    finally:
        for client in found.clients:
            client.close()
        server.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())  # type: ignore[arg-type]
