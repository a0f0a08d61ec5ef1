"""What the stand-in upstream says, protocol by protocol: whole answers as JSON, streamed ones event by event.

Everything follows from the request and a :class:`Behaviour`, so that a test knows each byte beforehand.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

CREATED = 1_700_000_000


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the upstream does with one request.

    Attributes:
        status: of HTTP; from 400 on the body is an OpenAI error.
        headers: added to those of the answer.
        error: message, type, param and code of the error.
        pieces: of the text; a streamed answer has an event for each.
        tool: name and arguments (JSON) of a function to call, in place of text.
        input_tokens: of the prompt.
        output_tokens: of the answer; None: one for each piece.
        cached_tokens: of the prompt.
        usage: whether the answer tells the tokens at all.
        fault: ``hang`` says nothing more and keeps the connection, ``cut`` closes it, ``reset`` breaks it (RST);
            ``stale`` breaks it where it has carried a request before, as a server does that closed it meanwhile.
        at: where the fault happens; ``middle`` is after ``after`` events, or half-way through a body.
        after: events before a fault in the middle.
        body: sent in place of the answer.
        content_type: in place of the right one.
        delay: seconds between events.
        free: events sent at once; each later one waits for :meth:`Received.allow`. None: all.
        close: close the connection after the answer, without having said so.
        batch: send all events in one write.
    """

    status: int = 200
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    error: dict[str, Any] = msgspec.field(default_factory=dict)
    pieces: tuple[str, ...] = ("Hello", " there", ", my", " friend", ".")
    tool: tuple[str, str] | None = None
    input_tokens: int = 30
    output_tokens: int | None = None
    cached_tokens: int = 0
    usage: bool = True
    fault: Literal["", "hang", "cut", "reset", "stale"] = ""
    at: Literal["headers", "first", "middle"] = "headers"
    after: int = 2
    body: bytes | None = None
    content_type: str | None = None
    delay: float = 0.0
    free: int | None = None
    close: bool = False
    batch: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """What a model says.

    Attributes:
        model: name the answer carries.
        number: of the request at its upstream; makes ids.
        request: the request's fields.
        how: text, tokens and faults.
    """

    model: str
    number: int
    request: dict[str, Any]
    how: Behaviour

    @property
    def text(self) -> str:
        return "".join(self.how.pieces)

    @property
    def output_tokens(self) -> int:
        return len(self.how.pieces) if self.how.output_tokens is None else self.how.output_tokens


def encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def data(value: object) -> bytes:
    """One server-sent event without a name."""
    return b"data: " + encoded(value) + b"\n\n"


def named(value: dict[str, Any]) -> bytes:
    """One server-sent event named after its type."""
    return b"event: " + value["type"].encode() + b"\n" + data(value)


# Chat completions


def _chat_usage(said: Said) -> dict[str, Any]:
    return {
        "prompt_tokens": said.how.input_tokens,
        "completion_tokens": said.output_tokens,
        "total_tokens": said.how.input_tokens + said.output_tokens,
        "prompt_tokens_details": {"cached_tokens": said.how.cached_tokens},
    }


def _choices(said: Said) -> int:
    """How many answers are asked for; 1 where that is no number a provider would take."""
    asked = said.request.get("n")
    return asked if type(asked) is int and 1 <= asked <= 128 else 1


def _calls(said: Said) -> list[dict[str, Any]]:
    assert said.how.tool is not None
    name, arguments = said.how.tool
    call = {"id": f"call_{said.number}", "type": "function", "function": {"name": name, "arguments": arguments}}
    return [call]


def chat(said: Said) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": said.text}
    if said.how.tool:
        message = {"role": "assistant", "content": None, "tool_calls": _calls(said)}
    finish = "tool_calls" if said.how.tool else "stop"
    answer = {
        "id": f"chatcmpl-{said.model}-{said.number}",
        "object": "chat.completion",
        "created": CREATED,
        "model": said.model,
        "choices": [
            {"index": index, "message": message, "finish_reason": finish} for index in range(_choices(said))
        ],
    }
    return encoded({**answer, "usage": _chat_usage(said)} if said.how.usage else answer)


def chat_events(said: Said) -> Iterator[bytes]:
    asked = (said.request.get("stream_options") or {}).get("include_usage")
    frame = {
        "id": f"chatcmpl-{said.model}-{said.number}",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": said.model,
    } | ({"usage": None} if asked else {})

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return data({**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    if said.how.tool:
        call = _calls(said)[0]
        name, arguments = said.how.tool
        start = {"index": 0, **call, "function": {"name": name, "arguments": ""}}
        yield chunk({"role": "assistant", "content": None, "tool_calls": [start]})
        middle = len(arguments) // 2
        for part in (arguments[:middle], arguments[middle:]):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
    else:
        for index, piece in enumerate(said.how.pieces):
            yield chunk({"role": "assistant", "content": piece} if index == 0 else {"content": piece})
    end = chunk({}, "tool_calls" if said.how.tool else "stop")
    if asked and said.how.usage:
        end += data({**frame, "choices": [], "usage": _chat_usage(said)})
    yield end + b"data: [DONE]\n\n"


# Legacy completions


def completion(said: Said) -> bytes:
    return encoded(
        {
            "id": f"cmpl-{said.model}-{said.number}",
            "object": "text_completion",
            "created": CREATED,
            "model": said.model,
            "choices": [{"index": 0, "text": said.text, "logprobs": None, "finish_reason": "stop"}],
            "usage": _chat_usage(said),
        }
    )


def completion_events(said: Said) -> Iterator[bytes]:
    frame = {
        "id": f"cmpl-{said.model}-{said.number}",
        "object": "text_completion",
        "created": CREATED,
        "model": said.model,
    }
    for piece in said.how.pieces:
        choice = {"index": 0, "text": piece, "logprobs": None, "finish_reason": None}
        yield data({**frame, "choices": [choice]})
    end = data({**frame, "choices": [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}]})
    if (said.request.get("stream_options") or {}).get("include_usage"):
        end += data({**frame, "choices": [], "usage": _chat_usage(said)})
    yield end + b"data: [DONE]\n\n"


# Embeddings


def embedding(said: Said) -> bytes:
    texts = said.request.get("input")
    count = len(texts) if isinstance(texts, list) else 1
    values: list[float] = [0.25, -0.5, 1.0]
    vector: object = values
    if said.request.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack("<3f", *values)).decode()
    return encoded(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)],
            "model": said.model,
            "usage": {"prompt_tokens": said.how.input_tokens, "total_tokens": said.how.input_tokens},
        }
    )


