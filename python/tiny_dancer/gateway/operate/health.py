"""The operators' port: whether the process lives, whether it may be sent requests, what Prometheus scrapes; and
the dashboard, which is answered elsewhere.

Apart from the clients' port, so that it is neither reachable for them nor held up by them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from tiny_dancer._core import __version__
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.status import GatewayStatus
from tiny_dancer.observability.families import FAMILIES, Family
from tiny_dancer.observability.metrics import MetricsSnapshot, Series, merge
from tiny_dancer.observability.prometheus import CONTENT_TYPE, render

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from tiny_dancer.gateway.dashboard.app import Dashboard
    from tiny_dancer.gateway.status import DeploymentStatus, DriftStatus
    from tiny_dancer.routing.window import Measure

_PATIENCE = 5.0  # seconds that workers have to answer
_REMEMBERED = 32  # workers that are gone and whose counts are still kept apart
_STATES = {"closed": 0, "half_open": 1, "open": 2}


class WorkerSnapshot(msgspec.Struct, frozen=True):
    """One worker process at one moment; plain values, so that it can be sent between processes.

    Attributes:
        worker: its number, from 0; kept when the process is replaced.
        pid: of the process.
        status: how it stands.
        metrics: what it has counted since it started.
    """

    worker: int
    pid: int
    status: GatewayStatus
    metrics: MetricsSnapshot


class HealthApp:
    """An ASGI app of ``/health/live``, ``/health/ready`` and ``/metrics``, and of a dashboard.

    What a worker has counted is kept when it is replaced, and where it was killed what it had by its last scrape:
    sums over workers never go back.
    """

    def __init__(
        self,
        workers: Callable[[], Awaitable[Sequence[WorkerSnapshot]]],
        gone: Callable[[], Sequence[WorkerSnapshot]] = tuple,
        dashboard: Dashboard | None = None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            workers: every worker that answers, now.
            gone: those that have ended since this was last called, as they were then.
            dashboard: answers at ``/dashboard`` and below; None for none.
        """
        self._dashboard = dashboard
        self._workers = workers
        self._ended = gone
        self._seen: dict[tuple[int, int], MetricsSnapshot] = {}
        self._gone = MetricsSnapshot()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI 3."""
        if scope["type"] == "lifespan":
            return await _live(receive, send)
        if scope["type"] != "http":
            return None
        if self._dashboard is not None and (scope["path"] + "/").startswith("/dashboard/"):
            return await self._dashboard(scope, receive, send)
        headers: tuple[tuple[bytes, bytes], ...] = ()
        content_type = "application/json"
        try:
            status, body, content_type = await self._answer(scope)
        except GatewayError as error:
            status, body, headers = error.status, error.openai(), error.headers
        start = [
            (b"content-type", content_type.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            *headers,
        ]
        await send({"type": "http.response.start", "status": status, "headers": start})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        return None

    async def _answer(self, scope: Any) -> tuple[int, bytes, str]:
        path = scope["path"]
        if path not in ("/health/live", "/health/ready", "/metrics"):
            raise GatewayError(
                404,
                f"There is no {path[:200]} here; try /health/live, /health/ready or /metrics.",
                code="not_found",
            )
        if scope["method"] not in ("GET", "HEAD"):
            raise GatewayError(
                405, f"{path} is read by GET.", code="method_not_allowed", headers=((b"allow", b"GET, HEAD"),)
            )
        if path == "/health/live":
            return 200, b'{"status":"alive"}', "application/json"
        if path == "/health/ready":
            return await self._ready()
        workers = await self._ask()
        if workers is None:
            raise GatewayError(503, f"No worker answered within {_PATIENCE:g} seconds.", code="not_ready")
        counted = self._count(workers).families
        body = render([*((family, counted.get(family.name, ())) for family in FAMILIES), *status_series(workers)])
        return 200, body, CONTENT_TYPE

    async def _ask(self) -> Sequence[WorkerSnapshot] | None:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._workers()
        except TimeoutError:
            return None

    async def _ready(self) -> tuple[int, bytes, str]:
        workers = await self._ask()
        ready = any(worker.status.ready and not worker.status.draining for worker in workers or ())
        if workers is None:
            reasons = [f"no worker answered within {_PATIENCE:g} seconds"]
        elif not workers:
            reasons = ["no worker runs"]
        else:
            reasons = [
                f"worker {worker.worker}: {reason}"
                for worker in workers
                for reason in worker.status.reasons or (["draining"] if worker.status.draining else [])
            ]
        body = msgspec.json.encode(
            {
                "status": "ready" if ready else "not_ready",
                "version": __version__,
                "reasons": reasons,
                "workers": [
                    {"worker": one.worker, "pid": one.pid, **msgspec.to_builtins(one.status)}
                    for one in workers or ()
                ],
            }
        )
        return 200 if ready else 503, body, "application/json"

    def _count(self, workers: Sequence[WorkerSnapshot]) -> MetricsSnapshot:
        """What all workers have counted, those that are gone or did not answer as they were last seen."""
        for worker in (*workers, *self._ended()):
            identity = (worker.worker, worker.pid)
            self._seen.pop(identity, None)
            self._seen[identity] = worker.metrics
        # Those seen last stand at the end. One that did not answer may answer again, so that it stays apart, but
        # not for ever: workers are replaced again and again.
        excess = len(self._seen) - len(workers) - _REMEMBERED
        for identity in list(self._seen)[: max(excess, 0)]:
            self._gone = merge([self._gone, self._seen.pop(identity)])
        return merge([self._gone, *self._seen.values()])


_WORKER, _DEPLOYMENT = ("worker",), ("model", "upstream", "worker")
_BUILD = Family("tiny_dancer_build_info", "The version that runs; always 1.", ("version",))
_ARTIFACT = Family(
    "tiny_dancer_artifact_info", "The version of a router's artifact; always 1.", ("router", "version", "worker")
)
_BUGS = Family(
    "tiny_dancer_routing_bugs_total",
    "Errors of the program itself while routing; a fallback level answered, and each place is logged once.",
    ("router", "worker"),
)
_CAPITAL = Family(
    "tiny_dancer_drift_capital",
    "What betting that something has changed for a router has made of any alarm's share of 1, at most.",
    ("router", "worker"),
)
_ALARM = Family(
    "tiny_dancer_drift_alarm_capital",
    "What betting has made of an alarm's share of 1.",
    ("router", "alarm", "worker"),
)
_PSI = Family(
    "tiny_dancer_drift_psi",
    "Population stability index of a router's last decisions beside its artifact's rows; no alarm.",
    ("router", "measure", "worker"),
)
_KS = Family(
    "tiny_dancer_drift_ks",
    "Kolmogorov-Smirnov distance of a router's last decisions from its artifact's rows; no alarm.",
    ("router", "measure", "worker"),
)
_WITHDRAWN = Family(
    "tiny_dancer_certificate_withdrawn",
    "1 where a router's certificate is withdrawn because an alarm of its watch has rung.",
    ("router", "worker"),
)
_BREAKER = Family(
    "tiny_dancer_breaker_state", "A deployment's breaker: 0 closed, 1 half-open, 2 open.", _DEPLOYMENT
)
_OPENINGS = Family("tiny_dancer_breaker_openings_total", "How often a deployment's breaker opened.", _DEPLOYMENT)
_SERVING = Family("tiny_dancer_deployment_in_flight_requests", "Requests a deployment is serving.", _DEPLOYMENT)
_OF_A_WORKER: tuple[tuple[Family, Callable[[GatewayStatus], float | None]], ...] = (
    (
        Family("tiny_dancer_ready", "1 where the worker may be sent requests.", _WORKER),
        lambda status: int(status.ready),
    ),
    (
        Family("tiny_dancer_draining", "1 where the worker takes no more requests.", _WORKER),
        lambda status: int(status.draining),
    ),
    (
        Family("tiny_dancer_in_flight_requests", "Requests being served.", _WORKER),
        lambda status: status.in_flight,
    ),
    (
        Family("tiny_dancer_resident_memory_bytes", "Resident memory.", _WORKER),
        lambda status: status.memory_bytes,
    ),
    (
        Family("tiny_dancer_records_queued", "Request records not written yet.", _WORKER),
        lambda status: status.queued,
    ),
    (
        Family(
            "tiny_dancer_records_dropped_total",
            "Request records not kept because the database was slow or failed.",
            _WORKER,
        ),
        lambda status: status.dropped,
    ),
    (
        Family("tiny_dancer_storage_failing", "1 where the last write to the database failed.", _WORKER),
        lambda status: int(status.storage_error is not None),
    ),
    (
        Family(
            "tiny_dancer_reload_refused",
            "1 where the last reload was refused and the configuration before still serves.",
            _WORKER,
        ),
        lambda status: int(status.reload_error is not None),
    ),
    (
        Family(
            "tiny_dancer_last_decision_timestamp_seconds",
            "When the last routing decision was made, UTC.",
            _WORKER,
        ),
        lambda status: status.last_decision,
    ),
)


def status_series(workers: Sequence[WorkerSnapshot]) -> list[tuple[Family, list[Series]]]:
    """How every worker stands, as metrics."""
    each = [(str(one.worker), one.status) for one in workers]
    artifacts = [
        Series((router, version, worker), 1)
        for worker, status in each
        for router, version in status.artifacts.items()
    ]
    bugs = [Series((router, worker), count) for worker, status in each for router, count in status.bugs.items()]
    drifts = [((router, worker), drift) for worker, status in each for router, drift in status.drift.items()]
    found: list[tuple[Family, list[Series]]] = [
        (_BUILD, [Series((__version__,), 1)]),
        (_ARTIFACT, artifacts),
        (_BUGS, bugs),
        (_CAPITAL, [Series(labels, drift.capital) for labels, drift in drifts]),
        (
            _ALARM,
            [
                Series((router, one.name, worker), one.capital)
                for (router, worker), drift in drifts
                for one in drift.alarms
            ],
        ),
        (_PSI, _measured(drifts, lambda measure: measure.psi)),
        (_KS, _measured(drifts, lambda measure: measure.ks)),
        (_WITHDRAWN, [Series(labels, int(drift.withdrawn)) for labels, drift in drifts]),
        (_BREAKER, []),
        (_OPENINGS, []),
        (_SERVING, []),
    ]
    for worker, status in each:
        for of_a_kind in _by_labels(status.deployments):
            labels = (of_a_kind[0].model, of_a_kind[0].upstream, worker)
            values = (
                max(_STATES.get(one.state, 2) for one in of_a_kind),
                sum(one.openings for one in of_a_kind),
                sum(one.in_flight for one in of_a_kind),
            )
            for (_, series), value in zip(found[-len(values) :], values, strict=True):
                series.append(Series(labels, value))
    for family, read in _OF_A_WORKER:
        values_of_workers = ((worker, read(status)) for worker, status in each)
        found.append((family, [Series((w,), value) for w, value in values_of_workers if value is not None]))
    return found


def _measured(
    drifts: Sequence[tuple[tuple[str, str], DriftStatus]], read: Callable[[Measure], float | None]
) -> list[Series]:
    """A series for each measure that has this number."""
    return [
        Series((router, measure.name, worker), value)
        for (router, worker), drift in drifts
        for measure in drift.measures
        if (value := read(measure)) is not None
    ]


def _by_labels(deployments: Iterable[DeploymentStatus]) -> Iterable[list[DeploymentStatus]]:
    """A model may have several deployments at one upstream: together they are one series."""
    together: dict[tuple[str, str], list[DeploymentStatus]] = {}
    for one in deployments:
        together.setdefault((one.model, one.upstream), []).append(one)
    return together.values()


async def _live(receive: Any, send: Any) -> None:
    """The lifespan: there is nothing to start or close."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
