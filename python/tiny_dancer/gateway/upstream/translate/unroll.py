"""Whole answers as streams: some servers answer with one JSON body where a stream was asked for.

What comes out is in the protocol that came in; the stream's reader takes it like any other stream.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.translate import failures
from tiny_dancer.gateway.upstream.translate.fields import encode, parse

_object = msgspec.json.Decoder(dict[str, Any])


def completion(body: bytes) -> list[bytes]:
    """A chat completion or completion, as two chunks and ``[DONE]``.

    Raises:
        Reported: it is an error.
        ValueError: it is neither.
    """
    said = parse(body, _object)
    choices = said.get("choices")
    if not isinstance(choices, list):
        raise failures.in_place_of(body) or ValueError(
            "no choices in an answer that came whole where a stream was asked for"
        )
    usage = said.pop("usage", None)
    kind = "chat.completion.chunk" if said.get("object") == "chat.completion" else said.get("object")
    frame = {**said, "object": kind}
    chunk = {**frame, "choices": [_chunk(each) for each in choices]}
    last = [] if usage is None else [sse.event(encode({**frame, "choices": [], "usage": usage}))]
    return [sse.event(encode(chunk)), *last, sse.DONE]


def _chunk(choice: Any) -> Any:
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        return choice
    message = dict(choice["message"])
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        message["tool_calls"] = [
            {"index": number, **each} if isinstance(each, dict) else each for number, each in enumerate(calls)
        ]
    rest = {name: value for name, value in choice.items() if name != "message"}
    rest["finish_reason"] = rest.get("finish_reason") or ("tool_calls" if calls else "stop")
    return {**rest, "delta": message}


def response(body: bytes) -> list[bytes]:
    """A response, as the events that make it up.

    Raises:
        Reported: it is an error.
        ValueError: it is neither.
    """
    said = parse(body, _object)
    if "output" not in said:
        raise failures.in_place_of(body) or ValueError(
            "no output in an answer that came whole where a stream was asked for"
        )
    status = said.get("status")
    last = (
        f"response.{status}"
        if status in ("completed", "incomplete", "failed", "cancelled")
        else "response.completed"
    )
    begun = {**said, "status": "in_progress", "output": [], "usage": None}
    events: list[tuple[str, dict[str, Any]]] = [("response.created", {"response": begun})]
    output = said["output"]
    for number, item in enumerate(output if isinstance(output, list) else ()):
        if isinstance(item, dict):
            events += _item(number, item)
    events.append((last, {"response": said}))
    return [
        sse.event(encode({"type": kind, "sequence_number": number, **fields}), kind.encode())
        for number, (kind, fields) in enumerate(events)
    ]


def _item(number: int, item: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """An item of the output: texts and arguments by an event each, all else with the item itself."""
    place = {"output_index": number, "item_id": item.get("id") or ""}
    empty = {
        name: type(item[name])() for name in ("content", "arguments") if isinstance(item.get(name), list | str)
    }
    events = [("response.output_item.added", {"output_index": number, "item": item | empty})]
    parts = item.get("content")
    for index, part in enumerate(parts if isinstance(parts, list) else ()):
        text = part.get("text") if isinstance(part, dict) else None
        if isinstance(text, str) and part.get("type") == "output_text":
            of = {**place, "content_index": index}
            events.append(("response.content_part.added", {**of, "part": part | {"text": ""}}))
            events.append(("response.output_text.delta", {**of, "delta": text, "logprobs": []}))
            events.append(("response.output_text.done", {**of, "text": text, "logprobs": []}))
            events.append(("response.content_part.done", {**of, "part": part}))
    arguments = item.get("arguments")
    if item.get("type") == "function_call" and isinstance(arguments, str):
        events.append(("response.function_call_arguments.delta", {**place, "delta": arguments}))
        name = {"name": item.get("name"), "arguments": arguments}
        events.append(("response.function_call_arguments.done", {**place, **name}))
    events.append(("response.output_item.done", {"output_index": number, "item": item}))
    return events


def message(body: bytes) -> list[bytes]:
    """A message of Anthropic's, as the events that make it up.

    Raises:
        Reported: it is an error.
        ValueError: it is neither.
    """
    said = parse(body, _object)
    content = said.get("content")
    if not isinstance(content, list):
        raise failures.in_place_of_message(body) or ValueError(
            "no content in an answer that came whole where a stream was asked for"
        )
    events: list[tuple[str, dict[str, Any]]] = [
        ("message_start", {"message": {**said, "content": [], "stop_reason": None}})
    ]
    for number, block in enumerate(content):
        events.append(("content_block_start", {"index": number, "content_block": _begun(block)}))
        events += [("content_block_delta", {"index": number, "delta": delta}) for delta in _deltas(block)]
        events.append(("content_block_stop", {"index": number}))
    delta = {"stop_reason": said.get("stop_reason"), "stop_sequence": said.get("stop_sequence")}
    events += [("message_delta", {"delta": delta, "usage": said.get("usage")}), ("message_stop", {})]
    return [sse.event(encode({"type": kind, **fields}), kind.encode()) for kind, fields in events]


def _begun(block: Any) -> Any:
    if not isinstance(block, dict):
        return block
    empty: dict[str, dict[str, Any]] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
    }
    return block | empty.get(str(block.get("type")), {})


def _deltas(block: Any) -> list[dict[str, Any]]:
    if not isinstance(block, dict):
        return []
    kind = block.get("type")
    if kind == "text":
        return [{"type": "text_delta", "text": block.get("text") or ""}]
    if kind == "tool_use":
        return [{"type": "input_json_delta", "partial_json": encode(block.get("input") or {}).decode()}]
    if kind == "thinking":
        return [
            {"type": "thinking_delta", "thinking": block.get("thinking") or ""},
            {"type": "signature_delta", "signature": block.get("signature") or ""},
        ]
    return []
