"""The circuit breaker against a reference that keeps everything and recomputes it each time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from tests.faults import Clock

from tiny_dancer.resilience import Category, CircuitBreaker


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
    failure_rate: float
    minimum_calls: int
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
    endings: list[tuple[float, bool]] = field(
        default_factory=list
    )  # of this closed period: when, and whether well
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

    def in_window(self, at: float, well: bool) -> bool:
        """Successes are counted by tenths of the window, failures to the moment."""
        tenth = self.window / 10
        return at // tenth > self.now // tenth - 10 if well else self.now - at < self.window

    def too_many(self) -> bool:
        found = [well for at, well in self.endings if self.in_window(at, well)]
        failures = found.count(False)
        if failures < self.threshold:
            return False
        ended = [well for _, well in reversed(self.endings)]
        row = min(next((number for number, well in enumerate(ended) if well), len(ended)), failures)
        if row >= max(self.threshold, self.minimum_calls):
            return True
        enough = row >= self.threshold or len(found) >= self.minimum_calls
        return enough and failures / len(found) >= self.failure_rate

    def succeed(self, token: Token) -> None:
        if self.counts(token) and not token.probe:
            self.endings.append((self.now, True))
        if self.counts(token) and token.probe:
            token.ended = True
            self.successes += 1
            if self.successes == self.most_probes:
                self.state, self.closed_at, self.failures, self.endings = "closed", self.now, [], []
                self.period += 1

    def fail(self, token: Token, category: Category) -> None:
        if category is Category.BAD_INPUT:
            return self.cancel(token)
        if not self.counts(token):
            return None
        self.failures.append((self.now, category))
        if token.probe:
            self.open()
            return None
        self.endings.append((self.now, False))
        if self.too_many():
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
        failure_rate=st.sampled_from([0.25, 0.5, 1.0]),
        minimum_calls=st.integers(1, 8),
        probes=st.integers(1, 3),
        jitter=st.sampled_from([0.0, 0.5, 1.0]),
        seed=st.integers(0, 9),
    )
    def start(
        self, threshold: int, failure_rate: float, minimum_calls: int, probes: int, jitter: float, seed: int
    ) -> None:
        self.clock = Clock()
        self.breaker = CircuitBreaker(
            threshold=threshold,
            failure_rate=failure_rate,
            minimum_calls=minimum_calls,
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
            threshold,
            failure_rate,
            minimum_calls,
            60,
            8,
            40,
            jitter,
            probes,
            20,
            random.Random(seed),
            self.clock.now,
            closed_at=self.clock.now,
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
