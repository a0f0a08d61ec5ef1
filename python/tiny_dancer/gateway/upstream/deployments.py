"""Models as they are served: prices, deployments, and what each deployment is up to."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from msgspec import Struct, structs

from tiny_dancer.gateway.access.limits import Gate, TokenBucket
from tiny_dancer.gateway.configuration.settings import USUAL_OUTPUT_TOKENS
from tiny_dancer.gateway.errors import struck
from tiny_dancer.gateway.status import DeploymentStatus
from tiny_dancer.gateway.upstream.clients.base import Target
from tiny_dancer.gateway.upstream.dialect import Dialect
from tiny_dancer.gateway.upstream.kinds import KINDS
from tiny_dancer.resilience import CircuitBreaker
from tiny_dancer.routing.arguments import engine_prices
from tiny_dancer.types import ModelInfo, PriceTier

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tiny_dancer.gateway.configuration import settings as config
    from tiny_dancer.gateway.upstream.clients.base import Client
    from tiny_dancer.gateway.upstream.dialect import Endpoint, Usage

ENDPOINTS: tuple[Endpoint, ...] = ("chat.completions", "completions", "responses", "embeddings", "messages")


class Route(Struct, frozen=True):
    """Where and how one endpoint's requests go.

    Attributes:
        dialect: writes the request and reads the answer.
        target: where to, with the upstream's own headers.
    """

    dialect: Dialect
    target: Target


class _Limits:
    """Concurrency and rates of an upstream or of one deployment."""

    __slots__ = ("gate", "requests", "tokens")

    def __init__(self, settings: config.Upstream | config.Deployment) -> None:
        self.gate = Gate(settings.max_concurrency)
        per_minute = settings.requests_per_minute, settings.tokens_per_minute
        self.requests, self.tokens = (None if rate is None else TokenBucket(rate) for rate in per_minute)

    def wait(self) -> float:
        """Seconds until its rates allow a request: 0 where they do."""
        waits = [0.0]
        if self.requests is not None:
            waits.append(self.requests.wait())
        if self.tokens is not None:
            waits.append(self.tokens.wait())
        return max(waits)


# Shorter values are words, and no secrets: striking them would only garble messages.
_SHORTEST_SECRET: Final = 8


class UpstreamServer:
    """One upstream: its connections and its limits, shared by the deployments there.

    Attributes:
        name: in the configuration.
        settings: of the configuration.
        client: the connections.
        limits: what all deployments there may take together.
        secrets: what no client and no log may see, the longest first.
        openrouter: whether it is OpenRouter, which understands the field ``provider``.
    """

    def __init__(self, name: str, settings: config.Upstream, client: Client) -> None:
        self.name = name
        self.settings = settings
        self.client = client
        self.limits = _Limits(settings)
        host = (urlsplit(settings.base_url).hostname or "").rstrip(".")
        self.openrouter = host == "openrouter.ai" or host.endswith(".openrouter.ai")
        said = [settings.api_key or "", *settings.headers.values()]
        # A scheme may stand before it: Bearer, Basic.
        parts = {part for value in said for part in (value, value.rpartition(" ")[2])}
        self.secrets = sorted((each for each in parts if len(each) >= _SHORTEST_SECRET), key=len, reverse=True)

    def struck(self, said: bytes) -> bytes:
        """What the upstream said, without its secrets."""
        for secret in self.secrets:
            said = struck(said, secret)
        return said


class Deployment:
    """A model at an upstream, with a circuit breaker of its own.

    Attributes:
        model: its name in the configuration.
        server: the upstream.
        routes: by endpoint; those it cannot serve are missing.
    """

    def __init__(
        self,
        model: str,
        settings: config.Deployment,
        server: UpstreamServer,
        breaker: config.Breaker,
    ) -> None:
        self.model = model
        self.settings = settings
        self.server = server
        kind = KINDS[server.settings.kind]
        self.upstream_model = settings.model or model
        # One of each name: kinds put what is configured last, and it wins.
        own = {name.lower(): value for name, value in kind.headers(server.settings)}
        headers = [("content-type", "application/json"), *own.items()]
        self.routes: dict[Endpoint, Route] = {}
        for endpoint in ENDPOINTS:
            if (dialect := kind.dialect(endpoint)) is not None:
                url = kind.url(server.settings, self.upstream_model, dialect.path)
                self.routes[endpoint] = Route(dialect, server.client.target(url, headers))
        self.breaker = CircuitBreaker(
            threshold=breaker.threshold,
            window=breaker.window,
            cooldown=breaker.cooldown,
            longest_cooldown=breaker.longest_cooldown,
            # A probe is an ordinary request: it may take as long as one.
            probe_timeout=server.settings.timeouts.total,
        )
        self._limits = _Limits(settings)
        limited = (
            settings.requests_per_minute,
            settings.tokens_per_minute,
            server.settings.requests_per_minute,
            server.settings.tokens_per_minute,
        )
        self._limited = any(rate is not None for rate in limited)

    def admit(self) -> int | None:
        """The breaker's token for one call, or None where it must not be made now. It is handed back to the
        breaker, and its place by :meth:`leave`; or both by :meth:`withdraw`."""
        if self._limited and self.wait() > 0:
            return None
        if not self._limits.gate.enter():
            return None
        if not self.server.limits.gate.enter():
            self._limits.gate.leave()
            return None
        token = self.breaker.admit()
        if token is None:
            self.leave()
            return None
        if self._limited:
            for limits in (self._limits, self.server.limits):
                if limits.requests is not None:
                    limits.requests.take()
        return token

    def leave(self) -> None:
        """A call that was admitted has ended."""
        self._limits.gate.leave()
        self.server.limits.gate.leave()

    def withdraw(self, token: int) -> None:
        """A call that was admitted is not made."""
        self.breaker.cancel(token)
        self.leave()
        if self._limited:
            for limits in (self._limits, self.server.limits):
                if limits.requests is not None:
                    limits.requests.charge(-1.0)

    def charge(self, tokens: int) -> None:
        """Tokens an answer took."""
        if self._limited:
            for limits in (self._limits, self.server.limits):
                if limits.tokens is not None:
                    limits.tokens.charge(tokens)

    def wait(self) -> float:
        """Seconds until its rates allow a call."""
        return max(self._limits.wait(), self.server.limits.wait())

    def status(self) -> DeploymentStatus:
        """How it stands."""
        found = self.breaker.status()
        return DeploymentStatus(
            self.model, self.server.name, found.state.value, found.openings, self._limits.gate.inside
        )


class ServedModel:
    """A model of the configuration, ready to serve.

    Attributes:
        name: in the configuration.
        settings: of the configuration, prices filled in.
        deployments: where it can be reached.
        endpoints: those at least one deployment serves.
        expected_cost: USD of a usual answer to a prompt of a thousand tokens; None without prices.
        in_order: whether its deployments are tried in their order, not drawn by weight.
    """

    in_order = False

    def __init__(self, name: str, settings: config.Model, deployments: Sequence[Deployment]) -> None:
        self.name = name
        self.settings = settings
        self.deployments = deployments
        self.endpoints = frozenset(endpoint for each in deployments for endpoint in each.routes)
        self._prices = engine_prices(self.info())
        self.expected_cost = self._prices.cost(1000, settings.expected_output_tokens or USUAL_OUTPUT_TOKENS)

    def cost(self, usage: Usage) -> float | None:
        """USD of an answer; None without prices."""
        return self._prices.cost(usage.input_tokens, usage.output_tokens, usage.cached_tokens)

    def info(self) -> ModelInfo:
        """What a router is told of it."""
        settings = self.settings
        return ModelInfo(
            name=self.name,
            input_cost_per_token=settings.input_cost_per_token,
            output_cost_per_token=settings.output_cost_per_token,
            cost_per_request=settings.cost_per_request,
            expected_output_tokens=settings.expected_output_tokens,
            context_window=settings.context_window,
            cache_read_input_token_cost=settings.cache_read_input_token_cost,
            cache_creation_input_token_cost=settings.cache_creation_input_token_cost,
            tiers=tuple(PriceTier(**structs.asdict(tier)) for tier in settings.tiers),
        )

    def serves(self, endpoint: Endpoint, role: str) -> bool:
        """Whether routing may choose it for this."""
        return endpoint in self.endpoints and (not self.settings.roles or role in self.settings.roles)

    def pick(self, endpoint: Endpoint, tried: Collection[Deployment]) -> tuple[Deployment, int] | None:
        """A deployment that may be called now with its breaker's token, drawn by weight where they have no order;
        those not tried yet first."""
        if len(self.deployments) == 1:
            only = self.deployments[0]
            if endpoint not in only.routes or (token := only.admit()) is None:
                return None
            return only, token
        left = [each for each in self.deployments if endpoint in each.routes]
        # By weight without replacement (Efraimidis and Spirakis, 2006): the smallest exponential of rate w first.
        weighed = not self.in_order
        left.sort(key=lambda each: (each in tried, weighed and random.expovariate(each.settings.weight)))
        for deployment in left:
            if (token := deployment.admit()) is not None:
                return deployment, token
        return None
