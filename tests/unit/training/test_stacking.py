"""Stacks: out-of-fold predictions, what they explain, and which backends are kept for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.synthetic import requests

from tiny_dancer.routing import featurise
from tiny_dancer.training.backends import Targets
from tiny_dancer.training.stacking import Stack, _honesty, centred_by_fold, choose_stack, out_of_fold

DIFFERENCE = np.array([[-1.0], [1.0]]) / np.sqrt(2)
"""Basis of two models that differ in nothing but one component."""


@dataclass
class Remembering:
    """A backend that predicts the weighted mean of what it was fitted on, and notes with which seed."""

    name: str
    seeds: list[int] = field(default_factory=list)

    def fit(self, features: Any, targets: Targets, seed: int) -> Any:
        assert len(features) == len(targets.components)
        self.seeds.append(seed)
        mean = np.average(targets.components, axis=0, weights=targets.weight)

        class Fitted:
            def predict(self, rows: Any) -> np.ndarray:
                return np.tile(mean, (len(rows), 1)) + rows.tokens[:, None]

        return Fitted()


def test_out_of_fold_predictions_come_from_the_other_folds() -> None:
    features = featurise(requests(10, 5)[0])
    generator = np.random.default_rng(0)
    components, weight = generator.normal(size=(10, 2)), generator.uniform(0.5, 2, 10)
    folds = np.array([0, 1, 2, 0, 1, 2, 0, 0, 1, 2])
    said: list[str] = []
    backend = Remembering("mean")
    found = out_of_fold(
        [backend, backend], features, Targets(components, components, weight, 0), folds, 9, said.append
    )
    assert len(found) == 2
    for row in range(10):
        others = folds != folds[row]
        expected = (weight[others, None] * components[others]).sum(0) / weight[others].sum() + features.tokens[row]
        assert found[0][row] == pytest.approx(expected)
    assert (found[0] == found[1]).all()
    assert backend.seeds == [9] * 6
    assert said == [f"mean, fold {number}" for number in (1, 1, 2, 2, 3, 3)]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**16), st.integers(1, 4))
def test_centring_takes_away_each_folds_own_mean_and_nothing_else(seed: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    values, weight = generator.normal(3, 1, (20, 2)), generator.uniform(0.1, 2, 20)
    folds = generator.integers(0, count, 20)
    before = values.copy()
    found = centred_by_fold(values, folds, weight)
    assert (values == before).all(), "the argument is left alone"
    for fold in np.unique(folds):
        inside = folds == fold
        assert weight[inside] @ found[inside] == pytest.approx([0, 0], abs=1e-9)
        assert np.ptp((values - found)[inside], axis=0).max() < 1e-9
    assert centred_by_fold(found, folds, weight) == pytest.approx(found)


def stacked(
    predictions: list[np.ndarray],
    truth: np.ndarray,
    *,
    families: list[list[int]] | None = None,
    folds: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    group: np.ndarray | None = None,
    basis: np.ndarray = DIFFERENCE,
) -> Stack:
    """The stack for components ``truth`` [n] or [n, r]; backends are named by letters."""
    n = len(truth)
    wanted = truth.reshape(n, -1)
    return choose_stack(
        "abcdefgh"[: len(predictions)],
        [[i] for i in range(len(predictions))] if families is None else families,
        [each.reshape(n, -1) for each in predictions],
        Targets(wanted, wanted @ basis.T, np.ones(n) if weight is None else weight, 0),
        basis,
        np.zeros(n, np.int64) if folds is None else folds,
        np.arange(n) if group is None else group,
    )


def losses_of_a_line(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Squared residuals of the least-squares line through the data; of the mean where it would fall."""
    slope, start = np.polyfit(prediction, truth, 1)
    return (truth - (start + slope * prediction)) ** 2 if slope > 0 else (truth - truth.mean()) ** 2


def test_a_variant_replaces_the_default_only_by_two_standard_errors() -> None:
    """Against the textbook's paired z of two regressions' squared errors."""
    seen: list[float] = []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        truth = generator.normal(size=150)
        first = truth + generator.normal(0, 1.3, 150)
        second = truth + generator.normal(0, generator.uniform(0.8, 1.4), 150)
        gain = losses_of_a_line(first, truth) - losses_of_a_line(second, truth)
        z = gain.mean() / (gain.std() / np.sqrt(150))
        found = stacked([first, second], truth, families=[[0, 1]])
        assert found.chosen == ((1,) if z > 2 else (0,)), z
        assert found.explained["b"] == pytest.approx(np.corrcoef(second, truth)[0, 1] ** 2)
        seen.append(z)
    assert stacked([first, first], truth, families=[[0, 1]]).chosen == (0,), "of equals the default"
    assert sum(1 < z < 2 for z in seen) >= 5
    assert sum(2 < z < 3 for z in seen) >= 5


