"""What is asked, and which models it may go to: by key, role, endpoint, budgets, exclusions and ``provider``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from tiny_dancer.gateway.access.caller import Caller
from tiny_dancer.gateway.choosing.incoming import Incoming
from tiny_dancer.gateway.choosing.picking import at_limit, pick
from tiny_dancer.gateway.choosing.selection import Selection
from tiny_dancer.gateway.choosing.serving import Serving, Variant
from tiny_dancer.gateway.choosing.targets import (
    AgentsTarget,
    ChainTarget,
    EnsembleTarget,
    RouterTarget,
    agent_of,
)
from tiny_dancer.gateway.configuration.settings import Role
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream.deployments import ServedModel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiny_dancer.gateway.choosing.targets import Target


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


def asked_by(serving: Serving, incoming: Incoming, caller: Caller) -> Asked:
    """What :func:`refused` is asked about."""
    asked = Asked(serving, incoming, caller, role_of(incoming))
    if incoming.provider is not None:
        asked.selection = Selection(incoming.provider, serving, incoming)
    return asked


def role_of(incoming: Incoming) -> Role:
    """The role a request names, or that of its endpoint."""
    return incoming.options.role or ("embed" if incoming.endpoint == "embeddings" else "chat")


def model_named(serving: Serving, name: str, param: str) -> ServedModel:
    """The model of a name that ``param`` gives.

    Raises:
        GatewayError: 400 or 404; it is no model's.
    """
    found = serving.resolve(name)
    if not isinstance(found, ServedModel):
        what = kind_of(found)
        raise GatewayError(400, f"'{name}' is {what}; name a model here.", param=param, code="invalid_value")
    return found


def kind_of(target: Target) -> str:
    """What a name stands for, in words."""
    if isinstance(target, RouterTarget):
        return "a router"
    if isinstance(target, ChainTarget):
        return "a chain"
    return "an ensemble" if isinstance(target, EnsembleTarget) else "a group of agents"


def only_cheaper(asked: Asked) -> bool:
    """Whether a budget leaves only models cheaper than the strongest."""
    return asked.caller.soft_budget_spent or asked.incoming.cheaper


def permit(asked: Asked, model: ServedModel) -> None:
    """Passes a model that the key may use, as its budgets stand.

    Raises:
        GatewayError: 403 or 429; it may not.
    """
    if not asked.caller.allows(model.name):
        raise GatewayError(
            403, f"This API key may not use the model '{model.name}'.", param="model", code="model_not_allowed"
        )
    if only_cheaper(asked) and model is asked.serving.strongest:
        raise GatewayError(
            429,
            f"A budget is spent: '{model.name}' is not available until the next period; use auto "
            "or a cheaper model.",
            type="budget_exceeded",
            param="model",
            code="budget_exceeded",
        )


def may_ask(asked: Asked, model: ServedModel) -> bool:
    """Whether key, budgets and ``provider`` leave a model."""
    caller = asked.caller
    return (
        caller.allows(model.name)
        and not (only_cheaper(asked) and model is asked.serving.strongest)
        and (asked.selection is None or asked.selection.of(model) is not None)
    )


def left_of(asked: Asked, model: ServedModel) -> ServedModel:
    """The model with the deployments it may be asked at."""
    if asked.selection is None:
        return model
    found = asked.selection.of(model)
    assert found is not None, "a plan has no model that was removed"
    return found


def reached(asked: Asked, agent: str) -> str | None:
    """The limit an agent is at; None where it may have one more request."""
    limited = asked.serving.agents.limited.get(agent)
    return None if limited is None else limited.reached()


def check_free(asked: Asked, agent: str) -> None:
    """Refuses a request to an agent that has as much to do as it may."""
    if (limit := reached(asked, agent)) is not None:
        wait = asked.serving.agents.limited[agent].wait()
        raise at_limit(f"The agent '{agent}' ({limit})", wait, {agent: limit})


def is_excluded(asked: Asked, name: str, model: ServedModel) -> bool:
    """Whether what is asked for by a name may not serve: an agent that is excluded, and not the others that lead
    to its model."""
    if agent_of(name) is None:
        return model.name in excluded_by(asked)
    return name in asked.incoming.options.exclude or model.name in excluded_by(asked, by_agents=False)


def excluded_by(asked: Asked, *, by_agents: bool = True) -> frozenset[str]:
    """Names of the models that are excluded; ``by_agents``: also those that excluded agents lead to."""
    excluded = asked.incoming.options.exclude
    if not by_agents:
        excluded = tuple(name for name in excluded if agent_of(name) is None)
    if not excluded:
        return frozenset()
    found = {name: asked.serving.resolve(name) for name in excluded}
    # An agent that leads to no single model is one that a group is not to choose.
    return frozenset(
        model_named(asked.serving, name, "td.exclude").name
        for name, target in found.items()
        if isinstance(target, ServedModel) or agent_of(name) is None
    )


def unfit(asked: Asked, model: ServedModel) -> str | None:
    """Why an agent whose model this is may not be chosen, in a word; None where it may."""
    if not asked.caller.allows(model.name):
        return "not_for_this_key"
    if not model.serves(asked.incoming.endpoint, asked.role):
        return "endpoint"
    if only_cheaper(asked) and model is asked.serving.strongest:
        return "budget_remaining"
    if model.name in excluded_by(asked, by_agents=False):
        return "excluded"
    if asked.selection is not None and (option := asked.selection.removes(model)) is not None:
        return f"provider.{option}"
    return None


def may_serve(asked: Asked, model: ServedModel) -> bool:
    """Whether a model may answer the request: the same, and it is able to and not excluded."""
    return (
        model.serves(asked.incoming.endpoint, asked.role)
        and model.name not in excluded_by(asked)
        and may_ask(asked, model)
    )


def usable_models(asked: Asked, variant: Variant) -> tuple[str, ...]:
    """The router's models this request may go to."""
    models, caller, incoming = asked.serving.models, asked.caller, asked.incoming
    usable = variant.usable(incoming.endpoint, asked.role, models)
    if incoming.options.exclude or caller.models is not None or only_cheaper(asked) or asked.selection:
        excluded = excluded_by(asked)
        before = [models[name] for name in usable if name not in excluded and caller.allows(name)]
        usable = tuple(name for name in usable if name not in excluded and may_ask(asked, models[name]))
        if not usable and asked.selection is not None and asked.selection.why(before):
            raise asked.selection.nothing_left(before)
    if not usable:
        raise GatewayError(
            400,
            f"No model of the router '{variant.of}' serves {incoming.endpoint} in the role {asked.role} for this "
            "key and these constraints.",
            param="model",
            code="no_feasible_model",
            removed=left_out(asked, variant.router.models),
        )
    return usable


