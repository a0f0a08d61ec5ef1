"""``tool_selection``: which of its tools a request's model gets, in all three protocols, by their own clients."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import anthropic
import httpx
import openai
import pytest
from tests.commands import done
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.processes import Running
from tests.integration.gateway.serving import LARGE, SMALL, TIMEOUT, Serving, settings, written

from tiny_dancer.errors import ConfigError
from tiny_dancer.gateway.configuration.check import load_gateway

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.gateway_upstream import Received, Upstream

    from tiny_dancer.types import RequestRecord

ABOUT = {
    "get_weather": "Forecast of rain and temperature for a city",
    "send_mail": "Send an e-mail to somebody",
    "book_flight": "Book a seat on a flight between two airports",
    "translate": "Translate a text into another language",
    "play_music": "Play a song or an album",
}
RAIN = "The forecast for Porto: does it rain, and which temperature?"
RAIN_SAID = [{"role": "user", "content": RAIN}]
SCHEMA = {"type": "object", "properties": {}}
HEADERS = ("x-td-tool-selection", "x-td-tools-before", "x-td-tools-sent", "x-td-tool-tokens-saved")


def chat(name: str, about: str | None = None) -> Any:
    described = ABOUT.get(name, "") if about is None else about
    return {"type": "function", "function": {"name": name, "description": described, "parameters": SCHEMA}}


def flat(name: str, **more: Any) -> Any:
    return {"type": "function", "name": name, "description": ABOUT[name], "parameters": SCHEMA, **more}


def claude(name: str, **more: Any) -> Any:
    return {"name": name, "description": ABOUT[name], "input_schema": SCHEMA, **more}


CHAT, FLAT, CLAUDE = ([write(name) for name in ABOUT] for write in (chat, flat, claude))
MANY = [chat(f"tool_{number}", f"Does thing number {number}") for number in range(3000)]


def routers(**selection: Any) -> dict[str, Any]:
    """The usual router, and one that selects."""
    models = {"weak": "small", "strong": "large"}
    return {"default": {"models": models}, "picky": {"models": models, "tool_selection": selection}}


@pytest.fixture
def filtering(start: Callable[..., Serving]) -> Serving:
    return start(routers=routers(mode="filter", top_k=1))


def posted(gateway: Serving, *, model: str = "router-picky", headers: Any = None, **fields: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": RAIN}], **fields}
    answer = gateway.http.post("/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def arrived(*upstreams: Upstream) -> Received:
    """The last request that came."""
    return max((each for upstream in upstreams for each in upstream.received), key=lambda each: each.at)


def told(answer: Any) -> tuple[str | None, ...]:
    return tuple(answer.headers.get(name) for name in HEADERS)


def saved(before: Any, after: Any) -> int:
    """Tokens, by the bytes that an SDK or httpx writes."""
    size = [len(json.dumps(each, separators=(",", ":"), ensure_ascii=False)) for each in (before, after)]
    return round((size[0] - size[1]) / 4)


def last_record(gateway: Serving) -> RequestRecord:
    gateway.gateway.services.accounting.flush(TIMEOUT)
    return gateway.gateway.services.storage.request_history(limit=1)[0]


def selected(record: RequestRecord) -> tuple[str, int, int, int]:
    return record.tool_selection, record.tools_before, record.tools_sent, record.tool_tokens_saved


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_gets_the_tools_it_needs(
    filtering: Serving, cheap: Upstream, strong: Upstream, stream: bool
) -> None:
    answer = posted(filtering, tools=CHAT, stream=stream)
    assert arrived(cheap, strong).json["tools"] == [chat("get_weather")]
    tokens = saved(CHAT, CHAT[:1])
    assert told(answer) == ("filter", "5", "1", str(tokens))
    assert selected(last_record(filtering)) == ("filter", 5, 1, tokens)
    counted = filtering.gateway.services.metrics.snapshot().families
    tools = {each.labels: each.value for each in counted["tiny_dancer_tools_total"]}
    assert tools == {("picky", "before"): 5.0, ("picky", "sent"): 1.0}
    assert counted["tiny_dancer_tool_tokens_saved_total"][0].value == tokens


def test_by_openai_s_library(filtering: Serving, cheap: Upstream, strong: Upstream) -> None:
    with openai.OpenAI(base_url=filtering.url, api_key="sk-any", max_retries=0) as client:
        call = Behaviour(tool=("get_weather", '{"city": "Porto"}'))
        cheap.script(call)
        strong.script(call)
        messages: list[Any] = [{"role": "user", "content": RAIN}]
        message = (
            client.chat.completions.create(model="router-picky", messages=messages, tools=CHAT).choices[0].message
        )
        assert message.tool_calls is not None
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"}
        messages += [message.model_dump(exclude_none=True), result]
        client.chat.completions.create(model="router-picky", messages=messages, tools=CHAT)
        assert arrived(cheap, strong).json["tools"] == [chat("get_weather")], "as before: its prompt is cached"
        messages += [{"role": "assistant", "content": "It rains."}, {"role": "user", "content": "Play a song"}]
        client.chat.completions.create(
            model="router-picky", messages=messages, tools=CHAT, extra_body={"td": {"tool_selection": 2}}
        )
        assert arrived(cheap, strong).json["tools"] == [chat("get_weather"), chat("play_music")]

        space: Any = {
            "type": "namespace",
            "name": "travel",
            "description": "Trips",
            "tools": [flat("book_flight")],
        }
        search: Any = {"type": "web_search"}
        raw = client.responses.with_raw_response.create(
            model="router-picky", input=RAIN, tools=[*FLAT, space, search], tool_choice="auto"
        )
        assert arrived(cheap, strong).json["tools"] == [flat("get_weather"), search]
        assert told(raw)[:3] == ("filter", "7", "2")
        assert raw.parse().output_text
        client.responses.create(
            model="router-picky",
            input=RAIN,
            tools=[space, *FLAT],
            tool_choice={"type": "function", "name": "translate"},
        )
        assert arrived(cheap, strong).json["tools"] == [flat("get_weather"), flat("translate")]


@pytest.mark.parametrize("only", ["small", "large"])
def test_by_anthropic_s_library(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, only: str
) -> None:
    gateway = start(
        upstreams={
            "cheap": {"base_url": cheap.url},
            "strong": {"kind": "anthropic", "base_url": strong.url, "api_key": "sk-of-strong"},
        },
        models={
            "small": {**SMALL, "deployments": [{"upstream": "cheap"}]},
            "large": {**LARGE, "deployments": [{"upstream": "strong"}]},
        },
        routers=routers(mode="filter", top_k=1),
    )
    client = anthropic.Anthropic(base_url=gateway.url.removesuffix("/v1"), api_key="sk-any", max_retries=0)
    other = "large" if only == "small" else "small"
    options: Any = {"td": {"exclude": [other]}}
    tools: Any = [*CLAUDE[:4], claude("play_music", cache_control={"type": "ephemeral"})]
    raw = client.messages.with_raw_response.create(
        model="router-picky",
        max_tokens=64,
        messages=[{"role": "user", "content": RAIN}],
        tools=tools,
        extra_body=options,
    )
    assert told(raw)[:3] == ("filter", "5", "1")
    assert raw.parse().content[0].type == "text"
    sent = arrived(cheap, strong).json["tools"]
    if only == "large":
        assert sent == [claude("get_weather", cache_control={"type": "ephemeral"})]
    else:
        assert [each["function"]["name"] for each in sent] == ["get_weather"]


def test_the_client_s_word_counts(filtering: Serving, cheap: Upstream, strong: Upstream) -> None:
    for headers, fields, sent in (
        ({"x-td-tool-selection": "off"}, {}, None),
        ({"x-td-tool-selection": "3"}, {}, 3),
        ({"x-td-tool-selection": "3"}, {"td": {"tool_selection": "off"}}, None),
        ({"x-td-tool-selection": "off"}, {"td": {"tool_selection": 2}}, 2),
        ({"x-td-tool-selection": "60"}, {}, 5),
        # A router that selects none of itself, and models that are named: those are asked for as they are.
        ({"x-td-tool-selection": "2"}, {"model": "auto"}, 2),
        ({}, {"model": "auto"}, None),
        ({"x-td-tool-selection": "2"}, {"model": "small"}, None),
        ({"x-td-pin": "small"}, {}, None),
    ):
        answer = posted(filtering, headers=headers, tools=CHAT, **fields)
        assert len(arrived(cheap, strong).json["tools"]) == (sent or 5), (headers, fields)
        assert told(answer)[:3] == ((None,) * 3 if sent is None else ("filter", "5", str(sent)))
    answer = filtering.http.post(
        "/chat/completions",
        json={
            "model": "router-picky",
            "messages": [{"role": "user", "content": "Hi"}],
            "td": {"tool_selection": 0},
        },
    )
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "td")


def test_what_has_no_words_gets_all_its_tools(filtering: Serving, cheap: Upstream, strong: Upstream) -> None:
    picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    answer = posted(filtering, tools=CHAT, messages=[{"role": "user", "content": picture}])
    assert told(answer) == ("no_text", "5", "5", "0")
    assert arrived(cheap, strong).json["tools"] == CHAT
    assert selected(last_record(filtering)) == ("no_text", 5, 5, 0)


@pytest.mark.parametrize(
    "tools", [{}, "tools", 3, {"name": "a"}, [], None, [None], ["a"], [[]], [{}], [{"type": "function"}]]
)
def test_odd_tools_go_on_as_they_came(filtering: Serving, cheap: Upstream, strong: Upstream, tools: Any) -> None:
    answer = posted(filtering, tools=tools)
    assert arrived(cheap, strong).json["tools"] == tools
    how = told(answer)[0]
    assert how == (None if tools is None else "filter" if isinstance(tools, list) else "unreadable")


def test_hostile_schemas(filtering: Serving, cheap: Upstream, strong: Upstream) -> None:
    odd = [
        chat("long", "words " * 17_000),
        chat("get_weather"),
        chat("get_weather", "another of this name"),
        {"type": "function", "function": {"description": "no name"}},
        {"type": "function", "function": {"name": "odd", "description": 7}},
        {"type": "function", "function": {"name": "odd", "parameters": "none"}},
        json.loads("[" * 200 + "]" * 200),
        *MANY,
    ]
    answer = posted(filtering, tools=odd)
    assert arrived(cheap, strong).json["tools"] == [odd[1], *odd[3:7]]
    assert told(answer)[:3] == ("filter", str(len(odd)), "5")


def test_the_router_is_asked_about_what_is_sent(start: Callable[..., Serving], cheap: Upstream) -> None:
    """``small`` holds 4,096 tokens: with all its tools the request would be too long for it."""
    gateway = start(routers=routers(mode="filter", top_k=3))
    tools = [*MANY, *CHAT]
    whole = gateway.http.post("/route", json={"model": "auto", "messages": RAIN_SAID, "tools": tools}).json()
    assert whole["model"] == "large"
    assert whole["removed"]["small"] == "context_window"
    left = gateway.http.post(
        "/route", json={"model": "router-picky", "messages": RAIN_SAID, "tools": tools}
    ).json()
    assert "small" not in left["removed"]
    assert selected(last_record(gateway))[:3] == ("filter", 3005, 3)
    few = gateway.http.post("/route", json={"model": "auto", "messages": RAIN_SAID, "tools": CHAT[:3]}).json()
    assert left["tokens"] < few["tokens"] + 200


def test_many_at_once_read_a_list_once_and_get_their_own(filtering: Serving, cheap: Upstream) -> None:
    tools = [*MANY, *CHAT]
    words = {name: f"{name.replace('_', ' ')}: {about}" for name, about in ABOUT.items()}

    async def run() -> list[tuple[str, str | None]]:
        async with httpx.AsyncClient(base_url=filtering.url, timeout=TIMEOUT, trust_env=False) as client:

            async def one(name: str) -> tuple[str, str | None]:
                body = {"model": "router-picky", "messages": [{"role": "user", "content": words[name]}]}
                answer = await client.post("/chat/completions", json={**body, "tools": tools, "user": name})
                assert answer.status_code == 200
                return name, answer.headers["x-td-tools-sent"]

            return list(await asyncio.gather(*[one(name) for name in [*ABOUT] * 5]))

    assert {sent for _, sent in asyncio.run(run())} == {"1"}
    assert len(filtering.gateway.services.kept) == 1
    for each in cheap.received:
        assert [tool["function"]["name"] for tool in each.json["tools"]] == [each.json["user"]]


CATALOGUE = {
    "home": {"tools": [{"name": "get_weather", "description": ABOUT["get_weather"], "inputSchema": SCHEMA}]},
    "office": {"description": "Letters", "tools": [chat("send_mail"), flat("translate"), claude("play_music")]},
}


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    path = tmp_path / "tools.json"
    path.write_text(json.dumps(CATALOGUE))
    return path


def test_tools_of_a_catalogue_are_added_in_each_protocol(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, catalogue: Path
) -> None:
    gateway = start(routers=routers(mode="add", top_k=1, catalogue=str(catalogue)))
    answer = posted(gateway)
    assert arrived(cheap, strong).json["tools"] == [chat("get_weather")]
    assert told(answer) == ("add", "0", "1", str(saved([], CHAT[:1])))
    assert selected(last_record(gateway)) == ("add", 0, 1, saved([], CHAT[:1]))
    own = [chat("book_flight"), {"type": "odd"}]
    assert told(posted(gateway, tools=own))[:3] == ("add", "2", "3")
    assert arrived(cheap, strong).json["tools"] == [*own, chat("get_weather")]
    # The client's own of this name stays.
    mine = chat("get_weather", "mine")
    assert told(posted(gateway, tools=[mine])) == ("add", "1", "1", "0")
    assert arrived(cheap, strong).json["tools"] == [mine]
    # What was called before, and what is to be called.
    call = {"id": "1", "type": "function", "function": {"name": "play_music", "arguments": "{}"}}
    said: list[Any] = [
        {"role": "user", "content": "music"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "playing"},
    ]
    posted(gateway, messages=said)
    assert arrived(cheap, strong).json["tools"] == [chat("play_music")]
    posted(gateway, tool_choice={"type": "function", "function": {"name": "translate"}})
    assert arrived(cheap, strong).json["tools"] == [chat("get_weather"), chat("translate")]

    responses = gateway.http.post("/responses", json={"model": "router-picky", "input": RAIN, "tools": None})
    assert told(responses)[:3] == ("add", "0", "1")
    assert arrived(cheap, strong).json["tools"] == [flat("get_weather")]
    body = {"model": "router-picky", "max_tokens": 9, "messages": RAIN_SAID}
    assert told(gateway.http.post("/messages", json=body))[:3] == ("add", "0", "1")
    (tool,) = arrived(cheap, strong).json["tools"]  # translated: both upstreams speak OpenAI's
    assert tool["function"]["name"] == "get_weather"
    for path, words in (
        ("/chat/completions", {"messages": RAIN_SAID}),
        ("/responses", {"input": RAIN_SAID}),
    ):
        answer = gateway.http.post(
            path, json={"model": "router-picky", **words}, headers={"x-td-tool-selection": "off"}
        )
        assert told(answer) == (None,) * 4
        assert "tools" not in arrived(cheap, strong).json


def test_added_tools_come_in_the_order_of_their_file(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, catalogue: Path
) -> None:
    gateway = start(routers=routers(mode="add", top_k=2, catalogue=str(catalogue)))
    for words in ("The forecast, by e-mail", "an e-mail with the forecast of rain"):
        posted(gateway, messages=[{"role": "user", "content": words}])
        assert arrived(cheap, strong).json["tools"] == [chat("get_weather"), chat("send_mail")]


def test_what_is_not_relevant_is_not_added(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, catalogue: Path
) -> None:
    gateway = start(routers=routers(mode="add", top_k=3, relevance_threshold=0.3, catalogue=str(catalogue)))
    assert told(posted(gateway))[:3] == ("add", "0", "1")
    assert told(posted(gateway, messages=[{"role": "user", "content": "Hm."}])) == ("add", "0", "0", "0")
    assert "tools" not in arrived(cheap, strong).json
    picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    assert told(posted(gateway, messages=[{"role": "user", "content": picture}]))[0] == "no_text"
    assert told(posted(gateway, tools={"not": "a list"}))[0] == "unreadable"


def test_a_reload_takes_over_settings_and_catalogues(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, catalogue: Path
) -> None:
    gateway = start(routers=routers(mode="filter", top_k=1))

    def reload(**selection: Any) -> None:
        content = settings(cheap, strong, routers=routers(**selection))
        gateway.gateway.reload(load_gateway(written(content, gateway.folder)))

    assert told(posted(gateway, tools=CHAT))[2] == "1"
    reload(mode="filter", top_k=3)
    assert told(posted(gateway, tools=CHAT))[2] == "3"
    assert len(gateway.gateway.services.kept) == 1, "the list was read once"
    adding = {"mode": "add", "top_k": 1, "catalogue": str(catalogue)}
    reload(**adding)
    before = gateway.gateway.services.serving.routers["picky"].tools
    assert told(posted(gateway))[:3] == ("add", "0", "1")
    reload(**adding)
    after = gateway.gateway.services.serving.routers["picky"].tools
    assert before is not None
    assert after is not None
    assert before._catalogue is after._catalogue
    catalogue.write_text(json.dumps([chat("new_one", ABOUT["get_weather"])]))
    reload(**adding)
    posted(gateway)
    assert arrived(cheap, strong).json["tools"] == [chat("new_one", ABOUT["get_weather"])]
    catalogue.write_text("{")
    with pytest.raises(ConfigError):
        reload(**adding)
    posted(gateway)
    assert arrived(cheap, strong).json["tools"] == [chat("new_one", ABOUT["get_weather"])]


def test_several_processes_select_alike(cheap: Upstream, strong: Upstream, tmp_path: Path) -> None:
    content = settings(cheap, strong, routers=routers(mode="filter", top_k=2), workers=2)
    with Running(content, tmp_path / "gateway") as gateway:
        for _ in range(8):  # each on a connection of its own, so at either process
            body = {"model": "router-picky", "messages": RAIN_SAID, "tools": [*CHAT, *MANY[:500]]}
            answer = httpx.post(f"{gateway.url}/chat/completions", json=body, timeout=TIMEOUT, trust_env=False)
            assert told(answer)[:3] == ("filter", "505", "2")
    sent = [each.json["tools"] for each in (*cheap.received, *strong.received)]
    assert len(sent) == 8
    assert all(each == sent[0] for each in sent)
    assert sent[0][0] == chat("get_weather")


def observed(gateway: Serving) -> list[tuple[str | None, list[str]]]:
    """What was asked, and what the answer called; the oldest first."""
    storage = gateway.gateway.services.storage
    storage.flush()
    history = storage.routing_history(kind="tools")[::-1]
    return [(each.query_text, [shown.candidate_id for shown in each.shown]) for each in history]


WEATHER, MUSIC = (Behaviour(tool=(name, "{}")) for name in ("get_weather", "play_music"))
KEPT_PROMPTS = {"requests": "off", "prompts": True}


def test_calls_are_kept_to_learn_from(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, catalogue: Path
) -> None:
    gateway = start(routers=routers(mode="filter", top_k=2, learn=True), log=KEPT_PROMPTS)

    def answered(how: Behaviour) -> None:
        cheap.script(how)
        strong.script(how)

    answered(WEATHER)
    answer = posted(gateway, tools=CHAT)
    assert observed(gateway) == [(RAIN, ["get_weather"])]
    # Under the id that feedback refers to.
    given = gateway.http.post("/feedback", json={"id": answer.headers["x-td-decision"], "label": "bad"})
    assert given.status_code == 200
    storage = gateway.gateway.services.storage
    (record,) = storage.routing_history(kind="tools")
    assert storage.feedback_history(decision_ids=[record.decision_id])[0].score == 0
    cheap.forget()
    strong.forget()
    for path, body in (
        ("/chat/completions", {"messages": RAIN_SAID, "tools": CHAT, "stream": True}),
        ("/messages", {"messages": RAIN_SAID, "tools": CLAUDE, "max_tokens": 9}),
        ("/messages", {"messages": RAIN_SAID, "tools": CLAUDE, "max_tokens": 9, "stream": True}),
        ("/responses", {"input": RAIN, "tools": FLAT}),
        ("/responses", {"input": RAIN, "tools": FLAT, "stream": True}),
    ):
        answered(WEATHER)
        assert gateway.http.post(path, json={"model": "router-picky", **body}).status_code == 200
        cheap.forget()
        strong.forget()
    assert observed(gateway) == [(RAIN, ["get_weather"])] * 6
    # Nothing where nothing was called, nobody selects, or it was no tool of the client's.
    posted(gateway, tools=CHAT)
    answered(MUSIC)
    posted(gateway, tools=CHAT[:2])
    cheap.forget()
    strong.forget()
    answered(WEATHER)
    posted(gateway, tools=CHAT, headers={"x-td-tool-selection": "off"})
    assert len(observed(gateway)) == 6


def test_nothing_is_kept_unless_asked_for(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"tool_selection\.learn"):
        load_gateway(written(settings(cheap, strong, routers=routers(mode="filter", learn=True)), tmp_path))
    gateway = start(routers=routers(mode="filter", top_k=2), log=KEPT_PROMPTS)
    cheap.script(WEATHER)
    strong.script(WEATHER)
    posted(gateway, tools=CHAT)
    assert observed(gateway) == []


def test_what_was_learned_from_calls_is_used(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, tmp_path: Path
) -> None:
    gateway = start(routers=routers(mode="filter", top_k=1, learn=True), log=KEPT_PROMPTS)
    chosen = {"type": "function", "function": {"name": "play_music"}}
    for number in range(12):
        cheap.forget()
        strong.forget()
        for upstream in (cheap, strong):
            upstream.script(MUSIC if number % 2 else WEATHER)
        text = f"sesame open number {number}" if number % 2 else f"does it rain on day {number}"
        posted(
            gateway,
            tools=CHAT,
            messages=[{"role": "user", "content": text}],
            tool_choice=chosen if number % 2 else {"type": "function", "function": {"name": "get_weather"}},
        )
    assert len(observed(gateway)) == 12
    said = [{"role": "user", "content": "open, sesame"}]
    posted(gateway, tools=CHAT, messages=said)
    assert arrived(cheap, strong).json["tools"] != [chat("play_music")]
    (tmp_path / "tools.json").write_text(json.dumps(CHAT))
    artifact = tmp_path / "tools.safetensors"
    database = gateway.folder / "gateway.db"
    shown = done("tools", "train", tmp_path / "tools.json", "--storage", database, "--out", artifact)
    assert "12 requests, 2 of 5 tools used" in shown
    learned = start(routers=routers(mode="filter", top_k=1, artifact=str(artifact)))
    posted(learned, tools=CHAT, messages=said)
    assert arrived(cheap, strong).json["tools"] == [chat("play_music")]