@pytest.mark.parametrize("seed", range(6))
def test_a_group_is_one_unit_and_its_rows_together_weigh_what_they_weigh(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=80)
    first, second = truth + generator.normal(0, 1.5, 80), truth + generator.normal(0, 1.0, 80)
    times = generator.integers(1, 5, 80)
    copies = np.repeat(np.arange(80), times)
    heavy = stacked([first, second], truth, families=[[0, 1]], weight=times.astype(float))
    grouped = stacked([first[copies], second[copies]], truth[copies], families=[[0, 1]], group=copies + 7)
    assert grouped.chosen == heavy.chosen
    assert grouped.explained == pytest.approx(heavy.explained)
    assert grouped.prediction == pytest.approx(heavy.prediction[copies])
    assert grouped.weight == pytest.approx(heavy.weight)


def test_copies_in_a_group_are_no_new_evidence() -> None:
    generator = np.random.default_rng(1)
    truth = generator.normal(size=100)
    first, second = truth + generator.normal(0, 1.2, 100), truth + generator.normal(0, 1.0, 100)
    copies = np.repeat(np.arange(100), 30)
    assert stacked([first, second], truth, families=[[0, 1]]).chosen == (0,)
    many = [first[copies], second[copies]]
    assert stacked(many, truth[copies], families=[[0, 1]], group=copies).chosen == (0,)
    assert stacked(many, truth[copies], families=[[0, 1]]).chosen == (1,), "which is what blind copies would fake"


def test_independent_errors_average_out_and_the_share_explained_is_that_of_a_regression() -> None:
    generator = np.random.default_rng(2)
    truth = generator.normal(size=400)
    members = [5 + scale * (truth + generator.normal(size=400)) for scale in (1.0, 10.0, 0.1)]
    found = stacked(members, truth)
    assert found.chosen == (0, 1, 2)
    total = sum((each - each.mean()) / each.std() for each in members)
    for name, forecast in (("a", members[0]), ("b", members[1]), ("a + b + c", total)):
        assert found.explained[name] == pytest.approx(np.corrcoef(forecast, truth)[0, 1] ** 2)
    assert set(found.explained) == {"a", "b", "c", "a + b + c", "a + b", "a + c", "b + c"}
    slope, start = np.polyfit(total, truth, 1)
    assert found.prediction[:, 0] == pytest.approx(slope * total + start - truth.mean())
    own = sum(found.weight[i, 0] * (each - each.mean()) for i, each in enumerate(members))
    assert found.prediction[:, 0] == pytest.approx(own), "the weights are for the backends' own components"


def test_a_backend_that_only_adds_noise_is_left_out() -> None:
    generator = np.random.default_rng(3)
    truth = generator.normal(size=500)
    good = truth + generator.normal(0, 0.5, 500)
    other = truth + generator.normal(0, 0.5, 500)
    noise = generator.normal(size=500)
    assert stacked([good, noise, other], truth).chosen == (0, 2)
    assert stacked([noise, good], truth).chosen == (1,)
    assert stacked([good, -good + generator.normal(0, 0.1, 500)], truth).chosen == (0,)


def test_where_nothing_explains_anything_nothing_is_learned() -> None:
    generator = np.random.default_rng(4)
    truth = generator.normal(size=200)
    found = stacked([-truth, np.zeros(200)], truth)
    assert found.chosen == ()
    assert found.weight.shape == (0, 1)
    assert (found.prediction == 0).all()
    assert found.prediction.shape == (200, 1)
    assert all(share == pytest.approx(0) for share in found.explained.values())
    alike = stacked([truth], np.zeros(200))
    assert alike.chosen == ()
    assert alike.explained == {"a": 0.0}, "of no difference no share is explained"


def test_where_all_together_explain_nothing_the_set_that_explains_most_stands() -> None:
    """Two backends that contradict each other: the better one explains a little, short of two standard errors."""
    generator = np.random.default_rng(6)
    truth = generator.normal(size=60)
    weak = 0.15 * truth + generator.normal(size=60)
    found = stacked([-weak, weak], truth)
    assert found.explained["a + b"] == pytest.approx(0)
    assert 0 < found.explained["b"] < 0.06
    assert found.chosen == (1,)
    assert stacked([weak, -weak], truth).chosen == (0,)
    assert found.prediction[:, 0] @ truth > 0


