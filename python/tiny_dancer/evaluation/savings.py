"""What was saved against a baseline, with intervals over days."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.errors import DataError
from tiny_dancer.evaluation.agent_history import FEW_DAYS
from tiny_dancer.evaluation.bootstrap import Interval, paired_bootstrap

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Savings:
    """What was saved.

    Attributes:
        saved: USD less than the baseline, over all days; below 0 where it was more.
        share: of the baseline; NaN where that is 0.
        days: resampled; below eight the intervals have no bounds.
    """

    saved: Interval
    share: Interval
    days: int


def savings(cost: npt.ArrayLike, baseline: npt.ArrayLike, *, level: float = 0.95, seed: int = 0) -> Savings:
    """What was saved against a baseline, and how far days make it differ.

    Args:
        cost: float [days], USD spent.
        baseline: float [days], USD that the baseline would have cost for the same requests: the strongest model,
            or any one.
        level: of the intervals.
        seed: of the numpy Generator.

    Raises:
        DataError: no days, lengths that differ, or values that are no finite numbers.
    """
    spent, usual = np.asarray(cost, np.float64), np.asarray(baseline, np.float64)
    if spent.ndim != 1 or spent.shape != usual.shape or not len(spent):
        raise DataError(
            "baseline", f"{usual.shape} beside {spent.shape}", "give both for the same days, one or more"
        )
    if not (np.isfinite(spent).all() and np.isfinite(usual).all()):
        raise DataError("cost", "not finite", "leave out days whose cost or baseline nobody knows")
    days = len(spent)

    def statistics(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        saved, whole = weights @ (usual - spent), weights @ usual
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.stack([saved * days / weights.sum(axis=1), saved / whole], axis=1)

    drawn = paired_bootstrap(statistics, days, seed=seed)
    found = [drawn.interval(column, level=level) for column in range(2)]
    if days < FEW_DAYS:
        found = [Interval(each.estimate, math.nan, math.nan) for each in found]
    return Savings(found[0], found[1], days)
