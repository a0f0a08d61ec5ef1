"""Deferred tools are told apart and found in the vendors' own protocols."""

from __future__ import annotations

from typing import Any

import pytest

from tiny_dancer import RequestError
from tiny_dancer.routing.tool_search import DeferredTools, ToolSearch, search_tool_kind

BM25 = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
REGEX = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
OPENAI = {"type": "tool_search"}
WEATHER = {
    "name": "get_weather",
    "description": "Forecast for a city",
    "input_schema": {"type": "object"},
    "defer_loading": True,
}
MAIL = {"name": "send_mail", "description": "Send a letter", "input_schema": {}, "defer_loading": True}
ALARM = {"name": "set_alarm", "description": "Wake the user", "input_schema": {}}


def function(name: str, description: str, *, deferred: bool = True) -> dict[str, Any]:
    return {"type": "function", "name": name, "description": description, "defer_loading": deferred}


CRM = {
    "type": "namespace",
    "name": "crm",
    "description": "Customers",
    "tools": [
        function("list_orders", "Orders of a customer"),
        function("get_customer", "A customer's profile"),
        function("ping", "Whether it is up", deferred=False),
    ],
}


def test_a_requests_tools_are_told_apart() -> None:
    found = DeferredTools.of([ALARM, BM25, WEATHER, MAIL])
    assert (found.search, found.loaded, found.deferred) == ((BM25,), (ALARM,), (WEATHER, MAIL))
    chat = {"type": "function", "function": {"name": "a", "defer_loading": True}}
    found = DeferredTools.of([OPENAI, CRM, chat])
    assert [[tool["name"] for tool in space["tools"]] for space in found.loaded] == [["ping"]]
    assert [tool["name"] for tool in found.deferred[0]["tools"]] == ["list_orders", "get_customer"]
    assert found.deferred[1] is chat
    assert DeferredTools.of([ALARM]).deferred == ()
    for tools in ([WEATHER], [{**BM25, "defer_loading": True}]):
        with pytest.raises(RequestError):
            DeferredTools.of(tools)


def test_searches_are_known_by_their_types() -> None:
    assert [search_tool_kind(tool) for tool in (BM25, REGEX, OPENAI, ALARM, "x")] == [
        "bm25",
        "regex",
        "openai",
        None,
        None,
    ]


def test_anthropics_searches_are_answered_by_reference() -> None:
    search = ToolSearch([WEATHER, MAIL])
    expected = {
        "type": "tool_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": {
            "type": "tool_search_tool_search_result",
            "tool_references": [{"type": "tool_reference", "tool_name": "get_weather"}],
        },
    }
    assert search.anthropic("bm25", {"query": "forecast"}, "srvtoolu_1", limit=1) == expected
    assert search.anthropic("regex", {"pattern": "(?i)WEATHER|storm"}, "srvtoolu_1") == expected
    assert search.anthropic("regex", {"pattern": "nothing"}, "srvtoolu_1")["content"]["tool_references"] == []
    for kind, given in (
        ("regex", {"pattern": "("}),
        ("regex", {"pattern": "x" * 201}),
        ("regex", {}),
        ("bm25", {"query": " "}),
        ("bm25", {"query": 3}),
        ("bm25", "words"),
    ):
        content = search.anthropic(kind, given, "srvtoolu_1")["content"]
        assert content["type"] == "tool_search_tool_result_error"
        assert content["error_code"] == "invalid_tool_input" and content["error_message"]


def test_openais_search_is_answered_with_definitions() -> None:
    deferred = DeferredTools.of([OPENAI, CRM, function("get_weather", "Forecast")]).deferred
    search = ToolSearch(deferred)
    found = search.openai({"paths": ["crm"]}, "tso_1")
    assert (found["type"], found["execution"], found["status"]) == ("tool_search_output", "server", "completed")
    (space,) = found["tools"]
    assert space["name"] == "crm" and space["description"] == "Customers"
    assert [tool["name"] for tool in space["tools"]] == ["list_orders", "get_customer"]
    assert search.find("openai", {"paths": ["crm.get_customer", "get_weather"]}) == (
        "crm/get_customer",
        "get_weather",
    )
    client = search.openai({"goal": "the orders of a customer"}, "tso_2", call_id="call_1")
    assert (client["call_id"], client["execution"]) == ("call_1", "client")
    assert client["tools"][0]["tools"][0]["name"] == "list_orders"
    refused: list[Any] = [{}, {"paths": []}, {"query": ""}, None]
    for arguments in refused:
        with pytest.raises(RequestError):
            search.openai(arguments, "tso_3")


def test_the_answers_are_what_the_vendors_libraries_read() -> None:
    anthropic = pytest.importorskip("anthropic.types")
    search = ToolSearch([WEATHER, MAIL])
    block = search.anthropic("bm25", {"query": "a letter"}, "srvtoolu_1", limit=1)
    read = anthropic.ToolSearchToolResultBlock.model_validate(block)
    assert read.content.tool_references[0].tool_name == "send_mail"
    failed = search.anthropic("regex", {"pattern": "("}, "srvtoolu_1")
    assert anthropic.ToolSearchToolResultBlock.model_validate(failed).content.error_code == "invalid_tool_input"
    responses = pytest.importorskip("openai.types.responses")
    item = ToolSearch([function("get_weather", "Forecast")]).openai({"query": "forecast"}, "tso_1")
    assert responses.ResponseToolSearchOutputItem.model_validate(item).tools[0].name == "get_weather"
