"""Times as callers write them → seconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime
from numbers import Real

from tiny_dancer import _core
from tiny_dancer.errors import CandidateError

_MILLISECONDS = 1e11
"""Numbers below are seconds; the engine tells the units of those above."""


def seconds_since_epoch(value: object, field: str) -> float | None:
    """Seconds since 1970 UTC of a time given in seconds, milliseconds, microseconds, nanoseconds, as a
    ``datetime`` or in ISO 8601. A number's unit is told by its size: below 1e11 seconds, below 1e14 milliseconds,
    below 1e17 microseconds, else nanoseconds. A time without a zone is read as UTC. None stays None.

    Raises:
        CandidateError: not a time, or not finite.
    """
    if type(value) is float and -_MILLISECONDS < value < _MILLISECONDS:
        return value  # nearly always
    if value is None:
        return None
    if isinstance(value, str):
        seconds = _core.text_to_seconds(value)
        if seconds is None:
            raise CandidateError(field, repr(value), "give ISO 8601, a datetime or a number")
        return seconds
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise CandidateError(field, repr(value), "give seconds or milliseconds since 1970, or a datetime")
    remedy = "give a finite time, or leave it out"
    try:
        seconds = _core.number_to_seconds(float(value))
    except OverflowError:
        raise CandidateError(field, "a number beyond any float", remedy) from None
    if seconds is None:
        raise CandidateError(field, value, remedy)
    return seconds
