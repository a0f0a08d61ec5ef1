"""LangChain and the OpenAI Agents SDK on top of the gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import openai
import pytest
from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel
from tests.gateway_upstream import Behaviour

if TYPE_CHECKING:
    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

ANSWER = "Hello there, my friend."
CALL = Behaviour(tool=("weather", '{"city": "Oslo"}'))


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


class Point(BaseModel):
    x: int
    y: int


def chain(gateway: Serving, model: str = "small", **settings: Any) -> ChatOpenAI:
    return ChatOpenAI(base_url=gateway.url, api_key="sk-any", model=model, max_retries=0, **settings)


def test_langchain_invokes_and_streams(gateway: Serving) -> None:
    answer = chain(gateway, "auto").invoke("Hi there, how are you?")
    assert answer.content == ANSWER
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["total_tokens"] == 35
    parts = list(chain(gateway, stream_usage=True).stream("Hi there, how are you?"))
    assert "".join(str(part.content) for part in parts) == ANSWER
    assert sum(part.usage_metadata["total_tokens"] for part in parts if part.usage_metadata) == 35


def test_langchain_awaits(gateway: Serving) -> None:
    async def talk() -> tuple[Any, str]:
        model = chain(gateway)
        parts = [str(part.content) async for part in model.astream("Hi")]
        return (await model.ainvoke("Hi")).content, "".join(parts)

    assert asyncio.run(talk()) == (ANSWER, ANSWER)


def test_langchain_binds_tools(gateway: Serving, cheap: Upstream) -> None:
    cheap.script(CALL)
    model = chain(gateway).bind_tools([weather])
    asked = model.invoke("What is the weather in Oslo?")
    assert [(call["name"], call["args"]) for call in asked.tool_calls] == [("weather", {"city": "Oslo"})]
    told = weather.invoke(asked.tool_calls[0])
    final = model.invoke([{"role": "user", "content": "What is the weather in Oslo?"}, asked, told])
    assert final.content == ANSWER
    assert cheap.received[-1].json["messages"][-1]["content"] == "rain in Oslo"


def test_langchain_s_structured_output(gateway: Serving, cheap: Upstream) -> None:
    cheap.script(Behaviour(pieces=('{"x": 3, "y": 4}',)))
    assert chain(gateway).with_structured_output(Point, method="json_schema").invoke("A point") == Point(x=3, y=4)


@pytest.mark.parametrize("kind", [OpenAIChatCompletionsModel, OpenAIResponsesModel])
@pytest.mark.parametrize("streamed", [True, False])
def test_an_agent_uses_its_tool(
    gateway: Serving,
    cheap: Upstream,
    kind: type[OpenAIChatCompletionsModel] | type[OpenAIResponsesModel],
    streamed: bool,
) -> None:
    set_tracing_disabled(True)
    cheap.script(CALL)
    asked: list[str] = []

    @function_tool(name_override="weather")
    def forecast(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return "rain"

    async def work() -> Any:
        async with openai.AsyncOpenAI(base_url=gateway.url, api_key="x", max_retries=0) as client:
            agent = Agent(
                name="Guide",
                instructions="Answer briefly.",
                tools=[forecast],
                model=kind(model="small", openai_client=client),
            )
            config = RunConfig(tracing_disabled=True)
            if not streamed:
                return (await Runner.run(agent, "Weather in Oslo?", run_config=config)).final_output
            running = Runner.run_streamed(agent, "Weather in Oslo?", run_config=config)
            async for _ in running.stream_events():
                pass
            return running.final_output

    assert asyncio.run(work()) == ANSWER
    assert asked == ["Oslo"]
    assert len(cheap.received) == 2
    assert b"rain" in cheap.received[1].body
