"""The anthropic SDK, to an upstream of Anthropic's kind and, translated, to one of OpenAI's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import LARGE, SMALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

MESSAGES: list[Any] = [{"role": "user", "content": "Hi there, how are you?"}]
ANSWER = "Hello there, my friend."
TOOLS: list[Any] = [
    {
        "name": "weather",
        "description": "The weather in a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]
CALL = Behaviour(tool=("weather", '{"city": "Oslo"}'), cached_tokens=20)


@pytest.fixture
def serving(start: Callable[..., Serving], cheap: Upstream, strong: Upstream) -> Serving:
    """``small`` is OpenAI's, ``large`` Anthropic's."""
    return start(
        upstreams={
            "cheap": {"base_url": cheap.url, "api_key": "sk-of-cheap"},
            "strong": {"kind": "anthropic", "base_url": strong.url, "api_key": "sk-of-strong"},
        },
        models={
            "small": {**SMALL, "deployments": [{"upstream": "cheap"}]},
            "large": {**LARGE, "deployments": [{"upstream": "strong"}]},
        },
    )


@pytest.fixture
def client(serving: Serving) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=serving.url.removesuffix("/v1"), api_key="sk-any", max_retries=0)


def upstream_of(model: str, cheap: Upstream, strong: Upstream) -> Upstream:
    return cheap if model == "small" else strong


@pytest.mark.parametrize("model", ["small", "large"])
def test_messages(client: anthropic.Anthropic, cheap: Upstream, strong: Upstream, model: str) -> None:
    upstream = upstream_of(model, cheap, strong)
    upstream.script(Behaviour(cached_tokens=20))
    extra = {"temperature": 0.5}
    answer = client.messages.create(
        model=model, max_tokens=64, system="Be kind.", messages=MESSAGES, extra_body=extra
    )
    assert answer.content[0].type == "text"
    assert answer.content[0].text == ANSWER
    assert (answer.role, answer.stop_reason) == ("assistant", "end_turn")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (10, 5)
    assert answer.usage.cache_read_input_tokens == 20
    received = upstream.arrived()
    if model == "large":
        assert received.path == "/v1/messages"
        assert received.header("x-api-key") == "sk-of-strong"
        assert received.header("anthropic-version")
        assert received.json["system"] == "Be kind."
    else:
        assert received.path == "/v1/chat/completions"
        assert received.json["messages"][0]["content"] == "Be kind."
        assert received.json["temperature"] == 0.5
        assert 64 in (received.json.get("max_tokens"), received.json.get("max_completion_tokens"))


@pytest.mark.parametrize("model", ["small", "large"])
def test_streamed(client: anthropic.Anthropic, cheap: Upstream, strong: Upstream, model: str) -> None:
    upstream_of(model, cheap, strong).script(Behaviour(cached_tokens=20))
    with client.messages.stream(model=model, max_tokens=64, messages=MESSAGES) as stream:
        assert "".join(stream.text_stream) == ANSWER
        final = stream.get_final_message()
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == 5


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("model", ["small", "large"])
def test_tools(client: anthropic.Anthropic, cheap: Upstream, strong: Upstream, model: str, streamed: bool) -> None:
    upstream = upstream_of(model, cheap, strong)
    upstream.script(CALL)
    asking: dict[str, Any] = {"model": model, "max_tokens": 64, "tools": TOOLS}
    if streamed:
        with client.messages.stream(messages=MESSAGES, **asking) as stream:
            answer: Any = stream.get_final_message()
    else:
        answer = client.messages.create(messages=MESSAGES, **asking)
    assert answer.stop_reason == "tool_use"
    (block,) = [each for each in answer.content if each.type == "tool_use"]
    assert (block.name, block.input) == ("weather", {"city": "Oslo"})
    used = {"type": "tool_use", "id": block.id, "name": block.name, "input": block.input}
    result = {"type": "tool_result", "tool_use_id": block.id, "content": "rain in Oslo"}
    turns: list[Any] = [*MESSAGES, {"role": "assistant", "content": [used]}, {"role": "user", "content": [result]}]
    final = client.messages.create(messages=turns, **asking)
    assert final.content[0].type == "text"
    assert final.content[0].text == ANSWER
    assert b"rain in Oslo" in upstream.received[-1].body
    assert block.id.encode() in upstream.received[-1].body


@pytest.mark.parametrize("model", ["small", "large"])
def test_errors_are_the_sdk_s_own(
    client: anthropic.Anthropic, cheap: Upstream, strong: Upstream, model: str
) -> None:
    upstream_of(model, cheap, strong).script(Behaviour(status=429, headers={"retry-after": "3"}))
    with pytest.raises(anthropic.RateLimitError) as slow:
        client.messages.create(model=model, max_tokens=64, messages=MESSAGES)
    assert slow.value.response.headers["retry-after"] == "3"
    assert slow.value.response.json()["type"] == "error"
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="none-such", max_tokens=64, messages=MESSAGES)


def test_auto_routes_between_both_kinds(client: anthropic.Anthropic, cheap: Upstream, strong: Upstream) -> None:
    for threshold, upstream in ((1.0, cheap), (-1.0, strong)):
        extra: dict[str, Any] = {"td": {"threshold": threshold}}
        answer = client.messages.create(model="auto", max_tokens=64, messages=MESSAGES, extra_body=extra)
        assert answer.content[0].type == "text"
        assert len(upstream.received) == 1


@pytest.mark.parametrize(("broken", "whole"), [("small", "large"), ("large", "small")])
def test_one_kind_falls_back_to_the_other(
    client: anthropic.Anthropic, cheap: Upstream, strong: Upstream, broken: str, whole: str
) -> None:
    extra: dict[str, Any] = {"models": [broken, whole]}
    for streamed in (False, True):
        upstream_of(broken, cheap, strong).script(Behaviour(status=529))
        asking: dict[str, Any] = {"model": broken, "max_tokens": 64, "messages": MESSAGES, "extra_body": extra}
        if streamed:
            with client.messages.stream(**asking) as stream:
                assert stream.get_final_text() == ANSWER
        else:
            assert client.messages.create(**asking).content[0].text == ANSWER  # type: ignore[union-attr]


def test_a_conversation_crosses_models(client: anthropic.Anthropic, cheap: Upstream, strong: Upstream) -> None:
    """What one model's answers hold and the next one's server refuses does not reach it; a header names it."""
    used: list[Any] = [
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        *({"type": "tool_use", "id": "functions.f:0", "name": "f", "input": {}} for _ in range(2)),
    ]
    result = {"type": "tool_result", "tool_use_id": "functions.f:0", "content": "rain"}
    turns: list[Any] = [
        *MESSAGES,
        {"role": "assistant", "content": used},
        {"role": "user", "content": [result] * 2},
    ]
    sent: list[Any] = []
    for _ in range(2):
        raw = client.messages.with_raw_response.create(model="large", max_tokens=64, messages=turns)
        assert raw.headers["x-td-adapted"] == "thinking_blocks,tool_ids"
        sent.append(strong.received[-1].json["messages"])
    assert sent[0] == sent[1]
    calls = [block["id"] for block in sent[0][1]["content"]]
    assert calls == [block["tool_use_id"] for block in sent[0][2]["content"]]
    assert len(set(calls)) == 2
    raw = client.messages.with_raw_response.create(model="small", max_tokens=64, messages=turns)
    assert raw.headers["x-td-adapted"] == "thinking_blocks,tool_ids"
    assert cheap.received[-1].json["messages"][1]["tool_calls"][0]["id"] == "functions.f:0"
    plain = client.messages.with_raw_response.create(model="large", max_tokens=64, messages=MESSAGES)
    assert "x-td-adapted" not in plain.headers


def test_async(serving: Serving) -> None:
    async def talk() -> tuple[str, str]:
        url = serving.url.removesuffix("/v1")
        async with anthropic.AsyncAnthropic(base_url=url, api_key="x", max_retries=0) as client:
            answer = await client.messages.create(model="small", max_tokens=9, messages=MESSAGES)
            async with client.messages.stream(model="large", max_tokens=9, messages=MESSAGES) as stream:
                text = await stream.get_final_text()
            return answer.content[0].text, text  # type: ignore[union-attr]

    assert asyncio.run(talk()) == (ANSWER, ANSWER)
