"""What clients ask beside answers of models: the list of models, a decision alone, feedback, what was decided."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from tiny_dancer.errors import StorageError, TinyDancerError
from tiny_dancer.gateway import queue, registered
from tiny_dancer.gateway.account.tokens import tokens_saved
from tiny_dancer.gateway.choosing.incoming import OPTION_HEADERS, mended_fields, parse, parse_fields
from tiny_dancer.gateway.choosing.offering import offer_tools
from tiny_dancer.gateway.choosing.plan import following
from tiny_dancer.gateway.choosing.targets import AgentsTarget, ChainTarget, RouterTarget, agent_of
from tiny_dancer.gateway.errors import GatewayError, storage_unavailable
from tiny_dancer.gateway.http import read_headers, secrets_of, send_json, with_limits
from tiny_dancer.gateway.upstream.deployments import ServedModel
from tiny_dancer.routing.router import new_id
from tiny_dancer.storage import Feedback, hash_query
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tiny_dancer.gateway.access.admission import Caller
    from tiny_dancer.gateway.choosing.plan import Plan
    from tiny_dancer.gateway.choosing.serving import Serving
    from tiny_dancer.gateway.http import Headers, Receive, Scope, Send
    from tiny_dancer.gateway.services import Services
    from tiny_dancer.gateway.upstream.dialect import Endpoint


_METHODS: Final[Mapping[str, str]] = {
    "/openapi.json": "GET",
    "/v1/agents": "GET",
    "/v1/agents/search": "POST",
    "/v1/chat/completions": "POST",
    "/v1/completions": "POST",
    "/v1/decide": "POST",
    "/v1/decisions": "POST",
    "/v1/embeddings": "POST",
    "/v1/feedback": "POST",
    "/v1/messages": "POST",
    "/v1/models": "GET",
    "/v1/responses": "POST",
    "/v1/route": "POST",
}
_BY_ID: Final = ("/v1/agents/", "/v1/decisions/", "/v1/models/")
# What may have to be written first, for a client that asks about what it has just got.
_PATIENCE: Final = 2.0


class _FeedbackBody(msgspec.Struct, forbid_unknown_fields=True):
    """``/v1/feedback``: at least one of score and label."""

    id: Annotated[str, Meta(min_length=1, max_length=200)]
    score: Annotated[float, Meta(ge=0, le=1)] | None = None
    label: Literal["good", "bad"] | None = None
    text: Annotated[str, Meta(max_length=100_000)] | None = None


_feedback = msgspec.json.Decoder(_FeedbackBody).decode


async def serve(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers what is no call to a model; errors in OpenAI's shape."""
    headers: Headers = []
    try:
        status, body = 200, await _answer(services, scope, receive, headers)
    except GatewayError as error:
        status, body = error.status, error.openai()
        headers += error.headers
    await send_json(send, status, headers, body)


async def _answer(services: Services, scope: Scope, receive: Receive, answered: Headers) -> bytes:
    """The body of the answer; its headers are put into ``answered``."""
    path, method = scope["path"], scope["method"]
    queued = queue.split(path)
    by_id = next((each for each in _BY_ID if path.startswith(each) and len(path) > len(each)), None)
    by_id = None if path in _METHODS else by_id
    expected = "GET" if by_id else _METHODS.get(path)
    if queued is not None:
        expected = "POST" if queued[1] else "GET"
    if expected is None:
        raise GatewayError(404, f"Unknown address {method} {path[:200]}; {_hint(path)}", code="unknown_url")
    if method != expected and not (method == "HEAD" and expected == "GET"):
        raise not_allowed(path, method, expected)
    if path == "/openapi.json":
        from tiny_dancer.gateway.openapi import openapi_document  # seldom asked for, and large

        return openapi_document()
    given = scope["headers"]
    caller = services.access.identify(*secrets_of(given))
    if path == "/v1/route":  # only what a router is asked counts against a key's rates
        services.access.enter(caller)
    answered += with_limits([], caller)
    headers = read_headers(given)
    if queued is not None and method != "POST":
        query = scope.get("query_string", b"")
        return _encode(await queue.answer(services.storage, caller, *queued, query, b""))
    if by_id is not None:
        name = path[len(by_id) :]  # all of it: names may hold slashes
        if by_id == "/v1/agents/":
            return _encode(registered.agent(services.serving, caller, name))
        found = (
            _model(services, caller, name) if by_id == "/v1/models/" else await _decision(services, caller, name)
        )
        return _encode(found)
    if path == "/v1/agents":
        return _encode(registered.agents(services.serving, caller, scope.get("query_string", b"")))
    if path == "/v1/models":
        return _encode(_models(services, caller))
    body = await services.bodies.read(receive, services.serving.config.limits, headers.get(b"content-encoding"))
    try:
        if queued is not None:
            return _encode(await queue.answer(services.storage, caller, *queued, b"", body))
        if path == "/v1/agents/search":
            return _encode(await registered.search(services.serving, caller, body))
        if path == "/v1/feedback":
            return _encode(await _give_feedback(services, caller, body))
        return _encode(await _route(services, caller, body, headers, given))
    finally:
        services.bodies.held -= len(body)


