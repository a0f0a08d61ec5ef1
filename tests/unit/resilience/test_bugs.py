"""Errors of the program itself: each place is logged once, all are counted, and nothing else is."""

from __future__ import annotations

import logging

import pytest

from tiny_dancer.errors import ArtifactError, RequestError
from tiny_dancer.resilience import (
    BUGS,
    FAILURES,
    Bugs,
    Category,
    CircuitBreaker,
    Fallback,
    Level,
    Proposal,
    State,
    answer,
    bugs,
    categorise,
)


def raised(kind: type[BaseException], line: str = "raise KIND(1)") -> BaseException:
    """An error raised at a place of its own."""
    try:
        exec(compile(line.replace("KIND", kind.__name__), f"<{line}>", "exec"), {kind.__name__: kind})
    except kind as error:
        return error
    raise AssertionError


def test_a_place_is_logged_once_with_its_traceback_and_counted_each_time(caplog: pytest.LogCaptureFixture) -> None:
    seen = Bugs()
    for _ in range(1000):
        seen.saw(raised(TypeError))
    assert seen.count == 1000
    [said] = caplog.records
    assert (said.levelno, said.name.split(".")[0]) == (logging.ERROR, "tiny_dancer")
    assert "Traceback (most recent call last)" in caplog.text
    assert "in raised" in caplog.text
    assert "TypeError: 1" in caplog.text
    # Another line, and another kind of error at the same line, are other places.
    seen.saw(raised(TypeError, "\nraise KIND(1)"))
    seen.saw(raised(KeyError))
    assert (len(caplog.records), seen.count) == (3, 1002)


def test_the_log_is_bounded_however_many_places(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bugs, "MOST_PLACES", 3)
    seen = Bugs()
    for lines in range(10):
        seen.saw(raised(TypeError, "\n" * lines + "raise KIND(1)"))
    assert (len(caplog.records), seen.count) == (3, 10)


def test_an_error_that_was_never_raised_has_a_place_too(caplog: pytest.LogCaptureFixture) -> None:
    seen = Bugs()
    seen.saw(TypeError("made"))
    seen.saw(TypeError("made"))
    assert (len(caplog.records), seen.count) == (1, 2)


@pytest.mark.parametrize(
    "kind", [TypeError, AttributeError, NameError, IndexError, KeyError, AssertionError, ValueError]
)
def test_a_bug_is_answered_by_a_fallback_level_and_opens_the_breaker(
    kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    seen, breaker = Bugs(), CircuitBreaker(threshold=3)
    assert issubclass(kind, BUGS)

    def learned() -> str:
        raise kind("of our own")

    for _ in range(5):
        result = answer(
            breaker, learned, lambda: [Fallback(Level.DEFAULT, lambda: Proposal("default", "d"))], seen
        )
        assert (result.value, result.level) == ("default", Level.DEFAULT)
    assert breaker.status().state is State.OPEN
    assert breaker.status().failures == {Category.BUG: 3}
    assert (seen.count, len(caplog.records)) == (3, 1)
    assert "in learned" in caplog.text


def test_the_reason_says_that_it_was_a_bug() -> None:
    levels = [Fallback(Level.DEFAULT, lambda: Proposal("default", "d"))]
    result = answer(CircuitBreaker(), lambda: [][0], lambda: levels, Bugs())
    assert result.reason == "bug (IndexError: list index out of range); d"


def test_a_bug_of_a_fallback_level_is_seen_as_well_also_where_it_is_the_last() -> None:
    seen = Bugs()
    levels = [
        Fallback(Level.CACHED, lambda: {}["no"]),
        Fallback(Level.HEURISTIC, lambda: None.gone),  # type: ignore[attr-defined]
        Fallback(Level.DEFAULT, lambda: Proposal("default", "d")),
    ]
    breaker = CircuitBreaker(threshold=1)
    assert answer(breaker, lambda: 1 / 0, lambda: levels, seen).value == "default"  # type: ignore[comparison-overlap]
    assert seen.count == 3
    with pytest.raises(KeyError):
        answer(breaker, lambda: "learned", lambda: levels[:1], seen)
    assert seen.count == 4
    with pytest.raises(TypeError):
        answer(breaker, lambda: "learned", lambda: len(5), seen)  # type: ignore[arg-type, return-value]
    assert seen.count == 5


@pytest.mark.parametrize("error", [RuntimeError("e"), MemoryError(), OSError("e"), ArtifactError("a", "b", "c")])
def test_outages_are_no_bugs(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    seen, breaker = Bugs(), CircuitBreaker()

    def learned() -> str:
        raise error

    levels = [Fallback(Level.CACHED, learned), Fallback(Level.DEFAULT, lambda: Proposal("default", "d"))]
    assert answer(breaker, learned, lambda: levels, seen).value == "default"
    assert seen.count == 0
    assert caplog.records == []
    assert Category.BUG not in breaker.status().failures
    assert categorise(error) is not Category.BUG


def test_the_callers_errors_are_no_bugs(caplog: pytest.LogCaptureFixture) -> None:
    seen = Bugs()

    def learned() -> str:
        raise RequestError("a", "b", "c")

    with pytest.raises(RequestError):
        answer(CircuitBreaker(), learned, list, seen)
    assert (seen.count, caplog.records) == (0, [])


def test_every_bug_is_a_failure_that_is_answered_for() -> None:
    assert set(BUGS) <= set(FAILURES)
    assert not issubclass(KeyboardInterrupt, FAILURES)
