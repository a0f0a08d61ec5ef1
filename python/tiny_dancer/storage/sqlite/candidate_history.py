"""The statements about the history of candidates: what was done to each, by whom, and what was there before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tiny_dancer.storage.candidates import CandidateChange, CandidateRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

    from tiny_dancer.storage.candidates import ChangeAction


class Before(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A candidate as it is written down: without its embedding, and without what nothing was said of."""

    id: str
    created_at: float
    text: str | None = None
    last_accessed_at: float | None = None
    access_count: int = 0
    success_count: float = 0.0
    trial_count: int = 0
    confidence: float | None = None
    metadata: dict[str, Any] = {}
    group: str | None = None
    position: int | None = None
    namespace: tuple[str, ...] = ()
    ttl_s: float | None = None
    expires_at: float | None = None
    updated_at: float | None = None


_FIELDS = Before.__struct_fields__
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Before).decode


def _written(record: CandidateRecord) -> str:
    return _encode(Before(**{name: getattr(record, name) for name in _FIELDS})).decode()


def _read(before: str) -> CandidateRecord:
    found = _decode(before)
    return CandidateRecord(**{name: getattr(found, name) for name in _FIELDS})


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
        ((record.id, now, action, by, _written(record)) for record in before),
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
    return tuple(
        CandidateChange(id, time, action, by, None if before is None else _read(before))
        for id, time, action, by, before in rows
    )
