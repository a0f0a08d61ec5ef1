"""Servers that speak OpenAI's protocol: OpenAI, vLLM, Ollama, llama.cpp, OpenRouter and many more.

What the client sent goes on byte for byte, but for ``model``; what a stream costs is always asked for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.dialect import Adapted, Answer, Reported
from tiny_dancer.gateway.upstream.translate import failures, history, roll, unroll
from tiny_dancer.gateway.upstream.translate.fields import identifier, parse, repaired
from tiny_dancer.gateway.upstream.translate.messages_over_chat import MESSAGES, limit_name
from tiny_dancer.gateway.upstream.translate.numbering import Numbers
from tiny_dancer.gateway.upstream.translate.responses_reasoning import without_ours
from tiny_dancer.gateway.upstream.translate.usage import beside, later, read_openai

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiny_dancer.gateway.configuration import settings as config
    from tiny_dancer.gateway.upstream.dialect import Dialect, Endpoint, Events, Usage

T = TypeVar("T")
_encode = msgspec.json.Encoder().encode
_ABSENT: Final = msgspec.Raw(b"null")


class _Body(msgspec.Struct):
    """What is read of an answer, each part by itself: one that is odd must not cost the others."""

    id: msgspec.Raw = _ABSENT
    usage: msgspec.Raw = _ABSENT
    x_groq: msgspec.Raw = _ABSENT
    service_tier: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    choices: msgspec.Raw = _ABSENT
    output: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT
    status: msgspec.Raw = _ABSENT


class _ResponseEvent(msgspec.Struct):
    type: str = ""
    response: _Body | None = None
    error: msgspec.Raw = _ABSENT


_body = msgspec.json.Decoder(_Body)
_response_event = msgspec.json.Decoder(_ResponseEvent)
_LAST_RESPONSE_EVENTS: Final = (
    "response.completed",
    "response.incomplete",
    "response.failed",
    "response.cancelled",
    "response.done",  # OpenRouter
)
# A choice has its reason to have finished. Inside a string the quotes are escaped.
_FINISHED: Final = re.compile(rb'"finish_reason"\s*:\s*"[^"]')
_OBJECT: Final = (b"data: {", b"data:{")
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_fields = _object.decode


class PassThrough:
    """One endpoint, sent on as it came; see :class:`~tiny_dancer.gateway.upstream.dialect.Dialect`."""

    def __init__(self, path: str, asked_usage: bool = False) -> None:
        """``asked_usage``: streams say what they cost only when asked to."""
        self.path = path
        self._asked_usage = asked_usage

    def request(self, fields: Mapping[str, msgspec.Raw], model: str) -> bytes | Adapted:
        """The same fields with another model, and without other models' signed thinking."""
        without, names = history.to_chat(fields, model)
        changed: dict[str, Any] = {**fields, **without, "model": model}
        if "max_tokens" in fields and self.path == "/chat/completions" and limit_name(model) != "max_tokens":
            limit = changed.pop("max_tokens")
            changed.setdefault(limit_name(model), limit)
            names = [*names, "max_tokens"]
        if self._asked_usage and fields.get("stream") == _TRUE:
            options = _stream_options(fields)
            if options.get("include_usage") is not True:
                changed["stream_options"] = {**options, "include_usage": True}
        body = _encode(changed)
        return Adapted(body, tuple(names)) if names else body

    def response(self, body: bytes) -> Answer:
        """The same body, in JSON that every client can read."""
        try:
            read = _body.decode(body)
            if not body.isascii():
                body.decode()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            read = parse(body, _body)
            body = repaired(body)
        if read.choices == _ABSENT and read.output == _ABSENT and read.data == _ABSENT:
            raise failures.in_place_of(body) or ValueError("neither choices, output nor data in the answer")
        error = _error_of_whole(read, body) if b'"error"' in body else None
        return Answer(body, _usage(read), _id(read.id), error)

    def roll(self, body: bytes) -> bytes:
        """What chunks, or the events of a response, make up."""
        return roll.completion(body) if self._asked_usage else roll.response(body)

    def unroll(self, body: bytes) -> list[bytes]:
        """Chunks, or the response's last event."""
        return unroll.completion(body) if self._asked_usage else unroll.response(body)

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

    def request(self, fields: Mapping[str, msgspec.Raw], model: str) -> bytes | Adapted:
        """The same fields with another model."""
        said = fields.get("input")
        if said is None or (kept := without_ours(said)) is said:
            return super().request(fields, model)
        return Adapted(_encode({**fields, "input": kept, "model": model}), ("input.reasoning",))


