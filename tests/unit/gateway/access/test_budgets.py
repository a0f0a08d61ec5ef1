"""Budgets of keys against a model that knows every cent: several workers, any of which is killed, and midnight."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tiny_dancer.budgets import money
from tiny_dancer.budgets.clock import BELIEVED_S, SteadyClock
from tiny_dancer.budgets.money import UNITS, MoneyTable, create
from tiny_dancer.errors import StorageError
from tiny_dancer.gateway.access.admission import Access
from tiny_dancer.gateway.access.keys import make_key
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.storage import MemoryStorage, ModelBudget
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from tiny_dancer.gateway.access.budgets import Hold
    from tiny_dancer.gateway.access.caller import Caller

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
DAY = 86_400


class Clock:
    """Wall and monotonic time together; neither passes by itself."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now - NOON + 1000


def request(id: str, key: str, cost: float | None, time: float, model: str = "m") -> RequestRecord:
    return RequestRecord(
        id=id, time=time, endpoint="embeddings", key=key, asked="m", status=200, model=model, cost=cost
    )


def header(error: GatewayError, name: str) -> str:
    return dict(error.headers)[name.encode()].decode()


class Worker:
    """A process that holds money of a key."""

    def __init__(self, path: Path, seat: int, storage: MemoryStorage, clock: Clock, key: str) -> None:
        self.table = MoneyTable(path)
        self.table.sit(seat)
        self.access = Access(storage, required=True, money=self.table, clock=clock, monotonic=clock.monotonic)
        self.access.refresh()
        self.caller: Caller = self.access._callers[key]
        self.holds: list[tuple[Hold, int, float]] = []


