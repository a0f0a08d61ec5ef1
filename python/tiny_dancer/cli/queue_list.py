"""`tiny-dancer queue list`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.keys_database import DEFAULT, Database
from tiny_dancer.cli.output import console, print_json, printable, say
from tiny_dancer.cli.queue_database import described
from tiny_dancer.evaluation.terminal import FittedTable

if TYPE_CHECKING:
    from tiny_dancer.storage import QueuedRequest

HELP = """List the requests that wait for a person, the oldest first: what the user said last, who has claimed
them, and how long they can still be answered.

Example: tiny-dancer queue list --database gateway.db --state waiting"""
_SAID = 60


def list_requests(
    database: Database = DEFAULT,
    state: Annotated[
        list[str] | None,
        typer.Option(help="waiting, claimed, answered, expired or cancelled; repeatable. Absent: the first two."),
    ] = None,
    limit: Annotated[int, typer.Option(help="Most to list.")] = 50,
    after: Annotated[str | None, typer.Option(help="Id of the last one of the page before.")] = None,
    json: Json = False,
) -> None:
    from tiny_dancer.storage import open_storage
    from tiny_dancer.storage.opening import without_password
    from tiny_dancer.storage.queue import OPEN

    states: Any = state or OPEN
    with open_storage(database, read_only=True, mirror=False) as storage:
        found = storage.queued_requests(states=states, after=after, limit=limit)
    if json:
        print_json([described(each) for each in found])
    elif found:
        _show(found)
    else:
        say(f"{without_password(database)}: nothing in the queue")


def _show(found: tuple[QueuedRequest, ...]) -> None:
    now = time.time()
    cells = [
        (
            each.id,
            each.state(now) + (f" by {each.claimed_by}" if each.state(now) == "claimed" else ""),
            _span(now - each.time),
            _span(each.expires_at - now) if each.expires_at > now else "",
            each.chain,
            printable(each.said if len(each.said) <= _SAID else f"{each.said[: _SAID - 1]}…"),
        )
        for each in found
    ]
    console().print(
        FittedTable(("id", "state", "age", "left", "chain", "said"), cells, words=frozenset({1, 4, 5}))
    )


def _span(seconds: float) -> str:
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
