"""Heads and backends: monotone maps, sets that cover, and predictions the engine repeats."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.synthetic import fitted_trio, requests, trio

from tiny_dancer import Router, _core, fit
from tiny_dancer.routing import featurise
from tiny_dancer.training.backends import FAMILIES, Targets
from tiny_dancer.training.costs import CostHead
from tiny_dancer.training.export import Heads, build
from tiny_dancer.training.heads import (
    IDENTITY,
    MOST_COMPONENTS,
    MonotoneMap,
    components_basis,
    isotonic_map,
    set_width,
    shared_map,
)
from tiny_dancer.training.policy import Policy

if TYPE_CHECKING:
    from tiny_dancer.training.backends import Backend

BACKENDS: list[Backend] = [backend for family in FAMILIES for backend in family]
FRESH = featurise([*requests(150, 61)[0], "?", "é" * 500, "早起的鸟儿有虫吃。", "1 + 1 = 2\n\n\tx"])


def targets() -> tuple[Any, Targets]:
    table = trio(150, 60)
    centred = table.quality - table.quality.mean(0)
    basis = components_basis(centred, np.ones(150))
    return table.features, Targets(centred @ basis, centred, np.ones(150), 2)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
def test_the_engine_repeats_every_backends_predictions(backend: Backend) -> None:
    features, wanted = targets()
    fitted = backend.fit(features, wanted, 0)
    predicted = fitted.predict(FRESH)
    assert predicted.std() > 0.01, "something was learned"
    # Three components straight to three models, shrunk so that no quality leaves [0, 1].
    shrink = 0.4 / np.abs(predicted).max()
    heads = Heads(
        mean=np.full(3, 0.5),
        basis=np.eye(3),
        stack=np.full((1, 3), shrink),
        calibration=(IDENTITY,) * 3,
        confidence=MonotoneMap(np.array([0.0]), np.array([0.5])),
        cost=CostHead(np.zeros(_core.CUES + 1), (None,) * 3, (None,) * 3),
        latency=(None, None, None),
        set_width=1.0,
        set_coverage=0.9,
    )
    policy = Policy("constant", 0, 0.0, "calls", (True,) * 3)
    artifact = build(("a", "b", "c"), [fitted], heads, policy, {}, version="0.1.0", created="")
    scores = Router(artifact).route_features(FRESH).scores
    assert np.abs(scores - (0.5 + shrink * predicted)).max() < 1e-4 * max(shrink, 1)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
def test_the_same_seed_gives_the_same_tensors(backend: Backend) -> None:
    features, wanted = targets()
    first, second = (backend.fit(features, wanted, 5).tensors() for _ in range(2))
    assert all((first[name] == second[name]).all() for name in first)
    assert all(np.isfinite(values.astype(float)).all() for values in first.values())


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
def test_equal_targets_are_predicted_as_such(backend: Backend) -> None:
    features, wanted = targets()
    flat = Targets(np.zeros_like(wanted.components), np.zeros_like(wanted.quality), wanted.weight, 0)
    assert np.abs(backend.fit(features, flat, 0).predict(FRESH)).max() < 1e-6


def test_backends_have_names_of_their_own() -> None:
    assert len({backend.name for backend in BACKENDS}) == len(BACKENDS)


def test_the_routers_scores_follow_from_its_out_of_fold_maps() -> None:
    header = _core.read_header(fitted_trio().artifact)
    assert header["set_coverage"] == 0.9
    assert 0 <= header["set_width"] <= 1


@pytest.mark.parametrize("seed", range(5))
def test_calibration_maps_never_fall_and_stay_within_bounds(seed: int) -> None:
    generator = np.random.default_rng(seed)
    raw = generator.normal(0.5, 0.4, 300)
    quality = (generator.random(300) < generator.choice([np.clip(raw, 0, 1), 1 - np.clip(raw, 0, 1)])).astype(
        float
    )
    quality[::7] = np.nan
    weight = generator.uniform(0.1, 3, 300)
    line = np.linspace(-2, 3, 500)
    for found in (
        shared_map(raw[:, None]),
        isotonic_map(raw[~np.isnan(quality)], quality[~np.isnan(quality)], weight[~np.isnan(quality)]),
    ):
        values = found(line)
        assert (np.diff(values) >= -1e-12).all()
        assert values.min() >= 0
        assert values.max() <= 1
        assert (np.diff(found.knots) > 0).all()


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.9), (-0.3, 0.9), (0.2, 1.4), (-2.0, 3.0)])
def test_the_map_that_models_share_keeps_every_order_and_what_lies_within_bounds(low: float, high: float) -> None:
    raw = np.random.default_rng(7).uniform(low, high, (500, 4))
    raw[0, :2] = low, high
    found = shared_map(raw)
    mapped = found(raw)
    assert (mapped.argsort(1) == raw.argsort(1)).all(), "nothing is cut off, so nothing is tied"
    assert ((mapped > 0) & (mapped < 1)).all()
    inside = (raw > 0.02) & (raw < 0.98)
    assert mapped[inside] == pytest.approx(raw[inside]), "differences between models stay as they are"
    assert (found is not None) and (found(np.array([-9.0, 9.0])) == [0, 1]).all()


def test_prediction_sets_hold_a_best_model_as_often_as_promised() -> None:
    covered = []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        expected = generator.random((300, 4))
        actual = np.clip(expected + generator.normal(0, 0.3, (300, 4)), 0, 1)
        actual[generator.random((300, 4)) < 0.1] = np.nan
        actual[:, 0] = np.where(np.isnan(actual[:, 0]), 0.5, actual[:, 0])
        width = set_width(expected[:150], actual[:150], 0.9)
        members = expected[150:].max(1, keepdims=True) - expected[150:] <= width
        filled = np.where(np.isnan(actual[150:]), -np.inf, actual[150:])
        best = filled == filled.max(1, keepdims=True)
        covered.append((members & best).any(1).mean())
    assert 0.89 <= np.mean(covered) <= 0.93


def test_prediction_sets_cover_on_fresh_rows_of_a_fitted_router() -> None:
    fresh = trio(600, 62)
    assert fresh.features is not None
    batch = Router(fitted_trio().artifact).route_features(fresh.features)
    best = fresh.quality == fresh.quality.max(1, keepdims=True)
    assert (batch.prediction_set & best).any(1).mean() > 0.9 - 0.05


def test_where_one_model_is_better_than_the_others_sets_leave_those_out() -> None:
    """Of equally good models each is a best one; here none are."""
    table = trio(300, 64)
    hard = np.array([text.startswith("Compute") for text in table.prompt or ()])
    middling = hard ^ (np.random.default_rng(0).random(300) < 0.04)
    quality = np.stack([~middling * 0.9, middling * 0.9, np.full(300, 0.3)], axis=1)
    train, fresh = np.arange(200), np.arange(200, 300)
    assert table.features is not None
    router = Router(fit(replace(table, quality=quality).rows(train)).artifact)
    batch = router.route_features(table.features.rows(fresh))
    best = quality[fresh] == quality[fresh].max(1, keepdims=True)
    assert (batch.prediction_set & best).any(1).mean() > 0.9 - 0.06
    assert batch.prediction_set.mean() < 0.5


@pytest.mark.parametrize("n", [0, 1, 5, 8])
def test_sets_from_too_few_rows_hold_every_model(n: int) -> None:
    assert set_width(np.full((n, 2), 0.5), np.full((n, 2), 0.5), 0.9) == 1.0


@pytest.mark.parametrize("m", [1, 2, 3, 8, 9, 16, 17, 50])
def test_components_are_few_and_orthonormal(m: int) -> None:
    centred = np.random.default_rng(m).normal(size=(200, m))
    centred -= centred.mean(0)
    basis = components_basis(centred, np.ones(200))
    assert basis.shape == (m, min(m, MOST_COMPONENTS))
    assert np.abs(basis.T @ basis - np.eye(basis.shape[1])).max() < 1e-9
    if m <= MOST_COMPONENTS:
        assert np.abs(centred @ basis @ basis.T - centred).max() < 1e-9, "nothing is lost"


def test_components_are_differences_by_size_then_the_common_level() -> None:
    generator = np.random.default_rng(0)
    pair = components_basis(np.array([[0.4, -0.4], [-0.2, 0.2]]), np.ones(2))
    assert abs(pair[:, 0] @ [1, -1]) == pytest.approx(np.sqrt(2))
    assert pair[:, 1] == pytest.approx(np.full(2, 1 / np.sqrt(2)))
    sizes = np.array([1.0, 0.5, 0.25])
    directions = np.linalg.qr(np.hstack([np.ones((4, 1)), generator.normal(size=(4, 3))]))[0][:, 1:]
    spread = np.linalg.qr(generator.normal(size=(200, 3)))[0] * sizes
    level = generator.normal(size=(200, 1))
    found = components_basis(spread @ directions.T + 9 * level, np.ones(200))
    for column in range(3):
        assert abs(found[:, column] @ directions[:, column]) == pytest.approx(1), "strongest first"
        assert found[np.abs(found[:, column]).argmax(), column] > 0
    assert found[:, 3] == pytest.approx(np.full(4, 0.5))
    # Rows that weigh nothing have no say.
    heavy = np.repeat([1.0, 1e-12], 200)
    other = 50 * generator.normal(size=(200, 4))
    again = components_basis(np.vstack([spread @ directions.T, other]), heavy)
    assert again == pytest.approx(found, abs=1e-6)


def test_a_map_says_how_often_it_came_true_in_the_neighbourhood() -> None:
    line = np.linspace(0, 1, 1001)
    found = isotonic_map(line, line, np.ones(1001))
    assert found.knots == pytest.approx(np.linspace(0.02, 0.98, 12), abs=1e-6)
    assert found.values[1:-1] == pytest.approx(found.knots[1:-1], abs=1e-3)
    half = 0.48 / 11  # the outer knots speak for all beyond them
    assert found.values[[0, -1]] == pytest.approx([(0.02 + half) / 2, 1 - (0.02 + half) / 2], abs=1e-3)
    # Both outcomes at each score, weighing a and b: a / (a + b).
    both = np.repeat(line, 2)
    share = isotonic_map(both, np.tile([1.0, 0.0], 1001), np.tile([3.0, 1.0], 1001))
    assert share.values == pytest.approx(np.full(12, 0.75))
    steps = isotonic_map(line, (line > 0.5) * 1.0, np.ones(1001))
    assert steps(np.array([0.1, 0.9])).tolist() == [0, 1]
    assert isotonic_map(line, 1 - line, np.ones(1001)).values == pytest.approx(np.full(12, 0.5)), "it never falls"
    few = isotonic_map(np.array([0.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0]), np.ones(3))
    assert few(np.array([1.0]))[0] == pytest.approx(0.5)


def test_a_map_between_two_far_clusters_is_read_off_where_no_row_lies() -> None:
    x = np.repeat([0.0, 0.01, 1.0], [50, 1, 50])
    found = isotonic_map(x, (x > 0.5) * 1.0, np.ones(101))
    assert (np.diff(found.values) >= 0).all()
    assert found(np.array([0.0, 1.0])).tolist() == [0, 1]


def test_the_width_of_a_set_by_hand() -> None:
    """Nineteen rows at 90 %: the eighteenth distance of the best model from the top."""
    below = np.linspace(0.01, 0.19, 19)
    predicted = np.stack([np.full(19, 0.8), 0.8 - below, np.zeros(19)], axis=1)
    actual = np.tile([0.1, 0.9, np.nan], (19, 1))
    order = np.random.default_rng(0).permutation(19)
    assert set_width(predicted[order], actual[order], 0.9) == pytest.approx(0.18 + 1e-6, abs=1e-9)
    blind = np.vstack([actual, np.full((40, 3), np.nan)])
    assert set_width(np.vstack([predicted, np.zeros((40, 3))]), blind, 0.9) == pytest.approx(0.18, abs=2e-6)
    equal = np.where(np.isnan(actual), np.nan, 0.5)
    assert set_width(predicted, equal, 0.9) == pytest.approx(1e-6), "the top one is among the best"
    assert set_width(predicted * 9, actual, 0.9) == 1.0
