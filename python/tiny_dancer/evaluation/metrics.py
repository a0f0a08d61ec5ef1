"""Routing metrics: performance-gap curves, cost-quality hulls and calibration error.

Sources: APGR and CPT are RouteLLM's (Ong et al. 2024, section 3.2; ``routellm/evals/benchmarks.py`` for the
thresholds and ``evaluate.py`` for the areas); AIQ is RouterBench's (Hu et al. 2024, section 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tiny_dancer.errors import DataError, OptionError

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

Method = Literal["binned", "exact"]
BINS = 10
POSITION_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class GainCurve:
    """Quality against the share of requests sent to the strong model.

    Attributes:
        share: float64 [p], ascending from 0 to 1.
        quality: float64 [p], mean quality at each share.
        quality_weak: mean quality of always-weak.
        quality_strong: mean quality of always-strong.
        rows: rows counted.
        dropped: rows left out because a quality was not observed.
    """

    share: Floats
    quality: Floats
    quality_weak: float
    quality_strong: float
    rows: int
    dropped: int


@dataclass(frozen=True, slots=True)
class PairFigures:
    """Figures of b weightings of one score: every field is float64 [b], NaN where undefined."""

    apgr_binned: Floats
    apgr_exact: Floats
    cpt50_binned: Floats
    cpt80_binned: Floats
    cpt50_exact: Floats
    cpt80_exact: Floats


class PairScorer:
    """One score sorted once, then read under many row weightings (a bootstrap replicate is a weighting).

    Args:
        gain_score: float64 [n]; the higher, the sooner a request goes to the strong model.
        quality_weak: float64 [n]; NaN where not observed.
        quality_strong: float64 [n]; NaN where not observed.

    Raises:
        DataError: lengths differ, a score is not finite, or no row has both qualities.
    """

    def __init__(self, gain_score: Floats, quality_weak: Floats, quality_strong: Floats) -> None:
        """Sort once; ties become one piece of the curve."""
        score = np.asarray(gain_score, dtype=np.float64)
        weak = np.asarray(quality_weak, dtype=np.float64)
        strong = np.asarray(quality_strong, dtype=np.float64)
        if not (score.ndim == 1 and score.shape == weak.shape == strong.shape):
            raise DataError(
                "gain_score", f"shapes {score.shape}, {weak.shape}, {strong.shape}", "give n values of each"
            )
        observed = np.isfinite(weak) & np.isfinite(strong)
        if not observed.any():
            raise DataError("quality", "no row has both qualities", "give rows where both models were scored")
        if not np.isfinite(score[observed]).all():
            raise DataError("gain_score", "inf or NaN", "give a finite score for every row")
        self.rows = int(observed.sum())
        self.dropped = len(score) - self.rows
        kept = np.flatnonzero(observed)
        self.order = kept[np.argsort(score[kept], kind="stable")]
        ascending = score[self.order]
        starts = np.flatnonzero(np.concatenate(([True], np.diff(ascending) > 0)))
        self._boundaries = np.append(starts, self.rows)
        self._run_start = starts[np.cumsum(np.concatenate(([True], np.diff(ascending) > 0))) - 1]
        self._weak = weak[self.order]
        self._gain = strong[self.order] - self._weak

    def _prefixes(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Prefix sums of normalised weight and gain, both [b, rows + 1], and mean weak quality [b]."""
        taken = weights[:, self.order]
        total = taken.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            taken = taken * (self.rows / total)
        share = np.zeros((len(taken), self.rows + 1))
        gain = np.zeros_like(share)
        np.cumsum(taken, axis=1, out=share[:, 1:])
        np.cumsum(taken * self._gain, axis=1, out=gain[:, 1:])
        return share, gain / self.rows, (taken @ self._weak) / self.rows

    def _points(self, share: Floats, gain: Floats, method: Method) -> tuple[Floats, Floats]:
        """Curve points by ascending share: share [b, p] and gain over always-weak [b, p]."""
        if method == "exact":
            # A tie is a straight piece: its expected value when tied requests are taken in random order.
            at: npt.NDArray[np.int64] = np.broadcast_to(
                self._boundaries[::-1], (len(share), len(self._boundaries))
            )
            picked_share, picked_gain = share[:, self._boundaries[::-1]], gain[:, self._boundaries[::-1]]
        else:
            at = np.stack([self._bin_starts(row) for row in share])
            picked_share = np.take_along_axis(share, at, axis=1)
            picked_gain = np.take_along_axis(gain, at, axis=1)
        return 1.0 - picked_share / share[:, -1:], gain[:, -1:] - picked_gain

    def _bin_starts(self, cumulative: Floats) -> npt.NDArray[np.int64]:
        """First selected rank at each of the 11 equal-count thresholds, from 0 % to 100 % strong.

        ``pandas.qcut`` interpolates the quantile between the order statistics around (n - 1) i / 10, and
        RouteLLM sends ``score >= threshold`` to the strong model, ``>`` at the last threshold. So the first
        selected row is the first row tied with the order statistic at the ceiling of that position.
        """
        positions = np.ceil((self.rows - 1) * np.arange(BINS) / BINS - POSITION_TOLERANCE)
        ranks = np.searchsorted(cumulative[1:], positions + POSITION_TOLERANCE, side="right")
        starts = self._run_start[np.minimum(ranks, self.rows - 1)]
        starts[0] = 0
        return np.append(starts, self.rows)[::-1]

    def curve(self, weight: Floats | None, method: Method) -> GainCurve:
        """The gain curve under one weighting (all ones where None)."""
        weights = np.ones((1, self.rows + self.dropped)) if weight is None else np.asarray(weight)[None, :]
        share, gain, weak = self._prefixes(weights)
        x, y = self._points(share, gain, method)
        return GainCurve(
            share=x[0],
            quality=weak[0] + y[0],
            quality_weak=float(weak[0]),
            quality_strong=float(weak[0] + gain[0, -1]),
            rows=self.rows,
            dropped=self.dropped,
        )

    def figures(self, weights: Floats) -> PairFigures:
        """APGR and CPT of every weighting in ``weights`` (float64 [b, n], one column per original row)."""
        share, gain, _ = self._prefixes(weights)
        total = np.where(gain[:, -1] > 0, gain[:, -1], np.nan)
        binned = self._points(share, gain, "binned")
        exact = self._points(share, gain, "exact")
        return PairFigures(
            apgr_binned=_area(*binned) / total,
            apgr_exact=_area(*exact) / total,
            cpt50_binned=_interpolated_crossing(*binned, 0.5 * total),
            cpt80_binned=_interpolated_crossing(*binned, 0.8 * total),
            cpt50_exact=_first_crossing(*exact, 0.5 * total),
            cpt80_exact=_first_crossing(*exact, 0.8 * total),
        )


