"""The statements about candidates. Those that write run within the writer's transaction."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tiny_dancer.errors import CandidateError
from tiny_dancer.storage import columns
from tiny_dancer.storage.candidate_checks import with_use
from tiny_dancer.storage.candidates import CandidateRecord
from tiny_dancer.storage.metadata import encoded
from tiny_dancer.storage.mirror import Mirror, check_dimension, passing
from tiny_dancer.storage.sqlite.candidate_history import remember, remember_inserted
from tiny_dancer.storage.sqlite.conditions import as_json
from tiny_dancer.storage.sqlite.connection import snapshot
from tiny_dancer.storage.values import MOST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import apsw
    import numpy.typing as npt

    from tiny_dancer import _core
    from tiny_dancer.storage.candidate_checks import Search
    from tiny_dancer.storage.candidates import Neighbour
    from tiny_dancer.storage.touches import Touch

# Deletions older than this many changes are forgotten: a mirror that slept through more is loaded anew.
REMEMBERED_DELETIONS = 100_000

# What `candidate` reads. A program of an earlier version leaves `updated_at` empty.
FIELDS = ", ".join(
    "coalesce(candidate.updated_at, candidate.created_at)" if name == "updated_at" else f"candidate.{name}"
    for name in columns.CANDIDATE
)
# sqlite-vec's limit for k.
_MOST_NEIGHBOURS = 4096
_CANDIDATE = f"number, {', '.join(columns.CANDIDATE)}, embedding_change, content_change, change"
# The change that wrote a row, use aside: a program of an earlier version does not say it.
_CONTENT_CHANGE = "coalesce(candidate.content_change, candidate.change)"
_WITH_VECTORS = "LEFT JOIN candidate_vectors AS vector ON vector.rowid = candidate.number"
# Where the embedding stands in a row that has it.
_EMBEDDING = len(columns.CANDIDATE)
# Candidates that expire in one transaction.
EXPIRY_STEP = 1000
# What reading a damaged row raises.
UNREADABLE = (UnicodeDecodeError, msgspec.MsgspecError)
_decode_namespace = msgspec.json.Decoder(tuple[str, ...]).decode


def candidate(row: tuple[Any, ...]) -> CandidateRecord:
    """A record from the columns ``FIELDS`` and, where given, the embedding's bytes."""
    listed = row[columns.NAMESPACE]
    namespace = () if listed == "[]" else _decode_namespace(listed)
    return columns.candidate(row, namespace, as_embedding(row[_EMBEDDING]) if len(row) > _EMBEDDING else None)


def as_embedding(content: bytes | None) -> npt.NDArray[np.float32] | None:
    """float32 [dimension] from a vector's bytes; a copy, so that it can be written to."""
    return None if content is None else np.frombuffer(content, np.float32).copy()


def dimension(connection: apsw.Connection) -> int | None:
    """Of the embeddings; None before the first."""
    found = connection.execute("SELECT dimension FROM state").get
    assert found is None or isinstance(found, int)
    return found


def candidates(
    connection: apsw.Connection, ids: Iterable[str] | None, where: _core.CandidateFilter | None
) -> tuple[CandidateRecord, ...]:
    """Candidates with their embeddings, in the order of ``ids``, or all by id."""
    condition, values = _NOT_EXPIRED, [time.time()]
    named = None if ids is None else list(dict.fromkeys(ids))
    if named is not None:
        condition += " AND candidate.id IN (SELECT value FROM json_each(?))"
        values.append(as_json(named))  # type: ignore[arg-type]
    with snapshot(connection):
        rows = connection.execute(
            f"{_select(dimension(connection))} WHERE {condition} ORDER BY candidate.id", values
        ).fetchall()
    found = passing(where, [candidate(row) for row in rows])
    if named is None:
        return tuple(found)
    by_id = {record.id: record for record in found}
    return tuple(by_id[each] for each in named if each in by_id)


_NOT_EXPIRED = "(candidate.expires_at IS NULL OR candidate.expires_at > ?)"


def _select(dimension: int | None, index: str = "") -> str:
    if dimension is None:
        return f"SELECT {FIELDS}, NULL FROM candidate {index}"
    return f"SELECT {FIELDS}, vector.embedding FROM candidate {index} {_WITH_VECTORS}"


