"""Routes as other routers write them: semantic-router's YAML or JSON, and the decisions of vLLM's semantic router.

What has no counterpart here is refused by name or, where an answer does not depend on it, named in the notes.
Thresholds in units of an encoder mean nothing to another one and are left out: fit the routes instead.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tiny_dancer import files
from tiny_dancer.errors import ConfigError
from tiny_dancer.routing.semantic import Route

if TYPE_CHECKING:
    import os

__all__ = ["ImportedRoutes", "read_routes"]

_LARGEST = 4 << 20
_KINDS = ("semantic", "indexed")


@dataclass(frozen=True, slots=True)
class ImportedRoutes:
    """Routes of a file.

    Attributes:
        routes: in the file's order.
        notes: what was left out or read otherwise, a sentence each.
    """

    routes: tuple[Route, ...]
    notes: tuple[str, ...]


def read_routes(path: str | os.PathLike[str]) -> ImportedRoutes:
    """Reads a file of routes.

    Args:
        path: YAML or JSON with ``routes`` (semantic-router), ``decisions`` (vLLM's), or a list of routes.

    Raises:
        ConfigError: it cannot be read, is neither, or asks for what is not here; ``field`` is the place.
        OptionError: a route without a name, or texts that are none.
    """
    try:
        data = files.read(path, most=_LARGEST)
    except OSError as error:
        raise ConfigError(str(path), error.strerror or "cannot be read", "check the path") from error
    name = Path(path).name
    try:
        text = data.decode("utf-8-sig")
        if name.lower().endswith(".json"):
            found = json.loads(text)
        else:
            if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
                raise ConfigError(name, "an alias", "write out what the alias stands for")
            found = yaml.safe_load(text)
    except (UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(name, str(error).splitlines()[0], "give YAML or JSON") from None
    if isinstance(found, list):
        found = {"routes": found}
    if isinstance(found, dict) and isinstance(found.get("routing"), dict):
        found = {**found, **found["routing"]}
    if isinstance(found, dict) and "decisions" in found:
        return _decisions(found)
    if isinstance(found, dict) and "routes" in found:
        return _semantic_router(found)
    raise ConfigError(name, "neither routes nor decisions", "give a file of semantic-router or of vLLM's")


def _semantic_router(found: dict[str, Any]) -> ImportedRoutes:
    kind = found.get("router_type")
    if kind is not None and kind not in _KINDS:
        raise ConfigError("router_type", kind, f"read are {', '.join(_KINDS)}; export the routes alone")
    notes, routes = [], []
    if found.get("encoder_name"):
        notes.append(f"encoder {found['encoder_name']}: left out, the engine's own encodes")
    for at, each in enumerate(_list(found["routes"], "routes")):
        place = f"routes[{at}]"
        route = _object(each, place)
        utterances = _list(route.get("utterances") or [], f"{place}.utterances")
        if route.get("score_threshold") is not None:
            notes.append(f"{route.get('name')}: score_threshold is in units of its encoder and left out")
        metadata = {
            key: route[key] for key in ("metadata", "function_schema", "function_schemas", "llm") if route.get(key)
        }
        routes.append(
            Route(
                name=str(route.get("name") or ""),
                utterances=tuple(_text(text, f"{place}.utterances") for text in utterances),
                description=str(route.get("description") or ""),
                metadata=metadata or None,
            )
        )
    return ImportedRoutes(tuple(routes), tuple(notes))


def _decisions(found: dict[str, Any]) -> ImportedRoutes:
    signals = found.get("signals") if isinstance(found.get("signals"), dict) else found
    assert isinstance(signals, dict)

    def named(*keys: str) -> dict[str, dict[str, Any]]:
        lists = [_list(signals[key], key) for key in keys if signals.get(key)]
        return {str(_object(each, keys[0]).get("name")): each for every in lists for each in every}

    known = {
        "keyword": named("keywords", "keyword_rules"),
        "embedding": named("embeddings", "embedding_rules"),
        "domain": named("domains", "categories"),
        "context": named("context", "context_rules"),
        "language": named("language", "language_rules"),
    }
    routes: list[Route] = []
    notes: list[str] = []
    for at, each in enumerate(_list(found["decisions"], "decisions")):
        place = f"decisions[{at}]"
        decision = _object(each, place)
        name = str(decision.get("name") or "")
        utterances: list[str] = []
        condition = _rule(decision.get("rules") or {}, place, known, utterances, notes, name)
        models = decision.get("modelRefs") or decision.get("model_refs") or []
        target = _object(models[0], f"{place}.modelRefs[0]").get("model") if models else None
        if not utterances:
            raise ConfigError(
                f"{place}.rules", name, "it has neither embedding, domain nor keyword to compare with"
            )
        routes.append(
            Route(
                name=name,
                utterances=tuple(dict.fromkeys(utterances)),
                description=str(decision.get("description") or ""),
                target=target,
                priority=int(decision.get("priority") or 0),
                conditions=condition,
            )
        )
    return ImportedRoutes(tuple(routes), tuple(notes))


def _rule(
    rule: Any, place: str, known: dict[str, dict[str, Any]], utterances: list[str], notes: list[str], name: str
) -> dict[str, Any] | None:
    """The condition that a rule amounts to, None for none; what it compares with goes into ``utterances``."""
    rule = _object(rule, f"{place}.rules")
    if "type" in rule:
        return _signal(rule, place, known, utterances)
    operator = str(rule.get("operator") or "AND").upper()
    if operator not in ("AND", "OR", "NOT"):
        raise ConfigError(f"{place}.rules.operator", operator, "read are AND, OR and NOT")
    parts = [
        _rule(each, place, known, [] if operator == "NOT" else utterances, notes, name)
        for each in _list(rule.get("conditions") or [], f"{place}.rules.conditions")
    ]
    conditions = [each for each in parts if each is not None]
    if operator == "NOT":
        if len(conditions) < len(parts):
            raise ConfigError(
                f"{place}.rules", "NOT of an embedding or a domain", "leave it out, or add a route for it"
            )
        return {"not": {"any": conditions}} if conditions else None
    if operator == "OR":
        if conditions and len(conditions) < len(parts):
            notes.append(f"{name}: of alternatives, keywords are compared by likeness, as examples are")
            return None
        return {"any": conditions} if len(conditions) > 1 else conditions[0] if conditions else None
    return {"all": conditions} if len(conditions) > 1 else conditions[0] if conditions else None


def _signal(
    signal: dict[str, Any], place: str, known: dict[str, dict[str, Any]], utterances: list[str]
) -> dict[str, Any] | None:
    kind, name = str(signal["type"]), str(signal.get("name") or "")
    field = f"{place}.rules"
    if kind not in known:
        raise ConfigError(field, f"signal {kind}", f"read are {', '.join(known)}; leave it out")
    defined = known[kind].get(name)
    if kind == "language":
        return {"language": [name]}
    if defined is None:
        raise ConfigError(field, f"{kind} {name}", "no signal of this name is defined")
    if kind == "keyword":
        words = [_text(each, field) for each in _list(defined.get("keywords") or [], field)]
        utterances += words
        operator = str(defined.get("operator") or "OR").upper()
        if operator == "AND":
            return {"all": [{"keywords": [word]} for word in words]}
        return {"not": {"keywords": words}} if operator in ("NOR", "NOT") else {"keywords": words}
    if kind == "embedding":
        utterances += [_text(each, field) for each in _list(defined.get("candidates") or [], field)]
        return None
    if kind == "domain":
        texts = [name, str(defined.get("description") or "")]
        utterances += [text for text in texts if text.strip()]
        return None
    bounds = {}
    for key, other in (("at_least", "min_tokens"), ("at_most", "max_tokens")):
        if defined.get(other) is not None:
            bounds[key] = _tokens(defined[other], field)
    return {"tokens": bounds}


def _tokens(value: Any, field: str) -> int:
    """``32K`` and ``1M`` are thousands and millions."""
    text = str(value).strip().upper()
    factor = {"K": 1000, "M": 1_000_000}.get(text[-1:], 1)
    try:
        return int(float(text.rstrip("KM")) * factor)
    except ValueError:
        raise ConfigError(field, value, "give a number of tokens, such as 32K") from None


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(place, type(value).__name__, "give a list")
    return value


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(place, type(value).__name__, "give an object")
    return value


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(place, repr(value), "give a text")
    return value
