"""`tiny-dancer tools train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Seed
from tiny_dancer.cli.output import check_target, say, write_file
from tiny_dancer.cli.tools_tables import OptionalQueries, ToolsTable
from tiny_dancer.errors import OptionError

HELP = """Learn which tools requests use, and write the artifact.

How much use counts beside the schemas is chosen on requests that were not learned from; where it tells nothing
that the schemas do not, it counts nothing, and the command says so. Tools that no request used are judged by their
schemas. In place of QUERIES, --storage reads which tools a gateway's answers called (tool_selection.learn), or
what ToolSelector.observe has kept.

Example: tiny-dancer tools train tools.parquet queries.parquet --out tools.safetensors

Example: tiny-dancer tools train tools.json --storage gateway.db --out tools.safetensors"""


def train(
    tools: ToolsTable,
    out: Annotated[Path, typer.Option(help="Where to write the artifact.")],
    queries: OptionalQueries = None,
    storage: Annotated[
        str | None, typer.Option(help="A database of calls, in place of QUERIES.", show_default=False)
    ] = None,
    seed: Seed = 0,
    created: Annotated[str, typer.Option(help="Date to record; the tool reads no clock.")] = "",
) -> None:
    from tiny_dancer.extras import require
    from tiny_dancer.storage.opening import is_url

    require("sklearn", "scipy", *(() if storage is None or is_url(storage) else ("apsw",)))
    from tiny_dancer.training.tools.data import read_tool_queries, read_tools
    from tiny_dancer.training.tools.history import read_tool_history
    from tiny_dancer.training.tools.learn import learn_tools

    if (queries is None) == (storage is None):
        raise OptionError("storage", "and QUERIES: both or neither given", "give one of them")
    check_target(out)
    known = read_tools(tools)
    if storage is not None:
        from tiny_dancer.storage import open_storage

        with open_storage(storage, create=False) as database:
            used, left_out = read_tool_history(database, known)
        for reason, records in left_out.items():
            if records:
                say(f"left out: {records:,} records: {reason}")
    else:
        assert queries is not None
        used = read_tool_queries(queries, known)
    found = learn_tools(known, used, seed=seed, created=created)
    write_file(out, found.artifact)
    for method, figures in found.metrics.items():
        shown = ", ".join(
            f"{name} {each.estimate:.3f} [{each.low:.3f}, {each.high:.3f}]" for name, each in figures.items()
        )
        say(f"{method}: {shown}")
    count = f"{found.tools:,} of {len(known):,} tools used"
    if not found.weight:
        say("use tells nothing that the schemas do not: it counts nothing")
    say(f"{out}: {len(found.artifact):,} bytes, {found.rows:,} requests, {count}")
