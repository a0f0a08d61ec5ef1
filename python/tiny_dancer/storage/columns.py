"""Rows of a database as records: which columns each record has, in their order, and a record of such a row.

What one database has a type for and another keeps as text is an argument, or is read as either is: JSON, flags.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import msgspec

from tiny_dancer.storage.agents import Agent, AgentRecord
from tiny_dancer.storage.budgets import Budget
from tiny_dancer.storage.candidate_history import read
from tiny_dancer.storage.candidates import CandidateChange, CandidateRecord
from tiny_dancer.storage.history import Feedback, RoutingRecord, ShownCandidate
from tiny_dancer.storage.keys import ApiKey, ModelBudget
from tiny_dancer.storage.ledger import LISTS
from tiny_dancer.storage.metadata import decoded
from tiny_dancer.storage.queue import QueuedRequest
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import numpy.typing as npt

CANDIDATE = (
    "id", "text", "created_at", "last_accessed_at", "access_count", "success_count", "trial_count", "confidence",
    "metadata", "session", "position", "namespace", "ttl_s", "expires_at", "updated_at",
)  # fmt: skip
ROUTING = (
    "decision_id", "kind", "chosen", "time", "artifact_version", "query_hash", "query_text", "shown", "confidence",
    "use_lightweight", "cost", "baseline_cost", "latency_us", "level", "reason",
)  # fmt: skip
NAMESPACE, EXPIRES_AT = CANDIDATE.index("namespace"), CANDIDATE.index("expires_at")
AGENT = ("declared", "state", "updated_at")
BUDGET = ("id", "scope", "subject", "most", "period", "kind", "starts_at", "ends_at", "created_at")
API_KEY = (
    "id", "name", "secret_hash", "created_at", "expires_at", "revoked_at", "models", "requests_per_minute",
    "tokens_per_minute", "daily_budget", "monthly_budget", "cheaper_when_spent", "max_budget", "budget_duration",
    "soft_budget", "model_max_budget", "tier", "tags", "operator", "user", "team", "project",
)  # fmt: skip
QUEUED = tuple(each.name for each in fields(QueuedRequest))
REQUEST = RequestRecord.__struct_fields__

_decode_shown = msgspec.json.Decoder(tuple[ShownCandidate, ...]).decode
_decode_scores = msgspec.json.Decoder(dict[str, float | None]).decode
_decode_removed = msgspec.json.Decoder(dict[str, str]).decode
_decode_budgets = msgspec.json.Decoder(tuple[ModelBudget, ...]).decode


def candidate(
    row: Sequence[Any], namespace: tuple[str, ...], embedding: npt.NDArray[np.float32] | None
) -> CandidateRecord:
    """A candidate of the columns ``CANDIDATE``, of which ``namespace`` is given as it is meant."""
    return CandidateRecord(
        id=row[0],
        embedding=embedding,
        text=row[1],
        created_at=row[2],
        last_accessed_at=row[3],
        access_count=row[4],
        success_count=row[5],
        trial_count=row[6],
        confidence=row[7],
        metadata={} if row[8] == "{}" else decoded(row[8]),
        group=row[9],
        position=row[10],
        namespace=namespace,
        ttl_s=row[12],
        expires_at=row[13],
        updated_at=row[14],
    )


def change(row: Sequence[Any]) -> CandidateChange:
    """What was done to a candidate, of its id, time, action, by whom, and the candidate before as JSON."""
    id, time, action, by, before = row
    return CandidateChange(id, time, action, by, None if before is None else read(before))


def routing(row: Sequence[Any]) -> RoutingRecord:
    """A decision of the columns ``ROUTING``."""
    found = dict(zip(ROUTING, row, strict=True))
    found["shown"] = () if found["shown"] == "[]" else _decode_shown(found["shown"])
    found["use_lightweight"] = bool(found["use_lightweight"])
    return RoutingRecord(**found)


def feedback(row: Sequence[Any]) -> Feedback:
    """Feedback of its decision, score, candidate (empty for none), time and text."""
    decision, score, about, time, text = row
    return Feedback(decision, score, about or None, time, text)


def request(row: Sequence[Any], texts: Callable[[Any], tuple[str, ...]]) -> RequestRecord:
    """A gateway's request of the columns ``REQUEST``; ``texts`` reads a list of them."""
    found = dict(zip(REQUEST, row, strict=True))
    found["stream"], found["guessed"] = bool(found["stream"]), bool(found["guessed"])
    for field in LISTS:
        found[field] = texts(found[field])
    found["removed"] = _decode_removed(found["removed"])
    if found["scores"] is not None:
        # JSON has no NaN.
        scores = _decode_scores(found["scores"])
        found["scores"] = {name: math.nan if score is None else score for name, score in scores.items()}
    return RequestRecord(**found)


def agent(row: Sequence[Any]) -> AgentRecord:
    """An agent of the columns ``AGENT``."""
    declared, state, updated_at = row
    return AgentRecord(Agent.from_json(declared), state or "", updated_at)


def budget(row: Sequence[Any]) -> Budget:
    """A budget of the columns ``BUDGET``."""
    _, scope, subject, most, period, kind, starts_at, ends_at, created_at = row
    return Budget(
        scope,
        subject,
        limit=most,
        period=period,
        kind=kind,
        starts_at=starts_at,
        ends_at=ends_at,
        created_at=created_at,
    )


def row_of_budget(budget: Budget) -> tuple[Any, ...]:
    """The columns ``BUDGET`` of a budget."""
    return tuple(budget.limit if name == "most" else getattr(budget, name) for name in BUDGET)


def api_key(row: Sequence[Any], texts: Callable[[Any], tuple[str, ...]]) -> ApiKey:
    """A key of the columns ``API_KEY``; ``texts`` reads a list of them."""
    found = dict(zip(API_KEY, row, strict=True))
    found["models"], found["tags"] = texts(found["models"]), texts(found["tags"])
    found["model_max_budget"] = _decode_budgets(found["model_max_budget"])
    found["cheaper_when_spent"], found["operator"] = bool(found["cheaper_when_spent"]), bool(found["operator"])
    return ApiKey(**found)


def row_of_api_key(key: ApiKey, texts: Callable[[Sequence[str]], Any]) -> list[Any]:
    """The columns ``API_KEY`` of a key; ``texts`` writes a list of them."""
    row = {name: getattr(key, name) for name in API_KEY}
    row["models"], row["tags"] = texts(key.models), texts(key.tags)
    row["model_max_budget"] = msgspec.json.encode(key.model_max_budget).decode()
    return list(row.values())


def queued(row: Sequence[Any]) -> QueuedRequest:
    """A request that waits, of the columns ``QUEUED``."""
    return QueuedRequest(**dict(zip(QUEUED, row, strict=True)))


def row_of_queued(request: QueuedRequest) -> list[Any]:
    """The columns ``QUEUED`` of a request that waits."""
    return [getattr(request, name) for name in QUEUED]
