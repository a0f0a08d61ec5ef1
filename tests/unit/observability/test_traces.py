"""Spans reach a collector, hang together, and say what happened; a collector that is not there harms nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.observability.records import record

from tiny_dancer.errors import OptionError
from tiny_dancer.observability import traces
from tiny_dancer.observability.traces import Tracer

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra otel")

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tests.unit.observability.collector import Collector, attributes

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        yield server


def test_a_request_and_its_calls_hang_together(collector: Collector) -> None:
    tracer = Tracer(collector.endpoint, "gateway-of-test", version="1.2.3")
    trace = tracer.start("chat.completions", f"00-{TRACE}-{PARENT}-01", "vendor=x")
    first = trace.attempt("small", "here", "openai")
    first.end(503)
    second = trace.attempt("large", "there", "anthropic")
    second.end(200)
    third = trace.attempt("third", "there")
    third.end(None, "timeout")
    trace.end(
        record(
            asked="auto",
            model="large",
            upstream="there",
            decision_id="d-1",
            router="default",
            routed_by="learned",
            response_id="chatcmpl-1",
            confidence=0.75,
            attempts=3,
            input_tokens=7,
            output_tokens=5,
            cached_tokens=3,
            cost=0.5,
            key="key-id",
            session="conversation",
            query_text="the prompt",
        )
    )
    tracer.shutdown()
    spans = collector.spans()
    assert spans.keys() == {"POST /v1/chat/completions", "chat small", "chat large", "chat third"}
    request = spans["POST /v1/chat/completions"]
    assert (request.trace_id.hex(), request.parent_span_id.hex(), request.trace_state) == (
        TRACE,
        PARENT,
        "vendor=x",
    )
    assert request.kind == Span.SPAN_KIND_SERVER
    assert request.status.code == Status.STATUS_CODE_UNSET
    said = attributes(request)
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "auto",
        "gen_ai.response.model": "large",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "http.response.status_code": 200,
        "tiny_dancer.decision.id": "d-1",
        "tiny_dancer.routed_by": "learned",
        "tiny_dancer.confidence": 0.75,
        "tiny_dancer.cost.usd": 0.5,
        "tiny_dancer.attempts": 3,
    }
    assert {name: said.get(name) for name in expected} == expected
    assert "error.type" not in said
    # What could identify a person or give a prompt away is not sent.
    assert not {"key-id", "conversation", "the prompt"} & set(said.values())

    calls = {name: spans[name] for name in ("chat small", "chat large", "chat third")}
    for span, sent in zip(calls.values(), (first, second, third), strict=True):
        assert span.kind == Span.SPAN_KIND_CLIENT
        assert (span.trace_id, span.parent_span_id) == (request.trace_id, request.span_id)
        assert request.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert sent.traceparent == f"00-{TRACE}-{span.span_id.hex()}-01"
        assert sent.tracestate == "vendor=x"
    assert attributes(calls["chat small"])["error.type"] == "503"
    assert attributes(calls["chat third"])["error.type"] == "timeout"
    assert [span.status.code for span in calls.values()] == [2, 0, 2]
    assert attributes(calls["chat large"]) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "large",
        "tiny_dancer.upstream": "there",
        "http.response.status_code": 200,
    }
    resource = {
        one.key: one.value.string_value for one in collector.requests[0].resource_spans[0].resource.attributes
    }
    assert resource["service.name"] == "gateway-of-test"
    assert resource["service.version"] == "1.2.3"


@pytest.mark.parametrize(("status", "error", "failed"), [(500, "", True), (200, "cut", True), (404, "no", False)])
def test_only_the_servers_own_errors_are_errors(
    collector: Collector, status: int, error: str, failed: bool
) -> None:
    tracer = Tracer(collector.endpoint)
    tracer.start("embeddings", None, None).end(record(status=status, error=error))
    tracer.shutdown()
    span = collector.spans()["POST /v1/embeddings"]
    assert (span.status.code == Status.STATUS_CODE_ERROR) == failed
    assert attributes(span)["error.type"] == ("stream_cut" if status == 200 else str(status))


@pytest.fixture(scope="module")
def quiet() -> Iterator[Tracer]:
    """A tracer that samples nothing of its own."""
    tracer = Tracer("http://127.0.0.1:9/v1/traces", sample=0.0)
    yield tracer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(traces, "_PATIENCE", 0.0)
        tracer.shutdown()


@given(
    st.one_of(st.none(), st.text(max_size=60), st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"))
)
@example(f"00-{'0' * 32}-{PARENT}-01")
@example(f"00-{TRACE}-{'0' * 16}-01")
@example(f"ff-{TRACE}-{PARENT}-01")
@example(f"00-{TRACE}-{PARENT}-01-more")
@example(f"00-{TRACE.upper()}-{PARENT}-01")
@example(f"00-{TRACE}-{PARENT}-00")
def test_whatever_a_client_sends_the_upstream_gets_a_valid_header(quiet: Tracer, traceparent: str | None) -> None:
    trace = quiet.start("chat.completions", traceparent, "vendor=x")
    call = trace.attempt("small", "here", "openai")
    assert call.traceparent is not None
    version, trace_id, span_id, flags = call.traceparent.split("-")
    assert (version, len(trace_id), len(span_id), len(flags)) == ("00", 32, 16, 2)
    assert int(trace_id, 16) > 0
    assert int(span_id, 16) > 0
    continued = traceparent is not None and trace_id in traceparent
    if traceparent == f"00-{TRACE}-{PARENT}-00":
        assert continued
    assert (call.tracestate == "vendor=x") == continued
    if not continued:
        assert not int(flags, 16) & 1  # not sampled
    call.end(200)
    trace.end(record())


def test_a_sampled_parent_is_followed_and_others_are_not(collector: Collector) -> None:
    tracer = Tracer(collector.endpoint, sample=0.0)
    for endpoint, flags in (("responses", "01"), ("messages", "00")):
        trace = tracer.start(endpoint, f"00-{TRACE}-{PARENT}-{flags}", None)
        assert str(trace.attempt("small", "here", "openai").traceparent).endswith(f"-{flags}")
        trace.end(record())
    tracer.start("completions", None, None).end(record())
    tracer.shutdown()
    assert collector.spans().keys() == {"POST /v1/responses"}


def test_opentelemetry_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    tracer = Tracer("http://127.0.0.1:9/v1/traces")
    trace = tracer.start("chat.completions", None, None)
    call = trace.attempt("small", "here", "openai")
    assert call.traceparent is None
    call.end(200)
    trace.end(record())
    tracer.shutdown()


@pytest.mark.parametrize("listens", [False, True])
def test_a_collector_that_does_not_answer_harms_nothing(listens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "_PATIENCE", 0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listens:
            silent.listen()
        tracer = Tracer(f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces")
        trace = tracer.start("chat.completions", None, None)
        trace.attempt("small", "here", "openai").end(200)
        trace.end(record())
        tracer.shutdown()


@pytest.mark.parametrize("sample", [-0.1, 1.1, float("nan")])
def test_a_share_outside_its_range_is_refused(sample: float) -> None:
    with pytest.raises(OptionError, match="sample"):
        Tracer("http://127.0.0.1:9/v1/traces", sample=sample)


def test_without_the_extra_it_says_what_to_install() -> None:
    program = """
import sys
sys.modules["opentelemetry"] = None
from tiny_dancer.errors import MissingExtraError
from tiny_dancer.observability.traces import Tracer
try:
    Tracer("http://127.0.0.1:9/v1/traces")
except MissingExtraError as error:
    print(error)
"""
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert finished.stdout.strip() == "opentelemetry: not installed; pip install 'tiny-dancer[otel]'"
