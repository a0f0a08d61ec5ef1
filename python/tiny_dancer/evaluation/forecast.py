"""When a budget runs out, from what was spent before: simulated ways it may go on, with intervals.

A way is made of whole seasons (weeks of days, days of hours) of the past, drawn as from Pólya's urn: each that is
drawn goes back with a copy of itself. That is how the Bayesian bootstrap predicts (Rubin 1981), and keeps what few
seasons leave unknown. A season counts relative to what was usual about it, every step keeps its weekday or hour,
and the whole is set on what is usual now. On top, the usual grows or shrinks: its rate is Student-distributed
about what past changes were, with a prior, and damped (Gardner and McKenzie 1985). One huge day does not move what
is usual, as that is a mean of values cut off at five times the median; it stays one of the days that may come
again.

How well the intervals hold, beside straight lines and plain resampling: ``benchmarks/results/forecast.json``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.evaluation.bootstrap import Interval

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

WEEK = 7
FEWEST_SEASONS = 2
"""Seasons of history without which nothing is said."""

_SEASONS = 8  # that may come again: older ones say little of how it is spent now
_CAP = 5.0  # times the median, beyond which a step does not count for what is usual
_GROWTH = 0.07  # standard deviation of the growth of one season, a priori, and how many seasons that is worth
_PRIOR_SEASONS = 4.0
_MOST_GROWTH = 0.14  # of a season
_DAMPED = 0.75  # what is left of a growth after one more season
_LEVEL = 0.1  # standard deviation of the logarithm of what is usual now
_CHANGE = 0.04  # variance of the logarithm by which what is usual changes while the seasons pass


@dataclass(frozen=True, slots=True)
class SpendForecast:
    """How spending goes on until the period ends. Times are in steps (days, or hours) from now.

    Attributes:
        spending: of what is spent from now until the end.
        probability: that no less than what remains is spent by then.
        runs_out: when, in the middle of the ways: half of them run out earlier; infinite where they do not within
            the period.
        earliest: lower end of the interval of that moment.
        latest: upper end; infinite where it may last.
        pace: spent in a step at present, as is usual.
        growth: of what is usual, a step, in logarithms.
        steps: of history.
        level: that each interval holds the truth with.
    """

    spending: Interval
    probability: float
    runs_out: float
    earliest: float
    latest: float
    pace: float
    growth: float
    steps: int
    level: float


def check_level(level: object) -> float:
    """A level that intervals can hold with.

    Raises:
        OptionError: it is none.
    """
    if not (isinstance(level, (float, np.floating)) and 0.5 <= level < 1):
        raise OptionError("level", level, "give a level from 0.5 to below 1, such as 0.9")
    return float(level)


def steps_needed(horizon: float, season: int = WEEK) -> int:
    """Steps of history that a forecast needs: two seasons, and no fewer than it looks ahead."""
    return max(FEWEST_SEASONS * season, math.ceil(horizon))


def forecast_spend(
    history: npt.ArrayLike,
    *,
    horizon: float,
    remaining: npt.ArrayLike,
    season: int = WEEK,
    level: float = 0.9,
    ways: int = 2000,
    seed: int = 0,
) -> SpendForecast:
    """What will be spent, and when no more remains.

    Args:
        history: float [n], spent in each step up to now, oldest first; 0 where nothing was, below 0 where more
            was given back than spent.
        horizon: steps until the period ends, a fraction too.
        remaining: USD that may still be spent; 0 or less: it has run out. Of a window that moves, float
            [steps + 1], what may be spent from now until each step, as what was spent before leaves it.
        season: steps after which spending repeats itself: 7 days, 24 hours.
        level: of the intervals.
        ways: simulated.
        seed: of the numpy Generator.

    Raises:
        DataError: not enough history, or a value that is no number.
        OptionError: a horizon, amount or level that cannot be.
    """
    spent = np.asarray(history, np.float64)
    if spent.ndim != 1 or not np.isfinite(spent).all():
        raise DataError("history", f"{spent.shape}", "give one finite number a step, 0 where nothing was spent")
    if not (math.isfinite(horizon) and horizon > 0):
        raise OptionError("horizon", horizon, "give steps above 0 until the end of the period")
    allowed = np.broadcast_to(np.asarray(remaining, np.float64), math.ceil(horizon) + 1)
    if np.isnan(allowed).any():
        raise OptionError("remaining", remaining, "give USD")
    if isinstance(season, bool) or season < 2:
        raise OptionError("season", season, "give 7 for days, 24 for hours")
    level = check_level(level)
    if ways < 100:
        raise OptionError("ways", ways, "give 100 or more")
    needed = steps_needed(horizon, season)
    if len(spent) < needed:
        raise DataError("history", f"{len(spent)} steps", f"a forecast needs {needed}")
    paths, pace, growth = _ways(spent, math.ceil(horizon), season, ways, seed)
    total = np.cumsum(paths, axis=1)
    before = np.concatenate([np.zeros((ways, 1)), total], axis=1)
    whole = math.floor(horizon)
    ends = before[:, whole] + (horizon - whole) * (paths[:, whole] if whole < paths.shape[1] else 0.0)
    when = _crossings(before - allowed, horizon)
    tail = (1 - level) / 2
    low, middle, high = np.quantile(ends, (tail, 0.5, 1 - tail))
    # Moments may be infinite: between a number and infinity there is nothing to interpolate.
    early, half, late = np.quantile(when, (tail, 0.5, 1 - tail), method="nearest")
    return SpendForecast(
        spending=Interval(float(middle), float(low), float(high)),
        probability=float(np.isfinite(when).mean()),
        runs_out=float(half),
        earliest=float(early),
        latest=float(late),
        pace=pace,
        growth=growth,
        steps=len(spent),
        level=level,
    )


def _crossings(over: Floats, horizon: float) -> Floats:
    """Steps after which each way has spent what it may, float64 [ways]; infinite where not within the horizon.

    Args:
        over: float64 [ways, steps + 1], what is spent beyond what may be.
        horizon: steps.
    """
    there = over >= 0
    step = there.argmax(axis=1)
    rows = np.arange(len(over))
    before, after = over[rows, np.maximum(step - 1, 0)], over[rows, step]
    with np.errstate(invalid="ignore", divide="ignore"):
        moment = np.where(step > 0, step - 1 - before / (after - before), 0.0)
    return np.where(there.any(axis=1) & (moment <= horizon), moment, np.inf)


def _ways(spent: Floats, steps: int, season: int, ways: int, seed: int) -> tuple[Floats, float, float]:
    """Simulated spending, float64 [ways, steps], with what is usual now and its growth a step."""
    rng = np.random.default_rng(seed)
    n = len(spent)
    recent, weights = _recent(spent, season)
    pace = float(weights @ recent)
    starts, about = _seasons(spent, season)
    if pace <= 0 or not len(starts):
        return np.zeros((ways, steps)), 0.0, 0.0
    blocks = np.stack(
        [
            np.roll(spent[start : start + season] / level, (start - n) % season)
            for start, level in zip(starts, about, strict=True)
        ]
    )
    count = -(-steps // season)
    drawn = blocks[_urn(len(blocks), count, ways, season, rng)].reshape(ways, -1)[:, :steps]
    growth, spread, freedom = _growth(spent, season)
    # What is usual now is that of a season ago, in the middle of the two.
    ahead = np.cumsum(_DAMPED ** (np.arange(steps) / season)) + _DAMPED * season
    rates = np.clip(growth + spread * rng.standard_t(freedom, ways), -10 * _MOST_GROWTH, 10 * _MOST_GROWTH)
    logs = rates[:, None] * ahead + _LEVEL * rng.standard_normal((ways, 1))
    return drawn * _doubted(recent, weights, ways, rng)[:, None] * np.exp(logs), pace, growth


def _recent(spent: Floats, season: int) -> tuple[Floats, Floats]:
    """The last steps, cut off, and weights whose sum over them is what is usual now.

    The last two seasons say what is usual now, and the last eight say it with less noise: each counts by how far
    it is likely to be off, the first for its few steps, the others for having grown or shrunk since.
    """
    recent = _cut(spent[-_SEASONS * season :])
    mean, last = recent.mean(), 2 * season
    weights = np.full(len(recent), 1.0 / len(recent))
    if mean <= 0:
        return recent, weights
    differences = recent[season:] - recent[:-season]
    # Divided first: the square of a tiny mean is 0.
    noise = float(((differences / mean) ** 2).mean()) / 2 / last
    share = _CHANGE / (_CHANGE + noise)
    weights *= 1 - share
    weights[-last:] += share / last
    return recent, weights


def _doubted(recent: Floats, weights: Floats, ways: int, rng: np.random.Generator) -> Floats:
    """What is usual now as it may be, for all that few steps can tell: the Bayesian bootstrap of its steps."""
    drawn = rng.standard_exponential((ways, len(recent))) * weights
    found: Floats = drawn @ recent / drawn.sum(axis=1)
    return found


def usual(spent: Floats) -> float:
    """Mean of a step, those cut off that are beyond five times the median of what was spent, or below 0."""
    return float(_cut(spent).mean())


def _cut(spent: Floats) -> Floats:
    above = spent[spent > 0]
    return np.clip(spent, 0.0, _CAP * np.median(above)) if len(above) else np.zeros(len(spent))


def _seasons(spent: Floats, season: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """First steps of the seasons that may come again, with what was usual about each."""
    starts = np.arange(len(spent) - season + 1)[-_SEASONS * season :]
    around = 2 * season
    about = np.array([usual(spent[max(start - around, 0) : start + season + around]) for start in starts])
    return starts[about > 0], about[about > 0]


def _urn(kinds: int, draws: int, ways: int, season: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draws from Pólya's urn, int64 [ways, draws]. Seasons overlap: each weighs as one step at first."""
    weights = np.full((ways, kinds), 1.0 / season)
    found = np.empty((ways, draws), np.int64)
    rows = np.arange(ways)
    for place in range(draws):
        sums = np.cumsum(weights, axis=1)
        at = (sums <= (rng.random(ways) * sums[:, -1])[:, None]).sum(axis=1)
        found[:, place] = np.minimum(at, kinds - 1)
        weights[rows, found[:, place]] += 1.0
    return found


def _growth(spent: Floats, season: int) -> tuple[float, float, float]:
    """Growth of what is usual, a step in logarithms: mean, spread, and degrees of freedom."""
    span = 2 * season if len(spent) >= 4 * season else season
    changes = []
    for middle in range(span, len(spent) - span + 1):
        before, after = usual(spent[middle - span : middle]), usual(spent[middle : middle + span])
        if before > 0 or after > 0:
            # Tenfold, where one of them is nothing.
            change = math.log(after / before) if before > 0 and after > 0 else math.copysign(2.3, after - before)
            changes.append(change / span)
    most = _MOST_GROWTH / season
    known = len(changes) / span  # changes that do not overlap
    growth = min(max(math.fsum(changes) / span / (known + 2.0), -most), most)
    squares = math.fsum((change - growth) ** 2 for change in changes) / span
    prior = _PRIOR_SEASONS
    spread = math.sqrt((prior * (_GROWTH / season) ** 2 + squares) / (prior + known))
    return growth, min(spread, most), prior + known
