"""Asking a named model for JSON: by schema, in JSON mode, in words; what is no answer is an error."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_answers import Behaviour
from tests.gateway_upstream import Upstream

from tiny_dancer.errors import ModelError, OptionError
from tiny_dancer.routing.ask import EndpointModel, read_answer, refuses_form, request_fields

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"size": {"enum": ["small", "large"]}},
    "required": ["size"],
    "additionalProperties": False,
}
ASKED = [{"role": "user", "content": "Which size?"}]
NO_SCHEMA = Behaviour(status=400, error={"message": "This response_format type is unavailable now"})


@pytest.fixture(scope="module")
def _server() -> Iterator[Upstream]:
    with Upstream("judge") as server:
        yield server


@pytest.fixture
def server(_server: Upstream) -> Upstream:
    _server.forget()
    return _server


def says(text: str, **more: Any) -> Behaviour:
    return Behaviour(pieces=(text,), **more)


def test_a_model_is_asked_by_the_schema(server: Upstream) -> None:
    server.script(says('{"size": "large"}'))
    model = EndpointModel(server.url, "vendor/judge", api_key="sk-1")
    assert model.ask(ASKED, SCHEMA) == {"size": "large"}
    received = server.received[-1]
    assert received.header("authorization") == "Bearer sk-1"
    sent = received.json
    assert sent["model"] == "vendor/judge"
    assert sent["messages"][1:] == ASKED
    assert json.dumps(SCHEMA) in sent["messages"][0]["content"]
    assert sent["response_format"]["json_schema"] == {"name": "answer", "schema": SCHEMA, "strict": True}


def test_a_server_without_schemas_is_asked_otherwise_and_that_is_remembered(server: Upstream) -> None:
    server.script(NO_SCHEMA, NO_SCHEMA, says('```json\n{"size": "small"}\n```'), says('{"size": "large"}'))
    model = EndpointModel(server.url, "m")
    assert model.ask(ASKED, SCHEMA) == {"size": "small"}
    assert model.ask(ASKED, SCHEMA) == {"size": "large"}
    forms = [each.json.get("response_format", {}).get("type") for each in server.received]
    assert forms == ["json_schema", "json_object", None, None]


def test_what_is_refused_for_another_reason_is_not_asked_again(server: Upstream) -> None:
    server.script(Behaviour(status=400, error={"message": "the conversation is too long"}))
    with pytest.raises(ModelError, match="answered 400"):
        EndpointModel(server.url, "m").ask(ASKED, SCHEMA)
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("behaviour", "what"),
    [
        (says("large"), "no JSON"),
        (says('["large"]'), "no JSON object"),
        (says('{"size": "huge"}'), "answer.size is none of the values"),
        (says('{"size": "small", "size": "large"}'), "no JSON"),
        (says('{"size": NaN}'), "no JSON"),
        (says('It is {"size": "small"}'), "no JSON"),
        (says(""), "empty"),
        (Behaviour(status=500), "answered 500"),
        (Behaviour(body=b"<html>"), "no chat completion"),
        (Behaviour(body=b'{"choices": []}'), "no chat completion"),
        (
            Behaviour(
                body=b'{"choices": [{"message": {"content": "{", "refusal": null}, "finish_reason": "length"}]}'
            ),
            "cut",
        ),
        (Behaviour(body=b'{"choices": [{"message": {"content": null, "refusal": "I cannot"}}]}'), "I cannot"),
    ],
)
def test_what_is_no_answer_is_a_typed_error(server: Upstream, behaviour: Behaviour, what: str) -> None:
    server.script(behaviour)
    with pytest.raises(ModelError) as caught:
        EndpointModel(server.url, "m").ask(ASKED, SCHEMA)
    assert caught.value.field == "m"
    assert what in caught.value.value


def test_a_model_that_says_nothing_is_not_waited_for(server: Upstream) -> None:
    server.script(Behaviour(fault="hang"), Behaviour(fault="hang"))
    model = EndpointModel(server.url, "m", timeout=0.2)
    with pytest.raises(ModelError, match=r"no answer in 0\.2 s"):
        model.ask(ASKED, SCHEMA)
    with pytest.raises(ModelError, match=r"no answer in 0\.2 s"):
        asyncio.run(model(ASKED, SCHEMA))


def test_nobody_there_is_a_typed_error() -> None:
    with pytest.raises(ModelError, match="127"):
        EndpointModel("http://127.0.0.1:9/v1", "m").ask(ASKED, SCHEMA)


def test_it_is_awaited(server: Upstream) -> None:
    server.script(says('{"size": "small"}'))
    assert asyncio.run(EndpointModel(server.url, "m")(ASKED, SCHEMA)) == {"size": "small"}


def test_thinking_before_an_answer_is_no_part_of_it() -> None:
    assert read_answer('<think>{"size": 1}</think>\n{"size": "small"}', SCHEMA, "m") == {"size": "small"}


@pytest.mark.parametrize(
    ("arguments", "field"),
    [(("ftp://a", "m"), "base_url"), (("http://a", ""), "model")],
)
def test_arguments_are_checked(arguments: tuple[str, str], field: str) -> None:
    with pytest.raises(OptionError) as caught:
        EndpointModel(*arguments)
    assert caught.value.field == field
    with pytest.raises(OptionError, match="timeout"):
        EndpointModel("http://a", "m", timeout=0)
    with pytest.raises(OptionError, match=r"schema\.type"):
        EndpointModel("http://a", "m").ask(ASKED, {"type": "wrong"})


def test_strict_is_asked_only_where_the_schema_allows_it() -> None:
    loose = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert request_fields("m", ASKED, loose, "schema")["response_format"]["json_schema"]["strict"] is False


def test_what_refuses_the_form() -> None:
    assert refuses_form(400, "Invalid parameter: 'response_format' of type 'json_schema' is not supported")
    assert refuses_form(501, "structured outputs are not supported")
    assert not refuses_form(429, "json_schema")
    assert not refuses_form(400, "the context is too long")
