"""`tiny-dancer models rollback`."""

from __future__ import annotations

from tiny_dancer.cli.models_registry import Folder, Name, registry
from tiny_dancer.cli.output import say

HELP = """Make the last-known-good version serve again: the last one that served before and still loads.

Example: tiny-dancer models rollback registry support"""


def rollback(folder: Folder, name: Name) -> None:
    say(f"{name} {registry(folder).rollback(name).version} serves again")
