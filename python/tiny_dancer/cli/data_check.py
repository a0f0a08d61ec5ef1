"""`tiny-dancer data check`."""

from __future__ import annotations

import typer

from tiny_dancer.cli.arguments import Json, Models, Tables, listed
from tiny_dancer.cli.output import console, print_json

HELP = """Look for what spoils training: duplicates, leaks, extraction failures, constants, gaps, label noise.

Exits with 1 where something makes training meaningless.

Example: tiny-dancer data check outcomes.parquet"""


def check(tables: Tables, models: Models = None, json: Json = False) -> None:
    from tiny_dancer.training.api import read_outcomes
    from tiny_dancer.training.data import check_outcomes

    found = check_outcomes(read_outcomes([str(table) for table in tables], models=listed(models)))
    if json:
        print_json(found)
    else:
        out = console()
        out.print(f"{found.rows:,} rows in {found.groups:,} groups, {len(found.tasks):,} tasks", highlight=False)
        for model in found.models:
            cost = "" if model.mean_cost != model.mean_cost else f", mean cost {model.mean_cost:.6f} USD"
            line = f"  {model.name}: {model.observed:,} observed, mean quality {model.mean_quality:.3f}{cost}"
            out.print(line, highlight=False, markup=False)
        colours = {"error": "red", "warning": "yellow", "note": "blue"}
        for finding in found.findings:
            colour = colours[finding.severity]
            out.print(f"[{colour}]{finding.severity}[/{colour}] ", end="")
            out.print(f"{finding.kind}, {finding.field}: {finding.message}", highlight=False, markup=False)
            out.print(f"    remedy: {finding.remedy}", highlight=False, markup=False)
            if finding.rows:
                out.print(f"    rows: {', '.join(finding.rows)}", highlight=False, markup=False)
        if not found.findings:
            out.print("nothing found")
    if any(finding.severity == "error" for finding in found.findings):
        raise typer.Exit(1)
