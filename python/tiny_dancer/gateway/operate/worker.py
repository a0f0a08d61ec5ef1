"""One process that serves: a gateway on a socket, alone or as one of several under a supervisor."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import resource
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tiny_dancer.errors import TinyDancerError
from tiny_dancer.gateway.configuration.settings import GatewayConfig
from tiny_dancer.gateway.edge.connections import Lifespan, Server
from tiny_dancer.gateway.operate.health import WorkerSnapshot
from tiny_dancer.observability import logs

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any


class Start(msgspec.Struct, frozen=True, tag=True):
    """The supervisor's first word to a worker; the answer is :class:`Done`."""

    config: GatewayConfig
    folder: str
    worker: int


class Reload(msgspec.Struct, frozen=True, tag=True):
    """Serve by this configuration from now on; the answer is :class:`Done`."""

    config: GatewayConfig


class Report(msgspec.Struct, frozen=True, tag=True):
    """How do you stand? The answer is a :class:`WorkerSnapshot`."""


class Drain(msgspec.Struct, frozen=True, tag=True):
    """Finish and end; said twice: end at once. Answered by the end of the process.

    Attributes:
        last: no other worker goes on with the socket.
    """

    last: bool


class Done(msgspec.Struct, frozen=True):
    """What came of it.

    Attributes:
        error: field, value and remedy where it was refused.
    """

    error: tuple[str, str, str] | None = None


Message = Start | Reload | Report | Drain
log = logging.getLogger("tiny_dancer.gateway")
_FILES = 1 << 16
_M_MMAP_THRESHOLD = -3  # of malloc.h
_LARGE_BLOCK = 1 << 20
_NEW_OBJECTS = 20_000
_LENGTH = struct.Struct("!I")


def write(writer: asyncio.StreamWriter, message: msgspec.Struct) -> None:
    """Sends one message: four bytes of length, then msgpack. The few that are sent need no backpressure."""
    data = msgspec.msgpack.encode(message)
    writer.write(_LENGTH.pack(len(data)) + data)


async def receive(reader: asyncio.StreamReader) -> bytes:
    """Reads one message.

    Raises:
        asyncio.IncompleteReadError: the other side is gone.
    """
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return await reader.readexactly(length)


def _loop_first() -> None:
    """Lets the event loop's thread go before those beside it: accounting, storage, watching files.

    They share a processor and the interpreter with it, and nobody waits for them; without this, one request in a
    hundred waited 4 ms for them.
    """
    sys.setswitchinterval(0.002)  # for the interpreter; 5 ms otherwise
    if sys.platform != "linux":  # elsewhere threads have no priority of their own
        return
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and thread.native_id is not None:
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, thread.native_id, 10)


def _collect_seldom() -> None:
    """Has the collector look for garbage after more new objects than requests under way hold.

    Python's 700 are those of some twenty requests at once: each look found nothing but them, and a tenth of a
    request's time went into it. What requests leave behind is freed without the collector.
    """
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])


