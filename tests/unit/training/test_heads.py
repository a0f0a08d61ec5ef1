"""Heads and backends: monotone maps, sets that cover, and predictions the engine repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.synthetic import fitted_trio, outcomes, requests, trio

from tiny_dancer import Router, _core
from tiny_dancer.routing import featurise
from tiny_dancer.training.backends import FAMILIES, Targets
from tiny_dancer.training.export import Heads, build
from tiny_dancer.training.heads import (
    IDENTITY,
    MOST_COMPONENTS,
    CostHead,
    MonotoneMap,
    calibration_map,
    components_basis,
    fill_gaps,
    fit_cost,
    isotonic_map,
    set_width,
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
        cost=CostHead(np.zeros(_core.CUES + 1), (None, None, None)),
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
        calibration_map(raw, quality, weight, np.arange(300) % 5),
        isotonic_map(raw[~np.isnan(quality)], quality[~np.isnan(quality)], weight[~np.isnan(quality)]),
    ):
        values = found(line)
        assert (np.diff(values) >= -1e-12).all()
        assert values.min() >= 0
        assert values.max() <= 1
        assert (np.diff(found.knots) > 0).all()


def test_a_map_is_learned_where_scores_mislead_and_left_where_they_do_not() -> None:
    generator = np.random.default_rng(0)
    raw = generator.random(2000)
    folds = np.arange(2000) % 5
    honest = (generator.random(2000) < raw).astype(float)
    assert calibration_map(raw, honest, np.ones(2000), folds) is IDENTITY
    squashed = (generator.random(2000) < 0.3 + 0.1 * raw).astype(float)
    found = calibration_map(raw, squashed, np.ones(2000), folds)
    assert np.abs(found(raw) - (0.3 + 0.1 * raw)).mean() < 0.05
    assert calibration_map(raw[:50], squashed[:50], np.ones(50), folds[:50]) is IDENTITY, "too few rows"


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
    assert batch.prediction_set.mean() < 1


@pytest.mark.parametrize("n", [0, 1, 5, 8])
def test_sets_from_too_few_rows_hold_every_model(n: int) -> None:
    assert set_width(np.full((n, 2), 0.5), np.full((n, 2), 0.5), 0.9) == 1.0


@pytest.mark.parametrize("m", [1, 2, 3, 8, 9, 50])
def test_components_are_few_and_orthonormal(m: int) -> None:
    centred = np.random.default_rng(m).normal(size=(200, m))
    centred -= centred.mean(0)
    basis = components_basis(centred, np.ones(200))
    assert basis.shape == (m, min(m, MOST_COMPONENTS))
    assert np.abs(basis.T @ basis - np.eye(basis.shape[1])).max() < 1e-9
    if m <= MOST_COMPONENTS:
        assert np.abs(centred @ basis @ basis.T - centred).max() < 1e-9, "nothing is lost"


def test_gaps_are_filled_between_the_models_and_the_rows_level() -> None:
    quality = np.array([[1.0, np.nan], [0.0, 0.0], [1.0, 1.0], [np.nan, np.nan]])
    filled = fill_gaps(quality, np.ones(4))
    seen = np.isfinite(quality)
    assert (filled[seen] == quality[seen]).all()
    assert filled[0, 1] == pytest.approx(0.5 + (1 - 2 / 3) / 2)
    assert filled[3].tolist() == pytest.approx([2 / 3, 0.5])
    assert ((filled >= 0) & (filled <= 1)).all()


def test_costs_follow_tokens_never_fall_and_have_gaps_where_nothing_is_known() -> None:
    texts, _ = requests(60, 63)
    features = featurise(texts)
    generator = np.random.default_rng(0)
    cost = np.stack([1e-6 * features.tokens + 1e-5, np.full(60, np.nan), generator.uniform(0, 1e-3, 60)], axis=1)
    cost[::9, 0] = np.nan
    table = outcomes(texts, np.full((60, 3), 0.5), cost=cost)
    head = fit_cost(table, features)
    assert head.models[1] is None
    predicted = head.predict(FRESH)
    assert np.isnan(predicted[:, 1]).all()
    assert (predicted[:, [0, 2]] >= 0).all()
    assert np.abs(predicted[:150, 0] - (1e-6 * FRESH.tokens[:150] + 1e-5)).max() < 2e-6
