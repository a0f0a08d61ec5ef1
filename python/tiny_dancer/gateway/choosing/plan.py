"""Which model, and which next if it fails: what the client named, its constraints, the router, the session."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import Struct
from msgspec.structs import replace

from tiny_dancer.errors import NoFeasibleModelError, OptionError, RequestError
from tiny_dancer.gateway.access.caller import Caller
from tiny_dancer.gateway.choosing import sessions
from tiny_dancer.gateway.choosing.agents import Limited
from tiny_dancer.gateway.choosing.incoming import Incoming
from tiny_dancer.gateway.choosing.picking import AGENTS, Picked, at_limit, pick
from tiny_dancer.gateway.choosing.removed import bounded
from tiny_dancer.gateway.choosing.selection import Selection
from tiny_dancer.gateway.choosing.serving import ServedRouter, Serving, Variant
from tiny_dancer.gateway.choosing.targets import (
    AGENT,
    AgentsTarget,
    ChainTarget,
    EnsembleTarget,
    RouterTarget,
    agent_of,
)
from tiny_dancer.gateway.configuration.settings import Role
from tiny_dancer.gateway.errors import GatewayError, embeddings_not_routed
from tiny_dancer.gateway.upstream.deployments import ServedModel
from tiny_dancer.routing.arguments import engine_options
from tiny_dancer.routing.requests import conversation
from tiny_dancer.routing.walk import CannedAnswer, Hop, in_words
from tiny_dancer.types import Decision

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tiny_dancer.gateway.choosing.targets import Target
    from tiny_dancer.routing.arguments import Asked as AskedOfRouter


class Asked(Struct):
    """What a request's plan is made of: who asks for what, and what a router may do about it.

    The router's part is filled in while the plan is made; then nothing changes any more.

    Attributes:
        serving: the configuration in force.
        incoming: the request.
        caller: who asks.
        role: of the request.
        variant: of the router, that decides; None where no router is asked.
        policy: of the router; None for its own.
        usable: the router's models this request may go to.
        options: of :meth:`tiny_dancer.ResilientRouter.route`.
        selection: what the request's ``provider`` leaves of the models; None where it asks nothing.
        by: what models are sorted by where it asks for an order; USD, or seconds.
        removed: models of the router that it was not asked about, and why in a word.
    """

    serving: Serving
    incoming: Incoming
    caller: Caller
    role: Role
    variant: Variant | None = None
    policy: str | None = None
    usable: Sequence[str] = ()
    options: Mapping[str, Any] = {}
    selection: Selection | None = None
    by: Mapping[str, float] | None = None
    removed: Mapping[str, str] = {}


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
        yield _left(self.asked, self.model)
        for model in following(self):
            self._enter(self.agent_of(model))
            yield _left(self.asked, model)

    def turn(self, model: ServedModel) -> bool:
        """Has a model answer as the next agent that leads to it, or by its own name where the client lists that,
        as the budget of the agent it was to answer as has too little left; whether there is one."""
        asked = self.asked
        self.unpaid |= {self.agent_of(model)}
        if asked.selection is not None and not asked.selection.asked.allow_fallbacks:
            return False
        for name in chain(_next_names(self), _runners_up(self)):
            agent = agent_of(name) or ""
            if agent in self.unpaid or _is_excluded(asked, name, model) or _reached(asked, agent) is not None:
                continue
            if _model(asked.serving, name, "models") is model:
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


class Chooser:
    """Makes plans. Belongs to the event loop's thread.

    Attributes:
        last_decision: UTC seconds of the last decision of a router, or None.
    """

    def __init__(self, table: sessions.SessionTable) -> None:
        self._sessions = table
        self.last_decision: float | None = None

    def leader(self, serving: Serving, incoming: Incoming) -> str | None:
        """The name that has to be led on before :meth:`plan`: a chain's, a group's or an ensemble's; None where
        the request names nothing of the kind."""
        if incoming.options.pin is not None:
            return None
        name, _ = _asked_for(serving, incoming, _role(incoming))
        found = serving.names.get(name)
        return name if isinstance(found, ChainTarget | AgentsTarget | EnsembleTarget) else None

    def pick(
        self,
        serving: Serving,
        incoming: Incoming,
        caller: Caller,
        target: AgentsTarget,
        without: frozenset[str] = frozenset(),
    ) -> Picked:
        """Which agent of a group a request goes to.

        Raises:
            GatewayError: 400, none is suitable; 429, those that are have as much to do as they may.
        """
        return pick(asked_by(serving, incoming, caller), target, _unfit, without=without)

    def plan(self, serving: Serving, incoming: Incoming, caller: Caller, choice: Choice | None = None) -> Plan:
        """What to do with a request.

        Args:
            serving: the configuration in force.
            incoming: the request.
            caller: who asks.
            choice: what was decided before, where :meth:`leader` names something.

        Raises:
            GatewayError: 400, 403 or 404; nothing may or can serve it as it stands.
        """
        options = incoming.options
        for name in incoming.fallbacks:
            _model(serving, name, "models")  # an unknown one is said now, not when it is needed
        role = _role(incoming)
        asked = Asked(serving, incoming, caller, role)
        if incoming.provider is not None:
            asked.selection = Selection(incoming.provider, serving, incoming)
        if options.pin is not None:
            return _named(asked, options.pin, "pinned")
        if choice is not None:
            return self._chosen(asked, choice)
        name, policy = _asked_for(serving, incoming, role)
        target = serving.resolve(name)
        if isinstance(target, ServedModel):
            return _named(asked, name, "named" if incoming.asked != "auto" else "role_default")
        if incoming.endpoint == "embeddings":
            raise embeddings_not_routed()
        if isinstance(target, AgentsTarget):
            picked = pick(asked, target, _unfit, kinds=(ServedModel, RouterTarget))
            return self._chosen(asked, Choice(picked.name, AGENTS, (picked.hop,), picked=picked))
        if not isinstance(target, RouterTarget):
            raise GatewayError(
                400,
                f"'{name}' is {_kind(target)}, which cannot be asked here.",
                param="model",
                code="not_routable",
            )
        asked.policy = policy or target.policy
        plan = self._routed(asked, target)
        if (agent := agent_of(name)) is not None:
            _check_free(asked, agent)
            plan.agent = agent
        return plan

    def by_router(self, serving: Serving, incoming: Incoming, caller: Caller, router: str) -> Plan:
        """What a router decides about a request, for a chain that asks it.

        Raises:
            GatewayError: as :meth:`plan`.
        """
        asked = Asked(serving, incoming, caller, _role(incoming), policy=incoming.options.policy)
        if incoming.provider is not None:
            asked.selection = Selection(incoming.provider, serving, incoming)
        return self._routed(asked, RouterTarget(router))

    def _chosen(self, asked: Asked, choice: Choice) -> Plan:
        """The plan of what a chain has decided: constraints, sessions and what follows are as of any request."""
        target, hops = choice.target, choice.hops
        if isinstance(target, CannedAnswer):
            said = _said(asked.incoming) if asked.serving.config.log.prompts else ""
            strongest = asked.serving.strongest or next(iter(asked.serving.models.values()))
            plan = Plan(strongest, asked, strongest, reason="answered", said=said, answer=target.text)
        elif choice.plan is not None:
            plan = choice.plan
        elif isinstance(found := asked.serving.resolve(target), ServedModel):
            plan = _named(asked, target, "chain")
        else:
            assert isinstance(found, RouterTarget), "chains are walked to their end"
            asked.policy = asked.incoming.options.policy or found.policy
            plan = self._routed(asked, found)
            if (agent := agent_of(target)) is not None:
                _check_free(asked, agent)
                plan.agent = agent
            why = f"{plan.routed_by}, {plan.reason} -> {plan.model.name}"
            hops = (*hops, Hop(hops[0].chain, target, chose=True, why=why))
        plan.routed_by, plan.hops, plan.intent = choice.step, hops, choice.intent
        plan.agent = plan.agent or choice.agent
        plan.among = choice.picked
        if choice.picked is not None and choice.step == AGENTS:
            _of_group(plan, choice.picked)
        return plan

    def answered(self, plan: Plan, model: str, tokens: int) -> None:
        """Remembers that a conversation's prefix of so many tokens is now in this model's cache."""
        if plan.session is not None:
            self._sessions.answered(plan.session, model, tokens, plan.said, time.monotonic(), plan.tools)

    def _routed(self, asked: Asked, target: RouterTarget) -> Plan:
        served = asked.serving.routers[target.router]
        variant = asked.variant = served.deciding()
        asked.usable = _usable(asked, variant)
        if len(asked.usable) != len(variant.router.models):
            asked.removed = _left_out(asked, variant.router.models)
        asked.options = _options(asked, target, served, variant)
        try:
            plan = self._decided(asked, served, variant) or _unjudged(asked, served, variant)
            return plan if asked.selection is None else _sorted(plan, asked.selection)
        except NoFeasibleModelError as error:
            raise GatewayError(
                400,
                f"No model meets the constraints: {error.value}; {error.remedy}.",
                param="td",
                code="no_feasible_model",
            ) from error
        except OptionError as error:
            # Its remedy is for whoever loads an artifact, not for whoever calls this.
            raise GatewayError(
                400,
                f"The router '{served.name}' cannot keep to what is asked: {error.field}: {error.value}.",
                param="td",
                code="invalid_value",
            ) from error

    def _decided(self, asked: Asked, served: ServedRouter, variant: Variant) -> Plan | None:
        """The router's decision, or the session's; None where there is nothing a router can judge."""
        serving, incoming, router = asked.serving, asked.incoming, variant.router
        try:
            words, tools, system = incoming.words(), incoming.tools(), incoming.system()
            outline = conversation(words, tools)
            key, found = self._conversation(asked, system, outline.begun)
            sent = hash(tools) if key is not None and _selects(incoming, served) else 0
            options = asked.options
            if found is not None:
                options = {**options, **self._caches(asked, found, router.models, sent)}
            decision = router.decide(
                words,
                tools,
                engine_options(cast("AskedOfRouter", options), router.models),
                system=system,
                response_format=incoming.response_format(),
                outline=outline,
            )
        except RequestError as error:
            if error.field in ("text", "request"):
                return None
            field = incoming.field(error.field)
            raise GatewayError(
                400, f"Invalid {field}: {error.value}; {error.remedy}.", param=field, code="invalid_value"
            ) from error
        source = key
        if source is None:
            source = sessions.key_of(asked.caller.id, incoming.options.session, system, outline.begun)
        decision = variant.decided(decision, source)
        self.last_decision = time.time()
        strongest = _strongest(asked, variant)
        plan = Plan(
            strongest,
            asked,
            strongest,
            served.name,
            variant.name,
            decision,
            decision.routed_by,
            decision.reason,
            key,
            outline.said,
            tools=sent,
        )
        before = "" if found is None else found.said
        if self._escalates(plan, decision, before):
            plan.routed_by, plan.reason = "session", "escalated"
            plan.decision = replace(
                decision, guarantee=None, guarantee_note="escalated: the strongest model answers"
            )
        else:
            plan.model = serving.models[decision.model]
        return plan

    def _conversation(
        self, asked: Asked, system: bytes | None, begun: str | bytes
    ) -> tuple[Hashable | None, sessions.Session | None]:
        """Key of the conversation, and what is remembered of it; None where nobody will ask."""
        settings = asked.serving.config.sessions
        if not settings.sticky and not settings.escalate:
            return None, None
        key = sessions.key_of(asked.caller.id, asked.incoming.options.session, system, begun)
        return key, self._sessions.find(key)

    def _caches(self, asked: Asked, found: sessions.Session, models: Sequence[str], tools: int) -> dict[str, Any]:
        """What a router is told of a conversation: the model it is with, and what is in whose prompt cache."""
        settings = asked.serving.config.sessions
        oldest = time.monotonic() - settings.cache_seconds
        if not settings.sticky or found.model not in asked.usable or found.caches[found.model].time < oldest:
            return {}
        caches = {
            model: cached.tokens
            for model, cached in found.caches.items()
            if cached.time >= oldest and cached.tools == tools and model in models
        }
        return {"current": found.model, "cached_tokens": caches}

    def _escalates(self, plan: Plan, decision: Decision, before: str) -> bool:
        """Whether the user is unhappy with what was said, and the strongest model may answer."""
        asked, strongest = plan.asked, plan.baseline.name
        return (
            asked.serving.config.sessions.escalate
            and sessions.unhappy(plan.said, before)
            and strongest in asked.usable
            and not decision.level
            and strongest not in decision.removed
        )


def refused(asked: Asked, target: str) -> str | None:
    """Why a chain's step may not lead a request there, in words; None where it may.

    Of a model: it does not serve the endpoint or role, is not for the key, is excluded, or ``provider`` leaves no
    deployment of it. Of a router: it is left no model.
    """
    found = asked.serving.resolve(target)
    if (agent := agent_of(target)) is not None and (limit := _reached(asked, agent)) is not None:
        return f"it is at its limit ({limit})"
    if isinstance(found, EnsembleTarget):
        members = [asked.serving.agents.targets[each] for each in found.members]
        asks = [each for each in members if isinstance(each, ServedModel)]
        return next((f"its member may not: {why}" for each in asks if (why := _unfit(asked, each))), None)
    if isinstance(found, AgentsTarget):
        try:
            pick(asked, found, _unfit)
        except GatewayError as error:
            return error.message.rstrip(".")
        return None
    if isinstance(found, RouterTarget):
        try:
            _usable(asked, asked.serving.routers[found.router].deciding())
        except GatewayError:
            return "none of its models may serve this request"
        return None
    if not isinstance(found, ServedModel) or _may_serve(asked, found):
        return None
    if not asked.caller.allows(found.name):
        return "not for this key"
    return "excluded" if found.name in _excluded(asked) else "it may not serve this request"


def asked_by(serving: Serving, incoming: Incoming, caller: Caller) -> Asked:
    """What :func:`refused` is asked about."""
    asked = Asked(serving, incoming, caller, _role(incoming))
    if incoming.provider is not None:
        asked.selection = Selection(incoming.provider, serving, incoming)
    return asked


def router_of(serving: Serving, incoming: Incoming, choice: Choice | None = None) -> ServedRouter | None:
    """The router that a plan will ask; None where it asks none, or finds fault with the request.

    ``choice`` is what a chain has decided, where one has.
    """
    if incoming.options.pin is not None:
        return None
    if choice is None:
        name, _ = _asked_for(serving, incoming, _role(incoming))
    elif choice.plan is not None:
        return serving.routers[choice.plan.router]
    elif isinstance(choice.target, CannedAnswer):
        return None
    else:
        name = choice.target
    try:
        target = serving.resolve(name)
    except GatewayError:
        return None
    return serving.routers[target.router] if isinstance(target, RouterTarget) else None


def _selects(incoming: Incoming, served: ServedRouter) -> bool:
    """Whether a request's tools are selected, so that they may be others at the conversation's next turn."""
    return served.tools is not None or incoming.options.tool_selection is not None


def _role(incoming: Incoming) -> Role:
    return incoming.options.role or ("embed" if incoming.endpoint == "embeddings" else "chat")


def _asked_for(serving: Serving, incoming: Incoming, role: Role) -> tuple[str, str | None]:
    """The model or router that is asked for, and the policy: by the request, or by its role."""
    name, policy = incoming.asked, incoming.options.policy
    if name == "auto" and (default := serving.config.roles.get(role)) is not None:
        return default.model, policy or default.policy
    return name, policy


def _options(asked: Asked, target: RouterTarget, served: ServedRouter, variant: Variant) -> dict[str, Any]:
    """What the router is asked beside the request: the client's word, or else the configuration's."""
    given, bounds = asked.incoming.options, served.settings
    if asked.policy in _OF_AGENTS:
        raise GatewayError(
            400,
            f"The router '{served.name}' has no policy '{asked.policy}': groups of agents have.",
            param="td.policy",
            code="invalid_value",
        )
    threshold = target.threshold if given.threshold is None else given.threshold
    options: dict[str, Any] = variant.options(asked.policy, threshold)
    if len(asked.usable) != len(variant.router.models):
        options["allowed"] = asked.usable
    if (max_cost := bounds.max_cost if given.max_cost is None else given.max_cost) is not None:
        options["max_cost"] = max_cost
    if (min_quality := bounds.min_quality if given.min_quality is None else given.min_quality) is not None:
        options["min_quality"] = min_quality
    if given.max_latency is not None:
        options["max_latency"] = given.max_latency
    return options


def _strongest(asked: Asked, variant: Variant) -> ServedModel:
    """The model savings are counted against, where the router has it; else the dearest it may choose."""
    serving = asked.serving
    if serving.strongest is not None and serving.strongest.name in variant.router.models:
        return serving.strongest
    return max((serving.models[name] for name in asked.usable), key=lambda each: each.expected_cost or 0.0)


def _unjudged(asked: Asked, served: ServedRouter, variant: Variant) -> Plan:
    """Images, audio or nothing: not for the router to judge, so the default model answers, of those whose answer
    alone keeps to what is asked."""
    router = variant.router
    strongest = _strongest(asked, variant)
    left, _, _ = router.outlook(0, engine_options(cast("AskedOfRouter", asked.options), router.models))
    asked.usable = tuple(name for name in asked.usable if name in left)
    default = _default(asked, variant, strongest)
    return Plan(default, asked, strongest, served.name, routed_by="default", reason="no_text")


# Policies that only groups of agents have.
_OF_AGENTS: Final = ("latency", "quality_per_dollar")
# What removes a model for the request's sake, as no failure of another model can mend.
_LIMITS: Final = ("context_window", "max_cost", "max_latency", "min_quality")


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
        model = _model(asked.serving, name, "models")
        if (agent := agent_of(name)) is not None:
            if _reached(asked, agent) is not None or _is_excluded(asked, name, model):
                continue
            plan.agents.setdefault(model.name, agent)
        if (
            model not in found
            and not _is_excluded(asked, name, model)
            and asked.incoming.endpoint in model.endpoints
            and _may(asked, model)
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
            following = pick(plan.asked, picked.target, _unfit, without=tried, kinds=(ServedModel,))
        except GatewayError:
            return
        tried |= {following.agent}
        yield following.name


def _of_group(plan: Plan, picked: Picked) -> None:
    """Says in a plan which group has chosen, and what savings are counted against: its strongest model."""
    serving = plan.asked.serving
    group = serving.agents.groups[picked.target.group]
    plan.picked, plan.router, plan.reason = picked, plan.router or group.name, picked.policy
    models = [target for each in group.members if isinstance(target := serving.agents.targets[each], ServedModel)]
    if serving.strongest in models:
        plan.baseline = serving.strongest
    elif models:
        plan.baseline = max(models, key=lambda each: each.expected_cost or 0.0)


def _unfit(asked: Asked, model: ServedModel) -> str | None:
    """Why an agent whose model this is may not be chosen, in a word; None where it may."""
    if not asked.caller.allows(model.name):
        return "not_for_this_key"
    if not model.serves(asked.incoming.endpoint, asked.role):
        return "endpoint"
    if _cheaper(asked) and model is asked.serving.strongest:
        return "budget_remaining"
    if model.name in _excluded(asked, by_agents=False):
        return "excluded"
    if asked.selection is not None and (option := asked.selection.removes(model)) is not None:
        return f"provider.{option}"
    return None


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


def _named(asked: Asked, name: str, reason: str) -> Plan:
    """The client's own choice: it stands, and is only followed by what the client or its role lists."""
    serving, incoming = asked.serving, asked.incoming
    model = _model(serving, name, "td.pin" if reason == "pinned" else "model")
    agents: dict[str, str] = {}
    if (agent := agent_of(name)) is not None:
        agents[model.name] = agent
        _check_free(asked, agent)
    if asked.selection is not None:
        model = _selected(asked, asked.selection, model, alone=reason == "pinned")
    _permit(asked, model)
    if incoming.endpoint not in model.endpoints:
        raise GatewayError(
            400,
            f"The model '{model.name}' does not serve {incoming.endpoint}.",
            param="model",
            code="unsupported_endpoint",
        )
    if _is_excluded(asked, name, model):
        raise GatewayError(
            400, f"'{model.name}' is both asked for and excluded.", param="td.exclude", code="invalid_value"
        )
    routed_by = {"pinned": "override", "named": "client"}.get(reason, "default")
    said = _said(incoming) if serving.config.log.prompts else ""
    return Plan(model, asked, model, routed_by=routed_by, reason=reason, said=said, agents=agents)


