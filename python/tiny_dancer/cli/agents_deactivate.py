"""`tiny-dancer agents deactivate`."""

from __future__ import annotations

from typing import Annotated

import typer

from tiny_dancer.cli.agents_database import DEFAULT, Database, registry
from tiny_dancer.cli.output import say

HELP = """Leave an agent out of choices, and keep what is known of it; --activate lets it be chosen again.

Example: tiny-dancer agents deactivate writer --database agents.db"""


def deactivate(
    name: Annotated[str, typer.Argument(help="The agent.")],
    activate: Annotated[bool, typer.Option("--activate", help="Let it be chosen again.")] = False,
    database: Database = DEFAULT,
) -> None:
    from tiny_dancer.storage.opening import without_password

    with registry(database) as agents:
        if activate:
            agents.activate(name)
        else:
            agents.deactivate(name)
    say(f"{without_password(database)}: {name} is {'active' if activate else 'not active'}")
