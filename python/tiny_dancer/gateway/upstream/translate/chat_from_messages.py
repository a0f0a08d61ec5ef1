"""Anthropic's answers as chat completions: whole, and event by event.

An answer that carries content is served, whatever is odd around it. Blocks of types OpenAI has no word for (what
a tool at Anthropic's was asked and found) are passed over: the text that follows says what came of it.

What a model thought is ``reasoning_content``. Thinking that is signed, or in cipher, is given out as
``thinking_blocks`` too, as LiteLLM does: in a stream each block when it is whole, with an index, as OpenAI's
library wants it of lists in a delta. Clients send them back in the assistant's message, and
:mod:`.chat_over_messages` puts them first.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import msgspec
from msgspec import Raw, Struct

from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.dialect import Answer, Reported
from tiny_dancer.gateway.upstream.translate import failures, history
from tiny_dancer.gateway.upstream.translate.fields import (
    ABSENT,
    Halves,
    encode,
    identifier,
    lenient,
    parse,
    present,
)
from tiny_dancer.gateway.upstream.translate.usage import AnthropicCounts, say_openai

if TYPE_CHECKING:
    from tiny_dancer.gateway.errors import GatewayError
    from tiny_dancer.gateway.upstream.dialect import Usage

FINISH_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""By Anthropic's; what is not here is ``stop``. One that calls tools and ends well ends by ``tool_calls``."""


class _Block(Struct):
    """A block of any type, with the fields of those that have a counterpart."""

    type: Any = None
    text: Any = None
    thinking: Any = None
    signature: Any = None
    data: Any = None
    id: Any = None
    name: Any = None
    input: Raw = ABSENT


class _Message(Struct):
    id: Any = None
    type: Any = None
    model: Any = None
    content: Raw = ABSENT
    stop_reason: Any = None
    usage: Raw = ABSENT
    error: Raw = ABSENT


class _Delta(Struct):
    """Of a block or, with its reason to stop, of the message."""

    type: Any = None
    text: Any = None
    thinking: Any = None
    signature: Any = None
    partial_json: Any = None
    stop_reason: Any = None


class _Event(Struct):
    type: Any = None
    message: _Message | None = None
    index: Any = 0
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: Raw = ABSENT


_message: Final = msgspec.json.Decoder(_Message)
_blocks: Final = msgspec.json.Decoder(list[Raw])
_block: Final = msgspec.json.Decoder(_Block)
_string: Final = msgspec.json.Decoder(str)
_event: Final = msgspec.json.Decoder(_Event)


def response(body: bytes) -> Answer:
    """A whole answer.

    Raises:
        Reported: it is an error.
        ValueError: it is no message of Anthropic's.
    """
    read = parse(body, _message)
    if not present(read.content) and read.type != "message":
        raise failures.in_place_of_message(body) or ValueError("no content in the answer")
    usage = AnthropicCounts(read.usage).usage
    text: list[str] = []
    thinking: list[str] = []
    thoughts: list[dict[str, str]] = []
    calls: list[dict[str, Any]] = []
    ids = history.answer_ids()
    for block in _read_blocks(read.content):
        if block.type == "text":
            text.append(_words(block.text))
        elif block.type == "tool_use":
            calls.append(
                _call(ids.call(identifier(block.id) or _call_id()), _words(block.name), _arguments(block))
            )
        elif block.type == "thinking":
            thinking.append(_words(block.thinking))
            if signature := _words(block.signature):
                thoughts.append(_thought(thinking[-1], signature))
        elif block.type == "redacted_thinking":
            thoughts.append(_redacted(block))
    message: dict[str, Any] = {"role": "assistant", "content": "".join(text) if text else None, "refusal": None}
    if any(thinking):
        message["reasoning_content"] = "".join(thinking)
    if thoughts:
        message["thinking_blocks"] = thoughts
    if calls:
        message["tool_calls"] = calls
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _finish(read.stop_reason, called=bool(calls)),
    }
    said_id = identifier(read.id)
    completion = {
        "id": said_id or _completion_id(),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": _words(read.model),
        "choices": [choice],
        "usage": say_openai(usage),
    }
    return Answer(encode(completion), usage, said_id or None)


