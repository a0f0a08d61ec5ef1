"""Metadata: any JSON, kept as it was given; and the texts that filters compare it by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from tiny_dancer import _core
from tiny_dancer.errors import CandidateError, StorageError, TinyDancerError
from tiny_dancer.storage.values import plain, stored_text

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        StorageError: it is none.
    """
    try:
        return _decode(text)
    except msgspec.DecodeError as error:
        raise StorageError("metadata", f"damaged ({error})", "restore a backup: tiny-dancer db restore") from error


def terms(metadata: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """What filters look at: by key as in :func:`flattened`, the texts that any of which may be equal."""
    found: dict[str, tuple[str, ...]] = {}
    for key, value in flattened(metadata).items():
        if type(value) is str:
            found[key] = (value,)
        elif value is None:
            found[key] = ()
        else:
            found[key] = tuple(map(_text, value)) if isinstance(value, list) else (_text(value),)
    return found


def flattened(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata in one level, as a candidate set takes it: scalars, and lists of scalars that are not None.

    What is in a mapping within has dotted keys, ``"a.b"``; its own key has None. In lists only scalars count.
    """
    found: dict[str, Any] = {}
    for key, value in _pairs("", metadata):
        if isinstance(value, list):
            value = [one for one in value if one is not None and not isinstance(one, (list, dict))]
        if found.get(key) is None:
            found[key] = value
        elif value is not None:
            # "a.b" may be a key, and "b" one in "a".
            found[key] = [*_as_list(found[key]), *_as_list(value)]
    return found


def _pairs(prefix: str, metadata: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in metadata.items():
        if isinstance(value, dict):
            yield prefix + key, None
            yield from _pairs(f"{prefix}{key}.", value)
        else:
            yield prefix + key, value


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    return value if type(value) is str else _core.metadata_text(value, "")
