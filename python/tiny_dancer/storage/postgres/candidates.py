"""The statements about candidates. Those that write run within a transaction, and begin by locking the row of
``state``: one transaction at a time writes candidates, and changes are committed in the order of their numbers.

Triggers of the tables count changes and note deletions, whoever writes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tiny_dancer.errors import CandidateError
from tiny_dancer.storage import columns
from tiny_dancer.storage.candidate_checks import with_use
from tiny_dancer.storage.candidates import CandidateRecord
from tiny_dancer.storage.metadata import encoded
from tiny_dancer.storage.mirror import passing
from tiny_dancer.storage.postgres.candidate_history import remember, remember_inserted
from tiny_dancer.storage.postgres.connection import UNREADABLE
from tiny_dancer.storage.values import MOST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import psycopg

    from tiny_dancer import _core
    from tiny_dancer.storage.touches import Touch

_FIELDS = ", ".join(f"candidate.{name}" for name in columns.CANDIDATE)
_TYPES = (
    "text", "text", "float8", "float8", "int8", "float8", "int8", "float8",
    "text", "text", "int8", "text[]", "float8", "float8", "float8", "float4[]",
)  # fmt: skip
_NOT_EXPIRED = "(candidate.expires_at IS NULL OR candidate.expires_at > %s)"
# Where the embedding stands in a row that has it.
_EMBEDDING = len(columns.CANDIDATE)
# Candidates that expire in one transaction.
EXPIRY_STEP = 1000
# Rows that the server sends at a time.
_AT_ONCE = 10_000


def candidate(row: tuple[Any, ...]) -> CandidateRecord:
    """A record from the columns ``columns.CANDIDATE`` and, where given, the embedding."""
    return columns.candidate(
        row, tuple(row[columns.NAMESPACE]), row[_EMBEDDING] if len(row) > _EMBEDDING else None
    )


def candidates(
    connection: psycopg.Connection[Any], ids: Iterable[str] | None, where: _core.CandidateFilter | None
) -> tuple[CandidateRecord, ...]:
    """Candidates with their embeddings, in the order of ``ids``, or all by id."""
    condition, values = _NOT_EXPIRED, [time.time()]
    named = None if ids is None else list(dict.fromkeys(ids))
    if named is not None:
        condition += " AND candidate.id = ANY (%s::text[])"
        values.append(named)  # type: ignore[arg-type]
    rows = connection.execute(
        f"SELECT {_FIELDS}, embedding FROM tiny_dancer.candidate WHERE {condition} ORDER BY candidate.id",
        values,
        binary=True,
    )
    found = passing(where, [candidate(row) for row in rows])
    if named is None:
        return tuple(found)
    by_id = {record.id: record for record in found}
    return tuple(by_id[each] for each in named if each in by_id)


def written(connection: psycopg.Connection[Any], since: int) -> Iterator[CandidateRecord]:
    """Candidates written after change ``since``, with their embeddings, in the order of writing; within a
    transaction."""
    with connection.cursor("written") as cursor:
        cursor.itersize = _AT_ONCE
        cursor.execute(
            f"SELECT {_FIELDS}, embedding FROM tiny_dancer.candidate WHERE change > %s AND content_change > %s "
            "ORDER BY number",
            (since, since),
            binary=True,
        )
        yield from map(candidate, cursor)


def used(connection: psycopg.Connection[Any], since: int) -> list[CandidateRecord]:
    """Candidates of which only what is counted has changed after change ``since``."""
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM tiny_dancer.candidate WHERE change > %s AND content_change <= %s",
        (since, since),
        binary=True,
    )
    return [candidate(row) for row in rows]


def insert_candidates(
    connection: psycopg.Connection[Any],
    records: Sequence[CandidateRecord],
    dimension: int | None,
    by: str | None,
) -> None:
    """Adds candidates, checked.

    Raises:
        CandidateError: one is stored already, or the dimension differs.
    """
    now = time.time()
    _lock(connection, dimension)
    ids = [record.id for record in records]
    present = _present(connection, ids, now)
    if present:
        raise CandidateError("id", next(iter(present)), "it is stored already: upsert to replace it")
    _replace(connection, ids, records)
    remember_inserted(connection, ids, by, now)


def upsert_candidates(
    connection: psycopg.Connection[Any],
    records: Sequence[CandidateRecord],
    dimension: int | None,
    by: str | None,
    *,
    keep_use: bool,
) -> None:
    """Adds candidates, checked, in place of those of the same ids.

    Raises:
        CandidateError: the dimension differs.
    """
    now = time.time()
    _lock(connection, dimension)
    ids = [record.id for record in records]
    present = _present(connection, ids, now)
    if keep_use:
        records = [with_use(record, present.get(record.id)) for record in records]
    remember(connection, list(present.values()), "update", by, now)
    _replace(connection, ids, records)
    remember_inserted(connection, [each for each in ids if each not in present], by, now)


def _lock(connection: psycopg.Connection[Any], dimension: int | None = None) -> None:
    """Waits until nobody else writes candidates.

    Raises:
        CandidateError: those stored have another dimension.
    """
    ((stored,),) = connection.execute("SELECT dimension FROM tiny_dancer.state FOR UPDATE").fetchall()
    if dimension is not None and stored is not None and stored != dimension:
        raise CandidateError(
            "embedding", f"dimension {dimension}", f"the stored candidates have {stored}: use their encoder"
        )


def _present(connection: psycopg.Connection[Any], ids: list[str], now: float) -> dict[str, CandidateRecord]:
    """Those of the ids that are stored and live. Of others it writes down that they ended."""
    stored = _stored(connection, ids)
    remember(connection, [before for before in stored if before.has_expired(now)], "expire", None, now)
    return {before.id: before for before in stored if not before.has_expired(now)}


def _stored(connection: psycopg.Connection[Any], ids: list[str]) -> list[CandidateRecord]:
    """Those of the ids that are stored, without their embeddings."""
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM tiny_dancer.candidate WHERE id = ANY (%s::text[])", (ids,), binary=True
    )
    return [_as_far_as_readable(row) for row in rows]


def _as_far_as_readable(row: tuple[Any, ...]) -> CandidateRecord:
    """What another program wrote that is none of ours can still be replaced and removed."""
    try:
        return candidate(row)
    except UNREADABLE:
        return CandidateRecord(row[0], expires_at=row[columns.EXPIRES_AT])


def _replace(connection: psycopg.Connection[Any], ids: list[str], records: Sequence[CandidateRecord]) -> None:
    connection.execute("DELETE FROM tiny_dancer.candidate WHERE id = ANY (%s::text[])", (ids,))
    copy = f"COPY tiny_dancer.candidate ({', '.join(columns.CANDIDATE)}, embedding) FROM STDIN (FORMAT binary)"
    with connection.cursor() as cursor, cursor.copy(copy) as rows:
        rows.set_types(_TYPES)
        for record in records:
            rows.write_row(
                (
                    record.id,
                    record.text,
                    record.created_at,
                    record.last_accessed_at,
                    record.access_count,
                    record.success_count,
                    record.trial_count,
                    record.confidence,
                    encoded(record.metadata),
                    record.group,
                    record.position,
                    list(record.namespace),
                    record.ttl_s,
                    record.expires_at,
                    record.updated_at,
                    record.embedding,
                )
            )


def delete_candidates(
    connection: psycopg.Connection[Any], ids: Iterable[str], by: str | None, *, purge: bool
) -> int:
    """Removes candidates and remembers that; returns how many there were."""
    listed = list(ids)
    now = time.time()
    _lock(connection)
    stored = _stored(connection, listed)
    if not purge:
        remember(connection, stored, "delete", by, now)
    connection.execute("DELETE FROM tiny_dancer.candidate WHERE id = ANY (%s::text[])", (listed,))
    if purge:
        connection.execute(
            "DELETE FROM tiny_dancer.candidate_history WHERE candidate_id = ANY (%s::text[])", (listed,)
        )
    return sum(not before.has_expired(now) for before in stored)


def remove_expired(connection: psycopg.Connection[Any], now: float) -> int:
    """Removes candidates that have expired, at most ``EXPIRY_STEP``; returns how many."""
    _lock(connection)
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM tiny_dancer.candidate WHERE expires_at <= %s LIMIT %s",
        (now, EXPIRY_STEP),
        binary=True,
    )
    expired = [_as_far_as_readable(row) for row in rows]
    remember(connection, expired, "expire", None, now)
    ids = [record.id for record in expired]
    connection.execute("DELETE FROM tiny_dancer.candidate WHERE id = ANY (%s::text[])", (ids,))
    return len(expired)


def list_namespaces(connection: psycopg.Connection[Any], now: float) -> list[tuple[str, ...]]:
    """Namespaces that candidates have, in no order."""
    rows = connection.execute(
        f"SELECT DISTINCT namespace FROM tiny_dancer.candidate WHERE namespace <> '{{}}' AND {_NOT_EXPIRED}",
        (now,),
    )
    return [tuple(namespace) for (namespace,) in rows]


def touch_candidates(connection: psycopg.Connection[Any], touches: Mapping[str, Touch]) -> None:
    """Counts accesses, and lets those live on that are to."""
    connection.execute(
        "UPDATE tiny_dancer.candidate SET "
        f"access_count = access_count + least(touch.count, {MOST} - access_count), "
        "last_accessed_at = CASE WHEN touch.count > 0 THEN greatest(last_accessed_at, touch.last) "
        "ELSE last_accessed_at END, "
        "expires_at = CASE WHEN touch.refresh AND ttl_s IS NOT NULL "
        "THEN greatest(coalesce(expires_at, touch.last), touch.last + ttl_s) ELSE expires_at END "
        "FROM unnest(%s::text[], %s::bigint[], %s::float8[], %s::boolean[]) AS touch (id, count, last, refresh) "
        "WHERE candidate.id = touch.id",
        (
            list(touches),
            [each.count for each in touches.values()],
            [each.last for each in touches.values()],
            [each.refresh for each in touches.values()],
        ),
    )


def count_feedback(connection: psycopg.Connection[Any], id: str, more: int, gained: float) -> None:
    """Counts feedback for its candidate, where that is stored."""
    # A candidate replaced since the first feedback has other counts: they stay a possible pair.
    connection.execute(
        f"UPDATE tiny_dancer.candidate SET trial_count = trial_count + least(%s, {MOST} - trial_count), "
        f"success_count = least(greatest(success_count + %s, 0), trial_count + least(%s, {MOST} - trial_count)) "
        "WHERE id = %s",
        (more, gained, more, id),
    )
