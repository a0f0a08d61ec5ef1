"""``gateway.yaml``: every key, typed; ``docs/guides/gateway.md`` explains them.

Durations are seconds, prices USD under LiteLLM's names. A struct says what its own fields must satisfy; what ties
structs together (a router that names a model that is not there) is checked by :mod:`.check`. At the end, what
follows from a configuration: for those who serve, and for the supervisor, which must not load them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import Meta, Struct, field

from tiny_dancer.gateway.configuration.address import parse_address
from tiny_dancer.storage.opening import is_url

if TYPE_CHECKING:
    from pathlib import Path

LIMITS_SUFFIX: Final = ".limits"
BUDGETS_SUFFIX: Final = ".budgets"
UNWRITTEN_SUFFIX: Final = ".unwritten"
USUAL_OUTPUT_TOKENS: Final = 256.0
"""Output tokens of an answer where nothing says how long a model's are."""

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]

Role = Literal["chat", "autocomplete", "edit", "apply", "embed", "rerank", "summarize"]
# `cost` is the former name of `cheapest`.
Policy = Literal["quality", "balanced", "cheapest", "cost"]
AgentPolicy = Literal["cost", "latency", "quality", "balanced", "quality_per_dollar"]
AGENT_POLICIES: Final[tuple[AgentPolicy, ...]] = ("cost", "latency", "quality", "balanced", "quality_per_dollar")
EVERYBODY: Final = "agents"
"""The group that is there without being configured: all agents of the registry."""

AgentType = Literal["llm", "tool", "api", "human", "ensemble"]
FallbackCause = Literal["content_filter"]
UpstreamKind = Literal["openai", "azure", "anthropic", "a2a"]


