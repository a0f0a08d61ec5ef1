"""Tools are read in every dialect, selected, kept, added, removed, saved; what is no tool is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_dancer import CandidateError, MemoryStorage, OptionError, RequestError, StorageError, ToolSelector

EVERYDAY = Path(__file__).resolve().parents[3] / "benchmarks" / "data" / "everyday_tools.json"
WEATHER = {"name": "get_weather", "description": "Forecast for a city"}
MAIL = {"name": "send_mail", "description": "Send an e-mail to somebody"}
ALARM = {"name": "set_alarm", "description": "Wake the user at a time"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "description": "Which city"}}}


@pytest.fixture(scope="module")
def everyday() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(EVERYDAY.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def selector(everyday: dict[str, Any]) -> ToolSelector:
    return ToolSelector(everyday["tools"])


def test_plain_requests_find_their_tools_among_the_services(
    selector: ToolSelector, everyday: dict[str, Any]
) -> None:
    for each in everyday["requests"]:
        ids = selector.select(each["request"], 5).ids
        assert set(ids) & set(each["right"]), (each["request"], ids)


def test_plain_requests_find_their_tools_among_four_thousand(everyday: dict[str, Any], shared_data: Path) -> None:
    arrow = pytest.importorskip("pyarrow.parquet")
    table = arrow.read_table(shared_data / "tools_seal.parquet").to_pydict()
    selector = ToolSelector()
    selector.add(table["schema"], ids=table["tool_id"])
    selector.add(everyday["tools"])
    found = [
        bool(set(selector.select(each["request"], 5).ids) & set(each["right"])) for each in everyday["requests"]
    ]
    # "will it rain in Porto this weekend" shares no word with a forecast.
    assert sum(found) >= 24


def test_every_dialect_gives_the_same_tools_and_gives_them_back_as_they_came() -> None:
    inner = {"name": "get_weather", "description": "Forecast for a city", "parameters": SCHEMA}
    dialects: list[Any] = [
        {"type": "function", "function": inner},
        {"type": "function", **inner},
        {"name": "get_weather", "description": "Forecast for a city", "input_schema": SCHEMA},
        {"name": "get_weather", "description": "Forecast for a city", "inputSchema": SCHEMA},
    ]
    scores = set()
    for tool in dialects:
        selection = ToolSelector([tool, MAIL]).select("the forecast for Porto", 2)
        assert selection.ids == ("get_weather", "send_mail")
        assert selection.definitions[0] is tool
        scores.add((selection.tools[0].score, selection.tools[0].relevance))
    assert len(scores) == 1
    listed = ToolSelector({"tools": [WEATHER, MAIL]})
    assert listed.ids == ("get_weather", "send_mail") and listed.select("mail", 1).definitions == [MAIL]


def test_servers_keep_tools_of_one_name_apart() -> None:
    selector = ToolSelector({"gmail": [MAIL], "outlook": {"description": "Mail of Microsoft", "tools": [MAIL]}})
    assert selector.ids == ("gmail/send_mail", "outlook/send_mail")
    assert selector.select("send this with outlook", 1).ids == ("outlook/send_mail",)
    assert selector.select("send this with outlook", 5, namespaces=["gmail"]).ids == ("gmail/send_mail",)


def test_an_openapi_document_is_its_operations() -> None:
    document = {
        "openapi": "3.1.0",
        "info": {"title": "shop"},
        "paths": {"/orders": {"get": {"operationId": "listOrders", "summary": "All orders of a customer"}}},
    }
    found = ToolSelector(document).select("which orders are open", 3)
    assert found.ids == ("shop/listOrders",)
    assert found.definitions[0]["path"] == "/orders" and found.definitions[0]["method"] == "get"


def test_what_was_called_or_chosen_is_never_dropped() -> None:
    selector = ToolSelector([WEATHER, MAIL, ALARM])
    messages = [
        {"role": "user", "content": "wake me at seven"},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "set_alarm"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "done"},
        {"role": "user", "content": "and the forecast?"},
    ]
    found = selector.select(messages, 2)
    assert set(found.ids) == {"get_weather", "set_alarm"}
    assert {each.id for each in found.tools if each.kept} == {"set_alarm"}
    chosen = selector.select(messages, 1, tool_choice={"type": "tool", "name": "send_mail"})
    assert set(chosen.ids) == {"set_alarm", "send_mail"}
    assert set(selector.select("x", 1, keep=["send_mail", "set_alarm"], relevance_threshold=1.0).ids) == {
        "send_mail",
        "set_alarm",
    }


def test_earlier_turns_count_less_than_the_last() -> None:
    selector = ToolSelector([WEATHER, MAIL, ALARM])
    talk = [
        {"role": "user", "content": "the forecast for Porto"},
        {"role": "assistant", "content": "It will rain."},
        {"role": "user", "content": "then send an e-mail to Ann"},
    ]
    assert selector.select(talk, 2).ids == ("send_mail", "get_weather")


def test_thresholds_leave_out_and_preserve() -> None:
    selector = ToolSelector([WEATHER, MAIL, ALARM])
    everything = selector.select("forecast for a city", 3)
    assert 0 <= everything.tools[-1].relevance < everything.tools[0].relevance <= 1
    assert selector.select("forecast for a city", 3, relevance_threshold=0.5).ids == ("get_weather",)
    assert len(selector.select("forecast for a city", 3, relevance_threshold=1.0, preserve_count=2).ids) == 2
    assert selector.select("hello", 50).considered == 3, "k beyond the tools gives all"


@pytest.mark.parametrize(
    ("tools", "field"),
    [
        ([WEATHER, WEATHER], "tools[1].id"),
        ([{"description": "no name"}], "tools[0].name"),
        ([{"name": "a", "parameters": "no schema"}], "tools[0].parameters"),
        ([{"name": "a", "parameters": 3}], "tools[0].parameters"),
        ([{"name": "a", "description": 3}], "tools[0].description"),
        (["{"], "tools[0]"),
        ([[1]], "tools[0][0]"),
        ([{"name": "a", "x": object()}], "tools[0]"),
        (3, "tools"),
        ({"server": 3}, "tools.server"),
        ([{"name": "x" * 600}], "tools[0].name"),
        ([{"name": " "}], "tools[0].name"),
    ],
)
def test_what_is_no_tool_is_refused(tools: Any, field: str) -> None:
    with pytest.raises(CandidateError) as caught:
        ToolSelector(tools)
    assert caught.value.field == field and caught.value.remedy


def test_what_asks_for_nothing_is_refused() -> None:
    selector = ToolSelector([WEATHER])
    for messages in ("", " \n", [], [{"role": "system", "content": "be kind"}]):
        with pytest.raises(RequestError):
            selector.select(messages)
    for options in ({"k": 0}, {"k": True}, {"relevance_threshold": 1.5}, {"preserve_count": -1}):
        with pytest.raises(OptionError):
            selector.select("x", **options)
    with pytest.raises(CandidateError):
        selector.remove(["unknown"])
    with pytest.raises(RequestError, match=r"requests\[1\]"):
        selector.select_many(["a", " "])
    assert ToolSelector().select("anything").tools == ()


def test_a_refused_addition_adds_nothing() -> None:
    selector = ToolSelector([WEATHER])
    with pytest.raises(CandidateError):
        selector.add([MAIL, WEATHER])
    assert selector.ids == ("get_weather",) and len(selector) == 1


def test_long_descriptions_and_odd_texts_are_read_within_bounds() -> None:
    long = {"name": "long", "description": "needle " + "hay " * 30_000}
    selector = ToolSelector([long, MAIL, {"name": "übersetzen", "description": "翻译一段文字\0"}])
    assert selector.select("the needle", 1).ids == ("long",)
    assert selector.select("翻译", 1).ids == ("übersetzen",)


names = st.text("abcdeXY_9", min_size=1, max_size=12)
tools = st.lists(st.tuples(names, st.text(max_size=40)), min_size=1, max_size=12, unique_by=lambda tool: tool[0])


@settings(max_examples=40)
@given(tools, st.data())
def test_a_set_that_was_changed_is_the_set_made_at_once(tools: list[tuple[str, str]], data: st.DataObject) -> None:
    listed = [{"name": name, "description": text} for name, text in tools]
    changed = ToolSelector(data.draw(st.permutations(listed)))
    gone = data.draw(st.lists(st.sampled_from([name for name, _ in tools]), unique=True))
    changed.remove(gone)
    back = [tool for tool in listed if tool["name"] in gone]
    changed.add(data.draw(st.permutations(back)))
    request = data.draw(st.text("abcdeXY_9 ", min_size=1).filter(str.strip))
    fresh = ToolSelector(listed)
    answers = [selector.select(request, 20) for selector in (changed, fresh)]
    assert [(each.id, each.score, each.relevance) for each in answers[0].tools] == [
        (each.id, each.score, each.relevance) for each in answers[1].tools
    ]


def test_a_selector_is_saved_and_loaded(tmp_path: Path) -> None:
    selector = ToolSelector({"mail": [MAIL, ALARM]})
    selector.add([WEATHER])
    selector.remove(["mail/set_alarm"])
    selector.save(tmp_path / "tools.json")
    loaded = ToolSelector.load(tmp_path / "tools.json")
    assert loaded.ids == selector.ids
    assert loaded.select("mail to Ann", 2).tools == selector.select("mail to Ann", 2).tools
    for content in ("{", "[]", '{"format": 9}', '{"format": 1, "tools": [{}]}'):
        (tmp_path / "broken.json").write_text(content, encoding="utf-8")
        with pytest.raises(CandidateError):
            ToolSelector.load(tmp_path / "broken.json")


def test_what_was_called_is_kept_in_storage() -> None:
    storage = MemoryStorage()
    selector = ToolSelector([WEATHER, MAIL], storage=storage)
    selector.observe("will it rain", ["get_weather"])
    selector.observe([{"role": "user", "content": "write Ann"}], ["send_mail", "get_weather"], keep_text=False)
    storage.flush()
    records = {record.chosen: record for record in storage.routing_history(kind="tools")}
    assert records["get_weather"].query_text == "will it rain"
    assert records["send_mail"].query_text is None
    assert [each.candidate_id for each in records["send_mail"].shown] == ["send_mail", "get_weather"]
    for arguments in (("x", []), ("x", ["unknown"])):
        with pytest.raises((StorageError, CandidateError)):
            selector.observe(*arguments)
    with pytest.raises(StorageError):
        ToolSelector([WEATHER]).observe("x", ["get_weather"])


def test_patterns_find_tools_and_bad_ones_are_refused(selector: ToolSelector) -> None:
    assert selector.search_pattern("(?i)^slack_.*message", 2) == (
        "Slack_SendDirectMessage",
        "Slack_SendMessageToChannel",
    )
    for pattern in ("", "(", "(?=x)", "x" * 201):
        with pytest.raises(RequestError):
            selector.search_pattern(pattern)


def test_a_tool_that_goes_while_it_is_selected_is_selected_no_more() -> None:
    selector = ToolSelector([{"name": "forecast", "description": "weather"}, {"name": "weather_map"}])
    engine = selector._engine

    class Slow:
        remove = engine.remove

        def select(self, query: str) -> str:
            answer = engine.select(query)
            if "forecast" in selector:
                selector.remove(["forecast"])
            return answer

    selector._engine = Slow()  # type: ignore[assignment]
    assert selector.select("the weather forecast", k=2).ids == ("weather_map",)


def test_arguments_of_the_wrong_kind_are_named(selector: ToolSelector) -> None:
    for options in ({"keep": "get_weather"}, {"namespaces": "mail"}, {"relevance_threshold": float("nan")}):
        with pytest.raises(OptionError, match=next(iter(options))):
            selector.select("send a letter", **options)  # type: ignore[arg-type]
    for request, choice in (("\ud800", None), ("send a letter", {"type": {1}})):
        with pytest.raises(RequestError):
            selector.select(request, tool_choice=choice)
    with pytest.raises(RequestError, match="texts"):
        selector.select_many("send a letter")
    with pytest.raises(RequestError, match="texts"):
        selector.score_many("send a letter")
    with pytest.raises(CandidateError, match=r"ids\[0\]"):
        selector.add([{"name": "new"}], ids=[5])  # type: ignore[list-item]
    assert selector.select("send a letter", k=10**30).considered == len(selector)
