"""Tries what a plan lists until something serves: deployments by weight, retries within a budget, then the next
model.

Before the first byte for the client everything may still change; afterwards nothing does.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream import attempts, filtering, sse
from tiny_dancer.gateway.upstream.attempts import Failure
from tiny_dancer.gateway.upstream.clients.base import LARGEST_ANSWER, CallError, Reply, read_error
from tiny_dancer.gateway.upstream.clients.decoding import encoding_of
from tiny_dancer.gateway.upstream.deployments import Deployment, ServedModel
from tiny_dancer.gateway.upstream.dialect import Adapted, Answer, Call, Events, Reported, Usage
from tiny_dancer.gateway.upstream.kinds.openai import only_asks_usage, without_stream_options
from tiny_dancer.gateway.upstream.translate import roll

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
        splitter: of the stream, with what has not arrived in full.
        end: when the attempt's time is over, by the loop's clock.
    """

    status: int
    headers: Sequence[tuple[str, str]]
    reply: Reply
    events: Events
    first: bytes
    splitter: sse.Splitter
    end: float


class GivenUp(Struct, frozen=True):
    """A whole answer that is served only where no other is.

    Attributes:
        model: that gave it.
        deployment: of the model.
        found: the answer.
        token: of the breaker, which has been told.
        fallbacks: models given up before it.
        reason: why they were.
    """

    model: ServedModel
    deployment: Deployment
    found: Whole
    token: int
    fallbacks: int
    reason: str


class Paid(Struct, frozen=True):
    """A call that is done, of a request that goes on.

    Attributes:
        model: that was called.
        usage: tokens; None where nothing is known of them.
        guessed: whether a part of that is a guess.
    """

    model: ServedModel
    usage: Usage | None
    guessed: bool


