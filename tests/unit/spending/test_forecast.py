"""Forecasts of budgets, read from requests: situations that forecasts of costs are known to get wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.contract.requests import request

from tiny_dancer.errors import BudgetError, OptionError
from tiny_dancer.spending import forecast_budget
from tiny_dancer.spending.forecast import in_words
from tiny_dancer.storage import Budget, MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = 86_400.0
HOUR = 3600.0
WEEK = (1.2, 1.25, 1.2, 1.15, 1.0, 0.55, 0.5)


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def spent(
    storage: MemoryStorage,
    until: float,
    days: int,
    usd: Callable[[int, datetime], float | None],
    parts: int = 12,
    **fields: Any,
) -> None:
    """So many requests a day; ``usd`` says what a day costs, by how long ago it was."""
    records = []
    for ago in range(days, 0, -1):
        for part in range(parts):
            moment = until - ago * DAY + part * 24 / parts * HOUR + 60
            cost = usd(ago, datetime.fromtimestamp(moment, UTC))
            each = None if cost is None else cost / parts
            words = {"model": "small", "cost": each, "key": "k", **fields}
            records.append(request(f"{until}-{ago}-{part}", moment, **words))
    storage.record_requests(records)


def steady(usd: float) -> Callable[[int, datetime], float]:
    return lambda _, moment: usd * WEEK[moment.weekday()]


def monthly(limit: float, **words: Any) -> Budget:
    return Budget("key", "k", limit=limit, **{"period": "month", "created_at": at("2026-01-01"), **words})


def test_a_month_that_will_not_do_and_one_that_will() -> None:
    now = at("2026-06-10T09:30")
    with MemoryStorage() as storage:
        spent(storage, now, 60, steady(10.0))
        short = forecast_budget(storage, monthly(150.0), now=now)
        assert short.start == at("2026-06-01") and short.end == at("2026-07-01") and short.whole
        assert 75 < short.spent < 110 and short.left == 150 - short.spent
        assert short.probability == 1.0
        assert short.earliest is not None and short.runs_out is not None and short.latest is not None
        assert now < short.earliest < short.runs_out < short.latest < at("2026-06-20")
        assert at("2026-06-14") < short.runs_out < at("2026-06-18")
        ample = forecast_budget(storage, monthly(900.0), now=now)
        assert ample.probability == 0.0 and ample.runs_out is None and ample.earliest is None
        assert ample.spent_then is not None
        assert ample.spent_then.low < 290 < ample.spent_then.high
        assert ample.pace == pytest.approx(9.8, rel=0.1)
        likely = forecast_budget(storage, monthly(310.0), now=now)
        assert likely.probability is not None and 0.02 < likely.probability < 0.8


def test_the_first_minute_of_a_month_has_a_forecast() -> None:
    """A straight line through this month has one point, or none."""
    now = at("2026-06-01T00:01")
    with MemoryStorage() as storage:
        spent(storage, now, 60, steady(10.0))
        found = forecast_budget(storage, monthly(150.0), now=now)
        assert found.spent == pytest.approx(0.0, abs=2)
        assert found.runs_out is not None
        assert at("2026-06-13") < found.runs_out < at("2026-06-20")


def test_february_is_short() -> None:
    now = at("2026-02-20T12:00")
    with MemoryStorage() as storage:
        spent(storage, now, 45, steady(10.0))
        found = forecast_budget(storage, monthly(400.0), now=now)
        assert found.end == at("2026-03-01") and found.spent_then is not None
        assert found.spent_then.estimate == pytest.approx(28 * 9.79, rel=0.1)


def test_a_weekend_is_no_trend() -> None:
    """On a Sunday night the last two days say nothing of the five to come."""
    sunday = at("2026-06-14T23:00")
    with MemoryStorage() as storage:
        spent(storage, sunday, 60, steady(10.0))
        found = forecast_budget(storage, monthly(1000.0), now=sunday)
        assert found.spent_then is not None
        assert found.spent_then.estimate == pytest.approx(30 * 9.8, rel=0.08)


def test_one_huge_day_is_no_trend_either() -> None:
    now = at("2026-06-10T00:00")
    with MemoryStorage() as storage:
        spent(storage, now, 60, lambda ago, _: 500.0 if ago == 12 else 10.0)
        found = forecast_budget(storage, monthly(400.0), now=now)
        assert found.probability is not None and 0.0 < found.probability < 0.6
        assert found.pace == pytest.approx(10, rel=0.25)


def test_a_gap_in_the_log_is_days_without_spending() -> None:
    now = at("2026-06-20T00:00")
    with MemoryStorage() as storage:
        spent(storage, now, 50, lambda ago, _: 0.0 if 20 <= ago < 25 else 10.0)
        found = forecast_budget(storage, monthly(1000.0), now=now)
        assert found.days == pytest.approx(50, abs=0.1)
        assert found.pace == pytest.approx(9.5, rel=0.12)


def test_what_retention_has_removed_still_counts() -> None:
    now = at("2026-06-20T09:00")
    with MemoryStorage() as storage:
        spent(storage, now, 60, steady(10.0))
        before = forecast_budget(storage, monthly(1000.0), now=now)
        storage.apply_retention(max_age_s=10 * DAY, now=now)
        after = forecast_budget(storage, monthly(1000.0), now=now)
        assert after.days == pytest.approx(before.days, abs=1) and after.spent == pytest.approx(before.spent)
        assert after.pace == pytest.approx(before.pace, rel=0.05)
        assert after.spent_then is not None and before.spent_then is not None
        assert after.spent_then.estimate == pytest.approx(before.spent_then.estimate, rel=0.05)


def test_requests_ahead_of_the_clock_do_not_count() -> None:
    now = at("2026-06-20T00:00")
    with MemoryStorage() as storage:
        spent(storage, now, 30, steady(10.0))
        storage.record_requests([request("ahead", now + 3 * DAY, model="small", cost=99.0, key="k")])
        found = forecast_budget(storage, monthly(1000.0), now=now)
        assert found.spent < 200


def test_a_budget_that_is_spent_has_run_out_now() -> None:
    now = at("2026-06-10T09:30")
    with MemoryStorage() as storage:
        spent(storage, now, 30, steady(10.0))
        for limit in (50.0, 0.0):
            found = forecast_budget(storage, monthly(limit), now=now)
            assert found.has_run_out and found.probability == 1.0 and found.left == 0.0
            assert found.runs_out == found.earliest == found.latest == now and not found.unknown
        nobody = forecast_budget(storage, Budget("key", "other", limit=0.0, period="month"), now=now)
        assert nobody.has_run_out


def test_too_few_days_are_said_and_not_guessed() -> None:
    now = at("2026-06-10T09:30")
    with MemoryStorage() as storage:
        nothing = forecast_budget(storage, monthly(50.0), now=now)
        assert nothing.unknown == "not enough history: needs 14 days, has 0" and nothing.probability is None
        spent(storage, now, 9, steady(1.0))
        few = forecast_budget(storage, monthly(50.0), now=now)
        assert few.unknown == "not enough history: needs 14 days, has 9"
        assert few.spent > 8 and few.left < 42 and few.pace is None and few.spent_then is None


def test_a_forecast_looks_no_further_than_back() -> None:
    now = at("2026-06-05T00:00")
    with MemoryStorage() as storage:
        spent(storage, now, 17, steady(10.0))
        month = forecast_budget(storage, monthly(1000.0), now=now)
        assert not month.whole and month.until is not None
        assert month.until == pytest.approx(now + 16 * DAY, abs=DAY)
        year = forecast_budget(storage, monthly(1000.0, period="year"), now=now)
        assert year.end == at("2027-01-01") and not year.whole
        ever = forecast_budget(storage, monthly(1000.0, period=None), now=now)
        assert ever.end is None and ever.until is not None


def test_requests_without_a_price_are_counted_and_not_guessed() -> None:
    now = at("2026-06-10T00:00")
    with MemoryStorage() as storage:
        spent(storage, now, 30, lambda ago, _: None if ago % 3 == 0 else 9.0)
        found = forecast_budget(storage, monthly(1000.0), now=now)
        assert found.unpriced == 10 * 12
        assert found.spent == pytest.approx(54.0)


def test_a_day_is_forecast_by_hours() -> None:
    now = at("2026-06-10T12:00")
    with MemoryStorage() as storage:
        spent(storage, now, 30, lambda _, moment: 24.0 if 8 <= moment.hour < 20 else 0.0)
        day = forecast_budget(storage, monthly(10.0, period="day"), now=now)
        assert day.start == at("2026-06-10") and day.end == at("2026-06-11")
        assert day.spent == pytest.approx(4.0)
        assert day.runs_out is not None and now < day.runs_out < at("2026-06-10T20:00")
        assert forecast_budget(storage, monthly(20.0, period="day"), now=now).runs_out is None


def test_a_rolling_window_gives_back_what_leaves_it() -> None:
    now = at("2026-06-10T00:00")
    with MemoryStorage() as storage:
        # Much was spent until 20 days ago, little since: as the window moves on, less of it is used.
        spent(storage, now, 80, lambda ago, _: 30.0 if ago > 20 else 2.0)
        found = forecast_budget(storage, monthly(345.0, period="rolling 30d"), now=now)
        assert found.end is None and found.start == now - 30 * DAY
        assert found.spent == pytest.approx(340.0, rel=0.02)
        assert found.probability is not None and found.probability < 0.5
        full = forecast_budget(storage, monthly(100.0, period="rolling 30d"), now=now)
        assert full.has_run_out


def test_budgets_that_are_not_in_force() -> None:
    now = at("2026-06-10T00:00")
    with MemoryStorage() as storage:
        spent(storage, now, 30, steady(10.0))
        ended = monthly(1000.0, ends_at=at("2026-06-01"))
        assert forecast_budget(storage, ended, now=now).unknown == "it has ended on 2026-06-01 00:00 UTC"
        later = monthly(1000.0, starts_at=at("2026-07-01"))
        assert "begins on 2026-07-01" in forecast_budget(storage, later, now=now).unknown
        ends = monthly(1000.0, ends_at=at("2026-06-15"))
        assert forecast_budget(storage, ends, now=now).end == at("2026-06-15")
        began = monthly(1000.0, starts_at=at("2026-06-08"))
        assert forecast_budget(storage, began, now=now).spent < 30


def test_only_whom_it_is_for_counts() -> None:
    now = at("2026-06-10T00:00")
    with MemoryStorage() as storage:
        spent(storage, now, 30, steady(10.0))
        spent(storage, now - 1, 30, steady(50.0), key="other", model="large")
        assert forecast_budget(storage, monthly(1000.0), now=now).spent < 100
        large = Budget("model", "large", limit=1000.0, period="month", created_at=0)
        assert forecast_budget(storage, large, now=now).spent > 400
        everything = Budget("all", limit=1000.0, period="month", created_at=0)
        assert forecast_budget(storage, everything, now=now).spent > 500
        stored = storage.insert_budget(everything)
        assert forecast_budget(storage, stored.id, now=now).spent > 500
        with pytest.raises(BudgetError, match=f"nearest is '{stored.id}'"):
            forecast_budget(storage, stored.id[:-1], now=now)


def test_what_cannot_be_is_refused() -> None:
    with MemoryStorage() as storage:
        now = at("2026-06-10T00:00")
        spent(storage, now, 30, steady(10.0))
        with pytest.raises(OptionError, match="level"):
            forecast_budget(storage, monthly(900.0), now=now, level=float("nan"))
        with pytest.raises(BudgetError, match="now"):
            forecast_budget(storage, monthly(900.0), now=float("nan"))
        with pytest.raises(BudgetError, match="EUR"):
            Budget("all", limit="12 EUR", period="month")  # type: ignore[arg-type]


def test_the_moment_is_covered_as_often_as_promised() -> None:
    covered = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        level = rng.lognormal(0, 0.25, 90)
        now = at("2026-06-12T00:00")
        with MemoryStorage() as storage:
            spent(storage, now, 70, lambda ago, moment: 10 * level[ago] * WEEK[moment.weekday()], 1)  # noqa: B023
            found = forecast_budget(storage, monthly(170.0 + 140 * rng.random()), now=now)
            moment = None
            total = found.spent
            for ahead in range(19):
                date = datetime.fromtimestamp(now + ahead * DAY, UTC)
                total += 10 * level[70 + ahead] * WEEK[date.weekday()]
                if total >= found.budget.limit:
                    moment = now + (ahead + 1) * DAY
                    break
            if moment is None:
                covered += found.latest is None
            else:
                covered += (
                    found.earliest is not None
                    and found.earliest <= moment
                    and (found.latest is None or moment <= found.latest + DAY)
                )
    assert covered >= 26


@pytest.mark.parametrize("level", [7, 0.2, float("nan"), "x", None, True])
def test_a_level_that_cannot_be_is_refused_whatever_the_history(level: Any) -> None:
    with MemoryStorage() as storage, pytest.raises(OptionError, match="level"):
        forecast_budget(storage, monthly(5.0), now=at("2026-06-10"), level=level)


def test_a_moment_before_1970_is_refused_by_its_name() -> None:
    with MemoryStorage() as storage, pytest.raises(BudgetError, match="now"):
        forecast_budget(storage, monthly(5.0), now=-5.0)


def test_removed_requests_that_may_be_of_a_budget_are_said() -> None:
    """Of users and tags no sums are kept: what is gone is no spending of 0."""
    now = at("2026-06-20")
    with MemoryStorage() as storage:
        storage.record_requests(
            [request(f"{n}", now - 3600.0 * n, user="u", team="t", cost=1.0) for n in range(400)]
        )
        storage.apply_retention(max_rows=10)
        user, team = (
            forecast_budget(storage, Budget(scope, name, limit=5000.0, period="month"), now=now)
            for scope, name in (("user", "u"), ("team", "t"))
        )
    assert user.spent + user.untold == pytest.approx(team.spent)
    assert user.untold > 300 and team.untold == 0
    assert f"{user.untold} removed requests may be of it" in in_words(user)
    assert "removed" not in in_words(team)
