"""Which model, and which next if it fails: what the client named, its constraints, the router, the session."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from tiny_dancer.errors import NoFeasibleModelError, OptionError, RequestError
from tiny_dancer.gateway import sessions
from tiny_dancer.gateway.deployments import ServedModel
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.serving import POLICY_SCALE, RouterTarget
from tiny_dancer.types import Decision

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tiny_dancer.gateway.access import Caller
    from tiny_dancer.gateway.requests import Incoming
    from tiny_dancer.gateway.serving import ServedRouter, Serving


class Plan(Struct):
    """What will be tried, and why.

    Attributes:
        model: the choice.
        following: what is tried where the choice fails, in order; asked only then, with the choice.
        role: of the request.
        router: name of the router that decided; empty where none did.
        decision: of the router; None where none decided.
        routed_by: as of ``Decision``; ``client`` where the client named the model, ``session`` where a
            conversation stayed with its model.
        reason: as of ``Decision``, or why this model all the same.
        baseline: the model savings are counted against: the strongest where routing had a choice, else the choice.
        session: key of the conversation; None where it has none.
        said: what the user said last, where something was routed.
    """

    model: ServedModel
    following: Callable[[ServedModel], list[ServedModel]]
    role: str
    baseline: ServedModel
    router: str = ""
    decision: Decision | None = None
    routed_by: str = "client"
    reason: str = "named"
    session: Hashable | None = None
    said: str = ""

    def models(self) -> Iterator[ServedModel]:
        """The choice, then what follows."""
        yield self.model
        yield from self.following(self.model)


class Chooser:
    """Makes plans. Belongs to the event loop's thread.

    Attributes:
        last_decision: UTC seconds of the last decision of a router, or None.
    """

    def __init__(self, table: sessions.SessionTable) -> None:
        self._sessions = table
        self.last_decision: float | None = None

    def plan(self, serving: Serving, incoming: Incoming, caller: Caller) -> Plan:
        """What to do with a request.

        Raises:
            GatewayError: 400, 403 or 404; nothing may or can serve it as it stands.
        """
        options = incoming.options
        for name in incoming.fallbacks:
            _model(serving, name, "models")  # an unknown one is said now, not when it is needed
        role = options.role or ("embed" if incoming.endpoint == "embeddings" else "chat")
        if options.pin is not None:
            return self._named(serving, incoming, caller, role, options.pin, "pinned")
        asked, policy = incoming.asked, options.policy
        if asked == "auto" and (default := serving.config.roles.get(role)) is not None:
            asked, policy = default.model, policy or default.policy
        target = serving.resolve(asked)
        if not isinstance(target, RouterTarget):
            named = incoming.asked != "auto"
            return self._named(serving, incoming, caller, role, target.name, "named" if named else "role_default")
        if incoming.endpoint == "embeddings":
            raise GatewayError(
                400,
                "Embeddings of different models cannot be compared, so they are not routed; name a model, or set "
                "roles.embed.model.",
                param="model",
                code="not_routable",
            )
        return self._routed(serving, incoming, caller, role, target, policy or target.policy)

    def answered(self, plan: Plan, model: str, tokens: int) -> None:
        """Remembers that a conversation's prefix of so many tokens is now in this model's cache."""
        if plan.session is not None:
            self._sessions.answered(plan.session, model, tokens, plan.said, time.monotonic())

    def _named(
        self, serving: Serving, incoming: Incoming, caller: Caller, role: str, name: str, reason: str
    ) -> Plan:
        """The client's own choice: it stands, and is only followed by what the client or its role lists."""
        model = _model(serving, name, "td.pin" if reason == "pinned" else "model")
        _permit(serving, caller, model)
        if incoming.endpoint not in model.endpoints:
            raise GatewayError(
                400,
                f"The model '{model.name}' does not serve {incoming.endpoint}.",
                param="model",
                code="unsupported_endpoint",
            )
        if model.name in _excluded(serving, incoming):
            raise GatewayError(
                400, f"'{model.name}' is both asked for and excluded.", param="td.exclude", code="invalid_value"
            )
        fallbacks: list[str] = list(incoming.fallbacks)
        if reason == "role_default":
            fallbacks += serving.config.roles[role].fallbacks  # type: ignore[index]
        following = partial(_following, serving, incoming, caller, fallbacks)
        routed_by = {"pinned": "override", "named": "client"}.get(reason, "default")
        said = _said(incoming.messages()) if serving.config.log.prompts else ""
        return Plan(model, following, role, model, routed_by=routed_by, reason=reason, said=said)

    def _routed(
        self,
        serving: Serving,
        incoming: Incoming,
        caller: Caller,
        role: str,
        target: RouterTarget,
        policy: Any,
    ) -> Plan:
        served = serving.routers[target.router]
        usable = _usable(serving, served, incoming, caller, role)
        options = incoming.options
        threshold = target.threshold if options.threshold is None else options.threshold
        asked: dict[str, Any] = served.options(policy, threshold)
        if len(usable) != len(served.router.models):
            asked["allowed"] = usable
        bounds = served.settings
        if (max_cost := bounds.max_cost if options.max_cost is None else options.max_cost) is not None:
            asked["max_cost"] = max_cost
        if (min_quality := bounds.min_quality if options.min_quality is None else options.min_quality) is not None:
            asked["min_quality"] = min_quality
        if options.max_latency is not None:
            asked["max_latency"] = options.max_latency
        messages = incoming.messages()
        strongest = serving.strongest
        if strongest is None or strongest.name not in served.router.models:
            strongest = max((serving.models[name] for name in usable), key=lambda each: each.expected_cost or 0.0)
        try:
            decision = served.router.route(messages, tools=incoming.tools(), **asked)
        except RequestError as error:
            if error.field not in ("text", "request"):
                raise GatewayError(400, f"Invalid {error}.", param=error.field, code="invalid_value") from error
            # Images, audio or nothing: not for the router to judge, so the default model answers.
            default = _default(serving, served, incoming, caller, role, usable, strongest)
            following = partial(_following, serving, incoming, caller, [*incoming.fallbacks, *usable])
            return Plan(default, following, role, strongest, served.name, routed_by="default", reason="no_text")
        except NoFeasibleModelError as error:
            raise GatewayError(
                400, f"No model meets the constraints: {error}.", param="td", code="no_feasible_model"
            ) from error
        except OptionError as error:
            # Its remedy is for whoever loads an artifact, not for whoever calls this.
            raise GatewayError(
                400,
                f"The router '{served.name}' cannot keep to what is asked: {error.field}: {error.value}.",
                param="td",
                code="invalid_value",
            ) from error
        self.last_decision = time.time()
        plan = Plan(
            strongest,
            partial(_after_routed, serving, served, incoming, caller, role, decision, usable),
            role,
            strongest,
            served.name,
            decision,
            decision.routed_by,
            decision.reason,
        )
        plan.said = _said(messages)
        plan.model = serving.models[
            self._in_session(serving, served, incoming, caller, messages, plan, policy, asked, usable)
        ]
        return plan

    def _in_session(
        self,
        serving: Serving,
        served: ServedRouter,
        incoming: Incoming,
        caller: Caller,
        messages: Sequence[dict[str, Any]],
        plan: Plan,
        policy: Any,
        asked: dict[str, Any],
        usable: Sequence[str],
    ) -> str:
        """The decided model, or the one a conversation stays with; notes in the plan what has been changed."""
        decision = plan.decision
        assert decision is not None
        settings = serving.config.sessions
        if not settings.sticky and not settings.escalate:
            return decision.model
        plan.session = sessions.key_of(caller.id, incoming.options.session, messages)
        found = self._sessions.find(plan.session)
        if settings.escalate:
            before = "" if found is None else found.said
            strongest = plan.baseline.name
            if sessions.unhappy(plan.said, before) and strongest in usable and _meets(decision, strongest, asked):
                plan.routed_by, plan.reason = "session", "escalated"
                return plan.baseline.name
        if found is None or not settings.sticky or found.model == decision.model or found.model not in usable:
            return decision.model
        oldest = time.monotonic() - settings.cache_seconds
        cached, left = found.caches[found.model], found.caches.get(decision.model)
        if cached.time < oldest or decision.level > 1 or not _meets(decision, found.model, asked):
            return decision.model
        if left is not None and left.time < oldest:
            left = None
        scale = POLICY_SCALE[policy or served.settings.policy]
        weight = sessions.quality_per_dollar(
            served.router.header["policy"], served.router.models, decision, asked.get("threshold"), scale
        )
        stay, leave = serving.models[found.model], serving.models[decision.model]
        # A comparison with NaN is false: what cannot be priced does not hold a conversation.
        if sessions.worth_staying(decision, stay, leave, cached, weight, left):
            plan.routed_by, plan.reason = "session", "prompt_cached"
            return stay.name
        return decision.model


