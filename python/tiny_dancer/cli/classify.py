"""`tiny-dancer classify`."""

from __future__ import annotations

from typing import Annotated

import typer

from tiny_dancer.cli.arguments import LabelledTable, OutTable, TextOf
from tiny_dancer.cli.output import check_table, say, write_table

HELP = """Say of every row of a table what kind of task its text is.

The output keeps the input's order: `category` (`unknown` where none is sure enough), its `confidence`,
`capabilities`, `complexity_*` (0 to 1), `structured_output` (0 to 1), `language`, `weak_quality` (1 to 5: how well
a weak model is expected to answer), and `heuristic`: the names of those columns that no data supports.

Example: tiny-dancer classify requests.parquet --text text --out tasks.parquet"""


def classify(
    table: LabelledTable,
    out: OutTable,
    text: TextOf = "text",
    artifact: Annotated[str, typer.Option(help="Path of an artifact that tells tasks apart.")] = "default",
) -> None:
    import pyarrow as arrow

    from tiny_dancer.routing.tasks import TaskClassifier
    from tiny_dancer.training.routes.data import read_texts

    check_table(out)
    classifier = TaskClassifier.from_file(artifact)
    found = classifier.predict(read_texts(table, text).text)
    aspects = [each["name"] for each in classifier.header["heuristics"] if each["group"] == "complexity"]
    names = arrow.list_(arrow.string())
    columns = {
        "category": arrow.array([each.category for each in found], arrow.string()),
        "confidence": arrow.array([each.confidence for each in found], arrow.float32()),
        "capabilities": arrow.array([list(each.capabilities) for each in found], names),
        **{
            f"complexity_{name}": arrow.array([each.complexity[name] for each in found], arrow.float32())
            for name in aspects
        },
        "structured_output": arrow.array([each.structured_output for each in found], arrow.float32()),
        "language": arrow.array([each.language for each in found], arrow.string()),
        "weak_quality": arrow.array([each.weak_quality for each in found], arrow.float32()),
        "heuristic": arrow.array([list(each.heuristic) for each in found], names),
    }
    write_table(out, columns)
    unknown = sum(each.category == "unknown" for each in found)
    say(f"{out}: {len(found):,} rows, {unknown:,} of them of no known kind")
