"""What users of other gateways and of agents' frameworks report: circles, slow agents, hostile cards."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_answers import Behaviour
from tests.integration.gateway.serving import SMALL, Serving, events
from tests.integration.gateway.test_gateway_agents import add, follow, records
from tests.integration.gateway.test_gateway_chains import bearer, key

from tiny_dancer import Agent, AgentRegistry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.gateway_upstream import Upstream

BEST = Agent("deep", quality=0.95, latency_s=1.0, metadata={"model": "large"})
OTHER = Agent("quick", quality=0.6, latency_s=0.2, metadata={"model": "small"})


def registry(serving: Serving) -> AgentRegistry:
    return AgentRegistry(storage=serving.gateway.services.storage)


def seen(serving: Serving, name: str) -> Any:
    assert serving.gateway.services.accounting.flush(20)
    return registry(serving).statistics(name)


def test_an_agent_whose_server_is_the_gateway_itself_does_not_call_for_ever(tmp_path: Path) -> None:
    """A circle through HTTP: agent -> upstream -> this gateway -> the same agent …"""
    content: dict[str, Any] = {
        "storage": "gateway.db",
        "upstreams": {"self": {"base_url": "http://127.0.0.1:1/v1"}},
        "models": {"echo": {"deployments": [{"upstream": "self", "model": "agent-echo"}], **SMALL}},
        "retries": {"attempts": 1},
        "log": {"requests": "off"},
    }
    with Serving(content, tmp_path) as probe:
        port = probe.port
    content["upstreams"]["self"]["base_url"] = f"http://127.0.0.1:{port}/v1"
    serving = Serving(content, tmp_path)
    serving._socket.close()
    import socket

    serving._socket = socket.create_server(("127.0.0.1", port), backlog=128)
    serving.port, serving.url = port, f"http://127.0.0.1:{port}/v1"
    serving.http.base_url = serving.url
    with serving:
        add(serving, Agent("echo"))
        answer = serving.chat(model="agent-echo")
        assert (answer.status_code, answer.json()["error"]["code"]) == (508, "agent_loop"), answer.text
        assert len(records(serving)) == 9, "eight calls, and the one that was refused"


def test_a_slow_agent_gives_way_and_is_believed_less(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    upstreams = {
        "cheap": {"base_url": cheap.url},
        "strong": {"base_url": strong.url, "timeouts": {"first_byte": 0.3}},
    }
    serving = start(access={"keys": "open"}, upstreams=upstreams)
    add(serving, BEST, OTHER)
    strong.script(Behaviour(fault="hang"))
    answer = serving.chat(model="router-agents-quality")
    assert (answer.status_code, answer.headers["x-td-agent"]) == (200, "quick")
    assert records(serving)[0].agents_failed == ("deep",)
    assert (seen(serving, "deep")["outcomes"], seen(serving, "deep")["success_rate"]) == (1, 0.0)
    assert seen(serving, "quick")["success_rate"] == 1.0


def test_an_agent_that_fails_is_found_out(start: Callable[..., Serving], strong: Upstream) -> None:
    serving = start(access={"keys": "open"}, breaker={"minimum_calls": 1_000, "threshold": 1_000})
    add(serving, BEST, OTHER)
    chosen = []
    for _ in range(12):
        strong.script(Behaviour(status=500))
        answer = serving.chat(model="router-agents-quality")
        chosen.append(answer.headers.get("x-td-fallbacks"))
        assert serving.gateway.services.accounting.flush(20)
        follow(serving)
        strong.forget()
    assert chosen[0] == "1", "tried, as it is believed best"
    assert chosen[-1] is None, "no longer tried"


def test_an_agent_is_renamed_while_it_answers(start: Callable[..., Serving], strong: Upstream) -> None:
    serving = start(access={"keys": "open"})
    add(serving, BEST)
    strong.script(Behaviour(free=1))
    body = {"model": "agent-deep", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    with serving.http.stream("POST", "/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        registry(serving).remove("deep")
        add(serving, Agent("deeper", metadata={"model": "large"}))
        strong.received[0].allow(20)
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert records(serving)[0].agent == "deep", "the row says who it was"
    assert serving.chat(model="agent-deep").status_code == 404
    assert "did you mean agent-deeper" in serving.chat(model="agent-deep").json()["error"]["message"]
    assert seen(serving, "deeper")["outcomes"] == 0


def test_names_of_one_kind_do_not_reach_another(start: Callable[..., Serving]) -> None:
    """An agent called as a model, a router or a chain is none of these, and takes no name from them."""
    serving = start(access={"keys": "open"}, chains={"large": {"default": "small"}})
    add(
        serving,
        *(Agent(name, metadata={"model": "small"}) for name in ("large", "default", "auto", "chain-large")),
    )
    assert serving.chat(model="large").headers["x-td-model"] == "large"
    assert serving.chat(model="agent-large").headers["x-td-model"] == "large", "its own name's model, first"
    assert serving.chat(model="chain-large").headers["x-td-model"] == "small"
    assert serving.chat(model="agent-chain-large").headers["x-td-agent"] == "chain-large"
    assert "x-td-agent" not in serving.chat(model="auto").headers


@pytest.mark.parametrize(
    "name", ["Zoë", "客服", "a/b", "x y", "agent-x", "..", "%2e", "a,b", "'; DROP TABLE agent;--"]
)
def test_odd_names_are_names(start: Callable[..., Serving], name: str) -> None:
    from urllib.parse import quote

    serving = start(access={"keys": "open"})
    add(serving, Agent(name, metadata={"model": "small"}))
    answer = serving.chat(model=f"agent-{name}")
    assert answer.status_code == 200
    assert answer.headers["x-td-agent"] == (name if name.isascii() else ascii(name)[1:-1])
    assert serving.http.get("/agents").json()["data"][0]["name"] == name
    if name != "..":
        assert serving.http.get(f"/agents/{quote(name, safe='')}").json()["name"] == name
    assert records(serving)[0].agent == name


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:22/",
        "file:///etc/passwd",
        "http://127.0.0.1:1/v1",
        "gopher://x",
    ],
)
def test_a_card_with_a_hostile_address_is_never_called(start: Callable[..., Serving], address: str) -> None:
    serving = start(access={"keys": "open"})
    card = Agent(
        "evil", type="api", metadata={"url": address, "model": address, "target": address, "base_url": address}
    )
    add(serving, card)
    for name in ("agent-evil", "router-agents", address, f"agent-{address}"):
        answer = serving.chat(model=name)
        assert answer.status_code in (400, 404), answer.text
    assert serving.http.get("/agents").json()["data"] == []
    assert any("evil" in note for note in serving.gateway.status().notes)
    assert not any(address in note for note in serving.gateway.status().notes)


def test_a_burst_does_not_exceed_an_agents_concurrency(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    serving = start(access={"keys": "open"})
    add(serving, Agent("deep", quality=0.95, max_concurrency=2, metadata={"model": "large"}), OTHER)
    strong.usual = Behaviour(delay=0.05)
    served: list[str] = []

    def ask() -> None:
        served.append(serving.chat(model="router-agents-quality", stream=True).headers["x-td-agent"])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    strong.usual = Behaviour()
    assert served.count("deep") >= 2 and served.count("quick") >= 1
    assert serving.gateway.services.serving.agents.limited["deep"].gate.inside == 0, "every place was given back"


def test_a_client_that_leaves_gives_its_place_back_and_is_no_failure(
    start: Callable[..., Serving], strong: Upstream
) -> None:
    serving = start(access={"keys": "open"})
    add(serving, Agent("deep", max_concurrency=1, metadata={"model": "large"}))
    strong.script(Behaviour(free=1))
    body = {"model": "agent-deep", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    with serving.http.stream("POST", "/chat/completions", json=body) as answer:
        next(answer.iter_lines())
    assert strong.received[0].gone.wait(20)
    from tests.integration.gateway.test_gateway_agents import until

    until(lambda: serving.gateway.services.serving.agents.limited["deep"].gate.inside == 0)
    assert records(serving)[0].status == 499
    assert seen(serving, "deep")["outcomes"] == 0


def test_an_ensemble_may_not_hold_itself_and_a_missing_member_is_said(start: Callable[..., Serving]) -> None:
    from tiny_dancer.errors import CandidateError

    serving = start(access={"keys": "open"})
    add(serving, OTHER)
    with pytest.raises(CandidateError, match="circle"):
        add(serving, Agent("panel", type="ensemble", members=("panel", "quick")))
    add(serving, Agent("panel", type="ensemble", members=("quick", "deep")), BEST)
    registry(serving).deactivate("deep")
    follow(serving)
    refused = serving.chat(model="agent-panel")
    assert refused.status_code == 404 and "its member deep cannot be asked" in refused.json()["error"]["message"]


def test_a_reload_takes_targets_and_groups_over_and_keeps_what_is_learned(start: Callable[..., Serving]) -> None:
    import msgspec

    serving = start(access={"keys": "open"})
    add(serving, BEST, OTHER, Agent("poet"))
    assert serving.chat(model="agent-poet").status_code == 404
    content = msgspec.to_builtins(serving.config)
    content["agents"] = {"targets": {"poet": "router-default"}, "groups": {"some": {"agents": ["quick"]}}}
    after = msgspec.convert(content, type(serving.config))
    done = threading.Event()

    def reload() -> None:
        serving.gateway.reload(after)
        done.set()

    serving.gateway.loop.call_soon_threadsafe(reload)
    assert done.wait(20)
    assert serving.chat(model="agent-poet").headers["x-td-agent"] == "poet"
    assert serving.chat(model="router-some-quality").headers["x-td-agent"] == "quick"


def test_feedback_is_the_quality_of_the_agent_that_answered(start: Callable[..., Serving]) -> None:
    serving = start(access={"keys": "open"})
    add(serving, BEST, OTHER)
    answer = serving.chat(model="router-agents-quality")
    for _ in range(8):
        if answer.headers["x-td-agent"] == "deep":
            given = serving.http.post("/feedback", json={"id": answer.headers["x-td-decision"], "label": "bad"})
            assert given.status_code == 200
            follow(serving)
            answer = serving.chat(model="router-agents-quality")
    assert answer.headers["x-td-agent"] == "quick", "what the best is said to be worth has moved the choice"
    assert seen(serving, "deep")["quality"] == 0.0


def test_a_stream_asked_of_an_ensemble_whose_client_has_no_patience(
    start: Callable[..., Serving], strong: Upstream
) -> None:
    serving = start(access={"keys": "open"}, agents={"ensembles": {"panel": {"timeout": 0.4}}})
    add(serving, BEST, OTHER, Agent("panel", type="ensemble", members=("quick", "deep")))
    strong.script(Behaviour(fault="hang"))
    answer = serving.chat(model="agent-panel", stream=True)
    assert events(answer.content)[-1] == "[DONE]"
    assert answer.headers["x-td-routed-by"] == "ensemble: 1 of 1 say so: quick; 1 failed"


def test_rights_hold_on_every_way_to_an_agent(start: Callable[..., Serving]) -> None:
    serving = start(access={"keys": "open"}, chains={"c": {"default": "agent-deep"}})
    add(serving, BEST, OTHER)
    limited = bearer(key(serving, "limited", models=["small"]))
    for body in (
        {"model": "agent-deep"},
        {"model": "chain-c"},
        {"model": "auto", "td": {"pin": "agent-deep"}},
    ):
        refused = serving.chat(headers=limited, **body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed"), body
    followed = serving.chat(model="agent-quick", headers=limited, models=["agent-deep"])
    assert followed.headers["x-td-agent"] == "quick"
