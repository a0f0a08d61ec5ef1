"""The in-scope score: what it may be made of, and where it is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tiny_dancer.training.routes import scope


def test_measures_are_as_stated() -> None:
    scores = np.array([[1.0, 3.0, 0.5], [2.0, 2.0, 2.0]], np.float32)
    found = scope.measures(
        scores, np.array([0.5, 0.1]), (np.array([1.0, 0.0]), np.array([0.5, 0.5])), np.array([1.0, 4.0])
    )
    energy = np.log(np.exp(scores.astype(np.float64)).sum(axis=1))
    np.testing.assert_allclose(found[:, 0], energy)
    np.testing.assert_allclose(found[:, 1:], [[3, 2, 0.5, 1, 0.5, 2], [2, 0, 0.1, 0, 0.5, -2]])
    assert not scope.measures(scores, np.zeros(2), (np.zeros(2), np.zeros(2)), None)[:, 6].any()


def test_no_weight_is_negative_and_what_tells_is_used() -> None:
    dice = np.random.default_rng(0)
    inside, outside = dice.normal(0, 1, (400, 7)), dice.normal(0, 1, (300, 7))
    inside[:, 1] += 2
    outside[:, 3] += 2  # the wrong way round
    weights, bias = scope.fit_scope(inside, outside, np.ones(300))
    assert (weights >= 0).all() and weights[1] > 0.5 and weights[3] == 0
    told = scope.area(scope.in_scope(inside, weights, bias), scope.in_scope(outside, weights, bias))
    assert told > 0.9


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_the_area_is_the_textbook_s(inside: list[int], outside: list[int]) -> None:
    truth = np.repeat([1, 0], [len(inside), len(outside)])
    expected = roc_auc_score(truth, [*inside, *outside])
    assert scope.area(np.array(inside, float), np.array(outside, float)) == pytest.approx(expected)


@pytest.mark.parametrize("rows", [1, 7, 60, 5000])
def test_a_share_of_false_alarms_is_what_comes_true(rows: int) -> None:
    dice = np.random.default_rng(rows)
    curve = scope.thresholds(dice.random(rows))
    shares, cuts = (np.array(each) for each in zip(*curve, strict=True))
    assert (np.diff(shares) > 0).all() and (np.diff(cuts) >= 0).all()
    # Scores are uniform: the share below a cut is the cut itself, up to what so few rows can say.
    for share, cut in curve:
        assert cut <= share + 4 * np.sqrt(share * (1 - share) / rows) + 1 / rows
