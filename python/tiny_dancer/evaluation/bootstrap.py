"""Paired bootstrap intervals, by group where rows belong together (Efron and Tibshirani 1993).

A replicate is a weighting of the rows, never a copy of them: one draw of weights serves every statistic, so
differences between methods are paired, and a statistic is one array expression over many replicates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.errors import DataError, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

CHUNK_ELEMENTS = 1 << 19
UNDEFINED_SHARE = 0.025
# Two equal policies differ by the rounding of their sums, which is no evidence.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its percentile interval; the bounds are NaN where they cannot be had.

    Attributes:
        estimate: the statistic on the rows as they are.
        low: lower bound.
        high: upper bound.
    """

    estimate: float
    low: float
    high: float

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.low > ROUNDING

    @property
    def below_zero(self) -> bool:
        """Whether the whole interval lies below zero."""
        return self.high < -ROUNDING


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Replicates of k statistics.

    Attributes:
        estimate: float64 [k], on the rows as they are.
        replicates: float64 [replicates, k].
        units: independent units resampled (groups, or rows where there are none).
    """

    estimate: Floats
    replicates: Floats
    units: int

    def interval(self, column: int, *, minus: int | None = None, level: float = 0.95) -> Interval:
        """Percentile interval of one statistic, or of its difference to another one (paired).

        Replicates in which the statistic is undefined are left out up to 2.5 %; beyond that, and with fewer
        than two units, the bounds are NaN: nothing can be said.
        """
        values, estimate = self.replicates[:, column], float(self.estimate[column])
        if minus is not None:
            values, estimate = values - self.replicates[:, minus], estimate - float(self.estimate[minus])
        defined = np.isfinite(values)
        if self.units < 2 or np.mean(~defined) > UNDEFINED_SHARE:
            return Interval(estimate, float("nan"), float("nan"))
        tail = (1 - level) / 2
        low, high = np.quantile(values[defined], (tail, 1 - tail))
        return Interval(estimate, float(low), float(high))


def resampled_weights(
    rows: int, *, weight: Floats | None, group: npt.NDArray[np.int64] | None, replicates: int, seed: int
) -> Iterator[Floats]:
    """Blocks of weightings, float64 [b, rows]: each row's weight times how often its group was drawn."""
    rng = np.random.default_rng(seed)
    base = np.ones(rows) if weight is None else np.asarray(weight, dtype=np.float64)
    inverse = np.arange(rows) if group is None else np.unique(group, return_inverse=True)[1]
    units = int(inverse.max()) + 1
    block = max(1, CHUNK_ELEMENTS // max(rows, units))
    for start in range(0, replicates, block):
        size = min(block, replicates - start)
        drawn = rng.integers(0, units, size=(size, units)) + np.arange(size)[:, None] * units
        times = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)
        yield (times if units == rows and group is None else times[:, inverse]) * base


def paired_bootstrap(
    statistics: Callable[[Floats], Floats],
    rows: int,
    *,
    weight: Floats | None = None,
    group: npt.NDArray[np.int64] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> Bootstrap:
    """Bootstrap k statistics together.

    Args:
        statistics: from weightings float64 [b, rows] to values float64 [b, k].
        rows: number of rows.
        weight: float64 [rows], positive; all ones where None.
        group: int64 [rows]; whole groups are resampled (cluster bootstrap). Rows are the units where None.
        replicates: number of replicates.
        seed: of the numpy Generator.

    Raises:
        DataError: no rows, or lengths that differ.
        OptionError: fewer than one replicate.
    """
    if rows < 1:
        raise DataError("rows", rows, "give at least one row")
    if replicates < 1:
        raise OptionError("replicates", replicates, "give at least 1; 1000 is usual")
    for name, values in (("weight", weight), ("group", group)):
        if values is not None and len(values) != rows:
            raise DataError(name, f"{len(values)} values for {rows} rows", "give one per row")
    base = np.ones(rows) if weight is None else np.asarray(weight, dtype=np.float64)
    estimate = statistics(base[None, :])[0]
    blocks = [
        statistics(block)
        for block in resampled_weights(rows, weight=weight, group=group, replicates=replicates, seed=seed)
    ]
    units = rows if group is None else len(np.unique(group))
    return Bootstrap(estimate=estimate, replicates=np.concatenate(blocks), units=units)


def mean_statistics(values: Floats) -> Callable[[Floats], Floats]:
    """Weighted means of ``values`` float64 [rows, k] as a statistic; each column over its observed rows."""
    observed = np.isfinite(values)
    filled = np.where(observed, values, 0.0)
    holed = np.flatnonzero(~observed.all(axis=0))
    seen = observed[:, holed].astype(np.float64)

    def statistics(weights: Floats) -> Floats:
        mass = np.repeat(weights.sum(axis=1, keepdims=True), values.shape[1], axis=1)
        mass[:, holed] = weights @ seen
        with np.errstate(invalid="ignore", divide="ignore"):
            means: Floats = (weights @ filled) / mass
        return means

    return statistics


def paired_difference(
    first: Floats,
    second: Floats,
    *,
    weight: Floats | None = None,
    group: npt.NDArray[np.int64] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> Interval:
    """Interval of the mean of ``first - second`` (both float64 [n]) over rows where both are observed."""
    values = (np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64))[:, None]
    return paired_bootstrap(
        mean_statistics(values), len(values), weight=weight, group=group, replicates=replicates, seed=seed
    ).interval(0)
