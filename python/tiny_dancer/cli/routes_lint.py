"""`tiny-dancer routes lint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Json, LabelledTable, LabelOf, TextOf
from tiny_dancer.cli.output import check_target, console, print_json, printable, say, write_file

HELP = """Find what is wrong with routes: texts nearer to another route, routes that overlap, holes, dead
thresholds.

TABLE holds the routes' utterances, each compared with all others. With an artifact and a log (a table of real
requests), also: routes and thresholds that never fire on it, and requests that no route is for.

Example: tiny-dancer routes lint utterances.csv --artifact intents.safetensors --log requests.jsonl"""


def lint(
    table: LabelledTable,
    text: TextOf = "text",
    label: LabelOf = "intent",
    artifact: Annotated[Path | None, typer.Option(help="Artifact to try on the log.")] = None,
    log: Annotated[Path | None, typer.Option(help="Table of requests, its texts in the same column.")] = None,
    most: Annotated[int, typer.Option(help="Findings to print of each kind.")] = 10,
    html: Annotated[Path | None, typer.Option(help="Where to write all findings as a page.")] = None,
    json: Json = False,
) -> None:
    from tiny_dancer.errors import OptionError
    from tiny_dancer.routing.semantic import SemanticRoutes
    from tiny_dancer.training.routes.data import read_texts
    from tiny_dancer.training.routes.lint import lint_routes, lint_tables
    from tiny_dancer.training.routes.page import lint_page

    if html is not None:
        check_target(html)
    if (artifact is None) != (log is None):
        missing = "artifact" if artifact is None else "log"
        raise OptionError(missing, "absent", "give --artifact and --log together")
    rows = read_texts(table, text, label)
    requests = () if log is None else read_texts(log, text).text
    router = None if artifact is None else SemanticRoutes.from_file(artifact)
    found = lint_routes(rows.text, rows.label, router, requests)
    if html is not None:
        write_file(html, lint_page(Path(table).name, found).encode())
    if json:
        print_json(found)
        return
    for each in lint_tables(found, most):
        console().print(each)
    say(*map(printable, found.summary()))
