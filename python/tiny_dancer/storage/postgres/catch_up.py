"""What a mirror reads of PostgreSQL. While a write to candidates lasts, nobody else can write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

from tiny_dancer.storage import table_mirror
from tiny_dancer.storage.postgres import candidates
from tiny_dancer.storage.postgres.connection import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tiny_dancer.storage.candidates import CandidateRecord


T = TypeVar("T")


class TableMirror(table_mirror.TableMirror[Database, psycopg.Connection[Any]]):
    """A mirror of table ``candidate`` that brings itself up to date. Filled by the first search."""

    def _now(self, source: Database) -> tuple[str, int]:
        ((epoch, changes),) = source.read(
            lambda connection: connection.execute("SELECT epoch, changes FROM tiny_dancer.state").fetchall()
        )
        return epoch, changes

    def _snapshot(self, source: Database, action: Callable[[psycopg.Connection[Any]], T]) -> T:
        return source.snapshot(action)

    def _state(self, connection: psycopg.Connection[Any]) -> table_mirror.State:
        (row,) = connection.execute(
            "SELECT epoch, changes, forgotten, dimension FROM tiny_dancer.state"
        ).fetchall()
        return table_mirror.State(*row)

    def _gone(self, connection: psycopg.Connection[Any], since: int) -> list[str]:
        gone = connection.execute("SELECT id FROM tiny_dancer.candidate_deletion WHERE change > %s", (since,))
        return [id for (id,) in gone]

    def _written(
        self, connection: psycopg.Connection[Any], dimension: int | None, since: int
    ) -> Iterator[CandidateRecord]:
        return candidates.written(connection, since)

    def _used(self, connection: psycopg.Connection[Any], since: int) -> list[CandidateRecord]:
        return candidates.used(connection, since)
