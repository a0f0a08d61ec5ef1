"""Chat completions and Anthropic's messages as responses, read by openai's own SDK."""

from __future__ import annotations

from typing import Any

import msgspec
import openai
import pytest
from openai.types.responses import Response

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.dialect import Reported, Usage
from tiny_dancer.gateway.upstream.kinds import anthropic as anthropic_kind
from tiny_dancer.gateway.upstream.kinds import openai as openai_kind
from tiny_dancer.gateway.upstream.translate.responses_over_chat import ResponsesOverChat
from tiny_dancer.gateway.upstream.translate.responses_reasoning import read_thought

from .samples import CHUNKS, COMPLETION, MESSAGE, MESSAGE_STREAM, fields, spoken, translated
from .server import between

CUT = GatewayError(502, "the upstream hung up", code="stream_cut")
ENCRYPTED = {"include": ["reasoning.encrypted_content"]}
CUSTOM = {"tools": [{"type": "custom", "name": "patch"}, {"type": "local_shell"}]}


def asked(*, anthropic: bool = False, **more: Any) -> Any:
    """The dialect of a request that has been written."""
    kind = anthropic_kind if anthropic else openai_kind
    chat = kind.dialect("chat.completions")
    assert chat is not None
    dialect = ResponsesOverChat(chat, anthropic=anthropic)
    dialect.request(fields({"model": "auto", "input": "Hi", **more}), "real-model")
    return dialect


