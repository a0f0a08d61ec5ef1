"""Messages requests as chat completion requests."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from pydantic import TypeAdapter

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream.translate.messages_over_chat import MESSAGES, request

from .samples import MESSAGES_REQUEST, PIXEL, TOOL_SCHEMA, damaged, fields, names, plain, sent, without

OPENAI = TypeAdapter(CompletionCreateParamsStreaming)
SIMPLE: dict[str, Any] = {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}


def translate(asked: dict[str, Any], model: str = "gpt-oss-120b") -> dict[str, Any]:
    return sent(MESSAGES.request(fields(asked), model))


def adapted(asked: dict[str, Any], model: str = "gpt-oss-120b") -> tuple[str, ...]:
    return names(MESSAGES.request(fields(asked), model))


def refused(asked: dict[str, Any]) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        request(fields(asked), "gpt-4o")
    assert caught.value.status == 400
    assert caught.value.message.startswith(caught.value.param or "nothing")
    return caught.value


def test_everything_that_can_be_said() -> None:
    assert MESSAGES.path == "/chat/completions"
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    assert translate(MESSAGES_REQUEST) == {
        "model": "gpt-oss-120b",
        "messages": [
            {"role": "system", "content": "Be brief.\n\nBe kind."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Where is this?"},
                    image,
                    {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                    {
                        "type": "file",
                        "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": "Let me look.",
                "tool_calls": [
                    {
                        "id": "toolu_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city":"Ulm"}'},
                    },
                    {"id": "toolu_2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": "toolu_1", "content": "Error: no such city"},
            {"role": "tool", "tool_call_id": "toolu_2", "content": "sun"},
            {"role": "user", "content": [image, {"type": "text", "text": "And now?"}]},
        ],
        "max_tokens": 99,
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "Of a city.",
                    "parameters": TOOL_SCHEMA,
                    "strict": True,
                },
            }
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "temperature": 0.5,
        "top_k": 5,
        "stop": ["END"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": "u-1",
        "reasoning_effort": "high",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": TOOL_SCHEMA, "strict": True},
        },
    }


def test_the_sdk_knows_every_word_of_it() -> None:
    asked = without(translate(MESSAGES_REQUEST), "top_k")
    assert plain(OPENAI.validate_python(asked)) == asked


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("gpt-4o", "max_tokens"),
        ("gpt-4.1-mini", "max_tokens"),
        ("gpt-oss-120b", "max_tokens"),
        ("olmo-2", "max_tokens"),
        ("o1x", "max_tokens"),
        ("gpt-50b", "max_tokens"),
        ("o3", "max_completion_tokens"),
        ("o4-mini", "max_completion_tokens"),
        ("gpt-5", "max_completion_tokens"),
        ("gpt-5.4-nano", "max_completion_tokens"),
        ("gpt-6-astra", "max_completion_tokens"),
        ("gpt-10", "max_completion_tokens"),
    ],
)
def test_the_limit_has_the_name_the_model_knows(model: str, field: str) -> None:
    assert {name: value for name, value in translate(SIMPLE, model).items() if "max" in name} == {field: 9}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        (
            {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
            {"tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": False},
        ),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
    ],
)
def test_tool_choice(choice: Any, expected: Any) -> None:
    tools = [{"name": "f", "input_schema": {"type": "object"}, "type": "custom"}]
    plain_request = translate(SIMPLE | {"tools": tools})
    assert translate(SIMPLE | {"tools": tools, "tool_choice": choice}) == plain_request | expected


def test_a_long_user_id_is_hashed() -> None:
    assert translate(SIMPLE | {"metadata": {"user_id": "u" * 64}})["user"] == "u" * 64
    assert translate(SIMPLE | {"metadata": {"user_id": "u" * 65}})["user"] == sha256(b"u" * 65).hexdigest()
    assert "user" not in translate(SIMPLE | {"metadata": {"user_id": None}})


def test_an_answer_of_thinking_alone_is_left_out() -> None:
    thought = {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": ""}]}
    user = {"role": "user", "content": "Hi"}
    assert translate({"max_tokens": 9, "messages": [user, thought, user]})["messages"] == [user, user]


def test_instructions_within_the_conversation_stay_there() -> None:
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": [{"type": "text", "text": "a"}]},
        {"role": "system", "content": "b"},
    ]
    assert translate({"max_tokens": 9, "messages": turns})["messages"] == [
        turns[0],
        {"role": "system", "content": "a"},
        turns[2],
    ]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": None}, "messages"),
        ({"system": 5}, "system"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"container": "c"}, "container"),
        ({"inference_geo": "eu"}, "inference_geo"),
        ({"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
        ({"speed": "fast"}, "speed"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"stream": 1}, "stream"),
        ({"metadata": {"user_id": 5}}, "metadata.user_id"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "json_schema", "schema": 5}}}, "output_config.format.schema"),
        ({"output_config": {"effort": "low"}, "reasoning_effort": "high"}, "reasoning_effort"),
        *(
            ({"tools": [{"type": kind, "name": "f"}]}, "tools[0].type")
            for kind in ("web_search_20250305", "bash_20250124", "mcp_toolset", "something_new")
        ),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{"name": "f", "input_schema": []}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        (
            {"tools": [{"name": "f", "input_schema": {}}], "tool_choice": {"type": "tool"}},
            "tool_choice.name",
        ),
        *(
            ({"messages": [{"role": role, "content": [block]}]}, f"messages[0].content[0]{place}")
            for role, block, place in (
                ("user", {"type": 5}, ".type"),
                ("user", {}, ""),
                ("user", {"type": "image", "source": {"type": "file", "file_id": "f"}}, ".source.type"),
                ("user", {"type": "document", "source": {"type": "url", "url": "x"}}, ".source.type"),
                ("user", {"type": "tool_result", "tool_use_id": 5}, ".tool_use_id"),
                ("assistant", {"type": "tool_use", "id": "x", "name": "f", "input": "{}"}, ".input"),
            )
        ),
    ],
)
def test_what_cannot_be_said_is_refused(more: dict[str, Any], param: str) -> None:
    assert refused(SIMPLE | more).param == param


def test_what_is_about_caching_is_left_out() -> None:
    more = {
        "cache_control": {"type": "ephemeral"},
        "context_management": {"edits": []},
        "thinking": {"type": "disabled"},
        "service_tier": "auto",
        "speed": "standard",
        "mcp_servers": [],
        "tools": [],
        "tool_choice": {"type": "auto"},
        "container": None,
    }
    assert translate(SIMPLE | more) == translate(SIMPLE)


@given(damaged(MESSAGES_REQUEST))
def test_bad_requests_are_refused(asked: Any) -> None:
    if not isinstance(asked, dict):
        return
    try:
        body = request(fields(asked), "m")
    except GatewayError as error:
        assert error.status == 400
        assert error.param
    else:
        assert sent(body)["model"] == "m"
