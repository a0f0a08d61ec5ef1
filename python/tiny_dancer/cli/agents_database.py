"""What the `agents` commands share."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiny_dancer.routing.agents import AgentRegistry

Database = Annotated[
    str,
    typer.Option("--database", help="The database of the agents: a file, or postgresql://user@host/name."),
]
DEFAULT = "agents.db"
Capabilities = Annotated[
    list[str] | None, typer.Option("--capability", help="What the agent must be able to do; repeatable.")
]


@contextmanager
def registry(database: str, *, create: bool = False, read_only: bool = False) -> Iterator[AgentRegistry]:
    """The agents of a database."""
    from tiny_dancer.routing.agents import AgentRegistry
    from tiny_dancer.storage import open_storage

    with open_storage(database, create=create, read_only=read_only, mirror=False) as storage:
        yield AgentRegistry(storage=storage)


def dollars(value: float | None) -> str:
    """USD, or nothing where nobody knows."""
    return "" if value is None else f"{value:.6g}"


def milliseconds(value: float | None) -> str:
    """Milliseconds, or nothing where nobody knows."""
    return "" if value is None else f"{value:,.0f}"
