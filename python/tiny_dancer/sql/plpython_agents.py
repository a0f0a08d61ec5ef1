"""Agents, budgets and routes by likeness, as PostgreSQL's functions in plpython3u have them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import (
    NoFeasibleModelError,
    OptionError,
)
from tiny_dancer.routing.agents import AgentRegistry, AgentRouter, assign
from tiny_dancer.routing.zero_shot import probabilities
from tiny_dancer.sql.plpython_server import (
    rows_of,
)
from tiny_dancer.storage import Agent
from tiny_dancer.storage.agents import AgentRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def checked_agent(server: Any, declaration: str) -> str:
    """A declaration as it is stored."""
    return Agent.from_json(declaration).to_json()


class _Table:
    """Agents that were read, as the storage of a registry."""

    def __init__(self, records: list[AgentRecord]) -> None:
        self._records = records

    def agent_changes(self) -> int:
        return 0

    def agents(self) -> list[AgentRecord]:
        return self._records


def _agents(server: Any) -> AgentRegistry:
    """The agents of the table, as the present role sees them now.

    They are read anew for each call: what may be kept of them depends on snapshots, roles and policies of rows.
    """
    rows = rows_of(server, "SELECT declared, state FROM tiny_dancer.agent ORDER BY name")
    records = [AgentRecord(Agent.from_json(row["declared"]), row["state"] or "", 0.0) for row in rows]
    return AgentRegistry(storage=_Table(records), clock=lambda: _now(server))  # type: ignore[arg-type]


def _now(server: Any) -> float:
    """UTC seconds when the present statement began."""
    query = "SELECT extract(epoch FROM statement_timestamp())::double precision AS now"
    moment: float = rows_of(server, query)[0]["now"]
    return moment


def check_agents(server: Any) -> None:
    """Refuses a table in which a row is no agent."""
    _agents(server).engine.check_members()


def agent_state_after(server: Any, state: str | None, outcome: str | None, half_life: float | None) -> str | None:
    """The sums of an agent after one more outcome."""
    return None if outcome is None else _core.agent_state_after(state or "", outcome, half_life)


def choose_agent(server: Any, query: str) -> str:
    """The agent of the table that a query wants, as the engine answers."""
    try:
        asked = json.loads(query)
    except (ValueError, RecursionError):
        asked = None
    if isinstance(asked, dict):
        query = json.dumps({"now": _now(server)} | asked)
    return _agents(server).engine.choose_json(query)


def choose_among(server: Any, agents: str | None, query: str | None, half_life: float | None) -> str | None:
    """The same among agents that are given."""
    if agents is None or query is None:
        return None
    found = _core.AgentSet(half_life)
    found.put(agents)
    return found.choose_json(query)


_ROUTE_OPTIONS = (
    "task", "types", "excluded", "tags", "region", "input_tokens", "cached_tokens", "output_tokens", "weights",
    "level", "explore", "qualities", "now",
)  # fmt: skip


def _bound(most: float | None) -> float | None:
    """What SQL says without a bound: null, or infinity."""
    return None if most == math.inf else most


def _asked(
    server: Any,
    request: str,
    optimize_for: str | None,
    required_capabilities: list[str | None] | None,
    max_cost: float | None,
    max_latency_ms: float | None,
    min_quality: float | None,
    budget_remaining: float | None,
    options: str | None,
) -> dict[str, Any]:
    """A query of the engine's; null says nothing."""
    if max_latency_ms is not None and not max_latency_ms > 0:
        raise OptionError("max_latency_ms", max_latency_ms, "give a time above 0: nothing takes none")
    further = {} if options is None else json.loads(options)
    if not isinstance(further, dict):
        raise OptionError("options", options, "give an object of options")
    unknown = next((name for name in further if name not in _ROUTE_OPTIONS), None)
    if unknown is not None:
        raise OptionError("options", unknown, f"the options are {', '.join(_ROUTE_OPTIONS)}")
    if optimize_for is not None and optimize_for not in _core.AGENT_POLICIES:
        raise OptionError("optimize_for", optimize_for, f"use one of {', '.join(_core.AGENT_POLICIES)}")
    required = required_capabilities or []
    if None in required:
        place = required.index(None) + 1
        raise OptionError(f"required_capabilities[{place}]", None, "give texts without a null among them")
    query = {
        "optimize_for": optimize_for or "balanced",
        "required_capabilities": required,
        "max_cost": _bound(max_cost),
        "max_latency": None if (latency := _bound(max_latency_ms)) is None else latency / 1000,
        "min_quality": min_quality,
        "budget_remaining": _bound(budget_remaining),
        "input_tokens": float(math.ceil(len(request.encode()) / 4)),
    } | {name: value for name, value in further.items() if value is not None}
    return query if "now" in query else query | {"now": _now(server)}


