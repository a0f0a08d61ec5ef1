"""The chain of levels that always answers: learned within its breaker → cached → heuristic → default."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from tiny_dancer.errors import TinyDancerError
from tiny_dancer.resilience.breaker import BAD_INPUT, BUGS, Category, categorise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tiny_dancer.resilience.breaker import CircuitBreaker
    from tiny_dancer.resilience.bugs import Bugs

T = TypeVar("T")

FAILURES = (TinyDancerError, BufferError, MemoryError, OSError, RuntimeError, *BUGS)
"""What a level raises when it fails: the next one is asked. Anything else (an interrupt, an exit) passes."""


class Level(IntEnum):
    """Who answered: the learned policy, or what was asked because it could not."""

    LEARNED = 0
    CACHED = 1
    HEURISTIC = 2
    DEFAULT = 3


@dataclass(frozen=True, slots=True)
class Proposal(Generic[T]):
    """What a fallback level would answer, and why."""

    value: T
    reason: str


class Answer(NamedTuple, Generic[T]):
    """An answer, the level that gave it, and why it was not a better one (empty at level 0).

    No dataclass: every request makes one, and a tuple is made in a fifth of the time.
    """

    value: T
    level: Level
    reason: str


@dataclass(frozen=True, slots=True)
class Fallback(Generic[T]):
    """A level and how to ask it; None is "nothing to say"."""

    level: Level
    propose: Callable[[], Proposal[T] | None]


def answer(
    breaker: CircuitBreaker,
    learned: Callable[[], T],
    fallbacks: Callable[[], Sequence[Fallback[T]]],
    bugs: Bugs,
) -> Answer[T]:
    """Asks the learned level where the breaker lets it, then each fallback in turn until one answers.

    Args:
        breaker: of the learned level. Fallbacks have none: they are asked only when it is down.
        learned: gives the answer or raises.
        fallbacks: gives the levels below, best first; called only when one is needed. The last should not fail.
        bugs: is told of every error of the program itself, whichever level it is from.

    Raises:
        RequestError, OptionError, CandidateError, NoFeasibleModelError, DataError: the caller's errors, from
            whichever level finds them: they are no outage, and count for nothing.
        Exception: of the last level, where even that failed.
    """
    token = breaker.admit()
    if token is None:
        reason = "circuit open"
    else:
        try:
            value = learned()
        except BAD_INPUT:
            breaker.cancel(token)
            raise
        except FAILURES as error:
            category = categorise(error)
            breaker.fail(token, category)
            if category is Category.BUG:
                bugs.saw(error)
                reason = f"bug ({_said(error)})"
            else:
                reason = f"{category} failure ({_said(error)})"
        except BaseException:
            breaker.cancel(token)
            raise
        else:
            breaker.succeed(token)
            return Answer(value, Level.LEARNED, "")
    try:
        levels = fallbacks()
    except BUGS as error:
        bugs.saw(error)
        raise
    for number, fallback in enumerate(levels):
        try:
            proposal = fallback.propose()
        except BAD_INPUT:
            raise
        except FAILURES as error:
            if categorise(error) is Category.BUG:
                bugs.saw(error)
            if number == len(levels) - 1:
                raise
            reason += f"; {fallback.level.name.lower()} level failed ({_said(error)})"
            continue
        if proposal is not None:
            return Answer(proposal.value, fallback.level, f"{reason}; {proposal.reason}")
    raise LookupError("no fallback level answered: the last one has to")


def _said(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= 120 else text[:117] + "..."
