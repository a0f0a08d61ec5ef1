"""Calls over HTTP/2, to node's server behind TLS; without node and its http2 they are skipped."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import socket
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.unit.gateway.upstream.clients.http2_server import PATIENCE, Caller, Server, call, parts

from tiny_dancer.gateway.upstream.clients import http2
from tiny_dancer.gateway.upstream.clients.base import CallError, Late, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CANCEL = 8  # of HTTP/2's error codes


@pytest.fixture
def start(trusted: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server that allows so many streams at a time."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node, whose http2 is the server of these tests")
    running: list[Server] = []

    def one(streams: int = 100) -> Server:
        running.append(Server(node, trusted, streams))
        return running[-1]

    yield one
    for each in running:
        each.end()


@pytest.fixture
def server(start: Callable[..., Server]) -> Server:
    return start()


def test_headers_and_body_arrive_as_they_are(server: Server) -> None:
    body = bytes(range(32, 127)) * 20_000

    async def use(caller: Caller) -> None:
        status, headers, found = await caller.whole("echo?a=b", body, ("x-sent", "2"), ("authorization", "me"))
        assert status == 200
        assert [pair for pair in headers if pair[0] != "date"] == [
            ("x-many", "one"),
            ("x-many", "two"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ]
        asked = json.loads(found)
        assert (asked["method"], asked["path"], asked["body"]) == ("POST", "/echo?a=b", body.decode())
        sent = asked["headers"]
        assert (sent["x-sent"], sent["authorization"]) == ("1, 2", "me")
        assert (sent["user-agent"], sent["content-length"]) == ("tiny-dancer", str(len(body)))
        assert sent["accept-encoding"] == "identity"
        assert (await server.next("connection"))["connection"] == "h2"

    call(server.url, use)


@pytest.mark.parametrize(("name", "status"), [("redirect", 307), ("gzip", 200), ("fail", 529)])
def test_redirects_and_errors_are_answers_and_what_is_compressed_is_read(
    server: Server, name: str, status: int
) -> None:
    async def use(caller: Caller) -> None:
        found, headers, body = await caller.whole(name)
        reply = await caller.stream(name)
        assert (found, headers[0], body) == (
            reply.status,
            reply.headers[0],
            b"".join([p async for p in parts(reply)]),
        )
        assert found == status
        assert name != "gzip" or body == b"hello"
        for _ in range(2):
            assert (await server.next("closed")) == {"closed": name, "code": 0}

    call(server.url, use)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_request_without_a_body(server: Server, method: str) -> None:
    async def use(caller: Caller) -> None:
        target = caller.client.target(server.url + "echo?a=b", [("x-sent", "1")], method)
        asked = json.loads((await caller.client.whole(target, (), b""))[2])
        assert (asked["method"], asked["path"], asked["body"]) == (method, "/echo?a=b", "")
        assert asked["headers"]["x-sent"] == "1"

    call(server.url, use)


def test_chunks_arrive_one_by_one(server: Server) -> None:
    async def use(caller: Caller) -> None:
        reply = await caller.stream("pieces")
        for expected in (b"one", b"two", b"three"):
            assert await reply.chunk() == expected  # the server writes the next one only now
            server.go_on()
        assert await reply.chunk() is None
        assert await reply.chunk() is None
        await reply.close()
        assert (await server.next("closed"))["code"] == 0

    call(server.url, use)


@pytest.mark.parametrize(
    ("name", "piecewise"),
    [
        ("silent", False),
        ("headers", False),
        ("pieces", False),
        ("silent", True),
        ("headers", True),
        ("pieces", True),
    ],
)
def test_a_cancel_resets_the_stream_at_once(server: Server, name: str, piecewise: bool) -> None:
    async def use(caller: Caller) -> None:
        if piecewise and name != "silent":
            reply = await caller.stream(name)
            if name == "pieces":
                await reply.chunk()
            task = asyncio.ensure_future(reply.chunk())
            await asyncio.sleep(0)
        else:
            task = asyncio.ensure_future((caller.stream if piecewise else caller.whole)(name))
        await server.next("request")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await server.next("closed") == {"closed": name, "code": CANCEL}
        # The connection and its other streams are not touched.
        assert (await caller.whole("echo"))[0] == 200
        await server.next("closed")
        assert server.count("connection") == 1

    call(server.url, use)


@pytest.mark.parametrize("name", ["headers", "pieces"])
def test_closing_an_answer_unread_resets_the_stream(server: Server, name: str) -> None:
    async def use(caller: Caller) -> None:
        reply = await caller.stream(name)
        if name == "pieces":
            assert await reply.chunk() == b"one"
        await reply.close()
        assert await server.next("closed") == {"closed": name, "code": CANCEL}
        await reply.close()

    call(server.url, use)


@pytest.mark.parametrize("seed", range(4))
def test_a_cancel_while_connecting_disturbs_nobody_else(server: Server, seed: int) -> None:
    chance = random.Random(seed)

    async def use(_: Caller) -> None:
        for _round in range(10):
            caller = Caller(server.url)
            tasks = [asyncio.ensure_future(caller.whole("echo")) for _ in range(12)]
            for _turn in range(chance.randrange(60)):
                await asyncio.sleep(0)
            for task in tasks[: chance.randrange(1, 6)]:
                task.cancel()
            for found in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(found, asyncio.CancelledError) or found[0] == 200

    call(server.url, use)


def test_calls_at_random_cancelled_at_random_leave_nothing_open(server: Server) -> None:
    chance = random.Random(1)
    calls = 200

    async def one(caller: Caller) -> None:
        name = chance.choice(["silent", "headers", "pieces", "echo", "flood"])
        asked = (caller.streamed if chance.random() < 0.5 else caller.whole)(name, b"3000000")
        task = asyncio.ensure_future(asked)
        for _turn in range(chance.randrange(200)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or not task.exception()

    async def use(caller: Caller) -> None:
        await caller.whole("echo")
        for _ in range(calls // 20):
            await asyncio.gather(*[one(caller) for _ in range(20)])
        await caller.whole("echo?last")
        while {"closed": "echo?last", "code": 0} not in server.happened:
            await server.next("closed")
        while server.count("closed") < server.count("request"):
            await server.next("closed")

    call(server.url, use)


TIMES: list[tuple[str, bool, dict[str, float], Late]] = [
    ("silent", False, {"first_byte": 0.2}, Late.FIRST_BYTE),
    ("silent", True, {"first_byte": 0.2}, Late.FIRST_BYTE),
    ("headers", False, {"first_byte": 0.2}, Late.FIRST_BYTE),
    ("headers", True, {"idle": 0.2}, Late.IDLE),
    ("pieces", True, {"idle": 0.2}, Late.IDLE),
    ("silent", False, {"total": 0.2}, Late.TOTAL),
    ("pieces", True, {"total": 0.2}, Late.TOTAL),
]


@pytest.mark.parametrize(("name", "piecewise", "times", "late"), TIMES)
def test_each_time_runs_out_by_itself(
    server: Server, name: str, piecewise: bool, times: dict[str, float], late: Late
) -> None:
    async def use(caller: Caller) -> None:
        with pytest.raises(CallError) as raised:
            await (caller.streamed if piecewise else caller.whole)(name)
        assert (raised.value.phase, raised.value.message) == (Phase.TIMEOUT, late.value)
        assert await server.next("closed") == {"closed": name, "code": CANCEL}

    call(server.url, use, **times)


def test_what_never_connects_is_told_apart(
    server: Server, monkeypatch: pytest.MonkeyPatch, certificates: Path
) -> None:
    async def use(caller: Caller) -> None:
        with pytest.raises(CallError) as raised:
            await caller.whole("echo")
        failed.append(raised.value)

    failed: list[CallError] = []
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes the connection, and says nothing to TLS
        url = f"https://localhost:{deaf.getsockname()[1]}/"
        call(url, use, connect=0.2)
    call(url, use)  # refuses it
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "server.pem"))  # not who signed it
    call(server.url, use)
    assert [each.phase for each in failed] == [Phase.CONNECT] * 3
    assert failed[0].message == Late.CONNECT.value
    assert not any("localhost" in each.message for each in failed)


def test_an_upstream_without_http2_fails(trusted: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(24)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async def main() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(trusted / "server.pem", trusted / "server.key")
        listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        caller = Caller(f"https://localhost:{listening.sockets[0].getsockname()[1]}/")
        with pytest.raises(CallError):
            await asyncio.wait_for(caller.whole("echo"), PATIENCE)
        await caller.client.close()
        listening.close()

    asyncio.run(main())


def test_a_slow_reader_makes_the_server_wait(server: Server) -> None:
    size = 64 * 1024 * 1024

    async def use(caller: Caller) -> None:
        reply = await caller.stream("flood", str(size).encode())
        assert (await server.next("stuck"))["stuck"] < 8 * 1024 * 1024
        assert sum([len(part) async for part in parts(reply)]) == size
        await reply.close()

    call(server.url, use)


def test_an_answer_too_large_is_not_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "LARGEST_ANSWER", 1024 * 1024)

    async def use(caller: Caller) -> None:
        assert len((await caller.whole("flood", b"1048576"))[2]) == 1024 * 1024
        await server.next("closed")
        with pytest.raises(CallError, match="too large") as raised:
            await caller.whole("flood", b"67108864")
        assert raised.value.phase is Phase.BROKEN
        assert await server.next("closed") == {"closed": "flood", "code": CANCEL}

    call(server.url, use)


@pytest.mark.parametrize("piecewise", [False, True])
@pytest.mark.parametrize("name", ["vanish", "goaway"])
def test_what_may_have_been_served_is_not_sent_again(server: Server, name: str, piecewise: bool) -> None:
    async def use(caller: Caller) -> None:
        with pytest.raises(CallError) as raised:
            await (caller.streamed if piecewise else caller.whole)(name)
        assert raised.value.phase is Phase.BROKEN
        assert (await caller.whole("echo"))[0] == 200  # on another connection
        while {"request": "echo"} not in server.happened:
            await server.next("request")
        assert (server.count("request"), server.count("connection")) == (2, 2)

    call(server.url, use)


def test_a_stream_reset_by_the_server_is_broken(server: Server) -> None:
    async def use(caller: Caller) -> None:
        reply = await caller.stream("reset", b"2")
        assert await reply.chunk() == b"one"
        server.go_on()
        with pytest.raises(CallError) as raised:
            await reply.chunk()
        assert raised.value.phase is Phase.BROKEN
        await reply.close()
        assert (await caller.whole("echo"))[0] == 200

    call(server.url, use)


def test_another_connection_where_one_allows_no_more_streams(start: Callable[..., Server]) -> None:
    server = start(2)

    async def use(caller: Caller) -> None:
        await caller.whole("echo")
        await server.next("closed")
        tasks = [asyncio.ensure_future(caller.whole("silent")) for _ in range(5)]
        for _ in tasks:
            assert (await server.next("request"))["request"] == "silent"
        assert server.count("connection") == 3
        for task in tasks:
            task.cancel()
        for _ in tasks:
            assert await server.next("closed") == {"closed": "silent", "code": CANCEL}

    call(server.url, use)


def test_proxies_are_those_of_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        port = int(asked[-1].split()[1].split(b":")[1])
        behind = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pump(reader, behind[1]), pump(behind[0], writer))

    async def use(_: Caller) -> None:
        listening = await asyncio.start_server(proxy, "127.0.0.1", 0)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        for spared in ("", "localhost"):
            monkeypatch.setenv("NO_PROXY", spared)
            caller = Caller(server.url)
            assert (await caller.whole("echo"))[0] == 200
            await caller.client.close()
        listening.close()

    for name in ("https_proxy", "no_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    call(server.url, use)
    assert asked == [b"CONNECT " + server.url.split("/")[2].encode() + b" HTTP/1.1"]


ENDING = """
import asyncio, sys
from tiny_dancer.gateway.upstream.clients.http2 import Http2Client
from tiny_dancer.gateway.configuration.settings import Upstream

async def main(url):
    client = Http2Client(Upstream(base_url=url))
    for _ in range(3):
        await client.whole(client.target(url + "echo", []), (), b"{}")
    await client.close()

asyncio.run(main(sys.argv[1]))
"""


def test_the_process_ends_well_after_the_client_was_closed(server: Server) -> None:
    for _ in range(4):  # without a wait in close(), about one of six aborts
        subprocess.run([sys.executable, "-c", ENDING, server.url], check=True, timeout=PATIENCE)
