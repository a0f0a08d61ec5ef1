"""`tiny-dancer mcp`."""

from __future__ import annotations

from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Map, mapped
from tiny_dancer.errors import OptionError

HELP = """Serve memory to clients of the Model Context Protocol, over standard input and output.

Tools: remember, recall, forget, and route, which says which model a request is worth. Clients see and change only
what is in the namespace.

Example: tiny-dancer mcp --database memories.db --namespace users --namespace anna"""


def serve(
    database: Annotated[
        str,
        typer.Option(
            help="Database of the memories: a file, made where there is none, or postgresql://user@host/name."
        ),
    ],
    namespace: Annotated[
        list[str] | None, typer.Option(help="Whose memories; repeatable, from the widest to the narrowest.")
    ] = None,
    artifact: Annotated[
        str, typer.Option(help="Of route: path of an artifact, or `default` or `edge`.")
    ] = "default",
    map: Map = None,
) -> None:
    import signal

    from tiny_dancer.integrations.mcp import memory_server
    from tiny_dancer.routing import Router
    from tiny_dancer.storage import open_storage

    router = Router.load(artifact, models=mapped(map) or None)
    if any(not label for label in namespace or ()):
        raise OptionError("namespace", "empty", "give a name")
    with open_storage(database) as storage:
        # Python would wait for the thread that reads standard input. What was remembered is durable.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        memory_server(storage, tuple(namespace or ()), router=router).run()