def _hint(path: str) -> str:
    """What may have been meant: base URLs end with ``/v1``, but for Anthropic's libraries, which add it."""
    if path.startswith("/v1/v1/"):
        return f"did you mean {path[3:200]}? The base URL has /v1 where the library adds it."
    if f"/v1{path}" in _METHODS:
        return f"did you mean /v1{path}? The base URL ends with /v1."
    return "GET /openapi.json lists what there is."


def not_allowed(path: str, method: str, *allowed: str) -> GatewayError:
    """405: an address that other methods have."""
    return GatewayError(
        405,
        f"Not allowed to {method[:20]} on {path[:200]}; use {' or '.join(allowed)}.",
        code="method_not_allowed",
        headers=((b"allow", ", ".join(allowed).encode()),),
    )


def _models(services: Services, caller: Caller) -> dict[str, Any]:
    """``/v1/models``: what a client may name, as OpenAI lists it, with what routing knows beside it."""
    serving = services.serving
    names = serving.names.items()
    data = [
        _describe(serving, caller, name, target)
        for name, target in names
        if registered.visible(serving, caller, target)
    ]
    return {"object": "list", "data": data}


def _model(services: Services, caller: Caller, name: str) -> dict[str, Any]:
    target = services.serving.resolve(name)
    if not registered.visible(services.serving, caller, target):
        raise GatewayError(404, f"The model '{name[:200]}' does not exist.", param="model", code="model_not_found")
    return _describe(services.serving, caller, name, target)


def _describe(serving: Serving, caller: Caller, name: str, target: object) -> dict[str, Any]:
    found: dict[str, Any] = {"id": name, "object": "model", "created": 0, "owned_by": "tiny-dancer"}
    agent = agent_of(name)
    if agent is not None and target is serving.agents.targets.get(agent):
        found |= registered.described(serving, agent)
        found["object"] = "model"
    elif isinstance(target, ServedModel):
        settings = target.settings
        found["owned_by"] = target.deployments[0].server.name
        found["context_window"] = settings.context_window
        found["endpoints"] = sorted(target.endpoints)
        found["roles"] = settings.roles
        found["tags"] = settings.tags
        for price in (
            "input_cost_per_token",
            "output_cost_per_token",
            "cache_read_input_token_cost",
            "cost_per_request",
        ):
            found[price] = getattr(settings, price)
    elif isinstance(target, AgentsTarget):
        found["group"], found["policy"] = target.group, target.policy or serving.agents.groups[target.group].policy
    elif isinstance(target, ChainTarget):
        found["chain"] = target.chain
    elif isinstance(target, RouterTarget):
        found["router"] = target.router
        found["notes"] = [
            note
            for each in serving.routers[target.router].variants
            if all(map(caller.allows, each.router.models))  # they name models
            for note in each.notes(serving.models)
        ]
    return found


async def _route(
    services: Services,
    caller: Caller,
    body: bytes,
    headers: dict[bytes, bytes],
    given: Sequence[tuple[bytes, bytes]],
) -> dict[str, Any]:
    """``/v1/route``: the decision, without a call."""
    start, arrived = time.perf_counter(), time.time()
    options = {name: value for name, value in headers.items() if name in OPTION_HEADERS}
    fields, _ = mended_fields(body)
    endpoint: Endpoint = "chat.completions"
    if "messages" not in fields:
        endpoint = "responses" if "input" in fields else "completions" if "prompt" in fields else endpoint
    if "model" not in fields and "models" not in fields:
        body = msgspec.json.encode({**fields, "model": "auto"})
    incoming = parse(endpoint, body, options)
    owned = services.access.owned
    payers = owned.by_fields(owned.by_headers(caller.payers, headers), incoming.fields)
    serving, choice = services.serving, None
    if serving.leads and services.chooser.leader(serving, incoming) is not None:
        choice = await services.leads.lead(services, serving, incoming, caller, tuple(given), None)
    # Anthropic's requests have messages, too.
    anthropic = b'"input_schema"' in bytes(incoming.fields.get("tools", b""))
    tools = None
    if choice is None or choice.answer is None:
        protocol: Endpoint | None = "messages" if anthropic else None
        tools, _ = await offer_tools(serving, incoming, services.kept, protocol, choice)
    plan = services.chooser.plan(serving, incoming, caller, choice)
    decision, chosen = plan.decision, None if plan.answer is not None else plan.model
    record = RequestRecord(
        id=new_id(),
        time=arrived,
        endpoint="route",
        key=caller.id,
        asked=incoming.asked,
        status=200,
        model="" if chosen is None else chosen.name,
        decision_id=None if decision is None else decision.id,
        router=plan.router,
        routed_by=plan.routed_by,
        reason=plan.reason,
        level=0 if decision is None else decision.level,
        confidence=None if decision is None else decision.confidence,
        scores=None if decision is None else decision.scores,
        role=plan.asked.role,
        cost=0.0,  # known, and not without a price: no model was called
        baseline_cost=0.0,
        latency=time.perf_counter() - start,
        query_hash=hash_query(plan.said) if plan.said else None,
        query_text=plan.said if serving.config.log.prompts else None,
        artifact_version="" if decision is None else decision.artifact_version,
        variant=plan.variant,
        hops=plan.route if plan.hops else "",
        tool_selection="" if tools is None else tools.how,
        tools_before=0 if tools is None else tools.before,
        tools_sent=0 if tools is None else tools.sent,
        tool_tokens_saved=0 if tools is None else tokens_saved(tools),
        user=payers.user,
        team=payers.team,
        project=payers.project,
        tags=payers.tags,
        route=plan.intent,
        removed=plan.removed({}),
    )
    services.accounting.put(record)
    found = _decided(plan)
    found["id"] = record.id if decision is None else decision.id
    found["models"] = [] if chosen is None else [chosen.name, *(each.name for each in following(plan))]
    return found


