"""What servers of Anthropic's protocol send beside what is documented: what carries content is served."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.dialect import Reported
from tiny_dancer.gateway.upstream.kinds import anthropic
from tiny_dancer.gateway.upstream.translate.chat_from_messages import ChunkEvents, response

from .samples import MESSAGE, translated
from .test_streams_both_ways import gist_of_completion

USED = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}


def answered(content: Any, stop: Any = "end_turn", **more: Any) -> tuple[Any, str]:
    """The message and why it ends, as OpenAI's clients get it."""
    body = response(json.dumps(MESSAGE | {"content": content, "stop_reason": stop} | more).encode()).body
    ChatCompletion.model_validate_json(body, strict=True)
    choice = json.loads(body)["choices"][0]
    return choice["message"], choice["finish_reason"]


def event(kind: str, **more: Any) -> bytes:
    return sse.event(json.dumps({"type": kind, **more}).encode(), kind.encode())


def start(index: Any, **block: Any) -> bytes:
    return event("content_block_start", index=index, content_block=block)


def delta(index: Any, kind: str, **more: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **more})


BEGIN = event("message_start", message=MESSAGE | {"content": [], "stop_reason": None})
TEXT = start(0, type="text", text="") + delta(0, "text_delta", text="a") + event("content_block_stop", index=0)
STOP = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5})
END = STOP + event("message_stop")


def said(stream: bytes) -> dict[str, Any]:
    events = ChunkEvents(wants_usage=True)
    given = translated(events, stream)
    return gist_of_completion(given + events.end())


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": None}, {"type": "text", "text": "a"}], "a"),
        ("a", "a"),
        (["a", None, 5, {}], "a"),
        ([{"type": "text", "text": "a", "citations": 5}, {"type": "something_new", "text": "b"}], "a"),
        ([{"type": "server_tool_use", "id": 5}, {"type": "web_search_tool_result", "content": {}}], None),
        ([{"text": "a"}, {"type": 5}], None),
        (None, None),
        ([], None),
    ],
)
def test_content(content: Any, text: str | None) -> None:
    assert answered(content)[0]["content"] == text


@pytest.mark.parametrize(
    ("block", "arguments"),
    [
        (USED, '{"a": 1}'),
        ({"type": "tool_use", "name": "f"}, "{}"),
        (USED | {"input": None, "id": 5}, "{}"),
        (USED | {"input": '{"a":1}'}, '{"a":1}'),
    ],
)
def test_calls(block: dict[str, Any], arguments: str) -> None:
    message, finish = answered([block])
    (call,) = message["tool_calls"]
    assert call["function"] == {"name": "f", "arguments": arguments}
    assert call["id"] == str(block.get("id") or call["id"])
    assert finish == "tool_calls"
    # The same where the input stands in the first event, or nowhere.
    (streamed,) = said(BEGIN + start(0, **block) + event("content_block_stop", index=0) + END)["calls"]
    assert streamed[1:] == ("f", json.loads(arguments))


def test_calls_of_one_id_are_told_apart() -> None:
    message, _ = answered([USED, USED])
    ids = [call["id"] for call in message["tool_calls"]]
    assert ids[0] == "t" != ids[1]
    blocks = b"".join(start(index, **USED) + event("content_block_stop", index=index) for index in range(2))
    assert [identifier for identifier, _, _ in said(BEGIN + blocks + END)["calls"]] == ids


@pytest.mark.parametrize(("stop", "finish"), [(None, "stop"), (5, "stop"), ("pause_turn", "stop"), ("", "stop")])
def test_reasons_to_stop(stop: Any, finish: str) -> None:
    assert answered([{"type": "text", "text": "a"}], stop)[1] == finish
    assert answered([USED], stop)[1] == "tool_calls"
    assert answered([], "tool_use")[1] == "stop"


def test_ids_and_models_of_any_kind() -> None:
    answer = response(json.dumps(MESSAGE | {"id": 5, "model": None}).encode())
    assert answer.id == "5"
    completion = json.loads(answer.body)
    assert (completion["id"], completion["model"]) == ("5", "")
    assert json.loads(response(json.dumps(MESSAGE | {"id": None}).encode()).body)["id"].startswith("chatcmpl-")


def test_an_error_in_place_of_an_answer() -> None:
    with pytest.raises(Reported, match="Overloaded"):
        response(b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}')
    for body in (b"{}", b'{"id":"x"}', b"[]", b"<html>"):
        with pytest.raises(ValueError):
            response(body)


