"""Routes as other routers write them: semantic-router's YAML or JSON, and the decisions of vLLM's semantic router.

What has no counterpart here is refused by name or, where an answer does not depend on it, named in the notes.
Thresholds in units of an encoder mean nothing to another one and are left out: fit the routes instead. Of a
router made of routers (``chain``, ``merge``) the routes are read, which all of its parts have to agree on; how
the parts take turns is named in the notes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tiny_dancer import files
from tiny_dancer.errors import ConfigError, OptionError
from tiny_dancer.routing.semantic import Route

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["ImportedRoutes", "read_routes"]

_LARGEST = 4 << 20
_DEEPEST = 16
# Version 1 refuses keys that it does not know, so a file of its own has no others; what each kind has beside them.
_ROUTER_KEYS = ("router_type", "confidence_threshold", "calibrator")
_KINDS: Mapping[str, tuple[str, ...]] = {
    "indexed": (
        *("encoder", "sparse_encoder", "alpha", "top_k", "aggregation", "index", "refresh_interval", "routes"),
    ),
    "decision": ("model", "instructions", "routes", "base_url", "timeout", "retries", "concurrency"),
    "chain": ("routers",),
    "merge": ("routers", "weights"),
}
_ROUTE_KEYS = ("name", "utterances", "description", "confidence_threshold", "metadata")


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
    if isinstance(found, dict) and "router_type" in found:
        return _described(_router(found, ""))
    if isinstance(found, dict) and "decisions" in found:
        return _decisions(found)
    if isinstance(found, dict) and "routes" in found:
        return _semantic_router(found)
    raise ConfigError(name, "neither routes nor decisions", "give a file of semantic-router or of vLLM's")


def _router(found: dict[str, Any], place: str, depth: int = 0) -> ImportedRoutes:
    """A router of semantic-router 1.x, by its ``router_type``."""
    at = f"{place}." if place else ""
    kind = found.get("router_type")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ConfigError(f"{at}router_type", kind, f"read are {', '.join(_KINDS)}; export the routes alone")
    if depth > _DEEPEST:
        raise ConfigError(
            f"{at}router_type", f"routers nested more than {_DEEPEST} deep", "export the routes alone"
        )
    unknown = next((key for key in found if key not in (*_ROUTER_KEYS, *_KINDS[kind])), None)
    if unknown is not None:
        known = ", ".join((*_ROUTER_KEYS, *_KINDS[kind]))
        raise ConfigError(f"{at}{unknown}", f"no key of {kind}", f"there are {known}")
    notes = [
        f"{at}{key}: left out, fit the routes on labelled texts instead"
        for key in ("confidence_threshold", "calibrator")
        if found.get(key) is not None
    ]
    if kind in ("chain", "merge"):
        return _routers(found, kind, place, notes, depth)
    if found.get("routes") is None:
        remedy = "the file names an index that has the routes: export the routes from it"
        raise ConfigError(f"{at}routes", "absent", remedy)
    if kind == "indexed":
        encoder = found.get("encoder")
        name = encoder.get("name") or encoder.get("type") if isinstance(encoder, dict) else encoder
        notes.append(f"{at}encoder {name}: left out, the engine's own encodes")
        left = [key for key in ("sparse_encoder", "alpha", "top_k", "aggregation", "index") if found.get(key)]
        if left:
            notes.append(f"{at or 'the router: '}{', '.join(left)}: left out, they are of its own comparison")
    else:
        model = found.get("model")
        name = model.get("name") or model.get("type") if isinstance(model, dict) else model
        notes.append(f"{at}model {name}: left out, the routes are compared and no model is asked")
    routes = []
    for number, each in enumerate(_list(found["routes"], f"{at}routes")):
        where = f"{at}routes[{number}]"
        route = _object(each, where)
        unknown = next((key for key in route if key not in _ROUTE_KEYS), None)
        if unknown is not None:
            raise ConfigError(f"{where}.{unknown}", "no key of a route", f"there are {', '.join(_ROUTE_KEYS)}")
        name = _name(route.get("name"), f"{where}.name")
        utterances = [
            _text(text, f"{where}.utterances")
            for text in _list(route.get("utterances") or [], f"{where}.utterances")
        ]
        description = str(route.get("description") or "")
        if route.get("confidence_threshold") is not None:
            notes.append(f"{name}: confidence_threshold is of its router's confidence and left out")
        if not utterances and (kind == "indexed" or not description.strip()):
            raise ConfigError(f"{where}.utterances", "none", "give at least one, better three")
        metadata = route.get("metadata") or None
        routes.append(Route(name=name, utterances=tuple(utterances), description=description, metadata=metadata))
    if len({route.name for route in routes}) < len(routes):
        raise ConfigError(f"{at}routes", "a name twice", "give every route a name of its own")
    return ImportedRoutes(tuple(routes), tuple(notes))


def _described(found: ImportedRoutes) -> ImportedRoutes:
    """Routes that only a decision model was told of are compared by what it was told."""
    notes = [
        f"{route.name}: has no utterances, its description is compared in their place"
        for route in found.routes
        if not route.utterances
    ]
    routes = [
        route if route.utterances else replace(route, utterances=(route.description,)) for route in found.routes
    ]
    return ImportedRoutes(tuple(routes), (*found.notes, *notes))


def _routers(found: dict[str, Any], kind: str, place: str, notes: list[str], depth: int) -> ImportedRoutes:
    """Routers that take turns over the same routes, or are averaged: their routes."""
    at = f"{place}." if place else ""
    listed = _list(found.get("routers"), f"{at}routers")
    if not listed:
        raise ConfigError(f"{at}routers", "none", "give at least one router")
    weights = found.get("weights")
    if weights is not None and len(_list(weights, f"{at}weights")) != len(listed):
        raise ConfigError(f"{at}weights", f"{len(weights)} for {len(listed)} routers", "give each router a weight")
    routes: dict[str, Route] = {}
    for number, each in enumerate(listed):
        where = f"{at}routers[{number}]"
        part = _router(_object(each, where), where, depth + 1)
        notes += part.notes
        if number and {route.name for route in part.routes} != set(routes):
            raise ConfigError(
                f"{where}.routes", "other routes than the routers before", "give all the same routes"
            )
        for route in part.routes:
            before = routes.get(route.name, route)
            utterances = dict.fromkeys((*before.utterances, *route.utterances))
            routes[route.name] = replace(
                before,
                utterances=tuple(utterances),
                description=before.description or route.description,
                metadata=before.metadata or route.metadata,
            )
    if kind == "chain":
        notes.append(f"{at}chain of {len(listed)}: read are the routes; one router decides, and asks no next one")
    else:
        notes.append(f"{at}merge of {len(listed)}: read are the routes; one router decides, nothing is averaged")
    return ImportedRoutes(tuple(routes.values()), tuple(notes))


def _semantic_router(found: dict[str, Any]) -> ImportedRoutes:
    notes, routes = [], []
    if found.get("encoder_name"):
        notes.append(f"encoder {found['encoder_name']}: left out, the engine's own encodes")
    for at, each in enumerate(_list(found["routes"], "routes")):
        place = f"routes[{at}]"
        route = _object(each, place)
        utterances = _list(route.get("utterances") or [], f"{place}.utterances")
        if route.get("score_threshold") is not None:
            notes.append(f"{route.get('name')}: score_threshold is in units of its encoder and left out")
        name = _name(route.get("name"), f"{place}.name")
        metadata = {key: route[key] for key in ("metadata", "function_schema") if route.get(key)}
        if route.get("function_schema"):
            notes.append(f"{name}: function_schema is of a signature in Python, and kept as metadata alone")
        if route.get("llm"):
            notes.append(f"{name}: llm is left out; name a model where the route is asked")
        schemas = _list(route.get("function_schemas") or [], f"{place}.function_schemas")
        if any(isinstance(schema, dict) and "signature" in schema for schema in schemas):
            notes.append(f"{name}: function_schemas are of signatures in Python, and kept as metadata alone")
            metadata["function_schemas"], schemas = schemas, []
        try:
            made = Route(
                name=name,
                utterances=tuple(_text(text, f"{place}.utterances") for text in utterances),
                description=str(route.get("description") or ""),
                metadata=metadata or None,
                function_schemas=tuple(schemas),
            )
        except OptionError as error:
            if "function_schemas" not in error.field:
                raise
            field = f"{place}.function_schemas{error.field.partition('function_schemas')[2]}"
            raise ConfigError(field, error.value, error.remedy) from error
        routes.append(made)
    return ImportedRoutes(tuple(routes), tuple(notes))


def _decisions(found: dict[str, Any]) -> ImportedRoutes:
    signals = found.get("signals") if isinstance(found.get("signals"), dict) else found
    assert isinstance(signals, dict)

    def named(*keys: str) -> dict[str, dict[str, Any]]:
        lists = [_list(signals[key], key) for key in keys if signals.get(key)]
        found: dict[str, dict[str, Any]] = {}
        for each in (each for every in lists for each in every):
            name = _name(_object(each, keys[0]).get("name"), f"{keys[0]}.name")
            if name in found:
                raise ConfigError(f"{keys[0]}.name", name, "two signals have this name: give each its own")
            found[name] = each
        return found

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
        name = _name(decision.get("name"), f"{place}.name")
        utterances: list[str] = []
        condition = _rule(decision.get("rules") or {}, place, known, utterances, notes, name)
        models = _list(decision.get("modelRefs") or decision.get("model_refs") or [], f"{place}.modelRefs")
        targets = [_object(each, f"{place}.modelRefs[{at}]").get("model") for at, each in enumerate(models)]
        if len(targets) > 1:
            notes.append(f"{name}: of {len(targets)} models the first is the target; the others are left out")
        priority = decision.get("priority") or 0
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise ConfigError(f"{place}.priority", repr(priority), "give a whole number")
        if not utterances:
            raise ConfigError(
                f"{place}.rules", name, "it has neither embedding, domain nor keyword to compare with"
            )
        routes.append(
            Route(
                name=name,
                utterances=tuple(dict.fromkeys(utterances)),
                description=str(decision.get("description") or ""),
                target=targets[0] if targets else None,
                priority=priority,
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
        if "operator" in rule or "conditions" in rule:
            raise ConfigError(f"{place}.rules", "type beside operator or conditions", "give one or the other")
        return _signal(rule, place, known, utterances, notes, name)
    operator = str(rule.get("operator") or "AND").upper()
    if operator not in ("AND", "OR", "NOT"):
        raise ConfigError(f"{place}.rules.operator", operator, "read are AND, OR and NOT")
    parts = [
        _rule(each, place, known, [] if operator == "NOT" else utterances, notes, name)
        for each in _list(rule.get("conditions") or [], f"{place}.rules.conditions")
    ]
    if not parts:
        raise ConfigError(f"{place}.rules.conditions", "none", "give at least one, each with its type and name")
    conditions = [each for each in parts if each is not None]
    if operator == "NOT":
        if len(parts) > 1:
            remedy = "NOT is of one condition: put several into an OR or an AND"
            raise ConfigError(f"{place}.rules.conditions", f"NOT of {len(parts)}", remedy)
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
    signal: dict[str, Any],
    place: str,
    known: dict[str, dict[str, Any]],
    utterances: list[str],
    notes: list[str],
    decision: str,
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
        operator = str(defined.get("operator") or "OR").upper()
        if operator not in ("AND", "OR", "NOR", "NOT"):
            raise ConfigError(f"keywords.{name}.operator", operator, "read are AND, OR and NOR")
        if defined.get("case_sensitive"):
            notes.append(f"{decision}: keywords {name} are case_sensitive; letters' case is not told apart here")
        if defined.get("method", "regex") != "regex" or defined.get("fuzzy_match"):
            notes.append(f"{decision}: keywords {name} are matched as whole words, not by likeness")
        if operator in ("NOR", "NOT"):
            return {"not": {"keywords": words}}
        utterances += words
        return {"all": [{"keywords": [word]} for word in words]} if operator == "AND" else {"keywords": words}
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
    if not bounds:
        raise ConfigError(field, f"context {name}", "give min_tokens or max_tokens")
    return {"tokens": bounds}


def _tokens(value: Any, field: str) -> int:
    """``32K`` and ``1M`` are thousands and millions."""
    text = str(value).strip().upper()
    factor = {"K": 1000, "M": 1_000_000}.get(text[-1:], 1)
    try:
        tokens = int(float(text.removesuffix("K").removesuffix("M")) * factor)
    except (ValueError, OverflowError):
        tokens = -1
    if not 0 <= tokens < 1 << 32:
        raise ConfigError(field, value, "give a number of tokens, such as 32K")
    return tokens


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(place, type(value).__name__, "give a list")
    return value


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(place, type(value).__name__, "give an object")
    return value


def _name(value: Any, place: str) -> str:
    """A name as it is written: YAML reads ``yes``, ``5`` and dates as other things than texts."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(place, repr(value), "give a name, in quotes where it could be something else")
    return value


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(place, repr(value), "give a text")
    return value
