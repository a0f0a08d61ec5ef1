"""Streams: event by event, asked for their usage, ended or cut in words the client understands."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import EASY, TIMEOUT, events, streamed, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

PIECES = ("One", " two", " three", " four", " five")
BODY: dict[str, Any] = {"model": "small", "stream": True, "messages": [{"role": "user", "content": EASY}]}


def test_each_event_arrives_before_the_next_is_sent(start: Callable[..., Serving], cheap: Upstream) -> None:
    gateway = start()
    cheap.script(Behaviour(pieces=PIECES, free=1))
    with gateway.http.stream("POST", "/chat/completions", json=BODY) as answer:
        received = cheap.arrived()
        arriving = streamed(answer)
        for number, piece in enumerate(PIECES, 1):
            assert json.loads(next(arriving))["choices"][0]["delta"]["content"] == piece
            assert received.sent == number, "the upstream has not sent the next one yet"
            received.allow()
        assert list(arriving)[-1] == "[DONE]"


@pytest.mark.parametrize("asked", [True, False])
def test_usage_is_shown_only_to_those_who_asked(gateway: Serving, cheap: Upstream, asked: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if asked else {}
    answer = gateway.http.post("/chat/completions", json={**BODY, **options})
    assert cheap.arrived().json["stream_options"] == {"include_usage": True}
    *chunks, done = events(answer.text)
    assert done == "[DONE]"
    usages = [json.loads(each).get("usage") for each in chunks]
    assert [each is not None for each in usages] == [False] * (len(chunks) - 1) + [asked]
    if asked:
        assert usages[-1]["prompt_tokens"] == 30
    else:
        assert "usage" not in answer.text
        assert all(json.loads(each)["choices"] for each in chunks), "no empty chunk is left over"


def test_events_of_one_write_are_all_there(gateway: Serving, cheap: Upstream) -> None:
    cheap.script(Behaviour(pieces=PIECES * 20, batch=True))
    answer = gateway.http.post("/chat/completions", json=BODY)
    assert text_of(answer.text) == "".join(PIECES) * 20
    assert answer.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("fault", ["cut", "reset"])
def test_a_stream_that_is_cut_says_so(gateway: Serving, cheap: Upstream, strong: Upstream, fault: str) -> None:
    cheap.script(Behaviour(pieces=PIECES, fault=fault, at="middle", after=3))
    answer = gateway.http.post("/chat/completions", json={**BODY, "models": ["small", "large"]})
    *chunks, last = events(answer.text)
    seen = "".join(json.loads(each)["choices"][0]["delta"]["content"] for each in chunks)
    assert "".join(PIECES[:3]).startswith(seen)
    assert seen, "what came before the cut is not held back"
    error = json.loads(last)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert "[DONE]" not in answer.text, "a cut stream is not a finished one"
    assert not strong.received, "no other model goes on with what one began"


def test_a_stream_that_hangs_in_the_middle_is_ended(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    upstreams = {
        "cheap": {"base_url": cheap.url, "timeouts": {"idle": 0.3}},
        "strong": {"base_url": strong.url},
    }
    gateway = start(upstreams=upstreams)
    cheap.script(Behaviour(pieces=PIECES, fault="hang", at="middle", after=2))
    answer = gateway.http.post("/chat/completions", json=BODY)
    assert "error" in json.loads(events(answer.text)[-1])
    assert cheap.arrived().gone.wait(TIMEOUT), "the upstream is let go"


@pytest.mark.parametrize(
    "trouble",
    [
        Behaviour(status=429, headers={"retry-after": "20"}),
        Behaviour(status=500),
        Behaviour(status=503),
        Behaviour(fault="cut"),
        Behaviour(fault="reset"),
        Behaviour(fault="cut", at="first"),
        Behaviour(fault="hang"),
        Behaviour(fault="hang", at="first"),
        Behaviour(body=b"data: {oh no\n\n", content_type="text/event-stream"),
        Behaviour(body=b"<html>Bad gateway</html>", content_type="text/html"),
        Behaviour(body=b'data: {"error":{"message":"overloaded"}}\n\n', content_type="text/event-stream"),
    ],
    ids=["429", "500", "503", "cut", "reset", "cut first", "hang", "hang first", "garbage", "html", "error event"],
)
def test_before_the_first_content_another_model_takes_over(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, trouble: Behaviour
) -> None:
    impatient = {"base_url": cheap.url, "timeouts": {"first_byte": 0.3, "idle": 0.3}}
    gateway = start(upstreams={"cheap": impatient, "strong": {"base_url": strong.url}})
    cheap.script(trouble)
    strong.script(Behaviour(pieces=PIECES))
    answer = gateway.http.post("/chat/completions", json={**BODY, "models": ["small", "large"]})
    assert answer.status_code == 200, answer.text
    assert text_of(answer.text) == "".join(PIECES)
    assert answer.headers["x-td-model"] == "large"
    assert answer.text.endswith("data: [DONE]\n\n")
    assert strong.arrived().json["model"] == "vendor/large-1"


def test_an_error_before_the_stream_is_plain_json(gateway: Serving, cheap: Upstream) -> None:
    cheap.script(Behaviour(status=400, error={"message": "no such thing", "param": "top_k", "code": "bad"}))
    answer = gateway.http.post("/chat/completions", json=BODY)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "top_k"


def raw_request(gateway: Serving, body: dict[str, Any], receive_buffer: int | None = None) -> socket.socket:
    """A connection on which the request has been sent."""
    content = json.dumps(body).encode()
    connection = socket.socket()
    connection.settimeout(TIMEOUT)
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect(("127.0.0.1", gateway.port))
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
    connection.sendall(f"{head}connection: close\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content)
    return connection


def test_a_slow_reader_makes_the_upstream_wait(start: Callable[..., Serving], cheap: Upstream) -> None:
    gateway = start()
    piece, count = "x" * 16_000, 4_000
    cheap.script(Behaviour(pieces=(piece,) * count))
    with raw_request(gateway, BODY, receive_buffer=16_384) as connection:
        received = cheap.arrived()
        taken = connection.recv(4096)
        unchanged, before = 0, -1
        deadline = time.monotonic() + TIMEOUT
        while unchanged < 10:  # nobody tells when nothing more will happen
            assert time.monotonic() < deadline, "writing never came to rest"
            now = received.written
            unchanged = unchanged + 1 if received.blocked and now == before else 0
            before = now
            time.sleep(0.05)
        assert received.written < 24_000_000, "most of 64 MB waits where it comes from"
        size = len(taken)
        while part := connection.recv(1 << 20):
            size += len(part)
            taken = (taken + part)[-100:]
    assert size > len(piece) * count
    assert b"[DONE]" in taken
    assert received.finished.wait(TIMEOUT)
