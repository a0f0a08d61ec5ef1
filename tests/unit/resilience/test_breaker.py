"""The circuit breaker, case by case: probes, cool-downs, threads, categories."""

from __future__ import annotations

import random
import threading

import pytest
from tests.faults import Clock

from tiny_dancer import errors
from tiny_dancer.resilience import Category, CircuitBreaker, State, categorise


def opened(clock: Clock, **given: object) -> CircuitBreaker:
    breaker = CircuitBreaker(threshold=1, jitter=0.0, clock=clock, **given)
    token = breaker.admit()
    assert token is not None
    breaker.fail(token, Category.ENGINE)
    return breaker


def test_reading_the_status_changes_nothing() -> None:
    clock = Clock()
    breaker = opened(clock, cooldown=10)
    clock.now += 10
    for _ in range(3):
        assert breaker.status().state is State.HALF_OPEN
    assert breaker.status().probes == 0
    assert breaker.admit() is not None, "looking at it has used up the probe"


@pytest.mark.parametrize("succeeds", [True, False])
@pytest.mark.parametrize(("silent", "counts"), [(19.5, True), (20.0, False)])
def test_a_probe_that_reports_too_late_says_nothing(succeeds: bool, silent: float, counts: bool) -> None:
    clock = Clock()
    breaker = opened(clock, cooldown=10, probe_timeout=20)
    clock.now += 10
    probe = breaker.admit()
    assert probe is not None
    assert breaker.admit() is None, "one probe at a time"
    clock.now += silent
    if succeeds:
        breaker.succeed(probe)
    else:
        breaker.fail(probe, Category.TIMEOUT)
    said = State.CLOSED if succeeds else State.OPEN
    assert breaker.status().state is (said if counts else State.HALF_OPEN)
    assert breaker.status().openings == (2 if counts and not succeeds else 1)


def test_the_place_of_a_silent_probe_is_free_again() -> None:
    clock = Clock()
    breaker = opened(clock, cooldown=10, probe_timeout=20)
    clock.now += 10
    silent = breaker.admit()
    clock.now += 20
    assert breaker.status().probes == 0
    another = breaker.admit()
    assert another not in (None, silent)
    breaker.succeed(another or 0)
    assert breaker.status().state is State.CLOSED


def test_cool_downs_double_up_to_their_limit_and_start_over_after_a_healthy_window() -> None:
    clock = Clock()
    breaker = opened(clock, cooldown=10, longest_cooldown=50, window=60)
    waits = [breaker.status().retry_in]
    for _ in range(4):
        clock.now += breaker.status().retry_in
        token = breaker.admit()
        assert token is not None
        breaker.fail(token, Category.TIMEOUT)
        waits.append(breaker.status().retry_in)
    assert waits == [10, 20, 40, 50, 50]
    for healthy, expected in ((59, 50), (60, 10)):
        clock.now += breaker.status().retry_in
        token = breaker.admit()
        assert token is not None
        breaker.succeed(token)
        clock.now += healthy
        token = breaker.admit()
        assert token is not None
        breaker.fail(token, Category.TIMEOUT)
        assert breaker.status().retry_in == expected


def test_a_thousand_openings_in_a_row_do_not_overflow() -> None:
    clock = Clock()
    breaker = opened(clock, cooldown=1, longest_cooldown=2)
    for _ in range(1100):
        clock.now += breaker.status().retry_in
        token = breaker.admit()
        assert token is not None
        breaker.fail(token, Category.ENGINE)
    assert breaker.status().openings == 1101


def test_closing_forgets_the_failures_that_opened_it() -> None:
    clock = Clock()
    breaker = CircuitBreaker(threshold=3, cooldown=1, jitter=0, clock=clock)
    for expected in (State.CLOSED, State.CLOSED, State.OPEN):
        breaker.fail(breaker.admit() or 0, Category.ENGINE)
        assert breaker.status().state is expected
    clock.now += 1
    breaker.succeed(breaker.admit() or 0)
    assert breaker.status().failures == {}
    for expected in (State.CLOSED, State.CLOSED, State.OPEN):
        breaker.fail(breaker.admit() or 0, Category.ENGINE)
        assert breaker.status().state is expected


