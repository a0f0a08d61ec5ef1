"""What storage keeps: candidates, routing history, outcomes, feedback; and what it says about them.

Times are UTC seconds since 1970. Routing records, outcomes and feedback check themselves when they are made, so
that recording them later cannot fail for what they hold; candidates are checked when they are written
(:mod:`tiny_dancer.storage.check`).
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from tiny_dancer.errors import StorageError
from tiny_dancer.storage.check import amount, integer, number, share, stored_text, utc_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

KINDS = ("request", "candidates")


def hash_query(text: str) -> str:
    """BLAKE2b-128 of the text in hexadecimal: tells repeated queries apart without keeping them.

    Short or guessable texts can be found again by trying: it hides text from readers, not from attackers.
    """
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class CandidateRecord:
    """One memory, tool or document.

    Attributes:
        id: names it; unique in the database.
        embedding: float32 [dimension], the same dimension for all; None keeps it out of nearest searches.
        text: what it says.
        created_at: UTC seconds.
        last_accessed_at: UTC seconds of the last access, or None.
        access_count: accesses so far.
        success_count: sum of feedback scores over its trials.
        trial_count: decisions it had feedback in.
        confidence: in [0, 1], or None where unknown.
        metadata: properties to filter by; a plain tag is a key with an empty value. Text, numbers, true or false:
            stored, and compared, as the text that a candidate set has for them.
        group: session or conversation it belongs to.
        position: place within its group, from 0.
    """

    id: str
    embedding: npt.NDArray[np.float32] | None = None
    text: str | None = None
    created_at: float = field(default_factory=time.time)
    last_accessed_at: float | None = None
    access_count: int = 0
    success_count: float = 0.0
    trial_count: int = 0
    confidence: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    position: int | None = None

    @property
    def success_rate(self) -> float | None:
        """Mean feedback score, or None without trials."""
        return self.success_count / self.trial_count if self.trial_count else None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A candidate found near a query.

    Attributes:
        candidate: without its embedding, unless that was asked for.
        distance: 1 - cosine, in [0, 2].
    """

    candidate: CandidateRecord
    distance: float


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
        stored_text("shown.candidate_id", self.candidate_id)
        integer("shown.rank", self.rank)
        if self.score is not None:
            number("shown.score", self.score)
        if self.propensity is not None:
            share("shown.propensity", self.propensity)
            if not self.propensity:
                raise StorageError("shown.propensity", 0, "what was shown had a chance above 0")
        if not isinstance(self.features, bytes):
            raise StorageError("shown.features", type(self.features).__name__, "give bytes")


@dataclass(frozen=True, slots=True)
class RoutingRecord:
    """One decision, as it is remembered.

    Attributes:
        decision_id: of the decision; outcomes and feedback refer to it. A second record of the same id is ignored.
        kind: ``request`` (a model was chosen) or ``candidates`` (candidates were ranked).
        chosen: the model, or the id of the first candidate.
        time: UTC seconds.
        artifact_version: version of the artifact that decided; empty where none did.
        query_hash: :func:`hash_query` of the query, or None.
        query_text: the query itself; None unless its owner wants it kept.
        shown: the candidates shown, best first; empty for requests.
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
        stored_text("decision_id", self.decision_id)
        if self.kind not in KINDS:
            raise StorageError("kind", self.kind, f"use one of {', '.join(KINDS)}")
        # One of these is made for each decision, in a few microseconds: fields as they mostly are get no call.
        if self.chosen != "":
            stored_text("chosen", self.chosen)
        utc_seconds("time", self.time)
        if self.artifact_version != "":
            stored_text("artifact_version", self.artifact_version)
        if self.query_hash is not None:
            stored_text("query_hash", self.query_hash)
        if self.query_text is not None:
            stored_text("query_text", self.query_text, empty=True)
        if self.confidence is not None:
            share("confidence", self.confidence)
        if self.cost is not None:
            amount("cost", self.cost)
        if self.baseline_cost is not None:
            amount("baseline_cost", self.baseline_cost)
        if self.latency_us is not None:
            amount("latency_us", self.latency_us)
        if self.level != 0:
            integer("level", self.level)
        if self.reason != "":
            stored_text("reason", self.reason)


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
        stored_text("decision_id", self.decision_id)
        stored_text("model", self.model)
        share("quality", self.quality, required=True)
        if self.cost is not None:
            amount("cost", self.cost)
        if self.latency_s is not None:
            amount("latency_s", self.latency_s)
        utc_seconds("time", self.time)


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
        stored_text("decision_id", self.decision_id)
        share("score", self.score, required=True)
        stored_text("candidate_id", self.candidate_id, optional=True)
        utc_seconds("time", self.time)
        stored_text("text", self.text, empty=True, optional=True)


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
        dropped: routing records this object could not keep since it was opened (queue full, or disk full).
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


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows by what they are: stored (backup, restore, verify), or removed (retention)."""

    candidates: int
    routing: int
    outcomes: int
    feedback: int
    requests: int = 0
    api_keys: int = 0
