"""Streams as whole answers: some servers stream where one JSON body was asked for.

What comes out is in the protocol that came in; the answer's reader takes it like any other body.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.dialect import Reported
from tiny_dancer.gateway.upstream.translate import arguments, failures
from tiny_dancer.gateway.upstream.translate.fields import encode, index_of, parse
from tiny_dancer.gateway.upstream.translate.usage import read_openai

if TYPE_CHECKING:
    from collections.abc import Iterator

_object = msgspec.json.Decoder(dict[str, Any])


_STREAM: Final = re.compile(rb"[ \t\r\n\xef\xbb\xbf]*+(?:data|event|id|retry|):")


def is_stream(body: bytes) -> bool:
    """Whether a body is server-sent events."""
    return _STREAM.match(body) is not None


def completion(body: bytes) -> bytes:
    """Chunks, as a chat completion or completion.

    Raises:
        Reported: the stream is an error.
        ValueError: it holds no chunks.
    """
    whole: dict[str, Any] = {}
    choices: dict[Any, dict[str, Any]] = {}
    for chunk in _events(body):
        if chunk.get("error"):
            raise failures.reported(encode(chunk))
        for choice in _listed(chunk.pop("choices", None)):
            _add(choices.setdefault(index_of(choice, 0), {}), choice)
        counted = chunk.pop("usage", None)
        if read_openai(encode(counted)) is not None or "usage" not in whole:
            whole["usage"] = counted
        whole.update({name: value for name, value in chunk.items() if value is not None})
    if not choices:
        raise failures.in_place_of(encode(whole)) or ValueError(
            "no choices in a stream that came where one answer was asked for"
        )
    for choice in choices.values():
        if "delta" in choice:
            choice["message"] = {"role": "assistant", "content": None, **choice.pop("delta")}
            for call in _listed(choice["message"].get("tool_calls")):
                call.pop("index", None)
    if whole.get("object") == "chat.completion.chunk":
        whole["object"] = "chat.completion"
    return encode({**whole, "choices": list(choices.values())})


def response(body: bytes) -> bytes:
    """Events of a response, as the response its last one holds.

    Raises:
        Reported: the stream is an error.
        ValueError: it has no last event.
    """
    for event in _events(body):
        kind = str(event.get("type"))
        if kind == "error":
            raise failures.reported(encode(event))
        if kind.startswith("response.") and isinstance(found := event.get("response"), dict):
            last = found
            if kind.removeprefix("response.") in ("completed", "incomplete", "failed", "cancelled"):
                return encode(last)
    raise ValueError("no last event in a stream that came where one answer was asked for")


def message(body: bytes) -> bytes:
    """Events of Anthropic's, as the message they make up.

    Raises:
        Reported: the stream is an error.
        ValueError: it has no message.
    """
    whole: dict[str, Any] = {}
    blocks: dict[Any, dict[str, Any]] = {}
    inputs: dict[Any, str] = {}
    for event in _events(body):
        kind, index = event.get("type"), index_of(event, 0)
        delta = event.get("delta") or {}
        if kind == "error":
            raise Reported(failures.anthropic_event(encode(event)))
        if kind == "message_start":
            whole = dict(event.get("message") or {})
        elif kind == "content_block_start":
            blocks[index] = dict(event.get("content_block") or {})
        elif kind == "content_block_delta":
            if delta.get("type") == "input_json_delta":
                inputs[index] = inputs.get(index, "") + (delta.get("partial_json") or "")
            for name in ("text", "thinking", "signature"):
                if isinstance(said := delta.get(name), str):
                    block = blocks.setdefault(index, {"type": name})
                    block[name] = (block.get(name) or "") + said
        elif kind == "message_delta":
            whole.update({name: value for name, value in delta.items() if value is not None})
            whole["usage"] = {**(whole.get("usage") or {}), **(event.get("usage") or {})}
    if not whole and not blocks:
        raise ValueError("no message in a stream that came where one answer was asked for")
    for index, text in inputs.items():
        if index in blocks and text:
            blocks[index]["input"] = arguments.read(text).input
    return encode({**whole, "content": list(blocks.values())})


def _events(body: bytes) -> Iterator[dict[str, Any]]:
    for event in sse.split(body + b"\n\n")[0]:
        data = sse.data_of(event)
        if data.startswith((b"{", b"[")) and data != b"[DONE]":
            yield parse(data, _object)


def _listed(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _add(whole: dict[str, Any], part: dict[str, Any]) -> None:
    """Puts what a chunk adds to what was there: texts go on, tool calls by their index, the rest is replaced."""
    for name, value in part.items():
        before = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif isinstance(value, dict) and isinstance(before, dict):
            _add(before, value)
        elif name == "tool_calls":
            calls = whole[name] = before if isinstance(before, list) else []
            for call in _listed(value):
                # The latest of an index: some servers say 0, or none, for all.
                same = next((each for each in reversed(calls) if each.get("index") == call.get("index")), None)
                if same is None or _is_another(call, same):
                    calls.append(call)
                else:
                    _add(same, {key: each for key, each in call.items() if key not in ("id", "index", "type")})
        elif isinstance(value, list) and isinstance(before, list):
            before += value
        elif isinstance(value, str) and isinstance(before, str) and name in _CONTINUED:
            whole[name] = before + value
        else:
            whole[name] = value


def _is_another(call: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether a piece of a call begins another one."""
    named = isinstance(function := call.get("function"), dict) and function.get("name")
    return bool(named and call.get("id") and before.get("id") and call["id"] != before["id"])


_CONTINUED = ("content", "text", "refusal", "reasoning_content", "reasoning", "arguments", "thinking")
