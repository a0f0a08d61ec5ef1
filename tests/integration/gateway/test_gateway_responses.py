"""``/v1/responses`` at upstreams that have none: the openai SDK, its agents, and requests as Codex writes them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from agents import Agent, OpenAIResponsesModel, RunConfig, Runner, function_tool, set_tracing_disabled
from langchain_openai import ChatOpenAI
from pydantic import BaseModel
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import LARGE, SMALL, events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.gateway_upstream import Received, Upstream
    from tests.integration.gateway.serving import Serving

ANSWER = "Hello there, my friend."
MODELS = ("small", "large")
CALL = Behaviour(tool=("weather", '{"city": "Oslo"}'))
TOOLS: list[Any] = [
    {
        "type": "function",
        "name": "weather",
        "description": "The weather in a city.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    }
]
NOT_FOUND: list[dict[str, Any]] = [
    {"body": b"404 page not found", "content_type": "text/plain"},
    {"body": b'{"detail":"Not Found"}'},
    {"error": {"message": "Invalid URL (POST /v1/responses)", "type": "invalid_request_error"}},
    {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}},
    {"body": b"", "status": 405},
    {"body": b"<html>no</html>", "content_type": "text/html", "status": 501},
]


class Point(BaseModel):
    x: int
    y: int


def chat_only(answer: dict[str, Any]) -> Callable[[Received], Behaviour]:
    """A server without responses, and with this answer to those who ask for one."""

    def behaviour(received: Received) -> Behaviour:
        lacks = received.path.partition("?")[0].endswith("/responses")
        return Behaviour(**{"status": 404, **answer}) if lacks else Behaviour()

    return behaviour


def upstreams(cheap: Upstream, strong: Upstream, **of_cheap: Any) -> dict[str, Any]:
    return {
        "upstreams": {
            "cheap": {"base_url": cheap.url, "api_key": "sk-of-cheap", **of_cheap},
            "strong": {"kind": "anthropic", "base_url": strong.url, "api_key": "sk-of-strong"},
        },
        "models": {
            "small": {**SMALL, "deployments": [{"upstream": "cheap"}]},
            "large": {**LARGE, "deployments": [{"upstream": "strong"}]},
        },
        "breaker": {"threshold": 1},
    }


@pytest.fixture
def serving(start: Callable[..., Serving], cheap: Upstream, strong: Upstream) -> Serving:
    """``small`` is at a server of chat completions, ``large`` at Anthropic's."""
    return start(**upstreams(cheap, strong, responses="chat"))


@pytest.fixture
def client(serving: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=serving.url, api_key="sk-any", max_retries=0) as made:
        yield made


def upstream_of(model: str, cheap: Upstream, strong: Upstream) -> Upstream:
    return cheap if model == "small" else strong


@pytest.mark.parametrize("model", MODELS)
def test_an_answer(client: openai.OpenAI, cheap: Upstream, strong: Upstream, model: str) -> None:
    upstream = upstream_of(model, cheap, strong)
    upstream.script(Behaviour(cached_tokens=20))
    answer = client.responses.create(model=model, instructions="Be kind.", input="Hi", max_output_tokens=64)
    assert (answer.output_text, answer.status, answer.store if hasattr(answer, "store") else False) == (
        ANSWER,
        "completed",
        False,
    )
    assert answer.id.startswith("resp_")
    assert [item.type for item in answer.output] == ["message"]
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (30, 5, 35)
    assert answer.usage.input_tokens_details.cached_tokens == 20
    assert answer.usage.output_tokens_details.reasoning_tokens == 0
    received = upstream.arrived()
    if model == "small":
        assert received.path == "/v1/chat/completions"
        assert received.json == {
            "model": "small",
            "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
            "max_tokens": 64,
        }
    else:
        assert received.path == "/v1/messages"
        assert (received.json["system"], received.json["max_tokens"]) == ("Be kind.", 64)


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("model", MODELS)
def test_the_record_has_the_id_the_client_sees(serving: Serving, model: str, streamed: bool) -> None:
    with openai.OpenAI(base_url=serving.url, api_key="sk-any", max_retries=0) as client:
        if streamed:
            with client.responses.stream(model=model, input="Hi") as stream:
                id = stream.get_final_response().id
        else:
            id = client.responses.create(model=model, input="Hi").id
    record = serving.http.get(f"/decisions/{id}").json()
    assert (record["response_id"], record["input_tokens"], record["output_tokens"]) == (id, 30, 5)
    assert (record["status"], record["error"], record["endpoint"]) == (200, "", "responses")
    assert record["cost"] == pytest.approx(30 * 1e-6 + 5 * 2e-6 if model == "small" else 30 * 1e-5 + 5 * 3e-5)


