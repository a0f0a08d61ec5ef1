"""Times as callers write them → seconds since 1970 (the engine's ``candidates/moment.rs``)."""

from __future__ import annotations

import math
import re
from datetime import date

from .errors import Refusal

_DATE = r"(?P<year>[0-9]{4})(?:-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})|(?P<m_>[0-9]{2})(?P<d_>[0-9]{2}))"
# A hyphen after a week is followed by its day where one digit follows, else it separates.
_WEEK = r"(?P<year>[0-9]{4})(?:-W(?P<w>[0-9]{2})(?:-(?P<wd>[0-9])(?![0-9]))?|W(?P<w_>[0-9]{2})(?P<wd_>[0-9])?)"
_CLOCK = r"([0-9]{2})(?::([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?|([0-9]{2})(?:([0-9]{2})(?:[.,]([0-9]+))?)?)?"
_REST = rf"(?:[^0-9](?P<time>{_CLOCK})(?:Z|(?P<sign>[+-])(?P<zone>{_CLOCK}))?)?"
_SHAPES = [re.compile(f"{day}{_REST}", re.DOTALL) for day in (_DATE, _WEEK)]
_CLOCK_SHAPE = re.compile(_CLOCK)
_EPOCH = date(1970, 1, 1).toordinal()


def _no_time(value: object) -> Refusal:
    return Refusal("CandidateInvalid", f"{value!r} is no time")


def _microseconds(clock: str | None) -> int:
    if clock is None:
        return 0
    shape = _CLOCK_SHAPE.fullmatch(clock)
    assert shape is not None
    hour, *fields = shape.groups()
    minute, second, fraction = (fields[at] or fields[at + 3] or "0" for at in range(3))
    if int(hour) > 23 or int(minute) > 59 or int(second) > 59:
        raise _no_time(clock)
    whole = (int(hour) * 60 + int(minute)) * 60 + int(second)
    return whole * 10**6 + int(fraction[:6].ljust(6, "0"))


def from_text(text: str) -> float:
    """Seconds since 1970 of ISO 8601."""
    shape = next((found for each in _SHAPES if (found := each.fullmatch(text))), None)
    if shape is None:
        raise _no_time(text)
    given = {name: value for name, value in shape.groupdict().items() if value is not None}
    try:
        if "w" in given or "w_" in given:
            week, day = given.get("w") or given["w_"], given.get("wd") or given.get("wd_", "1")
            made = date.fromisocalendar(int(given["year"]), int(week), int(day))
        else:
            month, day = given.get("m") or given["m_"], given.get("d") or given["d_"]
            made = date(int(given["year"]), int(month), int(day))
    except ValueError:
        raise _no_time(text) from None
    east = _microseconds(given.get("zone")) * (-1 if given.get("sign") == "-" else 1)
    days = made.toordinal() - _EPOCH
    # Python divides whole numbers to the nearest double.
    return (days * 86_400 * 10**6 + _microseconds(given.get("time")) - east) / 10**6


def from_number(number: float) -> float:
    """Seconds since 1970 of a number whose unit its size tells."""
    try:
        value = float(number)
    except OverflowError:
        raise _no_time("a number beyond any double") from None
    if not math.isfinite(value):
        raise _no_time(value)
    for least, unit in ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3)):
        if abs(value) >= least:
            return value / unit
    return value


def seconds(value: object) -> float:
    """Seconds since 1970 of a time as JSON has it."""
    if isinstance(value, str):
        return from_text(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _no_time(value)
    return from_number(value)