def route(server: Any, request: str | None, *asked: Any) -> dict[str, Any] | None:
    """Which agent answers a request, and what is expected of it; None of no request."""
    if request is None:
        return None
    query = json.dumps(_asked(server, request, *asked))
    found = json.loads(_agents(server).engine.choose_json(query))
    latency = found["latency"]
    return {
        "agent_name": found["agent"],
        "confidence": found["confidence"],
        "estimated_cost": found["cost"],
        "estimated_latency": None if latency is None else latency * 1000,
        "expected_quality": found["quality"],
        "reason": found["reason"],
        "runner_up": found["runner_up"],
    }


def route_multi(server: Any, request: str | None, *given: Any) -> Iterator[dict[str, Any]]:
    """The agents of a pipeline, or those that answer together, one a row."""
    *bounds, number, strategy, combine = given
    if request is None:
        return
    asked, agents = _asked(server, request, *bounds), _agents(server)
    number, strategy = 3 if number is None else number, strategy or "pipeline"
    required = asked["required_capabilities"]
    inferred = not required and strategy != "ensemble"
    if inferred:
        required = _about(agents, request, number)
    latency = asked["max_latency"]
    weights = {"weights": asked["weights"]} if asked["optimize_for"] == "weights" and "weights" in asked else {}
    plan = AgentRouter(agents).route_multi(
        request,
        number,
        strategy,  # type: ignore[arg-type]  # refused by name
        optimize_for=asked["optimize_for"],
        required_capabilities=required,
        combine=combine or "vote",
        types=asked.get("types", ()),
        max_cost=asked["max_cost"],
        max_latency_ms=None if latency is None else latency * 1000,
        min_quality=asked["min_quality"],
        excluded=asked.get("excluded", ()),
        tags=asked.get("tags", ()),
        region=asked.get("region"),
        budget_remaining=asked["budget_remaining"],
        input_tokens=asked["input_tokens"],
        output_tokens=asked.get("output_tokens"),
        level=asked.get("level", 0.9),
        now=asked["now"],
        **weights,
    )
    reason = plan.reason + ("; capabilities by likeness to the request" if inferred else "")
    for place, step in enumerate(plan.steps):
        yield {
            "step": place + 1,
            "agent_name": step.agent,
            "capabilities": list(step.capabilities),
            "expected_quality": step.quality,
            "estimated_cost": step.estimated_cost,
            "estimated_latency": step.estimated_latency_ms,
            "total_quality": plan.quality,
            "total_cost": plan.estimated_cost,
            "total_latency": plan.estimated_latency_ms,
            "reason": reason,
        }


_MOST_CAPABILITIES = 12
"""That are shared out among several agents (``several.rs``)."""


def _about(agents: AgentRegistry, request: str, number: int) -> list[str]:
    """The capabilities a request is most about."""
    active = (agent for agent in agents.agents if agent.active)
    known = sorted({capability for agent in active for capability in agent.capabilities})
    if not known:
        remedy = "register agents with capabilities, or use the strategy ensemble"
        raise OptionError("required_capabilities", "none, and no agent has any", remedy)
    cards = [
        {"name": name, "description": name.replace("-", " ").replace("_", " "), "capabilities": [], "examples": []}
        for name in known
    ]
    most = min(max(number, 1), _MOST_CAPABILITIES)
    found = _core.AgentCards(_core.sentence_encoder(), json.dumps(cards)).search(request, most)
    return [name for name, _, _ in found]


