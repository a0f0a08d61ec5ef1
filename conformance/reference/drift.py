"""What is watched over a stream of decisions and outcomes (the engine's ``likeness/``)."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from .single import single

if TYPE_CHECKING:
    from collections.abc import Callable

ALARMS = ("likeness", "quality", "gain", "feedback", "calibration", "risk")
TOLERANCE = 0.05
MOST_KNOTS, LEARNED = 32, 128
EXPONENTS = (0.7, 0.4, 0.15)
SHARES = (0.05, 0.1, 0.2, 0.45)
MOST_CAPITAL = 1e100
LEAST = 1 / 64
BITS = 2**64 - 1


class Accounts:
    """Capital of 1: 1 / (1 + ln(1 + n)) of it is in reserve after n bets, the rest dealt out among accounts."""

    def __init__(self, count: int) -> None:
        self.each = [0.0] * count
        self.reserve, self.bets = 1.0, 0

    def bet(self, factor: Callable[[int], float]) -> None:
        self.bets += 1
        left = 1 / (1 + math.log1p(self.bets))
        dealt = (self.reserve - left) / len(self.each)
        self.reserve = left
        self.each = [min((each + dealt) * factor(at), MOST_CAPITAL) for at, each in enumerate(self.each)]

    @property
    def capital(self) -> float:
        return sum(self.each) + self.reserve

    def richest(self) -> int | None:
        """The first account with the most, once all have as much as the reserve."""
        return self.each.index(max(self.each)) if sum(self.each) >= self.reserve else None


class Martingale:
    """Bets that p-values have become small."""

    def __init__(self, p_values: list[float], rows: int) -> None:
        self.p_values = p_values
        after = [*p_values[1:], 0.0]
        self.counts = [round((p - q) * (rows + 1)) for p, q in zip(p_values, after, strict=True)]
        self.counts[-1] = 0
        self.accounts, self.steps = Accounts(len(EXPONENTS)), 0

    def step(self, p_value: float) -> None:
        place = min(sum(each > p_value for each in self.p_values), len(self.p_values) - 1)
        self.counts[place] += 1
        p = min(sum(self.counts[place:]) / sum(self.counts), 1.0)
        self.accounts.bet(lambda at: EXPONENTS[at] * p ** (EXPONENTS[at] - 1))
        self.steps += 1


def drawn(seed: int, step: int) -> float:
    """In (0, 1], by SplitMix64."""
    bits = (seed + step * 0x9E3779B97F4A7C15) & BITS
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & BITS
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & BITS
    bits ^= bits >> 31
    return ((bits >> 11) + 1) / 2**53


def density(u: float, exponent: float) -> float:
    """Falling in u, level up to LEAST, of integral 1 over [0, 1]."""
    level = math.pow(LEAST, exponent)
    return math.pow(max(u, LEAST), exponent - 1) / (level + (1 - level) / exponent)


class Shift:
    """Bets that numbers have become higher, lower, or more alike; learns what is usual where nobody says."""

    def __init__(self, usual: tuple[list[float], list[int]] | None, seed: int) -> None:
        self.knots, self.counts = ([], []) if usual is None else (list(usual[0]), list(usual[1]))
        self.known = usual is not None
        self.waiting: list[float] = []
        self.seed, self.steps = seed, 0
        self.accounts = Accounts(3 * len(EXPONENTS))

    def step(self, value: float) -> None:
        if not math.isfinite(value):
            return
        self.steps += 1
        if not self.known:
            self.waiting.append(value)
            if len(self.waiting) == LEARNED:
                rising = sorted(self.waiting)
                self.knots = sorted(
                    {rising[knot * LEARNED // (MOST_KNOTS + 1)] for knot in range(1, MOST_KNOTS + 1)}
                )
                self.counts, self.known = [0] * (len(self.knots) + 1), True
            return
        place = bisect_left(self.knots, value)
        self.counts[place] += 1
        beyond = sum(self.counts[place + 1 :])
        high = (beyond + self.counts[place] * drawn(self.seed, self.steps)) / sum(self.counts)
        small = [min(max(each, LEAST), 1.0) for each in (high, 1 - high, abs(2 * high - 1))]
        count = len(EXPONENTS)
        self.accounts.bet(lambda at: density(small[at // count], EXPONENTS[at % count]))

    @property
    def side(self) -> str:
        richest = self.accounts.richest()
        return "" if richest is None else ("higher", "lower", "more alike")[richest // len(EXPONENTS)]


class Wager:
    """Bets that numbers are above 0 on average."""

    def __init__(self) -> None:
        self.accounts, self.steps = Accounts(len(SHARES)), 0

    def step(self, excess: float) -> None:
        if math.isnan(excess):
            return
        excess = min(max(excess, -2.1), 1.0)
        self.accounts.bet(lambda at: 1 + SHARES[at] * excess)
        self.steps += 1


class Drift:
    """All alarms over the decisions of one artifact."""

    def __init__(self, header: dict[str, Any], p_values: list[float] | None, threshold: float, seed: int) -> None:
        self.names = [model["name"] for model in header["models"]]
        self.best: int = header["best_constant"]
        certificate = header.get("guarantee")
        self.promise = certificate if certificate and certificate["risk"] != "cost" else None
        self.threshold = threshold
        self.likeness = None if p_values is None else Martingale(p_values, header["likeness"]["rows"])
        self.shifts = [Shift(None, (seed + (number << 32)) & BITS) for number in (1, 2, 3)]
        self.outcomes = [(Wager(), Wager()) for _ in self.names]
        self.risk, self.measured = Wager(), 0
        self.since: dict[str, int | None] = dict.fromkeys(ALARMS)

    def decide(self, likeness: float | None, scores: list[float]) -> tuple[float, float]:
        """A decision; gives the highest quality expected and the gain over the best constant."""
        scores = [single(score) for score in scores]
        others = [score for model, score in enumerate(scores) if model != self.best]
        quality, gain = max(scores), single(max(others) - scores[self.best]) if others else math.nan
        if self.likeness is not None and likeness is not None:
            self.likeness.step(single(likeness))
            self.look("likeness")
        self.shifts[0].step(quality)
        self.shifts[1].step(gain)
        self.look("quality")
        self.look("gain")
        return quality, gain

    def grade(self, residual: float) -> None:
        """Feedback less the quality expected."""
        self.shifts[2].step(single(residual))
        self.look("feedback")

    def measure(self, model: int, quality: float, scores: list[float], reference: float | None) -> None:
        """An outcome, beside that of the certificate's reference where it is known."""
        scores = [single(score) for score in scores]
        if not (0 <= quality <= 1 and 0 <= scores[model] <= 1):
            return
        below, above = self.outcomes[model]
        below.step(scores[model] - quality - TOLERANCE)
        above.step(quality - scores[model] - TOLERANCE)
        self.measured += 1
        self.look("calibration")
        if self.promise is None:
            return
        risk, compared = self.promise["risk"], self.names.index(self.promise["reference"])
        if model == compared:
            loss = math.nan if risk == "routed" else 0.0
        elif reference is None:
            loss = scores[compared] - quality - TOLERANCE
        else:
            lost = reference - quality
            loss = {"mean": lost, "harm": max(lost, 0.0), "routed": float(lost > 0)}[risk]
        self.risk.step(loss - self.promise["epsilon"])
        self.look("risk")

    def look(self, alarm: str) -> None:
        if self.since[alarm] is None and self.capital(alarm) >= self.threshold:
            self.since[alarm] = self.steps(alarm)

    def capital(self, alarm: str) -> float:
        if alarm == "likeness":
            made = 1.0 if self.likeness is None else self.likeness.accounts.capital
        elif alarm == "calibration":
            sides = [wager for both in self.outcomes for wager in both]
            made = sum(wager.accounts.capital for wager in sides) / len(sides)
        elif alarm == "risk":
            made = self.risk.accounts.capital
        else:
            made = self.shifts[ALARMS.index(alarm) - 1].accounts.capital
        return made / len(ALARMS)

    def steps(self, alarm: str) -> int:
        if alarm == "likeness":
            return 0 if self.likeness is None else self.likeness.steps
        if alarm == "calibration":
            return self.measured
        return self.risk.steps if alarm == "risk" else self.shifts[ALARMS.index(alarm) - 1].steps

    def alarms(self) -> dict[str, dict[str, Any]]:
        """How they stand, by name."""
        return {
            name: {"steps": self.steps(name), "capital": self.capital(name), "since": self.since[name]}
            for name in ALARMS
        }