def _decided(plan: Plan) -> dict[str, Any]:
    decision = plan.decision
    found: dict[str, Any] = {} if decision is None else _plain(msgspec.to_builtins(decision))
    found["object"] = "decision"
    found["model"] = plan.model.name if plan.answer is None else None
    if plan.hops:
        found["hops"] = [hop._asdict() for hop in plan.hops]
    if plan.answer is not None:
        found["answer"] = plan.answer
    found["routed_by"], found["reason"] = plan.routed_by, plan.reason
    found["router"], found["role"] = plan.router or None, plan.asked.role
    return found


async def _decision(services: Services, caller: Caller, id: str) -> dict[str, Any]:
    """``/v1/decisions/{id}``: what was decided, what it cost, and the feedback on it."""
    record = await _find(services, caller, id)
    ids = [record.decision_id or record.id]
    feedback = await asyncio.to_thread(services.storage.feedback_history, decision_ids=ids, limit=100)
    found: dict[str, Any] = _plain(msgspec.to_builtins(record))
    found["object"] = "decision"
    found["request_id"], found["id"] = record.id, ids[0]
    found["feedback"] = [
        {"score": each.score, "text": each.text, "time": each.time} for each in feedback if not each.candidate_id
    ]
    return found


async def _give_feedback(services: Services, caller: Caller, body: bytes) -> dict[str, Any]:
    """``/v1/feedback``, by the id of an answer, a decision or a request; a later one replaces an earlier."""
    parse_fields(body)
    try:
        given = _feedback(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise GatewayError(400, f"Invalid feedback: {str(error)[:300]}.", code="invalid_value") from error
    score = given.score
    if given.label is not None:
        meant = 1.0 if given.label == "good" else 0.0
        if score is not None and (score >= 0.5) != (meant >= 0.5):
            raise GatewayError(
                400,
                f"The score {score} contradicts the label '{given.label}'.",
                param="label",
                code="invalid_value",
            )
        score = meant if score is None else score
    if score is None:
        raise GatewayError(
            400,
            "Give a score in [0, 1], or a label ('good' or 'bad').",
            param="score",
            code="missing_required_parameter",
        )
    record = await _find(services, caller, given.id)
    id = record.decision_id or record.id
    try:
        feedback = Feedback(decision_id=id, score=score, time=time.time(), text=given.text)
        await asyncio.to_thread(services.storage.record_feedback, feedback)
    except StorageError as error:
        if error.field in ("text", "score", "decision_id"):
            raise GatewayError(400, f"Invalid {error}.", param=error.field, code="invalid_value") from error
        raise storage_unavailable() from error
    services.serving.learn(record, score)
    return {"object": "feedback", "id": id, "score": score}


async def _find(services: Services, caller: Caller, id: str) -> RequestRecord:
    """The record of an answer's, a decision's or a request's id; only the caller's own."""

    def find() -> RequestRecord | None:
        for written in (False, True):
            if written:
                services.accounting.flush(_PATIENCE)
            history = services.storage.request_history
            own = partial(history, key=caller.id, limit=1)
            if found := own(decision_id=id) or own(response_id=id) or own(request_id=id):
                return found[0]
        return None

    try:
        record = await asyncio.to_thread(find) if id.isprintable() and len(id) <= 200 else None
    except TinyDancerError as error:
        raise storage_unavailable() from error
    if record is None:
        raise GatewayError(
            404,
            f"No answer, decision or request has the id '{id[:200]}'.",
            param="id",
            code="decision_not_found",
        )
    return record


def _plain(value: Any) -> Any:
    """NaN, which JSON has not, becomes null."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and value != value else value


def _encode(value: Any) -> bytes:
    return msgspec.json.encode(value)
