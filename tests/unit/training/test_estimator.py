"""The scikit-learn-style estimator."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from tests.synthetic import requests

from tiny_dancer import DataError, RouterEstimator, TrainingError

TEXTS, HARD = requests(80, 70)
QUALITY = np.stack([np.where(HARD, 0.05, 0.95), np.full(80, 0.9)], axis=1)


@pytest.fixture(scope="module")
def fitted() -> RouterEstimator:
    return RouterEstimator(models=("weak", "strong")).fit(TEXTS, QUALITY)


def test_it_predicts_the_model_to_call(fitted: RouterEstimator) -> None:
    fresh, hard = requests(100, 71)
    chosen = fitted.predict(fresh)
    assert chosen.dtype == np.int64
    assert chosen.shape == (100,)
    assert chosen[hard].mean() > 0.9
    quality = fitted.predict_quality(fresh)
    assert quality.shape == (100, 2)
    assert quality[hard, 0].mean() < 0.4 < 0.6 < quality[~hard, 0].mean()
    truth = np.stack([np.where(hard, 0.0, 1.0), np.full(100, 0.9)], axis=1)
    assert fitted.score(fresh, truth) == pytest.approx(truth[np.arange(100), chosen].mean())
    assert fitted.models_ == ("weak", "strong")
    assert fitted.quality_.shape == (80, 2)
    assert fitted.router_.models == ("weak", "strong")


def test_it_is_an_estimator(fitted: RouterEstimator) -> None:
    assert fitted.get_params() == {"models": ("weak", "strong"), "random_state": 0}
    other = clone(fitted).set_params(random_state=3)
    assert other.random_state == 3
    for use in (
        lambda: other.predict(TEXTS),
        lambda: other.predict_quality(TEXTS),
        lambda: other.score(TEXTS, QUALITY),
    ):
        with pytest.raises(NotFittedError):
            use()
    assert fitted.predict(np.array(TEXTS)).tolist() == fitted.predict(list(TEXTS)).tolist()


def test_it_is_pickled_and_copied_with_its_router(fitted: RouterEstimator) -> None:
    copy = pickle.loads(pickle.dumps(fitted))
    assert copy.predict(TEXTS).tolist() == fitted.predict(TEXTS).tolist()


def test_rows_not_observed_are_left_out_of_the_score(fitted: RouterEstimator) -> None:
    truth = np.full((80, 2), np.nan)
    chosen = fitted.predict(TEXTS)
    truth[0, chosen[0]], truth[1, chosen[1]] = 1.0, 0.0
    assert fitted.score(TEXTS, truth) == 0.5


def test_costs_weights_and_groups_are_taken() -> None:
    few = TEXTS[:15]
    quality = np.stack([np.full(15, 0.9), np.r_[np.full(14, 0.8), 1.0]], axis=1)
    cost = np.tile([1.0, 0.1], (15, 1))
    weight = np.r_[np.full(14, 1e-6), 1.0]
    model = RouterEstimator().fit(few, quality, cost=cost, sample_weight=weight, groups=["g"] * 7 + ["h"] * 8)
    assert model.models_ == ("model_0", "model_1")
    assert model.predict(few).tolist() == [1] * 15
    decision = model.router_.route(few[0])
    assert decision.costs is not None
    assert decision.costs["model_0"] == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize(
    ("X", "Y", "options", "field"),
    [
        ("one text", np.ones((8, 2)), {}, "X"),
        (["a", None, "c"], np.ones((3, 2)), {}, "X[1]"),
        (["a", 5.0, "c"], np.ones((3, 2)), {}, "X[1]"),
        (["a", "b"], np.ones((3, 2)), {}, "Y"),
        (["a", "b"], np.ones(2), {}, "Y"),
        (["a", "b"], [["x", "y"]] * 2, {}, "Y"),
        (["a", "b"], [[1.0], [1.0, 2.0]], {}, "Y"),
        (["a", "b"], [[0.5, 1.5], [0.5, 0.5]], {}, "Y[0]"),
        (["a", "b"], [[0.5, 0.5], [-0.5, 0.5]], {}, "Y[1]"),
        (["a", "b"], [[0.5, 0.5], [np.inf, 0.5]], {}, "Y[1]"),
        (["a", "b"], np.ones((2, 2)), {"cost": np.ones((2, 3))}, "cost"),
        (["a", "b"], np.ones((2, 2)), {"cost": -np.ones((2, 2))}, "cost[0]"),
        (["a", "b"], np.ones((2, 2)), {"sample_weight": np.zeros(2)}, "sample_weight"),
        (["a", "b"], np.ones((2, 2)), {"sample_weight": np.ones(3)}, "sample_weight"),
        (["a", "b"], np.ones((2, 2)), {"groups": [1, 2, 3]}, "groups"),
    ],
    ids=str,
)
def test_wrong_input_is_refused(X: Any, Y: Any, options: dict[str, Any], field: str) -> None:
    with pytest.raises(DataError) as caught:
        RouterEstimator().fit(X, Y, **options)
    assert caught.value.field == field


def test_names_must_fit_the_columns() -> None:
    for names in (("a",), ("a", "b", "c"), ("a", "a")):
        with pytest.raises(DataError, match="name"):
            RouterEstimator(models=names).fit(TEXTS[:5], np.ones((5, 2)))


def test_nothing_observed_is_refused() -> None:
    with pytest.raises(TrainingError):
        RouterEstimator().fit(TEXTS[:5], np.full((5, 2), np.nan))
    with pytest.raises(TrainingError):
        RouterEstimator().fit([], np.empty((0, 2)))


def test_scoring_checks_its_columns(fitted: RouterEstimator) -> None:
    with pytest.raises(DataError):
        fitted.score(TEXTS, QUALITY[:, :1])


def test_columns_and_frames_are_taken_and_name_the_models(fitted: RouterEstimator) -> None:
    frame = pd.DataFrame({"weak": QUALITY[:, 0], "strong": QUALITY[:, 1]}, index=range(7, 87))
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    for texts, table in ((pd.Series(TEXTS), frame), (pa.chunked_array([list(TEXTS)]), arrow)):
        other = RouterEstimator().fit(texts, table)
        assert other.models_ == ("weak", "strong")
        assert other.artifact_ == fitted.artifact_
        assert other.predict(texts).tolist() == fitted.predict(TEXTS).tolist()
        assert other.score(texts, table) == fitted.score(TEXTS, QUALITY)
    with pytest.raises(DataError, match="give the columns of Y: weak, strong"):
        RouterEstimator().fit(TEXTS, frame, cost=frame.rename(columns={"weak": "other"}))
    with pytest.raises(DataError, match="string"):
        RouterEstimator().fit(TEXTS, frame.assign(weak="good"))
