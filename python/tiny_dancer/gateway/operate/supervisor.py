"""Several processes on one port: starts them, replaces those that end, restarts them one after the other.

Each worker has a place with a socket of its own (SO_REUSEPORT), which the supervisor holds open: what waits there
is accepted by the next worker of that place, whatever became of the last. Workers are started afresh, not forked:
neither the engine nor the loop knows of another process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from tiny_dancer.budgets import money
from tiny_dancer.errors import ConfigError, TinyDancerError
from tiny_dancer.gateway.access import shared_limits
from tiny_dancer.gateway.configuration.settings import budgets_path, limits_path
from tiny_dancer.gateway.operate.health import WorkerSnapshot
from tiny_dancer.gateway.operate.worker import Done, Drain, Reload, Report, Start, receive, write

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from pathlib import Path

    from tiny_dancer.gateway.configuration.settings import GatewayConfig
    from tiny_dancer.gateway.edge.listening import Bound

# One that ends sooner than this after its start is not started again at once.
_SETTLED_SECONDS = 10.0
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 15.0
# Beyond the drain, for cutting streams and writing what was counted.
_CLOSING_SECONDS = 15.0
_STARTING_SECONDS, _RELOADING_SECONDS, _REPORTING_SECONDS = 120.0, 60.0, 3.0

log = logging.getLogger("tiny_dancer.gateway")


class _Child:
    """A worker's process, and the line to it: answers come in the order of the questions.

    Attributes:
        process: of the worker.
        started: when, by :func:`time.monotonic`.
        last_word: what it said unasked as it ended; empty before.
    """

    def __init__(self, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.process = process
        self.started = time.monotonic()
        self.last_word = b""
        self._writer = writer
        self._awaited: deque[asyncio.Future[bytes]] = deque()
        self._reading = asyncio.ensure_future(self._read(reader))

    async def ask(self, message: Start | Reload | Report, seconds: float) -> bytes:
        """The answer.

        Raises:
            ConnectionError: the process has ended.
            ConfigError: it has not answered within ``seconds``.
        """
        if self._reading.done():
            raise ConnectionResetError
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._awaited.append(answer)
        write(self._writer, message)
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            where = f"process {self.process.pid}"
            raise ConfigError(where, f"no answer in {seconds:g} s", "see what it wrote above") from None

    def drain(self, *, last: bool) -> None:
        """Has it finish and end; called again, end at once. Whether it is the last with its socket."""
        if not self._reading.done():
            write(self._writer, Drain(last=last))

    def kill(self) -> None:
        """Ends it as it is."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    async def ended(self) -> None:
        """Waits for its end, and for its last word."""
        await self.process.wait()
        await self._reading

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                data = await receive(reader)
                if not self._awaited:
                    self.last_word = data
                    continue
                answer = self._awaited.popleft()
                if not answer.done():
                    answer.set_result(data)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._writer.close()
            for answer in self._awaited:
                if not answer.done():
                    answer.set_exception(ConnectionResetError())


@dataclass(eq=False)
class _Place:
    """What outlives a worker."""

    number: int
    bound: socket.socket
    child: _Child | None = None
    delay: float = 0.0