def _meets(decision: Decision, name: str, asked: dict[str, Any]) -> bool:
    """Whether a model that was not decided on keeps within what the request asks, as far as that can be told."""
    if "max_latency" in asked:
        return False
    most, least = asked.get("max_cost"), asked.get("min_quality")
    cost = None if decision.costs is None else decision.costs.get(name)
    if most is not None and (cost is None or cost > most):
        return False
    return least is None or decision.scores[name] >= least


def _model(serving: Serving, name: str, param: str) -> ServedModel:
    found = serving.resolve(name)
    if isinstance(found, RouterTarget):
        raise GatewayError(400, f"'{name}' is a router; name a model here.", param=param, code="invalid_value")
    return found


def _permit(serving: Serving, caller: Caller, model: ServedModel) -> None:
    if not caller.allows(model.name):
        raise GatewayError(
            403, f"This API key may not use the model '{model.name}'.", param="model", code="model_not_allowed"
        )
    if caller.soft_budget_spent and model is serving.strongest:
        raise GatewayError(
            429,
            f"This API key's budget is spent: '{model.name}' is not available until the next period; use auto "
            "or a cheaper model.",
            param="model",
            code="budget_exceeded",
        )


def _may(serving: Serving, caller: Caller, model: ServedModel) -> bool:
    return caller.allows(model.name) and not (caller.soft_budget_spent and model is serving.strongest)


