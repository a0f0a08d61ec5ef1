"""Keys at a gateway that serves: who gets in, what it may use, and that its money is counted to the cent."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anthropic
import httpx
import openai
import pytest
from tests.commands import done
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import HARD, TIMEOUT

from tiny_dancer.budgets.money import UNITS
from tiny_dancer.gateway.access import admission as access
from tiny_dancer.gateway.access.keys import NewKey, make_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

MESSAGES: list[Any] = [{"role": "user", "content": "Hi there, how are you?"}]
PATHS: dict[str, dict[str, Any]] = {
    "/chat/completions": {"messages": MESSAGES},
    "/completions": {"prompt": "Hi"},
    "/responses": {"input": "Hi"},
    "/embeddings": {"input": "Hi"},
    "/messages": {"messages": MESSAGES, "max_tokens": 9},
    "/route": {"messages": MESSAGES},
    "/feedback": {"id": "x", "score": 1},
}
# What the stand-in upstream says costs this: 30 tokens in, 5 out.
LARGE_COST = 30e-5 + 5 * 3e-5


@pytest.fixture
def locked(start: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch) -> Serving:
    """A gateway that requires keys, and reads them often."""
    monkeypatch.setattr(access, "REFRESH_S", 0.02)
    return start(access={"keys": "required"})


def known(serving: Serving, name: str = "ada", **limits: Any) -> NewKey:
    """A key the gateway knows."""
    made = make_key(name, **limits)
    serving.gateway.services.storage.insert_api_key(made.key)
    until(lambda: serving.http.get("/models", headers=bearer(made)).status_code != 401)
    return made


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def bearer(key: NewKey) -> dict[str, str]:
    return {"authorization": f"Bearer {key.secret}"}


@pytest.mark.parametrize("path", PATHS)
def test_nobody_gets_in_without_a_key(locked: Serving, cheap: Upstream, strong: Upstream, path: str) -> None:
    body = {"model": "small", **PATHS[path]} if path != "/feedback" else PATHS[path]
    wrong = make_key("x").secret
    for headers in (
        {},
        {"authorization": f"Bearer {wrong}"},
        {"authorization": "Basic dXNlcjpwYXNz"},
        {"x-api-key": wrong},
        {"api-key": "sk-of-cheap"},
    ):
        answer = locked.http.post(path, json=body, headers=headers)
        assert answer.status_code == 401, answer.text
        assert answer.headers["www-authenticate"] == "Bearer"
        for secret in headers.values():
            assert secret not in answer.text
        error = answer.json()["error"]
        assert error["type"] == "authentication_error"
        if path == "/messages":
            assert answer.json()["type"] == "error"
        else:
            assert error["code"] == ("invalid_api_key" if headers else "missing_api_key")
    assert not cheap.received
    assert not strong.received


def test_all_headers_in_which_clients_send_keys_let_in_and_the_upstream_sees_none(
    locked: Serving, cheap: Upstream
) -> None:
    key = known(locked)
    for headers in (bearer(key), {"x-api-key": key.secret}, {"api-key": key.secret}):
        assert locked.chat(headers=headers).status_code == 200
    client = openai.OpenAI(base_url=locked.url, api_key=key.secret, max_retries=0)
    assert client.chat.completions.create(model="small", messages=MESSAGES).choices
    other = anthropic.Anthropic(base_url=locked.url.removesuffix("/v1"), api_key=key.secret, max_retries=0)
    assert other.messages.create(model="small", messages=MESSAGES, max_tokens=9).content
    assert len(cheap.received) == 5
    for received in cheap.received:
        assert received.header("authorization") == "Bearer sk-of-cheap"
        assert not any(key.secret in value for _, value in received.headers)
        assert key.secret.encode() not in received.body
    assert locked.gateway.services.accounting.flush(TIMEOUT)
    assert {each.key for each in locked.gateway.services.storage.request_history()} == {key.key.id}


def test_a_key_made_and_revoked_by_the_command_line_is_followed_without_a_restart(locked: Serving) -> None:
    database = locked.folder / "gateway.db"
    made = json.loads(done("keys", "create", "ci", "--database", database, "--json"))
    headers = {"authorization": f"Bearer {made['secret']}"}
    until(lambda: locked.chat(headers=headers).status_code == 200)
    done("keys", "revoke", "ci", "--database", database)
    until(lambda: locked.chat(headers=headers).status_code == 401)
    assert locked.chat(headers=headers).json()["error"]["code"] == "revoked_api_key"


def test_a_key_uses_its_models_only_whoever_chooses(locked: Serving, cheap: Upstream, strong: Upstream) -> None:
    key = known(locked, models=["small"])
    refused = locked.chat(model="large", headers=bearer(key))
    assert refused.status_code == 403
    assert "large" in refused.json()["error"]["message"]
    assert locked.chat(HARD, model="auto", headers=bearer(key)).headers["x-td-model"] == "small"
    # Nor as what follows a failure.
    cheap.script(Behaviour(status=500))
    assert locked.chat(headers=bearer(key), models=["small", "large"]).status_code >= 400
    assert not strong.received
    listed = locked.http.get("/models", headers=bearer(key)).json()["data"]
    assert "small" in {each["id"] for each in listed}
    assert "large" not in {each["id"] for each in listed}


def test_the_sdk_is_told_its_rate_limit(locked: Serving) -> None:
    key = known(locked, requests_per_minute=5)
    client = openai.OpenAI(base_url=locked.url, api_key=key.secret, max_retries=0)
    left = None
    with pytest.raises(openai.RateLimitError) as caught:
        for _ in range(6):
            answer = client.chat.completions.with_raw_response.create(model="small", messages=MESSAGES)
            left = answer.headers["x-ratelimit-remaining-requests"]
    assert left == "0"
    assert caught.value.code == "rate_limit_exceeded"
    headers = caught.value.response.headers
    assert 1 <= int(headers["retry-after"]) <= 12
    assert headers["x-ratelimit-limit-requests"] == "5"


@pytest.mark.parametrize("stream", [False, True])
def test_a_hard_budget_is_never_exceeded(locked: Serving, cheap: Upstream, stream: bool) -> None:
    cheap.usual = Behaviour(input_tokens=1000, output_tokens=5)
    cost = 1000e-6 + 5 * 2e-6
    key = known(locked, daily_budget=2.5 * cost)
    # Without a limit an answer may be as long as its model can write: that does not fit.
    refused = locked.chat(stream=stream, headers=bearer(key))
    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == refused.json()["error"]["code"] == "budget_exceeded"
    assert refused.headers["x-should-retry"] == "false"
    for _ in range(2):
        answer = locked.chat(stream=stream, headers=bearer(key), max_tokens=5)
        assert answer.status_code == 200, answer.text
    # Small enough, were it not for what is spent.
    refused = locked.chat(stream=stream, headers=bearer(key), max_tokens=5)
    assert refused.status_code == 429
    assert "more than is left" in refused.json()["error"]["message"]
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert len(cheap.received) == 2
    # What was counted at once is what is on record, and stays counted once it is read back.
    assert locked.gateway.services.accounting.flush(TIMEOUT)
    spent = locked.gateway.services.storage.spend(since=0)[key.key.id]
    assert spent.cost == pytest.approx(2 * cost)
    assert spent.tokens == 2 * 1005
    records = locked.gateway.services.storage.request_history(key=key.key.id)
    assert [each.error for each in records] == ["budget_exceeded", "", "", "budget_exceeded"]
    for _ in range(3):
        assert locked.chat(headers=bearer(key), max_tokens=9).status_code == 429
        time.sleep(0.03)


@pytest.mark.parametrize("stream", [False, True])
def test_requests_at_once_share_what_is_left(locked: Serving, cheap: Upstream, stream: bool) -> None:
    cheap.usual = Behaviour(input_tokens=1000, output_tokens=50, delay=0.05)
    each = 1000e-6 + 50 * 2e-6
    key = known(locked, daily_budget=2.5 * each)

    def ask(_: int) -> int:
        return locked.chat("word " * 1000, stream=stream, headers=bearer(key), max_tokens=50).status_code

    # A prompt of 5,000 bytes is reckoned at up to 1,680 tokens.
    with ThreadPoolExecutor(30) as pool:
        statuses = list(pool.map(ask, range(30)))
    assert set(statuses) == {200, 429}
    until(lambda: locked.gateway.services.in_flight == 0)
    assert locked.gateway.services.accounting.flush(TIMEOUT)
    spent = locked.gateway.services.storage.spend(since=0)[key.key.id]
    assert 0 < spent.cost <= 2.5 * each
    assert spent.cost == pytest.approx(statuses.count(200) * each)
    (budget,) = locked.gateway.services.access._callers[key.key.id].budgets
    assert budget.standing(time.time()) == (round(spent.cost * UNITS), 0)


def test_a_request_that_fails_or_is_left_gives_back_what_it_reserved(locked: Serving, cheap: Upstream) -> None:
    key = known(locked, daily_budget=1.0)
    (budget,) = locked.gateway.services.access._callers[key.key.id].budgets
    cheap.script(Behaviour(status=500))
    assert locked.chat(headers=bearer(key)).status_code == 500
    assert budget.standing(time.time()) == (0, 0)
    cheap.script(Behaviour(fault="hang"))
    with pytest.raises(httpx.ReadTimeout):
        locked.http.post(
            "/chat/completions", json={"model": "small", "messages": MESSAGES}, headers=bearer(key), timeout=0.5
        )
    until(lambda: budget.standing(time.time())[1] == 0)
    spent, _ = budget.standing(time.time())
    assert locked.gateway.services.accounting.flush(TIMEOUT)
    (left, _) = locked.gateway.services.storage.request_history(key=key.key.id)
    assert (left.status, left.guessed) == (499, True)
    assert spent == round((left.cost or 0) * UNITS) > 0


def test_a_model_that_costs_too_much_gives_way_to_one_that_does_not(
    locked: Serving, cheap: Upstream, strong: Upstream
) -> None:
    key = known(locked, daily_budget=0.007)
    # The dear one is asked for, and may be followed; it can cost .03 and is not even tried.
    answer = locked.chat(model="large", models=["large", "small"], headers=bearer(key), max_tokens=1000)
    assert (answer.status_code, answer.headers["x-td-model"]) == (200, "small")
    assert answer.headers["x-td-reason"] == "budget_exceeded"
    assert not strong.received
    # The cheap one fails, and what follows it is too dear: the failure is what is told.
    cheap.script(Behaviour(status=500))
    answer = locked.chat(models=["small", "large"], headers=bearer(key), max_tokens=1000)
    assert answer.status_code == 500
    assert not strong.received
    best = {"model": "auto", "headers": bearer(key), "td": {"threshold": -1.0}, "max_tokens": 1000}
    assert locked.chat(**best).headers["x-td-model"] == "small"


@pytest.mark.parametrize(("budget", "calls", "status"), [(0.0015, 1, 502), (0.01, 2, 200)])
def test_trying_again_after_a_call_that_may_cost_is_paid_for_too(
    start: Callable[..., Serving],
    monkeypatch: pytest.MonkeyPatch,
    cheap: Upstream,
    budget: float,
    calls: int,
    status: int,
) -> None:
    monkeypatch.setattr(access, "REFRESH_S", 0.02)
    serving = start(access={"keys": "required"}, retries={"attempts": 2, "base": 0.001})
    key = known(serving, daily_budget=budget)
    cheap.script(Behaviour(fault="reset"))
    assert serving.chat(headers=bearer(key), max_tokens=5).status_code == status
    assert len(cheap.received) == calls
    (held,) = serving.gateway.services.access._callers[key.key.id].budgets
    assert held.standing(time.time())[1] == 0


def test_a_soft_budget_leaves_the_cheaper_model(locked: Serving, strong: Upstream) -> None:
    key = known(locked, daily_budget=LARGE_COST, cheaper_when_spent=True)
    best = {"model": "auto", "headers": bearer(key), "td": {"threshold": -1.0}}
    assert locked.chat(**best).headers["x-td-model"] == "large"
    answer = locked.chat(**best)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-td-model"] == "small"
    refused = locked.chat(model="large", headers=bearer(key))
    assert refused.status_code == 429
    assert "budget" in refused.json()["error"]["message"]
    assert len(strong.received) == 1


def test_on_loopback_everybody_is_let_in_but_not_on_a_revoked_key(
    start: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "REFRESH_S", 0.02)
    serving = start()
    for headers in ({}, {"authorization": "Bearer sk-anything"}, {"x-api-key": "none"}):
        assert serving.chat(headers=headers).status_code == 200
    key = make_key("ada")
    assert serving.chat(headers=bearer(key)).status_code == 401
    serving.gateway.services.storage.insert_api_key(key.key)
    until(lambda: serving.chat(headers=bearer(key)).status_code == 200)
    assert serving.gateway.services.accounting.flush(TIMEOUT)
    keys = [each.key for each in serving.gateway.services.storage.request_history()]
    assert keys[0] == key.key.id
    assert keys[-1] == ""
