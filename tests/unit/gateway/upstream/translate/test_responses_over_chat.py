"""Requests for responses as chat completions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream.dialect import Adapted
from tiny_dancer.gateway.upstream.kinds import anthropic, openai
from tiny_dancer.gateway.upstream.translate.responses_over_chat import ResponsesOverChat, request
from tiny_dancer.gateway.upstream.translate.responses_reasoning import Thought, without_ours, write_thought

from .samples import PIXEL, TOOL_SCHEMA, damaged, fields

CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "weather", "arguments": '{"city": "Ulm"}'}
OTHER = {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"}
OUT: dict[str, Any] = {"type": "function_call_output", "call_id": "c1", "output": "rain"}
OTHER_OUT: dict[str, Any] = {"type": "function_call_output", "call_id": "c2", "output": "sun"}
SAID = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Let me look.", "annotations": []}],
}
FUNCTION = {"type": "function", "name": "weather", "parameters": TOOL_SCHEMA, "strict": True}
REQUEST: dict[str, Any] = {
    "model": "auto",
    "instructions": "Be brief.",
    "input": [
        {"role": "developer", "content": "Be kind."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Where is this?"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "low"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"},
        SAID,
        CALL,
        OTHER,
        OUT,
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [
                {"type": "input_text", "text": "sun"},
                {"type": "input_image", "image_url": "https://example.org/a.png"},
            ],
        },
        {
            "type": "web_search_call",
            "id": "ws_1",
            "status": "completed",
            "action": {"type": "search", "query": "x"},
        },
        {"role": "user", "content": "And now?"},
    ],
    "tools": [FUNCTION],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "max_output_tokens": 99,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_logprobs": 2,
    "user": "u-1",
    "reasoning": {"effort": "high", "summary": "auto"},
    "text": {
        "format": {"type": "json_schema", "name": "x", "schema": TOOL_SCHEMA, "strict": True},
        "verbosity": "low",
    },
    "stream": True,
    "stream_options": {"include_obfuscation": False},
    "store": True,
    "metadata": {"a": "b"},
    "include": ["message.output_text.logprobs"],
    "prompt_cache_key": "k",
    "truncation": "auto",
    "service_tier": "auto",
    "top_k": 7,
}


def chat(**more: Any) -> dict[str, Any]:
    """What a server of chat completions is asked."""
    dialect = ResponsesOverChat(openai.dialect("chat.completions"), anthropic=False)  # type: ignore[arg-type]
    asked = dialect.request(fields({"model": "auto", **more}), "real-model")
    found: dict[str, Any] = msgspec.json.decode(asked.body if isinstance(asked, Adapted) else asked)
    return found


def adapted(*, anthropic_s: bool = False, **more: Any) -> tuple[str, ...]:
    """What is named in the header."""
    kind = anthropic if anthropic_s else openai
    dialect = ResponsesOverChat(kind.dialect("chat.completions"), anthropic=anthropic_s)  # type: ignore[arg-type]
    asked = dialect.request(fields({"model": "auto", "input": "Hi", **more}), "real-model")
    return asked.names if isinstance(asked, Adapted) else ()


def messages(*items: Any, model: str = "real-model", anthropic: bool = False) -> list[dict[str, Any]]:
    """The messages that these items become."""
    body, *_ = request(fields({"model": "auto", "input": list(items)}), model, anthropic=anthropic)
    found: list[dict[str, Any]] = msgspec.json.decode(body["messages"])
    return found


def test_a_whole_request() -> None:
    assert chat(**REQUEST) == {
        "model": "real-model",
        "messages": [
            {"role": "system", "content": "Be brief.\n\nBe kind."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Where is this?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}},
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
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Ulm"}'},
                    },
                    {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
            {"role": "tool", "tool_call_id": "c2", "content": "sun"},
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}],
            },
            {"role": "user", "content": "And now?"},
        ],
        "tools": [
            {"type": "function", "function": {"name": "weather", "parameters": TOOL_SCHEMA, "strict": True}}
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "max_tokens": 99,
        "temperature": 0.5,
        "top_p": 0.9,
        "logprobs": True,
        "top_logprobs": 2,
        "user": "u-1",
        "reasoning_effort": "high",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": TOOL_SCHEMA, "strict": True},
        },
        "verbosity": "low",
        "stream": True,
        "stream_options": {"include_usage": True},
        "top_k": 7,
    }


def test_anthropic_s_servers_take_images_that_calls_gave() -> None:
    dialect = ResponsesOverChat(anthropic.dialect("chat.completions"), anthropic=True)  # type: ignore[arg-type]
    image = {"type": "input_image", "image_url": "https://example.org/a.png"}
    asked = {"role": "user", "content": "Hi"}
    body = {"model": "auto", "input": [asked, CALL, {**OUT, "output": [image]}]}
    found = msgspec.json.decode(dialect.request(fields(body), "claude-x"))
    result = {
        "type": "tool_result",
        "tool_use_id": "c1",
        "content": [{"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}],
    }
    assert found["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Ulm"}}],
        },
        {"role": "user", "content": [result]},
    ]


def test_a_text_is_a_message() -> None:
    assert chat(input="Hi")["messages"] == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize("model", ["gpt-5-mini", "o3"])
def test_newer_models_of_openai_s_call_the_limit_otherwise(model: str) -> None:
    body, *_ = request(fields({"input": "Hi", "max_output_tokens": 9}), model, anthropic=False)
    assert bytes(body["max_completion_tokens"]) == b"9"


def roles(found: list[dict[str, Any]]) -> list[str]:
    """Roles, and the ids of calls and of what they gave."""
    return [
        each["role"]
        + "".join(f" {call['id']}" for call in each.get("tool_calls", ()))
        + (f" {each['tool_call_id']}" if "tool_call_id" in each else "")
        for each in found
    ]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ((CALL, OTHER, OUT, OTHER_OUT), ["assistant c1 c2", "tool c1", "tool c2"]),
        ((CALL, OTHER, OTHER_OUT, OUT), ["assistant c1 c2", "tool c1", "tool c2"]),
        ((CALL, OUT, OTHER, OTHER_OUT), ["assistant c1", "tool c1", "assistant c2", "tool c2"]),
        ((CALL, SAID, OUT), ["assistant c1", "tool c1"]),
        ((CALL, OUT, SAID), ["assistant c1", "tool c1", "assistant"]),
        ((SAID, SAID), ["assistant", "assistant"]),
        # A user who speaks before the call has given anything.
        ((CALL, {"role": "user", "content": "Hurry!"}, OUT), ["assistant c1", "tool c1", "user"]),
        # Servers that number the calls of each answer alike.
        ((CALL, OUT, CALL, OUT), ["assistant c1", "tool c1", "assistant c1", "tool c1"]),
        (({"role": "user", "content": "a"}, {"role": "system", "content": "b"}), ["user", "system"]),
        (({"role": "assistant", "content": ""}, {"role": "user", "content": "a"}), ["user"]),
    ],
)
def test_what_calls_gave_follows_them(items: tuple[Any, ...], expected: list[str]) -> None:
    assert roles(messages(*items)) == expected


def test_custom_tools_and_the_local_shell_are_functions() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: WORD"}
    patch = {"type": "custom", "name": "patch", "description": "Edits.", "format": grammar}
    said = [
        {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": 'a "b"'},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
        {
            "type": "local_shell_call",
            "id": "lsh_1",
            "call_id": "c2",
            "action": {"type": "exec", "command": ["ls"], "env": {}, "timeout_ms": 9},
        },
        {"type": "local_shell_call_output", "id": "c2", "output": "a.txt"},
    ]
    found = chat(
        input=said,
        tools=[patch, {"type": "local_shell"}, {"type": "web_search"}],
        tool_choice={"type": "custom", "name": "patch"},
    )
    functions = [tool["function"] for tool in found["tools"]]
    assert [function["name"] for function in functions] == ["patch", "local_shell"]
    assert "start: WORD" in functions[0]["description"]
    assert functions[0]["parameters"]["required"] == ["input"]
    assert found["tool_choice"] == {"type": "function", "function": {"name": "patch"}}
    assert [
        (each.get("content"), [call["function"] for call in each.get("tool_calls", ())])
        for each in found["messages"]
    ] == [
        (None, [{"name": "patch", "arguments": r'{"input":"a \"b\""}'}]),
        ("done", []),
        (None, [{"name": "local_shell", "arguments": '{"command":["ls"],"timeout_ms":9}'}]),
        ("a.txt", []),
    ]


def test_allowed_tools_leave_the_others_out() -> None:
    tools = [FUNCTION, {**FUNCTION, "name": "time"}]
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "time"}]}
    found = chat(input="Hi", tools=tools, tool_choice=choice)
    assert [tool["function"]["name"] for tool in found["tools"]] == ["time"]
    assert found["tool_choice"] == "required"


def test_what_needs_tools_is_not_said_without_them() -> None:
    found = chat(input="Hi", tools=[], tool_choice="auto", parallel_tool_calls=False)
    assert found == {"model": "real-model", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": [{"id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": "mcp_call", "id": "mcp_1"}]}, "input[0]"),
        ({"input": [CALL, OUT, OUT]}, "input[2]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0]",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "u"}]}]},
            "input[0].content[0]",
        ),
        (
            {"input": [{"role": "system", "content": [{"type": "input_image", "image_url": "u"}]}]},
            "input[0].content",
        ),
        ({"input": [{"role": "user", "content": [{"type": "video"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "robot", "content": "a"}]}, "input[0].role"),
        ({"tools": [FUNCTION, {"type": "mcp", "server_label": "x"}]}, "tools[1].type"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "web_search_preview"}}, "tool_choice"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "time"}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"messages": []}, "messages"),
    ],
)
def test_refused(more: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as refused:
        chat(**{"input": "Hi", **more})
    assert refused.value.status == 400
    assert (refused.value.param or "").startswith(param)
    assert (refused.value.param or "") in refused.value.message


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"reasoning": {"effort": "enormous"}}, "reasoning.effort"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/bmp;"}]}]},
            "input",
        ),
    ],
)
def test_what_anthropic_cannot_say_is_refused_in_the_client_s_words(more: dict[str, Any], param: str) -> None:
    dialect = ResponsesOverChat(anthropic.dialect("chat.completions"), anthropic=True)  # type: ignore[arg-type]
    with pytest.raises(GatewayError) as refused:
        dialect.request(fields({"model": "auto", "input": "Hi", **more}), "claude-x")
    assert refused.value.param == param
    assert refused.value.message.startswith(f"{param}: ")


def test_what_says_nothing_is_not_refused() -> None:
    nothing: dict[str, Any] = {
        "previous_response_id": None,
        "conversation": None,
        "background": False,
        "context_management": [],
    }
    assert chat(input="Hi", **nothing) == chat(input="Hi")


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({}, ()),
        ({"store": False, "truncation": "disabled", "tools": [FUNCTION]}, ()),
        ({"store": True, "truncation": "auto"}, ("store", "truncation")),
        ({"tools": [FUNCTION, {"type": "web_search"}]}, ("tools.web_search",)),
        ({"tools": [{"type": "custom", "name": "a", "format": {"type": "text"}}]}, ()),
        ({"tools": [{"type": "custom", "name": "a", "format": {"type": "grammar"}}]}, ("tools.format",)),
        ({"input": [{"type": "reasoning", "summary": []}, SAID]}, ("input.reasoning",)),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}, SAID]}, ("input.web_search_call",)),
    ],
)
@pytest.mark.parametrize("anthropic_s", [True, False])
def test_what_was_said_otherwise_is_named(more: dict[str, Any], names: tuple[str, ...], anthropic_s: bool) -> None:
    assert adapted(anthropic_s=anthropic_s, **more) == names


SIGNED = [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}]


def thought(**how: Any) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [], "encrypted_content": write_thought(Thought("real-model", **how))}


def test_reasoning_goes_back_to_the_model_that_thought_it_while_calls_are_under_way() -> None:
    asked = {"role": "user", "content": "Hi"}
    mine = thought(field="reasoning_content", text="Hm.")
    assert messages(asked, mine, CALL, OUT)[1]["reasoning_content"] == "Hm."
    assert "reasoning_content" not in messages(asked, mine, CALL, OUT, asked)[1], "that turn is over"
    assert "reasoning_content" not in messages(asked, mine, CALL, OUT, model="other")[1]
    assert "reasoning_content" not in messages(asked, mine, CALL, OUT, anthropic=True)[1]


def test_signed_thinking_goes_back_to_anthropic_s_servers() -> None:
    asked = {"role": "user", "content": "Hi"}
    mine = thought(field="reasoning_content", text="Hm.", blocks=SIGNED)
    found = messages(asked, mine, SAID, CALL, OUT, asked, anthropic=True)
    assert (roles(found), found[1]["thinking_blocks"]) == (["user", "assistant c1", "tool c1", "user"], SIGNED)
    assert "thinking_blocks" not in messages(asked, mine, CALL, OUT)[1]


@pytest.mark.parametrize("encrypted", [None, "gAAAA", "td1.", "td1.###", "td1.e30=", "td1.W10="])
def test_other_reasoning_is_left_out(encrypted: str | None) -> None:
    item: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": encrypted}
    asked = {"role": "user", "content": "Hi"}
    assert messages(asked, item, CALL, OUT) == messages(asked, CALL, OUT)


def test_servers_that_have_responses_do_not_see_what_was_translated() -> None:
    own = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}
    asked = {"role": "user", "content": "rs_td and td1."}
    raw = fields({"input": [asked, thought(), own, {"type": "reasoning", "id": "rs_td1", "summary": []}]})["input"]
    assert msgspec.json.decode(without_ours(raw)) == [asked, own]
    for untouched in ([asked, own], "rs_td", {"rs_td": 1}, [7, "rs_td"]):
        same = fields({"input": untouched})["input"]
        assert without_ours(same) is same


@given(damaged(REQUEST))
def test_damaged_requests_are_refused_or_go_on(broken: Any) -> None:
    if not isinstance(broken, dict):
        return
    for dialect, anthropic_s in (
        (openai.dialect("chat.completions"), False),
        (anthropic.dialect("chat.completions"), True),
    ):
        assert dialect is not None
        try:
            ResponsesOverChat(dialect, anthropic=anthropic_s).request(fields(broken), "real-model")
        except GatewayError as error:
            assert error.status == 400
            assert error.param
