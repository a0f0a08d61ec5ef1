"""Brings a database to the present tables, by numbered scripts; or says who has to.

Where the extension ``tiny_dancer`` made the tables, they are its: its own updates bring them up to date, from the
same scripts.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from tiny_dancer.errors import StorageError

if TYPE_CHECKING:
    import psycopg

# "tdbudget" as a number: nobody else's lock.
LOCK = 8386936662405899636
# The first with all that the scripts use.
_OLDEST = 14


@dataclass(frozen=True, slots=True)
class Migration:
    """One script: ``NNNN_name``, and its SQL."""

    name: str
    sql: str


def migrations() -> tuple[Migration, ...]:
    """Those this program knows, in order."""
    folder = resources.files("tiny_dancer.storage.postgres") / "migrations"
    files = sorted((each for each in folder.iterdir() if each.name.endswith(".sql")), key=lambda each: each.name)
    return tuple(Migration(each.name.removesuffix(".sql"), each.read_text(encoding="utf-8")) for each in files)


def missing_scripts(connection: psycopg.Connection[Any], where: str) -> tuple[Migration, ...]:
    """Scripts that this storage may and has to apply.

    Raises:
        StorageError: the server or the database is not one that can hold the tables; they were made by a newer
            version; or they are the extension's and of an earlier one.
    """
    row = connection.execute(
        "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_encoding'), "
        "to_regclass('tiny_dancer.migration') IS NOT NULL, "
        "(SELECT extension.extname || ' ' || extension.extversion FROM pg_extension AS extension "
        "JOIN pg_depend AS member ON member.refobjid = extension.oid "
        "AND member.refclassid = 'pg_extension'::regclass AND member.deptype = 'e' "
        "AND member.classid = 'pg_class'::regclass WHERE member.objid = to_regclass('tiny_dancer.migration'))"
    ).fetchone()
    assert row is not None
    version, encoding, ours, extension = row
    if version < _OLDEST:
        raise StorageError(where, f"PostgreSQL {version}", f"give a server of version {_OLDEST} or newer")
    if encoding != "UTF8":
        remedy = "make one that holds any text: createdb --encoding=UTF8 --template=template0 NAME"
        raise StorageError(where, f"a database in encoding {encoding}", remedy)
    known = migrations()
    if not ours:
        return known
    applied = {name for (name,) in connection.execute("SELECT name FROM tiny_dancer.migration")}
    newer = sorted(applied - {each.name for each in known})
    if newer:
        remedy = "upgrade tiny-dancer, or restore a backup made by this version"
        raise StorageError(where, f"written by a newer version ({newer[0]})", remedy)
    missing = tuple(each for each in known if each.name not in applied)
    if missing and extension is not None:
        what = f"tables of extension {extension}, which lack {missing[0].name}"
        remedy = f"ALTER EXTENSION {extension.partition(' ')[0]} UPDATE, where its present version is installed"
        raise StorageError(where, what, remedy)
    return missing


def migrate(connection: psycopg.Connection[Any], where: str) -> None:
    """Applies the scripts that are missing, within the caller's transaction: all or none. Several processes may do
    so at once.

    Raises:
        StorageError: as :func:`missing_scripts`.
    """
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
    # Another process may have been first.
    scripts = missing_scripts(connection, where)
    if scripts and not connection.execute("SELECT to_regnamespace('tiny_dancer') IS NOT NULL").fetchall()[0][0]:
        connection.execute("CREATE SCHEMA tiny_dancer")
    for script in scripts:
        connection.execute(script.sql)
