"""`tiny-dancer db restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.db_database import Database, counted
from tiny_dancer.cli.output import say

HELP = """Replace all of a database by a backup; it may be in use, missing or damaged.

A backup that is no good changes nothing. A damaged database is kept beside the new one, ending in .damaged. Killed
at any moment, it leaves the old or the new one.

Example: tiny-dancer db restore agent.db backup.db"""


def restore(database: Database, backup: Annotated[Path, typer.Argument(help="Backup to read.")]) -> None:
    from tiny_dancer.storage.opening import is_url, open_storage, without_password

    if is_url(database):
        with open_storage(database, mirror=False) as storage:
            counts = storage.restore(backup)
    else:
        from tiny_dancer.storage.sqlite import restore_file

        counts = restore_file(database, backup)
    say(f"{without_password(database)}: {counted(counts)}")
