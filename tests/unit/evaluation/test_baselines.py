"""Baselines by hand and against brute force."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.evaluation import baselines
from tiny_dancer.evaluation.pair import choose_pair, pair_scores
from tiny_dancer.evaluation.split import grouped_folds

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
    calls = baselines.cost_table(make_outcomes(np.ones((2, 2))), None, 1)
    assert calls.unit == "calls of b" and calls.cost.sum(axis=0).tolist() == [0, 2]
    assert calls.notes == ("The table has no costs: b, the better, is taken as the dearer one.",)
    alike = baselines.cost_table(make_outcomes(np.ones((2, 3))), None, 2)
    assert alike.unit == "calls" and alike.cost.sum(axis=0).tolist() == [2, 2, 2]
    assert "quality alone decides" in alike.notes[0]
    with pytest.raises(DataError, match="cost"):
        baselines.cost_table(make_outcomes(np.ones((2, 2)), cost=np.full((2, 2), np.nan)), None, 0)


def test_costs_are_filled_by_the_forecast_then_by_the_models_mean() -> None:
    cost = np.array([[0.1, np.nan], [np.nan, 0.5], [0.3, 0.9]])
    forecast = np.array([[9.0, 0.7], [np.nan, 9.0], [9.0, 9.0]])
    table = make_outcomes(np.ones((3, 2)), cost=cost)
    weighted = dataclasses.replace(table, weight=np.array([3.0, 1.0, 1.0]))
    assert baselines.cost_table(weighted, forecast, 0).cost.tolist() == [
        [0.1, 0.7],
        [pytest.approx(0.15), 0.5],
        [0.3, 0.9],
    ]
    found = baselines.cost_table(table, None, 0)
    assert found.notes == ("33.3% of costs are missing and were filled in.",)
    np.testing.assert_allclose(found.cost, [[0.1, 0.7], [0.2, 0.5], [0.3, 0.9]])
    assert baselines.cost_table(make_outcomes(np.ones((1, 2)), cost=np.ones((1, 2))), None, 0).notes == ()
    foretold = make_outcomes(np.ones((2, 2)), cost=np.array([[0.1, np.nan], [0.1, np.nan]]))
    assert baselines.cost_table(foretold, np.full((2, 2), 0.4), 0).cost[:, 1].tolist() == [0.4, 0.4]
    with pytest.raises(DataError, match="no outcome observed"):
        baselines.best_constant(np.full((2, 2), np.nan), np.ones(2))


def test_shuffles_leave_out_what_was_not_observed_and_weigh_the_calls() -> None:
    quality = np.array([[1.0, 0.0, np.nan], [0.5, np.nan, np.nan], [np.nan] * 3])
    found = baselines.shuffle(quality, np.tile([1.0, 2, 4], (3, 1)), np.array([0, 1, 1]), np.array([2.0, 1, 1]))
    np.testing.assert_allclose(found.quality, [0.5, 0.5, np.nan])
    np.testing.assert_allclose(found.cost, 1.5)


def test_a_score_spends_a_budget_as_a_walk_down_the_list_does() -> None:
    """With weights, costs that differ from row to row and ties, against taking one request after the other."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        cost = np.stack([rng.uniform(0.1, 0.2, 12), rng.uniform(0.5, 1.5, 12)], axis=1)
        quality, weight = (
            np.stack([rng.random(12) * 0.5, 0.5 + rng.random(12) * 0.5], axis=1),
            rng.uniform(0.5, 2, 12),
        )
        score = rng.integers(0, 6, 12).astype(float)
        mixes = baselines.ConstantMixes(quality, cost, weight)
        target = float(rng.uniform(mixes.mean_cost[0], mixes.mean_cost[-1]))
        left, expected = (target - np.average(cost[:, 0], weights=weight)) * weight.sum(), np.zeros(12)
        for each in sorted(set(score), reverse=True):
            run = score == each
            price = float((weight * (cost[:, 1] - cost[:, 0]))[run].sum())
            expected[run] = min(1.0, max(0.0, left / price))
            left -= price
        found = mixes.by_score(score, target)
        np.testing.assert_allclose(found.quality, (1 - expected) * quality[:, 0] + expected * quality[:, 1])
        assert np.average(found.cost, weights=weight) == pytest.approx(target)
        assert np.average(mixes.random(target).cost, weights=weight) == pytest.approx(target)
    assert mixes.by_score(score, 99.0).quality.tolist() == quality[:, 1].tolist()
    assert mixes.by_score(score, 0.0).quality.tolist() == quality[:, 0].tolist()
    assert mixes.random(0.0).cost.tolist() == cost[:, 0].tolist()


def test_mixes_take_means_over_what_was_observed_and_skip_who_never_was() -> None:
    quality = np.array([[0.2, np.nan, 0.9], [0.4, np.nan, np.nan]])
    mixes = baselines.ConstantMixes(quality, np.tile([1.0, 1.5, 3.0], (2, 1)), np.array([1.0, 3.0]))
    assert mixes.models == [0, 2]
    assert mixes.mean_quality == pytest.approx([0.35, 0.9])
    all_dear = mixes.random(3.0).quality
    np.testing.assert_array_equal(all_dear, [0.9, np.nan])
    np.testing.assert_array_equal(mixes.random(1.0).quality, [0.2, 0.4])


