"""The tool search of one request, without a network: what an upstream is asked, and what a client is told."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.tools.kept import Kept
from tiny_dancer.gateway.tools.search import MOST_SEARCHES, NO_MORE, Search, may_search
from tiny_dancer.gateway.tools.searches import search_of
from tiny_dancer.gateway.upstream.translate import roll, unroll

if TYPE_CHECKING:
    from tiny_dancer.gateway.upstream.dialect import Endpoint

BM25 = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
REGEX = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
OPENAI = {"type": "tool_search"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
HELLO = [{"role": "user", "content": "Will it rain in Oslo?"}]


def anthropic(name: str, description: str = "", *, deferred: bool = True, **more: Any) -> dict[str, Any]:
    tool = {"name": name, "description": description, "input_schema": SCHEMA, **more}
    return {**tool, "defer_loading": True} if deferred else tool


def function(name: str, description: str = "", *, deferred: bool = True, **more: Any) -> dict[str, Any]:
    tool = {"type": "function", "name": name, "description": description, "parameters": SCHEMA, **more}
    return {**tool, "defer_loading": True} if deferred else tool


WEATHER = anthropic("get_weather", "The weather forecast of a city")
MAIL = anthropic("send_mail", "Sends a letter to somebody")
ALARM = anthropic("set_alarm", "Wakes the user", deferred=False)


def raw(fields: dict[str, Any]) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in fields.items()}


def of(endpoint: Endpoint = "messages", kept: Kept | None = None, **fields: Any) -> Search | None:
    history = "input" if endpoint == "responses" else "messages"
    given = raw({history: HELLO, **fields})
    return asyncio.run(search_of(endpoint, given, given.get("tools"), Kept() if kept is None else kept))


def made(endpoint: Endpoint = "messages", **fields: Any) -> Search:
    search = of(endpoint, **fields)
    assert search is not None
    return search


def asked(search: Search, field: str) -> Any:
    return json.loads(bytes(search.fields[field])) if field in search.fields else None


def names(search: Search) -> list[str]:
    return [(tool.get("function") or tool)["name"] for tool in asked(search, "tools") or []]


def message(*content: Any, stop: str = "tool_use", **usage: Any) -> bytes:
    counted = {"input_tokens": 10, "output_tokens": 2, **usage}
    answer = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content}
    return json.dumps({**answer, "stop_reason": stop, "stop_sequence": None, "usage": counted}).encode()


def use(name: str, given: Any, id: str = "toolu_1") -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": given}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


FIND = use("tool_search_tool_bm25", {"query": "weather forecast"})


# Which requests have a search.


def test_most_requests_have_none() -> None:
    assert not may_search(msgspec.Raw(b'[{"name": "a"}]'))
    assert of(tools=[ALARM]) is None
    assert (
        of(messages=[{"role": "user", "content": 'What is "tool_search_tool_result" and defer_loading?'}]) is None
    )
    assert of(tools=[anthropic("a", "defer_loading: true would hide this tool_search", deferred=False)]) is None
    assert of("completions", tools=[BM25, WEATHER]) is None
    for server in (
        {"type": "mcp_toolset", "mcp_server_name": "x", "default_config": {"defer_loading": True}},
        {"type": "mcp", "server_label": "x", "server_url": "https://x", "defer_loading": True},
    ):
        # Only their vendor can list these.
        assert of(tools=[BM25, WEATHER, server]) is None
    for name, value, searched in (
        ("conversation", "c", False),
        ("background", True, False),
        ("background", False, True),
    ):
        found = of("responses", tools=[OPENAI, function("a")], **{name: value})
        assert (found is not None) is searched
    assert of("responses", tools=[OPENAI, {"type": "mcp", "server_label": "x"}, function("a")]) is not None


@pytest.mark.parametrize(
    ("endpoint", "tools", "said"),
    [
        ("messages", [WEATHER], "nothing to find them"),
        ("responses", [function("a"), function("b", deferred=False)], "nothing to find them"),
        ("chat.completions", [{"type": "function", "function": {"name": "a"}, "defer_loading": True}], "nothing"),
        ("messages", [{**BM25, "defer_loading": True}, WEATHER], "cannot be deferred"),
        ("messages", [BM25, WEATHER, WEATHER], "get_weather"),
        ("messages", [BM25, WEATHER, {**WEATHER, "defer_loading": False}], "two tools of the name 'get_weather'"),
        ("messages", [BM25, anthropic("tool_search_tool_bm25")], "two tools of the name 'tool_search_tool_bm25'"),
        ("messages", [BM25, {"description": "x", "defer_loading": True}], "tools"),
        ("messages", [BM25, {"type": "namespace", "name": "n", "tools": [function("a")]}], "/v1/responses alone"),
        ("messages", {"a": 1, "b": "defer_loading"}, "tools"),
        ("messages", [BM25, "defer_loading", 3], ""),
    ],
)
def test_what_cannot_be_searched_is_refused(endpoint: Endpoint, tools: Any, said: str) -> None:
    if not said:
        # For the upstream to refuse.
        assert names_of_any(made(endpoint, tools=tools)) == ["defer_loading", 3]
        return
    with pytest.raises(GatewayError) as caught:
        of(endpoint, tools=tools)
    assert caught.value.status == 400
    assert said in caught.value.message


def names_of_any(search: Search) -> list[Any]:
    return [tool for tool in asked(search, "tools") if not isinstance(tool, dict)]


def test_a_list_of_tools_is_read_once() -> None:
    kept = Kept()
    first, second = of(kept=kept, tools=[BM25, WEATHER]), of(kept=kept, tools=[BM25, WEATHER])
    assert first is not None
    assert second is not None
    assert first.searchable is second.searchable


# What the upstream is asked.


def test_the_upstream_gets_what_is_loaded_and_a_function_that_searches() -> None:
    search = made(tools=[ALARM, BM25, WEATHER, MAIL], tool_choice={"type": "auto"})
    alarm, finds = asked(search, "tools")
    assert alarm == ALARM
    assert (finds["name"], list(finds["input_schema"]["properties"])) == ("tool_search_tool_bm25", ["query"])
    assert "2 can be found" in finds["description"]
    assert asked(search, "tool_choice") == {"type": "auto"}
    assert (search.offered.before, search.offered.sent, search.offered.how) == (4, 2, "search")
    both = made(tools=[BM25, REGEX, WEATHER])
    assert names(both) == ["tool_search_tool_bm25", "tool_search_tool_regex"]
    assert list(asked(both, "tools")[1]["input_schema"]["properties"]) == ["pattern"]
    # A clash with a name the gateway has given is its own to avoid.
    clash = made("responses", tools=[OPENAI, function("tool_search", deferred=False), function("a")])
    assert names(clash) == ["tool_search", "tool_search_2"]


def test_a_breakpoint_of_a_cache_on_a_search_stays_there() -> None:
    mark = {"type": "ephemeral"}
    assert asked(made(tools=[{**BM25, "cache_control": mark}, WEATHER]), "tools")[0]["cache_control"] == mark


def test_what_a_client_found_is_loaded_once_in_its_order() -> None:
    def found(*tools: dict[str, Any]) -> list[dict[str, Any]]:
        call = {"type": "tool_search_call", "call_id": "c", "execution": "client", "arguments": {}}
        return [call, {"type": "tool_search_output", "call_id": "c", "execution": "client", "tools": list(tools)}]

    client = {**OPENAI, "execution": "client", "description": "Finds"}
    own = function("own", deferred=False)
    given = [*HELLO, *found(function("new"), own, function("a"), function("new"))]
    search = made("responses", tools=[own, client, function("a"), function("b")], input=given)
    assert names(search) == ["own", "tool_search", "new", "a"]


def test_calls_of_what_was_found_can_be_learned_from() -> None:
    space = {"type": "namespace", "name": "crm", "tools": [function("list_orders")]}
    search = made("responses", tools=[OPENAI, space, function("a"), function("b", deferred=False)])
    assert search.offered.names is None
    search.learns_from({"b": "b"})
    assert search.offered.names == {"list_orders": "crm/list_orders", "a": "a", "b": "b"}


def test_a_tool_that_is_named_is_loaded() -> None:
    search = made(tools=[BM25, WEATHER, MAIL], tool_choice={"type": "tool", "name": "send_mail"})
    assert names(search) == ["tool_search_tool_bm25", "send_mail"]
    chat = made(
        "chat.completions",
        tools=[OPENAI, {"type": "function", "function": {"name": "a", "parameters": {}, "defer_loading": True}}],
        tool_choice={"type": "function", "function": {"name": "a"}},
    )
    assert asked(chat, "tools")[1] == {"type": "function", "function": {"name": "a", "parameters": {}}}
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "b"}, OPENAI]}
    responses = made("responses", tools=[OPENAI, function("a"), function("b")], tool_choice=allowed)
    assert names(responses) == ["tool_search", "b"]
    assert asked(responses, "tool_choice")["tools"] == [
        {"type": "function", "name": "b"},
        {"type": "function", "name": "tool_search"},
    ]


def test_a_search_that_is_forced_is_made_once() -> None:
    search = made(tools=[BM25, WEATHER], tool_choice={"type": "tool", "name": "tool_search_tool_bm25"})
    assert asked(search, "tool_choice") == {"type": "tool", "name": "tool_search_tool_bm25"}
    assert search.take(message(FIND))
    assert asked(search, "tool_choice") is None


def test_all_tools_may_be_deferred_and_a_client_may_search_itself() -> None:
    assert names(made(tools=[BM25, WEATHER])) == ["tool_search_tool_bm25"]
    history = [
        *HELLO,
        {"role": "assistant", "content": [use("find", {"q": "weather"})]},
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "tool_reference", "tool_name": "get_weather"}],
                }
            ],
        },
    ]
    search = made(tools=[anthropic("find", deferred=False), WEATHER, MAIL], messages=history)
    assert names(search) == ["find", "get_weather"]
    (result,) = asked(search, "messages")[2]["content"]
    assert [block["type"] for block in result["content"]] == ["text"]


# What the model says.


def test_what_is_found_stands_last_and_the_conversation_reads_back_as_it_was() -> None:
    tools = [ALARM, BM25, WEATHER, MAIL]
    search = made(tools=tools)
    thinking = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
    assert search.take(message(thinking, text("I look."), FIND, cache_read_input_tokens=4))
    assert names(search) == ["set_alarm", "tool_search_tool_bm25", "get_weather"]
    said = asked(search, "messages")
    assert [turn["role"] for turn in said] == ["user", "assistant", "user"]
    assert said[1]["content"][:2] == [thinking, text("I look.")]
    call, (result,) = said[1]["content"][2], said[2]["content"]
    assert (call["type"], call["name"]) == ("tool_use", "tool_search_tool_bm25")
    assert result == {
        "type": "tool_result",
        "tool_use_id": call["id"],
        "content": "Found, and loaded: get_weather.",
    }
    assert search.take(message(use("tool_search_tool_bm25", {"query": "send a letter"})))
    assert names(search)[2:] == ["get_weather", "send_mail"]
    assert not search.take(message(text("Here."), use("send_mail", {}), cache_read_input_tokens=1))
    answer = json.loads(search.whole())
    assert [block["type"] for block in answer["content"]] == [
        "thinking",
        "text",
        "server_tool_use",
        "tool_search_tool_result",
        "server_tool_use",
        "tool_search_tool_result",
        "text",
        "tool_use",
    ]
    assert answer["usage"] == {
        "input_tokens": 30,
        "output_tokens": 6,
        "cache_read_input_tokens": 5,
        "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0, "tool_search_requests": 2},
    }
    # The next turn.
    before = asked(search, "messages")
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "Sent"}
    history = [
        *HELLO,
        {"role": "assistant", "content": answer["content"]},
        {"role": "user", "content": [result]},
    ]
    following = made(tools=tools, messages=history)
    assert asked(following, "messages")[: len(before)] == before
    assert asked(following, "messages")[len(before) :] == [
        {"role": "assistant", "content": [text("Here."), use("send_mail", {})]},
        {"role": "user", "content": [result]},
    ]
    assert names(following) == names(search)


def test_a_search_beside_a_call_ends_the_turn_and_reads_back_as_one() -> None:
    tools = [ALARM, BM25, WEATHER]
    search = made(tools=tools)
    assert not search.take(message(FIND, use("set_alarm", {"city": "x"}, "toolu_2")))
    answer = json.loads(search.whole())
    assert answer["stop_reason"] == "tool_use"
    assert [block["type"] for block in answer["content"]] == [
        "tool_use",
        "server_tool_use",
        "tool_search_tool_result",
    ]
    result = {"type": "tool_result", "tool_use_id": "toolu_2", "content": "Set"}
    history = [*HELLO, {"role": "assistant", "content": answer["content"]}, {"role": "user", "content": [result]}]
    following = made(tools=tools, messages=history)
    _, said, results = asked(following, "messages")
    # Both calls in one turn, both results in the next: as servers want it.
    assert [block["name"] for block in said["content"]] == ["set_alarm", "tool_search_tool_bm25"]
    assert [block["tool_use_id"] for block in results["content"]] == [said["content"][1]["id"], "toolu_2"]
    assert names(following) == ["set_alarm", "tool_search_tool_bm25", "get_weather"]


def test_searches_at_once_are_answered_together() -> None:
    search = made(tools=[BM25, REGEX, WEATHER, MAIL])
    assert search.take(message(FIND, use("tool_search_tool_regex", {"pattern": "mail"}, "toolu_2")))
    said = asked(search, "messages")
    assert [len(turn["content"]) for turn in said[1:]] == [2, 2]
    assert names(search)[2:] == ["get_weather", "send_mail"]
    assert search.searches == 2


@pytest.mark.parametrize(
    ("tool", "given", "code"),
    [
        (REGEX, {"pattern": "("}, "invalid_tool_input"),
        (REGEX, {"pattern": "x" * 10_000}, "invalid_tool_input"),
        (REGEX, {"pattern": "(?=look)"}, "invalid_tool_input"),
        (REGEX, {}, "invalid_tool_input"),
        (BM25, {"unreadable_arguments": "weather"}, "invalid_tool_input"),
        (BM25, {"query": "  "}, "invalid_tool_input"),
        (BM25, {"query": "zzzz qqqq"}, None),
        (REGEX, {"pattern": "nothing"}, None),
    ],
)
def test_a_search_that_finds_nothing_or_cannot_be_made_goes_on(tool: Any, given: Any, code: str | None) -> None:
    search = made(tools=[tool, WEATHER])
    assert search.take(message(use(tool["name"], given)))
    assert names(search) == [tool["name"]]
    (result,) = asked(search, "messages")[2]["content"]
    assert result.get("is_error", False) is (code is not None)
    search.take(message(text("Well."), stop="end_turn"))
    content = json.loads(search.whole())["content"][1]["content"]
    if code is None:
        assert content == {"type": "tool_search_tool_search_result", "tool_references": []}
    else:
        assert (content["type"], content["error_code"]) == ("tool_search_tool_result_error", code)


def test_a_model_that_searches_for_ever_is_stopped() -> None:
    search = made(tools=[ALARM, BM25, WEATHER])
    calls = 1
    while search.take(message(FIND, use("tool_search_tool_bm25", {"query": "letter"}, "toolu_2"), FIND)):
        calls += 1
        assert calls < 100
    assert calls == -(-MOST_SEARCHES // 3) + 1
    assert search.searches == MOST_SEARCHES
    assert "tool_search_tool_bm25" not in names(search)
    answer = json.loads(search.whole())
    assert answer["stop_reason"] == "end_turn"
    refused = [block["content"] for block in answer["content"] if block["type"] == "tool_search_tool_result"]
    assert [each.get("error_message") for each in refused[MOST_SEARCHES:]] == [NO_MORE] * (len(refused) - 10)
    assert {each["error_code"] for each in refused[MOST_SEARCHES:]} == {"too_many_requests"}


def test_a_call_of_a_tool_that_is_not_loaded_is_the_clients() -> None:
    search = made(tools=[BM25, WEATHER])
    assert not search.take(message(use("get_weather", {"city": "Oslo"})))
    answer = json.loads(search.whole())
    assert (answer["stop_reason"], answer["content"][0]["name"]) == ("tool_use", "get_weather")
    assert "server_tool_use" not in answer["usage"]
    # It has it, and the model gets it from now on.
    history = [*HELLO, {"role": "assistant", "content": answer["content"]}]
    assert names(made(tools=[BM25, WEATHER], messages=history)) == ["tool_search_tool_bm25", "get_weather"]


def test_a_search_that_was_cut_is_left_out() -> None:
    search = made(tools=[BM25, WEATHER])
    assert not search.take(message(text("I"), use("tool_search_tool_bm25", {"query": "wea"}), stop="max_tokens"))
    answer = json.loads(search.whole())
    assert (answer["stop_reason"], answer["content"]) == ("max_tokens", [text("I")])


def test_a_history_without_its_tools_is_still_read() -> None:
    blocks = [
        {"type": "tool_search_tool_result", "tool_use_id": "srvtoolu_0", "content": {}},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "tool_search_tool_bm25", "input": {"query": "x"}},
        {
            "type": "tool_search_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": {
                "type": "tool_search_tool_search_result",
                "tool_references": [{"type": "tool_reference", "tool_name": "gone"}],
            },
        },
        {"type": "server_tool_use", "id": "srvtoolu_2", "name": "tool_search_tool_bm25", "input": {"query": "x"}},
        {"type": "server_tool_use", "id": "srvtoolu_3", "name": "web_search", "input": {"query": "x"}},
    ]
    history = [*HELLO, {"role": "assistant", "content": blocks}, {"role": "user", "content": "And?"}]
    search = made(messages=history)
    assert asked(search, "tools") is None
    said = asked(search, "messages")
    assert [turn["role"] for turn in said] == ["user", "assistant", "user", "assistant", "user"]
    assert [block["type"] for block in said[1]["content"]] == ["tool_use"]
    assert [block["name"] for block in said[3]["content"]] == ["web_search"]
    assert said[4] == {"role": "user", "content": "And?"}


# Responses and chat completions.


def test_the_words_of_a_model_that_writes_no_json_are_searched_for() -> None:
    search = made("responses", tools=[OPENAI, function("get_weather", "The weather of a city")])
    call = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "tool_search", "arguments": "weather"}
    response = {"id": "resp_1", "status": "completed", "output": [call], "usage": {"input_tokens": 1}}
    assert search.take(json.dumps(response).encode())
    assert names(search) == ["tool_search", "get_weather"]
    _, said, found = asked(search, "input")
    assert (said["type"], found["type"], said["call_id"]) == (
        "function_call",
        "function_call_output",
        found["call_id"],
    )


def test_reasoning_that_nobody_keeps_is_not_sent_back() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "tool_search", "arguments": '{"query": "weather"}'}
    thoughts = [{"type": "reasoning", "id": "rs_1", "summary": []}]
    sealed = [{**thoughts[0], "encrypted_content": "x"}]
    for store, reasoning, kept in ((True, thoughts, True), (False, thoughts, False), (False, sealed, True)):
        search = made("responses", tools=[OPENAI, function("get_weather", "The weather")], store=store)
        response = {"id": "resp_1", "status": "completed", "output": [*reasoning, call]}
        assert search.take(json.dumps(response).encode())
        assert ("reasoning" in [item.get("type") for item in asked(search, "input")]) is kept


def test_a_chat_completion_does_not_show_its_searches() -> None:
    tool = {
        "type": "function",
        "function": {"name": "get_weather", "description": "Weather"},
        "defer_loading": True,
    }
    search = made("chat.completions", tools=[OPENAI, tool])

    def completion(content: str | None, *calls: tuple[str, str]) -> bytes:
        made = [
            {"id": f"c{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for at, (name, arguments) in enumerate(calls)
        ]
        said = {"role": "assistant", "content": content, "refusal": None, **({"tool_calls": made} if made else {})}
        choice = {"index": 0, "message": said, "finish_reason": "tool_calls" if made else "stop"}
        return json.dumps({"id": "x", "choices": [choice], "usage": {"prompt_tokens": 5}}).encode()

    assert search.take(completion("I look.", ("tool_search", "no json")))
    assert [each["role"] for each in asked(search, "messages")] == ["user", "assistant", "tool"]
    assert search.take(completion(None, ("tool_search", '{"query": "weather"}')))
    assert names(search) == ["tool_search", "get_weather"]
    assert not search.take(completion("It", ("get_weather", "{}"), ("tool_search", "{}")))
    (choice,) = json.loads(search.whole())["choices"]
    assert choice["message"]["content"] == "I look.\n\nIt"
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["get_weather"]
    assert json.loads(search.whole())["usage"] == {"prompt_tokens": 15}
    with pytest.raises(GatewayError, match="one answer"):
        of("chat.completions", tools=[OPENAI, tool], n=2)


@pytest.mark.parametrize("endpoint", ["messages", "responses"])
def test_the_last_call_offers_a_tool_where_the_history_has_calls(endpoint: Endpoint) -> None:
    if endpoint == "messages":
        search, _none = made(tools=[BM25, WEATHER]), {"type": "none"}
        body = message(
            *[use("tool_search_tool_bm25", {"query": "zzz qqq"}, f"t{n}") for n in range(MOST_SEARCHES)]
        )
    else:
        search, _none = made(endpoint, tools=[OPENAI, function("get_weather", "Weather")]), "none"  # type: ignore[assignment]
        call = {"type": "function_call", "name": "tool_search", "arguments": '{"query": "zzz qqq"}'}
        output = [{**call, "call_id": f"c{n}"} for n in range(MOST_SEARCHES)]
        body = json.dumps({"id": "r", "status": "completed", "output": output}).encode()
    assert search.take(body)
    assert len(names(search)) == 1
    assert asked(search, "tool_choice") == ({"type": "none"} if endpoint == "messages" else "none")
    assert not search.take(body)


# Streams say what whole answers do.


def chat_message(rng: random.Random, last: bool) -> bytes:
    said: dict[str, Any] = {"role": "assistant", "content": rng.choice([None, "I look.", "Well, so"])}
    if rng.random() < 0.3:
        said["thinking_blocks"] = [{"type": "thinking", "thinking": "Hm", "signature": "c2ln"}]
    calls = [] if last else ["tool_search"] * rng.randint(1, 2)
    calls += ["get_weather"] * (rng.randint(1, 2) if rng.random() < 0.3 else 0)
    rng.shuffle(calls)
    if calls:
        said["tool_calls"] = [
            {"id": f"c{at}", "type": "function", "function": {"name": name, "arguments": '{"query": "weather"}'}}
            for at, name in enumerate(calls)
        ]
    choice = {"index": 0, "message": said, "finish_reason": "tool_calls" if calls else "stop"}
    answer = {
        "id": f"x{rng.random()}",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
    }
    return json.dumps(
        {**answer, "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}}
    ).encode()


def anthropic_message(rng: random.Random, last: bool) -> bytes:
    blocks: list[Any] = [text("I look.")] if rng.random() < 0.5 else []
    calls = [] if last else ["tool_search_tool_bm25"] * rng.randint(1, 2)
    calls += ["get_weather"] * (rng.randint(1, 2) if rng.random() < 0.3 else 0)
    rng.shuffle(calls)
    blocks += [use(name, {"query": "weather"}, f"t{at}") for at, name in enumerate(calls)]
    return message(*(blocks or [text("Yes.")]), stop="tool_use" if calls else "end_turn")


def plain_ids(value: Any) -> Any:
    """Without the ids that are made anew each time."""
    if isinstance(value, dict):
        made = ("id", "tool_use_id")
        return {k: plain_ids(v) for k, v in value.items() if not (k in made and "srvtoolu" in str(v))}
    return [plain_ids(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("endpoint", ["messages", "chat.completions"])
def test_a_stream_makes_up_the_whole_answer(endpoint: Endpoint, seed: int) -> None:
    rng = random.Random(seed)
    make, tools = anthropic_message, [BM25, WEATHER, MAIL]
    unrolled, rolled = unroll.message, roll.message
    if endpoint == "chat.completions":
        chat = {"type": "function", "function": {"name": "get_weather", "description": "Weather"}}
        make, tools = chat_message, [OPENAI, {**chat, "defer_loading": True}]
        unrolled, rolled = unroll.completion, roll.completion
    said = [make(rng, last=number == 3) for number in range(4)]
    options = {"stream_options": {"include_usage": True}} if endpoint == "chat.completions" else {}
    whole, streamed = made(endpoint, tools=tools), made(endpoint, tools=tools, **options)
    voice, heard = streamed.voice(), b""
    for body in said:
        for event in unrolled(body):
            heard += voice.feed(event)
        last, again = voice.end()
        heard += last
        assert whole.take(body) is again
        if not again:
            break
    expected, found = plain_ids(json.loads(whole.whole())), plain_ids(json.loads(rolled(heard)))
    if endpoint == "messages":
        assert found == expected
    else:
        assert found["id"] == expected["id"]
        assert found["usage"] == expected["usage"]
        (one,), (other,) = found["choices"], expected["choices"]
        assert one["finish_reason"] == other["finish_reason"]
        for field in ("content", "tool_calls", "thinking_blocks"):
            assert (one["message"].get(field) or None) == (other["message"].get(field) or None), field
    assert plain_ids(json.loads(bytes(whole.fields["messages"]))) == plain_ids(
        json.loads(bytes(streamed.fields["messages"]))
    )
