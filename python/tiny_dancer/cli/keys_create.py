"""`tiny-dancer keys create`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.keys_database import DEFAULT, Database, described
from tiny_dancer.cli.output import print_json, say, warn

HELP = """Make an API key for a client of the gateway. Its secret is printed once, alone on standard output, and
kept nowhere: only its SHA-256 is stored. A gateway that is running knows the key within seconds.

Example: tiny-dancer keys create ada --model gpt-4o-mini --requests-per-minute 60 --daily-budget 5 --expires 30d"""


def create(
    name: Annotated[str, typer.Argument(help="Who or what the key is for.")],
    database: Database = DEFAULT,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="A model it may use; repeatable. Absent: all.")
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Most requests a minute.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Most tokens a minute, prompt and answer.")] = None,
    daily_budget: Annotated[float | None, typer.Option(help="USD a UTC day.")] = None,
    monthly_budget: Annotated[float | None, typer.Option(help="USD a UTC month.")] = None,
    soft_budget: Annotated[
        bool, typer.Option("--soft-budget", help="A spent budget leaves cheaper models, instead of refusing.")
    ] = False,
    expires: Annotated[
        str | None, typer.Option(help="After a span (30d, 12h, 2w), or at a date or time (ISO, UTC).")
    ] = None,
    json: Json = False,
) -> None:
    from tiny_dancer.gateway.access.keys import expiry, make_key
    from tiny_dancer.storage import SqliteStorage

    now = time.time()
    made = make_key(
        name,
        expires_at=None if expires is None else expiry(expires, now),
        models=model or (),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        daily_budget=daily_budget,
        monthly_budget=monthly_budget,
        soft_budget=soft_budget,
        now=now,
    )
    with SqliteStorage(database, mirror=False) as storage:
        storage.insert_api_key(made.key)
    if json:
        print_json({**described(made.key), "secret": made.secret})
        return
    say(made.secret)
    warn(f"key {made.key.id} ({name}) is in {database}; the secret above will not be shown again")
