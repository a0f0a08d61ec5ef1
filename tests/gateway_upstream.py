"""A real HTTP/1.1 server that stands in for a provider, with the faults providers have.

In a test::

    with Upstream("cheap") as upstream:
        upstream.script(Behaviour(status=429, headers={"retry-after": "1"}), Behaviour(pieces=("Yes", ".")))

or as a process of its own: ``python -m tests.gateway_upstream --port 9001 --name cheap``. A request can also say
what an upstream should do with it, in a field that a gateway has to pass on like any other it does not know:
``{"behaviour": {"cheap": {"status": 500}}}``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Self

import httptools
import msgspec
from tests.gateway_answers import STREAMED, WHOLE, Behaviour, Said, encoded

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT = 30.0
WORDS = {400: "Bad Request", 401: "Unauthorized", 429: "Too Many Requests", 500: "Internal Server Error"}


class Received:
    """A request as it arrived, and how its answer goes.

    Attributes:
        number: from 1, in the order of arrival.
        connection: number of the connection it came on.
        method: of HTTP.
        path: with its query.
        headers: names in lower case, in order.
        body: the bytes.
        at: :func:`time.monotonic` of its arrival.
        sent: events of the answer given to the transport.
        written: bytes of the answer given to the transport.
        blocked: the client does not read: writing waits.
        finished: the whole answer was given to the transport. Set by the server's thread, perhaps a moment after
            the client has read the end: to be waited for.
        gone: the client's connection ended before that.
    """

    def __init__(self, connection: _Connection, method: str, path: str, headers: list[tuple[str, str]]) -> None:
        self.number = 0
        self.connection = connection.number
        self.method = method
        self.path = path
        self.headers = headers
        self.body = b""
        self.at = 0.0
        self.sent = 0
        self.written = 0
        self.blocked = False
        self.finished = threading.Event()
        self.gone = threading.Event()
        self._loop = asyncio.get_running_loop()
        self.permits = asyncio.Semaphore(0)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def allow(self, events: int = 1) -> None:
        """Lets a gated answer send so many more events."""
        for _ in range(events):
            self._loop.call_soon_threadsafe(self.permits.release)


class _Connection(asyncio.Protocol):
    """One client; answers its requests one after the other."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.parser = httptools.HttpRequestParser(self)
        self.waiting: deque[Received] = deque()
        self.task: asyncio.Task[None] | None = None
        self.current: Received | None = None
        self.writable = asyncio.Event()
        self.writable.set()
        self.served = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        # asyncio does so by itself only for sockets made with the protocol's number.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.upstream.connections += 1
        self.number = self.upstream.connections
        self.upstream.open.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self.upstream.open.discard(self)
        if self.current is not None and not self.current.finished.is_set():
            self.current.gone.set()
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        self.writable.clear()
        if self.current is not None:
            self.current.blocked = True

    def resume_writing(self) -> None:
        self.writable.set()
        if self.current is not None:
            self.current.blocked = False

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.upstream.broken.append(repr(error))
            self.transport.abort()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode().lower(), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        received = Received(self, self.parser.get_method().decode(), self.target.decode(), self.headers)
        received.body, received.at = b"".join(self.body), time.monotonic()
        self.waiting.append(received)
        if self.task is None or self.task.done():
            self.task = asyncio.get_running_loop().create_task(self.answer())
            self.task.add_done_callback(self.answered)

    # The answer.

    def answered(self, task: asyncio.Task[None]) -> None:
        """A mistake in this stand-in ends the connection: who waits for an answer is told at once."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.upstream.broken.append(repr(error))
            self.transport.abort()

    async def answer(self) -> None:
        while self.waiting:
            self.current = received = self.waiting.popleft()
            behaviour = self.upstream.take(received)
            self.served += 1
            if behaviour.fault == "stale":
                if self.served > 1:
                    return self.end("reset")
            elif behaviour.fault and behaviour.at == "headers":
                return await self.fail(behaviour.fault)
            await self.reply(received, behaviour)
            if behaviour.close:
                return self.transport.close()
        return None

    async def reply(self, received: Received, behaviour: Behaviour) -> None:
        path = received.path.partition("?")[0].removeprefix("/v1")
        if received.method == "GET" and path == "/models":
            names = [{"id": each, "object": "model", "created": 0, "owned_by": "test"} for each in ("a", "b")]
            return await self.whole(received, behaviour, encoded({"object": "list", "data": names}))
        # Azure has the deployment in the path; /chat/completions comes before /completions in the table.
        path = next((each for each in WHOLE if path.endswith(each)), path)
        if behaviour.status < 400 and behaviour.body is not None and path not in WHOLE:
            return await self.whole(received, behaviour, behaviour.body)  # whatever else servers have
        if behaviour.status >= 400 or path not in WHOLE:
            status = behaviour.status if behaviour.status >= 400 else 404
            known = {"message": f"status {status}", "type": "upstream_error", "param": None, "code": None}
            return await self.whole(received, behaviour, encoded({"error": {**known, **behaviour.error}}), status)
        request = received.json
        said = Said(request.get("model") or "", received.number, request, behaviour)
        if request.get("stream") is True and path in STREAMED and behaviour.body is None:
            return await self.stream(received, behaviour, STREAMED[path](said))
        return await self.whole(received, behaviour, WHOLE[path](said))

    async def whole(self, received: Received, behaviour: Behaviour, body: bytes, status: int = 200) -> None:
        body = body if behaviour.body is None else behaviour.body
        self.head(behaviour, status, "application/json", f"content-length: {len(body)}")
        if behaviour.fault in ("hang", "cut", "reset"):
            half = body[: len(body) // 2] if behaviour.at == "middle" else b""
            await self.write(received, half)
            return await self.fail(behaviour.fault)
        await self.write(received, body)
        return received.finished.set()

    async def stream(self, received: Received, behaviour: Behaviour, events: Any) -> None:
        self.head(behaviour, 200, "text/event-stream", "transfer-encoding: chunked")
        limit = {"first": 0, "middle": behaviour.after}.get(behaviour.at, 0) if behaviour.fault else None
        if behaviour.batch:
            events = [b"".join(events)]
        for index, event in enumerate(events):
            if index == limit:
                return await self.fail(behaviour.fault)
            if behaviour.free is not None and index >= behaviour.free:
                await received.permits.acquire()
            if behaviour.delay and index:
                await asyncio.sleep(behaviour.delay)
            received.sent += 1
            await self.write(received, b"%x\r\n%b\r\n" % (len(event), event))
        await self.write(received, b"0\r\n\r\n")
        return received.finished.set()

    def head(self, behaviour: Behaviour, status: int, content_type: str, length: str) -> None:
        lines = [
            f"HTTP/1.1 {status} {WORDS.get(status, 'OK' if status < 400 else 'Error')}",
            f"content-type: {behaviour.content_type or content_type}",
            length,
            *(f"{name}: {value}" for name, value in behaviour.headers.items()),
        ]
        self.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def write(self, received: Received, data: bytes) -> None:
        """In pieces, so that ``written`` says how much a client that does not read let pass."""
        for start in range(0, len(data), 65536):
            part = data[start : start + 65536]
            self.transport.write(part)
            received.written += len(part)
            # Lets the loop tell that the client is gone, which writing itself does not.
            await asyncio.sleep(0)
            await self.writable.wait()

    async def fail(self, fault: str) -> None:
        if fault == "hang":
            await asyncio.get_running_loop().create_future()
        self.end(fault)

    def end(self, how: str) -> None:
        assert self.current is not None
        self.current.finished.set()
        if how == "reset":
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()


class Upstream:
    """The server, in a thread of its own.

    Attributes:
        name: what ``behaviour`` in a request calls it.
        usual: what it does where nothing else is said; a function decides per request.
        received: every request, in the order of arrival.
        broken: bytes that were no HTTP, and what this stand-in could not answer.
        connections: accepted so far.
    """

    def __init__(
        self,
        name: str = "upstream",
        usual: Behaviour | Callable[[Received], Behaviour] | None = None,
        port: int = 0,
    ) -> None:
        self.name = name
        self.usual = usual or Behaviour()
        self.received: list[Received] = []
        self.broken: list[str] = []
        self.connections = 0
        self.open: set[_Connection] = set()
        self._script: deque[Behaviour] = deque()
        self._arrival = threading.Condition()
        self._socket = socket.create_server(("127.0.0.1", port), backlog=1024)
        # Small, so that a test of backpressure sees it after kilobytes.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        self.port: int = self._socket.getsockname()[1]
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> Self:
        self._thread.start()
        assert self._started.wait(TIMEOUT)
        return self

    def stop(self) -> None:
        """Closes it and every connection; its port is free then."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(TIMEOUT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def script(self, *behaviours: Behaviour) -> None:
        """What it does with the next requests, one each; then the usual again."""
        with self._arrival:
            self._script.extend(behaviours)

    def forget(self) -> None:
        """As if new: nothing received, no script, the usual behaviour."""
        with self._arrival:
            self.received.clear()
            self._script.clear()
            self.usual = Behaviour()

    def arrived(self, count: int = 1) -> Received:
        """Waits until so many requests have arrived; the last of them."""
        with self._arrival:
            assert self._arrival.wait_for(lambda: len(self.received) >= count, TIMEOUT), (
                f"{len(self.received)} of {count} requests arrived at {self.name}"
            )
            return self.received[count - 1]

    def close_idle(self) -> None:
        """Closes the connections that serve nothing now, as servers do with idle ones."""
        done = threading.Event()

        def close() -> None:
            for each in list(self.open):
                if each.current is None or each.current.finished.is_set():
                    each.transport.close()
            done.set()

        self._loop.call_soon_threadsafe(close)
        assert done.wait(TIMEOUT)

    def break_all(self) -> None:
        """Breaks every connection, as a server does that dies; it is there again at once."""
        done = threading.Event()

        def abort() -> None:
            for each in list(self.open):
                each.transport.abort()
            done.set()

        self._loop.call_soon_threadsafe(abort)
        assert done.wait(TIMEOUT)

    def take(self, received: Received) -> Behaviour:
        """What to do with a request that arrived."""
        with self._arrival:
            self.received.append(received)
            received.number = len(self.received)
            self._arrival.notify_all()
            if self._script:
                return self._script.popleft()
        if b'"behaviour"' in received.body:
            own = received.json.get("behaviour", {}).get(self.name)
            if own is not None:
                return msgspec.convert(own, Behaviour)
        return self.usual(received) if callable(self.usual) else self.usual

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await self._loop.create_server(lambda: _Connection(self), sock=self._socket)
        self._started.set()
        await self._stopped.wait()
        server.close()
        for each in list(self.open):
            each.transport.abort()


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in upstream; see the module's docstring.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--name", default="upstream")
    given = parser.parse_args()
    upstream = Upstream(given.name, port=given.port).start()
    print(upstream.port, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
