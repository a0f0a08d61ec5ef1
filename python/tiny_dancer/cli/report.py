"""`tiny-dancer report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Map, Models, Scale, Seed, Tables, listed, mapped, scaled
from tiny_dancer.cli.output import check_target, console, progress, say, write_file
from tiny_dancer.extras import require

HELP = """Should you route at all? Answer in words and figures, in the terminal and as one HTML file.

Without --artifact a router is trained on the tables and judged on the rows each of its parts did not see.

Example: tiny-dancer report outcomes.parquet --out report.html"""


def report(
    tables: Tables,
    out: Annotated[Path, typer.Option(help="HTML file to write.")],
    artifact: Annotated[str | None, typer.Option(help="Path of an artifact, or `default` or `edge`.")] = None,
    map_: Map = None,
    models: Models = None,
    scale: Scale = None,
    seed: Seed = 0,
) -> None:
    require("sklearn", "pyarrow", "matplotlib")
    from tiny_dancer.evaluation.html import html_report
    from tiny_dancer.evaluation.report import terminal_report
    from tiny_dancer.training.api import evaluate, fit, read_outcomes
    from tiny_dancer.training.fit import steps
    from tiny_dancer.training.judge import judge

    check_target(out)
    if artifact is not None:
        evaluation = evaluate(artifact, tables, seed=seed, models=mapped(map_), scale=scaled(scale))
    else:
        outcomes = read_outcomes(tables, models=listed(models), scale=scaled(scale))
        with progress(steps()) as step:
            fitted = fit(outcomes, seed=seed, progress=step)
        names = ", ".join(table.name for table in tables)
        evaluation = judge(fitted, seed=seed, title=f"a router trained on {names}, out of fold")
    write_file(out, html_report(evaluation).encode())
    console().print(terminal_report(evaluation))
    say(f"{out}: written")