def written(connection: apsw.Connection, dimension: int | None, since: int) -> Iterator[CandidateRecord]:
    """Candidates written after change ``since``, with their embeddings, in the order of writing."""
    # Left to itself SQLite reads the whole table in its order, rather than sort the few rows that changed.
    few = "INDEXED BY candidate_change" if since >= 0 else ""
    rows = connection.execute(
        f"{_select(dimension, few)} WHERE candidate.change > ?1 AND {_CONTENT_CHANGE} > ?1 "
        "ORDER BY candidate.number",
        (since,),
    )
    return map(candidate, rows)


def used(connection: apsw.Connection, since: int) -> list[CandidateRecord]:
    """Candidates of which only what is counted has changed after change ``since``."""
    rows = connection.execute(
        f"SELECT {FIELDS} FROM candidate WHERE change > ?1 AND {_CONTENT_CHANGE} <= ?1", (since,)
    )
    return [candidate(row) for row in rows]


def nearest(connection: apsw.Connection, search: Search) -> tuple[Neighbour, ...]:
    """What a search by embedding finds, by sqlite-vec; the same answer as the mirror's.

    sqlite-vec rounds otherwise than the engine and breaks ties as it likes: more than k are fetched, until the
    last lies clearly behind the k-th, and those go through a mirror of their own.

    Raises:
        CandidateError: the query has another dimension than the candidates.
    """
    assert search.embedding is not None
    k = min(search.k, 2**31)
    with snapshot(connection):
        width = dimension(connection)
        if width is None:
            return ()
        check_dimension(search.embedding, width)
        allowed = _allowed(connection, search)
        # Dot product and norms, each with a rounding error of at most width * 2**-24 (Higham 2002, eq. 3.5).
        slack = 8 * (width + 4) * 2.0**-24
        asked = k + 8
        while True:
            rows = _nearest_rows(connection, search.embedding, asked, allowed)
            if len(rows) < asked or rows[-1][-1] > rows[k - 1][-1] + slack:
                break
            asked *= 2
    mirror = Mirror(width)
    mirror.apply([], [candidate(row[:-1]) for row in rows])
    return mirror.search(replace(search, where=None))


def _allowed(connection: apsw.Connection, search: Search) -> str | None:
    """Numbers of the rows a search may return, as a JSON list; None for all."""
    values = (search.now,)
    if search.where is None:
        if connection.execute("SELECT 1 FROM candidate WHERE expires_at <= ? LIMIT 1", values).get is None:
            return None
        numbers = connection.execute(f"SELECT number FROM candidate WHERE {_NOT_EXPIRED}", values)
        return msgspec.json.encode([number for (number,) in numbers]).decode()
    rows = connection.execute(f"SELECT {FIELDS}, number FROM candidate WHERE {_NOT_EXPIRED}", values).fetchall()
    by_id = {row[0]: row[-1] for row in rows}
    records = passing(search.where, [candidate(row[:-1]) for row in rows])
    return msgspec.json.encode([by_id[record.id] for record in records]).decode()


def _nearest_rows(
    connection: apsw.Connection, query: npt.NDArray[np.float32], count: int, allowed: str | None
) -> list[tuple[Any, ...]]:
    """(``FIELDS``, embedding, distance) of the nearest, in order of their distance."""
    listed = () if allowed is None else (allowed,)
    if count <= _MOST_NEIGHBOURS:
        wanted = "" if allowed is None else "AND rowid IN (SELECT value FROM json_each(?))"
        return connection.execute(
            f"WITH near AS MATERIALIZED (SELECT rowid, distance FROM candidate_vectors "
            f"WHERE embedding MATCH ? AND k = ? {wanted}) "
            f"SELECT {FIELDS}, vector.embedding, near.distance FROM near "
            f"JOIN candidate ON candidate.number = near.rowid "
            f"JOIN candidate_vectors AS vector ON vector.rowid = near.rowid ORDER BY near.distance",
            (query.tobytes(), count, *listed),
        ).fetchall()
    condition = "TRUE" if allowed is None else "candidate.number IN (SELECT value FROM json_each(?))"
    return connection.execute(
        f"SELECT {FIELDS}, vector.embedding, vec_distance_cosine(vector.embedding, ?) AS distance FROM candidate "
        f"JOIN candidate_vectors AS vector ON vector.rowid = candidate.number "
        f"WHERE {condition} ORDER BY distance LIMIT ?",
        (query.tobytes(), *listed, count),
    ).fetchall()


