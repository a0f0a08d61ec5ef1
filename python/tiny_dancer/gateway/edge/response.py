"""One request and its answer on a connection: uvicorn's, with an answer written in one piece.

uvicorn matches every header of an answer against two patterns and hands head and body to the transport apart. Here
the head waits for the first bytes of the body, which always follow at once, and headers are searched for line ends
only: that is what could split an answer, and all that code of this package could let through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from tiny_dancer.gateway.writes import Writes


class AnswerCycle(RequestResponseCycle):
    """As uvicorn's; sends head and first body together."""

    writes: Writes
    _head: bytes = b""

    async def send(self, message: MutableMapping[str, Any]) -> None:  # type: ignore[override]
        """Takes a part of the answer; waits while the client reads too slowly."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self.response_started = True
            self.waiting_for_100_continue = False
            self._head = self._start(message["status"], message["headers"])
            return
        if self.response_complete:
            raise RuntimeError("the answer is complete already")
        body: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        if self.scope["method"] == "HEAD":
            body = b""
            self.expected_content_length = 0
        elif self.chunked_encoding:
            parts = [b"%x\r\n" % len(body), body, b"\r\n"] if body else []
            if not more:
                parts.append(b"0\r\n\r\n")
            body = b"".join(parts)
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("the answer is longer than its content-length")
        if self._head:
            body = self._head + body
            self._head = b""
        self.writes.write(self.transport, body)
        if not more:
            if self.expected_content_length != 0:
                raise RuntimeError("the answer is shorter than its content-length")
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.writes.flush()
                self.transport.close()
            self.on_response()

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        chunked = status not in (204, 304) and self.scope["method"] != "HEAD"
        for name, value in reversed(headers):  # ours stand last
            if name == b"content-length":
                self.expected_content_length = int(value)
                chunked = False
                break
        self.chunked_encoding = chunked
        parts = [STATUS_LINE[status], *[b"%b: %b\r\n" % pair for pair in headers]]
        if chunked:
            parts.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        head = b"".join(parts)
        if head.count(b"\n") != len(parts) or head.count(b"\r") != len(parts):
            raise RuntimeError("a line end in a header")
        return head + b"\r\n"
