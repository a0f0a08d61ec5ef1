"""What the ``provider`` object of a request leaves of the models and their deployments, and in which order.

Names in it are those of upstreams in the configuration. What it asks and the gateway cannot keep is refused by
name. An upstream that is OpenRouter gets the object as it came, and keeps what it asks of OpenRouter's providers;
it is left out only where the object names upstreams of the configuration and not this one.
"""

from __future__ import annotations

import copy
import random
from typing import TYPE_CHECKING, Final

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.names import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tiny_dancer.gateway.choosing.incoming import Incoming
    from tiny_dancer.gateway.choosing.provider import Provider
    from tiny_dancer.gateway.choosing.serving import Serving
    from tiny_dancer.gateway.upstream.deployments import Deployment, ServedModel
    from tiny_dancer.types import Decision

# The path a protocol's own upstreams have; at another a request is translated.
_NATIVE: Final[Mapping[str, str]] = {
    "chat.completions": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "messages": "/messages",
    "responses": "/responses",
}
_UNSET: Final = (None, (), True)


class Selection:
    """What one request's ``provider`` leaves of the models and their deployments."""

    def __init__(self, asked: Provider, serving: Serving, incoming: Incoming) -> None:
        """Judges no model yet.

        Args:
            asked: what is asked.
            serving: the configuration in force.
            incoming: the request.

        Raises:
            GatewayError: 400; it asks what nobody here can keep.
        """
        self.asked = asked
        self._endpoint = incoming.endpoint
        # In bytes, which no count of its tokens exceeds.
        self._size = sum(map(len, map(bytes, incoming.fields.values())))
        self._found: dict[str, ServedModel | str] = {}
        self._own = {name.lower() for name in serving.servers}
        self._open = any(server.openrouter for server in serving.servers.values())
        for option in ("order", "only", "ignore"):
            for name in getattr(asked, option) or ():
                self._check(option, name, serving.servers)
        if asked.beyond and not self._open:
            raise _refused(f"provider.{asked.beyond[0][:100]}", "no upstream here can keep it; leave it out")
        if asked.sort == "throughput" and not self._open:
            raise _refused("provider.sort", "throughput is not measured here; sort by price, or leave it out")

    def _check(self, option: str, name: str, names: Iterable[str]) -> None:
        if name.lower() not in self._own and not self._open:
            near = nearest(name[:100], names)
            hint = f"did you mean {near}?" if near else "GET /v1/models says who owns what"
            raise _refused(f"provider.{option}", f"'{name[:100]}' is no upstream here; {hint}")

    def of(self, model: ServedModel) -> ServedModel | None:
        """The model with the deployments that are left, in the order asked for; None where none is."""
        found = self._judged(model)
        return None if isinstance(found, str) else found

    def removes(self, model: ServedModel) -> str | None:
        """The option that leaves none of the model's deployments; None where some are left."""
        found = self._judged(model)
        return found if isinstance(found, str) else None

    def why(self, models: Iterable[ServedModel]) -> str:
        """What removed which of the models."""
        judged = ((model.name, self._judged(model)) for model in models)
        return "; ".join(f"{name}: provider.{found}" for name, found in judged if isinstance(found, str))

    def nothing_left(self, models: Iterable[ServedModel]) -> GatewayError:
        """What the client is told then."""
        return GatewayError(
            400,
            f"No model is left by what 'provider' asks ({self.why(models)}).",
            param="provider",
            code="no_feasible_model",
        )

    def rank(self, model: ServedModel) -> int:
        """Place in ``order`` of the model's first upstream there; beyond all of them where it has none."""
        left = self.of(model)
        places = [] if left is None else [self._place(each) for each in left.deployments]
        return min(places, default=len(self.asked.order))

    def _judged(self, model: ServedModel) -> ServedModel | str:
        found = self._found.get(model.name)
        if found is None:
            found = self._found[model.name] = self._judge(model)
        return found

    def _judge(self, model: ServedModel) -> ServedModel | str:
        if (option := self._too_dear(model)) is not None:
            return option
        able = [each for each in model.deployments if self._endpoint in each.routes]
        judged = [(each, self._removed(each)) for each in able]
        left = [each for each, option in judged if option is None]
        if not left:
            return next((option for _, option in judged if option is not None), "only")
        found = copy.copy(model)
        found.deployments = left
        if self.asked.order:
            # Those not listed as ever: by weight without replacement, as ServedModel.pick says.
            found.deployments = sorted(
                left, key=lambda each: (self._place(each), random.expovariate(each.settings.weight))
            )
            found.in_order = True
        return found

    def _removed(self, deployment: Deployment) -> str | None:
        """The option that removes a deployment; None where it stays."""
        asked, server = self.asked, deployment.server
        passes = server.openrouter and self._native(deployment)
        if any(name.lower() == server.name.lower() for name in asked.ignore):
            return "ignore"
        if asked.only is not None and not self._listed(asked.only, deployment, passes):
            return "only"
        if asked.order and not asked.allow_fallbacks and not self._listed(asked.order, deployment, passes):
            return "order"
        if passes:
            return None  # what else is asked, it is told
        if server.openrouter:
            # A translated request cannot tell it, and names may be those of its own providers.
            return next(name for name in asked.__struct_fields__ if getattr(asked, name) not in _UNSET)
        if asked.beyond:
            return asked.beyond[0]
        if asked.sort == "throughput":
            return "sort"
        if asked.data_collection == "deny" and server.settings.data_collection != "deny":
            return "data_collection"
        if asked.require_parameters and not self._native(deployment):
            return "require_parameters"
        return None

    def _listed(self, names: tuple[str, ...], deployment: Deployment, passes: bool) -> bool:
        own = deployment.server.name.lower()
        # A name of nobody here is one of OpenRouter's providers.
        return any(name.lower() == own or (passes and name.lower() not in self._own) for name in names)

    def _place(self, deployment: Deployment) -> int:
        order = self.asked.order
        passes = deployment.server.openrouter and self._native(deployment)
        for place, name in enumerate(order):
            if self._listed((name,), deployment, passes):
                return place
        return len(order)

    def _native(self, deployment: Deployment) -> bool:
        return deployment.routes[self._endpoint].dialect.path == _NATIVE.get(self._endpoint)

    def _too_dear(self, model: ServedModel) -> str | None:
        """``max_price`` where the model asks more, or nobody knows what it asks."""
        most, settings = self.asked.max_price, model.settings
        if most is None:
            return None
        tiers = [tier for tier in settings.tiers if tier.above_tokens < self._size]

        def beyond(limit: float | None, name: str) -> bool:
            if limit is None:
                return False
            asked = [getattr(each, name) for each in (settings, *tiers)]
            known = [price for price in asked if price is not None]
            # A price per request alone asks nothing per token.
            free = settings.cost_per_request is not None
            return max(known) * 1e6 > limit * (1 + 1e-9) if known else not free

        by_token = settings.input_cost_per_token is not None and settings.output_cost_per_token is not None
        per_request = settings.cost_per_request
        too_dear = (
            beyond(most.prompt, "input_cost_per_token")
            or beyond(most.completion, "output_cost_per_token")
            or (
                most.request is not None
                and (per_request > most.request if per_request is not None else not by_token)
            )
        )
        return "max_price" if too_dear else None

    def sorting(
        self, names: Iterable[str], models: Mapping[str, ServedModel], decision: Decision | None
    ) -> dict[str, float] | None:
        """What ``sort`` goes by, least first: USD or seconds to expect of each; None where nothing is asked.

        Raises:
            GatewayError: 400; of one it is not known.
        """
        by = self.asked.sort
        if by is None or by == "throughput":  # OpenRouter's alone
            return None
        known = None if decision is None else decision.costs if by == "price" else decision.latencies
        found = {}
        for name in names:
            value = None if known is None else known.get(name)
            if by == "price" and known is None:
                value = models[name].expected_cost
            if value is None or value != value:
                lacking = "a price" if by == "price" else "a measured latency"
                raise _refused("provider.sort", f"'{name}' has not {lacking}, as every model to sort by {by} must")
            found[name] = value
        return found


def _refused(param: str, why: str) -> GatewayError:
    return GatewayError(400, f"Cannot keep to '{param}': {why}.", param=param, code="invalid_value")
