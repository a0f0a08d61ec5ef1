"""`tiny-dancer queue answer`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tiny_dancer.cli.keys_database import DEFAULT, Database
from tiny_dancer.cli.output import say
from tiny_dancer.cli.queue_database import By, Id, who

HELP = """Answer a request of the queue. A client that still waits gets the text as its answer; another can ask for
it by the request's id.

Example: tiny-dancer queue answer q_8e7a2a42fd8155f2 "Your parcel arrives tomorrow." --database gateway.db"""


def answer(
    id: Id,
    text: Annotated[str, typer.Argument(help="The answer; - reads it from standard input.")],
    database: Database = DEFAULT,
    by: By = None,
) -> None:
    from tiny_dancer.storage import open_storage

    said = sys.stdin.read() if text == "-" else text
    with open_storage(database, create=False, mirror=False) as storage:
        found = storage.answer_request(id, who(by), said)
    say(f"{found.id} is answered by {found.ended_by}")
