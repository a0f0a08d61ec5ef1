"""The gateway as an ASGI application: one object per worker, which holds everything that serves."""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tiny_dancer._core import __version__
from tiny_dancer.budgets import Budgets
from tiny_dancer.budgets.clock import steady
from tiny_dancer.budgets.money import SEATS, MoneyTable
from tiny_dancer.errors import ConfigError, StorageError, TinyDancerError
from tiny_dancer.gateway import deciding, endpoints, origins
from tiny_dancer.gateway.access.admission import REFRESH_S, Access
from tiny_dancer.gateway.access.shared_limits import SharedLimits
from tiny_dancer.gateway.account.background import Accounting
from tiny_dancer.gateway.account.spool import Spool, free_seats, recover, take_seat
from tiny_dancer.gateway.addresses import plain
from tiny_dancer.gateway.chains import Chains
from tiny_dancer.gateway.choosing.chooser import Chooser
from tiny_dancer.gateway.choosing.serving import Serving
from tiny_dancer.gateway.choosing.sessions import SessionTable
from tiny_dancer.gateway.configuration.settings import (
    budgets_path,
    database_of,
    keys_required,
    limits_path,
    unwritten_path,
)
from tiny_dancer.gateway.exchange import INSTANT, Exchange
from tiny_dancer.gateway.leading import Leading
from tiny_dancer.gateway.passing.exchange import pass_on
from tiny_dancer.gateway.passing.table import find
from tiny_dancer.gateway.services import Services
from tiny_dancer.gateway.status import GatewayStatus
from tiny_dancer.gateway.upstream.proxy import Proxy
from tiny_dancer.observability.logs import RequestLog
from tiny_dancer.observability.metrics import Metrics, Names
from tiny_dancer.observability.traces import Tracer
from tiny_dancer.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    from tiny_dancer.gateway.configuration.settings import GatewayConfig
    from tiny_dancer.gateway.upstream.dialect import Endpoint
    from tiny_dancer.storage import AgentRecord

log = logging.getLogger("tiny_dancer.gateway")
# Seconds between two looks for processes that were killed.
_RECOVER_S: Final = 2.0
# Reading agents takes at most a twentieth of the time, however many there are.
_REST: Final = 19.0
_MODEL_CALLS: Final[dict[str, Endpoint]] = {
    "/v1/chat/completions": "chat.completions",
    "/v1/completions": "completions",
    "/v1/responses": "responses",
    "/v1/embeddings": "embeddings",
    "/v1/messages": "messages",
}
# Seconds between two looks at what is too old to be kept.
_FORGETTING: Final = 3600.0
# What a reload does not touch: ports and files are opened once, by whoever started the process.
_FIXED: Final = ("listen", "health", "workers", "storage", "log", "telemetry")


