"""What the commands over a gateway's database share, and those of `keys`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiny_dancer.cli.output import warn
from tiny_dancer.errors import AccessError, TinyDancerError
from tiny_dancer.names import near

if TYPE_CHECKING:
    from collections.abc import Collection

    from tiny_dancer.storage import ApiKey

Database = Annotated[
    str, typer.Option("--database", help="The gateway's database: `storage` of its configuration.")
]
DEFAULT = "gateway.db"
GatewayConfigFile = Annotated[
    Path | None,
    typer.Option(help="The gateway's configuration; gateway.yaml beside the database where there is one."),
]
MakeDatabase = Annotated[bool, typer.Option("--create", help="Make the database where there is none yet.")]


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


def gateway_of(database: str, config: Path | None) -> tuple[str, Collection[str] | None]:
    """The database, and the models of the gateway it belongs to; None where no configuration says."""
    from tiny_dancer.gateway.configuration.check import load_gateway
    from tiny_dancer.gateway.configuration.settings import database_of
    from tiny_dancer.storage.opening import is_url

    beside = (Path() if is_url(database) else Path(database).parent) / "gateway.yaml"
    try:
        if config is not None:
            found = load_gateway(config)
            return str(database_of(found, config.parent)) if database == DEFAULT else database, found.models
        if not beside.exists():
            return database, None
        found = load_gateway(beside)
    except TinyDancerError as error:
        if config is not None:
            raise
        warn(f"{beside} cannot be read, so nothing is compared with it: {error}")
        return database, None
    same = os.path.realpath(database_of(found, beside.parent)) == os.path.realpath(database)
    return database, found.models if same else None


def check_models(named: tuple[str, ...], known: Collection[str] | None) -> None:
    """Raises AccessError for a model the gateway does not have; says so where nobody knows what it has."""
    if known is None:
        if named:
            warn("no configuration is beside the database, so nobody has checked the models' names; give --config")
        return
    for each in named:
        if each not in known:
            listed = near(each, known) or sorted(known)
            raise AccessError("model", each, f"the gateway has no such model; it has {', '.join(listed)}")


def check_database(database: str, known: Collection[str] | None, make: bool) -> None:
    """Refuses a database that is not there, unless it is to be made, or belongs to a configuration that is
    there: a gateway would make it itself.

    Raises:
        AccessError: it is not there.
    """
    from tiny_dancer.storage.opening import is_url

    if not (is_url(database) or Path(database).exists() or make or known is not None):
        raise AccessError(
            "database",
            str(Path(database).absolute()),
            "no such file: give the `storage` of a gateway's configuration, its --config, or --create to make it",
        )