def _read_blocks(content: Raw) -> list[_Block]:
    """The blocks; a text alone is one, and what is no block is passed over."""
    if not present(content):
        return []
    raw = bytes(content)
    if raw.startswith(b'"'):
        return [_Block("text", _string.decode(raw))]
    found: list[_Block] = []
    for each in parse(raw, _blocks):
        said = bytes(each)
        if said.startswith(b"{"):
            found.append(_block.decode(said))
        elif said.startswith(b'"'):
            found.append(_Block("text", _string.decode(said)))
    return found


def _arguments(block: _Block) -> str:
    """A call's input as a text; ``{}`` where there is none."""
    if not present(block.input):
        return "{}"
    raw = bytes(block.input)
    # An input that is a text already.
    return _string.decode(raw) if raw.startswith(b'"') else raw.decode()


def _call(identifier: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


def _thought(thinking: str, signature: str) -> dict[str, str]:
    return {"type": "thinking", "thinking": thinking, "signature": signature}


def _redacted(block: _Block) -> dict[str, str]:
    return {"type": "redacted_thinking", "data": _words(block.data)}


class _Open:
    """What has come of a block of the stream."""

    __slots__ = ("arguments", "call", "halves", "input", "signature", "thinking")

    def __init__(self) -> None:
        self.call: int | None = None  # index of the tool call
        self.input = ""  # that stood in the block's first event
        self.arguments = False  # whether any came since
        self.thinking: list[str] = []
        self.signature = ""
        self.halves = Halves()


class ChunkEvents:
    """A streamed answer as chunks; see :class:`~tiny_dancer.gateway.upstream.dialect.Events`.

    Nothing is given out before there is something to say: until then another model may still take over.
    """

    def __init__(self, *, wants_usage: bool) -> None:
        """``wants_usage``: the client asked for the chunk that says what the stream cost."""
        self.usage: Usage | None = None
        self.id: str | None = None
        self.content = False
        self.finished = False
        self.error: GatewayError | None = None
        self._wants_usage = wants_usage
        self._counted = AnthropicCounts()
        self._given_id = ""
        self._model = ""
        self._created = int(time.time())
        self._open: dict[Any, _Open] = {}  # by the index of the block
        self._calls = 0
        self._thoughts = 0
        self._ids = history.answer_ids()
        self._stopped = False

    def feed(self, event: bytes) -> bytes:
        """The chunks that say the same."""
        data = sse.data_of(event)
        if self.finished:
            return b""
        if data.strip() == b"[DONE]":
            return self.end()  # a habit of the other protocol
        if not data.startswith((b"{", b"[")):
            return b""
        read = _read(data)
        if read is None:
            return b""
        if type(read.type) is not str and (said := failures.untyped(event, data)) is not None:
            return self._failed(said)
        if type(read.index) is not int:
            read.index = 0
        if read.type == "content_block_delta":
            return b"" if read.delta is None else self._block_delta(read.index, read.delta)
        if read.type == "content_block_start":
            return b"" if read.content_block is None else self._block_start(read.index, read.content_block)
        if read.type == "content_block_stop":
            return self._block_stop(read.index)
        if read.type == "message_start":
            if read.message is not None:
                self.id, self._model = identifier(read.message.id) or None, _words(read.message.model)
                self._count(read.message.usage)
        elif read.type == "message_delta":
            return self._message_delta(read)
        elif read.type == "message_stop":
            return self._end()
        elif read.type == "error":
            return self._failed(failures.anthropic_event(data))
        return b""

    def end(self) -> bytes:
        """The last events, where only those are missing."""
        return self._end() if self._stopped else b""

    def _failed(self, error: GatewayError) -> bytes:
        if not self.content:
            raise Reported(error)
        self.error = error
        self.finished = True
        return sse.event(error.openai())

    def cut(self, error: GatewayError) -> bytes:
        """The error as an event, as OpenAI does it, unless the upstream has said one."""
        return b"" if self.error is not None else sse.event(error.openai())

    def _block_start(self, index: Any, block: _Block) -> bytes:
        given = self._block_stop(index)
        opened = self._open[index] = _Open()
        if block.type == "tool_use":
            opened.call = self._calls
            self._calls += 1
            if present(block.input):
                opened.input = _arguments(block)
            call = _call(self._ids.call(identifier(block.id) or _call_id()), _words(block.name), "")
            return given + self._chunk({"tool_calls": [{"index": opened.call, **call}]})
        if block.type == "redacted_thinking":
            return given + self._think(_redacted(block))
        opened.signature = _words(block.signature) if block.type == "thinking" else ""
        return given + self._say(opened, block)

    def _block_delta(self, index: Any, delta: _Delta) -> bytes:
        opened = self._open.get(index)
        if opened is None:
            opened = self._open[index] = _Open()
        if opened.call is not None:
            arguments = opened.halves.join(_words(delta.partial_json))
            if not arguments:
                return b""
            opened.arguments = True
            return self._argue(opened.call, arguments)
        if signature := _words(delta.signature):
            opened.signature = signature
        return self._say(opened, delta)

    def _block_stop(self, index: Any) -> bytes:
        """What is left to say of a block."""
        opened = self._open.pop(index, None)
        if opened is None:
            return b""
        rest = opened.halves.rest()
        if opened.call is not None:
            if not opened.arguments:
                rest = opened.input or "{}"  # the whole input stood in the first event, or there is none
            return self._argue(opened.call, rest) if rest else b""
        given = b""
        if rest and opened.thinking:
            opened.thinking.append(rest)
            given = self._chunk({"reasoning_content": rest})
        elif rest:
            given = self._chunk({"content": rest})
        if opened.signature:
            given += self._think(_thought("".join(opened.thinking), opened.signature))
        return given

    def _say(self, opened: _Open, said: _Block | _Delta) -> bytes:
        if thinking := opened.halves.join(_words(said.thinking)):
            opened.thinking.append(thinking)
            return self._chunk({"reasoning_content": thinking})
        text = opened.halves.join(_words(said.text))
        return self._chunk({"content": text}) if text else b""

    def _argue(self, call: int, arguments: str) -> bytes:
        return self._chunk({"tool_calls": [{"index": call, "function": {"arguments": arguments}}]})

    def _think(self, thought: dict[str, str]) -> bytes:
        self._thoughts += 1
        return self._chunk({"thinking_blocks": [{"index": self._thoughts - 1, **thought}]})

    def _message_delta(self, read: _Event) -> bytes:
        self._count(read.usage)
        if read.delta is None or not _words(read.delta.stop_reason) or self._stopped:
            return b""
        return self._stop(read.delta.stop_reason)

    def _stop(self, reason: Any) -> bytes:
        given = b"".join([self._block_stop(index) for index in list(self._open)])
        self._stopped = True
        return given + self._chunk({}, _finish(reason, called=self._calls > 0))

    def _end(self) -> bytes:
        if self.finished:
            return b""
        given = b"" if self._stopped else self._stop(None)
        self.finished = True
        if not self._wants_usage:
            return given + sse.DONE
        chunk = {**self._frame(), "choices": [], "usage": say_openai(self.usage)}
        return given + sse.event(encode(chunk)) + sse.DONE

    def _count(self, usage: Raw) -> None:
        self._counted.update(usage)
        self.usage = self._counted.usage

    def _frame(self) -> dict[str, Any]:
        if not self._given_id:
            self._given_id = self.id or _completion_id()
        return {
            "id": self._given_id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
        }

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        first = b""
        if not self.content:
            self.content = True
            first = self._chunk({"role": "assistant", "content": ""})
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = {**self._frame(), "choices": [choice]}
        if self._wants_usage:
            chunk["usage"] = None
        return first + sse.event(encode(chunk))


def _read(data: bytes) -> _Event | None:
    """An event; None where it is JSON of another shape."""
    try:
        return _event.decode(data)
    except msgspec.ValidationError:
        return None
    except (msgspec.DecodeError, RecursionError):
        said = lenient(data)
    if not isinstance(said, dict):
        return None
    # What has to stay in halves of characters are texts of blocks and deltas; the rest is read as usual.
    read = _read_whole(data)
    if read is not None:
        for part, found in ((read.delta, said.get("delta")), (read.content_block, said.get("content_block"))):
            if part is not None and isinstance(found, dict):
                for name in ("text", "thinking", "partial_json"):
                    if hasattr(part, name):
                        setattr(part, name, found.get(name))
    return read


def _read_whole(data: bytes) -> _Event | None:
    try:
        return parse(data, _event)
    except msgspec.ValidationError:
        return None


def _finish(stop_reason: Any, *, called: bool) -> str:
    reason = FINISH_REASONS.get(_words(stop_reason), "stop")
    if reason in ("stop", "tool_calls"):
        return "tool_calls" if called else "stop"
    return reason


def _words(said: Any) -> str:
    return said if isinstance(said, str) else ""


def _completion_id() -> str:
    return f"chatcmpl-{uuid4().hex}"


def _call_id() -> str:
    return f"call_{uuid4().hex}"
