"""What tells a backup from a live database: a mark within the file, which the first write to it takes away.

Triggers do that, whatever program writes. Counting accesses is no write in this sense: who searches a backup to
look at it has not made it a database that must be kept.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tiny_dancer.storage.sqlite.connection import ordinary_tables

if TYPE_CHECKING:
    import apsw

_TABLE = "backup_mark"
# Tables whose rows say nothing that is not said elsewhere.
_UNMARKED = ("state", "migration", "candidate_deletion", _TABLE)
# Columns that searching changes.
_LOOKED_AT = ("last_accessed_at", "access_count", "change", "expires_at")


def is_backup(connection: apsw.Connection) -> bool:
    """Whether the database is a backup that nobody has written to."""
    if not connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = ?", (_TABLE,)).get:
        return False
    return bool(connection.execute(f"SELECT count(*) FROM {_TABLE}").get)


def mark(connection: apsw.Connection) -> None:
    """Makes a database a backup, within the caller's transaction."""
    unmark(connection)
    connection.execute(f"CREATE TABLE {_TABLE} (made REAL NOT NULL) STRICT")
    connection.execute(f"INSERT INTO {_TABLE} VALUES (?)", (time.time(),))
    for table in ordinary_tables(connection):
        if table not in _UNMARKED:
            columns = [
                f'"{name}"'
                for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
                if name not in _LOOKED_AT
            ]
            for number, event in enumerate(("INSERT", "DELETE", f"UPDATE OF {', '.join(columns)}")):
                connection.execute(
                    f'CREATE TRIGGER "{_TABLE}_{number}_{table}" AFTER {event} ON "{table}" '
                    f"BEGIN DELETE FROM {_TABLE}; END"
                )


def unmark(connection: apsw.Connection) -> None:
    """Makes a database of a backup, within the caller's transaction."""
    triggers = connection.execute(
        f"SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE '{_TABLE}\\_%' ESCAPE '\\'"
    ).fetchall()
    for (name,) in triggers:
        connection.execute(f'DROP TRIGGER "{name}"')
    connection.execute(f"DROP TABLE IF EXISTS {_TABLE}")
