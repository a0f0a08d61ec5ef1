"""LangGraph's filters on the values of items: exact, by JSON type, as its own stores read them.

The engine's filters compare the texts of values (1 is "1") and read a list as alternatives. So what the engine can
say narrows a search down, never below what passes here (:func:`narrowed`), and :func:`passes` has the last word.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from tiny_dancer.errors import OptionError

_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
_OPERATORS: Final = ("$eq", "$ne", "$in", "$nin", "$exists", *_ORDER)
# Beyond, a float of the engine may stand for several whole numbers.
_EXACT: Final = 2**53
_ABSENT: Final = object()


def passes(value: Mapping[str, Any], filter: Mapping[str, Any] | None) -> bool:
    """Whether every condition of a filter that :func:`check` passed holds.

    A key is one of the value's, or a path to one within it (``"user.name"``).
    """
    return all(_holds(_found(value, key), condition) for key, condition in (filter or {}).items())


def check(filter: object) -> None:
    """Passes a filter.

    Raises:
        OptionError: it is none, or has an operator that there is not.
    """
    if filter is None:
        return
    if not isinstance(filter, Mapping):
        raise OptionError("filter", type(filter).__name__, "give a mapping from keys of the value")
    for key, condition in filter.items():
        if not isinstance(key, str) or key.startswith("$"):
            raise OptionError("filter", key, "give keys of the value, with operators within")
        _check_condition(condition)


def _check_condition(condition: object) -> None:
    if not isinstance(condition, Mapping):
        return
    words = [key for key in condition if isinstance(key, str) and key.startswith("$")]
    for word in words:
        if word not in _OPERATORS or len(words) < len(condition):
            raise OptionError(
                "filter", ", ".join(map(str, condition)), f"use {', '.join(_OPERATORS)}, or keys alone"
            )
        operand = condition[word]
        if word in ("$in", "$nin") and (isinstance(operand, str) or not isinstance(operand, Collection)):
            raise OptionError(f"filter.{word}", operand, "give a list of values")
    if not words:
        for each in condition.values():
            _check_condition(each)


def narrowed(filter: Mapping[str, Any] | None, within: str) -> dict[str, Any]:
    """Conditions for the engine on metadata whose key ``within`` holds the value: what passes here passes them."""
    found = {}
    for key, condition in (filter or {}).items():
        if not isinstance(key, str) or not key or "." in key or key.startswith("$") or not _plain(key):
            continue
        wanted = condition if isinstance(condition, Mapping) else {"$eq": condition}
        said = {
            word: operand
            for word, operand in wanted.items()
            if (word == "$eq" or word in _ORDER) and operand is not None and _plain(operand)
        }
        if said:
            found[f"{within}.{key}"] = said
    return found


def _plain(operand: object) -> bool:
    """Whether the engine reads it as it is meant."""
    if isinstance(operand, str):
        return "\0" not in operand and operand.isprintable()
    if isinstance(operand, bool):
        return True
    return isinstance(operand, int | float) and math.isfinite(operand) and abs(operand) < _EXACT


def _found(value: Any, key: str) -> Any:
    if not isinstance(value, Mapping):
        return _ABSENT
    if key in value:
        return value[key]
    first, dot, rest = key.partition(".")
    return _found(value.get(first), rest) if dot else _ABSENT


def _holds(found: Any, condition: Any) -> bool:
    if isinstance(condition, Mapping):
        if any(isinstance(key, str) and key.startswith("$") for key in condition):
            return all(_says(found, word, operand) for word, operand in condition.items())
        return isinstance(found, Mapping) and all(
            _holds(found.get(key, _ABSENT), each) for key, each in condition.items()
        )
    return _same(found, condition)


def _says(found: Any, word: str, operand: Any) -> bool:
    if word in _ORDER:
        return _comparable(found, operand) and _ORDER[word](found, operand)
    if word == "$eq":
        return _same(found, operand)
    if word == "$ne":
        return not _same(found, operand)
    if word in ("$in", "$nin"):
        return any(_same(found, each) for each in operand) == (word == "$in")
    return (found is not _ABSENT) == bool(operand)  # $exists


def _comparable(one: object, other: object) -> bool:
    """Numbers have an order among themselves, and texts have."""
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and isinstance(other, str)
    return all(isinstance(each, int | float) and not isinstance(each, bool) for each in (one, other))


def _same(found: object, wanted: object) -> bool:
    """Equal as JSON has it: true is not 1, 1 is 1.0; what is absent is null."""
    if found is _ABSENT:
        found = None
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(wanted, list | tuple):
        return (
            isinstance(found, list | tuple)
            and len(found) == len(wanted)
            and all(_holds(each, other) for each, other in zip(found, wanted, strict=True))
        )
    if isinstance(wanted, Mapping):
        return (
            isinstance(found, Mapping)
            and found.keys() == wanted.keys()
            and all(_same(found[key], each) for key, each in wanted.items())
        )
    return found == wanted
