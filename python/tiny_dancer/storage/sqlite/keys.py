"""The statements about API keys. Those that write run within the writer's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tiny_dancer.errors import AccessError
from tiny_dancer.storage import columns
from tiny_dancer.storage.sqlite.conditions import as_json

if TYPE_CHECKING:
    import apsw

    from tiny_dancer.storage.keys import ApiKey

_FIELDS = ", ".join(columns.API_KEY)
_PLACES = ", ".join("?" * len(columns.API_KEY))
_decode_texts = msgspec.json.Decoder(tuple[str, ...]).decode


def insert_api_key(connection: apsw.Connection, key: ApiKey) -> None:
    """Adds a key.

    Raises:
        AccessError: its id or secret is stored already.
    """
    present = connection.execute(
        "SELECT id = ?1 FROM api_key WHERE id = ?1 OR secret_hash = ?2", (key.id, key.secret_hash)
    ).get
    if present is not None:
        raise AccessError("id" if present else "secret_hash", key.id, "it is stored already: make another key")
    connection.execute(f"INSERT INTO api_key ({_FIELDS}) VALUES ({_PLACES})", columns.row_of_api_key(key, as_json))


def api_keys(connection: apsw.Connection) -> tuple[ApiKey, ...]:
    """All keys, the oldest first."""
    rows: list[tuple[Any, ...]] = connection.execute(
        f"SELECT {_FIELDS} FROM api_key ORDER BY created_at, id"
    ).fetchall()
    return tuple(columns.api_key(row, _decode_texts) for row in rows)


def revoke_api_key(connection: apsw.Connection, id: str, at: float) -> bool:
    """Ends a key; false where it was ended before, or is not there."""
    connection.execute("UPDATE api_key SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (at, id))
    return connection.changes() > 0
