"""Between what a candidate router works with and what storage keeps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tiny_dancer.routing.candidate_set import Candidate, CandidateSet
from tiny_dancer.storage import RoutingRecord, ShownCandidate, hash_query
from tiny_dancer.storage.metadata import flattened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiny_dancer.routing.candidate_answer import CandidateDecisions
    from tiny_dancer.storage import CandidateRecord


def routing_record(
    decisions: CandidateDecisions, text: str | None, at: float, *, keep_text: bool
) -> RoutingRecord:
    """What is remembered of an answer given at ``at`` (UTC seconds)."""
    best = decisions.decisions[0] if decisions.decisions else None
    confidence = None
    if best is not None and math.isfinite(best.confidence):
        confidence = min(1.0, max(0.0, best.confidence))
    return RoutingRecord(
        decisions.id,
        "candidates",
        "" if best is None else best.candidate_id,
        at,
        decisions.artifact_version,
        None if text is None else hash_query(text),
        text if keep_text else None,
        tuple(
            ShownCandidate(shown.candidate_id, rank, shown.score, None, shown.feature_bytes())
            for rank, shown in enumerate(decisions.decisions)
        ),
        confidence,
        best is not None and best.use_lightweight,
        latency_us=decisions.elapsed_us,
        level=decisions.level,
        reason=decisions.level_reason,
    )


def candidate_set(records: Iterable[CandidateRecord], *, quantised: bool = False) -> CandidateSet:
    """A set of stored candidates, in the order of group, position and time."""
    ordered = sorted(
        records,
        key=lambda record: (
            record.group or "",
            math.inf if record.position is None else record.position,
            record.created_at,
            record.id,
        ),
    )
    return CandidateSet(
        (
            Candidate(
                record.id,
                record.embedding,
                record.text,
                record.created_at,
                record.access_count,
                record.success_rate,
                record.trial_count,
                record.confidence,
                flattened(record.metadata),
                record.group,
            )
            for record in ordered
        ),
        quantised=quantised,
    )
