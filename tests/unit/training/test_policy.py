"""Policies in Python decide as the engine does, and leave the best constant only for what held-out rows show."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from tests.synthetic import fitted_pair, fitted_trio, requests

from tiny_dancer import Router, _core
from tiny_dancer.errors import OptionError
from tiny_dancer.routing import featurise
from tiny_dancer.training.policy import (
    TOLERANCE,
    Estimate,
    Gain,
    HeldOut,
    Policy,
    best_constant,
    choose_policies,
    policies_of,
    policy_of,
    policy_path,
)

FEATURES = featurise(requests(300, 55)[0])
CLEARANCES = [(True, True, True), (False, True, True), (True, False, True), (False, False, True)]


def engine_choice(artifact: bytes, policy: Policy) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Choices, scores and costs of the engine under a policy put into an artifact's header."""
    header = _core.read_header(artifact)
    for model, cleared in zip(header["models"], policy.cleared, strict=True):
        model["cleared"] = cleared
    changed = {
        "policy": policy.header(),
        "best_constant": policy.best_constant,
        "guard_margin": policy.guard_margin,
        "self_check": [],
    }
    batch = Router(_core.with_header(artifact, {**header, **changed})).route_features(FEATURES)
    return batch.choice, batch.scores.astype(np.float64), batch.costs


def agree(artifact: bytes, policy: Policy) -> np.ndarray:
    choice, quality, cost = engine_choice(artifact, policy)
    known = cost if np.isfinite(cost).any() else None
    assert policy.decide(quality, known).tolist() == choice.tolist()
    return choice


def test_thresholds_decide_as_the_engine_does() -> None:
    artifact = fitted_pair().artifact
    scores = Router(artifact).route_features(FEATURES).scores.astype(np.float64)
    gain = scores[:, 1] - scores[:, 0]
    shares = []
    for level in (-1.0, *np.quantile(gain, [0.0, 0.1, 0.5, 0.9, 1.0]), gain[17], 2.0):  # gains themselves are ties
        choice = agree(artifact, Policy("threshold", 1, float(level), "calls", (True, True)))
        shares.append(choice.mean())
    assert shares[0] == 1
    assert shares[-1] == 0
    agree(artifact, Policy("threshold", 0, 0.1, "calls", (True, True)))


@pytest.mark.parametrize("best", [0, 1, 2])
@pytest.mark.parametrize("unit", ["usd", "calls"])
@pytest.mark.parametrize("level", [0.0, 0.05, 0.4, 30.0, 300.0, 1e6])
def test_cost_weights_decide_as_the_engine_does(best: int, unit: str, level: float) -> None:
    artifact = fitted_trio().artifact
    for cleared in CLEARANCES:
        for margin in (0.0, 0.1):
            agree(artifact, Policy("cost_weight", best, level, unit, cleared, margin))  # type: ignore[arg-type]


def test_constants_decide_as_the_engine_does() -> None:
    for best in range(3):
        choice = agree(fitted_trio().artifact, Policy("constant", best, 0.0, "calls", (True, True, True)))
        assert (choice == best).all()


def test_uncleared_models_are_left_alone() -> None:
    free = agree(fitted_trio().artifact, Policy("cost_weight", 2, 300.0, "usd", (True, True, True)))
    assert set(free.tolist()) >= {0, 1}
    barred = agree(fitted_trio().artifact, Policy("cost_weight", 2, 300.0, "usd", (False, True, True)))
    assert 0 not in barred


def test_of_equal_values_the_cheaper_is_chosen_then_the_first() -> None:
    quality = np.array([[0.5, 0.5, 0.5], [0.2, 0.7, 0.7], [0.9, 0.9, 0.1]])
    cost = np.array([[3.0, 2.0, 2.0], [1.0, 5.0, 4.0], [1.0, 1.0, 0.0]])
    policy = Policy("cost_weight", 2, 0.0, "usd", (True, True, True), -1.0)
    assert policy.decide(quality, cost).tolist() == [1, 2, 0]
    assert policy.decide(quality, None).tolist() == [0, 1, 0]


