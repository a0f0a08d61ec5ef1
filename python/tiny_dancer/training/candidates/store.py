"""Memories out of a table into a database."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer._core.timestamps import seconds_since_epoch
from tiny_dancer.storage import CandidateRecord

if TYPE_CHECKING:
    from tiny_dancer.routing.candidate_set import Candidate
    from tiny_dancer.storage import CandidateStorage
    from tiny_dancer.training.candidates.data import Memories


@dataclass(frozen=True, slots=True)
class Imported:
    """How many memories were added, how many were there with other content and were replaced, how many were there
    as they are."""

    added: int
    changed: int
    known: int


def import_memories(memories: Memories, storage: CandidateStorage) -> Imported:
    """Adds memories under ``<conversation>/<memory id>``, all or none; those stored already are brought up to date
    and keep what was counted of their use, their namespace and how long they live. A ``/`` or ``%`` in a
    conversation is ``%2F`` or ``%25`` there, so that no two memories have one id.

    The conversation is a property of each (`conversation`), so that a query can be put to one of them. A
    session is a group; a memory without one has none. A memory without a time counts as made now, or when it was
    first stored.

    Raises:
        CandidateError: a memory that cannot be stored, or embeddings of another dimension than those stored.
        StorageError: the database cannot be written.
    """
    placed = []
    for conversation, found in memories.conversations.items():
        position: dict[str | None, int] = {}
        for memory in found:
            place = position[memory.group] = position.get(memory.group, -1) + 1
            placed.append((conversation, memory, place))
    ids = [_within(conversation, memory.id) for conversation, memory, _ in placed]
    stored = {record.id: record for record in storage.get_candidates(ids)}
    records = [_record(*each, stored.get(id)) for id, each in zip(ids, placed, strict=True)]
    fresh = [record for record in records if record.id not in stored]
    edited = [record for record in records if record.id in stored and not _same(record, stored[record.id])]
    storage.upsert_candidates([*fresh, *edited], by="candidates import", keep_use=True)
    return Imported(len(fresh), len(edited), len(records) - len(fresh) - len(edited))


def _same(record: CandidateRecord, stored: CandidateRecord) -> bool:
    """Whether what a table says of a memory is what is stored."""
    if record.embedding is None or stored.embedding is None:
        if record.embedding is not stored.embedding:
            return False
    elif not np.array_equal(record.embedding, stored.embedding):
        return False
    return all(
        getattr(record, field) == getattr(stored, field)
        for field in ("text", "created_at", "confidence", "metadata", "group", "position")
    )


def _within(conversation: str, name: str) -> str:
    return f"{conversation.replace('%', '%25').replace('/', '%2F')}/{name}"


def _record(
    conversation: str, memory: Candidate, position: int, stored: CandidateRecord | None
) -> CandidateRecord:
    group = None if memory.group is None else _within(conversation, memory.group)
    accesses = round(memory.access_count or 0)
    trials = 0 if memory.success_rate is None else round(accesses if memory.trials is None else memory.trials)
    record = CandidateRecord(
        _within(conversation, memory.id),
        embedding=None if memory.embedding is None else np.asarray(memory.embedding, np.float32),
        text=memory.text,
        access_count=accesses,
        success_count=(memory.success_rate or 0.0) * trials,
        trial_count=trials,
        confidence=memory.confidence,
        metadata={**memory.metadata, "conversation": conversation},
        group=group,
        position=position,
    )
    if stored is not None:
        # Of these a table says nothing.
        record = replace(record, namespace=stored.namespace, ttl_s=stored.ttl_s, expires_at=stored.expires_at)
    time = seconds_since_epoch(memory.created_at, "created_at")
    if time is None and stored is not None:
        time = stored.created_at
    return record if time is None else replace(record, created_at=time)
