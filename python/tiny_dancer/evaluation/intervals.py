"""Intervals that hold at any sample size: for shares, and for means of bounded values with few events.

A percentile bootstrap of a mean holds where many units tell it apart from a constant. Of an event with a chance of
1 % it sees one in 100 units, or none, and covers the truth in 63 % of cases instead of 95 %.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.extras import needed

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_LARGEST_BET = 0.75
_STEPS = 30


def exact_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's (1934) interval of a share: at least ``level`` of such intervals cover it.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    with needed():
        from scipy.special import betaincinv
    tail = (1 - level) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return low, high


def betting_interval(
    sums: Floats, mass: Floats, *, low: float, high: float, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Interval of a mean of values in [low, high], by betting against every other mean.

    The hedged capital of Waudby-Smith and Ramdas (2023, "Estimating means of bounded random variables by betting",
    theorem 3): whoever bets that the mean is above m, or below it, with stakes known before each draw, has no more
    than 2 / (1 - level) times his money but with probability (1 - level) / 2 where the mean is m. Means against
    which nobody has won so much form the interval. It covers at least ``level`` for any n and any such values.

    Args:
        sums: float64 [units], of a unit's weighted values.
        mass: float64 [units], of its weights, above 0. The mean is that of all sums over that of all masses.
        low: least value.
        high: largest value.
        level: of the interval.
        seed: of the order in which units are bet on.
    """
    largest = float(mass.max())
    order = np.random.default_rng(seed).permutation(len(sums))
    share = (mass / largest)[order]
    value = ((sums - low * mass) / (largest * (high - low)))[order]
    n, goal = len(value), math.log(2 / (1 - level))
    middle = (0.5 + np.cumsum(value)) / (1 + np.cumsum(share))
    spread = np.full(n, 0.25)
    spread[1:] += np.cumsum((value - middle * share)[:-1] ** 2)
    stake = np.sqrt(2 * goal * np.arange(1, n + 1) / (n * spread))

    def won(mean: float, side: float) -> bool:
        room = mean if side > 0 else 1 - mean
        bet = np.minimum(stake, _LARGEST_BET / max(room, 1e-12))
        return float(np.cumsum(np.log1p(side * bet * (value - mean * share))).max()) >= goal

    estimate = float(value.sum() / share.sum())
    ends = []
    for side, end in ((1.0, 0.0), (-1.0, 1.0)):
        inside, outside = estimate, end
        if not won(end, side):
            inside = end
        for _ in range(_STEPS):
            between = (inside + outside) / 2
            inside, outside = (inside, between) if won(between, side) else (between, outside)
        ends.append(low + (high - low) * inside)
    return ends[0], ends[1]