class Gateway:
    """Serves clients by one configuration, until it is replaced.

    Use as an ASGI 3 application; the lifespan events start and close it, or call :meth:`start` and :meth:`close`.
    Everything but :meth:`reload` and :meth:`status` belongs to the event loop's thread.

    Attributes:
        services: what serves requests; replaced piece by piece by a reload.
        loop: the event loop, once started.
    """

    loop: asyncio.AbstractEventLoop

    def __init__(self, config: GatewayConfig, *, folder: Path) -> None:
        """Opens storage, loads artifacts; connects to nobody yet.

        Args:
            config: checked, see :mod:`tiny_dancer.gateway.configuration.check`.
            folder: where relative paths of the configuration start.

        Raises:
            ConfigError, ArtifactError, RegistryError, StorageError, MissingExtraError: it cannot serve.
        """
        self._folder = folder
        serving = Serving(config, folder)
        storage = open_storage(database_of(config, folder))
        metrics = Metrics(_names(config))
        self._log = RequestLog(config.log.requests, folder=folder, on_loss=metrics.count_lost_lines)
        telemetry, tracer = config.telemetry, None
        if telemetry.otlp_endpoint is not None:
            tracer = Tracer(telemetry.otlp_endpoint, telemetry.service_name, telemetry.sample, version=__version__)
        self._unwritten = unwritten_path(config, folder)
        several = config.workers > 1
        self._money = MoneyTable(budgets_path(config, folder) if several else None)
        self._seat = take_seat(self._unwritten, SEATS, storage, self._money.has)
        self._money.sit(self._seat.number)
        accounting = Accounting(storage, (metrics.observe, self._log.write), spool=Spool(self._seat))
        self._shared = SharedLimits(limits_path(config, folder)) if several else None
        for seat in free_seats(self._unwritten, self._seat):
            if not self._money.has(seat.number):  # else it is done while others serve
                recover(seat, storage)
        self.services = Services(
            serving=serving,
            storage=storage,
            access=Access(storage, required=keys_required(config), shared=self._shared, money=self._money),
            budgets=Budgets(storage, clock=steady),
            chooser=Chooser(SessionTable(config.sessions)),
            proxy=_proxy(config),
            leads=Leading(Chains(storage)),
            accounting=accounting,
            metrics=metrics,
            tracer=tracer,
        )
        self._looking: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._draining = False
        self._reload_error: str | None = None
        self._agents_error: str | None = None
        self._agents_seen = 0
        self._beside: list[asyncio.Task[None]] = []

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """One request, or the lifespan."""
        if scope["type"] == "http":
            if headers := self.page_headers(scope["headers"]):
                if origins.is_preflight(scope):
                    await origins.answer_preflight(scope, receive, send, headers)
                    return
                send = origins.with_headers(send, headers)
            endpoint, model = _MODEL_CALLS.get(scope["path"]), None
            if endpoint is None:
                scope["path"], model = plain(scope["path"])
                endpoint = _MODEL_CALLS.get(scope["path"])
            if endpoint is not None and scope["method"] == "POST":
                await Exchange(self.services, endpoint, receive, send, model).run(scope)
            elif scope["path"] in deciding.PATHS and scope["method"] == "POST":
                await deciding.DecideExchange(self.services, receive, send).run(scope)
            elif (passage := find(scope["path"])) is not None:
                await pass_on(self.services, passage, scope, receive, send, model)
            else:
                await endpoints.serve(self.services, scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    def page_headers(self, given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """What is added to the answer of a request with these headers, where a web page sent it that may call."""
        named = self.services.serving.config.access.origins
        return origins.allowed(given, named) if named else []

    async def start(self) -> None:
        """Reads the keys and begins to serve, in the running loop."""
        self.loop = asyncio.get_running_loop()
        await asyncio.to_thread(self.services.access.refresh)
        await self._follow_agents()
        works = (self.services.access.run(), self._recover(), self._forget(), self._watch_agents())
        self._beside = [self.loop.create_task(each) for each in works]
        self._look()

    async def close(self) -> None:
        """Writes what waits to be written, and lets go of everything. Requests should have ended before."""
        if self._looking is not None:
            self._looking.cancel()
        for task in self._beside:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(self.services.accounting.close)
        if self.services.tracer is not None:
            await asyncio.to_thread(self.services.tracer.shutdown)
        self.services.kept.close()
        self.services.serving.close()
        await self.services.serving.disconnect()
        self._log.close()
        if self._shared is not None:
            self._shared.close()
        await asyncio.to_thread(self.services.budgets.close)
        self._money.close()
        self._seat.leave()
        await asyncio.to_thread(self.services.storage.close)

    def drain(self) -> None:
        """Says in :meth:`status` that it wants no more requests; those that come are served."""
        self._draining = True

    def reload(self, config: GatewayConfig) -> None:
        """Serves another configuration from the next request on; requests under way end with the old one.

        Raises:
            ConfigError: it changes what needs a restart (``listen``, ``health``, ``workers``, ``storage``,
                ``log``, ``telemetry``), or cannot serve. The old one goes on serving, and :meth:`status` says why.
            ArtifactError, RegistryError: an artifact cannot be loaded; likewise.
        """
        before = self.services.serving
        try:
            for name in _FIXED:
                if getattr(config, name) != getattr(before.config, name):
                    raise ConfigError(
                        name, "changed", "restart the gateway to change it; the rest waits until then"
                    )
            serving = Serving(config, self._folder, before)
        except TinyDancerError as error:
            self._reload_error = str(error)
            raise
        self._reload_error = None
        self.services.metrics.know(_names(config))
        if (config.retries, config.fallback_on) != (before.config.retries, before.config.fallback_on):
            self.services.proxy = _proxy(config)
        if config.sessions != before.config.sessions:
            self.services.chooser = Chooser(SessionTable(config.sessions))
        self.services.access.required = keys_required(config)
        self.services.serving = serving
        before.close(serving)
        kept = {id(server) for server in serving.servers.values()}
        for server in before.servers.values():
            if id(server) not in kept:
                # Requests under way end with their connections; idle ones close now.
                task = self.loop.create_task(server.client.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    def refused(self, error: TinyDancerError) -> None:
        """Notes that a configuration could not even be read; the old one goes on serving."""
        self._reload_error = str(error)

    def status(self) -> GatewayStatus:
        """How it stands now."""
        serving = self.services.serving
        routers = {name: each.router.status() for name, each in serving.variants().items()}
        problems = [f"{name}: {found.reload_error}" for name, found in routers.items() if found.reload_error]
        problems += [
            f"routes {name}: {error}"
            for name, each in serving.routes.items()
            if (error := each.reloading.last_error) is not None
        ]
        if self._reload_error is not None:
            problems.append(self._reload_error)
        failed = self.services.accounting.last_error
        storage_error = (self.services.access.last_error or self._agents_error) if failed is None else str(failed)
        reasons = ["draining"] if self._draining else []
        if storage_error is not None:
            reasons.append(f"storage: {storage_error}")
        deployments = [each.status() for model in serving.models.values() for each in model.deployments]
        if deployments and all(each.state == "open" for each in deployments):
            reasons.append("every breaker is open")
        return GatewayStatus(
            ready=not reasons,
            reasons=reasons,
            artifacts={name: found.version for name, found in routers.items()},
            drift={
                name: found
                for name, each in serving.variants().items()
                if (found := each.drift.status()) is not None
            },
            bugs={name: found.bugs for name, found in routers.items()},
            reload_error="; ".join(problems) or None,
            storage_error=storage_error,
            dropped=self.services.accounting.dropped,
            queued=self.services.accounting.queued,
            deployments=deployments,
            last_decision=self.services.chooser.last_decision,
            in_flight=self.services.in_flight,
            memory_bytes=resident_bytes(),
            draining=self._draining,
            notes=serving.notes(),
        )

    def _look(self) -> None:
        """Has the clients watched of requests that take longer than an instant; one timer for all of them."""
        begun = time.perf_counter() - INSTANT
        while self.services.unwatched:
            oldest = next(iter(self.services.unwatched))
            if oldest.start > begun:
                break
            del self.services.unwatched[oldest]
            oldest.watch()
        self._looking = self.loop.call_later(INSTANT, self._look)

    async def _watch_agents(self) -> None:
        """Follows the registry, beside the event loop, as keys are followed."""
        while True:
            began = time.monotonic()
            try:
                await self._follow_agents()
                self._agents_error = None
            except TinyDancerError as error:
                self._agents_error = str(error)
            await asyncio.sleep(max(REFRESH_S, (time.monotonic() - began) * _REST))

    async def _follow_agents(self) -> None:
        """Takes over what has changed in the registry. Agents that are declared otherwise serve from the next
        request on; those under way end with the old ones.

        Raises:
            StorageError: it cannot be read; those known stay.
        """
        found = await asyncio.to_thread(self._read_agents)
        if found is None:
            return
        changes, records = found
        serving = self.services.serving
        if serving.agents.same(records):
            serving.agents.learn(records)
        else:
            after = await asyncio.to_thread(serving.with_agents, records)
            if self.services.serving is not serving:
                return  # there was a reload meanwhile: the next time
            self.services.serving = after
        self._agents_seen = changes

    def _read_agents(self) -> tuple[int, tuple[AgentRecord, ...]] | None:
        """How often the registry was written, and what is there; None where nothing was since."""
        storage = self.services.storage
        changes = storage.agent_changes()
        return None if changes == self._agents_seen else (changes, storage.agents())

    async def _forget(self) -> None:
        """Removes what is older than the configuration keeps, now and then. What fails is tried the next time."""
        days = self.services.serving.config.log.keep_days
        while days is not None:
            with suppress(TinyDancerError):
                await asyncio.to_thread(self.services.storage.apply_retention, max_age_s=days * 86_400)
            await asyncio.sleep(_FORGETTING)

    async def _recover(self) -> None:
        """Again and again takes over what processes leave behind that are killed: records and money."""
        said = False
        while True:
            await asyncio.sleep(_RECOVER_S)
            try:
                for seat in free_seats(self._unwritten, self._seat):
                    await asyncio.to_thread(recover, seat, self.services.storage)
                    self._money.end_seat(seat.number)
                said = False
            except (StorageError, OSError) as error:
                if not said:
                    log.error("what a process that was killed has left cannot be recovered yet: %s", error)
                said = True

    async def _lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        try:
            await self.start()
        except StorageError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})


def resident_bytes() -> int:
    """Memory this process holds now; at its highest, where the system does not say more."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _proxy(config: GatewayConfig) -> Proxy:
    return Proxy(config.retries, leaves_filters="content_filter" in config.fallback_on)


def _names(config: GatewayConfig) -> Names:
    return Names(
        models=tuple(config.models),
        aliases=(
            *(alias for model in config.models.values() for alias in model.aliases),
            *(f"chain-{name}" for name in config.chains),
        ),
        upstreams={name: upstream.kind for name, upstream in config.upstreams.items()},
        routers=tuple(config.routers),
    )
