"""What a configuration becomes: models, routers and names. Replaced as a whole by a reload, never changed."""

from __future__ import annotations

import copy
import hashlib
import random
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tiny_dancer import _core
from tiny_dancer.errors import ArtifactError, ConfigError, OptionError
from tiny_dancer.gateway.choosing.agents import ServedAgents
from tiny_dancer.gateway.choosing.drift import Drift
from tiny_dancer.gateway.choosing.targets import ChainTarget, RouterTarget, agent_of
from tiny_dancer.gateway.configuration import settings as config
from tiny_dancer.gateway.configuration.check import as_answer, chains_led_to
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.tools.selecting import RouterTools
from tiny_dancer.gateway.upstream.clients.connect import connect
from tiny_dancer.gateway.upstream.deployments import Deployment, ServedModel, UpstreamServer
from tiny_dancer.names import did_you_mean, near
from tiny_dancer.registry import ArtifactFile, Registry, Reloading, ServingVersion
from tiny_dancer.registry.reload import Sourced
from tiny_dancer.routing.decider import Decider
from tiny_dancer.routing.resilient import ResilientRouter
from tiny_dancer.routing.router import Router
from tiny_dancer.routing.semantic import SemanticRoutes
from tiny_dancer.routing.share import ShareWindow, two_models
from tiny_dancer.routing.walk import CHAIN, CannedAnswer, as_target, chain_of, find_cycle

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence
    from pathlib import Path

    from tiny_dancer.gateway.choosing.targets import Target
    from tiny_dancer.gateway.upstream.dialect import Endpoint
    from tiny_dancer.registry import Source
    from tiny_dancer.routing.semantic import Route
    from tiny_dancer.storage import AgentRecord
    from tiny_dancer.types import Decision, ModelInfo, RequestRecord

POLICIES: Final = ("quality", "balanced", "cheapest", "cost")
"""Each names the default router under the artifact's policy of this name; `cost` is `cheapest`, formerly."""

WATCH_SECONDS: Final = 2.0
_SHOWN: Final = 5

DEFAULT_VARIANT: Final = "default"
"""The only variant a router has so far: the configuration names one artifact for each."""


class ServedRoutes:
    """Semantic routes of the configuration, loaded; what serves is followed when it changes.

    Attributes:
        name: in the configuration.
        settings: of the configuration.
        reloading: holds what serves.
        targets: by a route's name, those of the configuration.
    """

    def __init__(self, name: str, settings: config.Routes, reloading: Reloading[SemanticRoutes]) -> None:
        self.name = name
        self.settings = settings
        self.reloading = reloading
        self.targets: dict[str, str | CannedAnswer] = {
            route: as_answer(target) for route, target in settings.targets.items()
        }

    @property
    def serving(self) -> SemanticRoutes:
        """What serves now."""
        return self.reloading.current.value

    def target(self, route: Route) -> object:
        """Where a route leads; None where nothing says."""
        return self.targets.get(route.name, route.target)

    def notes(self) -> list[str]:
        """What its operator should know: routes that lead nowhere."""
        lost = [route.name for route in self.serving.routes if self.target(route) is None]
        if not lost:
            return []
        more = "" if len(lost) <= _SHOWN else f" and {len(lost) - _SHOWN} more"
        return [f"lead nowhere: {', '.join(lost[:_SHOWN])}{more}; give them targets"]


