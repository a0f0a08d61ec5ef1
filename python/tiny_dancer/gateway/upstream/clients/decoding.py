"""Answers that a server compresses although it was asked not to (RFC 9110, 8.4): undone, in bounded pieces.

Every request says ``accept-encoding: identity``. gzip and deflate are read by zlib, br and zstd where the packages
brotli and zstandard are installed. What comes out does so piece by piece, so that a few bytes cannot become
gigabytes at once.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final, Protocol

from tiny_dancer.gateway.upstream.clients.base import LARGEST_ANSWER, CallError, Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tiny_dancer.gateway.upstream.clients.base import Headers, Reply

# What is no coding, though some servers say it where one stands: a charset, a transfer coding.
_NO_CODING: Final = frozenset({"", "identity", "none", "null", "utf-8", "utf8", "binary", "8bit", "chunked"})
# Bytes of one piece, at most.
_PIECE: Final = 1024 * 1024
# zstd has no such bound: four bytes become 128 KiB at most, so it is fed so many at once.
_SIP: Final = 32


class _Coding(Protocol):
    """Undoes one coding.

    Attributes:
        whole: whether what has come can be all there is.
    """

    whole: bool

    def decode(self, data: bytes) -> Iterator[bytes]:
        """What these bytes add.

        Raises:
            ValueError: they are not of this coding.
        """
        ...


class _Zlib:
    """gzip, of several members too, and deflate, which some servers send without zlib's frame.

    What says it is gzip and is not, as behind proxies that decode and forget to say so, is taken as it is.
    """

    def __init__(self, *, gzip: bool) -> None:
        self.whole = True
        self._gzip = gzip
        self._plain = self._ended = self._members = False
        self._held = b""
        self._inflate: Any = None

    def decode(self, data: bytes) -> Iterator[bytes]:
        data = self._held + data
        self._held = b""
        while data and not self._ended:
            if self._plain:
                yield data
                return
            if self._inflate is None:
                if len(data) < 2:
                    self._held = data
                    return
                self._begin(data)
                continue
            self.whole = False
            try:
                piece = self._inflate.decompress(data, _PIECE)
                while piece:
                    yield piece
                    data = self._inflate.unconsumed_tail
                    piece = b"" if self._inflate.eof else self._inflate.decompress(data, _PIECE)
            except zlib.error as error:
                raise ValueError(str(error)) from error
            if not self._inflate.eof:
                return
            self.whole = self._members = True
            data = self._inflate.unused_data
            # Another member, or padding behind the last one, which says nothing.
            self._ended = not (self._gzip and b"\x1f\x8b".startswith(data[:2]))
            self._inflate = None

    def _begin(self, data: bytes) -> None:
        if self._gzip:
            other = not data.startswith(b"\x1f\x8b")
            self._plain, self._ended = other and not self._members, other and self._members
            self._inflate = zlib.decompressobj(31)
        else:
            framed = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._inflate = zlib.decompressobj(15 if framed else -15)


class _Zstd:
    def __init__(self) -> None:
        import zstandard

        self.whole = True
        self._error = zstandard.ZstdError
        self._new = zstandard.ZstdDecompressor().decompressobj
        self._frame = self._new()

    def decode(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _SIP):
            sip = data[start : start + _SIP]
            while sip:
                try:
                    piece = self._frame.decompress(sip)
                except self._error as error:
                    raise ValueError(str(error)) from error
                if piece:
                    yield piece
                self.whole = self._frame.eof
                sip = self._frame.unused_data if self._frame.eof else b""
                if self._frame.eof:
                    self._frame = self._new()


class _Brotli:
    def __init__(self) -> None:
        import brotli

        self.whole = True
        self._error = brotli.error
        self._reader = brotli.Decompressor()

    def decode(self, data: bytes) -> Iterator[bytes]:
        reader = self._reader
        if not data or reader.is_finished():
            return  # what comes behind the end says nothing
        try:
            # It stops at any number of bytes up to twice the limit.
            while piece := reader.process(data, output_buffer_limit=_PIECE // 2):
                yield piece
                if reader.is_finished():
                    break
                data = b""
        except self._error as error:
            raise ValueError(str(error)) from error
        self.whole = reader.is_finished()


def encoding_of(headers: Headers) -> str:
    """The codings of an answer's body, as its headers say; empty where it has none."""
    for name, value in headers:
        if name == "content-encoding" and value.strip().lower() != "identity":
            return value
    return ""


