"""Which agent of a group a request goes to: the group's policy and constraints, the request's, and who is free."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Struct

from tiny_dancer._core import AgentChoice
from tiny_dancer.errors import NoFeasibleModelError, NoSuitableAgentError, OptionError, RequestError
from tiny_dancer.gateway.choosing.targets import AGENT, AgentsTarget, EnsembleTarget
from tiny_dancer.gateway.errors import GatewayError, embeddings_not_routed
from tiny_dancer.gateway.upstream.deployments import ServedModel
from tiny_dancer.routing.walk import Hop

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiny_dancer.gateway.access.caller import Caller
    from tiny_dancer.gateway.choosing.agents import ServedAgents, ServedGroup
    from tiny_dancer.gateway.choosing.incoming import Incoming
    from tiny_dancer.gateway.choosing.selection import Selection
    from tiny_dancer.gateway.choosing.serving import Serving
    from tiny_dancer.gateway.choosing.targets import Target
    from tiny_dancer.gateway.configuration.settings import AgentPolicy, Role

AGENTS: Final = "agents"
"""Who has decided, where a group's policy has."""

_BYTES_PER_TOKEN: Final = 4
# Routers' words for policies, as groups know them.
_POLICIES: Final[Mapping[str, AgentPolicy]] = {"cheapest": "cost", "price": "cost"}
_SHOWN: Final = 10
_REMEDY: Final = "relax what removes most of them, or name an agent"


class AsksFor(Protocol):
    """A request, as of :class:`tiny_dancer.gateway.choosing.asked.Asked`."""

    serving: Serving
    incoming: Incoming
    caller: Caller
    role: Role
    selection: Selection | None


class Picked(Struct, frozen=True):
    """The agent of a group that was chosen.

    Attributes:
        target: the group, as it was asked for.
        agent: name in the registry.
        policy: by which.
        choice: with what is expected of it, and what removed whom.
        without: agents that were left out as they had failed already.
        why: of agents that were left out for what the registry does not know, the word for it.
        others: agents that the group leaves out: nothing has removed them.
    """

    target: AgentsTarget
    agent: str
    policy: str
    choice: AgentChoice
    without: frozenset[str] = frozenset()
    why: Mapping[str, str] = {}
    others: tuple[str, ...] = ()

    @property
    def removed(self) -> dict[str, str]:
        """By agent of the group, what removed it: a constraint, a limit that it is at, the key ..."""
        found = self.choice.removed
        for name in self.others:
            found.pop(name, None)
        return {name: self.why.get(name, word) for name, word in found.items()}

    @property
    def name(self) -> str:
        """As clients write it."""
        return f"{AGENT}{self.agent}"

    @property
    def hop(self) -> Hop:
        """What decided, in words."""
        return Hop(self.target.group, AGENTS, chose=True, why=f"{self.choice.reason} -> {self.name}")


def pick(
    asked: Any,
    target: AgentsTarget,
    unfit: Callable[[Any, ServedModel], str | None],
    *,
    without: frozenset[str] = frozenset(),
    kinds: tuple[type, ...] | None = None,
) -> Picked:
    """Chooses.

    Args:
        asked: the request, :class:`AsksFor`.
        target: the group.
        unfit: why an agent that leads to a model may not be chosen, in a word.
        without: agents that are left out.
        kinds: of targets that agents may lead to; None: any.

    Raises:
        GatewayError: 400, none is suitable; it says what removed whom. 429, those that are have as much to do as
            they may.
    """
    if asked.incoming.endpoint == "embeddings":
        raise embeddings_not_routed()
    agents: ServedAgents = asked.serving.agents
    group = agents.groups[target.group]
    policy = _policy(asked, target, group)
    removed = {**dict.fromkeys(without, "excluded"), **_unfit(asked, agents, group, unfit, kinds)}
    full = {name: limit for name in agents.limited if (limit := agents.limited[name].reached()) is not None}
    left_out = {**full, **removed}
    try:
        choice = _route(asked, group, policy, {*left_out, *group.others})
    except NoSuitableAgentError as error:
        why = {**error.removed, **dict.fromkeys(group.others, "group"), **removed}
        if any(name not in group.others and name not in removed for name in full):
            try:
                _route(asked, group, policy, {*removed, *group.others})
            except NoSuitableAgentError:
                why |= {name: limit for name, limit in full.items() if name not in why or why[name] == "excluded"}
            else:
                raise _busy(agents, target, full) from None
        raise _nobody(target, why) from None
    except OptionError as error:
        raise GatewayError(
            400,
            f"The agents '{target.group}' cannot keep to what is asked: {error.field}: {error.value}; "
            f"{error.remedy}.",
            param="td",
            code="invalid_value",
        ) from error
    return Picked(target, choice.agent, policy, choice, without, left_out, group.others)


def _policy(asked: AsksFor, target: AgentsTarget, group: ServedGroup) -> AgentPolicy:
    """``provider.sort``, else what the name says, else the request's, else the group's."""
    sort = None if asked.selection is None else asked.selection.asked.sort
    if sort in ("price", "latency"):
        return "latency" if sort == "latency" else "cost"
    if target.policy is not None:
        return target.policy
    given = asked.incoming.options.policy
    if given is None:
        return group.settings.policy
    return "cost" if given == "cheapest" else given


