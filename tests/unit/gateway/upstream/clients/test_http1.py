"""Our own HTTP/1.1 client against what only it has to withstand."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.gateway.upstream.clients.raw_server import (
    CHUNKED,
    OK,
    PATIENCE,
    Caller,
    Wire,
    calling,
    chunk,
    serving,
)
from tests.unit.gateway.upstream.clients.test_clients import ANSWERS

from tiny_dancer.gateway.configuration.settings import Timeouts, Upstream
from tiny_dancer.gateway.upstream.clients import http1 as module
from tiny_dancer.gateway.upstream.clients.base import CallError, Late, Phase

if TYPE_CHECKING:
    from tests.unit.gateway.upstream.clients.conftest import Client
    from tests.unit.gateway.upstream.clients.raw_server import RawServer


@given(st.sampled_from(sorted(ANSWERS)), st.data())
@settings(max_examples=100, deadline=None)
def test_however_an_answer_is_cut_it_is_the_same(name: str, data: st.DataObject) -> None:
    raw, status, body = ANSWERS[name]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(raw) - 1), max_size=len(raw))))
    parts = [raw[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(raw)], strict=True)]

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(*parts)

    async def main() -> None:
        async with serving(script) as server, calling(server) as caller:
            for found in (await caller.whole(), await caller.streamed()):
                assert (found[0], found[2]) == (status, body)

    asyncio.run(main())


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=100, deadline=None)
def test_whatever_comes_is_an_answer_or_broken(raw: bytes, headed: bool) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + raw if headed else raw)

    async def main() -> None:
        async with serving(script) as server, calling(server) as caller:
            for call in (caller.whole, caller.streamed):
                try:
                    await call()
                except CallError as error:
                    assert error.phase is Phase.BROKEN

    asyncio.run(main())


REFUSED = {
    "a length and no chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: gzip\r\n\r\nok",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "a line feed in a header": b"HTTP/1.1 200 OK\r\nX-A: b\nX-B: c\r\nContent-Length: 2\r\n\r\nok",
    "a carriage return in a header": b"HTTP/1.1 200 OK\r\nX-A: b\rX-B: c\r\nContent-Length: 2\r\n\r\nok",
    "a NUL in a header": b"HTTP/1.1 200 OK\r\nX-A: b\x00\r\nContent-Length: 2\r\n\r\nok",
    "a folded header": b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
    "no version": b"HTTP 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "a status below all": b"HTTP/1.1 050 OK\r\nContent-Length: 2\r\n\r\nok" + OK,
    "a status above all": b"HTTP/1.1 999 OK\r\nContent-Length: 2\r\n\r\nok",
    "another protocol from here": b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + OK,
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(http1: Client, name: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(REFUSED[name])
        await wire.gone()

    async def use(_: RawServer, caller: Caller) -> None:
        for call in (caller.whole, caller.streamed):
            with pytest.raises(CallError) as raised:
                await call()
            assert raised.value.phase is Phase.BROKEN

    http1.try_with(script, use)


FLOODS = {
    "one endless header": (b"HTTP/1.1 200 OK\r\nx: ", b"x" * 4096),
    "headers without end": (b"HTTP/1.1 200 OK\r\n", b"x-header: value\r\n" * 256),
    "an endless reason": (b"HTTP/1.1 200 ", b"x" * 4096),
    "interim answers without end": (b"", b"HTTP/1.1 100 Continue\r\nx-a: b\r\n\r\n" * 128),
    "an endless trailer": (CHUNKED + chunk(b"hello") + b"0\r\nx: ", b"x" * 4096),
    "an endless extension": (CHUNKED + b"5;", b"x" * 4096),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_beside_the_body_is_given_up(http1: Client, name: str) -> None:
    begin, more = FLOODS[name]
    sent = 0

    async def script(wire: Wire) -> None:
        nonlocal sent
        await wire.request()
        await wire.send(begin)
        with suppress(OSError):
            while True:
                await wire.send(more)
                sent += len(more)
        gone.set()

    async def use(_: RawServer, caller: Caller) -> None:
        nonlocal sent
        for call in (caller.whole, caller.streamed):
            sent = 0
            gone.clear()
            with pytest.raises(CallError) as raised:
                await call()
            assert raised.value.phase is Phase.BROKEN
            await gone.wait()

    gone = asyncio.Event()
    http1.try_with(script, use)
    assert sent < 64 * 1024 * 1024


def test_a_whole_answer_has_a_largest_size(http1: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_ANSWER", 100_000)

    async def script(wire: Wire) -> None:
        while True:
            size = int(await wire.request())
            await wire.send(CHUNKED + b"".join(chunk(b"xy") for _ in range(size // 2)) + b"0\r\n\r\n")

    async def use(_: RawServer, caller: Caller) -> None:
        assert (await caller.whole(b"100000"))[2] == b"xy" * 50_000
        with pytest.raises(CallError, match="too large"):
            await caller.whole(b"100002")
        assert len((await caller.streamed(b"100002"))[2]) == 100_002

    http1.try_with(script, use)


@pytest.mark.parametrize("kept", [1, 5])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_request_on_a_stale_connection_is_sent_once_more(http1: Client, kept: int, how: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        if wire.number <= kept:
            if wire.number == kept:
                all_here.set()
            await all_here.wait()
            await wire.send(OK)
            await wire.request()
            bodies.append(b"stale")
            if how == "reset":
                wire.reset()
            return
        bodies.append(b"fresh")
        await wire.send(OK)
        await wire.gone()

    async def use(server: RawServer, caller: Caller) -> None:
        await asyncio.gather(*[caller.whole() for _ in range(kept)])
        assert len(server.wires) == kept
        assert (await caller.whole())[2] == b"ok"
        assert bodies == [b"stale", b"fresh"]

    all_here = asyncio.Event()
    bodies: list[bytes] = []
    http1.try_with(script, use)


def test_a_request_that_may_have_been_served_is_not_sent_again(http1: Client) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)
        await wire.request()
        await wire.send(b"HTTP/1.1 2")

    async def use(server: RawServer, caller: Caller) -> None:
        await caller.whole()
        with pytest.raises(CallError) as raised:
            await caller.whole()
        assert raised.value.phase is Phase.BROKEN
        assert len(server.wires) == 1

    http1.try_with(script, use)


def test_a_connection_the_server_has_closed_is_not_used(http1: Client) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)

    async def use(server: RawServer, caller: Caller) -> None:
        for number in range(1, 4):
            assert (await caller.whole())[2] == b"ok"
            assert len(server.wires) == number
            await server.wires[-1].writer.wait_closed()

    http1.try_with(script, use)


@pytest.mark.parametrize("reads", [True, False])
def test_an_answer_may_come_before_the_request_is_read(http1: Client, reads: bool) -> None:
    async def script(wire: Wire) -> None:
        await wire.request_head()
        await wire.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")
        if reads:
            await wire.gone()
        else:
            await done.wait()

    async def use(server: RawServer, caller: Caller) -> None:
        body = b"x" * 32_000_000
        for number, call in enumerate((caller.whole, caller.streamed), start=1):
            found = await call(body)
            assert (found[0], found[2]) == (413, b"{}")
            assert len(server.wires) == number, "a connection with half a request is not used again"
        done.set()

    done = asyncio.Event()
    http1.try_with(script, use)


def test_an_idle_time_shorter_than_the_first_byte_s(http1: Client) -> None:
    # One timer serves both: it must not still be set for the longer.
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + chunk(b"hello"))
        await wire.gone()

    async def use(_: RawServer, caller: Caller) -> None:
        with pytest.raises(CallError) as raised:
            await caller.streamed()
        assert raised.value.message == Late.IDLE.value

    http1.try_with(script, use, first_byte=10 * PATIENCE, idle=0.1)


def test_a_connection_that_never_opens(http1: Client) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=1) as listening:
            # A full queue: the kernel answers nobody else.
            fillers = [socket.socket() for _ in range(4)]
            for each in fillers:
                each.setblocking(False)
                each.connect_ex(listening.getsockname())
            await asyncio.sleep(0)
            port = listening.getsockname()[1]
            caller = Caller(Upstream(base_url=f"http://127.0.0.1:{port}", timeouts=Timeouts(connect=0.2)), [])
            with pytest.raises(CallError) as raised:
                await caller.whole()
            for each in fillers:
                each.close()
        assert raised.value.phase is Phase.CONNECT
        assert raised.value.message == Late.CONNECT.value

    http1.run(main())


@pytest.mark.parametrize("host", ["a..b", "nobody.invalid", "x" * 70])
def test_a_name_without_address_is_a_failure_to_connect(http1: Client, host: str) -> None:
    async def main() -> None:
        with pytest.raises(CallError) as raised:
            await Caller(Upstream(base_url=f"http://{host}/v1"), []).whole()
        assert raised.value.phase is Phase.CONNECT

    http1.run(main())


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
@pytest.mark.parametrize("path", ["", "/", "/a/v1?api-version=2"])
def test_addresses(path: str) -> None:
    heads = []

    async def script(wire: Wire) -> None:
        await wire.request()
        heads.append(wire.head)
        await wire.send(OK)

    async def main() -> None:
        async with (
            serving(script, host="::1") as server,
            calling(server, host="[::1]", path=path) as caller,
        ):
            await caller.whole()
            first, host, *_ = heads[0].split(b"\r\n")
            assert first == b"POST %s HTTP/1.1" % (path or "/").encode()
            assert host == b"host: [::1]:%d" % server.port

    asyncio.run(main())
