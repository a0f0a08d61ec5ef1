"""The openai SDK, pointed at the gateway and otherwise as its users write it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import openai
import pytest
from pydantic import BaseModel
from tests.gateway_upstream import Behaviour

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

MESSAGES: list[Any] = [{"role": "user", "content": "Hi there, how are you?"}]
ANSWER = "Hello there, my friend."
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather in a city.",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
]
CALL = Behaviour(tool=("weather", '{"city": "Oslo"}'))


class Point(BaseModel):
    x: int
    y: int


@pytest.fixture
def client(gateway: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.url, api_key="sk-any", max_retries=0) as made:
        yield made


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.with_raw_response.create(model="auto", messages=MESSAGES, seed=7)
    assert answer.headers["x-td-model"] in ("small", "large")
    assert answer.headers["x-td-decision"]
    parsed = answer.parse()
    assert parsed.choices[0].message.content == ANSWER
    assert parsed.usage is not None
    assert parsed.usage.total_tokens == 35
    assert parsed.model == f"vendor/{answer.headers['x-td-model']}-1"


def test_routing_options_as_extra_body(client: openai.OpenAI, strong: Upstream) -> None:
    extra: dict[str, Any] = {"td": {"pin": "large"}}
    client.chat.completions.create(model="auto", messages=MESSAGES, extra_body=extra)
    assert strong.arrived().json["model"] == "vendor/large-1"


@pytest.mark.parametrize("usage", [True, False])
def test_chat_streamed(client: openai.OpenAI, usage: bool) -> None:
    options: Any = {"include_usage": True} if usage else openai.omit
    stream = client.chat.completions.create(model="small", messages=MESSAGES, stream=True, stream_options=options)
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ANSWER
    assert [chunk.usage is not None for chunk in chunks[-2:]] == [False, usage]


def test_tools(client: openai.OpenAI, cheap: Upstream) -> None:
    cheap.script(CALL)
    message = client.chat.completions.create(model="small", messages=MESSAGES, tools=TOOLS).choices[0].message
    assert message.tool_calls is not None
    call = message.tool_calls[0]
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Oslo"})
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    conversation = [*MESSAGES, message.model_dump(exclude_none=True), result]
    final = client.chat.completions.create(model="small", messages=conversation, tools=TOOLS)
    assert final.choices[0].message.content == ANSWER
    assert cheap.received[-1].json["messages"][-1] == result


def test_tools_streamed(client: openai.OpenAI, cheap: Upstream) -> None:
    cheap.script(CALL)
    with client.chat.completions.stream(model="small", messages=MESSAGES, tools=TOOLS) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls is not None
    assert message.tool_calls[0].function.parsed_arguments == {"city": "Oslo"}


def test_structured_output(client: openai.OpenAI, cheap: Upstream) -> None:
    cheap.script(Behaviour(pieces=('{"x": 3', ', "y": 4}')))
    parsed = client.chat.completions.parse(model="small", messages=MESSAGES, response_format=Point)
    assert parsed.choices[0].message.parsed == Point(x=3, y=4)
    sent = cheap.arrived().json["response_format"]
    assert sent["json_schema"]["schema"]["required"] == ["x", "y"]


def test_responses(client: openai.OpenAI, cheap: Upstream) -> None:
    assert client.responses.create(model="small", input="Hi").output_text == ANSWER
    with client.responses.stream(model="small", input="Hi") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert stream.get_final_response().output_text == "".join(deltas) == ANSWER
    cheap.script(Behaviour(pieces=('{"x": 3, "y": 4}',)))
    assert client.responses.parse(model="small", input="Hi", text_format=Point).output_parsed == Point(x=3, y=4)


def test_the_other_endpoints(client: openai.OpenAI) -> None:
    assert client.completions.create(model="small", prompt="Hi").choices[0].text == ANSWER
    pieces = client.completions.create(model="small", prompt="Hi", stream=True)
    assert "".join(each.choices[0].text for each in pieces if each.choices) == ANSWER
    embedded = client.embeddings.create(model="small", input=["a", "b"])
    assert [each.embedding for each in embedded.data] == [[0.25, -0.5, 1.0]] * 2
    assert {"auto", "small", "large"} <= {each.id for each in client.models.list()}
    assert client.models.retrieve("small").id == "small"


def test_errors_are_the_sdk_s_own(client: openai.OpenAI, cheap: Upstream) -> None:
    error = {"message": "Too long.", "code": "context_length_exceeded", "param": "messages"}
    cheap.script(Behaviour(status=400, error=error))
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="small", messages=MESSAGES)
    assert (bad.value.code, bad.value.param) == ("context_length_exceeded", "messages")
    assert bad.value.request_id
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="none-such", messages=MESSAGES)
    cheap.script(Behaviour(status=429, headers={"retry-after": "0.01"}))
    with pytest.raises(openai.RateLimitError) as slow:
        client.chat.completions.create(model="small", messages=MESSAGES)
    assert slow.value.response.headers["retry-after"] == "0.01"
    time.sleep(0.02)
    cheap.script(Behaviour(status=500))
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="small", messages=MESSAGES)


def test_the_sdk_s_retries_obey_what_the_upstream_said(gateway: Serving, cheap: Upstream) -> None:
    cheap.script(Behaviour(status=429, headers={"retry-after-ms": "1"}))
    with openai.OpenAI(base_url=gateway.url, api_key="x", max_retries=1) as client:
        answer = client.chat.completions.create(model="small", messages=MESSAGES)
    assert answer.choices[0].message.content == ANSWER


def test_a_cut_stream_raises(client: openai.OpenAI, cheap: Upstream) -> None:
    cheap.script(Behaviour(fault="cut", at="middle", after=3))
    seen = []
    with pytest.raises(openai.APIError):
        for chunk in client.chat.completions.create(model="small", messages=MESSAGES, stream=True):
            seen.append(chunk.choices[0].delta.content)
    assert ANSWER.startswith("".join(filter(None, seen)))
    assert seen


def test_async(gateway: Serving, cheap: Upstream) -> None:
    async def talk() -> tuple[list[str | None], str]:
        async with openai.AsyncOpenAI(base_url=gateway.url, api_key="x", max_retries=0) as client:
            calls = (client.chat.completions.create(model="auto", messages=MESSAGES) for _ in range(20))
            answers = await asyncio.gather(*calls)
            stream = await client.chat.completions.create(model="small", messages=MESSAGES, stream=True)
            parts = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
            return [each.choices[0].message.content for each in answers], "".join(parts)

    assert asyncio.run(talk()) == ([ANSWER] * 20, ANSWER)


def test_async_stream_that_is_left_early(gateway: Serving, cheap: Upstream) -> None:
    cheap.script(Behaviour(pieces=("a", "b", "c"), free=1))

    async def leave() -> None:
        async with openai.AsyncOpenAI(base_url=gateway.url, api_key="x", max_retries=0) as client:
            stream = await client.chat.completions.create(model="small", messages=MESSAGES, stream=True)
            async with stream:
                async for _ in stream:
                    return

    asyncio.run(leave())
    assert cheap.arrived().gone.wait(30)


def test_decisions(client: openai.OpenAI, cheap: Upstream) -> None:
    cheap.script(Behaviour(pieces=('{"q1": {"answer": true, "confidence": 0.75}}',), input_tokens=90))
    found = client.decisions.create(
        model="small",
        input=[{"role": "user", "content": [{"type": "input_text", "text": "Why was I charged twice?"}]}],
        questions=[
            {"type": "predicate", "name": "angry", "instructions": "Is the customer angry?"},
            {
                "type": "choice",
                "name": "team",
                "instructions": "Which team?",
                "choices": [
                    {"value": "billing", "description": "charges, invoices, refunds"},
                    {"value": "shipping", "description": "parcels and delivery"},
                ],
            },
        ],
    )
    angry, team = found.answers
    assert angry.type == "predicate"
    assert angry.probability == 0.75
    assert team.type == "choice"
    assert team.choice == "billing"
    assert team.confidence == team.probabilities[0].probability > 0.8
    assert found.usage.input_tokens == 90
    (received,) = cheap.received
    assert "Is the customer angry?" in received.body.decode()
    with pytest.raises(openai.BadRequestError) as caught:
        client.decisions.create(model="small", input="a", questions=[])
    assert caught.value.param == "questions"
