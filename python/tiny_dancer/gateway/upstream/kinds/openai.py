"""Servers that speak OpenAI's protocol: OpenAI, vLLM, Ollama, llama.cpp, OpenRouter and many more.

What the client sent goes on byte for byte, but for ``model``; what a stream costs is always asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.dialect import Answer, Usage
from tiny_dancer.gateway.upstream.translate import failures
from tiny_dancer.gateway.upstream.translate.messages_over_chat import MESSAGES
from tiny_dancer.gateway.upstream.translate.responses_reasoning import without_ours

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiny_dancer.gateway.configuration import settings as config
    from tiny_dancer.gateway.upstream.dialect import Dialect, Endpoint, Events

_encode = msgspec.json.Encoder().encode
_ABSENT: Final = msgspec.Raw(b"null")


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    """Chat and embeddings say ``prompt``/``completion``, responses ``input``/``output``."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None

    def plain(self) -> Usage:
        """In one form."""
        details = self.prompt_tokens_details or self.input_tokens_details
        cached = None if details is None else details.cached_tokens
        return Usage(
            max(self.prompt_tokens or self.input_tokens or 0, 0),
            max(self.completion_tokens or self.output_tokens or 0, 0),
            max(cached or 0, 0),
        )


class _Body(msgspec.Struct):
    """What is read of an answer. One of the last three has to be there."""

    id: str | None = None
    usage: _Usage | None = None
    choices: msgspec.Raw = _ABSENT
    output: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT


class _Chunk(msgspec.Struct):
    """What is read of a streamed chunk that says something about usage."""

    id: str | None = None
    usage: _Usage | None = None
    choices: list[msgspec.Raw] | None = None
    error: msgspec.Raw = _ABSENT


class _ResponseEvent(msgspec.Struct):
    type: str = ""
    response: _Body | None = None


_body = msgspec.json.Decoder(_Body).decode
_chunk = msgspec.json.Decoder(_Chunk).decode
_response_event = msgspec.json.Decoder(_ResponseEvent).decode
_LAST_RESPONSE_EVENTS: Final = ("response.completed", "response.incomplete", "response.failed")


class PassThrough:
    """One endpoint, sent on as it came; see :class:`~tiny_dancer.gateway.upstream.dialect.Dialect`."""

    def __init__(self, path: str, asked_usage: bool = False) -> None:
        """``asked_usage``: streams say what they cost only when asked to."""
        self.path = path
        self._asked_usage = asked_usage

    def request(self, fields: Mapping[str, msgspec.Raw], model: str) -> bytes:
        """The same fields with another model."""
        changed: dict[str, Any] = {**fields, "model": model}
        if self._asked_usage and fields.get("stream") == _TRUE:
            options = _stream_options(fields)
            if options.get("include_usage") is not True:
                changed["stream_options"] = {**options, "include_usage": True}
        return _encode(changed)

    def response(self, body: bytes) -> Answer:
        """The same body."""
        read = _body(body)
        if read.choices == _ABSENT and read.output == _ABSENT and read.data == _ABSENT:
            raise ValueError("neither choices, output nor data in the answer")
        return Answer(body, None if read.usage is None else read.usage.plain(), read.id)

    def events(self, fields: Mapping[str, msgspec.Raw]) -> Events:
        """A reader that takes out what only we asked for."""
        if not self._asked_usage:
            return ResponseEvents()
        return ChunkEvents(wants_usage=_stream_options(fields).get("include_usage") is True)

    def failure(self, status: int, body: bytes) -> GatewayError:
        """As the upstream said it."""
        return failures.openai(status, body)


class _Responses(PassThrough):
    """Responses, sent on as they came but for reasoning that was translated from another server's answers."""

    def request(self, fields: Mapping[str, msgspec.Raw], model: str) -> bytes:
        """The same fields with another model."""
        said = fields.get("input")
        if said is not None and (kept := without_ours(said)) is not said:
            fields = {**fields, "input": kept}
        return super().request(fields, model)


