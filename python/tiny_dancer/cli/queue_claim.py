"""`tiny-dancer queue claim`."""

from __future__ import annotations

from typing import Annotated

import typer

from tiny_dancer.cli.keys_database import DEFAULT, Database
from tiny_dancer.cli.output import say
from tiny_dancer.cli.queue_database import By, Id, who

HELP = """Claim a request of the queue: for a while nobody else can claim or answer it.

Example: tiny-dancer queue claim q_8e7a2a42fd8155f2 --seconds 600 --database gateway.db"""


def claim(
    id: Id,
    database: Database = DEFAULT,
    by: By = None,
    seconds: Annotated[float, typer.Option(help="How long the claim lasts.")] = 900.0,
) -> None:
    from tiny_dancer.gateway.access.keys import written
    from tiny_dancer.storage import open_storage

    with open_storage(database, create=False, mirror=False) as storage:
        found = storage.claim_request(id, who(by), seconds=seconds)
    assert found.claimed_until is not None
    say(f"{found.id} is claimed by {found.claimed_by} until {written(found.claimed_until)}")
