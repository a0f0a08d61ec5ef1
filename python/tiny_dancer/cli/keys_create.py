"""`tiny-dancer keys create`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.keys_database import (
    DEFAULT,
    Database,
    GatewayConfigFile,
    MakeDatabase,
    check_database,
    check_models,
    described,
    gateway_of,
)
from tiny_dancer.cli.output import print_json, say, warn
from tiny_dancer.errors import AccessError

HELP = """Make an API key for a client of the gateway. Its secret is printed once, alone on standard output, and
kept nowhere: only its SHA-256 is stored. A gateway that is running knows the key within seconds.

Example: tiny-dancer keys create ada --model gpt-4o-mini --rpm-limit 60 --max-budget 5 --budget-duration 1d"""


def create(
    name: Annotated[str, typer.Argument(help="Who or what the key is for; no other key that serves has it.")],
    database: Database = DEFAULT,
    config: GatewayConfigFile = None,
    make_database: MakeDatabase = False,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="A model it may use; repeatable. Absent: all.")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option("--requests-per-minute", "--rpm-limit", help="Most requests a minute.")
    ] = None,
    tokens_per_minute: Annotated[
        int | None,
        typer.Option("--tokens-per-minute", "--tpm-limit", help="Most tokens a minute, prompt and answer."),
    ] = None,
    max_budget: Annotated[float | None, typer.Option(help="USD in a period of --budget-duration.")] = None,
    budget_duration: Annotated[
        str | None, typer.Option(help="30s, 30m, 12h, 1d, 30d or 1mo, again and again. Absent: for ever.")
    ] = None,
    soft_budget: Annotated[
        float | None,
        typer.Option(help="USD in such a period, from which on answers say so, and the gateway's log."),
    ] = None,
    daily_budget: Annotated[float | None, typer.Option(help="USD a UTC day.")] = None,
    monthly_budget: Annotated[float | None, typer.Option(help="USD a UTC month.")] = None,
    model_max_budget: Annotated[
        list[str] | None,
        typer.Option(help="What it may spend on one model: MODEL=USD, or MODEL=USD/DURATION; repeatable."),
    ] = None,
    cheaper_when_spent: Annotated[
        bool,
        typer.Option("--cheaper-when-spent", help="A spent budget leaves cheaper models, instead of refusing."),
    ] = False,
    expires: Annotated[
        str | None, typer.Option(help="After a span (30d, 12h, 2w), or at a date or time (ISO, UTC).")
    ] = None,
    tier: Annotated[
        str | None, typer.Option(help="Of its owner, such as free; routes and chains may depend on it.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Of its owner, likewise; repeatable.")] = None,
    operator: Annotated[
        bool,
        typer.Option(
            "--operator", help="It may see, claim and answer what waits for a person, and sees the dashboard."
        ),
    ] = False,
    user: Annotated[
        str | None, typer.Option(help="Whose it is: budgets of users are charged with what it spends.")
    ] = None,
    team: Annotated[str | None, typer.Option(help="Whose it is: budgets of teams, likewise.")] = None,
    project: Annotated[str | None, typer.Option(help="What it is for: budgets of projects, likewise.")] = None,
    json: Json = False,
) -> None:
    from tiny_dancer.gateway.access.keys import expiry, make_key, model_budget, state_of
    from tiny_dancer.storage import open_storage
    from tiny_dancer.storage.opening import without_password

    now = time.time()
    made = make_key(
        name,
        expires_at=None if expires is None else expiry(expires, now),
        models=model or (),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        daily_budget=daily_budget,
        monthly_budget=monthly_budget,
        cheaper_when_spent=cheaper_when_spent,
        max_budget=max_budget,
        budget_duration=budget_duration,
        soft_budget=soft_budget,
        model_max_budget=[model_budget(each) for each in model_max_budget or ()],
        tier=tier,
        tags=tag or (),
        operator=operator,
        user=user,
        team=team,
        project=project,
        now=now,
    )
    database, known = gateway_of(database, config)
    check_models((*made.key.models, *(each.model for each in made.key.model_max_budget)), known)
    check_database(database, known, make_database)
    with open_storage(database, mirror=False) as storage:
        for other in storage.api_keys():
            if other.name == name and state_of(other, now) == "active":
                raise AccessError(
                    "name", name, f"key {other.id} has it: choose another, or revoke that one first (keys revoke)"
                )
        storage.insert_api_key(made.key)
    if json:
        print_json({**described(made.key), "secret": made.secret})
        return
    say(made.secret)
    where = without_password(database)
    warn(f"key {made.key.id} ({name}) is in {where}; the secret above will not be shown again")