class Variant:
    """One of the artifacts that stand behind a router's name, loaded.

    Attributes:
        name: among the router's variants.
        of: the router's name.
        settings: of the router, in the configuration.
        router: decides.
        weight: of its share of the requests, beside the other variants'.
        gains: of the last requests, where the configuration asks for a share.
        drift: whether its requests are still like those its certificate was earned on.
    """

    def __init__(
        self,
        name: str,
        of: str,
        settings: config.Router,
        router: ResilientRouter,
        weight: float = 1.0,
        gains: ShareWindow | None = None,
        drift: Drift | None = None,
    ) -> None:
        self.name = name
        self.of = of
        self.settings = settings
        self.router = router
        self.weight = weight
        self.gains = gains
        self.drift = Drift(of, 1) if drift is None else drift
        if gains is None and settings.share is not None:
            self.gains = ShareWindow(settings.share, settings.share_window, router.header.get("policy_path") or ())
        self._named: tuple[str, ...] = ()
        self._usable: dict[tuple[Endpoint, str], tuple[str, ...]] = {}

    def usable(self, endpoint: Endpoint, role: str, models: Mapping[str, ServedModel]) -> tuple[str, ...]:
        """Its models that serve this endpoint and role; looked up once for each artifact that serves."""
        named = self.router.models
        if named is not self._named:
            self._named = named
            self._usable.clear()
        found = self._usable.get((endpoint, role))
        if found is None:
            found = tuple(name for name in named if name in models and models[name].serves(endpoint, role))
            self._usable[endpoint, role] = found
        return found

    @property
    def policy(self) -> str:
        """The name of the policy that decides where no request names one."""
        fixed: dict[str, Any] = self.router.header.get("policies") or {}
        name: str = self.settings.policy or fixed.get("in_force", "balanced")
        return name

    def always(self) -> str | None:
        """The only model it ever chooses where no request asks otherwise; None where it depends on the request."""
        header = self.router.header
        names, policy = self.router.models, header["policy"]
        best: str = names[header["best_constant"]]
        word, threshold = self.settings.policy, self.settings.threshold
        scaled = "cheapest" if word == "cost" else word
        fixed = header.get("policies")
        if fixed is not None and threshold is None and scaled not in (None, fixed["in_force"]):
            policy, scaled = fixed[scaled], None
        elif fixed is not None and threshold is None:
            scaled = None
        if len(names) == 1:
            return best
        if self.gains is not None:
            return None
        if threshold is not None or policy["kind"] == "threshold":
            level: float = policy["threshold"] if threshold is None else threshold
            level += {"cheapest": 1, "quality": -1}.get(scaled or "", 0) * abs(level)
            strong: int = policy.get("strong", header["best_constant"])
            # Between qualities in [0, 1] no gain is larger than 1, and none smaller than -1.
            if level > 1:
                return names[1 - strong]
            return names[strong] if level <= -1 else None
        if policy["kind"] == "constant":
            # Asked for quality it weighs no cost, and follows what it expects.
            return None if scaled == "quality" else names[policy["model"]]
        others = [model for place, model in enumerate(header["models"]) if place != header["best_constant"]]
        return None if any(model["cleared"] for model in others) else best

    def notes(self, models: Mapping[str, ServedModel]) -> list[str]:
        """What its operator should know: that it never chooses, that its certificate is void here."""
        found = []
        if (only := self.always()) is not None:
            costs = [models[name].expected_cost or 0.0 for name in self.router.models]
            saving = "no saving" if (models[only].expected_cost or 0.0) >= max(costs) else "nothing is chosen"
            found.append(f"constant: always {only}: {saving}")
        if (turned := self.router.serving.costs_turned) is not None:
            found.append(turned)
        if (why := self.router.uncertified) not in ("", _core.UNCOVERED[0]):
            found.append(f"no certificate: {why}")
        if (withdrawn := self.drift.note(self.router.serving.artifact)) is not None:
            found.append(withdrawn)
        return found

    def options(self, policy: str | None, threshold: float | None) -> dict[str, Any]:
        """Options of :meth:`ResilientRouter.route` that a policy or threshold stands for.

        A threshold that a request names is meant as it is; the router's own is scaled by the policy. Where neither
        request nor configuration names one, the artifact's policy in force decides.
        """
        if threshold is not None:
            return {"threshold": threshold}
        if self.gains is not None and policy is None:
            return {"threshold": self.gains.threshold()}
        name = policy or self.settings.policy
        options: dict[str, Any] = {} if name is None else {"policy": name}
        if self.settings.threshold is not None:
            options["threshold"] = self.settings.threshold
        return options

    def decided(self, decision: Decision, source: Hashable = None) -> Decision:
        """Takes in a decision and gives it back; without a guarantee where requests have changed.

        ``source`` is the conversation it belongs to.

        The next threshold of a share follows what was expected, and chosen.
        """
        if self.gains is not None:
            strong, weak = two_models(self.router.header, decision.scores)
            self.gains.saw(decision.scores[strong] - decision.scores[weak], decision.model == strong)
        return self.drift.observe(decision, self.router, source)


