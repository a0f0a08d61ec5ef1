"""Keeps a mirror equal to a database's table of candidates, whoever wrote to it.

Every write to candidates counts up ``state.changes`` in its own transaction and marks its rows with the number.
Before each search the mirror compares that one number, and reads the rows marked later than what it has seen: so a
search sees every write acknowledged before it, by this process or another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from tiny_dancer.storage.mirror import Mirror
from tiny_dancer.storage.shared_lock import SharedLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tiny_dancer import _core
    from tiny_dancer.storage.candidate_checks import Search
    from tiny_dancer.storage.candidates import CandidateRecord, LiveCandidates, Neighbour

T = TypeVar("T")
Source = TypeVar("Source")
Connection = TypeVar("Connection")

# Rows decoded at a time while a mirror is filled: bounds what loading needs beside the mirror itself.
AT_ONCE = 10_000


class State(NamedTuple):
    """The row ``state``: which database it is, how often candidates were written, and up to which change
    deletions are forgotten; how many numbers an embedding has, None before the first."""

    epoch: str
    changes: int
    forgotten: int
    dimension: int | None


@dataclass(frozen=True, slots=True)
class _Seen:
    """The state of the table that the mirror shows."""

    epoch: str
    changes: int


class TableMirror(ABC, Generic[Source, Connection]):
    """A mirror of table ``candidate`` that brings itself up to date. Filled by the first search.

    What is asked of the database is a subclass's: by ``Source`` in passing, by ``Connection`` within one snapshot.
    """

    def __init__(self) -> None:
        self._lock = SharedLock()
        self._mirror = Mirror()
        self._seen = _Seen("", 0)

    @abstractmethod
    def _now(self, source: Source) -> tuple[str, int]:
        """Epoch and changes of the database as it is now."""

    @abstractmethod
    def _snapshot(self, source: Source, action: Callable[[Connection], T]) -> T:
        """What ``action`` returns, all of whose reads see one state of the database."""

    @abstractmethod
    def _state(self, connection: Connection) -> State: ...

    @abstractmethod
    def _gone(self, connection: Connection, since: int) -> list[str]:
        """Ids of candidates that were removed after change ``since``."""

    @abstractmethod
    def _written(self, connection: Connection, dimension: int | None, since: int) -> Iterator[CandidateRecord]:
        """Candidates written after change ``since``, with their embeddings, in the order of writing."""

    @abstractmethod
    def _used(self, connection: Connection, since: int) -> list[CandidateRecord]:
        """Candidates of which only what is counted has changed after change ``since``."""

    def search(self, source: Source, search: Search) -> tuple[Neighbour, ...]:
        """What a search finds in the table as it is now."""
        self.catch_up(source)
        with self._lock.reading:
            return self._mirror.search(search)

    def passing(self, source: Source, where: _core.CandidateFilter | None, now: float) -> list[CandidateRecord]:
        """The candidates that pass a filter now; not to be changed."""
        self.catch_up(source)
        with self._lock.reading:
            return self._mirror.passing(where, now)

    def live(self, source: Source) -> LiveCandidates:
        """The engine's set, as the table is now."""
        self.catch_up(source)
        return self._mirror.live

    def catch_up(self, source: Source) -> None:
        """Takes over what has been written since."""
        epoch, changes = self._now(source)
        seen = self._seen
        # Another thread may have seen more already: that is newer still, and as good.
        if seen.epoch != epoch or seen.changes < changes:
            with self._lock.writing:
                self._mirror, self._seen = self._snapshot(source, self._taken_over)

    def _taken_over(self, connection: Connection) -> tuple[Mirror, _Seen]:
        state = self._state(connection)
        since = self._seen.changes
        if state.epoch == self._seen.epoch and state.forgotten <= since:
            mirror = self._mirror
            gone = self._gone(connection, since)
            written = list(self._written(connection, state.dimension, since))
            used = self._used(connection, since)
            # In one step, when all is read: who ranks the set meanwhile sees all of it, or nothing.
            mirror.apply(gone, written)
            mirror.use(used)
        else:
            mirror = Mirror(state.dimension)
            rows = self._written(connection, state.dimension, -1)
            while records := list(islice(rows, AT_ONCE)):
                mirror.apply([], records)
        return mirror, _Seen(state.epoch, state.changes)