def _reached(asked: Asked, agent: str) -> str | None:
    """The limit an agent is at; None where it may have one more request."""
    limited = asked.serving.agents.limited.get(agent)
    return None if limited is None else limited.reached()


def _check_free(asked: Asked, agent: str) -> None:
    """Refuses a request to an agent that has as much to do as it may."""
    if (limit := _reached(asked, agent)) is not None:
        wait = asked.serving.agents.limited[agent].wait()
        raise at_limit(f"The agent '{agent}' ({limit})", wait, {agent: limit})


def named(asked: Asked) -> Plan:
    """The plan of a request that is passed on: the model it names, or that of its role; nothing follows.

    Raises:
        GatewayError: 400, 403, 404 or 429; there is no such model, or not for this key.
    """
    serving, name, reason = asked.serving, asked.incoming.asked, "named"
    if name == "auto" and (default := serving.config.roles.get(asked.role)) is not None:
        name, reason = default.model, "role_default"
    model = _model(serving, name, "model")
    _permit(asked, model)
    return Plan(model, asked, model, routed_by="client" if reason == "named" else "default", reason=reason)


def _model(serving: Serving, name: str, param: str) -> ServedModel:
    found = serving.resolve(name)
    if not isinstance(found, ServedModel):
        what = _kind(found)
        raise GatewayError(400, f"'{name}' is {what}; name a model here.", param=param, code="invalid_value")
    return found


