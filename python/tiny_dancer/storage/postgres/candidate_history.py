"""The statements about the history of candidates: what was done to each, by whom, and what was there before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiny_dancer.storage import columns
from tiny_dancer.storage.candidate_history import written

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from tiny_dancer.storage.candidates import CandidateChange, CandidateRecord, ChangeAction


def remember(
    connection: psycopg.Connection[Any],
    before: Sequence[CandidateRecord],
    action: ChangeAction,
    by: str | None,
    now: float,
) -> None:
    """Writes down what is done to stored candidates (given without their embeddings)."""
    if before:
        connection.execute(
            "INSERT INTO tiny_dancer.candidate_history (candidate_id, time, action, by, before) "
            "SELECT id, %s, %s, %s, before::json FROM unnest(%s::text[], %s::text[]) AS past (id, before)",
            (now, action, by, [record.id for record in before], [written(record) for record in before]),
        )


def remember_inserted(connection: psycopg.Connection[Any], ids: Sequence[str], by: str | None, now: float) -> None:
    """Writes down that candidates came in."""
    if ids:
        connection.execute(
            "INSERT INTO tiny_dancer.candidate_history (candidate_id, time, action, by) "
            "SELECT id, %s, 'insert', %s FROM unnest(%s::text[]) AS added (id)",
            (now, by, list(ids)),
        )


def candidate_history(
    connection: psycopg.Connection[Any], candidate_id: str | None, since: float | None, limit: int | None
) -> tuple[CandidateChange, ...]:
    """What was done to a candidate, or to all, newest first."""
    parts, values = ["TRUE"], []
    for part, value in (("candidate_id = %s", candidate_id), ("time >= %s", since)):
        if value is not None:
            parts.append(part)
            values.append(value)
    rows = connection.execute(
        "SELECT candidate_id, time, action, by, before FROM tiny_dancer.candidate_history "
        f"WHERE {' AND '.join(parts)} ORDER BY number DESC LIMIT %s",
        (*values, limit),
        binary=True,
    )
    return tuple(columns.change(row) for row in rows)
