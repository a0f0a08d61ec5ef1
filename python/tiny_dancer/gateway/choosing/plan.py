"""Which model, and which next if it fails: what was decided, and why."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from tiny_dancer.gateway.choosing.agents import Limited
from tiny_dancer.gateway.choosing.asked import (
    Asked,
    is_excluded,
    left_of,
    may_ask,
    model_named,
    reached,
    unfit,
)
from tiny_dancer.gateway.choosing.picking import Picked, pick
from tiny_dancer.gateway.choosing.removed import bounded
from tiny_dancer.gateway.choosing.targets import (
    AGENT,
    agent_of,
)
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream.deployments import ServedModel
from tiny_dancer.routing.walk import CannedAnswer, Hop, in_words
from tiny_dancer.types import Decision

if TYPE_CHECKING:
    from collections.abc import Iterator


class Choice(Struct):
    """What a chain has decided about a request.

    Attributes:
        target: a model's name, a router's as clients write it, or an answer.
        step: of the chain, that decided.
        hops: every step asked, in order.
        plan: what the learned step's router decided, where that is the target.
        intent: the route that was found and followed; empty where none was.
        agent: of the registry, that led to what has decided or answered; empty where none did.
        picked: which agent of a group was chosen; None where none was.
        cost: USD that an answer has cost that is given as it is.
    """

    target: str | CannedAnswer
    step: str
    hops: tuple[Hop, ...]
    plan: Plan | None = None
    intent: str = ""
    agent: str = ""
    picked: Picked | None = None
    cost: float = 0.0

    @property
    def answer(self) -> str | None:
        """The answer, where the target is one."""
        return self.target.text if isinstance(self.target, CannedAnswer) else None


# What removes a model for the request's sake, as no failure of another model can mend.
_LIMITS: Final = ("context_window", "max_cost", "max_latency", "min_quality")


class Plan(Struct):
    """What will be tried, and why. :func:`following` says what comes after the choice.

    Attributes:
        model: the choice.
        asked: what it was made of.
        baseline: the model savings are counted against: the strongest where routing had a choice, else the choice.
        router: name of the router that decided; empty where none did.
        variant: name of the router's variant that decided; empty where none did.
        decision: of the router; None where none decided.
        routed_by: as of ``Decision``; ``client`` where the client named the model, ``session`` where a
            conversation stayed with its model.
        reason: as of ``Decision``, or why this model all the same.
        session: key of the conversation; None where it has none.
        said: what the user said last, where something was routed.
        tools: hash of the tools that are sent, where a router selects them: a prompt that is cached begins with
            its own, and is no longer where they change. Else 0.
        hops: of the chain that decided, and of the router it led to; empty where no chain did.
        answer: that is given as it is, and no model is asked; None where one is.
        intent: the route that a chain has found and followed; empty where none was.
        agent: of the registry, that was asked for and leads to more than one model; empty where none was.
        agents: of the registry, by the model that each leads to.
        picked: which agent of a group was chosen; None where none was.
        unpaid: agents whose own budgets had too little left.
        among: the same as ``picked``, also where it was a chain's step that led to the group or that decided after
            it.
        busy: the agent the request is counted at; None where it has no limits, or is not asked now.
    """

    model: ServedModel
    asked: Asked
    baseline: ServedModel
    router: str = ""
    variant: str = ""
    decision: Decision | None = None
    routed_by: str = "client"
    reason: str = "named"
    session: Hashable | None = None
    said: str = ""
    tools: int = 0
    hops: tuple[Hop, ...] = ()
    answer: str | None = None
    intent: str = ""
    agent: str = ""
    agents: dict[str, str] = {}
    picked: Picked | None = None
    unpaid: frozenset[str] = frozenset()
    among: Picked | None = None
    busy: Limited | None = None

    def agent_of(self, answered: ServedModel | None) -> str:
        """The agent that has answered, as the registry calls it; empty where none has."""
        return self.agent if answered is None else self.agents.get(answered.name, self.agent)

    @property
    def route(self) -> str:
        """Who chose, in one word or, where a chain did, with every step it asked."""
        return in_words(self.hops) if self.hops else self.routed_by

    def removed(self, besides: Mapping[str, str]) -> dict[str, str]:
        """What removed whom: before the choice, by it, and ``besides``, when it came to asking. Bounded."""
        decision, among, before = self.decision, self.among, self.asked.removed
        by_router = None if decision is None else decision.removed
        if not (by_router or before or besides) and among is None:
            return {}
        by_group = {} if among is None else {f"{AGENT}{name}": why for name, why in among.removed.items()}
        # What the router calls not allowed was left out before, for a reason it does not know.
        return bounded({**by_group, **(by_router or {}), **before, **besides})

    def models(self) -> Iterator[ServedModel]:
        """The choice, then what follows, which is looked up where the choice has failed. Each counts as under way
        at its agent until the next is asked for, or :meth:`release`."""
        self._enter(self.agent_of(self.model))
        yield left_of(self.asked, self.model)
        for model in following(self):
            self._enter(self.agent_of(model))
            yield left_of(self.asked, model)

    def turn(self, model: ServedModel) -> bool:
        """Has a model answer as the next agent that leads to it, or by its own name where the client lists that,
        as the budget of the agent it was to answer as has too little left; whether there is one."""
        asked = self.asked
        self.unpaid |= {self.agent_of(model)}
        if asked.selection is not None and not asked.selection.asked.allow_fallbacks:
            return False
        for name in chain(_next_names(self), _runners_up(self)):
            agent = agent_of(name) or ""
            if agent in self.unpaid or is_excluded(asked, name, model) or reached(asked, agent) is not None:
                continue
            if model_named(asked.serving, name, "models") is model:
                self.agents[model.name] = agent
                self._enter(agent)
                return True
        return False

    def release(self, tokens: int = 0) -> None:
        """The request has ended at its agent, and took so many tokens."""
        if self.busy is not None:
            busy, self.busy = self.busy, None
            busy.leave(tokens)

    def _enter(self, agent: str) -> None:
        self.release()
        if (limited := self.asked.serving.agents.limited.get(agent)) is not None:
            limited.enter()
            self.busy = limited

    def covered(self, answered: ServedModel | None) -> str | None:
        """Whether the certificate of the router's artifact covers what this model answered: ``yes``, or ``no`` and
        why; None where nothing answered, or there is no certificate."""
        decision, variant = self.decision, self.asked.variant
        if answered is None or decision is None or variant is None or variant.router.guarantee is None:
            return None
        if decision.guarantee is None:
            return f"no: {decision.guarantee_note}"
        return "yes" if answered.name == decision.model else "no: another model answered than was decided"


def following(plan: Plan) -> list[ServedModel]:
    """What of a plan may be tried after its choice, in order, each once, as many as configured."""
    asked = plan.asked
    config = asked.serving.config
    if asked.selection is not None and not asked.selection.asked.allow_fallbacks:
        return []
    found = [plan.model]
    for name in chain(_next_names(plan), _runners_up(plan)):
        if len(found) > config.max_fallbacks:
            break
        model = model_named(asked.serving, name, "models")
        if (agent := agent_of(name)) is not None:
            if reached(asked, agent) is not None or is_excluded(asked, name, model):
                continue
            plan.agents.setdefault(model.name, agent)
        if (
            model not in found
            and not is_excluded(asked, name, model)
            and asked.incoming.endpoint in model.endpoints
            and may_ask(asked, model)
        ):
            found.append(model)
    return found[1:]


def _runners_up(plan: Plan) -> Iterator[str]:
    """The agents of a group that would have been chosen next, one after the other."""
    picked = plan.picked
    if picked is None:
        return
    tried = picked.without | {picked.agent}
    while True:
        try:
            following = pick(plan.asked, picked.target, unfit, without=tried, kinds=(ServedModel,))
        except GatewayError:
            return
        tried |= {following.agent}
        yield following.name


def _next_names(plan: Plan) -> list[str]:
    """What the client lists, then its role, then the router's other models, then the default."""
    asked, decision = plan.asked, plan.decision
    config = asked.serving.config
    names = list(asked.incoming.fallbacks)
    if plan.reason == "no_text":
        return [*names, *_in_order(asked, asked.usable)]
    follow: list[str] = []
    # A role's list is for what the role or a router chose, not for a model the client named.
    if (decision is not None or plan.reason in ("role_default", "chain")) and (
        default := config.roles.get(asked.role)
    ) is not None:
        follow += default.fallbacks
    if decision is not None:
        scores = decision.scores
        # The best first; in the artifact's order where a fallback level expects nothing.
        follow += sorted(asked.usable, key=lambda name: -scores[name] if math.isfinite(scores[name]) else 0.0)
        if config.default_model is not None:
            follow.append(config.default_model)
        # What the client lists is the client's word; what follows unasked keeps to what is asked.
        removed = decision.removed
        follow = [name for name in follow if removed.get(name) not in _LIMITS]
    return [*names, *_in_order(asked, follow)]


def _in_order(asked: Asked, names: Sequence[str]) -> Sequence[str]:
    """What follows unasked, as ``provider`` wants it: by its ``sort``, then by its ``order``."""
    selection, by = asked.selection, asked.by
    if selection is None:
        return names
    models = asked.serving.models
    if by is not None:
        names = sorted(names, key=lambda name: by.get(name, math.inf))
    return sorted(names, key=lambda name: selection.rank(models[name]))
