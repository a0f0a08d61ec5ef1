"""Anthropic, and servers that speak its protocol.

On ``messages`` the client's request goes on byte for byte, but for ``model`` and for what of other models' answers
Anthropic would refuse (:mod:`~tiny_dancer.gateway.upstream.translate.history`); chat completions are translated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct

from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.dialect import Adapted, Answer, Reported
from tiny_dancer.gateway.upstream.translate import (
    chat_from_messages,
    chat_over_messages,
    failures,
    history,
    roll,
    unroll,
)
from tiny_dancer.gateway.upstream.translate.fields import ABSENT, encode, identifier, parse, present, repaired
from tiny_dancer.gateway.upstream.translate.usage import AnthropicCounts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiny_dancer.gateway.configuration import settings as config
    from tiny_dancer.gateway.errors import GatewayError
    from tiny_dancer.gateway.upstream.dialect import Dialect, Endpoint, Events, Usage

VERSION: Final = "2023-06-01"
"""Of the protocol, where ``api_version`` names none."""


class _Message(Struct):
    """What is read of an answer, or of the event that begins one."""

    id: Any = None
    content: Raw = ABSENT
    usage: Raw = ABSENT
    error: Raw = ABSENT


class _Event(Struct):
    type: Any = None
    message: _Message | None = None
    usage: Raw = ABSENT


# Readers of Anthropic's own break where an answer does not say what it cost.
_NO_USAGE: Final = {"input_tokens": 0, "output_tokens": 0}
_object: Final = msgspec.json.Decoder(dict[str, Raw])
_message: Final = msgspec.json.Decoder(_Message)
_event: Final = msgspec.json.Decoder(_Event)


class _Messages:
    """The messages endpoint, sent on as it came; see :class:`~tiny_dancer.gateway.upstream.dialect.Dialect`."""

    path = "/messages"

    def request(self, fields: Mapping[str, Raw], model: str) -> bytes | Adapted:
        """The same fields with another model, as far as Anthropic takes them; see
        :func:`~tiny_dancer.gateway.upstream.translate.history.to_anthropic`."""
        changed, names = history.to_anthropic(fields)
        asked: dict[str, Any] = {**fields, **changed, "model": model}
        if "thinking" in changed:
            del asked["thinking"]
        body = encode(asked)
        return Adapted(body, tuple(names)) if names else body

    def response(self, body: bytes) -> Answer:
        """The same body, in JSON that every client can read."""
        try:
            read = _message.decode(body)
        except (msgspec.DecodeError, RecursionError):
            read = parse(body, _message)
            body = repaired(body)
        if not present(read.content):
            raise failures.in_place_of_message(body) or ValueError("no content in the answer")
        if not present(read.usage):
            fields: dict[str, Raw] = parse(body, _object)
            body = encode({**fields, "usage": _NO_USAGE})
        return Answer(body, AnthropicCounts(read.usage).usage, identifier(read.id) or None)

    def roll(self, body: bytes) -> bytes:
        """The message that events make up."""
        return roll.message(body)

    def unroll(self, body: bytes) -> list[bytes]:
        """The events of a message."""
        return unroll.message(body)

    def events(self, fields: Mapping[str, Raw]) -> Events:
        """A reader that changes nothing."""
        del fields
        return _MessageEvents()

    def failure(self, status: int, body: bytes) -> GatewayError:
        """As :func:`failures.anthropic`."""
        return failures.anthropic(status, body)


class _MessageEvents:
    """A stream of Anthropic's events, as they come; see :class:`~tiny_dancer.gateway.upstream.dialect.Events`.

    ``message_start`` is held back until something follows it: until then another model may still take over.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.id: str | None = None
        self.content = False
        self.finished = False
        self.error: GatewayError | None = None
        self._counted = AnthropicCounts()
        self._held = b""
        self._stopped = False

    def feed(self, event: bytes) -> bytes:
        """The event."""
        if self.content and event.startswith(b"event: content_block_"):
            return event
        data = sse.data_of(event)
        if not data:
            return event if self.content else b""  # a comment that keeps the connection open
        if data.strip() == b"[DONE]":
            return b""  # a habit of the other protocol
        if not data.startswith((b"{", b"[")):
            return b""
        try:
            read = parse(data, _event)
        except msgspec.ValidationError:
            return event if self.content else b""  # of another shape, which clients may know
        if type(read.type) is not str:
            if (error := failures.untyped(event, data)) is not None:
                return self._failed(error, sse.event(error.anthropic(), b"error"))
            return event if self.content else b""
        if not event.startswith(b"event:"):
            event = sse.event(b" ".join(data.split(b"\n")), read.type.encode())  # readers go by the name
        if read.message is not None:
            self.id = identifier(read.message.id) or self.id
            self._counted.update(read.message.usage)
        self._counted.update(read.usage)
        self.usage = self._counted.usage
        if (read.type == "message_delta" and not present(read.usage)) or (
            read.message is not None and not present(read.message.usage)
        ):
            event = self._with_usage(data, read.type)
        if read.type == "message_stop":
            self.finished = True
        elif read.type == "message_delta":
            self._stopped = True
        elif read.type == "error":
            return self._failed(failures.anthropic_event(data), event)
        elif not self.content and read.type == "message_start":
            self._held = event
            return b""
        elif not self.content and read.type == "ping":
            return b""
        self.content = True
        held, self._held = self._held, b""
        return held + event

    def _with_usage(self, data: bytes, kind: str) -> bytes:
        fields: dict[str, Raw] = parse(data, _object)
        said: dict[str, Any] = {**fields}
        if kind == "message_delta":
            usage = self._counted.usage
            said["usage"] = {"output_tokens": 0 if usage is None else usage.output_tokens}
        else:
            message: dict[str, Raw] = parse(bytes(fields["message"]), _object)
            said["message"] = {**message, "usage": _NO_USAGE}
        return sse.event(encode(said), kind.encode())

    def _failed(self, error: GatewayError, event: bytes) -> bytes:
        if not self.content:
            raise Reported(error)
        self.error = error
        return event

    def end(self) -> bytes:
        """``message_stop`` where only that is missing."""
        if self.finished or not (self._stopped or self.error is not None):
            return b""
        self.finished = True
        return b"" if self.error is not None else sse.event(b'{"type":"message_stop"}', b"message_stop")

    def cut(self, error: GatewayError) -> bytes:
        """The error as an event, unless the upstream has said one."""
        return b"" if self.error is not None else sse.event(error.anthropic(), b"error")


