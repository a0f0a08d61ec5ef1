"""A weight a feature, fitted to whole lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

_SMALLEST_SCALE = 1e-3
"""A feature that varies less is constant: its weight is 0."""
_MOST_STEPS, _TOLERANCE = 100, 1e-10
_RIDGE = 1e-3


@dataclass(frozen=True, slots=True)
class LinearScorer:
    """Scores Σ weight · (feature - mean) / scale.

    Attributes:
        mean: float64 [19].
        scale: float64 [19], positive.
        weight: float64 [19], of the standardised features.
    """

    mean: Floats
    scale: Floats
    weight: Floats

    def __call__(self, features: npt.NDArray[np.floating]) -> Floats:
        """Scores float64 [n] of features [n, 19]."""
        slope = self.weight / self.scale
        scores: Floats = features.astype(np.float64) @ slope - self.mean @ slope
        return scores

    def tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """As the engine reads them."""
        return {
            "feature.mean": self.mean.astype(np.float32),
            "feature.scale": self.scale.astype(np.float32),
            "linear.weight": self.weight.astype(np.float32),
        }


@dataclass(frozen=True, slots=True)
class Standardised:
    """Features with mean 0 and standard deviation 1, ready to be fitted.

    Attributes:
        values: float64 [n, 19].
        mean: float64 [19].
        scale: float64 [19], at least 0.001; constant features are 0 in ``values``.
    """

    values: Floats
    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, features: npt.NDArray[np.floating], without: Sequence[int] = ()) -> Standardised:
        """Mean and scale from these features [n, 19]; those ``without`` count as constant."""
        values = features.astype(np.float64)
        mean, deviation = values.mean(0), values.std(0)
        scale = np.maximum(deviation, _SMALLEST_SCALE)
        values = (values - mean) / scale
        values[:, deviation < _SMALLEST_SCALE] = 0.0
        values[:, list(without)] = 0.0
        return cls(values, mean, scale)


def fit_linear(
    rows: Standardised,
    target: Floats,
    offsets: Ints,
    *,
    l2: float,
    anchor: Floats | None = None,
    start: Floats | None = None,
) -> LinearScorer:
    """Weights that minimise the listwise loss (ListNet's top-one cross entropy, Cao et al. 2007) plus l2·‖w -
    anchor‖².

    The loss of a list is Σ targetᵢ · (log Σ exp scoreⱼ - scoreᵢ); the mean is over the mass of all targets, so
    that a list counts by what its targets add up to. Convex: the start does not matter. Equal input gives equal
    weights.

    Args:
        rows: n candidates, list below list.
        target: float64 [n], at least 0; a list of zeros says nothing.
        offsets: int64 [lists + 1].
        l2: above 0: the minimum is unique then.
        anchor: float64 [19], what weights are drawn to; 0 where None.
        start: float64 [19], weights near the minimum, which is then found sooner.
    """
    values, starts, lengths = rows.values, offsets[:-1], np.diff(offsets)
    towards = np.zeros(values.shape[1]) if anchor is None else anchor
    mass = np.add.reduceat(target, starts)
    total = mass.sum()
    spread = np.repeat(mass, lengths)

    def loss(weight: Floats) -> tuple[float, Floats]:
        """The loss and each candidate's share of its list."""
        score = values @ weight
        highest = np.maximum.reduceat(score, starts)
        exponential = np.exp(score - np.repeat(highest, lengths))
        sums = np.add.reduceat(exponential, starts)
        fit = (mass @ (highest + np.log(sums)) - target @ score) / total
        away = weight - towards
        return float(fit + l2 * away @ away), exponential / np.repeat(sums, lengths)

    # Newton's method with step halving: with 19 weights a Hessian costs little more than a gradient.
    wanted = values.T @ target
    weight = towards if start is None else start
    value, share = loss(weight)
    for _ in range(_MOST_STEPS):
        weighted = values * (spread * share)[:, None]
        sums = np.add.reduceat(weighted, starts)
        gradient = (sums.sum(0) - wanted) / total + 2 * l2 * (weight - towards)
        between = sums / np.sqrt(np.maximum(mass, _TOLERANCE))[:, None]
        curvature = (values.T @ weighted - between.T @ between) / total
        step = np.linalg.solve(curvature + 2 * l2 * np.eye(len(weight)), gradient)
        decrease = float(gradient @ step)
        if decrease < _TOLERANCE:
            break
        size = 1.0
        found, shares = loss(weight - step)
        while found > value - 1e-4 * size * decrease and size > 1e-6:
            size /= 2
            found, shares = loss(weight - size * step)
        weight, value, share = weight - size * step, found, shares
    return LinearScorer(rows.mean, rows.scale, weight)


def direction_of(rows: Standardised, scores: Floats) -> Floats:
    """Which way a scorer points: its scores [n] as a weighted sum of features, which they nearly are."""
    gram = rows.values.T @ rows.values / len(rows.values) + _RIDGE * np.eye(len(rows.mean))
    found: Floats = np.linalg.solve(gram, rows.values.T @ (scores - scores.mean()) / len(scores))
    return found


def anchored_path(
    rows: Standardised, target: Floats, offsets: Ints, direction: Floats, penalties: Sequence[float]
) -> list[LinearScorer]:
    """One scorer a penalty, drawn to ``direction`` at the length that explains best what is relevant."""
    along = Standardised((rows.values @ direction)[:, None], np.zeros(1), np.ones(1))
    length = max(float(fit_linear(along, target, offsets, l2=_RIDGE).weight[0]), 0.0)
    found: list[LinearScorer] = []
    for penalty in penalties:
        start = found[-1].weight if found else None
        found.append(fit_linear(rows, target, offsets, l2=penalty, anchor=length * direction, start=start))
    return found


def listwise_losses(scores: Floats, target: Floats, offsets: Ints) -> Floats:
    """The loss of each list under ``scores`` [n], float64 [lists]."""
    starts, lengths = offsets[:-1], np.diff(offsets)
    highest = np.maximum.reduceat(scores, starts)
    sums = np.add.reduceat(np.exp(scores - np.repeat(highest, lengths)), starts)
    mass = np.add.reduceat(target, starts)
    losses: Floats = mass * (highest + np.log(sums)) - np.add.reduceat(target * scores, starts)
    return losses


def shared(relevant: npt.NDArray[np.bool_], offsets: Ints) -> Floats:
    """Targets float64 [n]: the relevant candidates of a list share 1."""
    counts = np.add.reduceat(relevant.astype(np.float64), offsets[:-1])
    target: Floats = relevant / np.repeat(np.maximum(counts, 1.0), np.diff(offsets))
    return target
