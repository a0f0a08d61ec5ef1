"""The circuit breaker against a reference that keeps everything and recomputes it each time."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from tiny_dancer import errors
from tiny_dancer.resilience import Category, CircuitBreaker, State, categorise

COUNTING = [category for category in Category if category is not Category.BAD_INPUT]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Token:
    """What the reference knows of an admitted call: the period it belongs to, and when it began."""

    number: int
    period: int
    probe: bool
    began: float
    ended: bool = False


@dataclass
class Reference:
    """The rules of the docstring, one after the other, over plain lists."""

    threshold: int
    window: float
    cooldown: float
    longest: float
    jitter: float
    most_probes: int
    probe_timeout: float
    generator: random.Random
    now: float
    state: str = "closed"
    period: int = 0  # counts changes of state, so that a token says which it was admitted in
    failures: list[tuple[float, Category]] = field(default_factory=list)
    probes: list[Token] = field(default_factory=list)
    successes: int = 0
    openings: int = 0
    streak: int = 0
    closed_at: float = 0.0
    retry_at: float = 0.0

    def live(self) -> list[Token]:
        return [each for each in self.probes if not each.ended and self.now - each.began < self.probe_timeout]

    def recent(self) -> list[tuple[float, Category]]:
        return [each for each in self.failures if self.now - each[0] < self.window]

    def admit(self, number: int) -> Token | None:
        if self.state == "closed":
            return Token(number, self.period, False, self.now)
        if self.state == "open":
            if self.now < self.retry_at:
                return None
            self.state, self.successes, self.probes = "half_open", 0, []
            self.period += 1
        if len(self.live()) >= self.most_probes:
            return None
        token = Token(number, self.period, True, self.now)
        self.probes.append(token)
        return token

    def counts(self, token: Token) -> bool:
        if token.ended or token.period != self.period:
            return False
        return not token.probe or token in self.live()

    def succeed(self, token: Token) -> None:
        if self.counts(token) and token.probe:
            token.ended = True
            self.successes += 1
            if self.successes == self.most_probes:
                self.state, self.closed_at, self.failures = "closed", self.now, []
                self.period += 1

    def fail(self, token: Token, category: Category) -> None:
        if category is Category.BAD_INPUT:
            return self.cancel(token)
        if not self.counts(token):
            return None
        self.failures.append((self.now, category))
        if token.probe:
            self.open()
        elif len(self.recent()) >= self.threshold:
            if self.now - self.closed_at >= self.window:
                self.streak = 0
            self.open()
        return None

    def cancel(self, token: Token) -> None:
        if token.probe:
            token.ended = True

    def open(self) -> None:
        self.state = "open"
        self.period += 1
        self.openings += 1
        self.streak += 1
        wait = min(self.cooldown * 2 ** (self.streak - 1), self.longest)
        self.retry_at = self.now + wait * (1 + self.jitter * self.generator.random())


class Comparison(RuleBasedStateMachine):
    tokens = Bundle("tokens")

    @initialize(
        threshold=st.integers(1, 4),
        probes=st.integers(1, 3),
        jitter=st.sampled_from([0.0, 0.5, 1.0]),
        seed=st.integers(0, 9),
    )
    def start(self, threshold: int, probes: int, jitter: float, seed: int) -> None:
        self.clock = Clock()
        self.breaker = CircuitBreaker(
            threshold=threshold,
            window=60,
            cooldown=8,
            longest_cooldown=40,
            jitter=jitter,
            probes=probes,
            probe_timeout=20,
            clock=self.clock,
            generator=random.Random(seed),
        )
        self.reference = Reference(
            threshold, 60, 8, 40, jitter, probes, 20, random.Random(seed), self.clock.now, closed_at=self.clock.now
        )

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.reference.now = self.clock.now

    def admit(self) -> Token | None:
        number = self.breaker.admit()
        token = self.reference.admit(number or 0)
        assert (number is None) == (token is None)
        return token

    def succeed(self, token: Token | None) -> None:
        if token is not None:
            self.breaker.succeed(token.number)
            self.reference.succeed(token)

    def fail(self, token: Token | None, category: Category) -> None:
        if token is not None:
            self.breaker.fail(token.number, category)
            self.reference.fail(token, category)

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 8.0, 15.0, 20.0, 59.9, 60.0, 80.0]))
    def time_passes(self, seconds: float) -> None:
        self.wait(seconds)

    @rule(target=tokens)
    def call_starts(self) -> Token | None:
        return self.admit()

    @rule(token=tokens)
    def call_succeeds(self, token: Token | None) -> None:
        self.succeed(token)

    @rule(token=tokens, category=st.sampled_from(list(Category)))
    def call_fails(self, token: Token | None, category: Category) -> None:
        self.fail(token, category)

    @rule(target=tokens, succeeds=st.booleans(), late=st.sampled_from([0.0, 1.0, 30.0]))
    def recover(self, succeeds: bool, late: float) -> Token | None:
        """Waits for the cool-down and probes: chance alone seldom comes this far."""
        self.wait(max(0.0, self.reference.retry_at - self.reference.now) + late)
        token = self.admit()
        if succeeds:
            self.succeed(token)
        else:
            self.fail(token, Category.UPSTREAM)
        return token

    @rule(token=consumes(tokens))
    def call_is_cancelled(self, token: Token | None) -> None:
        if token is not None:
            self.breaker.cancel(token.number)
            self.reference.cancel(token)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "breaker"):
            return
        status = self.breaker.status()
        assert status == self.breaker.status()
        expected = self.reference
        over = expected.state == "open" and expected.now >= expected.retry_at
        assert status.state == ("half_open" if over else expected.state)
        assert status.retry_in == (max(0.0, expected.retry_at - expected.now) if expected.state == "open" else 0)
        assert status.openings == expected.openings
        assert status.probes == (len(expected.live()) if expected.state == "half_open" else 0)
        recent = [category for _, category in expected.recent()]
        assert status.failures == {category: recent.count(category) for category in set(recent)}


TestComparison = Comparison.TestCase
TestComparison.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


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
        {"probe_timeout": float("inf")},
    ],
)
def test_settings_out_of_range_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(errors.OptionError):
        CircuitBreaker(**given)


@pytest.mark.parametrize("verdict", ["none", "succeed", "fail"])
def test_what_a_probe_says_that_was_given_up_counts_for_nothing(verdict: str) -> None:
    clock = Clock()
    breaker = CircuitBreaker(threshold=1, cooldown=10, jitter=0, probe_timeout=20, clock=clock)
    token = breaker.admit()
    assert token is not None
    breaker.fail(token, Category.UPSTREAM)
    clock.now += 10
    late = breaker.admit()
    assert late is not None
    clock.now += 20
    if verdict == "succeed":
        breaker.succeed(late)
    elif verdict == "fail":
        breaker.fail(late, Category.UPSTREAM)
    status = breaker.status()
    assert (status.state, status.openings, status.probes) == (State.HALF_OPEN, 1, 0)
    assert breaker.admit() is not None, "its place is free"