def _kind(target: Target) -> str:
    """What a name stands for, in words."""
    if isinstance(target, RouterTarget):
        return "a router"
    if isinstance(target, ChainTarget):
        return "a chain"
    return "an ensemble" if isinstance(target, EnsembleTarget) else "a group of agents"


def _permit(asked: Asked, model: ServedModel) -> None:
    if not asked.caller.allows(model.name):
        raise GatewayError(
            403, f"This API key may not use the model '{model.name}'.", param="model", code="model_not_allowed"
        )
    if _cheaper(asked) and model is asked.serving.strongest:
        raise GatewayError(
            429,
            f"A budget is spent: '{model.name}' is not available until the next period; use auto "
            "or a cheaper model.",
            type="budget_exceeded",
            param="model",
            code="budget_exceeded",
        )


def _cheaper(asked: Asked) -> bool:
    """Whether a budget leaves only models cheaper than the strongest."""
    return asked.caller.soft_budget_spent or asked.incoming.cheaper


def _may(asked: Asked, model: ServedModel) -> bool:
    caller = asked.caller
    return (
        caller.allows(model.name)
        and not (_cheaper(asked) and model is asked.serving.strongest)
        and (asked.selection is None or asked.selection.of(model) is not None)
    )


def _left(asked: Asked, model: ServedModel) -> ServedModel:
    """The model with the deployments it may be asked at."""
    if asked.selection is None:
        return model
    found = asked.selection.of(model)
    assert found is not None, "a plan has no model that was removed"
    return found