def test_ties_between_models_go_the_engines_way() -> None:
    """Flat calibration maps make exact ties: here by an artifact whose models expect the same."""
    header = _core.read_header(fitted_trio().artifact)
    for model in header["models"]:
        model["cleared"] = True
    agree(fitted_trio().artifact, Policy("cost_weight", 0, 0.0, "usd", (True, True, True)))


def test_the_policy_in_force_is_read_back_from_the_header() -> None:
    for fitted in (fitted_pair(), fitted_trio()):
        header = _core.read_header(fitted.artifact)
        assert policy_of(header) == fitted.policy
        path = policies_of(header)
        assert len(path) > 5
        batch = Router(fitted.artifact).route_features(FEATURES)
        known = batch.costs if np.isfinite(batch.costs).any() else None
        assert policy_of(header).decide(batch.scores.astype(float), known).tolist() == batch.choice.tolist()


def test_the_path_runs_from_safest_to_cheapest() -> None:
    generator = np.random.default_rng(0)
    quality = generator.random((200, 2))
    held_out = HeldOut(quality, None, quality, None, np.ones(200))
    path = policy_path(held_out, 1)
    shares = [float((policy.decide(quality, None) == 1).mean()) for policy in path]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(0.98, abs=0.011)
    assert shares[-1] == 0
    three = generator.random((200, 3))
    cost = np.tile([1e-4, 1e-3, 1e-2], (200, 1))
    path = policy_path(HeldOut(three, cost, three, cost, np.ones(200)), 2)
    spent = [float(cost[np.arange(200), policy.decide(three, cost)].mean()) for policy in path]
    assert spent == sorted(spent, reverse=True)
    assert policy_path(HeldOut(quality[:, :1], None, quality[:, :1], None, np.ones(200)), 0) == []


def test_a_gain_is_the_mean_of_what_was_observed_and_expected_with_units_as_evidence() -> None:
    generator = np.random.default_rng(3)
    actual, expected = generator.normal(0.1, 0.5, 400), generator.normal(0.02, 0.1, 400)
    weight = np.ones(400)
    found = Gain(actual, expected, weight, np.arange(400)).estimate()
    assert found.observed == pytest.approx(actual.mean())
    assert found.gain == pytest.approx((actual.mean() + expected.mean()) / 2)
    assert found.error == pytest.approx(np.hypot(actual.std(ddof=1) / 20, 1 / 400) / 2, rel=1e-3)
    # Ten copies of each row are no more evidence than the row.
    copies = Gain(np.tile(actual, 10), np.tile(expected, 10), np.ones(4000), np.tile(np.arange(400), 10))
    same = pytest.approx((found.gain, found.error, found.observed))
    assert astuple(copies.estimate()) == same
    # What was not observed of either has no say, nor have weights a scale.
    holed = Gain(np.append(actual, np.nan), np.append(expected, np.nan), np.full(401, 3.0), np.arange(401))
    assert astuple(holed.estimate()) == same
    assert Gain(actual[:1], expected[:1], weight[:1], np.zeros(1, np.int64)).estimate() == Estimate(
        0.0, np.inf, 0.0
    )


def test_a_gain_is_shown_by_both_measures_and_by_outcomes_alone() -> None:
    assert Estimate(0.0165, 0.01, 0.033).exceeds(0.0)
    assert not Estimate(0.0163, 0.01, 0.033).exceeds(0.0)
    assert not Estimate(0.03, 0.01, 0.0327).exceeds(0.0), "scores may be too sure of themselves"
    assert Estimate(0.0163, 0.01, 0.033).exceeds(-0.001)


def simulated(seed: int, truth: Any, *, rows: int = 500, known: float = 0.0, copies: int = 1) -> HeldOut:
    """Outcomes of models with these chances of success; scores know ``known`` of what differs between rows.

    Scores spread as wide as their noise makes shrunken out-of-fold scores spread; costs fall by thirds to model 0.
    """
    generator = np.random.default_rng(seed)
    m = len(truth)
    skill = generator.normal(0, 0.15, (rows, m))
    chance = np.clip(np.asarray(truth) + known * skill, 0, 1)
    actual = (generator.random((rows, m)) < chance).astype(float)
    noise = generator.normal(0, 0.03, (rows, m))
    expected = np.asarray(truth) + generator.normal(0, 0.015, m) + known * skill + noise
    cost = np.tile(3.0 ** np.arange(m) * 1e-4, (rows, 1))
    held_out = HeldOut(expected, cost, actual, cost, np.ones(rows), np.arange(rows))
    return held_out.rows(np.tile(np.arange(rows), copies)) if copies > 1 else held_out


