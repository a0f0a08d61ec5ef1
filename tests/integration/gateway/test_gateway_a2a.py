"""Agents that speak A2A behind a gateway: asked and read in every protocol, and what goes wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from tests.gateway_answers import Behaviour
from tests.gateway_upstream import Upstream
from tests.integration.gateway.serving import SMALL, events, text_of
from tests.integration.gateway.test_gateway_agents import add, records

from tiny_dancer import Agent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.gateway.serving import Serving

SAID = "Your refund is on its way."
REFUNDS = Agent("refunds", type="api", capabilities=("refund",), quality=0.9, latency_s=1.0)


@pytest.fixture
def agent() -> Iterator[Upstream]:
    with Upstream("agent") as found:
        yield found


@pytest.fixture(params=["0.3", "1.0"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def gateway(start: Callable[..., Serving], cheap: Upstream, agent: Upstream, version: str) -> Serving:
    upstreams = {
        "cheap": {"base_url": cheap.url},
        "refunds": {
            "kind": "a2a",
            "base_url": agent.url.removesuffix("/v1") + "/a2a",
            "api_key": "sk-agent",
            "api_version": version,
        },
    }
    models = {
        "small": {**SMALL, "deployments": [{"upstream": "cheap"}]},
        "refunds": {"cost_per_request": 0.02, "deployments": [{"upstream": "refunds"}]},
    }
    serving = start(access={"keys": "open"}, upstreams=upstreams, models=models, routers={})
    add(serving, REFUNDS)
    return serving


def whole(result: dict[str, Any]) -> Behaviour:
    return Behaviour(body=json.dumps({"jsonrpc": "2.0", "id": "1", "result": result}).encode())


def stream(*results: dict[str, Any]) -> Behaviour:
    said = "".join(f"data: {json.dumps({'jsonrpc': '2.0', 'id': '1', 'result': each})}\n\n" for each in results)
    return Behaviour(body=f": ping\n\n{said}".encode(), content_type="text/event-stream")


def message(version: str, text: str = SAID) -> dict[str, Any]:
    if version == "1.0":
        return {"message": {"messageId": "m1", "role": "ROLE_AGENT", "parts": [{"text": text}]}}
    return {"kind": "message", "messageId": "m1", "role": "agent", "parts": [{"kind": "text", "text": text}]}


def steps(version: str, state: str = "completed") -> list[dict[str, Any]]:
    """A task in a stream: submitted, an artifact in two pieces, and its end."""
    if version == "1.0":
        end = f"TASK_STATE_{state.upper().replace('-', '_')}"
        return [
            {"task": {"id": "t1", "contextId": "c", "status": {"state": "TASK_STATE_SUBMITTED"}}},
            {"artifactUpdate": {"taskId": "t1", "artifact": {"artifactId": "a", "parts": [{"text": SAID[:12]}]}}},
            {
                "artifactUpdate": {
                    "taskId": "t1",
                    "artifact": {"artifactId": "a", "parts": [{"text": SAID[12:]}]},
                    "append": True,
                }
            },
            {"statusUpdate": {"taskId": "t1", "status": {"state": end}}},
        ]
    parts = [[{"kind": "text", "text": each}] for each in (SAID[:12], SAID[12:])]
    return [
        {"kind": "task", "id": "t1", "contextId": "c", "status": {"state": "submitted"}},
        {"kind": "artifact-update", "taskId": "t1", "artifact": {"artifactId": "a", "parts": parts[0]}},
        {
            "kind": "artifact-update",
            "taskId": "t1",
            "artifact": {"artifactId": "a", "parts": parts[1]},
            "append": True,
        },
        {"kind": "status-update", "taskId": "t1", "final": True, "status": {"state": state}},
    ]


def test_an_agent_is_told_what_was_said_and_answers_as_a_model(
    gateway: Serving, agent: Upstream, version: str
) -> None:
    agent.script(whole(message(version)))
    with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0) as client:
        answer = client.chat.completions.create(
            model="agent-refunds",
            messages=[
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Hi"},
                {"role": "user", "content": "I was billed twice"},
            ],
            temperature=0.1,
        )
    assert answer.choices[0].message.content == SAID
    assert answer.choices[0].finish_reason == "stop"
    assert answer.id == "m1"
    (got,) = agent.received
    assert (got.path, got.header("authorization"), got.header("a2a-version")) == (
        "/a2a",
        "Bearer sk-agent",
        version,
    )
    assert got.json["method"] == ("SendMessage" if version == "1.0" else "message/send")
    told = got.json["params"]["message"]
    assert [each["text"] for each in told["parts"]] == [
        "Conversation so far:\nsystem: Be brief.\nuser: Hello\nassistant: Hi\n\nWhat is asked now:\n",
        "I was billed twice",
    ]
    record = records(gateway)[0]
    assert (record.agent, record.model, record.cost) == ("refunds", "refunds", 0.02)


@pytest.mark.parametrize("endpoint", ["chat", "responses", "messages"])
def test_a_task_is_streamed_in_every_protocol(
    gateway: Serving, agent: Upstream, version: str, endpoint: str
) -> None:
    agent.script(stream(*steps(version)))
    if endpoint == "chat":
        answer = gateway.chat(model="agent-refunds", stream=True)
        assert text_of(answer.content) == SAID
        assert events(answer.content)[-1] == "[DONE]"
        assert json.loads(events(answer.content)[0])["id"] == "t1"
    elif endpoint == "responses":
        with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0) as client:
            pieces = [
                event.delta
                for event in client.responses.create(model="agent-refunds", input="refund?", stream=True)
                if event.type == "response.output_text.delta"
            ]
        assert pieces == [SAID[:12], SAID[12:]]
    else:
        with (
            anthropic.Anthropic(base_url=gateway.url.removesuffix("/v1"), api_key="any", max_retries=0) as claude,
            claude.messages.stream(
                model="agent-refunds", max_tokens=100, messages=[{"role": "user", "content": "refund?"}]
            ) as told,
        ):
            assert told.get_final_text() == SAID
    assert agent.received[0].json["method"] == ("SendStreamingMessage" if version == "1.0" else "message/stream")


def test_a_whole_answer_where_a_stream_was_asked_for_and_the_other_way_round(
    gateway: Serving, agent: Upstream, version: str
) -> None:
    agent.script(whole(message(version)), stream(*steps(version)))
    assert text_of(gateway.chat(model="agent-refunds", stream=True).content) == SAID
    assert gateway.chat(model="agent-refunds").json()["choices"][0]["message"]["content"] == SAID


def test_an_agent_that_asks_back_answers_with_its_question(
    gateway: Serving, agent: Upstream, version: str
) -> None:
    parts = [{"text": "Which order?"}] if version == "1.0" else [{"kind": "text", "text": "Which order?"}]
    state = "TASK_STATE_INPUT_REQUIRED" if version == "1.0" else "input-required"
    task = {"id": "t1", "status": {"state": state, "message": {"messageId": "q", "parts": parts}}}
    agent.script(whole({"task": task} if version == "1.0" else {"kind": "task", **task}))
    assert gateway.chat(model="agent-refunds").json()["choices"][0]["message"]["content"] == "Which order?"


@pytest.mark.parametrize(
    ("result", "status", "code"),
    [
        ({"result": {"kind": "task", "id": "t", "status": {"state": "failed"}}}, 502, "agent_task_failed"),
        ({"result": {"kind": "task", "id": "t", "status": {"state": "rejected"}}}, 400, "agent_task_rejected"),
        ({"result": {"kind": "task", "id": "t", "status": {"state": "working"}}}, 502, "bad_upstream_answer"),
        (
            {"result": {"kind": "task", "id": "t", "status": {"state": "auth-required"}}},
            502,
            "upstream_authentication",
        ),
        ({"result": {"kind": "message", "messageId": "m", "parts": []}}, 502, "bad_upstream_answer"),
        ({"error": {"code": -32602, "message": "no such param"}}, 400, "agent_error"),
        ({"error": {"code": -32603, "message": "boom"}}, 502, "agent_error"),
        ({"result": 7}, 502, "bad_upstream_answer"),
        ({"choices": []}, 502, "bad_upstream_answer"),
    ],
)
@pytest.mark.parametrize("version", ["0.3"], indirect=True)
@pytest.mark.parametrize("streamed", [False, True])
def test_what_goes_wrong_is_said_in_the_clients_words(
    gateway: Serving, agent: Upstream, result: dict[str, Any], status: int, code: str, streamed: bool
) -> None:
    agent.script(*[Behaviour(body=json.dumps({"jsonrpc": "2.0", "id": "1", **result}).encode())] * 3)
    answer = gateway.chat(model="agent-refunds", stream=streamed)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    record = records(gateway)[0]
    assert record.agents_failed == (("refunds",) if status == 502 else ())


@pytest.mark.parametrize("version", ["0.3"], indirect=True)
def test_an_answer_that_is_no_json_and_a_stream_that_is_cut(gateway: Serving, agent: Upstream) -> None:
    agent.script(Behaviour(body=b"<html>busy</html>"), stream(*steps("0.3")[:2]))
    answer = gateway.chat(model="agent-refunds")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "bad_upstream_answer")
    cut = gateway.chat(model="agent-refunds", stream=True)
    assert (cut.status_code, SAID[:12] in cut.text) == (200, True)
    assert json.loads(events(cut.content)[-1])["error"]["code"] == "stream_cut"
    assert records(gateway)[0].agents_failed == ("refunds",)


@pytest.mark.parametrize("version", ["0.3"], indirect=True)
def test_what_an_agent_cannot_be_told_is_refused_by_name(gateway: Serving, agent: Upstream) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    for name, value in (("tools", tools), ("response_format", schema), ("n", 2)):
        refused = gateway.chat(model="agent-refunds", **{name: value})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, name), refused.text
    agent.script(whole(message("0.3")))
    told = gateway.chat(model="agent-refunds", temperature=0.5, max_tokens=9)
    assert set(told.headers["x-td-adapted"].split(",")) == {"temperature", "max_tokens"}
    image = [
        {"type": "text", "text": "This?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    ]
    agent.script(whole(message("0.3")))
    assert gateway.chat(image, model="agent-refunds").status_code == 200  # type: ignore[arg-type]
    assert agent.received[-1].json["params"]["message"]["parts"][1] == {
        "kind": "file",
        "file": {"bytes": "AA==", "mimeType": "image/png"},
    }
    assert gateway.http.post("/embeddings", json={"model": "agent-refunds", "input": "x"}).status_code == 400
