"""What the `keys` commands share."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tiny_dancer.storage import ApiKey

Database = Annotated[
    Path, typer.Option("--database", help="The gateway's database: `storage` of its configuration.")
]
DEFAULT = Path("gateway.db")


def described(key: ApiKey) -> dict[str, Any]:
    """What may be shown of a key: everything but the hash."""
    from tiny_dancer.gateway.access.keys import state_of, written

    def moment(seconds: float | None) -> str | None:
        return None if seconds is None else written(seconds)

    return {
        "id": key.id,
        "name": key.name,
        "state": state_of(key, time.time()),
        "created": moment(key.created_at),
        "expires": moment(key.expires_at),
        "revoked": moment(key.revoked_at),
        "models": list(key.models) or None,
        "requests_per_minute": key.requests_per_minute,
        "tokens_per_minute": key.tokens_per_minute,
        "daily_budget": key.daily_budget,
        "monthly_budget": key.monthly_budget,
        "max_budget": key.max_budget,
        "budget_duration": key.budget_duration,
        "soft_budget": key.soft_budget,
        "model_max_budget": {
            each.model: {"max_budget": each.max_budget, "budget_duration": each.budget_duration}
            for each in key.model_max_budget
        }
        or None,
        "cheaper_when_spent": key.cheaper_when_spent,
        "tier": key.tier,
        "tags": list(key.tags),
        "operator": key.operator,
        "user": key.user,
        "team": key.team,
        "project": key.project,
    }
