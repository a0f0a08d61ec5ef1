"""How a plan is made: by what the client named, its constraints, the router, the session."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec.structs import replace

from tiny_dancer.errors import NoFeasibleModelError, OptionError, RequestError
from tiny_dancer.gateway.choosing import sessions
from tiny_dancer.gateway.choosing.asked import (
    Asked,
    asked_by,
    check_free,
    is_excluded,
    kind_of,
    left_out,
    may_serve,
    model_named,
    permit,
    role_of,
    unfit,
    usable_models,
)
from tiny_dancer.gateway.choosing.picking import AGENTS, Picked, pick
from tiny_dancer.gateway.choosing.plan import Choice, Plan
from tiny_dancer.gateway.choosing.selection import Selection
from tiny_dancer.gateway.choosing.targets import (
    AgentsTarget,
    ChainTarget,
    EnsembleTarget,
    RouterTarget,
    agent_of,
)
from tiny_dancer.gateway.errors import GatewayError, embeddings_not_routed
from tiny_dancer.gateway.upstream.deployments import ServedModel
from tiny_dancer.routing.arguments import engine_options
from tiny_dancer.routing.requests import conversation
from tiny_dancer.routing.walk import CannedAnswer, Hop

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from tiny_dancer.gateway.access.caller import Caller
    from tiny_dancer.gateway.choosing.incoming import Incoming
    from tiny_dancer.gateway.choosing.serving import ServedRouter, Serving, Variant
    from tiny_dancer.gateway.configuration.settings import Role
    from tiny_dancer.routing.arguments import Asked as AskedOfRouter
    from tiny_dancer.types import Decision


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
        name, _ = _asked_for(serving, incoming, role_of(incoming))
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
        return pick(asked_by(serving, incoming, caller), target, unfit, without=without)

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
            model_named(serving, name, "models")  # an unknown one is said now, not when it is needed
        role = role_of(incoming)
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
            picked = pick(asked, target, unfit, kinds=(ServedModel, RouterTarget))
            return self._chosen(asked, Choice(picked.name, AGENTS, (picked.hop,), picked=picked))
        if not isinstance(target, RouterTarget):
            raise GatewayError(
                400,
                f"'{name}' is {kind_of(target)}, which cannot be asked here.",
                param="model",
                code="not_routable",
            )
        asked.policy = policy or target.policy
        plan = self._routed(asked, target)
        if (agent := agent_of(name)) is not None:
            check_free(asked, agent)
            plan.agent = agent
        return plan

    def by_router(self, serving: Serving, incoming: Incoming, caller: Caller, router: str) -> Plan:
        """What a router decides about a request, for a chain that asks it.

        Raises:
            GatewayError: as :meth:`plan`.
        """
        asked = Asked(serving, incoming, caller, role_of(incoming), policy=incoming.options.policy)
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
                check_free(asked, agent)
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
        asked.usable = usable_models(asked, variant)
        if len(asked.usable) != len(variant.router.models):
            asked.removed = left_out(asked, variant.router.models)
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


def router_of(serving: Serving, incoming: Incoming, choice: Choice | None = None) -> ServedRouter | None:
    """The router that a plan will ask; None where it asks none, or finds fault with the request.

    ``choice`` is what a chain has decided, where one has.
    """
    if incoming.options.pin is not None:
        return None
    if choice is None:
        name, _ = _asked_for(serving, incoming, role_of(incoming))
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


def _named(asked: Asked, name: str, reason: str) -> Plan:
    """The client's own choice: it stands, and is only followed by what the client or its role lists."""
    serving, incoming = asked.serving, asked.incoming
    model = model_named(serving, name, "td.pin" if reason == "pinned" else "model")
    agents: dict[str, str] = {}
    if (agent := agent_of(name)) is not None:
        agents[model.name] = agent
        check_free(asked, agent)
    if asked.selection is not None:
        model = _selected(asked, asked.selection, model, alone=reason == "pinned")
    permit(asked, model)
    if incoming.endpoint not in model.endpoints:
        raise GatewayError(
            400,
            f"The model '{model.name}' does not serve {incoming.endpoint}.",
            param="model",
            code="unsupported_endpoint",
        )
    if is_excluded(asked, name, model):
        raise GatewayError(
            400, f"'{model.name}' is both asked for and excluded.", param="td.exclude", code="invalid_value"
        )
    routed_by = {"pinned": "override", "named": "client"}.get(reason, "default")
    said = _said(incoming) if serving.config.log.prompts else ""
    return Plan(model, asked, model, routed_by=routed_by, reason=reason, said=said, agents=agents)


def named(asked: Asked) -> Plan:
    """The plan of a request that is passed on: the model it names, or that of its role; nothing follows.

    Raises:
        GatewayError: 400, 403, 404 or 429; there is no such model, or not for this key.
    """
    serving, name, reason = asked.serving, asked.incoming.asked, "named"
    if name == "auto" and (default := serving.config.roles.get(asked.role)) is not None:
        name, reason = default.model, "role_default"
    model = model_named(serving, name, "model")
    permit(asked, model)
    return Plan(model, asked, model, routed_by="client" if reason == "named" else "default", reason=reason)


def _selected(asked: Asked, selection: Selection, model: ServedModel, *, alone: bool) -> ServedModel:
    """The model named, or of those listed after it the first that ``provider`` leaves."""
    named = [model]
    if selection.asked.allow_fallbacks and not alone:
        named += [model_named(asked.serving, name, "models") for name in asked.incoming.fallbacks]
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


def _default(asked: Asked, variant: Variant, strongest: ServedModel) -> ServedModel:
    """The model for what no router can judge."""
    models, usable = asked.serving.models, asked.usable
    name = asked.serving.config.default_model
    if name is not None:
        model = models[name]
        # One that the router does not know need only be able and allowed to serve.
        known = name in variant.router.models
        if name in usable if known else may_serve(asked, model):
            return model
    return strongest if strongest.name in usable else models[usable[0]]


def _said(incoming: Incoming) -> str:
    """What the user said last, for the log of a request that is not routed: it may have any shape."""
    try:
        return conversation(incoming.words(), None).said
    except RequestError:
        return ""
