"""History: decisions, what they led to, and what was said of them; and what storage does with it.

Times are UTC seconds since 1970, and may be given in any form a candidate's may. The records check themselves when
they are made, and then hold texts and numbers of Python's own, so that recording them later cannot fail for what
they hold.
"""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from tiny_dancer.errors import OptionError, StorageError
from tiny_dancer.storage import values
from tiny_dancer.storage.values import (
    EARLIEST,
    INTEGERS,
    LATEST,
    amount,
    flag,
    given,
    integer,
    number,
    settle,
    share,
    stored_text,
    utc_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KINDS = ("request", "candidates", "tools")
Record = TypeVar("Record")

_put = msgspec.structs.force_setattr


def hash_query(text: str) -> str:
    """BLAKE2b-128 of the text in hexadecimal: tells repeated queries apart without keeping them.

    Short or guessable texts can be found again by trying: it hides text from readers, not from attackers.
    """
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class ShownCandidate(msgspec.Struct, frozen=True):
    """A candidate as one decision showed it; learning from use needs all of this.

    Not a dataclass: five of these are made within a decision, and a frozen dataclass takes four times as long.

    Attributes:
        candidate_id: which.
        rank: position shown at, from 0.
        score: what it was ranked by, or None.
        propensity: chance that it was shown at this rank, in (0, 1]; None where unknown.
        features: its features when scored, in the scorer's own layout; empty where not kept.
    """

    candidate_id: str
    rank: int
    score: float | None = None
    propensity: float | None = None
    features: bytes = b""

    def __post_init__(self) -> None:
        # One look for each field that is as it mostly is: five of these are made within a decision.
        if type(self.candidate_id) is not str or not self.candidate_id.isprintable() or not self.candidate_id:
            _put(self, "candidate_id", stored_text("shown.candidate_id", self.candidate_id))
        if type(self.rank) is not int or not 0 <= self.rank < INTEGERS:
            _put(self, "rank", integer("shown.rank", self.rank))
        if self.score is not None and not (type(self.score) is float and -math.inf < self.score < math.inf):
            _put(self, "score", number("shown.score", self.score))
        if self.propensity is not None:
            propensity = share("shown.propensity", self.propensity, required=True)
            if not propensity:
                raise StorageError("shown.propensity", 0, "what was shown had a chance above 0")
            _put(self, "propensity", propensity)
        if type(self.features) is not bytes:
            if not isinstance(self.features, (bytes, bytearray, memoryview)):
                raise StorageError("shown.features", type(self.features).__name__, "give bytes")
            _put(self, "features", bytes(self.features))


@dataclass(frozen=True, slots=True)
class RoutingRecord:
    """One decision, as it is remembered.

    Attributes:
        decision_id: of the decision; outcomes and feedback refer to it. A second record of the same id is ignored.
        kind: ``request`` (a model was chosen), ``candidates`` (candidates were ranked) or ``tools`` (tools were
            called).
        chosen: the model, or the id of the first candidate or tool.
        time: UTC seconds.
        artifact_version: version of the artifact that decided; empty where none did.
        query_hash: :func:`hash_query` of the query, or None.
        query_text: the query itself; None unless its owner wants it kept.
        shown: the candidates shown, best first, or the tools called, in order; empty for requests.
        confidence: of the decision, in [0, 1], or None.
        use_lightweight: whether the light model was enough.
        cost: expected USD of the choice, or None.
        baseline_cost: USD of the choice made without routing, or None.
        latency_us: microseconds the decision took, or None.
        level: fallback level that answered: 0 learned, 1 cached, 2 heuristic, 3 default.
        reason: the decision's reason.
    """

    decision_id: str
    kind: str
    chosen: str
    time: float = field(default_factory=time.time)
    artifact_version: str = ""
    query_hash: str | None = None
    query_text: str | None = None
    shown: tuple[ShownCandidate, ...] = ()
    confidence: float | None = None
    use_lightweight: bool = False
    cost: float | None = None
    baseline_cost: float | None = None
    latency_us: float | None = None
    level: int = 0
    reason: str = ""

    def __post_init__(self) -> None:
        # One of these is made for each decision, in a few microseconds: fields as they mostly are get no call.
        if type(self.decision_id) is not str or not self.decision_id or not self.decision_id.isprintable():
            settle(self, "decision_id", stored_text("decision_id", self.decision_id))
        if type(self.kind) is not str or self.kind not in KINDS:
            settle(self, "kind", stored_text("kind", self.kind, empty=True))
            if self.kind not in KINDS:
                raise StorageError("kind", self.kind, f"use one of {', '.join(KINDS)}")
        if type(self.chosen) is not str or self.chosen:
            settle(self, "chosen", stored_text("chosen", self.chosen, empty=True))
        if type(self.time) is not float or not EARLIEST <= self.time <= LATEST:
            settle(self, "time", utc_seconds("time", self.time))
        if type(self.artifact_version) is not str or self.artifact_version:
            settle(self, "artifact_version", stored_text("artifact_version", self.artifact_version, empty=True))
        if self.query_hash is not None:
            settle(self, "query_hash", stored_text("query_hash", self.query_hash))
        if self.query_text is not None:
            settle(self, "query_text", stored_text("query_text", self.query_text, empty=True))
        if type(self.shown) is not tuple or not _SHOWN.issuperset(map(type, self.shown)):
            settle(self, "shown", _shown(self.shown))
        if self.confidence is not None and not (type(self.confidence) is float and 0 <= self.confidence <= 1):
            settle(self, "confidence", share("confidence", self.confidence))
        if type(self.use_lightweight) is not bool:
            settle(self, "use_lightweight", flag("use_lightweight", self.use_lightweight))
        if self.cost is not None:
            settle(self, "cost", amount("cost", self.cost))
        if self.baseline_cost is not None:
            settle(self, "baseline_cost", amount("baseline_cost", self.baseline_cost))
        if self.latency_us is not None and not (
            type(self.latency_us) is float and 0 <= self.latency_us < math.inf
        ):
            settle(self, "latency_us", amount("latency_us", self.latency_us))
        if type(self.level) is not int or self.level != 0:
            settle(self, "level", integer("level", self.level))
        if type(self.reason) is not str or self.reason:
            settle(self, "reason", stored_text("reason", self.reason, empty=True))


_SHOWN = frozenset([ShownCandidate])


def _shown(value: object) -> tuple[ShownCandidate, ...]:
    if not isinstance(value, (tuple, list)):
        raise StorageError("shown", type(value).__name__, "give a tuple of ShownCandidate")
    for place, each in enumerate(value):
        if not isinstance(each, ShownCandidate):
            remedy = "give a ShownCandidate(candidate_id, rank, ...)"
            raise StorageError(f"shown[{place}]", type(each).__name__, remedy)
    return value if type(value) is tuple else tuple(value)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a model really scored on the request of a decision; a later one of the same model replaces it.

    Attributes:
        decision_id: of the decision.
        model: that answered.
        quality: in [0, 1].
        cost: USD, or None.
        latency_s: seconds, or None.
        time: UTC seconds.
    """

    decision_id: str
    model: str
    quality: float
    cost: float | None = None
    latency_s: float | None = None
    time: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        settle(self, "decision_id", stored_text("decision_id", self.decision_id))
        settle(self, "model", stored_text("model", self.model))
        settle(self, "quality", share("quality", self.quality, required=True))
        settle(self, "cost", given(amount, "cost", self.cost))
        settle(self, "latency_s", given(amount, "latency_s", self.latency_s))
        settle(self, "time", utc_seconds("time", self.time))


@dataclass(frozen=True, slots=True)
class Feedback:
    """How well a decision, or one candidate it showed, served; a later one about the same replaces it.

    Attributes:
        decision_id: of the decision.
        score: in [0, 1]; 1 helped, 0 did not.
        candidate_id: which candidate, or None for the decision as a whole.
        time: UTC seconds.
        text: what was said about it, or None.
    """

    decision_id: str
    score: float
    candidate_id: str | None = None
    time: float = field(default_factory=time.time)
    text: str | None = None

    def __post_init__(self) -> None:
        settle(self, "decision_id", stored_text("decision_id", self.decision_id))
        settle(self, "score", share("score", self.score, required=True))
        settle(self, "candidate_id", stored_text("candidate_id", self.candidate_id, optional=True))
        settle(self, "time", utc_seconds("time", self.time))
        settle(self, "text", stored_text("text", self.text, empty=True, optional=True))


@dataclass(frozen=True, slots=True)
class Statistics:
    """What happened in a span of time; None where there is nothing to average.

    Attributes:
        candidates: candidates stored now, whenever they came.
        routes: decisions recorded.
        by_kind: decisions by kind.
        by_level: decisions by fallback level.
        light_share: share of decisions that used the light model.
        cost: USD expected of the choices, where known.
        baseline_cost: USD of the choices without routing, where known.
        latency_p50_us: microseconds, nearest rank over decisions with a latency; likewise p90 and p99.
        latency_p90_us: as above.
        latency_p99_us: as above.
        feedback: feedback received.
        success_rate: mean feedback score.
        outcomes: outcomes received.
        mean_quality: mean quality of the outcomes.
        dropped: routing records this object could not keep since it was opened: the queue was full, or the disk,
            or one could not be written.
        requests: requests through a gateway.
    """

    candidates: int
    routes: int
    by_kind: Mapping[str, int]
    by_level: Mapping[int, int]
    light_share: float | None
    cost: float
    baseline_cost: float
    latency_p50_us: float | None
    latency_p90_us: float | None
    latency_p99_us: float | None
    feedback: int
    success_rate: float | None
    outcomes: int
    mean_quality: float | None
    dropped: int
    requests: int


class HistoryStorage(Protocol):
    """Keeps decisions, outcomes and feedback. Safe to use from many threads.

    A write is durable when it returns: it survives the end of the process, and in a file also a loss of power.
    Routing records are the exception, for they must not hold up a decision: ``record_routing`` returns at once,
    and ``flush`` returns when all before it are durable.

    Every method raises :class:`~tiny_dancer.errors.StorageError` where the database cannot be read or written.
    """

    def record_routing(self, record: RoutingRecord, *, wait: bool = False) -> bool:
        """Remembers a decision.

        Args:
            record: the decision; one of a decision id that is stored already is ignored.
            wait: return only when it is durable, however long the queue.

        Returns:
            Whether it was taken; without ``wait``, a full queue drops it and ``Statistics.dropped`` counts that.
        """
        ...

    def record_feedback(self, feedback: Feedback) -> None:
        """Keeps feedback. About a candidate that is stored, it updates its trials and successes."""
        ...

    def record_outcome(self, outcome: Outcome) -> None:
        """Keeps what a model really scored."""
        ...

    def flush(self) -> None:
        """Returns when all routing records and accesses so far are durable.

        Raises:
            StorageError: some since the last flush could not be written; it says how many, and why.
        """
        ...

    def routing_history(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        kind: str | None = None,
        decision_ids: Iterable[str] | None = None,
        limit: int | None = 10_000,
    ) -> tuple[RoutingRecord, ...]:
        """Decisions with ``since <= time < until``, newest first."""
        ...

    def feedback_history(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        decision_ids: Iterable[str] | None = None,
        limit: int | None = 10_000,
    ) -> tuple[Feedback, ...]:
        """Feedback with ``since <= time < until``, newest first."""
        ...

    def outcome_history(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        decision_ids: Iterable[str] | None = None,
        limit: int | None = 10_000,
    ) -> tuple[Outcome, ...]:
        """Outcomes with ``since <= time < until``, newest first."""
        ...

    def get_statistics(self, *, since: float | None = None, until: float | None = None) -> Statistics:
        """Figures of the decisions, outcomes and feedback with ``since <= time < until``."""
        ...


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """What a history is asked for, checked: a span of time, decisions (None: all), and how many at most."""

    since: float | None
    until: float | None
    decision_ids: tuple[str, ...] | None
    limit: int | None
    kind: str | None = None


def check_history(
    since: float | None,
    until: float | None,
    decision_ids: Iterable[str] | None,
    most: int | None,
    kind: str | None = None,
) -> HistoryQuery:
    """Checks what a history is asked for.

    Raises:
        OptionError: one of the arguments is not what it should be.
    """
    listed = None if decision_ids is None else values.texts("decision_ids", decision_ids)
    of_kind = stored_text("kind", kind, empty=True, optional=True, error=OptionError)
    return HistoryQuery(*values.span(since, until), listed, values.limit(most), of_kind)


def check_record(field: str, record: object, kind: type[Record]) -> Record:
    """What is to be kept, if it is what it should be; such records checked themselves when they were made.

    Raises:
        StorageError: it is something else.
    """
    if not isinstance(record, kind):
        raise StorageError(field, type(record).__name__, f"give a {kind.__name__}")
    return record
