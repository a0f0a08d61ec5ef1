"""`tiny-dancer budget status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.budget_database import described, find_target, shown
from tiny_dancer.cli.keys_database import DEFAULT, Database
from tiny_dancer.cli.output import console, print_json, say
from tiny_dancer.evaluation.terminal import FittedTable

if TYPE_CHECKING:
    from tiny_dancer.budgets import Standing

HELP = """Show what of each budget is spent, reserved for requests under way, and left, in USD; and when it starts
anew. Budgets that are made with a key (keys create --max-budget) are in keys list.

Example: tiny-dancer budget status --database gateway.db --json"""


def status(
    target: Annotated[
        str | None,
        typer.Argument(metavar="[SCOPE[=SUBJECT]]", help="Only these: a scope, or one subject of it."),
    ] = None,
    database: Database = DEFAULT,
    json: Json = False,
) -> None:
    from tiny_dancer.budgets import Budgets
    from tiny_dancer.storage import open_storage
    from tiny_dancer.storage.opening import without_password

    with open_storage(database, create=False, mirror=False) as storage:
        names = {key.id: key.name for key in storage.api_keys()}
        with Budgets(storage) as budgets:
            found = list(budgets.standings())
        if target is not None:
            found = find_target(found, target, storage.api_keys())
    rows = [described(each, names) for each in found]
    if json:
        print_json(rows)
    elif rows:
        _show(found, rows, names)
    else:
        say(f"{without_password(database)}: no budgets in force; see tiny-dancer budget set")


def _show(found: list[Standing], rows: list[dict[str, object]], names: dict[str, str]) -> None:
    header = ("budget", "period", "kind", "USD", "spent", "reserved", "left", "starts anew")
    cells = [
        (
            shown(each.budget, names),
            each.budget.period or "for ever",
            each.budget.kind,
            f"{each.budget.limit:,.6g}",
            f"{each.spent:,.6g}",
            f"{each.reserved:,.6g}",
            f"{each.left:,.6g}",
            str(row["starts_anew"] or "never"),
        )
        for each, row in zip(found, rows, strict=True)
    ]
    console().print(FittedTable(header, cells, words=frozenset({0})))
