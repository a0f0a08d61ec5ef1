"""The edge with a gateway behind it: what must not pass does not reach an upstream, and clients can read why."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.gateway.processes import BODY, REQUEST
from tests.integration.gateway.serving import TIMEOUT, Serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx
    from tests.gateway_upstream import Upstream

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"


def spoken(serving: Serving, data: bytes) -> bytes:
    """What the gateway answers to some bytes, until it closes."""
    with socket.create_connection(("127.0.0.1", serving.port), timeout=TIMEOUT) as connection:
        connection.sendall(data)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def error(answer: httpx.Response) -> tuple[int, str]:
    found = answer.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return answer.status_code, found["code"]


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_of_50_megabytes_gets_a_413_the_client_can_read(
    start: Callable[..., Serving], cheap: Upstream, chunked: bool
) -> None:
    gateway = start(limits={"body_bytes": 1_000_000})

    def parts() -> Iterator[bytes]:
        yield BODY[:-1] + b', "user": "'
        for _ in range(50):
            yield b"a" * 1_000_000
        yield b'"}'

    content: Any = parts() if chunked else b"".join(parts())
    status, code = error(gateway.http.post("/chat/completions", content=content))
    assert status == 413
    assert code in ("request_too_large", "body_too_large")
    assert gateway.http.post("/chat/completions", content=BODY).status_code == 200
    assert len(cheap.received) == 1


def test_headers_beyond_the_limit_get_a_431(start: Callable[..., Serving]) -> None:
    gateway = start(limits={"header_bytes": 4_000})
    answer = gateway.http.post("/chat/completions", content=BODY, headers={"x-a": "a" * 4_000})
    assert error(answer) == (431, "headers_too_large")
    answer = gateway.http.post("/chat/completions", content=BODY, headers={"x-a": "a" * 3_000})
    assert answer.status_code == 200


def test_no_request_hides_in_another(gateway: Serving, cheap: Upstream) -> None:
    """Each could be read as one request by a proxy in front, and as two here."""
    inner = REQUEST
    for smuggled in (
        HEAD + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (len(inner) + 5) + inner,
        HEAD + b"Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n" + inner,
        HEAD + b"Transfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\n" + inner,
        HEAD + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner,
        HEAD + b"X-A: b\n\n" + inner,
    ):
        answer = spoken(gateway, smuggled)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1") == 1
    assert cheap.received == []


def test_requests_in_a_row_are_answered_in_a_row(gateway: Serving, cheap: Upstream) -> None:
    """Pipelining, which is no smuggling."""
    last = REQUEST.replace(b"Host: a", b"Host: a\r\nConnection: close")
    answer = spoken(gateway, REQUEST * 3 + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 4
    assert len(cheap.received) == 4


def test_slow_loris(start: Callable[..., Serving]) -> None:
    """Connections that trickle headers or a body end in time; whoever else comes is served meanwhile."""
    gateway = start(limits={"header_timeout": 1.0, "body_timeout": 1.0})
    slow = [socket.create_connection(("127.0.0.1", gateway.port), timeout=TIMEOUT) for _ in range(200)]
    stop = threading.Event()

    def trickle() -> None:
        for number, each in enumerate(slow):
            each.sendall(HEAD if number % 2 else HEAD + b"Content-Length: 100000\r\n\r\n")
        while not stop.wait(0.1):
            for number, each in enumerate(slow):
                try:
                    each.sendall(b"X-A: b\r\n" if number % 2 else b"x")
                except ConnectionError:
                    continue

    trickling = threading.Thread(target=trickle)
    trickling.start()
    try:
        served = 0
        for each in slow:
            answer = b""
            while b"\r\n\r\n" not in answer:
                assert gateway.chat().status_code == 200
                served += 1
                answer += each.recv(65536)
            assert answer.startswith(b"HTTP/1.1 408 ")
    finally:
        stop.set()
        trickling.join()
        for each in slow:
            each.close()
    assert served >= len(slow)
