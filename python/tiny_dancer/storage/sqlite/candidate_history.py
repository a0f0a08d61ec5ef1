"""The statements about the history of candidates: what was done to each, by whom, and what was there before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiny_dancer.storage import columns
from tiny_dancer.storage.candidate_history import written

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

    from tiny_dancer.storage.candidates import CandidateChange, CandidateRecord, ChangeAction


def remember(
    connection: apsw.Connection,
    before: Sequence[CandidateRecord],
    action: ChangeAction,
    by: str | None,
    now: float,
) -> None:
    """Writes down what is done to stored candidates (given without their embeddings)."""
    connection.executemany(
        "INSERT INTO candidate_history (candidate_id, time, action, by, before) VALUES (?, ?, ?, ?, ?)",
        ((record.id, now, action, by, written(record)) for record in before),
    )


def remember_inserted(connection: apsw.Connection, ids: Sequence[str], by: str | None, now: float) -> None:
    """Writes down that candidates came in."""
    connection.executemany(
        "INSERT INTO candidate_history (candidate_id, time, action, by) VALUES (?, ?, 'insert', ?)",
        ((id, now, by) for id in ids),
    )


def candidate_history(
    connection: apsw.Connection, candidate_id: str | None, since: float | None, limit: int | None
) -> tuple[CandidateChange, ...]:
    """What was done to a candidate, or to all, newest first."""
    parts, values = ["TRUE"], []
    for part, value in (("candidate_id = ?", candidate_id), ("time >= ?", since)):
        if value is not None:
            parts.append(part)
            values.append(value)
    rows = connection.execute(
        f"SELECT candidate_id, time, action, by, before FROM candidate_history WHERE {' AND '.join(parts)} "
        "ORDER BY number DESC LIMIT ?",
        (*values, -1 if limit is None else limit),
    )
    return tuple(columns.change(row) for row in rows)
