"""Policies in Python decide as the engine does, and leave the best constant only for what held-out rows show."""

from __future__ import annotations

import numpy as np
import pytest
from tests.synthetic import fitted_pair, fitted_trio, requests

from tiny_dancer import Router, _core
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
