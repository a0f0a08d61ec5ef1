"""A circuit breaker that keeps all that happened and counts it anew each time (the engine's ``breaker.rs``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .drift import drawn

MOST_DOUBLINGS = 64
SLICES = 10


@dataclass
class Call:
    """An admitted call: of which period, whether a probe, and when it began."""

    period: int
    probe: bool
    began: float
    ended: bool = False


@dataclass
class Breaker:
    """The rules, one after the other; times are seconds."""

    threshold: int = 5
    window: float = 60.0
    failure_rate: float = 0.5
    minimum_calls: int = 20
    cooldown: float = 10.0
    longest_cooldown: float = 300.0
    jitter: float = 0.2
    probes: int = 1
    probe_timeout: float = 30.0
    seed: int = 0

    now: float = 0.0
    state: str = "closed"
    # Counts changes of state, so that a call says which it was admitted in.
    period: int = 0
    closed_at: float = 0.0
    retry_at: float = 0.0
    openings: int = 0
    # Openings without a whole window of health between them.
    streak: int = 0
    successes: int = 0
    # When, and of which category.
    failures: list[tuple[float, str]] = field(default_factory=list)
    # Of this closed period: when, and whether well.
    endings: list[tuple[float, bool]] = field(default_factory=list)
    probing: list[Call] = field(default_factory=list)

    def at(self, now: float) -> None:
        """Time passes; it does not go back."""
        self.now = max(self.now, now)

    def waiting(self) -> list[Call]:
        """Probes under way that are not given up."""
        return [each for each in self.probing if not each.ended and self.now - each.began < self.probe_timeout]

    def admit(self) -> Call | None:
        """A call, or None where none may be made."""
        if self.state == "closed":
            return Call(self.period, False, self.now)
        if self.state == "open":
            if self.now < self.retry_at:
                return None
            self.state, self.successes, self.probing = "half_open", 0, []
            self.period += 1
        if len(self.waiting()) >= self.probes:
            return None
        call = Call(self.period, True, self.now)
        self.probing.append(call)
        return call

    def counts(self, call: Call) -> bool:
        """Whether what a call reports is of this period, and was not given up."""
        if call.ended or call.period != self.period:
            return False
        return not call.probe or call in self.waiting()

    def succeed(self, call: Call) -> None:
        """The call did what it should."""
        if not self.counts(call):
            return
        if not call.probe:
            self.endings.append((self.now, True))
            return
        call.ended = True
        self.successes += 1
        if self.successes == self.probes:
            self.state, self.closed_at, self.failures, self.endings = "closed", self.now, [], []
            self.period += 1

    def fail(self, call: Call, category: str) -> None:
        """The call failed; bad input is no verdict."""
        if category == "bad_input":
            return self.cancel(call)
        if not self.counts(call):
            return None
        self.failures.append((self.now, category))
        if call.probe:
            return self.open()
        self.endings.append((self.now, False))
        if self.too_many():
            if self.now - self.closed_at >= self.window:
                self.streak = 0
            self.open()
        return None

    def cancel(self, call: Call) -> None:
        """The call ended without telling anything."""
        if call.probe:
            call.ended = True

    def open(self) -> None:
        """No call passes for a while."""
        self.state = "open"
        self.period += 1
        self.openings += 1
        self.streak += 1
        wait = min(self.cooldown * 2.0 ** min(self.streak - 1, MOST_DOUBLINGS), self.longest_cooldown)
        self.retry_at = self.now + wait * (1 + self.jitter * (1 - drawn(self.seed, self.openings)))

    def too_many(self) -> bool:
        """Whether so many calls failed that none should be made for a while."""
        found = [well for at, well in self.endings if self.in_window(at, well)]
        failures = found.count(False)
        if failures < self.threshold:
            return False
        row = 0
        for _, well in reversed(self.endings):
            if well:
                break
            row += 1
        row = min(row, failures)
        if row >= max(self.threshold, self.minimum_calls):
            return True
        enough = row >= self.threshold or len(found) >= self.minimum_calls
        return enough and failures >= self.failure_rate * len(found)

    def in_window(self, at: float, well: bool) -> bool:
        """Successes are counted by tenths of the window, failures to the moment."""
        tenth = self.window / SLICES
        return at // tenth > self.now // tenth - SLICES if well else self.now - at < self.window

    def status(self) -> dict[str, Any]:
        """As the next call would find it."""
        retry_in = max(0.0, self.retry_at - self.now) if self.state == "open" else 0.0
        over = self.state == "open" and retry_in == 0.0
        recent = [category for at, category in self.failures if self.now - at < self.window]
        return {
            "state": "half_open" if over else self.state,
            "failures": {category: recent.count(category) for category in sorted(set(recent))},
            "openings": self.openings,
            "retry_in": retry_in,
            "probes": len(self.waiting()) if self.state == "half_open" else 0,
        }
