"""What the `models` commands share: the arguments, the registry, the table of versions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.output import console
from tiny_dancer.evaluation.terminal import FittedTable
from tiny_dancer.registry import Registry, Version
from tiny_dancer.routing.loading import load_any

Folder = Annotated[Path, typer.Argument(help="Folder of the registry.")]
Name = Annotated[str, typer.Argument(help="Name whose versions are meant.")]
VersionNumber = Annotated[str, typer.Argument(help="MAJOR.MINOR.PATCH, such as 1.2.3.")]


def registry(folder: Path) -> Registry:
    """The registry in a folder, for artifacts of every kind."""
    return Registry(folder, load=load_any)


def show(versions: dict[str, tuple[Version, ...]], good: dict[str, Version | None]) -> None:
    """Prints a table of versions, name by name."""
    rows = []
    for name, found in versions.items():
        for each in found:
            state = "last known good" if each == good[name] else each.state
            rows.append((name, each.version, state, each.kind, f"{each.size:,}", each.added, each.sha256[:12]))
    header = ("name", "version", "state", "kind", "bytes", "added", "sha256")
    console().print(FittedTable(header, rows, words=frozenset({0, 2, 3, 5})))
