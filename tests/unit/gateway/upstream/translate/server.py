"""A real server before an upstream that answers what the test says; it translates as the gateway does."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import msgspec

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream import sse

from .samples import sent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiny_dancer.gateway.upstream.dialect import Dialect


class Between:
    """What the upstream is to answer, and what it was asked."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.status = 200
        self.answer = b""
        self.asked: dict[str, Any] = {}
        self.url = ""


@contextmanager
def between(dialect: Dialect) -> Iterator[Between]:
    state = Between(dialect)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
            anthropic = self.path.endswith("/messages")
            try:
                state.asked = sent(dialect.request(fields, "real-model"))
                if state.status >= 400:
                    raise dialect.failure(state.status, state.answer)
            except GatewayError as error:
                self._send(error.status, error.anthropic() if anthropic else error.openai())
                return
            if not state.asked.get("stream"):
                self._send(200, dialect.response(state.answer).body)
                return
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            events, splitter = dialect.events(fields), sse.Splitter()
            for start in range(0, len(state.answer), 50):
                for event in splitter.feed(state.answer[start : start + 50]):
                    self.wfile.write(events.feed(event))
            if not events.finished:
                self.wfile.write(events.cut(GatewayError(502, "the upstream hung up")))

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
