"""Times as callers write them → seconds since 1970."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from numbers import Real

from tiny_dancer.errors import CandidateError

_MILLISECONDS = 1e11
"""Numbers from here on cannot be seconds (that would be the year 5138) and are milliseconds (from March 1973)."""
_MICROSECONDS = 1e14
_NANOSECONDS = 1e17


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
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise CandidateError(field, repr(value), "give ISO 8601, a datetime or a number") from None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise CandidateError(field, repr(value), "give seconds or milliseconds since 1970, or a datetime")
    number = float(value)
    if not math.isfinite(number):
        raise CandidateError(field, value, "give a finite time, or leave it out")
    size = abs(number)
    for unit, divisor in ((_NANOSECONDS, 1e9), (_MICROSECONDS, 1e6), (_MILLISECONDS, 1e3)):
        if size >= unit:
            return number / divisor
    return number
