"""`tiny-dancer budget set`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.budget_database import Period, Soft, Target, shown, spent_before, target_of
from tiny_dancer.cli.keys_database import (
    DEFAULT,
    Database,
    GatewayConfigFile,
    MakeDatabase,
    check_database,
    check_models,
    gateway_of,
)
from tiny_dancer.cli.output import print_json, say, warn

HELP = """Set what may be spent on a key, user, team, agent, model, route, project or tag, or on everything. A
gateway that is running keeps to it within seconds. What the log says was spent in the present period counts,
unless it --starts later. One of the same period is replaced, and what was spent of it stays spent.

Example: tiny-dancer budget set team=research 500 --period month"""


def set_budget(
    target: Target,
    limit: Annotated[str, typer.Argument(help="USD in a period, as 500 or '12.50 USD'.")],
    period: Period = None,
    soft: Soft = False,
    starts: Annotated[
        str | None, typer.Option(help="Nothing counts before this date or time (ISO, UTC), or now.")
    ] = None,
    ends: Annotated[str | None, typer.Option(help="Not in force from this date or time on, or after 30d.")] = None,
    database: Database = DEFAULT,
    config: GatewayConfigFile = None,
    make_database: MakeDatabase = False,
    json: Json = False,
) -> None:
    from tiny_dancer.budgets import Budgets
    from tiny_dancer.gateway.access.keys import expiry, written
    from tiny_dancer.storage import Budget, open_storage
    from tiny_dancer.storage.opening import without_password

    now = time.time()
    database, known = gateway_of(database, config)
    check_database(database, known, make_database)
    with open_storage(database, mirror=False) as storage:
        keys = storage.api_keys()
        scope, subject = target_of(target, keys)
        budget = Budget(
            scope,
            subject,
            limit=limit,  # type: ignore[arg-type]  # text is read as people write it
            period=period,
            kind="soft" if soft else "hard",
            starts_at=None if starts is None else now if starts == "now" else expiry(starts, now, field="starts"),
            ends_at=None if ends is None else expiry(ends, now, field="ends"),
            created_at=now,
        )
        if scope == "model":
            check_models((subject,), known)
        if scope == "team" and subject not in {key.team for key in keys}:
            warn(f"no key is of team {subject!r} yet; see tiny-dancer keys create --team")
        before = next((each for each in storage.budgets() if each.id == budget.id), None)
        budget = storage.insert_budget(budget, replace=True)
        spent = 0.0
        if before is None and (spent := spent_before(storage, budget, now)):
            with Budgets(storage) as budgets:
                budgets.catch_up(budget.id, spent)
    if json:
        print_json(
            {
                "id": budget.id,
                "limit": budget.limit,
                "period": budget.period,
                "kind": budget.kind,
                "starts": None if budget.starts_at is None else written(budget.starts_at),
                "ends": None if budget.ends_at is None else written(budget.ends_at),
                "spent_before": spent,
                "replaces": None if before is None else {"limit": before.limit, "kind": before.kind},
            }
        )
        return
    names = {key.id: key.name for key in keys}
    each = f" per {budget.period}" if budget.period else " in all"
    was = "" if before is None else f", before {before.limit:g} USD ({before.kind})"
    already = f"; {spent:.6g} USD of it are spent by the log" if spent else ""
    where = without_password(database)
    say(f"{where}: {shown(budget, names)} may spend {budget.limit:g} USD{each} ({budget.kind}){was}{already}")
