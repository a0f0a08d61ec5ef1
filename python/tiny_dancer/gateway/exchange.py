"""One request to a model, from the client's bytes to the last byte of its answer, and the record of it.

A client that goes away is noticed by a second reader of the connection, which starts once the answer takes longer
than an instant, and cancels what is under way.
"""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tiny_dancer.gateway.access.purse import purse_of
from tiny_dancer.gateway.account.billed import completed
from tiny_dancer.gateway.account.funding import Funding, begin, beside
from tiny_dancer.gateway.account.guess import Guess
from tiny_dancer.gateway.account.learning import keep_calls
from tiny_dancer.gateway.account.progress import Progress
from tiny_dancer.gateway.account.settle import settle
from tiny_dancer.gateway.chains import withdraw
from tiny_dancer.gateway.choosing.incoming import OPTION_HEADERS, parse
from tiny_dancer.gateway.choosing.offering import offer_tools
from tiny_dancer.gateway.choosing.removed import bounded
from tiny_dancer.gateway.edge.bodies import CLIENT_GONE
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.http import (
    deeper,
    depth_of,
    header_value,
    of_tools,
    passed_on,
    read_headers,
    secrets_of,
    send_json,
    stream_error,
    with_limits,
)
from tiny_dancer.gateway.tools.called import Called
from tiny_dancer.gateway.tools.kept import AT_ONCE
from tiny_dancer.gateway.upstream import telling
from tiny_dancer.gateway.upstream.attempts import of_status, sentence
from tiny_dancer.gateway.upstream.clients.base import CallError, Phase
from tiny_dancer.gateway.upstream.dialect import Answer
from tiny_dancer.gateway.upstream.proxy import Paid, Streaming, Whole, forwarded, settle_stream
from tiny_dancer.resilience import Category

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tiny_dancer.gateway.access.caller import Caller
    from tiny_dancer.gateway.choosing.incoming import Incoming
    from tiny_dancer.gateway.choosing.plan import Choice, Plan
    from tiny_dancer.gateway.http import Headers, Receive, Scope, Send
    from tiny_dancer.gateway.services import Services
    from tiny_dancer.gateway.tools.search import Search, Voice
    from tiny_dancer.gateway.upstream.deployments import ServedModel
    from tiny_dancer.gateway.upstream.dialect import Endpoint, Events


T = TypeVar("T")

INSTANT: Final = 0.05
"""Seconds until which nobody looks whether the client is still there: most of what ends sooner ends well."""

_STREAM_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx holds back what is not marked so
)
_SHUTTING_DOWN: Final = GatewayError(503, "The gateway is shutting down.", code="shutting_down")
# What ids of answers begin with.
_ANSWERS: Final = {"messages": "msg_", "completions": "cmpl-"}
_PING: Final = b": ping\n\n"
_ANTHROPIC_PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'