def _query(asked: Mapping[str, Any], policy: str) -> _core.AgentQuery:
    """The query that all requests of a batch share; what is spent of a budget is theirs together."""
    weights = {"quality": 1.0, "cost": 10.0, "latency": 0.01} | (asked.get("weights") or {})
    return _core.AgentQuery(
        policy,
        (weights["quality"], weights["cost"], weights["latency"]),
        asked["required_capabilities"],
        asked.get("task"),
        asked.get("types", ()),
        asked.get("excluded", ()),
        asked.get("tags", ()),
        asked.get("region"),
        (asked["max_cost"], asked["budget_remaining"], asked["max_latency"]),
        asked["min_quality"],
        asked.get("level", 0.9),
        asked.get("explore"),
    )


class _Expected:
    """What is expected of each agent on each request: arrays [requests, agents]; cost NaN where one is removed."""

    def __init__(
        self,
        agents: AgentRegistry,
        query: _core.AgentQuery,
        tokens: Sequence[float],
        now: float,
        output: Sequence[float] | None = None,
    ) -> None:
        self.names = agents.engine.names()
        asked = np.array(tokens, np.float64).tobytes()
        answers = None if output is None else np.array(output, np.float64).tobytes()
        shape = (len(tokens), len(self.names))
        columns = agents.engine.expect(query, asked, now, answers, None)
        self.quality, self.cost, self.latency = (np.frombuffer(each, "<f8").reshape(shape) for each in columns)


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def batch_route(server: Any, requests: list[str | None] | None, *given: Any) -> Iterator[dict[str, Any]]:
    """Which agent answers each of many requests, all of them together, one a row."""
    word, required, max_cost, max_latency_ms, min_quality, budget, options, least, capacities = given
    if requests is None:
        return
    word = word or "total_cost"
    texts = [each for each in requests if each is not None]
    if len(texts) != len(requests):
        place = requests.index(None) + 1
        raise OptionError(f"requests[{place}]", None, "give texts without a null among them")
    whole = word in ("total_cost", "quality")
    if not whole and (least is not None or capacities is not None):
        field = "min_mean_quality" if least is not None else "capacities"
        raise OptionError(field, f"beside {word}", "set optimize_for to total_cost or quality")
    if word == "quality" and least is not None:
        raise OptionError("min_mean_quality", "beside quality", "leave it out where quality is maximised")
    asked = _asked(server, "", None, required, max_cost, max_latency_ms, min_quality, budget, options)
    agents = _agents(server)
    if not texts:
        return
    names = agents.engine.names()
    if not names:
        raise NoFeasibleModelError("agents", "no agents", "register agents first")
    own = json.loads(options or "{}").get("input_tokens")
    tokens = [float(own) if own is not None else float(math.ceil(len(text.encode()) / 4)) for text in texts]
    if whole:
        asked = asked | {"budget_remaining": None}
        rooms = json.loads(capacities) if capacities is not None else {}
        unknown = next((name for name in rooms if name not in names), None)
        if unknown is not None:
            raise OptionError("capacities", unknown, "name agents that are registered")
        expected = _Expected(agents, _query(asked, "cost"), tokens, asked["now"])
        chosen = assign(
            expected.quality,
            expected.cost,
            optimize_for="quality" if word == "quality" else "total_cost",
            min_mean_quality=least,
            budget=budget,
            capacities=[rooms.get(name) for name in names] if rooms else None,
        ).columns.tolist()
    else:
        if word not in _core.AGENT_POLICIES:
            known = ", ".join(_core.AGENT_POLICIES)
            raise OptionError("optimize_for", word, f"use total_cost, or one of {known}")
        query = _query(asked, word)
        expected = _Expected(agents, query, tokens, asked["now"])
        answers = [agents.engine.choose(query, each, asked["now"]).agent for each in tokens]
        chosen = [names.index(agent) for agent in answers]
    places = (np.arange(len(texts)), chosen)
    total, mean = _known(expected.cost[places].sum()), _known(expected.quality[places].mean())
    for row, (text, column) in enumerate(zip(texts, chosen, strict=True)):
        yield {
            "request_index": row + 1,
            "request": text,
            "agent_name": names[column],
            "expected_quality": _known(expected.quality[row, column]),
            "estimated_cost": _known(expected.cost[row, column]),
            "estimated_latency": _known(expected.latency[row, column] * 1000),
            "mean_quality": mean,
            "total_cost": total,
        }


