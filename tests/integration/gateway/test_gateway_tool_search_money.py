"""What a request costs whose model searches for tools: each of its calls is paid for once, whatever happens."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.gateway_answers import Behaviour
from tests.integration.gateway.processes import Running
from tests.integration.gateway.serving import LARGE, SMALL, TIMEOUT, events
from tests.integration.gateway.test_gateway_keys import bearer, known, until
from tests.integration.gateway.test_gateway_tool_search import BM25, MAIL, QUESTION, SEARCH, WEATHER, of_anthropic
from tests.integration.gateway.test_processes_money import content, key_of, kill, rows

from tiny_dancer.budgets.money import UNITS
from tiny_dancer.gateway.access import admission as access

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

    from tiny_dancer.types import RequestRecord

TOOLS = [BM25, of_anthropic(*WEATHER), of_anthropic(*MAIL)]
BODY: dict[str, Any] = {
    "model": "small",
    "max_tokens": 20,
    "tools": TOOLS,
    "messages": [{"role": "user", "content": QUESTION}],
}
SEARCHES = Behaviour(tool=("tool_search_tool_bm25", SEARCH), input_tokens=1000, output_tokens=10)
ANSWERS = Behaviour(pieces=("It ", "rains."), input_tokens=1200, output_tokens=5)
FIRST, SECOND = 1000e-6 + 10 * 2e-6, 1200e-6 + 5 * 2e-6


@pytest.fixture
def locked(start: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch) -> Serving:
    monkeypatch.setattr(access, "REFRESH_S", 0.02)
    return start(access={"keys": "required"})


def ask(serving: Serving, headers: Any = None, **more: Any) -> httpx.Response:
    return serving.http.post("/messages", json={**BODY, **more}, headers=headers)


def last_record(serving: Serving) -> RequestRecord:
    until(lambda: serving.gateway.services.in_flight == 0)
    assert serving.gateway.services.accounting.flush(TIMEOUT)
    return serving.gateway.services.storage.request_history(limit=1)[0]


@pytest.mark.parametrize("stream", [False, True])
def test_all_calls_are_counted_together(locked: Serving, cheap: Upstream, stream: bool) -> None:
    key = known(locked, daily_budget=1.0)
    cheap.script(SEARCHES, ANSWERS)
    answer = ask(locked, bearer(key), stream=stream)
    assert answer.status_code == 200
    size = len(json.dumps(TOOLS, separators=(",", ":")))
    assert answer.headers["x-td-tool-selection"] == "search"
    assert answer.headers["x-td-tools-before"] == "3"
    assert int(answer.headers["x-td-tool-tokens-saved"]) <= size / 4
    # A stream's headers are sent before all of it is known.
    assert answer.headers["x-td-tools-sent"] == ("1" if stream else "2")
    assert answer.headers["x-td-tool-searches"] == ("0" if stream else "1")
    if not stream:
        assert float(answer.headers["x-td-cost"]) == pytest.approx(FIRST + SECOND)
    record = last_record(locked)
    assert (record.status, record.error, record.attempts) == (200, "", 2)
    assert (record.input_tokens, record.output_tokens) == (2200, 15)
    assert record.cost == record.baseline_cost == pytest.approx(FIRST + SECOND)
    assert (record.guessed, record.guessed_cost) == (False, 0.0)
    assert (record.tool_selection, record.tools_before, record.tools_sent, record.tool_searches) == (
        "search",
        3,
        2,
        1,
    )
    spent = locked.gateway.services.storage.spend(since=0)[key.key.id]
    assert spent.tokens == 2215
    assert spent.cost == pytest.approx(FIRST + SECOND)
    (budget,) = locked.gateway.services.access._callers[key.key.id].budgets
    assert budget.standing(time.time()) == (round((FIRST + SECOND) * UNITS), 0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_the_budget_does_not_leave_is_not_made(locked: Serving, cheap: Upstream, stream: bool) -> None:
    # One call may take 1,000 tokens at least, and twenty of an answer.
    key = known(locked, daily_budget=FIRST + 0.5 * SECOND)
    cheap.script(SEARCHES, ANSWERS)
    answer = ask(locked, bearer(key), stream=stream)
    assert len(cheap.received) == 1
    if stream:
        error = json.loads(events(answer.content)[-1])
        assert (answer.status_code, error["type"]) == (200, "error")
        assert "budget" in error["error"]["message"]
    else:
        assert (answer.status_code, answer.json()["type"]) == (429, "error")
    record = last_record(locked)
    assert record.error == "budget_exceeded"
    assert record.model == "small"
    assert record.cost == pytest.approx(FIRST)
    assert (record.input_tokens, record.output_tokens) == (1000, 10)
    (budget,) = locked.gateway.services.access._callers[key.key.id].budgets
    assert budget.standing(time.time()) == (round(FIRST * UNITS), 0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_between_two_calls_has_paid_for_the_first(
    locked: Serving, cheap: Upstream, stream: bool
) -> None:
    key = known(locked, daily_budget=1.0)
    cheap.script(SEARCHES, Behaviour(fault="hang"))
    with pytest.raises(httpx.ReadTimeout):
        locked.http.post("/messages", json={**BODY, "stream": stream}, headers=bearer(key), timeout=0.7)
    record = last_record(locked)
    assert (record.status, record.error, record.attempts) == (499, "client_disconnected", 2)
    # Of the second its prompt, by a guess.
    assert FIRST < (record.cost or 0.0) < FIRST + 300e-6
    assert record.guessed
    assert record.guessed_cost == pytest.approx((record.cost or 0.0) - FIRST)
    (budget,) = locked.gateway.services.access._callers[key.key.id].budgets
    assert budget.standing(time.time()) == (round((record.cost or 0.0) * UNITS), 0)


def test_another_model_may_go_on_where_nothing_has_been_said(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    serving = start()
    cheap.script(SEARCHES, Behaviour(status=500))
    strong.script(Behaviour(tool=("get_weather", '{"city":"Oslo"}'), input_tokens=100, output_tokens=1))
    answer = ask(serving, models=["small", "large"])
    assert answer.status_code == 200
    assert (answer.headers["x-td-model"], answer.headers["x-td-fallbacks"]) == ("large", "1")
    assert [block["type"] for block in answer.json()["content"]] == [
        "server_tool_use",
        "tool_search_tool_result",
        "tool_use",
    ]
    assert b"get_weather" in strong.received[0].body
    record = last_record(serving)
    assert record.model == "large"
    assert record.cost == pytest.approx(
        FIRST + 100 * LARGE["input_cost_per_token"] + LARGE["output_cost_per_token"]
    )
    assert float(answer.headers["x-td-cost"]) == pytest.approx(record.cost)


def test_a_stream_that_has_searched_stays_with_its_model(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    serving = start()
    cheap.script(SEARCHES, Behaviour(status=500))
    answer = ask(serving, models=["small", "large"], stream=True)
    found = [json.loads(each) for each in events(answer.content)]
    assert found[0]["type"] == "message_start"
    assert found[-1]["type"] == "error"
    assert not strong.received
    assert last_record(serving).cost == pytest.approx(FIRST)


@pytest.mark.parametrize("stream", [False, True])
def test_all_calls_share_one_time(start: Callable[..., Serving], cheap: Upstream, stream: bool) -> None:
    upstreams = {"cheap": {"base_url": cheap.url, "timeouts": {"total": 1.0}}}
    serving = start(
        upstreams=upstreams, models={"small": {**SMALL, "deployments": [{"upstream": "cheap"}]}}, routers={}
    )
    slow = Behaviour(tool=SEARCHES.tool, delay=0.25) if stream else SEARCHES
    cheap.script(slow, Behaviour(fault="hang", at="first"))
    begun = time.monotonic()
    answer = ask(serving, stream=stream)
    assert time.monotonic() - begun < 3
    if stream:
        assert json.loads(events(answer.content)[-1])["type"] == "error"
    else:
        assert (answer.status_code, answer.json()["error"]["type"]) == (504, "timeout_error")
    assert (last_record(serving).cost or 0.0) > 0


@pytest.mark.parametrize("limited", [False, True])
def test_a_process_that_is_killed_between_two_calls_leaves_a_record(
    cheap: Upstream, strong: Upstream, tmp_path: Path, limited: bool
) -> None:
    folder = tmp_path / "gateway"
    key = key_of(folder, **({"max_budget": 1.0} if limited else {}))
    cheap.script(SEARCHES, Behaviour(fault="hang"))
    with Running(content(cheap, strong, workers=2), folder) as gateway:
        with httpx.stream(
            "POST",
            f"{gateway.url}/messages",
            json={**BODY, "stream": True},
            headers={"authorization": f"Bearer {key.secret}"},
            timeout=TIMEOUT,
            trust_env=False,
        ):
            until(lambda: len(cheap.received) == 2)
            for process in gateway.workers().values():
                kill(process)
        gateway.line("starting another", count=2)
        until(lambda: any(each.error == "process_killed" for each in rows(folder)))
    (left,) = [each for each in rows(folder) if each.error == "process_killed"]
    # The first call is known, the second guessed.
    first = 1000 * 3e-6 + 10 * 15e-6
    assert first < (left.cost or 0.0) < first + 0.002
    assert left.input_tokens > 1000
    assert left.guessed
