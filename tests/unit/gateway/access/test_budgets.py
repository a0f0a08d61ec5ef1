"""Budgets of keys against a model that knows every cent: two workers, a queue before storage, and midnight."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tiny_dancer.gateway.access.admission import Access
from tiny_dancer.gateway.access.keys import make_key
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.storage import MemoryStorage
from tiny_dancer.types import RequestRecord

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()


class Clock:
    """Wall and monotonic time together; neither passes by itself."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now - NOON + 1000


def request(id: str, key: str, cost: float | None, time: float) -> RequestRecord:
    return RequestRecord(id=id, time=time, endpoint="embeddings", key=key, asked="m", status=200, cost=cost)


class Money(RuleBasedStateMachine):
    """What is spent is refused, what is left is not."""

    DAY, MONTH = 40.0, 100.0

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.storage = MemoryStorage()
        self.key = make_key("ada", daily_budget=self.DAY, monthly_budget=self.MONTH, now=NOON)
        self.storage.insert_api_key(self.key.key)
        self.access = Access(
            self.storage,
            required=True,
            flush=self.flush,
            clock=self.clock,
            monotonic=self.clock.monotonic,
        )
        self.room = 1000  # records that storage takes at a time
        self.queue: list[RequestRecord] = []
        self.access.refresh()
        self.caller = self.access._callers[self.key.key.id]
        self.mine: list[RequestRecord] = []
        self.theirs: list[RequestRecord] = []
        self.known = 0  # of theirs, at the last refresh
        self.exact = True

    def record(self, cost: float) -> RequestRecord:
        return request(f"{len(self.mine)}/{len(self.theirs)}", self.key.key.id, cost, self.clock.now)

    @rule(seconds=st.sampled_from([0.0, 0.01, 3.0, 20_000.0, 86_400.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(cost=st.sampled_from([0.0, 0.5, 20.0, 45.0]))
    def request_ends(self, cost: float) -> None:
        self.a_request_ends(cost)

    def a_request_ends(self, cost: float) -> None:
        record = self.record(cost)
        self.mine.append(record)
        self.queue.append(record)
        self.caller.charge(10, cost)
        self.exact = False

    @rule(cost=st.sampled_from([1.0, 20.0]))
    def another_worker_spends(self, cost: float) -> None:
        record = self.record(cost)
        self.theirs.append(record)
        self.storage.record_requests([record])
        self.exact = False

    def flush(self, _: float) -> bool:
        batch, self.queue = self.queue[: self.room], self.queue[self.room :]
        self.storage.record_requests(batch)
        return not self.queue

    @rule(room=st.sampled_from([0, 1, 3, 1000]), meanwhile=st.sampled_from([0.0, 0.5]))
    def storage_is_read(self, room: int, meanwhile: float) -> None:
        self.clock.now += 0.001
        self.room = room
        reading = self.access._read()
        self.known, self.exact = len(self.theirs), not self.queue
        if meanwhile:  # the loop serves while a thread reads
            self.a_request_ends(meanwhile)
        self.access._install(reading)

    def spent(self, records: list[RequestRecord]) -> tuple[float, float]:
        day = self.clock.now - self.clock.now % 86_400
        month = datetime.fromtimestamp(self.clock.now, UTC).replace(
            day=1, hour=0, minute=0, second=0, microsecond=0
        )
        return (
            sum(each.cost or 0 for each in records if each.time >= day),
            sum(each.cost or 0 for each in records if each.time >= month.timestamp()),
        )

    def admitted(self) -> bool:
        try:
            self.access.admit(self.key.secret)
        except GatewayError as error:
            assert error.code == "insufficient_quota"
            return False
        return True

    @invariant()
    def what_is_known_to_be_spent_is_refused(self) -> None:
        day, month = self.spent(self.mine + self.theirs[: self.known])
        if day >= self.DAY or month >= self.MONTH:
            assert not self.admitted()

    @invariant()
    def what_is_left_is_not(self) -> None:
        day, month = self.spent(self.mine + self.theirs)
        if self.exact and day < self.DAY and month < self.MONTH:
            assert self.admitted()


def test_what_waits_to_be_written_stays_counted_and_then_counts_once() -> None:
    clock, storage = Clock(), MemoryStorage()
    ada = make_key("ada", daily_budget=3.0, now=NOON)
    storage.insert_api_key(ada.key)
    written = False
    access = Access(storage, required=True, flush=lambda _: written, clock=clock, monotonic=clock.monotonic)
    access.refresh()
    for used in (2.0, 1.5):
        access.admit(ada.secret).charge(1, used)
    for _ in range(3):
        clock.now += 600
        access.refresh()
        with pytest.raises(GatewayError, match=r"3\.5 of 3 USD"):
            access.admit(ada.secret)
    storage.record_requests([request("1", ada.key.id, 2.0, NOON), request("2", ada.key.id, 1.5, NOON)])
    written = True
    access.refresh()
    with pytest.raises(GatewayError, match=r"3\.5 of 3 USD"):
        access.admit(ada.secret)


def test_charges_a_moment_apart_belong_to_two_days_where_midnight_is_between() -> None:
    midnight = datetime(2026, 11, 22, tzinfo=UTC).timestamp()
    clock, storage = Clock(midnight - 0.1), MemoryStorage()
    ada = make_key("ada", daily_budget=2.0, now=NOON)
    storage.insert_api_key(ada.key)
    access = Access(storage, required=True, flush=lambda _: False, clock=clock, monotonic=clock.monotonic)
    access.refresh()
    caller = access.admit(ada.secret)
    caller.charge(1, 1.5)
    clock.now = midnight + 0.1
    caller.charge(1, 1.5)
    access.refresh()
    access.admit(ada.secret).charge(1, 0.5)
    access.refresh()
    with pytest.raises(GatewayError, match="2 of 2 USD"):
        access.admit(ada.secret)


def test_what_is_not_surely_in_the_sums_stays_counted() -> None:
    clock = Clock()
    ada = make_key("ada", daily_budget=9.0, now=NOON)
    storage = MemoryStorage()
    storage.insert_api_key(ada.key)
    access = Access(storage, required=True, clock=clock, monotonic=clock.monotonic)
    access.refresh()
    caller = access.admit(ada.secret)
    began = clock.monotonic()
    caller.charge(1, 1.0)
    clock.now += 0.2
    caller.charge(1, 1.0)
    caller.settle(0.0, 0.0, began + 0.1)
    assert caller._spent_day == 2.0, "the later of the two came after the sums"
    caller.settle(0.0, 0.0, clock.monotonic())
    assert caller._spent_day == 2.0, "a charge of that very moment may have missed them"
    clock.now += 0.1
    caller.settle(2.0, 2.0, clock.monotonic())
    assert (caller._spent_day, caller._spent_month) == (2.0, 2.0)


def test_what_waits_from_last_month_is_not_this_month_s() -> None:
    clock = Clock(datetime(2026, 11, 30, 23, 59, tzinfo=UTC).timestamp())
    ada = make_key("ada", monthly_budget=2.0, now=NOON)
    storage = MemoryStorage()
    storage.insert_api_key(ada.key)
    access = Access(storage, required=True, flush=lambda _: False, clock=clock, monotonic=clock.monotonic)
    access.refresh()
    access.admit(ada.secret).charge(1, 2.0)
    with pytest.raises(GatewayError):
        access.admit(ada.secret)
    clock.now += 120
    access.admit(ada.secret).charge(1, 1.0)
    access.refresh()
    access.admit(ada.secret)


Money.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
test_money = Money.TestCase
