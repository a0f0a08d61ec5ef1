"""Routes that call functions: which one, with which arguments, filled in by a model that is named."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_answers import Behaviour
from tests.gateway_upstream import Upstream

from tiny_dancer import EndpointModel, Route, SemanticRoutes
from tiny_dancer.errors import ModelError, OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
ALARM = {"name": "alarm", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}
FORECAST = Route("forecast", ["will it rain tomorrow", "weather in Oslo"], function_schemas=(WEATHER,))
CHAT = Route("chat", ["hello there", "how are you"])


class Told:
    """Says what it was told to, in turn."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Any, Mapping[str, Any]]] = []

    async def __call__(self, messages: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((messages, schema))
        return self.answers.pop(0)


def test_the_chosen_routes_function_gets_its_arguments() -> None:
    routes = SemanticRoutes([FORECAST, CHAT])
    model = Told({"city": "Oslo"}, {"city": "Oslo", "days": 2})
    choice = routes("what is the weather in Oslo", model=model)
    assert choice.name == "forecast"
    assert choice.function_call == ("weather", {"city": "Oslo"})
    again = asyncio.run(routes.acall("what is the weather in Oslo", model=model))
    assert again.function_call is not None
    assert again.function_call.arguments == {"city": "Oslo", "days": 2}
    messages, schema = model.asked[0]
    assert messages[-1] == {"role": "user", "content": "what is the weather in Oslo"}
    assert schema == WEATHER["function"]["parameters"]  # type: ignore[index]


def test_nobody_is_asked_where_there_is_nothing_to_fill_in() -> None:
    routes = SemanticRoutes([FORECAST, CHAT])
    model = Told()
    assert routes("hello, how are you", model=model).function_call is None
    assert routes("weather in Oslo").function_call is None
    assert routes("weather in Oslo", model=model, allowed=["chat"]).function_call is None
    assert not model.asked


def test_of_several_functions_the_model_says_which() -> None:
    both = Route("forecast", FORECAST.utterances, function_schemas=(WEATHER, ALARM))
    model = Told({"function": "alarm"}, {"at": "7:00"})
    choice = SemanticRoutes([both, CHAT])("will it rain tomorrow", model=model)
    assert choice.function_call == ("alarm", {"at": "7:00"})
    assert model.asked[0][1]["properties"]["function"]["enum"] == ["weather", "alarm"]


def test_arguments_that_do_not_fit_are_a_typed_error() -> None:
    routes = SemanticRoutes([FORECAST, CHAT])
    with Upstream("model") as server:
        server.script(
            Behaviour(pieces=('{"city": "Oslo", "days": 0}',)),
            Behaviour(pieces=('{"city": "Oslo", "days": 3}',)),
        )
        model = EndpointModel(server.url, "m")
        with pytest.raises(ModelError, match=r"days is below 1"):
            routes("weather in Oslo", model=model)
        found = asyncio.run(routes.acall("weather in Oslo", model=model)).function_call
        assert found == ("weather", {"city": "Oslo", "days": 3})


def test_within_a_loop_it_is_awaited() -> None:
    async def within() -> None:
        SemanticRoutes([FORECAST, CHAT])("weather in Oslo", model=Told({"city": "Oslo"}))

    with pytest.raises(OptionError, match="acall"):
        asyncio.run(within())


def test_functions_are_kept_in_the_artifact(tmp_path: Path) -> None:
    path = tmp_path / "routes.safetensors"
    owned = Route("forecast", FORECAST.utterances, metadata={"team": "sky"}, function_schemas=(WEATHER,))
    routes = SemanticRoutes([owned, CHAT])
    routes.save(path)
    loaded = SemanticRoutes.from_file(path)
    forecast = loaded.routes[0]
    assert forecast.function_schemas == (WEATHER,)
    assert forecast.metadata == {"team": "sky"}
    assert loaded("weather in Oslo", model=Told({"city": "Oslo"})).function_call == ("weather", {"city": "Oslo"})


def test_metadata_that_only_looks_like_functions_stays_metadata(tmp_path: Path) -> None:
    path = tmp_path / "routes.safetensors"
    before = {"function_schemas": [{"signature": "(city: str) -> str"}]}
    SemanticRoutes([Route("a", ["one"], metadata=before), CHAT]).save(path)
    loaded = SemanticRoutes.from_file(path).routes[0]
    assert (loaded.metadata, loaded.function_schemas) == (before, ())


@pytest.mark.parametrize(
    ("schemas", "field"),
    [
        (WEATHER, "routes[a].function_schemas"),
        ([3], "routes[a].function_schemas[0]"),
        ([{"parameters": {"type": "object"}}], "routes[a].function_schemas[0].name"),
        ([{"name": "f"}], "routes[a].function_schemas[0].parameters"),
        ([{"name": "f", "parameters": {"type": "string"}}], "routes[a].function_schemas[0].parameters"),
        (
            [{"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "str"}}}}],
            "routes[a].function_schemas[0].parameters.properties.a.type",
        ),
        ([ALARM, ALARM], "routes[a].function_schemas[1].name"),
    ],
)
def test_what_is_no_function_is_refused_by_its_place(schemas: Any, field: str) -> None:
    with pytest.raises(OptionError) as caught:
        Route("a", ["x"], function_schemas=schemas)
    assert caught.value.field == field


def test_metadata_beside_functions_is_an_object() -> None:
    with pytest.raises(OptionError, match="metadata"):
        Route("a", ["x"], metadata="b", function_schemas=(ALARM,))


@pytest.mark.parametrize(
    "answer", [{}, None, "{}", [], {"city": 5}, {"city": "Oslo", "extra": 1}, {"city": "a", "days": 0}]
)
def test_what_any_model_says_is_held_to_the_schema(answer: Any) -> None:
    routes = SemanticRoutes([FORECAST, CHAT])
    with pytest.raises(ModelError, match="Told"):
        routes("what is the weather in Oslo", model=Told(answer))
    both = SemanticRoutes([Route("forecast", FORECAST.utterances, function_schemas=(WEATHER, ALARM)), CHAT])
    for chosen in (answer, {"function": "none of them"}):
        with pytest.raises(ModelError, match="Told"):
            both("what is the weather in Oslo", model=Told(chosen))


def test_what_is_no_model_is_refused() -> None:
    routes = SemanticRoutes([FORECAST, CHAT])
    wrong: list[Any] = ["gpt-5-mini", lambda messages, schema: {"city": "Oslo"}]
    for model in wrong:
        with pytest.raises(OptionError, match="model"):
            routes("what is the weather in Oslo", model=model)
