"""Tokens by the text, however it is cut, wrapped or written."""

from __future__ import annotations

import base64
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.gateway.account.guess import _HELD, MEDIA_TOKENS, Guess, prompt_tokens
from tiny_dancer.gateway.choosing.incoming import parse

if TYPE_CHECKING:
    from tiny_dancer.gateway.upstream.dialect import Endpoint

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
IMAGE = "data:image/png;base64," + base64.b64encode(bytes(300_000)).decode()


def event(data: Any, name: str = "") -> bytes:
    line = f"event: {name}\n" if name else ""
    return f"{line}data: {json.dumps(data)}\n\n".encode()


def chat(text: str, field: str = "content") -> bytes:
    return event({"id": "c", "choices": [{"index": 0, "delta": {field: text}, "finish_reason": None}]})


def message(text: str) -> bytes:
    delta = {"type": "text_delta", "text": text}
    return event({"type": "content_block_delta", "index": 0, "delta": delta}, "content_block_delta")


def response(text: str) -> bytes:
    return event(
        {"type": "response.output_text.delta", "item_id": "m", "delta": text}, "response.output_text.delta"
    )


def completion(text: str) -> bytes:
    return event({"choices": [{"text": text}]})


def said(text: str) -> int:
    return -(-len(text.encode()) // 4)


def guessed(*pieces: bytes) -> int:
    guess = Guess(pieces[0])
    for piece in pieces[1:]:
        guess.add(piece)
    return guess.tokens()


@pytest.mark.parametrize("write", [chat, message, response, completion])
@given(st.lists(TEXTS, min_size=1, max_size=20))
def test_a_stream_counts_by_its_text_in_every_protocol(write: Any, texts: list[str]) -> None:
    assert guessed(*map(write, texts)) == said("".join(texts))


@given(TEXTS, st.lists(st.integers(0, 100), max_size=5))
def test_neither_the_number_of_events_nor_of_writes_matters(text: str, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    events = [chat(text[start:stop]) for start, stop in itertools.pairwise(edges)]
    assert guessed(*events) == guessed(b"".join(events)) == said(text)


@pytest.mark.parametrize(
    "noise", [b": ping\n\n", event({"type": "ping"}, "ping"), event({"choices": []}), b"\n\n"]
)
def test_pings_and_comments_are_no_tokens(noise: bytes) -> None:
    assert guessed(*[noise] * 50) == 0
    assert guessed(chat("abcd"), *[noise] * 50, chat("efgh"), b"data: [DONE]\n\n") == 2


@pytest.mark.parametrize("write", [chat, message, response])
def test_a_long_stream_is_counted_all_and_not_kept(write: Any) -> None:
    guess = Guess(b"")
    for _ in range(5000):
        guess.add(write("word"))
        assert guess._size <= _HELD
    assert guess.tokens() == guess.tokens() == 5000
    guess.add(write("word"))
    assert guess.tokens() == 5001, "what comes later counts too"


@pytest.mark.parametrize(
    ("delta", "tokens"),
    [
        ({"role": "assistant", "content": "abcd"}, 1),
        ({"content": None, "reasoning_content": "abcdefgh"}, 2),
        ({"content": "", "reasoning": "abcdefgh", "reasoning_content": "abcdefgh"}, 2),
        ({"content": [{"type": "text", "text": "abcd"}, {"type": "thinking", "thinking": [{"text": "efgh"}]}]}, 2),
        ({"tool_calls": [{"id": "call_123456", "function": {"name": "look", "arguments": '{"a'}}]}, 2),
        ({"refusal": "abcd"}, 1),
        ({"audio": {"id": "audio_1", "data": "A" * 4000, "transcript": "abcd"}}, 1),
        ({}, 0),
        (None, 0),
        (5, 0),
    ],
)
def test_what_is_text_in_a_delta(delta: Any, tokens: int) -> None:
    body = {"id": "c", "choices": [{"delta": delta}]}
    assert guessed(event(body)) == tokens
    assert guessed(json.dumps({"choices": [{"message": delta}]}).encode()) == tokens


def test_whole_answers() -> None:
    blocks = [{"type": "thinking", "thinking": "abcd", "signature": "s" * 999}, {"type": "text", "text": "efgh"}]
    assert guessed(json.dumps({"type": "message", "content": blocks}).encode()) == 2
    called = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "it"}}
    assert guessed(json.dumps({"type": "message", "content": [called]}).encode()) == -(
        -len('look{"at":"it"}') // 4
    )
    output = [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "abcd"}],
            "encrypted_content": "x" * 99,
        },
        {
            "type": "message",
            "id": "msg_1",
            "content": [{"type": "output_text", "text": "efgh", "annotations": []}],
        },
        {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{1}x"},
    ]
    body = {"object": "response", "output": output}
    assert guessed(json.dumps(body, indent=2).encode()) == 4
    last = event({"type": "response.completed", "response": body}, "response.completed")
    assert guessed(last) == 4, "the last event says all, where there were no others"
    assert guessed(response("abcd"), response("efgh"), last) == 2, "and nothing twice"
    assert guessed(json.dumps({"data": [{"embedding": [0.1] * 1000}]}).encode()) == 0


