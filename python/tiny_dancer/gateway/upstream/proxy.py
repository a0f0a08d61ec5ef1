"""Tries what a plan lists until something serves: deployments by weight, retries within a budget, then the next
model.

Before the first byte for the client everything may still change; afterwards nothing does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream import attempts, sse
from tiny_dancer.gateway.upstream.attempts import Failure
from tiny_dancer.gateway.upstream.clients.base import CallError, Reply, read_error
from tiny_dancer.gateway.upstream.deployments import Deployment, ServedModel
from tiny_dancer.gateway.upstream.dialect import Answer, Call, Events

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiny_dancer.gateway.configuration.settings import Retries
    from tiny_dancer.gateway.upstream.deployments import Route
    from tiny_dancer.observability.traces import RequestTrace
    from tiny_dancer.resilience import Category


class Whole(Struct):
    """An answer that has arrived."""

    status: int
    headers: Sequence[tuple[str, str]]
    answer: Answer


class Streaming(Struct):
    """An answer that has begun: what the client gets first, and where the rest comes from.

    Attributes:
        status: of HTTP.
        headers: of the upstream.
        reply: to read on from, and to close.
        events: reads it.
        first: bytes for the client.
        rest: of an event that has not arrived in full.
    """

    status: int
    headers: Sequence[tuple[str, str]]
    reply: Reply
    events: Events
    first: bytes
    rest: bytes


class Attempts(Struct):
    """What was done for one request; filled in as it happens.

    Attributes:
        calls: to upstreams.
        fallbacks: models given up.
        model: that serves, or was tried last.
        deployment: that serves, or was called last; None before the first call.
        reason: why another than the first model serves; empty where none does.
        calling: model of the call under way; None between calls, and once an answer has come.
        lost: models of calls that failed after the upstream may have worked, one for each.
        fund: asked before a call that follows such a one at the same model, whether the key can pay for it; None
            where nobody needs to know.
    """

    calls: int = 0
    fallbacks: int = 0
    model: ServedModel | None = None
    deployment: Deployment | None = None
    reason: str = ""
    calling: ServedModel | None = None
    lost: list[ServedModel] = []
    fund: Callable[[ServedModel], bool] | None = None


class Proxy:
    """Belongs to the event loop's thread."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._budget = attempts.RetryBudget(retries.budget)

    async def send(
        self,
        models: Iterable[ServedModel],
        call: Call,
        extra: Sequence[tuple[str, str]],
        done: Attempts,
        trace: RequestTrace | None,
    ) -> tuple[Whole | Streaming, int]:
        """Gets an answer.

        Args:
            models: to try, in order; at least one. The next is asked for where the one before has failed.
            call: what they are asked.
            extra: headers of the client that go on.
            done: filled in.
            trace: of the request, or None.

        Returns:
            the answer, and the breaker's token of a stream, whose end is still to be told (:func:`settle_stream`).

        Raises:
            GatewayError: nothing served it; the last failure in the client's words.
        """
        self._budget.request()
        last: Failure | None = None
        too_small = 0  # the largest context window that was not enough
        for model in models:
            if last is not None:
                if not last.elsewhere:
                    break
                known = model.settings.context_window
                if known is not None and known <= too_small:
                    continue
                done.fallbacks += 1
                done.reason = last.error.code or f"status_{last.error.status}"
            done.model = model
            try:
                return await self._at_model(model, call, extra, done, trace)
            except Failure as failure:
                # What no deployment could be asked says less than what one answered.
                if last is None or failure.error.code != "no_deployment_available":
                    last = failure
                if failure.larger:
                    too_small = max(too_small, model.settings.context_window or 0)
        assert last is not None
        raise last.error

    async def _at_model(
        self,
        model: ServedModel,
        call: Call,
        extra: Sequence[tuple[str, str]],
        done: Attempts,
        trace: RequestTrace | None,
    ) -> tuple[Whole | Streaming, int]:
        last: Failure | None = None
        tried: dict[Deployment, Failure] = {}
        for number in range(self._retries.attempts):
            if (picked := model.pick(call.endpoint, tried)) is None:
                break
            deployment, token = picked
            if last is not None:
                before = tried.get(deployment)
                pause: float | None = 0.0
                if before is not None:
                    pause = attempts.backoff(self._retries, number - 1, before.wait) if before.again else None
                if pause is None or not self._budget.retry():
                    deployment.withdraw(token)
                    break
                if pause:
                    # Others may have its place meanwhile.
                    deployment.withdraw(token)
                    await asyncio.sleep(pause)
                    if (admitted := deployment.admit()) is None:
                        break
                    token = admitted
            if last is not None and last.worked and done.fund is not None and not done.fund(model):
                deployment.withdraw(token)
                break
            done.deployment = deployment
            done.calls += 1
            done.calling = model
            try:
                found = await self._call(deployment, token, call, extra, trace)
                done.calling = None
                return found, token
            except Failure as failure:
                done.calling = None
                last = tried[deployment] = failure
                if failure.worked:
                    done.lost.append(model)
                if failure.larger or not failure.elsewhere:
                    break
        raise last or _nobody(model)

    async def _call(
        self,
        deployment: Deployment,
        token: int,
        call: Call,
        extra: Sequence[tuple[str, str]],
        trace: RequestTrace | None,
    ) -> Whole | Streaming:
        """One call. A stream that has begun stays admitted until :func:`settle_stream`."""
        route = deployment.routes[call.endpoint]
        headers = extra
        span = None
        try:
            if trace is not None:
                span = trace.attempt(deployment.model, deployment.server.name, deployment.server.settings.kind)
                if span.traceparent is not None:
                    headers = [pair for pair in extra if pair[0] not in ("traceparent", "tracestate")]
                    headers.append(("traceparent", span.traceparent))
                    if span.tracestate is not None:
                        headers.append(("tracestate", span.tracestate))
            body = route.dialect.request(call.fields, deployment.upstream_model)
            found: Whole | Streaming
            if call.stream:
                found = await _stream(deployment, route, call, headers, body)
            else:
                found = await _whole(deployment, route, headers, body)
        except Failure as failure:
            if span is not None:
                span.end(failure.error.status, failure.error.code)
            if failure.category is None:
                deployment.breaker.succeed(token)
            else:
                deployment.breaker.fail(token, failure.category)
            deployment.leave()
            raise
        except BaseException as error:
            # The client went away, or its request cannot be put to this upstream: no verdict.
            if span is not None:
                span.end(None, "cancelled")
            deployment.breaker.cancel(token)
            deployment.leave()
            if isinstance(error, GatewayError):
                # Another model's upstream may be able to.
                raise Failure(error, None) from error
            raise
        if span is not None:
            span.end(found.status, None)
        if type(found) is Whole:
            deployment.breaker.succeed(token)
            deployment.leave()
        return found


