"""A circuit breaker: after repeated failures, stop asking for a while, then ask a few times before trusting again.

The pattern is Nygard's (Release It!, 2007, chapter 5). What opens it is the share of failures: a count alone is
reached under load by any healthy server. Longer waits on repeated opening follow exponential backoff with jitter,
so that many processes that failed together do not come back together.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter, deque
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING

from tiny_dancer.errors import (
    ArtifactError,
    CandidateError,
    DataError,
    EncoderMissingError,
    NoFeasibleModelError,
    OptionError,
    RegistryError,
    RequestError,
    StorageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BAD_INPUT = (RequestError, OptionError, CandidateError, NoFeasibleModelError, DataError)
"""Errors that are the caller's: they say nothing about the health of what was called."""

BUGS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    NotImplementedError,
    TypeError,
    ValueError,
)
"""Errors of the program itself. What a caller gives is refused by our own exceptions, so it raises none of these.
A RuntimeError is no bug by itself: libraries raise it for what passes (no more threads)."""


class Category(StrEnum):
    """What kind of failure; ``BAD_INPUT`` never counts against the one that was called.

    ``BUG`` does, as any other: code that fails whenever it is asked must stop being asked, whoever has to mend it.
    A category of its own tells it from outages.
    """

    BAD_INPUT = "bad_input"
    ENGINE = "engine"
    ARTIFACT = "artifact"
    STORAGE = "storage"
    TIMEOUT = "timeout"
    UPSTREAM = "upstream"
    BUG = "bug"


_CATEGORIES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Category], ...] = (
    (BAD_INPUT, Category.BAD_INPUT),
    ((ArtifactError, EncoderMissingError, RegistryError), Category.ARTIFACT),
    # Before OSError, of which both are kinds.
    (TimeoutError, Category.TIMEOUT),
    (ConnectionError, Category.UPSTREAM),
    ((StorageError, OSError), Category.STORAGE),
    (BUGS, Category.BUG),
)


def categorise(error: BaseException) -> Category:
    """The category of an exception; what is no other is the engine's."""
    return next((category for kinds, category in _CATEGORIES if isinstance(error, kinds)), Category.ENGINE)


# Parts of a window in which successes are counted together.
_SLICES = 10


