"""`tiny-dancer agents list`."""

from __future__ import annotations

from typing import Annotated

import typer

from tiny_dancer.cli.agents_database import DEFAULT, Capabilities, Database, dollars, milliseconds, registry
from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.output import console, print_json, say
from tiny_dancer.errors import OptionError
from tiny_dancer.evaluation.terminal import FittedTable

HELP = """List agents with what they declare, or write them as others read them.

Example: tiny-dancer agents list --capability summarise --database agents.db"""


def list_agents(
    capability: Capabilities = None,
    format: Annotated[
        str | None, typer.Option(help="Print them as json, a2a, mcp, litellm or openai write them.")
    ] = None,
    database: Database = DEFAULT,
    json: Json = False,
) -> None:
    import json as text

    from tiny_dancer.routing.agent_files import export_agents
    from tiny_dancer.storage.opening import without_password

    with registry(database, read_only=True) as agents:
        found = agents.agents
        if capability:
            able = set(agents.with_capabilities(*capability))
            found = tuple(agent for agent in found if agent.name in able)
    if format is not None:
        if json:
            raise OptionError("format", format, "give --format or --json: every format is JSON")
        say(export_agents(found, format).rstrip("\n"))  # type: ignore[arg-type]
        return
    if json:
        print_json(text.loads(export_agents(found))["agents"])
        return
    if not found:
        say(f"{without_password(database)}: no agents yet; see tiny-dancer agents add")
        return
    header = ("name", "type", "capabilities", "quality", "USD/1k in", "USD/1k out", "USD/call", "ms", "active")
    cells = [
        (
            agent.name,
            agent.type,
            ", ".join(agent.capabilities),
            "" if agent.quality is None else f"{agent.quality:.3g}",
            dollars(agent.input_cost_per_1k),
            dollars(agent.output_cost_per_1k),
            dollars(agent.cost_per_call),
            milliseconds(None if agent.latency_s is None else agent.latency_s * 1000.0),
            "yes" if agent.active else "no",
        )
        for agent in found
    ]
    console().print(FittedTable(header, cells, words=frozenset({0, 2})))
