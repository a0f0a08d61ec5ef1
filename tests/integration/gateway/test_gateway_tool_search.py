"""The vendors' tool search, answered by the gateway for any upstream: with the real SDKs, whole and streamed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import LARGE, SMALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ALARM = ("set_alarm", "Wakes the user at a time")
WEATHER = ("get_weather", "The weather forecast of a city")
MAIL = ("send_mail", "Sends a letter to somebody")
ORDERS = ("list_orders", "Orders of a customer")
BM25 = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
REGEX = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
QUESTION = "Will it rain in Oslo?"
SEARCH = json.dumps({"query": "weather forecast"})


def of_anthropic(*tool: str, deferred: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = {"name": tool[0], "description": tool[1], "input_schema": SCHEMA}
    return {**found, "defer_loading": True} if deferred else found


def of_responses(*tool: str, deferred: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "function", "name": tool[0], "description": tool[1], "parameters": SCHEMA}
    return {**found, "defer_loading": True} if deferred else found


def of_chat(*tool: str, deferred: bool = True) -> dict[str, Any]:
    function = {"name": tool[0], "description": tool[1], "parameters": SCHEMA}
    found: dict[str, Any] = {"type": "function", "function": function}
    return {**found, "defer_loading": True} if deferred else found


def settings(cheap: Upstream, strong: Upstream, **more: Any) -> dict[str, Any]:
    """``small`` is at a server of chat completions, ``large`` at Anthropic's, ``own`` has responses."""
    return {
        "upstreams": {
            "cheap": {"base_url": cheap.url, "api_key": "sk-of-cheap", "responses": "chat", **more},
            "strong": {"kind": "anthropic", "base_url": strong.url, "api_key": "sk-of-strong", **more},
            "own": {"base_url": cheap.url, "api_key": "sk-of-cheap", "responses": "native", **more},
        },
        "models": {
            "small": {**SMALL, "deployments": [{"upstream": "cheap"}]},
            "large": {**LARGE, "deployments": [{"upstream": "strong"}]},
            "own": {**SMALL, "deployments": [{"upstream": "own"}]},
        },
    }


@pytest.fixture
def serving(start: Callable[..., Serving], cheap: Upstream, strong: Upstream) -> Serving:
    return start(**settings(cheap, strong))


@pytest.fixture
def claude(serving: Serving) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=serving.url.removesuffix("/v1"), api_key="sk-any", max_retries=0)


@pytest.fixture
def gpt(serving: Serving) -> openai.OpenAI:
    return openai.OpenAI(base_url=serving.url, api_key="sk-any", max_retries=0)


def names(upstream: Upstream, number: int = -1) -> list[str]:
    """Of the tools an upstream was told of."""
    tools = upstream.received[number].json.get("tools", [])
    return [tool["function"]["name"] if "function" in tool else tool["name"] for tool in tools]


def at(model: str, cheap: Upstream, strong: Upstream) -> Upstream:
    return strong if model == "large" else cheap


