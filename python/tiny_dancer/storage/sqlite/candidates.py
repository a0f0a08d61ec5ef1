"""The statements about candidates. Those that write run within the writer's transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.errors import CandidateError
from tiny_dancer.storage.candidates import CandidateRecord, Neighbour
from tiny_dancer.storage.metadata import decoded, encoded
from tiny_dancer.storage.mirror import Mirror, check_dimension
from tiny_dancer.storage.sqlite.conditions import as_json, of_filter
from tiny_dancer.storage.sqlite.connection import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import apsw
    import numpy.typing as npt

    from tiny_dancer.storage.candidates import Filter

# Deletions older than this many changes are forgotten: a mirror that slept through more is loaded anew.
REMEMBERED_DELETIONS = 100_000

# Columns that `candidate` reads.
FIELDS = (
    "candidate.id, candidate.text, candidate.created_at, candidate.last_accessed_at, candidate.access_count, "
    "candidate.success_count, candidate.trial_count, candidate.confidence, candidate.metadata, candidate.session, "
    "candidate.position"
)
# sqlite-vec's limit for k.
_MOST_NEIGHBOURS = 4096
_CANDIDATE = (
    "number, id, text, created_at, last_accessed_at, access_count, success_count, trial_count, confidence, "
    "metadata, session, position, embedding_change, change"
)


def candidate(row: tuple[Any, ...]) -> CandidateRecord:
    """A record from the columns ``FIELDS`` and, where given, the embedding's bytes."""
    id, text, created, accessed, accesses, successes, trials, confidence, metadata, group, position, *rest = row
    return CandidateRecord(
        id=id,
        embedding=as_embedding(rest[0]) if rest else None,
        text=text,
        created_at=created,
        last_accessed_at=accessed,
        access_count=accesses,
        success_count=successes,
        trial_count=trials,
        confidence=confidence,
        metadata=decoded(metadata),
        group=group,
        position=position,
    )


def as_embedding(content: bytes | None) -> npt.NDArray[np.float32] | None:
    """float32 [dimension] from a vector's bytes; a copy, so that it can be written to."""
    return None if content is None else np.frombuffer(content, np.float32).copy()


def dimension(connection: apsw.Connection) -> int | None:
    """Of the embeddings; None before the first."""
    found = connection.execute("SELECT dimension FROM state").get
    assert found is None or isinstance(found, int)
    return found


def candidates(
    connection: apsw.Connection, ids: Iterable[str] | None, filter: Filter | None
) -> tuple[CandidateRecord, ...]:
    """Candidates with their embeddings, in the order of ``ids``, or all by id."""
    condition, values = of_filter(filter)
    named = None if ids is None else list(dict.fromkeys(ids))
    if named is not None:
        condition += " AND candidate.id IN (SELECT value FROM json_each(?))"
        values.append(as_json(named))
    with snapshot(connection):
        if dimension(connection) is None:
            embedding, join = "NULL", ""
        else:
            embedding, join = "vector.embedding", _WITH_VECTORS
        rows = connection.execute(
            f"SELECT {FIELDS}, {embedding} FROM candidate {join} WHERE {condition} ORDER BY candidate.id", values
        ).fetchall()
    found = tuple(candidate(row) for row in rows)
    if named is None:
        return found
    by_id = {record.id: record for record in found}
    return tuple(by_id[each] for each in named if each in by_id)


_WITH_VECTORS = "LEFT JOIN candidate_vectors AS vector ON vector.rowid = candidate.number"


def nearest(
    connection: apsw.Connection,
    query: npt.NDArray[np.float32],
    k: int,
    *,
    filter: Filter | None,
    max_distance: float | None,
) -> tuple[Neighbour, ...]:
    """The nearest candidates by sqlite-vec, for a checked query; the same answer as the mirror's.

    sqlite-vec rounds otherwise than the engine and breaks ties as it likes: more than k are fetched, until the
    last lies clearly behind the k-th, and those go through a mirror of their own.

    Raises:
        CandidateError: the query has another dimension than the candidates.
    """
    k = min(k, 2**31)
    with snapshot(connection):
        width = dimension(connection)
        if width is None:
            return ()
        check_dimension(query, width)
        # Dot product and norms, each with a rounding error of at most width * 2**-24 (Higham 2002, eq. 3.5).
        slack = 8 * (width + 4) * 2.0**-24
        asked = k + 8
        while True:
            rows = _nearest_rows(connection, query, asked, filter)
            if len(rows) < asked or rows[-1][-1] > rows[k - 1][-1] + slack:
                break
            asked *= 2
    mirror = Mirror()
    if rows:
        matrix = np.frombuffer(b"".join(row[-2] for row in rows), np.float32).reshape(len(rows), width)
        mirror.put([candidate(row[:-2]) for row in rows], matrix)
    return mirror.nearest(query, k, max_distance=max_distance)


def with_embeddings(connection: apsw.Connection, found: tuple[Neighbour, ...]) -> tuple[Neighbour, ...]:
    """Neighbours with their embeddings, without those deleted since they were found."""
    if not found:
        return ()
    stored: dict[str, bytes | None] = dict(
        connection.execute(
            f"SELECT candidate.id, vector.embedding FROM candidate {_WITH_VECTORS} "
            "WHERE candidate.id IN (SELECT value FROM json_each(?))",
            (as_json(each.candidate.id for each in found),),
        )
    )
    return tuple(
        Neighbour(replace(each.candidate, embedding=as_embedding(stored[each.candidate.id])), each.distance)
        for each in found
        if stored.get(each.candidate.id) is not None
    )


def _nearest_rows(
    connection: apsw.Connection, query: npt.NDArray[np.float32], count: int, filter: Filter | None
) -> list[tuple[Any, ...]]:
    """(``FIELDS``, embedding, distance) of the nearest, in order of their distance."""
    condition, values = of_filter(filter)
    wanted = (
        "" if filter is None or filter.empty else f"AND rowid IN (SELECT number FROM candidate WHERE {condition})"
    )
    if count <= _MOST_NEIGHBOURS:
        return connection.execute(
            f"WITH near AS MATERIALIZED (SELECT rowid, distance FROM candidate_vectors "
            f"WHERE embedding MATCH ? AND k = ? {wanted}) "
            f"SELECT {FIELDS}, vector.embedding, near.distance FROM near "
            f"JOIN candidate ON candidate.number = near.rowid "
            f"JOIN candidate_vectors AS vector ON vector.rowid = near.rowid ORDER BY near.distance",
            (query.tobytes(), count, *values),
        ).fetchall()
    return connection.execute(
        f"SELECT {FIELDS}, vector.embedding, vec_distance_cosine(vector.embedding, ?) AS distance FROM candidate "
        f"JOIN candidate_vectors AS vector ON vector.rowid = candidate.number "
        f"WHERE {condition} ORDER BY distance LIMIT ?",
        (query.tobytes(), *values, count),
    ).fetchall()


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
                encoded(record.metadata),
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
