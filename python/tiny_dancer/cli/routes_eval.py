"""`tiny-dancer routes eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Json, LabelledTable, LabelOf, OutOfScope, RoutesArtifact, TextOf
from tiny_dancer.cli.output import check_target, console, print_json, say, write_file

HELP = """Judge routes on labelled rows they were not fitted on.

Prints accuracy with its interval, whether confidences are true, how well texts of no route are told, and the pairs
of routes that are taken for each other most often, and near misses. --html writes a page of all that went wrong.

Example: tiny-dancer routes eval intents.safetensors held-out.parquet --text text --label intent"""


def evaluate(
    artifact: RoutesArtifact,
    table: LabelledTable,
    text: TextOf = "text",
    label: LabelOf = "intent",
    out_of_scope: OutOfScope = "oos",
    most: Annotated[int, typer.Option(help="Pairs, and texts of each kind, to print.")] = 10,
    html: Annotated[Path | None, typer.Option(help="Where to write a page of confusions and near misses.")] = None,
    json: Json = False,
) -> None:
    from tiny_dancer.routing.semantic import SemanticRoutes
    from tiny_dancer.training.routes.data import read_texts
    from tiny_dancer.training.routes.misses import find_misses, miss_tables
    from tiny_dancer.training.routes.page import evaluation_page
    from tiny_dancer.training.routes.report import confusion_table, evaluation_lines

    if html is not None:
        check_target(html)
    rows = read_texts(table, text, label, out_of_scope)
    router = SemanticRoutes.from_file(artifact)
    found = router.evaluate(rows.text, rows.label)
    lines = evaluation_lines(found, sum(each is not None for each in rows.label))
    if html is None and json:
        print_json(found)
        return
    misses = find_misses(router, rows.text, rows.label)
    if html is not None:
        write_file(html, evaluation_page(Path(artifact).name, lines, found, misses).encode())
    if json:
        print_json(found)
        return
    say(*lines)
    if found.confusions:
        console().print(confusion_table(found, most))
    for each in miss_tables(misses, most):
        console().print(each)
