"""The edge: HTTP/1.1 from clients, by uvicorn's protocol on llhttp, with the limits an open port needs.

llhttp refuses what requests are smuggled with: two lengths, a length beside chunks, folded headers, bare line
feeds, control characters, malformed chunks. Added here: time limits for headers and body (slow-loris), limits on
bytes and connections, headers that may stand only once, answers in OpenAI's shape, a drain that loses no request.
What comes behind the last chunk of a body (trailers) is read by nobody: it says nothing about a request that is
being served already.

A body is refused by its Content-Length here, before it is read; chunked bodies are counted by who reads them.
"""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from tiny_dancer.gateway.edge.response import AnswerCycle
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.writes import Writes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from uvicorn import Config

    from tiny_dancer.gateway.configuration.settings import Limits

# Headers of which a second one would leave open which of the two is meant. llhttp sees to the lengths.
_ONCE = (b"host", b"authorization", b"x-api-key", b"content-type", b"transfer-encoding")
# What belongs to an upgrade that is not made; RFC 9110, 7.8 lets a server ignore it.
_OF_AN_UPGRADE = frozenset((b"upgrade", b"http2-settings", b"connection"))


# A header of a few bytes takes a hundred in memory.
_MOST_HEADERS: Final = 500
# Where trailers are put.
_NOWHERE: Final[Any] = deque(maxlen=0)
# Requests that wait on a connection for answers before theirs; beyond, nothing is read, and no end noticed.
_MOST_WAITING: Final = 8
_INTEGER: Final = struct.Struct("i")


# Called for every request: by name, super() costs more than all that is added here.
_begin = HttpToolsProtocol.on_message_begin
_complete = HttpToolsProtocol.on_message_complete


class EdgeState(ServerState):
    """What the connections of one port share.

    Attributes:
        limits: of every connection; may be replaced while they run.
        beside: further headers of a refusal, by those of the request.
        draining: whether each connection ends with the answer it is owed.
        emptied: set whenever no connection is left.
        writes: to all of them.
    """

    def __init__(
        self,
        limits: Limits,
        beside: Callable[[Iterable[tuple[bytes, bytes]]], Iterable[tuple[bytes, bytes]]] = lambda _: (),
    ) -> None:
        super().__init__()
        self.limits = limits
        self.beside = beside
        self.draining = False
        self.emptied = asyncio.Event()
        self.emptied.set()
        self.writes = Writes()


# What a connection is receiving. Plain numbers: an enumeration's members take longer to look up.
_IDLE, _HEADERS, _BODY = 0, 1, 2
_DISCARD = 3  # a refusal is sent: what still comes is read by nobody


