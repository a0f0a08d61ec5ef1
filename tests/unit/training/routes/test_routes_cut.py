"""Where a fit cuts the in-scope score."""

from __future__ import annotations

import numpy as np
import pytest

from tiny_dancer.training.routes import scope
from tiny_dancer.training.routes.scope import best_share


def _f1(inside: np.ndarray, outside: np.ndarray, cut: float) -> float:
    """Of the answer "none", where one row in ten is out of scope."""
    caught, refused = 0.1 * np.mean(outside < cut), 0.9 * np.mean(inside < cut)
    return float(2 * caught / (caught + refused + 0.1))


@pytest.mark.parametrize("apart", [1.0, 2.0, 3.0, 5.0])
def test_no_other_share_answers_none_better(apart: float) -> None:
    dice = np.random.default_rng(5)
    inside, outside = dice.normal(apart, 1, 4000), dice.normal(0, 1, 900)
    curve = scope.thresholds(inside)
    share = best_share(curve, [outside])
    cuts = {each: cut for each, cut in curve if each <= scope.MOST_FALSE_ALARMS}
    assert _f1(inside, outside, cuts[share]) >= max(_f1(inside, outside, cut) for cut in cuts.values()) - 0.005


def test_kinds_count_the_same_whatever_their_size() -> None:
    curve = scope.thresholds(np.linspace(0, 1, 1000))
    near, far = np.linspace(0, 0.12, 40), np.full(4000, -1.0)
    assert best_share(curve, [near, far]) == best_share(curve, [near, far[:3]])
    assert best_share(curve, [near, far]) != best_share(curve, [far])


def test_no_more_than_it_takes_where_nothing_is_like_the_routes() -> None:
    curve = scope.thresholds(np.linspace(0.9, 1, 1000))
    assert best_share(curve, [np.linspace(0, 0.1, 50)]) == pytest.approx(curve[0][0])


@pytest.mark.parametrize("outside", [[], [np.empty(0)], [np.empty(0), np.empty(0)]])
def test_the_usual_share_where_nothing_is_known_of_what_is_out_of_scope(outside: list[np.ndarray]) -> None:
    assert best_share(scope.thresholds(np.linspace(0, 1, 100)), outside) == scope.FALSE_ALARMS