def script(upstream: Upstream, search: str, arguments: str = SEARCH) -> None:
    """A model that searches, calls what it found, and answers."""
    upstream.script(
        Behaviour(tool=(search, arguments), input_tokens=100, output_tokens=10),
        Behaviour(tool=("get_weather", '{"city":"Oslo"}'), input_tokens=150, output_tokens=20),
        Behaviour(pieces=("It ", "rains."), input_tokens=200),
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["small", "large"])
@pytest.mark.parametrize("search", ["bm25", "regex"])
def test_messages(
    claude: anthropic.Anthropic, cheap: Upstream, strong: Upstream, model: str, stream: bool, search: str
) -> None:
    upstream = at(model, cheap, strong)
    tool = BM25 if search == "bm25" else REGEX
    name = str(tool["name"])
    script(upstream, name, SEARCH if search == "bm25" else '{"pattern": "(?i)weather"}')
    tools: Any = [of_anthropic(*ALARM, deferred=False), tool, of_anthropic(*WEATHER), of_anthropic(*MAIL)]
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    asked: dict[str, Any] = {"model": model, "max_tokens": 100, "tools": tools, "extra_headers": {}}

    def ask() -> anthropic.types.Message:
        if not stream:
            return claude.messages.create(messages=messages, **asked)
        with claude.messages.stream(messages=messages, **asked) as events:
            for _ in events:
                pass
            return events.get_final_message()

    answer = ask()
    assert [block.type for block in answer.content] == ["server_tool_use", "tool_search_tool_result", "tool_use"]
    call, result, use = answer.content
    assert call.type == "server_tool_use"
    assert call.id.startswith("srvtoolu_")
    assert call.name == name
    assert result.type == "tool_search_tool_result"
    assert result.tool_use_id == call.id
    assert result.content.type == "tool_search_tool_search_result"
    assert [each.tool_name for each in result.content.tool_references] == ["get_weather"]
    assert use.type == "tool_use"
    assert (use.name, use.input) == ("get_weather", {"city": "Oslo"})
    assert answer.stop_reason == "tool_use"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (250, 30)
    assert answer.usage.server_tool_use is not None
    assert answer.usage.server_tool_use.model_dump()["tool_search_requests"] == 1
    # What the upstream was asked: the tools that are loaded first, what was found last.
    assert names(upstream, 0) == ["set_alarm", name]
    assert names(upstream, 1) == ["set_alarm", name, "get_weather"]
    assert b"defer_loading" not in upstream.received[1].body

    messages += [
        {"role": "assistant", "content": [block.to_dict() for block in answer.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "Rain"}]},
    ]
    answer = ask()
    assert [block.type for block in answer.content] == ["text"]
    # The next turn goes on where this one ended, so that caches live.
    second, third = (upstream.received[number].json for number in (1, 2))
    assert third["tools"] == second["tools"]
    assert third["messages"][: len(second["messages"])] == second["messages"]


CRM: dict[str, Any] = {
    "type": "namespace",
    "name": "crm",
    "description": "Customers and their orders",
    "tools": [of_responses(*ORDERS), of_responses("ping", "Whether it is up", deferred=False)],
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["small", "large", "own"])
def test_responses(gpt: openai.OpenAI, cheap: Upstream, strong: Upstream, model: str, stream: bool) -> None:
    upstream = at(model, cheap, strong)
    script(upstream, "tool_search")
    tools: Any = [of_responses(*ALARM, deferred=False), {"type": "tool_search"}, of_responses(*WEATHER), CRM]
    given: list[Any] = [{"role": "user", "content": QUESTION}]

    def ask() -> openai.types.responses.Response:
        if not stream:
            return gpt.responses.create(model=model, input=given, tools=tools)
        with gpt.responses.stream(model=model, input=given, tools=tools) as events:
            seen = list(events)
            assert [event.sequence_number for event in seen] == list(range(len(seen)))
            found = events.get_final_response()
        done = [event.item.id for event in seen if event.type == "response.output_item.done"]
        assert done == [item.id for item in found.output]
        added = [event.output_index for event in seen if event.type == "response.output_item.added"]
        assert added == list(range(len(found.output)))
        assert [event.type for event in seen].count("response.created") == 1
        return found

    answer = ask()
    assert [item.type for item in answer.output] == ["tool_search_call", "tool_search_output", "function_call"]
    call, result, use = answer.output
    assert call.type == "tool_search_call"
    assert (call.execution, call.status, call.call_id) == ("server", "completed", None)
    assert call.arguments == {"query": "weather forecast"}
    assert result.type == "tool_search_output"
    assert [tool.to_dict() for tool in result.tools] == [of_responses(*WEATHER)]
    assert use.type == "function_call"
    assert json.loads(use.arguments) == {"city": "Oslo"}
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (250, 30, 280)
    assert [tool.type for tool in answer.tools] == ["function", "tool_search", "function", "namespace"]
    assert names(upstream, 0) == ["set_alarm", "crm__ping", "tool_search"]
    assert names(upstream, 1) == ["set_alarm", "crm__ping", "tool_search", "get_weather"]

    given += [item.to_dict() for item in answer.output]
    given.append({"type": "function_call_output", "call_id": use.call_id, "output": "Rain"})
    answer = ask()
    assert answer.output_text == "It rains."
    second, third = (upstream.received[number].json for number in (1, 2))
    assert third["tools"] == second["tools"]
    said = "input" if model == "own" else "messages"
    assert third[said][: len(second[said])] == second[said]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["small", "large", "own"])
