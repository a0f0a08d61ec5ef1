"""Models as they are served: prices, deployments, and what each deployment is up to."""

from __future__ import annotations

import math
import random
import time
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
from tiny_dancer.gateway.upstream.tariff import Tariff
from tiny_dancer.gateway.upstream.translate.responses_over_chat import ResponsesOverChat
from tiny_dancer.resilience import CircuitBreaker, State
from tiny_dancer.routing.arguments import engine_prices
from tiny_dancer.types import ModelInfo

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tiny_dancer.gateway.configuration import settings as config
    from tiny_dancer.gateway.upstream.clients.base import Client
    from tiny_dancer.gateway.upstream.dialect import Endpoint

PASSED_ON: Final = ("traceparent", "tracestate", "idempotency-key", "openai-beta", "anthropic-beta")
"""Headers a client's request may tell an upstream beside its body."""

LISTS: Final = ("tracestate", "openai-beta", "anthropic-beta")
"""Those of them that list things, separated by commas."""

ENDPOINTS: tuple[Endpoint, ...] = ("chat.completions", "completions", "responses", "embeddings", "messages")

_LONGEST_REST: Final = 86_400.0  # seconds; quotas start anew with the day


class Route(Struct, frozen=True):
    """Where and how one endpoint's requests go.

    Attributes:
        dialect: writes the request and reads the answer.
        target: where to, with the upstream's own headers.
        own: those of the upstream's own headers that clients send too; they are in no target.
    """

    dialect: Dialect
    target: Target
    own: tuple[tuple[str, str], ...] = ()

    def headers(self, given: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        """What is sent beside the target's, each name once: lists are joined, of the others the upstream's own
        counts."""
        if not self.own:
            return given
        found = dict(given)
        for name, value in self.own:
            listed = [each.strip() for each in f"{value},{found.get(name, '')}".split(",")]
            found[name] = ", ".join(dict.fromkeys(filter(None, listed))) if name in LISTS else value
        return list(found.items())


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
        chat_only: whether it has no responses of its own; they are translated to chat completions then.
    """

    def __init__(self, name: str, settings: config.Upstream, client: Client) -> None:
        self.chat_only = settings.responses == "chat" or settings.kind in ("anthropic", "a2a")
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
        stream_options: whether a stream's body may have this field.
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
        self.stream_options = server.settings.stream_options is not False
        # One of each name: kinds put what is configured last, and it wins.
        configured = {name.lower(): value for name, value in kind.headers(server.settings)}
        own = [pair for pair in configured.items() if pair[0] in PASSED_ON]
        headers = [("content-type", "application/json")]
        headers += [pair for pair in configured.items() if pair[0] not in PASSED_ON]
        self.routes: dict[Endpoint, Route] = {}
        for endpoint in ENDPOINTS:
            if (dialect := kind.dialect(endpoint, server.settings.api_version)) is not None:
                url = kind.url(server.settings, self.upstream_model, dialect.path)
                # A response is stored at the upstream: twice would be two of them.
                target = server.client.target(url, headers, repeatable=endpoint != "responses")
                self.routes[endpoint] = Route(dialect, target, tuple(own))
        self.routes.setdefault("responses", self.routes["chat.completions"])
        # One for each endpoint: a server that lacks or breaks one may be well at the others.
        self._breakers: dict[str, CircuitBreaker] = {}
        self._breaker = breaker
        self._rests_until = -math.inf
        self._limits = _Limits(settings)
        limited = (
            settings.requests_per_minute,
            settings.tokens_per_minute,
            server.settings.requests_per_minute,
            server.settings.tokens_per_minute,
        )
        self._limited = any(rate is not None for rate in limited)

    def route(self, endpoint: Endpoint) -> Route:
        """Where and how the next request of this endpoint goes."""
        if endpoint == "responses" and self.server.chat_only:
            return self.translated()
        return self.routes[endpoint]

    def translated(self) -> Route:
        """The way of one request for a response by chat completions."""
        chat = self.routes["chat.completions"]
        anthropic = self.server.settings.kind == "anthropic"
        return structs.replace(chat, dialect=ResponsesOverChat(chat.dialect, anthropic=anthropic))

    def breaker(self, endpoint: str) -> CircuitBreaker:
        """The breaker of one of its endpoints."""
        found = self._breakers.get(endpoint)
        if found is None:
            settings = self._breaker
            found = self._breakers[endpoint] = CircuitBreaker(
                threshold=settings.threshold,
                failure_rate=settings.failure_rate,
                minimum_calls=settings.minimum_calls,
                window=settings.window,
                cooldown=settings.cooldown,
                longest_cooldown=settings.longest_cooldown,
                # A probe is an ordinary request: it may take as long as one.
                probe_timeout=self.server.settings.timeouts.total,
            )
        return found

    def rest(self, seconds: float) -> None:
        """Leaves it alone for as long as it asks, a day at most."""
        self._rests_until = max(self._rests_until, time.monotonic() + min(seconds, _LONGEST_REST))

    def admit(self, endpoint: str) -> int | None:
        """The breaker's token for one call, or None where it must not be made now. It is handed back to the
        breaker, and its place by :meth:`leave`; or both by :meth:`withdraw`."""
        if self._rests_until > -math.inf and self.resting():
            return None
        if self._limited and self.wait() > 0:
            return None
        if not self._limits.gate.enter():
            return None
        if not self.server.limits.gate.enter():
            self._limits.gate.leave()
            return None
        token = self.breaker(endpoint).admit()
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

    def withdraw(self, endpoint: str, token: int) -> None:
        """A call that was admitted is not made."""
        self.breaker(endpoint).cancel(token)
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

    def resting(self) -> float:
        """Seconds for which it is still to be left alone."""
        return max(self._rests_until - time.monotonic(), 0.0)

    def wait(self) -> float:
        """Seconds until its rates allow a call."""
        return max(self._limits.wait(), self.server.limits.wait())

    def status(self) -> DeploymentStatus:
        """How it stands."""
        found = [each.status() for each in self._breakers.values()]
        states = {each.state.value for each in found} or {State.CLOSED.value}
        return DeploymentStatus(
            self.model,
            self.server.name,
            states.pop() if len(states) == 1 else State.HALF_OPEN.value,
            sum(each.openings for each in found),
            self._limits.gate.inside,
            self.resting(),
        )


class ServedModel:
    """A model of the configuration, ready to serve.

    Attributes:
        name: in the configuration.
        settings: of the configuration, prices filled in.
        deployments: where it can be reached.
        endpoints: those at least one deployment serves.
        expected_cost: USD of a usual answer to a prompt of a thousand tokens; None without prices.
        searches_itself: whether one of its deployments may be left to answer tool searches.
        in_order: whether its deployments are tried in their order, not drawn by weight.
    """

    in_order = False

    def __init__(self, name: str, settings: config.Model, deployments: Sequence[Deployment]) -> None:
        self.name = name
        self.settings = settings
        self.deployments = deployments
        self.endpoints = frozenset(endpoint for each in deployments for endpoint in each.routes)
        self.searches_itself = any(each.server.settings.tool_search == "native" for each in deployments)
        self._tariff = Tariff(settings)
        self.cost = self._tariff.cost
        """USD of an answer, by its :class:`Usage`; None without prices."""
        self.expected_cost = engine_prices(self.info()).cost(
            1000, settings.expected_output_tokens or USUAL_OUTPUT_TOKENS
        )

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
            tiers=self._tariff.by_length,
        )

    def serves(self, endpoint: Endpoint, role: str) -> bool:
        """Whether routing may choose it for this."""
        return endpoint in self.endpoints and (not self.settings.roles or role in self.settings.roles)

    def pick(self, endpoint: Endpoint, tried: Collection[Deployment]) -> tuple[Deployment, int] | None:
        """A deployment not tried yet that may be called now with its breaker's token, drawn by weight unless they
        have an order."""
        if len(self.deployments) == 1:
            only = self.deployments[0]
            if only in tried or endpoint not in only.routes or (token := only.admit(endpoint)) is None:
                return None
            return only, token
        left = [each for each in self.deployments if endpoint in each.routes and each not in tried]
        # By weight without replacement (Efraimidis and Spirakis, 2006): the smallest exponential of rate w first.
        if not self.in_order:
            left.sort(key=lambda each: random.expovariate(each.settings.weight))
        for deployment in left:
            if (token := deployment.admit(endpoint)) is not None:
                return deployment, token
        return None