class ChunkEvents:
    """A stream of chat or completion chunks, ended by ``[DONE]``; see
    :class:`~tiny_dancer.gateway.upstream.dialect.Events`.

    A stream that ends without ``[DONE]`` is whole where a choice has its ``finish_reason``. Chunks that say
    nothing yet (a role, results of a filter) are held back until one does: until then another model may still
    take over.
    """

    def __init__(self, *, wants_usage: bool) -> None:
        """``wants_usage``: the client asked for the chunk that says what it cost."""
        self.usage: Usage | None = None
        self.id: str | None = None
        self.content = False
        self.finished = False
        self.error: GatewayError | None = None
        self._wants_usage = wants_usage
        self._stopped = False
        self._held = b""
        self._numbers: Numbers | None = None
        self._watches = False  # pieces of calls, whether their numbers tell them apart
        self._has_watched = False

    def feed(self, event: bytes) -> bytes:
        """The event, without what the client did not ask for."""
        if self.finished:
            return b""
        if (
            self.content
            and event.startswith(_OBJECT)
            and b'"usage"' not in event
            and b'"error"' not in event
            and (b'"function"' not in event or not (self._watches or b'"name"' in event))
        ):
            if b'finish_reason":null' not in event and _FINISHED.search(event):
                self._stopped = True
            return event
        if (said := sse.error_of(event)) is not None:
            return self._failed(failures.openai_event(said), None)
        data = sse.data_of(event)
        if not data or not event.startswith(b"data:"):
            event = sse.of_data(event, data)
            if not data:
                return event  # a comment that keeps the connection open
        if data == b"[DONE]":
            self.finished = True
            return event
        if not data.startswith((b"{", b"[")):
            return b""  # some word of a proxy's that keeps the connection open
        read = _read_event(data, _body)
        if read is None:
            return event
        error = _error_of(read, data)
        if error is not None:
            return self._failed(error, event if b'"choices"' in data or failures.is_said(read.error) else None)
        return self._chunk(read, event, data)

    def _chunk(self, read: _Body, event: bytes, data: bytes) -> bytes:
        self._stopped = self._stopped or _FINISHED.search(data) is not None
        if self.id is None:
            self.id = _id(read.id)
        found = _usage(read)
        if found is not None:
            self.usage = later(self.usage, found)
        if read.usage != _ABSENT and not self._wants_usage and _is_empty(read.choices):
            return b""
        if b'"function"' in data:
            numbers = self._numbers = self._numbers or Numbers()
            if (numbered := numbers.told(read.choices)) is not None:
                fields: dict[str, msgspec.Raw] = parse(data, _object)
                event = sse.event(_encode({**fields, "choices": msgspec.Raw(numbered)}))
            # The first two pieces show what a server does.
            self._watches = numbers.changed or not self._has_watched
            self._has_watched = True
        if read.usage == _ABSENT and not self._wants_usage:
            # Servers asked for usage say null in every other chunk. Inside a string the quotes are escaped.
            event = event.replace(b',"usage":null', b"")
        if not self.content:
            if _says_nothing(read.choices):
                self._held += event
                return b""
            event, self._held = self._held + event, b""
            self.content = True
        return event

    def _failed(self, error: GatewayError, event: bytes | None) -> bytes:
        """``event``: that says so as OpenAI does; None where it does otherwise."""
        if not self.content:
            raise Reported(error)
        self.error = error
        return event or sse.event(error.openai())

    def end(self) -> bytes:
        """``[DONE]`` where only that is missing."""
        if self.finished:
            return b""
        if not (self._stopped or self.error is not None):
            return b""
        self.finished = True
        return b"" if self.error is not None else sse.DONE

    def cut(self, error: GatewayError) -> bytes:
        """The error as an event, as OpenAI does it, unless the upstream has said one."""
        return b"" if self.error is not None else sse.event(error.openai())


