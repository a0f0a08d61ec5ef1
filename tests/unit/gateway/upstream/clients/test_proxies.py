"""Upstreams behind the proxy that the environment names: a real one, on a real socket."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from tests.unit.gateway.upstream.clients.raw_server import OK, Wire, serving

from tiny_dancer.errors import ConfigError
from tiny_dancer.gateway.configuration.settings import Timeouts, Upstream
from tiny_dancer.gateway.upstream.clients.base import CallError, Phase
from tiny_dancer.gateway.upstream.clients.http1 import Http1Client
from tiny_dancer.gateway.upstream.clients.proxies import proxy_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    return asyncio.run if request.param == "asyncio" else uvloop.run


class SmallProxy:
    """Reads requests in absolute form and CONNECT, and asks the one server it knows, whatever host they name.

    Attributes:
        heads: of the requests that came.
        refuses: status it answers in place of opening a tunnel.
    """

    def __init__(self, port: int) -> None:
        self.heads: list[bytes] = []
        self.refuses = 0
        self._to = port

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pumps = []
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            if self.refuses:
                writer.write(b"HTTP/1.1 %d Refused\r\ncontent-length: 2\r\n\r\nno" % self.refuses)
                return
            there, to = await asyncio.open_connection("127.0.0.1", self._to)
            if head.startswith(b"CONNECT "):
                writer.write(b"HTTP/1.1 200 Connection established\r\nvia: a proxy\r\n\r\n")
            else:
                to.write(head)
            pumps = [asyncio.create_task(self._pump(*pair)) for pair in ((reader, to), (there, writer))]
            await asyncio.gather(*pumps)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def proxying(port: int) -> AsyncIterator[tuple[SmallProxy, int]]:
    proxy = SmallProxy(port)
    listening = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    try:
        yield proxy, listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


async def answer(wire: Wire) -> None:
    while True:
        await wire.request()
        await wire.send(OK)


async def ask_twice(base_url: str) -> None:
    client = Http1Client(Upstream(base_url=base_url))
    target = client.target(base_url + "/chat/completions?a=b", [("content-type", "application/json")])
    try:
        for _ in range(2):
            assert (await client.whole(target, (), b"{}"))[2] == b"ok"
    finally:
        await client.close()


def test_plain_requests_name_the_whole_address(run: Any, environment: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with serving(answer) as server, proxying(server.port) as (proxy, port):
            environment.setenv("http_proxy", f"http://ada:p%40ss@127.0.0.1:{port}")
            await ask_twice("http://models.test:8080/v1")
            (head,) = proxy.heads  # the connection is kept
            lines = head.split(b"\r\n")
            assert lines[0] == b"POST http://models.test:8080/v1/chat/completions?a=b HTTP/1.1"
            assert b"host: models.test:8080" in lines
            assert b"proxy-authorization: Basic " + b64encode(b"ada:p@ss") in lines

    run(main())


def test_tls_goes_through_a_tunnel(run: Any, environment: pytest.MonkeyPatch, trusted: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted / "server.pem", trusted / "server.key")

    async def main() -> None:
        async with serving(answer, tls=context) as server, proxying(server.port) as (proxy, port):
            environment.setenv("ALL_PROXY", f"ada:secret@127.0.0.1:{port}")
            await ask_twice("https://models.test/v1")
            (head,) = proxy.heads
            lines = head.split(b"\r\n")
            assert lines[0] == b"CONNECT models.test:443 HTTP/1.1"
            assert b"proxy-authorization: Basic " + b64encode(b"ada:secret") in lines
            assert b"proxy-authorization" not in server.wires[0].head.lower()
            assert server.wires[0].head.startswith(b"POST /v1/chat/completions?a=b HTTP/1.1\r\n")
            # The certificate is the upstream's: one of another name is refused.
            with pytest.raises(CallError) as raised:
                await ask_twice("https://other.test/v1")
            assert raised.value.phase is Phase.CONNECT

    run(main())


def test_a_proxy_that_refuses_is_no_connection(run: Any, environment: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with serving(answer) as server, proxying(server.port) as (proxy, port):
            environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
            proxy.refuses = 407
            with pytest.raises(CallError, match="status 407") as raised:
                await ask_twice("https://models.test/v1")
            assert raised.value.phase is Phase.CONNECT
            assert not server.wires

    run(main())


def test_a_proxy_that_says_nothing_is_late(run: Any, environment: pytest.MonkeyPatch) -> None:
    async def silent(wire: Wire) -> None:
        await wire.request_head()
        await wire.gone()

    async def main() -> None:
        async with serving(silent) as server:
            environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.port}")
            client = Http1Client(Upstream(base_url="https://models.test/v1", timeouts=Timeouts(connect=0.05)))
            with pytest.raises(CallError, match="in time") as raised:
                await client.whole(client.target("https://models.test/v1", []), (), b"{}")
            assert raised.value.phase is Phase.CONNECT

    run(main())


@pytest.mark.parametrize(
    ("variables", "url", "port"),
    [
        ({}, "https://api.test/v1", None),
        ({"HTTPS_PROXY": "http://p.test:1"}, "https://api.test/v1", 1),
        ({"HTTPS_PROXY": "http://p.test:1"}, "http://api.test/v1", None),
        ({"HTTP_PROXY": "http://p.test"}, "http://api.test/v1", 80),
        ({"HTTP_PROXY": "http://p.test:1", "ALL_PROXY": "http://p.test:2"}, "http://api.test/v1", 1),
        ({"ALL_PROXY": "p.test:2"}, "https://api.test/v1", 2),
        ({"HTTPS_PROXY": "http://p.test:1", "https_proxy": "http://p.test:3"}, "https://api.test/v1", 3),
        ({"ALL_PROXY": "http://p.test:1", "NO_PROXY": "api.test"}, "https://api.test/v1", None),
        ({"ALL_PROXY": "http://p.test:1", "no_proxy": "other.test, .test"}, "https://api.test/v1", None),
        ({"ALL_PROXY": "http://p.test:1", "NO_PROXY": "*"}, "https://api.test/v1", None),
        ({"ALL_PROXY": "http://p.test:1", "NO_PROXY": "api.test:443"}, "https://api.test/v1", None),
        ({"ALL_PROXY": "http://p.test:1", "NO_PROXY": "api.test:8443"}, "https://api.test/v1", 1),
        ({"ALL_PROXY": "http://p.test:1", "NO_PROXY": "pi.test"}, "https://api.test/v1", 1),
        ({"ALL_PROXY": "http://p.test:1"}, "http://localhost:11434/v1", None),
        ({"ALL_PROXY": "http://p.test:1"}, "http://vllm.localhost:8000/v1", None),
        ({"ALL_PROXY": "http://p.test:1"}, "http://127.0.0.2:8000/v1", None),
        ({"ALL_PROXY": "http://p.test:1"}, "http://[::1]:8000/v1", None),
        ({"ALL_PROXY": "http://p.test:1"}, "http://10.0.0.7:8000/v1", 1),
    ],
)
def test_which_proxy(
    environment: pytest.MonkeyPatch, variables: dict[str, str], url: str, port: int | None
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    found = proxy_for(url)
    assert (None if found is None else found.port) == port


@pytest.mark.parametrize(
    "text", ["socks5://me:secret@p.test:1", "https://me:secret@p.test", "http://p.test:x", "http://"]
)
def test_a_proxy_of_another_kind_is_refused_by_the_name_of_its_variable(
    environment: pytest.MonkeyPatch, text: str
) -> None:
    environment.setenv("ALL_PROXY", text)
    with pytest.raises(ConfigError) as raised:
        Http1Client(Upstream(base_url="https://api.test/v1"))
    assert raised.value.field == "ALL_PROXY"
    assert "secret" not in str(raised.value)
    Http1Client(Upstream(base_url="http://127.0.0.1:1/v1"))
