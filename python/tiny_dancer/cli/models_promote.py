"""`tiny-dancer models promote`."""

from __future__ import annotations

from tiny_dancer.cli.models_registry import Folder, Name, VersionNumber, registry
from tiny_dancer.cli.output import say

HELP = """Make a version serve.

Refused where its file is missing, altered, does not load, or is of another kind than what serves (a classifier
over a router); what served goes on serving then. Routers that watch the registry follow within a second.

Example: tiny-dancer models promote registry support 1.2.3"""


def promote(folder: Folder, name: Name, version: VersionNumber) -> None:
    say(f"{name} {registry(folder).promote(name, version).version} serves")
