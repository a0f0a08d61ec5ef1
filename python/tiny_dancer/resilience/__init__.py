"""Circuit breaker and fallback levels: an answer for every request, and the reason for it."""

from tiny_dancer.resilience.breaker import (
    BAD_INPUT,
    BUGS,
    BreakerStatus,
    Category,
    CircuitBreaker,
    State,
    categorise,
)
from tiny_dancer.resilience.bugs import Bugs
from tiny_dancer.resilience.cache import DecisionCache, Similar, encode_vectors
from tiny_dancer.resilience.fallback import FAILURES, Answer, Fallback, Level, Proposal, answer
from tiny_dancer.resilience.heuristics import Hint, hint
from tiny_dancer.resilience.recording import Recording, RecordingStatus

__all__ = [
    "BAD_INPUT",
    "BUGS",
    "FAILURES",
    "Answer",
    "BreakerStatus",
    "Bugs",
    "Category",
    "CircuitBreaker",
    "DecisionCache",
    "Fallback",
    "Hint",
    "Level",
    "Proposal",
    "Recording",
    "RecordingStatus",
    "Similar",
    "State",
    "answer",
    "categorise",
    "encode_vectors",
    "hint",
]
