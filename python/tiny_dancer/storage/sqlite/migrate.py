"""Brings a database file to the present tables, by numbered scripts recorded with their checksums."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from tiny_dancer.errors import StorageError
from tiny_dancer.storage.sqlite.connection import APPLICATION_ID, RESTORE, retrying

if TYPE_CHECKING:
    from pathlib import Path

    import apsw


@dataclass(frozen=True, slots=True)
class Migration:
    """One script: ``NNNN_name``, its SQL, and SHA-256 of the SQL."""

    name: str
    sql: str
    checksum: str


def migrations() -> tuple[Migration, ...]:
    """Those this program knows, in order."""
    folder = resources.files("tiny_dancer.storage.sqlite") / "migrations"
    found = []
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        if entry.name.endswith(".sql"):
            sql = entry.read_text(encoding="utf-8")
            name = entry.name.removesuffix(".sql")
            found.append(Migration(name, sql, hashlib.sha256(sql.encode()).hexdigest()))
    return tuple(found)


def migrate(connection: apsw.Connection, path: Path, known: tuple[Migration, ...] | None = None) -> None:
    """Applies the scripts that are missing, all or none; several processes may do so at once.

    Raises:
        StorageError: made by a newer version of this program, or a script has changed; or the file is damaged.
    """
    known = migrations() if known is None else known
    if pending(connection, path, known):
        retrying(lambda: connection.execute("BEGIN IMMEDIATE"))
        try:
            # Another process may have been first.
            for migration in pending(connection, path, known):
                _apply(connection, migration)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _apply(connection: apsw.Connection, migration: Migration) -> None:
    if not _has_migrations(connection):
        connection.execute(
            "CREATE TABLE migration (name TEXT PRIMARY KEY, checksum TEXT NOT NULL) STRICT, WITHOUT ROWID"
        )
        connection.pragma("application_id", APPLICATION_ID)
    connection.execute(migration.sql)
    connection.execute("INSERT INTO migration VALUES (?, ?)", (migration.name, migration.checksum))
    if not connection.execute("SELECT count(*) FROM state").get:
        connection.execute(
            "INSERT INTO state (single, epoch, changes, forgotten) VALUES (1, ?, 0, 0)", (secrets.token_hex(8),)
        )


def pending(connection: apsw.Connection, path: Path, known: tuple[Migration, ...]) -> tuple[Migration, ...]:
    """Scripts this file still needs.

    Raises:
        StorageError: made by a newer version of this program, or a script has changed.
    """
    if not _has_migrations(connection):
        return known
    try:
        applied: dict[str, str] = dict(connection.execute("SELECT name, checksum FROM migration ORDER BY name"))
    except UnicodeDecodeError as error:
        raise StorageError(str(path), f"damaged: table migration cannot be read: {error}", RESTORE) from None
    checksums = {migration.name: migration.checksum for migration in known}
    for name, checksum in applied.items():
        if name not in checksums:
            remedy = "upgrade tiny-dancer, or restore a backup made by this version"
            raise StorageError(str(path), f"written by a newer version ({name})", remedy)
        if checksum != checksums[name]:
            raise StorageError(
                str(path), f"tables made by another {name}", "restore a backup made by this version"
            )
    return tuple(migration for migration in known if migration.name not in applied)


def _has_migrations(connection: apsw.Connection) -> bool:
    return bool(
        connection.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'migration'").get
    )