def _unfit(
    asked: AsksFor,
    agents: ServedAgents,
    group: ServedGroup,
    unfit: Callable[[Any, ServedModel], str | None],
    kinds: tuple[type, ...] | None,
) -> Mapping[str, str]:
    """By agent of the group, why it may not be chosen for reasons that the registry does not know."""
    options, caller = asked.incoming.options, asked.caller
    cheaper = caller.soft_budget_spent or asked.incoming.cheaper
    usual = not options.exclude and asked.selection is None and not cheaper
    key = (caller.models, asked.incoming.endpoint, asked.role, kinds)
    if usual and (known := group.unfit.get(key)) is not None:
        return known
    excluded = {name.removeprefix(AGENT) for name in options.exclude}
    found: dict[str, str] = {}

    def why(target: Target) -> str | None:
        if isinstance(target, ServedModel):
            return unfit(asked, target)
        if isinstance(target, EnsembleTarget):
            return next(filter(None, (why(agents.targets[each]) for each in target.members)), None)
        return None

    for name in group.members:
        target = agents.targets[name]
        if name in excluded:
            found[name] = "excluded"
        elif kinds is not None and not isinstance(target, kinds):
            found[name] = "not_here"
        elif (word := why(target)) is not None:
            found[name] = word
    if usual:
        if len(group.unfit) >= 256:
            group.unfit.clear()
        group.unfit[key] = found
    return found


def _route(asked: AsksFor, group: ServedGroup, policy: AgentPolicy, excluded: set[str]) -> AgentChoice:
    given, bounds = asked.incoming.options, group.settings
    expected = None
    if bounds.router is not None:
        known = _expected(asked, bounds.router)
        expected = {agent: known[model] for agent, model in group.models.items() if model in known}
    seconds = bounds.max_latency if given.max_latency is None else given.max_latency
    return group.router.route(
        "",
        policy,
        required_capabilities=(*bounds.required_capabilities, *given.capabilities),
        types=bounds.types,
        tags=(*bounds.tags, *given.agent_tags),
        region=given.region or bounds.region,
        max_cost=bounds.max_cost if given.max_cost is None else given.max_cost,
        max_latency_ms=None if seconds is None else 1000.0 * seconds,
        min_quality=bounds.min_quality if given.min_quality is None else given.min_quality,
        budget_remaining=asked.incoming.left,
        excluded=sorted(excluded) if excluded else (),
        input_tokens=-(-sum(map(len, map(bytes, asked.incoming.fields.values()))) // _BYTES_PER_TOKEN),
        expected=expected,
    )


def _expected(asked: AsksFor, name: str) -> Mapping[str, float]:
    """What a router expects of its models on the request; of none where it cannot judge it, or only its fallbacks
    would. Asked once a request, for whoever follows is chosen by the same.

    It decides nothing: its share of requests, its sessions and its certificate are not touched.
    """
    incoming = asked.incoming
    if (found := incoming.expected.get(name)) is not None:
        return found
    scores: Mapping[str, float] = {}
    try:
        router = asked.serving.routers[name].deciding().router
        words, tools, system = incoming.words(), incoming.tools(), incoming.system()
        decision = router.decide(words, tools, system=system, response_format=incoming.response_format())
        scores = {} if decision.level else decision.scores
    except NoFeasibleModelError:
        pass  # for none of its models: the agents' own windows and prices say the same
    except RequestError as error:
        if error.field not in ("text", "request"):
            field = incoming.field(error.field)
            raise GatewayError(
                400, f"Invalid {field}: {error.value}; {error.remedy}.", param=field, code="invalid_value"
            ) from error
    kept = {model: min(max(score, 0.0), 1.0) for model, score in scores.items() if math.isfinite(score)}
    incoming.expected[name] = kept
    return kept


def _nobody(target: AgentsTarget, removed: Mapping[str, str]) -> GatewayError:
    """No agent is suitable; what removed whom."""
    shown = [f"{name}: {why}" for name, why in sorted(removed.items()) if why != "group"]
    more = "" if len(shown) <= _SHOWN else f"; and {len(shown) - _SHOWN} more"
    said = "; ".join(shown[:_SHOWN]) or "there are none that can be asked"
    return GatewayError(
        400,
        f"No agent of '{target.group}' is suitable ({said}{more}); {_REMEDY}.",
        param="td",
        code="no_suitable_agent",
        details={"removed": {name: why for name, why in removed.items() if why != "group"}},
        removed={f"{AGENT}{name}": why for name, why in removed.items() if why != "group"},
    )


def _busy(agents: ServedAgents, target: AgentsTarget, full: Mapping[str, str]) -> GatewayError:
    """Those that are suitable have as much to do as they may."""
    wait = min(agents.limited[name].wait() for name in full)
    return at_limit(f"Every agent of '{target.group}' that is suitable", wait, full)


def at_limit(who: str, wait: float, full: Mapping[str, str]) -> GatewayError:
    """429: agents have as much to do as they may; ``full``: by agent, the limit it is at."""
    seconds = max(1, min(round(wait + 0.5), 3600))
    return GatewayError(
        429,
        f"{who} has as many requests as it may have. Try again in {seconds} s.",
        code="agent_at_limit",
        headers=((b"retry-after", b"%d" % seconds),),
        details={"removed": dict(full)},
        removed={f"{AGENT}{name}": limit for name, limit in full.items()},
    )
