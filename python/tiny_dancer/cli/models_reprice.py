"""`tiny-dancer models reprice`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Artifact, priced
from tiny_dancer.cli.output import check_target, say, warn, write_file
from tiny_dancer.routing import Router, read_artifact

HELP = """Change what an artifact's models cost: NAME=USD a request, or NAME=INPUT/OUTPUT/LENGTH.

A certificate ends where it bounds costs or its policy weighs them. Router.load(models={name: ModelInfo(…)})
does so for one router only.

Example: tiny-dancer models reprice router.safetensors big=2/8/300 --out router-2.safetensors"""


def reprice(
    artifact: Artifact,
    prices: Annotated[list[str], typer.Argument(help="NAME=USD, or NAME=INPUT/OUTPUT/LENGTH as for train.")],
    out: Annotated[Path, typer.Option(help="Where to write the artifact.")],
) -> None:
    from tiny_dancer.training.change import reprice as change

    check_target(out)
    given = priced(prices)
    content = change(read_artifact(artifact), given)
    write_file(out, content)
    say(f"{out}: {', '.join(given)} repriced")
    if (turned := Router(content).costs_turned) is not None:
        warn(turned)
