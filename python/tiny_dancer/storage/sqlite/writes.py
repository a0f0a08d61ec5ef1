"""The statements that write. Each function runs within the writer's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tiny_dancer.errors import CandidateError
from tiny_dancer.storage.check import metadata_texts
from tiny_dancer.storage.sqlite.conditions import as_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import apsw

    from tiny_dancer.storage.records import CandidateRecord, Feedback, Outcome, RoutingRecord

# Deletions older than this many changes are forgotten: a mirror that slept through more is loaded anew.
REMEMBERED_DELETIONS = 100_000

_CANDIDATE = (
    "number, id, text, created_at, last_accessed_at, access_count, success_count, trial_count, confidence, "
    "metadata, session, position, embedding_change, change"
)


def next_change(connection: apsw.Connection) -> int:
    """Counts a change to the candidates; returns its number."""
    change = connection.execute("UPDATE state SET changes = changes + 1 RETURNING changes").get
    assert isinstance(change, int)
    return change


def insert_candidates(
    connection: apsw.Connection, records: Sequence[CandidateRecord], dimension: int | None
) -> None:
    """Adds candidates, checked.

    Raises:
        CandidateError: one is stored already, or the dimension differs.
    """
    present = connection.execute(
        "SELECT id FROM candidate WHERE id IN (SELECT value FROM json_each(?)) LIMIT 1",
        (as_json(record.id for record in records),),
    ).get
    if present is not None:
        raise CandidateError("id", present, "it is stored already: upsert to replace it")
    _add(connection, records, dimension)


def upsert_candidates(
    connection: apsw.Connection, records: Sequence[CandidateRecord], dimension: int | None
) -> None:
    """Adds candidates, checked, in place of those of the same ids.

    Raises:
        CandidateError: the dimension differs.
    """
    _remove(connection, as_json(record.id for record in records))
    _add(connection, records, dimension)


def _add(connection: apsw.Connection, records: Sequence[CandidateRecord], dimension: int | None) -> None:
    if dimension is not None:
        _agree_on_dimension(connection, dimension)
    change = next_change(connection)
    first = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM candidate").get
    assert isinstance(first, int)
    connection.executemany(
        f"INSERT INTO candidate ({_CANDIDATE}) VALUES ({', '.join('?' * 14)})",
        (
            (
                number,
                record.id,
                record.text,
                record.created_at,
                record.last_accessed_at,
                record.access_count,
                record.success_count,
                record.trial_count,
                record.confidence,
                msgspec.json.encode(metadata_texts(record.metadata)).decode(),
                record.group,
                record.position,
                None if record.embedding is None else change,
                change,
            )
            for number, record in enumerate(records, first)
        ),
    )
    connection.executemany(
        "INSERT INTO candidate_vectors (rowid, embedding) VALUES (?, ?)",
        (
            (number, record.embedding.tobytes())
            for number, record in enumerate(records, first)
            if record.embedding is not None
        ),
    )
    connection.execute(
        "DELETE FROM candidate_deletion WHERE id IN (SELECT value FROM json_each(?))",
        (as_json(record.id for record in records),),
    )


def _agree_on_dimension(connection: apsw.Connection, dimension: int) -> None:
    stored = connection.execute("SELECT dimension FROM state").get
    if stored is None:
        connection.execute(
            "CREATE VIRTUAL TABLE candidate_vectors "
            f"USING vec0 (embedding float[{dimension:d}] distance_metric=cosine)"
        )
        connection.execute("UPDATE state SET dimension = ?", (dimension,))
    elif stored != dimension:
        raise CandidateError(
            "embedding", f"dimension {dimension}", f"the stored candidates have {stored}: use their encoder"
        )


def delete_candidates(connection: apsw.Connection, ids: Iterable[str]) -> int:
    """Removes candidates and remembers that; returns how many there were."""
    listed = as_json(ids)
    change = next_change(connection)
    connection.execute(
        "INSERT OR REPLACE INTO candidate_deletion (id, change) "
        "SELECT id, ? FROM candidate WHERE id IN (SELECT value FROM json_each(?))",
        (change, listed),
    )
    removed = _remove(connection, listed)
    old = connection.execute(
        "SELECT max(change) FROM candidate_deletion WHERE change <= ?", (change - REMEMBERED_DELETIONS,)
    ).get
    if old is not None:
        connection.execute("DELETE FROM candidate_deletion WHERE change <= ?", (old,))
        connection.execute("UPDATE state SET forgotten = ?", (old,))
    return removed


def _remove(connection: apsw.Connection, listed: str) -> int:
    numbers = connection.execute(
        "DELETE FROM candidate WHERE id IN (SELECT value FROM json_each(?)) "
        "RETURNING number, embedding_change IS NOT NULL",
        (listed,),
    ).fetchall()
    embedded = [(number,) for number, has_embedding in numbers if has_embedding]
    if embedded:
        connection.executemany("DELETE FROM candidate_vectors WHERE rowid = ?", embedded)
    return len(numbers)


def touch_candidates(connection: apsw.Connection, touches: Mapping[str, tuple[int, float]]) -> None:
    """Counts accesses: by candidate, how many and when the last."""
    change = next_change(connection)
    connection.executemany(
        "UPDATE candidate SET access_count = access_count + ?, "
        "last_accessed_at = max(coalesce(last_accessed_at, 0), ?), change = ? WHERE id = ?",
        ((count, last, change, each) for each, (count, last) in touches.items()),
    )


def insert_routing(connection: apsw.Connection, records: Iterable[RoutingRecord]) -> None:
    """Adds decisions; of one decision id the first stays."""
    connection.executemany(
        "INSERT INTO routing (decision_id, time, kind, chosen, artifact_version, query_hash, query_text, shown, "
        "confidence, use_lightweight, cost, baseline_cost, latency_us, level, reason) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (decision_id) DO NOTHING",
        (
            (
                record.decision_id,
                record.time,
                record.kind,
                record.chosen,
                record.artifact_version,
                record.query_hash,
                record.query_text,
                msgspec.json.encode(record.shown).decode(),
                record.confidence,
                record.use_lightweight,
                record.cost,
                record.baseline_cost,
                record.latency_us,
                record.level,
                record.reason,
            )
            for record in records
        ),
    )


def put_feedback(connection: apsw.Connection, feedback: Feedback) -> None:
    """Keeps feedback in place of what was said before, and counts it for its candidate."""
    about = feedback.candidate_id or ""
    before = connection.execute(
        "DELETE FROM feedback WHERE decision_id = ? AND candidate_id = ? RETURNING score",
        (feedback.decision_id, about),
    ).get
    connection.execute(
        "INSERT INTO feedback (decision_id, candidate_id, score, time, text) VALUES (?, ?, ?, ?, ?)",
        (feedback.decision_id, about, feedback.score, feedback.time, feedback.text),
    )
    if about:
        more = 0 if before is not None else 1
        gained = feedback.score - (before if isinstance(before, int | float) else 0.0)
        # A candidate replaced since the first feedback has other counts: they stay a possible pair.
        connection.execute(
            "UPDATE candidate SET trial_count = trial_count + ?1, "
            "success_count = min(max(success_count + ?2, 0.0), trial_count + ?1), change = ?3 WHERE id = ?4",
            (more, gained, next_change(connection), about),
        )


def put_outcome(connection: apsw.Connection, outcome: Outcome) -> None:
    """Keeps an outcome in place of an earlier one of the same model."""
    connection.execute(
        "INSERT OR REPLACE INTO outcome (decision_id, model, quality, cost, latency_s, time) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (outcome.decision_id, outcome.model, outcome.quality, outcome.cost, outcome.latency_s, outcome.time),
    )


def remove_history(
    connection: apsw.Connection, table: str, oldest: float | None, most: int | None, at_once: int
) -> int:
    """Removes rows of a history that are too old or too many, ``at_once`` at most; returns how many."""
    if most is None:
        surplus = 0
    else:
        count = connection.execute(f"SELECT count(*) FROM {table}").get
        assert isinstance(count, int)
        surplus = max(count - most, 0)
    # The oldest first, so that repeating this ends at the newest rows.
    connection.execute(
        f"DELETE FROM {table} WHERE number IN (SELECT number FROM {table} WHERE time < ?1 "
        f"OR number IN (SELECT number FROM {table} ORDER BY time, number LIMIT ?2) "
        "ORDER BY time, number LIMIT ?3)",
        (-1.0 if oldest is None else oldest, surplus, at_once),
    )
    return connection.changes()
