"""The edge on a real socket, spoken to in raw bytes: what is smuggled, trickled, too large or cut short."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_dancer.gateway.config import Limits
from tiny_dancer.gateway.edge import Server
from tiny_dancer.gateway.listening import Address, bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

POST = b"POST /v1/x HTTP/1.1\r\nHost: a\r\n"
PATIENCE = 30.0


class Application:
    """Answers with what it got; ``/slow`` only once ``release`` is set, ``/stream`` in parts."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.release = asyncio.Event()
        self.started = asyncio.Event()
        self.gone = asyncio.Event()
        self.no_delay = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.set()
                return
            body += message["body"]
            more = message["more_body"]
        self.requests.append({"method": scope["method"], "path": scope["path"], "body": body.decode("latin-1")})
        path = scope["path"]
        if path == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            self.started.set()
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                await send({"type": "http.response.body", "body": b"cut", "more_body": False})
                raise
            await send({"type": "http.response.body", "body": b"last", "more_body": False})
            return
        if path == "/slow":
            self.started.set()
            await self.release.wait()
        answer = json.dumps(self.requests[-1]).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


class Client:
    """A connection, in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one answer with a length."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, body

    async def rest(self) -> bytes:
        """Until the server closes."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    def close(self) -> None:
        self.writer.close()


class Place:
    """A server, its application and its clients."""

    def __init__(self, application: Application, server: Server, port: int) -> None:
        self.application, self.server, self.port = application, server, port
        self.clients: list[Client] = []

    async def connect(self) -> Client:
        self.clients.append(Client(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.clients[-1]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def place(**limits: float) -> AsyncIterator[Place]:
    application = Application()
    server = Server(application, Limits(**limits))  # type: ignore[arg-type]
    bound = bind(Address("127.0.0.1", 0), "listen")
    await server.start(bound.sockets[0])
    found = Place(application, server, bound.address.port)
    try:
        yield found
    finally:
        for client in found.clients:
            client.close()
        server.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())  # type: ignore[arg-type]


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


SMUGGLED = {
    "a length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "the same length twice": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\nhello",
    "a signed length": POST + b"Content-Length: +5\r\n\r\nhello",
    "a negative length": POST + b"Content-Length: -5\r\n\r\nhello",
    "a hexadecimal length": POST + b"Content-Length: 0x5\r\n\r\nhello",
    "no length": POST + b"Content-Length: \r\n\r\nhello",
    "chunks twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks that are not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding hidden by a tab": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": POST + b"Content-Length : 5\r\n\r\nhello",
    "a folded header": POST + b"X-A: b\r\n c\r\n\r\n",
    "a folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"POST /v1/x HTTP/1.1\nHost: a\nContent-Length: 0\n\n",
    "one bare line feed": POST + b"X-A: b\nX-B: c\r\n\r\n",
    "a bare carriage return": POST + b"X-A: b\rX-B: c\r\n\r\n",
    "a NUL in a value": POST + b"X-A: b\x00c\r\n\r\n",
    "a NUL in a name": POST + b"X\x00A: b\r\n\r\n",
    "a NUL in the path": b"POST /v1/\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a header without a colon": POST + b"whatever\r\n\r\n",
    "an empty name": POST + b": b\r\n\r\n",
    "two hosts": POST + b"Host: b\r\n\r\n",
    "two authorizations": POST + b"Authorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n",
    "two keys": POST + b"x-api-key: a\r\nX-API-Key: a\r\n\r\n",
    "two types of content": POST + b"Content-Type: a/b\r\nContent-Type: a/c\r\n\r\n",
    "no host": b"POST /v1/x HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST /v1/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an unknown version": b"POST /v1/x HTTP/3.7\r\nHost: a\r\n\r\n",
    "no version": b"GET /v1/x\r\n\r\n",
    "a path of other letters": "GET /v1/ä HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
}


@pytest.mark.parametrize("what", SMUGGLED)
def test_nothing_is_smuggled(what: str) -> None:
    async def test() -> None:
        async with place() as found:
            client = await found.connect()
            await client.send(SMUGGLED[what] + POST + b"Content-Length: 4\r\n\r\nevil")
            status, headers, body = await client.answer()
            assert status == 400
            error = json.loads(body)["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert (error["type"], error["code"]) == ("invalid_request_error", "malformed_request")
            assert headers["connection"] == "close"
            assert await client.rest() == b"", "only one answer"
            assert not [one for one in found.application.requests if one["body"] == "evil"]

    run(test)


BAD_CHUNKS = {
    "no number": b"zz\r\nhello\r\n0\r\n\r\n",
    "a negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "a size of 2^64 + 5": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "a space in the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a bare line feed after the size": b"5\nhello\r\n0\r\n\r\n",
    "a longer chunk than it says": b"3\r\nhello\r\n0\r\n\r\n",
    "a bare line feed in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "no line end after the chunk": b"5\r\nhello0\r\n\r\n",
}


@pytest.mark.parametrize("what", BAD_CHUNKS)
def test_bad_chunks_are_refused_in_the_middle_of_a_body(what: str) -> None:
    async def test() -> None:
        async with place() as found:
            client = await found.connect()
            await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"2\r\nok\r\n")
            await client.send(BAD_CHUNKS[what])
            status, _, body = await client.answer()
            assert (status, json.loads(body)["error"]["code"]) == (400, "malformed_request")
            assert await client.rest() == b""
            async with asyncio.timeout(PATIENCE):
                await found.application.gone.wait()
            assert found.application.requests == []

    run(test)


@settings(max_examples=60, deadline=None)
@given(
    bodies=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 60), max_size=12),
    as_chunks=st.booleans(),
)
def test_requests_are_read_the_same_however_their_bytes_arrive(
    bodies: list[bytes], cuts: list[int], as_chunks: bool
) -> None:
    async def test() -> None:
        async with place() as found:
            client = await found.connect()
            data = b""
            for body in bodies:
                if as_chunks:
                    half = len(body) // 2
                    parts = [part for part in (body[:half], body[half:]) if part]
                    data += POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*parts)
                else:
                    data += POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
            for cut in cuts:
                await client.send(data[:cut])
                await asyncio.sleep(0)
                data = data[cut:]
            await client.send(data)
            for body in bodies:
                status, _, answer = await client.answer()
                assert status == 200
                assert json.loads(answer)["body"] == body.decode("latin-1")
            assert len(found.application.requests) == len(bodies)

    run(test)


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300), head=st.sampled_from([b"", b"GET / HTTP/1.1\r\nHost: a\r\n", POST]))
def test_whatever_arrives_the_answer_is_http(data: bytes, head: bytes) -> None:
    async def test() -> None:
        async with place(header_timeout=0.05, body_timeout=0.05, keep_alive=0.05) as found:
            client = await found.connect()
            await client.send(head + data)
            answer = await client.rest()
            assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
            assert b"500" not in answer[:20]

    run(test)


