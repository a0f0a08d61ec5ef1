"""`tiny-dancer queue cancel`."""

from __future__ import annotations

from tiny_dancer.cli.keys_database import DEFAULT, Database
from tiny_dancer.cli.output import say
from tiny_dancer.cli.queue_database import By, Id, who

HELP = """Take a request out of the queue unanswered, whoever has claimed it. A client that still waits is served
by the chain's next step.

Example: tiny-dancer queue cancel q_8e7a2a42fd8155f2 --database gateway.db"""


def cancel(id: Id, database: Database = DEFAULT, by: By = None) -> None:
    from tiny_dancer.storage import open_storage

    with open_storage(database, create=False, mirror=False) as storage:
        found = storage.cancel_request(id, who(by))
    say(f"{found.id} is cancelled by {found.ended_by}")
