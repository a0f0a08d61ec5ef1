"""Connections our HTTP/1.1 client keeps, gives up, and makes over TLS."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from tests.unit.gateway.upstream.clients.raw_server import CHUNKED, OK, Caller, Wire, calling, chunk, serving

from tiny_dancer.gateway.upstream.clients.base import CallError, Phase

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.gateway.upstream.clients.conftest import Client
    from tests.unit.gateway.upstream.clients.raw_server import RawServer


def test_after_closing_no_connection_is_kept(http1: Client) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        if wire.number > 1:
            await closed.wait()
        await wire.send(OK)
        await wire.gone()
        gone.release()

    async def use(server: RawServer, caller: Caller) -> None:
        first, second = asyncio.ensure_future(caller.whole()), asyncio.ensure_future(caller.whole())
        await first
        while len(server.wires) < 2:
            await asyncio.sleep(0)
        await caller.client.close()
        await gone.acquire()
        closed.set()
        assert (await second)[2] == b"ok"
        await gone.acquire()

    closed, gone = asyncio.Event(), asyncio.Semaphore(0)
    http1.try_with(script, use)


def test_a_reply_closed_twice_does_not_end_another_s(http1: Client) -> None:
    async def script(wire: Wire) -> None:
        for part in (OK, CHUNKED + chunk(b"one")):
            await wire.request()
            await wire.send(part)
        await again.wait()
        await wire.send(chunk(b"two") + b"0\r\n\r\n")
        await wire.gone()

    async def use(server: RawServer, caller: Caller) -> None:
        first = await caller.stream()
        assert await first.chunk() == b"ok"
        assert await first.chunk() is None
        await first.close()
        second = await caller.stream()
        await first.close()
        assert await first.chunk() is None
        assert await second.chunk() == b"one"
        again.set()
        assert await second.chunk() == b"two"
        assert await second.chunk() is None
        await second.close()
        assert len(server.wires) == 1

    again = asyncio.Event()
    http1.try_with(script, use)


def test_a_paused_stream_that_breaks_gives_what_came_and_then_says_so(http1: Client) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + chunk(b"x" * 200_000))
        wire.writer.close()
        sent.set()

    async def use(_: RawServer, caller: Caller) -> None:
        reply = await caller.stream()
        await sent.wait()
        size = 0
        with pytest.raises(CallError) as raised:
            while (part := await reply.chunk()) is not None:
                size += len(part)
        await reply.close()
        assert raised.value.phase is Phase.BROKEN
        assert size == 200_000

    sent = asyncio.Event()
    http1.try_with(script, use)


def test_connections_kept_long_are_closed(http1: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("tiny_dancer.gateway.upstream.clients.http1.monotonic", lambda: now)

    async def script(wire: Wire) -> None:
        try:
            while True:
                await wire.request()
                await wire.send(OK)
        finally:
            gone.release()

    async def use(server: RawServer, caller: Caller) -> None:
        nonlocal now
        await asyncio.gather(caller.whole(), caller.whole())
        now = 50.0
        await caller.whole()
        now = 61.0  # the one that served then is used again, and the other is closed
        await caller.whole()
        await gone.acquire()
        assert len(server.wires) == 2
        now = 200.0
        await caller.whole()
        await gone.acquire()
        assert len(server.wires) == 3

    gone = asyncio.Semaphore(0)
    http1.try_with(script, use)


@pytest.mark.parametrize("unasked", [OK, OK[:20], b"x", b"\r\n", b"HTTP/1.1 408 Too Slow\r\n\r\n"])
def test_an_idle_connection_that_says_something_is_closed(http1: Client, unasked: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)
        if wire.number == 1:
            await idle.wait()
            await wire.send(unasked)
            assert await wire.reader.read() == b"", "another request came"
            gone.set()

    async def use(server: RawServer, caller: Caller) -> None:
        await caller.whole()
        idle.set()
        await gone.wait()
        assert (await caller.whole())[2] == b"ok"
        assert len(server.wires) == 2

    idle, gone = asyncio.Event(), asyncio.Event()
    http1.try_with(script, use)


OTHER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"


@pytest.mark.parametrize("behind", [OTHER, OTHER[:20], b"x", b"0\r\n\r\n", OTHER * 3])
@pytest.mark.parametrize("answer", [OK, CHUNKED + chunk(b"ok") + b"0\r\n\r\n"])
@pytest.mark.parametrize("whole", [True, False])
def test_what_stands_behind_an_answer_is_no_answer_to_the_next_request(
    http1: Client, behind: bytes, answer: bytes, whole: bool
) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        if wire.number > 1:
            await wire.send(OK)
            return
        await wire.send(answer + behind)
        assert await wire.reader.read() == b"", "another request came"

    async def use(server: RawServer, caller: Caller) -> None:
        call = caller.whole if whole else caller.streamed
        assert (await call())[2] == b"ok"
        assert (await call())[2] == b"ok"
        assert len(server.wires) == 2

    http1.try_with(script, use)


@pytest.mark.parametrize("why", ["nobody trusts its signer", "another name"])
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_tls_to_the_wrong_server_is_a_failure_to_connect(
    certificates: Path, monkeypatch: pytest.MonkeyPatch, why: str, run: Callable[..., Any]
) -> None:
    host = "127.0.0.1"
    if why == "another name":
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
        host = "127.0.0.2"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")

    async def script(wire: Wire) -> None:
        raise AssertionError("a request was sent")

    async def main() -> None:
        async with (
            serving(script, tls=context, host=host) as server,
            calling(server, scheme="https", host=host) as caller,
        ):
            with pytest.raises(CallError) as raised:
                await caller.whole()
            assert raised.value.phase is Phase.CONNECT

    run(main())


def test_tls_says_which_server_and_which_protocol_it_wants(trusted: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted / "server.pem", trusted / "server.key")
    context.set_alpn_protocols(["h2", "http/1.1"])
    names: list[str | None] = []
    context.sni_callback = lambda _, name, __: names.append(name)
    chosen: list[str | None] = []

    async def script(wire: Wire) -> None:
        chosen.append(wire.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await wire.request()
        await wire.send(OK)

    async def main() -> None:
        async with (
            serving(script, tls=context) as server,
            calling(server, scheme="https", host="localhost") as caller,
        ):
            assert (await caller.whole())[2] == b"ok"

    asyncio.run(main())
    assert names == ["localhost"]
    assert chosen == ["http/1.1"]


async def _breaks_when_asked_again(wire: Wire) -> None:
    """Answers once on each connection; the next request there is read, and the connection broken."""
    await wire.request()
    await wire.send(OK)
    await wire.request()
    wire.reset()


def test_a_kept_connection_that_breaks_is_made_up_for_only_where_asking_twice_does_nothing(http1: Client) -> None:
    async def use(server: RawServer, caller: Caller) -> None:
        await caller.whole()
        assert (await caller.whole())[2] == b"ok"
        assert len(server.wires) == 2
        target = caller.client.target(f"http://127.0.0.1:{server.port}/v1", [], repeatable=False)
        with pytest.raises(CallError) as raised:
            await caller.client.whole(target, (), b"{}")
        assert raised.value.phase is Phase.BROKEN
        assert len(server.wires) == 2, "what had been read was sent again"

    http1.try_with(_breaks_when_asked_again, use)


def test_what_must_not_be_done_twice_uses_no_connection_that_may_be_closed(
    http1: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("tiny_dancer.gateway.upstream.clients.http1.monotonic", lambda: now)

    async def use(server: RawServer, caller: Caller) -> None:
        nonlocal now
        await caller.whole()
        now = 2.0
        target = caller.client.target(f"http://127.0.0.1:{server.port}/v1", [], repeatable=False)
        assert (await caller.client.whole(target, (), b"{}"))[2] == b"ok"
        assert len(server.wires) == 2

    http1.try_with(_breaks_when_asked_again, use)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_request_without_a_body_says_nothing_of_one(http1: Client, method: str) -> None:
    async def script(wire: Wire) -> None:
        for _ in range(2):
            await wire.request_head()
            lines = wire.head.lower().split(b"\r\n")
            assert lines[0] == f"{method} /v1/files/f-1?a=b HTTP/1.1".lower().encode()
            assert b"x-a: b" in lines
            assert not any(line.startswith((b"content-", b"transfer-")) for line in lines)
            await wire.send(OK)

    async def use(server: RawServer, caller: Caller) -> None:
        url = f"http://127.0.0.1:{server.port}/v1/files/f-1?a=b"
        target = caller.client.target(url, [], method)
        for _ in range(2):
            assert (await caller.client.whole(target, [("x-a", "b")], b""))[2] == b"ok"
        assert len(server.wires) == 1

    http1.try_with(script, use)
