"""The statements about API keys. Those that write run within the writer's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tiny_dancer.errors import AccessError
from tiny_dancer.storage.keys import ApiKey, ModelBudget
from tiny_dancer.storage.sqlite.conditions import as_json

if TYPE_CHECKING:
    import apsw

_FIELDS = (
    "id, name, secret_hash, created_at, expires_at, revoked_at, models, requests_per_minute, tokens_per_minute, "
    "daily_budget, monthly_budget, cheaper_when_spent, max_budget, budget_duration, soft_budget, "
    "model_max_budget, tier, tags, operator, user, team, project"
)
_PLACES = ", ".join("?" * len(_FIELDS.split(",")))
_decode_texts = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_budgets = msgspec.json.Decoder(tuple[ModelBudget, ...]).decode
_encode = msgspec.json.Encoder().encode


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
    connection.execute(
        f"INSERT INTO api_key ({_FIELDS}) VALUES ({_PLACES})",
        (
            key.id,
            key.name,
            key.secret_hash,
            key.created_at,
            key.expires_at,
            key.revoked_at,
            as_json(key.models),
            key.requests_per_minute,
            key.tokens_per_minute,
            key.daily_budget,
            key.monthly_budget,
            key.cheaper_when_spent,
            key.max_budget,
            key.budget_duration,
            key.soft_budget,
            _encode(key.model_max_budget).decode(),
            key.tier,
            as_json(key.tags),
            key.operator,
            key.user,
            key.team,
            key.project,
        ),
    )


def api_keys(connection: apsw.Connection) -> tuple[ApiKey, ...]:
    """All keys, the oldest first."""
    rows: list[tuple[Any, ...]] = connection.execute(
        f"SELECT {_FIELDS} FROM api_key ORDER BY created_at, id"
    ).fetchall()
    return tuple(
        ApiKey(
            id=id,
            name=name,
            secret_hash=secret_hash,
            created_at=created_at,
            expires_at=expires_at,
            revoked_at=revoked_at,
            models=_decode_texts(models),
            requests_per_minute=requests,
            tokens_per_minute=tokens,
            daily_budget=daily,
            monthly_budget=monthly,
            cheaper_when_spent=bool(cheaper),
            max_budget=most,
            budget_duration=duration,
            soft_budget=soft,
            model_max_budget=_decode_budgets(by_model),
            tier=tier,
            tags=_decode_texts(tags),
            operator=bool(operator),
            user=user,
            team=team,
            project=project,
        )
        for (
            id, name, secret_hash, created_at, expires_at, revoked_at, models,
            requests, tokens, daily, monthly, cheaper, most, duration, soft, by_model,
            tier, tags, operator, user, team, project,
        ) in rows
    )  # fmt: skip


def revoke_api_key(connection: apsw.Connection, id: str, at: float) -> bool:
    """Ends a key; false where it was ended before, or is not there."""
    connection.execute("UPDATE api_key SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (at, id))
    return connection.changes() > 0