def _excluded(serving: Serving, incoming: Incoming) -> frozenset[str]:
    if not incoming.options.exclude:
        return frozenset()
    return frozenset(_model(serving, name, "td.exclude").name for name in incoming.options.exclude)


def _usable(
    serving: Serving, served: ServedRouter, incoming: Incoming, caller: Caller, role: str
) -> tuple[str, ...]:
    """The router's models this request may go to."""
    usable = served.usable(incoming.endpoint, role, serving.models)
    if incoming.options.exclude or caller.models is not None or caller.soft_budget_spent:
        excluded = _excluded(serving, incoming)
        usable = tuple(
            name for name in usable if name not in excluded and _may(serving, caller, serving.models[name])
        )
    if not usable:
        raise GatewayError(
            400,
            f"No model of the router '{served.name}' serves {incoming.endpoint} in the role {role} for this key "
            "and these constraints.",
            param="model",
            code="no_feasible_model",
        )
    return usable


def _following(
    serving: Serving, incoming: Incoming, caller: Caller, names: Sequence[str], first: ServedModel
) -> list[ServedModel]:
    """What of these names may be tried after the first, in their order, each once, as many as configured."""
    excluded = _excluded(serving, incoming)
    found = [first]
    for name in names:
        if len(found) > serving.config.max_fallbacks:
            break
        model = _model(serving, name, "models")
        if (
            model not in found
            and model.name not in excluded
            and incoming.endpoint in model.endpoints
            and _may(serving, caller, model)
        ):
            found.append(model)
    return found[1:]


def _after_routed(
    serving: Serving,
    served: ServedRouter,
    incoming: Incoming,
    caller: Caller,
    role: str,
    decision: Decision,
    usable: Sequence[str],
    first: ServedModel,
) -> list[ServedModel]:
    """What follows a router's choice: what the client lists, then its role, then the router's other models."""
    names = list(incoming.fallbacks)
    if (defaults := serving.config.roles.get(role)) is not None:  # type: ignore[call-overload]
        names += defaults.fallbacks
    scores = decision.scores
    # The best first; in the artifact's order where a fallback level expects nothing.
    names += sorted(usable, key=lambda name: -scores[name] if math.isfinite(scores[name]) else 0.0)
    if serving.config.default_model is not None:
        names.append(serving.config.default_model)
    return _following(serving, incoming, caller, names, first)


def _may_serve(serving: Serving, incoming: Incoming, caller: Caller, role: str, model: ServedModel) -> bool:
    return (
        model.serves(incoming.endpoint, role)
        and model.name not in _excluded(serving, incoming)
        and _may(serving, caller, model)
    )


def _default(
    serving: Serving,
    served: ServedRouter,
    incoming: Incoming,
    caller: Caller,
    role: str,
    usable: Sequence[str],
    strongest: ServedModel,
) -> ServedModel:
    name = serving.config.default_model
    if name is not None:
        model = serving.models[name]
        # One that the router does not know need only be able and allowed to serve.
        known = name in served.router.models
        if name in usable if known else _may_serve(serving, incoming, caller, role, model):
            return model
    return strongest if strongest.name in usable else serving.models[usable[0]]


def _said(messages: Sequence[dict[str, Any]]) -> str:
    for message in reversed(messages):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            if isinstance(content, list):
                return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""
