"""Whether what routing expects of models comes true: requests by expected quality and by confidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tiny_dancer.storage.summaries import wilson

if TYPE_CHECKING:
    from collections.abc import Iterable

BINS: Final = 10
"""Bins of equal width over [0, 1]; a value of 1 is in the last."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Requests with feedback whose model was expected to be about so good.

    Attributes:
        low: of the expected quality, in [0, 1].
        high: of the expected quality, not part of the bin but for the last.
        feedback: requests there is feedback about, as a whole.
        expected: mean quality expected of the model that served.
        score: mean score given.
        score_interval: of its mean, at 95 % (Wilson).
    """

    low: float
    high: float
    feedback: int
    expected: float
    score: float
    score_interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Expectations of routing beside what came of them.

    Attributes:
        bins: those with feedback, by expected quality. Where expectations are calibrated, ``expected`` and
            ``score`` of each are the same but for chance (a reliability diagram).
        confidence: requests by the confidence of their decision, in :data:`BINS` bins; with feedback or not.
    """

    bins: tuple[ReliabilityBin, ...]
    confidence: tuple[int, ...]


def bin_of(value: float) -> int:
    """Which bin a value of [0, 1] is in; the nearest of what is outside."""
    return min(max(math.floor(value * BINS), 0), BINS - 1)


def calibration(
    bins: Iterable[tuple[int, int, float, float]], confidence: Iterable[tuple[int, int]]
) -> Calibration:
    """Put together from rows of bin, feedback, mean expected quality and mean score; and of bin and requests."""
    counts = [0] * BINS
    for place, requests in confidence:
        counts[place] = requests
    return Calibration(
        tuple(
            ReliabilityBin(place / BINS, (place + 1) / BINS, feedback, expected, score, wilson(score, feedback))
            for place, feedback, expected, score in sorted(bins)
        ),
        tuple(counts),
    )
