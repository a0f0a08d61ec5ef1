"""Checks of plain values, stored or asked for: a typed error names field, value and remedy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeGuard

from tiny_dancer import _core
from tiny_dancer.errors import CandidateError, OptionError, StorageError, TinyDancerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Year 5138. Milliseconds of any year from 1973 on lie beyond, and are caught.
LATEST = 1e11
_INTEGERS = 2**63


def stored_text(
    field: str,
    value: object,
    *,
    empty: bool = False,
    optional: bool = False,
    error: type[TinyDancerError] = StorageError,
) -> None:
    """Text that every database can hold: UTF-8 without NUL. None passes where it is ``optional``.

    Raises:
        StorageError: it is none (or ``error``).
    """
    # The usual case, in one look: what is printable has neither NUL nor surrogates.
    if type(value) is str and value and value.isprintable():
        return
    if value is None and optional:
        return
    if not isinstance(value, str):
        raise error(field, type(value).__name__, "give text")
    if not value and not empty:
        raise error(field, "empty", "give text")
    if "\0" in value:
        raise error(field, repr(value), "remove the NUL character")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise error(field, ascii(value), "give valid Unicode: a surrogate stands alone") from None


def _is_number(value: object) -> TypeGuard[float]:
    return type(value) is float or (isinstance(value, (int, float)) and not isinstance(value, bool))


def number(field: str, value: object) -> None:
    """A finite number.

    Raises:
        StorageError: it is none.
    """
    if not (_is_number(value) and -math.inf < value < math.inf):
        raise StorageError(field, value, "give a finite number")


def amount(field: str, value: object, *, error: type[TinyDancerError] = StorageError) -> None:
    """A finite number, 0 or more.

    Raises:
        StorageError: it is none (or ``error``).
    """
    if not (_is_number(value) and 0 <= value < math.inf):
        raise error(field, value, "give a finite number, 0 or more")


def share(
    field: str, value: object, *, required: bool = False, error: type[TinyDancerError] = StorageError
) -> None:
    """A number in [0, 1]; None passes unless ``required``.

    Raises:
        StorageError: it is none (or ``error``).
    """
    if value is None and not required:
        return
    if not _is_number(value) or not 0 <= value <= 1:
        raise error(field, value, "give a number between 0 and 1")


def integer(field: str, value: object, *, error: type[TinyDancerError] = StorageError) -> None:
    """A whole number from 0 to 2**63 - 1.

    Raises:
        StorageError: it is none (or ``error``).
    """
    if type(value) is not int or not 0 <= value < _INTEGERS:
        raise error(field, value, "give a whole number, 0 or more")


def utc_seconds(field: str, value: object, *, error: type[TinyDancerError] = StorageError) -> None:
    """A time in seconds since 1970, in UTC.

    Raises:
        StorageError: it is none, or looks like milliseconds (or ``error``).
    """
    if not _is_number(value) or not 0 <= value <= LATEST:
        raise error(field, value, f"give UTC seconds since 1970, between 0 and {LATEST:g}, not milliseconds")


def limit(value: object) -> None:
    """How many rows to return: 1 or more, or None for all.

    Raises:
        OptionError: it is neither.
    """
    if value is not None and (type(value) is not int or value < 1):
        raise OptionError("limit", value, "give a whole number, 1 or more, or None for all")


def texts(field: str, values: Iterable[str]) -> tuple[str, ...]:
    """Texts to look up.

    Raises:
        OptionError: one text instead of several, or something else among them.
    """
    if isinstance(values, str):
        raise OptionError(field, values, "give a list of texts")
    listed = tuple(values)
    for value in listed:
        stored_text(field, value, empty=True, error=OptionError)
    return listed


def span(since: float | None, until: float | None) -> None:
    """A span of time, open where None.

    Raises:
        OptionError: an end is no time.
    """
    for field, value in (("since", since), ("until", until)):
        if value is not None:
            utc_seconds(field, value, error=OptionError)


def metadata_text(field: str, value: object, *, error: type[TinyDancerError]) -> str:
    """The text that stands for one value of metadata, in a database as in a candidate set.

    Raises:
        TinyDancerError: of the type given: neither text, number, true nor false, or no database can hold it.
    """
    if type(value) is not str:
        try:
            value = _core.metadata_text(value, field)
        except CandidateError as refusal:
            raise error(refusal.field, refusal.value, refusal.remedy) from None
    stored_text(field, value, empty=True, error=error)
    return value


def metadata_texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Metadata, checked, as it is stored."""
    return {
        key: value if type(value) is str else _core.metadata_text(value, key) for key, value in metadata.items()
    }
