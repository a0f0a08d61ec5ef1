"""Bodies of requests: what is held of them, and compressed ones, in bounds."""

from __future__ import annotations

import asyncio
import gzip
import sys
import threading
import time
import zlib
from typing import TYPE_CHECKING, Any

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.gateway.configuration.settings import Limits
from tiny_dancer.gateway.edge import bodies as bodies_module
from tiny_dancer.gateway.edge.bodies import Bodies
from tiny_dancer.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable


def raw_deflate(data: bytes) -> bytes:
    writer = zlib.compressobj(wbits=-15)
    return writer.compress(data) + writer.flush()


CODINGS: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "gzip": (b"gzip", gzip.compress),
    "GZIP": (b" GZIP ", gzip.compress),
    "gzip in members": (b"gzip", lambda data: gzip.compress(data[:5]) + gzip.compress(data[5:])),
    "deflate": (b"deflate", zlib.compress),
    "raw deflate": (b"deflate", raw_deflate),
    "brotli": (b"br", brotli.compress),
    "zstd": (b"zstd", zstandard.ZstdCompressor().compress),
    "zstd in frames": (b"zstd", lambda data: zstandard.compress(data[:5]) + zstandard.compress(data[5:])),
}
LIMITS = Limits(body_bytes=1_000_000, bodies_bytes=2_000_000)


def read(*parts: bytes, coding: bytes | None = None, bodies: Bodies | None = None, gone: bool = False) -> bytes:
    messages: list[Any] = [{"type": "http.request", "body": each, "more_body": True} for each in parts]
    if gone:
        messages.append({"type": "http.disconnect"})
    else:
        messages[-1]["more_body"] = False

    async def receive() -> Any:
        return messages.pop(0)

    return asyncio.run((bodies or Bodies()).read(receive, LIMITS, coding))


def refused(*parts: bytes, **more: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        read(*parts, **more)
    return caught.value


@pytest.mark.parametrize("which", CODINGS)
@given(data=st.binary(max_size=2000), cut=st.integers(0, 2000))
def test_compressed_bodies_are_unpacked(which: str, data: bytes, cut: int) -> None:
    coding, pack = CODINGS[which]
    packed = pack(data)
    bodies = Bodies()
    assert read(packed[:cut], packed[cut:], coding=coding, bodies=bodies) == data
    assert bodies.held == len(data)


@pytest.mark.parametrize("which", CODINGS)
@pytest.mark.parametrize("size", [1_000_001, 30_000_000])
def test_what_would_be_too_large_unpacked_is_not_unpacked_in_full(which: str, size: int) -> None:
    coding, pack = CODINGS[which]
    bodies = Bodies()
    error = refused(pack(bytes(size)), coding=coding, bodies=bodies)
    assert (error.status, error.code) == (413, "request_too_large")
    assert bodies.held == 0


@pytest.mark.parametrize("which", CODINGS)
def test_what_cannot_be_unpacked_is_refused(which: str) -> None:
    coding, pack = CODINGS[which]
    packed = pack(bytes(range(256)) * 40)
    for broken in (packed[:-3], packed[: len(packed) // 2], b"", b"\xff" * 50, b"{}"):
        bodies = Bodies()
        error = refused(broken, coding=coding, bodies=bodies)
        assert (error.status, error.code) == (400, "invalid_encoding")
        assert bodies.held == 0


def test_an_unknown_coding_is_refused_and_identity_is_none() -> None:
    error = refused(b"{}", coding=b"compress")
    assert (error.status, error.code) == (415, "unsupported_encoding")
    assert "br, deflate, gzip, x-gzip, zstd" in error.message
    assert refused(gzip.compress(b"{}"), coding=b"gzip, gzip").status == 415
    assert read(b"{}", coding=b"identity") == b"{}"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, coding in (("brotli", b"br"), ("zstandard", b"zstd")):
        monkeypatch.setitem(sys.modules, name, None)
        error = refused(b"{}", coding=coding)
        assert error.status == 415
        assert f"package {name}" in error.message


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=9))
def test_a_body_is_the_same_however_it_arrives(parts: list[bytes]) -> None:
    bodies = Bodies()
    assert read(*parts, bodies=bodies) == b"".join(parts)
    assert bodies.held == sum(map(len, parts))


def test_what_is_held_together_is_bounded() -> None:
    bodies = Bodies()
    read(bytes(900_000), bodies=bodies)
    read(*[bytes(100_000)] * 9, bodies=bodies)
    for parts in ([bytes(900_000)], [bytes(100_000)] * 9):
        error = refused(*parts, bodies=bodies)
        assert (error.status, error.code) == (503, "too_many_bodies")
        assert (b"retry-after", b"1") in error.headers
        assert "2,000,000" in error.message
    assert bodies.held == 1_800_000
    packed = gzip.compress(bytes(900_000))
    assert refused(packed, coding=b"gzip", bodies=bodies).code == "too_many_bodies"
    assert bodies.held == 1_800_000


def test_what_is_not_read_to_its_end_is_not_held() -> None:
    bodies = Bodies()
    assert refused(bytes(10), bytes(10), bodies=bodies, gone=True).status == 499
    assert refused(*[bytes(400_000)] * 3, bodies=bodies).status == 413
    assert refused(bytes(1_000_001), bodies=bodies).status == 413
    assert bodies.held == 0


def test_members_without_end_are_refused() -> None:
    """Each costs a copy of all that follow."""
    assert refused(gzip.compress(b"") * 1_000, coding=b"gzip").code == "invalid_encoding"


def test_few_are_unpacked_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """How large they become is known only afterwards."""
    running, most, lock = 0, 0, threading.Lock()

    def unpack(body: bytes, _most: int) -> bytes:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return body

    monkeypatch.setitem(bodies_module._CODINGS, b"gzip", unpack)

    async def test() -> None:
        bodies = Bodies()

        async def receive() -> Any:
            return {"type": "http.request", "body": b"abc"}

        assert await asyncio.gather(*(bodies.read(receive, LIMITS, b"gzip") for _ in range(12))) == [b"abc"] * 12
        assert bodies.held == 36

    asyncio.run(test())
    assert most <= 2
