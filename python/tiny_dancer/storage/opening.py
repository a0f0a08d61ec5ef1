"""Opens the database that somebody names: a file is SQLite's, ``postgresql://`` is a server's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from tiny_dancer.storage.postgres import PostgresStorage
    from tiny_dancer.storage.sqlite import SqliteStorage

    Database: TypeAlias = SqliteStorage | PostgresStorage

_SCHEMES = ("postgresql://", "postgres://")


def is_url(place: str | os.PathLike[str]) -> bool:
    """Whether a place is a server's address rather than a file's path."""
    return isinstance(place, str) and place.startswith(_SCHEMES)


def open_storage(
    place: str | os.PathLike[str], *, create: bool = True, mirror: bool = True, read_only: bool = False
) -> Database:
    """The storage at a place.

    Args:
        place: the path of a SQLite file, or an address such as ``postgresql://user@host/database``.
        create: refuse a place where there is no database of ours yet, if false.
        mirror: keep the candidates in memory, for searches.
        read_only: look at it only.

    Raises:
        MissingExtraError: the extra that it needs, ``sqlite`` or ``postgres``, is not installed.
        StorageError: it cannot be opened.
    """
    if is_url(place):
        from tiny_dancer.storage.postgres import PostgresStorage

        return PostgresStorage(str(place), create=create, mirror=mirror, read_only=read_only)
    from tiny_dancer.storage.sqlite import SqliteStorage

    return SqliteStorage(place, create=create, mirror=mirror, read_only=read_only)


def reopened(storage: Database) -> Database:
    """Another object over the same database, to write by and without a mirror."""
    place = storage.path if hasattr(storage, "path") else storage.conninfo
    return open_storage(place, create=False, mirror=False)


def without_password(place: str | os.PathLike[str]) -> str:
    """A place as people may see it: an address without its password."""
    if not is_url(place):
        return os.fspath(place)
    from urllib.parse import urlsplit

    parts = urlsplit(str(place))
    user = f"{parts.username}@" if parts.username else ""
    return f"postgresql://{user}{parts.netloc.rpartition('@')[2]}{parts.path}"
