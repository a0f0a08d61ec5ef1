"""`tiny-dancer gateway init`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.output import check_target, say
from tiny_dancer.errors import OptionError

HELP = """Write a gateway.yaml to start from: every key, with comments. Overwrites nothing.

Example: tiny-dancer gateway init --out gateway.yaml"""


def init(out: Annotated[Path, typer.Option(help="Where to write it.")] = Path("gateway.yaml")) -> None:
    check_target(out)
    template = files("tiny_dancer.gateway.configuration").joinpath("gateway.yaml").read_bytes()
    try:
        with out.open("xb") as file:
            file.write(template)
    except FileExistsError as error:
        raise OptionError("out", f"{out} exists", "give another path, or move that file away") from error
    say(
        f"{out} written: OPENAI_API_KEY in the environment is all it needs. Edit it, then",
        f"  tiny-dancer gateway check --config {out}",
        f"  tiny-dancer gateway --config {out}",
    )