class _ChatCompletions:
    """Chat completions, translated; see :class:`~tiny_dancer.gateway.upstream.dialect.Dialect`."""

    path = "/messages"

    def request(self, fields: Mapping[str, Raw], model: str) -> bytes | Adapted:
        """As :func:`chat_over_messages.request`."""
        return chat_over_messages.request(fields, model)

    def response(self, body: bytes) -> Answer:
        """As :func:`chat_from_messages.response`."""
        return chat_from_messages.response(body)

    def roll(self, body: bytes) -> bytes:
        """The message that events make up."""
        return roll.message(body)

    def unroll(self, body: bytes) -> list[bytes]:
        """The events of a message."""
        return unroll.message(body)

    def events(self, fields: Mapping[str, Raw]) -> Events:
        """Chunks of a chat completion."""
        return chat_from_messages.ChunkEvents(wants_usage=chat_over_messages.includes_usage(fields))

    def failure(self, status: int, body: bytes) -> GatewayError:
        """As :func:`failures.anthropic`."""
        return failures.anthropic(status, body)


_DIALECTS: Final[dict[str, Dialect]] = {"messages": _Messages(), "chat.completions": _ChatCompletions()}


def dialect(endpoint: Endpoint, version: str | None = None) -> Dialect | None:
    """How this endpoint is served: messages and chat completions are."""
    del version  # it changes nothing about what is said
    return _DIALECTS.get(endpoint)


def url(upstream: config.Upstream, model: str, path: str) -> str:
    """``base_url`` and the path."""
    del model  # it stands in the body
    return upstream.base_url.rstrip("/") + path


def headers(upstream: config.Upstream) -> list[tuple[str, str]]:
    """The key, the protocol's version, and what is configured, which wins."""
    configured = {name.lower() for name in upstream.headers}
    own = [("anthropic-version", upstream.api_version or VERSION)]
    if upstream.api_key is not None:
        own.append(("x-api-key", upstream.api_key))
    return [(name, value) for name, value in own if name not in configured] + list(upstream.headers.items())