class ChunkEvents:
    """A stream of chat or completion chunks, ended by ``[DONE]``; see ``Events`` in ``base.py``."""

    def __init__(self, *, wants_usage: bool) -> None:
        """``wants_usage``: the client asked for the chunk that says what it cost."""
        self.usage: Usage | None = None
        self.id: str | None = None
        self.content = False
        self.finished = False
        self._wants_usage = wants_usage

    def feed(self, event: bytes) -> bytes:
        """The event, without what the client did not ask for."""
        if self.content and b'"usage"' not in event and b'"error"' not in event:
            if event.startswith(b"data: [DONE]") or (b"[DONE]" in event and sse.data_of(event) == b"[DONE]"):
                self.finished = True
            return event
        data = sse.data_of(event)
        if not data:
            return event  # a comment that keeps the connection open
        if data == b"[DONE]":
            self.finished = True
            return event
        read = _chunk(data)
        if read.error != _ABSENT and not self.content:
            raise ValueError(f"an error in place of a stream: {bytes(read.error)[:200]!r}")
        if self.id is None:
            self.id = read.id
        if read.usage is not None:
            self.usage = read.usage.plain()
            if not read.choices and not self._wants_usage:
                return b""
        self.content = True
        if read.usage is None and not self._wants_usage:
            # Servers asked for usage say null in every other chunk. Inside a string the quotes are escaped.
            return event.replace(b',"usage":null', b"")
        return event

    def cut(self, error: GatewayError) -> bytes:
        """The error as an event, as OpenAI does it."""
        return sse.event(error.openai())


class ResponseEvents:
    """A stream of the responses endpoint; its last event holds the whole response."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.id: str | None = None
        self.content = False
        self.finished = False

    def feed(self, event: bytes) -> bytes:
        """The event."""
        if self.id is None or b"usage" in event:
            data = sse.data_of(event)
            if not data or data == b"[DONE]":
                return event
            read = _response_event(data)
            if read.type == "error" and not self.content:
                raise ValueError("an error in place of a stream")
            if read.response is not None:
                self.id = read.response.id or self.id
                if read.response.usage is not None:
                    self.usage = read.response.usage.plain()
            self.finished = self.finished or read.type in _LAST_RESPONSE_EVENTS
        self.content = True
        return event

    def cut(self, error: GatewayError) -> bytes:
        """The error as an event of this endpoint."""
        data = {"type": "error", "code": error.code, "message": error.message, "param": error.param}
        return sse.event(_encode(data), b"error")


_TRUE: Final = msgspec.Raw(b"true")
_DIALECTS: Final[dict[str, Dialect]] = {
    "chat.completions": PassThrough("/chat/completions", asked_usage=True),
    "completions": PassThrough("/completions", asked_usage=True),
    "responses": _Responses("/responses"),
    "embeddings": PassThrough("/embeddings"),
    "messages": MESSAGES,
}


def dialect(endpoint: Endpoint) -> Dialect | None:
    """How this endpoint is served: all are, Anthropic's messages translated to chat completions."""
    return _DIALECTS.get(endpoint)


def url(upstream: config.Upstream, model: str, path: str) -> str:
    """``base_url`` and the path."""
    del model  # it stands in the body
    return upstream.base_url.rstrip("/") + path


def headers(upstream: config.Upstream) -> list[tuple[str, str]]:
    """The key as a bearer token, and what is configured."""
    key = [] if upstream.api_key is None else [("authorization", f"Bearer {upstream.api_key}")]
    return [*key, *upstream.headers.items()]


def _stream_options(fields: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    given = fields.get("stream_options")
    if given is None:
        return {}
    try:
        return msgspec.json.decode(given, type=dict[str, Any] | None) or {}
    except ValueError as error:
        raise GatewayError(400, "stream_options is an object", param="stream_options") from error
