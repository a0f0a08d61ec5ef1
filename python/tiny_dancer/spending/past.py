"""What was spent, and how many requests there were, hour by hour: read from the store."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.errors import OptionError
from tiny_dancer.names import hint
from tiny_dancer.storage.summaries import DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tiny_dancer.storage import RequestStorage
    from tiny_dancer.types import RequestRecord

    Floats = npt.NDArray[np.float64]

HOUR, DAY = 3600, 86_400
_FIELDS = tuple(name for name, field in DIMENSIONS.items() if field != "time")
LONGEST = 120 * DAY
"""Seconds that a forecast looks back at most."""


@dataclass(frozen=True, slots=True)
class Past:
    """Sums by hour, the last of which ends at ``end``.

    Attributes:
        end: UTC seconds, a full hour; later requests are in ``since_then``.
        spent: float64 [hours], USD, oldest first, from the hour of the first request on.
        requests: float64 [hours].
        since_then: USD spent after ``end``.
        uncosted: requests that a model served and whose cost nobody knows; they count as free.
    """

    end: float
    spent: Floats
    requests: Floats
    since_then: float
    uncosted: int

    def steps(self, values: Floats, hours: int) -> Floats:
        """Sums over ``hours`` each; what is left over at the beginning is left out."""
        whole = len(values) // hours
        found: Floats = values[len(values) - whole * hours :].reshape(whole, hours).sum(axis=1)
        return found


def read_past(storage: RequestStorage, where: Mapping[str, str], now: float, *, longest: float = LONGEST) -> Past:
    """The past of some requests.

    Args:
        storage: where they are.
        where: dimensions and the value each must have.
        now: UTC seconds.
        longest: seconds to look back.
    """
    end = math.floor(now / HOUR) * float(HOUR)
    first = max(math.ceil((end - longest) / DAY) * float(DAY), 0.0)
    groups = storage.request_summary(by="hour", since=first, until=end, where=where, percentiles=False)
    later = storage.request_summary(by=(), since=end, until=now, where=where, percentiles=False)
    found: dict[float, tuple[float, float]] = {
        _moment(each.group[0]): (each.spent, each.requests) for each in groups if each.group[0] is not None
    }
    if any(each.removed for each in groups):
        # Of requests that retention has removed sums are kept by day: their hours are taken to be alike.
        by_day = storage.request_summary(
            by="day", since=first, until=end - end % DAY, where=where, percentiles=False
        )
        for each in by_day:
            if each.removed and each.group[0] is not None:
                start = _moment(each.group[0])
                part = (each.spent / 24, each.requests / 24)
                found |= {start + hour * HOUR: part for hour in range(24)}
    hours = int((end - min(found)) / HOUR) if found else 0
    spent, requests = np.zeros(hours), np.zeros(hours)
    for start, (usd, count) in found.items():
        place = hours - int((end - start) / HOUR)
        spent[place] += usd
        requests[place] += count
    uncosted = sum(each.uncosted for each in (*groups, *later))
    return Past(end, spent, requests, math.fsum(each.spent for each in later), uncosted)


def falls_under(record: RequestRecord, where: Mapping[str, str]) -> bool:
    """Whether a request has the values that are asked for, by dimensions that :func:`check_where` lets pass."""
    return all(
        value in record.tags if name == "tag" else str(getattr(record, DIMENSIONS[name])) == value
        for name, value in where.items()
    )


def check_where(where: Mapping[str, str]) -> None:
    """Refuses what requests are not told apart by.

    Raises:
        OptionError: a request has no such thing.
    """
    for name in where:
        if name not in _FIELDS:
            raise OptionError(
                "where", name, f"{hint(name, _FIELDS)}requests are told apart by {', '.join(_FIELDS)}"
            )


def _moment(text: str) -> float:
    """The first moment of a day (``2026-11-21``) or an hour (``2026-11-21T13:00Z``)."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