def _area(x: Floats, y: Floats) -> Floats:
    """Trapezoid area per row of x and y, both [b, p]."""
    area: Floats = (np.diff(x, axis=1) * (y[:, 1:] + y[:, :-1])).sum(axis=1) / 2
    return area


def _interpolated_crossing(x: Floats, y: Floats, target: Floats) -> Floats:
    """RouteLLM's ``np.interp(target, quality, share)``, on curves that need not rise everywhere."""
    return np.array(
        [np.interp(t, yy, xx) if np.isfinite(t) else np.nan for xx, yy, t in zip(x, y, target, strict=True)]
    )


def _first_crossing(x: Floats, y: Floats, target: Floats) -> Floats:
    """Smallest share at which the piecewise-linear curve reaches the target, per row; NaN if target is."""
    reached = y >= target[:, None] - 1e-12
    reached[:, -1] = True
    index = np.maximum(reached.argmax(axis=1), 1)
    rows = np.arange(len(x))
    x0, x1, y0, y1 = x[rows, index - 1], x[rows, index], y[rows, index - 1], y[rows, index]
    rise = np.where(y1 > y0, y1 - y0, 1.0)
    part = np.clip((target - y0) / rise, 0.0, 1.0)
    return np.where(np.isfinite(target), x0 + part * (x1 - x0), np.nan)


def _checked_weight(weight: Floats | None, n: int) -> Floats | None:
    if weight is None:
        return None
    checked = np.asarray(weight, dtype=np.float64)
    if checked.shape != (n,) or not np.isfinite(checked).all() or (checked < 0).any() or checked.sum() <= 0:
        raise DataError("weight", "not n finite values >= 0", "give one positive weight per row")
    return checked


