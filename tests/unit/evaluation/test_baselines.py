"""Baselines by hand and against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from tiny_dancer.errors import DataError
from tiny_dancer.evaluation import baselines
from tiny_dancer.evaluation.pair import choose_pair

from .tables import features_of, informative, make_outcomes

QUALITY = np.array([[1.0, 1, 0], [0, 1, 1], [0, 1, 1], [1, 0, 1]])
COST = np.tile([1.0, 4.0, 2.0], (4, 1))
ONES = np.ones(4)


def test_constants_oracle_and_shuffle_by_hand() -> None:
    assert baselines.best_constant(QUALITY, ONES) == 1  # .75 twice: the first of equals
    assert choose_pair(QUALITY, COST, ONES, 1) == (0, 1)
    assert choose_pair(QUALITY, COST, ONES, 0) is None
    best = baselines.oracle(QUALITY, COST)
    assert best.quality.tolist() == [1, 1, 1, 1] and best.cost.tolist() == [1, 2, 2, 1]
    shuffled = baselines.shuffle(QUALITY, COST, np.array([0, 0, 1, 2]), ONES)
    np.testing.assert_allclose(shuffled.quality, QUALITY @ [0.5, 0.25, 0.25])
    np.testing.assert_allclose(shuffled.cost, 2.0)


def test_the_weak_model_is_the_better_of_equally_cheap_ones() -> None:
    quality = np.array([[0.2, 0.5, 0.9], [0.2, 0.5, 0.9]])
    assert choose_pair(quality, np.tile([0.0, 0.0, 1.0], (2, 1)), np.ones(2), 2) == (1, 2)


def test_shuffle_is_the_mean_over_permutations() -> None:
    rng = np.random.default_rng(0)
    decision = np.array([0, 1, 1, 2])
    means = [baselines.chosen(QUALITY, COST, rng.permutation(decision)).quality.mean() for _ in range(20_000)]
    expected = baselines.shuffle(QUALITY, COST, decision, ONES).quality.mean()
    assert np.mean(means) == pytest.approx(expected, abs=0.005)


def test_mixes_meet_the_cost_on_the_hull() -> None:
    mixes = baselines.ConstantMixes(QUALITY, COST, ONES)
    assert mixes.models == [0, 2]  # model 1 costs more and is no better than model 2
    half = mixes.random(1.5)
    assert half.cost.mean() == pytest.approx(1.5)
    np.testing.assert_allclose(half.quality, QUALITY[:, [0, 2]].mean(axis=1))
    assert mixes.random(99.0).quality.mean() == pytest.approx(0.75)


def test_scores_spend_exactly_the_cost_with_ties_shared() -> None:
    mixes = baselines.ConstantMixes(QUALITY, COST, ONES)
    for target in np.linspace(1, 2, 9):
        assert mixes.by_score(np.array([5.0, 3, 3, 1]), target).cost.mean() == pytest.approx(target)
    split = mixes.by_score(np.array([5.0, 3, 3, 1]), 1.5)
    np.testing.assert_allclose(split.cost, [2, 1.5, 1.5, 1])
    np.testing.assert_allclose(mixes.by_score(np.zeros(4), 1.3).quality, mixes.random(1.3).quality)


def test_sweep_runs_from_the_cheapest_to_the_best_and_beats_chance_when_it_knows() -> None:
    forecast, quality, _ = informative(3000, 1, models=3)
    cost = np.tile([1.0, 2.0, 8.0], (3000, 1))
    weight = np.ones(3000)
    sweep = baselines.CostSweep(forecast, cost, quality, cost, weight)
    assert sweep.mean_cost[0] == 1.0 and sweep.mean_cost[-1] == pytest.approx(8.0)
    mixes = baselines.ConstantMixes(quality, cost, weight)
    for target in (2.0, 4.0, 6.0):
        rows = sweep.at(target)
        assert rows.cost.mean() == pytest.approx(target)
        assert rows.quality.mean() > mixes.random(target).quality.mean() + 0.005


def test_sweep_of_a_pair_is_every_threshold() -> None:
    forecast, quality, _ = informative(400, 2)
    forecast[:, 0] += 0.2  # so that plain argmax never spends much
    cost = np.tile([0.0, 1.0], (400, 1))
    sweep = baselines.CostSweep(forecast, cost, quality, cost, np.ones(400))
    for target in (0.1, 0.5, 0.9):
        count = round(target * 400)
        top = np.argsort(-(forecast[:, 1] - forecast[:, 0]))[:count]
        expected = quality[:, 0].copy()
        expected[top] = quality[top, 1]
        assert sweep.at(target).quality.mean() == pytest.approx(expected.mean(), abs=0.006)


def test_tfidf_learns_words_out_of_fold_only() -> None:
    rng = np.random.default_rng(3)
    hard = rng.random(600) < 0.5
    prompts = tuple(f"{'integral' if h else 'capital'} w{rng.integers(50)} w{rng.integers(50)}" for h in hard)
    target = np.stack([hard.astype(float), rng.random(600)], axis=1)
    target[:30, 0] = np.nan
    folds = np.arange(600) % 4
    found = baselines.tfidf_ridge(features_of(prompts), target, folds)
    assert np.corrcoef(found[:, 0], hard)[0, 1] > 0.95
    assert abs(np.corrcoef(found[:, 1], target[:, 1])[0, 1]) < 0.15
    # What a row says about itself never reaches its own prediction.
    changed = target.copy()
    changed[folds == 1] = 1 - changed[folds == 1]
    again = baselines.tfidf_ridge(features_of(prompts), changed, folds)
    np.testing.assert_allclose(again[folds == 1], found[folds == 1], atol=1e-9)
    with pytest.raises(DataError, match="folds"):
        baselines.tfidf_ridge(features_of(prompts), target, np.zeros(600, dtype=np.int64))


def test_missing_costs_are_filled_and_said() -> None:
    cost = np.array([[0.1, np.nan, np.nan], [0.3, 0.5, np.nan]])
    table = baselines.cost_table(make_outcomes(np.ones((2, 3)), cost=cost), None, 0)
    np.testing.assert_allclose(table.cost, [[0.1, 0.5, 0.5], [0.3, 0.5, 0.5]])
    assert table.unit == "USD" and any("c" in note and "dearest" in note for note in table.notes)
    calls = baselines.cost_table(make_outcomes(np.ones((2, 3))), None, 2)
    assert calls.unit == "calls of c" and calls.cost.sum(axis=0).tolist() == [0, 0, 2]
    with pytest.raises(DataError, match="cost"):
        baselines.cost_table(make_outcomes(np.ones((2, 2)), cost=np.full((2, 2), np.nan)), None, 0)