class Money(RuleBasedStateMachine):
    """Whatever happens in whatever order, no more than the budget is spent and reserved together."""

    DAY, MONTH = 40, 100

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name, "budgets")
        create(self.path)
        self.clock, self.storage = Clock(), MemoryStorage()
        key = make_key("ada", daily_budget=self.DAY, monthly_budget=self.MONTH, now=NOON)
        self.key = key.key.id
        self.storage.insert_api_key(key.key)
        self.workers = [self.started(seat) for seat in range(3)]
        self.paid: list[tuple[float, int]] = []  # when reserved, how much
        self.written = 0
        self.dead: list[Worker] = []

    def started(self, seat: int) -> Worker:
        return Worker(self.path, seat, self.storage, self.clock, self.key)

    def teardown(self) -> None:
        for worker in (*self.workers, *self.dead):
            worker.table.close()
        self.folder.cleanup()

    @rule(seconds=st.sampled_from([0.1, 3.0, 20_000.0, 86_400.0, 86_400.0 * 12]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(worker=st.integers(0, 2), most=st.sampled_from([1, 7, 20, 45]))
    def a_request_comes(self, worker: int, most: int) -> None:
        one = self.workers[worker]
        day, month = self.standing()
        held = sum(amount for each in self.workers for _, amount, at in each.holds if self.same_day(at))
        held_month = sum(amount for each in self.workers for _, amount, at in each.holds if self.same_month(at))
        fits = day + held + most <= self.DAY and month + held_month + most <= self.MONTH
        try:
            hold = one.caller.reserve("m", float(most))
        except GatewayError as error:
            assert (error.status, error.type) == (429, "budget_exceeded")
            assert not fits
        else:
            assert fits
            one.holds.append((hold, most, self.clock.now))

    @rule(worker=st.integers(0, 2), share=st.sampled_from([0.0, 0.5, 1.0]), which=st.integers(0, 5))
    def a_request_ends(self, worker: int, share: float, which: int) -> None:
        one = self.workers[worker]
        if one.holds:
            hold, most, at = one.holds.pop(which % len(one.holds))
            cost = int(most * share)
            if cost:
                self.paid.append((at, cost))
            one.caller.charge(10, {"m": float(cost)} if cost else {}, hold)

    @rule(worker=st.integers(0, 2))
    def a_worker_is_killed(self, worker: int) -> None:
        """What it had reserved may have been spent: it counts, and nothing of it stays reserved."""
        one = self.workers[worker]
        self.paid += [(at, most) for _, most, at in one.holds]
        # Nothing is closed until the end: a killed process tidies nothing up.
        self.dead.append(one)
        self.workers[(worker + 1) % 3].table.end_seat(worker)
        self.workers[worker] = self.started(worker)

    @rule(worker=st.integers(0, 2), how_many=st.integers(0, 3))
    def storage_catches_up_and_is_read(self, worker: int, how_many: int) -> None:
        for at, cost in self.paid[self.written : self.written + how_many]:
            self.storage.record_requests([request(f"{self.written}", self.key, float(cost), at)])
            self.written += 1
        self.workers[worker].access.refresh()

    @precondition(lambda self: not any(each.holds for each in self.workers))
    @invariant()
    def when_all_have_ended_nothing_is_reserved(self) -> None:
        for budget in self.workers[0].caller.budgets:
            assert budget.standing(self.clock.now)[1] == 0

    @invariant()
    def no_more_than_the_budget_is_spent_and_reserved(self) -> None:
        for budget in self.workers[1].caller.budgets:
            spent, reserved = budget.standing(self.clock.now)
            day, month = self.standing()
            assert spent == (day if budget.terms.name == "day" else month) * UNITS
            assert spent + reserved <= budget.limit

    def standing(self) -> tuple[int, int]:
        return (
            sum(cost for at, cost in self.paid if self.same_day(at)),
            sum(cost for at, cost in self.paid if self.same_month(at)),
        )

    def same_day(self, at: float) -> bool:
        return at // DAY == self.clock.now // DAY

    def same_month(self, at: float) -> bool:
        one, two = (datetime.fromtimestamp(each, UTC) for each in (at, self.clock.now))
        return (one.year, one.month) == (two.year, two.month)


Money.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
test_money = Money.TestCase


def alone(clock: Clock, storage: MemoryStorage | None = None, **limits: object) -> Caller:
    storage = storage or MemoryStorage()
    key = make_key("ada", now=NOON, **limits)  # type: ignore[arg-type]
    storage.insert_api_key(key.key)
    access = Access(storage, required=True, clock=clock, monotonic=clock.monotonic)
    access.refresh()
    return access.admit(key.secret)


def refused(caller: Caller, model: str, cost: float) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        caller.reserve(model, cost)
    return caught.value


def test_what_others_hold_is_worth_waiting_for_and_what_is_spent_is_not() -> None:
    clock = Clock()
    caller = alone(clock, max_budget=1.0, budget_duration="30d")
    hold = caller.reserve("m", 0.7)
    soon = refused(caller, "m", 0.6)
    assert (soon.status, soon.type, soon.code) == (429, "budget_exceeded", "budget_exceeded")
    assert "up to 0.6 USD" in soon.message
    assert "30d budget" in soon.message
    assert "0.7 reserved" in soon.message
    assert header(soon, "retry-after") == "1"
    assert b"x-should-retry" not in dict(soon.headers)
    caller.charge(1, 0.5, hold)
    later = refused(caller, "m", 0.6)
    assert header(later, "x-should-retry") == "false"
    assert int(header(later, "retry-after")) == 30 * DAY - DAY // 2
    caller.reserve("m", 0.5)
    never = alone(clock, max_budget=0.25)
    assert "does not start anew" in refused(never, "m", 1.0).message
    assert b"retry-after" not in dict(refused(never, "m", 1.0).headers)


def test_a_model_has_a_budget_of_its_own_beside_the_key_s() -> None:
    storage = MemoryStorage()
    clock = Clock()
    caller = alone(
        clock,
        storage,
        daily_budget=10.0,
        model_max_budget=[ModelBudget("dear", 2.0, "1d"), ModelBudget("odd", 5.0)],
    )
    hold = caller.reserve("dear", 1.5)
    assert "'dear' budget" in refused(caller, "dear", 1.0).message
    caller.reserve("cheap", 1.0, hold)
    caller.reserve("odd", 4.0, hold)
    # What the daily budget lets through and the model's does not is reserved of neither.
    refused(caller, "odd", 2.0)
    caller.charge(0, {"dear": 1.5, "cheap": 0.25, "odd": 3.0}, hold)
    spent = {budget.terms.name: budget.standing(clock.now) for budget in caller.budgets}
    assert spent == {
        "day": (4.75 * UNITS, 0),
        "model/dear": (1.5 * UNITS, 0),
        "model/odd": (3 * UNITS, 0),
    }
    refused(caller, "dear", 0.51)
    caller.reserve("dear", 0.5)


def test_what_a_failed_call_may_have_cost_stays_reserved_while_another_is_tried() -> None:
    clock = Clock()
    caller = alone(clock, daily_budget=1.0)
    hold = caller.reserve("dear", 0.8)
    hold.shrink({"dear": 0.3})
    (budget,) = caller.budgets
    assert budget.standing(clock.now) == (0, 0.3 * UNITS)
    refused(caller, "cheap", 0.75)
    caller.reserve("cheap", 0.7, hold)
    caller.charge(0, {"dear": 0.3, "cheap": 0.1}, hold)
    assert budget.standing(clock.now) == (0.4 * UNITS, 0)


def test_a_spent_budget_that_leaves_cheaper_models_refuses_nothing() -> None:
    clock = Clock()
    caller = alone(clock, daily_budget=1.0, cheaper_when_spent=True)
    hold = caller.reserve("m", 5.0)
    caller.enter(clock.now)
    assert caller.soft_budget_spent, "what is reserved counts"
    caller.charge(0, 0.5, hold)
    caller.enter(clock.now)
    assert not caller.soft_budget_spent


def test_a_soft_budget_warns(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    caller = alone(clock, max_budget=2.0, soft_budget=1.0, budget_duration="1d")
    caller.charge(0, 0.9)
    caller.enter(clock.now)
    assert not caller.ratelimit_headers()
    caller.charge(0, 0.1)
    for _ in range(3):
        caller.enter(clock.now)
    assert (b"x-td-soft-budget", b"spent") in caller.ratelimit_headers()
    assert len(caplog.records) == 1, "once in a period"
    clock.now += DAY
    caller.enter(clock.now)
    assert not caller.ratelimit_headers()


def test_spending_another_gateway_wrote_down_is_learnt_and_what_waits_here_is_not_forgotten() -> None:
    clock, storage = Clock(), MemoryStorage()
    ada = make_key("ada", daily_budget=3.0, now=NOON)
    storage.insert_api_key(ada.key)
    access = Access(storage, required=True, clock=clock, monotonic=clock.monotonic)
    access.refresh()
    access.admit(ada.secret).charge(1, 1.5)
    access.refresh()
    (budget,) = access._callers[ada.key.id].budgets
    assert budget.standing(clock.now)[0] == 1.5 * UNITS
    storage.record_requests([request("1", ada.key.id, 1.5, NOON), request("2", ada.key.id, 1.0, NOON)])
    access.refresh()
    assert budget.standing(clock.now)[0] == 2.5 * UNITS
    storage.record_requests(
        [request("3", ada.key.id, 9.0, NOON - 86_400), request("4", ada.key.id, 9.0, NOON + DAY)]
    )
    access.refresh()
    assert budget.standing(clock.now)[0] == 2.5 * UNITS, "neither yesterday's nor tomorrow's"


def test_what_ends_after_midnight_belongs_to_the_day_it_was_reserved_in() -> None:
    clock = Clock(datetime(2026, 11, 21, 23, 59, 59, tzinfo=UTC).timestamp())
    caller = alone(clock, daily_budget=2.0)
    hold = caller.reserve("m", 2.0)
    clock.now += 2
    caller.reserve("m", 2.0)
    caller.charge(1, 1.5, hold)
    (budget,) = caller.budgets
    assert budget.standing(clock.now) == (0, 2 * UNITS)
    assert budget.standing(clock.now - 2) == (1.5 * UNITS, 0)


class Clocks:
    """A wall clock that can be set, and time that passes."""

    def __init__(self) -> None:
        self.passed = 1000.0
        self.wrong = 0.0

    def wall(self) -> float:
        return NOON + self.passed - 1000 + self.wrong

    def monotonic(self) -> float:
        return self.passed


def test_a_clock_that_jumps_ahead_and_back_moves_no_budget() -> None:
    clocks, storage = Clocks(), MemoryStorage()
    clock = SteadyClock(clocks.wall, clocks.monotonic)
    ada = make_key("ada", daily_budget=1.0, monthly_budget=2.0, now=NOON)
    storage.insert_api_key(ada.key)
    access = Access(storage, required=True, clock=clock, monotonic=clocks.monotonic)
    access.refresh()
    access.admit(ada.secret).charge(0, 1.0)
    for jump in (35.0 * DAY, -35.0 * DAY):
        clocks.wrong = jump
        for _ in range(5):
            clocks.passed += BELIEVED_S / 6
            access.refresh()
            with pytest.raises(GatewayError, match="daily budget"):
                access.admit(ada.secret)
        clocks.wrong = 0.0
        clocks.passed += 1
        with pytest.raises(GatewayError, match="daily budget"):
            access.admit(ada.secret)
    # A day later it is open, whatever the clock did.
    clocks.passed += DAY
    access.admit(ada.secret).charge(0, 0.5)


def test_a_clock_that_stays_wrong_is_believed_and_locks_nothing_when_it_is_right_again() -> None:
    clocks, storage = Clocks(), MemoryStorage()
    clock = SteadyClock(clocks.wall, clocks.monotonic)
    ada = make_key("ada", monthly_budget=2.0, now=NOON)
    storage.insert_api_key(ada.key)
    access = Access(storage, required=True, clock=clock, monotonic=clocks.monotonic)
    access.refresh()
    access.admit(ada.secret).charge(0, 0.5)

    def believed(wrong: float) -> None:
        clocks.wrong = wrong
        for _ in range(3):
            clock()
            clocks.passed += BELIEVED_S
        assert clock() == clocks.wall()

    believed(60.0 * DAY)
    access.refresh()
    access.admit(ada.secret).charge(0, 2.0)
    storage.record_requests([request("1", ada.key.id, 2.0, clock())])
    with pytest.raises(GatewayError, match="monthly budget"):
        access.admit(ada.secret)
    believed(0.0)
    access.refresh()
    caller = access.admit(ada.secret)
    (budget,) = caller.budgets
    assert budget.standing(clock())[0] == 0.5 * UNITS, "what was spent this month, and not what was in two"


def test_a_clock_set_back_for_good_finds_what_was_spent_only_once_it_is_read() -> None:
    clocks, storage = Clocks(), MemoryStorage()
    clock = SteadyClock(clocks.wall, clocks.monotonic)
    ada = make_key("ada", daily_budget=2.0, now=NOON - 9 * DAY)
    storage.insert_api_key(ada.key)
    storage.record_requests([request("1", ada.key.id, 1.5, NOON - 5 * DAY)])
    access = Access(storage, required=True, clock=clock, monotonic=clocks.monotonic)
    access.refresh()
    clocks.wrong = -5.0 * DAY
    clock()
    clocks.passed += BELIEVED_S
    with pytest.raises(GatewayError) as caught:
        access.admit(ada.secret)
    assert (caught.value.status, caught.value.code) == (503, "keys_unavailable")
    access.refresh()
    assert refused(access.admit(ada.secret), "m", 0.6).code == "budget_exceeded"


def test_a_full_table_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(money, "_ROWS", 3)
    create(tmp_path / "budgets")
    table = MoneyTable(tmp_path / "budgets")
    other = MoneyTable(tmp_path / "budgets")
    rows = [table.row(name) for name in "ab"]
    assert [other.row(name) for name in "bac"] == [rows[1], rows[0], table.row("c")]
    with pytest.raises(StorageError, match="3 of them"):
        other.row("d")
    (tmp_path / "none").write_bytes(b"")
    with pytest.raises(StorageError, match="no table"):
        MoneyTable(tmp_path / "none")
    for each in (table, other):
        each.close()


def test_a_full_disk_refuses_a_new_budget_and_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(tmp_path / "budgets")
    table = MoneyTable(tmp_path / "budgets")
    row = table.row("a")
    for full in (lambda *_: 0, _no_space):
        # Into a map of a file with holes it would be written all the same, and the system would end the process.
        with monkeypatch.context() as patched, pytest.raises(StorageError, match="budgets"):
            patched.setattr(os, "pwrite", full)
            table.row("b")
    assert table.reserve(row, 0.0, 1, None) is None
    assert table.row("b") != row
    with monkeypatch.context() as patched, pytest.raises(StorageError):
        patched.setattr(os, "pwrite", _no_space)
        create(tmp_path / "others")
    table.close()


def _no_space(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_key_without_room_for_its_limits_holds_up_no_revocation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, clock = MemoryStorage(), Clock()
    create(tmp_path / "budgets")
    table = MoneyTable(tmp_path / "budgets")
    bob = make_key("bob")
    storage.insert_api_key(bob.key)
    access = Access(storage, required=True, money=table, clock=clock, monotonic=clock.monotonic)
    access.refresh()
    ada = make_key("ada", max_budget=1.0)
    storage.insert_api_key(ada.key)
    storage.revoke_api_key(bob.key.id, clock())
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", _no_space)
        with pytest.raises(StorageError):
            access.refresh()
        clock.now += 1
        with pytest.raises(GatewayError, match="revoked"):
            access.admit(bob.secret)
        with pytest.raises(GatewayError):
            access.admit(ada.secret)
    access.refresh()
    assert access.admit(ada.secret).name == "ada"
    table.close()


def test_sums_have_no_end() -> None:
    table = MoneyTable()
    row = table.row("a")
    table.learn(row, 0.0, 0)
    for _ in range(3):
        table.settle(row, 0.0, 0, money.units(1e9))
    assert table.state(row, 0.0).spent == money.units(1e30)
    table.close()
