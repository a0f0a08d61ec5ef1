"""A database with something in it, and ways to spoil it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.storage import CandidateRecord, Feedback, Outcome, RoutingRecord, RowCounts, SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1.75e9


def fill(opened: SqliteStorage, count: int = 50) -> None:
    generator = np.random.default_rng(0)
    opened.insert_candidates(
        CandidateRecord(f"{row:03}", generator.standard_normal(16).astype(np.float32), f"text {row}", NOW)
        for row in range(count)
    )
    for row in range(10):
        opened.record_routing(RoutingRecord(f"decision {row}", "request", "model", NOW + row))
    opened.record_feedback(Feedback("decision 0", 1.0, "000", NOW))
    opened.record_outcome(Outcome("decision 0", "model", 1.0, time=NOW))
    opened.flush()


FILLED = RowCounts(50, 10, 1, 1, changes=50)


def nearest(opened: SqliteStorage) -> list[str]:
    return [each.candidate.id for each in opened.query_candidates(np.ones(16), 5, touch=False)]


def spoil(path: Path, where: slice) -> None:
    content = bytearray(path.read_bytes())
    content[where] = b"\xa5" * len(content[where])
    path.write_bytes(content)