def completion(finish: str | None = "stop", **message: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return msgspec.json.encode({**COMPLETION, "choices": [choice]})


def whole(body: bytes, *, anthropic: bool = False, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(asked(anthropic=anthropic, **more).response(body).body)
    Response.model_validate(found, strict=True)
    return found


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **more}
    return sse.event(msgspec.json.encode({"id": "c", "model": "gpt-x", "choices": [choice]}))


def call(index: int | None, arguments: str = "", **more: Any) -> dict[str, Any]:
    name = {"name": more.pop("name")} if "name" in more else {}
    place = {} if index is None else {"index": index}
    return {"tool_calls": [{**place, **more, "function": {**name, "arguments": arguments}}]}


def streamed(*events: bytes, **more: Any) -> list[dict[str, Any]]:
    reader = asked(stream=True, **more).events({})
    return spoken(translated(reader, b"".join(events)) + reader.end())


def output(*events: bytes, **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = streamed(*events, **more)[-1]["response"]["output"]
    return found


def bare(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items without the ids that are made up."""
    return [{name: value for name, value in item.items() if name != "id"} for item in items]


TEXT = {"type": "output_text", "annotations": [], "logprobs": []}
EXPECTED: list[dict[str, Any]] = [
    {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
    {
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{**TEXT, "text": "Let me look."}],
    },
    {
        "type": "function_call",
        "status": "completed",
        "call_id": "call_1",
        "name": "weather",
        "arguments": '{"city": "Ulm"}',
    },
]


def test_a_chat_completion() -> None:
    dialect = asked(temperature=0.5, instructions="Be kind.", metadata={"a": "b"}, store=True)
    answer = dialect.response(msgspec.json.encode(COMPLETION))
    found = msgspec.json.decode(answer.body)
    Response.model_validate(found, strict=True)
    assert bare(found["output"]) == EXPECTED
    assert answer.usage is not None
    assert (answer.id, answer.usage.input_tokens, answer.usage.output_tokens) == (found["id"], 18, 7)
    assert found["id"].startswith("resp_")
    assert [item["id"].partition("_")[0] for item in found["output"]] == ["rs", "msg", "fc"]
    assert (found["status"], found["model"], found["store"], found["error"]) == ("completed", "gpt-x", False, None)
    assert (found["temperature"], found["instructions"], found["metadata"]) == (0.5, "Be kind.", {"a": "b"})
    assert found["usage"] == {
        "input_tokens": 18,
        "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 25,
    }


def test_a_message_of_anthropic_s() -> None:
    found = whole(msgspec.json.encode(MESSAGE), anthropic=True)
    call = {**EXPECTED[2], "call_id": "toolu_1", "arguments": '{"city":"Ulm"}'}
    assert bare(found["output"]) == [EXPECTED[0], EXPECTED[1], call]
    assert (found["usage"]["input_tokens"], found["usage"]["output_tokens"]) == (18, 7)
    assert found["usage"]["output_tokens_details"] == {"reasoning_tokens": 2}
    assert found["usage"]["input_tokens_details"] == {"cached_tokens": 5, "cache_write_tokens": 3}


@pytest.mark.parametrize(
    ("finish", "status", "details"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        (None, "completed", None),
        ("something_new", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_reasons_to_stop(finish: str | None, status: str, details: Any) -> None:
    found = whole(completion(finish, content="Hm"))
    assert (found["status"], found["incomplete_details"]) == (status, details)
    assert found["output"][0]["status"] == status


def test_a_call_that_was_cut_off_is_incomplete() -> None:
    called = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": '}}
    whole_one = {"id": "c0", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    found = whole(completion("length", content="Hm", tool_calls=[whole_one, called]))
    statuses = [(item["status"], item.get("arguments")) for item in found["output"]]
    assert statuses == [("completed", None), ("completed", "{}"), ("incomplete", '{"a": ')]


@pytest.mark.parametrize("content", [None, "", []])
def test_an_answer_that_is_empty_has_a_message(content: Any) -> None:
    (item,) = whole(completion("stop", content=content))["output"]
    assert item["content"] == [{**TEXT, "text": ""}]


def test_refusals_annotations_and_log_probabilities() -> None:
    cited = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 2}}
    tokens = [{"token": "Hm", "logprob": -0.5, "bytes": [72, 109], "top_logprobs": []}]
    message = {"role": "assistant", "content": "Hm", "refusal": "No.", "annotations": [cited]}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": {"content": tokens}}
    body = msgspec.json.encode({**COMPLETION, "choices": [choice]})
    (item,) = whole(body, top_logprobs=1)["output"]
    assert [part["type"] for part in item["content"]] == ["output_text", "refusal", "output_text"]
    assert item["content"][0]["logprobs"] == tokens
    assert item["content"][1]["refusal"] == "No."
    assert item["content"][2]["annotations"] == [{"type": "url_citation", **cited["url_citation"]}]  # type: ignore[dict-item]


def test_a_summary_where_the_client_asks_for_one() -> None:
    body = msgspec.json.encode(COMPLETION)
    found = whole(body, reasoning={"effort": "low", "summary": "auto"})
    assert found["output"][0]["summary"] == [{"type": "summary_text", "text": "Hm."}]
    assert found["reasoning"] == {"effort": "low", "summary": "auto"}


def test_reasoning_can_be_handed_back() -> None:
    found = whole(msgspec.json.encode(COMPLETION), **ENCRYPTED)
    back = read_thought(found["output"][0]["encrypted_content"])
    assert back is not None
    assert (back.model, back.field, back.text) == ("real-model", "reasoning_content", "Hm.")
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "x"},
    ]
    pieces = [
        chunk({"reasoning_content": "H", "thinking_blocks": [{"type": "thinking", "thinking": "H"}]}),
        chunk({"reasoning_content": "m.", "thinking_blocks": [{"type": "thinking", "thinking": "m."}]}),
        chunk({"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "c2ln"}]}),
        chunk({"thinking_blocks": [{"index": 1, **blocks[1]}]}),
        chunk({"content": "a"}, "stop"),
    ]
    item = output(*pieces, sse.DONE, **ENCRYPTED)[0]
    back = read_thought(item["encrypted_content"])
    assert back is not None
    assert (back.text, back.blocks) == ("Hm.", blocks)


def test_texts_come_in_many_forms() -> None:
    mistral = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
        {"type": "text", "text": "Let me look."},
    ]
    for message in (
        {"content": mistral},
        {"content": "Let me look.", "reasoning": {"text": "Hm."}},
        {"content": "Let me look.", "reasoning": "Hm.", "reasoning_content": "Hm."},
    ):
        assert bare(whole(completion("stop", **message))["output"]) == EXPECTED[:2]


def test_a_stream() -> None:
    events = streamed(CHUNKS)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert events[0]["response"]["status"] == "in_progress"
    assert events[0]["response"]["output"] == []
    assert events[-1]["response"]["output"] == [
        event["item"] for event in events if event["type"] == "response.output_item.done"
    ]


def test_a_summary_streamed() -> None:
    kinds = [event["type"] for event in streamed(CHUNKS, reasoning={"summary": "auto"})]
    assert kinds[3:8] == [
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
    ]


def test_anthropic_s_stream() -> None:
    reader = asked(anthropic=True, stream=True).events({})
    events = spoken(translated(reader, MESSAGE_STREAM))
    assert (reader.finished, reader.usage, reader.id) == (
        True,
        Usage(18, 20, cached_tokens=5, written_tokens=3),
        events[-1]["response"]["id"],
    )
    text = "Let me look: ü\n\n✓"
    assert [
        (item["type"], (item.get("content") or [{}])[0].get("text"), item.get("call_id"), item.get("arguments"))
        for item in events[-1]["response"]["output"]
    ] == [
        ("reasoning", "Hm.", None, None),
        ("message", text, None, None),
        ("function_call", None, "toolu_1", '{"city": "Ulm"}'),
        ("function_call", None, "toolu_2", "{}"),
    ]


def test_calls_that_are_written_at_once() -> None:
    events = [
        chunk(call(0, '{"a"', id="c0", name="f")),
        chunk(call(1, '{"b"', id="c1", name="g")),
        chunk(call(0, ":1}")),
        chunk(call(1, ":2}")),
        chunk({}, "tool_calls"),
        sse.DONE,
    ]
    items = output(*events)
    assert [(item["call_id"], item["arguments"]) for item in items] == [("c0", '{"a":1}'), ("c1", '{"b":2}')]


@pytest.mark.parametrize(
    "deltas",
    [
        [call(0, "{}", id="c0", name="f"), call(0, "{}", id="c1", name="g")],  # the index 0 for all
        [call(0, "{}", name="f"), call(0, "{}", name="g")],  # and no ids
        [call(None, "{", id="c0", name="f"), call(None, "}"), call(None, "{}", id="c1", name="g")],
        [call(None, "{", id="c0", name="f"), call(None, "}", id="c0"), call(None, "{}", id="c1", name="g")],
        [
            call(0, "{", id="c0", name="f"),
            call(0, "}\n", id="c0"),
            call(1, "{}", id="c0", name="g"),
        ],  # one id twice
        [call(0, "{}", id="c0", name="f"), call(1, "", id="c1", name="g"), call(0, "\n")],
        [call(0, "", id="c0", name="f"), {"content": "\n"}, call(0, "{}"), call(1, "{}", id="c1", name="g")],
        [
            {"tool_calls": [{"index": 0, "id": 7, "function": {"name": "f", "arguments": {}}}]},
            call(1, "{}", name="g"),
        ],
    ],
)
def test_calls_as_servers_write_them(deltas: list[dict[str, Any]]) -> None:
    items = output(*[chunk(delta) for delta in deltas], chunk({}, "tool_calls"), sse.DONE)
    calls = [item for item in items if item["type"] == "function_call"]
    assert [(item["name"], item["arguments"].strip(), item["status"]) for item in calls] == [
        ("f", "{}", "completed"),
        ("g", "{}", "completed"),
    ]
    assert len({item["call_id"] for item in calls}) == 2


def test_custom_tools_and_the_local_shell() -> None:
    events = streamed(
        chunk(call(0, '{"input": "a', id="c0", name="patch")),
        chunk(call(0, '\\nb"}')),
        chunk(call(1, '{"command": ["ls"], "timeout_ms": 9}', id="c1", name="local_shell")),
        chunk(call(2, "not JSON", id="c2", name="patch")),
        chunk(call(3, '{"command": 7}', id="c3", name="local_shell")),
        chunk({}, "tool_calls"),
        sse.DONE,
        **CUSTOM,
    )
    action = {"type": "exec", "command": ["ls"], "env": {}, "timeout_ms": 9}
    assert bare(events[-1]["response"]["output"]) == [
        {"type": "custom_tool_call", "status": "completed", "input": "a\nb", "call_id": "c0", "name": "patch"},
        {"type": "local_shell_call", "call_id": "c1", "action": action, "status": "completed"},
        {"type": "custom_tool_call", "status": "completed", "input": "not JSON", "call_id": "c2", "name": "patch"},
        {
            "type": "function_call",
            "call_id": "c3",
            "name": "local_shell",
            "arguments": '{"command": 7}',
            "status": "completed",
        },
    ]
    kinds = [event["type"] for event in events]
    assert kinds.count("response.custom_tool_call_input.done") == 2
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done") == 4


def test_an_error_comes_once_with_its_message_and_code() -> None:
    report = b'data: {"error": {"message": "exploded", "code": "upstream_broke"}}\n\n'
    reader = asked(stream=True).events({})
    events = spoken(translated(reader, chunk({"content": "Hel"}) + report + report + sse.DONE))
    assert reader.error is not None
    assert (reader.error.message, reader.finished) == ("exploded", True)
    assert spoken(reader.end() + reader.cut(CUT)) == []
    assert [event["type"] for event in events if "delta" not in event["type"]][-1] == "response.failed"
    failed = events[-1]["response"]
    assert (failed["status"], failed["error"]) == ("failed", {"code": "upstream_broke", "message": "exploded"})
    assert failed["output"][0]["content"][0]["text"] == "Hel"
    assert failed["output"][0]["status"] == "incomplete"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_anthropic_s_error_in_the_middle() -> None:
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    begun = MESSAGE_STREAM.partition(b"event: content_block_stop")[0]
    events = spoken(translated(asked(anthropic=True, stream=True).events({}), begun + error))
    assert events[-1]["response"]["error"] == {"code": "overloaded", "message": "Overloaded"}


def test_an_error_before_the_first_word_is_no_answer() -> None:
    report = b'data: {"error": {"message": "slow down", "code": 429}}\n\n'
    for begun in (b"", chunk({"role": "assistant", "content": ""})):
        reader = asked(stream=True).events({})
        with pytest.raises(Reported, match="slow down"):
            translated(reader, begun + report)
        assert not reader.content


def test_nothing_is_given_out_before_there_is_something_to_say() -> None:
    reader = asked(stream=True).events({})
    assert translated(reader, b": ping\n\n" + chunk({"role": "assistant", "content": ""})) == b""
    assert not reader.content
    assert len(spoken(translated(reader, chunk({"content": "a"})))) == 5
    assert reader.content
    assert translated(reader, b": ping\n\n") == b": ping\n\n"


def test_a_stream_of_nothing_is_no_answer() -> None:
    reader = asked(stream=True).events({})
    assert translated(reader, sse.DONE) == b""
    assert not (reader.content or reader.finished)


def test_a_stream_that_lacks_its_last_events_is_whole() -> None:
    reader = asked(stream=True).events({})
    translated(reader, chunk({"content": "a"}) + chunk({}, "stop"))
    assert [event["type"] for event in spoken(reader.end())][-1] == "response.completed"
    assert reader.finished


def test_a_stream_that_is_cut_fails() -> None:
    reader = asked(stream=True).events({})
    translated(reader, chunk({"content": "a"}))
    assert reader.end() == b""
    assert not reader.finished
    (last,) = spoken(reader.cut(CUT))
    assert last["response"]["error"] == {"code": "stream_cut", "message": "the upstream hung up"}


def test_a_whole_answer_in_place_of_a_stream() -> None:
    dialect = asked(stream=True)
    reader = dialect.events({})
    events = spoken(b"".join([reader.feed(event) for event in dialect.unroll(msgspec.json.encode(COMPLETION))]))
    assert bare(events[-1]["response"]["output"]) == EXPECTED


def test_a_stream_in_place_of_a_whole_answer() -> None:
    dialect = asked()
    found = msgspec.json.decode(dialect.response(dialect.roll(CHUNKS)).body)
    assert [item["type"] for item in found["output"]] == ["reasoning", "message", "function_call", "function_call"]


def test_carriage_returns() -> None:
    reader = asked(stream=True).events({})
    stream = CHUNKS.replace(b"\n", b"\r")
    events = spoken(b"".join([reader.feed(event + b"\r\r") for event in stream.split(b"\r\r") if event]))
    assert [bare(events[-1]["response"]["output"])[0]] == EXPECTED[:1]


def test_the_sdk_reads_it() -> None:
    for anthropic, body, stream in (
        (False, msgspec.json.encode(COMPLETION), CHUNKS),
        (True, msgspec.json.encode(MESSAGE), MESSAGE_STREAM),
    ):
        chat = (anthropic_kind if anthropic else openai_kind).dialect("chat.completions")
        assert chat is not None
        with between(ResponsesOverChat(chat, anthropic=anthropic)) as state:
            client = openai.OpenAI(base_url=state.url, api_key="x", max_retries=0)
            state.answer = body
            assert client.responses.create(model="auto", input="Hi").output_text == "Let me look."
            state.answer = stream
            with client.responses.stream(model="auto", input="Hi") as running:
                final = running.get_final_response()
            assert final.output_text == "Let me look: ü\n\n✓"
            assert [item.type for item in final.output] == [
                "reasoning",
                "message",
                "function_call",
                "function_call",
            ]
