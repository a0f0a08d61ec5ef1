"""The candidate router: which memories, tools or documents are worth passing on, and to how strong a model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeGuard
from weakref import finalize

import numpy as np

from tiny_dancer import _core
from tiny_dancer._core.timestamps import seconds_since_epoch
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
from tiny_dancer.routing.candidate_records import routing_record
from tiny_dancer.routing.candidate_set import Candidate, CandidateSet, as_filter, float_row
from tiny_dancer.routing.router import new_id
from tiny_dancer.routing.stored_candidates import StoredCandidates
from tiny_dancer.storage import CandidateStorage, Feedback, HistoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping
    from datetime import datetime
    from types import TracebackType

    import numpy.typing as npt

    from tiny_dancer.registry import Source
    from tiny_dancer.resilience import BreakerStatus
    from tiny_dancer.storage.candidates import Filtering
    from tiny_dancer.storage.opening import Database

_MOST_K = 100_000
_SIMILAR = 0.95


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


@dataclass(frozen=True, slots=True)
class _Remembered:
    """An answer, and the embedding it was found by."""

    found: _Found
    embedding: npt.NDArray[np.float32] | None

    def is_near(self, embedding: npt.NDArray[np.float32] | None) -> bool:
        """Whether another embedding asks nearly the same."""
        own = self.embedding
        if own is None or embedding is None:
            return own is embedding
        lengths = float(np.linalg.norm(own)) * float(np.linalg.norm(embedding))
        return own.shape == embedding.shape and float(own @ embedding) >= _SIMILAR * lengths


@dataclass(frozen=True, slots=True)
class _Request:
    """What answers are remembered by.

    Attributes:
        text: compared by similarity.
        embedding: the same.
        asked: what else an answer depends on: the version of the set and of the scorer, and the options.
    """

    text: str
    embedding: npt.NDArray[np.float32] | None
    asked: Hashable


class CandidateRouter:
    """Ranks candidates for a request in microseconds, and goes on answering when that fails. Share it between
    threads.

    Levels: 0 the scorer, within a circuit breaker; 1 the answer to a similar recent query, asked in the same way
    of the same set while it has not changed; 2 the combination without training; 3 the candidates as given, for a
    strong model. An answer names its level. A filter (``where``) holds on every level.

    The combination without training multiplies relevance (shared words, pairs of words, character grams and
    cosine; the candidate with what stands around it) by what its use says for it. The ``measured`` weights are .94
    for relevance itself, and .02 each for recency (``1 / (1 + age / 30 days)``), confidence and success rate,
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
        self._cache: DecisionCache[_Remembered] = DecisionCache(similarity=_SIMILAR, confidence=0.0)
        self._answered = [0] * len(Level)
        self._bugs = Bugs()
        self._lock = Lock()
        self._opened: Database | None = None
        if self.config.database_path is not None:
            if storage is not None:
                raise OptionError("storage", "given twice", "give either storage or database_path")
            from tiny_dancer.storage import open_storage

            storage = self._opened = open_storage(self.config.database_path)
        self.storage = storage
        self._recording: Recording[tuple[CandidateDecisions, str | None, float]] | None = None
        if storage is not None:
            self._recording = Recording(partial(_record, storage, self.config.keep_query_text))
            # A router that is forgotten without being closed leaves no thread behind.
            finalize(self, self._recording.close, 0.0).atexit = False

    def route(
        self,
        query_embedding: Sequence[float] | npt.NDArray[np.float32] | str | None,
        candidates: CandidateSet | Iterable[Candidate] | None = None,
        metadata: Mapping[str, Any] | None = None,
        k: int = 5,
        *,
        text: str | None = None,
        where: Mapping[str, Any] | _core.CandidateFilter | None = None,
        diversity: float = 0.0,
        now: float | datetime | str | None = None,
    ) -> CandidateDecisions:
        """Ranks candidates for one request.

        Args:
            query_embedding: D numbers, D as the candidates have; or the request's text.
            candidates: a set, made once and used often; or candidates, of which a set is made for this call; those
                of the router's storage where None.
            metadata: properties of the request, compared with the candidates' own.
            k: most candidates to give; all where there are fewer.
            text: the request's text beside its embedding: shared words tell more than cosines do.
            where: which candidates may be given, such as ``{"user": "anna", "year": {"$gte": 2020}}``
                (:class:`tiny_dancer.CandidateFilter`, which compiles it once for many requests). A set that others
                change meanwhile is filtered and ranked as it stands at one moment. All may be given where None.
            diversity: maximal marginal relevance, from 0 (by score alone) to 1 (unlike what is already taken).
            now: time of the request, as :attr:`Candidate.created_at`; the present where None.

        Returns:
            At most k decisions, best first; equal scores in the order of ids. No candidates, no decisions. A
            candidate with NaN or infinity in its embedding takes no part and is named in ``errors``.

        Raises:
            CandidateError: a candidate, the query's embedding or a filter that cannot be used.
            RequestError: neither text nor embedding.
            OptionError: an option outside its range.
        """
        start = perf_counter_ns()
        if isinstance(query_embedding, str):
            text, query_embedding = query_embedding, None
        allowed = None if where is None else as_filter(where)
        if candidates is None:
            candidates = self.stored_candidates()
        # Nobody asks again of a set that is made for this call.
        lasting = isinstance(candidates, CandidateSet)
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
        ranking, config = candidates.ranking, self.config
        native = ranking.native
        if ranking.where is not None:
            allowed = ranking.where if allowed is None else ranking.where & allowed
        moment = time.time() if now is None else seconds_since_epoch(now, "now")
        asked = (
            embedding,
            text,
            metadata or None,
            moment,
            ranking.encoder,
            k,
            diversity,
            config.confidence_threshold,
            config.max_uncertainty,
            allowed,
        )
        request: _Request | None = None
        if lasting and text is not None:
            # Before ranking: where the set changes meanwhile, the answer is kept for a version that is gone.
            properties = _core.metadata_pairs(metadata, "metadata") if metadata else ()
            version = native.version(), loaded.version, loaded.sha256
            at = None if now is None else moment
            request = _Request(text, embedding, (version, k, allowed, properties, diversity, at))
        begun = perf_counter_ns()
        found, level, reason = answer(
            self._breaker,
            lambda: scorer.native.rank(native, *asked),
            lambda: self._fallbacks(
                scorer.trained,
                native,
                request,
                k,
                allowed,
                moment,
                lambda: self._untrained.rank(native, *asked),
            ),
            self._bugs,
        )
        if level is _LEARNED and request is not None:
            kept = None if embedding is None else embedding.copy()
            self._cache.put(request.text, request.asked, _Remembered(found, kept), 1.0)
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
        native: _core.CandidateSet,
        request: _Request | None,
        k: int,
        allowed: _core.CandidateFilter | None,
        now: float | None,
        untrained: Callable[[], _Found],
    ) -> list[Fallback[_Found]]:
        def cached() -> Proposal[_Found] | None:
            if request is None:
                return None

            def accept(kept: _Remembered) -> bool:
                decisions, unsound, *_ = kept.found
                ids = [*(decision.candidate_id for decision in decisions), *unsound]
                return kept.is_near(request.embedding) and native.all_pass(ids, allowed, now)

            similar = self._cache.find(request.text, request.asked, accept)
            if similar is None:
                return None
            why = f"similar query (cosine {similar.similarity:.3f}, {similar.age:.0f} s ago)"
            return Proposal(similar.value.found, why)

        def given() -> Proposal[_Found]:
            decisions = [_core.CandidateDecision(candidate_id) for candidate_id in native.passing(allowed, now, k)]
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

    def stored_candidates(self, filter: Filtering | None = None) -> StoredCandidates:
        """A set of the candidates in the storage, or those that pass a filter, that follows it: each ranking sees
        every write that returned before. The candidates of a group follow each other by position, else by time.

        Raises:
            CandidateError: the router has no storage; or what is no filter.
        """
        if self.storage is None:
            raise CandidateError("storage", "none", "give the router a database_path, or candidates")
        return StoredCandidates(self.storage, filter)

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


def _record(
    storage: CandidateHistory, keep_text: bool, record: tuple[CandidateDecisions, str | None, float]
) -> None:
    storage.record_routing(routing_record(*record, keep_text=keep_text))


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
