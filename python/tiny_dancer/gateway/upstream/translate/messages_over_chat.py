"""Clients of Anthropic's messages at a server of chat completions: their requests there, its answers back.

Nothing is silently replaced: what cannot be said is refused, and other fields (``top_k``, ``min_p``) are sent on
as they are, for most servers of OpenAI's protocol know more words than OpenAI's own.

Left out, because the answer is the same kind of answer without them:

- ``cache_control``, ``context_management``, ``diagnostics``, ``service_tier``: about caching and capacity;
- ``thinking``: leave to think, up to a budget. A model that thinks does so as its server is set up, within
  ``max_tokens``. How hard it should try (``output_config.effort``) is sent, as ``reasoning_effort``;
- thinking in earlier answers: it is signed for the model that thought it;
- ``citations`` and ``title`` of blocks: OpenAI's have no such thing.

What has another form: a tool result that ``is_error`` begins with ``Error:``; images in a tool result follow it in
a user message, for a tool message holds text; a ``user_id`` longer than the 64 characters OpenAI takes becomes its
SHA-256. The limit is sent as ``max_tokens``, which every server knows, but for OpenAI's newer models, which refuse
it.

What a model thought (``reasoning_content``, or ``reasoning`` as some servers call it) becomes a thinking block
with an empty signature. Clients send it back, and it is left out before it could reach Anthropic, which takes back
only what it has signed.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import uuid4

import msgspec
from msgspec import Raw, Struct

from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.dialect import Answer, Reported
from tiny_dancer.gateway.upstream.translate import failures, roll, unroll
from tiny_dancer.gateway.upstream.translate import messages_request as wire
from tiny_dancer.gateway.upstream.translate.fields import (
    ABSENT,
    boolean,
    encode,
    given,
    missing,
    only,
    parse,
    present,
    read,
    refusal,
)
from tiny_dancer.gateway.upstream.translate.usage import later, read_openai, say_anthropic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tiny_dancer.gateway.errors import GatewayError
    from tiny_dancer.gateway.upstream.dialect import Dialect, Events, Usage

_LONGEST_USER: Final = 64
# OpenAI's models that refuse max_tokens: the o series, and everything from GPT-5.
_NEWER_OPENAI: Final = re.compile(r"(?:o\d|gpt-(?:[5-9]|\d\d))(?![^-.])")
_LEFT_OUT: Final = ("thinking", "cache_control", "context_management", "diagnostics", "service_tier")
# What these may say without asking for anything.
_USUAL: Final[dict[str, tuple[object, ...]]] = {
    "speed": ("standard",),
    "container": (),
    "inference_geo": (),
    "mcp_servers": ([],),
    "user_profile_id": (),
}
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}


class _MessagesToChat:
    """The messages endpoint at servers that speak OpenAI's protocol; see ``Dialect`` in ``upstreams/base.py``."""

    path = "/chat/completions"

    def request(self, fields: Mapping[str, Raw], model: str) -> bytes:
        """As :func:`request`."""
        return request(fields, model)

    def response(self, body: bytes) -> Answer:
        """As :func:`response`."""
        return response(body)

    def roll(self, body: bytes) -> bytes:
        """What chunks make up."""
        return roll.completion(body)

    def unroll(self, body: bytes) -> list[bytes]:
        """Chunks."""
        return unroll.completion(body)

    def events(self, fields: Mapping[str, Raw]) -> Events:
        """Anthropic's events."""
        del fields
        return MessageEvents()

    def failure(self, status: int, body: bytes) -> GatewayError:
        """As :func:`failures.openai`."""
        return failures.openai(status, body)


MESSAGES: Final[Dialect] = _MessagesToChat()


def request(fields: Mapping[str, Raw], model: str) -> bytes:
    """The body for ``/chat/completions``.

    Raises:
        GatewayError: 400, with the field in ``param``.
    """
    rest = given(fields)
    rest.pop("model", None)
    for name in ("messages", "max_tokens"):
        if name not in rest:
            raise missing(name)
    body: dict[str, Any] = {"model": model, "messages": _system(rest.pop("system", None))}
    body["messages"] += _conversation(rest.pop("messages"))
    limit = "max_completion_tokens" if _NEWER_OPENAI.match(model) else "max_tokens"
    body[limit] = read(rest.pop("max_tokens"), wire.limit, "max_tokens")
    tools, choice = rest.pop("tools", None), rest.pop("tool_choice", None)
    if tools is not None:
        body.update(_tools(tools))
    if choice is not None:
        body.update(_tool_choice(choice, bool(body.get("tools"))))
    for name, translate in _FIELDS.items():
        raw = rest.pop(name, None)
        if raw is not None:
            body.update(translate(raw))
    for name in _LEFT_OUT:
        rest.pop(name, None)
    for name, accepted in _USUAL.items():
        raw = rest.pop(name, None)
        if raw is not None:
            only(raw, name, accepted, "OpenAI's protocol")
    for name, raw in rest.items():
        if name in body:
            raise refusal(name, "another field says the same in Anthropic's words; leave one of them out")
        body[name] = raw
    return encode(body)


