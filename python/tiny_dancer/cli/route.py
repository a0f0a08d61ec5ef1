"""`tiny-dancer route`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, cast

import typer

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.output import print_json, say
from tiny_dancer.errors import RequestError
from tiny_dancer.routing import Router

if TYPE_CHECKING:
    from tiny_dancer.routing.arguments import PolicyName

HELP = """Decide which model answers TEXT (`-` reads standard input).

Example: tiny-dancer route "Prove that the square root of 2 is irrational." --json"""


def route(
    text: Annotated[str, typer.Argument(help="The request, or `-` for standard input.")],
    artifact: Annotated[str, typer.Option(help="Path of an artifact, or `default` or `edge`.")] = "default",
    max_cost: Annotated[float | None, typer.Option(help="Most USD the answer may cost.")] = None,
    min_quality: Annotated[float | None, typer.Option(help="Least quality to expect, in [0, 1].")] = None,
    pin: Annotated[str | None, typer.Option(help="Use this model.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Do not use this model; repeatable.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Least gain worth the dearer of two models.")] = None,
    policy: Annotated[
        str | None, typer.Option(help="One of the artifact's policies: quality, balanced or cheapest.")
    ] = None,
    json: Json = False,
) -> None:
    if text == "-":
        try:
            text = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError as error:
            raise RequestError("standard input", f"byte {error.start} is no UTF-8", "give UTF-8 text") from error
    router = Router.load(artifact)
    decision = router.route(
        text,
        max_cost=max_cost,
        min_quality=min_quality,
        pin=pin,
        exclude=tuple(exclude or ()),
        threshold=threshold,
        policy=cast("PolicyName | None", policy),
    )
    if json:
        print_json(decision)
        return
    say(f"{decision.model}  ({decision.reason}, {decision.routed_by})")
    for name, quality in decision.scores.items():
        cost = None if decision.costs is None else decision.costs[name]
        price = "" if cost is None else f", {cost:z.6f} USD"
        say(f"  {name}: expected quality {quality:z.3f}{price}")
    may_be_best = ", ".join(decision.prediction_set)
    say(f"  confidence {decision.confidence:.2f}; may be best: {may_be_best}")
    if decision.likeness is not None:
        level = router.header["likeness"]["level"]
        unlike = " (unlike)" if decision.likeness <= level else ""
        say(f"  likeness {decision.likeness:.3f}, level {level:g}{unlike}")
    found = decision.guarantee
    standing = (
        f"none: {decision.guarantee_note}"
        if found is None
        else f"{found.words()} with confidence {1 - found.delta:.0%} ({found.rows:,} rows)"
    )
    say(f"  guarantee {standing}")
    say(f"  {decision.elapsed_us:.0f} µs, artifact {decision.artifact_version}")