def test_what_a_stack_explains_is_a_matter_of_weight() -> None:
    """Right on a few heavy rows, wrong on the many light ones: all together explain enough to stay."""
    heavy = np.where(np.arange(60) < 12, 50.0, 1.0)
    kept = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        truth = generator.normal(size=60)
        turned = np.where(heavy > 1, 1.0, -2.0) * truth + generator.normal(size=60)
        found = stacked([turned, generator.normal(size=60)], truth, weight=heavy)
        light = truth[heavy == 1] - truth.mean()
        harm = np.mean((light - found.prediction[heavy == 1, 0]) ** 2) > np.mean(light**2)
        if 0 < found.explained["a + b"] < found.explained["a"] and harm and found.chosen == (0, 1):
            kept += 1
    assert kept >= 3, "the better of the two alone is not better by two standard errors"


@pytest.mark.parametrize("seed", range(4))
def test_a_folds_level_is_no_knowledge(seed: int) -> None:
    """A training fold's mean is anticorrelated with that of the rows it leaves out: levels must not count."""
    generator = np.random.default_rng(seed)
    folds = np.arange(120) % 4
    weight = generator.uniform(0.5, 2, 120)
    truth = generator.normal(size=120)
    first, second = truth + generator.normal(0, 2, 120), generator.normal(size=120)
    plain = stacked([first, second], truth, folds=folds, weight=weight)
    shifted = stacked([first - 9.0 * folds, second + 5.0 * folds], truth + 3.0 * folds, folds=folds, weight=weight)
    assert shifted.chosen == plain.chosen
    assert shifted.explained == pytest.approx(plain.explained)
    assert shifted.prediction == pytest.approx(plain.prediction)
    residual = centred_by_fold(truth[:, None], folds, weight) - plain.prediction
    assert (weight[:, None] * residual * plain.prediction).sum() == pytest.approx(0, abs=1e-9)


def test_each_component_is_scaled_midway_between_what_it_explains_itself_and_what_all_do() -> None:
    """The common level, the last, is scaled by itself alone, and nothing that points the wrong way is used."""
    generator = np.random.default_rng(8)
    basis = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    truth = generator.normal(size=(300, 3)) * [1.0, 0.2, 1.0]
    truth -= truth.mean(0)
    forecast = np.stack([truth[:, 0] * 4, -truth[:, 1], truth[:, 2] * 2], axis=1)
    found = stacked([forecast], truth, folds=np.zeros(300, np.int64), basis=basis)
    common = (forecast[:, :2] * truth[:, :2]).sum() / (forecast[:, :2] ** 2).sum()
    expected = [(1 / 4 + common) / 2, (0 + common) / 2, 1 / 2]
    slopes = (found.prediction * forecast).sum(0) / (forecast**2).sum(0)
    shrunk = slopes[0] / expected[0]
    assert slopes == pytest.approx([expected[0] * shrunk, expected[1] * shrunk, expected[2]])
    assert stacked([-truth], truth, basis=basis).chosen == ()


def test_what_all_models_share_decides_nothing() -> None:
    """The common level can be foretold exactly, which says nothing about which model to choose."""
    generator = np.random.default_rng(9)
    basis = np.array([[-1.0, 1.0], [1.0, 1.0]]) / np.sqrt(2)
    truth = generator.normal(size=(200, 2))
    found = stacked([np.stack([np.zeros(200), truth[:, 1]], axis=1)], truth, basis=basis)
    assert found.chosen == ()
    assert found.explained["a"] == pytest.approx(0)
    knows = stacked([np.stack([truth[:, 0], np.zeros(200)], axis=1)], truth, basis=basis)
    assert knows.explained["a"] == pytest.approx(1)


@pytest.mark.parametrize(("known", "least", "most"), [(0.0, 0.0, 0.6), (0.3, 0.7, 0.99), (3.0, 0.99, 1.0)])
def test_differences_are_shrunk_to_what_comes_true_where_slopes_were_not_fitted(
    known: float, least: float, most: float
) -> None:
    """Ten components of noise, of which the predictions know this much: on average over draws."""
    found = []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        prediction = generator.normal(size=(200, 10))
        truth = known * prediction + generator.normal(size=(200, 10))
        slope = np.maximum((prediction * truth).sum(0) / (prediction**2).sum(0), 0.0)
        found.append(_honesty(prediction * slope, truth, np.arange(200) % 5, np.ones(200)))
    assert least <= np.mean(found) <= most
    assert all(0 <= each <= 1 for each in found)
