"""Chat completion requests as messages requests."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream.translate import chat_over_messages, messages_over_chat

from .samples import CHAT_REQUEST, JSON, PIXEL, TOOL_SCHEMA, damaged, fields, names, plain, sent, without

ANTHROPIC = TypeAdapter(MessageCreateParamsStreaming)
SIMPLE: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}


def translate(request: dict[str, Any], model: str = "claude-x") -> dict[str, Any]:
    return sent(chat_over_messages.request(fields(request), model))


def adapted(request: dict[str, Any], model: str = "claude-x") -> tuple[str, ...]:
    return names(chat_over_messages.request(fields(request), model))


def refused(request: dict[str, Any]) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        chat_over_messages.request(fields(request), "claude-x")
    assert caught.value.status == 400
    assert caught.value.message.startswith(caught.value.param or "nothing")
    return caught.value


def test_everything_that_can_be_said() -> None:
    assert translate(CHAT_REQUEST) == {
        "model": "claude-x",
        "max_tokens": 99,
        "system": "Be brief.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Where is this?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                    {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Let me look."},
                    {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Ulm"}},
                    {"type": "tool_use", "id": "call_2", "name": "weather", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "rain"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "call_2",
                        "content": [{"type": "text", "text": "sun"}],
                    },
                    {"type": "text", "text": "And now?"},
                ],
            },
        ],
        "tools": [
            {"name": "weather", "description": "Of a city.", "input_schema": TOOL_SCHEMA, "strict": True},
        ],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": TOOL_SCHEMA}},
        "stream": True,
    }
    assert adapted(CHAT_REQUEST) == ("top_p",)


def test_the_sdk_knows_every_word_of_it() -> None:
    request = without(translate(CHAT_REQUEST), "temperature", "top_p")  # which it no longer has
    assert plain(ANTHROPIC.validate_python(request)) == request


def test_instructions_move_to_the_front() -> None:
    request = translate(
        {
            "messages": [
                {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": ""}]},
                {"role": "user", "content": "Hi"},
                {"role": "system", "content": "b"},
            ]
        }
    )
    assert request["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert [turn["role"] for turn in request["messages"]] == ["user"]


def test_without_a_limit_there_is_a_default() -> None:
    assert translate(SIMPLE)["max_tokens"] == chat_over_messages.DEFAULT_MAX_TOKENS
    assert translate(SIMPLE | {"max_tokens": 5})["max_tokens"] == 5
    assert translate(SIMPLE | {"max_tokens": 5, "max_completion_tokens": 6})["max_tokens"] == 6


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "weather"}}, {"type": "tool", "name": "weather"}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "weather"}}],
                },
            },
            {"type": "any"},
        ),
    ],
)
def test_tool_choice(choice: Any, expected: Any) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("time", "weather")]
    request = translate(SIMPLE | {"tools": tools, "tool_choice": choice})
    assert request["tool_choice"] == expected
    allowed = isinstance(choice, dict) and choice["type"] == "allowed_tools"
    names = [tool["name"] for tool in request["tools"]]
    assert names == (["weather"] if allowed else ["time", "weather"])
    assert request["tools"][0]["input_schema"] == {"type": "object"}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"tool_choice": "none"}, {"type": "none"}),
    ],
)
def test_one_tool_call_at_a_time(choice: Any, expected: Any) -> None:
    tools = [{"type": "function", "function": {"name": "weather"}}]
    request = translate(SIMPLE | {"tools": tools, "parallel_tool_calls": False, **choice})
    assert request["tool_choice"] == expected
    assert "tool_choice" not in translate(SIMPLE | {"tools": tools, "parallel_tool_calls": True})


def test_the_user_is_named() -> None:
    assert translate(SIMPLE | {"user": "u"})["metadata"] == {"user_id": "u"}
    assert translate(SIMPLE | {"user": "u", "safety_identifier": "s"})["metadata"] == {"user_id": "s"}


def test_a_pdf_is_a_document() -> None:
    file = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}
    request = translate({"messages": [{"role": "user", "content": [{"type": "file", "file": file}]}]})
    (block,) = request["messages"][0]["content"]
    assert block["title"] == "a.pdf"
    assert block["source"] == {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}


def test_marks_for_the_cache_are_kept() -> None:
    mark = {"type": "ephemeral"}
    content = [{"type": "text", "text": "Hi", "cache_control": mark}]
    tools = [{"type": "function", "function": {"name": "f"}, "cache_control": mark}]
    messages = [{"role": "system", "content": content}, {"role": "user", "content": content}]
    request = translate({"messages": messages, "tools": tools})
    assert request["system"] == request["messages"][0]["content"] == content
    assert request["tools"][0]["cache_control"] == mark


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("n", True),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("frequency_penalty", 0.1),
        ("presence_penalty", -1),
        ("logit_bias", {"5": 1}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "x", "format": "wav"}),
        ("functions", []),
        ("function_call", "auto"),
        ("web_search_options", {}),
        ("store", True),
        ("service_tier", "flex"),
        ("temperature", 3),
        ("temperature", "hot"),
        ("top_p", 2),
        ("max_tokens", 0),
        ("max_tokens", "5"),
        ("stop", [1]),
        ("stream", "yes"),
        ("stream_options", {"include_usage": 1}),
        ("reasoning_effort", "huge"),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x"}}),
        ("tool_choice", "required"),
        ("tools", [{"type": "custom", "custom": {"name": "x"}}]),
        ("user", 5),
        ("metadata", ...),
    ],
)
def test_what_cannot_be_said_is_refused(field: str, value: Any) -> None:
    if value is ...:  # labels for a dashboard
        translate(SIMPLE | {field: {"a": "b"}})
        return
    param = refused(SIMPLE | {field: value}).param
    assert param is not None
    assert param.startswith(field)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "messages[0].content[0].type"),
        ({"role": "user", "content": 5}, "messages[0].content"),
        ({"role": "user"}, "messages[0]"),
        ({"role": "function", "name": "f", "content": ""}, "messages[0].role"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]},
            "messages[0].content[0].image_url.url",
        ),
        (
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "data:image/bmp;base64,QQ=="}}],
            },
            "messages[0].content[0].image_url.url",
        ),
        ({"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}, "messages[0].content[0].file"),
        ({"role": "assistant", "audio": {"id": "a"}}, "messages[0].audio"),
        *(
            (
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
                    ],
                },
                "messages[0].tool_calls[0].function.arguments",
            )
            for arguments in ("{", "[]", "5", "[" * 100_000)
        ),
    ],
)
def test_the_part_at_fault_is_named(message: dict[str, Any], param: str) -> None:
    assert refused({"messages": [message]}).param == param


def test_fields_that_say_what_is_the_case_anyway() -> None:
    usual = {
        "n": 1,
        "logprobs": False,
        "frequency_penalty": 0.0,
        "logit_bias": {},
        "modalities": ["text"],
        "temperature": 1,
        "top_p": 1.0,
        "response_format": {"type": "text"},
        "stream": False,
        "seed": 3,
        "audio": None,
        "max_tokens": None,
        "stop": None,
        "tools": [],
        "tool_choice": "none",
        "parallel_tool_calls": False,
    }
    assert translate(SIMPLE | usual) == translate(SIMPLE)


def test_other_fields_are_sent_on() -> None:
    own: dict[str, Any] = {"top_k": 5, "context_management": {"edits": []}}
    assert translate(SIMPLE | own) == translate(SIMPLE) | own
    thinking = {"type": "enabled", "budget_tokens": 2000}
    request = translate(SIMPLE | {"thinking": thinking})
    assert request["thinking"] == thinking
    assert request["max_tokens"] == 2000 + chat_over_messages.DEFAULT_MAX_TOKENS
    assert translate(SIMPLE | {"thinking": {"type": "disabled"}, "reasoning_effort": "low"})["thinking"] == {
        "type": "disabled"
    }
    both = {"reasoning_effort": "low", "output_config": {"effort": "high"}}
    assert refused(SIMPLE | both).param == "output_config"


@pytest.mark.parametrize("effort", ["low", "medium", "high", "xhigh", "max"])
def test_an_effort_is_thought(effort: str) -> None:
    request = translate(SIMPLE | {"reasoning_effort": effort})
    assert request["thinking"] == {"type": "adaptive"}
    assert request["output_config"] == {"effort": effort}


def test_no_effort_is_no_thinking() -> None:
    assert translate(SIMPLE | {"reasoning_effort": "none"}) == translate(SIMPLE) | {
        "thinking": {"type": "disabled"}
    }


def test_empty_texts_are_left_out_where_something_is_said() -> None:
    empty, text = {"type": "text", "text": ""}, {"type": "text", "text": "a"}
    messages = [{"role": "user", "content": [empty, text]}, {"role": "assistant", "content": ""}]
    request = translate({"messages": [*messages, {"role": "user", "content": ""}]})
    assert request["messages"] == [{"role": "user", "content": [text]}]


def test_numbers_and_spaces_of_arguments_are_kept() -> None:
    arguments = '{"n": 123456789012345678901234567890, "x": 1.0}'
    function = {"name": "f", "arguments": arguments}
    message = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": function}]}
    body = chat_over_messages.request(fields({"messages": [message]}), "m")
    assert isinstance(body, bytes)
    assert arguments.encode() in body


TEXT = st.text(min_size=1, max_size=8).filter(str.strip)
CALLS = st.lists(
    st.tuples(st.uuids().map(str), st.sampled_from(["f", "g"]), st.dictionaries(TEXT, JSON, max_size=2)),
    min_size=1,
    max_size=3,
)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": draw(TEXT)}]
    for _ in range(draw(st.integers(1, 5))):
        content = draw(
            TEXT | st.lists(TEXT.map(lambda text: {"type": "text", "text": text}), min_size=1, max_size=3)
        )
        messages.append({"role": "user", "content": content})
        if draw(st.booleans()):
            messages.append({"role": "assistant", "content": draw(TEXT)})
        if draw(st.booleans()):
            calls = draw(CALLS)
            functions = [
                {
                    "id": name,
                    "type": "function",
                    "function": {"name": f, "arguments": msgspec.json.encode(a).decode()},
                }
                for name, f, a in calls
            ]
            messages.append({"role": "assistant", "content": draw(st.none() | TEXT), "tool_calls": functions})
            messages += [{"role": "tool", "tool_call_id": name, "content": draw(TEXT)} for name, _, _ in calls]
    return messages


def gist(messages: list[dict[str, Any]]) -> list[Any]:
    """Who said, called and returned what, in which order, however it is cut into messages and parts."""
    said: list[Any] = []
    for message in messages:
        role, content = message["role"], message.get("content") or ""
        text = content if isinstance(content, str) else "".join(part["text"] for part in content)
        calls = [(call["id"], call["function"]) for call in message.get("tool_calls", ())]
        if role == "tool":
            said.append((role, message["tool_call_id"], text))
        elif said and said[-1][0] == role:
            said[-1] = (role, said[-1][1] + text, said[-1][2] + calls)
        else:
            said.append((role, text, calls))
    return said


@given(conversations())
def test_there_and_back_nothing_is_lost(messages: list[dict[str, Any]]) -> None:
    there = translate({"messages": messages})
    turns = there["messages"]
    assert [turn["role"] for turn in turns] == (["user", "assistant"] * len(turns))[: len(turns)]
    back = sent(messages_over_chat.request(fields(there), "m"))
    assert gist(back["messages"]) == gist(messages)


@given(damaged(CHAT_REQUEST))
def test_bad_requests_are_refused(request: Any) -> None:
    if not isinstance(request, dict):
        return
    try:
        body = chat_over_messages.request(fields(request), "m")
    except GatewayError as error:
        assert error.status == 400
        assert error.param
    else:
        assert sent(body)["model"] == "m"


@pytest.mark.parametrize("raw", [b"\xff", b'"\xff"', b"[" * 100_000, b'[{"role":"user","content":"\\ud800"}]'])
@pytest.mark.parametrize("name", ["messages", "tools", "stop", "response_format", "n", "user", "stream_options"])
def test_broken_json_is_refused(raw: bytes, name: str) -> None:
    with pytest.raises(GatewayError) as caught:
        chat_over_messages.request(fields(SIMPLE) | {name: msgspec.Raw(raw)}, "m")
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("model", "asked", "names_of", "becomes"),
    [
        ("claude-x", {"temperature": 1.5}, ("temperature",), {}),
        ("claude-x", {"temperature": 0.5, "top_p": 0.5}, ("top_p",), {"temperature": 0.5}),
        ("claude-x", {"temperature": 1, "top_p": 0.5}, (), {"top_p": 0.5}),
        ("claude-opus-4-7", {"temperature": 0.5, "top_k": 5}, ("temperature", "top_k"), {}),
        ("claude-sonnet-5", {"top_p": 0.5}, ("top_p",), {}),
        ("anthropic.claude-opus-4-1-20250805-v1:0", {"temperature": 0.5}, (), {"temperature": 0.5}),
        ("claude-sonnet-4-20250514", {"temperature": 0.5}, (), {"temperature": 0.5}),
        ("claude-3-7-sonnet-20250219", {"temperature": 0.5}, (), {"temperature": 0.5}),
        (
            "claude-x",
            {"reasoning_effort": "low", "temperature": 0.5, "top_p": 0.9, "top_k": 5},
            ("temperature", "top_p", "top_k"),
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        ),
        (
            "claude-x",
            {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 5000, "top_p": 0.97},
            (),
            {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 5000, "top_p": 0.97},
        ),
        ("claude-x", {"stop": ["\n"]}, ("stop",), {}),
        ("claude-x", {"stop": " "}, ("stop",), {}),
        ("claude-x", {"stop": ["\n", "END", ""]}, ("stop",), {"stop_sequences": ["END"]}),
        (
            "claude-x",
            {"reasoning_effort": "minimal"},
            ("reasoning_effort",),
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        ),
        (
            "claude-haiku-4-5",
            {"reasoning_effort": "medium"},
            (),
            {"thinking": {"type": "enabled", "budget_tokens": 4096}},
        ),
        (
            "claude-haiku-4-5",
            {"reasoning_effort": "high", "max_tokens": 2000},
            (),
            {"thinking": {"type": "enabled", "budget_tokens": 1999}, "max_tokens": 2000},
        ),
        (
            "claude-haiku-4-5",
            {"reasoning_effort": "low", "max_tokens": 99},
            ("reasoning_effort",),
            {"max_tokens": 99},
        ),
        ("claude-3-5-sonnet-20241022", {"reasoning_effort": "low"}, ("reasoning_effort",), {}),
        ("claude-haiku-4-5", {"reasoning_effort": "none"}, (), {"thinking": {"type": "disabled"}}),
        ("claude-x", {"verbosity": "low"}, ("verbosity",), {"output_config": {"effort": "low"}}),
        ("claude-x", {"verbosity": "medium"}, (), {}),
        ("claude-haiku-4-5", {"verbosity": "high"}, ("verbosity",), {}),
        (
            "claude-x",
            {"verbosity": "high", "reasoning_effort": "low"},
            ("verbosity",),
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        ),
        (
            "claude-x",
            {"response_format": {"type": "json_object"}},
            ("response_format",),
            {"system": "Answer with one JSON object and nothing else."},
        ),
    ],
)
def test_what_anthropic_refuses_is_adapted_and_named(
    model: str, asked: dict[str, Any], names_of: tuple[str, ...], becomes: dict[str, Any]
) -> None:
    assert translate(SIMPLE | asked, model) == translate(SIMPLE, model) | becomes
    assert adapted(SIMPLE | asked, model) == names_of


def test_the_sentence_about_json_comes_last() -> None:
    mark = {"type": "ephemeral"}
    system = {"role": "system", "content": "Be brief.", "cache_control": mark}
    request = translate({"messages": [system, *SIMPLE["messages"]], "response_format": {"type": "json_object"}})
    assert request["system"][0]["text"] == "Be brief."
    assert "JSON" in request["system"][1]["text"]
    assert "cache_control" not in request["system"][1]


def test_thinking_gives_way_to_a_tool_that_has_to_be_called() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    asked = SIMPLE | {"tools": tools, "tool_choice": "required", "thinking": {"type": "adaptive"}}
    assert "thinking" not in translate(asked)
    assert adapted(asked) == ("thinking",)


@pytest.mark.parametrize("value", ["huge", 5, None])
def test_verbosity_is_a_word(value: Any) -> None:
    if value is None:
        assert translate(SIMPLE | {"verbosity": value}) == translate(SIMPLE)
    else:
        assert refused(SIMPLE | {"verbosity": value}).param == "verbosity"


def test_jpg_is_jpeg() -> None:
    part = {"type": "image_url", "image_url": {"url": f"data:image/jpg;base64,{PIXEL}"}}
    asked = {"messages": [{"role": "user", "content": [part]}]}
    assert translate(asked)["messages"][0]["content"][0]["source"]["media_type"] == "image/jpeg"
    assert adapted(asked) == ("image_url",)


def test_a_mark_for_the_cache_on_a_message_is_kept() -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    thinking = {"type": "thinking", "thinking": "", "signature": "s"}
    messages = [
        {"role": "system", "content": "a", "cache_control": mark},
        {
            "role": "user",
            "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}],
            "cache_control": mark,
        },
        {"role": "assistant", "content": None, "thinking_blocks": [thinking], "cache_control": mark},
        {"role": "assistant", "content": "d", "tool_calls": [call], "cache_control": mark},
        {"role": "tool", "tool_call_id": "c", "content": "e", "cache_control": mark},
        {"role": "user", "content": "", "cache_control": mark},
    ]
    request = translate({"messages": messages})
    blocks = [*request["system"], *(block for turn in request["messages"] for block in turn["content"])]
    marked = [block.get("text") or block["type"] for block in blocks if "cache_control" in block]
    assert marked == ["a", "c", "tool_use", "tool_result"]
    assert all(block.get("cache_control", mark) == mark for block in blocks)


def test_results_come_first() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "assistant", "tool_calls": [call, call | {"id": "d"}]},
        {"role": "user", "content": "And?"},
        {"role": "tool", "tool_call_id": "c", "content": "e"},
        {"role": "tool", "tool_call_id": "d", "content": "e"},
    ]
    _, turn = translate({"messages": messages})["messages"]
    assert [block.get("tool_use_id") or block["text"] for block in turn["content"]] == ["c", "d", "And?"]
