"""`tiny-dancer routes predict`."""

from __future__ import annotations

from typing import Annotated

import typer

from tiny_dancer.cli.arguments import FalseAlarms, LabelledTable, OutTable, RoutesArtifact, TextOf
from tiny_dancer.cli.output import check_table, say, write_table

HELP = """Route every row of a table.

The output keeps the input's order: `route` (null where the text is out of scope, or no route is sure enough),
`best` (the most probable route, never null), its `confidence` and the text's `in_scope_score`. Label columns are
never read.

Example: tiny-dancer routes predict intents.safetensors requests.parquet --text text --out routes.parquet"""


def predict(
    artifact: RoutesArtifact,
    table: LabelledTable,
    out: OutTable,
    text: TextOf = "text",
    false_alarms: FalseAlarms = None,
    least_confidence: Annotated[float, typer.Option(help="Below which no route is given.")] = 0.0,
) -> None:
    import pyarrow as arrow

    from tiny_dancer.routing.semantic import SemanticRoutes
    from tiny_dancer.training.routes.data import read_texts

    check_table(out)
    router = SemanticRoutes.from_file(artifact)
    rows = read_texts(table, text)
    found = router.route_many(rows.text, false_alarms=false_alarms, least_confidence=least_confidence)
    columns = {
        "route": arrow.array([each.name for each in found], arrow.string()),
        "best": arrow.array([each.best for each in found], arrow.string()),
        "confidence": arrow.array([each.confidence for each in found], arrow.float32()),
        "in_scope_score": arrow.array([each.in_scope_score for each in found], arrow.float32()),
    }
    write_table(out, columns)
    given = sum(each.name is not None for each in found)
    say(f"{out}: {len(found):,} rows, {given:,} of them routed")
