"""`tiny-dancer models remove`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Artifact
from tiny_dancer.cli.output import check_target, say, write_file
from tiny_dancer.routing import read_artifact

HELP = """Take a model out of an artifact, as when it is retired. Its certificate ends.

A caller may as well exclude it from a decision: `route --exclude NAME`.

Example: tiny-dancer models remove router.safetensors old-model --out router-2.safetensors"""


def remove(
    artifact: Artifact,
    name: Annotated[str, typer.Argument(help="Of the model.")],
    out: Annotated[Path, typer.Option(help="Where to write the artifact.")],
) -> None:
    from tiny_dancer.training.change import remove_model

    check_target(out)
    write_file(out, remove_model(read_artifact(artifact), name))
    say(f"{out}: {name} removed")