@pytest.mark.parametrize(
    "stream",
    [
        TEXT + END,
        event("message_start") + TEXT + END,
        event("message_start", message=MESSAGE | {"id": 5, "usage": 5}) + TEXT + END,
        BEGIN + delta(0, "text_delta", text="a") + END,
        BEGIN + start(0, type="text", text="a") + END,
        BEGIN + start(0, type="text", text=None) + delta(None, "text_delta", text="a") + END,
        BEGIN + event("message_delta", usage={"output_tokens": 3}) + TEXT + END,
        BEGIN + event("message_delta", delta={"stop_reason": None}, usage=None) + TEXT + END,
        BEGIN + TEXT + STOP,
        BEGIN + TEXT + STOP + sse.DONE,
        BEGIN + TEXT + event("message_stop"),
        BEGIN + TEXT + END + END + sse.DONE + TEXT,
        event("ping") + BEGIN + b": comment\n\n" + event("something_new", delta=5) + TEXT + event("ping") + END,
        b"data: []\n\ndata: null\n\n" + BEGIN + b'data: {"type": 5}\n\n' + TEXT + END,
        BEGIN + delta(0, "citations_delta", citation={}) + TEXT + END,
        BEGIN + start(5, type="server_tool_use") + delta(5, "input_json_delta", partial_json="{}") + TEXT + END,
    ],
)
def test_streams(stream: bytes) -> None:
    found = said(stream)
    assert (found["text"], found["calls"], found["stop"]) == ("a", [], "stop")


def test_a_stream_without_its_end_is_cut() -> None:
    events = ChunkEvents(wants_usage=False)
    translated(events, BEGIN + TEXT)
    assert events.end() == b""
    assert not events.finished


def test_halves_of_a_character() -> None:
    for kind, name in (
        ("text_delta", "text"),
        ("thinking_delta", "thinking"),
        ("input_json_delta", "partial_json"),
    ):
        block = (
            {"type": "tool_use", "id": "t", "name": "f"} if name == "partial_json" else {"type": name, name: ""}
        )
        wrap = ('{"a":"', '"}') if name == "partial_json" else ("", "")
        parts = [wrap[0] + "w\ud83d", "\ude00\ud83d" + wrap[1]]
        deltas = b"".join(delta(0, kind, **{name: part}) for part in parts)
        found = said(BEGIN + start(0, **block) + deltas + event("content_block_stop", index=0) + END)
        given = found["calls"][0][2]["a"] if name == "partial_json" else found[name]
        assert given == "w😀\ufffd"


def test_signed_thinking_is_given_out_whole() -> None:
    thinking = start(0, type="thinking", thinking="", signature="") + delta(0, "thinking_delta", thinking="H")
    thinking += delta(0, "thinking_delta", thinking="m.") + delta(0, "signature_delta", signature="s")
    second = start(2, type="thinking", thinking="", signature="") + delta(2, "signature_delta", signature="t")
    stream = BEGIN + thinking + event("content_block_stop", index=0) + start(1, type="redacted_thinking", data="d")
    found = said(stream + second + END)
    assert found["signed"] == [("Hm.", "s"), ("d",), ("", "t")]
    assert found["thinking"] == "Hm."


@pytest.mark.parametrize("odd", [b"data: []\n\n", b"data: 5\n\n", b'data: {"type":5}\n\n', sse.DONE])
def test_events_that_are_none_cost_an_anthropic_client_nothing(odd: bytes) -> None:
    dialect = anthropic.dialect("messages")
    assert dialect is not None
    events = dialect.events({})
    given = translated(events, odd + BEGIN + odd + TEXT + odd + END + odd)
    assert given.replace(odd, b"") == BEGIN + TEXT + END
    assert events.finished
    assert (sse.DONE in given) is False


def test_arguments_cut_off_in_a_stream_that_came_instead_of_an_answer() -> None:
    dialect = anthropic.dialect("chat.completions")
    assert dialect is not None
    cut = start(0, type="tool_use", id="t", name="f", input={}) + delta(
        0, "input_json_delta", partial_json='{"a": "b'
    )
    answer = dialect.response(dialect.roll(BEGIN + cut + event("content_block_stop", index=0) + END))
    (call,) = json.loads(answer.body)["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"a": "b"}
