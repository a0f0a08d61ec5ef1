"""What a mirror reads of SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import apsw

from tiny_dancer.storage import table_mirror
from tiny_dancer.storage.sqlite import candidates
from tiny_dancer.storage.sqlite.connection import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tiny_dancer.storage.candidates import CandidateRecord

T = TypeVar("T")


class TableMirror(table_mirror.TableMirror[apsw.Connection, apsw.Connection]):
    """A mirror of table ``candidate`` that brings itself up to date. Filled by the first search."""

    def _now(self, source: apsw.Connection) -> tuple[str, int]:
        found: tuple[str, int] = source.execute("SELECT epoch, changes FROM state").get
        return found

    def _snapshot(self, source: apsw.Connection, action: Callable[[apsw.Connection], T]) -> T:
        with snapshot(source):
            return action(source)

    def _state(self, connection: apsw.Connection) -> table_mirror.State:
        row = connection.execute("SELECT epoch, changes, forgotten, dimension FROM state").get
        return table_mirror.State(*row)

    def _gone(self, connection: apsw.Connection, since: int) -> list[str]:
        gone = connection.execute("SELECT id FROM candidate_deletion WHERE change > ?", (since,))
        return [id for (id,) in gone]

    def _written(
        self, connection: apsw.Connection, dimension: int | None, since: int
    ) -> Iterator[CandidateRecord]:
        return candidates.written(connection, dimension, since)

    def _used(self, connection: apsw.Connection, since: int) -> list[CandidateRecord]:
        return candidates.used(connection, since)
