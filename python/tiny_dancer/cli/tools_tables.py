"""What the `tools` commands share: their arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ToolsTable = Annotated[
    Path, typer.Argument(metavar="TOOLS", help="tool_id, schema (JSON): Parquet, CSV or JSONL; or JSON tools.")
]
QueriesTable = Annotated[
    Path, typer.Argument(metavar="QUERIES", help="query_id, query, tool_ids: Parquet, CSV or JSONL.")
]
OptionalQueries = Annotated[
    Path | None, typer.Argument(metavar="[QUERIES]", help="query_id, query, tool_ids: Parquet, CSV or JSONL.")
]
LearnedUse = Annotated[
    str, typer.Option(help="Artifact of learned use; `default` is none: what needs no training.")
]
Most = Annotated[int, typer.Option("--k", "-k", help="Most tools a request.")]
