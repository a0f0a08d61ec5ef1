"""The agents there are, what is known of each, and which of them a request is about."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tiny_dancer import _core
from tiny_dancer.errors import CandidateError, OptionError
from tiny_dancer.names import least_far
from tiny_dancer.routing.requests import as_engine
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
from tiny_dancer.storage.values import number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tiny_dancer.routing.requests import Request

__all__ = ["AgentFound", "AgentRegistry"]


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
            near = least_far(name, self._records)
            raise CandidateError("agent", name, f"the nearest is {near!r}" if near else "there are no agents")
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
                near = least_far(each, known)
                remedy = f"the nearest is {near!r}" if near else "no agent has any"
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
