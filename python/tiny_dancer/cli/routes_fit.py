"""`tiny-dancer routes fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Json, LabelledTable, LabelOf, OutOfScope, Seed, TextOf
from tiny_dancer.cli.output import check_target, print_json, progress, say, write_file

HELP = """Fit routes on a table of texts and their intents, and write the artifact.

What is fitted (a head over n-grams and embedding, likeness to examples, or both) is chosen on rows left out, and
so are the confidence, the prediction sets and the score that says whether a text belongs to any route. Rows
labelled `oos`, or not at all, belong to none; without such rows the routes themselves stand in for what is
unknown.

Example: tiny-dancer routes fit intents.parquet --text text --label intent --out intents.safetensors"""


def fit(
    table: LabelledTable,
    out: Annotated[Path, typer.Option(help="Where to write the artifact.")],
    text: TextOf = "text",
    label: LabelOf = "intent",
    out_of_scope: OutOfScope = "oos",
    precision: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Give every route the least confidence at which this share of its texts is right."
        ),
    ] = None,
    seed: Seed = 0,
    created: Annotated[str, typer.Option(help="Date to record; the tool reads no clock.")] = "",
    json: Json = False,
) -> None:
    from tiny_dancer.training.routes.data import read_texts
    from tiny_dancer.training.routes.fit import STEPS, fit_routes
    from tiny_dancer.training.routes.report import report_lines

    check_target(out)
    rows = read_texts(table, text, label, out_of_scope)
    with progress(STEPS) as step:
        found = fit_routes(
            rows.text,
            rows.label,
            precision=precision,
            seed=seed,
            created=created,
            digest=rows.digest(),
            progress=step,
        )
    write_file(out, found.artifact)
    if json:
        print_json(found.report)
        return
    say(*report_lines(found.report), f"{out}: {len(found.artifact):,} bytes")
