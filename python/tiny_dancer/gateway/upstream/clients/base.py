"""What every client of upstreams does."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

Headers = list[tuple[str, str]]

LARGEST_ANSWER: Final = 256 * 1024 * 1024
"""Bytes of an answer read whole; embeddings of large batches and images have tens of megabytes."""

_LARGEST_ERROR: Final = 1024 * 1024


class Phase(Enum):
    """Where a call failed."""

    CONNECT = "connect"
    """Nothing was sent: trying again cannot do anything twice."""
    TIMEOUT = "timeout"
    BROKEN = "broken"
    """The connection broke, or what came was no HTTP."""


class Late(Enum):
    """Which time ran out; the values are for the client."""

    CONNECT = "no connection to the model's server in time"
    FIRST_BYTE = "the model's server did not answer in time"
    IDLE = "the model's server stopped in the middle of its answer"
    TOTAL = "the answer of the model's server took longer than it may"


class CallError(Exception):
    """No answer, or not all of it.

    Attributes:
        phase: where it failed.
        message: for the client, without address or headers.
        came: status, headers and what there is of the body of an answer that was to be read whole; None where its
            headers have not come.
    """

    came: tuple[int, Headers, bytes] | None = None

    def __init__(self, phase: Phase, message: str | None = None) -> None:
        message = message or _MESSAGES[phase]
        super().__init__(phase, message)
        self.phase = phase
        self.message = message


_MESSAGES: Final = {
    Phase.CONNECT: "no connection to the model's server",
    Phase.TIMEOUT: Late.FIRST_BYTE.value,
    Phase.BROKEN: "the connection to the model's server broke",
}


class Target:
    """Where requests go, prepared once; made by the client that will be asked to send there."""

    __slots__ = ()


class Reply(Protocol):
    """An upstream's answer: status and headers have arrived. Close it, or read it to its end.

    Attributes:
        status: of HTTP.
        headers: pairs in the order sent, names in lower case.
    """

    status: int
    headers: Headers

    async def chunk(self) -> bytes | None:
        """What arrived next, or None at the end.

        Raises:
            CallError: nothing came in time, or the connection broke.
        """
        ...

    async def close(self, *, said_all: bool = False) -> None:
        """Lets go of the connection; one with an unread answer is closed, and the upstream sees that.

        Args:
            said_all: nothing but the end of the body is still to come: it gets a moment, in which nobody waits, so
                that the connection can be used again.
        """
        ...


class Client(Protocol):
    """The connections to one upstream. Used in one event loop."""

    def target(self, url: str, headers: Headers, method: str = "POST", *, repeatable: bool = True) -> Target:
        """Prepares requests to a URL.

        Args:
            url: of this upstream.
            headers: of every request, those of the transport apart.
            method: of HTTP. Requests by GET and DELETE have no body.
            repeatable: whether doing a request twice does nothing but cost twice. If not, none is sent a second
                time once any of it may have been read.
        """
        ...

    async def whole(
        self, target: Target, extra: Sequence[tuple[str, str]], body: bytes
    ) -> tuple[int, Headers, bytes]:
        """Asks, and gives status, headers and the whole body. Cancelled, it ends the connection.

        Args:
            target: of this client.
            extra: headers of this request.
            body: to send.

        Raises:
            CallError: no answer.
        """
        ...

    async def stream(self, target: Target, extra: Sequence[tuple[str, str]], body: bytes) -> Reply:
        """Asks, and gives the answer as soon as its headers are there.

        Raises:
            CallError: no answer.
        """
        ...

    async def close(self) -> None:
        """Closes every connection."""
        ...


async def read_error(reply: Reply) -> bytes:
    """The body of an error, as far as it is worth reading; empty where it breaks off."""
    parts: list[bytes] = []
    size = 0
    try:
        while size < _LARGEST_ERROR and (part := await reply.chunk()) is not None:
            parts.append(part)
            size += len(part)
    except CallError:
        pass
    return b"".join(parts)
