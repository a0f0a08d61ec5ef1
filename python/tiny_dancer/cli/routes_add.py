"""`tiny-dancer routes add`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import RoutesArtifact
from tiny_dancer.cli.output import check_target, say, warn, write_file

HELP = """Add a route to an artifact by what users say when they mean it.

What was fitted did not know the route, so the new artifact compares with examples and is not calibrated: fit again
on a table that has the route to have that back.

Example: tiny-dancer routes add a.safetensors weather --utterance "will it rain" --out b.safetensors"""


def add(
    artifact: RoutesArtifact,
    name: Annotated[str, typer.Argument(help="Of the route.")],
    utterance: Annotated[list[str], typer.Option(help="What users say; repeatable, three are a beginning.")],
    out: Annotated[Path, typer.Option(help="Where to write the new artifact.")],
    target: Annotated[str | None, typer.Option(help="Where the route leads.")] = None,
    priority: Annotated[int, typer.Option(help="Of two routes that overlap, the higher one is chosen.")] = 0,
) -> None:
    from tiny_dancer.routing.semantic import Route, SemanticRoutes

    check_target(out)
    router = SemanticRoutes.from_file(artifact)
    was = router.calibrated
    router.add(Route(name, tuple(utterance), target=target, priority=priority))
    write_file(out, router.artifact)
    if was:
        warn("note: the calibration does not hold with the new route; fit again to have one")
    say(f"{out}: {len(router.routes):,} routes, not calibrated")
