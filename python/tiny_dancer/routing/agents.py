"""Which of many agents answers a request, and what that may cost: a registry that learns, and choices over it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import CandidateError, NoFeasibleModelError, NoSuitableAgentError, OptionError
from tiny_dancer.routing.requests import as_engine, listed_requests
from tiny_dancer.storage.agents import (
    DEFAULT_HALF_LIFE_S,
    Agent,
    AgentOutcome,
    AgentRecord,
    AgentStorage,
    check_agents,
    observed,
)
from tiny_dancer.storage.memory import MemoryStorage
from tiny_dancer.storage.values import number, texts

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer._core import AgentChoice
    from tiny_dancer.routing.requests import Request
    from tiny_dancer.routing.router import Router
    from tiny_dancer.storage import Outcome

__all__ = [
    "AgentAssignment",
    "AgentFound",
    "AgentPlan",
    "AgentRegistry",
    "AgentRouter",
    "AgentStep",
    "Assignment",
    "assign",
]

AgentPolicy: TypeAlias = Literal["cost", "latency", "quality", "balanced", "quality_per_dollar", "weights"]
"""What a choice maximises, each in one unit:

========================  ====================================================================================
``cost``                  -USD: the cheapest of the agents that meet ``min_quality``
``latency``               -seconds: the fastest of them
``quality``               expected quality, from 0 to 1
``balanced``              quality - ``quality_per_usd`` * USD - ``quality_per_second`` * seconds; what is known of
                          nobody that is left does not tell them apart, and is left out
``quality_per_dollar``    quality / USD: wholly good answers a dollar; what costs nothing gives infinitely many
``weights``               the caller's: ``quality`` * quality - ``cost`` * USD - ``latency`` * seconds
========================  ====================================================================================

