"""The candidate router: which memories, tools or documents are worth passing on, and to how strong a model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeGuard

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import CandidateError, OptionError, RequestError
from tiny_dancer.registry import ArtifactFile, Registry, Reloading, ServingVersion, Sourced
from tiny_dancer.resilience import (
    Bugs,
    CircuitBreaker,
    DecisionCache,
    Fallback,
    Level,
    Proposal,
    Recording,
    answer,
)
from tiny_dancer.routing.arguments import number
from tiny_dancer.routing.candidate_answer import (
    CandidateDecisions,
    CandidateProblem,
    CandidateRouterConfig,
    CandidateRouterStatus,
)
from tiny_dancer.routing.candidate_records import candidate_set, routing_record
from tiny_dancer.routing.candidate_set import Candidate, CandidateSet, float_row
from tiny_dancer.routing.router import new_id
from tiny_dancer.routing.timestamps import seconds_since_epoch
from tiny_dancer.storage import CandidateStorage, Feedback, HistoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from types import TracebackType

    import numpy.typing as npt

    from tiny_dancer.registry import Source
    from tiny_dancer.resilience import BreakerStatus
    from tiny_dancer.storage import Filter, SqliteStorage

_MOST_K = 100_000


class CandidateHistory(CandidateStorage, HistoryStorage, Protocol):
    """What a candidate router needs of storage: candidates, and the history of what it showed."""


class _Untrained:
    """The source of the combination without training: nothing to read, nothing that changes."""

    def stamp(self) -> str:
        return "untrained"

    def read(self) -> Sourced:
        return Sourced("untrained", "", b"")


@dataclass(frozen=True, slots=True)
class _Scorer:
    native: _core.CandidateScorer
    calibrated: bool
    trained: bool


def _scorer(data: bytes, *, documented: bool = False) -> _Scorer:
    if not data:
        return _Scorer(_core.CandidateScorer(None, documented), calibrated=False, trained=False)
    header = _core.read_header(data)
    return _Scorer(_core.CandidateScorer(data), header.get("relevance") is not None, trained=True)


_Found = tuple[Sequence[_core.CandidateDecision], list[str], int | None, bool]
"""Decisions, candidates that took no part, size of the prediction set, whether the scorer knows the like."""


class CandidateRouter:
    """Ranks candidates for a request in microseconds, and goes on answering when that fails. Share it between
    threads.

    Levels: 0 the scorer, within a circuit breaker; 1 the answer to a similar recent query over the same
        candidates;
    2 the combination without training; 3 the candidates as given, for a strong model. An answer names its level.

    The combination without training multiplies relevance (shared words, pairs of words, character grams and
    cosine; the candidate with what stands around it) by what its use says for it. The ``measured`` weights are .91
    for relevance itself, and .03 each for recency (``1 / (1 + age / 30 days)``), confidence and success rate,
    frequency of use and agreement of metadata: a fresh or popular candidate comes before one about as relevant,
    and only before that. The ``documented`` ones are .40, .25 (``exp(-age / 30 days)``), .20 and .15. What is
    unknown of a candidate drops out of the weights.

    Example:
        >>> router = CandidateRouter()
        >>> memories = [Candidate("1", text="Anna likes tea."), Candidate("2", text="The train leaves at nine.")]
        >>> router.route("When does the train leave?", memories, k=1).ids
        ['2']
    """

    def __init__(
        self, config: CandidateRouterConfig | None = None, *, storage: CandidateHistory | None = None
    ) -> None:
        """Loads the scorer and opens the database that ``config`` names.

        Args:
            config: the defaults where None.
            storage: remembers routing history and feedback; in place of ``config.database_path``. Not closed here.

        Raises:
            ArtifactError: the scorer cannot be loaded.
            StorageError: the database cannot be opened.
            OptionError: both ``storage`` and ``config.database_path``.
        """
        self.config = CandidateRouterConfig() if config is None else config
        source: Source = _Untrained()
        if self.config.model_path is not None:
            source = ArtifactFile(self.config.model_path)
        elif self.config.registry is not None:
            source = ServingVersion(Registry(self.config.registry, load=_scorer), self.config.model_name)
        documented = self.config.weights == "documented"
        self._reloading = Reloading(source, partial(_scorer, documented=documented))
        failures = self.config.circuit_breaker_threshold if self.config.circuit_breaker else 1_000_000
        self._breaker = CircuitBreaker(threshold=failures)
        self._untrained = _core.CandidateScorer(None, documented)
        self._cache: DecisionCache[_Found] = DecisionCache(confidence=0.0)
        self._answered = [0] * len(Level)
        self._bugs = Bugs()
        self._lock = Lock()
        self._opened: SqliteStorage | None = None
        if self.config.database_path is not None:
            if storage is not None:
                raise OptionError("storage", "given twice", "give either storage or database_path")
            from tiny_dancer.storage import SqliteStorage

            storage = self._opened = SqliteStorage(self.config.database_path)
        self.storage = storage
        self._recording: Recording[tuple[CandidateDecisions, str | None, float]] | None = None
        if storage is not None:
            self._recording = Recording(self._record)

    def route(
        self,
        query_embedding: Sequence[float] | npt.NDArray[np.float32] | str | None,
        candidates: CandidateSet | Iterable[Candidate],
        metadata: Mapping[str, Any] | None = None,
        k: int = 5,
        *,
        text: str | None = None,
        where: Mapping[str, Any] | None = None,
        diversity: float = 0.0,
        now: float | datetime | str | None = None,
    ) -> CandidateDecisions:
        """Ranks candidates for one request.

        Args:
            query_embedding: D numbers, D as the candidates have; or the request's text.
            candidates: a set, made once and used often; or candidates, of which a set is made for this call.
            metadata: properties of the request, compared with the candidates' own.
            k: most candidates to give; all where there are fewer.
            text: the request's text beside its embedding: shared words tell more than cosines do.
            where: only candidates that have these properties; of a list of values any will do, an empty list (or
                None) is no candidate's.
            diversity: maximal marginal relevance, from 0 (by score alone) to 1 (unlike what is already taken).
            now: time of the request, as :attr:`Candidate.created_at`; the present where None.

        Returns:
            At most k decisions, best first; equal scores in the order of ids. No candidates, no decisions. A
            candidate with NaN or infinity in its embedding takes no part and is named in ``errors``.

        Raises:
            CandidateError: a candidate, or the query's embedding, that cannot be used.
            RequestError: neither text nor embedding.
            OptionError: an option outside its range.
        """
        start = perf_counter_ns()
        if isinstance(query_embedding, str):
            text, query_embedding = query_embedding, None
        if not isinstance(candidates, CandidateSet):
            candidates = CandidateSet(candidates, quantised=self.config.quantised)
        embedding: npt.NDArray[np.float32] | None = None
        if query_embedding is not None:
            embedding = (
                query_embedding if _is_ready(query_embedding) else float_row(query_embedding, "query_embedding")
            )
        elif text is None or not text.strip():
            raise RequestError("query_embedding", repr(text), "give an embedding, a text, or both")
        if type(k) is not int or not 1 <= k <= _MOST_K:
            raise OptionError("k", repr(k), "give a whole number from 1 to 100,000")
        if number("diversity", diversity) is None:
            raise OptionError("diversity", None, "give a number from 0 to 1")
        loaded = self._reloading.current  # once: the whole answer is of this version
        scorer = loaded.value
        native, config = candidates.native, self.config
        asked = (
            embedding,
            text,
            metadata or None,
            time.time() if now is None else seconds_since_epoch(now, "now"),
            candidates.encoder,
            k,
            diversity,
            config.confidence_threshold,
            config.max_uncertainty,
            candidates.matching(where) if where else None,
        )
        begun = perf_counter_ns()
        found, level, reason = answer(
            self._breaker,
            lambda: scorer.native.rank(native, *asked),
            lambda: self._fallbacks(
                scorer.trained, candidates, text, k, asked[-1], lambda: self._untrained.rank(native, *asked)
            ),
            self._bugs,
        )
        if level is _LEARNED and text is not None:
            self._cache.put(text, (id(candidates), k), found, 1.0)
        ended = perf_counter_ns()
        decisions, unsound, size, alike = found
        uncalibrated = ""
        if not (scorer.calibrated and alike and (level is _LEARNED or level is Level.CACHED)):
            uncalibrated = _uncalibrated(scorer, alike)
        decided = CandidateDecisions(
            new_id(),
            decisions,
            tuple(map(_unsound, unsound)) if unsound else (),
            size,
            not uncalibrated,
            uncalibrated,
            loaded.version if level is _LEARNED or level is not Level.HEURISTIC else "untrained",
            0 if level is _LEARNED else int(level),
            reason,
            (ended - begun) / 1000,
            (ended - start) / 1000,
        )
        with self._lock:
            self._answered[decided.level] += 1
        if self._recording is not None:
            self._recording.put((decided, text, time.time()))
        return decided

    async def aroute(self, *arguments: Any, **options: Any) -> CandidateDecisions:
        """:meth:`route` for callers that await: deciding takes microseconds, so it runs where it is."""
        return self.route(*arguments, **options)

    def _fallbacks(
        self,
        trained: bool,
        candidates: CandidateSet,
        text: str | None,
        k: int,
        allowed: bytes | None,
        untrained: Callable[[], _Found],
    ) -> list[Fallback[_Found]]:
        flags = allowed if allowed is not None else b"\1" * len(candidates)
        ids = [candidate_id for candidate_id, flag in zip(candidates.ids, flags, strict=True) if flag]

        def cached() -> Proposal[_Found] | None:
            if text is None:
                return None
            kept = set(ids)

            def accept(found: _Found) -> bool:
                return all(decision.candidate_id in kept for decision in found[0])

            found = self._cache.find(text, (id(candidates), k), accept)
            if found is None:
                return None
            return Proposal(found.value, f"similar query (cosine {found.similarity:.3f}, {found.age:.0f} s ago)")

        def given() -> Proposal[_Found]:
            decisions = [_core.CandidateDecision(candidate_id) for candidate_id in ids[:k]]
            return Proposal((decisions, [], None, True), "candidates as given, for a strong model")

        levels = [Fallback(Level.CACHED, cached)]
        if trained:
            why = "the combination without training"
            levels.append(Fallback(Level.HEURISTIC, lambda: Proposal(untrained(), why)))
        return [*levels, Fallback(Level.DEFAULT, given)]

    def feedback(
        self, decision_id: str, score: float, *, candidate_id: str | None = None, text: str | None = None
    ) -> None:
        """Says how well an answer, or one candidate of it, served: 1 helped, 0 did not. ``tiny-dancer candidates
        learn`` learns from it.

        Raises:
            StorageError: the router has no database, or it cannot be written.
        """
        if self.storage is None:
            raise CandidateError("storage", "none", "give the router a database_path to remember feedback in")
        self.storage.record_feedback(Feedback(decision_id, score, candidate_id, text=text))

    def stored_candidates(self, filter: Filter | None = None) -> CandidateSet:
        """A set of the candidates in the database, in the order of group, position and time.

        Raises:
            CandidateError: the router has no database.
            StorageError: it cannot be read.
        """
        if self.storage is None:
            raise CandidateError("storage", "none", "give the router a database_path, or candidates")
        return candidate_set(self.storage.get_candidates(filter=filter), quantised=self.config.quantised)

    def reload(self) -> str:
        """Serves what the artifact's file or the registry has now, and gives its version.

        Raises:
            TinyDancerError: nothing there that loads; what served goes on serving.
        """
        return self._reloading.reload().version

    def watch(self, interval: float = 1.0) -> None:
        """Reloads by itself when the artifact changes, looked at every ``interval`` seconds, until
        :meth:`close`."""
        self._reloading.watch(interval)

    def breaker_status(self) -> BreakerStatus:
        """The breaker of the scorer; reading changes nothing."""
        return self._breaker.status()

    def status(self) -> CandidateRouterStatus:
        """How it stands now; reading changes nothing."""
        with self._lock:
            answered = {level: self._answered[level] for level in Level}
        return CandidateRouterStatus(
            self._reloading.current.version,
            self._reloading.last_error,
            self._breaker.status() if self.config.circuit_breaker else None,
            answered,
            None if self._recording is None else self._recording.status(),
            self._bugs.count,
        )

    def flush(self, timeout: float = 5.0) -> bool:
        """Waits until the answers so far are durable in the database; False where ``timeout`` seconds were not
        enough."""
        done = self._recording is None or self._recording.flush(timeout)
        if self.storage is not None:
            self.storage.flush()
        return done

    def close(self, timeout: float = 5.0) -> None:
        """Stops watching, writes what is still to be recorded, and closes the database it opened.

        Raises:
            StorageError: something could not be written.
        """
        self._reloading.close()
        if self._recording is not None:
            self._recording.close(timeout)
        if self._opened is not None:
            self._opened.close()
        elif self.storage is not None:
            self.storage.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _record(self, record: tuple[CandidateDecisions, str | None, float]) -> None:
        assert self.storage is not None  # there is no recording without
        self.storage.record_routing(routing_record(*record, keep_text=self.config.keep_query_text))


_LEARNED = Level.LEARNED
_FLOAT32 = np.dtype(np.float32)


def _is_ready(values: object) -> TypeGuard[npt.NDArray[np.float32]]:
    """Whether the engine can read it as it is."""
    return type(values) is np.ndarray and values.dtype is _FLOAT32 and values.ndim == 1 and values.strides == (4,)


def _uncalibrated(scorer: _Scorer, alike: bool) -> str:
    if not scorer.trained:
        return "the combination without training is not calibrated"
    if not alike:
        return "candidates unlike those the scorer was made with: the combination without training ranked them"
    return "a fallback answered" if scorer.calibrated else "the artifact holds no calibration"


def _unsound(candidate_id: str) -> CandidateProblem:
    return CandidateProblem(candidate_id, "its embedding holds NaN or infinity: encode it again")
