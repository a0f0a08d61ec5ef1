"""Learning from use, on users whose habits are known."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from tests.unit.training.candidates.users import LOGGING, SHOWN, START, TRUTH, World, agreement, watch

from tiny_dancer import _core
from tiny_dancer.storage import Feedback, MemoryStorage, RoutingRecord, ShownCandidate
from tiny_dancer.training.candidates import export
from tiny_dancer.training.candidates.history import read_history
from tiny_dancer.training.candidates.learn import Learned, learn_from_use
from tiny_dancer.training.candidates.linear import Standardised, fit_linear
from tiny_dancer.training.candidates.propensity import LEAST, estimate_propensity

FRESH = World.make(500, 2)


@cache
def world() -> World:
    return World.make(60, 1)


@cache
def watched(eta: float, seed: int = 3) -> MemoryStorage:
    return watch(world(), answers=1500, eta=eta, seed=seed)


@cache
def learned(eta: float) -> Learned:
    return learn_from_use(watched(eta))


def slope(artifact: bytes | None) -> np.ndarray:
    assert artifact is not None
    return export.float_tensor(artifact, "linear.weight") / export.float_tensor(artifact, "feature.scale")


def as_artifact(weights: np.ndarray, version: str = "1.2.0") -> bytes:
    tensors = {**export.neutral_tensors(), "linear.weight": weights.astype(np.float32)}
    return export.build("linear", tensors, None, {}, version=version)


def counted(eta: float) -> np.ndarray:
    """What naive counting learns: the same fit, as if what was not marked had been seen and refused."""
    history, _ = read_history(watched(eta))
    useful = history.at(np.flatnonzero(history.has_help))
    fitted = fit_linear(Standardised.of(useful.features), useful.helped, useful.offsets, l2=1e-3)
    return fitted.weight / fitted.scale


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_propensities_are_recovered(eta: float) -> None:
    history, _ = read_history(watched(eta))
    found = estimate_propensity(history)
    assert found.pairs > 100
    truth = 1 / np.arange(1, SHOWN + 1) ** eta
    np.testing.assert_allclose(found.examined, truth, atol=0.1)


def test_without_variation_the_usual_propensity_stands() -> None:
    """Every candidate always at one position: nothing tells position from relevance."""
    storage = watch(World.make(1, 4), answers=200, eta=0.2, seed=5, noise=0.0)
    found = estimate_propensity(read_history(storage)[0])
    assert found.pairs == 0
    np.testing.assert_allclose(found.examined, 1 / np.arange(1, SHOWN + 1), atol=1e-6)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_the_true_ranking_is_recovered_better_than_by_counting(eta: float) -> None:
    found = learned(eta)
    assert found.gain is not None
    assert found.gain.above_zero
    assert agreement(LOGGING, FRESH) < 0.4
    assert agreement(slope(found.artifact), FRESH) > 0.97
    assert agreement(slope(found.artifact), FRESH) > agreement(counted(eta), FRESH) + 0.03


def test_learning_stops_when_there_is_nothing_left_to_learn() -> None:
    storage = watch(world(), answers=1000, eta=1.0, seed=6, policy=TRUTH, version="1.2.0")
    found = learn_from_use(storage, as_artifact(TRUTH))
    assert found.artifact is None
    assert found.gain is not None
    assert "stays" in found.reason


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_proposed_where_help_is_chance(seed: int) -> None:
    even = np.full_like(world().worth, 0.3)
    found = learn_from_use(watch(world(), answers=600, eta=1.0, seed=seed, worth=even))
    assert found.artifact is None
    assert found.gain is None or not found.gain.above_zero


def test_a_scorer_that_was_trained_is_improved_from_its_own_weights() -> None:
    found = learn_from_use(watched(1.0), as_artifact(LOGGING))
    header = _core.read_header(found.artifact or b"")
    assert header["version"] == "1.3.0"
    assert header["training"]["in_force"] == "1.2.0"
    assert agreement(slope(found.artifact), FRESH) > 0.97


def test_what_is_learned_is_calibrated_to_being_marked_when_seen() -> None:
    artifact = learned(0.5).artifact
    assert artifact is not None
    header = _core.read_header(artifact)
    assert header["relevance"] is not None
    assert header["prediction"] is None
    scores = FRESH.features.astype(float) @ slope(artifact)
    scores -= export.float_tensor(artifact, "feature.mean") @ slope(artifact)
    knots, values = (export.float_tensor(artifact, f"calibration.{name}") for name in ("scores", "probabilities"))
    confidence = np.interp(scores, knots, values)
    for low, high in ((0.0, 0.3), (0.3, 0.7), (0.7, 1.01)):
        inside = (confidence >= low) & (confidence < high)
        assert inside.any()
        assert abs(confidence[inside].mean() - FRESH.worth[inside].mean()) < 0.12


def test_equal_history_gives_equal_bytes() -> None:
    assert learn_from_use(watched(1.0)).artifact == learned(1.0).artifact


def test_few_answers_change_nothing() -> None:
    found = learn_from_use(watch(world(), answers=40, eta=1.0, seed=7))
    assert found.artifact is None
    assert "are needed" in found.reason
    assert learn_from_use(MemoryStorage()).artifact is None


def test_answers_that_say_nothing_are_left_out_and_counted() -> None:
    storage = MemoryStorage()
    features = np.zeros(len(_core.CANDIDATE_FEATURES), np.float32).tobytes()
    pair = tuple(ShownCandidate(name, rank, 1.0, None, features) for rank, name in enumerate("ab"))
    bare = tuple(ShownCandidate(name, rank, 1.0) for rank, name in enumerate("ab"))
    good = RoutingRecord("good", "candidates", "a", time=START, shown=pair)
    for record in (
        good,
        replace(good, decision_id="cached", level=1),
        replace(good, decision_id="given", level=3),
        replace(good, decision_id="single", shown=pair[:1]),
        replace(good, decision_id="bare", shown=bare),
        replace(good, decision_id="request", kind="request", shown=()),
    ):
        storage.record_routing(record, wait=True)
    storage.record_feedback(Feedback("good", 1.0, "b", time=START))
    storage.record_feedback(Feedback("good", 0.0, None, time=START))
    history, left_out = read_history(storage)
    assert len(history) == 1
    assert history.helped.tolist() == [0.0, 1.0]
    assert history.rated.tolist() == [False, True]
    assert left_out == {
        "answered by a fallback": 2,
        "fewer than two candidates shown": 1,
        "features not kept": 1,
    }


def test_answers_with_every_candidate_rated_need_no_correction() -> None:
    storage = watched(1.0)
    history, _ = read_history(storage)
    rated = replace(history, rated=np.ones(len(history.rated), np.bool_))
    propensity = estimate_propensity(history)
    assert (propensity.of(rated) == 1).all()
    assert propensity.of(history).min() >= LEAST
    assert propensity.of(history).min() < 0.5
