"""How servers of models speak, byte by byte: what tables of answers are made of.

``c``, ``w`` and ``t`` are pieces of streamed chat completions, ``whole`` one in one piece; ``e`` is an event with
a name, as of messages and responses; ``message``, ``begun``, ``block``, ``text`` and ``ended`` are those of
messages.
"""

from __future__ import annotations

import json
from typing import Any

from tests.raw_upstream import answered

U = {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050}
SAID = (1000, 50)
GUESSED = None
DONE = b"data: [DONE]\n\n"


def said(value: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(value).encode()


def c(delta: Any = None, finish: Any = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return said({**frame, "choices": [choice], **more})


ROLE = c({"role": "assistant", "content": ""})
STOP = c(finish="stop")
USED = said({"id": "chatcmpl-1", "choices": [], "usage": U})
END = (STOP, USED, DONE)


def w(text: str) -> bytes:
    return c({"content": text})


def t(index: Any = 0, **call: Any) -> bytes:
    """A piece of a tool call; without an index where that is None."""
    name, arguments = call.pop("name", ...), call.pop("arguments", ...)
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not ...}
    number = {} if index is None else {"index": index}
    return c({"tool_calls": [{**number, **call, "function": function}]})


CALLED = (c(finish="tool_calls"), USED, DONE)


def whole(message: Any = None, finish: Any = "stop", usage: Any = U, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "hi", **(message or {})}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    completion = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return {**completion, "usage": usage, **more}


def js(value: Any, status: int = 200, *lines: str) -> list[Any]:
    return [answered(json.dumps(value).encode(), status, "application/json", *lines)]


def e(kind: str, *, named: bool = True, **more: Any) -> bytes:
    name = f"event: {kind}\n".encode() if named else b""
    return name + said({"type": kind, **more})


def message(content: Any = None, usage: Any = ..., **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 5} if usage is ... else usage
    content = [{"type": "text", "text": "hi"}] if content is None else content
    frame = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_sequence": None}
    return {**frame, "content": content, "stop_reason": "end_turn", "usage": usage, **more}


def begun(usage: Any = ..., named: bool = True) -> bytes:
    usage = {"input_tokens": 10, "output_tokens": 1} if usage is ... else usage
    return e("message_start", named=named, message=message([], usage, stop_reason=None))


def block(index: int, begins: Any, *deltas: Any, named: bool = True) -> bytes:
    return b"".join(
        [
            e("content_block_start", named=named, index=index, content_block=begins),
            *(e("content_block_delta", named=named, index=index, delta=delta) for delta in deltas),
            e("content_block_stop", named=named, index=index),
        ]
    )


def text(words: str, index: int = 0, named: bool = True) -> bytes:
    return block(index, {"type": "text", "text": ""}, {"type": "text_delta", "text": words}, named=named)


def ended(reason: Any = "end_turn", usage: Any = ..., named: bool = True) -> bytes:
    counted = {} if usage is None else {"usage": {"output_tokens": 5} if usage is ... else usage}
    delta = {"stop_reason": reason, "stop_sequence": None}
    return e("message_delta", named=named, delta=delta, **counted) + e("message_stop", named=named)


HI: Any = ("hi", [], SAID)
F1 = [("f", '{"a":1}')]
BOTH = [("f", '{"a":1}'), ("g", '{"b":2}')]