# Responses


def _response(said: Said, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"resp_{said.model}_{said.number}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": said.model,
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": said.request.get("tools") or [],
        "top_p": 1.0,
        "usage": None
        if status != "completed"
        else {
            "input_tokens": said.how.input_tokens,
            "input_tokens_details": {"cached_tokens": said.how.cached_tokens},
            "output_tokens": said.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": said.how.input_tokens + said.output_tokens,
        },
    }


def _item(said: Said, status: str, text: str | None = None) -> dict[str, Any]:
    if said.how.tool:
        name, arguments = said.how.tool
        return {
            "type": "function_call",
            "id": f"fc_{said.number}",
            "call_id": f"call_{said.number}",
            "name": name,
            "arguments": arguments if status == "completed" else "",
            "status": status,
        }
    part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
    return {
        "type": "message",
        "id": f"msg_{said.number}",
        "role": "assistant",
        "status": status,
        "content": [] if text is None else [part],
    }


def response(said: Said) -> bytes:
    return encoded(_response(said, "completed", [_item(said, "completed", said.text)]))


def response_events(said: Said) -> Iterator[bytes]:
    number = iter(range(10**9))

    def event(kind: str, **fields: Any) -> bytes:
        return named({"type": kind, "sequence_number": next(number), **fields})

    first = event("response.created", response=_response(said, "in_progress", []))
    place: dict[str, Any] = {"output_index": 0}
    first += event("response.output_item.added", **place, item=_item(said, "in_progress"))
    place["item_id"] = f"{'fc' if said.how.tool else 'msg'}_{said.number}"
    if said.how.tool:
        arguments = said.how.tool[1]
        yield first + event("response.function_call_arguments.delta", **place, delta=arguments)
        last = event("response.function_call_arguments.done", **place, name=said.how.tool[0], arguments=arguments)
    else:
        place["content_index"] = 0
        part: dict[str, Any] = {"type": "output_text", "text": "", "annotations": []}
        first += event("response.content_part.added", **place, part=part)
        for index, piece in enumerate(said.how.pieces):
            delta = event("response.output_text.delta", **place, delta=piece, logprobs=[])
            yield delta if index else first + delta
        last = event("response.output_text.done", **place, text=said.text, logprobs=[])
        last += event("response.content_part.done", **place, part={**part, "text": said.text})
    item = _item(said, "completed", said.text)
    last += event("response.output_item.done", output_index=0, item=item)
    yield last + event("response.completed", response=_response(said, "completed", [item]))


# Anthropic messages


def _message(said: Said, content: list[dict[str, Any]], stop: str | None, output: int) -> dict[str, Any]:
    return {
        "id": f"msg_{said.model}_{said.number}",
        "type": "message",
        "role": "assistant",
        "model": said.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {
            "input_tokens": said.how.input_tokens - said.how.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": said.how.cached_tokens,
            "output_tokens": output,
        },
    }


def message(said: Said) -> bytes:
    if said.how.tool:
        name, arguments = said.how.tool
        block = {"type": "tool_use", "id": f"toolu_{said.number}", "name": name, "input": json.loads(arguments)}
        return encoded(_message(said, [block], "tool_use", said.output_tokens))
    return encoded(_message(said, [{"type": "text", "text": said.text}], "end_turn", said.output_tokens))


def message_events(said: Said) -> Iterator[bytes]:
    def delta(fields: dict[str, Any]) -> bytes:
        return named({"type": "content_block_delta", "index": 0, "delta": fields})

    block: dict[str, Any] = {"type": "text", "text": ""}
    deltas = [{"type": "text_delta", "text": piece} for piece in said.how.pieces]
    if said.how.tool:
        name, arguments = said.how.tool
        block = {"type": "tool_use", "id": f"toolu_{said.number}", "name": name, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": arguments}]
    first = named({"type": "message_start", "message": _message(said, [], None, 1)})
    first += named({"type": "content_block_start", "index": 0, "content_block": block})
    for index, each in enumerate(deltas):
        yield delta(each) if index else first + delta(each)
    last = named({"type": "content_block_stop", "index": 0})
    stop = {"stop_reason": "tool_use" if said.how.tool else "end_turn", "stop_sequence": None}
    last += named({"type": "message_delta", "delta": stop, "usage": {"output_tokens": said.output_tokens}})
    yield last + named({"type": "message_stop"})


WHOLE = {
    "/chat/completions": chat,
    "/completions": completion,
    "/embeddings": embedding,
    "/responses": response,
    "/messages": message,
}
STREAMED = {
    "/chat/completions": chat_events,
    "/completions": completion_events,
    "/responses": response_events,
    "/messages": message_events,
}
