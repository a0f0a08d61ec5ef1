"""Where a fit cuts the in-scope score."""

from __future__ import annotations

import numpy as np
import pytest

from tiny_dancer.training.routes import scope
from tiny_dancer.training.routes.scope import balanced


def test_as_few_errors_as_the_curve_allows() -> None:
    dice = np.random.default_rng(5)
    inside, near, far = dice.normal(2, 1, 2000), dice.normal(0, 1, 700), dice.normal(-3, 1, 50)
    curve = scope.thresholds(inside)
    share = balanced(curve, [near, far])

    def errors(asked: float) -> float:
        cut = float(np.interp(asked, [each for each, _ in curve], [each for _, each in curve]))
        return float(np.mean(inside < cut)) + (float(np.mean(near >= cut)) + float(np.mean(far >= cut))) / 2

    assert share in [each for each, _ in curve]
    assert share > scope.FALSE_ALARMS, "unknown intents overlap with known ones here"
    assert errors(share) <= min(errors(each) for each, _ in curve if each <= scope.MOST_FALSE_ALARMS) + 0.005


def test_no_more_than_the_bound_however_bad_the_score_is() -> None:
    curve = scope.thresholds(np.linspace(0, 1, 1000))
    assert balanced(curve, [np.linspace(0, 0.5, 500)]) <= scope.MOST_FALSE_ALARMS


def test_no_more_than_it_takes_where_nothing_is_like_the_routes() -> None:
    curve = scope.thresholds(np.linspace(0.9, 1, 1000))
    assert balanced(curve, [np.linspace(0, 0.1, 50)]) == pytest.approx(curve[0][0])


@pytest.mark.parametrize("outside", [[], [np.empty(0)], [np.empty(0), np.empty(0)]])
def test_the_usual_share_where_nothing_is_known_of_what_is_out_of_scope(outside: list[np.ndarray]) -> None:
    assert balanced(scope.thresholds(np.linspace(0, 1, 100)), outside) == scope.FALSE_ALARMS
