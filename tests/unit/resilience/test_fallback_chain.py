"""The chain of levels: who answers, what counts against the breaker, what passes through."""

from __future__ import annotations

from typing import NoReturn

import pytest

from tiny_dancer import NoFeasibleModelError, RequestError
from tiny_dancer.resilience import Bugs, Category, CircuitBreaker, Fallback, Level, Proposal, State, answer


def fails(error: BaseException) -> NoReturn:
    raise error


def test_the_learned_level_answers_and_nothing_else_is_asked() -> None:
    result = answer(CircuitBreaker(), lambda: "learned", lambda: fails(AssertionError("asked")), Bugs())
    assert result == ("learned", Level.LEARNED, "")


def test_each_level_is_asked_in_turn_and_the_reason_names_all_that_failed() -> None:
    breaker = CircuitBreaker()
    levels = [
        Fallback(Level.CACHED, lambda: None),
        Fallback(Level.HEURISTIC, lambda: fails(ValueError("no cues"))),
        Fallback(Level.DEFAULT, lambda: Proposal("default", "the default")),
    ]
    result = answer(breaker, lambda: str(fails(RuntimeError("broken"))), lambda: levels, Bugs())
    assert result.value == "default"
    assert result.level is Level.DEFAULT
    assert result.reason == (
        "engine failure (RuntimeError: broken); heuristic level failed (ValueError: no cues); the default"
    )
    assert breaker.status().failures == {Category.ENGINE: 1}


def test_an_open_circuit_is_not_asked_and_closes_again_by_itself() -> None:
    now = [0.0]
    breaker = CircuitBreaker(threshold=2, cooldown=10, jitter=0, clock=lambda: now[0])
    asked = []

    def learned() -> str:
        asked.append(now[0])
        if now[0] < 5:
            raise OSError("gone")
        return "learned"

    def ask() -> tuple[str, str]:
        result = answer(
            breaker, learned, lambda: [Fallback(Level.DEFAULT, lambda: Proposal("default", "d"))], Bugs()
        )
        return result.value, result.reason

    assert [ask()[0] for _ in range(5)] == ["default"] * 5
    assert len(asked) == 2
    assert ask()[1] == "circuit open; d"
    now[0] = 10
    assert ask() == ("learned", "")
    assert breaker.status().state is State.CLOSED


@pytest.mark.parametrize("error", [RequestError("a", "b", "c"), NoFeasibleModelError("a", "b", "c")])
def test_the_callers_errors_pass_from_every_level_and_count_for_nothing(error: Exception) -> None:
    breaker = CircuitBreaker(threshold=1)
    with pytest.raises(type(error)):
        answer(breaker, lambda: fails(error), list, Bugs())
    assert breaker.status().state is State.CLOSED
    levels = [Fallback(Level.CACHED, lambda: fails(error)), Fallback(Level.DEFAULT, lambda: Proposal(1, ""))]
    with pytest.raises(type(error)):
        answer(breaker, lambda: fails(RuntimeError()), lambda: levels, Bugs())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RequestError("a", "b", "c")])
def test_what_passes_frees_its_probe(error: BaseException) -> None:
    now = [0.0]
    breaker = CircuitBreaker(threshold=1, cooldown=1, jitter=0, clock=lambda: now[0])
    breaker.fail(breaker.admit() or 0, Category.ENGINE)
    now[0] = 1
    with pytest.raises(type(error)):
        answer(breaker, lambda: fails(error), list, Bugs())
    assert breaker.status().probes == 0
    assert answer(breaker, lambda: "learned", list, Bugs()).value == "learned"


def test_the_last_levels_failure_is_not_swallowed() -> None:
    levels: list[Fallback[str]] = [Fallback(Level.DEFAULT, lambda: fails(ValueError("even this")))]
    with pytest.raises(ValueError, match="even this"):
        answer(CircuitBreaker(), lambda: fails(RuntimeError()), lambda: levels, Bugs())
    with pytest.raises(LookupError):
        answer(CircuitBreaker(), lambda: fails(RuntimeError()), list, Bugs())


@pytest.mark.parametrize(("characters", "said"), [(106, "x" * 106), (107, "x" * 103 + "...")])
def test_what_an_error_says_is_cut_to_120_characters(characters: int, said: str) -> None:
    levels = [Fallback(Level.DEFAULT, lambda: Proposal("default", "d"))]
    result = answer(CircuitBreaker(), lambda: fails(RuntimeError("x" * characters)), lambda: levels, Bugs())
    assert result.reason == f"engine failure (RuntimeError: {said}); d"


def test_levels_have_the_numbers_that_decisions_and_databases_hold() -> None:
    assert {level.name.lower(): level.value for level in Level} == {
        "learned": 0,
        "cached": 1,
        "heuristic": 2,
        "default": 3,
    }
