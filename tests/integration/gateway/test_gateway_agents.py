"""Agents of the registry behind a gateway on real sockets: listed, named, led to, and followed as they change."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from tests.commands import done
from tests.integration.gateway.test_gateway_chains import bearer, key

from tiny_dancer import Agent, AgentRegistry

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

WRITER = Agent(
    "writer",
    description="Writes summaries",
    capabilities=("summarise",),
    examples=("Sum up this contract",),
    metadata={"model": "large", "url": "http://169.254.169.254/"},
)
CLERK = Agent("clerk", description="Tells opening hours", capabilities=("hours",), metadata={"model": "small"})


def add(serving: Serving, *agents: Agent, replace: bool = True) -> None:
    """Puts agents into the gateway's registry and has it read them."""
    AgentRegistry(storage=serving.gateway.services.storage).add(*agents, replace=replace)
    follow(serving)


def follow(serving: Serving) -> None:
    """Has the gateway read its registry now."""
    asyncio.run_coroutine_threadsafe(serving.gateway._follow_agents(), serving.gateway.loop).result(20)


def records(serving: Serving) -> list[Any]:
    services = serving.gateway.services
    assert services.accounting.flush(20)
    return list(services.storage.request_history(limit=50))


@pytest.fixture
def agents(start: Callable[..., Serving]) -> Serving:
    serving = start(access={"keys": "open"})
    add(serving, WRITER, CLERK)
    return serving


def test_agents_are_listed_as_openais_library_reads_lists(agents: Serving) -> None:
    with openai.OpenAI(base_url=agents.url, api_key="any", max_retries=0) as client:
        named = [each.id for each in client.models.list()]
        assert {"agent-writer", "agent-clerk", "router-agents", "router-agents-quality_per_dollar"} <= set(named)
        assert client.models.retrieve("agent-writer").id == "agent-writer"
        page: Any = client.get("/agents", cast_to=httpx.Response)
    found = page.json()
    assert found["object"] == "list"
    assert [each["id"] for each in found["data"]] == ["agent-clerk", "agent-writer"]
    assert "169.254" not in page.text, "what a card says of addresses is shown to nobody"
    writer = found["data"][1]
    assert (writer["object"], writer["owned_by"], writer["capabilities"]) == ("agent", "strong", ["summarise"])
    assert writer["input_cost_per_1k"] == pytest.approx(0.01), "its model's price, where it says none"


def test_agents_are_found_by_capability_and_by_what_a_request_is_about(agents: Serving) -> None:
    assert [each["name"] for each in agents.http.get("/agents?capability=hours").json()["data"]] == ["clerk"]
    assert agents.http.get("/agents?capability=hours&capability=summarise").json()["data"] == []
    asked = agents.http.get("/agents?capabilty=hours")
    assert (asked.status_code, asked.json()["error"]["param"]) == (400, "capabilty")
    assert "did you mean capability" in asked.json()["error"]["message"]
    searched = agents.http.post("/agents/search", json={"query": "please sum up the contract", "limit": 1}).json()
    assert [each["name"] for each in searched["data"]] == ["writer"]
    messages = [{"role": "user", "content": "when are you open?"}]
    searched = agents.http.post("/agents/search", json={"query": messages}).json()
    assert searched["data"][0]["name"] == "clerk" and searched["data"][0]["relevance"] > 0
    assert agents.http.get("/agents/agent-writer").json() == agents.http.get("/agents/writer").json()
    missing = agents.http.get("/agents/writr")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "agent_not_found")
    assert "did you mean writer" in missing.json()["error"]["message"]


def test_a_client_names_an_agent_as_it_names_a_model(agents: Serving, strong: Upstream) -> None:
    answer = agents.chat(model="agent-writer")
    assert answer.status_code == 200
    assert (answer.headers["x-td-agent"], answer.headers["x-td-model"]) == ("writer", "large")
    assert strong.received[0].json["model"] == "vendor/large-1", "an upstream is never told of agents"
    assert records(agents)[0].asked == "agent-writer"


def test_chains_and_routes_lead_to_agents(
    start: Callable[..., Serving], strong: Upstream, cheap: Upstream
) -> None:
    chains = {
        "triage": {"override": [{"target": "agent-writer", "keywords": ["contract"]}], "default": "agent-clerk"},
        "lost": {"override": [{"target": "agent-nobody", "keywords": ["contract"]}], "default": "small"},
    }
    serving = start(access={"keys": "open"}, chains=chains)
    add(serving, WRITER, CLERK)
    assert serving.chat("sum up this contract", model="chain-triage").headers["x-td-agent"] == "writer"
    assert serving.chat("hello", model="chain-triage").headers["x-td-agent"] == "clerk"
    passed = serving.chat("sum up this contract", model="chain-lost")
    assert passed.headers["x-td-model"] == "small"
    assert "agent-nobody" in passed.headers["x-td-routed-by"], "an agent that is not there is passed over, by name"


def test_a_registry_is_followed_while_the_gateway_runs(agents: Serving) -> None:
    database = str(agents.folder / "gateway.db")
    done("agents", "add", "small", "--capability", "talk", "--database", database)
    until(lambda: agents.chat(model="agent-small").status_code == 200)
    done("agents", "deactivate", "small", "--database", database)
    until(lambda: agents.chat(model="agent-small").status_code == 404)
    assert "deactivated" in agents.chat(model="agent-small").json()["error"]["message"]


def until(true: Callable[[], bool], patience: float = 20.0) -> None:
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_key_sees_and_reaches_only_what_it_may(agents: Serving) -> None:
    limited = bearer(key(agents, "limited", models=["small"]))
    listed = agents.http.get("/agents", headers=limited).json()["data"]
    assert [each["name"] for each in listed] == ["clerk"]
    assert agents.http.get("/agents/writer", headers=limited).status_code == 404
    searched = agents.http.post("/agents/search", json={"query": "sum up the contract"}, headers=limited).json()
    assert [each["name"] for each in searched["data"]] == ["clerk"]
    models = [each["id"] for each in agents.http.get("/models", headers=limited).json()["data"]]
    assert "agent-clerk" in models and "agent-writer" not in models
    refused = agents.chat(model="agent-writer", headers=limited)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
    assert agents.http.get("/agents", headers={"authorization": "Bearer td-nobody"}).status_code == 401


def test_a_reload_keeps_agents_and_requests_under_way_keep_theirs(agents: Serving, strong: Upstream) -> None:
    from tests.gateway_answers import Behaviour

    strong.script(Behaviour(free=1))
    with agents.http.stream(
        "POST",
        "/chat/completions",
        json={"model": "agent-writer", "messages": [{"role": "user", "content": "hi"}], "stream": True},
    ) as answer:
        assert answer.headers["x-td-agent"] == "writer"
        lines = answer.iter_lines()
        next(lines)
        AgentRegistry(storage=agents.gateway.services.storage).deactivate("writer")
        follow(agents)
        agents.gateway.loop.call_soon_threadsafe(agents.gateway.reload, agents.config)
        strong.received[0].allow(20)
        rest = [line for line in lines if line.startswith("data: ")]
    assert rest[-1] == "data: [DONE]"
    assert agents.chat(model="agent-writer").status_code == 404
    assert agents.chat(model="agent-clerk").status_code == 200
    assert json.dumps(agents.http.get("/agents").json()).count('"agent-') == 1
