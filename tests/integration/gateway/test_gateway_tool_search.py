"""The vendors' tool search, answered by the gateway for any upstream: with the real SDKs, whole and streamed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import LARGE, SMALL, events

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
def test_namespaces_are_known_without_a_search(
    gpt: openai.OpenAI, cheap: Upstream, strong: Upstream, model: str, stream: bool
) -> None:
    upstream = at(model, cheap, strong)
    upstream.script(Behaviour(tool=("mcp__crm__list_orders", '{"city":"x"}')), Behaviour())
    inner = [of_responses(*ORDERS, deferred=False), {"type": "custom", "name": "sql", "description": "Asks"}]
    space: dict[str, Any] = {"type": "namespace", "name": "mcp__crm", "description": "Customers", "tools": inner}
    tools: Any = [{"type": "custom", "name": "sql"}, space]
    given: list[Any] = [{"role": "user", "content": "Which orders are there?"}]
    asked: dict[str, Any] = {"model": model, "input": given, "tools": tools}
    if stream:
        with gpt.responses.stream(**asked) as events:
            for event in events:
                if event.type == "response.function_call_arguments.done":
                    assert event.to_dict()["name"] == "list_orders"
            answer = events.get_final_response()
    else:
        answer = gpt.responses.create(**asked)
    (use,) = answer.output
    assert use.type == "function_call"
    assert (use.name, use.to_dict()["namespace"]) == ("list_orders", "mcp__crm")
    assert [tool.type for tool in answer.tools] == ["custom", "namespace"]
    assert names(upstream) == ["sql", "mcp__crm__list_orders", "mcp__crm__sql"]
    given += [use.to_dict(), {"type": "function_call_output", "call_id": use.call_id, "output": "None"}]
    choice: Any = {"type": "function", "name": "list_orders", "namespace": "mcp__crm"}
    gpt.responses.create(model=model, input=given, tools=tools, tool_choice=choice)
    assert upstream.received[-1].body.count(b"mcp__crm__list_orders") == 3  # offered, called and chosen
    # A custom tool's call comes back as one, with its namespace.
    upstream.script(Behaviour(tool=("mcp__crm__sql", '{"input":"select 1"}')))
    (call,) = gpt.responses.create(model=model, input=given, tools=tools).output
    assert call.type == "custom_tool_call"
    assert (call.name, call.input, call.to_dict()["namespace"]) == ("sql", "select 1", "mcp__crm")
    for odd in ([space, of_responses("mcp__crm__sql", "x", deferred=False)], [{**space, "tools": [BM25]}]):
        with pytest.raises(openai.BadRequestError):
            gpt.responses.create(model=model, input=given, tools=odd)


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


# What an upstream does itself.


@pytest.mark.parametrize("stream", [False, True])
def test_a_native_upstream_gets_what_the_client_sent(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, stream: bool
) -> None:
    serving = start(**settings(cheap, strong, tool_search="native"))
    tools = [BM25, of_anthropic(*WEATHER)]
    body = {"max_tokens": 9, "tools": tools, "messages": [{"role": "user", "content": QUESTION}], "stream": stream}
    answer = serving.http.post("/messages", json={"model": "large", **body})
    assert answer.status_code == 200
    assert strong.received[-1].json["tools"] == tools
    assert "x-td-tools-before" not in answer.headers
    given = {"input": QUESTION, "tools": [{"type": "tool_search"}, of_responses(*WEATHER)], "stream": stream}
    assert serving.http.post("/responses", json={"model": "own", **given}).status_code == 200
    assert cheap.received[-1].json["tools"] == given["tools"]
    # Where it is asked in other words it cannot: then the gateway does.
    for path, model, asked, upstream in (
        ("/messages", "small", body, cheap),
        ("/responses", "small", given, cheap),
        ("/responses", "large", given, strong),
    ):
        answer = serving.http.post(path, json={"model": model, **asked})
        assert (answer.status_code, answer.headers["x-td-tools-sent"]) == (200, "1")
        assert b"defer_loading" not in upstream.received[-1].body
    assert serving.gateway.services.accounting.flush(10)
    record = serving.gateway.services.storage.request_history()[-1]
    assert (record.model, record.tool_selection) == ("large", "")


def test_what_only_a_vendor_can_list_goes_on_as_it_came(serving: Serving, strong: Upstream) -> None:
    toolset = {"type": "mcp_toolset", "mcp_server_name": "x", "default_config": {"defer_loading": True}}
    tools = [BM25, toolset]
    asked = {
        "model": "large",
        "max_tokens": 9,
        "tools": tools,
        "messages": [{"role": "user", "content": QUESTION}],
    }
    assert serving.http.post("/messages", json=asked).status_code == 200
    assert strong.received[-1].json["tools"] == tools


@pytest.mark.parametrize("native", [False, True])
def test_tokens_are_counted_of_what_is_loaded(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, native: bool
) -> None:
    more = {"tool_search": "native"} if native else {}
    serving = start(**settings(cheap, strong, **more))
    client = anthropic.Anthropic(base_url=serving.url.removesuffix("/v1"), api_key="sk-any", max_retries=0)
    hundred: Any = [BM25, *(of_anthropic(f"tool_{number}", "Does something else") for number in range(100))]
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    # Of a chat completion the gateway makes its own estimate.
    found = client.messages.count_tokens(model="small", messages=messages, tools=hundred).input_tokens
    assert found < 300
    client.messages.count_tokens(model="large", messages=messages, tools=hundred)
    assert len(strong.received[-1].json["tools"]) == (101 if native else 1)


# Tools that a router selects.


@pytest.mark.parametrize("mode", ["filter", "add"])
def test_a_selection_is_of_loaded_tools_and_leaves_the_search(
    start: Callable[..., Serving], cheap: Upstream, tmp_path: Path, mode: str
) -> None:
    (tmp_path / "tools.json").write_text(json.dumps([of_anthropic(*MAIL, deferred=False)]))
    selection: dict[str, Any] = {"mode": mode, "top_k": 1}
    if mode == "add":
        selection["catalogue"] = str(tmp_path / "tools.json")
    router = {"models": {"weak": "small", "strong": "large"}, "tool_selection": selection}
    serving = start(routers={"default": router})
    cheap.usual = Behaviour(pieces=("No",))
    script(cheap, "tool_search_tool_bm25")
    others = [of_anthropic(f"other_{number}", "Does something else", deferred=False) for number in range(5)]
    tools = [
        of_anthropic(*ALARM, deferred=False),
        *(others if mode == "filter" else []),
        BM25,
        of_anthropic(*WEATHER),
    ]
    asked = {"model": "auto", "max_tokens": 9, "tools": tools, "td": {"pin": None, "exclude": ["large"]}}
    question = "Wake me at nine, and send a letter"
    answer = serving.http.post("/messages", json={**asked, "messages": [{"role": "user", "content": question}]})
    assert answer.status_code == 200, answer.text
    first = ["set_alarm", "tool_search_tool_bm25"] if mode == "filter" else ["set_alarm", "send_mail"]
    assert names(cheap, 0)[:2] == first
    assert names(cheap, 0)[-1] == "tool_search_tool_bm25"
    assert names(cheap, 1) == [*names(cheap, 0), "get_weather"]
    assert answer.headers["x-td-tools-before"] == str(len(tools))
    assert answer.headers["x-td-tools-sent"] == str(len(names(cheap, 1)))


# What comes in, and what a model does.


def test_ten_thousand_tools_hold_nobody_up(serving: Serving, cheap: Upstream) -> None:
    many = [of_anthropic(f"tool_{number}", f"Does the thing of number {number}") for number in range(9_999)]
    tools = [BM25, *many, of_anthropic(*WEATHER)]
    body = {"model": "small", "max_tokens": 9, "tools": tools, "messages": [{"role": "user", "content": QUESTION}]}
    for _ in range(2):  # the second time they are known
        cheap.script(Behaviour(tool=("tool_search_tool_bm25", SEARCH)), Behaviour(tool=("get_weather", "{}")))
        answer = serving.http.post("/messages", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.json()["content"][-1]["name"] == "get_weather"
        assert len(cheap.received[-1].body) < 10_000
    assert int(answer.headers["x-td-tool-tokens-saved"]) > 100_000
    assert answer.headers["x-td-tools-before"] == "10001"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["small", "large"])
@pytest.mark.parametrize("path", ["/messages", "/responses", "/chat/completions"])
def test_a_model_that_searches_for_ever_is_asked_once_more_without(
    serving: Serving, cheap: Upstream, strong: Upstream, path: str, model: str, stream: bool
) -> None:
    upstream = at(model, cheap, strong)
    tools: dict[str, list[Any]] = {
        "/messages": [BM25, of_anthropic(*WEATHER)],
        "/responses": [{"type": "tool_search"}, of_responses(*WEATHER)],
        "/chat/completions": [{"type": "tool_search"}, of_chat(*WEATHER)],
    }
    name = "tool_search_tool_bm25" if path == "/messages" else "tool_search"
    # Anthropic's own stand-in can only say JSON.
    upstream.usual = Behaviour(tool=(name, "{}" if model == "large" else "no JSON at all"))
    said: list[Any] = [{"role": "user", "content": QUESTION}]
    body = {"model": model, "max_tokens": 9, "stream": stream, "tools": tools[path]}
    body |= {"input": said} if path == "/responses" else {"messages": said}
    if path == "/responses":
        body["max_output_tokens"] = body.pop("max_tokens")
    answer = serving.http.post(path, json=body)
    assert answer.status_code == 200
    assert len(upstream.received) == 11
    # Servers refuse a history of calls without any tools: it stays, and may not be called.
    assert names(upstream) == [name]
    assert upstream.received[-1].json["tool_choice"] in ("none", {"type": "none"})
    assert serving.gateway.services.accounting.flush(10)
    (record,) = serving.gateway.services.storage.request_history()
    assert (record.status, record.attempts, record.tool_searches) == (200, 11, 10)


@pytest.mark.parametrize("fault", ["cut", "reset"])
def test_a_stream_cut_in_a_later_call_ends_with_an_error(serving: Serving, cheap: Upstream, fault: str) -> None:
    upstream = cheap
    for path, kind, tools in (
        ("/messages", "error", [BM25, of_anthropic(*WEATHER)]),
        ("/responses", "response.failed", [{"type": "tool_search"}, of_responses(*WEATHER)]),
    ):
        name = "tool_search_tool_bm25" if path == "/messages" else "tool_search"
        upstream.script(Behaviour(tool=(name, SEARCH)), Behaviour(fault=fault, at="middle", after=2))  # type: ignore[arg-type]
        said = [{"role": "user", "content": QUESTION}]
        body: dict[str, Any] = {"model": "small", "stream": True, "tools": tools, "input": said}
        if path == "/messages":
            body = {"model": "small", "max_tokens": 9, "stream": True, "tools": tools, "messages": said}
        found = [json.loads(each) for each in events(serving.http.post(path, json=body).content)]
        assert found[-1]["type"] == kind
        if path == "/responses":
            assert [each["sequence_number"] for each in found] == list(range(len(found)))


def test_a_key_for_doing_things_once_is_for_the_first_call(serving: Serving, cheap: Upstream) -> None:
    script(cheap, "tool_search")
    body = {
        "model": "small",
        "messages": [{"role": "user", "content": QUESTION}],
        "tools": [{"type": "tool_search"}, of_chat(*WEATHER)],
    }
    assert serving.http.post("/chat/completions", json=body, headers={"idempotency-key": "x"}).status_code == 200
    assert [each.header("idempotency-key") for each in cheap.received] == ["x", None]


def test_a_decision_alone_is_made_of_what_is_loaded(start: Callable[..., Serving]) -> None:
    serving = start()
    tools = [BM25, *(of_anthropic(f"tool_{number}", "Does something") for number in range(50))]
    body = {"model": "auto", "tools": tools, "messages": [{"role": "user", "content": QUESTION}]}
    assert serving.http.post("/route", json=body).status_code == 200
    assert serving.gateway.services.accounting.flush(10)
    (record,) = serving.gateway.services.storage.request_history()
    assert (record.tool_selection, record.tools_before, record.tools_sent) == ("search", 51, 1)


def test_a_response_that_fails_later_is_still_the_one_that_began(gpt: openai.OpenAI, cheap: Upstream) -> None:
    cheap.script(Behaviour(tool=("tool_search", SEARCH)), Behaviour(fault="cut", at="middle", after=2))
    tools: Any = [{"type": "tool_search"}, of_responses(*WEATHER)]
    with gpt.responses.stream(model="small", input=QUESTION, tools=tools) as stream:
        found = list(stream)
    last = found[-1]
    assert last.type == "response.failed"
    assert found[0].type == "response.created"
    assert last.response.id == found[0].response.id
    assert [item.type for item in last.response.output] == ["tool_search_call", "tool_search_output", "message"]
