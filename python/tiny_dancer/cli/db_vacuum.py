"""`tiny-dancer db vacuum`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.db_database import Database, counted
from tiny_dancer.cli.output import say

HELP = """Give back the space of what was removed, after removing old history where asked; then verify.

Candidates and API keys are never removed, nor the sums that budgets are measured by.

Example: tiny-dancer db vacuum agent.db --max-age-days 90"""

Age = Annotated[
    float | None, typer.Option(help="Remove decisions, outcomes, feedback and requests older than so many days.")
]
Rows = Annotated[
    int | None, typer.Option(help="Keep so many of the newest decisions, outcomes, feedback and requests each.")
]


def vacuum(database: Database, max_age_days: Age = None, max_rows: Rows = None) -> None:
    from tiny_dancer.storage import open_storage
    from tiny_dancer.storage.opening import is_url, without_password

    with open_storage(database, create=False) as storage:
        if max_age_days is not None or max_rows is not None:
            age = None if max_age_days is None else 86_400 * max_age_days
            removed = storage.apply_retention(max_age_s=age, max_rows=max_rows)
            histories = (
                f"{removed.routing:,} decisions, {removed.outcomes:,} outcomes, {removed.feedback:,} feedback"
            )
            say(f"removed {histories}, {removed.requests:,} requests")
        path = None if is_url(database) else Path(database)
        before = 0 if path is None else path.stat().st_size
        storage.vacuum()
        say(f"{without_password(database)}: {counted(storage.verify())}")
    if path is None:
        return
    journal = path.with_name(f"{path.name}-wal")
    left = journal.stat().st_size if journal.exists() else 0
    rest = f"; {left:,} in {journal.name}, which others are using" if left else ""
    say(f"{before:,} bytes before, {path.stat().st_size:,} now{rest}")
