"""How far the last decisions are from usual ones: PSI and Kolmogorov-Smirnov, to look at, not to ring by."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

BINS = 10
"""Of the population stability index, as is the custom."""
_HALF_A_ROW = 0.5


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """How far a number that comes with decisions is from usual, over the last of them.

    Descriptive: no alarm is rung by it. Whoever looks again and again will see anything once; ``ks_p`` is right
    for one look at a moment chosen beforehand.

    Attributes:
        name: ``likeness``, ``quality``, ``gain``, ``confidence``, or ``mix`` of the models chosen.
        window: decisions looked at.
        reference: rows compared with; 0 where the artifact has none.
        psi: population stability index, over ten bins of equal shares of the reference (``mix``: a model each);
            None where there is nothing to compare.
        psi_alike: what it is on average where nothing has changed: (bins - 1) · (1 / window + 1 / reference).
        ks: largest difference between the shares up to a number, at the numbers the reference tells apart; None of
            ``mix``.
        ks_p: its p-value (two samples, asymptotic; a little too large, as few numbers are told apart).
    """

    name: str
    window: int
    reference: int
    psi: float | None = None
    psi_alike: float | None = None
    ks: float | None = None
    ks_p: float | None = None


def psi(usual: Floats, found: Floats) -> float:
    """Population stability index of counts in k bins, Σ (q - p) ln(q / p); half a row is added to every bin."""
    p, q = usual + _HALF_A_ROW, found + _HALF_A_ROW
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((q - p) * np.log(q / p)))


def ks_pvalue(distance: float, n: int, m: int) -> float:
    """Two-sided p-value of a Kolmogorov-Smirnov distance between samples of n and m, none of them 0.

    Kolmogorov's limit with Stephens' correction (1970), as in *Numerical Recipes*, 14.3.
    """
    root = math.sqrt(n * m / (n + m))
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < 0.2:  # the series converges slowly, and to 1
        return 1.0
    terms = [math.exp(-2 * (k * scaled) ** 2) * (1 if k % 2 else -1) for k in range(1, 101)]
    return min(max(2 * math.fsum(terms), 0.0), 1.0)


def compare(name: str, values: Floats, usual: tuple[Floats, Floats] | None) -> Measure:
    """A number of the last n decisions (NaN: not known of one) beside knots [k] and counts [k + 1] of rows."""
    values = values[np.isfinite(values)]
    n = len(values)
    if usual is None:
        return Measure(name=name, window=n, reference=0)
    knots, counts = usual
    rows = int(counts.sum())
    if not n or not rows:
        return Measure(name=name, window=n, reference=rows)
    found = np.bincount(np.searchsorted(knots, values, side="left"), minlength=len(counts)).astype(np.float64)
    below, above = np.cumsum(counts)[:-1] / rows, np.cumsum(found)[:-1] / n
    distance = float(np.abs(below - above).max(initial=0.0))
    # Of the places, those are joined that begin in the same tenth of the reference.
    begun = np.append(0.0, below)
    _, joined = np.unique(np.minimum((begun * BINS + 1e-9).astype(np.int64), BINS - 1), return_inverse=True)
    bins = int(joined.max()) + 1
    return Measure(
        name=name,
        window=n,
        reference=rows,
        psi=psi(_summed(joined, counts, bins), _summed(joined, found, bins)),
        psi_alike=(bins - 1) * (1 / n + 1 / rows),
        ks=distance,
        ks_p=ks_pvalue(distance, n, rows),
    )


def _summed(place: npt.NDArray[np.int64], counts: Floats, bins: int) -> Floats:
    return np.bincount(place, counts, bins).astype(np.float64)


def compare_mix(found: Floats, usual: Floats | None) -> Measure:
    """How often each of m models was chosen, beside the rows it was chosen for."""
    n, rows = int(found.sum()), 0 if usual is None else int(usual.sum())
    if usual is None or not n or not rows:
        return Measure(name="mix", window=n, reference=rows)
    alike = (len(found) - 1) * (1 / n + 1 / rows)
    return Measure(name="mix", window=n, reference=rows, psi=psi(usual, found), psi_alike=alike)