class Funds(Protocol):
    """What pays for a request's calls; :class:`tiny_dancer.gateway.account.funding.Funding`."""

    async def opens(self, model: ServedModel) -> GatewayError | None:
        """Why the first call of a model cannot be paid for; None where it can."""

    async def again(self, model: ServedModel) -> bool:
        """Whether one more call can be, at the same model, after one that failed when it may have worked."""


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
        funds: asked before calls that somebody has to pay for; None where nobody needs to know.
        adapted: what of the request was said otherwise, because the upstream called last would refuse it.
        searches_itself: whether the upstream called last was left to answer tool searches.
        before: calls whose answers only searched for tools, which cost, too.
        failed: models that were asked and did not answer, for no fault of the request.
        given_up: answers that a content filter had cut, in whose place another was sought: they cost, too.
        passed_over: models that were next and not asked, and why in a word: ``context_window``, the code of a
            budget, ``breaker``, ``resting``, or ``limit``.
    """

    calls: int = 0
    fallbacks: int = 0
    model: ServedModel | None = None
    deployment: Deployment | None = None
    reason: str = ""
    calling: ServedModel | None = None
    lost: list[ServedModel] = []
    funds: Funds | None = None
    adapted: tuple[str, ...] = ()
    searches_itself: bool = False
    before: list[Paid] = []
    given_up: list[GivenUp] = []
    failed: list[ServedModel] = []
    passed_over: dict[str, str] = {}


class Proxy:
    """Belongs to the event loop's thread."""

    def __init__(self, retries: Retries, *, leaves_filters: bool = False) -> None:
        """``leaves_filters``: ask another model where a content filter has refused, unless the request decides."""
        self._retries = retries
        self._leaves_filters = leaves_filters
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
        leaves_filters = self._leaves_filters if call.leaves_filters is None else call.leaves_filters
        last: Failure | None = None
        refused: GatewayError | None = None
        too_small = 0  # the largest context window that was not enough
        for model in models:
            if last is not None:
                if not (last.elsewhere or (last.filtered and leaves_filters)):
                    break
                known = model.settings.context_window
                if known is not None and known <= too_small:
                    done.passed_over[model.name] = "context_window"
                    continue
            if done.funds is not None and (unpaid := await done.funds.opens(model)) is not None:
                refused = refused or unpaid
                done.passed_over[model.name] = unpaid.code or "budget"
                continue
            if last is not None:
                done.fallbacks += 1
                done.reason = last.error.code or f"status_{last.error.status}"
            elif refused is not None:
                done.reason = refused.code or ""
            done.model = model
            try:
                found, token = await self._at_model(model, call, extra, done, trace)
                if not leaves_filters or type(found) is not Whole or not filtering.filtered(found.answer.body):
                    return found, token
                assert done.deployment is not None
                kept = GivenUp(model, done.deployment, found, token, done.fallbacks, done.reason)
                done.given_up.append(kept)
                last = _FILTERED
            except Failure as failure:
                _forget_frames(failure)
                if failure.category is not None:
                    done.failed.append(model)
                elif not failure.asked:
                    done.passed_over[model.name] = _why_not_asked(model, call.endpoint)
                # What no deployment could be asked says less than what one answered.
                if last is None or failure.asked:
                    last = failure
                if failure.larger:
                    too_small = max(too_small, model.settings.context_window or 0)
        if last is None:
            assert refused is not None, "there is a model to ask"
            raise refused
        if done.given_up:
            # Nothing better came: what a filter has left of an answer is an answer.
            kept = done.given_up.pop()
            done.model, done.deployment = kept.model, kept.deployment
            done.fallbacks, done.reason = kept.fallbacks, kept.reason
            return kept.found, kept.token
        try:
            raise last.error
        finally:
            del last  # held by a frame of its own traceback it would hold the request, until both are collected

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
            picked = model.pick(call.endpoint, tried)
            if picked is not None and tried and not self._budget.retry():
                picked[0].withdraw(call.endpoint, picked[1])
                break
            if picked is None and tried:
                picked = await self._once_more(call.endpoint, tried, number)
            if picked is None:
                break
            deployment, token = picked
            if last is not None and last.worked and done.funds is not None and not await done.funds.again(model):
                deployment.withdraw(call.endpoint, token)
                break
            done.deployment = deployment
            done.calls += 1
            done.calling = model
            done.adapted = ()
            try:
                found = await self._call(deployment, token, call, extra, done, trace)
                done.calling = None
                if type(found) is Streaming:
                    # It has answered. However long it goes on, nobody else has to wait for what it tells.
                    token = deployment.breaker(call.endpoint).answers(token)
                return found, token
            except Failure as failure:
                done.calling = None
                last = tried[deployment] = _forget_frames(failure)
                if failure.worked:
                    done.lost.append(model)
                if failure.larger or not failure.elsewhere:
                    break
        able = [each for each in model.deployments if call.endpoint in each.routes]
        raise last or nobody(model.name, able, call.endpoint)

    async def _once_more(
        self, endpoint: str, tried: Mapping[Deployment, Failure], number: int
    ) -> tuple[Deployment, int] | None:
        """Of those that failed and may do better the second time the one with the shortest pause, after it."""
        pauses: list[tuple[float, Deployment]] = []
        for deployment, failure in tried.items():
            if failure.again:
                asked = max(failure.wait or 0.0, deployment.resting()) or None
                if (pause := attempts.backoff(self._retries, number - 1, asked)) is not None:
                    pauses.append((pause, deployment))
        if not pauses or not self._budget.retry():
            return None
        pause, deployment = min(pauses, key=itemgetter(0))
        await asyncio.sleep(pause)
        token = deployment.admit(endpoint)
        return None if token is None else (deployment, token)

    async def _call(
        self,
        deployment: Deployment,
        token: int,
        call: Call,
        extra: Sequence[tuple[str, str]],
        done: Attempts,
        trace: RequestTrace | None,
    ) -> Whole | Streaming:
        """One call. A stream that has begun stays admitted until :func:`settle_stream`."""
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
            found: Whole | Streaming
            try:
                found = await _ask(deployment, deployment.route(call.endpoint), call, headers, done)
            except _NoResponses:
                done.calls += 1
                found = await _ask(deployment, deployment.translated(), call, headers, done)
                deployment.server.chat_only = True
        except Failure as failure:
            failure.error.strike(deployment.server.secrets)
            if span is not None:
                span.end(failure.error.status, failure.error.code)
            if failure.category is None:
                deployment.breaker(call.endpoint).succeed(token)
            else:
                deployment.breaker(call.endpoint).fail(token, failure.category)
            if failure.rests and failure.wait is not None:
                deployment.rest(failure.wait)
            deployment.leave()
            raise
        except BaseException as error:
            # The client went away, or its request cannot be put to this upstream: no verdict.
            if span is not None:
                span.end(None, "cancelled")
            deployment.breaker(call.endpoint).cancel(token)
            deployment.leave()
            if isinstance(error, GatewayError):
                # Another model's upstream may be able to.
                raise Failure(error, None) from error
            raise
        if span is not None:
            span.end(found.status, None)
        if type(found) is Whole:
            deployment.breaker(call.endpoint).succeed(token)
            deployment.leave()
        return found


