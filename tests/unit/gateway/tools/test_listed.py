"""What is left of a client's list of tools: what the request needs, in the client's order and words, with whatever
is no function of the client's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_dancer.errors import RequestError
from tiny_dancer.gateway.tools.listed import Listed, Wanted
from tiny_dancer.gateway.tools.offered import Offered

ABOUT = {
    "get_weather": "Forecast of rain and temperature for a city",
    "send_mail": "Send an e-mail to somebody",
    "book_flight": "Book a seat on a flight between two airports",
    "translate": "Translate a text into another language",
    "play_music": "Play a song or an album",
}
RAIN = json.dumps([{"role": "user", "content": "the forecast: rain in Porto, and which temperature?"}]).encode()


def chat(name: str, **more: Any) -> dict[str, Any]:
    about = {"name": name, "description": ABOUT.get(name, ""), "parameters": {"type": "object"}}
    return {"type": "function", "function": about, **more}


def flat(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "name": name, "description": ABOUT.get(name, ""), "parameters": {}, **more}


def claude(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "description": ABOUT.get(name, ""), "input_schema": {"type": "object"}, **more}


def left(
    tools: list[Any], said: bytes = RAIN, choice: object = None, *, k: int = 1, **wanted: Any
) -> tuple[list[Any], Offered]:
    text = json.dumps(tools).encode()
    found, offered = Listed(text).select(said, choice, Wanted(k, **wanted))
    return json.loads(text if found is None else found), offered


@pytest.mark.parametrize("write", [chat, flat, claude])
def test_the_best_are_left_in_the_clients_order(write: Any) -> None:
    tools = [write(name) for name in ABOUT]
    assert left(tools)[0] == [write("get_weather")]
    said = json.dumps(
        [{"role": "user", "content": "book a flight, then send an e-mail about the forecast"}]
    ).encode()
    found, offered = left(tools, said, k=3)
    assert found == [write("get_weather"), write("send_mail"), write("book_flight")]
    assert offered == Offered("filter", 5, 3, offered.bytes_saved)
    assert (
        offered.bytes_saved
        == len(json.dumps(tools)) - len(b"[]") - sum(len(json.dumps(each)) for each in found) - 2
    )


def test_the_clients_own_bytes_are_sent() -> None:
    odd = b'{"name" : "get_weather",  "description": "forecast, rain \\u00e9", "n": 1.0e2}'
    text = b'[ {"name":"other"} , ' + odd + b"\n]"
    assert Listed(text).select(RAIN, None, Wanted(1))[0] == b"[" + odd + b"]"
    assert Listed(text).select(RAIN, None, Wanted(2))[0] is None  # as it came


@pytest.mark.parametrize(
    "stays",
    [
        {"type": "web_search"},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
        {"type": "computer_20250124", "name": "computer", "display_width_px": 1024},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "mcp", "server_label": "dmcp", "server_url": "https://example.com"},
        {"type": "mcp_toolset", "mcp_server_name": "x"},
        {"type": "file_search", "vector_store_ids": ["a"]},
        {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"},
        {"type": "tool_search"},
        claude("play_music", defer_loading=True),
        {"type": "function", "function": {"name": "play_music", "defer_loading": True}},
        {"type": "namespace", "name": "crm", "tools": [flat("play_music", defer_loading=True)]},
        # What only the model's server can say what is wrong with.
        {"description": "no name"},
        {"name": ""},
        {"name": 7},
        {"type": "function", "function": {"description": "no name"}},
        {"name": "a", "description": ["a list"]},
        {"name": "a", "input_schema": "none"},
        {"name": "n" * 600},
        {"name": "holds", "tools": [{"name": "others"}, {"name": "more"}]},
        "a text",
        None,
        17,
        ["a list"],
        {},
    ],
)
def test_what_is_no_function_that_can_be_read_stays(stays: Any) -> None:
    tools = [stays, *[claude(name) for name in ABOUT], stays]
    found, offered = left(tools)
    assert found == [stays, claude("get_weather"), stays]
    assert (offered.before, offered.sent) == (7, 3)
    assert left([stays, stays])[0] == [stays, stays]


def test_custom_tools_are_tools() -> None:
    tools = [
        {"type": "custom", "name": "get_weather", "description": "forecast of rain"},
        {"type": "custom", "custom": {"name": "grep", "description": "search in files"}},
        {"type": "custom", "name": "play", "description": "music", "input_schema": {}},
    ]
    assert left(tools)[0] == tools[:1]


def test_functions_of_a_namespace_are_left_out_one_by_one() -> None:
    crm = {
        "type": "namespace",
        "name": "crm",
        "description": "Customers",
        "tools": [flat("send_mail"), flat("get_weather"), flat("translate", defer_loading=True)],
    }
    empty = {"type": "namespace", "name": "media", "tools": [flat("play_music")]}
    tools = [flat("book_flight"), crm, empty, {"type": "web_search"}, {"type": "tool_search"}]
    found, offered = left(tools)
    kept = {**crm, "tools": [flat("get_weather"), flat("translate", defer_loading=True)]}
    assert found == [kept, {"type": "web_search"}, {"type": "tool_search"}]
    assert (offered.before, offered.sent) == (7, 4)
    # Two of one name, in two namespaces.
    twins = [{"type": "namespace", "name": name, "tools": [flat("get_weather")]} for name in ("a", "b")]
    assert Listed(json.dumps(twins).encode()).ids == ("a/get_weather", "b/get_weather")


def test_two_of_one_name_are_two() -> None:
    tools = [claude("get_weather"), claude("get_weather", n=2), claude("get_weather#2"), claude("send_mail")]
    assert len(set(Listed(json.dumps(tools).encode()).ids)) == 4
    assert claude("send_mail") not in left(tools, k=3)[0]
    # Called before: whichever was meant, both stay.
    said = [
        {"role": "user", "content": "send an e-mail"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "get_weather", "input": {}}]},
    ]
    assert left(tools, json.dumps(said).encode())[0] == [*tools[:2], claude("send_mail")]


def test_what_was_called_or_is_chosen_stays_beyond_k() -> None:
    tools = [chat(name) for name in ABOUT]
    said = [
        {"role": "user", "content": "play a song"},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "play_music", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "playing"},
        {"role": "user", "content": "will it rain? the forecast, please"},
    ]
    text = json.dumps(said).encode()
    # It does not take the place of what is needed now: an agent that has called k tools will need another.
    weather_music = [chat("get_weather"), chat("play_music")]
    assert left(tools, text)[0] == weather_music
    chosen = {"type": "function", "function": {"name": "translate"}}
    assert left(tools, text, chosen)[0] == [chat("get_weather"), chat("translate"), chat("play_music")]
    assert left(tools, text, "required", k=2)[0] == left(tools, text, k=2)[0]
    assert left(tools, text, {"name": ["odd"]})[0] == weather_music
    assert left(tools, text, k=2, relevance_threshold=0.5)[0] == weather_music


def test_what_is_referred_to_stays() -> None:
    tools = [claude(name) for name in ABOUT]
    found = [{"type": "tool_reference", "tool_name": name} for name in ("translate", "gone")]
    search = {"type": "tool_use", "id": "t1", "name": "find_tools", "input": {}}
    said: list[Any] = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": [search]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": found}]},
        *json.loads(RAIN),
    ]
    # Anthropic refuses a reference to a tool that is not there.
    assert left(tools, json.dumps(said).encode())[0] == [claude("get_weather"), claude("translate")]


def test_a_turn_that_calls_tools_keeps_its_tools() -> None:
    """The prompt's beginning is the same from the user's words to the last answer to them: it stays cached."""
    tools = [claude(name) for name in ABOUT]
    said: list[Any] = [{"role": "user", "content": "send an e-mail about the forecast"}]
    first = left(tools, json.dumps(said).encode(), k=2, relevance_threshold=0.1)[0]
    assert first == [claude("get_weather"), claude("send_mail")]
    for number, each in enumerate(("get_weather", "send_mail", "get_weather")):
        call = {"type": "tool_use", "id": f"t{number}", "name": each, "input": {}}
        result = {"type": "tool_result", "tool_use_id": f"t{number}", "content": "play a song, translate it"}
        said += [
            {"role": "assistant", "content": [{"type": "text", "text": "One moment: music, flights."}, call]},
            {"role": "user", "content": [result]},
        ]
        assert left(tools, json.dumps(said).encode(), k=2, relevance_threshold=0.1)[0] == first


def test_thresholds_leave_one_and_as_many_as_are_to_be_preserved() -> None:
    tools = [claude(name) for name in ABOUT]
    assert left(tools, k=5, relevance_threshold=1.0)[0] == [claude("get_weather")]
    assert len(left(tools, k=5, relevance_threshold=1.0, preserve_count=3)[0]) == 3
    assert left(tools, k=5)[0] == tools
    assert left(tools, k=500, relevance_threshold=1.0)[0] == [claude("get_weather")]


CACHED = {"type": "ephemeral"}


def test_a_breakpoint_of_the_prompt_cache_moves_to_what_is_left() -> None:
    tools = [claude("get_weather"), claude("send_mail"), claude("play_music", cache_control=CACHED)]
    assert left(tools)[0] == [claude("get_weather", cache_control=CACHED)]
    server = {"type": "web_search_20250305", "name": "web_search"}
    assert left([tools[0], server, *tools[1:]])[0] == [tools[0], {**server, "cache_control": CACHED}]
    # Not to one that is deferred, which may have none, nor over one that is there, nor to nothing.
    deferred = claude("translate", defer_loading=True)
    assert left([tools[0], deferred, *tools[1:]])[0] == [claude("get_weather", cache_control=CACHED), deferred]
    hour = {"type": "ephemeral", "ttl": "1h"}
    assert left([claude("get_weather", cache_control=hour), tools[2]])[0] == [
        claude("get_weather", cache_control=hour)
    ]
    assert left([tools[2], tools[0]])[0] == [tools[0]]
    assert left([tools[0], "odd", tools[2]])[0] == [tools[0], "odd"]


def test_without_words_there_is_nothing_to_select_by() -> None:
    tools = Listed(json.dumps([claude(name) for name in ABOUT]).encode())
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    for said in ([], image, [{"role": "system", "content": "rain"}], " ", {"not": "messages"}, None, [1, None]):
        with pytest.raises(RequestError):
            tools.select(json.dumps(said).encode(), None, Wanted(1))


@pytest.mark.parametrize("text", [b"{}", b"null", b'"tools"', b"[", b"[1] 2", b"[" * 100_000, b'["\xff"]', b""])
def test_what_is_no_list_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        Listed(text)


def test_long_descriptions_and_many_tools() -> None:
    tools = [claude(f"tool_{number}", description="words " * 17_000) for number in range(3)]
    tools += [claude(f"other_{number}") for number in range(5000)]
    found, offered = left([*tools, claude("get_weather")], k=1)
    assert found == [claude("get_weather")]
    assert (offered.before, offered.sent) == (5004, 1)


names = st.sampled_from([*ABOUT, "other", "", "get_weather"])
anything = st.one_of(
    names.map(chat),
    names.map(flat),
    names.map(claude),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["name", "type", "function", "tools", "cache_control"]), inner)
        ),
        max_leaves=6,
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(anything, max_size=8), st.integers(1, 9), st.floats(0, 1), st.integers(0, 3))
def test_whatever_is_sent_some_of_it_is_left_in_order(
    tools: list[Any], k: int, threshold: float, preserved: int
) -> None:
    listed = Listed(json.dumps(tools).encode())
    json_left, offered = listed.select(RAIN, None, Wanted(k, preserved, threshold))
    found = tools if json_left is None else json.loads(json_left)
    assert offered.before == listed.count >= offered.sent
    functions = len(listed.ids)
    assert offered.sent >= offered.before - functions + min(functions, max(1, min(preserved, k)))
    assert offered.sent <= offered.before - functions + k or functions <= 1
    if not any(
        isinstance(each, dict) and ("cache_control" in each or each.get("type") == "namespace") for each in tools
    ):
        rest = iter(tools)
        assert all(any(each == other for other in rest) for each in found), "a part, in order"
