"""When a question's candidates are unlike those a scorer was made with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer import _core
from tiny_dancer.evaluation.conformal import conformal_quantile
from tiny_dancer.training.candidates.calibration import Calibration

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.training.candidates.lists import Lists

    Floats = npt.NDArray[np.float64]

ALPHA = 0.05
"""Share of questions like these that count as unlike all the same."""
DRIFTING = ("recency", "frequency", "success", "confidence")
"""Features that change by the mere passing of time and by use; they tell nothing of the kind of data."""
_LEAST = 1e-3
"""A summary that varies less is constant and left out: a table without dates is like one with."""


def summaries(lists: Lists) -> Floats:
    """Of each feature the mean over a question's candidates, then the highest: float64 [questions, 38]."""
    rows = lists.features.astype(np.float64)
    starts, lengths = lists.offsets[:-1], np.diff(lists.offsets)
    means = np.add.reduceat(rows, starts) / lengths[:, None]
    return np.concatenate([means, np.maximum.reduceat(rows, starts)], axis=1)


def _fitted(values: Floats) -> tuple[Floats, Floats]:
    """Mean and weight of each summary: one over its standard deviation, 0 where it does not take part."""
    deviation = values.std(0)
    weight = np.where(deviation < _LEAST, 0.0, 1 / np.maximum(deviation, _LEAST))
    drifting = np.isin(_core.CANDIDATE_FEATURES, DRIFTING)
    weight[np.concatenate([drifting, drifting])] = 0.0
    return values.mean(0), weight


def _distances(values: Floats, mean: Floats, weight: Floats) -> Floats:
    found: Floats = (((values - mean) * weight) ** 2).sum(1)
    return found


def likeness_of(lists: Lists, fold: npt.NDArray[np.int64]) -> Calibration:
    """A test of further questions against these ones, which a share of :data:`ALPHA` like these fail.

    The threshold is the conformal quantile of the distances of questions to those of the other folds, so that
    other conversations like these are not found unlike. With fewer than 19 questions there is no test.

    Args:
        lists: what the scorer was made with.
        fold: int64 [questions]; whole conversations where there are several.
    """
    values = summaries(lists)
    distances = np.empty(len(lists))
    for each in np.unique(fold):
        inside = fold == each
        distances[inside] = _distances(values[inside], *_fitted(values[~inside]))
    threshold = conformal_quantile(distances, ALPHA)
    if not np.isfinite(threshold):
        return Calibration({}, {})
    mean, weight = _fitted(values)
    tensors = {"likeness.mean": mean.astype(np.float32), "likeness.weight": weight.astype(np.float32)}
    header = {"alpha": ALPHA, "threshold": float(np.float32(threshold)), "rows": len(lists)}
    return Calibration(tensors, {"likeness": header})
