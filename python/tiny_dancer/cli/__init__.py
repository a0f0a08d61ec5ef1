"""The command `tiny-dancer`: one file a command."""

from tiny_dancer.cli.application import main

__all__ = ["main"]
