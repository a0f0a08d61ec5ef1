"""What a candidate router is set up with, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tiny_dancer import _core
from tiny_dancer.errors import OptionError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from tiny_dancer.errors import TinyDancerError
    from tiny_dancer.resilience import BreakerStatus, Level, RecordingStatus


@dataclass(frozen=True, slots=True)
class CandidateRouterConfig:
    """How a :class:`CandidateRouter` is set up.

    Attributes:
        model_path: an artifact of ``tiny-dancer candidates train``; None for the combination without training.
        registry: folder of a registry whose version of ``model_name`` serves; in place of ``model_path``.
        model_name: name within the registry.
        weights: of the combination without training: ``measured``, by which use and age break ties among
            candidates of like relevance, or ``documented``, by which they decide (:class:`CandidateRouter`).
        confidence_threshold: least calibrated confidence for a light model.
        max_uncertainty: largest uncertainty for a light model.
        circuit_breaker: stop asking a scorer that keeps failing, for a while.
        circuit_breaker_threshold: failures within 60 seconds that open the breaker.
        quantised: keep embeddings of sets made here as int8.
        database_path: a SQLite database that remembers routing history and feedback (extra ``sqlite``), or the
            address of one in PostgreSQL, ``postgresql://user@host/name`` (extra ``postgres``).
        keep_query_text: let the database keep queries, not only their hashes.
    """

    model_path: str | os.PathLike[str] | None = None
    registry: str | os.PathLike[str] | None = None
    model_name: str = "candidates"
    weights: Literal["measured", "documented"] = "measured"
    confidence_threshold: float = 0.85
    max_uncertainty: float = 0.15
    circuit_breaker: bool = True
    circuit_breaker_threshold: int = 5
    quantised: bool = False
    database_path: str | os.PathLike[str] | None = None
    keep_query_text: bool = False

    def __post_init__(self) -> None:
        if self.weights not in _core.CANDIDATE_WEIGHTS:
            raise OptionError("weights", repr(self.weights), f"choose {' or '.join(_core.CANDIDATE_WEIGHTS)}")
        for name in ("confidence_threshold", "max_uncertainty"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise OptionError(name, repr(value), "give a number from 0 to 1")
        failures = self.circuit_breaker_threshold
        if isinstance(failures, bool) or not isinstance(failures, int) or failures < 1:
            raise OptionError("circuit_breaker_threshold", repr(failures), "give a whole number ≥ 1")
        if self.model_path is not None and self.registry is not None:
            raise OptionError("registry", self.registry, "give either model_path or registry")


@dataclass(frozen=True, slots=True)
class CandidateProblem:
    """A candidate that took no part.

    Attributes:
        candidate_id: which.
        reason: why, and what to do about it.
    """

    candidate_id: str
    reason: str


@dataclass(slots=True)
class CandidateDecisions:
    """The candidates worth passing on, best first, and everything there is to say about them.

    Attributes:
        id: names the answer; feedback refers to it.
        decisions: at most k, best first.
        errors: candidates that took no part, and why.
        prediction_set_size: candidates of the highest scores among which a relevant one is, where there is one,
            with the artifact's coverage, for questions exchangeable with those it was calibrated on; few where the
            first stands out. None where ``calibrated`` is False.
        calibrated: whether confidence and uncertainty come from calibration.
        uncalibrated: why not, in words: no training, a fallback, or candidates unlike those the scorer was made
            with, which the combination without training ranks; empty where they do.
        artifact_version: what scored; ``untrained`` for the combination without training.
        level: 0 scorer, 1 cached answer, 2 combination without training, 3 order as given.
        level_reason: why no better level answered; empty at level 0.
        engine_us: microseconds in the engine (and in the levels asked before, where it failed).
        elapsed_us: microseconds of the whole call.
    """

    id: str
    decisions: Sequence[_core.CandidateDecision]
    errors: tuple[CandidateProblem, ...]
    prediction_set_size: int | None
    calibrated: bool
    uncalibrated: str
    artifact_version: str
    level: int
    level_reason: str
    engine_us: float
    elapsed_us: float

    def __len__(self) -> int:
        return len(self.decisions)

    def __getitem__(self, place: int) -> _core.CandidateDecision:
        return self.decisions[place]

    def __iter__(self) -> Iterator[_core.CandidateDecision]:
        return iter(self.decisions)

    @property
    def ids(self) -> list[str]:
        """The candidates, best first."""
        return [decision.candidate_id for decision in self.decisions]


@dataclass(frozen=True, slots=True)
class CandidateRouterStatus:
    """A :class:`CandidateRouter` at one moment.

    Attributes:
        version: of the scorer that serves.
        reload_error: why the last reload failed, or None.
        breaker: of the scorer; None where it has none.
        answered: calls answered since the router was made, by level.
        recording: of routing history; None without a database.
        bugs: errors of the program itself so far, each place of which is logged once.
    """

    version: str
    reload_error: TinyDancerError | None
    breaker: BreakerStatus | None
    answered: Mapping[Level, int]
    recording: RecordingStatus | None
    bugs: int