_MOST_REQUESTS = 1e6
"""That a budget is given to agents for."""


def allocate_budget(
    server: Any,
    tokens: str | None,
    monthly_budget: float | None,
    quality_threshold: float | None,
    latency_threshold_ms: float | None,
    requests_a_month: float | None,
) -> list[dict[str, Any]]:
    """Which requests are worth which agent within a budget, one a row."""
    try:
        asked = np.array(json.loads(tokens or "[]"), np.float64).reshape(-1, 3)
    except (ValueError, TypeError) as error:
        raise OptionError("tokens", error, "give [[prompt, answer, requests], …]") from error
    for field, value, wrong, remedy in (
        ("monthly_budget", monthly_budget, lambda usd: usd < 0 or usd != usd, "give USD, 0 or more"),
        ("quality_threshold", quality_threshold, lambda q: not 0 <= q <= 1, "give a mean quality from 0 to 1"),
        ("latency_threshold_ms", latency_threshold_ms, lambda ms: not ms > 0, "give a time above 0"),
        ("requests_a_month", requests_a_month, lambda n: not 0 <= n < math.inf, "give a finite number, 0 or more"),
    ):
        if value is not None and wrong(value):
            raise OptionError(field, value, remedy)
    total = float(asked[:, 2].sum())
    if total > _MOST_REQUESTS:
        remedy = "give counts that sum to at most 1,000,000: what is asked in which proportions"
        raise OptionError("tokens", f"{total:g} requests", remedy)
    if not total:
        return []
    each = (requests_a_month or 0.0) / total
    slowest = None if latency_threshold_ms is None else latency_threshold_ms / 1000
    agents = _agents(server)
    if not agents.engine.names():
        raise NoFeasibleModelError("agents", "no agents", "register agents first")
    bounds: dict[str, Any] = dict.fromkeys(("max_cost", "budget_remaining", "min_quality"))
    query = _query(bounds | {"required_capabilities": [], "max_latency": slowest}, "cost")
    output = np.where(asked[:, 1] > 0, asked[:, 1], np.nan)
    expected = _Expected(agents, query, asked[:, 0].tolist(), _now(server), output.tolist())
    rows = np.repeat(np.arange(len(asked)), asked[:, 2].astype(np.int64))
    quality, cost, latency = expected.quality[rows], expected.cost[rows] * each, expected.latency[rows]
    try:
        found = assign(quality, cost, optimize_for="quality", budget=monthly_budget)
    except NoFeasibleModelError as error:
        field = "monthly_budget" if error.field == "budget" else error.field
        raise NoFeasibleModelError(field, error.value, error.remedy) from None
    sufficient = quality_threshold is None or found.quality >= quality_threshold - 1e-9
    counts = np.bincount(found.columns, minlength=len(expected.names))
    order = sorted(range(len(counts)), key=lambda agent: (-counts[agent], expected.names[agent].encode()))
    answers = []
    for agent in order:
        own = np.flatnonzero(found.columns == agent)
        answers.append(
            {
                "agent_name": expected.names[agent],
                "share": len(own) / total,
                "monthly_requests": len(own) * each,
                "allocated_budget": _known(cost[own, agent].sum()),
                "expected_quality": _known(quality[own, agent].mean()) if len(own) else None,
                "expected_latency": _known(latency[own, agent].mean() * 1000) if len(own) else None,
                "mean_quality": _known(found.quality),
                "total_cost": _known(found.cost),
                "sufficient": bool(sufficient),
            }
        )
    return answers


