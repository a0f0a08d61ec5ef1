"""`tiny-dancer routes list`."""

from __future__ import annotations

import json as _json

from tiny_dancer.cli.arguments import Json, RoutesArtifact
from tiny_dancer.cli.output import console, print_json, say

HELP = """List the routes of an artifact: where each leads, its priority, threshold and conditions.

Example: tiny-dancer routes list intents.safetensors"""


def list_routes(artifact: RoutesArtifact, json: Json = False) -> None:
    from rich.table import Table

    from tiny_dancer.evaluation.terminal import cell
    from tiny_dancer.routing.semantic import SemanticRoutes

    router = SemanticRoutes.from_file(artifact)
    if json:
        print_json([route.spec() for route in router.routes])
        return
    table = Table()
    for name in ("route", "target", "priority", "threshold", "conditions"):
        table.add_column(name)
    for route in router.routes:
        shown = [route.target, route.priority, route.threshold, route.conditions]
        plain = ["" if each is None else each if isinstance(each, str) else _json.dumps(each) for each in shown]
        table.add_row(*map(cell, (route.name, *plain)))
    console().print(table)
    fitted = "calibrated on rows left out" if router.calibrated else "not calibrated"
    say(f"{len(router.routes):,} routes by {router.header['model']['kind']}, {fitted}")