@given(st.binary(max_size=200))
def test_whatever_comes_is_counted_or_left(data: bytes) -> None:
    assert guessed(data, data) >= 0
    assert (
        guessed(chat("abcd"), b"data: " + data.replace(b"\n", b"").replace(b"\r", b"") + b"\n\n", chat("efgh"))
        >= 2
    )


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_any_kind(end: str) -> None:
    assert guessed(*[chat("abcd").replace(b"\n", end.encode())] * 3) == 3


def test_data_in_several_lines_is_read() -> None:
    assert guessed(b'data: {"choices":\ndata: [{"delta":{"content":"abcd"}}]}\n\n') == 1


def asked(endpoint: Endpoint, **fields: Any) -> int:
    return prompt_tokens(parse(endpoint, json.dumps({"model": "m", **fields}).encode(), {}))


def user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


@given(TEXTS)
def test_a_prompt_counts_by_its_text(text: str) -> None:
    for asked_for in (
        asked("chat.completions", messages=user(text)),
        asked("chat.completions", messages=user([{"type": "text", "text": text}])),
        asked("messages", messages=user(text)),
        asked("completions", prompt=text),
        asked("responses", input=text),
        asked("responses", input=[{"role": "user", "content": [{"type": "input_text", "text": text}]}]),
        asked("embeddings", input=[text]),
    ):
        assert asked_for == said(text)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": IMAGE}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "input_image", "image_url": IMAGE},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IMAGE}},
        {"type": "input_audio", "input_audio": {"data": IMAGE, "format": "wav"}},
        {"type": "file", "file": {"file_data": IMAGE}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": IMAGE}},
    ],
)
def test_media_count_as_so_many_tokens_whatever_their_bytes(part: dict[str, Any]) -> None:
    text = {"type": "text", "text": "abcd"}
    assert asked("chat.completions", messages=user([text, part, part])) == 1 + 2 * MEDIA_TOKENS


def test_a_document_of_text_is_text() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "abcdefgh"}
    assert asked("messages", messages=user([{"type": "document", "source": source}])) == 2
    blocks = {"type": "content", "content": [{"type": "text", "text": "abcd"}]}
    assert asked("messages", messages=user([{"type": "document", "source": blocks}])) == 1


def test_all_of_a_request_counts() -> None:
    tools = [{"name": "look", "input_schema": {"type": "object"}}]
    plain = asked("messages", messages=user("abcd"))
    with_tools = asked("messages", messages=user("abcd"), tools=tools, system="efgh")
    assert with_tools == plain + 1 + -(-len(json.dumps(tools)) // 4)
    history = [
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t" * 99, "name": "look", "input": {"id": 5}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t" * 99, "content": "abcd"}]},
    ]
    assert asked("messages", messages=history) == -(-len('look{"id":5}abcd') // 4)
    assert asked("embeddings", input=[[1, 2, 3], [4]]) == 4, "tokens are tokens"
    assert asked("completions", prompt=[1, 2, 3]) == 3


def test_a_deep_prompt_is_counted_all_the_same() -> None:
    deep = '{"model":"m","messages":[' + "[" * 900 + '"abcd"' + "]" * 900 + "]}"
    assert prompt_tokens(parse("chat.completions", deep.encode(), {})) > 0