class ServedRouter:
    """A router of the configuration: a name, and the variants that decide under it.

    Attributes:
        name: in the configuration.
        settings: of the configuration.
        variants: at least one.
        tools: which tools of a request its model gets; None: those the client sends.
    """

    def __init__(
        self, name: str, settings: config.Router, variants: Sequence[Variant], tools: RouterTools | None = None
    ) -> None:
        self.name = name
        self.settings = settings
        self.variants = variants
        self.tools = tools
        self._weights = [each.weight for each in variants]

    def deciding(self) -> Variant:
        """The variant that decides the next request, drawn by weight."""
        variants = self.variants
        return variants[0] if len(variants) == 1 else random.choices(variants, self._weights)[0]


class Serving:
    """One configuration in force.

    Attributes:
        config: as read.
        models: by name.
        routers: by name.
        servers: upstreams by name.
        bare: upstreams by name, as deployments of no model: for what is passed on and names none.
        routes: semantic routes by name.
        chains: settings by name.
        agents: of the registry, as they were when this was made.
        names: everything a client may name but thresholds: models, aliases, ``auto``, routers, policies, chains,
            agents.
        leads: whether any name has to be led on before it is known which model it means: chains, agents.
        default_router: of ``auto``; None without routers.
        selects_tools: whether any router does.
        strongest: the model savings are counted against.
        decider: answers questions.
    """

    def __init__(self, settings: config.GatewayConfig, folder: Path, before: Serving | None = None) -> None:
        """Loads and connects what is new; connections, breakers and routers that did not change are kept.

        Raises:
            ConfigError, ArtifactError, RegistryError: it cannot serve. What was loaded for it is let go.
        """
        self.config = settings
        self.servers = {
            name: _kept_server(name, upstream, before) or UpstreamServer(name, upstream, connect(upstream))
            for name, upstream in settings.upstreams.items()
        }
        self.bare = {name: self._bare(name, server, before) for name, server in self.servers.items()}
        self.models = {name: self._model(name, model, before) for name, model in settings.models.items()}
        self.strongest = self._strongest()
        self.decider = _decider(settings.decide, folder, before)
        self.routers: dict[str, ServedRouter] = {}
        with ExitStack() as undo:
            for name, router in settings.routers.items():
                loaded = _kept_router(name, settings, before)
                gains = None
                if loaded is not None and before is not None:
                    gains = before.routers[name].variants[0].gains
                else:
                    loaded = self._load(router, folder)
                    undo.callback(loaded.close)
                    loaded.watch(WATCH_SECONDS)
                variant = Variant(
                    DEFAULT_VARIANT, name, router, loaded, gains=gains, drift=_kept_drift(name, settings, before)
                )
                self._check_variant(variant)
                tools = _tools(name, router, folder, before)
                self.routers[name] = ServedRouter(name, router, [variant], tools)
            self.default_router = self.routers.get("default") or next(iter(self.routers.values()), None)
            self.selects_tools = any(each.tools is not None for each in self.routers.values())
            self.chains = settings.chains
            self._own = self._names()
            agents = None if before is None else before.agents
            self._know(() if agents is None else agents.records.values(), agents)
            self.routes: dict[str, ServedRoutes] = {}
            for name, found in settings.routes.items():
                routes = _kept_routes(name, settings, before)
                if routes is None:
                    routes = ServedRoutes(name, found, Reloading(_routes_source(found, folder), _semantic))
                    undo.callback(routes.reloading.close)
                    routes.reloading.watch(WATCH_SECONDS)
                self._check_routes(routes)
                self.routes[name] = routes
            self._check_chains()
            undo.pop_all()

    def with_agents(self, records: Iterable[AgentRecord]) -> Serving:
        """The same configuration with other agents. Whoever holds this one keeps those it has."""
        found = copy.copy(self)
        found._know(records, self.agents)
        return found

    def _know(self, records: Iterable[AgentRecord], before: ServedAgents | None) -> None:
        self.agents = ServedAgents(records, self.config, self._own, before)
        self.names: Mapping[str, Target] = {**self._own, **self.agents.names}
        self.leads = bool(self.chains or self.agents.names)

    def resolve(self, name: str) -> Target:
        """What a client's name stands for.

        Raises:
            GatewayError: 404, nothing; it says what is near.
        """
        found = self.names.get(name)
        if found is not None:
            return found
        if (agent := agent_of(name)) is not None and (why := self.agents.lost.get(agent)) is not None:
            raise GatewayError(
                404,
                f"The agent '{agent[:200]}' cannot be asked: {why}.",
                param="model",
                code="agent_not_available",
            )
        if name.startswith("router-"):
            # As RouteLLM: router-<name>-<threshold>. Names and numbers have dashes of their own.
            for known, target in self.names.items():
                if isinstance(target, RouterTarget) and name.startswith(f"{known}-"):
                    try:
                        threshold = float(name[len(known) + 1 :])
                    except ValueError:
                        continue
                    if -1 <= threshold <= 1:
                        return RouterTarget(target.router, target.policy, threshold)
        like = near(name[:100], self.names)
        hint = f"did you mean {' or '.join(like)}?" if like else "GET /v1/models lists what there is."
        raise GatewayError(
            404, f"The model '{name[:200]}' does not exist; {hint}", param="model", code="model_not_found"
        )

    def close(self, after: Serving | None = None) -> None:
        """Ends the threads of routers that the next configuration does not use."""
        kept = set() if after is None else {id(each.router) for each in after.variants().values()}
        for each in self.variants().values():
            if id(each.router) not in kept:
                each.router.close()
        watched = set() if after is None else {id(each.reloading) for each in after.routes.values()}
        for routes in self.routes.values():
            if id(routes.reloading) not in watched:
                routes.reloading.close()

    def variants(self) -> dict[str, Variant]:
        """Those of all its routers, by the router's name; with their own behind it where a router has several."""
        return {
            name if len(router.variants) == 1 else f"{name}/{variant.name}": variant
            for name, router in self.routers.items()
            for variant in router.variants
        }

    def notes(self) -> list[str]:
        """What the operator should know of its routers."""
        return [
            f"router {name}: {note}"
            for name, variant in self.variants().items()
            for note in variant.notes(self.models)
        ] + [
            *(f"routes {name}: {note}" for name, routes in self.routes.items() for note in routes.notes()),
            *self.agents.notes(),
        ]

    def learn(self, record: RequestRecord, score: float) -> None:
        """Has the watch of the router that decided a request count feedback on it."""
        router = self.routers.get(record.router)
        for found in () if router is None else router.variants:
            if found.name == record.variant:
                found.drift.learn(record, score, in_units=found.settings.feedback == "quality")

    async def disconnect(self) -> None:
        """Closes all connections to upstreams."""
        for server in self.servers.values():
            await server.client.close()

    def _model(self, name: str, model: config.Model, before: Serving | None) -> ServedModel:
        deployments = []
        for settings in model.deployments:
            server = self.servers[settings.upstream]
            kept = _kept_deployment(name, settings, server, before, self.config.breaker)
            deployments.append(kept or Deployment(name, settings, server, self.config.breaker))
        return ServedModel(name, model, deployments)

    def _bare(self, name: str, server: UpstreamServer, before: Serving | None) -> Deployment:
        same = before is not None and before.config.breaker == self.config.breaker
        if before is not None and same and before.servers.get(name) is server:
            return before.bare[name]
        return Deployment("", config.Deployment(upstream=name), server, self.config.breaker)

    def _strongest(self) -> ServedModel | None:
        if self.config.strongest is not None:
            return self.models[self.config.strongest]
        priced = [model for model in self.models.values() if "chat.completions" in model.endpoints]
        return max(priced, key=lambda model: model.expected_cost or 0.0, default=None)

    def _load(self, settings: config.Router, folder: Path) -> ResilientRouter:
        load = partial(self._router, settings)
        source: Source
        if isinstance(settings.artifact, config.RegistryVersion):
            registry = Registry(folder / settings.artifact.folder, load=load)
            source = ServingVersion(registry, settings.artifact.name)
        else:
            source = ArtifactFile(_core.router_path(settings.artifact) or folder / settings.artifact)
        router = ResilientRouter(source, load=load)
        default = self.config.default_model
        return ResilientRouter(source, load=load, default_model=default) if default in router.models else router

    def _router(self, settings: config.Router, artifact: bytes) -> Router:
        """An artifact whose models are those here; what the configuration leaves out is as the artifact has it."""
        known = {model["name"]: model for model in _core.read_header(artifact).get("models", [])}
        # A model the artifact knows by the name it has here gets the prices it has here.
        same = {name: name for name in known if name in self.models and name not in settings.models.values()}
        infos: dict[str, str | ModelInfo] = {}
        for theirs, ours in {**same, **settings.models}.items():
            info = self.models[ours].info()
            if info.expected_output_tokens is None and not known.get(theirs, {}).get("expected_output_tokens"):
                info = replace(info, expected_output_tokens=config.USUAL_OUTPUT_TOKENS)
            infos[theirs] = info
        router = Router(artifact, models=infos)
        if settings.share is not None:
            two_models(router.header, router.models)  # refuses an artifact of more, also one that comes later
        return router

    def _check_variant(self, variant: Variant) -> None:
        missing = [name for name in variant.router.models if name not in self.models]
        if missing:
            raise ConfigError(
                f"routers.{variant.of}.models",
                ", ".join(missing),
                f"map every model of the artifact to one of {', '.join(self.models)}",
            )

    def _check_routes(self, routes: ServedRoutes) -> None:
        at = f"routes.{routes.name}"
        known = [route.name for route in routes.serving.routes]
        for name in routes.targets:
            if name not in known:
                raise ConfigError(f"{at}.targets.{name}", name, did_you_mean(name, known, "routes"))
        for route in routes.serving.routes:
            field, target = f"{at}.{route.name}.target", routes.target(route)
            if target is None:
                continue
            try:
                found = as_target(target, field)
            except OptionError as error:
                raise ConfigError(field, error.value, error.remedy) from error
            # Agents come and go: where one is not there, the step passes on.
            if isinstance(found, str) and agent_of(found) is None and self.unknown(found) is not None:
                raise ConfigError(field, found, f"nothing has this name; give it a target under {at}.targets")

    def unknown(self, target: str) -> str | None:
        """Why a name leads nowhere; None where it leads somewhere."""
        if target in self.names:
            return None
        try:
            self.resolve(target)
        except GatewayError as error:
            return error.message.rstrip(".")
        return None

    def _check_chains(self) -> None:
        leads: dict[str, list[str]] = {}
        for name, chain in self.chains.items():
            leads[name] = chains_led_to(chain, self.config)
            step = chain.semantic
            if step is None:
                continue
            routes = self.routes[step.routes]
            leads[name] += [
                found for route in routes.serving.routes if (found := chain_of(routes.target(route))) is not None
            ]
            if not step.uncalibrated and not routes.serving.calibrated:
                raise ConfigError(
                    f"chains.{name}.semantic.routes",
                    f"{step.routes} is not calibrated",
                    "fit them on labelled texts (tiny-dancer routes fit), or write uncalibrated: true to believe "
                    "likeness alone",
                )
        if (cycle := find_cycle(leads)) is not None:
            remedy = "let one of them lead elsewhere: they lead in a circle"
            raise ConfigError(f"chains.{cycle[0]}", " -> ".join(cycle), remedy)

    def _names(self) -> dict[str, Target]:
        names: dict[str, Target] = dict(self.models)
        for model in self.models.values():
            names.update(dict.fromkeys(model.settings.aliases, model))
        if self.default_router is not None:
            default = self.default_router.name
            names["auto"] = RouterTarget(default)
            for policy in POLICIES:
                names[f"router-{policy}"] = RouterTarget(default, policy)
        for name in self.routers:
            names[f"router-{name}"] = RouterTarget(name)
        for name in self.chains:
            names[f"{CHAIN}{name}"] = ChainTarget(name)
        return names


