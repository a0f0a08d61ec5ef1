"""The statements about API keys. Those that write run within a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiny_dancer.errors import AccessError
from tiny_dancer.storage import columns

if TYPE_CHECKING:
    import psycopg

    from tiny_dancer.storage.keys import ApiKey

_FIELDS = ", ".join(f'"{name}"' for name in columns.API_KEY)
_PLACES = ", ".join(["%s"] * len(columns.API_KEY))


def insert_api_key(connection: psycopg.Connection[Any], key: ApiKey) -> None:
    """Adds a key.

    Raises:
        AccessError: its id or secret is stored already.
    """
    added = connection.execute(
        f"INSERT INTO tiny_dancer.api_key ({_FIELDS}) VALUES ({_PLACES}) ON CONFLICT DO NOTHING",
        columns.row_of_api_key(key, list),
    )
    if not added.rowcount:
        present = connection.execute("SELECT FROM tiny_dancer.api_key WHERE id = %s", (key.id,)).fetchone()
        field = "secret_hash" if present is None else "id"
        raise AccessError(field, key.id, "it is stored already: make another key")


def api_keys(connection: psycopg.Connection[Any]) -> tuple[ApiKey, ...]:
    """All keys, the oldest first."""
    rows = connection.execute(f"SELECT {_FIELDS} FROM tiny_dancer.api_key ORDER BY created_at, id", binary=True)
    return tuple(columns.api_key(row, tuple) for row in rows)


def revoke_api_key(connection: psycopg.Connection[Any], id: str, at: float) -> bool:
    """Ends a key; false where it was ended before, or is not there."""
    ended = connection.execute(
        "UPDATE tiny_dancer.api_key SET revoked_at = %s WHERE id = %s AND revoked_at IS NULL", (at, id)
    )
    return ended.rowcount > 0
