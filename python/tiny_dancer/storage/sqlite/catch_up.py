"""Keeps a mirror equal to the table, whoever wrote to it.

Every write to candidates counts up ``state.changes`` in its own transaction and marks its rows with the number.
Before each search the mirror compares that one number, and reads the rows marked later than what it has seen: so a
search sees every write acknowledged before it, by this process or another.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.storage.mirror import Mirror
from tiny_dancer.storage.sqlite import candidates
from tiny_dancer.storage.sqlite.connection import snapshot
from tiny_dancer.storage.sqlite.shared_lock import SharedLock

if TYPE_CHECKING:
    import apsw
    import numpy.typing as npt

    from tiny_dancer.storage.candidates import Filter, Neighbour

# Rows decoded at a time: bounds what loading needs beside the mirror itself.
AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class _Seen:
    """The state of the table that the mirror shows."""

    epoch: str
    changes: int


class TableMirror:
    """A mirror of table ``candidate`` that brings itself up to date. Filled by the first search."""

    def __init__(self) -> None:
        self._lock = SharedLock()
        self._mirror = Mirror()
        self._seen = _Seen("", 0)

    def nearest(
        self,
        connection: apsw.Connection,
        query: npt.NDArray[np.float32],
        k: int,
        *,
        filter: Filter | None,
        max_distance: float | None,
    ) -> tuple[Neighbour, ...]:
        """The nearest candidates in the table as it is now."""
        epoch, changes = connection.execute("SELECT epoch, changes FROM state").get
        seen = self._seen
        # Another thread may have seen more already: that is newer still, and as good.
        if seen.epoch != epoch or seen.changes < changes:
            with self._lock.writing:
                self._catch_up(connection)
        with self._lock.reading:
            return self._mirror.nearest(query, k, filter=filter, max_distance=max_distance)

    def _catch_up(self, connection: apsw.Connection) -> None:
        with snapshot(connection):
            epoch, changes, forgotten, dimension = connection.execute(
                "SELECT epoch, changes, forgotten, dimension FROM state"
            ).get
            if epoch == self._seen.epoch and forgotten <= self._seen.changes:
                mirror, since = self._mirror, self._seen.changes
            else:
                mirror, since = Mirror(), -1
            if dimension is not None:
                gone = connection.execute("SELECT id FROM candidate_deletion WHERE change > ?", (since,))
                mirror.drop([id for (id,) in gone])
                _replaced(connection, mirror, since)
                _changed(connection, mirror, since)
            self._mirror, self._seen = mirror, _Seen(epoch, changes)


def _replaced(connection: apsw.Connection, mirror: Mirror, since: int) -> None:
    """Takes over rows whose embedding is new, and drops those that have none any more."""
    bare = connection.execute("SELECT id FROM candidate WHERE change > ? AND embedding_change IS NULL", (since,))
    mirror.drop([id for (id,) in bare])
    cursor = connection.execute(
        f"SELECT {candidates.FIELDS}, vector.embedding FROM candidate "
        # CROSS keeps the order: for each changed candidate its vector, not the other way round.
        "CROSS JOIN candidate_vectors AS vector ON vector.rowid = candidate.number "
        "WHERE candidate.change > ?1 AND candidate.embedding_change > ?1",
        (since,),
    )
    while rows := list(islice(cursor, AT_ONCE)):
        matrix = np.frombuffer(b"".join(row[-1] for row in rows), np.float32).reshape(len(rows), -1)
        mirror.put([candidates.candidate(row[:-1]) for row in rows], matrix)


def _changed(connection: apsw.Connection, mirror: Mirror, since: int) -> None:
    """Takes over rows of which all but the embedding changed: accesses, feedback."""
    rows = connection.execute(
        f"SELECT {candidates.FIELDS} FROM candidate WHERE change > ?1 AND embedding_change <= ?1", (since,)
    ).fetchall()
    mirror.put([candidates.candidate(row) for row in rows])
