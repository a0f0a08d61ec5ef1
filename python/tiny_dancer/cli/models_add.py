"""`tiny-dancer models add`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.models_registry import Folder, Name, registry
from tiny_dancer.cli.output import say

HELP = """Store an artifact in a registry as a new version, once it has loaded and its self-checks have held.

It does not serve until it is promoted.

Example: tiny-dancer models add registry support router.safetensors --bump minor"""


def add(
    folder: Folder,
    name: Name,
    artifact: Annotated[Path, typer.Argument(help="Path of an artifact.")],
    version: Annotated[str | None, typer.Option(help="MAJOR.MINOR.PATCH; absent, the highest is bumped.")] = None,
    bump: Annotated[str, typer.Option(help="major, minor or patch.")] = "patch",
    note: Annotated[str | None, typer.Option(help="A remark to keep with the version.")] = None,
) -> None:
    notes = {} if note is None else {"note": note}
    added = registry(folder).add(name, artifact, version=version, bump=bump, notes=notes)
    say(f"{name} {added.version} added ({added.kind}, {added.size:,} bytes, sha256 {added.sha256[:12]}…)")
