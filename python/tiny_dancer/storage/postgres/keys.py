"""The statements about API keys. Those that write run within a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tiny_dancer.errors import AccessError
from tiny_dancer.storage.keys import ApiKey, ModelBudget

if TYPE_CHECKING:
    import psycopg

_NAMES = (
    "id", "name", "secret_hash", "created_at", "expires_at", "revoked_at", "models", "requests_per_minute",
    "tokens_per_minute", "daily_budget", "monthly_budget", "cheaper_when_spent", "max_budget", "budget_duration",
    "soft_budget", "model_max_budget", "tier", "tags", "operator", "user", "team", "project",
)  # fmt: skip
_FIELDS = ", ".join(f'"{name}"' for name in _NAMES)
_PLACES = ", ".join(["%s"] * len(_NAMES))
_decode_budgets = msgspec.json.Decoder(tuple[ModelBudget, ...]).decode


def insert_api_key(connection: psycopg.Connection[Any], key: ApiKey) -> None:
    """Adds a key.

    Raises:
        AccessError: its id or secret is stored already.
    """
    row = {name: getattr(key, name) for name in _NAMES}
    row["models"], row["tags"] = list(key.models), list(key.tags)
    row["model_max_budget"] = msgspec.json.encode(key.model_max_budget).decode()
    added = connection.execute(
        f"INSERT INTO tiny_dancer.api_key ({_FIELDS}) VALUES ({_PLACES}) ON CONFLICT DO NOTHING",
        list(row.values()),
    )
    if not added.rowcount:
        present = connection.execute("SELECT FROM tiny_dancer.api_key WHERE id = %s", (key.id,)).fetchone()
        field = "secret_hash" if present is None else "id"
        raise AccessError(field, key.id, "it is stored already: make another key")


def api_keys(connection: psycopg.Connection[Any]) -> tuple[ApiKey, ...]:
    """All keys, the oldest first."""
    rows = connection.execute(f"SELECT {_FIELDS} FROM tiny_dancer.api_key ORDER BY created_at, id", binary=True)
    return tuple(_key(row) for row in rows)


def _key(row: tuple[Any, ...]) -> ApiKey:
    fields = dict(zip(_NAMES, row, strict=True))
    fields["models"], fields["tags"] = tuple(fields["models"]), tuple(fields["tags"])
    fields["model_max_budget"] = _decode_budgets(fields["model_max_budget"])
    return ApiKey(**fields)


def revoke_api_key(connection: psycopg.Connection[Any], id: str, at: float) -> bool:
    """Ends a key; false where it was ended before, or is not there."""
    ended = connection.execute(
        "UPDATE tiny_dancer.api_key SET revoked_at = %s WHERE id = %s AND revoked_at IS NULL", (at, id)
    )
    return ended.rowcount > 0
