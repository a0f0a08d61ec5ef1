"""A thousand requests while an upstream does what upstreams do: none is lost, and it is taken back when well."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

import httpx
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import EASY, TIMEOUT, events, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway_upstream import Received, Upstream
    from tests.integration.gateway.serving import Serving

ANSWER = "Hello there, my friend."
FAULTS = (
    Behaviour(status=429, headers={"retry-after": "0"}),
    Behaviour(status=500),
    Behaviour(status=503),
    Behaviour(fault="hang"),
    Behaviour(fault="hang", at="first"),
    Behaviour(fault="cut"),
    Behaviour(fault="reset"),
    Behaviour(fault="cut", at="first"),
    Behaviour(body=b'{"choices": ['),
    Behaviour(),
    Behaviour(),
)
REQUESTS = 1000


def everything(received: Received) -> Behaviour:
    return FAULTS[received.number % len(FAULTS)]


def send(gateway: Serving, count: int, at_once: int = 40) -> list[httpx.Response]:
    """Every other one streamed, all with a healthy model to fall back to."""

    async def one(client: httpx.AsyncClient, number: int, gate: asyncio.Semaphore) -> httpx.Response:
        body = {
            "models": ["small", "large"],
            "messages": [{"role": "user", "content": EASY}],
            "stream": number % 2 == 1,
        }
        async with gate:
            return await client.post("/chat/completions", json=body)

    async def run() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=at_once)
        async with httpx.AsyncClient(
            base_url=gateway.url, timeout=TIMEOUT, trust_env=False, limits=limits
        ) as client:
            gate = asyncio.Semaphore(at_once)
            return await asyncio.gather(*(one(client, number, gate) for number in range(count)))

    return asyncio.run(run())


def check(answers: list[httpx.Response]) -> Counter[str]:
    """Every answer is whole and right; how many each model gave."""
    served: Counter[str] = Counter()
    for number, answer in enumerate(answers):
        assert answer.status_code == 200, answer.text
        if number % 2:
            assert events(answer.text)[-1] == "[DONE]", answer.text
            said = text_of(answer.text)
        else:
            said = answer.json()["choices"][0]["message"]["content"]
        assert said == ANSWER
        served[answer.headers["x-td-model"]] += 1
    return served


def begin(start: Callable[..., Serving], cheap: Upstream, strong: Upstream, breaker: dict[str, float]) -> Serving:
    impatient = {"base_url": cheap.url, "timeouts": {"first_byte": 0.2, "idle": 0.2}}
    return start(upstreams={"cheap": impatient, "strong": {"base_url": strong.url}}, breaker=breaker)


def test_no_request_is_lost(start: Callable[..., Serving], cheap: Upstream, strong: Upstream) -> None:
    gateway = begin(start, cheap, strong, {"threshold": 1_000_000})
    cheap.usual = everything
    served = check(send(gateway, REQUESTS))
    assert len(cheap.received) >= REQUESTS, "the breaker stays closed: every request goes there first"
    healthy = sum(not everything(each).fault and everything(each) == Behaviour() for each in cheap.received)
    assert served == {"small": healthy, "large": REQUESTS - healthy}
    assert len(strong.received) == served["large"]
    assert gateway.gateway.status().in_flight == 0


def test_the_breaker_opens_and_recovers(start: Callable[..., Serving], cheap: Upstream, strong: Upstream) -> None:
    gateway = begin(start, cheap, strong, {"threshold": 5, "cooldown": 0.2, "longest_cooldown": 0.4})
    assert check(send(gateway, 10)) == {"small": 10}
    cheap.forget()
    cheap.usual = Behaviour(status=500)
    assert check(send(gateway, 300)) == {"large": 300}
    (small,) = [each for each in gateway.gateway.status().deployments if each.model == "small"]
    assert small.state in ("open", "half_open")
    assert small.openings >= 1
    assert len(cheap.received) < 150, "an open breaker spares the upstream"
    cheap.usual = Behaviour()
    deadline = time.monotonic() + TIMEOUT
    while gateway.states()["small"] != "closed":
        assert time.monotonic() < deadline, "it never recovered"
        check(send(gateway, 1))
        time.sleep(0.02)
    assert check(send(gateway, 50)) == {"small": 50}


def test_flapping_upstreams_lose_nothing(start: Callable[..., Serving], cheap: Upstream, strong: Upstream) -> None:
    gateway = begin(start, cheap, strong, {"threshold": 5, "cooldown": 0.05, "longest_cooldown": 0.1})
    cheap.usual = lambda received: Behaviour() if received.number // 20 % 2 else Behaviour(fault="reset")
    served = check(send(gateway, 400))
    assert served["small"] > 0
    assert served["large"] > 0


def test_one_model_s_breaker_is_not_another_s(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    gateway = start(breaker={"threshold": 3, "cooldown": 100})
    strong.usual = Behaviour(status=500)
    for _ in range(4):
        assert gateway.chat(model="large").status_code >= 500
    assert gateway.states() == {"small": "closed", "large": "open"}
    refused = gateway.chat(model="large")
    assert refused.status_code == 503
    assert len(strong.received) <= 4
    assert gateway.chat(model="auto", td={"threshold": -1.0}).headers["x-td-model"] == "small"
