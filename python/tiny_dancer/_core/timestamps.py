"""Times as callers write them → seconds since 1970: one rule for candidate sets, tables and storage."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from numbers import Real

import numpy as np

from tiny_dancer._core import number_to_seconds, text_to_seconds
from tiny_dancer.errors import CandidateError

MILLISECONDS = 1e11
"""Numbers below are seconds; the engine tells the units of those above."""

_REMEDY = "give seconds or milliseconds since 1970, a datetime, a date or ISO 8601"
# What `numpy.datetime64.item` counts in where it gives a number, to a second.
_UNITS = {"ns": 10**9, "ps": 10**12, "fs": 10**15, "as": 10**18}


def seconds_since_epoch(value: object, field: str) -> float | None:
    """Seconds since 1970 UTC of a time given in seconds, milliseconds, microseconds, nanoseconds, as a
    ``datetime``, a ``date`` (its midnight), a ``numpy.datetime64`` or in ISO 8601. A number's unit is told by its
    size: below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds, else nanoseconds. A time without a
    zone is read as UTC. None stays None.

    Raises:
        CandidateError: not a time, or not finite.
    """
    if type(value) is float and -MILLISECONDS < value < MILLISECONDS:
        return value  # nearly always
    if value is None:
        return None
    if isinstance(value, np.ndarray) and value.ndim == 0 and not isinstance(value, np.ma.MaskedArray):
        value = value[()]
    if isinstance(value, str):
        seconds = text_to_seconds(value)
        if seconds is None:
            raise CandidateError(field, repr(value), "give ISO 8601, a datetime or a number")
        return seconds
    if isinstance(value, np.datetime64):
        unit = np.datetime_data(value)[0]
        found = value.astype(f"datetime64[{unit}]").item()
        if isinstance(found, int) and unit in _UNITS:
            return found / _UNITS[unit]
        value = found  # a date or a datetime; else NaT, or beyond what those can say
        if not isinstance(value, date):
            raise CandidateError(field, "not a time" if found is None else "beyond the year 9999", _REMEDY)
    if isinstance(value, date):
        return _of_date(value, field)
    if isinstance(value, bool) or not isinstance(value, (Real, Decimal)):
        raise CandidateError(field, repr(value), _REMEDY)
    remedy = "give a finite time, or leave it out"
    try:
        seconds = number_to_seconds(float(value))
    except (OverflowError, ValueError):
        raise CandidateError(field, "a number beyond any float", remedy) from None
    if seconds is None:
        raise CandidateError(field, value, remedy)
    return seconds


def _of_date(value: date, field: str) -> float:
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    try:
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (AttributeError, ValueError):
        # pandas' NaT calls itself a datetime.
        seconds = float("nan")
    if seconds != seconds:
        raise CandidateError(field, repr(value), "give a time, or leave it out")
    return seconds
