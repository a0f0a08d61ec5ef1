"""``tiny-dancer gateway``: opens the ports, starts what serves, and does what signals and the file say to the end.

- SIGTERM, SIGINT: what has arrived is finished, for as long as ``limits.drain`` says; then the rest is cut. A
  second one cuts at once, a third ends the process as it is.
- SIGHUP, or a change of the file: the configuration is reloaded. One that cannot be served changes nothing.
- SIGUSR2: workers are replaced one after the other, without losing a request.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from tiny_dancer._core import __version__
from tiny_dancer.config import without_environment
from tiny_dancer.errors import OptionError, TinyDancerError
from tiny_dancer.extras import require
from tiny_dancer.gateway.configuration.address import parse_address
from tiny_dancer.gateway.configuration.check import load_gateway
from tiny_dancer.gateway.configuration.settings import database_of, keys_required
from tiny_dancer.gateway.edge.listening import Bound, bind
from tiny_dancer.gateway.operate.watching import changes, stamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from tiny_dancer.gateway.configuration.settings import GatewayConfig
    from tiny_dancer.gateway.operate.health import WorkerSnapshot

log = logging.getLogger("tiny_dancer.gateway")
# What serving cannot do without.
LIBRARIES: Final = ("httptools", "uvicorn", "uvloop")


class _Service(Protocol):
    """One worker in this process, or a supervisor of several."""

    async def reload(self, config: GatewayConfig) -> None: ...

    async def stop(self, at_once: asyncio.Event) -> None: ...


def serve(config: GatewayConfig, *, folder: Path, path: Path | None = None, take_over: bool = False) -> None:
    """Runs a gateway until it is told to end.

    Args:
        config: checked.
        folder: where relative paths of the configuration start.
        path: the file it was read from, which is watched; None where there is none.
        take_over: share the clients' port with a gateway that is about to be ended.

    Raises:
        ConfigError: a port is taken, an address is not this machine's, or the configuration cannot be served.
        MissingExtraError: the ``gateway`` extra is not installed.
        OptionError: this is Windows.
    """
    if sys.platform == "win32":
        raise OptionError("gateway", sys.platform, "run it on Linux or macOS; on Windows, in WSL or a container")
    require(*LIBRARIES)
    from tiny_dancer.gateway.operate.worker import allow_many_files, log_to_stderr, run

    allow_many_files()
    clients = bind(parse_address(config.listen, "listen"), "listen", count=config.workers, beside=take_over)
    with ExitStack() as undo:
        undo.callback(clients.close)
        health = None if config.health == "off" else bind(parse_address(config.health, "health"), "health")
        undo.pop_all()
    log_to_stderr()
    try:
        run(_Gateway(config, folder, path, clients, health).run())
    except TinyDancerError as error:
        raise (error if path is None else without_environment(error, path)) from None


class _Gateway:
    """A gateway that runs, whatever the number of its processes."""

    def __init__(
        self, config: GatewayConfig, folder: Path, path: Path | None, clients: Bound, health: Bound | None
    ) -> None:
        self._config, self._folder, self._path = config, folder, path
        self._clients, self._health = clients, health
        self._stamp = None if path is None else stamp(path)
        self._reload_error: str | None = None
        self._orders: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._end, self._at_once = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        from tiny_dancer.gateway.dashboard.app import Dashboard
        from tiny_dancer.gateway.edge.connections import Server
        from tiny_dancer.gateway.operate.health import HealthApp

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_end)
        loop.add_signal_handler(signal.SIGHUP, self._orders.put_nowait, self._reload)
        loop.add_signal_handler(signal.SIGUSR2, self._orders.put_nowait, self._restart)
        if self._config.workers == 1:
            await self._start_worker()
        else:
            await self._start_supervisor()
        health = dashboard = None
        if self._health is not None:
            dashboard = Dashboard(
                database_of(self._config, self._folder),
                lambda: self._config,
                self._asked_for_health,
                loopback=self._health.address.loopback,
            )
            health = Server(HealthApp(self._asked_for_health, self._gone, dashboard), self._config.limits)
            await health.start(self._health.sockets[0])
        for line in announcement(self._config, self._clients, self._health):
            log.info(line)
        await self._warn()
        _notify("READY=1")
        background = [asyncio.ensure_future(self._obey()), asyncio.ensure_future(self._watch())]
        await self._end.wait()
        _notify("STOPPING=1")
        self._clients.give_up()
        if self._health is not None:
            self._health.give_up()
        for task in background:
            task.cancel()
        await asyncio.wait(background)
        await self._service.stop(self._at_once)
        if health is not None:
            health.close()
        if dashboard is not None:
            dashboard.close()

    async def _start_worker(self) -> None:
        from tiny_dancer.gateway.operate.worker import Worker

        worker = Worker(self._config, self._folder)
        await worker.start(self._clients.sockets[0])
        self._service: _Service = worker
        self._snapshots: Callable[[], Awaitable[list[WorkerSnapshot]]] = worker.snapshots
        self._replace: Callable[[], Awaitable[None]] | None = None
        self._gone: Callable[[], Sequence[WorkerSnapshot]] = tuple

    async def _start_supervisor(self) -> None:
        from tiny_dancer.gateway.operate.supervisor import Supervisor

        supervisor = Supervisor(self._config, self._folder, self._clients)
        await supervisor.start()
        self._service, self._snapshots, self._replace = supervisor, supervisor.snapshots, supervisor.restart
        self._gone = supervisor.gone

    def _asked_to_end(self) -> None:
        if self._at_once.is_set():
            os._exit(1)
        (self._at_once if self._end.is_set() else self._end).set()

    async def _asked_for_health(self) -> list[WorkerSnapshot]:
        found = await self._snapshots()
        if self._reload_error is None:
            return found
        replace = msgspec.structs.replace
        return [replace(one, status=replace(one.status, reload_error=self._reload_error)) for one in found]

    async def _obey(self) -> None:
        """One order after the other."""
        while True:
            await (await self._orders.get())()

    async def _watch(self) -> None:
        if self._path is not None:
            async for _ in changes(self._path, self._stamp):
                self._orders.put_nowait(self._reload)

    async def _reload(self) -> None:
        if self._path is None:
            log.warning("there is no file to reload")
            return
        try:
            config = load_gateway(self._path)
            await self._service.reload(config)
        except (TinyDancerError, OSError) as error:
            found = without_environment(error, self._path) if isinstance(error, TinyDancerError) else error
            self._reload_error = str(found)
            log.error("not reloaded: %s. The configuration before goes on serving", found)
        else:
            self._config, self._reload_error = config, None
            log.info("reloaded %s: %s", self._path, _inventory(config))
            await self._warn()

    async def _warn(self) -> None:
        """Says once what every worker knows of its routers."""
        for worker in (await self._snapshots())[:1]:
            for note in worker.status.notes:
                log.warning("%s", note)

    async def _restart(self) -> None:
        if self._replace is None:
            log.warning(
                "one worker cannot be replaced in place; start a second gateway with --take-over, then end this"
            )
            return
        try:
            await self._replace()
        except (TinyDancerError, OSError) as error:
            log.error("not restarted: %s. The workers before go on serving", error)
        else:
            log.info("%d workers replaced", self._config.workers)


def announcement(config: GatewayConfig, clients: Bound, health: Bound | None) -> list[str]:
    """What an operator wants to know at the start."""
    workers = f", {config.workers} workers" if config.workers > 1 else ""
    lines = [
        f"tiny-dancer {__version__} on http://{clients.address}/v1{workers}, process {os.getpid()}",
        _inventory(config),
    ]
    if clients.shared:
        lines.append(
            f"another gateway listens on port {clients.address.port} too: each gets a share of the connections, "
            "until one of them is ended"
        )
    if health is not None:
        lines.append(f"health and metrics: http://{health.address}/health/ready and /metrics")
        lines.append(f"dashboard: http://{health.address}/dashboard, for an operator's key")
    if keys_required(config):
        lines.append("clients need a key: tiny-dancer keys create")
    elif clients.address.loopback:
        lines.append("open without keys: only programs on this machine can connect")
    else:
        lines.append(
            f"warning: open without keys to everybody who can reach {clients.address}; set access.keys to required"
        )
    return lines


def _inventory(config: GatewayConfig) -> str:
    models = ", ".join(config.models)
    return f"models: {models}" + (f"; routers: {', '.join(config.routers)}" if config.routers else "")


def _notify(state: str) -> None:
    """Tells systemd, where it started this process with Type=notify (sd_notify(3))."""
    where = os.environ.get("NOTIFY_SOCKET")
    if where:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto(state.encode(), "\0" + where[1:] if where.startswith("@") else where)
