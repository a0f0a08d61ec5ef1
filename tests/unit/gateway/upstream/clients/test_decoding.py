"""What a server compresses although it was asked not to, read whole and in pieces."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING

import brotli
import pytest
import zstandard
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.unit.gateway.upstream.clients.raw_server import Caller, Wire, chunk

from tiny_dancer.gateway.upstream.clients import decoding
from tiny_dancer.gateway.upstream.clients.base import CallError, Phase
from tiny_dancer.gateway.upstream.clients.decoding import DecodedReply, decoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.unit.gateway.upstream.clients.conftest import Client
    from tests.unit.gateway.upstream.clients.raw_server import RawServer


def _raw(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    packed = deflate.compress(data) + deflate.flush()
    # Now and then it begins as if it were framed, and nobody can tell.
    assume(not (packed[0] & 0x0F == 8 and int.from_bytes(packed[:2], "big") % 31 == 0))
    return packed


def _members(data: bytes) -> bytes:
    return gzip.compress(data[:3]) + gzip.compress(data[3:]) + b"\0" * 8


CODINGS = {
    "gzip": (gzip.compress, _members),
    "x-gzip": (gzip.compress,),
    "deflate": (zlib.compress, _raw),
    "br": (brotli.compress,),
    "zstd": (zstandard.compress, lambda data: zstandard.compress(data[:5]) + zstandard.compress(data[5:])),
    "identity": (bytes,),
}


class _Cut:
    """A reply in the pieces given."""

    status = 200

    def __init__(self, pieces: Sequence[bytes], content_type: str = "application/json") -> None:
        self._pieces = iter(pieces)
        self.headers = [("content-type", content_type), ("content-encoding", "?"), ("content-length", "9")]

    async def chunk(self) -> bytes | None:
        return next(self._pieces, None)

    async def close(self) -> None:
        pass


def read(pieces: Sequence[bytes], encoding: str, content_type: str = "application/json") -> list[bytes]:
    async def all_of_it() -> list[bytes]:
        reply = DecodedReply(_Cut(pieces, content_type), encoding)
        assert reply.headers == [("content-type", content_type)]
        found = []
        while (piece := await reply.chunk()) is not None:
            found.append(piece)
        return found

    return asyncio.run(all_of_it())


@given(st.binary(max_size=2000), st.lists(st.sampled_from(sorted(CODINGS)), min_size=1, max_size=3), st.data())
def test_whatever_is_packed_comes_out_again_however_it_is_cut(
    body: bytes, names: list[str], data: st.DataObject
) -> None:
    packed = body
    for name in names:
        packed = data.draw(st.sampled_from(CODINGS[name]))(packed)
    encoding = data.draw(st.sampled_from([", ", ",", " , "])).join(names).upper()
    assert decoded(encoding, packed) == body
    cuts = sorted(data.draw(st.lists(st.integers(0, len(packed)), max_size=8)))
    ends = [0, *cuts, len(packed)]
    pieces = [packed[start:stop] for start, stop in pairwise(ends)]
    assert b"".join(read(pieces, encoding)) == body


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_what_grows_does_so_in_bounded_pieces(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "LARGEST_ANSWER", 8 * 2**20)
    packed = CODINGS[name][0](bytes(16 * 2**20))
    assert len(packed) < 2**15
    with pytest.raises(CallError, match="too large"):
        decoded(name, packed)
    pieces = read([packed], name)
    assert sum(map(len, pieces)) == 16 * 2**20
    assert max(map(len, pieces)) <= 2**20


def test_what_says_gzip_and_is_none_is_read_as_it_is() -> None:
    assert decoded("gzip", b'{"a":1}') == b'{"a":1}'


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("br", b"no br at all"),
        ("gzip, made-up", b"x"),
        ("gzip", gzip.compress(b"hello", mtime=0)[:-8] + b"\xff" * 8),
        ("deflate", b"no deflate at all"),
        ("zstd", b"no zstd at all"),
    ],
)
def test_what_nobody_reads_says_so(encoding: str, body: bytes) -> None:
    with pytest.raises(CallError, match="compressed") as raised:
        decoded(encoding, body)
    assert raised.value.phase is Phase.BROKEN
    with pytest.raises(CallError, match="compressed"):
        read([body], encoding)


def test_a_body_cut_within_its_coding_says_so_but_events_say_themselves_where_they_end() -> None:
    flushed = zlib.compressobj(wbits=31)
    packed = flushed.compress(b"data: [DONE]\n\n") + flushed.flush(zlib.Z_SYNC_FLUSH)
    assert b"".join(read([packed], "gzip", "text/event-stream; charset=utf-8")) == b"data: [DONE]\n\n"
    with pytest.raises(CallError, match="compressed"):
        read([packed], "gzip")


def test_a_stream_of_gzip_is_read_event_by_event(http1: Client) -> None:
    pack = zlib.compressobj(wbits=31)

    async def script(wire: Wire) -> None:
        await wire.request()
        head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
        for event in (b"one", b"two"):
            await wire.send(head + chunk(pack.compress(event) + pack.flush(zlib.Z_SYNC_FLUSH)))
            head = b""
            await read_so_far.acquire()
        await wire.send(chunk(pack.flush()) + b"0\r\n\r\n")
        await wire.request()
        body = gzip.compress(b"again")
        await wire.send(
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )

    async def use(server: RawServer, caller: Caller) -> None:
        reply = await caller.stream()
        for expected in (b"one", b"two"):
            assert await reply.chunk() == expected
            read_so_far.release()
        assert await reply.chunk() is None
        await reply.close()
        status, headers, body = await caller.whole()
        assert (status, headers, body) == (200, [], b"again")
        assert len(server.wires) == 1, "the connection is kept"

    read_so_far = asyncio.Semaphore(0)
    http1.try_with(script, use)
