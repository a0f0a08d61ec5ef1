"""Anthropic's answers as chat completions."""

from __future__ import annotations

from typing import Any

import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.dialect import Reported, Usage
from tiny_dancer.gateway.upstream.kinds import anthropic
from tiny_dancer.gateway.upstream.translate import chat_from_messages
from tiny_dancer.gateway.upstream.translate.chat_from_messages import ChunkEvents

from .samples import CHAT_REQUEST, MESSAGE, MESSAGE_STREAM, damaged, spoken, translated, without
from .server import between

CUT = GatewayError(502, "the upstream hung up")


def test_an_answer() -> None:
    answer = chat_from_messages.response(msgspec.json.encode(MESSAGE))
    assert answer.usage == Usage(18, 7, 5, written_tokens=3, reasoning_tokens=2)
    assert answer.id == "msg_1"
    completion = ChatCompletion.model_validate_json(answer.body, strict=True)
    assert (completion.id, completion.model) == ("msg_1", "claude-x")
    (choice,) = completion.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me look."
    assert choice.message.model_extra == {
        "reasoning_content": "Hm.",
        "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}],
    }
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert (call.id, call.function.name, call.function.arguments) == ("toolu_1", "weather", '{"city":"Ulm"}')
    usage = completion.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (18, 7, 25)
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cache_write_tokens == 3
    assert usage.completion_tokens_details is not None
    assert (usage.prompt_tokens_details.cached_tokens, usage.completion_tokens_details.reasoning_tokens) == (5, 2)


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_finish_reason(stop_reason: str, finish_reason: str) -> None:
    said, called = MESSAGE["content"][1], MESSAGE["content"][3]
    for content, expected in (
        ([said], "stop" if finish_reason == "tool_calls" else finish_reason),
        ([said, called], "tool_calls" if finish_reason == "stop" else finish_reason),
    ):
        body = msgspec.json.encode(MESSAGE | {"stop_reason": stop_reason, "content": content})
        completion = ChatCompletion.model_validate_json(chat_from_messages.response(body).body)
        assert completion.choices[0].finish_reason == expected


def test_blocks_without_counterpart_are_passed_over() -> None:
    content = [
        {"type": "server_tool_use", "id": "x", "name": "web_search", "input": {}},
        {"type": "text", "text": "a"},
    ]
    answer = chat_from_messages.response(msgspec.json.encode(MESSAGE | {"content": content}))
    message = ChatCompletion.model_validate_json(answer.body).choices[0].message
    assert (message.content, message.tool_calls) == ("a", None)
    nothing = chat_from_messages.response(msgspec.json.encode(MESSAGE | {"content": []}))
    assert ChatCompletion.model_validate_json(nothing.body).choices[0].message.content is None


