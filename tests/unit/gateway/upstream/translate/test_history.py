"""Histories that cross models."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.gateway.upstream.dialect import Adapted
from tiny_dancer.gateway.upstream.kinds import anthropic, openai
from tiny_dancer.gateway.upstream.translate import chat_over_messages, history, messages_over_chat

from .samples import fields, names, sent

ANTHROPIC = re.compile(r"[a-zA-Z0-9_-]{1,64}")
IDS = st.sampled_from(["functions.f:0", "functions_f_0", "call_0", "call_1", "", "x" * 70, "é"])


def used(identifier: str, name: str = "f") -> dict[str, Any]:
    return {"type": "tool_use", "id": identifier, "name": name, "input": {}}


def result(identifier: str, content: str = "r") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": identifier, "content": content}


def passed(turns: list[Any], **more: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    dialect = anthropic.dialect("messages")
    assert dialect is not None
    asked = dialect.request(fields({"max_tokens": 9, "messages": turns, **more}), "claude-x")
    return sent(asked), names(asked)


@given(st.lists(st.lists(IDS, min_size=1, max_size=3), max_size=5))
def test_ids_are_valid_unique_and_the_same_in_every_turn(turns: list[list[str]]) -> None:
    for made, fits in (
        (history.anthropic_ids, lambda given: ANTHROPIC.fullmatch(given)),
        (history.chat_ids, lambda given: 0 < len(given) <= 40),
    ):
        before: list[str] = []
        for length in range(len(turns) + 1):
            ids = made()
            calls: list[str] = []
            for turn in turns[:length]:
                given_out = [ids.call(each) for each in turn]
                assert [ids.result(each) for each in turn] == given_out  # each result has its call
                calls += given_out
            assert len(set(calls)) == len(calls)
            assert all(map(fits, calls))
            assert calls[: len(before)] == before
            before = calls


def test_a_result_belongs_to_the_last_call_that_has_none() -> None:
    ids = history.anthropic_ids()
    first, second = ids.call("a"), ids.call("a")
    assert [ids.result("a"), ids.result("a")] == [first, second]
    never_answered = ids.call("b")
    ids.result("c")
    later = ids.call("b")
    assert ids.result("b") == later != never_answered
    assert ids.result("b") == later
    assert ids.result("none.such") == history.anthropic_ids().result("none.such") != "none.such"


TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": [used("functions.f:0"), used("call_0"), used("ok")]},
    {"role": "user", "content": [result("functions.f:0", "a"), result("call_0", "b"), result("ok")]},
    {"role": "assistant", "content": [used("call_0")]},
    {"role": "user", "content": [result("call_0", "c")]},
]


def test_ids_that_anthropic_refuses_do_not_reach_it() -> None:
    body, adapted = passed(TURNS)
    calls = [block["id"] for turn in body["messages"][1::2] for block in turn["content"]]
    results = [block["tool_use_id"] for turn in body["messages"][2::2] for block in turn["content"]]
    assert calls == results
    assert len(set(calls)) == 4
    assert all(ANTHROPIC.fullmatch(each) for each in calls)
    assert calls[1:3] == ["call_0", "ok"]
    assert adapted == ("tool_ids",)
    # The same in both protocols.
    asked = messages_over_chat.request(fields({"max_tokens": 9, "messages": TURNS}), "m")
    chat = sent(asked)["messages"]
    assert [call["id"] for each in chat for call in each.get("tool_calls", ())] == [
        "functions.f:0", "call_0", "ok", calls[3],
    ]  # fmt: skip
    back = sent(chat_over_messages.request(fields({"messages": chat}), "claude-x"))["messages"]
    assert [block["id"] for turn in back[1::2] for block in turn["content"]] == calls
    assert [block["tool_use_id"] for turn in back[2::2] for block in turn["content"]] == calls


def test_calls_of_another_vendors_server_do_not_reach_anthropic() -> None:
    mine: list[Any] = [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
    ]
    others: list[Any] = [
        {"type": "server_tool_use", "id": "call_50b8", "name": "analyze_image", "input": {}},
        {"type": "tool_result", "tool_use_id": "call_50b8", "content": "a cat"},
    ]
    answer = {"type": "text", "text": "A cat."}
    history_of = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": [*mine, answer]}]
    asked, adapted = passed(history_of)
    assert (asked["messages"], adapted) == (history_of, ())
    mixed = [history_of[0], {"role": "assistant", "content": [others[0], *mine, others[1], answer]}]
    asked, adapted = passed(mixed)
    assert (asked["messages"], adapted) == (history_of, ("server_tool_use",))


def test_long_ids_do_not_reach_openai() -> None:
    turns = [{"role": "assistant", "content": [used("x" * 65)]}, {"role": "user", "content": [result("x" * 65)]}]
    asked = messages_over_chat.request(fields({"max_tokens": 9, "messages": turns}), "m")
    called, answered = sent(asked)["messages"]
    assert called["tool_calls"][0]["id"] == answered["tool_call_id"]
    assert len(answered["tool_call_id"]) == 40
    assert names(asked) == ("tool_ids",)


def test_a_history_anthropic_takes_goes_on_byte_by_byte() -> None:
    messages = msgspec.Raw(
        b'[ {"role": "assistant", "content": [ {"type":"thinking", "thinking":"", "signature":"s"},'
        b' {"type": "tool_use", "id":"toolu_1", "name":"f", "input": {"id": "functions.f:0"}}]},'
        b' {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}]} ]'
    )
    dialect = anthropic.dialect("messages")
    assert dialect is not None
    body = dialect.request({"messages": messages, "thinking": msgspec.Raw(b'{"type":"enabled"}')}, "m")
    assert isinstance(body, bytes)
    assert bytes(messages) in body


@pytest.mark.parametrize(
    "messages", [b"5", b'[{"content":[{"type":"tool_use","id":5}]}]', b'["tool_use"]', b'["tool_use']
)
def test_what_cannot_be_read_is_for_anthropic_to_refuse(messages: bytes) -> None:
    raw = {"messages": msgspec.Raw(messages)}
    assert history.to_anthropic(raw) == ({}, [])
    assert history.to_anthropic({}) == ({}, [])


def test_thinking_with_a_budget_needs_thinking_before_calls() -> None:
    thinking = {"type": "enabled", "budget_tokens": 2000}
    body, adapted = passed(TURNS[:3], thinking=thinking)
    assert "thinking" not in body
    assert adapted == ("tool_ids", "thinking")
    adaptive, _ = passed(TURNS[:3], thinking={"type": "adaptive"})
    assert adaptive["thinking"] == {"type": "adaptive"}
    answered = [*TURNS[:3], {"role": "assistant", "content": "Done."}, {"role": "user", "content": "And?"}]
    assert passed(answered, thinking=thinking)[0]["thinking"] == thinking
    chat = {
        "messages": [
            {"role": "user", "content": "Hi"},
            {
                "role": "assistant",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "r"},
        ],
        "thinking": thinking,
    }
    asked = chat_over_messages.request(fields(chat), "claude-x")
    assert "thinking" not in sent(asked)
    assert names(asked) == ("thinking",)


SIGNED = [
    {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "eA=="},
]


def test_signed_thinking_survives_openai_s_clients() -> None:
    blocks = [
        {"index": number, **block} for number, block in enumerate(SIGNED)
    ]  # as a stream's accumulator has it
    answer = {"role": "assistant", "content": "a", "reasoning_content": "Hm.", "thinking_blocks": blocks}
    chat = {"messages": [{"role": "user", "content": "Hi"}, answer, {"role": "user", "content": "And?"}]}
    asked = chat_over_messages.request(fields(chat), "claude-x")
    assert sent(asked)["messages"][1]["content"] == [*SIGNED, {"type": "text", "text": "a"}]
    assert names(asked) == ()


def test_thinking_no_model_takes_back_is_left_out_and_named() -> None:
    unsigned = [{"type": "thinking", "thinking": "Hm.", "signature": ""}]
    for more, expected in (
        ({"thinking_blocks": unsigned}, ("thinking_blocks",)),
        ({"reasoning_content": "Hm."}, ("reasoning_content",)),
    ):
        chat = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "a", **more}]}
        asked = chat_over_messages.request(fields(chat), "claude-x")
        assert sent(asked)["messages"][1]["content"] == [{"type": "text", "text": "a"}]
        assert names(asked) == expected


@pytest.mark.parametrize(("model", "takes"), [("gpt-4o", False), ("anthropic/claude-sonnet-4.5", True)])
def test_thinking_goes_to_chat_upstreams_before_anthropic_s_models_only(model: str, takes: bool) -> None:
    turns = [{"role": "assistant", "content": [*SIGNED, {"type": "text", "text": "a"}]}]
    asked = messages_over_chat.request(fields({"max_tokens": 9, "messages": turns}), model)
    (message,) = sent(asked)["messages"]
    assert message.get("thinking_blocks") == (SIGNED if takes else None)
    assert names(asked) == (() if takes else ("thinking_blocks",))
    # And so for those who speak OpenAI's protocol themselves.
    dialect = openai.dialect("chat.completions")
    assert dialect is not None
    chat = {"messages": [{"role": "user", "content": '"thinking_blocks"'}, {"role": "assistant", "content": "a"}]}
    assert isinstance(dialect.request(fields(chat), model), bytes)
    chat["messages"][1]["thinking_blocks"] = SIGNED  # type: ignore[assignment]
    passed_on = dialect.request(fields(chat), model)
    assert ("thinking_blocks" in sent(passed_on)["messages"][1]) == takes
    assert isinstance(passed_on, Adapted) != takes


def test_models_that_want_their_thinking_back_get_it() -> None:
    unsigned = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [unsigned, {"type": "text", "text": "a"}, used("t")]},
        {"role": "user", "content": [result("t")]},
        {"role": "assistant", "content": "b"},
    ]
    asked = messages_over_chat.request(fields({"max_tokens": 9, "messages": turns}), "deepseek-v4-pro")
    answers = [message for message in sent(asked)["messages"] if message["role"] == "assistant"]
    assert [message["reasoning_content"] for message in answers] == ["Hm.", " "]
    assert names(asked) == ("reasoning_content",)
    signed = [turns[0], {"role": "assistant", "content": [*SIGNED, used("t")]}, turns[2]]
    asked = messages_over_chat.request(fields({"max_tokens": 9, "messages": signed}), "kimi-k2.6")
    assert sent(asked)["messages"][1]["reasoning_content"] == " "
    assert names(asked) == ("thinking_blocks", "reasoning_content")
    for model, conversation in (("kimi-k2-instruct", turns), ("gpt-4o", turns), ("deepseek-v4-pro", turns[3:])):
        asked = messages_over_chat.request(fields({"max_tokens": 9, "messages": conversation}), model)
        assert all("reasoning_content" not in message for message in sent(asked)["messages"])
