"""Candidates and queries as JSON → the whole answer of the combination without training (the engine's
``candidates/door.rs``).

Of the encoder, which callers may give, it knows nothing: candidates without embeddings are compared by words.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .candidates import Candidate, Query, default_scores, dot, features, ranking, unit
from .errors import Refusal
from .filters import Filter
from .metadata import pairs, values
from .moments import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

_TEXTS, _NUMBERS = ("id", "text", "group"), ("access_count", "success_rate", "trials", "confidence")
CANDIDATE_FIELDS = frozenset((*_TEXTS, *_NUMBERS, "embedding", "created_at", "metadata", "namespace"))
OPTIONS = {"k": 5, "diversity": 0.0, "confidence_threshold": 0.85, "max_uncertainty": 0.15}
QUERY_FIELDS = frozenset((*OPTIONS, "embedding", "text", "metadata", "now", "where"))
MOST_K = 100_000
MOST_PARTS = 32


@dataclass(frozen=True)
class Options:
    """What a caller asks beyond the query."""

    k: int
    diversity: float
    where: Filter


def _refused(what: str) -> Refusal:
    return Refusal("CandidateInvalid", what)


def parsed(given: Any) -> Any:
    """JSON as it is in a vector: a value, or its text where the text matters."""
    if not isinstance(given, str):
        return given

    def once(members: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(members)
        if len(found) != len(members):
            raise _refused("a key is there twice")
        return found

    try:
        return json.loads(given, object_pairs_hook=once, parse_constant=_no_constant)
    except ValueError as error:
        raise _refused(f"no JSON: {error}") from None


def _no_constant(name: str) -> float:
    raise _refused(f"{name} is no JSON")


def _members(given: Any, known: frozenset[str]) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise _refused(f"{given!r} is no object")
    if unknown := given.keys() - known:
        raise _refused(f"unknown: {sorted(unknown)}")
    return {name: value for name, value in given.items() if value is not None}


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _refused(f"{value!r} is no number")
    return float(value)


def _embedding(value: Any) -> list[float]:
    if not isinstance(value, list) or not value:
        raise _refused(f"{value!r} is no embedding")
    return [_number(one) for one in value]


def _common(given: dict[str, Any]) -> dict[str, Any]:
    found = dict(given)
    for name in _TEXTS:
        if name in found and not isinstance(found[name], str):
            raise _refused(f"{name} is a text")
    if "embedding" in found:
        found["embedding"] = _embedding(found["embedding"])
    if "metadata" in found:
        found["metadata"] = pairs(found["metadata"])
    return found


def to_candidates(given: Any) -> list[Candidate]:
    """Candidates of a list of objects; where some have embeddings, the others have zeros."""
    given = parsed(given)
    if not isinstance(given, list):
        raise _refused("candidates are a list")
    found = []
    for each in given:
        given_fields = _members(each, CANDIDATE_FIELDS)
        fields = {**_common(given_fields), "values": values(given_fields.get("metadata", {}))}
        path = fields.get("namespace", [])
        if not isinstance(path, list) or len(path) > MOST_PARTS or not all(isinstance(part, str) for part in path):
            raise _refused("namespace is a list of texts")
        for name in _NUMBERS:
            if name in fields:
                fields[name] = _number(fields[name])
        if "created_at" in fields:
            fields["created_at"] = seconds(fields["created_at"])
        if not fields.get("id"):
            raise _refused("every candidate has an id")
        for name, highest in (("success_rate", 1), ("confidence", 1), ("access_count", 1e9), ("trials", 1e9)):
            if not 0 <= fields.get(name, 0) <= highest:
                raise _refused(f"{name} is from 0 to {highest}")
        found.append(Candidate(**fields))
    if len({each.id for each in found}) != len(found):
        raise _refused("ids are unique")
    width = next((len(each.embedding) for each in found if each.embedding is not None), None)
    if width is None:
        return found
    found = [each if each.embedding is not None else replace(each, embedding=[0.0] * width) for each in found]
    if any(each.embedding is not None and len(each.embedding) != width for each in found):
        raise _refused("embeddings are of one length")
    return found


def to_query(given: Any) -> tuple[Query, Options]:
    """The query, and the options beside it."""
    fields = _common(_members(parsed(given), QUERY_FIELDS))
    options: dict[str, Any] = {name: fields.pop(name, usual) for name, usual in OPTIONS.items()}
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Refusal("OptionInvalid", f"{name} is a number")
        least, most = (1, MOST_K) if name == "k" else (0, 1)
        if not least <= value <= most or (name == "k" and value != int(value)):
            raise Refusal("OptionInvalid", f"{name} is from {least} to {most}")
    if "now" in fields:
        fields["now"] = seconds(fields["now"])
    where = Filter(fields.pop("where", {}))
    return Query(**fields), Options(int(options["k"]), options["diversity"], where)


def chosen(candidates: Sequence[Candidate], scores: Sequence[float], options: Options) -> list[int]:
    """Rows of the answer: by score, or by maximal marginal relevance (Carbonell and Goldstein 1998)."""
    left = [row for row, each in enumerate(candidates) if options.where.passes(each)]
    left.sort(key=lambda row: (-scores[row], candidates[row].id))
    if not options.diversity:
        return left[: options.k]
    taken: list[int] = []

    def likeness(row: int, other: int) -> float:
        one, two = candidates[row].embedding or (), candidates[other].embedding or ()
        return max(dot(unit(one), unit(two)), 0.0)

    def worth(row: int) -> float:
        nearest = max((likeness(row, other) for other in taken), default=0.0)
        return (1 - options.diversity) * scores[row] - options.diversity * nearest

    while left and len(taken) < options.k:
        # The first of equals has the higher score, or the lower id.
        taken.append(left.pop(max(range(len(left)), key=lambda at: (worth(left[at]), -at))))
    return taken


def answer(candidates_json: Any, query_json: Any) -> dict[str, Any]:
    """Features and scores of every candidate, all ids in order, and what is said of those asked for."""
    candidates = to_candidates(candidates_json)
    query, options = to_query(query_json)
    embedded = any(each.embedding is not None for each in candidates)
    if options.diversity and not embedded:
        raise Refusal("OptionInvalid", "diversity needs embeddings")
    if query.embedding is not None and candidates:
        widths = {len(each.embedding or ()) for each in candidates}
        if widths != {len(query.embedding)}:
            raise _refused("the query's embedding is as wide as the candidates'")
    scores = default_scores(candidates, query)
    return {
        "features": features(candidates, query),
        "scores": scores,
        "ids": ranking(candidates, scores),
        "decisions": [
            {
                "candidate_id": candidates[row].id,
                "score": scores[row],
                # Nothing is calibrated: the score itself, and no certainty.
                "confidence": scores[row],
                "uncertainty": 1.0,
                "use_lightweight": False,
                "in_prediction_set": False,
            }
            for row in chosen(candidates, scores, options)
        ],
        "errors": [],
        "prediction_set_size": None,
        "calibrated": False,
    }
