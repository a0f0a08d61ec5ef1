"""Plain values at the door, stored or asked for: checked, and returned as Python's own.

Each check returns what it was given as text, float, int or bool of Python, whatever carried it: a scalar of numpy,
an array of no dimension, an enumeration, another subclass. So a database sees four types and no others. What is
refused is refused by a typed error that names field, value and remedy.
"""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np

from tiny_dancer._core.timestamps import MILLISECONDS, seconds_since_epoch
from tiny_dancer.errors import CandidateError, OptionError, StorageError, TinyDancerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

# The year 1, and 5138: a number from there on would be read as milliseconds.
EARLIEST, LATEST = -62_135_596_800.0, math.nextafter(MILLISECONDS, 0.0)
INTEGERS = 2**63
# What counts stop at.
MOST = INTEGERS - 1


def plain(value: object) -> object:
    """What a scalar of numpy, an array of no dimension, an enumeration or another subclass holds.

    Anything else stays as it is; so does what is masked, for it has no value.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if value is None or isinstance(value, (bool, np.ma.MaskedArray)):
        return value
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    return _of_array(value) if hasattr(value, "__array__") else value


def _of_array(value: object) -> object:
    """What an array without dimensions, or something that becomes one, holds."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        return value
    if array.ndim:
        return value
    if array.dtype.kind in "biuU":
        return array.item()
    if array.dtype.kind == "f" or is_extension(array.dtype):
        return float(array.astype(np.float64))
    return value


def is_extension(dtype: np.dtype[Any]) -> bool:
    """Whether it is a type of number that another package added to numpy, such as bfloat16."""
    return dtype.kind == "V" and dtype.type is not np.void and np.can_cast(dtype, np.float64)


@overload
def stored_text(
    field: str,
    value: object,
    *,
    empty: bool = ...,
    optional: Literal[False] = ...,
    error: type[TinyDancerError] = ...,
) -> str: ...
@overload
def stored_text(
    field: str, value: object, *, empty: bool = ..., optional: bool, error: type[TinyDancerError] = ...
) -> str | None: ...
def stored_text(
    field: str,
    value: object,
    *,
    empty: bool = False,
    optional: bool = False,
    error: type[TinyDancerError] = StorageError,
) -> str | None:
    """Text that every database can hold: UTF-8 without NUL. None passes where it is ``optional``.

    Raises:
        StorageError: it is none (or ``error``).
    """
    # The usual case, in one look: what is printable has neither NUL nor surrogates.
    if type(value) is str and value and value.isprintable():
        return value
    if value is None and optional:
        return None
    value = plain(value)
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
    return value


def storable(text: str) -> str:
    """Text as every database can hold it: NUL and lone surrogates become U+FFFD."""
    if text.isprintable():
        return text
    clean = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    # By way of UTF-16, where only a surrogate that stands alone is an error.
    return clean.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def as_number(value: object) -> float:
    """A number as Python's own; NaN where it is none, or beyond every float."""
    if type(value) is float:
        return value
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, Fraction)):
        return math.nan
    try:
        return float(value)
    except (OverflowError, ValueError):
        return math.nan


def number(field: str, value: object, *, error: type[TinyDancerError] = StorageError) -> float:
    """A finite number.

    Raises:
        StorageError: it is none (or ``error``).
    """
    found = as_number(value)
    if not -math.inf < found < math.inf:
        raise error(field, value, "give a finite number")
    return found


def amount(field: str, value: object, *, error: type[TinyDancerError] = StorageError) -> float:
    """A finite number, 0 or more.

    Raises:
        StorageError: it is none (or ``error``).
    """
    found = as_number(value)
    if not 0 <= found < math.inf:
        raise error(field, value, "give a finite number, 0 or more")
    return found


@overload
def share(field: str, value: object, *, required: Literal[True], error: type[TinyDancerError] = ...) -> float: ...
@overload
def share(
    field: str, value: object, *, required: bool = ..., error: type[TinyDancerError] = ...
) -> float | None: ...
def share(
    field: str, value: object, *, required: bool = False, error: type[TinyDancerError] = StorageError
) -> float | None:
    """A number in [0, 1]; None passes unless ``required``.

    Raises:
        StorageError: it is none (or ``error``).
    """
    if value is None and not required:
        return None
    found = as_number(value)
    if not 0 <= found <= 1:
        raise error(field, value, "give a number between 0 and 1")
    return found


def integer(field: str, value: object, *, error: type[TinyDancerError] = StorageError) -> int:
    """A whole number from 0 to 2**63 - 1.

    Raises:
        StorageError: it is none (or ``error``).
    """
    found = plain(value)
    if type(found) is not int or not 0 <= found < INTEGERS:
        raise error(field, value, "give a whole number, 0 or more")
    return found


def flag(field: str, value: object, *, error: type[TinyDancerError] = StorageError) -> bool:
    """True or false.

    Raises:
        StorageError: it is neither (or ``error``).
    """
    found = plain(value)
    if not isinstance(found, bool):
        raise error(field, value, "give true or false")
    return found


def utc_seconds(field: str, value: object, *, error: type[TinyDancerError] = StorageError) -> float:
    """Seconds since 1970 in UTC, of a time in any form that a candidate set takes
    (:func:`tiny_dancer._core.timestamps.seconds_since_epoch`), from the year 1 to 5138.

    Raises:
        StorageError: it is no time, or beyond those years (or ``error``).
    """
    if type(value) is float and EARLIEST <= value <= LATEST:
        return value
    try:
        seconds = seconds_since_epoch(value, field)
    except CandidateError as refusal:
        raise error(refusal.field, refusal.value, refusal.remedy) from None
    if seconds is None:
        raise error(field, value, "give a time: UTC seconds since 1970, a datetime or ISO 8601")
    if not EARLIEST <= seconds <= LATEST:
        raise error(field, value, "give a time between the years 1 and 5138")
    return seconds


def given(
    check: Callable[..., T], field: str, value: object, *, error: type[TinyDancerError] = StorageError
) -> T | None:
    """The value as ``check`` returns it; None stays None."""
    return None if value is None else check(field, value, error=error)


def limit(value: object) -> int | None:
    """How many rows to return: 1 or more, or None for all.

    Raises:
        OptionError: it is neither.
    """
    found = plain(value)
    if found is not None and (type(found) is not int or found < 1):
        raise OptionError("limit", value, "give a whole number, 1 or more, or None for all")
    # Nobody has as many rows as fit into 64 bits.
    return None if found is None or found >= INTEGERS else found


def texts(field: str, values: Iterable[str]) -> tuple[str, ...]:
    """Texts to look up.

    Raises:
        OptionError: one text instead of several, or something else among them.
    """
    if isinstance(values, (str, bytes, np.ma.MaskedArray)):
        raise OptionError(field, type(values).__name__, "give a list of texts")
    try:
        listed = iter(values)
    except TypeError:
        raise OptionError(field, type(values).__name__, "give a list of texts") from None
    return tuple([stored_text(field, value, empty=True, error=OptionError) for value in listed])


def span(since: object, until: object) -> tuple[float | None, float | None]:
    """A span of time, open where None.

    Raises:
        OptionError: an end is no time.
    """
    return (
        given(utc_seconds, "since", since, error=OptionError),
        given(utc_seconds, "until", until, error=OptionError),
    )


def settle(record: object, field: str, value: object) -> None:
    """Puts a checked value into a frozen dataclass that checks itself when it is made."""
    if getattr(record, field) is not value:
        object.__setattr__(record, field, value)