class _RouteFile:
    """A file of utterances as a source of artifacts; see :class:`tiny_dancer.registry.reload.Source`."""

    def __init__(self, path: Path) -> None:
        self._file = ArtifactFile(path)

    def __str__(self) -> str:
        return str(self._file)

    def stamp(self) -> Hashable | None:
        """As of the file."""
        return self._file.stamp()

    def read(self) -> Sourced:
        """An artifact of the utterances, made anew."""
        from tiny_dancer.routing.route_files import read_routes  # which needs yaml

        data = SemanticRoutes(read_routes(self._file.path).routes).artifact
        return Sourced("", hashlib.sha256(data).hexdigest(), data)


def _routes_source(settings: config.Routes, folder: Path) -> Source:
    if settings.file is not None:
        return _RouteFile(folder / settings.file)
    if isinstance(settings.artifact, config.RegistryVersion):
        registry = Registry(folder / settings.artifact.folder, load=_semantic)
        return ServingVersion(registry, settings.artifact.name)
    assert settings.artifact is not None
    return ArtifactFile(folder / settings.artifact)


def _semantic(artifact: bytes) -> SemanticRoutes:
    try:
        return SemanticRoutes.from_bytes(artifact)
    except OptionError as error:
        remedy = "the gateway has the engine's own encoder alone: fit the routes with that"
        raise ArtifactError(error.field, error.value, remedy) from error


