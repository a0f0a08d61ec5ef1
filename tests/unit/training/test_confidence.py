"""Confidence comes true for every policy, and agrees with the prediction set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.synthetic import fitted_pair, fitted_trio, pair, requests, trio

from tiny_dancer import DecisionBatch, Outcomes, Router, _core, calibrate
from tiny_dancer.training.calibrate import dial_cost_cut, dial_share
from tiny_dancer.training.confidence import fit_confidence, refitted
from tiny_dancer.training.heads import MonotoneMap

TEXTS = requests(600, 101)[0]


def best(table: Outcomes, choice: np.ndarray) -> np.ndarray:
    """Whether no other model scored higher than the one chosen."""
    return table.quality[np.arange(len(table)), choice] >= table.quality.max(1)


def error(batch: DecisionBatch, table: Outcomes) -> float:
    """Expected calibration error in five bins of equal size."""
    order = np.argsort(batch.confidence, kind="stable")
    right = best(table, batch.choice)
    parts = np.array_split(order, 5)
    return float(np.mean([abs(batch.confidence[rows].mean() - right[rows].mean()) for rows in parts]))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"threshold": -0.5},
        {"threshold": 0.3},
        {"threshold": 0.7},
        {"pin": "weak"},
        {"pin": "strong"},
        {"policy": "quality"},
        {"policy": "cost"},
    ],
)
def test_it_comes_true_for_two_models_under_every_policy(options: dict[str, object]) -> None:
    table = pair(600, 101)
    batch = Router(fitted_pair().artifact).route_batch(list(TEXTS), **options)  # type: ignore[arg-type]
    assert error(batch, table) < 0.08


@pytest.mark.parametrize(
    "options", [{}, {"cost_weight": 0.0}, {"cost_weight": 5.0}, {"pin": "cheap"}, {"pin": "middling"}]
)
def test_it_comes_true_for_three_models_under_every_policy(options: dict[str, object]) -> None:
    """Best among all of them, not only against the runner-up."""
    table = trio(600, 101)
    batch = Router(fitted_trio().artifact).route_batch(list(TEXTS), **options)  # type: ignore[arg-type]
    assert error(batch, table) < 0.09


def test_a_model_outside_the_prediction_set_is_hardly_ever_the_best() -> None:
    for fitted, names in ((fitted_pair(), ("weak", "strong")), (fitted_trio(), ("cheap", "middling", "dear"))):
        router = Router(fitted.artifact)
        least = 1 - router.header["set_coverage"]
        for name in names:
            batch = router.route_batch(list(TEXTS), pin=name)
            member = batch.prediction_set[np.arange(len(batch)), batch.choice]
            np.testing.assert_array_equal(batch.confidence[~member] <= least, True)
            assert member[batch.confidence > least].all()


def test_calibration_refits_it() -> None:
    """Other requests than those trained on: the weak model fails on all of them."""
    fitted = fitted_pair()
    harder = replace(pair(400, 102), quality=np.stack([np.zeros(400), np.ones(400)], axis=1))
    before = Router(fitted.artifact).route_batch(list(requests(400, 102)[0]), pin="weak").confidence.mean()
    dialled = dial_cost_cut(fitted.artifact, harder, 0.3).artifact
    after = Router(dialled).route_batch(list(requests(400, 102)[0]), pin="weak").confidence.mean()
    assert after < before - 0.15, "as far as one rising map can follow"
    fresh = pair(500, 40)
    certified = calibrate(fitted.artifact, fresh, max_quality_loss=0.1).artifact
    assert error(Router(certified).route_batch(list(TEXTS)), pair(600, 101)) < 0.08


def test_without_labels_it_stays() -> None:
    """And under a share of calls, which reads none: the map holds for every policy anyway."""
    fitted = fitted_pair()
    table = pair(60, 103)
    blind = replace(table, quality=np.full_like(table.quality, np.nan))
    single = replace(table, quality=np.where([True, False], table.quality, np.nan))
    for rows in (blind, single):
        assert refitted(fitted.artifact, np.full((60, 2), 0.5), rows) == {}
    dialled = dial_share(fitted.artifact, table, "strong", 0.5).artifact
    for name in ("confidence_knots", "confidence_values"):
        was, now = (_core.read_tensors(artifact)[name] for artifact in (fitted.artifact, dialled))
        np.testing.assert_array_equal(now, was)


def test_few_rows_are_shrunk_to_the_map_so_far() -> None:
    prior = MonotoneMap(np.array([-1.0, 1.0]), np.array([0.2, 0.8]))
    expected = np.array([[0.9, 0.1]])
    wrong = np.array([[0.0, 1.0]])
    one = fit_confidence(expected, wrong, np.ones(1), prior)
    many = fit_confidence(np.repeat(expected, 5000, 0), np.repeat(wrong, 5000, 0), np.ones(5000), prior)
    assert abs(float(one(np.array([0.8]))[0]) - 0.74) < 0.05
    assert abs(float(many(np.array([0.8]))[0]) - 0.5) < 0.02, "monotone: neither side is above the other"


def test_ties_count_for_all_and_unobserved_models_for_none() -> None:
    expected = np.tile([0.9, 0.5, 0.1], (40, 1))
    tied = fit_confidence(expected, np.ones((40, 3)), np.ones(40))
    np.testing.assert_allclose(tied.values, 41 / 42)
    holed = np.tile([np.nan, 1.0, 0.0], (40, 1))
    found = fit_confidence(expected, holed, np.ones(40))
    np.testing.assert_allclose(found(np.array([-0.4, 0.4])), [1 / 42, 41 / 42], atol=1e-6)
    assert fit_confidence(np.ones((3, 1)), np.ones((3, 1)), np.ones(3)).values.tolist() == [1.0]


@pytest.mark.parametrize("rows", [1, 2, 10, 1000])
def test_few_rows_claim_no_certainty(rows: int) -> None:
    """Laplace's rule of succession: what always came true on n rows is given (n + 1) / (n + 2)."""
    expected, actual = (np.repeat([each], rows, 0) for each in ([0.9, 0.1], [1.0, 0.0]))
    found = fit_confidence(expected, actual, np.full(rows, 0.25))
    sure = (rows + 1) / (rows + 2)
    np.testing.assert_allclose(found(np.array([-0.8, 0.8])), [1 - sure, sure], atol=1e-6)
    together = fit_confidence(np.full((rows, 2), 0.5), np.ones((rows, 2)), np.ones(rows))
    np.testing.assert_allclose(together.values, sure)


def test_no_row_says_a_half() -> None:
    assert fit_confidence(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0)).values.tolist() == [0.5]


@pytest.mark.parametrize("fitted", [fitted_pair, fitted_trio])
@pytest.mark.parametrize("coverage", [0.6, 0.9, 0.98])
def test_the_set_holds_a_choice_likelier_a_best_one_than_the_set_may_miss(
    fitted: object, coverage: float
) -> None:
    """Pinned or not. Others as good may be left out: the set is to hold a best model, not all of them."""
    artifact = fitted().artifact  # type: ignore[operator]
    header = {**_core.read_header(artifact), "set_coverage": coverage, "set_width": 0.0}
    router = Router(_core.with_header(artifact, header))
    held = set()
    for index, name in enumerate(router.models):
        pinned = router.route_batch(list(TEXTS), pin=name)
        top = pinned.scores == pinned.scores.max(1, keepdims=True)
        expected = top.copy()
        expected[:, index] |= pinned.confidence > 1 - coverage
        np.testing.assert_array_equal(pinned.prediction_set, expected)
        held |= set(pinned.prediction_set[:, index].tolist())
    assert True in held and (coverage > 0.6 or False in held)
