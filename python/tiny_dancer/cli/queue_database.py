"""What the `queue` commands share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tiny_dancer.storage import QueuedRequest

Id = Annotated[str, typer.Argument(help="Id of the request, as `queue list` shows it.")]
By = Annotated[
    str | None,
    typer.Option("--by", help="Who does it, for others to see; else the name you are logged in by."),
]


def who(by: str | None) -> str:
    """The name given, or that of the user of this machine."""
    if by is not None:
        return by
    import getpass

    return getpass.getuser()


def described(found: QueuedRequest) -> dict[str, Any]:
    """All of a request, as JSON values."""
    import msgspec

    from tiny_dancer.gateway.access.keys import written

    def moment(seconds: float | None) -> str | None:
        return None if seconds is None else written(seconds)

    return {
        "id": found.id,
        "state": found.state(time.time()),
        "created": moment(found.time),
        "expires": moment(found.expires_at),
        "said": found.said,
        "chain": found.chain,
        "key": found.key or None,
        "hops": found.hops,
        "claimed_by": found.claimed_by,
        "claimed_until": moment(found.claimed_until),
        "answer": found.answer,
        "ended_by": found.ended_by,
        "ended": moment(found.ended_at),
        "context": msgspec.json.decode(found.context),
    }