def next_change(connection: apsw.Connection) -> int:
    """Counts a change to the candidates; returns its number."""
    change = connection.execute("UPDATE state SET changes = changes + 1 RETURNING changes").get
    assert isinstance(change, int)
    return change


def insert_candidates(
    connection: apsw.Connection, records: Sequence[CandidateRecord], dimension: int | None, by: str | None
) -> None:
    """Adds candidates, checked.

    Raises:
        CandidateError: one is stored already, or the dimension differs.
    """
    now = time.time()
    listed = as_json(record.id for record in records)
    present = _present(connection, listed, now)
    if present:
        raise CandidateError("id", next(iter(present)), "it is stored already: upsert to replace it")
    _remove(connection, listed)
    _add(connection, records, dimension)
    remember_inserted(connection, [record.id for record in records], by, now)


def upsert_candidates(
    connection: apsw.Connection,
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
    listed = as_json(record.id for record in records)
    present = _present(connection, listed, now)
    if keep_use:
        records = [with_use(record, present.get(record.id)) for record in records]
    remember(connection, list(present.values()), "update", by, now)
    _remove(connection, listed)
    _add(connection, records, dimension)
    remember_inserted(connection, [record.id for record in records if record.id not in present], by, now)


def _present(connection: apsw.Connection, listed: str, now: float) -> dict[str, CandidateRecord]:
    """Those of the ids (a JSON list) that are stored and live. Of others it writes down that they ended."""
    stored = _stored(connection, listed)
    remember(connection, [before for before in stored if before.has_expired(now)], "expire", None, now)
    return {before.id: before for before in stored if not before.has_expired(now)}


def _stored(connection: apsw.Connection, listed: str) -> list[CandidateRecord]:
    """Those of the ids (a JSON list) that are stored, without their embeddings."""
    statement = f"SELECT {FIELDS} FROM candidate WHERE id IN (SELECT value FROM json_each(?))"
    try:
        return [candidate(row) for row in connection.execute(statement, (listed,))]
    except UNREADABLE:
        return [_stored_one(connection, id) for id in msgspec.json.decode(listed) if _is_stored(connection, id)]


def _is_stored(connection: apsw.Connection, id: str) -> bool:
    return connection.execute("SELECT 1 FROM candidate WHERE id = ?", (id,)).get is not None


def _stored_one(connection: apsw.Connection, id: str) -> CandidateRecord:
    """What can be read of a stored candidate: a damaged one can still be replaced and removed."""
    try:
        return candidate(connection.execute(f"SELECT {FIELDS} FROM candidate WHERE id = ?", (id,)).get)
    except UNREADABLE:
        expires_at = connection.execute("SELECT expires_at FROM candidate WHERE id = ?", (id,)).get
        return CandidateRecord(id, expires_at=expires_at)


def _add(connection: apsw.Connection, records: Sequence[CandidateRecord], dimension: int | None) -> None:
    if dimension is not None:
        agree_on_dimension(connection, dimension)
    change = next_change(connection)
    first = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM candidate").get
    assert isinstance(first, int)
    connection.executemany(
        f"INSERT INTO candidate ({_CANDIDATE}) VALUES ({', '.join('?' * 19)})",
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
                encoded(record.metadata),
                record.group,
                record.position,
                as_json(record.namespace),
                record.ttl_s,
                record.expires_at,
                record.updated_at,
                None if record.embedding is None else change,
                change,
                change,
            )
            for number, record in enumerate(records, first)
        ),
    )
    insert_vectors(
        connection,
        (
            (number, record.embedding)
            for number, record in enumerate(records, first)
            if record.embedding is not None
        ),
    )
    connection.execute(
        "DELETE FROM candidate_deletion WHERE id IN (SELECT value FROM json_each(?))",
        (as_json(record.id for record in records),),
    )