def _system(raw: Raw | None) -> list[dict[str, Any]]:
    if raw is None:
        return []
    system = read(raw, wire.system, "system")
    # One message with one text: the templates of many models take no more.
    text = system if isinstance(system, str) else "\n\n".join(block.text for block in system)
    return [{"role": "system", "content": text}] if text else []


def _conversation(raw: Raw) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    turns = read(raw, wire.messages, "messages")
    for index, turn in enumerate(turns):
        place = f"messages[{index}]"
        if isinstance(turn.content, str):
            messages.append({"role": _role(turn), "content": turn.content})
        elif isinstance(turn, wire.User):
            messages += _asked(turn.content, place)
        elif isinstance(turn, wire.Assistant):
            messages += _answered(turn.content, place)
        else:
            messages.append({"role": "system", "content": "\n\n".join(block.text for block in turn.content)})
    return messages


def _role(turn: wire.User | wire.Assistant | wire.System) -> str:
    if isinstance(turn, wire.User):
        return "user"
    return "assistant" if isinstance(turn, wire.Assistant) else "system"


def _asked(
    blocks: list[wire.Text | wire.Image | wire.Document | wire.ToolResult], place: str
) -> list[dict[str, Any]]:
    """A tool message per result, which have to follow the calls directly, and one of the user's with the rest."""
    messages: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for index, block in enumerate(blocks):
        where = f"{place}.content[{index}]"
        if isinstance(block, wire.ToolResult):
            text, others = _result(block, where)
            messages.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": text})
            parts += others
        else:
            parts.append(_part(block, where))
    if parts:
        # Servers of small models take a text more often than parts.
        plain = parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts
        messages.append({"role": "user", "content": plain})
    return messages


def _result(block: wire.ToolResult, place: str) -> tuple[str, list[dict[str, Any]]]:
    """The texts of a tool result, and its other parts."""
    content = block.content or ""
    texts = [content] if isinstance(content, str) else []
    others: list[dict[str, Any]] = []
    for index, inner in enumerate([] if isinstance(content, str) else content):
        part = _part(inner, f"{place}.content[{index}]")
        if part["type"] == "text":
            texts.append(part["text"])
        else:
            others.append(part)
    text = "\n".join(texts)
    return (f"Error: {text}" if block.is_error else text), others


def _part(block: wire.Text | wire.Image | wire.Document, place: str) -> dict[str, Any]:
    if isinstance(block, wire.Text):
        return {"type": "text", "text": block.text}
    source = block.source
    if isinstance(source, wire.TextSource):
        return {"type": "text", "text": source.data}
    url = _data_url(source) if isinstance(source, wire.Base64Source) else source.url
    if isinstance(block, wire.Image):
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "file", "file": {"filename": block.title or "document.pdf", "file_data": url}}


def _data_url(source: wire.Base64Source) -> str:
    return f"data:{source.media_type};base64,{source.data}"


def _answered(
    blocks: list[wire.Text | wire.Thinking | wire.RedactedThinking | wire.ToolUse], place: str
) -> list[dict[str, Any]]:
    text = "".join(block.text for block in blocks if isinstance(block, wire.Text))
    calls = []
    for index, block in enumerate(blocks):
        if isinstance(block, wire.ToolUse):
            read(block.input, wire.json_object, f"{place}.content[{index}].input")
            function = {"name": block.name, "arguments": bytes(block.input).decode()}
            calls.append({"id": block.id, "type": "function", "function": function})
    if not text and not calls:
        return []  # it had only thought
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = calls
    return [message]


def _tools(raw: Raw) -> dict[str, Any]:
    definitions = []
    tools = read(raw, wire.tools, "tools")
    for index, tool in enumerate(tools):
        if not present(tool.input_schema):
            raise missing(f"tools[{index}].input_schema")
        schema = read(tool.input_schema, wire.json_object, f"tools[{index}].input_schema")
        function: dict[str, Any] = {"name": tool.name, "parameters": schema}
        if tool.description:
            function["description"] = tool.description
        if tool.strict:
            function["strict"] = True
        definitions.append({"type": "function", "function": function})
    return {"tools": definitions} if definitions else {}


