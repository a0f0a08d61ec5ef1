"""Which tools an answer calls, as every protocol says it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.gateway.tools.called import Called

NAMES = {"find": "crm/find", "send": "send", "text": "text"}
CALLS: list[Any] = [
    {"choices": [{"message": {"tool_calls": [{"function": {"name": "find"}}, {"custom": {"name": "send"}}]}}]},
    {"choices": [{"delta": {"tool_calls": [{"function": {"name": "find", "arguments": ""}}]}}, {"delta": {}}]},
    {"choices": [{"message": {"function_call": {"name": "find", "arguments": "{}"}}}]},
    {"content": [{"type": "text", "text": "One moment"}, {"type": "tool_use", "name": "find", "input": {}}]},
    {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "find", "input": {}}},
    {"output": [{"type": "message", "content": []}, {"type": "function_call", "name": "find"}]},
    {"type": "response.output_item.added", "item": {"type": "custom_tool_call", "name": "find"}},
]
NONE: list[Any] = [
    {"choices": [{"message": {"content": 'a text with "name": "find"'}}]},
    {"content": [{"type": "server_tool_use", "name": "find"}, {"type": "text", "text": "x", "name": "find"}]},
    {"choices": [{"message": {"tool_calls": [{"function": {"name": "unknown"}}]}}]},
    {"choices": [{"message": {"tool_calls": {"name": "find"}}}], "name": "find"},
    {"choices": {"delta": None}, "output": "find", "item": [7, None], "name": ["find"]},
]


def event(said: Any) -> bytes:
    return b"event: x\ndata: " + json.dumps(said).encode() + b"\n\n"


@pytest.mark.parametrize("said", CALLS)
def test_calls_are_found(said: Any) -> None:
    whole, streamed = Called(NAMES), Called(NAMES)
    whole.add(json.dumps(said).encode())
    streamed.add_events(event({"choices": []}) + event(said) + b": ping\n\n" + event(said) + b"data: [DONE]\n\n")
    assert list(whole.ids) == list(streamed.ids)
    assert next(iter(whole.ids)) == "crm/find"


@pytest.mark.parametrize("said", NONE)
def test_what_is_no_call_is_none(said: Any) -> None:
    called = Called(NAMES)
    called.add(json.dumps(said).encode())
    called.add_events(event(said))
    assert not called.ids


@given(st.binary(max_size=200), st.sampled_from([*CALLS, *NONE]), st.integers(0, 200))
def test_whatever_comes_is_read_or_left(bytes_: bytes, said: Any, cut: int) -> None:
    text = event(said)
    called = Called(NAMES)
    for part in (bytes_ + b'"name"', text[:cut], text[cut:], b"[" * 2000 + b'"name"'):
        called.add(part)
        called.add_events(part)
    assert set(called.ids) <= set(NAMES.values())
