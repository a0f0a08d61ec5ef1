"""Bodies of requests: how many bytes of them a worker holds, and what of them is compressed."""

from __future__ import annotations

import asyncio
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from tiny_dancer.errors import MissingExtraError
from tiny_dancer.extras import needed
from tiny_dancer.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from tiny_dancer.gateway.configuration.settings import Limits

CLIENT_GONE: Final = 499
"""nginx's status for a client that went away; nobody reads it, but the record has it."""

# Bytes unpacked between two looks at the size: a block of 128 kB may take four.
_ZSTD_STEP: Final = 256
# Bodies unpacked at a time: how large one becomes is known, and held against the others, only afterwards.
_AT_ONCE: Final = 2
# Of gzip, each of which copies what is behind it.
_MOST_MEMBERS: Final = 100


class Bodies:
    """Those of all requests under way. Belongs to the event loop's thread.

    Attributes:
        held: bytes; whoever is done with a body takes its length off.
    """

    __slots__ = ("_unpacking", "held")

    def __init__(self) -> None:
        self.held = 0
        self._unpacking = asyncio.Semaphore(_AT_ONCE)

    async def read(
        self, receive: Callable[[], Awaitable[MutableMapping[str, Any]]], limits: Limits, coding: bytes | None
    ) -> bytes:
        """A whole body, unpacked, which counts as held from now on.

        Args:
            receive: of ASGI.
            limits: of its bytes, and of those held together.
            coding: how it is compressed (RFC 9110, 8.4); None where it is not.

        Raises:
            GatewayError: 413, it is too large; 415, the coding is unknown; 499, the client went away; 503, the
                bodies of all requests together are too large.
        """
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            body = await self._rest(receive, limits, body)
        elif message["type"] == "http.disconnect":
            raise _gone()
        else:
            if len(body) > limits.body_bytes:
                raise _too_large(limits)
            self._take(len(body), limits)
        if coding is not None and coding.lower() != b"identity":
            packed = len(body)
            try:
                async with self._unpacking:
                    body = await unpack(body, coding, limits)
                    self._take(len(body), limits)
            finally:
                self.held -= packed
        return body

    async def _rest(
        self, receive: Callable[[], Awaitable[MutableMapping[str, Any]]], limits: Limits, part: bytes
    ) -> bytes:
        # Grows in place, and gives what it holds without a copy.
        whole = BytesIO()
        size = 0
        more: object = True
        try:
            while True:
                if size + len(part) > limits.body_bytes:
                    raise _too_large(limits)
                self._take(len(part), limits)
                size += len(part)
                whole.write(part)
                if not more:
                    return whole.getvalue()
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _gone()
                part = message.get("body", b"")
                more = message.get("more_body")
        except BaseException:
            self.held -= size
            raise

    def _take(self, size: int, limits: Limits) -> None:
        if self.held + size > limits.bodies_bytes:
            raise GatewayError(
                503,
                f"The requests under way have {limits.bodies_bytes:,} bytes together, which is the most they may "
                "(limits.bodies_bytes); try again.",
                code="too_many_bodies",
                headers=((b"retry-after", b"1"),),
            )
        self.held += size


async def unpack(body: bytes, coding: bytes, limits: Limits) -> bytes:
    """A body that was compressed; beside the event loop, which a few bytes could hold up for a tenth of a second.

    Raises:
        GatewayError: 400, it cannot be unpacked; 413, it would be too large; 415, the coding is unknown, or the
            package that knows it is missing.
    """
    unpacked = _CODINGS.get(coding.strip().lower())
    if unpacked is None:
        raise GatewayError(
            415,
            f"Bodies may be compressed by {', '.join(sorted({each.decode() for each in _CODINGS}))}.",
            code="unsupported_encoding",
        )
    try:
        found = await asyncio.to_thread(unpacked, body, limits.body_bytes)
    except MissingExtraError as error:
        raise GatewayError(
            415,
            f"This gateway lacks the package {error.field}, by which such bodies are unpacked: install it "
            f"({error.remedy}), or compress by gzip.",
            code="unsupported_encoding",
        ) from error
    except ValueError as error:
        raise GatewayError(400, f"The body cannot be unpacked: {error}.", code="invalid_encoding") from error
    if found is None:
        raise _too_large(limits)
    return found


def _deflated(body: bytes, most: int, form: int) -> tuple[bytes, bytes] | None:
    """What is unpacked, and what stands behind it."""
    reader = zlib.decompressobj(form)
    try:
        found = reader.decompress(body, most + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return None if len(found) > most else (_complete(found, reader.eof), reader.unused_data)


def _gzip(body: bytes, most: int) -> bytes | None:
    """Several members in a row are one body (RFC 1952, 2.2)."""
    whole: list[bytes] = []
    while True:
        if (member := _deflated(body, most, 16 + zlib.MAX_WBITS)) is None:
            return None
        found, body = member
        whole.append(found)
        if not body:
            return b"".join(whole)
        if len(whole) >= _MOST_MEMBERS:
            raise ValueError(f"it has more than {_MOST_MEMBERS} members")
        most -= len(found)


def _deflate(body: bytes, most: int) -> bytes | None:
    """By the standard in zlib's frame; some clients leave that out."""
    framed = len(body) > 1 and body[0] & 15 == 8 and not (body[0] << 8 | body[1]) % 31
    if (member := _deflated(body, most, zlib.MAX_WBITS if framed else -zlib.MAX_WBITS)) is None:
        return None
    return _complete(member[0], not member[1])


def _brotli(body: bytes, most: int) -> bytes | None:
    with needed():  # of the extra, and seldom needed
        import brotli

    reader = brotli.Decompressor()
    try:
        found: bytes = reader.process(body, output_buffer_limit=most + 1)
        # It stops at any number of bytes around the limit.
        while len(found) <= most and not reader.is_finished():
            if not (more := reader.process(b"", output_buffer_limit=most + 1 - len(found))):
                break
            found += more
    except brotli.error as error:
        raise ValueError(str(error)) from error
    return None if len(found) > most else _complete(found, reader.is_finished())


def _zstd(body: bytes, most: int) -> bytes | None:
    with needed():  # of the extra, and seldom needed
        import zstandard

    # The window a decoder must know by RFC 8878, and no larger one: it is allocated before anything is read.
    unpacker = zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024)
    reader = unpacker.decompressobj()
    found = BytesIO()
    try:
        for start in range(0, len(body), _ZSTD_STEP):
            part = body[start : start + _ZSTD_STEP]
            while part:
                if reader.eof:  # several frames in a row are one body
                    reader = unpacker.decompressobj()
                found.write(reader.decompress(part))
                if found.tell() > most:
                    return None
                part = reader.unused_data
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    return _complete(found.getvalue(), reader.eof)


def _complete(found: bytes, complete: bool) -> bytes:
    if not complete:
        raise ValueError("it does not end where it should")
    return found


_CODINGS: Final[dict[bytes, Callable[[bytes, int], bytes | None]]] = {
    b"br": _brotli,
    b"deflate": _deflate,
    b"gzip": _gzip,
    b"x-gzip": _gzip,
    b"zstd": _zstd,
}


def _too_large(limits: Limits) -> GatewayError:
    return GatewayError(
        413, f"The body may have {limits.body_bytes:,} bytes; send a shorter one.", code="request_too_large"
    )


def _gone() -> GatewayError:
    return GatewayError(CLIENT_GONE, "The client went away.", code="client_disconnected")
