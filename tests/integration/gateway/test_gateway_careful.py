"""No caller's habit or mistake harms another, and none spends what nobody has reserved."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import TIMEOUT, streamed

from tiny_dancer.gateway.access.keys import make_key

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

BROKEN = {"cheap": {"status": 500}}
SLOW = {"cheap": {"free": 2}}
# At the small model's prices, with a prompt of 1,000 tokens.
EACH = 1e-3


def leave_after_the_first_word(serving: Serving, cheap: Upstream, **fields: Any) -> None:
    before = len(cheap.received)
    body = {"model": "small", "stream": True, "messages": [{"role": "user", "content": "Hi"}], **fields}
    with serving.http.stream("POST", "/chat/completions", json=body) as response:
        assert "Hello" in next(streamed(response))
    assert cheap.arrived(before + 1).gone.wait(TIMEOUT)


def test_clients_that_stop_reading_do_not_make_a_few_failures_most_calls(
    start: Callable[..., Serving], cheap: Upstream
) -> None:
    serving = start(routers={})
    for _ in range(20):
        leave_after_the_first_word(serving, cheap, behaviour=SLOW)
    for _ in range(5):
        assert serving.chat(behaviour=BROKEN).status_code == 500
    assert serving.states()["small"] == "closed"
    assert serving.chat().status_code == 200


def test_nobody_waits_for_the_end_of_a_stream_that_tries_a_server_again(
    start: Callable[..., Serving], cheap: Upstream
) -> None:
    serving = start(routers={}, breaker={"cooldown": 0.05})
    while serving.chat(behaviour=BROKEN).status_code == 500:
        pass
    body = {"model": "small", "stream": True, "messages": [{"role": "user", "content": "Hi"}], "behaviour": SLOW}
    while True:
        with serving.http.stream("POST", "/chat/completions", json=body) as response:
            if response.status_code == 503:
                continue
            assert "Hello" in next(streamed(response))
            # It is under way still.
            assert [serving.chat().status_code for _ in range(3)] == [200] * 3
            break
    assert serving.states()["small"] == "closed"


def test_a_request_the_gateway_s_credit_is_too_small_for_closes_nothing(
    start: Callable[..., Serving], cheap: Upstream
) -> None:
    serving = start(routers={})
    for _ in range(8):
        refused = serving.chat(behaviour={"cheap": {"status": 402}})
        assert (refused.status_code, refused.json()["error"]["code"]) == (502, "upstream_authentication")
    assert serving.chat().status_code == 200


@pytest.mark.parametrize("asked", ["inf", "Infinity", "nan", "-1", "soon"])
def test_what_is_no_time_is_no_rest(start: Callable[..., Serving], cheap: Upstream, asked: str) -> None:
    serving = start(routers={})
    cheap.script(Behaviour(status=429, headers={"retry-after": asked}))
    assert serving.chat().status_code == 429
    assert serving.chat().status_code == 200


def keyed(
    start: Callable[..., Serving], models: dict[str, Any] | None = None, **limits: Any
) -> tuple[Serving, Any]:
    """A gateway, and how to ask it by a key."""
    more = {} if models is None else {"models": models}
    serving = start(routers={}, **more)
    made = make_key("ada", **limits)
    serving.gateway.services.storage.insert_api_key(made.key)
    serving.gateway.services.access.refresh()

    def post(path: str = "/chat/completions", **fields: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {made.secret}", **fields.pop("headers", {})}
        return serving.http.post(path, json={"model": "small", **fields}, headers=headers)

    return serving, post


def spent(serving: Serving) -> float:
    assert serving.gateway.services.accounting.flush(TIMEOUT)
    return sum(each.cost or 0.0 for each in serving.gateway.services.storage.request_history(limit=None))


HI = [{"role": "user", "content": "Hi"}]
# What an endpoint calls a limit that is another's: servers that do not know it pass it over.
UNLIMITED: list[tuple[str, dict[str, Any]]] = [
    ("/chat/completions", {"messages": HI, "max_output_tokens": 1}),
    ("/completions", {"prompt": "Hi", "max_completion_tokens": 1, "max_output_tokens": 1}),
    ("/responses", {"input": "Hi", "max_tokens": 1, "max_completion_tokens": 1}),
    ("/messages", {"messages": HI, "max_output_tokens": 1, "max_tokens": 4000}),
]
# The rest of these prompts is at the upstream, and costs.
REFERRING: list[tuple[str, dict[str, Any]]] = [
    ("/responses", {"input": "Go on", "previous_response_id": "resp_1", "max_output_tokens": 5}),
    ("/responses", {"input": "Go on", "conversation": "conv_1", "max_output_tokens": 5}),
    ("/responses", {"input": "Go on", "prompt": {"id": "pmpt_1"}, "max_output_tokens": 5}),
    ("/responses", {"input": [{"type": "item_reference", "id": "msg_1"}], "max_output_tokens": 5}),
    (
        "/responses",
        {
            "input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://a/b.pdf"}]}],
            "max_output_tokens": 5,
        },
    ),
    (
        "/chat/completions",
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}], "max_tokens": 5},
    ),
]


@pytest.mark.parametrize(("path", "fields"), [*UNLIMITED, *REFERRING])
def test_a_budget_is_not_got_round_by_words_of_other_endpoints_or_by_references(
    start: Callable[..., Serving], cheap: Upstream, path: str, fields: dict[str, Any]
) -> None:
    small = {
        "deployments": [{"upstream": "cheap"}],
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 2e-6,
        "context_window": 100_000,
    }
    serving, post = keyed(start, {"small": small}, max_budget=0.005)
    cheap.usual = Behaviour(input_tokens=50_000, output_tokens=4000)
    answer = post(path, **fields)
    assert answer.status_code == 429, answer.text
    assert not cheap.received
    # A tool that speaks of files refers to nothing.
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"properties": {"file_id": {}, "url": {}}}},
    }
    cheap.usual = Behaviour()
    assert post(messages=HI, tools=[tool], max_tokens=50).status_code == 200
    assert 0 < spent(serving) < 0.005


def test_what_is_made_in_the_background_is_not_for_keys_with_a_budget(
    start: Callable[..., Serving], cheap: Upstream
) -> None:
    _, post = keyed(start, max_budget=1.0)
    refused = post("/responses", input="Hi", background=True)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "background_not_allowed")
    assert refused.json()["error"]["param"] == "background"
    assert post("/responses", input="Hi", background=False, max_output_tokens=5).status_code == 200
    assert len(cheap.received) == 1
    _, post = keyed(start)
    assert post("/responses", input="Hi", background=True).status_code == 200


def test_a_key_with_a_budget_may_end_a_batch_and_make_none(start: Callable[..., Serving], cheap: Upstream) -> None:
    _, post = keyed(start, max_budget=1.0)
    cheap.usual = Behaviour(body=json.dumps({"id": "batch_1", "object": "batch"}).encode())
    named = {"x-td-upstream": "cheap"}
    assert post("/batches", headers=named).json()["error"]["code"] == "batches_not_allowed"
    assert post("/batches/batch_1/cancel", headers=named).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_that_may_be_stored_is_asked_for_once_though_its_answer_cannot_be_read(
    start: Callable[..., Serving], cheap: Upstream, stream: bool
) -> None:
    serving = start(routers={}, retries={"attempts": 3, "base": 0.01})
    cheap.usual = Behaviour(body=b"{")
    body = {"model": "small", "input": "Hi", "stream": stream}
    assert serving.http.post("/responses", json=body).status_code == 502
    assert len(cheap.received) == 1
    # What was refused was not stored.
    cheap.usual = Behaviour(status=500)
    assert serving.http.post("/responses", json=body).status_code == 500
    assert len(cheap.received) == 4