@pytest.mark.parametrize("model", MODELS)
def test_streamed(client: openai.OpenAI, cheap: Upstream, strong: Upstream, model: str) -> None:
    upstream_of(model, cheap, strong).script(Behaviour(cached_tokens=20))
    with client.responses.stream(model=model, input="Hi") as stream:
        seen = list(stream)
        final = stream.get_final_response()
    deltas = [event.delta for event in seen if event.type == "response.output_text.delta"]
    assert "".join(deltas) == final.output_text == ANSWER
    assert [event.type for event in seen] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * len(deltas),
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert final.usage is not None
    assert (final.usage.input_tokens, final.usage.output_tokens) == (30, 5)
    assert final.usage.input_tokens_details.cached_tokens == 20


@pytest.mark.parametrize("model", MODELS)
def test_parsed(client: openai.OpenAI, cheap: Upstream, strong: Upstream, model: str) -> None:
    upstream = upstream_of(model, cheap, strong)
    said = Behaviour(pieces=('{"x": 3', ', "y": 4}'))
    upstream.script(said, said)
    assert client.responses.parse(model=model, input="Hi", text_format=Point).output_parsed == Point(x=3, y=4)
    with client.responses.stream(model=model, input="Hi", text_format=Point) as stream:
        assert stream.get_final_response().output_parsed == Point(x=3, y=4)
    asked = upstream.received[-1].json
    schema = (
        asked["response_format"]["json_schema"]["schema"]
        if model == "small"
        else asked["output_config"]["format"]["schema"]
    )
    assert schema["required"] == ["x", "y"]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("model", MODELS)
def test_tools(client: openai.OpenAI, cheap: Upstream, strong: Upstream, model: str, streamed: bool) -> None:
    upstream = upstream_of(model, cheap, strong)
    upstream.script(CALL)
    said: list[Any] = [{"role": "user", "content": "How is the weather in Oslo?"}]
    if streamed:
        with client.responses.stream(model=model, input=said, tools=TOOLS) as stream:
            seen = [event.type for event in stream]
            answer: Any = stream.get_final_response()
        assert "response.function_call_arguments.delta" in seen
        assert seen[-3:] == [
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed",
        ]
    else:
        answer = client.responses.create(model=model, input=said, tools=TOOLS)
    (call,) = answer.output
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Oslo"})
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "rain in Oslo"}
    said += [call.to_dict(exclude_none=True), result]
    assert client.responses.create(model=model, input=said, tools=TOOLS).output_text == ANSWER
    messages = upstream.received[-1].json["messages"]
    if model == "small":
        assert messages[-1] == {"role": "tool", "tool_call_id": call.call_id, "content": "rain in Oslo"}
        assert messages[-2]["tool_calls"][0]["id"] == call.call_id
    else:
        assert messages[-1]["content"][0]["tool_use_id"] == messages[-2]["content"][0]["id"] == call.call_id


@pytest.mark.parametrize("answer", NOT_FOUND)
@pytest.mark.parametrize("streamed", [True, False])
def test_a_server_without_responses_is_found_out(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, answer: dict[str, Any], streamed: bool
) -> None:
    serving = start(**upstreams(cheap, strong))
    cheap.usual = chat_only(answer)
    for number in range(2):
        body = {"model": "small", "input": "Hi", "stream": streamed}
        found = serving.http.post("/responses", json=body)
        assert found.status_code == 200
        last = json.loads(events(found.text)[-1])["response"] if streamed else found.json()
        assert last["output"][0]["content"][0]["text"] == ANSWER
        paths = ["/v1/responses", "/v1/chat/completions", "/v1/chat/completions"][: number + 2]
        assert [each.path for each in cheap.received] == paths, "it is asked once"
        record = serving.http.get(f"/decisions/{last['id']}").json()
        assert (record["attempts"], record["fallbacks"], record["error"]) == (2 - number, 0, "")
    assert serving.states()["small"] == "closed"


