"""Streams at upstreams that do not know ``stream_options``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import TIMEOUT, text_of
from tests.integration.gateway.test_gateway_records import records

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway_upstream import Received, Upstream
    from tests.integration.gateway.serving import Serving

ANSWER = "Hello there, my friend."
ERRORS: dict[int, dict[str, Any]] = {
    400: {"message": "Unknown parameter: 'stream_options'.", "param": "stream_options"},
    422: {"message": "[{'loc': ('body', 'stream_options'), 'msg': 'Extra inputs are not permitted'}]"},
}


def refusing(status: int) -> Callable[[Received], Behaviour]:
    def decide(received: Received) -> Behaviour:
        if "stream_options" in received.json:
            return Behaviour(status=status, error=ERRORS[status])
        return Behaviour(usage=False)

    return decide


def upstreams(cheap: Upstream, strong: Upstream, **more: Any) -> dict[str, Any]:
    return {"cheap": {"base_url": cheap.url, **more}, "strong": {"base_url": strong.url}}


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("path", ["/chat/completions", "/messages"])
def test_what_is_refused_is_left_out_at_once_and_from_then_on(
    start: Callable[..., Serving], cheap: Upstream, status: int, path: str
) -> None:
    gateway = start(breaker={"threshold": 1})
    cheap.usual = refusing(status)
    body = {"model": "small", "messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 9}
    for _ in range(2):
        answer = gateway.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        assert "error" not in answer.text
    assert ["stream_options" in each.json for each in cheap.received] == [True, False, False]
    assert gateway.states()["small"] == "closed"
    assert [row.status for row in records(gateway)] == [200, 200]


def test_a_client_that_asks_for_usage_gets_its_stream(start: Callable[..., Serving], cheap: Upstream) -> None:
    gateway = start()
    cheap.usual = refusing(400)
    for _ in range(2):
        answer = gateway.chat(stream=True, stream_options={"include_usage": True})
        assert text_of(answer.text) == ANSWER
    assert len(cheap.received) == 3


def test_a_client_s_own_mistake_is_the_client_s(start: Callable[..., Serving], cheap: Upstream) -> None:
    gateway = start()
    cheap.script(Behaviour(status=400, error={"message": "stream_options.x is unknown"}))
    answer = gateway.chat(stream=True, stream_options={"x": 1})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "stream_options.x is unknown")
    gateway.chat(stream=True)
    assert "stream_options" in cheap.arrived(2).json, "the next one is asked as before"


def test_a_refusal_that_has_another_reason_teaches_nothing(start: Callable[..., Serving], cheap: Upstream) -> None:
    gateway = start()
    refused = Behaviour(status=400, error={"message": "bad temperature in {'stream_options': …}"})
    cheap.script(refused, refused)
    assert gateway.chat(stream=True, temperature=9).status_code == 400
    gateway.chat(stream=True)
    assert ["stream_options" in each.json for each in cheap.received] == [True, False, True]


def test_the_switch(start: Callable[..., Serving], cheap: Upstream, strong: Upstream) -> None:
    off = start(upstreams=upstreams(cheap, strong, stream_options=False))
    assert text_of(off.chat(stream=True, stream_options={"include_usage": True}).text) == ANSWER
    assert "stream_options" not in cheap.arrived().json
    assert cheap.arrived().finished.wait(TIMEOUT)
    on = start(upstreams=upstreams(cheap, strong, stream_options=True))
    cheap.usual = refusing(400)
    assert on.chat(stream=True).status_code == 400
    assert len(cheap.received) == 2
