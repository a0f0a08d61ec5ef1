"""Whether a request is any of the routes': a score of its own, and where to cut it.

Rows that are out of scope are rare in tables, so the routes themselves stand in for what is unknown: heads are
fitted that lack some of the routes, and the rows of those are out of scope to them, near misses at that. Rows that
the table calls out of scope, and requests of everyday life that the package carries, are added. The score is a
logistic regression on what the engine measures of a request (``routes.rs``, ``MEASURES``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

SHARES = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5)
FALSE_ALARMS = 0.02
"""Share of in-scope rows called out of scope, unless asked otherwise, where the table has rows out of scope."""
MOST_FALSE_ALARMS = 0.1
"""The same, at most, where it has none and :func:`balanced` finds the share."""
_STRENGTH = 1.0
_ROUNDS = 50


def measures(
    scores: npt.NDArray[np.float32],
    nearest: npt.NDArray[Any],
    known: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    none: npt.NDArray[Any] | None,
) -> Floats:
    """What the engine measures of n requests, [n, 7]."""
    z = np.asarray(scores, np.float64)
    top = np.sort(z, axis=1)[:, -2:] if z.shape[1] > 1 else np.repeat(z, 2, axis=1)
    highest, second = top[:, 1], top[:, 0]
    energy = highest + np.log(np.exp(z - highest[:, None]).sum(axis=1))
    over_none = np.zeros_like(highest) if none is None else highest - none
    return np.stack([energy, highest, highest - second, nearest, *known, over_none], axis=1)


def fit_scope(inside: Floats, outside: Floats, weight: Floats) -> tuple[Floats, float]:
    """Weights [7] and bias of a logistic regression, both sides weighing the same.

    No weight is negative: every measure is higher where a request is more like the routes', and what a regression
    makes of it against that is an accident of what stands in for the unknown. Measures that would get one are left
    out, the most negative first.

    Args:
        inside: measures of in-scope rows.
        outside: of rows out of scope.
        weight: of the latter.
    """
    x = np.concatenate([inside, outside])
    y = np.repeat([1.0, 0.0], [len(inside), len(outside)])
    w = np.concatenate([np.full(len(inside), 1 / len(inside)), weight / weight.sum()]) * len(x) / 2
    mean, deviation = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    z = (x - mean) / deviation
    used = np.arange(x.shape[1])
    while True:
        found, bias = _logistic(z[:, used], y, w)
        if not len(used) or found.min() >= 0:
            break
        used = np.delete(used, found.argmin())
    weights = np.zeros(x.shape[1])
    weights[used] = found / deviation[used]
    return weights, bias - float(weights @ mean)


def _logistic(z: Floats, y: Floats, w: Floats) -> tuple[Floats, float]:
    """By Newton's method, with a ridge."""
    z = np.concatenate([z, np.ones((len(z), 1))], axis=1)
    penalty = np.diag([_STRENGTH] * (z.shape[1] - 1) + [1e-6])
    found = np.zeros(z.shape[1])
    for _ in range(_ROUNDS):
        p = 1 / (1 + np.exp(-z @ found))
        slope = z.T @ (w * (p - y)) + penalty @ found
        step = np.linalg.solve((z * (w * p * (1 - p))[:, None]).T @ z + penalty, slope)
        found -= np.clip(step, -3, 3)
        if np.abs(step).max() < 1e-8:
            break
    return found[:-1], float(found[-1])


def in_scope(found: Floats, weights: Floats, bias: float) -> Floats:
    """Scores of n rows from their measures."""
    return np.asarray(1 / (1 + np.exp(-(found @ weights + bias))), np.float64)


def thresholds(scores: Floats) -> list[list[float]]:
    """(share, score): the curve of false alarms, from in-scope rows that were not trained on.

    Of n exchangeable rows and one more, the last scores below the k-th smallest with a probability of at most k/(n
    + 1). Shares below 1/(n + 1) cannot be told apart: there the cut is the smallest score.
    """
    ordered, n = np.sort(scores), len(scores)
    shares = [1 / (n + 1), *(share for share in SHARES if share * (n + 1) > 1)]
    return [[share, float(ordered[min(n, int(share * (n + 1) + 1e-9)) - 1])] for share in shares]


def balanced(curve: Sequence[Sequence[float]], outside: Sequence[Floats]) -> float:
    """The share of false alarms at which as few errors as possible are made, both kinds counting the same.

    Youden's index (Cancer 3, 1950), of the shares in the curve up to :data:`MOST_FALSE_ALARMS`. Nobody has said
    how often requests are out of scope here, and one share for all tables lets most unknown intents in where the
    score is weak.

    Args:
        curve: of :func:`thresholds`.
        outside: in-scope scores of rows out of scope, by kind; the kinds count the same, empty ones do not.

    Returns:
        the share; :data:`FALSE_ALARMS` where nothing is out of scope.
    """
    kinds = [each for each in outside if len(each)]
    fit = [(share, cut) for share, cut in curve if share <= MOST_FALSE_ALARMS]
    if not kinds or not fit:
        return FALSE_ALARMS
    errors = [share + float(np.mean([np.mean(each >= cut) for each in kinds])) for share, cut in fit]
    return fit[int(np.argmin(errors))][0]


def area(inside: Floats, outside: Floats) -> float:
    """Probability that an in-scope row scores higher than one out of scope (AUROC); ties count half."""
    both = np.concatenate([inside, outside])
    order = np.argsort(both, kind="stable")
    ranks = np.empty(len(both))
    ranks[order] = np.arange(1, len(both) + 1)
    _, place, count = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.bincount(place, ranks) / count)[place]
    n = len(inside)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * len(outside)))
