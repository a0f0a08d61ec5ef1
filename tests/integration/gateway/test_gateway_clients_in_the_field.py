"""Clients as they are met: impatient ones, old ones, such as never read, and Azure's."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import LARGE, SMALL, TIMEOUT, Serving, events, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway_upstream import Upstream

SAID: list[Any] = [{"role": "user", "content": "Hi there, how are you?"}]
ANSWER = "Hello there, my friend."
# Long silences before the first event and between any two.
SILENT = Behaviour(free=0)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def impatient(start: Callable[..., Serving], cheap: Upstream, strong: Upstream) -> Serving:
    """``small`` is OpenAI's, ``large`` Anthropic's; a silence is a tenth of a second."""
    return start(
        upstreams={
            "cheap": {"base_url": cheap.url, "api_key": "sk-of-cheap"},
            "strong": {"kind": "anthropic", "base_url": strong.url, "api_key": "sk-of-strong"},
        },
        models={
            "small": {**SMALL, "deployments": [{"upstream": "cheap"}]},
            "large": {**LARGE, "deployments": [{"upstream": "strong"}]},
        },
        limits={"stream_ping": 0.1},
    )


@pytest.mark.parametrize("model", ["small", "large"])
def test_sdks_read_over_signs_of_life(impatient: Serving, cheap: Upstream, strong: Upstream, model: str) -> None:
    upstream = cheap if model == "small" else strong
    slow = Behaviour(delay=0.25)
    upstream.script(slow, slow)
    with openai.OpenAI(base_url=impatient.url, api_key="sk-any", max_retries=0) as client:
        chunks = list(client.chat.completions.create(model=model, messages=SAID, stream=True, max_tokens=99))
        assert "".join(each.choices[0].delta.content or "" for each in chunks if each.choices) == ANSWER
    with (
        anthropic.Anthropic(base_url=impatient.url.removesuffix("/v1"), api_key="sk-any", max_retries=0) as other,
        other.messages.stream(model=model, messages=SAID, max_tokens=99) as stream,
    ):
        assert stream.get_final_text() == ANSWER


@pytest.mark.parametrize(("path", "ping"), [("/chat/completions", b": ping\n\n"), ("/messages", b"event: ping\n")])
def test_signs_of_life_come_before_and_between_the_words(
    impatient: Serving, cheap: Upstream, path: str, ping: bytes
) -> None:
    cheap.script(SILENT)
    body = {"model": "small", "messages": SAID, "stream": True, "max_tokens": 99}
    with impatient.http.stream("POST", path, json=body) as answer:
        assert answer.status_code == 200
        assert "x-td-model" not in answer.headers
        assert answer.headers["x-td-decision"]
        pieces = answer.iter_raw()
        got = b""
        while got.count(ping) < 2:
            got += next(pieces)
        assert b'data: {"id"' not in got
        received = cheap.arrived()
        received.allow(2)
        while b"Hello" not in got:
            got += next(pieces)
        before = got.count(ping)
        while got.count(ping) < before + 2:
            got += next(pieces)
        received.allow(100)
        got += b"".join(pieces)
    if path == "/chat/completions":
        assert text_of(got) == ANSWER
        assert events(got)[-1] == "[DONE]"


def test_a_client_of_http_1_0_reads_a_stream_to_the_end_of_the_connection(gateway: Serving) -> None:
    body = json.dumps({"model": "small", "messages": SAID, "stream": True}).encode()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=TIMEOUT) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert text_of(rest) == ANSWER


@pytest.mark.parametrize("which", ["write_timeout", "total"])
def test_a_client_that_never_reads_loses_its_place(
    start: Callable[..., Serving], cheap: Upstream, which: str
) -> None:
    more: dict[str, Any] = {"limits": {"write_timeout": 0.5}}
    if which == "total":
        more = {"upstreams": {"cheap": {"base_url": cheap.url, "timeouts": {"total": 1.5}}}}
        more["models"] = {"small": {**SMALL, "deployments": [{"upstream": "cheap"}]}}
        more["routers"] = {}
    gateway = start(**more)
    cheap.script(Behaviour(pieces=("x" * 100_000,) * 1_000))
    body = json.dumps({"model": "small", "messages": SAID, "stream": True}).encode()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=TIMEOUT) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        received = cheap.arrived()
        until(lambda: gateway.gateway.services.in_flight == 1)
        until(lambda: gateway.gateway.services.in_flight == 0)
        assert received.gone.wait(TIMEOUT), "the upstream is let go too"
    assert gateway.states()["small"] == "closed"
    accounting, storage = gateway.gateway.services.accounting, gateway.gateway.services.storage
    assert accounting.flush(TIMEOUT)
    (record,) = storage.request_history()
    assert record.error == "client_disconnected"


def test_unfinished_uploads_hold_no_more_than_they_may(start: Callable[..., Serving], cheap: Upstream) -> None:
    gateway = start(limits={"body_bytes": 1_000_000, "bodies_bytes": 2_000_000})
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    open_ones = [socket.create_connection(("127.0.0.1", gateway.port), timeout=TIMEOUT) for _ in range(6)]
    try:
        for each in open_ones:
            each.sendall(head + bytes(600_000))
        until(lambda: gateway.gateway.services.in_flight == 3)
        held = gateway.gateway.services.bodies.held
        assert 1_000_000 < held <= 2_000_000
        assert gateway.chat().status_code == 200, "small ones are served meanwhile"
    finally:
        for each in open_ones:
            each.close()
    until(lambda: gateway.gateway.services.bodies.held == 0)
    assert len(cheap.received) == 1


def test_azure_s_client(gateway: Serving) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=gateway.url.removesuffix("/v1"), api_key="any", api_version="2024-10-21", max_retries=0
    ) as client:
        answer = client.chat.completions.create(model="small", messages=SAID)
        assert answer.choices[0].message.content == ANSWER
        stream = client.chat.completions.create(model="large", messages=SAID, stream=True)
        assert "".join(each.choices[0].delta.content or "" for each in stream if each.choices) == ANSWER
        assert client.embeddings.create(model="small", input="a").data


def test_a_base_url_with_a_slash_too_many(gateway: Serving) -> None:
    with openai.OpenAI(base_url=gateway.url + "//", api_key="sk-any", max_retries=0) as client:
        assert client.chat.completions.create(model="small", messages=SAID).choices[0].message.content == ANSWER
        assert client.models.list().data
