"""What metrics, request log and traces say of the same requests, and that they agree with what clients saw."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import EASY, HARD
from tests.unit.observability.records import parse, total

from tiny_dancer.gateway.operate.health import HealthApp, WorkerSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving
    from tests.unit.observability.records import Scrape

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def scrape(serving: Serving) -> Scrape:
    """The gateway's metrics, once all requests so far are counted."""
    assert serving.gateway.services.accounting.flush(30)
    sent: list[Any] = []

    async def workers() -> Sequence[WorkerSnapshot]:
        return [WorkerSnapshot(0, 1, serving.gateway.status(), serving.gateway.services.metrics.snapshot())]

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(
        HealthApp(workers)({"type": "http", "path": "/metrics", "method": "GET", "headers": []}, None, send)
    )
    return parse(sent[1]["body"])


def test_every_request_is_counted_once_and_leaves_one_line(start: Callable[..., Serving], cheap: Upstream) -> None:
    serving = start(log={"requests": "requests.log"})
    answers = [
        serving.chat(),
        serving.chat(EASY, model="auto"),
        serving.chat(HARD, model="router-default-0.1"),
        serving.chat(model="small", stream=True),
        *(serving.chat(model=f"invented-{n}") for n in range(30)),
    ]
    cheap.script(Behaviour(status=503))
    answers.append(serving.chat(models=["small", "large"]))
    statuses = [answer.status_code for answer in answers]
    assert statuses == [200] * 4 + [404] * 30 + [200]
    found = scrape(serving)
    lines = [json.loads(line) for line in (serving.folder / "requests.log").read_text().splitlines()]
    assert [line["status"] for line in lines] == statuses
    assert [line["id"] for line in lines] == [answer.headers["x-request-id"] for answer in answers]
    assert EASY not in (serving.folder / "requests.log").read_text()

    for status in (200, 404):
        assert total(found, "tiny_dancer_requests_total", {"status": str(status)}) == statuses.count(status)
    seconds = "gen_ai_server_request_duration_seconds"
    assert total(found, f"{seconds}_count") == len(answers)
    assert total(found, f"{seconds}_sum") == pytest.approx(sum(line["latency"] for line in lines))
    for asked in ("small", "auto", "router-default"):
        assert total(found, f"{seconds}_count", {"gen_ai_request_model": asked}) > 0
    assert "invented" not in repr(found)
    for name, key in (
        ("tiny_dancer_spend_usd_total", "cost"),
        ("tiny_dancer_baseline_usd_total", "baseline_cost"),
    ):
        spent = sum(line[key] or 0 for line in lines)
        assert spent > 0, name
        assert total(found, name) == pytest.approx(spent), name
    for kind in ("input", "output"):
        used = sum(line[f"{kind}_tokens"] for line in lines)
        assert total(found, "gen_ai_client_token_usage_sum", {"gen_ai_token_type": kind}) == used > 0
    assert total(found, "gen_ai_server_time_to_first_token_seconds_count") == 1
    assert total(found, "tiny_dancer_decision_confidence_count", {"router": "default"}) == 2
    assert total(found, "tiny_dancer_fallback_level_total", {"router": "default", "level": "0"}) == 2
    assert total(found, "tiny_dancer_fallbacks_total", {"model": "large"}) == 1
    assert total(found, "tiny_dancer_upstream_attempts_total") == 6
    assert total(found, "tiny_dancer_ready") == 1
    assert total(found, "tiny_dancer_resident_memory_bytes") > 1e6
    for model in ("small", "large"):
        assert total(found, "tiny_dancer_breaker_state", {"model": model}) == 0


def test_an_open_breaker_is_shown(start: Callable[..., Serving], cheap: Upstream) -> None:
    serving = start(breaker={"threshold": 1})
    cheap.script(Behaviour(status=500))
    assert serving.chat().status_code == 500
    found = scrape(serving)
    assert total(found, "tiny_dancer_breaker_state", {"model": "small", "upstream": "cheap"}) == 2
    assert total(found, "tiny_dancer_breaker_openings_total", {"model": "small"}) == 1
    assert total(found, "tiny_dancer_breaker_state", {"model": "large"}) == 0


def test_a_trace_goes_through_the_gateway(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra otel")
    from tests.unit.observability.collector import Collector, attributes

    with Collector() as collector:
        serving = start(telemetry={"otlp_endpoint": collector.endpoint})
        cheap.script(Behaviour(status=503))
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=x"}
        assert serving.chat(models=["small", "large"], headers=headers).status_code == 200
        assert serving.chat(model="large", headers={"traceparent": "nonsense"}).status_code == 200
        serving.gateway.services.tracer.shutdown()
        one, other = (span for span in collector.all_spans() if span.name == "POST /v1/chat/completions")
        assert (one.trace_id.hex(), one.parent_span_id.hex()) == (TRACE, PARENT)
        assert other.trace_id != one.trace_id
        assert other.parent_span_id == b""
        calls = {span.span_id.hex(): span for span in collector.all_spans() if span.name.startswith("chat ")}
        reached = [cheap.arrived(), strong.arrived(1), strong.arrived(2)]
        parents = [one, one, other]
        for received, parent in zip(reached, parents, strict=True):
            _, trace_id, span_id, flags = received.header("traceparent").split("-")
            assert trace_id == parent.trace_id.hex()
            assert int(flags, 16) & 1, "the upstream is told that it is traced"
            assert calls[span_id].parent_span_id == parent.span_id
        assert reached[0].header("tracestate") == "vendor=x"
        assert attributes(one)["gen_ai.response.model"] == "large"
        assert sorted(attributes(span)["http.response.status_code"] for span in calls.values()) == [200, 200, 503]
        assert {attributes(span).get("gen_ai.provider.name") for span in calls.values()} == {"openai"}


def test_without_traces_the_client_s_context_is_passed_on(gateway: Serving, cheap: Upstream) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=x"}
    assert gateway.chat(headers=headers).status_code == 200
    received = cheap.arrived()
    assert {name: received.header(name) for name in headers} == headers
