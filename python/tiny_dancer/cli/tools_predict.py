"""`tiny-dancer tools predict`."""

from __future__ import annotations

from typing import Annotated

import typer

from tiny_dancer.cli.arguments import OutTable
from tiny_dancer.cli.output import check_table, say, write_table
from tiny_dancer.cli.tools_tables import Most, QueriesTable, ToolsTable

HELP = """Write the tools selected for every request of a table.

The output has one row a request, in the input's order: `query_id`, `tool_ids` (best first) and their `scores`. A
column of right tools is never read and may be absent.

Example: tiny-dancer tools predict default tools.parquet queries.parquet --out selected.parquet"""


def predict(
    artifact: Annotated[
        str, typer.Argument(help="Path of an artifact of learned use, or `default` for what needs no training.")
    ],
    tools: ToolsTable,
    queries: QueriesTable,
    out: OutTable,
    k: Most = 10,
) -> None:
    from tiny_dancer.routing.tools import read_tool_artifact
    from tiny_dancer.training.tools.data import read_tool_queries, read_tools

    check_table(out)
    learned = read_tool_artifact(artifact)
    known = read_tools(tools)
    asked = read_tool_queries(queries)
    found = known.selector(learned).select_many(asked.texts, k)

    import pyarrow as arrow

    columns = {
        "query_id": arrow.array(asked.ids, arrow.string()),
        "tool_ids": arrow.array([list(ids) for ids, _ in found], arrow.list_(arrow.string())),
        "scores": arrow.array([list(scores) for _, scores in found], arrow.list_(arrow.float32())),
    }
    write_table(out, columns)
    say(f"{out}: {len(found):,} rows")
