"""Chat completions as Anthropic's messages."""

from __future__ import annotations

from typing import Any

import anthropic
import msgspec
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.dialect import Reported, Usage
from tiny_dancer.gateway.upstream.translate import messages_from_chat
from tiny_dancer.gateway.upstream.translate.messages_from_chat import MessageEvents
from tiny_dancer.gateway.upstream.translate.messages_over_chat import MESSAGES

from .samples import CHUNKS, COMPLETION, MESSAGES_REQUEST, damaged, spoken, translated, without
from .server import between

LAST = ["content_block_stop", "message_delta", "message_stop"]
CUT = GatewayError(502, "the upstream hung up")
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def completion(message: dict[str, Any], finish_reason: str = "stop", **choice: Any) -> bytes:
    chosen = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason, **choice}
    return msgspec.json.encode(COMPLETION | {"choices": [chosen]})


def chunk(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return sse.event(msgspec.json.encode({"id": "c", "model": "m", "choices": [choice], **more}))


def call(**given: Any) -> bytes:
    return chunk({"tool_calls": [given]})


def test_an_answer() -> None:
    answer = MESSAGES.response(msgspec.json.encode(COMPLETION))
    assert answer.usage == Usage(18, 7, 5, written_tokens=3)
    assert answer.id == "chatcmpl-1"
    message = Message.model_validate_json(answer.body, strict=True)
    assert (message.id, message.model, message.stop_reason) == ("chatcmpl-1", "gpt-x", "tool_use")
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert msgspec.json.decode(answer.body)["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Ulm"}},
    ]
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (10, 5, 7)
    assert usage.cache_creation_input_tokens == 3


@pytest.mark.parametrize(
    ("body", "reason", "sequence"),
    [
        (completion({"content": "a"}), "end_turn", None),
        (completion({"content": "a"}, "length"), "max_tokens", None),
        (completion({"content": "a"}, "content_filter"), "refusal", None),
        (completion({"content": None, "refusal": "No."}), "refusal", None),
        (completion({"content": "a"}, stop_reason="END"), "stop_sequence", "END"),
        (completion({"content": "a"}, stop_reason=151643), "end_turn", None),
        (completion({"tool_calls": COMPLETION["choices"][0]["message"]["tool_calls"]}), "tool_use", None),
    ],
)
def test_stop_reason(body: bytes, reason: str, sequence: str | None) -> None:
    message = Message.model_validate_json(MESSAGES.response(body).body)
    assert (message.stop_reason, message.stop_sequence) == (reason, sequence)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"error":' + b"[" * 100_000,
        b'{"choices":[]}',
        b'{"choices":[{}]}',
    ],
)
def test_no_answer(body: bytes) -> None:
    with pytest.raises(ValueError):
        MESSAGES.response(body)


def test_a_server_that_says_little() -> None:
    answer = MESSAGES.response(
        b'{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":""}}]}}]}'
    )
    message = Message.model_validate_json(answer.body, strict=True)
    assert (answer.usage, answer.id) == (None, None)
    assert message.id.startswith("msg_")
    (block,) = message.content
    assert block.type == "tool_use"
    assert block.id.startswith("toolu_")
    assert block.input == {}