def test_garbage_behind_a_request_does_not_disturb_its_answer() -> None:
    async def test() -> None:
        async with place() as found:
            client = await found.connect()
            await client.send(
                b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi" + b"garbage\r\n\r\n"
            )
            await found.application.started.wait()
            found.application.release.set()
            status, headers, body = await client.answer()
            assert (status, json.loads(body)["body"], headers["connection"]) == (200, "hi", "close")
            assert await client.rest() == b""

    run(test)


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


@pytest.mark.parametrize("with_body", [True, False])
def test_an_offer_of_http_2_does_not_lose_the_body(with_body: bool) -> None:
    """Java's client sends it with every request to a plain port."""

    async def test() -> None:
        async with place() as found:
            client = await found.connect()
            offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
            body = b"hello" if with_body else b""
            for _ in range(2):
                await client.send(POST + offer + b"Content-Length: %d\r\n\r\n" % len(body) + body[:2])
                await client.send(body[2:])
                status, _, answer = await client.answer()
                assert (status, json.loads(answer)["body"]) == (200, body.decode())
            await client.send(POST + offer + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"he", b"llo"))
            status, _, answer = await client.answer()
            assert (status, json.loads(answer)["body"]) == (200, "hello")

    run(test)


def test_this_is_no_forward_proxy() -> None:
    async def test() -> None:
        async with place() as found:
            client = await found.connect()
            await client.send(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n")
            status, _, body = await client.answer()
            assert (status, json.loads(body)["error"]["code"]) == (405, "method_not_allowed")
            assert found.application.requests == []

    run(test)


def test_small_writes_are_not_held_back() -> None:
    """TCP_NODELAY: each chunk of a stream leaves at once. The loop sets it; this holds the loop to it."""

    async def test() -> None:
        async with place() as found:
            client = await found.connect()
            await client.send(POST + b"Content-Length: 0\r\n\r\n")
            await client.answer()
            (connection,) = found.server.state.connections
            accepted = connection.transport.get_extra_info("socket")
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0

    run(test)


def test_a_drain_answers_what_waits_and_what_is_on_its_way() -> None:
    async def test() -> None:
        async with place() as found:
            idle, busy = await found.connect(), await found.connect()
            await idle.send(POST + b"Content-Length: 0\r\n\r\n")
            await idle.answer()
            await busy.send(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            await found.application.started.wait()
            waiting: list[socket.socket] = []

            async def connect_and_drain() -> None:
                # Without a turn of the loop in between, which would accept them.
                for _ in range(20):
                    waiting.append(socket.create_connection(("127.0.0.1", found.port)))
                await found.server.drain(20.0, asyncio.Event(), last=False)

            draining = asyncio.ensure_future(connect_and_drain())
            await found.until(lambda: len(waiting) == 20)
            await idle.send(POST + b"Content-Length: 2\r\n\r\nhi")
            status, headers, _ = await idle.answer()
            assert (status, headers["connection"]) == (200, "close")
            for each in waiting:
                each.setblocking(False)
                client = Client(*await asyncio.open_connection(sock=each))
                found.clients.append(client)
                await client.send(POST + b"Content-Length: 4\r\n\r\nwait")
                status, headers, body = await client.answer()
                assert (status, headers["connection"], json.loads(body)["body"]) == (200, "close", "wait")
            with pytest.raises(ConnectionError):
                await found.connect()
            assert not draining.done()
            found.application.release.set()
            status, headers, _ = await busy.answer()
            assert (status, headers["connection"]) == (200, "close")
            await draining
            assert not found.server.state.tasks

    run(test)


@pytest.mark.parametrize("hurried", [True, False])
def test_a_drain_cuts_what_does_not_end(hurried: bool) -> None:
    async def test() -> None:
        async with place() as found:
            client = await found.connect()
            await client.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
            await found.application.started.wait()
            at_once = asyncio.Event()
            draining = asyncio.ensure_future(found.server.drain(1_000 if hurried else 0.2, at_once))
            if hurried:
                at_once.set()
            assert (await client.rest()).endswith(b"5\r\nfirst\r\n3\r\ncut\r\n0\r\n\r\n")
            await draining

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
