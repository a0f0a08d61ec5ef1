"""An Anthropic answer, whole or streamed, as an OpenAI chat completion."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct, field

from tiny_dancer.gateway import sse
from tiny_dancer.gateway.translate import failures
from tiny_dancer.gateway.translate.fields import encode, parse
from tiny_dancer.gateway.translate.usage import AnthropicUsage
from tiny_dancer.gateway.upstreams.base import Answer

if TYPE_CHECKING:
    from tiny_dancer.gateway.errors import GatewayError
    from tiny_dancer.gateway.upstreams.base import Usage

FINISH_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class _Block(Struct):
    """A block of any type, with the fields of those that have a counterpart."""

    type: str
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: Raw = Raw(b"{}")


class _Message(Struct):
    id: str
    model: str
    content: list[_Block]
    stop_reason: str | None = None
    usage: AnthropicUsage = field(default_factory=AnthropicUsage)


class _Delta(Struct):
    """Of a block or, with its reason to stop, of the message."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class _Event(Struct):
    type: str
    message: _Message | None = None
    index: int = 0
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: AnthropicUsage | None = None


_message: Final = msgspec.json.Decoder(_Message)
_event: Final = msgspec.json.Decoder(_Event)


def response(body: bytes) -> Answer:
    """A whole answer.

    Raises:
        ValueError: it is no message of Anthropic's.
    """
    read = parse(body, _message)
    text = [block.text for block in read.content if block.type == "text"]
    thinking = [block.thinking for block in read.content if block.type == "thinking"]
    calls = [
        {
            "id": block.id,
            "type": "function",
            "function": {"name": block.name, "arguments": bytes(block.input).decode()},
        }
        for block in read.content
        if block.type == "tool_use"
    ]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(text) if text else None, "refusal": None}
    if any(thinking):
        message["reasoning_content"] = "".join(thinking)
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(read.stop_reason)}
    completion = {
        "id": read.id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": read.model,
        "choices": [choice],
        "usage": read.usage.openai(),
    }
    return Answer(encode(completion), read.usage.plain(), read.id)


class ChunkEvents:
    """A streamed answer as chunks; see :class:`~tiny_dancer.gateway.upstreams.base.Events`.

    Nothing is given out before there is something to say: until then another model may still take over.
    """

    def __init__(self, *, wants_usage: bool) -> None:
        """``wants_usage``: the client asked for the chunk that says what the stream cost."""
        self.usage: Usage | None = None
        self.id: str | None = None
        self.content = False
        self.finished = False
        self._wants_usage = wants_usage
        self._counted = AnthropicUsage()
        self._model = ""
        self._created = int(time.time())
        self._calls: dict[int, int] = {}  # index of a block of Anthropic's: index of the tool call
        self._stopped = False

    def feed(self, event: bytes) -> bytes:
        """The chunks that say the same; an ``error`` event raises as what it is: the end of what can be read."""
        data = sse.data_of(event)
        if not data:
            return b""
        read = parse(data, _event)
        if read.type == "content_block_delta":
            return b"" if read.delta is None else self._block_delta(read.index, read.delta)
        if read.type == "content_block_start":
            return b"" if read.content_block is None else self._block_start(read.index, read.content_block)
        if read.type == "message_start":
            if read.message is None:
                raise ValueError("message_start without a message")
            self.id, self._model = read.message.id, read.message.model
            self._count(read.message.usage)
        elif read.type == "message_delta":
            return self._message_delta(read)
        elif read.type == "message_stop":
            return self._end()
        elif read.type == "error":
            raise ValueError(failures.anthropic_event(data).message)
        return b""

    def cut(self, error: GatewayError) -> bytes:
        """The error as an event, as OpenAI does it; an answer that only lacks its last event gets that."""
        return self._end() if self._stopped else sse.event(error.openai())

    def _block_start(self, index: int, block: _Block) -> bytes:
        if block.type == "tool_use":
            number = self._calls[index] = len(self._calls)
            function = {"name": block.name, "arguments": ""}
            call = {"index": number, "id": block.id, "type": "function", "function": function}
            return self._chunk({"tool_calls": [call]})
        return self._words(block.text, block.thinking)

    def _block_delta(self, index: int, delta: _Delta) -> bytes:
        if delta.type == "input_json_delta" and index in self._calls:
            if not delta.partial_json:
                return b""
            call = {"index": self._calls[index], "function": {"arguments": delta.partial_json}}
            return self._chunk({"tool_calls": [call]})
        return self._words(delta.text, delta.thinking)

    def _words(self, text: str, thinking: str) -> bytes:
        if thinking:
            return self._chunk({"reasoning_content": thinking})
        return self._chunk({"content": text}) if text else b""

    def _message_delta(self, read: _Event) -> bytes:
        if read.usage is not None:
            self._count(read.usage)
        if read.delta is None or read.delta.stop_reason is None or self._stopped:
            return b""
        self._stopped = True
        return self._chunk({}, _finish(read.delta.stop_reason))

    def _end(self) -> bytes:
        if self.finished:
            return b""
        self.finished = True
        if not self._wants_usage:
            return sse.DONE
        chunk = {**self._frame(), "choices": [], "usage": self._counted.openai()}
        return sse.event(encode(chunk)) + sse.DONE

    def _count(self, usage: AnthropicUsage) -> None:
        self._counted.update(usage)
        self.usage = self._counted.plain()

    def _frame(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
        }

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        if self.id is None:
            raise ValueError("a stream that does not begin with message_start")
        first = b""
        if not self.content:
            self.content = True
            first = self._chunk({"role": "assistant", "content": ""})
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = {**self._frame(), "choices": [choice]}
        if self._wants_usage:
            chunk["usage"] = None
        return first + sse.event(encode(chunk))


def _finish(stop_reason: str | None) -> str:
    return FINISH_REASONS.get(stop_reason or "", "stop")
