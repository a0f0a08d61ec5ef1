"""`tiny-dancer queue show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.keys_database import DEFAULT, Database
from tiny_dancer.cli.output import print_json, printable, say
from tiny_dancer.cli.queue_database import Id, described
from tiny_dancer.errors import QueueError

if TYPE_CHECKING:
    from collections.abc import Iterator

HELP = """Show a request of the queue whole: what was said, what was tried before, and what a person answered.

Example: tiny-dancer queue show q_8e7a2a42fd8155f2 --database gateway.db"""


def show(id: Id, database: Database = DEFAULT, json: Json = False) -> None:
    from tiny_dancer.storage import open_storage

    with open_storage(database, read_only=True, mirror=False) as storage:
        found = storage.queued_requests(states=None, ids=(id,))
    if not found:
        raise QueueError("id", id, "no request of this id is in the queue")
    told = described(found[0])
    if json:
        print_json(told)
        return
    say(f"{told['id']}  {told['state']}  put {told['created']}, expires {told['expires']}")
    if told["hops"]:
        say(f"before: {printable(told['hops'])}")
    say("", *_said(told["context"]))
    if told["answer"] is not None:
        say("", f"answered by {printable(told['ended_by'])}:", *map(printable, told["answer"].splitlines()))


def _said(context: Any) -> Iterator[str]:
    """A request's fields, those that are messages as who said what."""
    for name, value in context.items():
        if isinstance(value, str):
            yield f"{name}: {printable(value)}"
            continue
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, dict) or "role" not in each:
                yield f"{name}: {printable(_json(each))}"
                continue
            content = each.get("content")
            said = content if isinstance(content, str) else _json(content)
            yield from (f"{printable(str(each['role']))}: {printable(line)}" for line in said.splitlines() or [""])


def _json(value: Any) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()