def true_gap(policy: Policy, truth: Any, seed: int) -> float:
    fresh = simulated(seed + 10_000, truth, rows=2000)
    decision = policy.decide(fresh.quality, fresh.cost)
    return float(np.asarray(truth)[decision].mean() - truth[policy.best_constant])


@pytest.mark.parametrize("copies", [1, 10])
def test_scores_that_know_nothing_leave_the_best_constant_no_oftener_than_chance(copies: int) -> None:
    """Known truth: others are three points worse, and what is expected of single requests is noise.

    The old rule, the cheapest of all that came out even, loses quality on most of these.
    """
    truth = [0.67, 0.67, 0.67, 0.70]
    lost, even = 0, 0
    for seed in range(60):
        rows = simulated(seed, truth, copies=copies)
        path = policy_path(rows, 3)
        lost += true_gap(choose_policies(path, rows, 3).balanced, truth, seed) < -0.002
        gains = [rows.gain(policy.decide(rows.quality, rows.cost), 3).actual.mean() for policy in path]
        lucky = [policy for policy, gain in zip(path, gains, strict=True) if gain >= 0]
        even += bool(lucky) and true_gap(lucky[-1], truth, seed) < -0.002
    assert lost <= 5, "one-sided bounds and a few candidates: at most one in ten"
    assert even >= 20


def test_scores_that_know_something_are_used_and_cost_less() -> None:
    truth = [0.62, 0.66, 0.68, 0.70]
    kinds, cheaper = [], 0
    for seed in range(10):
        rows = simulated(seed, truth, rows=1500, known=1.0)
        found = choose_policies(policy_path(rows, 3), rows, 3)
        spent = [
            rows.mean_cost(policy.decide(rows.quality, rows.cost), 3)
            for policy in (found.cheapest, found.balanced, found.quality)
        ]
        assert spent == sorted(spent)
        kinds.append(found.quality.kind)
        cheaper += spent[1] < 27e-4
        assert found.best.gain > 0.01
    assert kinds == ["cost_weight"] * 10
    assert cheaper == 10


def test_the_cheapest_policy_may_give_up_what_is_stated_and_no_more() -> None:
    """Model 0 is a little worse and far cheaper: it takes as many requests as the tolerance allows."""
    rows, generator = 4000, np.random.default_rng(5)
    cost = np.tile([1e-4, 1e-2], (rows, 1))
    for lost, least, most in ((0.005, 0.9, 1.0), (0.05, 0.3, 0.42), (0.5, 0.02, 0.05)):
        actual = np.full((rows, 2), 0.8)
        actual[:, 0] += generator.normal(-lost, 0.1, rows)
        expected = np.tile([0.8 - lost, 0.8], (rows, 1)) + generator.normal(0, 1e-3, (rows, 2))
        held_out = HeldOut(expected, cost, actual, cost, np.ones(rows))
        decision = choose_policies(policy_path(held_out, 1), held_out, 1).cheapest.decide(expected, cost)
        assert (actual[:, 1] - actual[np.arange(rows), decision]).mean() < TOLERANCE
        assert least <= (decision == 0).mean() <= most, lost


def test_equal_models_are_told_apart_by_cost_where_enough_rows_show_it() -> None:
    for rows, leaves in ((100, False), (2000, True)):
        same = np.full((rows, 2), 0.5)
        cost = np.tile([1e-4, 1e-3], (rows, 1))
        even = HeldOut(np.tile([0.5, 0.5], (rows, 1)), cost, same, cost, np.ones(rows))
        found = choose_policies(policy_path(even, 1), even, 1)
        assert (found.balanced.kind == "threshold") is leaves
    blind = HeldOut(even.quality, None, np.full((rows, 2), np.nan), None, np.ones(rows))
    always = Policy("constant", 1, 0.0, "calls", (True, True))
    nothing = choose_policies(policy_path(blind, 1), blind, 1)
    assert (nothing.quality, nothing.balanced, nothing.cheapest) == (always, always, always)
    assert nothing.units_needed() is None
    assert choose_policies([], even, 1).balanced == always


