"""What was saved, with intervals over days."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tiny_dancer.errors import DataError
from tiny_dancer.evaluation.savings import savings


def test_the_interval_holds_the_truth() -> None:
    covered = shares = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        baseline = rng.lognormal(0, 0.6, 40)
        cost = baseline * rng.uniform(0.3, 0.7, 40)
        found = savings(cost, baseline, seed=seed)
        assert found.saved.estimate == pytest.approx((baseline - cost).sum())
        covered += found.saved.low <= 40 * 0.5 * math.exp(0.18) <= found.saved.high
        shares += found.share.low <= 0.5 <= found.share.high
    assert covered >= 86 and shares >= 88


def test_losses_few_days_and_nothing() -> None:
    loss = savings(np.full(10, 2.0), np.full(10, 1.0))
    assert loss.saved.estimate == -10 and loss.saved.high == pytest.approx(-10) and loss.share.estimate == -1
    few = savings([1.0, 2.0], [2.0, 4.0])
    assert few.saved.estimate == 3 and math.isnan(few.saved.low) and few.days == 2
    assert math.isnan(savings(np.zeros(9), np.zeros(9)).share.estimate)


@pytest.mark.parametrize(("cost", "baseline"), [([], []), ([1.0], [1.0, 2.0]), ([math.nan], [1.0])])
def test_bad_input_is_refused(cost: list[float], baseline: list[float]) -> None:
    with pytest.raises(DataError):
        savings(cost, baseline)
