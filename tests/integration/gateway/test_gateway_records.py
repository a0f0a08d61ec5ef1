"""What is kept of each request is what the upstream said it cost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import EASY, HARD, LARGE, SMALL, TIMEOUT, Serving, settings
from tests.integration.gateway.test_gateway_endpoints import REQUESTS, STREAMED
from tests.integration.gateway.test_gateway_streaming import raw_request

from tiny_dancer.storage import SqliteStorage
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.gateway_upstream import Upstream

SAID = Behaviour(input_tokens=1000, cached_tokens=800, output_tokens=50)


def records(gateway: Serving) -> list[RequestRecord]:
    """All so far, the oldest first."""
    gateway.gateway.services.accounting.flush(TIMEOUT)
    return sorted(gateway.gateway.services.storage.request_history(), key=lambda each: each.time)


def price(prices: dict[str, float], behaviour: Behaviour = SAID) -> float:
    fresh = behaviour.input_tokens - behaviour.cached_tokens
    output = len(behaviour.pieces) if behaviour.output_tokens is None else behaviour.output_tokens
    return (
        fresh * prices["input_cost_per_token"]
        + behaviour.cached_tokens * prices["cache_read_input_token_cost"]
        + output * prices["output_cost_per_token"]
    )


@pytest.mark.parametrize(
    ("path", "stream"),
    [(path, False) for path in REQUESTS] + [(path, True) for path in STREAMED],
)
def test_tokens_and_cost_are_the_upstream_s(
    start: Callable[..., Serving], cheap: Upstream, path: str, stream: bool
) -> None:
    gateway = start()
    cheap.script(SAID)
    body = {"model": "small", "stream": stream, **REQUESTS[path]}
    if path == "/embeddings":
        body.pop("stream")
    answer = gateway.http.post(path, json=body)
    assert answer.status_code == 200
    (record,) = records(gateway)
    assert record.endpoint == path[1:].replace("/", ".")
    assert (record.asked, record.model, record.upstream) == ("small", "small", "cheap")
    assert (record.status, record.attempts, record.fallbacks, record.error) == (200, 1, 0, "")
    assert record.stream == stream
    assert record.input_tokens == 1000
    cached = 0 if path in ("/embeddings",) else 800
    output = 0 if path == "/embeddings" else 50
    assert (record.cached_tokens, record.output_tokens) == (cached, output)
    if path != "/embeddings":
        assert record.cost == pytest.approx(price(SMALL))
    if not stream:
        assert float(answer.headers["x-td-cost"]) == pytest.approx(record.cost)
        assert record.response_id == answer.json()["id"] if path != "/embeddings" else record.response_id is None
    assert record.ttft is not None
    assert 0 < record.ttft <= record.latency
    assert record.query_text is None


def test_savings_are_against_the_strongest(start: Callable[..., Serving], cheap: Upstream) -> None:
    gateway = start()
    cheap.script(SAID)
    answer = gateway.chat(HARD, model="auto", td={"threshold": 1.0, "session": "mine", "role": "edit"})
    (record,) = records(gateway)
    assert record.cost == pytest.approx(price(SMALL))
    assert record.baseline_cost == pytest.approx(price(LARGE))
    assert record.decision_id == answer.headers["x-td-decision"]
    assert (record.router, record.role) == ("default", "edit")
    assert record.scores is not None
    assert set(record.scores) == {"small", "large"}
    assert record.session
    assert "mine" not in record.session
    assert record.query_hash


def test_a_fallback_is_counted(start: Callable[..., Serving], cheap: Upstream, strong: Upstream) -> None:
    gateway = start(retries={"attempts": 2, "base": 0.001})
    cheap.script(Behaviour(status=500), Behaviour(status=500))
    assert gateway.chat(models=["small", "large"]).status_code == 200
    (record,) = records(gateway)
    assert (record.asked, record.model, record.attempts, record.fallbacks) == ("small", "large", 3, 1)
    assert record.cost == pytest.approx(price(LARGE, Behaviour()))


@pytest.mark.parametrize(
    ("trouble", "status", "code"),
    [
        (Behaviour(status=429, error={"code": "rate_limit_exceeded"}), 429, "rate_limit_exceeded"),
        (Behaviour(status=400, error={"code": "invalid_value"}), 400, "invalid_value"),
    ],
)
def test_failures_are_kept_and_cost_nothing(
    start: Callable[..., Serving], cheap: Upstream, trouble: Behaviour, status: int, code: str
) -> None:
    gateway = start()
    cheap.script(trouble)
    assert gateway.chat().status_code == status
    (record,) = records(gateway)
    assert (record.status, record.error, record.model, record.cost) == (status, code, "", None)


def test_a_failure_after_which_the_upstream_may_charge_costs_a_guess(
    start: Callable[..., Serving], cheap: Upstream
) -> None:
    gateway = start()
    cheap.script(Behaviour(fault="reset"))
    assert gateway.chat().status_code == 502
    (record,) = records(gateway)
    assert (record.status, record.error, record.model) == (502, "upstream_unavailable", "small")
    assert record.guessed
    assert 0 < record.guessed_cost == record.cost < 1e-4


def test_a_stream_is_billed_though_the_client_did_not_ask(start: Callable[..., Serving], cheap: Upstream) -> None:
    gateway = start()
    cheap.script(Behaviour(input_tokens=70, pieces=("a", "b", "c")))
    assert "usage" not in gateway.chat(stream=True).text
    (record,) = records(gateway)
    assert (record.input_tokens, record.output_tokens) == (70, 3)


def test_a_client_that_left_is_a_499(start: Callable[..., Serving], cheap: Upstream) -> None:
    gateway = start()
    body: dict[str, Any] = {"model": "small", "stream": True, "messages": [{"role": "user", "content": EASY}]}
    cheap.script(Behaviour(fault="hang", at="middle"))
    with raw_request(gateway, body) as connection:
        assert connection.recv(4096)
        received = cheap.arrived()
    assert received.gone.wait(TIMEOUT)
    assert gateway.chat().status_code == 200
    (left, _) = records(gateway)
    assert (left.status, left.error) == (499, "client_disconnected")


def test_a_cut_stream_is_not_a_success(start: Callable[..., Serving], cheap: Upstream) -> None:
    gateway = start()
    cheap.script(Behaviour(fault="reset", at="middle", after=3))
    gateway.chat(stream=True)
    (record,) = records(gateway)
    assert record.error == "stream_cut"


def test_every_request_has_its_row_after_the_end(start: Callable[..., Serving], cheap: Upstream) -> None:
    gateway = start()
    for _ in range(300):
        assert gateway.chat().status_code == 200
    assert len(records(gateway)) == 300
    assert gateway.gateway.status().dropped == 0
    assert len({each.id for each in records(gateway)}) == 300


def test_a_database_that_fails_stops_no_request(
    start: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = start()
    monkeypatch.setattr(type(gateway.gateway.services.storage), "record_requests", _full)
    for _ in range(20):
        assert gateway.chat().status_code == 200


def _full(*_: object) -> None:
    from tiny_dancer.errors import StorageError

    raise StorageError("database", "disk full", "make room")


@pytest.mark.parametrize("kept", [True, False])
def test_prompts_are_kept_only_when_asked(start: Callable[..., Serving], kept: bool) -> None:
    gateway = start(log={"requests": "requests.log", "prompts": kept})
    gateway.chat(HARD, model="auto")
    (record,) = records(gateway)
    assert record.query_text == (HARD if kept else None)
    files = [each.read_bytes() for each in gateway.folder.iterdir() if each.is_file()]
    assert any(HARD.encode() in each for each in files) == kept


@pytest.mark.parametrize(("keep", "left"), [({"keep_days": 30}, ["new"]), ({}, ["old", "new"])])
def test_requests_are_kept_as_long_as_configured(
    cheap: Upstream, strong: Upstream, tmp_path: Path, keep: dict[str, Any], left: list[str]
) -> None:
    now = time.time()
    with SqliteStorage(tmp_path / "gateway.db") as storage:
        storage.record_requests(
            [
                RequestRecord(
                    id="old", time=now - 31 * 86_400, endpoint="route", key="", asked="auto", status=200
                ),
                RequestRecord(
                    id="new", time=now - 29 * 86_400, endpoint="route", key="", asked="auto", status=200
                ),
            ]
        )
    with Serving(settings(cheap, strong, log={"requests": "off", **keep}), tmp_path) as gateway:
        deadline = time.monotonic() + TIMEOUT
        while [each.id for each in records(gateway)] != left:
            assert time.monotonic() < deadline
            time.sleep(0.02)
