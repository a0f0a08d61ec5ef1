"""Keeps a mirror equal to the table, whoever wrote to it.

Every write to candidates counts up ``state.changes`` in its own transaction and marks its rows with the number.
Before each search the mirror compares that one number, and reads the rows marked later than what it has seen: so a
search sees every write acknowledged before it, by this process or another.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from tiny_dancer.storage.mirror import Mirror
from tiny_dancer.storage.shared_lock import SharedLock
from tiny_dancer.storage.sqlite import candidates
from tiny_dancer.storage.sqlite.connection import snapshot

if TYPE_CHECKING:
    import apsw

    from tiny_dancer import _core
    from tiny_dancer.storage.candidate_checks import Search
    from tiny_dancer.storage.candidates import CandidateRecord, LiveCandidates, Neighbour

# Rows decoded at a time while a mirror is filled: bounds what loading needs beside the mirror itself.
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

    def search(self, connection: apsw.Connection, search: Search) -> tuple[Neighbour, ...]:
        """What a search finds in the table as it is now."""
        self.catch_up(connection)
        with self._lock.reading:
            return self._mirror.search(search)

    def passing(
        self, connection: apsw.Connection, where: _core.CandidateFilter | None, now: float
    ) -> list[CandidateRecord]:
        """The candidates that pass a filter now; not to be changed."""
        self.catch_up(connection)
        with self._lock.reading:
            return self._mirror.passing(where, now)

    def live(self, connection: apsw.Connection) -> LiveCandidates:
        """The engine's set, as the table is now."""
        self.catch_up(connection)
        return self._mirror.live

    def catch_up(self, connection: apsw.Connection) -> None:
        """Takes over what has been written since."""
        epoch, changes = connection.execute("SELECT epoch, changes FROM state").get
        seen = self._seen
        # Another thread may have seen more already: that is newer still, and as good.
        if seen.epoch != epoch or seen.changes < changes:
            with self._lock.writing:
                self._take_over(connection)

    def _take_over(self, connection: apsw.Connection) -> None:
        with snapshot(connection):
            epoch, changes, forgotten, dimension = connection.execute(
                "SELECT epoch, changes, forgotten, dimension FROM state"
            ).get
            since = self._seen.changes
            if epoch == self._seen.epoch and forgotten <= since:
                mirror = self._mirror
                gone = connection.execute("SELECT id FROM candidate_deletion WHERE change > ?", (since,))
                # In one step: who ranks the set meanwhile sees all of it, or nothing.
                mirror.apply([id for (id,) in gone], list(candidates.written(connection, dimension, since)))
                mirror.use(candidates.used(connection, since))
            else:
                mirror = Mirror(dimension)
                rows = candidates.written(connection, dimension, -1)
                while records := list(islice(rows, AT_ONCE)):
                    mirror.apply([], records)
            self._mirror, self._seen = mirror, _Seen(epoch, changes)
