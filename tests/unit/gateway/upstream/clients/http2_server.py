"""Node's HTTP/2 server in a process of its own, and the client under test with one address of it."""

from __future__ import annotations

import asyncio
import json
import queue
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from tiny_dancer.gateway.configuration.settings import Timeouts, Upstream
from tiny_dancer.gateway.upstream.clients.http2 import Http2Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiny_dancer.gateway.upstream.clients.base import Reply

SCRIPT = Path(__file__).with_name("http2_server.mjs")
PATIENCE = 30.0


class Server:
    """Node's; ``happened`` has all it said so far."""

    def __init__(self, node: str, folder: Path, streams: int) -> None:
        command = [node, str(SCRIPT), str(folder / "server.pem"), str(folder / "server.key"), str(streams)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.happened: list[dict[str, Any]] = []
        self._said: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.url = f"https://localhost:{self._next('port')['port']}/"

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.put(json.loads(line))

    def _next(self, key: str) -> dict[str, Any]:
        while True:
            found = self._said.get(timeout=PATIENCE)
            self.happened.append(found)
            if key in found:
                return found

    async def next(self, key: str) -> dict[str, Any]:
        """The next thing of this kind that happens, or has."""
        return await asyncio.to_thread(self._next, key)

    def count(self, key: str) -> int:
        """How often it happened, of what was waited for or came before that."""
        return sum(key in each for each in self.happened)

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._listener.join()


class Caller:
    """The client, and what is asked of it here."""

    def __init__(self, url: str, **times: float) -> None:
        self.url = url
        self.client = Http2Client(Upstream(base_url=url, timeouts=Timeouts(**times)))

    async def whole(self, name: str, body: bytes = b"{}", *extra: tuple[str, str]) -> Any:
        return await self.client.whole(self.client.target(self.url + name, [("x-sent", "1")]), extra, body)

    async def stream(self, name: str, body: bytes = b"{}") -> Reply:
        return await self.client.stream(self.client.target(self.url + name, []), (), body)

    async def streamed(self, name: str, body: bytes = b"{}") -> list[bytes]:
        reply = await self.stream(name, body)
        try:
            return [part async for part in parts(reply)]
        finally:
            await reply.close()


async def parts(reply: Reply) -> Any:
    while (part := await reply.chunk()) is not None:
        yield part


def call(url: str, use: Callable[[Caller], Any], **times: float) -> None:
    async def main() -> None:
        caller = Caller(url, **times)
        async with asyncio.timeout(2 * PATIENCE):
            await use(caller)
        await caller.client.close()

    uvloop.run(main())