class _NoResponses(Exception):  # noqa: N818
    """The upstream has no responses endpoint, and is only now known not to have it."""


class _NoStreamOptions(Exception):  # noqa: N818
    """The upstream refuses the field ``stream_options``, which the gateway has put there.

    Attributes:
        body: the request without it.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body


async def _ask(
    deployment: Deployment, route: Route, call: Call, headers: Sequence[tuple[str, str]], done: Attempts
) -> Whole | Streaming:
    headers = route.headers(headers)
    # The client's protocol is spoken there, and no other.
    done.searches_itself = (
        deployment.server.settings.tool_search == "native" and route.dialect.path == _NATIVE.get(call.endpoint)
    )
    fields = call.as_sent(searches=done.searches_itself)
    if "provider" in fields and not deployment.server.openrouter:
        fields = {name: value for name, value in fields.items() if name != "provider"}  # kept by the plan
    asked = route.dialect.request(fields, deployment.upstream_model)
    body, done.adapted = (asked.body, asked.names) if isinstance(asked, Adapted) else (asked, ())
    if call.stream:
        if not deployment.stream_options:
            body = without_stream_options(body) or body
        try:
            return await _stream(deployment, route, call, headers, body)
        except _NoStreamOptions as refused:
            plain = refused.body
        done.calls += 1
        begun = await _stream(deployment, route, call, headers, plain)
        deployment.stream_options = False  # this was it, and not something else about the request
        return begun
    return await _whole(deployment, route, headers, body)


def _refused(
    deployment: Deployment, route: Route, status: int, headers: Sequence[tuple[str, str]], body: bytes
) -> Failure:
    """What an answer of status 400 or above is."""
    error = route.dialect.failure(status, body)
    asked = route.dialect.path == "/responses" and deployment.server.settings.responses == "auto"
    if asked and attempts.lacks_endpoint(status, body, error):
        raise _NoResponses
    return attempts.of_status(_with_headers(error, headers), headers)


def settle_stream(deployment: Deployment, endpoint: str, token: int, category: Category | None) -> None:
    """Tells how a stream ended that had begun: well, also where its client left, or by the upstream's failure.

    Clients that stop reading are no reason to think worse of who answers them: were their calls not counted, the
    few that fail would be most of those that are.
    """
    breaker = deployment.breaker(endpoint)
    if category is None:
        breaker.succeed(token)
    else:
        breaker.fail(token, category)
    deployment.leave()


async def _whole(deployment: Deployment, route: Route, headers: Sequence[tuple[str, str]], body: bytes) -> Whole:
    repeatable = route.dialect.path != "/responses"
    try:
        status, answered, found = await deployment.server.client.whole(route.target, headers, body)
    except CallError as error:
        if (all_the_same := _come(error, route)) is None:
            raise attempts.of_call(error, repeatable) from error
        return all_the_same
    if status >= 400:
        raise _refused(deployment, route, status, answered, found)
    if status >= 300:
        raise attempts.of_answer(f"status {status}", worked=False)
    try:
        if found[:1] not in _JSON and roll.is_stream(found):
            found = route.dialect.roll(found)
        return Whole(status, answered, route.dialect.response(found))
    except Reported as error:
        raise attempts.of_status(_with_headers(error.error, answered), answered) from error
    except (ValueError, RecursionError) as error:
        raise attempts.of_answer(str(error), repeatable=repeatable) from error


def _come(error: CallError, route: Route) -> Whole | None:
    """The answer that has come although its end has not: its length is wrong, or the last chunk missing. JSON says
    itself where it ends."""
    if error.came is None:
        return None
    status, headers, body = error.came
    if status >= 300 or not body.rstrip().endswith(b"}") or encoding_of(headers):
        return None
    try:
        return Whole(status, headers, route.dialect.response(body))
    except (Reported, ValueError, RecursionError):
        return None


async def _next(reply: Reply, whole: bytearray | None) -> bytes | None:
    """The next piece; the end where only that is missing behind what is JSON, as in :func:`_come`."""
    try:
        return await reply.chunk()
    except CallError:
        if whole is None or not whole.startswith(_JSON) or not whole.rstrip().endswith(b"}"):
            raise
        return None


async def _stream(
    deployment: Deployment, route: Route, call: Call, headers: Sequence[tuple[str, str]], body: bytes
) -> Streaming:
    repeatable = route.dialect.path != "/responses"
    end = asyncio.get_running_loop().time() + deployment.server.settings.timeouts.total
    try:
        reply = await deployment.server.client.stream(route.target, headers, body)
    except CallError as error:
        raise attempts.of_call(error, repeatable) from error
    try:
        if reply.status >= 400:
            said = await read_error(reply)
            if (plain := _not_asking_usage(deployment, call, reply.status, said, body)) is not None:
                raise _NoStreamOptions(plain)
            raise _refused(deployment, route, reply.status, reply.headers, said)
        if reply.status >= 300:
            raise attempts.of_answer(f"status {reply.status}", worked=False)
        events = route.dialect.events(call.fields)
        kind = next((value for name, value in reply.headers if name == "content-type"), "")
        # Some servers name their streams otherwise or not at all, and some send no stream.
        whole = None if kind[:17].lower() == "text/event-stream" else bytearray()
        splitter = sse.Splitter()
        first = b""
        while (chunk := await _next(reply, whole)) is not None:
            if whole is not None:
                whole += chunk if whole else chunk.lstrip(_SPACE)
                if len(whole) > LARGEST_ANSWER:
                    raise attempts.of_answer("it is too large", repeatable=repeatable)
                begins = bytes(whole[:1])
                if not begins or begins in _JSON:
                    continue
                chunk, whole = bytes(whole), None
            first += b"".join([events.feed(event) for event in splitter.feed(chunk)])
            if first and events.content:
                if b'"error"' in first:
                    first = deployment.server.struck(first)
                return Streaming(reply.status, reply.headers, reply, events, first, splitter, end)
        last = splitter.end() if whole is None else route.dialect.unroll(bytes(whole))
        first += b"".join([events.feed(event) for event in last])
        if first and events.content:
            return Streaming(reply.status, reply.headers, reply, events, first, sse.Splitter(), end)
        raise attempts.of_answer("the stream ended before it began", repeatable=repeatable)
    except Reported as error:
        await reply.close()
        raise attempts.of_status(_with_headers(error.error, reply.headers), reply.headers) from error
    except CallError as error:
        await reply.close()
        raise attempts.of_call(error, repeatable) from error
    except (ValueError, RecursionError) as error:
        await reply.close()
        raise attempts.of_answer(str(error), repeatable=repeatable) from error
    except BaseException:
        await reply.close()
        raise


_FILTERED = Failure(GatewayError(400, "The answer was cut.", code="content_filter"), None, filtered=True)


def _forget_frames(failure: Failure) -> Failure:
    """Without what led to it: those frames hold the request's body, and would as long as the failure is held."""
    failure.__traceback__ = failure.__cause__ = failure.__context__ = None
    return failure


