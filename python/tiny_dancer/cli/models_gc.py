"""`tiny-dancer models gc`."""

from __future__ import annotations

from typing import Annotated

import typer

from tiny_dancer.cli.models_registry import Folder, Name, registry
from tiny_dancer.cli.output import say

HELP = """Remove retired versions and all but the newest others. The serving one and the last-known-good one stay.

Example: tiny-dancer models gc registry support --keep 3"""


def collect(
    folder: Folder,
    name: Name,
    keep: Annotated[int, typer.Option(help="Versions to keep beside the serving and the last-known-good one.")],
) -> None:
    removed = registry(folder).collect_garbage(name, keep=keep)
    freed = sum(each.size for each in removed)
    say(f"{name}: {len(removed)} versions removed, {freed:,} bytes")
    say(*(f"  {each.version} ({each.state})" for each in removed))
