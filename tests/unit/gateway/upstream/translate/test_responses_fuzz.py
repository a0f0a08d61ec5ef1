"""Streams of any legal order, cut anywhere, as responses: openai's own accumulator reads what the model said."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import httpx
import msgspec
import openai
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response
from pydantic import ValidationError

from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.dialect import Reported
from tiny_dancer.gateway.upstream.kinds import anthropic
from tiny_dancer.gateway.upstream.kinds import openai as openai_kind
from tiny_dancer.gateway.upstream.translate.responses_over_chat import ResponsesOverChat

from .samples import CHUNKS, COMPLETION, JSON, damaged, fields, spoken, translated

EVENTS = spoken(CHUNKS)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
STATUS = {"stop": "completed", "tool_calls": "completed", "length": "incomplete", "content_filter": "incomplete"}
STOPS = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length", "refusal": "content_filter"}


class Said:
    """What a model says, kind by kind."""

    def __init__(self) -> None:
        self.words: defaultdict[str, str] = defaultdict(str)
        self.calls: list[tuple[str, str, str]] = []
        self.finish = "stop"
        self.usage: tuple[int, int] | None = None

    def same(self, response: Any) -> None:
        """Checks that a response says the same."""
        words: defaultdict[str, str] = defaultdict(str)
        calls = []
        for item in response.output:
            if item.type == "function_call":
                calls.append((item.call_id, item.name, item.arguments))
                continue
            for part in item.content or ():
                words[part.type] += part.refusal if part.type == "refusal" else part.text
        assert {kind: text for kind, text in words.items() if text} == {
            kind: text for kind, text in self.words.items() if text
        }
        if calls and calls[-1][2] == "" and response.status == "incomplete":
            calls[-1] = (*calls[-1][:2], "{}")  # it may have been cut off before the first of its arguments
        # The order of calls is that of their beginnings.
        assert calls == self.calls
        assert response.status == STATUS[self.finish]
        counted = None if response.usage is None else (response.usage.input_tokens, response.usage.output_tokens)
        assert counted == self.usage
        assert response.output_text == words["output_text"]


@st.composite
def pieces(draw: st.DrawFn, text: str) -> list[str]:
    """A text in pieces, some of them empty."""
    marks = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[start:stop] for start, stop in zip([0, *marks], [*marks, len(text)], strict=True)]


ARGUMENTS = st.dictionaries(TEXTS, JSON, max_size=2).map(lambda value: msgspec.json.encode(value).decode())


@st.composite
def chat_streams(draw: st.DrawFn) -> tuple[bytes, Said]:
    """A stream of chat completion chunks."""
    said = Said()
    waiting: list[list[dict[str, Any]]] = []  # what has to come one after the other; between them any order goes
    for kind, field in (
        ("output_text", "content"),
        ("reasoning_text", "reasoning_content"),
        ("refusal", "refusal"),
    ):
        text = draw(TEXTS)
        waiting.append([{field: piece} for piece in draw(pieces(text))])
        said.words[kind] = text
    begun: list[dict[str, Any]] = []
    for index in range(draw(st.integers(0, 3))):
        arguments = draw(ARGUMENTS)
        first: dict[str, Any] = {"index": index, "id": f"call_{index}", "type": "function"}
        deltas = [{**first, "function": {"name": f"f{index}", "arguments": ""}}]
        deltas += [{"index": index, "function": {"arguments": piece}} for piece in draw(pieces(arguments))]
        waiting.append([{"tool_calls": [delta]} for delta in deltas])
        begun.append({"id": f"call_{index}", "name": f"f{index}", "arguments": arguments})
    order: list[int] = []
    deltas = [{"role": "assistant", "content": draw(st.sampled_from([None, ""]))}]
    while left := [each for each in waiting if each]:
        if draw(st.booleans()):
            deltas.append({})
        delta = draw(st.sampled_from(left)).pop(0)
        if "tool_calls" in delta and "id" in delta["tool_calls"][0]:
            order.append(delta["tool_calls"][0]["index"])
        deltas.append(delta)
    said.calls = [(begun[index]["id"], begun[index]["name"], begun[index]["arguments"]) for index in order]
    said.finish = draw(st.sampled_from(list(STATUS)))
    frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-x"}
    stream = b""
    for delta, finish in [*((delta, None) for delta in deltas), ({}, said.finish)]:
        if draw(st.integers(0, 9)) == 0:
            stream += b": keep-alive\n\n"
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        stream += sse.event(msgspec.json.encode({**frame, "choices": [choice]}))
    if draw(st.booleans()):
        said.usage = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
        usage = {"prompt_tokens": said.usage[0], "completion_tokens": said.usage[1]}
        stream += sse.event(msgspec.json.encode({**frame, "choices": [], "usage": usage}))
    return stream + (sse.DONE if draw(st.booleans()) else b""), said


@st.composite
def message_streams(draw: st.DrawFn) -> tuple[bytes, Said]:
    """A stream of Anthropic's events."""
    said = Said()
    said.usage = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    begun = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": []}
    usage = {"input_tokens": said.usage[0], "output_tokens": 1}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {**begun, "usage": usage}}]
    for index in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["text", "thinking", "tool_use"]))
        block: dict[str, Any] = {"type": kind, kind: ""}
        if kind == "tool_use":
            arguments = draw(ARGUMENTS | st.just(""))
            block = {"type": kind, "id": f"toolu_{index}", "name": f"f{index}", "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in draw(pieces(arguments))]
            said.calls.append((f"toolu_{index}", f"f{index}", arguments or "{}"))
        else:
            text = draw(TEXTS)
            deltas = [{"type": f"{kind}_delta", kind: piece} for piece in draw(pieces(text))]
            said.words["output_text" if kind == "text" else "reasoning_text"] += text
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        for delta in deltas:
            if draw(st.integers(0, 9)) == 0:
                events.append({"type": "ping"})
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    stop = draw(st.sampled_from(list(STOPS)))
    said.finish = STOPS[stop]
    end = {"stop_reason": stop, "stop_sequence": None}
    events.append({"type": "message_delta", "delta": end, "usage": {"output_tokens": said.usage[1]}})
    if draw(st.booleans()):
        events.append({"type": "message_stop"})
    stream = b"".join([sse.event(msgspec.json.encode(event), event["type"].encode()) for event in events])
    return stream, said


def written(*, from_anthropic: bool) -> ResponsesOverChat:
    """The dialect of a request that has been written."""
    chat = (anthropic if from_anthropic else openai_kind).dialect("chat.completions")
    assert chat is not None
    dialect = ResponsesOverChat(chat, anthropic=from_anthropic)
    dialect.request(fields({"model": "auto", "input": "Hi", "stream": True}), "real-model")
    return dialect


def answered(stream: bytes, cuts: list[int], *, from_anthropic: bool) -> bytes:
    """The same as a response."""
    reader = written(from_anthropic=from_anthropic).events({})
    found = translated(reader, stream, [min(cut, len(stream)) for cut in cuts]) + reader.end()
    assert reader.finished
    assert reader.error is None
    return found


def accumulated(stream: bytes) -> Any:
    """What openai's SDK makes of a stream, which it reads strictly."""

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream)

    http = httpx.Client(transport=httpx.MockTransport(answer))
    client = openai.OpenAI(base_url="http://x/v1", api_key="x", http_client=http)
    with client, client.responses.stream(model="auto", input="Hi") as running:
        seen = list(running)
    raw = spoken(stream)
    ended = {each["output_index"]: each["item"] for each in raw if each["type"] == "response.output_item.done"}
    assert raw[-1]["response"]["output"] == [ended[index] for index in sorted(ended)]
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert [event.type for event in seen[:2]] == ["response.created", "response.in_progress"]
    added = [event.output_index for event in seen if event.type == "response.output_item.added"]
    done = {event.output_index: event.item for event in seen if event.type == "response.output_item.done"}
    assert added == sorted(done) == list(range(len(added)))
    deltas: defaultdict[Any, str] = defaultdict(str)
    for event in seen:
        kind, _, what = event.type.rpartition(".")
        place = (
            (kind, event.output_index, getattr(event, "content_index", 0)) if what in ("delta", "done") else None
        )
        if what == "delta":
            deltas[place] += event.delta
        elif kind.endswith(("text", "refusal", "arguments")):
            whole = next(getattr(event, name) for name in ("text", "refusal", "arguments") if hasattr(event, name))
            assert deltas[place] == whole or (whole, deltas[place]) == ("{}", "")
    return seen[-1].response


