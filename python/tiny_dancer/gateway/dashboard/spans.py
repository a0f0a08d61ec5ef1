"""Spans of time as the page asks for them, cut into steps of UTC that a chart can show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tiny_dancer.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping

RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "1h": (3600.0, 60.0),
    "24h": (86_400.0, 1800.0),
    "7d": (7 * 86_400.0, 3 * 3600.0),
    "30d": (30 * 86_400.0, 86_400.0),
}
"""By name, how long it is and its steps, in seconds."""
_STEPS: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 3 * 3600.0, 6 * 3600.0, 43_200.0, 86_400.0)
_MOST_STEPS: Final = 96
_LONGEST: Final = 10 * 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Span:
    """From the first moment of a step on.

    Attributes:
        since: UTC seconds.
        until: UTC seconds, not part of it.
        step: seconds.
        name: of :data:`RANGES`; empty where both ends were given.
    """

    since: float
    until: float
    step: float
    name: str = ""

    @property
    def starts(self) -> list[float]:
        """First moments of the steps; the last may end after the span."""
        return [
            self.since + place * self.step for place in range(math.ceil((self.until - self.since) / self.step))
        ]


def span_of(query: Mapping[str, str], now: float) -> Span:
    """What a query asks for: ``range``, or ``since`` and ``until`` in UTC seconds; a day where it says nothing.

    Raises:
        GatewayError: 400, it is none.
    """
    if "since" in query or "until" in query:
        since, until = (_seconds(name, query.get(name)) for name in ("since", "until"))
        if since >= until:
            raise _refused("since", "The range ends before it begins; exchange since and until.")
        if until - since > _LONGEST:
            raise _refused("since", "The range is longer than ten years; give a shorter one.")
        step = next((each for each in _STEPS if (until - since) / each <= _MOST_STEPS), None)
        if step is None:
            step = 86_400.0 * math.ceil((until - since) / 86_400.0 / _MOST_STEPS)
        return Span(max(math.floor(since / step) * step, 0.0), until, step)
    name = query.get("range", "24h")
    if name not in RANGES:
        raise _refused(
            "range", f"There is no range of this name; use one of {', '.join(RANGES)}, or since and until."
        )
    length, step = RANGES[name]
    # Whole steps, the one that has begun included: what is shown does not slide from second to second.
    until = (math.floor(now / step) + 1) * step
    return Span(until - length, until, step, name)


def _seconds(name: str, given: str | None) -> float:
    if given is None:
        raise _refused(name, f"A range needs since and until; {name} is missing.")
    try:
        found = float(given)
    except ValueError:
        found = math.nan
    if not 0 <= found <= 253_402_300_799:
        raise _refused(name, f"{name} is no time; give UTC seconds since 1970.")
    return found


def _refused(param: str, message: str) -> GatewayError:
    return GatewayError(400, message, param=param, code="invalid_range")
