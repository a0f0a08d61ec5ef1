"""`tiny-dancer tools train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Seed
from tiny_dancer.cli.output import check_target, say, write_file
from tiny_dancer.cli.tools_tables import QueriesTable, ToolsTable

HELP = """Learn which tools requests use, and write the artifact.

How much use counts beside the schemas is chosen on requests that were not learned from; where it tells nothing
that the schemas do not, it counts nothing, and the command says so. Tools that no request used are judged by their
schemas.

Example: tiny-dancer tools train tools.parquet queries.parquet --out tools.safetensors"""


def train(
    tools: ToolsTable,
    queries: QueriesTable,
    out: Annotated[Path, typer.Option(help="Where to write the artifact.")],
    seed: Seed = 0,
    created: Annotated[str, typer.Option(help="Date to record; the tool reads no clock.")] = "",
) -> None:
    from tiny_dancer.extras import require

    require("sklearn", "scipy")
    from tiny_dancer.training.tools.data import read_tool_queries, read_tools
    from tiny_dancer.training.tools.learn import learn_tools

    check_target(out)
    known = read_tools(tools)
    found = learn_tools(known, read_tool_queries(queries, known), seed=seed, created=created)
    write_file(out, found.artifact)
    for method, figures in found.metrics.items():
        shown = ", ".join(
            f"{name} {each.estimate:.3f} [{each.low:.3f}, {each.high:.3f}]" for name, each in figures.items()
        )
        say(f"{method}: {shown}")
    used = f"{found.tools:,} of {len(known):,} tools used"
    if not found.weight:
        say("use tells nothing that the schemas do not: it counts nothing")
    say(f"{out}: {len(found.artifact):,} bytes, {found.rows:,} requests, {used}")
