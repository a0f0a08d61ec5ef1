"""Token buckets and counters of what is under way: they say when, and never sleep.

A bucket holds up to ``capacity`` tokens and gains ``per_minute`` of them a minute; over any time t no more than
capacity + rate · t can be taken. It is kept as one number, the moment at which it was or will be empty (the
virtual scheduling form of the generic cell rate algorithm, ITU-T I.371, annex A): nothing has to refill it, and
several processes can share that number (:mod:`tiny_dancer.gateway.access.shared_limits`).
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Protocol

from tiny_dancer.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds by which a take may come early: without it, rounding would refuse one who waited exactly as long as told.
EARLY = 1e-6


class Bucket(Protocol):
    """What limits a rate: :class:`TokenBucket` in one process, ``SharedBucket`` over several."""

    capacity: float

    def take(self, amount: float = 1.0) -> float:
        """Takes tokens if there are enough.

        Returns:
            0.0 where they were taken; else the seconds until they could be, infinite for more than the capacity,
            and nothing is taken.
        """
        ...

    def wait(self, amount: float = 1.0) -> float:
        """What :meth:`take` would return, taking nothing."""
        ...

    def charge(self, amount: float) -> None:
        """Takes tokens whether or not they are there: what is only known afterwards. Negative amounts give back.

        The debt is paid first: nothing can be taken until the bucket has gained it.
        """
        ...

    def level(self) -> float:
        """Tokens that could be taken now; negative while in debt."""
        ...

    def full_in(self) -> float:
        """Seconds until it is full when nobody takes."""
        ...


def rates(per_minute: float, capacity: float | None) -> tuple[float, float]:
    """Seconds per token and capacity, checked.

    Raises:
        OptionError: one of them is not a finite number above 0.
    """
    capacity = per_minute if capacity is None else capacity
    for field, value in (("per_minute", per_minute), ("capacity", capacity)):
        if not (math.isfinite(value) and value > 0):
            raise OptionError(field, value, "give a number above 0")
    return 60.0 / per_minute, float(capacity)


class TokenBucket:
    """A bucket of one process, full at first. Belongs to one thread (the event loop's): it has no lock.

    Attributes:
        capacity: tokens it holds when full.

    Example:
        >>> bucket = TokenBucket(60, capacity=1)
        >>> bucket.take()
        0.0
        >>> 0 < bucket.take() <= 1
        True
    """

    __slots__ = ("_clock", "_empty_at", "_seconds", "_span", "capacity")

    def __init__(
        self,
        per_minute: float,
        *,
        capacity: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Full at first.

        Args:
            per_minute: tokens gained a minute.
            capacity: most tokens held; a minute's worth by default.
            clock: seconds that never go back.

        Raises:
            OptionError: a number that is not finite and above 0.
        """
        self._seconds, self.capacity = rates(per_minute, capacity)
        self._span = self._seconds * self.capacity
        self._clock = clock
        self._empty_at = -math.inf

    def take(self, amount: float = 1.0) -> float:
        """As :meth:`Bucket.take`."""
        now = self._clock()
        # Empty longer ago than filling takes is the same as full.
        start = now - self._span
        if self._empty_at > start:
            start = self._empty_at
        empty_at = start + amount * self._seconds
        if empty_at <= now + EARLY:
            self._empty_at = empty_at
            return 0.0
        return math.inf if amount > self.capacity else empty_at - now

    def wait(self, amount: float = 1.0) -> float:
        """As :meth:`Bucket.wait`."""
        now = self._clock()
        empty_at = max(self._empty_at, now - self._span) + amount * self._seconds
        if empty_at <= now + EARLY:
            return 0.0
        return math.inf if amount > self.capacity else empty_at - now

    def charge(self, amount: float) -> None:
        """As :meth:`Bucket.charge`."""
        self._empty_at = max(self._empty_at, self._clock() - self._span) + amount * self._seconds

    def level(self) -> float:
        """As :meth:`Bucket.level`."""
        return min((self._clock() - self._empty_at) / self._seconds, self.capacity)

    def full_in(self) -> float:
        """As :meth:`Bucket.full_in`."""
        return max(self._empty_at + self._span - self._clock(), 0.0)


class Gate:
    """Counts what is under way, and lets in no more than it may. Belongs to one thread.

    Attributes:
        inside: how many are under way.
    """

    __slots__ = ("_most", "inside")

    def __init__(self, max_concurrency: int | None = None) -> None:
        """Nobody inside at first.

        Args:
            max_concurrency: most at a time; None only counts.

        Raises:
            OptionError: ``max_concurrency`` below 1.
        """
        if max_concurrency is not None and max_concurrency < 1:
            raise OptionError("max_concurrency", max_concurrency, "give a whole number ≥ 1, or None")
        self._most = max_concurrency
        self.inside = 0

    def enter(self) -> bool:
        """Whether one more may begin; each True is handed back once, by :meth:`leave`."""
        if self._most is not None and self.inside >= self._most:
            return False
        self.inside += 1
        return True

    def leave(self) -> None:
        """One that entered has ended."""
        self.inside -= 1