def test_a_stream() -> None:
    events = MessageEvents()
    given = spoken(translated(events, CHUNKS))
    assert (events.usage, events.id) == (Usage(18, 7, 5, written_tokens=3), "chatcmpl-1")
    assert events.content
    assert events.finished
    for event in given:
        EVENT.validate_python(event, strict=True)
    kinds = [(event["type"], event.get("index")) for event in given]
    assert kinds == [
        ("message_start", None),
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
        ("content_block_start", 2),
        ("content_block_delta", 2),
        ("content_block_delta", 2),
        ("content_block_stop", 2),
        ("content_block_start", 3),
        ("content_block_delta", 3),
        ("content_block_stop", 3),
        ("message_delta", None),
        ("message_stop", None),
    ]
    assert given[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert given[-2]["usage"]["output_tokens"] == 7


@given(st.lists(st.integers(0, len(CHUNKS)), max_size=6), st.sampled_from([b"\n", b"\r\n"]))
def test_cuts_do_not_matter(cuts: list[int], end: bytes) -> None:
    stream = CHUNKS.replace(b"\n", end)
    assert translated(MessageEvents(), stream, cuts) == translated(MessageEvents(), CHUNKS)


def test_nothing_is_given_out_before_there_is_something_to_say() -> None:
    events = MessageEvents()
    assert events.feed(b": keep-alive\n\n") + events.feed(chunk({"role": "assistant", "content": ""})) == b""
    assert not events.content
    assert len(spoken(events.feed(chunk({"content": "a"})))) == 3
    assert events.content


@pytest.mark.parametrize(
    "calls",
    [
        call(id="a", function={"name": "f", "arguments": "{}"}) + call(id="b", function={"name": "g"}),
        call(index=0, id="a", function={"name": "f"})
        + call(index=0, id="a", function={"arguments": "{"})
        + call(index=0, id="a", function={"arguments": "}"})
        + call(index=0, id="b", function={"name": "g"}),
        call(index=0, id="a", function={"name": "f"})
        + call(function={"arguments": "{}"})
        + call(index=1, id="b", function={"name": "g"}),
        chunk(
            {
                "tool_calls": [
                    {"id": "a", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "b", "function": {"name": "g", "arguments": ""}},
                ]
            }
        ),
    ],
)
def test_servers_that_number_tool_calls_in_their_own_way(calls: bytes) -> None:
    given = spoken(translated(MessageEvents(), calls + chunk({}, "stop") + sse.DONE))
    starts = [event["content_block"] for event in given if event["type"] == "content_block_start"]
    assert [(block["id"], block["name"]) for block in starts] == [("a", "f"), ("b", "g")]
    deltas = [event for event in given if event["type"] == "content_block_delta"]
    assert "".join(event["delta"]["partial_json"] for event in deltas if event["index"] == 0) == "{}"
    assert given[-2]["delta"]["stop_reason"] == "tool_use"


def test_a_streamed_refusal() -> None:
    given = spoken(translated(MessageEvents(), chunk({"refusal": "No."}) + chunk({}, "stop") + sse.DONE))
    assert given[2]["delta"] == {"type": "text_delta", "text": "No."}
    assert given[-2]["delta"]["stop_reason"] == "refusal"


def test_only_the_first_choice_is_read() -> None:
    other = {"index": 1, "delta": {"content": "b"}, "finish_reason": "length"}
    stream = sse.event(msgspec.json.encode({"choices": [other]})) + chunk({"content": "a"})
    given = spoken(translated(MessageEvents(), stream + chunk({}, "stop") + sse.DONE))
    assert [event["delta"]["text"] for event in given if event["type"] == "content_block_delta"] == ["a"]
    assert given[-2]["delta"]["stop_reason"] == "end_turn"


def test_ends_without_done() -> None:
    events = MessageEvents()
    translated(events, chunk({"content": "a"}) + chunk({}, "stop", usage=COMPLETION["usage"]))
    assert not events.finished
    assert [event["type"] for event in spoken(events.end())] == LAST
    assert events.finished
    without_usage = MessageEvents()
    translated(without_usage, chunk({"content": "a"}) + chunk({}, "length"))
    assert not without_usage.finished
    assert [event["type"] for event in spoken(without_usage.end())] == LAST
    cut = MessageEvents()
    translated(cut, chunk({"content": "a"}))
    assert cut.cut(CUT) == sse.event(CUT.anthropic(), b"error")
    assert cut.end() == b""
    assert not cut.finished
    assert [event["type"] for event in spoken(cut.feed(sse.DONE))] == LAST
    with pytest.raises(ValueError, match="before it said anything"):
        MessageEvents().feed(sse.DONE)


def test_an_error_in_place_of_a_stream() -> None:
    events = MessageEvents()
    with pytest.raises(Reported, match="no memory left") as raised:
        events.feed(b'data: {"error":{"message":"no memory left","code":500}}\n\n')
    assert raised.value.error.status == 500
    assert not events.content


def test_the_anthropic_sdk() -> None:
    with (
        between(MESSAGES) as server,
        anthropic.Anthropic(base_url=server.url, api_key="k", max_retries=0) as client,
    ):
        server.answer = msgspec.json.encode(COMPLETION)
        asked: Any = without(MESSAGES_REQUEST, "stream", "temperature", "top_k")
        message = client.messages.create(**asked)
        assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
        assert server.asked["model"] == "real-model"

        server.answer = CHUNKS
        streamed: Any = without(asked, "output_config")
        with client.messages.stream(**streamed) as stream:
            assert "".join(stream.text_stream) == "Let me look: ü\n\n✓"
            final = stream.get_final_message()
        assert (final.id, final.model, final.stop_reason) == ("chatcmpl-1", "gpt-x", "tool_use")
        thinking, _, weather, clock = final.content
        assert thinking.type == "thinking"
        assert thinking.thinking == "Hm."
        assert weather.type == clock.type == "tool_use"
        assert (weather.id, weather.name, weather.input) == ("call_1", "weather", {"city": "Ulm"})
        assert (clock.id, clock.name, clock.input) == ("call_2", "time", {})
        usage = final.usage
        assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (10, 5, 7)
        assert usage.cache_creation_input_tokens == 3

        server.answer = CHUNKS.partition(b'"finish_reason":"tool_calls"')[0].rpartition(b"data: ")[0]
        with (
            pytest.raises(anthropic.APIStatusError, match="hung up"),
            client.messages.stream(**streamed) as stream,
        ):
            stream.get_final_message()

        server.status = 429
        server.answer = b'{"error":{"message":"slow down","type":"tokens","code":"rate_limit_exceeded"}}'
        with pytest.raises(anthropic.RateLimitError, match="slow down"):
            client.messages.create(**asked)


@given(damaged(COMPLETION))
def test_bad_answers_are_value_errors(body: Any) -> None:
    try:
        answer = messages_from_chat.response(msgspec.json.encode(body))
    except ValueError:
        return
    assert isinstance(msgspec.json.decode(answer.body), dict)


@given(st.lists(st.sampled_from(spoken(CHUNKS)).flatmap(damaged), max_size=6))
def test_bad_chunks_are_value_errors(chunks: list[Any]) -> None:
    reader = MessageEvents()
    for given_chunk in chunks:
        try:
            spoken(reader.feed(sse.event(msgspec.json.encode(given_chunk))))
        except ValueError:
            continue


def test_what_stands_beside_usage_is_billed_here_too() -> None:
    """As where chat completions go on untranslated: Groq's own usage, and the tier of service."""
    said = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    choice = {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}
    flex = MESSAGES.response(msgspec.json.encode({"choices": [choice], "usage": said, "service_tier": "flex"}))
    groq = MESSAGES.response(msgspec.json.encode({"choices": [choice], "x_groq": {"usage": said}}))
    assert (flex.usage, groq.usage) == (Usage(7, 3, tier="flex"), Usage(7, 3))
    for beside, expected in (
        ({"usage": said, "service_tier": "flex"}, Usage(7, 3, tier="flex")),
        ({"x_groq": {"usage": said}}, Usage(7, 3)),
    ):
        events = MESSAGES.events({})
        chunk = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}], **beside}
        events.feed(b"data: " + msgspec.json.encode(chunk) + b"\n\n")
        assert events.usage == expected