def settle_stream(
    deployment: Deployment, token: int, category: Category | None, *, cancelled: bool = False
) -> None:
    """Tells how a stream ended: well, by a failure of the upstream's, or because the client went away."""
    if cancelled:
        deployment.breaker.cancel(token)
    elif category is None:
        deployment.breaker.succeed(token)
    else:
        deployment.breaker.fail(token, category)
    deployment.leave()


async def _whole(deployment: Deployment, route: Route, headers: Sequence[tuple[str, str]], body: bytes) -> Whole:
    try:
        status, answered, found = await deployment.server.client.whole(route.target, headers, body)
    except CallError as error:
        raise attempts.of_call(error, route.dialect.path != "/responses") from error
    if status >= 400:
        raise attempts.of_status(_with_headers(route.dialect.failure(status, found), answered), answered)
    if status >= 300:
        raise attempts.of_answer(f"status {status}", worked=False)
    try:
        return Whole(status, answered, route.dialect.response(found))
    except (ValueError, RecursionError) as error:
        raise attempts.of_answer(str(error)) from error


async def _stream(
    deployment: Deployment, route: Route, call: Call, headers: Sequence[tuple[str, str]], body: bytes
) -> Streaming:
    repeatable = route.dialect.path != "/responses"
    try:
        reply = await deployment.server.client.stream(route.target, headers, body)
    except CallError as error:
        raise attempts.of_call(error, repeatable) from error
    try:
        if reply.status >= 400:
            refused = route.dialect.failure(reply.status, await read_error(reply))
            raise attempts.of_status(_with_headers(refused, reply.headers), reply.headers)
        kind = next((value for name, value in reply.headers if name == "content-type"), "")
        if not kind.lower().startswith("text/event-stream"):
            raise attempts.of_answer(
                f"{kind[:100] or 'no content type'} in place of a stream", worked=reply.status < 300
            )
        events = route.dialect.events(call.fields)
        rest = b""
        while (chunk := await reply.chunk()) is not None:
            found, rest = sse.split(rest + chunk if rest else chunk)
            first = b"".join([events.feed(event) for event in found])
            if first and events.content:
                return Streaming(reply.status, reply.headers, reply, events, first, rest)
        raise attempts.of_answer("the stream ended before it began")
    except CallError as error:
        await reply.close()
        raise attempts.of_call(error, repeatable) from error
    except (ValueError, RecursionError) as error:
        await reply.close()
        raise attempts.of_answer(str(error)) from error
    except BaseException:
        await reply.close()
        raise


def _nobody(model: ServedModel) -> Failure:
    """Every deployment is at its limit, or its breaker is open."""
    waits = [max(each.wait(), each.breaker.status().retry_in) for each in model.deployments]
    wait = min(waits, default=0.0)
    seconds = max(1, int(wait + 1))
    error = GatewayError(
        503,
        f"No deployment of '{model.name}' takes requests now: its servers have failed repeatedly, or are at their "
        f"limits. Try again in {seconds} s.",
        type="server_error",
        code="no_deployment_available",
        headers=((b"retry-after", b"%d" % seconds),),
    )
    return Failure(error, None, wait=wait)


_FORWARDED = ("retry-after", "retry-after-ms", "x-request-id", "request-id")


def forwarded(headers: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """The headers of an upstream's answer that are for the client."""
    return [
        (name.encode(), value.encode("latin-1", "replace"))
        for name, value in headers
        if name in _FORWARDED or name.startswith(("x-ratelimit-", "anthropic-ratelimit-", "openai-"))
    ]


def _with_headers(error: GatewayError, headers: Sequence[tuple[str, str]]) -> GatewayError:
    error.headers = (*error.headers, *forwarded(headers))
    return error
