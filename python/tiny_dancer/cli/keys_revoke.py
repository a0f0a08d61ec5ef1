"""`tiny-dancer keys revoke`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tiny_dancer.cli.keys_database import DEFAULT, Database
from tiny_dancer.cli.output import say
from tiny_dancer.errors import AccessError

HELP = """End an API key for good. A gateway that is running refuses it within seconds; what it spent stays on
record.

Example: tiny-dancer keys revoke ada --database gateway.db"""


def revoke(
    key: Annotated[str, typer.Argument(help="Id of the key, or its name where only one has it.")],
    database: Database = DEFAULT,
) -> None:
    from tiny_dancer.gateway.access.keys import find_key, written
    from tiny_dancer.storage import open_storage

    with open_storage(database, create=False, mirror=False) as storage:
        found = find_key(storage.api_keys(), key)
        if found.revoked_at is not None:
            raise AccessError("key", key, f"it was revoked at {written(found.revoked_at)}: nothing is left to do")
        storage.revoke_api_key(found.id, time.time())
    say(f"{found.id} ({found.name}) revoked")