def gain_curve(
    gain_score: Floats,
    quality_weak: Floats,
    quality_strong: Floats,
    *,
    weight: Floats | None = None,
    method: Method = "exact",
) -> GainCurve:
    """Quality against the share of strong calls as requests move over by descending ``gain_score`` (all [n]).

    ``binned`` has RouteLLM's 11 points (10 equal-count bins), ``exact`` one per distinct score. Rows without
    both qualities are dropped and counted. Raises DataError on shapes, non-finite scores or no usable row.
    """
    return PairScorer(gain_score, quality_weak, quality_strong).curve(
        _checked_weight(weight, len(gain_score)), _checked_method(method)
    )


def _checked_method(method: Method) -> Method:
    if method not in ("binned", "exact"):
        raise OptionError("method", method, "choose 'binned' or 'exact'")
    return method


def _figures(score: Floats, weak: Floats, strong: Floats, weight: Floats | None) -> PairFigures:
    checked = _checked_weight(weight, len(score))
    weights = np.ones(len(score)) if checked is None else checked
    return PairScorer(score, weak, strong).figures(weights[None, :])


def apgr(
    gain_score: Floats,
    quality_weak: Floats,
    quality_strong: Floats,
    *,
    weight: Floats | None = None,
    method: Method = "binned",
) -> float:
    """Average performance gap recovered (RouteLLM, section 3.2).

    The area between the curve and always-weak, over that between always-strong and always-weak: 0.5 is
    random, NaN where strong is not better than weak.

    Where RouteLLM's ``qcut`` would refuse duplicate thresholds (ties), the repeated points are kept; they
    add no area.
    """
    figures = _figures(gain_score, quality_weak, quality_strong, weight)
    return float((figures.apgr_binned if _checked_method(method) == "binned" else figures.apgr_exact)[0])


def cpt(
    gain_score: Floats,
    quality_weak: Floats,
    quality_strong: Floats,
    *,
    level: float = 0.5,
    weight: Floats | None = None,
    method: Method = "binned",
) -> float:
    """Call-performance threshold: share of strong calls in [0, 1] at which ``level`` of the gap is recovered.

    ``binned`` is RouteLLM's interpolation, ``exact`` the first share that reaches the level. NaN where the
    strong model is not better.
    """
    if not 0 < level < 1:
        raise OptionError("level", level, "give a share of the gap between 0 and 1, such as 0.5")
    curve = gain_curve(gain_score, quality_weak, quality_strong, weight=weight, method=method)
    gap = curve.quality_strong - curve.quality_weak
    target = np.array([curve.quality_weak + level * gap if gap > 0 else np.nan])
    crossing = _interpolated_crossing if method == "binned" else _first_crossing
    return float(crossing(curve.share[None, :], curve.quality[None, :], target)[0])


@dataclass(frozen=True, slots=True)
class CostQualityCurve:
    """The non-decreasing concave hull of cost-quality points (RouterBench's "non-decreasing convex hull").

    Attributes:
        cost: float64 [p] ascending, in the unit of the points.
        quality: float64 [p] strictly ascending but for a single point.
    """

    cost: Floats
    quality: Floats

    def at(self, cost: Floats | float) -> Floats:
        """Best mean quality for a mean cost.

        Flat beyond the dearest point; below the cheapest a mix with answering nothing (quality 0 at cost 0).
        """
        x, y = self.cost, self.quality
        if x[0] > 0:
            x, y = np.concatenate(([0.0], x)), np.concatenate(([0.0], y))
        return np.interp(np.asarray(cost, dtype=np.float64), x, y)


def hull_indices(cost: Floats, quality: Floats) -> list[int]:
    """Indices of the points on the non-decreasing concave hull, by ascending cost.

    Raises DataError where there is no point or one is not finite.
    """
    x, y = np.asarray(cost, dtype=np.float64), np.asarray(quality, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) == 0 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise DataError("cost", f"shapes {x.shape}, {y.shape}", "give p finite costs and qualities")
    hull: list[int] = []
    for i in np.lexsort((-y, x)):
        if hull and y[i] <= y[hull[-1]]:
            continue
        while len(hull) >= 2:
            a, b = hull[-2], hull[-1]
            if (y[b] - y[a]) * (x[i] - x[a]) > (y[i] - y[a]) * (x[b] - x[a]):
                break
            hull.pop()
        hull.append(int(i))
    return hull


