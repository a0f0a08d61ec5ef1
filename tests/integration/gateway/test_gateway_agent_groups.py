"""Groups of agents chosen from by a policy, ensembles and people as agents, their limits, their records."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from tests.gateway_answers import Behaviour
from tests.integration.gateway.serving import events
from tests.integration.gateway.test_gateway_agents import add, records
from tests.integration.gateway.test_gateway_chains import bearer, key

from tiny_dancer import Agent

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

CHEAPEST = Agent("quick", capabilities=("talk",), quality=0.6, latency_s=0.2, metadata={"model": "small"})
BEST = Agent(
    "deep", capabilities=("talk", "law"), quality=0.95, latency_s=3.0, tags=("eu",), metadata={"model": "large"}
)


@pytest.fixture
def agents(start: Callable[..., Serving]) -> Serving:
    serving = start(access={"keys": "open"})
    add(serving, CHEAPEST, BEST)
    return serving


def served(answer: Any) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-td-agent"])


def test_a_policy_is_a_name(agents: Serving) -> None:
    assert served(agents.chat(model="router-agents-cost")) == "quick"
    assert served(agents.chat(model="router-agents-latency")) == "quick"
    assert served(agents.chat(model="router-agents-quality")) == "deep"
    assert served(agents.chat(model="router-agents", td={"policy": "quality"})) == "deep"
    answer = agents.chat(model="router-agents-quality")
    assert answer.headers["x-td-routed-by"].startswith("agents: quality: quality 0.9500")
    assert answer.headers["x-td-reason"] == "quality"
    record = records(agents)[0]
    assert (record.agent, record.router, record.routed_by) == ("deep", "agents", "agents")
    assert "next is quick" in record.hops
    assert record.cost is not None and record.baseline_cost == pytest.approx(record.cost)
    agents.chat(model="router-agents-cost")
    record = records(agents)[0]
    assert record.cost is not None and record.baseline_cost > record.cost, (
        "saved against the strongest of the group"
    )


def test_constraints_are_the_requests_by_body_and_by_header(agents: Serving) -> None:
    assert served(agents.chat(model="router-agents-cost", td={"capabilities": ["law"]})) == "deep"
    assert served(agents.chat(model="router-agents-cost", headers={"x-td-capabilities": "law"})) == "deep"
    assert served(agents.chat(model="router-agents-cost", td={"min_quality": 0.6, "agent_tags": ["eu"]})) == "deep"
    assert served(agents.chat(model="router-agents-quality", td={"max_latency": 1.0})) == "quick"
    assert served(agents.chat(model="router-agents-quality", td={"exclude": ["agent-deep"]})) == "quick"
    assert served(agents.chat(model="router-agents-quality", provider={"sort": "price"})) == "quick"
    assert served(agents.chat(model="router-agents-quality", provider={"only": ["cheap"]})) == "quick"
    assert served(agents.chat(model="router-agents-quality", provider={"max_price": {"prompt": 2}})) == "quick"
    refused = agents.chat(model="router-agents-cost", td={"capabilities": ["law"], "max_latency": 1.0})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == ("no_suitable_agent", "td")
    assert error["removed"] == {"deep": "max_latency", "quick": "required_capabilities"}
    assert "deep: max_latency; quick: required_capabilities" in error["message"]
    unknown = agents.chat(model="router-agents-cost", td={"capabilities": ["lwa"]})
    assert unknown.status_code == 400 and "is 'law'" in unknown.json()["error"]["message"]
    other = agents.chat(model="router-default", td={"policy": "quality_per_dollar"})
    assert other.status_code == 400 and "groups of agents have" in other.json()["error"]["message"]


def test_the_runner_up_serves_where_the_choice_fails(agents: Serving, strong: Upstream) -> None:
    strong.script(Behaviour(status=503))
    answer = agents.chat(model="router-agents-quality")
    assert served(answer) == "quick"
    assert answer.headers["x-td-fallbacks"] == "1"
    assert records(agents)[0].agent == "quick"


def test_an_excluded_agent_leaves_the_others_of_its_model(agents: Serving) -> None:
    twin = Agent("twin", capabilities=("talk",), quality=0.9, metadata={"model": "large"})
    add(agents, twin)
    excluding: dict[str, Any] = {"td": {"exclude": ["agent-deep"]}}
    assert served(agents.chat(model="router-agents-quality", **excluding)) == "twin"
    assert served(agents.chat(model="agent-twin", **excluding)) == "twin"
    assert agents.chat(model="agent-deep", **excluding).json()["error"]["param"] == "td.exclude"
    assert agents.chat(model="large", **excluding).status_code == 400, "its own name is another name of the agent"
    assert served(agents.chat(model="router-agents-quality", td={"exclude": ["large"]})) == "quick"


def test_headers_name_agents_as_bodies_do(agents: Serving) -> None:
    add(agents, Agent("größe", capabilities=("talk", "é"), quality=0.99, metadata={"model": "large"}))
    assert agents.chat(model="router-agents-quality").headers["x-td-routed-by"].endswith("-> agent-gr\\xf6\\xdfe")
    excluding = {"x-td-exclude": "agent-größe".encode()}
    assert served(agents.chat(model="router-agents-quality", headers=excluding)) == "deep"
    for spelt in ("é".encode(), "é".encode("latin-1")):
        answer = agents.chat(model="router-agents-cost", headers={"x-td-capabilities": spelt})
        assert answer.json()["model"] == "vendor/large-1"


def test_a_key_gets_the_best_of_what_it_may_use(agents: Serving) -> None:
    limited = bearer(key(agents, "limited", models=["small"]))
    assert served(agents.chat(model="router-agents-quality", headers=limited)) == "quick"
    barred = bearer(key(agents, "barred", models=["large"]))
    refused = agents.chat(model="router-agents-quality", headers=barred, td={"exclude": ["agent-deep"]})
    assert refused.json()["error"]["removed"] == {"deep": "excluded", "quick": "not_for_this_key"}
    none, left = records(agents)[:2]
    assert none.removed == {"agent-deep": "excluded", "agent-quick": "not_for_this_key"}
    assert left.removed == {"agent-deep": "not_for_this_key"}
    told = agents.http.get(f"/decisions/{left.id}", headers=limited).json()
    assert told["removed"] == {"agent-deep": "not_for_this_key"}


def test_a_budget_chooses_who_fits_into_it(agents: Serving) -> None:
    poor = bearer(key(agents, "poor", max_budget=0.004))
    answer = agents.chat(model="router-agents-quality", headers=poor, max_tokens=50)
    assert served(answer) == "quick"
    assert "1 of 2 removed" in answer.headers["x-td-routed-by"]


def test_groups_are_configured(start: Callable[..., Serving]) -> None:
    groups = {"lawyers": {"required_capabilities": ["law"], "policy": "cost"}, "fast": {"agents": ["quick"]}}
    serving = start(access={"keys": "open"}, agents={"groups": groups}, chains={"c": {"default": "router-fast"}})
    add(serving, CHEAPEST, BEST)
    assert served(serving.chat(model="router-lawyers")) == "deep"
    assert served(serving.chat(model="router-fast-quality")) == "quick"
    chained = serving.chat(model="chain-c")
    assert served(chained) == "quick"
    assert chained.headers["x-td-routed-by"].startswith("default: router-fast; fast/agents: balanced")
    decided = serving.http.post(
        "/route", json={"model": "router-lawyers", "messages": [{"role": "user", "content": "x"}]}
    )
    assert decided.json()["model"] == "large" and decided.json()["routed_by"] == "agents"


def test_an_agent_at_its_limit_is_not_chosen(start: Callable[..., Serving], strong: Upstream) -> None:
    serving = start(access={"keys": "open"})
    busy = Agent("deep", quality=0.95, max_concurrency=1, metadata={"model": "large"})
    add(serving, CHEAPEST, busy)
    strong.script(Behaviour(free=1))
    body = {"model": "router-agents-quality", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    with serving.http.stream("POST", "/chat/completions", json=body) as first:
        assert first.headers["x-td-agent"] == "deep"
        lines = first.iter_lines()
        next(lines)
        assert served(serving.chat(model="router-agents-quality")) == "quick"
        named = serving.chat(model="agent-deep")
        assert (named.status_code, named.json()["error"]["code"]) == (429, "agent_at_limit")
        full = serving.chat(model="router-agents-quality", td={"exclude": ["agent-quick"]})
        assert (full.status_code, full.json()["error"]["removed"]) == (429, {"deep": "max_concurrency"})
        assert int(full.headers["retry-after"]) >= 1
        strong.received[0].allow(20)
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert served(serving.chat(model="router-agents-quality")) == "deep", "the place is free again"


def test_rates_of_an_agent_are_kept(start: Callable[..., Serving]) -> None:
    serving = start(access={"keys": "open"})
    slow = Agent("deep", quality=0.95, requests_per_minute=1, metadata={"model": "large"})
    tokens = Agent("long", quality=0.9, tokens_per_minute=10, metadata={"model": "large"})
    add(serving, CHEAPEST, slow, tokens)
    assert [served(serving.chat(model="router-agents-quality")) for _ in range(3)] == ["deep", "long", "quick"]


def until(true: Callable[[], Any], patience: float = 20.0) -> Any:
    end = time.monotonic() + patience
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


class TestEnsembles:
    @pytest.fixture
    def panel(self, start: Callable[..., Serving]) -> Serving:
        serving = start(
            access={"keys": "open"},
            agents={"ensembles": {"judged": {"combine": "judge", "judge": "small", "timeout": 20}}},
        )
        third = Agent("third", metadata={"model": "large"})
        panel = Agent("panel", type="ensemble", members=("quick", "deep", "third"))
        judged = Agent("judged", type="ensemble", members=("quick", "deep"))
        add(serving, CHEAPEST, BEST, third, panel, judged)
        return serving

    def test_what_most_say_is_the_answer_in_any_shape(
        self, panel: Serving, cheap: Upstream, strong: Upstream
    ) -> None:
        cheap.script(*[Behaviour(pieces=("No",))] * 4)
        strong.script(*[Behaviour(pieces=("Yes.",)), Behaviour(pieces=("yes",))] * 4)
        answer = panel.chat(model="agent-panel")
        assert answer.json()["choices"][0]["message"]["content"].rstrip(".").lower() == "yes"
        assert answer.headers["x-td-agent"] == "panel"
        assert answer.headers["x-td-routed-by"] == "ensemble: 2 of 3 say so: deep, third"
        rows = records(panel)
        assert sorted((each.endpoint, each.agent, each.model) for each in rows) == [
            ("chat.completions", "panel", ""),
            ("ensemble", "deep", "large"),
            ("ensemble", "quick", "small"),
            ("ensemble", "third", "large"),
        ]
        paid = sum(each.cost for each in rows if each.endpoint == "ensemble")
        assert float(answer.headers["x-td-cost"]) == pytest.approx(paid) and paid > 0
        streamed = panel.chat(model="agent-panel", stream=True)
        assert events(streamed.content)[-1] == "[DONE]"
        with openai.OpenAI(base_url=panel.url, api_key="any", max_retries=0) as client:
            said = client.responses.create(model="agent-panel", input="Is it?").output_text
            assert said.rstrip(".").lower() == "yes"
        with anthropic.Anthropic(base_url=panel.url.removesuffix("/v1"), api_key="any", max_retries=0) as claude:
            asked: Any = {"model": "agent-panel", "max_tokens": 9, "messages": [{"role": "user", "content": "?"}]}
            block = claude.messages.create(**asked).content[0]
            assert block.type == "text" and block.text.rstrip(".").lower() == "yes"

    def test_a_judge_names_the_best(self, panel: Serving, cheap: Upstream, strong: Upstream) -> None:
        cheap.script(Behaviour(pieces=("Paris",)), Behaviour(pieces=('{"best": 2}',)))
        strong.script(Behaviour(pieces=("Lyon",)))
        answer = panel.chat(model="agent-judged")
        assert answer.json()["choices"][0]["message"]["content"] == "Lyon"
        assert answer.headers["x-td-routed-by"] == "ensemble: small judges deep best of 2"
        assert {each.endpoint for each in records(panel)} == {"chat.completions", "ensemble", "judge"}

    def test_a_member_that_fails_is_left_out_and_all_are_an_error(
        self, panel: Serving, cheap: Upstream, strong: Upstream
    ) -> None:
        strong.script(*[Behaviour(status=500)] * 2)
        answer = panel.chat(model="agent-panel")
        assert answer.headers["x-td-routed-by"] == "ensemble: 1 of 1 say so: quick; 2 failed"
        cheap.script(Behaviour(status=500))
        strong.script(*[Behaviour(status=500)] * 2)
        answer = panel.chat(model="agent-panel")
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "ensemble_failed")
        tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
        refused = panel.chat(model="agent-panel", tools=tools)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tools")

    def test_a_key_that_may_not_use_a_member_may_not_use_the_ensemble(self, panel: Serving) -> None:
        limited = bearer(key(panel, "limited", models=["small"]))
        assert panel.http.get("/agents/panel", headers=limited).status_code == 404
        refused = panel.chat(model="agent-panel", headers=limited)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")


def test_a_person_is_an_agent(start: Callable[..., Serving]) -> None:
    people = {"human": {"keep_prompts": True, "wait": 20}, "default": "small"}
    serving = start(
        access={"keys": "open"}, chains={"people": people}, agents={"targets": {"anna": "chain-people"}}
    )
    anna = Agent("anna", type="human", quality=0.98, prior_weight=200, cost_per_call=8.0, latency_s=900)
    add(serving, CHEAPEST, anna)
    operator = bearer(key(serving, "anna", operator=True))

    def answer() -> None:
        found = until(lambda: serving.http.get("/queue", headers=operator).json()["data"])
        serving.http.post(f"/queue/{found[0]['id']}/answer", json={"answer": "Yes, it is."}, headers=operator)

    person = threading.Thread(target=answer)
    person.start()
    said = serving.chat("Is this clause enforceable?", model="router-agents-cost", td={"min_quality": 0.9})
    person.join()
    assert said.json()["choices"][0]["message"]["content"] == "Yes, it is."
    assert served(said) == "anna"
    record = records(serving)[0]
    assert (record.agent, record.routed_by, record.status) == ("anna", "human", 200)
    assert record.hops.startswith("agents: cost: ") and "people/human: answered (" in record.hops
