"""OpenRouter's ``provider`` object on every endpoint: kept here, and sent on only to OpenRouter itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import HARD

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

CALLS: dict[str, dict[str, Any]] = {
    "/chat/completions": {"messages": [{"role": "user", "content": HARD}]},
    "/messages": {"messages": [{"role": "user", "content": HARD}], "max_tokens": 9},
    "/responses": {"input": HARD},
    "/completions": {"prompt": HARD},
    "/embeddings": {"input": HARD},
}


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("name", ["auto", "small"])
def test_what_is_asked_is_kept_and_not_sent_on(
    gateway: Serving, cheap: Upstream, strong: Upstream, path: str, name: str
) -> None:
    if (path, name) == ("/embeddings", "auto"):
        return
    for provider in ({"only": ["cheap"]}, {"max_price": {"prompt": 1, "completion": 2}}, {"ignore": ["strong"]}):
        answer = gateway.http.post(path, json={**CALLS[path], "model": name, "provider": provider})
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-td-model"] == "small"
        assert "provider" not in cheap.arrived(len(cheap.received)).json
    refused = gateway.http.post(
        path, json={**CALLS[path], "model": name, "provider": {"max_price": {"prompt": 0}}}
    )
    assert refused.status_code == 400
    assert "small: provider.max_price" in refused.json()["error"]["message"]
    assert not strong.received


def test_openrouter_gets_the_object_as_it_came(gateway: Serving, cheap: Upstream) -> None:
    server = gateway.gateway.services.serving.servers["cheap"]
    server.openrouter = True
    try:
        asked = '{"order":["deepinfra"],"quantizations":["fp8"], "data_collection":"deny"}'
        body = f'{{"model":"small","messages":[{{"role":"user","content":"Hi"}}],"provider":{asked}}}'
        answer = gateway.http.post("/chat/completions", content=body)
        assert answer.status_code == 200, answer.text
        assert asked.encode() in cheap.arrived().body
    finally:
        server.openrouter = False


def test_no_other_model_without_fallbacks(gateway: Serving, cheap: Upstream, strong: Upstream) -> None:
    cheap.script(Behaviour(status=500), Behaviour(status=500))
    both = {"models": ["small", "large"]}
    assert gateway.chat(model="small", **both, provider={"allow_fallbacks": False}).status_code == 500
    assert not strong.received
    assert gateway.chat(model="small", **both).headers["x-td-model"] == "large"


def test_deployments_in_order_and_who_keeps_nothing(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    gateway = start(
        upstreams={"one": {"base_url": cheap.url}, "two": {"base_url": strong.url, "data_collection": "deny"}},
        models={"m": {"deployments": [{"upstream": "one", "weight": 1e9}, {"upstream": "two"}]}},
        routers={},
        retries={"attempts": 2, "base": 0.001},
    )
    assert gateway.chat(model="m").status_code == 200
    assert len(cheap.received) == 1
    assert gateway.chat(model="m", provider={"data_collection": "deny"}).status_code == 200
    assert len(strong.received) == 1
    strong.script(Behaviour(status=500))
    assert gateway.chat(model="m", provider={"order": ["two"]}).status_code == 200
    assert (len(cheap.received), len(strong.received)) == (2, 2), "two first, then one"
    strong.script(Behaviour(status=500), Behaviour(status=500))
    refused = gateway.chat(model="m", provider={"order": ["two"], "allow_fallbacks": False})
    assert (refused.status_code, len(cheap.received)) == (500, 2)


def test_a_decision_alone_keeps_to_it(gateway: Serving) -> None:
    body = {"messages": [{"role": "user", "content": HARD}], "provider": {"sort": "price"}}
    found = gateway.http.post("/route", json=body).json()
    assert (found["model"], found["reason"], found["routed_by"]) == ("small", "sorted_by_price", "override")
    assert found["models"] == ["small", "large"]
    assert (found["guarantee"], found["guarantee_note"]) == (None, "overridden by the caller")
