"""Conformal prediction (the engine's ``conformal.rs``): thresholds, label sets, ranks, p-values, adaptive levels.

Error rates are the decimals they are written as: exact fractions decide which score is the threshold.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction

from .errors import Refusal
from .single import single


def exact(alpha: float) -> Fraction:
    """An error rate as the decimal it is written as: 0.1 is one tenth."""
    return Fraction(repr(alpha))


def quantile(scores: list[float], alpha: float) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest of n scores; infinite beyond the last, minus infinite before the
    first."""
    position = math.ceil((len(scores) + 1) * (1 - exact(alpha)))
    if position > len(scores):
        return math.inf
    return sorted(scores)[position - 1] if position >= 1 else -math.inf


def rows_needed(alpha: float) -> int:
    """The least number of scores with a finite quantile."""
    return math.ceil(1 / exact(alpha)) - 1


def calibrate(scores: list[float], groups: list[str] | None, alpha: float) -> dict[str | None, float]:
    """Thresholds: under None of all scores, and of each group with enough scores for one of its own."""
    if not 0 < alpha < 1 or len(scores) < rows_needed(alpha):
        raise Refusal("OptionInvalid", "alpha")
    if any(math.isnan(score) or abs(score) > 1e12 for score in scores):
        raise Refusal("OptionInvalid", "scores")
    thresholds: dict[str | None, float] = {None: quantile(scores, alpha)}
    for group in sorted(set(groups or [])):
        own = [score for score, name in zip(scores, groups or [], strict=True) if name == group]
        if len(own) >= rows_needed(alpha):
            thresholds[group] = quantile(own, alpha)
    return thresholds


def ranked(probabilities: list[float]) -> list[int]:
    """Labels by falling probability, equal ones by index."""
    return sorted(range(len(probabilities)), key=lambda label: (-probabilities[label], label))


def label_scores(method: str, probabilities: list[float], uniform: float) -> list[float]:
    """How badly each label fits.

    ``lac``: 1 - p (Sadinle, Lei and Wasserman 2019). ``aps``: the probability of the labels ranked before, and
    ``uniform`` times its own (Romano, Sesia and Candès 2020).
    """
    probabilities = [single(probability) for probability in probabilities]
    if method == "lac":
        return [1 - probability for probability in probabilities]
    scores, before = [0.0] * len(probabilities), 0.0
    for label in ranked(probabilities):
        scores[label] = before + uniform * probabilities[label]
        before += probabilities[label]
    return scores


def label_set(method: str, probabilities: list[float], uniform: float, threshold: float) -> list[int]:
    """The labels whose score is at most the threshold, most probable first."""
    scores = label_scores(method, probabilities, uniform)
    return [label for label in ranked([single(p) for p in probabilities]) if scores[label] <= threshold]


def rank_score(scores: list[float], relevant: list[bool]) -> int | None:
    """How many candidates must be kept for the best relevant one, whichever way equal scores are ordered."""
    best = max((score for score, wanted in zip(scores, relevant, strict=True) if wanted), default=None)
    return None if best is None else sum(score >= best for score in scores)


def rounded_up(score: float) -> float:
    """The smallest single that is not below the score."""
    nearest = single(score)
    if nearest >= score:
        return nearest
    # Singles of one sign are ordered as the integers their bits are; of negative ones the next has the lower bits.
    bits: int = struct.unpack("<i", struct.pack("<f", nearest))[0]
    return float(struct.unpack("<f", struct.pack("<i", bits + (1 if nearest >= 0 else -1)))[0])


@dataclass(frozen=True)
class Scores:
    """Calibration scores kept as knots: each a score rounded up, standing for ``step`` rows."""

    rows: Fraction
    step: Fraction
    knots: list[float]

    @classmethod
    def fit(cls, scores: list[float], groups: list[int] | None, most_knots: int) -> Scores:
        """Rows are scores, or groups of them that weigh the same each."""
        sizes = {group: (groups or []).count(group) for group in groups or []}
        rows = Fraction(len(sizes) if groups else len(scores))
        step = rows / most_knots if groups else Fraction(math.ceil(rows / most_knots))
        weights = [Fraction(1, sizes[group]) for group in groups] if groups else [Fraction(1)] * len(scores)
        knots: list[float] = []
        weight = Fraction(0)
        for score, own in sorted(zip(map(rounded_up, scores), weights, strict=True)):
            weight += own
            while len(knots) < most_knots and weight >= (len(knots) + 1) * step:
                knots.append(score)
        return cls(rows, step, knots)

    def p_value(self, score: float) -> float:
        """(1 + rows at least as nonconforming) / (rows + 1); what knots do not tell counts as nonconforming."""
        below = sum(knot < score for knot in self.knots)
        return float((1 + self.rows - below * self.step) / (self.rows + 1))


def relevance(
    scores: list[float], relevant: list[bool], questions: list[int] | None, most_knots: int, score: float
) -> tuple[float, float]:
    """p-values of "relevant" and "irrelevant" for a candidate with this score."""

    def one(wanted: bool, sign: float) -> float:
        rows = [row for row, flag in enumerate(relevant) if flag == wanted]
        own = None if questions is None else [questions[row] for row in rows]
        return Scores.fit([sign * scores[row] for row in rows], own, most_knots).p_value(sign * score)

    return one(True, -1.0), one(False, 1.0)


def next_level(alpha: float, gamma: float, level: float, covered: bool) -> float:
    """Adaptive conformal inference (Gibbs and Candès 2021): level + gamma (alpha - missed), not clamped."""
    return level + gamma * (alpha - (0.0 if covered else 1.0))