@pytest.mark.parametrize("wants_usage", [True, False])
def test_a_stream(wants_usage: bool) -> None:
    events = ChunkEvents(wants_usage=wants_usage)
    stream = translated(events, MESSAGE_STREAM)
    assert stream.endswith(b"data: [DONE]\n\n")
    assert (events.usage, events.id) == (Usage(18, 20, 5, written_tokens=3), "msg_1")
    assert events.content
    assert events.finished
    chunks = [ChatCompletionChunk.model_validate(chunk, strict=True) for chunk in spoken(stream)]
    assert {(chunk.id, chunk.model) for chunk in chunks} == {("msg_1", "claude-x")}
    with_choice = [chunk for chunk in chunks if chunk.choices]
    deltas = [chunk.choices[0].delta for chunk in with_choice]
    assert [delta.role for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert "".join(delta.content or "" for delta in deltas) == "Let me look: ü\n\n✓"
    assert [delta.model_extra for delta in deltas if delta.model_extra] == [
        {"reasoning_content": "Hm."},
        {"thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "Hm.", "signature": "c2ln"}]},
    ]
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    assert [(call.index, call.id) for call in calls] == [
        (0, "toolu_1"),
        (0, None),
        (0, None),
        (1, "toolu_2"),
        (1, None),
    ]
    assert [call.function.name for call in calls if call.function and call.function.name] == ["weather", "time"]
    arguments = [call.function.arguments for call in calls if call.function]
    assert arguments == ["", '{"city":', ' "Ulm"}', "", "{}"]
    reasons = [chunk.choices[0].finish_reason for chunk in with_choice]
    assert reasons == [None] * (len(deltas) - 1) + ["tool_calls"]
    if wants_usage:
        assert chunks[-1].choices == []
        assert chunks[-1].usage is not None
        assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (18, 20)
        assert all("usage" in chunk.model_fields_set for chunk in chunks)
    else:
        assert all("usage" not in chunk.model_fields_set for chunk in chunks)


@given(st.lists(st.integers(0, len(MESSAGE_STREAM)), max_size=6), st.sampled_from([b"\n", b"\r\n"]))
def test_cuts_do_not_matter(cuts: list[int], end: bytes) -> None:
    stream = MESSAGE_STREAM.replace(b"\n", end)
    events = [ChunkEvents(wants_usage=True) for _ in range(2)]
    for reader in events:
        reader._created = 1
    assert translated(events[0], stream, cuts) == translated(events[1], MESSAGE_STREAM)


def test_nothing_is_given_out_before_there_is_something_to_say() -> None:
    events = ChunkEvents(wants_usage=False)
    start, ping, block, first, *_ = sse.split(MESSAGE_STREAM)[0]
    assert events.feed(start) + events.feed(ping) + events.feed(block) == b""
    assert not events.content
    assert len(spoken(events.feed(first))) == 2
    assert events.content


def test_an_error_event_ends_what_can_be_read() -> None:
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    events = ChunkEvents(wants_usage=False)
    with pytest.raises(Reported, match="Overloaded"):
        translated(events, sse.split(MESSAGE_STREAM)[0][0] + error)
    assert not events.content
    assert spoken(events.cut(CUT)) == [{"error": msgspec.json.decode(CUT.openai())["error"]}]


def test_it_finishes_once() -> None:
    delta = b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}\n\n'
    events = ChunkEvents(wants_usage=False)
    chunks = spoken(translated(events, sse.split(MESSAGE_STREAM)[0][0] + delta + delta))
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, "stop"]


def test_an_answer_that_only_lacks_its_last_event_is_whole() -> None:
    events = ChunkEvents(wants_usage=False)
    translated(events, MESSAGE_STREAM.partition(b"event: message_stop")[0])
    assert not events.finished
    assert events.end() == sse.DONE
    assert events.finished


def test_the_openai_sdk() -> None:
    dialect = anthropic.dialect("chat.completions")
    assert dialect is not None
    with between(dialect) as server, openai.OpenAI(base_url=server.url, api_key="k", max_retries=0) as client:
        server.answer = msgspec.json.encode(MESSAGE)
        asked: Any = without(CHAT_REQUEST, "stream", "stream_options")
        completion = client.chat.completions.create(**asked)
        assert completion.choices[0].message.content == "Let me look."
        assert server.asked["model"] == "real-model"

        server.answer = MESSAGE_STREAM
        streamed: Any = without(asked, "response_format")
        with client.chat.completions.stream(**streamed, stream_options={"include_usage": True}) as stream:
            final = stream.get_final_completion()
        message = final.choices[0].message
        assert message.content == "Let me look: ü\n\n✓"
        assert message.tool_calls is not None
        calls = [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls]
        assert calls == [("toolu_1", "weather", '{"city": "Ulm"}'), ("toolu_2", "time", "{}")]
        assert final.usage is not None
        assert final.usage.total_tokens == 38

        server.answer = MESSAGE_STREAM.partition(b"event: message_delta")[0]
        with pytest.raises(openai.APIError, match="hung up"):
            list(client.chat.completions.create(**asked, stream=True))

        server.status = 400
        server.answer = (
            b'{"type":"error","error":{"type":"invalid_request_error",'
            b'"message":"prompt is too long: 9 tokens > 8 maximum"}}'
        )
        with pytest.raises(openai.BadRequestError, match="too long") as caught:
            client.chat.completions.create(**asked)
        assert caught.value.code == "context_length_exceeded"


@given(damaged(MESSAGE))
def test_bad_answers_are_value_errors(message: Any) -> None:
    try:
        answer = chat_from_messages.response(msgspec.json.encode(message))
    except ValueError:
        return
    assert isinstance(msgspec.json.decode(answer.body), dict)


@given(st.lists(st.sampled_from(spoken(MESSAGE_STREAM)).flatmap(damaged), max_size=6), st.booleans())
def test_bad_events_are_value_errors(events: list[Any], begun: bool) -> None:
    reader = ChunkEvents(wants_usage=True)
    if begun:
        reader.feed(sse.split(MESSAGE_STREAM)[0][0])
    for event in events:
        try:
            spoken(reader.feed(sse.event(msgspec.json.encode(event))))
        except ValueError:
            continue
