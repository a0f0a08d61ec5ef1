"""Filters: which candidates pass (the engine's ``candidates/filter.rs``), read anew for every candidate."""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from .errors import Refusal
from .metadata import value_text
from .moments import seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from .candidates import Candidate

DEEPEST, MOST_CONDITIONS, MOST_VALUES = 32, 1_000, 100_000
ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": lambda own, edge: own > edge,
    "$gte": lambda own, edge: own >= edge,
    "$lt": lambda own, edge: own < edge,
    "$lte": lambda own, edge: own <= edge,
}
MOMENTS = {"$created_at": "created_at", "$expires_at": "expires_at"}
NUMBERS = {"$success_rate": "success_rate", "$trials": "trials", "$confidence": "confidence"}


def refused(what: str) -> Refusal:
    return Refusal("CandidateInvalid", what)


def single(value: float) -> float:
    """The single nearest to a number: what rates and counts are kept in."""
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


class Filter:
    """An expression, checked whole when it is made."""

    def __init__(self, expression: Any) -> None:
        self.conditions = self.values = 0
        self.passes: Callable[[Candidate], bool] = self._object(expression, 0)

    def _count(self, values: int = 0) -> None:
        self.values += values
        self.conditions += not values
        if self.conditions > MOST_CONDITIONS or self.values > MOST_VALUES:
            raise refused("too large")

    def _object(self, given: Any, depth: int) -> Callable[[Candidate], bool]:
        if not isinstance(given, dict):
            raise refused("a filter is an object")
        if depth > DEEPEST:
            raise refused("nested too deeply")
        members = [self._member(key, value, depth) for key, value in given.items()]
        return lambda candidate: all(member(candidate) for member in members)

    def _member(self, key: str, given: Any, depth: int) -> Callable[[Candidate], bool]:
        if key in ("$and", "$or", "$nor"):
            if not isinstance(given, list) or not given:
                raise refused(f"{key} takes a list that is not empty")
            inner = []
            for one in given:
                self._count()
                inner.append(self._object(one, depth + 1))
            if key == "$and":
                return lambda candidate: all(one(candidate) for one in inner)
            if key == "$or":
                return lambda candidate: any(one(candidate) for one in inner)
            return lambda candidate: not any(one(candidate) for one in inner)
        if key == "$not":
            other = self._object(given, depth + 1)
            return lambda candidate: not other(candidate)
        if key != "$namespace":
            check_key(key)
        if not isinstance(given, dict):
            self._count()
            if key == "$namespace":
                return self._path(given, whole=False)
            return self._any_of(key, given if isinstance(given, list) else [given])
        if not given or any(not name.startswith("$") for name in given):
            raise refused("operators of a key")
        found = []
        for operator, value in given.items():
            self._count()
            found.append(self._operator(key, operator, value))
        return lambda candidate: all(one(candidate) for one in found)

    def _operator(self, key: str, operator: str, value: Any) -> Callable[[Candidate], bool]:
        if operator == "$exists":
            if not isinstance(value, bool):
                raise refused("$exists is true or false")
            return lambda candidate: exists(candidate, key) == value
        if operator in ("$eq", "$ne"):
            if key == "$namespace":
                same = self._path(value, whole=True)
            elif isinstance(value, list):
                raise refused(f"{operator} takes one value")
            else:
                same = self._any_of(key, [value])
            return same if operator == "$eq" else lambda candidate: not same(candidate)
        if key == "$namespace":
            raise refused(f"{operator} is no operator of a namespace")
        if operator in ("$in", "$nin"):
            if not isinstance(value, list):
                raise refused(f"{operator} takes a list")
            found = self._any_of(key, value)
            return found if operator == "$in" else lambda candidate: not found(candidate)
        if operator in ORDERS:
            return self._order(key, ORDERS[operator], value)
        raise refused(f"{operator} is no operator")

    def _any_of(self, key: str, values: list[Any]) -> Callable[[Candidate], bool]:
        if values:
            self._count(len(values))
        wanted = [value for value in values if value is not None]
        if key in MOMENTS or key in NUMBERS:
            edges = [own_number(key, value) for value in wanted]
            return lambda candidate: any(own == edge for own in own_values(candidate, key) for edge in edges)
        texts = {value_text(value) for value in wanted}
        return lambda candidate: any(value_text(own) in texts for own in own_values(candidate, key))

    def _order(self, key: str, passes: Callable[[Any, Any], bool], value: Any) -> Callable[[Candidate], bool]:
        if value is None:
            return lambda _: False
        if key in MOMENTS or key in NUMBERS:
            edge = own_number(key, value)
            return lambda candidate: any(passes(own, edge) for own in own_values(candidate, key))
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise refused(f"{value!r} has no order")
        if isinstance(value, str):
            return lambda candidate: any(
                passes(own, value) for own in own_values(candidate, key) if isinstance(own, str)
            )
        # The decimal that a number's text writes counts: doubles and whole numbers of any size are in one order.
        number = Decimal(value_text(value))
        return lambda candidate: any(
            passes(Decimal(value_text(own)), number)
            for own in own_values(candidate, key)
            if isinstance(own, (int, float)) and not isinstance(own, bool)
        )

    def _path(self, given: Any, *, whole: bool) -> Callable[[Candidate], bool]:
        path = [] if given is None else given
        if not isinstance(path, list) or not all(isinstance(part, str) for part in path):
            raise refused("a namespace is a list of texts")
        if not path:
            return lambda _: False
        self._count(len(path))
        if whole:
            return lambda candidate: list(candidate.namespace) == path
        return lambda candidate: list(candidate.namespace[: len(path)]) == path


def check_key(key: str) -> None:
    if key.startswith("$") and key not in ("$id", "$group", *MOMENTS, *NUMBERS):
        raise refused(f"{key} is no word of a filter")


def own_number(key: str, value: Any) -> float:
    """What a number of the candidate's own is compared with."""
    if key in MOMENTS and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return seconds(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise refused(f"{value!r} is no number")
    return single(float(value_text(value)))


def own_values(candidate: Candidate, key: str) -> list[Any]:
    """What a candidate has of a key."""
    if key == "$id":
        return [candidate.id]
    if key == "$group":
        return [] if candidate.group is None else [candidate.group]
    if key in MOMENTS:
        value = getattr(candidate, MOMENTS[key], None)
        return [] if value is None else [value]
    if key in NUMBERS:
        value = getattr(candidate, NUMBERS[key])
        if key == "$trials" and value is None:
            value = candidate.access_count
        return [] if value is None else [single(value)]
    return list(candidate.values.get(key, []))


def exists(candidate: Candidate, key: str) -> bool:
    """Whether a candidate has any value of a key, or of one below it."""
    if key == "$namespace":
        return bool(candidate.namespace)
    if key.startswith("$"):
        return bool(own_values(candidate, key))
    return any(name == key or name.startswith(f"{key}.") for name in candidate.values)