def _give_back_large_blocks() -> None:
    """Has large blocks (bodies, answers) given back to the system when they are freed.

    glibc raises by itself the size from which it does so, to 32 MB, and keeps what is smaller: after some uploads
    a process held hundreds of megabytes. Other systems' libraries have no such call, and no such habit.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


class Worker:
    """A gateway, the socket it serves on, and its end."""

    def __init__(self, config: GatewayConfig, folder: Path, number: int = 0) -> None:
        """Builds the gateway; nothing is opened yet.

        Raises:
            TinyDancerError: the configuration cannot be served.
        """
        # Late, so that a supervisor, which serves nothing, does not carry the engine and the clients of upstreams.
        from tiny_dancer.gateway.app import Gateway

        self._config = config
        self._number = number
        self._gateway = Gateway(config, folder=folder)
        self._lifespan = Lifespan(self._gateway)
        self._server = Server(self._gateway, config.limits, self._gateway.page_headers)

    async def start(self, bound: socket.socket) -> None:
        """Starts the gateway, then listens.

        Raises:
            TinyDancerError: the gateway cannot start.
        """
        await self._lifespan.start()
        await self._server.start(bound)
        # What is loaded by now stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        _collect_seldom()
        _loop_first()
        _give_back_large_blocks()

    async def reload(self, config: GatewayConfig) -> None:
        """Serves by another configuration.

        Raises:
            TinyDancerError: it cannot be served; the one before serves on.
        """
        self._gateway.reload(config)
        self._server.state.limits = config.limits
        self._config = config

    def snapshot(self) -> WorkerSnapshot:
        """How it stands."""
        status, metrics = self._gateway.status(), self._gateway.services.metrics.snapshot()
        return WorkerSnapshot(worker=self._number, pid=os.getpid(), status=status, metrics=metrics)

    async def snapshots(self) -> list[WorkerSnapshot]:
        """How all workers stand: this one."""
        return [self.snapshot()]

    async def stop(self, at_once: asyncio.Event, *, last: bool = True) -> None:
        """Finishes what has arrived, as :meth:`Server.drain`, then writes what was counted and closes."""
        self._gateway.drain()
        await self._server.drain(self._config.limits.drain, at_once, last=last)
        await self._lifespan.stop()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a process's main coroutine on uvloop."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def allow_many_files() -> None:
    """Raises the soft limit of open files, usually 1,024: each request under way has two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def log_to_stderr() -> None:
    """Has the process's own messages written to standard error: text on a terminal, else JSON lines."""
    logs.configure(json=sys.stderr is None or not sys.stderr.isatty())
    # The demo's stand-ins run on uvicorn's own server, which announces itself.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


class _End:
    """How a worker is told to end.

    Attributes:
        last: no other worker goes on with the socket.
    """

    def __init__(self) -> None:
        self.drain, self.at_once = asyncio.Event(), asyncio.Event()
        self.last = False

    def ask(self, last: bool) -> None:
        """To finish; asked again, to end at once."""
        self.last = last
        (self.at_once if self.drain.is_set() else self.drain).set()


async def _serve(control: socket.socket, bound: socket.socket) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=control)
    end = _End()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.ask, False)
    start = msgspec.msgpack.decode(await receive(reader), type=Start)
    try:
        worker = Worker(start.config, Path(start.folder), start.worker)
        await worker.start(bound)
    except TinyDancerError as error:
        write(writer, _refusal(error))
        await writer.drain()
        return
    write(writer, Done())
    listening = asyncio.ensure_future(_listen(worker, reader, writer, end))
    await end.drain.wait()
    await worker.stop(end.at_once, last=end.last)
    listening.cancel()
    # Unasked, as the last word: what it has counted since it was asked.
    write(writer, worker.snapshot())
    with suppress(ConnectionError):
        await writer.drain()


async def _listen(worker: Worker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, end: _End) -> None:
    """Does what the supervisor says; ends with it."""
    try:
        while True:
            message = msgspec.msgpack.decode(await receive(reader), type=Message)
            if isinstance(message, Drain):
                end.ask(message.last)
            elif isinstance(message, Report):
                write(writer, worker.snapshot())
            elif isinstance(message, Reload):
                try:
                    await worker.reload(message.config)
                except TinyDancerError as error:
                    write(writer, _refusal(error))
                else:
                    write(writer, Done())
    except (asyncio.IncompleteReadError, ConnectionError):
        end.ask(last=True)


def _refusal(error: TinyDancerError) -> Done:
    return Done((error.field, error.value, error.remedy))


def main() -> None:
    """Runs a worker; its two sockets are inherited, their numbers its arguments."""
    control, bound = (socket.socket(fileno=int(each)) for each in sys.argv[1:3])
    # These go to a terminal's whole group; the supervisor says what they mean for a worker.
    for each in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(each, signal.SIG_IGN)
    log_to_stderr()
    allow_many_files()
    try:
        run(_serve(control, bound))
    except TinyDancerError as error:
        log.error("process %d did not end well: %s", os.getpid(), error)
        sys.exit(1)


if __name__ == "__main__":
    main()
