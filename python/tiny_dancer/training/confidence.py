"""Confidence: the probability that no other model would have been better, for whatever model is chosen.

One rising map from the chosen model's margin over the best other (negative where a threshold, a weight of cost or
a caller chooses another than the best expected) to the share of rows on which no other scored higher; of equals
each is a best one. It is fitted on every model of every row, as if it had been chosen, so it holds for every
policy, dial and override, and for a pinned model. (A map for the choices of the default policy alone was off by
.17 on average over policies for nine models, this one by .02; one map a model gained nothing more:
benchmarks/quality/bench_confidence.py.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer import _core
from tiny_dancer.training.heads import MonotoneMap, isotonic_map

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.types import Outcomes

    Floats = npt.NDArray[np.float64]

_PRIOR_ROWS = 50
"""An earlier map counts as much as this many rows."""
_LAPLACE_ROWS = 2
"""Where there is none, a half at every margin counts as much as this many rows: Laplace's rule of succession, a
Beta(1, 1) prior. What came true on all of n rows is given (n + 1) / (n + 2)."""


def fit_confidence(
    expected: Floats, actual: Floats, weight: Floats, prior: MonotoneMap | None = None
) -> MonotoneMap:
    """The map from margins to the probability that no other model scores higher.

    Args:
        expected: quality, float64 [n, m], of rows that were not fitted on.
        actual: quality, float64 [n, m], NaN where not observed: a row speaks of the models observed on it.
        weight: float64 [n].
        prior: the map so far, to which few rows are shrunk; none is a half everywhere, to which fewer still are.
    """
    if expected.shape[1] == 1:
        return MonotoneMap(np.array([0.0]), np.array([1.0]))
    observed = np.isfinite(actual)
    compared = observed.sum(1) > 1
    observed, weight = observed[compared], weight[compared]
    expected = np.where(observed, expected[compared], -np.inf)
    actual = np.where(observed, actual[compared], -np.inf)
    n = len(expected)
    if n == 0:
        return MonotoneMap(np.array([0.0]), np.array([0.5])) if prior is None else prior
    best = (actual >= actual.max(1, keepdims=True)).astype(np.float64)
    ordered = np.sort(expected, axis=1)
    top = expected >= ordered[:, -1:]
    margin = expected - np.where(top, ordered[:, -2:-1], ordered[:, -1:])
    x, y, w = margin[observed], best[observed], np.broadcast_to(weight[:, None], best.shape)[observed]
    # Rows as the prior expects them, at the same margins.
    before, rows = (np.full_like(y, 0.5), _LAPLACE_ROWS) if prior is None else (prior(x), _PRIOR_ROWS)
    x, y, w = np.tile(x, 2), np.append(y, before), np.append(w, w * rows / n)
    if np.ptp(x) < 1e-9:
        return MonotoneMap(np.array([0.0]), np.array([float(np.average(y, weights=w))]))
    return isotonic_map(x, y, w)


def refitted(artifact: bytes, expected: Floats, outcomes: Outcomes) -> dict[str, npt.NDArray[np.float32]]:
    """Tensors of the map refitted on further rows, shrunk to the artifact's; none where no row compares models.

    Args:
        artifact: the file's bytes.
        expected: quality the artifact expects, float64 [n, m].
        outcomes: the same rows, not trained on.
    """
    if not (np.isfinite(outcomes.quality).sum(1) > 1).any():
        return {}
    tensors = _core.read_tensors(artifact)
    knots, values = (tensors[f"confidence_{part}"].astype(np.float64) for part in ("knots", "values"))
    found = fit_confidence(expected, outcomes.quality, outcomes.weight, MonotoneMap(knots, values))
    return {
        "confidence_knots": found.knots.astype(np.float32),
        "confidence_values": found.values.astype(np.float32),
    }
