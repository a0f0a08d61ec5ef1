"""`tiny-dancer agents import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.agents_database import DEFAULT, Database, registry
from tiny_dancer.cli.output import printable, say, warn

HELP = """Import agents from a file: an A2A agent card or a list of them, the answer of MCP's tools/list, LiteLLM's
configuration (model_list) or price map, the answer of OpenAI's or OpenRouter's /models, or agents as JSON.

Keys, addresses and how to call an agent are not read.

Example: tiny-dancer agents import litellm.yaml --prices model_prices.json --database agents.db"""


def import_agents(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON or YAML of agents.")],
    prices: Annotated[Path | None, typer.Option(help="LiteLLM's price map, where the file has no prices.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Put them in place of those of their names.")] = False,
    database: Database = DEFAULT,
) -> None:
    from tiny_dancer.routing.agent_files import read_agents
    from tiny_dancer.storage.opening import without_password

    found = read_agents(file, prices=prices)
    for note in found.notes:
        warn(f"note: {note}")
    with registry(database, create=True) as agents:
        agents.add(*found.agents, replace=replace)
        where = without_password(database)
        say(printable(f"{where}: {len(found.agents)} agents of {file} ({found.format}), {len(agents)} in all"))
