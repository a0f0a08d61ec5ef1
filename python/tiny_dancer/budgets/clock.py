"""Time that a clock set wrong for a moment does not move: budgets, and the rows they are counted by, go by it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

BELIEVED_S: Final = 60.0
"""Seconds that the wall clock must have stood at another time before that is taken over."""

# What the two clocks may drift apart between two looks without it being a step.
_DRIFT_S: Final = 1.0


class SteadyClock:
    """UTC seconds by the wall clock, carried on by the monotonic one.

    Where the wall clock is set to another time, this one goes on as before; only when the wall clock has kept the
    new time for :data:`BELIEVED_S` is it taken over, forward or back. So a machine that woke up or found a time
    server is followed after a minute, and a jump ahead and back is none. Any thread may ask.
    """

    __slots__ = ("_monotonic", "_offset", "_other", "_since", "_wall")

    def __init__(
        self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Begins at the wall clock's time.

        Args:
            wall: UTC seconds, as the machine believes.
            monotonic: seconds that never go back.
        """
        self._wall, self._monotonic = wall, monotonic
        self._offset = wall() - monotonic()
        self._other: float | None = None
        self._since = 0.0

    def __call__(self) -> float:
        """UTC seconds."""
        now = self._monotonic()
        offset = self._wall() - now
        if -_DRIFT_S < offset - self._offset < _DRIFT_S:
            self._offset = offset
            self._other = None
        elif self._other is None or not -_DRIFT_S < offset - self._other < _DRIFT_S:
            self._other, self._since = offset, now
        elif now - self._since >= BELIEVED_S:
            self._offset, self._other = offset, None
        return now + self._offset


steady: Final = SteadyClock()
"""The process's own."""
