"""`tiny-dancer routes match`."""

from __future__ import annotations

from typing import Annotated

import typer

from tiny_dancer.cli.arguments import FalseAlarms, Json, RoutesArtifact
from tiny_dancer.cli.output import print_json, printable, say

HELP = """Say where one text belongs, and why.

The clock is not read: routes that depend on the time need --now.

Example: tiny-dancer routes match intents.safetensors "what is my balance" """


def match(
    artifact: RoutesArtifact,
    text: Annotated[str, typer.Argument(help="What was said.")],
    limit: Annotated[int, typer.Option(help="Routes to list.")] = 3,
    false_alarms: FalseAlarms = None,
    now: Annotated[float | None, typer.Option(help="Seconds since 1970.")] = None,
    tier: Annotated[str | None, typer.Option(help="The user's.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Of the user's; repeatable.")] = None,
    language: Annotated[str | None, typer.Option(help="The text's.")] = None,
    json: Json = False,
) -> None:
    from tiny_dancer.routing.semantic import SemanticRoutes, User

    found = SemanticRoutes.from_file(artifact)(
        text,
        limit=limit,
        false_alarms=false_alarms,
        now=now,
        user=User(tier=tier, tags=tuple(tag or ())),
        language=language,
    )
    if json:
        print_json(found)
        return
    sure = "" if found.calibrated else ", not calibrated"
    scope = "" if found.in_scope_score is None else f", in-scope score {found.in_scope_score:.3f}"
    lines = [f"{found.name or 'none'} ({found.reason}): confidence {found.confidence:.3f}{sure}{scope}"]
    if found.read_as is not None:
        lines.append(f"  read as: {found.read_as}")
    lines += [f"  {probability:.3f} {name}" for name, probability in found.top]
    say(*map(printable, lines))
