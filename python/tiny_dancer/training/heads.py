"""From components to calibrated quality, confidence and prediction sets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.isotonic import IsotonicRegression

from tiny_dancer.evaluation.conformal import conformal_quantile

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.training.backends.base import Matrix

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

MOST_COMPONENTS = 16
"""As many as the engine holds: dropping the lesser ones drops what decides between the best models."""
_KNOTS = 12
_EDGE = 0.02
"""Scores beyond [0, 1] are pressed into this much of either end, in order."""


def components_basis(centred: Floats, weight: Floats) -> Matrix:
    """Orthonormal directions [m, r] of the models' quality; r = m up to sixteen models, else the leading sixteen.

    For two models the directions are their difference and their sum; in general the principal directions of
    what differs between models, then the common level. (Directions that weigh the better models more were tried
    and explained less, on 12 models and on 15.)
    """
    m = centred.shape[1]
    level = np.full((m, 1), 1 / math.sqrt(m))
    if m == 1:
        return level
    relative = centred - centred.mean(1, keepdims=True)
    second_moment = (relative * weight[:, None]).T @ relative / weight.sum()
    values, vectors = np.linalg.eigh(second_moment)
    kept = vectors[:, np.argsort(-values, kind="stable")[: min(m, MOST_COMPONENTS) - 1]]
    # eigh leaves the signs open: the largest entry is made positive.
    kept = kept * np.sign(kept[np.abs(kept).argmax(0), np.arange(kept.shape[1])])
    return np.hstack([kept, level])


@dataclass(frozen=True, slots=True)
class MonotoneMap:
    """A rising piecewise-linear map: float32 knots and values."""

    knots: Floats
    values: Floats

    def __call__(self, x: Floats) -> Floats:
        """The map at ``x``, constant beyond its ends."""
        return np.interp(x, self.knots, self.values)


IDENTITY = MonotoneMap(np.array([0.0, 1.0]), np.array([0.0, 1.0]))


def isotonic_map(x: Floats, y: Floats, weight: Floats) -> MonotoneMap:
    """Isotonic regression of y on x, read at quantiles of x (at most twelve knots)."""
    model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(x, y, sample_weight=weight)
    knots = np.unique(np.quantile(x, np.linspace(0.02, 0.98, _KNOTS)).astype(np.float32)).astype(np.float64)
    # Averaged over the neighbourhood of a knot: a single step of the fit is noise.
    edges = np.concatenate([[-np.inf], (knots[1:] + knots[:-1]) / 2, [np.inf]])
    fitted = model.predict(x)
    values = np.array(
        [
            np.average(fitted[inside], weights=weight[inside]) if inside.any() else model.predict([knot])[0]
            for knot, inside in (
                (k, (x >= low) & (x < high)) for k, low, high in zip(knots, edges[:-1], edges[1:], strict=True)
            )
        ]
    )
    return MonotoneMap(knots, np.maximum.accumulate(np.clip(values, 0.0, 1.0)))


def shared_map(raw: Floats) -> MonotoneMap:
    """The map from raw scores [n, m] to [0, 1] that all models share: it never changes the order of two of them.

    Raw scores went through an out-of-fold regression slope for each component, so they are calibrated in level and
    in the differences between models, which a map of each model's own would distort. What lies beyond [0, 1] is
    pressed into the outer .02 rather than cut off.
    """
    low, high = float(raw.min()), float(raw.max())
    knots, values = [0.0, 1.0], [0.0, 1.0]
    if low < 0:
        knots[:1], values[:1] = [low - _EDGE, _EDGE], [0.0, _EDGE]
    if high > 1:
        knots[-1:], values[-1:] = [1 - _EDGE, high + _EDGE], [1 - _EDGE, 1.0]
    return MonotoneMap(np.array(knots), np.array(values))


def set_width(predicted: Floats, quality: Floats, coverage: float) -> float:
    """Width of the prediction set {m : max q̂ − q̂_m ≤ width} that holds a best model with this coverage.

    Split conformal with the score "how far the best of the really best models lies below the top", on
    out-of-fold scores. Too few rows for the coverage: 1, every model.
    """
    seen = np.isfinite(quality).any(1)
    actual = np.where(np.isfinite(quality), quality, -np.inf)[seen]
    best = actual == actual.max(1, keepdims=True)
    below = predicted[seen].max(1) - np.where(best, predicted[seen], -np.inf).max(1)
    return float(np.clip(conformal_quantile(below, 1 - coverage) + 1e-6, 0.0, 1.0))