def _selected(asked: Asked, selection: Selection, model: ServedModel, *, alone: bool) -> ServedModel:
    """The model named, or of those listed after it the first that ``provider`` leaves."""
    named = [model]
    if selection.asked.allow_fallbacks and not alone:
        named += [_model(asked.serving, name, "models") for name in asked.incoming.fallbacks]
    able = [each for each in named if asked.incoming.endpoint in each.endpoints and asked.caller.allows(each.name)]
    left = [each for each in able if selection.of(each) is not None]
    if able and not left:
        raise selection.nothing_left(able)
    if len(left) > 1 or selection.asked.sort == "latency":
        by = selection.sorting([each.name for each in left], asked.serving.models, None)
        if by is not None:
            left.sort(key=lambda each: by[each.name])
    return left[0] if left else model  # which something else forbids, and says so


def _sorted(plan: Plan, selection: Selection) -> Plan:
    """The plan with the cheapest or fastest of its router's models, where that is asked."""
    asked, decision = plan.asked, plan.decision
    left = [name for name in asked.usable if decision is None or name not in decision.removed]
    asked.by = selection.sorting(left, asked.serving.models, decision)
    if asked.by is None:
        return plan
    chosen = min(left, key=asked.by.__getitem__)
    plan.model = asked.serving.models[chosen]
    plan.routed_by, plan.reason = "override", f"sorted_by_{selection.asked.sort}"
    if decision is not None:
        plan.decision = replace(
            decision,
            model=chosen,
            quality=decision.scores[chosen],
            cost=None if decision.costs is None else decision.costs[chosen],
            guarantee=None,
            guarantee_note="overridden by the caller",
        )
    return plan