class ResponseEvents:
    """A stream of the responses endpoint; its last event holds the whole response."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.id: str | None = None
        self.content = False
        self.finished = False
        self.error: GatewayError | None = None

    def feed(self, event: bytes) -> bytes:
        """The event."""
        if self.content and event.startswith(b"event: response.output_text.delta"):
            return event
        data = sse.data_of(event)
        if data == b"[DONE]":
            self.finished = self.finished or self.content
            return event
        if not data:
            return sse.of_data(event, data)
        if not data.startswith((b"{", b"[")):
            return b""
        read = _read_event(data, _response_event)
        if read is None:
            return event
        if not read.type:
            if sse.error_of(event) is None and failures.in_place_of(data, event=True) is None:
                return event  # of another shape
            read.type = "error"
            if not failures.is_said(read.error):
                event = sse.event(failures.openai_event(data).openai(), b"error")
        if read.type in ("error", "response.failed"):
            error = failures.openai_event(data)
            if not self.content:
                raise Reported(error)
            self.error = error
        if read.response is not None:
            self.id = _id(read.response.id) or self.id
            self.usage = later(self.usage, _usage(read.response))
        self.finished = self.finished or read.type in _LAST_RESPONSE_EVENTS or read.type == "error"
        self.content = self.content or read.type not in (
            "response.created",
            "response.queued",
            "response.in_progress",
        )
        return event

    def end(self) -> bytes:
        """Nothing: its last event says all there is to say."""
        return b""

    def cut(self, error: GatewayError) -> bytes:
        """The error as an event of this endpoint, unless the upstream has said one."""
        if self.error is not None:
            return b""
        data = {"type": "error", "code": error.code, "message": error.message, "param": error.param}
        return sse.event(_encode(data), b"error")


def _read_event(data: bytes, decoder: msgspec.json.Decoder[T]) -> T | None:
    """What an event says; None where it is JSON of another shape, which clients may know."""
    try:
        return parse(data, decoder)
    except msgspec.ValidationError:
        return None


def _error_of(read: _Body, data: bytes) -> GatewayError | None:
    """What a chunk reports: an error of its own, in place of choices, or of the choice it ends
    (``finish_reason: "error"``)."""
    if read.error != _ABSENT and failures.is_said(read.error):
        return failures.openai_event(data)
    if read.choices == _ABSENT and read.usage == _ABSENT:
        said = failures.in_place_of(data, event=True)
        return None if said is None else said.error
    if b'"error"' not in data:
        return None
    try:
        choices = parse(bytes(read.choices), _choices)
    except ValueError:
        return None
    for choice in choices:
        if choice.error != _ABSENT and failures.is_said(choice.error):
            return failures.openai_event(b'{"error":' + bytes(choice.error) + b"}")
        if choice.finish_reason == "error":
            return failures.openai_event(
                b'{"error":{"message":"the model\'s server ended the answer by an error"}}'
            )
    return None


def _error_of_whole(read: _Body, body: bytes) -> GatewayError | None:
    """What an answer reports that ended by an error.

    Raises:
        Reported: there is nothing of an answer beside it.
    """
    if read.output != _ABSENT:
        return failures.openai_event(body) if read.status == _FAILED else None
    error = None if read.choices == _ABSENT else _error_of(read, body)
    if error is not None and _SAYS.search(bytes(read.choices)) is None:
        raise Reported(error)
    return error


_FAILED: Final = msgspec.Raw(b'"failed"')
# A message that holds something; an empty text, null or an empty list are nothing.
_SAYS: Final = re.compile(
    rb'"(?:content|text|reasoning_content|reasoning|tool_calls)"\s*:\s*(?:"[^"]|\[\s*[^\]\s]|\{)'
)


class _Choice(msgspec.Struct):
    finish_reason: Any = None
    error: msgspec.Raw = _ABSENT
    usage: msgspec.Raw = _ABSENT


_choices = msgspec.json.Decoder(list[_Choice])
_deltas = msgspec.json.Decoder(list[dict[str, Any]]).decode


def _says_nothing(choices: msgspec.Raw) -> bool:
    """Whether a chunk has no content yet: no choices, or only roles and empty texts in them."""
    try:
        read = [] if choices == _ABSENT else _deltas(choices)
    except (ValueError, RecursionError):
        return False  # it is of another shape
    for choice in read:
        delta = choice.get("delta")
        if choice.get("finish_reason") or choice.get("text") or choice.get("message"):
            return False
        if delta and not (isinstance(delta, dict) and not any(delta[name] for name in delta if name != "role")):
            return False
    return True


def _usage(read: _Body) -> Usage | None:
    found = None if read.usage == _ABSENT else read_openai(read.usage)
    if found is None and b'"usage"' in bytes(read.choices):
        found = _usage_of_choice(read.choices)
    return beside(found, read.x_groq, read.service_tier)


def _usage_of_choice(choices: msgspec.Raw) -> Usage | None:
    """What Moonshot says within the choice that ends."""
    try:
        said = [choice.usage for choice in _choices.decode(choices) if choice.usage != _ABSENT]
    except (ValueError, RecursionError):
        return None
    return read_openai(said[0]) if said else None


def _id(raw: msgspec.Raw) -> str | None:
    """An id, which may be a number."""
    if raw == _ABSENT:
        return None
    said = bytes(raw)
    if said.startswith(b'"') and b"\\" not in said:
        return said[1:-1].decode("utf-8", "replace") or None
    try:
        found = msgspec.json.decode(said)
    except ValueError:
        return None
    return identifier(found) or None


def _is_empty(choices: msgspec.Raw) -> bool:
    return bytes(choices).replace(b" ", b"") in (b"null", b"[]")


_TRUE: Final = msgspec.Raw(b"true")
_DIALECTS: Final[dict[str, Dialect]] = {
    "chat.completions": PassThrough("/chat/completions", asked_usage=True),
    "completions": PassThrough("/completions", asked_usage=True),
    "responses": _Responses("/responses"),
    "embeddings": PassThrough("/embeddings"),
    "messages": MESSAGES,
}


def dialect(endpoint: Endpoint, version: str | None = None) -> Dialect | None:
    """How this endpoint is served: all are, Anthropic's messages translated to chat completions."""
    del version  # it changes nothing about what is said
    return _DIALECTS.get(endpoint)


def url(upstream: config.Upstream, model: str, path: str) -> str:
    """``base_url`` and the path."""
    del model  # it stands in the body
    return upstream.base_url.rstrip("/") + path


def headers(upstream: config.Upstream) -> list[tuple[str, str]]:
    """The key as a bearer token, and what is configured."""
    key = [] if upstream.api_key is None else [("authorization", f"Bearer {upstream.api_key}")]
    return [*key, *upstream.headers.items()]


def without_stream_options(body: bytes) -> bytes | None:
    """A request for servers that do not know ``stream_options``; None where it has none."""
    fields = _fields(body)
    return None if fields.pop("stream_options", None) is None else _encode(fields)


def only_asks_usage(fields: Mapping[str, msgspec.Raw]) -> bool:
    """Whether a client's ``stream_options`` say no more than the gateway's own would."""
    try:
        return _stream_options(fields) in ({}, {"include_usage": True}, {"include_usage": False})
    except GatewayError:
        return False


def _stream_options(fields: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    given = fields.get("stream_options")
    if given is None:
        return {}
    try:
        return msgspec.json.decode(given, type=dict[str, Any] | None) or {}
    except ValueError as error:
        raise GatewayError(400, "stream_options is an object", param="stream_options") from error
