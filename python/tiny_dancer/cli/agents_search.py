"""`tiny-dancer agents search`."""

from __future__ import annotations

from typing import Annotated

import typer

from tiny_dancer.cli.agents_database import DEFAULT, Database, registry
from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.output import print_json, printable, say

HELP = """Find the agents that a request is about, by their names, descriptions, capabilities and examples.

Example: tiny-dancer agents search "I was charged twice" --k 3 --database agents.db"""


def search(
    text: Annotated[str, typer.Argument(help="What is asked.")],
    k: Annotated[int, typer.Option(help="Most agents.")] = 5,
    database: Database = DEFAULT,
    json: Json = False,
) -> None:
    with registry(database, read_only=True) as agents:
        found = agents.search(text, k)
        considered = sum(agent.active for agent in agents.agents)
    if json:
        print_json({"considered": considered, "agents": found})
        return
    say(f"{len(found)} of {considered:,} agents")
    for each in found:
        say(printable(f"{each.score:7.2f}  relevance {each.relevance:.2f}  {each.name}"))
