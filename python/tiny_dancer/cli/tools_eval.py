"""`tiny-dancer tools eval`."""

from __future__ import annotations

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.output import console, print_json, say
from tiny_dancer.cli.tools_tables import LearnedUse, Most, QueriesTable, ToolsTable
from tiny_dancer.evaluation.terminal import FittedTable

HELP = """Judge what selecting k tools costs and saves: recall lost, and tokens of schemas no longer sent.

Intervals (95 %, bootstrap) are over requests. Tokens are counted as a quarter of the schemas' bytes.

Example: tiny-dancer tools eval tools.parquet queries.parquet --k 10"""


def evaluate(
    tools: ToolsTable,
    queries: QueriesTable,
    artifact: LearnedUse = "default",
    k: Most = 10,
    json: Json = False,
) -> None:
    from tiny_dancer.routing.tools import read_tool_artifact
    from tiny_dancer.training.tools.data import read_tool_queries, read_tools
    from tiny_dancer.training.tools.judge import evaluate_tools

    learned = read_tool_artifact(artifact)
    known = read_tools(tools)
    asked = read_tool_queries(queries, known)
    found = evaluate_tools(known, asked, known.selector(learned), k)
    figures = {**found.metrics, "recall lost": found.recall_lost}
    if json:
        print_json(
            {
                "queries": found.queries,
                "tools": found.tools,
                "k": found.k,
                **{name: [each.estimate, each.low, each.high] for name, each in figures.items()},
                "tokens_before": found.tokens_before,
                "tokens_after": found.tokens_after,
                "tokens_saved": found.tokens_saved,
            }
        )
        return
    say(f"{found.queries:,} requests, {found.tools:,} tools, {found.k} selected")
    rows = [
        (name, f"{each.estimate:z.3f}", f"[{each.low:z.3f}, {each.high:z.3f}]") for name, each in figures.items()
    ]
    console().print(FittedTable(("", "mean", "95 % interval"), rows))
    say(
        f"tokens of schemas a request, about: {found.tokens_before:,.0f} before, {found.tokens_after:,.0f} after "
        f"({found.tokens_saved:.1%} saved)"
    )
