"""Streams in any legal order, cut anywhere, translated, and read by the libraries of both vendors."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk
from pydantic import TypeAdapter

from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.translate.chat_from_messages import ChunkEvents
from tiny_dancer.gateway.upstream.translate.messages_from_chat import MessageEvents

from .samples import spoken

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
LIMIT = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
NOISE = (b": keep-alive\n\n", b'event: ping\ndata: {"type": "ping"}\n\n', b"\n\n", b"data: []\n\n")

WORDS = st.text(alphabet='ab €\n"\\é😀👍{}', min_size=1, max_size=12).map(lambda text: f"w{text}")
INPUTS = st.dictionaries(
    st.sampled_from(["a", "b", "ü"]), WORDS | st.integers() | st.lists(WORDS, max_size=2), max_size=3
)
CALLS = st.lists(st.tuples(st.sampled_from(["f", "g"]), INPUTS), max_size=3)


def halves(text: str) -> list[str]:
    """A text by the units of UTF-16: a character may be two."""
    raw = text.encode("utf-16-le")
    return [raw[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(raw), 2)]


@st.composite
def pieces(draw: st.DrawFn, text: str) -> list[str]:
    """A text in pieces, each of which may end in the middle of a character, and none of which is only space: that
    makes no block."""
    units = halves(text)
    cuts = sorted(draw(st.sets(st.integers(0, len(units)), max_size=3)) | {0, len(units)})
    cuts = [cut for cut in cuts if cut in (0, len(units)) or not "".join(units[cut:]).isspace()]
    cuts = [cut for at, cut in enumerate(cuts) if at == 0 or not "".join(units[cuts[at - 1] : cut]).isspace()]
    return ["".join(units[start:stop]) for start, stop in pairwise(sorted({*cuts, len(units)}))]


@st.composite
def by_turns(draw: st.DrawFn, calls: list[list[Any]]) -> list[Any]:
    """The pieces of calls: they begin in their order, whatever comes between."""
    if draw(st.booleans()):
        return [piece for call in calls for piece in call]
    rest, begun, found = [list(call) for call in calls], 0, []
    while any(rest):
        choices = [number for number in range(begun) if rest[number]] + [begun] * (begun < len(rest))
        chosen = draw(st.sampled_from(choices))
        begun = max(begun, chosen + 1)
        found.append(rest[chosen].pop(0))
    return found


@st.composite
def merged(draw: st.DrawFn, lists: list[list[Any]]) -> list[Any]:
    """Lists in one, each in its own order."""
    rest = [list(each) for each in lists if each]
    found = []
    while rest:
        chosen = draw(st.sampled_from(range(len(rest))))
        found.append(rest[chosen].pop(0))
        rest = [each for each in rest if each]
    return found


def bytewise(events: Any, stream: bytes) -> bytes:
    """What a client gets of a stream that is cut at every byte."""
    given_out, rest = b"", b""
    for at in range(len(stream)):
        found, rest = sse.split(rest + stream[at : at + 1])
        given_out += b"".join(events.feed(event) for event in found)
    for event in sse.split(rest + b"\n\n")[0]:
        given_out += events.feed(event)
    return given_out + (events.end() or b"")


def gist_of_message(stream: bytes) -> dict[str, Any]:
    """A stream of Anthropic's as its library accumulates it; one block is open at a time."""
    message: Any = None
    opened: int | None = None
    blocks = 0
    buffers: dict[int, bytes] = {}
    kinds = []
    for event in spoken(stream):
        kinds.append(event["type"])
        read = EVENT.validate_python(event, strict=True)
        if read.type == "content_block_start":
            assert opened is None
            assert read.index == blocks
            opened, blocks = read.index, blocks + 1
        elif read.type == "content_block_delta":
            assert read.index == opened
        elif read.type == "content_block_stop":
            assert read.index == opened
            opened = None
        message = accumulate_event(event=read, current_snapshot=message, json_bufs=buffers)
    assert opened is None
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    said: dict[str, Any] = {"text": "", "thinking": "", "signed": [], "calls": [], "stop": message.stop_reason}
    for block in message.content:
        if block.type == "text":
            said["text"] += block.text
        elif block.type == "thinking":
            said["thinking"] += block.thinking
            if block.signature:
                said["signed"].append((block.thinking, block.signature))
        elif block.type == "redacted_thinking":
            said["signed"].append((block.data,))
        else:
            said["calls"].append((block.id, block.name, block.input))
    said["usage"] = (message.usage.input_tokens, message.usage.output_tokens)
    return said


def gist_of_completion(stream: bytes) -> dict[str, Any]:
    """A stream of OpenAI's as its library accumulates it."""
    assert stream.endswith(sse.DONE)
    state: Any = ChatCompletionStreamState()
    for chunk in spoken(stream):
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk, strict=True))
    completion = state.get_final_completion()
    message = completion.choices[0].message
    extra = message.model_extra
    return {
        "text": message.content or "",
        "thinking": extra.get("reasoning_content", ""),
        "signed": [
            (block["data"],) if block["type"] == "redacted_thinking" else (block["thinking"], block["signature"])
            for block in extra.get("thinking_blocks", ())
        ],
        "calls": [
            (call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()
        ],
        "stop": completion.choices[0].finish_reason,
        "usage": (completion.usage.prompt_tokens, completion.usage.completion_tokens),
    }


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    frame = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}
    return sse.event(json.dumps(frame).encode())