class EdgeProtocol(HttpToolsProtocol):
    """One connection."""

    # Beside the base's 28 attributes, not among them: beyond 30 Python 3.11 gives up its fast way to all of them,
    # which costs each request 2 µs.
    __slots__ = (
        "_arrived",
        "_chunk",
        "_completed",
        "_idle_since",
        "_idle_timer",
        "_phase",
        "_running",
        "_state",
        "_timer",
        "_unsent",
        "_write_timer",
    )

    cycle: AnswerCycle
    pipeline: deque[tuple[AnswerCycle, Any]]  # type: ignore[assignment]

    def __init__(self, config: Config, state: EdgeState) -> None:
        super().__init__(config, state, {}, asyncio.get_running_loop())
        self._state = state
        self._idle_since = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._phase = _IDLE
        self._running: AnswerCycle | None = None  # what is being answered, while others wait behind it
        self._timer: asyncio.TimerHandle | None = None
        self._chunk = 0  # bytes that came last
        self._arrived = 0  # bytes of headers that are not complete
        self._completed = False  # whether a request ended in the bytes that came last
        self._unsent = 0  # bytes the client had not taken when that was looked at last
        self._write_timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether nobody waits for an answer here."""
        cycle = self.cycle
        answered = cycle is None or cycle.response_complete or cycle.disconnected
        return answered and self._phase in (_IDLE, _DISCARD)

    @property
    def _answering(self) -> AnswerCycle | None:
        return self._running if self.pipeline else self.cycle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Gives the client its time for the first headers."""
        super().connection_made(transport)
        self._state.emptied.clear()
        self._timer = self.loop.call_later(self._state.limits.header_timeout, self._timed_out)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the timers; the application learns that the client is gone."""
        self._stop_timer()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._write_timer is not None:
            self._write_timer.cancel()
        answering = self._answering
        if answering is not None:
            answering.stop_pinging()
            if answering is not self.cycle:  # which is the only one that the base tells
                answering.disconnected = True
                answering.message_event.set()
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
        if self._phase == _DISCARD:
            return
        self._chunk = len(data)
        self._completed = False
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._ignore_upgrades(data, upgrade.args[0])
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, GatewayError) else _malformed(str(error)))
            return
        if self._phase == _IDLE:
            return
        if self._phase == _HEADERS and not self._completed:
            self._arrived += self._chunk
            if self._arrived > self._state.limits.header_bytes or len(self.headers) > _MOST_HEADERS:
                self._refuse(_headers_too_large(self._state.limits))
                return
        if self._timer is None:
            limits = self._state.limits
            seconds = limits.header_timeout if self._phase == _HEADERS else limits.body_timeout
            self._timer = self.loop.call_later(seconds, self._timed_out)

    def on_message_begin(self) -> None:
        """A request starts."""
        _begin(self)
        self._phase = _HEADERS

    def on_headers_complete(self) -> None:
        """Starts the application.

        Raises:
            GatewayError: 400, 405, 413, 431 or 503; the application is not called.
        """
        limits = self._state.limits
        if len(self.headers) > _MOST_HEADERS:
            raise _headers_too_large(limits)
        if self._arrived + self._chunk > limits.header_bytes:  # perhaps too many: some may be the body's
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > limits.header_bytes:
                raise _headers_too_large(limits)
        self._arrived = 0
        if self._timer is not None:
            self._stop_timer()
        headers = dict(self.headers)
        if len(headers) != len(self.headers):
            names = [name for name, _ in self.headers]
            for name in _ONCE:
                if names.count(name) > 1:
                    raise _malformed(f"the header {name.decode()} is given twice")
        if b"host" not in headers or b"transfer-encoding" in headers:
            version = self.parser.get_http_version()
            if version == "1.1":
                if b"host" not in headers:
                    raise _malformed("the header host is missing")
                if headers.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
                    raise _malformed("this transfer-encoding is not known; send chunked alone")
            elif version != "1.0" or b"transfer-encoding" in headers:
                raise _malformed(f"this is HTTP/{version}; send HTTP/1.1")
        length = headers.get(b"content-length")
        if length is not None and int(length) > limits.body_bytes:
            raise GatewayError(
                413,
                f"The body may have {limits.body_bytes:,} bytes; send a shorter one.",
                code="request_too_large",
            )
        if len(self.connections) > limits.connections:
            raise GatewayError(
                503,
                "Too many connections; try again.",
                code="too_many_connections",
                headers=((b"retry-after", b"1"),),
            )
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise GatewayError(405, "This is no forward proxy; send POST or GET.", code="method_not_allowed")
            return  # data_received starts it again as a plain request
        self._serve()
        self._phase = _BODY
        if self._state.draining:
            self.cycle.keep_alive = False

    def _serve(self) -> None:
        """Starts the application on the request whose headers are there; as the base does, with our own cycle."""
        scope, parser = self.scope, self.parser
        scope["method"] = parser.get_method().decode("ascii")
        version = parser.get_http_version()
        if version != "1.1":
            scope["http_version"] = version
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["raw_path"] = url.path
        scope["path"] = unquote(path) if "%" in path else path
        scope["query_string"] = url.query or b""
        before = self.cycle
        self.cycle = AnswerCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        self.cycle.writes = self._state.writes
        self.headers = _NOWHERE
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:  # pipelined: it waits for the answers before it
            if not self.pipeline:
                self._running = before
            self.pipeline.appendleft((self.cycle, self.app))
            if len(self.pipeline) >= _MOST_WAITING:
                self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """The request has arrived in full."""
        if self._phase != _BODY:
            return  # an upgrade that is not made
        self._phase = _IDLE
        self._completed = True
        if self._timer is not None:
            self._stop_timer()
        _complete(self)

    def on_response_complete(self) -> None:
        """The answer is sent: the next request, or the wait for it.

        One timer per connection looks now and then how long it has been idle; the base starts and stops one for
        every request.
        """
        if self.pipeline:
            self._running = self.pipeline[-1][0]
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._close()
            return
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self._state.limits.keep_alive, self._look_for_idleness)

    def _look_for_idleness(self) -> None:
        seconds = self._state.limits.keep_alive
        if self.idle:
            left = self._idle_since + seconds - self.loop.time()
            if left <= 0:
                self._close()
                return
            seconds = left
        self._idle_timer = self.loop.call_later(seconds, self._look_for_idleness)

    def _ignore_upgrades(self, data: bytes, read: int) -> None:
        """Goes on in HTTP/1.1 where a client would like another protocol (Java's sends every POST so).

        Args:
            data: that has arrived.
            read: bytes of it up to the end of the request that would.

        Raises:
            httptools.HttpParserError: of what follows.
        """
        rest = memoryview(data)
        while True:  # many may have come at once
            rest = rest[read:]
            keep = self.parser.should_keep_alive()
            lines = [self.parser.get_method(), b" ", self.url, b" HTTP/1.1\r\n"]
            for name, value in self.headers:
                if name not in _OF_AN_UPGRADE:
                    lines += [name, b": ", value, b"\r\n"]
            lines.append(b"\r\n" if keep else b"connection: close\r\n\r\n")
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(b"".join(lines))
            self._chunk = len(rest)
            try:
                if rest:
                    self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as upgrade:
                read = upgrade.args[0]

    def pause_writing(self) -> None:
        """The client takes less than there is: it has its time to take some of it."""
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        if self._write_timer is not None and not self.transport.is_closing():
            self._write_timer.cancel()
            self._write_timer = None

    def _wait_for_reader(self) -> None:
        self._unsent = self._left()
        seconds = self._state.limits.write_timeout
        if (answering := self._answering) is not None:
            seconds = min(seconds, max(answering.until - self.loop.time(), 0.0))
        self._write_timer = self.loop.call_later(seconds, self._look_for_reader)

    def _look_for_reader(self) -> None:
        """Ends the connection where nothing was taken in time, or the answer's own time is over."""
        answering = self._answering
        late = answering is not None and self.loop.time() >= answering.until
        if late or self._left() >= self._unsent:
            self._write_timer = None
            self.transport.abort()
        else:
            self._wait_for_reader()

    def _left(self) -> int:
        """Bytes the client has not taken; of the system's buffer, too, which asks for more by the megabyte."""
        left = self.transport.get_write_buffer_size()
        with suppress(OSError, AttributeError):  # Linux alone says it
            socket = self.transport.get_extra_info("socket")
            (unsent,) = _INTEGER.unpack(fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(_INTEGER.size)))
            left += unsent
        return left

    def _close(self) -> None:
        """Ends the connection when the client has taken what it is owed, which has its time too."""
        self.transport.close()
        if self._write_timer is None and self.transport.get_write_buffer_size():
            self._wait_for_reader()

    def _timed_out(self) -> None:
        self._timer = None
        if self._phase == _IDLE:
            self.transport.close()  # nothing was asked, nothing is answered
        elif self._phase == _DISCARD:
            self.transport.abort()
        else:
            part = "headers" if self._phase == _HEADERS else "body"
            self._refuse(GatewayError(408, f"The {part} took too long; send faster.", code="request_timeout"))

    def _refuse(self, error: GatewayError) -> None:
        """Answers what cannot be read, and ends the connection: where the next request starts is unknown."""
        self._state.writes.flush()  # an answer before this one goes first
        self._stop_timer()
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if self._phase == _BODY:
            if cycle.response_started or self.pipeline:
                self.transport.close()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        elif cycle is not None and not cycle.response_complete:
            # An earlier request is being answered; nobody may speak in between. Its answer is the last.
            cycle.keep_alive = False
            self._phase = _DISCARD
            return
        body = error.openai()
        head = [STATUS_LINE[error.status], b"content-type: application/json\r\n"]
        given = self.scope["headers"] if self._phase != _IDLE else ()
        for name, value in (*error.headers, *self._state.beside(given)):
            head += [name, b": ", value, b"\r\n"]
        self.headers.clear()  # many, perhaps, and the connection may stay a while
        head.append(b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body))
        self.transport.write(b"".join(head) + body)
        # Closed at once, what the client still sends would be answered by a reset, which can overtake the answer.
        # So it is read for a while and thrown away.
        self._phase = _DISCARD
        self.flow.resume_reading()
        self.transport.write_eof()
        self._timer = self.loop.call_later(self._state.limits.header_timeout, self._timed_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _malformed(reason: str) -> GatewayError:
    return GatewayError(400, f"Malformed HTTP request: {reason}.", code="malformed_request")


def _headers_too_large(limits: Limits) -> GatewayError:
    return GatewayError(
        431,
        f"A request may have {limits.header_bytes:,} bytes of headers, and {_MOST_HEADERS} of them; send fewer.",
        code="headers_too_large",
    )