def _not_asking_usage(deployment: Deployment, call: Call, status: int, said: bytes, body: bytes) -> bytes | None:
    """The request without ``stream_options``, where an upstream refuses it for nothing a client has put there."""
    if status not in (400, 422) or deployment.server.settings.stream_options != "auto":
        return None
    if b"stream_options" not in said or not only_asks_usage(call.fields):
        return None
    return without_stream_options(body)


def nobody(name: str, deployments: Iterable[Deployment], endpoint: str) -> Failure:
    """Every deployment of a model, or of an upstream as such, is at its limit, rests because it asked to, or its
    breaker is open."""
    serving = list(deployments)
    waits = [max(each.wait(), each.resting(), each.breaker(endpoint).status().retry_in) for each in serving]
    wait = min(waits, default=0.0)
    seconds = max(1, math.ceil(wait))
    resting = any(each.resting() for each in serving)
    why = "its servers ask to wait" if resting else "its servers have failed repeatedly, or are at their limits"
    error = GatewayError(
        429 if resting else 503,
        f"No deployment of '{name}' takes requests now: {why}. Try again in {seconds} s.",
        type=None if resting else "server_error",
        code="rate_limit_exceeded" if resting else "no_deployment_available",
        headers=((b"retry-after", b"%d" % seconds),),
    )
    return Failure(error, None, wait=wait, asked=False)


def _why_not_asked(model: ServedModel, endpoint: str) -> str:
    """The first of what :func:`nobody` says that is so of one of the deployments."""
    serving = [each for each in model.deployments if endpoint in each.routes]
    if any(each.resting() for each in serving):
        return "resting"
    return "breaker" if any(each.breaker(endpoint).status().retry_in > 0 for each in serving) else "limit"


_NATIVE: Final = {"messages": "/messages", "responses": "/responses"}
_JSON: Final = (b"{", b"[")
_SPACE: Final = b" \t\r\n\xef\xbb\xbf"
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
