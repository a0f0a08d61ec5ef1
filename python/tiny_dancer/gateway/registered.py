"""``/v1/agents``: which agents a client may ask, what is believed of them, and which of them a request is about.

A client sees the agents it may reach, and no more: a key that is limited to models sees the agents that lead to
these. Metadata, where addresses of agent cards stand, is shown to nobody.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from tiny_dancer.errors import CandidateError, OptionError, RequestError
from tiny_dancer.gateway.choosing.targets import AGENT, AgentsTarget, EnsembleTarget, agent_of
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream.deployments import ServedModel
from tiny_dancer.names import nearest
from tiny_dancer.storage.agents import observed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tiny_dancer.gateway.access.caller import Caller
    from tiny_dancer.gateway.choosing.serving import Serving
    from tiny_dancer.gateway.choosing.targets import Target

USUAL: Final = 10
"""Agents of a search where nobody says how many."""

_FILTERS: Final = ("capability", "tag", "type", "region")
_DECLARED: Final = (
    "type",
    "description",
    "capabilities",
    "tags",
    "region",
    "version",
    "input_cost_per_1k",
    "output_cost_per_1k",
    "cached_input_cost_per_1k",
    "cost_per_call",
    "cost_per_second",
    "context",
    "quality",
    "max_concurrency",
    "requests_per_minute",
    "tokens_per_minute",
    "members",
)


class _Search(msgspec.Struct, forbid_unknown_fields=True):
    """``/v1/agents/search``."""

    query: str | list[msgspec.Raw]
    limit: Annotated[int, Meta(ge=1, le=1_000)] = USUAL
    capabilities: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    region: str | None = None


_search = msgspec.json.Decoder(_Search).decode
_texts: Final = {"type": "array", "items": {"type": "string"}}
SEARCH: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "query": {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "minItems": 1, "items": {"type": "object"}},
            ],
            "description": "A text, or chat messages.",
        },
        "limit": {"type": "integer", "minimum": 1, "maximum": 1_000},
        "capabilities": _texts,
        "tags": _texts,
        "types": _texts,
        "region": {"type": ["string", "null"]},
    },
    "required": ["query"],
    "additionalProperties": False,
}
"""The body of ``/v1/agents/search`` as OpenAPI has it."""


def visible(serving: Serving, caller: Caller, target: Target) -> bool:
    """Whether a client may know of what a name stands for: not of models its key may not use."""
    if isinstance(target, ServedModel):
        return caller.allows(target.name)
    agents = serving.agents
    if isinstance(target, EnsembleTarget):
        return all(visible(serving, caller, agents.targets[each]) for each in target.members)
    if isinstance(target, AgentsTarget):
        members = agents.groups[target.group].members
        return any(visible(serving, caller, agents.targets[each]) for each in members)
    return True


def described(serving: Serving, name: str) -> dict[str, Any]:
    """An agent that can be asked, as clients see it."""
    agents = serving.agents
    agent, target = agents.registry[name], agents.targets[name]
    found: dict[str, Any] = {
        "id": f"{AGENT}{name}",
        "object": "agent",
        "created": 0,
        "owned_by": target.deployments[0].server.name if isinstance(target, ServedModel) else "tiny-dancer",
        "name": name,
    }
    found |= {field: getattr(agent, field) for field in _DECLARED}
    found["latency_ms"] = None if agent.latency_s is None else 1000.0 * agent.latency_s
    found["endpoints"] = sorted(target.endpoints) if isinstance(target, ServedModel) else []
    seen = observed(agents.records[name].state)
    latency = seen["latency_s"]
    found["observed"] = {
        "outcomes": seen["outcomes"],
        "quality": seen["quality"],
        "success_rate": seen["success_rate"],
        "cost": seen["cost"],
        "latency_ms": None if latency is None else 1000.0 * latency,
    }
    return found


def agents(serving: Serving, caller: Caller, query: bytes) -> dict[str, Any]:
    """``GET /v1/agents``: all, or with ``capability``, ``tag``, ``type``, ``region`` those that have all of these.

    Raises:
        GatewayError: 400, a parameter that is none.
    """
    wanted: dict[str, list[str]] = {name: [] for name in _FILTERS}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in wanted:
            near = nearest(name[:100], (*_FILTERS, "query"))
            hint = 'POST /v1/agents/search {"query": …} searches' if near == "query" else f"did you mean {near}?"
            raise _invalid(name[:100], f"there is no such parameter; {hint if near else ', '.join(_FILTERS)}")
        wanted[name].append(value)
    found = _filtered(
        serving,
        caller,
        wanted["capability"],
        wanted["tag"],
        wanted["type"],
        wanted["region"][-1] if wanted["region"] else None,
    )
    return {"object": "list", "data": [described(serving, name) for name in found]}


def agent(serving: Serving, caller: Caller, name: str) -> dict[str, Any]:
    """``GET /v1/agents/{name}``, with or without ``agent-`` before it.

    Raises:
        GatewayError: 404, there is none that this client may ask.
    """
    targets = serving.agents.targets
    given = agent_of(name)
    known = name if name in targets or given is None else given
    if known not in targets or not visible(serving, caller, targets[known]):
        near = nearest(known[:100], [each for each in targets if visible(serving, caller, targets[each])])
        hint = f"did you mean {near}?" if near else "GET /v1/agents lists those there are."
        raise GatewayError(
            404, f"There is no agent '{name[:200]}' to be asked; {hint}", param="agent", code="agent_not_found"
        )
    return described(serving, known)


async def search(serving: Serving, caller: Caller, body: bytes) -> dict[str, Any]:
    """``POST /v1/agents/search``: the agents that a request is about, best first; no call to anybody.

    Raises:
        GatewayError: 400, it cannot be read.
    """
    try:
        asked = _search(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise GatewayError(400, f"Invalid search: {str(error)[:300]}.", code="invalid_value") from error
    left = set(_filtered(serving, caller, asked.capabilities, asked.tags, asked.types, asked.region))
    registry = serving.agents.registry
    said = asked.query if isinstance(asked.query, str) else msgspec.json.decode(msgspec.json.encode(asked.query))
    try:
        # All of them: how many of the best this client may see is not known before. Beside the loop, as the first
        # search reads every card.
        found = await asyncio.to_thread(registry.search, said, max(len(registry), 1))
    except (RequestError, OptionError, CandidateError) as error:
        raise _invalid("query", f"{error.value}; {error.remedy}") from error
    data = [
        {**described(serving, each.name), "score": each.score, "relevance": each.relevance}
        for each in found
        if each.name in left
    ]
    return {"object": "list", "data": data[: asked.limit]}


def _filtered(
    serving: Serving,
    caller: Caller,
    capabilities: Iterable[str],
    tags: Iterable[str],
    types: Sequence[str],
    region: str | None,
) -> list[str]:
    """Names of the agents that a client may ask and that have all of these, in order."""
    targets, registry = serving.agents.targets, serving.agents.registry
    able, tagged = set(capabilities), set(tags)
    return [
        name
        for name in sorted(targets)
        if visible(serving, caller, targets[name])
        and able <= set(registry[name].capabilities)
        and tagged <= set(registry[name].tags)
        and (not types or registry[name].type in types)
        and region in (None, registry[name].region)
    ]


def _invalid(param: str, why: str) -> GatewayError:
    return GatewayError(400, f"Invalid '{param}': {why}.", param=param, code="invalid_value")
