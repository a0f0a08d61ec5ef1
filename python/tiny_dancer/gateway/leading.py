"""Where a request goes that names a chain, a group of agents or an ensemble; one may lead to the other.

A group chooses an agent; an agent may lead to a chain, whose steps are asked, and a chain to a group, an agent
or an ensemble, whose members are asked. What ends it is a model or router, planned for as for any request,
or an answer. An agent of a group that fails before there is a model to ask is left out, and the next is chosen.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tiny_dancer.gateway.choosing.picking import AGENTS, at_limit
from tiny_dancer.gateway.choosing.plan import Choice
from tiny_dancer.gateway.choosing.targets import AgentsTarget, ChainTarget, EnsembleTarget, agent_of
from tiny_dancer.gateway.ensembles import ask_members
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.routing.walk import CannedAnswer, Hop

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tiny_dancer.gateway.access.caller import Caller
    from tiny_dancer.gateway.account.progress import Progress
    from tiny_dancer.gateway.chains import Chains
    from tiny_dancer.gateway.choosing.incoming import Incoming
    from tiny_dancer.gateway.choosing.picking import Picked
    from tiny_dancer.gateway.choosing.serving import Serving
    from tiny_dancer.gateway.services import Services

ENSEMBLE: Final = "ensemble"
"""Who has decided, where several were asked."""


class Leading:
    """Asks chains, groups and ensembles of the configuration in force. Belongs to the event loop's thread."""

    def __init__(self, chains: Chains) -> None:
        self._chains = chains

    async def lead(
        self,
        services: Services,
        serving: Serving,
        incoming: Incoming,
        caller: Caller,
        headers: Sequence[tuple[bytes, bytes]],
        progress: Progress | None,
    ) -> Choice:
        """What is decided about a request that names one of them.

        Args:
            services: of the process.
            serving: the configuration in force.
            incoming: the request; :meth:`Chooser.leader` names something.
            caller: who asks.
            headers: of the request, as they came.
            progress: of the request; None where it is only asked where it would go: then nobody is called, and
                nothing is put into the queue.

        Raises:
            GatewayError: it cannot be read, nobody is suitable, or all who are have failed.
        """
        name = services.chooser.leader(serving, incoming)
        assert name is not None
        without: dict[str, frozenset[str]] = {}
        while True:
            trail = _Trail(name)
            try:
                return await self._follow(services, serving, incoming, caller, headers, progress, trail, without)
            except GatewayError as error:
                picked = trail.picked
                if error.code == "ensemble_failed" and error.status >= 500 and progress is not None:
                    progress.failed.append(trail.agent)
                if picked is None or trail.decided or error.status < 500:
                    raise
                group = picked.target.group
                without[group] = without.get(group, frozenset()) | {picked.agent}
                try:
                    services.chooser.pick(serving, incoming, caller, picked.target, without[group])
                except GatewayError:
                    raise error from None

    async def _follow(
        self,
        services: Services,
        serving: Serving,
        incoming: Incoming,
        caller: Caller,
        headers: Sequence[tuple[bytes, bytes]],
        progress: Progress | None,
        trail: _Trail,
        without: dict[str, frozenset[str]],
    ) -> Choice:
        name, choice = trail.name, None
        while True:
            target = serving.resolve(name)
            trail.agent = agent_of(name) or trail.agent
            if isinstance(target, AgentsTarget):
                trail.enter(f"router-{target.group}")
                left_out = without.get(target.group, frozenset())
                picked = trail.picked = services.chooser.pick(serving, incoming, caller, target, left_out)
                trail.hops += (picked.hop,)
                name = picked.name
                choice = Choice(name, AGENTS, trail.hops, picked=picked)
            elif isinstance(target, ChainTarget):
                trail.enter(f"chain-{target.chain}")
                with busy(serving, agent_of(name)):
                    walked = await self._chains.choose(
                        services, serving, target.chain, incoming, caller, headers, progress
                    )
                agent = walked.agent or _answering(serving, trail.agent, walked.step)
                trail.hops += walked.hops
                trail.intent = walked.intent or trail.intent
                choice = Choice(
                    walked.target, walked.step, trail.hops, walked.plan, trail.intent, agent, trail.picked
                )
                trail.agent = agent
                if isinstance(walked.target, CannedAnswer):
                    return choice
                name = walked.target
            elif isinstance(target, EnsembleTarget):
                trail.enter(name)
                if progress is None:
                    why = "its members are not asked: nothing is called here"
                    hop = Hop(target.agent, ENSEMBLE, chose=True, why=why)
                    return Choice(name, ENSEMBLE, (*trail.hops, hop), agent=trail.agent, picked=trail.picked)
                with busy(serving, agent_of(name)):
                    combined = await ask_members(services, serving, incoming, caller, progress, target)
                hop = Hop(target.agent, ENSEMBLE, chose=True, why=combined.why)
                return Choice(
                    CannedAnswer(combined.text),
                    ENSEMBLE,
                    (*trail.hops, hop),
                    None,
                    trail.intent,
                    trail.agent,
                    trail.picked,
                    combined.cost,
                )
            else:
                assert choice is not None
                trail.decided = True
                return choice


@contextmanager
def busy(serving: Serving, agent: str | None) -> Iterator[None]:
    """Counts a request as under way at an agent that leads to no single model.

    Raises:
        GatewayError: 429, it has as much to do as it may.
    """
    limited = None if agent is None else serving.agents.limited.get(agent)
    if limited is None:
        yield
        return
    if (limit := limited.reached()) is not None:
        raise at_limit(f"The agent '{agent}' ({limit})", limited.wait(), {str(agent): limit})
    limited.enter()
    try:
        yield
    finally:
        limited.leave()


class _Trail:
    """How far a request was led.

    Attributes:
        name: it began with.
        hops: so far.
        intent: the last route that was followed.
        agent: the last that was led to.
        picked: the last choice of a group; None where none has chosen.
        decided: whether a model or router was led to.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.hops: tuple[Hop, ...] = ()
        self.intent = ""
        self.agent = ""
        self.picked: Picked | None = None
        self.decided = False
        self._seen: set[str] = set()

    def enter(self, name: str) -> None:
        """Goes on into a chain, a group or an ensemble.

        Raises:
            GatewayError: 508, it was there already.
        """
        if name in self._seen:
            raise GatewayError(
                508,
                f"'{name}' leads to itself: {', '.join([*self._seen])} lead in a circle. Have one lead elsewhere.",
                code="agent_loop",
            )
        self._seen.add(name)


def _answering(serving: Serving, agent: str, step: str) -> str:
    """The agent that answers for what a chain decides: a person only where a person has answered."""
    record = serving.agents.records.get(agent)
    return "" if record is None or (record.agent.type == "human" and step != "human") else agent
