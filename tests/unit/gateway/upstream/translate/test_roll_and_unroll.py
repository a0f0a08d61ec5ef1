"""A stream where one answer was asked for, and one answer where a stream was: the same either way."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.gateway.upstream.dialect import Reported
from tiny_dancer.gateway.upstream.kinds.openai import ChunkEvents
from tiny_dancer.gateway.upstream.translate import roll, unroll

TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.uuids().map(str),
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": st.sampled_from("fg"), "arguments": TEXT}),
        }
    ),
    min_size=1,
    max_size=3,
)


def encoded(value: object) -> bytes:
    return msgspec.json.encode(value)


@given(TEXT, st.none() | CALLS, st.none() | TEXT)
def test_a_completion_and_back(text: str, calls: list[Any] | None, reasoning: str | None) -> None:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls is not None:
        message["tool_calls"] = calls
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    whole = {
        "id": "c",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    stream = b"".join(unroll.completion(encoded(whole)))
    assert roll.is_stream(stream)
    assert msgspec.json.decode(roll.completion(stream)) == whole


@given(TEXT, TEXT)
def test_a_message_and_back(text: str, thought: str) -> None:
    whole = {
        "id": "m",
        "type": "message",
        "content": [
            {"type": "thinking", "thinking": thought, "signature": "s"},
            {"type": "text", "text": text},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": text}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    assert msgspec.json.decode(roll.message(b"".join(unroll.message(encoded(whole))))) == whole


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
def test_a_response_and_back(status: str) -> None:
    whole = {"id": "r", "status": status, "output": [{"type": "message"}], "usage": None}
    assert msgspec.json.decode(roll.response(b"".join(unroll.response(encoded(whole))))) == whole


def test_chunks_are_put_together() -> None:
    def chunk(delta: dict[str, Any], index: int = 0, **more: Any) -> bytes:
        return b"data: " + encoded({"id": "c", "choices": [{"index": index, "delta": delta, **more}]}) + b"\n\n"

    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}
    stream = (
        b": wait\n\n"
        + chunk({"role": "assistant", "content": "Hel"})
        + chunk({"content": "other"}, 1)
        + chunk({"content": "lo", "tool_calls": [call]})
        + chunk({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}}]})
        + chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"x":'}}]})
        + chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}, finish_reason="tool_calls")
        + b'data: {"choices": [], "usage": {"prompt_tokens": 3}}\n\ndata: [DONE]\n\n'
    )
    found = msgspec.json.decode(roll.completion(stream))
    first, second = found["choices"]
    assert (first["message"]["content"], second["message"]["content"]) == ("Hello", "other")
    assert [each["function"] for each in first["message"]["tool_calls"]] == [
        {"name": "f", "arguments": '{"x":1}'},
        {"name": "g", "arguments": "{}"},
    ]
    assert (first["finish_reason"], found["usage"]) == ("tool_calls", {"prompt_tokens": 3})


@pytest.mark.parametrize(
    "undo", [roll.completion, roll.response, roll.message, unroll.completion, unroll.response, unroll.message]
)
def test_errors_are_reported_and_nothing_is_an_error(undo: Any) -> None:
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "no", "code": 400}}
    body = encoded(error)
    with pytest.raises(Reported, match="no") as raised:
        undo(b"data: " + body + b"\n\n" if undo.__module__.endswith(".roll") else body)
    assert raised.value.error.status == 400
    for nothing in (b"", b"{}", b"[]", b"data: {}\n\n", b"data: [DONE]\n\n"):
        with pytest.raises(ValueError):
            undo(nothing)


@pytest.mark.parametrize("index", [[], {}, None, 1.5, "1", True])
def test_an_index_that_is_none_costs_nothing(index: Any) -> None:
    chunk = {"choices": [{"index": index, "delta": {"content": "a", "tool_calls": [{"index": index}]}}]}
    stream = b"data: " + encoded(chunk) + b"\n\n"
    assert msgspec.json.decode(roll.completion(stream))["choices"][0]["message"]["content"] == "a"
    block = {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": "a"}}
    assert msgspec.json.decode(roll.message(b"data: " + encoded(block) + b"\n\n"))["content"][0]["text"] == "a"
    events = ChunkEvents(wants_usage=False)
    calls = [{"index": index, "id": "c", "function": {"name": "f", "arguments": "{}"}}]
    assert events.feed(
        b"data: " + encoded({"choices": [{"index": index, "delta": {"tool_calls": calls}}]}) + b"\n\n"
    )
