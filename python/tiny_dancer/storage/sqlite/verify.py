"""Reads a whole database to find what is damaged in it, and names the row."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tiny_dancer.errors import StorageError
from tiny_dancer.storage.candidate_checks import usual_norms
from tiny_dancer.storage.candidate_history import Before
from tiny_dancer.storage.history import ShownCandidate
from tiny_dancer.storage.keys import ModelBudget
from tiny_dancer.storage.sqlite.candidates import UNREADABLE, dimension
from tiny_dancer.storage.sqlite.connection import RESTORE, ordinary_tables, snapshot
from tiny_dancer.storage.storage import RowCounts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import apsw

# Columns that hold JSON, by table, and what is in them.
_JSON: dict[tuple[str, str], Callable[[str], Any]] = {
    (table, column): msgspec.json.Decoder(kind).decode
    for table, column, kind in (
        ("candidate", "metadata", dict[str, Any]),
        ("candidate", "namespace", tuple[str, ...]),
        ("candidate_history", "before", Before),
        ("routing", "shown", tuple[ShownCandidate, ...]),
        ("api_key", "models", tuple[str, ...]),
        ("api_key", "model_max_budget", tuple[ModelBudget, ...]),
        ("api_key", "tags", tuple[str, ...]),
        ("request", "scores", dict[str, float | None]),
        ("request", "removed", dict[str, str]),
        ("agent", "declared", dict[str, Any]),
        ("agent", "state", dict[str, Any]),
    )
}
# What users call a row by.
_NAMES = ("id", "candidate_id", "decision_id", "name")
# Embeddings looked at together.
_AT_ONCE = 1000


def row_counts(connection: apsw.Connection) -> RowCounts:
    """Rows of each kind."""
    counts = connection.execute(
        "SELECT (SELECT count(*) FROM candidate), (SELECT count(*) FROM routing), "
        "(SELECT count(*) FROM outcome), (SELECT count(*) FROM feedback), "
        "(SELECT count(*) FROM request), (SELECT count(*) FROM api_key), "
        "(SELECT count(*) FROM candidate_history), (SELECT count(*) FROM queue), (SELECT count(*) FROM agent), "
        "(SELECT count(*) FROM budget)"
    ).get
    assert isinstance(counts, tuple)
    return RowCounts(*counts)


def verify(connection: apsw.Connection, path: Path) -> RowCounts:
    """Reads and decodes everything; returns how many rows there are.

    Raises:
        StorageError: the file is damaged, a row cannot be read, or candidates and embeddings do not match.
    """
    with snapshot(connection):
        check(connection, path)
        return row_counts(connection)


def check(connection: apsw.Connection, path: Path) -> None:
    """What :func:`verify` does, also for the tables of an earlier version."""
    found = [line for (line,) in connection.execute("PRAGMA integrity_check(5)")]
    if found != ["ok"]:
        raise StorageError(str(path), f"damaged: {'; '.join(map(str, found))}", RESTORE)
    damage = unreadable_row(connection)
    if damage is not None:
        raise damaged_row(path, damage)
    width = dimension(connection)
    embedded = "SELECT number FROM candidate WHERE embedding_change IS NOT NULL"
    if width is None:
        odd = connection.execute(f"SELECT count(*) FROM ({embedded})").get
    else:
        odd = connection.execute(
            "SELECT (SELECT count(*) FROM candidate_vectors WHERE length(embedding) IS NOT ?) "
            f"+ (SELECT count(*) FROM ({embedded} EXCEPT SELECT rowid FROM candidate_vectors)) "
            f"+ (SELECT count(*) FROM (SELECT rowid FROM candidate_vectors EXCEPT {embedded}))",
            (4 * width,),
        ).get
    if odd:
        raise StorageError(str(path), f"damaged: {odd} candidates and embeddings do not match", RESTORE)
    if width is not None:
        _check_embeddings(connection, path)


def damaged_row(path: Path, damage: str) -> StorageError:
    """The error that names a row which cannot be read."""
    return StorageError(str(path), f"damaged: {damage}", f"write or delete what it holds anew, or {RESTORE}")


def explain(connection: apsw.Connection, path: Path) -> None:
    """Says which row cannot be read, after a call failed as ``UNREADABLE``.

    Raises:
        StorageError: it names the row. Nothing is raised where all can be read.
    """
    damage = unreadable_row(connection)
    if damage is not None:
        raise damaged_row(path, damage)


def unreadable_row(connection: apsw.Connection) -> str | None:
    """The first row with a text or JSON that cannot be read, in words; None where all can."""
    for table in ordinary_tables(connection):
        texts = [
            name
            for (name,) in connection.execute(
                "SELECT name FROM pragma_table_info(?) WHERE type = 'TEXT'", (table,)
            )
        ]
        if texts and not _readable(connection, table, texts):
            return _first_unreadable(connection, table, texts)
    return None


def _readable(connection: apsw.Connection, table: str, texts: list[str]) -> bool:
    decoders = [(place, _JSON[table, name]) for place, name in enumerate(texts) if (table, name) in _JSON]
    try:
        for row in connection.execute(f"SELECT {_listed(texts)} FROM {_quoted(table)}"):
            for place, decode in decoders:
                if row[place] is not None:
                    decode(row[place])
    except UNREADABLE:
        return False
    return True


def _first_unreadable(connection: apsw.Connection, table: str, texts: list[str]) -> str | None:
    names = [name for name in _NAMES if name in texts] + [name for name in texts if name not in _NAMES]
    # As bytes, which are whatever they are.
    as_bytes = ", ".join(f"CAST({_quoted(name)} AS BLOB)" for name in names)
    for count, row in enumerate(connection.execute(f"SELECT {as_bytes} FROM {_quoted(table)}"), 1):
        for name, content in zip(names, row, strict=True):
            try:
                text = None if content is None else content.decode()
                if text is not None and (table, name) in _JSON:
                    _JSON[table, name](text)
            except UNREADABLE as error:
                called = "" if row[0] is None else f" ({names[0]} {row[0].decode(errors='backslashreplace')!r})"
                return f"{name} in row {count} of table {table}{called} cannot be read: {error}"
    return None


def _check_embeddings(connection: apsw.Connection, path: Path) -> None:
    cursor = connection.execute(
        "SELECT candidate.id, vector.embedding FROM candidate_vectors AS vector "
        "JOIN candidate ON candidate.number = vector.rowid"
    )
    while rows := list(islice(cursor, _AT_ONCE)):
        matrix = np.frombuffer(b"".join(row[1] for row in rows), np.float32).reshape(len(rows), -1)
        # What is neither finite nor of a norm that is taken is no embedding, and no search finds it.
        (bad,) = np.nonzero(~usual_norms(matrix))
        if len(bad):
            raise damaged_row(path, f"the embedding of candidate {rows[bad[0]][0]!r} is none")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _listed(names: list[str]) -> str:
    return ", ".join(map(_quoted, names))
