"""The statements about the queue. Those that write run within a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiny_dancer.errors import QueueError
from tiny_dancer.storage import columns
from tiny_dancer.storage.postgres.migrate import LOCK

if TYPE_CHECKING:
    import psycopg

    from tiny_dancer.storage.queue import Move, QueuedRequest, QueueQuery

_COLUMNS = ", ".join(columns.QUEUED)
_PLACES = ", ".join(["%s"] * len(columns.QUEUED))
# As QueuedRequest.state says it; twice the moment.
_STATE = (
    "CASE WHEN ended_at IS NOT NULL THEN CASE WHEN answer IS NULL THEN 'cancelled' ELSE 'answered' END "
    "WHEN expires_at <= %s THEN 'expired' WHEN claimed_until > %s THEN 'claimed' ELSE 'waiting' END"
)


def put(connection: psycopg.Connection[Any], request: QueuedRequest, most: int | None) -> bool:
    """Adds a request; false where ``most`` are open.

    Raises:
        QueueError: its id is stored already.
    """
    if most is not None:
        # Who counts and then adds does so alone.
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('queue', %s))", (LOCK,))
    if connection.execute("SELECT FROM tiny_dancer.queue WHERE id = %s", (request.id,)).fetchone() is not None:
        raise QueueError("id", request.id, "it is stored already: make another request")
    if most is not None:
        found = connection.execute(
            "SELECT count(*) FROM tiny_dancer.queue WHERE ended_at IS NULL AND expires_at > %s", (request.time,)
        ).fetchone()
        assert found is not None
        if found[0] >= most:
            return False
    connection.execute(
        f"INSERT INTO tiny_dancer.queue ({_COLUMNS}) VALUES ({_PLACES})", columns.row_of_queued(request)
    )
    return True


def find(connection: psycopg.Connection[Any], query: QueueQuery) -> tuple[QueuedRequest, ...]:
    """Requests, the oldest first.

    Raises:
        QueueError: there is none to begin after.
    """
    parts: list[str] = ["TRUE"]
    bound: list[Any] = []
    if query.states is not None:
        parts.append(f"{_STATE} = ANY (%s::text[])")
        bound += [query.now, query.now, list(query.states)]
        if query.states <= {"waiting", "claimed"}:
            parts.append("ended_at IS NULL AND expires_at > %s")  # which an index finds
            bound.append(query.now)
    if query.ids is not None:
        parts.append("id = ANY (%s::text[])")
        bound.append(list(query.ids))
    if query.key is not None:
        parts.append("key = %s")
        bound.append(query.key)
    if query.after is not None:
        last = connection.execute(
            "SELECT time, number FROM tiny_dancer.queue WHERE id = %s", (query.after,), binary=True
        ).fetchone()
        if last is None:
            raise QueueError("after", query.after, "no request of this id is in the queue")
        parts.append("(time, number) > (%s, %s)")
        bound += last
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM tiny_dancer.queue WHERE {' AND '.join(parts)} ORDER BY time, number LIMIT %s",
        (*bound, query.limit),
        binary=True,
    )
    return tuple(columns.queued(row) for row in rows)


def move(connection: psycopg.Connection[Any], asked: Move) -> QueuedRequest:
    """Claims, answers or cancels a request.

    Raises:
        QueueError: it is not there, or its state does not allow it.
    """
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM tiny_dancer.queue WHERE id = %s FOR UPDATE", (asked.id,), binary=True
    ).fetchone()
    # Nobody else changes it until the transaction ends.
    found = asked.apply(None if row is None else columns.queued(row))
    connection.execute(
        "UPDATE tiny_dancer.queue SET claimed_by = %s, claimed_until = %s, answer = %s, ended_by = %s, "
        "ended_at = %s WHERE id = %s",
        (found.claimed_by, found.claimed_until, found.answer, found.ended_by, found.ended_at, found.id),
    )
    return found


def remove(connection: psycopg.Connection[Any], oldest: float | None, most: int | None, now: float) -> int:
    """Removes requests that have ended and are older, or beyond the newest; returns how many."""
    ended = "(ended_at IS NOT NULL OR expires_at <= %s)"
    removed = connection.execute(
        f"DELETE FROM tiny_dancer.queue WHERE {ended} AND (time < %s OR number NOT IN ("
        f"SELECT number FROM tiny_dancer.queue WHERE {ended} ORDER BY time DESC, number DESC LIMIT %s))",
        (now, float("-inf") if oldest is None else oldest, now, most),
    )
    return removed.rowcount
