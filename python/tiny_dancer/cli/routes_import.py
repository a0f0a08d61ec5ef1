"""`tiny-dancer routes import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.output import check_target, say, warn, write_file

HELP = """Read routes of another router, and write an artifact.

Reads semantic-router's YAML and JSON, and the `decisions` of vLLM's semantic router with their signals. Nothing is
calibrated: thresholds there are in units of an encoder. Fit the routes on labelled texts to have that.

Example: tiny-dancer routes import layer.yaml --out routes.safetensors"""


def import_routes(
    file: Annotated[Path, typer.Argument(help="YAML or JSON of routes or decisions.")],
    out: Annotated[Path, typer.Option(help="Where to write the artifact.")],
) -> None:
    from tiny_dancer.routing.route_files import read_routes
    from tiny_dancer.routing.semantic import SemanticRoutes

    check_target(out)
    found = read_routes(file)
    router = SemanticRoutes(found.routes)
    write_file(out, router.artifact)
    for note in found.notes:
        warn(f"note: {note}")
    examples = sum(len(route.utterances) for route in found.routes)
    say(f"{out}: {len(found.routes):,} routes of {examples:,} utterances, not calibrated")