class Exchange(Progress):
    """One request. Make one, await :meth:`run`, forget it."""

    __slots__ = (
        "_begun_early",
        "_end",
        "_extra",
        "_funding",
        "_gone",
        "_held",
        "_model",
        "_models",
        "_receive",
        "_search",
        "_send",
        "_services",
        "_silence",
        "_started",
        "_task",
        "_watcher",
    )

    def __init__(
        self, services: Services, endpoint: Endpoint, receive: Receive, send: Send, model: str | None = None
    ) -> None:
        """``model``: named by the address, whatever the body says."""
        # Once: the whole request is served by this configuration.
        super().__init__(services.serving, endpoint)
        self._services = services
        self._receive = receive
        self._send = send
        self._model = model
        self._held = 0
        self._search: Search | None = None
        self._models: Iterator[ServedModel] = iter(())
        self._funding: Funding | None = None
        self._extra: list[tuple[str, str]] = []
        self._end: float | None = None  # of a request whose tools are searched for, by the loop's clock
        self._started = False
        self._silence: asyncio.TimerHandle | None = None
        self._begun_early: asyncio.Task[None] | None = None
        self._gone = False
        self._task: asyncio.Task[Any] | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def run(self, scope: Scope) -> None:
        """Serves the request; whatever happens, the client is told and a record is kept."""
        services = self._services
        services.in_flight += 1
        self._task = asyncio.current_task()
        services.unwatched[self] = None
        try:
            await self._serve(scope)
        except GatewayError as error:
            await self._refuse(error)
        except asyncio.CancelledError:
            if not self._gone:
                # The gateway is going down and its patience is over.
                if not self._started or (self._begun_early is not None and self.first is None):
                    await self._refuse(_SHUTTING_DOWN)
                self.status = self.status or 503
                self.error = self.error or "shutting_down"
                raise
            self.status, self.error = CLIENT_GONE, "client_disconnected"
        finally:
            services.unwatched.pop(self, None)
            # Each refers to this request as this to it: let go, the body is gone now and not when it is collected.
            self._task = None
            if self._watcher is not None:
                self._watcher.cancel()
                self._watcher = None
            if self._silence is not None:
                self._silence.cancel()
                self._silence = None
            services.in_flight -= 1
            services.bodies.held -= self._held
            try:
                settle(self, services.accounting, services.metrics, services.chooser, kept=self._kept())
                if self.called is not None:
                    keep_calls(self, services.storage)
            finally:
                # Whatever went wrong: nothing stays reserved.
                if self.purse is not None:
                    self.purse.settle(0, {})

    def _admit(self, scope: Scope) -> dict[bytes, bytes]:
        """Lets its caller in, or not, and begins its trace; the headers that the gateway understands."""
        services = self._services
        given = scope["headers"]
        # First, and before anything is read: what a stranger sends costs next to nothing, and leaves nothing.
        caller = self.caller = services.access.identify(*secrets_of(given))
        services.access.enter(caller)
        headers = read_headers(given)
        self.payers = services.access.owned.by_headers(caller.payers, headers)
        if services.tracer is not None:
            self.trace = services.tracer.start(
                self.endpoint, _text(headers.get(b"traceparent")), _text(headers.get(b"tracestate"))
            )
        return headers

    async def _body(self, headers: dict[bytes, bytes]) -> bytes:
        """All of it, held until the request ends."""
        body = await self._services.bodies.read(
            self._receive, self.serving.config.limits, headers.get(b"content-encoding")
        )
        self._held = len(body)
        return body

    async def _serve(self, scope: Scope) -> None:
        services = self._services
        headers = self._admit(scope)
        caller = self.caller
        assert caller is not None
        body = await self._body(headers)
        options = {name: headers[name] for name in OPTION_HEADERS if name in headers} if headers else headers
        incoming = self.incoming = parse(self.endpoint, body, options, self._model)
        self.payers = services.access.owned.by_fields(self.payers, incoming.fields)
        self.purse = purse_of(caller, self.payers, services.budgets)
        incoming.cheaper = self._cheaper()
        self.depth = depth_of(headers)
        choice = None
        if self.serving.leads and services.chooser.leader(self.serving, incoming) is not None:
            if self.purse is not None:
                incoming.left = self.purse.left()
            choice = await self._lead(incoming, caller, scope["headers"])
            if self.purse is not None and choice.intent:
                self.purse.route = choice.intent
                incoming.cheaper = self._cheaper()
            if choice.answer is not None:
                self.plan = services.chooser.plan(self.serving, incoming, caller, choice)
                await self._tell(choice.answer, self.plan, incoming, choice.cost)
                return
        offered = await offer_tools(self.serving, incoming, services.kept, choice=choice)
        self.tools, self._search = offered
        if self.tools is not None and self.tools.names is not None:
            self.called = Called(self.tools.names)
        plan = self.plan = services.chooser.plan(self.serving, incoming, caller, choice)
        self._models = models = plan.models()
        if self.purse is not None:
            self._funding = self.attempts.funds = Funding(self, self.purse, services.accounting)
        self._extra = passed_on(headers)
        if plan.agents or plan.agent:
            self._extra.append(deeper(self.depth))
        found, token = await services.proxy.send(models, incoming, self._extra, self.attempts, self.trace)
        if self._search is not None and self.attempts.searches_itself:
            self._search = self.tools = None
        if type(found) is Whole:
            await self._answer_whole(found, plan)
        else:
            assert type(found) is Streaming
            await self._answer_stream(found, token, plan)

    def _cheaper(self) -> bool:
        strongest = self.serving.strongest
        return self.purse is not None and self.purse.cheaper(None if strongest is None else strongest.name)

    async def _lead(self, incoming: Incoming, caller: Caller, given: Iterable[tuple[bytes, bytes]]) -> Choice:
        """What chains and groups decide. Who leaves while a person is asked is asked for no longer."""
        services = self._services
        try:
            return await services.leads.lead(services, self.serving, incoming, caller, tuple(given), self)
        except asyncio.CancelledError:
            if self._gone and self.queued:
                await asyncio.shield(asyncio.to_thread(withdraw, services.storage, self.queued))
            raise

    async def _tell(self, text: str, plan: Plan, incoming: Incoming, cost: float) -> None:
        """An answer that no model gives, or several have given, who were paid ``cost``."""
        self.free = True
        self.answer_id, self.status = f"{_ANSWERS.get(self.endpoint, 'chatcmpl-')}{self.id}", 200
        if not incoming.stream:
            answer = telling.whole(self.endpoint, incoming.fields, text, model=incoming.asked, id=self.answer_id)
            self.answer_id = answer.id
            headers = self._describe([(b"x-td-cost", b"%.9g" % cost)], plan)
            self._started = True
            self.first = time.perf_counter()
            await send_json(self._send, 200, headers, answer.body)
            return
        said = telling.stream(self.endpoint, incoming.fields, text, model=incoming.asked, id=self.answer_id)
        if self._begun_early is None:
            end = asyncio.get_running_loop().time() + self.serving.config.limits.write_timeout
            await self._begin_stream(200, self._describe([], plan), end)
        else:
            await self._begun_early
        self.first = time.perf_counter()
        await self._send({"type": "http.response.body", "body": said, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})

    async def _answer_whole(self, found: Whole, plan: Plan) -> None:
        answer = found.answer
        self._heard(answer)
        if self._search is not None:
            while await self._searching(partial(self._search.take, answer.body)) and answer.error is None:
                following, _ = await self._ask_again(self._search)
                assert type(following) is Whole
                found, answer = following, following.answer
                self._heard(answer)
            answer = Answer(self._search.whole(), answer.usage, self._search.answer_id, answer.error)
            self.answer_id, self.tools = answer.id, self._search.offered
        if self.called is not None:
            self.called.add(answer.body)
        self.status = found.status
        headers = self._describe(forwarded(found.headers), plan)
        self.billed = completed(answer.usage, self)
        usage, model = self.billed[0], self.attempts.model
        if usage is not None and model is not None and (cost := model.cost(usage)) is not None:
            headers.append((b"x-td-cost", b"%.9g" % (cost + sum(beside(self).paid.values()))))
        self._started = True
        self.first = time.perf_counter()
        await send_json(self._send, found.status, headers, answer.body)

    def _heard(self, answer: Answer) -> None:
        self.usage, self.answer_id = answer.usage, answer.id
        if answer.error is not None:
            self.error = answer.error.code or f"status_{answer.error.status}"
        self.guess = Guess(answer.body)

    async def _searching(self, step: Callable[[], T]) -> T:
        """Makes the searches of one answer; others do not wait for one of thousands of tools."""
        assert self._search is not None
        if self._search.searchable.size <= AT_ONCE:
            return step()
        return await asyncio.to_thread(step)

    async def _ask_again(self, search: Search) -> tuple[Whole | Streaming, int]:
        """The next answer of the model that has searched for tools. What it took until now is paid; another model
        may take over where nothing has been said.

        Raises:
            GatewayError: it cannot be asked, or paid for.
        """
        incoming, done = self.incoming, self.attempts
        model, deployment = done.model, done.deployment
        assert incoming is not None
        assert model is not None
        assert deployment is not None
        done.before.append(Paid(model, *completed(self.usage, self)))
        # What is known of the next call: nothing. Its prompt is another one.
        self.usage = self.guess = self.prompt = None
        incoming.fields, incoming.searched = search.fields, None
        # Nothing was done twice: it is another request.
        self._extra = [pair for pair in self._extra if pair[0] != "idempotency-key"]
        self.tools = search.offered
        loop = asyncio.get_running_loop()
        if self._end is None:
            total = deployment.server.settings.timeouts.total
            self._end = loop.time() - (time.perf_counter() - self.start) + total
        if self._funding is not None:
            await self._funding.onward(model)
        else:
            begin(self, self._services.accounting, model)  # that something was paid is known now
        others = () if self._started else self._models
        try:
            async with asyncio.timeout_at(self._end):
                return await self._services.proxy.send(
                    chain([model], others), incoming, self._extra, done, self.trace
                )
        except TimeoutError as error:
            raise GatewayError(
                504,
                "The time for this request was over before the model had found its tools.",
                type="server_error",
                code="upstream_timeout",
            ) from error

    async def _answer_stream(self, found: Streaming, token: int, plan: Plan) -> None:
        search = self._search
        if search is None:
            await self._answer_one(found, token, plan, None)
        else:
            voice = search.voice()
            self._end = found.end
            while await self._answer_one(found, token, plan, voice):
                try:
                    following, token = await self._ask_again(search)
                except GatewayError as error:
                    await self._give_up(error, voice)
                    break
                except asyncio.CancelledError:
                    if not self._gone:
                        await self._give_up(_SHUTTING_DOWN, voice)
                    raise
                assert type(following) is Streaming
                found = following
            self.answer_id, self.tools = search.answer_id or self.answer_id, search.offered

    async def _give_up(self, error: GatewayError, voice: Voice) -> None:
        """Ends a stream between two calls of a model that searches for tools."""
        self.error = error.code or error.type
        await self._say(stream_error(self.endpoint, error), voice)
        await self._send({"type": "http.response.body", "body": b""})

    async def _answer_one(self, found: Streaming, token: int, plan: Plan, voice: Voice | None) -> bool:
        """Tells the client what comes of one upstream stream; whether the model has searched for tools, and is to
        be asked again."""
        events, deployment = found.events, self.attempts.deployment
        assert deployment is not None
        category: Category | None = None
        cancelled = again = False
        over = voice is None  # what follows the upstream's last word has been said
        try:
            self.status = found.status
            self.guess = Guess(found.first)
            if self._begun_early is not None:
                await self._begun_early
            elif not self._started:
                headers = self._describe(forwarded(found.headers), plan)
                await self._begin_stream(found.status, headers, found.end)
            self.first = self.first or time.perf_counter()
            await self._say(found.first, voice)
            try:
                await self._relay(found, voice)
                if voice is not None and events.error is None:
                    last, again = await self._searching(voice.end)
                    over = not again
                    await self._send({"type": "http.response.body", "body": last, "more_body": True})
            except CallError as error:
                category = Category.TIMEOUT if error.phase is Phase.TIMEOUT else Category.UPSTREAM
                await self._cut(events, sentence(error.message), "stream_cut", voice)
            except (ValueError, RecursionError) as error:
                category = Category.UPSTREAM
                message = f"The stream cannot be read: {error}."
                await self._cut(events, message, "bad_upstream_answer", voice)
            if events.error is not None:
                self.error = events.error.code or f"status_{events.error.status}"
                category = of_status(events.error, ()).category
            if not again:
                await self._send({"type": "http.response.body", "body": b""})
            return again
        except asyncio.CancelledError:
            # A client that leaves with the last word has had all of it.
            cancelled = not (events.finished and over)
            if cancelled and not self._gone:
                # Shutting down: the client is told, in the instant that is left.
                await self._cut(events, _SHUTTING_DOWN.message, "shutting_down", voice)
                await self._send({"type": "http.response.body", "body": b""})
            if cancelled:
                raise
            return False
        finally:
            self.usage, self.answer_id = events.usage, events.id
            if category is not None and self.attempts.model is not None:
                self.attempts.failed.append(self.attempts.model)
            settle_stream(deployment, self.endpoint, token, category)
            await found.reply.close(said_all=events.finished)

    async def _relay(self, found: Streaming, voice: Voice | None) -> None:
        """Chunk by chunk: what is not taken by the client is not read from the upstream. An upstream that has said
        its last word need not end for the client to be done, nor end well."""
        events, splitter, guess = found.events, found.splitter, self.guess
        assert guess is not None
        assert self.attempts.deployment is not None
        server = self.attempts.deployment.server
        while not events.finished:
            try:
                chunk = await (found.reply.chunk() if voice is None else self._chunk(found))
            except CallError:
                last = events.end()
                if not events.finished:
                    raise
                await self._say(last, voice)
                return
            if chunk is None:
                break
            whole = splitter.feed(chunk)
            out = events.feed(whole[0]) if len(whole) == 1 else b"".join([events.feed(each) for each in whole])
            if out:
                if b'"error"' in out:
                    out = server.struck(out)
                guess.add(out)
                await self._say(out, voice)
        if events.finished:
            return
        for each in splitter.end():
            if out := events.feed(each):
                guess.add(out)
                await self._say(out, voice)
        if out := events.end():
            await self._say(out, voice)
        if not events.finished:
            raise CallError(Phase.BROKEN, "the model's server ended the stream before it was finished")

    async def _say(self, events: bytes, voice: Voice | None) -> None:
        said = events if voice is None else voice.feed(events)
        if said:
            if self.called is not None:
                self.called.add_events(said)
            await self._send({"type": "http.response.body", "body": said, "more_body": True})

    async def _chunk(self, found: Streaming) -> bytes | None:
        """The next piece, in the time that all calls have together."""
        try:
            async with asyncio.timeout_at(self._end):
                return await found.reply.chunk()
        except TimeoutError as error:
            raise CallError(Phase.TIMEOUT, "the time for this request was over") from error

    async def _cut(self, events: Events, message: str, code: str, voice: Voice | None) -> None:
        self.error = code
        error = GatewayError(502, message, type="server_error", code=code)
        if self.attempts.deployment is not None:
            error.strike(self.attempts.deployment.server.secrets)
        await self._say(events.cut(error), voice)

    async def _begin_stream(self, status: int, headers: Headers, end: float) -> None:
        """The head of a streamed answer. Beside what ASGI knows it says what the edge sends in a silence, and how
        long a client that does not read may hold up the answer."""
        self._started = True
        seconds = self.serving.config.limits.stream_ping
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*headers, *_STREAM_HEADERS],
                "ping": (seconds, self._ping()) if seconds else None,
                "until": end,
            }
        )

    def _ping(self) -> bytes:
        return _ANTHROPIC_PING if self.endpoint == "messages" else _PING

    def _begin_early(self) -> None:
        """Where a streamed answer has not begun after so long a silence, the client gets a sign of life.

        Its status is sent with that, so what fails from now on is an event. Another model may still take over:
        nothing of an answer has been said.
        """
        self._silence = None
        if self._started or (self.incoming is not None and not self.incoming.stream):
            return
        if self.plan is None and not self.queued:
            self._wait_for_silence()
        else:
            self._begun_early = asyncio.get_running_loop().create_task(self._speak())

    async def _speak(self) -> None:
        deployment = self.attempts.deployment
        # While people are waited for, nobody knows yet how long the answer may take.
        total = math.inf if self.queued else 0.0
        if deployment is not None:
            total = deployment.server.settings.timeouts.total
        headers = with_limits([(b"x-request-id", self.id.encode())], self.caller, self.purse)
        if self.plan is not None:
            decision = self.plan.decision
            headers.append((b"x-td-decision", (self.id if decision is None else decision.id).encode()))
        if self.queued:
            headers.append((b"x-td-queue-id", self.queued.encode()))
        await self._begin_stream(200, headers, asyncio.get_running_loop().time() + total)
        await self._send({"type": "http.response.body", "body": self._ping(), "more_body": True})

    def _wait_for_silence(self) -> None:
        if seconds := self.serving.config.limits.stream_ping:
            self._silence = asyncio.get_running_loop().call_later(seconds, self._begin_early)

    def _kept(self) -> bool:
        """Whether this becomes a row. Who was not let in leaves none; where nobody needs a key, few of those that
        asked nothing which can be read."""
        caller = self.caller
        if caller is None:
            return False
        return self.plan is not None or bool(caller.id) or not self._services.refusals.take()

    async def _refuse(self, error: GatewayError) -> None:
        self.status = error.status
        self.error = error.code or error.type
        if error.removed:
            self.removed = bounded(error.removed)
        if self._begun_early is not None:
            await self._begun_early
            self.status = 200
            event = stream_error(self.endpoint, error)
            await self._send({"type": "http.response.body", "body": event, "more_body": True})
            await self._send({"type": "http.response.body", "body": b""})
        if self._started:
            return
        body = error.anthropic() if self.endpoint.startswith("messages") else error.openai()
        await send_json(self._send, error.status, self._describe(list(error.headers), self.plan), body)

    def _describe(self, headers: Headers, plan: Plan | None) -> Headers:
        """What the client is told beside the answer, added to what the upstream says; whose request id stays."""
        for name, _ in headers:
            if name == b"x-request-id":
                break
        else:
            headers.append((b"x-request-id", self.id.encode()))
        if plan is not None:
            decision = plan.decision
            done = self.attempts
            if done.model is not None:
                headers.append((b"x-td-model", header_value(done.model.name)))
            if agent := plan.agent_of(done.model):
                headers.append((b"x-td-agent", header_value(agent)))
            headers.append((b"x-td-decision", self.id.encode() if decision is None else decision.id.encode()))
            headers.append((b"x-td-reason", header_value(done.reason or plan.reason)))
            headers.append((b"x-td-routed-by", header_value(plan.route)))
            if done.fallbacks:
                headers.append((b"x-td-fallbacks", b"%d" % done.fallbacks))
            if adapted := done.adapted if self.incoming is None else self.incoming.mended + done.adapted:
                headers.append((b"x-td-adapted", ",".join(adapted).encode()))
            if self.tools is not None:
                headers += of_tools(self.tools)
            if decision is not None and decision.level:
                headers.append((b"x-td-level", b"%d" % decision.level))
            if (covered := plan.covered(done.model)) is not None:
                headers.append((b"x-td-guarantee", header_value(covered)))
        if self.queued:
            headers.append((b"x-td-queue-id", self.queued.encode()))
        return with_limits(headers, self.caller, self.purse)

    def watch(self) -> None:
        """Begins to look whether the client is still there."""
        self._watcher = asyncio.get_running_loop().create_task(self._wait_for_disconnect())
        self._wait_for_silence()

    async def _wait_for_disconnect(self) -> None:
        # Before the body is read its reader learns that the client is gone.
        while self.incoming is None:
            await asyncio.sleep(INSTANT)
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._task is not None:
            self._task.cancel()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