def test_what_is_not_shown_yet_says_how_many_rows_would() -> None:
    rows = simulated(1, [0.68, 0.69, 0.70], rows=60, known=0.5)
    found = choose_policies(policy_path(rows, 2), rows, 2)
    assert found.balanced.kind == "constant"
    best = found.best
    assert min(best.gain, best.observed) > 0
    short = 1.64 * best.error * max(1 / best.gain, 2 / best.observed)
    assert found.units_needed() == int(np.ceil(60 * short**2)) > 60


def test_without_costs_and_with_more_than_two_models_quality_alone_decides() -> None:
    rows = simulated(2, [0.62, 0.66, 0.68, 0.70], rows=1500, known=1.0)
    free = HeldOut(rows.quality, None, rows.actual_quality, None, rows.weight)
    found = choose_policies(policy_path(free, 3), free, 3)
    assert found.quality == found.balanced == found.cheapest
    assert (found.quality.kind, found.quality.level) == ("cost_weight", 0.0)


def test_the_best_constant_is_the_best_then_the_cheaper_then_the_first() -> None:
    ones = np.ones(2)
    assert best_constant(np.array([[0.1, 0.9], [0.2, 0.8]]), None, ones) == 1
    assert best_constant(np.array([[0.5, 0.5], [0.5, 0.5]]), None, ones) == 0
    assert best_constant(np.full((2, 2), 0.5), np.array([[2.0, 1.0], [2.0, np.nan]]), ones) == 1
    assert best_constant(np.full((2, 2), 0.5), np.array([[np.nan, 9.0], [np.nan, 9.0]]), ones) == 1
    assert best_constant(np.array([[np.nan, 0.1], [0.2, np.nan]]), None, ones) == 0
    assert best_constant(np.array([[1.0, 0.0], [0.0, 0.6]]), None, np.array([1.0, 9.0])) == 1


def test_held_out_means_by_hand() -> None:
    actual = np.array([[1.0, 0.0], [0.2, 0.7], [np.nan, 1.0], [0.5, np.nan]])
    spent = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0], [4.0, 8.0]])
    weight = np.array([1.0, 2.0, 3.0, 4.0])
    rows = HeldOut(actual, spent, actual, spent, weight)
    decision = np.array([0, 1, 0, 0])
    gained = rows.gain(decision, 1).actual
    assert gained.tolist()[:2] == [1.0, 0.0]
    assert np.isnan(gained[2:]).all()
    assert rows.mean_cost(decision, 1) == pytest.approx((1 * 1 + 2 * 6 + 3 * 3 + 4 * 4) / 10)
    calls = HeldOut(actual, None, actual, None, weight)
    assert calls.mean_cost(decision, 1) == pytest.approx(0.2), "the one call of model 1 has 2 of 10 in weight"
    some = rows.rows(np.array([True, False, False, True]))
    assert some.actual_cost is not None
    assert some.actual_cost.tolist() == [[1.0, 5.0], [4.0, 8.0]]
    assert some.weight.tolist() == [1.0, 4.0]
    assert calls.rows(decision == 0).cost is None
    assert calls.rows(decision == 0).actual_cost is None


def test_thresholds_of_the_path_call_the_best_for_two_per_cent_less_at_each_step() -> None:
    gain = np.random.default_rng(3).permutation(np.linspace(-0.5, 0.5, 1001))
    for best in (0, 1):
        quality = np.full((1001, 2), 0.4)
        quality[:, best] += gain
        path = policy_path(HeldOut(quality, None, quality, None, np.ones(1001)), best)
        shares = [float((policy.decide(quality, None) == best).mean()) for policy in path]
        assert shares == pytest.approx(np.linspace(0.98, 0.0, 50), abs=2e-3)
        assert path[-1].level == pytest.approx(0.501)
        assert all(policy.kind == "threshold" and policy.best_constant == best for policy in path)
        assert all(policy.unit == "calls" and policy.cleared == (True, True) for policy in path)


