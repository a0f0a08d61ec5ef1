"""OpenTelemetry traces: one span per request, one below it per call to an upstream (extra ``otel``).

The context of W3C Trace Context is taken over from the client and handed on to the upstream:
https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING

from tiny_dancer.errors import OptionError
from tiny_dancer.extras import needed
from tiny_dancer.observability.conventions import OPERATIONS, PROVIDERS, STATUSES, UNKNOWN_ERROR, error_type

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from opentelemetry.trace import Tracer as OpenTelemetryTracer

    from tiny_dancer.types import RequestRecord

_PATIENCE = 2.0  # seconds that the collector has for the last spans


class Tracer:
    """Makes spans and sends them, in batches, by a thread of its own. Set up once per process.

    Where the collector cannot be reached spans are dropped, and logging says so. The standard's environment
    variables apply: ``OTEL_EXPORTER_OTLP_HEADERS`` for the collector's credentials, ``OTEL_RESOURCE_ATTRIBUTES``,
    ``OTEL_BSP_*`` for the batches.
    """

    def __init__(
        self, endpoint: str, service_name: str = "tiny-dancer", sample: float = 1.0, *, version: str = ""
    ) -> None:
        """Starts the thread.

        Args:
            endpoint: OTLP over HTTP, ``http://localhost:4318/v1/traces``.
            service_name: as which service.
            sample: share of requests traced that no caller decided about, in [0, 1]; a client's decision is kept.
            version: of the program that is traced.

        Raises:
            MissingExtraError: OpenTelemetry is not installed.
            OptionError: ``sample`` outside [0, 1].
        """
        with needed():
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        if not 0 <= sample <= 1:
            raise OptionError("sample", sample, "give a share in [0, 1]")
        resource = Resource.create({"service.name": service_name, "service.version": version})
        self._provider = TracerProvider(
            resource=resource, sampler=ParentBased(TraceIdRatioBased(sample)), shutdown_on_exit=False
        )
        self._exporter = OTLPSpanExporter(endpoint)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("tiny_dancer", version)
        self._propagator = TraceContextTextMapPropagator()

    def start(
        self, endpoint: str, traceparent: str | None, tracestate: str | None, method: str = "POST"
    ) -> RequestTrace:
        """The trace of a request, from now on.

        Args:
            endpoint: as of :class:`~tiny_dancer.types.RequestRecord`.
            traceparent: the client's header; None or one that is not valid starts a trace.
            tracestate: the client's header.
            method: of HTTP.
        """
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind

        # Never the context of this thread: a request's parent is its client's, or none.
        parent = Context()
        if traceparent is not None:
            carrier = {"traceparent": traceparent}
            if tracestate is not None:
                carrier["tracestate"] = tracestate
            parent = self._propagator.extract(carrier, parent)
        operation = OPERATIONS.get(endpoint, endpoint)
        span = self._tracer.start_span(
            f"{method} /v1/{endpoint.replace('.', '/')}",
            parent,
            kind=SpanKind.SERVER,
            attributes={"gen_ai.operation.name": operation},
        )
        return RequestTrace(self._tracer, span, operation)

    def shutdown(self) -> None:
        """Sends what is left and ends the thread; waits for a collector that does not answer, but not long."""
        # By itself it would try again, or wait for an answer, for its whole time limit: 10 seconds.
        last = Thread(target=self._provider.shutdown, name="tiny-dancer traces, shutdown", daemon=True)
        last.start()
        last.join(_PATIENCE)
        if last.is_alive():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]


class RequestTrace:
    """One request's span."""

    __slots__ = ("_operation", "_span", "_tracer")

    def __init__(self, tracer: OpenTelemetryTracer, span: Span, operation: str) -> None:
        self._tracer, self._span, self._operation = tracer, span, operation

    def attempt(self, model: str, upstream: str, kind: str = "") -> AttemptTrace:
        """A call to an upstream, from now on.

        Args:
            model: its name in the configuration.
            upstream: name of the upstream.
            kind: of the upstream: ``openai``, ``azure`` or ``anthropic``; empty where it is not known.
        """
        from opentelemetry.trace import SpanKind, set_span_in_context

        span = self._tracer.start_span(
            f"{self._operation} {model}",
            set_span_in_context(self._span),
            kind=SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": self._operation,
                "gen_ai.request.model": model,
                "tiny_dancer.upstream": upstream,
            },
        )
        if kind:
            span.set_attribute("gen_ai.provider.name", PROVIDERS.get(kind, kind))
        return AttemptTrace(span)

    def end(self, record: RequestRecord) -> None:
        """The request is over; call once."""
        span = self._span
        if span.is_recording():
            from opentelemetry.trace import Status, StatusCode

            span.set_attributes(_attributes(record))
            if record.status >= 500 or (record.status < 400 and record.error):
                span.set_status(Status(StatusCode.ERROR, record.error or None))
        span.end()


class AttemptTrace:
    """One call to an upstream.

    Attributes:
        traceparent: header to send with it, in place of the client's; None where ``OTEL_SDK_DISABLED`` is set.
        tracestate: header to send with it, in place of the client's; None for none.
    """

    __slots__ = ("_span", "traceparent", "tracestate")

    def __init__(self, span: Span) -> None:
        self._span = span
        context = span.get_span_context()
        self.traceparent = (
            f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
            if context.is_valid
            else None
        )
        self.tracestate = context.trace_state.to_header() or None

    def end(self, status: int | None, error: str | None = None) -> None:
        """The call is over; call once.

        Args:
            status: of HTTP; None where no answer came.
            error: what went wrong, a word (``timeout``); None where nothing did, or where the status says it.
        """
        span = self._span
        if span.is_recording():
            from opentelemetry.trace import Status, StatusCode

            if status is not None:
                span.set_attribute("http.response.status_code", status)
            if error is None and status is not None and status >= 400:
                error = STATUSES.get(status, UNKNOWN_ERROR)
            if error is not None:
                span.set_attribute("error.type", error)
                span.set_status(Status(StatusCode.ERROR))
        span.end()


def _attributes(record: RequestRecord) -> dict[str, str | int | float | bool]:
    """What is known of a request when it is over; without its text, its key and its session."""
    named: dict[str, str | int | float | bool | None] = {
        "http.response.status_code": record.status,
        "error.type": error_type(record) or None,
        "gen_ai.request.model": record.asked or None,
        "gen_ai.response.model": record.model or None,
        "gen_ai.response.id": record.response_id,
        "gen_ai.usage.input_tokens": record.input_tokens or None,
        "gen_ai.usage.output_tokens": record.output_tokens or None,
        "gen_ai.usage.cache_read.input_tokens": record.cached_tokens or None,
        "gen_ai.request.stream": record.stream,
        "tiny_dancer.request.id": record.id,
        "tiny_dancer.decision.id": record.decision_id,
        "tiny_dancer.router": record.router or None,
        "tiny_dancer.routed_by": record.routed_by or None,
        "tiny_dancer.hops": record.hops or None,
        "tiny_dancer.reason": record.reason or None,
        "tiny_dancer.fallback.level": record.level,
        "tiny_dancer.confidence": record.confidence,
        "tiny_dancer.role": record.role,
        "tiny_dancer.upstream": record.upstream or None,
        "tiny_dancer.attempts": record.attempts,
        "tiny_dancer.fallbacks": record.fallbacks,
        "tiny_dancer.cost.usd": record.cost,
        "tiny_dancer.baseline_cost.usd": record.baseline_cost,
        "tiny_dancer.time_to_first_byte": record.ttft,
        "tiny_dancer.error.code": record.error or None,
    }
    return {name: value for name, value in named.items() if value is not None}
