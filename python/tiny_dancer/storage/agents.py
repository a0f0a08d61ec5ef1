"""Agents as storage keeps them: what was declared, what came of their calls, and what storage does with both.

Times are UTC seconds since 1970, latencies are seconds, money is USD, quality is from 0 to 1.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

from tiny_dancer import _core
from tiny_dancer.errors import CandidateError, OptionError
from tiny_dancer.names import hint
from tiny_dancer.storage.ledger import check_request_history
from tiny_dancer.storage.values import amount, flag, given, integer, plain, settle, share, stored_text, utc_seconds
from tiny_dancer.types import PriceTier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tiny_dancer.storage.history import Feedback
    from tiny_dancer.storage.ledger import RequestQuery
    from tiny_dancer.types import RequestRecord

DEFAULT_HALF_LIFE_S = 30 * 86_400.0
"""Seconds after which an outcome counts half."""


@dataclass(frozen=True, slots=True)
class Agent:
    """Somebody or something that can answer requests, checked when it is made.

    Declared values are priors: each is worth ``prior_weight`` outcomes.

    Attributes:
        name: what it goes by, once in a registry.
        type: ``llm``, ``tool``, ``api``, ``human`` or ``ensemble``.
        description: what it does, in words: searches read it.
        capabilities: what it can do, by names that requests ask for.
        examples: requests it answers: searches read them.
        input_cost_per_1k: USD per 1,000 tokens of the prompt, or None where nobody knows.
        output_cost_per_1k: the same of the answer.
        cached_input_cost_per_1k: of the prompt, what the agent has in its cache; None: as ``input_cost_per_1k``.
        price_tiers: other prices of long prompts, **per token**, as
            :class:`~tiny_dancer.types.PriceTier` has them.
        cost_per_call: USD per request, or None.
        cost_per_second: USD per second it takes, or None.
        output_tokens: tokens of a usual answer, until answers are observed.
        latency_s: mean seconds to the whole answer, or None where nobody knows.
        latency_p99_s: their 99th percentile, or None.
        quality: expected quality of its answers, or None where nobody knows.
        task_quality: the same by capability or task.
        success_rate: share of calls that are answered at all, or None: all, until one fails.
        prior_weight: how many outcomes a declared value is worth.
        context: most tokens of prompt and answer, or None for no limit.
        max_concurrency: calls at once, or None. Whoever calls counts (``loads`` of :meth:`AgentRouter.route`), as
            the gateway does.
        requests_per_minute: or None; likewise.
        tokens_per_minute: or None; likewise.
        tags: what else requests may ask for.
        region: where it serves, or None: not said, so that requests that ask for a region leave it out.
        members: of an ensemble, the agents it asks.
        metadata: anything that is JSON.
        active: whether it may be chosen.
        version: of the declaration, as its owner counts.

    Raises:
        CandidateError: a field is not what it should be.
    """

    name: str
    type: str = "llm"
    description: str = ""
    capabilities: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    input_cost_per_1k: float | None = None
    output_cost_per_1k: float | None = None
    cached_input_cost_per_1k: float | None = None
    price_tiers: tuple[PriceTier, ...] = ()
    cost_per_call: float | None = None
    cost_per_second: float | None = None
    output_tokens: float | None = 256.0
    latency_s: float | None = None
    latency_p99_s: float | None = None
    quality: float | None = None
    task_quality: Mapping[str, float] = field(default_factory=dict)
    success_rate: float | None = None
    prior_weight: float = 5.0
    context: int | None = None
    max_concurrency: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tags: tuple[str, ...] = ()
    region: str | None = None
    members: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    active: bool = True
    version: str = "1"

    def __post_init__(self) -> None:
        error = CandidateError
        settle(self, "name", stored_text("name", self.name, error=error))
        kind = plain(self.type)
        if kind not in _core.AGENT_TYPES:
            raise error("type", self.type, f"use one of {', '.join(_core.AGENT_TYPES)}")
        settle(self, "type", kind)
        for name in ("description", "version"):
            settle(self, name, stored_text(name, getattr(self, name), empty=name == "description", error=error))
        settle(self, "region", stored_text("region", self.region, optional=True, error=error))
        for name in ("capabilities", "examples", "tags", "members"):
            settle(self, name, _names(name, getattr(self, name)))
        for name in (
            "input_cost_per_1k",
            "output_cost_per_1k",
            "cached_input_cost_per_1k",
            "cost_per_call",
            "cost_per_second",
            "output_tokens",
        ):
            settle(self, name, given(amount, name, getattr(self, name), error=error))
        for name in ("latency_s", "latency_p99_s"):
            seconds = given(amount, name, getattr(self, name), error=error)
            if seconds == 0:
                raise error(name, seconds, "give seconds above 0, or None where nobody knows")
            settle(self, name, seconds)
        for name in ("quality", "success_rate"):
            settle(self, name, share(name, getattr(self, name), error=error))
        if not hasattr(self.task_quality, "items"):
            raise error("task_quality", type(self.task_quality).__name__, "give {task: quality}")
        tasks = {
            stored_text("task_quality", task, error=error): share(
                f"task_quality[{task!r}]", value, required=True, error=error
            )
            for task, value in self.task_quality.items()
        }
        settle(self, "task_quality", tasks)
        settle(self, "prior_weight", amount("prior_weight", self.prior_weight, error=error))
        for name in ("context", "max_concurrency", "requests_per_minute", "tokens_per_minute"):
            most = given(integer, name, getattr(self, name), error=error)
            if most == 0:
                raise error(name, most, "give 1 or more, or None for no limit")
            settle(self, name, most)
        settle(self, "active", flag("active", self.active, error=error))
        if not isinstance(self.price_tiers, tuple) or not all(
            isinstance(tier, PriceTier) for tier in self.price_tiers
        ):
            raise error("price_tiers", type(self.price_tiers).__name__, "give a tuple of PriceTier")
        if not isinstance(self.metadata, dict):
            raise error("metadata", type(self.metadata).__name__, "give a dict of JSON values")
        try:
            json.dumps(self.metadata, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as problem:
            raise error("metadata", problem, "give values that are JSON") from None
        # The rest is the engine's to judge: prices together, percentiles, members.
        _core.AgentSet().put(f"[{self.engine_json()}]")

    def engine_json(self, state: str = "") -> str:
        """This agent as the engine reads it, with what was observed of it."""
        per_token = {
            "price_input": _per_token(self.input_cost_per_1k),
            "price_output": _per_token(self.output_cost_per_1k),
            "price_cached_input": _per_token(self.cached_input_cost_per_1k),
            "price_request": self.cost_per_call,
        }
        prices: dict[str, Any] = {name: value for name, value in per_token.items() if value is not None}
        if self.price_tiers:
            prices["price_tiers"] = [_tier(tier) for tier in self.price_tiers]
        document = {
            "name": self.name,
            "type": self.type,
            "capabilities": self.capabilities,
            "tags": self.tags,
            "region": self.region,
            "active": self.active,
            "prices": prices,
            "price_second": self.cost_per_second,
            "output_tokens": self.output_tokens,
            "latency": self.latency_s,
            "latency_p99": self.latency_p99_s,
            "quality": self.quality,
            "task_quality": self.task_quality,
            "success": self.success_rate,
            "prior_weight": self.prior_weight,
            "context": self.context,
            "members": self.members,
        }
        text = json.dumps(document)
        return f'{text[:-1]}, "state": {state}}}' if state else text

    def to_json(self) -> str:
        """All fields, as :meth:`from_json` reads them."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        values["price_tiers"] = [
            {name: value for name in PriceTier.__slots__ if (value := getattr(tier, name)) is not None}
            for tier in self.price_tiers
        ]
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Agent:
        """Reads what :meth:`to_json` wrote.

        Raises:
            CandidateError: it is no agent.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as problem:
            raise CandidateError("agent", problem, "give a JSON object of an agent's fields") from None
        return cls.from_mapping(found)

    @classmethod
    def from_mapping(cls, found: Any, where: str = "agent") -> Agent:
        """An agent of its fields by name.

        Raises:
            CandidateError: a field that no agent has (it names the nearest), or a value that cannot be.
        """
        if not isinstance(found, dict):
            raise CandidateError(where, type(found).__name__, "give an object of an agent's fields")
        known = [each.name for each in fields(cls)]
        for name in found:
            if name not in known:
                remedy = hint(name, known).rstrip() or f"the fields are {', '.join(known)}"
                raise CandidateError(f"{where}.{name}", "unknown", remedy)
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) and name != "price_tiers" else value
            for name, value in found.items()
        }
        if "name" not in values:
            raise CandidateError(f"{where}.name", "missing", "give the agent a name")
        if "price_tiers" in values:
            try:
                values["price_tiers"] = tuple(PriceTier(**tier) for tier in values["price_tiers"])
            except TypeError as problem:
                raise CandidateError(f"{where}.price_tiers", problem, "give the fields of a PriceTier") from None
        return cls(**values)


def _names(field: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        raise CandidateError(field, value, "give a tuple of texts")
    listed = sorted(value) if isinstance(value, set | frozenset) else value
    found = [stored_text(f"{field}[{place}]", each, error=CandidateError) for place, each in enumerate(listed)]
    return tuple(dict.fromkeys(found))


def _per_token(per_1k: float | None) -> float | None:
    return None if per_1k is None else per_1k / 1000.0


def _tier(tier: PriceTier) -> dict[str, Any]:
    words = {
        "above_tokens": "above",
        "input_cost_per_token": "input",
        "output_cost_per_token": "output",
        "cache_read_input_token_cost": "cached_input",
        "cache_creation_input_token_cost": "cache_write",
    }
    found = {word: getattr(tier, name) for name, word in words.items()}
    return {word: value for word, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class AgentOutcome:
    """What came of one call of an agent, checked when it is made.

    Attributes:
        agent: its name.
        time: UTC seconds.
        quality: of the answer, from 0 to 1, or None where nobody knows.
        success: whether the call was answered; a failed one has no quality. None: of a call that was counted
            before, of whose answer more is known now.
        task: capability or task it was about, or None.
        cost: USD it cost, or None.
        expected_cost: USD that the choice had estimated, or None: with it, estimates learn how far they are off.
        latency_s: seconds it took, or None.
        output_tokens: tokens of the answer, or None.

    Raises:
        OptionError: a field is not what it should be.
    """

    agent: str
    time: float
    quality: float | None = None
    success: bool | None = True
    task: str | None = None
    cost: float | None = None
    expected_cost: float | None = None
    latency_s: float | None = None
    output_tokens: float | None = None

    def __post_init__(self) -> None:
        error = OptionError
        settle(self, "agent", stored_text("agent", self.agent, error=error))
        settle(self, "time", utc_seconds("time", self.time, error=error))
        settle(self, "quality", share("quality", self.quality, error=error))
        if self.success is not None:
            settle(self, "success", flag("success", self.success, error=error))
        if self.quality is not None and self.success is False:
            raise error("quality", self.quality, "leave it out of calls that failed")
        settle(self, "task", stored_text("task", self.task, optional=True, error=error))
        for name in ("cost", "expected_cost", "latency_s", "output_tokens"):
            settle(self, name, given(amount, name, getattr(self, name), error=error))
        if self.latency_s == 0:
            raise error("latency_s", 0, "give seconds above 0, or None where nobody knows")

    def engine_json(self) -> str:
        """This outcome as the engine reads it."""
        found = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "agent"}
        found["at"] = found.pop("time")
        found["latency"] = found.pop("latency_s")
        return json.dumps(found)


def outcomes_of(record: RequestRecord) -> tuple[AgentOutcome, ...]:
    """What came of the calls of agents that a gateway's request was for.

    An agent that failed has failed once, whatever served in its place. What is no doing of an agent is no outcome
    of its: a request that was refused, or whose client has left.

    What it took is known of the agent alone where no other was tried before it: its time, and its cost where a
    model was called.
    """
    at = record.time + record.latency
    found = [AgentOutcome(name, at, success=False) for name in record.agents_failed]
    answered = record.status < 400 and not record.error
    if record.agent and answered and record.agent not in record.agents_failed:
        alone = not record.fallbacks
        found.append(
            AgentOutcome(
                record.agent,
                at,
                cost=record.cost if alone and record.model and not record.guessed else None,
                latency_s=record.latency if alone and record.latency > 0 else None,
                output_tokens=record.output_tokens or None,
            )
        )
    return tuple(found)


def by_agent(outcomes: Iterable[AgentOutcome]) -> dict[str, list[AgentOutcome]]:
    """Outcomes, those of each agent in their order."""
    found: dict[str, list[AgentOutcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.agent, []).append(outcome)
    return found


def outcomes_of_feedback(
    feedback: Feedback, requests: Callable[[RequestQuery], Iterable[RequestRecord]]
) -> tuple[AgentOutcome, ...]:
    """What the first feedback about a decision says of the agent that answered a gateway's request, which is
    among those that ``requests`` finds; nothing where none did."""
    # Feedback about a request that was not routed is kept under the request's own id.
    for name in ("decision_id", "id"):
        for record in requests(check_request_history(None, None, {name: feedback.decision_id}, 1)):
            if not record.agent or record.agent in record.agents_failed:
                return ()
            return (AgentOutcome(record.agent, feedback.time, quality=feedback.score, success=None),)
    return ()


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """An agent with what was observed of it.

    Attributes:
        agent: as it was declared.
        state: sums over its outcomes that fade with their age, JSON of the engine's; empty without outcomes.
        updated_at: UTC seconds of the last declaration.
    """

    agent: Agent
    state: str
    updated_at: float

    def engine_json(self) -> str:
        """As the engine reads it."""
        return self.agent.engine_json(self.state)


class AgentStorage(Protocol):
    """Keeps agents and what came of their calls. Safe to use from many threads and processes.

    A write is durable when it returns. Outcomes give the same sums in whatever order they are written, up to the
    last digits of a double.

    Every method raises :class:`~tiny_dancer.errors.StorageError` where the database cannot be read or written.
    """

    def insert_agents(self, agents: Iterable[Agent], *, at: float, replace: bool = False) -> None:
        """Adds agents, all or none; with ``replace``, in place of those of their names, keeping what was observed.

        Raises:
            CandidateError: two of one name, or one that is stored already and ``replace`` is false.
        """
        ...

    def agents(self) -> tuple[AgentRecord, ...]:
        """All agents, inactive ones too, by name."""
        ...

    def delete_agent(self, name: str) -> bool:
        """Removes an agent and what was observed of it; false where there is none."""
        ...

    def set_agent_active(self, name: str, active: bool, *, at: float) -> bool:
        """Says whether an agent may be chosen; false where there is none."""
        ...

    def record_agent_outcome(self, outcome: AgentOutcome, *, half_life_s: float | None) -> AgentRecord:
        """Adds an outcome to the sums of its agent, and returns what there is then.

        Raises:
            CandidateError: no agent of this name.
        """
        ...

    def agent_changes(self) -> int:
        """A number that every write of the above raises: who has seen it has seen everything before."""
        ...


def check_agents(agents: Iterable[Agent]) -> tuple[Agent, ...]:
    """Agents to store.

    Raises:
        CandidateError: something else among them, or two of one name.
    """
    if isinstance(agents, Agent):
        agents = (agents,)
    found = tuple(agents)
    for place, each in enumerate(found):
        if not isinstance(each, Agent):
            raise CandidateError(f"agents[{place}]", type(each).__name__, "give an Agent(name, ...)")
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise CandidateError("agents", f"two of the name {name!r}", "give each a name of its own")
    return found


def state_after(state: str, outcome: AgentOutcome, half_life_s: float | None) -> str:
    """The sums with one more outcome."""
    return _core.agent_state_after(state, outcome.engine_json(), half_life_s)


def with_active(agent: Agent, *, active: bool) -> Agent:
    """The same agent, to be chosen or not."""
    return replace(agent, active=active)


def observed(state: str) -> Mapping[str, Any]:
    """What was observed of an agent, by name: ``outcomes`` in all, and means as of the last one."""
    found = json.loads(state) if state else {}

    def mean(name: str) -> float | None:
        sums = found.get(name) or {}
        weight = sums.get("weight", 0.0)
        return sums["sum"] / weight if weight > 0 else None

    return {
        "outcomes": found.get("outcomes", 0),
        "last": found.get("at"),
        "weight": math.fsum([found.get("quality", {}).get("weight", 0.0)]),
        "quality": mean("quality"),
        "success_rate": mean("success"),
        "cost": mean("cost"),
        "cost_ratio": mean("cost_ratio"),
        "latency_s": mean("latency"),
        "output_tokens": mean("output_tokens"),
        "tasks": {
            task: sums["sum"] / sums["weight"]
            for task, sums in found.get("tasks", {}).items()
            if sums["weight"] > 0
        },
    }
