"""Reads of candidates that are to be counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Touch:
    """Reads of one candidate: how many count as an access, when the last was, whether its life begins anew."""

    count: int
    last: float
    refresh: bool

    def and_then(self, other: Touch) -> Touch:
        """Both together."""
        return Touch(self.count + other.count, max(self.last, other.last), self.refresh or other.refresh)
