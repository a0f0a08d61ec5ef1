"""The queue in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiny_dancer.errors import QueueError
from tiny_dancer.storage.memory.rows import retain
from tiny_dancer.storage.queue import OPEN

if TYPE_CHECKING:
    from tiny_dancer.storage.queue import Move, QueuedRequest, QueueQuery


class QueueRows:
    """Requests by id, in the order they were put. Its owner locks."""

    def __init__(self) -> None:
        self._rows: dict[str, QueuedRequest] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, request: QueuedRequest, most: int | None) -> bool:
        """Adds a request; false where ``most`` are open."""
        if request.id in self._rows:
            raise QueueError("id", request.id, "it is stored already: make another request")
        if most is not None and sum(each.state(request.time) in OPEN for each in self._rows.values()) >= most:
            return False
        self._rows[request.id] = request
        return True

    def find(self, query: QueueQuery) -> tuple[QueuedRequest, ...]:
        """Requests, the oldest first."""
        listed = sorted(self._rows.values(), key=lambda each: each.time)  # stable: then as they were put
        if query.after is not None:
            places = [place for place, each in enumerate(listed) if each.id == query.after]
            if not places:
                raise QueueError("after", query.after, "no request of this id is in the queue")
            listed = listed[places[0] + 1 :]
        found = [
            each
            for each in listed
            if (query.states is None or each.state(query.now) in query.states)
            and (query.ids is None or each.id in query.ids)
            and (query.key is None or each.key == query.key)
        ]
        return tuple(found[: query.limit])

    def move(self, asked: Move) -> QueuedRequest:
        """Claims, answers or cancels a request."""
        found = asked.apply(self._rows.get(asked.id))
        self._rows[found.id] = found
        return found

    def retain(self, oldest: float | None, most: int | None, now: float) -> int:
        """Removes requests that have ended and are older, or beyond the newest; returns how many."""
        ended = {id: each for id, each in self._rows.items() if each.state(now) not in OPEN}
        before = set(ended)
        retain(ended, oldest, most)
        gone = before - ended.keys()
        for id in gone:
            del self._rows[id]
        return len(gone)
