"""The statements that read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tiny_dancer.storage.mirror import Mirror, check_dimension
from tiny_dancer.storage.records import (
    CandidateRecord,
    Feedback,
    Neighbour,
    Outcome,
    RoutingRecord,
    RowCounts,
    ShownCandidate,
    Statistics,
)
from tiny_dancer.storage.sqlite.conditions import as_json, of_filter, of_history, of_time
from tiny_dancer.storage.sqlite.connection import snapshot
from tiny_dancer.storage.statistics import PERCENTILES, nearest_rank

if TYPE_CHECKING:
    from collections.abc import Iterable

    import apsw
    import numpy.typing as npt

    from tiny_dancer.storage.filters import Filter

# Columns that `candidate` reads.
FIELDS = (
    "candidate.id, candidate.text, candidate.created_at, candidate.last_accessed_at, candidate.access_count, "
    "candidate.success_count, candidate.trial_count, candidate.confidence, candidate.metadata, candidate.session, "
    "candidate.position"
)
# sqlite-vec's limit for k.
_MOST_NEIGHBOURS = 4096
_ROUTING = (
    "decision_id, kind, chosen, time, artifact_version, query_hash, query_text, shown, confidence, "
    "use_lightweight, cost, baseline_cost, latency_us, level, reason"
)
_decode_metadata = msgspec.json.Decoder(dict[str, str]).decode
_decode_shown = msgspec.json.Decoder(tuple[ShownCandidate, ...]).decode


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
        metadata=_decode_metadata(metadata),
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


def routing_history(
    connection: apsw.Connection,
    since: float | None,
    until: float | None,
    kind: str | None,
    decision_ids: Iterable[str] | None,
    limit: int | None,
) -> tuple[RoutingRecord, ...]:
    """Decisions, newest first."""
    condition, values = of_history(since, until, decision_ids)
    if kind is not None:
        condition += " AND kind = ?"
        values.append(kind)
    rows = connection.execute(
        f"SELECT {_ROUTING} FROM routing WHERE {condition} ORDER BY time DESC, number DESC LIMIT ?",
        (*values, -1 if limit is None else limit),
    )
    return tuple(
        RoutingRecord(
            decision_id=decision,
            kind=kind_,
            chosen=chosen,
            time=time,
            artifact_version=version,
            query_hash=hashed,
            query_text=text,
            shown=_decode_shown(shown),
            confidence=confidence,
            use_lightweight=bool(light),
            cost=cost,
            baseline_cost=baseline,
            latency_us=latency,
            level=level,
            reason=reason,
        )
        for (
            decision, kind_, chosen, time, version, hashed, text, shown,
            confidence, light, cost, baseline, latency, level, reason,
        ) in rows
    )  # fmt: skip


def feedback_history(
    connection: apsw.Connection,
    since: float | None,
    until: float | None,
    decision_ids: Iterable[str] | None,
    limit: int | None,
) -> tuple[Feedback, ...]:
    """Feedback, newest first."""
    condition, values = of_history(since, until, decision_ids)
    rows = connection.execute(
        f"SELECT decision_id, score, candidate_id, time, text FROM feedback WHERE {condition} "
        "ORDER BY time DESC, number DESC LIMIT ?",
        (*values, -1 if limit is None else limit),
    )
    return tuple(
        Feedback(decision, score, about or None, time, text) for decision, score, about, time, text in rows
    )


def outcome_history(
    connection: apsw.Connection,
    since: float | None,
    until: float | None,
    decision_ids: Iterable[str] | None,
    limit: int | None,
) -> tuple[Outcome, ...]:
    """Outcomes, newest first."""
    condition, values = of_history(since, until, decision_ids)
    rows = connection.execute(
        f"SELECT decision_id, model, quality, cost, latency_s, time FROM outcome WHERE {condition} "
        "ORDER BY time DESC, number DESC LIMIT ?",
        (*values, -1 if limit is None else limit),
    )
    return tuple(Outcome(*row) for row in rows)


def statistics(connection: apsw.Connection, since: float | None, until: float | None, dropped: int) -> Statistics:
    """Figures of a span of time."""
    condition, values = of_time(since, until)

    def one(statement: str, *more: float) -> Any:
        return connection.execute(statement, (*values, *more)).get

    def counts(column: str) -> dict[Any, int]:
        statement = f"SELECT {column}, count(*) FROM routing WHERE {condition} GROUP BY 1 ORDER BY 1"
        found: dict[Any, int] = dict(connection.execute(statement, values))
        return found

    with snapshot(connection):
        routes, light_share, cost, baseline_cost, timed = one(
            "SELECT count(*), avg(use_lightweight), total(cost), total(baseline_cost), count(latency_us) "
            f"FROM routing WHERE {condition}"
        )
        p50, p90, p99 = (
            one(
                f"SELECT latency_us FROM routing WHERE {condition} AND latency_us IS NOT NULL "
                "ORDER BY latency_us LIMIT 1 OFFSET ?",
                nearest_rank(timed, share),
            )
            if timed
            else None
            for share in PERCENTILES
        )
        feedback, success_rate = one(f"SELECT count(*), avg(score) FROM feedback WHERE {condition}")
        outcomes, mean_quality = one(f"SELECT count(*), avg(quality) FROM outcome WHERE {condition}")
        requests = one(f"SELECT count(*) FROM request WHERE {condition}")
        stored = connection.execute("SELECT count(*) FROM candidate").get
        return Statistics(
            candidates=stored,
            routes=routes,
            by_kind=counts("kind"),
            by_level=counts("level"),
            light_share=light_share,
            cost=cost,
            baseline_cost=baseline_cost,
            latency_p50_us=p50,
            latency_p90_us=p90,
            latency_p99_us=p99,
            feedback=feedback,
            success_rate=success_rate,
            outcomes=outcomes,
            mean_quality=mean_quality,
            dropped=dropped,
            requests=requests,
        )


def row_counts(connection: apsw.Connection) -> RowCounts:
    """Rows of each kind."""
    counts = connection.execute(
        "SELECT (SELECT count(*) FROM candidate), (SELECT count(*) FROM routing), "
        "(SELECT count(*) FROM outcome), (SELECT count(*) FROM feedback), "
        "(SELECT count(*) FROM request), (SELECT count(*) FROM api_key)"
    ).get
    assert isinstance(counts, tuple)
    return RowCounts(*counts)
