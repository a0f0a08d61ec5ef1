"""The edge on a real socket: what is too large, too slow or too much."""

from __future__ import annotations

import asyncio
import json
import os

import pytest
from tests.unit.gateway.edge.edges import PATIENCE, POST, Client, place, run

from tiny_dancer.gateway.configuration.settings import Limits


def test_a_large_body_is_refused_before_it_is_sent() -> None:
    async def test() -> None:
        async with place(body_bytes=1_000) as found:
            client = await found.connect()
            await client.send(POST + b"Expect: 100-continue\r\nContent-Length: 50000000\r\n\r\n")
            status, _, body = await client.answer()
            assert (status, json.loads(body)["error"]["code"]) == (413, "request_too_large")
            assert "1,000 bytes" in json.loads(body)["error"]["message"]

            # A client that sends without asking gets to read the answer: it is not overtaken by a reset.
            client = await found.connect()
            await client.send(POST + b"Content-Length: 50000000\r\n\r\n")
            for _ in range(500):
                await client.send(bytes(100_000))
            status, _, _ = await client.answer()
            assert status == 413

            client = await found.connect()
            await client.send(POST + b"Content-Length: %d\r\n\r\n" % 10**19)
            assert (await client.answer())[0] == 413
            assert found.application.requests == []

            client = await found.connect()
            await client.send(POST + b"Content-Length: 1000\r\n\r\n" + bytes(1_000))
            assert (await client.answer())[0] == 200

    run(test)