def test_jitter_differs_between_processes_and_repeats_with_a_seed() -> None:
    def wait(generator: random.Random | None) -> float:
        clock = Clock()
        breaker = CircuitBreaker(threshold=1, cooldown=10, clock=clock, generator=generator)
        breaker.fail(breaker.admit() or 0, Category.ENGINE)
        return breaker.status().retry_in

    assert wait(random.Random(3)) == wait(random.Random(3))
    waits = {wait(None) for _ in range(20)}
    assert len(waits) > 1
    assert all(10 <= each < 12 for each in waits)


def test_bad_input_never_opens_it() -> None:
    breaker = CircuitBreaker(threshold=2)
    for _ in range(100):
        breaker.fail(breaker.admit() or 0, Category.BAD_INPUT)
    assert breaker.status().state is State.CLOSED
    assert breaker.status().failures == {}


def test_threads_open_it_once_and_share_the_probes() -> None:
    clock = Clock()
    breaker = CircuitBreaker(threshold=40, cooldown=10, probes=3, clock=clock)
    barrier = threading.Barrier(8)
    admitted: list[int] = []

    def work() -> None:
        barrier.wait()
        for _ in range(50):
            token = breaker.admit()
            if token is not None:
                breaker.fail(token, Category.UPSTREAM)
        barrier.wait()
        if barrier.wait() == 0:
            clock.now += 1000
        barrier.wait()
        for _ in range(50):
            token = breaker.admit()
            if token is not None:
                admitted.append(token)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert breaker.status().openings == 1
    assert len(admitted) == len(set(admitted)) == 3


@pytest.mark.parametrize(
    ("error", "category"),
    [
        (errors.RequestError("a", "b", "c"), Category.BAD_INPUT),
        (errors.OptionError("a", "b", "c"), Category.BAD_INPUT),
        (errors.CandidateError("a", "b", "c"), Category.BAD_INPUT),
        (errors.NoFeasibleModelError("a", "b", "c"), Category.BAD_INPUT),
        (errors.ArtifactChecksumError("a", "b", "c"), Category.ARTIFACT),
        (errors.StorageError("a", "b", "c"), Category.STORAGE),
        (PermissionError(), Category.STORAGE),
        (TimeoutError(), Category.TIMEOUT),
        (ConnectionResetError(), Category.UPSTREAM),
        (RuntimeError("engine"), Category.ENGINE),
        (MemoryError(), Category.ENGINE),
    ],
)
def test_exceptions_have_a_category(error: Exception, category: Category) -> None:
    assert categorise(error) is category


@pytest.mark.parametrize(
    "given",
    [
        {"threshold": 0},
        {"threshold": 2.5},
        {"threshold": True},
        {"probes": 0},
        {"window": 0},
        {"window": float("nan")},
        {"cooldown": -1},
        {"cooldown": 20, "longest_cooldown": 10},
        {"jitter": 1.5},
        {"failure_rate": 0.0},
        {"failure_rate": float("nan")},
        {"minimum_calls": 0},
        {"probe_timeout": float("inf")},
    ],
)
def test_settings_out_of_range_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(errors.OptionError):
        CircuitBreaker(**given)


@pytest.mark.parametrize("share", [50, 10, 4])
def test_a_healthy_server_that_fails_now_and_then_stays_in_use(share: int) -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock=clock)
    for number in range(1, 2000):
        token = breaker.admit()
        assert token is not None
        if number % share == 0:
            breaker.fail(token, Category.UPSTREAM)
        else:
            breaker.succeed(token)
        clock.now += 0.1


def test_an_outage_opens_it_whatever_was_before() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock=clock)
    for _ in range(1000):
        breaker.succeed(breaker.admit() or 0)
        clock.now += 0.05
    failed = 0
    while (token := breaker.admit()) is not None:
        breaker.fail(token, Category.UPSTREAM)
        failed += 1
    assert failed == 20


def test_half_an_outage_opens_it() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock=clock)
    ended = 0
    while (token := breaker.admit()) is not None:
        (breaker.succeed if ended % 2 else lambda each: breaker.fail(each, Category.UPSTREAM))(token)
        ended += 1
        clock.now += 0.1
        assert ended < 30
    assert ended == 21