def _tool_choice(raw: Raw, has_tools: bool) -> dict[str, Any]:
    choice = read(raw, wire.tool_choice, "tool_choice")
    if not has_tools:
        if choice.type in ("auto", "none"):
            return {}
        raise refusal("tool_choice", "there are no tools to choose from; send tools too")
    if choice.type == "tool":
        if not choice.name:
            raise missing("tool_choice.name")
        chosen: dict[str, Any] = {"tool_choice": {"type": "function", "function": {"name": choice.name}}}
    else:
        chosen = {"tool_choice": _CHOICES[choice.type]}
    if choice.disable_parallel_tool_use and choice.type != "none":
        chosen["parallel_tool_calls"] = False
    return chosen


def _stream(raw: Raw) -> dict[str, Any]:
    if not boolean(raw, "stream"):
        return {}
    return {"stream": True, "stream_options": {"include_usage": True}}


def _stops(raw: Raw) -> dict[str, Any]:
    stops = read(raw, wire.texts, "stop_sequences")
    return {"stop": stops} if stops else {}


def _user(raw: Raw) -> dict[str, Any]:
    user = read(raw, wire.metadata, "metadata").user_id
    if not user:
        return {}
    return {"user": user if len(user) <= _LONGEST_USER else sha256(user.encode()).hexdigest()}


def _output(raw: Raw) -> dict[str, Any]:
    config = read(raw, wire.output_config, "output_config")
    translated: dict[str, Any] = {}
    if config.effort is not None:
        translated["reasoning_effort"] = config.effort
    if config.format is not None:
        schema = read(config.format.schema, wire.json_object, "output_config.format.schema")
        wanted = {"name": "answer", "schema": schema, "strict": True}
        translated["response_format"] = {"type": "json_schema", "json_schema": wanted}
    return translated


_FIELDS: Final[dict[str, Callable[[Raw], dict[str, Any]]]] = {
    "temperature": lambda raw: {"temperature": read(raw, wire.number, "temperature")},
    "top_p": lambda raw: {"top_p": read(raw, wire.number, "top_p")},
    "stop_sequences": _stops,
    "stream": _stream,
    "metadata": _user,
    "output_config": _output,
}


# Answers.

STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


