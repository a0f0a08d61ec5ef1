"""JSON as the engine reads it (``json.rs``): RFC 8259 and nothing else.

Of what the RFC leaves open: a lone surrogate is refused, a key that is given twice comes twice, numbers stay text,
and nesting is bounded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from . import numbers

DEEPEST = 256
WHITE_SPACE = " \t\n\r"


class NotJsonError(Exception):
    """Text that is no JSON."""


@dataclass(frozen=True)
class Number:
    """A number as it is written."""

    written: str


@dataclass(frozen=True)
class Object:
    """Members in order; a key may come twice."""

    members: list[tuple[str, Any]]

    def all(self, *keys: str) -> list[Any]:
        """Every value that stands under one of these keys."""
        return [value for key, value in self.members if key in keys]

    def last(self, *keys: str) -> Any:
        """The value given last under one of these keys; None where none is, or where it is null."""
        found = self.all(*keys)
        return found[-1] if found else None


def _refuse(constant: str) -> NoReturn:
    raise NotJsonError(constant)  # NaN and Infinity, which Python would take


_DECODER = json.JSONDecoder(
    object_pairs_hook=Object, parse_float=Number, parse_int=Number, parse_constant=_refuse, strict=True
)


def parse(text: str) -> Any:
    """The value: :class:`Object`, list, str, :class:`Number`, bool or None.

    Raises:
        NotJsonError: it is no JSON, holds a lone surrogate, or is nested too deeply.
    """
    value, end = _value(text, _after_space(text, 0))
    if _after_space(text, end) != len(text):
        raise NotJsonError("something follows the value")
    if depth(value) > DEEPEST:
        raise NotJsonError("nested too deeply")
    if not is_unicode(value):
        raise NotJsonError("a lone surrogate")
    return value


def members(text: str) -> list[tuple[str, str]]:
    """Keys of the object in ``text``, which is sound, each with the text of its value."""
    found: list[tuple[str, str]] = []
    at = _after_space(text, _after_space(text, 0) + 1)
    while text[at] != "}":
        at = _after_space(text, at + (text[at] == ","))
        key, at = _value(text, at)
        start = _after_space(text, _after_space(text, at) + 1)
        _, at = _value(text, start)
        found.append((key, text[start:at]))
        at = _after_space(text, at)
    return found


def _after_space(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in WHITE_SPACE:
        at += 1
    return at


def _value(text: str, at: int) -> tuple[Any, int]:
    """The value that begins at ``at``, and where it ends."""
    try:
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        raise NotJsonError(str(error)) from error


def children(value: Any) -> list[Any]:
    """The values in an object or a list."""
    if isinstance(value, Object):
        return [child for _, child in value.members]
    return value if isinstance(value, list) else []


def depth(value: Any) -> int:
    """How many lists and objects stand in one another."""
    deepest, level = 0, [value]
    while containers := [each for each in level if isinstance(each, Object | list)]:
        deepest += 1
        level = [child for each in containers for child in children(each)]
    return deepest


def is_unicode(value: Any) -> bool:
    """Whether no string and no key in ``value`` holds a lone surrogate."""
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, Object) and not all(is_unicode(key) for key, _ in value.members):
        return False
    return all(map(is_unicode, children(value)))


def canonical(value: Any) -> str:
    """The form whose bytes count: no white space, strings without escapes, numbers in their canonical form.

    (It is measured, never read again: a quote in a string stands for itself.)
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case Number(written):
            return numbers.canonical(written) or written
        case str():
            return f'"{value}"'
        case list():
            return "[" + ",".join(map(canonical, value)) + "]"
        case Object(pairs):
            return "{" + ",".join(f'"{key}":{canonical(inner)}' for key, inner in pairs) + "}"
    raise AssertionError(value)


def size(text: str) -> int:
    """Bytes in UTF-8."""
    return len(text.encode())
