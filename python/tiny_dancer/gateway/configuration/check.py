"""What ties the parts of ``gateway.yaml`` together: names that must exist, names that must not, addresses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct

from tiny_dancer.config import load, raise_all
from tiny_dancer.errors import ConfigError, OptionError
from tiny_dancer.gateway.configuration import prices
from tiny_dancer.gateway.configuration.address import parse_address
from tiny_dancer.gateway.configuration.settings import AGENT_POLICIES, EVERYBODY, Canned, GatewayConfig
from tiny_dancer.names import did_you_mean
from tiny_dancer.routing.rules import Rule
from tiny_dancer.routing.walk import CHAIN, CannedAnswer, chain_of, find_cycle

if TYPE_CHECKING:
    import os
    from collections.abc import Collection

    from tiny_dancer.gateway.configuration.settings import (
        Chain,
        OverrideRule,
        RoleDefault,
        Router,
        Routes,
        Target,
        ToolSelection,
        Upstream,
    )

AGENT = "agent-"
"""What the name of an agent begins with where it is a target, and to clients."""
POLICIES = ("quality", "balanced", "cheapest", "cost")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_THRESHOLD = re.compile(r"-[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$")
# Scheme, host and port, in lower case (RFC 6454, 6.2); also of browsers' extensions and of apps.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9._\[\]:-]+")
_ANY_HOST = ("0.0.0.0", "::")
# USD per token: thrice the dearest there is (o1-pro, 600 USD per million), and less than the cheapest per million.
_DEAREST = 0.002
# Names no configured header may have: they would be sent twice, or say of every request what is true of one.
_FRAMING = "it frames the request or belongs to the connection, and the gateway writes it itself; remove it"
_OF_ONE_REQUEST = "it is of a single request, and comes from the client; remove it"
_OWN_HEADERS = {
    **dict.fromkeys(
        (
            "accept-encoding",
            "connection",
            "content-encoding",
            "content-length",
            "content-type",
            "expect",
            "host",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ),
        _FRAMING,
    ),
    **dict.fromkeys(("idempotency-key", "traceparent", "tracestate"), _OF_ONE_REQUEST),
}


def load_gateway(path: str | os.PathLike[str]) -> GatewayConfig:
    """``gateway.yaml``, its prices filled in, checked as a whole.

    Raises:
        ConfigError: as :func:`tiny_dancer.config.load`, :func:`.prices.fill` and :func:`check`.
    """
    loaded = load(path, GatewayConfig)
    config = loaded.value
    if config.prices is not None:
        try:
            config = prices.fill(config, Path(path).parent / config.prices)
        except ConfigError as error:
            raise_all([error], loaded.from_environment)
    check(config, loaded.from_environment)
    return config


def check(config: GatewayConfig, hidden: Collection[str] = ()) -> None:
    """Checks what no single key can say about itself. Reads no file and opens no connection.

    Args:
        config: as read.
        hidden: paths of keys whose values no error may show, :attr:`tiny_dancer.config.Loaded.from_environment`.

    Raises:
        ConfigError: the first problem, with the others as its notes.
    """
    checks = _Checks(config)
    checks.addresses()
    for name, upstream in config.upstreams.items():
        checks.upstream(name, upstream)
    checks.models()
    for name, router in config.routers.items():
        checks.router(name, router)
    for name, routes in config.routes.items():
        checks.routes(name, routes)
    for name, chain in config.chains.items():
        checks.chain(name, chain)
    checks.cycles()
    checks.agents()
    checks.defaults()
    for role, default in config.roles.items():
        checks.role(role, default)
    checks.decide()
    checks.limits()
    checks.origins()
    raise_all(checks.problems, hidden)


def as_answer(target: Target) -> str | CannedAnswer:
    """A target of the configuration as chains have it.

    Raises:
        OptionError: an answer without a text.
    """
    return target if isinstance(target, str) else CannedAnswer(target.answer)


def as_rule(rule: OverrideRule) -> Rule:
    """A rule of the configuration as chains have it.

    Raises:
        OptionError: a text of it is blank.
    """
    users, tiers, tags, keywords = map(tuple, (rule.users, rule.tiers, rule.tags, rule.keywords))
    return Rule(as_answer(rule.target), users, tiers, tags, keywords, rule.headers)


def chains_led_to(chain: Chain, config: GatewayConfig) -> list[str]:
    """Names of the chains that a chain's targets name, as far as the configuration says."""
    return [name for each in leads_of(chain, config) if (name := chain_of(each)) is not None]