def _kept_routes(name: str, settings: config.GatewayConfig, before: Serving | None) -> ServedRoutes | None:
    """The same routes, with what was counted of their rates."""
    if before is None or before.config.routes.get(name) != settings.routes[name]:
        return None
    return before.routes[name]


def _decider(settings: config.Decide, folder: Path, before: Serving | None) -> Decider:
    """With the heads of the configuration, read anew where it has changed."""
    if before is not None and before.config.decide == settings and not settings.heads:
        return before.decider
    heads = {name: SemanticRoutes.from_file(folder / path) for name, path in settings.heads.items()}
    try:
        return Decider(heads, enough=settings.confidence)
    except OptionError as error:
        raise ConfigError(f"decide.{error.field}", error.value, error.remedy) from error


def _kept_server(name: str, settings: config.Upstream, before: Serving | None) -> UpstreamServer | None:
    found = None if before is None else before.servers.get(name)
    return found if found is not None and found.settings == settings else None


def _kept_deployment(
    model: str,
    settings: config.Deployment,
    server: UpstreamServer,
    before: Serving | None,
    breaker: config.Breaker,
) -> Deployment | None:
    """The same deployment, with what its breaker has seen."""
    if before is None or model not in before.models or breaker != before.config.breaker:
        return None
    for found in before.models[model].deployments:
        if found.settings == settings and found.server is server:
            return found
    return None


def _kept_drift(name: str, settings: config.GatewayConfig, before: Serving | None) -> Drift:
    """What was seen of a router's requests, whatever else of it has changed but its artifact."""
    if before is not None and name in before.routers:
        return before.routers[name].variants[0].drift
    return Drift(name, settings.workers)


def _tools(name: str, settings: config.Router, folder: Path, before: Serving | None) -> RouterTools | None:
    if settings.tool_selection is None:
        return None
    last = before.routers[name].tools if before is not None and name in before.routers else None
    return RouterTools(settings.tool_selection, f"routers.{name}.tool_selection", folder, last)


def _kept_router(name: str, settings: config.GatewayConfig, before: Serving | None) -> ResilientRouter | None:
    """The same router, if what it was loaded with is the same too."""
    if before is None or before.config.routers.get(name) != settings.routers[name]:
        return None
    if before.config.default_model != settings.default_model:
        return None
    found = before.routers[name].variants[0].router
    same = all(before.config.models.get(each) == settings.models.get(each) for each in found.models)
    return found if same else None
