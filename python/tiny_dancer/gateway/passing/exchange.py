"""One request that is passed on, from the client's bytes to the last byte of its answer, and the record of it.

Nothing is asked twice that must not be done twice: another deployment of a model is tried only where nothing has
reached the one before, where that has refused for want of room (429), or where asking twice does nothing.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from msgspec import Struct

from tiny_dancer.errors import TinyDancerError
from tiny_dancer.gateway.access.payers import header_text
from tiny_dancer.gateway.access.purse import purse_of
from tiny_dancer.gateway.account.funding import Funding, beside
from tiny_dancer.gateway.account.tokens import Prompt
from tiny_dancer.gateway.choosing.asked import Asked
from tiny_dancer.gateway.choosing.chooser import named
from tiny_dancer.gateway.choosing.incoming import (
    LONGEST_NAME,
    NO_OPTIONS,
    OPTION_HEADERS,
    Incoming,
    parse,
    parse_fields,
    read_model,
)
from tiny_dancer.gateway.choosing.offering import search_in
from tiny_dancer.gateway.choosing.targets import AgentsTarget, RouterTarget
from tiny_dancer.gateway.endpoints import not_allowed
from tiny_dancer.gateway.errors import AnswerCut, GatewayError, storage_unavailable
from tiny_dancer.gateway.exchange import Exchange
from tiny_dancer.gateway.http import passed_on, read_headers, secrets_of, send_json
from tiny_dancer.gateway.passing import account
from tiny_dancer.gateway.passing.counting import estimate
from tiny_dancer.gateway.passing.forms import read_form
from tiny_dancer.gateway.passing.table import Means
from tiny_dancer.gateway.upstream import attempts
from tiny_dancer.gateway.upstream.attempts import Failure
from tiny_dancer.gateway.upstream.clients.base import (
    LARGEST_ANSWER,
    CallError,
    Phase,
    read_error,
)
from tiny_dancer.gateway.upstream.deployments import Deployment
from tiny_dancer.gateway.upstream.dialect import Adapted
from tiny_dancer.gateway.upstream.kinds import KINDS
from tiny_dancer.gateway.upstream.proxy import forwarded, nobody, settle_stream
from tiny_dancer.gateway.upstream.translate.fields import encode
from tiny_dancer.resilience import Category

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tiny_dancer.gateway.http import Headers, Receive, Scope, Send
    from tiny_dancer.gateway.passing.table import Passage
    from tiny_dancer.gateway.services import Services
    from tiny_dancer.gateway.upstream.clients.base import Reply
    from tiny_dancer.gateway.upstream.dialect import Endpoint
    from tiny_dancer.types import RequestRecord

UPSTREAM_HEADER: Final = b"x-td-upstream"
ESTIMATED: Final = (b"x-td-estimated", b"true")

# The gateway's own, or Azure's, whose version the configuration gives.
_OWN_QUERY: Final = (b"upstream", b"api-version")
# Headers of an answer that belong to its body.
_OF_THE_BODY: Final = ("content-type", "content-length", "content-disposition", "content-language")
# Seconds to wait for a record that may have to be written first.
_PATIENCE: Final = 2.0
# Requests of one key whose answers have the same id, at most: one makes a response, none has another's id.
_MOST_OF_ONE_ID: Final = 100
# A server without this endpoint.
_NOT_THERE: Final = (404, 405, 501)


class _Sent(Struct):
    """What goes to an upstream.

    Attributes:
        content_type: of the body; empty without one.
        body: by what the upstream calls the model.
        query: with its question mark, or empty.
    """

    content_type: str
    body: Callable[[Deployment], bytes]
    query: str = ""


class PassedExchange(Exchange):
    """One request that is passed on. Make one, await :meth:`run`, forget it."""

    __slots__ = ("_passage",)

    def __init__(
        self, services: Services, passage: Passage, receive: Receive, send: Send, model: str | None = None
    ) -> None:
        # Its name is for the account alone: what is passed on is looked up in no table of endpoints.
        super().__init__(services, cast("Endpoint", passage.passed.endpoint), receive, send, model)
        self._passage = passage

    async def _serve(self, scope: Scope) -> None:
        services, passed = self._services, self._passage.passed
        given = dict(scope["headers"])
        if services.tracer is not None:
            traced = (given.get(b"traceparent"), given.get(b"tracestate"))
            parents = [None if each is None else each.decode("latin-1") for each in traced]
            self.trace = services.tracer.start(self.endpoint, parents[0], parents[1], scope["method"])
        # Before anything else is said about the request: of strangers nothing is kept.
        caller = self.caller = services.access.identify(*secrets_of(scope["headers"]))
        services.access.enter(caller)
        headers = read_headers(scope["headers"])
        self.payers = services.access.owned.by_headers(caller.payers, headers)
        body = await self._body(headers)
        content_type = given.get(b"content-type", b"").decode("latin-1")
        query = scope.get("query_string") or b""
        if passed.means is Means.COUNT:
            options = {name: headers[name] for name in OPTION_HEADERS if name in headers}
            deployments, sent = await self._counting(body, options)
            if not deployments:
                await self._estimated()
                return
        elif passed.means is Means.MODEL:
            deployments, sent = self._for_model(body, content_type)
        else:
            self.incoming = Incoming(self.endpoint, {}, False, "", (), NO_OPTIONS)
            if passed.means is Means.UPSTREAM:
                deployments = [self._upstream(given.get(UPSTREAM_HEADER), query, scope["method"])]
            else:
                deployments = [await self._maker()]
            sent = _Sent(content_type if body else "", lambda _: body, _passed_query(query))
        if self.purse is not None and self.plan is not None:
            # The bytes of sound and pictures are no text.
            text = 0 if content_type.lower().lstrip().startswith("multipart/form-data") else len(body)
            assert self.incoming is not None
            self.prompt = Prompt(self.incoming, self.plan, text)
            funding = self.attempts.funds = Funding(self, self.purse, services.accounting)
            await funding.reserve(self.plan.model)
        try:
            reply, deployment, token = await self._ask(deployments, scope["method"], sent, passed_on(headers))
        except Failure as failure:
            if passed.means is Means.COUNT and failure.error.status in _NOT_THERE:
                await self._estimated()
                return
            raise failure.error from failure
        await self._pass_back(reply, deployment, token)

    # Who is meant, and what is sent.

    def _for_model(self, body: bytes, content_type: str) -> tuple[list[Deployment], _Sent]:
        """The deployments of the model that a body names, and the body with each one's word for it."""
        passed, services = self._passage.passed, self._services
        make: Callable[[Deployment], bytes]
        if content_type.lower().lstrip().startswith("multipart/form-data"):
            filters = False
            form = read_form(content_type, body)
            asked = form.model
            if asked is not None and len(asked) > LONGEST_NAME:
                raise GatewayError(400, "The model's name is too long.", param="model", code="invalid_value")
            make = lambda deployment: form.naming(deployment.upstream_model)  # noqa: E731
        else:
            fields = parse_fields(body)
            fields.pop("td", None)
            self.payers = services.access.owned.by_fields(self.payers, fields)
            filters = "provider" in fields
            asked = read_model(fields["model"]) if "model" in fields else None
            content_type = "application/json"
            make = lambda deployment: encode({**fields, "model": deployment.upstream_model})  # noqa: E731
        asked = self._model or asked or self._unnamed()
        incoming = self.incoming = Incoming(self.endpoint, {}, False, asked, (), NO_OPTIONS)
        assert self.caller is not None
        self.purse = purse_of(self.caller, self.payers, services.budgets)
        incoming.cheaper = self._cheaper()
        plan = self.plan = named(Asked(self.serving, incoming, self.caller, passed.role))
        self.attempts.model = plan.model
        able = [each for each in plan.model.deployments if each.server.settings.kind != "anthropic"]
        if not able:
            raise GatewayError(
                400,
                f"The model '{plan.model.name}' does not serve {passed.endpoint}.",
                param="model",
                code="unsupported_endpoint",
            )
        if filters and not all(each.server.openrouter for each in able):
            # What restricts must not be passed over.
            raise GatewayError(
                400,
                f"'provider' is not kept on {passed.endpoint}; leave it out, and name the model or x-td-upstream.",
                param="provider",
                code="unsupported_parameter",
            )
        return _by_weight(able), _Sent(content_type, make)

    def _unnamed(self) -> str:
        """The model of a request that names none."""
        passed, serving = self._passage.passed, self.serving
        if (default := serving.config.roles.get(passed.role)) is not None and passed.role != "chat":
            return default.model
        if passed.usual in serving.names:
            return passed.usual
        usual = f" OpenAI's usual one, {passed.usual}, is none here." if passed.usual else ""
        raise GatewayError(400, f"You must provide a model: a name.{usual}", param="model", code="missing_model")

    def _upstream(self, header: bytes | None, query: bytes, method: str) -> Deployment:
        """The upstream that a request without a model names, or the only one it can mean."""
        serving, caller = self.serving, self.caller
        assert caller is not None
        if (
            self._passage.passed.endpoint == "batches"
            and method == "POST"
            and not self._passage.id
            and (caller.models is not None or purse_of(caller, self.payers, self._services.budgets) is not None)
        ):
            raise GatewayError(
                403,
                "The gateway sees neither a batch's models nor its costs: a key with a list of models, or that a "
                "budget falls on, may not make one.",
                code="batches_not_allowed",
            )
        allowed = set(serving.bare)
        if caller.models is not None:
            models = (serving.models[name] for name in caller.models if name in serving.models)
            allowed = {each.server.name for model in models for each in model.deployments}
        wanted = header or dict(each.partition(b"=")[::2] for each in query.split(b"&")).get(b"upstream")
        if wanted:
            name = header_text(wanted)
            if name not in serving.bare:
                raise GatewayError(
                    404,
                    f"There is no upstream '{name[:200]}' here; there are {', '.join(sorted(allowed))}.",
                    param="upstream",
                    code="upstream_not_found",
                )
            if name not in allowed:
                raise GatewayError(
                    403, f"This API key may not use the upstream '{name}'.", code="upstream_not_allowed"
                )
            return serving.bare[name]
        able = sorted(name for name in allowed if serving.servers[name].settings.kind != "anthropic")
        if len(able) == 1:
            return serving.bare[able[0]]
        if not able:
            raise GatewayError(
                404, f"No upstream serves {self.endpoint} for this key.", code="unsupported_endpoint"
            )
        raise GatewayError(
            400,
            f"Several upstreams have {self.endpoint}: {', '.join(able)}. Name the one you mean in the header "
            f"{UPSTREAM_HEADER.decode()}, or as ?upstream=.",
            param="upstream",
            code="upstream_required",
        )

    async def _maker(self) -> Deployment:
        """The upstream that made a response for this key."""
        id, services, caller = self._passage.id, self._services, self.caller
        assert caller is not None
        history = partial(services.storage.request_history, response_id=id, key=caller.id, limit=_MOST_OF_ONE_ID)

        def look() -> RequestRecord | None:
            for written in (False, True):
                if written:
                    services.accounting.flush(_PATIENCE)
                if found := [each for each in history() if each.endpoint == "responses"]:
                    return found[0]
            return None

        try:
            made = await asyncio.to_thread(look) if id.isprintable() else None
        except TinyDancerError as error:
            raise storage_unavailable() from error
        server = None if made is None else self.serving.servers.get(made.upstream)
        if made is None:
            why = "this key has made no such response here"
        elif server is None:
            why = f"the upstream that made it, '{made.upstream}', is no longer configured"
        elif server.settings.kind == "anthropic":
            why = f"the upstream that made it, '{made.upstream}', keeps none"
        else:
            return self.serving.bare[server.name]
        raise GatewayError(
            404, f"Response with id '{id[:200]}' not found: {why}.", param="response_id", code="response_not_found"
        )

    async def _counting(self, body: bytes, options: dict[bytes, bytes]) -> tuple[list[Deployment], _Sent]:
        """The deployments that count tokens for the model named; none where the gateway has to."""
        incoming = self.incoming = parse("messages", body, options)
        self.payers = self._services.access.owned.by_fields(self.payers, incoming.fields)
        incoming.stream = False
        # What a search may find is no part of the prompt before it has.
        await search_in(incoming, self._services.kept)
        serving, caller = self.serving, self.caller
        assert caller is not None
        deployments: list[Deployment] = []
        default = serving.config.roles.get("chat")
        name = default.model if incoming.asked == "auto" and default is not None else incoming.asked
        if not isinstance(serving.resolve(name), RouterTarget | AgentsTarget):
            model = named(Asked(serving, incoming, caller, "chat")).model
            deployments = [each for each in model.deployments if each.server.settings.kind == "anthropic"]

        def make(deployment: Deployment) -> bytes:
            asked = deployment.routes["messages"].dialect.request(
                incoming.as_sent(searches=deployment.server.settings.tool_search == "native"),
                deployment.upstream_model,
            )
            return asked.body if isinstance(asked, Adapted) else asked

        return _by_weight(deployments), _Sent("application/json", make)

    # The upstream.

    async def _ask(
        self, deployments: Sequence[Deployment], method: str, sent: _Sent, extra: Sequence[tuple[str, str]]
    ) -> tuple[Reply, Deployment, int]:
        """An answer that has begun; its deployment stays admitted until :func:`settle_stream`.

        Raises:
            Failure: no deployment gave one.
        """
        last: Failure | None = None
        # What its tokens cost, where it is known whose they are.
        model = None if self.plan is None else self.plan.model
        for deployment in deployments:
            if (token := deployment.admit(self.endpoint)) is None:
                continue
            funds = self.attempts.funds
            again = last is not None and last.worked
            if again and funds is not None and model is not None and not await funds.again(model):
                deployment.withdraw(self.endpoint, token)
                break
            self.attempts.deployment = deployment
            self.attempts.calls += 1
            self.attempts.calling = model
            try:
                return await self._call(deployment, token, method, sent, extra), deployment, token
            except Failure as failure:
                last = failure
                self.attempts.calling = None
                if failure.worked and model is not None:
                    self.attempts.lost.append(model)
                if not failure.again:
                    break
        name = deployments[0].model or deployments[0].server.name
        raise last or nobody(name, deployments, self.endpoint)

    async def _call(
        self, deployment: Deployment, token: int, method: str, sent: _Sent, extra: Sequence[tuple[str, str]]
    ) -> Reply:
        server, passed = deployment.server, self._passage.passed
        kind = KINDS[server.settings.kind]
        span = None
        if self.trace is not None:
            span = self.trace.attempt(deployment.model, server.name, server.settings.kind)
            if span.traceparent is not None:
                extra = [pair for pair in extra if pair[0] not in ("traceparent", "tracestate")]
                extra.append(("traceparent", span.traceparent))
                if span.tracestate is not None:
                    extra.append(("tracestate", span.tracestate))
        repeatable = passed.repeatable or method == "GET"
        status, category, code = None, None, "cancelled"
        done = False
        try:
            url = kind.url(server.settings, deployment.upstream_model, self._passage.path)
            if sent.query:
                url += f"{'&' if '?' in url else '?'}{sent.query}"
            of_body = [("content-type", sent.content_type)] if sent.content_type else []
            target = server.client.target(
                url, [*of_body, *kind.headers(server.settings)], method, repeatable=repeatable
            )
            try:
                reply = await server.client.stream(target, extra, sent.body(deployment))
            except CallError as error:
                failure = attempts.of_call(error, repeatable)
                category = failure.category
                raise failure from error
            status = reply.status
            if status >= 300:
                failure = await _refusal(reply, deployment)
                # What is passed on says little about whoever serves chats there: only its own failures count.
                category = failure.category if status >= 500 else None
                failure.again = failure.again and (repeatable or status == 429)
                code = failure.error.code or ""
                raise failure
            done = True
            return reply
        except Failure:
            settle_stream(deployment, self.endpoint, token, category)
            raise
        except BaseException:
            # The client went away, or its request cannot be put to this upstream: no verdict.
            deployment.breaker(self.endpoint).cancel(token)
            deployment.leave()
            raise
        finally:
            if span is not None:
                span.end(status, None if done else code)

    # The client.

    async def _pass_back(self, reply: Reply, deployment: Deployment, token: int) -> None:
        category: Category | None = None
        end = asyncio.get_running_loop().time() + deployment.server.settings.timeouts.total
        try:
            content_type = next((value for name, value in reply.headers if name == "content-type"), "").lower()
            self.status = reply.status
            if content_type.startswith("application/json") and not self._passage.passed.file:
                await self._whole(reply)
            else:
                await self._streamed(reply, content_type, end)
            self.attempts.calling = None
        except CallError as error:
            category = Category.TIMEOUT if error.phase is Phase.TIMEOUT else Category.UPSTREAM
            if not self._started:
                if self.plan is not None:
                    self.attempts.calling = None
                    self.attempts.lost.append(self.plan.model)
                raise attempts.of_call(error, repeatable=False).error from error
            self.error = "stream_cut"
            raise AnswerCut from error
        finally:
            settle_stream(deployment, self.endpoint, token, category)
            await reply.close()

    async def _whole(self, reply: Reply) -> None:
        """JSON: read to its end, for what it says of itself."""
        parts: list[bytes] = []
        size = 0
        while (part := await reply.chunk()) is not None:
            parts.append(part)
            if (size := size + len(part)) > LARGEST_ANSWER:
                raise CallError(Phase.BROKEN, "the answer of the model's server is too large")
        body = b"".join(parts)
        model = None if self.plan is None else self.plan.model
        usage, id = account.read_answer(body)
        if self._passage.passed.means is not Means.MAKER:  # whose id is that of what was made before
            self.answer_id = id
        headers = self._answering(reply, whole=True)
        if model is not None:
            self.usage = usage or account.untold(model)
            if self.usage is not None and (cost := model.cost(self.usage)) is not None:
                headers.append((b"x-td-cost", b"%.9g" % (cost + sum(beside(self).paid.values()))))
        self._started = True
        self.first = time.perf_counter()
        headers.append((b"content-length", b"%d" % len(body)))
        await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def _streamed(self, reply: Reply, content_type: str, end: float) -> None:
        """Sound, pictures, text, a file, or events: as they come, until the attempt's time is over."""
        send = self._send
        headers = self._answering(reply, whole=False)
        events = content_type.startswith("text/event-stream")
        if events:
            assert self.incoming is not None
            self.incoming.stream = True
            headers += [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        # Events may be long in coming, and a client is told at once that they will. Anything else has begun.
        chunk = b"" if events else await reply.chunk()
        self._started = True
        seconds = self.serving.config.limits.stream_ping
        await send(
            {
                "type": "http.response.start",
                "status": reply.status,
                "headers": headers,
                "ping": (seconds, self._ping()) if events and seconds else None,
                "until": end,
            }
        )
        tail = b""
        try:
            while chunk is not None:
                if self.first is None and chunk:
                    self.first = time.perf_counter()
                if events:
                    tail = (tail + chunk)[-account.TAIL :]
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                chunk = await reply.chunk()
            self.first = self.first or time.perf_counter()
            await send({"type": "http.response.body", "body": b""})
        finally:
            if self.plan is not None:
                self.usage = account.read_tail(tail) or account.untold(self.plan.model)

    async def _estimated(self) -> None:
        """The gateway's own count."""
        assert self.incoming is not None
        self.attempts.deployment = None  # one that does not count has not served
        body = encode({"input_tokens": estimate(self.incoming)})
        self.status = 200
        self._started = True
        self.first = time.perf_counter()
        await send_json(self._send, 200, self._describe([ESTIMATED], None), body)

    def _answering(self, reply: Reply, *, whole: bool) -> Headers:
        """Headers for the client: of the body, of the upstream, of the gateway."""
        named = [
            (name.encode(), value.encode("latin-1", "replace"))
            for name, value in reply.headers
            if name in _OF_THE_BODY and not (whole and name == "content-length")
        ]
        headers = self._describe(forwarded(reply.headers), self.plan)
        if self.plan is None and self.attempts.deployment is not None:
            headers.append((UPSTREAM_HEADER, self.attempts.deployment.server.name.encode()))
        return headers + named


async def _refusal(reply: Reply, deployment: Deployment) -> Failure:
    """What an answer that serves nobody comes to; it is closed."""
    try:
        body = await read_error(reply)
    finally:
        await reply.close()
    if reply.status < 400:
        return attempts.of_answer(f"status {reply.status}", worked=False)
    error = deployment.routes["chat.completions"].dialect.failure(reply.status, body)
    error.headers = (*error.headers, *forwarded(reply.headers))
    error.strike(deployment.server.secrets)
    return attempts.of_status(error, reply.headers)


async def pass_on(
    services: Services, passage: Passage, scope: Scope, receive: Receive, send: Send, model: str | None = None
) -> None:
    """Serves a request whose address was found in the table; ``model``: named by the address."""
    allowed = passage.passed.methods
    if scope["method"] in allowed:
        await PassedExchange(services, passage, receive, send, model).run(scope)
    else:
        error = not_allowed(scope["path"], scope["method"], *allowed)
        await send_json(send, error.status, list(error.headers), error.openai())


def _by_weight(deployments: Iterable[Deployment]) -> list[Deployment]:
    """In an order drawn by weight, as :meth:`ServedModel.pick` draws it."""
    return sorted(deployments, key=lambda each: random.expovariate(each.settings.weight))


def _passed_query(query: bytes) -> str:
    """The query as the client sent it, without what is the gateway's."""
    kept = [each for each in query.split(b"&") if each and each.partition(b"=")[0] not in _OWN_QUERY]
    return b"&".join(kept).decode("latin-1")