Else, an agent of which nobody knows what the policy weighs is removed, with ``cost_unknown`` or
``latency_unknown``.
"""

BYTES_PER_TOKEN = 4
"""Of a request whose tokens nobody counted."""

_CACHED = 512  # queries kept ready
_SHRINKAGE = 20.0  # requests in common that the usual correlation of errors is worth


@dataclass(frozen=True, slots=True)
class AgentFound:
    """An agent that a search has found.

    Attributes:
        name: of the agent.
        score: how far it stands out among all; comparable within one search only.
        relevance: cosine of the request and what is nearest to it of the agent's description and examples, in
            [0, 1]; no probability.
    """

    name: str
    score: float
    relevance: float


class AgentRegistry:
    """The agents there are, with what is known of each. Safe to use from many threads; a database, from processes.

    Example:
        >>> registry = AgentRegistry([
        ...     Agent("small", capabilities=("summarise",), quality=0.7, cost_per_call=0.001, latency_s=0.4),
        ...     Agent("large", capabilities=("summarise",), quality=0.9, cost_per_call=0.02, latency_s=1.5),
        ... ])
        >>> AgentRouter(registry).route("Sum this up: ...", optimize_for="quality").agent
        'large'

    A declared value is a prior worth ``prior_weight`` outcomes; what :meth:`observe` is told moves it, and counts
    half after ``half_life_s``. The methods are those of ``belief.rs`` in the engine: Beta posteriors of quality
    and success, log-normal ones of cost and time.
    """

    def __init__(
        self,
        agents: Iterable[Agent] = (),
        *,
        storage: AgentStorage | None = None,
        half_life_s: float | None = DEFAULT_HALF_LIFE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Reads the agents in ``storage`` and adds ``agents``.

        Args:
            agents: to add, or to replace those of their names in the storage.
            storage: where they are kept; by default in this process's memory.
            half_life_s: seconds after which an outcome counts half; None: always in full. Every process that uses
                a storage has to say the same.
            clock: gives UTC seconds.

        Raises:
            CandidateError: an agent that cannot be, two of one name, or ensembles in a circle.
            OptionError: a half-life that is not above 0.
        """
        self._engine = _core.AgentSet(half_life_s)
        self.half_life_s = half_life_s
        self.storage: AgentStorage = MemoryStorage() if storage is None else storage
        self.clock = clock
        self._lock = threading.RLock()
        self._records: dict[str, AgentRecord] = {}
        self._seen = -1
        self._search: _core.AgentCards | None = None
        self.refresh()
        listed = check_agents(agents)
        if listed:
            self.add(*listed, replace=True)

    @property
    def engine(self) -> _core.AgentSet:
        """The agents as the engine holds them."""
        return self._engine

    def refresh(self) -> bool:
        """Takes over what other processes have written since; false where there was nothing."""
        with self._lock:
            changes = self.storage.agent_changes()
            if changes == self._seen:
                return False
            records = {record.agent.name: record for record in self.storage.agents()}
            for name in self._records.keys() - records.keys():
                self._engine.remove(name)
            changed = [record for name, record in records.items() if self._records.get(name) != record]
            if changed:
                self._engine.put(f"[{', '.join(record.engine_json() for record in changed)}]")
            declared = {name: record.agent for name, record in self._records.items()}
            if declared != {name: record.agent for name, record in records.items()}:
                self._search = None
            self._records = records
            self._seen = changes
            return True

    def add(self, *agents: Agent, replace: bool = False) -> None:
        """Adds agents, all or none.

        Args:
            agents: to add.
            replace: put them in place of those of their names, which keep what was observed of them.

        Raises:
            CandidateError: two of one name, one that is there already, or an ensemble whose members are not
                there or ask each other in a circle.
        """
        listed = check_agents(agents)
        with self._lock:
            self.refresh()
            if not replace:
                for agent in listed:
                    if agent.name in self._records:
                        remedy = "give it another name, or add it with replace=True"
                        raise CandidateError("name", agent.name, remedy)
            everybody = {name: record.agent for name, record in self._records.items()}
            everybody.update((agent.name, agent) for agent in listed)
            _check_members(everybody.values())
            self.storage.insert_agents(listed, at=self.clock(), replace=replace)
            self.refresh()

    def remove(self, name: str) -> None:
        """Removes an agent and what was observed of it.

        Raises:
            CandidateError: there is none of this name, or an ensemble asks it.
        """
        with self._lock:
            self._known(name)
            _check_members(record.agent for other, record in self._records.items() if other != name)
            self.storage.delete_agent(name)
            self.refresh()

    def deactivate(self, name: str) -> None:
        """Leaves an agent out of choices, and keeps what is known of it.

        Raises:
            CandidateError: there is none of this name.
        """
        self._set_active(name, active=False)

    def activate(self, name: str) -> None:
        """Lets an agent be chosen again.

        Raises:
            CandidateError: there is none of this name.
        """
        self._set_active(name, active=True)

    def _set_active(self, name: str, *, active: bool) -> None:
        self._known(name)
        self.storage.set_agent_active(name, active, at=self.clock())
        self.refresh()

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, name: object) -> bool:
        return name in self._records

    def __getitem__(self, name: str) -> Agent:
        return self._known(name).agent

    @property
    def agents(self) -> tuple[Agent, ...]:
        """All agents, inactive ones too, by name."""
        return tuple(record.agent for _, record in sorted(self._records.items()))

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Capabilities that agents have, in order."""
        return tuple(sorted({each for record in self._records.values() for each in record.agent.capabilities}))

    def _known(self, name: str) -> AgentRecord:
        found = self._records.get(name)
        if found is None:
            from difflib import get_close_matches

            near = get_close_matches(str(name), list(self._records), 1, 0.0)
            raise CandidateError("agent", name, f"the nearest is {near[0]!r}" if near else "there are no agents")
        return found

    def statistics(self, name: str) -> Mapping[str, Any]:
        """What was observed of an agent: ``outcomes`` in all, and means as of the last one, None where none is.

        Raises:
            CandidateError: there is none of this name.
        """
        return observed(self._known(name).state)

    def observe(
        self,
        agent: str,
        *,
        quality: float | None = None,
        success: bool = True,
        task: str | None = None,
        cost: float | None = None,
        expected_cost: float | None = None,
        latency_ms: float | None = None,
        output_tokens: float | None = None,
        at: float | None = None,
    ) -> None:
        """Tells what came of one call.

        Args:
            agent: its name.
            quality: of the answer, from 0 to 1.
            success: whether the call was answered.
            task: capability or task it was about.
            cost: USD it cost.
            expected_cost: USD that the choice had estimated; with it, estimates learn how far they are off.
            latency_ms: milliseconds it took.
            output_tokens: tokens of the answer.
            at: UTC seconds; the present by default.

        Raises:
            CandidateError: there is no such agent.
            OptionError: a value that cannot be.
        """
        seconds = None if latency_ms is None else number("latency_ms", latency_ms, error=OptionError) / 1000.0
        moment = self.clock() if at is None else at
        outcome = AgentOutcome(agent, moment, quality, success, task, cost, expected_cost, seconds, output_tokens)
        record = self.storage.record_agent_outcome(outcome, half_life_s=self.half_life_s)
        with self._lock:
            known = self._records.get(agent)
            if known is None or known.agent != record.agent:
                self.refresh()
                return
            # Of two threads the one that wrote later may come first.
            if observed(known.state)["outcomes"] <= observed(record.state)["outcomes"]:
                self._records[agent] = record
                self._engine.set_state(agent, record.state)

    def with_capabilities(self, *capabilities: str) -> tuple[str, ...]:
        """Names of the active agents that have all of these, in order.

        Raises:
            OptionError: a capability that no agent has; it names the nearest.
        """
        known = self.capabilities
        for each in capabilities:
            if each not in known:
                from difflib import get_close_matches

                near = get_close_matches(str(each), known, 1, 0.0)
                remedy = f"the nearest is {near[0]!r}" if near else "no agent has any"
                raise OptionError("capabilities", each, remedy)
        wanted = set(capabilities)
        return tuple(each.name for each in self.agents if each.active and wanted <= set(each.capabilities))

    def search(self, text: Request, k: int = 10) -> tuple[AgentFound, ...]:
        """The agents a request is about, best first: by names, descriptions, capabilities and examples.

        By the shipped encoder, each example by itself, and by words and parts of words (see ``search.rs``): no
        call to anybody. Inactive agents are left out.

        Raises:
            RequestError: nothing is said.
            OptionError: ``k`` below 1.
        """
        cards = self._search
        if cards is None:
            with self._lock:
                active = [agent for agent in self.agents if agent.active]
                cards = _core.AgentCards(_core.sentence_encoder(), json.dumps([_card(agent) for agent in active]))
                self._search = cards
        said = as_engine(text)
        if not isinstance(said, str):
            said = _core.conversation_outline(said)[0]
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise OptionError("k", k, "ask for one agent or more")
        return tuple(AgentFound(*each) for each in cards.search(said, k))


def _card(agent: Agent) -> dict[str, Any]:
    """What searches read of an agent."""
    return {
        "name": agent.name,
        "description": agent.description,
        "capabilities": agent.capabilities,
        "examples": agent.examples,
    }


def _check_members(agents: Iterable[Agent]) -> None:
    """Refuses ensembles whose members are not there, or ask each other in a circle."""
    listed = list(agents)
    if any(agent.members for agent in listed):
        apart = _core.AgentSet()
        apart.put(f"[{', '.join(agent.engine_json() for agent in listed)}]")
        apart.check_members()


@dataclass(frozen=True, slots=True)
class AgentStep:
    """One agent's part of a plan.

    Attributes:
        agent: its name.
        capabilities: what it covers of those asked for.
        quality: expected of it alone.
        estimated_cost: USD, or None where nobody knows.
        estimated_latency_ms: or None.
    """

    agent: str
    capabilities: tuple[str, ...]
    quality: float
    estimated_cost: float | None
    estimated_latency_ms: float | None


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """Several agents for one request.

    Attributes:
        strategy: ``pipeline``, ``parallel`` or ``ensemble``.
        steps: who does what; in order, where it has one.
        quality: expected of the whole: of a pipeline the product (each step builds on the one before), of parts
            the mean by what they cover, of an ensemble the probability that the combined answer is right.
        estimated_cost: USD of all, or None where one is not known.
        estimated_latency_ms: of a pipeline the sum, else the longest; or None.
        utility: what the policy makes of these.
        reason: in words.
    """

    strategy: str
    steps: tuple[AgentStep, ...]
    quality: float
    estimated_cost: float | None
    estimated_latency_ms: float | None
    utility: float
    reason: str

    @property
    def agents(self) -> tuple[str, ...]:
        """Names, in order."""
        return tuple(step.agent for step in self.steps)


@dataclass(frozen=True, slots=True)
class Assignment:
    """Columns chosen for the rows of a table.

    Attributes:
        columns: int64 [n].
        cost: USD of all.
        quality: mean.
        bound: what no assignment can beat: total USD, or mean quality.
        gap: how far it is off that, as a share.
        multiplier: USD that one more unit of summed quality would cost, or quality that one more USD would bring.
    """

    columns: npt.NDArray[np.int64]
    cost: float
    quality: float
    bound: float
    gap: float
    multiplier: float


@dataclass(frozen=True, slots=True)
class AgentAssignment:
    """Which agent answers which request of a batch.

    Attributes:
        agents: one name a request.
        cost: USD of all, as estimated.
        quality: mean, as expected.
        bound: what no assignment can beat: total USD, or mean quality.
        gap: how far it is off that, as a share.
        multiplier: USD that one more unit of summed quality would cost, or quality that one more USD would bring.
    """

    agents: tuple[str, ...]
    cost: float
    quality: float
    bound: float
    gap: float
    multiplier: float


def assign(
    quality: npt.ArrayLike,
    cost: npt.ArrayLike,
    *,
    optimize_for: Literal["total_cost", "quality"] = "total_cost",
    min_mean_quality: float | None = None,
    budget: float | None = None,
    capacities: Sequence[int | None] | None = None,
) -> Assignment:
    """Assigns rows to columns: the least total cost at a mean quality, or the highest quality within a budget.

    By the Lagrangian relaxation of ``assign.rs``, with the gap to its bound.

    Args:
        quality: float [n, m], from 0 to 1.
        cost: float [n, m], USD; NaN where a column must not be taken.
        optimize_for: ``total_cost`` or ``quality``.
        min_mean_quality: with ``total_cost``, what the mean has to reach.
        budget: USD of all.
        capacities: most rows of each column, None for any number.

    Raises:
        OptionError: arrays whose shapes or values cannot be.
        NoFeasibleModelError: no assignment meets quality, budget and capacities; it says what can be reached.
    """
    good, dear = (np.ascontiguousarray(each, np.float64) for each in (quality, cost))
    if good.ndim != 2 or good.shape != dear.shape or not good.shape[1]:
        raise OptionError("quality", f"{good.shape} beside {dear.shape}", "give two tables of rows x columns")
    if optimize_for not in ("total_cost", "quality"):
        raise OptionError("optimize_for", optimize_for, "use total_cost or quality")
    if optimize_for == "quality" and min_mean_quality is not None:
        raise OptionError("min_mean_quality", min_mean_quality, "leave it out where quality is maximised")
    most = [None] * good.shape[1] if capacities is None else list(capacities)
    for place, each in enumerate(most):
        if each is not None and (isinstance(each, bool) or not isinstance(each, int | np.integer) or each < 0):
            raise OptionError(f"capacities[{place}]", each, "give a whole number, 0 or more, or None")
    if len(most) != good.shape[1]:
        raise OptionError("capacities", f"{len(most)} for {good.shape[1]}", "give one a column")
    chosen, spent, mean, bound, gap, multiplier = _core.assign_batch(
        good.shape[1],
        good.tobytes(),
        dear.tobytes(),
        most,
        optimize_for == "total_cost",
        None if min_mean_quality is None else number("min_mean_quality", min_mean_quality, error=OptionError),
        None if budget is None else number("budget", budget, error=OptionError),
    )
    columns = np.frombuffer(chosen, "<u4").astype(np.int64)
    return Assignment(columns, spent, mean, bound, gap, multiplier)


class AgentRouter:
    """Chooses among the agents of a registry. Safe to use from many threads.

    Example: see :class:`AgentRegistry`.
    """

    def __init__(
        self,
        registry: AgentRegistry,
        *,
        router: Router | None = None,
        models: Mapping[str, str] | None = None,
        quality_per_usd: float = 10.0,
        quality_per_second: float = 0.01,
    ) -> None:
        """Makes a router.

        Args:
            registry: the agents.
            router: a trained router of requests: where its models are agents, what it expects of them on each
                request counts in place of what the registry believes; of other agents the registry's does.
            models: by agent, the model of ``router`` that it is; by default the one of its name.
            quality_per_usd: of the policy ``balanced``, quality that one USD is worth: 10 says that a wholly good
                answer is worth 10 cents.
            quality_per_second: the same of one second.

        Raises:
            OptionError: ``models`` names an agent or model that is not there, or a weight is negative.
        """
        self.registry = registry
        self._router = router
        self._models: dict[str, str] = {}
        if router is not None:
            known = list(router.models)
            named = {each: each for each in known} if models is None else dict(models)
            for agent, model in named.items():
                if model not in known:
                    raise OptionError("models", model, f"the router's models are {', '.join(known)}")
                if models is not None and agent not in registry:
                    raise OptionError("models", agent, "name agents of the registry")
            self._models = named
        elif models:
            raise OptionError("models", "without router", "give the router whose models they are")
        self._weights = (1.0, number("quality_per_usd", quality_per_usd, error=OptionError),
                         number("quality_per_second", quality_per_second, error=OptionError))  # fmt: skip
        self._queries: dict[Any, _core.AgentQuery] = {}
        self._correlation: tuple[tuple[str, ...], npt.NDArray[np.float64]] | None = None

    def route(
        self,
        request: Request,
        optimize_for: AgentPolicy = "balanced",
        *,
        required_capabilities: Sequence[str] = (),
        task: str | None = None,
        types: Sequence[str] = (),
        max_cost: float | None = None,
        max_latency_ms: float | None = None,
        min_quality: float | None = None,
        excluded: Sequence[str] = (),
        tags: Sequence[str] = (),
        region: str | None = None,
        budget_remaining: float | None = None,
        weights: Mapping[str, float] | None = None,
        input_tokens: float | None = None,
        output_tokens: float | None = None,
        cached_tokens: float = 0.0,
        level: float = 0.9,
        explore: float | None = None,
        now: float | None = None,
        front: bool = False,
    ) -> AgentChoice:
        """The agent for a request, with what is expected of it.

        Equal agents are ordered by cost, then quality, then time, then name.

        Args:
            request: a text, or chat messages.
            optimize_for: see :data:`AgentPolicy`.
            required_capabilities: the agent must have them all.
            task: capability or task whose quality counts; else the required capability an agent is worst at.
            types: only agents of these types.
            max_cost: most USD that may be expected.
            max_latency_ms: most milliseconds that may be expected.
            min_quality: what the lower end of the quality's interval must reach (with a trained router, what it
                expects).
            excluded: agents that must not be chosen.
            tags: the agent must have them all.
            region: where it must serve.
            budget_remaining: USD that are left; the upper end of the cost's interval must be within.
            weights: of the policy ``weights``: ``quality``, ``cost`` (a USD) and ``latency`` (a second), 0 where
                left out.
            input_tokens: of the prompt; else guessed, a token for every four bytes.
            output_tokens: of the answer; else each agent's usual number.
            cached_tokens: of the prompt, in the cache of agents that have a price for cached tokens.
            level: share of probability within each interval; bounds are its ends.
            explore: try what is little known: choose by this quantile of quality, above 0.5, instead of its mean
                (Bayes-UCB, Kaufmann, Cappé and Garivier 2012). By default nobody is tried out.
            now: UTC seconds; the present by default.
            front: also name the agents that no other beats in quality, cost and time at once.

        Raises:
            NoSuitableAgentError: no agent is left; ``removed`` says what removed each.
            OptionError: a bound that cannot be, or an unknown name; it names the nearest.
            RequestError: the request cannot be read.
        """
        query = self._query(
            optimize_for, required_capabilities, task, types, max_cost, max_latency_ms, min_quality, excluded,
            tags, region, budget_remaining, weights, level, explore,
        )  # fmt: skip
        tokens = _tokens(request) if input_tokens is None else input_tokens
        moment = self.registry.clock() if now is None else now
        qualities = None if self._router is None else self._expected(request)
        try:
            return self.registry.engine.choose(
                query, tokens, moment, output_tokens, cached_tokens, qualities, front
            )
        except NoFeasibleModelError as error:
            removed = self.registry.engine.removed(query, tokens, moment, output_tokens, cached_tokens)
            raise NoSuitableAgentError(error.field, error.value, error.remedy, removed) from None
        except TypeError:
            _refuse({"input_tokens": tokens, "output_tokens": output_tokens, "cached_tokens": cached_tokens,
                     "now": moment})  # fmt: skip

    def _query(
        self,
        policy: str,
        required: Sequence[str],
        task: str | None,
        types: Sequence[str],
        max_cost: float | None,
        max_latency_ms: float | None,
        min_quality: float | None,
        excluded: Sequence[str],
        tags: Sequence[str],
        region: str | None,
        budget: float | None,
        weights: Mapping[str, float] | None,
        level: float,
        explore: float | None,
    ) -> _core.AgentQuery:
        try:
            key = (
                policy, tuple(required) if required else (), task, tuple(types) if types else (), max_cost,
                max_latency_ms, min_quality, tuple(excluded) if excluded else (), tuple(tags) if tags else (),
                region, budget, None if weights is None else tuple(weights.items()), level, explore,
            )  # fmt: skip
            found = self._queries.get(key)
        except (TypeError, AttributeError):
            key, found = None, None
        if found is not None:
            return found
        if not isinstance(policy, str):
            raise OptionError("optimize_for", policy, f"use one of {', '.join(_core.AGENT_POLICIES)}")
        bounds = []
        for name, bound in (
            ("max_cost", max_cost),
            ("budget_remaining", budget),
            ("max_latency_ms", max_latency_ms),
        ):
            value = None if bound is None else number(name, bound, error=OptionError)
            if value is not None and value < 0:
                raise OptionError(name, bound, "give a number, 0 or more")
            if name == "max_latency_ms" and value is not None:
                if not value:
                    raise OptionError(name, bound, "give a time above 0: nothing takes none")
                value /= 1000.0
            bounds.append(value)
        for name, said in (("task", task), ("region", region)):
            if said is not None and not isinstance(said, str):
                raise OptionError(name, said, "give a text")
        query = _core.AgentQuery(
            policy,
            self._weighed(policy, weights),
            list(texts("required_capabilities", required)),
            task,
            list(texts("types", types)),
            list(texts("excluded", excluded)),
            list(texts("tags", tags)),
            region,
            (bounds[0], bounds[1], bounds[2]),
            None if min_quality is None else number("min_quality", min_quality, error=OptionError),
            number("level", level, error=OptionError),
            None if explore is None else number("explore", explore, error=OptionError),
        )
        if key is not None:
            if len(self._queries) >= _CACHED:
                self._queries.clear()
            self._queries[key] = query
        return query

    def _weighed(self, policy: str, weights: Mapping[str, float] | None) -> tuple[float, float, float]:
        if policy != "weights":
            if weights is not None:
                raise OptionError("weights", f"beside {policy}", "set optimize_for='weights'")
            return self._weights
        if not isinstance(weights, Mapping):
            raise OptionError("weights", weights, "give {'quality': ..., 'cost': a USD, 'latency': a second}")
        unknown = [name for name in weights if name not in ("quality", "cost", "latency")]
        if unknown:
            raise OptionError("weights", unknown[0], "the weights are quality, cost and latency")
        quality, cost, latency = (
            number(f"weights.{name}", weights.get(name, 0.0), error=OptionError)
            for name in ("quality", "cost", "latency")
        )
        return quality, cost, latency

    def _expected(self, request: Request) -> list[tuple[str, float]]:
        """What the trained router expects of the agents that are its models."""
        assert self._router is not None
        scores = self._router.route(request).scores
        return [(agent, min(max(float(scores[model]), 0.0), 1.0)) for agent, model in self._models.items()]

    def learn_errors(self, outcomes: Iterable[Outcome]) -> None:
        """Learns from what agents scored on the same requests whose errors go together, for ensembles.

        Correlations of the scores on the requests two agents have in common, drawn towards the mean of all pairs
        as if that had been seen on 20 requests.

        Args:
            outcomes: of :meth:`~tiny_dancer.storage.HistoryStorage.outcome_history`; ``model`` is the agent.
        """
        names = self.registry.engine.names()
        place = {name: column for column, name in enumerate(names)}
        rows: dict[str, int] = {}
        cells = [
            (rows.setdefault(each.decision_id, len(rows)), place[each.model], each.quality)
            for each in outcomes
            if each.model in place
        ]
        scores = np.full((len(rows), len(names)), np.nan)
        for row, column, score in cells:
            scores[row, column] = score
        self._correlation = (tuple(names), error_correlation(scores))

    def route_multi(
        self,
        request: Request,
        num_agents: int = 3,
        strategy: Literal["pipeline", "parallel", "ensemble"] = "pipeline",
        *,
        optimize_for: AgentPolicy = "balanced",
        required_capabilities: Sequence[str] = (),
        combine: Literal["vote", "judge"] = "vote",
        types: Sequence[str] = (),
        max_cost: float | None = None,
        max_latency_ms: float | None = None,
        min_quality: float | None = None,
        excluded: Sequence[str] = (),
        tags: Sequence[str] = (),
        region: str | None = None,
        budget_remaining: float | None = None,
        weights: Mapping[str, float] | None = None,
        input_tokens: float | None = None,
        output_tokens: float | None = None,
        level: float = 0.9,
        now: float | None = None,
    ) -> AgentPlan:
        """Several agents for a request.

        ``pipeline``: the required capabilities, in their order, cut into at most ``num_agents`` steps; of all cuts
        the best by the policy. ``parallel``: each required capability goes to one of at most ``num_agents``
        agents, side by side. ``ensemble``: ``num_agents`` are asked the same, chosen so that what comes of a vote
        or a judge is best; whose errors go together is learned by :meth:`learn_errors`, else taken to be
        independent.

        Args:
            request: a text, or chat messages.
            num_agents: most of them; of an ensemble, all of them.
            strategy: see above.
            optimize_for: see :data:`AgentPolicy`; of the whole.
            required_capabilities: to be shared out (pipeline, parallel), or that each must have (ensemble).
            combine: ``vote``, or ``judge`` who finds a right answer where there is one.
            types: as for :meth:`route`; bounds are of each agent.
            max_cost: as for :meth:`route`.
            max_latency_ms: as for :meth:`route`.
            min_quality: as for :meth:`route`.
            excluded: as for :meth:`route`.
            tags: as for :meth:`route`.
            region: as for :meth:`route`.
            budget_remaining: as for :meth:`route`.
            weights: as for :meth:`route`.
            input_tokens: as for :meth:`route`.
            output_tokens: as for :meth:`route`.
            level: as for :meth:`route`.
            now: as for :meth:`route`.

        Raises:
            NoSuitableAgentError: no agents do; ``removed`` says what removed each from the whole.
            OptionError: as :meth:`route`, or an unknown strategy.
        """
        if strategy not in ("pipeline", "parallel", "ensemble"):
            raise OptionError("strategy", strategy, "use pipeline, parallel or ensemble")
        if combine not in ("vote", "judge"):
            raise OptionError("combine", combine, "use vote or judge")
        if isinstance(num_agents, bool) or not isinstance(num_agents, int) or num_agents < 1:
            raise OptionError("num_agents", num_agents, "give 1 or more; 2 or more for an ensemble")
        query = self._query(
            optimize_for, required_capabilities, None, types, max_cost, max_latency_ms, min_quality, excluded,
            tags, region, budget_remaining, weights, level, None,
        )  # fmt: skip
        tokens = _tokens(request) if input_tokens is None else input_tokens
        moment = self.registry.clock() if now is None else now
        engine = self.registry.engine
        together = combine if strategy == "ensemble" else strategy
        correlation = self._aligned() if strategy == "ensemble" else None
        try:
            steps, quality, cost, latency, utility = engine.several(
                query, together, num_agents, tokens, moment, output_tokens, correlation
            )
        except NoFeasibleModelError as error:
            removed = engine.removed(query, tokens, moment, output_tokens)
            raise NoSuitableAgentError(error.field, error.value, error.remedy, removed) from None
        names = list(required_capabilities)
        found = tuple(
            AgentStep(agent, tuple(names[place] for place in covers), good, _known(dear), _known(slow * 1000.0))
            for agent, covers, good, dear, slow in steps
        )
        return AgentPlan(
            strategy, found, quality, _known(cost), _known(latency * 1000.0), utility,
            _plan_reason(strategy, combine, found, quality, cost, utility),
        )  # fmt: skip

    def _aligned(self) -> bytes | None:
        """The correlations in the order of the engine's rows; unknown ones are the mean."""
        if self._correlation is None:
            return None
        names, matrix = self._correlation
        rows = self.registry.engine.names()
        if tuple(rows) == names:
            return matrix.tobytes()
        place = {name: at for at, name in enumerate(names)}
        apart = ~np.eye(len(names), dtype=bool)
        usual = float(matrix[apart].mean()) if len(names) > 1 else 0.0
        found = np.full((len(rows), len(rows)), usual)
        known = [(at, place[name]) for at, name in enumerate(rows) if name in place]
        for one, of_one in known:
            for other, of_other in known:
                found[one, other] = matrix[of_one, of_other]
        return found.tobytes()

    def route_batch(
        self,
        requests: Sequence[Request],
        optimize_for: Literal["total_cost", "quality"] = "total_cost",
        *,
        min_mean_quality: float | None = None,
        budget: float | None = None,
        capacities: Mapping[str, int] | None = None,
        required_capabilities: Sequence[str] = (),
        task: str | None = None,
        types: Sequence[str] = (),
        max_cost: float | None = None,
        max_latency_ms: float | None = None,
        min_quality: float | None = None,
        excluded: Sequence[str] = (),
        tags: Sequence[str] = (),
        region: str | None = None,
        input_tokens: npt.ArrayLike | None = None,
        output_tokens: npt.ArrayLike | None = None,
        level: float = 0.9,
        now: float | None = None,
    ) -> AgentAssignment:
        """Agents for a batch, so that all together cost least at a mean quality, or answer best for a budget.

        Never dearer than the best that one by one can do at the same mean quality, as that is one of the
        assignments; the gap to what is possible at all is stated.

        Args:
            requests: texts, or chat messages.
            optimize_for: ``total_cost``, or ``quality`` within ``budget``.
            min_mean_quality: with ``total_cost``, what the mean expected quality has to reach.
            budget: USD of all.
            capacities: by agent, most requests of the batch.
            required_capabilities: as for :meth:`route`, of every request; so are those below.
            task: as for :meth:`route`.
            types: as for :meth:`route`.
            max_cost: as for :meth:`route`.
            max_latency_ms: as for :meth:`route`.
            min_quality: as for :meth:`route`, of what the registry believes.
            excluded: as for :meth:`route`.
            tags: as for :meth:`route`.
            region: as for :meth:`route`.
            input_tokens: [n]; else guessed, a token for every four bytes.
            output_tokens: [n]; else each agent's usual number.
            level: as for :meth:`route`.
            now: as for :meth:`route`.

        Raises:
            NoFeasibleModelError: no assignment does; it says what can be reached.
            OptionError: as :meth:`route`.
        """
        listed = listed_requests(requests)
        query = self._query(
            "cost", required_capabilities, task, types, max_cost, max_latency_ms, min_quality, excluded, tags,
            region, None, None, level, None,
        )  # fmt: skip
        moment = self.registry.clock() if now is None else now
        if input_tokens is None:
            tokens = np.array([_tokens(each) for each in listed], np.float64)
        else:
            tokens = _counted("input_tokens", input_tokens, len(listed))
        answers = None if output_tokens is None else _counted("output_tokens", output_tokens, len(listed))
        engine = self.registry.engine
        names = engine.names()
        for name in capacities or ():
            if name not in self.registry:
                raise OptionError("capacities", name, "name agents of the registry")
        shape = (len(listed), len(names))
        good, dear, _ = engine.expect(
            query, tokens.tobytes(), moment, None if answers is None else answers.tobytes()
        )
        quality = np.frombuffer(good, "<f8").reshape(shape).copy()
        cost = np.frombuffer(dear, "<f8").reshape(shape)
        if self._router is not None and listed:
            batch = self._router.route_batch(listed)
            known = list(batch.models)
            for agent, model in self._models.items():
                if agent in names:
                    column = np.clip(batch.scores[:, known.index(model)], 0.0, 1.0)
                    quality[:, names.index(agent)] = column
        most = None if capacities is None else [capacities.get(name) for name in names]
        found = assign(
            quality,
            cost,
            optimize_for=optimize_for,
            min_mean_quality=min_mean_quality,
            budget=budget,
            capacities=most,
        )
        return AgentAssignment(
            tuple(names[column] for column in found.columns),
            found.cost,
            found.quality,
            found.bound,
            found.gap,
            found.multiplier,
        )


