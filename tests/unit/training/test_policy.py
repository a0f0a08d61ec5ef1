"""Policies in Python decide as the engine does, and leave the best constant only for what held-out rows show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.synthetic import fitted_pair, fitted_trio, requests

from tiny_dancer import Router, _core
from tiny_dancer.errors import OptionError
from tiny_dancer.routing import featurise
from tiny_dancer.training.policy import (
    HeldOut,
    Policy,
    best_constant,
    default_policy,
    policies_of,
    policy_of,
    policy_path,
    with_clearance,
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


def test_clearance_needs_evidence() -> None:
    generator = np.random.default_rng(1)
    expected = generator.random((400, 3))
    cost = np.full((400, 3), 1e-3)
    liar = expected.copy()
    liar[:, 0] = 0.0  # promised, never kept
    policy = Policy("cost_weight", 2, 0.0, "usd", (True, True, True))
    cleared = with_clearance(policy, HeldOut(expected, cost, liar, cost, np.ones(400))).cleared
    assert cleared == (False, True, True)
    honest = with_clearance(policy, HeldOut(expected, cost, expected, cost, np.ones(400))).cleared
    assert honest == (True, True, True)
    few = with_clearance(policy, HeldOut(expected[:12], cost[:12], expected[:12], cost[:12], np.ones(12))).cleared
    assert few == (False, False, True), "twelve rows are no evidence"


def test_the_default_policy_never_gives_up_held_out_quality() -> None:
    generator = np.random.default_rng(2)
    for _ in range(5):
        expected = generator.random((150, 3))
        actual = (generator.random((150, 3)) < [0.4, 0.6, 0.7]).astype(float)
        cost = np.tile([1e-4, 1e-3, 1e-2], (150, 1))
        held_out = HeldOut(expected, cost, actual, cost, np.ones(150))
        policy = default_policy(policy_path(held_out, 2), held_out, 2)
        decision = policy.decide(expected, cost)
        assert actual[np.arange(150), decision].mean() >= actual[:, 2].mean() - 1e-12
        assert cost[np.arange(150), decision].mean() <= cost[:, 2].mean() + 1e-12


def test_the_best_constant_is_the_best_then_the_cheaper_then_the_first() -> None:
    ones = np.ones(2)
    assert best_constant(np.array([[0.1, 0.9], [0.2, 0.8]]), None, ones) == 1
    assert best_constant(np.array([[0.5, 0.5], [0.5, 0.5]]), None, ones) == 0
    assert best_constant(np.full((2, 2), 0.5), np.array([[2.0, 1.0], [2.0, np.nan]]), ones) == 1
    assert best_constant(np.full((2, 2), 0.5), np.array([[np.nan, 9.0], [np.nan, 9.0]]), ones) == 1
    assert best_constant(np.array([[np.nan, 0.1], [0.2, np.nan]]), None, ones) == 0
    assert best_constant(np.array([[1.0, 0.0], [0.0, 0.6]]), None, np.array([1.0, 9.0])) == 1


def evidence(gains: list[float], *, levels: tuple[float, ...] = (0.9, 0.1, 0.5), weight: Any = None) -> HeldOut:
    """Rows on which model 0 is expected to be the best, and really gains this much over model 2."""
    n = len(gains)
    actual = np.stack([0.5 + np.array(gains), np.zeros(n), np.full(n, 0.5)], axis=1)
    weights = np.ones(n) if weight is None else np.asarray(weight, float)
    return HeldOut(np.tile(levels, (n, 1)), None, actual, None, weights)


BY_QUALITY = Policy("cost_weight", 2, 0.0, "usd", (True, True, True))


def test_a_gain_within_one_standard_error_is_no_evidence() -> None:
    """Of 100 coin tosses the standard error is .0996 at 54 to 46 and .0995 at 55 to 45."""
    for won, cleared in ((60, True), (55, True), (54, False), (51, False), (40, False)):
        gains = [1.0] * won + [-1.0] * (100 - won)
        assert with_clearance(BY_QUALITY, evidence(gains)).cleared[0] is cleared, won
    assert with_clearance(BY_QUALITY, evidence([0.0] * 20)).cleared[0], (
        "as good in every single row is good enough"
    )


def test_rows_that_weigh_next_to_nothing_are_no_evidence() -> None:
    close = [1.0] * 54 + [-1.0] * 46
    assert not with_clearance(BY_QUALITY, evidence(close, weight=np.full(100, 7.0))).cleared[0]
    assert with_clearance(BY_QUALITY, evidence(close * 2 + [1.0] * 8)).cleared[0], "more of it would be"
    light = [1.0] * 100 + [1e-9] * 900
    assert not with_clearance(BY_QUALITY, evidence(close + [0.5] * 900, weight=light)).cleared[0]
    # The losses count nine times each: 46 · 9 lost against 54 won.
    assert not with_clearance(
        BY_QUALITY, evidence([1.0] * 80 + [-1.0] * 20, weight=[1.0] * 80 + [9.0] * 20)
    ).cleared[0]
    # A mean over few heavy rows is uncertain, however many light ones there are.
    heavy = [1.0, -1.0, 1.0, *[0.0] * 97]
    assert with_clearance(BY_QUALITY, evidence(heavy)).cleared[0] is False
    assert not with_clearance(BY_QUALITY, evidence(heavy, weight=[100.0] * 3 + [1.0] * 97)).cleared[0]


def test_ten_observed_rows_are_the_fewest_that_count() -> None:
    for rows, cleared in ((9, False), (10, True)):
        assert with_clearance(BY_QUALITY, evidence([0.1] * rows)).cleared[0] is cleared
        unseen = [*[0.1] * rows, np.nan, np.nan]
        assert with_clearance(BY_QUALITY, evidence(unseen)).cleared[0] is cleared


def test_a_saving_pays_for_quality_at_the_policys_rate() -> None:
    lost = [-0.05] * 20
    for level, cleared in ((0.04, False), (0.06, True)):
        calls = Policy("cost_weight", 2, level, "calls", (True, True, True))
        assert with_clearance(calls, evidence(lost)).cleared[0] is cleared
    cost = np.tile([1e-3, 2e-3, 3e-3], (20, 1))
    for level, cleared in ((20.0, False), (30.0, True)):  # 2e-3 USD saved are worth .04 or .06
        rows = evidence(lost)
        priced = HeldOut(rows.quality, cost, rows.actual_quality, cost, rows.weight)
        usd = Policy("cost_weight", 2, level, "usd", (True, True, True))
        assert with_clearance(usd, priced).cleared[0] is cleared


def test_rows_of_a_model_that_falls_are_laid_to_its_successors_account() -> None:
    """Model 1 serves its own 20 rows well, but not the 100 it inherits when model 0 has to go."""
    expected = np.array([[0.9, 0.8, 0.5]] * 100 + [[0.1, 0.9, 0.5]] * 20)
    actual = np.array([[0.0, 0.0, 0.5]] * 100 + [[0.0, 1.0, 0.0]] * 20)
    rows = HeldOut(expected, None, actual, None, np.ones(120))
    assert with_clearance(BY_QUALITY, rows).cleared == (False, False, True)
    better = np.where(np.arange(120)[:, None] < 100, [0.0, 0.6, 0.5], actual)
    assert with_clearance(BY_QUALITY, HeldOut(expected, None, better, None, np.ones(120))).cleared == (
        False,
        True,
        True,
    )


def test_clearance_is_about_cost_weights_alone() -> None:
    rows = evidence([-1.0] * 50)
    for policy in (
        Policy("constant", 0, 0.0, "calls", (True,) * 3),
        Policy("threshold", 1, 0.1, "calls", (True,) * 2),
    ):
        assert with_clearance(policy, rows) is policy


def test_held_out_means_by_hand() -> None:
    actual = np.array([[1.0, 0.0], [0.2, 0.7], [np.nan, 1.0], [0.5, np.nan]])
    spent = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0], [4.0, 8.0]])
    weight = np.array([1.0, 2.0, 3.0, 4.0])
    rows = HeldOut(actual, spent, actual, spent, weight)
    decision = np.array([0, 1, 0, 0])
    gained, counted = rows.quality_gained(decision, 1)
    assert gained.tolist() == [1.0, 0.0]
    assert counted.tolist() == [1.0, 2.0]
    assert rows.mean_cost(decision, 1) == pytest.approx((1 * 1 + 2 * 6 + 3 * 3 + 4 * 4) / 10)
    calls = HeldOut(actual, None, actual, None, weight)
    assert calls.mean_cost(decision, 1) == pytest.approx(0.2), "the one call of model 1 has 2 of 10 in weight"
    some = rows.rows(np.array([True, False, False, True]))
    assert some.actual_cost is not None
    assert some.actual_cost.tolist() == [[1.0, 5.0], [4.0, 8.0]]
    assert some.weight.tolist() == [1.0, 4.0]
    assert calls.rows(decision == 0).cost is None
    assert calls.rows(decision == 0).actual_cost is None


@pytest.mark.parametrize("priced", [True, False])
@pytest.mark.parametrize("models", [2, 3])
def test_the_default_is_the_cheapest_that_gives_nothing_up(models: int, priced: bool) -> None:
    """Against a search by hand through the whole path, on tables where a router knows a little."""
    routed = 0
    for seed in range(8):
        generator = np.random.default_rng(seed)
        chance = np.linspace(0.55, 0.65, models) + generator.uniform(-0.3, 0.3, (120, models))
        actual = (generator.random((120, models)) < chance).astype(float)
        actual[generator.random((120, models)) < 0.1] = np.nan
        expected = chance + generator.normal(0, 0.1, (120, models))
        weight = generator.integers(1, 4, 120).astype(float)
        cost = generator.uniform(0.5, 1.5, (120, models)) * np.geomspace(1e-4, 1e-2, models)
        best = models - 1
        rows = HeldOut(expected, cost if priced else None, actual, cost if priced else None, weight)
        path = policy_path(rows, best)[::4]
        spent = cost if priced else np.tile(np.arange(models) == best, (120, 1)).astype(float)
        least, wanted = float((weight * spent[:, best]).sum()), np.full(120, best)
        for policy in path:
            decision = with_clearance(policy, rows).decide(expected, rows.cost)
            paid = float((weight * spent[np.arange(120), decision]).sum())
            quality = float(np.nansum(weight * (actual[np.arange(120), decision] - actual[:, best])))
            if quality >= -1e-12 and paid < least - 1e-12:
                least, wanted = paid, decision
        found = default_policy(path, rows, best).decide(expected, rows.cost)
        assert found.tolist() == wanted.tolist(), seed
        routed += bool((wanted != best).any())
    assert routed >= 3, "it is not always the constant"


def test_a_policy_that_comes_out_exactly_even_is_taken_and_one_that_saves_nothing_is_not() -> None:
    even = HeldOut(np.tile([0.9, 0.5], (20, 1)), None, np.full((20, 2), 0.5), None, np.ones(20))
    assert default_policy(policy_path(even, 1), even, 1).kind == "threshold"
    worse = HeldOut(even.quality, None, np.tile([0.4, 0.5], (20, 1)), None, np.ones(20))
    assert default_policy(policy_path(worse, 1), worse, 1) == Policy("constant", 1, 0.0, "calls", (True, True))
    cost = np.full((20, 2), 1e-3)
    dear = HeldOut(even.quality, cost, even.actual_quality, cost, np.ones(20))
    assert default_policy(policy_path(dear, 1), dear, 1).kind == "constant", "it costs the same"
    blind = HeldOut(even.quality, None, np.full((20, 2), np.nan), None, np.ones(20))
    assert default_policy(policy_path(blind, 1), blind, 1).kind == "constant", "nothing was observed"
    assert default_policy([], even, 0) == Policy("constant", 0, 0.0, "calls", (True, True))


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
