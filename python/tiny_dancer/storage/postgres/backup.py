"""Backups as files, in the form of a SQLite database: what one storage has written the other can restore.

So a backup is also the way from one database to the other. It is read in one snapshot while others write, verified
before it gets its name, and restored in one transaction, of which others see all or nothing. For large databases,
and to recover any moment, there are PostgreSQL's own tools.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tiny_dancer.extras import needed
from tiny_dancer.storage.postgres.summaries import HASHED_NAMES
from tiny_dancer.storage.postgres.verify import TABLES, row_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import apsw
    import psycopg

    from tiny_dancer.storage.storage import RowCounts

# Rows that the server sends at a time.
_AT_ONCE = 10_000
# What a column of SQLite's is here, where it is not the column of its name.
_HERE = {
    ("candidate", "namespace"): "array_to_json(namespace)",
    ("candidate", "embedding_change"): "CASE WHEN embedding IS NULL THEN NULL ELSE content_change END",
    ("api_key", "models"): "array_to_json(models)",
    ("api_key", "tags"): "array_to_json(tags)",
    ("request", "tags"): "array_to_json(tags)",
    ("request", "agents_failed"): "array_to_json(agents_failed)",
    ("request_sums", "number"): "row_number() OVER ()",
}
# What numbers rows and marks changes here, and is given anew.
_OWN = frozenset({"number", "change", "content_change"})
# By the types of columns here: what a column is sent as, and what a value of SQLite's becomes first.
_decode_list = msgspec.json.Decoder(list[str]).decode
_SENT: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "text": ("text", lambda value: value),
    "json": ("text", lambda value: value),
    "text[]": ("text[]", _decode_list),
    "boolean": ("bool", bool),
    "bigint": ("int8", lambda value: value),
    "double precision": ("float8", lambda value: value),
    "real[]": ("float4[]", lambda value: np.frombuffer(value, np.float32)),
    "bytea": ("bytea", lambda value: value),
}


def back_up(connection: psycopg.Connection[Any], where: str, target: str | os.PathLike[str]) -> RowCounts:
    """Writes what ``connection`` sees in its snapshot to a file, readable by its owner alone; all or nothing.

    An earlier backup there is replaced; another file is not.

    Raises:
        MissingExtraError: apsw or sqlite-vec is not installed.
        StorageError: it cannot be written, or is not good.
    """
    with needed("sqlite"):
        from tiny_dancer.storage.sqlite.backup import finish, refuse_target
        from tiny_dancer.storage.sqlite.connection import connect, translated
        from tiny_dancer.storage.sqlite.migrate import migrate
        from tiny_dancer.storage.sqlite.parts import beside
    final, source = Path(os.path.realpath(Path(os.fspath(target)).absolute())), Path(where)
    with translated(final):
        refuse_target(final, source)
        with beside(final) as part:
            with closing(connect(part)) as copy:
                migrate(copy, part)
                with copy:
                    _fill(connection, copy)
            return finish(part, final, source, row_counts(connection))


def _fill(connection: psycopg.Connection[Any], copy: apsw.Connection) -> None:
    """Copies every table."""
    from tiny_dancer.storage.sqlite.candidates import agree_on_dimension, insert_vectors
    from tiny_dancer.storage.sqlite.ledger import index_ids

    ((dimension, changes),) = connection.execute("SELECT dimension, changes FROM tiny_dancer.state").fetchall()
    copy.execute("UPDATE state SET changes = ?, forgotten = ?", (changes, changes))
    if dimension is not None:
        agree_on_dimension(copy, dimension)
        vectors = "SELECT number, embedding FROM tiny_dancer.candidate WHERE embedding IS NOT NULL"
        for rows in _rows(connection, vectors):
            insert_vectors(copy, rows)
    for table in TABLES:
        names = _columns(copy, table)
        here = ", ".join(_HERE.get((table, name), f'"{name}"') for name in names)
        ordered = " ORDER BY number" if "number" in names and (table, "number") not in _HERE else ""
        put = f"INSERT INTO {table} ({_quoted(names)}) VALUES ({', '.join('?' * len(names))})"
        for rows in _rows(connection, f"SELECT {here} FROM tiny_dancer.{table}{ordered}"):
            copy.executemany(put, rows)
    index_ids(copy)
    for table, changes in connection.execute("SELECT name, changes FROM tiny_dancer.table_change"):
        copy.execute(f"UPDATE {table}_change SET changes = ?", (changes,))


def _columns(copy: apsw.Connection, table: str) -> list[str]:
    return [name for (name,) in copy.execute("SELECT name FROM pragma_table_info(?)", (table,))]


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _rows(connection: psycopg.Connection[Any], statement: str) -> Iterator[list[tuple[Any, ...]]]:
    with connection.cursor("backed_up") as cursor:
        cursor.itersize = _AT_ONCE
        cursor.execute(statement, binary=True)
        while rows := cursor.fetchmany(_AT_ONCE):
            yield rows


@contextmanager
def prepared(path: str | os.PathLike[str]) -> Iterator[apsw.Connection]:
    """A verified copy of a backup, brought to SQLite's present tables, to read from; removed in the end.

    Raises:
        MissingExtraError: apsw or sqlite-vec is not installed.
        StorageError: there is no good backup.
    """
    with needed("sqlite"):
        from tiny_dancer.storage.sqlite import backup
        from tiny_dancer.storage.sqlite.connection import connect
    with (
        tempfile.TemporaryDirectory(prefix="tiny-dancer-") as folder,
        backup.prepared(Path(path), Path(folder, "restored")) as part,
        closing(connect(part)) as opened,
    ):
        yield opened


def restore(connection: psycopg.Connection[Any], source: apsw.Connection) -> None:
    """Makes everything in the database that of a SQLite database with the present tables, within the caller's
    transaction."""
    # Who reads goes on; who wants to write waits.
    listed = ", ".join(f"tiny_dancer.{table}" for table in ("state", *TABLES, "candidate_deletion"))
    connection.execute(f"LOCK TABLE {listed} IN EXCLUSIVE MODE")
    for table in (*TABLES, "candidate_deletion"):
        connection.execute(f"DELETE FROM tiny_dancer.{table}")
    # Mirrors compare it: all of them have to be filled again.
    dimension = source.execute("SELECT dimension FROM state").get
    connection.execute(
        "UPDATE tiny_dancer.state SET epoch = gen_random_uuid()::text, forgotten = changes, dimension = %s",
        (dimension,),
    )
    for table in TABLES:
        _restore_table(connection, source, table, embedded=dimension is not None)


def _restore_table(
    connection: psycopg.Connection[Any], source: apsw.Connection, table: str, *, embedded: bool
) -> None:
    types: dict[str, str] = dict(
        connection.execute(
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            (f"tiny_dancer.{table}",),
        ).fetchall()
    )
    there = _columns(source, table)
    names = [name for name in there if name in types and name not in _OWN]
    values = {name: f'{table}."{name}"' for name in names}
    joined = ""
    if table == "candidate":
        values["updated_at"] = "coalesce(candidate.updated_at, candidate.created_at)"
        if embedded:
            values["embedding"] = "vector.embedding"
            joined = " LEFT JOIN candidate_vectors AS vector ON vector.rowid = candidate.number"
    if table == "request_sums":
        values["names"] = "CAST(request_sums.number AS BLOB)"  # for a moment
    ordered = f" ORDER BY {table}.number" if "number" in there else ""
    sent = [_SENT[types[name]] for name in values]
    copy = f"COPY tiny_dancer.{table} ({_quoted(list(values))}) FROM STDIN (FORMAT binary)"
    with connection.cursor() as cursor, cursor.copy(copy) as rows:
        rows.set_types([kind for kind, _ in sent])
        for row in source.execute(f"SELECT {', '.join(values.values())} FROM {table}{joined}{ordered}"):
            rows.write_row(
                [None if value is None else as_sent(value) for value, (_, as_sent) in zip(row, sent, strict=True)]
            )
    if table == "request_sums":
        connection.execute(f"UPDATE tiny_dancer.request_sums SET names = {HASHED_NAMES}")
