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
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

SHARES = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5)
FALSE_ALARMS = 0.02
"""Share of in-scope requests called out of scope, unless asked otherwise."""
_STRENGTH = 1.0
_ROUNDS = 50


def measures(
    scores: npt.NDArray[np.float32], nearest: npt.NDArray[Any], known: tuple[npt.NDArray[Any], npt.NDArray[Any]]
) -> Floats:
    """What the engine measures of n requests, [n, 6]."""
    z = np.asarray(scores, np.float64)
    top = np.sort(z, axis=1)[:, -2:] if z.shape[1] > 1 else np.repeat(z, 2, axis=1)
    highest, second = top[:, 1], top[:, 0]
    energy = highest + np.log(np.exp(z - highest[:, None]).sum(axis=1))
    return np.stack([energy, highest, highest - second, nearest, *known], axis=1)


def fit_scope(inside: Floats, outside: Floats, weight: Floats) -> tuple[Floats, float]:
    """Weights [6] and bias of a logistic regression, both sides weighing the same.

    Args:
        inside: measures of in-scope rows.
        outside: of rows out of scope.
        weight: of the latter.
    """
    x = np.concatenate([inside, outside])
    y = np.repeat([1.0, 0.0], [len(inside), len(outside)])
    w = np.concatenate([np.full(len(inside), 1 / len(inside)), weight / weight.sum()]) * len(x) / 2
    mean, deviation = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    z = np.concatenate([(x - mean) / deviation, np.ones((len(x), 1))], axis=1)
    penalty = np.diag([_STRENGTH] * x.shape[1] + [1e-6])
    found = np.zeros(z.shape[1])
    for _ in range(_ROUNDS):  # Newton's method
        p = 1 / (1 + np.exp(-z @ found))
        slope = z.T @ (w * (p - y)) + penalty @ found
        step = np.linalg.solve((z * (w * p * (1 - p))[:, None]).T @ z + penalty, slope)
        found -= np.clip(step, -3, 3)
        if np.abs(step).max() < 1e-8:
            break
    weights = found[:-1] / deviation
    return weights, float(found[-1] - weights @ mean)


def in_scope(found: Floats, weights: Floats, bias: float) -> Floats:
    """Scores of n rows from their measures."""
    return np.asarray(1 / (1 + np.exp(-(found @ weights + bias))), np.float64)


def thresholds(scores: Floats) -> list[list[float]]:
    """(share, score): the curve of false alarms, from in-scope rows that were not trained on."""
    shares = [share for share in SHARES if share * len(scores) >= 1] or [SHARES[-1]]
    return [[share, float(np.quantile(scores, share))] for share in shares]


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