def test_a_function_of_a_namespace_keeps_its_names(
    gpt: openai.OpenAI, cheap: Upstream, strong: Upstream, model: str, stream: bool
) -> None:
    upstream = at(model, cheap, strong)
    upstream.script(
        Behaviour(tool=("tool_search", '{"paths": ["crm"]}')), Behaviour(tool=("crm__list_orders", '{"city":"x"}'))
    )
    tools: Any = [{"type": "tool_search"}, CRM]
    asked: dict[str, Any] = {"model": model, "input": "Which orders are there?", "tools": tools}
    if stream:
        with gpt.responses.stream(**asked) as events:
            for event in events:
                if event.type == "response.function_call_arguments.done":
                    assert event.to_dict()["name"] == "list_orders"
            answer = events.get_final_response()
    else:
        answer = gpt.responses.create(**asked)
    result, use = answer.output[1:]
    assert result.type == "tool_search_output"
    assert [tool.to_dict() for tool in result.tools] == [{**CRM, "tools": [CRM["tools"][0], CRM["tools"][1]][:1]}]
    assert use.type == "function_call"
    assert (use.name, use.to_dict()["namespace"]) == ("list_orders", "crm")
    assert names(upstream, 1) == ["crm__ping", "tool_search", "crm__list_orders"]
    upstream.script(Behaviour())
    given: list[Any] = [{"role": "user", "content": "Which orders?"}, *[item.to_dict() for item in answer.output]]
    given.append({"type": "function_call_output", "call_id": use.call_id, "output": "None"})
    gpt.responses.create(model=model, input=given, tools=tools)
    assert names(upstream) == ["crm__ping", "tool_search", "crm__list_orders"]
    assert b"crm__list_orders" in upstream.received[-1].body
    assert b'"namespace"' not in upstream.received[-1].body


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["small", "large"])
def test_a_client_may_search_itself(
    gpt: openai.OpenAI, cheap: Upstream, strong: Upstream, model: str, stream: bool
) -> None:
    upstream = at(model, cheap, strong)
    upstream.script(Behaviour(tool=("tool_search", '{"goal": "rain"}')), Behaviour(pieces=("Yes",)))
    parameters = {"type": "object", "properties": {"goal": {"type": "string"}}}
    search: Any = {
        "type": "tool_search",
        "execution": "client",
        "description": "Finds tools",
        "parameters": parameters,
    }
    given: list[Any] = [{"role": "user", "content": QUESTION}]
    asked: dict[str, Any] = {"model": model, "tools": [search], "input": given}
    if stream:
        with gpt.responses.stream(**asked) as events:
            for _ in events:
                pass
            answer = events.get_final_response()
    else:
        answer = gpt.responses.create(**asked)
    (call,) = answer.output
    assert call.type == "tool_search_call"
    assert (call.execution, call.arguments) == ("client", {"goal": "rain"})
    assert call.call_id
    given += [
        call.to_dict(),
        {
            "type": "tool_search_output",
            "call_id": call.call_id,
            "execution": "client",
            "tools": [of_responses(*WEATHER)],
        },
    ]
    gpt.responses.create(**asked)
    assert names(upstream) == ["tool_search", "get_weather"]
    assert len(upstream.received) == 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["small", "large"])
def test_chat_completions(gpt: openai.OpenAI, cheap: Upstream, strong: Upstream, model: str, stream: bool) -> None:
    upstream = at(model, cheap, strong)
    script(upstream, "tool_search")
    tools: Any = [of_chat(*ALARM, deferred=False), {"type": "tool_search"}, of_chat(*WEATHER), of_chat(*MAIL)]
    messages: list[Any] = [{"role": "user", "content": QUESTION}]

    def ask() -> openai.types.chat.ChatCompletion:
        asked: dict[str, Any] = {"model": model, "messages": messages, "tools": tools}
        if not stream:
            return gpt.chat.completions.create(**asked)
        with gpt.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
            for _ in events:
                pass
            return events.get_final_completion()

    answer = ask()
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Oslo"})
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (250, 30)
    assert names(upstream, 0) == ["set_alarm", "tool_search"]
    assert names(upstream, 1) == ["set_alarm", "tool_search", "get_weather"]
    messages += [choice.message.to_dict(), {"role": "tool", "tool_call_id": call.id, "content": "Rain"}]
    assert ask().choices[0].message.content == "It rains."
    assert names(upstream, 2) == ["set_alarm", "tool_search", "get_weather"]
