"""Intervals cover what they promise, for rare events too."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tiny_dancer.evaluation.bootstrap import paired_difference
from tiny_dancer.evaluation.intervals import betting_interval, exact_interval


@pytest.mark.parametrize("n", [50, 100, 400])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_exact_intervals_cover_by_enumeration(n: int, share: float) -> None:
    chance = stats.binom.pmf(np.arange(n + 1), n, share)
    inside = [low <= share <= high for low, high in (exact_interval(k, n) for k in range(n + 1))]
    assert chance[inside].sum() >= 0.95


def test_exact_intervals_by_hand() -> None:
    assert exact_interval(0, 10) == pytest.approx((0, 0.3085), abs=1e-4)
    assert exact_interval(10, 10) == pytest.approx((0.6915, 1), abs=1e-4)
    assert exact_interval(9, 10) == pytest.approx((0.5550, 0.9975), abs=1e-4)


@pytest.mark.parametrize("n", [50, 100, 400])
@pytest.mark.parametrize(
    ("values", "chance"),
    [
        ((0.0, 1.0), (0.99, 0.01)),
        ((0.0, 1.0), (0.95, 0.05)),
        ((0.0, 1.0), (0.5, 0.5)),
        ((-1.0, 0.0, 1.0), (0.02, 0.97, 0.01)),
        ((-1.0, 0.0, 1.0), (0.05, 0.9, 0.05)),
        ((-1.0, -0.3, 0.0, 0.6), (0.01, 0.02, 0.95, 0.02)),
    ],
    ids=["1 %", "5 %", "50 %", "rare differences", "differences", "grades"],
)
def test_intervals_shown_to_users_cover(n: int, values: tuple[float, ...], chance: tuple[float, ...]) -> None:
    rng = np.random.default_rng(n)
    truth, draws, hits = float(np.dot(values, chance)), 120, 0
    bounds = (min(0.0, *values), 1.0)
    for seed in range(draws):
        found = paired_difference(
            rng.choice(values, n, p=chance), np.zeros(n), replicates=200, seed=seed, bounds=bounds
        )
        hits += found.low - 1e-12 <= truth <= found.high + 1e-12
    assert hits >= stats.binom.ppf(0.001, draws, 0.94)


def test_a_percentile_bootstrap_of_rare_events_does_not() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(120):
        found = paired_difference((rng.random(100) < 0.01) * 1.0, np.zeros(100), replicates=200, seed=seed)
        hits += found.low <= 0.01 <= found.high
    assert hits < 0.8 * 120


def test_betting_covers_weighted_groups() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for seed in range(150):
        size = rng.integers(1, 6, 60).astype(float)
        chance = np.where(size > 3, 0.1, 0.02)
        sums = rng.binomial(size.astype(int), chance).astype(float)
        low, high = betting_interval(sums, size, low=0.0, high=1.0, seed=seed)
        hits += low <= 0.1 * 9 / 15 + 0.02 * 6 / 15 <= high  # sizes 4 and 5 have nine rows of fifteen
    assert hits >= 139


def test_betting_intervals_hold_the_mean_and_shrink() -> None:
    widths = []
    for n in (100, 400, 1600):
        values = np.repeat([1.0, 0.0], [n // 50, n - n // 50])
        low, high = betting_interval(values, np.ones(n), low=0.0, high=1.0)
        assert low <= values.mean() <= high
        widths.append(high - low)
    assert widths[0] > 1.5 * widths[1] > 2.5 * widths[2]
    assert betting_interval(np.zeros(200), np.ones(200), low=0.0, high=1.0)[0] == 0.0
    low, high = betting_interval(np.zeros(200), np.ones(200), low=-1.0, high=1.0)
    assert low == pytest.approx(-high) and 0.01 < high < 0.06