def test_azure_without_responses(start: Callable[..., Serving], cheap: Upstream, strong: Upstream) -> None:
    base = cheap.url.removesuffix("/v1")
    serving = start(**upstreams(cheap, strong, kind="azure", base_url=base, api_version="2024-10-21"))
    cheap.usual = chat_only({"error": {"code": "404", "message": "Resource not found"}})
    found = serving.http.post("/responses", json={"model": "small", "input": "Hi"})
    assert found.json()["output"][0]["content"][0]["text"] == ANSWER
    assert [each.path.partition("?")[0] for each in cheap.received] == [
        "/openai/responses",
        "/openai/deployments/small/chat/completions",
    ]


@pytest.mark.parametrize(
    "error",
    [
        {"message": "The model `x` does not exist.", "code": "model_not_found"},
        {"message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404},
        {"message": "Previous response with id 'resp_1' not found.", "param": "previous_response_id"},
        {"message": "Item with id 'rs_1' not found. Items are not persisted when store is false."},
        {"message": "The API deployment for this resource does not exist.", "code": "DeploymentNotFound"},
    ],
)
def test_what_else_is_not_found_is_told(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, error: dict[str, Any]
) -> None:
    serving = start(**upstreams(cheap, strong))
    cheap.script(Behaviour(status=404, error=error))
    body = {"model": "small", "input": "Hi"}
    found = serving.http.post("/responses", json=body)
    assert (found.status_code, found.json()["error"]["message"]) == (404, error["message"])
    assert [each.path for each in cheap.received] == ["/v1/responses"]


def test_a_server_that_has_nothing_at_all_is_asked_for_responses_again(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    serving = start(**upstreams(cheap, strong) | {"breaker": {"threshold": 9}})
    gone = Behaviour(status=404, body=b"404 page not found", content_type="text/plain")
    cheap.script(gone, gone)
    body = {"model": "small", "input": "Hi"}
    assert serving.http.post("/responses", json=body).status_code == 404
    assert serving.http.post("/responses", json=body).status_code == 200
    assert [each.path for each in cheap.received] == ["/v1/responses", "/v1/chat/completions", "/v1/responses"]


def test_native_is_never_translated(start: Callable[..., Serving], cheap: Upstream, strong: Upstream) -> None:
    serving = start(**upstreams(cheap, strong, responses="native"))
    cheap.usual = chat_only(NOT_FOUND[0])
    assert serving.http.post("/responses", json={"model": "small", "input": "Hi"}).status_code == 404
    assert [each.path for each in cheap.received] == ["/v1/responses"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("previous_response_id", "resp_1"),
        ("conversation", "conv_1"),
        ("background", True),
        ("prompt", {"id": "pmpt_1"}),
        ("tools", [{"type": "file_search", "vector_store_ids": ["vs_1"]}]),
        ("tools", [{"type": "web_search"}]),
        ("input", [{"type": "item_reference", "id": "msg_1"}]),
        ("input", [{"type": "computer_call_output", "call_id": "c", "output": {}}]),
        ("input", [{"type": "function_call_output", "call_id": "c", "output": "rain"}]),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(
    client: openai.OpenAI, cheap: Upstream, strong: Upstream, model: str, field: str, value: Any
) -> None:
    asking: dict[str, Any] = {"model": model, "input": "Hi", field: value}
    with pytest.raises(openai.BadRequestError) as bad:
        client.responses.create(**asking)
    assert bad.value.param is not None
    assert bad.value.param.startswith(field)
    assert bad.value.code == "unsupported_value"
    assert not cheap.received
    assert not strong.received


@pytest.mark.parametrize("model", MODELS)
def test_errors_are_the_sdk_s_own(client: openai.OpenAI, cheap: Upstream, strong: Upstream, model: str) -> None:
    upstream_of(model, cheap, strong).script(Behaviour(status=429, headers={"retry-after": "3"}))
    with pytest.raises(openai.RateLimitError) as slow:
        client.responses.create(model=model, input="Hi")
    assert slow.value.response.headers["retry-after"] == "3"


@pytest.mark.parametrize("model", MODELS)
def test_a_cut_stream_fails_once(client: openai.OpenAI, cheap: Upstream, strong: Upstream, model: str) -> None:
    upstream_of(model, cheap, strong).script(Behaviour(fault="cut", at="middle", after=3))
    seen = list(client.responses.create(model=model, input="Hi", stream=True))
    (failed,) = [event for event in seen if event.type in ("error", "response.failed")]
    assert failed is seen[-1]
    assert failed.type == "response.failed"
    assert failed.response.error is not None
    assert failed.response.error.message
    text = "".join(event.delta for event in seen if event.type == "response.output_text.delta")
    assert text
    assert failed.response.output_text == text
    assert ANSWER.startswith(text)


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("model", MODELS)
def test_agents(serving: Serving, cheap: Upstream, strong: Upstream, model: str, streamed: bool) -> None:
    set_tracing_disabled(True)
    upstream = upstream_of(model, cheap, strong)
    upstream.script(CALL)
    asked: list[str] = []

    @function_tool
    def weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return f"rain in {city}"

    async def talk() -> Any:
        async with openai.AsyncOpenAI(base_url=serving.url, api_key="x", max_retries=0) as client:
            served = OpenAIResponsesModel(model=model, openai_client=client)
            agent = Agent(name="A", instructions="Be kind.", tools=[weather], model=served)
            config = RunConfig(tracing_disabled=True)
            if not streamed:
                return (await Runner.run(agent, "How is the weather in Oslo?", run_config=config)).final_output
            running = Runner.run_streamed(agent, "How is the weather in Oslo?", run_config=config)
            async for _ in running.stream_events():
                pass
            return running.final_output

    assert asyncio.run(talk()) == ANSWER
    assert asked == ["Oslo"]
    assert b"rain in Oslo" in upstream.received[-1].body


def test_the_upstream_s_own_headers_go_along(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    serving = start(**upstreams(cheap, strong, responses="chat", headers={"openai-beta": "a=1", "x-team": "b"}))
    assert serving.http.post("/responses", json={"model": "small", "input": "Hi"}).status_code == 200
    received = cheap.arrived()
    assert (received.header("openai-beta"), received.header("x-team")) == ("a=1", "b")
    assert received.header("authorization") == "Bearer sk-of-cheap"


@pytest.mark.parametrize("model", MODELS)
def test_langchain(serving: Serving, cheap: Upstream, strong: Upstream, model: str) -> None:
    chain = ChatOpenAI(
        base_url=serving.url, api_key="x", model=model, max_retries=0, use_responses_api=True, stream_usage=True
    )
    answer = chain.invoke("Hi")
    assert answer.text == ANSWER
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["total_tokens"] == 35
    parts = list(chain.stream("Hi"))
    assert "".join(part.text for part in parts) == ANSWER
    assert sum(part.usage_metadata["total_tokens"] for part in parts if part.usage_metadata) == 35
    upstream_of(model, cheap, strong).script(CALL)
    asked = chain.bind_tools([TOOLS[0]]).invoke("How is the weather in Oslo?")
    assert [(call["name"], call["args"]) for call in asked.tool_calls] == [("weather", {"city": "Oslo"})]


def codex(model: str, said: list[dict[str, Any]], *, shell: str) -> dict[str, Any]:
    """A request as Codex writes it; which tools it offers depends on its version."""
    offered: dict[str, Any] = {"type": "local_shell"}
    if shell != "local_shell":
        parameters = {
            "type": "object",
            "properties": {
                "command": {"type": "array", "items": {"type": "string"}},
                "workdir": {"type": "string"},
            },
            "required": ["command"],
            "additionalProperties": False,
        }
        offered = {"type": "function", "name": "shell", "strict": False, "parameters": parameters}
    patch = {
        "type": "custom",
        "name": "apply_patch",
        "description": "Edits files.",
        "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin Patch" LF'},
    }
    return {
        "model": model,
        "instructions": "You are an agent in a terminal.",
        "input": [
            {
                "type": "message",
                "role": "developer",
                "content": [{"type": "input_text", "text": "Commands run in a sandbox."}],
            },
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "<environment>cwd: /work</environment>"}],
            },
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "List the files."}]},
            *said,
        ],
        "tools": [offered, patch, {"type": "web_search", "external_web_access": False}],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "6a0c4a5e-0000-4000-8000-000000000000",
        "text": {"verbosity": "medium"},
    }