def left_out(asked: Asked, names: Iterable[str]) -> dict[str, str]:
    """By model of a router, why it is not asked about it, in a word; those it is asked about are missing."""
    models, usable = asked.serving.models, frozenset(asked.usable)
    return {
        name: ("not_configured" if name not in models else unfit(asked, models[name]) or "removed")
        for name in names
        if name not in usable
    }


def refused(asked: Asked, target: str) -> str | None:
    """Why a chain's step may not lead a request there, in words; None where it may.

    Of a model: it does not serve the endpoint or role, is not for the key, is excluded, or ``provider`` leaves no
    deployment of it. Of a router: it is left no model.
    """
    found = asked.serving.resolve(target)
    if (agent := agent_of(target)) is not None and (limit := reached(asked, agent)) is not None:
        return f"it is at its limit ({limit})"
    if isinstance(found, EnsembleTarget):
        members = [asked.serving.agents.targets[each] for each in found.members]
        asks = [each for each in members if isinstance(each, ServedModel)]
        return next((f"its member may not: {why}" for each in asks if (why := unfit(asked, each))), None)
    if isinstance(found, AgentsTarget):
        try:
            pick(asked, found, unfit)
        except GatewayError as error:
            return error.message.rstrip(".")
        return None
    if isinstance(found, RouterTarget):
        try:
            usable_models(asked, asked.serving.routers[found.router].deciding())
        except GatewayError:
            return "none of its models may serve this request"
        return None
    if not isinstance(found, ServedModel) or may_serve(asked, found):
        return None
    if not asked.caller.allows(found.name):
        return "not for this key"
    return "excluded" if found.name in excluded_by(asked) else "it may not serve this request"
