"""`tiny-dancer db backup`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.db_database import Database, counted
from tiny_dancer.cli.output import say

HELP = """Copy a database to one file, verified, while agents go on using it.

An earlier backup there is replaced, also while others read it. Any other file is refused, and so is a database in
use or a backup that somebody has written to: give a new name.

Example: tiny-dancer db backup agent.db backup.db"""


def backup(database: Database, out: Annotated[Path, typer.Argument(help="File to write.")]) -> None:
    from tiny_dancer.storage import open_storage

    with open_storage(database, create=False) as storage:
        counts = storage.backup(out)
    say(f"{out}: {counted(counts)}")
