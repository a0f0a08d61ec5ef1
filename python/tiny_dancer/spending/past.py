"""What was spent, and how many requests there were, hour by hour: read from the store."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tiny_dancer.storage import RequestStorage

    Floats = npt.NDArray[np.float64]

HOUR, DAY = 3600, 86_400
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
        unpriced: requests that a model served and that have no cost.
    """

    end: float
    spent: Floats
    requests: Floats
    since_then: float
    unpriced: int

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
    first = max(end - longest, 0.0)
    groups = storage.request_summary(by="hour", since=first, until=end, where=where, percentiles=False)
    later = storage.request_summary(by=(), since=end, until=now, where=where, percentiles=False)
    found = {_hour(str(each.group[0])): each for each in groups}
    hours = int((end - min(found)) / HOUR) if found else 0
    spent, requests = np.zeros(hours), np.zeros(hours)
    for start, each in found.items():
        place = hours - int((end - start) / HOUR)
        spent[place] += each.spent
        requests[place] += each.requests
    return Past(
        end,
        spent,
        requests,
        math.fsum(each.spent for each in later),
        sum(each.unpriced for each in (*groups, *later)),
    )


def _hour(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