def error_correlation(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Correlations of m columns of scores, float64 [m, m], over the rows that two have in common.

    Each is drawn towards the mean of all pairs as if that had been seen on 20 rows.

    Args:
        scores: float64 [n, m], NaN where a column has none.
    """
    there = ~np.isnan(scores)
    filled = np.where(there, scores, 0.0)
    both = there.T.astype(np.float64) @ there
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (filled.T @ there) / both
        products = filled.T @ filled / both - mean * mean.T
        variance = (filled**2).T @ there / both - mean**2
        found = products / np.sqrt(variance * variance.T)
    known = np.isfinite(found) & ~np.eye(len(found), dtype=bool)
    weight = np.where(known, both, 0.0)
    found = np.where(known, found, 0.0)
    usual = float((found * weight).sum() / weight.sum()) if weight.sum() > 0 else 0.0
    shrunk = (weight * found + _SHRINKAGE * usual) / (weight + _SHRINKAGE)
    np.fill_diagonal(shrunk, 1.0)
    return np.ascontiguousarray(shrunk)


def _tokens(request: Request) -> float:
    """Tokens of a request that nobody counted."""
    if isinstance(request, str):
        size = len(request) if request.isascii() else len(request.encode(errors="replace"))
    else:
        size = len(as_engine(request))
    return float(-(-size // BYTES_PER_TOKEN))


def _counted(field: str, values: npt.ArrayLike, rows: int) -> npt.NDArray[np.float64]:
    try:
        found = np.ascontiguousarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise OptionError(field, error, "give one number a request") from None
    if found.shape != (rows,):
        raise OptionError(field, found.shape, "give one number a request")
    return found


def _known(value: float) -> float | None:
    return None if value != value else value


def _refuse(fields: Mapping[str, object]) -> NoReturn:
    """Names the field that is no number."""
    for name, value in fields.items():
        if value is not None:
            number(name, value, error=OptionError)
    raise OptionError("request", "a value of another type", "give numbers as numbers")


def _plan_reason(
    strategy: str, combine: str, steps: Sequence[AgentStep], quality: float, cost: float, utility: float
) -> str:
    if strategy == "ensemble":
        who = ", ".join(step.agent for step in steps)
        how = "more than half are right" if combine == "vote" else "one of them is right"
        said = f"ensemble of {who}: {how} with probability {quality:.4f}"
    else:
        join = " -> " if strategy == "pipeline" else " | "
        who = join.join(f"{step.agent} ({', '.join(step.capabilities)})" for step in steps)
        said = f"{strategy}: {who}; quality {quality:.4f}"
    price = "unknown" if cost != cost else f"{cost:.6f} USD"
    return f"{said}, cost {price}, utility {utility:.4f}"
