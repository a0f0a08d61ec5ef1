"""`tiny-dancer agents stats`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tiny_dancer.cli.agents_database import DEFAULT, Database, dollars, milliseconds, registry
from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.output import console, print_json, say
from tiny_dancer.evaluation.terminal import FittedTable

HELP = """Show what was observed of agents: outcomes, and means in which older outcomes count less.

Example: tiny-dancer agents stats writer --database agents.db --json"""


def stats(
    name: Annotated[str | None, typer.Argument(help="One agent; else all.")] = None,
    database: Database = DEFAULT,
    json: Json = False,
) -> None:
    from tiny_dancer.storage.opening import without_password

    with registry(database, read_only=True) as agents:
        names = [agent.name for agent in agents.agents] if name is None else [name]
        rows: list[dict[str, Any]] = [{"name": each, **agents.statistics(each)} for each in names]
    if json:
        print_json(rows if name is None else rows[0])
        return
    if not rows:
        say(f"{without_password(database)}: no agents yet; see tiny-dancer agents add")
        return
    header = ("name", "outcomes", "quality", "success", "cost / estimate", "USD", "ms", "tokens", "tasks")
    cells = [
        (
            row["name"],
            f"{row['outcomes']:,}",
            _share(row["quality"]),
            _share(row["success_rate"]),
            _share(row["cost_ratio"]),
            dollars(row["cost"]),
            milliseconds(None if row["latency_s"] is None else row["latency_s"] * 1000.0),
            milliseconds(row["output_tokens"]),
            ", ".join(f"{task} {value:.3f}" for task, value in sorted(row["tasks"].items())),
        )
        for row in rows
    ]
    console().print(FittedTable(header, cells, words=frozenset({0, 8})))


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
