"""Paired bootstrap: against theory, by group, and in time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.evaluation import bootstrap
from tiny_dancer.evaluation.bootstrap import (
    Bootstrap,
    Interval,
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


def test_intervals_are_percentiles_and_differences_are_taken_draw_by_draw() -> None:
    draws = np.stack([np.linspace(0, 1, 1001), np.linspace(0, 1, 1001) ** 2], axis=1)
    found = Bootstrap(np.array([0.5, 0.2]), np.random.default_rng(0).permutation(draws), 2)
    assert found.interval(0) == Interval(0.5, pytest.approx(0.025), pytest.approx(0.975))
    assert found.interval(1, level=0.8) == Interval(0.2, pytest.approx(0.01), pytest.approx(0.81))
    gap = found.interval(0, minus=1, level=0.5)
    assert gap.estimate == pytest.approx(0.3)
    differences = draws[:, 0] - draws[:, 1]
    assert (gap.low, gap.high) == pytest.approx(tuple(np.quantile(differences, (0.25, 0.75))))


def test_undefined_draws_are_left_out_up_to_one_in_forty() -> None:
    draws = np.linspace(0, 1, 40)[:, None]
    draws[0] = np.nan
    found = Bootstrap(np.array([0.5]), draws, 2)
    low, high = np.quantile(draws[1:, 0], (0.025, 0.975))
    assert found.interval(0) == Interval(0.5, pytest.approx(low), pytest.approx(high))
    draws[1] = np.inf
    more = Bootstrap(np.array([0.5]), draws, 2).interval(0)
    assert more.estimate == 0.5
    assert np.isnan(more.low)
    assert np.isnan(more.high)
    assert np.isnan(Bootstrap(np.array([0.5]), np.ones((40, 1)), 1).interval(0).low), "one unit has no spread"


def test_rounding_is_no_evidence() -> None:
    assert Interval(0.1, 2e-9, 0.2).above_zero
    assert not Interval(0.1, 5e-10, 0.2).above_zero
    assert Interval(-0.1, -0.2, -2e-9).below_zero
    assert not Interval(-0.1, -0.2, -5e-10).below_zero
    assert not Interval(0.0, -0.1, 0.1).below_zero


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 2**16))
def test_whole_groups_are_drawn_as_many_as_there_are(rows: int, names: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    group, weight = rng.integers(0, names, rows) * 10 - 5, rng.uniform(0.5, 2, rows)
    found = np.concatenate(list(resampled_weights(rows, weight=weight, group=group, replicates=9, seed=seed)))
    assert found.shape == (9, rows)
    times = found / weight
    numbers = [np.flatnonzero(group == each)[0] for each in np.unique(group)]
    assert times[:, numbers].sum(axis=1) == pytest.approx(np.full(9, len(numbers)))
    for first, each in zip(numbers, np.unique(group), strict=True):
        assert times[:, group == each] == pytest.approx(
            np.repeat(times[:, [first]], (group == each).sum(), axis=1)
        )


def test_draws_come_in_blocks_that_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "CHUNK_ELEMENTS", 100)
    blocks = list(resampled_weights(30, weight=None, group=None, replicates=10, seed=1))
    assert [len(block) for block in blocks] == [3, 3, 3, 1]
    assert (np.concatenate(blocks).sum(axis=1) == 30).all()
    assert len({row.tobytes() for row in np.concatenate(blocks)}) == 10, "no draw comes twice"
    few = list(resampled_weights(900, weight=None, group=np.zeros(900, np.int64), replicates=2, seed=1))
    assert [len(block) for block in few] == [1, 1], "one at a time where not even one fits"


def test_weights_count_in_the_estimate_and_groups_are_the_units() -> None:
    values = np.array([[1.0], [0.0], [0.5]])
    weight = np.array([1.0, 2.0, 1.0])
    found = paired_bootstrap(mean_statistics(values), 3, weight=weight, group=np.array([4, 4, 9]), replicates=50)
    assert found.estimate == pytest.approx([0.375])
    assert found.units == 2
    assert found.replicates.shape == (50, 1)
    # One group alone, the other alone, or both.
    assert {round(float(each), 6) for each in found.replicates[:, 0]} == {0.333333, 0.375, 0.5}
    assert paired_bootstrap(mean_statistics(values), 3, replicates=1).units == 3
    difference = paired_difference(
        values[:, 0], np.zeros(3), weight=weight, group=np.array([4, 4, 9]), replicates=50
    )
    assert difference == found.interval(0)
    with pytest.raises(DataError, match="weight"):
        paired_bootstrap(mean_statistics(values), 3, weight=np.ones(2))


def test_one_row_has_an_estimate_and_no_interval() -> None:
    found = paired_difference(np.array([0.75]), np.array([0.5]), replicates=3)
    assert found.estimate == 0.25
    assert np.isnan(found.high)
