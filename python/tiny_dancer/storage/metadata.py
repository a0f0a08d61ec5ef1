"""Metadata: any JSON, kept as it was given; and the text that one value is compared by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from tiny_dancer import _core
from tiny_dancer.errors import CandidateError, TinyDancerError
from tiny_dancer.storage.values import plain, stored_text

# Lists and mappings within one another; values of one candidate, counted where they are written; bytes as JSON.
DEEPEST, MOST, LONGEST = 32, 100_000, 1_000_000

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_LISTS = (list, tuple, set, frozenset)


def stored_metadata(field: str, value: object, *, error: type[TinyDancerError]) -> dict[str, Any]:
    """Metadata as it is stored and read again: text, numbers, true, false, None, lists and dictionaries.

    Tuples and sets become lists, a set's in the order of their JSON; scalars of numpy become what they hold. None
    is no metadata.

    Raises:
        TinyDancerError: of the type given: it is no mapping from texts, holds what JSON has no word for (NaN too),
            or is too deep or large.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise error(field, type(value).__name__, "give a mapping from texts, or None")
    found = _Reader(error).mapping(field, value, 0)
    if len(found) and (size := len(_encode(found))) > LONGEST:
        raise error(field, f"{size} bytes as JSON", f"give {LONGEST} or less; long texts belong into text")
    return found


class _Reader:
    """Copies one candidate's metadata, and counts."""

    def __init__(self, error: type[TinyDancerError]) -> None:
        self._error = error
        self._left = MOST

    def mapping(self, field: str, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, one in value.items():
            name = stored_text(f"{field} key", key, error=self._error)
            found[name] = self._value(f"{field}[{name}]", one, depth + 1)
        return found

    def _value(self, field: str, value: object, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise self._error(field, f"more than {MOST} values", "give fewer")
        if depth > DEEPEST:
            raise self._error(field, f"more than {DEEPEST} levels", "give lists and mappings that are less deep")
        value = plain(value)
        if isinstance(value, str):
            return stored_text(field, value, empty=True, error=self._error)
        if isinstance(value, int):
            # Its digits are limited, which this sees to.
            metadata_text(field, value, error=self._error)
            return value
        if isinstance(value, float):
            if not math.isfinite(value):
                raise self._error(field, value, "give a finite number, or leave it out")
            return value
        if value is None:
            return None
        if isinstance(value, _LISTS):
            listed = [self._value(f"{field}[{place}]", one, depth + 1) for place, one in enumerate(value)]
            return sorted(listed, key=_encode) if isinstance(value, (set, frozenset)) else listed
        if isinstance(value, Mapping):
            return self.mapping(field, value, depth)
        remedy = "give text, a number, true, false, None, or lists and mappings of them"
        raise self._error(field, type(value).__name__, remedy)


def metadata_text(field: str, value: object, *, error: type[TinyDancerError]) -> str:
    """The text that one value is compared by, in a database as in a candidate set.

    Raises:
        TinyDancerError: of the type given: neither text, number, true nor false, or no database can hold it.
    """
    value = plain(value)
    if not isinstance(value, str):
        try:
            value = _core.metadata_text(value, field)
        except CandidateError as refusal:
            raise error(refusal.field, refusal.value, refusal.remedy) from None
    return stored_text(field, value, empty=True, error=error)


def encoded(metadata: Mapping[str, Any]) -> str:
    """Metadata, checked, as JSON."""
    return _encode(metadata).decode()


def decoded(text: str) -> dict[str, Any]:
    """Metadata from its JSON.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return _decode(text)
