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


@pytest.mark.parametrize(
    ("model", "asked", "names_of", "becomes"),
    [
        ("vendor/model", {"stop_sequences": list("abcde")}, (), {"stop": list("abcde")}),
        ("gpt-4o", {"stop_sequences": list("abcde")}, ("stop_sequences",), {"stop": list("abcd")}),
        ("gpt-4o", {"temperature": 0.5, "top_p": 0.5}, (), {"temperature": 0.5, "top_p": 0.5}),
        ("gpt-4o", {"top_k": 5, "output_config": {"effort": "low"}}, ("top_k", "output_config"), {}),
        ("gpt-5.4", {"temperature": 0.5, "top_p": 0.5, "top_k": 5}, ("temperature", "top_p", "top_k"), {}),
        (
            "gpt-5.4",
            {"temperature": 1, "output_config": {"effort": "low"}},
            (),
            {"temperature": 1.0, "reasoning_effort": "low"},
        ),
        ("o3", {"stop_sequences": ["END"]}, ("stop_sequences",), {}),
        ("o3", {"stop_sequences": []}, (), {}),
    ],
)
def test_what_openai_refuses_is_adapted_and_named(
    model: str, asked: dict[str, Any], names_of: tuple[str, ...], becomes: dict[str, Any]
) -> None:
    assert translate(SIMPLE | asked, model) == translate(SIMPLE, model) | becomes
    assert adapted(SIMPLE | asked, model) == names_of


def asked_with(*blocks: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"max_tokens": 9, "messages": [{"role": role, "content": list(blocks)}]}


@pytest.mark.parametrize(
    ("role", "block", "text", "name"),
    [
        (
            "user",
            {
                "type": "search_result",
                "title": "T",
                "source": "https://example.org",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                "citations": {"enabled": True},
            },
            "T\nhttps://example.org\na\nb",
            "search_result",
        ),
        ("user", {"type": "container_upload", "file_id": "file_1"}, "File: file_1", "container_upload"),
        ("user", {"type": "something_new", "x": 1}, '{"type":"something_new","x":1}', "content"),
        ("user", {"type": "document", "source": {"type": "text", "data": "a"}, "title": "T"}, "T\na", None),
        ("user", {"type": "document", "source": {"type": "content", "content": "a"}, "context": "C"}, None, None),
        (
            "assistant",
            {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "x"}},
            'web_search({"query":"x"})\n',
            "server_tool_use",
        ),
        (
            "assistant",
            {
                "type": "web_search_tool_result",
                "tool_use_id": "srv",
                "content": [
                    {"type": "web_search_result", "title": "T", "url": "https://e.x", "encrypted_content": "xxx"}
                ],
            },
            "T: https://e.x\n",
            "web_search_tool_result",
        ),
        (
            "assistant",
            {"type": "web_search_tool_result", "content": {"error_code": "unavailable"}},
            'Error: {"error_code":"unavailable"}\n',
            "web_search_tool_result",
        ),
        ("assistant", {"type": "mcp_tool_use", "name": "f"}, '{"type":"mcp_tool_use","name":"f"}', "content"),
    ],
)
def test_blocks_without_counterpart_become_text(
    role: str, block: dict[str, Any], text: str | None, name: str | None
) -> None:
    asked = asked_with(block, role=role)
    (message,) = translate(asked)["messages"]
    expected = [{"type": "text", "text": "C"}, {"type": "text", "text": "a"}] if text is None else text
    assert message == {"role": role, "content": expected}
    assert adapted(asked) == (() if name is None else (name,))


def test_documents_of_blocks_keep_their_images() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    source = {"type": "content", "content": [{"type": "text", "text": "a"}, image]}
    (message,) = translate(asked_with({"type": "document", "source": source}))["messages"]
    assert [part["type"] for part in message["content"]] == ["text", "image_url"]


def test_tools_that_a_search_found_are_named() -> None:
    content = [{"type": "tool_reference", "tool_name": "weather"}, {"type": "something_new"}]
    asked = asked_with({"type": "tool_result", "tool_use_id": "t", "content": content})
    (message,) = translate(asked)["messages"]
    assert message == {"role": "tool", "tool_call_id": "t", "content": 'Tool: weather\n{"type":"something_new"}'}
    assert adapted(asked) == ("tool_reference", "content")


def test_the_part_at_fault_is_named_beside_blocks_nobody_knows() -> None:
    image = {"type": "image", "source": {"type": "file", "file_id": "f"}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image]}
    assert refused(asked_with({"type": "something_new"}, image)).param == "messages[0].content[1].source.type"
    assert refused(asked_with({"type": "something_new"}, result)).param == (
        "messages[0].content[1].content[0].source.type"
    )


AGENT: dict[str, Any] = {
    "model": "auto",
    "max_tokens": 32_000,
    "stream": True,
    "system": [
        {"type": "text", "text": "You are an agent."},
        {"type": "text", "text": "Rules.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ],
    "metadata": {"user_id": "user_" + "0" * 64 + "_account__session_1"},
    "thinking": {"type": "adaptive", "display": "summarized"},
    "output_config": {"effort": "high"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "betas": ["interleaved-thinking-2025-05-14"],
    "tools": [
        {
            "name": "Read",
            "description": "Reads a file.",
            "input_schema": TOOL_SCHEMA,
            "eager_input_streaming": True,
        },
        {"name": "mcp__db__query", "description": "Asks.", "input_schema": TOOL_SCHEMA, "defer_loading": True},
        {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
        {"name": "Last", "input_schema": TOOL_SCHEMA, "cache_control": {"type": "ephemeral"}},
    ],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<reminder>x</reminder>"},
                {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "", "signature": "c2ln"},
                {"type": "text", "text": "I look."},
                {
                    "type": "tool_use",
                    "id": "toolu_1",
                    "name": "Read",
                    "input": {"city": "Ulm"},
                    "caller": {"type": "direct"},
                },
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "tool_reference", "tool_name": "mcp__db__query"}],
                    "cache_control": {"type": "ephemeral"},
                }
            ],
        },
        {"role": "system", "content": "Be quick."},
    ],
}
"""The shape of what coding agents send, by the vendor's documentation."""


def test_an_agent_s_request() -> None:
    request = translate(AGENT)
    assert [message["role"] for message in request["messages"]] == [
        "system", "user", "assistant", "tool", "system",
    ]  # fmt: skip
    assert request["messages"][0]["content"] == "You are an agent.\n\nRules."
    assert [tool["function"]["name"] for tool in request["tools"]] == ["Read", "mcp__db__query", "Last"]
    assert len(request["user"]) == 64
    assert request["reasoning_effort"] == "high"
    assert adapted(AGENT) == ("thinking_blocks", "tool_reference", "tools")
    known = without(request, "stream_options") | {"stream_options": {"include_usage": True}}
    assert plain(OPENAI.validate_python(known)) == known
    assert set(request) == {
        "model", "messages", "max_tokens", "tools", "stream", "stream_options", "user", "reasoning_effort",
    }  # fmt: skip


def test_the_former_name_of_a_schema() -> None:
    former = {"output_format": {"type": "json_schema", "schema": TOOL_SCHEMA}}
    assert translate(SIMPLE | former) == translate(SIMPLE | {"output_config": {"format": former["output_format"]}})
