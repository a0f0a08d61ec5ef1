"""Every endpoint answers, whole and streamed, and says who served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import EASY, HARD, TIMEOUT, events

if TYPE_CHECKING:
    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

MESSAGES = [{"role": "user", "content": EASY}]
REQUESTS: dict[str, dict[str, Any]] = {
    "/chat/completions": {"messages": MESSAGES},
    "/completions": {"prompt": EASY},
    "/responses": {"input": EASY},
    "/embeddings": {"input": [EASY, HARD]},
    "/messages": {"messages": MESSAGES, "max_tokens": 50},
}
STREAMED = [path for path in REQUESTS if path != "/embeddings"]


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize("model", ["small", "large"])
def test_an_endpoint_answers_with_the_model_named(
    gateway: Serving, cheap: Upstream, strong: Upstream, path: str, model: str
) -> None:
    answer = gateway.http.post(path, json={"model": model, **REQUESTS[path]})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-td-model"] == model
    assert answer.headers["x-td-reason"]
    assert answer.headers["x-request-id"]
    assert answer.json()["model"] == f"vendor/{model}-1", "the model that answered, as its server names it"
    served, other = (cheap, strong) if model == "small" else (strong, cheap)
    (received,) = served.received
    assert not other.received
    translated = "/chat/completions" if path == "/messages" else path
    assert (received.method, received.path) == ("POST", "/v1" + translated)
    assert received.json["model"] == f"vendor/{model}-1"
    assert received.header("authorization") == f"Bearer sk-of-{served.name}"


@pytest.mark.parametrize("path", STREAMED)
def test_an_endpoint_streams(gateway: Serving, cheap: Upstream, path: str) -> None:
    answer = gateway.http.post(path, json={"model": "small", "stream": True, **REQUESTS[path]})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-td-model"] == "small"
    assert answer.text.endswith("\n\n")
    joined = "".join(events(answer.text))
    for piece in Behaviour().pieces:
        assert f'"{piece}"' in joined
    assert cheap.arrived().finished.wait(TIMEOUT)


@pytest.mark.parametrize("path", REQUESTS)
def test_auto_lets_the_router_choose(gateway: Serving, cheap: Upstream, strong: Upstream, path: str) -> None:
    if path == "/embeddings":
        pytest.skip("embeddings of two models cannot be mixed: nothing to route")
    for threshold, model in ((1.0, "small"), (-1.0, "large")):
        body = {"model": "auto", "td": {"threshold": threshold}, **REQUESTS[path]}
        answer = gateway.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-td-model"] == model
        assert answer.headers["x-td-decision"]
    assert len(cheap.received) == len(strong.received) == 1
    assert "td" not in strong.received[0].json, "what only the gateway reads stays here"


def test_models_lists_what_clients_can_name(gateway: Serving) -> None:
    answer = gateway.http.get("/models")
    assert answer.status_code == 200
    body = answer.json()
    assert body["object"] == "list"
    assert {"auto", "small", "large"} <= {each["id"] for each in body["data"]}
    assert all(each["object"] == "model" for each in body["data"])


def test_route_decides_and_calls_nobody(gateway: Serving, cheap: Upstream, strong: Upstream) -> None:
    body = {"model": "auto", "messages": MESSAGES, "td": {"threshold": 1.0}}
    answer = gateway.http.post("/route", json=body)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["model"] == "small"
    assert set(said["scores"]) == {"small", "large"}
    assert said["reason"]
    assert not cheap.received
    assert not strong.received


def test_the_connection_is_kept(gateway: Serving, cheap: Upstream) -> None:
    before = cheap.connections
    for _ in range(20):
        assert gateway.chat().status_code == 200
    assert cheap.connections - before <= 1, "a pooled connection serves many requests"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/chat/completions", 405), ("POST", "/models", 405), ("POST", "/nothing", 404), ("GET", "/", 404)],
)
def test_what_is_not_there_is_said_in_openai_s_words(
    gateway: Serving, method: str, path: str, status: int
) -> None:
    answer = gateway.http.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    if status == 405:
        assert answer.headers["allow"]