def insert_vectors(connection: apsw.Connection, embeddings: Iterable[tuple[int, npt.NDArray[np.float32]]]) -> None:
    """Adds embeddings, each with the number of its candidate."""
    connection.executemany(
        "INSERT INTO candidate_vectors (rowid, embedding) VALUES (?, ?)",
        ((number, embedding.tobytes()) for number, embedding in embeddings),
    )


def agree_on_dimension(connection: apsw.Connection, dimension: int) -> None:
    """Makes the table of embeddings, where there is none.

    Raises:
        CandidateError: there is one, of another dimension.
    """
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


def delete_candidates(connection: apsw.Connection, ids: Iterable[str], by: str | None, *, purge: bool) -> int:
    """Removes candidates and remembers that; returns how many there were."""
    listed = as_json(ids)
    now = time.time()
    stored = _stored(connection, listed)
    if not purge:
        remember(connection, stored, "delete", by, now)
    _delete(connection, listed)
    if purge:
        connection.execute(
            "DELETE FROM candidate_history WHERE candidate_id IN (SELECT value FROM json_each(?))", (listed,)
        )
    return sum(not before.has_expired(now) for before in stored)


def remove_expired(connection: apsw.Connection, now: float) -> int:
    """Removes candidates that have expired, at most ``EXPIRY_STEP``; returns how many."""
    rows = connection.execute("SELECT id FROM candidate WHERE expires_at <= ? LIMIT ?", (now, EXPIRY_STEP))
    listed = as_json([id for (id,) in rows])
    expired = _stored(connection, listed)
    remember(connection, expired, "expire", None, now)
    _delete(connection, listed)
    return len(expired)


def list_namespaces(connection: apsw.Connection, now: float) -> list[tuple[str, ...]]:
    """Namespaces that candidates have, in no order."""
    rows = connection.execute(
        f"SELECT DISTINCT namespace FROM candidate WHERE namespace <> '[]' AND {_NOT_EXPIRED}", (now,)
    )
    return [_decode_namespace(namespace) for (namespace,) in rows]


def _delete(connection: apsw.Connection, listed: str) -> None:
    change = next_change(connection)
    connection.execute(
        "INSERT OR REPLACE INTO candidate_deletion (id, change) "
        "SELECT id, ? FROM candidate WHERE id IN (SELECT value FROM json_each(?))",
        (change, listed),
    )
    _remove(connection, listed)
    old = connection.execute(
        "SELECT max(change) FROM candidate_deletion WHERE change <= ?", (change - REMEMBERED_DELETIONS,)
    ).get
    if old is not None:
        connection.execute("DELETE FROM candidate_deletion WHERE change <= ?", (old,))
        connection.execute("UPDATE state SET forgotten = ?", (old,))


def _remove(connection: apsw.Connection, listed: str) -> None:
    numbers = connection.execute(
        "DELETE FROM candidate WHERE id IN (SELECT value FROM json_each(?)) "
        "RETURNING number, embedding_change IS NOT NULL",
        (listed,),
    ).fetchall()
    embedded = [(number,) for number, has_embedding in numbers if has_embedding]
    if embedded:
        connection.executemany("DELETE FROM candidate_vectors WHERE rowid = ?", embedded)


def touch_candidates(connection: apsw.Connection, touches: Mapping[str, Touch]) -> None:
    """Counts accesses, and lets those live on that are to."""
    change = next_change(connection)
    connection.executemany(
        f"UPDATE candidate SET access_count = min(access_count + ?1, {MOST}), last_accessed_at = CASE WHEN ?1 > 0 "
        "THEN max(coalesce(last_accessed_at, ?2), ?2) ELSE last_accessed_at END, expires_at = CASE WHEN ?3 "
        "AND ttl_s IS NOT NULL THEN max(coalesce(expires_at, ?2), ?2 + ttl_s) ELSE expires_at END, change = ?4 "
        "WHERE id = ?5",
        ((each.count, each.last, each.refresh, change, id) for id, each in touches.items()),
    )
