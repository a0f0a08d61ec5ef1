"""The statements about the queue. Those that write run within the writer's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiny_dancer.errors import QueueError
from tiny_dancer.storage import columns
from tiny_dancer.storage.sqlite.conditions import as_json

if TYPE_CHECKING:
    import apsw

    from tiny_dancer.storage.queue import Move, QueuedRequest, QueueQuery

_COLUMNS = ", ".join(columns.QUEUED)
_PLACES = ", ".join("?" * len(columns.QUEUED))
# As QueuedRequest.state says it; ?1 is the moment.
_STATE = (
    "CASE WHEN ended_at IS NOT NULL THEN iif(answer IS NULL, 'cancelled', 'answered') "
    "WHEN expires_at <= ?1 THEN 'expired' WHEN claimed_until > ?1 THEN 'claimed' ELSE 'waiting' END"
)


def put(connection: apsw.Connection, request: QueuedRequest, most: int | None) -> bool:
    """Adds a request; false where ``most`` are open.

    Raises:
        QueueError: its id is stored already.
    """
    if connection.execute("SELECT 1 FROM queue WHERE id = ?", (request.id,)).get is not None:
        raise QueueError("id", request.id, "it is stored already: make another request")
    if most is not None:
        found = connection.execute(
            "SELECT count(*) FROM queue WHERE ended_at IS NULL AND expires_at > ?", (request.time,)
        ).get
        assert isinstance(found, int)
        if found >= most:
            return False
    connection.execute(f"INSERT INTO queue ({_COLUMNS}) VALUES ({_PLACES})", columns.row_of_queued(request))
    return True


def find(connection: apsw.Connection, query: QueueQuery) -> tuple[QueuedRequest, ...]:
    """Requests, the oldest first.

    Raises:
        QueueError: there is none to begin after.
    """
    parts, values = ["TRUE"], [query.now]
    bound: list[Any] = values
    if query.states is not None:
        parts.append(f"{_STATE} IN (SELECT value FROM json_each(?{len(bound) + 1}))")
        bound.append(as_json(query.states))
        if query.states <= {"waiting", "claimed"}:
            parts.append("ended_at IS NULL AND expires_at > ?1")  # which an index finds
    if query.ids is not None:
        parts.append(f"id IN (SELECT value FROM json_each(?{len(bound) + 1}))")
        bound.append(as_json(query.ids))
    if query.key is not None:
        parts.append(f"key = ?{len(bound) + 1}")
        bound.append(query.key)
    if query.after is not None:
        last = connection.execute("SELECT time, number FROM queue WHERE id = ?", (query.after,)).get
        if last is None:
            raise QueueError("after", query.after, "no request of this id is in the queue")
        assert isinstance(last, tuple)
        parts.append(f"(time, number) > (?{len(bound) + 1}, ?{len(bound) + 2})")
        bound += last
    bound.append(-1 if query.limit is None else query.limit)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM queue WHERE {' AND '.join(parts)} ORDER BY time, number LIMIT ?{len(bound)}",
        bound,
    )
    return tuple(columns.queued(row) for row in rows)


def move(connection: apsw.Connection, asked: Move) -> QueuedRequest:
    """Claims, answers or cancels a request.

    Raises:
        QueueError: it is not there, or its state does not allow it.
    """
    row = connection.execute(f"SELECT {_COLUMNS} FROM queue WHERE id = ?", (asked.id,)).fetchone()
    # Nobody writes between the two: the transaction has the database's lock from its beginning.
    found = asked.apply(None if row is None else columns.queued(row))
    connection.execute(
        "UPDATE queue SET claimed_by = ?, claimed_until = ?, answer = ?, ended_by = ?, ended_at = ? WHERE id = ?",
        (found.claimed_by, found.claimed_until, found.answer, found.ended_by, found.ended_at, found.id),
    )
    return found


def remove(connection: apsw.Connection, oldest: float | None, most: int | None, now: float) -> int:
    """Removes requests that have ended and are older, or beyond the newest; returns how many."""
    ended = "(ended_at IS NOT NULL OR expires_at <= ?1)"
    connection.execute(
        f"DELETE FROM queue WHERE {ended} AND (time < ?2 OR number NOT IN (SELECT number FROM queue WHERE {ended} "
        "ORDER BY time DESC, number DESC LIMIT ?3))",
        (now, float("-inf") if oldest is None else oldest, -1 if most is None else most),
    )
    return connection.changes()