def leads_of(chain: Chain, config: GatewayConfig) -> list[str]:
    """The names that are a chain's targets, as far as the configuration says."""
    targets: list[object] = [chain.default, *(rule.target for rule in chain.override)]
    if chain.judge is not None:
        targets += chain.judge.choices or ()
    if chain.semantic is not None and (routes := config.routes.get(chain.semantic.routes)) is not None:
        targets += routes.targets.values()
    return [each for each in targets if isinstance(each, str)]


class _Checks:
    """Collects the problems of one configuration."""

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        self.problems: list[ConfigError] = []

    def refuse(self, field: str, value: object, remedy: str) -> None:
        self.problems.append(ConfigError(field, value, remedy))

    def addresses(self) -> None:
        found = []
        for field, text in (("listen", self.config.listen), ("health", self.config.health)):
            if field == "health" and text == "off":
                continue
            try:
                found.append(parse_address(text, field))
            except ConfigError as error:
                self.problems.append(error)
        if len(found) == 2 and found[0].port == found[1].port != 0:
            hosts = {each.host for each in found}
            if len(hosts) == 1 or not hosts.isdisjoint(_ANY_HOST):
                self.refuse("health", self.config.health, "give another port than listen has, or off")
        if not self.config.storage.strip():
            self.refuse("storage", "''", "give the path of a database, such as gateway.db")
        if (endpoint := self.config.telemetry.otlp_endpoint) is not None:
            self.url("telemetry.otlp_endpoint", endpoint, "http://localhost:4318/v1/traces")

    def url(self, field: str, text: str, example: str) -> None:
        # What stands before an @ or after a ? may be a secret: it is not repeated.
        shown = "***" if "@" in text else repr(text)
        try:
            parts = urlsplit(text)
            port_is_wrong = parts.port == 0
        except ValueError:
            self.refuse(field, "no URL", f"give one such as {example}")
            return
        if "@" in parts.netloc:
            self.refuse(field, "has credentials", "put the key under api_key or headers")
        elif parts.query or parts.fragment or "?" in text or "#" in text:
            self.refuse(field, "has a query or fragment", f"give the URL alone, such as {example}")
        elif parts.scheme not in ("http", "https") or not parts.hostname or port_is_wrong:
            self.refuse(field, shown, f"give an http or https URL such as {example}")
        elif not text.isprintable() or " " in text or not text.isascii():
            self.refuse(field, "has spaces or unusual characters", "percent-encode them")
        elif parts.path.rstrip("/").endswith(
            ("/chat/completions", "/completions", "/messages", "/embeddings", "/responses")
        ):
            self.refuse(field, shown, "stop before the endpoint: the gateway adds it")

    def upstream(self, name: str, upstream: Upstream) -> None:
        at = f"upstreams.{name}"
        self.name(at, name)
        self.url(f"{at}.base_url", upstream.base_url, "https://api.openai.com/v1")
        secrets = {"api_key": upstream.api_key} | {
            f"headers.{key}": value for key, value in upstream.headers.items()
        }
        for key, value in secrets.items():
            if value is None:
                continue
            if not value.strip():
                self.refuse(f"{at}.{key}", "empty", "set the variable it comes from, or remove the key")
            elif not (value.isascii() and value.isprintable() and value == value.strip()):
                self.refuse(f"{at}.{key}", "***", "remove line breaks, spaces around it and unusual characters")
        if upstream.kind == "anthropic" and upstream.responses == "native":
            self.refuse(f"{at}.responses", "native", "Anthropic's servers have no responses; write auto or chat")
        if upstream.kind == "a2a":
            if upstream.responses == "native":
                self.refuse(f"{at}.responses", "native", "agents of A2A have no responses; write auto or chat")
            if upstream.api_version not in (None, "0.3", "1.0"):
                self.refuse(f"{at}.api_version", repr(upstream.api_version), "the versions are 0.3 and 1.0")
        lowered = [key.lower() for key in upstream.headers]
        for place, key in enumerate(upstream.headers):
            where = f"{at}.headers.{key}"
            if not _HEADER_NAME.fullmatch(key):
                self.refuse(where, "no header name", "use letters, digits and -")
            elif (remedy := _OWN_HEADERS.get(lowered[place])) is not None:
                self.refuse(where, "not to be configured", remedy)
            elif lowered[place] in lowered[:place]:
                self.refuse(where, "twice", "headers are the same in any case; remove one")

    def name(self, field: str, name: str) -> None:
        """Names stand in headers, in lists and in metrics."""
        if not (name.isascii() and name.isprintable() and name == name.strip()) or "," in name:
            self.refuse(field, repr(name), "use plain characters without commas or spaces around them")

    def models(self) -> None:
        config = self.config
        for field in ("upstreams", "models"):
            if not getattr(config, field):
                self.refuse(field, "empty", "give at least one")
        taken: dict[str, str] = dict.fromkeys(config.models, "a model")
        for name, model in config.models.items():
            at = f"models.{name}"
            self.name(at, name)
            self.reserved(at, name)
            self.prices(at, model)
            if (wrong := prices.incomplete(model)) is not None:
                given, missing = wrong
                remedy = f"give it beside {given}; 0 where it is free: what is not named would not be counted"
                self.refuse(f"{at}.{missing}", "missing", remedy)
            for place, deployment in enumerate(model.deployments):
                where = f"{at}.deployments.{place}.upstream"
                self.known(where, deployment.upstream, config.upstreams, "upstreams")
            for place, alias in enumerate(model.aliases):
                where = f"{at}.aliases.{place}"
                self.name(where, alias)
                self.reserved(where, alias)
                if alias in taken:
                    self.refuse(where, repr(alias), f"it is {taken[alias]} already; remove one")
                taken.setdefault(alias, f"an alias of {name}")

    def prices(self, at: str, priced: Struct) -> None:
        """Of a model, and of its tiers: those meant per million make all routing and accounting nonsense."""
        for name in priced.__struct_fields__:
            value = getattr(priced, name)
            if isinstance(value, list):
                for place, each in enumerate(value):
                    if isinstance(each, Struct):
                        self.prices(f"{at}.{name}.{place}", each)
            elif "_token" in name and "cost" in name and isinstance(value, float) and value > _DEAREST:
                remedy = "prices are USD per token; divide one that is per million by 1e6"
                self.refuse(f"{at}.{name}", f"{value:g}", remedy)

    def reserved(self, field: str, name: str) -> None:
        if name == "auto" or name.startswith(("router-", CHAIN, AGENT)):
            remedy = "auto, router-…, chain-… and agent-… ask for routing; call the model something else"
            self.refuse(field, repr(name), remedy)

    def known(self, field: str, name: str, names: Collection[str], what: str) -> bool:
        if name in names:
            return True
        aliases = {alias: model for model, each in self.config.models.items() for alias in each.aliases}
        if what == "models" and name in aliases:
            self.refuse(field, repr(name), f"it is an alias; write {aliases[name]}")
        else:
            self.refuse(field, repr(name), did_you_mean(name, names, what))
        return False

    def router(self, name: str, router: Router) -> None:
        at = f"routers.{name}"
        self.name(at, name)
        if name in POLICIES or _THRESHOLD.search(name):
            self.refuse(at, repr(name), "router-… would be read as a policy or threshold; call it something else")
        if router.share is not None and (router.threshold, router.policy) != (None, None):
            self.refuse(f"{at}.share", router.share, "a share sets the threshold; remove threshold and policy")
        if router.tool_selection is not None:
            self.tool_selection(f"{at}.tool_selection", router.tool_selection)
        for part, model in router.models.items():
            self.known(f"{at}.models.{part}", model, self.config.models, "models")
        if router.max_cost is not None:
            without = [
                each
                for each in router.models.values() or self.config.models
                if each in self.config.models and not prices.is_priced(self.config.models[each])
            ]
            if without:
                remedy = f"give prices for {', '.join(without)}, under models or by prices"
                self.refuse(f"{at}.max_cost", router.max_cost, remedy)

    def routes(self, name: str, routes: Routes) -> None:
        at = f"routes.{name}"
        self.name(at, name)
        for route, target in routes.targets.items():
            self.target(f"{at}.targets.{route}", target)

    def chain(self, name: str, chain: Chain) -> None:
        at, config = f"chains.{name}", self.config
        self.name(at, name)
        for place, rule in enumerate(chain.override):
            self.target(f"{at}.override.{place}.target", rule.target)
            try:
                as_rule(rule)
            except OptionError as error:
                if error.field != "answer":
                    self.refuse(f"{at}.override.{place}.{error.field}", error.value, error.remedy)
        if chain.semantic is not None:
            self.known(f"{at}.semantic.routes", chain.semantic.routes, config.routes, "routes")
        if chain.learned is not None:
            self.known(f"{at}.learned.router", chain.learned.router, config.routers, "routers")
        if (judge := chain.judge) is not None:
            if judge.model.startswith(CHAIN):
                self.refuse(f"{at}.judge.model", judge.model, "a chain cannot be asked; name a model or a router")
            else:
                self.target(f"{at}.judge.model", judge.model)
            if judge.choices is None and chain.semantic is None:
                self.refuse(f"{at}.judge.choices", "missing", "give them: there are no routes to choose from")
            elif judge.choices is not None and not judge.choices:
                self.refuse(f"{at}.judge.choices", "empty", "give targets with what each is for, or leave it out")
            for choice in judge.choices or ():
                self.target(f"{at}.judge.choices.{choice}", choice)
        if (human := chain.human) is not None:
            if not human.keep_prompts:
                remedy = (
                    "people answer what they can read: write keep_prompts: true to keep the messages of these "
                    "requests in the database, or remove the step"
                )
                self.refuse(f"{at}.human.keep_prompts", "false", remedy)
            if human.expires < human.wait:
                self.refuse(f"{at}.human.expires", human.expires, f"give at least wait, {human.wait:g}")
        self.target(f"{at}.default", chain.default)

    def target(self, field: str, target: Target) -> None:
        if isinstance(target, Canned):
            if not target.answer.strip():
                self.refuse(f"{field}.answer", repr(target.answer), "give the text of the answer")
            return
        config = self.config
        aliases = [alias for model in config.models.values() for alias in model.aliases]
        routers = [f"router-{name}" for name in (*config.routers, *POLICIES)] if config.routers else []
        known = [*config.models, *aliases, *routers, *(["auto"] if routers else [])]
        known += [f"{CHAIN}{name}" for name in config.chains]
        known += self.groups()
        # Agents are in the registry, and change while the gateway runs.
        if (
            target.startswith(AGENT)
            or target in known
            or (target.startswith("router-") and _THRESHOLD.sub("", target) in routers)
        ):
            return
        self.refuse(field, repr(target), did_you_mean(target, known, "models, routers and chains"))

    def groups(self) -> list[str]:
        """The names that ask for a group of agents."""
        return [
            f"router-{name}{policy}"
            for name in (*self.config.agents.groups, EVERYBODY)
            for policy in ("", *(f"-{each}" for each in AGENT_POLICIES))
        ]

    def agents(self) -> None:
        config, agents = self.config, self.config.agents
        for name, target in agents.targets.items():
            at = f"agents.targets.{name}"
            if target.startswith(AGENT) or target in self.groups():
                self.refuse(at, repr(target), "name a model, a router or a chain: agents lead to no other agents")
            else:
                self.target(at, target)
        for name, group in agents.groups.items():
            at = f"agents.groups.{name}"
            self.name(at, name)
            if group.router is not None:
                self.known(f"{at}.router", group.router, config.routers, "routers")
            if name in config.routers:
                self.refuse(at, repr(name), f"routers.{name} is called so, and router-{name} is one of the two")
            elif name in POLICIES or _THRESHOLD.search(name):
                self.refuse(at, repr(name), "router-… would be read as a policy or threshold; call it otherwise")
        for name, ensemble in agents.ensembles.items():
            at = f"agents.ensembles.{name}.judge"
            if ensemble.combine == "judge" and ensemble.judge is None:
                self.refuse(at, "missing", "name the model that judges")
            elif ensemble.combine == "vote" and ensemble.judge is not None:
                self.refuse(at, repr(ensemble.judge), "a vote needs none: write combine: judge, or remove it")
            elif ensemble.judge is not None and ensemble.judge.startswith((CHAIN, AGENT)):
                self.refuse(at, repr(ensemble.judge), "name a model or a router")
            elif ensemble.judge is not None:
                self.target(at, ensemble.judge)

    def cycles(self) -> None:
        """Chains that lead in a circle, as far as this file says; artifacts' own targets are known when loaded."""
        config = self.config
        leads = {name: chains_led_to(chain, config) for name, chain in config.chains.items()}
        if (cycle := find_cycle(leads)) is not None:
            remedy = "let one of them lead elsewhere: they lead in a circle"
            self.refuse(f"chains.{cycle[0]}", " -> ".join(cycle), remedy)

    def tool_selection(self, at: str, tools: ToolSelection) -> None:
        if tools.mode == "add" and tools.catalogue is None:
            self.refuse(f"{at}.catalogue", "missing", "give the JSON file of the tools to add")
        if tools.mode == "filter" and tools.catalogue is not None:
            self.refuse(f"{at}.catalogue", repr(tools.catalogue), "filter adds no tools: write add, or remove it")
        if tools.learn and not self.config.log.prompts:
            remedy = "what was asked has to be kept for that: set log.prompts, or remove it"
            self.refuse(f"{at}.learn", "true", remedy)
        if tools.preserve_count > tools.top_k:
            self.refuse(f"{at}.preserve_count", tools.preserve_count, f"give at most top_k, {tools.top_k}")

    def defaults(self) -> None:
        config = self.config
        if len(config.routers) > 1 and "default" not in config.routers:
            self.refuse("routers", ", ".join(config.routers), "call one default: it is the one auto means")
        for field in ("default_model", "strongest"):
            if (name := getattr(config, field)) is not None:
                self.known(field, name, config.models, "models")

    def role(self, role: str, default: RoleDefault) -> None:
        at = f"roles.{role}"
        models = self.config.models
        aliases = {alias: name for name, model in models.items() for alias in model.aliases}
        if default.model.startswith((CHAIN, AGENT)):
            self.target(f"{at}.model", default.model)
            if default.policy is not None:
                self.refuse(f"{at}.policy", default.policy, "only a router has one; remove it")
            if role == "embed":
                self.refuse(f"{at}.model", default.model, "embeddings are not routed; name a model")
        elif not self.router_named(f"{at}.model", default.model):
            if default.policy is not None:
                self.refuse(f"{at}.policy", default.policy, "only a router has one; remove it")
            if self.known(f"{at}.model", default.model, [*models, *aliases], "models and aliases"):
                self.usable(f"{at}.model", aliases.get(default.model, default.model), role)
        for place, name in enumerate(default.fallbacks):
            where = f"{at}.fallbacks.{place}"
            if self.known(where, name, models, "models"):
                self.usable(where, name, role)
                if name == aliases.get(default.model, default.model) or name in default.fallbacks[:place]:
                    self.refuse(where, repr(name), "it is tried before already; remove it")

    def router_named(self, field: str, name: str) -> bool:
        """Whether a name is meant for a router; refuses one that none has."""
        if name != "auto" and not name.startswith("router-"):
            return False
        routers = self.config.routers
        if name in self.groups():
            return True
        named = [f"router-{each}" for each in (*routers, *POLICIES)]
        if not routers:
            self.refuse(field, name, "there are no routers; name a model, or add one")
        elif name != "auto" and _THRESHOLD.sub("", name) not in named:
            self.refuse(field, repr(name), did_you_mean(name, named, "routers"))
        return True

    def decide(self) -> None:
        settings, models = self.config.decide, self.config.models
        if settings.model is not None and not self.router_named("decide.model", settings.model):
            aliases = [alias for model in models.values() for alias in model.aliases]
            self.known("decide.model", settings.model, [*models, *aliases], "models and aliases")

    def usable(self, field: str, name: str, role: str) -> None:
        roles = self.config.models[name].roles
        if roles and role not in roles:
            self.refuse(field, repr(name), f"it is for {', '.join(roles)}; add {role} to models.{name}.roles")

    def limits(self) -> None:
        retries, breaker = self.config.retries, self.config.breaker
        if retries.base > retries.longest:
            self.refuse("retries.longest", retries.longest, f"give at least base, {retries.base:g}")
        if breaker.cooldown > breaker.longest_cooldown:
            remedy = f"give at least cooldown, {breaker.cooldown:g}"
            self.refuse("breaker.longest_cooldown", breaker.longest_cooldown, remedy)
        limits = self.config.limits
        if limits.bodies_bytes < limits.body_bytes:
            self.refuse(
                "limits.bodies_bytes", limits.bodies_bytes, f"give at least body_bytes, {limits.body_bytes}"
            )

    def origins(self) -> None:
        for place, origin in enumerate(self.config.access.origins):
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                remedy = (
                    "give scheme, host and port as browsers send them, such as https://chat.example.com, or '*'"
                )
                self.refuse(f"access.origins.{place}", repr(origin), remedy)
