"""Memories out of a table into a database."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.routing.timestamps import seconds_since_epoch
from tiny_dancer.storage import CandidateRecord

if TYPE_CHECKING:
    from tiny_dancer.routing.candidate_set import Candidate
    from tiny_dancer.storage import CandidateStorage
    from tiny_dancer.training.candidates.data import Memories


@dataclass(frozen=True, slots=True)
class Imported:
    """How many memories were added, and how many were there already and stayed as they were."""

    added: int
    known: int


def import_memories(memories: Memories, storage: CandidateStorage) -> Imported:
    """Adds memories under ``<conversation>/<memory id>``, all or none; those stored already keep what was counted.

    The conversation is a property of each (`conversation`), so that a query can be put to one of them. A
    session is a group; a memory without one has none. A memory without a time counts as made now.

    Raises:
        CandidateError: a memory that cannot be stored, or embeddings of another dimension than those stored.
        StorageError: the database cannot be written.
    """
    records = []
    for conversation, found in memories.conversations.items():
        position: dict[str | None, int] = {}
        for memory in found:
            place = position[memory.group] = position.get(memory.group, -1) + 1
            records.append(_record(conversation, memory, place))
    known = {record.id for record in storage.get_candidates([record.id for record in records])}
    storage.insert_candidates(record for record in records if record.id not in known)
    return Imported(len(records) - len(known), len(known))


def _record(conversation: str, memory: Candidate, position: int) -> CandidateRecord:
    group = None if memory.group is None else f"{conversation}/{memory.group}"
    accesses = round(memory.access_count or 0)
    trials = 0 if memory.success_rate is None else round(accesses if memory.trials is None else memory.trials)
    record = CandidateRecord(
        f"{conversation}/{memory.id}",
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
    time = seconds_since_epoch(memory.created_at, "created_at")
    return record if time is None else replace(record, created_at=time)
