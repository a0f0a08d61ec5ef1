"""Paired bootstrap: against theory, by group, and in time."""

from __future__ import annotations

import numpy as np
import pytest

from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.evaluation.bootstrap import (
    mean_statistics,
    paired_bootstrap,
    paired_difference,
    resampled_weights,
)
from tiny_dancer.evaluation.metrics import PairScorer


def test_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(0.3, 1.0, size=2000)
    interval = paired_difference(values, np.zeros(2000), replicates=4000)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert interval.estimate == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, rel=0.05)
    assert interval.high == pytest.approx(values.mean() + half, rel=0.05)
    assert interval.above_zero and not interval.below_zero


def test_intervals_cover() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(200):
        values = (rng.random(300) < 0.2).astype(float)
        interval = paired_difference(values, np.zeros(300), replicates=300, seed=seed)
        hits += interval.low <= 0.2 <= interval.high
    assert 180 <= hits <= 199  # 95 % of 200, four standard errors either side


def test_copied_rows_in_groups_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(2).normal(size=400)
    alone = paired_difference(values, np.zeros(400))
    copies = np.repeat(values, 5)
    grouped = paired_difference(copies, np.zeros(2000), group=np.repeat(np.arange(400), 5))
    blind = paired_difference(copies, np.zeros(2000))
    assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low, rel=0.12)
    assert blind.high - blind.low < 0.6 * (grouped.high - grouped.low)


def test_same_seed_same_interval_and_pairing_cancels_what_is_shared() -> None:
    rng = np.random.default_rng(3)
    shared, second = rng.normal(size=500), rng.normal(0, 0.01, size=500)
    first = paired_difference(shared, shared + second, seed=7)
    assert first == paired_difference(shared, shared + second, seed=7)
    assert first != paired_difference(shared, shared + second, seed=8)
    assert first.high - first.low < 0.005


def test_unobserved_values_are_left_out_pairwise() -> None:
    first, second = np.array([1.0, np.nan, 0.5, 1.0]), np.array([0.0, 0.0, np.nan, 0.5])
    assert paired_difference(first, second).estimate == pytest.approx(0.75)
    means = mean_statistics(np.array([[1.0, np.nan], [0.0, 0.5]]))(np.array([[1.0, 3.0]]))
    np.testing.assert_allclose(means, [[0.25, 0.5]])


def test_one_unit_gives_no_interval() -> None:
    interval = paired_difference(np.ones(5), np.zeros(5), group=np.zeros(5, dtype=np.int64))
    assert interval.estimate == 1.0 and np.isnan(interval.low) and not interval.above_zero


def test_weights_are_draws_with_replacement() -> None:
    blocks = list(resampled_weights(50, weight=np.full(50, 2.0), group=None, replicates=40, seed=0))
    weights = np.concatenate(blocks)
    assert weights.shape == (40, 50)
    assert (weights.sum(axis=1) == 100).all() and set(np.unique(weights)) <= {0, 2, 4, 6, 8, 10, 12, 14, 16}


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="group"):
        paired_difference(np.ones(3), np.zeros(3), group=np.zeros(2, dtype=np.int64))
    with pytest.raises(DataError, match="rows"):
        paired_bootstrap(mean_statistics(np.zeros((0, 1))), 0)
    with pytest.raises(OptionError, match="replicates"):
        paired_bootstrap(mean_statistics(np.zeros((2, 1))), 2, replicates=0)


def test_thousand_replicates_of_apgr_differences_in_time() -> None:
    rng = np.random.default_rng(4)
    n = 6000
    weak, strong = (rng.random(n) < 0.7).astype(float), (rng.random(n) < 0.85).astype(float)
    scorers = [PairScorer(rng.normal(size=n) + k * 0.1 * (strong - weak), weak, strong) for k in range(4)]

    def statistics(weights: np.ndarray) -> np.ndarray:
        return np.stack([s.figures(weights).apgr_binned for s in scorers], axis=1)

    boot = paired_bootstrap(statistics, n, group=np.arange(n) // 2)
    assert boot.interval(3, minus=0).estimate == pytest.approx(
        boot.interval(3).estimate - boot.interval(0).estimate
    )
