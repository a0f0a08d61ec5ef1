"""An OpenAI chat completion, whole or streamed, as an Anthropic message.

What a model thought (``reasoning_content``, or ``reasoning`` as some servers call it) becomes a thinking block
with an empty signature. Clients send it back, and it is left out before it could reach Anthropic, which takes back
only what it has signed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import uuid4

import msgspec
from msgspec import Raw, Struct

from tiny_dancer.gateway import sse
from tiny_dancer.gateway.translate import failures
from tiny_dancer.gateway.translate.fields import ABSENT, encode, parse, present
from tiny_dancer.gateway.translate.usage import OpenAIUsage
from tiny_dancer.gateway.upstreams.base import Answer

if TYPE_CHECKING:
    from tiny_dancer.gateway.errors import GatewayError
    from tiny_dancer.gateway.upstreams.base import Usage

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
    usage: OpenAIUsage | None = None
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
    usage = read.usage or OpenAIUsage()
    answer = {
        "id": read.id or _message_id(),
        "type": "message",
        "role": "assistant",
        "model": read.model or "",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": usage.anthropic(),
    }
    return Answer(encode(answer), None if read.usage is None else usage.plain(), read.id)


class MessageEvents:
    """A streamed answer as Anthropic's events; see :class:`~tiny_dancer.gateway.upstreams.base.Events`.

    Nothing is given out before there is something to say: until then another model may still take over. Blocks
    follow one another: one is closed when the next begins.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.id: str | None = None
        self.content = False
        self.finished = False
        self._counted = OpenAIUsage()
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
            raise ValueError(failures.openai(500, data).message)
        self.id = self.id or read.id
        self._model = self._model or read.model or ""
        if read.usage is not None:
            self._counted, self.usage = read.usage, read.usage.plain()
        given = b""
        for choice in read.choices or ():
            if choice.index == 0:
                given += self._choice(choice)
        # Some servers close the connection after these two, without [DONE].
        return given + self._end() if self._stop and read.usage is not None else given

    def cut(self, error: GatewayError) -> bytes:
        """The error as an event, as Anthropic does it; an answer that only lacks its last events gets those."""
        return self._end() if self._stop else sse.event(error.anthropic(), b"error")

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
            "usage": self._counted.anthropic(),
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
            + _event("message_delta", delta=delta, usage=self._counted.anthropic())
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
