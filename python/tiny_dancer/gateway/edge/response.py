"""One request and its answer on a connection: uvicorn's, with an answer written in one piece.

uvicorn matches every header of an answer against two patterns and hands head and body to the transport apart. Here
the head waits for the first bytes of the body, which always follow at once, and headers are searched for line ends
only: that is what could split an answer, and all that code of this package could let through.

Two words of its own may stand in ``http.response.start``: ``ping``, the seconds of silence after which a streamed
answer says these bytes, unless it is in the middle of an event, and ``until``, the moment by the loop's clock when
a client that takes nothing has had its time (:meth:`.protocol.EdgeProtocol.pause_writing`).
"""

from __future__ import annotations

import asyncio
import math
from time import monotonic
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from tiny_dancer.gateway.writes import Writes


class AnswerCycle(RequestResponseCycle):
    """As uvicorn's; sends head and first body together."""

    writes: Writes
    until: float = math.inf
    _head: bytes = b""
    _until_close: bool = False
    _ping: tuple[float, bytes] | None = None
    _spoke: float = 0.0
    _between: bool = True
    _pinger: asyncio.TimerHandle | None = None

    async def send(self, message: MutableMapping[str, Any]) -> None:  # type: ignore[override]
        """Takes a part of the answer; waits while the client reads too slowly."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self.response_started = True
            if self.waiting_for_100_continue and self.more_body:
                # The body that was announced may come or not: where the next request begins, nobody knows.
                self.keep_alive = False
            self.waiting_for_100_continue = False
            self._head = self._start(message["status"], message["headers"])
            self.until = message.get("until", math.inf)
            if (ping := message.get("ping")) is not None:
                self._ping = ping
                self._listen(ping[0])
            return
        if self.response_complete:
            raise RuntimeError("the answer is complete already")
        body: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        if self._ping is not None and body:
            self._between = body.endswith((b"\n\n", b"\r\n\r\n"))
        if self.scope["method"] == "HEAD":
            body = b""
            self.expected_content_length = 0
        elif self.chunked_encoding:
            parts = [b"%x\r\n" % len(body), body, b"\r\n"] if body else []
            if not more:
                parts.append(b"0\r\n\r\n")
            body = b"".join(parts)
        elif not self._until_close:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("the answer is longer than its content-length")
        if self._head:
            body = self._head + body
            self._head = b""
        self.writes.write(self.transport, body)
        if self._ping is not None:
            self._spoke = monotonic()
        if not more:
            self.stop_pinging()
            if self.expected_content_length != 0:
                raise RuntimeError("the answer is shorter than its content-length")
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.writes.flush()
                self.transport.close()
            self.on_response()

    def stop_pinging(self) -> None:
        """Where nobody listens any more."""
        self._ping = None
        if self._pinger is not None:
            self._pinger.cancel()
            self._pinger = None

    def _listen(self, seconds: float) -> None:
        self._spoke = monotonic()
        self._pinger = asyncio.get_running_loop().call_later(seconds, self._look_for_silence)

    def _look_for_silence(self) -> None:
        """Says a word where nothing has been said for so long; one timer for the whole stream."""
        if self._ping is None or self.disconnected or self.response_complete:
            return
        seconds, word = self._ping
        left = self._spoke + seconds - monotonic()
        if left <= 0.001:
            # Whoever does not read what is there already needs no more; and the head goes with the first body.
            if self._between and not self.flow.write_paused and not self._head:
                data = b"%x\r\n%b\r\n" % (len(word), word) if self.chunked_encoding else word
                self.writes.write(self.transport, data)
            self._spoke = monotonic()
            left = seconds
        self._pinger = asyncio.get_running_loop().call_later(left, self._look_for_silence)

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        bodied = chunked = status not in (204, 304) and self.scope["method"] != "HEAD"
        for name, value in reversed(headers):  # ours stand last
            if name == b"content-length":
                self.expected_content_length = int(value)
                chunked = False
                break
        else:
            if (
                bodied and self.scope["http_version"] == "1.0"
            ):  # it knows no chunks: the connection's end is the end
                chunked, self._until_close = False, True
        self.chunked_encoding = chunked
        lines = [b": ".join(pair) for pair in headers]
        if chunked:
            lines.append(b"transfer-encoding: chunked")
        if not self.keep_alive:
            lines.append(b"connection: close")
        lines += (b"", b"")
        head = STATUS_LINE[status] + b"\r\n".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
            raise RuntimeError("a line end in a header")
        return head
