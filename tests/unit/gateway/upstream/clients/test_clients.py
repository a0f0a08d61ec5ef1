"""What every client of upstreams does, tried against a server that does anything; see ``clients/base.py``."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.gateway.upstream.clients.raw_server import CHUNKED, OK, PATIENCE, Wire, chunk

from tiny_dancer.gateway.upstream.clients.base import CallError, Late, Phase

if TYPE_CHECKING:
    from tests.unit.gateway.upstream.clients.conftest import Client
    from tests.unit.gateway.upstream.clients.raw_server import Caller, RawServer

_HELLO = gzip.compress(b"hello")
ANSWERS: dict[str, tuple[bytes, int, bytes]] = {
    "a length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
    "chunks": (CHUNKED + chunk(b"hel") + chunk(b"lo") + b"0\r\n\r\n", 200, b"hello"),
    "chunks with extensions": (CHUNKED + b"5;a=b\r\nhello\r\n0;c\r\n\r\n", 200, b"hello"),
    "trailers": (CHUNKED + chunk(b"hello") + b"0\r\nX-Kept: no\r\n\r\n", 200, b"hello"),
    "the end of the connection": (b"HTTP/1.1 200 OK\r\n\r\nhello", 200, b"hello"),
    "the end of an empty one": (b"HTTP/1.1 200 OK\r\n\r\n", 200, b""),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello", 200, b"hello"),
    "HTTP/1.0 with a length": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "a length of nothing": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
    "an interim answer": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-Kept: no\r\n\r\n" + OK,
        200,
        b"ok",
    ),
    "an error": (b"HTTP/1.1 429 Slow Down\r\nRetry-After: 3\r\nContent-Length: 2\r\n\r\n{}", 429, b"{}"),
    "a redirect": (b"HTTP/1.1 307 Elsewhere\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 307, b""),
    "something compressed": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(_HELLO), _HELLO),
        200,
        b"hello",
    ),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_reads_an_answer_ended_by(client: Client, name: str) -> None:
    raw, status, body = ANSWERS[name]

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(raw)

    async def use(_: RawServer, caller: Caller) -> None:
        for found in (await caller.whole(), await caller.streamed()):
            assert (found[0], found[2]) == (status, body)
            assert all(name == name.lower() for name, _ in found[1])
            assert "x-kept" not in dict(found[1])

    client.try_with(script, use)


BROKEN = {
    "nothing": b"",
    "half a status": b"HTTP/1.1 2",
    "half the headers": b"HTTP/1.1 200 OK\r\nContent-Len",
    "less than announced": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    "chunks that stop": CHUNKED + chunk(b"hello"),
    "half a chunk": CHUNKED + b"a\r\nhello",
    "a size that is none": CHUNKED + b"xyz\r\nhello\r\n0\r\n\r\n",
    "a negative size": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "a size beyond counting": CHUNKED + b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"3\r\nhello\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 2\r\n\r\nhello",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
    "garbage": b"\x16\x03\x01\x02\x00 this is no HTTP at all\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a page without head": b"<html>hello</html>",
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_is_none_is_broken(client: Client, name: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(BROKEN[name])

    async def use(server: RawServer, caller: Caller) -> None:
        for call in (caller.whole, caller.streamed):
            before = len(server.wires)
            with pytest.raises(CallError) as raised:
                await call()
            assert raised.value.phase is Phase.BROKEN
            assert len(server.wires) == before + 1, "a request that may have been served is not sent again"
            assert "127.0.0.1" not in raised.value.message

    client.try_with(script, use)


@pytest.mark.parametrize("before", ["request", "answer", "headers", "body"])
def test_a_reset_is_broken(client: Client, before: str) -> None:
    async def script(wire: Wire) -> None:
        if before != "request":
            await wire.request()
        if before == "headers":
            await wire.send(b"HTTP/1.1 200 OK\r\nContent")
        if before == "body":
            await wire.send(b"HTTP/1.1 200 OK\r\n\r\nhello")  # no length: its end is the connection's
        wire.reset()

    async def use(_: RawServer, caller: Caller) -> None:
        for call in (caller.whole, caller.streamed):
            with pytest.raises(CallError) as raised:
                await call()
            assert raised.value.phase in (Phase.BROKEN, Phase.CONNECT)

    client.try_with(script, use)


def test_nobody_there_is_a_failure_to_connect(client: Client) -> None:
    async def script(_: Wire) -> None:
        raise AssertionError

    async def use(server: RawServer, caller: Caller) -> None:
        await server.end()
        with pytest.raises(CallError) as raised:
            await caller.whole()
        assert raised.value.phase is Phase.CONNECT

    async def closed() -> None:
        from tests.unit.gateway.upstream.clients.raw_server import calling, serving

        async with serving(script, tls=client.tls) as server:
            pass
        async with calling(server, scheme=client.scheme) as caller:
            await use(server, caller)

    client.run(closed())


def test_a_request_arrives_as_it_was_given(client: Client) -> None:
    heads: list[bytes] = []
    bodies: list[bytes] = []
    body = b"\x00\r\n\r\n" * 500_000

    async def script(wire: Wire) -> None:
        while True:
            bodies.append(await wire.request())
            heads.append(wire.head)
            await wire.send(OK)

    async def use(server: RawServer, caller: Caller) -> None:
        await caller.whole(body, ("idempotency-key", "k-1"))
        reply = await caller.stream(b"", ("x-a", "b"))
        assert await reply.chunk() == b"ok"
        assert await reply.chunk() is None
        await reply.close()
        assert len(server.wires) == 1, "the connection is kept"
        assert bodies == [body, b""]
        lines = heads[0].lower().split(b"\r\n")
        assert lines[0] == b"post /v1 http/1.1"
        assert b"host: 127.0.0.1:%d" % server.port in lines
        assert b"content-type: application/json" in lines
        assert b"idempotency-key: k-1" in lines
        assert not any(line.startswith((b"transfer-encoding", b"cookie")) for line in lines)
        assert lines.count(b"accept-encoding: identity") == 1
        assert heads[1].lower().count(b"content-length: 0\r\n") == 1

    client.try_with(script, use)


def test_a_connection_is_kept_unless_the_server_says_otherwise(client: Client) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)
        await wire.request()
        await wire.send(OK.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        await wire.gone()

    async def use(server: RawServer, caller: Caller) -> None:
        for connections in (1, 1, 2, 2, 3):
            assert (await caller.whole())[2] == b"ok"
            assert len(server.wires) == connections

    client.try_with(script, use)


def test_many_requests_at_once_get_each_its_own_answer(client: Client) -> None:
    async def script(wire: Wire) -> None:
        while True:
            body = await wire.request()
            await wire.send(CHUNKED + chunk(body[:1]), chunk(body[1:]) + b"0\r\n\r\n")

    async def use(server: RawServer, caller: Caller) -> None:
        for call in (caller.whole, caller.streamed):
            bodies = [b"request %d" % number for number in range(100)]
            found = await asyncio.gather(*map(call, bodies))
            assert [body for _, _, body in found] == bodies
        assert len(server.wires) <= 100

    client.try_with(script, use)


def test_what_comes_unasked_never_answers_a_request(client: Client) -> None:
    evil = OK.replace(b"ok", b"no")

    async def script(wire: Wire) -> None:
        await wire.request()
        if wire.number == 1:  # behind the answer, in the same packet
            await wire.send(OK + evil)
        elif wire.number == 2:  # cut in the middle of its headers
            await wire.send(OK + evil[:20])
            await wire.request()
            await wire.send(evil[20:])
        elif wire.number == 3:  # into the idle connection
            await wire.send(OK)
            await wire.send(evil)
        else:
            await wire.send(OK)
            await wire.send(evil)
        await wire.gone()

    async def use(server: RawServer, caller: Caller) -> None:
        for _ in range(8):
            assert (await caller.whole())[2] == b"ok"
            await asyncio.sleep(0)
        for _ in range(4):
            assert (await caller.streamed())[2] == b"ok"
        assert len(server.wires) >= 3

    client.try_with(script, use)


PHASES = {
    "before headers": b"",
    "in the headers": b"HTTP/1.1 200 OK\r\nContent-Type: text/ev",
    "before the first chunk": CHUNKED,
    "in the body": CHUNKED + chunk(b"hello"),
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("call", ["whole", "streamed"])
def test_a_cancel_reaches_the_server(client: Client, phase: str, call: str) -> None:
    async def use(_: RawServer, caller: Caller) -> None:
        task = asyncio.ensure_future(getattr(caller, call)())
        await reached.wait()
        for _turn in range(3):  # the client takes in what was sent
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone.wait()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(PHASES[phase])
        reached.set()
        await wire.gone()
        gone.set()

    reached, gone = asyncio.Event(), asyncio.Event()
    client.try_with(script, use)


def test_a_stream_that_is_closed_unread_ends_the_connection(client: Client) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + chunk(b"hello"))
        await wire.gone()
        gone.set()

    async def use(_: RawServer, caller: Caller) -> None:
        reply = await caller.stream()
        assert await reply.chunk() == b"hello"
        await reply.close()
        await reply.close()
        await gone.wait()

    gone = asyncio.Event()
    client.try_with(script, use)


def test_chunks_arrive_one_by_one(client: Client) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED)
        for number in range(5):
            await wire.send(chunk(b"%d" % number))
            await taken.acquire()
        await wire.send(b"0\r\n\r\n")

    async def use(_: RawServer, caller: Caller) -> None:
        reply = await caller.stream()
        for number in range(5):
            assert await reply.chunk() == b"%d" % number
            taken.release()
        assert await reply.chunk() is None
        await reply.close()

    taken = asyncio.Semaphore(0)
    client.try_with(script, use)


def test_a_slow_reader_makes_the_server_wait(client: Client) -> None:
    block, blocks = b"x" * 65536, 1024
    sent = 0

    async def script(wire: Wire) -> None:
        nonlocal sent
        await wire.request()
        await wire.send(CHUNKED)
        for _ in range(blocks):
            await wire.send(chunk(block))
            sent += 1
        await wire.send(b"0\r\n\r\n")

    async def use(_: RawServer, caller: Caller) -> None:
        reply = await caller.stream()
        assert await reply.chunk()
        before, quiet = -1, 0
        while quiet < 20:  # until the server has got rid of all it can
            await asyncio.sleep(0.01)
            quiet = quiet + 1 if before == sent else 0
            before = sent
        assert sent < blocks / 2, "the whole answer was taken in"
        size = 0
        while (part := await reply.chunk()) is not None:
            size += len(part)
        await reply.close()
        assert size > (blocks - 16) * len(block)

    client.try_with(script, use)


TIMES: dict[str, tuple[bytes, dict[str, float], Late]] = {
    "first byte": (b"", {"first_byte": 0.1}, Late.FIRST_BYTE),
    "headers": (b"HTTP/1.1 200 OK\r\nConten", {"first_byte": 0.1}, Late.FIRST_BYTE),
    "idle": (CHUNKED + chunk(b"hello"), {"idle": 0.1}, Late.IDLE),
    "total": (CHUNKED + chunk(b"hello"), {"total": 0.3}, Late.TOTAL),
}


@pytest.mark.parametrize("name", TIMES)
def test_each_time_runs_out_by_itself(client: Client, name: str) -> None:
    raw, times, late = TIMES[name]

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(raw)
        if late is Late.TOTAL:
            while not wire.writer.is_closing():  # never idle
                await wire.send(chunk(b"more"))
                await asyncio.sleep(0.02)
        await wire.gone()
        gone.set()

    async def use(_: RawServer, caller: Caller) -> None:
        with pytest.raises(CallError) as raised:
            await asyncio.wait_for(caller.streamed(), PATIENCE)
        assert raised.value.phase is Phase.TIMEOUT
        assert raised.value.message == late.value
        if late is not Late.TOTAL:
            await gone.wait()

    gone = asyncio.Event()
    client.try_with(script, use, **times)


def test_a_whole_answer_has_to_begin_in_time(client: Client) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.gone()
        gone.set()

    async def use(_: RawServer, caller: Caller) -> None:
        with pytest.raises(CallError) as raised:
            await caller.whole()
        assert raised.value.phase is Phase.TIMEOUT
        assert raised.value.message == Late.FIRST_BYTE.value
        await gone.wait()

    gone = asyncio.Event()
    client.try_with(script, use, first_byte=0.1)


@pytest.mark.parametrize("call", ["whole", "streamed"])
def test_a_header_may_hold_any_byte(client: Client, call: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nx-odd: caf\xe9\r\ncontent-length: 2\r\n\r\nok")

    async def use(_: RawServer, caller: Caller) -> None:
        found: Any = await getattr(caller, call)()
        assert found[2] == b"ok"

    client.try_with(script, use)
