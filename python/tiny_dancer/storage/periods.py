"""Periods over which money is counted: a span from the day a key was made on, again and again, calendar months, or
a window that moves with the clock.

Times are UTC seconds since 1970, so no day has 23 or 25 hours.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

from tiny_dancer.errors import AccessError, BudgetError, TinyDancerError

_WRITTEN = re.compile(r"([1-9][0-9]{0,5})(s|m|h|d|w|mo)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MONTH = "mo"
_WORDS = {"hour": "1h", "day": "1d", "week": "1w", "month": "1mo", "year": "12mo"}
_ROLLING = "rolling "
PARTS = 30
"""Of a rolling window: money comes back when the whole part it was spent in has left the window, so up to a
thirtieth of the window late, and never early."""


def check_duration(field: str, text: object) -> None:
    """A length of a period as LiteLLM writes it: ``30s``, ``30m``, ``30h``, ``30d``, ``2w``, ``1mo``.

    Raises:
        AccessError: it is none.
    """
    if not isinstance(text, str) or _WRITTEN.fullmatch(text) is None:
        raise AccessError(field, repr(text), "give a length such as 30m, 12h, 1d, 30d or 1mo")


def check_period(field: str, text: object, *, error: type[TinyDancerError] = BudgetError) -> str:
    """A period in its one spelling: ``1d`` of ``day``, ``1mo`` of ``month``, ``rolling 30d``.

    Raises:
        BudgetError: it is none (or ``error``).
    """
    if isinstance(text, str):
        words = text.strip().lower()
        rolls = words.startswith(_ROLLING)
        length = words.removeprefix(_ROLLING).strip() if rolls else words
        length = _WORDS.get(length, length)
        match = _WRITTEN.fullmatch(length)
        if match is not None and not rolls:
            return length
        if match is not None and match[2] != _MONTH and _span(match) >= PARTS:
            return _ROLLING + length
        if match is not None:
            raise error(
                field, repr(text), "give a rolling window of 30s or more, in days instead of months: 'rolling 30d'"
            )
    raise error(field, repr(text), "give day, week, month, year, a length such as 12h or 30d, or 'rolling 30d'")


def rolling(duration: str | None) -> int | None:
    """Milliseconds of a part of a rolling window, :data:`PARTS` of which are no less than the window; None where
    the period is none."""
    if duration is None or not duration.startswith(_ROLLING):
        return None
    match = _WRITTEN.fullmatch(duration.removeprefix(_ROLLING))
    assert match is not None
    return -(-_span(match) * 1000 // PARTS)


def _span(match: re.Match[str]) -> int:
    return int(match[1]) * _SECONDS[match[2]]


def period(duration: str | None, created: float, now: float) -> tuple[float, float]:
    """First moment and end of the period that ``now`` lies in.

    Periods of seconds, minutes, hours, days and weeks follow one another from the first moment of the UTC day of
    ``created``, so that ``1d`` is the UTC day. ``1mo`` is the UTC month, ``3mo`` three of them from that of
    ``created`` on.

    Args:
        duration: checked by :func:`check_duration`; None: one period that never ends.
        created: when the key was made.
        now: the moment asked about.
    """
    if duration is None:
        return 0.0, math.inf
    match = _WRITTEN.fullmatch(duration)
    assert match is not None
    count, unit = int(match[1]), match[2]
    if unit == _MONTH:
        first, this = _months(created), _months(now)
        begun = this - (this - first) % count
        return _first_moment(begun), _first_moment(begun + count)
    length = float(count * _SECONDS[unit])
    anchor = day_start(created)
    start = anchor + (now - anchor) // length * length
    return start, start + length


def day_start(now: float) -> float:
    """First moment of the UTC day of ``now``."""
    return now - now % 86_400


def month_start(now: float) -> float:
    """First moment of the UTC month of ``now``."""
    return _first_moment(_months(now))


def _months(now: float) -> int:
    """Months since the year 0."""
    moment = datetime.fromtimestamp(now, UTC)
    return 12 * moment.year + moment.month - 1


def _first_moment(months: int) -> float:
    year, month = divmod(months, 12)
    # Beyond what dates can say a period has no end.
    return math.inf if year > 9999 else datetime(max(year, 1), month + 1, 1, tzinfo=UTC).timestamp()
