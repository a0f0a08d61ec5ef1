"""`tiny-dancer data check`."""

from __future__ import annotations

import typer

from tiny_dancer.cli.arguments import Json, Models, Scale, Tables, listed, scaled
from tiny_dancer.cli.output import print_json, say

HELP = """Look for what spoils training: duplicates, leaks, extraction failures, constants, gaps, label noise.

Exits with 1 where something makes training meaningless.

Example: tiny-dancer data check outcomes.parquet"""


def check(tables: Tables, models: Models = None, scale: Scale = None, json: Json = False) -> None:
    from tiny_dancer.training.api import read_outcomes
    from tiny_dancer.training.data import check_outcomes

    outcomes = read_outcomes([str(table) for table in tables], models=listed(models), scale=scaled(scale))
    found = check_outcomes(outcomes)
    if json:
        print_json(found)
    else:
        say(f"{found.rows:,} rows in {found.groups:,} groups, {len(found.tasks):,} tasks")
        say(f"models: {', '.join(model.name for model in found.models)}")
        for model in found.models:
            cost = "" if model.mean_cost != model.mean_cost else f", mean cost {model.mean_cost:z.6f} USD"
            line = f"  {model.name}: {model.observed:,} observed, mean quality {model.mean_quality:z.3f}{cost}"
            say(line)
        for finding in found.findings:
            say(f"{finding.severity}: {finding.kind}, {finding.field}: {finding.message}")
            say(f"    remedy: {finding.remedy}")
            if finding.rows:
                say(f"    rows: {', '.join(finding.rows)}")
        if not found.findings:
            say("nothing found")
    if any(finding.severity == "error" for finding in found.findings):
        raise typer.Exit(1)
