"""A gateway as users run it: the command, in processes of its own; and a load that counts what fails."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import httpx
from tests.commands import EXECUTABLE
from tests.integration.gateway.serving import written

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

PATIENCE = 90.0
BODY = json.dumps({"model": "small", "messages": [{"role": "user", "content": "Hi"}]}).encode()
REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Running:
    """``tiny-dancer gateway``.

    Attributes:
        file: its configuration.
        port: of clients.
        health: URL of the health port.
        lines: what it has written to standard error.
    """

    port: int
    health: str

    def __init__(
        self,
        content: dict[str, Any] | None,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        command: Sequence[str | Path] = (EXECUTABLE,),
    ) -> None:
        """Starts it by a configuration, or as a demo without one; ``options`` are further ones of the command."""
        folder.mkdir(exist_ok=True)
        arguments = ["--demo"]
        if content is not None:
            ports = {"listen": "127.0.0.1:0", "health": "127.0.0.1:0"}
            self.file = written({**ports, **content}, folder)
            arguments = ["--config", str(self.file)]
        self.lines: list[str] = []
        self._written = threading.Condition()
        self._closed = False
        self.process = subprocess.Popen(
            [*command, "gateway", *arguments, *options],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        self.port = int(self.line(r"on http://.*:(\d+)/v1"))
        self.health = self.line(r"metrics: (http://[^/]*)/")
        self.line("keys")
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            # Twice: at once.
            self.process.terminate()
            self.process.terminate()
            self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert "Traceback" not in self.text

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def line(self, pattern: str, count: int = 1) -> str:
        """Waits until so many messages have matched; the last one's first group, or the message."""
        found: list[re.Match[str]] = []

        def enough() -> bool:
            found[:] = [match for line in self.lines if (match := re.search(pattern, message(line)))]
            return len(found) >= count or self._closed

        with self._written:
            assert self._written.wait_for(enough, PATIENCE), self.text
        assert len(found) >= count, self.text
        match = found[count - 1]
        return match[1] if match.groups() else match.string

    def send(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def ended(self) -> int:
        """Waits for its end; the exit code."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def ready(self) -> tuple[int, dict[str, Any]]:
        answer = httpx.get(f"{self.health}/health/ready", timeout=PATIENCE, trust_env=False)
        return answer.status_code, answer.json()

    def workers(self) -> dict[int, int]:
        """Process by number of the worker."""
        return {each["worker"]: each["pid"] for each in self.ready()[1]["workers"]}

    def chat(self, **fields: Any) -> httpx.Response:
        body = {**json.loads(BODY), **fields}
        return httpx.post(f"{self.url}/chat/completions", json=body, timeout=PATIENCE, trust_env=False)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._written:
                self.lines.append(line.rstrip("\n"))
                self._written.notify_all()
        with self._written:
            self._closed = True
            self._written.notify_all()


def message(line: str) -> str:
    """What a line of JSON says; any other as it is."""
    return str(json.loads(line)["message"]) if line.startswith("{") else line


class Load:
    """Clients that keep connections, and clients that open one for each request.

    Attributes:
        answered: requests that got 200.
        failures: what happened to the others.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.answered = 0
        self.failures: list[str] = []
        self._stop = False

    async def more(self, count: int) -> None:
        """Waits until so many further requests are answered, or one has failed."""
        goal = self.answered + count
        async with asyncio.timeout(PATIENCE):
            while self.answered < goal and not self.failures:
                await asyncio.sleep(0.01)

    async def _client(self, keep: bool) -> None:
        writer: asyncio.StreamWriter | None = None
        sent = 0
        while not self._stop:
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    sent = 0
                writer.write(REQUEST)
                sent += 1
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1])) if length else b""
            except (OSError, asyncio.IncompleteReadError) as error:
                self.failures.append(f"request {sent} of its connection: {error!r}")
                return
            if not head.startswith(b"HTTP/1.1 200 ") or b"Hello there" not in body:
                self.failures.append(f"{head!r} {body!r}")
                return
            self.answered += 1
            if not keep or b"\r\nconnection: close\r\n" in head:
                writer.close()
                writer = None
            await asyncio.sleep(0.02)
        if writer is not None:
            writer.close()

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(keep=number % 2 == 0) for number in range(8)))


@asynccontextmanager
async def load(port: int) -> AsyncIterator[Load]:
    """A load while the block runs; afterwards nothing may have failed."""
    found = Load(port)
    running = asyncio.ensure_future(found._run())
    try:
        await found.more(40)
        yield found
        await found.more(40)
    finally:
        found._stop = True
        await running
    assert not found.failures, found.failures
