"""A client for what wrk cannot measure: a given rate, first tokens, streams held open."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec

PROMPTS = [
    f"Order {number}: please tell me what the capital city of France is and why it became the capital, in about "
    "three short sentences, and mention the river there."
    for number in range(512)
]
"""About thirty tokens each."""


def bodies(model: str = "auto", **more: Any) -> list[bytes]:
    """Requests that differ in their prompt."""
    messages = ([{"role": "user", "content": prompt}] for prompt in PROMPTS)
    return [msgspec.json.encode({"model": model, "messages": each, **more}) for each in messages]


class Connection(asyncio.Protocol):
    """Kept alive; one request at a time."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.first = 0.0
        self.done: asyncio.Future[bool] | None = None
        self.began: asyncio.Future[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_result(False)

    def send(self, port: int, body: bytes) -> asyncio.Future[bool]:
        """Whether the answer was of status 200; ``first`` is when its body began."""
        loop = asyncio.get_running_loop()
        self.buffer.clear()
        self.first = 0.0
        self.done, self.began = loop.create_future(), loop.create_future()
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-type: application/json\r\n"
            % port
        )
        self.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
        return self.done

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.done is None or self.done.done():
            return
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        if self.first == 0.0 and len(self.buffer) > end + 4:
            self.first = time.perf_counter()
            assert self.began is not None
            self.began.set_result(None)
        start = self.buffer.find(b"content-length: ", 0, end)
        if start < 0:
            complete = self.buffer.endswith(b"0\r\n\r\n")
        else:
            length = int(self.buffer[start + 16 : self.buffer.find(b"\r", start)])
            complete = len(self.buffer) >= end + 4 + length
        if complete:
            self.done.set_result(self.buffer.startswith(b"HTTP/1.1 200"))


@dataclass
class Times:
    """Seconds from sending a request to the first byte of its body, and to the last."""

    first: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    failed: int = 0

    def note(self, begin: float, good: bool, connection: Connection) -> None:
        if good:
            self.first.append(connection.first - begin)
            self.last.append(time.perf_counter() - begin)
        else:
            self.failed += 1


def quantile(values: list[float], share: float) -> float:
    """Milliseconds."""
    ordered = sorted(values)
    return 1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]


async def connect(port: int) -> Connection:
    loop = asyncio.get_running_loop()
    return (await loop.create_connection(Connection, "127.0.0.1", port))[1]


async def closed_loop(port: int, requests: list[bytes], connections: int, seconds: float) -> Times:
    """Every connection sends its next request when it has the answer to its last."""
    times = Times()
    end = time.perf_counter() + seconds

    async def one(number: int) -> None:
        connection = await connect(port)
        while (begin := time.perf_counter()) < end:
            good = await connection.send(port, requests[number % len(requests)])
            times.note(begin, good, connection)
            number += connections
            if not good:
                connection = await connect(port)
        connection.transport.close()

    await asyncio.gather(*(one(number) for number in range(connections)))
    return times


async def open_loop(port: int, requests: list[bytes], rate: float, connections: int, seconds: float) -> Times:
    """Requests at a rate, whether or not earlier ones are answered; waiting for a connection counts."""
    times = Times()
    idle = deque([await connect(port) for _ in range(connections)])
    waiting: deque[tuple[float, bytes]] = deque()
    running: set[asyncio.Task[None]] = set()

    async def serve(connection: Connection, begin: float, body: bytes) -> None:
        while True:
            times.note(begin, await connection.send(port, body), connection)
            if not waiting:
                break
            begin, body = waiting.popleft()
        idle.append(connection)

    start = time.perf_counter()
    sent = 0
    while (now := time.perf_counter() - start) < seconds:
        while sent < now * rate:
            begin, body = time.perf_counter(), requests[sent % len(requests)]
            sent += 1
            if idle:
                task = asyncio.ensure_future(serve(idle.popleft(), begin, body))
                running.add(task)
                task.add_done_callback(running.discard)
            else:
                waiting.append((begin, body))
        await asyncio.sleep(0.0005)
    if running:
        await asyncio.wait(running, timeout=10)
    for each in idle:
        each.transport.close()
    return times


async def hold(port: int, body: bytes, count: int) -> list[Connection]:
    """Streams that have begun and do not end."""
    held = [await connect(port) for _ in range(count)]
    for each in held:
        each.send(port, body)
    await asyncio.wait_for(asyncio.gather(*(each.began for each in held if each.began is not None)), 30)
    return held
