"""Token buckets against the bound they promise, for any sequence of calls at any times."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_dancer.errors import OptionError
from tiny_dancer.gateway.access.limits import Gate, TokenBucket

RATES = st.floats(1, 1e7)
# Before each call, seconds pass; an exact 0 is a burst.
STEPS = st.lists(st.tuples(st.just(0.0) | st.floats(0, 200), st.floats(0, 300) | st.just(1.0)), max_size=60)


class Clock:
    def __init__(self) -> None:
        self.now = 50_000.0

    def __call__(self) -> float:
        return self.now


@settings(deadline=None)
@given(per_minute=RATES, capacity=st.none() | st.floats(0.5, 1e6), steps=STEPS)
def test_never_more_than_capacity_and_rate_allow_in_any_stretch(
    per_minute: float, capacity: float | None, steps: list[tuple[float, float]]
) -> None:
    clock = Clock()
    bucket = TokenBucket(per_minute, capacity=capacity, clock=clock)
    most = per_minute if capacity is None else capacity
    granted: list[tuple[float, float]] = []
    for passed, amount in steps:
        clock.now += passed
        if bucket.take(amount) == 0:
            granted.append((clock.now, amount))
    # Every stretch from one grant to another, not only the whole: a bucket must not save up more than it holds.
    for first in range(len(granted)):
        total = 0.0
        for at, amount in granted[first:]:
            total += amount
            allowed = most + per_minute / 60 * (at - granted[first][0] + 2e-6)
            assert total <= allowed * (1 + 1e-9)


@given(per_minute=RATES, steps=STEPS, amount=st.floats(0.001, 1e6))
def test_who_waits_as_long_as_told_is_served_and_not_before(
    per_minute: float, steps: list[tuple[float, float]], amount: float
) -> None:
    clock = Clock()
    bucket = TokenBucket(per_minute, capacity=1e6, clock=clock)
    for passed, taken in steps:
        clock.now += passed
        bucket.take(taken)
    wait = bucket.wait(amount)
    assert wait >= 0
    began = clock.now
    if wait > 1e-3:
        clock.now = began + wait * 0.999 - 1e-5
        assert bucket.take(amount) > 0
    clock.now = began + wait
    assert bucket.take(amount) == 0


@given(steps=STEPS)
def test_a_refusal_takes_nothing(steps: list[tuple[float, float]]) -> None:
    clock = Clock()
    bucket = TokenBucket(100, clock=clock)
    for passed, amount in steps:
        clock.now += passed
        before, told = bucket.level(), bucket.wait(amount)
        answer = bucket.take(amount)
        assert answer == told
        taken = amount if answer == 0 else 0
        assert bucket.level() == pytest.approx(before - taken, abs=1e-5)


@given(debts=st.lists(st.floats(0, 5000), max_size=10), rate=st.floats(1, 6000))
def test_debt_is_paid_before_anything_is_taken(debts: list[float], rate: float) -> None:
    clock = Clock()
    bucket = TokenBucket(rate, clock=clock)
    for debt in debts:
        bucket.charge(debt)
    left = rate - sum(debts)
    assert bucket.level() == pytest.approx(left, abs=1e-3)
    assert bucket.wait(1) == pytest.approx(max(1 - left, 0) * 60 / rate, abs=1e-3)
    clock.now += bucket.full_in() + 1e-6
    assert bucket.level() == rate
    assert bucket.full_in() == 0


def test_what_was_charged_too_much_is_given_back_but_never_more_than_fits() -> None:
    clock = Clock()
    bucket = TokenBucket(600, clock=clock)
    assert bucket.take(500) == 0
    bucket.charge(-300)
    assert bucket.level() == pytest.approx(400)
    bucket.charge(-1e6)
    assert bucket.level() == 600
    assert bucket.take(600) == 0
    assert bucket.take(1) == pytest.approx(0.1)


def test_more_than_it_ever_holds_never_comes() -> None:
    bucket = TokenBucket(60, capacity=5)
    assert bucket.take(5.5) == bucket.wait(5.5) == math.inf
    assert bucket.take(5) == 0


@pytest.mark.parametrize("number", [0, -1, math.inf, math.nan])
def test_numbers_that_are_no_rate_are_refused(number: float) -> None:
    with pytest.raises(OptionError, match="per_minute"):
        TokenBucket(number)
    with pytest.raises(OptionError, match="capacity"):
        TokenBucket(1, capacity=number)
    with pytest.raises(OptionError, match="max_concurrency"):
        Gate(0)


@given(most=st.integers(1, 5), moves=st.lists(st.booleans()))
def test_a_gate_holds_no_more_than_it_may(most: int, moves: list[bool]) -> None:
    gate, inside = Gate(most), 0
    for coming in moves:
        if coming:
            assert gate.enter() == (inside < most)
            inside = min(inside + 1, most)
        elif inside:
            gate.leave()
            inside -= 1
        assert gate.inside == inside
    assert all(Gate().enter() for _ in range(1000))
