"""The edge: HTTP/1.1 from clients, by uvicorn's protocol on llhttp, with the limits an open port needs.

llhttp refuses what requests are smuggled with: two lengths, a length beside chunks, folded headers, bare line
feeds, control characters, malformed chunks. Added here: time limits for headers and body (slow-loris), limits on
bytes and connections, headers that may stand only once, answers in OpenAI's shape, a drain that loses no request.

A body is refused by its Content-Length here, before it is read; chunked bodies are counted by who reads them.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from tiny_dancer.gateway.errors import GatewayError

if TYPE_CHECKING:
    from uvicorn import Config

    from tiny_dancer.gateway.config import Limits

# Headers of which a second one would leave open which of the two is meant. llhttp sees to the lengths.
_ONCE = {
    name: 1 << bit
    for bit, name in enumerate((b"host", b"authorization", b"x-api-key", b"content-type", b"transfer-encoding"))
}
_HOST = _ONCE[b"host"]
_TRANSFER_ENCODING = _ONCE[b"transfer-encoding"]
# What belongs to an upgrade that is not made; RFC 9110, 7.8 lets a server ignore it.
_OF_AN_UPGRADE = frozenset((b"upgrade", b"http2-settings", b"connection"))


class EdgeState(ServerState):
    """What the connections of one port share.

    Attributes:
        limits: of every connection; may be replaced while they run.
        draining: whether each connection ends with the answer it is owed.
        emptied: set whenever no connection is left.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits = limits
        self.draining = False
        self.emptied = asyncio.Event()
        self.emptied.set()


class _Phase(Enum):
    """What a connection is receiving."""

    IDLE = 0
    HEADERS = 1
    BODY = 2
    DISCARD = 3  # a refusal is sent: what still comes is not read by anybody


class EdgeProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, config: Config, state: EdgeState) -> None:
        super().__init__(config, state, {}, asyncio.get_running_loop())
        self._state = state
        self.timeout_keep_alive = state.limits.keep_alive  # type: ignore[assignment]
        self._phase = _Phase.IDLE
        self._timer: asyncio.TimerHandle | None = None
        self._seen = 0  # of _ONCE
        self._chunk = 0  # bytes that came last
        self._arrived = 0  # bytes of headers that are not complete
        self._completed = False  # whether a request ended in the bytes that came last

    @property
    def idle(self) -> bool:
        """Whether nobody waits for an answer here."""
        cycle = self.cycle
        answered = cycle is None or cycle.response_complete or cycle.disconnected
        return answered and self._phase in (_Phase.IDLE, _Phase.DISCARD)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Gives the client its time for the first headers."""
        super().connection_made(transport)
        self._state.emptied.clear()
        self._timer = self.loop.call_later(self._state.limits.header_timeout, self._timed_out)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the timers; the application learns that the client is gone."""
        self._stop_timer()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        if not self.connections:
            self._state.emptied.set()

    def shutdown(self) -> None:
        """Ends the connection with the answers it is owed.

        An idle one stays: a request may be on its way, which closing would lose. The server closes it later.
        """
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, and counts what it does not: bytes and time."""
        if self._phase is _Phase.DISCARD:
            return
        self._unset_keepalive_if_required()
        self._chunk = len(data)
        self._completed = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, GatewayError) else _malformed(str(error)))
            return
        if self._phase is _Phase.IDLE:
            return
        if self._phase is _Phase.HEADERS and not self._completed:
            self._arrived += self._chunk
            if self._arrived > self._state.limits.header_bytes:
                self._refuse(_headers_too_large(self._state.limits))
                return
        if self._timer is None:
            limits = self._state.limits
            seconds = limits.header_timeout if self._phase is _Phase.HEADERS else limits.body_timeout
            self._timer = self.loop.call_later(seconds, self._timed_out)

    def on_message_begin(self) -> None:
        """A request starts."""
        super().on_message_begin()
        self._phase = _Phase.HEADERS
        self._seen = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keeps a header.

        Raises:
            GatewayError: 400, it stood there before; 413, it announces a body that is too large.
        """
        name = name.lower()
        bit = _ONCE.get(name)
        if bit is not None:
            if self._seen & bit:
                raise _malformed(f"the header {name.decode()} is given twice")
            self._seen |= bit
        elif name == b"content-length":
            limit = self._state.limits.body_bytes
            if value.isdigit() and (len(value) > 18 or int(value) > limit):
                raise GatewayError(
                    413, f"the body may have {limit:,} bytes; send a shorter one", code="request_too_large"
                )
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Starts the application.

        Raises:
            GatewayError: 400, 405, 431 or 503; the application is not called.
        """
        limits = self._state.limits
        if self._arrived + self._chunk > limits.header_bytes:  # perhaps too many: some may be the body's
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > limits.header_bytes:
                raise _headers_too_large(limits)
        self._arrived = 0
        self._stop_timer()
        version = self.parser.get_http_version()
        if version == "1.1":
            if not self._seen & _HOST:
                raise _malformed("the header host is missing")
        elif version != "1.0" or self._seen & _TRANSFER_ENCODING:
            raise _malformed(f"this is HTTP/{version}; send HTTP/1.1")
        if len(self.connections) > limits.connections:
            raise GatewayError(
                503,
                "too many connections; try again",
                code="too_many_connections",
                headers=((b"retry-after", b"1"),),
            )
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise GatewayError(405, "this is no forward proxy; send POST or GET", code="method_not_allowed")
            return  # data_received starts it again as a plain request
        super().on_headers_complete()
        self._phase = _Phase.BODY
        if self._state.draining:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The request has arrived in full."""
        if self.parser.should_upgrade():
            return
        self._phase = _Phase.IDLE
        self._completed = True
        self._stop_timer()
        super().on_message_complete()

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Goes on in HTTP/1.1 where a client would like another protocol (Java's sends every POST so)."""
        keep = self.parser.should_keep_alive()
        lines = [self.parser.get_method(), b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.headers:
            if name not in _OF_AN_UPGRADE:
                lines += [name, b": ", value, b"\r\n"]
        lines += [b"\r\n" if keep else b"connection: close\r\n\r\n", rest]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"".join(lines))

    def _timed_out(self) -> None:
        self._timer = None
        if self._phase is _Phase.IDLE:
            self.transport.close()  # nothing was asked, nothing is answered
        elif self._phase is _Phase.DISCARD:
            self.transport.abort()
        else:
            part = "headers" if self._phase is _Phase.HEADERS else "body"
            self._refuse(GatewayError(408, f"the {part} took too long; send faster", code="request_timeout"))

    def _refuse(self, error: GatewayError) -> None:
        """Answers what cannot be read, and ends the connection: where the next request starts is unknown."""
        self._stop_timer()
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if self._phase is _Phase.BODY:
            if cycle.response_started or self.pipeline:
                self.transport.close()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        elif cycle is not None and not cycle.response_complete:
            # An earlier request is being answered; nobody may speak in between. Its answer is the last.
            cycle.keep_alive = False
            self._phase = _Phase.DISCARD
            return
        body = error.openai()
        head = [STATUS_LINE[error.status], b"content-type: application/json\r\n"]
        for name, value in error.headers:
            head += [name, b": ", value, b"\r\n"]
        head.append(b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body))
        self.transport.write(b"".join(head) + body)
        # Closed at once, what the client still sends would be answered by a reset, which can overtake the answer.
        # So it is read for a while and thrown away.
        self._phase = _Phase.DISCARD
        self.flow.resume_reading()
        self.transport.write_eof()
        self._timer = self.loop.call_later(self._state.limits.header_timeout, self._timed_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _malformed(reason: str) -> GatewayError:
    return GatewayError(400, f"malformed HTTP request: {reason}", code="malformed_request")


def _headers_too_large(limits: Limits) -> GatewayError:
    return GatewayError(
        431, f"the headers may have {limits.header_bytes:,} bytes; send fewer", code="headers_too_large"
    )