def test_cost_weights_of_the_path_reach_from_quality_alone_to_cost_alone() -> None:
    generator = np.random.default_rng(4)
    quality = generator.random((100, 3))
    cost = generator.uniform(0.5, 1.5, (100, 3)) * [1e-3, np.nan, 5e-3]
    spread = cost[:, 2].mean() - cost[:, 0].mean()
    path = policy_path(HeldOut(quality, cost, quality, cost, np.ones(100)), 2)
    levels = np.array([policy.level for policy in path])
    assert levels[0] == 0
    assert levels[[1, -1]] * spread == pytest.approx([1e-3, 3.0])
    assert len(levels) == 51
    assert np.ptp(np.diff(np.log(levels[1:]))) < 1e-9, "equal steps in proportion"
    assert {policy.cleared for policy in path} == {(True, False, True)}, "what has no price is barred"
    assert {(policy.kind, policy.unit, policy.guard_margin) for policy in path} == {("cost_weight", "usd", 0.0)}
    unpriced = policy_path(HeldOut(quality, None, quality, None, np.ones(100)), 2)
    assert [policy.level for policy in unpriced] == [0.0], "without costs quality alone decides"
    assert {policy.cleared for policy in unpriced} == {(True, True, True)}
    same = np.full((100, 3), 1e-3)
    assert [policy.level for policy in policy_path(HeldOut(quality, same, quality, same, np.ones(100)), 2)] == [
        0.0
    ]


def test_paths_and_policies_read_from_headers() -> None:
    models = [
        {"cost": None, "cleared": False},
        {"cost": [1, 1, 1], "cleared": True},
        {"cost": None, "cleared": True},
    ]
    header = {"models": models, "best_constant": 1, "guard_margin": 0.25, "policy_path": [0.0, 2.0]}
    cleared = (False, True, True)
    assert policies_of(header) == [Policy("cost_weight", 1, level, "usd", cleared, 0.25) for level in (0.0, 2.0)]
    unpriced = policies_of({**header, "best_constant": 2})
    assert unpriced == [Policy("cost_weight", 2, level, "calls", cleared, 0.25) for level in (0.0, 2.0)]
    pair = {**header, "models": models[:2], "best_constant": 0, "policy_path": [-0.1, 0.4]}
    assert policies_of(pair) == [Policy("threshold", 0, level, "calls", cleared[:2]) for level in (-0.1, 0.4)]
    assert policies_of({"models": models, "best_constant": 1}) == []
    for policy, best in (
        (Policy("constant", 2, 0.0, "calls", cleared), 2),
        (Policy("cost_weight", 1, 7.0, "usd", cleared, 0.25), 1),
        (Policy("cost_weight", 1, 7.0, "calls", cleared, 0.25), 1),
    ):
        assert policy_of({**header, "best_constant": best, "policy": policy.header()}) == policy
    for best in (0, 1):
        policy = Policy("threshold", best, 0.3, "calls", cleared[:2])
        assert policy.header() == {"kind": "threshold", "weak": 1 - best, "strong": best, "threshold": 0.3}
        assert policy_of({**pair, "policy": policy.header()}) == policy


def test_a_policy_in_usd_asks_for_costs() -> None:
    policy = Policy("cost_weight", 2, 1.0, "usd", (True, True, True))
    with pytest.raises(OptionError, match="costs where the policy weighs them"):
        policy.decide(np.ones((1, 3)), None)


def test_the_best_constant_is_the_best_over_all_rows_and_its_price_a_mean_over_known_ones() -> None:
    level = np.full((3, 2), 0.5)
    cost = np.array([[1.0, 3.0], [np.nan, 0.5], [4.0, 0.5]])
    assert best_constant(level, cost, np.ones(3)) == 1, "1.33 against 2.5"
    assert best_constant(np.full((2, 2), 0.0), None, np.ones(2)) == 0
    assert best_constant(np.array([[np.nan, 0.0], [np.nan, 0.0]]), None, np.ones(2)) == 1, "never observed is no 0"
