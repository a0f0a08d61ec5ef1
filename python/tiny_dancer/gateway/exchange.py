"""One request to a model, from the client's bytes to the last byte of its answer, and the record of it.

A client that goes away is noticed by a second reader of the connection, which starts once the answer takes longer than
an instant, and cancels what is under way.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from tiny_dancer.gateway import sse
from tiny_dancer.gateway.clients.base import CallError, Phase
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.proxy import Attempts, Streaming, Whole, forwarded, settle
from tiny_dancer.gateway.requests import OPTION_HEADERS, parse
from tiny_dancer.gateway.upstreams.base import Usage
from tiny_dancer.resilience import Category
from tiny_dancer.routing.router import new_id
from tiny_dancer.storage import hash_query
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping, Sequence

    from tiny_dancer.gateway.access import Caller
    from tiny_dancer.gateway.app import Gateway
    from tiny_dancer.gateway.choose import Plan
    from tiny_dancer.gateway.requests import Incoming
    from tiny_dancer.gateway.serving import Serving
    from tiny_dancer.gateway.upstreams.base import Endpoint, Events
    from tiny_dancer.observability.traces import RequestTrace

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

# Until then nobody looks whether the client is still there: most of what ends sooner ends well.
_INSTANT: Final = 0.05
_SECRETS: Final = (b"authorization", b"x-api-key", b"api-key")
# What a client's request may tell an upstream beside its body.
_PASSED_ON: Final = (
    b"traceparent",
    b"tracestate",
    b"idempotency-key",
    b"openai-beta",
    b"anthropic-beta",
)
_WANTED: Final = frozenset((*_SECRETS, *_PASSED_ON, *OPTION_HEADERS, b"content-encoding"))
_NO_USAGE: Final = Usage()
_CLIENT_GONE: Final = 499


class Exchange:
    """One request. Make one, await :meth:`run`, forget it."""

    __slots__ = (
        "_answer_id",
        "_arrived",
        "_attempts",
        "_caller",
        "_core",
        "_endpoint",
        "_error",
        "_first",
        "_gone",
        "_headers",
        "_incoming",
        "_plan",
        "_receive",
        "_send",
        "_serving",
        "_start",
        "_started",
        "_status",
        "_task",
        "_trace",
        "_usage",
        "_watcher",
        "id",
    )

    def __init__(self, core: Gateway, endpoint: Endpoint, receive: Receive, send: Send) -> None:
        self._core = core
        self._serving: Serving = core.serving  # once: the whole request is served by this configuration
        self._endpoint = endpoint
        self._receive = receive
        self._send = send
        self._start = time.perf_counter()
        self._arrived = time.time()
        self._attempts = Attempts()
        self._caller: Caller | None = None
        self._headers: dict[bytes, bytes] = {}
        self._incoming: Incoming | None = None
        self._plan: Plan | None = None
        self._trace: RequestTrace | None = None
        self._usage: Usage | None = None
        self._answer_id: str | None = None
        self._status = 0
        self._error = ""
        self._first: float | None = None
        self._started = False
        self._gone = False
        self._task: asyncio.Task[Any] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.id = new_id()

    async def run(self, scope: Scope) -> None:
        """Serves the request; whatever happens, the client is told and a record is kept."""
        core = self._core
        core.in_flight += 1
        self._task = asyncio.current_task()
        watch = core.loop.call_later(_INSTANT, self._watch)
        try:
            await self._serve(scope)
        except GatewayError as error:
            await self._refuse(error)
        except asyncio.CancelledError:
            if not self._gone:
                # The gateway is going down and its patience is over.
                self._status = self._status or 503
                self._error = self._error or "shutting_down"
                raise
            self._status, self._error = _CLIENT_GONE, "client_disconnected"
        finally:
            watch.cancel()
            if self._watcher is not None:
                self._watcher.cancel()
            core.in_flight -= 1
            self._record()

    async def _serve(self, scope: Scope) -> None:
        core = self._core
        self._read_headers(scope["headers"])
        headers = self._headers
        if core.tracer is not None:
            self._trace = core.tracer.start(
                self._endpoint, _text(headers.get(b"traceparent")), _text(headers.get(b"tracestate"))
            )
        self._caller = core.access.admit(self._secret())
        body = await read_body(self._receive, self._serving.config.limits.body_bytes)
        options = {name: headers[name] for name in OPTION_HEADERS if name in headers} if headers else headers
        incoming = self._incoming = parse(self._endpoint, body, options)
        plan = self._plan = core.chooser.plan(self._serving, incoming, self._caller)
        extra = [(name.decode(), headers[name].decode("latin-1")) for name in _PASSED_ON if name in headers]
        found, token = await core.proxy.send(plan, incoming, extra, self._attempts, self._trace)
        if type(found) is Whole:
            await self._answer_whole(found, plan)
        else:
            assert type(found) is Streaming
            await self._answer_stream(found, token, plan)

    async def _answer_whole(self, found: Whole, plan: Plan) -> None:
        answer = found.answer
        self._usage, self._answer_id = answer.usage, answer.id
        self._status = found.status
        headers = self._describe(found.headers, plan)
        usage, model = answer.usage, self._attempts.model
        if usage is not None and model is not None and (cost := model.cost(usage)) is not None:
            headers.append((b"x-td-cost", b"%.9g" % cost))
        headers.append((b"content-type", b"application/json"))
        headers.append((b"content-length", b"%d" % len(answer.body)))
        self._started = True
        await self._send({"type": "http.response.start", "status": found.status, "headers": headers})
        self._first = time.perf_counter()
        await self._send({"type": "http.response.body", "body": answer.body})

    async def _answer_stream(self, found: Streaming, token: int, plan: Plan) -> None:
        events, deployment = found.events, self._attempts.deployment
        assert deployment is not None
        category: Category | None = None
        cancelled = False
        try:
            headers = self._describe(found.headers, plan)
            headers.append((b"content-type", b"text/event-stream; charset=utf-8"))
            headers.append((b"cache-control", b"no-cache"))
            headers.append((b"x-accel-buffering", b"no"))  # nginx holds back what is not marked so
            self._status = found.status
            self._started = True
            await self._send({"type": "http.response.start", "status": found.status, "headers": headers})
            self._first = time.perf_counter()
            await self._send({"type": "http.response.body", "body": found.first, "more_body": True})
            try:
                await self._relay(found)
            except CallError as error:
                category = Category.TIMEOUT if error.phase is Phase.TIMEOUT else Category.UPSTREAM
                await self._cut(events, f"{error.message}.".capitalize(), "stream_cut")
            except ValueError as error:
                category = Category.UPSTREAM
                await self._cut(events, f"The stream cannot be read: {error}.", "bad_upstream_answer")
            await self._send({"type": "http.response.body", "body": b""})
        except asyncio.CancelledError:
            cancelled = True
            if not self._gone:
                # Shutting down: the client is told, in the instant that is left.
                await self._cut(events, "The gateway is shutting down.", "shutting_down")
                await self._send({"type": "http.response.body", "body": b""})
            raise
        finally:
            self._usage, self._answer_id = events.usage, events.id
            settle(deployment, token, category, cancelled=cancelled)
            await found.reply.close()

    async def _relay(self, found: Streaming) -> None:
        """Chunk by chunk: what is not taken by the client is not read from the upstream."""
        events, rest, send = found.events, found.rest, self._send
        while (chunk := await found.reply.chunk()) is not None:
            whole, rest = sse.split(rest + chunk if rest else chunk)
            out = events.feed(whole[0]) if len(whole) == 1 else b"".join([events.feed(each) for each in whole])
            if out:
                await send({"type": "http.response.body", "body": out, "more_body": True})
        if rest and not events.finished:
            whole, _ = sse.split(rest + b"\n\n")
            for each in whole:
                await send({"type": "http.response.body", "body": events.feed(each), "more_body": True})
        if not events.finished:
            raise CallError(Phase.BROKEN, "the model's server ended the stream before it was finished")

    async def _cut(self, events: Events, message: str, code: str) -> None:
        self._error = code
        error = GatewayError(502, message, type="server_error", code=code)
        await self._send({"type": "http.response.body", "body": events.cut(error), "more_body": True})

    async def _refuse(self, error: GatewayError) -> None:
        self._status = error.status
        self._error = error.code or error.type
        if self._started:
            return
        body = error.anthropic() if self._endpoint == "messages" else error.openai()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *error.headers]
        headers += self._describe((), self._plan)
        await self._send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    def _describe(self, answered: Sequence[tuple[str, str]], plan: Plan | None) -> list[tuple[bytes, bytes]]:
        """What the client is told beside the answer; the upstream's request id if it gave one."""
        headers = forwarded(answered) if answered else []
        for name, _ in headers:
            if name == b"x-request-id":
                break
        else:
            headers.append((b"x-request-id", self.id.encode()))
        if plan is not None:
            decision = plan.decision
            done = self._attempts
            if done.model is not None:
                headers.append((b"x-td-model", _value(done.model.name)))
            headers.append((b"x-td-decision", self.id.encode() if decision is None else decision.id.encode()))
            headers.append((b"x-td-reason", _value(done.reason or plan.reason)))
            headers.append((b"x-td-routed-by", plan.routed_by.encode()))
            if done.fallbacks:
                headers.append((b"x-td-fallbacks", b"%d" % done.fallbacks))
            if decision is not None and decision.level:
                headers.append((b"x-td-level", b"%d" % decision.level))
        if self._caller is not None:
            headers += self._caller.ratelimit_headers()
        return headers

    def _read_headers(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        found = self._headers
        for name, value in headers:
            if name in _WANTED:
                if name in found and found[name] != value:
                    raise GatewayError(
                        400,
                        f"The header {name.decode()} is given twice; send one.",
                        param=name.decode(),
                        code="duplicate_header",
                    )
                found[name] = value
        encoding = found.get(b"content-encoding")
        if encoding is not None and encoding.lower() != b"identity":
            raise GatewayError(
                415, "Compressed bodies are not read; send the JSON as it is.", code="unsupported_encoding"
            )

    def _secret(self) -> bytes | None:
        return secret_of(self._headers)

    def _watch(self) -> None:
        self._watcher = self._core.loop.create_task(self._wait_for_disconnect())

    async def _wait_for_disconnect(self) -> None:
        # Before the body is read its reader learns that the client is gone.
        while self._incoming is None:
            await asyncio.sleep(_INSTANT)
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._task is not None:
            self._task.cancel()

    def _record(self) -> None:
        plan, done, incoming = self._plan, self._attempts, self._incoming
        usage = self._usage or _NO_USAGE
        model = done.model
        served = self._status < 400 and model is not None
        cost = baseline = None
        if plan is not None and model is not None and self._usage is not None:
            cost = model.cost(usage)
            baseline = cost if plan.router == "" else plan.baseline.cost(usage)
        decision = None if plan is None else plan.decision
        end = time.perf_counter()
        record = RequestRecord(
            id=self.id,
            time=self._arrived,
            endpoint=self._endpoint,
            key="" if self._caller is None else self._caller.id,
            asked="" if incoming is None else incoming.asked,
            status=self._status,
            model=model.name if served and model is not None else "",
            upstream=done.deployment.server.name if served and done.deployment is not None else "",
            response_id=self._answer_id,
            decision_id=None if decision is None else decision.id,
            router="" if plan is None else plan.router,
            routed_by="" if plan is None else plan.routed_by,
            reason="" if plan is None else done.reason or plan.reason,
            level=0 if decision is None else decision.level,
            confidence=None if decision is None else decision.confidence,
            scores=None if decision is None else decision.scores,
            role="chat" if plan is None else plan.role,
            session=""
            if incoming is None or not incoming.options.session
            else hash_query(incoming.options.session),
            stream=incoming is not None and incoming.stream,
            attempts=done.calls,
            fallbacks=done.fallbacks,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            cost=cost,
            baseline_cost=baseline,
            latency=end - self._start,
            ttft=None if self._first is None else self._first - self._start,
            error=self._error,
            query_hash=None if plan is None or not plan.said else hash_query(plan.said),
            query_text=plan.said if plan is not None and self._serving.config.log.prompts else None,
        )
        self._core.accounting.put(record)
        if self._caller is not None and self._usage is not None:
            self._caller.charge(usage.input_tokens + usage.output_tokens, cost)
        if served and self._usage is not None and plan is not None:
            if done.deployment is not None:
                done.deployment.charge(usage.input_tokens + usage.output_tokens)
            if plan.session is not None and model is not None:
                self._core.chooser.answered(plan, model.name, usage.input_tokens + usage.output_tokens)
        if self._trace is not None:
            self._trace.end(record)


async def read_body(receive: Receive, most: int) -> bytes:
    """The whole body.

    Raises:
        GatewayError: 413, more than ``most`` bytes; 400, the client went away.
    """
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts = [body]
        size = len(body)
        while message.get("more_body"):
            message = await receive()
            part = message.get("body", b"")
            size += len(part)
            if size > most:
                break
            parts.append(part)
        body = b"".join(parts)
        if size > most:
            raise _too_large(most)
    if message["type"] == "http.disconnect":
        raise GatewayError(_CLIENT_GONE, "The client went away.", code="client_disconnected")
    if len(body) > most:
        raise _too_large(most)
    return body


def secret_of(headers: MutableMapping[bytes, bytes]) -> bytes | None:
    """The API key of a request: a bearer token, or Anthropic's or Azure's header."""
    found = headers.get(b"authorization")
    if found is not None:
        scheme, _, secret = found.partition(b" ")
        return secret.strip() if scheme.lower() == b"bearer" else found
    return headers.get(b"x-api-key") or headers.get(b"api-key")


def _too_large(most: int) -> GatewayError:
    return GatewayError(413, f"The body may have {most:,} bytes; send a shorter one.", code="request_too_large")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _value(text: str) -> bytes:
    """A header's value: names of models may be any text, headers may not."""
    return (
        text.encode("ascii", "backslashreplace") if text.isprintable() else repr(text).encode("ascii", "replace")
    )