def _in_order(asked: Asked, names: Sequence[str]) -> Sequence[str]:
    """What follows unasked, as ``provider`` wants it: by its ``sort``, then by its ``order``."""
    selection, by = asked.selection, asked.by
    if selection is None:
        return names
    models = asked.serving.models
    if by is not None:
        names = sorted(names, key=lambda name: by.get(name, math.inf))
    return sorted(names, key=lambda name: selection.rank(models[name]))


def _is_excluded(asked: Asked, name: str, model: ServedModel) -> bool:
    """Whether what is asked for by a name may not serve: an agent that is excluded, and not the others that lead
    to its model."""
    if agent_of(name) is None:
        return model.name in _excluded(asked)
    return name in asked.incoming.options.exclude or model.name in _excluded(asked, by_agents=False)


def _excluded(asked: Asked, *, by_agents: bool = True) -> frozenset[str]:
    """Names of the models that are excluded; ``by_agents``: also those that excluded agents lead to."""
    excluded = asked.incoming.options.exclude
    if not by_agents:
        excluded = tuple(name for name in excluded if agent_of(name) is None)
    if not excluded:
        return frozenset()
    found = {name: asked.serving.resolve(name) for name in excluded}
    # An agent that leads to no single model is one that a group is not to choose.
    return frozenset(
        _model(asked.serving, name, "td.exclude").name
        for name, target in found.items()
        if isinstance(target, ServedModel) or agent_of(name) is None
    )


