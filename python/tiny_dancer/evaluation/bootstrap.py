"""Paired bootstrap intervals, by group where rows belong together (Efron and Tibshirani 1993).

A replicate is a weighting of the rows, never a copy of them: one draw of weights serves every statistic, so
differences between methods are paired, and a statistic is one array expression over many replicates.

A mean of bounded values that few units tell apart from a constant has an interval by betting instead
(:mod:`tiny_dancer.evaluation.intervals`): of rare events a bootstrap sees too few to resample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.evaluation.intervals import betting_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

CHUNK_ELEMENTS = 1 << 19
UNDEFINED_SHARE = 0.025
FEWEST_INFORMATIVE = 30
"""Units with another value than the most common one, below which a mean's interval is by betting."""
# Two equal policies differ by the rounding of their sums, which is no evidence.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its interval; the bounds are NaN where they cannot be had.

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
class BoundedMeans:
    """What the first k statistics are means of.

    Attributes:
        values: float64 [rows, k]; NaN where not observed.
        low: float64 [k], the least value possible; NaN for a mean of which no bounds are known.
        high: float64 [k], the largest one.
        weight: float64 [rows].
        unit: int64 [rows], numbered from 0.
        seed: of the order of bets.
    """

    values: Floats
    low: Floats
    high: Floats
    weight: Floats
    unit: npt.NDArray[np.int64]
    seed: int

    def interval(self, column: int, minus: int | None, level: float) -> tuple[float, float] | None:
        """The interval by betting where few units are informative; None where the bootstrap holds."""
        if max(column, minus or 0) >= self.values.shape[1]:
            return None
        values, low, high = self.values[:, column], float(self.low[column]), float(self.high[column])
        if minus is not None:
            values = values - self.values[:, minus]
            low, high = low - float(self.high[minus]), high - float(self.low[minus])
        seen = np.isfinite(values)
        if not math.isfinite(high - low) or not seen.any():
            return None
        if values[seen].min() < low - ROUNDING or values[seen].max() > high + ROUNDING:
            # Outcomes completed by inverse propensity may lie outside: no bound is known.
            return None
        units = int(self.unit.max()) + 1
        mass: Floats = np.bincount(self.unit[seen], self.weight[seen], units).astype(np.float64)
        sums: Floats = np.bincount(self.unit[seen], self.weight[seen] * values[seen], units).astype(np.float64)
        sums, mass = sums[mass > 0], mass[mass > 0]
        counts = np.unique(np.round(sums / mass, 9), return_counts=True)[1]
        if len(mass) < 2 or len(mass) - counts.max() >= FEWEST_INFORMATIVE:
            return None
        return betting_interval(sums, mass, low=low, high=high, level=level, seed=self.seed)


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Replicates of k statistics.

    Attributes:
        estimate: float64 [k], on the rows as they are.
        replicates: float64 [replicates, k].
        units: independent units resampled (groups, or rows where there are none).
        means: what the first of them are means of; None where the caller did not say.
    """

    estimate: Floats
    replicates: Floats
    units: int
    means: BoundedMeans | None = None

    def interval(self, column: int, *, minus: int | None = None, level: float = 0.95) -> Interval:
        """Interval of one statistic, or of its difference to another one (paired).

        By percentiles, or by betting where it is a mean of bounded values that few units tell from a constant.

        Replicates in which the statistic is undefined are left out up to 2.5 %; beyond that, and with fewer
        than two units, the bounds are NaN: nothing can be said.
        """
        values, estimate = self.replicates[:, column], float(self.estimate[column])
        if minus is not None:
            values, estimate = values - self.replicates[:, minus], estimate - float(self.estimate[minus])
        defined = np.isfinite(values)
        if self.units < 2 or np.mean(~defined) > UNDEFINED_SHARE:
            return Interval(estimate, float("nan"), float("nan"))
        by_betting = None if self.means is None else self.means.interval(column, minus, level)
        if by_betting is not None:
            return Interval(estimate, *by_betting)
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
    means_of: tuple[Floats, Floats, Floats] | None = None,
) -> Bootstrap:
    """Bootstrap k statistics together.

    Args:
        statistics: from weightings float64 [b, rows] to values float64 [b, k].
        rows: number of rows.
        weight: float64 [rows], positive; all ones where None.
        group: int64 [rows]; whole groups are resampled (cluster bootstrap). Rows are the units where None.
        replicates: number of replicates.
        seed: of the numpy Generator.
        means_of: what the first statistics are means of, float64 [rows, j], and their least and largest possible
            values, float64 [j] each (NaN where unknown): their intervals then hold for rare events as well.

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
    unit = np.arange(rows) if group is None else np.unique(group, return_inverse=True)[1]
    means = None if means_of is None else BoundedMeans(*means_of, base, unit, seed)
    return Bootstrap(estimate, np.concatenate(blocks), int(unit.max()) + 1, means)


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


def bootstrap_shares(values: Floats, *, replicates: int = 1000, seed: int = 0) -> Bootstrap:
    """Of the means of ``values`` float64 [rows, k], each in [0, 1]; intervals hold for rare ones as well."""
    columns = values.shape[1]
    return paired_bootstrap(
        mean_statistics(values),
        len(values),
        replicates=replicates,
        seed=seed,
        means_of=(values, np.zeros(columns), np.ones(columns)),
    )


def paired_difference(
    first: Floats,
    second: Floats,
    *,
    weight: Floats | None = None,
    group: npt.NDArray[np.int64] | None = None,
    replicates: int = 1000,
    seed: int = 0,
    bounds: tuple[float, float] | None = None,
) -> Interval:
    """Interval of the mean of ``first - second`` (both float64 [n]) over rows where both are observed.

    ``bounds`` of such a difference, where they are known, make it hold for rare ones as well.
    """
    values = (np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64))[:, None]
    return paired_bootstrap(
        mean_statistics(values),
        len(values),
        weight=weight,
        group=group,
        replicates=replicates,
        seed=seed,
        means_of=None if bounds is None else (values, np.array([bounds[0]]), np.array([bounds[1]])),
    ).interval(0)