CUTS = st.lists(st.integers(0, 4000), max_size=8)


@given(chat_streams(), CUTS)
def test_chat_completions(streamed: tuple[bytes, Said], cuts: list[int]) -> None:
    stream, said = streamed
    said.same(accumulated(answered(stream, cuts, from_anthropic=False)))


@given(message_streams(), CUTS)
def test_messages(streamed: tuple[bytes, Said], cuts: list[int]) -> None:
    stream, said = streamed
    said.same(accumulated(answered(stream, cuts, from_anthropic=True)))


@given(chat_streams())
def test_chat_completions_cut_at_every_byte(streamed: tuple[bytes, Said]) -> None:
    stream, said = streamed
    said.same(accumulated(answered(stream, list(range(len(stream))), from_anthropic=False)))


@given(message_streams())
def test_messages_cut_at_every_byte(streamed: tuple[bytes, Said]) -> None:
    stream, said = streamed
    said.same(accumulated(answered(stream, list(range(len(stream))), from_anthropic=True)))


@given(damaged(COMPLETION))
def test_damaged_answers_are_read_or_refused(broken: Any) -> None:
    dialect = written(from_anthropic=False)
    try:
        Response.model_validate_json(dialect.response(msgspec.json.encode(broken)).body)
    except (Reported, ValueError) as error:
        assert not isinstance(error, ValidationError)


@given(st.integers(0, len(EVENTS) - 1), st.data())
def test_damaged_events_are_read_or_refused(place: int, data: st.DataObject) -> None:
    broken = sse.event(msgspec.json.encode(data.draw(damaged(EVENTS[place]))))
    reader = written(from_anthropic=False).events({})
    for number, event in enumerate(EVENTS):
        try:
            reader.feed(broken if number == place else sse.event(msgspec.json.encode(event)))
        except (Reported, ValueError):
            return
    reader.end()
