"""Keeps a mirror equal to the table, whoever wrote to it.

Every write to candidates counts up ``state.changes`` in its own transaction and marks its rows with the number;
while it lasts, nobody else can. Before each search the mirror compares that one number, and reads the rows marked
later than what it has seen: so a search sees every write acknowledged before it, by this process or another.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from tiny_dancer.storage.mirror import Mirror
from tiny_dancer.storage.postgres import candidates
from tiny_dancer.storage.shared_lock import SharedLock

if TYPE_CHECKING:
    import psycopg

    from tiny_dancer import _core
    from tiny_dancer.storage.candidate_checks import Search
    from tiny_dancer.storage.candidates import CandidateRecord, LiveCandidates, Neighbour
    from tiny_dancer.storage.postgres.connection import Database

# Rows decoded at a time while a mirror is filled: bounds what loading needs beside the mirror itself.
AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class _Seen:
    """The state of the table that the mirror shows."""

    epoch: str
    changes: int


class TableMirror:
    """A mirror of table ``candidate`` that brings itself up to date. Filled by the first search."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = SharedLock()
        self._mirror = Mirror()
        self._seen = _Seen("", 0)

    def search(self, search: Search) -> tuple[Neighbour, ...]:
        """What a search finds in the table as it is now."""
        self.catch_up()
        with self._lock.reading:
            return self._mirror.search(search)

    def passing(self, where: _core.CandidateFilter | None, now: float) -> list[CandidateRecord]:
        """The candidates that pass a filter now; not to be changed."""
        self.catch_up()
        with self._lock.reading:
            return self._mirror.passing(where, now)

    def live(self) -> LiveCandidates:
        """The engine's set, as the table is now."""
        self.catch_up()
        return self._mirror.live

    def catch_up(self) -> None:
        """Takes over what has been written since."""
        ((epoch, changes),) = self._database.read(
            lambda connection: connection.execute("SELECT epoch, changes FROM tiny_dancer.state").fetchall()
        )
        seen = self._seen
        # Another thread may have seen more already: that is newer still, and as good.
        if seen.epoch != epoch or seen.changes < changes:
            with self._lock.writing:
                self._mirror, self._seen = self._database.snapshot(self._taken_over)

    def _taken_over(self, connection: psycopg.Connection[Any]) -> tuple[Mirror, _Seen]:
        ((epoch, changes, forgotten, dimension),) = connection.execute(
            "SELECT epoch, changes, forgotten, dimension FROM tiny_dancer.state"
        ).fetchall()
        since = self._seen.changes
        if epoch == self._seen.epoch and forgotten <= since:
            mirror = self._mirror
            gone = connection.execute("SELECT id FROM tiny_dancer.candidate_deletion WHERE change > %s", (since,))
            removed = [id for (id,) in gone]
            written, used = list(candidates.written(connection, since)), candidates.used(connection, since)
            # In one step, when all is read: who ranks the set meanwhile sees all of it, or nothing.
            mirror.apply(removed, written)
            mirror.use(used)
        else:
            mirror = Mirror(dimension)
            rows = candidates.written(connection, -1)
            while records := list(islice(rows, AT_ONCE)):
                mirror.apply([], records)
        return mirror, _Seen(epoch, changes)
