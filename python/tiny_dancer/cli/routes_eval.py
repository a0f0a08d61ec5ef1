"""`tiny-dancer routes eval`."""

from __future__ import annotations

from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Json, LabelledTable, LabelOf, OutOfScope, RoutesArtifact, TextOf
from tiny_dancer.cli.output import console, print_json, say

HELP = """Judge routes on labelled rows they were not fitted on.

Prints accuracy with its interval, whether confidences are true, how well texts of no route are told, and the pairs
of routes that are taken for each other most often.

Example: tiny-dancer routes eval intents.safetensors held-out.parquet --text text --label intent"""


def evaluate(
    artifact: RoutesArtifact,
    table: LabelledTable,
    text: TextOf = "text",
    label: LabelOf = "intent",
    out_of_scope: OutOfScope = "oos",
    most: Annotated[int, typer.Option(help="Pairs to print.")] = 10,
    json: Json = False,
) -> None:
    from tiny_dancer.routing.semantic import SemanticRoutes
    from tiny_dancer.training.routes.data import read_texts
    from tiny_dancer.training.routes.report import confusion_table, evaluation_lines

    rows = read_texts(table, text, label, out_of_scope)
    found = SemanticRoutes.from_file(artifact).evaluate(rows.text, rows.label)
    if json:
        print_json(found)
        return
    say(*evaluation_lines(found, sum(each is not None for each in rows.label)))
    if found.confusions:
        console().print(confusion_table(found, most))
