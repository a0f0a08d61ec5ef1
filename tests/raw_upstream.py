"""An upstream that sends exactly the bytes a test says, whatever they are: framing and all.

Beside :mod:`tests.gateway_upstream`, which is a proper server with a provider's faults. In a test::

    with RawUpstream({"odd": lambda asked: [b"HTTP/1.1 200 OK\r\n...", 0.1, b"more", RESET]}) as upstream:
        ...

A script gets the request's JSON and gives what to do, in order: bytes to send, seconds to wait, or :data:`CLOSE`
and :data:`RESET`. Which script answers is said by the request's ``model``.
"""

from __future__ import annotations

import json
import socket
import socketserver
import struct
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

CLOSE, RESET = object(), object()
Step = Any


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        while (asked := self._request()) is not None:
            self.server.received.append(asked)
            script = self.server.scripts.get(str(asked["body"].get("model")))
            steps = [answered(json.dumps({"error": {"message": "no such script"}}).encode(), 404)]
            try:
                for step in steps if script is None else script(asked["body"] | {"path": asked["path"]}):
                    if not self._do(step):
                        return
            except OSError:
                return

    def _do(self, step: Step) -> bool:
        if isinstance(step, bytes):
            self.wfile.write(step)
        elif isinstance(step, int | float):
            time.sleep(step)
        else:
            if step is RESET:
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        return True

    def _request(self) -> dict[str, Any] | None:
        try:
            line = self.rfile.readline()
            if not line.strip():
                return None
            headers: dict[str, str] = {}
            while (header := self.rfile.readline().strip()) != b"":
                name, _, value = header.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            body = self.rfile.read(int(headers.get("content-length", 0)))
        except OSError:
            return None
        path = line.split()[1].decode()
        return {"path": path, "headers": headers, "body": json.loads(body) if body else {}}


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, scripts: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scripts = scripts
        self.received: deque[dict[str, Any]] = deque(maxlen=1000)


class RawUpstream:
    """The server, in threads of its own.

    Attributes:
        received: requests as ``{"path", "headers", "body"}``, in the order of arrival.
        url: of it, with ``/v1``.
    """

    def __init__(self, scripts: dict[str, Any]) -> None:
        self._server = _Server(scripts)
        self.received = self._server.received
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def head(status: int = 200, kind: str = "application/json", *lines: str) -> bytes:
    """The head of an answer; ``lines`` are headers, those of framing included."""
    named = [f"content-type: {kind}"] if kind else []
    return "\r\n".join([f"HTTP/1.1 {status} Said", *named, *lines, "", ""]).encode("latin-1")


def answered(body: bytes, status: int = 200, kind: str = "application/json", *lines: str) -> bytes:
    """A whole answer."""
    return head(status, kind, f"content-length: {len(body)}", *lines) + body


def chunk(data: bytes) -> bytes:
    """A chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def stream(*parts: bytes, end: Sequence[Step] = (b"0\r\n\r\n",), kind: str = "text/event-stream") -> list[Step]:
    """A streamed answer, a chunk for each part, and how it ends."""
    return [head(200, kind, "transfer-encoding: chunked"), *map(chunk, parts), *end]
