"""The edge on a real socket: what is smuggled, cut up, pipelined or no HTTP at all."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.gateway.edge.edges import PATIENCE, POST, place, run


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
    "a coding before chunks": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
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


@pytest.mark.parametrize("pieces", [1, 3])
def test_offers_of_http_2_may_come_in_any_number_at_once(pieces: int) -> None:
    count = 2_000
    offer = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\nx"

    async def test() -> None:
        async with place() as found:
            client = await found.connect()
            data = offer * count
            for start in range(0, len(data), step := -(-len(data) // pieces)):
                await client.send(data[start : start + step])
            for _ in range(count):
                status, _, answer = await client.answer()
                assert (status, json.loads(answer)["body"]) == (200, "x")
            await client.send(offer + b"garbage")
            assert (await client.answer())[0] == 200

    run(test)


def test_a_client_of_http_1_0_gets_no_chunks() -> None:
    async def test() -> None:
        async with place() as found:
            client = await found.connect()
            found.application.release.set()
            await client.send(b"POST /stream HTTP/1.0\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n")
            head, _, body = (await client.rest()).partition(b"\r\n\r\n")
            assert body == b"firstlast"
            assert b"transfer-encoding" not in head
            assert b"connection: close" in head
            client = await found.connect()
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            status, headers, body = await client.answer()
            assert (status, int(headers["content-length"])) == (200, len(body))

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


def test_what_comes_behind_a_body_is_no_header() -> None:
    """Trailers (RFC 9110, 6.5): a proxy in front may not have looked at them."""

    async def test() -> None:
        async with place() as found:
            client = await found.connect()
            trailers = b"Authorization: Bearer a\r\nX-A: b\r\n"
            body = chunked(b"hello")[:-2] + trailers + b"\r\n"
            await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + body)
            assert json.loads((await client.answer())[2])["body"] == "hello"
            assert [name for name, _ in found.application.headers] == [b"host", b"transfer-encoding"]
            # Without end they are not kept either.
            await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + trailers * 5_000)
            (connection,) = found.server.state.connections
            assert not connection.headers
            assert len(found.application.headers) == 2

    run(test)


@pytest.mark.parametrize("sent", [True, False])
def test_who_was_not_asked_for_a_body_may_not_go_on_as_if_it_had_been_sent(sent: bool) -> None:
    async def test() -> None:
        async with place() as found:
            client = await found.connect()
            head = b"POST /early HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
            await client.send(head + (b"hello" if sent else b""))
            status, headers, _ = await client.answer()
            assert status == 401
            assert ("connection" in headers) is not sent
            if sent:
                await client.send(POST + b"Content-Length: 0\r\n\r\n")
                assert (await client.answer())[0] == 200
            else:
                assert await client.rest() == b""

    run(test)


@pytest.mark.parametrize("late", [True, False])
def test_a_request_learns_that_its_client_has_left_whatever_waits_behind_it(late: bool) -> None:
    async def test() -> None:
        async with place() as found:
            client = await found.connect()
            hold, behind = b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n", POST + b"Content-Length: 0\r\n\r\n"
            await client.send(hold if late else hold + behind * 3)
            await found.application.started.wait()
            if late:
                await client.send(behind)
                (connection,) = found.server.state.connections
                await found.until(lambda: bool(connection.pipeline))
            client.close()
            async with asyncio.timeout(PATIENCE):
                await found.application.gone.wait()
            await found.until(lambda: not found.server.state.connections)
            assert [each["path"] for each in found.application.requests] == ["/hold"]

    run(test)


def test_a_long_row_of_requests_is_answered_in_full() -> None:
    async def test() -> None:
        async with place() as found:
            client = await found.connect()
            await client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            await found.application.started.wait()
            for number in range(30):
                await client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            found.application.release.set()
            paths = [json.loads((await client.answer())[2])["path"] for _ in range(31)]
            assert paths == ["/slow", *(f"/{number}" for number in range(30))]

    run(test)