@st.composite
def chat_streams(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    """What is said, and a stream of chunks that says it."""
    thinking, text = draw(st.just("") | WORDS), draw(st.just("") | WORDS)
    calls = draw(CALLS)
    thought = draw(st.sampled_from(["reasoning_content", "reasoning"]))
    lists = [
        [{thought: piece} for piece in draw(pieces(thinking))],
        [{"content": piece} for piece in draw(pieces(text))],
    ]
    of_calls = []
    for number, (name, given_input) in enumerate(calls):
        arguments = draw(pieces(json.dumps(given_input, ensure_ascii=False)))
        first = {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": ""}}
        rest: list[dict[str, Any]] = [{"function": {"arguments": piece}} for piece in arguments]
        of_calls.append([{"tool_calls": [{"index": number, **each}]} for each in (first, *rest)])
    deltas = draw(merged([*lists, draw(by_turns(of_calls))]))
    running, usage = draw(st.booleans()), {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    stream = [chunk({"role": "assistant", "content": draw(st.sampled_from(["", None]))})]
    for delta in deltas:
        more = {"usage": {**usage, "completion_tokens": 1, "total_tokens": 8}} if running else {}
        stream.append(chunk(delta, draw(st.sampled_from([None, None, ""])), **more))
    finish = chunk({}, "tool_calls" if calls else "stop")
    stream.insert(len(stream) if draw(st.booleans()) else draw(st.integers(1, len(stream))), finish)
    stream.append(chunk({}, choices=[], usage=usage))
    if draw(st.booleans()):
        stream.append(sse.DONE)
    for at in draw(st.lists(st.integers(0, len(stream) - 1), max_size=3)):
        stream.insert(at, NOISE[draw(st.sampled_from([0, 2, 3]))])
    said = {
        "text": text,
        "thinking": thinking,
        "signed": [],
        "calls": [(f"call_{number}", name, given_input) for number, (name, given_input) in enumerate(calls)],
        "stop": "tool_use" if calls else "end_turn",
        "usage": (7, 5),
    }
    return said, b"".join(stream)


@st.composite
def message_streams(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    """What is said, and a stream of Anthropic's events that says it."""
    usage = {"input_tokens": 7, "output_tokens": 1}
    start: dict[str, Any] = {
        "id": "msg",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    said: dict[str, Any] = {"text": "", "thinking": "", "signed": [], "calls": [], "usage": (7, 5)}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    kinds = draw(st.lists(st.sampled_from(["text", "thinking", "redacted", "call", "server"]), max_size=5))
    for index, kind in enumerate(kinds):
        deltas: list[dict[str, Any]] = []
        if kind == "text":
            text = draw(WORDS)
            said["text"] += text
            block: dict[str, Any] = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in draw(pieces(text))]
        elif kind == "thinking":
            text, signature = draw(st.just("") | WORDS), f"sig{index}"
            said["thinking"] += text
            said["signed"].append((text, signature))
            block = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in draw(pieces(text))]
            deltas.append({"type": "signature_delta", "signature": signature})
        elif kind == "redacted":
            said["signed"].append((f"data{index}",))
            block = {"type": "redacted_thinking", "data": f"data{index}"}
        elif kind == "call":
            name, given_input = draw(st.tuples(st.sampled_from(["f", "g"]), INPUTS))
            said["calls"].append((f"toolu_{index}", name, given_input))
            block = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}}
            arguments = (
                json.dumps(given_input, ensure_ascii=False) if given_input else draw(st.sampled_from(["", "{}"]))
            )
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in draw(pieces(arguments))]
        else:
            block = {"type": "server_tool_use", "id": f"srv_{index}", "name": "web_search", "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": '{"query": "x"}'}]
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    if draw(st.booleans()):
        events.append({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 3}})
    said["stop"] = "tool_use" if said["calls"] else "end_turn"
    last = {"stop_reason": said["stop"], "stop_sequence": None}
    events.append({"type": "message_delta", "delta": last, "usage": {"output_tokens": 5}})
    if draw(st.booleans()):
        events.append({"type": "message_stop"})
    stream = [sse.event(json.dumps(event).encode(), event["type"].encode()) for event in events]
    for at in draw(st.lists(st.integers(0, len(stream)), max_size=3)):
        stream.insert(at, draw(st.sampled_from(NOISE)))
    return said, b"".join(stream)


@LIMIT
@given(chat_streams())
def test_chunks_become_events(case: tuple[dict[str, Any], bytes]) -> None:
    said, stream = case
    assert gist_of_message(bytewise(MessageEvents(), stream)) == said


@LIMIT
@given(message_streams())
def test_events_become_chunks(case: tuple[dict[str, Any], bytes]) -> None:
    said, stream = case
    finish = "tool_calls" if said["calls"] else "stop"
    assert gist_of_completion(bytewise(ChunkEvents(wants_usage=True), stream)) == said | {"stop": finish}


@LIMIT
@given(message_streams())
def test_there_and_back_a_stream_says_the_same(case: tuple[dict[str, Any], bytes]) -> None:
    said, stream = case
    chunks = bytewise(ChunkEvents(wants_usage=True), stream)
    assert gist_of_message(bytewise(MessageEvents(), chunks)) == said


def test_the_order_of_blocks_is_kept() -> None:
    said = [("thinking", "a"), ("text", "b"), ("thinking", "c"), ("text", "d")]
    stream = b"".join(
        chunk({"reasoning_content" if kind == "thinking" else "content": word}) for kind, word in said
    )
    given_out = spoken(bytewise(MessageEvents(), stream + sse.DONE))
    starts = [event["content_block"]["type"] for event in given_out if event["type"] == "content_block_start"]
    assert starts == [kind for kind, _ in said]
    assert msgspec.json.encode(given_out[-2]["delta"]["stop_reason"]) == b'"end_turn"'
