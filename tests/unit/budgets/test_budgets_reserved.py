"""Budgets as programs use them, and situations that others' trackers report."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import pickle
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.budget_faults import MODELS, kill_at_random, kill_at_steps, talking, told

from tiny_dancer import BudgetExceededError, Budgets, ModelInfo, PriceTier, most_cost
from tiny_dancer.budgets import Hold, money, till
from tiny_dancer.errors import BudgetError, OptionError, StorageError
from tiny_dancer.routing.arguments import engine_prices
from tiny_dancer.storage import Budget, MemoryStorage, SqliteStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tiny_dancer.storage import Storage

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    with MemoryStorage() if request.param == "memory" else SqliteStorage(tmp_path / "agent.db") as opened:
        yield opened


@pytest.fixture
def budgets(storage: Storage, clock: Clock) -> Iterator[Budgets]:
    with Budgets(storage, clock=clock) as opened:
        yield opened


def put(budgets: Budgets, *added: Budget) -> None:
    for each in added:
        budgets._storage.insert_budget(each, replace=True)
    budgets.refresh()


def team(limit: float = 10, period: str | None = "day", **rest: Any) -> Budget:
    return Budget("team", "a", limit=limit, period=period, created_at=NOON, **rest)


def refused(call: Callable[[], Hold]) -> BudgetExceededError:
    with pytest.raises(BudgetExceededError) as caught:
        call()
    return caught.value


def test_what_is_reserved_is_settled_and_what_is_left_is_known(budgets: Budgets) -> None:
    put(budgets, team())
    with budgets.reserve(4.0, team="a") as hold:
        (standing,) = budgets.standing(team="a")
        assert (standing.spent, standing.reserved, standing.left) == (0, 4, 6)
        assert (standing.start, standing.end) == (NOON - DAY / 2, NOON + DAY / 2)
        hold.settle(2.5)
    assert budgets.remaining(team="a") == 7.5
    assert budgets.remaining(team="b") is None and budgets.remaining() is None
    assert hold.done and hold.charged == 2.5 and hold.reserved == 0


def test_of_several_budgets_all_or_none_is_reserved(budgets: Budgets) -> None:
    put(
        budgets,
        Budget("all", limit=100),
        team(10),
        Budget("tag", "x", limit=5),
        Budget("tag", "y", limit=3),
        Budget("model", "m", limit=9, period="rolling 24h"),
        Budget("agent", "g", limit=1, kind="soft"),
    )
    who: dict[str, Any] = {"team": "a", "tags": ["x", "y", "x"], "model": "m", "agent": "g"}
    error = refused(lambda: budgets.reserve(4.0, **who))
    assert error.budget == "tag/y/ever" and error.left == 3 and error.wanted == 4 and error.starts_anew is None
    assert [each.reserved for each in budgets.standings()] == [0] * 6
    with budgets.reserve(2.0, **who) as hold:
        assert hold.soft == ("agent/g/ever/soft",)
        hold.settle(2.0)
    assert {each.budget.id: each.spent for each in budgets.standings()} == dict.fromkeys(
        [
            "agent/g/ever/soft",
            "all/ever",
            "model/m/rolling 24h",
            "tag/x/ever",
            "tag/y/ever",
            "team/a/1d",
        ],
        2,
    )
    assert budgets.remaining(**who) == 1 and budgets.cheaper_only(**who)
    assert not budgets.cheaper_only(team="a") and budgets.remaining(agent="g") == 98


def test_an_error_within_charges_what_is_known_and_lets_go_of_the_rest(budgets: Budgets) -> None:
    put(budgets, team())
    with pytest.raises(ZeroDivisionError), budgets.reserve(8.0, team="a") as hold:
        hold.charge(1.5)
        assert budgets.remaining(team="a") == 2
        raise ZeroDivisionError
    assert budgets.remaining(team="a") == 8.5


def test_a_block_without_a_word_spends_all_it_reserved(budgets: Budgets) -> None:
    put(budgets, team())
    with budgets.reserve(8.0, team="a") as hold:
        hold.charge(1.0)
    assert budgets.remaining(team="a") == 2


@pytest.mark.parametrize("cost", [float("nan"), float("inf"), -1.0, "5 EUR", None])
def test_a_settlement_that_is_no_amount_gives_nothing_back(budgets: Budgets, cost: Any) -> None:
    """A price that is missing or NaN must not become a free call."""
    put(budgets, team())
    with pytest.raises(BudgetError), budgets.reserve(3.0, team="a") as hold:
        hold.settle(cost)
    assert budgets.remaining(team="a") == 7
    for call in (budgets.reserve, budgets.charge, budgets.refund, budgets.try_reserve):
        with pytest.raises(BudgetError):
            call(cost, team="a")
    with budgets.reserve(3.0, team="a") as again:
        for change in (again.charge, again.extend, again.shrink):
            with pytest.raises(BudgetError):
                change(cost)
        again.settle(0.0)
    assert budgets.remaining(team="a") == 7


def test_a_hold_is_settled_once(budgets: Budgets) -> None:
    """A client that is told twice must not be charged twice, nor given anything back."""
    put(budgets, team())
    hold = budgets.reserve(3.0, team="a")
    hold.settle(1.0)
    for again in (hold.settle, hold.charge, hold.extend, hold.shrink):
        with pytest.raises(BudgetError, match="settled already"):
            again(1.0)
    hold.release()
    assert budgets.remaining(team="a") == 9


def test_more_than_was_reserved_counts_and_closes_the_budget(budgets: Budgets) -> None:
    put(budgets, team(1))
    budgets.reserve(0.5, team="a").settle(3.0)
    (standing,) = budgets.standing(team="a")
    assert (standing.spent, standing.left) == (3, 0)
    assert refused(lambda: budgets.reserve(0.0, team="a")).left == 0
    assert sum(each.drawn for each in budgets._storage.budget_entries()) >= 3 * money.UNITS, "durably"


def test_a_hold_is_extended_shrunk_and_charged_in_parts(budgets: Budgets, clock: Clock) -> None:
    put(budgets, team())
    hold = budgets.reserve(3.0, team="a")
    hold.extend(2.0)
    assert refused(lambda: hold.extend(6.0)).left == 5 and hold.reserved == 5  # type: ignore[func-returns-value, return-value, arg-type]
    hold.shrink(4.0)
    hold.shrink(9.0)
    assert hold.reserved == 4 and budgets.remaining(team="a") == 6
    hold.charge(1.0)
    hold.charge(1.0)
    clock.now += DAY
    hold.extend(5.0)
    assert budgets.remaining(team="a") == 5, "of the new day"
    hold.settle(4.5)
    assert budgets.remaining(team="a") == 9.5
    clock.now -= DAY
    assert budgets.remaining(team="a") == 6


def test_a_refund_gives_back_no_more_than_was_spent(budgets: Budgets) -> None:
    """Spending below nothing would be a budget above its limit."""
    put(budgets, team())
    budgets.charge(4.0, team="a")
    budgets.refund(1.0, team="a")
    assert budgets.remaining(team="a") == 7
    budgets.refund(50.0, team="a")
    assert budgets.remaining(team="a") == 10
    refused(lambda: budgets.reserve(10.000001, team="a"))


def test_what_was_spent_without_a_reservation_counts_beyond_the_limit(budgets: Budgets) -> None:
    put(budgets, team(1), Budget("user", "u", limit=2, period="rolling 24h"))
    budgets.charge(5.0, team="a", user="u")
    assert [each.spent for each in budgets.standings()] == [5, 5]
    assert budgets.remaining(team="a") == 0 and budgets.remaining(user="u") == 0


def test_tenths_of_a_cent_add_up(budgets: Budgets) -> None:
    """Sums of floats drift: a tenth, ten times, is not one."""
    put(budgets, team(1.0))
    for _ in range(10):
        budgets.reserve(0.1, team="a").settle(0.1)
    assert budgets.remaining(team="a") == 0.0
    put(budgets, team(0.0000001))
    budgets.refund(1.0, team="a")
    for _ in range(100):
        budgets.reserve(1e-9, team="a").settle(1e-9)
    refused(lambda: budgets.reserve(1e-9, team="a"))


@pytest.mark.parametrize("period", [None, "day", "rolling 24h"])
def test_first_calls_at_once_do_not_pass_together(budgets: Budgets, period: str | None) -> None:
    """Nothing was ever reserved of it: nobody may find it empty beside another."""
    put(budgets, team(1.0, period))
    ready = threading.Barrier(8)

    def call(_: int) -> int:
        ready.wait()
        try:
            budgets.reserve(0.3, team="a")
        except BudgetExceededError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(call, range(8))) == 3


def test_a_limit_of_nothing_refuses_the_first_call(budgets: Budgets) -> None:
    put(budgets, team(0))
    assert refused(lambda: budgets.reserve(1e-9, team="a")).limit == 0
    budgets.reserve(0.0, team="a").settle(0.0)


def test_where_there_is_no_budget_nothing_is_refused(budgets: Budgets) -> None:
    budgets.reserve(1e6, team="a", user="b", tags=["c"]).settle(1e6)
    put(budgets, team(1))
    budgets.reserve(1e6, team="b", user="a", key="a").settle(1e6)
    assert not budgets.concerns(team="b") and budgets.concerns(team="a")


def test_a_budget_is_in_force_between_its_times(budgets: Budgets, clock: Clock) -> None:
    put(budgets, team(1, starts_at=NOON + 10, ends_at=NOON + 20))
    budgets.reserve(5.0, team="a").settle(5.0)
    clock.now += 10
    hold = budgets.reserve(1.0, team="a")
    refused(lambda: budgets.reserve(1.0, team="a"))
    clock.now += 10
    budgets.reserve(5.0, team="a").settle(5.0)
    hold.settle(0.5)
    clock.now -= 1
    assert budgets.remaining(team="a") == 0.5


@pytest.mark.parametrize(
    ("period", "begun", "ends"),
    [
        ("day", "2026-03-29T00:00", "2026-03-30T00:00"),  # of 23 hours in Berlin
        ("day", "2026-10-25T00:00", "2026-10-26T00:00"),  # of 25
        ("month", "2028-02-01T00:00", "2028-03-01T00:00"),
        ("month", "2026-01-31T23:59", "2026-02-01T00:00"),
        ("week", "2026-12-05T00:00", "2026-12-12T00:00"),  # from the weekday it was made on
        ("year", "2026-12-31T23:59", "2027-11-01T00:00"),  # from the month it was made in
        ("3mo", "2026-11-30T00:00", "2027-02-01T00:00"),
    ],
)
def test_money_is_back_when_the_period_of_utc_ends_and_not_before(
    budgets: Budgets, clock: Clock, period: str, begun: str, ends: str
) -> None:
    """Where a reset is a job that runs, or a length that is counted from the call, it comes late or early."""
    made = min(NOON, datetime.fromisoformat(begun + "+00:00").timestamp())
    end = datetime.fromisoformat(ends + "+00:00").timestamp()
    put(budgets, Budget("team", "a", limit=1, period=period, created_at=made))
    clock.now = datetime.fromisoformat(begun + "+00:00").timestamp()
    budgets.charge(1.0, team="a")
    for now in (clock.now, (clock.now + end) / 2, end - 0.001):
        clock.now = now
        assert refused(lambda: budgets.reserve(0.1, team="a")).starts_anew == end
    clock.now = end
    assert budgets.remaining(team="a") == 1


def test_a_window_gives_back_what_has_left_it_whole_and_nothing_before(budgets: Budgets, clock: Clock) -> None:
    """A bucket that refills by and by lets the call after the last one through."""
    put(budgets, team(10, "rolling 30d"))
    for _ in range(10):
        budgets.reserve(1.0, team="a").settle(1.0)
        clock.now += DAY
    clock.now = NOON + 30 * DAY - 1
    error = refused(lambda: budgets.reserve(0.000001, team="a"))
    assert error.starts_anew is not None and NOON + 30 * DAY <= error.starts_anew <= NOON + 31 * DAY
    clock.now = error.starts_anew - 1
    refused(lambda: budgets.reserve(0.000001, team="a"))
    clock.now = error.starts_anew
    assert budgets.remaining(team="a") == 1
    assert "UTC" in str(error)


def test_a_window_is_known_without_the_disk_when_its_next_part_begins(budgets: Budgets, clock: Clock) -> None:
    put(budgets, team(10, "rolling 24h", kind="soft"), Budget("user", "u", limit=10, period="rolling 24h"))
    budgets.charge(10.0, team="a", user="u")
    clock.now += 3 * 3600
    assert budgets.cheaper_only(team="a", wait=False) and budgets.remaining(user="u", wait=False) == 0
    clock.now += 2 * DAY
    assert not budgets.cheaper_only(team="a", wait=False) and budgets.remaining(user="u", wait=False) == 10


def test_a_window_counts_what_is_open_however_long_ago_it_was_reserved(budgets: Budgets, clock: Clock) -> None:
    put(budgets, team(10, "rolling 24h"))
    old = budgets.reserve(6.0, team="a")
    clock.now += 3 * DAY
    assert refused(lambda: budgets.reserve(5.0, team="a")).left == 4
    old.settle(6.0)
    assert budgets.remaining(team="a") == 10, "it counts when it was reserved"


def test_what_ends_after_the_period_counts_where_it_was_reserved(budgets: Budgets, clock: Clock) -> None:
    put(budgets, team(10))
    hold = budgets.reserve(8.0, team="a")
    clock.now += DAY
    assert budgets.remaining(team="a") == 10
    hold.settle(7.0)
    assert budgets.remaining(team="a") == 10
    clock.now -= DAY
    assert budgets.remaining(team="a") == 3
    late = budgets.reserve(3.0, team="a")
    clock.now += 30 * DAY
    for _ in range(3):
        clock.now += DAY
        budgets.charge(1.0, team="a")
    late.settle(3.0)
    assert budgets.remaining(team="a") == 9, "forgotten there, and not charged here"


def test_a_clock_that_is_set_back_and_ahead_gives_nothing_back(budgets: Budgets, clock: Clock) -> None:
    put(budgets, team(10), Budget("user", "u", limit=10, period="rolling 24h"))
    who = {"team": "a", "user": "u"}
    budgets.charge(9.0, **who)
    draw = random.Random(3)
    for _ in range(40):
        clock.now = NOON + draw.choice((-40, -3, -1, 1, 2, 5, 45)) * DAY
        try:
            budgets.reserve(1.0, **who).settle(1.0)
        except BudgetExceededError:
            continue
    clock.now = NOON
    refused(lambda: budgets.reserve(1.5, team="a"))
    refused(lambda: budgets.reserve(1.5, user="u"))


def test_a_changed_limit_holds_at_once_and_what_was_spent_stays(budgets: Budgets) -> None:
    put(budgets, team(10))
    budgets.charge(6.0, team="a")
    put(budgets, team(5))
    assert refused(lambda: budgets.reserve(0.1, team="a")).left == 0
    put(budgets, team(8))
    assert budgets.remaining(team="a") == 2
    put(budgets, team(8, kind="soft"))
    assert budgets._storage.delete_budget("team/a/1d")
    budgets.refresh()
    assert budgets.remaining(team="a") is None
    put(budgets, team(7))
    assert budgets.remaining(team="a") == 1, "deleted and made again within the day"


def test_what_nobody_settles_is_spent_and_a_late_word_corrects_it(
    storage: Storage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    storage.insert_budget(team(10))
    with Budgets(storage, clock=clock, lease_s=0.01) as budgets:
        hold = budgets.reserve(6.0, team="a")
        time.sleep(0.02)
        with caplog.at_level(logging.WARNING):
            budgets._keep()
        assert "count as spent" in caplog.text
        (standing,) = budgets.standing(team="a")
        assert (standing.spent, standing.reserved) == (6, 0)
        hold.settle(2.0)
        assert budgets.remaining(team="a") == 8
    with pytest.raises(OptionError, match="lease_s"):
        Budgets(storage, lease_s=0)


def test_what_is_open_when_budgets_are_closed_is_spent(storage: Storage, clock: Clock) -> None:
    storage.insert_budget(team(10))
    budgets = Budgets(storage, clock=clock)
    budgets.reserve(6.0, team="a")
    budgets.close()
    budgets.close()
    with pytest.raises(StorageError, match="closed"):
        budgets.reserve(1.0, team="a")
    with Budgets(storage, clock=clock) as again:
        assert again.remaining(team="a") == 4


def test_two_objects_over_one_database_count_together(storage: Storage, clock: Clock) -> None:
    storage.insert_budget(team(10))
    with Budgets(storage, clock=clock) as one, Budgets(storage, clock=clock) as other:
        one.reserve(6.0, team="a")
        assert refused(lambda: other.reserve(5.0, team="a")).left == 4
        other.reserve(4.0, team="a").settle(4.0)
        assert one.remaining(team="a") == 0


def test_a_restart_knows_what_was_spent(tmp_path: Path, clock: Clock) -> None:
    for turn in range(3):
        with SqliteStorage(tmp_path / "agent.db") as storage:
            storage.insert_budget(team(10), replace=True)
            with Budgets(storage, clock=clock) as budgets:
                assert budgets.remaining(team="a") == 10 - 3 * turn
                budgets.charge(3.0, team="a")


def test_budgets_that_are_never_closed_are_known_too(tmp_path: Path, clock: Clock) -> None:
    storage = SqliteStorage(tmp_path / "agent.db")
    storage.insert_budget(team(10))
    with Budgets(storage, clock=clock) as first:
        first.charge(2.0, team="a")
        (tmp_path / "agent.db-budgets").rename(tmp_path / "kept")
        with SqliteStorage(tmp_path / "agent.db") as other, Budgets(other, clock=clock) as second:
            (standing,) = second.standings()
            assert standing.left <= 8, "nobody knows how much of what the other drew is spent"
            assert standing.left >= 8 - 0.1 - 1e-9
            second.charge(1.0, team="a")
            assert first.remaining(team="a") == 8, "of what it knows"
            assert refused(lambda: first.reserve(8.0, team="a")).left <= 7
    with Budgets(storage, clock=clock) as third:
        assert third.remaining(team="a") == 7, "both have told what they spent"
    storage.close()


def test_a_table_of_another_start_of_the_machine_is_not_believed(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SqliteStorage(tmp_path / "agent.db") as storage:
        storage.insert_budget(team(10))
        budgets = Budgets(storage, clock=clock)
        budgets.reserve(2.0, team="a").settle(1.0)
        # The power goes: what the map held is gone, or some of it.
        till._tills.clear()
        monkeypatch.setattr(money, "_boot", lambda: "another")
        with Budgets(storage, clock=clock) as after:
            left = after.remaining(team="a")
            assert left is not None and 7.9 - 1e-9 <= left <= 9 - 1
        for nameless in ("", ""):
            monkeypatch.setattr(money, "_boot", lambda nameless=nameless: nameless)
            till._tills.clear()
            with Budgets(storage, clock=clock) as again:
                assert again.remaining(team="a") == left
        budgets._closed = True
        budgets._wake.set()


def test_what_a_killed_maker_of_a_table_left_is_removed(tmp_path: Path) -> None:
    old, new = (tmp_path / f".agent.db-budgets.{each}.new" for each in (1, 2))
    for each in (old, new):
        each.touch()
    os.utime(old, (NOON, NOON))
    with SqliteStorage(tmp_path / "agent.db") as storage, Budgets(storage):
        assert not old.exists() and new.exists()
    (tmp_path / "agent.db-budgets").write_bytes(b"something else")
    with SqliteStorage(tmp_path / "agent.db") as storage, Budgets(storage) as budgets:
        budgets.reserve(1.0, team="a").settle(1.0)


def test_two_databases_in_one_folder_know_nothing_of_each_other(tmp_path: Path, clock: Clock) -> None:
    with SqliteStorage(tmp_path / "a.db") as one, SqliteStorage(tmp_path / "b.db") as two:
        for each in (one, two):
            each.insert_budget(team(10))
        with Budgets(one, clock=clock) as first, Budgets(two, clock=clock) as second:
            first.charge(9.0, team="a")
            assert second.remaining(team="a") == 10
    # A database put in the place of another does not take over its table.
    for path in tmp_path.glob("a.db*"):
        if not path.name.endswith("-budgets"):
            path.unlink()
    with SqliteStorage(tmp_path / "a.db") as third:
        third.insert_budget(team(10))
        with Budgets(third, clock=clock) as budgets:
            assert budgets.remaining(team="a") == 10


def test_a_full_disk_refuses_and_reserves_nothing(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limiter that lets calls through when its store fails is none."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with SqliteStorage(tmp_path / "agent.db") as storage:
        storage.insert_budget(team(10))
        with Budgets(storage, clock=clock) as budgets:
            budgets.charge(1.0, team="a")
            with monkeypatch.context() as patched:
                patched.setattr(storage, "draw_budget", _unwritable)
                with pytest.raises(StorageError, match="no space left"):
                    budgets.reserve(5.0, team="a")
                assert budgets.try_reserve(5.0, team="a") is None
                budgets.reserve(0.05, team="a").settle(0.05)  # that was drawn before
            assert budgets.remaining(team="a") == 8.95
            with monkeypatch.context() as patched:
                patched.setattr(os, "pwrite", full)
                storage.insert_budget(Budget("user", "u", limit=1))
                with pytest.raises(StorageError):
                    budgets.refresh()
                assert budgets.remaining(team="a") == 8.95
            budgets.refresh()
            assert budgets.remaining(user="u") == 1


def _unwritable(*_: object, **__: object) -> None:
    raise StorageError("agent.db", "no space left", "free space on the disk")


def test_without_waiting_nothing_asks_the_disk(budgets: Budgets, monkeypatch: pytest.MonkeyPatch) -> None:
    put(budgets, team(10))
    assert budgets.try_reserve(0.2, team="a") is None
    for _ in range(500):
        if (hold := budgets.try_reserve(0.05, team="a")) is not None:
            break
        time.sleep(0.01)
    assert hold is not None, "a thread has drawn"
    hold.settle(0.0)
    storage = budgets._storage
    with monkeypatch.context() as patched:
        for name in ("draw_budget", "tell_budgets", "budget_entries", "budgets", "budget_changes"):
            patched.setattr(storage, name, _unwritable)
        assert budgets.remaining(team="a", wait=False) == 10
        assert budgets.remaining(user="new", wait=False) is None
        assert not budgets.cheaper_only(team="a", wait=False)
        again = budgets.try_reserve(0.05, team="a")
        assert again is not None
        again.settle(0.3, wait=False)
        assert refused(lambda: budgets.try_reserve(99.0, team="a")).left == 9.7  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("who", "says"),
    [
        ({"teem": "a"}, "did you mean team?"),
        ({"team": 7}, "team: int; give its name as text"),
        ({"team": ["a"]}, "give its name as text"),
        ({"tags": "abc"}, "tags"),
        ({"tags": [1]}, "tags"),
    ],
)
def test_who_is_not_named_as_it_should_be_is_refused(budgets: Budgets, who: dict[str, Any], says: str) -> None:
    put(budgets, team())
    with pytest.raises((BudgetError, OptionError), match=says.replace("?", r"\?")):
        budgets.standing(**who)


def test_the_error_goes_from_process_to_process(budgets: Budgets) -> None:
    put(budgets, team(1))
    error = refused(lambda: budgets.reserve(2.0, team="a"))
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) and vars(copy) == vars(error)
    assert "team/a/1d: 2 USD asked for, 1 left (0 of 1 spent)" in str(error)


def test_a_fork_is_refused(storage: Storage, budgets: Budgets) -> None:
    put(budgets, team())
    hold = budgets.reserve(1.0, team="a")

    def child(answers: Any) -> None:
        said = []
        for call in (lambda: budgets.reserve(1.0, team="a"), lambda: hold.settle(0.0), budgets.standings):
            try:
                call()
                said.append("nothing")
            except StorageError as error:
                said.append(error.value)
        answers.send(said)

    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=child, args=(there,))
    process.start()
    assert here.recv() == ["opened before a fork"] * 3
    process.join()
    hold.settle(0.5)
    assert budgets.remaining(team="a") == 9.5


def test_threads_spend_a_budget_exactly(budgets: Budgets) -> None:
    put(budgets, team(100), Budget("user", "u", limit=60, period="rolling 24h"))

    def spend(seed: int) -> float:
        draw, paid = random.Random(seed), 0
        for _ in range(150):
            most = draw.randrange(1, 100)
            try:
                hold = budgets.reserve(most / 100, team="a", user="u")
            except BudgetExceededError:
                continue
            cost = draw.randrange(most + 1)
            hold.settle(cost / 100)
            paid += cost
        return paid / 100

    with ThreadPoolExecutor(6) as pool:
        paid = sum(pool.map(spend, range(6)))
    assert [each.spent for each in budgets.standings()] == [pytest.approx(paid, abs=1e-9)] * 2
    assert 59 < round(paid, 6) <= 60
    assert all(each.reserved == 0 for each in budgets.standings())


@pytest.mark.parametrize("prompt", [0, 900, 128_000, 128_001, 200_000, 260_000])
@pytest.mark.parametrize("name", list(MODELS))
def test_the_most_is_never_less_than_a_call_costs(name: str, prompt: int) -> None:
    most = most_cost(MODELS[name], prompt_tokens=prompt, output_tokens=700)
    prices = engine_prices(MODELS[name])
    draw = random.Random(prompt)
    for _ in range(300):
        taken = draw.randrange(prompt + 1)
        cached = draw.randrange(taken + 1)
        cost = prices.cost(taken, draw.randrange(701), cached, draw.randrange(taken - cached + 1))
        assert cost is not None and cost <= most


def test_a_cheaper_tier_of_long_prompts_is_not_the_most() -> None:
    model = ModelInfo(input_cost_per_token=2e-6, output_cost_per_token=0.0, tiers=(PriceTier(1000, 1e-6),))
    assert most_cost(model, prompt_tokens=1001, output_tokens=5) == pytest.approx(2e-3)
    with pytest.raises(OptionError, match="no price"):
        most_cost(ModelInfo(), prompt_tokens=1, output_tokens=1)
    with pytest.raises(OptionError, match="prompt_tokens"):
        most_cost(model, prompt_tokens=-1, output_tokens=1)


def test_a_process_that_has_stopped_gets_nothing_back_when_it_goes_on(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "agent.db") as storage:
        storage.insert_budget(team(10, None))
        with Budgets(storage) as budgets, talking("wait", str(tmp_path)) as other:
            assert budgets.remaining(team="a") == 5
            other.send_signal(signal.SIGSTOP)
            try:
                until = time.monotonic() + 20
                while not budgets._table.end_lost(2.0) and time.monotonic() < until:
                    time.sleep(0.1)
                (standing,) = budgets.standings()
                assert (standing.spent, standing.reserved) == (5, 0)
            finally:
                other.send_signal(signal.SIGCONT)
            assert told(other, "settle 1") == "done"
            assert budgets.remaining(team="a") == 5
            assert told(other, "reserve 6") == "5.0"
            assert told(other, "reserve 3") == "done"
            assert budgets.remaining(team="a") == 2
            assert told(other, "settle 1") == "done"
            assert budgets.remaining(team="a") == 4
            assert told(other, "reserve 2") == "done"
            other.kill()
            other.wait()
            budgets._table.end_lost(60.0)
            (standing,) = budgets.standings()
            assert (standing.spent, standing.reserved) == (8, 0), "a killed one has spent what it reserved"


@pytest.mark.parametrize("period", [None, "rolling 30d"])
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_what_no_number_holds_is_refused_and_what_is_spent_beyond_counts_as_the_most(
    budgets: Budgets, period: str | None, kind: str
) -> None:
    put(budgets, team(10, period, kind=kind))
    holds = [budgets.reserve(1.0, team="a") for _ in range(3)]
    for hold in holds[:2]:
        hold.settle(9e6)
    assert refused(lambda: budgets.reserve(9e6, team="a")).left == 0
    with pytest.raises(BudgetExceededError):
        budgets.charge(9e6, team="a")
    holds[2].settle(0.0)
    (standing,) = budgets.standings()
    assert standing.reserved == 0 and standing.spent == pytest.approx(money.MOST / money.UNITS)
    budgets.refund(1e6, team="a")
    (standing,) = budgets.standings()
    assert standing.spent == pytest.approx(money.MOST / money.UNITS - 1e6)


def test_one_agent_may_answer_for_others(budgets: Budgets) -> None:
    put(budgets, Budget("agent", "panel", limit=2), Budget("agent", "a", limit=5), Budget("all", limit=9))
    who: dict[str, Any] = {"agent": ("a", "panel", "a")}
    budgets.reserve(1.5, **who).settle(1.5)
    assert {each.budget.subject: each.spent for each in budgets.standings()} == {"panel": 1.5, "a": 1.5, "": 1.5}
    assert refused(lambda: budgets.reserve(1.0, **who)).budget == "agent/panel/ever"
    for wrong in (("a", ["b"]), ("a", 1)):
        with pytest.raises(BudgetError, match="as text"):
            budgets.reserve(1.0, agent=wrong)  # type: ignore[arg-type]


def test_an_absurd_amount_is_refused_by_a_soft_budget_too(budgets: Budgets) -> None:
    put(budgets, team(10, kind="soft"))
    hold = budgets.reserve(9e6, team="a")
    assert refused(lambda: budgets.reserve(1e300, team="a")).budget == "team/a/1d/soft"
    hold.settle(0.0)
    with budgets.reserve(20.0, team="a") as hold:
        assert hold.soft == ("team/a/1d/soft",)


def test_a_process_that_has_stopped_while_it_wrote_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(money, "_PATIENCE_S", 0.2)
    with SqliteStorage(tmp_path / "agent.db") as storage:
        storage.insert_budget(team(10, None))
        with Budgets(storage) as budgets:
            budgets.charge(1.0, team="a")
            with talking("block", str(tmp_path)) as other:
                with pytest.raises(StorageError, match="stopped while it wrote"):
                    budgets.reserve(1.0, team="a")
                other.kill()
                other.wait()
                assert budgets.reserve(1.0, team="a").reserved == 1


def test_processes_killed_at_random_overspend_nothing_and_forget_nothing(tmp_path: Path) -> None:
    found = kill_at_random(tmp_path, processes=2, calls=5_000, scale=900.0, pause_s=1.5, seed=4)
    assert found.calls > 500 and found.kills >= 2
    assert set(found.overspent.values()) == {0.0} and set(found.forgotten.values()) == {0.0}, found


def test_processes_killed_at_any_step_overspend_nothing_and_forget_nothing(tmp_path: Path) -> None:
    found = kill_at_steps(tmp_path, 499)
    assert found.kills > 5
    assert set(found.overspent.values()) == {0.0} and set(found.forgotten.values()) == {0.0}, found