def test_a_sweep_holds_every_trade_of_quality_for_cost_and_mixes_between() -> None:
    """Three models and two kinds of request, by hand."""
    forecast = np.array([[0.5, 0.6, 0.9], [0.5, 0.5, 0.5]])
    cost = np.tile([1.0, 2.0, 4.0], (2, 1))
    weight = np.array([1.0, 3.0])
    sweep = baselines.CostSweep(forecast, cost, forecast, cost, weight)
    assert sweep.mean_cost[0] == 1.0
    decisions = {tuple(each) for each in sweep.decisions.tolist()}
    assert {(0, 0), (2, 0), (2, 2)} <= decisions
    assert (1, 0) not in decisions, "the line from the first to the last model passes above the second"
    assert sweep.at(1.75).quality.tolist() == [0.9, 0.5]
    half = sweep.at(1.375)
    np.testing.assert_allclose(half.quality, [0.7, 0.5])
    assert np.average(half.cost, weights=weight) == pytest.approx(1.375)
    assert sweep.at(0.0).cost.tolist() == [1.0, 1.0]
    assert sweep.at(99.0).cost.tolist() == [4.0, 4.0]
    spent, reached = sweep.points(weight)
    assert spent.tolist() == sorted(spent.tolist())
    at = spent.tolist().index(1.75)
    assert reached[at] == pytest.approx(0.6)


def test_lengths_are_tokens_else_characters_else_unknown() -> None:
    table = make_outcomes(np.ones((2, 2)), features=features_of(("one two", "three")))
    length = baselines.length_score(table)
    assert length is not None
    assert length.tolist() == [2, 1]
    bare = make_outcomes(np.ones((2, 2)))
    assert baselines.length_score(bare) is None
    texts = baselines.length_score(dataclasses.replace(bare, prompt=("abc", "")))
    assert texts is not None
    assert texts.tolist() == [3, 0]


def test_the_weak_model_is_one_that_was_observed() -> None:
    quality = np.array([[np.nan, 0.5, 0.9], [np.nan, 0.3, 0.9]])
    assert choose_pair(quality, np.tile([0.1, 1.0, 5.0], (2, 1)), np.ones(2), 2) == (1, 2)
    assert choose_pair(np.full((1, 2), 0.5), np.ones((1, 2)), np.ones(1), 1) == (0, 1), "of equals the first"


def test_oracle_scores_of_a_pair_take_unobserved_gains_for_none() -> None:
    quality = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [np.nan, 1.0]])
    found = pair_scores((0, 1), {"router": None, "length": np.arange(4.0)}, quality)
    assert found is not None
    assert list(found.scorers) == ["length", "random", "oracle"]
    oracle = found.scorers["oracle"].curve(None, "exact")
    assert oracle.share.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert oracle.quality.tolist() == pytest.approx([2 / 3, 1, 1, 2 / 3]), "what gains first, what loses last"
    assert found.scorers["random"].curve(None, "exact").share.tolist() == [0, 1]
    assert pair_scores((0, 1), {}, np.array([[0.5, np.nan], [np.nan, 0.5]])) is None


@pytest.mark.parametrize("seed", range(5))
def test_folds_keep_groups_whole_and_differ_by_one_group_at_most(seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 25, 120) * 3 - 9
    folds = grouped_folds(group, 4, seed)
    assert set(folds.tolist()) == {0, 1, 2, 3}
    assert all(len(set(folds[group == each].tolist())) == 1 for each in np.unique(group))
    sizes, largest = np.bincount(folds), np.unique(group, return_counts=True)[1].max()
    assert np.ptp(sizes) <= min(largest, 2), "largest first leaves next to nothing to even out"
    assert (folds == grouped_folds(group, 4, seed)).all()
    assert (folds != grouped_folds(group, 4, seed + 1)).any()
    lopsided = grouped_folds(np.repeat([7, 8, 9, 10, 11], [9, 3, 3, 3, 3]), 2, seed)
    assert sorted(np.bincount(lopsided).tolist()) == [9, 12]
    assert sorted(grouped_folds(np.array([5, 6]), 2, seed).tolist()) == [0, 1]
    with pytest.raises(OptionError, match="at least 2 folds"):
        grouped_folds(group, 1, 0)
    with pytest.raises(DataError, match="2 groups for 3 folds"):
        grouped_folds(np.array([1, 1, 2]), 3, 0)


def test_a_sweep_never_turns_to_a_model_that_is_dearer_and_worse() -> None:
    rng = np.random.default_rng(5)
    forecast = np.stack([rng.random(50) * 0.5, 0.3 + rng.random(50) * 0.5, np.zeros(50)], axis=1)
    cost = np.tile([1.0, 2.0, 4.0], (50, 1))
    sweep = baselines.CostSweep(forecast, cost, forecast, cost, np.ones(50))
    assert set(sweep.decisions.ravel().tolist()) == {0, 1}
    assert (sweep.mean_cost[0], sweep.mean_cost[-1]) == (1.0, 2.0)
