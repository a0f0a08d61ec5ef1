"""`tiny-dancer tools select`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.output import print_json, printable, say
from tiny_dancer.cli.tools_tables import LearnedUse, Most
from tiny_dancer.errors import OptionError

HELP = """Select the tools one request needs, out of a file of tools.

The file is JSON as any client or server writes it (a list of tools of OpenAI, Anthropic or MCP, an answer of
`tools/list`, an OpenAPI document), or a table with `tool_id` and `schema`.

Example: tiny-dancer tools select tools.json "book a table for two in Porto" --k 5"""


def select(
    tools: Annotated[
        Path, typer.Argument(metavar="TOOLS", help="JSON of tools, or a table of tool_id and schema.")
    ],
    text: Annotated[str, typer.Argument(help="What is asked.")],
    artifact: LearnedUse = "default",
    k: Most = 5,
    json: Json = False,
) -> None:
    from tiny_dancer import files
    from tiny_dancer.routing.tools import ToolSelector, read_tool_artifact

    learned = read_tool_artifact(artifact)
    if tools.suffix.lower() == ".json":
        try:
            document = files.read(tools).decode()
        except UnicodeDecodeError as error:
            raise OptionError("tools", f"{tools}: {error}", "give JSON in UTF-8") from error
        selector = ToolSelector([document], artifact=learned)
    else:
        from tiny_dancer.training.tools.data import read_tools

        selector = read_tools(tools).selector(learned)
    found = selector.select(text, k)
    if json:
        print_json(
            {
                "considered": found.considered,
                "tools": [
                    {"id": each.id, "score": each.score, "relevance": each.relevance, "tool": each.tool}
                    for each in found.tools
                ],
            }
        )
        return
    say(f"{len(found.tools)} of {found.considered:,} tools")
    for each in found.tools:
        say(printable(f"{each.score:7.2f}  relevance {each.relevance:.2f}  {each.id}"))