def budget_ledger(server: Any, budget: str, start: int, since: int) -> dict[str, Any]:
    """The limit of a budget, and what all holders have drawn, as of now: whoever asks holds the budget's lock."""
    isolation = rows_of(server, "SELECT current_setting('transaction_isolation') AS level")[0]["level"]
    if isolation != "read committed":
        # Such a transaction does not see what was drawn since it began: it would be promised twice.
        remedy = "reserve in a transaction of READ COMMITTED; the extension can in any"
        raise OptionError("transaction_isolation", isolation, remedy)
    query = (
        "SELECT (SELECT most FROM tiny_dancer.budget WHERE id = $1) AS most, "
        "(SELECT sum(drawn) FROM tiny_dancer.budget_spending WHERE budget = $1 "
        "AND (start = $2 OR ($3 < $2 AND start >= $3))) AS drawn"
    )
    found: dict[str, Any] = dict(rows_of(server, query, ("text", budget), ("bigint", start), ("bigint", since))[0])
    return found


def _unit(values: Sequence[float | None], field: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    found = np.array([math.nan if value is None else value for value in values], np.float64)
    wrong = np.flatnonzero(~np.isfinite(found))
    if len(wrong):
        raise OptionError(field, f"[{wrong[0] + 1}] is no finite number", "give finite numbers")
    length = float(np.sqrt((found * found).sum()))
    if not length > 0:
        remedy = "give a vector of another length than 0, such as tiny_dancer.embed gives"
        raise OptionError(field, "all 0" if len(found) else "empty", remedy)
    return found / length


def direction(server: Any, embedding: str, field: str) -> list[float]:
    """The numbers of a vector that is written as a list, of those that have a direction."""
    text = embedding.strip()
    try:
        if text[:1] + text[-1:] not in ("{}", "[]"):
            raise ValueError(text)
        values = [float(np.float32(each)) for each in text[1:-1].split(",")] if text[1:-1].strip() else []
    except ValueError:
        raise OptionError(field, text[:40], "give a list of numbers without nulls, such as real[]") from None
    _unit(values, field)
    return values


_USUAL_ROUTES = 3


def semantic_route(
    server: Any, embedding: Sequence[float | None] | None, top_k: int | None
) -> list[dict[str, Any]]:
    """The agents whose examples are most like an embedding, one a row."""
    if embedding is None:
        return []
    top_k = _USUAL_ROUTES if top_k is None else top_k
    if top_k < 1:
        raise OptionError("top_k", top_k, "ask for one route or more")
    wanted = _unit(embedding, "embedding")
    query = "SELECT name, target_agent, priority, embedding FROM tiny_dancer.semantic_route"
    routes = list(rows_of(server, query))
    likeness = np.zeros(len(routes))
    for place, route in enumerate(routes):
        field = f"embedding of route '{route['name']}'"
        direction = _unit(route["embedding"], field)
        if direction.shape != wanted.shape:
            value = f"{len(direction)} numbers, the request has {len(wanted)}"
            remedy = "compare vectors of one encoder: create the route anew, or give the request's vector yourself"
            raise OptionError(field, value, remedy)
        likeness[place] = direction @ wanted
    if not routes:
        return []
    confidence = probabilities(likeness)
    order = sorted(
        range(len(routes)),
        key=lambda place: (-likeness[place], -routes[place]["priority"], routes[place]["name"].encode()),
    )
    return [
        {
            "route_name": routes[place]["name"],
            "similarity": min(max(float(likeness[place]), -1.0), 1.0),
            "target_agent": routes[place]["target_agent"],
            "confidence": float(confidence[place]),
            "priority": routes[place]["priority"],
        }
        for place in order[:top_k]
    ]