class Supervisor:
    """Keeps as many workers as the configuration says."""

    def __init__(self, config: GatewayConfig, folder: Path, bound: Bound) -> None:
        """Nothing runs yet.

        Args:
            config: every worker's.
            folder: where relative paths of the configuration start.
            bound: a socket for each worker.
        """
        self._config, self._folder = config, folder
        self._places = [_Place(number, each) for number, each in enumerate(bound.sockets)]
        self._changing = asyncio.Lock()
        self._stopping = False
        self._watching: set[asyncio.Task[None]] = set()
        self._retiring: dict[_Child, asyncio.Task[None]] = {}
        self._ended_well: list[WorkerSnapshot] = []

    async def start(self) -> None:
        """Starts all workers, and returns when all serve.

        Raises:
            TinyDancerError: one cannot start; none runs then.
        """
        shared_limits.create(limits_path(self._config, self._folder))
        money.create(budgets_path(self._config, self._folder))
        started = await asyncio.gather(*map(self._spawn, self._places), return_exceptions=True)
        for place, child in zip(self._places, started, strict=True):
            if isinstance(child, _Child):
                self._put(place, child)
        for failure in started:
            if isinstance(failure, BaseException):
                self._stopping = True
                for place in self._places:
                    if place.child is not None:
                        place.child.kill()
                raise failure

    async def reload(self, config: GatewayConfig) -> None:
        """Has every worker serve by another configuration, or none.

        Raises:
            TinyDancerError: the workers cannot serve it.
        """
        async with self._changing:
            changed: list[_Child] = []
            for place in self._places:
                if (child := place.child) is None:
                    continue  # the next one starts with what serves then
                try:
                    _check(await child.ask(Reload(config), _RELOADING_SECONDS))
                except ConnectionError:
                    continue
                except TinyDancerError:
                    for each in changed:
                        with contextlib.suppress(ConnectionError, TinyDancerError):
                            await each.ask(Reload(self._config), _RELOADING_SECONDS)
                    raise
                changed.append(child)
            self._config = config

    async def restart(self) -> None:
        """Replaces every worker: the new one serves before the old one drains.

        Raises:
            TinyDancerError: a new one cannot start. Those not replaced yet go on.
        """
        async with self._changing:
            for place in self._places:
                fresh = await self._spawn(place)
                old = place.child
                self._put(place, fresh)
                if old is not None:
                    self._retire(old, last=False)

    async def snapshots(self) -> list[WorkerSnapshot]:
        """Of every worker that serves."""
        asked = [_snapshot(place.child) for place in self._places if place.child is not None]
        return [each for each in await asyncio.gather(*asked) if each is not None]

    def gone(self) -> list[WorkerSnapshot]:
        """Of workers that have ended well since this was last asked: how they stood then."""
        found, self._ended_well = self._ended_well, []
        return found

    async def stop(self, at_once: asyncio.Event) -> None:
        """Has all workers finish what has arrived; takes one too long, or is ``at_once`` set, it is ended."""
        self._stopping = True
        for task in self._watching:
            task.cancel()
        # First, so that what waits is accepted by a worker: whoever closes a socket last loses what waits there.
        for place in self._places:
            place.bound.close()
            if place.child is not None:
                self._retire(place.child, last=True)
        hurry = asyncio.ensure_future(at_once.wait())
        everything = asyncio.gather(*self._retiring.values())
        waits: list[asyncio.Future[Any]] = [everything, hurry]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if not everything.done():
            for child in list(self._retiring):
                child.drain(last=True)
        await everything
        hurry.cancel()

    async def _spawn(self, place: _Place) -> _Child:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tiny_dancer.gateway.operate.worker",
                str(theirs.fileno()),
                str(place.bound.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), place.bound.fileno()),
            )
        ours.setblocking(False)
        child = _Child(process, *await asyncio.open_unix_connection(sock=ours))
        try:
            _check(await child.ask(Start(self._config, str(self._folder), place.number), _STARTING_SECONDS))
        except ConnectionError:
            code = await process.wait()
            raise ConfigError(f"worker {place.number}", f"ended with {code}", "see what it wrote above") from None
        except BaseException:
            child.kill()
            raise
        return child

    def _put(self, place: _Place, child: _Child) -> None:
        place.child = child
        task = asyncio.ensure_future(self._watch(place, child))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _watch(self, place: _Place, child: _Child) -> None:
        """Replaces a worker that ends unasked: at once, or after longer and longer where it keeps ending."""
        code = await child.process.wait()
        if self._stopping or place.child is not child:
            return
        place.child = None
        if time.monotonic() - child.started > _SETTLED_SECONDS:
            place.delay = 0.0
        log.error("worker %d (process %d) ended with %d; starting another", place.number, child.process.pid, code)
        while not self._stopping:
            await asyncio.sleep(place.delay)
            place.delay = min(max(place.delay * 2, _FIRST_DELAY), _LONGEST_DELAY)
            async with self._changing:
                if self._stopping or place.child is not None:
                    return
                try:
                    self._put(place, await self._spawn(place))
                    return
                except (TinyDancerError, OSError) as error:
                    log.error("worker %d cannot start: %s; trying again", place.number, error)

    def _retire(self, child: _Child, *, last: bool) -> None:
        child.drain(last=last)
        task = asyncio.ensure_future(self._ended(child))
        self._retiring[child] = task
        task.add_done_callback(lambda _: self._retiring.pop(child))

    async def _ended(self, child: _Child) -> None:
        try:
            async with asyncio.timeout(self._config.limits.drain + _CLOSING_SECONDS):
                await child.ended()
        except TimeoutError:
            log.error("process %d does not end; killed", child.process.pid)
            child.kill()
            await child.process.wait()
        if child.last_word:
            self._ended_well.append(_decode(child.last_word))


async def _snapshot(child: _Child) -> WorkerSnapshot | None:
    try:
        return _decode(await child.ask(Report(), _REPORTING_SECONDS))
    except (ConnectionError, TinyDancerError):
        return None


def _decode(data: bytes) -> WorkerSnapshot:
    return msgspec.msgpack.decode(data, type=WorkerSnapshot)


def _check(answer: bytes) -> None:
    """Raises what a worker refused with."""
    error = msgspec.msgpack.decode(answer, type=Done).error
    if error is not None:
        raise ConfigError(*error)
