"""Which failures go to the next model, which to the client, and in whose words."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import SMALL, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway_upstream import Received, Upstream
    from tests.integration.gateway.serving import Serving

BOTH = {"models": ["small", "large"]}
TOO_LONG = {
    "message": "This model's maximum context length is 4096 tokens.",
    "type": "invalid_request_error",
    "param": "messages",
    "code": "context_length_exceeded",
}


def impatient(upstream: Upstream, **times: float) -> dict[str, Any]:
    return {"base_url": upstream.url, "timeouts": {"first_byte": 0.3, "idle": 0.3, **times}}


@pytest.mark.parametrize(
    "trouble",
    [
        Behaviour(status=429),
        Behaviour(status=429, headers={"retry-after": "3600"}),
        Behaviour(status=408),
        Behaviour(status=500),
        Behaviour(status=502, body=b"<html>Bad gateway</html>", content_type="text/html"),
        Behaviour(status=503),
        Behaviour(status=529),
        Behaviour(status=400, error=TOO_LONG),
        Behaviour(status=401),
        Behaviour(status=404, error={"code": "model_not_found"}),
        Behaviour(fault="cut"),
        Behaviour(fault="reset"),
        Behaviour(fault="cut", at="middle"),
        Behaviour(fault="reset", at="middle"),
        Behaviour(fault="hang"),
        Behaviour(fault="hang", at="middle"),
        Behaviour(body=b'{"id": "chatcmpl-1", "choices": ['),
        Behaviour(body=b""),
        Behaviour(body=b"<html>Log in</html>", content_type="text/html"),
        Behaviour(body=b'{"detail": "not what you think"}'),
        Behaviour(status=302, headers={"location": "http://127.0.0.1:1/"}, body=b"{}"),
    ],
    ids=lambda each: f"{each.status} {each.fault} {each.at if each.fault else (each.body or b'')[:8]!r}",
)
def test_an_upstream_s_failure_goes_to_the_next_model(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, trouble: Behaviour
) -> None:
    gateway = start(upstreams={"cheap": impatient(cheap, total=0.6), "strong": {"base_url": strong.url}})
    cheap.script(trouble)
    answer = gateway.chat(**BOTH)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-td-model"] == "large"
    assert answer.json()["model"] == "vendor/large-1"
    assert len(cheap.received) == len(strong.received) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "invalid_value"),
        (400, None),
        (413, "request_too_large"),
        (422, "unprocessable"),
        (400, "content_policy_violation"),
    ],
)
def test_the_caller_s_mistake_goes_to_the_caller(
    gateway: Serving, cheap: Upstream, strong: Upstream, status: int, code: str | None
) -> None:
    error = {"message": "You cannot do that.", "type": "invalid_request_error", "param": "seed", "code": code}
    cheap.script(Behaviour(status=status, error=error, headers={"x-request-id": "req_7"}))
    answer = gateway.chat(**BOTH)
    assert answer.status_code == status
    assert answer.json()["error"] == error
    assert not strong.received
    assert gateway.states()["small"] == "closed"


def test_the_last_failure_keeps_its_status_code_and_headers(
    gateway: Serving, cheap: Upstream, strong: Upstream
) -> None:
    said = {"retry-after": "7", "retry-after-ms": "6500", "x-ratelimit-remaining-requests": "0"}
    error = {"message": "Slow down.", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
    cheap.script(Behaviour(status=429, headers=said, error=error))
    answer = gateway.chat()
    assert answer.status_code == 429
    assert answer.json()["error"] == error
    for name, value in said.items():
        assert answer.headers[name] == value
    assert not strong.received, "the client named one model, and no other"


@pytest.mark.parametrize(
    ("trouble", "status"),
    [
        (Behaviour(fault="reset"), 502),
        (Behaviour(body=b"{"), 502),
        (Behaviour(fault="hang"), 504),
        (Behaviour(status=500), 500),
        (Behaviour(status=503), 503),
    ],
)
def test_without_a_fallback_the_client_is_told(
    start: Callable[..., Serving], cheap: Upstream, trouble: Behaviour, status: int
) -> None:
    gateway = start(upstreams={"cheap": impatient(cheap), "strong": {"base_url": cheap.url}})
    cheap.script(trouble)
    answer = gateway.chat()
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert str(cheap.port) not in error["message"], "addresses of upstreams are nobody's business"


def test_a_bad_key_of_ours_is_not_the_caller_s_fault(gateway: Serving, cheap: Upstream) -> None:
    cheap.script(
        Behaviour(status=401, error={"message": "Incorrect API key provided: sk-of-cheap", "code": "bad"})
    )
    answer = gateway.chat()
    assert answer.status_code >= 400
    assert "sk-of-cheap" not in answer.text


def test_auto_falls_back_when_the_context_is_too_long(gateway: Serving, cheap: Upstream, strong: Upstream) -> None:
    cheap.script(Behaviour(status=400, error=TOO_LONG))
    answer = gateway.chat(model="auto", td={"threshold": 1.0})
    assert answer.status_code == 200
    assert answer.headers["x-td-model"] == "large"
    assert gateway.states()["small"] == "closed", "the model is not at fault"


def test_a_prompt_beyond_the_window_is_not_sent_to_it(gateway: Serving, cheap: Upstream, strong: Upstream) -> None:
    answer = gateway.chat("word " * 6000, model="auto", td={"threshold": 1.0})
    assert answer.status_code == 200
    assert answer.headers["x-td-model"] == "large"
    assert not cheap.received


def test_where_no_window_is_large_enough_the_client_learns_the_code(
    gateway: Serving, cheap: Upstream, strong: Upstream
) -> None:
    cheap.script(Behaviour(status=400, error=TOO_LONG))
    strong.script(Behaviour(status=400, error=TOO_LONG))
    answer = gateway.chat(**BOTH)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_a_retry_at_the_same_model_succeeds(start: Callable[..., Serving], cheap: Upstream) -> None:
    gateway = start(retries={"attempts": 3, "base": 0.01})
    for trouble in (Behaviour(status=500), Behaviour(status=429, headers={"retry-after-ms": "5"})):
        cheap.forget()
        cheap.script(trouble, trouble)
        answer = gateway.chat()
        assert answer.status_code == 200, answer.text
        assert len(cheap.received) == 3
        assert cheap.received[0].body == cheap.received[2].body


def test_a_long_retry_after_is_not_waited_for(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    gateway = start(retries={"attempts": 5, "base": 0.01, "longest": 0.1})
    cheap.script(Behaviour(status=429, headers={"retry-after": "3600"}))
    assert gateway.chat(**BOTH).headers["x-td-model"] == "large"
    assert len(cheap.received) == 1


def test_retries_have_a_budget(start: Callable[..., Serving], cheap: Upstream) -> None:
    calm = {"threshold": 100_000}
    gateway = start(retries={"attempts": 4, "base": 0.001, "budget": 0.1}, breaker=calm)
    cheap.usual = Behaviour(status=500)
    for _ in range(100):
        assert gateway.chat().status_code == 500
    assert 100 < len(cheap.received) <= 100 + 10 + 10 + 2, "ten always, and a tenth of the requests"


def test_another_deployment_of_the_same_model_takes_over(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    deployments = [{"upstream": "cheap", "weight": 1e6}, {"upstream": "strong", "weight": 1e-6}]
    gateway = start(
        models={"small": {**SMALL, "deployments": deployments}},
        routers={},
        retries={"attempts": 2, "base": 0.001},
    )
    cheap.script(Behaviour(status=500))
    answer = gateway.chat()
    assert answer.status_code == 200
    assert answer.headers["x-td-model"] == "small"
    assert len(cheap.received) == len(strong.received) == 1


def test_weights_share_the_traffic(start: Callable[..., Serving], cheap: Upstream, strong: Upstream) -> None:
    deployments = [{"upstream": "cheap", "weight": 3}, {"upstream": "strong", "weight": 1}]
    gateway = start(models={"small": {**SMALL, "deployments": deployments}}, routers={})
    for _ in range(200):
        assert gateway.chat().status_code == 200
    # 150 of 200 expected, standard deviation 6.
    assert 110 <= len(cheap.received) <= 190
    assert len(cheap.received) + len(strong.received) == 200


def test_a_pooled_connection_that_went_stale_costs_nobody_an_error(
    start: Callable[..., Serving], cheap: Upstream
) -> None:
    gateway = start(retries={"attempts": 2, "base": 0.01})
    for _ in range(5):
        assert gateway.chat().status_code == 200
        cheap.close_idle()
    cheap.script(Behaviour(close=True), Behaviour(close=True))
    for _ in range(4):
        assert gateway.chat().status_code == 200
    cheap.script(Behaviour(fault="stale"))
    assert gateway.chat().status_code == 200
    assert gateway.states()["small"] == "closed"


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_is_never_made_twice(start: Callable[..., Serving], cheap: Upstream, stream: bool) -> None:
    gateway = start(retries={"attempts": 3, "base": 0.01})
    body = {"model": "small", "input": "Hi", "stream": stream}
    assert gateway.chat().status_code == 200
    cheap.script(Behaviour(fault="stale"))
    assert gateway.http.post("/responses", json=body).status_code == 502
    assert [each.path for each in cheap.received] == ["/v1/chat/completions", "/v1/responses"]


def test_a_request_that_breaks_connections_is_not_sent_on_all_of_them(
    start: Callable[..., Serving], cheap: Upstream
) -> None:
    gateway = start()
    cheap.usual = Behaviour(free=0)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(gateway.chat, stream=True) for _ in range(8)]
        cheap.arrived(8)
        for each in cheap.received:
            each.allow(100)
        assert all(each.result().status_code == 200 for each in answers)
    cheap.forget()
    cheap.usual = Behaviour(fault="reset")
    assert gateway.chat().status_code == 502
    assert len(cheap.received) <= 2, "once on a kept connection, which may have been stale, and once on a new one"


def test_a_connection_broken_as_the_request_arrives_goes_to_the_next_model(
    gateway: Serving, cheap: Upstream, strong: Upstream
) -> None:
    assert gateway.chat().status_code == 200
    cheap.script(Behaviour(fault="stale"))
    answer = gateway.chat(**BOTH)
    assert answer.status_code == 200
    assert len(strong.received) + len(cheap.received) in (2, 3)


def test_a_server_that_is_not_there_is_passed_over(start: Callable[..., Serving], strong: Upstream) -> None:
    nobody = {"base_url": "http://127.0.0.1:1/v1"}
    gateway = start(upstreams={"cheap": nobody, "strong": {"base_url": strong.url}})
    for _ in range(8):
        answer = gateway.chat(**BOTH)
        assert (answer.status_code, answer.headers["x-td-model"]) == (200, "large")
    assert gateway.states()["small"] == "open"


def test_the_total_time_is_kept(start: Callable[..., Serving], cheap: Upstream, strong: Upstream) -> None:
    slow = {"base_url": cheap.url, "timeouts": {"total": 0.5}}
    gateway = start(upstreams={"cheap": slow, "strong": {"base_url": strong.url}})
    cheap.script(Behaviour(pieces=("x",) * 10_000, delay=0.02))
    answer = gateway.chat(stream=True)
    assert '"error"' in answer.text
    assert cheap.arrived().gone.wait(TIMEOUT)


def test_too_many_at_once_go_elsewhere(start: Callable[..., Serving], cheap: Upstream, strong: Upstream) -> None:
    narrow = {"base_url": cheap.url, "max_concurrency": 1}
    gateway = start(upstreams={"cheap": narrow, "strong": {"base_url": strong.url}})
    cheap.script(Behaviour(free=1))
    body = {"model": "small", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    with gateway.http.stream("POST", "/chat/completions", json=body) as first:
        held: Received = cheap.arrived()
        assert gateway.chat(**BOTH).headers["x-td-model"] == "large"
        held.allow(100)
        first.read()
    assert gateway.chat(**BOTH).headers["x-td-model"] == "small"


def test_a_rate_is_kept(start: Callable[..., Serving], cheap: Upstream, strong: Upstream) -> None:
    slow = {"base_url": cheap.url, "requests_per_minute": 3}
    gateway = start(upstreams={"cheap": slow, "strong": {"base_url": strong.url}})
    served = [gateway.chat(**BOTH).headers["x-td-model"] for _ in range(6)]
    assert served == ["small"] * 3 + ["large"] * 3
    alone = gateway.chat()
    assert alone.status_code in (429, 503)
    assert float(alone.headers["retry-after"]) > 0
