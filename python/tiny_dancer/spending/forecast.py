"""When a budget runs out."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.errors import BudgetError
from tiny_dancer.evaluation.bootstrap import Interval
from tiny_dancer.evaluation.forecast import FEWEST_SEASONS, WEEK, check_level, forecast_spend
from tiny_dancer.names import least_far
from tiny_dancer.spending.past import DAY, HOUR, read_past
from tiny_dancer.storage.periods import period, rolling
from tiny_dancer.storage.values import utc_seconds

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.spending.past import Past
    from tiny_dancer.storage import Budget, Storage

    Floats = npt.NDArray[np.float64]

_UNITS = 1e12
_SHORT = 2 * DAY  # periods up to this long are forecast by hours
_ENDLESS = 90 * DAY  # looked ahead where a period never ends


@dataclass(frozen=True, slots=True)
class BudgetForecast:
    """When a budget runs out. Times are UTC seconds.

    Attributes:
        budget: which.
        now: moment of the forecast.
        start: of the period, or of the window of a rolling one.
        end: of the period; None where it has none, or is a rolling window.
        spent: USD in this period so far.
        left: USD until the limit, 0 at least.
        until: how far the forecast looks; None without one. Before ``end`` where the history is shorter than what
            is left of the period.
        spent_then: USD spent in the period by then; None without a forecast.
        probability: that it runs out by then; 1 where it has, None where it cannot be told.
        runs_out: when, in the middle of what may come; None where it does not by then.
        earliest: lower end of the interval of that moment; None where it does not run out by then.
        latest: upper end; None where it may last.
        pace: USD a day, as is usual at present; None without a forecast.
        days: of history that were read.
        unpriced: requests of that history whose cost nobody knows: they count as free.
        untold: requests of this period that retention has removed, and of which nobody knows any more whether they
            fall under the budget; they do not count.
        level: that intervals hold the truth with.
        unknown: why there is no forecast; empty where there is.
    """

    budget: Budget
    now: float
    start: float
    end: float | None
    spent: float
    left: float
    until: float | None
    spent_then: Interval | None
    probability: float | None
    runs_out: float | None
    earliest: float | None
    latest: float | None
    pace: float | None
    days: float
    unpriced: int
    untold: int
    level: float
    unknown: str

    @property
    def has_run_out(self) -> bool:
        """Whether nothing is left."""
        return self.spent >= self.budget.limit

    @property
    def whole(self) -> bool:
        """Whether the forecast looks as far as the period goes."""
        return self.end is not None and self.until is not None and self.until >= self.end


def forecast_budget(
    storage: Storage, budget: Budget | str, *, now: float | None = None, level: float = 0.9
) -> BudgetForecast:
    """When a budget runs out, by what the requests that fall under it have cost so far.

    Days are the 24 hours up to the last full hour, the 24 before, and so on, so that a day that is not over yet is
    no day of little spending. Periods of up to two days are forecast by hours.

    Args:
        storage: where the requests are.
        budget: the budget, or the id of one that is stored.
        now: UTC seconds; the present by default.
        level: of the intervals.

    Raises:
        BudgetError: no budget has this id, and the nearest is named; or a moment that cannot be.
        OptionError: a level that cannot be.
    """
    asked = time.time() if now is None else utc_seconds("now", now, error=BudgetError)
    if asked < 0:
        raise BudgetError("now", now, "give a time since 1970, or leave it out")
    level = check_level(level)
    found = _found(storage, budget) if isinstance(budget, str) else budget
    window = rolling(found.period) is not None
    start, end = _span(found, asked)
    where = {} if found.scope == "all" else {found.scope: found.subject}
    past = read_past(storage, where, asked)
    counted = storage.request_summary(by=(), since=start, until=asked, where=where, percentiles=False)
    spent = max(math.fsum(each.spent for each in counted), _ledger(storage, found, start, window=window))
    nothing = BudgetForecast(
        budget=found,
        now=asked,
        start=start,
        end=None if window or math.isinf(end) else end,
        spent=spent,
        left=max(found.limit - spent, 0.0),
        until=None,
        spent_then=None,
        probability=1.0 if spent >= found.limit else None,
        runs_out=asked if spent >= found.limit else None,
        earliest=asked if spent >= found.limit else None,
        latest=asked if spent >= found.limit else None,
        pace=None,
        days=len(past.spent) * HOUR / DAY,
        unpriced=past.uncosted,
        untold=sum(each.unknown for each in counted),
        level=level,
        unknown="",
    )
    return _forecast(nothing, past, end, window=window)


def _forecast(known: BudgetForecast, past: Past, end: float, *, window: bool) -> BudgetForecast:
    """Adds the forecast, or why there is none."""
    budget, now = known.budget, known.now
    if known.has_run_out:
        return known
    if budget.ends_at is not None and budget.ends_at <= now:
        return replace(known, unknown=f"it has ended on {day(budget.ends_at)}")
    if budget.starts_at is not None and budget.starts_at > now:
        return replace(known, unknown=f"it begins on {day(budget.starts_at)}")
    ahead = known.now - known.start if window else min(end - past.end, _ENDLESS)
    length = known.now - known.start if window else end - known.start
    hours, season, word = (1, 24, "hours") if length <= _SHORT else (24, WEEK, "days")
    spent = past.steps(past.spent, hours)
    needed = FEWEST_SEASONS * season
    if len(spent) < needed:
        return replace(known, unknown=f"not enough history: needs {needed} {word}, has {len(spent)}")
    horizon = min(ahead / (hours * HOUR), float(len(spent)))
    left = budget.limit - known.spent + past.since_then
    allowed: float | Floats = _leaving(past, budget.limit, ahead, hours, horizon) if window else left
    found = forecast_spend(spent, horizon=horizon, remaining=allowed, season=season, level=known.level)
    step = float(hours * HOUR)
    before = known.spent - past.since_then
    until = min(past.end + horizon * step, end)
    return replace(
        known,
        until=until,
        spent_then=None
        if window
        else Interval(
            max(found.spending.estimate + before, known.spent),
            max(found.spending.low + before, known.spent),
            max(found.spending.high + before, known.spent),
        ),
        probability=found.probability,
        runs_out=_moment(found.runs_out, known, past, step),
        earliest=_moment(found.earliest, known, past, step),
        latest=_moment(found.latest, known, past, step),
        pace=found.pace * DAY / step,
    )


def _moment(steps: float, known: BudgetForecast, past: Past, step: float) -> float | None:
    # It has not run out yet, whatever a forecast from the last full hour on says.
    return None if math.isinf(steps) else max(past.end + steps * step, known.now)


def _leaving(past: Past, limit: float, window: float, hours: int, horizon: float) -> Floats:
    """USD that may be spent until each step: what was spent before leaves the window hour by hour."""
    sums = np.concatenate([[0.0], np.cumsum(past.spent[::-1])])  # of the last so many hours
    kept = np.maximum(round(window / HOUR) - np.arange(math.ceil(horizon) + 1) * hours, 0)
    allowed: Floats = limit - sums[np.minimum(kept, len(past.spent))]
    return allowed


def _found(storage: Storage, id: str) -> Budget:
    budgets = {each.id: each for each in storage.budgets()}
    if id in budgets:
        return budgets[id]
    near = least_far(id, budgets)
    raise BudgetError("budget", id, f"the nearest is {near!r}" if near else "there are no budgets")


def _span(budget: Budget, now: float) -> tuple[float, float]:
    """The present period, as far as the budget counts in it; of a rolling one its window and no end."""
    if budget.period is not None and rolling(budget.period) is not None:
        first, last = period(budget.period.split()[-1], 0.0, 0.0)
        start, end = now - (last - first), math.inf
    else:
        start, end = period(budget.period, budget.created_at, now)
    if budget.starts_at is not None:
        start = max(start, min(budget.starts_at, now))
    if budget.ends_at is not None:
        end = min(end, budget.ends_at)
    return start, end


def _ledger(storage: Storage, budget: Budget, start: float, *, window: bool) -> float:
    """USD that the ledger of budgets has counted in the period: what nobody lived to record is in there too."""
    if window:
        return 0.0
    first = math.floor(start * 1000)
    return sum(each.spent for each in storage.budget_entries(budget.id, since=first)) / _UNITS


def in_words(forecast: BudgetForecast) -> str:
    """What the forecast says, as one sentence without the budget's name."""
    limit, spent = f"{forecast.budget.limit:,.6g} USD", f"{forecast.spent:,.6g}"
    if forecast.unpriced:
        said = in_words(replace(forecast, unpriced=0))
        return f"{said}; {forecast.unpriced:,} requests have no price and count as free"
    if forecast.untold:
        said = in_words(replace(forecast, untold=0))
        return f"{said}; {forecast.untold:,} removed requests may be of it and do not count"
    if forecast.unknown:
        return f"{spent} of {limit} spent; {forecast.unknown}"
    if forecast.has_run_out:
        anew = "" if forecast.end is None else f", until {day(forecast.end)}"
        return f"has run out: {spent} of {limit} spent{anew}"
    assert forecast.until is not None and forecast.probability is not None
    by = f"by {day(forecast.until)}"
    short = "" if forecast.whole or forecast.end is None else ", as far as the history allows to look"
    chance = f"runs out {by} with probability {_percent(forecast.probability)}{short}"
    if forecast.earliest is None:
        return f"will not run out: {chance}"
    middle = "" if forecast.runs_out is None else f" about {day(forecast.runs_out)}"
    latest = "later than that" if forecast.latest is None else day(forecast.latest)
    between = f"{forecast.level:.0%} interval {day(forecast.earliest)} to {latest}"
    likely = "runs out" if forecast.runs_out is not None else "may run out"
    return f"{likely}{middle} ({between}); {chance}"


def _percent(share: float) -> str:
    """Simulated shares near the ends are no certainties."""
    return "below 1 %" if share < 0.01 else "above 99 %" if share > 0.99 else f"{100 * share:.0f} %"


def day(moment: float) -> str:
    """A moment as UTC date and time, to the minute."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
