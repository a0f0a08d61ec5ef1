"""The agents of the registry as a gateway serves them: where each leads, and groups that policies choose from.

Who there is and what is believed of them stands in the registry; how anybody is called stands in the
configuration. So an agent leads to a name of the configuration, and never to an address: whoever may write into
the registry cannot have the gateway call what its configuration does not have.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from tiny_dancer.errors import CandidateError
from tiny_dancer.gateway.access.limits import Gate, TokenBucket
from tiny_dancer.gateway.choosing.targets import AgentsTarget, ChainTarget, EnsembleTarget, agent_of
from tiny_dancer.gateway.configuration.check import AGENT, leads_of
from tiny_dancer.gateway.configuration.settings import AGENT_POLICIES, EVERYBODY, AgentGroup
from tiny_dancer.gateway.upstream.deployments import ServedModel
from tiny_dancer.routing.agents import AgentRegistry, AgentRouter
from tiny_dancer.routing.walk import CHAIN, find_cycle
from tiny_dancer.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from tiny_dancer.gateway.choosing.targets import Target
    from tiny_dancer.gateway.configuration import settings as config
    from tiny_dancer.storage import Agent, AgentRecord
    from tiny_dancer.types import ModelInfo

_SHOWN: Final = 5


class Limited:
    """How much an agent may have to do, and has in this process.

    Attributes:
        limits: as of the agent: requests at a time, requests and tokens a minute.
        gate: counts requests under way.
    """

    def __init__(self, limits: tuple[int | None, int | None, int | None]) -> None:
        self.limits = limits
        self.gate = Gate(limits[0])
        self._requests, self._tokens = (None if rate is None else TokenBucket(rate) for rate in limits[1:])

    def reached(self) -> str | None:
        """The limit it is at; None where it may have one more request."""
        most = self.limits[0]
        if most is not None and self.gate.inside >= most:
            return "max_concurrency"
        if self._requests is not None and self._requests.wait():
            return "requests_per_minute"
        return "tokens_per_minute" if self._tokens is not None and self._tokens.wait() else None

    def wait(self) -> float:
        """Seconds until its rates allow a request."""
        return max(each.wait() for each in (self._requests, self._tokens, _NEVER) if each is not None)

    def enter(self) -> None:
        """A request begins, whether it may or not: :meth:`reached` says that."""
        self.gate.inside += 1
        if self._requests is not None:
            self._requests.charge(1.0)

    def leave(self, tokens: int = 0) -> None:
        """A request has ended, and took so many tokens."""
        self.gate.leave()
        if self._tokens is not None and tokens > 0:
            self._tokens.charge(tokens)


_NEVER: Final = TokenBucket(1.0)


class ServedGroup:
    """Agents that one name asks for.

    Attributes:
        name: of the group.
        settings: of the configuration.
        router: chooses.
        members: names of the agents that can be asked, in order.
        others: names of those the group leaves out.
        models: by agent that leads to a model, its name.
        unfit: by what a request is by, who may not be chosen for it and why; filled in as requests come.
    """

    def __init__(self, name: str, settings: config.AgentGroup, agents: ServedAgents) -> None:
        self.name = name
        self.settings = settings
        self.router = AgentRouter(
            agents.registry,
            quality_per_usd=settings.quality_per_usd,
            quality_per_second=settings.quality_per_second,
        )
        known = sorted(agents.records)
        wanted = frozenset(settings.agents)
        self.members = tuple(each for each in known if each in agents.targets and (not wanted or each in wanted))
        self.others = tuple(each for each in known if each not in self.members)
        targets = {each: agents.targets[each] for each in self.members}
        self.models = {each: found.name for each, found in targets.items() if isinstance(found, ServedModel)}

        self.unfit: dict[Hashable, Mapping[str, str]] = {}

    @property
    def policy(self) -> str:
        """What it is chosen by where no request says."""
        return self.settings.policy


class ServedAgents:
    """The agents of the registry, as one configuration serves them. What is declared of them stays; what was
    observed is replaced by :meth:`learn`.

    Attributes:
        records: by name; as the registry has them.
        targets: by agent, where it leads; those that cannot be asked are missing.
        lost: by agent, why it cannot be asked.
        groups: by name.
        names: what clients may name: ``agent-<name>``, ``router-<group>``, ``router-<group>-<policy>``.
        registry: the agents as they are chosen among: what one does not say of its prices is its model's.
        limited: those with limits, by name.
    """

    def __init__(
        self,
        records: Iterable[AgentRecord],
        settings: config.GatewayConfig,
        own: Mapping[str, Target],
        before: ServedAgents | None = None,
    ) -> None:
        """``own``: what the names of the configuration stand for; ``before``: whose counts go on."""
        self.records: dict[str, AgentRecord] = {each.agent.name: each for each in records}
        self._settings = settings
        self.targets: dict[str, Target] = {}
        self.lost: dict[str, str] = {}
        for name, record in self.records.items():
            found = self._target(record.agent, own)
            if isinstance(found, str):
                self.lost[name] = found
            else:
                self.targets[name] = found
        self._leave_circles()
        self._leave_incomplete()
        self.limited: dict[str, Limited] = {}
        for name in self.targets:
            agent = self.records[name].agent
            limits = (agent.max_concurrency, agent.requests_per_minute, agent.tokens_per_minute)
            if limits != (None, None, None):
                known = None if before is None else before.limited.get(name)
                self.limited[name] = known if known is not None and known.limits == limits else Limited(limits)
        self.registry = self._registry()
        self.names: dict[str, Target] = {f"{AGENT}{name}": target for name, target in self.targets.items()}
        self.groups: dict[str, ServedGroup] = {}
        groups = dict(settings.agents.groups)
        if self.records and EVERYBODY not in groups and f"router-{EVERYBODY}" not in own:
            groups[EVERYBODY] = AgentGroup()
        for name, group in groups.items():
            self.groups[name] = ServedGroup(name, group, self)
            self.names[f"router-{name}"] = AgentsTarget(name)
            for policy in AGENT_POLICIES:
                self.names[f"router-{name}-{policy}"] = AgentsTarget(name, policy)
        for name in own:
            self.names.pop(name, None)  # of two the configuration's counts

    def learn(self, records: Iterable[AgentRecord]) -> None:
        """Takes over what was observed, of agents whose declarations are the same."""
        for record in records:
            name = record.agent.name
            if (known := self.records.get(name)) is not None and known.state != record.state:
                self.records[name] = record
                self.registry.engine.set_state(name, record.state)

    def same(self, records: Iterable[AgentRecord]) -> bool:
        """Whether these are declared as those that are served."""
        return {each.agent.name: each.agent for each in records} == {
            name: each.agent for name, each in self.records.items()
        }

    def notes(self) -> list[str]:
        """What an operator should know: agents that are active and cannot be asked."""
        lost = [f"{name}: {why}" for name, why in self.lost.items() if self.records[name].agent.active]
        if not lost:
            return []
        more = "" if len(lost) <= _SHOWN else f" and {len(lost) - _SHOWN} more"
        return [f"agents that cannot be asked: {'; '.join(lost[:_SHOWN])}{more}"]

    def _target(self, agent: Agent, own: Mapping[str, Target]) -> Target | str:
        """Where an agent leads, or why nowhere."""
        if not agent.active:
            return "it is deactivated"
        if f"{AGENT}{agent.name}" in own:
            return f"the configuration has a model called {AGENT}{agent.name}"
        named = self._settings.agents.targets.get(agent.name)
        if named is not None:
            return own.get(named, f"{named} is not there")
        if agent.members:
            return EnsembleTarget(agent.name, agent.members)
        said = agent.metadata.get("model")
        for each in (agent.name, said):
            if isinstance(each, str) and isinstance(found := own.get(each), ServedModel):
                return found
        return f"no model of the configuration is called so; say where it leads under agents.targets.{agent.name}"

    def _leave_circles(self) -> None:
        """Agents that lead to chains that lead to them again cannot be asked."""
        leads = {
            f"{CHAIN}{name}": leads_of(chain, self._settings) for name, chain in self._settings.chains.items()
        }
        for name, target in self.targets.items():
            if isinstance(target, ChainTarget):
                leads[f"{AGENT}{name}"] = [f"{CHAIN}{target.chain}"]
            elif isinstance(target, EnsembleTarget):
                leads[f"{AGENT}{name}"] = [f"{AGENT}{each}" for each in target.members]
        while (cycle := find_cycle(leads)) is not None:
            agents = [agent for each in cycle if (agent := agent_of(each)) is not None]
            for agent in dict.fromkeys(agents):
                self.lost[agent] = f"it leads in a circle: {' -> '.join(cycle)}"
                del self.targets[agent], leads[f"{AGENT}{agent}"]
            if not agents:
                break

    def _leave_incomplete(self) -> None:
        """Ensembles of members who cannot be asked side by side cannot be asked."""
        while True:
            found: dict[str, str] = {}
            for name, target in self.targets.items():
                if not isinstance(target, EnsembleTarget):
                    continue
                for member in target.members:
                    if member not in self.targets:
                        found[name] = f"its member {member} cannot be asked"
                    elif isinstance(self.targets[member], ChainTarget):
                        found[name] = f"its member {member} leads to a chain, which members of ensembles may not"
            if not found:
                return
            self.lost.update(found)
            for name in found:
                del self.targets[name]

    def _registry(self) -> AgentRegistry:
        storage = MemoryStorage()
        storage.insert_agents([self._priced(each.agent) for each in self.records.values()], at=0.0)
        found = AgentRegistry(storage=storage)
        for name, record in self.records.items():
            if record.state:
                found.engine.set_state(name, record.state)
        return found

    def _priced(self, agent: Agent) -> Agent:
        """The agent with its model's prices and context, where it says nothing of them."""
        model = self.targets.get(agent.name)
        if not isinstance(model, ServedModel):
            return agent
        info = model.info()
        changes: dict[str, Any] = {}
        declared = (
            agent.input_cost_per_1k,
            agent.output_cost_per_1k,
            agent.cost_per_call,
            agent.cost_per_second,
        )
        if all(each is None for each in declared):
            changes = _prices(info)
        if agent.context is None and info.context_window is not None:
            changes["context"] = info.context_window
        if agent.output_tokens is None and info.expected_output_tokens is not None:
            changes["output_tokens"] = info.expected_output_tokens
        try:
            return replace(agent, **changes) if changes else agent
        except CandidateError:
            return agent  # prices that agents cannot have, as of tiers without others


def _prices(info: ModelInfo) -> dict[str, Any]:
    per_token = {
        "input_cost_per_1k": info.input_cost_per_token,
        "output_cost_per_1k": info.output_cost_per_token,
        "cached_input_cost_per_1k": info.cache_read_input_token_cost,
    }
    found: dict[str, Any] = {name: 1000.0 * each for name, each in per_token.items() if each is not None}
    if info.cost_per_request is not None:
        found["cost_per_call"] = info.cost_per_request
    if info.tiers:
        found["price_tiers"] = info.tiers
    return found
