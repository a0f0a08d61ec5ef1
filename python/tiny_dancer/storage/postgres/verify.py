"""Reads a whole database to find what cannot be read in it, and names the row.

That a row is what was written, the server sees to (``initdb --data-checksums``); reading all of them makes it
look. What is looked at here is what other programs may have written, and no constraint forbids.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tiny_dancer.errors import StorageError, TinyDancerError
from tiny_dancer.storage.agents import Agent
from tiny_dancer.storage.candidate_checks import usual_norms
from tiny_dancer.storage.candidate_history import read
from tiny_dancer.storage.history import ShownCandidate
from tiny_dancer.storage.keys import ModelBudget
from tiny_dancer.storage.storage import RowCounts

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

# Columns whose JSON has a form, by table and what users call a row by.
_JSON: tuple[tuple[str, str, str, Callable[[str], Any]], ...] = (
    ("candidate", "id", "metadata", msgspec.json.Decoder(dict[str, Any]).decode),
    ("candidate_history", "candidate_id", "before", read),
    ("routing", "decision_id", "shown", msgspec.json.Decoder(tuple[ShownCandidate, ...]).decode),
    ("api_key", "id", "model_max_budget", msgspec.json.Decoder(tuple[ModelBudget, ...]).decode),
    ("request", "id", "scores", msgspec.json.Decoder(dict[str, float | None]).decode),
    ("request", "id", "removed", msgspec.json.Decoder(dict[str, str]).decode),
    ("agent", "name", "declared", Agent.from_json),
    ("agent", "name", "state", msgspec.json.Decoder(dict[str, Any]).decode),
)
TABLES = (
    "candidate", "routing", "outcome", "feedback", "request", "api_key", "candidate_history", "queue", "agent",
    "budget", "budget_spending", "spend", "request_sums",
)  # fmt: skip
"""What holds rows of users, those of :class:`RowCounts` first, in its order."""
_COUNTED = 10
# Rows that the server sends at a time.
_AT_ONCE = 1000


def row_counts(connection: psycopg.Connection[Any]) -> RowCounts:
    """Rows of each kind."""
    listed = ", ".join(f"(SELECT count(*) FROM tiny_dancer.{table})" for table in TABLES[:_COUNTED])
    row = connection.execute(f"SELECT {listed}").fetchone()
    assert row is not None
    return RowCounts(*row)


def verify(connection: psycopg.Connection[Any], where: str) -> RowCounts:
    """Reads and decodes everything; returns how many rows there are. Within one snapshot.

    Raises:
        StorageError: a row cannot be read, or an embedding is none.
    """
    for table in TABLES:
        # As text: what is stored beside the table is fetched too.
        connection.execute(f"SELECT count(stored::text) FROM tiny_dancer.{table} AS stored").fetchall()
    explain(connection, where)
    _check_embeddings(connection, where)
    return row_counts(connection)


def explain(connection: psycopg.Connection[Any], where: str) -> None:
    """Says which row cannot be read; within a transaction.

    Raises:
        StorageError: it names the row. Nothing is raised where all can be read.
    """
    for table, name, column, decode in _JSON:
        with connection.cursor("explained") as cursor:
            cursor.itersize = _AT_ONCE
            cursor.execute(
                f"SELECT {name}, {column} FROM tiny_dancer.{table} WHERE {column} IS NOT NULL", binary=True
            )
            for called, text in cursor:
                try:
                    decode(text)
                except (msgspec.MsgspecError, TinyDancerError) as error:
                    what = f"{column} of table {table} ({name} {called!r})"
                    raise damaged_row(where, f"{what} cannot be read: {error}") from None


def damaged_row(where: str, damage: str) -> StorageError:
    """The error that names a row which cannot be read."""
    return StorageError(where, f"damaged: {damage}", "write or delete what it holds anew, or restore a backup")


def _check_embeddings(connection: psycopg.Connection[Any], where: str) -> None:
    ((dimension,),) = connection.execute("SELECT dimension FROM tiny_dancer.state").fetchall()
    with connection.cursor("embeddings") as cursor:
        cursor.itersize = _AT_ONCE
        cursor.execute("SELECT id, embedding FROM tiny_dancer.candidate WHERE embedding IS NOT NULL", binary=True)
        while rows := list(islice(cursor, _AT_ONCE)):
            for id, embedding in rows:
                if len(embedding) != dimension:
                    what = f"the embedding of candidate {id!r} has dimension {len(embedding)}, not {dimension}"
                    raise damaged_row(where, what)
            # What has no norm that is taken is no embedding, and no search finds it.
            (bad,) = np.nonzero(~usual_norms(np.stack([embedding for _, embedding in rows])))
            if len(bad):
                raise damaged_row(where, f"the embedding of candidate {rows[bad[0]][0]!r} is none")