class State(StrEnum):
    """Closed lets every call through, open none, half-open a few probes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """A breaker at one moment.

    Attributes:
        state: as the next :meth:`CircuitBreaker.admit` would find it: an open breaker whose cool-down is over
            reads half-open.
        failures: within the window, by category; categories without failures are absent.
        openings: how often it opened since it was made.
        retry_in: seconds until the next probe may pass; 0 unless open.
        probes: probes under way.
    """

    state: State
    failures: Mapping[Category, int]
    openings: int
    retry_in: float
    probes: int


class CircuitBreaker:
    """Decides whether a call may be made, from how the last ones ended. Share it between threads.

    Each call asks :meth:`admit` for a token and hands it back once, by :meth:`succeed`, :meth:`fail` or
    :meth:`cancel`; a long one may say by :meth:`answers` that it goes well. A token of an earlier state (a call
    that began before the breaker opened, a probe that was given up) is ignored, whatever it reports.

    Closed: it opens where at least ``threshold`` failures, and so many that they are ``failure_rate`` of the calls
    made, ended within ``window`` seconds (to a tenth of it), and either the last ``threshold`` calls all failed or
    ``minimum_calls`` have ended. It also opens where the last ``minimum_calls`` all failed, however many succeeded
    before them.

    Open: no call passes until the cool-down is over, ``cooldown · 2^(k − 1)`` seconds, at most
    ``longest_cooldown``, times 1 + ``jitter`` · U[0, 1), where k counts openings without a whole window of health
    between them. Half-open: at most ``probes`` calls are under way at a time; as many successes close it, one
    failure opens it again. A probe that has not reported after ``probe_timeout`` seconds is given up and its place
    is free.

    Example:
        >>> breaker = CircuitBreaker(threshold=1)
        >>> token = breaker.admit()
        >>> breaker.fail(token, Category.TIMEOUT)
        >>> breaker.admit() is None
        True
    """

    def __init__(
        self,
        *,
        threshold: int = 5,
        window: float = 60.0,
        failure_rate: float = 0.5,
        minimum_calls: int = 20,
        cooldown: float = 10.0,
        longest_cooldown: float = 300.0,
        jitter: float = 0.2,
        probes: int = 1,
        probe_timeout: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        generator: random.Random | None = None,
    ) -> None:
        """Closed at first.

        Args:
            threshold: failures below which it does not open; in a row they are enough, where they are so large a
                share of the calls.
            window: seconds over which calls and failures are counted.
            failure_rate: share of failures that opens it, in (0, 1].
            minimum_calls: calls that are enough to judge by, in a row or not.
            cooldown: seconds the first opening lasts, before jitter.
            longest_cooldown: seconds no opening exceeds, before jitter.
            jitter: largest share added to a cool-down, in [0, 1].
            probes: calls let through at a time while half-open, and successes that close it.
            probe_timeout: seconds after which a silent probe is given up.
            clock: seconds that never go back.
            generator: of the jitter; seed it for the same cool-downs every time.

        Raises:
            OptionError: a number outside its range.
        """
        for field, whole in (("threshold", threshold), ("minimum_calls", minimum_calls), ("probes", probes)):
            if isinstance(whole, bool) or not isinstance(whole, int) or whole < 1:
                raise OptionError(field, repr(whole), "give a whole number ≥ 1")
        seconds = {
            "window": window,
            "cooldown": cooldown,
            "longest_cooldown": longest_cooldown,
            "probe_timeout": probe_timeout,
        }
        for field, value in seconds.items():
            if not (math.isfinite(value) and value > 0):
                raise OptionError(field, value, "give seconds above 0")
        if longest_cooldown < cooldown:
            raise OptionError("longest_cooldown", longest_cooldown, f"give at least cooldown, {cooldown:g}")
        if not 0 < failure_rate <= 1:
            raise OptionError("failure_rate", failure_rate, "give a share in (0, 1]")
        if not 0 <= jitter <= 1:
            raise OptionError("jitter", jitter, "give a share in [0, 1]")
        self._threshold, self._window = threshold, window
        self._failure_rate, self._minimum_calls = failure_rate, minimum_calls
        self._cooldown, self._longest_cooldown, self._jitter = cooldown, longest_cooldown, jitter
        self._most_probes, self._probe_timeout = probes, probe_timeout
        self._clock = clock
        self._generator = generator or random.Random()
        self._lock = Lock()
        self._tokens = count(1)
        # The token all calls of one closed period share, and None otherwise: while closed, admit and succeed read
        # this attribute and nothing else.
        self._closed: int | None = next(self._tokens)
        self._closed_at = clock()
        self._failures: deque[tuple[float, Category]] = deque()
        self._row = 0  # of those, the last ones, with no success since
        self._slice = 0  # the present one, in tenths of the window
        self._slice_end = -math.inf
        self._successes_now = (
            0  # in the present slice; counted without the lock, which may lose one and costs none
        )
        self._successes_before: deque[tuple[int, int]] = deque()  # slice and successes
        self._retry_at: float | None = None  # None unless open
        self._probes: dict[int, float] = {}  # token → when it was admitted
        self._successes = 0
        self._openings = 0
        self._streak = 0

    def admit(self) -> int | None:
        """A token, or None where the call must not be made."""
        if (closed := self._closed) is not None:
            return closed
        with self._lock:
            if self._closed is not None:
                return self._closed
            now = self._clock()
            if self._retry_at is not None:
                if now < self._retry_at:
                    return None
                self._retry_at, self._successes = None, 0
            self._give_up_probes(now)
            if len(self._probes) >= self._most_probes:
                return None
            token = next(self._tokens)
            self._probes[token] = now
            return token

    def succeed(self, token: int) -> None:
        """The call with this token did what it should."""
        if token == self._closed:
            if self._row:
                self._row = 0
            now = self._clock()
            if now >= self._slice_end:
                with self._lock:
                    self._turn(now)
            self._successes_now += 1
            return
        with self._lock:
            now = self._clock()
            self._give_up_probes(now)
            if self._probes.pop(token, None) is None:
                return
            self._successes += 1
            if self._successes >= self._most_probes:
                self._closed, self._closed_at = next(self._tokens), now
                self._failures.clear()
                self._probes.clear()
                self._row = self._successes_now = 0
                self._successes_before.clear()

    def answers(self, token: int) -> int:
        """The call with this token does what it should so far, and goes on.

        A probe that says so has told enough: the breaker need not wait for its end.

        Returns:
            The token to tell the end by.
        """
        if token == self._closed:
            return token
        with self._lock:
            probe = token in self._probes
        self.succeed(token)
        closed = self._closed
        return closed if probe and closed is not None else token

    def fail(self, token: int, category: Category) -> None:
        """The call with this token failed; bad input counts as no verdict."""
        if category is Category.BAD_INPUT:
            return self.cancel(token)
        with self._lock:
            now = self._clock()
            if token == self._closed:
                self._failures.append((now, category))
                self._row += 1
                self._turn(now)
                if self._too_many():
                    if now - self._closed_at >= self._window:
                        self._streak = 0
                    self._open(now)
                return None
            self._give_up_probes(now)
            if token in self._probes:
                self._failures.append((now, category))
                self._turn(now)
                self._open(now)
        return None

    def cancel(self, token: int) -> None:
        """The call with this token ended without telling anything: bad input, or given up by its caller."""
        if token == self._closed:
            return
        with self._lock:
            self._probes.pop(token, None)

    def status(self) -> BreakerStatus:
        """How it stands now; reading changes nothing."""
        with self._lock:
            now = self._clock()
            failures = Counter(category for at, category in self._failures if now - at < self._window)
            probes = sum(now - at < self._probe_timeout for at in self._probes.values())
            waiting = 0.0 if self._retry_at is None else max(0.0, self._retry_at - now)
            state = State.HALF_OPEN
            if self._closed is not None:
                state = State.CLOSED
            elif waiting > 0:
                state = State.OPEN
            return BreakerStatus(state, dict(failures), self._openings, waiting, probes)

    def _open(self, now: float) -> None:
        self._closed = None
        self._probes.clear()
        self._openings += 1
        self._streak += 1
        # The exponent is bounded before it is used: 2.0**1024 overflows.
        doubled = self._cooldown * 2.0 ** min(self._streak - 1, 64)
        self._retry_at = now + min(doubled, self._longest_cooldown) * (1 + self._jitter * self._generator.random())

    def _too_many(self) -> bool:
        failures = len(self._failures)
        if failures < self._threshold:
            return False
        row = min(self._row, failures)
        if row >= max(self._threshold, self._minimum_calls):
            return True
        calls = failures + self._successes_now + sum(count for _, count in self._successes_before)
        enough = row >= self._threshold or calls >= self._minimum_calls
        return enough and failures >= self._failure_rate * calls

    def _turn(self, now: float) -> None:
        """Forgets what lies a window back."""
        while self._failures and now - self._failures[0][0] >= self._window:
            self._failures.popleft()
        if now < self._slice_end:
            return
        if self._successes_now:
            self._successes_before.append((self._slice, self._successes_now))
            self._successes_now = 0
        width = self._window / _SLICES
        self._slice = math.floor(now / width)
        self._slice_end = (self._slice + 1) * width
        while self._successes_before and self._successes_before[0][0] <= self._slice - _SLICES:
            self._successes_before.popleft()

    def _give_up_probes(self, now: float) -> None:
        late = [token for token, at in self._probes.items() if now - at >= self._probe_timeout]
        for token in late:
            del self._probes[token]
