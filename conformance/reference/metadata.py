"""Properties in the form in which they are compared (the engine's ``number.rs``, ``candidates/metadata.rs``)."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from .errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping


def number_text(value: float) -> str:
    """A whole number (int) with all its digits; a double as ECMAScript writes it (RFC 8785, section 3.2.2.3)."""
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        raise Refusal("CandidateInvalid", f"{value} has no form")
    if value == 0:
        return "0"
    # repr has the shortest digits that read back as the same double: 0.d1d2d3… times ten to the power of `point`.
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text, point = "".join(map(str, digits)), len(digits) + exponent
    minus = "-" if sign else ""
    if len(text) <= point <= 21:
        return minus + text.ljust(point, "0")
    if 0 < point <= 21:
        return f"{minus}{text[:point]}.{text[point:]}"
    if -6 < point <= 0:
        return f"{minus}0.{'0' * -point}{text}"
    fraction = f".{text[1:]}" if len(text) > 1 else ""
    return f"{minus}{text[0]}{fraction}e{point - 1:+d}"


def value_text(value: Any) -> str:
    """The text one value is compared by."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return number_text(value)
    raise Refusal("CandidateInvalid", f"{value!r} is no value of a property")


def values(metadata: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values of each key: none for null, several for a list.

    What lies in an object has both names, with a point between.
    """
    if not isinstance(metadata, dict):
        raise Refusal("CandidateInvalid", "metadata is an object")
    found: dict[str, list[Any]] = {}

    def add(key: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                add(f"{key}.{name}", inner)
        elif isinstance(value, (list, tuple)):
            for one in value:
                add(key, one)
        elif value is not None:
            value_text(value)
            found.setdefault(key, []).append(value)

    for key, value in metadata.items():
        add(key, value)
    return found


def pairs(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    """One pair a value."""
    return [(key, value_text(one)) for key, own in values(metadata).items() for one in own]