def cost_quality_curve(cost: Floats, quality: Floats) -> CostQualityCurve:
    """Hull of points (``cost``, ``quality``, both [p]); mixing two points at random reaches the line between.

    Raises DataError where there is no point or one is not finite.
    """
    hull = hull_indices(cost, quality)
    return CostQualityCurve(
        cost=np.asarray(cost, dtype=np.float64)[hull], quality=np.asarray(quality, dtype=np.float64)[hull]
    )


def aiq(cost: Floats, quality: Floats, *, cost_range: tuple[float, float] | None = None) -> float:
    """Average improvement in quality: area under ``cost_quality_curve`` over the cost range, divided by it.

    ``cost_range`` defaults to the points' own; give one range to compare routers. A range of no width gives
    the quality there.
    """
    curve = cost_quality_curve(cost, quality)
    low, high = cost_range if cost_range is not None else (float(np.min(cost)), float(np.max(cost)))
    if not (np.isfinite(low) and np.isfinite(high) and 0 <= low <= high):
        raise OptionError("cost_range", (low, high), "give 0 <= low <= high")
    if high == low:
        return float(curve.at(low))
    inside = curve.cost[(curve.cost > low) & (curve.cost < high)]
    x = np.concatenate(([low], inside, [high]))
    return float(np.trapezoid(curve.at(x), x) / (high - low))


@dataclass(frozen=True, slots=True)
class Reliability:
    """Equal-mass bins of a forecast: all fields [bins used]; ``mass`` sums to 1."""

    predicted: Floats
    observed: Floats
    mass: Floats


def reliability(
    predicted: Floats, quality: Floats, *, weight: Floats | None = None, bins: int = 15
) -> Reliability:
    """Mean forecast and mean outcome in equal-mass bins of the forecast; equal forecasts share a bin.

    Entries whose quality is NaN are left out. Raises DataError where none remains.
    """
    p, q = np.ravel(np.asarray(predicted, dtype=np.float64)), np.ravel(np.asarray(quality, dtype=np.float64))
    w = np.ones_like(p) if weight is None else np.ravel(np.asarray(weight, dtype=np.float64))
    if not p.shape == q.shape == w.shape:
        raise DataError("predicted", f"shapes {p.shape}, {q.shape}, {w.shape}", "give n values of each")
    seen = np.isfinite(q)
    if not seen.any() or not np.isfinite(p[seen]).all():
        raise DataError("predicted", "nothing observed, or a forecast not finite", "give finite forecasts")
    p, q, w = p[seen], q[seen], w[seen]
    values, inverse = np.unique(p, return_inverse=True)
    mass = np.bincount(inverse, weights=w)
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    bin_of_value = np.minimum((middle * bins).astype(np.int64), bins - 1)
    in_bin = np.bincount(bin_of_value, weights=mass, minlength=bins)
    forecast = np.bincount(bin_of_value, weights=mass * values, minlength=bins)
    outcome = np.bincount(bin_of_value[inverse], weights=w * q, minlength=bins)
    used = in_bin > 0
    return Reliability(
        predicted=forecast[used] / in_bin[used],
        observed=outcome[used] / in_bin[used],
        mass=in_bin[used] / in_bin.sum(),
    )


def expected_calibration_error(
    predicted: Floats, quality: Floats, *, weight: Floats | None = None, bins: int = 15
) -> float:
    """Mass-weighted mean of |mean forecast - mean outcome| over equal-mass bins (Naeini et al. 2015)."""
    r = reliability(predicted, quality, weight=weight, bins=bins)
    return float((r.mass * np.abs(r.predicted - r.observed)).sum())


def brier(predicted: Floats, quality: Floats, *, weight: Floats | None = None) -> float:
    """Weighted mean squared error of the forecast over observed entries (Brier 1950); NaN where none is."""
    p, q = np.ravel(np.asarray(predicted, dtype=np.float64)), np.ravel(np.asarray(quality, dtype=np.float64))
    w = np.ones_like(p) if weight is None else np.ravel(np.asarray(weight, dtype=np.float64))
    seen = np.isfinite(q)
    if not seen.any():
        return float("nan")
    return float(np.average((p[seen] - q[seen]) ** 2, weights=w[seen]))
