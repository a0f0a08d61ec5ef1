"""What operators and schedulers are told: one page that it lives, one whether it may be asked, one of numbers."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.observability.records import MODELS, NAMES, parse, record, total

from tiny_dancer._core import __version__
from tiny_dancer.gateway.operate import health
from tiny_dancer.gateway.operate.health import HealthApp, WorkerSnapshot
from tiny_dancer.gateway.status import DeploymentStatus, DriftStatus, GatewayStatus
from tiny_dancer.observability.metrics import Metrics, MetricsSnapshot
from tiny_dancer.routing.watch import Alarm
from tiny_dancer.routing.window import Measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.unit.observability.records import Scrape

REQUESTS = "tiny_dancer_requests_total"


class Answer(msgspec.Struct):
    status: int
    headers: dict[bytes, bytes]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(app: HealthApp, path: str, method: str = "GET") -> Answer:
    messages: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("nothing is read of the request")

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {"type": "http", "path": path, "method": method, "headers": [(b"accept", b"*/*")]}
    asyncio.run(app(scope, receive, send))
    start, body = messages
    answer = Answer(start["status"], dict(start["headers"]), body["body"])
    assert int(answer.headers[b"content-length"]) == len(answer.body) or method == "HEAD"
    return answer


def snapshot(
    worker: int = 0, pid: int = 1, *, status: GatewayStatus | None = None, requests: int = 0
) -> WorkerSnapshot:
    metrics = Metrics(NAMES)
    metrics.observe([record() for _ in range(requests)])
    return WorkerSnapshot(worker, pid, status or GatewayStatus(ready=True), metrics.snapshot())


def app_of(*workers: WorkerSnapshot) -> HealthApp:
    async def found() -> Sequence[WorkerSnapshot]:
        return workers

    return HealthApp(found)


def scrape(app: HealthApp) -> Scrape:
    answer = ask(app, "/metrics")
    assert (answer.status, answer.headers[b"content-type"]) == (200, b"text/plain; version=0.0.4; charset=utf-8")
    return parse(answer.body)


def test_it_lives_whatever_the_workers_do() -> None:
    answer = ask(app_of(), "/health/live")
    assert (answer.status, answer.json()) == (200, {"status": "alive"})


ALARM = Alarm(name="gain", watches="", observed=300, capital=250.5, since=280, note="lower", reference="artifact")
DRIFT = DriftStatus(
    artifact="1",
    observed=300,
    capital=250.5,
    threshold=100.0,
    since=280,
    withdrawn=True,
    alarms=[ALARM],
    measures=[
        Measure(name="gain", window=300, reference=40, psi=0.75, ks=0.5),
        Measure(name="mix", window=0, reference=0),
    ],
)
READY = GatewayStatus(
    ready=True,
    artifacts={"default": "1.2.0"},
    drift={"default": DRIFT},
    deployments=[DeploymentStatus("small", "here", "open", 3, 2)],
    last_decision=12.5,
    in_flight=4,
    memory_bytes=1 << 20,
)
REFUSING = GatewayStatus(ready=False, reasons=["the database is locked"], storage_error="locked")
DRAINING = GatewayStatus(ready=True, draining=True)


@pytest.mark.parametrize(
    ("statuses", "ready", "reasons"),
    [
        ([READY], True, []),
        ([READY, REFUSING], True, ["worker 1: the database is locked"]),
        ([REFUSING, DRAINING], False, ["worker 0: the database is locked", "worker 1: draining"]),
        ([DRAINING], False, ["worker 0: draining"]),
        ([], False, ["no worker runs"]),
    ],
)
def test_it_is_ready_where_a_worker_is(statuses: list[GatewayStatus], ready: bool, reasons: list[str]) -> None:
    workers = [snapshot(number, 100 + number, status=status) for number, status in enumerate(statuses)]
    answer = ask(app_of(*workers), "/health/ready")
    assert answer.status == (200 if ready else 503)
    said = answer.json()
    assert (said["status"], said["reasons"]) == ("ready" if ready else "not_ready", reasons)
    assert said["version"] == __version__
    assert [(one["worker"], one["pid"]) for one in said["workers"]] == [(one.worker, one.pid) for one in workers]
    for one, status in zip(said["workers"], statuses, strict=True):
        # The whole status is told: artifacts, storage, breakers, memory, last decision.
        assert {key: one[key] for key in msgspec.to_builtins(status)} == msgspec.to_builtins(status)


def test_workers_that_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PATIENCE", 0.01)

    async def never() -> Sequence[WorkerSnapshot]:
        await asyncio.Event().wait()
        raise AssertionError

    app = HealthApp(never)
    assert ask(app, "/health/live").status == 200
    ready = ask(app, "/health/ready")
    assert (ready.status, ready.json()["workers"]) == (503, [])
    metrics = ask(app, "/metrics")
    assert (metrics.status, metrics.json()["error"]["code"]) == (503, "not_ready")


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
def test_head_says_what_get_would(path: str) -> None:
    app = app_of(snapshot(requests=2))
    got, headed = ask(app, path), ask(app, path, "HEAD")
    assert (headed.status, headed.headers, headed.body) == (got.status, got.headers, b"")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/", "GET", 404),
        ("/metrics/", "GET", 404),
        ("/v1/models", "GET", 404),
        ("/" + "x" * 100_000, "POST", 404),
        ("/metrics", "POST", 405),
        ("/health/live", "DELETE", 405),
    ],
)
def test_anything_else_is_refused(path: str, method: str, status: int) -> None:
    answer = ask(app_of(), path, method)
    assert answer.status == status
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    assert len(answer.body) < 1000
    assert answer.headers.get(b"allow") == (b"GET, HEAD" if status == 405 else None)


def test_lifespan_is_answered() -> None:
    sent: list[str] = []
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(app_of()({"type": "lifespan"}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_how_a_worker_stands_is_shown() -> None:
    bad = GatewayStatus(
        ready=False, draining=True, reload_error="x", storage_error="y", dropped=7, queued=5, bugs={"default": 3}
    )
    found = scrape(app_of(snapshot(0, 1, status=READY), snapshot(1, 2, status=bad)))
    of = {
        "tiny_dancer_ready": (1, 0),
        "tiny_dancer_draining": (0, 1),
        "tiny_dancer_in_flight_requests": (4, 0),
        "tiny_dancer_resident_memory_bytes": (1 << 20, 0),
        "tiny_dancer_records_queued": (0, 5),
        "tiny_dancer_records_dropped_total": (0, 7),
        "tiny_dancer_storage_failing": (0, 1),
        "tiny_dancer_reload_refused": (0, 1),
    }
    for name, values in of.items():
        assert found[name] == {frozenset({("worker", str(n))}): value for n, value in enumerate(values)}, name
    assert found["tiny_dancer_last_decision_timestamp_seconds"] == {frozenset({("worker", "0")}): 12.5}
    assert found["tiny_dancer_build_info"] == {frozenset({("version", __version__)}): 1}
    artifact = {"router": "default", "version": "1.2.0", "worker": "0"}
    assert found["tiny_dancer_artifact_info"] == {frozenset(artifact.items()): 1}
    labels = frozenset({("router", "default"), ("worker", "0")})
    assert found["tiny_dancer_drift_capital"] == {labels: 250.5}
    assert found["tiny_dancer_certificate_withdrawn"] == {labels: 1}
    for name, label, which, value in (
        ("tiny_dancer_drift_alarm_capital", "alarm", "gain", 250.5),
        ("tiny_dancer_drift_psi", "measure", "gain", 0.75),
        ("tiny_dancer_drift_ks", "measure", "gain", 0.5),
    ):
        assert list(found[name].values()) == [value], f"{name}: what nobody knows has no series"
        assert (label, which) in next(iter(found[name]))
    assert found["tiny_dancer_routing_bugs_total"] == {frozenset({("router", "default"), ("worker", "1")}): 3}


@pytest.mark.parametrize(
    ("states", "shown"),
    [
        (["closed"], 0),
        (["half_open"], 1),
        (["open"], 2),
        (["closed", "open", "half_open"], 2),
        (["closed"] * 2, 0),
    ],
)
def test_breakers_of_one_model_at_one_upstream_are_one_series(states: list[str], shown: int) -> None:
    deployments = [DeploymentStatus("small", "here", state, 2, 3) for state in states]
    other = DeploymentStatus("large", "here", "closed", 0, 0)
    found = scrape(app_of(snapshot(status=GatewayStatus(ready=True, deployments=[*deployments, other]))))
    labels = {"model": "small", "upstream": "here", "worker": "0"}
    assert total(found, "tiny_dancer_breaker_state", labels) == shown
    assert total(found, "tiny_dancer_breaker_openings_total", labels) == 2 * len(states)
    assert total(found, "tiny_dancer_deployment_in_flight_requests", labels) == 3 * len(states)
    assert total(found, "tiny_dancer_breaker_state", {"model": "large"}) == 0


def test_a_whole_snapshot_can_be_sent() -> None:
    sent = snapshot(3, 4, status=READY, requests=5)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=WorkerSnapshot) == sent


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["replace", "serve", "miss"]), max_size=80), st.integers(1, 3))
def test_sums_never_go_back_and_count_nothing_twice(steps: list[str], count: int) -> None:
    """Workers serve, are replaced after a scrape, or miss one; what was counted stays counted."""
    workers = [(number, 1000 + number, Metrics(NAMES)) for number in range(count)]
    answering: list[WorkerSnapshot] = []
    served, pids = 0, iter(range(5000, 10_000))

    async def found() -> Sequence[WorkerSnapshot]:
        return answering

    app = HealthApp(found)
    for turn, step in enumerate(steps):
        number, pid, metrics = workers[turn % count]
        present = workers
        if step == "replace":
            workers[turn % count] = (number, next(pids), Metrics(NAMES))
        elif step == "serve":
            metrics.observe([record(model=MODELS[turn % len(MODELS)], latency=0.25)])
            served += 1
        else:
            present = [one for one in workers if one[1] != pid]
        answering = [WorkerSnapshot(n, p, GatewayStatus(ready=True), m.snapshot()) for n, p, m in present]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(health, "_REMEMBERED", 3)
            counted = app._count(answering)
        assert sum(series.value for series in counted.families.get(REQUESTS, [])) == served
    assert len(app._seen) <= count + 3


def test_counts_of_a_worker_that_was_replaced_are_scraped() -> None:
    answering = [snapshot(0, 1, requests=5), snapshot(1, 2, requests=2)]

    async def found() -> Sequence[WorkerSnapshot]:
        return answering

    app = HealthApp(found)
    assert total(scrape(app), REQUESTS) == 7
    answering = [snapshot(0, 3, requests=1), answering[1]]
    assert total(scrape(app), REQUESTS) == 8


def test_an_empty_snapshot_is_a_scrape() -> None:
    found = scrape(app_of(WorkerSnapshot(0, 1, GatewayStatus(ready=True), MetricsSnapshot())))
    assert total(found, "tiny_dancer_ready") == 1