class _Function(Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Message(Struct):
    """A message, or what a chunk adds to it."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(Struct):
    """``stop_reason`` is vLLM's: the sequence that ended the answer, or a token's number."""

    index: int = 0
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None


class _Completion(Struct):
    """A completion or a chunk of one."""

    choices: list[_Choice] | None = None
    id: str | None = None
    model: str | None = None
    usage: Raw = ABSENT
    error: Raw = ABSENT


_completion: Final = msgspec.json.Decoder(_Completion)
_object: Final = msgspec.json.Decoder(dict[str, Raw])


def response(body: bytes) -> Answer:
    """A whole answer.

    Raises:
        ValueError: it is no chat completion, or calls a tool with something other than a JSON object.
    """
    read = parse(body, _completion)
    if not read.choices or read.choices[0].message is None:
        if present(read.error):
            raise failures.reported(body)
        raise ValueError("a chat completion without a message")
    choice, message = read.choices[0], read.choices[0].message
    content: list[dict[str, Any]] = []
    thinking = message.reasoning_content or message.reasoning
    if thinking:
        content.append({"type": "thinking", "thinking": thinking, "signature": ""})
    text = message.content or message.refusal
    if text:
        content.append({"type": "text", "text": text})
    for call in message.tool_calls or ():
        function = call.function or _Function()
        arguments = (function.arguments or "").strip() or "{}"
        parse(arguments.encode(), _object)
        block = {"type": "tool_use", "id": call.id or _tool_use_id(), "name": function.name or ""}
        content.append({**block, "input": Raw(arguments.encode())})
    reason, sequence = _stop(choice, bool(message.tool_calls), bool(message.refusal))
    usage = read_openai(read.usage)
    answer = {
        "id": read.id or _message_id(),
        "type": "message",
        "role": "assistant",
        "model": read.model or "",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": say_anthropic(usage),
    }
    return Answer(encode(answer), usage, read.id)


class MessageEvents:
    """A streamed answer as Anthropic's events; see :class:`~tiny_dancer.gateway.upstream.dialect.Events`.

    Nothing is given out before there is something to say: until then another model may still take over. Blocks
    follow one another: one is closed when the next begins.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.id: str | None = None
        self.content = False
        self.finished = False
        self.error: GatewayError | None = None
        self._model = ""
        self._blocks = 0
        self._open: Literal["text", "thinking", "tool_use"] | None = None
        self._call: tuple[int | None, str | None] = (None, None)  # index and id of the tool call that is open
        self._called = False
        self._refused = False
        self._stop: tuple[str, str | None] | None = None

    def feed(self, event: bytes) -> bytes:
        """The events that say the same."""
        data = sse.data_of(event)
        if not data:
            return b""  # a comment that keeps the connection open
        if data == b"[DONE]":
            return self._end()
        read = parse(data, _completion)
        if present(read.error):
            return self._failed(failures.openai_event(data))
        self.id = self.id or read.id
        self._model = self._model or read.model or ""
        self.usage = later(self.usage, read_openai(read.usage))
        given = b""
        for choice in read.choices or ():
            if choice.index == 0:
                given += self._choice(choice)
        return given

    def end(self) -> bytes:
        """The last events, where only those are missing: some servers end without ``[DONE]``."""
        return self._end() if self._stop else b""

    def cut(self, error: GatewayError) -> bytes:
        """The error as an event, as Anthropic does it, unless the upstream has said one."""
        return b"" if self.error is not None else sse.event(error.anthropic(), b"error")

    def _failed(self, error: GatewayError) -> bytes:
        if not self.content:
            raise Reported(error)
        self.error = error
        self.finished = True
        return sse.event(error.anthropic(), b"error")

    def _choice(self, choice: _Choice) -> bytes:
        given = b""
        delta = choice.delta
        if delta is not None:
            thinking = delta.reasoning_content or delta.reasoning
            if thinking:
                given += self._words("thinking", thinking)
            text = delta.content or delta.refusal
            if text:
                given += self._words("text", text)
            self._refused = self._refused or bool(delta.refusal)
            for call in delta.tool_calls or ():
                given += self._tool_call(call)
        if choice.finish_reason is not None and self._stop is None:
            self._stop = _stop(choice, self._called, self._refused)
            given += self._close()
        return given

    def _words(self, kind: Literal["text", "thinking"], words: str) -> bytes:
        first = b""
        if self._open != kind:
            empty = {"type": "text", "text": ""}
            if kind == "thinking":
                empty = {"type": "thinking", "thinking": "", "signature": ""}
            first = self._start(kind, empty)
        return first + self._delta({"type": f"{kind}_delta", kind: words})

    def _tool_call(self, call: _Call) -> bytes:
        """Some servers leave out the index, some the id, and some say the id in every chunk."""
        function = call.function or _Function()
        index, identifier = self._call
        begins = (
            self._open != "tool_use"
            or (call.index is not None and call.index != index)
            or (bool(call.id) and call.id != identifier)
        )
        given = b""
        if begins:
            if not call.id and not function.name:
                raise ValueError("arguments of a tool call that has not begun, or has ended")
            self._call = (call.index, call.id)
            self._called = True
            block = {"type": "tool_use", "id": call.id or _tool_use_id(), "name": function.name or ""}
            given = self._start("tool_use", {**block, "input": {}})
        if function.arguments:
            given += self._delta({"type": "input_json_delta", "partial_json": function.arguments})
        return given

    def _start(self, kind: Literal["text", "thinking", "tool_use"], block: dict[str, Any]) -> bytes:
        begun = self._begin() + self._close()
        self._open = kind
        self._blocks += 1
        return begun + _event("content_block_start", index=self._blocks - 1, content_block=block)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", index=self._blocks - 1, delta=delta)

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        return _event("content_block_stop", index=self._blocks - 1)

    def _begin(self) -> bytes:
        if self.content:
            return b""
        self.content = True
        message: dict[str, Any] = {
            "id": self.id or _message_id(),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": say_anthropic(self.usage),
        }
        return _event("message_start", message=message)

    def _end(self) -> bytes:
        if self.finished:
            return b""
        if self._stop is None:
            raise ValueError("a stream that ended without a finish_reason")
        self.finished = True
        reason, sequence = self._stop
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        return (
            self._begin()
            + _event("message_delta", delta=delta, usage=say_anthropic(self.usage))
            + _event("message_stop")
        )


def _stop(choice: _Choice, called: bool, refused: bool) -> tuple[str, str | None]:
    """The reason to stop, and the sequence that was met."""
    if refused:
        return "refusal", None
    reason = STOP_REASONS.get(choice.finish_reason or "stop", "end_turn")
    if reason == "end_turn" and called:
        return "tool_use", None  # some servers say "stop" after a tool they were told to call
    if reason == "end_turn" and isinstance(choice.stop_reason, str):
        return "stop_sequence", choice.stop_reason
    return reason, None


def _event(kind: str, **fields: Any) -> bytes:
    return sse.event(encode({"type": kind, **fields}), kind.encode())


def _message_id() -> str:
    return f"msg_{uuid4().hex}"


def _tool_use_id() -> str:
    return f"toolu_{uuid4().hex}"
