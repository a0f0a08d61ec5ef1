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


def value_texts(value: Any) -> list[str]:
    """The texts of one property, as JSON gives it: none for null, several for a list."""
    found = []
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, bool):
            found.append("true" if one else "false")
        elif isinstance(one, (int, float)):
            found.append(number_text(one))
        elif one is not None:
            raise Refusal("CandidateInvalid", f"{one!r} is no value of a property")
    return found


def property_texts(metadata: Mapping[str, Any]) -> dict[str, list[str]]:
    """Each key with its values as texts."""
    if not isinstance(metadata, dict):
        raise Refusal("CandidateInvalid", "metadata is an object")
    return {key: value_texts(value) for key, value in metadata.items()}


def pairs(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    """One pair a value."""
    return [(key, text) for key, texts in property_texts(metadata).items() for text in texts]