@pytest.mark.parametrize("shell", ["shell", "local_shell"])
@pytest.mark.parametrize("model", MODELS)
def test_codex(serving: Serving, cheap: Upstream, strong: Upstream, model: str, shell: str) -> None:
    upstream = upstream_of(model, cheap, strong)
    patch = "*** Begin Patch\n*** End Patch"
    upstream.script(
        Behaviour(tool=(shell, '{"command": ["ls", "-l"]}')),
        Behaviour(tool=("apply_patch", json.dumps({"input": patch}))),
    )
    said: list[dict[str, Any]] = []
    for number in range(3):
        found = serving.http.post("/responses", json=codex(model, said, shell=shell))
        assert found.status_code == 200, found.text
        assert "tools.web_search" in found.headers["x-td-adapted"]
        parsed = [json.loads(each) for each in events(found.text)]
        assert parsed[-1]["type"] == "response.completed"
        (item,) = [each["item"] for each in parsed if each["type"] == "response.output_item.done"]
        assert item["status"] == "completed"
        assert [each["type"] for each in parsed[-1]["response"]["tools"]] == [
            "function" if shell == "shell" else "local_shell",
            "custom",
        ]
        # Codex sends items back without their ids.
        said.append({name: value for name, value in item.items() if name != "id"})
        if number == 0 and shell == "shell":
            assert (item["type"], json.loads(item["arguments"])) == ("function_call", {"command": ["ls", "-l"]})
            said.append({"type": "function_call_output", "call_id": item["call_id"], "output": "a.txt"})
        elif number == 0:
            assert (item["type"], item["action"]["command"]) == ("local_shell_call", ["ls", "-l"])
            said.append({"type": "function_call_output", "call_id": item["call_id"], "output": "a.txt"})
        elif number == 1:
            assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "apply_patch", patch)
            said.append({"type": "custom_tool_call_output", "call_id": item["call_id"], "output": "done"})
        else:
            assert item["content"][0]["text"] == ANSWER
    last = upstream.received[-1].json
    assert b"a.txt" in upstream.received[-1].body
    assert b"done" in upstream.received[-1].body
    if model == "small":
        roles = ["system", "user", "user", "assistant", "tool", "assistant", "tool"]
        assert [each["role"] for each in last["messages"]] == roles
        assert [tool["function"]["name"] for tool in last["tools"]] == [shell, "apply_patch"]
        assert last["parallel_tool_calls"] is False
    else:
        assert [each["role"] for each in last["messages"]] == ["user", "assistant", "user", "assistant", "user"]
        assert [tool["name"] for tool in last["tools"]] == [shell, "apply_patch"]


def test_a_conversation_goes_on_at_a_server_that_has_responses(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    serving = start(**upstreams(cheap, strong))
    reasoning = {"type": "reasoning", "id": "rs_td00", "summary": [], "encrypted_content": "td1.e30="}
    without_id = {"type": "reasoning", "summary": [], "encrypted_content": "td1.e30="}
    own = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    said = [{"role": "user", "content": "rs_td"}, reasoning, without_id, own]
    body = {"model": "small", "input": said}
    found = serving.http.post("/responses", json=body)
    assert (found.status_code, found.headers["x-td-adapted"]) == (200, "input.reasoning")
    assert cheap.arrived().path == "/v1/responses"
    assert cheap.arrived().json["input"] == [said[0], own]
