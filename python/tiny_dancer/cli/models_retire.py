"""`tiny-dancer models retire`."""

from __future__ import annotations

from tiny_dancer.cli.models_registry import Folder, Name, VersionNumber, registry
from tiny_dancer.cli.output import say

HELP = """Take a version out of use: it can no longer be promoted nor rolled back to, and `models gc` removes it.

Example: tiny-dancer models retire registry support 1.2.3"""


def retire(folder: Folder, name: Name, version: VersionNumber) -> None:
    say(f"{name} {registry(folder).retire(name, version).version} retired")
