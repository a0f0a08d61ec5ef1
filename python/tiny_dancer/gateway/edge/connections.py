"""An ASGI application on a socket: starts it, and drains it so that no request is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Protocol

import uvicorn

from tiny_dancer.errors import TinyDancerError
from tiny_dancer.gateway.edge.listening import BACKLOG, stop_handshakes
from tiny_dancer.gateway.edge.protocol import EdgeProtocol, EdgeState
from tiny_dancer.gateway.errors import AnswerCut

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    from tiny_dancer.gateway.configuration.settings import Limits

# For a request that is on its way when the drain starts, on a connection kept alive or just accepted.
_GRACE_SECONDS = 1.0
# For the last event of streams that are cut, and for clients to read it.
_CUT_SECONDS = 2.0
# For connections that are being made when the socket is about to be closed.
_HANDSHAKE_SECONDS = 0.2


class Application(Protocol):
    """ASGI 3."""

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Serves one scope."""


class Server:
    """Serves an application on one socket.

    uvicorn's server is not used, only its protocol: on shutdown it closes connections that a request is on its way
    on, and forgets those that wait to be accepted.

    Attributes:
        state: what the connections share.
    """

    def __init__(
        self,
        application: Application,
        limits: Limits,
        beside: Callable[[Iterable[tuple[bytes, bytes]]], Iterable[tuple[bytes, bytes]]] = lambda _: (),
    ) -> None:
        """``beside`` gives further headers of what is refused before the application sees it, by the request's."""
        logging.getLogger("uvicorn.error").addFilter(_not_cancelled)
        self._config = uvicorn.Config(
            application,
            http=EdgeProtocol,
            ws="none",
            lifespan="off",
            loop="none",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        self._config.load()
        self.state = EdgeState(limits, beside)
        self._bound: socket.socket | None = None
        self._server: asyncio.Server | None = None

    async def start(self, bound: socket.socket) -> None:
        """Listens on a socket, which from now on is this server's."""
        # The loop gets a copy: closing that ends its accepting, and what waits can still be accepted here.
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, sock=bound.dup(), backlog=BACKLOG)
        self._bound = bound

    async def drain(self, seconds: float, at_once: asyncio.Event, *, last: bool = True) -> None:
        """Ends: every request that has reached this socket is answered, if it can be within ``seconds``.

        Connections that wait are accepted, then the socket is closed. Answers carry ``connection: close``. Whoever
        is not finished in time, or when ``at_once`` is set, is cancelled.

        Args:
            seconds: for all that is under way.
            at_once: ends the waiting.
            last: no other process goes on with this socket.
        """
        state = self.state
        state.draining = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        if last and self._bound is not None:
            stop_handshakes(self._bound)
            await _first([at_once], min(_HANDSHAKE_SECONDS, seconds))
        waiting = self._stop_listening()
        for each in waiting:
            await loop.connect_accepted_socket(self._connection, each)
        for connection in list(state.connections):
            connection.shutdown()
        await self._emptied(min(_GRACE_SECONDS, seconds), at_once)
        self._close_idle()
        await self._emptied(deadline - loop.time(), at_once)
        if state.tasks and not state.connections and not at_once.is_set():
            await asyncio.wait(state.tasks, timeout=max(deadline - loop.time(), 0))
        for task in list(state.tasks):
            task.cancel()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=_CUT_SECONDS)
        self._close_idle()
        await self._emptied(_CUT_SECONDS, None)
        for connection in list(state.connections):
            connection.transport.abort()

    def close(self) -> None:
        """Ends at once."""
        for each in self._stop_listening():
            each.close()
        self.state.writes.flush()
        for connection in list(self.state.connections):
            connection.transport.close()

    def _connection(self) -> EdgeProtocol:
        return EdgeProtocol(self._config, self.state)

    def _stop_listening(self) -> list[socket.socket]:
        """Closes the socket, and gives the connections that waited in its queue."""
        waiting: list[socket.socket] = []
        bound, self._bound = self._bound, None
        if bound is None or self._server is None:
            return waiting
        self._server.close()
        with contextlib.suppress(OSError):
            while True:
                waiting.append(bound.accept()[0])
        bound.close()
        return waiting

    def _close_idle(self) -> None:
        self.state.writes.flush()
        for connection in list(self.state.connections):
            if isinstance(connection, EdgeProtocol) and connection.idle:
                connection.transport.close()

    async def _emptied(self, seconds: float, at_once: asyncio.Event | None) -> None:
        """Waits until no connection is left, at most so long."""
        await _first([self.state.emptied] if at_once is None else [self.state.emptied, at_once], seconds)


class Lifespan:
    """Starts and closes an application by ASGI's lifespan protocol."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._messages: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._answers: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Waits until the application has started.

        Raises:
            TinyDancerError: it says that it cannot. What it raises itself is raised as it is.
        """
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        run = self._application(scope, self._messages.get, self._answers.put)
        self._task = asyncio.ensure_future(run)
        await self._ask("lifespan.startup")

    async def stop(self) -> None:
        """Waits until the application has written what it holds, and closed.

        Raises:
            TinyDancerError: it says that it could not.
        """
        if self._task is not None and not self._task.done():
            await self._ask("lifespan.shutdown")
            await self._task

    async def _ask(self, what: str) -> None:
        assert self._task is not None
        await self._messages.put({"type": what})
        answer = asyncio.ensure_future(self._answers.get())
        await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            self._task.result()  # raises what it raised
            raise TinyDancerError(what, "the application ended", "this is a mistake in the gateway; report it")
        message = answer.result()
        if message["type"] == f"{what}.failed":
            raise TinyDancerError(what, message.get("message", ""), "correct this and start again")


async def _first(events: list[asyncio.Event], seconds: float) -> None:
    """Waits until one of the events has happened, at most so long."""
    waits = [asyncio.ensure_future(each.wait()) for each in events]
    await asyncio.wait(waits, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
    for each in waits:
        each.cancel()


def _not_cancelled(record: logging.LogRecord) -> bool:
    """Whether a record says more than that a drain, or an upstream, cut a request."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError | AnswerCut))
