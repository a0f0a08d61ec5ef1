"""What a kind of upstream has to say for itself: one file per kind, one dialect per endpoint it serves.

The proxy is the same for all: it asks the kind for URL and headers, the dialect for the body, sends, and has the
dialect read the answer. Nothing here does I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import msgspec
from msgspec import Struct

from tiny_dancer.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiny_dancer.gateway.configuration import settings as config

Endpoint = Literal["chat.completions", "completions", "responses", "embeddings", "messages"]


class Call(Struct):
    """What an upstream is asked.

    Attributes:
        endpoint: which of the gateway's.
        fields: top-level fields to send on, as the client's bytes; without those only the gateway reads.
        stream: whether the answer is to be streamed.
    """

    endpoint: Endpoint
    fields: dict[str, msgspec.Raw]
    stream: bool

    @property
    def leaves_filters(self) -> bool | None:
        """Whether another model may be asked where a content filter has refused; None: as configured."""
        return None

    def as_sent(self, *, searches: bool) -> dict[str, msgspec.Raw]:
        """The fields for an upstream. ``searches``: it answers tool searches itself, in the client's protocol."""
        del searches
        return self.fields


class Usage(Struct, frozen=True, gc=False):
    """Tokens an answer was billed for. A count of 0 may be one nobody has said.

    Attributes:
        input_tokens: of the prompt, those cached, written and of audio included.
        output_tokens: of the answer, reasoning and audio included.
        cached_tokens: of the prompt, read from the upstream's cache.
        written_tokens: of the prompt, written into the upstream's cache.
        written_hour_tokens: of those, what stays there for an hour.
        input_audio_tokens: of the prompt, audio.
        output_audio_tokens: of the answer, audio.
        reasoning_tokens: of the answer, reasoning.
        tier: of service, in the upstream's word (``flex``, ``priority`` …); empty where it says none.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    written_hour_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    reasoning_tokens: int = 0
    tier: str = ""


class Adapted(Struct, frozen=True):
    """A request's body that says something else than the client did, because the upstream would refuse that.

    Attributes:
        body: to send.
        names: what was adapted, in the client's words: ``stop``, ``temperature``. For a header.
    """

    body: bytes
    names: tuple[str, ...]


class Reported(Exception):  # noqa: N818
    """The upstream reports an error inside of what looked like an answer: in a body or stream of status 200.

    Attributes:
        error: in the client's words, with the status it would have had by itself.
    """

    def __init__(self, error: GatewayError) -> None:
        super().__init__(error.message)
        self.error = error


class Answer(Struct, frozen=True):
    """A whole answer, in the client's protocol.

    Attributes:
        body: JSON for the client.
        usage: None where the upstream did not say.
        id: the upstream's id of it, which feedback refers to; None where it has none.
        error: by which it ended, though there is something of it; None where it ended well.
    """

    body: bytes
    usage: Usage | None
    id: str | None
    error: GatewayError | None = None


class Events(Protocol):
    """One streamed answer, read event by event (server-sent events).

    Attributes:
        usage: as far as the upstream has said.
        id: the upstream's id of the answer.
        content: whether an event the client can see has been fed: from then on no other model may take over.
        finished: whether the upstream said that this is the end (``[DONE]``, ``message_stop`` …).
        error: what the upstream reported within the stream, after content; the client has got it as an event.
    """

    usage: Usage | None
    id: str | None
    content: bool
    finished: bool
    error: GatewayError | None

    def feed(self, event: bytes) -> bytes:
        """What the client gets for one event.

        Args:
            event: its lines, the blank line that ends it included, with any of the line ends the standard allows.

        Returns:
            events in the client's protocol; empty where it gets nothing for this one.

        Raises:
            Reported: the upstream reports an error, and there was no content before it.
            ValueError: the event cannot be read (a server that speaks another protocol).
        """
        ...

    def end(self) -> bytes:
        """What the client gets when the upstream's stream has ended: an answer that has all but its last words
        gets those, and is then finished. One that was cut is not: :attr:`finished` stays false."""
        ...

    def cut(self, error: GatewayError) -> bytes:
        """Events that tell the client the stream ended before it was finished."""
        ...


class Dialect(Protocol):
    """How the requests of one endpoint are put to one kind of upstream, and its answers read.

    Attributes:
        path: after the base URL, ``/chat/completions``.
    """

    path: str

    def request(self, fields: Mapping[str, msgspec.Raw], model: str) -> bytes | Adapted:
        """The body to send, and what in it was adapted.

        Args:
            fields: the client's top-level fields, each as the bytes it sent.
            model: what the upstream calls the model.

        Raises:
            GatewayError: 400; the client asks for something this protocol cannot say. It names the field.
        """
        ...

    def response(self, body: bytes) -> Answer:
        """A whole answer of status 200.

        Raises:
            Reported: it is an error.
            ValueError: it is no answer (broken JSON, another shape).
        """
        ...

    def roll(self, body: bytes) -> bytes:
        """A stream, come where a whole answer was asked for, as the answer it makes up, in the upstream's
        protocol, for :meth:`response`.

        Raises:
            Reported, ValueError: as :meth:`response`.
        """
        ...

    def unroll(self, body: bytes) -> list[bytes]:
        """A whole answer, come where a stream was asked for, as the events that say the same: in the upstream's
        protocol, for :meth:`Events.feed`.

        Raises:
            Reported, ValueError: as :meth:`response`.
        """
        ...

    def events(self, fields: Mapping[str, msgspec.Raw]) -> Events:
        """The reader of a streamed answer to this request."""
        ...

    def failure(self, status: int, body: bytes) -> GatewayError:
        """An answer of status 400 or above: its message, type, param and code as the client should see them."""
        ...


class Kind(Protocol):
    """A kind of upstream; modules implement it."""

    def dialect(self, endpoint: Endpoint, version: str | None = None) -> Dialect | None:
        """How this endpoint is served in a version of the protocol, or None where this kind cannot."""
        ...

    def url(self, upstream: config.Upstream, model: str, path: str) -> str:
        """Where a request goes."""
        ...

    def headers(self, upstream: config.Upstream) -> list[tuple[str, str]]:
        """The upstream's own headers: credentials, versions, those configured."""
        ...
