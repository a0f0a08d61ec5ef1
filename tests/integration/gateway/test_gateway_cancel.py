"""A client that goes away is an upstream let go, in every phase, and nobody's failure."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import EASY, TIMEOUT
from tests.integration.gateway.test_gateway_streaming import raw_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

WHOLE: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": EASY}]}
STREAM: dict[str, Any] = {**WHOLE, "stream": True}
PHASES = {
    "before headers, whole": (WHOLE, Behaviour(fault="hang")),
    "within the body, whole": (WHOLE, Behaviour(fault="hang", at="middle")),
    "before headers, streamed": (STREAM, Behaviour(fault="hang")),
    "before the first token": (STREAM, Behaviour(fault="hang", at="first")),
    "in the middle": (STREAM, Behaviour(fault="hang", at="middle", after=2)),
}


@pytest.mark.parametrize("phase", PHASES)
def test_the_upstream_learns_that_the_client_left(
    start: Callable[..., Serving], cheap: Upstream, phase: str
) -> None:
    gateway = start()
    body, behaviour = PHASES[phase]
    cheap.script(behaviour)
    with raw_request(gateway, body) as connection:
        received = cheap.arrived()
        if phase == "in the middle":
            seen = b""
            while b" there" not in seen:
                seen += connection.recv(4096)
        assert not received.gone.is_set()
    assert received.gone.wait(TIMEOUT), "the upstream still works for nobody"
    assert gateway.chat().status_code == 200


def test_an_upstream_ahead_of_its_reader_learns_it_too(gateway: Serving, cheap: Upstream) -> None:
    cheap.script(Behaviour(pieces=("x" * 16_000,) * 4_000))
    with raw_request(gateway, STREAM, receive_buffer=16_384) as connection:
        received = cheap.arrived()
        connection.recv(4096)
    assert received.gone.wait(TIMEOUT)


def test_cancelled_calls_are_no_failures_of_the_upstream(start: Callable[..., Serving], cheap: Upstream) -> None:
    gateway = start(breaker={"threshold": 2})
    for number in range(1, 7):
        cheap.script(Behaviour(fault="hang", at="first"))
        with raw_request(gateway, STREAM):
            received = cheap.arrived(number)
        assert received.gone.wait(TIMEOUT)
    assert gateway.states()["small"] == "closed"
    assert gateway.chat().headers["x-td-model"] == "small"


def test_no_other_model_is_tried_for_a_client_that_left(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    gateway = start(retries={"attempts": 3, "base": 0.01})
    cheap.script(Behaviour(fault="hang"))
    with raw_request(gateway, {**STREAM, "models": ["small", "large"]}):
        received = cheap.arrived()
    assert received.gone.wait(TIMEOUT)
    assert gateway.chat(model="large").status_code == 200
    assert len(strong.received) == 1
    assert len(cheap.received) == 1


def test_many_clients_leave_at_once(gateway: Serving, cheap: Upstream) -> None:
    cheap.usual = Behaviour(fault="hang", at="first")

    async def leave() -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=gateway.url, timeout=TIMEOUT, trust_env=False, limits=limits
        ) as client:
            calls = [asyncio.create_task(client.post("/chat/completions", json=STREAM)) for _ in range(50)]
            await asyncio.to_thread(cheap.arrived, 50)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    asyncio.run(leave())
    assert all(each.gone.wait(TIMEOUT) for each in cheap.received)
    cheap.forget()
    assert gateway.chat().status_code == 200
    assert gateway.gateway.status().in_flight == 0