def _usable(asked: Asked, variant: Variant) -> tuple[str, ...]:
    """The router's models this request may go to."""
    models, caller, incoming = asked.serving.models, asked.caller, asked.incoming
    usable = variant.usable(incoming.endpoint, asked.role, models)
    if incoming.options.exclude or caller.models is not None or _cheaper(asked) or asked.selection:
        excluded = _excluded(asked)
        before = [models[name] for name in usable if name not in excluded and caller.allows(name)]
        usable = tuple(name for name in usable if name not in excluded and _may(asked, models[name]))
        if not usable and asked.selection is not None and asked.selection.why(before):
            raise asked.selection.nothing_left(before)
    if not usable:
        raise GatewayError(
            400,
            f"No model of the router '{variant.of}' serves {incoming.endpoint} in the role {asked.role} for this "
            "key and these constraints.",
            param="model",
            code="no_feasible_model",
            removed=_left_out(asked, variant.router.models),
        )
    return usable


def _left_out(asked: Asked, names: Iterable[str]) -> dict[str, str]:
    """By model of a router, why it is not asked about it, in a word; those it is asked about are missing."""
    models, usable = asked.serving.models, frozenset(asked.usable)
    return {
        name: ("not_configured" if name not in models else _unfit(asked, models[name]) or "removed")
        for name in names
        if name not in usable
    }


def _may_serve(asked: Asked, model: ServedModel) -> bool:
    return (
        model.serves(asked.incoming.endpoint, asked.role)
        and model.name not in _excluded(asked)
        and _may(asked, model)
    )


def _default(asked: Asked, variant: Variant, strongest: ServedModel) -> ServedModel:
    """The model for what no router can judge."""
    models, usable = asked.serving.models, asked.usable
    name = asked.serving.config.default_model
    if name is not None:
        model = models[name]
        # One that the router does not know need only be able and allowed to serve.
        known = name in variant.router.models
        if name in usable if known else _may_serve(asked, model):
            return model
    return strongest if strongest.name in usable else models[usable[0]]


def _said(incoming: Incoming) -> str:
    """What the user said last, for the log of a request that is not routed: it may have any shape."""
    try:
        return conversation(incoming.words(), None).said
    except RequestError:
        return ""