def without_encoding(headers: Headers) -> Headers:
    """The headers of the body once it is decoded."""
    return [pair for pair in headers if pair[0] not in ("content-encoding", "content-length")]


def decoded(encoding: str, body: bytes) -> bytes:
    """A whole body, decoded.

    Raises:
        CallError: it is of another coding, of one nobody here reads, or larger than :data:`LARGEST_ANSWER`.
    """
    parts: list[bytes] = []
    size = 0
    try:
        for part in _through(_codings(encoding), body):
            parts.append(part)
            size += len(part)
            if size > LARGEST_ANSWER:
                raise CallError(Phase.BROKEN, "the answer of the model's server is too large")
    except ValueError as error:
        raise _unreadable(encoding) from error
    return b"".join(parts)


class DecodedReply:
    """As :class:`~tiny_dancer.gateway.upstream.clients.base.Reply`: another reply, decoded."""

    __slots__ = ("_codings", "_encoding", "_lenient", "_pieces", "_reply", "headers", "status")

    def __init__(self, reply: Reply, encoding: str) -> None:
        """``encoding``: of the reply.

        Raises:
            CallError: nobody here reads it.
        """
        self._reply = reply
        self._encoding = encoding
        try:
            self._codings = _codings(encoding)
        except ValueError as error:
            raise _unreadable(encoding) from error
        self._pieces: Iterator[bytes] = iter(())
        self.status = reply.status
        self.headers = without_encoding(reply.headers)
        # A stream of events says itself where it ends, and many servers flush it without an end of its coding.
        self._lenient = any(name == "content-type" and "event-stream" in value for name, value in self.headers)

    async def chunk(self) -> bytes | None:
        """What arrived next, or None at the end."""
        while True:
            try:
                piece = next(self._pieces, None)
            except ValueError as error:
                raise _unreadable(self._encoding) from error
            if piece is not None:
                return piece
            if (data := await self._reply.chunk()) is None:
                if not self._lenient and not all(each.whole for each in self._codings):
                    raise _unreadable(self._encoding)
                return None
            self._pieces = iter(_through(self._codings, data))

    async def close(self, *, said_all: bool = False) -> None:
        """Lets go of the connection."""
        await self._reply.close(said_all=said_all)


async def read_plainly(reply: Reply) -> Reply:
    """The reply, decoded where it is not sent as it is.

    Raises:
        CallError: nobody here reads its coding; the reply is closed.
    """
    encoding = encoding_of(reply.headers)
    if not encoding:
        return reply
    try:
        return DecodedReply(reply, encoding)
    except CallError:
        await reply.close()
        raise


def _codings(encoding: str) -> list[_Coding]:
    """Those named, in the order they are undone.

    Raises:
        ValueError: nobody here reads one of them.
    """
    found: list[_Coding] = []
    for name in reversed([each.strip().lower() for each in encoding.split(",")]):
        if name in ("gzip", "x-gzip"):
            found.append(_Zlib(gzip=True))
        elif name == "deflate":
            found.append(_Zlib(gzip=False))
        elif name == "zstd":
            try:
                found.append(_Zstd())
            except ImportError as error:
                raise ValueError("zstd") from error
        elif name == "br":
            try:
                found.append(_Brotli())
            except ImportError as error:
                raise ValueError("br") from error
        elif name not in _NO_CODING:
            raise ValueError(name)
    return found


def _through(codings: list[_Coding], data: bytes) -> Iterable[bytes]:
    if not codings:
        yield data
        return
    for piece in codings[0].decode(data):
        yield from _through(codings[1:], piece)


def _unreadable(encoding: str) -> CallError:
    return CallError(Phase.BROKEN, f"what the model's server compressed ({encoding[:40]!r}) cannot be read")
