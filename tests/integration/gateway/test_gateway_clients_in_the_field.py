"""Clients as they are met: impatient ones, old ones, such as never read, and Azure's."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
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
        bodies = gateway.gateway.services.bodies
        until(lambda: gateway.gateway.services.in_flight == 3 and bodies.held > 1_000_000)
        assert bodies.held <= 2_000_000
        assert gateway.chat().status_code == 200, "small ones are served meanwhile"
    finally:
        for each in open_ones:
            each.close()
    until(lambda: gateway.gateway.services.bodies.held == 0)
    assert len(cheap.received) == 1


def test_azure_s_client(gateway: Serving, cheap: Upstream) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=gateway.url.removesuffix("/v1"), api_key="any", api_version="2024-10-21", max_retries=0
    ) as client:
        answer = client.chat.completions.create(model="small", messages=SAID)
        assert answer.choices[0].message.content == ANSWER
        stream = client.chat.completions.create(model="large", messages=SAID, stream=True)
        assert "".join(each.choices[0].delta.content or "" for each in stream if each.choices) == ANSWER
        assert client.embeddings.create(model="small", input="a").data
        cheap.usual = Behaviour(body=b'{"text": "a", "created": 1, "data": []}')
        client.audio.speech.create(model="small", input="a", voice="alloy")
        assert cheap.received[-1].json["model"] == "vendor/small-1"
        client.audio.transcriptions.create(model="small", file=("a.mp3", b"abc"))
        assert b"vendor/small-1" in cheap.received[-1].body
        client.images.generate(model="small", prompt="a")
        client.images.edit(model="small", prompt="a", image=("a.png", b"abc"))
        assert [each.path for each in cheap.received[-2:]] == ["/v1/images/generations", "/v1/images/edits"]


def test_a_base_url_with_a_slash_too_many(gateway: Serving) -> None:
    with openai.OpenAI(base_url=gateway.url + "//", api_key="sk-any", max_retries=0) as client:
        assert client.chat.completions.create(model="small", messages=SAID).choices[0].message.content == ANSWER
        assert client.models.list().data


@pytest.mark.parametrize("model", ["small", "large"])
def test_half_an_emoji_does_not_end_a_conversation(
    impatient: Serving, cheap: Upstream, strong: Upstream, model: str
) -> None:
    """Clients cut texts in the middle of one; readers of JSON refuse that, and would in every later turn."""
    text = r"cut \ud83d here, \ude00 there, whole \ud83d\ude00, written \\ud83d, twice \ud83d\ud83d\ude00"
    body = rf'{{"model": "{model}", "max_tokens": 9, "messages": [{{"role": "user", "content": "{text}"}}]}}'
    answer = impatient.http.post("/chat/completions", content=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-td-adapted"] == "lone_surrogates"
    said = (cheap if model == "small" else strong).arrived().json["messages"][0]["content"]
    if model == "large":
        said = said[0]["text"]
    assert said == "cut \ufffd here, \ufffd there, whole \U0001f600, written \\ud83d, twice \ufffd\U0001f600"
    # What is broken otherwise stays so.
    assert impatient.http.post("/chat/completions", content=body[:-1]).status_code == 400


def test_a_page_learns_why_its_request_was_refused_at_the_edge(start: Callable[..., Serving]) -> None:
    page = "https://chat.example.com"
    gateway = start(access={"origins": [page]}, limits={"body_bytes": 1_000, "header_bytes": 2_000})
    for origin in (page, "https://other.example.com"):
        for text, headers, status in (("x" * 2_000, {}, 413), ("x", {"x-a": "a" * 3_000}, 431)):
            answer = gateway.chat(text, headers={"origin": origin, **headers})
            assert answer.status_code == status
            assert answer.headers.get("access-control-allow-origin") == (page if origin == page else None)


def test_silent_streams_that_are_passed_on_say_that_they_live(start: Callable[..., Serving]) -> None:
    """Between events, not within one: pieces come as the upstream sends them."""
    first = b'event: image_generation.partial_image\ndata: {"b64_json": '
    second, third = b'"aaaa"}\n\n', b"event: image_generation.completed\ndata: {}\n\n"
    more = [threading.Event() for _ in range(3)]

    def serve(listening: socket.socket) -> None:
        connection = listening.accept()[0]
        connection.recv(65536)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for event, piece in zip(more, (first, second, third), strict=True):
            assert event.wait(TIMEOUT)
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        gateway = start(
            upstreams={"cheap": {"base_url": f"http://127.0.0.1:{listening.getsockname()[1]}/v1"}},
            models={"small": {**SMALL, "deployments": [{"upstream": "cheap"}]}},
            routers={},
            limits={"stream_ping": 0.1},
        )
        body = {"model": "small", "prompt": "a cat", "stream": True}
        with gateway.http.stream("POST", "/images/generations", json=body) as answer:
            pieces = answer.iter_raw()
            got = b""
            while got.count(b": ping\n\n") < 2:
                got += next(pieces)
            more[0].set()
            while first not in got:
                got += next(pieces)
            time.sleep(0.3)
            more[1].set()
            while not got.endswith(second + b": ping\n\n"):
                got += next(pieces)
            assert first + second in got
            more[2].set()
            got += b"".join(pieces)
        thread.join(TIMEOUT)
    assert got.replace(b": ping\n\n", b"") == first + second + third


def test_a_slow_reader_of_what_is_passed_on_has_the_time_of_the_upstream(
    start: Callable[..., Serving], cheap: Upstream
) -> None:
    gateway = start(
        upstreams={"cheap": {"base_url": cheap.url, "timeouts": {"total": 1.0}}},
        models={"small": {**SMALL, "deployments": [{"upstream": "cheap"}]}},
        routers={},
    )
    cheap.script(Behaviour(body=bytes(50_000_000), content_type="audio/mpeg"))
    body = json.dumps({"model": "small", "input": "a"}).encode()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=TIMEOUT) as connection:
        connection.sendall(
            b"POST /v1/audio/speech HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        until(lambda: gateway.gateway.services.in_flight == 1)
        end = time.monotonic() + TIMEOUT
        while gateway.gateway.services.in_flight:
            assert time.monotonic() < end
            with contextlib.suppress(ConnectionError):
                connection.recv(1_000)
            time.sleep(0.05)