@pytest.mark.parametrize("pieces", [1, 7])
def test_headers_have_a_limit(pieces: int) -> None:
    async def test() -> None:
        async with place(header_bytes=2_000) as found:
            for size, expected in ((1_800, 200), (2_100, 431), (200_000, 431)):
                client = await found.connect()
                data = POST + b"X-A: " + b"a" * size + b"\r\nContent-Length: 0\r\n\r\n"
                step = -(-len(data) // pieces)
                for start in range(0, len(data), step):
                    await client.send(data[start : start + step])
                    await asyncio.sleep(0)
                assert (await client.answer())[0] == expected
            # Never complete: one header, or many.
            for endless in (b"X-A: " + b"a" * 5_000, b"X-A: b\r\n" * 700, b"a" * 5_000):
                client = await found.connect()
                await client.send(POST + endless)
                status, _, body = await client.answer()
                assert (status, json.loads(body)["error"]["code"]) == (431, "headers_too_large")
            # Not the body's bytes.
            client = await found.connect()
            await client.send((POST + b"Content-Length: 9000\r\n\r\n" + b"b" * 9_000) * 2)
            assert [(await client.answer())[0], (await client.answer())[0]] == [200, 200]
            assert len(found.application.requests) == 3

    run(test)


def test_slow_clients_are_closed_and_others_served() -> None:
    async def test() -> None:
        async with place(header_timeout=0.5, body_timeout=0.7) as found:
            silent = await found.connect()
            trickling = [await found.connect() for _ in range(100)]
            stalled = await found.connect()
            await stalled.send(POST + b"Content-Length: 9\r\n\r\nhal")

            async def trickle(client: Client) -> tuple[int, dict[str, str], bytes]:
                answer = asyncio.ensure_future(client.answer())
                for byte in b"POST /v1/x HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 10_000:
                    client.writer.write(bytes([byte]))
                    done, _ = await asyncio.wait({answer}, timeout=0.05)
                    if done:
                        break
                return await answer

            slow = [asyncio.ensure_future(trickle(client)) for client in trickling]
            normal = await found.connect()
            served = 0
            while not all(each.done() for each in slow):
                await normal.send(POST + b"Content-Length: 2\r\n\r\nhi")
                assert (await normal.answer())[0] == 200
                served += 1
                await asyncio.sleep(0.01)
            assert served > 1
            for each in slow:
                status, headers, body = each.result()
                assert (status, json.loads(body)["error"]["code"]) == (408, "request_timeout")
                assert headers["connection"] == "close"
            status, _, body = await stalled.answer()
            assert (status, "body" in json.loads(body)["error"]["message"]) == (408, True)
            assert await silent.rest() == b"", "who asked nothing gets no answer"
            for client in (*trickling, stalled):
                assert await client.rest() == b""
            assert found.application.gone.is_set()
            await normal.send(POST + b"Content-Length: 2\r\n\r\nhi")
            assert (await normal.answer())[0] == 200

    run(test)


def test_who_goes_on_sending_after_a_refusal_is_cut_off() -> None:
    async def test() -> None:
        async with place(header_timeout=0.3) as found:
            client = await found.connect()
            await client.send(b"garbage\r\n\r\n")
            with pytest.raises(ConnectionError):
                async with asyncio.timeout(PATIENCE):
                    while True:
                        await client.send(bytes(1_000))
                        await asyncio.sleep(0.01)
            await found.until(lambda: not found.server.state.connections)

    run(test)


def test_idle_connections_are_closed_after_the_keep_alive() -> None:
    async def test() -> None:
        async with place(keep_alive=0.2) as found:
            client = await found.connect()
            await client.send(POST + b"Content-Length: 2\r\n\r\nhi")
            _, headers, _ = await client.answer()
            assert "connection" not in headers
            assert await client.rest() == b""

    run(test)


def test_connections_have_a_limit() -> None:
    async def test() -> None:
        async with place(connections=3) as found:
            first = [await found.connect() for _ in range(3)]
            await found.until(lambda: len(found.server.state.connections) == 3)
            extra = await found.connect()
            await extra.send(POST + b"Content-Length: 0\r\n\r\n")
            status, headers, body = await extra.answer()
            assert (status, headers["retry-after"]) == (503, "1")
            assert json.loads(body)["error"]["code"] == "too_many_connections"
            extra.close()
            await found.until(lambda: len(found.server.state.connections) == 3)
            await first[0].send(POST + b"Content-Length: 0\r\n\r\n")
            assert (await first[0].answer())[0] == 200

    run(test)


def test_limits_may_change_while_connections_live() -> None:
    async def test() -> None:
        async with place(body_bytes=10) as found:
            client = await found.connect()
            found.server.state.limits = Limits(body_bytes=3)
            await client.send(POST + b"Content-Length: 3\r\n\r\nabc")
            assert (await client.answer())[0] == 200
            await client.send(POST + b"Content-Length: 4\r\n\r\nabcd")
            assert (await client.answer())[0] == 413

    run(test)


@pytest.mark.parametrize("path", [b"/large", b"/endless"])
def test_a_client_that_never_reads_holds_no_place_for_ever(path: bytes) -> None:
    async def test() -> None:
        async with place(write_timeout=0.2, keep_alive=0.2) as found:
            client = await found.connect()
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
            await found.until(lambda: bool(found.application.requests))
            await found.until(lambda: not found.server.state.connections)
            if path == b"/endless":
                async with asyncio.timeout(PATIENCE):
                    await found.application.gone.wait()

    run(test)


def test_what_is_left_when_a_connection_closes_has_its_time_too() -> None:
    """Less than the transport's high mark, so that writing is never paused."""

    async def test() -> None:
        async with place(write_timeout=0.2, keep_alive=0.2) as found:
            client = await found.connect()
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await found.until(lambda: bool(found.application.requests))
            (connection,) = found.server.state.connections
            transport = connection.transport
            # The kernel takes megabytes; what it does not, stays here.
            while not transport.get_write_buffer_size():
                transport.write(bytes(50_000))
                await asyncio.sleep(0)
            await found.until(lambda: not found.server.state.connections)

    run(test)


def test_a_client_that_reads_slowly_gets_all() -> None:
    async def test() -> None:
        async with place(write_timeout=1.0) as found:
            client = await found.connect()
            await client.send(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            size = 0
            while part := await client.reader.read(5_000_000):
                size += len(part)
                await asyncio.sleep(0.01)
            assert size > 50_000_000

    run(test)


def test_an_answer_s_own_time_holds_for_its_reader() -> None:
    async def test() -> None:
        async with place(write_timeout=PATIENCE) as found:
            found.application.start = {"until": asyncio.get_running_loop().time() + 0.3}
            client = await found.connect()
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
            await found.until(lambda: bool(found.application.requests))
            await found.until(lambda: not found.server.state.connections)

    run(test)


def test_a_silent_stream_says_that_it_lives() -> None:
    async def test() -> None:
        async with place() as found:
            found.application.start = {"ping": (0.05, b": ping\n\n")}
            found.application.first = b"data: first\n\n"
            for version, ping in ((b"1.1", b"8\r\n: ping\n\n\r\n"), (b"1.0", b": ping\n\n")):
                found.application.release.clear()
                client = await found.connect()
                await client.send(b"GET /stream HTTP/%b\r\nHost: a\r\nConnection: close\r\n\r\n" % version)
                answer = b""
                while answer.count(ping) < 2:
                    answer += await client.reader.read(65536)
                found.application.release.set()
                body = (answer + await client.rest()).partition(b"\r\n\r\n")[2]
                assert ping + ping in body
                left = body.replace(ping, b"")
                whole = b"d\r\ndata: first\n\n\r\n4\r\nlast\r\n0\r\n\r\n"
                if version == b"1.0":
                    whole = b"data: first\n\nlast"
                assert left == whole

    run(test)


def test_no_sign_of_life_comes_in_the_middle_of_an_event() -> None:
    async def test() -> None:
        async with place() as found:
            found.application.start = {"ping": (0.02, b": ping\n\n")}
            found.application.first = b"data: half"
            client = await found.connect()
            await client.send(b"GET /stream HTTP/1.0\r\nHost: a\r\n\r\n")
            await found.application.started.wait()
            await asyncio.sleep(0.1)
            found.application.release.set()
            assert (await client.rest()).partition(b"\r\n\r\n")[2] == b"data: halflast"

    run(test)


@pytest.mark.parametrize("complete", [True, False])
def test_headers_have_a_limit_in_number(complete: bool) -> None:
    """A header of a few bytes takes a hundred in memory."""

    async def test() -> None:
        async with place() as found:
            client = await found.connect()
            await client.send(POST + b"a:b\r\n" * 12_000 + (b"\r\n" if complete else b""))
            status, _, body = await client.answer()
            assert (status, json.loads(body)["error"]["code"]) == (431, "headers_too_large")
            (connection,) = found.server.state.connections
            assert not connection.headers
            client = await found.connect()
            await client.send(POST + b"a:b\r\n" * 400 + b"Content-Length: 0\r\n\r\n")
            assert (await client.answer())[0] == 200

    run(test)


def test_a_client_that_takes_a_little_now_and_then_is_not_cut_off() -> None:
    """What it takes comes out of the system's buffers, which ask for more only by the megabyte."""

    async def test() -> None:
        async with place(write_timeout=0.3) as found:
            client = await found.connect()
            await client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
            raw = client.writer.get_extra_info("socket")
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await found.until(lambda: bool(found.application.requests))
            for _ in range(15):
                await asyncio.sleep(0.1)
                await asyncio.to_thread(os.read, raw.fileno(), 100_000)
            assert found.server.state.connections

    run(test)