class _Section(Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping of the file; a key it does not know is refused."""


class Timeouts(_Section, frozen=True, kw_only=True):
    """How long an upstream may take, phase by phase.

    Attributes:
        connect: to open a connection.
        first_byte: from the request sent to the first byte of the answer. Upstreams send a whole answer (not a
            streamed one) when the last word of it is written, so it has to be written within this time.
        idle: between two chunks of a streamed answer.
        total: for one attempt from start to end.
    """

    connect: Positive = 5.0
    first_byte: Positive = 300.0
    idle: Positive = 60.0
    total: Positive = 600.0


class Upstream(_Section, frozen=True, kw_only=True):
    """A server that has models.

    Attributes:
        kind: the protocol it speaks.
        base_url: up to and with ``/v1`` where the protocol has it; of ``a2a`` the address of the agent's card.
        api_key: sent with every request, never shown.
        api_version: of Azure and Anthropic; of ``a2a`` ``0.3``, which is usual, or ``1.0``.
        headers: sent with every request.
        timeouts: of each attempt.
        responses: how ``/v1/responses`` is served: ``native`` by its own, ``chat`` by translating to chat
            completions; ``auto`` tries its own first and remembers where there is none. Anthropic's have none.
        tool_search: who answers tool searches (``defer_loading``): ``local``, the gateway; ``native``, the
            upstream, where it is asked in the client's own protocol (Anthropic's messages, OpenAI's responses).
        http2: ask over HTTP/2 (``https`` only, extra ``http2``); many calls share a connection. Without it
            HTTP/1.1 is spoken, which costs less.
        stream_options: whether streams are asked what they cost, by the field of that name; ``auto``: until the
            upstream refuses it.
        max_concurrency: requests at a time.
        requests_per_minute: token bucket, full at start.
        tokens_per_minute: token bucket over prompt and output tokens.
        data_collection: ``deny`` says that it keeps nothing it is sent: requests that ask for it go there.
    """

    kind: UpstreamKind = "openai"
    base_url: Name
    api_key: str | None = None
    api_version: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    timeouts: Timeouts = field(default_factory=Timeouts)
    responses: Literal["auto", "native", "chat"] = "auto"
    tool_search: Literal["local", "native"] = "local"
    http2: bool = False
    stream_options: bool | Literal["auto"] = "auto"
    max_concurrency: Count | None = None
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    data_collection: Literal["allow", "deny"] = "allow"


class Deployment(_Section, frozen=True, kw_only=True):
    """A model at an upstream.

    Attributes:
        upstream: name of the upstream.
        model: what the upstream calls it (Azure: the deployment); None for the model's name.
        weight: share of the traffic among a model's deployments.
        max_concurrency: requests at a time.
        requests_per_minute: token bucket, full at start.
        tokens_per_minute: token bucket over prompt and output tokens.
    """

    upstream: Name
    model: Name | None = None
    weight: Positive = 1.0
    max_concurrency: Count | None = None
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None


class TokenPrices(_Section, frozen=True, kw_only=True):
    """USD a token, by LiteLLM's names.

    Attributes:
        input_cost_per_token: of the prompt.
        output_cost_per_token: of the answer.
        cache_read_input_token_cost: of the prompt, read from the upstream's cache; None: as any of the prompt.
        cache_creation_input_token_cost: of the prompt, written into its cache; None: as any of the prompt.
        cache_creation_input_token_cost_above_1hr: written to stay there for an hour; None: as any written.
        input_cost_per_audio_token: of audio in the prompt; None: as any of the prompt.
        output_cost_per_audio_token: of audio in the answer; None: as any of the answer.
        output_cost_per_reasoning_token: of reasoning; None: as any of the answer.
    """

    input_cost_per_token: NotNegative | None = None
    output_cost_per_token: NotNegative | None = None
    cache_read_input_token_cost: NotNegative | None = None
    cache_creation_input_token_cost: NotNegative | None = None
    cache_creation_input_token_cost_above_1hr: NotNegative | None = None
    input_cost_per_audio_token: NotNegative | None = None
    output_cost_per_audio_token: NotNegative | None = None
    output_cost_per_reasoning_token: NotNegative | None = None


class PriceTier(TokenPrices, frozen=True, kw_only=True):
    """Prices of every token of some requests: those with long prompts, those in a tier of service, or both.

    What is left out is as in the tier below, or as without tiers; but reasoning costs what the answer does where a
    tier has a price for the answer alone.

    Attributes:
        above_tokens: prompt tokens from which on, exclusively.
        service_tier: as answers say it (``flex``, ``priority``, ``batch`` …); None: in all of them.
    """

    above_tokens: Annotated[int, Meta(ge=0)] = 0
    service_tier: Name | None = None

    def __post_init__(self) -> None:
        if not self.above_tokens and self.service_tier is None:
            raise ValueError("a tier needs above_tokens, service_tier or both")


class Model(TokenPrices, frozen=True, kw_only=True):
    """A model clients can name, and routers choose. Prices that are None come from ``prices``.

    Attributes:
        deployments: where it can be reached.
        tiers: other prices for long prompts and tiers of service.
        cost_per_request: USD per request.
        expected_output_tokens: of a usual answer; prices what routing expects. None: as the router's artifact
            knows it, else :data:`USUAL_OUTPUT_TOKENS`.
        context_window: prompt plus output tokens it accepts.
        max_output_tokens: the longest answer it gives; what budgets reserve where a request sets no limit.
        roles: what it may be used for; empty: everything.
        tags: words of the operator's, shown by ``/v1/models``.
        aliases: other names clients may use.
    """

    deployments: Annotated[list[Deployment], Meta(min_length=1)]
    tiers: list[PriceTier] = field(default_factory=list)
    cost_per_request: NotNegative | None = None
    expected_output_tokens: Positive | None = None
    context_window: Count | None = None
    max_output_tokens: Count | None = None
    roles: list[Role] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    aliases: list[Name] = field(default_factory=list)


class RegistryVersion(_Section, frozen=True, kw_only=True):
    """The version of an artifact that serves in a registry; a promotion is followed by itself."""

    folder: Name
    name: Name


class ToolSelection(_Section, frozen=True, kw_only=True):
    """Which tools of a request its model gets.

    Attributes:
        mode: ``filter``: of the tools the client sends, those the request needs; ``add``: those of ``catalogue``
            that it needs, after the client's own.
        top_k: most tools that are left, or added. What is no function or custom tool of the client's is neither
            left out nor counted; a tool that was called before, or that ``tool_choice`` names, always stays.
        preserve_count: how many of the best stay whatever their relevance; of a client's own one always does.
        relevance_threshold: how much of the request a tool has to be about, in [0, 1]; no probability.
        catalogue: of ``add``: a JSON file of tools, read at the start and by a reload.
        artifact: a file: what was learned from which tools requests used (``tiny-dancer tools train``).
        learn: keep in the database which tools answers called, for ``tools train --storage``; needs
            ``log.prompts``, for what was asked is kept with it.
    """

    mode: Literal["filter", "add"]
    top_k: Annotated[int, Meta(ge=1, le=65_536)] = 10
    preserve_count: Annotated[int, Meta(ge=0)] = 0
    relevance_threshold: Share = 0.0
    catalogue: Name | None = None
    artifact: Name | None = None
    learn: bool = False


class Router(_Section, frozen=True, kw_only=True):
    """An artifact that decides between models.

    Attributes:
        artifact: a file, ``default`` or ``edge`` for those in the package, or a registry's version.
        models: by the artifact's name of a model or role, the name of the model here.
        policy: what ``router-<name>`` uses where the request names none; None is what the artifact decides by.
        max_cost: most USD an answer may be expected to cost.
        min_quality: least quality to expect, in [0, 1].
        threshold: least gain worth the dearer of two models, in place of the artifact's.
        share: of the requests for the stronger of two models, in [0, 1], whatever the traffic; in place of a
            threshold or policy, where the request names none.
        share_window: requests that the share is measured on; each worker has its own.
        tool_selection: which tools of a request its model gets; None: those the client sends.
        feedback: what a score of ``/v1/feedback`` is: a ``grade``, compared with earlier ones only; or ``quality``
            as the artifact's table has it, by which its expectations and its certificate are tested as well.
    """

    artifact: Name | RegistryVersion = "default"
    models: dict[str, Name] = field(default_factory=dict)
    policy: Policy | None = None
    max_cost: NotNegative | None = None
    min_quality: Share | None = None
    threshold: Annotated[float, Meta(ge=-1, le=1)] | None = None
    share: Share | None = None
    share_window: Annotated[int, Meta(ge=20, le=100_000)] = 500
    tool_selection: ToolSelection | None = None
    feedback: Literal["grade", "quality"] = "grade"


class Canned(_Section, frozen=True, kw_only=True):
    """A target that is the answer itself: no model is called, and it costs nothing.

    Attributes:
        answer: its text.
    """

    answer: Annotated[str, Meta(min_length=1)]


# A model, an alias, a router or chain as clients write it, or an answer.
Target = Name | Canned


class Routes(_Section, frozen=True, kw_only=True):
    """Semantic routes, by an artifact or by a file of utterances. Both are followed when they change.

    Attributes:
        artifact: a file of kind ``routes``, or a registry's version.
        file: YAML or JSON of semantic-router or of vLLM's: utterances, to which nothing is fitted.
        targets: by a route's name, where it leads; in place of what artifact or file say.
    """

    artifact: Name | RegistryVersion | None = None
    file: Name | None = None
    targets: dict[Name, Target] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.artifact is None) == (self.file is None):
            raise ValueError("routes need artifact or file, one of the two")


class OverrideRule(_Section, frozen=True, kw_only=True):
    """An exact rule of a chain: what is named must all hold; of a list, one is enough.

    Attributes:
        target: where it leads.
        users: names of API keys.
        tiers: of API keys.
        tags: of API keys.
        keywords: words or phrases in what the user said last, in any case.
        headers: by name, the value; ``*`` for any.
    """

    target: Target
    users: list[Name] = field(default_factory=list)
    tiers: list[Name] = field(default_factory=list)
    tags: list[Name] = field(default_factory=list)
    keywords: list[Name] = field(default_factory=list)
    headers: dict[Name, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.users or self.tiers or self.tags or self.keywords or self.headers):
            raise ValueError("a rule without a condition takes every request: make its target the default")


class SemanticStep(_Section, frozen=True, kw_only=True):
    """Decides where a route is confident enough.

    Attributes:
        routes: by their name in ``routes``.
        confidence: least probability, in [0, 1]; a route's own threshold holds beside it.
        uncalibrated: whether to believe likeness alone, where nothing was fitted.
    """

    routes: Name
    confidence: Share = 0.7
    uncalibrated: bool = False


class LearnedStep(_Section, frozen=True, kw_only=True):
    """Decides where a router's prediction set has no model but its choice.

    Attributes:
        router: by its name in ``routers``.
    """

    router: Name


class JudgeStep(_Section, frozen=True, kw_only=True):
    """Asks a model which of the choices is meant, or none. Its calls are the client's, paid by its key.

    Attributes:
        model: a model, or a router as clients write it.
        choices: by target, what it is for; None: the routes of the chain's semantic step.
        timeout: seconds it has.
    """

    model: Name
    choices: dict[Name, str] | None = None
    timeout: Positive = 5.0


class HumanStep(_Section, frozen=True, kw_only=True):
    """Puts the request into the queue for people.

    Attributes:
        keep_prompts: has to be true: people answer what they can read, so its messages are kept in the database.
        wait: seconds to wait for the answer, which is then the client's; 0: the next step serves at once.
        expires: seconds until nobody can answer any more.
        most: requests that may be open; beyond, the chain goes on without.
    """

    keep_prompts: bool = False
    wait: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    expires: Positive = 86_400.0
    most: Count = 1_000


class Chain(_Section, frozen=True, kw_only=True):
    """Deciders, each asked where all before it were not sure; clients name it ``chain-<name>``.

    Attributes:
        override: exact rules; the first that matches decides.
        semantic: an intent.
        learned: a trained router.
        judge: a model that is asked.
        human: a person.
        default: where what none of them decides goes.
    """

    override: list[OverrideRule] = field(default_factory=list)
    semantic: SemanticStep | None = None
    learned: LearnedStep | None = None
    judge: JudgeStep | None = None
    human: HumanStep | None = None
    default: Target


class AgentGroup(_Section, frozen=True, kw_only=True):
    """Agents of the registry that one name asks for: ``router-<name>``, or ``router-<name>-<policy>``.

    Attributes:
        agents: their names; empty: all there are.
        types: only those of these types.
        tags: they must have all of these.
        required_capabilities: they must have all of these.
        region: where they must serve.
        policy: of ``router-<name>``, where the request names none.
        max_cost: most USD an answer may be expected to cost.
        max_latency: most seconds to expect.
        min_quality: what the lower end of the quality's interval must reach, in [0, 1].
        quality_per_usd: of ``balanced``, quality that one USD is worth.
        quality_per_second: the same of one second.
        router: name of a router: what it expects of each of its models on a request counts, for the agents that
            lead to them, in place of what the registry believes of their quality.
    """

    agents: list[Name] = field(default_factory=list)
    types: list[AgentType] = field(default_factory=list)
    tags: list[Name] = field(default_factory=list)
    required_capabilities: list[Name] = field(default_factory=list)
    region: Name | None = None
    policy: AgentPolicy = "balanced"
    max_cost: NotNegative | None = None
    max_latency: Positive | None = None
    min_quality: Share | None = None
    quality_per_usd: NotNegative = 10.0
    quality_per_second: NotNegative = 0.01
    router: Name | None = None


class Ensemble(_Section, frozen=True, kw_only=True):
    """How the answers of an ensemble's members become one.

    Attributes:
        combine: ``vote``: what most say; ``judge``: what a model takes for best.
        judge: a model, or a router as clients write it.
        timeout: seconds the members have, and then the judge.
    """

    combine: Literal["vote", "judge"] = "vote"
    judge: Name | None = None
    timeout: Positive = 60.0


class Agents(_Section, frozen=True, kw_only=True):
    """How agents of the registry are reached: those in the database of the gateway, followed as they change.

    An agent that is named here leads where this says; any other to the model that is called as it is, or as its
    metadata says under ``model``.

    Attributes:
        targets: by agent, a model, an alias, a router or a chain as clients write them.
        groups: by name; ``agents``, all of them, is always there.
        ensembles: by agent; others are decided by a vote.
    """

    targets: dict[Name, Name] = field(default_factory=dict)
    groups: dict[Name, AgentGroup] = field(default_factory=dict)
    ensembles: dict[Name, Ensemble] = field(default_factory=dict)


class RoleDefault(_Section, frozen=True, kw_only=True):
    """What a role uses where the request names nothing better than ``auto``.

    Attributes:
        model: a model's name, or a router's or chain's as clients write it (``auto``, ``router-<name>``,
            ``chain-<name>``).
        policy: of the router.
        fallbacks: models to try next, in order.
    """

    model: Name = "auto"
    policy: Policy | None = None
    fallbacks: list[Name] = field(default_factory=list)


class Decide(_Section, frozen=True, kw_only=True):
    """Who answers the questions of ``/v1/decide``.

    Attributes:
        heads: artifacts of routes, by the name under which questions find them.
        model: a model's name, or a router's as clients write it, that answers what the engine does not; None:
            only one that the request names.
        confidence: from which on likeness decides where a model could, and a question says nothing else.
        timeout: seconds for the model's answer.
    """

    heads: dict[Name, Name] = field(default_factory=dict)
    model: Name | None = None
    confidence: Share = 0.8
    timeout: Positive = 30.0


class Retries(_Section, frozen=True, kw_only=True):
    """Trying again: full jitter over an exponential bound, as long as the budget lasts.

    Attributes:
        attempts: at one model, the first one counted.
        base: seconds the first wait is at most.
        longest: seconds no wait exceeds; a ``Retry-After`` beyond it goes to the next model instead.
        budget: retries per request over the last minute, at most (ten are always allowed).
    """

    attempts: Count = 2
    base: Positive = 0.25
    longest: Positive = 8.0
    budget: Share = 0.2


class Breaker(_Section, frozen=True, kw_only=True):
    """Of each endpoint of each deployment; see :class:`tiny_dancer.resilience.CircuitBreaker`.

    Attributes:
        threshold: failures below which it does not open; in a row they are enough, where they are so large a share
            of the calls.
        failure_rate: share of failures that opens it, of the calls in the window.
        minimum_calls: calls that are enough to judge by, in a row or not.
        window: seconds over which calls are counted.
        cooldown: seconds the first opening lasts.
        longest_cooldown: seconds no opening exceeds.
    """

    threshold: Count = 5
    failure_rate: Annotated[float, Meta(gt=0, le=1)] = 0.5
    minimum_calls: Count = 20
    window: Positive = 60.0
    cooldown: Positive = 10.0
    longest_cooldown: Positive = 300.0


class Sessions(_Section, frozen=True, kw_only=True):
    """Conversations.

    Attributes:
        sticky: stay with the model that has the conversation cached where leaving costs more than it brings.
        cache_seconds: how long upstreams keep a prompt cached.
        escalate: use the strongest model when the user repeats a question or complains.
        remembered: conversations kept in memory.
    """

    sticky: bool = True
    cache_seconds: Positive = 300.0
    escalate: bool = False
    remembered: Count = 10_000


class Access(_Section, frozen=True, kw_only=True):
    """Who may call.

    Attributes:
        keys: ``required``, or ``open`` for everybody who can connect; ``auto`` is open on loopback only.
        origins: of web pages that may call from a browser (CORS), as ``https://chat.example.com``; ``*`` for all.
    """

    keys: Literal["auto", "required", "open"] = "auto"
    origins: list[Name] = field(default_factory=list)


class Limits(_Section, frozen=True, kw_only=True):
    """What clients may take.

    Attributes:
        body_bytes: of a request, as it is sent and unpacked.
        bodies_bytes: of all requests under way together, per worker.
        header_bytes: of a request.
        header_timeout: for all headers to arrive.
        body_timeout: for the whole body to arrive.
        write_timeout: for a client to take some more of its answer.
        stream_ping: of silence, after which a stream's client gets a sign of life; 0 for none.
        keep_alive: for the next request on a connection.
        drain: for running requests after SIGTERM.
        connections: at a time, per worker.
    """

    body_bytes: Count = 32 * 1024 * 1024
    bodies_bytes: Count = 256 * 1024 * 1024
    header_bytes: Count = 64 * 1024
    header_timeout: Positive = 10.0
    body_timeout: Positive = 60.0
    write_timeout: Positive = 60.0
    stream_ping: NotNegative = 15.0
    keep_alive: Positive = 75.0
    drain: Positive = 30.0
    connections: Count = 10_000


class Log(_Section, frozen=True, kw_only=True):
    """What is written down.

    Attributes:
        requests: one JSON line per request: ``stdout``, ``stderr``, a file's path, or ``off``.
        prompts: keep the text of prompts in the log and the database; without it only their hash.
        keep_days: days the database keeps requests, decisions and feedback; None: all of them.
    """

    requests: str = "stdout"
    prompts: bool = False
    keep_days: Positive | None = None


class Telemetry(_Section, frozen=True, kw_only=True):
    """OpenTelemetry traces (extra ``otel``).

    Attributes:
        otlp_endpoint: where to send them (OTLP over HTTP, ``http://localhost:4318/v1/traces``); None: nowhere.
        service_name: as which service.
        sample: share of requests traced that no caller decided about.
    """

    otlp_endpoint: str | None = None
    service_name: str = "tiny-dancer"
    sample: Share = 1.0


class GatewayConfig(_Section, frozen=True, kw_only=True):
    """The whole file.

    Attributes:
        listen: host and port clients use.
        health: host and port of health and metrics; ``off`` for none.
        workers: processes that share the port.
        storage: the database of requests, keys and feedback: a SQLite file, or ``postgresql://user@host/name``.
        upstreams: by name.
        models: by the name clients use.
        routers: by name; ``auto`` is the one named ``default``, or the only one.
        routes: semantic routes by name, for chains.
        chains: by name; ``chain-<name>`` to clients.
        agents: how agents of the registry are reached.
        default_model: serves when routing fails; None: the strongest of the router (its default).
        strongest: the model savings are counted against; None: the dearest.
        roles: defaults by role.
        prices: a LiteLLM price map (JSON file) that fills in what models leave out.
        decide: who answers questions.
        max_fallbacks: models tried after the first one.
        fallback_on: what else leads to the next model: ``content_filter``, an upstream's refusal of what is said.
    """

    listen: str = "127.0.0.1:8000"
    health: str = "127.0.0.1:8001"
    workers: Count = 1
    storage: str = "gateway.db"
    upstreams: dict[Name, Upstream]
    models: dict[Name, Model]
    routers: dict[Name, Router] = field(default_factory=dict)
    routes: dict[Name, Routes] = field(default_factory=dict)
    chains: dict[Name, Chain] = field(default_factory=dict)
    agents: Agents = field(default_factory=Agents)
    default_model: Name | None = None
    strongest: Name | None = None
    roles: dict[Role, RoleDefault] = field(default_factory=dict)
    prices: str | None = None
    decide: Decide = field(default_factory=Decide)
    max_fallbacks: Annotated[int, Meta(ge=0)] = 3
    fallback_on: list[FallbackCause] = field(default_factory=list)
    retries: Retries = field(default_factory=Retries)
    breaker: Breaker = field(default_factory=Breaker)
    sessions: Sessions = field(default_factory=Sessions)
    access: Access = field(default_factory=Access)
    limits: Limits = field(default_factory=Limits)
    log: Log = field(default_factory=Log)
    telemetry: Telemetry = field(default_factory=Telemetry)


def keys_required(config: GatewayConfig) -> bool:
    """Whether clients need a key: as configured, or by ``auto`` wherever others than this machine can connect."""
    if config.access.keys != "auto":
        return config.access.keys == "required"
    return not parse_address(config.listen, "listen").loopback


def database_of(config: GatewayConfig, folder: Path) -> Path | str:
    """Where the database is: a file, or a server's address."""
    return config.storage if is_url(config.storage) else folder / config.storage


def _beside(config: GatewayConfig, folder: Path, suffix: str) -> Path:
    """A file beside the database, or in the configuration's folder where that is on a server."""
    found = folder / ("database" if is_url(config.storage) else config.storage)
    return found.with_name(found.name + suffix)


def limits_path(config: GatewayConfig, folder: Path) -> Path:
    """Where several workers keep the rates of keys, for the supervisor to make and the workers to open."""
    return _beside(config, folder, LIMITS_SUFFIX)


def budgets_path(config: GatewayConfig, folder: Path) -> Path:
    """Where several workers keep what keys have spent and reserved, likewise."""
    return _beside(config, folder, BUDGETS_SUFFIX)


def unwritten_path(config: GatewayConfig, folder: Path) -> Path:
    """The folder of what each process has yet to write to storage."""
    return _beside(config, folder, UNWRITTEN_SUFFIX)
